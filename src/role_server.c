// `coracle server`: a whole cluster in one process. This file builds the parts in the order in
// which they need each other, runs them, and takes them down in the reverse order:
//
//   store -> certificates -> API server -> HTTPS -> controllers, scheduler -> node (runtime,
//   network, DNS, agent)
//
// Threads: two or more loops serve HTTPS; the main thread's loop has the signals, the informers and
// timers of controllers and scheduler; the node has a loop of its own. Controllers reconcile on a
// small pool. They all meet in the API server, which is entered in-process (inprocess.h) by
// everything in here.
//
// Each part is a row of `parts`: name for --without, start, stop. A part that is not started is not
// stopped.
#include "apiserver/auth.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/time.h"
#include "cli/flags.h"
#include "cli/version.h"
#include "controller/controllers.h"
#include "host.h"
#include "inprocess.h"
#include "network/dns.h"
#include "network/pod_network.h"
#include "network/proxy.h"
#include "node/agent.h"
#include "node/runtime.h"
#include "object/yaml.h"
#include "roles.h"
#include "scheduler/scheduler.h"
#include "wire/tls.h"
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define HTTP_LOOPS_MAX 8
#define STOP_GRACE_NS  (5 * NS_PER_S)

struct settings {
    const char *cgroup_root, *data_dir, *state_dir, *bind, *node_name, *node_ip, *store, *runtime,
        *without, *log_dir;
    uint16_t port, kubelet_port;
};

struct server {
    struct settings set;
    struct env *env;
    struct arena arena; // lives as long as the server
    uint64_t started;   // monotonic
    int lock;
    struct str node_name, node_ip, advertise;

    struct loop *loop; // the main thread's
    struct loop_signal signals;
    struct store *store;
    struct pki *pki;
    struct apiserver *api;
    struct loop *http_loops[HTTP_LOOPS_MAX];
    pthread_t http_threads[HTTP_LOOPS_MAX];
    size_t nhttp;
    struct tls_server *tls;
    struct http_server *http;

    struct client *controller_client, *scheduler_client;
    struct client *setup_client; // for what a cluster is born with
    struct informers *informers;
    struct executor *executor;
    struct controllers *controllers;
    struct scheduler *scheduler;

