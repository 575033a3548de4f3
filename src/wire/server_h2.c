// HTTP/2 on a server's connection: nghttp2 does frames, HPACK, flow control and the state of
// streams; what is here joins its streams to exchanges.
//
// Output. Answers' bytes wait in each exchange's own queue, blobs shared, until flow control and
// the connection let them go: nghttp2 asks for the next DATA frame (read_body), says how its header
// looks (send_body), and the payload moves from the exchange's queue to the connection's by
// reference (NO_COPY). Frames are made only while the connection's queue is short (OUT_MAX), so a
// slow peer's bytes stay where http_pending counts them.
//
// Input. Window updates are given as the handler takes the body, never before: a handler that does
// not read holds its own stream back and nobody else's.
//
// Against abuse: at most STREAMS at a time; nghttp2's own limits on resets (CVE-2023-44487),
// CONTINUATION frames, settings and acknowledgements; header bytes and count (431); input stops
// while the output queue is long.
#include "base/time.h"
#include "wire/server_private.h"
#include <nghttp2/nghttp2.h>
#include <string.h>

enum {
    STREAMS = 250,
    OUT_MAX = 64 << 10,
    DISCARD_MAX = 4 << 20,
    STREAM_WINDOW = 256 << 10,
    CONN_WINDOW = 2 << 20
};
enum { RESETS = 500, RESETS_PER_SECOND = 50, FIELDS = 64, FIELD_OVERHEAD = 32 };

static struct http_exchange *of_stream(nghttp2_session *h2, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h2, id);
}

// --- output

static nghttp2_nv field(const char *name, size_t n, struct str value)
{
    return (nghttp2_nv){(uint8_t *)name, (uint8_t *)(value.p ? value.p : ""), n, value.n,
                        NGHTTP2_NV_FLAG_NONE};
}

// A request answered before it was whole. RFC 9113 8.1 allows to end the answer and reset the
// stream at once, but clients (curl 7.88) then lose the answer. So what still comes is thrown away,
// and the stream reset only after DISCARD_MAX of it. An answer below 400 is also held back until
// then, since such a client stops to read, window updates included, when it has the whole of it;
// from 400 on it stops to send instead.
static bool may_end(const struct http_exchange *x)
{
    return !x->hold || x->body_complete || x->discarded > DISCARD_MAX;
}

