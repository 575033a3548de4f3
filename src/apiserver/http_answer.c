// A finished call onto the wire. A list that does not fit in one piece is written as a stream, item
// by item, no faster than the client takes it: what is held besides the shared objects is one piece
// and what waits in the connection.
#include "apiserver/http_private.h"
#include "base/time.h"

static void stream_end(struct http_ctx *c, struct buf *b)
{
    write_list_end(&c->writer, b, &c->head, c->call.answer.nitems);
    http_send(c->tie.x, buf_view(b));
    http_finish(c->tie.x);
}

static void stream_more(struct http_exchange *x)
{
    struct http_ctx *c = container_of(http_tie_of(x), struct http_ctx, tie);
    struct api_answer *an = &c->call.answer;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_reserve(&b, STREAM_CHUNK + 8192);
    while (c->next_item < an->nitems) {
        struct object *o = an->items[c->next_item];
        write_list_item(&c->writer, &b, o, c->next_item);
        an->items[c->next_item++] = NULL; // what is sent need not be held
        object_unref(o);
        if (b.n < STREAM_CHUNK)
            continue;
        http_send(x, buf_view(&b));
        buf_reset(&b);
        if (http_pending(x) > STREAM_HIGH) {
            http_on_drain(x, STREAM_LOW, stream_more);
            return;
        }
    }
    stream_end(c, &b);
}

static void answer_list(struct http_ctx *c, struct headers *hs)
{
    struct api_answer *an = &c->call.answer;
    struct writer *w = &c->writer;
    _cleanup_buf_ struct buf b = BUF_INIT;
    c->head = (struct list_head){an->revision, an->continue_token, an->remaining};
    if (w->form.media == MEDIA_PROTOBUF) {
        _cleanup_err_ struct err e = ERR_INIT;
        if (write_list_protobuf(w, &b, &c->head, an->items, an->nitems, &e) < 0)
            reply_error(c, &e);
        else
            http_respond(c->tie.x, 200, hs->h, hs->n, buf_view(&b));
        return;
    }
    write_list_begin(w, &b, &c->head);
    while (c->next_item < an->nitems && b.n < STREAM_CHUNK) {
        write_list_item(w, &b, an->items[c->next_item], c->next_item);
        c->next_item++;
    }
    if (c->next_item == an->nitems) {
        write_list_end(w, &b, &c->head, an->nitems);
        http_respond(c->tie.x, 200, hs->h, hs->n, buf_view(&b));
        return;
    }
    http_start(c->tie.x, 200, hs->h, hs->n);
    http_send(c->tie.x, buf_view(&b));
    stream_more(c->tie.x);
}

static struct str form_type(struct http_ctx *c)
{
    const struct negotiated *f = &c->form;
    static const char *const as[] = {[AS_TABLE] = "Table",
                                     [AS_PARTIAL] = "PartialObjectMetadata",
                                     [AS_PARTIAL_LIST] = "PartialObjectMetadataList"};
    if (f->as == AS_OBJECT || !f->meta_version)
        return str_of(media_type(f->media));
    return arena_printf(&c->arena, "%s;as=%s;v=%s;g=meta.k8s.io", media_type(f->media), as[f->as],
                        f->meta_version);
}

// People at a terminal get indented JSON, as upstream.
static bool wants_pretty(struct http_ctx *c)
{
    struct str p = query_param(c, "pretty"), agent;
    if (p.p)
        return query_flag(c, "pretty");
    agent = http_header(http_request(c->tie.x), "user-agent");
    return c->form.pretty || str_starts(agent, STR("curl")) || str_starts(agent, STR("Wget")) ||
           str_starts(agent, STR("Mozilla/5.0"));
}

static enum include_object included(struct http_ctx *c)
{
    struct str s = query_param(c, "includeObject");
    return str_eqc(s, "None")     ? INCLUDE_NONE
           : str_eqc(s, "Object") ? INCLUDE_OBJECT
                                  : INCLUDE_METADATA;
}

void answer_call(struct http_ctx *c)
{
    struct api_answer *an = &c->call.answer;
    struct headers hs = {.n = 0};
    if (c->call.err.reason != ERR_NONE) {
        reply_error(c, &c->call.err);
        return;
    }
    int status = an->created ? 201 : 200;
    bool list = c->call.request.verb & (VERB_LIST | VERB_DELETECOLLECTION);
    c->form.pretty = wants_pretty(c);
    if (an->value) {
        const struct type *type =
            c->route.sub && c->route.sub->type ? c->route.sub->type : c->route.kind->type;
        if (str_eqc(value_str_at(an->value, "kind"), "Status"))
            type = type_by_name(STR("meta.v1.Status"));
        reply_value(c, status, an->value, type);
        return;
    }
    c->writer = (struct writer){
        .kind = c->route.kind,
        .form = c->form,
        .include = included(c),
        .now = env_now(c->server->env),
    };
    headers_usual(&hs, form_type(c), c->audit_id);
    headers_warnings(&hs, &c->arena, an);
    header_add(&hs, "vary", STR("Accept"));
    if (list) {
        answer_list(c, &hs);
        return;
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    buf_reserve(&b, object_json_size(an->object) + 2);
    if (write_object(&c->writer, &b, an->object, &e) < 0)
        reply_error(c, &e);
    else
        http_respond(c->tie.x, status, hs.h, hs.n, buf_view(&b));
}
