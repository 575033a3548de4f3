// The value tree: making, reading, changing, comparing.
//
// A value is 32 bytes whatever it holds; arrays hold pointers, objects hold key and pointer, in the
// order in which they came. Lookup is a linear scan that compares lengths first: objects of this
// API have five to thirty members, and for those a scan beats any hash. Where outsiders choose the
// size (a ConfigMap of a hundred thousand keys), code that would look up each key of one object in
// another uses struct key_index (key_index.h) instead, so that nothing is quadratic in what a
// client sends.
//
// Growing doubles the capacity in place where the block is the arena's newest.
#include "object/value.h"
#include "base/err.h"
#include "object/key_index.h"
#include <math.h>

struct value *value_null(struct arena *a)
{
    return arena_new(a, struct value);
}

struct value *value_bool(struct arena *a, bool b)
{
    struct value *v = arena_new(a, struct value);
    v->kind = VALUE_BOOL;
    v->b = b;
    return v;
}

struct value *value_int(struct arena *a, int64_t i)
{
    struct value *v = arena_new(a, struct value);
    v->kind = VALUE_INT;
    v->i = i;
    return v;
}

struct value *value_float(struct arena *a, double f)
{
    struct value *v = arena_new(a, struct value);
    v->kind = VALUE_FLOAT;
    v->f = f;
    return v;
}

struct value *value_str(struct arena *a, struct str s)
{
    struct value *v = arena_new(a, struct value);
    BUG_ON(s.n > UINT32_MAX);
    v->kind = VALUE_STRING;
    v->n = v->cap = (uint32_t)s.n;
    v->s = s.p;
    return v;
}

struct value *value_strc(struct arena *a, const char *cstr)
{
    return value_str(a, str_of(cstr));
}

struct value *value_array(struct arena *a)
{
    struct value *v = arena_new(a, struct value);
    v->kind = VALUE_ARRAY;
    return v;
}

struct value *value_object(struct arena *a)
{
    struct value *v = arena_new(a, struct value);
    v->kind = VALUE_OBJECT;
    return v;
}

struct value *value_clone(struct arena *a, const struct value *v)
{
    if (!v)
        return NULL;
    struct value *c = arena_alloc(a, sizeof *c);
    *c = *v;
    switch (v->kind) {
    case VALUE_STRING:
        c->s = arena_str(a, str_n(v->s, v->n)).p;
        break;
    case VALUE_FLOAT:
        if (v->text)
            c->text = arena_str(a, str_n(v->text, v->n)).p;
        break;
    case VALUE_ARRAY:
        c->cap = v->n;
        c->items = arena_alloc(a, sizeof *c->items * v->n);
        for (uint32_t i = 0; i < v->n; i++)
            c->items[i] = value_clone(a, v->items[i]);
        break;
    case VALUE_OBJECT:
        c->cap = v->n;
        c->members = arena_alloc(a, sizeof *c->members * v->n);
        for (uint32_t i = 0; i < v->n; i++)
            c->members[i] = (struct member){arena_str(a, v->members[i].key),
                                            value_clone(a, v->members[i].value)};
        break;
    }
    return c;
}

static struct member *find(const struct value *object, struct str key)
{
    if (!value_is(object, VALUE_OBJECT) || !object->n)
        return NULL;
    struct member *m = object->members, *end = m + object->n;
    for (; m < end; m++)
        if (m->key.n == key.n && (key.n == 0 || memcmp(m->key.p, key.p, key.n) == 0))
            return m;
    return NULL;
}

struct value *value_get(const struct value *object, struct str key)
{
    struct member *m = find(object, key);
    return m ? m->value : NULL;
}

struct value *value_getc(const struct value *object, const char *key)
{
    return value_get(object, str_n(key, strlen(key)));
}

struct value *value_at(const struct value *object, const char *path)
{
    const struct value *v = object;
    while (v) {
        const char *dot = strchrnul(path, '.');
        v = value_get(v, str_n(path, (size_t)(dot - path)));
        if (!*dot)
            break;
        path = dot + 1;
    }
    return (struct value *)v;
}

struct str value_string(const struct value *v)
{
    return value_is(v, VALUE_STRING) ? str_n(v->s, v->n) : STR_NULL;
}

struct str value_str_at(const struct value *object, const char *path)
{
    return value_string(value_at(object, path));
}

