// A machine for network tests: the test process gives itself a network namespace (which goes with
// the process, whatever happens), with pods and an outside made of further namespaces. A socket
// stays in the namespace it was made in, so one thread plays everybody: it listens in pods,
// connects from outside, and looks who got it.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "network/netlink.h"
#include "network/pod_network.h"
#include "unit.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS    5000
#define SILENCE_MS 300 // how long nothing must come for "nothing comes"

#define NODE_IP    "192.0.2.1"
#define OUTSIDE_IP "192.0.2.2"
#define GATEWAY_IP "10.244.0.1"

struct netns {
    int fd;
    char path[32];
};

struct machine {
    struct netns node, outside;
    struct pod_network *network;
    struct arena arena;
    char dir[32];
};

struct pod {
    struct netns ns;
    struct str ip; // in the machine's arena
    struct pod_network_request request;
};

#define must(call)                                                                                 \
    do {                                                                                           \
        struct err must_ = ERR_INIT, *e = &must_;                                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, must_.message);                                              \
        err_done(&must_);                                                                          \
    } while (0)

// Whether network namespaces may be made here (root, and no container that forbids it).
static inline bool may_unshare(void)
{
    int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    bool may = own >= 0 && unshare(CLONE_NEWNET) == 0 && setns(own, CLONE_NEWNET) == 0;
    if (own >= 0)
        close(own);
    return may;
}

static inline struct netns netns_current(void)
{
    struct netns n = {.fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    assert_true(n.fd >= 0);
    snprintf(n.path, sizeof n.path, "/proc/self/fd/%d", n.fd);
    return n;
}

static inline void netns_enter(const struct netns *n)
{
    assert_int_equal(setns(n->fd, CLONE_NEWNET), 0);
}

static inline struct netns netns_new(void)
{
    struct netns own = netns_current();
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    struct netns n = netns_current();
    netns_enter(&own);
    close(own.fd);
    return n;
}

static inline struct in_addr ip_of(const char *text)
{
    struct in_addr in;
    assert_int_equal(inet_pton(AF_INET, text, &in), 1);
    return in;
}

static inline void give_address(struct netlink *n, const char *device, const char *ip)
{
    int index = link_index(n, device);
    assert_true(index > 0);
    if (strcmp(device, "lo") != 0)
        assert_int_equal(address_add(n, index, ip_of(ip), 24), 0);
    assert_int_equal(link_up(n, index), 0);
}

// The node's device to the outside, both ends with the other as default gateway.
static inline void connect_outside(struct machine *m)
{
    const struct in_addr none = {0};
    struct netlink n;
    must(netlink_open(&n, NETLINK_ROUTE, NULL, e));
    assert_int_equal(link_add_veth(&n, "out0", "eth0", m->outside.fd, 1500), 0);
    give_address(&n, "lo", "");
    give_address(&n, "out0", NODE_IP);
    netlink_close(&n);
    struct netlink o;
    must(netlink_open(&o, NETLINK_ROUTE, m->outside.path, e));
    give_address(&o, "lo", "");
    give_address(&o, "eth0", OUTSIDE_IP);
    assert_int_equal(route_add(&o, link_index(&o, "eth0"), none, 0, ip_of(NODE_IP)), 0);
    netlink_close(&o);
    must(netlink_open(&n, NETLINK_ROUTE, NULL, e));
    assert_int_equal(route_add(&n, link_index(&n, "out0"), none, 0, ip_of(OUTSIDE_IP)), 0);
    netlink_close(&n);
}

static inline void machine_start_network(struct machine *m, const char *cidr)
{
    const struct pod_network_options opt = {
        .state_dir = m->dir, .pod_cidr = str_of(cidr), .mtu = 1500};
    must(pod_network_new(&opt, &m->network, e));
}

// The node's default route leads back to the client, a thing that real networks redirect.
static inline void no_redirects_to_outside(void)
{
    int fd = open("/proc/sys/net/ipv4/conf/out0/send_redirects", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "0", 1), 1);
    close(fd);
}

static inline struct machine *machine_new(void)
{
    struct machine *m = mem_zalloc(sizeof *m);
    snprintf(m->dir, sizeof m->dir, "/tmp/coracle-net-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    m->node = netns_current();
    m->outside = netns_new();
    connect_outside(m);
    no_redirects_to_outside();
    machine_start_network(m, "10.244.0.0/24");
    return m;
}

static inline int machine_remove_file(const char *path, const struct stat *s, int flag,
                                      struct FTW *f)
{
    (void)s, (void)flag, (void)f;
    return remove(path);
}

static inline void remove_tree(const char *dir)
{
    nftw(dir, machine_remove_file, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void machine_free(struct machine *m)
{
    pod_network_free(m->network);
    remove_tree(m->dir);
    close(m->node.fd);
    close(m->outside.fd);
    arena_done(&m->arena);
    free(m);
}

static inline struct pod pod_new(struct machine *m, const char *id)
{
    struct pod p = {.ns = netns_new()};
    p.request = (struct pod_network_request){.sandbox_id = str_of(id),
                                             .netns_path = arena_str(&m->arena, str_of(p.ns.path))};
    must(pod_network_add(m->network, &m->arena, &p.request, &p.ip, e));
    return p;
}

static inline void pod_free(struct machine *m, struct pod *p)
{
    must(pod_network_del(m->network, &p->request, e));
    close(p->ns.fd);
}

static inline uint32_t pod_address(const struct pod *p)
{
    char text[INET_ADDRSTRLEN];
    snprintf(text, sizeof text, "%.*s", STR_ARG(p->ip));
    return ip_of(text).s_addr;
}

// --- sockets ---

static inline struct sockaddr_in endpoint(const char *ip, unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = ip_of(ip)};
}

static inline int socket_in(const struct netns *ns, int type)
{
    struct netns own = netns_current();
    netns_enter(ns);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    netns_enter(&own);
    close(own.fd);
    assert_true(fd >= 0);
    return fd;
}

// A server on every address of the namespace.
static inline int listen_in(const struct netns *ns, int type, unsigned port)
{
    const struct sockaddr_in any = endpoint("0.0.0.0", port);
    int fd = socket_in(ns, type), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof any), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static inline bool readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms) == 1;
}

// A TCP connection, or -errno; -ETIMEDOUT: nobody answered.
static inline int connect_to(const struct netns *ns, const char *ip, unsigned port, int ms)
{
    const struct sockaddr_in to = endpoint(ip, port);
    int fd = socket_in(ns, SOCK_STREAM), error = 0;
    socklen_t n = sizeof error;
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        error = errno;
    } else {
        struct pollfd p = {fd, POLLOUT, 0};
        if (poll(&p, 1, ms) != 1)
            error = ETIMEDOUT;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    }
    if (!error)
        return fd;
    close(fd);
    return -error;
}

// The server among n that got a connection, and the address that it sees; -1: none within the time.
static inline int accepted_by(const int *servers, size_t n, char peer[INET_ADDRSTRLEN])
{
    struct pollfd p[16];
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){servers[i], POLLIN, 0};
    if (poll(p, n, WAIT_MS) < 1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        if (!p[i].revents)
            continue;
        int fd = accept(servers[i], (struct sockaddr *)&from, &length);
        assert_true(fd >= 0);
        close(fd);
        if (peer)
            inet_ntop(AF_INET, &from.sin_addr, peer, INET_ADDRSTRLEN);
        return (int)i;
    }
    return -1;
}
