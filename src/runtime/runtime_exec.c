// Exec and attach from the agent's side: a session is a number that both ends know. The streams
// themselves go around us, from the caller's file descriptors to the process (supervisor_stream.c).
//
// session_lock guards the list. A session's end is told once, from the link's dispatcher, and never
// after session_close has returned: close waits for a callback that is running, unless it comes
// from that very callback.
#include "base/thread.h"
#include "base/time.h"
#include "runtime/oci_config.h"
#include "runtime/runtime_oci.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct runtime_session {
    struct list node;
    struct oci_runtime *r;
    uint64_t id;
    void (*on_exit)(void *ctx, int exit_code, struct str error);
    void *ctx;
    bool ended;   // on_exit has been or is being called
    bool telling; // it is being called, by `teller`
    bool closed;  // free it when the telling is over
    pthread_t teller;
    char *process; // file to remove, or NULL
};

static void session_free(struct runtime_session *s)
{
    if (s->process)
        unlink(s->process);
    free(s->process);
    free(s);
}

// session_lock held; drops and takes it again.
static void tell(struct runtime_session *s, int code, struct str error)
{
    struct oci_runtime *r = s->r;
    s->ended = s->telling = true;
    s->teller = pthread_self();
    pthread_mutex_unlock(&r->session_lock);
    s->on_exit(s->ctx, code, error);
    pthread_mutex_lock(&r->session_lock);
    s->telling = false;
    pthread_cond_broadcast(&r->session_changed);
    if (s->closed)
        session_free(s);
}

void oci_session_ended(struct oci_runtime *r, uint64_t id, int exit_code)
{
    pthread_mutex_lock(&r->session_lock);
    list_each (&r->sessions, it) {
        struct runtime_session *s = container_of(it, struct runtime_session, node);
        if (s->id != id || s->ended)
            continue;
        tell(s, exit_code, STR_NULL);
        break;
    }
    pthread_mutex_unlock(&r->session_lock);
}

void oci_sessions_lost(struct oci_runtime *r)
{
    pthread_mutex_lock(&r->session_lock);
    for (bool again = true; again;) {
        again = false;
        list_each (&r->sessions, it) {
            struct runtime_session *s = container_of(it, struct runtime_session, node);
            if (s->ended)
                continue;
            tell(s, -1, STR("the container supervisor went away"));
            again = true; // the list may be another one by now
            break;
        }
    }
    pthread_mutex_unlock(&r->session_lock);
}

void oci_sessions_free(struct oci_runtime *r)
{
    list_each_safe (&r->sessions, it) {
        struct runtime_session *s = container_of(it, struct runtime_session, node);
        list_remove(&s->node);
        session_free(s);
    }
}

static struct runtime_session *session_new(struct oci_runtime *r,
                                           void (*on_exit)(void *, int, struct str), void *ctx)
{
    struct runtime_session *s = mem_zalloc(sizeof *s);
    s->r = r;
    s->on_exit = on_exit;
    s->ctx = ctx;
    pthread_mutex_lock(&r->session_lock);
    s->id = ++r->last_session;
    list_push(&r->sessions, &s->node);
    pthread_mutex_unlock(&r->session_lock);
    return s;
}

// Takes it off the list so that nothing is told of it any more.
static void session_discard(struct runtime_session *s)
{
    pthread_mutex_lock(&s->r->session_lock);
    list_remove(&s->node);
    while (s->telling)
        pthread_cond_wait(&s->r->session_changed, &s->r->session_lock);
    pthread_mutex_unlock(&s->r->session_lock);
    session_free(s);
}

