// The OCI runtime against the real thing: a real supervisor process, real crun and runc, a busybox
// image made on the spot. Needs root; without it, or without a runtime program, the tests are
// skipped by name.
//
// Each group runs in a directory of its own under /tmp, for crun and for runc, and ends with a
// check that nothing is left: mounts, cgroups, namespaces, processes as before.
#include "base/buf.h"
#include "base/time.h"
#include "runtime/runtime.h"
#include "runtime/supervisor.h"
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
    struct image_info image;
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
        .resolv_conf = STR("nameserver 10.96.0.10\n"),
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
    struct image_info *images;
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

static int supervisor_pid(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/state/supervisor.sock", work);
    DIR *d = opendir("/proc");
    int found = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char text[1024] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0 && !strcmp(text, "coracle") && memmem(text, (size_t)n, work, strlen(work)))
            found = (int)strtol(entry->d_name, NULL, 10);
    }
    closedir(d);
    return found;
}

// As runtime_oci_teardown finds it.
static void assert_lock_names_supervisor(void)
{
    char path[256];
    int pid = supervisor_pid();
    snprintf(path, sizeof path, "%s/state/supervisor.lock", work);
    struct str text = str_trim(read_file(str_of(path)));
    uint64_t named;
    assert_true(str_to_u64(text, &named));
    assert_int_equal(named, pid);
}

// --- tests ----------------------------------------------------------------------------------

static void test_run_and_log(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    assert_true(s.ready);
    assert_lock_names_supervisor();
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
    c = run(s.id, "cat /etc/hostname /etc/resolv.conf");
    assert_log(&c, "stdout F web-host\nstdout F nameserver 10.96.0.10\n");
    ok(rt->ops->container_remove(rt, c.id, e));
    ok(rt->ops->container_remove(rt, c.id, e)); // idempotent
    remove_sandbox(s.id);
}

