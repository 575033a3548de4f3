// Logs and exec through the API server to a node agent: a stand-in that speaks the agent's paths
// over TLS and asks for the API server's certificate.
#include "apiserver/auth.h"
#include "apiserver/proxy_channels.h"
#include "base/thread.h"
#include "base/time.h"
#include "harness.h"
#include "wire/http_client.h"
#include "wire/websocket.h"
#include <unistd.h>

struct world {
    struct env *env;
    struct store *store;
    struct pki *pki;
    struct apiserver *server;
    struct loop *loop; // API server and agent
    struct loop *client_loop;
    pthread_t thread, client_thread;
    struct http_server *http, *agent;
    struct tls_server *agent_tls;
    struct http_client *client;
    struct completion done;
    struct arena a;
    char dir[64], base[64];
};

// ---- the agent

static void agent_message(struct websocket *w, bool binary, struct str message)
{
    assert_true(binary);
    if (str_eqc(message, "\xff")) // v5: standard input is closed
        return;
    if (message.n >= 2 && message.p[0] == '\xff' && !message.p[1]) {
        websocket_send_channel(w, 3, STR("{\"metadata\":{},\"status\":\"Success\"}"));
        websocket_close(w, 1000, STR_NULL);
        return;
    }
    assert_int_equal(message.p[0], 0);
    websocket_send_channel(w, 1, str_from(message, 1)); // echoes standard input
}

static void agent_gone(struct websocket *w)
{
    (void)w;
}

static void agent_handle(void *ctx, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    struct http_header type = {STR("content-type"), STR("text/plain")};
    (void)ctx;
    assert_non_null(r->peer);
    if (!str_eqc(r->peer->common_name, "kube-apiserver-kubelet-client")) {
        http_respond(x, 401, NULL, 0, STR("who are you"));
    } else if (str_eqc(r->path, "/containerLogs/default/p/c")) {
        http_start(x, 200, &type, 1);
        http_send(x, r->query);
        http_send(x, STR("\n"));
        for (int i = 0; i < 20000; i++)
            http_send(x, STR("a line of the log that is neither short nor long\n"));
        http_finish(x);
    } else if (str_eqc(r->path, "/exec/default/p/c")) {
        static const struct str protocols[] = {{"v5.channel.k8s.io", 17},
                                               {"v4.channel.k8s.io", 17}};
        struct websocket_handler h = {.on_message = agent_message, .on_close = agent_gone};
        struct str chosen;
        if (str_find(r->query, STR("command=ls&command=-l%20x")) < 0)
            http_respond(x, 400, &type, 1, STR("container is not running"));
        else
            assert_non_null(websocket_accept(x, protocols, 2, &h, &chosen));
    } else {
        http_respond(x, 404, &type, 1, STR("unable to find log\n"));
    }
}

// ---- the rest of the world

static void *run_loop(void *l)
{
    loop_run(l);
    return NULL;
}

static void make_client(void *arg)
{
    struct world *w = arg;
    w->client = http_client_new(w->client_loop, &(struct http_client_options){0});
    completion_signal(&w->done);
}

static void drop_client(void *arg)
{
    struct world *w = arg;
    http_client_free(w->client);
    completion_signal(&w->done);
}

static void signal_done(void *arg)
{
    completion_signal(arg);
}

static void wait_for(struct world *w, struct loop *l, void (*fn)(void *))
{
    completion_init(&w->done);
    loop_call(l, fn, w);
    completion_wait(&w->done);
    completion_done(&w->done);
}

static void stop_server(struct world *w, struct http_server *s)
{
    completion_init(&w->done);
    http_server_stop(s, 100 * NS_PER_MS, signal_done, &w->done);
    completion_wait(&w->done);
    completion_done(&w->done);
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e_ = ERR_INIT;                                                                  \
        struct err *e = &e_;                                                                       \
        if ((call) < 0)                                                                            \
            fail_msg("%s", e_.message);                                                            \
    } while (0)

