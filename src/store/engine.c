// The engine's rounds. Whoever runs a round is "the writer" for its duration: the embedded store's
// thread, or in the memory store the caller who found nobody running (others only add to the queue
// and go; so a callback may submit, and is answered after it returns).
//
// A group ends at GROUP_TXNS transactions or GROUP_BYTES bytes, so that one fsync carries what is
// waiting but one answer never waits for an unbounded write.
#include "store/engine.h"
#include "base/arena.h"
#include <errno.h>

enum { GROUP_TXNS = 4096, GROUP_BYTES = 1 << 20, CATCH_UP_EVENTS = 512, KEEP_EVENTS = 1024 };

struct store_watch {
    struct list link;
    struct str prefix; // owned
    uint64_t after;    // events up to here are not for this watch
    store_watch_fn *fn;
    void *ctx;
    struct history_span past; // what to deliver first; first == NULL once that is done
    bool dead;                // unwatched by a callback: freed after the round of callbacks
};

void engine_init(struct engine *e, const struct store_ops *ops, struct env *env,
                 size_t history_events, size_t history_bytes)
{
    *e = (struct engine){.store = {.ops = ops, .env = env}};
    mvcc_init(&e->mvcc, history_events ? history_events : 100000,
              history_bytes ? history_bytes : (size_t)32 << 20);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&e->watch_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    e->waiting_tail = &e->waiting;
    list_init(&e->watches);
    group_init(&e->group, &e->mvcc);
}

static void watch_free(struct store_watch *w)
{
    list_remove(&w->link);
    if (w->past.first)
        span_done(&w->past);
    free((char *)w->prefix.p);
    free(w);
}

void engine_done(struct engine *e)
{
    list_each_safe (&e->watches, l)
        watch_free(container_of(l, struct store_watch, link));
    group_done(&e->group);
    mvcc_done(&e->mvcc);
    free(e->events);
    free(e->matching);
    pthread_mutex_destroy(&e->watch_lock);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
}

static struct store_event event_of(const struct change *c)
{
    return (struct store_event){
        .op = c->now ? STORE_PUT : STORE_DELETE,
        .revision = c->revision,
        .create_revision = c->now ? c->now->create_revision : c->before->create_revision,
        .key = change_key(c),
        .value = c->now ? c->now->value : NULL,
        .previous = c->before ? c->before->value : NULL,
    };
}

static void reserve_events(struct engine *e, size_t n)
{
    if (n <= e->nevents)
        return;
    e->nevents = n < 64 ? 64 : n * 2;
    e->events = mem_realloc(e->events, e->nevents * sizeof *e->events);
    e->matching = mem_realloc(e->matching, e->nevents * sizeof *e->matching);
}

// The past of one new watch, in calls that end at a revision's end.
static void deliver_past(struct engine *e, struct store_watch *w)
{
    struct history_span span = w->past;
    size_t n = 0;
    w->past = (struct history_span){0};
    span.left = SIZE_MAX; // what was written since the watch was made as well
    for (const struct change *c; !w->dead && (c = span_next(&span));) {
        if (c->revision <= w->after || !str_starts(change_key(c), w->prefix))
            continue;
        if (n >= CATCH_UP_EVENTS && e->events[n - 1].revision != c->revision) {
            w->fn(w->ctx, e->events, n, e->events[n - 1].revision);
            n = 0;
        }
        reserve_events(e, n + 1);
        e->events[n++] = event_of(c);
    }
    if (!w->dead)
        w->fn(w->ctx, e->events, n, mvcc_revision(&e->mvcc));
    span_done(&span);
}

// A burst's scratch is given back.
static void trim_events(struct engine *e)
{
    if (e->nevents <= KEEP_EVENTS)
        return;
    free(e->events);
    free(e->matching);
    e->events = e->matching = NULL;
    e->nevents = 0;
}

static void callbacks_begin(struct engine *e)
{
    pthread_mutex_lock(&e->watch_lock);
    e->delivering = true;
}

static void callbacks_end(struct engine *e)
{
    e->delivering = false;
    list_each_safe (&e->watches, l) {
        struct store_watch *w = container_of(l, struct store_watch, link);
        if (w->dead)
            watch_free(w);
    }
    pthread_mutex_unlock(&e->watch_lock);
}

static void deliver_pasts(struct engine *e)
{
    callbacks_begin(e);
    list_each (&e->watches, l) {
        struct store_watch *w = container_of(l, struct store_watch, link);
        if (w->past.first && !w->dead)
            deliver_past(e, w);
    }
    callbacks_end(e);
}

static void publish(struct engine *e, const struct group *g)
{
    reserve_events(e, g->n);
    for (size_t i = 0; i < g->n; i++)
        e->events[i] = event_of(&g->changes[i]);
    callbacks_begin(e);
    list_each (&e->watches, l) {
        struct store_watch *w = container_of(l, struct store_watch, link);
        size_t n = 0;
        if (w->dead || w->past.first) // one made since the round began finds this group in its past
            continue;
        for (size_t i = 0; i < g->n; i++)
            if (e->events[i].revision > w->after && str_starts(e->events[i].key, w->prefix))
                e->matching[n++] = e->events[i];
        w->fn(w->ctx, e->matching, n, g->revision);
    }
    callbacks_end(e);
}

