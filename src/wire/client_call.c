// A call: one request on its way through the client.
//
//   START --------------------------> HEAD -> BODY -> OVER     (a pooled connection)
//     '-> RESOLVE -> CONNECT -------->'                        (a new one)
//   HEAD -> START                                              (once: a pooled connection was dead)
//   any -> OVER                                                (error, cancel)
//
// Addresses are tried one after the other. There is one deadline for resolving, connecting and the
// TLS handshake together, and one between bytes afterwards; the timer is lazy.
//
// on_end frees the call. A cancelled call makes no callback any more; its memory goes with the next
// turn of the loop, since cancel may be called from inside its own callbacks.
#include "base/time.h"
#include "wire/client_private.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>

static const uint16_t moves[] = {
    [CALL_START] = 1 << CALL_RESOLVE | 1 << CALL_CONNECT | 1 << CALL_HEAD | 1 << CALL_OVER,
    [CALL_RESOLVE] = 1 << CALL_CONNECT | 1 << CALL_OVER,
    [CALL_CONNECT] = 1 << CALL_HEAD | 1 << CALL_OVER,
    [CALL_HEAD] = 1 << CALL_BODY | 1 << CALL_START | 1 << CALL_OVER,
    [CALL_BODY] = 1 << CALL_OVER,
    [CALL_OVER] = 0,
};

static void move(struct http_call *c, enum call_state to)
{
    BUG_ON(!(moves[c->state] & 1 << to));
    c->state = to;
}

// --- ends

static void call_free(struct http_call *c)
{
    loop_defer_cancel(&c->deferred);
    loop_timer_cancel(c->client->loop, &c->timer);
    resolve_cancel(c->resolve);
    list_remove(&c->link);
    blob_unref(c->request);
    err_done(&c->bad);
    err_done(&c->last);
    arena_done(&c->arena);
    free(c->key);
    free(c);
}

void call_end(struct http_call *c, const struct err *e)
{
    move(c, CALL_OVER);
    if (c->conn) {
        struct client_conn *cc = c->conn;
        c->conn = NULL;
        client_conn_release(cc, !e && !c->head.close);
    }
    if (!c->cancelled)
        c->h.on_end(c, e);
    call_free(c);
}

static void end_with(struct http_call *c, enum err_reason reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void end_with(struct http_call *c, enum err_reason reason, const char *fmt, ...)
{
    _cleanup_err_ struct err e = ERR_INIT;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&e, reason, fmt, ap);
    va_end(ap);
    call_end(c, &e);
}

// "connection refused", as Go prints what strerror calls "Connection refused".
static const char *error_text(int error, char *scratch, size_t n)
{
    char text[128];
    snprintf(scratch, n, "%s", strerror_r(error, text, sizeof text));
    if (isupper((unsigned char)scratch[0]) && !isupper((unsigned char)scratch[1]))
        scratch[0] = (char)tolower((unsigned char)scratch[0]);
    return scratch;
}

static const char *network(const struct http_call *c)
{
    return c->client->unix_socket ? "unix" : "tcp";
}

// --- time

static uint64_t limit(const struct http_call *c)
{
    return c->state < CALL_HEAD ? c->client->connect_ns : c->client->idle_ns;
}

static void watch_time(struct http_call *c)
{
    uint64_t ns = limit(c), now = loop_now(c->client->loop);
    c->last_byte = now;
    if (ns && (!loop_timer_armed(&c->timer) || c->timer.due > now + ns))
        loop_timer_at(c->client->loop, &c->timer, now + ns);
}

static void timed_out(struct loop_timer *t)
{
    struct http_call *c = container_of(t, struct http_call, timer);
    uint64_t ns = limit(c);
    if (!ns)
        return;
    // While the owner does not want bytes, their absence is no fault.
    if (c->paused)
        c->last_byte = loop_now(c->client->loop);
    if (c->last_byte + ns > loop_now(c->client->loop)) {
        loop_timer_at(c->client->loop, t, c->last_byte + ns);
        return;
    }
    if (c->state == CALL_RESOLVE) {
        end_with(c, ERR_TIMEOUT, "dial tcp: lookup %.*s: i/o timeout", STR_ARG(c->host));
    } else if (c->state == CALL_CONNECT && c->conn && !c->conn->connecting) {
        end_with(c, ERR_TIMEOUT, "net/http: TLS handshake timeout");
    } else if (c->state == CALL_CONNECT) {
        end_with(c, ERR_TIMEOUT, "dial %s %s: i/o timeout", network(c), c->peer);
    } else {
        end_with(c, ERR_TIMEOUT, "read %s %s: i/o timeout", network(c), c->peer);
    }
}

