// Lookup in type tables.
#include "object/type.h"

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
