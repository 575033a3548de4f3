// WebSocket: frames in every cut, and both sides over real connections.
#include "fixture.h"
#include "wire/http_client.h"
#include "wire/raw.h"
#include "wire/websocket.h"
#include "wire/websocket_frame.h"

// --- frames

static void frame(struct buf *b, uint8_t first, struct str payload, bool masked)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    char header[WS_HEADER_MAX];
    size_t n = ws_header(header, 0, payload.n, masked ? mask : NULL);
    header[0] = (char)first;
    buf_add(b, header, n);
    size_t at = b->n;
    buf_str(b, payload);
    if (masked)
        ws_mask(b->p + at, payload.n, mask, 0);
}

static void transcript(struct buf *out, struct ws_parser *p, struct str in)
{
    for (;;) {
        uint8_t opcode;
        struct str payload;
        int code = ws_parse(p, &in, &opcode, &payload);
        if (code == 0)
            return;
        if (code < 0) {
            buf_printf(out, "%d;", code);
            return;
        }
        buf_printf(out, "%d:%.*s;", opcode, STR_ARG(payload));
    }
}

static void frames_in_every_cut(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    frame(&b, 0x81, STR("hello"), true);
    frame(&b, 0x01, STR("fra"), true); // fragments, with a ping between them
    frame(&b, 0x89, STR("ping"), true);
    frame(&b, 0x00, STR("gm"), true);
    frame(&b, 0x80, STR("ents"), true);
    frame(&b, 0x82, STR(""), true);
    struct buf big = BUF_INIT;
    for (int i = 0; i < 300; i++)
        buf_char(&big, (char)('a' + i % 26));
    frame(&b, 0x82, buf_view(&big), true);
    frame(&b, 0x88, STR("\x03\xe8"), true);
    struct buf want = BUF_INIT;
    buf_printf(&want, "1:hello;9:ping;1:fragments;2:;2:%.*s;8:\x03\xe8;", STR_ARG(buf_view(&big)));
    for (size_t cut = 0; cut < b.n; cut++) {
        struct ws_parser p = {.from_client = true, .max = 1000};
        struct buf out = BUF_INIT;
        if (cut) {
            transcript(&out, &p, str_sub(buf_view(&b), 0, cut));
            transcript(&out, &p, str_from(buf_view(&b), cut));
        } else {
            for (size_t i = 0; i < b.n; i++)
                transcript(&out, &p, str_sub(buf_view(&b), i, 1));
        }
        assert_string_equal(buf_cstr(&out), buf_cstr(&want));
        buf_done(&out);
        ws_parser_done(&p);
    }
    buf_done(&b);
    buf_done(&big);
    buf_done(&want);
}

static void broken_frames(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *want;
    } rows[] = {
        {"\x81\x01x", 3, "-1002;"},                 // not masked
        {"\xc1\x80....", 6, "-1002;"},              // reserved bit
        {"\x83\x80....", 6, "-1002;"},              // reserved opcode
        {"\x8b\x80....", 6, "-1002;"},              // reserved control opcode
        {"\x09\x80....", 6, "-1002;"},              // fragmented ping
        {"\x89\xfe\x00\x7e....", 8, "-1002;"},      // long ping
        {"\x80\x80....", 6, "-1002;"},              // nothing to continue
        {"\x01\x80....\x81\x80....", 12, "-1002;"}, // a message inside a message
        {"\x82\xff\x80\0\0\0\0\0\0\0....", 14, "-1002;"},
        {"\x82\xfe\x10\x00....", 8, "-1009;"},
        {"\x81\x82\0\0\0\0\xc0\x80", 8, "-1007;"},      // over-long NUL
        {"\x81\x83\0\0\0\0\xed\xa0\x80", 9, "-1007;"},  // a surrogate
        {"\x82\x82\0\0\0\0\xc0\x80", 8, "2:\xc0\x80;"}, // binary may hold anything
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ws_parser p = {.from_client = true, .max = 1000};
        struct buf out = BUF_INIT;
        transcript(&out, &p, str_n(rows[i].bytes, rows[i].n));
        assert_string_equal(buf_cstr(&out), rows[i].want);
        buf_done(&out);
        ws_parser_done(&p);
    }
    assert_true(ws_utf8(STR("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x9b\xb6")));
    assert_false(ws_utf8(STR("\xf4\x90\x80\x80")));
    assert_false(ws_utf8(STR("\xe2\x82")));
}

// --- a server that echoes

static struct test_server t;
static struct loop *loop;
static _Atomic(int) server_closed, server_code;

