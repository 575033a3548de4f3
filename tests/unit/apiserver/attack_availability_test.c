// attack-availability: small requests that ask the API server for a lot of work. Work is counted,
// not timed.
#include "harness.h"

#include "apiserver/rbac.h"

static const char maker[] =
    "{'metadata':{'name':'maker'},'rules':[{'apiGroups':['rbac.authorization.k8s.io'],'resources':["
    "'roles'],'verbs':['create']},{'apiGroups':[''],'resources':['pods'],'verbs':['get']}]}";
static const char bind_maker[] =
    "{'metadata':{'name':'maker'},'subjects':[{'kind':'User','apiGroup':'rbac.authorization.k8s.io'"
    ",'name':'nobody'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'Role','name':"
    "'maker'}}";

// Words a0, a1, … as a list.
static struct value *words(struct arena *a, const char *stem, size_t n)
{
    struct value *list = value_array(a);
    for (size_t i = 0; i < n; i++)
        value_push(a, list, value_str(a, arena_printf(a, "%s%zu", stem, i)));
    return list;
}

// 5: one rule of 250 groups, resources and verbs stands for 15 million.
static void a_grant_is_not_written_out(void **state)
{
    struct fixture *f = *state;
    create(f, "roles", "default", maker);
    create(f, "rolebindings", "default", bind_maker);
    struct api_request *r = request(f, VERB_CREATE, "roles", "default", NULL);
    struct value *role = parse(f, "{'metadata':{'name':'r'},'rules':[{}]}");
    struct value *rule = value_item(value_getc(role, "rules"), 0);
    value_setc(&f->a, rule, "apiGroups", words(&f->a, "g", 250));
    value_setc(&f->a, rule, "resources", words(&f->a, "r", 250));
    value_setc(&f->a, rule, "verbs", words(&f->a, "v", 250));
    r->body = role;
    f->call.identity = f->nobody;
    assert_int_equal(run(f), -403);
    assert_non_null(strstr(f->call.err.message,
                           "is attempting to grant RBAC permissions not currently held:\n"
                           "{APIGroups:[\"g0\"], Resources:[\"r0\"], Verbs:[\"v0\" \"v1\" \"v2\""));
    assert_non_null(strstr(f->call.err.message, "\nand more"));
    assert_true(strlen(f->call.err.message) < 12000);
}

// Own rules that tell every word apart and overlap everywhere: the comparison is given up, and the
// grant refused.
static void a_comparison_that_multiplies_ends(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *have = value_array(&a), *want = value_array(&a), *rule;
    struct value *star = words(&a, "", 0);
    value_push(&a, star, value_strc(&a, "*"));
    for (size_t i = 0; i < 1200; i++) {
        value_push(&a, have, rule = value_object(&a));
        struct value *one = value_array(&a);
        value_push(&a, one, value_str(&a, arena_printf(&a, "%s%zu", i % 2 ? "g" : "r", i / 2)));
        value_setc(&a, rule, "apiGroups", i % 2 ? one : star);
        value_setc(&a, rule, "resources", i % 2 ? star : one);
        value_setc(&a, rule, "verbs", star);
    }
    value_push(&a, want, rule = value_object(&a));
    value_setc(&a, rule, "apiGroups", words(&a, "g", 600));
    value_setc(&a, rule, "resources", words(&a, "r", 600));
    value_setc(&a, rule, "verbs", words(&a, "v", 600));
    struct rbac_shortfall missing;
    assert_false(rbac_rules_cover(&a, have, want, &missing));
    assert_true(missing.too_large);
    assert_true(missing.steps < 5000000);
}

// A long list of small rules against a long list of own ones.
static void many_rules_cost_their_length(void **state)
{
    (void)state;
    uint64_t steps[2];
    for (size_t round = 0; round < 2; round++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        size_t n = round ? 4000 : 2000;
        struct value *have = value_array(&a), *want = value_array(&a);
        for (size_t i = 0; i < n + 64; i++) {
            struct value *rule = value_object(&a), *one = value_array(&a);
            value_push(&a, one, value_str(&a, arena_printf(&a, "r%zu", i % n)));
            value_setc(&a, rule, "apiGroups", words(&a, "g", 1));
            value_setc(&a, rule, "resources", one);
            value_setc(&a, rule, "verbs", words(&a, "v", 2));
            value_push(&a, i < 64 ? have : want, rule);
        }
        struct rbac_shortfall missing;
        rbac_rules_cover(&a, have, want, &missing);
        assert_int_equal(value_len(missing.rules), RBAC_SHORTFALL_MAX);
        assert_true(missing.more && !missing.too_large);
        steps[round] = missing.steps;
    }
    assert_true(steps[1] <= steps[0] * 2 + 100);
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_grant_is_not_written_out),
        cmocka_unit_test(a_comparison_that_multiplies_ends),
        cmocka_unit_test(many_rules_cost_their_length),
    };
    return cmocka_run_group_tests_name("attack-availability", tests, NULL, NULL);
}
