// Pod networks. Built in: a routed veth pair. The pod's end has its address and sends everything to
// a gateway address that every host end answers for; the host has one route to each pod. There is
// no bridge, so every packet passes the host's IP stack and its connection tracking: Services,
// hairpins and (later) network policies need no br_netfilter, which small kernels lack, and a pod
// cannot speak layer 2 with its neighbours. See docs/decisions/0003-routed-pod-network.md.
//
// With a CNI configuration on the machine, its plugins are run instead (cni.c).
//
// Order of an add: address (on disk), links, routes, host ports; of a del: the reverse. Every step
// is idempotent, so a crash in between is repaired by doing it again, or by pod_network_collect.
#include "network/pod_network.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "network/addresses.h"
#include "network/cni.h"
#include "network/host_ports.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <unistd.h>

#define LINK_PREFIX "cora" // host ends: LINK_PREFIX and 11 hex digits of the sandbox

struct pod_network {
    pthread_mutex_t lock;        // guards the next three
    struct addresses *addresses; // NULL until the range is known
    // A pod_network_collect that came before the range: whom to spare when the range comes.
    bool collect_later;
    struct map live;
    struct cni *cni; // or NULL: built in
    char *state_dir;
    char *cluster_cidr; // "" where it is the node's
    unsigned mtu;
};

static void link_name(struct str sandbox, char out[IFNAMSIZ])
{
    // FNV-1a, not str_hash: the name must be the same after a restart.
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sandbox.n; i++)
        h = (h ^ (unsigned char)sandbox.p[i]) * 0x100000001b3u;
    snprintf(out, IFNAMSIZ, LINK_PREFIX "%011llx", (unsigned long long)(h & 0xfffffffffffu));
}

static int net_error(struct err *e, int r, const char *what, struct str sandbox)
{
    return err_errno(e, -r, "%s for the pod sandbox %.*s", what, STR_ARG(sandbox));
}

