// api_request over HTTPS and back. The one place of the program where a request on a kind becomes
// method, path, query and body; the API server's HTTP face is the other end of it.
//
// Threads: `calls` is an HTTP client on a loop and thread of the transport itself, for blocking
// calls from any thread, whatever the caller's loop is doing. A watch uses an HTTP client on the
// loop that it delivers to; those are made once a loop and kept (`streams`, touched on those loops
// only, under `lock`).
//
// Answers: a Status with status Failure, or any code from 400 on, becomes the struct err that an
// in-process caller would have got: reason, message, details, causes, Retry-After.
#include "client/remote.h"
#include "base/thread.h"
#include "base/time.h"
#include "object/json.h"
#include "wire/http_client.h"
#include <stdio.h>

#define ANSWER_MAX         ((size_t)512 << 20)
#define STATUS_MAX         ((size_t)1 << 20)
#define EVENT_MAX          ((size_t)16 << 20)
#define CALL_IDLE_TIMEOUT  (75 * NS_PER_S)
#define WATCH_IDLE_TIMEOUT (180 * NS_PER_S) // bookmarks come about once a minute

struct stream {
    struct stream *next;
    struct loop *loop;
    struct http_client *http;
};

struct remote {
    struct client client;
    struct str url, authorization, agent; // owned
    struct tls_client *tls;
    struct loop *loop;
    struct http_client *calls;
    pthread_t thread;
    struct completion ready;
    pthread_mutex_t lock; // guards streams
    struct stream *streams;
};

struct client_watch {
    struct http_call *call;
    const struct kind *kind;
    struct client_watch_handler handler;
    struct buf pending; // the beginning of a line, or the body of a refusal
    struct arena arena; // one batch
    int status;
    struct err error; // an ERROR event
};

static struct remote *remote_of(struct client *c)
{
    return container_of(c, struct remote, client);
}

// Requests.

static void escape(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            c == '-' || c == '.' || c == '_' || c == '~')
            buf_char(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

static void segment(struct buf *b, struct str s)
{
    buf_char(b, '/');
    escape(b, s);
}

static void parameter(struct buf *b, char *mark, const char *name, struct str value)
{
    if (!value.n)
        return;
    buf_char(b, *mark);
    *mark = '&';
    buf_puts(b, name);
    buf_char(b, '=');
    escape(b, value);
}

static void number(struct buf *b, char *mark, const char *name, int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)value);
    if (value)
        parameter(b, mark, name, str_n(text, (size_t)n));
}

static struct value *delete_options(struct arena *a, const struct api_request *r)
{
    static const char *const policies[] = {
        [PROPAGATION_BACKGROUND] = "Background",
        [PROPAGATION_FOREGROUND] = "Foreground",
        [PROPAGATION_ORPHAN] = "Orphan",
    };
    struct value *o = value_object(a);
    value_setc(a, o, "kind", value_strc(a, "DeleteOptions"));
    value_setc(a, o, "apiVersion", value_strc(a, "v1"));
    if (r->grace_period_seconds >= 0)
        value_setc(a, o, "gracePeriodSeconds", value_int(a, r->grace_period_seconds));
    if (r->propagation != PROPAGATION_DEFAULT)
        value_setc(a, o, "propagationPolicy", value_strc(a, policies[r->propagation]));
    if (r->precondition_uid.n)
        value_set_at(a, o, "preconditions.uid", value_str(a, r->precondition_uid));
    if (r->precondition_resource_version.n)
        value_set_at(a, o, "preconditions.resourceVersion",
                     value_str(a, r->precondition_resource_version));
    return o;
}

static const char *method_of(const struct api_request *r)
{
    switch (r->verb) {
    case VERB_CREATE:
    case VERB_CONNECT:
        return "POST";
    case VERB_UPDATE:
        return "PUT";
    case VERB_PATCH:
        return "PATCH";
    case VERB_DELETE:
    case VERB_DELETECOLLECTION:
        return "DELETE";
    default:
        return "GET";
    }
}

