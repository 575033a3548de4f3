// Containers. Create writes files only: writable layer, bundle, launch file, and last the record.
// Start is where the runtime runs, so that what can go wrong in the image or the command is said by
// start, as with the CRI runtimes. Everything that happens to a running container comes back from
// the supervisor.
//
//     create  DATA/containers/<id>/{upper,work}   overlay's writable part
//             STATE/containers/<id>/…             see supervisor.h
//     start   the supervisor mounts the overlay in a private mount namespace and runs the runtime
//     remove  the supervisor forgets it, then both directories go; the log stays, it is kubelet's
//     to remove
#include "base/log.h"
#include "base/time.h"
#include "runtime/oci_config.h"
#include "runtime/runtime_oci.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_MAX   (4 * 1024 * 1024)
#define KILL_SECONDS 60 // until a killed process is given up as stuck in the kernel

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT}, {"ILL", SIGILL},
    {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},     {"BUS", SIGBUS},   {"FPE", SIGFPE},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},     {"SEGV", SIGSEGV}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM},     {"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT},
    {"CHLD", SIGCHLD}, {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},       {"SYS", SIGSYS},
};

int oci_signal_number(struct str name)
{
    uint64_t n;
    if (str_to_u64(name, &n))
        return n >= 1 && n <= 64 ? (int)n : -1;
    if (str_starts(name, STR("SIG")))
        name = str_from(name, 3);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (str_eqc(name, signals[i].name))
            return signals[i].number;
    // The kernel's numbers: the C library keeps two real-time signals for itself.
    int base = str_starts(name, STR("RTMIN")) ? 34 : str_starts(name, STR("RTMAX")) ? 64 : -1;
    struct str rest = str_from(name, 5);
    if (base < 0 || !rest.n)
        return base;
    if (!str_to_u64(str_from(rest, 1), &n) || n > 30 || rest.p[0] != (base == 34 ? '+' : '-'))
        return -1;
    return base == 34 ? base + (int)n : base - (int)n;
}

// --- create ---------------------------------------------------------------------------------

static int write_file(struct str path, const struct buf *b, struct err *e)
{
    int fd = open(path.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, b->p, b->n) == (ssize_t)b->n;
    int why = errno;
    if (fd >= 0)
        close(fd);
    return ok ? 0 : err_errno(e, why, "cannot write %s", path.p);
}

static int make_directories(struct oci_runtime *r, struct arena *a, const char *id, struct str log,
                            struct err *e)
{
    const struct {
        struct str path;
        mode_t mode;
    } dirs[] = {
        {oci_path(a, "%s/containers/%s", r->state_dir, id), 0711},
        {oci_path(a, "%s/containers/%s/rootfs", r->state_dir, id), 0755},
        {oci_path(a, "%s/containers/%s", r->data_dir, id), 0711},
        {oci_path(a, "%s/containers/%s/upper", r->data_dir, id), 0755},
        {oci_path(a, "%s/containers/%s/work", r->data_dir, id), 0700},
        {oci_path(a, "%s/containers/%s/empty", r->data_dir, id), 0755},
    };
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        if (mkdir(dirs[i].path.p, dirs[i].mode) < 0)
            return err_errno(e, errno, "%s", dirs[i].path.p);
    ptrdiff_t slash = str_rchr(log, '/');
    if (slash > 0)
        return file_mkdir_all(arena_cstr(a, str_sub(log, 0, (size_t)slash)), 0755, e);
    return 0;
}

static int write_launch(struct oci_runtime *r, struct arena *a, const char *id,
                        const struct oci_entry *c, const struct image_details *image,
                        const struct runtime_container_config *config, struct err *e)
{
    _cleanup_buf_ struct buf overlay = BUF_MAX(4095), b = BUF_MAX(16384);

    // The topmost layer's mode is what "/" of the container has; upper starts as 0755.
    buf_puts(&overlay, "lowerdir=");
    for (size_t i = 0; i < image->nlayers; i++)
        buf_printf(&overlay, "%s%.*s", i ? ":" : "", STR_ARG(image->layers[i]));
    if (!image->nlayers)
        buf_printf(&overlay, "%s/containers/%s/empty", r->data_dir, id);
    buf_printf(&overlay, ",upperdir=%s/containers/%s/upper,workdir=%s/containers/%s/work",
               r->data_dir, id, r->data_dir, id);
    if (!buf_ok(&overlay))
        return err_set(e, ERR_INVALID, "the image has too many layers for this data directory");
    if (str_chr(c->info.log_path, '\n') >= 0)
        return err_set(e, ERR_INVALID, "the log path has a line break in it");
    buf_printf(&b, "program %s\nlog %.*s\ncgroup %.*s\nlayers %s\noverlay %.*s\n", r->program,
               STR_ARG(c->info.log_path), STR_ARG(c->cgroup), image->layers_dir,
               STR_ARG(buf_view(&overlay)));
    buf_printf(&b, "tty %d\nstdin %d\nstdin-once %d\nown-pids %d\n", config->tty,
               config->stdin_open, config->stdin_once, c->own_pids);
    return write_file(oci_path(a, "%s/containers/%s/launch", r->state_dir, id), &b, e);
}