static ssize_t read_body(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    struct http_exchange *x = of_stream(h2, id);
    (void)buf, (void)source, (void)ctx;
    if (!x)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    bool end = x->out_end;
    if (end ? !may_end(x) : !x->out.n) {
        x->out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = x->out.n < length ? x->out.n : length;
    if (n)
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (end && n == x->out.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int send_body(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *ctx)
{
    struct http_conn *c = ctx;
    struct http_exchange *x = of_stream(h2, frame->hd.stream_id);
    (void)source;
    if (!x) // aborted since the frame was made
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (c->s.out.n >= OUT_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    outq_add(&c->s.out, framehd, 9);
    outq_move(&c->s.out, &x->out, length);
    c->queued -= length;
    holder_queued(x->holder, 0, length);
    pace_moved(&x->taken, length);
    return 0;
}

static void h2_head(struct http_exchange *x, int status, const struct http_header *headers,
                    size_t nheaders, int64_t length)
{
    char text[8], number[24];
    _cleanup_free_ nghttp2_nv *heap = NULL;
    nghttp2_nv local[FIELDS], *nv = local;
    size_t n = 0;
    if (nheaders + 3 > FIELDS)
        nv = heap = mem_alloc(sizeof *nv * (nheaders + 3));
    nv[n++] = field(":status", 7, str_n(text, (size_t)snprintf(text, sizeof text, "%03d", status)));
    for (size_t i = 0; i < nheaders; i++) {
        struct str name = headers[i].name;
        // Connection-specific fields do not exist in HTTP/2 (RFC 9113 8.2.2); the length is ours.
        if (!str_ieq(name, STR("connection")) && !str_ieq(name, STR("transfer-encoding")) &&
            !str_ieq(name, STR("keep-alive")) && !str_ieq(name, STR("upgrade")) &&
            !str_ieq(name, STR("content-length")) && !str_ieq(name, STR("date")))
            nv[n++] = field(name.p, name.n, headers[i].value);
    }
    nv[n++] = field("date", 4, str_n(server_date(x->conn->sl), 29));
    if (length >= 0 && status >= 200 && status != 204 && status != 304)
        nv[n++] = field(
            "content-length", 14,
            str_n(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)length)));
    nghttp2_data_provider provider = {.read_callback = read_body};
    x->hold = status < 400 && !x->body_complete;
    bool body = (length != 0 && !x->head_only) || !may_end(x);
    // nghttp2 copies the fields and makes the names lower case. Failing means out of memory or a
    // stream that is gone: the exchange ends.
    if (nghttp2_submit_response(x->conn->h2, x->stream_id, nv, n, body ? &provider : NULL) != 0)
        x->aborted = x->conn->look = true;
}

static void resume(struct http_exchange *x)
{
    if (!x->out_deferred)
        return;
    x->out_deferred = false;
    nghttp2_session_resume_data(x->conn->h2, x->stream_id);
}

static void queued(struct http_exchange *x, size_t n)
{
    x->conn->queued += n;
    holder_queued(x->holder, n, 0);
    resume(x);
}

static void h2_data(struct http_exchange *x, struct str bytes)
{
    outq_str(&x->out, bytes);
    queued(x, bytes.n);
}

static void h2_blob(struct http_exchange *x, struct blob *bytes)
{
    outq_blob(&x->out, bytes, 0, bytes->n);
    queued(x, bytes->n);
}

static void h2_end(struct http_exchange *x)
{
    x->out_end = true;
    if (!x->body_complete) {
        nghttp2_session_consume(x->conn->h2, x->stream_id, x->early.n);
        holder_body_less(x, x->early.n);
        buf_done(&x->early);
        x->body_mode = BODY_DISCARD;
        x->body_paused = false;
    }
    resume(x);
}

static size_t h2_pending(struct http_exchange *x)
{
    return x->out.n;
}

static const struct exchange_ops h2_ops = {
    .head = h2_head,
    .data = h2_data,
    .blob = h2_blob,
    .end = h2_end,
    .pending = h2_pending,
};

static void reset(struct http_exchange *x, uint32_t code)
{
    if (!x->reset)
        nghttp2_submit_rst_stream(x->conn->h2, NGHTTP2_FLAG_NONE, x->stream_id, code);
    x->reset = true;
}

// --- input

static void deliver(struct http_conn *c, struct http_exchange *x)
{
    if (x->body_mode == BODY_UNREAD || x->body_paused || x->aborted)
        return;
    if (x->early.n) {
        struct buf early = x->early; // the handler may pause in the middle: what is given is given
        x->early = BUF_INIT;
        holder_body_less(x, early.n);
        exchange_input(x, buf_view(&early));
        nghttp2_session_consume(c->h2, x->stream_id, early.n);
        buf_done(&early);
    }
    exchange_input_end(x);
}

static int begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct http_exchange *x = exchange_new(ctx, &h2_ops);
    x->stream_id = frame->hd.stream_id;
    x->request.http2 = true;
    ((struct http_conn *)ctx)->bodies++;
    nghttp2_session_set_stream_user_data(h2, frame->hd.stream_id, x);
    return 0;
}

static int header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t n,
                  const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    static const struct {
        struct str name;
        size_t at;
    } pseudo[] = {
        {STR(":method"), offsetof(struct http_request, method)},
        {STR(":path"), offsetof(struct http_request, target)},
        {STR(":authority"), offsetof(struct http_request, host)},
    };
    struct http_conn *c = ctx;
    struct http_exchange *x = of_stream(h2, frame->hd.stream_id);
    (void)flags;
    if (!x || frame->headers.cat != NGHTTP2_HCAT_REQUEST) // trailers are not used
        return 0;
    x->header_bytes += n + value_n + FIELD_OVERHEAD;
    struct http_request *r = &x->request;
    if (x->header_bytes > c->sl->server->max_header_bytes || r->nheaders >= HTTP_MAX_HEADERS) {
        x->too_big = true;
        return 0;
    }
    struct str copy = arena_str(&x->arena, str_n(value, value_n));
    if (n && name[0] == ':') {
        for (size_t i = 0; i < sizeof pseudo / sizeof *pseudo; i++)
            if (str_eq(str_n(name, n), pseudo[i].name))
                *(struct str *)((char *)r + pseudo[i].at) = copy;
        return 0;
    }
    if (r->nheaders == x->cap_headers) {
        size_t cap = x->cap_headers ? x->cap_headers * 2 : 16;
        r->headers = arena_grow(&x->arena, (void *)r->headers, x->cap_headers * sizeof *r->headers,
                                cap * sizeof *r->headers);
        x->cap_headers = cap;
    }
    struct http_header *h = (struct http_header *)&r->headers[r->nheaders++];
    *h = (struct http_header){arena_str(&x->arena, str_n(name, n)), copy};
    if (str_eqc(h->name, "host") && !r->host.n)
        r->host = copy;
    return 0;
}

static void dispatch(struct http_exchange *x)
{
    const char *why = "request header too large";
    int status = x->too_big ? 431 : 0;
    if (!status && x->request.target.n > HTTP_MAX_TARGET) {
        status = 414;
        why = "request target too long";
    }
    if (!status)
        status = http_split_target(&x->arena, &x->request, &why);
    if (status)
        exchange_refuse(x, status, why);
    else
        exchange_handle(x);
}

static int frame_received(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
    struct http_conn *c = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct http_exchange *x = of_stream(h2, frame->hd.stream_id);
    if (!x)
        return 0;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !x->body_complete) {
        x->body_complete = true;
        c->bodies--;
        resume(x);
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        dispatch(x);
    if (x->body_complete)
        deliver(c, x);
    return 0;
}

