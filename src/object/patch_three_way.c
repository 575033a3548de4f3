// The difference between what was applied, what is to be applied, and what is there.
//
// Values are compared as they are written. Where the server stores another form of the same thing
// ("1000m" as "1"), the patch has the field although nothing changes; the server then finds the
// object unchanged, and nobody is told otherwise.
#include "object/patch_three_way.h"

static struct value *difference(struct arena *a, const struct type *t, const struct value *original,
                                const struct value *modified, const struct value *live);

static const struct value *item_with(const struct value *list, struct str key,
                                     const struct value *name)
{
    value_each_item (list, item)
        if (value_eq(value_get(item, key), name))
            return item;
    return NULL;
}

static bool all_have(const struct value *list, struct str key)
{
    value_each_item (list, item)
        if (!value_is(item, VALUE_OBJECT) || !value_get(item, key))
            return false;
    return true;
}

static bool contains(const struct value *list, const struct value *v)
{
    value_each_item (list, item)
        if (value_eq(item, v))
            return true;
    return false;
}

// Fields of a union that others have set must go when the file chooses another one: the patch says
// which keys remain.
static void retain_keys(struct arena *a, const struct field *f, struct value *patch,
                        const struct value *modified)
{
    if (!f || !(f->flags & PATCH_RETAIN_KEYS) || !patch)
        return;
    struct value *keys = value_array(a);
    value_each_field (modified, m)
        value_push(a, keys, value_str(a, m->key));
    value_setc(a, patch, "$retainKeys", keys);
}

// Items by their merge key. NULL: nothing to change.
static struct value *merge_by_key(struct arena *a, const struct field *f,
                                  const struct value *original, const struct value *modified,
                                  const struct value *live)
{
    struct value *patch = value_array(a);
    value_each_item (modified, m) {
        const struct value *name = value_get(m, f->merge_key);
        const struct value *l = item_with(live, f->merge_key, name);
        if (!l) {
            value_push(a, patch, m);
            continue;
        }
        struct value *d = difference(a, f->type, item_with(original, f->merge_key, name), m, l);
        if (!d)
            continue;
        retain_keys(a, f, d, m);
        value_set(a, d, f->merge_key, (struct value *)name);
        value_push(a, patch, d);
    }
    value_each_item (original, o) {
        struct value *name = value_get(o, f->merge_key);
        if (!name || item_with(modified, f->merge_key, name) ||
            !item_with(live, f->merge_key, name))
            continue;
        struct value *gone = value_object(a);
        value_setc(a, gone, "$patch", value_strc(a, "delete"));
        value_set(a, gone, f->merge_key, name);
        value_push(a, patch, gone);
    }
    return patch->n ? patch : NULL;
}

// A set of scalars: what is missing is added, what was applied before and is not any more goes.
static void merge_scalars(struct arena *a, struct value *patch, struct str name,
                          const struct value *original, const struct value *modified,
                          const struct value *live)
{
    struct value *added = value_array(a), *gone = value_array(a);
    value_each_item (modified, m)
        if (!contains(live, m))
            value_push(a, added, m);
    value_each_item (original, o)
        if (!contains(modified, o) && contains(live, o))
            value_push(a, gone, o);
    if (added->n)
        value_set(a, patch, name, added);
    if (gone->n)
        value_set(a, patch, arena_printf(a, "$deleteFromPrimitiveList/%.*s", STR_ARG(name)), gone);
}

static void compare_field(struct arena *a, struct value *patch, const struct field *f,
                          struct str name, const struct value *original, struct value *modified,
                          const struct value *live)
{
    bool both_lists = value_is(modified, VALUE_ARRAY) && value_is(live, VALUE_ARRAY);
    if (value_is(modified, VALUE_NULL)) {
        if (live && !value_is(live, VALUE_NULL))
            value_set(a, patch, name, value_null(a));
    } else if (value_is(modified, VALUE_OBJECT) && value_is(live, VALUE_OBJECT)) {
        const struct type *t =
            f && f->kind == FIELD_MESSAGE && f->shape == SHAPE_ONE ? f->type : NULL;
        struct value *d = difference(a, t, original, modified, live);
        retain_keys(a, f, d, modified);
        if (d)
            value_set(a, patch, name, d);
    } else if (both_lists && f && (f->flags & PATCH_MERGE) && f->merge_key.n &&
               all_have(modified, f->merge_key) && all_have(live, f->merge_key)) {
        struct value *d = merge_by_key(a, f, original, modified, live);
        if (d)
            value_set(a, patch, name, d);
    } else if (both_lists && f && (f->flags & PATCH_MERGE) && !f->merge_key.n) {
        merge_scalars(a, patch, name, original, modified, live);
    } else if (!live || !value_eq(modified, live)) {
        value_set(a, patch, name, modified);
    }
}

static struct value *difference(struct arena *a, const struct type *t, const struct value *original,
                                const struct value *modified, const struct value *live)
{
    struct value *patch = value_object(a);
    value_each_field (modified, m)
        compare_field(a, patch, t ? type_field(t, m->key) : NULL, m->key,
                      value_get(original, m->key), m->value, value_get(live, m->key));
    value_each_field (original, o)
        if (!value_get(modified, o->key) && value_get(live, o->key))
            value_set(a, patch, o->key, value_null(a));
    return patch->n ? patch : NULL;
}

struct value *patch_three_way(struct arena *a, const struct type *t, const struct value *original,
                              const struct value *modified, const struct value *live)
{
    return difference(a, t, original, modified, live);
}
