// Decisions over the compact cluster, without any API: extraction of requests, counting on nodes,
// sampling, and how long a decision takes on five thousand nodes.
#include "object/json.h"
#include "scheduler/decide.h"
#include "scheduler/pending.h"
#include "schema/schema.h"
#include "unit.h"
#include <time.h>

static struct object *object(const char *resource, const char *key, const char *json)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v;
    struct json_options opt = {0};
    struct object *o;
    if (json_parse(&a, str_of(json), &opt, &v, &e) < 0)
        fail_msg("%s: %s", json, e.message);
    const struct kind *k = kind_by_resource(STR(""), STR("v1"), str_of(resource));
    if (object_from_value(k, str_of(key), 1, v, &o, &e) < 0)
        fail_msg("%s", e.message);
    return o;
}

static struct pod *pod(const char *name, const char *labels, const char *spec)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = arena_printf(&a, "/registry/pods/default/%s", name);
    struct str json = arena_printf(&a,
                                   "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":"
                                   "\"%s\",\"namespace\":\"default\","
                                   "\"uid\":\"uid-%s\",\"labels\":{%s},\"ownerReferences\":[{"
                                   "\"uid\":\"set\",\"controller\":true}]},"
                                   "\"spec\":%s}",
                                   name, name, labels, spec);
    struct object *o = object("pods", arena_cstr(&a, key), arena_cstr(&a, json));
    struct pod *p = pod_new(o);
    object_unref(o);
    return p;
}

static void node(struct cluster *c, const char *name, const char *zone, const char *cpu,
                 const char *memory)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = arena_printf(&a, "/registry/minions/%s", name);
    struct str json = arena_printf(
        &a,
        "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\",\"labels\":{"
        "\"kubernetes.io/hostname\":\"%s\",\"topology.kubernetes.io/zone\":\"%s\"}},\"spec\":{},"
        "\"status\":{\"allocatable\":{\"cpu\":\"%s\",\"memory\":\"%s\",\"pods\":\"110\"}}}",
        name, name, zone, cpu, memory);
    struct object *o = object("nodes", arena_cstr(&a, key), arena_cstr(&a, json));
    cluster_node_set(c, o);
    object_unref(o);
}

static const char small[] =
    "{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":"
    "{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}]}";

static void test_request(void **state)
{
    (void)state;
    // Containers 300m; a sidecar of 100m runs beside them; an init container of 500m runs beside
    // the sidecar before them.
    struct pod *p =
        pod("p", "",
            "{\"initContainers\":["
            "{\"name\":\"s\",\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":"
            "\"100m\"}}},"
            "{\"name\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"500m\",\"memory\":\"1Gi\"}}}],"
            "\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"200m\","
            "\"memory\":\"128Mi\","
            "\"example.com/"
            "gpu\":\"2\"}}},{\"name\":\"b\",\"resources\":{\"requests\":{\"cpu\":\"0.1\"}}}],"
            "\"overhead\":{\"cpu\":\"50m\"}}");
    assert_int_equal(p->request.basic[CPU], 650);
    assert_int_equal(p->request.basic[MEMORY], 1024ll * 1024 * 1024);
    assert_int_equal(p->request.nmore, 1);
    assert_int_equal(p->request.more[0].amount, 2);
    pod_free(p);
    p = pod("q", "", "{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}");
    assert_int_equal(p->request.basic[CPU], 0);
    assert_int_equal(p->nonzero[0], 200); // what scores assume
    assert_int_equal(p->nonzero[1], 400ll * 1024 * 1024);
    pod_free(p);
}

static void test_counts_come_and_go(void **state)
{
    (void)state;
    struct cluster c = {0};
    struct pod *early = pod("early", "\"app\":\"a\"", small), *p = pod("p", "\"app\":\"a\"", small);
    cluster_add(&c, early, STR("n1")); // before its node is known
    assert_int_equal(c.norder, 0);
    node(&c, "n1", "z1", "1", "1Gi");
    cluster_add(&c, p, STR("n1"));
    struct node *n = cluster_node(&c, STR("n1"));
    assert_int_equal(n->npods, 2);
    assert_int_equal(n->used.basic[CPU], 200);
    struct term *any = &(struct term){0};
    struct group *g = cluster_group(&c, 77, p->ns_hash, any);
    assert_int_equal(g->n, 2);
    assert_int_equal(cluster_owner_group(&c, p->owner)->n, 2);
    cluster_remove(&c, p);
    assert_int_equal(n->used.basic[CPU], 100);
    assert_int_equal(g->n, 1);
    cluster_node_remove(&c, STR("n1")); // the pod outlives it
    assert_int_equal(c.norder, 0);
    assert_non_null(cluster_node(&c, STR("n1")));
    cluster_remove(&c, early);
    assert_null(cluster_node(&c, STR("n1")));
    assert_null(cluster_owner_group(&c, p->owner));
    pod_free(p);
    pod_free(early);
    cluster_done(&c);
}

