// The keys and their recent past in memory: an ordered index of the present (a persistent tree over
// immutable entries) and the change log behind it. Every read of the store is served from here.
//
// One thread at a time writes (the engine sees to it); any thread reads. A reader takes a reference
// to the version of the moment under the lock and walks it outside; an old revision is the present
// version with the changes since undone on a private branch of the tree, which costs the number of
// those changes and nothing for the writer.
#pragma once
#include "base/err.h"
#include "base/ptree.h"
#include "store/history.h"
#include "store/store.h"
#include <pthread.h>

struct mvcc {
    pthread_mutex_t lock; // guards all below
    struct ptree *index;  // of struct entry
    uint64_t revision;
    struct history history;
};

void mvcc_init(struct mvcc *m, size_t history_events, size_t history_bytes);
void mvcc_done(struct mvcc *m);

// The writer's.
struct entry *mvcc_get(const struct mvcc *m, struct str key); // borrowed; NULL
// Makes changes (in order) the present; takes over their references. What it returns must be given
// to history_free once the caller no longer looks at the changes (the log may forget them at once).
struct history_block *mvcc_apply(struct mvcc *m, const struct change *changes, size_t n,
                                 uint64_t revision);
// Loading a checkpoint: entries in any order, no history; then the revision that they are.
void mvcc_load(struct mvcc *m, struct entry *e); // takes over the reference
void mvcc_load_end(struct mvcc *m, uint64_t revision);
void mvcc_reset(struct mvcc *m); // forgets what mvcc_load brought

// Any thread; contracts as in store.h.
uint64_t mvcc_revision(struct mvcc *m);
uint64_t mvcc_floor(struct mvcc *m); // changes after it are all known
int mvcc_range(struct mvcc *m, struct str prefix, uint64_t revision,
               bool (*fn)(void *ctx, const struct store_kv *kv), void *ctx, uint64_t *ret_revision,
               struct err *e);
int mvcc_span(struct mvcc *m, uint64_t after, struct history_span *ret, struct err *e);
int mvcc_compact(struct mvcc *m, uint64_t revision, struct err *e);
