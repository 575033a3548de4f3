// ReplicaSet: as many pods of one template as spec.replicas says.
//
// One reconcile: claim the pods (adopt orphans that match, release owned ones that don't), create
// or delete the difference, write the status. Two things keep it from doing anything twice:
//
//  - after its own writes it does nothing more until the pod informer has reached their revision
//    (expectations): a cache that lags cannot show too few pods;
//  - creation starts slowly (1, 2, 4 … pods) and stops at the first error, so a quota or an
//  admission refusal
//    does not cost hundreds of calls. At most BURST pods are created or deleted in one reconcile.
//
// Which pods go first when there are too many is upstream's order, see pod_rank_cmp.
#include "controller/control.h"

enum { BURST = 500 };

struct replicasets {
    struct control *control;
    struct informer *sets, *pods;
    struct informer_handler on_set, on_pod;
    struct work_queue *queue;
    struct event_recorder *events;
    struct expectations expectations;
};

// What decides the order of deletion, extracted once per pod.
struct pod_rank {
    const struct value *tree;
    bool assigned, ready;
    int phase;         // Pending 0, Unknown 1, Running 2
    int64_t cost;      // controller.kubernetes.io/pod-deletion-cost
    size_t neighbours; // active pods of the same group on the same node
    int64_t ready_since, created;
    int64_t restarts;
};

// Negative: a is deleted before b. Not assigned before assigned; Pending, Unknown, Running; not
// ready before ready; cheaper before dearer; doubled up before alone; ready for a shorter time;
// more restarts; younger before older.
static int pod_rank_cmp(const void *pa, const void *pb)
{
    const struct pod_rank *a = pa, *b = pb;
#define ORDER(x, y)                                                                                \
    if ((x) != (y))                                                                                \
    return (x) < (y) ? -1 : 1
    ORDER(a->assigned, b->assigned);
    ORDER(a->phase, b->phase);
    ORDER(a->ready, b->ready);
    ORDER(a->cost, b->cost);
    ORDER(b->neighbours, a->neighbours);
    ORDER(b->ready_since, a->ready_since);
    ORDER(b->restarts, a->restarts);
    ORDER(b->created, a->created);
#undef ORDER
    return str_cmp(value_str_at(a->tree, "metadata.name"), value_str_at(b->tree, "metadata.name"));
}

static void pod_rank(struct pod_rank *r, const struct value *pod)
{
    struct str phase = value_str_at(pod, "status.phase");
    r->tree = pod;
    r->assigned = value_str_at(pod, "spec.nodeName").n > 0;
    r->phase = str_eqc(phase, "Running") ? 2 : str_eqc(phase, "Unknown") ? 1 : 0;
    r->ready = pod_ready(pod);
    r->ready_since = pod_ready_since(pod);
    r->created = time_at(pod, "metadata.creationTimestamp");
    str_to_i64(value_string(value_get(value_at(pod, "metadata.annotations"),
                                      STR("controller.kubernetes.io/pod-deletion-cost"))),
               &r->cost);
    const struct value *statuses = value_at(pod, "status.containerStatuses");
    value_each_item (statuses, s) {
        int64_t n = value_int_at(s, "restartCount", 0);
        if (n > r->restarts)
            r->restarts = n;
    }
}

// Nodes and how many active pods of the set's group each has. The group: the pods of all
// ReplicaSets that have the same controller, or of this one alone.
static void count_neighbours(struct replicasets *c, struct arena *a, const struct value *set,
                             struct map *nodes)
{
    const struct value *ref = controller_ref(set);
    _cleanup_objects_ struct object_list sets = {0};
    struct str own = meta_uid(set);
    if (ref)
        informer_by_index(c->sets, "controller-uid", value_str_at(ref, "uid"), &sets);
    for (size_t i = 0; i <= sets.n; i++) {
        struct str uid = i < sets.n ? value_str_at(object_metadata(a, sets.items[i]), "uid") : own;
        if (i < sets.n && str_eq(uid, own))
            continue;
        _cleanup_objects_ struct object_list pods = {0};
        informer_by_index(c->pods, "controller-uid", uid, &pods);
        for (size_t p = 0; p < pods.n; p++) {
            const struct value *pod = object_tree(a, pods.items[p]);
            struct str node = value_str_at(pod, "spec.nodeName");
            if (node.n && pod_active(pod))
                map_set(nodes, node, (void *)((uintptr_t)map_get(nodes, node) + 1));
        }
    }
}

