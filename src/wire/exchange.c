// An exchange: one request and its answer, the same for both protocols.
//
// Answer:  NONE -> STREAM -> DONE, or NONE -> DONE. Calls that do not fit the state do nothing: an
//          owner that learns late of an end (on_close comes from the loop) need not guard every
//          call.
// Body:    UNREAD -> WHOLE | STREAM, and any of them -> DISCARD once nobody wants the rest.
//
// Whatever happens, a handler that has seen the exchange gets on_close for it, once, from a turn of
// the connection.
#include "wire/gzip.h"
#include "wire/server_private.h"
#include <string.h>

enum { GZIP_FROM = 128 << 10, SPARE_MAX = 64 };

const struct http_request *http_request(struct http_exchange *x)
{
    return &x->request;
}

struct arena *http_arena(struct http_exchange *x)
{
    return &x->arena;
}

struct loop *http_loop(struct http_exchange *x)
{
    return x->conn->s.loop;
}

void http_set_data(struct http_exchange *x, void *data)
{
    x->data = data;
}

void *http_data(struct http_exchange *x)
{
    return x->data;
}

// --- life

struct http_exchange *exchange_new(struct http_conn *c, const struct exchange_ops *ops)
{
    struct server_loop *sl = c->sl;
    struct http_exchange *x = sl->spare;
    if (x) {
        sl->spare = x->data;
        sl->nspare--;
        struct arena keep = x->arena;
        *x = (struct http_exchange){.arena = keep};
    } else {
        x = mem_zalloc(sizeof *x);
    }
    x->conn = c;
    x->ops = ops;
    x->request.tls = c->s.ssl != NULL;
    x->request.peer = c->peer;
    x->request.remote = str_n(c->remote, c->remote_n);
    x->born = loop_now(c->s.loop);
    c->served++;
    list_push(&c->exchanges, &x->link);
    x->crowded = !holder_exchange(x);
    return x;
}

void exchange_handle(struct http_exchange *x)
{
    struct http_handler *h = &x->conn->sl->server->handler;
    if (x->crowded) {
        static const struct http_header later[] = {{STR("retry-after"), STR("1")}};
        http_respond(x, 429, later, 1, STR_NULL);
        return;
    }
    x->handled = true;
    x->head_only = str_eq(x->request.method, STR("HEAD"));
    h->handle(h->ctx, x);
}

void exchange_free(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    struct server_loop *sl = c->sl;
    x->response = RESPONSE_DONE; // what on_close still calls does nothing
    x->aborted = true;
    if (x->handled && sl->server->handler.on_close)
        sl->server->handler.on_close(sl->server->handler.ctx, x);
    holder_exchange_leave(x);
    c->drains -= (x->drain != NULL) + x->stopping;
    c->queued -= x->out.n;
    c->patient -= x->patient;
    list_remove(&x->link);
    buf_done(&x->body);
    buf_done(&x->early);
    gzip_inflate_free(x->inflate);
    outq_done(&x->out);
    if (sl->nspare < SPARE_MAX) {
        arena_reset(&x->arena);
        x->data = sl->spare;
        sl->spare = x;
        sl->nspare++;
    } else {
        arena_done(&x->arena);
        free(x);
    }
}

// --- request body

static bool may_answer(const struct http_exchange *x)
{
    return x->response == RESPONSE_NONE && !x->aborted;
}

static void discard_body(struct http_exchange *x)
{
    x->body_mode = BODY_DISCARD;
    buf_done(&x->body);
}

static void too_large(struct http_exchange *x)
{
    // A Kubernetes Status: the clients that meet this limit are Kubernetes' own, and print it.
    static const struct http_header json[] = {{STR("content-type"), STR("application/json")}};
    discard_body(x);
    struct str body = arena_printf(
        &x->arena,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
        "\"message\":\"Request entity too large: limit is %zu\","
        "\"reason\":\"RequestEntityTooLarge\",\"code\":413}\n",
        x->body_max);
    http_respond(x, 413, json, 1, body);
}

// The caller's share of memory for bodies is full, or everybody's.
static void too_much(struct http_exchange *x)
{
    static const struct http_header json[] = {{STR("content-type"), STR("application/json")},
                                              {STR("retry-after"), STR("1")}};
    discard_body(x);
    http_respond(x, 429, json, 2,
                 STR("{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
                     "\"status\":\"Failure\",\"message\":\"too many bytes of request bodies are "
                     "under way, please try again later\",\"reason\":\"TooManyRequests\","
                     "\"details\":{\"retryAfterSeconds\":1},\"code\":429}\n"));
}

