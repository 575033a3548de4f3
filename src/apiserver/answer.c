// See answer.h. JSON of stored objects is spliced from their bytes; a tree is made only for YAML,
// protobuf, tables and pretty printing.
#include "apiserver/answer.h"
#include "base/time.h"
#include "object/json.h"
#include "object/protobuf.h"
#include "object/yaml.h"
#include "schema/columns.h"

#define PROTOBUF_LIST_MAX ((size_t)256 << 20)

void writer_done(struct writer *w)
{
    arena_done(&w->scratch);
}

static struct str list_kind(const struct writer *w)
{
    switch (w->form.as) {
    case AS_TABLE:
        return STR("Table");
    case AS_PARTIAL_LIST:
        return STR("PartialObjectMetadataList");
    default:
        return w->kind->list_kind;
    }
}

static struct str meta_version(struct writer *w)
{
    return arena_printf(&w->scratch, "meta.k8s.io/%s",
                        w->form.meta_version ? w->form.meta_version : "v1");
}

static struct str list_version(struct writer *w)
{
    return w->form.as == AS_OBJECT ? kind_api_version(w->kind) : meta_version(w);
}

// ---- shapes

static struct value *partial(struct writer *w, const struct object *o, bool bare)
{
    struct arena *a = &w->scratch;
    struct value *v = value_object(a);
    if (!bare) {
        value_setc(a, v, "kind", value_strc(a, "PartialObjectMetadata"));
        value_setc(a, v, "apiVersion", value_str(a, meta_version(w)));
    }
    value_setc(a, v, "metadata", object_metadata(a, o));
    return v;
}

static void write_row(struct writer *w, struct buf *b, const struct object *o)
{
    struct arena *a = &w->scratch;
    const struct value *v = object_tree(a, o);
    buf_puts(b, "{\"cells\":");
    json_write(b, schema_table_row(a, w->kind, v, w->now));
    if (w->include == INCLUDE_METADATA) {
        buf_puts(b, ",\"object\":");
        json_write(b, partial(w, o, false));
    } else if (w->include == INCLUDE_OBJECT) {
        buf_puts(b, ",\"object\":");
        object_write(b, o);
    }
    buf_char(b, '}');
}

static void write_columns(struct writer *w, struct buf *b, bool with_columns)
{
    buf_puts(b, "\"columnDefinitions\":");
    if (with_columns)
        json_write(b, schema_table_columns(&w->scratch, w->kind));
    else
        buf_puts(b, "null");
}

static void write_table_of_one(struct writer *w, struct buf *b, const struct object *o,
                               bool with_columns)
{
    buf_printf(
        b,
        "{\"kind\":\"Table\",\"apiVersion\":\"%.*s\",\"metadata\":{\"resourceVersion\":\"%llu\"},",
        STR_ARG(meta_version(w)), (unsigned long long)o->revision);
    write_columns(w, b, with_columns);
    buf_puts(b, ",\"rows\":[");
    write_row(w, b, o);
    buf_puts(b, "]}");
}

// ---- one

static int encode_value(struct writer *w, struct buf *b, const struct value *v,
                        const struct type *type, struct err *e)
{
    switch (w->form.media) {
    case MEDIA_YAML:
        yaml_write(b, v);
        return 0;
    case MEDIA_PROTOBUF:
        if (!type)
            return err_set(e, ERR_NOT_ACCEPTABLE,
                           "only the following media types are accepted: application/json, "
                           "application/yaml");
        return protobuf_encode_object(b, type, v, e);
    default:
        if (w->form.pretty)
            json_write_pretty(b, v, 2);
        else
            json_write(b, v);
        buf_char(b, '\n');
        return 0;
    }
}

int write_value(struct writer *w, struct buf *b, const struct value *v, const struct type *type,
                struct err *e)
{
    int r = encode_value(w, b, v, type, e);
    arena_reset(&w->scratch);
    return r;
}