static void assert_start_fails(struct str sandbox, struct runtime_container_config *c,
                               const char *words)
{
    struct err e_ = ERR_INIT;
    struct str id = create(sandbox, c);
    int r = rt->ops->container_start(rt, id, &e_);
    assert_int_equal(r, -500);
    if (!strstr(e_.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e_.message, words);
    assert_non_null(strstr(e_.message, "failed to start container \"web\": "));
    err_done(&e_);
    struct runtime_container got = wait_exit(id);
    assert_int_equal(got.exit_code, 128);
    assert_string_equal(arena_cstr(&arena, got.reason), "StartError");
    assert_true(str_find(got.message, str_of(words)) >= 0);
    ok(rt->ops->container_remove(rt, id, e));
}

static void test_start_errors(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("");
    struct str nope[] = {STR("nope")}, secret[] = {STR("/etc/passwd")};
    c.command = nope;
    c.ncommand = 1;
    assert_start_fails(s.id, &c, "exec: \"nope\": executable file not found in $PATH");
    c.command = secret;
    assert_start_fails(s.id, &c, "permission denied");
    struct str absent[] = {STR("/absent")};
    c.command = absent;
    assert_start_fails(s.id, &c, "no such file or directory");
    c = config_sh("true");
    struct runtime_mount mount = {.container_path = STR("/data"),
                                  .host_path = arena_printf(&arena, "%s/absent", work)};
    c.mounts = &mount;
    c.nmounts = 1;
    assert_start_fails(s.id, &c, "o such file or directory");
    // What create can tell, it tells.
    struct err e_ = ERR_INIT;
    struct str id;
    c = config_sh("true");
    c.run_as_username = STR("ghost");
    assert_int_equal(rt->ops->container_create(rt, &arena, s.id, &c, &id, &e_), -422);
    assert_string_equal(e_.message,
                        "failed to create container \"web\": unable to find user ghost: no "
                        "matching entries in passwd file");
    err_done(&e_);
    c = config_sh("true");
    c.run_as_non_root = true;
    assert_int_equal(rt->ops->container_create(rt, &arena, s.id, &c, &id, &e_), -422);
    assert_string_equal(e_.message,
                        "failed to create container \"web\": container has runAsNonRoot and "
                        "image will run as root");
    err_done(&e_);
    c = config_sh("true");
    c.image_ref = STR("ghost:1");
    assert_int_equal(rt->ops->container_create(rt, &arena, s.id, &c, &id, &e_), -404);
    assert_string_equal(e_.message, "failed to create container \"web\": image "
                                    "\"docker.io/library/ghost:1\" not found");
    err_done(&e_);
    c = config_sh("true");
    struct str capability[] = {STR("FLY")};
    c.capabilities_add = capability;
    c.ncapabilities_add = 1;
    assert_int_equal(rt->ops->container_create(rt, &arena, s.id, &c, &id, &e_), -422);
    assert_non_null(strstr(e_.message, "unknown capability to add \"FLY\""));
    err_done(&e_);
    struct runtime_container *list;
    size_t n;
    ok(rt->ops->container_list(rt, &arena, s.id, &list, &n, e));
    assert_int_equal(n, 0);
    remove_sandbox(s.id);
}

static void test_partial_lines(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    // 40,000 characters in a line: two full parts and a rest; a line written in pieces is one.
    struct runtime_container c =
        run(s.id, "head -c 40000 /dev/zero | tr '\\0' x; echo; printf a; printf b; echo c; echo; "
                  "head -c 16384 /dev/zero | tr '\\0' y; echo");
    struct str log = read_log(&c);
    const size_t part = SUPERVISOR_LOG_LINE;
    const struct {
        const char *head;
        size_t n;
    } want[] = {{"stdout P x", part}, {"stdout P x", part}, {"stdout F x", 40000 - 2 * part},
                {"stdout F abc", 3},  {"stdout F ", 0},     {"stdout F y", part}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct str line = str_cut(&log, '\n');
        assert_true(str_starts(line, str_of(want[i].head)));
        assert_int_equal(line.n, want[i].n + 9);
    }
    assert_int_equal(log.n, 0);
    remove_sandbox(s.id);
}

static void test_user_and_security(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c =
        config_sh("id -u; id -g; id -G; echo $HOME; echo out > /dev/stdout; "
                  "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; "
                  "touch /x 2>/dev/null || echo ro");
    c.run_as_username = STR("web");
    int64_t groups[] = {77};
    c.supplemental_groups = groups;
    c.nsupplemental_groups = 1;
    c.readonly_rootfs = true;
    struct runtime_container got = wait_exit(start(s.id, &c));
    assert_log(&got,
               "stdout F 1000\nstdout F 1001\nstdout F 1001 29 77\nstdout F /home\nstdout F out\n"
               "stdout F CapEff:\t0000000000000000\nstdout F NoNewPrivs:\t1\n"
               "stdout F Seccomp:\t2\nstdout F ro\n");
    struct str all[] = {STR("ALL")}, bind[] = {STR("NET_BIND_SERVICE")};
    c = config_sh("grep CapEff /proc/self/status; env | grep -E '^(A|PATH|HOSTNAME)=' | sort; pwd; "
                  "touch /x && echo rw; cat /proc/timer_list | wc -c");
    c.capabilities_drop = all;
    c.ncapabilities_drop = 1;
    c.capabilities_add = bind;
    c.ncapabilities_add = 1;
    const struct str env[][2] = {{STR("A"), STR("1")}, {STR("A"), STR("2 3")}};
    c.env = env;
    c.nenv = 2;
    c.working_dir = STR("/tmp");
    got = wait_exit(start(s.id, &c));
    assert_log(&got,
               "stdout F CapEff:\t0000000000000400\nstdout F A=2 3\nstdout F HOSTNAME=web-host\n"
               "stdout F PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
               "stdout F /tmp\nstdout F rw\nstdout F 0\n");
    remove_sandbox(s.id);
}

static void test_privileged(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh(
        "mkdir /m && mount -t tmpfs t /m && echo mounted; grep Seccomp: /proc/self/status");
    c.privileged = true;
    c.no_new_privileges = false;
    struct runtime_container got = wait_exit(start(s.id, &c));
    assert_log(&got, "stdout F mounted\nstdout F Seccomp:\t0\n");
    remove_sandbox(s.id);
}

static void test_mounts(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    char dir[256], file[256];
    snprintf(dir, sizeof dir, "%s/volume", work);
    snprintf(file, sizeof file, "%s/volume/hosts", work);
    mkdir(dir, 0755);
    ok(file_write_all(file, STR("1.2.3.4 x\n"), 0644, e));
    struct runtime_mount mounts[] = {
        {.container_path = STR("/etc/hosts"), .host_path = str_of(file), .readonly = true},
        {.container_path = STR("/data/sub"), .host_path = str_of(dir)},
        {.container_path = STR("/data"), .host_path = str_of(dir)},
    };
    struct runtime_container_config c = config_sh(
        "cat /etc/hosts; echo no > /etc/hosts; echo yes > /data/sub/written; cat /data/written");
    c.mounts = mounts;
    c.nmounts = 3;
    struct runtime_container got = wait_exit(start(s.id, &c));
    struct str log = read_log(&got);
    assert_true(str_find(log, STR("stdout F 1.2.3.4 x\n")) >= 0);
    assert_true(str_find(log, STR("Read-only file system")) >= 0);
    assert_true(str_find(log, STR("stdout F yes\n")) >= 0);
    remove_sandbox(s.id);
}

static void test_pod_shares(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(true);
    struct runtime_container_config c = config_sh("echo hi > /dev/shm/x; exec sleep 1000");
    struct str first = start(s.id, &c);
    struct str look[] = {STR("sh"), STR("-c"), STR("until [ -s /dev/shm/x ]; do :; done")};
    struct str output;
    int code = -1;
    ok(rt->ops->exec_sync(rt, &arena, first, look, 3, 10 * NS_PER_S, 4096, &output, &code, e));
    assert_int_equal(code, 0);
    struct runtime_container got =
        run(s.id, "cat /dev/shm/x; cat /proc/1/comm; ps | grep -c 'sleep 100[0]'");
    assert_log(&got, "stdout F hi\nstdout F coracle-pause\nstdout F 1\n");
    // In a shared namespace children do not end with their parent by themselves.
    c = config_sh("sleep 2000 & sleep 2000 & exit 3");
    got = wait_exit(start(s.id, &c));
    assert_int_equal(got.exit_code, 3);
    struct str count[] = {
        STR("sh"), STR("-c"),
        STR("n=0; while ps | grep -q '[s]leep 2000' && [ $n -lt 100 ]; do n=$((n+1)); "
            "usleep 10000; done; ps | grep -c '[s]leep 2000'")};
    ok(rt->ops->exec_sync(rt, &arena, first, count, 3, 10 * NS_PER_S, 4096, &output, &code, e));
    assert_string_equal(arena_cstr(&arena, output), "0\n");
    remove_sandbox(s.id);
}

static void test_stop(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c =
        config_sh("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done");
    struct str id = start(s.id, &c);
    struct str ready[] = {STR("sh"), STR("-c"), STR("true")};
    struct str output;
    int code;
    struct runtime_container got = inspect(id);
    assert_int_equal(got.state, RUNTIME_RUNNING);
    assert_true(got.pid > 0 && got.started_ns > 0);
    ok(rt->ops->exec_sync(rt, &arena, id, ready, 3, 10 * NS_PER_S, 4096, &output, &code, e));
    while (str_find(read_file(got.log_path), STR("up")) < 0)
        nap();
    ok(rt->ops->container_stop(rt, id, 20, e));
    got = inspect(id);
    assert_int_equal(got.exit_code, 5);
    assert_log(&got, "stdout F up\nstdout F bye\n");
    ok(rt->ops->container_stop(rt, id, 20, e)); // idempotent
    // As the first process of its pid namespace a shell without a trap is deaf to SIGTERM.
    c = config_sh("while :; do sleep 0.05; done");
    id = start(s.id, &c);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    ok(rt->ops->container_stop(rt, id, 1, e));
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 10);
    got = inspect(id);
    assert_int_equal(got.exit_code, 137);
    assert_int_equal(got.signal, 9);
    // Removing a running one kills it.
    id = start(s.id, &c);
    ok(rt->ops->container_remove(rt, id, e));
    remove_sandbox(s.id);
}