static int write_config(struct oci_runtime *r, struct arena *a, const char *id,
                        const struct oci_entry *c, const struct oci_sandbox *s,
                        const struct image_details *image,
                        const struct runtime_container_config *config, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_MAX(CONFIG_MAX);
    const char *dir = r->state_dir;
    struct oci_container o = {
        .config = config,
        .image = image,
        .cgroup = c->cgroup,
        .cgroup_v2 = r->cgroup_v2,
        .hostname = s->hostname,
        .host_pid = s->host_pid,
        .seccomp_dir = oci_path(a, "%s/seccomp", r->data_dir),
    };
    if (!s->host_network) {
        o.ns_net = oci_path(a, "%s/ns/%.*s/net", dir, STR_ARG(s->id));
        o.ns_uts = oci_path(a, "%s/ns/%.*s/uts", dir, STR_ARG(s->id));
    }
    if (!s->host_ipc)
        o.ns_ipc = oci_path(a, "%s/ns/%.*s/ipc", dir, STR_ARG(s->id));
    o.shm =
        s->host_ipc ? STR("/dev/shm") : oci_path(a, "%s/sandboxes/%.*s/shm", dir, STR_ARG(s->id));
    if (s->share_process_namespace && !s->host_pid)
        o.ns_pid = oci_path(a, "%s/ns/%.*s/pid", dir, STR_ARG(s->id));
    const struct {
        const char *name;
        struct str *to;
    } files[] = {{"resolv.conf", &o.resolv_conf}, {"hostname", &o.hostname_file}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) { // not there in sandboxes of before
        struct str path = oci_path(a, "%s/sandboxes/%.*s/%s", dir, STR_ARG(s->id), files[i].name);
        if (access(path.p, F_OK) == 0)
            *files[i].to = path;
    }
    int result = oci_user_resolve(a, image, config, &o.user, e);
    if (result == 0)
        result = oci_config_write(&b, a, &o, e);
    if (result == 0)
        result = write_file(oci_path(a, "%s/containers/%s/config.json", dir, id), &b, e);
    return result;
}

static void unmake(struct oci_runtime *r, struct arena *a, const char *id)
{
    oci_remove_tree(oci_path(a, "%s/containers/%s", r->state_dir, id), NULL);
    oci_remove_tree(oci_path(a, "%s/containers/%s", r->data_dir, id), NULL);
}

int oci_container_create(struct runtime *base, struct arena *a, struct str sandbox_id,
                         const struct runtime_container_config *c, struct str *ret_id,
                         struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    struct err why = ERR_INIT;
    struct image_details image;

    pthread_mutex_lock(&r->lock);
    struct oci_sandbox *s = sandbox_get(r, sandbox_id, &why);
    if (s && s->stopped)
        err_set(&why, ERR_CONFLICT, "pod sandbox \"%.*s\" is stopped", STR_ARG(sandbox_id));
    pthread_mutex_unlock(&r->lock);
    if (why.reason || image_store_details(r->images, a, c->image_ref, &image, &why) < 0)
        return err_wrap(e, &why, "failed to create container \"%.*s\"", STR_ARG(c->name));

    const char *id = oci_id_new(r, a);
    struct str stop = image.config.stop_signal;
    int stop_signal = stop.n ? oci_signal_number(stop) : SIGTERM;
    struct oci_entry from = {
        .info =
            {
                .id = str_of(id),
                .sandbox_id = s->id,
                .name = c->name,
                .pod_uid = s->pod_uid,
                .attempt = c->attempt,
                .state = RUNTIME_CREATED,
                .image_ref = image.id,
                .image_name = image.name,
                .created_ns = env_now(base->env),
                .log_path = c->log_path.n ? oci_path(a, "%.*s/%.*s", STR_ARG(s->log_directory),
                                                     STR_ARG(c->log_path))
                                          : STR_NULL,
            },
        .cgroup = oci_path(a, "/%s/%.*s%s%s", r->cgroup_root, STR_ARG(s->cgroup_parent),
                           s->cgroup_parent.n ? "/" : "", id),
        .stop_signal = stop_signal < 0 ? SIGTERM : stop_signal,
        .own_pids = !s->host_pid && !s->share_process_namespace,
        .tty = c->tty,
    };
    int result = make_directories(r, a, id, from.info.log_path, &why);
    if (result == 0)
        result = write_launch(r, a, id, &from, &image, c, &why);
    if (result == 0)
        result = write_config(r, a, id, &from, s, &image, c, &why);
    if (result == 0)
        result = container_record_write(r, &from, &why);
    if (result < 0) {
        unmake(r, a, id);
        return err_wrap(e, &why, "failed to create container \"%.*s\"", STR_ARG(c->name));
    }
    struct oci_entry *entry = container_entry_new(&from);
    pthread_mutex_lock(&r->lock);
    map_set(&r->containers, entry->info.id, entry);
    pthread_mutex_unlock(&r->lock);
    *ret_id = str_of(id);
    return 0;
}

