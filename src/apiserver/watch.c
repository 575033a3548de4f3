// Watches: see watch.h. The decision which of ADDED, MODIFIED and DELETED a watcher is told follows
// from whether the object was and is among the selected:
//
//     was \ is |  no        yes
//     no       |  nothing   ADDED
//     yes      |  DELETED   MODIFIED
//
// where an object that is gone "is" not. DELETED shows the last state under the revision of the
// change.
//
// Memory: a watch that waits holds this struct, its sink's, and its compiled selectors where it has
// any; the cursor of the initial state is freed when that has been delivered.
#include "apiserver/watch.h"
#include "apiserver/convert.h"
#include "base/time.h"

#define BACKLOG_MAX 16384
#define TIMEOUT_MAX ((int64_t)30 * 86400) // seconds

struct initial {
    struct cache_snapshot snapshot;
    struct cache_cursor cursor;
    struct object *next;
};

struct api_watch {
    struct cache_watcher watcher;
    struct apiserver *server;
    struct loop *loop;
    const struct kind *kind;
    char *ns; // NULL: all
    struct selection selection;
    struct arena arena; // of the selection, when it has labels
    void *block;        // of the selection, when it has not
    bool bookmarks, initial_events;
    bool full;       // the sink, during the initial state
    bool delivering; // a callback runs: watch_stop leaves freeing to it
    bool stopped;
    struct initial *initial;      // NULL: live
    struct cache_event **backlog; // references
    size_t nbacklog, capbacklog;
    uint64_t revision; // up to which it has been told everything
    struct loop_task start;
    struct loop_timer timeout;
    struct watch_sink sink;
};

struct object *watch_item_object(const struct api_watch *w, const struct watch_item *it)
{
    if (it->object)
        return shown_as(w->kind, it->object);
    if (!it->event)
        return NULL;
    _cleanup_object_ struct object *o = cache_event_object(it->event, it->type);
    return shown_as(w->kind, o);
}

static void release(struct api_watch *w)
{
    cache_unwatch(&w->watcher);
    loop_timer_cancel(w->loop, &w->timeout);
    if (w->initial)
        cache_snapshot_done(&w->initial->snapshot);
    free(TAKE_PTR(w->initial));
    for (size_t i = 0; i < w->nbacklog; i++)
        cache_event_unref(w->backlog[i]);
    free(TAKE_PTR(w->backlog));
    w->nbacklog = w->capbacklog = 0;
}

static void destroy(struct api_watch *w)
{
    atomic_fetch_sub_explicit(&w->server->active_watches, 1, memory_order_relaxed);
    arena_done(&w->arena);
    free(w->block);
    free(w->ns);
    free(w);
}

// The start task may still be queued; then it is the one that frees.
static void let_go(struct api_watch *w)
{
    if (!w->delivering && !atomic_load_explicit(&w->start.queued, memory_order_acquire))
        destroy(w);
}

void watch_stop(struct api_watch *w)
{
    if (w->stopped)
        return;
    w->stopped = true;
    release(w);
    let_go(w);
}

static void end(struct api_watch *w, const struct err *e)
{
    w->stopped = true;
    release(w);
    w->sink.on_end(w->sink.ctx, e);
    let_go(w);
}

// ---- what concerns this watch

static bool in_namespace(const struct api_watch *w, const struct object *o)
{
    return !w->ns || str_eqc(object_namespace(o), w->ns);
}

static bool tree_matches(const struct api_watch *w, struct arena *a, const struct value *v)
{
    if (!convert_needed(w->kind) || !w->selection.nfields)
        return selection_tree(&w->selection, v);
    struct value *converted = value_clone(a, v);
    convert_from_storage(a, w->kind, converted);
    return selection_tree(&w->selection, converted);
}

