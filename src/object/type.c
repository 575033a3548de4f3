// Lookup in type tables.
#include "object/type.h"
#include "object/value.h"

const struct field *type_field(const struct type *t, struct str name)
{
    if (t && !t->by_name) { // a small table made by hand
        for (uint32_t i = 0; i < t->nfields; i++)
            if (str_eq(t->fields[i].name, name))
                return &t->fields[i];
        return NULL;
    }
    size_t low = 0, high = t ? t->nfields : 0;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct field *f = &t->fields[t->by_name[mid]];
        int c = str_cmp(f->name, name);
        if (c == 0)
            return f;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

// The JSON type that values of a field's kind have.
static uint8_t json_kind_of(const struct field *f)
{
    if (f->shape != SHAPE_ONE)
        return f->shape == SHAPE_LIST ? VALUE_ARRAY : VALUE_OBJECT;
    return f->kind == FIELD_MESSAGE ? VALUE_OBJECT
           : f->kind == FIELD_BOOL  ? VALUE_BOOL
                                    : VALUE_STRING;
}

const struct field *type_alternative(const struct type *t, uint8_t value_kind)
{
    for (uint32_t i = 0; i < t->nfields; i++)
        if (json_kind_of(&t->fields[i]) == value_kind)
            return &t->fields[i];
    return NULL;
}
