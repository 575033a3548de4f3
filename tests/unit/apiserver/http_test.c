// The HTTP face over real sockets: what kubectl and client-go see.
#include "base/thread.h"
#include "base/time.h"
#include "harness.h"
#include "wire/http_client.h"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct web {
    struct env *env;
    struct store *store;
    struct apiserver *server;
    struct loop *loop, *client_loop;
    pthread_t thread, client_thread;
    struct http_server *http;
    struct http_client *client;
    struct arena a;
    struct http_answer answer;
    struct completion stopped;
    char base[64];
};

static void *run_loop(void *l)
{
    loop_run(l);
    return NULL;
}

// Everybody is an administrator here: what rights do is tested elsewhere.
static const char everybody[] =
    "{'metadata':{'name':'all'},'subjects':[{'kind':'Group','apiGroup':'rbac.authorization.k8s.io',"
    "'name':'system:unauthenticated'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':"
    "'ClusterRole','name':'cluster-admin'}}";

static void make_client(void *arg)
{
    struct web *w = arg;
    w->client = http_client_new(w->client_loop, &(struct http_client_options){0});
    completion_signal(&w->stopped);
}

static int setup(void **state)
{
    struct web *w = mem_zalloc(sizeof *w);
    struct err e = ERR_INIT;
    w->env = env_system();
    w->store = store_memory_new(w->env);
    struct apiserver_options opt = {
        .env = w->env, .store = w->store, .advertise_address = STR("10.0.0.5"), .port = 6443};
    if (apiserver_new(&opt, &w->server, &e) < 0)
        fail_msg("%s", e.message);
    struct fixture f = {.env = w->env, .store = w->store, .server = w->server};
    f.admin = (struct identity){.user = STR("admin"), .groups = harness_masters, .ngroups = 1};
    api_call_init(&f.call);
    create(&f, "clusterrolebindings", NULL, everybody);
    create(&f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
    api_call_done(&f.call);
    arena_done(&f.a);
    w->loop = loop_new(w->env);
    w->client_loop = loop_new(w->env);
    if (http_server_new(&w->loop, 1, STR("127.0.0.1:0"), apiserver_http_handler(w->server),
                        &(struct http_server_options){0}, &w->http, &e) < 0)
        fail_msg("%s", e.message);
    snprintf(w->base, sizeof w->base, "http://127.0.0.1:%u", http_server_port(w->http));
    w->thread = thread_start("server", run_loop, w->loop);
    w->client_thread = thread_start("client", run_loop, w->client_loop);
    completion_init(&w->stopped);
    loop_call(w->client_loop, make_client, w);
    completion_wait(&w->stopped);
    completion_done(&w->stopped);
    *state = w;
    return 0;
}

static void on_stopped(void *arg)
{
    completion_signal(arg);
}

static void drop_client(void *arg)
{
    struct web *w = arg;
    http_client_free(w->client);
    completion_signal(&w->stopped);
}

static int teardown(void **state)
{
    struct web *w = *state;
    completion_init(&w->stopped);
    loop_call(w->client_loop, drop_client, w);
    completion_wait(&w->stopped);
    completion_done(&w->stopped);
    completion_init(&w->stopped);
    http_server_stop(w->http, 1000 * NS_PER_MS, on_stopped, &w->stopped);
    completion_wait(&w->stopped);
    completion_done(&w->stopped);
    loop_stop(w->loop);
    loop_stop(w->client_loop);
    pthread_join(w->thread, NULL);
    pthread_join(w->client_thread, NULL);
    loop_free(w->loop);
    loop_free(w->client_loop);
    apiserver_free(w->server);
    store_close(w->store);
    arena_done(&w->a);
    free(w);
    return 0;
}

static int fetch(struct web *w, const char *method, const char *path, const char *type,
                 const char *accept, struct str body)
{
    struct http_header h[2];
    size_t n = 0;
    struct err e = ERR_INIT;
    if (type)
        h[n++] = (struct http_header){STR("content-type"), str_of(type)};
    if (accept)
        h[n++] = (struct http_header){STR("accept"), str_of(accept)};
    struct http_call_request r = {.method = method,
                                  .url = arena_printf(&w->a, "%s%s", w->base, path),
                                  .headers = h,
                                  .nheaders = n,
                                  .body = body};
    if (http_do(w->client, &w->a, &r, 64 << 20, &w->answer, &e) < 0)
        fail_msg("%s %s: %s", method, path, e.message);
    return w->answer.status;
}

static struct str quotes(struct web *w, const char *json)
{
    char *text = arena_cstr(&w->a, str_of(json));
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    return str_of(text);
}

static struct value *body_of(struct web *w)
{
    struct value *v = NULL;
    struct err e = ERR_INIT;
    if (json_parse(&w->a, w->answer.body, NULL, &v, &e) < 0)
        fail_msg("%s in %.*s", e.message, STR_ARG(w->answer.body));
    return v;
}

static const char *at(struct web *w, const struct value *v, const char *path)
{
    return arena_cstr(&w->a, value_str_at(v, path));
}

static const char *header(struct web *w, const char *name)
{
    return arena_cstr(&w->a, http_answer_header(&w->answer, name));
}

#define GET(w, path)        fetch(w, "GET", path, NULL, NULL, STR_NULL)
#define POST(w, path, json) fetch(w, "POST", path, "application/json", NULL, quotes(w, json))
#define CONFIGMAPS          "/api/v1/namespaces/default/configmaps"

static void test_pages(void **state)
{
    struct web *w = *state;
    assert_int_equal(GET(w, "/version"), 200);
    assert_string_equal(at(w, body_of(w), "minor"), "34");
    assert_string_equal(at(w, body_of(w), "major"), "1");
    assert_int_equal(GET(w, "/healthz"), 200);
    assert_true(str_eqc(w->answer.body, "ok"));
    assert_int_equal(GET(w, "/readyz?verbose"), 200);
    assert_true(str_ends(w->answer.body, STR("readyz check passed\n")));
    assert_int_equal(GET(w, "/nothing"), 404);
    assert_true(str_eqc(w->answer.body, "404 page not found\n"));
    assert_int_equal(GET(w, "/api/v1/nothing"), 404);
    assert_string_equal(at(w, body_of(w), "message"),
                        "the server could not find the requested resource");
    assert_string_equal(at(w, body_of(w), "reason"), "NotFound");
    assert_int_equal(GET(w, "/apis/none.example.com/v1"), 404);
    assert_int_equal(GET(w, "/api"), 200);
    assert_string_equal(at(w, body_of(w), "kind"), "APIVersions");
    assert_int_equal(GET(w, "/apis"), 200);
    assert_string_equal(at(w, body_of(w), "kind"), "APIGroupList");
    assert_int_equal(GET(w, "/apis/apps"), 200);
    assert_string_equal(at(w, body_of(w), "kind"), "APIGroup");
    assert_int_equal(GET(w, "/apis/apps/v1"), 200);
    assert_string_equal(at(w, body_of(w), "kind"), "APIResourceList");
    assert_int_equal(
        fetch(w, "GET", "/apis", NULL,
              "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
              "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,"
              "application/json",
              STR_NULL),
        200);
    assert_string_equal(at(w, body_of(w), "kind"), "APIGroupDiscoveryList");
    assert_string_equal(header(w, "content-type"),
                        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    assert_true(*header(w, "etag"));
    assert_int_equal(GET(w, "/openapi/v3"), 200);
    assert_int_equal(GET(w, "/openapi/v3/apis/apps/v1"), 200);
    assert_int_equal(GET(w, "/openapi/v3/apis/none/v1"), 404);
    assert_int_equal(GET(w, "/metrics"), 200);
    static const char *const counted[] = {
        "\napiserver_request_total{verb=\"page\",code=\"404\"} ",
        "\napiserver_request_duration_seconds_count{verb=\"page\"} ",
        "\napiserver_storage_objects{resource=\"configmaps\"} 0\n",
        "\n# TYPE apiserver_longrunning_watches gauge\napiserver_longrunning_watches ",
    };
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        assert_true(str_find(w->answer.body, str_of(counted[i])) >= 0);
    assert_int_equal(GET(w, "/"), 200);
}

static void test_objects(void **state)
{
    struct web *w = *state;
    assert_int_equal(POST(w, CONFIGMAPS, "{'metadata':{'name':'c'},'data':{'k':'v'}}"), 201);
    struct value *v = body_of(w);
    assert_string_equal(at(w, v, "kind"), "ConfigMap");
    assert_string_equal(at(w, v, "apiVersion"), "v1");
    assert_string_equal(header(w, "content-type"), "application/json");
    assert_string_equal(header(w, "cache-control"), "no-cache, private");
    assert_int_equal(strlen(header(w, "audit-id")), 36);
    assert_int_equal(GET(w, CONFIGMAPS "/c"), 200);
    assert_true(value_eq(v, body_of(w)));
    assert_int_equal(GET(w, CONFIGMAPS "/x"), 404);
    v = body_of(w);
    assert_string_equal(at(w, v, "kind"), "Status");
    assert_string_equal(at(w, v, "status"), "Failure");
    assert_string_equal(at(w, v, "message"), "configmaps \"x\" not found");
    assert_string_equal(at(w, v, "details.name"), "x");
    assert_string_equal(at(w, v, "details.kind"), "configmaps");
    assert_int_equal(value_int_at(v, "code", 0), 404);

    assert_int_equal(fetch(w, "PATCH", CONFIGMAPS "/c", "application/merge-patch+json", NULL,
                           quotes(w, "{'data':{'k':'w'}}")),
                     200);
    assert_string_equal(at(w, body_of(w), "data.k"), "w");
    assert_int_equal(
        fetch(w, "PATCH", CONFIGMAPS "/c", "application/apply-patch+yaml", NULL, STR("data: {}")),
        415);
    assert_int_equal(fetch(w, "PATCH", CONFIGMAPS "/nowhere", "application/apply-patch+yaml", NULL,
                           STR("data: {}")),
                     415);
    assert_non_null(strstr(at(w, body_of(w), "message"), "server-side apply is not served yet"));
    assert_int_equal(fetch(w, "PATCH", CONFIGMAPS "/c", "application/json", NULL, STR("{}")), 415);
    assert_int_equal(POST(w, "/apis/authentication.k8s.io/v1beta1/selfsubjectreviews", "{}"), 404);
    assert_string_equal(at(w, body_of(w), "message"),
                        "the server could not find the requested resource");
    assert_int_equal(fetch(w, "PATCH", CONFIGMAPS "/c", "application/merge-patch+json", NULL,
                           quotes(w, "{'data':{'k':1}}")),
                     422);
    assert_string_equal(at(w, body_of(w), "message"),
                        " \"\" is invalid: patch: Invalid value: \"{\\\"data\\\":{\\\"k\\\":1}}\": "
                        "json: cannot unmarshal number into Go struct field ConfigMap.data.k of "
                        "type string");
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "text/html", NULL, STR("<p>")), 415);
    assert_string_equal(at(w, body_of(w), "message"),
                        "the body of the request was in an unknown format - accepted media types "
                        "include: application/json, application/yaml, "
                        "application/vnd.kubernetes.protobuf");
    assert_int_equal(fetch(w, "PUT", CONFIGMAPS, NULL, NULL, STR_NULL), 405);
    assert_string_equal(header(w, "allow"), "DELETE, GET, POST");
    assert_int_equal(fetch(w, "GET", CONFIGMAPS, NULL, "image/png", STR_NULL), 406);
    assert_string_equal(at(w, body_of(w), "reason"), "NotAcceptable");
    assert_int_equal(POST(w, CONFIGMAPS, "{'metadata':"), 400);
    assert_int_equal(POST(w, CONFIGMAPS "?dryRun=Some", "{'metadata':{'name':'d'}}"), 422);
    assert_int_equal(POST(w, CONFIGMAPS "?fieldValidation=Strict",
                          "{'metadata':{'name':'d'},'data':{'a':'1','a':'2'}}"),
                     400);
    assert_true(strstr(at(w, body_of(w), "message"),
                       "strict decoding error: duplicate field \"data.a\"") != NULL);
    assert_int_equal(POST(w, CONFIGMAPS "?dryRun=All", "{'metadata':{'name':'d'},'spex':1}"), 201);
    assert_string_equal(header(w, "warning"), "299 - \"unknown field \\\"spex\\\"\"");
    assert_int_equal(GET(w, CONFIGMAPS "/d"), 404);

    // DeleteOptions as kubectl sends them.
    assert_int_equal(fetch(w, "DELETE", CONFIGMAPS "/c", "application/json", NULL,
                           quotes(w, "{'propagationPolicy':'Background','dryRun':['All']}")),
                     200);
    assert_int_equal(GET(w, CONFIGMAPS "/c"), 200);
    assert_int_equal(fetch(w, "DELETE", CONFIGMAPS "/c", NULL, NULL, STR_NULL), 200);
    v = body_of(w);
    assert_string_equal(at(w, v, "status"), "Success");
    assert_string_equal(at(w, v, "details.kind"), "configmaps");
}

