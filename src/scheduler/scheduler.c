// The scheduler's loop: informer events keep the cluster and the queues current, one decision after
// the other takes the most urgent pod, and jobs on the executor carry out what was decided (a
// binding) or say why nothing could be (condition and event).
//
// A decided pod is assumed at once: it counts on its node before the API server knows, so the next
// decision sees it. When the binding fails, it is taken off again and comes back after its
// back-off; when the informer shows it on its node, the assumption has become fact.
//
// What wakes a waiting pod is only what may help it: its own change; a node that is new or changed
// and passes the filters for it; a pod that leaves a node which then passes; and, for those that
// failed on spreading or pod affinity, pods that come.
//
// Lock: `lock` guards everything from `cluster` on. A decision holds it (some ten microseconds);
// handlers take it on the loop, jobs when they end. It is never held while the API is called.
#include "scheduler/scheduler.h"
#include "base/env.h"
#include "base/list.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/hook.h"
#include "scheduler/decide.h"
#include "scheduler/pending.h"

enum { DECISIONS_A_TURN = 64 };

struct job {
    struct executor_task task;
    struct list link;
    struct scheduler *scheduler;
    struct pod *pod;
    struct object *object; // the pod as it was decided on
    struct str node;       // owned; STR_NULL: report instead of bind
    struct str message;    // owned: why not
    bool condition;        // the message is new: write the condition as well
};

struct scheduler {
    struct client *client;
    struct informers *informers;
    struct executor *executor;
    struct env *env;
    struct str name;
    struct informer *pods_informer, *nodes_informer;
    struct informer_handler on_pod, on_node;
    struct event_recorder *events;
    struct executor_task turn;
    struct hook *rearm;
    struct loop_timer timer;

    pthread_mutex_t lock;
    pthread_cond_t idle; // a job or a turn has ended
    struct cluster cluster;
    struct pending pending;
    struct map pods; // "namespace/name" -> struct pod
    struct list jobs;
    struct arena arena, hint_arena;
    uint32_t *by_node;
    uint32_t by_node_n;
    uint32_t next_start;
    struct random random;
    bool turning, closing;
    struct scheduler_counts counts;
};

static void kick(struct scheduler *s)
{
    if (s->turning || s->closing || !s->pending.active.n)
        return;
    s->turning = true;
    executor_submit(s->executor, &s->turn);
}

static void decision_init(struct scheduler *s, struct decision *d, struct pod *p, struct arena *a)
{
    if (s->by_node_n < s->cluster.nslots) {
        free(s->by_node);
        s->by_node_n = s->cluster.slots_cap;
        s->by_node = mem_zalloc(s->by_node_n * sizeof *s->by_node);
    }
    *d = (struct decision){.cluster = &s->cluster, .pod = p, .a = a, .by_node = s->by_node};
}

// Waking.

static void wake(struct scheduler *s, struct pod *p)
{
    pending_wake(&s->pending, p, env_mono(s->env));
    if (p->state == POD_BACKOFF)
        hook_post(s->rearm);
}

static bool passes_now(struct scheduler *s, struct pod *p, const struct node *n)
{
    struct decision d;
    decision_init(s, &d, p, &s->hint_arena);
    decision_prepare(&d);
    bool ok = node_passes(&d, n, NULL);
    arena_reset(&s->hint_arena);
    return ok;
}

// Something on this node has become better. always: reasons for which nobody need look closer.
static void wake_for_node(struct scheduler *s, const struct node *n, uint32_t reasons,
                          uint32_t always)
{
    for (struct pod *p = s->pending.waiting, *next; p; p = next) {
        next = p->next_waiting;
        if (p->rejected & always || (p->rejected & reasons && passes_now(s, p, n)))
            wake(s, p);
    }
    kick(s);
}

static void wake_for_pod(struct scheduler *s)
{
    for (struct pod *p = s->pending.waiting, *next; p; p = next) {
        next = p->next_waiting;
        if (p->rejected & (REJECT_SPREAD | REJECT_POD_AFFINITY))
            wake(s, p);
    }
    kick(s);
}

static void pod_leaves(struct scheduler *s, struct pod *p)
{
    if (p->slot < 0)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str node = arena_str(&a, s->cluster.nodes[p->slot].name);
    cluster_remove(&s->cluster, p);
    const struct node *n = cluster_node(&s->cluster, node);
    if (n && n->present)
        wake_for_node(s, n, REJECT_RESOURCES | REJECT_PORTS, REJECT_SPREAD | REJECT_POD_AFFINITY);
}

static void forget(struct scheduler *s, struct pod *p)
{
    map_del(&s->pods, p->key);
    pending_remove(&s->pending, p);
    pod_leaves(s, p);
    if (p->jobs)
        p->forgotten = true;
    else
        pod_free(p);
}

