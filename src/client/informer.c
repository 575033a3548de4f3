// Informers: one local copy of a kind per process, kept current by a watch.
//
// The copy starts with a streaming list: a watch that is asked for its initial events. Those fill a
// tree aside (`fresh`) until the bookmark that ends them; then the tree is compared with what was
// known, handlers hear the differences, and from there on each event changes the tree and is told.
// So nothing here blocks, and the loop needs no thread for lists. A broken stream resumes from the
// last revision seen; when the server no longer knows that revision (410), the streaming list is
// made again and compared as before.
//
//     idle --start--> listing --initial end--> watching
//                      ^  |                     ^    |
//                      |  | ended, error        |    | ended, error: resume from the revision, at
//                      |  v                     |    v once the first time, then backing off
//                      waiting (back-off 100 ms .. 10 s, with jitter)
//
// 410: the revision is forgotten, so waiting goes back to listing instead of to watching.
//
// Reads from any thread: `lock` guards the roots of `tree` and of the indexes, for as long as a
// lookup or taking a reference lasts. Values in them are references to shared objects.
//
// An index is a map from value to a tree of the objects found under it. What fn gives is asked for
// again when an object leaves: it must depend on the object alone.
#include "client/informer.h"
#include "base/log.h"
#include "base/map.h"
#include "base/ptree.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/hook.h"

#define BACKOFF_FIRST (100 * NS_PER_MS)
#define BACKOFF_MAX   (10 * NS_PER_S)

struct index {
    struct index *next;
    const char *name;
    informer_index_fn *fn;
    struct map buckets; // value -> struct ptree
};

struct informer {
    struct informers *factory;
    struct informer *next;
    const struct kind *kind;
    struct str ns, label_selector, field_selector; // owned

    pthread_mutex_t lock;
    struct ptree *tree;
    struct index *indexes;

    // The loop's.
    struct ptree *fresh;                              // while listing
    struct informer_handler *handlers, *next_handler; // next_handler: see notify
    struct client_watch *watch;
    struct loop_timer retry;
    uint64_t revision, backoff;
    bool listing, heard;
    _Atomic(bool) synced;
    _Atomic(uint64_t) applied; // the revision that readers can rely on
};

struct waiter {
    struct waiter *next;
    void (*fn)(void *ctx);
    void *ctx;
    size_t informers; // the first so many must be synced
};

struct informers {
    struct client *client;
    struct loop *loop;
    struct informer *first, **last;
    size_t n;
    bool started;
    struct waiter *waiters;
    struct hook *check;
};

// The key in an informer: the tail of the storage key, "namespace/name" or "name".
static struct str informer_key(const void *value)
{
    const struct object *o = value;
    ptrdiff_t slash = str_rchr(o->key, '/');
    if (slash >= 0 && o->kind && o->kind->flags & KIND_NAMESPACED) {
        ptrdiff_t before = str_rchr(str_sub(o->key, 0, (size_t)slash), '/');
        slash = before >= 0 ? before : slash;
    }
    return str_from(o->key, (size_t)(slash + 1));
}

static void value_ref(void *value)
{
    object_ref(value);
}

static void value_unref(void *value)
{
    object_unref(value);
}

static const struct ptree_ops tree_ops = {value_ref, value_unref, informer_key};

// Indexes.

struct emit {
    struct index *index;
    struct object *object;
    bool remove;
};

static void emit_value(void *ctx, struct str value)
{
    struct emit *m = ctx;
    struct ptree *bucket = map_get(&m->index->buckets, value);
    if (m->remove) {
        ptree_del_in(&tree_ops, &bucket, informer_key(m->object));
        if (!ptree_count(bucket)) {
            ptree_unref(&tree_ops, bucket);
            map_del(&m->index->buckets, value);
            return;
        }
    } else {
        ptree_put_in(&tree_ops, &bucket, m->object);
    }
    map_set(&m->index->buckets, value, bucket);
}