static void test_formats(void **state)
{
    struct web *w = *state;
    struct str yaml =
        STR("kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: yam\ndata:\n  a: \"1\"\n");
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/yaml", "application/yaml", yaml),
                     201);
    assert_string_equal(header(w, "content-type"), "application/yaml");
    assert_true(
        str_starts(w->answer.body, STR("apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\n")));
    assert_int_equal(fetch(w, "GET", CONFIGMAPS, NULL, "application/yaml", STR_NULL), 200);
    assert_true(str_find(w->answer.body, STR("items:\n- data:\n    a: \"1\"\n  metadata:\n")) > 0);

    assert_int_equal(
        fetch(w, "GET", CONFIGMAPS "/yam", NULL, "application/vnd.kubernetes.protobuf", STR_NULL),
        200);
    assert_string_equal(header(w, "content-type"), "application/vnd.kubernetes.protobuf");
    struct str pb = w->answer.body;
    assert_memory_equal(pb.p, "k8s\0", 4);
    assert_int_equal(fetch(w, "DELETE", CONFIGMAPS "/yam", NULL, NULL, STR_NULL), 200);
    // What was read can be written, but for the revision: it says so.
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/vnd.kubernetes.protobuf", NULL, pb),
                     400);
    assert_string_equal(at(w, body_of(w), "message"),
                        "resourceVersion should not be set on objects to be created");
    assert_int_equal(
        fetch(w, "GET", CONFIGMAPS, NULL, "application/vnd.kubernetes.protobuf", STR_NULL), 200);
    assert_memory_equal(w->answer.body.p, "k8s\0", 4);
    // With both acceptable JSON is what comes.
    assert_int_equal(fetch(w, "GET", CONFIGMAPS, NULL,
                           "application/vnd.kubernetes.protobuf,application/json", STR_NULL),
                     200);
    assert_string_equal(at(w, body_of(w), "kind"), "ConfigMapList");
}