// Jobs.

static struct value *binding(struct arena *a, const struct job *j)
{
    struct value *v = value_object(a);
    value_setc(a, v, "kind", value_strc(a, "Binding"));
    value_setc(a, v, "apiVersion", value_strc(a, "v1"));
    value_set_at(a, v, "metadata.name", value_str(a, object_name(j->object)));
    value_set_at(a, v, "metadata.namespace", value_str(a, object_namespace(j->object)));
    value_set_at(a, v, "metadata.uid", value_str(a, j->pod->uid));
    value_set_at(a, v, "target.kind", value_strc(a, "Node"));
    value_set_at(a, v, "target.name", value_str(a, j->node));
    return v;
}

static void pod_changed(struct scheduler *s, struct object *o);

static void bind(struct job *j)
{
    struct scheduler *s = j->scheduler;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_answer_ struct api_answer answer = {0};
    _cleanup_err_ struct err e = ERR_INIT;
    struct str ns = object_namespace(j->object), name = object_name(j->object);
    struct api_request r = {
        .verb = VERB_CREATE,
        .kind = KIND("", "pods"),
        .subresource = STR("binding"),
        .ns = ns,
        .name = name,
        .body = binding(&a, j),
        .field_manager = s->client->name,
        .grace_period_seconds = -1,
    };
    int rc = client_call(s->client, &r, &answer, &e);
    if (rc == 0) {
        event_record(s->events, j->object, "Normal", "Scheduled",
                     "Successfully assigned %.*s/%.*s to %.*s", STR_ARG(ns), STR_ARG(name),
                     STR_ARG(j->node));
        return;
    }
    if (!err_is(&e, ERR_NOT_FOUND))
        event_record(s->events, j->object, "Warning", "FailedScheduling", "binding rejected: %s",
                     e.message);
    // What happened to the pod meanwhile was left aside: see pod_unassigned.
    _cleanup_object_ struct object *now = informer_get_ns(s->pods_informer, ns, name);
    pthread_mutex_lock(&s->lock);
    s->counts.bind_failures++;
    struct pod *p = j->pod;
    if (!p->forgotten && p->state == POD_BOUND && !p->node_name.n) {
        pod_leaves(s, p);
        p->state = POD_NEW;
        pending_failed(p, env_mono(s->env));
        wake(s, p);
        if (now)
            pod_changed(s, now);
    }
    pthread_mutex_unlock(&s->lock);
}

static void report(struct job *j)
{
    struct scheduler *s = j->scheduler;
    event_record(s->events, j->object, "Warning", "FailedScheduling", "%.*s", STR_ARG(j->message));
    if (!j->condition)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *patch = value_object(&a), *list = value_array(&a), *c = value_object(&a);
    value_setc(&a, c, "type", value_strc(&a, "PodScheduled"));
    value_setc(&a, c, "status", value_strc(&a, "False"));
    value_setc(&a, c, "reason", value_strc(&a, "Unschedulable"));
    value_setc(&a, c, "message", value_str(&a, j->message));
    value_setc(&a, c, "lastProbeTime", value_null(&a));
    value_setc(&a, c, "lastTransitionTime", value_str(&a, time_rfc3339(&a, env_now(s->env), 0)));
    value_push(&a, list, c);
    value_set_at(&a, patch, "metadata.uid", value_str(&a, j->pod->uid));
    value_set_at(&a, patch, "status.conditions", list);
    int rc =
        client_patch(s->client, KIND("", "pods"), object_namespace(j->object),
                     object_name(j->object), STR("status"), PATCH_TYPE_STRATEGIC, patch, NULL, &e);
    if (rc < 0 && !err_is(&e, ERR_NOT_FOUND) && !err_is(&e, ERR_CONFLICT))
        log_warn("scheduler", "reporting pod=\"%.*s\" error=\"%s\"", STR_ARG(j->pod->key),
                 e.message);
}

static void job_free(struct scheduler *s, struct job *j)
{
    list_remove(&j->link);
    if (--j->pod->jobs == 0 && j->pod->forgotten)
        pod_free(j->pod);
    object_unref(j->object);
    free((char *)j->node.p);
    free((char *)j->message.p);
    free(j);
    pthread_cond_broadcast(&s->idle);
}

static void run_job(struct executor_task *t)
{
    struct job *j = container_of(t, struct job, task);
    struct scheduler *s = j->scheduler;
    if (j->node.n)
        bind(j);
    else
        report(j);
    pthread_mutex_lock(&s->lock);
    job_free(s, j);
    kick(s);
    pthread_mutex_unlock(&s->lock);
}

