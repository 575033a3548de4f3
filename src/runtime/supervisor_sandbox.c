// A pod sandbox without a pause process: its namespaces are kept alive by bind mounts of
// /proc/self/ns/* in STATE/ns/<id>/. A forked child enters new namespaces, sets them up (hostname,
// loopback, sysctls) and pins them; it is gone when the answer is sent.
//
// A pid namespace cannot be kept so: it lives as long as its first process. Only pods that ask for
// a shared one get that process: another fork, which sleeps and reaps. It costs a few dirty pages,
// is named in STATE/sandboxes/<id>/init, and everything in the namespace dies with it.
//
// Removing is the same for whole, half-made and absent sandboxes.
#include "runtime/supervisor_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct namespace
{
    const char *name;
    int flag;
}
namespaces[] = {
    {"net", CLONE_NEWNET},
    {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS},
};
#define NAMESPACES (sizeof namespaces / sizeof *namespaces)

struct sandbox_job {
    struct job job;
    uint64_t connection, call;
    struct supervisor_packet *packet; // only until the fork
};

static bool wants(struct str list, const char *name)
{
    while (list.p)
        if (str_eqc(str_cut(&list, ' '), name))
            return true;
    return false;
}

static int loopback_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int ok = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &r);
    if (fd >= 0)
        close(fd);
    return ok;
}

// "net.ipv4.ip_forward" -> /proc/sys/net/ipv4/ip_forward. Which ones a pod may set is the agent's
// matter; here only that the name stays below /proc/sys.
static int sysctl_set(int words, struct str name, struct str value)
{
    char path[512];
    if (name.n > 256 || str_find(name, STR("..")) >= 0 || str_chr(name, '/') >= 0) {
        words_write(words, "sysctl \"%.*s\" is not a name", STR_ARG(name));
        return -1;
    }
    path_format(path, sizeof path, "/proc/sys/%.*s", STR_ARG(name));
    for (char *c = path + 10; *c; c++)
        if (*c == '.')
            *c = '/';
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, value.p, value.n) == (ssize_t)value.n;
    if (!ok)
        words_write(words, "failed to set sysctl \"%.*s\" to \"%.*s\": %s", STR_ARG(name),
                    STR_ARG(value), strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok ? 0 : -1;
}

