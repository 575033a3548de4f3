// The network as parts of a role.
#include "network/part.h"
#include "base/log.h"
#include "base/path.h"
#include "client/queue.h"
#include "network/dns.h"
#include "network/pod_network.h"
#include "network/proxy.h"
#include "object/yaml.h"

// --- the Service of the cluster's DNS ---

// Each node answers its address itself (dns.h), so the proxy must leave it alone: the label says
// that somebody else serves it.
static const char service_yaml[] =
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
    "  clusterIP: %.*s\n"
    "  ports:\n"
    "  - {name: dns, port: 53, protocol: UDP}\n"
    "  - {name: dns-tcp, port: 53, protocol: TCP}\n";

struct dns_service {
    struct executor_task task;
    struct client *client;
    struct str address;
};

static void make_service(struct executor_task *t)
{
    struct dns_service *d = container_of(t, struct dns_service, task);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *body;
    struct str text = arena_printf(&a, service_yaml, STR_ARG(d->address));
    BUG_ON(yaml_parse(&a, text, NULL, &body, NULL) < 0);
    const struct kind *k = KIND("", "services");
    if (client_get(d->client, k, STR("kube-system"), STR("kube-dns"), NULL, NULL) == 0)
        return;
    if (client_create(d->client, k, STR("kube-system"), body, NULL, &e) < 0 &&
        !err_is(&e, ERR_ALREADY_EXISTS))
        log_warn("network", "the Service kube-system/kube-dns could not be made: %s", e.message);
}

static int start_dns_service(struct part_host *h, void **ret_state, struct err *e)
{
    (void)e;
    static const char *const masters[] = {"system:masters"};
    // In the host's arena: the task may still run when this part is stopped, and ends with the
    // executor.
    struct dns_service *d = *ret_state = arena_new(h->arena, struct dns_service);
    d->client = h->client_as(h, "coracle", "system:apiserver", masters, 1);
    d->address = h->dns_ip;
    d->task.fn = make_service;
    executor_submit(h->executor, &d->task);
    return 0;
}

static void stop_dns_service(struct part_host *h, void *state)
{
    struct dns_service *d = state;
    executor_cancel(h->executor, &d->task);
}

const struct part network_part_dns_service = {.name = "Service of the cluster's DNS",
                                              .without = "controllers",
                                              .start = start_dns_service,
                                              .stop = stop_dns_service};

// --- a node's network ---

struct network {
    struct service_proxy *proxy;
    struct dns_server *dns;
};

static int start(struct part_host *h, void **ret_state, struct err *e)
{
    struct network *n = *ret_state = mem_zalloc(sizeof *n);
    const struct pod_network_options net = {.state_dir =
                                                path_join(h->arena, h->data_dir, "network"),
                                            .cni_conf_dir = "/etc/cni/net.d",
                                            .cni_bin_dirs = "/opt/cni/bin:/usr/lib/cni",
                                            .cluster_cidr = h->pod_cidr};
    const struct service_proxy_options proxy = {
        .informers = h->proxy_informers, .node_name = h->node_name, .pod_cidr = h->pod_cidr};
    const struct dns_server_options dns = {
        .informers = h->proxy_informers,
        .cluster_domain = h->cluster_domain,
        .listen = arena_printf(h->arena, "%.*s:53", STR_ARG(h->dns_ip))};
    int r;
    if ((r = pod_network_new(&net, &h->pod_network, e)) < 0 ||
        (r = service_proxy_new(h->node_loop, &proxy, &n->proxy, e)) < 0 ||
        (r = dns_address_add(h->dns_ip, e)) < 0 ||
        (r = dns_server_new(h->node_loop, &dns, &n->dns, e)) < 0)
        return r;
    h->has_dns = true;
    return 0;
}

static void stop(struct part_host *h, void *state)
{
    struct network *n = state;
    dns_server_free(n->dns);
    service_proxy_free(n->proxy);
    pod_network_free(TAKE_PTR(h->pod_network));
    free(n);
}

const struct part network_part = {
    .name = "network", .without = "node network", .start = start, .stop = stop};
