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

static void preset(struct arena *a, const struct field *f, struct value *object)
{
    struct value *v = value_get(object, f->name);
    if (!v || v->kind == VALUE_NULL ||
        (!(f->flags & FIELD_POINTER) && f->shape == SHAPE_ONE && is_zero(v)))
        value_set(a, object, f->name, value_clone(a, f->rules->preset));
}

static void default_object(struct arena *a, const struct type *type, struct value *object,
                           int depth)
{
    // Only JSONSchemaProps is recursive, and its depth is the input's: JSON_DEPTH bounds it.
    if (!value_is(object, VALUE_OBJECT) || depth > 256)
        return;
    for (uint32_t i = 0; i < type->nfields; i++) {
        const struct field *f = &type->fields[i];
        if (f->rules && f->rules->preset)
            preset(a, f, object);
    }
    if (type->rules && type->rules->defaults)
        type->rules->defaults(a, object);
    for (uint32_t m = 0; m < object->n; m++) {
        struct value *v = object->members[m].value;
        if (v->kind != VALUE_OBJECT && v->kind != VALUE_ARRAY)
            continue;
        const struct field *f = type_field(type, object->members[m].key);
        if (!f || f->kind != FIELD_MESSAGE)
            continue;
        if (f->shape == SHAPE_ONE) {
            default_object(a, f->type, v, depth + 1);
        } else if (f->shape == SHAPE_LIST) {
            value_each_item (v, item)
                default_object(a, f->type, item, depth + 1);
        } else {
            value_each_field (v, entry)
                default_object(a, f->type, entry->value, depth + 1);
        }
    }
}

int schema_default(struct arena *a, const struct kind *kind, struct value *object)
{
    default_object(a, kind->type, object, 0);
    return 0;
}
