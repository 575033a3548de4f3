// Namespaces: what each is born with, and how one is emptied and goes. Garbage collection by
// owners.
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

static void make_namespace(struct sim *s)
{
    sim_create(s, "kind: Namespace\napiVersion: v1\nmetadata: {name: test}\n");
    sim_run(s, 1);
}

static struct value *namespace_of(struct sim *s)
{
    return sim_get(s, "", "namespaces", NULL, "test");
}

static bool gone(struct sim *s, const void *arg)
{
    (void)arg;
    return !namespace_of(s);
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

static void test_born_with(void **state)
{
    struct sim *s = *state;
    make_namespace(s);
    assert_non_null(sim_get(s, "", "serviceaccounts", "test", "default"));
    struct value *ca = sim_get(s, "", "configmaps", "test", "kube-root-ca.crt");
    assert_true(str_eqc(value_string(value_get(value_getc(ca, "data"), STR("ca.crt"))), "CA"));
    // Put back when deleted or changed.
    sim_delete(s, "", "serviceaccounts", "test", "default", PROPAGATION_DEFAULT);
    sim_patch(s, "", "configmaps", "test", "kube-root-ca.crt", "data: {ca.crt: evil, more: x}");
    sim_run(s, 1);
    assert_non_null(sim_get(s, "", "serviceaccounts", "test", "default"));
    ca = sim_get(s, "", "configmaps", "test", "kube-root-ca.crt");
    assert_true(str_eqc(value_string(value_get(value_getc(ca, "data"), STR("ca.crt"))), "CA"));
    assert_int_equal(value_len(value_getc(ca, "data")), 1);
}

static void fill(struct sim *s)
{
    sim_create(s, "kind: Pod\napiVersion: v1\nmetadata: {name: p, namespace: test}\n"
                  "spec: {containers: [{name: c, image: i}]}\n");
    sim_create(s, "kind: Secret\napiVersion: v1\nmetadata: {name: x, namespace: test}\n");
    sim_create(s, "kind: Service\napiVersion: v1\nmetadata: {name: x, namespace: test}\n"
                  "spec: {ports: [{port: 80}], selector: {a: b}}\n");
    sim_run(s, 3);
}

static void test_emptied_and_gone(void **state)
{
    struct sim *s = *state;
    make_namespace(s);
    fill(s);
    s->pod_stop_ns = 5 * NS_PER_S;
    sim_delete(s, "", "namespaces", NULL, "test", PROPAGATION_DEFAULT);
    sim_run(s, 1);
    // While the pod stops, everything else stays for it.
    struct value *ns = namespace_of(s);
    assert_true(str_eqc(value_str_at(ns, "status.phase"), "Terminating"));
    struct value *c = condition(ns, "NamespaceContentRemaining");
    assert_true(str_eqc(value_str_at(c, "status"), "True"));
    assert_true(str_eqc(value_str_at(c, "reason"), "SomeResourcesRemain"));
    assert_true(str_eqc(value_str_at(c, "message"),
                        "Some resources are remaining: pods. has 1 resource instances"));
    assert_non_null(sim_get(s, "", "secrets", "test", "x"));
    assert_true(sim_until(s, 15, gone, NULL));
    assert_int_equal(sim_count(s, "", "secrets", "test", NULL), 0);
    assert_int_equal(sim_count(s, "", "services", "test", NULL), 0);
    assert_int_equal(sim_count(s, "", "events", "test", NULL), 0);
    assert_int_equal(sim_count(s, "", "serviceaccounts", "test", NULL), 0);
    // A new one of the same name is a new start.
    make_namespace(s);
    assert_non_null(sim_get(s, "", "serviceaccounts", "test", "default"));
}

static void test_waits_for_finalizers(void **state)
{
    struct sim *s = *state;
    make_namespace(s);
    sim_create(s, "kind: ConfigMap\napiVersion: v1\n"
                  "metadata: {name: held, namespace: test, finalizers: [example.com/hold]}\n");
    sim_delete(s, "", "namespaces", NULL, "test", PROPAGATION_DEFAULT);
    sim_run(s, 30);
    struct value *c = condition(namespace_of(s), "NamespaceFinalizersRemaining");
    assert_true(str_eqc(value_str_at(c, "message"),
                        "Some content in the namespace has finalizers remaining: "
                        "example.com/hold in 1 resource instances"));
    sim_patch(s, "", "configmaps", "test", "held", "metadata: {finalizers: null}");
    assert_true(sim_until(s, 5, gone, NULL));
}

// Garbage.

static void owned(struct sim *s, const char *name, const char *refs)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "kind: ConfigMap\napiVersion: v1\nmetadata: {name: %s, ownerReferences: [%s]}\n", name,
             refs);
    sim_create(s, yaml);
}

static void owner(struct sim *s, const char *name, char uid[40])
{
    char yaml[256];
    snprintf(yaml, sizeof yaml, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: %s}\n", name);
    sim_create(s, yaml);
    struct str u = value_str_at(sim_get(s, "", "configmaps", "default", name), "metadata.uid");
    snprintf(uid, 40, "%.*s", STR_ARG(u));
}

static bool exists(struct sim *s, const char *name)
{
    return sim_get(s, "", "configmaps", "default", name) != NULL;
}

#define REF "{apiVersion: v1, kind: ConfigMap, name: %s, uid: %s}"

