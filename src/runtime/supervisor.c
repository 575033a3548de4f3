// The supervisor: the process that stays when the agent goes. See supervisor.h for what the two
// agree on and supervisor_internal.h for the parts.
//
// Why a process at all: a container's parent must live as long as the container, to learn its exit
// code, and somebody must hold the reading end of its output. conmon does that with a process per
// container; one for the node costs kilobytes per container instead of a megabyte.
//
// Why so plain: it must never be the reason that a container dies. It allocates little, trusts no
// length, never waits for anybody (all sockets non-blocking; an agent that does not read is
// disconnected and learns what it missed from the files), and keeps nothing in memory that is not
// also on disk, so that it can be replaced.
//
// Life:
//
//   starting --lock, socket--> serving --no agent, no container, no sandbox--> gone
//                                 |  ^
//                          killed |  | a new one, started by the agent, reads STATE/containers
//                                 v  |
//                                (containers run on; their FIFOs hold 64 kB of output each)
//
// When a supervisor was killed, its containers are no longer anybody's children that would be
// waited for by us. They are taken over by pidfd. Their output goes on, because
// their standard streams are FIFOs that the container itself holds open for reading too: a write
// never meets a missing reader. What is lost: up to one unfinished line a stream, terminals (their
// master end died, the container gets SIGHUP) and, on kernels before 6.15, the exit code, which is
// then reported as 255 with reason ContainerStatusUnknown, as kubelet does.
//
// Invariants:
//  1. A container whose `pid` names a living process and that has no `exit` is in
//     supervisor.containers.
//  2. `exit` is written before anybody is told of the end, and after the last output is in the log.
//  3. No job, no session and no container refers to a connection by pointer.
#include "base/env.h"
#include "base/log.h"
#include "runtime/runtime.h"
#include "runtime/supervisor_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct supervisor supervisor = {.epoll = -1};

static uint64_t connections_made;

int64_t now_real(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void path_format(char *to, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(to, size, fmt, ap);
    va_end(ap);
    BUG_ON(n < 0 || (size_t)n >= size); // the state directory's length is checked at the start
}

int state_write(const char *path, const char *text)
{
    char temporary[PATH_MAX];
    path_format(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    size_t n = strlen(text);
    ssize_t put = write(fd, text, n);
    int why = put < 0 ? errno : ENOSPC;
    close(fd);
    if (put != (ssize_t)n) {
        unlink(temporary);
        return -why;
    }
    return rename(temporary, path) < 0 ? -errno : 0;
}

// --- sources --------------------------------------------------------------------------------

bool source_set(struct source *s, uint32_t events)
{
    if (s->fd < 0 || s->events == events)
        return s->fd >= 0;
    struct epoll_event ev = {.events = events, .data.ptr = s};
    // A fd whose events are none must leave the set: a hang-up is reported regardless of the mask.
    int op = !events ? EPOLL_CTL_DEL : s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(supervisor.epoll, op, s->fd, &ev) < 0)
        return false;
    s->events = events;
    return true;
}

void source_close(struct source *s)
{
    if (s->fd < 0)
        return;
    source_set(s, 0);
    close(s->fd);
    s->fd = -1;
}

// --- jobs -----------------------------------------------------------------------------------

int job_start(struct job *j, int (*child)(void *arg, int words), void *arg)
{
    j->words = memfd_create("words", MFD_CLOEXEC);
    if (j->words < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int why = errno;
        close(j->words);
        j->words = -1;
        return -why;
    }
    if (!pid) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        _exit(child(arg, j->words));
    }
    j->pid = pid;
    list_push(&supervisor.jobs, &j->node);
    return 0;
}

char *job_words(struct job *j)
{
    char text[4096];
    ssize_t n = j->words < 0 ? 0 : pread(j->words, text, sizeof text, 0);
    return mem_cstr(str_trim(str_n(text, n < 0 ? 0 : (size_t)n)));
}

void job_finish(struct job *j)
{
    list_remove(&j->node);
    if (j->words >= 0)
        close(j->words);
    j->words = -1;
}

// Children that end while a job runs and that nobody knows yet: a detached container or exec may be
// over before the runtime program has told us its pid.
static struct orphan {
    pid_t pid;
    int status;
} orphans[64];
static unsigned norphans;

