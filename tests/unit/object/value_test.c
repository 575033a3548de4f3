// The value tree: access by path, changes that keep order, equality and hash, the key index.
#include "object/key_index.h"
#include "unit/object/test.h"

static void access_accepts_anything(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v =
        tree(&a, "{\"s\":\"x\",\"i\":3,\"f\":3.0,\"h\":2.5,\"b\":true,\"o\":{\"p\":{\"q\":1}},"
                 "\"l\":[1,2],\"big\":1e30}");
    assert_str(value_str_at(v, "s"), "x");
    assert_null(value_str_at(v, "i").p);
    assert_int_equal(value_int_at(v, "i", -1), 3);
    assert_int_equal(value_int_at(v, "f", -1), 3);
    assert_int_equal(value_int_at(v, "h", -1), -1);
    assert_int_equal(value_int_at(v, "big", -1), -1);
    assert_int_equal(value_int_at(v, "o.p.q", -1), 1);
    assert_int_equal(value_int_at(v, "o.x.q", -1), -1);
    assert_int_equal(value_int_at(v, "s.p.q", -1), -1);
    assert_true(value_bool_at(v, "b", false));
    assert_true(value_bool_at(v, "none", true));
    assert_null(value_at(NULL, "a.b"));
    assert_null(value_get(NULL, STR("a")));
    assert_int_equal(value_len(value_getc(v, "l")), 2);
    assert_int_equal(value_len(NULL), 0);
    assert_null(value_item(value_getc(v, "l"), 2));
    assert_null(value_item(v, 0));
    int sum = 0;
    value_each_item (value_getc(v, "l"), it)
        sum += (int)value_int_or(it, 0);
    value_each_item ((struct value *)NULL, it)
        sum += 1000 + (int)value_int_or(it, 0);
    assert_int_equal(sum, 3);
}

static void changes_keep_the_order(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = value_object(&a);
    for (int i = 0; i < 9; i++)
        value_set(&a, v, arena_printf(&a, "k%d", i), value_int(&a, i));
    assert_true(value_delc(v, "k4"));
    assert_false(value_delc(v, "k4"));
    value_setc(&a, v, "k0", value_strc(&a, "new"));
    assert_json(&a, v,
                "{\"k0\":\"new\",\"k1\":1,\"k2\":2,\"k3\":3,\"k5\":5,\"k6\":6,\"k7\":7,\"k8\":8}");
    v = value_object(&a);
    value_set_at(&a, v, "a.b.c", value_bool(&a, true));
    value_set_at(&a, v, "a.d", value_null(&a));
    assert_json(&a, v, "{\"a\":{\"b\":{\"c\":true},\"d\":null}}");
    assert_true(value_del_at(v, "a.b.c"));
    assert_false(value_del_at(v, "x.b.c"));
    assert_json(&a, v, "{\"a\":{\"b\":{},\"d\":null}}");
    v = value_array(&a);
    for (int i = 0; i < 6; i++)
        value_push(&a, v, value_int(&a, i));
    value_insert(&a, v, 0, value_int(&a, 10));
    value_insert(&a, v, 7, value_int(&a, 11));
    value_remove(v, 3);
    assert_json(&a, v, "[10,0,1,3,4,5,11]");
}

static void clone_is_independent(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char text[] = "{\"a\":[\"x\",1.50,{\"b\":null}]}";
    struct value *v, *c;
    struct json_options opt = {.borrow = true};
    json_parse(&a, str_n(text, sizeof text - 1), &opt, &v, NULL);
    c = value_clone(&a, v);
    memset(text, '?', sizeof text);
    value_push(&a, value_getc(c, "a"), value_null(&a)); // has no room left: must not spoil
    assert_json(&a, c, "{\"a\":[\"x\",1.50,{\"b\":null},null]}");
}

static void equality(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool eq;
    } rows[] = {
        {"1", "1.0", true},
        {"1.0", "1", true},
        {"1", "1.5", false},
        {"9223372036854775807", "9223372036854775808", false},
        {"0.10", "0.1", true},
        {"null", "false", false},
        {"\"a\"", "\"b\"", false},
        {"\"\"", "\"\"", true},
        {"[1,2]", "[2,1]", false},
        {"[1,2]", "[1,2,3]", false},
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":1,\"b\":2,\"c\":[{}]}", "{\"a\":1,\"c\":[{}],\"b\":2}", true},
        {"{\"a\":1}", "{\"a\":null}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"{}", "{\"a\":null}", false},
        {"{}", "[]", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct value *x = tree(&a, rows[i].a), *y = tree(&a, rows[i].b);
        assert_int_equal(value_eq(x, y), rows[i].eq);
        assert_int_equal(value_eq(y, x), rows[i].eq);
        if (rows[i].eq)
            assert_true(value_hash(x) == value_hash(y));
    }
    assert_true(value_eq(NULL, NULL));
    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_false(value_eq(NULL, value_null(&a)));
}

static void key_index_of_any_size(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 3000; n += n < 40 ? 1 : 977) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_key_index_ struct key_index x = KEY_INDEX_INIT;
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(key_index_add(&x, arena_printf(&a, "k%u", i)), -1);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(key_index_find(&x, arena_printf(&a, "k%u", i)), i);
            assert_int_equal(key_index_add(&x, arena_printf(&a, "k%u", i)), i);
        }
        assert_int_equal(key_index_find(&x, STR("no")), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_accepts_anything), cmocka_unit_test(changes_keep_the_order),
        cmocka_unit_test(clone_is_independent),    cmocka_unit_test(equality),
        cmocka_unit_test(key_index_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
