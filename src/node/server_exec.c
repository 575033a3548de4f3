// Exec and attach over WebSocket, by Kubernetes' channel protocols (the table `protocols`): a
// message's first byte is its channel. In the base64 forms a message is text: the channel's digit,
// then base64.
//
//   client -> 0 stdin, 4 resize {"Width":80,"Height":24}, v5: 255 N "channel N is closed"
//   server -> 1 stdout, 2 stderr, 3 a Status at the end (exit code in its causes); before v4 only
//             the message of a failure
//
// The process's streams are pipes (with a terminal: one socket pair) whose other ends belong to the
// runtime.
//
// Life of a session:
//   looked up -> upgraded -> STARTING (the runtime call, a job) -> RUNNING -> ended
// It ends by the process's exit (then what the streams still hold is sent, with a limit in time,
// since a child left in the background may hold them open) or by the client's going (then the
// process is ended). It is freed when neither the WebSocket nor a job holds it: `holds` counts.
//
// All on the loop, except the two jobs and on_exit, which come back to it. The runtime calls
// on_exit at most once and never after session_close has returned.
#include "base/guard.h"
#include "base/log.h"
#include "node/server_internal.h"
#include "object/base64.h"
#include "object/json.h"
#include "wire/websocket.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_STATUS, CHANNEL_RESIZE };
#define CHANNEL_CLOSE 255

#define PENDING_MAX (1u << 20) // to a slow client
#define STDIN_MAX   (8u << 20) // to a process that does not read
#define DRAIN_TIME  (2 * NS_PER_S)
#define CHUNK       (32u << 10)

// In the server's preference. A client that names none speaks the oldest (upstream's "").
static const struct exec_protocol {
    bool v5, status, base64;
} protocols[] = {
    {.v5 = true, .status = true},
    {.status = true},
    {.status = true, .base64 = true},
    {.base64 = false},
    {.base64 = true},
};
static const struct str protocol_names[] = {
    STR("v5.channel.k8s.io"), STR("v4.channel.k8s.io"),     STR("v4.base64.channel.k8s.io"),
    STR("channel.k8s.io"),    STR("base64.channel.k8s.io"),
};
_Static_assert(sizeof protocols / sizeof *protocols ==
                   sizeof protocol_names / sizeof *protocol_names,
               "a row for each name");

struct output {
    struct exec_session *session;
    struct loop_fd watch;
    int fd; // -1: none, or ended
    uint8_t channel;
    bool paused;
};

struct exec_session {
    struct list link;
    struct agent_server *server;
    struct loop *loop; // outlives the agent, as a session may
    struct arena a;
    unsigned holds;
    bool attach, tty, want_in, want_out, want_err;
    const struct exec_protocol *protocol;
    struct str container_id;
    struct str *command;
    size_t ncommand;
    struct websocket *ws; // NULL: closed
    struct runtime_session *running;
    uint16_t width, height; // of the terminal, as last told; 0: not yet
    bool starting, closing; // jobs under way
    bool exited, finished;
    int exit_code;
    struct str exit_error;
    int child_fds[3]; // given to the runtime by the start job
    int stdin_fd;     // our end; with a terminal the same as out[0].fd
    struct loop_fd stdin_watch;
    struct buf stdin_queue;
    bool stdin_close; // when the queue is empty
    struct output out[2];
    struct loop_timer drain;
    struct str start_error;
};

static void session_release(struct exec_session *s)
{
    if (--s->holds)
        return;
    list_remove(&s->link);
    loop_timer_cancel(s->loop, &s->drain);
    buf_done(&s->stdin_queue);
    arena_done(&s->a);
    free(s);
}

// ---- our ends of the streams -------------------------------------------------------------------

static struct loop *loop_of(struct exec_session *s)
{
    return s->loop;
}