static void close_streams(const int fds[3])
{
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int session_call(struct oci_runtime *r, enum supervisor_type type, struct runtime_session *s,
                        struct str container, bool tty, const int streams[3], struct err *e)
{
    char id[24], present[4] = "000";
    int fds[3];
    size_t nfds = 0, n = 0;
    struct str strings[5];

    snprintf(id, sizeof id, "%llu", (unsigned long long)s->id);
    for (int i = 0; i < 3; i++) {
        if (streams[i] < 0)
            continue;
        present[i] = '1';
        fds[nfds++] = streams[i];
    }
    strings[n++] = container;
    strings[n++] = str_of(id);
    if (type == SUPERVISOR_EXEC)
        strings[n++] = str_of(s->process);
    strings[n++] = tty ? STR("tty") : STR("");
    strings[n++] = str_of(present);
    return link_call(r->link, type, strings, n, fds, nfds, e);
}

static int require_running(struct oci_runtime *r, struct str id, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = container_get(r, id, e);
    int result = !c ? -404
                 : c->info.state == RUNTIME_RUNNING
                     ? 0
                     : err_set(e, ERR_CONFLICT, "container \"%.*s\" is not running", STR_ARG(id));
    pthread_mutex_unlock(&r->lock);
    return result;
}

// The process file of an exec, from the container's own configuration.
static int process_write(struct oci_runtime *r, struct runtime_session *s, struct str container,
                         const struct str *command, size_t n, bool tty, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_MAX(4 * 1024 * 1024);
    struct str config;
    struct str from =
        oci_path(&a, "%s/containers/%.*s/config.json", r->state_dir, STR_ARG(container));
    struct str to = oci_path(&a, "%s/containers/%.*s/exec-%llu.json", r->state_dir,
                             STR_ARG(container), (unsigned long long)s->id);
    int result = file_read_all(&a, from.p, 4 * 1024 * 1024, &config, e);
    if (result == 0)
        result = oci_exec_process(&b, &a, config, command, n, tty, e);
    if (result < 0)
        return result;
    int fd = open(to.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && buf_ok(&b) && write(fd, b.p, b.n) == (ssize_t)b.n;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (!ok)
        return err_errno(e, why, "cannot write %s", to.p);
    s->process = mem_cstr(to);
    return 0;
}

int oci_exec(struct runtime *base, const struct runtime_exec *x, struct runtime_session **ret,
             struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    struct err why = ERR_INIT;
    const int streams[3] = {x->stdin_fd, x->tty ? -1 : x->stdout_fd, x->tty ? -1 : x->stderr_fd};

    int result = require_running(r, x->container_id, e);
    if (result < 0) {
        close_streams(streams);
        return result;
    }
    struct runtime_session *s = session_new(r, x->on_exit, x->ctx);
    result = process_write(r, s, x->container_id, x->command, x->ncommand, x->tty, &why);
    if (result == 0)
        result = session_call(r, SUPERVISOR_EXEC, s, x->container_id, x->tty, streams, &why);
    close_streams(streams);
    if (result < 0) {
        session_discard(s);
        return err_wrap(e, &why, "failed to exec in container");
    }
    unlink(s->process);
    *ret = s;
    return 0;
}

int oci_attach(struct runtime *base, const struct runtime_exec *x, struct runtime_session **ret,
               struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    struct err why = ERR_INIT;
    const int streams[3] = {x->stdin_fd, x->tty ? -1 : x->stdout_fd, x->tty ? -1 : x->stderr_fd};

    int result = require_running(r, x->container_id, e);
    if (result < 0) {
        close_streams(streams);
        return result;
    }
    struct runtime_session *s = session_new(r, x->on_exit, x->ctx);
    result = session_call(r, SUPERVISOR_ATTACH, s, x->container_id, x->tty, streams, &why);
    close_streams(streams);
    if (result < 0) {
        session_discard(s);
        return err_wrap(e, &why, "failed to attach to container");
    }
    *ret = s;
    return 0;
}

void oci_session_resize(struct runtime_session *s, uint16_t width, uint16_t height)
{
    char text[3][24];
    snprintf(text[0], sizeof text[0], "%llu", (unsigned long long)s->id);
    snprintf(text[1], sizeof text[1], "%u", width);
    snprintf(text[2], sizeof text[2], "%u", height);
    struct str strings[3] = {str_of(text[0]), str_of(text[1]), str_of(text[2])};
    // The supervisor does not answer this one: a lost resize is followed by the next.
    link_tell(s->r->link, SUPERVISOR_RESIZE, strings, 3);
}

void oci_session_close(struct runtime_session *s)
{
    struct oci_runtime *r = s->r;
    char id[24];

    pthread_mutex_lock(&r->session_lock);
    list_remove(&s->node);
    bool ended = s->ended;
    if (s->telling && pthread_equal(s->teller, pthread_self())) {
        s->closed = true; // freed when the callback returns
        pthread_mutex_unlock(&r->session_lock);
        return;
    }
    s->ended = true;
    while (s->telling)
        pthread_cond_wait(&r->session_changed, &r->session_lock);
    pthread_mutex_unlock(&r->session_lock);
    if (!ended) {
        snprintf(id, sizeof id, "%llu", (unsigned long long)s->id);
        struct str string = str_of(id);
        link_tell(r->link, SUPERVISOR_CLOSE, &string, 1);
    }
    session_free(s);
}

// --- exec_sync ------------------------------------------------------------------------------

struct waited {
    int event; // eventfd, written at the end
    _Atomic(int) code;
    _Atomic(bool) lost;
};

static void waited_exit(void *ctx, int exit_code, struct str error)
{
    struct waited *w = ctx;
    uint64_t one = 1;
    w->code = exit_code;
    w->lost = error.n > 0;
    if (write(w->event, &one, sizeof one) < 0)
        return; // full: it has been written before
}

static int left_ms(uint64_t deadline)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t now = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
    return now >= deadline ? 0 : (int)((deadline - now) / NS_PER_MS) + 1;
}

// Reads what is there; false at the end. What passes max is read and dropped.
static bool take_output(int fd, struct buf *out, size_t max)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    size_t room = max - out->n;
    buf_add(out, bytes, (size_t)n < room ? (size_t)n : room);
    return n > 0;
}

