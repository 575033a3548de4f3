// The agent's HTTPS API: kubelet's paths, for the API server alone. A request passes: client
// certificate -> route (table) -> handler. What blocks (asking the runtime) is a job; streams are
// the loop's.
//
//   GET /healthz                                  ok
//   GET /pods                                     the pods as this agent has them
//   GET /stats/summary                            CPU and memory of node and containers
//   GET /containerLogs/NS/POD/CONTAINER           server_logs.c
//   */exec/NS/POD/CONTAINER, */attach/…           server_exec.c
//   */portForward/NS/POD                          501
#include "base/log.h"
#include "node/pod_worker.h"
#include "node/server_internal.h"
#include "object/json.h"

// ---- answers -----------------------------------------------------------------------------------

void server_refuse(struct http_exchange *x, int status, struct str text)
{
    struct http_header h = {STR("content-type"), STR("text/plain; charset=utf-8")};
    http_respond(x, status, &h, 1, text);
}

static void respond_json(struct http_exchange *x, const struct value *v)
{
    struct http_header h = {STR("content-type"), STR("application/json")};
    http_respond(x, 200, &h, 1, json_text(http_arena(x), v));
}

// Only the API server may come in. 0, or the status of the refusal that was answered.
static int authenticate(struct agent_server *s, struct http_exchange *x)
{
    const struct tls_peer *peer = http_request(x)->peer;
    const struct node_agent_options *o = &s->agent->o;
    if (!peer) {
        server_refuse(x, 401, STR("Unauthorized"));
        return 401;
    }
    if (str_eq(peer->common_name, o->api_client_user))
        return 0;
    for (size_t i = 0; i < peer->norganizations; i++)
        if (str_eq(peer->organizations[i], o->api_client_group))
            return 0;
    server_refuse(x, 403,
                  arena_printf(http_arena(x),
                               "Forbidden (user=%.*s, verb=%s, resource=nodes, "
                               "subresource=[proxy])",
                               STR_ARG(peer->common_name),
                               str_eqc(http_request(x)->method, "GET") ? "get" : "create"));
    return 403;
}

// ---- lookups -----------------------------------------------------------------------------------

static void lookup_closed(struct server_task *t)
{
    container_of(t, struct lookup, task)->x = NULL;
}

void lookup_free(struct lookup *l)
{
    if (l->x)
        http_set_data(l->x, NULL);
    arena_done(&l->a);
    free(l);
}

static void lookup_back(void *arg)
{
    struct lookup *l = arg;
    if (l->x && !atomic_load(&l->server->agent->stopping)) {
        l->done(l);
        return;
    }
    if (l->dropped)
        l->dropped(l);
    lookup_free(l);
}

static int refuse(struct lookup *l, int status, struct str text)
{
    l->status = status;
    l->text = text;
    return 0;
}

static const struct value *status_of(const struct value *pod, struct str container)
{
    static const char *const lists[] = {"status.containerStatuses", "status.initContainerStatuses",
                                        "status.ephemeralContainerStatuses"};
    for (size_t i = 0; i < 3; i++) {
        const struct value *list = value_at(pod, lists[i]);
        for (size_t k = 0; k < value_len(list); k++)
            if (str_eq(value_str_at(value_item(list, k), "name"), container))
                return value_item(list, k);
    }
    return NULL;
}

static int choose(struct lookup *l, const struct value *pod, const struct runtime_container *list,
                  size_t n)
{
    const struct runtime_container *now = NULL, *before = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(list[i].name, l->container) || list[i].state == RUNTIME_CREATED)
            continue;
        if (!now || list[i].attempt > now->attempt) {
            before = now;
            now = &list[i];
        } else if (!before || list[i].attempt > before->attempt) {
            before = &list[i];
        }
    }
    if (l->previous && !before)
        return refuse(l, 400,
                      arena_printf(&l->a,
                                   "previous terminated container \"%.*s\" in pod \"%.*s\" not "
                                   "found",
                                   STR_ARG(l->container), STR_ARG(l->pod)));
    if (!now) {
        struct str reason = value_str_at(status_of(pod, l->container), "state.waiting.reason");
        return refuse(
            l, 400,
            arena_printf(&l->a, "container \"%.*s\" in pod \"%.*s\" is waiting to start: %.*s",
                         STR_ARG(l->container), STR_ARG(l->pod), reason.n ? (int)reason.n : 17,
                         reason.n ? reason.p : "ContainerCreating"));
    }
    const struct runtime_container *c = l->previous ? before : now;
    l->status = 200;
    l->container_id = c->id;
    l->log_path = c->log_path;
    l->running = c->state == RUNTIME_RUNNING;
    return 0;
}