// --- start and stop -------------------------------------------------------------------------

static void refresh(struct oci_runtime *r, struct str id)
{
    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = map_get(&r->containers, id);
    if (c && container_refresh(r, c))
        pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

int oci_container_start(struct runtime *base, struct str id, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct err why = ERR_INIT;

    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = container_get(r, id, e);
    struct str name = c ? arena_str(&a, c->info.name) : STR_NULL;
    pthread_mutex_unlock(&r->lock);
    if (!c)
        return -404;
    int result = link_call(r->link, SUPERVISOR_START, &id, 1, NULL, 0, &why);
    refresh(r, id);
    return result < 0 ? err_wrap(e, &why, "failed to start container \"%.*s\"", STR_ARG(name)) : 0;
}

static int send_signal(struct oci_runtime *r, struct str id, int signal, struct err *e)
{
    char text[16];
    struct err why = ERR_INIT;
    snprintf(text, sizeof text, "%d", signal);
    struct str strings[2] = {id, str_of(text)};
    int result = link_call(r->link, SUPERVISOR_KILL, strings, 2, NULL, 0, &why);
    if (result < 0 && !err_is(&why, ERR_NOT_FOUND)) // not running: its end is being told
        return err_wrap(e, &why, "cannot signal container \"%.*s\"", STR_ARG(id));
    err_done(&why);
    return 0;
}

// True when it is not running any more, before the deadline.
static bool wait_exited(struct oci_runtime *r, struct str id, int64_t seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    bool gone = false;
    pthread_mutex_lock(&r->lock);
    for (int waited = 0; !gone && waited != ETIMEDOUT;) {
        struct oci_entry *c = map_get(&r->containers, id);
        gone = !c || c->info.state != RUNTIME_RUNNING;
        if (!gone)
            waited = pthread_cond_timedwait(&r->changed, &r->lock, &until);
    }
    pthread_mutex_unlock(&r->lock);
    return gone;
}

int oci_container_stop(struct runtime *base, struct str id, int64_t grace_seconds, struct err *e)
{
    struct oci_runtime *r = oci_of(base);

    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = container_get(r, id, e);
    bool running = c && c->info.state == RUNTIME_RUNNING;
    int signal = c ? c->stop_signal : 0;
    pthread_mutex_unlock(&r->lock);
    if (!c)
        return -404;
    if (!running)
        return 0;
    if (grace_seconds > 0) {
        int result = send_signal(r, id, signal, e);
        if (result < 0)
            return result;
        if (wait_exited(r, id, grace_seconds > 1000000000 ? 1000000000 : grace_seconds))
            return 0;
    }
    int result = send_signal(r, id, SIGKILL, e);
    if (result < 0)
        return result;
    refresh(r, id);
    if (wait_exited(r, id, KILL_SECONDS))
        return 0;
    return err_set(e, ERR_TIMEOUT, "container \"%.*s\" was killed and is still there after %d s",
                   STR_ARG(id), KILL_SECONDS);
}

int oci_container_remove(struct runtime *base, struct str id, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct err why = ERR_INIT;

    pthread_mutex_lock(&r->lock);
    bool known = map_has(&r->containers, id);
    pthread_mutex_unlock(&r->lock);
    if (!known)
        return 0;
    const char *name = arena_cstr(&a, id);
    int result = link_call(r->link, SUPERVISOR_DELETE, &id, 1, NULL, 0, &why);
    // The record goes first within its directory's removal or not at all: a half-removed container
    // is swept.
    if (result == 0)
        result = oci_remove_tree(oci_path(&a, "%s/containers/%s", r->state_dir, name), &why);
    if (result == 0)
        result = oci_remove_tree(oci_path(&a, "%s/containers/%s", r->data_dir, name), &why);
    if (result < 0)
        return err_wrap(e, &why, "failed to remove container \"%s\"", name);
    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = map_del(&r->containers, id);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (c) {
        // The runtime has done so, except where its start failed half-way: crun then forgets the
        // container and leaves the directories.
        oci_cgroup_remove(r, oci_path(&a, "%.*s", STR_ARG(c->cgroup)));
        container_entry_free(c);
    }
    return 0;
}

int oci_container_list(struct runtime *base, struct arena *a, struct str sandbox_id,
                       struct runtime_container **ret, size_t *ret_n, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    (void)e;
    pthread_mutex_lock(&r->lock);
    *ret = arena_array(a, struct runtime_container, r->containers.n + 1);
    *ret_n = 0;
    map_each (&r->containers, slot) {
        const struct oci_entry *c = slot->value;
        if (sandbox_id.p && !str_eq(c->info.sandbox_id, sandbox_id))
            continue;
        struct runtime_container *to = &(*ret)[(*ret_n)++];
        *to = c->info;
        struct str *strings[] = {&to->id,       &to->sandbox_id, &to->name,
                                 &to->pod_uid,  &to->image_ref,  &to->image_name,
                                 &to->log_path, &to->reason,     &to->message};
        for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
            *strings[i] = arena_str(a, *strings[i]);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}
