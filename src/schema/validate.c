// The validation engine: walks the new object along its type, the old one beside it, and applies
// the rules that api/*.kinds gives for each field, then the type's check function. All faults are
// collected. Lists are walked with old items at the same index only where nothing depends on it;
// what may change in a list is for the check functions to say.
#include "object/key_index.h"
#include "object/quantity.h"
#include "schema/check.h"

static bool is_absent(const struct value *v)
{
    return !v || v->kind == VALUE_NULL || (v->kind == VALUE_STRING && !v->n) ||
           ((v->kind == VALUE_ARRAY || v->kind == VALUE_OBJECT) && !v->n);
}

static void check_enum(struct check *c, const struct field_rules *r, const struct value *v)
{
    struct str s = value_string(v);
    for (const struct str *p = r->values; p->p; p++)
        if (str_eq(*p, s))
            return;
    check_not_supported(c, NULL, v, r->values);
}

// int-or-string: a number that is not negative, or a percentage of at most 100 … the originals
// check the upper bound where it matters, in their own functions.
static void check_percent(struct check *c, const struct value *v)
{
    struct str s = value_string(v);
    if (v->kind == VALUE_INT) {
        if (v->i < 0)
            check_invalid(c, NULL, v, MUST_NOT_BE_NEGATIVE);
        return;
    }
    uint64_t n;
    if (!str_ends(s, STR("%")) || !str_to_u64(str_sub(s, 0, s.n - 1), &n))
        check_invalid(c, NULL, v,
                      "a valid percent string must be a numeric string followed by an ending '%%' "
                      "(e.g. '1%%',  or '93%%', regex used for validation is '[0-9]+%%')");
}

static void check_labels(struct check *c, const struct value *map)
{
    value_each_field (map, m) {
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_QUALIFIED_NAME);
        check_format(c, NULL, m->value, FORMAT_LABEL_VALUE);
    }
}

#define ANNOTATIONS_MAX (256 * 1024)

static void check_annotation_key(struct check *c, struct str key, struct str lower)
{
    struct value *messages = value_array(c->arena), *v = value_str(c->arena, key);
    schema_format_ok(c->arena, FORMAT_QUALIFIED_NAME, lower, messages);
    value_each_item (messages, m)
        check_invalid(c, NULL, v, "%.*s", STR_ARG(value_string(m)));
}

static void check_annotations(struct check *c, const struct value *map)
{
    size_t total = 0;
    value_each_field (map, m) {
        // qualified names, but case does not matter
        char *lower = arena_cstr(c->arena, m->key);
        for (size_t i = 0; i < m->key.n; i++)
            if (lower[i] >= 'A' && lower[i] <= 'Z')
                lower[i] += 'a' - 'A';
        if (!schema_format_ok(c->arena, FORMAT_QUALIFIED_NAME, str_n(lower, m->key.n), NULL))
            check_annotation_key(c, m->key, str_n(lower, m->key.n));
        total += m->key.n + value_string(m->value).n;
    }
    if (total > ANNOTATIONS_MAX)
        check_too_long(c, NULL, ANNOTATIONS_MAX);
}

static void check_amount(struct check *c, const struct value *v)
{
    struct quantity q;
    if (quantity_parse(value_string(v), &q) && q.nano < 0)
        check_invalid(c, NULL, v, MUST_NOT_BE_NEGATIVE);
}

static void check_integer(struct check *c, const struct value *v)
{
    struct quantity q;
    if (quantity_parse(value_string(v), &q) && q.nano % 1000000000)
        check_invalid(c, NULL, v, "must be an integer");
}

static void check_resources(struct check *c, const struct value *map)
{
    value_each_field (map, m) {
        size_t mark = check_push_key(c, NULL, m->key);
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_QUALIFIED_NAME);
        check_amount(c, m->value);
        check_pop(c, mark);
    }
}