int oci_exec_sync(struct runtime *base, struct arena *a, struct str container_id,
                  const struct str *command, size_t n, uint64_t timeout_ns, size_t max,
                  struct str *ret_output, int *ret_exit, struct err *e)
{
    int pipe_fds[2], r = 0;
    struct timespec t;
    struct waited w = {.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    if (w.event < 0)
        return err_errno(e, errno, "exec");
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        close(w.event);
        return err_errno(e, errno, "exec");
    }
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t deadline = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec + timeout_ns;
    struct runtime_exec x = {
        .container_id = container_id,
        .command = command,
        .ncommand = n,
        .stdin_fd = -1,
        .stdout_fd = pipe_fds[1],
        .stderr_fd = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 3),
        .on_exit = waited_exit,
        .ctx = &w,
    };
    struct runtime_session *s;
    r = oci_exec(base, &x, &s, e);
    if (r < 0) {
        close(pipe_fds[0]);
        close(w.event);
        return r;
    }
    struct buf out = BUF_MAX(max + 1);
    bool open_ = true, over = false;
    while (!over) {
        struct pollfd fds[2] = {{.fd = w.event, .events = POLLIN},
                                {.fd = open_ ? pipe_fds[0] : -1, .events = POLLIN}};
        int ready = poll(fds, 2, timeout_ns ? left_ms(deadline) : -1);
        if (ready == 0) {
            struct str line = arena_join(a, command, n, STR(" "));
            r = err_set(e, ERR_TIMEOUT, "command \"%.*s\" timed out",
                        (int)(line.n > 200 ? 200 : line.n), line.p);
            break;
        }
        if (fds[1].revents)
            open_ = take_output(pipe_fds[0], &out, max);
        over = fds[0].revents != 0;
    }
    // It has ended: what it wrote is in the pipe. A process that it left behind may hold the other
    // end.
    for (int i = 0; r == 0 && open_ && i < 64; i++) {
        size_t before = out.n;
        open_ = take_output(pipe_fds[0], &out, max);
        if (out.n == before)
            break;
    }
    oci_session_close(s);
    close(pipe_fds[0]);
    close(w.event);
    if (r == 0 && w.lost)
        r = err_set(e, ERR_UNAVAILABLE, "the container supervisor went away");
    *ret_output = arena_str(a, buf_view(&out));
    buf_done(&out);
    if (r == 0)
        *ret_exit = w.code;
    return r;
}
