// From Services and EndpointSlices to what the kernel has: a scripted API server in front, real
// nf_tables in a network namespace behind.
#include "base/buf.h"
#include "fake_api.h"
#include "netns.h"
#include "network/nft.h"
#include "network/proxy.h"

struct test {
    struct env *env;
    struct loop *loop;
    struct fake_api api;
    struct informers *factory;
    struct service_proxy *proxy;
    struct buf text;
};

static void start(struct test *t)
{
    fake_api_init(&t->api, t->env);
    t->factory = informers_new(&t->api.client, t->loop);
    const struct service_proxy_options opt = {
        .informers = t->factory, .node_name = STR("here"), .pod_cidr = STR("10.244.0.0/16")};
    must(service_proxy_new(t->loop, &opt, &t->proxy, e));
    informers_start(t->factory);
    loop_run_until_idle(t->loop, 0);
}

static void stop(struct test *t)
{
    service_proxy_free(t->proxy);
    informers_free(t->factory);
}

static int setup(void **state)
{
    if (!may_unshare())
        return 0;
    struct test *t = mem_zalloc(sizeof *t);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    t->env = env_sim_new(1, 1700000000000000000);
    t->loop = loop_new(t->env);
    start(t);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    if (!t)
        return 0;
    stop(t);
    loop_free(t->loop);
    env_sim_free(t->env);
    buf_done(&t->text);
    free(t);
    return 0;
}

// --- what the kernel has ---

struct line {
    struct nft_element key;
    char chain[32];
};
struct lines {
    struct line list[64];
    size_t n;
};

static void note_line(void *ctx, const struct nft_element *e)
{
    struct lines *l = ctx;
    assert_true(l->n < 64);
    l->list[l->n].key = *e;
    snprintf(l->list[l->n++].chain, 32, "%s", e->chain ? e->chain : "");
}

static int compare_lines(const void *x, const void *y)
{
    const struct line *a = x, *b = y;
    return memcmp(a->key.key, b->key.key, sizeof a->key.key);
}

static void read_set(const char *name, struct lines *ret)
{
    const struct nft_set s = {.name = name};
    struct netlink n;
    ret->n = 0;
    must(netlink_open(&n, NETLINK_NETFILTER, NULL, e));
    int r = nft_set_each(&n, SERVICE_PROXY_TABLE, &s, note_line, ret);
    netlink_close(&n);
    assert_true(r == 0 || r == -ENOENT);
    qsort(ret->list, ret->n, sizeof *ret->list, compare_lines);
}

// Adds a set of NodePorts, whose keys have no address, as if they had 0.0.0.0.
static void add_node_set(const char *name, struct lines *to)
{
    struct lines node;
    read_set(name, &node);
    for (size_t i = 0; i < node.n; i++) {
        struct line l = node.list[i];
        memmove(&l.key.key[1], l.key.key, 3 * sizeof *l.key.key);
        l.key.key[0] = 0;
        assert_true(to->n < 64);
        to->list[to->n++] = l;
    }
    qsort(to->list, to->n, sizeof *to->list, compare_lines);
}

// Puts the chains of a number's verdict in the place of numbers.
static void name_chains(struct lines *numbers, const char *verdicts)
{
    struct lines names;
    read_set(verdicts, &names);
    for (size_t i = 0; i < numbers->n; i++)
        for (size_t j = 0; j < names.n; j++)
            if (names.list[j].key.key[0] == numbers->list[i].key.data[0])
                memcpy(numbers->list[i].chain, names.list[j].chain, sizeof names.list[j].chain);
}

static void put_address(struct buf *b, uint32_t address, uint32_t port)
{
    char ip[INET_ADDRSTRLEN];
    uint16_t be;
    memcpy(&be, &port, sizeof be);
    inet_ntop(AF_INET, &address, ip, sizeof ip);
    buf_printf(b, "%s:%u", ip, ntohs(be));
}

