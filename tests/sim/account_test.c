// Token secrets, events, and ReplicaSets on their own.
#include "sim/sim.h"

static int setup(void **state)
{
    static const struct sim_options opt = {
        .pki = true, .controllers = {.root_ca_pem = {"CA", 2}, .pod_cidr = {"10.244.0.0/16", 13}}};
    struct sim *s = sim_new(&opt);
    sim_node(s, "n1", NULL);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static const char token_secret[] =
    "kind: Secret\napiVersion: v1\ntype: kubernetes.io/service-account-token\n"
    "metadata: {name: t, annotations: {kubernetes.io/service-account.name: robot}}\n";

static void test_token_secret(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: robot}\n");
    sim_create(s, token_secret);
    sim_run(s, 1);
    struct value *secret = sim_get(s, "", "secrets", "default", "t"),
                 *data = value_getc(secret, "data");
    assert_true(str_eqc(value_string(value_get(data, STR("ca.crt"))), "Q0E="));
    assert_true(str_eqc(value_string(value_getc(data, "namespace")), "ZGVmYXVsdA=="));
    struct str token = value_string(value_getc(data, "token"));
    assert_true(str_starts(token, STR("ZXlK"))); // base64 of a JWT's beginning, "eyJ"
    struct str uid =
        value_str_at(sim_get(s, "", "serviceaccounts", "default", "robot"), "metadata.uid");
    assert_true(str_eq(value_string(value_get(value_at(secret, "metadata.annotations"),
                                              STR("kubernetes.io/service-account.uid"))),
                       uid));
    uint64_t before = store_revision(s->store);
    sim_run(s, 5);
    assert_true(store_revision(s->store) - before <= 1); // filled once
    sim_delete(s, "", "serviceaccounts", "default", "robot", PROPAGATION_DEFAULT);
    sim_run(s, 1);
    assert_null(sim_get(s, "", "secrets", "default", "t"));
}

static void test_token_secret_of_nobody(void **state)
{
    struct sim *s = *state;
    sim_create(s, token_secret);
    sim_run(s, 1);
    assert_null(sim_get(s, "", "secrets", "default", "t"));
}

static size_t events(struct sim *s, const char *reason, int64_t *ret_count)
{
    struct value *list = sim_list(s, "", "events", "default", NULL);
    size_t n = 0;
    *ret_count = 0;
    value_each_item (list, ev) {
        if (!str_eqc(value_str_at(ev, "reason"), reason))
            continue;
        n++;
        *ret_count += value_int_at(ev, "count", 0);
    }
    return n;
}

static void test_equal_events_are_counted(void **state)
{
    struct sim *s = *state;
    int64_t count;
    struct event_recorder *r =
        event_recorder_new(s->client, s->executor, STR("tester"), STR("host-1"));
    _cleanup_object_ struct object *about = NULL;
    assert_int_equal(client_get(s->client, client_kind("", "serviceaccounts"), STR("default"),
                                STR("default"), &about, NULL),
                     0);
    for (int i = 0; i < 3; i++) {
        event_record(r, about, "Warning", "Same", "it happened to %s", "us");
        sim_run(s, 1);
    }
    assert_int_equal(events(s, "Same", &count), 1);
    assert_int_equal(count, 3);
    struct value *list = sim_list(s, "", "events", "default", NULL);
    value_each_item (list, ev) {
        if (!str_eqc(value_str_at(ev, "reason"), "Same"))
            continue;
        assert_true(str_eqc(value_str_at(ev, "message"), "it happened to us"));
        assert_true(str_eqc(value_str_at(ev, "type"), "Warning"));
        assert_true(str_eqc(value_str_at(ev, "source.component"), "tester"));
        assert_true(str_eqc(value_str_at(ev, "source.host"), "host-1"));
        assert_true(str_eqc(value_str_at(ev, "involvedObject.kind"), "ServiceAccount"));
        assert_false(str_eq(value_str_at(ev, "firstTimestamp"), value_str_at(ev, "lastTimestamp")));
    }
    sim_run(s, 700); // long after, it is another event
    event_record(r, about, "Warning", "Same", "it happened to %s", "us");
    sim_run(s, 1);
    assert_int_equal(events(s, "Same", &count), 2);
    // Twenty-five in a row (the four above have been refilled but for a part), then one in five
    // minutes.
    for (int i = 0; i < 60; i++)
        event_record(r, about, "Normal", "Many", "number %d", i);
    sim_run(s, 1);
    size_t first = events(s, "Many", &count);
    assert_in_range(first, 23, 25);
    sim_run(s, 301);
    event_record(r, about, "Normal", "Many", "late");
    event_record(r, about, "Normal", "Many", "too late");
    sim_run(s, 1);
    assert_int_equal(events(s, "Many", &count), first + 1);
    event_recorder_free(r);
}

