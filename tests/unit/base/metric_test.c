// Metrics: what is counted is printed, by many threads without a loss, in Prometheus' text format.
#include "base/guard.h"
#include "base/metric.h"
#include "base/thread.h"
#include "base/time.h"
#include "unit.h"

static const char *const verbs[] = {"get", "list"};
static const char *const codes[] = {"200", "404", "500"};

static uint64_t read_ctx(void *ctx)
{
    return *(uint64_t *)ctx;
}

static void write_own(void *ctx, const struct metric *m, struct buf *b)
{
    (void)ctx;
    metric_write_series(b, m, "resource", STR("a\"b\\c\nd"), 7);
}

enum { REQUESTS, BUSY, TIME, ASKED, OWN };
static const struct metric rows[] = {
    [REQUESTS] = {"t_requests_total", "Requests.", METRIC_COUNTER,
                  .labels = {{"verb", verbs, 2}, {"code", codes, 3}}},
    [BUSY] = {"t_busy", "Busy.", METRIC_GAUGE},
    [TIME] = {"t_time_seconds", "Time.", METRIC_HISTOGRAM, .labels = {{"verb", verbs, 2}}},
    [ASKED] = {"t_asked", "Asked.", METRIC_GAUGE, .read = read_ctx},
    [OWN] = {"t_own", "Own.", METRIC_GAUGE, .write = write_own},
};

static const char *printed(struct buf *b)
{
    buf_reset(b);
    metric_write(b);
    return buf_cstr(b);
}

static void text(void **state)
{
    (void)state;
    uint64_t asked = 12;
    struct metric_table t = {.rows = rows, .n = ARRAY_LEN(rows), .ctx = &asked};
    _cleanup_buf_ struct buf b = BUF_INIT;
    metric_add(&t, BUSY, 0, 1); // not registered: goes nowhere
    metric_register(&t);
    metric_register(&t);
    assert_string_equal(printed(&b), "# HELP t_asked Asked.\n# TYPE t_asked gauge\nt_asked 12\n"
                                     "# HELP t_busy Busy.\n# TYPE t_busy gauge\nt_busy 0\n"
                                     "# HELP t_own Own.\n# TYPE t_own gauge\n"
                                     "t_own{resource=\"a\\\"b\\\\c\\nd\"} 7\n"
                                     "# HELP t_requests_total Requests.\n"
                                     "# TYPE t_requests_total counter\n"
                                     "# HELP t_time_seconds Time.\n"
                                     "# TYPE t_time_seconds histogram\n");
    metric_add(&t, REQUESTS, 1 * 3 + 2, 5);
    metric_add(&t, REQUESTS, 0, 1);
    metric_add(&t, BUSY, 0, 3);
    metric_sub(&t, BUSY, 0, 1);
    metric_observe(&t, TIME, 1, 100 * NS_PER_US);     // just in the first bucket
    metric_observe(&t, TIME, 1, 100 * NS_PER_US + 1); // just not
    metric_observe(&t, TIME, 1, 61 * NS_PER_S);       // beyond the last
    const char *s = printed(&b);
    assert_non_null(strstr(s, "\nt_busy 2\n"));
    assert_non_null(strstr(s, "counter\nt_requests_total{verb=\"get\",code=\"200\"} 1\n"
                              "t_requests_total{verb=\"list\",code=\"500\"} 5\n#"));
    assert_non_null(strstr(s, "histogram\nt_time_seconds_bucket{verb=\"list\",le=\"0.0001\"} 1\n"
                              "t_time_seconds_bucket{verb=\"list\",le=\"0.00025\"} 2\n"));
    assert_non_null(strstr(s, "t_time_seconds_bucket{verb=\"list\",le=\"60\"} 2\n"
                              "t_time_seconds_bucket{verb=\"list\",le=\"+Inf\"} 3\n"
                              "t_time_seconds_sum{verb=\"list\"} 61.000200001\n"
                              "t_time_seconds_count{verb=\"list\"} 3\n"));
    assert_null(strstr(s, "verb=\"get\",le"));
    metric_unregister(&t);
    metric_unregister(&t);
    assert_string_equal(printed(&b), "");
}

// Several of a kind: one family, a label each.
static void several(void **state)
{
    (void)state;
    static const struct metric depth[] = {{"t_depth", "Depth.", METRIC_GAUGE}};
    struct metric_table one = {depth, 1, "name", "one"}, two = {depth, 1, "name", "two"};
    _cleanup_buf_ struct buf b = BUF_INIT;
    metric_register(&one);
    metric_register(&two);
    metric_set(&two, 0, 0, 9);
    const char *s = printed(&b);
    assert_ptr_equal(strstr(s, "# HELP t_depth"), s);
    assert_null(strstr(s + 1, "# HELP t_depth"));
    assert_non_null(strstr(s, "\nt_depth{name=\"one\"} 0\n"));
    assert_non_null(strstr(s, "\nt_depth{name=\"two\"} 9\n"));
    metric_unregister(&one);
    assert_null(strstr(printed(&b), "one"));
    metric_unregister(&two);
}

enum { THREADS = 4, EACH = 20000 };

static void *count(void *arg)
{
    struct metric_table *t = arg;
    for (int i = 0; i < EACH; i++) {
        metric_add(t, BUSY, 0, 1);
        metric_observe(t, TIME, 0, NS_PER_S);
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    uint64_t asked = 0;
    struct metric_table t = {.rows = rows, .n = ARRAY_LEN(rows), .ctx = &asked};
    _cleanup_buf_ struct buf b = BUF_INIT;
    metric_register(&t);
    pthread_t id[THREADS];
    for (int i = 0; i < THREADS; i++)
        id[i] = thread_start("count", count, &t);
    for (int i = 0; i < 20; i++)
        printed(&b); // while they count
    for (int i = 0; i < THREADS; i++)
        pthread_join(id[i], NULL);
    assert_int_equal(metric_value(&t, BUSY, 0), THREADS * EACH);
    assert_non_null(strstr(printed(&b), "t_time_seconds_count{verb=\"get\"} 80000\n"));
    metric_unregister(&t);
}

static void unlikely(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT;
    assert_null(strstr(printed(&b), "coracle_unlikely_total"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(COUNT_IF(i > 0), i > 0);
        if (WARN_ON(i == 2))
            continue;
        assert_true(i < 2);
    }
    const char *s = printed(&b);
    assert_non_null(strstr(s, "condition=\"i > 0\"} 2\n"));
    assert_non_null(strstr(s, "condition=\"i == 2\"} 1\n"));
    assert_non_null(strstr(s, "coracle_unlikely_total{site=\"metric_test.c:"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(text), cmocka_unit_test(several),
                                       cmocka_unit_test(threads), cmocka_unit_test(unlikely)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
