// Feeds: how events reach watchers.
//
//     store's writer ──(one append, one post)──▶ feed of (kind, loop) ──▶ watcher, watcher, watcher
//     …
//
// The writer never looks at a watcher. It appends references to each feed of the kind and posts the
// feed's task; the loop takes the whole batch and walks its own watchers. A watcher subscribes and
// takes its snapshot under the same lock, and remembers the revision (`position`): whatever the
// feed still holds from before is skipped for it.
//
// A feed whose loop does not come round holds at most FEED_MAX events; then all its watchers are
// told that they are lost, and start again from a list. Feeds are few (kinds × loops) and live as
// long as the cache.
//
// A watcher may go away in any callback, its own or another's: the walk keeps its cursor in the
// feed.
#include "apiserver/cache_private.h"
#include "base/time.h"

#define FEED_MAX      65536
#define PROGRESS_TIME ((uint64_t)60 * NS_PER_S)

const struct value *cache_view_now(struct cache_view *v)
{
    if (!v->now && v->event->object)
        v->now = object_tree(v->arena, v->event->object);
    return v->now;
}

const struct value *cache_view_before(struct cache_view *v)
{
    if (!v->before && v->event->previous)
        v->before = object_tree(v->arena, v->event->previous);
    return v->before;
}

// Calls `what` for each watcher, whoever leaves meanwhile.
#define feed_each(f, w)                                                                            \
    for (struct list *it_ = (f)->watchers.next;                                                    \
         it_ != &(f)->watchers &&                                                                  \
         ((f)->cursor = it_->next, (w) = container_of(it_, struct cache_watcher, link), true);     \
         it_ = (f)->cursor)

static void feed_lose(struct cache_feed *f)
{
    while (!list_empty(&f->watchers)) {
        struct cache_watcher *w = container_of(f->watchers.next, struct cache_watcher, link);
        cache_unwatch(w);
        w->on_lost(w);
    }
}

static void feed_deliver(struct cache_feed *f, struct cache_event **events, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct cache_watcher *w;
    for (size_t i = 0; i < n && !list_empty(&f->watchers); i++) {
        struct cache_view v = {.event = events[i], .arena = &a};
        feed_each(f, w)
        {
            if (events[i]->revision <= w->position)
                continue;
            w->touched = true;
            w->on_event(w, &v);
        }
        if (v.now || v.before)
            arena_reset(&a);
    }
    feed_each(f, w)
    {
        if (!w->touched)
            continue;
        w->touched = false;
        if (w->on_flush)
            w->on_flush(w);
    }
}

// Takes what is pending and delivers it; *ret_revision: everything up to it has been delivered.
static void feed_drain(struct cache_feed *f, uint64_t *ret_revision)
{
    struct cache *c = f->cache;
    pthread_mutex_lock(&c->lock);
    struct cache_event **events = TAKE_PTR(f->pending);
    size_t n = f->pending_n;
    bool lost = f->lost;
    f->pending_n = f->pending_cap = 0;
    f->lost = false;
    *ret_revision = c->revision;
    pthread_mutex_unlock(&c->lock);
    f->running = true;
    if (lost)
        feed_lose(f);
    else
        feed_deliver(f, events, n);
    f->running = false;
    for (size_t i = 0; i < n; i++)
        cache_event_unref(events[i]);
    free(events);
}

static void feed_task(struct loop_task *t)
{
    uint64_t revision;
    feed_drain(container_of(t, struct cache_feed, task), &revision);
}

// Marks are due at whole minutes of the clock: a loop wakes once for all its feeds.
static void arm_progress(struct cache_feed *f)
{
    uint64_t now = loop_now(f->loop);
    loop_timer_at(f->loop, &f->timer, (now / PROGRESS_TIME + 1) * PROGRESS_TIME);
}

static void feed_progress(struct loop_timer *t)
{
    struct cache_feed *f = container_of(t, struct cache_feed, timer);
    uint64_t revision;
    feed_drain(f, &revision);
    struct cache_watcher *w;
    bool wanted = false;
    feed_each(f, w)
    {
        if (!w->on_progress)
            continue;
        wanted = true;
        w->on_progress(w, revision);
    }
    if (wanted && !list_empty(&f->watchers))
        arm_progress(f);
}