static bool event_matches(struct api_watch *w, struct cache_view *v, bool before)
{
    const struct object *o = before ? v->event->previous : v->event->object;
    if (!o || !in_namespace(w, o) || !selection_key(&w->selection, o))
        return false;
    if (!selection_needs_tree(&w->selection))
        return true;
    return tree_matches(w, v->arena, before ? cache_view_before(v) : cache_view_now(v));
}

static void deliver_event(struct api_watch *w, struct cache_view *v)
{
    bool was = event_matches(w, v, true), is = event_matches(w, v, false);
    w->revision = v->event->revision;
    if (!was && !is)
        return;
    struct watch_item it = {
        .type = was && is ? WATCH_MODIFIED
                : is      ? WATCH_ADDED
                          : WATCH_DELETED,
        .revision = v->event->revision,
        .event = v->event,
    };
    w->sink.on_item(w->sink.ctx, &it);
}

static void bookmark(struct api_watch *w, bool initial_end)
{
    struct watch_item it = {
        .type = WATCH_BOOKMARK, .initial_end = initial_end, .revision = w->revision};
    w->sink.on_item(w->sink.ctx, &it);
}

// ---- from the cache

static void on_event(struct cache_watcher *cw, struct cache_view *v)
{
    struct api_watch *w = container_of(cw, struct api_watch, watcher);
    if (!w->initial && !w->full && !w->nbacklog) {
        w->delivering = true;
        deliver_event(w, v);
        w->delivering = false;
        if (w->stopped)
            destroy(w);
        return;
    }
    if (w->nbacklog == BACKLOG_MAX) {
        _cleanup_err_ struct err e = ERR_INIT;
        err_set(&e, ERR_EXPIRED, "the watch was too slow: %d events waited for it", BACKLOG_MAX);
        end(w, &e);
        return;
    }
    if (w->nbacklog == w->capbacklog) {
        w->capbacklog = w->capbacklog ? w->capbacklog * 2 : 16;
        w->backlog = mem_realloc(w->backlog, w->capbacklog * sizeof *w->backlog);
    }
    w->backlog[w->nbacklog++] = cache_event_ref(v->event);
}

static void on_flush(struct cache_watcher *cw)
{
    struct api_watch *w = container_of(cw, struct api_watch, watcher);
    if (w->initial || !w->sink.on_flush)
        return;
    w->delivering = true;
    w->sink.on_flush(w->sink.ctx);
    w->delivering = false;
    if (w->stopped)
        destroy(w);
}

static void on_progress(struct cache_watcher *cw, uint64_t revision)
{
    struct api_watch *w = container_of(cw, struct api_watch, watcher);
    if (w->initial || w->nbacklog || !w->bookmarks)
        return;
    if (revision > w->revision)
        w->revision = revision;
    w->delivering = true;
    bookmark(w, false);
    if (!w->stopped && w->sink.on_flush)
        w->sink.on_flush(w->sink.ctx);
    w->delivering = false;
    if (w->stopped)
        destroy(w);
}

static void on_lost(struct cache_watcher *cw)
{
    struct api_watch *w = container_of(cw, struct api_watch, watcher);
    _cleanup_err_ struct err e = ERR_INIT;
    err_set(&e, ERR_EXPIRED, "the watch fell too far behind");
    end(w, &e);
}

static void on_timeout(struct loop_timer *t)
{
    struct api_watch *w = container_of(t, struct api_watch, timeout);
    if (w->bookmarks && !w->initial && !w->nbacklog) {
        w->delivering = true;
        bookmark(w, false);
        w->delivering = false;
        if (w->stopped) {
            destroy(w);
            return;
        }
    }
    end(w, NULL);
}

// ---- the initial state, and what waited behind it

