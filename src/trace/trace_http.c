// The replies are the original's: status, text, media type, order. A call is a context tied to its
// exchange: made by its route on the loop, filled with what the route needs from the request, run
// on a worker by the route's `run`, which leaves an answer in it, and answered on the loop. A put
// waits for the store's writer in between.
#include "trace/trace_http.h"
#include "base/guard.h"
#include "object/json.h"
#include "trace/span_json.h"
#include "trace/span_links.h"
#include "wire/http_router.h"
#include "wire/http_tie.h"
#include <errno.h>
#include <stdatomic.h>

enum {
    BODY_MAX = 32 << 20,
    BODIES_MAX = 64 << 20, // of all reports under way
    ANSWER_MAX = 256 << 20,
    DAY_MS = 86400000,
};
static const char json_type[] = "application/json; charset=utf-8";
static const char text_type[] = "text/plain; charset=utf-8";

// What is counted of reports, as the original names it.
enum trace_counter { MESSAGES, MESSAGES_DROPPED, BYTES, SPANS, SPANS_DROPPED, NCOUNTERS };
static const char *const counter_names[NCOUNTERS] = {
    [MESSAGES] = "messages", [MESSAGES_DROPPED] = "messages_dropped", [BYTES] = "bytes",
    [SPANS] = "spans",       [SPANS_DROPPED] = "spans_dropped",
};

struct trace_http {
    struct env *env;
    struct trace_http_options opt;
    struct http_mount mounts[2];
    struct http_router *router;
    atomic_uint_least64_t counts[NCOUNTERS];
    atomic_uint_least64_t message_bytes, message_spans; // of the last message
    atomic_size_t bodies;                               // bytes under way
};

struct trace_call {
    struct http_tie tie;
    struct work work;
    struct trace_http *t;
    struct arena a;
    void (*run)(struct trace_call *c);
    struct str one;              // the route's parameter
    struct span_query_text text; // of a search
    struct str body;
    struct span_put put;

    int status;
    const char *type;
    const char *cache; // Cache-Control
    struct buf out;
};

// ---- the life of a call ----

static void call_free(struct http_tie *tie)
{
    struct trace_call *c = container_of(tie, struct trace_call, tie);
    atomic_fetch_sub(&c->t->bodies, c->body.n);
    buf_done(&c->put.bytes);
    buf_done(&c->out);
    arena_done(&c->a);
    free(c);
}

static void call_answer(struct http_tie *tie)
{
    struct trace_call *c = container_of(tie, struct trace_call, tie);
    if (!tie->x)
        return;
    struct http_header headers[2];
    size_t n = 0;
    if (c->out.n)
        headers[n++] = (struct http_header){STR("content-type"), str_of(c->type)};
    if (c->cache)
        headers[n++] = (struct http_header){STR("cache-control"), str_of(c->cache)};
    http_respond(tie->x, c->status, headers, n, buf_view(&c->out));
}

static void call_work(struct work *w)
{
    struct trace_call *c = container_of(w, struct trace_call, work);
    c->run(c);
}

static struct trace_call *call_new(struct http_routed *r, void (*run)(struct trace_call *c))
{
    struct trace_call *c = mem_zalloc(sizeof *c);
    c->t = r->mount->ctx;
    c->run = run;
    c->status = 200;
    c->type = json_type;
    c->out = BUF_MAX(ANSWER_MAX);
    c->put.bytes = BUF_MAX(BODY_MAX);
    http_tie(&c->tie, r->x, call_free);
    return c;
}

static void call_submit(struct trace_call *c)
{
    http_tie_away(&c->tie, call_answer);
    c->work.fn = call_work;
    if (workers_submit(c->t->opt.workers, &c->work))
        return;
    http_tie_stay(&c->tie);
    c->status = 503;
    c->type = text_type;
    buf_puts(&c->out, "too many requests wait, try again\n");
    call_answer(&c->tie);
}

static struct str param(struct trace_call *c, struct http_routed *r, const char *name)
{
    return arena_str(&c->a, http_query(&c->a, http_request(r->x), name, 0));
}