static void bad_body(struct http_exchange *x)
{
    static const struct http_header text[] = {
        {STR("content-type"), STR("text/plain; charset=utf-8")}};
    discard_body(x);
    http_respond(x, 400, text, 1, STR("gzip: invalid request body\n"));
}

void exchange_input(struct http_exchange *x, struct str part)
{
    if (x->body_mode == BODY_STREAM) {
        x->body_part(x, part, false);
        return;
    }
    if (x->body_mode != BODY_WHOLE)
        return;
    if (x->inflate) {
        size_t had = x->body.n;
        int code = gzip_inflate(x->inflate, part, &x->body, x->body_max);
        if (x->body.n > had && !holder_body(x, x->body.n - had)) {
            too_much(x);
            return;
        }
        if (code == 1) {
            gzip_inflate_free(x->inflate);
            x->inflate = NULL;
        } else if (code == -2) {
            too_large(x);
        } else if (code < 0) {
            bad_body(x);
        }
        return;
    }
    if (part.n > x->body_max - x->body.n)
        too_large(x);
    else if (!holder_body(x, part.n))
        too_much(x);
    else
        buf_add(&x->body, part.p, part.n);
}

void exchange_input_end(struct http_exchange *x)
{
    if (x->body_delivered || !x->body_complete || x->body_paused || x->aborted)
        return;
    if (x->body_mode == BODY_STREAM) {
        x->body_delivered = true;
        x->body_part(x, STR(""), true);
    } else if (x->body_mode == BODY_WHOLE) {
        x->body_delivered = true;
        if (x->inflate && x->inflate->total_in > 0) // cut short; an empty body is just empty
            bad_body(x);
        else
            x->body_whole(x, x->body.n ? buf_view(&x->body) : STR(""));
    }
}

// The next turn looks at each exchange, not only at the connection.
static void look(struct http_exchange *x)
{
    x->conn->look = true;
    conn_kick(x->conn);
}

void http_read_body(struct http_exchange *x, size_t max,
                    void (*fn)(struct http_exchange *x, struct str body))
{
    uint64_t length = 0;
    if (x->aborted || x->body_mode != BODY_UNREAD)
        return;
    x->body_mode = BODY_WHOLE;
    x->body_max = max;
    x->body_whole = fn;
    struct str coding = http_header(&x->request, "content-encoding");
    if (str_ieq(coding, STR("gzip")) || str_ieq(coding, STR("x-gzip")))
        x->inflate = gzip_inflate_new();
    if (!x->inflate && str_to_u64(http_header(&x->request, "content-length"), &length) &&
        length > max)
        too_large(x); // before it is sent, if the client asked first
    look(x);
}

void http_stream_body(struct http_exchange *x,
                      void (*fn)(struct http_exchange *x, struct str part, bool last))
{
    if (x->aborted || x->body_mode != BODY_UNREAD)
        return;
    x->body_mode = BODY_STREAM;
    x->body_part = fn;
    look(x);
}

void http_pause_body(struct http_exchange *x, bool paused)
{
    x->body_paused = paused;
    look(x);
}

// --- answers

static bool has_header(const struct http_header *headers, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_ieq(headers[i].name, name))
            return true;
    return false;
}

