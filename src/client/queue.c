// The work queue: which keys are to be reconciled, now or later, each at most once at a time.
//
// The rules are those of client-go's work queue, which controllers written for Kubernetes rely on:
//
//  1. A key that is added twice before it is taken is worked on once.
//  2. A key is never worked on by two workers at the same time. Added while it is worked on, it is
//     worked on once more when that run has ended.
//  3. A failed key comes back after 5 ms, doubling with every failure up to 1000 s; success forgets
//     that.
//  4. Of several delays for one key the earliest due time wins; an immediate add does not cancel a
//     delay.
//
// An item exists while it is dirty, worked on, delayed, or has failures to remember. Delays stand
// in a binary heap with one loop timer on its top, so a queue with nothing to do costs nothing.
//
//     absent -> dirty (in the list) -> processing -> absent
//                  ^                       | added meanwhile: dirty and processing
//                  +-----------------------+ when the run ends
//
// Lock: `lock` guards everything but the constants. It is held neither while reconciling nor while
// logging.
#include "client/queue.h"
#include "base/env.h"
#include "base/err.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metric.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/hook.h"
#include "client/meta.h"

#define BACKOFF_FIRST (5 * NS_PER_MS)
#define BACKOFF_MAX   (1000 * NS_PER_S)

// For each queue, by its name; client-go's names.
enum { DEPTH, ADDS, RETRIES, DURATION };
static const struct metric rows[] = {
    [DEPTH] = {"workqueue_depth", "Keys that are ready and wait for a worker.", METRIC_GAUGE},
    [ADDS] = {"workqueue_adds_total", "Keys that became ready.", METRIC_COUNTER},
    [RETRIES] = {"workqueue_retries_total", "Runs that failed and come again.", METRIC_COUNTER},
    [DURATION] = {"workqueue_work_duration_seconds", "Time of one run.", METRIC_HISTOGRAM},
};

struct item {
    struct item *next; // in the list of ready keys
    uint64_t due;      // when delayed
    uint32_t logged;   // reason of the error last logged, + 1
    uint32_t heap;     // position + 1; 0: not delayed
    uint32_t failures;
    bool dirty, processing;
    uint32_t n;
    char key[];
};

struct worker {
    struct executor_task task;
    struct work_queue *queue;
    struct arena arena;
    bool submitted; // to the executor, or running
};

struct work_queue {
    struct executor *executor;
    struct env *env;
    const char *name;
    reconcile_fn *fn;
    void *ctx;

    pthread_mutex_t lock;
    pthread_cond_t idle; // a worker has ended; for work_queue_free
    struct map items;
    struct item *first, **last;
    size_t ready;
    struct item **heap;
    size_t delayed, heap_cap;
    bool closing;
    struct worker *workers;
    unsigned nworkers, busy;

    struct hook *rearm;
    struct loop_timer timer; // the loop's
    struct metric_table metrics;
};

static struct str item_key(const struct item *i)
{
    return str_n(i->key, i->n);
}

// The delay heap: due times ascend from the root.

static void heap_place(struct work_queue *q, size_t at, struct item *i)
{
    q->heap[at] = i;
    i->heap = (uint32_t)at + 1;
}

static void heap_up(struct work_queue *q, size_t at)
{
    struct item *i = q->heap[at];
    for (; at && q->heap[(at - 1) / 2]->due > i->due; at = (at - 1) / 2)
        heap_place(q, at, q->heap[(at - 1) / 2]);
    heap_place(q, at, i);
}

static void heap_down(struct work_queue *q, size_t at)
{
    struct item *i = q->heap[at];
    for (size_t child; (child = 2 * at + 1) < q->delayed; at = child) {
        if (child + 1 < q->delayed && q->heap[child + 1]->due < q->heap[child]->due)
            child++;
        if (q->heap[child]->due >= i->due)
            break;
        heap_place(q, at, q->heap[child]);
    }
    heap_place(q, at, i);
}

static void heap_remove(struct work_queue *q, struct item *i)
{
    size_t at = i->heap - 1;
    i->heap = 0;
    struct item *moved = q->heap[--q->delayed];
    if (moved == i)
        return;
    heap_place(q, at, moved);
    heap_up(q, at);
    heap_down(q, moved->heap - 1);
}

static void heap_insert(struct work_queue *q, struct item *i, uint64_t due)
{
    if (q->delayed == q->heap_cap) {
        q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 16;
        q->heap = mem_realloc(q->heap, q->heap_cap * sizeof *q->heap);
    }
    i->due = due;
    heap_place(q, q->delayed, i);
    heap_up(q, q->delayed++);
}

