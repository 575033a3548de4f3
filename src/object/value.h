// The value tree: JSON's data model, which YAML and Kubernetes protobuf are read into as well.
// Trees live in an arena and are freed with it. While a request works on its tree it may change it;
// what is published is never a tree but an immutable object (object.h) made from one.
//
// Key order of objects is kept. Numbers: an integer that fits int64 is VALUE_INT; any other number
// that a double holds is VALUE_FLOAT (its source text is kept in `text`, so that it is written back
// as it came); nothing else is a number. Strings are valid UTF-8, unescaped, not NUL-terminated.
#pragma once
#include "base/arena.h"

// So many values one request body may hold, whatever it is written in: two bytes of JSON or
// protobuf are a value of 32 bytes and more, and a default or a fault for each of them.
#define VALUES_MAX 400000

enum value_kind {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_OBJECT,
};

struct value {
    uint8_t kind;
    bool b;          // VALUE_BOOL
    uint32_t n, cap; // members, items, or bytes of the string / number text
    union {
        int64_t i;
        struct {
            double f;
            const char *text; // n bytes, or NULL: format f
        };
        const char *s;
        struct value **items;
        struct member *members;
    };
};

struct member {
    struct str key;
    struct value *value;
};

// Making. All allocate in `a`; strings are NOT copied (copy them first where they live shorter).
struct value *value_null(struct arena *a);
struct value *value_bool(struct arena *a, bool b);
struct value *value_int(struct arena *a, int64_t i);
struct value *value_float(struct arena *a, double f);
struct value *value_str(struct arena *a, struct str s);
struct value *value_strc(struct arena *a, const char *cstr);
struct value *value_array(struct arena *a);
struct value *value_object(struct arena *a);
struct value *value_clone(struct arena *a, const struct value *v); // deep, strings included

// Reading. All accept v == NULL (absent) and a wrong kind: NULL, empty, or the default comes back.
static inline bool value_is(const struct value *v, enum value_kind kind)
{
    return v && v->kind == kind;
}
struct value *value_get(const struct value *object, struct str key);
struct value *value_getc(const struct value *object, const char *key);
// Walks keys separated by dots: value_at(pod, "spec.nodeName"). Keys with dots need value_get.
struct value *value_at(const struct value *object, const char *path);
struct str value_string(const struct value *v); // STR_NULL unless a string
struct str value_str_at(const struct value *object, const char *path);
int64_t value_int_or(const struct value *v, int64_t otherwise); // VALUE_INT, or an integral FLOAT
int64_t value_int_at(const struct value *object, const char *path, int64_t otherwise);
bool value_bool_or(const struct value *v, bool otherwise);
bool value_bool_at(const struct value *object, const char *path, bool otherwise);
static inline size_t value_len(const struct value *v) // items or members
{
    return v && (v->kind == VALUE_ARRAY || v->kind == VALUE_OBJECT) ? v->n : 0;
}
static inline struct value *value_item(const struct value *array, size_t i)
{
    return value_is(array, VALUE_ARRAY) && i < array->n ? array->items[i] : NULL;
}
#define value_each_item(array, it)                                                                 \
    for (size_t it##_i = 0; it##_i < ((array) && (array)->kind == VALUE_ARRAY ? (array)->n : 0);   \
         it##_i++)                                                                                 \
        for (struct value *it = (array)->items[it##_i], *it##_once = it; it##_once;                \
             it##_once = NULL)
#define value_each_field(object, it)                                                               \
    for (struct member *it = value_is((object), VALUE_OBJECT) ? (object)->members : NULL,          \
                       *it##_end = it ? it + (object)->n : NULL;                                   \
         it < it##_end; it++)

// Changing a tree that this arena owns.
void value_set(struct arena *a, struct value *object, struct str key,
               struct value *v); // adds or replaces
void value_setc(struct arena *a, struct value *object, const char *key, struct value *v);
// Makes the objects on the way: value_set_at(a, pod, "status.phase", v).
void value_set_at(struct arena *a, struct value *object, const char *path, struct value *v);
// The usual cases, tersely.
void value_put(struct arena *a, struct value *object, const char *key, struct str s);
void value_put_int(struct arena *a, struct value *object, const char *key, int64_t i);
// Go's omitempty: 0 takes the field out.
void value_put_nonzero(struct arena *a, struct value *object, const char *key, int64_t i);
struct value *value_object_at(struct arena *a, struct value *object, const char *path); // made
                                                                                        // if absent
bool value_del(struct value *object, struct str key); // keeps the order of the others
bool value_delc(struct value *object, const char *key);
bool value_del_at(struct value *object, const char *path);
// Room for n members, where it is known that they will come.
void value_reserve(struct arena *a, struct value *object, uint32_t n);
// Adds without looking whether the key is there: the caller knows that it is not.
void value_push_member(struct arena *a, struct value *object, struct str key, struct value *v);
void value_push(struct arena *a, struct value *array, struct value *v);
void value_insert(struct arena *a, struct value *array, size_t at, struct value *v);
void value_remove(struct value *array, size_t at);

// Deep equality: member order does not matter, 1 and 1.0 are equal, absent and null are different.
bool value_eq(const struct value *a, const struct value *b);
// Containers within containers: 0 for a scalar, 1 for [] and {}.
size_t value_depth(const struct value *v);
uint64_t value_hash(const struct value *v); // consistent with value_eq
