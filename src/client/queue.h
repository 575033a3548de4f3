// Work: the executor (where reconciles run) and the work queue (what is to be reconciled).
//
// Executor: a pool of worker threads, or, in simulation, the loop itself: tasks then run one by one
// in order on virtual time. Queue: deduplicating, delayed, rate-limited, one key never on two
// workers at once (client-go's workqueue): a key added while it is worked on is worked on once more
// afterwards.
#pragma once
#include "client/client.h"

struct executor;
// threads 0: tasks run on the loop (simulation, or non-blocking work only).
struct executor *executor_new(struct loop *l, unsigned threads, const char *name);
void executor_free(struct executor *x); // finishes what runs, drops what waits
struct loop *executor_loop(struct executor *x);
// Any thread.
struct executor_task {
    void (*fn)(struct executor_task *t);
    struct executor_task *next; // private
};
void executor_submit(struct executor *x, struct executor_task *t);
// Takes back a task that has not begun. false: it is not waiting (running, done, or never
// submitted).
bool executor_cancel(struct executor *x, struct executor_task *t);

enum reconcile_result {
    RECONCILE_DONE,  // forget the key's failures
    RECONCILE_RETRY, // again, with back-off (5 ms doubling to 1000 s, as upstream)
    RECONCILE_AFTER, // again at *after_ns from now; not a failure
};
// Blocking code. The arena is reset after each call. key: "namespace/name" or "name" or whatever
// was added.
typedef enum reconcile_result reconcile_fn(void *ctx, struct arena *a, struct str key,
                                           uint64_t *after_ns, struct err *e);

struct work_queue;
// workers: how many keys at the same time. A RETRY's error is logged once per key and reason.
struct work_queue *work_queue_new(struct executor *x, const char *name, unsigned workers,
                                  reconcile_fn *fn, void *ctx);
void work_queue_free(struct work_queue *q);
// Any thread.
void work_queue_add(struct work_queue *q, struct str key);
void work_queue_add_object(struct work_queue *q, const struct object *o); // its meta_key
// The earliest due time wins.
void work_queue_add_after(struct work_queue *q, struct str key, uint64_t ns);
void work_queue_forget(struct work_queue *q, struct str key); // drop delays and failures
size_t work_queue_length(struct work_queue *q);
