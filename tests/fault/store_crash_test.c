// The embedded store on the crash disk. One workload (puts, deletes, transactions of several keys,
// in batches, over many small segments with checkpoints) is run once to count its disk operations,
// then again for each of them: with a crash there, and with each error there. Afterwards the store
// must open and hold exactly the first N transactions for some N that includes every acknowledged
// one; it must take writes; and it must survive a second crash.
//
// CORACLE_FAULT_SEEDS=n repeats all of it with n seeds (default 1).
#include "base/log.h"
#include "fault/crash_disk.h"
#include "unit/store/suite.h"
#include <unistd.h>

static char dir[64];

// The suite's own tests are run elsewhere.
static struct store *suite_open(bool again)
{
    (void)again;
    return NULL;
}

static bool suite_restarts(void)
{
    return false;
}

// ---- the workload, known beforehand ----

enum { TXNS = 60, KEYS = 9, MAX_WRITES = 3, MAX_BATCH = 5 };

struct step {
    struct store_write writes[MAX_WRITES];
    char keys[MAX_WRITES][32], values[MAX_WRITES][200];
    size_t n;
    struct store_txn txn;
};
struct workload {
    struct step steps[TXNS];
    size_t batch[TXNS];              // sizes of the batches
    char state[TXNS + 1][KEYS][200]; // values by key after so many transactions; "" absent
    uint64_t rng;
};

static unsigned pick(struct workload *w, unsigned n)
{
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((w->rng >> 33) % n);
}

// Every transaction changes something, so transaction i commits as revision i + 2.
static void workload_make(struct workload *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->rng = seed;
    for (size_t i = 0; i < TXNS; i++) {
        struct step *s = &w->steps[i];
        memcpy(w->state[i + 1], w->state[i], sizeof w->state[i]);
        unsigned first = pick(w, KEYS);
        s->n = 1 + pick(w, MAX_WRITES);
        w->batch[i] = 1 + pick(w, MAX_BATCH);
        for (size_t k = 0; k < s->n; k++) {
            unsigned key = (first + (unsigned)k) % KEYS;
            char *value = w->state[i + 1][key];
            snprintf(s->keys[k], sizeof s->keys[k], "/registry/things/%u", key);
            s->writes[k] =
                (struct store_write){.key = str_of(s->keys[k]), .expected_revision = STORE_ANY};
            if (value[0] && pick(w, 3) == 0) {
                s->writes[k].op = STORE_DELETE;
                value[0] = 0;
                continue;
            }
            int n = snprintf(value, 200, "%zu.%zu:", i, k);
            size_t more = pick(w, 180);
            memset(value + n, 'x', more);
            value[(size_t)n + more] = 0;
            memcpy(s->values[k], value, 200);
            s->writes[k].op = STORE_PUT;
            s->writes[k].value = blob_new(str_of(value));
        }
    }
}

static void workload_free(struct workload *w)
{
    for (size_t i = 0; i < TXNS; i++)
        for (size_t k = 0; k < w->steps[i].n; k++)
            blob_unref(w->steps[i].writes[k].value);
}

// ---- running it ----

struct batch {
    struct store *store;
    struct step *steps;
    size_t n, left; // left: the writer thread's
    struct store_txn start;
    struct completion done;
};

static void batch_step(struct store_txn *t)
{
    struct batch *b = t->ctx;
    if (--b->left == 0)
        completion_signal(&b->done);
}

// On the writer's thread, so that the whole batch is waiting when it looks again: one group.
static void batch_start(struct store_txn *t)
{
    struct batch *b = t->ctx;
    for (size_t i = 0; i < b->n; i++) {
        struct step *step = &b->steps[i];
        step->txn = (struct store_txn){
            .writes = step->writes, .nwrites = step->n, .complete = batch_step, .ctx = b};
        store_txn(b->store, &step->txn);
    }
}

struct outcome {
    size_t acknowledged; // the first so many
    bool failed, full;
};

// Runs transactions from `from` to before `until`, or to a failure. What was refused for want of
// space is tried again, which must succeed (one fault is planted at most).
static struct outcome run(struct store *s, struct workload *w, size_t from, size_t until,
                          bool stop_when_full)
{
    struct outcome o = {.acknowledged = from};
    while (o.acknowledged < until && !o.failed && !(stop_when_full && o.full)) {
        size_t first = o.acknowledged, n = w->batch[first];
        n = n < until - first ? n : until - first;
        struct batch b = {.store = s, .steps = &w->steps[first], .n = n, .left = n};
        b.start = (struct store_txn){.complete = batch_start, .ctx = &b};
        completion_init(&b.done);
        store_txn(s, &b.start);
        completion_wait(&b.done);
        completion_done(&b.done);
        enum store_result result = b.steps[0].txn.result;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(b.steps[i].txn.result, result); // a group has one fate
            if (result == STORE_OK)
                assert_int_equal(b.steps[i].txn.revision, first + i + 2);
        }
        if (result == STORE_OK) {
            o.acknowledged += n;
        } else if (result == STORE_FULL) {
            assert_false(o.full);
            o.full = true;
            assert_int_equal(store_revision(s), o.acknowledged + 1); // readable, and as it was
        } else {
            assert_int_equal(result, STORE_FAILED);
            o.failed = true;
            // For good; and readable, as it was.
            w->steps[first].txn.writes = w->steps[first].writes;
            assert_int_equal(store_txn_wait(s, &w->steps[first].txn), STORE_FAILED);
            assert_int_equal(store_revision(s), o.acknowledged + 1);
        }
    }
    return o;
}

