// Disruption budgets: keeps the status of PodDisruptionBudgets, from which the API server's
// eviction takes.
//
// The API server spends: it lowers disruptionsAllowed and notes the pod in disruptedPods, in one
// write with the eviction. We count anew: a noted pod is not healthy until it is gone, or until
// two minutes have passed and it was not deleted after all. Both write the same object, so whoever
// looked at an older version gets a conflict; the newer version's event then brings the budget
// back.
//
// How many pods there should be is asked of their controllers (a ReplicaSet's Deployment, where it
// has one), since pods that are missing just now must count. Only minAvailable as a number needs
// no scale. A budget that cannot be computed allows nothing, and says why (SyncFailed).
//
// Selectors of all budgets are kept parsed, by namespace (`selectors`, the loop's own).
#include "controller/pod_facts.h"

#define DELETION_TIMEOUT (120 * NS_PER_S)

struct watched {
    struct watched *next; // of the namespace
    struct str key;       // in `arena`
    struct selector *selector;
    bool by_scale; // its numbers depend on the controllers' replicas
    struct arena arena;
};

enum { DEPLOYMENTS, REPLICASETS, STATEFULSETS, REPLICATION_CONTROLLERS, SCALES };
static const struct {
    const char *kind, *group, *resource;
} scales[SCALES] = {
    [DEPLOYMENTS] = {"Deployment", "apps", "deployments"},
    [REPLICASETS] = {"ReplicaSet", "apps", "replicasets"},
    [STATEFULSETS] = {"StatefulSet", "apps", "statefulsets"},
    [REPLICATION_CONTROLLERS] = {"ReplicationController", "", "replicationcontrollers"},
};

struct disruption {
    struct control *control;
    struct informer *budgets, *scales[SCALES];
    struct informer_handler on_budget, on_scale[SCALES];
    struct pod_listener on_pod;
    struct event_recorder *events;
    struct work_queue *queue;
    struct map selectors; // namespace -> list of watched
};

static const struct kind *budget_kind(void)
{
    return KIND("policy", "poddisruptionbudgets");
}

static bool counts_by_scale(const struct value *budget)
{
    return value_at(budget, "spec.maxUnavailable") ||
           value_string(value_at(budget, "spec.minAvailable")).n;
}

// Expected pods.

// The object that a controller reference names, as a tree; NULL: not there, or another one.
static const struct value *controller_of(struct disruption *c, struct arena *a, struct str ns,
                                         const struct value *ref)
{
    struct str kind = value_str_at(ref, "kind"), name = value_str_at(ref, "name");
    for (size_t i = 0; i < SCALES; i++) {
        if (!str_eqc(kind, scales[i].kind))
            continue;
        _cleanup_object_ struct object *o = informer_get_ns(c->scales[i], ns, name);
        const struct value *tree = o ? value_clone(a, object_tree(a, o)) : NULL;
        return tree && str_eq(meta_uid(tree), value_str_at(ref, "uid")) ? tree : NULL;
    }
    return NULL;
}

static int no_scale(const struct pod_facts *p, const struct value *ref, struct err *e)
{
    const struct kind *k =
        kind_by_api_version(value_str_at(ref, "apiVersion"), value_str_at(ref, "kind"));
    if (k && !kind_subresource(k, STR("scale")))
        return err_set(e, ERR_INVALID, "%.*s.%.*s does not implement the scale subresource",
                       STR_ARG(k->resource), STR_ARG(k->group));
    return err_set(e, ERR_INVALID, "found no controllers for pod \"%.*s\"", STR_ARG(p->name));
}

// The sum of the replicas of all controllers of these pods, each counted once. *ret_unmanaged: some
// have none.
static int expected_scale(struct disruption *c, struct arena *a, struct pod_facts **pods, size_t n,
                          int64_t *ret, bool *ret_unmanaged, struct err *e)
{
    struct map seen = MAP_INIT; // UIDs
    int64_t sum = 0;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct pod_facts *p = pods[i];
        if (!p->controller.n) {
            *ret_unmanaged = true;
            continue;
        }
        if (map_has(&seen, p->controller))
            continue;
        map_set(&seen, p->controller, c);
        const struct value *ref = owner_controller(object_tree(a, p->object));
        const struct value *owner = controller_of(c, a, p->ns, ref), *above;
        if (owner && (above = owner_controller(owner)) &&
            str_eqc(value_str_at(above, "kind"), "Deployment"))
            owner = controller_of(c, a, p->ns, above);
        if (!owner) {
            rc = no_scale(p, ref, e);
        } else if (str_eq(meta_uid(owner), p->controller) || !map_has(&seen, meta_uid(owner))) {
            map_set(&seen, meta_uid(owner), c);
            sum += value_int_at(owner, "spec.replicas", 1);
        }
    }
    map_done(&seen);
    *ret = sum;
    return rc;
}

