// Starting programs from a process with many threads.
//
// The child is made by vfork: nothing is copied, however large this process is, and the thread that
// starts it stands still until the program runs. Until then the child shares this process's memory,
// so it makes system calls and nothing else; also setuid and its kind are called by number, because
// the C library's functions of that name tell all threads of the process. All signals are blocked
// meanwhile: a handler must not run in the child. What fails there is reported through a pipe that
// closes when the program is executed, so success is the end of the file. (Under ThreadSanitizer,
// where vfork is a fork, the same holds.)
//
// posix_spawn was the other way; it knows no accounts.
//
// The conversation of process_run ends with the program, not with its streams: something that it
// left in the background may hold them for ever. What is in the pipes at its end is read, then the
// group is killed.
#include "base/process.h"
#include "base/buf.h"
#include "base/guard.h"
#include "base/path.h"
#include "base/time.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int process_exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// --- starting -------------------------------------------------------------------------------

// All that the child needs, made before it is.
struct start_plan {
    const struct process_options *o;
    const char *path;
    char *const *environment;
    int streams[3]; // descriptors above 2
    int report;
};

// In the child: system calls only.
static void child_fail(const struct start_plan *p)
{
    int why = errno;
    ssize_t n = write(p->report, &why, sizeof why);
    _exit(n == sizeof why ? 127 : 126);
}

static bool child_account(const struct process_account *a)
{
    return syscall(SYS_setgroups, a->ngroups, a->groups) == 0 &&
           syscall(SYS_setresgid, a->gid, a->gid, a->gid) == 0 &&
           syscall(SYS_setresuid, a->uid, a->uid, a->uid) == 0;
}

static __attribute__((noinline)) void child(const struct start_plan *p)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &standard, NULL); // those that cannot be set stay as they are
    if (setpgid(0, 0) < 0)
        child_fail(p);
    for (int i = 0; i < 3; i++)
        if (p->streams[i] != i && dup2(p->streams[i], i) < 0)
            child_fail(p);
    if (p->o->directory && chdir(p->o->directory) < 0)
        child_fail(p);
    if (p->o->account && !child_account(p->o->account))
        child_fail(p);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(p->path, (char *const *)p->o->argv, p->environment);
    child_fail(p);
}

