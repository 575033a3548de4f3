// Services and what stands behind them: EndpointSlices and Endpoints as pods come, get ready, stop
// and go.
#include "sim/sim.h"

static bool starts_ready(struct sim *s, const struct value *pod)
{
    (void)s;
    return !value_get(value_at(pod, "metadata.labels"), STR("slow"));
}

static int setup(void **state)
{
    struct sim *s = sim_new(NULL);
    sim_node(s, "n1", "{cpu: '64', memory: 256Gi, pods: '500'}");
    s->starts = starts_ready;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void service(struct sim *s, const char *more)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "kind: Service\napiVersion: v1\nmetadata: {name: web, labels: {team: a}}\n"
             "spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}]%s}\n",
             more);
    sim_create(s, yaml);
}

static void pod(struct sim *s, const char *name, const char *labels, int port)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "kind: Pod\napiVersion: v1\nmetadata: {name: %s, labels: {app: web%s}}\n"
             "spec: {containers: [{name: c, image: i, ports: [{name: web, containerPort: %d}]}]}\n",
             name, labels, port);
    sim_create(s, yaml);
}

static struct value *slices(struct sim *s)
{
    return sim_list(s, "discovery.k8s.io", "endpointslices", "default",
                    "kubernetes.io/service-name=web");
}

struct want {
    size_t total, ready;
};

static bool endpoints_are(struct sim *s, const void *arg)
{
    const struct want *w = arg;
    size_t total = 0, ready = 0;
    struct value *list = slices(s);
    value_each_item (list, slice) {
        const struct value *endpoints = value_getc(slice, "endpoints");
        value_each_item (endpoints, e) {
            total++;
            ready += value_bool_at(e, "conditions.ready", false);
        }
    }
    return total == w->total && ready == w->ready;
}

static void expect(struct sim *s, size_t total, size_t ready)
{
    struct want w = {total, ready};
    if (!sim_until(s, 20, endpoints_are, &w))
        fail_msg("not %zu endpoints, %zu ready", total, ready);
}

static void test_follows_pods(void **state)
{
    struct sim *s = *state;
    service(s, "");
    sim_run(s, 1);
    assert_int_equal(value_len(slices(s)), 1); // one that says: nobody
    pod(s, "a", "", 8080);
    pod(s, "b", ", slow: x", 8080);
    expect(s, 2, 1);
    struct value *slice = value_item(slices(s), 0),
                 *port = value_item(value_getc(slice, "ports"), 0);
    assert_int_equal(value_int_at(port, "port", 0), 8080);
    assert_true(str_eqc(value_str_at(port, "name"), "http"));
    assert_true(str_eqc(value_str_at(slice, "addressType"), "IPv4"));
    const struct value *labels = value_at(slice, "metadata.labels");
    assert_true(str_eqc(value_string(value_get(labels, STR("team"))), "a"));
    assert_true(
        str_eqc(value_string(value_get(labels, STR("endpointslice.kubernetes.io/managed-by"))),
                "endpointslice-controller.k8s.io"));
    struct value *ep = sim_get(s, "", "endpoints", "default", "web");
    struct value *subset = value_item(value_getc(ep, "subsets"), 0);
    assert_int_equal(value_len(value_getc(subset, "addresses")), 1);
    assert_int_equal(value_len(value_getc(subset, "notReadyAddresses")), 1);
    assert_int_equal(value_int_at(value_item(value_getc(subset, "ports"), 0), "port", 0), 8080);
    // Leaving: serving and terminating while it stops, then gone.
    s->pod_stop_ns = 5 * NS_PER_S;
    sim_delete(s, "", "pods", "default", "a", PROPAGATION_DEFAULT);
    sim_run(s, 1);
    bool seen = false;
    const struct value *endpoints = value_getc(value_item(slices(s), 0), "endpoints");
    value_each_item (endpoints, e) {
        if (!value_bool_at(e, "conditions.terminating", false))
            continue;
        seen = true;
        assert_true(value_bool_at(e, "conditions.serving", false));
        assert_false(value_bool_at(e, "conditions.ready", true));
    }
    assert_true(seen);
    expect(s, 1, 0);
}

