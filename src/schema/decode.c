// Strict decoding: brings a tree from outside into the shape of its type, or says what is wrong
// with it in the words of Go's JSON decoder, which people and tests know.
//
// The originals decode into structs, which loses unknown fields, nulls and the spelling of numbers
// and times. Here the tree stays a tree, so the same losses are made on purpose: what is stored,
// sent and compared is then the same as theirs (a re-applied manifest must be "unchanged").
#include "base/time.h"
#include "object/base64.h"
#include "object/quantity.h"
#include "schema/rules.h"

#define DEPTH_MAX 256
// So many unknown fields are named, each as far as anyone reads: a caller who sends a hundred
// thousand below a key of a megabyte shall not get them all back.
#define UNKNOWN_MAX       100
#define UNKNOWN_SHOWN_MAX 1024

struct decode {
    struct arena *a;
    struct value *unknown; // or NULL
    struct err *e;
    struct buf path;   // with indexes: "spec.containers[0].name", for unknown fields
    struct buf fields; // names only: "spec.containers.name", for type errors, as Go has it
    const struct type *owner;
    const struct field *field;
};

static void add_name(struct buf *path, struct str name)
{
    if (path->n)
        buf_char(path, '.');
    buf_str(path, name);
}

// Go's name of the field's type.
// number: of a number that did not fit.
static void go_type(struct buf *b, const struct field *f, bool item, bool number)
{
    static const char *const scalars[] = {
        [FIELD_STRING] = "string",
        [FIELD_BYTES] = "[]uint8",
        [FIELD_BOOL] = "bool",
        [FIELD_INT32] = "int32",
        [FIELD_INT64] = "int64",
        [FIELD_DOUBLE] = "float64",
        [FIELD_QUANTITY] = "resource.Quantity",
        [FIELD_INT_OR_STRING] = "intstr.IntOrString",
        [FIELD_TIME] = "v1.Time",
        [FIELD_MICRO_TIME] = "v1.MicroTime",
        [FIELD_DURATION] = "v1.Duration",
        [FIELD_ANY] = "interface {}",
    };
    if (!item && f->shape == SHAPE_LIST)
        buf_puts(b, "[]");
    if (!item && f->shape == SHAPE_MAP)
        buf_puts(b, "map[string]");
    if (f->kind == FIELD_INT_OR_STRING && number) {
        buf_puts(b, "int32");
        return;
    }
    if (f->kind != FIELD_MESSAGE) {
        buf_puts(b, scalars[f->kind]);
        return;
    }
    struct str name = f->type->name; // "core.v1.PodSpec" is v1.PodSpec in Go
    ptrdiff_t dot = str_chr(name, '.');
    buf_str(b, str_from(name, (size_t)(dot + 1)));
}

static const char *json_kind(const struct value *v)
{
    static const char *const names[] = {
        [VALUE_NULL] = "null",     [VALUE_BOOL] = "bool",     [VALUE_INT] = "number",
        [VALUE_FLOAT] = "number",  [VALUE_STRING] = "string", [VALUE_ARRAY] = "array",
        [VALUE_OBJECT] = "object",
    };
    return names[v->kind];
}

// json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32
static int mismatch(struct decode *d, const struct value *v, bool item)
{
    _cleanup_buf_ struct buf type = BUF_INIT, number = BUF_INIT;
    struct str owner = d->owner->name;
    ptrdiff_t dot = str_rchr(owner, '.');
    go_type(&type, d->field, item, v->kind == VALUE_INT || v->kind == VALUE_FLOAT);
    // a number of the right family that does not fit is shown
    bool wants_number = d->field->kind == FIELD_INT32 || d->field->kind == FIELD_INT64 ||
                        d->field->kind == FIELD_INT_OR_STRING;
    if (wants_number && v->kind == VALUE_INT)
        buf_printf(&number, " %lld", (long long)v->i);
    else if (wants_number && v->kind == VALUE_FLOAT && v->text)
        buf_printf(&number, " %.*s", (int)v->n, v->text);
    else if (wants_number && v->kind == VALUE_FLOAT)
        buf_printf(&number, " %g", v->f);
    return err_set(d->e, ERR_BAD_REQUEST,
                   "json: cannot unmarshal %s%s into Go struct field %.*s.%s of type %s",
                   json_kind(v), buf_cstr(&number), STR_ARG(str_from(owner, (size_t)(dot + 1))),
                   buf_cstr(&d->fields), buf_cstr(&type));
}

