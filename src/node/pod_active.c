// ACTIVE: what has to be there for the pod to run, in order; a sync does what it can and leaves the
// rest to the next one, which is woken by a job's end, an exit, a probe, a change of an object, or
// a time.
//
//   deadline -> volumes -> sandbox -> network -> init containers, one after the other
//            -> containers -> ephemeral containers
//
// When no container runs and none is to be restarted the pod has ended: TERMINATING takes down the
// rest.
#include "base/env.h"
#include "base/log.h"
#include "node/pod_dns.h"
#include "node/pod_resources.h"
#include "node/pod_worker.h"
#include <netinet/in.h>

#define RETRY_FIRST (500 * NS_PER_MS)
#define RETRY_MAX   (122 * NS_PER_S)

static uint64_t next_delay(uint64_t *delay)
{
    *delay = !*delay ? RETRY_FIRST : *delay * 2 > RETRY_MAX ? RETRY_MAX : *delay * 2;
    return *delay;
}

// ---- admission ---------------------------------------------------------------------------------

struct usage {
    int64_t pods, cpu_milli, memory;
    bool port_taken;
};

static bool shares_port(const struct value *x, const struct value *y)
{
    const struct value *a = value_at(x, "spec.containers"), *b = value_at(y, "spec.containers");
    for (size_t i = 0; i < value_len(a); i++)
        value_each_item (value_getc(value_item(a, i), "ports"), p) {
            int64_t port = value_int_at(p, "hostPort", 0);
            if (!port)
                continue;
            for (size_t k = 0; k < value_len(b); k++)
                value_each_item (value_getc(value_item(b, k), "ports"), q) {
                    if (value_int_at(q, "hostPort", 0) == port &&
                        str_eq(value_str_at(q, "protocol"), value_str_at(p, "protocol")) &&
                        str_eq(value_str_at(q, "hostIP"), value_str_at(p, "hostIP")))
                        return true;
                }
        }
    return false;
}

// What the other pods take that this node has accepted and that have not ended.
static void count_usage(struct pod_sync *s, struct usage *u)
{
    struct node_agent *agent = s->agent;
    pthread_mutex_lock(&agent->lock);
    struct object **pods = arena_array(s->a, struct object *, agent->workers.n + 1);
    size_t n = 0;
    map_each (&agent->workers, slot) {
        struct pod_worker *w = slot->value;
        // A state read without the other's lock may be a moment old: admission is a second check
        // after the scheduler's, and errs by a pod at most while two pods arrive at once.
        enum pod_state state = atomic_load_explicit(&w->state, memory_order_relaxed);
        if (w == s->w || state == POD_NEW || state >= POD_TERMINATED)
            continue;
        pthread_mutex_lock(&w->lock);
        if (w->pod)
            pods[n++] = object_ref(w->pod);
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&agent->lock);
    u->pods = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        const struct value *pod = object_tree(s->a, pods[i]);
        int64_t cpu, memory;
        pod_requests(pod, &cpu, &memory);
        u->cpu_milli += cpu;
        u->memory += memory;
        u->port_taken |= shares_port(s->pod, pod);
        object_unref(pods[i]);
    }
}

const char *pod_admit(struct pod_sync *s, struct str *ret_message)
{
    struct node_agent *agent = s->agent;
    struct usage u = {0};
    int64_t cpu, memory;
    count_usage(s, &u);
    pod_requests(s->pod, &cpu, &memory);
    const struct {
        const char *reason, *resource;
        int64_t requested, used, capacity;
    } rows[] = {
        {"OutOfpods", "pods", 1, u.pods, agent->o.max_pods},
        {"OutOfcpu", "cpu", cpu, u.cpu_milli, agent->node_cpu_milli},
        {"OutOfmemory", "memory", memory, u.memory, agent->node_memory},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].requested > 0 && rows[i].used + rows[i].requested > rows[i].capacity) {
            *ret_message = arena_printf(
                s->a,
                "Pod was rejected: Node didn't have enough resource: %s, requested: %lld, used: "
                "%lld, capacity: %lld",
                rows[i].resource, (long long)rows[i].requested, (long long)rows[i].used,
                (long long)rows[i].capacity);
            return rows[i].reason;
        }
    if (u.port_taken) {
        *ret_message = STR("Pod was rejected: Predicate NodePorts failed: node(s) didn't have free "
                           "ports for the requested pod ports");
        return "NodePorts";
    }
    return NULL;
}

