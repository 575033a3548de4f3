// The checkpoint: the present as of the end of some log segment, in an LMDB file. A cache of the
// log: it is written only from closed, durable segments, and a segment is cut only after LMDB's own
// synchronous commit; so losing the race at any point costs nothing but a longer replay.
//
// The file is open only while it is loaded or applied to: its pages would otherwise count as the
// program's memory. Callers see to it that one thread at a time uses it (the store's lock file
// keeps other processes away).
#pragma once
#include "base/err.h"
#include "store/history.h"

struct record;

struct checkpoint_mark {
    uint64_t revision; // everything up to here is in; 0: the checkpoint is empty
    uint64_t sequence; // last log segment applied
};

// Hands over every entry (the callee takes the reference), in no promised order. No file: an empty
// mark. ERR_INTERNAL "checkpoint ... is damaged: ..." where its checksums do not hold.
int checkpoint_load(const char *path, void (*fn)(void *ctx, struct entry *e), void *ctx,
                    struct checkpoint_mark *ret, struct err *e);

// A transaction on the checkpoint.
struct checkpoint;
int checkpoint_begin(const char *path, struct checkpoint **ret, struct err *e);
int checkpoint_add(struct checkpoint *c, const struct record *change, struct err *e);
// Commits durably and frees; on failure nothing has changed. ERR_STORAGE: the disk is full (so
// checkpoint_add may say as well).
int checkpoint_commit(struct checkpoint *c, const struct checkpoint_mark *mark, struct err *e);
void checkpoint_abort(struct checkpoint *c); // frees

// Sees to it that at least `bytes` of the file are free pages, so that what deletes objects finds
// room in it though the disk is full. 0; -ENOSPC where the file cannot grow; -EIO for the rest.
int checkpoint_reserve(const char *path, size_t bytes);
