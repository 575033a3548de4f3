// An API server for the agent's tests, in one map: get, list, create, update, merge patch, delete
// (graceful for pods), the token subresource, watches with initial events. One thread, on the loop
// of virtual time. Included by tests, not linked.
//
// `dead` makes the whole server unreachable for the client that carries it: how a killed agent
// looks from here.
#include "base/list.h"
#include "base/map.h"
#include "base/time.h"
#include "client/client.h"
#include "object/json.h"
#include "object/patch.h"
#include <pthread.h>

struct fake_event {
    enum watch_type type;
    struct object *object;
};

struct fake_api {
    struct env *env;
    struct loop *loop;
    struct map objects; // "kind/ns/name" -> struct object
    uint64_t revision;
    struct fake_event *history;
    size_t nhistory;
    struct list watches;
    unsigned uids, writes;
    struct loop_task pump;
    pthread_mutex_t lock; // recursive: guards all of it, for tests with threads
};

static void fake_api_unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}
#define FAKE_API_LOCKED(f)                                                                         \
    pthread_mutex_t *locked_ __attribute__((cleanup(fake_api_unlock))) = &(f)->lock;               \
    pthread_mutex_lock(locked_)

struct fake_client {
    struct client base;
    struct fake_api *api;
    bool dead;
};

struct client_watch {
    struct list link;
    struct fake_client *client;
    const struct kind *kind;
    char *ns, *field_name, *field_value;
    struct client_watch_handler h;
    size_t at; // in history
    bool initial, gone;
};

static struct str fake_key(struct arena *a, const struct kind *k, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s/%.*s", STR_ARG(k->resource), STR_ARG(ns), STR_ARG(name));
}

static void fake_pump(struct loop_task *t);

static void fake_log(struct fake_api *f, enum watch_type type, struct object *o)
{
    f->history = mem_realloc(f->history, (f->nhistory + 1) * sizeof(*f->history));
    f->history[f->nhistory++] = (struct fake_event){type, object_ref(o)};
    loop_post(f->loop, &f->pump);
}

static struct object *fake_store(struct fake_api *f, const struct kind *k, struct arena *a,
                                 struct value *v, enum watch_type type)
{
    struct object *o = NULL;
    struct err e = ERR_INIT;
    struct str ns = value_str_at(v, "metadata.namespace"), name = value_str_at(v, "metadata.name");
    struct str storage =
        ns.n ? arena_printf(a, "%.*s%.*s/%.*s", STR_ARG(k->storage_prefix), STR_ARG(ns),
                            STR_ARG(name))
             : arena_printf(a, "%.*s%.*s", STR_ARG(k->storage_prefix), STR_ARG(name));
    value_delc(value_getc(v, "metadata"), "resourceVersion");
    if (object_from_value(k, storage, ++f->revision, v, &o, &e) < 0) {
        fprintf(stderr, "fake api: %s\n", e.message);
        abort();
    }
    f->writes++;
    struct object *old = map_set(&f->objects, fake_key(a, k, ns, name), object_ref(o));
    if (old)
        object_unref(old);
    fake_log(f, type, o);
    return o;
}

static void fake_remove(struct fake_api *f, const struct kind *k, struct arena *a, struct object *o)
{
    struct object *old = map_del(&f->objects, fake_key(a, k, object_namespace(o), object_name(o)));
    struct object *last = object_with_revision(o, ++f->revision);
    fake_log(f, WATCH_DELETED, last);
    object_unref(last);
    object_unref(old);
}

static bool fake_matches(const struct client_watch *w, struct object *o)
{
    if (o->kind != w->kind || (*w->ns && !str_eqc(object_namespace(o), w->ns)))
        return false;
    if (!w->field_name)
        return true;
    struct arena a = ARENA_INIT;
    bool match = str_eqc(value_str_at(object_tree(&a, o), w->field_name), w->field_value);
    arena_done(&a);
    return match;
}

static void fake_watch_free(struct client_watch *w)
{
    list_remove(&w->link);
    free(w->ns);
    free(w->field_name);
    free(w->field_value);
    free(w);
}

static void fake_pump(struct loop_task *t)
{
    struct fake_api *f = container_of(t, struct fake_api, pump);
    FAKE_API_LOCKED(f);
    list_each_safe (&f->watches, l) {
        struct client_watch *w = container_of(l, struct client_watch, link);
        while (!w->gone && !w->client->dead && w->at < f->nhistory) {
            struct fake_event *e = &f->history[w->at++];
            struct watch_event ev = {e->type, false, e->object, e->object->revision};
            if (fake_matches(w, e->object))
                w->h.on_events(w->h.ctx, &ev, 1);
        }
        if (!w->gone && w->initial && !w->client->dead) {
            w->initial = false;
            struct watch_event ev = {WATCH_BOOKMARK, true, NULL, f->revision};
            w->h.on_events(w->h.ctx, &ev, 1);
        }
        if (w->gone)
            fake_watch_free(w);
    }
}

