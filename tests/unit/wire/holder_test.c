// What a caller can hold, and for how long: limits for each caller and deadlines at each stage, on
// virtual time, for both protocols.
#include "base/map.h"
#include "fixture_h2.h"
#include "fixture_sim.h"
#include "wire/holder.h"
#include "wire/pace.h"
#include <fcntl.h>
#include <openssl/ssl.h>

// --- the pace itself

static void pace(void **state)
{
    (void)state;
    struct pace p = {0};
    uint64_t now = 1000 * (uint64_t)NS_PER_S;
    unsigned second = 0;
    // Silence: the grace, from the first look on.
    for (; !pace_late(&p, now + second * NS_PER_S); second++)
        assert_in_range(second, 0, 60);
    assert_int_equal(second, PACE_GRACE_SECONDS);
    // A byte now and then gains nothing.
    p = (struct pace){0};
    for (second = 0; !pace_late(&p, now + second * NS_PER_S); second++) {
        pace_moved(&p, second % 15 == 0);
        assert_in_range(second, 0, 60);
    }
    assert_int_equal(second, PACE_GRACE_SECONDS);
    // At the pace it may go on for ever.
    p = (struct pace){0};
    for (second = 0; second < 10000; second++) {
        pace_moved(&p, PACE_BYTES);
        assert_false(pace_late(&p, now + second * NS_PER_S));
    }
    // A burst buys the grace again, not more.
    pace_moved(&p, 100 << 20);
    assert_false(pace_late(&p, now += second * (uint64_t)NS_PER_S));
    for (second = 1; !pace_late(&p, now + second * NS_PER_S); second++)
        assert_in_range(second, 0, 60);
    assert_int_equal(second, PACE_GRACE_SECONDS);
    // And resting stops the clock.
    pace_rest(&p);
    assert_false(pace_late(&p, now + 900 * (uint64_t)NS_PER_S));
}

// --- a peer over HTTP/2, in the same thread as the server

static struct sim s;
static struct test_cert ca, cert;
static struct tls_server *tls;

struct h2_peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf in;
    bool ended;
};

static void turn(void)
{
    loop_run_until_idle(s.loop, 0);
    loop_run_until_idle(s.loop, 0);
}

static void h2_open(struct h2_peer *p)
{
    static const unsigned char alpn[] = "\x02h2";
    *p = (struct h2_peer){.fd = test_connect(s.port), .ctx = SSL_CTX_new(TLS_client_method())};
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    p->ssl = SSL_new(p->ctx);
    SSL_set_alpn_protos(p->ssl, alpn, 3);
    SSL_set_fd(p->ssl, p->fd);
    for (int i = 0; SSL_connect(p->ssl) != 1; i++) {
        assert_in_range(i, 0, 20);
        turn();
    }
}

static void h2_send(struct h2_peer *p, struct buf *b)
{
    assert_int_equal(SSL_write(p->ssl, b->p, (int)b->n), b->n);
    buf_reset(b);
    turn();
}

static void h2_read(struct h2_peer *p)
{
    char chunk[16384];
    int n;
    while ((n = SSL_read(p->ssl, chunk, sizeof chunk)) > 0)
        buf_add(&p->in, chunk, (size_t)n);
    p->ended = SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_READ;
}

// How many frames of the type have come, on the stream (0: any).
static unsigned h2_frames(struct h2_peer *p, uint8_t type, uint32_t stream)
{
    unsigned count = 0;
    h2_read(p);
    for (size_t at = 0; at + 9 <= p->in.n;) {
        const uint8_t *h = (const uint8_t *)p->in.p + at;
        count += h[3] == type && (!stream || stream == (uint32_t)(h[7] << 8 | h[8]));
        at += 9 + (size_t)(h[0] << 16 | h[1] << 8 | h[2]);
    }
    return count;
}

static void h2_close(struct h2_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    close(p->fd);
    buf_done(&p->in);
    turn();
}

