// The HTTP client against our server, and against peers that break the protocol.
#include "fixture.h"
#include "wire/http_client.h"
#include <time.h>

static struct test_server t, tls;
static struct loop *loop; // the client's, run by the test's thread

static int setup(void **state)
{
    (void)state;
    test_server_start(&t, 0, 1, NULL);
    test_server_start(&tls, TEST_TLS | TEST_CLIENT_CA, 1, NULL);
    loop = loop_new(env_system());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    test_server_stop(&t, 5 * (uint64_t)NS_PER_S);
    test_server_stop(&tls, 5 * (uint64_t)NS_PER_S);
    return 0;
}

// --- one call, run to its end

struct result {
    int heads, status, ends;
    struct buf body;
    enum err_reason reason;
    char message[512];
    bool pause;
    struct http_call *call;
    struct loop_timer unpause;
    size_t stop_after; // cancel when so many bytes have come
};

static void on_head(struct http_call *c, int status, const struct http_header *headers, size_t n)
{
    struct result *r = http_call_ctx(c);
    (void)headers, (void)n;
    r->heads++;
    r->status = status;
}

static void unpause(struct loop_timer *timer)
{
    http_call_pause(container_of(timer, struct result, unpause)->call, false);
}

static void on_body(struct http_call *c, struct str part)
{
    struct result *r = http_call_ctx(c);
    buf_str(&r->body, part);
    if (r->pause) {
        http_call_pause(c, true);
        r->unpause.fn = unpause;
        loop_timer_in(loop, &r->unpause, NS_PER_MS);
    }
    if (r->stop_after && r->body.n >= r->stop_after) {
        http_call_cancel(c);
        r->call = NULL;
        loop_stop(loop);
    }
}

static void on_end(struct http_call *c, const struct err *e)
{
    struct result *r = http_call_ctx(c);
    r->ends++;
    if (e) {
        r->reason = e->reason;
        snprintf(r->message, sizeof r->message, "%s", e->message);
    }
    loop_timer_cancel(loop, &r->unpause);
    loop_stop(loop);
}

static void run(struct http_client *c, struct result *r, const char *method, struct str url,
                struct str body)
{
    const struct http_call_request request = {.method = method, .url = url, .body = body};
    const struct http_call_handler h = {on_head, on_body, on_end, r};
    r->call = http_call_start(c, &request, &h);
    loop_run(loop);
}

static struct str url(struct arena *a, const char *scheme, unsigned port, const char *path)
{
    return arena_printf(a, "%s://127.0.0.1:%u%s", scheme, port, path);
}

static void reset(struct result *r)
{
    buf_done(&r->body);
    *r = (struct result){0};
}

static void answers(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_client *c = http_client_new(loop, NULL);
    struct result r = {0};
    int before = t.stats.handled;
    run(c, &r, "GET", url(&a, "http", t.port, "/hello"), STR_NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.ends, 1);
    assert_string_equal(buf_cstr(&r.body), "hello\n");
    reset(&r);
    run(c, &r, "GET", url(&a, "http", t.port, "/stream?n=1000"), STR_NULL);
    assert_int_equal(test_occurrences(buf_view(&r.body), "line "), 1000);
    reset(&r);
    run(c, &r, "HEAD", url(&a, "http", t.port, "/big?n=1234"), STR_NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body.n, 0);
    reset(&r);
    char *big = arena_alloc(&a, 900000);
    memset(big, 'q', 900000);
    run(c, &r, "POST", url(&a, "http", t.port, "/echo"), str_n(big, 900000));
    assert_true(str_eq(buf_view(&r.body), str_n(big, 900000)));
    reset(&r);
    run(c, &r, "DELETE", arena_printf(&a, "http://localhost:%u?x", t.port), STR_NULL);
    assert_int_equal(r.status, 404);
    assert_string_equal(r.message, "");
    reset(&r);
    assert_int_equal(t.stats.handled - before, 5);
    http_client_free(c);
}