static void test_limits(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("exec sleep 1000");
    c.memory_limit = 64 << 20;
    c.cpu_shares = 512;
    c.cpu_quota_us = 50000;
    c.cpu_period_us = 100000;
    c.pids_limit = 100;
    c.oom_score_adj = 900;
    struct str id = start(s.id, &c);
    struct runtime_stats *stats;
    size_t n;
    ok(rt->ops->stats(rt, &arena, &stats, &n, e));
    assert_int_equal(n, 1);
    assert_true(str_eq(stats[0].container_id, id));
    assert_true(stats[0].cpu_ns > 0);
    char path[512];
    struct runtime_container got = inspect(id);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", got.pid);
    assert_string_equal(arena_cstr(&arena, read_file(str_of(path))), "900\n");
    if (access("/sys/fs/cgroup/memory", F_OK) == 0) {
        const char *const files[][2] = {{"memory", "memory.limit_in_bytes"},
                                        {"cpu", "cpu.shares"},
                                        {"cpu", "cpu.cfs_quota_us"},
                                        {"pids", "pids.max"}};
        const char *const want[] = {"67108864\n", "512\n", "50000\n", "100\n"};
        for (size_t i = 0; i < 4; i++) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/%s/coracle-test/burstable/pod%.*s/%.*s/%s",
                     files[i][0], STR_ARG(str_from(got.pod_uid, 4)), STR_ARG(id), files[i][1]);
            assert_string_equal(arena_cstr(&arena, read_file(str_of(path))), want[i]);
        }
    }
    // tail keeps a line of any length in memory.
    c = config_sh("tail -c 200m /dev/zero");
    c.memory_limit = 16 << 20;
    got = wait_exit(start(s.id, &c));
    assert_true(got.oom_killed);
    assert_string_equal(arena_cstr(&arena, got.reason), "OOMKilled");
    assert_int_equal(got.exit_code, 137);
    remove_sandbox(s.id);
}

