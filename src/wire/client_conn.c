// A client's connection: connect, handshake, carry a call, rest in the pool.
//
// The idle timer is armed exactly while the connection is counted in nidle.
//
//   connecting -> (handshake) -> busy <-> idle -> gone
//                                  '-> upgraded -> gone
//
// An idle connection is still watched: the end of it, or bytes that nobody asked for, take it out
// of the pool at once, so that a call rarely meets a dead one.
#include "base/time.h"
#include "wire/client_private.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum { IDLE_MAX = 64 };
#define IDLE_NS (90 * (uint64_t)NS_PER_S)

static void turn(struct client_conn *cc, unsigned ready);

void client_conn_kick(struct client_conn *cc)
{
    if (!cc->in_turn)
        loop_defer(cc->client->loop, &cc->deferred);
}

static void event(struct stream *s, unsigned ready)
{
    turn(container_of(s, struct client_conn, s), ready);
}

static void deferred(struct loop_deferred *d)
{
    turn(container_of(d, struct client_conn, deferred), 0);
}

static bool idle(const struct client_conn *cc)
{
    return !cc->call && !cc->raw.active && !cc->dead;
}

static void idle_over(struct loop_timer *t)
{
    struct client_conn *cc = container_of(t, struct client_conn, idle_timer);
    cc->client->nidle--;
    client_conn_free(cc);
}

void client_conn_free(struct client_conn *cc)
{
    struct loop *l = cc->client->loop;
    cc->dead = true;
    raw_ended(&cc->raw);
    cc->client->nidle -= loop_timer_armed(&cc->idle_timer);
    loop_timer_cancel(l, &cc->idle_timer);
    loop_defer_cancel(&cc->deferred);
    stream_done(&cc->s);
    buf_done(&cc->in);
    list_remove(&cc->link);
    free(cc->key);
    free(cc);
}

struct client_conn *client_conn_take(struct http_client *c, const char *key)
{
    // From the end: the most recently used one is the least likely to be closed by the server.
    for (struct list *n = c->conns.prev; n != &c->conns; n = n->prev) {
        struct client_conn *cc = container_of(n, struct client_conn, link);
        if (!idle(cc) || cc->in_turn || !str_eq(str_of(cc->key), str_of(key)))
            continue;
        c->nidle--;
        loop_timer_cancel(c->loop, &cc->idle_timer);
        cc->reused = true;
        return cc;
    }
    return NULL;
}

void client_conn_release(struct client_conn *cc, bool keep)
{
    struct http_client *c = cc->client;
    cc->call = NULL;
    if (!keep || cc->in.n || cc->s.eof || cc->s.error || cc->s.out.n || c->freeing ||
        c->nidle >= IDLE_MAX) {
        cc->dead = true;
        client_conn_kick(cc);
        return;
    }
    c->nidle++;
    list_remove(&cc->link);
    list_push(&c->conns, &cc->link);
    loop_timer_in(c->loop, &cc->idle_timer, IDLE_NS);
    cc->s.reading = true;
    client_conn_kick(cc);
}

static void raw_kick(struct http_raw *r)
{
    client_conn_kick(container_of(r, struct client_conn, raw));
}

