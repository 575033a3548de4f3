// See sim.h. The hollow node is the smallest thing that a control plane takes for a node: it renews
// its lease, reports Ready, starts what is bound to it and confirms deletions.
#include "sim/sim.h"
#include "inprocess.h"
#include <ftw.h>
#include <stdio.h>

struct hollow_node {
    struct hollow_node *next;
    struct sim *sim;
    char name[64];
    bool silent;
    unsigned next_ip;
    struct loop_timer beat;
};

#define MUST(e, call)                                                                              \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, (e).message ? (e).message : "failed");                       \
    } while (0)

static struct str s_of(const char *c)
{
    return c ? str_of(c) : STR_NULL;
}

static struct value *parse(struct sim *s, const char *yaml)
{
    struct value *v;
    _cleanup_err_ struct err e = ERR_INIT;
    MUST(e, yaml_parse(&s->arena, str_of(yaml), NULL, &v, &e));
    return v;
}

// Hollow nodes.

static struct hollow_node *hollow_find(struct sim *s, struct str name)
{
    struct hollow_node *n = s->hollow;
    while (n && !str_eqc(name, n->name))
        n = n->next;
    return n;
}

static struct value *condition(struct arena *a, struct sim *s, const char *type)
{
    struct value *v = value_object(a);
    struct str now = time_rfc3339(a, env_now(s->env), 0);
    value_setc(a, v, "type", value_strc(a, type));
    value_setc(a, v, "status", value_strc(a, "True"));
    value_setc(a, v, "lastTransitionTime", value_str(a, now));
    return v;
}

static enum reconcile_result start_pod(struct sim *s, struct arena *a, struct hollow_node *n,
                                       struct value *pod, struct err *e)
{
    struct value *patch = value_object(a), *conditions = value_array(a);
    bool ready = !s->starts || s->starts(s, pod);
    static const char *const types[] = {"Initialized", "PodScheduled", "ContainersReady", "Ready"};
    for (size_t i = 0; i < (ready ? 4u : 2u); i++)
        value_push(a, conditions, condition(a, s, types[i]));
    value_set_at(a, patch, "status.conditions", conditions);
    value_set_at(a, patch, "status.phase", value_strc(a, "Running"));
    unsigned ip = ++n->next_ip;
    value_set_at(a, patch, "status.podIP",
                 value_str(a, arena_printf(a, "10.244.%u.%u", ip / 250, ip % 250 + 1)));
    value_set_at(a, patch, "status.startTime", value_str(a, time_rfc3339(a, env_now(s->env), 0)));
    int rc = client_patch(s->client, KIND("", "pods"), value_str_at(pod, "metadata.namespace"),
                          value_str_at(pod, "metadata.name"), STR("status"), PATCH_TYPE_MERGE,
                          patch, NULL, e);
    return rc < 0 && !err_is(e, ERR_NOT_FOUND) ? RECONCILE_RETRY : RECONCILE_DONE;
}

static enum reconcile_result kubelet(void *ctx, struct arena *a, struct str key, uint64_t *after_ns,
                                     struct err *e)
{
    struct sim *s = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(s->pods, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *pod = object_tree(a, o);
    struct hollow_node *n = hollow_find(s, value_str_at(pod, "spec.nodeName"));
    if (!n || n->silent)
        return RECONCILE_DONE;
    if (!value_at(pod, "metadata.deletionTimestamp"))
        return value_str_at(pod, "status.podIP").n ? RECONCILE_DONE : start_pod(s, a, n, pod, e);
    struct client_delete_options opt = {.grace_period_seconds = 0,
                                        .uid = value_str_at(pod, "metadata.uid")};
    int rc =
        client_delete(s->client, KIND("", "pods"), object_namespace(o), object_name(o), &opt, e);
    return rc < 0 && !err_is(e, ERR_NOT_FOUND) ? RECONCILE_RETRY : RECONCILE_DONE;
}

static void on_pod(void *ctx, struct object *old, struct object *new)
{
    struct sim *s = ctx;
    (void)old;
    if (!new)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *pod = object_tree(&a, new);
    if (!value_str_at(pod, "spec.nodeName").n)
        return;
    struct str ns = object_namespace(new), name = object_name(new);
    bool stopping = value_at(pod, "metadata.deletionTimestamp") != NULL;
    if (stopping || !value_str_at(pod, "status.podIP").n)
        work_queue_add_after(s->kubelets, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)),
                             stopping ? s->pod_stop_ns : s->pod_start_ns);
}

