// The service proxy's rules with real traffic: a node with two pods and an outside (netns.h).
#include "netns.h"
#include "network/nft.h"
#include "network/proxy_rules.h"
#include <linux/netfilter.h>

#define TABLE      "coracle"
#define CLUSTER_IP "10.96.0.5"

struct test {
    struct machine *m;
    struct pod pods[2];
    int tcp[2], udp[2];
    struct proxy_rules *rules;
    struct backend backends[2];
    struct frontend has; // what the kernel was given last
    bool installed;
};

static int setup(void **state)
{
    if (!may_unshare())
        return 0;
    struct test *t = mem_zalloc(sizeof *t);
    t->m = machine_new();
    for (int i = 0; i < 2; i++) {
        t->pods[i] = pod_new(t->m, i ? "sandbox-b" : "sandbox-a");
        t->tcp[i] = listen_in(&t->pods[i].ns, SOCK_STREAM, 8080);
        t->udp[i] = listen_in(&t->pods[i].ns, SOCK_DGRAM, 8080);
        t->backends[i] = (struct backend){pod_address(&t->pods[i]), 8080};
    }
    must(proxy_rules_new(TABLE, STR("10.244.0.0/16"), &t->rules, e));
    proxy_rules_begin(t->rules, true);
    must(proxy_rules_commit(t->rules, e));
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    if (!t)
        return 0;
    for (int i = 0; i < 2; i++) {
        close(t->tcp[i]);
        close(t->udp[i]);
        pod_free(t->m, &t->pods[i]);
    }
    proxy_rules_free(t->rules);
    machine_free(t->m);
    free(t);
    return 0;
}

static struct frontend cluster(struct test *t, size_t nbackends)
{
    return (struct frontend){.address = ip_of(CLUSTER_IP).s_addr,
                             .protocol = IPPROTO_TCP,
                             .port = 80,
                             .backends = t->backends,
                             .nbackends = nbackends};
}

static struct frontend node_port(struct test *t, size_t nbackends)
{
    struct frontend f = cluster(t, nbackends);
    f.address = 0;
    f.port = 30080;
    return f;
}

// Makes f the only frontend.
static void install(struct test *t, const struct frontend *f)
{
    proxy_rules_begin(t->rules, false);
    proxy_rules_replace(t->rules, &t->has, t->installed, f, f ? 1 : 0);
    must(proxy_rules_commit(t->rules, e));
    t->installed = f != NULL;
    if (f)
        t->has = *f;
}

// Connects `times` times; how many each pod got. All see the same client address: *peer.
static void spread(struct test *t, const struct netns *from, const char *ip, unsigned port,
                   int times, int counts[2], char peer[INET_ADDRSTRLEN])
{
    counts[0] = counts[1] = 0;
    for (int i = 0; i < times; i++) {
        int fd = connect_to(from, ip, port, WAIT_MS);
        if (fd < 0)
            fail_msg("connecting to %s:%u: %s", ip, port, strerror(-fd));
        int which = accepted_by(t->tcp, 2, peer);
        assert_in_range(which, 0, 1);
        counts[which]++;
        close(fd);
    }
}

#define NEEDS_ROOT(t)                                                                              \
    if (!(t))                                                                                      \
    skip()

static void count_element(void *ctx, const struct nft_element *e)
{
    (void)e;
    ++*(int *)ctx;
}

static int elements(const char *set)
{
    static const enum nft_type key[4] = {NFT_TYPE_IPV4, NFT_TYPE_PROTO, NFT_TYPE_PORT};
    struct nft_set s = {.name = set};
    memcpy(s.key, key, sizeof key);
    struct netlink n;
    int count = 0;
    must(netlink_open(&n, NETLINK_NETFILTER, NULL, e));
    assert_int_equal(nft_set_each(&n, TABLE, &s, count_element, &count), 0);
    netlink_close(&n);
    return count;
}