void client_remote_target(struct arena *a, const struct api_request *r, bool watch,
                          struct client_remote_target *ret)
{
    static const char *const patch_types[] = {
        [PATCH_TYPE_JSON] = "application/json-patch+json",
        [PATCH_TYPE_MERGE] = "application/merge-patch+json",
        [PATCH_TYPE_STRATEGIC] = "application/strategic-merge-patch+json",
        [PATCH_TYPE_APPLY] = "application/apply-patch+yaml",
    };
    static const char *const validations[] = {
        [VALIDATION_IGNORE] = "Ignore",
        [VALIDATION_WARN] = "Warn",
        [VALIDATION_STRICT] = "Strict",
    };
    const struct kind *k = r->kind;
    _cleanup_buf_ struct buf b = BUF_INIT;
    char mark = '?';
    buf_puts(&b, k->group.n ? "/apis" : "/api");
    if (k->group.n)
        segment(&b, k->group);
    segment(&b, k->version);
    if (k->flags & KIND_NAMESPACED && r->ns.n) {
        buf_puts(&b, "/namespaces");
        segment(&b, r->ns);
    }
    segment(&b, k->resource);
    bool named = r->name.n && !(r->verb == VERB_CREATE && !r->subresource.n) &&
                 r->verb != VERB_LIST && r->verb != VERB_WATCH && r->verb != VERB_DELETECOLLECTION;
    if (named) {
        segment(&b, r->name);
        if (r->subresource.n)
            segment(&b, r->subresource);
    }
    if (watch)
        parameter(&b, &mark, "watch", STR("true"));
    parameter(&b, &mark, "labelSelector", r->label_selector);
    parameter(&b, &mark, "fieldSelector", r->field_selector);
    number(&b, &mark, "limit", r->limit);
    parameter(&b, &mark, "continue", r->continue_token);
    parameter(&b, &mark, "resourceVersion", r->resource_version);
    parameter(&b, &mark, "resourceVersionMatch", r->resource_version_match);
    parameter(&b, &mark, "allowWatchBookmarks", r->allow_bookmarks ? STR("true") : STR_NULL);
    parameter(&b, &mark, "sendInitialEvents", r->send_initial_events ? STR("true") : STR_NULL);
    number(&b, &mark, "timeoutSeconds", r->timeout_seconds);
    if (r->verb & (VERB_CREATE | VERB_UPDATE | VERB_PATCH)) {
        parameter(&b, &mark, "fieldManager", r->field_manager);
        if (r->field_validation != VALIDATION_DEFAULT)
            parameter(&b, &mark, "fieldValidation", str_of(validations[r->field_validation]));
        parameter(&b, &mark, "force", r->force ? STR("true") : STR_NULL);
    }
    parameter(&b, &mark, "dryRun", r->dry_run ? STR("All") : STR_NULL);
    *ret = (struct client_remote_target){
        .method = method_of(r),
        .path = arena_str(a, buf_view(&b)),
    };
    const struct value *body = r->body;
    if (r->verb & (VERB_DELETE | VERB_DELETECOLLECTION))
        body = delete_options(a, r);
    if (body) {
        ret->content_type = r->verb == VERB_PATCH ? patch_types[r->patch_type] : "application/json";
        ret->body = json_text(a, body);
    }
}

static size_t fill_headers(struct remote *m, const struct client_remote_target *t,
                           const struct trace_context *trace, struct buf *traceparent,
                           struct http_header out[5])
{
    size_t n = 0;
    out[n++] = (struct http_header){STR("accept"), STR("application/json")};
    out[n++] = (struct http_header){STR("user-agent"), m->agent};
    if (m->authorization.n)
        out[n++] = (struct http_header){STR("authorization"), m->authorization};
    if (t->content_type)
        out[n++] = (struct http_header){STR("content-type"), str_of(t->content_type)};
    if (trace->trace_hi | trace->trace_lo) {
        trace_write(traceparent, trace);
        out[n++] = (struct http_header){STR("traceparent"), buf_view(traceparent)};
    }
    return n;
}

// Answers.

static int error_from_status(const struct value *status, int http_status, struct err *e)
{
    struct str reason_name = value_str_at(status, "reason");
    struct str message = value_str_at(status, "message");
    int code = (int)value_int_at(status, "code", http_status);
    enum err_reason reason = reason_name.n ? err_reason_from_name(reason_name) : ERR_INTERNAL;
    if (reason == ERR_INTERNAL && code >= 400)
        reason = err_reason_from_http(code);
    if (!message.n)
        message = STR("the server refused the request");
    int rc = err_set(e, reason, "%.*s", STR_ARG(message));
    if (!e)
        return rc;
    const struct value *details = value_getc(status, "details");
    err_details(e, value_str_at(details, "name"), value_str_at(details, "group"),
                value_str_at(details, "kind"));
    e->retry_after_seconds = (int)value_int_at(details, "retryAfterSeconds", 0);
    struct str token = value_str_at(status, "metadata.continue");
    if (token.n)
        e->continue_token = mem_cstr(token);
    static const char *const cause_reasons[] = {
        "FieldValueRequired",   "FieldValueInvalid",     "FieldValueNotSupported",
        "FieldValueDuplicate",  "FieldValueForbidden",   "FieldValueTooLong",
        "FieldValueTooMany",    "FieldValueTypeInvalid", "FieldManagerConflict",
        "NamespaceTerminating", "DisruptionBudget",      "ResourceVersionTooLarge",
    };
    const struct value *causes = value_getc(details, "causes");
    value_each_item (causes, cause) {
        struct str name = value_str_at(cause, "reason");
        const char *known = "FieldValueInvalid"; // causes hold static strings
        for (size_t i = 0; i < sizeof cause_reasons / sizeof *cause_reasons; i++) {
            if (str_eqc(name, cause_reasons[i]))
                known = cause_reasons[i];
        }
        struct str text = value_str_at(cause, "message");
        err_cause(e, known, value_str_at(cause, "field"), "%.*s", STR_ARG(text));
    }
    return rc;
}

