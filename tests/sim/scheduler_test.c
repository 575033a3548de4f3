// The scheduler: where pods go, why they don't, and what wakes them.
#include "sim/sim.h"

static int setup(void **state)
{
    *state = sim_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    sim_free(*state);
    return 0;
}

static void pod(struct sim *s, const char *name, const char *meta, const char *spec)
{
    char yaml[2048];
    snprintf(yaml, sizeof yaml,
             "kind: Pod\napiVersion: v1\nmetadata: {name: %s%s}\n"
             "spec: {containers: [{name: c, image: i}]%s}\n",
             name, meta, spec);
    sim_create(s, yaml);
}

static void pod_cpu(struct sim *s, const char *name, const char *cpu)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "kind: Pod\napiVersion: v1\nmetadata: {name: %s}\n"
             "spec: {containers: [{name: c, image: i, resources: {requests: {cpu: '%s'}}}]}\n",
             name, cpu);
    sim_create(s, yaml);
}

static struct value *get(struct sim *s, const char *name)
{
    return sim_get(s, "", "pods", "default", name);
}

static struct str where(struct sim *s, const char *name)
{
    return value_str_at(get(s, name), "spec.nodeName");
}

static void assert_on(struct sim *s, const char *name, const char *node)
{
    sim_run(s, 1);
    struct str have = where(s, name);
    if (!str_eqc(have, node))
        fail_msg("%s is on \"%.*s\", not on %s", name, STR_ARG(have), node);
}

static void assert_refused(struct sim *s, const char *name, const char *message)
{
    sim_run(s, 1);
    struct value *p = get(s, name);
    assert_null(value_at(p, "spec.nodeName"));
    const struct value *list = value_at(p, "status.conditions");
    bool found = false;
    value_each_item (list, c) {
        if (!str_eqc(value_str_at(c, "type"), "PodScheduled"))
            continue;
        found = true;
        assert_true(str_eqc(value_str_at(c, "status"), "False"));
        assert_true(str_eqc(value_str_at(c, "reason"), "Unschedulable"));
        struct str have = value_str_at(c, "message");
        if (!str_eqc(have, message))
            fail_msg("\"%.*s\"\nnot \"%s\"", STR_ARG(have), message);
    }
    assert_true(found);
    assert_true(str_eqc(sim_event(s, "default", name, "FailedScheduling"), message));
}

static void test_binds_and_says_so(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", NULL);
    pod(s, "p", "", "");
    assert_on(s, "p", "n1");
    assert_true(str_eqc(sim_event(s, "default", "p", "Scheduled"),
                        "Successfully assigned default/p to n1"));
}

static void test_no_nodes_then_one(void **state)
{
    struct sim *s = *state;
    pod(s, "p", "", "");
    assert_refused(s, "p", "no nodes available to schedule pods");
    sim_node(s, "n1", NULL);
    sim_run(s, 3);
    assert_on(s, "p", "n1");
}

static void test_insufficient_then_freed(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", "{cpu: '1', memory: 1Gi, pods: '10'}");
    pod_cpu(s, "big", "800m");
    assert_on(s, "big", "n1");
    pod_cpu(s, "more", "500m");
    assert_refused(s, "more",
                   "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are "
                   "available: 1 No preemption victims found for incoming pod.");
    struct scheduler_counts before, after;
    scheduler_counts(s->scheduler, &before);
    sim_run(s, 600); // nothing happens, so nothing is tried
    scheduler_counts(s->scheduler, &after);
    assert_int_equal(after.decisions, before.decisions);
    sim_delete(s, "", "pods", "default", "big", PROPAGATION_DEFAULT);
    sim_run(s, 3);
    assert_on(s, "more", "n1");
}

static void test_node_grows(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", "{cpu: '1', memory: 1Gi, pods: '10'}");
    pod_cpu(s, "p", "2");
    sim_run(s, 5);
    assert_int_equal(where(s, "p").n, 0);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *patch = value_object(&a);
    value_set_at(&a, patch, "status.allocatable.cpu", value_strc(&a, "4"));
    assert_int_equal(client_patch(s->client, client_kind("", "nodes"), STR_NULL, STR("n1"),
                                  STR("status"), PATCH_TYPE_MERGE, patch, NULL, &e),
                     0);
    assert_on(s, "p", "n1");
}

static void test_too_many_pods_and_memory(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", "{cpu: '4', memory: 1Gi, pods: '1'}");
    pod(s, "a", "", "");
    assert_on(s, "a", "n1");
    sim_create(s,
               "kind: Pod\napiVersion: v1\nmetadata: {name: b}\n"
               "spec: {containers: [{name: c, image: i, resources: "
               "{requests: {memory: 2Gi, example.com/gpu: 1}, limits: {example.com/gpu: 1}}}]}\n");
    assert_refused(
        s, "b",
        "0/1 nodes are available: 1 Insufficient example.com/gpu, 1 Insufficient memory, "
        "1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims "
        "found for incoming pod.");
}