// Items.

static struct item *item_get(struct work_queue *q, struct str key)
{
    struct item *i = map_get(&q->items, key);
    if (i)
        return i;
    BUG_ON(key.n > UINT32_MAX);
    i = mem_zalloc(sizeof *i + key.n);
    i->n = (uint32_t)key.n;
    memcpy(i->key, key.p, key.n);
    map_set(&q->items, key, i);
    return i;
}

static void item_drop_if_idle(struct work_queue *q, struct item *i)
{
    if (i->dirty || i->processing || i->heap || i->failures)
        return;
    map_del(&q->items, item_key(i));
    free(i);
}

// One resting worker for each ready key. Some may find their key already taken; they go back to
// rest.
static void kick(struct work_queue *q)
{
    if (q->closing)
        return;
    size_t wanted = q->ready;
    for (unsigned w = 0; w < q->nworkers && q->busy < q->nworkers && wanted; w++) {
        if (q->workers[w].submitted)
            continue;
        q->workers[w].submitted = true;
        q->busy++;
        wanted--;
        executor_submit(q->executor, &q->workers[w].task);
    }
}

static void push(struct work_queue *q, struct item *i)
{
    i->next = NULL;
    *q->last = i;
    q->last = &i->next;
    q->ready++;
    metric_set(&q->metrics, DEPTH, 0, q->ready);
    metric_add(&q->metrics, ADDS, 0, 1);
}

static void item_make_dirty(struct work_queue *q, struct item *i)
{
    if (i->dirty)
        return;
    i->dirty = true;
    if (!i->processing)
        push(q, i);
}

static void item_delay(struct work_queue *q, struct item *i, uint64_t ns)
{
    uint64_t now = env_mono(q->env), due = now + ns < now ? UINT64_MAX : now + ns;
    if (i->heap && i->due <= due)
        return;
    if (i->heap)
        heap_remove(q, i);
    heap_insert(q, i, due);
    if (q->heap[0] == i)
        hook_post(q->rearm);
}

// On the loop: what is due becomes ready; the timer is set for the next.
static void run_timers(void *owner)
{
    struct work_queue *q = owner;
    uint64_t next = 0;
    pthread_mutex_lock(&q->lock);
    uint64_t now = env_mono(q->env);
    while (q->delayed && q->heap[0]->due <= now) {
        struct item *i = q->heap[0];
        heap_remove(q, i);
        item_make_dirty(q, i);
    }
    if (q->delayed)
        next = q->heap[0]->due;
    kick(q);
    pthread_mutex_unlock(&q->lock);
    if (next)
        loop_timer_at(executor_loop(q->executor), &q->timer, next);
    else if (loop_timer_armed(&q->timer))
        loop_timer_cancel(executor_loop(q->executor), &q->timer);
}

static void on_timer(struct loop_timer *t)
{
    run_timers(container_of(t, struct work_queue, timer));
}

// Conflicts, and things that are gone by the time one writes to them, are everyday life between
// controllers; anything else is said once a key and reason (texts may carry
// generated names).
static void report(struct work_queue *q, struct str key, bool again, const struct err *e)
{
    const char *text = e->message ? e->message : "will be retried";
    if (again || err_is(e, ERR_CONFLICT) || err_is(e, ERR_ALREADY_EXISTS) ||
        err_is(e, ERR_NOT_FOUND) || !e->reason)
        log_debug(q->name, "reconcile key=\"%.*s\" error=\"%s\"", STR_ARG(key), text);
    else
        log_warn(q->name, "reconcile key=\"%.*s\" error=\"%s\"", STR_ARG(key), text);
}

static uint64_t backoff(uint32_t failures)
{
    uint64_t ns = failures > 30 ? BACKOFF_MAX : (uint64_t)BACKOFF_FIRST << failures;
    return ns > BACKOFF_MAX ? BACKOFF_MAX : ns;
}