static void test_cluster_address(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 2);
    install(t, &f);
    int counts[2];
    char peer[INET_ADDRSTRLEN], pod_a[INET_ADDRSTRLEN];
    snprintf(pod_a, sizeof pod_a, "%.*s", STR_ARG(t->pods[0].ip));

    // From the host: both get their share (none at all of 40 has odds of 2^-39).
    spread(t, &t->m->node, CLUSTER_IP, 80, 40, counts, peer);
    assert_true(counts[0] > 0 && counts[1] > 0);
    assert_string_equal(peer, GATEWAY_IP);

    // From a pod: the other sees the pod itself, itself sees the node.
    for (int i = 0; i < 20; i++) {
        int fd = connect_to(&t->pods[0].ns, CLUSTER_IP, 80, WAIT_MS);
        assert_true(fd >= 0);
        int which = accepted_by(t->tcp, 2, peer);
        assert_string_equal(peer, which == 0 ? GATEWAY_IP : pod_a);
        close(fd);
    }
    // From outside the cluster: the answers must come back through here.
    spread(t, &t->m->outside, CLUSTER_IP, 80, 4, counts, peer);
    assert_string_equal(peer, GATEWAY_IP);
    install(t, NULL);
}

static void test_hairpin_of_a_single_pod(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 1);
    install(t, &f);
    int counts[2];
    char peer[INET_ADDRSTRLEN];
    spread(t, &t->pods[0].ns, CLUSTER_IP, 80, 3, counts, peer);
    assert_int_equal(counts[0], 3);
    assert_string_equal(peer, GATEWAY_IP);
    install(t, NULL);
}

static void test_node_port(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = node_port(t, 2);
    install(t, &f);
    const struct netns *clients[] = {&t->m->outside, &t->m->node, &t->pods[0].ns};
    int counts[2];
    char peer[INET_ADDRSTRLEN];
    for (size_t i = 0; i < 3; i++) {
        spread(t, clients[i], NODE_IP, 30080, 40, counts, peer);
        assert_true(counts[0] > 0 && counts[1] > 0);
        assert_string_equal(peer, GATEWAY_IP);
    }
    // Loopback is left to who listens there.
    assert_int_equal(connect_to(&t->m->node, "127.0.0.1", 30080, WAIT_MS), -ECONNREFUSED);
    // The gateway address is the node's as well; another machine's address is not.
    spread(t, &t->pods[0].ns, GATEWAY_IP, 30080, 4, counts, peer);
    assert_int_equal(connect_to(&t->m->node, OUTSIDE_IP, 30080, WAIT_MS), -ECONNREFUSED);
    install(t, NULL);
    assert_int_equal(connect_to(&t->m->outside, NODE_IP, 30080, WAIT_MS), -ECONNREFUSED);
}

static void test_local_policy_keeps_the_client(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = node_port(t, 1);
    f.flags = FRONTEND_LOCAL;
    install(t, &f);
    int counts[2];
    char peer[INET_ADDRSTRLEN];
    spread(t, &t->m->outside, NODE_IP, 30080, 3, counts, peer);
    assert_string_equal(peer, OUTSIDE_IP);
    // No local backend: silence, so that a load balancer's health check decides, not a client.
    f.nbackends = 0;
    f.flags = FRONTEND_LOCAL | FRONTEND_DROP;
    install(t, &f);
    assert_int_equal(connect_to(&t->m->outside, NODE_IP, 30080, SILENCE_MS), -ETIMEDOUT);
    // The policy is for clients outside: pods and the node itself go to any backend.
    f.inside = t->backends;
    f.ninside = 2;
    for (f.nbackends = 0; f.nbackends < 2; f.nbackends++) {
        install(t, &f);
        const struct netns *clients[] = {&t->m->node, &t->pods[0].ns};
        for (int i = 0; i < 2; i++) {
            spread(t, clients[i], NODE_IP, 30080, 40, counts, peer);
            assert_true(counts[0] > 0 && counts[1] > 0);
            assert_string_equal(peer, GATEWAY_IP);
        }
        if (f.nbackends == 0) {
            assert_int_equal(connect_to(&t->m->outside, NODE_IP, 30080, SILENCE_MS), -ETIMEDOUT);
        } else {
            spread(t, &t->m->outside, NODE_IP, 30080, 10, counts, peer);
            assert_int_equal(counts[0], 10);
            assert_string_equal(peer, OUTSIDE_IP);
        }
    }
    install(t, NULL);
}

