// YAML: what scalars mean, how trees are written, errors, and the fixtures.
#include "base/env.h"
#include "object/yaml.h"
#include "unit/object/test.h"

static void scalars(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *json;
    } rows[] = {
        {"a", "\"a\""},
        {"'a'", "\"a\""},
        {"\"a\\tb\"", "\"a\\tb\""},
        {"", "null"},
        {"~", "null"},
        {"null", "null"},
        {"NULL", "null"},
        {"nULL", "\"nULL\""},
        {"'null'", "\"null\""},
        {"true", "true"},
        {"yes", "true"},
        {"on", "true"},
        {"Y", "true"},
        {"No", "false"},
        {"off", "false"},
        {"tRUE", "\"tRUE\""},
        {"\"yes\"", "\"yes\""},
        {"0", "0"},
        {"-7", "-7"},
        {"+7", "7"},
        {"1_000", "1000"},
        {"0x1F", "31"},
        {"-0x10", "-16"},
        {"0777", "511"},
        {"0o777", "511"},
        {"0b101", "5"},
        {"-0b11", "-3"},
        {"08", "8"},
        {"1.5", "1.5"},
        {"1.0", "1"},
        {".5", "0.5"},
        {"5.", "5"},
        {"1e3", "1000"},
        {"1e+3", "1000"},
        {"6.8523015e+5", "685230.15"},
        {"1e20", "100000000000000000000"},
        {"18446744073709551615", "18446744073709551615"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"99999999999999999999", "100000000000000000000"},
        {"1e999", "\"1e999\""},
        {".", "\".\""},
        {"-.", "\"-.\""},
        {"1.2.3", "\"1.2.3\""},
        {"10.0.0.1", "\"10.0.0.1\""},
        {"2001-12-14", "\"2001-12-14\""},
        {"2001-12-14T21:59:43Z", "\"2001-12-14T21:59:43Z\""},
        {"12:30:45", "\"12:30:45\""},
        {"500m", "\"500m\""},
        {"1Gi", "\"1Gi\""},
        {"0xZZ", "\"0xZZ\""},
        {"!!str 1", "\"1\""},
        {"!!str true", "\"true\""},
        {"!!int 3", "3"},
        {"!!float 3", "3"},
        {"!!binary aGVsbG8=", "\"hello\""},
        {"!mine x", "\"x\""},
        {"! 12", "\"12\""},
        {"|\n  a\n  b\n", "\"a\\nb\\n\""},
        {">-\n  a\n  b\n", "\"a b\""},
        {"{a: 1, b: [x, 2]}", "{\"a\":1,\"b\":[\"x\",2]}"},
        {"1: x\ntrue: w\n1.5: z\n", "{\"1\":\"x\",\"true\":\"w\",\"1.5\":\"z\"}"},
        {"? a\n: b\n", "{\"a\":\"b\"}"},
        {"a: &x [1]\nb: *x\n", "{\"a\":[1],\"b\":[1]}"},
        {"a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n",
         "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"q\":3,\"p\":1}}"},
        {"b:\n  <<: [{p: 1}, {p: 2, q: 3}]\n", "{\"b\":{\"p\":1,\"q\":3}}"},
        {"'<<': 1\n", "{\"\\u003c\\u003c\":1}"},
        {"---\na: 1\n...\n", "{\"a\":1}"},
        {"# only a comment\n", "null"},
        {"%YAML 1.1\n---\na: b\n", "{\"a\":\"b\"}"},
        {"{\"a\": [1, 2.50, \"x\"]}", "{\"a\":[1,2.5,\"x\"]}"},
        {"a: 1\n---\n", "{\"a\":1}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v;
        if (yaml_parse(&a, str_of(rows[i].yaml), NULL, &v, &e) < 0)
            fail_msg("%s: %s", rows[i].yaml, e.message);
        if (!value_eq(v, tree(&a, rows[i].json)))
            fail_msg("%s: is %.*s", rows[i].yaml, STR_ARG(json_text(&a, v)));
        if (!strstr(rows[i].json, "\\u003c"))
            assert_json(&a, v, rows[i].json);
    }
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } rows[] = {
        {"a: b: c\n", "yaml: line 1: mapping values are not allowed in this context"},
        {"a: 1\nb:\n  c: d: e\n", "yaml: line 3: mapping values are not allowed in this context"},
        {"a: 1\n\tb: 2\n", "yaml: line 2: found a tab character that violates indentation"},
        {"a: [1, 2\n", "yaml: line 2: did not find expected ',' or ']'"},
        {"a: *x\n", "yaml: line 1: unknown anchor 'x' referenced"},
        {"a: &x [*x]\n", "yaml: line 1: anchor 'x' value contains itself"},
        {"a: 1\nb: 2\na: 3\n", "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"},
        {"a: .inf\n", "yaml: line 1: json: unsupported value: +Inf"},
        {"a: .nan\n", "yaml: line 1: json: unsupported value: NaN"},
        {"a: !!int x\n", "yaml: line 1: cannot decode !!str `x` as a !!int"},
        {"a: !!binary '*'\n", "yaml: line 1: !!binary value contains invalid base64 data"},
        {"<<: 1\n", "yaml: line 1: map merge requires map or sequence of maps as the value"},
        {"~: 1\n", "yaml: line 1: unsupported map key of type: null"},
        {"{[1]: 2}\n", "yaml: line 1: invalid map key: [1]"},
        {"a: 1\n---\nb: 2\n", "yaml: more than one document"},
        {"a: \xff\n", "yaml: invalid leading UTF-8 octet (byte 3)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = NULL;
        assert_int_equal(yaml_parse(&a, str_of(rows[i].yaml), NULL, &v, &e), -400);
        assert_string_equal(e.message, rows[i].message);
        assert_null(v);
    }
}

