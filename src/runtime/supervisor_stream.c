// Exec and attach. Where there is no terminal an exec costs the supervisor nothing: the caller's
// file descriptors become the process's own. Otherwise bytes are moved by pumps, each with one
// small buffer, reading only when the buffer is empty: back-pressure goes through to whoever
// writes.
//
//   exec, no terminal   process <-> caller's fds                    (we only wait for the process)
//   exec, terminal      client --pump--> master, master --pump--> client
//   attach              client --pump--> container's standard input or terminal
//                       container's output --attachments_output--> clients, beside the log
//
// An attached client that does not read stops the container's output (and with it, when the FIFO is
// full, the container), as a terminal would. Its end, or its connection's, sets it free.
#include "base/log.h"
#include "runtime/oci_words.h"
#include "runtime/supervisor_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct pump {
    struct source in, out;
    void (*done)(struct pump *p);
    void *owner;
    uint32_t at, n;
    char bytes[8 * 1024];
};

static void pump_end(struct pump *p)
{
    source_close(&p->in);
    source_close(&p->out);
    if (p->done)
        p->done(p); // frees it
}

static void pump_write(struct pump *p)
{
    while (p->at < p->n) {
        ssize_t n = write(p->out.fd, p->bytes + p->at, p->n - p->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            source_set(&p->in, 0);
            source_set(&p->out, EPOLLOUT);
            return;
        }
        if (n < 0) {
            pump_end(p);
            return;
        }
        p->at += (uint32_t)n;
    }
    p->at = p->n = 0;
    source_set(&p->out, 0);
    source_set(&p->in, EPOLLIN);
}

static void pump_in(struct source *s, uint32_t events)
{
    struct pump *p = container_of(s, struct pump, in);
    (void)events;
    ssize_t n = read(s->fd, p->bytes, sizeof p->bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { // EIO: the terminal's last user is gone
        pump_end(p);
        return;
    }
    p->at = 0;
    p->n = (uint32_t)n;
    pump_write(p);
}

static void pump_out(struct source *s, uint32_t events)
{
    (void)events;
    pump_write(container_of(s, struct pump, out));
}

// Takes both fds. NULL (and both closed) where one cannot be watched.
static struct pump *pump_new(int in, int out, void (*done)(struct pump *), void *owner)
{
    struct pump *p = mem_alloc(sizeof *p);
    fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
    fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);
    p->in = (struct source){.fn = pump_in, .fd = in};
    p->out = (struct source){.fn = pump_out, .fd = out};
    p->done = done;
    p->owner = owner;
    p->at = p->n = 0;
    if (in < 0 || out < 0 || !source_set(&p->in, EPOLLIN)) {
        source_close(&p->in);
        source_close(&p->out);
        free(p);
        return NULL;
    }
    return p;
}

