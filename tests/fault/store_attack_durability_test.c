// The case attack-durability, items 1 and 2: a full disk, and segments that are missing or cut.
//
// Item 1 runs on a tmpfs of a few megabytes in a mount namespace of its own: deletes pass, also
// after a restart; creates are refused and pass again as soon as there is room. Item 2 takes each
// segment away, halves it, and cuts its end at many places: never may the store open as if nothing
// had been there, and with accept-loss it opens with what is intact before the damage.
#include "base/log.h"
#include "unit/store/suite.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], dir[80];
static struct store_embedded_options options;

static struct store *suite_open(bool again)
{
    (void)again;
    return NULL;
}

static bool suite_restarts(void)
{
    return false;
}

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

static struct store *open_or_fail(void)
{
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (store_embedded_open(env_system(), dir, &options, &s, &e) < 0)
        fail_msg("opening: %s", e.message);
    return s;
}

// ---- item 2 ----

enum { WRITES = 300 };

static const char *key_of(int i)
{
    static char key[32];
    snprintf(key, sizeof key, "/registry/a/%06d", i);
    return key;
}

static void fill(void)
{
    char value[200];
    clear();
    options = (struct store_embedded_options){.segment_bytes = 8 << 10, .reserve_bytes = 64 << 10};
    struct store *s = open_or_fail();
    for (int i = 0; i < WRITES; i++) {
        memset(value, 'v', sizeof value);
        value[i % 150] = 0;
        assert_int_equal(put(s, key_of(i), value, 0, NULL), STORE_OK);
    }
    store_close(s);
}

struct file {
    char name[64];
    char *bytes;
    size_t n;
};
static struct file files[16];
static size_t nfiles;

static void file_add(void *ctx, const char *name)
{
    (void)ctx;
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    // The checkpoint is sparse behind its end.
    assert_int_equal(stat(path, &st), 0);
    struct file *f = &files[nfiles++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->n = (size_t)st.st_size < (size_t)4 << 20 ? (size_t)st.st_size : (size_t)4 << 20;
    f->bytes = mem_alloc(f->n + 1);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, f->bytes, f->n, 0), f->n);
    close(fd);
}

// Puts the directory back as it was after `fill`.
static void restore(void)
{
    clear();
    mkdir(dir, 0700);
    for (size_t i = 0; i < nfiles; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%.63s", dir, files[i].name);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_int_equal(pwrite(fd, files[i].bytes, files[i].n, 0), files[i].n);
        if (strcmp(files[i].name, "checkpoint") == 0)
            assert_int_equal(ftruncate(fd, (off_t)256 << 20), 0);
        close(fd);
    }
}

struct count {
    int n;
};

static bool count_kv(void *ctx, const struct store_kv *kv)
{
    struct count *c = ctx;
    assert_true(str_eqc(kv->key, key_of(c->n))); // a prefix of what was written, without a hole
    c->n++;
    return true;
}

static int entries(struct store *s)
{
    struct count c = {0};
    assert_int_equal(s->ops->range(s, STR("/"), 0, count_kv, &c, &(uint64_t){0}, NULL), 0);
    return c.n;
}

// Refused with the way out; goes on without what is lost when told to; then lives on.
static void assert_noticed(const char *what)
{
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    if (store_embedded_open(env_system(), dir, &options, &s, &e) == 0)
        fail_msg("%s: opens with %d of %d writes and says nothing", what, entries(s), WRITES);
    if (!strstr(e.message, "log segment ") || !strstr(e.message, "/accept-loss"))
        fail_msg("%s: refused with: %s", what, e.message);
    char path[128];
    snprintf(path, sizeof path, "%s/accept-loss", dir);
    assert_int_equal(file_write_all(path, STR(""), 0600, NULL), 0);
    s = open_or_fail();
    int n = entries(s);
    assert_true(n < WRITES);
    assert_int_equal(put(s, key_of(n), "new", 0, NULL), STORE_OK);
    store_close(s);
    s = open_or_fail();
    assert_int_equal(entries(s), n + 1);
    store_close(s);
}

