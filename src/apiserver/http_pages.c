// What the server tells about itself: discovery, OpenAPI, version, health, metrics, keys for token
// checks.
#include "apiserver/http_documents.h"
#include "apiserver/http_private.h"
#include "base/map.h"
#include "schema/discovery.h"
#include "schema/openapi.h"

#define JSON_TYPE "application/json"

static void not_found(struct http_ctx *c)
{
    if (c->route.what == ROUTE_UNKNOWN) {
        reply_text(c->tie.x, 404, "text/plain; charset=utf-8", STR("404 page not found\n"),
                   c->audit_id);
        return;
    }
    _cleanup_err_ struct err e = ERR_INIT;
    err_set(&e, ERR_NOT_FOUND, "the server could not find the requested resource");
    reply_error(c, &e);
}

// A document with an ETag: 304 when the client has it.
static void reply_document(struct http_ctx *c, const char *type, struct str body, struct str etag)
{
    struct headers hs = {.n = 0};
    bool have = etag.n && str_eq(http_header(http_request(c->tie.x), "if-none-match"), etag);
    headers_usual(&hs, str_of(type), c->audit_id);
    if (etag.n)
        header_add(&hs, "etag", etag);
    header_add(&hs, "vary", STR("Accept"));
    http_respond(c->tie.x, have ? 304 : 200, hs.h, hs.n, have ? STR_NULL : body);
}

// ---- discovery

