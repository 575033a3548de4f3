// An HTTP exchange from its head to its end.
//
//     head ─▶ route ─▶ authenticate ─▶ resource?  no: a page (http_pages.c)
//                                        │ yes
//                                        ├─ watch ─────────▶ http_watch.c
//                                        ├─ log, exec, … ──▶ proxy.c
//                                        ▼
//      authorise ─▶ body (at most 3 MiB) ─▶ place ─▶ call ⇄ store ─▶ place back ─▶ answer
//
// Who may not is told so from the head; no byte of their body is kept. A place (http_places.h) is
// held only while the call is worked on, so that no client can hold one by being slow. Health and
// version need none. What the exchange holds in memory is wire's to count (http_vouch).
//
// The context of a request lives on the heap and not in the exchange's arena: the client may hang
// up while the store has the call, and then the call must still come to its end (http_tie.h). A
// call that costs much (a large body, a patch of a large object) leaves the loop for a worker.
#include "apiserver/http_private.h"
#include "apiserver/metrics.h"
#include "apiserver/status.h"
#include "base/log.h"

void header_add(struct headers *hs, const char *name, struct str value)
{
    if (hs->n < sizeof hs->h / sizeof *hs->h)
        hs->h[hs->n++] = (struct http_header){str_of(name), value};
}

void headers_usual(struct headers *hs, struct str content_type, struct str audit_id)
{
    header_add(hs, "content-type", content_type);
    header_add(hs, "cache-control", STR("no-cache, private"));
    if (audit_id.n)
        header_add(hs, "audit-id", audit_id);
}

// Warning: 299 - "text", the text as a quoted string of RFC 7230: no control characters.
void headers_warnings(struct headers *hs, struct arena *a, const struct api_answer *an)
{
    for (size_t i = 0; i < an->nwarnings; i++) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        buf_puts(&b, "299 - \"");
        for (size_t j = 0; j < an->warnings[i].n; j++) {
            char ch = an->warnings[i].p[j];
            if (ch == '"' || ch == '\\')
                buf_char(&b, '\\');
            if ((unsigned char)ch >= 32 && ch != 127)
                buf_char(&b, ch);
        }
        buf_char(&b, '"');
        header_add(hs, "warning", arena_str(a, buf_view(&b)));
    }
}

void reply_text(struct http_exchange *x, int status, const char *content_type, struct str body,
                struct str audit_id)
{
    struct headers hs = {.n = 0};
    headers_usual(&hs, str_of(content_type), audit_id);
    header_add(&hs, "x-content-type-options", STR("nosniff"));
    http_respond(x, status, hs.h, hs.n, body);
}

void reply_value(struct http_ctx *c, int status, const struct value *v, const struct type *type)
{
    struct headers hs = {.n = 0};
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct writer w = {.kind = c->route.kind, .form = c->form};
    w.form.as = AS_OBJECT;
    if (w.form.media == MEDIA_PROTOBUF && !type)
        w.form.media = MEDIA_JSON; // every client reads it
    if (write_value(&w, &b, v, type, &e) < 0) {
        buf_reset(&b);
        w.form.media = MEDIA_JSON;
        write_value(&w, &b, v, NULL, NULL);
    }
    headers_usual(&hs, str_of(media_type(w.form.media)), c->audit_id);
    struct api_answer *an = &c->call.answer;
    headers_warnings(&hs, &c->arena, an);
    char seconds[16];
    int64_t after = value_int_at(v, "details.retryAfterSeconds", status == 429 ? 1 : 0);
    if (status >= 400 && after > 0) {
        int n = snprintf(seconds, sizeof seconds, "%lld", (long long)after);
        header_add(&hs, "retry-after", str_n(seconds, (size_t)n));
    }
    if (status == 405)
        header_add(&hs, "allow", route_allowed(&c->arena, &c->route));
    http_respond(c->tie.x, status, hs.h, hs.n, buf_view(&b));
    writer_done(&w);
}

void reply_error(struct http_ctx *c, const struct err *e)
{
    reply_value(c, err_http(e->reason), status_of(&c->arena, e),
                type_by_name(STR("meta.v1.Status")));
}

// ---- life

void http_ctx_free(struct http_ctx *c)
{
    places_leave(c->server->places, c->place);
    api_call_done(&c->call);
    writer_done(&c->writer);
    arena_done(&c->arena);
    free(c);
}

