// HTTP/1.1 over a real socket: framing, keep-alive, pipelining, refusals, slow and rude peers.
#include "fixture.h"

static struct test_server t;

static int setup(void **state)
{
    (void)state;
    test_server_start(&t, 0, 2, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_server_stop(&t, 5 * (uint64_t)NS_PER_S);
    return 0;
}

#define CLOSE "Host: h\r\nConnection: close\r\n\r\n"

static void simple_answers(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s = test_talk(&a, t.port, STR("GET /hello HTTP/1.1\r\n" CLOSE));
    assert_starts(s, "HTTP/1.1 200 OK\r\n");
    assert_contains(s, "\r\nContent-Type: text/plain\r\n");
    assert_contains(s, "\r\nContent-Length: 6\r\n");
    assert_contains(s, " GMT\r\n");
    assert_contains(s, "\r\nConnection: close\r\n\r\nhello\n");
    s = test_talk(&a, t.port, STR("HEAD /hello HTTP/1.1\r\n" CLOSE));
    assert_contains(s, "\r\nContent-Length: 6\r\n");
    assert_true(str_ends(s, STR("\r\n\r\n")));
    s = test_talk(&a, t.port, STR("GET /hello HTTP/1.0\r\n\r\n"));
    assert_contains(s, "Connection: close\r\n\r\nhello\n");
    s = test_talk(&a, t.port, STR("GET /stream?n=2 HTTP/1.1\r\n" CLOSE));
    assert_contains(s, "Transfer-Encoding: chunked\r\n");
    assert_contains(s, "\r\n\r\n7\r\nline 0\n\r\n7\r\nline 1\n\r\n0\r\n\r\n");
    s = test_talk(&a, t.port, STR("GET /stream?n=2 HTTP/1.0\r\n\r\n"));
    assert_true(str_ends(s, STR("\r\n\r\nline 0\nline 1\n")));
    s = test_talk(&a, t.port, STR("HEAD /stream?n=2 HTTP/1.1\r\n" CLOSE));
    assert_true(str_ends(s, STR("\r\n\r\n")));
    s = test_talk(&a, t.port, STR("GET /nothing HTTP/1.1\r\n" CLOSE));
    assert_starts(s, "HTTP/1.1 404 Not Found\r\n");
    s = test_talk(&a, t.port, STR("GET /abort HTTP/1.1\r\n" CLOSE));
    assert_int_equal(s.n, 0);
}

static void targets(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s =
        test_talk(&a, t.port, STR("GET /dum%70?a=%20b HTTP/1.1\r\nX-Y:  v w \r\n" CLOSE));
    assert_contains(s, "GET /dump|a=%20b|h\n");
    assert_contains(s, "x-y=v w\n");
    s = test_talk(&a, t.port, STR("GET http://other:80/dump HTTP/1.1\r\n" CLOSE));
    assert_contains(s, "GET /dump||other:80\n");
}

static void bodies(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s =
        test_talk(&a, t.port, STR("POST /echo HTTP/1.1\r\nContent-Length: 5\r\n" CLOSE "12345"));
    assert_true(str_ends(s, STR("\r\n\r\n12345")));
    s = test_talk(&a, t.port,
                  STR("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE
                      "3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"));
    assert_true(str_ends(s, STR("\r\n\r\nabc0123456789")));
    s = test_talk(&a, t.port, STR("POST /echo HTTP/1.1\r\n" CLOSE)); // none is an empty one
    assert_contains(s, "Content-Length: 0\r\n");
    s = test_talk(
        &a, t.port,
        STR("PUT /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "3\r\nabc\r\n0\r\n\r\n"));
    assert_true(str_ends(s, STR("\r\n\r\n3")));
    // A body that the handler did not want is skipped, and the next request found behind it.
    s = test_talk(&a, t.port,
                  STR("POST /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /"
                      "GET /nothing HTTP/1.1\r\n" CLOSE));
    assert_int_equal(test_occurrences(s, "HTTP/1.1 200 OK"), 1);
    assert_int_equal(test_occurrences(s, "HTTP/1.1 404 Not Found"), 1);
}

// The same bytes, cut in two at each position, and one by one, mean the same.
static void cut_anywhere(void **state)
{
    (void)state;
    struct str request = STR("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "5\r\nhello\r\n6;e=f\r\n world\r\n0\r\nT: u\r\n\r\n"
                             "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                             "GET /dump?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    for (size_t cut = 0; cut <= request.n; cut++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        int fd = test_connect(t.port);
        size_t step = cut ? cut : 1; // 0: one by one
        for (size_t at = 0; at < request.n; at += cut && at ? request.n : step) {
            size_t n = cut && at ? request.n - at : step;
            test_write(fd, str_sub(request, at, n));
            if (cut) // let the first part arrive alone
                sched_yield();
        }
        struct str s = test_read(&a, fd, NULL);
        close(fd);
        assert_int_equal(test_occurrences(s, "HTTP/1.1 200 OK\r\n"), 3);
        assert_contains(s, "\r\n\r\nhello worldHTTP/1.1");
        assert_contains(s, "\r\n\r\nabcHTTP/1.1");
        assert_contains(s, "GET /dump|x=1|h\n");
    }
}

static void pipelining(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 500; i++)
        buf_printf(&b, "GET /dump?i=%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
    buf_puts(&b, "GET /hello HTTP/1.1\r\n" CLOSE);
    struct str s = test_talk(&a, t.port, buf_view(&b));
    buf_done(&b);
    assert_int_equal(test_occurrences(s, "HTTP/1.1 200 OK\r\n"), 501);
    for (int i = 0; i < 500; i++) { // in order
        ptrdiff_t at = str_find(s, arena_printf(&a, "GET /dump|i=%d|", i));
        assert_true(at >= 0);
        s = str_from(s, (size_t)at);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status, *message;
    } rows[] = {
        {"GET /\r\n\r\n", "400 Bad Request", "malformed request line"},
        {"GET / HTTP/1.1\nHost: h\n\n", "400 Bad Request", "malformed request"},
        {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "malformed request line"},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 HTTP Version Not Supported",
         "unsupported protocol version"},
        {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "malformed request line"},
        {"GET x HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "malformed request target"},
        {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "invalid URL escape"},
        {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "invalid URL escape"},
        {"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request", "malformed request target"},
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "missing required Host header"},
        {"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", "400 Bad Request", "more than one Host"},
        {"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", "400 Bad Request", "malformed header field"},
        {"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "400 Bad Request",
         "malformed header field"},
        {"GET / HTTP/1.1\r\nHost: h\r\nA: b\x01\r\n\r\n", "400 Bad Request", "invalid character"},
        {"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", "400 Bad Request", "invalid character"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0",
         "400 Bad Request", "both Content-Length and Transfer-Encoding"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n0",
         "400 Bad Request", "invalid Content-Length"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n0",
         "400 Bad Request", "more than one Content-Length"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n0", "400 Bad Request",
         "invalid Content-Length"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n0",
         "400 Bad Request", "invalid Content-Length"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0",
         "501 Not Implemented", "unsupported Transfer-Encoding"},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0", "400 Bad Request",
         "Transfer-Encoding in HTTP/1.0"},
        {"POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n", "417 Expectation Failed",
         "unknown expectation"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
         "400 Bad Request", "malformed chunked body"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
         "400 Bad Request", "malformed chunked body"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n"
         "Connection: close\r\n\r\nabc",
         "400 Bad Request", "gzip: invalid request body"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        int fd = test_connect(t.port);
        test_write(fd, str_of(rows[i].request));
        shutdown(fd, SHUT_WR); // a lingering server need not wait for us
        struct str s = test_read(&a, fd, NULL);
        close(fd);
        assert_starts(s, arena_cstr(&a, arena_printf(&a, "HTTP/1.1 %s\r\n", rows[i].status)));
        assert_contains(s, rows[i].message);
        assert_contains(s, "Connection: close\r\n");
        assert_int_equal(test_occurrences(s, "HTTP/1.1"), 1);
    }
}

static void limits(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct buf b = BUF_INIT;
    buf_puts(&b, "GET /");
    for (int i = 0; i < 40000; i++)
        buf_char(&b, 'x');
    buf_puts(&b, " HTTP/1.1\r\n" CLOSE);
    assert_starts(test_talk(&a, t.port, buf_view(&b)), "HTTP/1.1 414 Request URI Too Long\r\n");
    buf_reset(&b);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 300; i++)
        buf_puts(&b, "a: b\r\n");
    buf_puts(&b, "\r\n");
    struct str s = test_talk(&a, t.port, buf_view(&b));
    assert_starts(s, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    assert_contains(s, "too many header fields");
    buf_reset(&b);
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: h\r\na: ");
    for (int i = 0; i < 200000; i++)
        buf_char(&b, 'x');
    s = test_talk(&a, t.port, buf_view(&b));
    assert_starts(s, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    buf_reset(&b);
    // A body past the handler's limit: known by its length, and found out on the way.
    buf_puts(&b, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\nabc");
    s = test_talk(&a, t.port, buf_view(&b));
    assert_starts(s, "HTTP/1.1 413 Request Entity Too Large\r\n");
    assert_contains(s, "Request entity too large: limit is 1048576");
    assert_contains(s, "Connection: close\r\n");
    buf_reset(&b);
    buf_puts(&b, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n");
    for (int i = 0; i < 0x200000; i++)
        buf_char(&b, 'y');
    buf_puts(&b, "\r\n0\r\n\r\n");
    s = test_talk(&a, t.port, buf_view(&b));
    assert_starts(s, "HTTP/1.1 413 Request Entity Too Large\r\n");
    buf_done(&b);
}

static void expect_continue(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int fd = test_connect(t.port);
    test_write(fd,
               STR("POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n" CLOSE));
    assert_starts(test_read(&a, fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    test_write(fd, STR("ok"));
    assert_true(str_ends(test_read(&a, fd, NULL), STR("\r\n\r\nok")));
    close(fd);
    // A body that is too large is never asked for.
    fd = test_connect(t.port);
    test_write(fd, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n"
                       "Expect: 100-continue\r\n\r\n"));
    assert_starts(test_read(&a, fd, "\r\n\r\n"), "HTTP/1.1 413 ");
    close(fd);
}

static void keep_alive_and_half_close(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int fd = test_connect(t.port);
    for (int i = 0; i < 3; i++) {
        test_write(fd, STR("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"));
        struct str s = test_read(&a, fd, "hello\n");
        assert_int_equal(test_occurrences(s, "Connection:"), 0);
    }
    test_write(fd, STR("\r\nGET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert_contains(test_read(&a, fd, "hello\n"), "Connection: keep-alive\r\n");
    test_write(fd, STR("GET /big?n=100000 HTTP/1.1\r\nHost: h\r\n\r\n"));
    shutdown(fd, SHUT_WR); // like nc at the end of its input: the answer still comes
    assert_true(test_read(&a, fd, NULL).n > 100000);
    close(fd);
}

static void streams_and_ends(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int before = t.stats.closed;
    int fd = test_connect(t.port);
    test_write(fd, STR("GET /open HTTP/1.1\r\nHost: h\r\n\r\n"));
    assert_contains(test_read(&a, fd, "open\n"), "\r\n\r\n5\r\nopen\n");
    assert_int_equal(t.stats.closed, before);
    close(fd); // a watcher goes: its owner is told without writing to it
    test_until(t.stats.closed == before + 1);
    // Back-pressure: 64 MB in pieces through a queue that stays short.
    struct str s = test_talk(&a, t.port, STR("GET /flood?n=500 HTTP/1.1\r\n" CLOSE));
    assert_true(str_ends(s, STR("0\r\n\r\n")));
    assert_true(s.n > 500u * 65536);
    // A peer that goes in the middle of it.
    fd = test_connect(t.port);
    test_write(fd, STR("GET /flood?n=100000 HTTP/1.1\r\n" CLOSE));
    test_read(&a, fd, "fffff");
    close(fd);
    // One that goes before there is an answer.
    fd = test_connect(t.port);
    test_write(fd, STR("GET /never HTTP/1.1\r\n" CLOSE));
    struct linger reset = {.l_onoff = 1};
    test_until(t.stats.open > 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    test_until(t.stats.open == 0);
}

static void gzip_both_ways(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s =
        test_talk(&a, t.port, STR("GET /big?n=400000 HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE));
    assert_contains(s, "Content-Encoding: gzip\r\n");
    assert_contains(s, "Vary: Accept-Encoding\r\n");
    assert_true(s.n < 50000);
    ptrdiff_t at = str_find(s, STR("\r\n\r\n"));
    struct str packed = str_from(s, (size_t)at + 4);
    // What it sent is what it takes: echoed, the inflated body comes back.
    struct buf b = BUF_INIT;
    buf_printf(&b, "POST /echo HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n" CLOSE,
               packed.n);
    buf_str(&b, packed);
    s = test_talk(&a, t.port, buf_view(&b));
    assert_contains(s, "Content-Length: 400000\r\n");
    assert_true(str_ends(s, str_sub(STR("abcdefghijklmnopqrstuvwxyz"), 0, 400000 % 26)));
    buf_done(&b);
    s = test_talk(&a, t.port,
                  STR("GET /big?n=400000 HTTP/1.1\r\nAccept-Encoding: gzip;q=0\r\n" CLOSE));
    assert_int_equal(test_occurrences(s, "Content-Encoding"), 0);
    s = test_talk(&a, t.port, STR("GET /big?n=1000 HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE));
    assert_int_equal(test_occurrences(s, "Content-Encoding"), 0);
}

static void addresses(void **state)
{
    (void)state;
    struct http_server_options opt = {0};
    struct http_handler h = {test_handle, test_closed, &t};
    struct http_server *s = NULL;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct str taken = arena_printf(&a, "127.0.0.1:%u", t.port);
    assert_int_equal(http_server_new(t.loops, 1, taken, &h, &opt, &s, &e), -409);
    assert_string_equal(e.message,
                        arena_cstr(&a, arena_printf(&a,
                                                    "port %u is in use: another program listens on "
                                                    "127.0.0.1:%u, choose another with --port",
                                                    t.port, t.port)));
    err_done(&e);
    assert_int_equal(http_server_new(t.loops, 1, STR("127.0.0.1"), &h, &opt, &s, &e), -422);
    assert_string_equal(e.message, "address 127.0.0.1: want HOST:PORT");
    err_done(&e);
    assert_int_equal(http_server_new(t.loops, 1, STR("somewhere:80"), &h, &opt, &s, &e), -422);
    assert_string_equal(e.message, "address somewhere:80: somewhere is not an IP address");
    err_done(&e);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_answers),
        cmocka_unit_test(targets),
        cmocka_unit_test(bodies),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(pipelining),
        cmocka_unit_test(refusals),
        cmocka_unit_test(limits),
        cmocka_unit_test(expect_continue),
        cmocka_unit_test(keep_alive_and_half_close),
        cmocka_unit_test(streams_and_ends),
        cmocka_unit_test(gzip_both_ways),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