static int fake_watch(struct client *c, struct loop *l, const struct api_request *r,
                      const struct client_watch_handler *h, struct client_watch **ret,
                      struct err *e)
{
    (void)l;
    struct fake_client *fc = container_of(c, struct fake_client, base);
    struct fake_api *f = fc->api;
    FAKE_API_LOCKED(f);
    if (fc->dead)
        return err_set(e, ERR_UNAVAILABLE, "connection refused");
    struct client_watch *w = mem_zalloc(sizeof(*w));
    w->client = fc;
    w->kind = r->kind;
    w->ns = mem_cstr(r->ns);
    w->h = *h;
    struct str selector = r->field_selector;
    if (selector.n) {
        w->field_name = mem_cstr(str_cut(&selector, '='));
        w->field_value = mem_cstr(selector);
    }
    if (r->send_initial_events) {
        // The whole history: it holds every object from its creation on.
        w->initial = true;
        list_push(&f->watches, &w->link);
    } else {
        uint64_t from = 0;
        str_to_u64(r->resource_version, &from);
        while (w->at < f->nhistory && f->history[w->at].object->revision <= from)
            w->at++;
        list_push(&f->watches, &w->link);
    }
    loop_post(f->loop, &f->pump);
    *ret = w;
    return 0;
}

static void fake_unwatch(struct client_watch *w)
{
    FAKE_API_LOCKED(w->client->api);
    fake_watch_free(w);
}

static int fake_create(struct fake_client *fc, const struct api_request *r, struct api_answer *ret,
                       struct err *e)
{
    struct fake_api *f = fc->api;
    struct arena *a = &ret->arena;
    struct value *v = value_clone(a, r->body);
    if (str_eqc(r->subresource, "token")) {
        int64_t seconds = value_int_at(v, "spec.expirationSeconds", 3600);
        value_set_at(a, v, "status.token", value_str(a, arena_printf(a, "token-%u", ++f->uids)));
        value_set_at(a, v, "status.expirationTimestamp",
                     value_str(a, time_rfc3339(a, env_now(f->env) + seconds * NS_PER_S, 0)));
        ret->value = v;
        return 0;
    }
    if (map_has(&f->objects, fake_key(a, r->kind, r->ns, value_str_at(v, "metadata.name"))))
        return err_set(e, ERR_ALREADY_EXISTS, "already exists");
    if (r->ns.n)
        value_set_at(a, v, "metadata.namespace", value_str(a, r->ns));
    if (!value_at(v, "metadata.uid"))
        value_set_at(a, v, "metadata.uid", value_str(a, arena_printf(a, "uid-%u", ++f->uids)));
    ret->object = fake_store(f, r->kind, a, v, WATCH_ADDED);
    return 0;
}

static int fake_change(struct fake_client *fc, struct object *o, const struct api_request *r,
                       struct api_answer *ret, struct err *e)
{
    struct fake_api *f = fc->api;
    struct arena *a = &ret->arena;
    struct value *old = value_clone(a, object_tree(a, o)), *new = NULL;
    if (r->verb == VERB_PATCH) {
        int rc = patch_merge(a, old, r->body, &new, e);
        if (rc < 0)
            return rc;
        new = value_clone(a, new);
    } else {
        new = value_clone(a, r->body);
        struct str version = value_str_at(new, "metadata.resourceVersion");
        if (version.n && !str_eq(version, value_str_at(old, "metadata.resourceVersion")))
            return err_set(e, ERR_CONFLICT, "the object has been modified");
    }
    if (str_eqc(r->subresource, "status")) {
        struct value *merged = value_clone(a, old);
        value_setc(a, merged, "status", value_getc(new, "status"));
        new = merged;
    }
    ret->object = fake_store(f, r->kind, a, new, WATCH_MODIFIED);
    return 0;
}

static int fake_delete(struct fake_client *fc, struct object *o, const struct api_request *r,
                       struct api_answer *ret, struct err *e)
{
    struct fake_api *f = fc->api;
    struct arena *a = &ret->arena;
    struct value *v = value_clone(a, object_tree(a, o));
    if (r->precondition_uid.n && !str_eq(r->precondition_uid, value_str_at(v, "metadata.uid")))
        return err_set(e, ERR_CONFLICT, "the UID in the precondition does not match");
    int64_t grace = r->grace_period_seconds;
    if (grace < 0)
        grace = value_int_at(v, "spec.terminationGracePeriodSeconds", 30);
    bool pod = str_eqc(r->kind->resource, "pods");
    if (!pod || grace == 0) {
        if (pod)
            value_set_at(a, v, "metadata.deletionGracePeriodSeconds", value_int(a, 0));
        fake_remove(f, r->kind, a, o);
        return 0;
    }
    value_set_at(a, v, "metadata.deletionTimestamp",
                 value_str(a, time_rfc3339(a, env_now(f->env) + grace * NS_PER_S, 0)));
    value_set_at(a, v, "metadata.deletionGracePeriodSeconds", value_int(a, grace));
    ret->object = fake_store(f, r->kind, a, v, WATCH_MODIFIED);
    return 0;
}

