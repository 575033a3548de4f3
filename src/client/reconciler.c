// See reconciler.h.
#include "client/reconciler.h"
#include "client/owner.h"

static bool all_met(struct reconciler *r, struct str key)
{
    for (size_t i = 0; i < RECONCILER_OWNED_MAX && r->owned[i]; i++) {
        if (!expectations_met(&r->expectations[i], key, informer_revision(r->owned[i])))
            return false;
    }
    return !r->row->applied ||
           expectations_met(&r->expectations[RECONCILER_EXTRA], key, r->row->applied(r->ctx));
}

static enum reconcile_result pass(void *ctx, struct arena *a, struct str key, uint64_t *after_ns,
                                  struct err *e)
{
    struct reconciler *r = ctx;
    struct reconcile p = {.r = r, .ctx = r->ctx, .a = a, .key = key, .after_ns = after_ns};
    _cleanup_object_ struct object *o = informer_get(r->informer, key);
    meta_key_split(key, &p.ns, &p.name);
    *after_ns = 0;
    if (!o) {
        for (size_t i = 0; i < RECONCILER_SOURCES; i++)
            expectations_forget(&r->expectations[i], key);
        return r->row->gone ? r->row->gone(&p, e) : RECONCILE_DONE;
    }
    if (!all_met(r, key))
        return RECONCILE_DONE; // the event of what was written brings the key back
    p.object = o;
    p.tree = object_tree(a, o);
    return r->row->reconcile(&p, e);
}

static void on_object(void *ctx, struct object *old, struct object *new)
{
    struct reconciler *r = ctx;
    work_queue_add_object(r->queue, new ? new : old);
}

static void enqueue_controller(struct reconciler *r, const struct object *o)
{
    if (!o || str_find(blob_view(o->json), STR("\"ownerReferences\"")) < 0)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *tree = value_object(&a);
    value_setc(&a, tree, "metadata", object_metadata(&a, o));
    const struct value *ref = owner_controller(tree);
    struct str ns = object_namespace(o), name = value_str_at(ref, "name");
    if (!ref || !str_eq(value_str_at(ref, "kind"), r->kind->kind))
        return;
    work_queue_add(r->queue, r->kind->flags & KIND_NAMESPACED
                                 ? arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name))
                                 : name);
}

static void on_owned(void *ctx, struct object *old, struct object *new)
{
    enqueue_controller(ctx, new);
    enqueue_controller(ctx, old); // it may have had another one
}

struct reconciler *reconciler_new(struct client *c, struct informers *f, struct executor *x,
                                  const struct reconciler_row *row, void *ctx)
{
    struct reconciler *r = mem_zalloc(sizeof *r);
    r->row = row;
    r->ctx = ctx;
    r->client = c;
    r->env = c->env;
    r->kind = client_kind(row->group, row->resource);
    r->informer = informers_get(f, r->kind);
    for (size_t i = 0; i < RECONCILER_INDEXES_MAX && row->indexes[i].name; i++)
        informer_add_index(r->informer, row->indexes[i].name, row->indexes[i].fn);
    for (size_t i = 0; i < RECONCILER_OWNED_MAX && row->owned[i].resource; i++) {
        r->owned[i] = informers_get(f, client_kind(row->owned[i].group, row->owned[i].resource));
        informer_add_index(r->owned[i], "controller-uid", informer_index_controller);
    }
    for (size_t i = 0; i < RECONCILER_SOURCES; i++)
        expectations_init(&r->expectations[i]);
    if (row->component)
        r->events = event_recorder_new(c, x, str_of(row->component), STR_NULL);
    r->queue = work_queue_new(x, row->name, row->workers ? row->workers : 1, pass, r);
    return r;
}

void reconciler_run(struct reconciler *r)
{
    r->running = true;
    r->on_object = (struct informer_handler){on_object, r, NULL};
    informer_add_handler(r->informer, &r->on_object);
    for (size_t i = 0; i < RECONCILER_OWNED_MAX && r->owned[i]; i++) {
        r->on_owned[i] = (struct informer_handler){on_owned, r, NULL};
        informer_add_handler(r->owned[i], &r->on_owned[i]);
    }
}

void reconciler_free(struct reconciler *r)
{
    if (!r)
        return;
    if (r->running)
        informer_remove_handler(r->informer, &r->on_object);
    for (size_t i = 0; r->running && i < RECONCILER_OWNED_MAX && r->owned[i]; i++)
        informer_remove_handler(r->owned[i], &r->on_owned[i]);
    work_queue_free(r->queue);
    event_recorder_free(r->events);
    for (size_t i = 0; i < RECONCILER_SOURCES; i++)
        expectations_done(&r->expectations[i]);
    free(r);
}

void reconcile_expect(struct reconcile *p, unsigned source, uint64_t revision)
{
    BUG_ON(source >= RECONCILER_SOURCES);
    expectations_expect(&p->r->expectations[source], p->key, revision);
}

bool reconcile_settled(struct reconcile *p)
{
    return all_met(p->r, p->key);
}

void reconcile_after(struct reconcile *p, uint64_t ns)
{
    ns = ns ? ns : 1;
    if (!*p->after_ns || ns < *p->after_ns)
        *p->after_ns = ns;
}

enum reconcile_result reconcile_done(const struct reconcile *p)
{
    return *p->after_ns ? RECONCILE_AFTER : RECONCILE_DONE;
}

enum reconcile_result reconcile_status(struct reconcile *p, struct value *status, struct err *e)
{
    const struct value *was = value_getc(p->tree, "status");
    if (was ? value_eq(was, status) : !value_len(status))
        return reconcile_done(p);
    _cleanup_err_ struct err why = ERR_INIT;
    value_setc(p->a, p->tree, "status", status);
    int rc = client_update_status(p->r->client, p->r->kind, p->tree, NULL, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    return reconcile_done(p);
}
