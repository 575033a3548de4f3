// `coracle server`: a whole cluster in one process. This file has the list of its parts, in the
// order in which they need each other, and what they all stand on: settings, the main thread's
// loop, in-process clients. The parts themselves are supplied by their rooms (base/part.h).
//
// Threads: two or more loops serve HTTPS; the main thread's loop has the signals, the informers and
// timers of controllers and scheduler; the node has a loop of its own. Controllers reconcile on a
// small pool. They all meet in the API server, which is entered in-process (inprocess.h) by
// everything in here.
#include "apiserver/part.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "cli/flags.h"
#include "cli/version.h"
#include "client/part.h"
#include "controller/part.h"
#include "host.h"
#include "inprocess.h"
#include "network/part.h"
#include "node/part.h"
#include "roles.h"
#include "scheduler/part.h"
#include "store/part.h"
#include "trace/part.h"
#include "wire/http.h"
#include <signal.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32 };

struct server {
    struct part_host host;
    struct arena arena;
    const char *node_name, *node_ip, *without;
    struct loop_signal signals;
    struct client *clients[CLIENTS_MAX]; // what client_as gave
    size_t nclients;
};

// --- in-process clients ---

static struct client *client_as(struct part_host *h, const char *name, const char *user,
                                const char *const *groups, size_t ngroups)
{
    struct server *s = container_of(h, struct server, host);
    BUG_ON(s->nclients == CLIENTS_MAX);
    return s->clients[s->nclients++] =
               inprocess_client_new(h->api, h->env, name, user, groups, ngroups);
}

static int start_clients(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state, (void)e;
    h->client_as = client_as;
    return 0;
}

static void stop_clients(struct part_host *h, void *state)
{
    (void)state;
    struct server *s = container_of(h, struct server, host);
    while (s->nclients > 0)
        client_free(s->clients[--s->nclients]);
}

static const struct part clients_part = {
    .name = "in-process clients", .start = start_clients, .stop = stop_clients};

// --- the parts in order ---

static const struct part *const parts[] = {
    &store_part,
    &apiserver_part_certificates,
    &apiserver_part,
    &apiserver_part_https,
    &apiserver_part_kubeconfig,
    &clients_part,
    &client_part_control,
    &controllers_part,
    &network_part_dns_service,
    &scheduler_part,
    &client_part_informers,
    &node_part,
    &node_part_runtime,
    &network_part,
    &node_part_agent,
    &node_part_loop,
    &trace_part,
};
// Parts of the whole design may be left out before they are there, so that scripts stay the same.
static const char reserved_words[] = "delivery web";

static void on_signal(struct loop_signal *sig, int signo)
{
    struct server *s = container_of(sig, struct server, signals);
    log_info("server", "stopping on signal %d", signo);
    loop_stop(s->host.loop);
}

// What was not set is asked of the machine.
static void fill_in(struct server *s)
{
    struct part_host *h = &s->host;
    h->node_name = s->node_name ? str_of(s->node_name) : host_name(&s->arena);
    h->node_ip = s->node_ip ? str_of(s->node_ip) : host_address(&s->arena);
    if (!h->node_ip.n)
        h->node_ip = STR("127.0.0.1");
    h->advertise = strcmp(h->bind, "0.0.0.0") == 0 ? h->node_ip : str_of(h->bind);
}

static int run(struct server *s, struct err *e)
{
    struct part_host *h = &s->host;
    _cleanup_fd_ int lock = -1;
    uint64_t started = env_mono(h->env);
    int r;
    if ((r = parts_check_without(parts, ARRAY_LEN(parts), s->without, reserved_words, e)) < 0 ||
        (r = file_mkdir_all(h->data_dir, 0700, e)) < 0 ||
        (r = host_lock(h->data_dir, &lock, e)) < 0)
        return r;
    fill_in(s);
    static const int signals[] = {SIGTERM, SIGINT};
    h->loop = loop_new(h->env);
    s->signals.fn = on_signal;
    loop_signal_watch(h->loop, &s->signals, signals, ARRAY_LEN(signals));
    struct part_set *running = NULL;
    r = parts_start(parts, ARRAY_LEN(parts), s->without, h, &running, e);
    if (r == 0) {
        uint64_t took = env_mono(h->env) - started;
        printf(
            "coracle %s is ready after %llu ms: https://%.*s:%u, kubeconfig %s/admin.kubeconfig\n",
            CORACLE_VERSION, (unsigned long long)(took / NS_PER_MS), STR_ARG(h->advertise),
            http_server_port(h->http), h->data_dir);
        fflush(stdout);
        loop_run(h->loop);
    }
    parts_stop(running);
    if (h->loop) // left by a start that failed early
        loop_free(h->loop);
    return r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct flag *)a)->name, ((const struct flag *)b)->name);
}

