// A container's life in the supervisor:
//
//   (files only) --START--> starting --runtime succeeded--> running --process ended--> ended
//                              |                                                       |
//                              +--runtime refused: exit 128 StartError-----------------+
//                                                                                      v
//                                                                   deleting --> (files only)
//
// `starting` and `deleting` are jobs: the runtime program runs meanwhile and the loop goes on. The
// runtime's own state and the cgroup are deleted as soon as the container has ended (after the OOM
// counter was read), so a dead container costs nothing but its directory, which the agent removes.
//
// Start is `run --detach`, not `create` and `start`: it saves the runtime's second process start,
// and nothing has to happen between the two, since network and volumes are ready before.
//
// The runtime child gets a mount namespace of its own, in which the container's overlay is mounted
// and, on hybrid machines, the cgroup2 tree is out of sight (crun refuses to work otherwise). The
// container inherits it; when the last process ends the kernel unmounts. So there is never a root
// filesystem mount on the host that could be left over.
#include "base/log.h"
#include "runtime/oci_words.h"
#include "runtime/supervisor_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_FD 9 // where the runtime program finds its log

static void delete_start(struct container *c);

struct container *container_find(struct str id)
{
    list_each (&supervisor.containers, it) {
        struct container *c = container_of(it, struct container, node);
        if (str_eqc(id, c->id))
            return c;
    }
    return NULL;
}

static void path_of(char *to, const struct container *c, const char *name)
{
    path_format(to, PATH_MAX, "%s/containers/%s/%s", supervisor.state_dir, c->id, name);
}

void runtime_root(char *to, size_t size, const char *program)
{
    const char *base = strrchr(program, '/');
    path_format(to, size, "%s/oci/%s", supervisor.state_dir, base ? base + 1 : program);
}

static bool runtime_knows(const char *program, const char *id)
{
    char root[PATH_MAX], path[PATH_MAX];
    runtime_root(root, sizeof root, program);
    path_format(path, sizeof path, "%s/%s", root, id);
    return access(path, F_OK) == 0;
}

static void container_free(struct container *c)
{
    list_remove(&c->node);
    for (int i = 0; i < 2; i++) {
        source_close(&c->out[i].source);
        free(c->out[i].line);
    }
    source_close(&c->pidfd);
    if (c->stdin_fd >= 0)
        close(c->stdin_fd);
    log_close(c);
    supervisor_launch_done(&c->launch);
    free(c);
}

static struct container *container_new(struct str id, struct err *e)
{
    struct container *c = mem_zalloc(sizeof *c);
    memcpy(c->id, id.p, id.n);
    c->pidfd = SOURCE_NONE;
    c->out[0] = (struct stream){.source = SOURCE_NONE, .name = "stdout", .container = c};
    c->out[1] = (struct stream){.source = SOURCE_NONE, .name = "stderr", .container = c};
    c->stdin_fd = c->log_fd = -1;
    list_init(&c->attachments);
    if (supervisor_launch_read(supervisor.state_dir, c->id, &c->launch, e) < 0) {
        free(c);
        return NULL;
    }
    list_push(&supervisor.containers, &c->node);
    return c;
}

// --- output ---------------------------------------------------------------------------------

static char output_buffer[32 * 1024];

// One read; what came, 0 at the end, -1 when there is nothing now.
static ssize_t output_read(struct stream *s)
{
    ssize_t n = read(s->source.fd, output_buffer, sizeof output_buffer);
    if (n < 0)
        return errno == EIO ? 0 : -1; // EIO: the last user of a terminal closed it
    if (n > 0) {
        log_output(s->container, s, output_buffer, (size_t)n);
        attachments_output(s->container, s, output_buffer, (size_t)n);
    }
    return n;
}

static void output_ready(struct source *src, uint32_t events)
{
    struct stream *s = container_of(src, struct stream, source);
    (void)events;
    ssize_t n = output_read(s);
    if (n == 0)
        source_close(src);
    else if (n > 0 && s->container->stalled)
        for (int i = 0; i < 2; i++)
            source_set(&s->container->out[i].source, 0);
}

void container_resume_output(struct container *c)
{
    for (int i = 0; i < 2; i++)
        source_set(&c->out[i].source, EPOLLIN);
}

