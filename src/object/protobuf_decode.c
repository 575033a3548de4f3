// Kubernetes protobuf into a value tree as JSON would have it.
//
// The originals' encoders write fields that are no Go pointers even when they are zero; in JSON
// `omitempty` leaves them out. So zero is dropped here unless the field is a pointer (then zero was
// meant) or required (then JSON has it too), and an empty message likewise: a tree that came as
// protobuf equals the one that came as JSON. Unknown fields are skipped, the last of a repeated
// single field wins, strings are checked to be UTF-8.
//
// A message is decoded into one slot for each field of its type, inlined structs included, and then
// made into an object in the table's order.
#include "base/time.h"
#include "object/base64.h"
#include "object/json.h"
#include "object/protobuf.h"
#include "object/protobuf_wire.h"
#include <math.h>

struct decoder {
    struct arena *a;
    struct err *e;
    int depth;
    size_t left; // values that may still come
};

// Go's zero time, 0001-01-01, in seconds since 1970.
#define YEAR_0       (-62167219200LL) // what JSON's times reach to, in seconds since 1970
#define YEAR_9999    253402300799LL
#define GO_ZERO_TIME (-62135596800)

static int malformed(struct decoder *d, const char *where)
{
    return err_set(d->e, ERR_BAD_REQUEST, "proto: malformed message: %s", where);
}

static int wrong_type(struct decoder *d, const struct field *f, unsigned type)
{
    return err_set(d->e, ERR_BAD_REQUEST, "proto: wrong wireType = %u for field %.*s", type,
                   STR_ARG(f->name));
}

static int text(struct decoder *d, const struct field *f, struct str s, struct value **ret)
{
    if (!json_utf8_valid(s))
        return err_set(d->e, ERR_BAD_REQUEST, "proto: field %.*s contains invalid UTF-8",
                       STR_ARG(f->name));
    *ret = value_str(d->a, arena_str(d->a, s));
    return 0;
}

static int decode_type(struct decoder *d, const struct type *t, struct str raw, struct value **ret);
static int decode_union(struct decoder *d, const struct type *t, struct str raw,
                        struct value **ret);

// The first three fields of the small messages: numbers by position, and the text of whichever is
// bytes.
struct small {
    int64_t n[4];
    struct str s[4];
};

static int small_message(struct decoder *d, const struct field *f, struct str raw,
                         struct small *ret)
{
    struct wire_field w;
    int r;
    *ret = (struct small){0};
    while ((r = wire_next(&raw, &w)) > 0) {
        if (w.number > 3)
            continue;
        if (w.type == WIRE_BYTES)
            ret->s[w.number] = w.bytes.p ? w.bytes : STR("");
        else if (w.type == WIRE_VARINT)
            ret->n[w.number] = (int64_t)w.varint;
        else
            return wrong_type(d, f, w.type);
    }
    return r < 0 ? malformed(d, "a nested message is cut off") : 0;
}

static int decode_time(struct decoder *d, const struct field *f, const struct small *m, bool empty,
                       struct value **ret)
{
    int32_t nanos = (int32_t)m->n[2];
    if (empty || (m->n[1] == GO_ZERO_TIME && nanos == 0))
        return 0; // zero: null in JSON
    if (m->n[1] < YEAR_0 || m->n[1] > YEAR_9999 || nanos < 0 || nanos >= NS_PER_S)
        return err_set(d->e, ERR_BAD_REQUEST, "proto: time out of range in field %.*s",
                       STR_ARG(f->name));
    _cleanup_buf_ struct buf b = BUF_INIT;
    time_write_rfc3339_at(&b, m->n[1], nanos, f->kind == FIELD_MICRO_TIME ? 6 : 0);
    *ret = value_str(d->a, arena_str(d->a, buf_view(&b)));
    return 0;
}

static int too_many(struct decoder *d)
{
    return err_set(d->e, ERR_TOO_LARGE, "proto: the message has more than %d values", VALUES_MAX);
}

static size_t count_values(const struct value *v)
{
    size_t n = 1;
    value_each_item (v, item)
        n += count_values(item);
    value_each_field (v, m)
        n += count_values(m->value);
    return n;
}

static int decode_any(struct decoder *d, const struct field *f, struct str raw, struct value **ret)
{
    _cleanup_err_ struct err inner = ERR_INIT;
    struct value *v = NULL;
    if (!raw.n)
        return 0;
    const struct json_options bounded = {.max_values = d->left + 1};
    if (json_parse(d->a, raw, &bounded, &v, &inner) < 0)
        return err_is(&inner, ERR_TOO_LARGE)
                   ? too_many(d)
                   : err_wrap(d->e, &inner, "field %.*s", STR_ARG(f->name));
    d->left -= count_values(v) - 1;
    if (value_depth(v) + (size_t)d->depth > JSON_DEPTH)
        return err_set(d->e, ERR_BAD_REQUEST, "exceeded max depth");
    if (v->kind != VALUE_NULL)
        *ret = v;
    return 0;
}