    struct loop *node_loop;
    pthread_t node_thread;
    struct client *node_client, *proxy_client;
    struct informers *node_informers, *proxy_informers;
    struct runtime *runtime;
    struct pod_network *pod_network;
    struct service_proxy *proxy;
    struct dns_server *dns;
    struct node_agent *agent;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static const char *path_in(struct server *s, const char *name)
{
    return arena_printf(&s->arena, "%s/%s%c", s->set.data_dir, name, 0).p;
}

// --- store and certificates ---

static int start_store(struct server *s, struct err *e)
{
    if (strcmp(s->set.store, "embedded") != 0)
        return err_set(e, ERR_NOT_IMPLEMENTED,
                       "--store %s: only the embedded store is there yet (--store embedded)",
                       s->set.store);
    int r = store_embedded_open(s->env, path_in(s, "store"), NULL, &s->store, e);
    return r < 0 ? err_wrap(e, e, "opening the store") : 0;
}

static void stop_store(struct server *s)
{
    store_close(s->store);
}

static int start_pki(struct server *s, struct err *e)
{
    struct str *names = arena_array(&s->arena, struct str, 1);
    struct str *addresses = arena_array(&s->arena, struct str, 3);
    size_t n = 0;
    names[0] = s->node_name;
    addresses[n++] = s->node_ip;
    if (strcmp(s->set.bind, "0.0.0.0") != 0)
        addresses[n++] = str_of(s->set.bind);
    const struct pki_options opt = {.dir = path_in(s, "pki"),
                                    .names = names,
                                    .nnames = 1,
                                    .addresses = addresses,
                                    .naddresses = n,
                                    .service_ip = STR(CLUSTER_SERVICE_IP),
                                    .cluster_domain = STR(CLUSTER_DOMAIN)};
    int r = pki_open(s->env, &opt, &s->pki, e);
    return r < 0 ? err_wrap(e, e, "the cluster's certificates") : 0;
}

static void stop_pki(struct server *s)
{
    pki_free(s->pki);
}

// --- API server ---

static int start_api(struct server *s, struct err *e)
{
    const struct apiserver_options opt = {.env = s->env,
                                          .store = s->store,
                                          .pki = s->pki,
                                          .advertise_address = s->advertise,
                                          .port = s->set.port,
                                          .service_cidr = STR(CLUSTER_SERVICE_CIDR),
                                          .pod_cidr = STR(CLUSTER_POD_CIDR),
                                          .cluster_domain = STR(CLUSTER_DOMAIN),
                                          .node_port_first = 30000,
                                          .node_port_last = 32767,
                                          .version = STR(CORACLE_KUBERNETES_VERSION)};
    return apiserver_new(&opt, &s->api, e);
}

static void stop_api(struct server *s)
{
    apiserver_free(s->api);
}

static int start_http(struct server *s, struct err *e)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = cpus < 2 ? 2 : cpus > HTTP_LOOPS_MAX ? HTTP_LOOPS_MAX : (size_t)cpus;
    int r = tls_server_new(s->pki->server_cert, s->pki->server_key, s->pki->ca_cert, &s->tls, e);
    if (r < 0)
        return r;
    for (; s->nhttp < wanted; s->nhttp++)
        s->http_loops[s->nhttp] = loop_new(s->env);
    const struct http_server_options opt = {.tls = s->tls};
    struct str address = arena_printf(&s->arena, "%s:%u", s->set.bind, s->set.port);
    r = http_server_new(s->http_loops, s->nhttp, address, apiserver_http_handler(s->api), &opt,
                        &s->http, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s->nhttp; i++)
        s->http_threads[i] = thread_start("http", run_loop, s->http_loops[i]);
    return 0;
}

static void http_is_stopped(void *arg)
{
    completion_signal(arg);
}

struct stop_http_call {
    struct server *s;
    struct completion done;
};

static void stop_http_on_loop(void *arg)
{
    struct stop_http_call *c = arg;
    http_server_stop(c->s->http, STOP_GRACE_NS, http_is_stopped, &c->done);
}

static void stop_http(struct server *s)
{
    if (s->http) {
        struct stop_http_call c = {.s = s};
        completion_init(&c.done);
        loop_call(s->http_loops[0], stop_http_on_loop, &c);
        completion_wait(&c.done);
        completion_done(&c.done);
        for (size_t i = 0; i < s->nhttp; i++) {
            loop_stop(s->http_loops[i]);
            pthread_join(s->http_threads[i], NULL);
        }
    }
    for (size_t i = 0; i < s->nhttp; i++)
        loop_free(s->http_loops[i]);
    tls_server_free(s->tls);
}

static int write_kubeconfig(struct server *s, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    bool any = strcmp(s->set.bind, "0.0.0.0") == 0;
    struct str url = arena_printf(&a, "https://%s:%u", any ? "127.0.0.1" : s->set.bind,
                                  http_server_port(s->http));
    struct str text =
        pki_kubeconfig(&a, s->pki, url, STR("admin"), s->pki->admin_cert, s->pki->admin_key);
    return file_write_all(path_in(s, "admin.kubeconfig"), text, 0600, e);
}

// --- controllers and scheduler ---

static int start_control(struct server *s, struct err *e)
{
    (void)e;
    s->controller_client = inprocess_client_new(s->api, s->env, "kube-controller-manager",
                                                "system:kube-controller-manager", NULL, 0);
    s->scheduler_client =
        inprocess_client_new(s->api, s->env, "kube-scheduler", "system:kube-scheduler", NULL, 0);
    s->informers = informers_new(s->controller_client, s->loop);
    s->executor = executor_new(s->loop, 4, "reconcile");
    return 0;
}

static void stop_control(struct server *s)
{
    informers_free(s->informers);
    executor_free(s->executor);
    client_free(s->setup_client);
    client_free(s->scheduler_client);
    client_free(s->controller_client);
    // Before the API server: its watch cache may have posted to this loop what loop_free still
    // runs.
    loop_free(TAKE_PTR(s->loop));
}