static void close_stdin(struct exec_session *s)
{
    if (s->stdin_fd < 0)
        return;
    if (s->tty) { // both ways: only the writing half ends; a terminal's reader gets no end of file
        s->stdin_fd = -1;
        return;
    }
    if (s->stdin_watch.events)
        loop_fd_remove(loop_of(s), &s->stdin_watch);
    close(s->stdin_fd);
    s->stdin_fd = -1;
    buf_reset(&s->stdin_queue);
}

static void close_output(struct output *o)
{
    if (o->fd < 0)
        return;
    if (o->session->tty)
        o->session->stdin_fd = -1;
    loop_fd_remove(loop_of(o->session), &o->watch);
    close(o->fd);
    o->fd = -1;
}

static void close_streams(struct exec_session *s)
{
    if (!s->tty)
        close_stdin(s);
    close_output(&s->out[0]);
    close_output(&s->out[1]);
    s->stdin_fd = -1;
}

// ---- the end -----------------------------------------------------------------------------------

static struct str make_status(struct exec_session *s)
{
    struct arena *a = &s->a;
    struct value *v = value_object(a);
    value_setc(a, v, "metadata", value_object(a));
    if (!s->exit_error.n && !s->start_error.n && s->exit_code == 0) {
        value_setc(a, v, "status", value_strc(a, "Success"));
        return json_text(a, v);
    }
    value_setc(a, v, "status", value_strc(a, "Failure"));
    if (s->exit_error.n || s->start_error.n) {
        value_setc(a, v, "message",
                   value_str(a, s->start_error.n ? s->start_error : s->exit_error));
        value_setc(a, v, "reason", value_strc(a, "InternalError"));
        value_setc(a, v, "code", value_int(a, 500));
        return json_text(a, v);
    }
    struct value *cause = value_object(a), *causes = value_array(a);
    value_setc(a, cause, "reason", value_strc(a, "ExitCode"));
    value_setc(a, cause, "message", value_str(a, arena_printf(a, "%d", s->exit_code)));
    value_push(a, causes, cause);
    value_setc(
        a, v, "message",
        value_str(a, arena_printf(a, "command terminated with non-zero exit code: exit status %d",
                                  s->exit_code)));
    value_setc(a, v, "reason", value_strc(a, "NonZeroExitCode"));
    value_set_at(a, v, "details.causes", causes);
    return json_text(a, v);
}