// One value. *ret stays NULL where JSON has nothing or null for it.
static int decode_value(struct decoder *d, const struct field *f, const struct wire_field *w,
                        struct value **ret)
{
    struct small m;
    uint64_t bits = w->varint;
    double number;
    *ret = NULL;
    if (!d->left)
        return too_many(d);
    d->left--;
    unsigned want = f->kind == FIELD_BOOL || f->kind == FIELD_INT32 || f->kind == FIELD_INT64
                        ? WIRE_VARINT
                    : f->kind == FIELD_DOUBLE ? WIRE_FIXED64
                                              : WIRE_BYTES;
    if (w->type != want)
        return wrong_type(d, f, w->type);
    int r = 0;
    if (f->kind >= FIELD_QUANTITY && f->kind <= FIELD_ANY &&
        (r = small_message(d, f, w->bytes, &m)) < 0)
        return r;
    _cleanup_buf_ struct buf b = BUF_INIT;
    switch ((enum field_kind)f->kind) {
    case FIELD_STRING:
        return text(d, f, w->bytes, ret);
    case FIELD_BYTES:
        base64_encode(&b, w->bytes);
        *ret = value_str(d->a, arena_str(d->a, buf_view(&b)));
        return 0;
    case FIELD_BOOL:
        *ret = value_bool(d->a, w->varint != 0);
        return 0;
    case FIELD_INT32:
        *ret = value_int(d->a, (int32_t)w->varint);
        return 0;
    case FIELD_INT64:
        *ret = value_int(d->a, (int64_t)w->varint);
        return 0;
    case FIELD_DOUBLE:
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number))
            return err_set(d->e, ERR_BAD_REQUEST, "proto: field %.*s cannot be represented in JSON",
                           STR_ARG(f->name));
        *ret = number == floor(number) && fabs(number) < 1e15 ? value_int(d->a, (int64_t)number)
                                                              : value_float(d->a, number);
        return 0;
    case FIELD_QUANTITY:
        return text(d, f, m.s[1].n ? m.s[1] : STR("0"), ret);
    case FIELD_INT_OR_STRING:
        if (m.n[1] == 1)
            return text(d, f, m.s[3], ret);
        *ret = value_int(d->a, (int32_t)m.n[2]);
        return 0;
    case FIELD_TIME:
    case FIELD_MICRO_TIME:
        return decode_time(d, f, &m, w->bytes.n == 0, ret);
    case FIELD_DURATION:
        duration_write(&b, m.n[1]);
        *ret = value_str(d->a, arena_str(d->a, buf_view(&b)));
        return 0;
    case FIELD_ANY:
        return decode_any(d, f, m.s[1], ret);
    case FIELD_MESSAGE:
        return decode_type(d, f->type, w->bytes, ret);
    case FIELD_UNION:
        return decode_union(d, f->type, w->bytes, ret);
    }
    return malformed(d, "unknown kind of field");
}

// The value that Go has for what is absent in a map entry.
static struct value *zero(struct decoder *d, const struct field *f)
{
    switch ((enum field_kind)f->kind) {
    case FIELD_BOOL:
        return value_bool(d->a, false);
    case FIELD_INT32:
    case FIELD_INT64:
    case FIELD_DOUBLE:
    case FIELD_INT_OR_STRING:
        return value_int(d->a, 0);
    case FIELD_QUANTITY:
        return value_str(d->a, STR("0"));
    case FIELD_DURATION:
        return value_str(d->a, STR("0s"));
    case FIELD_MESSAGE:
        return value_object(d->a);
    case FIELD_TIME:
    case FIELD_MICRO_TIME:
    case FIELD_ANY:
    case FIELD_UNION:
        return value_null(d->a);
    default:
        return value_str(d->a, STR(""));
    }
}

static bool is_zero(const struct field *f, const struct value *v)
{
    switch (v->kind) {
    case VALUE_BOOL:
        return !v->b;
    case VALUE_INT:
        return v->i == 0;
    case VALUE_STRING:
        return v->n == 0 || (f->kind == FIELD_DURATION && str_eqc(value_string(v), "0s"));
    case VALUE_OBJECT:
        return f->kind == FIELD_MESSAGE && v->n == 0;
    default:
        return false;
    }
}

