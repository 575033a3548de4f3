// Published objects: making them from trees and stored bytes, and writing them out with the
// revision spliced in. object.h says why the JSON is kept and the tree is not.
//
// Invariants of every struct object, checked when it is made and relied on ever after:
//  1. the JSON parses, and begins {"kind":"K","apiVersion":"V","metadata":{ with o->metadata at the
//     quote before `metadata`;
//  2. metadata has no resourceVersion of its own;
//  3. nothing in it changes but the reference count.
// Object and key are one allocation; the blob is shared with whoever else holds it (the store, the
// same object under another revision).
#include "object/object.h"
#include "object/json.h"

#define METADATA "\"metadata\":{"
// Room for the list or the event around an object: what is published can be read again.
enum { OBJECT_DEPTH = JSON_DEPTH - 6 };
enum { METADATA_N = sizeof METADATA - 1 };

// The string member `key` of the metadata whose tree is `m`, as an offset into the JSON; names are
// views of the JSON because it was read with borrow and they have no escapes.
static void locate(struct str json, const struct value *m, const char *key, uint32_t *at,
                   uint16_t *n)
{
    struct str s = value_string(value_getc(m, key));
    *at = 0;
    *n = 0;
    if (s.n && s.n <= UINT16_MAX && s.p >= json.p && s.p + s.n <= json.p + json.n) {
        *at = (uint32_t)(s.p - json.p);
        *n = (uint16_t)s.n;
    }
}

static struct object *make(const struct kind *kind, struct str key, uint64_t revision,
                           struct blob *json /* taken over */, uint32_t metadata)
{
    struct object *o = mem_zalloc(sizeof *o + key.n);
    atomic_init(&o->refs, 1);
    o->metadata = metadata;
    o->revision = revision;
    o->kind = kind;
    o->json = json;
    if (key.n) {
        memcpy(o + 1, key.p, key.n);
        o->key = str_n(o + 1, key.n);
    }
    return o;
}

// Names found by reading the metadata once more, from the bytes that are kept.
static void locate_names(struct object *o)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct value *m = object_metadata(&a, o);
    struct str json = blob_view(o->json);
    locate(json, m, "name", &o->name_at, &o->name_n);
    locate(json, m, "namespace", &o->namespace_at, &o->namespace_n);
}