static bool is_base64(struct str s)
{
    size_t n = 0, padding = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\n' || c == '\r')
            continue;
        n++;
        if (c == '=')
            padding++;
        else if (padding || !((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                              (c >= '0' && c <= '9') || c == '+' || c == '/'))
            return false;
    }
    return n % 4 == 0 && padding <= 2;
}

// Bytes have one text: no line breaks, no bits left over ("YR==" is "YQ=="), as Go writes them.
static void canonical_base64(struct arena *a, struct value *v)
{
    struct str s = value_string(v), bytes;
    bool plain = !str_ends(s, STR("="));
    for (size_t i = 0; plain && i < s.n; i++)
        plain = s.p[i] != '\n' && s.p[i] != '\r';
    if (!plain && base64_bytes(a, s, &bytes))
        *v = *value_str(a, base64_text(a, bytes));
}

static int decode_integer(struct decode *d, struct value *v, int64_t low, int64_t high)
{
    if (v->kind == VALUE_FLOAT && !v->text && v->f > -9e15 && v->f < 9e15 &&
        v->f == (double)(int64_t)v->f) {
        // 3.0 and 1e3 are integers to YAML and to the originals' converter; in JSON (whose text is
        // kept) they are not: 1.0 is refused where Go has an integer
        v->i = (int64_t)v->f;
        v->kind = VALUE_INT;
        v->n = 0;
    }
    if (v->kind != VALUE_INT || v->i < low || v->i > high)
        return mismatch(d, v, true);
    return 0;
}

static int decode_quantity(struct decode *d, struct value *v)
{
    struct str text = value_string(v);
    if (v->kind == VALUE_INT)
        text = arena_printf(d->a, "%lld", (long long)v->i);
    else if (v->kind == VALUE_FLOAT)
        text = v->text ? str_n(v->text, v->n) : arena_printf(d->a, "%.17g", v->f);
    else if (v->kind != VALUE_STRING)
        return mismatch(d, v, true);
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (!quantity_canonical(&b, text))
        return err_set(d->e, ERR_BAD_REQUEST, "%s", quantity_fault(text));
    struct str canonical = arena_str(d->a, buf_view(&b));
    *v = *value_str(d->a, canonical);
    return 0;
}

static int decode_time(struct decode *d, struct value *v, int digits)
{
    int64_t s, ns;
    if (v->kind != VALUE_STRING)
        return mismatch(d, v, true);
    if (!time_parse_rfc3339_at(value_string(v), &s, &ns))
        return err_set(d->e, ERR_BAD_REQUEST,
                       "parsing time \"%.*s\" as \"%s\": cannot parse \"%.*s\" as \"2006\"",
                       STR_ARG(value_string(v)),
                       digits ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00",
                       STR_ARG(value_string(v)));
    _cleanup_buf_ struct buf b = BUF_INIT;
    time_write_rfc3339_at(&b, s, ns, digits);
    *v = *value_str(d->a, arena_str(d->a, buf_view(&b)));
    return 0;
}

static int decode_duration(struct decode *d, struct value *v)
{
    int64_t ns;
    if (v->kind != VALUE_STRING)
        return mismatch(d, v, true);
    if (!duration_parse(value_string(v), &ns))
        return err_set(d->e, ERR_BAD_REQUEST, "time: invalid duration \"%.*s\"",
                       STR_ARG(value_string(v)));
    return 0;
}

static int decode_object(struct decode *d, const struct type *type, struct value *object,
                         int depth);

static int decode_field(struct decode *d, const struct field *f, struct value *v, int depth);