static void pump_initial(struct api_watch *w)
{
    struct initial *in = w->initial;
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    while (in->next && !w->full && !w->stopped) {
        struct object *o = in->next;
        in->next = cache_next(&in->cursor);
        if (!selection_key(&w->selection, o))
            continue;
        if (selection_needs_tree(&w->selection)) {
            bool matches = tree_matches(w, &scratch, object_tree(&scratch, o));
            arena_reset(&scratch);
            if (!matches)
                continue;
        }
        struct watch_item it = {.type = WATCH_ADDED, .revision = o->revision, .object = o};
        w->full = !w->sink.on_item(w->sink.ctx, &it);
    }
    if (in->next || w->stopped || w->full)
        return;
    w->revision = in->snapshot.revision;
    cache_snapshot_done(&in->snapshot);
    free(TAKE_PTR(w->initial));
    if (w->initial_events)
        bookmark(w, true);
}

static void pump_backlog(struct api_watch *w)
{
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    size_t n = w->nbacklog;
    for (size_t i = 0; i < n && !w->stopped; i++) {
        struct cache_view v = {.event = w->backlog[i], .arena = &scratch};
        deliver_event(w, &v);
        arena_reset(&scratch);
    }
    if (w->stopped) // release has freed it
        return;
    for (size_t i = 0; i < n; i++)
        cache_event_unref(w->backlog[i]);
    free(TAKE_PTR(w->backlog));
    w->nbacklog = w->capbacklog = 0;
}

static void pump(struct api_watch *w)
{
    w->delivering = true;
    if (w->initial && !w->full)
        pump_initial(w);
    if (!w->stopped && !w->initial && !w->full)
        pump_backlog(w);
    if (!w->stopped && w->sink.on_flush)
        w->sink.on_flush(w->sink.ctx);
    w->delivering = false;
    if (w->stopped)
        destroy(w);
}

void watch_resume(struct api_watch *w)
{
    if (!w->full || w->stopped)
        return;
    w->full = false;
    if (!w->delivering)
        pump(w);
}

static void on_start(struct loop_task *t)
{
    struct api_watch *w = container_of(t, struct api_watch, start);
    if (w->stopped)
        destroy(w);
    else
        pump(w);
}

static void start_from_now(struct api_watch *w)
{
    struct initial *in = mem_zalloc(sizeof *in);
    cache_watch(w->server->cache, w->loop, w->kind, &w->watcher, &in->snapshot);
    struct str ns = w->ns ? str_of(w->ns) : w->selection.ns;
    struct str name = w->selection.name;
    w->initial = in;
    in->next = cache_first(&in->cursor, &in->snapshot, ns);
    // A watch of one object does not walk the others.
    if (name.n && (ns.n || !(w->kind->flags & KIND_NAMESPACED))) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct str key = cache_key(&a, w->kind, ns, name);
        in->next = ptree_seek(&in->cursor.at, cache_objects_ops(), in->snapshot.tree, key);
        if (in->next && !str_eq(in->next->key, key))
            in->next = NULL;
        // cache_next stops where keys no longer begin with this.
        if (key.n <= sizeof in->cursor.prefix) {
            memcpy(in->cursor.prefix, key.p, key.n);
            in->cursor.prefix_n = key.n;
        }
    }
}