static void test_exec_sync(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("exec sleep 1000");
    struct str id = start(s.id, &c), output;
    int code;
    struct err e_ = ERR_INIT;
    struct str both[] = {STR("sh"), STR("-c"), STR("echo out; echo err >&2; exit 4")};
    ok(rt->ops->exec_sync(rt, &arena, id, both, 3, 0, 4096, &output, &code, e));
    assert_int_equal(code, 4);
    assert_string_equal(arena_cstr(&arena, output), "out\nerr\n");
    struct str much[] = {STR("head"), STR("-c"), STR("1000000"), STR("/dev/zero")};
    ok(rt->ops->exec_sync(rt, &arena, id, much, 4, 0, 1000, &output, &code, e));
    assert_int_equal(code, 0);
    assert_int_equal(output.n, 1000);
    struct str slow[] = {STR("sleep"), STR("100")};
    assert_int_equal(
        rt->ops->exec_sync(rt, &arena, id, slow, 2, 200 * NS_PER_MS, 10, &output, &code, &e_),
        -504);
    assert_string_equal(e_.message, "command \"sleep 100\" timed out");
    err_done(&e_);
    struct str none[] = {STR("nope")};
    assert_int_equal(rt->ops->exec_sync(rt, &arena, id, none, 1, 0, 10, &output, &code, &e_), -500);
    assert_string_equal(
        e_.message,
        "failed to exec in container: exec: \"nope\": executable file not found in $PATH");
    err_done(&e_);
    struct str truth[] = {STR("true")};
    for (int i = 0; i < 10; i++) { // those end before the runtime program does
        ok(rt->ops->exec_sync(rt, &arena, id, truth, 1, 0, 10, &output, &code, e));
        assert_int_equal(code, 0);
    }
    ok(rt->ops->container_stop(rt, id, 0, e));
    assert_int_equal(rt->ops->exec_sync(rt, &arena, id, truth, 1, 0, 10, &output, &code, &e_),
                     -409);
    err_done(&e_);
    remove_sandbox(s.id);
}

struct ended {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is;
    int code;
    char error[128];
};

static void on_session_exit(void *ctx, int code, struct str error)
{
    struct ended *x = ctx;
    pthread_mutex_lock(&x->lock);
    x->is = true;
    x->code = code;
    snprintf(x->error, sizeof x->error, "%.*s", STR_ARG(error));
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

static void wait_ended(struct ended *x)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&x->lock);
    while (!x->is)
        if (pthread_cond_timedwait(&x->changed, &x->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&x->lock);
    assert_true(x->is);
}

// Reads until what came ends with `mark`, at most 20 s.
static struct str read_until(int fd, const char *mark)
{
    struct buf b = BUF_INIT;
    char bytes[4096];
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (!str_ends(buf_view(&b), str_of(mark))) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            break;
        buf_add(&b, bytes, (size_t)n);
    }
    struct str s = arena_str(&arena, buf_view(&b));
    buf_done(&b);
    if (!str_ends(s, str_of(mark)))
        fail_msg("\"%.*s\" does not end with \"%s\"", STR_ARG(s), mark);
    return s;
}

