// HTTP/2 from a peer that does not play by the rules, in frames made by hand; and the end of a
// server.
#include "fixture.h"
#include "fixture_h2.h"
#include <openssl/ssl.h>
#include <signal.h>
#include <time.h>

static struct test_server t;

struct peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf in;
};

static void peer_open(struct peer *p)
{
    static const unsigned char alpn[] = "\x02h2";
    *p = (struct peer){.fd = test_connect(t.port), .ctx = SSL_CTX_new(TLS_client_method())};
    p->ssl = SSL_new(p->ctx);
    SSL_set_alpn_protos(p->ssl, alpn, 3);
    SSL_set_fd(p->ssl, p->fd);
    assert_int_equal(SSL_connect(p->ssl), 1);
}

static void peer_close(struct peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    close(p->fd);
    buf_done(&p->in);
}

static void peer_send(struct peer *p, struct buf *b)
{
    // The server may have closed: what it said tells. (OpenSSL's own BIO knows no MSG_NOSIGNAL.)
    sigset_t set, before;
    struct timespec none = {0};
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    SSL_write(p->ssl, b->p, (int)b->n);
    sigtimedwait(&set, NULL, &none);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    buf_reset(b);
}

// The next frame; false at the end. The payload lives until the next call.
static bool peer_frame(struct peer *p, uint8_t *type, uint32_t *stream, struct str *payload)
{
    static struct buf last;
    for (;;) {
        const uint8_t *h = (const uint8_t *)p->in.p;
        size_t n = p->in.n >= 9 ? (size_t)(h[0] << 16 | h[1] << 8 | h[2]) : 0;
        if (p->in.n >= 9 && p->in.n >= 9 + n) {
            *type = h[3];
            *stream = (uint32_t)(h[5] << 24 | h[6] << 16 | h[7] << 8 | h[8]);
            buf_reset(&last);
            buf_add(&last, h + 9, n);
            *payload = buf_view(&last);
            buf_drop(&p->in, 9 + n);
            if (!n)
                *payload = STR("");
            return true;
        }
        char chunk[16384];
        int got = SSL_read(p->ssl, chunk, sizeof chunk);
        if (got <= 0) {
            buf_done(&last);
            return false;
        }
        buf_add(&p->in, chunk, (size_t)got);
    }
}