// "10.96.0.5:80/6 n2 10.244.0.2:8080 10.244.0.3:8080\n" for each frontend, by address.
static const char *kernel(struct test *t)
{
    struct lines services, unserved, backends;
    loop_run_until_idle(t->loop, 0);
    read_set("services", &services);
    read_set("unserved", &unserved);
    read_set("backends", &backends);
    add_node_set("node-services", &services);
    add_node_set("node-unserved", &unserved);
    add_node_set("node-backends", &backends);
    name_chains(&services, "shapes");
    name_chains(&unserved, "refusals");
    buf_reset(&t->text);
    for (size_t i = 0; i < unserved.n; i++)
        services.list[services.n++] = unserved.list[i];
    qsort(services.list, services.n, sizeof *services.list, compare_lines);
    for (size_t i = 0; i < services.n; i++) {
        const uint32_t *key = services.list[i].key.key;
        put_address(&t->text, key[0], key[2]);
        buf_printf(&t->text, "/%u %s", key[1] & 255, services.list[i].chain);
        for (size_t j = 0; j < backends.n; j++) {
            if (memcmp(backends.list[j].key.key, key, 12) != 0)
                continue;
            buf_char(&t->text, ' ');
            put_address(&t->text, backends.list[j].key.data[0], backends.list[j].key.data[1]);
        }
        buf_char(&t->text, '\n');
    }
    return buf_cstr(&t->text);
}

#define NEEDS_ROOT(t)                                                                              \
    if (!(t))                                                                                      \
    skip()

#define HTTP     "'ports':[{'name':'http','protocol':'TCP','port':80}]"
#define SLICE_80 "'ports':[{'name':'http','protocol':'TCP','port':8080}]"
#define READY(ip, node)                                                                            \
    "{'addresses':['" ip "'],'nodeName':'" node                                                    \
    "','conditions':{'ready':true,'serving':true,'terminating':false}}"
#define NOT_READY(ip)                                                                              \
    "{'addresses':['" ip "'],'conditions':{'ready':false,'serving':false,'terminating':false}}"
#define TERMINATING(ip)                                                                            \
    "{'addresses':['" ip "'],'conditions':{'ready':false,'serving':true,'terminating':true}}"

static void web(struct test *t, enum watch_type type, const char *more)
{
    char spec[512];
    snprintf(spec, sizeof spec, "'type':'NodePort','clusterIP':'10.96.0.5'," HTTP "%s", more);
    fake_service(&t->api, type, "web", spec);
}

static void slice(struct test *t, enum watch_type type, const char *endpoints)
{
    char body[1024];
    snprintf(body, sizeof body, "'endpoints':[%s]," SLICE_80, endpoints);
    fake_slice(&t->api, type, "web", "web-1", body);
}

static void test_nothing_before_the_lists_are_whole(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    web(t, WATCH_ADDED, "");
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here"));
    struct lines none;
    loop_run_until_idle(t->loop, 0);
    read_set("services", &none);
    assert_int_equal(none.n, 0);
    fake_sync(&t->api);
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.2:8080\n");
}

static void test_endpoints_come_and_go(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    web(t, WATCH_ADDED, "");
    assert_string_equal(kernel(t), "10.96.0.5:80/6 refuse\n");
    slice(t, WATCH_ADDED, NOT_READY("10.244.0.2"));
    assert_string_equal(kernel(t), "10.96.0.5:80/6 refuse\n");
    slice(t, WATCH_MODIFIED, READY("10.244.0.3", "b") "," READY("10.244.0.2", "here"));
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n2 10.244.0.2:8080 10.244.0.3:8080\n");
    // A second slice, with one address twice.
    fake_slice(
        &t->api, WATCH_ADDED, "web", "web-2",
        "'endpoints':[" READY("10.244.0.9", "c") "," READY("10.244.0.2", "here") "]," SLICE_80);
    assert_string_equal(kernel(t),
                        "10.96.0.5:80/6 n3 10.244.0.2:8080 10.244.0.3:8080 10.244.0.9:8080\n");
    fake_slice(&t->api, WATCH_DELETED, "web", "web-2", SLICE_80);
    // While a ready one is left, terminating ones get nothing new; without, they do.
    slice(t, WATCH_MODIFIED, READY("10.244.0.3", "b") "," TERMINATING("10.244.0.2"));
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.3:8080\n");
    slice(t, WATCH_MODIFIED, NOT_READY("10.244.0.3") "," TERMINATING("10.244.0.2"));
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.2:8080\n");
    slice(t, WATCH_DELETED, "");
    assert_string_equal(kernel(t), "10.96.0.5:80/6 refuse\n");
    web(t, WATCH_DELETED, "");
    assert_string_equal(kernel(t), "");
}