static void test_tables(void **state)
{
    struct web *w = *state;
    const char *table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    assert_int_equal(POST(w, CONFIGMAPS, "{'metadata':{'name':'t'},'data':{'a':'1'}}"), 201);
    assert_int_equal(fetch(w, "GET", CONFIGMAPS, NULL, table, STR_NULL), 200);
    struct value *v = body_of(w);
    assert_string_equal(at(w, v, "kind"), "Table");
    assert_string_equal(at(w, v, "apiVersion"), "meta.k8s.io/v1");
    assert_string_equal(at(w, value_item(value_getc(v, "columnDefinitions"), 0), "name"), "Name");
    const struct value *row = value_item(value_getc(v, "rows"), 0);
    assert_true(str_eqc(value_string(value_item(value_getc(row, "cells"), 0)), "t"));
    assert_string_equal(at(w, row, "object.kind"), "PartialObjectMetadata");
    assert_int_equal(fetch(w, "GET", CONFIGMAPS "/t?includeObject=None", NULL, table, STR_NULL),
                     200);
    v = body_of(w);
    assert_string_equal(at(w, v, "kind"), "Table");
    assert_null(value_getc(value_item(value_getc(v, "rows"), 0), "object"));
    assert_int_equal(
        fetch(w, "GET", CONFIGMAPS, NULL,
              "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,"
              "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
              STR_NULL),
        200);
    v = body_of(w);
    assert_string_equal(at(w, v, "kind"), "PartialObjectMetadataList");
    assert_string_equal(at(w, value_item(value_getc(v, "items"), 0), "metadata.name"), "t");
    assert_null(value_getc(value_item(value_getc(v, "items"), 0), "data"));
    // A question has no table.
    assert_int_equal(
        fetch(w, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
              "application/json", "application/json;as=Table;v=v1;g=meta.k8s.io",
              quotes(w, "{'spec':{'resourceAttributes':{'verb':'get','resource':'pods'}}}")),
        406);
}

