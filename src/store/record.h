// What the store puts into its journal: the changes of a group are the payload of one frame, whose
// numbers are the revisions and whose word is the number of changes. A change is
//      0  u32 revision - first revision   4  u32 0 put, 1 delete
//      8  u32 bytes of key               12  u32 bytes of value
//     16  u64 create revision            24  u64 version
//     32  key, value, zeros up to a multiple of 8
#pragma once
#include "log/frame.h"
#include "store/history.h"

// Appends the changes, the first of which may have revision `first`.
void record_write(struct buf *b, const struct change *changes, size_t n, uint64_t first);

struct record_reader {
    const struct frame *frame;
    struct str rest;
    uint32_t left;
};
struct record {
    uint64_t revision, create_revision, version;
    bool deleted;
    struct str key, value;
};
struct record_reader record_read(const struct frame *f);
// The next change; 1, 0 at the end, -1 where an intact frame holds nonsense (a bug, or a forgery).
int record_next(struct record_reader *r, struct record *ret);
