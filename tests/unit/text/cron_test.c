// Cron: what the original answers (tests/golden/text/cron.txt), bounds, and Jenkins' dialect.
#include "base/buf.h"
#include "text/cron.h"
#include "unit/text/lines.h"

static void golden_line(struct str *columns, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct cron_options o = {0};
    struct cron *c;
    int64_t t;
    assert_int_equal(n, 4);
    assert_int_equal(zone_load(&a, columns[0], &o.zone, &e), 0);
    assert_true(str_to_i64(columns[1], &t));
    if (cron_parse(&a, columns[2], &o, &c, &e) < 0) {
        buf_printf(&out, "error: %s", e.message);
    } else {
        for (int i = 0; i < 6; i++) {
            buf_puts(&out, i ? " " : "");
            if (!cron_next(c, t, &t)) {
                buf_puts(&out, "none");
                break;
            }
            buf_i64(&out, t);
        }
    }
    if (!str_eq(buf_view(&out), columns[3]))
        fail_msg("%.*s [%.*s]\n  is     %s\n  wanted %.*s", STR_ARG(columns[0]),
                 STR_ARG(columns[2]), buf_cstr(&out), STR_ARG(columns[3]));
}

static void golden(void **state)
{
    (void)state;
    lines_each(SOURCE_DIR "/tests/golden/text/cron.txt", golden_line);
}

static void bounds(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *big = arena_alloc(&a, CRON_SPEC_MAX + 2);
    memset(big, '*', CRON_SPEC_MAX + 1);
    static const struct {
        const char *spec, *message;
    } rows[] = {
        {"", "empty spec string"},
        {"TZ=UTC", "provided bad location UTC: no schedule follows"},
    };
    struct cron *c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(cron_parse(&a, str_of(rows[i].spec), &(struct cron_options){0}, &c, &e),
                         -422);
        assert_string_equal(e.message, rows[i].message);
    }
    _cleanup_err_ struct err e = ERR_INIT;
    assert_int_equal(
        cron_parse(&a, str_n(big, CRON_SPEC_MAX + 1), &(struct cron_options){0}, &c, &e), -422);
    assert_string_equal(e.message, "schedule is longer than 4096 bytes");
}

static void last(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct cron *c;
    int64_t t;
    assert_int_equal(cron_parse(&a, STR("*/10 * * * *"), &(struct cron_options){0}, &c, NULL), 0);
    assert_true(cron_last(c, 1700000000, 1700003000, 100, &t));
    assert_int_equal(t, 1700002800);
    assert_true(cron_last(c, 1700000000, 1700003000, 2, &t)); // the limit stops the walk
    assert_int_equal(t, 1700001000);
    assert_false(cron_last(c, 1700000000, 1700000100, 100, &t));
    assert_int_equal(cron_every(c), 0);
    assert_int_equal(cron_parse(&a, STR("@every 90s"), &(struct cron_options){0}, &c, NULL), 0);
    assert_int_equal(cron_every(c), 90);
}

static void jenkins(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *message; // NULL: accepted
    } rows[] = {
        {"H H * * *", NULL},
        {"H/15 * * * *", NULL},
        {"H(0-29)/10 H(8-15) * * 1-5", NULL},
        {"@midnight", NULL},
        {"0 0 * * 7", NULL},
        {"5,10-20/5 * * * *", NULL},
        {"60 * * * *", "60 is an invalid value. Must be within the range of 0 and 59"},
        {"H/61 * * * *", "61 is an invalid value. Must be within the range of 1 and 60"},
        {"20-10 * * * *", "You mean 10-20?"},
        {"* * * *", "Invalid input: \"* * * *\": column 8: expecting space"},
        {"* * * * * x", "Invalid input: \"* * * * * x\": column 10: expecting end of line"},
        {"x * * * *", "Invalid input: \"x * * * *\": column 1: expecting a number"},
        {"*/0 * * * *", "0 is an invalid value. Must be within the range of 1 and 60"},
    };
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct cron_options o = {.dialect = CRON_JENKINS, .hash = STR("folder/job")};
    struct cron *c;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        int r = cron_parse(&a, str_of(rows[i].spec), &o, &c, &e);
        if (rows[i].message) {
            assert_int_equal(r, -422);
            assert_string_equal(e.message, rows[i].message);
        } else if (r < 0) {
            fail_msg("%s: %s", rows[i].spec, e.message);
        }
    }
    // H keeps to its range, is the same each time, and differs between jobs.
    bool differs = false;
    int64_t first = 0;
    for (int job = 0; job < 20; job++) {
        int64_t t = 1700006400, again = t; // midnight
        o.hash = arena_printf(&a, "job-%d", job);
        for (int k = 0; k < 2; k++) {
            int64_t *to = k ? &again : &t;
            assert_int_equal(cron_parse(&a, STR("H(10-19) H(2-4) * * *"), &o, &c, NULL), 0);
            assert_true(cron_next(c, *to, to));
        }
        assert_int_equal(t, again);
        assert_in_range((t - 1700006400) / 3600, 2, 4);
        assert_in_range(t / 60 % 60, 10, 19);
        if (!job)
            first = t;
        differs |= t != first;
    }
    assert_true(differs);
    // Both day fields have to match: Friday the 13th.
    int64_t t = 1700000000;
    assert_int_equal(cron_parse(&a, STR("0 0 13 * 5"), &o, &c, NULL), 0);
    assert_true(cron_next(c, t, &t));
    assert_int_equal(t, 1726185600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(bounds),
        cmocka_unit_test(last),
        cmocka_unit_test(jenkins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