// ---- volumes -----------------------------------------------------------------------------------

static bool ensure_volumes(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    pthread_mutex_lock(&w->lock);
    bool dirty = w->volumes_dirty;
    w->volumes_dirty = false;
    pthread_mutex_unlock(&w->lock);
    if (w->volumes_refresh && s->now >= w->volumes_refresh)
        dirty = true;
    if (!w->volumes_ready && !dirty && s->now < w->volumes_not_before) {
        pod_sync_due(s, w->volumes_not_before);
        return false;
    }
    if (w->volumes_ready && !dirty) {
        if (w->volumes_refresh)
            pod_sync_due(s, w->volumes_refresh);
        return true;
    }
    _cleanup_err_ struct err e = ERR_INIT;
    struct str volume = STR("?");
    int rc = volumes_set_up(s->agent->volumes, s->a, &s->facts, &w->volumes_refresh, &volume, &e);
    if (rc == 0) {
        w->volumes_ready = true;
        w->volumes_delay = 0;
        if (w->volumes_refresh)
            pod_sync_due(s, w->volumes_refresh);
        return true;
    }
    pod_event(s, STR_NULL, "Warning", "FailedMount",
              "MountVolume.SetUp failed for volume \"%.*s\" : %s", STR_ARG(volume), e.message);
    w->volumes_not_before = s->now + next_delay(&w->volumes_delay);
    if (w->volumes_ready) { // an update that failed: the old files stay, and it is tried again
        w->volumes_refresh = w->volumes_not_before;
    }
    pod_sync_due(s, w->volumes_not_before);
    return w->volumes_ready;
}

// ---- sandbox and network -----------------------------------------------------------------------

static bool sandbox_failed(struct pod_sync *s, const struct err *e)
{
    struct pod_worker *w = s->w;
    pod_event(s, STR_NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s",
              e->message);
    w->sandbox_not_before = s->now + next_delay(&w->sandbox_delay);
    pod_sync_due(s, w->sandbox_not_before);
    return false;
}

static struct str resolv_conf(struct pod_sync *s)
{
    const char *note = NULL;
    struct pod_dns_options o = {
        .cluster_dns = s->agent->o.cluster_dns,
        .cluster_domain = s->agent->o.cluster_domain,
        .host_resolv_conf = pod_host_resolv_conf(s->a),
    };
    struct str text = pod_resolv_conf(s->a, &o, s->pod, &note);
    if (note)
        pod_event(s, STR_NULL, "Warning", "DNSConfigForming", "%s", note);
    return text;
}

// The handler that the pod's RuntimeClass names.
static int find_handler(struct pod_sync *s, struct str *ret, struct err *e)
{
    struct str name = value_str_at(s->pod, "spec.runtimeClassName");
    _cleanup_object_ struct object *class = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    if (!name.n)
        return 0;
    int r = client_get(s->agent->client, KIND("node.k8s.io", "runtimeclasses"), STR_NULL, name,
                       &class, &why);
    if (r < 0)
        return err_wrap(e, &why, "failed to get sandbox runtime: RuntimeClass \"%.*s\"",
                        STR_ARG(name));
    *ret = arena_str(s->a, value_str_at(object_tree(s->a, class), "handler"));
    return 0;
}

