// Base64: RFC 4648's own examples in both alphabets, and what is refused.
#include "object/base64.h"
#include "unit/object/test.h"

static const struct {
    const char *bytes, *text, *url;
} examples[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xfb\xff\xfe", "+//+", "-__-"},
};

static void both_ways(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct str bytes = str_of(examples[i].bytes), back;
        assert_str(base64_text(&a, bytes), examples[i].text);
        assert_true(base64_bytes(&a, str_of(examples[i].text), &back));
        assert_true(str_eq(back, bytes));
        _cleanup_buf_ struct buf b = BUF_INIT;
        base64url_encode(&b, bytes);
        assert_str(buf_view(&b), examples[i].url);
        assert_true(base64url_decode(&a, str_of(examples[i].url), &back));
        assert_true(str_eq(back, bytes));
    }
}

static void lines_are_joined(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str back;
    assert_true(base64_bytes(&a, STR("Zm9v\r\nYg==\n"), &back));
    assert_str(back, "foob");
}

static void refused(void **state)
{
    (void)state;
    static const char *const standard[] = {
        "Zg", "Zg=", "Z", "Zm9v=", "Zg==Zg==", "Zm 9v", "-__-", "=", "====", "Zg=a"};
    // A lone digit, padding, the other alphabet, white space, bits that belong to no byte.
    static const char *const url[] = {"Z", "Zg==", "+//+", "Zm9v\n", "Zh", "Zm9"};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str untouched = STR("untouched");
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++)
        if (base64_bytes(&a, str_of(standard[i]), &untouched))
            fail_msg("%s is taken for base64", standard[i]);
    for (size_t i = 0; i < sizeof url / sizeof *url; i++)
        if (base64url_decode(&a, str_of(url[i]), &untouched))
            fail_msg("%s is taken for base64url", url[i]);
    assert_str(untouched, "untouched");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(lines_are_joined),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