static void test_last_owner(void **state)
{
    struct sim *s = *state;
    char a[40], b[40], refs[512];
    owner(s, "a", a);
    owner(s, "b", b);
    snprintf(refs, sizeof refs, REF ", " REF, "a", a, "b", b);
    owned(s, "child", refs);
    sim_run(s, 1);
    sim_delete(s, "", "configmaps", "default", "a", PROPAGATION_BACKGROUND);
    sim_run(s, 1);
    struct value *child = sim_get(s, "", "configmaps", "default", "child");
    assert_int_equal(value_len(value_at(child, "metadata.ownerReferences")), 1);
    sim_delete(s, "", "configmaps", "default", "b", PROPAGATION_BACKGROUND);
    sim_run(s, 1);
    assert_false(exists(s, "child"));
}

static void test_owner_that_never_was(void **state)
{
    struct sim *s = *state;
    char a[40], refs[512];
    owner(s, "a", a);
    // Right name, wrong uid; and a kind that nobody serves, which is not ours to judge.
    snprintf(refs, sizeof refs, REF, "a", "00000000-0000-4000-8000-000000000000");
    owned(s, "wrong-uid", refs);
    owned(s, "unknown-kind", "{apiVersion: example.com/v1, kind: Thing, name: t, uid: u-1}");
    sim_run(s, 2);
    assert_false(exists(s, "wrong-uid"));
    assert_true(exists(s, "unknown-kind"));
    assert_true(exists(s, "a"));
}

static void test_foreground_waits_for_blockers(void **state)
{
    struct sim *s = *state;
    char a[40], refs[512];
    owner(s, "a", a);
    snprintf(refs, sizeof refs,
             "{apiVersion: v1, kind: ConfigMap, name: a, uid: %s, blockOwnerDeletion: true}", a);
    owned(s, "child", refs);
    sim_patch(s, "", "configmaps", "default", "child",
              "metadata: {finalizers: [example.com/hold]}");
    sim_run(s, 1);
    sim_delete(s, "", "configmaps", "default", "a", PROPAGATION_FOREGROUND);
    sim_run(s, 5);
    assert_true(exists(s, "a"));
    assert_non_null(
        value_at(sim_get(s, "", "configmaps", "default", "child"), "metadata.deletionTimestamp"));
    sim_patch(s, "", "configmaps", "default", "child", "metadata: {finalizers: null}");
    sim_run(s, 1);
    assert_false(exists(s, "child"));
    assert_false(exists(s, "a"));
}

static void test_orphan(void **state)
{
    struct sim *s = *state;
    char a[40], refs[512];
    owner(s, "a", a);
    snprintf(refs, sizeof refs, REF, "a", a);
    owned(s, "child", refs);
    sim_run(s, 1);
    sim_delete(s, "", "configmaps", "default", "a", PROPAGATION_ORPHAN);
    sim_run(s, 1);
    assert_false(exists(s, "a"));
    struct value *child = sim_get(s, "", "configmaps", "default", "child");
    assert_non_null(child);
    assert_int_equal(value_len(value_at(child, "metadata.ownerReferences")), 0);
}

static void config_map(struct sim *s, const char *name)
{
    char yaml[256];
    snprintf(yaml, sizeof yaml, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: %s}\n", name);
    sim_create(s, yaml);
}

static void own(struct sim *s, const char *name, const char *owner)
{
    char yaml[512];
    struct str uid = value_str_at(sim_get(s, "", "configmaps", "default", owner), "metadata.uid");
    snprintf(yaml, sizeof yaml,
             "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: %s, uid: %.*s, "
             "blockOwnerDeletion: true, controller: true}]}",
             owner, STR_ARG(uid));
    sim_patch(s, "", "configmaps", "default", name, yaml);
}

static bool ring_gone(struct sim *s, const void *arg)
{
    const char *const *names = arg;
    size_t n = 0;
    for (; *names; names++)
        n += sim_get(s, "", "configmaps", "default", *names) != NULL;
    return n == 0;
}

// Case conformance-first-run: each owns the next, the last the first, all block. `first` of them
// are deleted in the foreground, at the same moment.
static void ring(struct sim *s, size_t n, size_t first)
{
    static const char *const all[] = {"a", "b", "c", "d"};
    const char *names[5] = {0};
    for (size_t i = 0; i < n; i++)
        config_map(s, names[i] = all[i]);
    for (size_t i = 0; i < n; i++)
        own(s, names[(i + 1) % n], names[i]);
    sim_run(s, 1);
    for (size_t i = 0; i < first; i++)
        sim_delete(s, "", "configmaps", "default", names[i], PROPAGATION_FOREGROUND);
    if (!sim_until(s, 20, ring_gone, names))
        fail_msg("a ring of %zu with %zu deleted stands for ever", n, first);
}

static void test_foreground_in_a_ring_ends(void **state)
{
    for (size_t n = 1; n <= 4; n++) {
        ring(*state, n, 1);
        ring(*state, n, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_born_with),
        SIM(test_emptied_and_gone),
        SIM(test_waits_for_finalizers),
        SIM(test_last_owner),
        SIM(test_owner_that_never_was),
        SIM(test_foreground_waits_for_blockers),
        SIM(test_orphan),
        SIM(test_foreground_in_a_ring_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