static int run_sandbox(struct pod_sync *s, struct err *e)
{
    struct pod_worker *w = s->w;
    struct arena *a = s->a;
    const struct value *list = value_at(s->pod, "spec.securityContext.sysctls");
    size_t nsysctls = value_len(list);
    struct str(*sysctls)[2] = arena_alloc(a, (nsysctls + 1) * sizeof(*sysctls));
    for (size_t i = 0; i < nsysctls; i++) {
        sysctls[i][0] = value_str_at(value_item(list, i), "name");
        sysctls[i][1] = value_str_at(value_item(list, i), "value");
    }
    const struct str labels[][2] = {
        {STR("io.kubernetes.pod.name"), str_of(w->name)},
        {STR("io.kubernetes.pod.namespace"), str_of(w->ns)},
        {STR("io.kubernetes.pod.uid"), str_of(w->uid)},
    };
    bool host_network = value_bool_at(s->pod, "spec.hostNetwork", false);
    struct runtime_sandbox_config c = {
        .pod_name = str_of(w->name),
        .pod_namespace = str_of(w->ns),
        .pod_uid = str_of(w->uid),
        .attempt = w->sandbox_attempt,
        .hostname = host_network ? STR_NULL : pod_hostname(s->pod),
        .log_directory =
            arena_printf(a, "%s/%s_%s_%s", s->agent->o.log_dir, w->ns, w->name, w->uid),
        .cgroup_parent = pod_cgroup_parent(a, s->pod),
        .resolv_conf = resolv_conf(s),
        .host_network = host_network,
        .host_pid = value_bool_at(s->pod, "spec.hostPID", false),
        .host_ipc = value_bool_at(s->pod, "spec.hostIPC", false),
        .share_process_namespace = value_bool_at(s->pod, "spec.shareProcessNamespace", false),
        .sysctls = (const struct str(*)[2])sysctls,
        .nsysctls = nsysctls,
        .labels = labels,
        .nlabels = sizeof(labels) / sizeof(labels[0]),
    };
    struct runtime_sandbox b = {0};
    int rc = find_handler(s, &c.handler, e);
    if (rc < 0)
        return rc;
    rc = s->agent->runtime->ops->sandbox_run(s->agent->runtime, a, &c, &b, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&w->lock); // the agent's API reads it
    pod_set(&w->sandbox_id, b.id);
    pthread_mutex_unlock(&w->lock);
    pod_set(&w->netns, b.netns_path);
    w->networked = false;
    return 0;
}

static int port_maps(struct pod_sync *s, struct pod_port_map **ret, size_t *ret_n)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers"};
    struct pod_port_map *out = NULL;
    size_t n = 0;
    for (size_t l = 0; l < 2; l++) {
        const struct value *list = value_at(s->pod, lists[l]);
        for (size_t i = 0; i < value_len(list); i++)
            value_each_item (value_getc(value_item(list, i), "ports"), p) {
                int64_t host = value_int_at(p, "hostPort", 0);
                if (!host)
                    continue;
                struct str protocol = value_str_at(p, "protocol");
                out = arena_grow(s->a, out, n * sizeof(*out), (n + 1) * sizeof(*out));
                out[n++] = (struct pod_port_map){
                    .host_port = (uint16_t)host,
                    .container_port = (uint16_t)value_int_at(p, "containerPort", 0),
                    .protocol = str_eqc(protocol, "UDP")    ? IPPROTO_UDP
                                : str_eqc(protocol, "SCTP") ? IPPROTO_SCTP
                                                            : IPPROTO_TCP,
                    .host_ip = value_str_at(p, "hostIP"),
                };
            }
    }
    *ret = out;
    *ret_n = n;
    return 0;
}

static int write_hosts(struct pod_sync *s, struct err *e)
{
    struct str host = STR_NULL;
    if (value_bool_at(s->pod, "spec.hostNetwork", false) &&
        file_read_all(s->a, "/etc/hosts", 1 << 20, &host, NULL) < 0)
        host = STR("127.0.0.1\tlocalhost\n");
    struct str text =
        pod_hosts_file(s->a, s->pod, s->facts.pod_ip, s->agent->o.cluster_domain, host);
    char *path = volumes_pod_path(s->agent->volumes, s->a, str_of(s->w->uid), "etc-hosts");
    return file_write_all(path, text, 0644, e);
}