// The Service by which the cluster's DNS is known. Each node answers its address itself (dns.h), so
// the proxy must leave it alone: the label says that somebody else serves it.
static struct {
    struct executor_task task;
    struct client *client;
} dns_service;

static const char dns_service_yaml[] =
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata:\n"
    "  name: kube-dns\n"
    "  namespace: kube-system\n"
    "  labels:\n"
    "    k8s-app: kube-dns\n"
    "    kubernetes.io/cluster-service: \"true\"\n"
    "    kubernetes.io/name: CoreDNS\n"
    "    service.kubernetes.io/service-proxy-name: coracle-node-dns\n"
    "spec:\n"
    "  clusterIP: " CLUSTER_DNS_IP "\n"
    "  ports:\n"
    "  - {name: dns, port: 53, protocol: UDP}\n"
    "  - {name: dns-tcp, port: 53, protocol: TCP}\n";

static void make_dns_service(struct executor_task *t)
{
    (void)t;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *body;
    BUG_ON(yaml_parse(&a, str_of(dns_service_yaml), NULL, &body, NULL) < 0);
    if (client_get(dns_service.client, KIND("", "services"), STR("kube-system"), STR("kube-dns"),
                   NULL, NULL) == 0)
        return;
    if (client_create(dns_service.client, KIND("", "services"), STR("kube-system"), body, NULL,
                      &e) < 0 &&
        !err_is(&e, ERR_ALREADY_EXISTS))
        log_warn("server", "the Service kube-system/kube-dns could not be made: %s", e.message);
}

static int start_controllers(struct server *s, struct err *e)
{
    (void)e;
    const struct controller_options opt = {.root_ca_pem = s->pki->ca_cert,
                                           .pod_cidr = STR(CLUSTER_POD_CIDR)};
    s->controllers = controllers_start(s->controller_client, s->informers, s->executor, &opt);
    static const char *const masters[] = {"system:masters"};
    s->setup_client =
        inprocess_client_new(s->api, s->env, "coracle", "system:apiserver", masters, 1);
    dns_service.client = s->setup_client;
    dns_service.task.fn = make_dns_service;
    executor_submit(s->executor, &dns_service.task);
    return 0;
}

static void stop_controllers(struct server *s)
{
    controllers_stop(s->controllers);
}

static int start_scheduler(struct server *s, struct err *e)
{
    (void)e;
    s->scheduler =
        scheduler_start(s->scheduler_client, s->informers, s->executor, STR("default-scheduler"));
    return 0;
}

static void stop_scheduler(struct server *s)
{
    scheduler_stop(s->scheduler);
}

static int start_informers(struct server *s, struct err *e)
{
    (void)e;
    informers_start(s->informers);
    return 0;
}

// --- node ---

static int start_runtime(struct server *s, struct err *e)
{
    const char *program = NULL;
    if (strncmp(s->set.runtime, "oci:", 4) == 0)
        program = s->set.runtime + 4;
    else if (strcmp(s->set.runtime, "oci") != 0)
        return err_set(
            e, ERR_NOT_IMPLEMENTED,
            "--runtime %s: only OCI runtimes are there yet (--runtime oci, or oci:/path/to/crun)",
            s->set.runtime);
    int r = node_agent_prepare(s->set.data_dir, e);
    if (r < 0)
        return r;
    const struct runtime_oci_options opt = {.program = program,
                                            .data_dir = s->set.data_dir,
                                            .state_dir = s->set.state_dir,
                                            .cgroup_root = s->set.cgroup_root};
    return runtime_oci_new(s->env, &opt, &s->runtime, e);
}

static void stop_runtime(struct server *s)
{
    if (s->runtime)
        s->runtime->ops->free(s->runtime);
}

