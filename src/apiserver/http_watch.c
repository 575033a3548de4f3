// A watch on the wire: one line of JSON for each event, sent at once.
//
// The line of a stored object is shared among all watchers (cache_event_line); only tables,
// metadata alone and converted kinds are written for one client. A client that does not read while
// events pile up is cut: it starts again from a list, which costs less than remembering for it.
//
// The request's context is let go when the watch runs: a thousand idle watches keep only what they
// need.
#include "apiserver/convert.h"
#include "apiserver/http_private.h"
#include "apiserver/status.h"
#include "apiserver/watch.h"
#include "base/time.h"
#include "object/json.h"

struct http_watch {
    struct http_tie tie;
    struct apiserver *server;
    struct api_watch *watch; // NULL: ended
    struct writer writer;
    bool columns_sent;
};

static void send_line(struct http_watch *h, enum watch_type type, const struct watch_item *it)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_object_ struct object *o = watch_item_object(h->watch, it);
    buf_printf(&b, "{\"type\":\"%s\",\"object\":", watch_type_name(type));
    h->writer.now = env_now(h->server->env);
    if (o) {
        buf_reserve(&b, object_json_size(o) + 8);
        write_event_object(&h->writer, &b, o, !h->columns_sent);
        h->columns_sent = true;
    } else {
        write_bookmark_object(&h->writer, &b, it->revision, it->initial_end);
    }
    buf_puts(&b, "}\n");
    http_send(h->tie.x, buf_view(&b));
    arena_done(&h->writer.scratch); // an idle watch holds no scratch
}

static void on_drain(struct http_exchange *x)
{
    struct http_watch *h = container_of(http_tie_of(x), struct http_watch, tie);
    if (h->watch)
        watch_resume(h->watch);
}

static bool on_item(void *ctx, const struct watch_item *it)
{
    struct http_watch *h = ctx;
    size_t pending = http_pending(h->tie.x);
    if (pending > WATCH_PENDING_MAX) {
        watch_stop(TAKE_PTR(h->watch));
        http_abort(h->tie.x);
        return true;
    }
    if (it->event && h->writer.form.as == AS_OBJECT && !convert_needed(h->writer.kind))
        http_send_blob(h->tie.x, cache_event_line(it->event, it->type));
    else
        send_line(h, it->type, it);
    if (pending < STREAM_HIGH)
        return true;
    http_on_drain(h->tie.x, STREAM_LOW, on_drain);
    return false;
}

static void send_error(struct http_exchange *x, const struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "{\"type\":\"ERROR\",\"object\":");
    json_write(&b, status_of(&a, e));
    buf_puts(&b, "}\n");
    http_send(x, buf_view(&b));
}

static void on_end(void *ctx, const struct err *e)
{
    struct http_watch *h = ctx;
    h->watch = NULL;
    if (e)
        send_error(h->tie.x, e);
    http_finish(h->tie.x);
}

static void watch_gone(struct http_tie *t)
{
    struct http_watch *h = container_of(t, struct http_watch, tie);
    if (h->watch)
        watch_stop(h->watch);
    writer_done(&h->writer);
    free(h);
}

void watch_begin(struct http_ctx *c)
{
    struct api_request *r = &c->call.request;
    _cleanup_err_ struct err e = ERR_INIT;
    if (request_authorise(c->server, &c->call.identity, &c->call.request, &e) >= 0 &&
        atomic_load_explicit(&c->server->active_watches, memory_order_relaxed) >=
            HTTP_WATCHES_MAX) {
        err_set(&e, ERR_TOO_MANY_REQUESTS, "too many watches, please try again later");
        e.retry_after_seconds = 5;
    }
    if (e.reason != ERR_NONE) {
        reply_error(c, &e);
        return;
    }
    if (r->timeout_seconds <= 0) {
        // Somewhere between half an hour and an hour, so that clients do not all come back at once.
        uint16_t jitter;
        env_random(c->server->env, &jitter, sizeof jitter);
        r->timeout_seconds = 1800 + jitter % 1800;
    }
    struct http_watch *h = mem_zalloc(sizeof *h);
    h->server = c->server;
    h->writer = (struct writer){.kind = c->route.kind, .form = c->form};
    struct str include = query_param(c, "includeObject");
    h->writer.include = str_eqc(include, "None")     ? INCLUDE_NONE
                        : str_eqc(include, "Object") ? INCLUDE_OBJECT
                                                     : INCLUDE_METADATA;
    struct watch_sink sink = {.on_item = on_item, .on_end = on_end, .ctx = h};
    int code = watch_start(c->server, c->tie.loop, r, &sink, &h->watch, &e);
    bool expired = err_is(&e, ERR_EXPIRED);
    if (code < 0 && !expired) {
        free(h);
        reply_error(c, &e);
        return;
    }
    struct headers hs = {.n = 0};
    headers_usual(&hs, STR("application/json"), c->audit_id);
    http_tie(&h->tie, c->tie.x, watch_gone);
    http_start(h->tie.x, 200, hs.h, hs.n);
    c->tie.x = NULL;
    http_ctx_free(c);
    // As the originals: the stream opens, says that it cannot begin there, and ends.
    if (expired)
        on_end(h, &e);
}