// A datagram to a connected socket, and what comes of it: 0 or the error that the network told.
static int udp_refusal(const struct netns *from, const char *ip, unsigned port)
{
    const struct sockaddr_in to = endpoint(ip, port);
    int fd = socket_in(from, SOCK_DGRAM), error = 0;
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    // On the refusing machine itself send() may hear of it.
    char c;
    if (send(fd, "x", 1, 0) < 0 && errno != EPERM)
        error = errno;
    else if (readable(fd, WAIT_MS) && recv(fd, &c, 1, 0) < 0)
        error = errno;
    close(fd);
    return error;
}

static void test_no_endpoints_refuses(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    const struct netns *clients[] = {&t->m->node, &t->pods[0].ns, &t->m->outside};
    struct frontend f = cluster(t, 0), n = node_port(t, 0);
    for (size_t i = 0; i < 3; i++) {
        install(t, &f);
        assert_int_equal(connect_to(clients[i], CLUSTER_IP, 80, WAIT_MS), -ECONNREFUSED);
        install(t, &n);
        assert_int_equal(connect_to(clients[i], NODE_IP, 30080, WAIT_MS), -ECONNREFUSED);
    }
    f.protocol = n.protocol = IPPROTO_UDP;
    for (size_t i = 0; i < 3; i++) {
        install(t, &f);
        assert_int_equal(udp_refusal(clients[i], CLUSTER_IP, 80), ECONNREFUSED);
        install(t, &n);
        assert_int_equal(udp_refusal(clients[i], NODE_IP, 30080), ECONNREFUSED);
    }
    install(t, NULL);
}

// Case conformance-first-run: a port of a Service's address that has no rule.
static void test_other_ports_are_refused(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    const struct netns *clients[] = {&t->m->node, &t->pods[0].ns, &t->m->outside};
    struct frontend f = cluster(t, 2);
    f.flags = FRONTEND_CLUSTER;
    install(t, &f);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(connect_to(clients[i], CLUSTER_IP, 81, WAIT_MS), -ECONNREFUSED);
        assert_int_equal(udp_refusal(clients[i], CLUSTER_IP, 80), ECONNREFUSED);
        int counts[2];
        spread(t, clients[i], CLUSTER_IP, 80, 2, counts, NULL);
    }
    assert_int_equal(elements("cluster-ips"), 1);
    install(t, NULL);
    assert_int_equal(elements("cluster-ips"), 0);
}

// Runs nft in the node's namespace, where this process is; its output, or a failed test.
static char *nft_list(void)
{
    FILE *out = popen("nft list table ip " TABLE " 2>&1", "r");
    static char text[1 << 16];
    assert_non_null(out);
    size_t n = fread(text, 1, sizeof text - 1, out);
    text[n] = 0;
    int status = pclose(out);
    if (status != 0)
        fail_msg("nft ended with %d: %s", status, text);
    return text;
}

