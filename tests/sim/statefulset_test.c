// StatefulSets: order, names, storage, rolling updates and their history.
#include "sim/sim.h"

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", "{cpu: '64', memory: 256Gi, pods: '500'}");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void web(struct sim *s, const char *more)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kind: StatefulSet\napiVersion: apps/v1\nmetadata: {name: web}\nspec: {replicas: 3, "
             "serviceName: web, selector: {matchLabels: {app: web}}, template: {metadata: {labels: "
             "{app: web}}, spec: {containers: [{name: c, image: 'web:1'}]}}%s}\n",
             more);
    sim_create(s, yaml);
}

static struct value *set(struct sim *s)
{
    return sim_get(s, "apps", "statefulsets", "default", "web");
}

// What kubectl rollout status looks at.
static bool rolled_out(struct sim *s, const void *arg)
{
    struct value *v = set(s);
    int64_t want = value_int_at(v, "spec.replicas", 1);
    (void)arg;
    return value_int_at(v, "status.observedGeneration", 0) ==
               value_int_at(v, "metadata.generation", 1) &&
           value_int_at(v, "status.readyReplicas", 0) == want &&
           value_int_at(v, "status.replicas", 0) == want &&
           value_int_at(v, "status.updatedReplicas", 0) == want &&
           str_eq(value_str_at(v, "status.currentRevision"),
                  value_str_at(v, "status.updateRevision"));
}

static struct value *pod(struct sim *s, int ordinal)
{
    char name[32];
    snprintf(name, sizeof name, "web-%d", ordinal);
    return sim_get(s, "", "pods", "default", name);
}

static bool ready(const struct value *p)
{
    value_each_item (value_at(p, "status.conditions"), c) {
        if (str_eqc(value_str_at(c, "type"), "Ready"))
            return str_eqc(value_str_at(c, "status"), "True");
    }
    return false;
}

static bool image_is(const struct value *p, const char *image)
{
    return str_eqc(value_str_at(value_item(value_at(p, "spec.containers"), 0), "image"), image);
}

// No pod is there unless all below it are ready; never two are leaving.
static bool in_order(struct sim *s, const void *arg)
{
    bool below = true;
    size_t leaving = 0;
    for (int i = 0; i < 8; i++) {
        struct value *p = pod(s, i);
        if (p && !below && !ready(p))
            fail_msg("web-%d is made before those below it are ready", i);
        leaving += value_at(p, "metadata.deletionTimestamp") != NULL;
        below = below && ready(p);
    }
    if (leaving > 1)
        fail_msg("%zu are leaving at once", leaving);
    return rolled_out(s, arg);
}

static void set_image(struct sim *s, const char *image)
{
    char yaml[128];
    snprintf(yaml, sizeof yaml,
             "spec: {template: {spec: {containers: [{name: c, image: '%s'}]}}}\n", image);
    sim_patch(s, "apps", "statefulsets", "default", "web", yaml);
}

static void test_comes_up_in_order(void **state)
{
    struct sim *s = *state;
    web(s, "");
    assert_true(sim_until(s, 60, in_order, NULL));
    struct value *p = pod(s, 2);
    assert_true(str_eqc(value_str_at(p, "spec.hostname"), "web-2"));
    assert_true(str_eqc(value_str_at(p, "spec.subdomain"), "web"));
    const struct value *labels = value_at(p, "metadata.labels");
    assert_true(str_eqc(value_string(value_get(labels, STR("statefulset.kubernetes.io/pod-name"))),
                        "web-2"));
    assert_true(str_eqc(value_string(value_get(labels, STR("apps.kubernetes.io/pod-index"))), "2"));
    assert_true(str_eq(value_string(value_getc(labels, "controller-revision-hash")),
                       value_str_at(set(s), "status.updateRevision")));
    assert_int_equal(value_int_at(set(s), "status.availableReplicas", 0), 3);
    assert_true(str_eqc(sim_event(s, "default", "web", "SuccessfulCreate"),
                        "create Pod web-2 in StatefulSet web successful"));
    uint64_t before = store_revision(s->store);
    sim_run(s, 8);
    assert_true(store_revision(s->store) - before <= 2); // the lease
    // And down again, from the top.
    sim_patch(s, "apps", "statefulsets", "default", "web", "spec: {replicas: 1}");
    assert_true(sim_until(s, 60, in_order, NULL));
    assert_non_null(pod(s, 0));
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 1);
    // A pod that is lost comes back under its name.
    sim_delete(s, "", "pods", "default", "web-0", PROPAGATION_DEFAULT);
    sim_run(s, 5);
    assert_true(sim_until(s, 60, in_order, NULL));
}

static bool only_first(struct sim *s, const struct value *p)
{
    (void)s;
    return str_eqc(value_str_at(p, "metadata.name"), "web-0");
}

static void test_waits_for_the_lower_one(void **state)
{
    struct sim *s = *state;
    s->starts = only_first;
    web(s, "");
    sim_run(s, 30);
    assert_non_null(pod(s, 1));
    assert_null(pod(s, 2));
    assert_int_equal(value_int_at(set(s), "status.readyReplicas", 0), 1);
}

static void test_parallel_does_not_wait(void **state)
{
    struct sim *s = *state;
    s->starts = only_first;
    web(s, ", podManagementPolicy: Parallel, ordinals: {start: 4}");
    sim_run(s, 5);
    assert_non_null(pod(s, 4));
    assert_non_null(pod(s, 5));
    assert_non_null(pod(s, 6));
    assert_null(pod(s, 0));
}