static int fake_call(struct client *c, const struct api_request *r, struct api_answer *ret,
                     struct err *e)
{
    struct fake_client *fc = container_of(c, struct fake_client, base);
    struct fake_api *f = fc->api;
    struct err none = ERR_INIT;
    FAKE_API_LOCKED(f);
    *ret = (struct api_answer){0};
    if (!e)
        e = &none;
    int rc = 0;
    if (fc->dead) {
        rc = err_set(e, ERR_UNAVAILABLE, "connection refused");
    } else if (r->verb == VERB_CREATE) {
        rc = fake_create(fc, r, ret, e);
    } else if (r->verb == VERB_LIST) {
        ret->remaining = -1;
        ret->revision = f->revision;
        ret->items = mem_zalloc((f->objects.n + 1) * sizeof(*ret->items));
        map_each (&f->objects, s) {
            struct object *o = s->value;
            if (o->kind == r->kind && (!r->ns.n || str_eq(r->ns, object_namespace(o))))
                ret->items[ret->nitems++] = object_ref(o);
        }
    } else {
        struct object *o = map_get(&f->objects, fake_key(&ret->arena, r->kind, r->ns, r->name));
        if (!o)
            rc = err_set(e, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(r->kind->resource),
                         STR_ARG(r->name));
        else if (r->verb == VERB_GET)
            ret->object = object_ref(o);
        else if (r->verb == VERB_DELETE)
            rc = fake_delete(fc, o, r, ret, e);
        else
            rc = fake_change(fc, o, r, ret, e);
    }
    if (rc < 0)
        api_answer_done(ret);
    err_done(&none);
    return rc;
}

static void fake_client_free(struct client *c)
{
    free(container_of(c, struct fake_client, base));
}

static const struct client_ops fake_client_ops = {fake_call, fake_watch, fake_unwatch,
                                                  fake_client_free};

static struct fake_api *fake_api_new(struct loop *l)
{
    struct fake_api *f = mem_zalloc(sizeof(*f));
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&f->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    f->env = loop_env(l);
    f->loop = l;
    list_init(&f->watches);
    f->pump.fn = fake_pump;
    return f;
}

static struct fake_client *fake_client_new(struct fake_api *f)
{
    struct fake_client *c = mem_zalloc(sizeof(*c));
    c->base.ops = &fake_client_ops;
    c->base.env = f->env;
    c->base.name = STR("kubelet");
    c->api = f;
    return c;
}

static void fake_api_free(struct fake_api *f)
{
    list_each_safe (&f->watches, l) {
        fake_watch_free(container_of(l, struct client_watch, link));
    }
    for (size_t i = 0; i < f->nhistory; i++)
        object_unref(f->history[i].object);
    free(f->history);
    map_each (&f->objects, s)
        object_unref(s->value);
    map_done(&f->objects);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

// ---- for tests ---------------------------------------------------------------------------------

static struct object *fake_api_find(struct fake_api *f, const char *resource, const char *ns,
                                    const char *name)
{
    struct arena a = ARENA_INIT;
    struct object *o = map_get(&f->objects, arena_printf(&a, "%s/%s/%s", resource, ns, name));
    arena_done(&a);
    return o;
}

// Creates or replaces from JSON with single quotes.
static void fake_api_put(struct fake_api *f, const char *text)
{
    FAKE_API_LOCKED(f);
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct value *v = NULL;
    char *json = arena_cstr(&a, str_of(text));
    for (char *p = json; *p; p++)
        if (*p == '\'')
            *p = '"';
    if (json_parse(&a, str_of(json), NULL, &v, &e) < 0) {
        fprintf(stderr, "test: %s in %s\n", e.message, json);
        abort();
    }
    const struct kind *k =
        kind_by_api_version(value_str_at(v, "apiVersion"), value_str_at(v, "kind"));
    struct str ns = value_str_at(v, "metadata.namespace"), name = value_str_at(v, "metadata.name");
    struct object *old = map_get(&f->objects, fake_key(&a, k, ns, name));
    struct value *had = old ? object_tree(&a, old) : NULL;
    if (!value_at(v, "metadata.uid"))
        value_set_at(&a, v, "metadata.uid",
                     had ? value_at(had, "metadata.uid")
                         : value_str(&a, arena_printf(&a, "uid-%u", ++f->uids)));
    object_unref(fake_store(f, k, &a, v, old ? WATCH_MODIFIED : WATCH_ADDED));
    arena_done(&a);
}
