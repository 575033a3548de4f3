// One entry per object, keyed "resource/namespace/name". Watches are made and ended on the loop;
// `lock` guards the map, the entries' objects and their pods. An entry that loses its last pod is
// closed by a task on the loop, so that a watch's callbacks never meet a freed entry.
//
// A watch asks for initial events: what exists arrives as ADDED, then a bookmark says that this was
// all. Without an ADDED by then the object does not exist (it may have gone while the watch was
// broken).
#include "node/node_objects.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"

#define RETRY_FIRST (1 * NS_PER_S)
#define RETRY_MAX   (60 * NS_PER_S)

struct entry {
    struct node_objects *owner;
    char *key; // "configmaps/ns/name"
    const char *resource;
    struct str ns, name;   // in key
    struct object *object; // as last seen, or NULL
    char **pods;           // UIDs
    size_t npods;
    struct list stale_link; // in owner->todo while a task of the loop is due
    // On the loop only:
    struct client_watch *watch;
    struct loop_timer retry;
    uint64_t delay;
    bool seen; // an object since the watch began
};

struct node_objects {
    struct client *client;
    struct loop *loop;
    void (*changed)(void *ctx, struct str uid);
    void *ctx;
    pthread_mutex_t lock;
    struct map entries;
    struct list todo; // entries to be started or closed
    struct loop_task task;
};

static const struct kind *kind_of(const char *resource)
{
    return resource[0] == 'c' ? KIND("", "configmaps") : KIND("", "secrets");
}

static void entry_free(struct entry *n)
{
    for (size_t i = 0; i < n->npods; i++)
        free(n->pods[i]);
    free(n->pods);
    object_unref(n->object);
    free(n->key);
    free(n);
}

// ---- on the loop -------------------------------------------------------------------------------

static void store(struct entry *n, struct object *object)
{
    struct node_objects *o = n->owner;
    pthread_mutex_lock(&o->lock);
    struct object *old = n->object;
    bool same = old == object || (old && object && old->revision == object->revision);
    n->object = object ? object_ref(object) : NULL;
    size_t npods = same ? 0 : n->npods;
    char **uids = npods ? mem_alloc(npods * sizeof(*uids)) : NULL;
    for (size_t i = 0; i < npods; i++)
        uids[i] = mem_cstr(str_of(n->pods[i]));
    pthread_mutex_unlock(&o->lock);
    object_unref(old);
    for (size_t i = 0; i < npods; i++) {
        o->changed(o->ctx, str_of(uids[i]));
        free(uids[i]);
    }
    free(uids);
}

static void on_events(void *ctx, const struct watch_event *events, size_t count)
{
    struct entry *n = ctx;
    for (size_t i = 0; i < count; i++) {
        const struct watch_event *ev = &events[i];
        n->delay = 0;
        if (ev->type == WATCH_BOOKMARK) {
            if (ev->initial_end && !n->seen)
                store(n, NULL);
            continue;
        }
        n->seen = true;
        store(n, ev->type == WATCH_DELETED ? NULL : ev->object);
    }
}

static void watch_start(struct entry *n);

static void on_retry(struct loop_timer *t)
{
    watch_start(container_of(t, struct entry, retry));
}

static void on_end(void *ctx, const struct err *e)
{
    struct entry *n = ctx;
    n->watch = NULL;
    // Forbidden is an object of a pod that has just gone, or of its namespace: the pod's worker
    // will let go of it. Where a pod needs it, FailedMount or the container's state says so.
    if (e && n->delay < RETRY_FIRST && !err_is(e, ERR_FORBIDDEN)) // once per trouble
        log_warn("node", "watch failed object=%s error=\"%s\"", n->key, e->message);
    // A watch that the server closed in the ordinary way goes on at once; failures wait.
    n->delay = !e ? NS_PER_MS : n->delay < RETRY_FIRST ? RETRY_FIRST : n->delay * 2;
    if (n->delay > RETRY_MAX)
        n->delay = RETRY_MAX;
    loop_timer_in(n->owner->loop, &n->retry, n->delay);
}

static void watch_start(struct entry *n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct api_request r = {
        .verb = VERB_WATCH,
        .kind = kind_of(n->resource),
        .ns = n->ns,
        .name = n->name, // for the authoriser, which permits single objects only
        .field_selector = arena_printf(&a, "metadata.name=%.*s", STR_ARG(n->name)),
        .allow_bookmarks = true,
        .send_initial_events = true,
        .resource_version_match = STR("NotOlderThan"),
        .grace_period_seconds = -1,
    };
    struct client_watch_handler h = {on_events, on_end, n};
    n->seen = false;
    struct client *c = n->owner->client;
    if (c->ops->watch(c, n->owner->loop, &r, &h, &n->watch, &e) < 0) {
        n->watch = NULL;
        on_end(n, &e);
    }
}