static void over_tls(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    static const char *const orgs[] = {"nodes", NULL};
    struct test_cert me = test_cert_new("bob", orgs, NULL, &tls.ca);
    struct test_cert other = test_cert_new("other-ca", NULL, NULL, NULL);
    struct test_cert elsewhere = test_cert_new("server", NULL, "DNS:elsewhere", &tls.ca);
    struct tls_client *good, *wrong, *insecure;
    assert_int_equal(tls_client_new(tls.ca.cert_pem, me.cert_pem, me.key_pem, false, &good, NULL),
                     0);
    assert_int_equal(tls_client_new(other.cert_pem, STR_NULL, STR_NULL, false, &wrong, NULL), 0);
    assert_int_equal(tls_client_new(STR_NULL, STR_NULL, STR_NULL, true, &insecure, NULL), 0);
    struct result r = {0};
    struct http_client *c = http_client_new(loop, &(struct http_client_options){.tls = good});
    for (int i = 0; i < 3; i++) { // the second and third on the same connection
        run(c, &r, "GET", url(&a, "https", tls.port, "/who"), STR_NULL);
        assert_starts(buf_view(&r.body), "bob:nodes:");
        reset(&r);
    }
    run(c, &r, "GET", url(&a, "https", tls.port, "/flood?n=100"), STR_NULL);
    assert_int_equal(r.body.n, 100 * 65536);
    reset(&r);
    r.pause = true; // back-pressure at each part
    run(c, &r, "GET", url(&a, "https", tls.port, "/flood?n=20"), STR_NULL);
    assert_int_equal(r.body.n, 20 * 65536);
    reset(&r);
    run(c, &r, "GET", arena_printf(&a, "https://localhost:%u/hello", tls.port), STR_NULL);
    assert_string_equal(buf_cstr(&r.body), "hello\n");
    reset(&r);
    http_client_free(c);

    c = http_client_new(loop, &(struct http_client_options){.tls = wrong});
    run(c, &r, "GET", url(&a, "https", tls.port, "/who"), STR_NULL);
    assert_int_equal(r.reason, ERR_UNAVAILABLE);
    assert_string_equal(r.message, "tls: failed to verify certificate: x509: certificate signed by "
                                   "unknown authority");
    reset(&r);
    http_client_free(c);

    c = http_client_new(loop, &(struct http_client_options){.tls = insecure});
    run(c, &r, "GET", url(&a, "https", tls.port, "/who"), STR_NULL);
    assert_string_equal(buf_cstr(&r.body), "nobody");
    reset(&r);
    http_client_free(c);

    // A client certificate of a CA that the server does not know.
    struct test_cert mallory = test_cert_new("mallory", orgs, NULL, &other);
    struct tls_client *stranger;
    assert_int_equal(
        tls_client_new(tls.ca.cert_pem, mallory.cert_pem, mallory.key_pem, false, &stranger, NULL),
        0);
    c = http_client_new(loop, &(struct http_client_options){.tls = stranger});
    run(c, &r, "GET", url(&a, "https", tls.port, "/who"), STR_NULL);
    assert_int_equal(r.reason, ERR_UNAVAILABLE);
    assert_contains(str_of(r.message), "tls: tlsv1 alert unknown ca");
    reset(&r);
    http_client_free(c);
    tls_client_free(stranger);
    test_cert_free(&mallory);

    // A server whose certificate names somebody else.
    struct tls_server *ts;
    struct http_server *s;
    assert_int_equal(tls_server_new(elsewhere.cert_pem, elsewhere.key_pem, STR_NULL, &ts, NULL), 0);
    struct http_handler h = {test_handle, test_closed, &tls};
    assert_int_equal(http_server_new(tls.loops, 1, STR("127.0.0.1:0"), &h,
                                     &(struct http_server_options){.tls = ts}, &s, NULL),
                     0);
    c = http_client_new(loop, &(struct http_client_options){.tls = good});
    run(c, &r, "GET", url(&a, "https", http_server_port(s), "/who"), STR_NULL);
    assert_string_equal(r.message, "tls: failed to verify certificate: x509: certificate is not "
                                   "valid for 127.0.0.1");
    reset(&r);
    http_client_free(c);
    c = http_client_new(loop, NULL);
    run(c, &r, "GET", url(&a, "https", tls.port, "/who"), STR_NULL);
    assert_int_equal(r.reason, ERR_BAD_REQUEST);
    assert_starts(str_of(r.message), "no TLS configuration for https://127.0.0.1:");
    reset(&r);
    http_client_free(c);
    struct completion done;
    completion_init(&done);
    http_server_stop(s, 0, test_stopped, &done);
    completion_wait(&done);
    completion_done(&done);
    tls_server_free(ts);
    tls_client_free(good);
    tls_client_free(wrong);
    tls_client_free(insecure);
    test_cert_free(&me);
    test_cert_free(&other);
    test_cert_free(&elsewhere);
}

