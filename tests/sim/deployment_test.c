// Deployments from creation through rolling updates, undo, scaling, pausing, failure and deletion,
// with the whole control plane and hollow nodes.
#include "sim/sim.h"

static const char web[] = "apiVersion: apps/v1\n"
                          "kind: Deployment\n"
                          "metadata: {name: web, namespace: default}\n"
                          "spec:\n"
                          "  replicas: 3\n"
                          "  selector: {matchLabels: {app: web}}\n"
                          "  template:\n"
                          "    metadata: {labels: {app: web}}\n"
                          "    spec: {containers: [{name: c, image: 'web:1'}]}\n";

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static struct value *deployment(struct sim *s)
{
    return sim_get(s, "apps", "deployments", "default", "web");
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

// What kubectl rollout status looks at.
static bool rolled_out(struct sim *s, const void *arg)
{
    struct value *d = deployment(s);
    int64_t want = value_int_at(d, "spec.replicas", 1);
    (void)arg;
    return value_int_at(d, "status.observedGeneration", 0) >=
               value_int_at(d, "metadata.generation", 1) &&
           value_int_at(d, "status.updatedReplicas", 0) == want &&
           value_int_at(d, "status.replicas", 0) == want &&
           value_int_at(d, "status.availableReplicas", 0) == want;
}

static void assert_text(const struct value *v, const char *path, const char *text)
{
    struct str have = value_str_at(v, path);
    if (!str_eqc(have, text))
        fail_msg("%s is \"%.*s\", not \"%s\"", path, STR_ARG(have), text);
}

static void assert_condition(struct sim *s, const char *type, const char *status,
                             const char *reason)
{
    struct value *c = condition(deployment(s), type);
    assert_non_null(c);
    assert_text(c, "status", status);
    assert_text(c, "reason", reason);
}

static void roll_out(struct sim *s)
{
    sim_create(s, web);
    assert_true(sim_until(s, 30, rolled_out, NULL));
}

static void set_image(struct sim *s, const char *image)
{
    char yaml[256];
    snprintf(yaml, sizeof yaml,
             "spec: {template: {spec: {containers: [{name: c, image: '%s'}]}}}\n", image);
    sim_patch(s, "apps", "deployments", "default", "web", yaml);
}

static void test_creates(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    struct value *d = deployment(s);
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 1);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=web,pod-template-hash"), 3);
    assert_int_equal(value_int_at(d, "status.readyReplicas", 0), 3);
    assert_null(value_at(d, "status.unavailableReplicas"));
    struct str revision = value_string(
        value_get(value_at(d, "metadata.annotations"), STR("deployment.kubernetes.io/revision")));
    assert_true(str_eqc(revision, "1"));
    assert_condition(s, "Available", "True", "MinimumReplicasAvailable");
    assert_condition(s, "Progressing", "True", "NewReplicaSetAvailable");
    struct value *set = value_item(sim_list(s, "apps", "replicasets", "default", NULL), 0);
    struct str name = value_str_at(set, "metadata.name");
    assert_true(str_starts(name, STR("web-")));
    struct str message = sim_event(s, "default", "web", "ScalingReplicaSet");
    char want[128];
    snprintf(want, sizeof want, "Scaled up replica set %.*s from 0 to 3", STR_ARG(name));
    assert_true(str_eqc(message, want));
    // Spread over both nodes.
    struct value *pods = sim_list(s, "", "pods", "default", NULL);
    unsigned on_n1 = 0;
    value_each_item (pods, p)
        on_n1 += str_eqc(value_str_at(p, "spec.nodeName"), "n1");
    assert_in_range(on_n1, 1, 2);
}

static void test_settles(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    sim_run(s, 5);
    uint64_t revision = store_revision(s->store);
    sim_run(s, 8); // no lease is due
    assert_true(store_revision(s->store) - revision <= 2);
    sim_run(s, 60);
    // Leases only: two nodes, six or seven times.
    assert_true(store_revision(s->store) - revision <= 16);
}

struct bounds {
    int64_t least_available, most_pods;
};

static bool within(struct sim *s, const void *arg)
{
    const struct bounds *b = arg;
    int64_t ready = 0, pods = 0;
    struct value *list = sim_list(s, "", "pods", "default", "app=web");
    value_each_item (list, p) {
        if (value_at(p, "metadata.deletionTimestamp"))
            continue;
        pods++;
        ready += str_eqc(value_str_at(condition(p, "Ready"), "status"), "True");
    }
    if (ready < b->least_available)
        fail_msg("%lld available, at least %lld promised", (long long)ready,
                 (long long)b->least_available);
    if (pods > b->most_pods)
        fail_msg("%lld pods, at most %lld promised", (long long)pods, (long long)b->most_pods);
    return rolled_out(s, NULL);
}

