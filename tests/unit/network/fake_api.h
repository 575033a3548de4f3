// A scripted API server: the kinds that proxy and DNS watch, as JSON that a test puts and takes
// away.
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "client/informer.h"
#include "object/json.h"
#include "unit.h"

struct fake_watch {
    const struct kind *kind;
    struct client_watch_handler handler;
    bool open;
};

struct fake_api {
    struct client client;
    struct fake_watch watches[4];
    size_t n;
    uint64_t revision;
};

static int fake_watch_start(struct client *c, struct loop *l, const struct api_request *r,
                            const struct client_watch_handler *h, struct client_watch **ret,
                            struct err *e)
{
    struct fake_api *f = container_of(c, struct fake_api, client);
    (void)l, (void)e;
    assert_true(f->n < 4);
    f->watches[f->n] = (struct fake_watch){r->kind, *h, true};
    *ret = (struct client_watch *)&f->watches[f->n++];
    return 0;
}

static void fake_unwatch(struct client_watch *w)
{
    ((struct fake_watch *)w)->open = false;
}

static const struct client_ops fake_ops = {.watch = fake_watch_start, .unwatch = fake_unwatch};

static inline void fake_api_init(struct fake_api *f, struct env *env)
{
    *f = (struct fake_api){.client = {.ops = &fake_ops, .env = env, .name = STR("test")},
                           .revision = 10};
}

static inline void fake_send(struct fake_api *f, const struct kind *k, enum watch_type type,
                             struct object *o, bool initial_end)
{
    for (size_t i = 0; i < f->n; i++) {
        struct fake_watch *w = &f->watches[i];
        if (w->kind != k || !w->open)
            continue;
        const struct watch_event event = {
            .type = type, .object = o, .revision = f->revision, .initial_end = initial_end};
        w->handler.on_events(w->handler.ctx, &event, 1);
    }
}

// Every initial list ends here: informers are synced afterwards.
static inline void fake_sync(struct fake_api *f)
{
    for (size_t i = 0; i < f->n; i++)
        fake_send(f, f->watches[i].kind, WATCH_BOOKMARK, NULL, true);
}

// Single quotes read better in tests. Extra arguments as printf.
static inline struct object *fake_object(struct fake_api *f, const struct kind *k, const char *json)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v;
    struct object *o;
    char *text = arena_cstr(&a, str_of(json));
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (json_parse(&a, str_of(text), NULL, &v, &e) < 0)
        fail_msg("%s in %s", e.message, text);
    value_setc(&a, v, "kind", value_str(&a, k->kind));
    value_setc(&a, v, "apiVersion", value_strc(&a, "v1"));
    struct str ns = value_str_at(v, "metadata.namespace"), name = value_str_at(v, "metadata.name");
    struct str prefix = k->storage_prefix;
    struct str key =
        ns.n ? arena_printf(&a, "%.*s%.*s/%.*s", STR_ARG(prefix), STR_ARG(ns), STR_ARG(name))
             : arena_printf(&a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(name));
    if (object_from_value(k, key, ++f->revision, v, &o, &e) < 0)
        fail_msg("%s in %s", e.message, text);
    return o;
}

static inline void fake_put(struct fake_api *f, const struct kind *k, enum watch_type type,
                            const char *json)
{
    struct object *o = fake_object(f, k, json);
    fake_send(f, k, type, o, false);
    object_unref(o);
}

// A Service; `spec` without braces: "'clusterIP':'10.96.0.1','ports':[…]".
static inline void fake_service(struct fake_api *f, enum watch_type type, const char *name,
                                const char *spec)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    fake_put(f, KIND("", "services"), type,
             arena_printf(&a, "{'metadata':{'namespace':'shop','name':'%s'},'spec':{%s}}%c", name,
                          spec, 0)
                 .p);
}

// A slice of a Service: "'addressType':'IPv4','endpoints':[…],'ports':[…]".
static inline void fake_slice(struct fake_api *f, enum watch_type type, const char *service,
                              const char *name, const char *body)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    fake_put(f, KIND("discovery.k8s.io", "endpointslices"), type,
             arena_printf(&a,
                          "{'metadata':{'namespace':'shop','name':'%s','labels':"
                          "{'kubernetes.io/service-name':'%s'}},'addressType':'IPv4',%s}%c",
                          name, service, body, 0)
                 .p);
}
