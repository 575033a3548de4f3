// What a caller can send costs time in proportion to its size (attack-availability): eight times as
// much takes about eight times as long, where a comparison of each with each takes sixty-four. The
// bound lies far from both, and processor time is measured, so that a busy machine changes nothing.
#include "object/json.h"
#include "object/patch.h"
#include "object/protobuf.h"
#include "object/selector.h"
#include "object/yaml.h"
#include "schema/rules.h"
#include "unit.h"
#include <time.h>

enum { SMALL = 500, TIMES = 8, BOUND = 28 };

// An object of `n` parts: the text around them, the text of one (%zu: its number) and its place.
struct shape {
    const char *name, *kind, *api_version, *head, *part, *tail;
};

static const struct shape shapes[] = {
    {"service ports", "Service", "v1", "\"spec\":{\"ports\":[", "{\"name\":\"p%zu\",\"port\":%zu}",
     "]}"},
    {"volumes and mounts", "Pod", "v1",
     "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"volumes\":[",
     "{\"name\":\"v%zu\",\"emptyDir\":{}}", "]}"},
    {"containers", "Pod", "v1", "\"spec\":{\"containers\":[",
     "{\"name\":\"c%zu\",\"image\":\"i\",\"ports\":[{\"containerPort\":80,\"hostPort\":%zu}]}",
     "]}"},
    {"mounts", "Pod", "v1",
     "\"spec\":{\"volumes\":[{\"name\":\"v\"}],\"containers\":[{\"name\":\"c\",\"image\":\"i\","
     "\"volumeMounts\":[",
     "{\"name\":\"v\",\"mountPath\":\"/m%zu\"}", "]}]}"},
    {"sysctls", "Pod", "v1",
     "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"securityContext\":{\"sysctls\":"
     "[",
     "{\"name\":\"kernel.x%zu\",\"value\":\"1\"}", "]}}"},
    {"tolerations", "Pod", "v1",
     "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"tolerations\":[",
     "{\"key\":\"k%zu\",\"operator\":\"Exists\"}", "]}"},
    {"spread constraints", "Pod", "v1",
     "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"topologySpreadConstraints\":[",
     "{\"topologyKey\":\"k%zu\",\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"}", "]}"},
    {"device claims", "Pod", "v1",
     "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"resourceClaims\":[",
     "{\"name\":\"k%zu\",\"resourceClaimName\":\"x\"}", "]}"},
    {"taints", "Node", "v1", "\"spec\":{\"taints\":[",
     "{\"key\":\"k%zu\",\"effect\":\"NoSchedule\"}", "]}"},
    {"limits", "LimitRange", "v1",
     "\"spec\":{\"limits\":[{\"type\":\"x.y/z\",\"maxLimitRequestRatio\":{},\"max\":{",
     "\"a.b/r%zu\":\"2\"", "}}]}"},
    {"text of a secret", "Secret", "v1", "\"stringData\":{", "\"k%zu\":\"x\"", "}"},
    {"keys of a map", "ConfigMap", "v1", "\"data\":{", "\"k%zu\":\"x\"", "}"},
};

static struct value *build(struct arena *a, const struct shape *s, size_t n)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_printf(&b,
               "{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"metadata\":{\"name\":\"x\","
               "\"namespace\":\"d\",\"resourceVersion\":\"1\"},%s",
               s->api_version, s->kind, s->head);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&b, i ? "," : "");
        buf_printf(&b, s->part, i + 1, i + 1);
    }
    buf_printf(&b, "%s}", s->tail);
    struct value *v;
    _cleanup_err_ struct err e = ERR_INIT;
    if (json_parse(a, buf_view(&b), NULL, &v, &e) < 0)
        fail_msg("%s: %s", s->name, e.message);
    return v;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// A create and an update that changes a label.
static double cost(const struct shape *s, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str api_version = str_of(s->api_version), kind = str_of(s->kind);
    const struct kind *k = kind_by_api_version(api_version, kind);
    struct value *v = build(&a, s, n), *next = NULL;
    struct value *patch = value_object(&a);
    value_set_at(&a, patch, "metadata.labels.a", value_strc(&a, "b"));
    assert_non_null(k);
    double begin = seconds();
    assert_int_equal(schema_check_fields(&a, k->type, v, value_array(&a), NULL), 0);
    assert_int_equal(schema_default(&a, k, v, NULL), 0);
    schema_validate(&a, k, v, NULL, NULL);
    assert_int_equal(patch_strategic(&a, k->type, v, patch, &next, NULL), 0);
    assert_int_equal(schema_default(&a, k, next, NULL), 0);
    schema_validate(&a, k, next, v, NULL);
    return seconds() - begin;
}

static void objects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cost(&shapes[i], SMALL); // warm
        double one = cost(&shapes[i], SMALL), many = cost(&shapes[i], SMALL * TIMES);
        if (many > one * BOUND)
            fail_msg("%s: %d times as many take %.1f times as long", shapes[i].name, TIMES,
                     many / one);
    }
}

// Labels of a template against as many requirements.
static double match(size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *labels = value_object(&a), *selector = value_object(&a);
    struct selector *s = NULL;
    for (size_t i = 0; i < n; i++)
        value_push_member(&a, labels, arena_printf(&a, "k%zu", i), value_strc(&a, "v"));
    value_setc(&a, selector, "matchLabels", labels);
    assert_int_equal(selector_from_value(&a, selector, &s, NULL), 0);
    double begin = seconds();
    assert_true(selector_matches(s, labels));
    return seconds() - begin;
}

