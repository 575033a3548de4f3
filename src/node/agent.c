// The agent's life: makes the parts, joins them, takes them down in an order in which nobody calls
// what is gone. The parts know each other only through agent_internal.h; this file is the wiring.
//
//   pod informer --> pod_worker_on_change --> work queue "pods" --> pod_worker_sync
//   runtime exits, probes, ConfigMaps, jobs --------^                |        |
//                                                                    |        +--> work queue
//                                  runtime.h, pod_network.h, volume.h             "statuses"
//
// Start: nothing is started for a pod before two things are known: the pods (the informers' first
// lists) and what the runtime still has. The second is asked for after the first, so a sandbox
// without a pod is an orphan indeed.
#include "node/agent.h"
#include "base/log.h"
#include "node/pod_worker.h"
#include "wire/http_client.h"
#include <errno.h>

#define JOBS_MAX        256
#define WORKERS_DEFAULT 8

// ---- wake-ups ----------------------------------------------------------------------------------

static void on_runtime_change(void *ctx, struct str uid, struct str container_id)
{
    struct node_agent *a = ctx;
    if (atomic_load(&a->stopping))
        return;
    work_queue_add(a->pods, uid);
    if (a->server)
        agent_server_container_changed(a->server, container_id);
}

static void on_object_change(void *ctx, struct str uid)
{
    struct node_agent *a = ctx;
    struct pod_worker *w = pod_worker_find(a, uid);
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->volumes_dirty = true;
    pthread_mutex_unlock(&w->lock);
    pod_worker_wake(w);
    pod_worker_unref(w);
}

static void on_probe_change(void *ctx, struct str uid)
{
    struct node_agent *a = ctx;
    work_queue_add(a->pods, uid);
}

static void on_unhealthy(void *ctx, struct str uid, struct str container, struct str text)
{
    struct pod_worker *w = pod_worker_find(ctx, uid);
    if (!w)
        return;
    pod_worker_event(w, container, "Warning", "Unhealthy", text);
    pod_worker_unref(w);
}

static void on_node_change(void *ctx, struct object *old, struct object *new)
{
    node_register_on_change(ctx, old, new);
}

static void agent_unref(struct node_agent *a);

static void on_synced(void *ctx)
{
    struct node_agent *a = ctx;
    if (!atomic_load(&a->stopping))
        work_queue_add(a->pods, STR("take-over"));
    agent_unref(a);
}

static int get_object(void *ctx, struct arena *arena, const char *resource, struct str ns,
                      struct str name, const struct value **ret, struct err *e)
{
    struct node_agent *a = ctx;
    _cleanup_object_ struct object *o = NULL;
    int rc = node_objects_get(a->objects, resource, ns, name, &o, e);
    if (rc < 0)
        return rc;
    *ret = value_clone(arena, object_tree(arena, o));
    return 0;
}

// ---- life --------------------------------------------------------------------------------------

static void copy_options(struct node_agent *a, const struct node_agent_options *o)
{
    struct arena *s = &a->strings;
    struct str *const strings[] = {
        &a->o.node_name,      &a->o.node_ip,         &a->o.pod_cidr,         &a->o.cluster_dns,
        &a->o.cluster_domain, &a->o.api_address,     &a->o.serving_cert_pem, &a->o.serving_key_pem,
        &a->o.client_ca_pem,  &a->o.api_client_user, &a->o.api_client_group,
    };
    a->o = *o;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
        if (strings[i]->p)
            *strings[i] = arena_str(s, *strings[i]);
    a->o.data_dir = arena_cstr(s, str_of(o->data_dir));
    a->o.log_dir = arena_cstr(s, o->log_dir ? str_of(o->log_dir) : STR("/var/log/pods"));
    if (!a->o.cluster_domain.n)
        a->o.cluster_domain = STR("cluster.local");
    if (!a->o.api_client_user.n)
        a->o.api_client_user = STR("kube-apiserver-kubelet-client");
    if (!a->o.api_client_group.n)
        a->o.api_client_group = STR("system:masters");
    if (!a->o.max_pods)
        a->o.max_pods = 110;
    if (!a->o.workers)
        a->o.workers = WORKERS_DEFAULT;
    struct str(*labels)[2] = arena_alloc(s, (o->nlabels + 1) * sizeof(*labels));
    for (size_t i = 0; i < o->nlabels; i++) {
        labels[i][0] = arena_str(s, o->labels[i][0]);
        labels[i][1] = arena_str(s, o->labels[i][1]);
    }
    a->o.labels = (const struct str(*)[2])labels;
}

static void agent_unref(struct node_agent *a)
{
    if (atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&a->lock);
    arena_done(&a->strings);
    free(a);
}