static int error_from_body(struct arena *a, int http_status, struct str body, struct err *e)
{
    struct value *status;
    struct json_options opt = {0};
    if (json_parse(a, body, &opt, &status, NULL) == 0 &&
        str_eq(value_str_at(status, "kind"), STR("Status")))
        return error_from_status(status, http_status, e);
    struct str text = str_trim(str_sub(body, 0, 200));
    return err_set(e, err_reason_from_http(http_status), "the server answered %d: %.*s",
                   http_status, STR_ARG(text));
}

static uint64_t revision_of(const struct value *object)
{
    uint64_t revision = 0;
    str_to_u64(value_str_at(object, "metadata.resourceVersion"), &revision);
    return revision;
}

// A tree as it came becomes a shared object. List items lack kind and apiVersion: they get the
// request's.
static int make_object(struct arena *a, const struct kind *k, struct value *v, struct object **ret,
                       struct err *e)
{
    if (!value_getc(v, "kind"))
        value_setc(a, v, "kind", value_str(a, k->kind));
    if (!value_getc(v, "apiVersion"))
        value_setc(a, v, "apiVersion", value_str(a, kind_api_version(k)));
    struct str ns = value_str_at(v, "metadata.namespace"), name = value_str_at(v, "metadata.name");
    struct str key = arena_printf(a, "%.*s%.*s%s%.*s", STR_ARG(k->storage_prefix), STR_ARG(ns),
                                  ns.n ? "/" : "", STR_ARG(name));
    return object_from_value(k, key, revision_of(v), v, ret, e);
}

static int take_list(struct api_answer *out, const struct kind *k, struct value *list,
                     struct err *e)
{
    const struct value *items = value_getc(list, "items");
    out->items = mem_zalloc((value_len(items) + 1) * sizeof *out->items);
    out->revision = revision_of(list);
    out->continue_token = value_str_at(list, "metadata.continue");
    out->remaining = value_int_at(list, "metadata.remainingItemCount", -1);
    value_each_item (items, item) {
        int rc = make_object(&out->arena, k, item, &out->items[out->nitems], e);
        if (rc < 0)
            return rc;
        out->nitems++;
    }
    return 0;
}

// A body of a kind that nobody stores (reviews, tokens, scales) stays a tree.
static bool is_virtual(const struct api_request *r)
{
    const struct subresource *s =
        r->subresource.n ? kind_subresource(r->kind, r->subresource) : NULL;
    return r->kind->flags & KIND_VIRTUAL || (s && s->kind.n && !str_eq(s->kind, r->kind->kind));
}

static int take_answer(const struct api_request *r, const struct http_answer *http,
                       struct api_answer *out, struct err *e)
{
    struct value *v;
    struct json_options opt = {0};
    _cleanup_err_ struct err why = ERR_INIT;
    out->created = http->status == 201;
    out->remaining = -1;
    if (json_parse(&out->arena, http->body, &opt, &v, &why) < 0)
        return err_set(e, ERR_INTERNAL, "the server's answer is not JSON: %s", why.message);
    if (r->verb == VERB_LIST)
        return take_list(out, r->kind, v, e);
    if (r->verb == VERB_DELETECOLLECTION)
        return 0;
    if (str_eq(value_str_at(v, "kind"), STR("Status")) || is_virtual(r)) {
        out->value = v;
        return 0;
    }
    int rc = make_object(&out->arena, r->kind, v, &out->object, e);
    if (rc == 0)
        out->revision = out->object->revision;
    return rc;
}