static void echo(struct websocket *w, bool binary, struct str message)
{
    if (str_eq(message, STR("bye"))) {
        websocket_close(w, 1000, STR("as you wish"));
        return;
    }
    if (str_eq(message, STR("hold"))) { // pause and go on: what came meanwhile is not lost
        websocket_pause(w, true);
        websocket_pause(w, false);
    }
    if (binary)
        websocket_send_channel(w, 7, message);
    else
        websocket_send(w, false, message);
}

static void echo_closed(struct websocket *w)
{
    server_code = websocket_close_code(w, NULL);
    server_closed++;
}

static void shout(struct http_raw *raw, struct str bytes)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < bytes.n; i++)
        buf_char(&b, bytes.p[i] >= 'a' && bytes.p[i] <= 'z' ? bytes.p[i] - 32 : bytes.p[i]);
    http_raw_send(raw, buf_view(&b));
    if (str_chr(bytes, '.') >= 0)
        http_raw_close(raw);
}

static void shouted(struct http_raw *raw)
{
    (void)raw;
    server_closed++;
}

static bool route(struct test_server *ts, struct http_exchange *x)
{
    static const struct str protocols[] = {STR("v5.x"), STR("v4.x")};
    static const struct websocket_handler h = {echo, echo_closed, NULL, 100000};
    static const struct http_raw_handler raw = {shout, shouted, NULL};
    struct str protocol;
    (void)ts;
    if (str_eq(http_request(x)->path, STR("/ws")))
        websocket_accept(x, protocols, 2, &h, &protocol);
    else if (str_eq(http_request(x)->path, STR("/raw")))
        http_upgrade_raw(x, STR("shout/1"), NULL, 0, &raw);
    else
        return false;
    return true;
}

static int setup(void **state)
{
    (void)state;
    t.route = route;
    test_server_start(&t, 0, 1, NULL);
    loop = loop_new(env_system());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    test_server_stop(&t, 5 * (uint64_t)NS_PER_S);
    return 0;
}

