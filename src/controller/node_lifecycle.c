// Node lifecycle: notices nodes that have fallen silent, and turns what a node's conditions say
// into taints.
//
// Alive is a node whose Lease in kube-node-lease or whose Ready condition has changed within the
// grace time (40 s), by this process's own clock: the node's clock may be wrong. A timer per node
// stands at the end of that time; renewals do not touch the timer, they only move the mark that it
// compares with when it fires. A node that stays silent gets its conditions set to Unknown, its
// pods are marked not ready (so that services drop them), and the taints below; when it speaks
// again, its own status report puts the conditions right and the taints go.
//
//     Ready False     node.kubernetes.io/not-ready        NoSchedule, NoExecute
//     Ready Unknown   node.kubernetes.io/unreachable      NoSchedule, NoExecute
//     MemoryPressure, DiskPressure, PIDPressure, NetworkUnavailable True, spec.unschedulable:
//                                                         NoSchedule
#include "controller/pod_facts.h"

#define NODE_LEASES "kube-node-lease"

struct seen {
    uint64_t at;      // monotonic, when it last changed
    int64_t beat;     // lastHeartbeatTime of Ready, to notice that it changed
    struct str renew; // renewTime of the lease; owned
};

struct lifecycle {
    struct control *control;
    struct informer *nodes, *leases;
    struct informer_handler on_node, on_lease;
    struct work_queue *queue;
    struct event_recorder *events;
    pthread_mutex_t lock; // guards seen
    struct map seen;      // node name -> struct seen
};

// A taint that follows from a condition (or, condition NULL, from spec.unschedulable).
static const struct rule {
    const char *condition, *status, *key, *effect;
} rules[] = {
    {"Ready", "False", "node.kubernetes.io/not-ready", "NoSchedule"},
    {"Ready", "False", "node.kubernetes.io/not-ready", "NoExecute"},
    {"Ready", "Unknown", "node.kubernetes.io/unreachable", "NoSchedule"},
    {"Ready", "Unknown", "node.kubernetes.io/unreachable", "NoExecute"},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure", "NoSchedule"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure", "NoSchedule"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure", "NoSchedule"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", "NoSchedule"},
    {NULL, NULL, "node.kubernetes.io/unschedulable", "NoSchedule"},
};
enum { RULES = sizeof rules / sizeof *rules };

// When a node was last heard of; a node never heard of begins now.
static uint64_t last_seen(struct lifecycle *c, struct str node)
{
    pthread_mutex_lock(&c->lock);
    struct seen *s = map_get(&c->seen, node);
    if (!s) {
        s = mem_zalloc(sizeof *s);
        s->at = env_mono(c->control->env);
        map_set(&c->seen, node, s);
    }
    uint64_t at = s->at;
    pthread_mutex_unlock(&c->lock);
    return at;
}

static void heard(struct lifecycle *c, struct str node, int64_t beat, struct str renew)
{
    last_seen(c, node);
    pthread_mutex_lock(&c->lock);
    struct seen *s = map_get(&c->seen, node);
    if (beat && beat != s->beat) {
        s->beat = beat;
        s->at = env_mono(c->control->env);
    }
    if (renew.n && !str_eq(renew, s->renew)) {
        free((char *)s->renew.p);
        s->renew = mem_str(renew);
        s->at = env_mono(c->control->env);
    }
    pthread_mutex_unlock(&c->lock);
}

static void forget(struct lifecycle *c, struct str node)
{
    pthread_mutex_lock(&c->lock);
    struct seen *s = map_del(&c->seen, node);
    if (s)
        free((char *)s->renew.p);
    free(s);
    pthread_mutex_unlock(&c->lock);
}

// Conditions.

