// Output queue: bytes that wait for a socket. Small pieces are copied into chunks of up to 16 kB;
// blobs are queued by reference, so an event that a thousand watchers wait for exists once.
// Not thread-safe: a queue belongs to the loop of its connection.
#pragma once
#include "base/blob.h"
#include <sys/uio.h>

struct out_seg;
struct outq {
    struct out_seg *head, *tail;
    size_t n; // bytes queued
};
#define OUTQ_INIT ((struct outq){0})
void outq_done(struct outq *q);

// Room for n more bytes in a row (n is small: a head, a frame); commit what was written.
char *outq_reserve(struct outq *q, size_t n);
void outq_commit(struct outq *q, size_t n);
void outq_add(struct outq *q, const void *p, size_t n);
static inline void outq_str(struct outq *q, struct str s)
{
    outq_add(q, s.p, s.n);
}
// Shares the blob from its byte `from` on; a short one is copied, that being cheaper than a
// segment.
void outq_blob(struct outq *q, struct blob *b, size_t from, size_t n);
// Moves the first n bytes of `from` behind `to`; shares what is shared.
void outq_move(struct outq *to, struct outq *from, size_t n);

// The first min(max, q->n) bytes in one piece: where they lie, or copied to `scratch`.
struct str outq_peek(const struct outq *q, char *scratch, size_t max);
int outq_iov(const struct outq *q, struct iovec *iov, int max);
void outq_drop(struct outq *q, size_t n);