// 2^63 as a double; every double in [-LIMIT, LIMIT) converts to int64 without overflow.
#define INT64_LIMIT 9223372036854775808.0

int64_t value_int_or(const struct value *v, int64_t otherwise)
{
    if (value_is(v, VALUE_INT))
        return v->i;
    if (value_is(v, VALUE_FLOAT) && v->f == floor(v->f) && v->f >= -INT64_LIMIT &&
        v->f < INT64_LIMIT)
        return (int64_t)v->f;
    return otherwise;
}

int64_t value_int_at(const struct value *object, const char *path, int64_t otherwise)
{
    return value_int_or(value_at(object, path), otherwise);
}

bool value_bool_or(const struct value *v, bool otherwise)
{
    return value_is(v, VALUE_BOOL) ? v->b : otherwise;
}

bool value_bool_at(const struct value *object, const char *path, bool otherwise)
{
    return value_bool_or(value_at(object, path), otherwise);
}

// Room for one more of `size` bytes each.
static void *grown(struct arena *a, struct value *v, void *old, size_t size)
{
    if (v->n < v->cap)
        return old;
    BUG_ON(v->cap > UINT32_MAX / 2);
    uint32_t cap = v->cap ? v->cap * 2 : 4;
    void *p = old ? arena_grow(a, old, size * v->cap, size * cap) : arena_alloc(a, size * cap);
    v->cap = cap;
    return p;
}

void value_set(struct arena *a, struct value *object, struct str key, struct value *v)
{
    BUG_ON(!value_is(object, VALUE_OBJECT));
    struct member *m = find(object, key);
    if (m) {
        m->value = v;
        return;
    }
    value_push_member(a, object, key, v);
}

void value_reserve(struct arena *a, struct value *object, uint32_t n)
{
    BUG_ON(!value_is(object, VALUE_OBJECT));
    if (n <= object->cap)
        return;
    struct member *members = arena_alloc(a, n * sizeof *members);
    if (object->n)
        memcpy(members, object->members, object->n * sizeof *members);
    object->members = members;
    object->cap = n;
}

void value_push_member(struct arena *a, struct value *object, struct str key, struct value *v)
{
    BUG_ON(!value_is(object, VALUE_OBJECT));
    object->members = grown(a, object, object->members, sizeof *object->members);
    object->members[object->n++] = (struct member){key, v};
}

void value_setc(struct arena *a, struct value *object, const char *key, struct value *v)
{
    value_set(a, object, str_of(key), v);
}

void value_set_at(struct arena *a, struct value *object, const char *path, struct value *v)
{
    struct value *o = object;
    for (;;) {
        const char *dot = strchrnul(path, '.');
        struct str key = str_n(path, (size_t)(dot - path));
        if (!*dot) {
            value_set(a, o, key, v);
            return;
        }
        struct value *next = value_get(o, key);
        if (!value_is(next, VALUE_OBJECT)) {
            next = value_object(a);
            value_set(a, o, key, next);
        }
        o = next;
        path = dot + 1;
    }
}

bool value_del(struct value *object, struct str key)
{
    struct member *m = find(object, key);
    if (!m)
        return false;
    size_t after = (size_t)(object->members + object->n - m) - 1;
    memmove(m, m + 1, after * sizeof *m);
    object->n--;
    return true;
}

bool value_delc(struct value *object, const char *key)
{
    return value_del(object, str_of(key));
}

bool value_del_at(struct value *object, const char *path)
{
    struct value *o = object;
    for (;;) {
        const char *dot = strchrnul(path, '.');
        struct str key = str_n(path, (size_t)(dot - path));
        if (!*dot)
            return value_del(o, key);
        o = value_get(o, key);
        if (!o)
            return false;
        path = dot + 1;
    }
}

void value_push(struct arena *a, struct value *array, struct value *v)
{
    BUG_ON(!value_is(array, VALUE_ARRAY));
    array->items = grown(a, array, array->items, sizeof *array->items);
    array->items[array->n++] = v;
}

void value_insert(struct arena *a, struct value *array, size_t at, struct value *v)
{
    BUG_ON(!value_is(array, VALUE_ARRAY) || at > array->n);
    array->items = grown(a, array, array->items, sizeof *array->items);
    memmove(array->items + at + 1, array->items + at, (array->n - at) * sizeof *array->items);
    array->items[at] = v;
    array->n++;
}