static bool set_unknown(struct lifecycle *c, struct arena *a, struct value *list, const char *type)
{
    struct value *was = condition_find(list, type), *one = value_object(a);
    struct str now = meta_now(c->control->env, a);
    if (was && str_eqc(value_str_at(was, "status"), "Unknown"))
        return false;
    value_put(a, one, "type", str_of(type));
    value_put(a, one, "status", STR("Unknown"));
    value_put(a, one, "lastHeartbeatTime", was ? value_str_at(was, "lastHeartbeatTime") : now);
    value_put(a, one, "lastTransitionTime", now);
    value_put(a, one, "reason", was ? STR("NodeStatusUnknown") : STR("NodeStatusNeverUpdated"));
    value_put(a, one, "message",
              was ? STR("Kubelet stopped posting node status.")
                  : STR("Kubelet never posted node status."));
    condition_remove(list, type);
    value_push(a, list, one);
    return true;
}

static int mark_unknown(struct lifecycle *c, struct arena *a, struct object *o, struct value *node,
                        struct err *e)
{
    static const char *const types[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};
    struct value *status = value_object_at(a, node, "status"),
                 *list = value_getc(status, "conditions");
    bool changed = false;
    if (!value_is(list, VALUE_ARRAY)) {
        list = value_array(a);
        value_setc(a, status, "conditions", list);
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        changed = set_unknown(c, a, list, types[i]) || changed;
    if (!changed)
        return 0;
    struct object *updated;
    int rc = client_update_status(c->control->client, KIND("", "nodes"), node, &updated, e);
    if (rc < 0)
        return rc;
    value_set_at(a, node, "metadata.resourceVersion",
                 value_str(a, arena_printf(a, "%llu", (unsigned long long)updated->revision)));
    object_unref(updated);
    struct str name = object_name(o);
    log_warn("node-lifecycle", "node is silent node=\"%.*s\"", STR_ARG(name));
    event_record(c->events, o, "Normal", "NodeNotReady", "Node %.*s status is now: NodeNotReady",
                 STR_ARG(name));
    return 0;
}

// Services must not send to a node that nobody hears from.
static int mark_pods_not_ready(struct lifecycle *c, struct arena *a, struct str node, struct err *e)
{
    _cleanup_pods_ struct pod_list pods;
    pod_cache_by_node(c->control->pods, a, node, &pods);
    for (size_t i = 0; i < pods.n; i++) {
        if (!pods.items[i]->ready)
            continue;
        struct value *pod = object_tree(a, pods.items[i]->object);
        struct value *ready = condition_find(value_at(pod, "status.conditions"), "Ready");
        value_put(a, ready, "status", STR("False"));
        value_put(a, ready, "lastTransitionTime", meta_now(c->control->env, a));
        _cleanup_err_ struct err why = ERR_INIT;
        int rc = client_update_status(c->control->client, KIND("", "pods"), pod, NULL, &why);
        if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
            err_move(e, &why);
            return rc;
        }
        event_record(c->events, pods.items[i]->object, "Warning", "NodeNotReady",
                     "Node is not ready");
    }
    return 0;
}

// Taints.

static bool applies(const struct rule *r, const struct value *node)
{
    if (!r->condition)
        return value_bool_at(node, "spec.unschedulable", false);
    return condition_is(value_at(node, "status.conditions"), r->condition, r->status);
}

static const struct rule *rule_of(const struct value *taint)
{
    for (size_t i = 0; i < RULES; i++) {
        if (str_eqc(value_str_at(taint, "key"), rules[i].key) &&
            str_eqc(value_str_at(taint, "effect"), rules[i].effect))
            return &rules[i];
    }
    return NULL;
}

