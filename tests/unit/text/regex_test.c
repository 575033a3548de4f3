// Regular expressions: what Go's regexp answers (tests/golden/text/regex.txt), on short texts and,
// so that the other matcher runs too, at the end of a long one; bounds; linear time.
#include "text/go_quote.h"
#include "text/regex.h"
#include "text/utf8.h"
#include "unit/text/lines.h"

// The inverse of go_quote, as far as the golden file needs it.
static struct str unquote(struct arena *a, struct str s)
{
    struct buf b = BUF_INIT;
    for (size_t i = 1; i + 1 < s.n; i++) {
        if (s.p[i] != '\\') {
            buf_char(&b, s.p[i]);
            continue;
        }
        char c = s.p[++i];
        unsigned v = 0;
        if (c == 'x')
            for (int k = 0; k < 2; k++) {
                char h = s.p[++i];
                v = v * 16 + (unsigned)(h <= '9' ? h - '0' : h - 'a' + 10);
            }
        buf_char(&b, c == 'n' ? '\n' : c == 't' ? '\t' : c == 'x' ? (char)v : c);
    }
    struct str out = arena_str(a, buf_view(&b));
    buf_done(&b);
    return out;
}

static void add_matches(struct buf *b, const struct regex *re, struct str text)
{
    size_t n = 2 * regex_groups(re), at[64];
    struct regex_each it = regex_each(re, text);
    assert_true(n <= 64);
    buf_char(b, '[');
    for (bool first = true; regex_next(&it, at, n); first = false) {
        buf_puts(b, first ? "[" : ",[");
        for (size_t i = 0; i < n; i++)
            buf_printf(b, "%s%lld", i ? "," : "", at[i] == REGEX_NONE ? -1LL : (long long)at[i]);
        buf_char(b, ']');
    }
    buf_char(b, ']');
}

static int faults; // all of them are shown

static void golden_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf matches = BUF_INIT, replaced = BUF_INIT, quoted = BUF_INIT,
                             split = BUF_INIT;
    struct regex *re;
    assert_true(n == 4 || n == 6);
    struct str pattern = unquote(&a, columns[0]), text = unquote(&a, columns[1]);
    if (regex_compile(&a, pattern, &re, &e) < 0) {
        go_quote(&matches, str_of(e.message));
        if (!str_eq(buf_view(&matches), columns[3]))
            faults++, print_error("%.*s\n  is     %s\n  wanted %.*s\n", STR_ARG(columns[0]),
                                  buf_cstr(&matches), STR_ARG(columns[3]));
        return;
    }
    add_matches(&matches, re, text);
    regex_replace(&replaced, re, text, unquote(&a, columns[2]), false);
    go_quote(&quoted, buf_view(&replaced));
    struct str *parts;
    size_t count = regex_split(&a, re, text, -1, &parts);
    buf_char(&split, '[');
    for (size_t i = 0; i < count; i++) {
        buf_puts(&split, i ? " " : "");
        go_quote(&split, parts[i]);
    }
    buf_char(&split, ']');
    if (!str_eq(buf_view(&matches), columns[3]) || !str_eq(buf_view(&quoted), columns[4]) ||
        !str_eq(buf_view(&split), columns[5]))
        faults++, print_error("%.*s %.*s\n  is     %s %s %s\n  wanted %.*s %.*s %.*s\n",
                              STR_ARG(columns[0]), STR_ARG(columns[1]), buf_cstr(&matches),
                              buf_cstr(&quoted), buf_cstr(&split), STR_ARG(columns[3]),
                              STR_ARG(columns[4]), STR_ARG(columns[5]));
}

static void golden(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/text/regex.txt", golden_line);
    assert_int_equal(faults, 0);
}