void value_remove(struct value *array, size_t at)
{
    BUG_ON(!value_is(array, VALUE_ARRAY) || at >= array->n);
    memmove(array->items + at, array->items + at + 1, (array->n - at - 1) * sizeof *array->items);
    array->n--;
}

static bool objects_eq(const struct value *a, const struct value *b)
{
    if (a->n != b->n)
        return false;
    // Equal objects mostly have the same order: compare in place as far as that holds.
    uint32_t i = 0;
    while (i < a->n && str_eq(a->members[i].key, b->members[i].key)) {
        if (!value_eq(a->members[i].value, b->members[i].value))
            return false;
        i++;
    }
    if (i == a->n)
        return true;
    _cleanup_key_index_ struct key_index index = KEY_INDEX_INIT;
    key_index_object(&index, b);
    for (; i < a->n; i++) {
        ptrdiff_t at = key_index_find(&index, a->members[i].key);
        if (at < 0 || !value_eq(a->members[i].value, b->members[at].value))
            return false;
    }
    return true;
}

bool value_eq(const struct value *a, const struct value *b)
{
    if (a == b)
        return true;
    if (!a || !b)
        return false;
    if (a->kind != b->kind) {
        if (a->kind == VALUE_INT && b->kind == VALUE_FLOAT)
            return (double)a->i == b->f && value_int_or(b, a->i - 1) == a->i;
        if (a->kind == VALUE_FLOAT && b->kind == VALUE_INT)
            return value_eq(b, a);
        return false;
    }
    switch (a->kind) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return a->b == b->b;
    case VALUE_INT:
        return a->i == b->i;
    case VALUE_FLOAT:
        return a->f == b->f;
    case VALUE_STRING:
        return a->n == b->n && (a->n == 0 || memcmp(a->s, b->s, a->n) == 0);
    case VALUE_ARRAY:
        if (a->n != b->n)
            return false;
        for (uint32_t i = 0; i < a->n; i++)
            if (!value_eq(a->items[i], b->items[i]))
                return false;
        return true;
    default:
        return objects_eq(a, b);
    }
}

size_t value_depth(const struct value *v)
{
    size_t deepest = 0, n;
    if (!value_is(v, VALUE_ARRAY) && !value_is(v, VALUE_OBJECT))
        return 0;
    for (uint32_t i = 0; i < v->n; i++)
        if ((n = value_depth(v->kind == VALUE_ARRAY ? v->items[i] : v->members[i].value)) > deepest)
            deepest = n;
    return deepest + 1;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

uint64_t value_hash(const struct value *v)
{
    if (!v)
        return 0;
    uint64_t h = v->kind;
    switch (v->kind) {
    case VALUE_NULL:
        return mix(1, 0);
    case VALUE_BOOL:
        return mix(2, v->b);
    case VALUE_INT:
        return mix(3, (uint64_t)v->i);
    case VALUE_FLOAT: {
        int64_t i = value_int_or(v, INT64_MIN);
        if (i != INT64_MIN || v->f == -INT64_LIMIT)
            return mix(3, (uint64_t)i);
        uint64_t bits;
        memcpy(&bits, &v->f, sizeof bits);
        return mix(4, bits);
    }
    case VALUE_STRING:
        return mix(5, str_hash(str_n(v->s, v->n)));
    case VALUE_ARRAY:
        for (uint32_t i = 0; i < v->n; i++)
            h = mix(h, value_hash(v->items[i]));
        return mix(6, h);
    default:
        h = 0; // a sum: the order of members does not matter
        for (uint32_t i = 0; i < v->n; i++)
            h += mix(str_hash(v->members[i].key), value_hash(v->members[i].value));
        return mix(7, h);
    }
}

void value_put(struct arena *a, struct value *object, const char *key, struct str s)
{
    value_setc(a, object, key, value_str(a, s));
}

void value_put_int(struct arena *a, struct value *object, const char *key, int64_t i)
{
    value_setc(a, object, key, value_int(a, i));
}

void value_put_nonzero(struct arena *a, struct value *object, const char *key, int64_t i)
{
    if (i)
        value_put_int(a, object, key, i);
    else
        value_delc(object, key);
}

struct value *value_object_at(struct arena *a, struct value *object, const char *path)
{
    struct value *v = value_at(object, path);
    if (!value_is(v, VALUE_OBJECT)) {
        v = value_object(a);
        value_set_at(a, object, path, v);
    }
    return v;
}