bool orphan_take(pid_t pid, int *ret_status)
{
    for (unsigned i = 0; i < norphans; i++)
        if (orphans[i].pid == pid) {
            *ret_status = orphans[i].status;
            orphans[i] = orphans[--norphans];
            return true;
        }
    return false;
}

static struct job *job_of(pid_t pid)
{
    list_each (&supervisor.jobs, it) {
        struct job *j = container_of(it, struct job, node);
        if (j->pid == pid)
            return j;
    }
    return NULL;
}

static void children_reap(void)
{
    struct {
        struct job *job;
        int status;
    } ended[32];
    unsigned n = 0;

    // Jobs are finished after the others: their detached children are then either known to be dead
    // or alive.
    while (n < 32) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            break;
        struct job *j = job_of(pid);
        if (j) {
            ended[n].job = j;
            ended[n++].status = status;
            continue;
        }
        if (container_reaped(pid, status) || session_reaped(pid, status))
            continue;
        if (!list_empty(&supervisor.jobs)) {
            if (norphans == sizeof orphans / sizeof *orphans)
                memmove(orphans, orphans + 1, sizeof *orphans * --norphans);
            orphans[norphans++] = (struct orphan){pid, status};
        }
    }
    for (unsigned i = 0; i < n; i++)
        ended[i].job->done(ended[i].job, ended[i].status);
    if (list_empty(&supervisor.jobs))
        norphans = 0;
    if (n == 32)
        children_reap();
}

// --- connections ----------------------------------------------------------------------------

struct connection *connection_find(uint64_t serial)
{
    list_each (&supervisor.connections, it) {
        struct connection *c = container_of(it, struct connection, node);
        if (c->serial == serial)
            return c;
    }
    return NULL;
}

static void connection_close(struct connection *c)
{
    uint64_t serial = c->serial;
    list_remove(&c->node);
    source_close(&c->source);
    free(c);
    sessions_drop(serial);
}

static void packet_send(struct connection *c, uint16_t type, uint64_t call, int code,
                        const struct str *strings, size_t n)
{
    int r = supervisor_send(c->source.fd, MSG_DONTWAIT, type, call, code, strings, n, NULL, 0);
    // An agent that leaves a full socket unread is cut off; it will come again and read the files.
    // Only shut down: its source may be what the caller is working for.
    if (r < 0)
        shutdown(c->source.fd, SHUT_RDWR);
}

void answer(uint64_t connection, uint64_t call, int code, const char *text)
{
    struct connection *c = connection_find(connection);
    if (!c)
        return;
    struct str s = str_sub(str_of(text), 0, 4096);
    packet_send(c, 0, call, code, &s, text ? 1 : 0);
}

void broadcast_exited(const char *container_id)
{
    struct str s = str_of(container_id);
    list_each (&supervisor.connections, it)
        packet_send(container_of(it, struct connection, node), SUPERVISOR_EXITED, 0, 0, &s, 1);
}

// --- requests -------------------------------------------------------------------------------