static void send_channel(struct exec_session *s, uint8_t channel, struct str payload)
{
    if (!s->protocol->base64) {
        websocket_send_channel(s->ws, channel, payload);
        return;
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_char(&b, (char)('0' + channel));
    base64_encode(&b, payload);
    websocket_send(s->ws, false, buf_view(&b));
}

// Before v4 a good end says nothing.
static void send_status(struct exec_session *s)
{
    struct str status = make_status(s);
    if (s->protocol->status) {
        send_channel(s, CHANNEL_STATUS, status);
        return;
    }
    struct value *v = NULL;
    struct str message = STR_NULL;
    if (json_parse(&s->a, status, NULL, &v, NULL) == 0)
        message = value_str_at(v, "message");
    if (message.n)
        send_channel(s, CHANNEL_STATUS, message);
}

static void close_job(void *arg);

// Sends the Status and ends the connection; the runtime's session is closed by a job.
static void finish(struct exec_session *s)
{
    if (s->finished)
        return;
    s->finished = true;
    loop_timer_cancel(loop_of(s), &s->drain);
    close_streams(s);
    if (s->ws) {
        send_status(s);
        websocket_close(s->ws, 1000, STR_NULL);
    }
    // While the agent stops there are no jobs any more: the process is left to the runtime.
    if (s->running && !s->closing && !atomic_load(&s->server->agent->stopping)) {
        s->closing = true;
        s->holds++;
        job_pool_run(s->server->agent->jobs, close_job, s);
    }
}

static void on_drain_time(struct loop_timer *t)
{
    finish(container_of(t, struct exec_session, drain));
}

static void finish_when_drained(struct exec_session *s)
{
    if (!s->exited || s->finished)
        return;
    if (s->out[0].fd < 0 && s->out[1].fd < 0)
        finish(s);
    else if (!loop_timer_armed(&s->drain))
        loop_timer_in(loop_of(s), &s->drain, DRAIN_TIME);
}

static void closed_back(void *arg)
{
    struct exec_session *s = arg;
    if (!s->exited)
        s->holds--; // on_exit, which will not come any more
    session_release(s);
}

static void close_job(void *arg)
{
    struct exec_session *s = arg;
    struct runtime *r = s->server->agent->runtime;
    r->ops->session_close(s->running);
    loop_call(s->loop, closed_back, s);
}

struct exit_message {
    struct exec_session *session;
    int code;
    char error[];
};

static void exited_back(void *arg)
{
    struct exit_message *m = arg;
    struct exec_session *s = m->session;
    s->exited = true;
    s->exit_code = m->code;
    s->exit_error = arena_str(&s->a, str_of(m->error));
    free(m);
    if (!s->starting) // else the start's return goes on from here
        finish_when_drained(s);
    session_release(s);
}

// A thread of the runtime.
static void on_exit_code(void *ctx, int code, struct str error)
{
    struct exec_session *s = ctx;
    struct exit_message *m = mem_zalloc(sizeof(*m) + error.n + 1);
    m->session = s;
    m->code = code;
    if (error.n)
        memcpy(m->error, error.p, error.n);
    loop_call(s->loop, exited_back, m);
}

// ---- output ------------------------------------------------------------------------------------

static void on_ws_drain(struct websocket *w)
{
    struct exec_session *s = websocket_ctx(w);
    for (size_t i = 0; i < 2; i++)
        if (s->out[i].fd >= 0 && s->out[i].paused) {
            s->out[i].paused = false;
            unsigned events = LOOP_READ | (s->tty && s->stdin_queue.n ? LOOP_WRITE : 0);
            loop_fd_set(loop_of(s), &s->out[i].watch, events);
        }
}

static void flush_stdin(struct exec_session *s);

static void on_output(struct loop_fd *f, unsigned ready)
{
    struct output *o = container_of(f, struct output, watch);
    struct exec_session *s = o->session;
    if (s->tty && ready & LOOP_WRITE)
        flush_stdin(s);
    if (!(ready & (LOOP_READ | LOOP_HUP)) || o->paused)
        return;
    char chunk[CHUNK];
    ssize_t n = read(o->fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_output(o);
        finish_when_drained(s);
        return;
    }
    if (!s->ws)
        return;
    send_channel(s, o->channel, str_n(chunk, (size_t)n));
    if (websocket_pending(s->ws) > PENDING_MAX) {
        o->paused = true;
        loop_fd_set(loop_of(s), &o->watch, 0);
        websocket_on_drain(s->ws, PENDING_MAX / 4, on_ws_drain);
    }
}

// ---- input -------------------------------------------------------------------------------------

static void want_write(struct exec_session *s, bool want)
{
    struct loop *l = loop_of(s);
    if (s->tty) {
        if (s->out[0].fd >= 0 && !s->out[0].paused)
            loop_fd_set(l, &s->out[0].watch, LOOP_READ | (want ? LOOP_WRITE : 0));
    } else if (want && !s->stdin_watch.events) {
        loop_fd_add(l, &s->stdin_watch, s->stdin_fd, LOOP_WRITE);
    } else if (!want && s->stdin_watch.events) {
        loop_fd_remove(l, &s->stdin_watch);
        s->stdin_watch.events = 0;
    }
}

static void flush_stdin(struct exec_session *s)
{
    while (s->stdin_fd >= 0 && s->stdin_queue.n) {
        // A socket or a pipe whose reader has gone must not raise SIGPIPE.
        ssize_t n = s->tty ? send(s->stdin_fd, s->stdin_queue.p, s->stdin_queue.n, MSG_NOSIGNAL)
                           : write(s->stdin_fd, s->stdin_queue.p, s->stdin_queue.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            want_write(s, true);
            return;
        }
        if (n < 0) { // nobody reads any more: what comes is dropped
            close_stdin(s);
            return;
        }
        buf_drop(&s->stdin_queue, (size_t)n);
    }
    if (s->stdin_fd < 0)
        return;
    want_write(s, false);
    if (s->stdin_close)
        close_stdin(s);
}

static void on_stdin_ready(struct loop_fd *f, unsigned ready)
{
    (void)ready;
    flush_stdin(container_of(f, struct exec_session, stdin_watch));
}

// Clients tell the size at once: it waits for the start.
static void apply_size(struct exec_session *s)
{
    if (s->running && !s->closing && s->width)
        s->server->agent->runtime->ops->session_resize(s->running, s->width, s->height);
}

static void resize(struct exec_session *s, struct str text)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *v = NULL;
    if (json_parse(&a, text, NULL, &v, NULL) < 0)
        return;
    int64_t width = value_int_at(v, "Width", 0), height = value_int_at(v, "Height", 0);
    if (width <= 0 || width > UINT16_MAX || height <= 0 || height > UINT16_MAX)
        return;
    s->width = (uint16_t)width;
    s->height = (uint16_t)height;
    apply_size(s);
}