static void test_bodies(void **state)
{
    struct web *w = *state;
    size_t n = (3 << 20) + 100;
    char *big = arena_alloc(&w->a, n);
    memset(big, ' ', n);
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/json", NULL, str_n(big, n)), 413);
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/json", NULL, str_n(big, 1000)), 400);
    assert_int_equal(fetch(w, "GET", CONFIGMAPS "?limit=x", NULL, NULL, STR_NULL), 400);
    assert_int_equal(fetch(w, "GET", "/api/v1/namespaces/default/pods/p/log", NULL, NULL, STR_NULL),
                     404);
    assert_string_equal(at(w, body_of(w), "message"), "pods \"p\" not found");
    assert_int_equal(POST(w, "/api/v1/namespaces/default/pods",
                          "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'a','image':'i'},"
                          "{'name':'b','image':'i'}]}}"),
                     201);
    assert_int_equal(fetch(w, "GET", "/api/v1/namespaces/default/pods/p/log", NULL, NULL, STR_NULL),
                     400);
    assert_string_equal(at(w, body_of(w), "message"),
                        "a container name must be specified for pod p, choose one of: [a b]");
    assert_int_equal(
        fetch(w, "GET", "/api/v1/namespaces/default/pods/p/log?container=z", NULL, NULL, STR_NULL),
        400);
    assert_string_equal(at(w, body_of(w), "message"), "container z is not valid for pod p");
    assert_int_equal(
        fetch(w, "GET", "/api/v1/namespaces/default/pods/p/log?container=a", NULL, NULL, STR_NULL),
        400);
    assert_string_equal(at(w, body_of(w), "message"), "pod p does not have a host assigned");
    assert_int_equal(fetch(w, "POST",
                           "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1&container=a",
                           NULL, NULL, STR_NULL),
                     400);
    assert_string_equal(at(w, body_of(w), "message"), "Upgrade request required");
    assert_int_equal(
        fetch(w, "GET", "/api/v1/namespaces/default/pods/p/portforward", NULL, NULL, STR_NULL),
        501);
}

