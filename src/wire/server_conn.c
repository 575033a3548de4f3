// A server's connection: handshake, turns, deadlines, the end.
//
// A turn: read once, let the protocol use it, write, call who waits for the queue to drain, ask
// epoll for what is wanted next. One read of 64 kB a turn keeps the loop fair; level-triggered
// epoll and stream_has_input bring the rest.
//
// Deadlines, by phase (the timer is lazy: it fires at the earliest deadline since it was set and
// looks again, so that a busy connection does not touch the heap for every request):
//   handshake and head   HEAD_SECONDS, from the first byte: a slow-loris is cut
//   between requests     the server's idle time
//   lingering            LINGER_SECONDS
//   an answer for a peer whose half is closed   HALF_CLOSED_SECONDS
//   a last answer that the peer does not read   the server's idle time
// Beside these, whoever has something to move has to keep a pace (pace.h): the body of a request,
// the bytes of an exchange that HTTP/2's windows hold back, the connection's queue. While there is
// such a thing the connection ticks, once in TICK_SECONDS, and looks. A stream (watch, logs) with
// nothing queued and an upgraded connection have no deadline: TCP keep-alive finds dead peers.
#include "base/time.h"
#include "wire/server_private.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READS = 4 };

static void conn_turn(struct http_conn *c, unsigned ready);

void conn_kick(struct http_conn *c)
{
    if (!c->in_turn && !c->dead)
        loop_defer(c->s.loop, &c->deferred);
}

void conn_close(struct http_conn *c)
{
    c->dead = true;
}

static void arm(struct http_conn *c)
{
    uint64_t due = c->ticking && c->tick_at < c->deadline ? c->tick_at : c->deadline;
    if (due != UINT64_MAX && (!loop_timer_armed(&c->timer) || c->timer.due > due))
        loop_timer_at(c->s.loop, &c->timer, due);
}

void conn_deadline(struct http_conn *c, uint64_t seconds)
{
    c->deadline = seconds ? loop_now(c->s.loop) + seconds * NS_PER_S : UINT64_MAX;
    arm(c);
}

// The connection's own queue: TLS or TCP of the peer does not take it.
static bool stuck(struct http_conn *c, uint64_t now)
{
    if (!c->s.out.n || c->patient) {
        pace_rest(&c->taken);
        return false;
    }
    return pace_late(&c->taken, now);
}

static void tick(struct http_conn *c, uint64_t now)
{
    c->ticking = false;
    c->s.cut = stuck(c, now);
    if (c->s.cut)
        conn_close(c);
    else if (c->h2)
        h2_tick(c, now);
    else
        h1_tick(c, now);
}

static void watch_pace(struct http_conn *c)
{
    if (c->ticking || (!c->s.out.n && !(c->h2 ? h2_ticks(c) : h1_ticks(c))))
        return;
    c->ticking = true;
    c->tick_at = loop_now(c->s.loop) + TICK_SECONDS * (uint64_t)NS_PER_S;
    arm(c);
}

static void timer_fired(struct loop_timer *t)
{
    struct http_conn *c = container_of(t, struct http_conn, timer);
    uint64_t now = loop_now(c->s.loop);
    bool ticked = c->ticking && now >= c->tick_at;
    if (ticked)
        tick(c, now);
    if (now < c->deadline) {
        arm(c);
    } else {
        ticked = true;
        if (c->h2 && !c->closing && !c->dead)
            h2_expired(c);
        else
            conn_close(c);
    }
    if (ticked)
        conn_turn(c, 0);
}

static void deferred(struct loop_deferred *d)
{
    conn_turn(container_of(d, struct http_conn, deferred), 0);
}

static void event(struct stream *s, unsigned ready)
{
    conn_turn(container_of(s, struct http_conn, s), ready);
}