static int remote_call(struct client *c, const struct api_request *r, struct api_answer *ret,
                       struct err *e)
{
    struct remote *m = remote_of(c);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf traceparent = BUF_INIT;
    struct client_remote_target target;
    struct http_header headers[5];
    client_remote_target(&a, r, false, &target);
    struct http_call_request request = {
        .method = target.method,
        .url = arena_printf(&a, "%.*s%.*s", STR_ARG(m->url), STR_ARG(target.path)),
        .headers = headers,
        .nheaders = fill_headers(m, &target, &r->trace, &traceparent, headers),
        .body = target.body,
    };
    struct http_answer http;
    int rc = http_do(m->calls, &a, &request, ANSWER_MAX, &http, e);
    if (rc < 0)
        return rc;
    if (http.status >= 400) {
        rc = error_from_body(&a, http.status, http.body, e);
        uint64_t after;
        if (e && !e->retry_after_seconds &&
            str_to_u64(http_answer_header(&http, "retry-after"), &after) && after < 3600)
            e->retry_after_seconds = (int)after;
        return rc;
    }
    struct api_answer answer = {0};
    rc = take_answer(r, &http, &answer, e);
    if (rc < 0) {
        api_answer_done(&answer);
        return rc;
    }
    *ret = answer;
    return 0;
}

// Watches.

static void watch_free(struct client_watch *w)
{
    buf_done(&w->pending);
    arena_done(&w->arena);
    err_done(&w->error);
    free(w);
}

static void on_head(struct http_call *call, int status, const struct http_header *headers, size_t n)
{
    struct client_watch *w = http_call_ctx(call);
    (void)headers;
    (void)n;
    w->status = status;
}

static bool event_type(struct str name, enum watch_type *ret)
{
    for (int t = WATCH_ADDED; t <= WATCH_BOOKMARK; t++) {
        if (str_eqc(name, watch_type_name(t))) {
            *ret = t;
            return true;
        }
    }
    return false;
}

// One line of the stream. false: the stream is of no more use (w->error says why).
static bool read_event(struct client_watch *w, struct str line, struct watch_event *ev)
{
    struct value *v;
    struct json_options opt = {0};
    _cleanup_err_ struct err why = ERR_INIT;
    if (json_parse(&w->arena, line, &opt, &v, &why) < 0) {
        err_set(&w->error, ERR_INTERNAL, "the watch sent something that is not JSON: %s",
                why.message);
        return false;
    }
    struct str type = value_str_at(v, "type");
    struct value *object = value_getc(v, "object");
    if (str_eq(type, STR("ERROR"))) {
        error_from_status(object, 500, &w->error);
        return false;
    }
    if (!event_type(type, &ev->type)) {
        err_set(&w->error, ERR_INTERNAL, "the watch sent an event of unknown type \"%.*s\"",
                STR_ARG(type));
        return false;
    }
    ev->revision = revision_of(object);
    if (ev->type == WATCH_BOOKMARK) {
        const struct value *annotations = value_at(object, "metadata.annotations");
        ev->initial_end =
            value_string(value_get(annotations, STR("k8s.io/initial-events-end"))).n > 0;
        return true;
    }
    return make_object(&w->arena, w->kind, object, &ev->object, &w->error) == 0;
}

static void on_body(struct http_call *call, struct str part)
{
    struct client_watch *w = http_call_ctx(call);
    if (w->error.reason)
        return;
    buf_str(&w->pending, part);
    if (!buf_ok(&w->pending)) {
        err_set(&w->error, ERR_TOO_LARGE, "the watch sent an event of more than %zu bytes",
                EVENT_MAX);
        return;
    }
    if (w->status != 200)
        return; // a refusal: its body is read at the end
    struct str rest = buf_view(&w->pending);
    size_t n = 0, cap = 0;
    struct watch_event *events = NULL;
    for (ptrdiff_t end; !w->error.reason && (end = str_chr(rest, '\n')) >= 0;) {
        struct str line = str_trim(str_sub(rest, 0, (size_t)end));
        rest = str_from(rest, (size_t)end + 1);
        if (!line.n)
            continue;
        if (n == cap)
            events = mem_realloc(events, (cap = cap ? cap * 2 : 16) * sizeof *events);
        events[n] = (struct watch_event){0};
        if (read_event(w, line, &events[n]))
            n++;
    }
    buf_drop(&w->pending, w->pending.n - rest.n);
    if (n)
        w->handler.on_events(w->handler.ctx, events, n);
    for (size_t i = 0; i < n; i++)
        object_unref(events[i].object);
    free(events);
    arena_reset(&w->arena);
}