static void check_formatted(struct check *c, enum rule_format format, const struct value *v)
{
    switch (format) {
    case FORMAT_LABELS:
        check_labels(c, v);
        break;
    case FORMAT_ANNOTATIONS:
        check_annotations(c, v);
        break;
    case FORMAT_RESOURCES:
        check_resources(c, v);
        break;
    case FORMAT_SELECTOR:
        check_selector(c, NULL, v);
        break;
    case FORMAT_NONNEGATIVE:
        check_amount(c, v);
        break;
    case FORMAT_PERCENT:
        check_percent(c, v);
        break;
    case FORMAT_POSITIVE:
        if (v->kind == VALUE_INT && v->i <= 0)
            check_invalid(c, NULL, v, "must be greater than zero");
        break;
    case FORMAT_ABOVE_ZERO:
        if (v->kind == VALUE_INT && v->i <= 0)
            check_invalid(c, NULL, v, "must be greater than 0");
        break;
    case FORMAT_FILE_MODE:
        if (v->kind == VALUE_INT && (v->i < 0 || v->i > 0777))
            check_invalid(c, NULL, v,
                          "must be a number between 0 and 0777 (octal), both inclusive");
        break;
    case FORMAT_PARTITION:
        if (v->kind == VALUE_INT && (v->i < 0 || v->i > 255))
            check_invalid(c, NULL, v, "must be between 1 and 255, inclusive");
        break;
    case FORMAT_INTEGER:
        check_integer(c, v);
        break;
    case FORMAT_PORT_OR_ZERO:
        if (v->kind == VALUE_INT && !v->i)
            break;
        __attribute__((fallthrough));
    case FORMAT_PORT:
        if (v->kind == VALUE_INT && (v->i < 1 || v->i > 65535))
            check_invalid(c, NULL, v, "must be between 1 and 65535, inclusive");
        break;
    case FORMAT_PORT_OR_NAME:
        if (v->kind == VALUE_INT) {
            if (v->i < 1 || v->i > 65535)
                check_invalid(c, NULL, v, "must be between 1 and 65535, inclusive");
            break;
        }
        __attribute__((fallthrough));
    default:
        if (v->kind == VALUE_STRING)
            check_format(c, NULL, v, format);
        break;
    }
}

static void check_range(struct check *c, const struct field_rules *r, const struct value *v)
{
    if (v->kind != VALUE_INT)
        return;
    bool low = (r->flags & RULE_MIN) && v->i < r->min;
    bool high = (r->flags & RULE_MAX) && v->i > r->max;
    if (!low && !high)
        return;
    if ((r->flags & RULE_MIN) && (r->flags & RULE_MAX))
        check_invalid(c, NULL, v, "must be between %lld and %lld, inclusive", (long long)r->min,
                      (long long)r->max);
    else if (low)
        check_invalid(c, NULL, v, "must be greater than or equal to %lld", (long long)r->min);
    else
        check_invalid(c, NULL, v, "must be less than or equal to %lld", (long long)r->max);
}

static void check_scalar(struct check *c, const struct field_rules *r, const struct value *v)
{
    if (r->values && !(r->flags & RULE_OPEN))
        check_enum(c, r, v);
    check_range(c, r, v);
    if (r->max_length && v->kind == VALUE_STRING && v->n > r->max_length)
        check_too_long(c, NULL, r->max_length);
    if (r->format)
        check_formatted(c, r->format, v);
}

static bool format_of_whole(uint8_t format)
{
    return format == FORMAT_LABELS || format == FORMAT_ANNOTATIONS || format == FORMAT_RESOURCES;
}

// The rules of a field on its value; c's path is at the field.
static void check_value(struct check *c, const struct field *f, const struct value *v)
{
    const struct field_rules *r = f->rules;
    if (f->shape == SHAPE_ONE) {
        // a string that may be left out is also fine when it is empty
        if (v->kind != VALUE_STRING || v->n || (f->flags & FIELD_POINTER))
            check_scalar(c, r, v);
        return;
    }
    if (r->max_items && value_len(v) > r->max_items)
        check_too_many(c, NULL, value_len(v), r->max_items);
    if (format_of_whole(r->format)) {
        check_formatted(c, r->format, v);
        return;
    }
    if (f->shape == SHAPE_LIST) {
        for (size_t i = 0; i < value_len(v); i++) {
            size_t mark = check_push_index(c, NULL, i);
            check_scalar(c, r, value_item(v, i));
            check_pop(c, mark);
        }
    } else {
        value_each_field (v, m) {
            size_t mark = check_push_key(c, NULL, m->key);
            check_scalar(c, r, m->value);
            check_pop(c, mark);
        }
    }
}