// The container's streams on our side. For a start before the runtime runs; after a take-over,
// again.
static int streams_open(struct container *c, bool make, struct err *e)
{
    static const char *const names[] = {"out", "err", "in"};
    char path[PATH_MAX];

    for (int i = 0; i < 3; i++) {
        if (c->launch.tty || (i == 2 && !c->launch.stdin_open))
            continue;
        path_of(path, c, names[i]);
        if (make && mkfifo(path, 0666) < 0 && errno != EEXIST)
            return err_errno(e, errno, "%s", path);
        if (make && chmod(path, 0666) < 0) // what umask took: the container's user may reopen it
            return err_errno(e, errno, "%s", path);
        int fd = open(path, (i == 2 ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            return err_errno(e, errno, "%s", path);
        if (i == 2)
            c->stdin_fd = fd;
        else
            c->out[i].source = (struct source){.fn = output_ready, .fd = fd};
    }
    return 0;
}

// --- in the child, before the runtime -------------------------------------------------------

void words_write(int words, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vdprintf(words, fmt, ap);
    va_end(ap);
}

int runtime_child_prepare(int words, bool own_mounts)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!own_mounts && !*supervisor.unified)
        return 0;
    if (unshare(CLONE_NEWNS) < 0) {
        words_write(words, "cannot make a mount namespace: %s", strerror(errno));
        return -1;
    }
    if (*supervisor.unified) {
        // Private first, else the unmounting would spread to the host.
        if (mount(NULL, "/sys/fs/cgroup", NULL, MS_PRIVATE, NULL) < 0 ||
            umount2(supervisor.unified, MNT_DETACH) < 0) {
            words_write(words, "cannot hide %s from the runtime: %s", supervisor.unified,
                        strerror(errno));
            return -1;
        }
    }
    return 0;
}

void runtime_child_exec(int words, char *const *argv)
{
    // The copy has no close-on-exec; where it is that number already, it must be taken off.
    if (words == WORDS_FD ? fcntl(words, F_SETFD, 0) < 0 : dup2(words, WORDS_FD) < 0)
        _exit(125);
    execv(argv[0], argv);
    words_write(words, "cannot run %s: %s", argv[0], strerror(errno));
    _exit(125);
}

struct start_arguments {
    struct container *c;
    const char *console;
};

static int redirect(int words, const char *path, int flags, int to)
{
    int fd = open(path, flags);
    if (fd < 0) {
        words_write(words, "cannot open %s: %s", path, strerror(errno));
        return -1;
    }
    if (fd != to) {
        dup2(fd, to);
        close(fd);
    }
    return 0;
}

static int start_child(void *arg, int words)
{
    struct start_arguments *s = arg;
    struct container *c = s->c;
    char dir[PATH_MAX], path[PATH_MAX], root[PATH_MAX], pid_file[PATH_MAX];

    bool pipes = !c->launch.tty;
    path_of(path, c, "in");
    if (redirect(words, pipes && c->launch.stdin_open ? path : "/dev/null", O_RDONLY, 0) < 0)
        return 125;
    for (int i = 0; i < 2; i++) {
        path_of(path, c, i ? "err" : "out");
        if (redirect(words, pipes ? path : "/dev/null", O_RDWR, 1 + i) < 0)
            return 125;
    }
    if (runtime_child_prepare(words, *c->launch.overlay) < 0)
        return 125;
    if (*c->launch.overlay) {
        path_of(path, c, "rootfs");
        if (chdir(c->launch.layers) < 0 ||
            mount("overlay", path, "overlay", 0, c->launch.overlay) < 0) {
            words_write(words, "cannot mount the container's root filesystem: %s", strerror(errno));
            return 125;
        }
    }
    path_format(dir, sizeof dir, "%s/containers/%s", supervisor.state_dir, c->id);
    if (chdir(dir) < 0)
        return 125;
    path_of(pid_file, c, "oci.pid");
    runtime_root(root, sizeof root, c->launch.program);
    char *argv[20] = {
        (char *)c->launch.program,
        "--root",
        root,
        "--log",
        "/proc/self/fd/9",
        "run",
        "--detach",
        "--bundle",
        dir,
        "--pid-file",
        pid_file,
    };
    int n = 11;
    if (s->console) {
        argv[n++] = "--console-socket";
        argv[n++] = (char *)s->console;
    }
    argv[n++] = c->id;
    runtime_child_exec(words, argv);
}

// --- the end --------------------------------------------------------------------------------

// The value of `key N` in a cgroup file, 0 when there is none.
static uint64_t cgroup_counter(const char *file, const char *key)
{
    FILE *f = fopen(file, "re");
    if (!f)
        return 0;
    char name[64];
    uint64_t value, found = 0;
    while (fscanf(f, "%63s %" SCNu64, name, &value) == 2)
        if (!strcmp(name, key))
            found = value;
    fclose(f);
    return found;
}

