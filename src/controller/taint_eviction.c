// Taint eviction: deletes pods from nodes with NoExecute taints that they do not tolerate, or
// tolerate only for a while (tolerationSeconds). The pods' own deadlines are timers in the work
// queue; a taint that goes in time cancels nothing but is simply not there any more when the timer
// fires.
#include "controller/pod_facts.h"

struct eviction {
    struct control *control;
    struct informer *nodes;
    struct informer_handler on_node;
    struct pod_listener on_pod;
    struct work_queue *queue;
    struct event_recorder *events;
    // Taints that carry no time count from when they were first seen.
    pthread_mutex_t lock;  // guards first_seen
    struct map first_seen; // "node key value" -> int64_t, ns since 1970
};

static struct str taint_name(struct arena *a, struct str node, const struct value *taint)
{
    return arena_printf(a, "%.*s %.*s %.*s", STR_ARG(node), STR_ARG(value_str_at(taint, "key")),
                        STR_ARG(value_str_at(taint, "value")));
}

static int64_t taint_since(struct eviction *c, struct arena *a, struct str node,
                           const struct value *taint)
{
    int64_t added = meta_time(taint, "timeAdded");
    if (added)
        return added;
    struct str name = taint_name(a, node, taint);
    pthread_mutex_lock(&c->lock);
    int64_t *seen = map_get(&c->first_seen, name);
    if (!seen) {
        seen = mem_alloc(sizeof *seen);
        *seen = env_now(c->control->env);
        map_set(&c->first_seen, name, seen);
    }
    added = *seen;
    pthread_mutex_unlock(&c->lock);
    return added;
}

static void taint_gone(struct eviction *c, struct arena *a, struct str node,
                       const struct value *taint)
{
    pthread_mutex_lock(&c->lock);
    free(map_del(&c->first_seen, taint_name(a, node, taint)));
    pthread_mutex_unlock(&c->lock);
}

static bool tolerates(const struct value *toleration, const struct value *taint)
{
    struct str effect = value_str_at(toleration, "effect"), key = value_str_at(toleration, "key");
    if (effect.n && !str_eq(effect, value_str_at(taint, "effect")))
        return false;
    if (key.n && !str_eq(key, value_str_at(taint, "key")))
        return false;
    if (str_eqc(value_str_at(toleration, "operator"), "Exists"))
        return true;
    return key.n && str_eq(value_str_at(toleration, "value"), value_str_at(taint, "value"));
}

// How long the pod may stay for all tolerations that match this taint: the shortest; INT64_MAX: for
// ever; -1: none matches.
static int64_t tolerated_seconds(const struct value *pod, const struct value *taint)
{
    int64_t least = -1;
    const struct value *list = value_at(pod, "spec.tolerations");
    value_each_item (list, t) {
        if (!tolerates(t, taint))
            continue;
        int64_t seconds = value_int_at(t, "tolerationSeconds", INT64_MAX);
        seconds = seconds < 0 ? 0 : seconds;
        if (least < 0 || seconds < least)
            least = seconds;
    }
    return least;
}