static void refused(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    static const struct {
        const char *url, *message;
        enum err_reason reason;
    } rows[] = {
        {"http://127.0.0.1:1/", "dial tcp 127.0.0.1:1: connect: connection refused",
         ERR_UNAVAILABLE},
        {"http://no-such-name.invalid/", "dial tcp: lookup no-such-name.invalid:", ERR_UNAVAILABLE},
        {"ftp://x/", "invalid URL \"ftp://x/\"", ERR_BAD_REQUEST},
        {"http://:80/", "invalid URL \"http://:80/\"", ERR_BAD_REQUEST},
        {"http://h:99999/", "invalid URL \"http://h:99999/\"", ERR_BAD_REQUEST},
        {"http://h/a b", "invalid URL \"http://h/a b\"", ERR_BAD_REQUEST},
        {"http://u:p@h/", "invalid URL", ERR_BAD_REQUEST},
    };
    struct http_client *c = http_client_new(loop, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result r = {0};
        run(c, &r, "GET", str_of(rows[i].url), STR_NULL);
        assert_int_equal(r.heads, 0);
        assert_int_equal(r.ends, 1);
        assert_int_equal(r.reason, rows[i].reason);
        assert_starts(str_of(r.message), rows[i].message);
    }
    struct result r = {0};
    const struct http_header evil[] = {{STR("x"), STR("a\r\nInjected: b")}};
    const struct http_call_request request = {
        .method = "GET", .url = url(&a, "http", t.port, "/dump"), .headers = evil, .nheaders = 1};
    const struct http_call_handler h = {on_head, on_body, on_end, &r};
    http_call_start(c, &request, &h);
    loop_run(loop);
    assert_string_equal(r.message, "invalid header field value for \"x\"");
    http_client_free(c);
    c = http_client_new(loop, &(struct http_client_options){.unix_socket = "/nonexistent/sock"});
    run(c, &r, "GET", STR("http://unix/x"), STR_NULL);
    assert_string_equal(r.message,
                        "dial unix /nonexistent/sock: connect: no such file or directory");
    http_client_free(c);
}

static void over_a_unix_socket(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char path[64];
    struct http_server *s;
    struct http_handler h = {test_handle, test_closed, &t};
    struct http_server_options opt = {0};
    snprintf(path, sizeof path, "/tmp/coracle-wire-%d.sock", getpid());
    struct str address = arena_printf(&a, "unix:%s", path);
    assert_int_equal(http_server_new(t.loops, 1, address, &h, &opt, &s, NULL), 0);
    struct http_client *c =
        http_client_new(loop, &(struct http_client_options){.unix_socket = path});
    struct result r = {0};
    run(c, &r, "GET", STR("http://unix/dump"), STR_NULL);
    assert_contains(buf_view(&r.body), "GET /dump||unix\n");
    reset(&r);
    http_client_free(c);
    struct completion done;
    completion_init(&done);
    http_server_stop(s, NS_PER_S, test_stopped, &done);
    completion_wait(&done);
    completion_done(&done);
    assert_int_equal(access(path, F_OK), -1);
}

