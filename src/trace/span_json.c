// The reader goes over the tree of object/json.h by a table of fields, so that an unknown field
// costs nothing and a field of the wrong type is named.
#include "trace/span_json.h"
#include "base/guard.h"
#include "object/json.h"
#include <arpa/inet.h>

struct span_json_reader {
    struct arena *a;
    struct err *e;
    size_t index; // of the span in the list
};

static int wrong(struct span_json_reader *r, const char *field, const char *what)
{
    return err_set(r->e, ERR_BAD_REQUEST,
                   "Malformed reading List<Span> from json: %s at $[%zu]%s%s", what, r->index,
                   *field ? "." : "", field);
}

// null is the same as absent.
static bool absent(const struct value *v)
{
    return !v || v->kind == VALUE_NULL;
}

static int get_str(struct span_json_reader *r, const struct value *o, const char *key,
                   struct str *ret)
{
    const struct value *v = value_getc(o, key);
    if (absent(v))
        return 0;
    if (v->kind != VALUE_STRING)
        return wrong(r, key, "expected a string");
    *ret = value_string(v);
    return 0;
}

// A whole number, also in quotes, as the original takes it; what is negative is taken for absent.
static int get_number(struct span_json_reader *r, const struct value *o, const char *key,
                      uint64_t *ret)
{
    const struct value *v = value_getc(o, key);
    int64_t i = 0;
    if (absent(v))
        return 0;
    if (v->kind == VALUE_STRING ? !str_to_i64(value_string(v), &i) : v->kind != VALUE_INT)
        return wrong(r, key, "expected a whole number");
    if (v->kind == VALUE_INT)
        i = v->i;
    *ret = i > 0 ? (uint64_t)i : 0;
    return 0;
}

static int get_bool(struct span_json_reader *r, const struct value *o, const char *key, bool *ret)
{
    const struct value *v = value_getc(o, key);
    if (absent(v))
        return 0;
    if (v->kind != VALUE_BOOL)
        return wrong(r, key, "expected a boolean");
    *ret = v->b;
    return 0;
}

static int get_endpoint(struct span_json_reader *r, const struct value *o, const char *key,
                        struct span_endpoint *ret)
{
    const struct value *v = value_getc(o, key);
    struct str ip4 = STR_NULL, ip6 = STR_NULL;
    uint64_t port = 0;
    int code;
    if (absent(v))
        return 0;
    if (v->kind != VALUE_OBJECT)
        return wrong(r, key, "expected an object");
    if ((code = get_str(r, v, "serviceName", &ret->service)) ||
        (code = get_str(r, v, "ipv4", &ip4)) || (code = get_str(r, v, "ipv6", &ip6)) ||
        (code = get_number(r, v, "port", &port)))
        return code;
    if (port > UINT16_MAX)
        return wrong(r, key, "invalid port");
    ret->port = (uint16_t)port;
    span_endpoint_address(ret, ip4); // what is no address is left out, as by the original
    span_endpoint_address(ret, ip6);
    return 0;
}

static int get_annotations(struct span_json_reader *r, const struct value *o, struct span *s)
{
    const struct value *list = value_getc(o, "annotations");
    if (absent(list))
        return 0;
    if (list->kind != VALUE_ARRAY)
        return wrong(r, "annotations", "expected a list");
    s->annotations = arena_array(r->a, struct span_annotation, list->n + 1);
    value_each_item (list, item) {
        struct span_annotation *to = &s->annotations[s->nannotations];
        int code;
        if (item->kind != VALUE_OBJECT)
            return wrong(r, "annotations", "expected an object");
        if ((code = get_number(r, item, "timestamp", &to->timestamp)) ||
            (code = get_str(r, item, "value", &to->value)))
            return code;
        if (!to->timestamp || !to->value.p)
            return wrong(r, "annotations", "incomplete annotation");
        s->nannotations++;
    }
    return 0;
}

static int get_tags(struct span_json_reader *r, const struct value *o, struct span *s)
{
    const struct value *tags = value_getc(o, "tags");
    if (absent(tags))
        return 0;
    if (tags->kind != VALUE_OBJECT)
        return wrong(r, "tags", "expected an object");
    s->tags = arena_array(r->a, struct span_tag, tags->n + 1);
    value_each_field (tags, f) {
        if (f->value->kind != VALUE_STRING)
            return wrong(r, "tags", "expected a string");
        s->tags[s->ntags++] = (struct span_tag){f->key, value_string(f->value)};
    }
    return 0;
}

static int get_ids(struct span_json_reader *r, const struct value *o, struct span *s)
{
    struct str trace = STR_NULL, id = STR_NULL, parent = STR_NULL;
    const char *bad;
    int code;
    if ((code = get_str(r, o, "traceId", &trace)) || (code = get_str(r, o, "id", &id)) ||
        (code = get_str(r, o, "parentId", &parent)))
        return code;
    if ((bad = span_trace_id_parse(trace, &s->trace_hi, &s->trace_lo)))
        return wrong(r, "traceId", bad);
    if ((bad = span_id_parse(id, &s->id)))
        return wrong(r, "id", bad);
    if (parent.n && (bad = span_id_parse(parent, &s->parent)))
        return wrong(r, "parentId", bad);
    return 0;
}