static bool id_valid(struct str id)
{
    if (!id.n || id.n > SUPERVISOR_ID_MAX)
        return false;
    for (size_t i = 0; i < id.n; i++)
        if (!((id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9')))
            return false;
    return true;
}

static uint64_t number(struct str s)
{
    uint64_t n = 0;
    str_to_u64(s, &n);
    return n;
}

static void do_hello(struct supervisor_packet *p, uint64_t connection)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    answer(connection, p->head.call, 0, pid);
}

static void do_sandbox_remove(struct supervisor_packet *p, uint64_t connection)
{
    sandbox_remove(p->strings[0], connection, p->head.call);
}

static void do_start(struct supervisor_packet *p, uint64_t connection)
{
    container_start(p->strings[0], connection, p->head.call);
}

static void do_kill(struct supervisor_packet *p, uint64_t connection)
{
    container_kill(p->strings[0], (int)number(p->strings[1]), connection, p->head.call);
}

static void do_delete(struct supervisor_packet *p, uint64_t connection)
{
    container_delete(p->strings[0], connection, p->head.call);
}

static void do_resize(struct supervisor_packet *p, uint64_t connection)
{
    session_resize(connection, number(p->strings[0]), (unsigned)number(p->strings[1]),
                   (unsigned)number(p->strings[2]));
}

static void do_close(struct supervisor_packet *p, uint64_t connection)
{
    session_close(connection, number(p->strings[0]));
}

static const struct request {
    void (*fn)(struct supervisor_packet *p, uint64_t connection);
    uint8_t strings; // at least
    bool names_id;   // the first string is the id of a sandbox or container
} requests[SUPERVISOR_TYPE_COUNT] = {
    [SUPERVISOR_HELLO] = {do_hello, 0, false},
    [SUPERVISOR_SANDBOX_RUN] = {sandbox_run, 3, true},
    [SUPERVISOR_SANDBOX_REMOVE] = {do_sandbox_remove, 1, true},
    [SUPERVISOR_START] = {do_start, 1, true},
    [SUPERVISOR_KILL] = {do_kill, 2, true},
    [SUPERVISOR_DELETE] = {do_delete, 1, true},
    [SUPERVISOR_EXEC] = {session_exec, 5, true},
    [SUPERVISOR_ATTACH] = {session_attach, 4, true},
    [SUPERVISOR_RESIZE] = {do_resize, 3, false},
    [SUPERVISOR_CLOSE] = {do_close, 1, false},
};

static void connection_ready(struct source *s, uint32_t events)
{
    static char buffer[SUPERVISOR_PACKET_MAX];
    struct connection *c = container_of(s, struct connection, source);
    struct supervisor_packet p;
    (void)events;
    int r = supervisor_receive(s->fd, MSG_DONTWAIT, buffer, sizeof buffer, &p);
    if (r == -EAGAIN)
        return;
    if (r <= 0) {
        connection_close(c);
        return;
    }
    uint64_t serial = c->serial;
    const struct request *q =
        p.head.type < SUPERVISOR_TYPE_COUNT ? &requests[p.head.type] : &(struct request){0};
    char why[160];
    if (p.head.version != SUPERVISOR_VERSION) {
        snprintf(why, sizeof why, "the supervisor speaks version %d of its protocol, not %d",
                 SUPERVISOR_VERSION, p.head.version);
        answer(serial, p.head.call, -501, why);
        shutdown(s->fd, SHUT_RDWR);
    } else if (!q->fn || p.head.nstrings < q->strings) {
        answer(serial, p.head.call, -400, "the supervisor does not know this request");
    } else if (q->names_id && !id_valid(p.strings[0])) {
        answer(serial, p.head.call, -400, "not a sandbox or container id");
    } else {
        q->fn(&p, serial); // takes fds by setting them to -1
    }
    for (size_t i = 0; i < p.nfds; i++)
        if (p.fds[i] >= 0)
            close(p.fds[i]);
}

static void listener_ready(struct source *s, uint32_t events)
{
    (void)events;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct connection *c = mem_zalloc(sizeof *c);
    c->source = (struct source){.fn = connection_ready, .fd = fd};
    c->serial = ++connections_made;
    list_push(&supervisor.connections, &c->node);
    source_set(&c->source, EPOLLIN);
}

static void signal_ready(struct source *s, uint32_t events)
{
    struct signalfd_siginfo info;
    (void)events;
    while (read(s->fd, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGTERM)
            supervisor.stop = true;
    children_reap();
}

// --- start and end --------------------------------------------------------------------------

static bool directory_empty(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return true;
    bool empty = true;
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = e->d_name[0] == '.';
    closedir(d);
    return empty;
}

// Something is there that outlives an agent.
static bool needed(void)
{
    char path[PATH_MAX];
    if (!list_empty(&supervisor.containers) || !list_empty(&supervisor.jobs))
        return true;
    path_format(path, sizeof path, "%s/ns", supervisor.state_dir);
    if (!directory_empty(path))
        return true;
    path_format(path, sizeof path, "%s/containers", supervisor.state_dir);
    return !directory_empty(path);
}

// The mount at exactly this path: 0 none, 1 a whole filesystem, 2 a part of one (a bind mount).
static int mounted_as(const char *path)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t cap = 0;
    int as = 0;
    while (f && getline(&line, &cap, f) > 0) {
        char root[PATH_MAX], where[PATH_MAX];
        if (sscanf(line, "%*d %*d %*s %4095s %4095s", root, where) == 2 && !strcmp(where, path))
            as = strcmp(root, "/") ? 2 : 1;
    }
    free(line);
    if (f)
        fclose(f);
    return as;
}

// Mounts made below the state directory (namespaces, shared memory, and in a private mount
// namespace the containers' root) must not spread to other mount namespaces, where nobody would
// take them away again. So it becomes a private mount of its own.
static void state_mount(void)
{
    if (!mounted_as(supervisor.state_dir) &&
        mount(supervisor.state_dir, supervisor.state_dir, NULL, MS_BIND, NULL) < 0)
        log_error("supervisor", "cannot make %s a mount: %s", supervisor.state_dir,
                  strerror(errno));
    if (mount(NULL, supervisor.state_dir, NULL, MS_PRIVATE, NULL) < 0)
        log_error("supervisor", "cannot make %s private: %s", supervisor.state_dir,
                  strerror(errno));
}

// Cgroup directories that the runtime made for our parents and that hold nothing any more.
static void cgroups_prune(void)
{
    static const char *const below[] = {"", "/besteffort", "/burstable", "/guaranteed"};
    DIR *d = opendir("/sys/fs/cgroup");
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' && e->d_name[1]) // "." stands for a pure v2 tree
            continue;
        char path[PATH_MAX];
        for (size_t i = sizeof below / sizeof *below; i-- > 0;) {
            path_format(path, sizeof path, "/sys/fs/cgroup/%s/%s%s", e->d_name,
                        supervisor.cgroup_root, below[i]);
            rmdir(path);
        }
    }
    closedir(d);
}

// A service manager that stops the agent kills all of its cgroup. Best effort: where it cannot be,
// the supervisor stays beside the agent.
static void cgroup_leave(void)
{
    static const char *const trees[] = {"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified",
                                        "/sys/fs/cgroup"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        path_format(path, sizeof path, "%s/cgroup.procs", trees[i]);
        if (access(path, W_OK) < 0)
            continue;
        path_format(path, sizeof path, "%s/%s", trees[i], supervisor.cgroup_root);
        mkdir(path, 0755);
        path_format(path, sizeof path, "%s/%s/supervisor", trees[i], supervisor.cgroup_root);
        mkdir(path, 0755);
        path_format(path, sizeof path, "%s/%s/supervisor/cgroup.procs", trees[i],
                    supervisor.cgroup_root);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (write(fd, "0", 1) < 0)
                log_debug("supervisor", "%s: %s", path, strerror(errno));
            close(fd);
        }
    }
}