static int string_list(struct decoder *d, const struct field *f, const struct wire_field *w,
                       struct value *list)
{
    struct str raw = w->bytes;
    struct wire_field item;
    int r;
    if (w->type != WIRE_BYTES)
        return wrong_type(d, f, w->type);
    while ((r = wire_next(&raw, &item)) > 0) {
        struct value *v = NULL;
        if (item.number != 1)
            continue;
        if (!d->left)
            return too_many(d);
        d->left--;
        if (item.type != WIRE_BYTES)
            return wrong_type(d, f, item.type);
        r = text(d, f, item.bytes, &v);
        if (r < 0)
            return r;
        value_push(d->a, list, v);
    }
    return r < 0 ? malformed(d, "a list is cut off") : 0;
}

static int decode_entry(struct decoder *d, const struct field *f, const struct wire_field *w,
                        struct value *map)
{
    struct str raw = w->bytes;
    struct wire_field part;
    struct value *key = NULL, *v = NULL;
    int r;
    if (w->type != WIRE_BYTES)
        return wrong_type(d, f, w->type);
    while ((r = wire_next(&raw, &part)) > 0) {
        if (part.number == 1) {
            if (part.type != WIRE_BYTES)
                return wrong_type(d, f, part.type);
            r = text(d, f, part.bytes, &key);
        } else if (part.number == 2 && f->flags & FIELD_LIST_OF_LIST) {
            v = value_array(d->a);
            r = string_list(d, f, &part, v);
        } else if (part.number == 2) {
            r = decode_value(d, f, &part, &v);
        }
        if (r < 0)
            return r;
    }
    if (r < 0)
        return malformed(d, "a map entry is cut off");
    if (!v)
        v = f->flags & FIELD_LIST_OF_LIST ? value_array(d->a) : zero(d, f);
    if (!d->left)
        return too_many(d);
    d->left--;
    // Pairs for now; made into an object of unique keys at the end.
    value_push_member(d->a, map, key ? value_string(key) : STR(""), v);
    return 0;
}

static int decode_slot(struct decoder *d, const struct field *f, const struct wire_field *w,
                       struct value **slot)
{
    struct value *v = NULL;
    int r;
    if (f->shape == SHAPE_MAP) {
        if (!*slot)
            *slot = value_object(d->a);
        return decode_entry(d, f, w, *slot);
    }
    if (f->shape == SHAPE_ONE) {
        r = decode_value(d, f, w, &v);
        *slot = v;
        return r;
    }
    if (!*slot)
        *slot = value_array(d->a);
    if (f->flags & FIELD_LIST_OF_LIST)
        return string_list(d, f, w, *slot);
    r = decode_value(d, f, w, &v);
    if (r == 0)
        value_push(d->a, *slot, v ? v : value_null(d->a));
    return r;
}

// Fields of the message that `path` (of `level` numbers) leads to, into the slots of the type.
static int decode_level(struct decoder *d, const struct type *t, const uint8_t *path, size_t level,
                        struct str raw, struct value **slots)
{
    struct wire_field w;
    size_t guess = 0;
    int r;
    while ((r = wire_next(&raw, &w)) > 0) {
        const struct field *f = NULL;
        // Fields mostly come in the order of the table: look from the last one on, and around.
        for (size_t k = 0; k < t->nfields && !f; k++) {
            size_t at = guess + k < t->nfields ? guess + k : guess + k - t->nfields;
            if (t->fields[at].pb[level] == w.number && w.number <= UINT8_MAX &&
                memcmp(t->fields[at].pb, path, level) == 0) {
                f = &t->fields[at];
                guess = at;
            }
        }
        if (!f)
            continue;
        if (level + 1 < sizeof f->pb && f->pb[level + 1]) {
            uint8_t inner[sizeof f->pb];
            if (w.type != WIRE_BYTES)
                return wrong_type(d, f, w.type);
            memcpy(inner, f->pb, sizeof inner);
            r = decode_level(d, t, inner, level + 1, w.bytes, slots);
        } else {
            r = decode_slot(d, f, &w, &slots[guess]);
        }
        if (r < 0)
            return r;
    }
    return r < 0 ? malformed(d, "the message is cut off") : 0;
}

struct pair {
    struct member m;
    uint32_t at;
};

static int pair_order(const void *pa, const void *pb)
{
    const struct pair *a = pa, *b = pb;
    int c = str_cmp(a->m.key, b->m.key);
    return c ? c : a->at < b->at ? -1 : 1;
}