static int make_parts(struct node_agent *a, struct err *e)
{
    struct tls_client *tls = NULL;
    int rc = tls_client_new(STR_NULL, STR_NULL, STR_NULL, true, &tls, e);
    if (rc < 0)
        return rc;
    a->tls = tls;
    struct http_client_options http = {.tls = tls, .idle_timeout_ns = 60 * NS_PER_S};
    a->http = http_client_new(a->loop, &http);
    a->executor = executor_new(a->loop, a->env->virtual_time ? 0 : a->o.workers, "node");
    a->jobs = job_pool_new(a->loop, JOBS_MAX);
    a->events = event_recorder_new(a->client, a->executor, STR("kubelet"), a->o.node_name);
    a->pods = work_queue_new(a->executor, "pods", a->o.workers, pod_worker_sync, a);
    a->statuses = work_queue_new(a->executor, "pod-statuses", 4, pod_status_write, a);
    a->objects = node_objects_new(a->client, a->loop, on_object_change, a);
    struct volumes_options volumes = {
        .env = a->env,
        .client = a->client,
        .data_dir = a->o.data_dir,
        .get = get_object,
        .ctx = a,
        .no_mounts = a->env->virtual_time,
    };
    a->volumes = volumes_new(&volumes);
    struct prober_options prober = {
        .loop = a->loop,
        .http = a->http,
        .runtime = a->runtime,
        .jobs = a->jobs,
        .changed = on_probe_change,
        .unhealthy = on_unhealthy,
        .ctx = a,
    };
    a->prober = prober_new(&prober);
    a->runtime->ops->on_change(a->runtime, on_runtime_change, a);
    if (a->o.api_port && (rc = agent_server_new(a, &a->server, e)) < 0)
        return rc;
    a->node = node_register_new(a);
    return 0;
}

static void watch(struct node_agent *a)
{
    struct informers *f = a->o.informers;
    _cleanup_arena_ struct arena tmp = ARENA_INIT;
    a->pod_informer =
        informers_get_selected(f, KIND("", "pods"), STR_NULL, STR_NULL,
                               arena_printf(&tmp, "spec.nodeName=%.*s", STR_ARG(a->o.node_name)));
    a->node_informer =
        informers_get_selected(f, KIND("", "nodes"), STR_NULL, STR_NULL,
                               arena_printf(&tmp, "metadata.name=%.*s", STR_ARG(a->o.node_name)));
    a->service_informer = informers_get(f, KIND("", "services"));
    a->pod_handler = (struct informer_handler){.on_change = pod_worker_on_change, .ctx = a};
    a->node_handler = (struct informer_handler){.on_change = on_node_change, .ctx = a};
    informer_add_handler(a->pod_informer, &a->pod_handler);
    informer_add_handler(a->node_informer, &a->node_handler);
    atomic_fetch_add(&a->refs, 1);
    informers_when_synced(f, on_synced, a);
}

static void unref_later(void *arg)
{
    agent_unref(arg);
}

// On the loop's thread, or while it does not run. Messages to the loop may be queued that were sent
// before: the agent's memory itself is freed behind them.
static int take_down(struct node_agent *a, uint64_t grace_ns)
{
    a->runtime->ops->on_change(a->runtime, NULL, NULL);
    agent_server_end_streams(a->server);
    atomic_store(&a->stopping, true);
    if (a->pod_informer) {
        informer_remove_handler(a->pod_informer, &a->pod_handler);
        informer_remove_handler(a->node_informer, &a->node_handler);
    }
    if (a->jobs && job_pool_close(a->jobs, grace_ns) < 0)
        return -ETIMEDOUT; // what runs uses nearly everything: leave all of it
    agent_server_free(a->server);
    if (a->pods)
        work_queue_free(a->pods);
    if (a->statuses)
        work_queue_free(a->statuses);
    node_register_free(a->node);
    if (a->events)
        event_recorder_free(a->events);
    if (a->executor)
        executor_free(a->executor);
    job_pool_free(a->jobs);
    prober_free(a->prober);
    if (a->http)
        http_client_free(a->http);
    if (a->tls)
        tls_client_free(a->tls);
    pod_worker_free_all(a);
    node_objects_free(a->objects);
    volumes_free(a->volumes);
    loop_call(a->loop, unref_later, a);
    return 0;
}

// A machine that cannot run containers has a node all the same, NotReady: whoever looks finds why.
static void check_machine(struct node_agent *a)
{
    _cleanup_err_ struct err e = ERR_INIT;
    if (a->runtime->ops->check(a->runtime, &e) == 0)
        return;
    a->cannot_run = arena_cstr(&a->strings, str_of(e.message));
    log_error("node", "%s", a->cannot_run);
}

int node_agent_start(const struct node_agent_options *o, struct node_agent **ret, struct err *e)
{
    struct node_agent *a = mem_zalloc(sizeof(*a));
    atomic_init(&a->refs, 1);
    pthread_mutex_init(&a->lock, NULL);
    copy_options(a, o);
    a->env = o->env;
    a->client = o->client;
    a->loop = o->loop;
    a->runtime = o->runtime;
    check_machine(a);
    int rc = make_parts(a, e);
    if (rc < 0) {
        take_down(a, 0);
        return rc;
    }
    watch(a);
    node_register_start(a->node);
    *ret = a;
    return 0;
}

int node_agent_stop(struct node_agent *a, uint64_t grace_ns)
{
    return a ? take_down(a, grace_ns) : 0;
}

unsigned node_agent_port(const struct node_agent *a)
{
    return a->server ? agent_server_port(a->server) : 0;
}

int node_agent_prepare(const char *data_dir, bool *ret_made, struct err *e)
{
    return volumes_prepare(data_dir, ret_made, e);
}

int node_agent_teardown(const char *data_dir, struct err *e)
{
    return volumes_teardown_all(data_dir, e);
}