// Status.

struct numbers {
    int64_t expected, desired, healthy, allowed;
    struct value *disrupted;
    uint64_t wait; // until the first of `disrupted` is given up; 0: none
    bool unmanaged;
};

static int expect(struct disruption *c, struct arena *a, const struct value *budget,
                  struct pod_facts **pods, size_t n, struct numbers *ret, struct err *e)
{
    const struct value *most = value_at(budget, "spec.maxUnavailable");
    const struct value *least = value_at(budget, "spec.minAvailable");
    if (counts_by_scale(budget)) {
        int rc = expected_scale(c, a, pods, n, &ret->expected, &ret->unmanaged, e);
        if (rc < 0)
            return rc;
    } else if (least) {
        ret->expected = (int64_t)n;
    }
    if (most)
        ret->desired = ret->expected - control_scaled_value(most, ret->expected, true, 0);
    else
        ret->desired = control_scaled_value(least, ret->expected, true, 0);
    if (ret->desired < 0)
        ret->desired = 0;
    return 0;
}

// Pods that eviction has noted and that are still to be deleted stay noted.
static void count_healthy(struct disruption *c, struct arena *a, const struct value *budget,
                          struct pod_facts **pods, size_t n, struct numbers *ret)
{
    const struct value *noted = value_at(budget, "status.disruptedPods");
    int64_t now = env_now(c->control->env);
    ret->disrupted = value_object(a);
    for (size_t i = 0; i < n; i++) {
        const struct pod_facts *p = pods[i];
        int64_t at = 0;
        if (p->deleting)
            continue;
        struct value *note = value_get(noted, p->name);
        if (note && time_parse_rfc3339(value_string(note), &at)) {
            int64_t left = at + DELETION_TIMEOUT - now;
            if (left > 0) {
                value_set(a, ret->disrupted, p->name, note);
                if (!ret->wait || (uint64_t)left < ret->wait)
                    ret->wait = (uint64_t)left;
                continue;
            }
            event_record(c->events, p->object, "Warning", "NotDeleted",
                         "Pod was expected by PDB %.*s/%.*s to be deleted but it wasn't",
                         STR_ARG(p->ns), STR_ARG(value_str_at(budget, "metadata.name")));
        }
        ret->healthy += p->ready;
    }
}

static void set_condition(struct disruption *c, struct arena *a, struct value *status, bool allowed,
                          const char *reason, struct str message)
{
    struct value *list = value_getc(status, "conditions");
    const char *word = allowed ? "True" : "False";
    if (!value_is(list, VALUE_ARRAY)) {
        list = value_array(a);
        value_setc(a, status, "conditions", list);
    }
    struct value *one = condition_find(list, "DisruptionAllowed");
    if (!one) {
        one = value_object(a);
        value_put(a, one, "type", STR("DisruptionAllowed"));
        value_push(a, list, one);
    }
    if (!str_eqc(value_str_at(one, "status"), word))
        value_put(a, one, "lastTransitionTime", meta_now(c->control->env, a));
    value_put(a, one, "status", str_of(word));
    value_put(a, one, "reason", str_of(reason));
    value_put(a, one, "message", message);
    value_put_nonzero(a, one, "observedGeneration", value_int_at(status, "observedGeneration", 0));
}

