// The OCI runtime against the real thing: a real supervisor process, real crun and runc, a busybox
// image made on the spot. Needs root; without it, or without a runtime program, the tests are
// skipped by name.
//
// Each group runs in a directory of its own under /tmp, for crun and for runc, and ends with a
// check that nothing is left: mounts, cgroups, namespaces, processes as before.
#include "base/buf.h"
#include "base/time.h"
#include "node/runtime.h"
#include "node/supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char image_tar[256]; // made once
static char work[128];      // one per group: data/ state/ logs/
static const char *program; // "crun" or "runc"
static struct runtime *rt;
static struct arena arena;
static unsigned serial;

// Exits that on_change has told.
static pthread_mutex_t told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told_changed = PTHREAD_COND_INITIALIZER;
static char told[256][72];
static unsigned ntold;

#define ok(call)                                                                                   \
    do {                                                                                           \
        struct err err_ = ERR_INIT;                                                                \
        struct err *e = &err_;                                                                     \
        int result_ = (call);                                                                      \
        if (result_ < 0)                                                                           \
            fail_msg("%s: %s", #call, err_.message);                                               \
    } while (0)

static void on_change(void *ctx, struct str uid, struct str id)
{
    (void)ctx;
    assert_true(uid.n > 0);
    pthread_mutex_lock(&told_lock);
    if (ntold < 256)
        snprintf(told[ntold++], sizeof told[0], "%.*s", STR_ARG(id));
    pthread_cond_broadcast(&told_changed);
    pthread_mutex_unlock(&told_lock);
}

static void open_runtime(void)
{
    struct err e = ERR_INIT;
    char data[256], state[256];
    snprintf(data, sizeof data, "%s/data", work);
    snprintf(state, sizeof state, "%s/state", work);
    struct runtime_oci_options options = {
        .program = program,
        .data_dir = data,
        .state_dir = state,
        .cgroup_root = "coracle-test",
    };
    if (runtime_oci_new(env_system(), &options, &rt, &e) < 0)
        fail_msg("runtime_oci_new: %s", e.message);
    rt->ops->on_change(rt, on_change, NULL);
}

static void close_runtime(void)
{
    if (rt)
        rt->ops->free(rt);
    rt = NULL;
}

static struct str image_id(void)
{
    struct runtime_image image;
    ok(rt->ops->image_status(rt, &arena, STR("busybox:test"), &image, e));
    return image.id;
}

static struct runtime_sandbox run_sandbox(bool share_pids)
{
    struct runtime_sandbox s = {0};
    char uid[64];
    snprintf(uid, sizeof uid, "uid-%u", ++serial);
    struct runtime_sandbox_config c = {
        .pod_name = STR("web"),
        .pod_namespace = STR("default"),
        .pod_uid = arena_str(&arena, str_of(uid)),
        .hostname = STR("web-host"),
        .log_directory = arena_printf(&arena, "%s/logs/%u", work, serial),
        .cgroup_parent = arena_printf(&arena, "burstable/pod%u", serial),
        .share_process_namespace = share_pids,
    };
    ok(rt->ops->sandbox_run(rt, &arena, &c, &s, e));
    return s;
}

static struct runtime_container_config config_sh(const char *script)
{
    static struct str command[64][3];
    static unsigned at;
    struct str *words = command[at++ % 64];
    words[0] = STR("sh");
    words[1] = STR("-c");
    words[2] = str_of(script);
    return (struct runtime_container_config){
        .name = STR("web"),
        .image_ref = image_id(),
        .command = words,
        .ncommand = 3,
        .log_path = arena_printf(&arena, "web/%u.log", ++serial),
        .run_as_user = -1,
        .run_as_group = -1,
        .no_new_privileges = true,
        .seccomp_profile = STR("RuntimeDefault"),
        .default_proc_mount = true,
    };
}

static struct str create(struct str sandbox, const struct runtime_container_config *c)
{
    struct str id = STR_NULL;
    ok(rt->ops->container_create(rt, &arena, sandbox, c, &id, e));
    return id;
}

static struct runtime_container inspect(struct str id)
{
    struct runtime_container *list;
    size_t n;
    ok(rt->ops->container_list(rt, &arena, STR_NULL, &list, &n, e));
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i].id, id))
            return list[i];
    fail_msg("container is not listed");
    return (struct runtime_container){0};
}

// Until on_change tells of it, at most 20 s.
static struct runtime_container wait_exit(struct str id)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    bool found = false;
    pthread_mutex_lock(&told_lock);
    while (!found) {
        for (unsigned i = 0; i < ntold; i++)
            found |= str_eqc(id, told[i]);
        if (!found && pthread_cond_timedwait(&told_changed, &told_lock, &until) == ETIMEDOUT)
            break;
    }
    pthread_mutex_unlock(&told_lock);
    struct runtime_container c = inspect(id);
    if (c.state != RUNTIME_EXITED)
        fail_msg("container did not end in time");
    return c;
}

static struct str start(struct str sandbox, const struct runtime_container_config *c)
{
    struct str id = create(sandbox, c);
    ok(rt->ops->container_start(rt, id, e));
    return id;
}

static struct runtime_container run(struct str sandbox, const char *script)
{
    struct runtime_container_config c = config_sh(script);
    return wait_exit(start(sandbox, &c));
}

static struct str read_file(struct str path)
{
    struct str text;
    ok(file_read_all(&arena, arena_cstr(&arena, path), 64 << 20, &text, e));
    return text;
}