static int decode_union(struct decode *d, const struct field *f, struct value *v, int depth)
{
    const struct field *alternative = type_alternative(f->type, v->kind);
    if (!alternative)
        return f->flags & FIELD_LOOSE ? 0 : mismatch(d, v, true);
    d->owner = f->type;
    return decode_field(d, alternative, v, depth);
}

// What declares an object or a list: a value that is neither is left to validation.
static bool is_compound(const struct field *f)
{
    return f->kind == FIELD_MESSAGE || f->kind == FIELD_UNION;
}

static int decode_one(struct decode *d, const struct field *f, struct value *v, int depth)
{
    d->field = f;
    if ((f->flags & FIELD_LOOSE) &&
        (!is_compound(f) || (f->kind == FIELD_MESSAGE && v->kind != VALUE_OBJECT)))
        return 0;
    switch ((enum field_kind)f->kind) {
    case FIELD_STRING:
        return v->kind == VALUE_STRING ? 0 : mismatch(d, v, true);
    case FIELD_BYTES:
        if (v->kind != VALUE_STRING)
            return mismatch(d, v, true);
        if (!is_base64(value_string(v)))
            return err_set(d->e, ERR_BAD_REQUEST, "illegal base64 data at %s", buf_cstr(&d->path));
        canonical_base64(d->a, v);
        return 0;
    case FIELD_BOOL:
        return v->kind == VALUE_BOOL ? 0 : mismatch(d, v, true);
    case FIELD_INT32:
        return decode_integer(d, v, INT32_MIN, INT32_MAX);
    case FIELD_INT64:
        return decode_integer(d, v, INT64_MIN, INT64_MAX);
    case FIELD_DOUBLE:
        return v->kind == VALUE_INT || v->kind == VALUE_FLOAT ? 0 : mismatch(d, v, true);
    case FIELD_QUANTITY:
        return decode_quantity(d, v);
    case FIELD_INT_OR_STRING:
        return v->kind == VALUE_STRING ? 0 : decode_integer(d, v, INT32_MIN, INT32_MAX);
    case FIELD_TIME:
        return decode_time(d, v, 0);
    case FIELD_MICRO_TIME:
        return decode_time(d, v, 6);
    case FIELD_DURATION:
        return decode_duration(d, v);
    case FIELD_ANY:
        return 0;
    case FIELD_MESSAGE:
        if (v->kind != VALUE_OBJECT)
            return mismatch(d, v, true);
        return decode_object(d, f->type, v, depth + 1);
    case FIELD_UNION:
        return decode_union(d, f, v, depth);
    }
    return 0;
}

// What Go makes of a null inside a list or map: the zero value.
static void decode_null(struct decode *d, const struct field *f, struct value *v)
{
    if (f->kind == FIELD_ANY || f->flags & FIELD_LOOSE)
        return;
    if (f->kind == FIELD_MESSAGE)
        *v = *value_object(d->a);
    else if (f->kind == FIELD_BOOL)
        *v = *value_bool(d->a, false);
    else if (f->kind == FIELD_QUANTITY)
        *v = *value_str(d->a, STR("0"));
    else if (f->kind == FIELD_INT32 || f->kind == FIELD_INT64 || f->kind == FIELD_DOUBLE ||
             f->kind == FIELD_INT_OR_STRING)
        *v = *value_int(d->a, 0);
    else
        *v = *value_str(d->a, STR(""));
}

// Nulls in a custom map whose values may not be null are as if they were not there.
static void drop_nulls(const struct field *f, struct value *map)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->n; i++)
        if (map->members[i].value->kind != VALUE_NULL || f->flags & FIELD_INNER_NULLABLE)
            map->members[kept++] = map->members[i];
    map->n = kept;
}

// Whether a member's null is as if it were not there: always in Go's structs; in custom resources
// where it may not be null, unless a default takes its place.
static bool is_absent(const struct field *f)
{
    if (f->flags & FIELD_LOOSE)
        return !(f->flags & FIELD_NULLABLE) && !(f->rules && f->rules->preset) &&
               f->kind != FIELD_ANY;
    return f->kind != FIELD_ANY;
}