static void test_named_port_may_differ_by_pod(void **state)
{
    struct sim *s = *state;
    service(s, "");
    pod(s, "a", "", 8080);
    pod(s, "b", "", 9090);
    expect(s, 2, 2);
    assert_int_equal(value_len(slices(s)), 2);
    assert_int_equal(
        value_len(value_getc(sim_get(s, "", "endpoints", "default", "web"), "subsets")), 2);
}

static void test_publish_not_ready(void **state)
{
    struct sim *s = *state;
    service(s, ", publishNotReadyAddresses: true, clusterIP: None");
    pod(s, "a", ", slow: x", 8080);
    expect(s, 1, 1);
    const struct value *labels = value_at(value_item(slices(s), 0), "metadata.labels");
    assert_non_null(value_get(labels, STR("service.kubernetes.io/headless")));
}

static void test_hundred_a_slice(void **state)
{
    struct sim *s = *state;
    service(s, "");
    for (int i = 0; i < 250; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        pod(s, name, "", 8080);
    }
    expect(s, 250, 250);
    struct value *list = slices(s);
    assert_in_range(value_len(list), 3, 6);
    value_each_item (list, slice)
        assert_in_range(value_len(value_getc(slice, "endpoints")), 1, 100);
    // One pod's end touches one slice.
    struct str before[8];
    size_t n = 0, touched = 0;
    value_each_item (list, slice)
        before[n++] = value_str_at(slice, "metadata.resourceVersion");
    sim_delete(s, "", "pods", "default", "p7", PROPAGATION_DEFAULT);
    expect(s, 249, 249);
    list = slices(s);
    assert_int_equal(value_len(list), n);
    n = 0;
    value_each_item (list, slice)
        touched += !str_eq(value_str_at(slice, "metadata.resourceVersion"), before[n++]);
    assert_int_equal(touched, 1);
}

static bool nothing_left(struct sim *s, const void *arg)
{
    (void)arg;
    return value_len(slices(s)) == 0 && !sim_get(s, "", "endpoints", "default", "web");
}

static void test_service_deleted(void **state)
{
    struct sim *s = *state;
    service(s, "");
    pod(s, "a", "", 8080);
    expect(s, 1, 1);
    sim_delete(s, "", "services", "default", "web", PROPAGATION_DEFAULT);
    assert_true(sim_until(s, 10, nothing_left, NULL));
}

static void test_tampering_is_undone(void **state)
{
    struct sim *s = *state;
    service(s, "");
    pod(s, "a", "", 8080);
    expect(s, 1, 1);
    sim_patch(s, "", "endpoints", "default", "web", "subsets: []");
    struct str slice = value_str_at(value_item(slices(s), 0), "metadata.name");
    char name[128];
    snprintf(name, sizeof name, "%.*s", STR_ARG(slice));
    sim_delete(s, "discovery.k8s.io", "endpointslices", "default", name, PROPAGATION_DEFAULT);
    expect(s, 1, 1);
    sim_run(s, 1);
    struct value *ep = sim_get(s, "", "endpoints", "default", "web");
    assert_int_equal(value_len(value_getc(ep, "subsets")), 1);
}

static void test_no_selector_is_left_alone(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: Service\napiVersion: v1\nmetadata: {name: web}\n"
                  "spec: {ports: [{port: 80}]}\n");
    sim_create(s, "kind: Endpoints\napiVersion: v1\nmetadata: {name: web}\n"
                  "subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{port: 80}]}]\n");
    sim_run(s, 5);
    struct value *ep = sim_get(s, "", "endpoints", "default", "web");
    assert_int_equal(value_len(value_getc(ep, "subsets")), 1);
}

// Case conformance-first-run: Endpoints that belong to no Service.
static void test_endpoints_of_no_service_are_left_alone(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: Endpoints\napiVersion: v1\nmetadata: {name: web}\n"
                  "subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{port: 80}]}]\n");
    sim_run(s, 5);
    assert_non_null(sim_get(s, "", "endpoints", "default", "web"));
    sim_patch(s, "", "endpoints", "default", "web", "metadata: {labels: {a: b}}");
    sim_run(s, 5);
    assert_non_null(sim_get(s, "", "endpoints", "default", "web"));
    assert_int_equal(value_len(slices(s)), 0);
}