// The role's own flags and those of its parts, by name.
static const struct flag *all_flags(struct arena *a, const struct flag *own, size_t nown,
                                    size_t *ret_n)
{
    size_t n = nown;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        n += parts[i]->nflags;
    struct flag *all = arena_array(a, struct flag, n), *at = mempcpy(all, own, nown * sizeof *own);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i]->nflags)
            at = mempcpy(at, parts[i]->flags, parts[i]->nflags * sizeof *at);
    qsort(all, n, sizeof *all, by_name);
    *ret_n = n;
    return all;
}

static int parse(struct server *s, int argc, char **argv)
{
    struct part_host *h = &s->host;
    const struct flag own[] = {
        {"bind", 0, FLAG_STRING, &h->bind, "ADDR", "address to listen on (default 0.0.0.0)"},
        {"cgroup-root", 0, FLAG_STRING, &h->cgroup_root, "NAME",
         "cgroup below which pods run (default coracle)"},
        {"data-dir", 0, FLAG_STRING, &h->data_dir, "DIR",
         "where everything that lasts is kept (default /var/lib/coracle)"},
        {"log-dir", 0, FLAG_STRING, &h->log_dir, "DIR",
         "where containers' logs are kept (default /var/log/pods)"},
        {"node-ip", 0, FLAG_STRING, &s->node_ip, "ADDR",
         "this node's address (default: that of the default route's device)"},
        {"node-name", 0, FLAG_STRING, &s->node_name, "NAME",
         "this node's name (default: the host's)"},
        {"port", 0, FLAG_PORT, &h->port, "PORT", "port of the Kubernetes API (default 6443)"},
        {"state-dir", 0, FLAG_STRING, &h->state_dir, "DIR",
         "where the state of running containers is kept (default /run/coracle)"},
        {"without", 0, FLAG_STRING, &s->without, "PART,…",
         "leave parts out: node, network, controllers, scheduler"},
    };
    struct usage usage = {
        .synopsis = "coracle server [flags]",
        .text = "Runs a whole cluster in one process: API server with its own store, controllers, "
                "scheduler, and a\n"
                "node that runs containers. Prints one line when the API is ready. SIGTERM ends "
                "it; containers\n"
                "go on and are taken back by the next start.",
        .examples = "  coracle server\n"
                    "  coracle server --data-dir /srv/coracle --port 7443\n"
                    "  coracle server --without node,network    # an API server to test against"};
    usage.flags = all_flags(&s->arena, own, ARRAY_LEN(own), &usage.nflags);
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed == 0 && nargs > 0) {
        fprintf(stderr, "coracle server takes no arguments, see 'coracle server --help'\n");
        return -1;
    }
    return parsed;
}

int role_server(struct cli *c, int argc, char **argv)
{
    (void)c;
    struct server *s = mem_zalloc(sizeof *s);
    s->without = "";
    s->host = (struct part_host){.env = env_system(),
                                 .arena = &s->arena,
                                 .data_dir = "/var/lib/coracle",
                                 .state_dir = "/run/coracle",
                                 .log_dir = "/var/log/pods",
                                 .cgroup_root = "coracle",
                                 .bind = "0.0.0.0",
                                 .port = 6443,
                                 .service_cidr = STR(CLUSTER_SERVICE_CIDR),
                                 .service_ip = STR(CLUSTER_SERVICE_IP),
                                 .pod_cidr = STR(CLUSTER_POD_CIDR),
                                 .dns_ip = STR(CLUSTER_DNS_IP),
                                 .cluster_domain = STR(CLUSTER_DOMAIN),
                                 .version = STR(CORACLE_KUBERNETES_VERSION)};
    int status = parse(s, argc, argv);
    if (status == 0) {
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGTERM);
        sigaddset(&blocked, SIGINT);
        pthread_sigmask(SIG_BLOCK, &blocked, NULL);
        signal(SIGPIPE, SIG_IGN);
        _cleanup_err_ struct err e = ERR_INIT;
        if (run(s, &e) < 0) {
            fprintf(stderr, "coracle server: %s\n", e.message);
            status = 1;
        }
    } else {
        status = status > 0 ? 0 : 2;
    }
    arena_done(&s->arena);
    free(s);
    return status;
}
