// Pod workers: the state machine, its life, and the dispatch of a sync to the state's code.
//
//                       rejected, or already ended in the API
//            +-----------------------------------------------------+
//            |                                                     v
//   NEW -----+---> ACTIVE ---------------> TERMINATING ------> TERMINATED -----> GONE
//            |        deletion, deadline,  ^   all containers       deleted from
//            |        all containers ended |   stopped, network     the API, all of
//            +-----------------------------+   given back           it removed
//              being deleted; orphan of the runtime
//
// What is true in each state:
//   NEW          nothing has been made by this agent. Entered again by no one.
//   ACTIVE       converging: whatever lacks is made, whatever exited is restarted by policy.
//   TERMINATING  nothing is started any more. Containers are stopped, each with hook and grace.
//   TERMINATED   no process, no address. Records and logs of containers are kept until the pod is
//                deleted from the API; then containers, sandbox, volumes and logs are removed, the
//                last status is written, and the API object is deleted with grace 0 on condition
//                of its UID.
//   GONE         the worker leaves the map at the end of the sync.
//
// Invariants:
//   1. No sync runs before take-over (agent->ready): what the runtime has is known before anything
//      is started, hence nothing is started twice.
//   2. A container is started only in ACTIVE, only by a sync, only when the runtime knows no run
//      of it with the number of the attempt. The runtime's list, not memory, is the truth.
//   3. State moves only forward (table below). A pod that has ended by the API's word never runs
//      again.
//   4. Long calls are jobs; their results are noted under the worker's lock and wake the pod.
#include "node/pod_worker.h"
#include "base/log.h"
#include <stdarg.h>
#include <unistd.h>

static const char *const state_names[] = {
    [POD_NEW] = "New",
    [POD_ACTIVE] = "Active",
    [POD_TERMINATING] = "Terminating",
    [POD_TERMINATED] = "Terminated",
    [POD_GONE] = "Gone",
};

#define MOVE(to) (1u << (to))
static const unsigned allowed_moves[] = {
    [POD_NEW] = MOVE(POD_ACTIVE) | MOVE(POD_TERMINATING) | MOVE(POD_TERMINATED),
    [POD_ACTIVE] = MOVE(POD_TERMINATING),
    [POD_TERMINATING] = MOVE(POD_TERMINATED),
    [POD_TERMINATED] = MOVE(POD_GONE),
    [POD_GONE] = 0,
};

void pod_worker_set_state(struct pod_worker *w, enum pod_state to)
{
    BUG_ON(!(allowed_moves[w->state] & MOVE(to)));
    log_debug("node", "pod moves pod=%s/%s uid=%s from=%s to=%s", w->ns, w->name, w->uid,
              state_names[w->state], state_names[to]);
    w->state = to;
    w->retry_delay = 0;
}

// ---- life --------------------------------------------------------------------------------------

static void container_free(struct pod_container *m)
{
    free(m->name);
    free(m->waiting_reason);
    free(m->waiting_message);
    free(m->image_name);
    free(m->image_id);
    free(m->image_user);
    free(m->spec_image);
    free(m->probed_id);
    free(m->pull_error);
    free(m);
}

