// A node as parts of a role. Its loop carries the informers, the DNS server, the service proxy and
// the agent's HTTPS API; they are all made before its thread starts and stopped after it has ended.
#include "node/part.h"
#include "base/guard.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/informer.h"
#include "node/agent.h"
#include "runtime/runtime.h"
#include <errno.h>
#include <unistd.h>

#define STOP_GRACE_NS (5 * NS_PER_S)

// --- loop and clients ---

static int start_node(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state, (void)e;
    static const char *const nodes[] = {"system:nodes"};
    const char *user =
        arena_cstr(h->arena, arena_printf(h->arena, "system:node:%.*s", STR_ARG(h->node_name)));
    h->node_loop = loop_new(h->env);
    h->node_client = h->client_as(h, "kubelet", user, nodes, 1);
    struct client *proxy = h->client_as(h, "kube-proxy", "system:kube-proxy", NULL, 0);
    h->node_informers = informers_new(h->node_client, h->node_loop);
    h->proxy_informers = informers_new(proxy, h->node_loop);
    return 0;
}

static void stop_node(struct part_host *h, void *state)
{
    (void)state;
    informers_free(TAKE_PTR(h->proxy_informers));
    informers_free(TAKE_PTR(h->node_informers));
    loop_free(TAKE_PTR(h->node_loop));
    h->node_client = NULL;
}

const struct part node_part = {
    .name = "node", .without = "node", .start = start_node, .stop = stop_node};

// --- container runtime ---

static const char *runtime_choice = "oci";
static const struct flag runtime_flags[] = {
    {"runtime", 0, FLAG_STRING, &runtime_choice, "RUNTIME",
     "oci (crun or runc, whichever works), or oci:/path/to/it"},
};

static int start_runtime(struct part_host *h, void **ret_state, struct err *e)
{
    (void)ret_state;
    const char *program = NULL;
    if (strncmp(runtime_choice, "oci:", 4) == 0)
        program = runtime_choice + 4;
    else if (strcmp(runtime_choice, "oci") != 0)
        return err_set(
            e, ERR_NOT_IMPLEMENTED,
            "--runtime %s: only OCI runtimes are there yet (--runtime oci, or oci:/path/to/crun)",
            runtime_choice);
    bool made = false;
    int r = node_agent_prepare(h->data_dir, &made, e);
    if (r < 0)
        return r;
    const struct runtime_oci_options opt = {.program = program,
                                            .data_dir = h->data_dir,
                                            .state_dir = h->state_dir,
                                            .cgroup_root = h->cgroup_root};
    r = runtime_oci_new(h->env, &opt, &h->runtime, e);
    if (r < 0 && made) // nothing can be in them yet; those that were there may serve running pods
        node_agent_teardown(h->data_dir, NULL);
    return r;
}

static void stop_runtime(struct part_host *h, void *state)
{
    (void)state;
    struct runtime *r = TAKE_PTR(h->runtime);
    if (r)
        r->ops->free(r);
}

const struct part node_part_runtime = {.name = "container runtime",
                                       .without = "node",
                                       .flags = runtime_flags,
                                       .nflags = ARRAY_LEN(runtime_flags),
                                       .start = start_runtime,
                                       .stop = stop_runtime};

// --- agent ---

static uint16_t kubelet_port = 10250;
// A fork bomb stays in its container. What ordinary servers need is some hundreds.
static const char *pids_limit = "4096";
static const struct flag agent_flags[] = {
    {"kubelet-port", 0, FLAG_PORT, &kubelet_port, "PORT",
     "port of the node agent's API (default 10250)"},
    {"pids-limit", 0, FLAG_STRING, &pids_limit, "N",
     "most processes and threads of a container (default 4096, 0: no limit)"},
};

static int start_agent(struct part_host *h, void **ret_state, struct err *e)
{
    const struct str organizations[] = {STR("system:nodes")};
    struct str cert, key;
    int64_t pids;
    if (!str_to_i64(str_of(pids_limit), &pids) || pids < 0)
        return err_set(e, ERR_BAD_REQUEST, "--pids-limit %s: not a number of 0 or more",
                       pids_limit);
    struct str user = arena_printf(h->arena, "system:node:%.*s", STR_ARG(h->node_name));
    int r = h->issue(h, user, organizations, ARRAY_LEN(organizations), &cert, &key, e);
    if (r < 0)
        return r;
    const struct node_agent_options opt = {.env = h->env,
                                           .client = h->node_client,
                                           .informers = h->node_informers,
                                           .loop = h->node_loop,
                                           .runtime = h->runtime,
                                           .network = h->pod_network,
                                           .node_name = h->node_name,
                                           .data_dir = h->data_dir,
                                           .log_dir = h->log_dir,
                                           .node_ip = h->node_ip,
                                           .cluster_dns = h->has_dns ? h->dns_ip : STR_NULL,
                                           .cluster_domain = h->cluster_domain,
                                           .api_port = kubelet_port,
                                           .pids_limit = pids,
                                           .serving_cert_pem = cert,
                                           .serving_key_pem = key,
                                           .client_ca_pem = h->ca_pem};
    return node_agent_start(&opt, (struct node_agent **)ret_state, e);
}

static void stop_agent(struct part_host *h, void *state)
{
    (void)h;
    // -ETIMEDOUT: calls into the runtime still run. They use what the parts before would free, and
    // the process ends now anyway; what they do is found again by the next start.
    if (state && node_agent_stop(state, STOP_GRACE_NS) == -ETIMEDOUT)
        _exit(0);
}

const struct part node_part_agent = {.name = "node agent",
                                     .without = "node",
                                     .flags = agent_flags,
                                     .nflags = ARRAY_LEN(agent_flags),
                                     .start = start_agent,
                                     .stop = stop_agent};

// --- the loop's thread ---

struct loop_thread {
    pthread_t id;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static int start_loop(struct part_host *h, void **ret_state, struct err *e)
{
    (void)e;
    struct loop_thread *t = *ret_state = mem_zalloc(sizeof *t);
    informers_start(h->node_informers);
    informers_start(h->proxy_informers);
    t->id = thread_start("node", run_loop, h->node_loop);
    return 0;
}

static void stop_loop(struct part_host *h, void *state)
{
    struct loop_thread *t = state;
    loop_stop(h->node_loop);
    pthread_join(t->id, NULL);
    free(t);
}

const struct part node_part_loop = {
    .name = "node loop", .without = "node", .start = start_loop, .stop = stop_loop};