int object_from_value(const struct kind *kind, struct str key, uint64_t revision,
                      const struct value *v, struct object **ret, struct err *e)
{
    const struct value *m = value_getc(v, "metadata");
    if (!value_is(v, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "the object is not a JSON object");
    if (!value_string(value_getc(v, "kind")).n)
        return err_set(e, ERR_BAD_REQUEST, "Object 'Kind' is missing");
    if (!value_string(value_getc(v, "apiVersion")).n)
        return err_set(e, ERR_BAD_REQUEST, "Object 'apiVersion' is missing");
    if (!value_is(m, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "the object has no metadata");
    if (value_depth(v) > OBJECT_DEPTH)
        return err_set(e, ERR_BAD_REQUEST, "the object is nested more than %d levels deep",
                       OBJECT_DEPTH);

    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "{\"kind\":");
    json_write(&b, value_getc(v, "kind"));
    buf_puts(&b, ",\"apiVersion\":");
    json_write(&b, value_getc(v, "apiVersion"));
    buf_char(&b, ',');
    size_t metadata = b.n;
    buf_puts(&b, METADATA);
    bool first = true;
    value_each_field (m, it) {
        if (str_eqc(it->key, "resourceVersion"))
            continue;
        if (!first)
            buf_char(&b, ',');
        first = false;
        json_write_string(&b, it->key);
        buf_char(&b, ':');
        json_write(&b, it->value);
    }
    buf_char(&b, '}');
    value_each_field (v, it) {
        if (str_eqc(it->key, "kind") || str_eqc(it->key, "apiVersion") ||
            str_eqc(it->key, "metadata"))
            continue;
        buf_char(&b, ',');
        json_write_string(&b, it->key);
        buf_char(&b, ':');
        json_write(&b, it->value);
    }
    buf_char(&b, '}');
    if (!buf_ok(&b))
        return err_set(e, ERR_TOO_LARGE, "the object is too large");
    struct object *o = make(kind, key, revision, blob_new(buf_view(&b)), (uint32_t)metadata);
    locate_names(o);
    *ret = o;
    return 0;
}

// True when the bytes have the shape that object_write relies on; the tree is theirs.
static bool shaped(struct str json, const struct value *v, uint32_t *metadata)
{
    if (!value_is(v, VALUE_OBJECT) || v->n < 3 || !str_eqc(v->members[0].key, "kind") ||
        !str_eqc(v->members[1].key, "apiVersion") || !str_eqc(v->members[2].key, "metadata"))
        return false;
    const struct value *kind = v->members[0].value, *version = v->members[1].value;
    const struct value *m = v->members[2].value;
    if (!value_string(kind).n || !value_string(version).n || !value_is(m, VALUE_OBJECT) ||
        value_getc(m, "resourceVersion"))
        return false;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_puts(&b, "{\"kind\":");
    json_write(&b, kind);
    buf_puts(&b, ",\"apiVersion\":");
    json_write(&b, version);
    buf_char(&b, ',');
    *metadata = (uint32_t)b.n;
    buf_puts(&b, METADATA);
    if (!str_starts(json, buf_view(&b)))
        return false;
    // {"name": needs no space between brace and member, or the splice would look odd but be right;
    // an empty object with white space inside would not be right.
    return m->n > 0 || (json.n > b.n && json.p[b.n] == '}');
}

int object_from_blob(const struct kind *kind, struct str key, uint64_t revision, struct blob *json,
                     struct object **ret, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str text = blob_view(json);
    struct value *v;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (json_parse(&a, text, &(struct json_options){.borrow = true}, &v, &inner) < 0)
        return err_wrap(e, &inner, "stored object %.*s", STR_ARG(key));
    uint32_t metadata;
    if (!shaped(text, v, &metadata))
        return object_from_value(kind, key, revision, v, ret, e);
    struct object *o = make(kind, key, revision, blob_ref(json), metadata);
    const struct value *m = v->members[2].value;
    locate(text, m, "name", &o->name_at, &o->name_n);
    locate(text, m, "namespace", &o->namespace_at, &o->namespace_n);
    *ret = o;
    return 0;
}

struct object *object_with_revision(const struct object *o, uint64_t revision)
{
    struct object *n = make(o->kind, o->key, revision, blob_ref(o->json), o->metadata);
    n->name_at = o->name_at;
    n->name_n = o->name_n;
    n->namespace_at = o->namespace_at;
    n->namespace_n = o->namespace_n;
    return n;
}

struct object *object_ref(struct object *o)
{
    // Relaxed: whoever can take a reference has the object already.
    if (o)
        atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void object_unref(struct object *o)
{
    // Acquire-release: every other thread's reads are over before the free. (A release and a fence
    // would do, but ThreadSanitizer does not see fences.)
    if (!o || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    blob_unref(o->json);
    free(o);
}

static void write_from(struct buf *b, const struct object *o, size_t from)
{
    struct str json = blob_view(o->json);
    size_t splice = o->metadata + METADATA_N;
    buf_add(b, json.p + from, splice - from);
    if (o->revision) {
        buf_puts(b, "\"resourceVersion\":\"");
        buf_u64(b, o->revision);
        buf_puts(b, json.p[splice] == '}' ? "\"" : "\",");
    }
    buf_add(b, json.p + splice, json.n - splice);
}

void object_write(struct buf *b, const struct object *o)
{
    write_from(b, o, 0);
}

void object_write_item(struct buf *b, const struct object *o, bool bare)
{
    if (bare)
        buf_char(b, '{');
    write_from(b, o, bare ? o->metadata : 0);
}

size_t object_json_size(const struct object *o)
{
    return o->json->n + sizeof "\"resourceVersion\":\"18446744073709551615\",";
}

// resourceVersion in front of the other members.
static void add_revision(struct arena *a, const struct object *o, struct value *metadata)
{
    if (!o->revision || !value_is(metadata, VALUE_OBJECT))
        return;
    struct member *m = arena_alloc(a, sizeof *m * (metadata->n + 4));
    m[0] = (struct member){STR("resourceVersion"),
                           value_str(a, arena_printf(a, "%llu", (unsigned long long)o->revision))};
    if (metadata->n)
        memcpy(m + 1, metadata->members, sizeof *m * metadata->n);
    metadata->members = m;
    metadata->cap = metadata->n + 4;
    metadata->n++;
}

struct value *object_tree(struct arena *a, const struct object *o)
{
    struct value *v = NULL;
    int r = json_parse(a, blob_view(o->json), &(struct json_options){.borrow = true}, &v, NULL);
    BUG_ON(r < 0);
    add_revision(a, o, v->members[2].value);
    return v;
}

struct value *object_metadata(struct arena *a, const struct object *o)
{
    struct value *m = NULL;
    size_t used;
    struct str at = str_from(blob_view(o->json), o->metadata + METADATA_N - 1);
    int r = json_parse_prefix(a, at, &(struct json_options){.borrow = true}, &m, &used, NULL);
    BUG_ON(r < 0);
    add_revision(a, o, m);
    return m;
}

struct str object_namespace(const struct object *o)
{
    return o->namespace_n ? str_n(o->json->p + o->namespace_at, o->namespace_n) : STR_NULL;
}

struct str object_name(const struct object *o)
{
    if (o->name_n)
        return str_n(o->json->p + o->name_at, o->name_n);
    ptrdiff_t slash = str_rchr(o->key, '/');
    return slash < 0 ? STR_NULL : str_from(o->key, (size_t)slash + 1);
}
