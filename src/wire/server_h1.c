// HTTP/1.1 on a server's connection: one exchange at a time, in the order of arrival.
//
// Input is used where it was read (the loop's scratch memory); only what cannot be used yet, the
// rest of a head or a pipelined request, is kept in c->in, so an idle connection has no buffer.
// While an exchange is under way input is still read, up to KEEP bytes: that is how the end of a
// watcher is noticed.
//
//   no exchange --head complete--> exchange: body comes, answer goes --both done--> no exchange
//
// When the answer is done before the request's body is, the rest of the body is read and thrown
// away if it is short (DISCARD_MAX); otherwise the connection closes after the answer, lingering
// for a moment, since closing with unread input would make the kernel send a reset that can destroy
// the answer.
//
// A client that pipelines and does not read its answers waits once OUT_MAX bytes are queued for it.
#include "base/time.h"
#include "wire/server_private.h"
#include <string.h>

enum { KEEP = 16 << 10, DISCARD_MAX = 256 << 10, OUT_MAX = 256 << 10 };

static struct http_exchange *current(const struct http_conn *c)
{
    return list_empty(&c->exchanges) ? NULL
                                     : container_of(c->exchanges.next, struct http_exchange, link);
}

// --- output

static void put_header(struct outq *q, struct str name, struct str value)
{
    char *p = outq_reserve(q, name.n + value.n + 4);
    bool start = true;
    size_t n = 0;
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        p[n++] = start && ch >= 'a' && ch <= 'z' ? (char)(ch - 32) : ch;
        start = ch == '-';
    }
    p[n++] = ':';
    p[n++] = ' ';
    // A line break in a value would let whoever chose it write headers of their own.
    for (size_t i = 0; i < value.n; i++)
        p[n++] = value.p[i] == '\r' || value.p[i] == '\n' || !value.p[i] ? ' ' : value.p[i];
    p[n++] = '\r';
    p[n++] = '\n';
    outq_commit(q, n);
}

static void put_status(struct http_conn *c, int status)
{
    char *p = outq_reserve(&c->s.out, 64);
    outq_commit(&c->s.out,
                (size_t)snprintf(p, 64, "HTTP/1.1 %03d %s\r\n", status, http_status_text(status)));
}

static void h1_head(struct http_exchange *x, int status, const struct http_header *headers,
                    size_t nheaders, int64_t length)
{
    struct http_conn *c = x->conn;
    struct outq *q = &c->s.out;
    char number[24];
    put_status(c, status);
    for (size_t i = 0; i < nheaders; i++) {
        struct str name = headers[i].name;
        if (str_ieq(name, STR("connection")) && http_has_token(headers[i].value, "close"))
            c->keep_alive = false;
        if (!str_ieq(name, STR("connection")) && !str_ieq(name, STR("content-length")) &&
            !str_ieq(name, STR("transfer-encoding")) && !str_ieq(name, STR("date")))
            put_header(q, name, headers[i].value);
    }
    put_header(q, STR("Date"), str_n(server_date(c->sl), 29));
    c->out_chunked = c->out_sized = false;
    bool bodiless = status < 200 || status == 204 || status == 304;
    if (length >= 0) {
        c->out_sized = !x->head_only && !bodiless;
        c->out_left = (uint64_t)length;
        if (!bodiless)
            put_header(
                q, STR("Content-Length"),
                str_n(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)length)));
    } else if (c->head.minor > 0) {
        c->out_chunked = !x->head_only;
        put_header(q, STR("Transfer-Encoding"), STR("chunked"));
    } else {
        c->keep_alive = false; // HTTP/1.0: the end of the connection is the end of the body
    }
    // An unasked-for body that was never begun cannot be told from the next request.
    if (!x->body_complete && (x->expects_continue || c->body_left > DISCARD_MAX))
        c->keep_alive = false;
    if (c->sl->stopping)
        c->keep_alive = false;
    if (!c->keep_alive)
        put_header(q, STR("Connection"), STR("close"));
    else if (c->head.minor == 0)
        put_header(q, STR("Connection"), STR("keep-alive"));
    outq_add(q, "\r\n", 2);
}

// Bytes that pass a declared length are dropped: sending them would be read as the next answer.
static size_t sized(struct http_conn *c, size_t n)
{
    if (!c->out_sized)
        return n;
    if (n > c->out_left)
        n = (size_t)c->out_left;
    c->out_left -= n;
    return n;
}

static void chunk_size(struct http_conn *c, size_t n)
{
    char *p = outq_reserve(&c->s.out, CHUNK_HEADROOM);
    outq_commit(&c->s.out, (size_t)snprintf(p, CHUNK_HEADROOM, "%zx\r\n", n));
}

static void h1_data(struct http_exchange *x, struct str bytes)
{
    struct http_conn *c = x->conn;
    if (c->out_chunked)
        chunk_size(c, bytes.n);
    outq_add(&c->s.out, bytes.p, sized(c, bytes.n));
    if (c->out_chunked)
        outq_add(&c->s.out, "\r\n", 2);
}