static void make_cluster(struct world *w)
{
    struct fixture f = {.env = w->env, .store = w->store, .server = w->server};
    f.admin = (struct identity){.user = STR("admin"), .groups = harness_masters, .ngroups = 1};
    api_call_init(&f.call);
    create(&f, "clusterrolebindings", NULL,
           "{'metadata':{'name':'all'},'subjects':[{'kind':'Group','apiGroup':'rbac.authorization."
           "k8s.io','name':"
           "'system:unauthenticated'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'"
           "ClusterRole','name':"
           "'cluster-admin'}}");
    create(&f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
    char text[512];
    snprintf(text, sizeof text,
             "{'metadata':{'name':'n1'},'status':{'addresses':[{'type':'InternalIP','address':'127."
             "0.0.1'}],"
             "'daemonEndpoints':{'kubeletEndpoint':{'Port':%u}}}}",
             http_server_port(w->agent));
    create(&f, "nodes", NULL, text);
    create(&f, "nodes", NULL,
           "{'metadata':{'name':'n2'},'status':{'addresses':[{'type':'InternalIP','address':'127.0."
           "0.1'}],"
           "'daemonEndpoints':{'kubeletEndpoint':{'Port':1}}}}");
    create(&f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i'}"
           ",{'name':'d','image':'i'}]}}");
    create(&f, "pods", "default",
           "{'metadata':{'name':'q'},'spec':{'nodeName':'n2','containers':[{'name':'c','image':'i'}"
           "]}}");
    api_call_done(&f.call);
    arena_done(&f.a);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof *w);
    struct str localhost = STR("127.0.0.1"), cert, key;
    w->env = env_system();
    w->store = store_memory_new(w->env);
    snprintf(w->dir, sizeof w->dir, "/tmp/proxy_test.%d.XXXXXX", getpid());
    assert_non_null(mkdtemp(w->dir));
    struct pki_options po = {
        .dir = w->dir, .service_ip = STR("10.96.0.1"), .cluster_domain = STR("cluster.local")};
    OK(pki_open(w->env, &po, &w->pki, e));
    OK(pki_issue(w->env, w->pki, &w->a, STR("system:node:n1"), NULL, 0, NULL, 0, &localhost, 1,
                 &cert, &key, e));
    OK(tls_server_new(cert, key, w->pki->ca_cert, &w->agent_tls, e));
    struct apiserver_options opt = {.env = w->env, .store = w->store, .pki = w->pki, .port = 6443};
    OK(apiserver_new(&opt, &w->server, e));
    w->loop = loop_new(w->env);
    w->client_loop = loop_new(w->env);
    static const struct http_handler agent = {.handle = agent_handle};
    OK(http_server_new(&w->loop, 1, STR("127.0.0.1:0"), &agent,
                       &(struct http_server_options){.tls = w->agent_tls}, &w->agent, e));
    OK(http_server_new(&w->loop, 1, STR("127.0.0.1:0"), apiserver_http_handler(w->server),
                       &(struct http_server_options){0}, &w->http, e));
    snprintf(w->base, sizeof w->base, "http://127.0.0.1:%u", http_server_port(w->http));
    make_cluster(w);
    w->thread = thread_start("server", run_loop, w->loop);
    w->client_thread = thread_start("client", run_loop, w->client_loop);
    wait_for(w, w->client_loop, make_client);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    wait_for(w, w->client_loop, drop_client);
    stop_server(w, w->http);
    stop_server(w, w->agent);
    loop_stop(w->loop);
    loop_stop(w->client_loop);
    pthread_join(w->thread, NULL);
    pthread_join(w->client_thread, NULL);
    loop_free(w->loop);
    loop_free(w->client_loop);
    apiserver_free(w->server);
    store_close(w->store);
    tls_server_free(w->agent_tls);
    pki_free(w->pki);
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    FILE *p = popen(command, "r");
    if (p)
        pclose(p);
    arena_done(&w->a);
    free(w);
    return 0;
}

static int fetch(struct world *w, const char *path, struct str *ret_body,
                 const struct http_header *h, size_t n)
{
    struct http_answer answer;
    struct http_call_request r = {.method = "GET",
                                  .url = arena_printf(&w->a, "%s%s", w->base, path),
                                  .headers = h,
                                  .nheaders = n};
    OK(http_do(w->client, &w->a, &r, 64 << 20, &answer, e));
    *ret_body = answer.body;
    return answer.status;
}

#define PODS "/api/v1/namespaces/default/pods"

static void test_logs(void **state)
{
    struct world *w = *state;
    struct str body;
    assert_int_equal(
        fetch(w, PODS "/p/log?container=c&tailLines=5&follow=true&pretty=x", &body, NULL, 0), 200);
    assert_true(str_starts(body, STR("follow=true&tailLines=5\na line of the log")));
    assert_int_equal(body.n, 24 + 20000 * 49);
    assert_int_equal(fetch(w, PODS "/p/log?container=d", &body, NULL, 0), 404);
    assert_true(str_find(body, STR("\"message\":\"unable to find log\"")) > 0);
    assert_int_equal(fetch(w, PODS "/q/log", &body, NULL, 0), 500);
    assert_true(str_find(body, STR("dial tcp 127.0.0.1:1: connect: connection refused")) > 0);
}