static void selectors(void **state)
{
    (void)state;
    match(SMALL * 8);
    double one = match(SMALL * 8), many = match(SMALL * 8 * TIMES);
    assert_true(many < one * BOUND);
}

// ---- what a body may become -------------------------------------------------------------------

static void values_are_counted(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT, y = BUF_INIT, p = BUF_INIT;
    struct value *v = NULL;
    // JSON: two bytes a value
    buf_char(&b, '[');
    for (size_t i = 0; i < VALUES_MAX; i++)
        buf_puts(&b, i ? ",1" : "1");
    buf_char(&b, ']');
    const struct json_options bounded = {.max_values = VALUES_MAX};
    assert_int_equal(json_parse(&a, buf_view(&b), &bounded, &v, &e), -413);
    assert_string_equal(e.message, "the JSON text has more than 400000 values");
    assert_int_equal(json_parse(&a, buf_view(&b), NULL, &v, NULL), 0);
    err_done(&e);
    e = ERR_INIT;
    // YAML, here through the flow style, which is the densest
    assert_true(yaml_parse(&a, buf_view(&b), NULL, &v, &e) < 0);
    assert_non_null(strstr(e.message, "too many nodes"));
    err_done(&e);
    e = ERR_INIT;
    // protobuf: a Pod of 1.5 million empty containers in 3 MB
    buf_puts(&p, "\x12"); // field 2: spec
    uint64_t inside = 1500000 * 2;
    for (uint64_t n = inside; n; n >>= 7)
        buf_char(&p, (char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0)));
    for (size_t i = 0; i < inside / 2; i++)
        buf_add(&p, "\x12", 2); // field 2, no bytes
    const struct kind *pods = kind_by_word(STR("pods"));
    size_t before = a.total;
    assert_int_equal(protobuf_decode(&a, pods->type, buf_view(&p), &v, &e), -413);
    assert_string_equal(e.message, "proto: the message has more than 400000 values");
    assert_in_range(a.total - before, 0, 128 << 20);
}

// Empty items that would each get a dozen defaults.
static void defaults_are_bounded(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const struct kind *pods = kind_by_word(STR("pods"));
    struct value *v = value_object(&a), *list = value_array(&a);
    for (size_t i = 0; i < VALUES_MAX; i++)
        value_push(&a, list, value_object(&a));
    value_set_at(&a, v, "spec.containers", list);
    size_t before = a.total;
    assert_int_equal(schema_default(&a, pods, v, &e), -413);
    assert_string_equal(e.message, "the object is too large with its defaults filled in");
    assert_in_range(a.total - before, 0, 80 << 20);
}

// Thirty thousand faults below a key of a hundred kilobytes are an answer of some kilobytes.
static void faults_are_bounded(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const struct kind *pods = kind_by_word(STR("pods"));
    struct value *v = value_object(&a), *list = value_array(&a);
    for (size_t i = 0; i < 30000; i++)
        value_push(&a, list, value_object(&a));
    value_set_at(&a, v, "spec.containers", list);
    value_set_at(&a, v, "metadata.name", value_strc(&a, "x"));
    assert_int_equal(schema_validate(&a, pods, v, NULL, &e), -422);
    size_t bytes = 0;
    for (size_t i = 0; i < e.ncauses; i++)
        bytes += strlen(e.causes[i].message) + strlen(e.causes[i].field);
    assert_in_range(e.ncauses, 100, 256);
    assert_in_range(bytes, 1, 300 << 10);
    // unknown fields: named, but not without end
    char *key = arena_zalloc(&a, 100 << 10);
    memset(key, 'k', 100 << 10);
    struct value *deep = value_object(&a), *all = value_array(&a);
    for (size_t i = 0; i < 1000; i++)
        value_push_member(&a, deep, arena_printf(&a, "u%zu", i), value_null(&a));
    struct value *map = value_object(&a), *crd = value_object(&a);
    value_push_member(&a, map, str_n(key, 100 << 10), deep);
    value_set_at(&a, crd, "spec.versions", value_array(&a));
    struct value *version = value_object(&a);
    value_push(&a, value_at(crd, "spec.versions"), version);
    value_set_at(&a, version, "schema.openAPIV3Schema.properties", map);
    const struct kind *crds = kind_by_word(STR("customresourcedefinitions"));
    assert_int_equal(schema_check_fields(&a, crds->type, crd, all, NULL), 0);
    assert_int_equal(value_len(all), 100);
    assert_in_range(value_string(value_item(all, 0)).n, 1, 1024);
}

// A patch of many operations on a wide document is refused by its work, not by the clock.
static void patches_are_bounded(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *doc = value_object(&a), *ops = value_array(&a), *out = NULL;
    for (size_t i = 0; i < 100000; i++)
        value_push_member(&a, doc, arena_printf(&a, "k%zu", i), value_int(&a, 1));
    for (size_t i = 0; i < 10000; i++) {
        struct value *op = value_object(&a);
        value_setc(&a, op, "op", value_strc(&a, "replace"));
        value_setc(&a, op, "path", value_strc(&a, "/k99999"));
        value_setc(&a, op, "value", value_int(&a, 2));
        value_push(&a, ops, op);
    }
    assert_int_equal(patch_json(&a, doc, ops, &out, &e), -413);
    assert_string_equal(e.message, "the JSON patch takes too much work");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects),
        cmocka_unit_test(selectors),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(defaults_are_bounded),
        cmocka_unit_test(faults_are_bounded),
        cmocka_unit_test(patches_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