static int delete_pods(struct replicasets *c, struct arena *a, struct str key,
                       struct object *set_object, const struct value *set,
                       const struct value **active, size_t n, size_t count, struct err *e)
{
    struct pod_rank *ranks = arena_array(a, struct pod_rank, n);
    struct map nodes = MAP_INIT;
    if (count < n)
        count_neighbours(c, a, set, &nodes);
    for (size_t i = 0; i < n; i++) {
        pod_rank(&ranks[i], active[i]);
        ranks[i].neighbours = (uintptr_t)map_get(&nodes, value_str_at(active[i], "spec.nodeName"));
    }
    map_done(&nodes);
    qsort(ranks, n, sizeof *ranks, pod_rank_cmp);
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        struct str name = value_str_at(ranks[i].tree, "metadata.name");
        _cleanup_err_ struct err why = ERR_INIT;
        uint64_t revision = 0;
        int rc = delete_with_uid(c->control, KIND("", "pods"), ranks[i].tree, PROPAGATION_DEFAULT,
                                 -1, &revision, &why);
        expect_revision(&c->expectations, key, revision);
        if (rc == 0) {
            event_record(c->events, set_object, "Normal", "SuccessfulDelete", "Deleted pod: %.*s",
                         STR_ARG(name));
        } else if (!err_is(&why, ERR_NOT_FOUND)) {
            event_record(c->events, set_object, "Warning", "FailedDelete", "Error deleting: %s",
                         why.message);
            if (!result) {
                result = rc;
                err_move(e, &why);
            }
        }
    }
    return result;
}

static int create_pods(struct replicasets *c, struct arena *a, struct str key,
                       struct object *set_object, const struct value *set, size_t count,
                       struct err *e)
{
    struct value *pod =
        pod_from_template(a, KIND("apps", "replicasets"), set, value_at(set, "spec.template"));
    struct str ns = value_str_at(set, "metadata.namespace");
    size_t done = 0;
    for (size_t batch = 1; done < count; batch *= 2) {
        int result = 0;
        for (size_t i = 0; i < batch && done < count; i++, done++) {
            _cleanup_err_ struct err why = ERR_INIT;
            _cleanup_object_ struct object *made = NULL;
            int rc = create_pod(c->control, ns, pod, &made, &why);
            if (rc == 0) {
                expect_revision(&c->expectations, key, made->revision);
                struct str name = object_name(made);
                event_record(c->events, set_object, "Normal", "SuccessfulCreate",
                             "Created pod: %.*s", STR_ARG(name));
            } else if (namespace_terminating(&why)) {
                return 0; // what was made will be deleted with the namespace
            } else {
                event_record(c->events, set_object, "Warning", "FailedCreate", "Error creating: %s",
                             why.message);
                if (!result) {
                    result = rc;
                    err_move(e, &why);
                }
            }
        }
        if (result)
            return result;
    }
    return 0;
}

// The condition list after this reconcile: ReplicaFailure as long as the last attempt failed.
static struct value *conditions(struct replicasets *c, struct arena *a, const struct value *set,
                                int64_t diff, const struct err *failure)
{
    struct value *list = value_array(a);
    const struct value *old = value_at(set, "status.conditions");
    value_each_item (old, one) {
        if (!str_eqc(value_str_at(one, "type"), "ReplicaFailure"))
            value_push(a, list, one);
    }
    if (!failure->reason)
        return list;
    const char *reason = diff < 0 ? "FailedCreate" : "FailedDelete";
    struct value *was = condition_find(old, "ReplicaFailure"), *now = value_object(a);
    if (was && str_eqc(value_str_at(was, "reason"), reason)) {
        value_push(a, list, was);
        return list;
    }
    put(a, now, "type", STR("ReplicaFailure"));
    put(a, now, "status", STR("True"));
    put(a, now, "lastTransitionTime", now_text(c->control, a));
    put(a, now, "reason", str_of(reason));
    put(a, now, "message", arena_str(a, str_of(failure->message)));
    value_push(a, list, now);
    return list;
}

struct counts {
    int64_t replicas, labelled, ready, available;
    uint64_t wait; // until the next pod becomes available by time alone; 0: none
};

static void count_pods(struct replicasets *c, const struct value *set, const struct value **active,
                       size_t n, struct counts *ret)
{
    int64_t min_ready = value_int_at(set, "spec.minReadySeconds", 0),
            now = env_now(c->control->env);
    const struct value *labels = value_at(set, "spec.template.metadata.labels");
    *ret = (struct counts){.replicas = (int64_t)n};
    for (size_t i = 0; i < n; i++) {
        const struct value *have = value_at(active[i], "metadata.labels");
        uint64_t wait;
        bool all = true;
        value_each_field (labels, want)
            all =
                all && str_eq(value_string(value_get(have, want->key)), value_string(want->value));
        ret->labelled += all;
        ret->ready += pod_ready(active[i]);
        ret->available += pod_available(active[i], min_ready, now, &wait);
        if (wait && (!ret->wait || wait < ret->wait))
            ret->wait = wait;
    }
}

