// Published objects: canonical head, the spliced revision, items without a head, names.
#include "base/thread.h"
#include "object/object.h"
#include "unit/object/test.h"

static struct object *make(const char *json, uint64_t revision)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct object *o = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (object_from_value(NULL, STR("/registry/pods/default/web"), revision, tree(&a, json), &o,
                          &e) < 0)
        fail_msg("%s: %s", json, e.message);
    return o;
}

static void check(const struct object *o, const char *whole, const char *bare)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    object_write(&b, o);
    assert_str(buf_view(&b), whole);
    assert_true(b.n <= object_json_size(o));
    buf_reset(&b);
    object_write_item(&b, o, true);
    assert_str(buf_view(&b), bare);
    buf_reset(&b);
    object_write_item(&b, o, false);
    assert_str(buf_view(&b), whole);
}

static void head_is_canonical(void **state)
{
    (void)state;
    _cleanup_object_ struct object *o =
        make("{\"spec\":{\"a\":1},\"metadata\":{\"name\":\"web\",\"resourceVersion\":\"7\","
             "\"namespace\":\"default\"},\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"status\":{}}",
             123);
    check(o,
          "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"123\","
          "\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"a\":1},\"status\":{}}",
          "{\"metadata\":{\"resourceVersion\":\"123\",\"name\":\"web\",\"namespace\":\"default\"},"
          "\"spec\":{\"a\":1},\"status\":{}}");
    assert_str(object_name(o), "web");
    assert_str(object_namespace(o), "default");
    assert_str(o->key, "/registry/pods/default/web");

    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_str(value_str_at(object_tree(&a, o), "metadata.resourceVersion"), "123");
    assert_json(&a, object_metadata(&a, o),
                "{\"resourceVersion\":\"123\",\"name\":\"web\",\"namespace\":\"default\"}");

    _cleanup_object_ struct object *later = object_with_revision(o, UINT64_MAX);
    check(later,
          "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":"
          "\"18446744073709551615\",\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"a\":1},"
          "\"status\":{}}",
          "{\"metadata\":{\"resourceVersion\":\"18446744073709551615\",\"name\":\"web\","
          "\"namespace\":\"default\"},\"spec\":{\"a\":1},\"status\":{}}");
    assert_str(object_name(later), "web");
    assert_ptr_equal(later->json, o->json);
}

static void empty_metadata_and_no_revision(void **state)
{
    (void)state;
    _cleanup_object_ struct object *o =
        make("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{}}", 5);
    check(o, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"5\"}}",
          "{\"metadata\":{\"resourceVersion\":\"5\"}}");
    assert_str(object_name(o), "web"); // the key's tail
    assert_null(object_namespace(o).p);
    _cleanup_object_ struct object *p =
        make("{\"kind\":\"X\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"z\":1}", 0);
    check(p, "{\"kind\":\"X\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"z\":1}",
          "{\"metadata\":{\"name\":\"a\"},\"z\":1}");
    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_json(&a, object_metadata(&a, p), "{\"name\":\"a\"}");
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } rows[] = {
        {"[]", "the object is not a JSON object"},
        {"{\"apiVersion\":\"v1\",\"metadata\":{}}", "Object 'Kind' is missing"},
        {"{\"kind\":\"A\",\"metadata\":{}}", "Object 'apiVersion' is missing"},
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\"}", "the object has no metadata"},
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":[]}", "the object has no metadata"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct object *o = NULL;
        assert_int_equal(object_from_value(NULL, STR_NULL, 1, tree(&a, rows[i].json), &o, &e),
                         -400);
        assert_string_equal(e.message, rows[i].message);
        assert_null(o);
    }
}

static void from_stored_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *stored, *whole;
        bool shared;
    } rows[] = {
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\"},\"x\":1}",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\",\"name\":"
         "\"n\"},"
         "\"x\":1}",
         true},
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{}}\n",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"}}\n", true},
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{ }}",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\"}}", false},
        {"{\"apiVersion\":\"v1\",\"kind\":\"A\",\"metadata\":{\"name\":\"n\"}}",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\",\"name\":"
         "\"n\"}}",
         false},
        {"{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\",\"resourceVersion\":"
         "\"3\"}}",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\",\"name\":"
         "\"n\"}}",
         false},
        {"{\"kind\": \"A\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\"}}",
         "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"9\",\"name\":"
         "\"n\"}}",
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct blob *blob = blob_new(str_of(rows[i].stored));
        _cleanup_object_ struct object *o = NULL;
        assert_int_equal(object_from_blob(NULL, STR("/registry/a/n"), 9, blob, &o, NULL), 0);
        _cleanup_buf_ struct buf b = BUF_INIT;
        object_write(&b, o);
        assert_str(buf_view(&b), rows[i].whole);
        assert_int_equal(o->json == blob, rows[i].shared);
        blob_unref(blob);
    }
    struct blob *blob = blob_new(STR("{\"kind\":"));
    struct object *o = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    assert_int_equal(object_from_blob(NULL, STR("/registry/a/n"), 9, blob, &o, &e), -400);
    assert_string_equal(
        e.message, "stored object /registry/a/n: line 1, column 9: unexpected end of JSON input");
    blob_unref(blob);
}

static void *reader(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_object_ struct object *o = object_ref(arg);
        _cleanup_object_ struct object *later = object_with_revision(o, (uint64_t)i + 1);
        BUG_ON(value_int_at(object_tree(&a, later), "spec.n", 0) != 42);
    }
    object_unref(arg);
    return NULL;
}

// Any thread may read, refer to and let go of what is published (run under ThreadSanitizer too).
static void shared_by_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct object *o = make(
        "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n\"},\"spec\":{\"n\":42}}",
        7);
    for (size_t i = 0; i < 4; i++)
        threads[i] = thread_start("reader", reader, object_ref(o));
    object_unref(o);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void nesting_leaves_room_for_lists(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct value *v = tree(&a, "{\"kind\":\"A\",\"apiVersion\":\"v1\",\"metadata\":{}}");
    struct value *deep = value_object(&a);
    for (int i = 0; i < JSON_DEPTH - 3; i++) {
        struct value *outer = value_object(&a);
        value_setc(&a, outer, "d", deep);
        deep = outer;
    }
    value_setc(&a, v, "deep", deep);
    struct object *o = NULL;
    assert_int_equal(object_from_value(NULL, STR_NULL, 1, v, &o, &e), -400);
    assert_string_equal(e.message, "the object is nested more than 250 levels deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_is_canonical), cmocka_unit_test(empty_metadata_and_no_revision),
        cmocka_unit_test(refuses),           cmocka_unit_test(from_stored_bytes),
        cmocka_unit_test(shared_by_threads), cmocka_unit_test(nesting_leaves_room_for_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
