// DaemonSet: one pod on every node that its template fits.
//
// The pod of a node is tied to it by a required node affinity to the node's name, and bound by the
// scheduler like any other. One reconcile goes over the nodes:
//
//   the node does not take it any more      all its pods are deleted
//   a pod has finished                      it is deleted, and made anew after that
//   no pod                                  one is made
//   several                                 the oldest stays (in an update with surge: of each
//                                           revision one)
//
// RollingUpdate: pods of an older revision that are not available are replaced at once, others as
// long as no more than maxUnavailable nodes are without an available pod. With maxSurge a new pod
// is made beside the old one, which goes when the new one is available.
//
// A node that becomes NotReady or is cordoned keeps its pods: the tolerations that every daemon pod
// gets say so.
#include "controller/node_fit.h"
#include "controller/pod_claims.h"
#include "controller/revisions.h"

enum { OWNED_REVISIONS };
enum { BURST = 250 };
#define REVISION_LABEL "controller-revision-hash"
#define NODE_NAME      "metadata.name"
#define FAILED_WAIT_NS (10 * NS_PER_S) // a pod that fails is not made anew more often than that

struct daemonsets {
    struct control *control;
    struct reconciler *r;
    struct informer *nodes;
    struct informer_handler on_node;
    struct pod_listener on_pod;
};

// What a node has.
struct spot {
    struct value *node;
    struct str name;
    bool should_run, may_stay;
    struct pod_facts *old, *new; // by revision: the oldest of each that is not leaving
    size_t pods;                 // all, leaving ones too
};

struct tour {
    struct daemonsets *c;
    struct reconcile *p;
    struct revisions history;
    struct revision *update;
    struct pod_claims pods;
    struct object_list nodes;
    struct spot *spots;
    struct map by_node;     // name -> spot
    struct value *template; // of the update revision, with the daemon's tolerations
    int64_t min_ready, collisions;
    size_t made;
};

// The template as a daemon's pod has it.

static void tolerate(struct arena *a, struct value *list, const char *key, const char *effect)
{
    struct value *t = value_object(a), *taint = value_object(a);
    value_put(a, taint, "key", str_of(key));
    value_put(a, taint, "effect", str_of(effect));
    if (node_fit_tolerates(list, taint))
        return;
    value_put(a, t, "key", str_of(key));
    value_put(a, t, "operator", STR("Exists"));
    value_put(a, t, "effect", str_of(effect));
    value_push(a, list, t);
}

static struct value *daemon_template(struct tour *t)
{
    static const struct {
        const char *key, *effect;
    } tolerated[] = {
        {"node.kubernetes.io/not-ready", "NoExecute"},
        {"node.kubernetes.io/unreachable", "NoExecute"},
        {"node.kubernetes.io/disk-pressure", "NoSchedule"},
        {"node.kubernetes.io/memory-pressure", "NoSchedule"},
        {"node.kubernetes.io/pid-pressure", "NoSchedule"},
        {"node.kubernetes.io/unschedulable", "NoSchedule"},
    };
    struct arena *a = t->p->a;
    struct value *template = value_clone(a, revision_template(t->update));
    struct value *spec = value_object_at(a, template, "spec"),
                 *list = value_getc(spec, "tolerations");
    value_delc(template, "$patch");
    if (!value_is(list, VALUE_ARRAY)) {
        list = value_array(a);
        value_setc(a, spec, "tolerations", list);
    }
    for (size_t i = 0; i < ARRAY_LEN(tolerated); i++)
        tolerate(a, list, tolerated[i].key, tolerated[i].effect);
    if (value_bool_at(spec, "hostNetwork", false))
        tolerate(a, list, "node.kubernetes.io/network-unavailable", "NoSchedule");
    value_put(a, value_object_at(a, template, "metadata.labels"), REVISION_LABEL, t->update->hash);
    return template;
}

