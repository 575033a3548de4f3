// Pod garbage: pods bound to a node that no longer exists. Nobody is left to stop them or to
// confirm that they have stopped, so they are marked failed and removed without grace, forty
// seconds after the node was found missing (it may only be registering anew).
#include "controller/pod_facts.h"

#define QUARANTINE (40 * NS_PER_S)

struct pod_gc {
    struct control *control;
    struct informer *nodes;
    struct informer_handler on_node;
    struct pod_listener on_pod;
    struct work_queue *queue; // keys: node names
};

static int remove_pod(struct pod_gc *c, struct arena *a, struct object *o, struct err *e)
{
    const struct kind *pods = KIND("", "pods");
    struct value *pod = object_tree(a, o);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = 0;
    if (!pod_finished(pod)) {
        struct value *status = value_object_at(a, pod, "status"), *gone = value_object(a);
        struct value *conditions = value_getc(status, "conditions");
        if (!value_is(conditions, VALUE_ARRAY)) {
            conditions = value_array(a);
            value_setc(a, status, "conditions", conditions);
        }
        value_put(a, status, "phase", STR("Failed"));
        value_put(a, gone, "type", STR("DisruptionTarget"));
        value_put(a, gone, "status", STR("True"));
        value_put(a, gone, "lastTransitionTime", meta_now(c->control->env, a));
        value_put(a, gone, "reason", STR("DeletionByPodGC"));
        value_put(a, gone, "message", STR("PodGC: node no longer exists"));
        condition_remove(conditions, "DisruptionTarget");
        value_push(a, conditions, gone);
        rc = client_update_status(c->control->client, pods, pod, NULL, &why);
    }
    if (rc == 0)
        rc = client_delete_tree(c->control->client, pods, pod, PROPAGATION_DEFAULT, 0, NULL, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str node,
                                       uint64_t *after_ns, struct err *e)
{
    struct pod_gc *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *cached = informer_get(c->nodes, node), *live = NULL;
    if (cached)
        return RECONCILE_DONE;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_get(c->control->client, KIND("", "nodes"), STR_NULL, node, &live, &why);
    if (rc == 0)
        return RECONCILE_DONE;
    if (!err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    _cleanup_pods_ struct pod_list pods;
    pod_cache_by_node(c->control->pods, a, node, &pods);
    for (size_t i = 0; i < pods.n; i++) {
        if (remove_pod(c, a, pods.items[i]->object, e) < 0)
            return RECONCILE_RETRY;
    }
    return RECONCILE_DONE;
}

static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct pod_gc *c = ctx;
    if (!new)
        work_queue_add_after(c->queue, object_name(old), QUARANTINE);
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct pod_gc *c = ctx;
    if (!new || !new->node.n || (old && old->node.n))
        return; // a pod's node never changes
    _cleanup_object_ struct object *o = informer_get(c->nodes, new->node);
    if (!o)
        work_queue_add_after(c->queue, new->node, QUARANTINE);
}

static void *make(struct control *control)
{
    struct pod_gc *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->nodes = informers_get(control->informers, KIND("", "nodes"));
    c->queue = work_queue_new(control->executor, "pod-gc", 1, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct pod_gc *c = self;
    c->on_node = (struct informer_handler){on_node, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    informer_add_handler(c->nodes, &c->on_node);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct pod_gc *c = self;
    informer_remove_handler(c->nodes, &c->on_node);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    work_queue_free(c->queue);
    free(c);
}

const struct controller_row pod_gc_controller = {"pod-gc", make, run, stop};
