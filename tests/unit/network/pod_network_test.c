// Pod networks on a machine of namespaces (netns.h): addresses, routes, host ports, repeated and
// interrupted steps, and that nothing is left behind.
#include "base/buf.h"
#include "netns.h"
#include "network/addresses.h"
#include "network/host_ports.h"
#include "network/nft.h"
#include "network/pod_network.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

static int setup(void **state)
{
    *state = may_unshare() ? machine_new() : NULL;
    return 0;
}

static int teardown(void **state)
{
    if (*state)
        machine_free(*state);
    return 0;
}

#define NEEDS_ROOT(m)                                                                              \
    if (!(m))                                                                                      \
    skip()

struct count {
    const char *prefix;
    int n;
};

static void count_link(void *ctx, const char *name, int index)
{
    struct count *c = ctx;
    (void)index;
    c->n += strncmp(name, c->prefix, strlen(c->prefix)) == 0;
}

// Host ends of pods.
static int links(void)
{
    struct netlink n;
    struct count c = {.prefix = "cora"};
    must(netlink_open(&n, NETLINK_ROUTE, NULL, e));
    assert_int_equal(link_each(&n, count_link, &c), 0);
    netlink_close(&n);
    return c.n;
}

static int files(const struct machine *m)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "%s/addresses", m->dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void count_port(void *ctx, const struct nft_element *e)
{
    (void)e;
    ++*(int *)ctx;
}

static int host_ports(void)
{
    const struct nft_set s = {.name = "ports",
                              .key = {NFT_TYPE_IPV4, NFT_TYPE_PROTO, NFT_TYPE_PORT},
                              .data = {NFT_TYPE_IPV4, NFT_TYPE_PORT}};
    struct netlink n;
    int count = 0;
    must(netlink_open(&n, NETLINK_NETFILTER, NULL, e));
    assert_int_equal(nft_set_each(&n, "coracle-pods", &s, count_port, &count), 0);
    netlink_close(&n);
    return count;
}

static void reaches(const struct netns *from, const char *ip, unsigned port, int server,
                    const char *as)
{
    char peer[INET_ADDRSTRLEN];
    int fd = connect_to(from, ip, port, WAIT_MS);
    if (fd < 0)
        fail_msg("connecting to %s:%u: %s", ip, port, strerror(-fd));
    assert_int_equal(accepted_by(&server, 1, peer), 0);
    assert_string_equal(peer, as);
    close(fd);
}

static void test_pods_reach_everything(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod a = pod_new(m, "a"), b = pod_new(m, "b");
    assert_true(str_eqc(a.ip, "10.244.0.2"));
    assert_true(str_eqc(b.ip, "10.244.0.3"));
    int on_b = listen_in(&b.ns, SOCK_STREAM, 80), on_node = listen_in(&m->node, SOCK_STREAM, 81),
        outside = listen_in(&m->outside, SOCK_STREAM, 82);
    reaches(&a.ns, "10.244.0.3", 80, on_b, "10.244.0.2");
    reaches(&m->node, "10.244.0.3", 80, on_b, GATEWAY_IP);
    reaches(&a.ns, NODE_IP, 81, on_node, "10.244.0.2");
    // Outside the cluster pod addresses mean nothing: the node speaks for its pods.
    reaches(&a.ns, OUTSIDE_IP, 82, outside, NODE_IP);
    reaches(&a.ns, "127.0.0.1", 83, listen_in(&a.ns, SOCK_STREAM, 83), "127.0.0.1");
    close(on_b);
    close(on_node);
    close(outside);
    pod_free(m, &a);
    pod_free(m, &b);
    assert_int_equal(links(), 0);
    assert_int_equal(files(m), 0);
}