static void h1_blob(struct http_exchange *x, struct blob *bytes)
{
    struct http_conn *c = x->conn;
    if (c->out_chunked)
        chunk_size(c, bytes->n);
    outq_blob(&c->s.out, bytes, 0, sized(c, bytes->n));
    if (c->out_chunked)
        outq_add(&c->s.out, "\r\n", 2);
}

static void h1_end(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    if (c->out_chunked)
        outq_add(&c->s.out, "0\r\n\r\n", 5);
    if (c->out_sized && c->out_left)
        c->keep_alive = false; // too short: only the end of the connection can say so
}

static size_t h1_pending(struct http_exchange *x)
{
    return x->conn->s.out.n;
}

static const struct exchange_ops h1_ops = {
    .head = h1_head,
    .data = h1_data,
    .blob = h1_blob,
    .end = h1_end,
    .pending = h1_pending,
};

// --- upgrade

static void raw_kick(struct http_raw *r)
{
    conn_kick(container_of(r, struct http_conn, raw));
}

struct http_raw *http_upgrade_raw(struct http_exchange *x, struct str protocol,
                                  const struct http_header *headers, size_t nheaders,
                                  const struct http_raw_handler *h)
{
    struct http_conn *c = x->conn;
    if (x->response != RESPONSE_NONE || x->aborted)
        return NULL;
    if (x->ops != &h1_ops || !x->body_complete || c->head.minor == 0) {
        exchange_refuse(x, 400, "this request cannot be upgraded");
        return NULL;
    }
    put_status(c, 101);
    put_header(&c->s.out, STR("Connection"), STR("Upgrade"));
    put_header(&c->s.out, STR("Upgrade"), protocol);
    for (size_t i = 0; i < nheaders; i++)
        put_header(&c->s.out, headers[i].name, headers[i].value);
    outq_add(&c->s.out, "\r\n", 2);
    x->response = RESPONSE_STREAM;
    x->head_only = true; // http_send has no meaning any more
    http_be_patient(x);
    raw_init(&c->raw, &c->s, raw_kick, h);
    conn_kick(c);
    return &c->raw;
}

// --- input

// A request that cannot be: an exchange without a handler answers it.
static void refuse(struct http_conn *c, int status, const char *why)
{
    struct http_exchange *x = exchange_new(c, &h1_ops);
    c->head = (struct http_head){.minor = 1};
    c->keep_alive = false;
    c->linger = true;
    x->body_complete = x->body_delivered = true;
    exchange_refuse(x, status, why);
}

// Takes a head from *in if there is a whole one. False: no progress.
static bool take_head(struct http_conn *c, struct str *in)
{
    const char *why = NULL;
    while (in->n && (*in->p == '\r' || *in->p == '\n') && !c->scanned)
        *in = str_from(*in, 1); // empty lines before a request (RFC 9112 2.2)
    if (!in->n)
        return false;
    size_t max = c->sl->server->max_header_bytes;
    ptrdiff_t end = http_head_end(in->p, in->n, c->scanned);
    if (end < 0) {
        c->scanned = 0;
        *in = STR_NULL;
        refuse(c, 400, "malformed request");
        return true;
    }
    if ((size_t)end > max || (!end && in->n > max)) {
        bool line = !memchr(in->p, '\n', max);
        c->scanned = 0;
        *in = STR_NULL;
        refuse(c, line ? 414 : 431, line ? "request target too long" : "request header too large");
        return true;
    }
    if (!end) {
        if (!c->scanned)
            conn_deadline(c, HEAD_SECONDS);
        c->scanned = in->n;
        return false;
    }
    c->scanned = 0;
    struct http_exchange *x = exchange_new(c, &h1_ops);
    char *head = arena_alloc(&x->arena, (size_t)end);
    memcpy(head, in->p, (size_t)end);
    *in = str_from(*in, (size_t)end);
    int status = http_parse_request(&x->arena, head, (size_t)end, &c->head, &why);
    struct http_request *r = &x->request;
    if (!status) {
        r->method = c->head.method;
        r->target = c->head.target;
        r->headers = c->head.headers;
        r->nheaders = c->head.nheaders;
        r->host = http_header(r, "host");
        status = http_split_target(&x->arena, r, &why);
    }
    if (status) {
        exchange_free(x);
        *in = STR_NULL;
        refuse(c, status, why);
        return true;
    }
    c->keep_alive = !c->head.close;
    c->chunked = HTTP_CHUNKED_INIT;
    c->body_left = c->head.has_length ? c->head.length : 0;
    c->discarded = 0;
    x->body_complete = !c->head.chunked && !c->body_left;
    x->expects_continue = c->head.continue_100 && !x->body_complete;
    conn_deadline(c, 0);
    exchange_handle(x);
    return true;
}