// attack-permissions: who may not connect hears that, whether or not it is served.
static void test_attack_permissions(void **state)
{
    struct web *w = *state;
    static const struct {
        const char *method, *path, *message;
    } rows[] = {
        {"GET", "/api/v1/namespaces/default/pods/p/portforward",
         "pods \"p\" is forbidden: User \"nobody\" cannot get resource \"pods/portforward\" in API "
         "group \"\" in the namespace \"default\""},
        {"POST", "/api/v1/namespaces/default/pods/p/proxy/x",
         "pods \"p\" is forbidden: User \"nobody\" cannot create resource \"pods/proxy\" in API "
         "group \"\" in the namespace \"default\""},
        {"DELETE", "/api/v1/namespaces/default/services/s/proxy",
         "services \"s\" is forbidden: User \"nobody\" cannot delete resource \"services/proxy\" "
         "in "
         "API group \"\" in the namespace \"default\""},
        {"GET", "/api/v1/nodes/n/proxy/pods",
         "nodes \"n\" is forbidden: User \"nobody\" cannot get resource \"nodes/proxy\" in API "
         "group \"\" at the cluster scope"},
        {"PUT", "/api/v1/nodes/n/proxy/",
         "nodes \"n\" is forbidden: User \"nobody\" cannot update resource \"nodes/proxy\" in API "
         "group \"\" at the cluster scope"},
        {"POST", "/api/v1/namespaces/default/pods/p/exec?command=ls",
         "pods \"p\" is forbidden: User \"nobody\" cannot create resource \"pods/exec\" in API "
         "group \"\" in the namespace \"default\""},
        {"GET", "/api/v1/namespaces/default/pods/p/attach",
         "pods \"p\" is forbidden: User \"nobody\" cannot get resource \"pods/attach\" in API "
         "group "
         "\"\" in the namespace \"default\""},
    };
    struct http_header as = {STR("impersonate-user"), STR("nobody")};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = ERR_INIT;
        struct http_call_request r = {.method = rows[i].method,
                                      .url = arena_printf(&w->a, "%s%s", w->base, rows[i].path),
                                      .headers = &as,
                                      .nheaders = 1};
        if (http_do(w->client, &w->a, &r, 1 << 20, &w->answer, &e) < 0)
            fail_msg("%s", e.message);
        assert_string_equal(at(w, body_of(w), "message"), rows[i].message);
        assert_int_equal(w->answer.status, 403);
    }
}