static void set_numbers(struct disruption *c, struct arena *a, const struct value *budget,
                        struct value *status, const struct numbers *x)
{
    value_put_int(a, status, "currentHealthy", x->healthy);
    value_put_int(a, status, "desiredHealthy", x->desired);
    value_put_int(a, status, "expectedPods", x->expected);
    value_put_int(a, status, "disruptionsAllowed", x->allowed);
    value_put_nonzero(a, status, "observedGeneration",
                      value_int_at(budget, "metadata.generation", 0));
    if (value_len(x->disrupted))
        value_setc(a, status, "disruptedPods", x->disrupted);
    else
        value_delc(status, "disruptedPods");
    set_condition(c, a, status, x->allowed > 0,
                  x->allowed > 0 ? "SufficientPods" : "InsufficientPods", STR(""));
}

// Writes the status where it has changed. 1: written; 0: nothing to write, or no longer ours to.
static int write_status(struct disruption *c, struct arena *a, struct value *budget,
                        struct value *status, struct err *e)
{
    if (value_eq(status, value_getc(budget, "status")))
        return 0;
    value_setc(a, budget, "status", status);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_update_status(c->control->client, budget_kind(), budget, NULL, &why);
    if (rc == 0)
        return 1;
    if (err_is(&why, ERR_NOT_FOUND) || err_is(&why, ERR_CONFLICT))
        return 0; // gone; or the newer version comes as an event
    err_move(e, &why);
    return rc;
}

static enum reconcile_result sync_failed(struct disruption *c, struct arena *a, struct object *o,
                                         struct value *budget, struct value *status,
                                         const struct err *failure, struct err *e)
{
    value_put_int(a, status, "disruptionsAllowed", 0);
    set_condition(c, a, status, false, "SyncFailed", str_of(failure->message));
    int rc = write_status(c, a, budget, status, e);
    if (rc > 0)
        event_record(c->events, o, "Warning", "CalculateExpectedPodCountFailed",
                     "Failed to calculate the number of expected pods: %s", failure->message);
    // What is missing (an owner, another pod) comes as an event.
    return rc < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct disruption *c = ctx;
    _cleanup_object_ struct object *o = informer_get(c->budgets, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *budget = value_clone(a, object_tree(a, o));
    struct value *status = value_clone(a, value_object_at(a, budget, "status"));
    _cleanup_err_ struct err failure = ERR_INIT;
    _cleanup_pods_ struct pod_list all = {0};
    struct numbers x = {0};
    struct selector *selector;
    if (selector_from_value(a, value_at(budget, "spec.selector"), &selector, &failure) < 0)
        return sync_failed(c, a, o, budget, status, &failure, e);
    pod_cache_by_namespace(c->control->pods, a, value_str_at(budget, "metadata.namespace"), &all);
    struct pod_facts **pods = arena_array(a, struct pod_facts *, all.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < all.n; i++) {
        if (selector_matches(selector, all.items[i]->labels))
            pods[n++] = all.items[i];
    }
    if (expect(c, a, budget, pods, n, &x, &failure) < 0)
        return sync_failed(c, a, o, budget, status, &failure, e);
    count_healthy(c, a, budget, pods, n, &x);
    // Without expected pods nothing is allowed: the first of them may come before we look again.
    x.allowed = x.expected > 0 && x.healthy > x.desired ? x.healthy - x.desired : 0;
    set_numbers(c, a, budget, status, &x);
    int rc = write_status(c, a, budget, status, e);
    if (rc < 0)
        return RECONCILE_RETRY;
    if (rc > 0 && !n)
        event_record(c->events, o, "Normal", "NoPods", "No matching pods found");
    if (rc > 0 && x.unmanaged)
        event_record(c->events, o, "Warning", "UnmanagedPods",
                     "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a "
                     "result, the status of the PDB cannot be calculated correctly, which may "
                     "result in undefined behavior. To account for these pods please set "
                     "\".spec.minAvailable\" field of the PDB to an integer value.");
    *after_ns = x.wait;
    return x.wait ? RECONCILE_AFTER : RECONCILE_DONE;
}

// Handlers.

static void watched_free(struct watched *w)
{
    arena_done(&w->arena);
    free(w);
}

static void forget(struct disruption *c, struct str ns, struct str key)
{
    struct watched *first = map_get(&c->selectors, ns);
    for (struct watched **at = &first; *at; at = &(*at)->next) {
        struct watched *w = *at;
        if (!str_eq(w->key, key))
            continue;
        *at = w->next;
        watched_free(w);
        break;
    }
    if (first)
        map_set(&c->selectors, ns, first);
    else
        map_del(&c->selectors, ns);
}

static void remember(struct disruption *c, struct str ns, struct str key,
                     const struct value *budget)
{
    struct watched *w = mem_zalloc(sizeof *w);
    if (selector_from_value(&w->arena, value_at(budget, "spec.selector"), &w->selector, NULL) < 0) {
        watched_free(w); // its own reconcile says why
        return;
    }
    w->key = arena_str(&w->arena, key);
    w->by_scale = counts_by_scale(budget);
    w->next = map_get(&c->selectors, ns);
    map_set(&c->selectors, ns, w);
}

static void on_budget(void *ctx, struct object *old, struct object *new)
{
    struct disruption *c = ctx;
    const struct object *o = new ? new : old;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str ns = object_namespace(o), key = meta_key(&a, o);
    if (old)
        forget(c, ns, key);
    if (!new) {
        work_queue_forget(c->queue, key);
        return;
    }
    remember(c, ns, key, object_tree(&a, new));
    work_queue_add(c->queue, key);
}

static void enqueue_matching(struct disruption *c, const struct pod_facts *p)
{
    for (struct watched *w = map_get(&c->selectors, p->ns); w; w = w->next) {
        if (selector_matches(w->selector, p->labels))
            work_queue_add(c->queue, w->key);
    }
}

static bool differs(const struct pod_facts *a, const struct pod_facts *b)
{
    return a->ready != b->ready || a->deleting != b->deleting || !str_eq(a->uid, b->uid) ||
           !str_eq(a->controller, b->controller) ||
           !(a->labels == b->labels || (a->labels && b->labels && value_eq(a->labels, b->labels)));
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct disruption *c = ctx;
    if (old && new && !differs(old, new))
        return;
    if (old)
        enqueue_matching(c, old);
    if (new)
        enqueue_matching(c, new);
}

static bool same_scale(const struct object *old, const struct object *new)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *x = object_tree(&a, old), *y = object_tree(&a, new);
    return value_int_at(x, "spec.replicas", 1) == value_int_at(y, "spec.replicas", 1) &&
           str_eq(meta_uid(x), meta_uid(y)) &&
           str_eq(value_str_at(owner_controller(x), "uid"),
                  value_str_at(owner_controller(y), "uid"));
}

