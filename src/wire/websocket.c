// WebSocket on an upgraded connection, both sides.
//
//   OPEN --close sent--> CLOSING --peer's close, or 5 s--> gone
//     '----peer's close, answered-----------------------> gone
//
// Whoever has both sent and received a close frame closes the connection; waiting for the other's
// FIN would only matter for the port numbers. Pings are answered at once, ahead of nothing: frames
// leave in the order in which they were queued.
#include "wire/websocket.h"
#include "base/time.h"
#include "wire/http_client.h"
#include "wire/http_parse.h"
#include "wire/raw_private.h"
#include "wire/websocket_frame.h"
#include <openssl/evp.h>
#include <string.h>

enum { DEFAULT_MAX = 4 << 20, CLOSE_SECONDS = 5 };

struct websocket {
    struct http_raw *raw;
    struct websocket_handler h;
    struct ws_parser parser;
    bool client, close_sent, close_received, paused, parsing;
    uint16_t close_code;
    uint8_t reason_n;
    char reason[WS_CONTROL_MAX];
    struct buf rest; // came while paused
    struct loop_deferred deferred;
    struct loop_timer timer;
    void (*drain)(struct websocket *w);
};

// --- sending

static void send_frame(struct websocket *w, uint8_t opcode, struct str first, struct str payload)
{
    char header[WS_HEADER_MAX];
    uint8_t mask[4];
    if (w->close_sent)
        return;
    if (w->client)
        env_random(loop_env(http_raw_loop(w->raw)), mask, sizeof mask);
    size_t n = ws_header(header, opcode, first.n + payload.n, w->client ? mask : NULL);
    http_raw_send(w->raw, str_n(header, n));
    if (!w->client) {
        http_raw_send(w->raw, first);
        http_raw_send(w->raw, payload);
        return;
    }
    // A client's bytes are masked on the way, piece by piece.
    char piece[4096];
    struct str parts[] = {first, payload};
    size_t at = 0;
    for (int i = 0; i < 2; i++)
        for (struct str left = parts[i]; left.n;) {
            size_t take = left.n < sizeof piece ? left.n : sizeof piece;
            memcpy(piece, left.p, take);
            ws_mask(piece, take, mask, at);
            http_raw_send(w->raw, str_n(piece, take));
            at += take;
            left = str_from(left, take);
        }
}

void websocket_send(struct websocket *w, bool binary, struct str message)
{
    send_frame(w, binary ? WS_BINARY : WS_TEXT, STR_NULL, message);
}

void websocket_send_channel(struct websocket *w, uint8_t channel, struct str payload)
{
    send_frame(w, WS_BINARY, str_n(&channel, 1), payload);
}

static void send_close(struct websocket *w, uint16_t code, struct str reason)
{
    char payload[WS_CONTROL_MAX];
    size_t n = 0;
    if (w->close_sent)
        return;
    if (code) {
        payload[n++] = (char)(code >> 8);
        payload[n++] = (char)code;
        reason = str_sub(reason, 0, sizeof payload - n);
        while (reason.n && !ws_utf8(reason)) // cut in the middle of a character
            reason.n--;
        if (reason.n)
            memcpy(payload + n, reason.p, reason.n);
        n += reason.n;
    }
    send_frame(w, WS_CLOSE, STR_NULL, str_n(payload, n));
    w->close_sent = true;
}

void websocket_close(struct websocket *w, uint16_t code, struct str reason)
{
    if (w->close_sent)
        return;
    send_close(w, code, reason);
    if (w->paused)
        websocket_pause(w, false); // or the peer's answer is never seen
    loop_timer_in(http_raw_loop(w->raw), &w->timer, CLOSE_SECONDS * (uint64_t)NS_PER_S);
}

static void close_over(struct loop_timer *t)
{
    http_raw_abort(container_of(t, struct websocket, timer)->raw);
}

// --- receiving

static bool valid_close(struct str payload)
{
    if (!payload.n)
        return true;
    if (payload.n < 2 || !ws_utf8(str_from(payload, 2)))
        return false;
    int code = (uint8_t)payload.p[0] << 8 | (uint8_t)payload.p[1];
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static void fail(struct websocket *w, uint16_t code)
{
    static const struct {
        uint16_t code;
        struct str reason;
    } rows[] = {
        {1002, STR("protocol error")},
        {1007, STR("text is not UTF-8")},
        {1009, STR("message too big")},
    };
    struct str reason = STR_NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == code)
            reason = rows[i].reason;
    send_close(w, code, reason);
    w->close_received = true; // nothing more is read
    http_raw_close(w->raw);
}

static void peer_closed(struct websocket *w, struct str payload)
{
    if (!valid_close(payload)) {
        fail(w, 1002);
        return;
    }
    w->close_received = true;
    w->close_code = 1005; // a close without a code
    if (payload.n >= 2) {
        w->close_code = (uint16_t)((uint8_t)payload.p[0] << 8 | (uint8_t)payload.p[1]);
        w->reason_n = (uint8_t)(payload.n - 2);
        memcpy(w->reason, payload.p + 2, payload.n - 2);
    }
    send_close(w, payload.n ? w->close_code : 0, STR_NULL);
    http_raw_close(w->raw);
}