#define UPGRADE                                                                                    \
    "Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"                         \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static void by_hand(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int before = server_closed;
    int fd = test_connect(t.port);
    test_write(fd,
               STR("GET /ws HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Protocol: v4.x, v5.x\r\n\r\n"));
    struct str s = test_read(&a, fd, "\r\n\r\n");
    assert_starts(s, "HTTP/1.1 101 Switching Protocols\r\n");
    // The example of RFC 6455 1.3.
    assert_contains(s, "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    assert_contains(s, "Sec-Websocket-Protocol: v5.x\r\n");
    struct buf b = BUF_INIT;
    frame(&b, 0x81, STR("hi"), true);
    frame(&b, 0x89, STR("p"), true);
    frame(&b, 0x82, STR("bin"), true);
    frame(&b, 0x81, STR("hold"), true);
    frame(&b, 0x81, STR("after"), true);
    test_write(fd, buf_view(&b));
    s = test_read(&a, fd, "after");
    assert_memory_equal(s.p,
                        "\x81\x02hi\x8a\x01p\x82\x04\x07"
                        "bin\x81\x04hold\x81\x05"
                        "after",
                        27);
    buf_reset(&b);
    frame(&b, 0x88, STR("\x0b\xb8why"), true); // 3000
    test_write(fd, buf_view(&b));
    s = test_read(&a, fd, NULL);
    assert_int_equal(s.n, 4);
    assert_memory_equal(s.p, "\x88\x02\x0b\xb8", 4);
    close(fd);
    test_until(server_closed == before + 1);
    assert_int_equal(server_code, 3000);
    // A protocol error is answered with its code.
    fd = test_connect(t.port);
    test_write(fd, STR("GET /ws HTTP/1.1\r\n" UPGRADE "\r\n\x81\x01x"));
    s = test_read(&a, fd, NULL);
    assert_contains(s, "\x88\x10\x03\xeaprotocol error");
    assert_int_equal(test_occurrences(s, "Sec-Websocket-Protocol"), 0);
    close(fd);
    // One that is too large, too; and one that just goes.
    fd = test_connect(t.port);
    test_write(fd, STR("GET /ws HTTP/1.1\r\n" UPGRADE "\r\n\x82\xff\0\0\0\0\0\x0f\0\0...."));
    assert_contains(test_read(&a, fd, NULL), "\x88\x11\x03\xf1message too big");
    close(fd);
    fd = test_connect(t.port);
    test_write(fd, STR("GET /ws HTTP/1.1\r\n" UPGRADE "\r\n"));
    test_read(&a, fd, "\r\n\r\n");
    close(fd);
    test_until(server_closed == before + 4);
    assert_int_equal(server_code, 0);
    buf_done(&b);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status, *message;
    } rows[] = {
        {"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "400 Bad Request",
         "websocket: the request is not an upgrade to websocket"},
        {"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 8\r\n\r\n",
         "426 Upgrade Required", "websocket: unsupported version, 13 is"},
        {"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n",
         "400 Bad Request", "websocket: malformed Sec-WebSocket-Key"},
        {"GET /ws HTTP/1.1\r\n" UPGRADE "Connection: close\r\nSec-WebSocket-Protocol: v1\r\n\r\n",
         "400 Bad Request", "websocket: none of the offered subprotocols is supported"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct str s = test_talk(&a, t.port, str_of(rows[i].request));
        assert_contains(s, rows[i].status);
        assert_contains(s, rows[i].message);
    }
}

static void raw_upgrade(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int before = server_closed;
    struct str s = test_talk(&a, t.port,
                             STR("GET /raw HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                                 "Upgrade: shout/1\r\n\r\nearly bytes."));
    assert_contains(s, "Connection: Upgrade\r\nUpgrade: shout/1\r\n\r\nEARLY BYTES.");
    test_until(server_closed == before + 1);
}

// --- our client against it

struct session {
    struct websocket *w;
    struct buf got;
    int opens, closes;
    uint16_t code;
    char protocol[16], error[256], reason[64];
    enum err_reason why;
};

static void client_message(struct websocket *w, bool binary, struct str message)
{
    struct session *s = websocket_ctx(w);
    buf_printf(&s->got, "%s:", binary ? "b" : "t");
    if (message.n > 1000)
        buf_printf(&s->got, "%zu;", message.n);
    else
        buf_printf(&s->got, "%.*s;", STR_ARG(message));
    if (str_eq(message, STR("last")))
        websocket_send(w, false, STR("bye"));
}

static void client_closed(struct websocket *w)
{
    struct session *s = websocket_ctx(w);
    struct str reason;
    s->code = websocket_close_code(w, &reason);
    snprintf(s->reason, sizeof s->reason, "%.*s", STR_ARG(reason));
    s->closes++;
    loop_stop(loop);
}

static void client_open(void *ctx, struct websocket *w, struct str protocol, const struct err *e)
{
    struct session *s = ctx;
    s->w = w;
    s->opens++;
    if (e) {
        s->why = e->reason;
        snprintf(s->error, sizeof s->error, "%s", e->message);
        loop_stop(loop);
        return;
    }
    snprintf(s->protocol, sizeof s->protocol, "%.*s", STR_ARG(protocol));
    _cleanup_free_ char *big = mem_zalloc(70000);
    websocket_send(w, false, STR("one"));
    websocket_send_channel(w, 'c', STR("two"));
    websocket_send(w, true, str_n(big, 70000));
    websocket_send(w, false, STR("last"));
}

static void our_client(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_client *c = http_client_new(loop, NULL);
    struct session s = {0};
    const struct websocket_handler h = {client_message, client_closed, &s, 0};
    const struct str protocols[] = {STR("v9.x"), STR("v4.x")};
    websocket_connect(c, arena_printf(&a, "ws://127.0.0.1:%u/ws", t.port), NULL, 0, protocols, 2,
                      &h, client_open);
    loop_run(loop);
    assert_int_equal(s.opens, 1);
    assert_string_equal(s.error, "");
    assert_string_equal(s.protocol, "v4.x");
    assert_string_equal(buf_cstr(&s.got), "t:one;b:\7ctwo;b:70001;t:last;");
    assert_int_equal(s.closes, 1);
    assert_int_equal(s.code, 1000);
    assert_string_equal(s.reason, "as you wish");
    buf_done(&s.got);
    s = (struct session){0};
    websocket_connect(c, arena_printf(&a, "http://127.0.0.1:%u/nothing", t.port), NULL, 0, NULL, 0,
                      &h, client_open);
    loop_run(loop);
    assert_null(s.w);
    assert_int_equal(s.why, ERR_NOT_FOUND);
    assert_string_equal(s.error, "unable to upgrade connection: 404 Not Found: not found");
    s = (struct session){0};
    websocket_connect(c, STR("ws://127.0.0.1:1/"), NULL, 0, NULL, 0, &h, client_open);
    loop_run(loop);
    assert_string_equal(s.error, "dial tcp 127.0.0.1:1: connect: connection refused");
    // Closing the client closes its connections.
    s = (struct session){0};
    websocket_connect(c, arena_printf(&a, "ws://127.0.0.1:%u/ws", t.port), NULL, 0, NULL, 0, &h,
                      client_open);
    for (int i = 0; i < 20000 && s.got.n == 0; i++) {
        loop_run_until_idle(loop, 0);
        poll(NULL, 0, 1);
    }
    assert_non_null(s.w);
    int closes = s.closes;
    http_client_free(c);
    assert_int_equal(s.closes, 1);
    (void)closes;
    buf_done(&s.got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_in_every_cut),
        cmocka_unit_test(broken_frames),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(refused),
        cmocka_unit_test(raw_upgrade),
        cmocka_unit_test(our_client),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
