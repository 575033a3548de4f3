// Nodes that fall silent and come back, taints and evictions, node CIDRs, pods of nodes that are
// gone.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    sim_run(s, 1);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static struct value *node(struct sim *s, const char *name)
{
    return sim_get(s, "", "nodes", NULL, name);
}

static struct value *condition(const struct value *v, const char *type)
{
    const struct value *list = value_at(v, "status.conditions");
    value_each_item (list, c) {
        if (str_eqc(value_str_at(c, "type"), type))
            return c;
    }
    return NULL;
}

static bool tainted(const struct value *n, const char *key, const char *effect)
{
    const struct value *list = value_at(n, "spec.taints");
    value_each_item (list, t) {
        if (str_eqc(value_str_at(t, "key"), key) && str_eqc(value_str_at(t, "effect"), effect))
            return true;
    }
    return false;
}

static void pod(struct sim *s, const char *name, const char *node_name, const char *more)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "kind: Pod\napiVersion: v1\nmetadata: {name: %s}\n"
             "spec: {nodeName: %s, containers: [{name: c, image: i}]%s}\n",
             name, node_name, more);
    sim_create(s, yaml);
}

static bool is_unknown(struct sim *s, const void *name)
{
    return str_eqc(value_str_at(condition(node(s, name), "Ready"), "status"), "Unknown");
}

static void test_silent_node(void **state)
{
    struct sim *s = *state;
    pod(s, "p", "n1", "");
    pod(s, "stays", "n1", ", tolerations: [{operator: Exists}]");
    sim_run(s, 3);
    sim_run(s, 120);
    assert_true(str_eqc(value_str_at(condition(node(s, "n1"), "Ready"), "status"), "True"));
    sim_node_silence(s, "n1", true);
    sim_run(s, 25);
    assert_true(str_eqc(value_str_at(condition(node(s, "n1"), "Ready"), "status"), "True"));
    assert_true(sim_until(s, 20, is_unknown, "n1"));
    sim_run(s, 1);
    struct value *n = node(s, "n1");
    assert_true(str_eqc(value_str_at(condition(n, "Ready"), "reason"), "NodeStatusUnknown"));
    assert_true(str_eqc(value_str_at(condition(n, "Ready"), "message"),
                        "Kubelet stopped posting node status."));
    assert_true(tainted(n, "node.kubernetes.io/unreachable", "NoSchedule"));
    assert_true(tainted(n, "node.kubernetes.io/unreachable", "NoExecute"));
    assert_false(tainted(n, "node.kubernetes.io/not-ready", "NoExecute"));
    struct value *p = sim_get(s, "", "pods", "default", "p");
    assert_true(str_eqc(value_str_at(condition(p, "Ready"), "status"), "False"));
    // The admitted toleration of 300 s, then the pod is deleted (and stays, for nobody confirms).
    sim_run(s, 280);
    assert_null(value_at(sim_get(s, "", "pods", "default", "p"), "metadata.deletionTimestamp"));
    sim_run(s, 30);
    p = sim_get(s, "", "pods", "default", "p");
    assert_non_null(value_at(p, "metadata.deletionTimestamp"));
    assert_true(str_eqc(value_str_at(condition(p, "DisruptionTarget"), "reason"),
                        "DeletionByTaintManager"));
    assert_null(value_at(sim_get(s, "", "pods", "default", "stays"), "metadata.deletionTimestamp"));
    // Back again: the taints go, the deletion is confirmed.
    sim_node_silence(s, "n1", false);
    sim_run(s, 3);
    n = node(s, "n1");
    assert_false(tainted(n, "node.kubernetes.io/unreachable", "NoExecute"));
    assert_false(tainted(n, "node.kubernetes.io/unreachable", "NoSchedule"));
    assert_null(sim_get(s, "", "pods", "default", "p"));
    assert_false(tainted(node(s, "n2"), "node.kubernetes.io/unreachable", "NoExecute"));
}

static void test_return_in_time_saves_pods(void **state)
{
    struct sim *s = *state;
    pod(s, "p", "n1", "");
    sim_run(s, 3);
    sim_node_silence(s, "n1", true);
    assert_true(sim_until(s, 50, is_unknown, "n1"));
    sim_run(s, 100);
    sim_node_silence(s, "n1", false);
    sim_run(s, 400);
    assert_null(value_at(sim_get(s, "", "pods", "default", "p"), "metadata.deletionTimestamp"));
}

