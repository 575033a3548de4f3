// Semantic versions: what the original answers (tests/golden/text/semver.txt), order, bounds.
#include "text/semver.h"
#include "unit/text/lines.h"

static void golden_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct semver_constraint *c;
    struct semver v;
    assert_int_equal(n, 3);
    if (semver_constraint_parse(&a, columns[0], &c, &e) < 0) {
        buf_printf(&out, "constraint: %s", e.message);
    } else if (semver_parse(&a, columns[1], &v, &e) < 0) {
        buf_puts(&out, "version");
        assert_string_equal(e.message, "Invalid Semantic Version");
    } else {
        buf_printf(&out, "%s ", semver_constraint_check(c, &v) ? "true" : "false");
        semver_write(&out, &v);
    }
    if (!str_eq(buf_view(&out), columns[2]))
        fail_msg("[%.*s] [%.*s]\n  is     %s\n  wanted %.*s", STR_ARG(columns[0]),
                 STR_ARG(columns[1]), buf_cstr(&out), STR_ARG(columns[2]));
}

static void golden(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/text/semver.txt", golden_line);
}

// semver.org's own order (section 11).
static void order(void **state)
{
    (void)state;
    static const char *const rows[] = {"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
                                       "1.0.0-beta",  "1.0.0-beta.2",  "1.0.0-beta.11",
                                       "1.0.0-rc.1",  "1.0.0",         "1.0.1",
                                       "1.1.0",       "2.0.0"};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    size_t n = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            struct semver x, y;
            assert_int_equal(semver_parse_strict(&a, str_of(rows[i]), &x, NULL), 0);
            assert_int_equal(semver_parse_strict(&a, str_of(rows[j]), &y, NULL), 0);
            int r = semver_compare(&x, &y);
            assert_int_equal(r, i < j ? -1 : i > j);
        }
}

static void refused(void **state)
{
    (void)state;
    static const char *const strict[] = {"1", "1.2", "v1.2.3", "1.2.3-", ""};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct semver v;
    for (size_t i = 0; i < sizeof strict / sizeof *strict; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(semver_parse_strict(&a, str_of(strict[i]), &v, &e), -422);
        assert_string_equal(e.message, "Invalid Semantic Version");
    }
    char big[SEMVER_CONSTRAINT_MAX + 1];
    memset(big, '1', sizeof big);
    _cleanup_err_ struct err e = ERR_INIT, groups = ERR_INIT;
    struct semver_constraint *c;
    assert_int_equal(semver_constraint_parse(&a, str_n(big, sizeof big), &c, &e), -422);
    assert_string_equal(e.message, "constraint string is too long (max 512 bytes)");
    memset(big, '|', sizeof big);
    for (size_t i = 0; i < 100; i++)
        big[i * 3] = '1';
    assert_int_equal(semver_constraint_parse(&a, str_n(big, 301), &c, &groups), -422);
    assert_string_equal(groups.message, "too many constraint groups (max 32)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(order),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