static int start_network(struct server *s, struct err *e)
{
    const struct pod_network_options net = {.state_dir = path_in(s, "network"),
                                            .cni_conf_dir = "/etc/cni/net.d",
                                            .cni_bin_dirs = "/opt/cni/bin:/usr/lib/cni",
                                            .cluster_cidr = STR(CLUSTER_POD_CIDR)};
    const struct service_proxy_options proxy = {.informers = s->proxy_informers,
                                                .node_name = s->node_name,
                                                .pod_cidr = STR(CLUSTER_POD_CIDR)};
    const struct dns_server_options dns = {.informers = s->proxy_informers,
                                           .cluster_domain = STR(CLUSTER_DOMAIN),
                                           .listen = STR(CLUSTER_DNS_IP ":53")};
    int r;
    if ((r = pod_network_new(&net, &s->pod_network, e)) < 0 ||
        (r = service_proxy_new(s->node_loop, &proxy, &s->proxy, e)) < 0 ||
        (r = dns_address_add(STR(CLUSTER_DNS_IP), e)) < 0 ||
        (r = dns_server_new(s->node_loop, &dns, &s->dns, e)) < 0)
        return r;
    return 0;
}

static void stop_network(struct server *s)
{
    dns_server_free(s->dns);
    service_proxy_free(s->proxy);
    pod_network_free(s->pod_network);
}

static int start_agent(struct server *s, struct err *e)
{
    struct arena *a = &s->arena;
    struct str organizations[] = {STR("system:nodes")}, cert, key;
    struct str user = arena_printf(a, "system:node:%.*s", STR_ARG(s->node_name));
    int r = pki_issue(s->env, s->pki, a, user, organizations, 1, &s->node_name, 1, &s->node_ip, 1,
                      &cert, &key, e);
    if (r < 0)
        return r;
    const struct node_agent_options opt = {.env = s->env,
                                           .client = s->node_client,
                                           .informers = s->node_informers,
                                           .loop = s->node_loop,
                                           .runtime = s->runtime,
                                           .network = s->pod_network,
                                           .node_name = s->node_name,
                                           .data_dir = s->set.data_dir,
                                           .log_dir = s->set.log_dir,
                                           .node_ip = s->node_ip,
                                           .cluster_dns = s->dns ? STR(CLUSTER_DNS_IP) : STR_NULL,
                                           .cluster_domain = STR(CLUSTER_DOMAIN),
                                           .api_port = s->set.kubelet_port,
                                           .serving_cert_pem = cert,
                                           .serving_key_pem = key,
                                           .client_ca_pem = s->pki->ca_cert};
    return node_agent_start(&opt, &s->agent, e);
}

static void stop_agent(struct server *s)
{
    if (!s->agent)
        return;
    // -ETIMEDOUT: calls into the runtime still run. They use what stop_node and others would free,
    // and the process ends now anyway; what they do is found again by the next start.
    if (node_agent_stop(s->agent, STOP_GRACE_NS) == -ETIMEDOUT)
        _exit(0);
}

static int start_node_clients(struct server *s, struct err *e)
{
    (void)e;
    static const char *const nodes[] = {"system:nodes"};
    const char *user = arena_printf(&s->arena, "system:node:%.*s%c", STR_ARG(s->node_name), 0).p;
    s->node_loop = loop_new(s->env);
    s->node_client = inprocess_client_new(s->api, s->env, "kubelet", user, nodes, 1);
    s->proxy_client =
        inprocess_client_new(s->api, s->env, "kube-proxy", "system:kube-proxy", NULL, 0);
    s->node_informers = informers_new(s->node_client, s->node_loop);
    s->proxy_informers = informers_new(s->proxy_client, s->node_loop);
    return 0;
}

static void stop_node_clients(struct server *s)
{
    informers_free(s->proxy_informers);
    informers_free(s->node_informers);
    loop_free(s->node_loop);
    client_free(s->proxy_client);
    client_free(s->node_client);
}

static int run_node(struct server *s, struct err *e)
{
    (void)e;
    informers_start(s->node_informers);
    informers_start(s->proxy_informers);
    s->node_thread = thread_start("node", run_loop, s->node_loop);
    return 0;
}