// Every term gets the node's name: terms are alternatives.
static void tie_to_node(struct arena *a, struct value *spec, struct str node)
{
    struct value *required = value_object_at(
        a, spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    struct value *field = value_object(a), *fields = value_array(a), *values = value_array(a);
    struct value *terms = value_getc(required, "nodeSelectorTerms");
    value_push(a, values, value_str(a, node));
    value_put(a, field, "key", STR(NODE_NAME));
    value_put(a, field, "operator", STR("In"));
    value_setc(a, field, "values", values);
    value_push(a, fields, field);
    if (!value_len(terms)) {
        terms = value_array(a);
        value_push(a, terms, value_object(a));
        value_setc(a, required, "nodeSelectorTerms", terms);
    }
    value_each_item (terms, term)
        value_setc(a, term, "matchFields", fields);
}

// The node that a pod is on or tied to.
static struct str node_of(struct arena *a, const struct pod_facts *p)
{
    if (p->node.n)
        return p->node;
    const struct value *terms =
        value_at(object_tree(a, p->object), "spec.affinity.nodeAffinity."
                                            "requiredDuringSchedulingIgnoredDuringExecution."
                                            "nodeSelectorTerms");
    value_each_item (terms, term) {
        const struct value *fields = value_getc(term, "matchFields");
        value_each_item (fields, f) {
            if (str_eqc(value_str_at(f, "key"), NODE_NAME))
                return value_string(value_item(value_getc(f, "values"), 0));
        }
    }
    return STR_NULL;
}

static void judge_node(struct tour *t, struct spot *s)
{
    const struct value *spec = value_getc(t->template, "spec"),
                       *tolerations = value_getc(spec, "tolerations");
    bool selected = node_fit_selects(spec, s->node);
    s->may_stay = selected && node_fit_taints(tolerations, s->node, "NoExecute");
    s->should_run = s->may_stay && node_fit_taints(tolerations, s->node, "NoSchedule");
}

// Pods.

static bool is_new(struct tour *t, const struct pod_facts *p)
{
    return str_eq(value_string(value_getc(p->labels, REVISION_LABEL)), t->update->hash);
}

static bool is_available(struct tour *t, const struct pod_facts *p)
{
    uint64_t wait;
    bool available = p && facts_available(p, t->min_ready, env_now(t->p->r->env), &wait);
    if (p && wait)
        reconcile_after(t->p, wait);
    return available;
}

static int delete_pod(struct tour *t, const struct pod_facts *pod, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    uint64_t revision = 0;
    if (pod->deleting)
        return 0;
    int rc =
        client_delete_tree(t->p->r->client, KIND("", "pods"), object_tree(t->p->a, pod->object),
                           PROPAGATION_DEFAULT, -1, &revision, &why);
    reconcile_expect(t->p, RECONCILER_EXTRA, revision);
    if (rc == 0) {
        event_record(t->p->r->events, t->p->object, "Normal", "SuccessfulDelete",
                     "Deleted pod: %.*s", STR_ARG(pod->name));
        return 0;
    }
    if (err_is(&why, ERR_NOT_FOUND))
        return 0;
    event_record(t->p->r->events, t->p->object, "Warning", "FailedDelete", "Error deleting: %s",
                 why.message);
    err_move(e, &why);
    return rc;
}

static int create_pod(struct tour *t, struct spot *s, struct err *e)
{
    if (t->made++ >= BURST) {
        reconcile_after(t->p, 0);
        return 0;
    }
    struct value *pod =
        value_clone(t->p->a, pod_from_template(t->p->a, t->p->r->kind, t->p->tree, t->template));
    _cleanup_object_ struct object *made = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    tie_to_node(t->p->a, value_getc(pod, "spec"), s->name);
    int rc = client_create(t->p->r->client, KIND("", "pods"), t->p->ns, pod, &made, &why);
    if (rc == 0) {
        struct str name = object_name(made);
        reconcile_expect(t->p, RECONCILER_EXTRA, made->revision);
        event_record(t->p->r->events, t->p->object, "Normal", "SuccessfulCreate",
                     "Created pod: %.*s", STR_ARG(name));
        return 0;
    }
    if (client_namespace_terminating(&why))
        return 0;
    event_record(t->p->r->events, t->p->object, "Warning", "FailedCreate", "Error creating: %s",
                 why.message);
    err_move(e, &why);
    return rc;
}

// Finished: it goes, and another comes when it has gone. Not at once where it failed quickly.
static int replace_finished(struct tour *t, const struct pod_facts *p, struct str node,
                            struct err *e)
{
    int64_t age = env_now(t->p->r->env) - p->created;
    bool failed = p->phase == PHASE_FAILED;
    if (p->deleting)
        return 0;
    if (failed && age < (int64_t)FAILED_WAIT_NS) {
        reconcile_after(t->p, FAILED_WAIT_NS - (uint64_t)(age < 0 ? 0 : age));
        return 0;
    }
    event_record(t->p->r->events, t->p->object, failed ? "Warning" : "Normal",
                 failed ? "FailedDaemonPod" : "SucceededDaemonPod",
                 "Found %s daemon pod %.*s/%.*s on node %.*s, will try to %s it",
                 failed ? "failed" : "succeeded", STR_ARG(p->ns), STR_ARG(p->name), STR_ARG(node),
                 failed ? "kill" : "delete");
    return delete_pod(t, p, e);
}

// Puts a pod where it stands; what is too much or finished is deleted at once.
static int place(struct tour *t, struct pod_facts *p, struct err *e)
{
    struct str node = node_of(t->p->a, p);
    struct spot *s = map_get(&t->by_node, node);
    if (!s || !s->may_stay)
        return delete_pod(t, p, e);
    s->pods++;
    if (facts_finished(p))
        return replace_finished(t, p, node, e);
    if (p->deleting)
        return 0;
    struct pod_facts **at = is_new(t, p) ? &s->new : &s->old, *loser = NULL;
    if (!*at) {
        *at = p;
    } else if ((*at)->created < p->created ||
               ((*at)->created == p->created && str_cmp((*at)->name, p->name) < 0)) {
        loser = p;
    } else {
        loser = *at;
        *at = p;
    }
    return loser ? delete_pod(t, loser, e) : 0;
}

static int fill(struct tour *t, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < t->nodes.n && rc == 0; i++) {
        if (t->spots[i].should_run && !t->spots[i].pods)
            rc = create_pod(t, &t->spots[i], e);
    }
    return rc;
}

