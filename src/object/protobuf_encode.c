// A value tree into Kubernetes protobuf, byte for byte as the originals' generated encoders write
// it.
//
// Their rules: fields ascend by number; a field that is no Go pointer is always written, zero or
// not, and so is every inlined struct; pointers, lists and maps are written when there is
// something; maps in order of their keys. Some types have messages of their own: Quantity {1
// string}, IntOrString {1 type, 2 int, 3 string}, Time and MicroTime {1 seconds, 2 nanos; nothing
// at all when zero}, Duration {1 nanoseconds}, raw JSON {1 bytes}, named list types {1 repeated}.
#include "base/time.h"
#include "object/base64.h"
#include "object/json.h"
#include "object/protobuf.h"
#include "object/protobuf_wire.h"
#include <math.h>

struct encoder {
    struct buf *b;
    struct err *e;
    int depth;
};

static int wrong(struct encoder *x, const struct field *f, const char *what)
{
    return err_set(x->e, ERR_BAD_REQUEST, "cannot encode field \"%.*s\" as protobuf: %s",
                   STR_ARG(f->name), what);
}

static int encode_fields(struct encoder *x, const struct field *f, size_t n, size_t level,
                         const struct value *v);

static int encode_type(struct encoder *x, const struct type *t, const struct value *v)
{
    if (++x->depth > JSON_DEPTH)
        return err_set(x->e, ERR_BAD_REQUEST, "exceeded max depth");
    int r = encode_fields(x, t->fields, t->nfields, 0, v);
    x->depth--;
    return r;
}

static int put_time(struct encoder *x, const struct field *f, unsigned number,
                    const struct value *v)
{
    struct str text = value_string(v);
    int64_t seconds, nanos;
    size_t at = wire_open(x->b, number);
    if (text.n) {
        if (!time_parse_rfc3339_at(text, &seconds, &nanos))
            return wrong(x, f, "not an RFC 3339 time");
        if (f->kind == FIELD_MICRO_TIME)
            nanos -= nanos % 1000;
        wire_put_tag(x->b, 1, WIRE_VARINT);
        wire_put_varint(x->b, (uint64_t)seconds);
        wire_put_tag(x->b, 2, WIRE_VARINT);
        wire_put_varint(x->b, (uint64_t)nanos);
    }
    wire_close(x->b, at);
    return 0;
}

static int put_int_or_string(struct encoder *x, const struct field *f, unsigned number,
                             const struct value *v)
{
    bool text = value_is(v, VALUE_STRING);
    if (v && !text && v->kind != VALUE_INT)
        return wrong(x, f, "neither an integer nor a string");
    size_t at = wire_open(x->b, number);
    wire_put_tag(x->b, 1, WIRE_VARINT);
    wire_put_varint(x->b, text);
    wire_put_tag(x->b, 2, WIRE_VARINT);
    wire_put_varint(x->b, (uint64_t)value_int_or(v, 0));
    wire_put_bytes(x->b, 3, value_string(v));
    wire_close(x->b, at);
    return 0;
}

static int put_integer(struct encoder *x, const struct field *f, unsigned number,
                       const struct value *v)
{
    int64_t i = value_int_or(v, 0);
    if (v && i == 0 && !(v->kind == VALUE_INT || (v->kind == VALUE_FLOAT && v->f == 0)))
        return wrong(x, f, "not an integer");
    if (f->kind == FIELD_INT32 && i != (int32_t)i)
        return wrong(x, f, "not a 32-bit integer");
    wire_put_tag(x->b, number, WIRE_VARINT);
    wire_put_varint(x->b, (uint64_t)i);
    return 0;
}

static int put_double(struct encoder *x, const struct field *f, unsigned number,
                      const struct value *v)
{
    if (v && v->kind != VALUE_INT && v->kind != VALUE_FLOAT)
        return wrong(x, f, "not a number");
    double d = !v ? 0 : v->kind == VALUE_INT ? (double)v->i : v->f;
    uint64_t bits;
    char text[8];
    memcpy(&bits, &d, sizeof bits);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(bits >> 8 * i);
    wire_put_tag(x->b, number, WIRE_FIXED64);
    buf_add(x->b, text, sizeof text);
    return 0;
}

