// DaemonSets: one pod on every node that fits, as nodes come, change and go; updates.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    sim_node(s, "n3", NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void daemon_set(struct sim *s, const char *pod_spec, const char *more)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kind: DaemonSet\napiVersion: apps/v1\nmetadata: {name: d}\nspec: {selector: "
             "{matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: "
             "[{name: c, image: 'd:1'}]%s}}%s}\n",
             pod_spec, more);
    sim_create(s, yaml);
}

static struct value *set(struct sim *s)
{
    return sim_get(s, "apps", "daemonsets", "default", "d");
}

static bool rolled_out(struct sim *s, const void *arg)
{
    struct value *v = set(s);
    int64_t want = value_int_at(v, "status.desiredNumberScheduled", -1);
    (void)arg;
    return value_int_at(v, "status.observedGeneration", 0) ==
               value_int_at(v, "metadata.generation", 1) &&
           value_int_at(v, "status.updatedNumberScheduled", 0) == want &&
           value_int_at(v, "status.numberAvailable", 0) == want;
}

// How many pods, not leaving, a node has.
static size_t on_node(struct sim *s, const char *node)
{
    size_t n = 0;
    value_each_item (sim_list(s, "", "pods", "default", "app=d"), p)
        n += str_eqc(value_str_at(p, "spec.nodeName"), node) &&
             !value_at(p, "metadata.deletionTimestamp");
    return n;
}

static void test_one_on_every_node(void **state)
{
    struct sim *s = *state;
    daemon_set(s, "", "");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3);
    assert_int_equal(on_node(s, "n2"), 1);
    assert_int_equal(value_int_at(set(s), "status.numberReady", 0), 3);
    assert_int_equal(value_int_at(set(s), "status.currentNumberScheduled", 0), 3);
    uint64_t before = store_revision(s->store);
    sim_run(s, 8);
    assert_true(store_revision(s->store) - before <= 4); // leases
    sim_node(s, "n4", NULL);
    sim_run(s, 3);
    assert_int_equal(on_node(s, "n4"), 1);
    assert_int_equal(value_int_at(set(s), "status.desiredNumberScheduled", 0), 4);
    // A cordoned node keeps its pod, and gets one back.
    sim_patch(s, "", "nodes", NULL, "n2", "spec: {unschedulable: true}");
    sim_run(s, 1);
    assert_int_equal(on_node(s, "n2"), 1);
    sim_delete(s, "apps", "daemonsets", "default", "d", PROPAGATION_FOREGROUND);
    sim_run(s, 10);
    assert_null(set(s));
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
}

static void test_follows_labels_and_taints(void **state)
{
    struct sim *s = *state;
    daemon_set(s, ", nodeSelector: {disk: fast}", "");
    sim_run(s, 3);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 0);
    sim_patch(s, "", "nodes", NULL, "n1", "metadata: {labels: {disk: fast}}");
    sim_patch(s, "", "nodes", NULL, "n2", "metadata: {labels: {disk: fast}}");
    assert_true(sim_until(s, 20, rolled_out, NULL));
    assert_int_equal(on_node(s, "n1") + on_node(s, "n2"), 2);
    sim_patch(s, "", "nodes", NULL, "n1", "metadata: {labels: {disk: slow}}");
    sim_run(s, 3);
    assert_int_equal(on_node(s, "n1"), 0);
    // NoSchedule: the pod that is there may stay, but counts as misplaced.
    sim_patch(s, "", "nodes", NULL, "n2", "spec: {taints: [{key: k, effect: NoSchedule}]}");
    sim_run(s, 3);
    assert_int_equal(on_node(s, "n2"), 1);
    assert_int_equal(value_int_at(set(s), "status.numberMisscheduled", 0), 1);
    assert_int_equal(value_int_at(set(s), "status.desiredNumberScheduled", -1), 0);
    sim_patch(s, "", "nodes", NULL, "n2", "spec: {taints: [{key: k, effect: NoExecute}]}");
    sim_run(s, 3);
    assert_int_equal(on_node(s, "n2"), 0);
}

static void set_image(struct sim *s, const char *image)
{
    char yaml[128];
    snprintf(yaml, sizeof yaml,
             "spec: {template: {spec: {containers: [{name: c, image: '%s'}]}}}\n", image);
    sim_patch(s, "apps", "daemonsets", "default", "d", yaml);
}

