// The client itself: making and ending it, upgrades, and the blocking form for worker threads.
#include "base/thread.h"
#include "base/time.h"
#include "wire/client_private.h"
#include <string.h>

#define CONNECT_NS (10 * (uint64_t)NS_PER_S)
enum { REFUSAL_MAX = 4 << 10 };

struct http_client *http_client_new(struct loop *l, const struct http_client_options *opt)
{
    static const struct http_client_options none;
    struct http_client *c = mem_zalloc(sizeof *c);
    opt = opt ? opt : &none;
    c->loop = l;
    c->tls = tls_client_ref(opt->tls);
    c->unix_socket = opt->unix_socket ? mem_cstr(str_of(opt->unix_socket)) : NULL;
    c->connect_ns = opt->connect_timeout_ns ? opt->connect_timeout_ns : CONNECT_NS;
    c->idle_ns = opt->idle_timeout_ns;
    list_init(&c->calls);
    list_init(&c->conns);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    c->freeing = true;
    while (!list_empty(&c->calls)) {
        struct http_call *call = container_of(c->calls.next, struct http_call, link);
        _cleanup_err_ struct err e = ERR_INIT;
        err_set(&e, ERR_UNAVAILABLE, "the HTTP client was closed");
        if (call->cancelled) {
            call->deferred.fn(&call->deferred); // only waits to be freed
            continue;
        }
        call_end(call, &e);
    }
    while (!list_empty(&c->conns))
        client_conn_free(container_of(c->conns.next, struct client_conn, link));
    tls_client_free(c->tls);
    free(c->unix_socket);
    free(c);
}

struct loop *http_client_loop(struct http_client *c)
{
    return c->loop;
}

// --- upgrades

struct refusal {
    void *ctx;
    void (*on_open)(void *ctx, struct http_raw *raw, const struct http_header *headers,
                    size_t nheaders, const struct err *e);
    int status;
    struct buf body;
};

static void refused_head(struct http_call *c, int status, const struct http_header *headers,
                         size_t n)
{
    struct refusal *r = http_call_ctx(c);
    (void)headers, (void)n;
    r->status = status;
}

static void refused_body(struct http_call *c, struct str part)
{
    struct refusal *r = http_call_ctx(c);
    buf_str(&r->body, str_sub(part, 0, REFUSAL_MAX - r->body.n));
}

static void refused_end(struct http_call *c, const struct err *e)
{
    struct refusal *r = http_call_ctx(c);
    _cleanup_err_ struct err mine = ERR_INIT;
    if (!e || r->status) {
        struct str body = str_trim(buf_view(&r->body));
        err_set(&mine, err_reason_from_http(r->status), "unable to upgrade connection: %d %s%s%.*s",
                r->status, http_status_text(r->status), body.n ? ": " : "", STR_ARG(body));
        e = &mine;
    }
    r->on_open(r->ctx, NULL, NULL, 0, e);
    buf_done(&r->body);
    free(r);
}

static void opened(void *ctx, struct http_raw *raw, const struct http_header *headers,
                   size_t nheaders, const struct err *e)
{
    struct refusal *r = ctx;
    raw->h.ctx = r->ctx;
    r->on_open(r->ctx, raw, headers, nheaders, e);
    buf_done(&r->body);
    free(r);
}

void http_client_upgrade(struct http_client *c, const struct http_call_request *request,
                         struct str protocol, const struct http_raw_handler *h,
                         void (*on_open)(void *ctx, struct http_raw *raw,
                                         const struct http_header *headers, size_t nheaders,
                                         const struct err *e))
{
    struct refusal *r = mem_zalloc(sizeof *r);
    const struct http_call_handler handler = {refused_head, refused_body, refused_end, r};
    r->ctx = h->ctx;
    r->on_open = on_open;
    struct http_call *call = call_new(c, request, &handler, protocol);
    call->upgrade = true;
    call->raw = *h;
    call->raw.ctx = r;
    call->on_open = opened;
}

// --- blocking

struct blocking {
    struct http_client *client;
    const struct http_call_request *request;
    struct arena *arena;
    size_t max;
    struct http_answer *ret;
    struct err *error;
    int code;
    struct http_answer answer;
    struct buf body;
    struct loop_task task;
    struct completion done;
};

static void do_head(struct http_call *c, int status, const struct http_header *headers, size_t n)
{
    struct blocking *b = http_call_ctx(c);
    // The caller waits, so its arena is ours meanwhile.
    struct http_header *copy = arena_alloc(b->arena, sizeof *copy * (n ? n : 1));
    for (size_t i = 0; i < n; i++) {
        copy[i].name = arena_str(b->arena, headers[i].name);
        copy[i].value = arena_str(b->arena, headers[i].value);
    }
    b->answer = (struct http_answer){.status = status, .headers = copy, .nheaders = n};
}

static void do_body(struct http_call *c, struct str part)
{
    struct blocking *b = http_call_ctx(c);
    if (part.n <= b->max - b->body.n) {
        buf_str(&b->body, part);
        return;
    }
    b->code = err_set(b->error, ERR_TOO_LARGE, "the response is larger than %zu bytes", b->max);
    http_call_cancel(c);
    completion_signal(&b->done);
}

static void do_end(struct http_call *c, const struct err *e)
{
    struct blocking *b = http_call_ctx(c);
    if (e) {
        b->code = err_set(b->error, e->reason, "%s", e->message);
    } else {
        b->answer.body = arena_str(b->arena, buf_view(&b->body));
        *b->ret = b->answer;
    }
    completion_signal(&b->done);
}

static void do_start(struct loop_task *t)
{
    struct blocking *b = container_of(t, struct blocking, task);
    const struct http_call_handler h = {do_head, do_body, do_end, b};
    http_call_start(b->client, b->request, &h);
}

int http_do(struct http_client *c, struct arena *a, const struct http_call_request *r, size_t max,
            struct http_answer *ret, struct err *e)
{
    BUG_ON(loop_in_thread(c->loop)); // it would wait for itself
    struct blocking b = {.client = c, .request = r, .arena = a, .max = max, .ret = ret, .error = e};
    b.task.fn = do_start;
    completion_init(&b.done);
    loop_post(c->loop, &b.task);
    completion_wait(&b.done);
    completion_done(&b.done);
    buf_done(&b.body);
    return b.code;
}

struct str http_answer_header(const struct http_answer *r, const char *lower_name)
{
    const struct http_head h = {.headers = (struct http_header *)r->headers,
                                .nheaders = r->nheaders};
    return http_head_get(&h, lower_name);
}