static int add_network(struct pod_sync *s, struct err *e)
{
    struct pod_worker *w = s->w;
    struct str ip = s->agent->o.node_ip;
    if (!value_bool_at(s->pod, "spec.hostNetwork", false)) {
        struct pod_port_map *ports;
        size_t nports;
        port_maps(s, &ports, &nports);
        struct pod_network_request r = {
            .sandbox_id = str_of(w->sandbox_id),
            .netns_path = str_of(w->netns),
            .pod_namespace = str_of(w->ns),
            .pod_name = str_of(w->name),
            .pod_uid = str_of(w->uid),
            .ports = ports,
            .nports = nports,
        };
        if (s->agent->o.network) {
            int rc = pod_network_add(s->agent->o.network, s->a, &r, &ip, e);
            if (rc < 0)
                return err_wrap(e, e, "failed to set up the pod's network");
        }
    }
    s->facts.pod_ip = arena_str(s->a, ip);
    // The runtime's note of the address says to the next agent that all of this is done: it comes
    // last.
    struct runtime *r = s->agent->runtime;
    int rc;
    if ((rc = write_hosts(s, e)) < 0 ||
        (rc = r->ops->sandbox_set_ip(r, str_of(w->sandbox_id), ip, e)) < 0)
        return rc;
    pod_set(&w->ip, ip);
    w->networked = true;
    return 0;
}

// false: not yet; the reason is in an event, the time in s->next.
static bool ensure_sandbox(struct pod_sync *s)
{
    struct pod_worker *w = s->w;
    if (w->sandbox_id && w->networked)
        return true;
    if (s->now < w->sandbox_not_before) {
        pod_sync_due(s, w->sandbox_not_before);
        return false;
    }
    _cleanup_err_ struct err e = ERR_INIT;
    if (!w->sandbox_id && run_sandbox(s, &e) < 0)
        return sandbox_failed(s, &e);
    if (add_network(s, &e) < 0) {
        w->networked = false;
        return sandbox_failed(s, &e);
    }
    w->sandbox_delay = 0;
    return true;
}

// ---- containers --------------------------------------------------------------------------------

static int64_t container_grace(const struct pod_sync *s, const struct container_view *c,
                               const char *probe)
{
    const struct value *own =
        value_getc(value_getc(c->spec, probe), "terminationGracePeriodSeconds");
    return value_int_or(own, value_int_at(s->pod, "spec.terminationGracePeriodSeconds", 30));
}

static void watch_probes(struct pod_sync *s, struct container_view *c)
{
    struct pod_container *m = c->mem;
    bool run = pod_container_is_running(c);
    if (m->probed_id && (!run || !str_eqc(c->now->id, m->probed_id))) {
        prober_forget(s->agent->prober, str_of(m->probed_id), ~0u);
        pod_set(&m->probed_id, STR_NULL);
    }
    pthread_mutex_lock(&s->w->lock);
    bool hook = m->hook_running;
    pthread_mutex_unlock(&s->w->lock);
    if (!run || m->probed_id || hook ||
        (!value_getc(c->spec, "livenessProbe") && !value_getc(c->spec, "readinessProbe") &&
         !value_getc(c->spec, "startupProbe")))
        return;
    struct probe_target t = {
        .pod_uid = str_of(s->w->uid),
        .container = c->name,
        .container_id = c->now->id,
        .ip = s->facts.pod_ip,
        .spec = c->spec,
        .started_ns = c->now->started_ns,
    };
    prober_watch(s->agent->prober, &t);
    pod_set(&m->probed_id, c->now->id);
}

