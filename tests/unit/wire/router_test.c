// The route table: patterns, mounts, refusals, the head before the body; and contexts that outlive
// their exchange.
#include "fixture_sim.h"
#include "wire/http_router.h"
#include "wire/http_tie.h"

// --- matching

static void nothing(struct http_routed *r, struct str body)
{
    (void)r, (void)body;
}

#define ROW(m, p)                                                                                  \
    {                                                                                              \
        m, p, HTTP_BODY_NONE, 0, nothing                                                           \
    }
static const struct http_route images[] = {
    ROW("GET", "/"),
    ROW("GET", "/{name...}/manifests/{reference}"),
    ROW("PUT", "/{name...}/manifests/{reference}"),
    ROW("GET", "/{name...}/tags/list"),
    ROW("PATCH", "/{name...}/blobs/uploads/{id}"),
    {0},
};
static const struct http_route spans[] = {
    ROW("POST", "/api/v2/spans"),
    ROW("GET", "/api/v2/trace/{id}"),
    ROW("GET", "/api/v2/traces"),
    ROW("*", "/any/{what}"),
    ROW("GET", ""),
    {0},
};
static const struct http_route page[] = {
    ROW("GET", "/"),
    ROW("GET", "/{file...}"),
    {0},
};
static const struct http_mount mounts[] = {
    {.prefix = "", .routes = page},
    {.prefix = "/v2", .routes = images},
    {.prefix = "/zipkin", .routes = spans},
    {.prefix = "/zipkin/old", .routes = images},
};

static void matching(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
        const char *prefix, *pattern, *params; // params with ',' between; or Allow
    } rows[] = {
        {"GET", "/", 0, "", "/", ""},
        {"GET", "/index.html", 0, "", "/{file...}", "index.html"},
        {"HEAD", "/a/b/c.js", 0, "", "/{file...}", "a/b/c.js"},
        {"GET", "/a%2Fb/%C3%A4", 0, "", "/{file...}", "a%2Fb/\xc3\xa4"},
        {"POST", "/a", 405, "", NULL, "GET"},
        {"GET", "/v2/", 0, "/v2", "/", ""},
        {"GET", "/v2", 404, "/v2", NULL, ""},
        {"GET", "/v2x/", 0, "", "/{file...}", "v2x/"},
        {"GET", "/v2/app/manifests/latest", 0, "/v2", "/{name...}/manifests/{reference}",
         "app,latest"},
        {"GET", "/v2/a/b/manifests/manifests/manifests/1", 0, "/v2",
         "/{name...}/manifests/{reference}", "a/b/manifests/manifests,1"},
        {"DELETE", "/v2/a/manifests/1", 405, "/v2", NULL, "GET, PUT"},
        {"GET", "/v2/manifests/1", 404, "/v2", NULL, ""},
        {"GET", "/v2//manifests/1", 404, "/v2", NULL, ""},
        {"GET", "/v2/a/tags/list", 0, "/v2", "/{name...}/tags/list", "a"},
        {"GET", "/v2/a/tags/list/", 404, "/v2", NULL, ""},
        {"PATCH", "/v2/a/b/blobs/uploads/x%2Fy", 0, "/v2", "/{name...}/blobs/uploads/{id}",
         "a/b,x/y"},
        {"GET", "/zipkin", 0, "/zipkin", "", ""},
        {"GET", "/zipkin/", 404, "/zipkin", NULL, ""},
        {"GET", "/zipkin/api/v2/trace/abc", 0, "/zipkin", "/api/v2/trace/{id}", "abc"},
        {"GET", "/zipkin/api/v2/trace/", 404, "/zipkin", NULL, ""},
        {"GET", "/zipkin/api/v2/trace/%zz", 400, "/zipkin", NULL, ""},
        {"GET", "/zipkin/api/v2/trace/%00", 400, "/zipkin", NULL, ""},
        {"BREW", "/zipkin/any/pot", 0, "/zipkin", "/any/{what}", "pot"},
        {"GET", "/zipkin/old/x/tags/list", 0, "/zipkin/old", "/{name...}/tags/list", "x"},
        {"OPTIONS", "*", 404, "", NULL, ""},
    };
    struct http_router *t = http_router_new(mounts, 4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct http_routed r = {0};
        struct str allow;
        int status =
            http_router_match(t, &a, str_of(rows[i].method), str_of(rows[i].path), &r, &allow);
        struct str got = status ? allow : arena_join(&a, r.params, r.nparams, STR(","));
        if (status != rows[i].status || (got.n ? !str_eqc(got, rows[i].params) : rows[i].params[0]))
            fail_msg("%s %s: %d %.*s", rows[i].method, rows[i].path, status, STR_ARG(got));
        if (str_starts(str_of(rows[i].path), STR("/")))
            assert_string_equal(r.mount->prefix, rows[i].prefix);
        if (status)
            assert_null(r.route);
        else
            assert_string_equal(r.route->pattern, rows[i].pattern);
    }
    http_router_free(t);
}