static void say(struct trace_call *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void say(struct trace_call *c, int status, const char *fmt, ...)
{
    va_list ap;
    c->status = status;
    c->type = text_type;
    buf_reset(&c->out);
    va_start(ap, fmt);
    buf_vprintf(&c->out, fmt, ap);
    va_end(ap);
}

static void done(struct trace_call *c)
{
    if (!buf_ok(&c->out)) {
        c->out.failed = false;
        say(c, 413, "the answer is larger than %d bytes, ask for less\n", ANSWER_MAX);
    }
    http_tie_back(&c->tie);
}

static void done_error(struct trace_call *c, const struct err *e)
{
    say(c, -err_code(e), "%s", e->message);
    done(c);
}

// ---- reports ----

static void count(struct trace_http *t, enum trace_counter which, uint64_t n)
{
    atomic_fetch_add_explicit(&t->counts[which], n, memory_order_relaxed);
}

static void put_complete(struct span_put *p)
{
    struct trace_call *c = container_of(p, struct trace_call, put);
    c->status = 202;
    if (p->result == 0) {
        count(c->t, SPANS, p->spans);
    } else {
        count(c->t, SPANS_DROPPED, p->spans);
        if (p->result == -ENOSPC)
            say(c, 507, "the disk of the span store is full, nothing was kept\n");
        else
            say(c, 503, "the span store takes no more at the moment, try again\n");
    }
    http_tie_back(&c->tie);
}

// v1's JSON sent here, told apart as the original does.
static bool is_v1(struct str body)
{
    return str_find(body, STR("yAnnotations\"")) >= 0;
}

static void run_report(struct trace_call *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span *spans;
    size_t n;
    count(c->t, MESSAGES, 1);
    count(c->t, BYTES, c->body.n);
    atomic_store_explicit(&c->t->message_bytes, c->body.n, memory_order_relaxed);
    struct str body = str_trim(c->body);
    if (!body.n || str_eqc(body, "[]")) {
        c->status = 202;
        http_tie_back(&c->tie);
        return;
    }
    if (body.p[0] != '[' || is_v1(body)) {
        count(c->t, MESSAGES_DROPPED, 1);
        say(c, 400,
            body.p[0] == '[' ? "Expected a JSON_V2 encoded list, but received: JSON_V1\n"
                             : "Expected a JSON_V2 encoded list\n");
        http_tie_back(&c->tie);
        return;
    }
    if (span_json_read(&c->a, body, &spans, &n, &e) < 0) {
        count(c->t, MESSAGES_DROPPED, 1);
        say(c, 400, "Cannot decode spans: %s\n", e.message);
        http_tie_back(&c->tie);
        return;
    }
    atomic_store_explicit(&c->t->message_spans, n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        span_encode(&c->put.bytes, &spans[i]);
    if (!buf_ok(&c->put.bytes)) {
        count(c->t, SPANS_DROPPED, n);
        say(c, 413, "the spans are larger than %d bytes\n", BODY_MAX);
        http_tie_back(&c->tie);
        return;
    }
    arena_reset(&c->a);
    c->put.spans = (uint32_t)n;
    c->put.complete = put_complete;
    span_store_put(c->t->opt.store, &c->put);
}

static void post_spans(struct http_routed *r, struct str body)
{
    struct trace_call *c = call_new(r, run_report);
    c->body = body; // lives in the exchange, which may go: so it is copied
    if (atomic_fetch_add(&c->t->bodies, body.n) + body.n > BODIES_MAX) {
        count(c->t, MESSAGES_DROPPED, 1);
        say(c, 503, "too many spans wait, try again\n");
        call_answer(&c->tie);
        return;
    }
    c->body = arena_str(&c->a, body);
    call_submit(c);
}

// ---- queries ----

static void write_list(struct trace_call *c, const struct str *list, size_t n)
{
    buf_char(&c->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(&c->out, ',');
        json_write_string(&c->out, list[i]);
    }
    buf_char(&c->out, ']');
}

// Lists that the page asks for again and again: cached by the client once there are many services.
static void run_names(struct trace_call *c, enum span_store_list which)
{
    struct str *list, *services;
    size_t n, nservices;
    span_store_names(c->t->opt.store, &c->a, which, span_lower(&c->a, c->one), &list, &n);
    span_store_names(c->t->opt.store, &c->a, SPAN_LIST_SERVICES, STR_NULL, &services, &nservices);
    if (nservices > 3)
        c->cache = "max-age=300, must-revalidate";
    write_list(c, list, n);
    done(c);
}

static void run_services(struct trace_call *c)
{
    run_names(c, SPAN_LIST_SERVICES);
}

static void run_span_names(struct trace_call *c)
{
    run_names(c, SPAN_LIST_NAMES);
}

static void run_remotes(struct trace_call *c)
{
    run_names(c, SPAN_LIST_REMOTES);
}

static void get_services(struct http_routed *r, struct str body)
{
    (void)body;
    call_submit(call_new(r, run_services));
}

static void get_names_of(struct http_routed *r, void (*run)(struct trace_call *c))
{
    struct trace_call *c = call_new(r, run);
    c->one = param(c, r, "serviceName");
    if (!c->one.p) {
        say(c, 400, "Required parameter 'serviceName' is not present.");
        call_answer(&c->tie);
        return;
    }
    call_submit(c);
}

static void get_span_names(struct http_routed *r, struct str body)
{
    (void)body;
    get_names_of(r, run_span_names);
}

static void get_remotes(struct http_routed *r, struct str body)
{
    (void)body;
    get_names_of(r, run_remotes);
}

static void write_trace(struct buf *b, const struct span_trace *t)
{
    buf_char(b, '[');
    for (size_t i = 0; i < t->n; i++) {
        if (i)
            buf_char(b, ',');
        span_json_write(b, &t->spans[i]);
    }
    buf_char(b, ']');
}

static void run_search(struct trace_call *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span_query q;
    struct span_trace *list;
    size_t n;
    uint64_t now = (uint64_t)env_now(c->t->env) / 1000000;
    if (span_query_parse(&c->a, &c->text, now, c->t->opt.lookback_ms, &q, &e) < 0 ||
        span_store_search(c->t->opt.store, &c->a, &q, &list, &n, &e) < 0) {
        done_error(c, &e);
        return;
    }
    buf_char(&c->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(&c->out, ',');
        write_trace(&c->out, &list[i]);
    }
    buf_char(&c->out, ']');
    done(c);
}

static void get_traces(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, run_search);
    c->text = (struct span_query_text){
        .service = param(c, r, "serviceName"),
        .remote = param(c, r, "remoteServiceName"),
        .name = param(c, r, "spanName"),
        .annotations = param(c, r, "annotationQuery"),
        .min_duration = param(c, r, "minDuration"),
        .max_duration = param(c, r, "maxDuration"),
        .end = param(c, r, "endTs"),
        .lookback = param(c, r, "lookback"),
        .limit = param(c, r, "limit"),
    };
    call_submit(c);
}

static const char *parse_id(struct trace_call *c, struct str *text, uint64_t *hi, uint64_t *lo)
{
    *text = span_lower(&c->a, str_trim(*text));
    return span_trace_id_parse(*text, hi, lo);
}

static void run_trace(struct trace_call *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span_trace t;
    uint64_t hi, lo;
    const char *bad = parse_id(c, &c->one, &hi, &lo);
    if (bad) {
        bool shown = c->one.n && c->one.n <= 32;
        say(c, 400, "%.*s%s%s", shown ? (int)c->one.n : 0, shown ? c->one.p : "", shown ? " " : "",
            bad);
        done(c);
        return;
    }
    if (span_store_trace(c->t->opt.store, &c->a, hi, lo, &t, &e) < 0) {
        done_error(c, &e);
        return;
    }
    if (t.n)
        write_trace(&c->out, &t);
    else
        say(c, 404, "%.*s not found", STR_ARG(c->one));
    done(c);
}

static void get_trace(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, run_trace);
    c->one = arena_str(&c->a, http_routed_param(r, "id"));
    call_submit(c);
}