// Reasons to end a running container; it is restarted by policy once it has exited. true: it ends.
static bool check_running(struct pod_sync *s, struct container_view *c)
{
    struct prober *p = s->agent->prober;
    struct pod_container *m = c->mem;
    pthread_mutex_lock(&s->w->lock);
    bool hook_failed = m->hook_failed;
    pthread_mutex_unlock(&s->w->lock);
    const char *why = NULL, *probe = "";
    if (hook_failed) {
        why = "FailedPostStartHook";
    } else if (prober_result(p, c->now->id, PROBE_STARTUP) == PROBE_FAILURE) {
        why = arena_cstr(
            s->a,
            arena_printf(s->a, "Container %s failed startup probe, will be restarted", m->name));
        probe = "startupProbe";
    } else if (prober_result(p, c->now->id, PROBE_LIVENESS) == PROBE_FAILURE) {
        why = arena_cstr(
            s->a,
            arena_printf(s->a, "Container %s failed liveness probe, will be restarted", m->name));
        probe = "livenessProbe";
    } else if (m->spec_image && !str_eqc(value_str_at(c->spec, "image"), m->spec_image)) {
        why = arena_cstr(
            s->a,
            arena_printf(s->a, "Container %s definition changed, will be restarted", m->name));
    }
    if (why)
        pod_container_stop(s, c, container_grace(s, c, probe), why);
    return why != NULL;
}

// An exited container that is to run again: in its back-off, or started.
static enum start_result restart(struct pod_sync *s, struct container_view *c)
{
    struct pod_container *m = c->mem;
    pthread_mutex_lock(&s->w->lock);
    m->hook_failed = false;
    pthread_mutex_unlock(&s->w->lock);
    uint32_t attempt = c->now->attempt + 1;
    // Since when it has been down, on the monotonic clock.
    int64_t ago = env_now(s->agent->env) - c->now->finished_ns;
    uint64_t down = ago > 0 && (uint64_t)ago < s->now ? s->now - (uint64_t)ago : s->now;
    // The delay that the last restart left behind holds from this exit on.
    uint64_t delay = m->restart.delay;
    if (delay && s->now - m->restart.updated > 2 * BACKOFF_MAX)
        delay = 0;
    if (!m->restart_counted && delay && s->now < down + delay) {
        _cleanup_buf_ struct buf text = BUF_INIT;
        duration_write(&text, (int64_t)delay);
        if (!m->waiting_reason || strcmp(m->waiting_reason, "CrashLoopBackOff") != 0)
            pod_event(s, c->name, "Warning", "BackOff",
                      "Back-off restarting failed container %s in pod %s_%s(%s)", m->name,
                      s->w->name, s->w->ns, s->w->uid);
        pod_container_wait(
            c, "CrashLoopBackOff",
            arena_printf(s->a, "back-off %.*s restarting failed container=%s pod=%s_%s(%s)",
                         STR_ARG(buf_view(&text)), m->name, s->w->name, s->w->ns, s->w->uid));
        pod_sync_due(s, down + delay);
        return START_FAILED;
    }
    if (!m->restart_counted) {
        pod_backoff_next(&m->restart, s->now);
        m->restart_counted = true;
    }
    return pod_container_start(s, c, attempt);
}

static enum start_result ensure_running(struct pod_sync *s, struct container_view *c)
{
    if (!c->now)
        return pod_container_start(s, c, 0);
    if (c->now->state == RUNTIME_CREATED)
        return pod_container_start(s, c, c->now->attempt);
    return restart(s, c);
}

static bool any_main_began(const struct pod_sync *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->c[i].kind == CONTAINER_MAIN && s->c[i].now && !s->c[i].lost)
            return true;
    return false;
}

static bool hooks_pending(struct pod_sync *s)
{
    bool pending = false;
    pthread_mutex_lock(&s->w->lock);
    for (size_t i = 0; i < s->n; i++)
        pending |= s->c[i].mem->hook_running;
    pthread_mutex_unlock(&s->w->lock);
    return pending;
}

enum init_result { INIT_DONE, INIT_PENDING, INIT_FAILED };