static void halt_node(struct server *s)
{
    loop_stop(s->node_loop);
    pthread_join(s->node_thread, NULL);
}

// --- the parts in order ---

static void no_stop(struct server *s)
{
    (void)s;
}

static const struct part {
    const char *name;
    const char *without; // left out when one of these words is in --without
    int (*start)(struct server *s, struct err *e);
    void (*stop)(struct server *s);
} parts[] = {
    {"store", "", start_store, stop_store},
    {"certificates", "", start_pki, stop_pki},
    {"API server", "", start_api, stop_api},
    {"HTTPS server", "", start_http, stop_http},
    {"kubeconfig", "", write_kubeconfig, no_stop},
    {"control plane", "", start_control, stop_control},
    {"controllers", "controllers", start_controllers, stop_controllers},
    {"scheduler", "scheduler", start_scheduler, stop_scheduler},
    {"informers", "", start_informers, no_stop},
    {"node", "node", start_node_clients, stop_node_clients},
    {"container runtime", "node", start_runtime, stop_runtime},
    {"network", "node network", start_network, stop_network},
    {"node agent", "node", start_agent, stop_agent},
    {"node loop", "node", run_node, halt_node},
};
#define NPARTS ARRAY_LEN(parts)

// Whether `list` (comma- or space-separated) names `word`.
static bool listed(const char *list, struct str word)
{
    struct str rest = str_of(list);
    while (rest.p) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != ',' && rest.p[n] != ' ')
            n++;
        if (str_eq(str_sub(rest, 0, n), word))
            return true;
        rest = n < rest.n ? str_from(rest, n + 1) : STR_NULL;
    }
    return false;
}

static bool left_out(const struct server *s, const struct part *p)
{
    for (struct str rest = str_of(p->without); rest.p;) {
        struct str word = str_cut(&rest, ' ');
        if (word.n > 0 && listed(s->set.without, word))
            return true;
    }
    return false;
}

static int check_without(const struct settings *set, struct err *e)
{
    // Parts of the whole design may be left out before they are there, so that scripts stay the
    // same.
    static const char known[] = "node network controllers scheduler delivery trace web";
    struct str rest = str_of(set->without);
    while (rest.p) {
        struct str word = str_trim(str_cut(&rest, ','));
        if (word.n > 0 && !listed(known, word))
            return err_set(e, ERR_BAD_REQUEST,
                           "--without %.*s: there is no such part; choose from %s", STR_ARG(word),
                           known);
    }
    return 0;
}

static void on_signal(struct loop_signal *sig, int signo)
{
    struct server *s = container_of(sig, struct server, signals);
    log_info("server", "stopping on signal %d", signo);
    loop_stop(s->loop);
}

static int prepare(struct server *s, struct err *e)
{
    struct arena *a = &s->arena;
    int r;
    if ((r = check_without(&s->set, e)) < 0 || (r = file_mkdir_all(s->set.data_dir, 0700, e)) < 0 ||
        (r = host_lock(s->set.data_dir, &s->lock, e)) < 0)
        return r;
    s->node_name = s->set.node_name ? str_of(s->set.node_name) : host_name(a);
    s->node_ip = s->set.node_ip ? str_of(s->set.node_ip) : host_address(a);
    if (!s->node_ip.n)
        s->node_ip = STR("127.0.0.1");
    bool any = strcmp(s->set.bind, "0.0.0.0") == 0;
    s->advertise = any ? s->node_ip : str_of(s->set.bind);
    return 0;
}