static void walk_inner(struct check *c, const struct field *f, const struct value *v,
                       const struct value *old)
{
    if (f->shape == SHAPE_ONE) {
        check_walk(c, f->type, v, old);
    } else if (f->shape == SHAPE_LIST) {
        for (size_t i = 0; i < value_len(v); i++) {
            size_t mark = check_push_index(c, NULL, i);
            check_walk(c, f->type, value_item(v, i), value_item(old, i));
            check_pop(c, mark);
        }
    } else {
        _cleanup_key_index_ struct key_index was = KEY_INDEX_INIT;
        key_index_object(&was, old);
        value_each_field (v, m) {
            size_t mark = check_push_key(c, NULL, m->key);
            ptrdiff_t at = key_index_find(&was, m->key);
            check_walk(c, f->type, m->value, at < 0 ? NULL : old->members[at].value);
            check_pop(c, mark);
        }
    }
}

// Members of which exactly one may be there: `taken` is the first of them that is.
static bool is_choice(const struct field *f)
{
    return f->rules && f->rules->flags & (RULE_ONEOF | RULE_ONEOF_FIRST);
}

static bool is_null(const struct value *v)
{
    return !v || v->kind == VALUE_NULL;
}

static const struct field *taken(const struct type *type, const struct value *object)
{
    const struct field *first = NULL;
    for (uint32_t i = 0; i < type->nfields; i++) {
        const struct field *f = &type->fields[i];
        if (!is_choice(f) || is_null(value_get(object, f->name)))
            continue;
        if (f->rules->flags & RULE_ONEOF_FIRST)
            return f;
        first = first ? first : f;
    }
    return first;
}

static void walk_field(struct check *c, const struct field *f, const struct value *v,
                       const struct value *old)
{
    size_t mark = check_push_str(c, f->name);
    // a message that is there is not empty, whatever it holds
    bool there = f->kind == FIELD_MESSAGE && f->shape == SHAPE_ONE && value_is(v, VALUE_OBJECT);
    if ((f->flags & FIELD_NONEMPTY) && !there && is_absent(v))
        check_required(c, NULL, NULL);
    if ((f->flags & FIELD_IMMUTABLE) && old) {
        const struct value *then = value_get(old, f->name);
        if (!(is_absent(v) && is_absent(then)) && !(v && then && value_eq(v, then)))
            check_invalid(c, NULL, v ? v : value_null(c->arena), FIELD_IS_IMMUTABLE);
    }
    if (!is_null(v)) {
        if (f->rules)
            check_value(c, f, v);
        if (f->kind == FIELD_MESSAGE)
            walk_inner(c, f, v, value_get(old, f->name));
        if (f->rules && f->rules->flags & RULE_UNIQUE)
            check_unique(c, v, f->rules->unique);
    }
    check_pop(c, mark);
}

void check_walk(struct check *c, const struct type *type, const struct value *object,
                const struct value *old)
{
    if (!value_is(object, VALUE_OBJECT))
        return;
    const struct field_rules *rules = type->rules;
    const struct field *one = rules && rules->oneof ? taken(type, object) : NULL;
    // In the order of the table, so that the same faults read the same however the object came.
    for (uint32_t i = 0; i < type->nfields; i++) {
        const struct field *f = &type->fields[i];
        if (!f->rules && f->kind != FIELD_MESSAGE &&
            !(f->flags & (FIELD_NONEMPTY | FIELD_IMMUTABLE)))
            continue;
        const struct value *v = value_get(object, f->name);
        if (is_choice(f) && !is_null(v) && f != one) {
            size_t mark = check_push_str(c, f->name);
            check_forbidden(c, NULL, "may not specify more than 1 %s", rules->oneof);
            check_pop(c, mark);
        } else if (!is_null(v) || f->flags & (FIELD_NONEMPTY | FIELD_IMMUTABLE)) {
            walk_field(c, f, v, old);
        }
    }
    if (rules && rules->oneof && !one) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        buf_printf(&b, "must specify a %s", rules->oneof);
        check_required(c, NULL, buf_cstr(&b));
    }
    if (rules && rules->check)
        rules->check(c, object, old);
}