static void conn_free(struct http_conn *c)
{
    struct server_loop *sl = c->sl;
    c->dead = true;
    raw_ended(&c->raw);
    while (!list_empty(&c->exchanges))
        exchange_free(container_of(c->exchanges.next, struct http_exchange, link));
    h2_done(c);
    holder_conn_leave(c);
    loop_timer_cancel(sl->loop, &c->timer);
    loop_defer_cancel(&c->deferred);
    stream_done(&c->s);
    buf_done(&c->in);
    free(c->peer);
    list_remove(&c->link);
    free(c);
    atomic_fetch_sub_explicit(&sl->nconns, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&sl->server->connections, 1, memory_order_relaxed);
    server_conn_gone(sl);
}

// The peer is to read why: closing at once, with its bytes unread, would destroy the alert on its
// way.
static void handshake_failed(struct http_conn *c)
{
    if (c->s.error != -EPROTO)
        return;
    if (stream_drop_tls(&c->s))
        outq_str(&c->s.out, STR("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
                                "Client sent an HTTP request to an HTTPS server.\n"));
    c->closing = c->linger = true;
}

// Of a port for both. False: nothing has come yet, or the connection is over.
static bool decided(struct http_conn *c)
{
    int tls = stream_looks_like_tls(&c->s);
    if (tls < 0)
        return false;
    c->undecided = false;
    SSL *ssl = tls ? tls_server_session(c->sl->server->tls) : NULL;
    if (tls && !ssl) {
        conn_close(c);
        return false;
    }
    if (tls)
        stream_begin_tls(&c->s, ssl);
    return true;
}

// True when the handshake is over.
static bool handshaken(struct http_conn *c)
{
    if (c->undecided && !decided(c))
        return false;
    if (!c->s.handshaking)
        return true;
    int code = stream_handshake(&c->s);
    if (code < 0)
        handshake_failed(c);
    if (code != 1)
        return !c->s.handshaking && !c->s.error;
    c->peer = tls_peer_new(c->s.ssl);
    if (c->peer && c->peer->common_name.n)
        holder_vouch(c, c->peer->common_name, HTTP_USER);
    if (tls_is_h2(c->s.ssl))
        h2_start(c);
    return true;
}

static bool wants_input(const struct http_conn *c)
{
    return c->lingering || (c->h2 ? h2_wants_input(c) : h1_wants_input(c));
}

static void input(struct http_conn *c)
{
    char *p = loop_scratch(c->s.loop);
    ssize_t n = 0;
    for (int i = 0; i == 0 || (i < READS && stream_has_input(&c->s) && wants_input(c)); i++) {
        n = stream_read(&c->s, p, LOOP_SCRATCH);
        if (n <= 0)
            break;
        if (c->lingering)
            continue;
        if (c->h2)
            h2_input(c, str_n(p, (size_t)n));
        else
            h1_turn(c, str_n(p, (size_t)n));
        if (c->dead)
            return;
    }
    if (n == 0 && !c->lingering) {
        if (c->h2)
            conn_close(c);
        else
            h1_eof(c);
    } else if (n == 0 || (n < 0 && n != -EAGAIN)) {
        conn_close(c);
    }
}

// Writes, and lets those go on who waited for that; again while they queue more and the kernel
// takes it.
static void output(struct http_conn *c)
{
    bool again = true;
    for (int round = 0; again && !c->dead && round < 16; round++) {
        if (c->h2)
            h2_output(c);
        size_t had = c->s.out.n;
        if (stream_flush(&c->s) < 0) {
            conn_close(c);
            return;
        }
        pace_moved(&c->taken, had - c->s.out.n);
        again = false;
        if (c->drains) {
            list_each_safe (&c->exchanges, n)
                again |= exchange_drained(container_of(n, struct http_exchange, link));
            if (again && !c->h2)
                h1_turn(c, STR_NULL); // a drain callback may have finished the answer
        }
        again |= raw_drained(&c->raw);
        if (c->h2 && !c->s.out.n) {
            h2_output(c);
            again |= c->s.out.n > 0;
        }
    }
    if (again)
        loop_defer(c->s.loop, &c->deferred);
}