// Debian's nft aborts on a key with a constant in it: every kind of rule must be one it can show.
static void test_nft_lists_the_table(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    if (access("/usr/sbin/nft", X_OK) < 0)
        skip();
    struct frontend list[8];
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        struct frontend f = cluster(t, 2), g = node_port(t, 2);
        f.port = g.port = (uint16_t)(100 + i);
        f.affinity_seconds = g.affinity_seconds = i == 1 ? 600 : 0;
        f.flags = FRONTEND_CLUSTER;
        g.flags = i == 2 ? FRONTEND_LOCAL : 0;
        if (i == 2) {
            g.inside = t->backends;
            g.ninside = 2;
        }
        if (i == 3)
            f.nbackends = g.nbackends = 0;
        list[n++] = f;
        list[n++] = g;
    }
    for (size_t i = 0; i < n; i++) {
        proxy_rules_begin(t->rules, false);
        proxy_rules_replace(t->rules, NULL, 0, &list[i], 1);
        must(proxy_rules_commit(t->rules, e));
    }
    const char *text = nft_list();
    static const char *const shown[] = {"map node-services {", "10.96.0.5 . tcp . 100", "tcp . 103",
                                        "set cluster-ips {",   "chain zl2i2",           "numgen"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        if (!strstr(text, shown[i]))
            fail_msg("nft does not show \"%s\":\n%s", shown[i], text);
    }
    for (size_t i = 0; i < n; i++) {
        proxy_rules_begin(t->rules, false);
        proxy_rules_replace(t->rules, &list[i], 1, NULL, 0);
        must(proxy_rules_commit(t->rules, e));
    }
}

static void test_affinity(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 2);
    f.affinity_seconds = 600;
    install(t, &f);
    int counts[2], again[2];
    spread(t, &t->m->node, CLUSTER_IP, 80, 20, counts, NULL);
    assert_true(counts[0] == 20 || counts[1] == 20);
    int first = counts[0] ? 0 : 1;

    // The backend stays while others come and go, and clients move when it goes itself.
    struct backend swapped[2] = {t->backends[1], t->backends[0]};
    f.backends = swapped;
    install(t, &f);
    spread(t, &t->m->node, CLUSTER_IP, 80, 10, again, NULL);
    assert_int_equal(again[first], 10);
    f.backends = &t->backends[1 - first];
    f.nbackends = 1;
    install(t, &f);
    spread(t, &t->m->node, CLUSTER_IP, 80, 5, again, NULL);
    assert_int_equal(again[1 - first], 5);
    install(t, NULL);
}

// Says something through a connected UDP socket; which pod hears it.
static int udp_reaches(struct test *t, int fd)
{
    char c;
    struct pollfd p[2] = {{t->udp[0], POLLIN, 0}, {t->udp[1], POLLIN, 0}};
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_true(poll(p, 2, WAIT_MS) > 0);
    int which = p[0].revents ? 0 : 1;
    assert_int_equal(recv(t->udp[which], &c, 1, 0), 1);
    return which;
}

static void test_udp_flows_follow_the_endpoints(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    const struct netns *clients[] = {&t->m->node, &t->pods[0].ns, &t->m->outside};
    for (size_t i = 0; i < 6; i++) {
        bool by_node = i >= 3;
        struct frontend f = by_node ? node_port(t, 1) : cluster(t, 1);
        f.protocol = IPPROTO_UDP;
        install(t, &f);
        const struct sockaddr_in to = endpoint(by_node ? NODE_IP : CLUSTER_IP, f.port);
        int fd = socket_in(clients[i % 3], SOCK_DGRAM);
        assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
        assert_int_equal(udp_reaches(t, fd), 0);
        assert_int_equal(udp_reaches(t, fd), 0);
        f.backends = &t->backends[1];
        install(t, &f);
        assert_int_equal(udp_reaches(t, fd), 1);
        // Where the backend stays, the flow stays.
        f.backends = t->backends;
        f.nbackends = 2;
        install(t, &f);
        for (int k = 0; k < 5; k++)
            assert_int_equal(udp_reaches(t, fd), 1);
        close(fd);
        install(t, NULL);
    }
}