static void start_job(struct scheduler *s, struct pod *p, struct str node, struct str message,
                      bool condition)
{
    struct job *j = mem_zalloc(sizeof *j);
    j->task.fn = run_job;
    j->scheduler = s;
    j->pod = p;
    j->object = object_ref(p->object);
    j->node = node.n ? mem_str(node) : STR_NULL;
    j->message = message.n ? mem_str(message) : STR_NULL;
    j->condition = condition;
    p->jobs++;
    list_push(&s->jobs, &j->link);
    executor_submit(s->executor, &j->task);
}

// Decisions.

static void decide_next(struct scheduler *s, struct pod *p)
{
    struct decision d;
    struct verdict v;
    decision_init(s, &d, p, &s->arena);
    decide(&d, &s->next_start, &s->random, &v);
    s->counts.decisions++;
    if (v.slot >= 0) {
        s->counts.scheduled++;
        struct str node = s->cluster.nodes[v.slot].name;
        p->state = POD_BOUND;
        p->reported = 0;
        cluster_add(&s->cluster, p, node);
        start_job(s, p, node, STR_NULL, false);
        if (s->pending.nwaiting)
            wake_for_pod(s);
    } else {
        s->counts.unschedulable++;
        uint64_t hash = str_hash(v.message) | 1;
        p->rejected = v.rejected ? v.rejected : ~0u; // no nodes: any will do
        pending_failed(p, env_mono(s->env));
        pending_wait(&s->pending, p);
        start_job(s, p, STR_NULL, v.message, hash != p->reported);
        p->reported = hash;
    }
    arena_reset(&s->arena);
}

static void turn(struct executor_task *t)
{
    struct scheduler *s = container_of(t, struct scheduler, turn);
    struct pod *p = NULL;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < DECISIONS_A_TURN && !s->closing && (p = pending_pop(&s->pending)); i++) {
        decide_next(s, p);
        // Handlers and ended jobs get their chance between decisions.
        pthread_mutex_unlock(&s->lock);
        pthread_mutex_lock(&s->lock);
    }
    s->turning = false;
    if (s->closing)
        pthread_cond_broadcast(&s->idle);
    else
        kick(s);
    pthread_mutex_unlock(&s->lock);
}

static void run_timer(void *owner)
{
    struct scheduler *s = owner;
    struct loop *l = executor_loop(s->executor);
    pthread_mutex_lock(&s->lock);
    uint64_t next = pending_due(&s->pending, env_mono(s->env));
    kick(s);
    pthread_mutex_unlock(&s->lock);
    if (next)
        loop_timer_at(l, &s->timer, next);
    else if (loop_timer_armed(&s->timer))
        loop_timer_cancel(l, &s->timer);
}

static void on_timer(struct loop_timer *t)
{
    run_timer(container_of(t, struct scheduler, timer));
}

// Events.

// A pod on a node: counts there until it is gone or finished.
static void pod_assigned(struct scheduler *s, struct pod *was, struct object *o)
{
    struct pod *p = pod_new(o);
    bool counted = was && was->slot >= 0 && str_eq(s->cluster.nodes[was->slot].name, p->node_name);
    if (counted && was->spec_hash == p->spec_hash) {
        // What was assumed is a fact now, or nothing that counts has changed.
        if (!was->node_name.n)
            was->node_name = arena_str(&was->arena, p->node_name);
        pod_free(p);
        return;
    }
    if (was) {
        cluster_remove(&s->cluster, was); // without waking anybody: it comes back at once
        forget(s, was);
    }
    p->state = POD_BOUND;
    map_set(&s->pods, p->key, p);
    cluster_add(&s->cluster, p, p->node_name);
    const struct node *n = &s->cluster.nodes[p->slot];
    if (counted && n->present) // it may need less now
        wake_for_node(s, n, REJECT_RESOURCES | REJECT_PORTS, 0);
    wake_for_pod(s);
}

static void pod_unassigned(struct scheduler *s, struct pod *was, struct object *o)
{
    struct pod *p = pod_new(o);
    if (was && was->spec_hash == p->spec_hash) {
        object_unref(was->object); // its status may have changed; keep the newest for events
        was->object = TAKE_PTR(p->object);
        was->ns = object_namespace(was->object);
        was->name = object_name(was->object);
        p->slot = -1;
        pod_free(p);
        return;
    }
    if (was) {
        if (was->state ==
            POD_BOUND) { // its binding is on the way: what changed comes again with it
            pod_free(p);
            return;
        }
        p->sequence = was->sequence;
        forget(s, was);
    }
    map_set(&s->pods, p->key, p);
    if (p->gated)
        return;
    pending_activate(&s->pending, p);
    kick(s);
}