static bool oom_killed(const struct container *c)
{
    char path[PATH_MAX];
    if (!*c->launch.cgroup)
        return false;
    path_format(path, sizeof path, "/sys/fs/cgroup/memory%s/memory.oom_control", c->launch.cgroup);
    if (cgroup_counter(path, "oom_kill"))
        return true;
    path_format(path, sizeof path, "/sys/fs/cgroup%s/memory.events", c->launch.cgroup);
    return cgroup_counter(path, "oom_kill") > 0;
}

// Processes that share a pid namespace with others do not end with the container's first one.
static void cgroup_kill(const struct container *c)
{
    static const char *const trees[] = {"", "/pids", "/memory", "/systemd"};
    char path[PATH_MAX];
    if (!*c->launch.cgroup)
        return;
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        path_format(path, sizeof path, "/sys/fs/cgroup%s%s/cgroup.procs", trees[i],
                    c->launch.cgroup);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        int pid;
        while (fscanf(f, "%d", &pid) == 1)
            if (pid > 1)
                kill(pid, SIGKILL);
        fclose(f);
    }
}

static void exit_write(struct container *c, const struct supervisor_exit *x, const char *message)
{
    char path[PATH_MAX], text[4096];
    snprintf(text, sizeof text, "%d %d %d %" PRId64 " %" PRId64 " %s\n%s\n", x->code, x->signal,
             x->oom, x->started_ns, x->finished_ns, x->reason, message);
    path_of(path, c, "exit");
    int r = state_write(path, text);
    if (r < 0)
        log_error("supervisor", "cannot write %s: %s", path, strerror(-r));
}

static void ended(struct container *c, const struct supervisor_exit *how, const char *message)
{
    struct supervisor_exit x = *how;
    if (!c->launch.own_pids)
        cgroup_kill(c);
    for (int i = 0; i < 2; i++) {
        // What is still in the pipe, and no more than that: somebody else may hold its other end.
        for (int rounds = 0; c->out[i].source.fd >= 0 && rounds < 64; rounds++)
            if (output_read(&c->out[i]) <= 0)
                break;
        log_flush(c, &c->out[i]);
        source_close(&c->out[i].source);
    }
    log_close(c);
    source_close(&c->pidfd);
    x.started_ns = c->started_ns;
    x.finished_ns = now_real();
    exit_write(c, &x, message);
    c->pid = 0;
    c->ended = true;
    attachments_end(c, x.code);
    if (c->stdin_fd >= 0)
        close(c->stdin_fd);
    c->stdin_fd = -1;
    broadcast_exited(c->id);
    delete_start(c);
}

static void ended_with_status(struct container *c, int status)
{
    struct supervisor_exit x = {.oom = oom_killed(c)};
    if (WIFSIGNALED(status)) {
        x.signal = WTERMSIG(status);
        x.code = 128 + x.signal;
    } else {
        x.code = WEXITSTATUS(status);
    }
    const char *reason = x.oom ? "OOMKilled" : x.code ? "Error" : "Completed";
    snprintf(x.reason, sizeof x.reason, "%s", reason);
    ended(c, &x, "");
}

static void ended_unknown(struct container *c)
{
    struct supervisor_exit x = {.code = 255, .reason = "ContainerStatusUnknown"};
    ended(c, &x, "The container could not be located when the supervisor was started again");
}

bool container_reaped(pid_t pid, int status)
{
    list_each (&supervisor.containers, it) {
        struct container *c = container_of(it, struct container, node);
        if (c->pid != pid)
            continue;
        ended_with_status(c, status);
        return true;
    }
    return false;
}

// --- start ----------------------------------------------------------------------------------

static void start_failed(struct container *c, const char *message)
{
    struct supervisor_exit x = {.code = 128, .reason = "StartError"};
    uint64_t connection = c->connection, call = c->call;
    // What the runtime printed on the container's standard error is in the message already.
    for (int i = 0; i < 2; i++)
        source_close(&c->out[i].source);
    c->started_ns = 0;
    ended(c, &x, message);
    answer(connection, call, -500, message);
}

static int read_pid_file(const char *path)
{
    int pid = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%d", &pid) != 1)
        pid = 0;
    fclose(f);
    return pid;
}

