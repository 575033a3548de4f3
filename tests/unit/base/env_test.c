// Errors, the two envs (the same disk operations against both), whole files, threads.
#include "base/arena.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "unit.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static int scratch_make(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/coracle-env-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static int scratch_remove(void **state)
{
    (void)state;
    return rmdir(scratch); // the tests leave nothing behind
}

static void errors(void **state)
{
    (void)state;
    _cleanup_err_ struct err e = ERR_INIT;
    struct err inner = ERR_INIT;
    assert_int_equal(err_code(&e), 0);
    assert_int_equal(err_set(&inner, ERR_NOT_FOUND, "pods \"%s\" not found", "web"), -404);
    assert_int_equal(err_wrap(&e, &inner, "starting %d", 1), -404);
    assert_string_equal(e.message, "starting 1: pods \"web\" not found");
    assert_int_equal(inner.reason, ERR_NONE);
    assert_int_equal(err_wrap(&e, &e, "again"), -404);
    assert_string_equal(e.message, "again: starting 1: pods \"web\" not found");
    assert_true(err_is(&e, ERR_NOT_FOUND) && !err_is(NULL, ERR_NOT_FOUND));
    for (int i = 0; i < 5; i++)
        err_cause(&e, "FieldValueRequired", i ? STR("spec.name") : STR_NULL, "Required %d", i);
    err_set(&e, ERR_INVALID, "%s: and more", e.message); // from itself; causes stay
    assert_int_equal(e.ncauses, 5);
    assert_null(e.causes[0].field);
    assert_string_equal(e.causes[4].field, "spec.name");
    assert_string_equal(e.causes[4].message, "Required 4");
    err_details(&e, STR("web"), STR_NULL, STR("pods"));
    err_details(&e, STR("web2"), STR_NULL, STR("pods"));
    assert_string_equal(e.details_name, "web2");
    assert_null(e.details_group);
    assert_int_equal(err_code(&e), -422);
    assert_int_equal(err_errno(&e, ENOENT, "opening %s", "/x"), -404);
    assert_string_equal(e.message, "opening /x: No such file or directory");
    assert_int_equal(err_errno(&e, -EIO, "reading"), -500);
    assert_string_equal(e.message, "reading: Input/output error");
    // Nobody listens: codes all the same.
    assert_int_equal(err_set(NULL, ERR_GONE, "x"), -410);
    assert_int_equal(err_errno(NULL, EIO, "x"), -500);
    assert_int_equal(err_wrap(NULL, &e, "x"), -500);
    err_cause(NULL, "x", STR_NULL, "x");
    for (int r = ERR_NONE + 1; r < ERR_REASON_COUNT; r++)
        assert_int_equal(err_reason_from_name(str_of(err_reason_name(r))), r);
    assert_int_equal(err_reason_from_http(409), ERR_CONFLICT);
    assert_int_equal(err_reason_from_http(404), ERR_NOT_FOUND);
    assert_int_equal(err_reason_from_http(418), ERR_BAD_REQUEST);
    assert_int_equal(err_reason_from_http(599), ERR_INTERNAL);
    assert_int_equal(err_reason_from_name(STR("NoSuch")), ERR_INTERNAL);
}

struct names {
    size_t n;
    char text[4][32];
};

static void gather(void *ctx, const char *name)
{
    struct names *n = ctx;
    assert_true(n->n < 4);
    snprintf(n->text[n->n++], 32, "%s", name);
}