// ---- a watch, and a large list

struct stream {
    struct completion ended;
    struct buf text;
    int status;
    const char *until; // end when this has been seen
    struct http_call_request request;
    struct http_client *client;
    struct completion *started;
};

static void stream_head(struct http_call *c, int status, const struct http_header *h, size_t n)
{
    struct stream *s = http_call_ctx(c);
    (void)h;
    (void)n;
    s->status = status;
    if (s->started)
        completion_signal(s->started);
}

static void stream_body(struct http_call *c, struct str part)
{
    struct stream *s = http_call_ctx(c);
    buf_str(&s->text, part);
    if (s->until && str_find(buf_view(&s->text), str_of(s->until)) >= 0) {
        http_call_cancel(c);
        completion_signal(&s->ended);
    }
}

static void stream_end(struct http_call *c, const struct err *e)
{
    struct stream *s = http_call_ctx(c);
    (void)e;
    completion_signal(&s->ended);
}

static void stream_start(void *arg)
{
    struct stream *s = arg;
    struct http_call_handler h = {stream_head, stream_body, stream_end, s};
    http_call_start(s->client, &s->request, &h);
}

static void test_watch(void **state)
{
    struct web *w = *state;
    struct stream s = {.client = w->client, .until = "\"DELETED\""};
    struct completion started;
    s.request = (struct http_call_request){
        .method = "GET",
        .url = arena_printf(&w->a, "%s" CONFIGMAPS "?watch=true&fieldSelector=metadata.name%%3Dx",
                            w->base)};
    completion_init(&s.ended);
    completion_init(&started);
    s.started = &started;
    assert_int_equal(POST(w, CONFIGMAPS, "{'metadata':{'name':'x'}}"), 201);
    loop_call(w->client_loop, stream_start, &s);
    completion_wait(&started);
    completion_done(&started);
    assert_int_equal(POST(w, CONFIGMAPS, "{'metadata':{'name':'other'}}"), 201);
    fetch(w, "PATCH", CONFIGMAPS "/x", "application/merge-patch+json", NULL,
          quotes(w, "{'data':{'k':'w'}}"));
    fetch(w, "DELETE", CONFIGMAPS "/x", NULL, NULL, STR_NULL);
    completion_wait(&s.ended);
    completion_done(&s.ended);
    assert_int_equal(s.status, 200);
    static const char *const types[] = {"ADDED", "MODIFIED", "DELETED"};
    struct str rest = buf_view(&s.text);
    for (size_t i = 0; i < 3; i++) {
        struct value *v = NULL;
        assert_true(json_parse(&w->a, str_cut(&rest, '\n'), NULL, &v, NULL) >= 0);
        assert_string_equal(at(w, v, "type"), types[i]);
        assert_string_equal(at(w, v, "object.metadata.name"), "x");
        assert_string_equal(at(w, v, "object.kind"), "ConfigMap");
    }
    buf_done(&s.text);

    // Too old: the stream says so and ends. A revision that never was is the oldest of all.
    assert_int_equal(fetch(w, "GET", CONFIGMAPS "?watch=1&timeoutSeconds=1&resourceVersion=zz",
                           NULL, NULL, STR_NULL),
                     400);
    assert_int_equal(fetch(w, "GET",
                           CONFIGMAPS "?watch=1&timeoutSeconds=1&allowWatchBookmarks=true", NULL,
                           NULL, STR_NULL),
                     200);
    assert_true(str_find(w->answer.body,
                         STR("{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\","
                             "\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"")) >= 0);
    // As a table: columns once.
    assert_int_equal(fetch(w, "GET", CONFIGMAPS "?watch=1&timeoutSeconds=1", NULL,
                           "application/json;as=Table;v=v1;g=meta.k8s.io", STR_NULL),
                     200);
    assert_true(
        str_starts(w->answer.body, STR("{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\"")));
}

static void test_large_list(void **state)
{
    struct web *w = *state;
    struct fixture f = {.env = w->env, .store = w->store, .server = w->server};
    f.admin = (struct identity){.user = STR("admin"), .groups = harness_masters, .ngroups = 1};
    api_call_init(&f.call);
    char *filler = arena_alloc(&w->a, 1001);
    memset(filler, 'x', 1000);
    filler[1000] = 0;
    for (int i = 0; i < 3000; i++) {
        struct str text =
            arena_printf(&f.a, "{'metadata':{'name':'big%05d'},'data':{'k':'%s'}}", i, filler);
        create(&f, "configmaps", "kube-public", arena_cstr(&f.a, text));
        if (i % 100 == 0)
            arena_reset(&f.a);
    }
    api_call_done(&f.call);
    arena_done(&f.a);
    assert_int_equal(GET(w, "/api/v1/namespaces/kube-public/configmaps"), 200);
    struct value *v = body_of(w);
    assert_int_equal(value_len(value_getc(v, "items")), 3000);
    assert_string_equal(at(w, value_item(value_getc(v, "items"), 2999), "metadata.name"),
                        "big02999");
    assert_int_equal(fetch(w, "GET", "/api/v1/configmaps", NULL,
                           "application/json;as=Table;v=v1;g=meta.k8s.io", STR_NULL),
                     200);
    assert_int_equal(value_len(value_getc(body_of(w), "rows")), 3000);
    assert_int_equal(fetch(w, "GET", "/api/v1/namespaces/kube-public/configmaps?limit=2&continue=",
                           NULL, NULL, STR_NULL),
                     200);
    v = body_of(w);
    assert_int_equal(value_int_at(v, "metadata.remainingItemCount", 0), 2998);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
// Sends a head that promises a body, and none of it. What comes is judged from the head alone.
static struct str head_only(struct web *w, const char *method, const char *path, const char *more)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_server_port(w->http))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    struct str head = arena_printf(&w->a,
                                   "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n"
                                   "Content-Type: application/json\r\n%s\r\n",
                                   method, path, more);
    assert_int_equal(send(fd, head.p, head.n, 0), head.n);
    char *got = arena_zalloc(&w->a, 4096);
    size_t n = 0;
    while (n < 4095 && str_find(str_n(got, n), STR("}\n")) < 0) {
        ssize_t part = recv(fd, got + n, 4095 - n, 0);
        if (part <= 0)
            break;
        n += (size_t)part;
    }
    close(fd);
    return str_n(got, n);
}

// Who may not write is told so before a byte of the body is read.
static void test_judged_from_the_head(void **state)
{
    struct web *w = *state;
    static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE"};
    struct str s = head_only(w, "POST", CONFIGMAPS, "Authorization: Bearer no.such.token\r\n");
    assert_true(str_starts(s, STR("HTTP/1.1 401 ")));
    // The last act of everybody as an administrator.
    assert_int_equal(fetch(w, "DELETE",
                           "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/all", NULL, NULL,
                           STR_NULL),
                     200);
    for (size_t i = 0; i < 4; i++) {
        s = head_only(w, methods[i], i ? CONFIGMAPS "/c" : CONFIGMAPS, "");
        assert_true(str_starts(s, STR("HTTP/1.1 403 ")));
        assert_true(str_find(s, STR("configmaps")) > 0);
        assert_true(str_find(s, STR("User \\\"system:anonymous\\\" cannot ")) > 0);
    }
    // Also what is not served, and before anything else that is wrong with the request.
    s = head_only(w, "GET", "/api/v1/namespaces/default/pods/p/portforward", "");
    assert_true(str_starts(s, STR("HTTP/1.1 403 ")));
    s = head_only(w, "POST", CONFIGMAPS "?dryRun=x", "Accept: image/png\r\n");
    assert_true(str_starts(s, STR("HTTP/1.1 403 ")));
    // Health and version are for everybody.
    assert_int_equal(GET(w, "/readyz"), 200);
    assert_int_equal(GET(w, "/version"), 200);
    assert_int_equal(GET(w, "/openapi/v2"), 403);
}

// The same bytes for all who ask; packed for who takes it so.
static void test_documents(void **state)
{
    struct web *w = *state;
    assert_int_equal(GET(w, "/openapi/v2"), 200);
    struct str first = w->answer.body;
    assert_true(first.n > 100000);
    assert_int_equal(GET(w, "/openapi/v2"), 200);
    assert_true(str_eq(first, w->answer.body));
    struct http_header h[] = {{STR("accept-encoding"), STR("gzip")}};
    struct http_call_request r = {.method = "GET",
                                  .url = arena_printf(&w->a, "%s/openapi/v2", w->base),
                                  .headers = h,
                                  .nheaders = 1};
    struct err e = ERR_INIT;
    assert_int_equal(http_do(w->client, &w->a, &r, 64 << 20, &w->answer, &e), 0);
    assert_string_equal(header(w, "content-encoding"), "gzip");
    assert_true(w->answer.body.n < first.n / 4);
    assert_true((uint8_t)w->answer.body.p[0] == 0x1f && (uint8_t)w->answer.body.p[1] == 0x8b);
    h[0] = (struct http_header){STR("if-none-match"), str_of(header(w, "etag"))};
    assert_int_equal(http_do(w->client, &w->a, &r, 64 << 20, &w->answer, &e), 0);
    assert_int_equal(w->answer.status, 304);
}

// What costs much is done off the loop, to the same end.
static void test_long_work(void **state)
{
    struct web *w = *state;
    struct buf b = BUF_INIT;
    buf_puts(&b, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"big\"},"
                 "\"data\":{");
    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "%s\"key-%d\":\"some text to make it long enough\"", i ? "," : "", i);
    buf_puts(&b, "}}");
    assert_true(b.n > API_LENGTHY);
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/json", NULL, buf_view(&b)), 201);
    assert_int_equal(fetch(w, "POST", CONFIGMAPS, "application/json", NULL, buf_view(&b)), 409);
    // A small patch of a large object.
    struct str patch = quotes(w, "{'metadata':{'labels':{'a':'b'}}}");
    assert_int_equal(
        fetch(w, "PATCH", CONFIGMAPS "/big", "application/merge-patch+json", NULL, patch), 200);
    assert_string_equal(at(w, body_of(w), "metadata.labels.a"), "b");
    assert_string_equal(at(w, body_of(w), "data.key-4999"), "some text to make it long enough");
    // What is wrong with it is said all the same.
    b.p[b.n - 1] = ' ';
    assert_int_equal(fetch(w, "PUT", CONFIGMAPS "/big", "application/json", NULL, buf_view(&b)),
                     400);
    b.p[b.n - 1] = '}';
    // The client hangs up while a worker has the call: the call comes to its end.
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_server_port(w->http))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 10; i++) {
        char *name = (char *)memmem(b.p, b.n, "big\"", 4);
        memcpy(name, (char[]){'b', 'i', (char)('0' + i)}, 3);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
        struct str head = arena_printf(&w->a,
                                       "POST " CONFIGMAPS " HTTP/1.1\r\nHost: h\r\nContent-Type: "
                                       "application/json\r\nContent-Length: %zu\r\n\r\n",
                                       b.n);
        assert_int_equal(send(fd, head.p, head.n, 0), head.n);
        for (size_t at = 0; at < b.n;) {
            ssize_t n = send(fd, b.p + at, b.n - at, 0);
            assert_true(n > 0);
            at += (size_t)n;
        }
        shutdown(fd, SHUT_RDWR);
        close(fd);
        memcpy(name, "big", 3);
    }
    for (int i = 0; i < 10; i++) {
        char path[128];
        snprintf(path, sizeof path, CONFIGMAPS "/bi%d", i);
        for (int tries = 0; GET(w, path) != 200; tries++) {
            assert_in_range(tries, 0, 2000);
            poll(NULL, 0, 5);
        }
    }
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pages),
        T(test_objects),
        T(test_formats),
        T(test_tables),
        T(test_bodies),
        T(test_watch),
        T(test_large_list),
        T(test_judged_from_the_head),
        T(test_documents),
        T(test_long_work),
        T(test_attack_permissions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
