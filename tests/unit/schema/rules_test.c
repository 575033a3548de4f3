// Validation where a golden file would be clumsy: subresources, sizes, formats, bodies.
#include "base/buf.h"
#include "object/json.h"
#include "schema/rules.h"
#include "unit.h"

static struct value *parse(struct arena *a, const char *text)
{
    struct value *v = NULL;
    assert_int_equal(json_parse(a, str_of(text), NULL, &v, NULL), 0);
    return v;
}

static const struct kind *pods(void)
{
    return kind_by_word(STR("pods"));
}

static struct value *pod(struct arena *a)
{
    struct value *v = parse(
        a,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"d\","
        "\"resourceVersion\":\"1\"},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"i\","
        "\"resources\":{\"limits\":{\"cpu\":\"1\"}}}]}}");
    assert_int_equal(schema_default(a, pods(), v, NULL), 0);
    return v;
}

static int update(struct arena *a, const char *subresource, struct value *v)
{
    return schema_validate_subresource(a, pods(), str_of(subresource), v, pod(a), NULL);
}

static void subresources(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    // who may set the node: binding only
    struct value *v = pod(&a);
    value_set_at(&a, v, "spec.nodeName", value_strc(&a, "n1"));
    assert_int_equal(update(&a, NULL, v), -422);
    assert_int_equal(update(&a, "resize", v), -422);
    assert_int_equal(update(&a, "binding", v), 0);
    // resources: resize only
    v = pod(&a);
    value_set_at(&a, value_item(value_at(v, "spec.containers"), 0), "resources.limits.cpu",
                 value_strc(&a, "2"));
    assert_int_equal(update(&a, NULL, v), -422);
    assert_int_equal(update(&a, "resize", v), 0);
    // ephemeral containers: their own subresource, never at creation
    v = pod(&a);
    value_set_at(&a, v, "spec.ephemeralContainers",
                 parse(&a, "[{\"name\":\"debug\",\"image\":\"i\"}]"));
    assert_int_equal(schema_default(&a, pods(), v, NULL), 0);
    assert_int_equal(update(&a, NULL, v), -422);
    assert_int_equal(update(&a, "ephemeralcontainers", v), 0);
    assert_int_equal(schema_validate(&a, pods(), v, NULL, NULL), -422);
    // status: the spec is not looked at, metadata is
    v = pod(&a);
    value_set_at(&a, v, "spec.restartPolicy", value_strc(&a, "Sometimes"));
    assert_int_equal(update(&a, NULL, v), -422);
    assert_int_equal(update(&a, "status", v), 0);
    value_set_at(&a, v, "metadata.labels", parse(&a, "{\"a b\":\"c\"}"));
    assert_int_equal(update(&a, "status", v), -422);
}

// A map of one key with n bytes.
static struct value *big(struct arena *a, size_t n)
{
    struct value *map = value_object(a);
    char *p = arena_alloc(a, n);
    memset(p, 'A', n);
    value_setc(a, map, "k", value_str(a, str_n(p, n)));
    return map;
}

static void sizes(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct kind *k = kind_by_word(STR("configmaps"));
    struct value *v = parse(&a, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":"
                                "{\"name\":\"c\",\"namespace\":\"d\"}}");
    _cleanup_err_ struct err e = ERR_INIT;
    value_setc(&a, v, "data", big(&a, 1024 * 1024));
    assert_int_equal(schema_validate(&a, k, v, NULL, NULL), 0);
    value_setc(&a, v, "data", big(&a, 1024 * 1024 + 1));
    assert_int_equal(schema_validate(&a, k, v, NULL, &e), -422);
    assert_string_equal(e.causes[0].reason, "FieldValueTooLong");
    assert_string_equal(e.message, "ConfigMap \"c\" is invalid: []: Too long: may not be more than "
                                   "1048576 bytes");
    err_done(&e);
    e = ERR_INIT;
    value_delc(v, "data");
    value_set_at(&a, v, "metadata.annotations", big(&a, 256 * 1024));
    assert_int_equal(schema_validate(&a, k, v, NULL, &e), -422);
    assert_string_equal(e.message,
                        "ConfigMap \"c\" is invalid: metadata.annotations: Too long: may "
                        "not be more than 262144 bytes");
    assert_string_equal(e.causes[0].field, "metadata.annotations");
    // a thousand faults are not a thousand causes
    value_set_at(&a, v, "metadata.annotations", value_object(&a));
    struct value *labels = value_object(&a);
    for (int i = 0; i < 1000; i++)
        value_set(&a, labels, arena_printf(&a, "bad key %d", i), value_strc(&a, "x"));
    value_set_at(&a, v, "metadata.labels", labels);
    err_done(&e);
    e = ERR_INIT;
    assert_int_equal(schema_validate(&a, k, v, NULL, &e), -422);
    assert_in_range(e.ncauses, 100, 256);
}

static void bodies(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const struct subresource *scale =
        kind_subresource(kind_by_word(STR("deployments")), STR("scale"));
    struct value *v = parse(&a, "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":-1}}");
    assert_int_equal(schema_validate_body(&a, scale, v, &e), -422);
    assert_string_equal(e.message, "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid "
                                   "value: -1: must be greater than or equal to 0");
    assert_string_equal(e.details_kind, "Scale");
    assert_string_equal(e.details_group, "autoscaling");
    value_set_at(&a, v, "spec.replicas", value_int(&a, 3));
    assert_int_equal(schema_validate_body(&a, scale, v, NULL), 0);
}

