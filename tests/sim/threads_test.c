// The same control plane on real threads and real time: meant to be run under ThreadSanitizer. Many
// deployments are made, rolled, scaled and deleted at once.
#include "sim/sim.h"

enum { DEPLOYMENTS = 8 };

static bool all_rolled_out(struct sim *s, const void *arg)
{
    struct value *list = sim_list(s, "apps", "deployments", "default", NULL);
    (void)arg;
    if (value_len(list) != DEPLOYMENTS)
        return false;
    value_each_item (list, d) {
        int64_t want = value_int_at(d, "spec.replicas", 1);
        if (value_int_at(d, "status.observedGeneration", 0) <
                value_int_at(d, "metadata.generation", 1) ||
            value_int_at(d, "status.updatedReplicas", 0) != want ||
            value_int_at(d, "status.replicas", 0) != want ||
            value_int_at(d, "status.availableReplicas", 0) != want)
            return false;
    }
    return true;
}

static bool pods_exactly(struct sim *s, const void *arg)
{
    return sim_count(s, "", "pods", "default", "app=a") == *(const size_t *)arg;
}

static bool empty(struct sim *s, const void *arg)
{
    (void)arg;
    return sim_count(s, "", "pods", "default", NULL) == 0 &&
           sim_count(s, "apps", "replicasets", "default", NULL) == 0;
}

static void patch_all(struct sim *s, const char *yaml)
{
    for (int i = 0; i < DEPLOYMENTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        sim_patch(s, "apps", "deployments", "default", name, yaml);
    }
}

static void test_storm(void **state)
{
    static const struct sim_options opt = {
        .threads = 4, .controllers = {.root_ca_pem = {"CA", 2}, .pod_cidr = {"10.244.0.0/16", 13}}};
    struct sim *s = sim_new(&opt);
    (void)state;
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    sim_create(s, "kind: Service\napiVersion: v1\nmetadata: {name: all}\n"
                  "spec: {selector: {app: a}, ports: [{port: 80}]}\n");
    for (int i = 0; i < DEPLOYMENTS; i++) {
        char yaml[512];
        snprintf(
            yaml, sizeof yaml,
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d%d}\n"
            "spec: {replicas: 4, selector: {matchLabels: {n: d%d}}, template: {metadata: {labels: "
            "{app: a, n: d%d}}, spec: {containers: [{name: c, image: 'web:1'}]}}}\n",
            i, i, i);
        sim_create(s, yaml);
    }
    assert_true(sim_until(s, 60, all_rolled_out, NULL));
    patch_all(s,
              "spec: {replicas: 6, template: {spec: {containers: [{name: c, image: 'web:2'}]}}}");
    assert_true(sim_until(s, 60, all_rolled_out, NULL));
    assert_true(
        sim_until(s, 60, pods_exactly, &(size_t){DEPLOYMENTS * 6})); // none too many remains
    for (int i = 0; i < DEPLOYMENTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", i);
        sim_delete(s, "apps", "deployments", "default", name,
                   i % 2 ? PROPAGATION_BACKGROUND : PROPAGATION_FOREGROUND);
    }
    assert_true(sim_until(s, 60, empty, NULL));
    struct scheduler_counts c;
    scheduler_counts(s->scheduler, &c);
    assert_true(c.scheduled >= DEPLOYMENTS * 10);
    sim_free(s);
}

static void test_stop_in_the_middle(void **state)
{
    static const struct sim_options opt = {.threads = 4};
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct sim *s = sim_new(&opt);
        sim_node(s, "n1", NULL);
        sim_create(s, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
                      "spec: {replicas: 50, selector: {matchLabels: {n: d}}, template: {metadata: "
                      "{labels: {n: d}}, spec: {containers: [{name: c, image: 'web:1'}]}}}\n");
        s->pod_start_ns = NS_PER_MS;
        sim_until(s, 0, NULL, NULL);
        sim_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_stop_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
