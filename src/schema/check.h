// A validation run, for the check functions of this room. A check function looks at one object and
// reports faults at fields of it; the run knows where the object is:
//
//     void check_pod_spec(struct check *c, const struct value *spec, const struct value *old)
//     {
//         if (value_int_at(spec, "replicas", 0) < 0)
//             check_invalid(c, "replicas", value_getc(spec, "replicas"), MUST_NOT_BE_NEGATIVE);
//     }
//
// Field arguments are relative paths ("hostPort", "securityContext.runAsUser"), or NULL for the
// object itself. Texts are the originals': clients and tests match them.
#pragma once
#include "base/buf.h"
#include "schema/rules.h"

struct check {
    struct arena *arena;
    const struct kind *kind;
    const struct value *root, *old_root; // the whole objects; old_root NULL: create
    struct str subresource;
    struct err *e;        // causes are added here
    size_t faults, bytes; // faults found; bytes of those that were worded
    struct buf path;      // of the object at hand
};

#define MUST_NOT_BE_NEGATIVE "must be greater than or equal to 0"
#define FIELD_IS_IMMUTABLE   "field is immutable"

// Going down; the return value is what check_pop takes to come back.
size_t check_push(struct check *c, const char *field);
size_t check_push_str(struct check *c, struct str field);
size_t check_push_index(struct check *c, const char *field, size_t index); // field[index]
size_t check_push_key(struct check *c, const char *field, struct str key); // field[key]
void check_pop(struct check *c, size_t mark);

void check_required(struct check *c, const char *field, const char *detail); // detail NULL: none
// bad may be NULL or anything; strings are quoted, objects shown as JSON.
void check_invalid(struct check *c, const char *field, const struct value *bad, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
// Invalid value with a sentence where the value would stand, as the originals have it now and then.
void check_bad(struct check *c, const char *field, const char *sentence);
void check_not_supported(struct check *c, const char *field, const struct value *bad,
                         const struct str *values);
void check_duplicate(struct check *c, const char *field, const struct value *bad);
void check_duplicate_because(struct check *c, const char *field, const struct value *bad,
                             const char *detail);
void check_not_found(struct check *c, const char *field, const struct value *bad,
                     const char *detail); // detail NULL: none
void check_forbidden(struct check *c, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void check_too_long(struct check *c, const char *field, size_t maximum);
void check_too_many(struct check *c, const char *field, size_t n, size_t maximum);

// So many faults that more are only counted.
bool check_full(const struct check *c);

// Duplicate value at [i].key for each item whose member `key` (NULL: the item itself) an earlier
// item has; what is absent or "" is passed over. Linear. The path is at the list.
void check_unique(struct check *c, const struct value *list, const char *key);
// The text that stands for a value in a set (key_index.h): a string itself, else its JSON.
struct str check_key_of(struct check *c, const struct value *v);

// Faults for a string that is not of the format.
void check_format(struct check *c, const char *field, const struct value *v, enum rule_format f);
// `object`.field differs from `old`.field: Invalid value … field is immutable.
void check_immutable(struct check *c, const struct value *object, const struct value *old,
                     const char *field);
// A range of addresses ("10.0.0.0/8"), for rules that compare two of them.
struct check_range {
    uint8_t address[16];
    int bits, of; // of 32 or 128
};
bool check_range_parse(struct str cidr, struct check_range *ret);
bool check_range_holds(const struct check_range *outer, const struct check_range *inner);

// An address that can be reached from elsewhere: none of the loopback, link-local and unspecified
// ones; `not_one` is said of what is no address.
void check_reachable(struct check *c, const char *field, const struct value *v,
                     const char *not_one);

// A label selector that may not be empty or does not match the labels is the caller's business.
void check_selector(struct check *c, const char *field, const struct value *selector);
// Walks a value of the type as the engine does.
void check_walk(struct check *c, const struct type *type, const struct value *object,
                const struct value *old);

// A finalizer without a domain is one of Kubernetes' own; the rest of its form is a format.
void check_finalizer_name(struct check *c, const char *field, const struct value *name);
// metadata of the object itself; on update also what may not change.
void check_metadata(struct check *c);
