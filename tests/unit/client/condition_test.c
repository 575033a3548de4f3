// The small pieces of the reconciler kit: conditions, metadata, expectations.
#include "base/time.h"
#include "client/condition.h"
#include "client/expectations.h"
#include "client/finalizer.h"
#include "client/meta.h"
#include "client/owner.h"
#include "object/yaml.h"
#include "unit.h"

static struct arena arena;

static struct value *tree(const char *yaml)
{
    struct value *v = NULL;
    assert_int_equal(yaml_parse(&arena, str_of(yaml), NULL, &v, NULL), 0);
    return v;
}

static void test_transition_time_follows_the_status(void **state)
{
    (void)state;
    struct env *env = env_sim_new(1, 1767225600 * NS_PER_S);
    struct value *old =
        tree("[{type: Ready, status: 'False', reason: 'No', lastProbeTime: x, lastTransitionTime: "
             "'2020-01-01T00:00:00Z'}, {type: Other, status: 'True'}]");
    struct value *list = condition_list(&arena, old);
    struct condition c = {.type = "Ready", .status = "False", .reason = "No"};
    assert_false(condition_set(env, &arena, list, &c));
    c.message = STR("why");
    assert_true(condition_set(env, &arena, list, &c));
    struct value *ready = condition_find(list, "Ready");
    assert_true(str_eqc(value_str_at(ready, "lastTransitionTime"), "2020-01-01T00:00:00Z"));
    assert_true(str_eqc(value_str_at(ready, "message"), "why"));
    assert_true(str_eqc(value_str_at(ready, "lastProbeTime"), "x")); // the kind's own field
    c.status = "True";
    assert_true(condition_set(env, &arena, list, &c));
    ready = condition_find(list, "Ready");
    assert_true(str_eqc(value_str_at(ready, "lastTransitionTime"), "2026-01-01T00:00:00Z"));
    assert_true(condition_is(list, "Ready", "True"));
    assert_int_equal(value_len(list), 2);
    assert_true(condition_is(old, "Ready", "False")); // the old list stays as it was
    condition_remove(list, "Ready");
    assert_null(condition_find(list, "Ready"));
    assert_int_equal(value_len(list), 1);
    env_sim_free(env);
}

static void test_metadata(void **state)
{
    (void)state;
    struct str ns, name;
    meta_key_split(STR("a/b"), &ns, &name);
    assert_true(str_eqc(ns, "a") && str_eqc(name, "b"));
    meta_key_split(STR("b"), &ns, &name);
    assert_true(!ns.n && str_eqc(name, "b"));
    struct value *t = tree("metadata: {uid: u, labels: {a.b/c: d}, annotations: {e.f: g}, "
                           "creationTimestamp: '1970-01-01T00:00:02Z', finalizers: [x], "
                           "ownerReferences: [{uid: o1}, {uid: o2, controller: true}]}");
    assert_true(str_eqc(meta_uid(t), "u"));
    assert_true(str_eqc(meta_label(t, "a.b/c"), "d"));
    assert_true(str_eqc(meta_annotation(t, "e.f"), "g"));
    assert_true(meta_time(t, "metadata.creationTimestamp") == 2 * NS_PER_S);
    assert_false(meta_deleting(t));
    assert_true(finalizer_has(t, "x"));
    assert_false(finalizer_has(t, "y"));
    assert_true(owner_controls(t, STR("o2")));
    assert_false(owner_controls(t, STR("o1")));
    assert_null(owner_controller(NULL));
}

static void test_expectations(void **state)
{
    (void)state;
    struct expectations x;
    expectations_init(&x);
    assert_true(expectations_met(&x, STR("k"), 0));
    expectations_expect(&x, STR("k"), 7);
    expectations_expect(&x, STR("k"), 5); // the highest counts
    expectations_expect(&x, STR("k"), 0); // nothing was written
    assert_false(expectations_met(&x, STR("k"), 6));
    assert_true(expectations_met(&x, STR("other"), 0));
    assert_true(expectations_met(&x, STR("k"), 7));
    assert_true(expectations_met(&x, STR("k"), 0)); // and is forgotten
    expectations_expect(&x, STR("k"), 9);
    expectations_forget(&x, STR("k"));
    assert_true(expectations_met(&x, STR("k"), 0));
    expectations_done(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transition_time_follows_the_status),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_expectations),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