static int pin(int words, const char *dir, const char *name, const char *from)
{
    char path[PATH_MAX];
    path_format(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
    if (fd >= 0)
        close(fd);
    if (fd < 0 || mount(from, path, NULL, MS_BIND, NULL) < 0) {
        words_write(words, "cannot pin the %s namespace: %s", name, strerror(errno));
        return -1;
    }
    return 0;
}

// The first process of a shared pid namespace.
_Noreturn static void pod_init(void)
{
    sigset_t set;
    int signo;
    prctl(PR_SET_PDEATHSIG, 0);
    prctl(PR_SET_NAME, "coracle-pause");
    close_range(0, ~0U, 0);
    setsid();
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    for (;;) {
        if (sigwait(&set, &signo) == 0 && signo == SIGTERM)
            _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}

static int share_pids(int words, const char *ns_dir, const char *id)
{
    char path[PATH_MAX], text[64];
    if (unshare(CLONE_NEWPID) < 0) {
        words_write(words, "cannot make a pid namespace: %s", strerror(errno));
        return -1;
    }
    pid_t pid = fork();
    if (pid < 0) {
        words_write(words, "cannot start the pod's first process: %s", strerror(errno));
        return -1;
    }
    if (!pid)
        pod_init();
    path_format(path, sizeof path, "%s/sandboxes/%s/init", supervisor.state_dir, id);
    snprintf(text, sizeof text, "%d %" PRIu64 " 0\n", (int)pid, supervisor_process_start(pid));
    if (state_write(path, text) < 0) {
        words_write(words, "cannot write %s: %s", path, strerror(errno));
        kill(pid, SIGKILL);
        return -1;
    }
    path_format(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    return pin(words, ns_dir, "pid", path);
}

static int sandbox_child(void *arg, int words)
{
    struct supervisor_packet *p = arg;
    struct str list = p->strings[1], hostname = p->strings[2];
    char id[SUPERVISOR_ID_MAX + 1] = "", dir[PATH_MAX], path[PATH_MAX];
    int flags = 0;

    memcpy(id, p->strings[0].p, p->strings[0].n);
    path_format(dir, sizeof dir, "%s/ns/%s", supervisor.state_dir, id);
    path_format(path, sizeof path, "%s/sandboxes/%s", supervisor.state_dir, id);
    if ((mkdir(dir, 0711) < 0 || (mkdir(path, 0711) < 0 && errno != EEXIST))) {
        words_write(words, "cannot make %s: %s", dir, strerror(errno));
        return 1;
    }
    if (wants(list, "shm")) {
        path_format(path, sizeof path, "%s/sandboxes/%s/shm", supervisor.state_dir, id);
        if ((mkdir(path, 01777) < 0 && errno != EEXIST) ||
            mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m") <
                0) {
            words_write(words, "cannot mount the pod's shared memory: %s", strerror(errno));
            return 1;
        }
    }
    for (size_t i = 0; i < NAMESPACES; i++)
        if (wants(list, namespaces[i].name))
            flags |= namespaces[i].flag;
    if (flags && unshare(flags) < 0) {
        words_write(words, "cannot make the pod's namespaces: %s", strerror(errno));
        return 1;
    }
    if ((flags & CLONE_NEWUTS) && hostname.n && sethostname(hostname.p, hostname.n) < 0) {
        words_write(words, "cannot set host name \"%.*s\": %s", STR_ARG(hostname), strerror(errno));
        return 1;
    }
    if ((flags & CLONE_NEWNET) && loopback_up() < 0) {
        words_write(words, "cannot bring up the loopback interface: %s", strerror(errno));
        return 1;
    }
    for (uint32_t i = 3; i + 1 < p->head.nstrings; i += 2)
        if (sysctl_set(words, p->strings[i], p->strings[i + 1]) < 0)
            return 1;
    for (size_t i = 0; i < NAMESPACES; i++) {
        if (!(flags & namespaces[i].flag))
            continue;
        path_format(path, sizeof path, "/proc/self/ns/%s", namespaces[i].name);
        if (pin(words, dir, namespaces[i].name, path) < 0)
            return 1;
    }
    return wants(list, "pid") && share_pids(words, dir, id) < 0;
}

static void sandbox_done(struct job *j, int status)
{
    struct sandbox_job *s = container_of(j, struct sandbox_job, job);
    char *words = job_words(j);
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    answer(s->connection, s->call, ok ? 0 : -500,
           ok       ? NULL
           : *words ? words
                    : "setting up the sandbox was interrupted");
    free(words);
    job_finish(j);
    free(s);
}

static void sandbox_job_start(int (*child)(void *, int), struct supervisor_packet *p,
                              uint64_t connection, uint64_t call)
{
    struct sandbox_job *s = mem_zalloc(sizeof *s);
    s->job.done = sandbox_done;
    s->connection = connection;
    s->call = call;
    int r = job_start(&s->job, child, p);
    if (r < 0) {
        answer(connection, call, -500, strerror(-r));
        free(s);
    }
}

void sandbox_run(struct supervisor_packet *p, uint64_t connection)
{
    sandbox_job_start(sandbox_child, p, connection, p->head.call);
}

// In the loop itself: a few system calls, none of which waits.
void sandbox_remove(struct str id, uint64_t connection, uint64_t call)
{
    char dir[PATH_MAX], path[PATH_MAX];
    static const char *const names[] = {"net", "ipc", "uts", "pid"};
    struct supervisor_pid init;

    path_format(path, sizeof path, "%s/sandboxes/%.*s/init", supervisor.state_dir, STR_ARG(id));
    if (supervisor_pid_read(path, &init))
        kill(init.pid, SIGKILL);
    unlink(path);
    path_format(dir, sizeof dir, "%s/ns/%.*s", supervisor.state_dir, STR_ARG(id));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_format(path, sizeof path, "%s/%s", dir, names[i]);
        while (umount2(path, MNT_DETACH) == 0)
            ;
        unlink(path);
    }
    if (rmdir(dir) < 0 && errno != ENOENT) {
        answer(connection, call, -500, strerror(errno));
        return;
    }
    path_format(path, sizeof path, "%s/sandboxes/%.*s/shm", supervisor.state_dir, STR_ARG(id));
    while (umount2(path, MNT_DETACH) == 0)
        ;
    rmdir(path);
    answer(connection, call, 0, NULL);
}