static int fd_copy(int fd)
{
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

// --- sessions -------------------------------------------------------------------------------

struct session {
    struct list node;
    uint64_t id, connection, call;
    struct container *attached_to; // attach, else NULL
    bool tty;
    struct job *job; // exec under way of starting
    pid_t pid;       // exec
    int status;
    bool ended, abandoned;
    int console; // listener while starting
    int master;  // for resize
    int fds[3];  // the client's, until they are handed on
    struct pump *in, *out;
};

// A client of an attach: what it could not take yet.
struct attachment {
    struct list node;
    struct source out[2];
    struct container *container;
    struct session *session;
    char *rest[2];
    size_t at[2], n[2];
};

static void session_free(struct session *s);

static void notify_end(uint64_t connection, uint64_t session, int code)
{
    char id[24], number[16];
    struct connection *c = connection_find(connection);
    if (!c)
        return;
    snprintf(id, sizeof id, "%llu", (unsigned long long)session);
    snprintf(number, sizeof number, "%d", code);
    struct str s[2] = {str_of(id), str_of(number)};
    if (supervisor_send(c->source.fd, MSG_DONTWAIT, SUPERVISOR_SESSION_END, 0, 0, s, 2, NULL, 0) <
        0)
        shutdown(c->source.fd, SHUT_RDWR);
}

static struct session *session_find(uint64_t connection, uint64_t id)
{
    list_each (&supervisor.sessions, it) {
        struct session *s = container_of(it, struct session, node);
        if (s->connection == connection && s->id == id)
            return s;
    }
    return NULL;
}

static struct session *session_new(struct supervisor_packet *p, uint64_t connection, bool tty,
                                   struct str present)
{
    struct session *s = mem_zalloc(sizeof *s);
    str_to_u64(p->strings[1], &s->id);
    s->connection = connection;
    s->call = p->head.call;
    s->tty = tty;
    s->console = s->master = -1;
    size_t next = 0;
    for (size_t i = 0; i < 3; i++) {
        s->fds[i] = -1;
        if (i < present.n && present.p[i] == '1' && next < p->nfds) {
            s->fds[i] = p->fds[next];
            p->fds[next++] = -1;
        }
    }
    list_push(&supervisor.sessions, &s->node);
    return s;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void pump_discard(struct pump **at)
{
    struct pump *p = *at;
    if (!p)
        return;
    *at = NULL;
    p->done = NULL;
    pump_end(p);
    free(p);
}

static void session_free(struct session *s)
{
    list_remove(&s->node);
    for (int i = 0; i < 3; i++)
        close_fd(&s->fds[i]);
    close_fd(&s->console);
    close_fd(&s->master);
    pump_discard(&s->in);
    pump_discard(&s->out);
    free(s);
}

static void exec_over(struct session *s)
{
    int code = WIFSIGNALED(s->status) ? 128 + WTERMSIG(s->status) : WEXITSTATUS(s->status);
    notify_end(s->connection, s->id, code);
    session_free(s);
}

// The process and, with a terminal, its last output: both must be over before the caller hears of
// it.
static void exec_settle(struct session *s)
{
    if (s->ended && !s->out)
        exec_over(s);
}

static void exec_in_done(struct pump *p)
{
    struct session *s = p->owner;
    s->in = NULL;
    free(p);
    // The client went, or the terminal did. A client that is gone hangs up.
    if (s->out && !s->ended && s->pid)
        kill(s->pid, SIGHUP);
}

static void exec_out_done(struct pump *p)
{
    struct session *s = p->owner;
    s->out = NULL;
    free(p);
    pump_discard(&s->in);
    close_fd(&s->master);
    exec_settle(s);
}

struct exec_arguments {
    struct session *s;
    struct container *c;
    const char *process, *console, *pid_file;
};

static int exec_child(void *arg, int words)
{
    struct exec_arguments *x = arg;
    char root[PATH_MAX];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || runtime_child_prepare(words, false) < 0)
        return 125;
    // Above the standard ones first, so that none overwrites another.
    int fds[3];
    for (int i = 0; i < 3; i++) {
        int fd = x->s->tty || x->s->fds[i] < 0 ? null : x->s->fds[i];
        fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 20);
    }
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    runtime_root(root, sizeof root, x->c->launch.program);
    char *argv[20] = {
        (char *)x->c->launch.program,
        "--root",
        root,
        "--log",
        "/proc/self/fd/9",
        "exec",
        "--detach",
        "--pid-file",
        (char *)x->pid_file,
        "--process",
        (char *)x->process,
    };
    int n = 11;
    if (x->s->tty) {
        argv[n++] = "--tty";
        argv[n++] = "--console-socket";
        argv[n++] = (char *)x->console;
    }
    argv[n++] = x->c->id;
    runtime_child_exec(words, argv);
}

static void exec_pid_path(char *to, const struct session *s)
{
    path_format(to, PATH_MAX, "%s/tty/%llu-%llu.pid", supervisor.state_dir,
                (unsigned long long)s->connection, (unsigned long long)s->id);
}

static void exec_started(struct job *j, int status)
{
    struct session *s = j->owner;
    char path[PATH_MAX];
    int pid = 0, dead;

    char *raw = job_words(j);
    job_finish(j);
    free(j);
    s->job = NULL;
    exec_pid_path(path, s);
    FILE *f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%d", &pid) != 1)
            pid = 0;
        fclose(f);
        unlink(path);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) || !pid) {
        struct arena a = ARENA_INIT;
        answer(s->connection, s->call, -500, arena_cstr(&a, oci_words(&a, str_of(raw))));
        arena_done(&a);
        free(raw);
        session_free(s);
        return;
    }
    free(raw);
    s->pid = pid;
    bool over = orphan_take(pid, &dead);
    answer(s->connection, s->call, 0, NULL);
    if (s->tty) {
        s->master = console_receive(s->console);
        close_fd(&s->console);
        int client = s->fds[0];
        s->fds[0] = -1;
        s->out = pump_new(fd_copy(s->master), fd_copy(client), exec_out_done, s);
        s->in = pump_new(client, fd_copy(s->master), exec_in_done, s);
    } else {
        for (int i = 0; i < 3; i++)
            close_fd(&s->fds[i]); // the process has its own copies; ours would hold them open
    }
    if (s->abandoned && !over)
        kill(pid, SIGKILL);
    if (over) {
        s->ended = true;
        s->status = dead;
        exec_settle(s);
    }
}

