// The agent's API over real TLS, everything on one loop: who may come in, logs (tail, follow,
// rotation, the end of a container), exec and attach over WebSocket with the test as the process.
// Times are virtual, sockets real: the loop is turned until a condition holds, with a limit.
#include "world.c"
// The fixture has its own includes of what world.c includes as well.
#include "../wire/fixture.h"
#include "object/base64.h"
#include "wire/http_client.h"
#include "wire/websocket.h"
#include <fcntl.h>
#include <poll.h>

static struct world w;
static struct test_cert ca, serving, api_server, stranger;
static struct tls_client *tls_api, *tls_stranger, *tls_nobody;
static struct http_client *as_api, *as_stranger, *as_nobody;
static char base_url[64];

// ---- the process, played by the test -----------------------------------------------------------

static struct play {
    struct runtime_exec x;
    char command[128];
    bool running, closed;
    uint16_t width, height;
} play;

static int play_start(struct runtime *r, const struct runtime_exec *x, struct runtime_session **ret,
                      struct err *e)
{
    (void)r;
    play = (struct play){.x = *x, .running = true};
    size_t at = 0;
    for (size_t i = 0; i < x->ncommand; i++)
        at += (size_t)snprintf(play.command + at, sizeof(play.command) - at, "%.*s ",
                               STR_ARG(x->command[i]));
    if (x->ncommand && str_eqc(x->command[0], "missing")) {
        play.running = false;
        const int fds[] = {x->stdin_fd, x->stdout_fd, x->stderr_fd};
        for (int i = 0; i < 3; i++)
            if (fds[i] >= 0)
                close(fds[i]);
        return err_set(e, ERR_INTERNAL, "executable file not found in $PATH");
    }
    *ret = (struct runtime_session *)&play;
    return 0;
}

static void play_resize(struct runtime_session *s, uint16_t width, uint16_t height)
{
    (void)s;
    play.width = width;
    play.height = height;
}

static void play_close_fds(void)
{
    int *fds[] = {&play.x.stdin_fd, &play.x.stdout_fd, &play.x.stderr_fd};
    for (int i = 0; i < 3; i++)
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
}

static void play_close(struct runtime_session *s)
{
    (void)s;
    play.closed = true;
    play_close_fds();
}

static void play_exit(int code)
{
    play_close_fds();
    play.x.on_exit(play.x.ctx, code, STR_NULL);
    play.running = false;
}

static struct runtime_ops ops;

// ---- harness -----------------------------------------------------------------------------------

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int left_ = 5000;                                                                          \
        for (; !(condition) && left_; left_--) {                                                   \
            loop_run_until_idle(w.loop, 0);                                                        \
            if (!(condition))                                                                      \
                poll(NULL, 0, 1);                                                                  \
        }                                                                                          \
        if (!left_)                                                                                \
            fail_msg("waited in vain for %s", #condition);                                         \
    } while (0)

static struct http_client *client_with(const struct test_cert *c, struct tls_client **tls)
{
    struct err e = ERR_INIT;
    assert_int_equal(tls_client_new(ca.cert_pem, c ? c->cert_pem : STR_NULL,
                                    c ? c->key_pem : STR_NULL, false, tls, &e),
                     0);
    struct http_client_options o = {.tls = *tls};
    return http_client_new(w.loop, &o);
}