static void test_rolls_within_bounds(void **state)
{
    struct sim *s = *state;
    sim_create(s, web);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {replicas: 10}");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    // 25 % of 10: surge 3 (up), unavailable 2 (down).
    struct bounds b = {8, 13};
    set_image(s, "web:2");
    assert_true(sim_until(s, 120, within, &b));
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 2);
    struct value *pods = sim_list(s, "", "pods", "default", "app=web");
    value_each_item (pods, p) {
        if (!value_at(p, "metadata.deletionTimestamp"))
            assert_text(value_item(value_at(p, "spec.containers"), 0), "image", "web:2");
    }
}

static void test_undo_returns_to_the_old_set(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    struct str first = value_str_at(
        value_item(sim_list(s, "apps", "replicasets", "default", NULL), 0), "metadata.name");
    set_image(s, "web:2");
    assert_true(sim_until(s, 60, rolled_out, NULL));
    set_image(s, "web:1"); // as kubectl rollout undo does
    assert_true(sim_until(s, 60, rolled_out, NULL));
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 2);
    char name[128];
    snprintf(name, sizeof name, "%.*s", STR_ARG(first));
    struct value *set = sim_get(s, "apps", "replicasets", "default", name);
    assert_int_equal(value_int_at(set, "status.replicas", 0), 3);
    const struct value *annotations = value_at(set, "metadata.annotations");
    assert_true(str_eqc(
        value_string(value_get(annotations, STR("deployment.kubernetes.io/revision"))), "3"));
    assert_true(str_eqc(
        value_string(value_get(annotations, STR("deployment.kubernetes.io/revision-history"))),
        "1"));
}

static void test_history_limit(void **state)
{
    struct sim *s = *state;
    sim_create(s, web);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {revisionHistoryLimit: 1}");
    for (int i = 1; i <= 4; i++) {
        char image[16];
        snprintf(image, sizeof image, "web:%d", i);
        set_image(s, image);
        assert_true(sim_until(s, 60, rolled_out, NULL));
        sim_run(s, 2);
    }
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 2);
}

static bool no_old_and_new(struct sim *s, const void *arg)
{
    bool old = false, new = false;
    struct value *list = sim_list(s, "", "pods", "default", "app=web");
    (void)arg;
    value_each_item (list, p) {
        struct str image = value_str_at(value_item(value_at(p, "spec.containers"), 0), "image");
        old = old || str_eqc(image, "web:1");
        new = new || str_eqc(image, "web:2");
    }
    if (old && new)
        fail_msg("old and new pods at the same time");
    return new &&rolled_out(s, NULL);
}

static void test_recreate(void **state)
{
    struct sim *s = *state;
    sim_create(s, web);
    sim_patch(s, "apps", "deployments", "default", "web",
              "spec: {strategy: {type: Recreate, rollingUpdate: null}}");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    set_image(s, "web:2");
    assert_true(sim_until(s, 60, no_old_and_new, NULL));
}

static bool never_ready(struct sim *s, const struct value *pod)
{
    (void)s;
    return !str_eqc(value_str_at(value_item(value_at(pod, "spec.containers"), 0), "image"),
                    "bad:1");
}

static bool deadline_exceeded(struct sim *s, const void *arg)
{
    (void)arg;
    return str_eqc(value_str_at(condition(deployment(s), "Progressing"), "reason"),
                   "ProgressDeadlineExceeded");
}

static void test_stuck_rollout_keeps_the_old(void **state)
{
    struct sim *s = *state;
    s->starts = never_ready;
    roll_out(s);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {progressDeadlineSeconds: 30}");
    set_image(s, "bad:1");
    assert_true(sim_until(s, 60, deadline_exceeded, NULL));
    struct value *c = condition(deployment(s), "Progressing");
    assert_text(c, "status", "False");
    assert_true(str_ends(value_str_at(c, "message"), STR("has timed out progressing.")));
    assert_int_equal(value_int_at(deployment(s), "status.availableReplicas", 0), 3);
    set_image(s, "web:3"); // rollover
    assert_true(sim_until(s, 60, rolled_out, NULL));
    assert_condition(s, "Progressing", "True", "NewReplicaSetAvailable");
}