struct session {
    struct world *w;
    struct buf out;
    char error[256];
    const char *path;
    struct str protocol;
    struct str offer; // STR_NULL: the usual two
    bool refused;
};

static void client_message(struct websocket *ws, bool binary, struct str message)
{
    struct session *s = websocket_ctx(ws);
    assert_true(binary);
    buf_str(&s->out, message);
    if (message.n && message.p[0] == 1 && str_ends(message, STR("!")))
        websocket_send(ws, true, str_n("\xff\0", 2)); // end of standard input
}

static void client_gone(struct websocket *ws)
{
    struct session *s = websocket_ctx(ws);
    completion_signal(&s->w->done);
}

static void client_open(void *ctx, struct websocket *ws, struct str protocol, const struct err *e)
{
    struct session *s = ctx;
    s->protocol = protocol;
    if (!ws) {
        s->refused = true;
        snprintf(s->error, sizeof s->error, "%s", e->message);
        completion_signal(&s->w->done);
        return;
    }
    assert_true(str_eq(protocol, s->offer.p ? s->offer : STR("v5.channel.k8s.io")));
    if (str_eqc(protocol, "binary.k8s.io"))
        return;
    websocket_send_channel(ws, 0, STR("hello"));
    websocket_send_channel(ws, 0, STR("world!"));
}

static void session_start(void *arg)
{
    struct session *s = arg;
    static const struct str protocols[] = {{"v5.channel.k8s.io", 17}, {"v4.channel.k8s.io", 17}};
    struct websocket_handler h = {.on_message = client_message, .on_close = client_gone, .ctx = s};
    websocket_connect(s->w->client, arena_printf(&s->w->a, "%s%s", s->w->base, s->path), NULL, 0,
                      s->offer.p ? &s->offer : protocols, s->offer.p ? 1 : 2, &h, client_open);
}

static void session(struct session *s)
{
    completion_init(&s->w->done);
    loop_call(s->w->client_loop, session_start, s);
    completion_wait(&s->w->done);
    completion_done(&s->w->done);
}

static void test_exec(void **state)
{
    struct world *w = *state;
    struct session s = {.w = w};
    s.path = PODS "/p/exec?command=ls&command=-l%20x&container=c&stdin=true&stdout=true";
    session(&s);
    assert_false(s.refused);
    struct str all = buf_view(&s.out);
    assert_true(
        str_eq(all, STR("\001hello\001world!\003{\"metadata\":{},\"status\":\"Success\"}")));
    buf_done(&s.out);
}

// conformance-first-run: the subprotocols of older clients.
static void test_old_protocols(void **state)
{
    struct world *w = *state;
    struct session s = {.w = w, .offer = STR("channel.k8s.io")};
    s.path = PODS "/p/exec?command=ls&command=-l%20x&container=c&stdin=true&stdout=true";
    session(&s);
    assert_false(s.refused);
    assert_true(str_eq(buf_view(&s.out), STR("\001hello\001world!"))); // success is not told
    buf_reset(&s.out);
    s.offer = STR("v4.channel.k8s.io");
    session(&s);
    assert_true(str_eq(buf_view(&s.out),
                       STR("\001hello\001world!\003{\"metadata\":{},\"status\":\"Success\"}")));
    buf_reset(&s.out);
    s.offer = STR("v9.channel.k8s.io");
    session(&s);
    assert_true(s.refused);
    buf_reset(&s.out);
    // A log as messages.
    s.refused = false;
    s.offer = STR("binary.k8s.io");
    s.path = PODS "/p/log?container=c&tailLines=5";
    session(&s);
    assert_false(s.refused);
    assert_true(str_starts(buf_view(&s.out), STR("tailLines=5\na line of the log")));
    assert_int_equal(s.out.n, 12 + 20000 * 49);
    buf_reset(&s.out);
    s.path = PODS "/p/log?container=d";
    session(&s);
    assert_true(s.refused);
    buf_done(&s.out);
}

static void one_way(const struct channel_protocol *p, const char *message, size_t n,
                    const char *told, int kind)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct str got;
    assert_int_equal(channel_to_client(p, str_n(message, n), &out, &got), kind);
    if (kind >= 0)
        assert_true(str_eqc(got, told));
}