static void test_host_ports(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod a = pod_new(m, "a");
    const struct pod_port_map ports[] = {
        {.host_port = 8000, .container_port = 80, .protocol = IPPROTO_TCP},
        {.host_port = 8001, .container_port = 80, .protocol = IPPROTO_TCP, .host_ip = STR(NODE_IP)},
    };
    a.request.ports = ports;
    a.request.nports = 2;
    int server = listen_in(&a.ns, SOCK_STREAM, 80);
    for (int i = 0; i < 2; i++) { // a second time: nothing changes
        must(pod_network_add(m->network, &m->arena, &a.request, &a.ip, e));
        assert_int_equal(host_ports(), 2);
        reaches(&m->outside, NODE_IP, 8000, server, OUTSIDE_IP);
        reaches(&m->outside, NODE_IP, 8001, server, OUTSIDE_IP);
        reaches(&m->node, NODE_IP, 8000, server, NODE_IP);
        reaches(&a.ns, NODE_IP, 8000, server, GATEWAY_IP); // through the node to itself
        reaches(&m->node, GATEWAY_IP, 8000, server, GATEWAY_IP);
        assert_int_equal(connect_to(&m->node, GATEWAY_IP, 8001, WAIT_MS), -ECONNREFUSED);
        assert_int_equal(connect_to(&m->node, "127.0.0.1", 8000, WAIT_MS), -ECONNREFUSED);
    }
    // A restarted agent keeps what running pods have.
    pod_network_free(m->network);
    machine_start_network(m, "10.244.0.0/24");
    assert_int_equal(host_ports(), 2);
    reaches(&m->outside, NODE_IP, 8000, server, OUTSIDE_IP);

    a.request.ports = NULL; // as collect does: only the sandbox is known
    a.request.nports = 0;
    pod_free(m, &a);
    assert_int_equal(host_ports(), 0);
    assert_int_equal(connect_to(&m->outside, NODE_IP, 8000, WAIT_MS), -ECONNREFUSED);
    close(server);
}

static void test_bad_host_ip(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    _cleanup_err_ struct err why = ERR_INIT;
    const struct pod_port_map port = {8000, 80, IPPROTO_TCP, STR("fd00::1")};
    assert_int_equal(host_ports_add(ip_of("10.244.0.7"), &port, 1, &why), -400);
    assert_string_equal(why.message, "hostIP fd00::1 is not an IPv4 address");
    assert_int_equal(host_ports(), 0);
}

static void test_add_and_del_are_idempotent(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod a = pod_new(m, "a");
    struct str again;
    must(pod_network_add(m->network, &m->arena, &a.request, &again, e));
    assert_true(str_eq(a.ip, again));
    assert_int_equal(links(), 1);
    assert_int_equal(files(m), 1);
    must(pod_network_del(m->network, &a.request, e));
    must(pod_network_del(m->network, &a.request, e));
    assert_int_equal(links(), 0);
    assert_int_equal(files(m), 0);
    // Just given back: the next pod gets another address.
    must(pod_network_add(m->network, &m->arena, &a.request, &again, e));
    assert_true(str_eqc(again, "10.244.0.3"));
    pod_free(m, &a);
}

static void test_del_when_the_namespace_is_gone(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod a = pod_new(m, "a");
    close(a.ns.fd); // the namespace and the pair with it
    must(pod_network_del(m->network, &a.request, e));
    assert_int_equal(files(m), 0);
    // And an add to such a namespace says so, and leaves only what a del takes away.
    _cleanup_err_ struct err why = ERR_INIT;
    struct str ip;
    a.request.netns_path = STR("/run/netns/gone");
    assert_int_equal(pod_network_add(m->network, &m->arena, &a.request, &ip, &why), -404);
    assert_string_equal(why.message, "opening the network namespace /run/netns/gone: "
                                     "No such file or directory");
    must(pod_network_del(m->network, &a.request, e));
    assert_int_equal(files(m), 0);
}

// As if the process had been killed between two steps of an add.
static void test_an_interrupted_add_is_done_again(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct netlink n, inside;
    struct pod a = pod_new(m, "a");
    int server = listen_in(&a.ns, SOCK_STREAM, 80);
    char ip[INET_ADDRSTRLEN];
    snprintf(ip, sizeof ip, "%.*s", STR_ARG(a.ip));
    // Links without addresses and routes.
    must(netlink_open(&inside, NETLINK_ROUTE, a.ns.path, e));
    assert_int_equal(address_del(&inside, link_index(&inside, "eth0"), ip_of(ip), 32), 0);
    pod_network_free(m->network);
    machine_start_network(m, "10.244.0.0/24");
    must(pod_network_add(m->network, &m->arena, &a.request, &a.ip, e));
    reaches(&m->node, ip, 80, server, GATEWAY_IP);
    // The host's end alone: its peer is in a namespace that is not the sandbox's any more.
    struct netns fresh = netns_new();
    close(server);
    struct netns old = a.ns;
    a.ns = fresh;
    a.request.netns_path = str_of(fresh.path);
    must(pod_network_add(m->network, &m->arena, &a.request, &a.ip, e));
    server = listen_in(&a.ns, SOCK_STREAM, 80);
    reaches(&m->node, ip, 80, server, GATEWAY_IP);
    assert_int_equal(links(), 1);
    netlink_close(&inside);
    close(old.fd);
    close(server);
    (void)n;
    pod_free(m, &a);
}