static void on_message(struct websocket *w, bool binary, struct str message)
{
    (void)binary;
    struct exec_session *s = websocket_ctx(w);
    if (!message.n || s->finished)
        return;
    uint8_t channel = (uint8_t)message.p[0];
    struct str payload = str_from(message, 1);
    _cleanup_buf_ struct buf plain = BUF_MAX(STDIN_MAX);
    if (s->protocol->base64) {
        channel = (uint8_t)(channel - '0');
        if (!base64_decode(&plain, payload) || !buf_ok(&plain)) {
            websocket_close(w, 1007, STR("the message is not base64"));
            return;
        }
        payload = buf_view(&plain);
    }
    switch (channel) {
    case CHANNEL_STDIN:
        if (s->stdin_fd < 0 || s->stdin_close)
            return;
        if (s->stdin_queue.n + payload.n > STDIN_MAX) {
            websocket_close(w, 1009, STR("the process does not read its input"));
            return;
        }
        buf_str(&s->stdin_queue, payload);
        flush_stdin(s);
        return;
    case CHANNEL_RESIZE:
        resize(s, payload);
        return;
    case CHANNEL_CLOSE:
        if (s->protocol->v5 && payload.n && payload.p[0] == CHANNEL_STDIN) {
            s->stdin_close = true;
            flush_stdin(s);
        }
        return;
    default:
        return;
    }
}

static void on_ws_close(struct websocket *w)
{
    struct exec_session *s = websocket_ctx(w);
    s->ws = NULL;
    if (!s->starting)
        finish(s); // ends the process if it still runs
    session_release(s);
}

// ---- start -------------------------------------------------------------------------------------

static bool make_pipe(int *ours, int *theirs, bool we_write)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return false;
    *ours = p[we_write];
    *theirs = p[!we_write];
    fcntl(*ours, F_SETFL, O_NONBLOCK);
    return true;
}