int write_object(struct writer *w, struct buf *b, const struct object *o, struct err *e)
{
    int r = 0;
    if (w->form.as == AS_TABLE) {
        write_table_of_one(w, b, o, true);
        buf_char(b, '\n');
    } else if (w->form.as == AS_PARTIAL) {
        r = encode_value(w, b, partial(w, o, false), NULL, e);
    } else if (w->form.media == MEDIA_JSON && !w->form.pretty) {
        object_write(b, o);
        buf_char(b, '\n');
    } else {
        r = encode_value(w, b, object_tree(&w->scratch, o), w->kind->type, e);
    }
    arena_reset(&w->scratch);
    return r;
}

// ---- lists

static void write_list_metadata(struct buf *b, const struct list_head *h)
{
    buf_printf(b, "{\"resourceVersion\":\"%llu\"", (unsigned long long)h->revision);
    if (h->continue_token.n) {
        buf_puts(b, ",\"continue\":");
        json_write_string(b, h->continue_token);
    }
    if (h->remaining > 0)
        buf_printf(b, ",\"remainingItemCount\":%lld", (long long)h->remaining);
    buf_char(b, '}');
}

void write_list_begin(struct writer *w, struct buf *b, const struct list_head *h)
{
    if (w->form.media == MEDIA_YAML) {
        // Keys sorted, as yaml_write has them: the rest follows the items.
        buf_printf(b, "apiVersion: %.*s\nitems:", STR_ARG(list_version(w)));
        return;
    }
    buf_printf(b, "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",\"metadata\":", STR_ARG(list_kind(w)),
               STR_ARG(list_version(w)));
    write_list_metadata(b, h);
    if (w->form.as == AS_TABLE) {
        buf_char(b, ',');
        write_columns(w, b, true);
        buf_puts(b, ",\"rows\":[");
    } else {
        buf_puts(b, ",\"items\":[");
    }
    arena_reset(&w->scratch);
}

// Block style below "- ": every line but the first is moved in by two.
static void write_yaml_item(struct writer *w, struct buf *b, const struct object *o)
{
    _cleanup_buf_ struct buf one = BUF_INIT;
    struct value *v = object_tree(&w->scratch, o);
    if (!(w->kind->flags & KIND_CUSTOM)) {
        value_delc(v, "kind");
        value_delc(v, "apiVersion");
    }
    yaml_write(&one, v);
    struct str rest = buf_view(&one);
    for (bool first = true; rest.n; first = false) {
        struct str line = str_cut(&rest, '\n');
        buf_puts(b, first ? "- " : line.n ? "  " : "");
        buf_str(b, line);
        buf_char(b, '\n');
    }
}

void write_list_item(struct writer *w, struct buf *b, const struct object *o, size_t index)
{
    bool bare = !(w->kind->flags & KIND_CUSTOM);
    if (w->form.media == MEDIA_YAML) {
        if (!index)
            buf_char(b, '\n');
        write_yaml_item(w, b, o);
    } else {
        if (index)
            buf_char(b, ',');
        if (w->form.as == AS_TABLE)
            write_row(w, b, o);
        else if (w->form.as == AS_PARTIAL_LIST)
            json_write(b, partial(w, o, false));
        else
            object_write_item(b, o, bare);
    }
    if (w->scratch.total)
        arena_reset(&w->scratch);
}

void write_list_end(struct writer *w, struct buf *b, const struct list_head *h, size_t n)
{
    if (w->form.media != MEDIA_YAML) {
        buf_puts(b, "]}\n");
        return;
    }
    if (!n)
        buf_puts(b, " []\n");
    buf_printf(b, "kind: %.*s\nmetadata:\n", STR_ARG(list_kind(w)));
    if (h->continue_token.n)
        buf_printf(b, "  continue: %.*s\n", STR_ARG(h->continue_token));
    if (h->remaining > 0)
        buf_printf(b, "  remainingItemCount: %lld\n", (long long)h->remaining);
    buf_printf(b, "  resourceVersion: \"%llu\"\n", (unsigned long long)h->revision);
    arena_reset(&w->scratch);
}

static void pb_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_char(b, (char)(v | 0x80));
    buf_char(b, (char)v);
}