static int evict(struct eviction *c, struct arena *a, struct object *o, struct value *pod,
                 struct err *e)
{
    struct str ns = object_namespace(o), name = object_name(o);
    // The condition says why, to Jobs and people.
    struct value *conditions = value_at(pod, "status.conditions"), *why_gone = value_object(a);
    value_put(a, why_gone, "type", STR("DisruptionTarget"));
    value_put(a, why_gone, "status", STR("True"));
    value_put(a, why_gone, "lastTransitionTime", meta_now(c->control->env, a));
    value_put(a, why_gone, "reason", STR("DeletionByTaintManager"));
    value_put(a, why_gone, "message", STR("Taint manager: deleting due to NoExecute taint"));
    if (!value_is(conditions, VALUE_ARRAY)) {
        conditions = value_array(a);
        value_set_at(a, pod, "status.conditions", conditions);
    }
    condition_remove(conditions, "DisruptionTarget");
    value_push(a, conditions, why_gone);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_update_status(c->control->client, KIND("", "pods"), pod, NULL, &why);
    if (rc == 0) {
        event_record(c->events, o, "Normal", "TaintManagerEviction",
                     "Marking for deletion Pod %.*s/%.*s", STR_ARG(ns), STR_ARG(name));
        rc = client_delete_tree(c->control->client, KIND("", "pods"), pod, PROPAGATION_DEFAULT, -1,
                                NULL, &why);
    }
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct eviction *c = ctx;
    struct pod_facts *facts = pod_cache_get(c->control->pods, key);
    if (!facts)
        return RECONCILE_DONE;
    _cleanup_object_ struct object *o = object_ref(facts->object);
    _cleanup_object_ struct object *node_object = informer_get(c->nodes, facts->node);
    bool deleting = facts->deleting;
    pod_facts_unref(facts);
    if (!node_object || deleting)
        return RECONCILE_DONE;
    struct value *pod = object_tree(a, o);
    const struct value *node = object_tree(a, node_object), *taints = value_at(node, "spec.taints");
    int64_t due = INT64_MAX, now = env_now(c->control->env);
    value_each_item (taints, taint) {
        if (!str_eqc(value_str_at(taint, "effect"), "NoExecute"))
            continue;
        int64_t seconds = tolerated_seconds(pod, taint);
        int64_t since = taint_since(c, a, object_name(node_object), taint);
        if (seconds < 0)
            due = 0;
        else if (seconds < INT64_MAX / NS_PER_S - since / NS_PER_S - 1) {
            int64_t until = since + seconds * NS_PER_S;
            due = until < due ? until : due;
        }
    }
    if (due == INT64_MAX)
        return RECONCILE_DONE;
    if (due > now) {
        *after_ns = (uint64_t)(due - now);
        return RECONCILE_AFTER;
    }
    return evict(c, a, o, pod, e) < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

static const struct value *no_execute(struct arena *a, const struct object *node)
{
    struct value *out = value_array(a);
    if (str_find(blob_view(node->json), STR("\"NoExecute\"")) < 0)
        return out;
    const struct value *taints = value_at(object_tree(a, node), "spec.taints");
    value_each_item (taints, taint) {
        if (str_eqc(value_str_at(taint, "effect"), "NoExecute"))
            value_push(a, out, taint);
    }
    return out;
}

static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct eviction *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *was = old ? no_execute(&a, old) : NULL;
    const struct value *now = new ? no_execute(&a, new) : NULL;
    if (was && now && value_eq(was, now))
        return;
    struct str node = object_name(new ? new : old);
    value_each_item (was, taint)
        taint_gone(c, &a, node, taint);
    value_each_item (now, taint)
        taint_since(c, &a, node, taint);
    if (!value_len(now))
        return;
    _cleanup_pods_ struct pod_list pods;
    pod_cache_by_node(c->control->pods, &a, object_name(new), &pods);
    for (size_t i = 0; i < pods.n; i++)
        work_queue_add(c->queue, pods.items[i]->key);
}

// A pod that arrives on a node with such taints, or is changed there (its tolerations may be).
static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct eviction *c = ctx;
    (void)old;
    if (!new || !new->node.n || new->deleting)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_object_ struct object *o = informer_get(c->nodes, new->node);
    if (o && value_len(no_execute(&a, o)))
        work_queue_add(c->queue, new->key);
}

static void *make(struct control *control)
{
    struct eviction *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->nodes = informers_get(control->informers, KIND("", "nodes"));
    pthread_mutex_init(&c->lock, NULL);
    c->events = event_recorder_new(control->client, control->executor,
                                   STR("taint-eviction-controller"), STR_NULL);
    c->queue = work_queue_new(control->executor, "taint-eviction", 4, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct eviction *c = self;
    c->on_node = (struct informer_handler){on_node, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    informer_add_handler(c->nodes, &c->on_node);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct eviction *c = self;
    informer_remove_handler(c->nodes, &c->on_node);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    map_each (&c->first_seen, s)
        free(s->value);
    map_done(&c->first_seen);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct controller_row taint_eviction_controller = {"taint-eviction", make, run, stop};