static void on_task(struct loop_task *t)
{
    struct node_objects *o = container_of(t, struct node_objects, task);
    for (;;) {
        pthread_mutex_lock(&o->lock);
        struct list *l = list_pop(&o->todo);
        struct entry *n = l ? container_of(l, struct entry, stale_link) : NULL;
        bool gone = n && !n->npods;
        if (gone)
            map_del(&o->entries, str_of(n->key));
        pthread_mutex_unlock(&o->lock);
        if (!n)
            return;
        if (!gone) {
            if (!n->watch && !loop_timer_armed(&n->retry))
                watch_start(n);
            continue;
        }
        if (n->watch)
            o->client->ops->unwatch(n->watch);
        loop_timer_cancel(o->loop, &n->retry);
        entry_free(n);
    }
}

// ---- any thread --------------------------------------------------------------------------------

static struct str entry_key(struct arena *a, const char *resource, struct str ns, struct str name)
{
    return arena_printf(a, "%s/%.*s/%.*s", resource, STR_ARG(ns), STR_ARG(name));
}

static void schedule(struct node_objects *o, struct entry *n)
{
    if (list_empty(&n->stale_link))
        list_push(&o->todo, &n->stale_link);
}

static struct entry *entry_get(struct node_objects *o, struct str key, const char *resource,
                               struct str ns, struct str name)
{
    struct entry *n = map_get(&o->entries, key);
    if (n)
        return n;
    n = mem_zalloc(sizeof(*n));
    n->owner = o;
    n->resource = resource;
    n->key = mem_cstr(key);
    n->ns = str_n(n->key + strlen(resource) + 1, ns.n);
    n->name = str_n(n->ns.p + ns.n + 1, name.n);
    n->retry.fn = on_retry;
    list_init(&n->stale_link);
    map_set(&o->entries, key, n);
    return n;
}

static ptrdiff_t find_pod(const struct entry *n, struct str uid)
{
    for (size_t i = 0; i < n->npods; i++)
        if (str_eqc(uid, n->pods[i]))
            return (ptrdiff_t)i;
    return -1;
}

void node_objects_set(struct node_objects *o, struct str uid, struct str ns,
                      const struct node_object_ref *refs, size_t count)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct map wanted = MAP_INIT;
    pthread_mutex_lock(&o->lock);
    for (size_t i = 0; i < count; i++) {
        struct str key = entry_key(&a, refs[i].resource, ns, refs[i].name);
        map_set(&wanted, key, (void *)&refs[i]);
        struct entry *n = entry_get(o, key, refs[i].resource, ns, refs[i].name);
        if (find_pod(n, uid) < 0) {
            n->pods = mem_realloc(n->pods, (n->npods + 1) * sizeof(*n->pods));
            n->pods[n->npods++] = mem_cstr(uid);
            schedule(o, n);
        }
    }
    map_each (&o->entries, slot) {
        struct entry *n = slot->value;
        ptrdiff_t at = find_pod(n, uid);
        if (at < 0 || map_has(&wanted, str_of(n->key)))
            continue;
        free(n->pods[at]);
        n->pods[at] = n->pods[--n->npods];
        if (!n->npods)
            schedule(o, n);
    }
    bool post = !list_empty(&o->todo);
    pthread_mutex_unlock(&o->lock);
    map_done(&wanted);
    if (post)
        loop_post(o->loop, &o->task);
}

int node_objects_get(struct node_objects *o, const char *resource, struct str ns, struct str name,
                     struct object **ret, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    pthread_mutex_lock(&o->lock);
    struct entry *n = map_get(&o->entries, entry_key(&a, resource, ns, name));
    struct object *seen = n && n->object ? object_ref(n->object) : NULL;
    pthread_mutex_unlock(&o->lock);
    if (seen) {
        *ret = seen;
        return 0;
    }
    _cleanup_err_ struct err mine = ERR_INIT;
    int rc = client_get(o->client, kind_of(resource), ns, name, ret, &mine);
    if (rc == 0)
        return 0;
    if (err_is(&mine, ERR_NOT_FOUND))
        return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" not found",
                       resource[0] == 'c' ? "configmap" : "secret", STR_ARG(name));
    err_move(e, &mine);
    return rc;
}

struct node_objects *node_objects_new(struct client *c, struct loop *l,
                                      void (*changed)(void *ctx, struct str pod_uid), void *ctx)
{
    struct node_objects *o = mem_zalloc(sizeof(*o));
    o->client = c;
    o->loop = l;
    o->changed = changed;
    o->ctx = ctx;
    pthread_mutex_init(&o->lock, NULL);
    list_init(&o->todo);
    o->task.fn = on_task;
    return o;
}

static void free_later(void *arg)
{
    struct node_objects *o = arg;
    pthread_mutex_destroy(&o->lock);
    free(o);
}

void node_objects_free(struct node_objects *o)
{
    if (!o)
        return;
    map_each (&o->entries, slot) {
        struct entry *n = slot->value;
        if (n->watch)
            o->client->ops->unwatch(n->watch);
        loop_timer_cancel(o->loop, &n->retry);
        entry_free(n);
    }
    map_done(&o->entries);
    o->entries = MAP_INIT;
    list_init(&o->todo);
    // The task may still be queued: it finds nothing to do, and what stands behind it frees.
    loop_call(o->loop, free_later, o);
}