static void test_reasons_are_counted_by_node(void **state)
{
    struct sim *s = *state;
    sim_node(s, "full", "{cpu: 100m, memory: 8Gi, pods: '10'}");
    sim_node(s, "tainted", NULL);
    sim_node(s, "cordoned", NULL);
    sim_patch(s, "", "nodes", NULL, "tainted",
              "spec: {taints: [{key: team, value: a, effect: NoSchedule}]}");
    sim_patch(s, "", "nodes", NULL, "cordoned", "spec: {unschedulable: true}");
    pod_cpu(s, "p", "1");
    assert_refused(
        s, "p",
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint "
        "{team: a}, 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 1 "
        "No preemption victims found for incoming pod, 2 Preemption is not helpful for "
        "scheduling.");
    sim_patch(s, "", "nodes", NULL, "cordoned", "spec: {unschedulable: null}");
    sim_run(s, 3);
    assert_on(s, "p", "cordoned");
}

static void test_taints_and_tolerations(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    sim_patch(s, "", "nodes", NULL, "n1",
              "spec: {taints: [{key: team, value: a, effect: NoSchedule}]}");
    sim_patch(s, "", "nodes", NULL, "n2",
              "spec: {taints: [{key: team, value: b, effect: NoSchedule}]}");
    pod(s, "a", "", ", tolerations: [{key: team, value: a, effect: NoSchedule}]");
    pod(s, "b", "", ", tolerations: [{key: team, operator: Equal, value: b}]");
    pod(s, "any", "",
        ", tolerations: [{operator: Exists}], nodeSelector: "
        "{kubernetes.io/hostname: n1}");
    assert_on(s, "a", "n1");
    assert_on(s, "b", "n2");
    assert_on(s, "any", "n1");
}

static void test_selector_and_affinity(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    sim_patch(s, "", "nodes", NULL, "n1", "metadata: {labels: {disk: ssd, size: '10'}}");
    sim_patch(s, "", "nodes", NULL, "n2", "metadata: {labels: {disk: hdd, size: '3'}}");
    pod(s, "selected", "", ", nodeSelector: {disk: ssd}");
    pod(s, "greater", "",
        ", affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "{nodeSelectorTerms: [{matchExpressions: [{key: size, operator: Gt, values: ['5']}]}]}}}");
    pod(s, "named", "",
        ", affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "{nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: "
        "[n2]}]}]}}}");
    pod(s, "preferred", "",
        ", affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: "
        "[{weight: 100, preference: {matchExpressions: [{key: disk, operator: NotIn, "
        "values: [ssd]}]}}]}}");
    assert_on(s, "selected", "n1");
    assert_on(s, "greater", "n1");
    assert_on(s, "named", "n2");
    assert_on(s, "preferred", "n2");
    pod(s, "nowhere", "", ", nodeSelector: {disk: tape}");
    assert_refused(
        s, "nowhere",
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.");
    sim_patch(s, "", "nodes", NULL, "n2", "metadata: {labels: {disk: tape}}");
    sim_run(s, 3);
    assert_on(s, "nowhere", "n2");
}

static void test_host_ports(void **state)
{
    struct sim *s = *state;
    const char *yaml =
        "kind: Pod\napiVersion: v1\nmetadata: {name: %s}\nspec: {containers: [{name: c, "
        "image: i, ports: [{containerPort: 80, hostPort: 80}]}]}\n";
    char text[512];
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        snprintf(text, sizeof text, yaml, name);
        sim_create(s, text);
        sim_run(s, 1);
    }
    assert_false(str_eq(where(s, "p0"), where(s, "p1")));
    assert_refused(
        s, "p2",
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod "
        "ports. preemption: 0/2 nodes are available: 2 No preemption victims found for "
        "incoming pod.");
}

static unsigned count_on(struct sim *s, const char *node)
{
    struct value *list = sim_list(s, "", "pods", "default", NULL);
    unsigned n = 0;
    value_each_item (list, p)
        n += str_eqc(value_str_at(p, "spec.nodeName"), node);
    return n;
}

static void test_hard_spreading(void **state)
{
    struct sim *s = *state;
    for (int i = 1; i <= 3; i++) {
        char name[8], labels[128];
        snprintf(name, sizeof name, "n%d", i);
        sim_node(s, name, i == 3 ? "{cpu: 100m, memory: 1Gi, pods: '2'}" : NULL);
        snprintf(labels, sizeof labels, "metadata: {labels: {zone: z%d}}", i);
        sim_patch(s, "", "nodes", NULL, name, labels);
    }
    const char *spread =
        ", topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, "
        "whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: a}}}]";
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        pod(s, name, ", labels: {app: a}", spread);
        sim_run(s, 1);
    }
    assert_int_equal(count_on(s, "n1"), 2);
    assert_int_equal(count_on(s, "n2"), 2);
    assert_int_equal(count_on(s, "n3"), 2);
    // The third zone is full: three more would leave it behind by two.
    pod(s, "q0", ", labels: {app: a}", spread);
    pod(s, "q1", ", labels: {app: a}", spread);
    pod(s, "q2", ", labels: {app: a}", spread);
    sim_run(s, 2);
    assert_int_equal(count_on(s, "n1") + count_on(s, "n2"), 6);
    assert_refused(
        s, "q2",
        "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match pod topology "
        "spread constraints. preemption: 0/3 nodes are available: 3 No preemption victims "
        "found for incoming pod.");
}