static void formats(void **state)
{
    (void)state;
    static const struct {
        enum rule_format format;
        const char *text;
        bool good;
    } table[] = {
        {FORMAT_DNS1123_LABEL, "a-1", true},
        {FORMAT_DNS1123_LABEL, "1a", true},
        {FORMAT_DNS1123_LABEL, "a.b", false},
        {FORMAT_DNS1123_LABEL, "-a", false},
        {FORMAT_DNS1123_LABEL, "a-", false},
        {FORMAT_DNS1123_LABEL, "", false},
        {FORMAT_DNS1123_LABEL, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         true},
        {FORMAT_DNS1123_LABEL, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         false},
        {FORMAT_DNS1123_SUBDOMAIN, "a.b-c.d", true},
        {FORMAT_DNS1123_SUBDOMAIN, "a..b", false},
        {FORMAT_DNS1123_SUBDOMAIN, "a.", false},
        {FORMAT_DNS1123_SUBDOMAIN, ".a", false},
        {FORMAT_DNS1035_LABEL, "a1", true},
        {FORMAT_DNS1035_LABEL, "1a", false},
        {FORMAT_QUALIFIED_NAME, "My_name.1", true},
        {FORMAT_QUALIFIED_NAME, "example.com/x", true},
        {FORMAT_QUALIFIED_NAME, "/x", false},
        {FORMAT_QUALIFIED_NAME, "x/", false},
        {FORMAT_QUALIFIED_NAME, "Ex.com/x", false},
        {FORMAT_LABEL_VALUE, "", true},
        {FORMAT_LABEL_VALUE, "a_", false},
        {FORMAT_PORT_NAME, "http-2", true},
        {FORMAT_PORT_NAME, "80", false},
        {FORMAT_PORT_NAME, "a--b", false},
        {FORMAT_PORT_NAME, "abcdefghijklmnop", false},
        {FORMAT_PORT_OR_NAME, "80", false},
        {FORMAT_PORT_OR_NAME, "70000", false},
        {FORMAT_PORT_OR_NAME, "web", true},
        {FORMAT_IP, "10.0.0.1", true},
        {FORMAT_IP, "fd00::1", true},
        {FORMAT_IP, "10.0.0.256", false},
        {FORMAT_IP, "", false},
        {FORMAT_CIDR, "10.0.0.0/8", true},
        {FORMAT_CIDR, "10.0.0.0/33", false},
        {FORMAT_CIDR, "10.0.0.0", false},
        {FORMAT_PATH_SEGMENT, "system:node", true},
        {FORMAT_PATH_SEGMENT, "..", false},
        {FORMAT_PATH_SEGMENT, "a/b", false},
        {FORMAT_PATH_SEGMENT, "a%b", false},
        {FORMAT_RELATIVE_PATH, "a/b", true},
        {FORMAT_RELATIVE_PATH, "/a", false},
        {FORMAT_RELATIVE_PATH, "a/../b", false},
        {FORMAT_RELATIVE_PATH, "a..b", true},
        {FORMAT_CONFIG_KEY, "a.conf", true},
        {FORMAT_CONFIG_KEY, "..a", false},
        {FORMAT_CONFIG_KEY, "", false},
        {FORMAT_ENV_NAME, "A B", true},
        {FORMAT_ENV_NAME, "A=B", false},
        {FORMAT_ENV_NAME, "", false},
    };
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct value *messages = value_array(&a);
        bool good = schema_format_ok(&a, table[i].format, str_of(table[i].text), messages);
        if (good != table[i].good)
            print_error("format %d, \"%s\"\n", table[i].format, table[i].text);
        assert_int_equal(good, table[i].good);
        assert_int_equal(!value_len(messages), good);
    }
}

// 1.0 and 1e2 are numbers to JSON and no integers to Go (small-differences).
static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *text, *message;
    } rows[] = {
        {"deployments", "{\"spec\":{\"replicas\":1.0}}",
         "json: cannot unmarshal number 1.0 into Go struct field DeploymentSpec.spec.replicas of "
         "type int32"},
        {"pods", "{\"spec\":{\"terminationGracePeriodSeconds\":1e2}}",
         "json: cannot unmarshal number 1e2 into Go struct field "
         "PodSpec.spec.terminationGracePeriodSeconds of type int64"},
        {"services", "{\"spec\":{\"ports\":[{\"port\":80.0}]}}",
         "json: cannot unmarshal number 80.0 into Go struct field ServicePort.spec.ports.port of "
         "type int32"},
        {"services", "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":80.0}]}}",
         "json: cannot unmarshal number 80.0 into Go struct field "
         "ServicePort.spec.ports.targetPort of type int32"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = parse(&a, rows[i].text);
        const struct kind *k = kind_by_word(str_of(rows[i].kind));
        assert_int_equal(schema_check_fields(&a, k->type, v, NULL, &e), -400);
        assert_string_equal(e.message, rows[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subresources), cmocka_unit_test(sizes),   cmocka_unit_test(bodies),
        cmocka_unit_test(formats),      cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