// Puts the faults together into the message that people see. Faults that read the same are said
// once, as the originals do; all of them stay causes.
static int finish(struct check *c)
{
    _cleanup_key_index_ struct key_index worded = KEY_INDEX_INIT;
    struct err *e = c->e;
    const struct kind *k = c->kind;
    struct str name = value_str_at(c->root, "metadata.name");
    _cleanup_buf_ struct buf b = BUF_MAX(1 << 20);
    _cleanup_buf_ struct buf body = BUF_MAX(1 << 20);
    size_t said = 0;
    for (size_t i = 0; i < e->ncauses; i++) {
        const char *field = e->causes[i].field ? e->causes[i].field : "";
        struct str text =
            arena_printf(c->arena, "%s%s%s", field, *field ? ": " : "", e->causes[i].message);
        if (key_index_add(&worded, text) >= 0)
            continue;
        buf_printf(&body, "%s%.*s", said++ ? ", " : "", STR_ARG(text));
    }
    buf_str(&b, k->kind);
    if (k->group.n)
        buf_printf(&b, ".%.*s", STR_ARG(k->group));
    buf_printf(&b, " \"%.*s\" is invalid: %s%s%s", STR_ARG(name), said > 1 ? "[" : "",
               buf_cstr(&body), said > 1 ? "]" : "");
    err_details(e, name, k->group, k->kind);
    return err_set(e, ERR_INVALID, "%s", buf_cstr(&b));
}

// The end of a run: 0, or all faults moved to the caller.
static int conclude(struct check *c, struct err *e)
{
    buf_done(&c->path);
    if (!c->faults)
        return 0;
    int code = finish(c);
    if (e)
        err_move(e, c->e);
    return code;
}

int schema_validate_subresource(struct arena *a, const struct kind *kind, struct str subresource,
                                struct value *object, const struct value *old, struct err *e)
{
    _cleanup_err_ struct err faults = ERR_INIT;
    struct check c = {.arena = a,
                      .kind = kind,
                      .root = object,
                      .old_root = old,
                      .subresource = subresource,
                      .e = &faults,
                      .path = BUF_INIT};
    check_metadata(&c);
    if (str_eqc(subresource, "status")) {
        static const char *const parts[] = {"metadata", "status"};
        for (size_t i = 0; i < 2; i++) {
            const struct field *f = type_field(kind->type, str_of(parts[i]));
            if (!f || f->kind != FIELD_MESSAGE)
                continue;
            size_t mark = check_push(&c, parts[i]);
            check_walk(&c, f->type, value_getc(object, parts[i]), value_getc(old, parts[i]));
            check_pop(&c, mark);
        }
    } else {
        check_walk(&c, kind->type, object, old);
    }
    return conclude(&c, e);
}

int schema_validate(struct arena *a, const struct kind *kind, struct value *object,
                    const struct value *old, struct err *e)
{
    return schema_validate_subresource(a, kind, STR_NULL, object, old, e);
}

int schema_validate_body(struct arena *a, const struct subresource *subresource,
                         struct value *object, struct err *e)
{
    // only the names and flags of the kind are looked at
    const struct kind body = {.group = subresource->group,
                              .version = subresource->version,
                              .kind = subresource->kind,
                              .flags = KIND_NAMESPACED,
                              .type = subresource->type};
    _cleanup_err_ struct err faults = ERR_INIT;
    struct check c = {.arena = a, .kind = &body, .root = object, .e = &faults, .path = BUF_INIT};
    BUG_ON(!subresource->type);
    check_walk(&c, subresource->type, object, NULL);
    return conclude(&c, e);
}