// The first match from the end of a long text on must be that of the short text alone, for every
// expression that does not look back at the beginning.
static void long_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct regex *re;
    struct str pattern = unquote(&a, columns[0]), text = unquote(&a, columns[1]);
    if (n != 6 || regex_compile(&a, pattern, &re, NULL) < 0)
        return;
    size_t pad = 300000, at[64], far[64], count = 2 * regex_groups(re);
    char *p = arena_alloc(&a, pad + text.n + 1);
    memset(p, '\n', pad);
    memcpy(p + pad, text.p ? text.p : "", text.n);
    p[pad - 1] = '\n';
    struct str shifted = arena_printf(&a, "\n%.*s", STR_ARG(text));
    bool is = regex_find(re, shifted, 1, at, count);
    assert_int_equal(regex_find(re, str_n(p, pad + text.n), pad, far, count), is);
    // Again with so much text behind it that threads are used.
    struct regex *exact;
    struct str anchored = arena_printf(&a, "(?:%.*s)", STR_ARG(pattern));
    if (regex_compile(&a, anchored, &exact, NULL) < 0)
        return; // \Q without an end swallows the parenthesis
    char *q = arena_alloc(&a, pad + text.n + 1);
    memcpy(q, shifted.p, shifted.n);
    memset(q + shifted.n, '\n', pad - shifted.n);
    struct str behind = arena_printf(&a, "%.*s\n", STR_ARG(shifted));
    bool first = regex_find(re, behind, 1, at, count);
    bool second = regex_find(exact, str_n(q, pad), 1, far, count);
    if (first) { // a match at the very end may differ: there the texts do
        assert_true(second);
        if (at[1] < shifted.n)
            for (size_t i = 0; i < count; i++)
                if (at[i] != far[i])
                    fail_msg("%.*s: %zu is %zu, was %zu", STR_ARG(columns[0]), i, far[i], at[i]);
    }
}

static void long_text(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/text/regex.txt", long_line);
}

static void bounds(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct regex *re;
    char *deep = arena_alloc(&a, 4096), *big = arena_alloc(&a, REGEX_PATTERN_MAX + 1);
    memset(deep, '(', 4096);
    memset(big, 'a', REGEX_PATTERN_MAX + 1);
    struct buf wide = BUF_INIT;
    for (int i = 0; i < 300; i++)
        buf_puts(&wide, "(?:abcdefgh){1000}");
    const struct {
        struct str pattern;
        const char *begins;
    } rows[] = {
        {str_n(deep, 4096), "error parsing regexp: expression nests too deeply: `(((("},
        {str_n(big, REGEX_PATTERN_MAX + 1), "error parsing regexp: expression too large"},
        {buf_view(&wide), "error parsing regexp: expression too large"},
        {STR("a\xff"), "error parsing regexp: invalid UTF-8: `a\xff`"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(regex_compile(&a, rows[i].pattern, &re, &e), -422);
        assert_true(str_starts(str_of(e.message), str_of(rows[i].begins)));
    }
    buf_done(&wide);
}

// What takes others exponential time: a thousand times the text is not a thousand times squared.
static void linear(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    static const char *const patterns[] = {"(a*)*b", "(a|aa)+$", "(.*)(.*)(.*)x", "(a?){30}a{30}"};
    char *text = arena_alloc(&a, 20000);
    memset(text, 'a', 20000);
    text[19999] = 'c';
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct regex *re;
        assert_int_equal(regex_compile(&a, str_of(patterns[i]), &re, NULL), 0);
        regex_match(re, str_n(text, 1000));
        regex_match(re, str_n(text, 20000));
    }
}

// The absent string is the empty one.
static void absent(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct regex *re;
    struct str *parts;
    assert_int_equal(regex_compile(&a, STR("x*"), &re, NULL), 0);
    regex_replace(&b, re, STR_NULL, STR("-"), false);
    assert_string_equal(buf_cstr(&b), "-");
    assert_int_equal(regex_split(&a, re, STR_NULL, -1, &parts), 1);
    assert_true(regex_match(re, STR_NULL));
}

static void quoting(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    regex_quote(&b, STR("a.b*c[d]-\\ $"));
    assert_string_equal(buf_cstr(&b), "a\\.b\\*c\\[d\\]-\\\\ \\$");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden), cmocka_unit_test(long_text), cmocka_unit_test(bounds),
        cmocka_unit_test(linear), cmocka_unit_test(quoting),   cmocka_unit_test(absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