// The same story on any disk.
static void disk(struct env *env, const char *root)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct env_ops *o = env->ops;
    const char *dir = arena_printf(&a, "%s/d", root).p;
    const char *one = arena_printf(&a, "%s/one", dir).p, *two = arena_printf(&a, "%s/two", dir).p;
    struct env_file *f = NULL, *g = NULL;
    char in[16];

    assert_int_equal(o->file_open(env, one, ENV_WRITE | ENV_CREATE, 0600, &f), -ENOENT);
    assert_int_equal(o->mkdir(env, dir, 0700), 0);
    assert_int_equal(o->mkdir(env, dir, 0700), -EEXIST);
    assert_int_equal(o->file_open(env, one, ENV_READ, 0, &f), -ENOENT);
    assert_int_equal(o->file_open(env, one, ENV_READ | ENV_WRITE | ENV_CREATE, 0600, &f), 0);
    assert_int_equal(o->file_open(env, one, ENV_WRITE | ENV_CREATE | ENV_EXCL, 0600, &g), -EEXIST);
    assert_int_equal(o->file_pwrite(f, "hello", 5, 3), 5);
    assert_int_equal(o->file_sync(f), 0);
    assert_int_equal(o->file_size(f), 8);
    assert_int_equal(o->file_pread(f, in, sizeof in, 0), 8);
    assert_memory_equal(in, "\0\0\0hello", 8);
    assert_int_equal(o->file_pread(f, in, sizeof in, 8), 0);
    assert_int_equal(o->file_truncate(f, 4), 0);
    assert_int_equal(o->file_truncate(f, 6), 0);
    assert_int_equal(o->file_pread(f, in, sizeof in, 0), 6);
    assert_memory_equal(in, "\0\0\0h\0\0", 6);
    int allocated = o->file_allocate(f, 4096);
    assert_true(allocated == 0 || allocated == -EOPNOTSUPP);
    assert_int_equal(o->sync_dir(env, dir), 0);

    assert_int_equal(o->file_open(env, two, ENV_WRITE | ENV_CREATE, 0600, &g), 0);
    assert_int_equal(o->file_pread(f, in, 1, 0), 1);
    assert_int_equal(o->file_pwrite(g, "2", 1, 0), 1);
    o->file_close(g);
    struct names n = {0};
    assert_int_equal(o->list_dir(env, dir, gather, &n), 0);
    assert_int_equal(n.n, 2);
    assert_int_equal(o->rename(env, two, one), 0); // over the open file, which lives on
    assert_int_equal(o->rename(env, two, one), -ENOENT);
    assert_int_equal(o->file_pwrite(f, "x", 1, 0), 1);
    o->file_close(f);
    n = (struct names){0};
    assert_int_equal(o->list_dir(env, dir, gather, &n), 0);
    assert_int_equal(n.n, 1);
    assert_string_equal(n.text[0], "one");
    assert_int_equal(o->file_open(env, one, ENV_READ, 0, &f), 0);
    assert_int_equal(o->file_size(f), 1);
    assert_true(o->file_pwrite(f, "x", 1, 0) < 0); // opened for reading
    assert_int_equal(o->unlink(env, one), 0);
    assert_int_equal(o->file_pread(f, in, 1, 0), 1);
    assert_int_equal(in[0], '2');
    o->file_close(f);
    assert_int_equal(o->unlink(env, one), -ENOENT);
    assert_int_equal(o->list_dir(env, one, gather, &n), -ENOENT);
    assert_int_equal(o->file_open(env, one, ENV_WRITE | ENV_CREATE | ENV_TRUNC, 0600, &f), 0);
    assert_int_equal(o->file_size(f), 0);
    o->file_close(f);
    assert_int_equal(o->unlink(env, one), 0);
}

static void system_disk(void **state)
{
    (void)state;
    char dir[80];
    disk(env_system(), scratch);
    snprintf(dir, sizeof dir, "%s/d", scratch);
    assert_int_equal(rmdir(dir), 0);
}

static void simulated_disk(void **state)
{
    (void)state;
    struct env *env = env_sim_new(1, 0);
    assert_int_equal(env->ops->mkdir(env, "/data", 0700), 0);
    disk(env, "/data");
    env_sim_free(env);
}

static void simulated_time(void **state)
{
    (void)state;
    struct env *a = env_sim_new(7, 1000), *b = env_sim_new(7, 1000), *c = env_sim_new(8, 1000);
    uint64_t mono = env_mono(a);
    assert_true(a->virtual_time && !env_system()->virtual_time);
    assert_true(mono > 0 && env_now(a) == 1000);
    env_sim_advance(a, 500);
    assert_true(env_now(a) == 1500 && env_mono(a) == mono + 500);
    char ua[36], ub[36], uc[36];
    env_uuid(a, ua), env_uuid(b, ub), env_uuid(c, uc);
    assert_memory_equal(ua, ub, 36);
    assert_memory_not_equal(ua, uc, 36);
    assert_true(ua[14] == '4' && strchr("89ab", ua[19]) && ua[8] == '-' && ua[23] == '-');
    env_sim_free(a), env_sim_free(b), env_sim_free(c);
}

