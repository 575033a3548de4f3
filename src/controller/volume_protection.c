// Volume protection: a claim that a pod uses, and a volume that a claim is bound to, do not go
// before what needs them. Admission gives every new one a finalizer (admission.c:
// StorageObjectInUseProtection); here it is given to those that lack it, and taken away when the
// object is being deleted and nothing uses it any more.
//
// A claim is in use while a pod that names it exists and has a node: agents don't start a pod whose
// claim is being deleted, so one without a node is no obstacle. The pods are asked for once more at
// the API before the finalizer goes, because the informer may lag behind a pod that was just bound.
#include "client/finalizer.h"
#include "controller/control.h"

#define CLAIM_FINALIZER  "kubernetes.io/pvc-protection"
#define VOLUME_FINALIZER "kubernetes.io/pv-protection"

struct volume_protection {
    struct control *control;
    struct informer *claims, *volumes, *pods;
    struct informer_handler on_claim, on_volume, on_pod;
    struct work_queue *claim_queue, *volume_queue;
};

// ---- which claims a pod uses: "namespace/claim"

typedef void claim_fn(void *ctx, struct str key);

static void each_claim(struct arena *a, const struct object *o, claim_fn *fn, void *ctx)
{
    struct value *pod = object_tree(a, o);
    if (!value_str_at(pod, "spec.nodeName").n)
        return;
    value_each_item (value_at(pod, "spec.volumes"), v) {
        struct str claim = value_str_at(v, "persistentVolumeClaim.claimName");
        if (value_getc(v, "ephemeral")) // a claim of the pod's own bears both names
            claim = arena_printf(a, "%.*s-%.*s", STR_ARG(object_name(o)),
                                 STR_ARG(value_str_at(v, "name")));
        if (claim.n)
            fn(ctx, arena_printf(a, "%.*s/%.*s", STR_ARG(object_namespace(o)), STR_ARG(claim)));
    }
}

static void index_claims(struct arena *a, const struct object *o,
                         void (*emit)(void *ctx, struct str value), void *ctx)
{
    each_claim(a, o, emit, ctx);
}

struct search {
    struct str key;
    bool found;
};

static void compare(void *ctx, struct str key)
{
    struct search *s = ctx;
    s->found |= str_eq(key, s->key);
}

// 1: used, 0: not, negative: cannot be told.
static int claim_used(struct volume_protection *c, struct arena *a, struct str ns, struct str key,
                      struct err *e)
{
    _cleanup_objects_ struct object_list known;
    informer_by_index(c->pods, "claim", key, &known);
    if (known.n)
        return 1;
    _cleanup_answer_ struct api_answer live = {0};
    struct search s = {.key = key};
    int rc = client_list(c->control->client, KIND("", "pods"), ns, STR_NULL, STR_NULL, &live, e);
    for (size_t i = 0; rc >= 0 && i < live.nitems && !s.found; i++)
        each_claim(a, live.items[i], compare, &s);
    return rc < 0 ? rc : s.found;
}

// ---- finalizers

// The finalizer is there, or not. A conflict comes back as a later version.
static enum reconcile_result set_finalizer(struct volume_protection *c, struct arena *a,
                                           const struct object *o, const char *name, bool wanted,
                                           struct err *e)
{
    struct client *client = c->control->client;
    _cleanup_err_ struct err why = ERR_INIT;
    if (finalizer_has(object_tree(a, o), name) == wanted)
        return RECONCILE_DONE;
    int rc = wanted ? finalizer_add(client, a, o, name, &why)
                    : finalizer_remove(client, a, o, name, &why);
    if (rc == 0 || err_is(&why, ERR_NOT_FOUND) || err_is(&why, ERR_CONFLICT))
        return RECONCILE_DONE;
    err_move(e, &why);
    return RECONCILE_RETRY;
}

static enum reconcile_result reconcile_claim(void *ctx, struct arena *a, struct str key,
                                             uint64_t *after_ns, struct err *e)
{
    struct volume_protection *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->claims, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *claim = object_tree(a, o);
    bool deleting = meta_deleting(claim);
    if (deleting && finalizer_has(claim, CLAIM_FINALIZER)) {
        int used = claim_used(c, a, object_namespace(o), key, e);
        if (used < 0)
            return RECONCILE_RETRY;
        if (used)
            return RECONCILE_DONE; // a pod that goes brings it back
    }
    return set_finalizer(c, a, o, CLAIM_FINALIZER, !deleting, e);
}

static enum reconcile_result reconcile_volume(void *ctx, struct arena *a, struct str key,
                                              uint64_t *after_ns, struct err *e)
{
    struct volume_protection *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->volumes, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *volume = object_tree(a, o);
    bool deleting = meta_deleting(volume);
    if (deleting && str_eqc(value_str_at(volume, "status.phase"), "Bound"))
        return RECONCILE_DONE;
    return set_finalizer(c, a, o, VOLUME_FINALIZER, !deleting, e);
}

// ---- what wakes it

static void on_claim(void *ctx, struct object *old, struct object *new)
{
    struct volume_protection *c = ctx;
    (void)old;
    if (new)
        work_queue_add_object(c->claim_queue, new);
}

static void on_volume(void *ctx, struct object *old, struct object *new)
{
    struct volume_protection *c = ctx;
    (void)old;
    if (new)
        work_queue_add_object(c->volume_queue, new);
}

static void enqueue_claim(void *ctx, struct str key)
{
    work_queue_add(ctx, key);
}

// A pod's claims never change; its end may be what a claim waits for.
static void on_pod(void *ctx, struct object *old, struct object *new)
{
    struct volume_protection *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (old && !new)
        each_claim(&a, old, enqueue_claim, c->claim_queue);
}

static void *make(struct control *control)
{
    struct volume_protection *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->claims = informers_get(control->informers, KIND("", "persistentvolumeclaims"));
    c->volumes = informers_get(control->informers, KIND("", "persistentvolumes"));
    c->pods = informers_get(control->informers, KIND("", "pods"));
    informer_add_index(c->pods, "claim", index_claims);
    c->claim_queue = work_queue_new(control->executor, "pvc-protection", 1, reconcile_claim, c);
    c->volume_queue = work_queue_new(control->executor, "pv-protection", 1, reconcile_volume, c);
    return c;
}

static void run(void *self)
{
    struct volume_protection *c = self;
    c->on_claim = (struct informer_handler){on_claim, c, NULL};
    c->on_volume = (struct informer_handler){on_volume, c, NULL};
    c->on_pod = (struct informer_handler){on_pod, c, NULL};
    informer_add_handler(c->claims, &c->on_claim);
    informer_add_handler(c->volumes, &c->on_volume);
    informer_add_handler(c->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct volume_protection *c = self;
    informer_remove_handler(c->claims, &c->on_claim);
    informer_remove_handler(c->volumes, &c->on_volume);
    informer_remove_handler(c->pods, &c->on_pod);
    work_queue_free(c->claim_queue);
    work_queue_free(c->volume_queue);
    free(c);
}

const struct controller_row volume_protection_controller = {"volume-protection", make, run, stop};
