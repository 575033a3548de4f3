// Zones: offsets now, long ago and by rule; local times that exist twice or never; malformed files.
#include "base/env.h"
#include "text/zone.h"
#include "unit.h"

static void offsets(void **state)
{
    (void)state;
    static const struct {
        const char *zone;
        int64_t at;
        int32_t offset;
        const char *abbreviation;
    } rows[] = {
        {"UTC", 0, 0, "UTC"},
        {"", 0, 0, "UTC"},
        {"Europe/Berlin", 1700000000, 3600, "CET"},
        {"Europe/Berlin", 1720000000, 7200, "CEST"},
        {"Europe/Berlin", 4120000000, 7200, "CEST"}, // 2100: by the rule
        {"Europe/Berlin", -3000000000, 3208, "LMT"},
        {"Asia/Seoul", 1720000000, 32400, "KST"},
        {"America/Sao_Paulo", 1720000000, -10800, "-03"},
        {"Australia/Lord_Howe", 4100000000, 39600, "+11"},
        {"Europe/Dublin", 4120000000, 3600, "IST"},
    };
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct zone *z;
        assert_int_equal(zone_load(&a, str_of(rows[i].zone), &z, NULL), 0);
        struct civil c = zone_civil(z, rows[i].at);
        if (c.offset != rows[i].offset || !str_eqc(c.abbreviation, rows[i].abbreviation))
            fail_msg("%s at %lld: %d %.*s", rows[i].zone, (long long)rows[i].at, c.offset,
                     STR_ARG(c.abbreviation));
    }
}

static void local_times(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct zone *z;
    assert_int_equal(zone_load(&a, STR("Europe/Berlin"), &z, NULL), 0);
    static const struct {
        struct civil c;
        int64_t unix_seconds;
    } rows[] = {
        {{.year = 2024, .month = 3, .day = 31, .hour = 2, .minute = 30}, 1711848600},  // never
        {{.year = 2024, .month = 10, .day = 27, .hour = 2, .minute = 30}, 1729992600}, // twice
        {{.year = 2023, .month = 13, .day = 1}, 1704063600},                           // carried
        {{.year = 2024, .month = 1, .day = 1, .hour = -1}, 1704060000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(zone_unix(z, &rows[i].c), rows[i].unix_seconds);
    struct civil c = zone_civil(z, 1711846800); // 2024-03-31 03:00 CEST
    assert_int_equal(c.year, 2024);
    assert_int_equal(c.hour, 3);
    assert_int_equal(c.weekday, 0);
    assert_int_equal(c.yearday, 91);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
    } rows[] = {
        {"Nowhere/City", "unknown time zone Nowhere/City"},
        {"/etc/passwd", "time: invalid location name"},
        {"../etc/passwd", "time: invalid location name"},
        {"Europe", "unknown time zone Europe"},
        {"tzdata.zi", "malformed time zone information"},
    };
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct zone *z;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_err_ struct err e = ERR_INIT;
        assert_int_equal(zone_load(&a, str_of(rows[i].name), &z, &e), -422);
        assert_string_equal(e.message, rows[i].message);
    }
}

// Every prefix of a file is either refused or (version 2: all but the rule at its end) a zone.
static void truncated(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str data;
    struct zone *z;
    assert_int_equal(file_read_all(&a, ZONE_DIR "/Europe/Berlin", ZONE_FILE_MAX, &data, NULL), 0);
    size_t accepted = 0;
    for (size_t n = 0; n < data.n; n++) {
        _cleanup_arena_ struct arena b = ARENA_INIT;
        struct str part = arena_str(&b, str_sub(data, 0, n));
        accepted += zone_parse(&b, STR("x"), part, &z, NULL) == 0;
    }
    assert_in_range(accepted, 1, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets),
        cmocka_unit_test(local_times),
        cmocka_unit_test(refused),
        cmocka_unit_test(truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
