// Quantities: canonical text, value in units and in thousandths; what is refused; sums.
#include "object/quantity.h"
#include "unit/object/test.h"

static void canonical(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        int64_t value, milli;
    } rows[] = {
        {"0", "0", 0, 0},
        {"0Ki", "0", 0, 0},
        {"-0", "0", 0, 0},
        {"1", "1", 1, 1000},
        {"100", "100", 100, 100000},
        {"1000", "1k", 1000, 1000000},
        {"1500m", "1500m", 2, 1500},
        {"0.5", "500m", 1, 500},
        {".5", "500m", 1, 500},
        {"1.", "1", 1, 1000},
        {"+1", "1", 1, 1000},
        {"-1.5", "-1500m", -2, -1500},
        {"2000m", "2", 2, 2000},
        {"100M", "100M", 100000000, 100000000000},
        {"1000M", "1G", 1000000000, 1000000000000},
        {"0.1G", "100M", 100000000, 100000000000},
        {"1e3", "1e3", 1000, 1000000},
        {"1E3", "1e3", 1000, 1000000},
        {"12e6", "12e6", 12000000, 12000000000},
        {"1.5e3", "1500", 1500, 1500000},
        {"1e4", "10e3", 10000, 10000000},
        {"1e-3", "1e-3", 1, 1},
        {"1E", "1E", 1000000000000000000, INT64_MAX},
        {"10E", "10E", INT64_MAX, INT64_MAX},
        {"1Ki", "1Ki", 1024, 1024000},
        {"1.5Gi", "1536Mi", 1610612736, 1610612736000},
        {"1024Mi", "1Gi", 1073741824, 1073741824000},
        {"1000Ki", "1000Ki", 1024000, 1024000000},
        {"0.5Ki", "512", 512, 512000},
        {"0.1Ki", "102400m", 103, 102400},
        {"1Ei", "1Ei", (int64_t)1 << 60, INT64_MAX},
        {"8Ei", "9223372036854775807", INT64_MAX, INT64_MAX},
        {"100m", "100m", 1, 100},
        {"1u", "1u", 1, 1},
        {"1n", "1n", 1, 1},
        {"0.1n", "1n", 1, 1},
        {"1.0000000001", "1000000001n", 2, 1001},
        {"123456789", "123456789", 123456789, 123456789000},
        {"3.5k", "3500", 3500, 3500000},
        {"009", "9", 9, 9000},
        {"G", "0", 0, 0},
        {"1e100", "9223372036854775807", INT64_MAX, INT64_MAX},
        {"1e-100", "1e-9", 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quantity q, again;
        _cleanup_buf_ struct buf b = BUF_INIT;
        if (!quantity_parse(str_of(rows[i].in), &q))
            fail_msg("%s is refused", rows[i].in);
        quantity_write(&b, &q);
        assert_str(buf_view(&b), rows[i].out);
        assert_int_equal(quantity_value(&q), rows[i].value);
        assert_int_equal(quantity_milli(&q), rows[i].milli);
        // What is canonical stays as it is.
        assert_true(quantity_parse(buf_view(&b), &again));
        assert_int_equal(quantity_cmp(&q, &again), 0);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const char *const rows[] = {"",     "a",     "1a",    "1KI", "1ki", "1 Gi",  " 1",
                                       "1 ",   "1.2.3", "--1",   "1e",  "1e+", "1e1.5", "1mi",
                                       "1Kii", "0x1",   "1_000", "Inf", "1,5", "1e3k"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quantity q = {.nano = 42};
        if (quantity_parse(str_of(rows[i]), &q))
            fail_msg("%s is accepted", rows[i]);
        assert_true(q.nano == 42);
    }
}

static void sums(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *sum, *difference;
    } rows[] = {
        {"1", "500m", "1500m", "500m"},
        {"0", "1Gi", "1Gi", "-1Gi"},
        {"1Gi", "1M", "1074741824", "1072741824"},
        {"1Gi", "512Mi", "1536Mi", "512Mi"},
        {"100m", "0", "100m", "100m"},
        {"1", "1", "2", "0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quantity a, b, c;
        _cleanup_buf_ struct buf out = BUF_INIT;
        assert_true(quantity_parse(str_of(rows[i].a), &a) && quantity_parse(str_of(rows[i].b), &b));
        c = a;
        quantity_add(&c, &b);
        quantity_write(&out, &c);
        assert_str(buf_view(&out), rows[i].sum);
        buf_reset(&out);
        quantity_sub(&a, &b);
        quantity_write(&out, &a);
        assert_str(buf_view(&out), rows[i].difference);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(canonical), cmocka_unit_test(refuses),
                                       cmocka_unit_test(sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
