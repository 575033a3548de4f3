// ReplicationControllers: the same engine as ReplicaSets, with a plain selector.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static const char rc[] =
    "kind: ReplicationController\napiVersion: v1\nmetadata: {name: rc}\nspec: {replicas: 3, "
    "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i}]}}}\n";

static struct value *controller(struct sim *s)
{
    return sim_get(s, "", "replicationcontrollers", "default", "rc");
}

static void expect_ready(struct sim *s, int64_t n)
{
    struct value *v = controller(s);
    assert_int_equal(value_int_at(v, "status.replicas", 0), n);
    assert_int_equal(value_int_at(v, "status.readyReplicas", 0), n);
    assert_int_equal(value_int_at(v, "status.availableReplicas", 0), n);
    assert_int_equal(value_int_at(v, "status.fullyLabeledReplicas", 0), n);
    assert_int_equal(value_int_at(v, "status.observedGeneration", 0),
                     value_int_at(v, "metadata.generation", 1));
}

static void test_counts_and_scales(void **state)
{
    struct sim *s = *state;
    sim_create(s, rc);
    sim_run(s, 3);
    expect_ready(s, 3);
    struct value *pod = value_item(sim_list(s, "", "pods", "default", "app=a"), 0);
    struct value *owner = value_item(value_at(pod, "metadata.ownerReferences"), 0);
    assert_true(str_eqc(value_str_at(owner, "kind"), "ReplicationController"));
    assert_true(str_eqc(value_str_at(owner, "apiVersion"), "v1"));
    assert_true(value_bool_at(owner, "controller", false));
    sim_patch(s, "", "replicationcontrollers", "default", "rc", "spec: {replicas: 1}");
    sim_run(s, 5);
    expect_ready(s, 1);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 1);
    // Nothing changes, nothing is written but leases and the node's status.
    uint64_t before = store_revision(s->store);
    sim_run(s, 9);
    assert_true(store_revision(s->store) - before <= 2);
}

static void test_adopts_and_releases(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: Pod\napiVersion: v1\nmetadata: {name: before, labels: {app: a}}\nspec: "
                  "{containers: [{name: c, image: i}]}\n");
    sim_create(s, rc);
    sim_run(s, 3);
    expect_ready(s, 3);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3);
    struct value *pod = sim_get(s, "", "pods", "default", "before");
    assert_int_equal(value_len(value_at(pod, "metadata.ownerReferences")), 1);
    sim_patch(s, "", "pods", "default", "before", "metadata: {labels: {app: b}}");
    sim_run(s, 3);
    pod = sim_get(s, "", "pods", "default", "before");
    assert_int_equal(value_len(value_at(pod, "metadata.ownerReferences")), 0);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 3);
}

static void test_failure_is_a_condition(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: ReplicationController\napiVersion: v1\nmetadata: {name: rc}\nspec: "
                  "{replicas: 2, template: {metadata: {labels: {app: a}}, spec: "
                  "{serviceAccountName: nobody, containers: [{name: c, image: i}]}}}\n");
    sim_run(s, 2);
    struct value *c = value_item(value_at(controller(s), "status.conditions"), 0);
    assert_true(str_eqc(value_str_at(c, "type"), "ReplicaFailure"));
    assert_true(str_eqc(value_str_at(c, "reason"), "FailedCreate"));
    sim_create(s, "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: nobody}\n");
    sim_run(s, 30);
    expect_ready(s, 2);
    assert_int_equal(value_len(value_at(controller(s), "status.conditions")), 0);
}

static void test_deleted_with_its_pods_or_without(void **state)
{
    struct sim *s = *state;
    sim_create(s, rc);
    sim_run(s, 3);
    sim_delete(s, "", "replicationcontrollers", "default", "rc", PROPAGATION_ORPHAN);
    sim_run(s, 3);
    assert_null(controller(s));
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 3);
    sim_create(s, rc);
    sim_run(s, 3);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 3); // adopted
    sim_delete(s, "", "replicationcontrollers", "default", "rc", PROPAGATION_BACKGROUND);
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_counts_and_scales),
        SIM(test_adopts_and_releases),
        SIM(test_failure_is_a_condition),
        SIM(test_deleted_with_its_pods_or_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