struct pod_worker *pod_worker_ref(struct pod_worker *w)
{
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void pod_worker_unref(struct pod_worker *w)
{
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    list_each_safe (&w->containers, l) {
        container_free(container_of(l, struct pod_container, link));
    }
    for (size_t i = 0; i < w->nstale; i++)
        free(w->stale_sandboxes[i]);
    free(w->stale_sandboxes);
    object_unref(w->pod);
    object_unref(w->written);
    blob_unref(w->status);
    free(w->sandbox_id);
    free(w->netns);
    free(w->ip);
    free(w->end_reason);
    free(w->end_message);
    free(w->uid);
    free(w->ns);
    free(w->name);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

// Called with agent->lock held. The map's reference.
static struct pod_worker *worker_make(struct node_agent *a, struct str uid, struct str ns,
                                      struct str name)
{
    struct pod_worker *w = mem_zalloc(sizeof(*w));
    atomic_init(&w->refs, 1);
    w->agent = a;
    w->uid = mem_cstr(uid);
    w->ns = mem_cstr(ns);
    w->name = mem_cstr(name);
    pthread_mutex_init(&w->lock, NULL);
    list_init(&w->containers);
    w->volumes_dirty = true;
    map_set(&a->workers, uid, w);
    return w;
}

struct pod_worker *pod_worker_find(struct node_agent *a, struct str uid)
{
    pthread_mutex_lock(&a->lock);
    struct pod_worker *w = map_get(&a->workers, uid);
    if (w)
        pod_worker_ref(w);
    pthread_mutex_unlock(&a->lock);
    return w;
}

void pod_worker_free_all(struct node_agent *a)
{
    map_each (&a->workers, s)
        pod_worker_unref(s->value);
    map_done(&a->workers);
}

void pod_worker_wake(struct pod_worker *w)
{
    work_queue_add(w->agent->pods, str_of(w->uid));
}

// ---- from the API ------------------------------------------------------------------------------

// What a sync would act on: everything but the status.
static bool same_intent(struct arena *a, struct object *old, struct object *new,
                        bool *ret_same_labels)
{
    static const char *const fields[] = {"spec", "metadata.deletionTimestamp",
                                         "metadata.deletionGracePeriodSeconds"};
    const struct value *o = object_tree(a, old), *n = object_tree(a, new);
    *ret_same_labels = true;
    for (size_t i = 0; i < 2; i++) {
        const char *path = i ? "metadata.annotations" : "metadata.labels";
        const struct value *x = value_at(o, path), *y = value_at(n, path);
        if (!!x != !!y || (x && !value_eq(x, y)))
            *ret_same_labels = false;
    }
    bool same = *ret_same_labels;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const struct value *x = value_at(o, fields[i]), *y = value_at(n, fields[i]);
        if (!!x != !!y || (x && !value_eq(x, y)))
            same = false;
    }
    // Conditions of others count towards readiness gates.
    return same && !value_len(value_at(n, "spec.readinessGates"));
}

static void worker_update(struct node_agent *agent, struct arena *a, struct object *old,
                          struct object *new)
{
    const struct value *meta = object_metadata(a, new);
    struct str uid = value_str_at(meta, "uid");
    pthread_mutex_lock(&agent->lock);
    struct pod_worker *w = map_get(&agent->workers, uid);
    bool fresh = !w;
    if (fresh)
        w = worker_make(agent, uid, value_str_at(meta, "namespace"), value_str_at(meta, "name"));
    pod_worker_ref(w);
    pthread_mutex_unlock(&agent->lock);

