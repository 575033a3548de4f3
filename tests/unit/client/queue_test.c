// The executor and the work queue: client-go's rules, on virtual time where time matters and on
// real threads where order matters.
#include "base/buf.h"
#include "base/guard.h"
#include "base/metric.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/queue.h"
#include "unit.h"

struct sim {
    struct env *env;
    struct loop *loop;
    struct executor *executor;
    struct work_queue *queue;
    struct buf log;                    // what was reconciled, "key@ms "
    enum reconcile_result results[64]; // in order of the calls
    uint64_t after_ns;
    unsigned calls;
    void (*during)(struct sim *s); // runs inside the reconcile
};

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct sim *s = ctx;
    assert_true(arena_str(a, key).n == key.n);
    buf_printf(&s->log, "%.*s@%llu ", STR_ARG(key),
               (unsigned long long)(env_mono(s->env) / 1000000 - 1000));
    if (s->during)
        s->during(s);
    enum reconcile_result r = s->results[s->calls++ % 64];
    *after_ns = s->after_ns;
    if (r == RECONCILE_RETRY)
        err_set(e, ERR_CONFLICT, "not yet");
    return r;
}

static int setup(void **state)
{
    struct sim *s = mem_zalloc(sizeof *s);
    s->env = env_sim_new(7, 1700000000 * NS_PER_S);
    s->loop = loop_new(s->env);
    s->executor = executor_new(s->loop, 0, "test");
    s->queue = work_queue_new(s->executor, "test", 4, reconcile, s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct sim *s = *state;
    work_queue_free(s->queue);
    executor_free(s->executor);
    loop_free(s->loop);
    env_sim_free(s->env);
    buf_done(&s->log);
    free(s);
    return 0;
}

static void run_for(struct sim *s, uint64_t ms)
{
    loop_run_until_idle(s->loop, ms * 1000000);
}

static void test_deduplicates(void **state)
{
    struct sim *s = *state;
    work_queue_add(s->queue, STR("a"));
    work_queue_add(s->queue, STR("b"));
    work_queue_add(s->queue, STR("a"));
    assert_int_equal(work_queue_length(s->queue), 2);
    run_for(s, 0);
    assert_string_equal(buf_cstr(&s->log), "a@0 b@0 ");
    assert_int_equal(work_queue_length(s->queue), 0);
}

static void add_itself(struct sim *s)
{
    if (s->calls == 0) {
        work_queue_add(s->queue, STR("a"));
        work_queue_add(s->queue, STR("a"));
        assert_int_equal(work_queue_length(s->queue), 0); // not ready while it is worked on
    }
}

static void test_added_while_processing_runs_once_more(void **state)
{
    struct sim *s = *state;
    s->during = add_itself;
    work_queue_add(s->queue, STR("a"));
    run_for(s, 0);
    assert_string_equal(buf_cstr(&s->log), "a@0 a@0 ");
}

static void test_retry_backs_off_and_success_forgets(void **state)
{
    struct sim *s = *state;
    for (int i = 0; i < 4; i++)
        s->results[i] = RECONCILE_RETRY;
    s->results[5] = RECONCILE_RETRY; // a new failure after the success
    work_queue_add(s->queue, STR("a"));
    run_for(s, 1000);
    assert_string_equal(buf_cstr(&s->log), "a@0 a@5 a@15 a@35 a@75 ");
    work_queue_add(s->queue, STR("a"));
    run_for(s, 1000);
    uint64_t at = (env_mono(s->env) - 1000000000) / 1000000;
    assert_true(at >= 80);
    assert_int_equal(s->calls, 7); // back to 5 ms, not 80
    assert_true(str_find(buf_view(&s->log), STR("a@75 a@")) >= 0);
}

static void test_backoff_ends_at_1000_seconds(void **state)
{
    struct sim *s = *state;
    for (int i = 0; i < 64; i++)
        s->results[i] = RECONCILE_RETRY;
    work_queue_add(s->queue, STR("a"));
    run_for(s, 5 * 3600 * 1000);
    // 5 ms doubled 18 times passes 1000 s: 18 steps take 1311 s, then one each 1000 s.
    assert_in_range(s->calls, 34, 36);
}

static void test_is_counted(void **state)
{
    struct sim *s = *state;
    _cleanup_buf_ struct buf before = BUF_INIT, after = BUF_INIT;
    s->results[0] = RECONCILE_RETRY;
    work_queue_add(s->queue, STR("a"));
    work_queue_add(s->queue, STR("b"));
    metric_write(&before);
    assert_non_null(strstr(buf_cstr(&before), "\nworkqueue_depth{name=\"test\"} 2\n"));
    run_for(s, 1000);
    metric_write(&after);
    static const char *const lines[] = {
        "\nworkqueue_depth{name=\"test\"} 0\n", "\nworkqueue_adds_total{name=\"test\"} 3\n",
        "\nworkqueue_retries_total{name=\"test\"} 1\n",
        "\nworkqueue_work_duration_seconds_count{name=\"test\"} 3\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_non_null(strstr(buf_cstr(&after), lines[i]));
}

static void test_after_and_earliest_wins(void **state)
{
    struct sim *s = *state;
    work_queue_add_after(s->queue, STR("late"), 300 * NS_PER_MS);
    work_queue_add_after(s->queue, STR("a"), 200 * NS_PER_MS);
    work_queue_add_after(s->queue, STR("a"), 100 * NS_PER_MS);
    work_queue_add_after(s->queue, STR("a"), 250 * NS_PER_MS);
    run_for(s, 1000);
    assert_string_equal(buf_cstr(&s->log), "a@100 late@300 ");
}

static void test_reconcile_after_is_no_failure(void **state)
{
    struct sim *s = *state;
    s->results[0] = s->results[1] = RECONCILE_AFTER;
    s->after_ns = 50 * NS_PER_MS;
    work_queue_add(s->queue, STR("a"));
    run_for(s, 1000);
    assert_string_equal(buf_cstr(&s->log), "a@0 a@50 a@100 ");
}

static void test_forget_drops_the_delay(void **state)
{
    struct sim *s = *state;
    work_queue_add_after(s->queue, STR("a"), 100 * NS_PER_MS);
    work_queue_add_after(s->queue, STR("b"), 100 * NS_PER_MS);
    work_queue_forget(s->queue, STR("a"));
    run_for(s, 1000);
    assert_string_equal(buf_cstr(&s->log), "b@100 ");
}

static void test_many_delays_come_in_order(void **state)
{
    struct sim *s = *state;
    unsigned long long last = 0, seen = 0;
    for (unsigned i = 0; i < 500; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "k%u", i);
        work_queue_add_after(s->queue, str_n(key, (size_t)n), ((i * 7919) % 500 + 1) * NS_PER_MS);
        if (i % 3 == 0)
            work_queue_forget(s->queue, str_n(key, (size_t)n));
    }
    run_for(s, 1000);
    struct str rest = str_trim(buf_view(&s->log));
    while (rest.p) {
        struct str one = str_cut(&rest, ' ');
        uint64_t ms;
        assert_true(str_to_u64(str_from(one, (size_t)str_chr(one, '@') + 1), &ms));
        assert_true(ms >= last);
        last = ms;
        seen++;
    }
    assert_int_equal(seen, 500 - 167);
}

static void test_free_with_work_pending(void **state)
{
    struct sim *s = *state;
    work_queue_add(s->queue, STR("a"));
    work_queue_add_after(s->queue, STR("b"), NS_PER_S);
    work_queue_free(s->queue);
    s->queue = NULL;
    run_for(s, 2000);
    assert_int_equal(s->log.n, 0);
}

// Real threads: eight keys, four workers, many adds from two threads; a key never on two workers,
// and the last add of every key is followed by a run.

enum { KEYS = 8, ROUNDS = 2000 };

struct threads {
    struct work_queue *queue;
    atomic_uint inside[KEYS], added[KEYS], handled[KEYS];
    atomic_bool clash;
    atomic_uint runs;
};

static enum reconcile_result count(void *ctx, struct arena *a, struct str key, uint64_t *after_ns,
                                   struct err *e)
{
    struct threads *t = ctx;
    int k = key.p[0] - '0';
    (void)a;
    (void)after_ns;
    (void)e;
    if (atomic_fetch_add(&t->inside[k], 1))
        atomic_store(&t->clash, true);
    atomic_store(&t->handled[k], atomic_load(&t->added[k]));
    unsigned n = atomic_fetch_add(&t->runs, 1);
    atomic_fetch_sub(&t->inside[k], 1);
    return n % 50 == 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

static void *adder(void *arg)
{
    struct threads *t = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char key = (char)('0' + i % KEYS);
        atomic_fetch_add(&t->added[i % KEYS], 1);
        if (i % 5)
            work_queue_add(t->queue, str_n(&key, 1));
        else
            work_queue_add_after(t->queue, str_n(&key, 1), 100000);
    }
    return NULL;
}

static void stop(struct loop_timer *timer);
struct watchdog {
    struct loop_timer timer;
    struct loop *loop;
    struct threads *threads;
    unsigned turns;
};

static bool settled(struct threads *t)
{
    for (int k = 0; k < KEYS; k++) {
        if (atomic_load(&t->handled[k]) != 2 * ROUNDS / KEYS)
            return false;
    }
    return true;
}

static void stop(struct loop_timer *timer)
{
    struct watchdog *w = container_of(timer, struct watchdog, timer);
    if (settled(w->threads) || ++w->turns > 2000)
        loop_stop(w->loop);
    else
        loop_timer_in(w->loop, timer, 5 * NS_PER_MS);
}

static void test_threads(void **state)
{
    (void)state;
    struct threads t = {0};
    struct loop *l = loop_new(env_system());
    struct executor *x = executor_new(l, 4, "test");
    t.queue = work_queue_new(x, "test", 4, count, &t);
    struct watchdog w = {.timer.fn = stop, .loop = l, .threads = &t};
    pthread_t a = thread_start("adder-a", adder, &t), b = thread_start("adder-b", adder, &t);
    loop_timer_in(l, &w.timer, 5 * NS_PER_MS);
    loop_run(l);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    assert_true(settled(&t));
    assert_false(t.clash);
    work_queue_free(t.queue);
    executor_free(x);
    loop_free(l);
}

static enum reconcile_result forever(void *ctx, struct arena *a, struct str key, uint64_t *after_ns,
                                     struct err *e)
{
    (void)ctx, (void)a, (void)key, (void)after_ns, (void)e;
    return RECONCILE_AFTER; // with no delay: at once
}

static void test_free_while_threads_work(void **state)
{
    (void)state;
    struct loop *l = loop_new(env_system());
    struct executor *x = executor_new(l, 2, "test");
    struct work_queue *q = work_queue_new(x, "test", 2, forever, NULL);
    work_queue_add(q, STR("a"));
    work_queue_add(q, STR("b"));
    work_queue_free(q);
    executor_free(x);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SIM(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
        SIM(test_deduplicates),
        SIM(test_added_while_processing_runs_once_more),
        SIM(test_retry_backs_off_and_success_forgets),
        SIM(test_backoff_ends_at_1000_seconds),
        SIM(test_is_counted),
        SIM(test_after_and_earliest_wins),
        SIM(test_reconcile_after_is_no_failure),
        SIM(test_forget_drops_the_delay),
        SIM(test_many_delays_come_in_order),
        SIM(test_free_with_work_pending),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_free_while_threads_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