static void parse(struct websocket *w, struct str *in)
{
    while (!w->paused && !w->close_received) {
        uint8_t opcode;
        struct str payload;
        int code = ws_parse(&w->parser, in, &opcode, &payload);
        if (code == 0)
            return;
        if (code < 0)
            fail(w, (uint16_t)-code);
        else if (opcode == WS_CLOSE)
            peer_closed(w, payload);
        else if (opcode == WS_PING)
            send_frame(w, WS_PONG, STR_NULL, payload);
        else if (opcode != WS_PONG && !w->close_sent)
            w->h.on_message(w, opcode == WS_BINARY, payload.n ? payload : STR(""));
    }
}

static void data(struct http_raw *raw, struct str bytes)
{
    struct websocket *w = http_raw_ctx(raw);
    if (w->rest.n) { // paused with something kept: keep the order
        buf_str(&w->rest, bytes);
        return;
    }
    parse(w, &bytes);
    if (bytes.n && !w->close_received)
        buf_str(&w->rest, bytes);
}

static void go_on(struct loop_deferred *d)
{
    struct websocket *w = container_of(d, struct websocket, deferred);
    struct buf rest = w->rest;
    struct str in = buf_view(&rest);
    w->rest = BUF_INIT;
    parse(w, &in);
    if (in.n && !w->close_received)
        buf_str(&w->rest, in);
    buf_done(&rest);
    if (!w->rest.n)
        http_raw_pause(w->raw, w->paused);
}

void websocket_pause(struct websocket *w, bool paused)
{
    w->paused = paused;
    if (paused || !w->rest.n)
        http_raw_pause(w->raw, paused);
    if (!paused && w->rest.n)
        loop_defer(http_raw_loop(w->raw), &w->deferred);
}

static void closed(struct http_raw *raw)
{
    struct websocket *w = http_raw_ctx(raw);
    loop_timer_cancel(http_raw_loop(raw), &w->timer);
    loop_defer_cancel(&w->deferred);
    w->close_sent = true; // what on_close still sends goes nowhere
    if (w->h.on_close)
        w->h.on_close(w);
    ws_parser_done(&w->parser);
    buf_done(&w->rest);
    free(w);
}

// --- small ones

void *websocket_ctx(struct websocket *w)
{
    return w->h.ctx;
}

size_t websocket_pending(struct websocket *w)
{
    return http_raw_pending(w->raw);
}

static void drained(struct http_raw *raw)
{
    struct websocket *w = http_raw_ctx(raw);
    if (w->drain)
        w->drain(w);
}

void websocket_on_drain(struct websocket *w, size_t low, void (*fn)(struct websocket *w))
{
    w->drain = fn;
    http_raw_on_drain(w->raw, low, fn ? drained : NULL);
}

uint16_t websocket_close_code(const struct websocket *w, struct str *ret_reason)
{
    if (ret_reason)
        *ret_reason = str_n(w->reason, w->reason_n);
    return w->close_code;
}

static struct websocket *websocket_new(const struct websocket_handler *h, bool client)
{
    struct websocket *w = mem_zalloc(sizeof *w);
    w->h = *h;
    w->client = client;
    w->parser.from_client = !client;
    w->parser.max = h->max_message ? h->max_message : DEFAULT_MAX;
    w->deferred.fn = go_on;
    w->timer.fn = close_over;
    return w;
}

// base64(SHA-1(key + the RFC's GUID)); out has room for 29 bytes.
static void accept_key(struct str key, char out[29])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[128];
    int n = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", STR_ARG(key));
    BUG_ON(n < 0 || (size_t)n >= sizeof text);
    BUG_ON(EVP_Digest(text, (size_t)n, digest, NULL, EVP_sha1(), NULL) != 1);
    EVP_EncodeBlock((unsigned char *)out, digest, 20);
}

// --- server

bool websocket_requested(const struct http_request *r)
{
    return !r->http2 && http_has_token(http_header(r, "upgrade"), "websocket") &&
           http_has_token(http_header(r, "connection"), "upgrade");
}

static struct websocket *refuse(struct http_exchange *x, int status, struct str why)
{
    static const struct http_header headers[] = {
        {STR("content-type"), STR("text/plain; charset=utf-8")},
        {STR("sec-websocket-version"), STR("13")},
    };
    http_respond(x, status, headers, 2, why);
    return NULL;
}

// The client's first match in the server's order, STR_NULL where it offers none, or NULL in .p of
// *bad.
static struct str choose(const struct http_request *r, const struct str *protocols, size_t n,
                         bool *ret_bad)
{
    bool offered = false;
    for (size_t h = 0; h < r->nheaders; h++)
        offered |= str_eqc(r->headers[h].name, "sec-websocket-protocol");
    *ret_bad = false;
    for (size_t i = 0; i < n && offered; i++)
        for (size_t h = 0; h < r->nheaders; h++) {
            struct str rest = r->headers[h].value;
            if (!str_eqc(r->headers[h].name, "sec-websocket-protocol"))
                continue;
            while (rest.p)
                if (str_eq(str_trim(str_cut(&rest, ',')), protocols[i]))
                    return protocols[i];
        }
    *ret_bad = offered && n > 0;
    return STR_NULL;
}

