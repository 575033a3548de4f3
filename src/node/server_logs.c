// GET /containerLogs: the reader of logs.h behind a stream. When the reader is at the end and the
// request follows, the stream sleeps until inotify tells of a write or a rotation, or the runtime
// of a container's end; then it reads on. Back-pressure: no more than SEND_MAX is queued for a slow
// client.
//
// Two ways out: the body of an answer, or, where the request asks for an upgrade, messages of a
// WebSocket (binary.k8s.io, and base64.binary.k8s.io as text), as browsers need it.
//
// Invariant: a stream that waits is armed for the event that will end its wait (drain, inotify); a
// lookup of the container's state is under way at most once.
#include "base/guard.h"
#include "node/logs.h"
#include "node/server_internal.h"
#include "object/base64.h"
#include "wire/websocket.h"
#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#define READ_SIZE (64u << 10)
#define SEND_MAX  (256u << 10)

struct log_stream {
    struct server_task task;
    struct list link;
    struct agent_server *server;
    struct loop *loop;
    // Where it goes: one of the two, or none once it is over; freed when no lookup is under way.
    struct http_exchange *x;
    struct websocket *ws;
    bool base64, closing; // closing: the WebSocket is on its way out, its on_close is to come
    struct log_reader *reader;
    struct loop_fd watch;
    int inotify;
    bool follow, ended; // ended: the container runs no more
    bool checking, check_again;
    char *container_id, *uid;
};

static bool is_open(const struct log_stream *t)
{
    return t->x || (t->ws && !t->closing);
}

static void stream_free(struct log_stream *t)
{
    if (t->inotify >= 0) {
        loop_fd_remove(t->loop, &t->watch);
        close(t->inotify);
    }
    list_remove(&t->link);
    log_reader_close(t->reader);
    free(t->container_id);
    free(t->uid);
    free(t);
}

static void stream_closed(struct server_task *task)
{
    struct log_stream *t = container_of(task, struct log_stream, task);
    t->x = NULL;
    if (!t->checking)
        stream_free(t);
}

static void stream_end(struct log_stream *t)
{
    if (t->ws) {
        t->closing = true;
        websocket_close(t->ws, 1000, STR_NULL);
        return;
    }
    struct http_exchange *x = t->x;
    http_set_data(x, NULL);
    t->x = NULL;
    http_finish(x);
    if (!t->checking)
        stream_free(t);
}

static void on_ws_close(struct websocket *w)
{
    struct log_stream *t = websocket_ctx(w);
    t->ws = NULL;
    if (!t->checking)
        stream_free(t);
}

static void on_ws_message(struct websocket *w, bool binary, struct str message)
{
    (void)w, (void)binary, (void)message; // nothing is expected from the reader of a log
}

static void pump(struct log_stream *t);

static void on_drain(struct http_exchange *x)
{
    struct server_task *task = http_data(x);
    if (task)
        pump(container_of(task, struct log_stream, task));
}

static void on_ws_drain(struct websocket *w)
{
    struct log_stream *t = websocket_ctx(w);
    if (is_open(t))
        pump(t);
}

// false: the reader is slow; pump comes again when it has caught up.
static bool has_room(struct log_stream *t)
{
    if (t->ws && websocket_pending(t->ws) >= SEND_MAX)
        websocket_on_drain(t->ws, SEND_MAX / 4, on_ws_drain);
    else if (t->x && http_pending(t->x) >= SEND_MAX)
        http_on_drain(t->x, SEND_MAX / 4, on_drain);
    else
        return true;
    return false;
}

static void send_part(struct log_stream *t, struct str part)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (t->x) {
        http_send(t->x, part);
    } else if (t->base64) {
        base64_encode(&b, part);
        websocket_send(t->ws, false, buf_view(&b));
    } else {
        websocket_send(t->ws, true, part);
    }
}