static void work_one(struct executor_task *t)
{
    struct worker *w = container_of(t, struct worker, task);
    struct work_queue *q = w->queue;
    pthread_mutex_lock(&q->lock);
    struct item *i = q->closing ? NULL : q->first;
    if (i) {
        q->first = i->next;
        if (!q->first)
            q->last = &q->first;
        q->ready--;
        metric_set(&q->metrics, DEPTH, 0, q->ready);
        i->dirty = false;
        i->processing = true;
        pthread_mutex_unlock(&q->lock);

        uint64_t after = 0, began = env_mono(q->env);
        _cleanup_err_ struct err e = ERR_INIT;
        enum reconcile_result r = q->fn(q->ctx, &w->arena, item_key(i), &after, &e);
        arena_reset(&w->arena);
        metric_observe(&q->metrics, DURATION, 0, env_mono(q->env) - began);
        if (r == RECONCILE_RETRY) {
            metric_add(&q->metrics, RETRIES, 0, 1);
            report(q, item_key(i), i->logged == e.reason + 1u, &e); // ours while processing
            i->logged = e.reason + 1u;
        }

        pthread_mutex_lock(&q->lock);
        i->processing = false;
        if (r == RECONCILE_RETRY) {
            item_delay(q, i, backoff(i->failures));
            i->failures++;
        } else {
            i->failures = 0;
            i->logged = 0;
            if (r == RECONCILE_AFTER && after)
                item_delay(q, i, after);
            else if (r == RECONCILE_AFTER)
                i->dirty = true;
        }
        if (i->dirty)
            push(q, i);
        else
            item_drop_if_idle(q, i);
    }
    if (q->ready && !q->closing) {
        executor_submit(q->executor, t);
    } else {
        w->submitted = false;
        q->busy--;
        // A worker that rests keeps no memory: the next burst may be hours away.
        arena_done(&w->arena);
        w->arena = ARENA_INIT;
        pthread_cond_broadcast(&q->idle);
    }
    pthread_mutex_unlock(&q->lock);
}

struct work_queue *work_queue_new(struct executor *x, const char *name, unsigned workers,
                                  reconcile_fn *fn, void *ctx)
{
    struct work_queue *q = mem_zalloc(sizeof *q);
    q->executor = x;
    q->env = loop_env(executor_loop(x));
    q->name = name;
    q->fn = fn;
    q->ctx = ctx;
    q->last = &q->first;
    q->nworkers = workers ? workers : 1;
    q->workers = mem_zalloc(q->nworkers * sizeof *q->workers);
    for (unsigned w = 0; w < q->nworkers; w++) {
        q->workers[w].task.fn = work_one;
        q->workers[w].queue = q;
    }
    q->rearm = hook_new(executor_loop(x), run_timers, q);
    q->timer.fn = on_timer;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->idle, NULL);
    q->metrics =
        (struct metric_table){.rows = rows, .n = ARRAY_LEN(rows), .label = "name", .value = name};
    metric_register(&q->metrics);
    return q;
}

void work_queue_free(struct work_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    for (unsigned w = 0; w < q->nworkers; w++) {
        if (q->workers[w].submitted && executor_cancel(q->executor, &q->workers[w].task)) {
            q->workers[w].submitted = false;
            q->busy--;
        }
    }
    while (q->busy)
        pthread_cond_wait(&q->idle, &q->lock);
    pthread_mutex_unlock(&q->lock);
    metric_unregister(&q->metrics);
    hook_free(q->rearm);
    if (loop_timer_armed(&q->timer))
        loop_timer_cancel(executor_loop(q->executor), &q->timer);
    map_each (&q->items, s)
        free(s->value);
    map_done(&q->items);
    for (unsigned w = 0; w < q->nworkers; w++)
        arena_done(&q->workers[w].arena);
    free(q->workers);
    free(q->heap);
    pthread_cond_destroy(&q->idle);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

void work_queue_add(struct work_queue *q, struct str key)
{
    pthread_mutex_lock(&q->lock);
    if (!q->closing) {
        item_make_dirty(q, item_get(q, key));
        kick(q);
    }
    pthread_mutex_unlock(&q->lock);
}

void work_queue_add_after(struct work_queue *q, struct str key, uint64_t ns)
{
    if (!ns) {
        work_queue_add(q, key);
        return;
    }
    pthread_mutex_lock(&q->lock);
    if (!q->closing)
        item_delay(q, item_get(q, key), ns);
    pthread_mutex_unlock(&q->lock);
}

void work_queue_forget(struct work_queue *q, struct str key)
{
    pthread_mutex_lock(&q->lock);
    struct item *i = map_get(&q->items, key);
    if (i) {
        i->failures = 0;
        if (i->heap)
            heap_remove(q, i);
        item_drop_if_idle(q, i);
    }
    pthread_mutex_unlock(&q->lock);
}

size_t work_queue_length(struct work_queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->ready;
    pthread_mutex_unlock(&q->lock);
    return n;
}

void work_queue_add_object(struct work_queue *q, const struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    work_queue_add(q, meta_key(&a, o));
}