struct limits {
    size_t least_ready, most_pods;
};

static bool within(struct sim *s, const void *arg)
{
    const struct limits *l = arg;
    size_t ready = 0, pods = 0;
    value_each_item (sim_list(s, "", "pods", "default", "app=d"), p) {
        if (value_at(p, "metadata.deletionTimestamp"))
            continue;
        pods++;
        value_each_item (value_at(p, "status.conditions"), c)
            ready += str_eqc(value_str_at(c, "type"), "Ready") &&
                     str_eqc(value_str_at(c, "status"), "True");
    }
    if (ready < l->least_ready || pods > l->most_pods)
        fail_msg("%zu ready of %zu pods", ready, pods);
    return rolled_out(s, NULL);
}

static void test_updates_one_node_at_a_time(void **state)
{
    struct sim *s = *state;
    daemon_set(s, "", "");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    set_image(s, "d:2");
    assert_true(sim_until(s, 60, within, &(struct limits){2, 3}));
    assert_int_equal(sim_count(s, "apps", "controllerrevisions", "default", NULL), 2);
    value_each_item (sim_list(s, "", "pods", "default", "app=d"), p) {
        if (!value_at(p, "metadata.deletionTimestamp"))
            assert_true(str_eqc(
                value_str_at(value_item(value_at(p, "spec.containers"), 0), "image"), "d:2"));
    }
}

static void test_updates_with_surge(void **state)
{
    struct sim *s = *state;
    daemon_set(s, "", ", updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    set_image(s, "d:2");
    assert_true(sim_until(s, 60, within, &(struct limits){3, 4}));
}

static bool not_two(struct sim *s, const struct value *p)
{
    (void)s;
    return !str_eqc(value_str_at(value_item(value_at(p, "spec.containers"), 0), "image"), "d:2");
}

static void test_a_bad_update_stops_and_is_undone(void **state)
{
    struct sim *s = *state;
    s->starts = not_two;
    daemon_set(s, "", "");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    set_image(s, "d:2");
    sim_run(s, 30);
    assert_int_equal(value_int_at(set(s), "status.numberAvailable", 0), 2);
    assert_int_equal(value_int_at(set(s), "status.numberUnavailable", 0), 1);
    set_image(s, "d:1"); // the two that were never touched stay
    assert_true(sim_until(s, 30, rolled_out, NULL));
    assert_int_equal(sim_count(s, "apps", "controllerrevisions", "default", NULL), 2);
}

static void test_on_delete(void **state)
{
    struct sim *s = *state;
    daemon_set(s, "", ", updateStrategy: {type: OnDelete}");
    sim_run(s, 5);
    set_image(s, "d:2");
    sim_run(s, 10);
    assert_int_equal(value_int_at(set(s), "status.updatedNumberScheduled", 0), 0);
    assert_int_equal(value_int_at(set(s), "status.numberAvailable", 0), 3);
}

static void test_a_failed_pod_is_replaced(void **state)
{
    struct sim *s = *state;
    daemon_set(s, "", "");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    sim_run(s, 15);
    struct value *p = value_item(sim_list(s, "", "pods", "default", NULL), 0), *patch;
    char *name = arena_cstr(&s->arena, value_str_at(p, "metadata.name"));
    patch = value_object(&s->arena);
    value_set_at(&s->arena, patch, "status.phase", value_strc(&s->arena, "Failed"));
    assert_int_equal(client_patch(s->client, KIND("", "pods"), STR("default"), str_of(name),
                                  STR("status"), PATCH_TYPE_MERGE, patch, NULL, NULL),
                     0);
    sim_run(s, 5);
    assert_null(sim_get(s, "", "pods", "default", name));
    assert_true(sim_until(s, 20, rolled_out, NULL));
    assert_true(
        str_find(sim_event(s, "default", "d", "FailedDaemonPod"), STR("will try to kill it")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_one_on_every_node),
        SIM(test_follows_labels_and_taints),
        SIM(test_updates_one_node_at_a_time),
        SIM(test_updates_with_surge),
        SIM(test_a_bad_update_stops_and_is_undone),
        SIM(test_on_delete),
        SIM(test_a_failed_pod_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