// The log's lines as "stdout F text", without their times, which must be times.
static struct str read_log(const struct runtime_container *c)
{
    struct buf b = BUF_INIT;
    struct str rest = read_file(c->log_path);
    while (rest.n) {
        struct str line = str_cut(&rest, '\n'), stamp = str_cut(&line, ' ');
        int64_t when;
        assert_int_equal(stamp.n, 30);
        assert_true(time_parse_rfc3339(stamp, &when));
        buf_str(&b, line);
        buf_char(&b, '\n');
    }
    struct str text = arena_str(&arena, buf_view(&b));
    buf_done(&b);
    return text;
}

static void assert_log(const struct runtime_container *c, const char *want)
{
    struct str got = read_log(c);
    assert_string_equal(arena_cstr(&arena, got), want);
}

static void remove_sandbox(struct str id)
{
    ok(rt->ops->sandbox_stop(rt, id, e));
    ok(rt->ops->sandbox_remove(rt, id, e));
}

// --- the machine before and after -----------------------------------------------------------

static struct str machine(struct arena *a)
{
    struct buf b = BUF_INIT;
    struct str mounts;
    ok(file_read_all(a, "/proc/self/mountinfo", 1 << 20, &mounts, e));
    for (struct str rest = mounts; rest.n;) {
        struct str line = str_cut(&rest, '\n');
        if (str_find(line, str_of(work)) >= 0) {
            buf_str(&b, line);
            buf_char(&b, '\n');
        }
    }
    DIR *d = opendir("/sys/fs/cgroup");
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[512];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/coracle-test", entry->d_name);
        if (access(path, F_OK) == 0)
            buf_printf(&b, "cgroup %s\n", path);
    }
    closedir(d);
    d = opendir("/proc");
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[512], text[4096];
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        ssize_t n = read(fd, text, sizeof text);
        close(fd);
        if (n > 0 && memmem(text, (size_t)n, work, strlen(work)))
            buf_printf(&b, "process %s %s\n", entry->d_name, text);
    }
    closedir(d);
    struct str s = arena_str(a, buf_view(&b));
    buf_done(&b);
    return s;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static void assert_nothing_left(void)
{
    struct arena a = ARENA_INIT;
    struct str left = STR_NULL;
    for (int i = 0; i < 2000;
         i++) { // the supervisor goes by itself; there is nothing to be told by
        arena_reset(&a);
        left = machine(&a);
        if (!left.n)
            break;
        nap();
    }
    if (left.n)
        fail_msg("left behind:\n%.*s", STR_ARG(left));
    arena_done(&a);
}

static int group_setup(void **state)
{
    (void)state;
    snprintf(work, sizeof work, "/tmp/coracle-rt-XXXXXX");
    assert_non_null(mkdtemp(work));
    arena_init(&arena);
    open_runtime();
    struct runtime_image *images;
    size_t n;
    ok(rt->ops->image_import(rt, &arena, image_tar, &images, &n, e));
    assert_int_equal(n, 1);
    return 0;
}

static int remove_entry(const char *path)
{
    pid_t pid = fork();
    if (!pid) {
        execl("/bin/rm", "rm", "-rf", path, (char *)NULL);
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    return status;
}

static int group_teardown(void **state)
{
    (void)state;
    if (!rt)
        open_runtime();
    struct runtime_sandbox *list;
    size_t n;
    ok(rt->ops->sandbox_list(rt, &arena, &list, &n, e));
    for (size_t i = 0; i < n; i++)
        remove_sandbox(list[i].id);
    close_runtime();
    assert_nothing_left();
    arena_done(&arena);
    remove_entry(work);
    return 0;
}

// --- tests ----------------------------------------------------------------------------------

static void test_run_and_log(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    assert_true(s.ready);
    struct runtime_container c = run(s.id, "echo hello; echo oops >&2; printf part; exit 7");
    assert_int_equal(c.exit_code, 7);
    assert_string_equal(arena_cstr(&arena, c.reason), "Error");
    assert_true(c.started_ns > 0 && c.finished_ns >= c.started_ns);
    struct str log = read_log(&c);
    assert_true(str_find(log, STR("stdout F hello\n")) >= 0);
    assert_true(str_find(log, STR("stderr F oops\n")) >= 0);
    assert_true(str_find(log, STR("stdout P part\n")) >= 0);
    c = run(s.id, "hostname; id -u; cat /proc/1/comm; ls /sys/class/net; grep -c . "
                  "/proc/self/status >/dev/null");
    assert_int_equal(c.exit_code, 0);
    assert_string_equal(arena_cstr(&arena, c.reason), "Completed");
    assert_log(&c, "stdout F web-host\nstdout F 0\nstdout F sh\nstdout F lo\n");
    ok(rt->ops->container_remove(rt, c.id, e));
    ok(rt->ops->container_remove(rt, c.id, e)); // idempotent
    remove_sandbox(s.id);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "supervisor"))
        return runtime_supervisor_main(argc, argv);
    snprintf(image_tar, sizeof image_tar, "/tmp/coracle-rt-image-%d.tar", (int)getpid());
    char command[512];
    snprintf(command, sizeof command, "%s/tests/lib/make-image.sh", SOURCE_DIR);
    pid_t pid = fork();
    if (!pid) {
        execl(command, command, image_tar, "busybox:test", (char *)NULL);
        _exit(1);
    }
    int status, failed = 0;
    waitpid(pid, &status, 0);
    if (status)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_and_log),
    };
    static const char *const programs[] = {"crun", "runc"};
    for (size_t i = 0; i < 2; i++) {
        program = programs[i];
        failed += cmocka_run_group_tests_name(program, tests, group_setup, group_teardown);
    }
    unlink(image_tar);
    return failed;
}