static int write_taints(struct lifecycle *c, struct arena *a, struct value *node, struct err *e)
{
    struct value *list = value_array(a);
    const struct value *old = value_at(node, "spec.taints");
    bool there[RULES] = {false}, changed = false;
    value_each_item (old, taint) {
        const struct rule *r = rule_of(taint);
        if (r && !applies(r, node)) {
            changed = true;
            continue;
        }
        if (r)
            there[r - rules] = true;
        value_push(a, list, taint);
    }
    for (size_t i = 0; i < RULES; i++) {
        if (there[i] || !applies(&rules[i], node))
            continue;
        struct value *taint = value_object(a);
        value_put(a, taint, "key", str_of(rules[i].key));
        value_put(a, taint, "effect", str_of(rules[i].effect));
        value_put(a, taint, "timeAdded", meta_now(c->control->env, a));
        value_push(a, list, taint);
        changed = true;
    }
    if (!changed)
        return 0;
    struct value *patch = value_object(a);
    value_set_at(a, patch, "metadata.resourceVersion", value_at(node, "metadata.resourceVersion"));
    value_set_at(a, patch, "spec.taints", value_len(list) ? list : value_null(a));
    return client_patch(c->control->client, KIND("", "nodes"), STR_NULL,
                        value_str_at(node, "metadata.name"), STR_NULL, PATCH_TYPE_MERGE, patch,
                        NULL, e);
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str name,
                                       uint64_t *after_ns, struct err *e)
{
    struct lifecycle *c = ctx;
    _cleanup_object_ struct object *o = informer_get(c->nodes, name);
    if (!o) {
        forget(c, name);
        return RECONCILE_DONE;
    }
    struct value *node = object_tree(a, o);
    uint64_t now = env_mono(c->control->env), grace = c->control->options->node_grace_ns;
    uint64_t due = last_seen(c, name) + grace;
    if (due <= now) {
        if (mark_unknown(c, a, o, node, e) < 0)
            return RECONCILE_RETRY;
    }
    if (!condition_is(value_at(node, "status.conditions"), "Ready", "True") &&
        condition_find(value_at(node, "status.conditions"), "Ready") &&
        mark_pods_not_ready(c, a, name, e) < 0)
        return RECONCILE_RETRY;
    if (write_taints(c, a, node, e) < 0)
        return RECONCILE_RETRY;
    if (due <= now)
        return RECONCILE_DONE; // its next word brings us back
    *after_ns = due - now;
    return RECONCILE_AFTER;
}

static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct lifecycle *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (new) {
        const struct value *node = object_tree(&a, new);
        const struct value *ready = condition_find(value_at(node, "status.conditions"), "Ready");
        // Unknown is our own writing, not the node's.
        if (!str_eqc(value_str_at(ready, "status"), "Unknown"))
            heard(c, object_name(new), meta_time(ready, "lastHeartbeatTime"), STR_NULL);
    }
    work_queue_add(c->queue, object_name(new ? new : old));
}

// Renewals come every ten seconds from every node: they only move the mark. Where the node had been
// given up, its own status report follows and does the rest.
static void on_lease(void *ctx, struct object *old, struct object *new)
{
    struct lifecycle *c = ctx;
    (void)old;
    if (!new || !str_eqc(object_namespace(new), NODE_LEASES))
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    heard(c, object_name(new), 0, value_str_at(object_tree(&a, new), "spec.renewTime"));
}

static void *make(struct control *control)
{
    struct lifecycle *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->nodes = informers_get(control->informers, KIND("", "nodes"));
    c->leases = informers_get(control->informers, KIND("coordination.k8s.io", "leases"));
    pthread_mutex_init(&c->lock, NULL);
    c->events =
        event_recorder_new(control->client, control->executor, STR("node-controller"), STR_NULL);
    c->queue = work_queue_new(control->executor, "node-lifecycle", 2, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct lifecycle *c = self;
    c->on_node = (struct informer_handler){on_node, c, NULL};
    c->on_lease = (struct informer_handler){on_lease, c, NULL};
    informer_add_handler(c->nodes, &c->on_node);
    informer_add_handler(c->leases, &c->on_lease);
}

static void stop(void *self)
{
    struct lifecycle *c = self;
    informer_remove_handler(c->nodes, &c->on_node);
    informer_remove_handler(c->leases, &c->on_lease);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    map_each (&c->seen, s) {
        struct seen *seen = s->value;
        free((char *)seen->renew.p);
        free(seen);
    }
    map_done(&c->seen);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct controller_row node_lifecycle_controller = {"node-lifecycle", make, run, stop};