static void test_exec_streams(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("exec sleep 1000");
    struct str id = start(s.id, &c);
    struct ended end = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int in[2], out[2], err[2];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    struct str command[] = {STR("sh"), STR("-c"), STR("echo e >&2; cat; exit 6")};
    struct runtime_exec x = {id, command, 3, false, in[0], out[1], err[1], on_session_exit, &end};
    struct runtime_session *session;
    ok(rt->ops->exec(rt, &x, &session, e));
    assert_int_equal(write(in[1], "through\n", 8), 8);
    assert_string_equal(arena_cstr(&arena, read_until(out[0], "\n")), "through\n");
    assert_string_equal(arena_cstr(&arena, read_until(err[0], "\n")), "e\n");
    close(in[1]);
    char byte;
    assert_int_equal(read(out[0], &byte, 1), 0); // nobody else holds it
    wait_ended(&end);
    assert_int_equal(end.code, 6);
    rt->ops->session_close(session);
    close(out[0]);
    close(err[0]);
    // Closing a session ends the process.
    struct str forever[] = {STR("sleep"), STR("3000")};
    struct ended end2 = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    x = (struct runtime_exec){id, forever, 2, false, -1, -1, -1, on_session_exit, &end2};
    ok(rt->ops->exec(rt, &x, &session, e));
    rt->ops->session_close(session);
    struct str look[] = {
        STR("sh"), STR("-c"),
        STR("n=0; while ps | grep -q '[s]leep 3000' && [ $n -lt 500 ]; do n=$((n+1)); "
            "usleep 10000; done; ps | grep -c '[s]leep 3000'")};
    struct str output;
    int code;
    ok(rt->ops->exec_sync(rt, &arena, id, look, 3, 0, 100, &output, &code, e));
    assert_string_equal(arena_cstr(&arena, output), "0\n");
    // cases/attack-durability.md, 6: one that nobody closes is freed with the runtime.
    static struct ended left = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                .changed = PTHREAD_COND_INITIALIZER};
    x.ctx = &left;
    ok(rt->ops->exec(rt, &x, &session, e));
    remove_sandbox(s.id);
}

static void test_exec_terminal(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("exec sleep 1000");
    struct str id = start(s.id, &c);
    struct ended end = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct str command[] = {STR("sh"), STR("-c"),
                            STR("tty; echo $TERM; read a; stty size; echo got $a; exit 9")};
    struct runtime_exec x = {id, command, 3, true, pair[1], -1, -1, on_session_exit, &end};
    struct runtime_session *session;
    ok(rt->ops->exec(rt, &x, &session, e));
    read_until(pair[0], "xterm\r\n");
    rt->ops->session_resize(session, 120, 40);
    // The request before is handled before the bytes that follow, once any call has been answered.
    struct str truth[] = {STR("true")}, output;
    int code;
    ok(rt->ops->exec_sync(rt, &arena, id, truth, 1, 0, 10, &output, &code, e));
    assert_int_equal(write(pair[0], "word\n", 5), 5);
    struct str got = read_until(pair[0], "got word\r\n");
    assert_true(str_find(got, STR("40 120\r\n")) >= 0);
    wait_ended(&end);
    assert_int_equal(end.code, 9);
    char byte;
    assert_int_equal(read(pair[0], &byte, 1), 0);
    rt->ops->session_close(session);
    close(pair[0]);
    // A client that goes hangs up.
    struct ended end2 = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct str shell[] = {STR("sh")};
    x = (struct runtime_exec){id, shell, 1, true, pair[1], -1, -1, on_session_exit, &end2};
    ok(rt->ops->exec(rt, &x, &session, e));
    close(pair[0]);
    wait_ended(&end2);
    rt->ops->session_close(session);
    remove_sandbox(s.id);
}