static void cancel_and_close(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_client *c = http_client_new(loop, NULL);
    struct result r = {.stop_after = 5};
    run(c, &r, "GET", url(&a, "http", t.port, "/open"), STR_NULL);
    assert_int_equal(r.ends, 0); // no callback after cancel
    loop_run_until_idle(loop, 0);
    test_until(t.stats.open == 0); // and the server has noticed
    reset(&r);
    // Freeing the client ends what runs: one that waits, one that streams, one that has not begun.
    struct result rs[3] = {0};
    static const char *const paths[] = {"/never", "/open", "/hello"};
    for (int i = 0; i < 3; i++) {
        const struct http_call_request request = {.method = "GET",
                                                  .url = url(&a, "http", t.port, paths[i])};
        const struct http_call_handler h = {on_head, on_body, on_end, &rs[i]};
        if (i == 2) {
            for (int turns = 0; turns < 20000 && !rs[1].body.n; turns++) {
                loop_run_until_idle(loop, 0);
                poll(NULL, 0, 1);
            }
        }
        rs[i].call = http_call_start(c, &request, &h);
    }
    http_client_free(c);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rs[i].ends, 1);
        assert_string_equal(rs[i].message, "the HTTP client was closed");
        reset(&rs[i]);
    }
    loop_stop(loop); // on_end has asked for it as well
    loop_run(loop);
    test_until(t.stats.open == 0);
}

static void time_limits(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_client *c =
        http_client_new(loop, &(struct http_client_options){.idle_timeout_ns = 50 * NS_PER_MS});
    struct result r = {0};
    run(c, &r, "GET", url(&a, "http", t.port, "/never"), STR_NULL);
    assert_int_equal(r.reason, ERR_TIMEOUT);
    assert_string_equal(
        r.message, arena_cstr(&a, arena_printf(&a, "read tcp 127.0.0.1:%u: i/o timeout", t.port)));
    reset(&r);
    run(c, &r, "GET", url(&a, "http", t.port, "/open"), STR_NULL);
    assert_int_equal(r.heads, 1);
    assert_int_equal(r.reason, ERR_TIMEOUT);
    reset(&r);
    http_client_free(c);
}

// --- a peer made of a script

struct script {
    int listener;
    unsigned port;
    const char *answers[4]; // per connection; NULL ends
    int connections;
    pthread_t thread;
};

static void *script_run(void *arg)
{
    struct script *s = arg;
    for (int i = 0; i < 4 && s->answers[i]; i++) {
        int fd = accept(s->listener, NULL, NULL);
        s->connections++;
        // The parts are separated by '|': each is sent upon a request.
        struct str rest = str_of(s->answers[i]);
        while (rest.p) {
            _cleanup_arena_ struct arena a = ARENA_INIT;
            struct str part = str_cut(&rest, '|');
            if (!test_read(&a, fd, "\r\n\r\n").n)
                break;
            test_write(fd, part);
        }
        close(fd);
    }
    return NULL;
}

static void script_start(struct script *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t n = sizeof in;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    getsockname(s->listener, (struct sockaddr *)&in, &n);
    s->port = ntohs(in.sin_port);
    s->thread = thread_start("script", script_run, s);
}

