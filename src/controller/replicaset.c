// ReplicaSet and ReplicationController: as many pods of one template as spec.replicas says. One
// engine for both; `struct set_type` holds what differs between them.
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
#include "controller/pod_claims.h"

enum { BURST = 500 };

struct set_type {
    const char *name;                    // of the row and the queue
    const char *group, *resource, *kind; // of the sets
    const char *component;               // the source of events
    bool plain_selector;                 // labels, not a LabelSelector
};

struct replicasets {
    struct control *control;
    const struct set_type *type;
    const struct kind *kind;
    struct informer *sets;
    struct informer_handler on_set;
    struct pod_listener on_pod;
    struct work_queue *queue;
    struct event_recorder *events;
    struct expectations expectations;
};

struct pod_rank {
    struct pod_facts *pod;
    size_t neighbours; // active pods of the same group on the same node
};

// Negative: a is deleted before b. Not assigned before assigned; Pending, Unknown, Running; not
// ready before ready; cheaper before dearer; doubled up before alone; ready for a shorter time;
// more restarts; younger before older.
static int pod_rank_cmp(const void *pa, const void *pb)
{
    const struct pod_facts *a = ((const struct pod_rank *)pa)->pod;
    const struct pod_facts *b = ((const struct pod_rank *)pb)->pod;
#define ORDER(x, y)                                                                                \
    if ((x) != (y))                                                                                \
    return (x) < (y) ? -1 : 1
    ORDER(a->node.n > 0, b->node.n > 0);
    ORDER(a->phase, b->phase);
    ORDER(a->ready, b->ready);
    ORDER(a->deletion_cost, b->deletion_cost);
    ORDER(((const struct pod_rank *)pb)->neighbours, ((const struct pod_rank *)pa)->neighbours);
    ORDER(b->ready_since, a->ready_since);
    ORDER(b->restarts, a->restarts);
    ORDER(b->created, a->created);
#undef ORDER
    return str_cmp(a->name, b->name);
}

// What the set selects. An empty plain selector selects nothing, as one that is absent.
static int selector_of(const struct replicasets *c, struct arena *a, const struct value *set,
                       struct selector **ret, struct err *e)
{
    struct value *labels = value_at(set, "spec.selector"), *selector = labels;
    if (c->type->plain_selector) {
        selector = value_len(labels) ? value_object(a) : NULL;
        if (selector)
            value_setc(a, selector, "matchLabels", labels);
    }
    return selector_from_value(a, selector, ret, e);
}

static void count_on_nodes(struct replicasets *c, struct arena *a, struct str uid,
                           struct map *nodes)
{
    _cleanup_pods_ struct pod_list pods;
    pod_cache_by_controller(c->control->pods, a, uid, &pods);
    for (size_t i = 0; i < pods.n; i++) {
        const struct pod_facts *p = pods.items[i];
        if (p->node.n && facts_active(p))
            map_set(nodes, p->node, (void *)((uintptr_t)map_get(nodes, p->node) + 1));
    }
}

// Nodes and how many active pods of the set's group each has. The group: the pods of all
// ReplicaSets that have the same controller, or of this one alone.
static void count_neighbours(struct replicasets *c, struct arena *a, const struct value *set,
                             struct map *nodes)
{
    const struct value *ref = owner_controller(set);
    if (!ref) {
        count_on_nodes(c, a, meta_uid(set), nodes);
        return;
    }
    _cleanup_objects_ struct object_list sets;
    informer_by_index(c->sets, "controller-uid", value_str_at(ref, "uid"), &sets);
    for (size_t i = 0; i < sets.n; i++)
        count_on_nodes(c, a, value_str_at(object_metadata(a, sets.items[i]), "uid"), nodes);
}