// A path of more parts than there may be is not found, and does nothing worse.
static void many_parts(void **state)
{
    (void)state;
    struct http_router *t = http_router_new(mounts, 4);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_routed r = {0};
    struct str allow;
    char path[2 * (HTTP_PARTS_MAX + 1) + 1];
    for (size_t i = 0; i < sizeof path - 1; i++)
        path[i] = i % 2 ? 'a' : '/';
    path[sizeof path - 1] = 0;
    assert_int_equal(http_router_match(t, &a, STR("GET"), str_of(path), &r, &allow), 404);
    path[sizeof path - 3] = 0;
    assert_int_equal(http_router_match(t, &a, STR("GET"), str_of(path), &r, &allow), 0);
    http_router_free(t);
}

// --- over a server

static struct sim s;
static struct http_router *router;
static struct http_handler routed;

static bool to_router(struct test_server *t, struct http_exchange *x)
{
    (void)t;
    routed.handle(routed.ctx, x);
    return true;
}

static void echo(struct http_routed *r, struct str body)
{
    http_respond(r->x, 200, test_text, 1,
                 arena_printf(http_arena(r->x), "%.*s=%.*s", STR_ARG(http_routed_param(r, "name")),
                              STR_ARG(body)));
}

static void count(struct http_exchange *x, struct str part, bool last)
{
    static size_t n;
    n = (last ? 0 : n) + part.n;
    if (last)
        http_respond(x, 200, test_text, 1, STR("streamed"));
}

static void stream(struct http_routed *r, struct str body)
{
    assert_null(body.p);
    http_stream_body(r->x, count);
}

static void admit(struct http_routed *r)
{
    if (http_header(http_request(r->x), "authorization").n)
        http_routed_admit(r);
    else
        http_respond(r->x, 401, test_text, 1, STR("who is this?"));
}

static void refuse(struct http_routed *r, int status, const struct http_header *headers, size_t n,
                   struct str text)
{
    struct http_header h[2] = {{STR("content-type"), STR("application/json")}};
    if (n)
        h[1] = headers[0];
    http_respond(r->x, status, h, 1 + n,
                 arena_printf(http_arena(r->x), "{\"error\":\"%.*s\"}", STR_ARG(text)));
}

static const struct http_route guarded[] = {
    {"POST", "/{name}", HTTP_BODY_WHOLE, 10, echo},
    {"PUT", "/{name}", HTTP_BODY_STREAM, 0, stream},
    {"GET", "/{name}", HTTP_BODY_NONE, 0, echo},
    {0},
};

static void talk(const char *request, const char *answer)
{
    char got[4096];
    int fd = test_connect(s.port);
    test_write(fd, str_of(request));
    loop_run_until_idle(s.loop, 0);
    loop_run_until_idle(s.loop, 0);
    alive(fd, got, sizeof got);
    assert_contains(str_of(got), answer);
    close(fd);
    loop_run_until_idle(s.loop, 0);
}

