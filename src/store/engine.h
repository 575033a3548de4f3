// The engine: what the memory store and the embedded one have in common, which is nearly all. A
// queue of transactions, groups, publishing to watchers, completing. The embedded store gives it a
// thread and a log to commit to; the memory store runs it on its callers' threads with no log.
//
// One round of the engine is the sequence that store.h promises:
//
//     take what waits -> deliver the past to new watches -> check conditions -> commit (log, fsync)
//       -> apply to the index -> publish to every watch -> complete the transactions
//
// Locks, in the order in which they may be held together (left before right):
//     watch_lock  guards the list of watches, held while callbacks run: that is what makes "no
//                 callback after unwatch returns" true. Recursive: a callback may unwatch.
//     lock        guards the queue and `closing`. Held for a few instructions.
//     mvcc.lock   see mvcc.h.
#pragma once
#include "base/list.h"
#include "store/group.h"

struct engine {
    struct store store;
    struct mvcc mvcc;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct store_txn *waiting, **waiting_tail;
    bool new_watches; // some watch waits for its past
    bool closing;
    bool running;  // somebody is in engine_run (memory store)
    bool threaded; // a writer thread runs the rounds

    pthread_mutex_t watch_lock;
    struct list watches;
    bool delivering;

    // The writer's own.
    struct group group;
    struct store_event *events, *matching; // scratch, nevents each
    size_t nevents;
    bool failed; // the log is not writable any more

    // Makes the group durable: 0, -ENOSPC (nothing of it is in the log), any other error (the log
    // is in an unknown state: no more writes). `urgent`: all of it makes room, so a reserve may be
    // used. NULL: nothing to do.
    int (*commit)(struct engine *e, const struct group *g, bool urgent);
};

void engine_init(struct engine *e, const struct store_ops *ops, struct env *env,
                 size_t history_events, size_t history_bytes);
void engine_done(struct engine *e); // no thread uses it any more

// The loop of a writer thread: returns when closing and nothing waits.
void engine_run_thread(struct engine *e);
// Asks the thread to end; from here on transactions are answered STORE_CLOSED.
void engine_stop(struct engine *e);

// The vtable's functions.
void engine_txn(struct store *s, struct store_txn *t);
int engine_range(struct store *s, struct str prefix, uint64_t revision,
                 bool (*fn)(void *ctx, const struct store_kv *kv), void *ctx,
                 uint64_t *ret_revision, struct err *e);
uint64_t engine_revision(struct store *s);
uint64_t engine_floor(struct store *s);
int engine_watch(struct store *s, struct str prefix, uint64_t after, store_watch_fn *fn, void *ctx,
                 struct store_watch **ret, struct err *e);
void engine_unwatch(struct store *s, struct store_watch *w);
int engine_compact(struct store *s, uint64_t revision, struct err *e);
