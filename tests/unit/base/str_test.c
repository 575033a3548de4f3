// Strings, buffers, arenas, maps, blobs.
#include "base/arena.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/map.h"
#include "unit.h"
#include <stdio.h>

#define assert_str(s, text) assert_true(str_eq((s), STR(text)))

static void views(void **state)
{
    (void)state;
    assert_true(str_eq(STR_NULL, STR("")));
    assert_true(str_eqc(STR("a"), "a"));
    assert_false(str_eqc(STR("a"), "ab"));
    assert_true(str_ieq(STR("Content-Type"), STR("content-tYPE")));
    assert_false(str_ieq(STR("["), STR("{"))); // differ in bit 5, are no letters
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0); // bytes, not signed characters
    assert_int_equal(str_cmp(STR_NULL, STR("")), 0);
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_NULL));
    assert_true(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("c"), STR("bc")));
    assert_int_equal(str_find(STR("hello"), STR("ll")), 2);
    assert_int_equal(str_find(STR("hello"), STR("lx")), -1);
    assert_int_equal(str_find(STR_NULL, STR("")), 0);
    assert_int_equal(str_chr(STR("a/b/c"), '/'), 1);
    assert_int_equal(str_rchr(STR("a/b/c"), '/'), 3);
    assert_int_equal(str_chr(STR_NULL, '/'), -1);
    assert_str(str_sub(STR("hello"), 1, 3), "ell");
    assert_str(str_sub(STR("hello"), 9, 3), "");
    assert_str(str_from(STR("hello"), 3), "lo");
    assert_str(str_trim(STR(" \t a b\r\n")), "a b");
    assert_str(str_trim(STR(" \n")), "");
}

static void cutting(void **state)
{
    (void)state;
    struct str rest = STR("a,,b,");
    assert_str(str_cut(&rest, ','), "a");
    assert_str(str_cut(&rest, ','), "");
    assert_str(str_cut(&rest, ','), "b");
    assert_non_null(rest.p); // an empty last part is a part
    assert_str(str_cut(&rest, ','), "");
    assert_null(rest.p);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    u = 7;
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR("+1"), &u));
    assert_false(str_to_u64(STR("1 "), &u));
    assert_int_equal(u, 7); // untouched on failure
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(str_to_i64(STR("+5"), &i) && i == 5);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-"), &i));
}

static void buffers(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    assert_string_equal(buf_cstr(&b), "");
    buf_puts(&b, "n=");
    buf_u64(&b, UINT64_MAX);
    buf_char(&b, ' ');
    buf_i64(&b, INT64_MIN);
    buf_char(&b, ' ');
    buf_u64(&b, 0);
    assert_string_equal(buf_cstr(&b), "n=18446744073709551615 -9223372036854775808 0");
    buf_drop(&b, 2);
    assert_true(str_starts(buf_view(&b), STR("1844")));
    buf_drop(&b, 1000);
    assert_int_equal(b.n, 0);
    for (int n = 0; n < 1000; n += 7) { // both sides of the small formatting buffer
        buf_reset(&b);
        buf_printf(&b, "%*d", n, 1);
        assert_int_equal(b.n, n > 0 ? n : 1);
    }
    buf_reset(&b);
    memcpy(buf_reserve(&b, 3), "abc", 3);
    b.n += 3;
    buf_str(&b, STR_NULL);
    assert_str(buf_view(&b), "abc");
}

static void buffer_maximum(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_MAX(8);
    buf_puts(&b, "12345");
    assert_true(buf_ok(&b));
    buf_puts(&b, "6789");
    assert_false(buf_ok(&b));
    buf_char(&b, 'x'); // would fit, but the buffer has failed
    assert_str(buf_view(&b), "12345");
    assert_null(buf_reserve(&b, 1));
    assert_string_equal(buf_cstr(&b), "12345");
    buf_reset(&b);
    buf_puts(&b, "12345678"); // exactly the maximum
    assert_true(buf_ok(&b));
    assert_string_equal(buf_cstr(&b), "12345678");
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_reset(&b);
    buf_printf(&b, "%0300d", 1);
    assert_false(buf_ok(&b));
}