static int run(struct server *s, struct err *e)
{
    size_t started = 0;
    int r = 0;
    static const int signals[] = {SIGTERM, SIGINT};
    s->loop = loop_new(s->env);
    s->signals.fn = on_signal;
    loop_signal_watch(s->loop, &s->signals, signals, 2);
    for (; r == 0 && started < NPARTS; started += r == 0)
        if (!left_out(s, &parts[started]) && (r = parts[started].start(s, e)) < 0) {
            err_wrap(e, e, "starting the %s", parts[started].name);
            // What a part began before it failed is its own to undo in stop: all of them accept
            // that.
            started++;
            break;
        }
    if (r == 0) {
        uint64_t took = env_mono(s->env) - s->started;
        printf(
            "coracle %s is ready after %llu ms: https://%.*s:%u, kubeconfig %s/admin.kubeconfig\n",
            CORACLE_VERSION, (unsigned long long)(took / NS_PER_MS), STR_ARG(s->advertise),
            http_server_port(s->http), s->set.data_dir);
        fflush(stdout);
        loop_run(s->loop);
    }
    while (started > 0)
        if (!left_out(s, &parts[--started]))
            parts[started].stop(s);
    if (s->loop)
        loop_free(s->loop);
    return r;
}

int role_server(int argc, char **argv)
{
    struct server *s = mem_zalloc(sizeof *s);
    s->set = (struct settings){.cgroup_root = "coracle",
                               .data_dir = "/var/lib/coracle",
                               .state_dir = "/run/coracle",
                               .bind = "0.0.0.0",
                               .store = "embedded",
                               .runtime = "oci",
                               .without = "",
                               .port = 6443,
                               .kubelet_port = 10250};
    const struct flag flags[] = {
        {"bind", 0, FLAG_STRING, &s->set.bind, "ADDR", "address to listen on (default 0.0.0.0)"},
        {"cgroup-root", 0, FLAG_STRING, &s->set.cgroup_root, "NAME",
         "cgroup below which pods run (default coracle)"},
        {"data-dir", 0, FLAG_STRING, &s->set.data_dir, "DIR",
         "where everything that lasts is kept (default /var/lib/coracle)"},
        {"kubelet-port", 0, FLAG_PORT, &s->set.kubelet_port, "PORT",
         "port of the node agent's API (default 10250)"},
        {"log-dir", 0, FLAG_STRING, &s->set.log_dir, "DIR",
         "where containers' logs are kept (default /var/log/pods)"},
        {"node-ip", 0, FLAG_STRING, &s->set.node_ip, "ADDR",
         "this node's address (default: that of the default route's device)"},
        {"node-name", 0, FLAG_STRING, &s->set.node_name, "NAME",
         "this node's name (default: the host's)"},
        {"port", 0, FLAG_PORT, &s->set.port, "PORT", "port of the Kubernetes API (default 6443)"},
        {"runtime", 0, FLAG_STRING, &s->set.runtime, "RUNTIME",
         "oci (crun or runc, whichever works), or oci:/path/to/it"},
        {"state-dir", 0, FLAG_STRING, &s->set.state_dir, "DIR",
         "where the state of running containers is kept (default /run/coracle)"},
        {"store", 0, FLAG_STRING, &s->set.store, "STORE", "embedded"},
        {"without", 0, FLAG_STRING, &s->set.without, "PART,…",
         "leave parts out: node, network, controllers, scheduler"},
    };
    const struct usage usage = {
        .synopsis = "coracle server [flags]",
        .text = "Runs a whole cluster in one process: API server with its own store, controllers, "
                "scheduler, and a\n"
                "node that runs containers. Prints one line when the API is ready. SIGTERM ends "
                "it; containers\n"
                "go on and are taken back by the next start.",
        .examples = "  coracle server\n"
                    "  coracle server --data-dir /srv/coracle --port 7443\n"
                    "  coracle server --without node,network    # an API server to test against",
        .flags = flags,
        .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0 || nargs > 0) {
        if (nargs > 0 && parsed == 0)
            fprintf(stderr, "coracle server takes no arguments, see 'coracle server --help'\n");
        free(s);
        return parsed == 1 ? 0 : 2;
    }

    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);

    _cleanup_err_ struct err e = ERR_INIT;
    s->env = env_system();
    s->started = env_mono(s->env);
    s->lock = -1;
    int r = prepare(s, &e);
    if (r == 0)
        r = run(s, &e);
    if (r < 0)
        fprintf(stderr, "coracle server: %s\n", e.message);
    if (s->lock >= 0)
        close(s->lock);
    arena_done(&s->arena);
    free(s);
    return r < 0 ? 1 : 0;
}