static void cgroup_return(void)
{
    static const char *const trees[] = {"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified",
                                        "/sys/fs/cgroup"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        path_format(path, sizeof path, "%s/cgroup.procs", trees[i]);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        bool ok = write(fd, "0", 1) == 1;
        close(fd);
        path_format(path, sizeof path, "%s/%s/supervisor", trees[i], supervisor.cgroup_root);
        if (ok)
            rmdir(path);
    }
}

static int fail(const char *what, const char *path)
{
    fprintf(stderr, "coracle supervisor: %s %s: %s\n", what, path, strerror(errno));
    return 1;
}

static void on_alarm(int signo)
{
    (void)signo;
}

// The lock says who serves. Who finds it taken waits a little, since the holder may be on its way
// out, and then leaves the matter to the agent, which tries to connect.
static int lock_take(void)
{
    char path[PATH_MAX];
    path_format(path, sizeof path, "%s/supervisor.lock", supervisor.state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    struct sigaction wake = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &wake, NULL);
    alarm(3);
    int r = flock(fd, LOCK_EX);
    alarm(0);
    if (r < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// Whoever wants to end this process (runtime_teardown.c) finds it by the number in its lock file.
static void pid_write(int lock)
{
    if (ftruncate(lock, 0) < 0 || dprintf(lock, "%d\n", (int)getpid()) < 0)
        log_warn("supervisor", "cannot write the lock file: %s", strerror(errno));
}

static int socket_bind(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    path_format(address.sun_path, sizeof address.sun_path, "%s/supervisor.sock",
                supervisor.state_dir);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(address.sun_path, 0600) < 0 || listen(fd, 16) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

// Into the background: the caller's process goes when the socket is there.
static void daemonise(void)
{
    pid_t pid = fork();
    if (pid < 0)
        return;
    if (pid)
        _exit(0);
    setsid();
}

static void serve(int listener_fd, int signal_fd)
{
    struct source listener = {.fn = listener_ready, .fd = listener_fd};
    struct source signals = {.fn = signal_ready, .fd = signal_fd};
    bool met = false; // nobody has come yet: the agent that started us is about to

    source_set(&listener, EPOLLIN);
    source_set(&signals, EPOLLIN);
    while (!supervisor.stop) {
        struct epoll_event ev;
        int n = epoll_wait(supervisor.epoll, &ev, 1, met ? -1 : 30000);
        if (n < 0 && errno != EINTR)
            break;
        if (n == 1) {
            struct source *s = ev.data.ptr;
            s->fn(s, ev.events);
        }
        met = met || n == 0 || !list_empty(&supervisor.connections);
        if (met && list_empty(&supervisor.connections) && !needed())
            break;
    }
    close(listener_fd);
}

int runtime_supervisor_main(int argc, char **argv)
{
    static char state[PATH_MAX];
    const char *state_dir = "/run/coracle";
    bool foreground = false;

    supervisor.cgroup_root = "coracle";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--state-dir") && i + 1 < argc)
            state_dir = argv[++i];
        else if (!strcmp(argv[i], "--cgroup-root") && i + 1 < argc)
            supervisor.cgroup_root = argv[++i];
        else if (!strcmp(argv[i], "--foreground"))
            foreground = true;
        else if (strcmp(argv[i], "supervisor")) {
            fprintf(stderr, "coracle supervisor: unknown argument %s\n", argv[i]);
            return 2;
        }
    }
    log_init();
    close_range(3, ~0U, 0);
    umask(022);
    struct err e = ERR_INIT;
    if (file_mkdir_all(state_dir, 0711, &e) < 0) {
        fprintf(stderr, "coracle supervisor: %s\n", e.message);
        err_done(&e);
        return 1;
    }
    if (!realpath(state_dir, state))
        return fail("cannot use", state_dir);
    supervisor.state_dir = state;
    // "/supervisor.sock" must fit a socket address, 108 bytes.
    if (strlen(state) > 80) {
        errno = ENAMETOOLONG;
        return fail("cannot use", state);
    }
    if (chdir("/") < 0)
        return fail("cannot use", "/");
    int lock = lock_take();
    if (lock < 0) {
        if (errno == EINTR)
            return 0; // another one serves
        return fail("cannot lock", state);
    }
    static const char *const parts[] = {"ns", "sandboxes", "containers", "oci", "tty"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        path_format(path, sizeof path, "%s/%s", state, parts[i]);
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
            return fail("cannot make", path);
    }
    path_format(path, sizeof path, "%s/supervisor.log", state);
    int log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    state_mount();
    int listener = socket_bind();
    if (listener < 0)
        return fail("cannot listen in", state);

    if (!foreground) {
        daemonise();
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 0);
        dup2(null, 1);
        dup2(log_fd >= 0 ? log_fd : null, 2);
        close(null);
    }
    if (log_fd >= 0)
        close(log_fd);
    pid_write(lock);
    cgroup_leave();
    prctl(PR_SET_NAME, "coracle-superv");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        if (write(score, "-999", 4) < 0)
            log_debug("supervisor", "oom_score_adj: %s", strerror(errno));
        close(score);
    }

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    supervisor.epoll = epoll_create1(EPOLL_CLOEXEC);
    list_init(&supervisor.containers);
    list_init(&supervisor.connections);
    list_init(&supervisor.jobs);
    list_init(&supervisor.sessions);
    supervisor_cgroup_hybrid(supervisor.unified, sizeof supervisor.unified);

    containers_take_over();
    serve(listener, signal_fd);
    if (!needed()) {
        path_format(path, sizeof path, "%s/supervisor.sock", state);
        unlink(path);
        if (mounted_as(state) == 2)
            umount2(state, MNT_DETACH);
        cgroup_return();
        cgroups_prune();
    }
    return 0;
}