static void pb_bytes(struct buf *b, unsigned field, struct str s)
{
    pb_varint(b, field << 3 | 2);
    pb_varint(b, s.n);
    buf_str(b, s);
}

int write_list_protobuf(struct writer *w, struct buf *b, const struct list_head *h,
                        struct object *const *items, size_t n, struct err *e)
{
    // Every list type is {1: ListMeta{2: resourceVersion, 3: continue, 4: remaining}, 2: items}.
    _cleanup_buf_ struct buf meta = BUF_INIT;
    _cleanup_buf_ struct buf raw = BUF_MAX(PROTOBUF_LIST_MAX);
    _cleanup_buf_ struct buf one = BUF_INIT;
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)h->revision);
    pb_bytes(&meta, 1, STR_NULL);
    pb_bytes(&meta, 2, str_n(text, (size_t)len));
    pb_bytes(&meta, 3, h->continue_token);
    if (h->remaining > 0) {
        pb_varint(&meta, 4 << 3);
        pb_varint(&meta, (uint64_t)h->remaining);
    }
    pb_bytes(&raw, 1, buf_view(&meta));
    for (size_t i = 0; i < n; i++) {
        buf_reset(&one);
        int r = protobuf_encode(&one, w->kind->type, object_tree(&w->scratch, items[i]), e);
        arena_reset(&w->scratch);
        if (r < 0)
            return r;
        pb_bytes(&raw, 2, buf_view(&one));
    }
    if (!buf_ok(&raw))
        return err_set(e, ERR_TOO_LARGE,
                       "the list is too large for protobuf: ask for it in pages (limit)");
    buf_reset(&one);
    buf_reset(&meta);
    pb_bytes(&meta, 1, kind_api_version(w->kind));
    pb_bytes(&meta, 2, w->kind->list_kind);
    pb_bytes(&one, 1, buf_view(&meta));
    buf_add(b, "k8s\0", 4);
    buf_str(b, buf_view(&one));
    pb_bytes(b, 2, buf_view(&raw));
    pb_bytes(b, 3, STR_NULL);
    pb_bytes(b, 4, STR_NULL);
    return 0;
}

// ---- watch events

void write_event_object(struct writer *w, struct buf *b, const struct object *o, bool with_columns)
{
    if (w->form.as == AS_TABLE)
        write_table_of_one(w, b, o, with_columns);
    else if (w->form.as == AS_PARTIAL || w->form.as == AS_PARTIAL_LIST)
        json_write(b, partial(w, o, false));
    else
        object_write(b, o);
    if (w->scratch.total)
        arena_reset(&w->scratch);
}

void write_bookmark_object(struct writer *w, struct buf *b, uint64_t revision, bool initial_end)
{
    const char *annotations =
        initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";
    struct str kind = w->kind->kind, version = kind_api_version(w->kind);
    if (w->form.as == AS_TABLE)
        kind = STR("Table");
    else if (w->form.as != AS_OBJECT)
        kind = STR("PartialObjectMetadata");
    if (w->form.as != AS_OBJECT)
        version = meta_version(w);
    buf_printf(b,
               "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",\"metadata\":{\"resourceVersion\":\"%"
               "llu\"%s%s}",
               STR_ARG(kind), STR_ARG(version), (unsigned long long)revision,
               w->form.as == AS_TABLE ? "" : ",\"creationTimestamp\":null",
               w->form.as == AS_TABLE ? "" : annotations);
    // A table's metadata has no annotations: its one row carries them.
    if (w->form.as == AS_TABLE && initial_end)
        buf_printf(b,
                   ",\"columnDefinitions\":null,\"rows\":[{\"cells\":[],\"object\":{\"kind\":"
                   "\"PartialObjectMetadata\",\"apiVersion\":\"%.*s\",\"metadata\":{"
                   "\"resourceVersion\":\"%llu\",\"creationTimestamp\":null%s}}}]",
                   STR_ARG(version), (unsigned long long)revision, annotations);
    else if (w->form.as == AS_TABLE)
        buf_puts(b, ",\"columnDefinitions\":null,\"rows\":[]");
    buf_char(b, '}');
    arena_reset(&w->scratch);
}