void session_exec(struct supervisor_packet *p, uint64_t connection)
{
    char process[PATH_MAX], console[PATH_MAX], pid_file[PATH_MAX];
    struct container *c = container_find(p->strings[0]);

    if (!c || !c->pid || c->job) {
        answer(connection, p->head.call, -404, "the container is not running");
        return;
    }
    struct session *s = session_new(p, connection, str_eqc(p->strings[3], "tty"), p->strings[4]);
    path_format(process, sizeof process, "%.*s", STR_ARG(p->strings[2]));
    exec_pid_path(pid_file, s);
    if (s->tty) {
        s->console = console_listen(console, sizeof console);
        if (s->console < 0) {
            answer(connection, p->head.call, -500, "cannot make a console socket");
            session_free(s);
            return;
        }
    }
    struct exec_arguments x = {s, c, process, console, pid_file};
    struct job *j = mem_zalloc(sizeof *j);
    j->done = exec_started;
    j->owner = s;
    int r = job_start(j, exec_child, &x);
    if (r < 0) {
        free(j);
        answer(connection, p->head.call, -500, strerror(-r));
        session_free(s);
        return;
    }
    s->job = j;
}

bool session_reaped(pid_t pid, int status)
{
    list_each (&supervisor.sessions, it) {
        struct session *s = container_of(it, struct session, node);
        if (s->pid != pid || s->ended)
            continue;
        s->ended = true;
        s->status = status;
        exec_settle(s);
        return true;
    }
    return false;
}

// --- attach ---------------------------------------------------------------------------------

static struct attachment *attachment_of(const struct session *s)
{
    list_each (&s->attached_to->attachments, it) {
        struct attachment *a = container_of(it, struct attachment, node);
        if (a->session == s)
            return a;
    }
    return NULL;
}

static bool attachment_stalled(const struct attachment *a)
{
    return a->rest[0] || a->rest[1];
}

static void attachment_free(struct attachment *a)
{
    struct container *c = a->container;
    bool stalled = attachment_stalled(a);
    list_remove(&a->node);
    for (int i = 0; i < 2; i++) {
        source_close(&a->out[i]);
        free(a->rest[i]);
    }
    free(a);
    if (stalled && --c->stalled == 0 && c->pid)
        container_resume_output(c);
}

static void attach_over(struct session *s, int code)
{
    struct attachment *a = attachment_of(s);
    if (a)
        attachment_free(a);
    notify_end(s->connection, s->id, code);
    session_free(s);
}

static void attachment_flush(struct attachment *a, int i)
{
    while (a->at[i] < a->n[i]) {
        ssize_t n = write(a->out[i].fd, a->rest[i] + a->at[i], a->n[i] - a->at[i]);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            attach_over(a->session, 0);
            return;
        }
        a->at[i] += (size_t)n;
    }
    free(a->rest[i]);
    a->rest[i] = NULL;
    source_set(&a->out[i], 0);
    if (!attachment_stalled(a) && --a->container->stalled == 0)
        container_resume_output(a->container);
}

static void attachment_ready_0(struct source *s, uint32_t events)
{
    (void)events;
    attachment_flush(container_of(s, struct attachment, out[0]), 0);
}

static void attachment_ready_1(struct source *s, uint32_t events)
{
    (void)events;
    attachment_flush(container_of(s, struct attachment, out[1]), 1);
}

void attachments_output(struct container *c, struct stream *s, const char *p, size_t n)
{
    int i = s == &c->out[1];
    list_each_safe (&c->attachments, it) {
        struct attachment *a = container_of(it, struct attachment, node);
        if (a->out[i].fd < 0 || a->rest[i])
            continue;
        ssize_t put = write(a->out[i].fd, p, n);
        if (put < 0 && errno != EAGAIN && errno != EINTR) {
            attach_over(a->session, 0);
            continue;
        }
        if (put < 0)
            put = 0;
        if ((size_t)put == n || !c->pid) // after the end nobody waits for a slow client
            continue;
        bool before = attachment_stalled(a);
        a->n[i] = n - (size_t)put;
        a->at[i] = 0;
        a->rest[i] = mem_alloc(a->n[i]);
        memcpy(a->rest[i], p + put, a->n[i]);
        if (!before)
            c->stalled++;
        if (!source_set(&a->out[i], EPOLLOUT))
            attach_over(a->session, 0);
    }
}