static void start_done(struct job *j, int status)
{
    struct container *c = j->owner;
    int console = -1, dead;
    char path[PATH_MAX], text[128];

    char *raw = job_words(j);
    job_finish(j);
    free(j);
    c->job = NULL;
    if (c->launch.tty) {
        console = c->stdin_fd; // kept there meanwhile
        c->stdin_fd = console_receive(console);
        close(console);
        if (c->stdin_fd >= 0) {
            int copy = fcntl(c->stdin_fd, F_DUPFD_CLOEXEC, 3);
            c->out[0].source = (struct source){.fn = output_ready, .fd = copy};
        }
    }
    path_of(path, c, "oci.pid");
    int pid = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? read_pid_file(path) : 0;
    unlink(path);
    if (!pid) {
        struct arena a = ARENA_INIT;
        struct str words = oci_words(&a, str_of(raw));
        start_failed(c, arena_cstr(&a, words));
        arena_done(&a);
        free(raw);
        return;
    }
    free(raw);
    c->pid = pid;
    c->started_ns = now_real();
    uint64_t connection = c->connection, call = c->call;
    bool over = orphan_take(pid, &dead);
    c->start_time = over ? 0 : supervisor_process_start(pid);
    snprintf(text, sizeof text, "%d %" PRIu64 " %" PRId64 "\n", pid, c->start_time, c->started_ns);
    path_of(path, c, "pid");
    int r = state_write(path, text);
    if (r < 0)
        log_error("supervisor", "cannot write %s: %s", path, strerror(-r));
    log_open(c);
    answer(connection, call, 0, NULL);
    if (over)
        ended_with_status(c, dead);
    else if (c->forget)
        kill(pid, SIGKILL);
    else
        container_resume_output(c);
}

void container_start(struct str id, uint64_t connection, uint64_t call)
{
    struct container *c = container_find(id);
    struct err e = ERR_INIT;
    char path[PATH_MAX], console[PATH_MAX];

    if (c) {
        answer(connection, call, c->pid && !c->job ? 0 : -409,
               c->pid && !c->job ? NULL : "the container is being started or deleted");
        return;
    }
    c = container_new(id, &e);
    if (!c) {
        answer(connection, call, err_code(&e), e.message);
        err_done(&e);
        return;
    }
    path_of(path, c, "exit");
    if (access(path, F_OK) == 0) {
        container_free(c);
        answer(connection, call, -409, "the container has ended already");
        return;
    }
    c->connection = connection;
    c->call = call;
    bool ready = streams_open(c, true, &e) == 0;
    struct start_arguments arguments = {.c = c};
    if (ready && c->launch.tty) {
        c->stdin_fd = console_listen(console, sizeof console);
        arguments.console = console;
        if (c->stdin_fd < 0)
            ready = err_errno(&e, errno, "console socket") == 0;
    }
    struct job *j = mem_zalloc(sizeof *j);
    j->done = start_done;
    j->owner = c;
    int r = ready ? job_start(j, start_child, &arguments) : 0;
    if (r < 0)
        err_errno(&e, -r, "starting the runtime");
    if (e.reason) {
        free(j);
        start_failed(c, e.message);
        err_done(&e);
        return;
    }
    c->job = j;
}

// A process that was taken over is not our child: its number could belong to another by now.
static int process_kill(struct container *c, int signal)
{
    return c->pidfd.fd >= 0 ? (int)syscall(SYS_pidfd_send_signal, c->pidfd.fd, signal, NULL, 0)
                            : kill(c->pid, signal);
}

void container_kill(struct str id, int signal, uint64_t connection, uint64_t call)
{
    struct container *c = container_find(id);
    if (!c || !c->pid) {
        answer(connection, call, -404, "the container is not running");
        return;
    }
    int r = process_kill(c, signal);
    answer(connection, call, r < 0 ? (errno == ESRCH ? -404 : -400) : 0,
           r < 0 ? strerror(errno) : NULL);
}

// --- delete ---------------------------------------------------------------------------------

static int delete_child(void *arg, int words)
{
    struct container *c = arg;
    char root[PATH_MAX];
    if (redirect(words, "/dev/null", O_RDWR, 0) < 0 || runtime_child_prepare(words, false) < 0)
        return 125;
    dup2(0, 1);
    dup2(0, 2);
    runtime_root(root, sizeof root, c->launch.program);
    runtime_child_exec(words, (char *[]){(char *)c->launch.program, "--root", root, "--log",
                                         "/proc/self/fd/9", "delete", "--force", c->id, NULL});
}

static void deleted(struct container *c)
{
    uint64_t connection = c->connection, call = c->call;
    bool asked = c->forget;
    container_free(c);
    if (asked)
        answer(connection, call, 0, NULL);
}