// Slots move when the array grows: lists and back pointers must follow.
static void test_many_nodes_with_pods(void **state)
{
    (void)state;
    enum { N = 300 };
    struct cluster c = {0};
    struct pod *pods[N];
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        node(&c, name, "z", "1", "1Gi");
        pods[i] = pod(name, "", small);
        cluster_add(&c, pods[i], str_of(name));
    }
    for (int i = 0; i < N; i += 2) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        cluster_remove(&c, pods[i]);
        cluster_node_remove(&c, str_of(name));
    }
    assert_int_equal(c.norder, N / 2);
    for (uint32_t i = 0; i < c.norder; i++) {
        const struct node *n = &c.nodes[c.order[i]];
        assert_true(n->present);
        assert_int_equal(n->order, i);
        assert_int_equal(n->npods, 1);
        assert_ptr_equal(n->pods->at_on_node, &n->pods);
    }
    for (int i = 0; i < N; i++) {
        cluster_remove(&c, pods[i]);
        pod_free(pods[i]);
    }
    cluster_done(&c);
}

static void test_queue_order_and_backoff(void **state)
{
    (void)state;
    struct pending q;
    struct pod *p[3];
    pending_init(&q);
    for (int i = 0; i < 3; i++) {
        p[i] = pod("p", "", small);
        p[i]->priority = i == 1 ? 10 : 0;
        pending_activate(&q, p[i]);
    }
    assert_ptr_equal(pending_pop(&q), p[1]);
    assert_ptr_equal(pending_pop(&q), p[0]);
    pending_failed(p[0], 1000);
    assert_int_equal(p[0]->due, 1000 + 1000000000ull);
    pending_wait(&q, p[0]);
    pending_wake(&q, p[0], 2000);
    assert_int_equal(p[0]->state, POD_BACKOFF);
    assert_int_equal(pending_due(&q, 3000), p[0]->due);
    assert_int_equal(pending_due(&q, p[0]->due), 0);
    assert_ptr_equal(pending_pop(&q), p[0]); // older than p[2], though it failed
    assert_ptr_equal(pending_pop(&q), p[2]);
    assert_null(pending_pop(&q));
    for (int i = 0; i < 6; i++)
        pending_failed(p[0], 0);
    assert_int_equal(p[0]->due, 10000000000ull);
    for (int i = 0; i < 3; i++)
        pod_free(p[i]);
    pending_done(&q);
}

// Five thousand nodes; each decision is assumed, as in life.
static void test_rate(void **state)
{
    (void)state;
    enum { NODES = 5000, PODS = 20000 };
    struct cluster c = {0};
    for (int i = 0; i < NODES; i++) {
        char name[16], zone[8];
        snprintf(name, sizeof name, "node-%d", i);
        snprintf(zone, sizeof zone, "z%d", i % 3);
        node(&c, name, zone, "16", "64Gi");
    }
    struct pod **pods = calloc(PODS, sizeof *pods);
    for (int i = 0; i < PODS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        pods[i] = pod(name, "\"app\":\"a\"", small);
        pods[i]->owner += i % 200; // two hundred controllers
    }
    struct arena a = ARENA_INIT;
    struct random random = {88172645463325252u};
    uint32_t next = 0, *by_node = calloc(c.slots_cap, sizeof *by_node);
    uint64_t evaluated = 0;
    clock_t start = clock(); // the processor's time: other tests may run beside this one
    for (int i = 0; i < PODS; i++) {
        struct decision d = {.cluster = &c, .pod = pods[i], .a = &a, .by_node = by_node};
        struct verdict v;
        decide(&d, &next, &random, &v);
        assert_true(v.slot >= 0);
        evaluated += v.evaluated;
        cluster_add(&c, pods[i], c.nodes[v.slot].name);
        arena_reset(&a);
    }
    uint64_t ns = (uint64_t)(clock() - start) * (1000000000 / CLOCKS_PER_SEC);
    print_message(
        "%d decisions on %d nodes: %.1f us each, %.0f a second, %llu nodes looked at each\n", PODS,
        NODES, (double)ns / 1000 / PODS, PODS * 1e9 / (double)ns,
        (unsigned long long)evaluated / PODS);
    assert_int_equal(evaluated / PODS, 500); // a tenth of the nodes
    // Spread by the scores: nobody has much more than the others.
    uint32_t most = 0;
    for (uint32_t i = 0; i < c.nslots; i++)
        most = c.nodes[i].npods > most ? c.nodes[i].npods : most;
    assert_in_range(most, PODS / NODES, 2 * PODS / NODES + 2);
    for (int i = 0; i < PODS; i++) {
        cluster_remove(&c, pods[i]);
        pod_free(pods[i]);
    }
    free(pods);
    free(by_node);
    arena_done(&a);
    cluster_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_counts_come_and_go),
        cmocka_unit_test(test_many_nodes_with_pods),
        cmocka_unit_test(test_queue_order_and_backoff),
        cmocka_unit_test(test_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
