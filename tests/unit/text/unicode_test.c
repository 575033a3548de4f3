// The tables of Unicode: samples of every kind, and what must hold for every character.
#include "base/buf.h"
#include "text/go_quote.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "unit.h"

static void samples(void **state)
{
    (void)state;
    static const struct {
        uint32_t c;
        const char *category;
        uint32_t upper, lower, title, fold;
    } rows[] = {
        {'a', "Ll", 'A', 'a', 'A', 'A'},
        {'A', "Lu", 'A', 'a', 'A', 'a'},
        {'k', "Ll", 'K', 'k', 'K', 0x212a},
        {0x212a, "Lu", 0x212a, 'k', 0x212a, 'K'},
        {'5', "Nd", '5', '5', '5', '5'},
        {0xdf, "Ll", 0xdf, 0xdf, 0xdf, 0x1e9e},
        {0x101, "Ll", 0x100, 0x101, 0x100, 0x100},
        {0x100, "Lu", 0x100, 0x101, 0x100, 0x101},
        {0x1c5, "Lt", 0x1c4, 0x1c6, 0x1c5, 0x1c6},
        {0x131, "Ll", 'I', 0x131, 'I', 0x131},
        {0x130, "Lu", 0x130, 'i', 0x130, 0x130},
        {0x3c3, "Ll", 0x3a3, 0x3c3, 0x3a3, 0x3a3},
        {0x3a3, "Lu", 0x3a3, 0x3c3, 0x3a3, 0x3c2},
        {0x430, "Ll", 0x410, 0x430, 0x410, 0x410},
        {0x4e00, "Lo", 0x4e00, 0x4e00, 0x4e00, 0x4e00},
        {0xac00, "Lo", 0xac00, 0xac00, 0xac00, 0xac00},
        {0x10428, "Ll", 0x10400, 0x10428, 0x10400, 0x10400},
        {0x378, "Cn", 0x378, 0x378, 0x378, 0x378},
        {0x2028, "Zl", 0x2028, 0x2028, 0x2028, 0x2028},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t c = rows[i].c;
        if (strcmp(unicode_category(c), rows[i].category) != 0 ||
            unicode_upper(c) != rows[i].upper || unicode_lower(c) != rows[i].lower ||
            unicode_title(c) != rows[i].title || unicode_fold(c) != rows[i].fold)
            fail_msg("U+%04X: %s %x %x %x %x", c, unicode_category(c), unicode_upper(c),
                     unicode_lower(c), unicode_title(c), unicode_fold(c));
    }
}

// Folding leads back in at most four steps; case changes stay within the orbit, but for the
// characters that Unicode itself does not fold.
static void orbits(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= UTF8_MAX; c++) {
        uint32_t at = unicode_fold(c);
        int steps = 1;
        for (; at != c && steps < 6; steps++)
            at = unicode_fold(at);
        if (at != c)
            fail_msg("U+%04X does not come back", c);
    }
}

static void count(void *ctx, uint32_t lo, uint32_t hi)
{
    *(size_t *)ctx += hi - lo + 1;
}

static void classes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t n;
    } rows[] = {{"Lu", 1831}, {"Nd", 680}, {"L", 136104}, {"Greek", 518}, {"Any", 1114112}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = 0;
        assert_true(unicode_class(str_of(rows[i].name), count, &n));
        assert_int_equal(n, rows[i].n);
    }
    size_t n = 0;
    assert_false(unicode_class(STR("Klingon"), count, &n));
    assert_false(unicode_class(STR("Xx"), count, &n));
    assert_false(unicode_class(STR(""), count, &n));
}

static void quoting(void **state)
{
    (void)state;
    static const struct {
        struct str in;
        const char *out, *ascii;
    } rows[] = {
        {STR("a\"b\\c"), "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""},
        {STR("\n\t\x01\x7f"), "\"\\n\\t\\x01\\x7f\"", "\"\\n\\t\\x01\\x7f\""},
        {STR("\xff\xc3"), "\"\\xff\\xc3\"", "\"\\xff\\xc3\""},
        {STR("\xed\x95\x9c"), "\"\xed\x95\x9c\"", "\"\\ud55c\""},
        {STR("\xe2\x80\x8b\xc2\xa0"), "\"\\u200b\\u00a0\"", "\"\\u200b\\u00a0\""},
        {STR("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"", "\"\\U0001f600\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_buf_ struct buf b = BUF_INIT, ascii = BUF_INIT;
        go_quote(&b, rows[i].in);
        go_quote_ascii(&ascii, rows[i].in);
        assert_string_equal(buf_cstr(&b), rows[i].out);
        assert_string_equal(buf_cstr(&ascii), rows[i].ascii);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples),
        cmocka_unit_test(orbits),
        cmocka_unit_test(classes),
        cmocka_unit_test(quoting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