static int data_received(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *ctx)
{
    struct http_conn *c = ctx;
    struct http_exchange *x = of_stream(h2, id);
    (void)flags;
    if (x && !x->aborted && (x->body_mode == BODY_UNREAD || x->body_paused)) {
        if (holder_body(x, n))
            buf_add(&x->early, data, n);
        else
            http_abort(x);
        return 0;
    }
    if (x && !x->aborted) {
        pace_moved(&x->in, n);
        if (x->early.n)
            deliver(c, x);
        exchange_input(x, str_n(data, n));
    }
    nghttp2_session_consume(h2, id, n);
    if (x && x->out_end && (x->discarded += n) > DISCARD_MAX) {
        if (x->hold)
            resume(x);
        else
            reset(x, NGHTTP2_NO_ERROR);
    }
    return 0;
}

static int frame_sent(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
    (void)ctx;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct http_exchange *x = of_stream(h2, frame->hd.stream_id);
    if (x && !x->body_complete && x->discarded > DISCARD_MAX)
        reset(x, NGHTTP2_NO_ERROR);
    return 0;
}

// The stream and its exchange part: what the exchange holds goes at once, the stream when its reset
// has been sent, which a peer that reads nothing can put off.
static void detach(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    // Bytes that nobody will take must not shrink the connection's window for ever.
    if (x->early.n)
        nghttp2_session_consume_connection(c->h2, x->early.n);
    nghttp2_session_set_stream_user_data(c->h2, x->stream_id, NULL);
    c->bodies -= !x->body_complete;
    exchange_free(x);
}

static int stream_closed(nghttp2_session *h2, int32_t id, uint32_t code, void *ctx)
{
    struct http_exchange *x = of_stream(h2, id);
    (void)code, (void)ctx;
    if (x)
        detach(x);
    return 0;
}

void h2_start(struct http_conn *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    BUG_ON(nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&option));
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_body);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1); // less memory, and priorities are not used
    nghttp2_option_set_stream_reset_rate_limit(option, RESETS, RESETS_PER_SECOND);
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
    BUG_ON(nghttp2_session_server_new2(&c->h2, callbacks, c, option));
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)c->sl->server->max_header_bytes},
    };
    nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, 3);
    nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
}

void h2_input(struct http_conn *c, struct str input)
{
    if (nghttp2_session_mem_recv(c->h2, (const uint8_t *)input.p, input.n) < 0)
        conn_close(c);
}

bool h2_wants_input(const struct http_conn *c)
{
    // What nghttp2 itself has to say (acknowledgements, resets) is the peer's doing too.
    return !c->closing && c->s.out.n < 4 * OUT_MAX &&
           nghttp2_session_get_outbound_queue_size(c->h2) < 4 * STREAMS;
}

// --- turns

static void look_at_exchanges(struct http_conn *c)
{
    c->look = false;
    list_each_safe (&c->exchanges, n) {
        struct http_exchange *x = container_of(n, struct http_exchange, link);
        if (!x->aborted) {
            deliver(c, x);
        } else {
            reset(x, NGHTTP2_INTERNAL_ERROR);
            detach(x);
        }
    }
}

void h2_output(struct http_conn *c)
{
    for (;;) {
        if (c->look)
            look_at_exchanges(c);
        const uint8_t *p;
        ssize_t n = c->s.out.n < OUT_MAX ? nghttp2_session_mem_send(c->h2, &p) : 0;
        if (n < 0)
            conn_close(c);
        if (n <= 0)
            break;
        outq_add(&c->s.out, p, (size_t)n);
    }
    // Frames may wait for the queue (send_body), so "nothing more" counts only when it is empty.
    // The GOAWAY says why: with input unread, closing at once would destroy it on its way.
    if (!c->s.out.n && !nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2))
        c->closing = c->linger = true;
}

// The idle time runs from the end of the last exchange, whatever else (PING) the peer sends.
void h2_idle(struct http_conn *c)
{
    if (c->closing)
        return;
    if (!list_empty(&c->exchanges)) {
        c->idle_since = 0;
        conn_deadline(c, 0);
    } else if (c->idle_since != c->served + 1) {
        c->idle_since = c->served + 1;
        conn_deadline(c, c->sl->server->idle_ns / NS_PER_S);
    }
}

void h2_expired(struct http_conn *c)
{
    h2_stop(c);
    c->closing = true;
    conn_deadline(c, LINGER_SECONDS);
}

bool h2_ticks(const struct http_conn *c)
{
    return c->bodies || c->queued;
}

void h2_tick(struct http_conn *c, uint64_t now)
{
    list_each (&c->exchanges, n) {
        struct http_exchange *x = container_of(n, struct http_exchange, link);
        if (!x->handled && x->response == RESPONSE_NONE) {
            // A head in pieces: nothing else can come on this connection until it is whole.
            if (now - x->born >= HEAD_SECONDS * (uint64_t)NS_PER_S)
                conn_close(c);
            continue;
        }
        exchange_tick(x, now);
        if (!x->out.n || x->patient)
            pace_rest(&x->taken);
        else if (pace_late(&x->taken, now))
            http_abort(x);
    }
}

void h2_stop(struct http_conn *c)
{
    nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->h2),
                          NGHTTP2_NO_ERROR, NULL, 0);
}

void h2_done(struct http_conn *c)
{
    nghttp2_session_del(c->h2);
    c->h2 = NULL;
}