static int put_bytes(struct encoder *x, const struct field *f, unsigned number,
                     const struct value *v)
{
    struct str text = value_string(v);
    wire_put_tag(x->b, number, WIRE_BYTES);
    buf_char(x->b, 0);
    size_t at = x->b->n;
    if (!value_is(v, VALUE_STRING) || !base64_decode(x->b, text))
        return wrong(x, f, "not base64");
    wire_close(x->b, at);
    return 0;
}

static int put_string_list(struct encoder *x, const struct field *f, unsigned number,
                           const struct value *v)
{
    size_t at = wire_open(x->b, number);
    if (v && v->kind != VALUE_ARRAY)
        return wrong(x, f, "not a list");
    value_each_item (v, it) {
        if (it->kind != VALUE_STRING)
            return wrong(x, f, "not a list of strings");
        wire_put_bytes(x->b, 1, value_string(it));
    }
    wire_close(x->b, at);
    return 0;
}

static int put_field(struct encoder *x, const struct field *f, unsigned number,
                     const struct value *v);

// The message of a union holds the alternative that is there; where that is no boolean, a boolean
// beside it says that it counts.
static int put_union(struct encoder *x, const struct field *f, unsigned number,
                     const struct value *v)
{
    const struct field *alternative = type_alternative(f->type, v->kind);
    if (!alternative)
        return wrong(x, f, "of a type that it cannot have");
    size_t at = wire_open(x->b, number);
    int r = 0;
    for (uint32_t i = 0; i < f->type->nfields && r == 0; i++) {
        const struct field *part = &f->type->fields[i];
        const struct value yes = {.kind = VALUE_BOOL, .b = true};
        if (part == alternative)
            r = put_field(x, part, part->pb[0], v);
        else if (part->kind == FIELD_BOOL)
            r = put_field(x, part, part->pb[0], &yes);
    }
    wire_close(x->b, at);
    return r;
}

// One value, item or map value; NULL is the Go zero of a field that is no pointer.
static int put(struct encoder *x, const struct field *f, unsigned number, const struct value *v)
{
    size_t at;
    int64_t ns = 0;
    int r = 0;
    bool text = !v || v->kind == VALUE_STRING;
    switch ((enum field_kind)f->kind) {
    case FIELD_STRING:
        if (!text)
            return wrong(x, f, "not a string");
        wire_put_bytes(x->b, number, value_string(v));
        return 0;
    case FIELD_BYTES:
        return v ? put_bytes(x, f, number, v) : 0; // a nil slice is not written
    case FIELD_BOOL:
        if (v && v->kind != VALUE_BOOL)
            return wrong(x, f, "not a boolean");
        wire_put_tag(x->b, number, WIRE_VARINT);
        wire_put_varint(x->b, v && v->b);
        return 0;
    case FIELD_INT32:
    case FIELD_INT64:
        return put_integer(x, f, number, v);
    case FIELD_DOUBLE:
        return put_double(x, f, number, v);
    case FIELD_QUANTITY:
        at = wire_open(x->b, number);
        if (text) {
            wire_put_bytes(x->b, 1, v ? value_string(v) : STR("0"));
        } else {
            _cleanup_buf_ struct buf number_text = BUF_INIT;
            if (v->kind != VALUE_INT && v->kind != VALUE_FLOAT)
                return wrong(x, f, "not a quantity");
            json_write(&number_text, v);
            wire_put_bytes(x->b, 1, buf_view(&number_text));
        }
        wire_close(x->b, at);
        return 0;
    case FIELD_INT_OR_STRING:
        return put_int_or_string(x, f, number, v);
    case FIELD_TIME:
    case FIELD_MICRO_TIME:
        return text ? put_time(x, f, number, v) : wrong(x, f, "not a string");
    case FIELD_DURATION:
        if (!text || (v && !duration_parse(value_string(v), &ns)))
            return wrong(x, f, "not a duration");
        at = wire_open(x->b, number);
        wire_put_tag(x->b, 1, WIRE_VARINT);
        wire_put_varint(x->b, (uint64_t)ns);
        wire_close(x->b, at);
        return 0;
    case FIELD_ANY:
        at = wire_open(x->b, number);
        if (v) {
            size_t raw = wire_open(x->b, 1);
            json_write(x->b, v);
            wire_close(x->b, raw);
        }
        wire_close(x->b, at);
        return 0;
    case FIELD_MESSAGE:
        if (v && v->kind != VALUE_OBJECT)
            return wrong(x, f, "not an object");
        at = wire_open(x->b, number);
        r = encode_type(x, f->type, v);
        wire_close(x->b, at);
        return r;
    case FIELD_UNION:
        return v ? put_union(x, f, number, v) : 0;
    }
    return wrong(x, f, "unknown kind of field");
}

