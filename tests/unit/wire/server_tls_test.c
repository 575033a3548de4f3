// TLS and HTTP/2, judged by other people's clients: curl, openssl s_client, h2load.
#include "fixture.h"
#include "wire/stream.h"
#include "wire/tls_private.h"
#include <openssl/ssl.h>
#include <sys/wait.h>

static struct test_server t;
static struct test_cert client, stranger_ca, stranger;
static char dir[64];

static void put(const char *name, struct str s)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(s.p, 1, s.n, f), s.n);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    test_server_start(&t, TEST_TLS | TEST_CLIENT_CA, 2, NULL);
    snprintf(dir, sizeof dir, "/tmp/coracle-tls-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    static const char *const orgs[] = {"system:masters", "admins", NULL};
    client = test_cert_new("alice", orgs, NULL, &t.ca);
    stranger_ca = test_cert_new("stranger-ca", NULL, NULL, NULL);
    stranger = test_cert_new("mallory", orgs, NULL, &stranger_ca);
    put("ca.pem", t.ca.cert_pem);
    put("client.pem", client.cert_pem);
    put("client.key", client.key_pem);
    put("stranger.pem", stranger.cert_pem);
    put("stranger.key", stranger.key_pem);
    struct buf big = BUF_INIT;
    for (int i = 0; i < 900000; i++)
        buf_char(&big, (char)('0' + i % 10));
    put("body", buf_view(&big));
    for (int i = 0; i < 900000; i++)
        buf_char(&big, 'z');
    put("toobig", buf_view(&big));
    buf_done(&big);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"ca.pem",       "client.pem", "client.key", "stranger.pem",
                                        "stranger.key", "body",       "toobig",     "session"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    test_server_stop(&t, 5 * (uint64_t)NS_PER_S);
    test_cert_free(&client);
    test_cert_free(&stranger);
    test_cert_free(&stranger_ca);
    return 0;
}

// Runs a shell command with $PORT and $DIR; its output, and the exit status behind it as "[n]".
static struct str run(struct arena *a, const char *command)
{
    char port[16];
    snprintf(port, sizeof port, "%u", t.port);
    setenv("PORT", port, 1);
    setenv("DIR", dir, 1);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    struct buf b = BUF_INIT;
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(&b, chunk, n);
    int status = pclose(f);
    buf_printf(&b, "[%d]", WEXITSTATUS(status));
    struct str s = arena_str(a, buf_view(&b));
    buf_done(&b);
    return s;
}

#define CURL "timeout 30 curl -sS --max-time 20 --cacert $DIR/ca.pem "

static void curl_speaks_both(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_string_equal(arena_cstr(&a, run(&a, CURL "https://127.0.0.1:$PORT/hello")),
                        "hello\n[0]");
    struct str s = run(&a, CURL "--http2 -i https://localhost:$PORT/hello 2>&1");
    assert_starts(s, "HTTP/2 200");
    assert_contains(s, "content-length: 6\r\n");
    assert_contains(s, "\r\n\r\nhello\n[0]");
    s = run(&a, CURL "--http1.1 -i https://127.0.0.1:$PORT/hello 2>&1");
    assert_starts(s, "HTTP/1.1 200 OK\r\n");
    s = run(&a, CURL "--http2 -I https://127.0.0.1:$PORT/big?n=77777 2>&1");
    assert_contains(s, "content-length: 77777\r\n");
    s = run(&a, CURL "--http2 -i https://127.0.0.1:$PORT/stream?n=3 2>&1");
    assert_contains(s, "\r\n\r\nline 0\nline 1\nline 2\n[0]");
    s = run(&a, CURL "--http2 https://127.0.0.1:$PORT/dump?a=b -H 'X-Y: z' 2>&1");
    assert_contains(s, "GET /dump|a=b|127.0.0.1:");
    assert_contains(s, "x-y=z\n");
    s = run(&a, CURL "--http2 -i https://127.0.0.1:$PORT/%00 2>&1");
    assert_contains(s, "400 Bad Request: invalid URL escape");
    s = run(&a, CURL "--http2 -i https://127.0.0.1:$PORT/abort 2>&1");
    assert_contains(s, "INTERNAL_ERROR");
}