static void pump(struct log_stream *t)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (;;) {
        if (!has_room(t))
            return;
        buf_reset(&b);
        bool ended = t->ended; // asked before reading: what is written before the end is read
        int rc = log_reader_read(t->reader, READ_SIZE, &b, NULL);
        if (b.n)
            send_part(t, buf_view(&b));
        if (rc == 1)
            continue;
        if (rc != 0 || !t->follow || ended)
            stream_end(t);
        return;
    }
}

static void on_inotify(struct loop_fd *f, unsigned ready)
{
    (void)ready;
    struct log_stream *t = container_of(f, struct log_stream, watch);
    char events[4096] __attribute__((aligned(8)));
    while (read(t->inotify, events, sizeof(events)) > 0)
        ; // which ones does not matter: the reader looks itself
    if (is_open(t))
        pump(t);
}

static int watch_directory(struct log_stream *t, struct str path)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    ptrdiff_t slash = str_rchr(path, '/');
    char *dir = arena_cstr(&a, slash > 0 ? str_sub(path, 0, (size_t)slash) : STR("."));
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    t->inotify = fd;
    t->watch.fn = on_inotify;
    return loop_fd_add(t->loop, &t->watch, fd, LOOP_READ);
}

// ---- is it still running? ----------------------------------------------------------------------

struct check {
    struct log_stream *stream;
    struct arena a;
    bool running;
};

static void start_check(struct log_stream *t);

static void check_back(void *arg)
{
    struct check *c = arg;
    struct log_stream *t = c->stream;
    t->checking = false;
    bool running = c->running;
    arena_done(&c->a);
    free(c);
    if (!t->x && !t->ws) {
        stream_free(t);
        return;
    }
    if (!is_open(t))
        return;
    if (t->check_again) {
        t->check_again = false;
        start_check(t);
    }
    if (!running && !t->ended) {
        t->ended = true;
        pump(t);
    }
}

static void check_job(void *arg)
{
    struct check *c = arg;
    struct node_agent *agent = c->stream->server->agent;
    struct runtime_container *list = NULL;
    size_t n = 0;
    if (agent->runtime->ops->container_list(agent->runtime, &c->a, STR_NULL, &list, &n, NULL) < 0)
        c->running = true; // unknown: the stream goes on
    for (size_t i = 0; i < n; i++)
        if (str_eqc(list[i].id, c->stream->container_id))
            c->running = list[i].state == RUNTIME_RUNNING;
    loop_call(agent->loop, check_back, c);
}

static void start_check(struct log_stream *t)
{
    if (t->checking) {
        t->check_again = true;
        return;
    }
    t->checking = true;
    struct check *c = mem_zalloc(sizeof(*c));
    c->stream = t;
    job_pool_run(t->server->agent->jobs, check_job, c);
}

void server_logs_changed(struct agent_server *s, const char *id)
{
    list_each_safe (&s->streams, l) {
        struct log_stream *t = container_of(l, struct log_stream, link);
        if (is_open(t) && t->follow && !t->ended && strcmp(t->container_id, id) == 0)
            start_check(t);
    }
}

void server_logs_stop(struct agent_server *s)
{
    list_each_safe (&s->streams, l) {
        struct log_stream *t = container_of(l, struct log_stream, link);
        if (is_open(t))
            stream_end(t);
    }
}

// ---- the request -------------------------------------------------------------------------------

struct logs_lookup {
    struct lookup lookup;
    struct logs_options o;
    bool follow;
};