static void test_addresses_of_a_service(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here"));
    // External addresses, but never loopback, any or nonsense; the port of each node.
    fake_put(&t->api, KIND("", "services"), WATCH_ADDED,
             "{'metadata':{'namespace':'shop','name':'web'},'spec':{'clusterIP':'10.96.0.5',"
             "'externalIPs':['198.51.100.7','127.0.0.1','0.0.0.0','fd00::1'],"
             "'sessionAffinity':'ClientIP',"
             "'ports':[{'name':'http','protocol':'TCP','port':80,'nodePort':30080}]},"
             "'status':{'loadBalancer':{'ingress':[{'ip':'203.0.113.9','ipMode':'VIP'},"
             "{'ip':'203.0.113.10','ipMode':'Proxy'},{'hostname':'lb.example'}]}}}");
    assert_string_equal(kernel(t), "0.0.0.0:30080/6 zn1s10800 10.244.0.2:8080\n"
                                   "10.96.0.5:80/6 n1s10800 10.244.0.2:8080\n"
                                   "198.51.100.7:80/6 n1s10800 10.244.0.2:8080\n"
                                   "203.0.113.9:80/6 n1s10800 10.244.0.2:8080\n");
    // Ports are matched by name and protocol.
    fake_service(&t->api, WATCH_MODIFIED, "web",
                 "'clusterIP':'10.96.0.5','sessionAffinity':'ClientIP','sessionAffinityConfig':"
                 "{'clientIP':{'timeoutSeconds':60}},"
                 "'ports':[{'name':'http','protocol':'TCP','port':80},"
                 "{'name':'http','protocol':'UDP','port':81},{'name':'other','port':82}]");
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1s60 10.244.0.2:8080\n"
                                   "10.96.0.5:82/6 refuse\n"
                                   "10.96.0.5:81/17 refuse\n");
}

static void test_local_policies(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    static const char spec[] =
        "'clusterIP':'10.96.0.5','externalTrafficPolicy':'Local','internalTrafficPolicy':'Local',"
        "'ports':[{'name':'http','port':80,'nodePort':30080}]";
    fake_service(&t->api, WATCH_ADDED, "web", spec);
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here") "," READY("10.244.1.2", "there"));
    assert_string_equal(kernel(t), "0.0.0.0:30080/6 zl1i2 10.244.0.2:8080 10.244.0.2:8080 "
                                   "10.244.1.2:8080\n"
                                   "10.96.0.5:80/6 n1 10.244.0.2:8080\n");
    // Backends elsewhere only: nothing goes there, and nobody is told that there is no Service.
    slice(t, WATCH_MODIFIED, READY("10.244.1.2", "there"));
    assert_string_equal(kernel(t), "0.0.0.0:30080/6 zl0i1 10.244.1.2:8080\n0.0.0.0:30080/6 drop "
                                   "10.244.1.2:8080\n10.96.0.5:80/6 drop\n");
    slice(t, WATCH_MODIFIED, "");
    assert_string_equal(kernel(t), "0.0.0.0:30080/6 refuse\n10.96.0.5:80/6 refuse\n");
}

static void test_services_of_others(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    fake_service(&t->api, WATCH_ADDED, "headless", "'clusterIP':'None'," HTTP);
    fake_service(&t->api, WATCH_ADDED, "name",
                 "'type':'ExternalName','externalName':'example.org'," HTTP);
    fake_put(&t->api, KIND("", "services"), WATCH_ADDED,
             "{'metadata':{'namespace':'kube-system','name':'dns','labels':"
             "{'service.kubernetes.io/service-proxy-name':''}},"
             "'spec':{'clusterIP':'10.96.0.10'," HTTP "}}");
    fake_put(&t->api, KIND("", "services"), WATCH_ADDED,
             "{'metadata':{'namespace':'shop','name':'labelled','labels':"
             "{'service.kubernetes.io/headless':''}},"
             "'spec':{'clusterIP':'10.96.0.11'," HTTP "}}");
    assert_string_equal(kernel(t), "");
    // Without the label it is ours.
    fake_service(&t->api, WATCH_MODIFIED, "labelled", "'clusterIP':'10.96.0.11'," HTTP);
    assert_string_equal(kernel(t), "10.96.0.11:80/6 refuse\n");
}