static void test_attach(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c =
        config_sh("while read a; do echo you said $a; done; exit 2");
    c.stdin_open = c.stdin_once = true;
    struct str id = start(s.id, &c);
    struct ended end = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    struct runtime_exec x = {id, NULL, 0, false, in[0], out[1], -1, on_session_exit, &end};
    struct runtime_session *session;
    ok(rt->ops->attach(rt, &x, &session, e));
    assert_int_equal(write(in[1], "yes\n", 4), 4);
    read_until(out[0], "you said yes\n");
    close(in[1]); // stdin_once: the container reads its end
    wait_ended(&end);
    assert_int_equal(end.code, 2);
    struct runtime_container got = wait_exit(id);
    assert_int_equal(got.exit_code, 2);
    assert_log(&got, "stdout F you said yes\n");
    rt->ops->session_close(session);
    close(out[0]);
    // With a terminal.
    struct ended end2 = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    c = config_sh("stty -echo; echo ready; read a; echo tty $a; exit 3");
    c.stdin_open = c.tty = true;
    id = start(s.id, &c);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    x = (struct runtime_exec){id, NULL, 0, true, pair[1], -1, -1, on_session_exit, &end2};
    while (str_find(read_file(inspect(id).log_path), STR("ready")) < 0)
        nap();
    ok(rt->ops->attach(rt, &x, &session, e));
    rt->ops->session_resize(session, 100, 30);
    assert_int_equal(write(pair[0], "hello\n", 6), 6);
    read_until(pair[0], "tty hello\r\n");
    wait_ended(&end2);
    rt->ops->session_close(session);
    close(pair[0]);
    got = wait_exit(id);
    assert_int_equal(got.exit_code, 3);
    assert_log(&got, "stdout F ready\r\nstdout F tty hello\r\n");
    remove_sandbox(s.id);
}

static void test_agent_restart(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("echo one; exec sleep 1000");
    struct str goes_on = start(s.id, &c);
    c = config_sh("until [ -e /stop ]; do sleep 0.02; done; exit 11");
    struct str ends = start(s.id, &c);
    struct str created = create(s.id, &c);
    ok(rt->ops->sandbox_set_ip(rt, s.id, STR("10.0.0.9"), e));
    int pid = inspect(goes_on).pid;
    struct str touch[] = {STR("touch"), STR("/stop")}, output;
    int code;
    ok(rt->ops->exec_sync(rt, &arena, ends, touch, 2, 0, 10, &output, &code, e));
    close_runtime(); // one ends while nobody is there, perhaps
    char path[512];
    snprintf(path, sizeof path, "%s/state/containers/%.*s/exit", work, STR_ARG(ends));
    for (int i = 0; i < 2000 && access(path, F_OK) < 0; i++)
        nap();
    open_runtime();
    struct runtime_container got = inspect(goes_on);
    assert_int_equal(got.state, RUNTIME_RUNNING);
    assert_int_equal(got.pid, pid);
    got = inspect(ends);
    assert_int_equal(got.state, RUNTIME_EXITED);
    assert_int_equal(got.exit_code, 11);
    assert_int_equal(inspect(created).state, RUNTIME_CREATED);
    struct runtime_sandbox *list;
    size_t n;
    ok(rt->ops->sandbox_list(rt, &arena, &list, &n, e));
    assert_int_equal(n, 1);
    assert_true(list[0].ready);
    assert_string_equal(arena_cstr(&arena, list[0].ip), "10.0.0.9");
    ok(rt->ops->container_stop(rt, goes_on, 0, e));
    assert_int_equal(inspect(goes_on).exit_code, 137);
    remove_sandbox(s.id);
}

static void test_supervisor_killed(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh(
        "i=0; until [ -e /stop ]; do i=$((i+1)); echo line $i; usleep 20000; done; exit 12");
    struct str id = start(s.id, &c), output;
    int before = supervisor_pid(), after = before, code;
    assert_true(before > 0);
    kill(before, SIGKILL);
    struct str touch[] = {STR("touch"), STR("/stop")};
    for (int i = 0; i < 2000 && (after == before || !after); i++) {
        nap();
        after = supervisor_pid();
    }
    assert_int_not_equal(after, before);
    // The link comes back by itself; a call waits for it.
    struct err e_ = ERR_INIT;
    int r = -1;
    for (int i = 0; i < 100 && r < 0; i++) {
        err_done(&e_);
        e_ = ERR_INIT;
        r = rt->ops->exec_sync(rt, &arena, id, touch, 2, 0, 100, &output, &code, &e_);
        if (r < 0)
            nap();
    }
    if (r < 0)
        fail_msg("exec after the supervisor's death: %s", e_.message);
    assert_int_equal(code, 0);
    struct runtime_container got = wait_exit(id);
    // Kernels from 6.15 on tell the code of a process that is not one's child.
    assert_true(got.exit_code == 12 || got.exit_code == 255);
    if (got.exit_code == 255)
        assert_string_equal(arena_cstr(&arena, got.reason), "ContainerStatusUnknown");
    // No line is missing but those that were in a buffer at that moment.
    struct str log = read_log(&got);
    unsigned lines = 0, last = 0;
    while (log.n) {
        struct str line = str_cut(&log, '\n');
        uint64_t number;
        if (!str_starts(line, STR("stdout F line ")))
            continue;
        assert_true(str_to_u64(str_from(line, 14), &number));
        assert_true(number > last);
        last = (unsigned)number;
        lines++;
    }
    assert_true(lines + 2 >= last);
    // And one that ended while no supervisor was there.
    c = config_sh("exec sleep 1000");
    id = start(s.id, &c);
    int pid = inspect(id).pid;
    before = supervisor_pid();
    kill(before, SIGSTOP);
    kill(pid, SIGKILL);
    kill(before, SIGKILL);
    got = wait_exit(id);
    assert_true(got.exit_code == 137 || got.exit_code == 255);
    remove_sandbox(s.id);
}