static void streams(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v;
    struct yaml_reader *r = yaml_open(STR("a: 1\n---\n# nothing\n---\n- b\n...\n---\nc: *gone\n"));
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), 1);
    assert_json(&a, v, "{\"a\":1}");
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), 1);
    assert_json(&a, v, "null");
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), 1);
    assert_json(&a, v, "[\"b\"]");
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), -400);
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), -400);
    yaml_close(r);
    r = yaml_open(STR(""));
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), 0);
    assert_int_equal(yaml_next(r, &a, NULL, &v, NULL), 0);
    yaml_close(r);
}

static void duplicates(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v, *d = value_array(&a);
    assert_int_equal(
        yaml_parse(&a, STR("spec:\n  c:\n  - a: 1\n  - a: 1\n    b: 2\n    a: 3\nspec: 1\n"), d, &v,
                   NULL),
        0);
    assert_json(&a, d, "[\"spec.c[1].a\",\"spec\"]");
    assert_json(&a, v, "{\"spec\":1}");
}

static void laughs_are_bounded(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v;
    buf_puts(&b, "a0: &a0 [x]\n");
    for (int i = 1; i < 12; i++) {
        buf_printf(&b, "a%d: &a%d [", i, i);
        for (int j = 0; j < 9; j++)
            buf_printf(&b, "%s*a%d", j ? "," : "", i - 1);
        buf_puts(&b, "]\n");
    }
    assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &v, &e), -400);
    assert_string_equal(e.message,
                        "yaml: line 7: document contains excessive aliasing or too many nodes");
    err_done(&e);
    e = ERR_INIT;
    buf_reset(&b);
    buf_puts(&b, "a: &x \"");
    for (int i = 0; i < 100000; i++)
        buf_char(&b, 'x');
    buf_puts(&b, "\"\nb: [");
    for (int i = 0; i < 2000; i++)
        buf_puts(&b, "*x,");
    buf_puts(&b, "]\n");
    assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &v, &e), -400);
    assert_string_equal(e.message,
                        "yaml: line 2: document contains excessive aliasing or too many nodes");
    err_done(&e);
    e = ERR_INIT;
    buf_reset(&b);
    for (int i = 0; i < 1000; i++)
        buf_char(&b, '[');
    assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &v, &e), -400);
    assert_string_equal(e.message, "yaml: line 1: exceeded max depth");
}