int watch_start(struct apiserver *s, struct loop *l, const struct api_request *r,
                const struct watch_sink *sink, struct api_watch **ret, struct err *e)
{
    if (!(r->kind->verbs & VERB_WATCH))
        return err_set(e, ERR_METHOD_NOT_ALLOWED,
                       "the server does not allow this method on the requested resource");
    struct api_watch *w = mem_zalloc(sizeof *w);
    atomic_fetch_add_explicit(&s->active_watches, 1, memory_order_relaxed);
    w->server = s;
    w->loop = l;
    w->kind = r->kind;
    w->ns = r->ns.n ? mem_cstr(r->ns) : NULL;
    w->bookmarks = r->allow_bookmarks;
    w->initial_events = r->send_initial_events;
    w->sink = *sink;
    w->start.fn = on_start;
    w->timeout.fn = on_timeout;
    w->watcher = (struct cache_watcher){.on_event = on_event,
                                        .on_flush = on_flush,
                                        .on_progress = w->bookmarks ? on_progress : NULL,
                                        .on_lost = on_lost};
    uint64_t after = 0;
    int code = watch_position(r, &after, e);
    if (code >= 0 && (r->label_selector.n || r->field_selector.n || r->name.n)) {
        // The texts are kept with the selection, which points into them.
        code = selection_parse(&w->arena, r->kind, arena_str(&w->arena, r->label_selector),
                               arena_str(&w->arena, r->field_selector), &w->selection, e);
        if (code >= 0 && r->name.n) {
            w->selection.never |= w->selection.name.n && !str_eq(w->selection.name, r->name);
            w->selection.name = arena_str(&w->arena, r->name);
        }
        if (code >= 0 && !w->selection.labels) {
            w->selection = selection_pack(&w->selection, &w->block);
            arena_done(&w->arena);
        }
    }
    if (code >= 0 && after)
        code = cache_watch_from(s->cache, l, r->kind, after, &w->watcher, &w->backlog, &w->nbacklog,
                                &w->revision, e);
    if (code < 0) {
        destroy(w);
        return code;
    }
    w->capbacklog = w->nbacklog;
    if (!after)
        start_from_now(w);
    else if (after > w->revision)
        w->revision = after;
    if (r->timeout_seconds > 0)
        loop_timer_in(
            l, &w->timeout,
            (uint64_t)(r->timeout_seconds < TIMEOUT_MAX ? r->timeout_seconds : TIMEOUT_MAX) *
                NS_PER_S);
    *ret = w;
    loop_post(l, &w->start);
    return 0;
}

// ---- in-process: batches of struct watch_event

struct batch {
    struct api_watch_handler handler;
    struct api_watch *watch;
    struct watch_event *events;
    size_t n, cap;
    bool ending, stopped; // the last batch is being delivered; and its receiver has asked to stop
};

static void batch_flush(void *ctx)
{
    struct batch *b = ctx;
    size_t n = b->n;
    struct watch_event *events = TAKE_PTR(b->events);
    b->n = b->cap = 0;
    // The handler may stop the watch, and then `b` is gone.
    if (n)
        b->handler.on_events(b->handler.ctx, events, n);
    for (size_t i = 0; i < n; i++)
        object_unref(events[i].object);
    free(events);
}

static bool batch_item(void *ctx, const struct watch_item *it)
{
    struct batch *b = ctx;
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 8;
        b->events = mem_realloc(b->events, b->cap * sizeof *b->events);
    }
    b->events[b->n++] = (struct watch_event){
        .type = it->type,
        .initial_end = it->initial_end,
        .object = watch_item_object(b->watch, it),
        .revision = it->revision,
    };
    return true;
}

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        object_unref(b->events[i].object);
    free(b->events);
    free(b);
}

static void batch_end(void *ctx, const struct err *e)
{
    struct batch *b = ctx;
    struct api_watch_handler h = b->handler;
    b->ending = true;
    batch_flush(b);
    bool stopped = b->stopped;
    batch_free(b);
    if (!stopped)
        h.on_end(h.ctx, e);
}

int api_watch_start(struct apiserver *s, struct loop *l, const struct api_request *r,
                    const struct identity *who, const struct api_watch_handler *h,
                    struct api_watch **ret, struct err *e)
{
    struct api_request watching = *r;
    watching.verb = VERB_WATCH;
    int code = request_authorise(s, who, &watching, e);
    if (code < 0)
        return code;
    struct batch *b = mem_zalloc(sizeof *b);
    b->handler = *h;
    struct watch_sink sink = {
        .on_item = batch_item, .on_flush = batch_flush, .on_end = batch_end, .ctx = b};
    code = watch_start(s, l, r, &sink, &b->watch, e);
    if (code < 0) {
        free(b);
        return code;
    }
    *ret = b->watch;
    return 0;
}

void api_watch_stop(struct api_watch *w)
{
    struct batch *b = w->sink.ctx;
    if (b->ending) {
        b->stopped = true;
        return;
    }
    watch_stop(w);
    batch_free(b);
}