static const char by_hand[] =
    "kind: Endpoints\napiVersion: v1\n"
    "metadata: {name: web, labels: {team: a}, annotations: {note: this, "
    "kubectl.kubernetes.io/last-applied-configuration: '{}'}}\n"
    "subsets: [{addresses: [{ip: 10.9.9.9, hostname: h}, {ip: 'fd00::9'}], "
    "notReadyAddresses: [{ip: 10.9.9.10}], ports: [{name: http, port: 80}]}]\n";

static void test_mirrors_what_is_kept_by_hand(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: Service\napiVersion: v1\nmetadata: {name: web}\n"
                  "spec: {ports: [{name: http, port: 80}]}\n");
    sim_create(s, by_hand);
    sim_run(s, 1);
    struct value *list = slices(s);
    assert_int_equal(value_len(list), 2); // one for each family
    expect(s, 3, 2);
    struct value *v4 = value_item(list, 0), *v6 = value_item(list, 1);
    if (str_eqc(value_str_at(v4, "addressType"), "IPv6"))
        v4 = value_item(list, 1), v6 = value_item(list, 0);
    assert_true(str_eqc(value_str_at(v6, "addressType"), "IPv6"));
    const struct value *labels = value_at(v4, "metadata.labels");
    assert_true(
        str_eqc(value_string(value_get(labels, STR("endpointslice.kubernetes.io/managed-by"))),
                "endpointslicemirroring-controller.k8s.io"));
    assert_true(str_eqc(value_str_at(labels, "team"), "a"));
    assert_int_equal(value_len(value_at(v4, "metadata.annotations")), 1);
    struct value *owner = value_item(value_at(v4, "metadata.ownerReferences"), 0);
    assert_true(str_eqc(value_str_at(owner, "kind"), "Endpoints"));
    struct value *first = value_item(value_getc(v4, "endpoints"), 0);
    assert_true(str_eqc(value_str_at(first, "hostname"), "h"));
    // A change is written into the same slice; nothing else is.
    struct str name = value_str_at(v4, "metadata.name");
    sim_patch(s, "", "endpoints", "default", "web",
              "subsets: [{addresses: [{ip: 10.9.9.11}], ports: [{name: http, port: 80}]}]");
    expect(s, 1, 1);
    assert_int_equal(value_len(slices(s)), 1);
    assert_true(str_eq(value_str_at(value_item(slices(s), 0), "metadata.name"), name));
    uint64_t before = store_revision(s->store);
    sim_run(s, 8);
    assert_true(store_revision(s->store) - before <= 2); // leases
    // With a selector the Service's own slices take their place.
    sim_patch(s, "", "services", "default", "web", "spec: {selector: {app: web}}");
    sim_run(s, 2);
    assert_int_equal(value_len(slices(s)), 1);
    assert_false(str_eq(value_str_at(value_item(slices(s), 0), "metadata.name"), name));
}

static void test_mirror_goes_with_the_endpoints(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: Service\napiVersion: v1\nmetadata: {name: web}\n"
                  "spec: {ports: [{name: http, port: 80}]}\n");
    sim_create(s, by_hand);
    expect(s, 3, 2);
    sim_patch(s, "", "endpoints", "default", "web",
              "metadata: {labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}}");
    expect(s, 0, 0);
    assert_int_equal(value_len(slices(s)), 0);
    sim_patch(s, "", "endpoints", "default", "web",
              "metadata: {labels: {endpointslice.kubernetes.io/skip-mirror: null}}");
    expect(s, 3, 2);
    sim_delete(s, "", "endpoints", "default", "web", PROPAGATION_DEFAULT);
    sim_run(s, 2);
    assert_int_equal(value_len(slices(s)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_follows_pods),
        SIM(test_named_port_may_differ_by_pod),
        SIM(test_publish_not_ready),
        SIM(test_hundred_a_slice),
        SIM(test_service_deleted),
        SIM(test_tampering_is_undone),
        SIM(test_no_selector_is_left_alone),
        SIM(test_endpoints_of_no_service_are_left_alone),
        SIM(test_mirrors_what_is_kept_by_hand),
        SIM(test_mirror_goes_with_the_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
