// The three-way difference: what the file says is set, what it says no more goes, what others have
// set stays; and the strategic patch, applied to the live object, gives just that.
#include "base/guard.h"
#include "object/json.h"
#include "object/patch.h"
#include "object/patch_three_way.h"
#include "unit.h"

// A type as kindsc makes them, by hand: containers merged by name, args replaced, finalizers a set.
static const struct field container_fields[] = {
    {.name = {"name", 4}, .kind = FIELD_STRING},
    {.name = {"image", 5}, .kind = FIELD_STRING},
    {.name = {"pull", 4}, .kind = FIELD_STRING},
    {.name = {"args", 4}, .kind = FIELD_STRING, .shape = SHAPE_LIST},
};
static const uint16_t container_names[] = {3, 1, 0, 2};
static const struct type container = {
    .name = {"Container", 9}, .fields = container_fields, .nfields = 4, .by_name = container_names};
static const struct field strategy_fields[] = {
    {.name = {"type", 4}, .kind = FIELD_STRING},
    {.name = {"rolling", 7}, .kind = FIELD_ANY},
};
static const uint16_t strategy_names[] = {1, 0};
static const struct type strategy = {
    .name = {"Strategy", 8}, .fields = strategy_fields, .nfields = 2, .by_name = strategy_names};
static const struct field spec_fields[] = {
    {.name = {"containers", 10},
     .kind = FIELD_MESSAGE,
     .shape = SHAPE_LIST,
     .flags = PATCH_MERGE,
     .type = &container,
     .merge_key = {"name", 4}},
    {.name = {"finalizers", 10}, .kind = FIELD_STRING, .shape = SHAPE_LIST, .flags = PATCH_MERGE},
    {.name = {"labels", 6}, .kind = FIELD_STRING, .shape = SHAPE_MAP},
    {.name = {"replicas", 8}, .kind = FIELD_INT32},
    {.name = {"strategy", 8}, .kind = FIELD_MESSAGE, .flags = PATCH_RETAIN_KEYS, .type = &strategy},
};
static const uint16_t spec_names[] = {0, 1, 2, 3, 4};
static const struct type spec = {
    .name = {"Spec", 4}, .fields = spec_fields, .nfields = 5, .by_name = spec_names};

static struct value *parse(struct arena *a, const char *text)
{
    struct value *v = NULL;
    if (!text)
        return NULL;
    struct str s = arena_str(a, str_of(text));
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\'')
            ((char *)s.p)[i] = '"';
    assert_int_equal(json_parse(a, s, NULL, &v, NULL), 0);
    return v;
}

static const struct {
    const char *original, *modified, *live;
    const char *patch;  // NULL: nothing to change
    const char *result; // of the patch on `live`
} cases[] = {
    {"{'replicas':1}", "{'replicas':1}", "{'replicas':1,'more':2}", NULL, NULL},
    {"{'replicas':1}", "{'replicas':2}", "{'replicas':1}", "{'replicas':2}", "{'replicas':2}"},
    // Somebody else has scaled it, and the file still says 1.
    {"{'replicas':1}", "{'replicas':1}", "{'replicas':5}", "{'replicas':1}", "{'replicas':1}"},
    // The file does not say any more; others' fields stay.
    {"{'replicas':1}", "{}", "{'replicas':5,'x':1}", "{'replicas':null}", "{'x':1}"},
    {"{'replicas':1}", "{}", "{'x':1}", NULL, NULL},
    {NULL, "{}", "{'replicas':5}", NULL, NULL},
    {"{'labels':{'a':'1','b':'2'}}", "{'labels':{'a':'1'}}", "{'labels':{'a':'1','b':'2','c':'3'}}",
     "{'labels':{'b':null}}", "{'labels':{'a':'1','c':'3'}}"},
    // Containers: defaults stay, one changes, one goes, one comes, one of others' stays.
    {"{'containers':[{'name':'a','image':'1'},{'name':'b','image':'1'}]}",
     "{'containers':[{'name':'a','image':'2'},{'name':'n','image':'1'}]}",
     "{'containers':[{'name':'a','image':'1','pull':'p'},{'name':'b','image':'1'},{'name':'s'}]}",
     "{'containers':[{'image':'2','name':'a'},{'name':'n','image':'1'},"
     "{'$patch':'delete','name':'b'}]}",
     "{'containers':[{'name':'a','image':'2','pull':'p'},{'name':'n','image':'1'},{'name':'s'}]}"},
    {"{'containers':[{'name':'a','image':'1','args':['x','y']}]}",
     "{'containers':[{'name':'a','image':'1','args':['y']}]}",
     "{'containers':[{'name':'a','image':'1','args':['x','y']}]}",
     "{'containers':[{'args':['y'],'name':'a'}]}",
     "{'containers':[{'name':'a','image':'1','args':['y']}]}"},
    {"{'finalizers':['a','b']}", "{'finalizers':['b','c']}", "{'finalizers':['a','b','other']}",
     "{'finalizers':['c'],'$deleteFromPrimitiveList/finalizers':['a']}",
     "{'finalizers':['c','b','other']}"},
    // A union: what belonged to the former choice goes, although the server had set it.
    {"{'strategy':{'type':'Rolling'}}", "{'strategy':{'type':'Recreate'}}",
     "{'strategy':{'type':'Rolling','rolling':{'surge':1}}}",
     "{'strategy':{'type':'Recreate','$retainKeys':['type']}}", "{'strategy':{'type':'Recreate'}}"},
    {NULL, "{'replicas':null}", "{'replicas':5}", "{'replicas':null}", "{}"},
};

static void differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct value *live = parse(&a, cases[i].live), *result;
        struct value *patch = patch_three_way(&a, &spec, parse(&a, cases[i].original),
                                              parse(&a, cases[i].modified), live);
        struct value *want = parse(&a, cases[i].patch);
        if (!want) {
            assert_null(patch);
            continue;
        }
        assert_non_null(patch);
        if (!value_eq(patch, want))
            assert_string_equal(arena_cstr(&a, json_text(&a, patch)), cases[i].patch);
        assert_int_equal(patch_strategic(&a, &spec, live, patch, &result, NULL), 0);
        if (!value_eq(result, parse(&a, cases[i].result)))
            assert_string_equal(arena_cstr(&a, json_text(&a, result)), cases[i].result);
    }
}

// Without a type: a merge patch, whose lists are replaced.
static void untyped(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *live = parse(&a, "{'containers':[{'name':'a','x':1}],'y':1}"), *result;
    struct value *patch =
        patch_three_way(&a, NULL, NULL, parse(&a, "{'containers':[{'name':'a'}]}"), live);
    assert_int_equal(patch_merge(&a, live, patch, &result, NULL), 0);
    assert_true(value_eq(result, parse(&a, "{'containers':[{'name':'a'}],'y':1}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(differences), cmocka_unit_test(untyped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