// Updates.

static int update_in_place(struct tour *t, int64_t limit, struct err *e)
{
    int64_t away = 0;
    int rc = 0;
    for (size_t i = 0; i < t->nodes.n; i++) {
        struct spot *s = &t->spots[i];
        if (s->should_run)
            away += !is_available(t, s->new ? s->new : s->old);
    }
    for (size_t i = 0; i < t->nodes.n && rc == 0; i++) {
        struct spot *s = &t->spots[i];
        if (!s->old)
            continue;
        if (s->new || !is_available(t, s->old))
            rc = delete_pod(t, s->old, e); // nothing is lost
        else if (away < limit && ++away)
            rc = delete_pod(t, s->old, e);
    }
    return rc;
}

static int update_with_surge(struct tour *t, int64_t limit, struct err *e)
{
    int64_t surging = 0;
    int rc = 0;
    for (size_t i = 0; i < t->nodes.n; i++)
        surging += t->spots[i].old && t->spots[i].new;
    for (size_t i = 0; i < t->nodes.n && rc == 0; i++) {
        struct spot *s = &t->spots[i];
        if (!s->old)
            continue;
        if (s->new ? is_available(t, s->new) : !is_available(t, s->old))
            rc = delete_pod(t, s->old, e);
        else if (!s->new && s->should_run && surging < limit && ++surging)
            rc = create_pod(t, s, e);
    }
    return rc;
}

static int roll(struct tour *t, struct err *e)
{
    const struct value *strategy = value_at(t->p->tree, "spec.updateStrategy");
    int64_t desired = 0;
    if (str_eqc(value_str_at(strategy, "type"), "OnDelete"))
        return 0;
    for (size_t i = 0; i < t->nodes.n; i++)
        desired += t->spots[i].should_run;
    int64_t surge =
        control_scaled_value(value_at(strategy, "rollingUpdate.maxSurge"), desired, true, 0);
    int64_t away =
        control_scaled_value(value_at(strategy, "rollingUpdate.maxUnavailable"), desired, true, 1);
    return surge > 0 ? update_with_surge(t, surge, e) : update_in_place(t, away, e);
}