    bool same_labels = true;
    bool same = !fresh && old && same_intent(a, old, new, &same_labels);
    pthread_mutex_lock(&w->lock);
    struct object *former = w->pod;
    w->pod = object_ref(new);
    w->volumes_dirty |= !same_labels;
    pthread_mutex_unlock(&w->lock);
    object_unref(former);
    if (same)
        work_queue_add(agent->statuses, uid); // our own write coming back, or a stranger's
    else
        pod_worker_wake(w);
    pod_worker_unref(w);
}

static void worker_removed(struct node_agent *agent, struct arena *a, struct object *last)
{
    struct pod_worker *w = pod_worker_find(agent, value_str_at(object_metadata(a, last), "uid"));
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    struct object *former = w->pod;
    w->pod = object_ref(last);
    w->removed = true;
    pthread_mutex_unlock(&w->lock);
    object_unref(former);
    pod_worker_wake(w);
    pod_worker_unref(w);
}

void pod_worker_on_change(void *ctx, struct object *old, struct object *new)
{
    struct node_agent *agent = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    // A broken watch can hide a deletion: the same name then comes back as another pod.
    if (old && new &&
        !str_eq(value_str_at(object_metadata(&a, old), "uid"),
                value_str_at(object_metadata(&a, new), "uid"))) {
        worker_removed(agent, &a, old);
        old = NULL;
    }
    if (new)
        worker_update(agent, &a, old, new);
    else
        worker_removed(agent, &a, old);
}

// ---- take-over ---------------------------------------------------------------------------------

static void adopt_sandbox(struct node_agent *agent, const struct runtime_sandbox *b)
{
    struct pod_worker *w = map_get(&agent->workers, b->pod_uid);
    if (!w)
        w = worker_make(agent, b->pod_uid, b->pod_namespace, b->pod_name);
    bool better = !w->sandbox_id || b->attempt > w->sandbox_attempt;
    char *stale = mem_cstr(b->id);
    pthread_mutex_lock(&w->lock);
    if (better) {
        char *former = w->sandbox_id;
        w->sandbox_id = stale;
        stale = former;
    }
    pthread_mutex_unlock(&w->lock);
    if (stale) {
        w->stale_sandboxes =
            mem_realloc(w->stale_sandboxes, (w->nstale + 1) * sizeof(*w->stale_sandboxes));
        w->stale_sandboxes[w->nstale++] = stale;
    }
    if (!better)
        return;
    w->sandbox_attempt = b->attempt;
    pod_set(&w->netns, b->netns_path);
    pod_set(&w->ip, b->ip);
    w->networked = b->ip.n > 0;
    if (!b->ready) { // its namespaces are gone: it only holds records
        w->networked = false;
        pod_set(&w->ip, STR_NULL);
    }
}

static int take_over(struct node_agent *agent, struct arena *a, struct err *e)
{
    struct runtime_sandbox *list = NULL;
    size_t n = 0;
    int rc = agent->runtime->ops->sandbox_list(agent->runtime, a, &list, &n, e);
    if (rc < 0)
        return rc;
    struct str *ids = arena_array(a, struct str, n + 1);
    pthread_mutex_lock(&agent->lock);
    for (size_t i = 0; i < n; i++) {
        adopt_sandbox(agent, &list[i]);
        ids[i] = list[i].id;
    }
    struct str *keys = arena_array(a, struct str, agent->workers.n + 1);
    size_t nkeys = 0;
    map_each (&agent->workers, s)
        keys[nkeys++] = arena_str(a, str_n(s->key, s->key_n));
    pthread_mutex_unlock(&agent->lock);

    // Addresses and directories that nobody has a sandbox or a pod for.
    _cleanup_err_ struct err ignored = ERR_INIT;
    if (agent->o.network && pod_network_collect(agent->o.network, ids, n, &ignored) < 0)
        log_warn("node", "addresses of former pods were not released error=\"%s\"",
                 ignored.message);
    struct str *dirs = NULL;
    size_t ndirs = 0;
    volumes_list_pods(agent->volumes, a, &dirs, &ndirs);
    for (size_t i = 0; i < ndirs; i++) {
        bool known = false;
        for (size_t k = 0; !known && k < nkeys; k++)
            known = str_eq(keys[k], dirs[i]);
        if (!known)
            volumes_tear_down(agent->volumes, dirs[i], true, NULL);
    }

    atomic_store(&agent->ready, true);
    for (size_t i = 0; i < nkeys; i++)
        work_queue_add(agent->pods, keys[i]);
    // Pods that came between the snapshot of keys and `ready` were skipped: wake all once more.
    pthread_mutex_lock(&agent->lock);
    map_each (&agent->workers, s)
        work_queue_add(agent->pods, str_n(s->key, s->key_n));
    pthread_mutex_unlock(&agent->lock);
    node_register_wake(agent->node);
    log_info("node", "node agent took over node=%.*s sandboxes=%zu pods=%zu",
             STR_ARG(agent->o.node_name), n, nkeys);
    return 0;
}

// ---- the sync ----------------------------------------------------------------------------------

void pod_sync_due(struct pod_sync *s, uint64_t at)
{
    if (at <= s->now)
        at = s->now + NS_PER_MS;
    if (!s->next || at < s->next)
        s->next = at;
}

static bool deletion_requested(const struct pod_sync *s)
{
    return s->removed || !s->pod || value_at(s->pod, "metadata.deletionTimestamp");
}

static void sync_new(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    struct str phase = value_str_at(s->pod, "status.phase");
    bool ended = str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
    if (!s->pod || deletion_requested(s)) {
        w->resumed = true;
        pod_worker_set_state(w, POD_TERMINATING);
        return;
    }
    if (ended) {
        // Ended under a former agent: what it may have left is stopped, the status stays.
        pod_worker_set_state(w, w->sandbox_id || w->nstale ? POD_TERMINATING : POD_TERMINATED);
        return;
    }
    struct str message;
    const char *reason = w->sandbox_id ? NULL : pod_admit(s, &message);
    int64_t started;
    if (!time_parse_rfc3339(value_str_at(s->pod, "status.startTime"), &started))
        started = env_now(s->agent->env);
    w->started_real = started;
    int64_t age = env_now(s->agent->env) - started;
    w->started_mono = age > 0 && (uint64_t)age < s->now ? s->now - (uint64_t)age : s->now;
    if (reason) {
        w->end_phase = "Failed";
        pod_set(&w->end_reason, str_of(reason));
        pod_set(&w->end_message, message);
        pod_event(s, STR_NULL, "Warning", reason, "%.*s", STR_ARG(message));
        pod_worker_set_state(w, POD_TERMINATED);
        return;
    }
    pod_worker_set_state(w, POD_ACTIVE);
}

static void refer_objects(struct pod_sync *s)
{
    struct node_object_ref refs[256];
    size_t n = 0;
    struct str uid = str_of(s->w->uid);
    static const struct {
        const char *path, *name, *resource;
    } in_env[] = {
        {"valueFrom.configMapKeyRef", "name", "configmaps"},
        {"valueFrom.secretKeyRef", "name", "secrets"},
        {"configMapRef", "name", "configmaps"},
        {"secretRef", "name", "secrets"},
    };
#define REFER(res, str_name)                                                                       \
    do {                                                                                           \
        struct str refer_ = (str_name);                                                            \
        if (refer_.n && n < sizeof(refs) / sizeof(refs[0]))                                        \
            refs[n++] = (struct node_object_ref){(res), refer_};                                   \
    } while (0)
    bool ends = s->w->state > POD_ACTIVE || !s->pod;
    const struct value *list = ends ? NULL : value_at(s->pod, "spec.volumes");
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *v = value_item(list, i);
        REFER("configmaps", value_str_at(v, "configMap.name"));
        REFER("secrets", value_str_at(v, "secret.secretName"));
        const struct value *sources = value_at(v, "projected.sources");
        for (size_t k = 0; k < value_len(sources); k++) {
            REFER("configmaps", value_str_at(value_item(sources, k), "configMap.name"));
            REFER("secrets", value_str_at(value_item(sources, k), "secret.name"));
        }
    }
    // Variables are read once, at the start: watched only while something may still have to start.
    for (size_t c = 0; !ends && c < s->n; c++) {
        for (size_t l = 0; l < 2; l++) {
            const struct value *env = value_getc(s->c[c].spec, l ? "envFrom" : "env");
            for (size_t i = 0; i < value_len(env); i++)
                for (size_t k = 0; k < sizeof(in_env) / sizeof(in_env[0]); k++)
                    REFER(
                        in_env[k].resource,
                        value_str_at(value_at(value_item(env, i), in_env[k].path), in_env[k].name));
        }
    }
#undef REFER
    uint64_t hash = n + 1;
    for (size_t i = 0; i < n; i++)
        hash = hash * 1099511628211u + str_hash(refs[i].name) + (uint8_t)refs[i].resource[0];
    if (hash == s->w->refs_hash)
        return;
    s->w->refs_hash = hash;
    node_objects_set(s->agent->objects, uid, str_of(s->w->ns), refs, n);
}