static int delete_pods(struct replicasets *c, struct arena *a, struct str key,
                       struct object *set_object, const struct value *set,
                       struct pod_facts **active, size_t n, size_t count, struct err *e)
{
    struct pod_rank *ranks = arena_array(a, struct pod_rank, n);
    struct map nodes = MAP_INIT;
    if (count < n)
        count_neighbours(c, a, set, &nodes);
    for (size_t i = 0; i < n; i++)
        ranks[i] = (struct pod_rank){active[i], (uintptr_t)map_get(&nodes, active[i]->node)};
    map_done(&nodes);
    qsort(ranks, n, sizeof *ranks, pod_rank_cmp);
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        struct str name = ranks[i].pod->name;
        const struct value *tree = object_tree(a, ranks[i].pod->object);
        _cleanup_err_ struct err why = ERR_INIT;
        uint64_t revision = 0;
        int rc = client_delete_tree(c->control->client, KIND("", "pods"), tree, PROPAGATION_DEFAULT,
                                    -1, &revision, &why);
        expectations_expect(&c->expectations, key, revision);
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
    struct value *pod = pod_from_template(a, c->kind, set, value_at(set, "spec.template"));
    struct str ns = value_str_at(set, "metadata.namespace");
    size_t done = 0;
    for (size_t batch = 1; done < count; batch *= 2) {
        int result = 0;
        for (size_t i = 0; i < batch && done < count; i++, done++) {
            _cleanup_err_ struct err why = ERR_INIT;
            _cleanup_object_ struct object *made = NULL;
            int rc = client_create(c->control->client, KIND("", "pods"), ns, pod, &made, &why);
            if (rc == 0) {
                expectations_expect(&c->expectations, key, made->revision);
                struct str name = object_name(made);
                event_record(c->events, set_object, "Normal", "SuccessfulCreate",
                             "Created pod: %.*s", STR_ARG(name));
            } else if (client_namespace_terminating(&why)) {
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
    value_put(a, now, "type", STR("ReplicaFailure"));
    value_put(a, now, "status", STR("True"));
    value_put(a, now, "lastTransitionTime", meta_now(c->control->env, a));
    value_put(a, now, "reason", str_of(reason));
    value_put(a, now, "message", arena_str(a, str_of(failure->message)));
    value_push(a, list, now);
    return list;
}

struct counts {
    int64_t replicas, labelled, ready, available;
    uint64_t wait; // until the next pod becomes available by time alone; 0: none
};

static bool has_labels(const struct value *have, const struct value *want)
{
    value_each_field (want, f) {
        if (!str_eq(value_string(value_get(have, f->key)), value_string(f->value)))
            return false;
    }
    return true;
}

static void count_pods(struct replicasets *c, const struct value *set, struct pod_facts **active,
                       size_t n, struct counts *ret)
{
    int64_t min_ready = value_int_at(set, "spec.minReadySeconds", 0),
            now = env_now(c->control->env);
    const struct value *labels = value_at(set, "spec.template.metadata.labels");
    *ret = (struct counts){.replicas = (int64_t)n};
    for (size_t i = 0; i < n; i++) {
        uint64_t wait;
        ret->labelled += has_labels(active[i]->labels, labels);
        ret->ready += active[i]->ready;
        ret->available += facts_available(active[i], min_ready, now, &wait);
        if (wait && (!ret->wait || wait < ret->wait))
            ret->wait = wait;
    }
}

static int write_status(struct replicasets *c, struct arena *a, struct value *set,
                        const struct counts *n, struct value *condition_list, struct err *e)
{
    struct value *status = value_object(a);
    value_put_int(a, status, "replicas", n->replicas);
    value_put_nonzero(a, status, "fullyLabeledReplicas", n->labelled);
    value_put_nonzero(a, status, "readyReplicas", n->ready);
    value_put_nonzero(a, status, "availableReplicas", n->available);
    value_put_nonzero(a, status, "observedGeneration", value_int_at(set, "metadata.generation", 0));
    if (value_len(condition_list))
        value_setc(a, status, "conditions", condition_list);
    struct value *was = value_getc(set, "status");
    if (was)
        value_delc(was, "terminatingReplicas"); // not counted here
    if (was && value_eq(was, status))
        return 0;
    value_setc(a, set, "status", status);
    return client_update_status(c->control->client, c->kind, set, NULL, e);
}

// The active pods of the set: its own that match (others are released), and orphans that do
// (adopted; they count once the cache shows them as ours).
static int claim_pods(struct replicasets *c, struct arena *a, struct str key,
                      const struct value *set, const struct selector *selector,
                      struct pod_claims *claims, struct pod_facts ***ret_active, size_t *ret_n,
                      struct err *e)
{
    int rc = pod_claims_take(c->control, a, c->kind, set, selector, NULL, claims, e);
    struct pod_facts **active = arena_array(a, struct pod_facts *, claims->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < claims->n; i++) {
        if (facts_active(claims->items[i]))
            active[n++] = claims->items[i];
    }
    expectations_expect(&c->expectations, key, claims->adopted);
    *ret_active = active;
    *ret_n = n;
    return rc;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct replicasets *c = ctx;
    _cleanup_object_ struct object *o = informer_get(c->sets, key);
    if (!o) {
        expectations_forget(&c->expectations, key);
        return RECONCILE_DONE;
    }
    uint64_t applied = pod_cache_revision(c->control->pods);
    if (!expectations_met(&c->expectations, key, applied))
        return RECONCILE_DONE; // the pod's event will bring us back
    struct value *set = object_tree(a, o);
    struct selector *selector;
    if (selector_of(c, a, set, &selector, e) < 0)
        return RECONCILE_RETRY;

    _cleanup_pod_claims_ struct pod_claims claims = {0};
    struct pod_facts **active = NULL;
    size_t n = 0;
    if (claim_pods(c, a, key, set, selector, &claims, &active, &n, e) < 0)
        return RECONCILE_RETRY;
    if (!expectations_met(&c->expectations, key, applied))
        return RECONCILE_DONE; // adopted some: they come as events

    _cleanup_err_ struct err failure = ERR_INIT;
    int64_t want = value_int_at(set, "spec.replicas", 1), diff = (int64_t)n - want;
    if (!meta_deleting(set) && diff < 0)
        create_pods(c, a, key, o, set, diff < -BURST ? BURST : (size_t)-diff, &failure);
    else if (!meta_deleting(set) && diff > 0)
        delete_pods(c, a, key, o, set, active, n, diff > BURST ? BURST : (size_t)diff, &failure);

    struct counts counts;
    count_pods(c, set, active, n, &counts);
    if (write_status(c, a, set, &counts, conditions(c, a, set, diff, &failure), e) < 0)
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
    work_queue_add_object(c->queue, new ? new : old);
}

// The set named by the pod's controller reference.
static void enqueue_owner(struct replicasets *c, const struct pod_facts *p)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (str_eqc(p->controller_kind, c->type->kind))
        work_queue_add(c->queue,
                       arena_printf(&a, "%.*s/%.*s", STR_ARG(p->ns), STR_ARG(p->controller_name)));
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct replicasets *c = ctx;
    if (old && !(new &&str_eq(old->controller, new->controller)))
        enqueue_owner(c, old);
    if (!new)
        return;
    enqueue_owner(c, new);
    if (new->controller.n || !new->labels)
        return;
    // An orphan: every set that would take it.
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_objects_ struct object_list sets;
    informer_list(c->sets, new->ns, &sets);
    for (size_t i = 0; i < sets.n; i++) {
        struct selector *selector;
        struct value *set = object_tree(&a, sets.items[i]);
        if (selector_of(c, &a, set, &selector, NULL) == 0 && !selector_empty(selector) &&
            selector_matches(selector, new->labels))
            work_queue_add_object(c->queue, sets.items[i]);
    }
}

static void *make(struct control *control, const struct set_type *type)
{
    struct replicasets *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->type = type;
    c->kind = client_kind(type->group, type->resource);
    c->sets = informers_get(control->informers, c->kind);
    informer_add_index(c->sets, "controller-uid", informer_index_controller);
    expectations_init(&c->expectations);
    c->events =
        event_recorder_new(control->client, control->executor, str_of(type->component), STR_NULL);
    c->queue = work_queue_new(control->executor, type->name, 5, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct replicasets *c = self;
    c->on_set = (struct informer_handler){on_set, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    informer_add_handler(c->sets, &c->on_set);
    pod_cache_listen(c->control->pods, &c->on_pod);
}

static void stop(void *self)
{
    struct replicasets *c = self;
    informer_remove_handler(c->sets, &c->on_set);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    work_queue_free(c->queue);
    event_recorder_free(c->events);
    expectations_done(&c->expectations);
    free(c);
}

static void *make_sets(struct control *control)
{
    static const struct set_type type = {.name = "replicaset",
                                         .group = "apps",
                                         .resource = "replicasets",
                                         .kind = "ReplicaSet",
                                         .component = "replicaset-controller"};
    return make(control, &type);
}

static void *make_controllers(struct control *control)
{
    static const struct set_type type = {.name = "replication",
                                         .group = "",
                                         .resource = "replicationcontrollers",
                                         .kind = "ReplicationController",
                                         .component = "replication-controller",
                                         .plain_selector = true};
    return make(control, &type);
}

const struct controller_row replicaset_controller = {"replicaset", make_sets, run, stop};
const struct controller_row controller_replication = {"replication", make_controllers, run, stop};