static int look_up(struct lookup *l, struct err *e)
{
    struct node_agent *agent = l->server->agent;
    struct runtime *r = agent->runtime;
    _cleanup_object_ struct object *object = informer_get_ns(agent->pod_informer, l->ns, l->pod);
    if (!object)
        return refuse(
            l, 404,
            arena_printf(&l->a, "pod \"%.*s_%.*s\" not found", STR_ARG(l->pod), STR_ARG(l->ns)));
    const struct value *pod = value_clone(&l->a, object_tree(&l->a, object));
    const struct value *spec = pod_container_spec(pod, l->container);
    if (!spec)
        return refuse(l, 404,
                      arena_printf(&l->a, "container \"%.*s\" not found in pod \"%.*s_%.*s\"",
                                   STR_ARG(l->container), STR_ARG(l->pod), STR_ARG(l->ns)));
    l->tty = value_bool_at(spec, "tty", false);
    l->uid = value_str_at(pod, "metadata.uid");
    struct pod_worker *w = pod_worker_find(agent, l->uid);
    struct str sandbox = STR_NULL;
    if (w) {
        pthread_mutex_lock(&w->lock);
        sandbox = w->sandbox_id ? arena_str(&l->a, str_of(w->sandbox_id)) : STR_NULL;
        pthread_mutex_unlock(&w->lock);
        pod_worker_unref(w);
    }
    struct runtime_container *list = NULL;
    size_t n = 0;
    int rc = sandbox.n ? r->ops->container_list(r, &l->a, sandbox, &list, &n, e) : 0;
    return rc < 0 ? rc : choose(l, pod, list, n);
}

static void lookup_job(void *arg)
{
    struct lookup *l = arg;
    _cleanup_err_ struct err e = ERR_INIT;
    if (look_up(l, &e) < 0)
        refuse(l, 500, arena_str(&l->a, str_of(e.message)));
    loop_call(l->server->agent->loop, lookup_back, l);
}

void lookup_start(struct lookup *l)
{
    l->task.closed = lookup_closed;
    http_set_data(l->x, &l->task);
    job_pool_run(l->server->agent->jobs, lookup_job, l);
}

// ---- handlers ----------------------------------------------------------------------------------

typedef void route_fn(struct agent_server *s, struct http_exchange *x, const struct str *parts);

static void get_healthz(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    (void)s;
    (void)parts;
    server_refuse(x, 200, STR("ok"));
}

static void get_pods(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    (void)parts;
    struct arena *a = http_arena(x);
    struct value *list = value_object(a), *items = value_array(a);
    _cleanup_objects_ struct object_list pods = {0};
    informer_list(s->agent->pod_informer, STR_NULL, &pods);
    for (size_t i = 0; i < pods.n; i++)
        value_push(a, items, value_clone(a, object_tree(a, pods.items[i])));
    value_setc(a, list, "kind", value_strc(a, "PodList"));
    value_setc(a, list, "apiVersion", value_strc(a, "v1"));
    value_setc(a, list, "metadata", value_object(a));
    value_setc(a, list, "items", items);
    respond_json(x, list);
}

struct stats_job {
    struct server_task task;
    struct agent_server *server;
    struct http_exchange *x;
    struct arena a;
    struct value *summary;
};

static void stats_closed(struct server_task *t)
{
    container_of(t, struct stats_job, task)->x = NULL;
}

static void stats_back(void *arg)
{
    struct stats_job *j = arg;
    if (j->x) {
        http_set_data(j->x, NULL);
        respond_json(j->x, j->summary);
    }
    arena_done(&j->a);
    free(j);
}