static int write_status(struct replicasets *c, struct arena *a, struct value *set,
                        const struct counts *n, struct value *condition_list, struct err *e)
{
    struct value *status = value_object(a);
    put_int(a, status, "replicas", n->replicas);
    put_nonzero(a, status, "fullyLabeledReplicas", n->labelled);
    put_nonzero(a, status, "readyReplicas", n->ready);
    put_nonzero(a, status, "availableReplicas", n->available);
    put_nonzero(a, status, "observedGeneration", value_int_at(set, "metadata.generation", 0));
    if (value_len(condition_list))
        value_setc(a, status, "conditions", condition_list);
    struct value *was = value_getc(set, "status");
    if (was)
        value_delc(was, "terminatingReplicas"); // not counted here
    if (was && value_eq(was, status))
        return 0;
    value_setc(a, set, "status", status);
    return client_update_status(c->control->client, KIND("apps", "replicasets"), set, NULL, e);
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct replicasets *c = ctx;
    _cleanup_object_ struct object *o = informer_get(c->sets, key);
    if (!o) {
        expectation_forget(&c->expectations, key);
        return RECONCILE_DONE;
    }
    if (!expectation_met(&c->expectations, key, c->pods))
        return RECONCILE_DONE; // the pod's event will bring us back
    struct value *set = object_tree(a, o);
    struct selector *selector;
    if (selector_from_value(a, value_at(set, "spec.selector"), &selector, e) < 0)
        return RECONCILE_RETRY;

    struct claimed *pods;
    size_t npods, n = 0;
    if (claim_objects(c->control, a, c->pods, KIND("apps", "replicasets"), set, selector, &pods,
                      &npods, e) < 0)
        return RECONCILE_RETRY;
    const struct value **active = arena_array(a, const struct value *, npods + 1);
    for (size_t i = 0; i < npods; i++) {
        if (pod_active(pods[i].tree))
            active[n++] = pods[i].tree;
    }

    _cleanup_err_ struct err failure = ERR_INIT;
    int64_t want = value_int_at(set, "spec.replicas", 1), diff = (int64_t)n - want;
    if (!meta_deleting(set) && diff < 0)
        create_pods(c, a, key, o, set, diff < -BURST ? BURST : (size_t)-diff, &failure);
    else if (!meta_deleting(set) && diff > 0)
        delete_pods(c, a, key, o, set, active, n, diff > BURST ? BURST : (size_t)diff, &failure);

    struct counts counts;
    count_pods(c, set, active, n, &counts);
    int rc = write_status(c, a, set, &counts, conditions(c, a, set, diff, &failure), e);
    claimed_done(pods, npods);
    if (rc < 0)
        return RECONCILE_RETRY;
    if (failure.reason) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    if (diff < -BURST || diff > BURST)
        return RECONCILE_AFTER; // the rest, when these have come back
    if (counts.wait) {
        *after_ns = counts.wait;
        return RECONCILE_AFTER;
    }
    return RECONCILE_DONE;
}

static void on_set(void *ctx, struct object *old, struct object *new)
{
    struct replicasets *c = ctx;
    enqueue_object(c->queue, new ? new : old);
}

// The set named by the pod's controller reference.
static bool enqueue_owner(struct replicasets *c, struct arena *a, const struct object *pod)
{
    const struct value *owners = value_getc(object_metadata(a, pod), "ownerReferences");
    value_each_item (owners, owner) {
        if (!value_bool_at(owner, "controller", false))
            continue;
        struct str ns = object_namespace(pod), name = value_str_at(owner, "name");
        if (str_eqc(value_str_at(owner, "kind"), "ReplicaSet"))
            work_queue_add(c->queue, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
        return true;
    }
    return false;
}

static void on_pod(void *ctx, struct object *old, struct object *new)
{
    struct replicasets *c = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (old)
        enqueue_owner(c, &a, old);
    if (!new || enqueue_owner(c, &a, new))
        return;
    // An orphan: every set that would take it.
    const struct value *labels = value_getc(object_metadata(&a, new), "labels");
    _cleanup_objects_ struct object_list sets;
    informer_list(c->sets, object_namespace(new), &sets);
    for (size_t i = 0; i < sets.n && value_len(labels); i++) {
        struct selector *selector;
        struct value *set = object_tree(&a, sets.items[i]);
        if (selector_from_value(&a, value_at(set, "spec.selector"), &selector, NULL) == 0 &&
            !selector_empty(selector) && selector_matches(selector, labels))
            enqueue_object(c->queue, sets.items[i]);
    }
}

static void *make(struct control *control)
{
    struct replicasets *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->sets = informers_get(control->informers, KIND("apps", "replicasets"));
    c->pods = informers_get(control->informers, KIND("", "pods"));
    informer_add_index(c->sets, "controller-uid", informer_index_controller);
    informer_add_index(c->pods, "controller-uid", informer_index_controller);
    informer_add_index(c->pods, "orphans", index_orphans);
    expectations_init(&c->expectations);
    c->events = event_recorder_new(control->client, control->executor, STR("replicaset-controller"),
                                   STR_NULL);
    c->queue = work_queue_new(control->executor, "replicaset", 5, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct replicasets *c = self;
    c->on_set = (struct informer_handler){on_set, c, NULL};
    c->on_pod = (struct informer_handler){on_pod, c, NULL};
    informer_add_handler(c->sets, &c->on_set);
    informer_add_handler(c->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct replicasets *c = self;
    informer_remove_handler(c->sets, &c->on_set);
    informer_remove_handler(c->pods, &c->on_pod);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    expectations_done(&c->expectations);
    free(c);
}

const struct controller_row replicaset_controller = {"replicaset", make, run, stop};