static struct store *open_on(struct crash_disk *d, struct err *e)
{
    struct store_embedded_options opt = {.segment_bytes = 2048};
    struct store *s = NULL;
    return store_embedded_open(&d->env, dir, &opt, &s, e) == 0 ? s : NULL;
}

struct verify {
    struct workload *w;
    size_t n, seen;
};

static bool verify_kv(void *ctx, const struct store_kv *kv)
{
    struct verify *v = ctx;
    uint64_t key = 0;
    assert_true(str_to_u64(str_from(kv->key, sizeof "/registry/things/" - 1), &key));
    assert_true(str_eqc(blob_view(kv->value), v->w->state[v->n][key]));
    v->seen++;
    return true;
}

// The store holds exactly the first N transactions, at least `acknowledged`; gives N.
static size_t verify(struct store *s, struct workload *w, size_t acknowledged, uint64_t index)
{
    struct verify v = {.w = w, .n = (size_t)store_revision(s) - 1};
    uint64_t at = 0;
    if (v.n < acknowledged || v.n > TXNS)
        fail_msg("fault at operation %lu: %zu transactions acknowledged, %zu there",
                 (unsigned long)index, acknowledged, v.n);
    assert_int_equal(s->ops->range(s, STR("/"), 0, verify_kv, &v, &at, NULL), 0);
    size_t there = 0;
    for (int k = 0; k < KEYS; k++)
        there += w->state[v.n][k][0] != 0;
    assert_int_equal(v.seen, there);
    // History, where there is any, goes back without a break.
    for (uint64_t r = at; r > 1 && r + 4 > at; r--) {
        struct verify old = {.w = w, .n = (size_t)r - 1};
        if (s->ops->range(s, STR("/"), r, verify_kv, &old, &at, NULL) < 0)
            break;
    }
    return v.n;
}

static void remove_checkpoint(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/checkpoint", dir);
    unlink(path);
}

// When the machine stops after a life with a fault.
enum lose {
    LOSE_NOTHING,   // it does not: the next life finds the page cache
    LOSE_AT_END,    // after the workload, or where that failed
    LOSE_WHEN_FULL, // right after the first refusal for want of space
};

// One life with a fault (after another one and a crash, where `second_life`), one after it with a
// crash at its end, and a last look.
static void one_fault(struct workload *w, uint64_t seed, enum fault fault, int errnum,
                      uint64_t index, enum lose lose, bool second_life)
{
    struct crash_disk d;
    struct outcome o = {0};
    struct store *s;
    size_t from = 0;
    remove_checkpoint();
    crash_disk_init(&d, seed ^ index * 0x9e3779b97f4a7c15u);
    if (second_life) {
        s = open_on(&d, NULL);
        assert_int_equal(run(s, w, 0, TXNS / 2, false).acknowledged, TXNS / 2);
        store_close(s);
        crash_disk_restart(&d);
        o.acknowledged = TXNS / 2;
    }
    d.fault = fault;
    d.fault_errno = errnum;
    d.fault_at = d.operations + index;
    s = open_on(&d, NULL);
    if (s) {
        from = verify(s, w, o.acknowledged, index);
        o = run(s, w, from, TXNS, lose == LOSE_WHEN_FULL);
        store_close(s);
    }
    if (lose != LOSE_NOTHING)
        crash_disk_restart(&d);
    d.fault = FAULT_NONE;

    _cleanup_err_ struct err e = ERR_INIT;
    s = open_on(&d, &e);
    if (!s)
        fail_msg("fault at operation %lu (%s): the store does not open again: %s",
                 (unsigned long)index, errnum ? strerrorname_np(errnum) : "crash", e.message);
    size_t n = verify(s, w, o.acknowledged, index);
    if (o.full && lose == LOSE_WHEN_FULL && n != o.acknowledged)
        fail_msg("fault at operation %lu: what was refused for want of space is there",
                 (unsigned long)index);
    o = run(s, w, n, TXNS, false);
    assert_false(o.failed || o.full);
    assert_int_equal(o.acknowledged, TXNS);
    store_close(s);
    crash_disk_restart(&d);
    s = open_on(&d, &e);
    if (!s)
        fail_msg("fault at operation %lu: not after a second crash: %s", (unsigned long)index,
                 e.message);
    assert_int_equal(verify(s, w, TXNS, index), TXNS);
    store_close(s);
    crash_disk_done(&d);
}