static void test_collect(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod pods[3] = {pod_new(m, "a"), pod_new(m, "b"), pod_new(m, "c")};
    pod_network_free(m->network);
    machine_start_network(m, "10.244.0.0/24");
    const struct str live[] = {STR("b"), STR("unknown")};
    must(pod_network_collect(m->network, live, 2, e));
    assert_int_equal(links(), 1);
    assert_int_equal(files(m), 1);
    struct str ip;
    must(pod_network_add(m->network, &m->arena, &pods[1].request, &ip, e));
    assert_true(str_eq(ip, pods[1].ip));
    must(pod_network_teardown(m->network, e));
    assert_int_equal(links(), 0);
    assert_int_equal(files(m), 0);
    must(pod_network_teardown(m->network, e));
    for (int i = 0; i < 3; i++)
        close(pods[i].ns.fd);
}

// The agent takes over before it knows the node's range: what is gone is released when it comes,
// also a sandbox that was taken down in between.
static void test_collect_before_the_range(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct pod pods[3] = {pod_new(m, "a"), pod_new(m, "b"), pod_new(m, "c")};
    pod_network_free(m->network);
    machine_start_network(m, NULL);
    const struct str live[] = {STR("b"), STR("c")};
    must(pod_network_collect(m->network, live, 2, e));
    assert_int_equal(files(m), 3);
    must(pod_network_del(m->network, &pods[2].request, e));
    must(pod_network_set_cidr(m->network, STR("10.244.0.0/24"), e));
    assert_int_equal(links(), 1);
    assert_int_equal(files(m), 1);
    must(pod_network_teardown(m->network, e));
    for (int i = 0; i < 3; i++)
        close(pods[i].ns.fd);
}

// Many at once, as the agent's workers do it: every pod has an address and a host port of its own,
// and nothing is left. A worker only counts failures, since assertions belong to the test's own
// thread.
enum { WORKERS = 4, PODS_EACH = 6 };
struct worker {
    pthread_t thread;
    struct machine *m;
    unsigned number, failures;
    uint32_t addresses[PODS_EACH];
};

static int add_one(struct worker *w, unsigned i, bool del)
{
    char id[16], path[32];
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct str ip = STR_NULL;
    int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), r = unshare(CLONE_NEWNET);
    int ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    r = r ? r : setns(own, CLONE_NEWNET);
    snprintf(id, sizeof id, "box-%u-%u", w->number, i);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ns);
    const struct pod_port_map port = {(uint16_t)(9000 + w->number * 100 + i), 80, IPPROTO_TCP,
                                      STR_NULL};
    const struct pod_network_request request = {
        .sandbox_id = str_of(id), .netns_path = str_of(path), .ports = &port, .nports = 1};
    r = r     ? r
        : del ? pod_network_del(w->m->network, &request, &e)
              : pod_network_add(w->m->network, &a, &request, &ip, &e);
    if (r < 0)
        printf("%s: %s\n", id, e.message);
    else if (!del)
        w->addresses[i] = inet_addr(arena_cstr(&a, ip));
    close(own);
    close(ns);
    arena_done(&a);
    err_done(&e);
    return r < 0;
}

static void *add_pods(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < PODS_EACH; i++)
        w->failures += add_one(w, i, false);
    return NULL;
}

static void *delete_pods(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < PODS_EACH; i++)
        w->failures += add_one(w, i, true);
    return NULL;
}

static void all_workers(struct worker *list, void *(*fn)(void *))
{
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&list[i].thread, NULL, fn, &list[i]), 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(list[i].thread, NULL);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(list[i].failures, 0);
}

static void test_many_at_once(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    struct worker workers[WORKERS] = {{.m = NULL}};
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i] = (struct worker){.m = m, .number = i};
    all_workers(workers, add_pods);
    assert_int_equal(files(m), WORKERS * PODS_EACH);
    assert_int_equal(host_ports(), WORKERS * PODS_EACH);
    for (unsigned i = 0; i < WORKERS * PODS_EACH; i++)
        for (unsigned j = 0; j < i; j++)
            assert_true(workers[i / PODS_EACH].addresses[i % PODS_EACH] !=
                        workers[j / PODS_EACH].addresses[j % PODS_EACH]);
    all_workers(workers, delete_pods);
    assert_int_equal(files(m), 0);
    assert_int_equal(host_ports(), 0);
    assert_int_equal(links(), 0);
}