static void replica_set(struct sim *s, int replicas, const char *more)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "kind: ReplicaSet\napiVersion: apps/v1\nmetadata: {name: rs}\nspec: {replicas: %d, "
             "selector: "
             "{matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: "
             "[{name: c, image: i%s}]}}}\n",
             replicas, more);
    sim_create(s, yaml);
}

static void test_replicaset_counts_and_scales(void **state)
{
    struct sim *s = *state;
    replica_set(s, 20, "");
    sim_run(s, 3);
    struct value *rs = sim_get(s, "apps", "replicasets", "default", "rs");
    assert_int_equal(value_int_at(rs, "status.replicas", 0), 20);
    assert_int_equal(value_int_at(rs, "status.readyReplicas", 0), 20);
    assert_int_equal(value_int_at(rs, "status.availableReplicas", 0), 20);
    assert_int_equal(value_int_at(rs, "status.fullyLabeledReplicas", 0), 20);
    assert_int_equal(value_int_at(rs, "status.observedGeneration", 0), 1);
    sim_patch(s, "apps", "replicasets", "default", "rs", "spec: {replicas: 5}");
    sim_run(s, 5);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), 5);
    int64_t count;
    events(s, "SuccessfulCreate", &count);
    assert_int_equal(count, 20); // exactly as many as were needed, though the cache lags
}

static bool only_even(struct sim *s, const struct value *pod)
{
    struct str name = value_str_at(pod, "metadata.name");
    (void)s;
    return name.p[name.n - 1] % 2 == 0;
}

static void test_unready_pods_go_first(void **state)
{
    struct sim *s = *state;
    s->starts = only_even;
    replica_set(s, 12, "");
    sim_run(s, 3);
    struct value *rs = sim_get(s, "apps", "replicasets", "default", "rs");
    int64_t ready = value_int_at(rs, "status.readyReplicas", 0);
    if (ready == 0 || ready == 12)
        return; // the names of this seed leave nothing to choose
    char yaml[64];
    snprintf(yaml, sizeof yaml, "spec: {replicas: %d}", (int)ready);
    sim_patch(s, "apps", "replicasets", "default", "rs", yaml);
    sim_run(s, 3);
    rs = sim_get(s, "apps", "replicasets", "default", "rs");
    assert_int_equal(value_int_at(rs, "status.readyReplicas", 0), ready);
    assert_int_equal(sim_count(s, "", "pods", "default", "app=a"), ready);
}

static void test_min_ready_seconds(void **state)
{
    struct sim *s = *state;
    replica_set(s, 2, "");
    sim_patch(s, "apps", "replicasets", "default", "rs", "spec: {minReadySeconds: 20}");
    sim_run(s, 5);
    struct value *rs = sim_get(s, "apps", "replicasets", "default", "rs");
    assert_int_equal(value_int_at(rs, "status.readyReplicas", 0), 2);
    assert_int_equal(value_int_at(rs, "status.availableReplicas", 0), 0);
    sim_run(s, 20);
    rs = sim_get(s, "apps", "replicasets", "default", "rs");
    assert_int_equal(value_int_at(rs, "status.availableReplicas", 0), 2);
}

static void test_creation_failure_is_told(void **state)
{
    struct sim *s = *state;
    sim_create(s,
               "kind: ReplicaSet\napiVersion: apps/v1\nmetadata: {name: rs}\nspec: {replicas: 3, "
               "selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: "
               "{serviceAccountName: nobody, containers: [{name: c, image: i}]}}}\n");
    sim_run(s, 2);
    struct value *rs = sim_get(s, "apps", "replicasets", "default", "rs");
    struct value *c = value_item(value_at(rs, "status.conditions"), 0);
    assert_true(str_eqc(value_str_at(c, "type"), "ReplicaFailure"));
    assert_true(str_eqc(value_str_at(c, "reason"), "FailedCreate"));
    assert_true(str_find(value_str_at(c, "message"), STR("serviceaccount \"nobody\" not found")) >=
                0);
    assert_true(str_starts(sim_event(s, "default", "rs", "FailedCreate"), STR("Error creating: ")));
    sim_create(s, "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: nobody}\n");
    sim_run(s, 30);
    rs = sim_get(s, "apps", "replicasets", "default", "rs");
    assert_int_equal(value_int_at(rs, "status.readyReplicas", 0), 3);
    assert_int_equal(value_len(value_at(rs, "status.conditions")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_token_secret),
        SIM(test_token_secret_of_nobody),
        SIM(test_equal_events_are_counted),
        SIM(test_replicaset_counts_and_scales),
        SIM(test_unready_pods_go_first),
        SIM(test_min_ready_seconds),
        SIM(test_creation_failure_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
