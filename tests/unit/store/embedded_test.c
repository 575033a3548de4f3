// The shared suite against the embedded store on the real disk, and what only it promises: the
// directory, damage, checkpoints, cutting.
#include "unit/store/suite.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], dir[80];
static struct store_embedded_options options;

static void remove_name(void *ctx, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    unlink(path);
}

static void clear(void)
{
    env_system()->ops->list_dir(env_system(), dir, remove_name, dir);
    rmdir(dir);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/coracle-store-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(dir, sizeof dir, "%s/store", root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clear();
    return rmdir(root);
}

static struct store *open_or_fail(void)
{
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (store_embedded_open(env_system(), dir, &options, &s, &e) < 0)
        fail_msg("opening: %s", e.message);
    return s;
}

static struct store *suite_open(bool again)
{
    if (!again) {
        options = (struct store_embedded_options){0};
        clear();
    }
    return open_or_fail();
}

static bool suite_restarts(void)
{
    return true;
}

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void assert_refused(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void assert_refused(int code, const char *fmt, ...)
{
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    char want[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(want, sizeof want, fmt, ap);
    va_end(ap);
    assert_int_equal(store_embedded_open(env_system(), dir, &options, &s, &e), code);
    assert_string_equal(e.message, want);
    assert_null(s);
}

static void one_process_at_a_time(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    assert_refused(-503, "store %s is in use by another process (pid %d)", dir, (int)getpid());
    put(s, "/a", "1", 0, NULL); // undisturbed
    store_close(s);
    s = suite_open(true);
    assert_list(s, "/", 0, "/a=1@2/2/1 ");
    store_close(s);
}

static void write_file(const char *name, const char *text)
{
    assert_int_equal(file_write_all(in_dir(name), str_of(text), 0600, NULL), 0);
}

static void other_versions(void **state)
{
    (void)state;
    store_close(suite_open(false));
    write_file("version", "coracle store 2\n");
    assert_refused(-500,
                   "%s is of another version: it says \"coracle store 2\", this program reads "
                   "\"coracle store 1\"",
                   dir);
    unlink(in_dir("version"));
    write_file("wal-00000000000000000001.log", "x");
    assert_refused(-500, "%s holds a log but no file \"version\"", dir);
}

static void not_a_directory(void **state)
{
    (void)state;
    clear();
    assert_int_equal(file_write_all(dir, STR("x"), 0600, NULL), 0);
    assert_refused(-500, "opening %s/lock: Not a directory", dir);
    unlink(dir);
    char deep[128];
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    snprintf(deep, sizeof deep, "%s/not/there", root);
    assert_int_equal(store_embedded_open(env_system(), deep, NULL, &s, &e), -404);
    char want[256];
    snprintf(want, sizeof want, "making directory %s: No such file or directory", deep);
    assert_string_equal(e.message, want);
}

// Overwrites bytes of a file of the store.
static void scribble(const char *name, off_t at, const char *bytes, size_t n)
{
    int fd = open(in_dir(name), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

#define WAY_OUT                                                                                    \
    "restore a backup, or make a file %s/accept-loss to go on with what is intact before it"

static const char first[] = "wal-00000000000000000001.log";

static void damage_is_refused(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    for (int i = 0; i < 10; i++)
        put(s, "/a", "some value", STORE_ANY, NULL);
    store_close(s);
    // In the middle: acknowledged writes follow.
    scribble(first, 64 + 3 * 80 + 40, "X", 1);
    assert_refused(-500,
                   "log segment %s/%s is damaged at offset 304: an intact record follows one that "
                   "is not; " WAY_OUT,
                   dir, first, dir);
    scribble(first, 0, "X", 1);
    assert_refused(-500,
                   "log segment %s/%s is damaged at offset 0: its header is not valid; " WAY_OUT,
                   dir, first, dir);
}

// What a crash leaves of a frame that was never acknowledged.
static void torn_tail_is_dropped(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    put(s, "/a", "some value", STORE_ANY, NULL);
    put(s, "/a", "other text", STORE_ANY, NULL);
    store_close(s);
    scribble(first, 64 + 2 * 80, "CWF1\1\2\3\4\x50\0\0\0\0\0\0\0\4", 17);
    s = suite_open(true);
    assert_int_equal(store_revision(s), 3);
    assert_list(s, "/", 0, "/a=other text@2/3/2 ");
    put(s, "/a", "third text", STORE_ANY, NULL); // in its place
    put(s, "/b", "more", STORE_ANY, NULL);
    store_close(s);
    s = suite_open(true);
    assert_list(s, "/", 0, "/a=third text@2/4/3 /b=more@5/5/1 ");
    store_close(s);
}

// The same damage in what was acknowledged, and known to be.
static void damaged_tail_is_refused(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    put(s, "/a", "some value", STORE_ANY, NULL);
    put(s, "/a", "other text", STORE_ANY, NULL);
    store_close(s);
    scribble(first, 64 + 80 + 76, "X", 1); // in the last frame
    assert_refused(-500,
                   "log segment %s/%s is damaged at offset 144: number 3 was written and is not "
                   "intact; " WAY_OUT,
                   dir, first, dir);
    write_file("accept-loss", "");
    s = suite_open(true);
    assert_list(s, "/", 0, "/a=some value@2/2/1 ");
    assert_int_equal(access(in_dir("accept-loss"), F_OK), -1);
    store_close(s);
    s = suite_open(true); // the loss was accepted once, and is not asked about again
    put(s, "/a", "third text", STORE_ANY, NULL);
    store_close(s);
    s = suite_open(true);
    assert_list(s, "/", 0, "/a=third text@2/3/2 ");
    store_close(s);
}

// ---- checkpoints ----

struct dir_sum {
    size_t segments, spares;
    uint64_t least;
    bool checkpoint;
};

static void sum_name(void *ctx, const char *name)
{
    struct dir_sum *d = ctx;
    struct str s = str_of(name);
    uint64_t sequence = 0;
    if (str_starts(s, STR("wal-")) && str_to_u64(str_sub(s, 4, 20), &sequence)) {
        d->segments++;
        if (!d->least || sequence < d->least)
            d->least = sequence;
    }
    d->spares += str_eqc(s, "wal.spare");
    d->checkpoint |= str_eqc(s, "checkpoint");
}

static struct dir_sum dir_sum(void)
{
    struct dir_sum d = {0};
    env_system()->ops->list_dir(env_system(), dir, sum_name, &d);
    return d;
}

// Keys of all lengths (LMDB's limit among them), rewritten and deleted over many segments; what is
// read back after restarts must be what a plain array says.
enum { MODEL = 150 };
static char model_values[MODEL][700];

static void model_key(char *key, int i)
{
    int n = snprintf(key, 700, "/registry/%03d/", i);
    int more = i % 3 == 0 ? 0 : i % 3 == 1 ? 440 + i : 600 - i;
    memset(key + n, 'k', (size_t)more);
    key[n + more] = 0;
}

struct model_check {
    int seen;
};

static bool model_compare(void *ctx, const struct store_kv *kv)
{
    struct model_check *m = ctx;
    uint64_t i = 0;
    char key[700];
    assert_true(str_to_u64(str_sub(kv->key, 10, 3), &i));
    model_key(key, (int)i);
    assert_true(str_eqc(kv->key, key));
    assert_true(str_eqc(blob_view(kv->value), model_values[i]));
    assert_true(kv->create_revision <= kv->mod_revision && kv->version >= 1);
    m->seen++;
    return true;
}

static void model_verify(struct store *s)
{
    struct model_check m = {0};
    int there = 0;
    for (int i = 0; i < MODEL; i++)
        there += model_values[i][0] != 0;
    assert_int_equal(s->ops->range(s, STR("/"), 0, model_compare, &m, &(uint64_t){0}, NULL), 0);
    assert_int_equal(m.seen, there);
}

static uint64_t rng = 7;
static unsigned rnd(unsigned n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((rng >> 33) % n);
}

static void model_write(struct store *s)
{
    int i = (int)rnd(MODEL);
    char key[700];
    model_key(key, i);
    if (model_values[i][0] && rnd(4) == 0) {
        assert_int_equal(del(s, key, STORE_ANY, NULL), STORE_OK);
        model_values[i][0] = 0;
        return;
    }
    int n = snprintf(model_values[i], sizeof model_values[i], "%u-", rnd(1000000));
    int more = (int)rnd(600);
    memset(model_values[i] + n, 'v', (size_t)more);
    model_values[i][n + more] = 0;
    assert_int_equal(put(s, key, model_values[i], STORE_ANY, NULL), STORE_OK);
}

static void checkpoints_and_cutting(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 16 << 10;
    uint64_t revision = 1;
    memset(model_values, 0, sizeof model_values);
    for (int life = 0; life < 6; life++) {
        s = open_or_fail();
        assert_int_equal(store_revision(s), revision);
        model_verify(s);
        for (int i = 0; i < 250; i++)
            model_write(s);
        model_verify(s);
        revision = store_revision(s);
        store_close(s);
        struct dir_sum d = dir_sum();
        assert_true(d.checkpoint);
        assert_int_equal(d.segments, 2); // the one in use and the one kept for history
        assert_int_equal(d.spares, 1);
        assert_true(d.least > 5 * (uint64_t)life);
    }
    s = open_or_fail();
    model_verify(s);
    // History reaches back over the segments, not to the beginning.
    assert_list(s, "/", 2, "Expired: required revision has been compacted");
    struct recorder rec;
    watch(s, &rec, "/", revision - 5);
    await_revision(&rec, revision);
    assert_int_equal(rec.events, 5);
    unwatch(s, &rec);
    store_close(s);
}

static void damaged_checkpoint_is_refused(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 16 << 10;
    memset(model_values, 0, sizeof model_values);
    s = open_or_fail();
    for (int i = 0; i < 300; i++)
        model_write(s);
    store_close(s);
    // A byte of some value, found by its text.
    int fd = open(in_dir("checkpoint"), O_RDWR);
    static char bytes[1 << 20];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    assert_true(n > 0);
    size_t changed = 0;
    for (ssize_t i = 0; i + 16 < n; i++)
        if (memcmp(bytes + i, "vvvvvvvvvvvvvvvv", 16) == 0)
            bytes[i] = 'w', changed++;
    assert_true(changed > 0);
    assert_int_equal(pwrite(fd, bytes, (size_t)n, 0), n);
    close(fd);
    assert_refused(-500,
                   "the log no longer has what it held; restore a backup: checkpoint %s/checkpoint "
                   "is damaged: a record's checksum does not hold",
                   dir);
    unlink(in_dir("checkpoint"));
    assert_refused(-500, "log segment %s/%s is missing; " WAY_OUT, dir, first, dir);
}

// attack-durability 3: a checkpoint cut short at any page is refused, or (where only what lies
// behind its last page is gone) read; never a SIGBUS.
static void cut_checkpoint_is_refused(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 16 << 10;
    options.reserve_bytes = 64 << 10;
    memset(model_values, 0, sizeof model_values);
    s = open_or_fail();
    for (int i = 0; i < 600; i++)
        model_write(s);
    store_close(s);
    struct stat st;
    assert_int_equal(stat(in_dir("checkpoint"), &st), 0);
    // What is in use ends behind the last byte that is not zero, in a file that is longer.
    int fd = open(in_dir("checkpoint"), O_RDWR);
    static char bytes[4 << 20];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    assert_true(n > 0 && st.st_size > n);
    while (n > 0 && bytes[n - 1] == 0)
        n--;
    assert_true(n > 32 << 10 && n < (ssize_t)sizeof bytes);
    const ssize_t cuts[] = {n - 1, n / 2, 3 * 4096, 2 * 4096, 4096 + 100, 4096, 100, 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(ftruncate(fd, cuts[i]), 0);
        assert_refused(-500,
                       "the log no longer has what it held; restore a backup: checkpoint "
                       "%s/checkpoint is damaged: it was cut short",
                       dir);
    }
    assert_int_equal(pwrite(fd, bytes, (size_t)n, 0), n);
    assert_int_equal(ftruncate(fd, st.st_size / 2), 0); // nothing that is needed
    close(fd);
    s = open_or_fail();
    model_verify(s);
    store_close(s);
}

static void missing_segment_is_refused(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 8 << 10;
    s = open_or_fail();
    memset(model_values, 0, sizeof model_values);
    for (int i = 0; i < 100; i++)
        model_write(s);
    store_close(s);
    struct dir_sum d = dir_sum();
    assert_int_equal(d.segments, 2);
    char name[40];
    snprintf(name, sizeof name, "wal-%020lu.log", (unsigned long)d.least);
    unlink(in_dir(name));
    assert_refused(-500, "log segment %s/%s is missing; " WAY_OUT, dir, name, dir);
}

static void larger_than_a_segment(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 8 << 10;
    static char big[100001];
    memset(big, 'b', sizeof big - 1);
    s = open_or_fail();
    put(s, "/small", "1", 0, NULL);
    assert_int_equal(put(s, "/big", big, 0, NULL), STORE_OK);
    put(s, "/small", "2", 2, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(s, "/big", big, STORE_ANY, NULL), STORE_OK);
    store_close(s);
    s = open_or_fail();
    assert_list(s, "/small", 0, "/small=2@2/4/2 ");
    struct store_kv kv = {0};
    s->ops->range(s, STR("/big"), 0, counter_read, &kv, &(uint64_t){0}, NULL);
    assert_true(str_eqc(blob_view(kv.value), big));
    assert_int_equal(kv.version, 6);
    blob_unref(kv.value);
    store_close(s);
}

// Segments rolled as fast as it goes, so that writer and keeper meet at the spare all the time.
enum { FLOOD = 64, FLOOD_WRITES = 20000 };

struct flood {
    struct one ones[FLOOD];
    char keys[FLOOD][16];
    struct store *store;
    int left, running; // the writer thread's
    struct completion done;
};

static void flood_next(struct store_txn *t)
{
    struct flood *f = t->ctx;
    BUG_ON(t->result != STORE_OK);
    if (f->left-- > 0)
        store_txn(f->store, t);
    else if (--f->running == 0)
        completion_signal(&f->done);
}

static void flood(void **state)
{
    (void)state;
    static struct flood f;
    struct store *s = suite_open(false);
    store_close(s);
    options.segment_bytes = 8 << 10;
    f.store = s = open_or_fail();
    f.left = FLOOD_WRITES - FLOOD;
    f.running = FLOOD;
    completion_init(&f.done);
    for (int i = 0; i < FLOOD; i++) {
        snprintf(f.keys[i], sizeof f.keys[i], "/key/%03d", i);
        one_init(&f.ones[i], STORE_PUT, f.keys[i], "a value of some length", STORE_ANY);
        f.ones[i].txn.complete = flood_next;
        f.ones[i].txn.ctx = &f;
    }
    for (int i = 0; i < FLOOD; i++)
        store_txn(s, &f.ones[i].txn);
    completion_wait(&f.done);
    completion_done(&f.done);
    store_close(s);
    for (int i = 0; i < FLOOD; i++)
        blob_unref(f.ones[i].write.value);
    assert_int_equal(dir_sum().segments, 2); // the keeper kept up, and found all intact
    s = open_or_fail();
    assert_int_equal(store_revision(s), 1 + FLOOD_WRITES);
    store_close(s);
}

// Clients that never stop: each is answered, the last time with STORE_CLOSED.
struct endless {
    struct one one;
    struct store *store;
    char key[16];
    int ok, closed;
};

static void endless_next(struct store_txn *t)
{
    struct endless *c = t->ctx;
    if (t->result == STORE_CLOSED) {
        c->closed++;
        return;
    }
    BUG_ON(t->result != STORE_OK);
    c->ok++;
    store_txn(c->store, t);
}

static void closed_while_busy(void **state)
{
    (void)state;
    static struct endless clients[8];
    struct store *s = suite_open(false);
    struct recorder rec;
    watch(s, &rec, "/", 1);
    for (int i = 0; i < 8; i++) {
        struct endless *c = &clients[i];
        c->store = s;
        snprintf(c->key, sizeof c->key, "/c/%d", i);
        one_init(&c->one, STORE_PUT, c->key, "v", STORE_ANY);
        c->one.txn.complete = endless_next;
        c->one.txn.ctx = c;
        store_txn(s, &c->one.txn);
    }
    await_revision(&rec, 500);
    store_close(s);
    size_t ok = 0;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(clients[i].closed, 1);
        ok += (size_t)clients[i].ok;
        blob_unref(clients[i].one.write.value);
    }
    assert_int_equal(rec.events, ok);
    recorder_done(&rec);
    s = suite_open(true);
    assert_int_equal(store_revision(s), 1 + ok);
    store_close(s);
}

static void history_is_bounded(void **state)
{
    (void)state;
    struct store *s = suite_open(false);
    store_close(s);
    options.history_events = 200;
    s = open_or_fail();
    for (int i = 0; i < 1000; i++)
        put(s, "/a", "v", STORE_ANY, NULL);
    assert_list(s, "/", 700, "Expired: required revision has been compacted");
    assert_list(s, "/", 990, "/a=v@2/990/989 ");
    store_close(s);
    options.history_events = 0;
    options.history_bytes = 100000;
    static char big[10001];
    memset(big, 'b', sizeof big - 1);
    s = open_or_fail();
    for (int i = 0; i < 300; i++)
        put(s, "/big", big, STORE_ANY, NULL);
    uint64_t now = store_revision(s);
    assert_list(s, "/a", now - 260, "Expired: required revision has been compacted");
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE_TESTS,
        cmocka_unit_test(one_process_at_a_time),
        cmocka_unit_test(other_versions),
        cmocka_unit_test(not_a_directory),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(torn_tail_is_dropped),
        cmocka_unit_test(damaged_tail_is_refused),
        cmocka_unit_test(checkpoints_and_cutting),
        cmocka_unit_test(damaged_checkpoint_is_refused),
        cmocka_unit_test(cut_checkpoint_is_refused),
        cmocka_unit_test(missing_segment_is_refused),
        cmocka_unit_test(larger_than_a_segment),
        cmocka_unit_test(flood),
        cmocka_unit_test(closed_while_busy),
        cmocka_unit_test(history_is_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