static void index_one(struct index *x, struct arena *a, struct object *o, bool remove)
{
    if (!o)
        return;
    struct emit m = {x, o, remove};
    x->fn(a, o, emit_value, &m);
    arena_reset(a);
}

static void index_all(struct informer *i, struct object *old, struct object *new)
{
    if (!i->indexes)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (struct index *x = i->indexes; x; x = x->next) {
        index_one(x, &a, old, true);
        index_one(x, &a, new, false);
    }
}

static void notify(struct informer *i, struct object *old, struct object *new)
{
    for (struct informer_handler *h = i->handlers; h; h = i->next_handler) {
        i->next_handler = h->next; // informer_remove_handler moves it on
        h->on_change(h->ctx, old, new);
    }
}

// The tree and the indexes; the former object comes back as a reference.
static struct object *replace(struct informer *i, struct str key, struct object *new)
{
    pthread_mutex_lock(&i->lock);
    struct object *old = object_ref(ptree_get(&tree_ops, i->tree, key));
    if (old != new) {
        index_all(i, old, new);
        if (new)
            ptree_put_in(&tree_ops, &i->tree, new);
        else
            ptree_del_in(&tree_ops, &i->tree, key);
    }
    pthread_mutex_unlock(&i->lock);
    return old;
}

static bool same(const struct object *old, const struct object *new)
{
    return old == new || (old && new && old->revision == new->revision);
}

static void raise_applied(struct informer *i, uint64_t revision)
{
    if (revision > i->applied)
        i->applied = revision;
}

// One change: readers first, then the handlers.
static void apply(struct informer *i, struct str key, struct object *new, uint64_t revision)
{
    _cleanup_object_ struct object *old = replace(i, key, new);
    raise_applied(i, revision);
    if (!same(old, new))
        notify(i, old, new);
}

// Walks two trees side by side in key order; fn gets what differs.
static void compare(struct informer *i, struct ptree *was, struct ptree *now,
                    void (*fn)(struct informer *i, struct object *old, struct object *new))
{
    struct ptree_cursor a, b;
    struct object *old = ptree_seek(&a, &tree_ops, was, STR_NULL);
    struct object *new = ptree_seek(&b, &tree_ops, now, STR_NULL);
    while (old || new) {
        int order = !old ? 1 : !new ? -1 : str_cmp(informer_key(old), informer_key(new));
        if (order < 0)
            fn(i, old, NULL);
        else if (order > 0)
            fn(i, NULL, new);
        else if (!same(old, new))
            fn(i, old, new);
        if (order <= 0)
            old = ptree_next(&a);
        if (order >= 0)
            new = ptree_next(&b);
    }
}

static void replace_one(struct informer *i, struct object *old, struct object *new)
{
    object_unref(replace(i, informer_key(new ? new : old), new));
}

// The initial events are complete: what is not among them is gone, what differs is told, once all
// of it can be read.
static void swap_in(struct informer *i, uint64_t revision)
{
    struct ptree *was = ptree_ref(i->tree), *fresh = TAKE_PTR(i->fresh);
    i->listing = false;
    compare(i, was, fresh, replace_one);
    raise_applied(i, revision);
    compare(i, was, fresh, notify);
    ptree_unref(&tree_ops, was);
    ptree_unref(&tree_ops, fresh);
    if (!i->synced) {
        i->synced = true;
        if (i->factory->waiters)
            hook_post(i->factory->check);
    }
}

static void run(struct informer *i);

static void on_retry(struct loop_timer *t)
{
    run(container_of(t, struct informer, retry));
}

static void retry_later(struct informer *i)
{
    struct loop *l = i->factory->loop;
    i->backoff = i->backoff ? i->backoff * 2 : (uint64_t)BACKOFF_FIRST;
    if (i->backoff > (uint64_t)BACKOFF_MAX)
        i->backoff = BACKOFF_MAX;
    uint32_t r;
    env_random(loop_env(l), &r, sizeof r);
    loop_timer_in(l, &i->retry, i->backoff / 2 + i->backoff / 2 * (r >> 16) / 65536);
}