// Sorts the pairs of a map by key, as JSON encoders do; of equal keys the last one counts.
static void finish_map(struct value *map)
{
    bool sorted = true;
    for (uint32_t i = 1; i < map->n; i++)
        sorted &= str_cmp(map->members[i - 1].key, map->members[i].key) < 0;
    if (sorted)
        return;
    struct pair *pairs = mem_alloc(map->n * sizeof *pairs);
    for (uint32_t i = 0; i < map->n; i++)
        pairs[i] = (struct pair){map->members[i], i};
    qsort(pairs, map->n, sizeof *pairs, pair_order);
    uint32_t n = 0;
    for (uint32_t i = 0; i < map->n; i++)
        if (i + 1 == map->n || !str_eq(pairs[i].m.key, pairs[i + 1].m.key))
            map->members[n++] = pairs[i].m;
    map->n = n;
    free(pairs);
}

// The alternative that was sent: an object where there is one (a schema comes with "allowed").
static int decode_union(struct decoder *d, const struct type *t, struct str raw, struct value **ret)
{
    if (++d->depth > JSON_DEPTH)
        return err_set(d->e, ERR_BAD_REQUEST, "exceeded max depth");
    struct value **slots = mem_zalloc((t->nfields + 1) * sizeof *slots);
    uint8_t path[sizeof t->fields->pb] = {0};
    int r = decode_level(d, t, path, 0, raw, slots);
    *ret = NULL;
    for (uint32_t i = 0; r == 0 && i < t->nfields; i++)
        if (slots[i] && (!*ret || slots[i]->kind == VALUE_OBJECT))
            *ret = slots[i];
    free(slots);
    d->depth--;
    return r;
}

static int decode_type(struct decoder *d, const struct type *t, struct str raw, struct value **ret)
{
    if (++d->depth > JSON_DEPTH)
        return err_set(d->e, ERR_BAD_REQUEST, "exceeded max depth");
    struct value **slots = mem_zalloc((t->nfields + 1) * sizeof *slots);
    uint8_t path[sizeof t->fields->pb] = {0};
    int r = decode_level(d, t, path, 0, raw, slots);
    struct value *v = value_object(d->a);
    for (uint32_t i = 0; r == 0 && i < t->nfields; i++) {
        const struct field *f = &t->fields[i];
        if (!slots[i])
            continue;
        if (f->shape == SHAPE_MAP)
            finish_map(slots[i]);
        if (f->shape == SHAPE_ONE && !(f->flags & (FIELD_POINTER | FIELD_REQUIRED)) &&
            is_zero(f, slots[i]))
            continue;
        value_push_member(d->a, v, f->name, slots[i]);
    }
    free(slots);
    d->depth--;
    *ret = v;
    return r;
}

int protobuf_decode(struct arena *a, const struct type *type, struct str raw, struct value **ret,
                    struct err *e)
{
    struct decoder d = {.a = a, .e = e, .left = VALUES_MAX};
    struct value *v = NULL;
    int r = decode_type(&d, type, raw, &v);
    if (r == 0)
        *ret = v;
    return r;
}

int protobuf_envelope(struct str in, struct str *ret_api_version, struct str *ret_kind,
                      struct str *ret_raw, struct err *e)
{
    static const char magic[4] = {'k', '8', 's', 0};
    struct decoder d = {.e = e};
    struct str version = STR_NULL, kind = STR_NULL, raw = STR_NULL;
    struct wire_field w, m;
    int r;
    if (in.n < sizeof magic || memcmp(in.p, magic, sizeof magic) != 0)
        return err_set(
            e, ERR_BAD_REQUEST,
            "provided data does not appear to be a protobuf message, expected prefix [107 "
            "56 115 0]");
    in = str_from(in, sizeof magic);
    while ((r = wire_next(&in, &w)) > 0) {
        if (w.number > 4)
            continue;
        if (w.type != WIRE_BYTES)
            return malformed(&d, "wrong wireType in the envelope");
        if (w.number == 2)
            raw = w.bytes;
        if (w.number == 3 && w.bytes.n)
            return err_set(e, ERR_UNSUPPORTED_MEDIA, "content encoding %.*s is not supported",
                           STR_ARG(w.bytes));
        if (w.number != 1)
            continue;
        while ((r = wire_next(&w.bytes, &m)) > 0) {
            if (m.type == WIRE_BYTES && m.number == 1)
                version = m.bytes;
            if (m.type == WIRE_BYTES && m.number == 2)
                kind = m.bytes;
        }
        if (r < 0)
            return malformed(&d, "the envelope is cut off");
    }
    if (r < 0)
        return malformed(&d, "the envelope is cut off");
    if (!json_utf8_valid(version) || !json_utf8_valid(kind))
        return malformed(&d, "the envelope contains invalid UTF-8");
    *ret_api_version = version;
    *ret_kind = kind;
    *ret_raw = raw;
    return 0;
}