struct websocket *websocket_accept(struct http_exchange *x, const struct str *protocols,
                                   size_t nprotocols, const struct websocket_handler *h,
                                   struct str *ret_protocol)
{
    const struct http_request *r = http_request(x);
    struct str key = http_header(r, "sec-websocket-key");
    char accept[29];
    bool bad;
    if (!websocket_requested(r) || !str_eq(r->method, STR("GET")))
        return refuse(x, 400, STR("websocket: the request is not an upgrade to websocket\n"));
    if (!str_eq(http_header(r, "sec-websocket-version"), STR("13")))
        return refuse(x, 426, STR("websocket: unsupported version, 13 is\n"));
    if (key.n != 24)
        return refuse(x, 400, STR("websocket: malformed Sec-WebSocket-Key\n"));
    struct str protocol = choose(r, protocols, nprotocols, &bad);
    if (bad)
        return refuse(x, 400, STR("websocket: none of the offered subprotocols is supported\n"));
    accept_key(key, accept);
    const struct http_header headers[] = {
        {STR("sec-websocket-accept"), str_n(accept, 28)},
        {STR("sec-websocket-protocol"), protocol},
    };
    struct websocket *w = websocket_new(h, false);
    const struct http_raw_handler raw = {data, closed, w};
    w->raw = http_upgrade_raw(x, STR("websocket"), headers, protocol.n ? 2 : 1, &raw);
    if (!w->raw) {
        free(w);
        return NULL;
    }
    if (ret_protocol)
        *ret_protocol = protocol;
    return w;
}

// --- client

struct opening {
    struct websocket *w;
    char accept[29];
    void (*on_open)(void *ctx, struct websocket *w, struct str protocol, const struct err *e);
};

static void closed_early(struct http_raw *raw)
{
    (void)raw;
}

static void opened(void *ctx, struct http_raw *raw, const struct http_header *headers,
                   size_t nheaders, const struct err *e)
{
    struct opening *o = ctx;
    struct websocket *w = o->w;
    const struct http_head head = {.headers = (struct http_header *)headers, .nheaders = nheaders};
    _cleanup_err_ struct err mine = ERR_INIT;
    if (raw && !str_eq(http_head_get(&head, "sec-websocket-accept"), str_n(o->accept, 28))) {
        err_set(&mine, ERR_UNAVAILABLE, "websocket: bad handshake: wrong Sec-WebSocket-Accept");
        raw->h.on_close = closed_early;
        raw->h.ctx = NULL;
        http_raw_abort(raw);
        e = &mine;
    }
    if (e) {
        o->on_open(w->h.ctx, NULL, STR_NULL, e);
        free(w);
    } else {
        raw->h.ctx = w;
        w->raw = raw;
        o->on_open(w->h.ctx, w, http_head_get(&head, "sec-websocket-protocol"), NULL);
    }
    free(o);
}

void websocket_connect(struct http_client *c, struct str url, const struct http_header *headers,
                       size_t nheaders, const struct str *protocols, size_t nprotocols,
                       const struct websocket_handler *h,
                       void (*on_open)(void *ctx, struct websocket *w, struct str protocol,
                                       const struct err *e))
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    unsigned char nonce[16];
    char key[25];
    env_random(loop_env(http_client_loop(c)), nonce, sizeof nonce);
    EVP_EncodeBlock((unsigned char *)key, nonce, sizeof nonce);
    if (str_starts(url, STR("ws://")) || str_starts(url, STR("wss://"))) // http, https
        url = arena_printf(&a, "http%.*s", STR_ARG(str_from(url, 2)));
    struct http_header *all = arena_array(&a, struct http_header, nheaders + 3);
    if (nheaders)
        memcpy(all, headers, nheaders * sizeof *all);
    all[nheaders++] = (struct http_header){STR("Sec-WebSocket-Version"), STR("13")};
    all[nheaders++] = (struct http_header){STR("Sec-WebSocket-Key"), str_n(key, 24)};
    if (nprotocols)
        all[nheaders++] = (struct http_header){STR("Sec-WebSocket-Protocol"),
                                               arena_join(&a, protocols, nprotocols, STR(", "))};
    struct opening *o = mem_zalloc(sizeof *o);
    o->w = websocket_new(h, true);
    o->on_open = on_open;
    accept_key(str_n(key, 24), o->accept);
    const struct http_call_request r = {
        .method = "GET", .url = url, .headers = all, .nheaders = nheaders};
    const struct http_raw_handler raw = {data, closed, o};
    http_client_upgrade(c, &r, STR("websocket"), &raw, opened);
}