// Reconcile.

static struct value *status_of(struct tour *t)
{
    struct arena *a = t->p->a;
    int64_t desired = 0, current = 0, misplaced = 0, ready = 0, available = 0, updated = 0;
    for (size_t i = 0; i < t->nodes.n; i++) {
        struct spot *s = &t->spots[i];
        bool has = s->old || s->new;
        misplaced += has && !s->should_run;
        desired += s->should_run;
        if (!has || !s->should_run)
            continue;
        current++;
        ready += (s->old && s->old->ready) || (s->new && s->new->ready);
        available += is_available(t, s->old) || is_available(t, s->new);
        updated += s->new != NULL;
    }
    const struct value *old = value_at(t->p->tree, "status.conditions");
    struct value *status = value_object(a);
    value_put_int(a, status, "currentNumberScheduled", current);
    value_put_int(a, status, "numberMisscheduled", misplaced);
    value_put_int(a, status, "desiredNumberScheduled", desired);
    value_put_int(a, status, "numberReady", ready);
    value_put_nonzero(a, status, "observedGeneration",
                      value_int_at(t->p->tree, "metadata.generation", 0));
    value_put_nonzero(a, status, "updatedNumberScheduled", updated);
    value_put_nonzero(a, status, "numberAvailable", available);
    value_put_nonzero(a, status, "numberUnavailable", desired - available);
    value_put_nonzero(a, status, "collisionCount", t->collisions);
    if (value_len(old))
        value_setc(a, status, "conditions", value_at(t->p->tree, "status.conditions"));
    return status;
}

static bool is_live(void *ctx, const struct revision *r)
{
    struct tour *t = ctx;
    bool live = r->tree == t->update->tree;
    for (size_t i = 0; i < t->pods.n && !live; i++)
        live = str_eq(value_string(value_getc(t->pods.items[i]->labels, REVISION_LABEL)), r->hash);
    return live;
}

static int look(struct tour *t, struct err *e)
{
    struct selector *selector;
    struct arena *a = t->p->a;
    int rc = selector_from_value(a, value_at(t->p->tree, "spec.selector"), &selector, e);
    if (rc == 0)
        rc = pod_claims_take(t->c->control, a, t->p->r->kind, t->p->tree, selector, NULL, &t->pods,
                             e);
    reconcile_expect(t->p, RECONCILER_EXTRA, t->pods.adopted);
    if (rc == 0)
        rc = revisions_load(t->p, OWNED_REVISIONS, REVISION_LABEL, &t->history, e);
    if (rc == 0)
        rc = revisions_update(&t->history, &t->collisions, &t->update, e);
    if (rc < 0)
        return rc;
    t->template = daemon_template(t);
    informer_list(t->c->nodes, STR_NULL, &t->nodes);
    t->spots = arena_array(a, struct spot, t->nodes.n + 1);
    for (size_t i = 0; i < t->nodes.n; i++) {
        struct spot *s = &t->spots[i];
        s->node = object_tree(a, t->nodes.items[i]);
        s->name = object_name(t->nodes.items[i]);
        judge_node(t, s);
        map_set(&t->by_node, s->name, s);
    }
    return 0;
}