enum { MANY_MAX = 1000 };

// The IDs of ?traceIds=, or why not, said already.
static bool many_ids(struct trace_call *c, struct span *ids, size_t *ret_n)
{
    size_t n = 0;
    for (struct str rest = c->one; rest.p;) {
        struct str text = str_cut(&rest, ',');
        struct span id = {0};
        const char *bad = parse_id(c, &text, &id.trace_hi, &id.trace_lo);
        if (bad || n == MANY_MAX) {
            say(c, 400, "%.*s %s", STR_ARG(text), bad ? bad : "is one trace ID too many");
            return false;
        }
        for (size_t i = 0; i < n; i++)
            if (ids[i].trace_hi == id.trace_hi && ids[i].trace_lo == id.trace_lo) {
                say(c, 400, "redundant trace ID: %.*s", STR_ARG(text));
                return false;
            }
        ids[n++] = id;
    }
    if (n == 1)
        say(c, 400, "Use /api/v2/trace/{traceId} endpoint to retrieve a single trace");
    *ret_n = n;
    return n > 1;
}

static void run_many(struct trace_call *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span *ids = arena_array(&c->a, struct span, MANY_MAX);
    size_t n;
    bool any = false;
    if (!c->one.n) {
        say(c, 400, "traceIds parameter is empty");
        done(c);
        return;
    }
    if (!many_ids(c, ids, &n)) {
        done(c);
        return;
    }
    buf_char(&c->out, '[');
    for (size_t i = 0; i < n; i++) {
        struct span_trace t;
        if (span_store_trace(c->t->opt.store, &c->a, ids[i].trace_hi, ids[i].trace_lo, &t, &e) <
            0) {
            done_error(c, &e);
            return;
        }
        if (!t.n)
            continue;
        if (any)
            buf_char(&c->out, ',');
        any = true;
        write_trace(&c->out, &t);
    }
    buf_char(&c->out, ']');
    done(c);
}