static struct value *stats_value(struct arena *a, struct str now, uint64_t cpu_ns,
                                 uint64_t working_set, uint64_t rss)
{
    struct value *v = value_object(a);
    value_set_at(a, v, "cpu.time", value_str(a, now));
    value_set_at(a, v, "cpu.usageCoreNanoSeconds", value_int(a, (int64_t)cpu_ns));
    value_set_at(a, v, "memory.time", value_str(a, now));
    value_set_at(a, v, "memory.workingSetBytes", value_int(a, (int64_t)working_set));
    value_set_at(a, v, "memory.rssBytes", value_int(a, (int64_t)rss));
    return v;
}

static void stats_job(void *arg)
{
    struct stats_job *j = arg;
    struct node_agent *agent = j->server->agent;
    struct runtime *r = agent->runtime;
    struct arena *a = &j->a;
    struct runtime_stats *stats = NULL;
    struct runtime_container *containers = NULL;
    size_t nstats = 0, n = 0;
    r->ops->stats(r, a, &stats, &nstats, NULL);
    r->ops->container_list(r, a, STR_NULL, &containers, &n, NULL);
    struct str now = time_rfc3339(a, env_now(agent->env), 0);
    struct value *pods = value_array(a), *all = value_object(a);
    uint64_t cpu = 0, memory = 0, rss = 0;
    _cleanup_objects_ struct object_list list = {0};
    informer_list(agent->pod_informer, STR_NULL, &list);
    for (size_t p = 0; p < list.n; p++) {
        const struct value *meta = value_clone(a, object_metadata(a, list.items[p]));
        struct str uid = value_str_at(meta, "uid");
        struct value *pod = value_object(a), *own = value_array(a);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < nstats; k++) {
                if (!str_eq(containers[i].pod_uid, uid) ||
                    !str_eq(stats[k].container_id, containers[i].id))
                    continue;
                struct value *c = stats_value(a, now, stats[k].cpu_ns, stats[k].memory_working_set,
                                              stats[k].memory_rss);
                value_setc(a, c, "name", value_str(a, containers[i].name));
                value_push(a, own, c);
                cpu += stats[k].cpu_ns;
                memory += stats[k].memory_working_set;
                rss += stats[k].memory_rss;
            }
        value_set_at(a, pod, "podRef.name", value_str(a, value_str_at(meta, "name")));
        value_set_at(a, pod, "podRef.namespace", value_str(a, value_str_at(meta, "namespace")));
        value_set_at(a, pod, "podRef.uid", value_str(a, uid));
        value_setc(a, pod, "containers", own);
        value_push(a, pods, pod);
    }
    struct value *node = stats_value(a, now, cpu, memory, rss);
    value_setc(a, node, "nodeName", value_str(a, agent->o.node_name));
    value_setc(a, all, "node", node);
    value_setc(a, all, "pods", pods);
    j->summary = all;
    loop_call(agent->loop, stats_back, j);
}

static void get_stats(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    (void)parts;
    struct stats_job *j = mem_zalloc(sizeof(*j));
    j->task.closed = stats_closed;
    j->server = s;
    j->x = x;
    http_set_data(x, &j->task);
    job_pool_run(s->agent->jobs, stats_job, j);
}

static void get_logs(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    server_logs(s, x, parts[0], parts[1], parts[2]);
}

static void do_exec(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    server_exec(s, x, parts[0], parts[1], parts[2], false);
}

static void do_attach(struct agent_server *s, struct http_exchange *x, const struct str *parts)
{
    server_exec(s, x, parts[0], parts[1], parts[2], true);
}

static void do_port_forward(struct agent_server *s, struct http_exchange *x,
                            const struct str *parts)
{
    (void)s;
    (void)parts;
    server_refuse(x, 501, STR("port forwarding is not supported by this node yet"));
}