// --- connecting

static void begin(struct http_call *c);

static void next_address(struct http_call *c)
{
    while (c->next_address < c->naddresses) {
        const struct sockaddr_storage *ss = &c->addresses[c->next_address++];
        resolve_text(ss, c->peer, sizeof c->peer);
        int code = client_conn_open(c->client, c->key, c->host, c->https, ss, &c->conn);
        if (code == 0) {
            c->conn->call = c;
            return;
        }
        char scratch[128];
        err_set(&c->last, ERR_UNAVAILABLE, "dial %s %s: connect: %s", network(c), c->peer,
                error_text(-code, scratch, sizeof scratch));
    }
    _cleanup_err_ struct err e = ERR_INIT;
    err_move(&e, &c->last);
    call_end(c, &e);
}

static void resolved(void *ctx, const struct sockaddr_storage *addresses, size_t n, const char *why)
{
    struct http_call *c = ctx;
    c->resolve = NULL;
    if (!n) {
        end_with(c, ERR_UNAVAILABLE, "dial tcp: lookup %.*s: %s", STR_ARG(c->host), why);
        return;
    }
    c->naddresses = n < CLIENT_ADDRESSES ? n : CLIENT_ADDRESSES;
    memcpy(c->addresses, addresses, c->naddresses * sizeof *addresses);
    move(c, CALL_CONNECT);
    next_address(c);
}

void call_connected(struct http_call *c)
{
    move(c, CALL_HEAD);
    watch_time(c);
    client_conn_send(c->conn, c);
}

void call_failed(struct http_call *c, int error, const char *why)
{
    char scratch[128];
    const char *text = why ? why : error_text(error, scratch, sizeof scratch);
    if (c->state == CALL_CONNECT) {
        if (why) { // TLS: another address will not be more trustworthy
            end_with(c, ERR_UNAVAILABLE, "%s", why);
            return;
        }
        err_set(&c->last, ERR_UNAVAILABLE, "dial %s %s: connect: %s", network(c), c->peer, text);
        next_address(c);
        return;
    }
    if (c->state == CALL_HEAD && !c->any && c->safe && !c->retried) {
        // A pooled connection that the server had closed already.
        c->retried = true;
        move(c, CALL_START);
        loop_defer(c->client->loop, &c->deferred);
        return;
    }
    if (error == ETIMEDOUT)
        end_with(c, ERR_TIMEOUT, "read %s %s: %s", network(c), c->peer, text);
    else
        end_with(c, ERR_UNAVAILABLE, "read %s %s: %s", network(c), c->peer, text);
}

static void begin(struct http_call *c)
{
    struct http_client *client = c->client;
    if (c->bad.reason) {
        _cleanup_err_ struct err e = ERR_INIT;
        err_move(&e, &c->bad);
        call_end(c, &e);
        return;
    }
    watch_time(c);
    // A second try is made on a new connection: the others may be as dead.
    struct client_conn *cc = c->retried ? NULL : client_conn_take(client, c->key);
    if (cc) {
        c->conn = cc;
        memcpy(c->peer, cc->peer, sizeof c->peer);
        move(c, CALL_HEAD);
        watch_time(c);
        client_conn_send(cc, c);
        return;
    }
    c->safe = false; // what a new connection loses is not sent again
    c->naddresses = c->next_address = 0;
    if (client->unix_socket) {
        struct sockaddr_un *sun = (struct sockaddr_un *)&c->addresses[0];
        memset(sun, 0, sizeof *sun);
        sun->sun_family = AF_UNIX;
        snprintf(sun->sun_path, sizeof sun->sun_path, "%s", client->unix_socket);
        c->naddresses = 1;
        move(c, CALL_CONNECT);
        next_address(c);
        return;
    }
    move(c, CALL_RESOLVE);
    c->resolve = resolve_start(client->loop, c->host, c->port, resolved, c);
}

static void deferred(struct loop_deferred *d)
{
    struct http_call *c = container_of(d, struct http_call, deferred);
    if (c->cancelled)
        call_free(c);
    else if (c->state == CALL_START)
        begin(c);
}

// --- the answer

static void upgraded(struct http_call *c)
{
    struct client_conn *cc = c->conn;
    c->conn = NULL;
    struct http_raw *raw = client_conn_upgrade(cc, &c->raw);
    c->on_open(c->raw.ctx, raw, c->head.headers, c->head.nheaders, NULL);
    move(c, CALL_OVER);
    call_free(c);
}

