// Custom resources: a CustomResourceDefinition compiled into the same descriptors that api/*.kinds
// become at build time (decision 11). A version of a definition is a `struct kind` with
// KIND_CUSTOM;
// its `type` says the shape of the objects (fields, lists, maps, their keys, presets), so that
// decoding, pruning, defaulting, merging by list keys, field selectors and tables work on it as on
// a built-in kind. What only JSON schema can say (patterns, limits, anyOf …) is beside it, in
// json_schema.h, and is asked by schema_validate.
//
// How a structural schema becomes types (type.h):
//
//     type: object, properties         FIELD_MESSAGE; preserve_unknown as the schema says
//     type: object, a schema for       SHAPE_MAP of what the schema says
//       additionalProperties
//     additionalProperties: true, or   FIELD_ANY: everything below is kept
//       nothing but preserve-unknown
//     type: array                      SHAPE_LIST with LIST_ATOMIC (also where nothing is said),
//                                      LIST_SET, or LIST_MAP and list_keys
//     a list or map in a list or map   items of FIELD_UNION, whose one field is the inner one
//     x-kubernetes-int-or-string       FIELD_INT_OR_STRING
//     x-kubernetes-map-type: atomic    MAP_ATOMIC
//     x-kubernetes-embedded-resource   apiVersion, kind and metadata (meta.v1.ObjectMeta) belong to
//                                      the message, declared or not
//     default                          rules->preset
//
// Every such field is FIELD_LOOSE: that a value is not of its type is for validation to say.
//
// A definition is immutable and shared by references; a changed definition is another one. Kinds,
// types and rules live as long as it does: who keeps a kind of a custom resource for longer than
// somebody else's reference keeps a reference of his own (kind_ref). Names are there at once; types
// and rules are made when a version is first used, so that five hundred definitions cost their
// names.
#pragma once
#include "object/object.h"
#include "schema/schema.h"

struct custom;
struct json_schema;

// Of a kind with KIND_CUSTOM, beside what every kind has.
struct custom_version {
    struct custom *owner;
    bool served, stored;
    bool preserve_all;  // spec.preserveUnknownFields: nothing is pruned
    struct str warning; // said to each caller: the version is deprecated; STR_NULL: it is not
    // From here on only after custom_compile:
    const struct json_schema *rules; // NULL: the version has no schema
    bool has_expressions;            // x-kubernetes-validations somewhere: not evaluated
};

// The definition that a CustomResourceDefinition object is. Holds a reference to the object.
// storage:
// the kind under which objects are stored (the server's cache has one for each resource), which
// must outlive the definition; NULL for a caller who has no store. Any valid definition compiles;
// ERR_INVALID otherwise.
int custom_new(struct object *definition, const struct kind *storage, struct custom **ret,
               struct err *e);
struct custom *custom_ref(struct custom *c);
void custom_unref(struct custom *c);
static inline void custom_unrefp(struct custom **c)
{
    custom_unref(*c);
}
#define _cleanup_custom_ __attribute__((cleanup(custom_unrefp)))

// The names, as the definition asks for them and as they were accepted (which are those served).
struct str custom_group(const struct custom *c);
struct str custom_plural(const struct custom *c);
uint64_t custom_revision(const struct custom *c);         // of the definition
bool custom_established(const struct custom *c);          // its condition
bool custom_terminating(const struct custom *c);          // being deleted: no new objects
struct object *custom_definition(const struct custom *c); // borrowed

// Its versions in Kubernetes' order of preference (v2, v1, v1beta1, …), also those that are not
// served. Borrowed. Before custom_compile a kind has no type.
size_t custom_count(const struct custom *c);
const struct kind *custom_at(const struct custom *c, size_t i);
// Makes type and rules of a version, once. Any thread. Returns the kind.
const struct kind *custom_compile(const struct kind *k);
// The structural schema of the version as a tree in `a`; NULL where it has none.
struct value *custom_schema_tree(struct arena *a, const struct kind *k);

// References for whoever keeps a kind; built-in kinds have none.
static inline const struct kind *kind_ref(const struct kind *k)
{
    if (k && k->custom)
        custom_ref(k->custom->owner);
    return k;
}
static inline void kind_unref(const struct kind *k)
{
    if (k && k->custom)
        custom_unref(k->custom->owner);
}

// The order of versions: v2 before v1 before v1beta2 before v1alpha1 before foo. As str_cmp.
int custom_version_order(struct str a, struct str b);

// Brings a stored tree into the version: apiVersion, then what decoding and defaulting do to a
// written one (pruning, defaults), as the original does on every read.
void custom_from_storage(struct arena *a, const struct kind *k, struct value *object);
