// Deployment: rolls ReplicaSets from one pod template to the next.
//
// Each reconcile starts from what is there: the ReplicaSets that belong to the deployment, the one
// among them whose template equals the deployment's (the new one), and the numbers in their status.
// From these it makes at most one kind of step (scale up the new, or scale down the old, or trim
// the history), writes the status, and waits to be woken by what the step causes:
//
//     paused or size changed ----> scale over all sets in proportion ----> status
//     Recreate:      old to 0 -> wait until their pods are gone -> new up -> trim -> status
//     RollingUpdate: new up within surge | unhealthy old down, old down within unavailable | trim
//                    -> status
//
// The arithmetic is upstream's to the letter, because people's surge and unavailable settings, and
// every tool that watches a rollout, depend on it: kubectl rollout status and kstatus read
// observedGeneration, updatedReplicas and the conditions' reasons.
#include "controller/deployment.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Surge is rounded up, unavailable down; where both come to nothing, one may be unavailable, or
// there would be no way forward.
static void fenceposts(struct rollout *r)
{
    const struct value *s = value_at(r->d, "spec.strategy.rollingUpdate");
    r->rolling = !str_eqc(value_str_at(r->d, "spec.strategy.type"), "Recreate");
    r->replicas = value_int_at(r->d, "spec.replicas", 1);
    if (!r->rolling)
        return;
    r->surge = control_scaled_value(value_getc(s, "maxSurge"), r->replicas, true, 0);
    r->unavailable = control_scaled_value(value_getc(s, "maxUnavailable"), r->replicas, false, 0);
    if (!r->surge && !r->unavailable)
        r->unavailable = 1;
    r->unavailable = min64(r->unavailable, r->replicas);
}

static int scale_new(struct rollout *r, bool *ret_scaled)
{
    int64_t size = r->replicas;
    if (r->new->replicas < r->replicas && r->rolling) {
        int64_t room = r->replicas + r->surge - rollout_sum(r, false, rs_spec_replicas);
        if (room <= 0)
            return 0;
        size = r->new->replicas + min64(room, r->replicas - r->new->replicas);
    }
    return rollout_scale(r, r->new, size, ret_scaled);
}

// Old pods that are not available serve nobody: they go first, as far as availability allows.
static int clean_unhealthy(struct rollout *r, int64_t most, bool *ret_scaled)
{
    for (size_t i = 0; i < r->nall && most > 0; i++) {
        struct rs *s = r->all[i];
        if (s == r->new || !s->replicas || s->replicas == s->available)
            continue;
        int64_t down = min64(most, s->replicas - s->available);
        if (down <= 0)
            continue;
        int rc = rollout_scale(r, s, s->replicas - down, ret_scaled);
        if (rc < 0)
            return rc;
        most -= down;
    }
    return 0;
}

// A set that has just been told to shrink may still report all its pods: no more of them can be
// counted on than it is to keep. (Upstream counts them all, and can break the promise of
// maxUnavailable by that.)
static int64_t rs_dependable(const struct rs *s)
{
    return min64(s->available, s->replicas);
}

static int scale_down_old(struct rollout *r, bool *ret_scaled)
{
    if (!rollout_sum(r, true, rs_spec_replicas))
        return 0;
    int64_t least = r->replicas - r->unavailable;
    int64_t new_unavailable = r->new->replicas - r->new->available;
    int64_t most = rollout_sum(r, false, rs_spec_replicas) - least - new_unavailable;
    if (most <= 0)
        return 0;
    int rc = clean_unhealthy(r, most, ret_scaled);
    if (rc < 0)
        return rc;
    int64_t down = rollout_sum(r, false, rs_dependable) - least;
    for (size_t i = 0; i < r->nall && down > 0; i++) {
        struct rs *s = r->all[i];
        if (s == r->new || !s->replicas)
            continue;
        int64_t n = min64(s->replicas, down);
        rc = rollout_scale(r, s, s->replicas - n, ret_scaled);
        if (rc < 0)
            return rc;
        down -= n;
    }
    return 0;
}

static int roll(struct rollout *r)
{
    bool scaled = false;
    int rc = rollout_sync_revision(r, true);
    if (rc != 0)
        return rc;
    if ((rc = scale_new(r, &scaled)) < 0)
        return rc;
    if (!scaled && (rc = scale_down_old(r, &scaled)) < 0)
        return rc;
    if (!scaled && rollout_complete(r) && (rc = rollout_cleanup(r)) < 0)
        return rc;
    return rollout_sync_status(r, true);
}

// Whether any pod of an old set is still about. Status counts are not enough: a terminating pod is
// not counted and may yet hold what the new one needs.
static bool old_pods_remain(struct rollout *r)
{
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i] == r->new)
            continue;
        if (r->all[i]->status_replicas > 0)
            return true;
        _cleanup_pods_ struct pod_list pods;
        pod_cache_by_controller(r->c->control->pods, r->a, r->all[i]->uid, &pods);
        for (size_t p = 0; p < pods.n; p++) {
            if (!facts_finished(pods.items[p]))
                return true;
        }
    }
    return false;
}

static int recreate(struct rollout *r)
{
    bool scaled = false;
    int rc = rollout_sync_revision(r, false);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < r->nall; i++) {
        if (r->all[i] != r->new && (rc = rollout_scale(r, r->all[i], 0, &scaled)) < 0)
            return rc;
    }
    if (scaled || old_pods_remain(r))
        return rollout_sync_status(r, true);
    if (!r->new && (rc = rollout_sync_revision(r, true)) != 0)
        return rc;
    if ((rc = rollout_scale(r, r->new, r->replicas, &scaled)) < 0)
        return rc;
    if (rollout_complete(r) && (rc = rollout_cleanup(r)) < 0)
        return rc;
    return rollout_sync_status(r, true);
}