static void take_head(struct http_call *c, struct str *in)
{
    ptrdiff_t end = http_head_end(in->p, in->n, c->scanned);
    if (end < 0 || (size_t)end > CLIENT_MAX_HEAD || (!end && in->n > CLIENT_MAX_HEAD)) {
        end_with(c, ERR_UNAVAILABLE,
                 end < 0 ? "malformed HTTP response" : "the response's header is too large");
        return;
    }
    if (!end) {
        c->scanned = in->n;
        return;
    }
    c->scanned = 0;
    char *head = arena_alloc(&c->arena, (size_t)end);
    const char *why = NULL;
    memcpy(head, in->p, (size_t)end);
    *in = str_from(*in, (size_t)end);
    if (http_parse_response(&c->arena, head, (size_t)end, &c->head, &why) < 0) {
        end_with(c, ERR_UNAVAILABLE, "malformed HTTP response: %s", why);
        return;
    }
    int status = c->head.status;
    if (status == 101 && c->upgrade) {
        upgraded(c);
        return;
    }
    if (status < 200) {
        if (status == 101)
            end_with(c, ERR_UNAVAILABLE, "malformed HTTP response: unexpected upgrade");
        return;
    }
    bool none = c->head_only || status == 204 || status == 304;
    bool until_close = !none && !c->head.chunked && !c->head.has_length;
    if (until_close)
        c->head.close = true;
    c->left = none ? 0 : until_close ? UINT64_MAX : c->head.length;
    if (none)
        c->head.chunked = false;
    move(c, CALL_BODY);
    if (c->h.on_head)
        c->h.on_head(c, status, c->head.headers, c->head.nheaders);
    if (!c->cancelled && !c->head.chunked && !c->left)
        call_end(c, NULL);
}

void call_input(struct http_call *c, struct str *in)
{
    c->any = true;
    c->last_byte = loop_now(c->client->loop);
    if (c->state == CALL_HEAD) {
        take_head(c, in);
        return;
    }
    if (c->paused)
        return;
    struct str part = STR_NULL;
    int code = 1;
    if (c->head.chunked) {
        code = http_chunked_next(&c->chunked, in, &part);
    } else {
        part = str_sub(*in, 0, c->left < in->n ? (size_t)c->left : in->n);
        *in = str_from(*in, part.n);
        if (c->left != UINT64_MAX)
            c->left -= part.n;
    }
    if (code < 0) {
        end_with(c, ERR_UNAVAILABLE, "malformed HTTP response: broken chunked encoding");
        return;
    }
    if (part.n && c->h.on_body)
        c->h.on_body(c, part);
    if (!c->cancelled && (c->head.chunked ? code == 2 : !c->left))
        call_end(c, NULL);
}

void call_eof(struct http_call *c)
{
    if (c->state == CALL_BODY && c->left == UINT64_MAX && !c->head.chunked)
        call_end(c, NULL);
    else if (c->state == CALL_BODY || c->any)
        end_with(c, ERR_UNAVAILABLE, "unexpected EOF");
    else
        call_failed(c, 0, "EOF");
}

// --- making one

static bool parse_url(struct http_call *c, struct str url, struct str *ret_target,
                      struct str *ret_authority)
{
    bool https = str_starts(url, STR("https://"));
    if (!https && !str_starts(url, STR("http://")))
        return false;
    struct str rest = str_from(url, https ? 8 : 7);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?' && rest.p[end] != '#')
        end++;
    struct str authority = str_sub(rest, 0, end), host = authority;
    struct str target = str_from(rest, end);
    ptrdiff_t hash = str_chr(target, '#');
    if (hash >= 0)
        target = str_sub(target, 0, (size_t)hash);
    for (size_t i = 0; i < url.n; i++)
        if ((unsigned char)url.p[i] <= ' ' || url.p[i] == 0x7f)
            return false;
    uint64_t port = https ? 443 : 80;
    ptrdiff_t colon = str_rchr(authority, ':');
    if (colon >= 0 && str_chr(str_from(authority, (size_t)colon), ']') < 0) {
        if (!str_to_u64(str_from(authority, (size_t)colon + 1), &port) || !port || port > 65535)
            return false;
        host = str_sub(authority, 0, (size_t)colon);
    }
    if (str_starts(host, STR("[")) && str_ends(host, STR("]")))
        host = str_sub(host, 1, host.n - 2);
    if (!host.n || host.n > 255 || str_chr(authority, '@') >= 0)
        return false;
    c->host = arena_str(&c->arena, host);
    c->port = (uint16_t)port;
    c->https = https;
    if (!target.n || target.p[0] != '/')
        target = arena_printf(&c->arena, "/%.*s", STR_ARG(target));
    *ret_target = target;
    *ret_authority = authority;
    c->key = mem_cstr(
        arena_printf(&c->arena, "%s://%.*s:%u", https ? "https" : "http", STR_ARG(host), c->port));
    return true;
}