int client_conn_open(struct http_client *c, const char *key, struct str host, bool https,
                     const struct sockaddr_storage *address, struct client_conn **ret)
{
    int on = 1;
    socklen_t n = address->ss_family == AF_INET    ? sizeof(struct sockaddr_in)
                  : address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                   : sizeof(struct sockaddr_un);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (address->ss_family != AF_UNIX) {
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    // A unix socket whose backlog is full says EAGAIN: refused, as far as we are concerned.
    if (connect(fd, (const struct sockaddr *)address, n) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    SSL *ssl = https ? tls_client_session(c->tls, host) : NULL;
    if (https && !ssl) {
        close(fd);
        return -EINVAL;
    }
    struct client_conn *cc = mem_zalloc(sizeof *cc);
    cc->client = c;
    cc->key = mem_cstr(str_of(key));
    cc->connecting = true;
    cc->deferred.fn = deferred;
    cc->idle_timer.fn = idle_over;
    resolve_text(address, cc->peer, sizeof cc->peer);
    stream_init(&cc->s, c->loop, fd, ssl, event);
    list_push(&c->conns, &cc->link);
    int code = loop_fd_set(c->loop, &cc->s.fd, LOOP_WRITE);
    if (code < 0) {
        client_conn_free(cc);
        return code;
    }
    *ret = cc;
    return 0;
}

static void fail(struct client_conn *cc, int error, const char *why)
{
    struct http_call *call = cc->call;
    cc->dead = true;
    if (!call)
        return;
    cc->call = NULL;
    call->conn = NULL;
    call_failed(call, error, why);
}

// True once bytes can flow.
static bool established(struct client_conn *cc, unsigned ready)
{
    if (cc->connecting) {
        int error = 0;
        socklen_t n = sizeof error;
        if (!(ready & (LOOP_WRITE | LOOP_HUP)))
            return false;
        getsockopt(cc->s.fd.fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error) {
            fail(cc, error, NULL);
            return false;
        }
        cc->connecting = false;
        if (!cc->s.ssl && cc->call)
            call_connected(cc->call);
    }
    if (!cc->s.handshaking)
        return true;
    int code = stream_handshake(&cc->s);
    if (code < 0) {
        char why[256];
        tls_client_why(cc->s.ssl, cc->call ? cc->call->host : STR(""), why, sizeof why);
        fail(cc, 0, why);
    } else if (code == 1 && cc->call) {
        call_connected(cc->call);
    }
    return code == 1;
}

static void use(struct client_conn *cc, struct str *in)
{
    while (in->n && !cc->dead) {
        size_t before = in->n;
        if (cc->raw.active) {
            if (cc->raw.paused || cc->raw.closing || cc->raw.aborted)
                return;
            struct str bytes = *in;
            *in = STR_NULL;
            cc->raw.h.on_data(&cc->raw, bytes);
            return;
        }
        if (!cc->call) {
            cc->dead = true; // bytes that nobody asked for
            return;
        }
        call_input(cc->call, in);
        if (in->n == before)
            return;
    }
}

// Input is used where it was read; only the rest is kept.
static void input(struct client_conn *cc, struct str fresh)
{
    bool kept = cc->in.n > 0;
    if (kept)
        buf_add(&cc->in, fresh.p, fresh.n);
    struct str in = kept ? buf_view(&cc->in) : fresh;
    size_t had = in.n;
    // The buffer may not change under the call: what is kept is taken out while it is used.
    struct buf mine = cc->in;
    cc->in = BUF_INIT;
    use(cc, &in);
    if (in.n && kept)
        buf_drop(&mine, had - in.n);
    else if (in.n)
        buf_add(&mine, in.p, in.n);
    else
        buf_done(&mine);
    cc->in = mine;
}

static void read_once(struct client_conn *cc)
{
    char *p = loop_scratch(cc->client->loop);
    ssize_t n = stream_read(&cc->s, p, LOOP_SCRATCH);
    if (n > 0) {
        input(cc, str_n(p, (size_t)n));
    } else if (n == 0) {
        struct http_call *call = cc->call;
        cc->dead = true;
        if (call) {
            cc->call = NULL;
            call->conn = NULL;
            call_eof(call);
        }
    } else if (n == -EPROTO && cc->s.ssl) {
        // With TLS 1.3 the server's refusal of our certificate comes after the handshake.
        char why[256];
        tls_client_why(cc->s.ssl, STR(""), why, sizeof why);
        fail(cc, EPROTO, why);
    } else if (n != -EAGAIN) {
        fail(cc, (int)-n, NULL);
    }
}

static bool wants_input(const struct client_conn *cc)
{
    if (cc->raw.active)
        return !cc->raw.paused && !cc->raw.closing && !cc->raw.aborted;
    return !cc->call || !cc->call->paused;
}

static void turn(struct client_conn *cc, unsigned ready)
{
    struct http_client *c = cc->client;
    cc->in_turn = true;
    if (!cc->dead && established(cc, ready)) {
        cc->s.reading = wants_input(cc);
        // What was kept while paused comes before what is new.
        if (cc->in.n && cc->s.reading)
            input(cc, STR_NULL);
        cc->s.reading = wants_input(cc);
        if (!cc->dead && cc->s.reading &&
            (ready & (LOOP_READ | LOOP_HUP) || stream_has_input(&cc->s)))
            read_once(cc);
        for (int round = 0; !cc->dead && round < 16; round++) {
            if (stream_flush(&cc->s) < 0) {
                // The server may have answered before it closed: what it said is worth more than
                // EPIPE.
                cc->s.error = 0;
                outq_done(&cc->s.out);
                read_once(cc);
                if (!cc->dead)
                    fail(cc, EPIPE, NULL);
                break;
            }
            if (!raw_drained(&cc->raw))
                break;
        }
        if (cc->raw.active && (cc->raw.aborted || (cc->raw.closing && !cc->s.out.n)))
            cc->dead = true;
        cc->s.reading = !cc->dead && wants_input(cc);
    }
    if (!cc->dead && !cc->connecting) {
        stream_watch(&cc->s);
        if (cc->s.error)
            fail(cc, -cc->s.error, NULL);
    }
    cc->in_turn = false;
    if (cc->dead) {
        client_conn_free(cc);
        return;
    }
    // A body or raw bytes that are kept were held back by a pause that is over; a piece of a head,
    // on the other hand, waits for the rest.
    bool held = cc->in.n && (cc->raw.active || (cc->call && cc->call->state == CALL_BODY));
    if (cc->s.reading && (stream_has_input(&cc->s) || held))
        loop_defer(c->loop, &cc->deferred);
}

struct http_raw *client_conn_upgrade(struct client_conn *cc, const struct http_raw_handler *h)
{
    cc->call = NULL;
    raw_init(&cc->raw, &cc->s, raw_kick, h);
    client_conn_kick(cc);
    return &cc->raw;
}

void client_conn_send(struct client_conn *cc, struct http_call *call)
{
    cc->call = call;
    outq_blob(&cc->s.out, call->request, 0, call->request->n);
    client_conn_kick(cc);
}
