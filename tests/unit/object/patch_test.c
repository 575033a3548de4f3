// JSON patch and merge patch. (Strategic merge patch needs real types: unit/schema/strategic_test.)
#include "object/patch.h"
#include "unit/object/test.h"

static void json_patch(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *ops, *out;
    } rows[] = {
        {"{}", "[]", "{}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\",\"value\":{\"c\":[]}}]",
         "{\"a\":1,\"b\":{\"c\":[]}}"},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":2}]", "{\"a\":2}"},
        {"{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":3}]", "{\"a\":[1,2,3]}"},
        {"{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/0\",\"value\":0}]", "{\"a\":[0,1,2]}"},
        {"{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":3}]", "{\"a\":[1,2,3]}"},
        {"{\"a\":[1,2]}", "[{\"op\":\"remove\",\"path\":\"/a/-1\"}]", "{\"a\":[1]}"},
        {"{\"a\":[1,2],\"b\":1}",
         "[{\"op\":\"remove\",\"path\":\"/b\"},{\"op\":\"remove\",\"path\":"
         "\"/a/0\"}]",
         "{\"a\":[2]}"},
        {"{\"a\":[1,{\"b\":2}]}", "[{\"op\":\"replace\",\"path\":\"/a/1/b\",\"value\":null}]",
         "{\"a\":[1,{\"b\":null}]}"},
        {"{\"a/b\":1,\"c~d\":2,\"\":3}",
         "[{\"op\":\"replace\",\"path\":\"/a~1b\",\"value\":4},{\"op\":\"replace\",\"path\":\"/"
         "c~0d\","
         "\"value\":5},{\"op\":\"replace\",\"path\":\"/\",\"value\":6}]",
         "{\"a/b\":4,\"c~d\":5,\"\":6}"},
        {"{\"a\":{\"b\":1},\"c\":2}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/d\"}]",
         "{\"a\":{},\"c\":2,\"d\":1}"},
        {"{\"a\":{\"b\":[1]}}",
         "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"},{\"op\":\"add\",\"path\":\"/c/b/-\","
         "\"value\":2}]",
         "{\"a\":{\"b\":[1]},\"c\":{\"b\":[1,2]}}"},
        {"{\"a\":1}",
         "[{\"op\":\"test\",\"path\":\"/a\",\"value\":1.0},{\"op\":\"test\",\"path\":\"/b\","
         "\"value\":null}]",
         "{\"a\":1}"},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":[1]}]", "[1]"},
        {"{\"a\":{\"x\":1}}",
         "[{\"op\":\"add\",\"path\":\"/b\",\"value\":{}},{\"op\":\"add\",\"path\":\"/b/"
         "c\",\"value\":1},"
         "{\"op\":\"add\",\"path\":\"/d\",\"value\":{}}]",
         "{\"a\":{\"x\":1},\"b\":{\"c\":1},\"d\":{}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *doc = tree(&a, rows[i].doc), *ops = tree(&a, rows[i].ops), *out;
        if (patch_json(&a, doc, ops, &out, &e) < 0)
            fail_msg("%s: %s", rows[i].ops, e.message);
        assert_json(&a, out, rows[i].out);
        assert_json(&a, doc, rows[i].doc);
        assert_json(&a, ops, rows[i].ops);
    }
}

static void json_patch_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *ops;
        int code;
        const char *message;
    } rows[] = {
        {"{}", "{}", -400, "a JSON patch is an array of operations"},
        {"{}", "[1]", -400, "operation 0 of the JSON patch is not an object"},
        {"{}", "[{\"path\":\"/a\"}]", -400, "operation 0 of the JSON patch has no \"op\""},
        {"{}", "[{\"op\":\"add\",\"path\":\"/a\"}]", -400,
         "operation 0 of the JSON patch has no \"value\""},
        {"{}", "[{\"op\":\"copy\",\"path\":\"/a\"}]", -400,
         "operation 0 of the JSON patch has no \"from\""},
        {"{}", "[{\"op\":\"frob\",\"path\":\"/a\"}]", -400, "Unexpected kind: frob"},
        {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", -422,
         "testing value /a failed: test failed"},
        {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/b\",\"value\":2}]", -422,
         "testing value /b failed: test failed"},
        {"{}", "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":1}]", -422,
         "add operation does not apply: doc is missing path: \"/a/b\": missing value"},
        {"{}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", -422,
         "add operation does not apply: doc is missing path: \"a\": missing value"},
        {"{}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", -422,
         "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value"},
        {"{}", "[{\"op\":\"remove\",\"path\":\"\"}]", -422,
         "remove operation does not apply: doc is missing path: \"\": missing value"},
        {"{}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":1}]", -422,
         "replace operation does not apply: doc is missing key: /a: missing value"},
        {"{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/3\",\"value\":1}]", -422,
         "error in add for path: '/a/3': Unable to access invalid index: 3: invalid index "
         "referenced"},
        {"{\"a\":[1]}", "[{\"op\":\"remove\",\"path\":\"/a/x\"}]", -422,
         "error in remove for path: '/a/x': Unable to access invalid index: x: invalid index "
         "referenced"},
        {"{}", "[{\"op\":\"copy\",\"from\":\"/x\",\"path\":\"/a\"}]", -422,
         "copy operation does not apply: doc is missing from path: \"/x\": missing value"},
        {"{\"a\":{\"b\":{}}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b/c\"}]", -422,
         "move operation does not apply: doc is missing path: \"/a/b/c\": missing value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct value *out = NULL;
        int r = patch_json(&a, tree(&a, rows[i].doc), tree(&a, rows[i].ops), &out, &e);
        assert_int_equal(r, rows[i].code);
        assert_string_equal(e.message, rows[i].message);
        assert_null(out);
    }
}

