// What checks and defaults ask of a member: JSON's null stands for absent, as in Kubernetes.
#pragma once
#include "object/value.h"

static inline bool has(const struct value *object, const char *key)
{
    const struct value *v = value_getc(object, key);
    return v && v->kind != VALUE_NULL;
}

// Equal, or both absent.
static inline bool same(const struct value *a, const struct value *b)
{
    bool none_a = !a || a->kind == VALUE_NULL, none_b = !b || b->kind == VALUE_NULL;
    return none_a || none_b ? none_a == none_b : value_eq(a, b);
}

static inline void set_absent(struct arena *a, struct value *object, const char *key,
                              struct value *v)
{
    if (!has(object, key))
        value_setc(a, object, key, v);
}