static void test_paused_does_not_roll(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {paused: true}");
    set_image(s, "web:2");
    sim_run(s, 10);
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 1);
    assert_condition(s, "Progressing", "Unknown", "DeploymentPaused");
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {replicas: 5}");
    sim_run(s, 10);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=web"), 5); // scaling works
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {paused: false}");
    assert_true(sim_until(s, 60, rolled_out, NULL));
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 2);
}

static bool saw_both(struct sim *s, const void *arg)
{
    struct value *d = deployment(s);
    (void)arg;
    return value_int_at(d, "status.updatedReplicas", 0) >= 3;
}

static void test_scales_in_proportion(void **state)
{
    struct sim *s = *state;
    s->starts = never_ready;
    sim_create(s, web);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {replicas: 10}");
    assert_true(sim_until(s, 30, rolled_out, NULL));
    set_image(s, "bad:1"); // stops at 8 old, 5 new
    assert_true(sim_until(s, 30, saw_both, NULL));
    sim_run(s, 5);
    sim_patch(s, "apps", "deployments", "default", "web", "spec: {replicas: 30}");
    sim_run(s, 10);
    // 13 stood for 10 and surge 3; 38 are allowed for 30 and 8: old 8 * 38 / 13 = 23, new 5 -> 15.
    int64_t sizes[2] = {0, 0};
    struct value *sets = sim_list(s, "apps", "replicasets", "default", NULL);
    value_each_item (sets, set) {
        struct str image =
            value_str_at(value_item(value_at(set, "spec.template.spec.containers"), 0), "image");
        sizes[str_eqc(image, "bad:1")] = value_int_at(set, "spec.replicas", 0);
    }
    assert_int_equal(sizes[0] + sizes[1], 38);
    assert_int_equal(sizes[0], 23);
    assert_int_equal(sizes[1], 15);
}

static bool all_gone(struct sim *s, const void *arg)
{
    (void)arg;
    return sim_count(s, "", "pods", "default", NULL) == 0 &&
           sim_count(s, "apps", "replicasets", "default", NULL) == 0 && !deployment(s);
}

static void test_delete_background_and_foreground(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    sim_delete(s, "apps", "deployments", "default", "web", PROPAGATION_BACKGROUND);
    assert_null(deployment(s));
    assert_true(sim_until(s, 20, all_gone, NULL));
    roll_out(s);
    sim_delete(s, "apps", "deployments", "default", "web", PROPAGATION_FOREGROUND);
    assert_non_null(deployment(s)); // stays until its dependents are gone
    assert_true(sim_until(s, 20, all_gone, NULL));
}

static void test_orphan_and_adoption(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    sim_delete(s, "apps", "deployments", "default", "web", PROPAGATION_ORPHAN);
    sim_run(s, 5);
    assert_null(deployment(s));
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3);
    struct value *set = value_item(sim_list(s, "apps", "replicasets", "default", NULL), 0);
    assert_int_equal(value_len(value_at(set, "metadata.ownerReferences")), 0);
    // A new deployment of the same template takes the set over, pods and all.
    roll_out(s);
    assert_int_equal(sim_count(s, "apps", "replicasets", "default", NULL), 1);
    assert_int_equal(sim_count(s, "", "pods", "default", NULL), 3);
}

static bool replaced(struct sim *s, const void *arg)
{
    (void)arg;
    return sim_count(s, "", "pods", "default", "app=web") == 3 && rolled_out(s, NULL);
}

static void test_released_pod_is_replaced(void **state)
{
    struct sim *s = *state;
    roll_out(s);
    struct str name =
        value_str_at(value_item(sim_list(s, "", "pods", "default", NULL), 0), "metadata.name");
    char pod[128];
    snprintf(pod, sizeof pod, "%.*s", STR_ARG(name));
    sim_patch(s, "", "pods", "default", pod, "metadata: {labels: {app: other}}");
    assert_true(sim_until(s, 20, replaced, NULL));
    struct value *released = sim_get(s, "", "pods", "default", pod);
    assert_int_equal(value_len(value_at(released, "metadata.ownerReferences")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_creates),
        SIM(test_settles),
        SIM(test_rolls_within_bounds),
        SIM(test_undo_returns_to_the_old_set),
        SIM(test_history_limit),
        SIM(test_recreate),
        SIM(test_stuck_rollout_keeps_the_old),
        SIM(test_paused_does_not_roll),
        SIM(test_scales_in_proportion),
        SIM(test_delete_background_and_foreground),
        SIM(test_orphan_and_adoption),
        SIM(test_released_pod_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