static void dispatch(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    enum pod_state before;
    do {
        before = w->state;
        switch (before) {
        case POD_NEW:
            sync_new(s);
            break;
        case POD_ACTIVE:
            if (deletion_requested(s))
                pod_worker_set_state(w, POD_TERMINATING);
            else
                pod_active_sync(s);
            break;
        case POD_TERMINATING:
            pod_terminating_sync(s);
            break;
        case POD_TERMINATED:
            pod_terminated_sync(s);
            break;
        case POD_GONE:
            break;
        }
        if (w->state != before)
            s->next = 0; // what the former state waited for does not matter any more
    } while (w->state != before && w->state != POD_GONE);
}

static void retire(struct pod_sync *s)
{
    struct node_agent *agent = s->agent;
    node_objects_set(agent->objects, str_of(s->w->uid), str_of(s->w->ns), NULL, 0);
    pthread_mutex_lock(&agent->lock);
    if (map_get(&agent->workers, str_of(s->w->uid)) == s->w) {
        map_del(&agent->workers, str_of(s->w->uid));
        pod_worker_unref(s->w); // the map's; the sync has its own
    }
    pthread_mutex_unlock(&agent->lock);
}

enum reconcile_result pod_worker_sync(void *ctx, struct arena *a, struct str uid,
                                      uint64_t *after_ns, struct err *e)
{
    struct node_agent *agent = ctx;
    if (atomic_load(&agent->stopping))
        return RECONCILE_DONE;
    if (!uid.n || str_eqc(uid, "take-over"))
        return atomic_load(&agent->ready) || take_over(agent, a, e) == 0 ? RECONCILE_DONE
                                                                         : RECONCILE_RETRY;
    struct pod_worker *w = atomic_load(&agent->ready) ? pod_worker_find(agent, uid) : NULL;
    if (!w)
        return RECONCILE_DONE;

    struct pod_sync s = {.agent = agent, .w = w, .a = a, .now = env_mono(agent->env)};
    pthread_mutex_lock(&w->lock);
    s.object = w->pod ? object_ref(w->pod) : NULL;
    s.removed = w->removed;
    pthread_mutex_unlock(&w->lock);
    s.pod = s.object ? object_tree(a, s.object) : NULL;
    s.facts = (struct pod_facts){
        .pod = s.pod,
        .pod_ip = str_of(w->ip),
        .host_ip = agent->o.node_ip,
        .allocatable = node_register_allocatable(agent->node),
    };
    dispatch(&s);
    if (w->state == POD_GONE) {
        retire(&s);
    } else {
        if (s.pod)
            refer_objects(&s);
        pod_status_update(&s);
    }
    object_unref(s.object);
    pod_worker_unref(w);
    if (!s.next)
        return RECONCILE_DONE;
    uint64_t now = env_mono(agent->env);
    *after_ns = s.next > now ? s.next - now : 1;
    return RECONCILE_AFTER;
}

