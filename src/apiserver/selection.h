// Which objects of a kind a list or watch is about: labels and fields, compiled once per request.
// Fields are those that the kind declares (schema.h: selectable) besides metadata.name and
// metadata.namespace.
#pragma once
#include "object/object.h"
#include "object/selector.h"
#include "schema/schema.h"

struct selection_field {
    struct str path, value;
    struct str absent; // what an unset field reads as: "", "false", "0"
    bool negate;
};
struct selection {
    struct selector *labels; // NULL: all
    struct selection_field *fields;
    size_t nfields;
    // metadata.name=… and metadata.namespace=…, taken out of `fields`: decided by the key alone.
    struct str name, ns;
    bool never; // contradictory: two different names
};

// ERR_BAD_REQUEST, in the originals' words, for what does not parse and for fields that may not be
// selected by.
int selection_parse(struct arena *a, const struct kind *k, struct str label_selector,
                    struct str field_selector, struct selection *ret, struct err *e);
// The one name that a field selector allows (metadata.name=x), or STR_NULL: a list or watch of it
// is authorised as a request for that object, as upstream. In `a`.
struct str selection_name(struct arena *a, struct str field_selector);
// Whether a field selector demands that `field` be `value`; false where it does not parse.
bool selection_requires(struct arena *a, struct str field_selector, struct str field,
                        struct str value);
static inline bool selection_empty(const struct selection *s)
{
    return !s->labels && !s->nfields && !s->name.n && !s->ns.n && !s->never;
}
// By the key alone: false is final, true means that selection_tree decides (if
// selection_needs_tree).
bool selection_key(const struct selection *s, const struct object *o);
static inline bool selection_needs_tree(const struct selection *s)
{
    return s->labels || s->nfields;
}
bool selection_tree(const struct selection *s, const struct value *object);
// The fields and the name in one small heap block (*ret_block, free it), for who keeps a selection
// for long and has no labels in it: an arena's first chunk would cost more than everything else of
// an idle watch.
struct selection selection_pack(const struct selection *s, void **ret_block);
