// JSON: what is read, what is refused and where, what is written.
#include "unit/object/test.h"
#include <math.h>

static void reads_and_writes(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; // out NULL: the same
    } rows[] = {
        {"{}", NULL},
        {"[]", NULL},
        {" \t\r\n[ ] ", "[]"},
        {"{ \"b\" : 1 , \"a\" : [ true , false , null ] }", "{\"b\":1,\"a\":[true,false,null]}"},
        {"0", NULL},
        {"-0", "0"},
        {"-1", NULL},
        {"123456789012345678", NULL},
        {"9223372036854775807", NULL},
        {"-9223372036854775808", NULL},
        {"9223372036854775808", NULL},
        {"123456789012345678901234567890", NULL},
        {"1.50", NULL},
        {"1e3", NULL},
        {"-0.0", NULL},
        {"1E-400", NULL},
        {"\"\"", NULL},
        {"\"plain text longer than sixteen bytes, twice over\"", NULL},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {"\"a\\u00e9\\u20ac\\ud83d\\ude00z\"", "\"a\u00e9\u20ac\U0001f600z\""},
        {"\"\\ud800\"", "\"\ufffd\""},
        {"\"\\ud800\\u0041\"", "\"\ufffdA\""},
        {"\"\\udc00x\"", "\"\ufffdx\""},
        {"\"\u00e9\u20ac\U0001f600 and more text behind it\"", NULL},
        {"\"\\u2028\\u2029\\u0001\\u007f\"", "\"\\u2028\\u2029\\u0001\x7f\""},
        {"\"<&>\"", NULL},
        {"\"\\u0000\"", "\"\\u0000\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int borrow = 0; borrow < 2; borrow++) {
            _cleanup_arena_ struct arena a = ARENA_INIT;
            struct value *v = NULL;
            // The exact size on the heap: reading past it is an error under AddressSanitizer.
            _cleanup_free_ char *in = malloc(strlen(rows[i].in));
            memcpy(in, rows[i].in, strlen(rows[i].in));
            struct json_options opt = {.borrow = borrow};
            _cleanup_err_ struct err e = ERR_INIT;
            if (json_parse(&a, str_n(in, strlen(rows[i].in)), &opt, &v, &e) < 0)
                fail_msg("%s: %s", rows[i].in, e.message);
            assert_json(&a, v, rows[i].out ? rows[i].out : rows[i].in);
        }
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *in, *message;
    } rows[] = {
        {"", "line 1, column 1: unexpected end of JSON input"},
        {"  ", "line 1, column 3: unexpected end of JSON input"},
        {"{", "line 1, column 2: unexpected end of JSON input"},
        {"[1,", "line 1, column 4: unexpected end of JSON input"},
        {"[1 2]", "line 1, column 4: invalid character '2' after array element"},
        {"[1,]", "line 1, column 4: invalid character ']' looking for beginning of value"},
        {"{\"a\":1,}",
         "line 1, column 8: invalid character '}' looking for beginning of object key string"},
        {"{a:1}",
         "line 1, column 2: invalid character 'a' looking for beginning of object key string"},
        {"{\"a\" 1}", "line 1, column 6: invalid character '1' after object key"},
        {"{\"a\":1 \"b\":2}",
         "line 1, column 8: invalid character '\"' after object key:value pair"},
        {"{\n \"a\": x\n}",
         "line 2, column 7: invalid character 'x' looking for beginning of value"},
        {"{} {}", "line 1, column 4: invalid character '{' after top-level value"},
        {"tru", "line 1, column 4: unexpected end of JSON input"},
        {"trux", "line 1, column 4: invalid character 'x' in literal true (expecting 'e')"},
        {"nul!", "line 1, column 4: invalid character '!' in literal null (expecting 'l')"},
        {"01", "line 1, column 2: invalid character '1' after top-level value"},
        {"-", "line 1, column 2: unexpected end of JSON input"},
        {"-x", "line 1, column 2: invalid character 'x' in numeric literal"},
        {"1.", "line 1, column 3: unexpected end of JSON input"},
        {"1.x", "line 1, column 3: invalid character 'x' after decimal point in numeric literal"},
        {"1e+", "line 1, column 4: unexpected end of JSON input"},
        {"+1", "line 1, column 1: invalid character '+' looking for beginning of value"},
        {"1e999", "line 1, column 1: number 1e999 cannot be represented"},
        {"\"abc", "line 1, column 5: unexpected end of JSON input"},
        {"\"a\nb\"", "line 1, column 3: invalid character '\\n' in string literal"},
        {"\"\\x\"", "line 1, column 3: invalid character 'x' in string escape code"},
        {"\"\\u12g4\"",
         "line 1, column 6: invalid character 'g' in \\u hexadecimal character escape"},
        {"\"\\u12", "line 1, column 6: unexpected end of JSON input"},
        {"\"a\xff\"", "line 1, column 3: invalid UTF-8 in string"},
        {"\"\xc0\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xed\xa0\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xf4\x90\x80\x80\"", "line 1, column 2: invalid UTF-8 in string"},
        {"\"\xe2\x82\"", "line 1, column 2: invalid UTF-8 in string"},
        {"'a'", "line 1, column 1: invalid character '\\'' looking for beginning of value"},
        {"// c\n{}", "line 1, column 1: invalid character '/' looking for beginning of value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *v = NULL;
        assert_int_equal(json_parse(&a, str_of(rows[i].in), NULL, &v, &e), -400);
        assert_null(v);
        assert_int_equal(e.reason, ERR_BAD_REQUEST);
        assert_string_equal(e.message, rows[i].message);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static const char doc[] =
        "{\"a\":[1,-2.5e+3,\"x\\u00e9\\n\u20ac\",true,false,null],\"b\":{\"c\":{}}}";
    for (size_t n = 0; n < sizeof doc - 1; n++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_free_ char *in = malloc(n ? n : 1);
        memcpy(in, doc, n);
        struct value *v;
        struct json_options opt = {.borrow = n & 1};
        assert_int_equal(json_parse(&a, str_n(in, n), &opt, &v, NULL), -400);
    }
}

static void depth_is_bounded(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    char text[2 * JSON_DEPTH + 3];
    struct value *v;
    memset(text, '[', JSON_DEPTH);
    memset(text + JSON_DEPTH, ']', JSON_DEPTH);
    assert_int_equal(json_parse(&a, str_n(text, 2 * JSON_DEPTH), NULL, &v, &e), 0);
    memset(text, '[', JSON_DEPTH + 1);
    memset(text + JSON_DEPTH + 1, ']', JSON_DEPTH + 1);
    assert_int_equal(json_parse(&a, str_n(text, 2 * JSON_DEPTH + 2), NULL, &v, &e), -400);
    assert_string_equal(e.message, "line 1, column 257: exceeded max depth");
}

static void duplicates_are_named(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v, *d = value_array(&a);
    struct json_options opt = {.duplicates = d};
    static const char in[] = "{\"a\":1,\"a\":2,\"spec\":{\"c\":[{\"name\":1},{\"name\":1,\"x\":0,"
                             "\"name\":3}],\"c.d\":1,\"c.d\":2},\"\":1,\"\":2}";
    assert_int_equal(json_parse(&a, str_of(in), &opt, &v, NULL), 0);
    assert_json(&a, v,
                "{\"a\":2,\"spec\":{\"c\":[{\"name\":1},{\"name\":3,\"x\":0}],\"c.d\":2},\"\":2}");
    assert_json(&a, d, "[\"a\",\"spec.c[1].name\",\"spec.c.d\",\"\"]");
}

static void many_members(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct value *v, *d = value_array(&a);
    buf_char(&b, '{');
    for (int i = 0; i < 50000; i++)
        buf_printf(&b, "%s\"key%d\":%d", i ? "," : "", i % 49999, i);
    buf_char(&b, '}');
    struct json_options opt = {.duplicates = d};
    assert_int_equal(json_parse(&a, buf_view(&b), &opt, &v, NULL), 0);
    assert_int_equal(v->n, 49999);
    assert_json(&a, d, "[\"key0\"]");
    assert_int_equal(value_int_at(v, "key0", 0), 49999);
    assert_int_equal(value_int_at(v, "key49998", 0), 49998);
}

static void prefix(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v;
    size_t used;
    assert_int_equal(json_parse_prefix(&a, STR("{\"a\":1} \n{\"b\":2}"), NULL, &v, &used, NULL), 0);
    assert_json(&a, v, "{\"a\":1}");
    assert_int_equal(used, 9);
}

static void doubles_as_go_writes_them(void **state)
{
    (void)state;
    static const struct {
        double f;
        const char *text;
    } rows[] = {{0.1, "0.1"},
                {1, "1"},
                {100, "100"},
                {1e20, "100000000000000000000"},
                {1e21, "1e+21"},
                {1e-6, "0.000001"},
                {1.5e-7, "1.5e-7"},
                {-2.5, "-2.5"},
                {1.0 / 3, "0.3333333333333333"},
                {123456.789, "123456.789"},
                {5e-324, "5e-324"},
                {0, "0"},
                {1e9, "1000000000"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        assert_json(&a, value_float(&a, rows[i].f), rows[i].text);
    }
}

static void pretty(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    json_write_pretty(&b, tree(&a, "{\"a\":{},\"b\":[],\"c\":[1,{\"d\":\"e\"}]}"), 4);
    assert_str(buf_view(&b),
               "{\n    \"a\": {},\n    \"b\": [],\n    \"c\": [\n        1,\n        {\n"
               "            \"d\": \"e\"\n        }\n    ]\n}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(duplicates_are_named),
        cmocka_unit_test(many_members),
        cmocka_unit_test(prefix),
        cmocka_unit_test(doubles_as_go_writes_them),
        cmocka_unit_test(pretty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
