// A singly linked list of segments. A segment is either a chunk of its own memory, which the next
// small append may still fill, or a slice of a shared blob.
//
// Invariants: every segment holds at least one byte, except a chunk at the tail that was reserved
// and not yet committed; q->n is the sum; slices are never written to.
#include "wire/outq.h"
#include "base/arena.h"
#include "base/err.h"
#include <string.h>

enum { CHUNK = 16 << 10, CHUNK_SMALL = 1 << 10, SHARE_FROM = 256 };

struct out_seg {
    struct out_seg *next;
    struct blob *blob; // NULL: own memory behind the struct
    const char *p;     // first byte not yet taken
    uint32_t n;        // bytes from p
    uint32_t room;     // bytes free behind them (own memory)
    char data[];
};

static struct out_seg *seg_append(struct outq *q, struct out_seg *s)
{
    s->next = NULL;
    if (q->tail)
        q->tail->next = s;
    else
        q->head = s;
    q->tail = s;
    return s;
}

static void seg_free(struct out_seg *s)
{
    blob_unref(s->blob);
    free(s);
}

static struct out_seg *chunk_append(struct outq *q, size_t want)
{
    size_t size = want <= CHUNK_SMALL - sizeof(struct out_seg)       ? CHUNK_SMALL
                  : want <= 4 * CHUNK_SMALL - sizeof(struct out_seg) ? 4 * CHUNK_SMALL
                                                                     : CHUNK;
    if (want > size - sizeof(struct out_seg))
        size = want + sizeof(struct out_seg);
    struct out_seg *s = mem_alloc(size);
    s->blob = NULL;
    s->p = s->data;
    s->n = 0;
    s->room = (uint32_t)(size - sizeof *s);
    return seg_append(q, s);
}

char *outq_reserve(struct outq *q, size_t n)
{
    struct out_seg *s = q->tail;
    if (!s || s->blob || s->room < n)
        s = chunk_append(q, n);
    return (char *)s->p + s->n;
}

void outq_commit(struct outq *q, size_t n)
{
    struct out_seg *s = q->tail;
    BUG_ON(!s || s->blob || s->room < n);
    s->n += (uint32_t)n;
    s->room -= (uint32_t)n;
    q->n += n;
}

void outq_add(struct outq *q, const void *p, size_t n)
{
    const char *from = p;
    while (n) {
        struct out_seg *s = q->tail;
        if (!s || s->blob || !s->room) {
            size_t max = CHUNK - sizeof *s;
            s = chunk_append(q, n < max ? n : max);
        }
        size_t take = n < s->room ? n : s->room;
        memcpy((char *)s->p + s->n, from, take);
        outq_commit(q, take);
        from += take;
        n -= take;
    }
}

void outq_blob(struct outq *q, struct blob *b, size_t from, size_t n)
{
    BUG_ON(from > b->n || n > b->n - from);
    if (n < SHARE_FROM) {
        outq_add(q, b->p + from, n);
        return;
    }
    struct out_seg *s = mem_alloc(sizeof *s);
    s->blob = blob_ref(b);
    s->p = b->p + from;
    s->n = (uint32_t)n;
    s->room = 0;
    seg_append(q, s);
    q->n += n;
}

static void head_remove(struct outq *q)
{
    q->head = q->head->next;
    if (!q->head)
        q->tail = NULL;
}

void outq_drop(struct outq *q, size_t n)
{
    BUG_ON(n > q->n);
    q->n -= n;
    while (n) {
        struct out_seg *s = q->head;
        if (n < s->n) {
            s->p += n;
            s->n -= (uint32_t)n;
            return;
        }
        n -= s->n;
        head_remove(q);
        seg_free(s);
    }
}

void outq_move(struct outq *to, struct outq *from, size_t n)
{
    BUG_ON(n > from->n);
    while (n) {
        struct out_seg *s = from->head;
        if (s->n <= n) {
            n -= s->n;
            from->n -= s->n;
            head_remove(from);
            if (!s->blob && s->n < SHARE_FROM) {
                outq_add(to, s->p, s->n);
                seg_free(s);
            } else {
                to->n += s->n;
                seg_append(to, s);
            }
            continue;
        }
        if (s->blob)
            outq_blob(to, s->blob, (size_t)(s->p - s->blob->p), n);
        else
            outq_add(to, s->p, n);
        outq_drop(from, n);
        return;
    }
}

struct str outq_peek(const struct outq *q, char *scratch, size_t max)
{
    size_t want = q->n < max ? q->n : max, have = 0;
    if (!want)
        return STR_NULL;
    if (q->head->n >= want)
        return str_n(q->head->p, want);
    for (const struct out_seg *s = q->head; have < want; s = s->next) {
        size_t take = s->n < want - have ? s->n : want - have;
        memcpy(scratch + have, s->p, take);
        have += take;
    }
    return str_n(scratch, want);
}

int outq_iov(const struct outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (const struct out_seg *s = q->head; s && n < max; s = s->next)
        if (s->n)
            iov[n++] = (struct iovec){.iov_base = (char *)s->p, .iov_len = s->n};
    return n;
}

void outq_done(struct outq *q)
{
    while (q->head) {
        struct out_seg *s = q->head;
        head_remove(q);
        seg_free(s);
    }
    q->n = 0;
}