static void json_patch_bounds(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *out, *ops = value_array(&a);
    struct value *doubling = tree(&a, "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}");
    for (int i = 0; i < 100; i++)
        value_push(&a, ops, doubling);
    assert_int_equal(patch_json(&a, tree(&a, "{\"a\":[\"xxxxxxxxxxxxxxxx\"]}"), ops, &out, &e),
                     -413);
    assert_string_equal(e.message,
                        "Unable to complete the copy, the accumulated size increase of copy "
                        "exceeds the limit 3145728");
    err_done(&e);
    e = ERR_INIT;
    struct value *test = tree(&a, "{\"op\":\"test\",\"path\":\"/a\",\"value\":1}");
    ops = value_array(&a);
    for (int i = 0; i <= 10000; i++)
        value_push(&a, ops, test);
    assert_int_equal(patch_json(&a, tree(&a, "{\"a\":1}"), ops, &out, &e), -413);
    assert_string_equal(e.message,
                        "The allowed maximum operations in a JSON patch is 10000, got 10001");
    err_done(&e);
    e = ERR_INIT;
    _cleanup_buf_ struct buf path = BUF_INIT;
    ops = value_array(&a);
    for (int i = 0; i < 300; i++) {
        buf_puts(&path, "/a");
        struct value *op = tree(&a, "{\"op\":\"add\",\"value\":{}}");
        value_setc(&a, op, "path", value_str(&a, arena_str(&a, buf_view(&path))));
        value_push(&a, ops, op);
    }
    assert_int_equal(patch_json(&a, value_object(&a), ops, &out, &e), -422);
    assert_true(str_ends(str_of(e.message), STR("exceeded max depth")));
}

static void merge_patch(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *patch, *out;
    } rows[] = {
        // The table of RFC 7386, appendix A
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct value *doc = tree(&a, rows[i].doc), *patch = tree(&a, rows[i].patch), *out;
        assert_int_equal(patch_merge(&a, doc, patch, &out, NULL), 0);
        assert_json(&a, out, rows[i].out);
        assert_json(&a, doc, rows[i].doc);
        assert_json(&a, patch, rows[i].patch);
    }
}

static void merge_diff(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *patch;
    } rows[] = {
        {"{\"a\":1}", "{\"a\":1.0}", "{}"},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"c\":3,\"a\":null}"},
        {"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":1}}", "{\"a\":{\"c\":null}}"},
        {"{\"a\":[1]}", "{\"a\":[1,2]}", "{\"a\":[1,2]}"},
        {"{\"a\":{}}", "{\"a\":[]}", "{\"a\":[]}"},
        {"{}", "{\"a\":{\"b\":{}}}", "{\"a\":{\"b\":{}}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct value *from = tree(&a, rows[i].from), *to = tree(&a, rows[i].to), *out;
        struct value *patch = patch_merge_diff(&a, from, to);
        assert_json(&a, patch, rows[i].patch);
        assert_int_equal(patch_merge(&a, from, patch, &out, NULL), 0);
        assert_true(value_eq(out, to));
    }
}

static void merge_of_many_keys(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *doc = value_object(&a), *patch = value_object(&a), *out;
    for (int i = 0; i < 100000; i++) {
        value_push_member(&a, doc, arena_printf(&a, "k%d", i), value_int(&a, i));
        value_push_member(&a, patch, arena_printf(&a, "k%d", i + 50000), value_int(&a, -1));
    }
    assert_int_equal(patch_merge(&a, doc, patch, &out, NULL), 0);
    assert_int_equal(out->n, 150000);
    assert_int_equal(value_int_at(out, "k49999", 0), 49999);
    assert_int_equal(value_int_at(out, "k149999", 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_patch),        cmocka_unit_test(json_patch_refusals),
        cmocka_unit_test(json_patch_bounds), cmocka_unit_test(merge_patch),
        cmocka_unit_test(merge_diff),        cmocka_unit_test(merge_of_many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