static void script_end(struct script *s)
{
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static void rude_servers(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *message, *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\nuntil close", "", "until close"},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "", "ok"},
        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "unexpected EOF", "short"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "unexpected EOF",
         "abc"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
         "malformed HTTP response: broken chunked encoding", "abc"},
        {"HTTP/1.1 200", "unexpected EOF", ""},
        {"SSH-2.0-OpenSSH\r\n\r\n", "malformed HTTP response: malformed HTTP response", ""},
        {"hello\n", "malformed HTTP response", ""},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "malformed HTTP response: unexpected upgrade",
         ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "malformed HTTP response: both Content-Length and Transfer-Encoding", ""},
    };
    struct http_client *c = http_client_new(loop, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct script s = {.answers = {rows[i].answer}};
        struct result r = {0};
        script_start(&s);
        run(c, &r, "GET", url(&a, "http", s.port, "/"), STR_NULL);
        assert_string_equal(r.message, rows[i].message);
        assert_string_equal(buf_cstr(&r.body), rows[i].body);
        reset(&r);
        script_end(&s);
    }
    http_client_free(c);
}

// Half a head is waited for, not spun upon.
static void slow_head(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_client *c =
        http_client_new(loop, &(struct http_client_options){.idle_timeout_ns = NS_PER_S / 5});
    struct script s = {.answers = {"HTTP/1.1 200 OK\r\nX: |"}};
    struct result r = {0};
    struct timespec before, after;
    script_start(&s);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    run(c, &r, "GET", url(&a, "http", s.port, "/"), STR_NULL);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    assert_int_equal(r.reason, ERR_TIMEOUT);
    assert_in_range((after.tv_sec - before.tv_sec) * NS_PER_S + after.tv_nsec - before.tv_nsec, 0,
                    NS_PER_S / 20);
    http_client_free(c);
    script_end(&s);
}

// A pooled connection that dies under a request is replaced once, if that can do no harm.
static void dead_pooled_connection(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    struct http_client *c = http_client_new(loop, NULL);
    struct result r = {0};
    struct script s = {.answers = {OK "|", OK}};
    script_start(&s);
    for (int i = 0; i < 2; i++) {
        run(c, &r, "GET", url(&a, "http", s.port, "/"), STR_NULL);
        assert_string_equal(r.message, "");
        assert_string_equal(buf_cstr(&r.body), "ok");
        reset(&r);
    }
    script_end(&s);
    assert_int_equal(s.connections, 2);
    s = (struct script){.answers = {OK "|", NULL}};
    script_start(&s);
    run(c, &r, "GET", url(&a, "http", s.port, "/"), STR_NULL);
    reset(&r);
    run(c, &r, "POST", url(&a, "http", s.port, "/"), STR("x"));
    assert_starts(str_of(r.message), "read tcp 127.0.0.1:");
    assert_true(str_ends(str_of(r.message), STR(": EOF")));
    reset(&r);
    script_end(&s);
    http_client_free(c);
}

static void blocking_calls(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct http_client *c = http_client_new(loop, NULL);
    pthread_t thread = thread_start("client-loop", test_loop_thread, loop);
    struct http_answer answer;
    struct http_call_request r = {.method = "GET", .url = url(&a, "http", t.port, "/big?n=5000")};
    assert_int_equal(http_do(c, &a, &r, 5000, &answer, &e), 0);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body.n, 5000);
    assert_true(str_eq(http_answer_header(&answer, "content-length"), STR("5000")));
    assert_null(http_answer_header(&answer, "x-absent").p);
    assert_int_equal(http_do(c, &a, &r, 4999, &answer, &e), -413);
    assert_string_equal(e.message, "the response is larger than 4999 bytes");
    err_done(&e);
    r.url = STR("http://127.0.0.1:1/");
    assert_int_equal(http_do(c, &a, &r, 10, &answer, &e), -503);
    assert_string_equal(e.message, "dial tcp 127.0.0.1:1: connect: connection refused");
    loop_stop(loop);
    pthread_join(thread, NULL);
    http_client_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(over_tls),
        cmocka_unit_test(refused),
        cmocka_unit_test(over_a_unix_socket),
        cmocka_unit_test(cancel_and_close),
        cmocka_unit_test(time_limits),
        cmocka_unit_test(rude_servers),
        cmocka_unit_test(slow_head),
        cmocka_unit_test(dead_pooled_connection),
        cmocka_unit_test(blocking_calls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