static uint64_t seeds(void)
{
    uint64_t n = 1;
    const char *want = getenv("CORACLE_FAULT_SEEDS");
    if (want && !str_to_u64(str_of(want), &n))
        fail_msg("CORACLE_FAULT_SEEDS is not a number");
    return n;
}

// The fault is moved along until a run ends before it is reached.
static void each_operation(enum fault fault, int errnum, enum lose lose, bool second_life)
{
    static struct workload w;
    uint64_t all = seeds();
    for (uint64_t seed = 1; seed <= all; seed++) {
        workload_make(&w, seed);
        struct crash_disk d;
        remove_checkpoint();
        crash_disk_init(&d, seed);
        struct store *s = open_on(&d, NULL);
        assert_int_equal(run(s, &w, 0, TXNS, false).acknowledged, TXNS);
        store_close(s);
        uint64_t operations = d.operations;
        crash_disk_done(&d);
        assert_true(operations > TXNS);
        for (uint64_t index = 0; index <= operations; index++)
            one_fault(&w, seed, fault, errnum, index, lose, second_life);
        workload_free(&w);
    }
}

static void crash_at_each_operation(void **state)
{
    (void)state;
    each_operation(FAULT_CRASH, 0, LOSE_AT_END, false);
}

static void eio_at_each_operation(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, EIO, LOSE_NOTHING, false);
}

static void eio_then_crash(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, EIO, LOSE_AT_END, false);
}

static void enospc_at_each_operation(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, ENOSPC, LOSE_NOTHING, false);
}

static void enospc_then_crash(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, ENOSPC, LOSE_AT_END, false);
}

static void refused_is_not_written(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, ENOSPC, LOSE_WHEN_FULL, false);
}

// The same in a life that begins with recovery, so that each of its operations fails as well.
static void crash_in_recovery(void **state)
{
    (void)state;
    each_operation(FAULT_CRASH, 0, LOSE_AT_END, true);
}

static void eio_in_recovery(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, EIO, LOSE_NOTHING, true);
    each_operation(FAULT_ERROR, EIO, LOSE_AT_END, true);
}

static void enospc_in_recovery(void **state)
{
    (void)state;
    each_operation(FAULT_ERROR, ENOSPC, LOSE_AT_END, true);
}

// A disk that stays full for a while: writes are refused, reads are served, and when space returns
// the store goes on.
static void full_for_a_while(void **state)
{
    static struct workload w;
    for (int sparse = 0; sparse < 2; sparse++) {
        struct crash_disk d;
        remove_checkpoint();
        workload_make(&w, 3);
        crash_disk_init(&d, 3);
        d.sparse = sparse;
        struct store *s = open_on(&d, NULL);
        size_t n = 0;
        for (int times = 0; times < 3; times++) {
            pthread_mutex_lock(&d.lock);
            d.full = true;
            pthread_mutex_unlock(&d.lock);
            struct outcome o = run(s, &w, n, TXNS, true);
            assert_true(o.full && !o.failed);
            assert_true(times == 0 || !sparse || o.acknowledged == n);
            n = verify(s, &w, o.acknowledged, 0);
            assert_int_equal(n, o.acknowledged);
            o = run(s, &w, n, TXNS, true); // still
            assert_true(o.full && o.acknowledged == n);
            pthread_mutex_lock(&d.lock);
            d.full = false;
            pthread_mutex_unlock(&d.lock);
            struct step *step = &w.steps[n++];
            step->txn = (struct store_txn){.writes = step->writes, .nwrites = step->n};
            assert_int_equal(store_txn_wait(s, &step->txn), STORE_OK);
        }
        assert_int_equal(run(s, &w, n, TXNS, false).acknowledged, TXNS);
        store_close(s);
        crash_disk_restart(&d);
        s = open_on(&d, NULL);
        assert_int_equal(verify(s, &w, TXNS, 0), TXNS);
        store_close(s);
        crash_disk_done(&d);
        workload_free(&w);
    }
    (void)state;
}

static int setup(void **state)
{
    (void)state;
    // The checkpoint is on a real disk (crash_disk.h is not LMDB's); memory will do.
    snprintf(dir, sizeof dir, "%s/coracle-crash-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char path[128];
    remove_checkpoint();
    snprintf(path, sizeof path, "%s/lock", dir);
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest suite[] = {SUITE_TESTS};
    (void)suite;                   // named, so that the suite's functions count as used
    log_threshold = LOG_ERROR + 1; // refused and failed writes are what this is about
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_at_each_operation), cmocka_unit_test(eio_at_each_operation),
        cmocka_unit_test(eio_then_crash),          cmocka_unit_test(enospc_at_each_operation),
        cmocka_unit_test(enospc_then_crash),       cmocka_unit_test(refused_is_not_written),
        cmocka_unit_test(full_for_a_while),        cmocka_unit_test(crash_in_recovery),
        cmocka_unit_test(eio_in_recovery),         cmocka_unit_test(enospc_in_recovery),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