static void written(void **state)
{
    (void)state;
    static const struct {
        const char *json, *yaml;
    } rows[] = {
        {"{}", "{}\n"},
        {"[]", "[]\n"},
        {"\"a\"", "a\n"},
        {"null", "null\n"},
        {"{\"b\":1,\"a\":{\"c\":[],\"d\":{}}}", "a:\n  c: []\n  d: {}\nb: 1\n"},
        {"{\"l\":[1,[2,[3]],{\"a\":1,\"b\":[{\"c\":2}]}]}",
         "l:\n- 1\n- - 2\n  - - 3\n- a: 1\n  b:\n  - c: 2\n"},
        {"[{\"a\":{\"b\":1}}]", "- a:\n    b: 1\n"},
        {"[\"\",\"true\",\"yes\",\"y\",\"null\",\"~\",\"1\",\"1.5\",\"0x1\",\"1e3\",\"<<\",\"1_"
         "0\"]",
         "- \"\"\n- \"true\"\n- \"yes\"\n- \"y\"\n- \"null\"\n- \"~\"\n- \"1\"\n- \"1.5\"\n- "
         "\"0x1\"\n"
         "- \"1e3\"\n- <<\n- \"1_0\"\n"},
        {"[\"2001-01-01\",\"2006-01-02T15:04:05Z\",\"1:30\",\"10.0.0.1\",\"500m\",\"a:b\",\"80:"
         "80\"]",
         "- \"2001-01-01\"\n- \"2006-01-02T15:04:05Z\"\n- \"1:30\"\n- 10.0.0.1\n- 500m\n- a:b\n"
         "- 80:80\n"},
        {"[\"a: b\",\"a #b\",\"#a\",\"- a\",\"-a\",\"-\",\"? a\",\"'a'\",\"*a\",\"a'b\",\" a\",\"a "
         "\",\"@a\",\"%\"]",
         "- 'a: b'\n- 'a #b'\n- '#a'\n- '- a'\n- -a\n- '-'\n- '? a'\n- '''a'''\n- '*a'\n- a'b\n- ' "
         "a'\n- "
         "'a '\n- '@a'\n- '%'\n"},
        {"[\"a\\tb\",\"\\u0001\",\"\\ud83d\\ude00\",\"\u00e9\",\"\\u0085\",\"\\ufeff\"]",
         "- \"a\\tb\"\n- \"\\x01\"\n- \"\\U0001F600\"\n- \u00e9\n- \"\\N\"\n- \"\\uFEFF\"\n"},
        {"{\"a\":\"x\\ny\\n\",\"b\":\"x\\ny\",\"c\":\"x\\n\\n\",\"d\":\"\\nx\",\"e\":\" x\\ny\"}",
         "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |2-\n\n  x\ne: |2-\n   x\n  y\n"},
        {"{\"a\":\"x \\ny\",\"b\":\"x\\t\\ny\",\"c\":\"\\n\",\"d\":\"x\\r\\ny\"}",
         "a: \"x \\ny\"\nb: \"x\\t\\ny\"\nc: |2+\n\nd: \"x\\r\\ny\"\n"},
        {"{\"a10\":1,\"a2\":2,\"a\":3,\"A\":4,\"_x\":5,\"1\":6,\"a-b\":7,\"a.b\":8,\"true\":9}",
         "_x: 5\n\"1\": 6\nA: 4\na: 3\na-b: 7\na.b: 8\na2: 2\na10: 1\n\"true\": 9\n"},
        {"{\"f\":1.50,\"g\":1e10,\"h\":0.00001,\"i\":12345678901234567890,\"j\":1e3,\"k\":-0.25}",
         "f: 1.5\ng: 10000000000\nh: 1e-05\ni: 12345678901234567890\nj: 1000\nk: -0.25\n"},
        {"{\"m\":\"The node was low on resource: memory. Threshold quantity: 100Mi, available: "
         "50Mi and "
         "so on\"}",
         "m: 'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi\n  "
         "and "
         "so on'\n"},
        {"{\"m\":[\"0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
         "0123456789 x\"]}",
         "m:\n- 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
         "0123456789\n  x\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_buf_ struct buf b = BUF_INIT;
        struct value *v = tree(&a, rows[i].json), *again;
        yaml_write(&b, v);
        assert_str(buf_view(&b), rows[i].yaml);
        assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &again, NULL), 0);
        if (!value_eq(v, again))
            fail_msg("%s reads as %.*s", rows[i].yaml, STR_ARG(json_text(&a, again)));
    }
}

static void long_keys(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT, want = BUF_INIT;
    char key[130];
    memset(key, 'k', sizeof key);
    struct value *v = value_object(&a), *again;
    value_set(&a, v, str_n(key, 129), tree(&a, "{\"a\":[1],\"b\":{}}"));
    yaml_write(&b, v);
    buf_printf(&want, "? %.129s\n: a:\n  - 1\n  b: {}\n", key);
    assert_str(buf_view(&b), buf_cstr(&want));
    assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &again, NULL), 0);
    assert_true(value_eq(v, again));
    buf_done(&want);
}

// Documents full of odd strings and keys, as kubectl 1.33 prints them; reading that gives them
// back.
static void as_kubectl(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct str docs, want;
    assert_int_equal(file_read_all(&a, SOURCE_DIR "/tests/golden/object/kubectl_yaml.jsonl",
                                   1 << 24, &docs, NULL),
                     0);
    assert_int_equal(file_read_all(&a, SOURCE_DIR "/tests/golden/object/kubectl_yaml.yaml", 1 << 24,
                                   &want, NULL),
                     0);
    size_t n = 0;
    for (struct str line; docs.p && (line = str_cut(&docs, '\n')).n; n++) {
        struct value *v, *again;
        buf_reset(&b);
        assert_int_equal(json_parse(&a, line, NULL, &v, NULL), 0);
        yaml_write(&b, v);
        assert_true(want.n >= b.n);
        assert_str(buf_view(&b), arena_cstr(&a, str_sub(want, 0, b.n)));
        want = str_from(want, b.n);
        assert_int_equal(yaml_parse(&a, buf_view(&b), NULL, &again, NULL), 0);
        assert_true(value_eq(v, again));
    }
    assert_int_equal(n, 40);
    assert_int_equal(want.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(errors),
        cmocka_unit_test(streams),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(laughs_are_bounded),
        cmocka_unit_test(written),
        cmocka_unit_test(long_keys),
        cmocka_unit_test(as_kubectl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