static bool clean(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || !s.p[i])
            return false;
    return true;
}

static void build(struct http_call *c, const struct http_call_request *r, struct str target,
                  struct str authority, struct str upgrade)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    bool host = false, agent = false;
    for (size_t i = 0; i < r->nheaders; i++) {
        host |= str_ieq(r->headers[i].name, STR("host"));
        agent |= str_ieq(r->headers[i].name, STR("user-agent"));
        if (!clean(r->headers[i].name) || !clean(r->headers[i].value))
            err_set(&c->bad, ERR_BAD_REQUEST, "invalid header field value for \"%.*s\"",
                    STR_ARG(r->headers[i].name));
    }
    buf_printf(&b, "%s %.*s HTTP/1.1\r\n", r->method, STR_ARG(target));
    if (!host)
        buf_printf(&b, "Host: %.*s\r\n", STR_ARG(authority));
    if (!agent)
        buf_puts(&b, "User-Agent: coracle\r\n");
    for (size_t i = 0; i < r->nheaders; i++) {
        struct str name = r->headers[i].name;
        if (!str_ieq(name, STR("content-length")) && !str_ieq(name, STR("transfer-encoding")) &&
            !str_ieq(name, STR("connection")))
            buf_printf(&b, "%.*s: %.*s\r\n", STR_ARG(name), STR_ARG(r->headers[i].value));
    }
    if (upgrade.n)
        buf_printf(&b, "Connection: Upgrade\r\nUpgrade: %.*s\r\n", STR_ARG(upgrade));
    if (r->body.n || str_eqc(STR("POST"), r->method) || str_eqc(STR("PUT"), r->method) ||
        str_eqc(STR("PATCH"), r->method))
        buf_printf(&b, "Content-Length: %zu\r\n", r->body.n);
    buf_puts(&b, "\r\n");
    c->request = blob_alloc(b.n + r->body.n);
    memcpy(c->request->p, b.p, b.n);
    if (r->body.n)
        memcpy(c->request->p + b.n, r->body.p, r->body.n);
}

struct http_call *call_new(struct http_client *client, const struct http_call_request *r,
                           const struct http_call_handler *h, struct str upgrade)
{
    struct http_call *c = mem_zalloc(sizeof *c);
    struct str target, authority;
    c->client = client;
    c->h = *h;
    c->deferred.fn = deferred;
    c->timer.fn = timed_out;
    c->head_only = strcmp(r->method, "HEAD") == 0;
    c->safe = c->head_only || strcmp(r->method, "GET") == 0 || strcmp(r->method, "OPTIONS") == 0;
    list_push(&client->calls, &c->link);
    if (!parse_url(c, r->url, &target, &authority))
        err_set(&c->bad, ERR_BAD_REQUEST, "invalid URL \"%.*s\"", STR_ARG(r->url));
    else if (c->https && !client->tls)
        err_set(&c->bad, ERR_BAD_REQUEST, "no TLS configuration for %.*s", STR_ARG(r->url));
    else
        build(c, r, target, authority, upgrade);
    loop_defer(client->loop, &c->deferred);
    return c;
}

struct http_call *http_call_start(struct http_client *client, const struct http_call_request *r,
                                  const struct http_call_handler *h)
{
    return call_new(client, r, h, STR_NULL);
}

void *http_call_ctx(struct http_call *c)
{
    return c->h.ctx;
}

void http_call_pause(struct http_call *c, bool paused)
{
    c->paused = paused;
    if (c->conn)
        client_conn_kick(c->conn);
}

void http_call_cancel(struct http_call *c)
{
    if (c->cancelled || c->state == CALL_OVER)
        return;
    c->cancelled = true;
    c->state = CALL_OVER;
    resolve_cancel(c->resolve);
    c->resolve = NULL;
    loop_timer_cancel(c->client->loop, &c->timer);
    if (c->conn) {
        struct client_conn *cc = c->conn;
        c->conn = NULL;
        client_conn_release(cc, false);
    }
    loop_defer(c->client->loop, &c->deferred);
}
