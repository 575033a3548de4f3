// Sprig's dictionaries. set, unset and merge change the map that they are given, as the original.
#include "template/sprig.h"

#define MERGE_DEPTH 200

#define ARENA(c) template_arena(c)
#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N (void)n

struct value *sprig_clone(struct arena *a, const struct value *v, int depth)
{
    struct value *out;
    if (!v || depth > MERGE_DEPTH)
        return value_null(a);
    switch (v->kind) {
    case VALUE_ARRAY:
        out = value_array(a);
        for (uint32_t i = 0; i < v->n; i++)
            value_push(a, out, sprig_clone(a, v->items[i], depth + 1));
        break;
    case VALUE_OBJECT:
        out = value_object(a);
        for (uint32_t i = 0; i < v->n; i++)
            value_push_member(a, out, v->members[i].key,
                              sprig_clone(a, v->members[i].value, depth + 1));
        break;
    default:
        return (struct value *)(uintptr_t)v; // scalars do not change
    }
    out->b = v->b;
    return out;
}

FN(fn_dict)
{
    struct value *out = value_object(ARENA(c));
    for (size_t i = 0; i < n; i += 2)
        value_set(ARENA(c), out, sprig_text(c, args[i]),
                  i + 1 < n ? args[i + 1] : value_strc(ARENA(c), ""));
    return out;
}
FN(fn_get)
{
    UNUSED_N;
    struct value *v = value_get(args[0], value_string(args[1]));
    return v ? v : value_strc(ARENA(c), "");
}
FN(fn_set)
{
    UNUSED_N;
    value_set(ARENA(c), args[0], value_string(args[1]), args[2]);
    return args[0];
}
FN(fn_unset)
{
    (void)c;
    UNUSED_N;
    value_del(args[0], value_string(args[1]));
    return args[0];
}
FN(fn_has_key)
{
    UNUSED_N;
    return value_bool(ARENA(c), value_get(args[0], value_string(args[1])) != NULL);
}
FN(fn_pluck)
{
    struct value *out = value_array(ARENA(c));
    for (size_t i = 1; i < n; i++) {
        struct value *v = value_get(args[i], value_string(args[0]));
        if (v)
            value_push(ARENA(c), out, v);
    }
    return out;
}
FN(fn_keys)
{
    struct value *out = value_array(ARENA(c));
    out->b = true;
    for (size_t i = 0; i < n; i++) {
        struct member **order = template_sorted(ARENA(c), args[i]);
        for (uint32_t k = 0; k < args[i]->n; k++)
            value_push(ARENA(c), out, value_str(ARENA(c), order[k]->key));
    }
    return out;
}
FN(fn_values)
{
    UNUSED_N;
    struct value *out = value_array(ARENA(c));
    struct member **order = template_sorted(ARENA(c), args[0]);
    for (uint32_t k = 0; k < args[0]->n; k++)
        value_push(ARENA(c), out, order[k]->value);
    return out;
}

// param: 1 pick, 0 omit
FN(fn_pick)
{
    struct value *out = value_object(ARENA(c));
    value_each_field (args[0], f) {
        bool named = false;
        for (size_t i = 1; i < n; i++)
            named |= str_eq(f->key, value_string(args[i]));
        if (named == (template_param(c) == 1))
            value_push_member(ARENA(c), out, f->key, f->value);
    }
    return out;
}

static void merge(struct arena *a, struct value *to, const struct value *from, bool overwrite,
                  int depth)
{
    if (depth > MERGE_DEPTH)
        return;
    value_each_field (from, f) {
        struct value *there = value_get(to, f->key);
        if (value_is(there, VALUE_OBJECT) && value_is(f->value, VALUE_OBJECT))
            merge(a, there, f->value, overwrite, depth + 1);
        else if (!there || sprig_empty(there) || overwrite)
            value_set(a, to, f->key, f->value);
    }
}
// param: 1 overwrite
FN(fn_merge)
{
    for (size_t i = 1; i < n; i++)
        merge(ARENA(c), args[0], sprig_clone(ARENA(c), args[i], 0), template_param(c), 0);
    return args[0];
}
FN(fn_deep_copy)
{
    UNUSED_N;
    return sprig_clone(ARENA(c), args[0], 0);
}

FN(fn_dig)
{
    if (n < 3)
        return template_fail(c, "dig needs at least three arguments");
    const struct value *v = args[n - 1];
    if (!value_is(v, VALUE_OBJECT))
        return template_fail(
            c, "interface conversion: interface {} is %s, not map[string]interface {}",
            v->kind == VALUE_NULL ? "nil" : template_type_name(v));
    for (size_t i = 0; i < n - 2; i++) {
        if (!value_is(v, VALUE_OBJECT))
            return template_fail(
                c, "interface conversion: interface {} is %s, not map[string]interface {}",
                v->kind == VALUE_NULL ? "nil" : template_type_name(v));
        v = value_get(v, sprig_text(c, args[i]));
        if (!v)
            return args[n - 2];
    }
    return (struct value *)(uintptr_t)v;
}

static const struct template_function rows[] = {
    {"deepCopy", "a", fn_deep_copy},
    {"dict", "a*", fn_dict},
    {"dig", "a*", fn_dig},
    {"get", "ms", fn_get},
    {"hasKey", "ms", fn_has_key},
    {"keys", "m*", fn_keys},
    {"merge", "mm*", fn_merge, 0},
    {"mergeOverwrite", "mm*", fn_merge, 1},
    {"mustDeepCopy", "a", fn_deep_copy},
    {"mustMerge", "mm*", fn_merge, 0},
    {"mustMergeOverwrite", "mm*", fn_merge, 1},
    {"omit", "ms*", fn_pick, 0},
    {"pick", "ms*", fn_pick, 1},
    {"pluck", "sm*", fn_pluck},
    {"set", "msa", fn_set},
    {"unset", "ms", fn_unset},
    {"values", "m", fn_values},
};
const struct template_functions sprig_dicts = {rows, sizeof rows / sizeof *rows};
