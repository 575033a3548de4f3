// What is the same for every store.
#include "store/store.h"
#include "base/thread.h"

struct waiter {
    struct completion completion;
    void (*complete)(struct store_txn *t);
    void *ctx;
};

static void wake(struct store_txn *t)
{
    struct waiter *w = t->ctx;
    completion_signal(&w->completion);
}

enum store_result store_txn_wait(struct store *s, struct store_txn *t)
{
    struct waiter w = {.complete = t->complete, .ctx = t->ctx};
    completion_init(&w.completion);
    t->complete = wake;
    t->ctx = &w;
    store_txn(s, t);
    completion_wait(&w.completion);
    completion_done(&w.completion);
    t->complete = w.complete;
    t->ctx = w.ctx;
    return t->result;
}

const char *store_result_text(enum store_result r)
{
    static const char *const texts[] = {
        [STORE_OK] = "ok",
        [STORE_CONFLICT] = "a condition did not hold",
        [STORE_FULL] = "the store's disk is full",
        [STORE_FAILED] = "the store failed and takes no more writes",
        [STORE_CLOSED] = "the store is closed",
    };
    return (unsigned)r < sizeof texts / sizeof *texts ? texts[r] : "unknown";
}