static void test_flood_and_rotation(void **state)
{
    (void)state;
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c =
        config_sh("yes 0123456789012345678901234567890123456789 | head -c 60000000");
    struct str id = start(s.id, &c);
    struct runtime_container got = wait_exit(id);
    ptrdiff_t slash = str_rchr(got.log_path, '/');
    DIR *d = opendir(arena_cstr(&arena, str_sub(got.log_path, 0, (size_t)slash)));
    unsigned files = 0;
    for (struct dirent *entry; (entry = readdir(d));)
        files += entry->d_name[0] != '.';
    closedir(d);
    assert_int_equal(files, SUPERVISOR_LOG_FILES);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", supervisor_pid());
    struct str status = read_file(str_of(path));
    ptrdiff_t at = str_find(status, STR("VmRSS:"));
    long kb = strtol(arena_cstr(&arena, str_from(status, (size_t)at + 6)), NULL, 10);
    assert_true(kb > 0 && kb < 16000);
    remove_sandbox(s.id);
}

static void test_images(void **state)
{
    (void)state;
    struct image_info *list, image;
    size_t n;
    struct err e_ = ERR_INIT;
    ok(rt->ops->image_list(rt, &arena, &list, &n, e));
    assert_int_equal(n, 1);
    assert_string_equal(arena_cstr(&arena, list[0].tags[0]), "docker.io/library/busybox:test");
    assert_true(list[0].size > 1000000);
    ok(rt->ops->image_status(rt, &arena, list[0].id, &image, e));
    assert_int_equal(rt->ops->image_status(rt, &arena, STR("busybox:other"), &image, &e_), -404);
    assert_string_equal(e_.message, "image \"docker.io/library/busybox:other\" not found");
    err_done(&e_);
    struct runtime_sandbox s = run_sandbox(false);
    struct runtime_container_config c = config_sh("exec sleep 1000");
    start(s.id, &c);
    assert_int_equal(rt->ops->image_remove(rt, STR("busybox:test"), &e_), -409);
    assert_string_equal(e_.message, "image \"busybox:test\" is in use by container \"web\"");
    err_done(&e_);
    remove_sandbox(s.id);
    ok(rt->ops->image_remove(rt, STR("busybox:test"), e));
    ok(rt->ops->image_remove(rt, STR("busybox:test"), e)); // idempotent
    ok(rt->ops->image_list(rt, &arena, &list, &n, e));
    assert_int_equal(n, 0);
    char path[256];
    snprintf(path, sizeof path, "%s/data/images/layers", work);
    assert_int_equal(rmdir(path), 0); // empty
    mkdir(path, 0755);
    ok(rt->ops->image_import(rt, &arena, image_tar, &list, &n, e));
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
        cmocka_unit_test(test_start_errors),
        cmocka_unit_test(test_partial_lines),
        cmocka_unit_test(test_user_and_security),
        cmocka_unit_test(test_privileged),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_pod_shares),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_exec_sync),
        cmocka_unit_test(test_exec_streams),
        cmocka_unit_test(test_exec_terminal),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_agent_restart),
        cmocka_unit_test(test_supervisor_killed),
        cmocka_unit_test(test_flood_and_rotation),
        cmocka_unit_test(test_images),
    };
    static const char *const programs[] = {"crun", "runc"};
    for (size_t i = 0; i < 2; i++) {
        program = programs[i];
        if (argc > 1 && strcmp(argv[1], program)) // unit_node_runtime_test crun [test]
            continue;
        if (argc > 2)
            cmocka_set_test_filter(argv[2]);
        failed += cmocka_run_group_tests_name(program, tests, group_setup, group_teardown);
    }
    unlink(image_tar);
    return failed;
}