static void start_stream(struct lookup *l)
{
    struct logs_lookup *ll = container_of(l, struct logs_lookup, lookup);
    struct http_exchange *x = l->x;
    if (l->status != 200) {
        http_set_data(x, NULL);
        server_refuse(x, l->status, l->text);
        lookup_free(l);
        return;
    }
    _cleanup_err_ struct err e = ERR_INIT;
    struct log_stream *t = mem_zalloc(sizeof(*t));
    t->server = l->server;
    t->loop = l->server->agent->loop;
    t->inotify = -1;
    t->follow = ll->follow;
    t->ended = !l->running;
    t->container_id = mem_cstr(l->container_id);
    t->uid = mem_cstr(l->uid);
    t->task.closed = stream_closed;
    list_push(&l->server->streams, &t->link);
    // Watched before it is read: what is written in between wakes the stream.
    if (t->follow && !t->ended)
        watch_directory(t, l->log_path);
    char *path = arena_cstr(&l->a, l->log_path);
    if (log_reader_open(path, &ll->o, &t->reader, &e) < 0) {
        http_set_data(x, NULL);
        stream_free(t);
        server_refuse(x, 500, str_of(e.message));
        lookup_free(l);
        return;
    }
    l->x = NULL; // the stream's now
    lookup_free(l);
    bool check = t->follow && !t->ended;
    if (websocket_requested(http_request(x))) {
        static const struct str protocols[] = {STR("binary.k8s.io"), STR("base64.binary.k8s.io")};
        struct websocket_handler handler = {on_ws_message, on_ws_close, t, 0};
        struct str protocol = STR_NULL;
        http_set_data(x, NULL);
        t->ws = websocket_accept(x, protocols, ARRAY_LEN(protocols), &handler, &protocol);
        if (!t->ws) { // answered
            stream_free(t);
            return;
        }
        t->base64 = str_eq(protocol, protocols[1]);
        pump(t);
        if (check && is_open(t))
            start_check(t);
        return;
    }
    t->x = x;
    http_set_data(x, &t->task);
    struct http_header h = {STR("content-type"), STR("text/plain")};
    http_be_patient(x); // who reads it may be a person
    http_start(x, 200, &h, 1);
    pump(t);
    if (check && t->x) // it may have ended between the lookup and now
        start_check(t);
}

static bool number(struct http_exchange *x, const char *name, int64_t min, int64_t *ret)
{
    struct str s = http_query(http_arena(x), http_request(x), name, 0);
    if (!s.n)
        return true;
    if (str_to_i64(s, ret) && *ret >= min)
        return true;
    server_refuse(x, 400,
                  arena_printf(http_arena(x), "invalid value for %s: %.*s", name, STR_ARG(s)));
    return false;
}

static bool flag(struct http_exchange *x, const char *name)
{
    struct str s = http_query(http_arena(x), http_request(x), name, 0);
    return str_eqc(s, "true") || str_eqc(s, "1");
}

void server_logs(struct agent_server *s, struct http_exchange *x, struct str ns, struct str pod,
                 struct str container)
{
    struct logs_options o = {.tail_lines = -1};
    int64_t since = 0;
    if (!number(x, "tailLines", 0, &o.tail_lines) || !number(x, "limitBytes", 1, &o.limit_bytes) ||
        !number(x, "sinceSeconds", 1, &since))
        return;
    struct str time = http_query(http_arena(x), http_request(x), "sinceTime", 0);
    if (since) {
        o.since_ns = env_now(s->agent->env) - since * NS_PER_S;
    } else if (time.n && !time_parse_rfc3339(time, &o.since_ns)) {
        server_refuse(
            x, 400,
            arena_printf(http_arena(x), "invalid value for sinceTime: %.*s", STR_ARG(time)));
        return;
    }
    struct str stream = http_query(http_arena(x), http_request(x), "stream", 0);
    o.only_stdout = str_eqc(stream, "Stdout");
    o.only_stderr = str_eqc(stream, "Stderr");
    o.timestamps = flag(x, "timestamps");
    struct logs_lookup *l = mem_zalloc(sizeof(*l));
    l->o = o;
    l->follow = flag(x, "follow");
    l->lookup.server = s;
    l->lookup.x = x;
    l->lookup.ns = arena_str(&l->lookup.a, ns);
    l->lookup.pod = arena_str(&l->lookup.a, pod);
    l->lookup.container = arena_str(&l->lookup.a, container);
    l->lookup.previous = flag(x, "previous");
    l->lookup.done = start_stream;
    lookup_start(&l->lookup);
}
