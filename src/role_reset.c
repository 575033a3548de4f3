// `coracle reset`: takes away what coracle left on this machine: containers, their supervisor,
// networks, rules, mounts. The data directory stays (cluster state, images); remove it by hand, or
// let scripts/down do so. Idempotent; each step is tried even if one before it failed.
#include "base/env.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/path.h"
#include "cli/context.h"
#include "cli/flags.h"
#include "content/tree.h"
#include "host.h"
#include "network/dns.h"
#include "network/pod_network.h"
#include "network/proxy.h"
#include "node/agent.h"
#include "roles.h"
#include "runtime/runtime.h"
#include <fcntl.h>
#include <unistd.h>

struct reset {
    struct cli *c;
    const char *cgroup_root, *data_dir, *state_dir, *log_dir;
    struct arena arena;
};

static struct runtime_oci_options options_of(const struct reset *t)
{
    return (struct runtime_oci_options){
        .data_dir = t->data_dir, .state_dir = t->state_dir, .cgroup_root = t->cgroup_root};
}

// The pod's log directory goes with it, as when the agent deletes a pod.
static int remove_logs(struct reset *t, const struct runtime_sandbox *s, struct err *e)
{
    const char *path =
        path_printf(&t->arena, "%s/%.*s_%.*s_%.*s", t->log_dir, STR_ARG(s->pod_namespace),
                    STR_ARG(s->pod_name), STR_ARG(s->pod_uid));
    int r = access(path, F_OK) == 0 ? tree_remove(AT_FDCWD, path) : 0;
    return r < 0 ? err_errno(e, -r, "removing %s", path) : 0;
}

static int remove_sandboxes(struct reset *t, struct err *e)
{
    struct runtime *r = NULL;
    const struct runtime_oci_options opt = options_of(t);
    if (access(t->state_dir, F_OK) < 0)
        return 0;
    int result = runtime_oci_new(env_system(), &opt, &r, e);
    if (result < 0)
        return result;
    struct runtime_sandbox *list;
    size_t n;
    result = r->ops->sandbox_list(r, &t->arena, &list, &n, e);
    for (size_t i = 0; result == 0 && i < n; i++) {
        if ((result = r->ops->sandbox_stop(r, list[i].id, e)) == 0)
            result = r->ops->sandbox_remove(r, list[i].id, e);
        if (result == 0)
            result = remove_logs(t, &list[i], e);
        if (result == 0)
            fprintf(t->c->out, "removed pod %.*s/%.*s\n", STR_ARG(list[i].pod_namespace),
                    STR_ARG(list[i].pod_name));
    }
    r->ops->free(r);
    return result;
}

static int remove_runtime(struct reset *t, struct err *e)
{
    const struct runtime_oci_options opt = options_of(t);
    return runtime_oci_teardown(&opt, e);
}

static int remove_network(struct reset *t, struct err *e)
{
    struct pod_network *n = NULL;
    const char *dir = path_join(&t->arena, t->data_dir, "network");
    const struct pod_network_options opt = {.state_dir = dir,
                                            .cni_conf_dir = "/etc/cni/net.d",
                                            .cni_bin_dirs = "/opt/cni/bin:/usr/lib/cni"};
    int r = pod_network_new(&opt, &n, e);
    if (r == 0)
        r = pod_network_teardown(n, e);
    pod_network_free(n);
    return r;
}

static int remove_proxy(struct reset *t, struct err *e)
{
    (void)t;
    int r = service_proxy_teardown(NULL, e);
    return r < 0 ? r : dns_address_del(STR(CLUSTER_DNS_IP), e);
}

static int remove_volumes(struct reset *t, struct err *e)
{
    return node_agent_teardown(t->data_dir, e);
}

static const struct {
    const char *what;
    int (*run)(struct reset *t, struct err *e);
} steps[] = {
    {"pods", remove_sandboxes},
    {"volumes", remove_volumes},
    {"container runtime", remove_runtime},
    {"pod networks", remove_network},
    {"service rules", remove_proxy},
};

int role_reset(struct cli *c, int argc, char **argv)
{
    struct reset t = {.c = c,
                      .cgroup_root = "coracle",
                      .data_dir = "/var/lib/coracle",
                      .state_dir = "/run/coracle",
                      .log_dir = "/var/log/pods"};
    const struct flag flags[] = {
        {"cgroup-root", 0, FLAG_STRING, &t.cgroup_root, "NAME",
         "as given to the server (default coracle)"},
        {"data-dir", 0, FLAG_STRING, &t.data_dir, "DIR",
         "the server's data directory (default /var/lib/coracle)"},
        {"log-dir", 0, FLAG_STRING, &t.log_dir, "DIR",
         "where containers' logs are kept (default /var/log/pods)"},
        {"state-dir", 0, FLAG_STRING, &t.state_dir, "DIR",
         "where the state of running containers is kept (default /run/coracle)"},
    };
    const struct usage usage = {.synopsis = "coracle reset [flags]",
                                .text = "Stops every pod of this machine and takes away "
                                        "containers, networks, rules and mounts. Stop the\n"
                                        "server first. The data directory stays.",
                                .examples =
                                    "  coracle reset\n  coracle reset --data-dir /srv/coracle",
                                .flags = flags,
                                .nflags = ARRAY_LEN(flags)};
    _cleanup_fd_ int lock = -1;
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs), failed = CLI_OK;
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    _cleanup_err_ struct err e = ERR_INIT;
    if (access(t.data_dir, F_OK) == 0 && host_lock(t.data_dir, &lock, &e) < 0) {
        fprintf(c->err, "coracle reset: %s\n", e.message);
        return CLI_FAILED;
    }
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        _cleanup_err_ struct err why = ERR_INIT;
        if (steps[i].run(&t, &why) < 0) {
            fprintf(c->err, "coracle reset: %s: %s\n", steps[i].what, why.message);
            failed = CLI_FAILED;
        }
    }
    arena_done(&t.arena);
    return failed;
}