static int read_span(struct span_json_reader *r, const struct value *o, struct span *s)
{
    struct str kind = STR_NULL;
    int code;
    if (!value_is(o, VALUE_OBJECT))
        return wrong(r, "", "expected an object");
    if ((code = get_ids(r, o, s)) || (code = get_str(r, o, "kind", &kind)) ||
        (code = get_str(r, o, "name", &s->name)) ||
        (code = get_number(r, o, "timestamp", &s->timestamp)) ||
        (code = get_number(r, o, "duration", &s->duration)) ||
        (code = get_endpoint(r, o, "localEndpoint", &s->local)) ||
        (code = get_endpoint(r, o, "remoteEndpoint", &s->remote)) ||
        (code = get_annotations(r, o, s)) || (code = get_tags(r, o, s)) ||
        (code = get_bool(r, o, "debug", &s->debug)) ||
        (code = get_bool(r, o, "shared", &s->shared)))
        return code;
    if (kind.n && !span_kind_parse(kind, &s->kind))
        return wrong(r, "kind", "no such kind");
    const char *bad = span_normalise(r->a, s);
    return bad ? wrong(r, "", bad) : 0;
}

int span_json_read(struct arena *a, struct str in, struct span **ret, size_t *ret_n, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    const struct json_options opt = {.borrow = true};
    struct span_json_reader r = {.a = a, .e = e};
    struct value *list;
    if (json_parse(a, in, &opt, &list, &why) < 0)
        return err_set(e, ERR_BAD_REQUEST, "Malformed reading List<Span> from json: %s",
                       why.message);
    if (list->kind != VALUE_ARRAY)
        return err_set(e, ERR_BAD_REQUEST,
                       "Malformed reading List<Span> from json: expected a list");
    struct span *spans = arena_array(a, struct span, list->n + 1);
    for (; r.index < list->n; r.index++) {
        int code = read_span(&r, list->items[r.index], &spans[r.index]);
        if (code)
            return code;
    }
    *ret = spans;
    *ret_n = list->n;
    return 0;
}

// ---- writing ----

static void key(struct buf *b, bool *first, const char *name)
{
    buf_puts(b, *first ? "\"" : ",\"");
    buf_puts(b, name);
    buf_puts(b, "\":");
    *first = false;
}

static void write_endpoint(struct buf *b, const struct span_endpoint *e)
{
    char text[INET6_ADDRSTRLEN];
    bool first = true;
    buf_char(b, '{');
    if (e->service.n) {
        key(b, &first, "serviceName");
        json_write_string(b, e->service);
    }
    if (e->has_ip4) {
        key(b, &first, "ipv4");
        json_write_string(b, str_of(inet_ntop(AF_INET, e->ip4, text, sizeof text)));
    }
    if (e->has_ip6) {
        key(b, &first, "ipv6");
        json_write_string(b, str_of(inet_ntop(AF_INET6, e->ip6, text, sizeof text)));
    }
    if (e->port) {
        key(b, &first, "port");
        buf_u64(b, e->port);
    }
    buf_char(b, '}');
}

static void write_lists(struct buf *b, bool *first, const struct span *s)
{
    if (s->nannotations) {
        key(b, first, "annotations");
        for (size_t i = 0; i < s->nannotations; i++) {
            buf_puts(b, i ? ",{\"timestamp\":" : "[{\"timestamp\":");
            buf_u64(b, s->annotations[i].timestamp);
            buf_puts(b, ",\"value\":");
            json_write_string(b, s->annotations[i].value);
            buf_char(b, '}');
        }
        buf_char(b, ']');
    }
    if (s->ntags) {
        key(b, first, "tags");
        for (size_t i = 0; i < s->ntags; i++) {
            buf_char(b, i ? ',' : '{');
            json_write_string(b, s->tags[i].key);
            buf_char(b, ':');
            json_write_string(b, s->tags[i].value);
        }
        buf_char(b, '}');
    }
}

static void write_id(struct buf *b, bool *first, const char *name, uint64_t id)
{
    key(b, first, name);
    buf_char(b, '"');
    span_id_write(b, id);
    buf_char(b, '"');
}

void span_json_write(struct buf *b, const struct span *s)
{
    bool first = false;
    buf_puts(b, "{\"traceId\":\"");
    span_trace_id_write(b, s);
    buf_char(b, '"');
    if (s->parent)
        write_id(b, &first, "parentId", s->parent);
    write_id(b, &first, "id", s->id);
    if (s->kind) {
        key(b, &first, "kind");
        json_write_string(b, str_of(span_kind_name(s->kind)));
    }
    if (s->name.n) {
        key(b, &first, "name");
        json_write_string(b, s->name);
    }
    if (s->timestamp) {
        key(b, &first, "timestamp");
        buf_u64(b, s->timestamp);
    }
    if (s->duration) {
        key(b, &first, "duration");
        buf_u64(b, s->duration);
    }
    if (!span_endpoint_empty(&s->local)) {
        key(b, &first, "localEndpoint");
        write_endpoint(b, &s->local);
    }
    if (!span_endpoint_empty(&s->remote)) {
        key(b, &first, "remoteEndpoint");
        write_endpoint(b, &s->remote);
    }
    write_lists(b, &first, s);
    if (s->debug)
        buf_puts(b, ",\"debug\":true");
    if (s->shared)
        buf_puts(b, ",\"shared\":true");
    buf_char(b, '}');
}