// The aggregated form, where some clause of Accept asks for it before plain JSON.
static const char *aggregated(struct http_ctx *c, bool *beta)
{
    struct accept a;
    accept_parse(http_header(http_request(c->tie.x), "accept"), &a);
    for (size_t i = 0; i < a.n; i++) {
        const struct accept_clause *k = &a.clause[i];
        if (!accept_covers(k, JSON_TYPE))
            continue;
        if (!k->as.n)
            return NULL;
        if (!str_eqc(k->as, "APIGroupDiscoveryList") || !str_eqc(k->g, "apidiscovery.k8s.io"))
            continue;
        *beta = str_eqc(k->v, "v2beta1");
        if (*beta)
            return "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        if (str_eqc(k->v, "v2"))
            return "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    }
    return NULL;
}

static void discovery(struct http_ctx *c)
{
    const struct route *r = &c->route;
    const struct document *d = NULL;
    const char *type = JSON_TYPE;
    bool beta = false;
    if (r->what == ROUTE_GROUP) {
        d = discovery_group(r->group);
    } else if (r->what == ROUTE_GROUP_VERSION) {
        d = discovery_resources(r->group, r->version);
    } else if ((type = aggregated(c, &beta))) {
        d = discovery_aggregated(r->what == ROUTE_API, beta);
    } else if (r->what == ROUTE_APIS) {
        type = JSON_TYPE;
        d = discovery_groups();
    } else {
        struct str address = arena_printf(
            &c->arena, "%.*s:%u", STR_ARG(c->server->opt.advertise_address), c->server->opt.port);
        reply_document(c, JSON_TYPE, discovery_versions(&c->arena, address), STR_NULL);
        return;
    }
    if (d)
        reply_document(c, type, blob_view(d->body), d->etag);
    else
        not_found(c);
}

// ---- OpenAPI

static bool wants(struct http_ctx *c, const char *type)
{
    struct accept a;
    accept_parse(http_header(http_request(c->tie.x), "accept"), &a);
    for (size_t i = 0; i < a.n; i++)
        if (str_ieq(a.clause[i].type, str_of(type)))
            return true;
        else if (accept_covers(&a.clause[i], JSON_TYPE))
            return false;
    return false;
}

static bool render_v2_protobuf(void *ctx, struct buf *b)
{
    (void)ctx;
    openapi_v2_protobuf(b);
    return true;
}

static bool render_v2(void *ctx, struct buf *b)
{
    (void)ctx;
    openapi_v2(b);
    return true;
}

static bool render_v3(void *ctx, struct buf *b)
{
    struct http_ctx *c = ctx;
    if (c->route.rest.n)
        return openapi_v3(b, c->route.rest);
    openapi_v3_index(b);
    return true;
}

// A kept document, by reference: a crowd that asks for it and does not read holds it once.
static void reply_kept(struct http_ctx *c, const char *type, struct str name, struct str etag,
                       bool (*render)(void *ctx, struct buf *b))
{
    const struct http_request *r = http_request(c->tie.x);
    struct headers hs = {.n = 0};
    headers_usual(&hs, str_of(type), c->audit_id);
    header_add(&hs, "etag", etag);
    bool gzip = http_accepts_gzip(http_header(r, "accept-encoding"));
    header_add(&hs, "vary", STR("Accept, Accept-Encoding"));
    if (str_eq(http_header(r, "if-none-match"), etag)) {
        http_respond(c->tie.x, 304, hs.h, hs.n, STR_NULL);
        return;
    }
    struct blob *body = documents_get(c->server->documents, name, gzip, render, c);
    if (!body) {
        not_found(c);
        return;
    }
    if (gzip)
        header_add(&hs, "content-encoding", STR("gzip"));
    http_respond_blob(c->tie.x, 200, hs.h, hs.n, body);
    blob_unref(body);
}

static void openapi(struct http_ctx *c)
{
    struct arena *a = &c->arena;
    struct str etag = arena_printf(a, "\"%.*s\"", STR_ARG(openapi_hash()));
    if (c->route.what == ROUTE_OPENAPI_V2 &&
        (wants(c, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf") ||
         wants(c, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"))) {
        etag = arena_printf(a, "\"%.*s-pb\"", STR_ARG(openapi_hash()));
        reply_kept(c, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                   STR("v2.protobuf"), etag, render_v2_protobuf);
    } else if (c->route.what == ROUTE_OPENAPI_V2) {
        reply_kept(c, JSON_TYPE, STR("v2"), etag, render_v2);
    } else {
        reply_kept(c, JSON_TYPE, arena_printf(a, "v3/%.*s", STR_ARG(c->route.rest)), etag,
                   render_v3);
    }
}

// ---- health

static void health(struct http_ctx *c)
{
    struct str name = str_from(http_request(c->tie.x)->path, 1);
    name = str_cut(&name, '/');
    // A server whose store has failed still lives (restarting it would not help), but is not ready.
    bool failed = atomic_load_explicit(&c->server->store_failed, memory_order_relaxed) &&
                  !str_eqc(name, "livez");
    if (!query_flag(c, "verbose") && !failed) {
        reply_text(c->tie.x, 200, "text/plain; charset=utf-8", STR("ok"), c->audit_id);
        return;
    }
    struct str text =
        arena_printf(&c->arena,
                     "[+]ping ok\n[+]log ok\n%s\n[+]informer-sync ok\n"
                     "[+]poststarthook/bootstrap ok\n%.*s check %s\n",
                     failed ? "[-]etcd failed: the store takes no writes" : "[+]etcd ok",
                     STR_ARG(name), failed ? "failed" : "passed");
    reply_text(c->tie.x, failed ? 500 : 200, "text/plain; charset=utf-8", text, c->audit_id);
}

static void metrics(struct http_ctx *c)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    metric_write(&b);
    reply_text(c->tie.x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&b),
               c->audit_id);
}

// ---- version and the rest

static void version(struct http_ctx *c)
{
    struct str v = c->server->opt.version; // v1.34.0+coracle
    struct str rest = v.n && v.p[0] == 'v' ? str_from(v, 1) : v;
    struct str major = str_cut(&rest, '.'), minor = str_cut(&rest, '.');
    struct str body = arena_printf(
        &c->arena,
        "{\n  \"major\": \"%.*s\",\n  \"minor\": \"%.*s\",\n  \"gitVersion\": \"%.*s\",\n  "
        "\"gitCommit\": \"\",\n  \"gitTreeState\": \"clean\",\n  \"buildDate\": "
        "\"1970-01-01T00:00:00Z\",\n  \"goVersion\": \"none\",\n  \"compiler\": \"gcc\",\n  "
        "\"platform\": \"linux/%s\"\n}",
        STR_ARG(major), STR_ARG(minor), STR_ARG(v),
#if defined(__aarch64__)
        "arm64"
#else
        "amd64"
#endif
    );
    reply_document(c, JSON_TYPE, body, STR_NULL);
}

static void openid(struct http_ctx *c)
{
    struct token_signer *t = c->server->tokens;
    _cleanup_err_ struct err e = ERR_INIT;
    if (!t) {
        err_set(&e, ERR_UNAVAILABLE, "this server has no key to sign tokens with");
        reply_error(c, &e);
    } else if (c->route.what == ROUTE_JWKS) {
        reply_document(c, "application/jwk-set+json", token_jwks(t, &c->arena), STR_NULL);
    } else {
        reply_document(c, JSON_TYPE, token_openid_configuration(t, &c->arena), STR_NULL);
    }
}

static void index_page(struct http_ctx *c)
{
    static const char *const fixed[] = {"/.well-known/openid-configuration", "/api", "/api/v1",
                                        "/apis"};
    static const char *const last[] = {"/healthz",    "/livez",  "/metrics",        "/openapi/v2",
                                       "/openapi/v3", "/readyz", "/openid/v1/jwks", "/version"};
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct map seen = MAP_INIT;
    buf_puts(&b, "{\"paths\":[");
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        buf_printf(&b, "%s\"%s\"", i ? "," : "", fixed[i]);
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        struct str path = arena_printf(&c->arena, "/apis/%.*s", STR_ARG(kind_api_version(k)));
        if (k->group.n && !map_set(&seen, path, c))
            buf_printf(&b, ",\"%.*s\"", STR_ARG(path));
    }
    for (size_t i = 0; i < sizeof last / sizeof *last; i++)
        buf_printf(&b, ",\"%s\"", last[i]);
    buf_puts(&b, "]}");
    map_done(&seen);
    reply_document(c, JSON_TYPE, buf_view(&b), STR_NULL);
}

static const struct {
    enum route_kind what;
    void (*reply)(struct http_ctx *c);
} pages[] = {
    {ROUTE_UNKNOWN, not_found}, {ROUTE_UNKNOWN_API, not_found}, {ROUTE_API, discovery},
    {ROUTE_APIS, discovery},    {ROUTE_GROUP, discovery},       {ROUTE_GROUP_VERSION, discovery},
    {ROUTE_INDEX, index_page},  {ROUTE_VERSION, version},       {ROUTE_HEALTH, health},
    {ROUTE_METRICS, metrics},   {ROUTE_OPENAPI_V2, openapi},    {ROUTE_OPENAPI_V3, openapi},
    {ROUTE_OPENID, openid},     {ROUTE_JWKS, openid},
};

void page_reply(struct http_ctx *c)
{
    struct str method = http_request(c->tie.x)->method;
    bool known = c->route.what != ROUTE_UNKNOWN && c->route.what != ROUTE_UNKNOWN_API;
    if (known && !str_eqc(method, "GET") && !str_eqc(method, "HEAD")) {
        _cleanup_err_ struct err e = ERR_INIT;
        err_set(&e, ERR_METHOD_NOT_ALLOWED,
                "the server does not allow this method on the requested resource");
        reply_error(c, &e);
        return;
    }
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (pages[i].what == c->route.what)
            pages[i].reply(c);
}