void cache_feeds_push(struct cache_kind *k, struct cache_event **events, size_t n)
{
    for (struct cache_feed *f = k->feeds; f; f = f->next) {
        if (!f->active)
            continue;
        if (f->lost || f->pending_n + n > FEED_MAX) {
            f->lost = true;
        } else {
            if (f->pending_n + n > f->pending_cap) {
                size_t cap = f->pending_cap ? f->pending_cap * 2 : 16;
                while (cap < f->pending_n + n)
                    cap *= 2;
                f->pending = mem_realloc(f->pending, cap * sizeof(void *));
                f->pending_cap = cap;
            }
            for (size_t i = 0; i < n; i++)
                f->pending[f->pending_n++] = cache_event_ref(events[i]);
        }
        loop_post(f->loop, &f->task);
    }
}

void cache_feeds_free(struct cache_kind *k)
{
    while (k->feeds) {
        struct cache_feed *f = k->feeds;
        k->feeds = f->next;
        BUG_ON(!list_empty(&f->watchers));
        for (size_t i = 0; i < f->pending_n; i++)
            cache_event_unref(f->pending[i]);
        free(f->pending);
        free(f);
    }
}

// Under the lock.
static struct cache_feed *feed_get(struct cache *c, struct cache_kind *k, struct loop *l)
{
    struct cache_feed *f = k->feeds;
    while (f && f->loop != l)
        f = f->next;
    if (!f) {
        f = mem_zalloc(sizeof *f);
        f->task.fn = feed_task;
        f->timer.fn = feed_progress;
        f->cache = c;
        f->kind = k;
        f->loop = l;
        list_init(&f->watchers);
        f->cursor = &f->watchers;
        f->next = k->feeds;
        k->feeds = f;
    }
    f->active = true;
    return f;
}

static void join(struct cache_watcher *w, struct cache_feed *f, uint64_t position)
{
    w->feed = f;
    w->position = position;
    w->touched = false;
    list_push(&f->watchers, &w->link);
    if (w->on_progress && !loop_timer_armed(&f->timer))
        arm_progress(f);
}

void cache_watch(struct cache *c, struct loop *l, const struct kind *k, struct cache_watcher *w,
                 struct cache_snapshot *ret)
{
    struct cache_kind *ck = cache_kind_of(c, k);
    pthread_mutex_lock(&c->lock);
    struct cache_feed *f = feed_get(c, ck, l);
    *ret = (struct cache_snapshot){k, ptree_ref(ck->tree), c->revision};
    pthread_mutex_unlock(&c->lock);
    join(w, f, ret->revision);
}

int cache_watch_from(struct cache *c, struct loop *l, const struct kind *k, uint64_t after,
                     struct cache_watcher *w, struct cache_event ***ret_events, size_t *ret_n,
                     uint64_t *ret_revision, struct err *e)
{
    struct cache_kind *ck = cache_kind_of(c, k);
    pthread_mutex_lock(&c->lock);
    if (after < ck->floor) {
        uint64_t floor = ck->floor;
        pthread_mutex_unlock(&c->lock);
        return err_set(e, ERR_EXPIRED, "too old resource version: %llu (%llu)",
                       (unsigned long long)after, (unsigned long long)floor);
    }
    size_t from = cache_ring_seek(ck, after), n = ck->ring_n - from;
    struct cache_event **events = n ? mem_alloc(n * sizeof(void *)) : NULL;
    for (size_t i = 0; i < n; i++)
        events[i] = cache_event_ref(cache_ring_get(ck, from + i));
    struct cache_feed *f = feed_get(c, ck, l);
    uint64_t revision = c->revision;
    pthread_mutex_unlock(&c->lock);
    // A start in the future: nothing until then.
    join(w, f, after > revision ? after : revision);
    *ret_events = events;
    *ret_n = n;
    *ret_revision = revision;
    return 0;
}

void cache_unwatch(struct cache_watcher *w)
{
    struct cache_feed *f = w->feed;
    if (!f)
        return;
    if (f->cursor == &w->link)
        f->cursor = w->link.next;
    list_remove(&w->link);
    w->feed = NULL;
    if (!list_empty(&f->watchers))
        return;
    loop_timer_cancel(f->loop, &f->timer);
    struct cache_event **events;
    size_t n;
    pthread_mutex_lock(&f->cache->lock);
    f->active = false;
    f->lost = false;
    events = TAKE_PTR(f->pending);
    n = f->pending_n;
    f->pending_n = f->pending_cap = 0;
    pthread_mutex_unlock(&f->cache->lock);
    for (size_t i = 0; i < n; i++)
        cache_event_unref(events[i]);
    free(events);
}