// Commits, applies and publishes the group; the result that its transactions get instead of their
// own, or STORE_OK.
static enum store_result group_commit(struct engine *e, bool urgent)
{
    struct group *g = &e->group;
    int error = e->failed ? -EIO : g->n && e->commit ? e->commit(e, g, urgent) : 0;
    if (error) {
        group_clear(g, false);
        if (error == -ENOSPC)
            return STORE_FULL;
        e->failed = true;
        return STORE_FAILED;
    }
    if (g->n == 0)
        return STORE_OK;
    struct history_block *forgotten = mvcc_apply(&e->mvcc, g->changes, g->n, g->revision);
    publish(e, g);
    history_free(forgotten);
    group_clear(g, true);
    return STORE_OK;
}

// On a full disk, what makes room (deletes) is tried once more by itself: it may use the reserve.
// The rest of the group stays refused.
static enum store_result commit_urgent(struct engine *e, struct store_txn *first,
                                       struct store_txn *end)
{
    group_start(&e->group);
    for (struct store_txn *t = first; t != end; t = t->next)
        if (t->urgent)
            group_add(&e->group, t);
    return group_commit(e, true);
}

// Takes transactions off the front of *list into a group and answers them.
static void run_group(struct engine *e, struct store_txn **list)
{
    struct store_txn *first = *list, *end = first;
    bool any_urgent = false;
    group_start(&e->group);
    for (size_t n = 0; end && n < GROUP_TXNS && e->group.bytes < GROUP_BYTES;
         n++, end = end->next) {
        group_add(&e->group, end);
        any_urgent |= end->urgent;
    }
    *list = end;
    enum store_result all = group_commit(e, false), urgent = all;
    if (all == STORE_FULL && any_urgent)
        urgent = commit_urgent(e, first, end);
    while (first != end) {
        struct store_txn *t = first;
        first = t->next; // complete gives it back to its owner
        enum store_result fate = t->urgent ? urgent : all;
        if (fate != STORE_OK && t->nwrites)
            t->result = fate;
        t->complete(t);
    }
}

// One round, with the lock held; lets go of it meanwhile.
static void run_round(struct engine *e)
{
    struct store_txn *list = e->waiting;
    bool new_watches = e->new_watches;
    e->waiting = NULL;
    e->waiting_tail = &e->waiting;
    e->new_watches = false;
    pthread_mutex_unlock(&e->lock);
    if (new_watches)
        deliver_pasts(e);
    while (list)
        run_group(e, &list);
    trim_events(e);
    pthread_mutex_lock(&e->lock);
}

static bool work_waits(const struct engine *e)
{
    return e->waiting || e->new_watches;
}

void engine_run_thread(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!work_waits(e) && !e->closing)
            pthread_cond_wait(&e->wake, &e->lock);
        if (!work_waits(e))
            break;
        run_round(e);
    }
    pthread_mutex_unlock(&e->lock);
}

// With the lock held, after adding work; lets go of it.
static void work_added(struct engine *e)
{
    if (e->threaded) {
        pthread_cond_signal(&e->wake);
    } else if (!e->running) {
        e->running = true;
        while (work_waits(e))
            run_round(e);
        e->running = false;
    }
    pthread_mutex_unlock(&e->lock);
}

void engine_stop(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void engine_txn(struct store *s, struct store_txn *t)
{
    struct engine *e = container_of(s, struct engine, store);
    t->next = NULL;
    pthread_mutex_lock(&e->lock);
    if (e->closing) {
        pthread_mutex_unlock(&e->lock);
        t->result = STORE_CLOSED;
        t->complete(t);
        return;
    }
    *e->waiting_tail = t;
    e->waiting_tail = &t->next;
    work_added(e);
}

int engine_range(struct store *s, struct str prefix, uint64_t revision,
                 bool (*fn)(void *ctx, const struct store_kv *kv), void *ctx,
                 uint64_t *ret_revision, struct err *e)
{
    struct engine *engine = container_of(s, struct engine, store);
    return mvcc_range(&engine->mvcc, prefix, revision, fn, ctx, ret_revision, e);
}

uint64_t engine_revision(struct store *s)
{
    return mvcc_revision(&container_of(s, struct engine, store)->mvcc);
}

uint64_t engine_floor(struct store *s)
{
    return mvcc_floor(&container_of(s, struct engine, store)->mvcc);
}

int engine_watch(struct store *s, struct str prefix, uint64_t after, store_watch_fn *fn, void *ctx,
                 struct store_watch **ret, struct err *e)
{
    struct engine *engine = container_of(s, struct engine, store);
    struct history_span past;
    pthread_mutex_lock(&engine->watch_lock);
    int code = mvcc_span(&engine->mvcc, after, &past, e);
    if (code) {
        pthread_mutex_unlock(&engine->watch_lock);
        return code;
    }
    struct store_watch *w = mem_zalloc(sizeof *w);
    w->prefix = (struct str){mem_cstr(prefix), prefix.n};
    w->after = after;
    w->fn = fn;
    w->ctx = ctx;
    w->past = past;
    list_push(&engine->watches, &w->link);
    *ret = w; // before any callback can run
    pthread_mutex_unlock(&engine->watch_lock);

    pthread_mutex_lock(&engine->lock);
    engine->new_watches = true;
    work_added(engine);
    return 0;
}

void engine_unwatch(struct store *s, struct store_watch *w)
{
    struct engine *e = container_of(s, struct engine, store);
    if (!w)
        return;
    pthread_mutex_lock(&e->watch_lock);
    if (e->delivering) // only this thread's own callback gets here then
        w->dead = true;
    else
        watch_free(w);
    pthread_mutex_unlock(&e->watch_lock);
}

int engine_compact(struct store *s, uint64_t revision, struct err *e)
{
    return mvcc_compact(&container_of(s, struct engine, store)->mvcc, revision, e);
}