static void report_node(struct sim *s, struct hollow_node *n, const struct value *resources)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *patch = value_object(&a), *conditions = value_array(&a);
    struct value *ready = condition(&a, s, "Ready");
    value_setc(&a, ready, "reason", value_strc(&a, "KubeletReady"));
    value_setc(&a, ready, "lastHeartbeatTime", value_str(&a, time_rfc3339(&a, env_now(s->env), 0)));
    value_push(&a, conditions, ready);
    value_set_at(&a, patch, "status.conditions", conditions);
    if (resources) {
        value_set_at(&a, patch, "status.capacity", value_clone(&a, resources));
        value_set_at(&a, patch, "status.allocatable", value_clone(&a, resources));
    }
    MUST(e, client_patch(s->client, KIND("", "nodes"), STR_NULL, str_of(n->name), STR("status"),
                         PATCH_TYPE_MERGE, patch, NULL, &e));
}

static void renew(struct sim *s, struct hollow_node *n)
{
    const struct kind *leases = KIND("coordination.k8s.io", "leases");
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *lease = value_object(&a);
    value_set_at(&a, lease, "spec.renewTime", value_str(&a, time_rfc3339(&a, env_now(s->env), 6)));
    int rc = client_patch(s->client, leases, STR("kube-node-lease"), str_of(n->name), STR_NULL,
                          PATCH_TYPE_MERGE, lease, NULL, &e);
    if (rc == 0)
        return;
    err_done(&e);
    e = ERR_INIT;
    value_setc(&a, lease, "kind", value_strc(&a, "Lease"));
    value_setc(&a, lease, "apiVersion", value_strc(&a, "coordination.k8s.io/v1"));
    value_set_at(&a, lease, "metadata.name", value_strc(&a, n->name));
    value_set_at(&a, lease, "metadata.namespace", value_strc(&a, "kube-node-lease"));
    value_set_at(&a, lease, "spec.holderIdentity", value_strc(&a, n->name));
    value_set_at(&a, lease, "spec.leaseDurationSeconds", value_int(&a, 40));
    MUST(e, client_create(s->client, leases, STR("kube-node-lease"), lease, NULL, &e));
}

static void beat(struct loop_timer *t)
{
    struct hollow_node *n = container_of(t, struct hollow_node, beat);
    if (!n->silent)
        renew(n->sim, n);
    loop_timer_in(n->sim->loop, t, 10 * NS_PER_S);
}

void sim_node(struct sim *s, const char *name, const char *resources)
{
    struct hollow_node *n = mem_zalloc(sizeof *n);
    n->sim = s;
    snprintf(n->name, sizeof n->name, "%s", name);
    n->next = s->hollow;
    s->hollow = n;
    char yaml[512];
    snprintf(
        yaml, sizeof yaml,
        "kind: Node\napiVersion: v1\nmetadata: {name: %s, labels: {kubernetes.io/hostname: %s}}\n",
        name, name);
    sim_create(s, yaml);
    report_node(s, n, parse(s, resources ? resources : "{cpu: '4', memory: 8Gi, pods: '110'}"));
    renew(s, n);
    n->beat.fn = beat;
    loop_timer_in(s->loop, &n->beat, 10 * NS_PER_S);
    if (s->env->virtual_time)
        loop_run_until_idle(s->loop,
                            0); // what a node is born tainted with goes before the test goes on
}

void sim_node_silence(struct sim *s, const char *name, bool silent)
{
    struct hollow_node *n = hollow_find(s, str_of(name));
    assert_non_null(n);
    n->silent = silent;
    if (silent)
        return;
    renew(s, n);
    report_node(s, n, NULL);
    _cleanup_objects_ struct object_list pods;
    informer_list(s->pods, STR_NULL, &pods);
    for (size_t i = 0; i < pods.n; i++)
        on_pod(s, NULL, pods.items[i]);
}

// Life.

static bool is_synced(struct sim *s, const void *arg)
{
    (void)s;
    return *(const bool *)arg;
}

static void on_synced(void *ctx)
{
    *(bool *)ctx = true;
}