// Opens with windows of nothing: no byte of an answer can leave.
static void shut_windows(struct buf *b)
{
    buf_puts(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(b, SETTINGS, 0, 0, str_n("\0\4\0\0\0\0", 6));
}

static void start(const struct http_server_options *given)
{
    struct http_server_options opt = given ? *given : (struct http_server_options){0};
    opt.tls = tls;
    sim_start(&s, &opt);
}

static int setup(void **state)
{
    (void)state;
    ca = test_cert_new("test-ca", NULL, NULL, NULL);
    cert = test_cert_new("server", NULL, "IP:127.0.0.1", &ca);
    return tls_server_new(cert.cert_pem, cert.key_pem, STR_NULL, &tls, NULL);
}

static int teardown(void **state)
{
    (void)state;
    tls_server_free(tls);
    test_cert_free(&ca);
    test_cert_free(&cert);
    return 0;
}

// --- time

// An answer that is not read: the exchange is cut within the grace, and with it what it holds.
static void h2_answer_not_read(void **state)
{
    (void)state;
    struct h2_peer p;
    struct buf b = BUF_INIT;
    start(NULL);
    h2_open(&p);
    shut_windows(&b);
    for (uint32_t i = 0; i < 10; i++)
        get(&b, 2 * i + 1, "/hello");
    h2_send(&p, &b);
    assert_int_equal(s.t.stats.open, 10);
    seconds(&s, PACE_GRACE_SECONDS - 1);
    assert_int_equal(s.t.stats.open, 10);
    seconds(&s, 4);
    assert_int_equal(s.t.stats.open, 0);
    assert_int_equal(h2_frames(&p, RST_STREAM, 0), 10);
    // The connection is as good as before.
    frame(&b, SETTINGS, 0, 0, str_n("\0\4\0\1\0\0", 6));
    get(&b, 101, "/hello");
    h2_send(&p, &b);
    assert_int_equal(h2_frames(&p, DATA, 101), 1);
    h2_close(&p);
    buf_done(&b);
    sim_end(&s);
}

// The same by a window update of a byte now and then.
static void h2_answer_read_slowly(void **state)
{
    (void)state;
    struct h2_peer p;
    struct buf b = BUF_INIT;
    int second = 0;
    start(NULL);
    h2_open(&p);
    shut_windows(&b);
    get(&b, 1, "/big?n=100000");
    h2_send(&p, &b);
    for (; second < 100 && s.t.stats.open; second++) {
        frame(&b, WINDOW_UPDATE, 0, 1, str_n("\0\0\0\1", 4));
        h2_send(&p, &b);
        seconds(&s, 1);
    }
    assert_in_range(second, PACE_GRACE_SECONDS - 1, PACE_GRACE_SECONDS + 4);
    h2_close(&p);
    buf_done(&b);
    sim_end(&s);
}

static bool patient_route(struct test_server *t, struct http_exchange *x)
{
    (void)t;
    if (str_eq(http_request(x)->path, STR("/patient")))
        http_be_patient(x);
    return false;
}

// Who pages through a log may take their time.
static void patience(void **state)
{
    (void)state;
    struct h2_peer p;
    struct buf b = BUF_INIT;
    start(NULL);
    s.t.route = patient_route;
    h2_open(&p);
    shut_windows(&b);
    get(&b, 1, "/patient"); // falls through to the fixture's 404
    get(&b, 3, "/hello");
    h2_send(&p, &b);
    assert_int_equal(s.t.stats.open, 2);
    seconds(&s, 600);
    assert_int_equal(s.t.stats.open, 1);
    h2_close(&p);
    buf_done(&b);
    sim_end(&s);
}

// Bodies that stop, or trickle: 408, then the end.
static void h2_body_too_slow(void **state)
{
    (void)state;
    struct h2_peer p;
    struct buf b = BUF_INIT;
    int second = 0;
    start(NULL);
    h2_open(&p);
    preface(&b);
    for (uint32_t stream = 1; stream < 5; stream += 2) { // POST /echo, no END_STREAM
        frame(&b, HEADERS, 4, stream, STR("\x83\x87\x41\x01h\x04\x05/echo"));
        frame(&b, DATA, 0, stream, STR("abc"));
    }
    h2_send(&p, &b);
    assert_int_equal(s.t.stats.open, 2);
    for (; second < 100 && h2_frames(&p, HEADERS, 1) == 0; second++) {
        if (second % 15 == 0)
            frame(&b, DATA, 0, 1, STR("x"));
        frame(&b, 6, 0, 0, STR("pingpong")); // PING is no progress
        h2_send(&p, &b);
        seconds(&s, 1);
    }
    assert_in_range(second, PACE_GRACE_SECONDS - 1, PACE_GRACE_SECONDS + 3);
    assert_int_equal(h2_frames(&p, HEADERS, 3), 1);
    seconds(&s, PACE_GRACE_SECONDS + 3);
    assert_int_equal(s.t.stats.open, 0);
    h2_close(&p);
    buf_done(&b);
    sim_end(&s);
}

static void h1_body_too_slow(void **state)
{
    (void)state;
    struct http_server_options opt = {0};
    char got[1024] = "", more[64];
    int second = 0;
    sim_start(&s, &opt);
    int fd = test_connect(s.port);
    test_write(fd, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"));
    turn();
    for (; second < 100 && alive(fd, got, sizeof got) && !got[0]; second++) {
        if (second % 15 == 0)
            test_write(fd, STR("x"));
        seconds(&s, 1);
    }
    assert_in_range(second, PACE_GRACE_SECONDS - 1, PACE_GRACE_SECONDS + 3);
    assert_contains(str_of(got), "408 Request Timeout");
    seconds(&s, 5);
    assert_false(alive(fd, more, sizeof more));
    // At the pace, a body of any length comes in.
    int slow = test_connect(s.port);
    test_write(slow, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 204800\r\n\r\n"));
    char block[2048];
    memset(block, 'y', sizeof block);
    for (int i = 0; i < 100; i++) {
        assert_true(alive(slow, more, sizeof more));
        test_write(slow, str_n(block, sizeof block));
        seconds(&s, 1);
    }
    alive(slow, got, sizeof got);
    assert_contains(str_of(got), "200 OK");
    close(fd);
    close(slow);
    sim_end(&s);
}

// An answer larger than the kernel's buffers, not read: the connection is cut.
static void h1_answer_not_read(void **state)
{
    (void)state;
    struct http_server_options opt = {0};
    sim_start(&s, &opt);
    int fd = test_connect(s.port);
    test_write(fd, STR("GET /flood?n=1000 HTTP/1.1\r\nHost: h\r\n\r\n")); // 64 MB
    turn();
    assert_int_equal(s.t.stats.open, 1);
    seconds(&s, PACE_GRACE_SECONDS - 1);
    assert_int_equal(s.t.stats.open, 1);
    seconds(&s, 4);
    assert_int_equal(s.t.stats.open, 0);
    close(fd);
    sim_end(&s);
}

// HTTP/2 without a request does not live on PINGs; nor does a head that never ends.
static void h2_idle(void **state)
{
    (void)state;
    struct h2_peer pings, head;
    struct buf b = BUF_INIT;
    struct http_server_options opt = {.idle_seconds = 60};
    start(&opt);
    h2_open(&pings);
    h2_open(&head);
    preface(&b);
    h2_send(&pings, &b);
    preface(&b);
    frame(&b, HEADERS, 1, 1, STR("\x82\x87\x84")); // END_STREAM, not END_HEADERS
    h2_send(&head, &b);
    for (int second = 0; second < 40; second++) {
        frame(&b, 6, 0, 0, STR("pingpong"));
        h2_send(&pings, &b);
        seconds(&s, 1);
    }
    h2_read(&head);
    assert_true(head.ended);
    h2_read(&pings);
    assert_false(pings.ended);
    seconds(&s, 25);
    h2_read(&pings);
    assert_true(pings.ended);
    h2_close(&pings);
    h2_close(&head);
    buf_done(&b);
    sim_end(&s);
}

// --- how much

// A stranger's streams that wait for their peer make way for the newest, which is answered.
static void strangers_displace_themselves(void **state)
{
    (void)state;
    enum { STREAMS = 240, CONNS = 6 };
    struct h2_peer p[CONNS];
    struct buf b = BUF_INIT;
    struct http_server_options opt = {0};
    start(&opt);
    for (int i = 0; i < CONNS; i++) {
        h2_open(&p[i]);
        shut_windows(&b);
        for (uint32_t n = 0; n < STREAMS; n++)
            get(&b, 2 * n + 1, "/hello");
        h2_send(&p[i], &b);
    }
    assert_int_equal(s.t.stats.handled, STREAMS * CONNS);
    assert_int_equal(s.t.stats.open, 1024);
    // Who comes from the same address with an honest request is answered.
    struct h2_peer honest;
    h2_open(&honest);
    preface(&b);
    get(&b, 1, "/hello");
    h2_send(&honest, &b);
    assert_int_equal(h2_frames(&honest, DATA, 1), 1);
    // After a moment, newcomers displace two for one, so to speak: the crowd shrinks.
    seconds(&s, 3);
    for (uint32_t n = 0; n < 100; n++)
        get(&b, 2 * n + 3, "/hello");
    h2_send(&honest, &b);
    assert_in_range(s.t.stats.open, 1, 1024 - 100);
    for (int i = 0; i < CONNS; i++)
        h2_close(&p[i]);
    h2_close(&honest);
    buf_done(&b);
    sim_end(&s);
}

// What waits for the server is not displaced; when nothing else is there, newcomers are told to
// come later.
static void crowded(void **state)
{
    (void)state;
    enum { CONNS = 6 };
    struct h2_peer p[CONNS];
    struct buf b = BUF_INIT;
    start(NULL);
    for (int i = 0; i < CONNS; i++) {
        h2_open(&p[i]);
        preface(&b);
        for (uint32_t n = 0; n < 200; n++)
            get(&b, 2 * n + 1, "/never");
        h2_send(&p[i], &b);
    }
    assert_int_equal(s.t.stats.open, 1024);
    assert_int_equal(h2_frames(&p[0], HEADERS, 0), 0);
    assert_int_equal(h2_frames(&p[CONNS - 1], HEADERS, 0), 1200 - 1024); // 429
    for (int i = 0; i < CONNS; i++)
        h2_close(&p[i]);
    buf_done(&b);
    sim_end(&s);
}

static bool vouching_route(struct test_server *t, struct http_exchange *x)
{
    (void)t;
    struct str user = http_header(http_request(x), "user");
    if (user.n)
        http_vouch(x, user, str_eqc(user, "root") ? HTTP_TRUSTED : HTTP_USER);
    return false;
}

// Connections: the oldest idle stranger makes way, a caller who is known does not.
static void connections(void **state)
{
    (void)state;
    enum { CROWD = 600 };
    static int fds[CROWD];
    char got[512];
    struct http_server_options opt = {0};
    sim_start(&s, &opt);
    s.t.route = vouching_route;
    int known = test_connect(s.port);
    test_write(known, STR("GET /hello HTTP/1.1\r\nHost: h\r\nUser: ann\r\n\r\n"));
    turn();
    assert_true(alive(known, got, sizeof got));
    for (int i = 0; i < CROWD; i++) {
        fds[i] = test_connect(s.port);
        if (i % 10 == 0)
            turn();
    }
    turn();
    int held = 0;
    for (int i = 0; i < CROWD; i++)
        held += alive(fds[i], got, sizeof got);
    assert_int_equal(held, 512);
    assert_false(alive(fds[0], got, sizeof got));
    assert_true(alive(fds[CROWD - 1], got, sizeof got));
    assert_true(alive(known, got, sizeof got));
    test_write(known, STR("GET /hello HTTP/1.1\r\nHost: h\r\nUser: ann\r\n\r\n"));
    turn();
    assert_true(alive(known, got, sizeof got));
    assert_contains(str_of(got), "200 OK");
    for (int i = 0; i < CROWD; i++)
        close(fds[i]);
    close(known);
    sim_end(&s);
}

// Body bytes: each user has a share, and there is some left for the others.
static void bodies(void **state)
{
    (void)state;
    enum { PEERS = 72 };
    static char block[1 << 20];
    char got[1024];
    int fds[PEERS], refused = 0;
    struct http_server_options opt = {0};
    sim_start(&s, &opt);
    s.t.route = vouching_route;
    memset(block, 'b', sizeof block);
    for (int i = 0; i < PEERS; i++) {
        fds[i] = test_connect(s.port);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        struct str head = STR("POST /echo HTTP/1.1\r\nHost: h\r\nUser: ann\r\n"
                              "Content-Length: 1048576\r\n\r\n");
        assert_int_equal(send(fds[i], head.p, head.n, 0), head.n);
        for (size_t at = 0; at + 1 < sizeof block;) { // all but the last byte
            ssize_t n = send(fds[i], block + at, sizeof block - 1 - at, MSG_NOSIGNAL);
            if (n > 0)
                at += (size_t)n;
            else if (errno != EAGAIN)
                break;
            turn();
        }
        got[0] = 0;
        refused += !alive(fds[i], got, sizeof got) || got[0];
        if (got[0])
            assert_contains(str_of(got), "429 Too Many Requests");
    }
    assert_int_equal(refused, PEERS - 64);
    // Another user still has a share.
    int other = test_connect(s.port);
    test_write(other,
               STR("POST /echo HTTP/1.1\r\nHost: h\r\nUser: bob\r\nContent-Length: 2\r\n\r\nok"));
    turn();
    assert_true(alive(other, got, sizeof got));
    assert_contains(str_of(got), "200 OK");
    close(other);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
    sim_end(&s);
}

// Queued bytes: past the share the oldest stream goes.
static void queued(void **state)
{
    (void)state;
    struct h2_peer p;
    struct buf b = BUF_INIT;
    start(NULL);
    h2_open(&p);
    shut_windows(&b);
    for (uint32_t i = 0; i < 40; i++)
        get(&b, 2 * i + 1, "/big?n=1000000");
    h2_send(&p, &b);
    assert_int_equal(s.t.stats.handled, 40);
    assert_int_equal(s.t.stats.open, 33); // 32 MB
    assert_int_equal(h2_frames(&p, RST_STREAM, 1), 1);
    assert_int_equal(h2_frames(&p, RST_STREAM, 79), 0);
    h2_close(&p);
    buf_done(&b);
    sim_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pace),
        cmocka_unit_test(h2_answer_not_read),
        cmocka_unit_test(h2_answer_read_slowly),
        cmocka_unit_test(patience),
        cmocka_unit_test(h2_body_too_slow),
        cmocka_unit_test(h1_body_too_slow),
        cmocka_unit_test(h1_answer_not_read),
        cmocka_unit_test(h2_idle),
        cmocka_unit_test(strangers_displace_themselves),
        cmocka_unit_test(crowded),
        cmocka_unit_test(connections),
        cmocka_unit_test(bodies),
        cmocka_unit_test(queued),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