static void test_connections_outlive_the_rules(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 1);
    install(t, &f);
    int fd = connect_to(&t->pods[1].ns, CLUSTER_IP, 80, WAIT_MS);
    assert_true(fd >= 0);
    struct pollfd p = {t->tcp[0], POLLIN, 0};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    int server = accept(t->tcp[0], NULL, NULL);
    assert_true(server >= 0);
    // As at a restart: everything anew, then without the Service.
    proxy_rules_begin(t->rules, true);
    proxy_rules_replace(t->rules, NULL, 0, &f, 1);
    must(proxy_rules_commit(t->rules, e));
    install(t, NULL);
    char c = 0;
    assert_int_equal(send(fd, "y", 1, 0), 1);
    assert_true(readable(server, WAIT_MS));
    assert_int_equal(recv(server, &c, 1, 0), 1);
    assert_int_equal(send(server, "z", 1, 0), 1);
    assert_true(readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, &c, 1, 0), 1);
    assert_int_equal(c, 'z');
    close(fd);
    close(server);
}

static void test_a_refused_batch_changes_nothing(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 2), never = node_port(t, 2);
    install(t, &f);
    assert_int_equal(elements("services"), 1);
    assert_int_equal(elements("backends"), 2);
    assert_int_equal(elements("hairpins"), 2);
    // Taking away what is not there, many times: more than one error comes back for the batch.
    _cleanup_err_ struct err why = ERR_INIT;
    proxy_rules_begin(t->rules, false);
    proxy_rules_replace(t->rules, &never, 1, NULL, 0);
    proxy_rules_replace(t->rules, &f, 1, NULL, 0);
    assert_int_equal(proxy_rules_commit(t->rules, &why), -404);
    assert_string_equal(why.message, "nf_tables refused deleting an element in table \"coracle\": "
                                     "No such file or directory");
    assert_int_equal(elements("services"), 1);
    assert_int_equal(elements("backends"), 2);

    // None of those answers is taken for one to the next batch.
    proxy_rules_begin(t->rules, true);
    proxy_rules_replace(t->rules, NULL, 0, &f, 1);
    must(proxy_rules_commit(t->rules, e));
    install(t, NULL);
    assert_int_equal(elements("services") + elements("backends") + elements("hairpins"), 0);
}

static void test_somebody_deleted_the_table(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct frontend f = cluster(t, 1);
    must(proxy_rules_delete(TABLE, e));
    must(proxy_rules_delete(TABLE, e)); // not there: nothing to do
    _cleanup_err_ struct err why = ERR_INIT;
    proxy_rules_begin(t->rules, false);
    proxy_rules_replace(t->rules, NULL, 0, &f, 1);
    assert_int_equal(proxy_rules_commit(t->rules, &why), -404);
    proxy_rules_begin(t->rules, true);
    proxy_rules_replace(t->rules, NULL, 0, &f, 1);
    must(proxy_rules_commit(t->rules, e));
    t->has = f;
    t->installed = true;
    assert_int_equal(elements("services"), 1);
    install(t, NULL);
}

static void test_bad_range(void **state)
{
    (void)state;
    struct proxy_rules *r = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    assert_int_equal(proxy_rules_new(TABLE, STR("10.244.0.0"), &r, &why), -400);
    assert_string_equal(why.message, "10.244.0.0 is not an IPv4 range");
    assert_null(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_address),
        cmocka_unit_test(test_hairpin_of_a_single_pod),
        cmocka_unit_test(test_node_port),
        cmocka_unit_test(test_local_policy_keeps_the_client),
        cmocka_unit_test(test_no_endpoints_refuses),
        cmocka_unit_test(test_other_ports_are_refused),
        cmocka_unit_test(test_nft_lists_the_table),
        cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_udp_flows_follow_the_endpoints),
        cmocka_unit_test(test_connections_outlive_the_rules),
        cmocka_unit_test(test_a_refused_batch_changes_nothing),
        cmocka_unit_test(test_somebody_deleted_the_table),
        cmocka_unit_test(test_bad_range),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