static void test_pod_affinity(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", NULL);
    sim_node(s, "n2", NULL);
    const char *apart =
        ", affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution:"
        " [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: "
        "{app: db}}}]}}";
    const char *near = ", affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
                       "[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: "
                       "{app: cache}}}]}}";
    pod(s, "db0", ", labels: {app: db}", apart);
    sim_run(s, 1);
    pod(s, "db1", ", labels: {app: db}", apart);
    sim_run(s, 1);
    assert_false(str_eq(where(s, "db0"), where(s, "db1")));
    pod(s, "db2", ", labels: {app: db}", apart);
    assert_refused(
        s, "db2",
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. "
        "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming "
        "pod.");
    pod(s, "guest", ", labels: {app: db}", ""); // has no rule of its own; theirs keep it out
    sim_run(s, 1);
    assert_int_equal(where(s, "guest").n, 0);
    pod(s, "lonely", ", labels: {app: web}", near);
    sim_run(s, 1);
    assert_int_equal(where(s, "lonely").n, 0);
    pod(s, "cache", ", labels: {app: cache}", near); // the first of its own kind
    sim_run(s, 15);
    assert_true(where(s, "cache").n > 0);
    assert_true(str_eq(where(s, "lonely"), where(s, "cache")));
}

static void test_least_allocated(void **state)
{
    struct sim *s = *state;
    sim_node(s, "small", "{cpu: '2', memory: 4Gi, pods: '110'}");
    sim_node(s, "large", "{cpu: '16', memory: 32Gi, pods: '110'}");
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", i);
        pod_cpu(s, name, "500m");
        sim_run(s, 1);
    }
    assert_in_range(count_on(s, "large"), 5, 6);
}

static void test_priority_goes_first(void **state)
{
    struct sim *s = *state;
    sim_create(s, "kind: PriorityClass\napiVersion: scheduling.k8s.io/v1\nmetadata: {name: high}\n"
                  "value: 1000\n");
    pod_cpu(s, "low", "1");
    sim_create(s,
               "kind: Pod\napiVersion: v1\nmetadata: {name: high}\nspec: {priorityClassName: high, "
               "containers: [{name: c, image: i, resources: {requests: {cpu: '1'}}}]}\n");
    sim_run(s, 30);
    sim_node(s, "n1", "{cpu: 1500m, memory: 8Gi, pods: '10'}");
    assert_on(s, "high", "n1");
    assert_int_equal(where(s, "low").n, 0);
}

static void test_leaves_others_alone(void **state)
{
    struct sim *s = *state;
    sim_node(s, "n1", NULL);
    pod(s, "other", "", ", schedulerName: mine");
    pod(s, "gated", "", ", schedulingGates: [{name: wait}]");
    sim_run(s, 5);
    assert_int_equal(where(s, "other").n, 0);
    assert_int_equal(where(s, "gated").n, 0);
    sim_patch(s, "", "pods", "default", "gated", "spec: {schedulingGates: null}");
    assert_on(s, "gated", "n1");
}

// Many pods and nodes: nobody is put where there is no room, and everybody who fits is placed.
static void test_fills_exactly(void **state)
{
    struct sim *s = *state;
    enum { NODES = 120, EACH = 5 };
    for (int i = 0; i < NODES; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        sim_node(s, name, "{cpu: '5', memory: 16Gi, pods: '110'}");
    }
    for (int i = 0; i < NODES * EACH + 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        pod_cpu(s, name, "1");
    }
    sim_run(s, 20);
    struct scheduler_counts c;
    scheduler_counts(s->scheduler, &c);
    assert_int_equal(c.waiting + c.backing_off + c.active, 10);
    assert_int_equal(c.bind_failures, 0);
    for (int i = 0; i < NODES; i += 17) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(count_on(s, name), EACH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_binds_and_says_so),
        SIM(test_no_nodes_then_one),
        SIM(test_insufficient_then_freed),
        SIM(test_node_grows),
        SIM(test_too_many_pods_and_memory),
        SIM(test_reasons_are_counted_by_node),
        SIM(test_taints_and_tolerations),
        SIM(test_selector_and_affinity),
        SIM(test_host_ports),
        SIM(test_hard_spreading),
        SIM(test_pod_affinity),
        SIM(test_least_allocated),
        SIM(test_priority_goes_first),
        SIM(test_leaves_others_alone),
        SIM(test_fills_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