static enum reconcile_result work(struct tour *t, struct err *e)
{
    int64_t collisions = t->collisions;
    if (meta_deleting(t->p->tree))
        return RECONCILE_DONE;
    if (look(t, e) < 0) {
        if (t->collisions != collisions) { // the next name is tried with this count
            struct value *patch = value_object(t->p->a);
            value_set_at(t->p->a, patch, "status.collisionCount",
                         value_int(t->p->a, t->collisions));
            client_patch(t->p->r->client, t->p->r->kind, t->p->ns, t->p->name, STR("status"),
                         PATCH_TYPE_MERGE, patch, NULL, NULL);
        }
        return RECONCILE_RETRY;
    }
    if (t->pods.adopted)
        return RECONCILE_DONE; // they come as events
    _cleanup_err_ struct err failure = ERR_INIT;
    int rc = 0;
    for (size_t i = 0; i < t->pods.n && rc == 0; i++)
        rc = place(t, t->pods.items[i], &failure);
    if (rc == 0)
        rc = fill(t, &failure);
    // Updates count on what is there: only when nothing else had to be done.
    if (rc == 0 && reconcile_settled(t->p))
        rc = roll(t, &failure);
    enum reconcile_result result = reconcile_status(t->p, status_of(t), e);
    if (result == RECONCILE_RETRY)
        return result;
    if (failure.reason) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    if (revisions_prune(&t->history, is_live, t, e) < 0)
        return RECONCILE_RETRY;
    return result;
}

static enum reconcile_result reconcile(struct reconcile *p, struct err *e)
{
    struct tour t = {
        .c = p->ctx,
        .p = p,
        .min_ready = value_int_at(p->tree, "spec.minReadySeconds", 0),
        .collisions = value_int_at(p->tree, "status.collisionCount", 0),
    };
    enum reconcile_result result = work(&t, e);
    revisions_done(&t.history);
    pod_claims_done(&t.pods);
    object_list_done(&t.nodes);
    map_done(&t.by_node);
    return result;
}

// Handlers.

static void enqueue_owner(struct daemonsets *c, const struct pod_facts *p)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (p && str_eqc(p->controller_kind, "DaemonSet"))
        work_queue_add(c->r->queue,
                       arena_printf(&a, "%.*s/%.*s", STR_ARG(p->ns), STR_ARG(p->controller_name)));
}

static void enqueue_all(struct daemonsets *c, struct str ns)
{
    _cleanup_objects_ struct object_list sets = {0};
    informer_list(c->r->informer, ns, &sets);
    for (size_t i = 0; i < sets.n; i++)
        work_queue_add_object(c->r->queue, sets.items[i]);
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct daemonsets *c = ctx;
    enqueue_owner(c, old);
    enqueue_owner(c, new);
    if (!old && new && !new->controller.n &&new->labels)
        enqueue_all(c, new->ns); // an orphan that one of them may adopt
}

// Heartbeats change a node all the time; labels and taints are what counts here.
static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct daemonsets *c = ctx;
    if (old && new) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        const struct value *was = object_tree(&a, old), *is = object_tree(&a, new);
        static const char *const paths[] = {"metadata.labels", "spec.taints"};
        bool same = true;
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
            const struct value *x = value_at(was, paths[i]), *y = value_at(is, paths[i]);
            same = same && (x == y || (x && y && value_eq(x, y)));
        }
        if (same)
            return;
    }
    enqueue_all(c, STR_NULL);
}

static uint64_t applied(void *ctx)
{
    struct daemonsets *c = ctx;
    return pod_cache_revision(c->control->pods);
}

static const struct reconciler_row row = {
    .name = "daemonset",
    .component = "daemonset-controller",
    .workers = 2,
    .group = "apps",
    .resource = "daemonsets",
    .owned = {[OWNED_REVISIONS] = {"apps", "controllerrevisions"}},
    .reconcile = reconcile,
    .applied = applied,
};

static void *make(struct control *control)
{
    struct daemonsets *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->r = reconciler_new(control->client, control->informers, control->executor, &row, c);
    informer_add_index(c->r->owned[OWNED_REVISIONS], "orphans", owner_index_orphans);
    c->nodes = informers_get(control->informers, KIND("", "nodes"));
    return c;
}

static void run(void *self)
{
    struct daemonsets *c = self;
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    c->on_node = (struct informer_handler){on_node, c, NULL};
    reconciler_run(c->r);
    pod_cache_listen(c->control->pods, &c->on_pod);
    informer_add_handler(c->nodes, &c->on_node);
}

static void stop(void *self)
{
    struct daemonsets *c = self;
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    informer_remove_handler(c->nodes, &c->on_node);
    reconciler_free(c->r);
    free(c);
}

const struct controller_row daemonset_controller = {"daemonset", make, run, stop};
