// Times, durations, and the trace context.
#include "base/env.h"
#include "base/time.h"
#include "base/trace.h"
#include "unit.h"

static void rfc3339_writes(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    static const struct {
        int64_t ns;
        int digits;
        const char *text;
    } rows[] = {
        {0, 0, "1970-01-01T00:00:00Z"},
        {1767323045678900001, 0, "2026-01-02T03:04:05Z"},
        {1767323045678900001, 6, "2026-01-02T03:04:05.678900Z"},
        {1767323045678900001, 9, "2026-01-02T03:04:05.678900001Z"},
        {951782400 * NS_PER_S, 0, "2000-02-29T00:00:00Z"},
        {-1, 9, "1969-12-31T23:59:59.999999999Z"},
        {-86400 * NS_PER_S, 0, "1969-12-31T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str s = time_rfc3339(&a, rows[i].ns, rows[i].digits);
        assert_string_equal(arena_cstr(&a, s), rows[i].text);
        int64_t back;
        if (rows[i].digits == 9 || rows[i].ns % NS_PER_S == 0) {
            assert_true(time_parse_rfc3339(s, &back));
            assert_true(back == rows[i].ns);
        }
    }
    // Extremes of the type come back as they went.
    for (int i = 0; i < 2; i++) {
        int64_t back, t = i ? INT64_MIN : INT64_MAX;
        assert_true(time_parse_rfc3339(time_rfc3339(&a, t, 9), &back));
        assert_true(back == t);
    }
}

static void rfc3339_reads(void **state)
{
    (void)state;
    int64_t t;
    assert_true(time_parse_rfc3339(STR("1970-01-01T01:30:00.5+01:30"), &t));
    assert_true(t == NS_PER_S / 2);
    assert_true(time_parse_rfc3339(STR("1969-12-31T23:00:00-01:00"), &t));
    assert_true(t == 0);
    static const char *const wrong[] = {
        "",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-1-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00.1234567890Z",
        "1970-01-01T00:00:00z",
        "1970-01-01T00:00:00Zx",
        "1970-01-01T00:00:00+0100",
        "1970-01-01T00:00:00+24:00",
        "2263-01-01T00:00:00Z", // does not fit
        "0001-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        t = 7;
        if (time_parse_rfc3339(str_of(wrong[i]), &t))
            fail_msg("%s was accepted", wrong[i]);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text; // as Go writes it
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\xc2\xb5s"},
        {2200000, "2.2ms"},
        {3300000000, "3.3s"},
        {4 * 60 * NS_PER_S + 5 * NS_PER_S, "4m5s"},
        {5400 * NS_PER_S, "1h30m0s"},
        {5 * 3600 * NS_PER_S + 6 * 60 * NS_PER_S + 7001000000, "5h6m7.001s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
        {-NS_PER_S, "-1s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        int64_t back;
        duration_write(&b, rows[i].ns);
        assert_string_equal(buf_cstr(&b), rows[i].text);
        assert_true(duration_parse(buf_view(&b), &back));
        assert_true(back == rows[i].ns);
    }
    int64_t ns = 0;
    assert_true(duration_parse(STR("0"), &ns) && ns == 0);
    assert_true(duration_parse(STR("1.5h"), &ns) && ns == 5400 * NS_PER_S);
    assert_true(duration_parse(STR("+.5s"), &ns) && ns == NS_PER_S / 2);
    assert_true(duration_parse(STR("1h1h"), &ns) && ns == 7200 * NS_PER_S);
    assert_true(duration_parse(STR("1\xce\xbcs"), &ns) && ns == 1000);
    static const char *const wrong[] = {"",       "-",           "1",   ".s",
                                        "s",      "1x",          "1s1", "1 s",
                                        "1.",     "--1s",        "1d",  "9223372036854775808ns",
                                        "1.2.3s", "99999999999h"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (duration_parse(str_of(wrong[i]), &ns))
            fail_msg("\"%s\" was accepted", wrong[i]);
}

static void ages(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text; // the cases of apimachinery's duration_test.go
    } rows[] = {
        {-2, "<invalid>"},
        {-1, "0s"},
        {0, "0s"},
        {1, "1s"},
        {119, "119s"},
        {120, "2m"},
        {179, "2m59s"},
        {180, "3m"},
        {600, "10m"},
        {10799, "179m"},
        {10800, "3h"},
        {10860, "3h1m"},
        {28800, "8h"},
        {172799, "47h"},
        {172800, "2d"},
        {176400, "2d1h"},
        {691200, "8d"},
        {86400 * 729LL, "729d"},
        {86400 * 730LL, "2y"},
        {86400 * 731LL, "2y1d"},
        {86400 * 365LL * 8, "8y"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        duration_write_human(&b, rows[i].s * NS_PER_S);
        assert_string_equal(buf_cstr(&b), rows[i].text);
    }
}

static void traces(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct trace_context t;
    struct str w3c = STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_true(trace_parse(w3c, &t));
    assert_true(t.trace_hi == 0x4bf92f3577b34da6 && t.trace_lo == 0xa3ce929d0e0e4736 &&
                t.span == 0x00f067aa0ba902b7 && t.sampled);
    trace_write(&b, &t);
    assert_true(str_eq(buf_view(&b), w3c));
    assert_true(trace_parse(STR("463ac35c9f6413ad-a2fb4a1d1a96d312-0"), &t));
    assert_true(t.trace_hi == 0 && t.trace_lo == 0x463ac35c9f6413ad && !t.sampled);
    assert_true(trace_parse(
        STR("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d-05e3ac9a4f6e3b90"), &t));
    assert_true(t.sampled);
    static const char *const wrong[] = {"",
                                        "0",
                                        "00",
                                        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                                        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                                        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
                                        "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
                                        "463ac35c9f6413ad-a2fb4a1d1a96d312-2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (trace_parse(str_of(wrong[i]), &t))
            fail_msg("\"%s\" was accepted", wrong[i]);

    struct env *env = env_sim_new(1, 0);
    struct trace_context root = trace_child(env, NULL), zero = {0};
    struct trace_context c = trace_child(env, &root), other = trace_child(env, &zero);
    assert_true(root.sampled && (root.trace_hi | root.trace_lo) && root.span);
    assert_true(c.trace_hi == root.trace_hi && c.trace_lo == root.trace_lo && c.span != root.span);
    assert_true(other.trace_lo != root.trace_lo);
    env_sim_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc3339_writes), cmocka_unit_test(rfc3339_reads),
        cmocka_unit_test(durations),      cmocka_unit_test(ages),
        cmocka_unit_test(traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
