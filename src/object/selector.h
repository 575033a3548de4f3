// Label selectors (text form of the query parameter and LabelSelector objects) and field selectors.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

struct selector; // immutable once made, lives in the arena it was made in

// "a=b,c!=d,e in (f,g),!h,i". Empty matches everything. ERR_BAD_REQUEST with the originals' text.
int selector_parse(struct arena *a, struct str text, struct selector **ret, struct err *e);
// A metav1.LabelSelector tree. NULL selects nothing, {} everything. Strings are copied.
int selector_from_value(struct arena *a, const struct value *label_selector, struct selector **ret,
                        struct err *e);
bool selector_matches(const struct selector *s, const struct value *labels); // labels may be NULL
bool selector_empty(const struct selector *s);
void selector_write(struct buf *b, const struct selector *s); // canonical text

struct field_requirement {
    struct str path, value;
    bool negate;
};
// "metadata.name=x,status.phase!=Running"; \ escapes , = and \ in values.
int field_selector_parse(struct arena *a, struct str text, struct field_requirement **ret,
                         size_t *ret_n, struct err *e);
