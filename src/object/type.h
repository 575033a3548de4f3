// Types as data: the tables that the generic engine is driven by. They are made from api/*.kinds by
// tools/kindsc at build time (static const, no start-up cost) and, for custom resources, at run
// time from a CRD's schema. The object room reads them for protobuf, strict decoding, and strategic
// merge; schema/ adds defaulting, validation, OpenAPI, columns; see schema/schema.h for lookup.
#pragma once
#include "base/str.h"

struct type;

enum field_kind {
    FIELD_STRING,
    FIELD_BYTES, // base64 string in JSON, bytes in protobuf
    FIELD_BOOL,
    FIELD_INT32,
    FIELD_INT64,
    FIELD_DOUBLE,
    FIELD_QUANTITY, // resource.Quantity: string in JSON (numbers are accepted and made canonical)
    FIELD_INT_OR_STRING, // intstr.IntOrString
    FIELD_TIME,          // metav1.Time, RFC 3339 with seconds
    FIELD_MICRO_TIME,    // metav1.MicroTime, six decimals always
    FIELD_DURATION,      // metav1.Duration
    FIELD_ANY,     // any JSON: runtime.RawExtension, apiextensions JSON, FieldsV1 (raw bytes in
                   // protobuf field 1 of a message)
    FIELD_MESSAGE, // `type` says which
    FIELD_UNION,   // of several JSON types: each field of `type` describes one (type_alternative).
                   // In protobuf a message with those fields. Built in: a schema, or a list of
                   // them. Custom: what is in a list of lists, a map of lists, …
};
enum field_shape { SHAPE_ONE, SHAPE_LIST, SHAPE_MAP }; // SHAPE_MAP: string keys

enum field_flags {
    FIELD_REQUIRED = 1 << 0,  // required in OpenAPI; written by the originals even when zero
    FIELD_NONEMPTY = 1 << 1,  // validation: "Required value" when absent or empty
    FIELD_IMMUTABLE = 1 << 2, // validation: "field is immutable" on update
    FIELD_POINTER = 1 << 3,   // a Go pointer: zero and absent differ; protobuf omits only absent
    FIELD_NULLABLE = 1 << 4,
    PATCH_MERGE = 1 << 5,       // x-kubernetes-patch-strategy: merge
    PATCH_RETAIN_KEYS = 1 << 6, // retainKeys
    LIST_ATOMIC = 1 << 7,       // x-kubernetes-list-type
    LIST_SET = 1 << 8,
    LIST_MAP = 1 << 9,
    MAP_ATOMIC = 1 << 10, // x-kubernetes-map-type: atomic
    FIELD_LIST_OF_LIST =
        1 << 11, // strings in a named Go list type, which is a message of its own in
                 // protobuf: the values of a map (ExtraValue), or the list (Verbs)
    // Run-time (custom resource) types only: a value of another JSON type than declared is left as
    // it is, for validation to find.
    FIELD_LOOSE = 1 << 12,
    FIELD_INNER_NULLABLE =
        1 << 13, // and the items of the list or the values of the map may be null
};

struct field {
    struct str name; // in JSON
    uint8_t kind;    // enum field_kind: of the value, the item, or the map's value
    uint8_t shape;   // enum field_shape
    uint8_t pb[3];   // protobuf numbers from outside in: {2, 5} = field 5 of the message in
                     // field 2 (an inlined Go struct); {0}: not in protobuf
    uint32_t flags;
    const struct type
        *type; // FIELD_MESSAGE, FIELD_UNION; FIELD_ANY: its name ("runtime.RawExtension"); or NULL
    struct str merge_key;            // x-kubernetes-patch-merge-key
    const struct str *list_keys;     // x-kubernetes-list-map-keys, ends with STR_NULL; or NULL
    const struct field_rules *rules; // defaults and validation (schema/rules.h); or NULL
    const char *doc;                 // description for OpenAPI and explain; or NULL
};

struct type {
    struct str name;            // "core.v1.PodSpec"; OpenAPI's name is derived from it
    const struct field *fields; // ascending by protobuf path, so that an encoder just walks them;
                                // those without numbers (apiVersion, kind) anywhere between
    uint32_t nfields;
    const uint16_t *by_name;         // indexes into fields, sorted by name
    const struct field_rules *rules; // type-wide rules; or NULL
    const char *doc;
    // Run-time (custom resource) types only: keep fields that are not declared.
    bool preserve_unknown;
};

// By JSON name, or NULL. O(log n).
const struct field *type_field(const struct type *t, struct str name);
// Of a FIELD_UNION's type: the field that describes a value of this kind (enum value_kind), or
// NULL.
const struct field *type_alternative(const struct type *t, uint8_t value_kind);