static bool bodiless(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static bool try_gzip(struct http_exchange *x, int status, const struct http_header *headers,
                     size_t n, struct str body)
{
    if (body.n < GZIP_FROM || bodiless(status) ||
        !http_accepts_gzip(http_header(&x->request, "accept-encoding")) ||
        has_header(headers, n, STR("content-encoding")))
        return false;
    _cleanup_buf_ struct buf packed = BUF_INIT;
    if (!gzip_compress(body, &packed))
        return false;
    struct http_header *with = arena_array(&x->arena, struct http_header, n + 2);
    if (n)
        memcpy(with, headers, n * sizeof *with);
    with[n++] = (struct http_header){STR("content-encoding"), STR("gzip")};
    with[n++] = (struct http_header){STR("vary"), STR("Accept-Encoding")};
    x->status = (uint16_t)status;
    x->ops->head(x, status, with, n, (int64_t)packed.n);
    if (!x->head_only)
        x->ops->data(x, buf_view(&packed));
    return true;
}

struct blob *http_gzip(struct str body)
{
    _cleanup_buf_ struct buf packed = BUF_INIT;
    return gzip_compress(body, &packed) ? blob_new(buf_view(&packed)) : NULL;
}

static void respond(struct http_exchange *x, int status, const struct http_header *headers,
                    size_t nheaders, struct str body, struct blob *blob)
{
    if (!may_answer(x))
        return;
    if (!try_gzip(x, status, headers, nheaders, body)) {
        x->status = (uint16_t)status;
        x->ops->head(x, status, headers, nheaders, bodiless(status) ? 0 : (int64_t)body.n);
        if (body.n && !x->head_only && !bodiless(status)) {
            if (blob)
                x->ops->blob(x, blob);
            else
                x->ops->data(x, body);
        }
    }
    x->ops->end(x);
    x->response = RESPONSE_DONE;
    conn_kick(x->conn);
}

int http_status(const struct http_exchange *x)
{
    return x->status;
}

void http_respond(struct http_exchange *x, int status, const struct http_header *headers,
                  size_t nheaders, struct str body)
{
    respond(x, status, headers, nheaders, body, NULL);
}

void http_respond_blob(struct http_exchange *x, int status, const struct http_header *headers,
                       size_t nheaders, struct blob *body)
{
    respond(x, status, headers, nheaders, blob_view(body), body);
}

void exchange_refuse(struct http_exchange *x, int status, const char *why)
{
    static const struct http_header text[] = {
        {STR("content-type"), STR("text/plain; charset=utf-8")}, {STR("connection"), STR("close")}};
    struct str body = arena_printf(&x->arena, "%d %s: %s\n", status, http_status_text(status), why);
    http_respond(x, status, text, 2, body);
}

void http_start(struct http_exchange *x, int status, const struct http_header *headers,
                size_t nheaders)
{
    if (!may_answer(x))
        return;
    int64_t length = -1;
    for (size_t i = 0; i < nheaders; i++) {
        uint64_t given;
        if (str_ieq(headers[i].name, STR("content-length")) &&
            str_to_u64(headers[i].value, &given) && given <= INT64_MAX)
            length = (int64_t)given;
    }
    x->status = (uint16_t)status;
    x->ops->head(x, status, headers, nheaders, bodiless(status) ? 0 : length);
    x->response = RESPONSE_STREAM;
    if (bodiless(status))
        x->head_only = true;
    conn_kick(x->conn);
}

void http_send(struct http_exchange *x, struct str bytes)
{
    if (x->response != RESPONSE_STREAM || x->aborted || x->head_only || !bytes.n)
        return;
    x->ops->data(x, bytes);
    conn_kick(x->conn);
}

void http_send_blob(struct http_exchange *x, struct blob *bytes)
{
    if (x->response != RESPONSE_STREAM || x->aborted || x->head_only || !bytes->n)
        return;
    x->ops->blob(x, bytes);
    conn_kick(x->conn);
}

void http_finish(struct http_exchange *x)
{
    if (x->response != RESPONSE_STREAM || x->aborted)
        return;
    x->ops->end(x);
    x->response = RESPONSE_DONE;
    conn_kick(x->conn);
}

void http_abort(struct http_exchange *x)
{
    x->aborted = true;
    look(x);
}

void exchange_tick(struct http_exchange *x, uint64_t now)
{
    if (x->body_complete || x->body_mode == BODY_UNREAD || x->body_paused || x->aborted) {
        pace_rest(&x->in);
        return;
    }
    if (!pace_late(&x->in, now))
        return;
    if (x->response != RESPONSE_NONE) {
        http_abort(x);
        return;
    }
    pace_rest(&x->in); // the answer has its time too
    x->body_mode = BODY_DISCARD;
    buf_done(&x->body);
    exchange_refuse(x, 408, "the body of the request came too slowly");
}

void http_be_patient(struct http_exchange *x)
{
    x->conn->patient += !x->patient;
    x->patient = true;
}

size_t http_pending(struct http_exchange *x)
{
    return x->ops->pending(x);
}

void http_on_drain(struct http_exchange *x, size_t low, void (*fn)(struct http_exchange *x))
{
    x->conn->drains += (fn != NULL) - (x->drain != NULL);
    x->drain = fn;
    x->drain_low = low;
    conn_kick(x->conn);
}

bool exchange_drained(struct http_exchange *x)
{
    if (x->aborted)
        return false;
    if (x->drain && x->ops->pending(x) < x->drain_low) {
        void (*fn)(struct http_exchange * x) = x->drain;
        x->drain = NULL;
        x->conn->drains--;
        fn(x);
        return true;
    }
    if (x->stopping && !x->drain && x->response == RESPONSE_STREAM && !x->ops->pending(x)) {
        x->stopping = false;
        x->conn->drains--;
        http_finish(x);
        return true;
    }
    return false;
}