static void lost_segments_are_noticed(void **state)
{
    (void)state;
    fill();
    nfiles = 0;
    env_system()->ops->list_dir(env_system(), dir, file_add, NULL);
    int segments = 0;
    for (size_t i = 0; i < nfiles; i++) {
        if (strncmp(files[i].name, "wal-", 4) != 0)
            continue;
        segments++;
        char path[256], what[128];
        snprintf(path, sizeof path, "%s/%.63s", dir, files[i].name);
        restore();
        unlink(path);
        snprintf(what, sizeof what, "%.63s missing", files[i].name);
        assert_noticed(what);
        // By length: half of it, and its end at any place; by content: zeros from any frame on.
        for (size_t cut = 0; cut < files[i].n; cut += cut < 256 ? 61 : 1009) {
            restore();
            assert_int_equal(truncate(path, (off_t)cut), 0);
            snprintf(what, sizeof what, "%.63s cut at %zu", files[i].name, cut);
            bool all_there = true;
            for (size_t k = cut; k < files[i].n; k++)
                all_there &= files[i].bytes[k] == 0;
            if (all_there && i + 1 < nfiles)
                continue; // a closed segment's unused end
            assert_noticed(what);
            if (all_there)
                continue;
            restore();
            int fd = open(path, O_WRONLY);
            static char zeros[16 << 10];
            assert_int_equal(pwrite(fd, zeros, files[i].n - cut, (off_t)cut), files[i].n - cut);
            close(fd);
            snprintf(what, sizeof what, "%.63s zeros from %zu", files[i].name, cut);
            assert_noticed(what);
        }
    }
    assert_int_equal(segments, 2);
    for (size_t i = 0; i < nfiles; i++)
        free(files[i].bytes);
    clear();
}

static void lost_mark_is_noticed(void **state)
{
    (void)state;
    char path[128];
    fill();
    snprintf(path, sizeof path, "%s/wal.mark", dir);
    unlink(path);
    struct store *s = NULL;
    _cleanup_err_ struct err e = ERR_INIT;
    assert_int_equal(store_embedded_open(env_system(), dir, &options, &s, &e), -500);
    assert_non_null(strstr(e.message, "/wal.mark is missing; restore a backup, or make a file"));
    assert_int_equal(file_write_all(path, STR("x"), 0600, NULL), 0);
    assert_int_equal(store_embedded_open(env_system(), dir, &options, &s, &e), -500);
    assert_non_null(strstr(e.message, "/wal.mark is damaged: it holds no whole mark"));
    snprintf(path, sizeof path, "%s/accept-loss", dir);
    assert_int_equal(file_write_all(path, STR(""), 0600, NULL), 0);
    s = open_or_fail();
    assert_int_equal(entries(s), WRITES);
    store_close(s);
    clear();
}

// ---- item 1 ----

// On a disk that is nearly full a write may have to wait for the keeper to cut the log.
static void put_soon(struct store *s, const char *key, const char *value)
{
    for (int tries = 0; tries < 500; tries++) {
        if (put(s, key, value, STORE_ANY, NULL) == STORE_OK)
            return;
        usleep(10000);
    }
    fail_msg("%s is refused for good though there is room", key);
}

static void full_disk(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", root, "tmpfs", 0, "size=12m") < 0)
        fail_msg("no tmpfs: %s (the fault tests run as root)", strerror(errno));
    options = (struct store_embedded_options){.segment_bytes = 256 << 10, .reserve_bytes = 1 << 20};
    struct store *s = open_or_fail();
    static char value[4001];
    memset(value, 'v', sizeof value - 1);
    int n = 0;
    while (put(s, key_of(n), value, 0, NULL) == STORE_OK)
        n++;
    assert_true(n > 500);
    assert_int_equal(put(s, key_of(n), value, 0, NULL), STORE_FULL);
    // Whatever is left goes to somebody else.
    char path[128];
    snprintf(path, sizeof path, "%s/ballast", root);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    while (write(fd, value, 1000) > 0)
        ;
    for (int life = 0; life < 2; life++) {
        // Deletes pass, each of them, a restart too.
        int until = life ? n : n / 2;
        for (int i = life ? n / 2 : 0; i < until; i++) {
            struct one o;
            one_init(&o, STORE_DELETE, key_of(i), NULL, STORE_ANY);
            o.txn.urgent = true;
            enum store_result r = store_txn_wait(s, &o.txn);
            if (r != STORE_OK)
                fail_msg("delete %d of %d: %s", i, n, store_result_text(r));
        }
        store_close(s);
        s = open_or_fail();
        assert_int_equal(store_revision(s), 1 + n + until);
    }
    // What the deletes gave back is used again, without a restart and without other room.
    put_soon(s, "/again", "small");
    close(fd);
    unlink(path);
    for (int i = 0; i < 200; i++)
        put_soon(s, key_of(i), value);
    store_close(s);
    clear();
    umount(root);
}

// The suite's own tests are run elsewhere.
static const struct CMUnitTest suite_tests[] = {SUITE_TESTS};

int main(void)
{
    (void)suite_tests;
    log_threshold = LOG_ERROR;
    snprintf(root, sizeof root, "/tmp/coracle-durability-XXXXXX");
    if (!mkdtemp(root))
        return 1;
    snprintf(dir, sizeof dir, "%s/store", root);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_segments_are_noticed),
        cmocka_unit_test(lost_mark_is_noticed),
        cmocka_unit_test(full_disk),
    };
    int failed = cmocka_run_group_tests_name("attack-durability", tests, NULL, NULL);
    rmdir(root);
    return failed;
}