static struct http_ctx *ctx_of(struct http_tie *t)
{
    return container_of(t, struct http_ctx, tie);
}

static void ctx_closing(struct http_tie *t)
{
    struct http_ctx *c = ctx_of(t);
    metrics_request(c->server,
                    c->route.what == ROUTE_RESOURCE ? c->call.request.verb : (enum verb_bit)0,
                    http_status(t->x), env_mono(c->server->env) - c->began);
}

static void ctx_gone(struct http_tie *t)
{
    http_ctx_free(ctx_of(t));
}

// ---- the call

// As far as it goes, on whatever thread.
static enum api_progress advance(struct http_ctx *c)
{
    if (c->body.p && !c->decoded) {
        c->decoded = true;
        if (request_body(c, &c->call.err) < 0)
            return API_DONE;
    }
    return api_step(c->server, &c->call);
}

static void on_worker(struct work *w)
{
    struct http_ctx *c = container_of(w, struct http_ctx, work);
    if (advance(c) == API_WAIT)
        return; // the store has it, or the loop again already
    c->done = true;
    http_tie_back(&c->tie);
}

static bool hand_on(struct api_call *call)
{
    struct http_ctx *c = call->ctx;
    call->hand_on = NULL; // there it may take as long as it takes
    c->work.fn = on_worker;
    return workers_submit(c->server->workers, &c->work);
}

static void on_back(struct http_tie *t);

static void finish(struct http_ctx *c)
{
    places_leave(c->server->places, TAKE_PTR(c->place));
    if (c->tie.x)
        answer_call(c);
}

static void step(struct http_ctx *c)
{
    http_tie_away(&c->tie, on_back);
    c->call.hand_on = hand_on;
    if (!c->decoded && c->body.n > API_LENGTHY && hand_on(&c->call))
        return;
    if (advance(c) == API_WAIT)
        return;
    http_tie_stay(&c->tie);
    finish(c);
}

// Woken by the store, or a worker has done its part.
static void on_back(struct http_tie *t)
{
    struct http_ctx *c = ctx_of(t);
    if (c->done)
        finish(c);
    else
        step(c);
}

// On the store's writer thread.
static void on_wake(struct api_call *call)
{
    struct http_ctx *c = call->ctx;
    http_tie_back(&c->tie);
}

static void on_body(struct http_exchange *x, struct str body)
{
    struct http_ctx *c = ctx_of(http_tie_of(x));
    _cleanup_err_ struct err e = ERR_INIT;
    if (places_take(c->server->places, &c->call.identity, &c->place, &e) < 0) {
        reply_error(c, &e);
        return;
    }
    c->body = arena_str(&c->arena, body);
    c->body.p = c->body.n ? c->body.p : "";
    c->call.body_bytes = body.n;
    c->content_type = arena_str(&c->arena, http_header(http_request(x), "content-type"));
    step(c);
}

// ---- who asks

static struct identity keep_identity(struct arena *a, const struct identity *who)
{
    struct str *groups = arena_array(a, struct str, who->ngroups + 1);
    for (size_t i = 0; i < who->ngroups; i++)
        groups[i] = arena_str(a, who->groups[i]);
    return (struct identity){
        .user = arena_str(a, who->user),
        .uid = arena_str(a, who->uid),
        .groups = groups,
        .ngroups = who->ngroups,
        .extra = who->extra ? value_clone(a, who->extra) : NULL,
    };
}

static int authenticate(struct http_ctx *c, struct err *e)
{
    struct identity who = {0};
    int r = authn_request(c->server->authn, c->server->authz, &c->arena, http_request(c->tie.x),
                          &who, e);
    if (r < 0)
        return r;
    c->call.identity = keep_identity(&c->arena, &who);
    enum caller caller = caller_of(&who);
    if (caller != CALLER_STRANGER)
        http_vouch(c->tie.x, who.user, caller == CALLER_ADMINISTRATOR ? HTTP_TRUSTED : HTTP_USER);
    return 0;
}