static void delete_done(struct job *j, int status)
{
    struct container *c = j->owner;
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        char *words = job_words(j);
        log_warn("supervisor", "deleting container %s: %s", c->id, words);
        free(words);
    }
    job_finish(j);
    free(j);
    c->job = NULL;
    deleted(c);
}

static void delete_start(struct container *c)
{
    if (!runtime_knows(c->launch.program, c->id)) {
        // The start may be what called us: the container is freed by the next request that names
        // it, or now, when nobody waits.
        if (c->forget)
            deleted(c);
        else
            container_free(c);
        return;
    }
    struct job *j = mem_zalloc(sizeof *j);
    j->done = delete_done;
    j->owner = c;
    int r = job_start(j, delete_child, c);
    if (r < 0) {
        log_error("supervisor", "deleting container %s: %s", c->id, strerror(-r));
        free(j);
        deleted(c);
        return;
    }
    c->job = j;
}

void container_delete(struct str id, uint64_t connection, uint64_t call)
{
    struct container *c = container_find(id);
    struct err e = ERR_INIT;

    if (!c) {
        c = container_new(id, &e);
        if (!c) { // no launch file: nothing was ever started
            answer(connection, call, 0, NULL);
            err_done(&e);
            return;
        }
        c->ended = true;
        c->forget = true;
        c->connection = connection;
        c->call = call;
        delete_start(c);
        return;
    }
    c->forget = true;
    if (c->job && !c->ended)
        answer(c->connection, c->call, -409, "the container is being deleted");
    c->connection = connection;
    c->call = call;
    if (c->pid)
        process_kill(c, SIGKILL);
}

// --- taking over ----------------------------------------------------------------------------

// <linux/pidfd.h> of 6.15 as far as it is needed; the size is in the request's number.
struct pidfd_exit_info {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t exit_code; // as wait(2) gives it
};
#define PIDFD_EXIT_INFO  _IOWR(0xFF, 11, struct pidfd_exit_info)
#define PIDFD_EXIT_KNOWN (1u << 3)

static void pidfd_ready(struct source *s, uint32_t events)
{
    struct container *c = container_of(s, struct container, pidfd);
    struct pidfd_exit_info info = {.mask = PIDFD_EXIT_KNOWN};
    int r = ioctl(s->fd, PIDFD_EXIT_INFO, &info);
    if (r == 0 && (info.mask & PIDFD_EXIT_KNOWN)) {
        ended_with_status(c, info.exit_code);
    } else if (r == 0 && !(events & EPOLLHUP)) {
        source_set(s, EPOLLHUP); // dead but not yet reaped by its new parent: the code comes then
    } else {
        ended_unknown(c);
    }
}

static void take_over(const char *id)
{
    struct err e = ERR_INIT;
    struct supervisor_pid pid;
    char path[PATH_MAX];

    struct container *c = container_new(str_of(id), &e);
    if (!c) { // half made by the agent, which removes it
        err_done(&e);
        return;
    }
    path_of(path, c, "exit");
    bool has_exit = access(path, F_OK) == 0;
    path_of(path, c, "pid");
    bool has_pid = access(path, F_OK) == 0;
    bool known = runtime_knows(c->launch.program, id);
    if (has_exit || (!has_pid && !known)) {
        c->ended = true;
        delete_start(c); // frees it
        return;
    }
    c->taken_over = true;
    if (!supervisor_pid_read(path, &pid)) {
        ended_unknown(c);
        return;
    }
    c->started_ns = pid.started_ns;
    c->start_time = pid.start_time;
    c->pidfd = (struct source){.fn = pidfd_ready, .fd = (int)syscall(SYS_pidfd_open, pid.pid, 0)};
    if (c->pidfd.fd < 0 || supervisor_process_start(pid.pid) != pid.start_time) {
        ended_unknown(c);
        return;
    }
    c->pid = pid.pid;
    if (streams_open(c, false, &e) < 0) {
        log_warn("supervisor", "output of container %s is lost: %s", id, e.message);
        err_done(&e);
    }
    log_open(c);
    source_set(&c->pidfd, EPOLLIN);
    container_resume_output(c);
    log_info("supervisor", "container %s with pid %d taken over", id, pid.pid);
}

void containers_take_over(void)
{
    char path[PATH_MAX];
    path_format(path, sizeof path, "%s/containers", supervisor.state_dir);
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) <= SUPERVISOR_ID_MAX)
            take_over(entry->d_name);
    closedir(d);
}
