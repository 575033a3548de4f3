// HTTP and TCP attempts of probes over real sockets on loopback. The prober's own logic
// (thresholds, gating, restarts) is tested with the pod worker on virtual time.
#include "../wire/fixture.h"
#include "node/probe_net.h"
#include "object/json.h"

static struct loop *loop;
static struct http_client *http;
static struct tls_client *tls;
static struct tls_server *tls_server;
static struct test_cert cert;
static struct http_server *plain, *secure;
static struct probe_net *net;
static char seen[512];

static void handle(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_request *r = http_request(x);
    snprintf(seen, sizeof(seen), "%.*s host=%.*s agent=%.*s custom=%.*s", STR_ARG(r->target),
             STR_ARG(r->host), STR_ARG(http_header(r, "user-agent")),
             STR_ARG(http_header(r, "x-probe")));
    if (str_eqc(r->path, "/silent"))
        return;
    if (str_eqc(r->path, "/endless")) {
        static char chunk[20000];
        memset(chunk, 'x', sizeof(chunk));
        http_start(x, 200, NULL, 0);
        http_send(x, str_n(chunk, sizeof(chunk)));
        return;
    }
    struct http_header location = {STR("location"), STR("/elsewhere")};
    int status = str_eqc(r->path, "/moved") ? 302 : str_eqc(r->path, "/broken") ? 503 : 200;
    http_respond(x, status, &location, status == 302, STR("body"));
}

static int setup(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    loop = loop_new(env_system());
    cert = test_cert_new("self", NULL, NULL, NULL);
    assert_int_equal(tls_server_new(cert.cert_pem, cert.key_pem, STR_NULL, &tls_server, &e), 0);
    assert_int_equal(tls_client_new(STR_NULL, STR_NULL, STR_NULL, true, &tls, &e), 0);
    struct http_client_options o = {.tls = tls};
    http = http_client_new(loop, &o);
    struct http_handler h = {handle, NULL, NULL};
    struct http_server_options so = {0}, ss = {.tls = tls_server};
    assert_int_equal(http_server_new(&loop, 1, STR("127.0.0.1:0"), &h, &so, &plain, &e), 0);
    assert_int_equal(http_server_new(&loop, 1, STR("127.0.0.1:0"), &h, &ss, &secure, &e), 0);
    net = probe_net_new(loop, http);
    return 0;
}

static void stopped(void *arg)
{
    (*(int *)arg)++;
}

static int teardown(void **state)
{
    (void)state;
    int n = 0;
    probe_net_free(net);
    http_client_free(http);
    http_server_stop(plain, 0, stopped, &n);
    http_server_stop(secure, 0, stopped, &n);
    for (int i = 0; i < 5000 && n < 2; i++) {
        loop_run_until_idle(loop, 0);
        poll(NULL, 0, 1);
    }
    loop_free(loop);
    tls_client_free(tls);
    tls_server_free(tls_server);
    test_cert_free(&cert);
    return n == 2 ? 0 : -1;
}

static struct verdict {
    int calls;
    bool ok;
    char text[256];
} verdict;

static void done(void *ctx, bool ok, struct str text)
{
    struct verdict *v = ctx;
    v->calls++;
    v->ok = ok;
    snprintf(v->text, sizeof(v->text), "%.*s", STR_ARG(text));
}

static void wait_verdict(void)
{
    for (int i = 0; i < 5000 && !verdict.calls; i++) {
        loop_run_until_idle(loop, 0);
        poll(NULL, 0, 1);
    }
    assert_int_equal(verdict.calls, 1);
}

static void probe_http(const char *get, unsigned port, uint64_t timeout)
{
    struct arena a = ARENA_INIT;
    struct value *v = NULL;
    verdict = (struct verdict){0};
    assert_int_equal(json_parse(&a, str_of(get), NULL, &v, NULL), 0);
    probe_net_http(net, STR("127.0.0.1"), port, v, timeout, done, &verdict);
    arena_done(&a); // what the attempt needs it has copied
    wait_verdict();
}

static void http_probes(void **state)
{
    (void)state;
    unsigned port = http_server_port(plain);
    char expected[512];
    probe_http("{\"path\":\"/ok?x=1\",\"httpHeaders\":[{\"name\":\"X-Probe\",\"value\":\"yes\"}]}",
               port, NS_PER_S);
    assert_true(verdict.ok);
    snprintf(expected, sizeof(expected),
             "/ok?x=1 host=127.0.0.1:%u agent=kube-probe/1.34 custom=yes", port);
    assert_string_equal(seen, expected);
    probe_http("{}", port, NS_PER_S);
    assert_true(verdict.ok);
    probe_http("{\"path\":\"/moved\"}", port, NS_PER_S);
    assert_true(verdict.ok);
    probe_http("{\"path\":\"/broken\"}", port, NS_PER_S);
    assert_false(verdict.ok);
    assert_string_equal(verdict.text, "HTTP probe failed with statuscode: 503");
    probe_http("{\"path\":\"/endless\"}", port, 5 * NS_PER_S);
    assert_true(verdict.ok);
    probe_http("{\"path\":\"/silent\"}", port, 100 * NS_PER_MS);
    assert_false(verdict.ok);
    snprintf(expected, sizeof(expected),
             "Get \"http://127.0.0.1:%u/silent\": context deadline exceeded (Client.Timeout "
             "exceeded while awaiting "
             "headers)",
             port);
    assert_string_equal(verdict.text, expected);
    probe_http("{\"path\":\"/ok\",\"scheme\":\"HTTPS\"}", http_server_port(secure), 5 * NS_PER_S);
    assert_true(verdict.ok); // self-signed: not checked, as upstream
    probe_http("{\"path\":\"/x\"}", 1, NS_PER_S);
    assert_false(verdict.ok);
    assert_string_equal(
        verdict.text,
        "Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused");
}

static void probe_tcp(const char *host, unsigned port)
{
    verdict = (struct verdict){0};
    probe_net_tcp(net, str_of(host), port, NS_PER_S, done, &verdict);
    assert_int_equal(verdict.calls, 0); // never from within the call
    wait_verdict();
}

static void tcp_probes(void **state)
{
    (void)state;
    probe_tcp("127.0.0.1", http_server_port(plain));
    assert_true(verdict.ok);
    probe_tcp("127.0.0.1", 1);
    assert_false(verdict.ok);
    assert_string_equal(verdict.text, "dial tcp 127.0.0.1:1: connect: connection refused");
    probe_tcp("not-an-address", 80);
    assert_false(verdict.ok);
    assert_string_equal(verdict.text,
                        "dial tcp not-an-address:80: lookup failed: not an IP address");
}

static void cancelled(void **state)
{
    (void)state;
    struct arena a = ARENA_INIT;
    verdict = (struct verdict){0};
    struct value *v = value_object(&a);
    value_setc(&a, v, "path", value_strc(&a, "/silent"));
    struct probe_attempt *x = probe_net_http(net, STR("127.0.0.1"), http_server_port(plain), v,
                                             50 * NS_PER_MS, done, &verdict);
    struct probe_attempt *y =
        probe_net_tcp(net, STR("127.0.0.1"), http_server_port(plain), NS_PER_S, done, &verdict);
    probe_net_cancel(y);
    for (int i = 0; i < 5; i++)
        loop_run_until_idle(loop, 0);
    probe_net_cancel(x);
    poll(NULL, 0, 60);
    loop_run_until_idle(loop, 0);
    assert_int_equal(verdict.calls, 0);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(http_probes, setup, teardown),
        cmocka_unit_test_setup_teardown(tcp_probes, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