static int setup(void **state)
{
    (void)state;
    world_init(&w);
    ca = test_cert_new("ca", NULL, NULL, NULL);
    serving = test_cert_new("system:node:n1", NULL, "IP:127.0.0.1", &ca);
    static const char *const masters[] = {"system:masters", NULL};
    static const char *const nobodies[] = {"dev", NULL};
    api_server = test_cert_new("someone", masters, NULL, &ca);
    stranger = test_cert_new("alice", nobodies, NULL, &ca);
    w.cert = serving.cert_pem;
    w.key = serving.key_pem;
    w.ca = ca.cert_pem;
    ops = fake_runtime_ops;
    ops.exec = ops.attach = play_start;
    ops.session_resize = play_resize;
    ops.session_close = play_close;
    w.rt->base.ops = &ops;
    agent_up(&w);
    snprintf(base_url, sizeof(base_url), "https://127.0.0.1:%u", node_agent_port(w.agent));
    as_api = client_with(&api_server, &tls_api);
    as_stranger = client_with(&stranger, &tls_stranger);
    as_nobody = client_with(NULL, &tls_nobody);
    put_pod(&w, "web", "", "");
    UNTIL(strcmp(POD_FIELD(&w, "web", "status.phase"), "Running") == 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_client_free(as_api);
    http_client_free(as_stranger);
    http_client_free(as_nobody);
    loop_run_until_idle(w.loop, 0);
    tls_client_free(tls_api);
    tls_client_free(tls_stranger);
    tls_client_free(tls_nobody);
    world_done(&w);
    struct test_cert *certs[] = {&ca, &serving, &api_server, &stranger};
    for (int i = 0; i < 4; i++)
        test_cert_free(certs[i]);
    return 0;
}

// ---- plain requests ----------------------------------------------------------------------------

struct answer {
    int status;
    struct buf body;
    bool ended, pause, paused;
    char error[256];
    struct http_call *call;
};

static void on_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    (void)h, (void)n;
    ((struct answer *)http_call_ctx(c))->status = status;
}

static void on_body(struct http_call *c, struct str part)
{
    struct answer *a = http_call_ctx(c);
    buf_str(&a->body, part);
    if (a->pause && !a->paused) {
        a->paused = true;
        http_call_pause(c, true);
    }
}

static void on_end(struct http_call *c, const struct err *e)
{
    struct answer *a = http_call_ctx(c);
    a->ended = true;
    a->call = NULL;
    if (e)
        snprintf(a->error, sizeof(a->error), "%s", e->message);
}

static void start(struct http_client *c, struct answer *a, const char *method, const char *path)
{
    *a = (struct answer){0};
    struct arena tmp = ARENA_INIT;
    struct http_call_request r = {.method = method,
                                  .url = arena_printf(&tmp, "%s%s", base_url, path)};
    struct http_call_handler h = {on_head, on_body, on_end, a};
    a->call = http_call_start(c, &r, &h);
    arena_done(&tmp);
}

static void expect(struct http_client *c, const char *method, const char *path, int status,
                   const char *body)
{
    struct answer a;
    start(c, &a, method, path);
    UNTIL(a.ended);
    assert_string_equal(a.error, "");
    assert_string_equal(buf_cstr(&a.body), body);
    assert_int_equal(a.status, status);
    buf_done(&a.body);
}

static void who_may_come_in(void **state)
{
    (void)state;
    expect(as_api, "GET", "/healthz", 200, "ok");
    expect(as_nobody, "GET", "/healthz", 401, "Unauthorized");
    expect(as_nobody, "GET", "/containerLogs/default/web/web", 401, "Unauthorized");
    expect(as_stranger, "GET", "/pods", 403,
           "Forbidden (user=alice, verb=get, resource=nodes, subresource=[proxy])");
    expect(as_api, "GET", "/nothing", 404, "404: Page Not Found");
    expect(as_api, "GET", "/containerLogs/default/web", 404, "404: Page Not Found");
    expect(as_api, "DELETE", "/pods", 405, "405: Method Not Allowed");
    expect(as_api, "POST", "/portForward/default/web", 501,
           "port forwarding is not supported by this node yet");
    expect(as_api, "POST", "/exec/default/web/web?command=x&output=1", 400,
           "exec and attach need a WebSocket upgrade (v5.channel.k8s.io or v4.channel.k8s.io)");
    struct answer a;
    start(as_api, &a, "GET", "/pods");
    UNTIL(a.ended);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(buf_cstr(&a.body), "\"kind\":\"PodList\""));
    assert_non_null(strstr(buf_cstr(&a.body), "\"name\":\"web\""));
    buf_done(&a.body);
}