static void attach_in_done(struct pump *p)
{
    struct session *s = p->owner;
    struct container *c = s->attached_to;
    s->in = NULL;
    free(p);
    if (c->launch.stdin_once && !c->launch.tty)
        close_fd(&c->stdin_fd);
    // With a terminal the one socket is both ways: when it is closed the session is over. Else a
    // closed standard input leaves the outputs as they are.
    if (s->tty)
        attach_over(s, 0);
}

void session_attach(struct supervisor_packet *p, uint64_t connection)
{
    struct container *c = container_find(p->strings[0]);
    if (!c || !c->pid || c->job) {
        answer(connection, p->head.call, -404, "the container is not running");
        return;
    }
    struct session *s = session_new(p, connection, c->launch.tty, p->strings[3]);
    struct attachment *a = mem_zalloc(sizeof *a);
    s->attached_to = c;
    a->container = c;
    a->session = s;
    int out[2] = {s->tty ? fd_copy(s->fds[0]) : s->fds[1], s->tty ? -1 : s->fds[2]};
    s->fds[1] = s->fds[2] = -1;
    for (int i = 0; i < 2; i++) {
        a->out[i] =
            (struct source){.fn = i ? attachment_ready_1 : attachment_ready_0, .fd = out[i]};
        if (out[i] >= 0)
            fcntl(out[i], F_SETFL, fcntl(out[i], F_GETFL) | O_NONBLOCK);
    }
    list_push(&c->attachments, &a->node);
    answer(connection, p->head.call, 0, NULL);
    int client = s->fds[0];
    s->fds[0] = -1;
    if (client >= 0 && c->stdin_fd >= 0)
        s->in = pump_new(client, fd_copy(c->stdin_fd), attach_in_done, s);
    else if (client >= 0)
        close(client);
}

void attachments_end(struct container *c, int exit_code)
{
    while (!list_empty(&c->attachments))
        attach_over(container_of(c->attachments.next, struct attachment, node)->session, exit_code);
}

// --- control --------------------------------------------------------------------------------

void session_resize(uint64_t connection, uint64_t id, unsigned width, unsigned height)
{
    struct session *s = session_find(connection, id);
    if (!s || !s->tty)
        return;
    struct winsize size = {.ws_row = (unsigned short)height, .ws_col = (unsigned short)width};
    int fd = s->attached_to ? s->attached_to->stdin_fd : s->master;
    if (fd >= 0 && ioctl(fd, TIOCSWINSZ, &size) < 0)
        log_debug("supervisor", "resize: %s", strerror(errno));
}

static void session_abandon(struct session *s)
{
    if (s->attached_to) {
        struct attachment *a = attachment_of(s);
        if (a)
            attachment_free(a);
        session_free(s);
        return;
    }
    s->abandoned = true;
    if (s->pid && !s->ended)
        kill(s->pid, SIGKILL);
    pump_discard(&s->in);
    pump_discard(&s->out);
    close_fd(&s->master);
    exec_settle(s); // frees where the process has ended; else its end will
}

void session_close(uint64_t connection, uint64_t id)
{
    struct session *s = session_find(connection, id);
    if (s)
        session_abandon(s);
}

void sessions_drop(uint64_t connection)
{
    list_each_safe (&supervisor.sessions, it) {
        struct session *s = container_of(it, struct session, node);
        if (s->connection == connection)
            session_abandon(s);
    }
}

// --- console sockets ------------------------------------------------------------------------

int console_listen(char *path, size_t size)
{
    static unsigned serial;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    path_format(path, size, "%s/tty/%u.sock", supervisor.state_dir, ++serial);
    path_format(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0)
        return fd;
    close_fd(&fd);
    return -1;
}

// The runtime has connected and sent before it ended, so nothing here waits.
int console_receive(int listener)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length) == 0)
        unlink(address.sun_path);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        return -1;
    char name[256];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec io = {name, sizeof name};
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    int master = -1;
    if (recvmsg(peer, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) > 0) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(&master, CMSG_DATA(c), sizeof master);
    }
    close(peer);
    if (master >= 0)
        fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
    return master;
}