// The request's body, as far as somebody takes it. False: no progress.
static bool take_body(struct http_conn *c, struct http_exchange *x, struct str *in)
{
    if (x->body_mode == BODY_UNREAD || x->body_paused)
        return false;
    if (x->expects_continue) {
        // Only now is it certain that the body is wanted.
        if (!in->n && x->response == RESPONSE_NONE)
            outq_str(&c->s.out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
        x->expects_continue = false;
    }
    if (!in->n)
        return false;
    struct str part = STR_NULL;
    int code = 1;
    if (c->head.chunked) {
        code = http_chunked_next(&c->chunked, in, &part);
    } else {
        part = str_sub(*in, 0, c->body_left < in->n ? (size_t)c->body_left : in->n);
        *in = str_from(*in, part.n);
        c->body_left -= part.n;
    }
    if (code < 0) {
        c->keep_alive = false;
        c->linger = true;
        *in = STR_NULL;
        if (x->response != RESPONSE_NONE) {
            x->aborted = true;
            return true;
        }
        x->body_complete = x->body_delivered = true;
        exchange_refuse(x, 400, "malformed chunked body");
        return true;
    }
    if (part.n) {
        if (x->body_mode == BODY_DISCARD)
            c->discarded += part.n;
        pace_moved(&x->in, part.n);
        exchange_input(x, part);
    }
    x->body_complete = c->head.chunked ? code == 2 : !c->body_left;
    return true;
}

// After the answer: the rest of the body, then the end of the exchange. False: no progress.
static bool finish(struct http_conn *c, struct http_exchange *x)
{
    if (!x->body_complete) {
        if (x->body_mode != BODY_DISCARD) {
            x->body_mode = BODY_DISCARD;
            x->body_paused = false;
            return true; // what has arrived goes first
        }
        if (c->keep_alive && c->body_left <= DISCARD_MAX && c->discarded <= DISCARD_MAX)
            return false;
        c->keep_alive = false;
        c->linger = true;
    }
    exchange_free(x);
    if (!c->keep_alive)
        c->closing = true;
    else
        conn_deadline(c, c->sl->server->idle_ns / NS_PER_S);
    return true;
}

static void consume(struct http_conn *c, struct str *in)
{
    while (!c->dead) {
        struct http_exchange *x = current(c);
        if (x && x->aborted) {
            conn_close(c);
            return;
        }
        if (c->raw.active) {
            if (c->raw.paused || c->raw.closing || c->raw.aborted || !in->n)
                return;
            struct str bytes = *in;
            *in = STR_NULL;
            c->raw.h.on_data(&c->raw, bytes);
            return;
        }
        if (!x) {
            if (c->closing) {
                *in = STR_NULL;
                return;
            }
            if (c->s.out.n > OUT_MAX || !take_head(c, in))
                return;
            continue;
        }
        if (!x->body_complete && take_body(c, x, in))
            continue;
        if (x->body_complete && !x->body_delivered && !x->body_paused &&
            (x->body_mode == BODY_WHOLE || x->body_mode == BODY_STREAM)) {
            exchange_input_end(x);
            continue;
        }
        if (x->response != RESPONSE_DONE || !finish(c, x))
            return;
    }
}

void h1_turn(struct http_conn *c, struct str input)
{
    bool kept = c->in.n > 0;
    if (kept)
        buf_add(&c->in, input.p, input.n);
    struct str in = kept ? buf_view(&c->in) : input;
    size_t had = in.n;
    consume(c, &in);
    if (c->dead)
        return;
    if (!kept)
        buf_add(&c->in, in.p, in.n);
    else if (in.n)
        buf_drop(&c->in, had - in.n);
    else
        buf_done(&c->in);
}

void h1_tick(struct http_conn *c, uint64_t now)
{
    struct http_exchange *x = current(c);
    if (x)
        exchange_tick(x, now);
}

bool h1_ticks(const struct http_conn *c)
{
    const struct http_exchange *x = current(c);
    return x && !x->body_complete && x->body_mode != BODY_UNREAD;
}

bool h1_wants_input(const struct http_conn *c)
{
    const struct http_exchange *x = current(c);
    if (c->closing)
        return false;
    if (c->raw.active)
        return !c->raw.paused && !c->raw.closing && !c->raw.aborted;
    if (x && !x->body_complete && x->body_mode != BODY_UNREAD)
        return !x->body_paused;
    return c->in.n < KEEP || (!x && c->s.out.n <= OUT_MAX);
}

void h1_eof(struct http_conn *c)
{
    struct http_exchange *x = current(c);
    // A client that is gone and one that has only closed its half (printf … | nc) look the same: a
    // stream ends at once, an answer that is being made has a few seconds to come.
    if (!x)
        c->closing = true;
    else if (!x->body_complete || x->response == RESPONSE_STREAM || c->raw.active)
        conn_close(c);
    else if (c->deadline == UINT64_MAX)
        conn_deadline(c, HALF_CLOSED_SECONDS);
}