static void test_channels(void **state)
{
    (void)state;
    static const struct {
        const char *offered, *chosen, *to_node;
    } rows[] = {
        {"channel.k8s.io, v4.channel.k8s.io , v5.channel.k8s.io", "v5.channel.k8s.io",
         "v5.channel.k8s.io"},
        {"base64.channel.k8s.io", "base64.channel.k8s.io", "v4.channel.k8s.io"},
        {"x,v4.base64.channel.k8s.io", "v4.base64.channel.k8s.io", "v4.channel.k8s.io"},
        {"", "", "v4.channel.k8s.io"},
    };
    for (size_t i = 0; i < 4; i++) {
        const struct channel_protocol *p = channel_protocol_choose(str_of(rows[i].offered), false);
        assert_true(str_eqc(p->name, rows[i].chosen) && str_eqc(p->to_node, rows[i].to_node));
    }
    assert_null(channel_protocol_choose(STR("binary.k8s.io"), false));
    assert_null(channel_protocol_choose(STR("channel.k8s.io"), true));

    const struct channel_protocol *old = channel_protocol_choose(STR("channel.k8s.io"), false),
                                  *b64 =
                                      channel_protocol_choose(STR("base64.channel.k8s.io"), false),
                                  *log = channel_protocol_choose(STR("base64.binary.k8s.io"), true);
    one_way(old, "\001abc", 4, "\001abc", 1);
    one_way(old, "\003{\"status\":\"Success\"}", 21, NULL, -1);
    one_way(old, "\003{\"status\":\"Failure\",\"message\":\"no\"}", 36, "\003no", 1);
    one_way(old, "\003oh", 3, "\003oh", 1);
    one_way(b64, "\001abc", 4, "1YWJj", 0);
    one_way(b64, "\003{\"status\":\"Failure\",\"message\":\"no\"}", 36, "3bm8=", 0);
    one_way(log, "abc", 3, "YWJj", 0);

    _cleanup_buf_ struct buf out = BUF_INIT;
    struct str got;
    assert_true(channel_to_node(b64, false, STR("0YWJj"), &out, &got));
    assert_true(got.n == 4 && !memcmp(got.p, "\000abc", 4));
    assert_true(channel_to_node(b64, false, STR("4"), &out, &got));
    assert_int_equal(got.n, 1);
    assert_false(channel_to_node(b64, false, STR(""), &out, &got));
    assert_false(channel_to_node(b64, false, STR("aYWJj"), &out, &got));
    assert_false(channel_to_node(b64, false, STR("0YWJ"), &out, &got));
}

static void test_node_port(void **state)
{
    struct world *w = *state;
    struct str body;
    unsigned port = http_server_port(w->agent);
    const struct {
        const char *name;
        int status;
    } rows[] = {{"n1", 200},   {"n1:PORT", 200},        {"https:n1:PORT", 200}, {"https:n1:", 200},
                {"n1:1", 501}, {"gopher:n1:PORT", 400}, {"n9:PORT", 404}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str name = str_of(rows[i].name);
        bool own = str_ends(name, STR("PORT"));
        struct str path =
            own ? arena_printf(&w->a, "/api/v1/nodes/%.*s%u/proxy/containerLogs/default/p/c",
                               (int)name.n - 4, name.p, port)
                : arena_printf(&w->a, "/api/v1/nodes/%.*s/proxy/containerLogs/default/p/c",
                               STR_ARG(name));
        assert_int_equal(fetch(w, arena_cstr(&w->a, path), &body, NULL, 0), rows[i].status);
    }
}

static void test_exec_refused(void **state)
{
    struct world *w = *state;
    static const struct http_header spdy[] = {{{"connection", 10}, {"Upgrade", 7}},
                                              {{"upgrade", 7}, {"SPDY/3.1", 8}}};
    struct session s = {.w = w, .path = PODS "/p/exec?command=no&container=c&stdout=true"};
    struct str body;
    session(&s);
    assert_true(s.refused);
    assert_non_null(strstr(s.error, "container is not running"));
    // The same question over SPDY gets the same answer; another one is told that SPDY will not do.
    assert_int_equal(fetch(w, s.path, &body, spdy, 2), 400);
    assert_true(str_find(body, STR("container is not running")) > 0);
    assert_int_equal(fetch(w, PODS "/p/exec?command=ls&container=c&stdout=true", &body, spdy, 2),
                     400);
    assert_true(
        str_find(body,
                 STR("this server supports exec over WebSocket only; use kubectl 1.31 or later")) >
        0);
    s.path = PODS "/q/exec?command=ls&stdout=true";
    session(&s);
    assert_non_null(strstr(s.error, "error dialing backend: "));
    s.path = PODS "/p/exec?command=ls&stdout=true";
    session(&s);
    assert_non_null(
        strstr(s.error, "a container name must be specified for pod p, choose one of: [c d]"));
    s.path = PODS "/p/exec?command=ls&container=c";
    session(&s);
    assert_non_null(strstr(s.error, "you must specify at least one of stdin, stdout, stderr"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_logs),          T(test_exec),      T(test_exec_refused),
        T(test_old_protocols), T(test_node_port), cmocka_unit_test(test_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