struct sim *sim_new(const struct sim_options *opt)
{
    static const struct sim_options defaults = {
        .controllers = {.root_ca_pem = {"CA", 2}, .pod_cidr = {"10.244.0.0/16", 13}}};
    const char *seed = getenv("CORACLE_SEED");
    struct sim *s = mem_zalloc(sizeof *s);
    opt = opt ? opt : &defaults;
    if (!seed || !str_to_u64(str_of(seed), &s->seed))
        env_random(env_system(), &s->seed, 4);
    print_message("CORACLE_SEED=%llu\n", (unsigned long long)s->seed);
    str_hash_seed(s->seed, s->seed);
    s->env =
        opt->threads ? env_system() : env_sim_new(s->seed, 1767225600 * NS_PER_S); // 2026-01-01
    s->loop = loop_new(s->env);
    s->store = store_memory_new(s->env);
    s->pod_start_ns = opt->threads ? 5 * NS_PER_MS : NS_PER_S;
    s->pod_stop_ns = s->pod_start_ns;
    struct apiserver_options server = {
        .env = s->env,
        .store = s->store,
        .advertise_address = STR("10.0.0.1"),
        .port = 6443,
        .service_cidr = STR("10.96.0.0/12"),
        .pod_cidr = STR("10.244.0.0/16"),
        .cluster_domain = STR("cluster.local"),
        .node_port_first = 30000,
        .node_port_last = 32767,
        .version = STR("v1.34.0+coracle"),
    };
    _cleanup_err_ struct err e = ERR_INIT;
    if (opt->pki) {
        snprintf(s->pki_dir, sizeof s->pki_dir, "/tmp/sim-pki-XXXXXX");
        assert_non_null(mkdtemp(s->pki_dir));
        struct pki_options pki = {.dir = s->pki_dir,
                                  .service_ip = STR("10.96.0.1"),
                                  .cluster_domain = STR("cluster.local")};
        MUST(e, pki_open(s->env, &pki, &s->pki, &e));
        server.pki = s->pki;
    }
    MUST(e, apiserver_new(&server, &s->server, &e));
    static const char *const groups[] = {"system:masters"};
    s->client = inprocess_client_new(s->server, s->env, "sim", "sim", groups, 1);
    s->informers = informers_new(s->client, s->loop);
    s->executor = executor_new(s->loop, opt->threads, "sim");
    s->pods = informers_get(s->informers, KIND("", "pods"));
    s->nodes = informers_get(s->informers, KIND("", "nodes"));
    s->kubelets = work_queue_new(s->executor, "hollow", 1, kubelet, s);
    s->on_pod = (struct informer_handler){on_pod, s, NULL};
    informer_add_handler(s->pods, &s->on_pod);
    if (!opt->no_controllers)
        s->controllers = controllers_start(s->client, s->informers, s->executor, &opt->controllers);
    if (!opt->no_scheduler)
        s->scheduler =
            scheduler_start(s->client, s->informers, s->executor, STR("default-scheduler"));
    bool synced = false;
    informers_when_synced(s->informers, on_synced, &synced);
    informers_start(s->informers);
    assert_true(sim_until(s, 10, is_synced, &synced));
    if (opt->no_controllers) // what the namespace would have been given
        sim_create(s, "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: default}\n");
    return s;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

void sim_free(struct sim *s)
{
    scheduler_stop(s->scheduler);
    controllers_stop(s->controllers);
    informer_remove_handler(s->pods, &s->on_pod);
    work_queue_free(s->kubelets);
    for (struct hollow_node *n = s->hollow, *next; n; n = next) {
        next = n->next;
        loop_timer_cancel(s->loop, &n->beat);
        free(n);
    }
    informers_free(s->informers);
    executor_free(s->executor);
    client_free(s->client);
    loop_free(s->loop); // before the server: what the watch cache has posted to it still runs
    apiserver_free(s->server);
    if (s->pki) {
        pki_free(s->pki);
        nftw(s->pki_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
    store_close(s->store);
    if (s->env != env_system())
        env_sim_free(s->env);
    arena_done(&s->arena);
    free(s);
}

// With real time the loop runs on, and a timer on it looks whether the condition holds.
struct watcher {
    struct loop_timer timer;
    struct sim *sim;
    bool (*cond)(struct sim *s, const void *arg);
    const void *arg;
    uint64_t end;
    bool holds;
};

static void look(struct loop_timer *t)
{
    struct watcher *w = container_of(t, struct watcher, timer);
    w->holds = w->cond && w->cond(w->sim, w->arg);
    if (w->holds || env_mono(w->sim->env) >= w->end)
        loop_stop(w->sim->loop);
    else
        loop_timer_in(w->sim->loop, t, 5 * NS_PER_MS);
}

static bool real_until(struct sim *s, unsigned seconds,
                       bool (*cond)(struct sim *s, const void *arg), const void *arg)
{
    struct watcher w = {.timer.fn = look, .sim = s, .cond = cond, .arg = arg};
    w.end = env_mono(s->env) + seconds * (uint64_t)NS_PER_S;
    loop_timer_in(s->loop, &w.timer, 0);
    loop_run(s->loop);
    return w.holds;
}

bool sim_until(struct sim *s, unsigned seconds, bool (*cond)(struct sim *s, const void *arg),
               const void *arg)
{
    uint64_t end = env_mono(s->env) + seconds * (uint64_t)NS_PER_S;
    if (!s->env->virtual_time)
        return real_until(s, seconds, cond, arg);
    for (;;) {
        loop_run_until_idle(s->loop, 0);
        if (cond && cond(s, arg))
            return true;
        uint64_t now = env_mono(s->env);
        if (now >= end)
            return false;
        uint64_t step = 100 * NS_PER_MS;
        loop_run_until_idle(s->loop, step);
        if (env_mono(s->env) < now + step) // no timer stood there: time passes all the same
            env_sim_advance(s->env, now + step - env_mono(s->env));
    }
}

void sim_run(struct sim *s, unsigned seconds)
{
    sim_until(s, seconds, NULL, NULL);
}

// The API.

void sim_create(struct sim *s, const char *yaml)
{
    struct value *v = parse(s, yaml);
    struct str ns = value_str_at(v, "metadata.namespace");
    const struct kind *k =
        kind_by_api_version(value_str_at(v, "apiVersion"), value_str_at(v, "kind"));
    _cleanup_err_ struct err e = ERR_INIT;
    struct object *o;
    assert_non_null(k);
    if (k->flags & KIND_NAMESPACED && !ns.n)
        ns = STR("default");
    MUST(e, client_create(s->client, k, ns, v, &o, &e));
    object_unref(o);
}

void sim_patch(struct sim *s, const char *group, const char *resource, const char *ns,
               const char *name, const char *yaml)
{
    _cleanup_err_ struct err e = ERR_INIT;
    MUST(e, client_patch(s->client, client_kind(group, resource), s_of(ns), str_of(name), STR_NULL,
                         PATCH_TYPE_MERGE, parse(s, yaml), NULL, &e));
}

void sim_delete(struct sim *s, const char *group, const char *resource, const char *ns,
                const char *name, enum propagation policy)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct client_delete_options opt = {.propagation = policy, .grace_period_seconds = -1};
    MUST(e,
         client_delete(s->client, client_kind(group, resource), s_of(ns), str_of(name), &opt, &e));
}

struct value *sim_get(struct sim *s, const char *group, const char *resource, const char *ns,
                      const char *name)
{
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_object_ struct object *o = NULL;
    int rc = client_get(s->client, client_kind(group, resource), s_of(ns), str_of(name), &o, &e);
    if (rc < 0 && err_is(&e, ERR_NOT_FOUND))
        return NULL;
    MUST(e, rc);
    return value_clone(&s->arena, object_tree(&s->arena, o));
}

struct value *sim_list(struct sim *s, const char *group, const char *resource, const char *ns,
                       const char *selector)
{
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_answer_ struct api_answer answer = {0};
    MUST(e, client_list(s->client, client_kind(group, resource), s_of(ns), s_of(selector), STR_NULL,
                        &answer, &e));
    struct value *list = value_array(&s->arena);
    for (size_t i = 0; i < answer.nitems; i++)
        value_push(&s->arena, list,
                   value_clone(&s->arena, object_tree(&s->arena, answer.items[i])));
    return list;
}

size_t sim_count(struct sim *s, const char *group, const char *resource, const char *ns,
                 const char *selector)
{
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_answer_ struct api_answer answer = {0};
    MUST(e, client_list(s->client, client_kind(group, resource), s_of(ns), s_of(selector), STR_NULL,
                        &answer, &e));
    return answer.nitems;
}

struct str sim_event(struct sim *s, const char *ns, const char *name, const char *reason)
{
    struct value *list = sim_list(s, "", "events", ns, NULL);
    struct str message = STR_NULL;
    value_each_item (list, ev) {
        if (str_eqc(value_str_at(ev, "involvedObject.name"), name) &&
            str_eqc(value_str_at(ev, "reason"), reason))
            message = value_str_at(ev, "message");
    }
    return message;
}