static int decode_strings(struct decode *d, struct value *list)
{
    if (list->kind == VALUE_NULL)
        *list = *value_array(d->a);
    if (list->kind != VALUE_ARRAY)
        return mismatch(d, list, true);
    value_each_item (list, item)
        if (item->kind != VALUE_STRING)
            return mismatch(d, item, true);
    return 0;
}

static int decode_field(struct decode *d, const struct field *f, struct value *v, int depth)
{
    int rc = 0;
    const struct type *owner = d->owner; // items and entries below change it
    d->field = f;
    if (f->shape == SHAPE_ONE)
        return decode_one(d, f, v, depth);
    if (f->shape == SHAPE_LIST) {
        if (v->kind != VALUE_ARRAY)
            return f->flags & FIELD_LOOSE ? 0 : mismatch(d, v, false);
        size_t mark = d->path.n;
        for (uint32_t i = 0; i < v->n && !rc; i++) {
            d->owner = owner;
            if (d->unknown)
                buf_printf(&d->path, "[%u]", i);
            if (v->items[i]->kind == VALUE_NULL)
                decode_null(d, f, v->items[i]);
            rc = decode_one(d, f, v->items[i], depth);
            d->path.n = mark;
        }
        return rc;
    }
    if (v->kind != VALUE_OBJECT)
        return f->flags & FIELD_LOOSE ? 0 : mismatch(d, v, false);
    if (f->flags & FIELD_LOOSE)
        drop_nulls(f, v);
    size_t mark = d->path.n, fields_mark = d->fields.n;
    for (uint32_t i = 0; i < v->n && !rc; i++) {
        struct member *m = &v->members[i];
        add_name(&d->path, m->key);
        add_name(&d->fields, m->key);
        d->owner = owner;
        d->field = f;
        if (f->flags & FIELD_LIST_OF_LIST) {
            rc = decode_strings(d, m->value);
        } else {
            if (m->value->kind == VALUE_NULL)
                decode_null(d, f, m->value);
            rc = decode_one(d, f, m->value, depth);
        }
        d->path.n = mark;
        d->fields.n = fields_mark;
    }
    return rc;
}

static int decode_object(struct decode *d, const struct type *type, struct value *object, int depth)
{
    if (depth > DEPTH_MAX)
        return err_set(d->e, ERR_BAD_REQUEST, "exceeded max depth");
    if (type->preserve_unknown && !type->nfields)
        return 0;
    uint32_t kept = 0;
    int rc = 0;
    size_t mark = d->path.n, fields_mark = d->fields.n;
    for (uint32_t i = 0; i < object->n; i++) {
        struct member m = object->members[i];
        const struct field *f = rc ? NULL : type_field(type, m.key);
        if (!rc && f && m.value->kind == VALUE_NULL && is_absent(f))
            continue;
        if (!rc && (f || d->unknown)) {
            add_name(&d->path, m.key);
            if (f) {
                add_name(&d->fields, m.key);
                d->owner = type;
                rc = decode_field(d, f, m.value, depth);
            } else if (!type->preserve_unknown && value_len(d->unknown) < UNKNOWN_MAX) {
                struct str path = str_sub(buf_view(&d->path), 0, UNKNOWN_SHOWN_MAX);
                value_push(d->a, d->unknown, value_str(d->a, arena_str(d->a, path)));
            }
            d->path.n = mark;
            d->fields.n = fields_mark;
        }
        if (f || rc || type->preserve_unknown)
            object->members[kept++] = m;
    }
    object->n = kept;
    return rc;
}

int schema_check_fields(struct arena *a, const struct type *type, struct value *object,
                        struct value *unknown, struct err *e)
{
    struct decode d = {.a = a, .unknown = unknown, .e = e, .path = BUF_INIT, .fields = BUF_INIT};
    if (!value_is(object, VALUE_OBJECT))
        return err_set(e, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type %.*s",
                       object ? json_kind(object) : "null", STR_ARG(type->name));
    int rc = decode_object(&d, type, object, 0);
    buf_done(&d.path);
    buf_done(&d.fields);
    return rc;
}