static void get_many(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, run_many);
    c->one = param(c, r, "traceIds");
    call_submit(c);
}

static void add_links(void *ctx, const struct span *spans, size_t n)
{
    span_links_add(ctx, spans, n);
}

static void run_dependencies(struct trace_call *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct span_links links = SPAN_LINKS_INIT;
    struct span_query q;
    int code = 0;
    if (!c->text.end.n)
        code = err_set(&e, ERR_BAD_REQUEST, "Required parameter 'endTs' is not present.");
    if (!code)
        code = span_query_parse(&c->a, &c->text, 0, c->t->opt.lookback_ms, &q, &e);
    if (!code)
        code = span_store_each(c->t->opt.store, &q, add_links, &links, &e);
    if (code) {
        done_error(c, &e);
    } else {
        span_links_write(&links, &c->out);
        done(c);
    }
    span_links_done(&links);
}

static void get_dependencies(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, run_dependencies);
    c->text =
        (struct span_query_text){.end = param(c, r, "endTs"), .lookback = param(c, r, "lookback")};
    call_submit(c);
}

// No keys are configured for completion: both lists are empty, as the original says then.
static void get_no_keys(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    buf_puts(&c->out, "[]");
    call_answer(&c->tie);
}

// ---- about the server ----

static void get_health(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    struct span_store_facts f = span_store_facts(c->t->opt.store);
    const char *status = f.failed ? "DOWN" : "UP";
    c->status = f.failed ? 503 : 200;
    buf_printf(&c->out,
               "{\"status\":\"%s\",\"zipkin\":{\"status\":\"%s\",\"details\":"
               "{\"SpanStore{}\":{\"status\":\"%s\"}}}}",
               status, status, status);
    call_answer(&c->tie);
}

static void get_info(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    buf_puts(&c->out, "{\"zipkin\":{\"version\":\"3.6.1\"}}");
    call_answer(&c->tie);
}

static void get_config(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    buf_puts(&c->out, "{\"environment\":\"\",\"queryLimit\":10,\"defaultLookback\":900000,"
                      "\"searchEnabled\":true,\"logsUrl\":null,\"supportUrl\":null,"
                      "\"archivePostUrl\":null,\"archiveUrl\":null,\"dependency\":{"
                      "\"enabled\":true,\"lowErrorRate\":0.5,\"highErrorRate\":0.75}}");
    c->cache = "max-age=600";
    call_answer(&c->tie);
}

static uint64_t counted(struct trace_http *t, size_t which)
{
    return atomic_load_explicit(&t->counts[which], memory_order_relaxed);
}