// Pages are allowed by path.
static int authorise_page(struct http_ctx *c, struct err *e)
{
    const struct http_request *r = http_request(c->tie.x);
    struct authz_attributes at = {
        .who = &c->call.identity,
        .verb = str_eqc(r->method, "GET") || str_eqc(r->method, "HEAD") ? STR("get")
                : str_eqc(r->method, "POST")                            ? STR("post")
                                                                        : STR("put"),
        .path = r->path,
    };
    return authz_check(c->server->authz, &at, e);
}

// ---- the way in

// What the head alone tells: who may not, then what cannot be answered. False: it was refused.
static bool head_is_good(struct http_ctx *c, enum verb_bit verb, unsigned offers)
{
    _cleanup_err_ struct err accept = ERR_INIT, query = ERR_INIT, denied = ERR_INIT;
    request_from_query(c, verb, &query);
    negotiate(http_header(http_request(c->tie.x), "accept"), offers, &c->form, &accept);
    if (request_takes_body(verb)) {
        if (request_authorise(c->server, &c->call.identity, &c->call.request, &denied) < 0) {
            reply_error(c, &denied);
            return false;
        }
        c->call.authorised = true;
    }
    if (accept.reason == ERR_NONE && query.reason == ERR_NONE)
        return true;
    reply_error(c, accept.reason != ERR_NONE ? &accept : &query);
    return false;
}

static void begin_resource(struct http_ctx *c)
{
    const struct http_request *r = http_request(c->tie.x);
    _cleanup_err_ struct err e = ERR_INIT;
    struct route *to = &c->route;
    bool watch = query_flag(c, "watch");
    enum verb_bit verb = route_verb(to, r->method, watch);
    if (proxy_serves(to) && verb) {
        proxy_begin(c);
        return;
    }
    if (!verb || verb == VERB_CONNECT) {
        if (!verb || proxy_authorise(c, &e) >= 0)
            err_set(&e, verb ? ERR_NOT_IMPLEMENTED : ERR_METHOD_NOT_ALLOWED,
                    verb ? "%.*s/%.*s is not served yet"
                         : "the server does not allow this method on the requested resource",
                    STR_ARG(to->kind->resource), STR_ARG(to->subresource));
        reply_error(c, &e);
        return;
    }
    unsigned offers = OFFER_YAML | OFFER_PROTOBUF;
    bool many = verb == VERB_LIST || verb == VERB_DELETECOLLECTION;
    if (verb == VERB_WATCH)
        offers = OFFER_TABLE | OFFER_PARTIAL | OFFER_PARTIAL_LIST;
    else if (!(to->kind->flags & KIND_VIRTUAL) || (verb & (VERB_GET | VERB_LIST)))
        offers |= OFFER_TABLE | (many ? OFFER_PARTIAL_LIST : OFFER_PARTIAL);
    if (!head_is_good(c, verb, offers))
        return;
    if (verb == VERB_WATCH)
        watch_begin(c);
    else if (request_takes_body(verb))
        http_read_body(c->tie.x, HTTP_BODY_MAX, on_body);
    else
        step(c);
}

static void begin(struct http_ctx *c)
{
    const struct http_request *r = http_request(c->tie.x);
    _cleanup_err_ struct err e = ERR_INIT;
    route_parse(&c->arena, arena_str(&c->arena, r->raw_path), &c->route);
    if (authenticate(c, &e) < 0) {
        reply_error(c, &e);
        return;
    }
    if (c->route.what == ROUTE_RESOURCE) {
        begin_resource(c);
    } else if (authorise_page(c, &e) < 0) {
        reply_error(c, &e);
    } else {
        page_reply(c);
    }
}

static void on_exchange(void *ctx, struct http_exchange *x)
{
    struct apiserver *s = ctx;
    struct http_ctx *c = mem_zalloc(sizeof *c);
    http_tie(&c->tie, x, ctx_gone);
    c->tie.closing = ctx_closing;
    c->server = s;
    c->began = env_mono(s->env);
    api_call_init(&c->call);
    c->call.wake = on_wake;
    c->call.ctx = c;
    char *id = arena_alloc(&c->arena, 36);
    env_uuid(s->env, id);
    struct str given = http_header(http_request(x), "audit-id");
    c->audit_id = given.n && given.n <= 64 ? arena_str(&c->arena, given) : str_n(id, 36);
    begin(c);
}

struct http_handler http_face(struct apiserver *s)
{
    return (struct http_handler){.handle = on_exchange, .on_close = http_tie_closed, .ctx = s};
}