// Pods need not wear their template's labels, so every budget of the namespace that counts by scale
// looks again.
static void on_scale(void *ctx, struct object *old, struct object *new)
{
    struct disruption *c = ctx;
    struct watched *w = map_get(&c->selectors, object_namespace(new ? new : old));
    while (w && !w->by_scale)
        w = w->next;
    if (!w || (old && new &&same_scale(old, new)))
        return;
    for (; w; w = w->next) {
        if (w->by_scale)
            work_queue_add(c->queue, w->key);
    }
}

static void *make(struct control *control)
{
    struct disruption *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->selectors = MAP_INIT;
    c->budgets = informers_get(control->informers, budget_kind());
    for (size_t i = 0; i < SCALES; i++)
        c->scales[i] =
            informers_get(control->informers, client_kind(scales[i].group, scales[i].resource));
    c->events =
        event_recorder_new(control->client, control->executor, STR("controllermanager"), STR_NULL);
    c->queue = work_queue_new(control->executor, "disruption", 1, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct disruption *c = self;
    c->on_budget = (struct informer_handler){on_budget, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    informer_add_handler(c->budgets, &c->on_budget);
    pod_cache_listen(c->control->pods, &c->on_pod);
    for (size_t i = 0; i < SCALES; i++) {
        c->on_scale[i] = (struct informer_handler){on_scale, c, NULL};
        informer_add_handler(c->scales[i], &c->on_scale[i]);
    }
}

static void stop(void *self)
{
    struct disruption *c = self;
    informer_remove_handler(c->budgets, &c->on_budget);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    for (size_t i = 0; i < SCALES; i++)
        informer_remove_handler(c->scales[i], &c->on_scale[i]);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    map_each (&c->selectors, s) {
        for (struct watched *w = s->value, *next; w; w = next) {
            next = w->next;
            watched_free(w);
        }
    }
    map_done(&c->selectors);
    free(c);
}

const struct controller_row disruption_controller = {"disruption", make, run, stop};