// The file of a program's name: as the shell finds it.
static const char *program_path(struct arena *a, const char *program)
{
    if (strchr(program, '/'))
        return program;
    const char *dirs = getenv("PATH");
    for (struct str rest = str_of(dirs ? dirs : "/usr/sbin:/usr/bin:/sbin:/bin"); rest.p;) {
        struct str dir = str_cut(&rest, ':');
        const char *path = path_join(a, dir.n ? arena_cstr(a, dir) : ".", program);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

// A stream above 2, so that putting one in its place does not overwrite another.
static int stream_of(int stream, int at)
{
    if (stream == PROCESS_NULL) {
        _cleanup_fd_ int fd = open("/dev/null", (at ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
        return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    return fcntl(stream == PROCESS_INHERIT ? at : stream, F_DUPFD_CLOEXEC, 3);
}

static pid_t plan_run(const struct start_plan *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    pid_t pid = vfork();
#pragma GCC diagnostic pop
    if (pid == 0)
        child(p); // does not come back
    int why = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = why;
    return pid;
}

int env_process_start(struct env *env, const struct process_options *o, int *ret_pid, struct err *e)
{
    (void)env;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const char *path = program_path(&a, o->program);
    if (!path)
        return err_set(e, ERR_NOT_FOUND, "starting %s: not found in $PATH", o->program);
    _cleanup_fd_ int in = stream_of(o->streams[0], 0);
    _cleanup_fd_ int out = stream_of(o->streams[1], 1);
    _cleanup_fd_ int error = stream_of(o->streams[2], 2);
    int report[2] = {-1, -1};
    if (in < 0 || out < 0 || error < 0 || pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, errno, "starting %s", path);
    _cleanup_fd_ int from_child = report[0], to_parent = fcntl(report[1], F_DUPFD_CLOEXEC, 3);
    close(report[1]);
    if (to_parent < 0)
        return err_errno(e, errno, "starting %s", path);
    const struct start_plan p = {.o = o,
                                 .path = path,
                                 .environment =
                                     o->environment ? (char *const *)o->environment : environ,
                                 .streams = {in, out, error},
                                 .report = to_parent};
    pid_t pid = plan_run(&p);
    if (pid < 0)
        return err_errno(e, errno, "starting %s", path);
    guard_close_now(&to_parent);
    int why = 0;
    ssize_t n;
    do
        n = read(from_child, &why, sizeof why);
    while (n < 0 && errno == EINTR);
    if (n == sizeof why) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return err_errno(e, why, "starting %s", path);
    }
    *ret_pid = pid;
    return 0;
}

// --- waiting --------------------------------------------------------------------------------

void env_process_kill(struct env *env, int pid, int signal_number)
{
    (void)env;
    // The child has made its group before it was started, so the number is its.
    kill(-pid, signal_number);
}

static int reap(int pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int env_process_wait(struct env *env, int pid, uint64_t timeout_ns, int *ret_status, struct err *e)
{
    if (timeout_ns) {
        _cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0)
            return err_errno(e, errno, "waiting for process %d", pid);
        uint64_t end = env_mono(env) + timeout_ns;
        struct pollfd p = {fd, POLLIN, 0};
        for (;;) {
            uint64_t now = env_mono(env);
            int ms = now >= end ? 0 : (int)((end - now + NS_PER_MS - 1) / NS_PER_MS);
            int n = poll(&p, 1, ms);
            if (n > 0)
                break;
            if (n < 0 && errno != EINTR)
                return err_errno(e, errno, "waiting for process %d", pid);
            if (n == 0)
                return err_set(e, ERR_TIMEOUT, "process %d still runs", pid);
        }
    }
    int r = reap(pid, ret_status);
    return r < 0 ? err_errno(e, -r, "waiting for process %d", pid) : 0;
}

// --- the conversation -----------------------------------------------------------------------

struct talk {
    const struct process_options *o;
    int pidfd, in, out, error; // ours; -1: closed
    struct str input;
    struct buf output, errors;
    bool cut;
};

static void feed(struct talk *t)
{
    // A socket, not a pipe: writing to a program that has ended is an error, never a signal.
    ssize_t n = send(t->in, t->input.p, t->input.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        t->input = str_from(t->input, (size_t)n);
    else if (errno != EAGAIN && errno != EINTR)
        t->input = STR_NULL; // it does not want to know; how it ends will tell why
    if (!t->input.n)
        guard_close_now(&t->in);
}

// What is there now; closes at the end of the stream.
static int drain(struct talk *t, int *fd, struct buf *b, size_t max, struct err *e)
{
    char bytes[4096];
    while (*fd >= 0) {
        ssize_t n = read(*fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0) {
            guard_close_now(fd);
            return 0;
        }
        size_t room = max - b->n, take = (size_t)n < room ? (size_t)n : room;
        buf_add(b, bytes, take);
        if (take < (size_t)n && !t->o->cut)
            return err_set(e, ERR_TOO_LARGE, "it says more than %zu bytes", max);
        t->cut = t->cut || take < (size_t)n;
    }
    return 0;
}

static int drain_both(struct talk *t, struct err *e)
{
    int r = drain(t, &t->out, &t->output, t->o->output_max, e);
    return r < 0 ? r : drain(t, &t->error, &t->errors, t->o->error_max, e);
}

static int converse(struct env *env, struct talk *t, struct err *e)
{
    uint64_t start = env_mono(env);
    for (;;) {
        int ms = -1;
        if (t->o->timeout_ns) {
            uint64_t past = env_mono(env) - start;
            if (past >= t->o->timeout_ns)
                return err_set(e, ERR_TIMEOUT, "no end within %llu ms",
                               (unsigned long long)(t->o->timeout_ns / NS_PER_MS));
            ms = (int)((t->o->timeout_ns - past + NS_PER_MS - 1) / NS_PER_MS);
        }
        struct pollfd fds[] = {
            {t->pidfd, POLLIN, 0}, {t->in, POLLOUT, 0}, {t->out, POLLIN, 0}, {t->error, POLLIN, 0}};
        int n = poll(fds, 4, ms);
        if (n < 0 && errno != EINTR)
            return err_errno(e, errno, "waiting for it");
        if (n <= 0)
            continue;
        if (fds[1].revents)
            feed(t);
        int r = drain_both(t, e);
        if (r < 0)
            return r;
        if (fds[0].revents) // it has ended, and what it wrote before is in the pipes by now
            return drain_both(t, e);
    }
}

// A pipe whose reading end, ours, does not block. max 0: none is asked for.
static int pipe_for(size_t max, int *ret_ours, int *ret_its)
{
    int fds[2];
    if (!max)
        return 0;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = fds[0];
    *ret_its = fds[1];
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int env_process_run(struct env *env, struct arena *a, const struct process_options *o,
                    struct process_result *ret, struct err *e)
{
    int pair[2] = {-1, -1}, out[2] = {-1, -1}, error[2] = {-1, -1}, pid = 0, status = 0;
    int r = pipe_for(o->output_max, &out[0], &out[1]);
    if (r == 0)
        r = pipe_for(o->error_max, &error[0], &error[1]);
    if (r == 0 && o->input.n && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        r = -errno;
    _cleanup_fd_ int in = pair[0], read_out = out[0], read_error = error[0], pidfd = -1;
    _cleanup_fd_ int its_in = pair[1], its_out = out[1], its_error = error[1];
    if (r < 0)
        return err_errno(e, -r, "starting %s", o->program);

    struct process_options with = *o;
    with.streams[0] = its_in >= 0 ? its_in : PROCESS_NULL;
    with.streams[1] = its_out >= 0 ? its_out : PROCESS_NULL;
    with.streams[2] = its_error >= 0 ? its_error : o->streams[2];
    r = process_start(env, &with, &pid, e);
    if (r < 0)
        return r;
    guard_close_now(&its_in);
    guard_close_now(&its_out);
    guard_close_now(&its_error);

    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    _cleanup_buf_ struct buf output = BUF_MAX(o->output_max + 1),
                             errors = BUF_MAX(o->error_max + 1);
    struct talk t = {o, pidfd, in, read_out, read_error, o->input, output, errors, false};
    r = pidfd < 0 ? err_errno(e, errno, "watching process %d", pid) : converse(env, &t, e);
    in = t.in, read_out = t.out, read_error = t.error;
    output = t.output, errors = t.errors;
    if (r < 0 || !o->leave_group)
        process_kill(env, pid, SIGKILL);
    int reaped = reap(pid, &status);
    if (r == 0 && reaped < 0)
        r = err_errno(e, -reaped, "waiting for process %d", pid);
    if (r < 0)
        return r;
    *ret = (struct process_result){.status = status,
                                   .output = arena_str(a, buf_view(&output)),
                                   .error = arena_str(a, buf_view(&errors)),
                                   .cut = t.cut};
    return 0;
}

// --- by way of env --------------------------------------------------------------------------

static int nobody(struct err *e, const char *program)
{
    return err_set(e, ERR_NOT_IMPLEMENTED, "starting %s: no programs in this world", program);
}

int process_start(struct env *env, const struct process_options *o, int *ret_pid, struct err *e)
{
    return env->ops->process_start ? env->ops->process_start(env, o, ret_pid, e)
                                   : nobody(e, o->program);
}

void process_kill(struct env *env, int pid, int signal_number)
{
    if (env->ops->process_kill)
        env->ops->process_kill(env, pid, signal_number);
}

int process_wait(struct env *env, int pid, uint64_t timeout_ns, int *ret_status, struct err *e)
{
    return env->ops->process_wait ? env->ops->process_wait(env, pid, timeout_ns, ret_status, e)
                                  : nobody(e, "it");
}

int process_run(struct env *env, struct arena *a, const struct process_options *o,
                struct process_result *ret, struct err *e)
{
    return env->ops->process_run ? env->ops->process_run(env, a, o, ret, e) : nobody(e, o->program);
}