// Sets what is not so already (where /proc/sys may only be read, that is enough).
static int set_sysctl(const char *path, char value, struct err *e)
{
    char is = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "opening %s", path);
    ssize_t n = read(fd, &is, 1);
    close(fd);
    if (n == 1 && is == value)
        return 0;
    if ((fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
        return err_errno(e, errno, "opening %s", path);
    int r = write(fd, &value, 1) < 0 ? err_errno(e, errno, "writing %s", path) : 0;
    close(fd);
    return r;
}

// No ICMP redirects to pods: who reaches itself or a neighbour by way of a Service must go on
// sending to this machine, and each redirect counts against the limit of other ICMP messages, such
// as the refusals of Services without endpoints. It takes both this and the one for all devices.
static int no_redirects(const char *device, struct err *e)
{
    char path[80];
    snprintf(path, sizeof path, "/proc/sys/net/ipv4/conf/%s/send_redirects", device);
    return set_sysctl(path, '0', e);
}

int pod_network_new(const struct pod_network_options *opt, struct pod_network **ret, struct err *e)
{
    struct pod_network *n = mem_zalloc(sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
    n->state_dir = mem_cstr(str_of(opt->state_dir));
    n->cluster_cidr = mem_cstr(opt->cluster_cidr);
    n->mtu = opt->mtu;
    int r = 0;
    if (opt->cni_conf_dir) {
        _cleanup_err_ struct err why = ERR_INIT;
        if (cni_load(opt->cni_conf_dir, opt->cni_bin_dirs, opt->state_dir, &n->cni, &why) < 0 &&
            !err_is(&why, ERR_NOT_FOUND)) {
            err_move(e, &why);
            r = err_code(e);
        }
    }
    if (r == 0 && opt->pod_cidr.n)
        r = pod_network_set_cidr(n, opt->pod_cidr, e);
    if (r < 0) {
        pod_network_free(n);
        return r;
    }
    *ret = n;
    return 0;
}

void pod_network_free(struct pod_network *n)
{
    if (!n)
        return;
    addresses_free(n->addresses);
    map_done(&n->live);
    cni_free(n->cni);
    pthread_mutex_destroy(&n->lock);
    free(n->state_dir);
    free(n->cluster_cidr);
    free(n);
}

static int choose_mtu(struct pod_network *n, struct err *e)
{
    if (n->mtu)
        return 0;
    struct netlink nl;
    char name[IFNAMSIZ];
    int r = netlink_open(&nl, NETLINK_ROUTE, NULL, e);
    if (r < 0)
        return r;
    n->mtu = 1500;
    if (route_default_device(&nl, name) == 0) {
        int mtu = link_mtu(&nl, name);
        if (mtu >= 576 && mtu < 65536)
            n->mtu = (unsigned)mtu;
    }
    netlink_close(&nl);
    return 0;
}

struct collect {
    const struct map *live;
    struct arena arena;
    struct str *gone;
    size_t ngone;
};

static void collect_one(void *ctx, struct str sandbox)
{
    struct collect *c = ctx;
    if (map_has(c->live, sandbox))
        return;
    c->gone = arena_grow(&c->arena, c->gone, c->ngone * sizeof *c->gone,
                         (c->ngone + 1) * sizeof *c->gone);
    c->gone[c->ngone++] = arena_str(&c->arena, sandbox);
}

static void collect_address(void *ctx, struct str sandbox, struct in_addr address)
{
    (void)address;
    collect_one(ctx, sandbox);
}

static int release_gone(struct pod_network *n, const struct collect *c, struct err *e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->ngone; i++) {
        const struct pod_network_request gone = {.sandbox_id = c->gone[i]};
        r = pod_network_del(n, &gone, e);
        if (r == 0)
            log_info("network", "released the network of the gone sandbox=%.*s",
                     STR_ARG(c->gone[i]));
    }
    return r;
}

int pod_network_set_cidr(struct pod_network *n, struct str cidr, struct err *e)
{
    if (n->cni)
        return 0;
    struct addresses *addresses;
    _cleanup_buf_ struct buf dir = BUF_INIT;
    buf_printf(&dir, "%s/addresses", n->state_dir);
    int r;
    if ((r = choose_mtu(n, e)) < 0 ||
        (r = set_sysctl("/proc/sys/net/ipv4/ip_forward", '1', e)) < 0 ||
        (r = no_redirects("all", e)) < 0 ||
        (r = addresses_open(buf_cstr(&dir), cidr, &addresses, e)) < 0)
        return r;
    if ((r = host_ports_init(n->cluster_cidr[0] ? str_of(n->cluster_cidr) : cidr, e)) < 0) {
        addresses_free(addresses);
        return r;
    }
    struct collect c = {.live = &n->live};
    pthread_mutex_lock(&n->lock);
    struct addresses *old = n->addresses;
    n->addresses = addresses;
    if (n->collect_later)
        addresses_each(addresses, collect_address, &c);
    n->collect_later = false;
    map_done(&n->live);
    n->live = MAP_INIT;
    pthread_mutex_unlock(&n->lock);
    addresses_free(old);
    _cleanup_err_ struct err why = ERR_INIT;
    if (release_gone(n, &c, &why) < 0)
        log_warn("network", "addresses of former pods were not released error=\"%s\"", why.message);
    arena_done(&c.arena);
    return 0;
}

// The pod's end: address, route to the gateway, default route through it.
static int set_up_inside(const char *netns, struct in_addr address, struct in_addr gateway,
                         struct err *e)
{
    struct netlink nl;
    int r = netlink_open(&nl, NETLINK_ROUTE, netns, e);
    if (r < 0)
        return r;
    const struct in_addr none = {0};
    int lo = link_index(&nl, "lo"), eth = link_index(&nl, "eth0");
    if (eth < 0 || (r = link_up(&nl, lo)) < 0 || (r = address_add(&nl, eth, address, 32)) < 0 ||
        (r = link_up(&nl, eth)) < 0 || (r = route_add(&nl, eth, gateway, 32, none)) < 0 ||
        (r = route_add(&nl, eth, none, 0, gateway)) < 0)
        r = err_errno(e, -(eth < 0 ? eth : r), "setting up eth0 in %s", netns);
    netlink_close(&nl);
    return r;
}

static int set_up_outside(struct netlink *nl, const char *name, struct in_addr address,
                          struct in_addr gateway, struct err *e)
{
    const struct in_addr none = {0};
    int index = link_index(nl, name), r = index;
    if (index > 0 && (r = no_redirects(name, e)) < 0)
        return r;
    r = index;
    if (index < 0 || (r = address_add(nl, index, gateway, 32)) < 0 ||
        (r = link_up(nl, index)) < 0 || (r = route_add(nl, index, address, 32, none)) < 0)
        return err_errno(e, -r, "setting up the link %s", name);
    return 0;
}

// An earlier try may have got this far, or this is a repeated add: then the pair is there, and a
// host's end whose other end is in another namespace is a leftover.
static int make_links(struct pod_network *n, struct netlink *nl, const char *name,
                      const char *netns, int netns_fd)
{
    int r = link_add_veth(nl, name, "eth0", netns_fd, n->mtu);
    if (r != -EEXIST)
        return r;
    struct netlink inside;
    if (netlink_open(&inside, NETLINK_ROUTE, netns, NULL) < 0)
        return -EIO;
    bool complete = link_index(&inside, "eth0") > 0;
    netlink_close(&inside);
    if (complete)
        return 0;
    r = link_delete(nl, name);
    return r < 0 ? r : link_add_veth(nl, name, "eth0", netns_fd, n->mtu);
}

static int connect_pod(struct pod_network *n, const struct pod_network_request *r,
                       struct in_addr address, struct in_addr gateway, struct err *e)
{
    char name[IFNAMSIZ], *netns = mem_cstr(r->netns_path);
    link_name(r->sandbox_id, name);
    struct netlink nl = {0};
    int result, fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        result = err_errno(e, errno, "opening the network namespace %s", netns);
    } else if ((result = netlink_open(&nl, NETLINK_ROUTE, NULL, e)) == 0) {
        int made = make_links(n, &nl, name, netns, fd);
        if (made < 0)
            result = net_error(e, made, "making a veth pair", r->sandbox_id);
        else if ((result = set_up_inside(netns, address, gateway, e)) == 0)
            result = set_up_outside(&nl, name, address, gateway, e);
        netlink_close(&nl);
    }
    if (fd >= 0)
        close(fd);
    free(netns);
    return result;
}