// TLS 1.2 with authenticated encryption and forward secrecy, and nothing below it.
static void ciphers(void **state)
{
    (void)state;
    static const char *const refused[] = {"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384",
                                          "AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"};
    char command[256];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        snprintf(command, sizeof command,
                 "timeout 20 openssl s_client -connect 127.0.0.1:$PORT -tls1_2 -cipher %s "
                 "</dev/null 2>&1",
                 refused[i]);
        struct str s = run(&a, command);
        assert_contains(s, "handshake failure");
        assert_contains(s, "[1]");
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s = run(&a, "timeout 20 openssl s_client -connect 127.0.0.1:$PORT -tls1_2 "
                           "-cipher ECDHE-ECDSA-AES128-GCM-SHA256 </dev/null 2>&1");
    assert_contains(s, "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256");
}

static bool says_how(struct test_server *ts, struct http_exchange *x)
{
    (void)ts;
    if (str_eq(http_request(x)->path, STR("/how")))
        http_respond(x, 200, test_text, 1, http_request(x)->tls ? STR("tls") : STR("plain"));
    return str_eq(http_request(x)->path, STR("/how"));
}

// One port for both, told apart by the first byte.
static void tls_and_plain(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct test_server both = {.route = says_how};
    struct http_server_options opt = {.plain_too = true};
    test_server_start(&both, TEST_TLS, 1, &opt);
    char command[256];
    static const char *const rows[][2] = {
        {"https --http2", "tls"}, {"https --http1.1", "tls"}, {"http", "plain"}};
    for (size_t i = 0; i < 3; i++) {
        struct str rest = str_of(rows[i][0]), scheme = str_cut(&rest, ' ');
        snprintf(command, sizeof command,
                 "timeout 30 curl -sSk --max-time 20 %.*s %.*s://127.0.0.1:%u/how", STR_ARG(rest),
                 STR_ARG(scheme), both.port);
        struct str s = run(&a, command);
        assert_starts(s, rows[i][1]);
        assert_contains(s, "[0]");
    }
    // Nothing at all, half a handshake, neither the one nor the other.
    int silent = test_connect(both.port), half = test_connect(both.port);
    test_write(half, STR("\x16\x03\x01"));
    assert_contains(test_talk(&a, both.port, STR("\x80 GET\r\n\r\n")), "400 Bad Request");
    test_server_stop(&both, NS_PER_S);
    close(silent);
    close(half);
}

static void bodies(void **state)
{
    (void)state;
    static const char *const versions[] = {"--http1.1", "--http2"};
    for (int i = 0; i < 2; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        setenv("V", versions[i], 1);
        struct str s = run(&a, CURL "$V --data-binary @$DIR/body https://127.0.0.1:$PORT/echo | "
                                    "cmp - $DIR/body");
        assert_string_equal(arena_cstr(&a, s), "[0]");
        s = run(&a, CURL "$V --data-binary @$DIR/toobig https://127.0.0.1:$PORT/count");
        assert_string_equal(arena_cstr(&a, s), "1800000[0]");
        s = run(&a, CURL "$V -i --data-binary @$DIR/toobig https://127.0.0.1:$PORT/echo");
        assert_contains(s, " 413");
        assert_contains(s, "Request entity too large: limit is 1048576");
        // An answer before the end of the upload, which nobody reads.
        s = run(&a, CURL "$V -o /dev/null -w '%{http_code}' --data-binary @$DIR/toobig "
                         "https://127.0.0.1:$PORT/hello");
        assert_starts(s, "200");
        s = run(&a, CURL "$V --compressed https://127.0.0.1:$PORT/big?n=1000000 | wc -c");
        assert_starts(s, "1000000\n");
        s = run(&a, CURL "$V https://127.0.0.1:$PORT/flood?n=300 | wc -c");
        assert_starts(s, "19660800\n");
        s = run(&a, CURL "$V -i $(for i in $(seq 300); do echo -H a$i:b; done) "
                         "https://127.0.0.1:$PORT/hello");
        assert_contains(s, " 431");
    }
}