static bool make_streams(struct exec_session *s)
{
    s->stdin_fd = s->out[0].fd = s->out[1].fd = -1;
    s->child_fds[0] = s->child_fds[1] = s->child_fds[2] = -1;
    if (s->tty) {
        int p[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
            return false;
        fcntl(p[0], F_SETFL, O_NONBLOCK);
        s->child_fds[0] = p[1];
        s->out[0].fd = p[0];
        s->stdin_fd = s->want_in ? p[0] : -1;
        return true;
    }
    return (!s->want_in || make_pipe(&s->stdin_fd, &s->child_fds[0], true)) &&
           (!s->want_out || make_pipe(&s->out[0].fd, &s->child_fds[1], false)) &&
           (!s->want_err || make_pipe(&s->out[1].fd, &s->child_fds[2], false));
}

static void drop_fds(struct exec_session *s)
{
    if (!s->tty && s->stdin_fd >= 0)
        close(s->stdin_fd);
    for (size_t i = 0; i < 2; i++)
        if (s->out[i].fd >= 0)
            close(s->out[i].fd);
    for (size_t i = 0; i < 3; i++)
        if (s->child_fds[i] >= 0)
            close(s->child_fds[i]);
    s->stdin_fd = s->out[0].fd = s->out[1].fd = -1;
    s->child_fds[0] = s->child_fds[1] = s->child_fds[2] = -1;
}

// What the job brings to the loop, where the session's fields belong.
struct start_result {
    struct exec_session *session;
    struct runtime_session *running; // NULL: failed, and error says why
    struct err error;
};

static void started_back(void *arg)
{
    struct start_result *result = arg;
    struct exec_session *s = result->session;
    s->starting = false;
    s->running = result->running;
    if (!s->running)
        s->start_error = arena_str(&s->a, str_of(result->error.message));
    err_done(&result->error);
    free(result);
    if (!s->running) {
        s->holds--; // on_exit will not come
        finish(s);
    } else if (!s->ws) {
        finish(s);
    } else {
        apply_size(s);
        flush_stdin(s);
        finish_when_drained(s);
    }
    session_release(s);
}

static void start_job(void *arg)
{
    struct exec_session *s = arg;
    struct runtime *r = s->server->agent->runtime;
    struct runtime_exec x = {
        .container_id = s->container_id,
        .command = s->command,
        .ncommand = s->ncommand,
        .tty = s->tty,
        .stdin_fd = s->child_fds[0],
        .stdout_fd = s->child_fds[1],
        .stderr_fd = s->child_fds[2],
        .on_exit = on_exit_code,
        .ctx = s,
    };
    struct start_result *result = mem_zalloc(sizeof(*result));
    result->session = s;
    int rc = s->attach ? r->ops->attach(r, &x, &result->running, &result->error)
                       : r->ops->exec(r, &x, &result->running, &result->error);
    BUG_ON(rc == 0 && !result->running);
    if (rc < 0)
        result->running = NULL;
    loop_call(s->loop, started_back, result);
}

struct exec_lookup {
    struct lookup lookup;
    struct exec_session *session;
};

static void on_found(struct lookup *l)
{
    struct exec_lookup *el = container_of(l, struct exec_lookup, lookup);
    struct exec_session *s = el->session;
    struct http_exchange *x = l->x;
    http_set_data(x, NULL);
    l->x = NULL;
    if (l->status == 200 && !l->running)
        l->status = 400,
        l->text = arena_printf(&l->a, "container \"%.*s\" in pod \"%.*s\" is not running",
                               STR_ARG(l->container), STR_ARG(l->pod));
    if (l->status != 200) {
        server_refuse(x, l->status, l->text);
        goto out;
    }
    s->container_id = arena_str(&s->a, l->container_id);
    if (s->attach)
        s->tty = l->tty;
    if (!make_streams(s)) {
        drop_fds(s);
        server_refuse(x, 500, STR("out of file descriptors"));
        goto out;
    }
    struct websocket_handler h = {on_message, on_ws_close, s, 0};
    struct str protocol = STR_NULL;
    s->ws = websocket_accept(x, protocol_names, ARRAY_LEN(protocol_names), &h, &protocol);
    if (!s->ws) {
        drop_fds(s);
        goto out;
    }
    s->holds++; // the WebSocket's
    s->protocol = &protocols[3];
    for (size_t i = 0; protocol.n && i < ARRAY_LEN(protocols); i++)
        if (str_eq(protocol, protocol_names[i]))
            s->protocol = &protocols[i];
    s->stdin_watch.fn = on_stdin_ready;
    for (size_t i = 0; i < 2; i++) {
        struct output *o = &s->out[i];
        o->session = s;
        o->channel = (uint8_t)(CHANNEL_STDOUT + i);
        o->watch.fn = on_output;
        if (o->fd >= 0)
            loop_fd_add(loop_of(s), &o->watch, o->fd, LOOP_READ);
    }
    // An empty message tells the client that the connection stands (as upstream).
    send_channel(s,
                 s->want_out   ? CHANNEL_STDOUT
                 : s->want_err ? CHANNEL_STDERR
                               : CHANNEL_STATUS,
                 STR_NULL);
    s->starting = true;
    s->holds += 2; // the job's, on_exit's
    job_pool_run(s->server->agent->jobs, start_job, s);
out:
    session_release(s);
    el->session = NULL;
    lookup_free(l);
}

// The client went while its container was looked up.
static void on_dropped(struct lookup *l)
{
    session_release(container_of(l, struct exec_lookup, lookup)->session);
}

static bool flag(struct http_exchange *x, const char *kubelets, const char *apis)
{
    struct str v = http_query(http_arena(x), http_request(x), kubelets, 0);
    if (!v.p)
        v = http_query(http_arena(x), http_request(x), apis, 0);
    return str_eqc(v, "1") || str_eqc(v, "true");
}

void server_exec(struct agent_server *server, struct http_exchange *x, struct str ns,
                 struct str pod, struct str container, bool attach)
{
    const struct http_request *req = http_request(x);
    if (!websocket_requested(req)) {
        server_refuse(x, 400,
                      STR("exec and attach need a WebSocket upgrade (v5.channel.k8s.io or "
                          "v4.channel.k8s.io)"));
        return;
    }
    struct exec_session *s = mem_zalloc(sizeof(*s));
    s->server = server;
    s->loop = server->agent->loop;
    s->holds = 1; // the lookup's
    s->attach = attach;
    s->tty = flag(x, "tty", "tty");
    s->want_in = flag(x, "input", "stdin");
    s->want_out = flag(x, "output", "stdout");
    s->want_err = flag(x, "error", "stderr") && !s->tty;
    s->drain.fn = on_drain_time;
    s->stdin_fd = s->out[0].fd = s->out[1].fd = -1;
    s->out[0].session = s->out[1].session = s;
    list_push(&server->sessions, &s->link);
    while (http_query(http_arena(x), req, "command", s->ncommand).p)
        s->ncommand++;
    s->command = arena_array(&s->a, struct str, s->ncommand + 1);
    for (size_t i = 0; i < s->ncommand; i++)
        s->command[i] = arena_str(&s->a, http_query(http_arena(x), req, "command", i));
    if ((!attach && !s->ncommand) || (!s->want_in && !s->want_out && !s->want_err)) {
        server_refuse(x, 400,
                      !attach && !s->ncommand
                          ? STR("you must specify at least 1 command")
                          : STR("you must specify at least 1 of stdin, stdout, stderr"));
        session_release(s);
        return;
    }
    struct exec_lookup *l = mem_zalloc(sizeof(*l));
    l->session = s;
    l->lookup.server = server;
    l->lookup.x = x;
    l->lookup.ns = arena_str(&l->lookup.a, ns);
    l->lookup.pod = arena_str(&l->lookup.a, pod);
    l->lookup.container = arena_str(&l->lookup.a, container);
    l->lookup.done = on_found;
    l->lookup.dropped = on_dropped;
    lookup_start(&l->lookup);
}

// Before the jobs are closed: sessions that run are ended by jobs.
void server_exec_stop(struct agent_server *server)
{
    list_each_safe (&server->sessions, l) {
        struct exec_session *s = container_of(l, struct exec_session, link);
        if (s->ws && !s->starting)
            finish(s);
    }
}