static uint32_t be32(struct str s, size_t at)
{
    const uint8_t *p = (const uint8_t *)s.p + at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int setup(void **state)
{
    (void)state;
    t = (struct test_server){0};
    test_server_start(&t, TEST_TLS, 1, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_server_stop(&t, NS_PER_S);
    return 0;
}

// CVE-2023-44487: streams opened and reset as fast as they can be written.
static void rapid_reset(void **state)
{
    (void)state;
    struct peer p;
    struct buf b = BUF_INIT;
    uint8_t type;
    uint32_t stream, code = 0;
    struct str payload;
    peer_open(&p);
    preface(&b);
    for (uint32_t i = 0; i < 3000; i++) {
        get(&b, 2 * i + 1, "/never");
        frame(&b, RST_STREAM, 0, 2 * i + 1, STR("\0\0\0\x08"));
        if (i % 100 == 99)
            peer_send(&p, &b);
    }
    peer_send(&p, &b);
    while (peer_frame(&p, &type, &stream, &payload))
        if (type == GOAWAY)
            code = be32(payload, 4);
    assert_int_equal(code, 2); // INTERNAL_ERROR, as nghttp2 puts it
    assert_in_range(t.stats.handled, 1, 1500);
    test_until(t.stats.open == 0);
    peer_close(&p);
    buf_done(&b);
}

static void too_many_streams(void **state)
{
    (void)state;
    struct peer p;
    struct buf b = BUF_INIT;
    uint8_t type;
    uint32_t stream, limit = 0;
    int before = t.stats.handled;
    struct str payload;
    peer_open(&p);
    preface(&b);
    peer_send(&p, &b);
    while (!limit && peer_frame(&p, &type, &stream, &payload))
        for (size_t i = 0; type == SETTINGS && i + 6 <= payload.n; i += 6)
            if (payload.p[i] == 0 && payload.p[i + 1] == 3)
                limit = be32(payload, i + 2);
    assert_int_equal(limit, 250);
    frame(&b, SETTINGS, 1, 0, STR_NULL); // ACK: from now on the limit binds
    for (uint32_t i = 0; i < 251; i++)
        get(&b, 2 * i + 1, "/never");
    peer_send(&p, &b);
    // One too many is a connection error, once the limit has been acknowledged (RFC 9113 5.1.2).
    uint32_t code = 0;
    while (peer_frame(&p, &type, &stream, &payload))
        if (type == GOAWAY)
            code = be32(payload, 4);
    assert_int_equal(code, 1); // PROTOCOL_ERROR
    assert_int_equal(t.stats.handled - before, 250);
    peer_close(&p);
    test_until(t.stats.open == 0);
    buf_done(&b);
}

// A peer that opens no window: the answer waits in its exchange's queue, which stays short.
static void no_window(void **state)
{
    (void)state;
    struct peer p;
    struct buf b = BUF_INIT;
    uint8_t type;
    uint32_t stream;
    struct str payload;
    size_t got = 0;
    peer_open(&p);
    preface(&b);
    get(&b, 1, "/flood?n=64"); // 4 MB
    get(&b, 3, "/hello");
    peer_send(&p, &b);
    while (got < 65535 && peer_frame(&p, &type, &stream, &payload))
        if (type == DATA)
            got += payload.n;
    assert_int_equal(got, 65535); // the default window, to the byte
    // Window by window the rest comes.
    size_t rounds = 0;
    bool end = false;
    while (!end) {
        frame(&b, WINDOW_UPDATE, 0, 0, STR("\0\x10\0\0"));
        frame(&b, WINDOW_UPDATE, 0, 1, STR("\0\x10\0\0"));
        frame(&b, WINDOW_UPDATE, 0, 3, STR("\0\x10\0\0"));
        peer_send(&p, &b);
        rounds++;
        for (size_t before = got; got < 64u * 65536 + 6 && got - before < 1 << 20;) {
            assert_true(peer_frame(&p, &type, &stream, &payload));
            if (type == DATA)
                got += payload.n;
        }
        end = got >= 64u * 65536 + 6;
    }
    assert_int_equal(got, 64u * 65536 + 6);
    assert_in_range(rounds, 4, 6);
    peer_close(&p);
    test_until(t.stats.open == 0);
    buf_done(&b);
}

static void rubbish(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x01\x01\x01\x01"};
    for (size_t i = 0; i < 2; i++) {
        struct peer p;
        struct buf b = BUF_INIT;
        uint8_t type;
        uint32_t stream;
        struct str payload;
        peer_open(&p);
        buf_puts(&b, rows[i]);
        for (int k = 0; k < 100; k++)
            buf_char(&b, 'x');
        peer_send(&p, &b);
        while (peer_frame(&p, &type, &stream, &payload)) // it ends, one way or the other
            ;
        peer_close(&p);
        buf_done(&b);
    }
}

static void stop_with_streams(void **state)
{
    (void)state;
    struct peer p;
    struct buf b = BUF_INIT;
    uint8_t type;
    uint32_t stream;
    struct str payload;
    peer_open(&p);
    preface(&b);
    get(&b, 1, "/open");
    get(&b, 3, "/never");
    peer_send(&p, &b);
    bool open = false;
    while (!open && peer_frame(&p, &type, &stream, &payload))
        open = type == DATA && str_eq(payload, STR("open\n"));
    assert_true(open);
    test_server_stop(&t, NS_PER_S / 10);
    bool goaway = false, ended = false;
    while (peer_frame(&p, &type, &stream, &payload)) {
        goaway |= type == GOAWAY;
        ended |= type == DATA && stream == 1;
    }
    assert_true(goaway);
    assert_true(ended);
    peer_close(&p);
    buf_done(&b);
    setup(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rapid_reset),       cmocka_unit_test(too_many_streams),
        cmocka_unit_test(no_window),         cmocka_unit_test(rubbish),
        cmocka_unit_test(stop_with_streams),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
