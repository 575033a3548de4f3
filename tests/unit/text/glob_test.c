// Globs: the two dialects, rules of .helmignore, what is refused.
#include "text/glob.h"
#include "unit.h"

static void dialects(void **state)
{
    (void)state;
    static const struct {
        enum glob_dialect dialect;
        const char *pattern, *text;
        bool match;
    } rows[] = {
        {GLOB_PATH, "*.txt", "a.txt", true},       {GLOB_PATH, "*.txt", "d/a.txt", false},
        {GLOB_PATH, "d/*", "d/a", true},           {GLOB_PATH, "a?c", "abc", true},
        {GLOB_PATH, "a?c", "a/c", false},          {GLOB_PATH, "[a-c]x", "bx", true},
        {GLOB_PATH, "[^a-c]x", "bx", false},       {GLOB_PATH, "\\*", "*", true},
        {GLOB_PATH, "{a,b}", "a", false},          {GLOB_PATH, "{a,b}", "{a,b}", true},
        {GLOB_PATH, "a.c", "abc", false},          {GLOB_GOBWAS, "**", "a/b/c", true},
        {GLOB_GOBWAS, "*", "a/b", false},          {GLOB_GOBWAS, "d/**.yaml", "d/e/f.yaml", true},
        {GLOB_GOBWAS, "{a,b}.txt", "b.txt", true}, {GLOB_GOBWAS, "{a*,b}/c", "ax/c", true},
        {GLOB_GOBWAS, "[!a]", "a", false},         {GLOB_GOBWAS, "[!a]", "b", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct glob *g;
        assert_int_equal(glob_compile(&a, str_of(rows[i].pattern), rows[i].dialect, &g, NULL), 0);
        if (glob_match(g, str_of(rows[i].text)) != rows[i].match)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
    }
    static const char *const bad[] = {"[a", "[", "a\\", "{a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        _cleanup_err_ struct err e = ERR_INIT;
        struct glob *g;
        assert_int_equal(glob_compile(&a, str_of(bad[i]), GLOB_GOBWAS, &g, &e), -422);
        assert_string_equal(e.message, "syntax error in pattern");
    }
}

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *rules, *path;
        bool directory, ignored;
    } rows[] = {
        {"*.bak", "a/b.bak", false, true}, {"*.bak", "a/b.bat", false, false},
        {"/a.txt", "a.txt", false, true},  {"/a.txt", "d/a.txt", false, false},
        {"d/", "d", true, true},           {"d/", "d", false, false},
        {"# x\n\n a ", "a", false, true},  {"d/*.c", "d/x.c", false, true},
        {"d/*.c", "e/x.c", false, false},  {"!keep", "other", false, true},
        {"!keep", "keep", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct glob_rules *r;
        assert_int_equal(glob_rules_parse(&a, str_of(rows[i].rules), &r, NULL), 0);
        if (glob_rules_ignore(r, str_of(rows[i].path), rows[i].directory) != rows[i].ignored)
            fail_msg("%s on %s", rows[i].rules, rows[i].path);
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct glob_rules *r;
    assert_int_equal(glob_rules_parse(&a, STR("a/**"), &r, &e), -422);
    assert_string_equal(e.message, "double-star (**) syntax is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dialects),
        cmocka_unit_test(rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