static void test_an_address_has_one_service(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    fake_service(&t->api, WATCH_ADDED, "first",
                 "'clusterIP':'10.96.0.1','externalIPs':['198.51.100.7','10.96.0.2']," HTTP);
    kernel(t);
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here"));
    web(t, WATCH_ADDED, ",'externalIPs':['198.51.100.7','10.96.0.1']");
    // web gets neither the taken address nor another Service's cluster address.
    assert_string_equal(kernel(t), "10.96.0.1:80/6 refuse\n"
                                   "10.96.0.2:80/6 refuse\n"
                                   "10.96.0.5:80/6 n1 10.244.0.2:8080\n"
                                   "198.51.100.7:80/6 refuse\n");
    // A cluster address is taken back from who had it as an external one.
    fake_service(&t->api, WATCH_ADDED, "second", "'clusterIP':'10.96.0.2'," HTTP);
    fake_slice(&t->api, WATCH_ADDED, "second", "second-1",
               "'endpoints':[" READY("10.244.0.7", "here") "]," SLICE_80);
    assert_string_equal(kernel(t), "10.96.0.1:80/6 refuse\n"
                                   "10.96.0.2:80/6 n1 10.244.0.7:8080\n"
                                   "10.96.0.5:80/6 n1 10.244.0.2:8080\n"
                                   "198.51.100.7:80/6 refuse\n");
    // What its owner lets go, the next gets.
    fake_service(&t->api, WATCH_DELETED, "first", HTTP);
    assert_string_equal(kernel(t), "10.96.0.1:80/6 n1 10.244.0.2:8080\n"
                                   "10.96.0.2:80/6 n1 10.244.0.7:8080\n"
                                   "10.96.0.5:80/6 n1 10.244.0.2:8080\n"
                                   "198.51.100.7:80/6 n1 10.244.0.2:8080\n");
    // Deleted and made anew under another name in one turn: the batch orders it.
    web(t, WATCH_DELETED, "");
    fake_service(&t->api, WATCH_ADDED, "a-new-web", "'clusterIP':'10.96.0.5'," HTTP);
    assert_string_equal(kernel(t), "10.96.0.2:80/6 n1 10.244.0.7:8080\n10.96.0.5:80/6 refuse\n");
}

static void test_the_table_is_made_anew(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    web(t, WATCH_ADDED, "");
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here"));
    kernel(t);
    must(service_proxy_teardown(NULL, e));
    assert_string_equal(kernel(t), "");
    slice(t, WATCH_MODIFIED, READY("10.244.0.3", "here"));
    loop_run_until_idle(t->loop, 1000000); // the retry is at once
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.3:8080\n");
}

static void test_restart_replaces_what_was(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    web(t, WATCH_ADDED, "");
    slice(t, WATCH_ADDED, READY("10.244.0.2", "here"));
    kernel(t);
    stop(t);
    // Services that are gone meanwhile stay until the new process knows; then only its own are.
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.2:8080\n");
    start(t);
    assert_string_equal(kernel(t), "10.96.0.5:80/6 n1 10.244.0.2:8080\n");
    fake_service(&t->api, WATCH_ADDED, "other", "'clusterIP':'10.96.0.9'," HTTP);
    fake_sync(&t->api);
    assert_string_equal(kernel(t), "10.96.0.9:80/6 refuse\n");
}

static void test_freed_with_work_queued(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    fake_sync(&t->api);
    loop_run_until_idle(t->loop, 0);
    web(t, WATCH_ADDED, "");
    stop(t);
    loop_run_until_idle(t->loop, 0); // the wake-up finds nobody
    start(t);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_nothing_before_the_lists_are_whole),
        CASE(test_endpoints_come_and_go),
        CASE(test_addresses_of_a_service),
        CASE(test_local_policies),
        CASE(test_services_of_others),
        CASE(test_an_address_has_one_service),
        CASE(test_the_table_is_made_anew),
        CASE(test_restart_replaces_what_was),
        CASE(test_freed_with_work_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