static void served(void **state)
{
    (void)state;
    static const struct http_mount on[] = {
        {.prefix = "/g", .routes = guarded, .admit = admit, .refuse = refuse},
        {.prefix = "/open", .routes = guarded},
    };
    struct http_server_options opt = {0};
    sim_start(&s, &opt);
    router = http_router_new(on, 2);
    routed = http_router_handler(router);
    s.t.route = to_router;
    talk("POST /open/a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz", "\r\n\r\na=xyz");
    talk("POST /open/a HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n", "413 ");
    talk("PUT /open/a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz", "streamed");
    talk("GET /open/%41 HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\nA=");
    talk("DELETE /open/a HTTP/1.1\r\nHost: h\r\n\r\n", "405 Method Not Allowed");
    talk("DELETE /open/a HTTP/1.1\r\nHost: h\r\n\r\n", "Allow: POST, PUT, GET\r\n");
    talk("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found\n");
    // From the head alone: no byte of the body has been sent.
    talk("POST /g/a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "who is this?");
    talk("POST /g/a HTTP/1.1\r\nHost: h\r\nAuthorization: x\r\nContent-Length: 3\r\n\r\nxyz",
         "\r\n\r\na=xyz");
    talk("GET /g/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "{\"error\":\"Not Found\"}");
    talk("PATCH /g/a HTTP/1.1\r\nHost: h\r\n\r\n", "Allow: POST, PUT, GET\r\n");
    sim_end(&s);
    http_router_free(router);
}

// --- ties

struct context {
    struct http_tie tie;
    int *log; // 1: back with the client there, 2: back without, 3: away again; 10: gone
    bool again;
};

static struct context *latest;

static void c_gone(struct http_tie *t)
{
    struct context *c = container_of(t, struct context, tie);
    *c->log = *c->log * 100 + 10;
    free(c);
}

static void c_back(struct http_tie *t)
{
    struct context *c = container_of(t, struct context, tie);
    *c->log = *c->log * 100 + (t->x ? 1 : 2);
    if (c->again) {
        c->again = false;
        http_tie_away(t, c_back);
    } else if (t->x) {
        http_respond(t->x, 200, test_text, 1, STR("back"));
    }
}

static int tie_log;

static bool tie_route(struct test_server *t, struct http_exchange *x)
{
    (void)t;
    struct context *c = latest = mem_zalloc(sizeof *c);
    struct str path = http_request(x)->path;
    c->log = &tie_log;
    c->again = str_eqc(path, "/again");
    http_tie(&c->tie, x, c_gone);
    assert_ptr_equal(http_tie_of(x), &c->tie);
    http_tie_away(&c->tie, c_back);
    if (str_eqc(path, "/stay")) {
        http_tie_stay(&c->tie);
        http_respond(x, 200, test_text, 1, STR("stayed"));
    } else if (str_eqc(path, "/cut")) {
        http_tie_stay(&c->tie);
        assert_ptr_equal(http_tie_cut(&c->tie), x);
        http_respond(x, 200, test_text, 1, STR("cut"));
        free(c);
    }
    return true;
}

static void *worker(void *arg)
{
    http_tie_back(arg);
    return NULL;
}

// One request: the work comes back `times`, before the client hangs up or after.
static void tie_case(const char *path, bool hang_up_first, int times, int log)
{
    char request[128], got[1024];
    struct http_server_options opt = {0};
    tie_log = 0;
    sim_start(&s, &opt);
    s.t.route = tie_route;
    s.t.on_close = http_tie_closed;
    int fd = test_connect(s.port);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
    test_write(fd, str_of(request));
    loop_run_until_idle(s.loop, 0);
    loop_run_until_idle(s.loop, 0);
    if (hang_up_first) {
        close(fd);
        loop_run_until_idle(s.loop, 10 * (uint64_t)NS_PER_S);
        assert_int_equal(s.t.stats.open, 0);
        assert_int_equal(tie_log, 0);
    }
    for (int i = 0; i < times; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, worker, &latest->tie), 0);
        pthread_join(thread, NULL);
        loop_run_until_idle(s.loop, 0);
    }
    if (!hang_up_first) {
        loop_run_until_idle(s.loop, 0);
        alive(fd, got, sizeof got);
        assert_contains(str_of(got), "200 OK");
        close(fd);
    }
    sim_end(&s);
    assert_int_equal(tie_log, log);
}

static void ties(void **state)
{
    (void)state;
    tie_case("/", false, 1, 110);
    tie_case("/", true, 1, 210);
    tie_case("/again", false, 2, 10110);
    tie_case("/again", true, 2, 20210);
    tie_case("/stay", false, 0, 10);
    tie_case("/cut", false, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matching),
        cmocka_unit_test(many_parts),
        cmocka_unit_test(served),
        cmocka_unit_test(ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