static int member_order(const void *a, const void *b)
{
    const struct member *x = *(const struct member *const *)a,
                        *y = *(const struct member *const *)b;
    return str_cmp(x->key, y->key);
}

static int put_map(struct encoder *x, const struct field *f, unsigned number, const struct value *v)
{
    if (v->kind != VALUE_OBJECT)
        return wrong(x, f, "not an object");
    _cleanup_free_ struct member **order = mem_alloc((v->n + 1) * sizeof *order);
    for (uint32_t i = 0; i < v->n; i++)
        order[i] = &v->members[i];
    qsort(order, v->n, sizeof *order, member_order);
    for (uint32_t i = 0; i < v->n; i++) {
        const struct value *item = order[i]->value;
        if (item->kind == VALUE_NULL)
            item = NULL;
        size_t at = wire_open(x->b, number);
        wire_put_bytes(x->b, 1, order[i]->key);
        int r = f->flags & FIELD_LIST_OF_LIST ? put_string_list(x, f, 2, item) : put(x, f, 2, item);
        if (r < 0)
            return r;
        wire_close(x->b, at);
    }
    return 0;
}

static int put_field(struct encoder *x, const struct field *f, unsigned number,
                     const struct value *v)
{
    if (value_is(v, VALUE_NULL))
        v = NULL;
    if (f->shape == SHAPE_ONE)
        return v || !(f->flags & FIELD_POINTER) ? put(x, f, number, v) : 0;
    if (!v)
        return 0;
    if (f->shape == SHAPE_MAP)
        return put_map(x, f, number, v);
    if (f->flags & FIELD_LIST_OF_LIST)
        return put_string_list(x, f, number, v);
    if (v->kind != VALUE_ARRAY)
        return wrong(x, f, "not a list");
    value_each_item (v, it) {
        int r = put(x, f, number, it->kind == VALUE_NULL ? NULL : it);
        if (r < 0)
            return r;
    }
    return 0;
}

// Fields that ascend by protobuf path from `level` on: those that share a number at this level and
// have one below lie in the message of an inlined struct.
static int encode_fields(struct encoder *x, const struct field *f, size_t n, size_t level,
                         const struct value *v)
{
    for (size_t i = 0; i < n;) {
        unsigned number = f[i].pb[level];
        bool nested = number && level + 1 < sizeof f->pb && f[i].pb[level + 1];
        size_t j = i + 1;
        int r = 0;
        if (nested) {
            while (j < n && f[j].pb[level] == number)
                j++;
            size_t at = wire_open(x->b, number);
            r = encode_fields(x, f + i, j - i, level + 1, v);
            wire_close(x->b, at);
        } else if (number) {
            r = put_field(x, &f[i], number, value_get(v, f[i].name));
        }
        if (r < 0)
            return r;
        i = j;
    }
    return 0;
}

int protobuf_encode(struct buf *b, const struct type *type, const struct value *v, struct err *e)
{
    struct encoder x = {.b = b, .e = e};
    if (!value_is(v, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "only objects can be encoded as protobuf");
    int r = encode_type(&x, type, v);
    if (r == 0 && !buf_ok(b))
        r = err_set(e, ERR_TOO_LARGE, "the protobuf message is too large");
    return r;
}

int protobuf_encode_object(struct buf *b, const struct type *type, const struct value *v,
                           struct err *e)
{
    buf_add(b, "k8s", 4);
    size_t at = wire_open(b, 1);
    wire_put_bytes(b, 1, value_str_at(v, "apiVersion"));
    wire_put_bytes(b, 2, value_str_at(v, "kind"));
    wire_close(b, at);
    at = wire_open(b, 2);
    int r = protobuf_encode(b, type, v, e);
    wire_close(b, at);
    wire_put_bytes(b, 3, STR_NULL);
    wire_put_bytes(b, 4, STR_NULL);
    return r;
}
