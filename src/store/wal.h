// The log: files DIR/wal-<sequence>.log that are appended to, one after the other. frame.h says
// what is in them, wal.c how they survive.
//
// Threads: wal_append and wal_close belong to the writer; wal_fill_spare, wal_read_closed and
// wal_cut to the keeper. They meet at wal.lock.
#pragma once
#include "base/env.h"
#include "base/err.h"
#include "store/frame.h"
#include <pthread.h>

struct wal_closed { // a segment that is no longer written
    uint64_t sequence;
    uint64_t last; // revision in it
};

struct wal {
    struct env *env;
    char *dir;
    size_t segment_bytes;
    bool no_sync;

    // The writer's: the segment that is appended to; file NULL before the first write.
    struct env_file *file;
    uint64_t sequence, salt, at, size;
    struct buf frame; // scratch

    pthread_mutex_t lock;      // guards what follows
    pthread_cond_t wake;       // the keeper's
    struct wal_closed *closed; // oldest first
    size_t nclosed, cap;
    bool spare;      // DIR/wal.spare is ready to become the next segment
    bool want_spare; // the segment is half full and there is none
    bool closing;
};

// What recovery hands over, in order: whole frames past the checkpoint's revision.
typedef int wal_frame_fn(void *ctx, struct frame *f, struct err *e);

// Reads the log after the checkpoint (which holds everything up to `revision`, the end of segment
// `sequence`; 0 where there is none) and makes ready to append. A torn tail of the last segment is
// dropped; any other damage or gap is an error. *ret_revision is the last revision.
int wal_open(struct wal *w, uint64_t revision, uint64_t sequence, wal_frame_fn *fn, void *ctx,
             uint64_t *ret_revision, struct err *e);
void wal_init(struct wal *w, struct env *env, const char *dir, size_t segment_bytes, bool no_sync);
void wal_done(struct wal *w);

// Makes the changes with revisions first .. last durable. 0; -ENOSPC: nothing of it is in the log;
// any other: unknown, and nothing may be appended any more.
int wal_append(struct wal *w, const struct change *changes, size_t n, uint64_t first,
               uint64_t last);

// The keeper's.
void wal_fill_spare(struct wal *w); // quietly nothing where the disk has no room
// Reads a closed segment whole and hands over its frames; an error where not all are there.
int wal_read_closed(struct wal *w, const struct wal_closed *which, wal_frame_fn *fn, void *ctx,
                    struct err *e);
// Forgets the n oldest closed segments, which the checkpoint has.
void wal_cut(struct wal *w, size_t n);