static void client_certificates(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    assert_string_equal(arena_cstr(&a, run(&a, CURL "https://127.0.0.1:$PORT/who")), "nobody[0]");
    struct str s = run(&a, CURL "--cert $DIR/client.pem --key $DIR/client.key "
                                "https://127.0.0.1:$PORT/who");
    assert_starts(s, "alice:system:masters,admins:10");
    // A certificate of somebody else's CA is no certificate to be quiet about.
    s = run(&a, CURL "--cert $DIR/stranger.pem --key $DIR/stranger.key "
                     "https://127.0.0.1:$PORT/who 2>&1");
    assert_contains(s, "alert");
    assert_int_equal(str_find(s, STR("mallory")), -1);
    // Resumed with a ticket, the client is still who it was.
    s = run(
        &a,
        "printf 'GET /who HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | timeout 20 "
        "openssl s_client -quiet -connect 127.0.0.1:$PORT -CAfile $DIR/ca.pem -cert "
        "$DIR/client.pem -key $DIR/client.key -sess_out $DIR/session -ign_eof 2>&1; "
        "printf 'GET /who HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n' | timeout 20 "
        "openssl s_client -connect 127.0.0.1:$PORT -CAfile $DIR/ca.pem -sess_in "
        "$DIR/session -ign_eof 2>&1");
    assert_int_equal(test_occurrences(s, "alice:system:masters,admins:"), 2);
    assert_contains(s, "Reused, TLSv1.3");
}

static void old_and_plain_are_refused(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s = run(&a, CURL "--tls-max 1.1 https://127.0.0.1:$PORT/hello 2>&1");
    assert_int_equal(str_find(s, STR("hello\n")), -1);
    s = run(&a, "curl -sS --max-time 10 http://127.0.0.1:$PORT/hello 2>&1");
    assert_contains(s, "Client sent an HTTP request to an HTTPS server.");
}

static bool is_installed(const char *program)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s = run(&a, arena_printf(&a, "command -v %s >/dev/null%c", program, 0).p);
    return str_eqc(s, "[0]");
}

static void load(void **state)
{
    (void)state;
    if (!is_installed("h2load"))
        skip(); // a jump: nothing may be held here
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str s = run(&a, "timeout 60 h2load "
                           "-n 3000 -c 8 -m 32 https://127.0.0.1:$PORT/big?n=5000 2>&1");
    assert_contains(s, "3000 succeeded, 0 failed, 0 errored");
    s = run(&a, "timeout 60 h2load --h1 -n 3000 -c 8 -m 4 https://127.0.0.1:$PORT/big?n=5000 2>&1");
    assert_contains(s, "3000 succeeded, 0 failed, 0 errored");
    test_until(t.stats.open == 0);
}

// A peer that is gone is an error, not a signal: the program, and what it starts, keep SIGPIPE's
// default.
static void no_sigpipe(void **state)
{
    (void)state;
    struct tls_client *c;
    struct loop *l = loop_new(env_system());
    struct stream s;
    int pair[2];
    assert_int_equal(tls_client_new(STR_NULL, STR_NULL, STR_NULL, true, &c, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    close(pair[1]);
    stream_init(&s, l, pair[0], tls_client_session(c, STR("localhost")), NULL);
    assert_int_equal(stream_handshake(&s), -EPIPE);
    stream_done(&s);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    close(pair[1]);
    stream_init(&s, l, pair[0], NULL, NULL);
    outq_add(&s.out, "x", 1);
    assert_int_equal(stream_flush(&s), -EPIPE);
    stream_done(&s);
    tls_client_free(c);
    loop_free(l);
}

// CPU time of this process in the time that nothing arrives at fd.
static uint64_t busy_while_silent(int fd)
{
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 300), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    return (uint64_t)(after.tv_sec - before.tv_sec) * NS_PER_S + (uint64_t)after.tv_nsec -
           (uint64_t)before.tv_nsec;
}

// OpenSSL holds such a piece and says that it has something: no reason to turn the loop.
static void pieces_of_records_cost_nothing(void **state)
{
    (void)state;
    int hello = test_connect(t.port);
    test_write(hello, str_n("\x16\x03\x01", 3));
    assert_true(busy_while_silent(hello) < 100 * NS_PER_MS);
    close(hello);

    int fd = test_connect(t.port);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    static const char get[] = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[4096];
    assert_int_equal(SSL_write(ssl, get, sizeof get - 1), sizeof get - 1);
    assert_true(SSL_read(ssl, answer, sizeof answer) > 0);
    test_write(fd, str_n("\x17\x03\x03\x00\x50piece", 10));
    assert_true(busy_while_silent(fd) < 100 * NS_PER_MS);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curl_speaks_both),
        cmocka_unit_test(ciphers),
        cmocka_unit_test(tls_and_plain),
        cmocka_unit_test(bodies),
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(old_and_plain_are_refused),
        cmocka_unit_test(load),
        cmocka_unit_test(no_sigpipe),
        cmocka_unit_test(pieces_of_records_cost_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