static void test_no_execute_by_hand(void **state)
{
    struct sim *s = *state;
    pod(s, "now", "n1", "");
    pod(s, "later", "n1",
        ", tolerations: [{key: maint, operator: Exists, effect: NoExecute, tolerationSeconds: "
        "60}]");
    sim_run(s, 3);
    sim_patch(s, "", "nodes", NULL, "n1", "spec: {taints: [{key: maint, effect: NoExecute}]}");
    sim_run(s, 5);
    assert_null(sim_get(s, "", "pods", "default", "now"));
    assert_non_null(sim_get(s, "", "pods", "default", "later"));
    sim_run(s, 50);
    assert_non_null(sim_get(s, "", "pods", "default", "later"));
    sim_run(s, 15);
    assert_null(sim_get(s, "", "pods", "default", "later"));
}

static void test_cordon_is_a_taint(void **state)
{
    struct sim *s = *state;
    sim_patch(s, "", "nodes", NULL, "n1", "spec: {unschedulable: true}");
    sim_run(s, 1);
    assert_true(tainted(node(s, "n1"), "node.kubernetes.io/unschedulable", "NoSchedule"));
    sim_patch(s, "", "nodes", NULL, "n1", "spec: {unschedulable: null}");
    sim_run(s, 1);
    assert_false(tainted(node(s, "n1"), "node.kubernetes.io/unschedulable", "NoSchedule"));
}

static void test_cidrs(void **state)
{
    struct sim *s = *state;
    struct str one = value_str_at(node(s, "n1"), "spec.podCIDR");
    struct str two = value_str_at(node(s, "n2"), "spec.podCIDR");
    assert_true(str_eqc(one, "10.244.0.0/24"));
    assert_true(str_eqc(two, "10.244.1.0/24"));
    assert_true(str_eq(value_string(value_item(value_at(node(s, "n1"), "spec.podCIDRs"), 0)), one));
    sim_delete(s, "", "nodes", NULL, "n1", PROPAGATION_DEFAULT);
    sim_run(s, 1);
    sim_create(s, "kind: Node\napiVersion: v1\nmetadata: {name: n3}\n");
    sim_run(s, 1);
    assert_true(str_eqc(value_str_at(node(s, "n3"), "spec.podCIDR"), "10.244.2.0/24"));
}

static void test_cidrs_run_out(void **state)
{
    (void)state;
    struct sim_options opt = {
        .controllers = {.pod_cidr = STR("10.0.0.0/25"), .node_cidr_bits = 26}};
    struct sim *s = sim_new(&opt);
    sim_create(s, "kind: Node\napiVersion: v1\nmetadata: {name: a}\n");
    sim_create(s, "kind: Node\napiVersion: v1\nmetadata: {name: b}\n");
    sim_create(s, "kind: Node\napiVersion: v1\nmetadata: {name: c}\n");
    sim_run(s, 1);
    assert_null(value_at(node(s, "c"), "spec.podCIDR"));
    struct str message = sim_event(s, "default", "c", "CIDRNotAvailable");
    assert_true(str_eqc(message, "Node c status is now: CIDRNotAvailable"));
    sim_delete(s, "", "nodes", NULL, "a", PROPAGATION_DEFAULT);
    sim_run(s, 1);
    assert_true(str_eqc(value_str_at(node(s, "c"), "spec.podCIDR"), "10.0.0.0/26"));
    sim_free(s);
}

static void test_pods_of_a_gone_node(void **state)
{
    struct sim *s = *state;
    pod(s, "p", "n1", "");
    sim_run(s, 3);
    sim_node_silence(s, "n1", true);
    sim_delete(s, "", "nodes", NULL, "n1", PROPAGATION_DEFAULT);
    sim_run(s, 30);
    assert_non_null(sim_get(s, "", "pods", "default", "p"));
    sim_run(s, 15);
    assert_null(sim_get(s, "", "pods", "default", "p"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_silent_node),
        SIM(test_return_in_time_saves_pods),
        SIM(test_no_execute_by_hand),
        SIM(test_cordon_is_a_taint),
        SIM(test_cidrs),
        cmocka_unit_test(test_cidrs_run_out),
        SIM(test_pods_of_a_gone_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