static void arenas(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t size = 0; size < 70000; size = size * 2 + 1) {
        char *p = arena_alloc(&a, size);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xee, size);
        char *q = arena_zalloc(&a, size);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(q[i], 0);
    }
    uint32_t *list = NULL;
    for (uint32_t n = 0; n < 5000; n++) {
        list = arena_grow(&a, list, n * sizeof *list, (n + 1) * sizeof *list);
        list[n] = n;
        if (n % 1000 == 0)
            arena_alloc(&a, 1); // the next growth must copy
    }
    for (uint32_t n = 0; n < 5000; n++)
        assert_int_equal(list[n], n);
    assert_str(arena_printf(&a, "%s-%d", "x", 5), "x-5");
    assert_int_equal(arena_printf(&a, "%01000d", 5).n, 1000);
    assert_string_equal(arena_cstr(&a, STR_NULL), "");
    assert_null(arena_str(&a, STR_NULL).p);
    assert_str(arena_join(&a, (struct str[]){STR("a"), STR(""), STR("c")}, 3, STR(", ")), "a, , c");
    arena_reset(&a);
    assert_str(arena_str(&a, STR("again")), "again");
    arena_reset(&a);
    arena_reset(&a);
}

static void maps(void **state)
{
    (void)state;
    // Against an array: random sets and deletes over few keys, so that probe runs form and close.
    static uintptr_t model[700];
    struct map m = MAP_INIT;
    uint64_t rng = 42;
    size_t n = 0;
    assert_null(map_get(&m, STR("x")));
    assert_null(map_del(&m, STR("x")));
    for (uintptr_t i = 1; i < 60000; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        unsigned id = (unsigned)(rng >> 33) % 700;
        char key[16];
        snprintf(key, sizeof key, "%u", id);
        bool grow = (rng >> 20) % 100 < ((i / 10000) % 2 ? 30 : 70);
        uintptr_t old =
            (uintptr_t)(grow ? map_set(&m, str_of(key), (void *)i) : map_del(&m, str_of(key)));
        assert_int_equal(old, model[id]);
        n += (grow && !model[id]);
        n -= (!grow && model[id]);
        model[id] = grow ? i : 0;
        assert_int_equal(m.n, n);
    }
    size_t seen = 0;
    map_each (&m, s) {
        uint64_t id;
        assert_true(str_to_u64(str_n(s->key, s->key_n), &id));
        assert_int_equal((uintptr_t)s->value, model[id]);
        seen++;
    }
    assert_int_equal(seen, n);
    map_set(&m, STR(""), NULL); // the empty key, a NULL value
    assert_true(map_has(&m, STR("")) && !map_has(&m, STR("absent")));
    map_done(&m);
}

static void hashes(void **state)
{
    (void)state;
    assert_true(str_hash(STR("a")) == str_hash(STR("a")));
    assert_true(str_hash(STR("a")) != str_hash(STR("b")));
    assert_true(str_hash(str_n("a\0", 2)) != str_hash(STR("a")));
    // Reference: SipHash-1-3 with the key 00 01 .. 0f over 00 01 .. 0e and over nothing.
    str_hash_seed(0x0706050403020100u, 0x0f0e0d0c0b0a0908u);
    assert_true(str_hash(STR("")) == 0xabac0158050fc4dcu);
    const char in[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_true(str_hash(str_n(in, sizeof in)) == 0xd320d86d2a519956u);
}

static void blobs(void **state)
{
    (void)state;
    struct blob *b = blob_new(STR("text"));
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    assert_str(blob_view(b), "text");
    assert_int_equal(b->p[b->n], 0);
    blob_unref(b);
    assert_null(blob_ref(NULL));
    blob_unref(NULL);
    assert_int_equal(blob_view(NULL).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views),          cmocka_unit_test(cutting), cmocka_unit_test(numbers),
        cmocka_unit_test(buffers),        cmocka_unit_test(arenas),  cmocka_unit_test(maps),
        cmocka_unit_test(buffer_maximum), cmocka_unit_test(hashes),  cmocka_unit_test(blobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