static void test_no_range_yet(void **state)
{
    struct machine *m = *state;
    NEEDS_ROOT(m);
    _cleanup_err_ struct err why = ERR_INIT;
    struct str ip;
    const struct pod_network_request r = {.sandbox_id = STR("a"), .netns_path = STR("/none")};
    pod_network_free(m->network);
    const struct pod_network_options opt = {.state_dir = m->dir};
    must(pod_network_new(&opt, &m->network, e));
    assert_int_equal(pod_network_add(m->network, &m->arena, &r, &ip, &why), -503);
    assert_string_equal(why.message, "this node has no pod range yet (spec.podCIDR is empty)");
    must(pod_network_del(m->network, &r, e));
    must(pod_network_set_cidr(m->network, STR("10.99.0.0/24"), e));
    struct pod a = pod_new(m, "a");
    assert_true(str_eqc(a.ip, "10.99.0.2"));
    pod_free(m, &a);
}

// --- addresses alone ---

struct range {
    char dir[32];
    struct addresses *a;
};

static void range_open(struct range *r, const char *cidr)
{
    must(addresses_open(r->dir, str_of(cidr), &r->a, e));
}

static int range_setup(void **state)
{
    struct range *r = mem_zalloc(sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/coracle-ip-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    range_open(r, "10.244.0.0/29");
    *state = r;
    return 0;
}

static int range_teardown(void **state)
{
    struct range *r = *state;
    addresses_free(r->a);
    remove_tree(r->dir);
    free(r);
    return 0;
}

static void take(struct range *r, const char *sandbox, const char *expected)
{
    struct in_addr in;
    must(addresses_take(r->a, str_of(sandbox), &in, e));
    assert_string_equal(inet_ntoa(in), expected);
}

static void test_exhaustion(void **state)
{
    struct range *r = *state;
    struct in_addr in;
    _cleanup_err_ struct err why = ERR_INIT;
    take(r, "a", "10.244.0.2");
    take(r, "b", "10.244.0.3");
    take(r, "c", "10.244.0.4");
    take(r, "d", "10.244.0.5");
    take(r, "e", "10.244.0.6");
    take(r, "a", "10.244.0.2");
    assert_int_equal(addresses_take(r->a, STR("f"), &in, &why), -429);
    assert_string_equal(why.message, "no free address in this node's pod range (5 in use)");
    must(addresses_release(r->a, STR("c"), e));
    must(addresses_release(r->a, STR("nobody"), e));
    take(r, "f", "10.244.0.4");
}

static void test_addresses_survive(void **state)
{
    struct range *r = *state;
    char path[64];
    take(r, "a", "10.244.0.2");
    take(r, "b", "10.244.0.3");
    addresses_free(r->a);
    // A torn file (killed between making and writing it), another holder of a's name, and dirt.
    const char *const files[] = {"10.244.0.4", "10.244.0.99", "README"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", r->dir, files[i]);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    range_open(r, "10.244.0.0/29");
    take(r, "b", "10.244.0.3");
    take(r, "a", "10.244.0.2");
    take(r, "c", "10.244.0.4"); // what was torn is free
    assert_int_equal(access(path, F_OK), 0);
}

static void test_two_agents_do_not_share(void **state)
{
    struct range *r = *state;
    struct range other = *r;
    range_open(&other, "10.244.0.0/29");
    take(r, "a", "10.244.0.2");
    take(&other, "b", "10.244.0.3");
    addresses_free(other.a);
}

static void test_bad_ranges(void **state)
{
    struct range *r = *state;
    static const char *const bad[] = {"",           "10.0.0.0",  "10.0.0.0/30",  "10.0.0.0/7",
                                      "10.0.0.0/x", "fd00::/64", "10.0.0.0.0/24"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct addresses *a = NULL;
        char message[96];
        struct err why = ERR_INIT;
        assert_int_equal(addresses_open(r->dir, str_of(bad[i]), &a, &why), -400);
        snprintf(message, sizeof message, "%s is not a pod range (IPv4, /8 to /29)", bad[i]);
        assert_string_equal(why.message, message);
        assert_null(a);
        err_done(&why);
    }
}

int main(void)
{
#define CASE(fn)  cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define RANGE(fn) cmocka_unit_test_setup_teardown(fn, range_setup, range_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_pods_reach_everything),
        CASE(test_host_ports),
        CASE(test_bad_host_ip),
        CASE(test_add_and_del_are_idempotent),
        CASE(test_del_when_the_namespace_is_gone),
        CASE(test_an_interrupted_add_is_done_again),
        CASE(test_collect),
        CASE(test_collect_before_the_range),
        CASE(test_many_at_once),
        CASE(test_no_range_yet),
        RANGE(test_exhaustion),
        RANGE(test_addresses_survive),
        RANGE(test_two_agents_do_not_share),
        RANGE(test_bad_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