static void wind_up(struct http_conn *c)
{
    if (c->raw.active && (c->raw.aborted || (c->raw.closing && !c->s.out.n)))
        conn_close(c);
    if (!c->closing || c->dead)
        return;
    if (c->s.out.n) {
        if (c->deadline == UINT64_MAX)
            conn_deadline(c, c->sl->server->idle_ns / NS_PER_S);
    } else if (!c->linger) {
        conn_close(c);
    } else if (!c->lingering) {
        c->lingering = true;
        stream_shutdown(&c->s);
        conn_deadline(c, LINGER_SECONDS);
    }
}

static void conn_turn(struct http_conn *c, unsigned ready)
{
    c->in_turn = true;
    if (!c->dead && handshaken(c)) {
        if ((c->s.reading && (ready & LOOP_READ || stream_has_input(&c->s))) ||
            (ready & LOOP_HUP && !c->s.reading))
            input(c);
        else if (!c->h2)
            h1_turn(c, STR_NULL);
        if (!c->h2 && c->s.eof && !c->dead && !c->lingering)
            h1_eof(c);
        if (!c->dead)
            output(c);
        if (c->h2 && !c->dead)
            h2_idle(c);
        else if (ready & LOOP_WRITE && list_empty(&c->exchanges) && !c->lingering)
            conn_deadline(c, c->sl->server->idle_ns / NS_PER_S); // a long last answer makes way
        wind_up(c);
        c->s.reading = wants_input(c);
    }
    if (!c->dead) {
        stream_watch(&c->s);
        watch_pace(c);
        holder_queued(c->holder, c->s.out.n, c->out_counted);
        c->out_counted = c->s.out.n;
    }
    c->in_turn = false;
    if (c->dead || c->s.error) {
        conn_free(c);
        return;
    }
    if (c->s.reading && (stream_has_input(&c->s) || (c->raw.active && c->in.n)))
        loop_defer(c->s.loop, &c->deferred);
}

void conn_stop(struct http_conn *c)
{
    if (c->s.handshaking || c->undecided)
        c->s.error = -ECONNABORTED;
    else if (c->h2)
        h2_stop(c);
    if (list_empty(&c->exchanges)) {
        c->closing = true;
        c->scanned = 0;
        buf_done(&c->in);
    }
    list_each (&c->exchanges, n) {
        struct http_exchange *x = container_of(n, struct http_exchange, link);
        if (!x->stopping)
            c->drains++;
        x->stopping = true;
    }
    c->keep_alive = false;
    if (c->raw.active)
        http_raw_close(&c->raw);
    conn_kick(c);
}

static void socket_options(int fd)
{
    int on = 1, idle = 60, interval = 20, count = 3;
    // Failing is harmless (unix sockets have none of these).
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

void conn_new(struct server_loop *sl, int fd, const char *remote)
{
    struct http_server *server = sl->server;
    bool tls = server->tls && !server->plain_too;
    SSL *ssl = tls ? tls_server_session(server->tls) : NULL;
    if (sl->stopping || (tls && !ssl)) {
        close(fd);
        atomic_fetch_sub_explicit(&sl->nconns, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
        server_conn_gone(sl);
        return;
    }
    socket_options(fd);
    struct http_conn *c = mem_zalloc(sizeof *c);
    stream_init(&c->s, sl->loop, fd, ssl, event);
    c->s.reading = true;
    c->undecided = server->plain_too;
    c->sl = sl;
    c->remote_n = (uint16_t)snprintf(c->remote, sizeof c->remote, "%s", remote);
    if (c->remote_n >= sizeof c->remote)
        c->remote_n = sizeof c->remote - 1;
    c->deferred.fn = deferred;
    c->timer.fn = timer_fired;
    list_init(&c->exchanges);
    list_push(&sl->conns, &c->link);
    holder_conn(c);
    conn_deadline(c, HEAD_SECONDS);
    stream_watch(&c->s);
}

const char *server_date(struct server_loop *sl)
{
    int64_t now = env_now(loop_env(sl->loop)), second = now / NS_PER_S;
    if (second != sl->date_second) {
        sl->date_second = second;
        http_date(now, sl->date);
    }
    return sl->date;
}