static const struct route {
    const char *path; // first part(s)
    unsigned parts;   // that follow
    bool get_only;
    route_fn *fn;
} routes[] = {
    {"/attach", 3, false, do_attach},       {"/containerLogs", 3, true, get_logs},
    {"/exec", 3, false, do_exec},           {"/healthz", 0, true, get_healthz},
    {"/pods", 0, true, get_pods},           {"/portForward", 2, false, do_port_forward},
    {"/stats/summary", 0, true, get_stats},
};

static bool split(struct str path, const struct route *r, struct str *parts)
{
    struct str prefix = str_of(r->path);
    if (!str_starts(path, prefix))
        return false;
    struct str rest = str_from(path, prefix.n);
    if (!r->parts)
        return !rest.n || str_eqc(rest, "/");
    if (!rest.n || rest.p[0] != '/')
        return false;
    rest = str_from(rest, 1);
    unsigned n = 0;
    while (rest.p && n <= r->parts) {
        struct str part = str_cut(&rest, '/');
        if (n == r->parts || !part.n)
            return false;
        parts[n++] = part;
    }
    return n == r->parts;
}

static void handle(void *ctx, struct http_exchange *x)
{
    struct agent_server *s = ctx;
    struct str parts[4] = {STR_NULL};
    if (authenticate(s, x))
        return;
    const struct http_request *req = http_request(x);
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!split(req->path, &routes[i], parts))
            continue;
        bool get = str_eqc(req->method, "GET");
        if (!get && (routes[i].get_only || !str_eqc(req->method, "POST")))
            server_refuse(x, 405, STR("405: Method Not Allowed"));
        else
            routes[i].fn(s, x, parts);
        return;
    }
    server_refuse(x, 404, STR("404: Page Not Found"));
}

static void on_close(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    struct server_task *t = http_data(x);
    if (t)
        t->closed(t);
}

// ---- life --------------------------------------------------------------------------------------

struct change {
    struct agent_server *server;
    char id[];
};

static void change_back(void *arg)
{
    struct change *c = arg;
    struct agent_server *s = c->server;
    server_logs_changed(s, c->id);
    free(c);
}

void agent_server_container_changed(struct agent_server *s, struct str id)
{
    struct change *c = mem_zalloc(sizeof(*c) + id.n + 1);
    c->server = s;
    memcpy(c->id, id.p, id.n);
    loop_call(s->agent->loop, change_back, c);
}

int agent_server_new(struct node_agent *agent, struct agent_server **ret, struct err *e)
{
    const struct node_agent_options *o = &agent->o;
    struct agent_server *s = mem_zalloc(sizeof(*s));
    s->agent = agent;
    s->loop = agent->loop;
    list_init(&s->streams);
    list_init(&s->sessions);
    int rc = tls_server_new(o->serving_cert_pem, o->serving_key_pem, o->client_ca_pem, &s->tls, e);
    if (rc < 0) {
        free(s);
        return err_wrap(e, e, "node agent's API");
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str address = o->api_address.n ? o->api_address : STR("0.0.0.0");
    struct http_handler h = {handle, on_close, s};
    struct http_server_options options = {.tls = s->tls};
    unsigned port = o->api_port == NODE_AGENT_ANY_PORT ? 0 : o->api_port;
    rc = http_server_new(&agent->loop, 1, arena_printf(&a, "%.*s:%u", STR_ARG(address), port), &h,
                         &options, &s->http, e);
    if (rc < 0) {
        tls_server_free(s->tls);
        free(s);
        return err_wrap(e, e, "node agent's API");
    }
    *ret = s;
    return 0;
}

static void free_later(void *arg)
{
    free(arg);
}

static void on_stopped(void *arg)
{
    struct agent_server *s = arg;
    tls_server_free(s->tls);
    loop_call(s->loop, free_later, s); // behind answers of jobs that are queued already
}

void agent_server_end_streams(struct agent_server *s)
{
    if (!s)
        return;
    server_logs_stop(s);
    server_exec_stop(s);
}

void agent_server_free(struct agent_server *s)
{
    if (s)
        http_server_stop(s->http, 0, on_stopped, s);
}

unsigned agent_server_port(const struct agent_server *s)
{
    return http_server_port(s->http);
}
