// Defaulting: one walk over the object along its type. In each object first the presets of its
// fields (data), then the type's function (logic), then the objects inside, so that a function sees
// what its own object will be, and inner objects see what the outer one decided.
//
// Absent, as the originals see it: a field that is a Go pointer is absent when it is not there;
// any other scalar also when it is zero ("" or 0).
#include "schema/rules.h"

static bool is_zero(const struct value *v)
{
    return v->kind == VALUE_NULL || (v->kind == VALUE_STRING && !v->n) ||
           (v->kind == VALUE_INT && !v->i);
}

// A run: what it may still add, so that a million empty items cannot become a million full ones.
#define ADDED_MAX ((size_t)64 << 20)

struct defaulting {
    struct arena *a;
    size_t start; // a->total at the beginning
    bool too_large;
};

static bool is_missing(const struct field *f, const struct value *object)
{
    const struct value *v = value_get(object, f->name);
    if (f->flags & FIELD_LOOSE) // only what is not there, or is null and may not be
        return !v || (v->kind == VALUE_NULL && !(f->flags & FIELD_NULLABLE));
    return !v || v->kind == VALUE_NULL ||
           (!(f->flags & FIELD_POINTER) && f->shape == SHAPE_ONE && is_zero(v));
}

static void presets(struct arena *a, const struct type *type, struct value *object)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < type->nfields; i++) {
        const struct field *f = &type->fields[i];
        missing += f->rules && f->rules->preset && is_missing(f, object);
    }
    if (!missing)
        return;
    value_reserve(a, object, object->n + missing);
    for (uint32_t i = 0; i < type->nfields; i++) {
        const struct field *f = &type->fields[i];
        if (!f->rules || !f->rules->preset || !is_missing(f, object))
            continue;
        struct value *v;
        if (f->flags & FIELD_LOOSE) {
            v = value_clone(a, f->rules->preset);
        } else {
            v = arena_alloc(a, sizeof *v); // presets are scalars, {} or []
            *v = *f->rules->preset;
        }
        value_set(a, object, f->name, v);
    }
}

static void default_object(struct defaulting *d, const struct type *type, struct value *object,
                           int depth);
static void default_field(struct defaulting *d, const struct field *f, struct value *v, int depth);

static void default_one(struct defaulting *d, const struct field *f, struct value *v, int depth)
{
    if (f->kind == FIELD_MESSAGE) {
        default_object(d, f->type, v, depth + 1);
    } else if (f->kind == FIELD_UNION && depth < 256) {
        const struct field *alternative = type_alternative(f->type, v->kind);
        if (alternative)
            default_field(d, alternative, v, depth + 1);
    }
}

static void default_field(struct defaulting *d, const struct field *f, struct value *v, int depth)
{
    if (f->shape == SHAPE_ONE) {
        default_one(d, f, v, depth);
    } else if (f->shape == SHAPE_LIST) {
        value_each_item (v, item)
            default_one(d, f, item, depth);
    } else {
        value_each_field (v, entry)
            default_one(d, f, entry->value, depth);
    }
}

static void default_object(struct defaulting *d, const struct type *type, struct value *object,
                           int depth)
{
    struct arena *a = d->a;
    // Only JSONSchemaProps is recursive, and its depth is the input's: JSON_DEPTH bounds it.
    if (!value_is(object, VALUE_OBJECT) || depth > 256 || d->too_large)
        return;
    presets(a, type, object);
    if (type->rules && type->rules->defaults)
        type->rules->defaults(a, object);
    for (uint32_t m = 0; m < object->n; m++) {
        struct value *v = object->members[m].value;
        if (v->kind != VALUE_OBJECT && v->kind != VALUE_ARRAY)
            continue;
        const struct field *f = type_field(type, object->members[m].key);
        if (f && (f->kind == FIELD_MESSAGE || f->kind == FIELD_UNION))
            default_field(d, f, v, depth);
    }
    d->too_large |= a->total - d->start > ADDED_MAX;
}

int schema_default(struct arena *a, const struct kind *kind, struct value *object, struct err *e)
{
    struct defaulting d = {.a = a, .start = a->total};
    default_object(&d, kind->type, object, 0);
    if (d.too_large)
        return err_set(e, ERR_TOO_LARGE, "the object is too large with its defaults filled in");
    return 0;
}