static void suffixes(void **state)
{
    (void)state;
    char name[200];
    env_name_suffix(env_system(), name, sizeof name);
    for (size_t i = 0; i < sizeof name; i++)
        assert_non_null(memchr("bcdfghjklmnpqrstvwxz2456789", name[i], 27));
}

static void whole_files(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    const char *deep = arena_printf(&a, "%s/a/b//c/", scratch).p;
    const char *path = arena_printf(&a, "%s/a/b/c/file", scratch).p;
    struct str got;
    assert_int_equal(file_read_all(&a, path, 100, &got, &e), -404);
    assert_string_equal(e.message,
                        arena_printf(&a, "reading %s: No such file or directory", path).p);
    assert_int_equal(file_mkdir_all(deep, 0755, &e), 0);
    assert_int_equal(file_mkdir_all(deep, 0755, &e), 0);
    assert_int_equal(file_write_all(path, STR("secret"), 0600, &e), 0);
    assert_int_equal(file_write_all(path, STR("again"), 0600, &e), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_read_all(&a, path, 5, &got, &e), 0);
    assert_true(str_eq(got, STR("again")));
    assert_int_equal(file_read_all(&a, path, 4, &got, &e), -413);
    assert_string_equal(e.message, arena_printf(&a, "reading %s: larger than 4 bytes", path).p);
    assert_int_equal(file_read_all(&a, scratch, 100, &got, &e), -500);
    assert_int_equal(file_read_all(&a, "/proc/self/status", 1 << 20, &got, &e), 0);
    assert_true(got.n > 100); // though its size is said to be 0
    assert_int_equal(file_mkdir_all(path, 0755, &e), -500);
    assert_int_equal(file_write_all(scratch, STR("x"), 0600, &e), -500); // a directory is there
    static const char *const clean[] = {"a/b/c", "a/b", "a"};
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rmdir(arena_printf(&a, "%s/%s", scratch, clean[i]).p), 0);
}

struct work {
    struct completion started, go;
    int value;
};

static void *worker(void *arg)
{
    struct work *w = arg;
    completion_signal(&w->started);
    completion_wait(&w->go);
    w->value = 42;
    return w;
}

static void threads(void **state)
{
    (void)state;
    struct work w = {0};
    completion_init(&w.started), completion_init(&w.go);
    pthread_t t = thread_start("a-name-that-is-far-too-long", worker, &w);
    completion_wait(&w.started);
    completion_signal(&w.go);
    void *result;
    pthread_join(t, &result);
    assert_ptr_equal(result, &w);
    assert_int_equal(w.value, 42);
    completion_done(&w.started), completion_done(&w.go);
}

// Standard error into a pipe: an event is one line whatever it holds.
static void logging(void **state)
{
    (void)state;
    int p[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(p), 0);
    dup2(p[1], STDERR_FILENO);
    log_info("node", "pod started pod=\"%s\"", "default/w\neb\x01");
    log_debug("node", "below the threshold");
    log_warn("node", "%06000d", 1);
    dup2(saved, STDERR_FILENO);
    close(saved), close(p[1]);
    static char got[16384];
    ssize_t n = 0, part;
    while ((part = read(p[0], got + n, sizeof got - 1 - (size_t)n)) > 0)
        n += part;
    close(p[0]);
    char *second = strchr(got, '\n');
    assert_non_null(second);
    *second++ = 0;
    assert_string_equal(got + 24, " INFO  node: pod started pod=\"default/w\\neb\\x01\"");
    assert_int_equal(got[23], 'Z');
    assert_memory_equal(second + 24, " WARN  node: 0000", 16);
    assert_true(str_ends(str_of(second), STR("000...\n")));
    assert_ptr_equal(strchr(second, '\n') + 1, got + n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors),         cmocka_unit_test(system_disk),
        cmocka_unit_test(simulated_disk), cmocka_unit_test(simulated_time),
        cmocka_unit_test(suffixes),       cmocka_unit_test(whole_files),
        cmocka_unit_test(threads),        cmocka_unit_test(logging),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