// ---- logs --------------------------------------------------------------------------------------

static char log_path[160];

static void write_log(const char *text)
{
    int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void make_log(const char *text)
{
    struct fake_container *c = fake_latest(w.rt, "web");
    snprintf(log_path, sizeof(log_path), "%s/%u.log", w.dir, c->c.attempt);
    c->c.log_path = arena_str(&w.rt->a, str_of(log_path));
    write_log(text);
}

static void logs(void **state)
{
    (void)state;
    expect(as_api, "GET", "/containerLogs/default/none/web", 404, "pod \"none_default\" not found");
    expect(as_api, "GET", "/containerLogs/default/web/zz", 404,
           "container \"zz\" not found in pod \"web_default\"");
    expect(as_api, "GET", "/containerLogs/default/web/web?previous=true", 400,
           "previous terminated container \"web\" in pod \"web\" not found");
    make_log("2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F "
             "two\n2026-01-01T00:00:03Z stdout F three\n");
    expect(as_api, "GET", "/containerLogs/default/web/web", 200, "one\ntwo\nthree\n");
    expect(as_api, "GET", "/containerLogs/default/web/web?tailLines=1", 200, "three\n");
    expect(as_api, "GET", "/containerLogs/default/web/web?limitBytes=5", 200, "one\nt");
    expect(as_api, "GET", "/containerLogs/default/web/web?timestamps=true&tailLines=1", 200,
           "2026-01-01T00:00:03Z three\n");
    expect(as_api, "GET", "/containerLogs/default/web/web?sinceTime=2026-01-01T00:00:02Z", 200,
           "two\nthree\n");
    expect(as_api, "GET", "/containerLogs/default/web/web?tailLines=-1", 400,
           "invalid value for tailLines: -1");
    expect(as_api, "GET", "/containerLogs/default/web/web?sinceTime=yesterday", 400,
           "invalid value for sinceTime: yesterday");
    // The run before.
    fake_exit(w.rt, "web", 1);
    UNTIL(fake_latest(w.rt, "web")->c.attempt == 1);
    make_log("2026-01-01T00:00:09Z stdout F again\n");
    expect(as_api, "GET", "/containerLogs/default/web/web?previous=true", 200, "one\ntwo\nthree\n");
    expect(as_api, "GET", "/containerLogs/default/web/web", 200, "again\n");
    put_pod(&w, "slow", ",'volumes':[{'name':'v','configMap':{'name':'none'}}]", ",'name':'slow'");
    UNTIL(strcmp(POD_FIELD(&w, "slow", "status.containerStatuses.0.state.waiting.reason"),
                 "ContainerCreating") == 0);
    expect(as_api, "GET", "/containerLogs/default/slow/slow", 400,
           "container \"slow\" in pod \"slow\" is waiting to start: ContainerCreating");
}

static void logs_follow(void **state)
{
    (void)state;
    make_log("2026-01-01T00:00:01Z stdout F one\n");
    struct answer a;
    start(as_api, &a, "GET", "/containerLogs/default/web/web?follow=true");
    UNTIL(a.body.n == 4);
    write_log("2026-01-01T00:00:02Z stdout F tw");
    for (int i = 0; i < 5; i++)
        loop_run_until_idle(w.loop, 0);
    write_log("o\n");
    UNTIL(a.body.n == 8);
    char rotated[200];
    snprintf(rotated, sizeof(rotated), "%s.20260101-000003", log_path);
    assert_int_equal(rename(log_path, rotated), 0);
    write_log("2026-01-01T00:00:03Z stdout F three\n");
    UNTIL(a.body.n == 14);
    assert_false(a.ended);
    // The last words are read after the end is known.
    write_log("2026-01-01T00:00:04Z stdout F bye\n");
    fake_exit(w.rt, "web", 0);
    UNTIL(a.ended);
    assert_string_equal(a.error, "");
    assert_string_equal(buf_cstr(&a.body), "one\ntwo\nthree\nbye\n");
    buf_done(&a.body);
    // A client that goes leaves nothing behind (the sanitizer looks).
    make_log("2026-01-01T00:00:05Z stdout F x\n");
    start(as_api, &a, "GET", "/containerLogs/default/web/web?follow=true");
    UNTIL(a.body.n == 2);
    http_call_cancel(a.call);
    buf_done(&a.body);
    for (int i = 0; i < 20; i++)
        loop_run_until_idle(w.loop, 0);
}

static void logs_to_a_slow_reader(void **state)
{
    (void)state;
    make_log("");
    struct buf b = BUF_INIT;
    for (int i = 0; i < 40000; i++)
        buf_printf(&b, "2026-01-01T00:00:01Z stdout F %0100d\n", i);
    write_log(buf_cstr(&b));
    buf_done(&b);
    struct answer a;
    start(as_api, &a, "GET", "/containerLogs/default/web/web");
    a.pause = true;
    UNTIL(a.paused);
    for (int i = 0; i < 50; i++)
        loop_run_until_idle(w.loop, 0);
    assert_false(a.ended);
    assert_true(a.body.n < 4000000); // the rest waits in the file
    http_call_pause(a.call, false);
    UNTIL(a.ended);
    assert_int_equal(a.body.n, 40000 * 101);
    buf_done(&a.body);
}

// ---- exec --------------------------------------------------------------------------------------

struct talk {
    struct websocket *ws;
    bool opened, closed;
    char protocol[32], error[256];
    struct buf channel[5];
};

static void talk_message(struct websocket *s, bool binary, struct str m)
{
    struct talk *t = websocket_ctx(s);
    assert_true(binary);
    assert_true(m.n && (unsigned char)m.p[0] < 5);
    buf_str(&t->channel[(int)m.p[0]], str_from(m, 1));
}

static void talk_close(struct websocket *s)
{
    struct talk *t = websocket_ctx(s);
    t->ws = NULL;
    t->closed = true;
}

static void talk_open(void *ctx, struct websocket *s, struct str protocol, const struct err *e)
{
    struct talk *t = ctx;
    t->opened = true;
    t->ws = s;
    snprintf(t->protocol, sizeof(t->protocol), "%.*s", STR_ARG(protocol));
    if (e)
        snprintf(t->error, sizeof(t->error), "%s", e->message);
}

static void talk_start(struct http_client *c, struct talk *t, const char *path,
                       const char *protocol)
{
    *t = (struct talk){0};
    struct arena tmp = ARENA_INIT;
    const struct str protocols[] = {str_of(protocol)};
    struct websocket_handler h = {.on_message = talk_message, .on_close = talk_close, .ctx = t};
    websocket_connect(c, arena_printf(&tmp, "%s%s", base_url, path), NULL, 0, protocols, 1, &h,
                      talk_open);
    arena_done(&tmp);
    UNTIL(t->opened);
}

static void talk_done(struct talk *t)
{
    for (int i = 0; i < 5; i++)
        buf_done(&t->channel[i]);
}

static void play_write(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

// What the process reads, added up; -1 at the end of its input.
static ssize_t play_read(char *text, size_t max)
{
    size_t have = strlen(text);
    ssize_t n = read(play.x.stdin_fd, text + have, max - have - 1);
    if (n > 0)
        text[have + (size_t)n] = '\0';
    return n == 0 ? -1 : (ssize_t)strlen(text);
}

static void exec_streams(void **state)
{
    (void)state;
    struct talk t;
    talk_start(as_api, &t,
               "/exec/default/web/web?command=sh&command=-c&command=a%20b&input=1&output=1&error=1",
               "v5.channel.k8s.io");
    assert_string_equal(t.error, "");
    assert_string_equal(t.protocol, "v5.channel.k8s.io");
    UNTIL(play.running);
    assert_string_equal(play.command, "sh -c a b ");
    play_write(play.x.stdout_fd, "out");
    play_write(play.x.stderr_fd, "err");
    UNTIL(t.channel[1].n == 3 && t.channel[2].n == 3);
    websocket_send_channel(t.ws, 0, STR("hello"));
    char text[16] = "";
    fcntl(play.x.stdin_fd, F_SETFL, O_NONBLOCK);
    UNTIL(play_read(text, sizeof(text)) == 5);
    assert_string_equal(text, "hello");
    // v5: the client ends stdin by FF 00.
    websocket_send(t.ws, true, STR("\xff\x00"));
    UNTIL(play_read(text, sizeof(text)) == -1);
    play_write(play.x.stdout_fd, "put"); // written just before the end: must not be lost
    play_exit(3);
    UNTIL(t.closed);
    assert_string_equal(buf_cstr(&t.channel[1]), "output");
    assert_string_equal(buf_cstr(&t.channel[2]), "err");
    assert_string_equal(
        buf_cstr(&t.channel[3]),
        "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero "
        "exit code: "
        "exit status "
        "3\",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\","
        "\"message\":\"3\"}]}}");
    UNTIL(play.closed);
    talk_done(&t);

    talk_start(as_api, &t, "/exec/default/web/web?command=true&output=1", "v4.channel.k8s.io");
    assert_string_equal(t.protocol, "v4.channel.k8s.io");
    UNTIL(play.running);
    assert_int_equal(play.x.stdin_fd, -1);
    assert_int_equal(play.x.stderr_fd, -1);
    play_exit(0);
    UNTIL(t.closed);
    assert_string_equal(buf_cstr(&t.channel[3]), "{\"metadata\":{},\"status\":\"Success\"}");
    talk_done(&t);
}

// cases/conformance-first-run.md: the older protocols, and their base64 form, whose messages are
// text.
static void old_message(struct websocket *s, bool binary, struct str m)
{
    struct talk *t = websocket_ctx(s);
    bool base64 = strncmp(t->protocol, "base64.", 7) == 0;
    assert_int_equal(binary, !base64);
    assert_true(m.n > 0);
    int channel = base64 ? m.p[0] - '0' : m.p[0];
    assert_in_range(channel, 0, 4);
    if (base64)
        assert_true(base64_decode(&t->channel[channel], str_from(m, 1)));
    else
        buf_str(&t->channel[channel], str_from(m, 1));
}

static void old_start(struct talk *t, const char *path, const char *protocol)
{
    *t = (struct talk){0};
    snprintf(t->protocol, sizeof t->protocol, "%s", protocol);
    struct arena tmp = ARENA_INIT;
    const struct str list[] = {str_of(protocol)};
    struct websocket_handler h = {.on_message = old_message, .on_close = talk_close, .ctx = t};
    websocket_connect(as_api, arena_printf(&tmp, "%s%s", base_url, path), NULL, 0, list,
                      *protocol ? 1 : 0, &h, talk_open);
    arena_done(&tmp);
    UNTIL(t->opened);
    assert_string_equal(t->error, "");
    assert_string_equal(t->protocol, protocol);
}

static void case_conformance_exec_protocols(void **state)
{
    (void)state;
    static const char *const list[] = {"channel.k8s.io", "base64.channel.k8s.io", ""};
    for (size_t i = 0; i < 3; i++) {
        struct talk t;
        char text[16] = "";
        old_start(&t, "/exec/default/web/web?command=sh&input=1&output=1&error=1", list[i]);
        UNTIL(play.running);
        play_write(play.x.stdout_fd, "out");
        play_write(play.x.stderr_fd, "err");
        UNTIL(t.channel[1].n == 3 && t.channel[2].n == 3);
        if (i == 1)
            websocket_send(t.ws, false, STR("0aGVsbG8="));
        else
            websocket_send_channel(t.ws, 0, STR("hello"));
        fcntl(play.x.stdin_fd, F_SETFL, O_NONBLOCK);
        UNTIL(play_read(text, sizeof(text)) == 5);
        assert_string_equal(text, "hello");
        play_exit(i == 0 ? 3 : 0);
        UNTIL(t.closed);
        assert_string_equal(buf_cstr(&t.channel[1]), "out");
        assert_string_equal(buf_cstr(&t.channel[3]),
                            i == 0 ? "command terminated with non-zero exit code: exit status 3"
                                   : "");
        UNTIL(play.closed);
        talk_done(&t);
    }
}

// cases/conformance-first-run.md: logs as messages.
static void logs_message(struct websocket *s, bool binary, struct str m)
{
    struct talk *t = websocket_ctx(s);
    bool base64 = strncmp(t->protocol, "base64.", 7) == 0;
    assert_int_equal(binary, !base64);
    if (base64)
        assert_true(base64_decode(&t->channel[0], m));
    else
        buf_str(&t->channel[0], m);
}

static void case_conformance_logs_websocket(void **state)
{
    (void)state;
    static const char *const list[] = {"binary.k8s.io", "base64.binary.k8s.io"};
    make_log("2026-01-01T00:00:01Z stdout F one\n");
    for (size_t i = 0; i < 2; i++) {
        struct talk t = {0};
        struct arena tmp = ARENA_INIT;
        const struct str protocols[] = {str_of(list[i])};
        struct websocket_handler h = {
            .on_message = logs_message, .on_close = talk_close, .ctx = &t};
        snprintf(t.protocol, sizeof t.protocol, "%s", list[i]);
        websocket_connect(
            as_api,
            arena_printf(&tmp, "%s/containerLogs/default/web/web?follow=%d", base_url, i == 0),
            NULL, 0, protocols, 1, &h, talk_open);
        arena_done(&tmp);
        UNTIL(t.opened);
        assert_string_equal(t.error, "");
        assert_string_equal(t.protocol, list[i]);
        UNTIL(t.channel[0].n >= 4);
        if (i == 0) { // followed: what comes later comes too
            write_log("2026-01-01T00:00:02Z stdout F two\n");
            UNTIL(t.channel[0].n == 8);
            assert_false(t.closed);
            websocket_close(t.ws, 1000, STR_NULL); // leaves nothing behind (the sanitizer looks)
        }
        UNTIL(t.closed);
        assert_string_equal(buf_cstr(&t.channel[0]), "one\ntwo\n");
        talk_done(&t);
    }
}

static void exec_terminal(void **state)
{
    (void)state;
    struct talk t;
    talk_start(as_api, &t, "/exec/default/web/web?command=sh&input=1&output=1&tty=1",
               "v5.channel.k8s.io");
    UNTIL(play.running);
    assert_true(play.x.tty);
    assert_int_equal(play.x.stdout_fd, -1);
    play_write(play.x.stdin_fd, "$ ");
    UNTIL(t.channel[1].n == 2);
    websocket_send_channel(t.ws, 4, STR("{\"Width\":120,\"Height\":40}"));
    UNTIL(play.width == 120 && play.height == 40);
    websocket_send_channel(t.ws, 4, STR("nonsense"));
    websocket_send_channel(t.ws, 0, STR("ls\n"));
    char text[16] = "";
    fcntl(play.x.stdin_fd, F_SETFL, O_NONBLOCK);
    UNTIL(play_read(text, sizeof(text)) == 3);
    assert_string_equal(text, "ls\n");
    play_exit(0);
    UNTIL(t.closed);
    talk_done(&t);
}

static void exec_much(void **state)
{
    (void)state;
    struct talk t;
    talk_start(as_api, &t, "/exec/default/web/web?command=cat&input=1&output=1",
               "v5.channel.k8s.io");
    UNTIL(play.running);
    fcntl(play.x.stdout_fd, F_SETFL, O_NONBLOCK);
    fcntl(play.x.stdin_fd, F_SETFL, O_NONBLOCK);
    static char chunk[65536], back[65536];
    memset(chunk, 'x', sizeof(chunk));
    size_t want = 4u << 20, in = 0, out = 0;
    for (size_t i = 0; i < want / sizeof(chunk); i++)
        websocket_send_channel(t.ws, 0, str_n(chunk, sizeof(chunk)));
    for (int i = 0; i < 100000 && (in < want || out < want); i++) {
        loop_run_until_idle(w.loop, 0);
        ssize_t n = read(play.x.stdin_fd, back, sizeof(back));
        in += n > 0 ? (size_t)n : 0;
        n = out < in ? write(play.x.stdout_fd, chunk,
                             in - out < sizeof(chunk) ? in - out : sizeof(chunk))
                     : 0;
        out += n > 0 ? (size_t)n : 0;
    }
    UNTIL(t.channel[1].n == want);
    play_exit(0);
    UNTIL(t.closed);
    talk_done(&t);
}

static void exec_ends(void **state)
{
    (void)state;
    struct talk t;
    // The client goes: the process is ended.
    talk_start(as_api, &t, "/exec/default/web/web?command=sleep&output=1", "v5.channel.k8s.io");
    UNTIL(play.running);
    websocket_close(t.ws, 1000, STR_NULL);
    UNTIL(play.closed);
    UNTIL(t.closed);
    talk_done(&t);
    // A background child holds the output open: after two seconds nobody waits for it any more.
    talk_start(as_api, &t, "/exec/default/web/web?command=sh&output=1", "v5.channel.k8s.io");
    UNTIL(play.running);
    int held = dup(play.x.stdout_fd);
    play_exit(0);
    for (int i = 0; i < 20; i++)
        loop_run_until_idle(w.loop, 0);
    assert_false(t.closed);
    loop_run_until_idle(w.loop, 3 * NS_PER_S);
    UNTIL(t.closed);
    close(held);
    assert_string_equal(buf_cstr(&t.channel[3]), "{\"metadata\":{},\"status\":\"Success\"}");
    talk_done(&t);
    // It could not be started.
    talk_start(as_api, &t, "/exec/default/web/web?command=missing&output=1", "v5.channel.k8s.io");
    UNTIL(t.closed);
    assert_string_equal(buf_cstr(&t.channel[3]),
                        "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"executable file not "
                        "found in $PATH\","
                        "\"reason\":\"InternalError\",\"code\":500}");
    talk_done(&t);
    // Refused before the upgrade.
    talk_start(as_api, &t, "/exec/default/none/web?command=x&output=1", "v5.channel.k8s.io");
    assert_non_null(strstr(t.error, "404"));
    talk_done(&t);
    talk_start(as_api, &t, "/exec/default/web/web?output=1", "v5.channel.k8s.io");
    assert_non_null(strstr(t.error, "you must specify at least 1 command"));
    talk_done(&t);
    talk_start(as_stranger, &t, "/exec/default/web/web?command=x&output=1", "v5.channel.k8s.io");
    assert_non_null(strstr(t.error, "403"));
    talk_done(&t);
}

static void attach(void **state)
{
    (void)state;
    struct talk t;
    talk_start(as_api, &t, "/attach/default/web/web?output=1&error=1", "v5.channel.k8s.io");
    UNTIL(play.running);
    assert_int_equal(play.x.ncommand, 0);
    play_write(play.x.stdout_fd, "log");
    UNTIL(t.channel[1].n == 3);
    play_exit(0);
    UNTIL(t.closed);
    talk_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_may_come_in, setup, teardown),
        cmocka_unit_test_setup_teardown(logs, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(logs_to_a_slow_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(exec_streams, setup, teardown),
        cmocka_unit_test_setup_teardown(case_conformance_exec_protocols, setup, teardown),
        cmocka_unit_test_setup_teardown(case_conformance_logs_websocket, setup, teardown),
        cmocka_unit_test_setup_teardown(exec_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(exec_much, setup, teardown),
        cmocka_unit_test_setup_teardown(exec_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(attach, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