// Paused, or told to change size in the middle of a rollout.
static int resize(struct rollout *r, bool paused)
{
    int rc = rollout_sync_revision(r, false);
    if (rc != 0)
        return rc;
    if ((rc = rollout_scale_proportionally(r)) < 0)
        return rc;
    if (paused && (rc = rollout_cleanup(r)) < 0)
        return rc;
    return rollout_sync_status(r, false);
}

static bool size_changed(struct rollout *r)
{
    for (size_t i = 0; i < r->nall; i++) {
        int64_t desired;
        struct str text = value_string(
            value_get(value_at(r->all[i]->tree, "metadata.annotations"), STR(DESIRED_REPLICAS)));
        if (r->all[i]->replicas > 0 && str_to_i64(text, &desired) && desired != r->replicas)
            return true;
    }
    return false;
}

// Pausing and resuming restart the progress deadline; the condition says which it is.
static int note_pause(struct rollout *r, bool paused)
{
    if (!rollout_has_deadline(r))
        return 0;
    struct value *status = value_object_at(r->a, r->d, "status");
    struct str reason =
        value_str_at(condition_find(value_getc(status, "conditions"), "Progressing"), "reason");
    bool noted = str_eqc(reason, "DeploymentPaused");
    if (str_eqc(reason, "ProgressDeadlineExceeded") || noted == paused)
        return 0;
    if (paused)
        rollout_set_condition(r, status, "Progressing", "Unknown", "DeploymentPaused",
                              STR("Deployment is paused"));
    else
        rollout_set_condition(r, status, "Progressing", "Unknown", "DeploymentResumed",
                              STR("Deployment is resumed"));
    return rollout_write_status(r, status);
}

static int step(struct rollout *r)
{
    bool paused = value_bool_at(r->d, "spec.paused", false);
    if (meta_deleting(r->d))
        return rollout_sync_status(r, false);
    int rc = note_pause(r, paused);
    if (rc < 0)
        return rc;
    if (paused || size_changed(r))
        return resize(r, paused);
    return r->rolling ? roll(r) : recreate(r);
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct deployments *c = ctx;
    _cleanup_object_ struct object *o = informer_get(c->deployments, key);
    if (!o)
        return RECONCILE_DONE;
    struct rollout r = {.c = c, .a = a, .e = e, .object = o, .key = key};
    r.d = object_tree(a, o);
    fenceposts(&r);
    int rc = rollout_load(&r);
    if (rc == 0)
        rc = step(&r);
    rollout_unload(&r);
    if (rc < 0)
        return client_namespace_terminating(e) ? RECONCILE_DONE : RECONCILE_RETRY;
    *after_ns = r.after_ns;
    return r.after_ns ? RECONCILE_AFTER : RECONCILE_DONE;
}

// Events.

static void on_deployment(void *ctx, struct object *old, struct object *new)
{
    struct deployments *c = ctx;
    work_queue_add_object(c->queue, new ? new : old);
}

static bool enqueue_owner(struct deployments *c, struct arena *a, const struct object *set)
{
    const struct value *owners = value_getc(object_metadata(a, set), "ownerReferences");
    value_each_item (owners, owner) {
        if (!value_bool_at(owner, "controller", false))
            continue;
        struct str ns = object_namespace(set), name = value_str_at(owner, "name");
        if (str_eqc(value_str_at(owner, "kind"), "Deployment"))
            work_queue_add(c->queue, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
        return true;
    }
    return false;
}

static void on_set(void *ctx, struct object *old, struct object *new)
{
    struct deployments *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (old)
        enqueue_owner(c, &a, old);
    if (!new || enqueue_owner(c, &a, new))
        return;
    const struct value *labels = value_getc(object_metadata(&a, new), "labels");
    _cleanup_objects_ struct object_list list;
    informer_list(c->deployments, object_namespace(new), &list);
    for (size_t i = 0; i < list.n && value_len(labels); i++) {
        struct selector *selector;
        struct value *d = object_tree(&a, list.items[i]);
        if (selector_from_value(&a, value_at(d, "spec.selector"), &selector, NULL) == 0 &&
            !selector_empty(selector) && selector_matches(selector, labels))
            work_queue_add_object(c->queue, list.items[i]);
    }
}

// Only Recreate waits for pods, and only for their end.
static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct deployments *c = ctx;
    if (!old || (new && !facts_finished(new)) || !str_eqc(old->controller_kind, "ReplicaSet"))
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_object_ struct object *set = informer_get_ns(c->sets, old->ns, old->controller_name);
    if (set)
        enqueue_owner(c, &a, set);
}

static void *make(struct control *control)
{
    struct deployments *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->deployments = informers_get(control->informers, KIND("apps", "deployments"));
    c->sets = informers_get(control->informers, KIND("apps", "replicasets"));
    informer_add_index(c->sets, "controller-uid", informer_index_controller);
    informer_add_index(c->sets, "orphans", owner_index_orphans);
    c->events = event_recorder_new(control->client, control->executor, STR("deployment-controller"),
                                   STR_NULL);
    c->queue = work_queue_new(control->executor, "deployment", 5, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct deployments *c = self;
    c->on_deployment = (struct informer_handler){on_deployment, c, NULL};
    c->on_set = (struct informer_handler){on_set, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    informer_add_handler(c->deployments, &c->on_deployment);
    informer_add_handler(c->sets, &c->on_set);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct deployments *c = self;
    informer_remove_handler(c->deployments, &c->on_deployment);
    informer_remove_handler(c->sets, &c->on_set);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    free(c);
}

const struct controller_row deployment_controller = {"deployment", make, run, stop};