// ---- small things ------------------------------------------------------------------------------

void pod_set(char **field, struct str value)
{
    free(*field);
    *field = value.p ? mem_cstr(value) : NULL;
}

uint64_t pod_backoff_next(struct pod_backoff *b, uint64_t now)
{
    if (!b->delay || now - b->updated > 2 * BACKOFF_MAX)
        b->delay = BACKOFF_FIRST;
    else
        b->delay = b->delay * 2 > BACKOFF_MAX ? BACKOFF_MAX : b->delay * 2;
    b->updated = now;
    return b->delay;
}

static void record(struct node_agent *agent, struct object *pod, struct arena *a,
                   struct str container, const char *type, const char *reason, struct str text)
{
    if (!pod)
        return;
    const struct value *meta = object_metadata(a, pod);
    struct value *ref = value_object(a);
    value_setc(a, ref, "kind", value_strc(a, "Pod"));
    value_setc(a, ref, "namespace", value_str(a, value_str_at(meta, "namespace")));
    value_setc(a, ref, "name", value_str(a, value_str_at(meta, "name")));
    value_setc(a, ref, "uid", value_str(a, value_str_at(meta, "uid")));
    value_setc(a, ref, "apiVersion", value_strc(a, "v1"));
    value_setc(a, ref, "resourceVersion",
               value_str(a, arena_printf(a, "%llu", (unsigned long long)pod->revision)));
    if (container.n) {
        const char *list = "containers";
        const struct value *tree = object_tree(a, pod);
        const struct value *init = value_at(tree, "spec.initContainers"),
                           *ephemeral = value_at(tree, "spec.ephemeralContainers");
        value_each_item (init, c)
            if (str_eq(value_str_at(c, "name"), container))
                list = "initContainers";
        value_each_item (ephemeral, c)
            if (str_eq(value_str_at(c, "name"), container))
                list = "ephemeralContainers";
        value_setc(a, ref, "fieldPath",
                   value_str(a, arena_printf(a, "spec.%s{%.*s}", list, STR_ARG(container))));
    }
    event_record_ref(agent->events, ref, type, reason, "%.*s", STR_ARG(text));
}

void pod_event(struct pod_sync *s, struct str container, const char *type, const char *reason,
               const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(s->a, fmt, ap);
    va_end(ap);
    record(s->agent, s->object, s->a, container, type, reason, text);
}

void pod_worker_event(struct pod_worker *w, struct str container, const char *type,
                      const char *reason, struct str text)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    pthread_mutex_lock(&w->lock);
    struct object *pod = w->pod ? object_ref(w->pod) : NULL;
    pthread_mutex_unlock(&w->lock);
    record(w->agent, pod, &a, container, type, reason, text);
    object_unref(pod);
}