static void pod_changed(struct scheduler *s, struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *tree = object_tree(&a, o);
    struct str ns = object_namespace(o), name = object_name(o);
    struct str phase = value_str_at(tree, "status.phase"),
               node = value_str_at(tree, "spec.nodeName");
    struct str key = arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    struct pod *was = map_get(&s->pods, key);
    if (was && !str_eq(was->uid, value_str_at(tree, "metadata.uid"))) {
        forget(s, was);
        was = NULL;
    }
    bool over = str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
    bool ours = str_eq(value_str_at(tree, "spec.schedulerName"), s->name);
    bool leaving = value_str_at(tree, "metadata.deletionTimestamp").n;
    if (over || (!node.n && (!ours || leaving))) {
        if (was)
            forget(s, was);
    } else if (node.n) {
        pod_assigned(s, was, o);
    } else {
        pod_unassigned(s, was, o);
    }
}

static void on_pod(void *ctx, struct object *old, struct object *new)
{
    struct scheduler *s = ctx;
    pthread_mutex_lock(&s->lock);
    if (new) {
        pod_changed(s, new);
    } else {
        char key[512];
        struct str ns = object_namespace(old), name = object_name(old);
        int n = snprintf(key, sizeof key, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
        struct pod *was = map_get(&s->pods, str_n(key, (size_t)n));
        if (was)
            forget(s, was);
    }
    kick(s);
    pthread_mutex_unlock(&s->lock);
}

static void on_node(void *ctx, struct object *old, struct object *new)
{
    struct scheduler *s = ctx;
    pthread_mutex_lock(&s->lock);
    if (new) {
        const struct node *was = cluster_node(&s->cluster, object_name(new));
        bool present = was && was->present;
        uint64_t shape = present ? was->shape : 0;
        const struct node *n = &s->cluster.nodes[cluster_node_set(&s->cluster, new)];
        if (!present || n->shape != shape)
            wake_for_node(s, n, ~0u & ~(REJECT_SPREAD | REJECT_POD_AFFINITY),
                          REJECT_SPREAD | REJECT_POD_AFFINITY);
    } else {
        cluster_node_remove(&s->cluster, object_name(old));
        wake_for_pod(s); // fewer domains: skews are other ones
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_synced(void *ctx)
{
    struct scheduler *s = ctx;
    s->on_node = (struct informer_handler){on_node, s, NULL};
    s->on_pod = (struct informer_handler){on_pod, s, NULL};
    informer_add_handler(s->nodes_informer, &s->on_node);
    informer_add_handler(s->pods_informer, &s->on_pod);
}

struct scheduler *scheduler_start(struct client *c, struct informers *f, struct executor *x,
                                  struct str name)
{
    struct scheduler *s = mem_zalloc(sizeof *s);
    s->client = c;
    s->informers = f;
    s->executor = x;
    s->env = c->env;
    s->name = mem_str(name);
    s->pods_informer = informers_get(f, KIND("", "pods"));
    s->nodes_informer = informers_get(f, KIND("", "nodes"));
    s->events = event_recorder_new(c, x, s->name, STR_NULL);
    s->turn.fn = turn;
    s->rearm = hook_new(executor_loop(x), run_timer, s);
    s->timer.fn = on_timer;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    pending_init(&s->pending);
    list_init(&s->jobs);
    env_random(s->env, &s->random.state, sizeof s->random.state);
    s->random.state |= 1;
    informers_when_synced(f, on_synced, s);
    return s;
}

void scheduler_stop(struct scheduler *s)
{
    if (!s)
        return;
    informers_cancel_when_synced(s->informers, s);
    informer_remove_handler(s->nodes_informer, &s->on_node);
    informer_remove_handler(s->pods_informer, &s->on_pod);
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    if (s->turning && executor_cancel(s->executor, &s->turn))
        s->turning = false;
    list_each_safe (&s->jobs, l) {
        struct job *j = container_of(l, struct job, link);
        if (executor_cancel(s->executor, &j->task))
            job_free(s, j);
    }
    while (s->turning || !list_empty(&s->jobs))
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
    if (loop_timer_armed(&s->timer))
        loop_timer_cancel(executor_loop(s->executor), &s->timer);
    hook_free(s->rearm);
    event_recorder_free(s->events);
    map_each (&s->pods, slot) {
        struct pod *p = slot->value;
        cluster_remove(&s->cluster, p);
        pod_free(p);
    }
    map_done(&s->pods);
    cluster_done(&s->cluster);
    pending_done(&s->pending);
    arena_done(&s->arena);
    arena_done(&s->hint_arena);
    free(s->by_node);
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free((char *)s->name.p);
    free(s);
}

void scheduler_counts(struct scheduler *s, struct scheduler_counts *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->counts;
    ret->active = s->pending.active.n;
    ret->backing_off = s->pending.backoff.n;
    ret->waiting = s->pending.nwaiting;
    pthread_mutex_unlock(&s->lock);
}