// Said once an outage, not once an attempt.
static void report(struct informer *i, const struct err *e)
{
    log_at(i->backoff ? LOG_DEBUG : LOG_WARN, "client", "watch resource=%.*s error=\"%s\"",
           STR_ARG(i->kind->resource), e->message);
}

static void on_events(void *ctx, const struct watch_event *events, size_t n)
{
    struct informer *i = ctx;
    i->heard = true;
    for (size_t at = 0; at < n; at++) {
        const struct watch_event *ev = &events[at];
        if (ev->type == WATCH_BOOKMARK) {
            if (ev->initial_end && i->listing)
                swap_in(i, ev->revision);
            raise_applied(i, ev->revision);
        } else if (i->listing) {
            if (ev->type == WATCH_DELETED)
                ptree_del_in(&tree_ops, &i->fresh, informer_key(ev->object));
            else
                ptree_put_in(&tree_ops, &i->fresh, ev->object);
            continue; // a revision to resume from comes with the end of the initial events
        } else {
            apply(i, informer_key(ev->object), ev->type == WATCH_DELETED ? NULL : ev->object,
                  ev->revision);
        }
        if (ev->revision > i->revision)
            i->revision = ev->revision;
        i->backoff = 0;
    }
}

static void on_end(void *ctx, const struct err *e)
{
    struct informer *i = ctx;
    i->watch = NULL;
    if (i->listing) {
        ptree_unref(&tree_ops, TAKE_PTR(i->fresh));
        i->revision = 0;
    }
    if (err_is(e, ERR_EXPIRED) || err_is(e, ERR_GONE)) {
        i->revision = 0;
    } else if (e) {
        report(i, e);
        retry_later(i);
        return;
    }
    // A server that closes at once, again and again, is not asked without pause.
    if (i->heard)
        loop_timer_in(i->factory->loop, &i->retry, 0);
    else
        retry_later(i);
}

// Starts the watch: from the last revision, or with everything there is.
static void run(struct informer *i)
{
    struct informers *f = i->factory;
    char text[24];
    struct api_request r = {
        .verb = VERB_WATCH,
        .kind = i->kind,
        .ns = i->ns,
        .label_selector = i->label_selector,
        .field_selector = i->field_selector,
        .allow_bookmarks = true,
        .grace_period_seconds = -1,
    };
    i->heard = false;
    i->listing = i->revision == 0;
    if (i->listing) {
        r.send_initial_events = true;
        r.resource_version_match = STR("NotOlderThan");
    } else {
        int n = snprintf(text, sizeof text, "%llu", (unsigned long long)i->revision);
        r.resource_version = str_n(text, (size_t)n);
    }
    struct client_watch_handler h = {on_events, on_end, i};
    _cleanup_err_ struct err e = ERR_INIT;
    if (f->client->ops->watch(f->client, f->loop, &r, &h, &i->watch, &e) == 0)
        return;
    i->watch = NULL;
    if (err_is(&e, ERR_EXPIRED) || err_is(&e, ERR_GONE))
        i->revision = 0;
    else
        report(i, &e);
    retry_later(i);
}

// Calls the waiters whose informers are all synced.
static void check_waiters(void *owner)
{
    struct informers *f = owner;
    size_t synced = 0;
    for (struct informer *i = f->first; i && i->synced; i = i->next)
        synced++;
    for (struct waiter **at = &f->waiters; *at;) {
        struct waiter *w = *at;
        if (w->informers > synced) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->fn(w->ctx); // may add waiters, at the head
        free(w);
        at = &f->waiters;
    }
}

struct informers *informers_new(struct client *c, struct loop *l)
{
    struct informers *f = mem_zalloc(sizeof *f);
    f->client = c;
    f->loop = l;
    f->last = &f->first;
    f->check = hook_new(l, check_waiters, f);
    return f;
}