static void on_end(struct http_call *call, const struct err *e)
{
    struct client_watch *w = http_call_ctx(call);
    if (!e && !w->error.reason && w->status >= 400)
        error_from_body(&w->arena, w->status, buf_view(&w->pending), &w->error);
    if (w->error.reason)
        e = &w->error;
    w->handler.on_end(w->handler.ctx, e);
    watch_free(w);
}

static struct http_client *stream_client(struct remote *m, struct loop *l)
{
    pthread_mutex_lock(&m->lock);
    struct stream *s = m->streams;
    while (s && s->loop != l)
        s = s->next;
    if (!s) {
        struct http_client_options opt = {.tls = m->tls, .idle_timeout_ns = WATCH_IDLE_TIMEOUT};
        s = mem_zalloc(sizeof *s);
        s->loop = l;
        s->http = http_client_new(l, &opt);
        s->next = m->streams;
        m->streams = s;
    }
    pthread_mutex_unlock(&m->lock);
    return s->http;
}

static int remote_watch(struct client *c, struct loop *l, const struct api_request *r,
                        const struct client_watch_handler *h, struct client_watch **ret,
                        struct err *e)
{
    struct remote *m = remote_of(c);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf traceparent = BUF_INIT;
    struct client_remote_target target;
    struct http_header headers[5];
    (void)e; // what goes wrong is told to on_end
    client_remote_target(&a, r, true, &target);
    struct client_watch *w = mem_zalloc(sizeof *w);
    w->kind = r->kind;
    w->handler = *h;
    w->pending = BUF_MAX(EVENT_MAX);
    struct http_call_request request = {
        .method = "GET",
        .url = arena_printf(&a, "%.*s%.*s", STR_ARG(m->url), STR_ARG(target.path)),
        .headers = headers,
        .nheaders = fill_headers(m, &target, &r->trace, &traceparent, headers),
    };
    struct http_call_handler handler = {on_head, on_body, on_end, w};
    w->call = http_call_start(stream_client(m, l), &request, &handler);
    *ret = w;
    return 0;
}

static void remote_unwatch(struct client_watch *w)
{
    http_call_cancel(w->call);
    watch_free(w);
}

// Life.

static void *serve(void *arg)
{
    struct remote *m = arg;
    struct http_client_options opt = {.tls = m->tls, .idle_timeout_ns = CALL_IDLE_TIMEOUT};
    m->loop = loop_new(m->client.env);
    m->calls = http_client_new(m->loop, &opt);
    completion_signal(&m->ready);
    loop_run(m->loop);
    return NULL; // remote_free takes the rest away: loop_stop may still be looking at the loop
}

static void remote_free(struct client *c)
{
    struct remote *m = remote_of(c);
    loop_stop(m->loop);
    pthread_join(m->thread, NULL);
    http_client_free(m->calls);
    loop_free(m->loop);
    for (struct stream *s = m->streams, *next; s; s = next) {
        next = s->next;
        http_client_free(s->http);
        free(s);
    }
    tls_client_free(m->tls);
    completion_done(&m->ready);
    pthread_mutex_destroy(&m->lock);
    if (m->authorization.p)
        explicit_bzero((char *)m->authorization.p, m->authorization.n);
    free((char *)m->authorization.p);
    free((char *)m->url.p);
    free((char *)m->agent.p);
    free(m);
}

static const struct client_ops remote_ops = {
    .call = remote_call,
    .watch = remote_watch,
    .unwatch = remote_unwatch,
    .free = remote_free,
};

int client_remote_new(const struct client_remote_options *opt, struct client **ret, struct err *e)
{
    bool https = str_starts(opt->url, STR("https://"));
    if (!https && !str_starts(opt->url, STR("http://")))
        return err_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not an http or https address",
                       STR_ARG(opt->url));
    struct tls_client *tls = NULL;
    if (https) {
        int rc = tls_client_new(opt->ca_pem, opt->cert_pem, opt->key_pem, opt->insecure, &tls, e);
        if (rc < 0)
            return rc;
    }
    struct remote *m = mem_zalloc(sizeof *m);
    m->client.ops = &remote_ops;
    m->client.env = opt->env;
    m->agent = mem_str(opt->name.n ? opt->name : STR("coracle"));
    m->client.name = m->agent;
    m->url = mem_str(opt->url);
    m->tls = tls;
    if (opt->token.n) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct str header = arena_printf(&a, "Bearer %.*s", STR_ARG(opt->token));
        m->authorization = mem_str(header);
        explicit_bzero((char *)header.p, header.n);
    }
    pthread_mutex_init(&m->lock, NULL);
    completion_init(&m->ready);
    m->thread = thread_start("remote", serve, m);
    completion_wait(&m->ready);
    *ret = &m->client;
    return 0;
}