static int add_built_in(struct pod_network *n, struct arena *a, const struct pod_network_request *r,
                        struct str *ret_ip, struct err *e)
{
    struct in_addr address, gateway;
    pthread_mutex_lock(&n->lock);
    int result = n->addresses ? addresses_take(n->addresses, r->sandbox_id, &address, e)
                              : err_set(e, ERR_UNAVAILABLE,
                                        "this node has no pod range yet (spec.podCIDR is empty)");
    if (result == 0)
        gateway = addresses_gateway(n->addresses);
    pthread_mutex_unlock(&n->lock);
    if (result < 0 || (result = connect_pod(n, r, address, gateway, e)) < 0 ||
        (result = host_ports_add(address, r->ports, r->nports, e)) < 0)
        return result;
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &address, text, sizeof text);
    *ret_ip = arena_str(a, str_of(text));
    return 0;
}

int pod_network_add(struct pod_network *n, struct arena *a, const struct pod_network_request *r,
                    struct str *ret_ip, struct err *e)
{
    return n->cni ? cni_add(n->cni, a, r, ret_ip, e) : add_built_in(n, a, r, ret_ip, e);
}

static int delete_link(struct str sandbox, struct err *e)
{
    char name[IFNAMSIZ];
    struct netlink nl;
    link_name(sandbox, name);
    int r = netlink_open(&nl, NETLINK_ROUTE, NULL, e);
    if (r < 0)
        return r;
    int deleted = link_delete(&nl, name);
    netlink_close(&nl);
    return deleted < 0 ? net_error(e, deleted, "deleting the link", sandbox) : 0;
}

static int del_built_in(struct pod_network *n, struct str sandbox, struct err *e)
{
    struct in_addr address;
    pthread_mutex_lock(&n->lock);
    bool has = n->addresses && addresses_find(n->addresses, sandbox, &address);
    pthread_mutex_unlock(&n->lock);
    int r;
    // Deleting the host's end deletes the pair, its addresses and its route.
    if ((has && (r = host_ports_del(address, e)) < 0) || (r = delete_link(sandbox, e)) < 0)
        return r;
    pthread_mutex_lock(&n->lock);
    if (has)
        r = addresses_release(n->addresses, sandbox, e);
    else if (!n->addresses)
        map_del(&n->live, sandbox); // released when the range comes
    pthread_mutex_unlock(&n->lock);
    return r;
}

int pod_network_del(struct pod_network *n, const struct pod_network_request *r, struct err *e)
{
    return n->cni ? cni_del(n->cni, r, e) : del_built_in(n, r->sandbox_id, e);
}

int pod_network_collect(struct pod_network *n, const struct str *live_sandbox_ids, size_t count,
                        struct err *e)
{
    struct map live = MAP_INIT;
    struct collect c = {.live = &live};
    int r = 0;
    for (size_t i = 0; i < count; i++)
        map_set(&live, live_sandbox_ids[i], n);
    if (n->cni) {
        r = cni_each(n->cni, collect_one, &c, e);
    } else {
        pthread_mutex_lock(&n->lock);
        if (n->addresses) {
            addresses_each(n->addresses, collect_address, &c);
        } else {
            map_done(&n->live);
            n->live = live;
            live = MAP_INIT;
            n->collect_later = true;
        }
        pthread_mutex_unlock(&n->lock);
    }
    if (r == 0)
        r = release_gone(n, &c, e);
    map_done(&live);
    arena_done(&c.arena);
    return r;
}

struct teardown {
    char (*names)[IFNAMSIZ];
    size_t n;
};

static void note_own_link(void *ctx, const char *name, int index)
{
    (void)index;
    struct teardown *t = ctx;
    if (strncmp(name, LINK_PREFIX, sizeof LINK_PREFIX - 1) != 0 || strlen(name) != IFNAMSIZ - 1)
        return;
    t->names = mem_realloc(t->names, (t->n + 1) * sizeof *t->names);
    snprintf(t->names[t->n++], IFNAMSIZ, "%s", name);
}

int pod_network_teardown(struct pod_network *n, struct err *e)
{
    int r = pod_network_collect(n, NULL, 0, e);
    struct netlink nl;
    struct teardown t = {0};
    if (r == 0 && (r = netlink_open(&nl, NETLINK_ROUTE, NULL, e)) == 0) {
        r = link_each(&nl, note_own_link, &t);
        for (size_t i = 0; r == 0 && i < t.n; i++)
            r = link_delete(&nl, t.names[i]);
        if (r < 0)
            r = err_errno(e, -r, "deleting the pods' links");
        netlink_close(&nl);
        free(t.names);
    }
    return r < 0 ? r : host_ports_teardown(e);
}