static void informer_free(struct informer *i)
{
    if (i->watch)
        i->factory->client->ops->unwatch(i->watch);
    if (loop_timer_armed(&i->retry))
        loop_timer_cancel(i->factory->loop, &i->retry);
    for (struct index *x = i->indexes, *next; x; x = next) {
        next = x->next;
        map_each (&x->buckets, s)
            ptree_unref(&tree_ops, s->value);
        map_done(&x->buckets);
        free(x);
    }
    ptree_unref(&tree_ops, i->tree);
    ptree_unref(&tree_ops, i->fresh);
    pthread_mutex_destroy(&i->lock);
    free((char *)i->ns.p);
    free((char *)i->label_selector.p);
    free((char *)i->field_selector.p);
    free(i);
}

void informers_free(struct informers *f)
{
    if (!f)
        return;
    for (struct informer *i = f->first, *next; i; i = next) {
        next = i->next;
        informer_free(i);
    }
    for (struct waiter *w = f->waiters, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    hook_free(f->check);
    free(f);
}

struct informer *informers_get(struct informers *f, const struct kind *k)
{
    return informers_get_selected(f, k, STR_NULL, STR_NULL, STR_NULL);
}

struct informer *informers_get_selected(struct informers *f, const struct kind *k, struct str ns,
                                        struct str label_selector, struct str field_selector)
{
    for (struct informer *i = f->first; i; i = i->next) {
        if (i->kind == k && str_eq(i->ns, ns) && str_eq(i->label_selector, label_selector) &&
            str_eq(i->field_selector, field_selector))
            return i;
    }
    struct informer *i = mem_zalloc(sizeof *i);
    i->factory = f;
    i->kind = k;
    i->ns = mem_str(ns);
    i->label_selector = mem_str(label_selector);
    i->field_selector = mem_str(field_selector);
    i->retry.fn = on_retry;
    pthread_mutex_init(&i->lock, NULL);
    *f->last = i;
    f->last = &i->next;
    f->n++;
    if (f->started)
        run(i);
    return i;
}

void informers_start(struct informers *f)
{
    if (f->started)
        return;
    f->started = true;
    for (struct informer *i = f->first; i; i = i->next)
        run(i);
}

void informers_when_synced(struct informers *f, void (*fn)(void *ctx), void *ctx)
{
    struct waiter *w = mem_zalloc(sizeof *w);
    w->fn = fn;
    w->ctx = ctx;
    w->informers = f->n;
    struct waiter **at = &f->waiters; // in the order of asking
    while (*at)
        at = &(*at)->next;
    *at = w;
    hook_post(f->check);
}

void informers_cancel_when_synced(struct informers *f, void *ctx)
{
    for (struct waiter **at = &f->waiters; *at;) {
        struct waiter *w = *at;
        if (w->ctx != ctx) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        free(w);
    }
}

uint64_t informer_revision(const struct informer *i)
{
    return i->applied;
}

bool informer_synced(const struct informer *i)
{
    return i->synced;
}

void informer_add_handler(struct informer *i, struct informer_handler *h)
{
    h->next = NULL;
    struct informer_handler **at = &i->handlers;
    while (*at)
        at = &(*at)->next;
    *at = h;
    struct ptree *t = ptree_ref(i->tree); // only this thread changes it
    struct ptree_cursor c;
    for (struct object *o = ptree_seek(&c, &tree_ops, t, STR_NULL); o; o = ptree_next(&c))
        h->on_change(h->ctx, NULL, o);
    ptree_unref(&tree_ops, t);
}

void informer_remove_handler(struct informer *i, struct informer_handler *h)
{
    for (struct informer_handler **at = &i->handlers; *at; at = &(*at)->next) {
        if (*at != h)
            continue;
        *at = h->next;
        if (i->next_handler == h)
            i->next_handler = h->next;
        return;
    }
}

struct object *informer_get(struct informer *i, struct str key)
{
    pthread_mutex_lock(&i->lock);
    struct object *o = object_ref(ptree_get(&tree_ops, i->tree, key));
    pthread_mutex_unlock(&i->lock);
    return o;
}

struct object *informer_get_ns(struct informer *i, struct str ns, struct str name)
{
    if (!ns.n)
        return informer_get(i, name);
    char key[512];
    if (ns.n + 1 + name.n > sizeof key)
        return NULL; // no API name is so long
    memcpy(key, ns.p, ns.n);
    key[ns.n] = '/';
    memcpy(key + ns.n + 1, name.p, name.n);
    return informer_get(i, str_n(key, ns.n + 1 + name.n));
}

void object_list_done(struct object_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        object_unref(l->items[i]);
    free(l->items);
    *l = (struct object_list){0};
}

// The values of a tree whose key begins with prefix, as references.
static void collect(const struct ptree *t, struct str prefix, struct object_list *ret)
{
    struct ptree_cursor c;
    size_t cap = prefix.n ? 16 : ptree_count(t);
    *ret = (struct object_list){0};
    if (!ptree_count(t))
        return;
    ret->items = mem_alloc(cap * sizeof *ret->items);
    for (struct object *o = ptree_seek(&c, &tree_ops, t, prefix);
         o && str_starts(informer_key(o), prefix); o = ptree_next(&c)) {
        if (ret->n == cap)
            ret->items = mem_realloc(ret->items, (cap *= 2) * sizeof *ret->items);
        ret->items[ret->n++] = object_ref(o);
    }
}

void informer_list(struct informer *i, struct str ns, struct object_list *ret)
{
    char prefix[257];
    if (ns.n >= sizeof prefix) {
        *ret = (struct object_list){0};
        return;
    }
    if (ns.n) {
        memcpy(prefix, ns.p, ns.n);
        prefix[ns.n] = '/';
    }
    pthread_mutex_lock(&i->lock);
    struct ptree *t = ptree_ref(i->tree);
    pthread_mutex_unlock(&i->lock);
    collect(t, str_n(prefix, ns.n ? ns.n + 1 : 0), ret);
    ptree_unref(&tree_ops, t);
}

void informer_add_index(struct informer *i, const char *name, informer_index_fn *fn)
{
    for (struct index *x = i->indexes; x; x = x->next) {
        if (strcmp(x->name, name) == 0)
            return;
    }
    struct index *x = mem_zalloc(sizeof *x);
    x->name = name;
    x->fn = fn;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct ptree_cursor c;
    pthread_mutex_lock(&i->lock);
    for (struct object *o = ptree_seek(&c, &tree_ops, i->tree, STR_NULL); o; o = ptree_next(&c))
        index_one(x, &a, o, false);
    x->next = i->indexes;
    i->indexes = x;
    pthread_mutex_unlock(&i->lock);
}

void informer_by_index(struct informer *i, const char *name, struct str value,
                       struct object_list *ret)
{
    pthread_mutex_lock(&i->lock);
    struct index *x = i->indexes;
    while (x && strcmp(x->name, name) != 0)
        x = x->next;
    BUG_ON(!x);
    struct ptree *t = ptree_ref(map_get(&x->buckets, value));
    pthread_mutex_unlock(&i->lock);
    collect(t, STR_NULL, ret);
    ptree_unref(&tree_ops, t);
}

static void index_owners(struct arena *a, const struct object *o, bool controller_only,
                         void (*emit)(void *ctx, struct str value), void *ctx)
{
    // Most objects have no owner, and their metadata need not be parsed to see it.
    if (str_find(blob_view(o->json), STR("\"ownerReferences\"")) < 0)
        return;
    const struct value *owners = value_getc(object_metadata(a, o), "ownerReferences");
    value_each_item (owners, owner) {
        if (!controller_only || value_bool_at(owner, "controller", false))
            emit(ctx, value_str_at(owner, "uid"));
    }
}

void informer_index_owner(struct arena *a, const struct object *o,
                          void (*emit)(void *ctx, struct str value), void *ctx)
{
    index_owners(a, o, false, emit, ctx);
}

void informer_index_controller(struct arena *a, const struct object *o,
                               void (*emit)(void *ctx, struct str value), void *ctx)
{
    index_owners(a, o, true, emit, ctx);
}