static void get_metrics(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    buf_char(&c->out, '{');
    for (size_t i = 0; i < NCOUNTERS; i++)
        buf_printf(&c->out, "\"counter.zipkin_collector.%s.http\":%lu,", counter_names[i],
                   (unsigned long)counted(c->t, i));
    buf_printf(&c->out,
               "\"gauge.zipkin_collector.message_spans.http\":%lu,"
               "\"gauge.zipkin_collector.message_bytes.http\":%lu}",
               (unsigned long)atomic_load(&c->t->message_spans),
               (unsigned long)atomic_load(&c->t->message_bytes));
    call_answer(&c->tie);
}

static void get_prometheus(struct http_routed *r, struct str body)
{
    (void)body;
    struct trace_call *c = call_new(r, NULL);
    struct span_store_facts f = span_store_facts(c->t->opt.store);
    c->type = "text/plain; version=0.0.4; charset=utf-8";
    for (size_t i = 0; i < NCOUNTERS; i++)
        buf_printf(&c->out,
                   "# TYPE zipkin_collector_%s_total counter\n"
                   "zipkin_collector_%s_total{transport=\"http\"} %lu\n",
                   counter_names[i], counter_names[i], (unsigned long)counted(c->t, i));
    buf_printf(&c->out,
               "# TYPE coracle_trace_spans gauge\ncoracle_trace_spans %lu\n"
               "# TYPE coracle_trace_blocks gauge\ncoracle_trace_blocks %lu\n"
               "# TYPE coracle_trace_block_bytes gauge\ncoracle_trace_block_bytes %lu\n",
               (unsigned long)f.spans, (unsigned long)f.blocks, (unsigned long)f.block_bytes);
    call_answer(&c->tie);
}

static const struct http_route api[] = {
    {"POST", "/api/v2/spans", HTTP_BODY_WHOLE, BODY_MAX, post_spans},
    {"GET", "/api/v2/autocompleteKeys", HTTP_BODY_NONE, 0, get_no_keys},
    {"GET", "/api/v2/autocompleteValues", HTTP_BODY_NONE, 0, get_no_keys},
    {"GET", "/api/v2/dependencies", HTTP_BODY_NONE, 0, get_dependencies},
    {"GET", "/api/v2/remoteServices", HTTP_BODY_NONE, 0, get_remotes},
    {"GET", "/api/v2/services", HTTP_BODY_NONE, 0, get_services},
    {"GET", "/api/v2/spans", HTTP_BODY_NONE, 0, get_span_names},
    {"GET", "/api/v2/trace/{id}", HTTP_BODY_NONE, 0, get_trace},
    {"GET", "/api/v2/traceMany", HTTP_BODY_NONE, 0, get_many},
    {"GET", "/api/v2/traces", HTTP_BODY_NONE, 0, get_traces},
    {"GET", "/actuator/health", HTTP_BODY_NONE, 0, get_health},
    {"GET", "/config.json", HTTP_BODY_NONE, 0, get_config},
    {"GET", "/health", HTTP_BODY_NONE, 0, get_health},
    {"GET", "/info", HTTP_BODY_NONE, 0, get_info},
    {"GET", "/metrics", HTTP_BODY_NONE, 0, get_metrics},
    {"GET", "/prometheus", HTTP_BODY_NONE, 0, get_prometheus},
    {0},
};

struct trace_http *trace_http_new(struct env *env, const struct trace_http_options *opt)
{
    struct trace_http *t = mem_zalloc(sizeof *t);
    t->env = env;
    t->opt = *opt;
    if (!t->opt.lookback_ms)
        t->opt.lookback_ms = DAY_MS;
    t->mounts[0] = (struct http_mount){.prefix = "", .routes = api, .ctx = t};
    t->mounts[1] = (struct http_mount){.prefix = "/zipkin", .routes = api, .ctx = t};
    t->router = http_router_new(t->mounts, 2);
    return t;
}

void trace_http_free(struct trace_http *t)
{
    if (!t)
        return;
    http_router_free(t->router);
    free(t);
}

struct http_handler trace_http_handler(struct trace_http *t)
{
    return http_router_handler(t->router);
}