// Init containers in order. Once a main container has begun only sidecars are looked after.
static enum init_result run_init(struct pod_sync *s)
{
    bool began = any_main_began(s);
    for (size_t i = 0; i < s->n; i++) {
        struct container_view *c = &s->c[i];
        bool sidecar = c->kind == CONTAINER_SIDECAR;
        if (c->kind != CONTAINER_INIT && !sidecar)
            break;
        if (began && !sidecar)
            continue;
        watch_probes(s, c);
        if (pod_container_is_running(c)) {
            check_running(s, c);
            if (sidecar && (began || pod_container_is_started(s, c)))
                continue;
            return INIT_PENDING;
        }
        if (pod_container_stopping(s, c))
            return INIT_PENDING;
        if (!sidecar && pod_container_is_exited(c) && !c->lost) {
            if (c->now->exit_code == 0)
                continue;
            if (!pod_container_wants_restart(s, c))
                return INIT_FAILED;
        }
        if (began) {
            ensure_running(s, c);
            continue;
        }
        if (ensure_running(s, c) == START_DONE)
            pod_worker_wake(
                s->w); // look at it, now that it runs (a sidecar may be started already)
        return INIT_PENDING;
    }
    return INIT_DONE;
}

static void run_main(struct pod_sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct container_view *c = &s->c[i];
        if (c->kind != CONTAINER_MAIN && c->kind != CONTAINER_EPHEMERAL)
            continue;
        watch_probes(s, c);
        if (pod_container_is_running(c)) {
            check_running(s, c);
            continue;
        }
        if (pod_container_stopping(s, c) ||
            (pod_container_is_exited(c) && !pod_container_wants_restart(s, c)))
            continue;
        if (hooks_pending(s)) // containers start one after the other, hooks included
            return;
        if (ensure_running(s, c) == START_DONE)
            pod_worker_wake(s->w); // its probes
    }
}

// Every main container has ended for good, or can never begin.
static bool has_ended(struct pod_sync *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct container_view *c = &s->c[i];
        if (c->kind == CONTAINER_MAIN &&
            (!pod_container_is_exited(c) || pod_container_wants_restart(s, c) ||
             pod_container_stopping(s, c)))
            return false;
    }
    return true;
}

static void end(struct pod_sync *s, const char *phase, const char *reason, struct str message)
{
    s->w->end_phase = phase;
    pod_set(&s->w->end_reason, str_of(reason));
    pod_set(&s->w->end_message, message);
    pod_worker_set_state(s->w, POD_TERMINATING);
}

static bool deadline_passed(struct pod_sync *s)
{
    int64_t seconds = value_int_at(s->pod, "spec.activeDeadlineSeconds", 0);
    if (seconds <= 0)
        return false;
    uint64_t at = s->w->started_mono + (uint64_t)seconds * NS_PER_S;
    if (s->now < at) {
        pod_sync_due(s, at);
        return false;
    }
    pod_event(s, STR_NULL, "Normal", "DeadlineExceeded",
              "Pod was active on the node longer than the specified deadline");
    end(s, "Failed", "DeadlineExceeded",
        STR("Pod was active on the node longer than the specified deadline"));
    return true;
}

void pod_active_sync(struct pod_sync *s)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct pod_worker *w = s->w;
    if (pod_view_make(s, &e) < 0) {
        if (!w->retry_delay) // once per trouble
            log_warn("node", "containers of a pod could not be listed pod=%s/%s error=\"%s\"",
                     w->ns, w->name, e.message);
        pod_sync_due(s, s->now + next_delay(&w->retry_delay));
        return;
    }
    w->retry_delay = 0;
    while (w->nstale) { // sandboxes of former attempts
        char *id = w->stale_sandboxes[w->nstale - 1];
        struct runtime *r = s->agent->runtime;
        if (r->ops->sandbox_stop(r, str_of(id), NULL) < 0 ||
            r->ops->sandbox_remove(r, str_of(id), NULL) < 0)
            break;
        free(id);
        w->nstale--;
    }
    if (deadline_passed(s))
        return;
    if (has_ended(s)) {
        end(s, NULL, NULL, STR_NULL);
        return;
    }
    if (!ensure_volumes(s) || !ensure_sandbox(s))
        return;
    switch (run_init(s)) {
    case INIT_DONE:
        run_main(s);
        break;
    case INIT_PENDING:
        break;
    case INIT_FAILED:
        end(s, NULL, NULL, STR_NULL);
        break;
    }
}