static void test_rolls_from_the_top(void **state)
{
    struct sim *s = *state;
    web(s, "");
    assert_true(sim_until(s, 60, in_order, NULL));
    // Up to the partition only.
    sim_patch(s, "apps", "statefulsets", "default", "web",
              "spec: {updateStrategy: {rollingUpdate: {partition: 2}}}");
    set_image(s, "web:2");
    sim_run(s, 20);
    assert_true(image_is(pod(s, 2), "web:2"));
    assert_true(image_is(pod(s, 1), "web:1"));
    struct value *v = set(s);
    assert_int_equal(value_int_at(v, "status.updatedReplicas", 0), 1);
    assert_int_equal(value_int_at(v, "status.currentReplicas", 0), 2);
    assert_false(str_eq(value_str_at(v, "status.currentRevision"),
                        value_str_at(v, "status.updateRevision")));
    // One below the partition that is lost comes back as it was.
    sim_delete(s, "", "pods", "default", "web-0", PROPAGATION_DEFAULT);
    sim_run(s, 10);
    assert_true(image_is(pod(s, 0), "web:1"));
    sim_patch(s, "apps", "statefulsets", "default", "web",
              "spec: {updateStrategy: {rollingUpdate: {partition: 0}}}");
    assert_true(sim_until(s, 60, in_order, NULL));
    for (int i = 0; i < 3; i++)
        assert_true(image_is(pod(s, i), "web:2"));
    assert_int_equal(sim_count(s, "apps", "controllerrevisions", "default", NULL), 2);
    // As kubectl rollout undo does: the old template comes back, its revision gets a new number.
    set_image(s, "web:1");
    sim_run(s, 1);
    assert_true(sim_until(s, 60, in_order, NULL));
    struct value *list = sim_list(s, "apps", "controllerrevisions", "default", NULL);
    assert_int_equal(value_len(list), 2);
    int64_t highest = 0;
    value_each_item (list, r) {
        int64_t n = value_int_at(r, "revision", 0);
        highest = n > highest ? n : highest;
        assert_true(str_eqc(value_str_at(r, "data.spec.template.$patch"), "replace"));
    }
    assert_int_equal(highest, 3);
}

static void test_history_limit(void **state)
{
    struct sim *s = *state;
    web(s, ", revisionHistoryLimit: 1");
    for (int i = 1; i <= 4; i++) {
        char image[16];
        snprintf(image, sizeof image, "web:%d", i);
        set_image(s, image);
        sim_run(s, 1);
        assert_true(sim_until(s, 60, rolled_out, NULL));
    }
    sim_run(s, 2);
    assert_int_equal(sim_count(s, "apps", "controllerrevisions", "default", NULL), 2);
}

static void test_on_delete(void **state)
{
    struct sim *s = *state;
    web(s, ", updateStrategy: {type: OnDelete}");
    assert_true(sim_until(s, 60, in_order, NULL));
    set_image(s, "web:2");
    sim_run(s, 20);
    assert_true(image_is(pod(s, 2), "web:1"));
    sim_delete(s, "", "pods", "default", "web-1", PROPAGATION_DEFAULT);
    sim_run(s, 10);
    assert_true(image_is(pod(s, 1), "web:2"));
    assert_true(image_is(pod(s, 0), "web:1"));
}

#define STORAGE                                                                                    \
    ", volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], "      \
    "resources: {requests: {storage: 1Gi}}}}]"

static struct value *claim(struct sim *s, int ordinal)
{
    char name[32];
    snprintf(name, sizeof name, "data-web-%d", ordinal);
    return sim_get(s, "", "persistentvolumeclaims", "default", name);
}

// Case statefulset-mounts-claim-template: the template need not declare the volume.
static void test_claims(void **state)
{
    struct sim *s = *state;
    web(s, STORAGE ", podManagementPolicy: Parallel");
    sim_run(s, 3);
    for (int i = 0; i < 3; i++) {
        struct value *c = claim(s, i);
        assert_non_null(c);
        assert_true(str_eqc(value_str_at(c, "metadata.labels.app"), "web"));
        assert_null(value_at(c, "metadata.ownerReferences"));
        struct value *volume = value_item(value_at(pod(s, i), "spec.volumes"), 0);
        assert_true(str_eqc(value_str_at(volume, "name"), "data"));
        assert_true(str_eq(value_str_at(volume, "persistentVolumeClaim.claimName"),
                           value_str_at(c, "metadata.name")));
    }
    // Scaled away, the storage stays; told to go, it goes with the pod.
    sim_patch(s, "apps", "statefulsets", "default", "web", "spec: {replicas: 2}");
    sim_run(s, 5);
    assert_non_null(claim(s, 2));
    sim_patch(s, "apps", "statefulsets", "default", "web",
              "spec: {replicas: 1, persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, "
              "whenDeleted: Delete}}");
    sim_run(s, 5);
    assert_null(claim(s, 1));
    assert_non_null(claim(s, 0));
    struct value *owner = value_item(value_at(claim(s, 0), "metadata.ownerReferences"), 0);
    assert_true(str_eqc(value_str_at(owner, "kind"), "StatefulSet"));
    sim_delete(s, "apps", "statefulsets", "default", "web", PROPAGATION_BACKGROUND);
    sim_run(s, 5);
    assert_null(claim(s, 0));
    assert_non_null(claim(s, 2));
}

static void test_any_number_of_replicas_costs_little(void **state)
{
    struct sim *s = *state;
    s->starts = only_first;
    web(s, "");
    sim_patch(s, "apps", "statefulsets", "default", "web", "spec: {replicas: 2147483647}");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_comes_up_in_order),
        SIM(test_waits_for_the_lower_one),
        SIM(test_parallel_does_not_wait),
        SIM(test_rolls_from_the_top),
        SIM(test_history_limit),
        SIM(test_on_delete),
        SIM(test_claims),
        SIM(test_any_number_of_replicas_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
