// What is right and what is filled in: defaults, validation, strict decoding, as the API server
// does them to every object on its way in. What is data stands in api/*.kinds (this header's
// field_rules are made from it); what is logic is a C function that the type names there
// (`default:` and `check:`).
//
// The order of a write: schema_check_fields (unknown fields, wrong types, canonical forms), then
// schema_default, then admission, schema_default again, then schema_validate.
#pragma once
#include "base/err.h"
#include "schema/schema.h"

enum rule_format {
    FORMAT_NONE,
    FORMAT_DNS1123_LABEL,     // RFC 1123 label
    FORMAT_DNS1123_SUBDOMAIN, // lower-case host name
    FORMAT_DNS1035_LABEL,     // as before, begins with a letter (services)
    FORMAT_QUALIFIED_NAME,    // prefix/name: label keys, resources, conditions
    FORMAT_LABEL_VALUE,
    FORMAT_PORT,      // 1 to 65535
    FORMAT_PORT_NAME, // IANA service name
    FORMAT_PORT_OR_NAME,
    FORMAT_IP,
    FORMAT_CIDR,
    FORMAT_PATH_SEGMENT, // no "/", no "%", not "." or ".."
    FORMAT_ABSOLUTE_PATH,
    FORMAT_RELATIVE_PATH, // does not begin with "/", no ".." part
    FORMAT_CONFIG_KEY,    // keys of ConfigMap and Secret data
    FORMAT_ENV_NAME,
    FORMAT_LABELS,      // a map: keys qualified names, values label values
    FORMAT_ANNOTATIONS, // a map: keys qualified names, 256 KiB in all
    FORMAT_RESOURCES,   // a map: resource names to quantities that are not negative
    FORMAT_SELECTOR,    // a LabelSelector
    FORMAT_NONNEGATIVE, // an amount (quantity) that is not negative
    FORMAT_PERCENT,     // int-or-string: not negative, or "N%"
    FORMAT_POSITIVE,    // a number above zero
    FORMAT_FILE_MODE,   // 0 to 0777
    FORMAT_PORT_OR_ZERO,
    FORMAT_HTTP_HEADER, // its name
    FORMAT_LOCAL_PATH,  // as RELATIVE_PATH, and no name at its beginning that begins with ".."
    FORMAT_SYSCTL,
    FORMAT_PARTITION, // of a disk; 0: the whole
    FORMAT_CSI_DRIVER,
    FORMAT_DOMAIN_PATH,   // acme.io/foo
    FORMAT_ABOVE_ZERO,    // as POSITIVE, in other words
    FORMAT_SEARCH_DOMAIN, // a host name, with _ as well
    FORMAT_INTEGER,       // an amount (quantity) without a fraction
    FORMAT_COUNT
};

// One validation run: collects faults, knows the path it is at (faults.h has the functions).
struct check;
// Fills in what is absent in one object of the type. May be called twice on the same object.
typedef void default_function(struct arena *a, struct value *object);
// Judges one object of the type; `old` is the object at the same path before an update, or NULL.
typedef void check_function(struct check *c, const struct value *object, const struct value *old);

enum rule_flags {
    RULE_MIN = 1,
    RULE_MAX = 2,
    RULE_OPEN = 4,         // values are documented, others are accepted
    RULE_UNIQUE = 8,       // of a list: no two items with the same `unique`
    RULE_ONEOF = 16,       // exactly one of such fields of the type may be there
    RULE_ONEOF_FIRST = 32, // the same, and this one is looked at first
};

// Of a field or (functions only) of a type. Everything is optional.
struct field_rules {
    const struct str *values;   // enum, ends with STR_NULL
    const struct value *preset; // default when absent (zero counts as absent unless FIELD_POINTER)
    int64_t min, max;           // integers
    uint32_t max_length;        // strings: bytes; 0: any
    uint32_t max_items;         // lists and maps; 0: any
    uint8_t format;             // enum rule_format: of the value, or of each item
    uint8_t flags;              // enum rule_flags
    const char *unique;         // RULE_UNIQUE: the member; NULL: the items themselves
    const char *oneof;          // of a type whose fields have RULE_ONEOF: "volume type"
    default_function *defaults;
    check_function *check;
};

// Strict decoding, in place. Paths of unknown fields ("spec.foo", "spec.containers[0].bar") are
// added to `unknown` (VALUE_ARRAY, or NULL: don't collect) and the fields are removed, as Go's
// decoder loses them. Values get their canonical form: quantities ("1000m" -> "1"), times (UTC),
// int-or-strings; nulls are dropped. Field names are case-sensitive, as in the originals.
// Error: ERR_BAD_REQUEST in Go's words (`json: cannot unmarshal string into Go struct field
// DeploymentSpec.spec.replicas of type int32`); the API server puts `Deployment in version "v1"
// cannot be handled as a Deployment: ` before it (err_wrap).
int schema_check_fields(struct arena *a, const struct type *type, struct value *object,
                        struct value *unknown, struct err *e);

// Fills in the defaults of the kind's version, in place, at any depth. ERR_TOO_LARGE where they
// would add more than 64 MB, which only an object made to do so can.
int schema_default(struct arena *a, const struct kind *kind, struct value *object, struct err *e);

// All faults of `object` (old: NULL on create). 0, or ERR_INVALID with causes and details set and
// the message `Deployment.apps "x" is invalid: spec.replicas: Invalid value: -1: must be …`, or
// with brackets `[a: …, b: …]` when there are several. Metadata must be complete: name (after name
// generation), namespace where the kind has one, and on update the resourceVersion.
int schema_validate(struct arena *a, const struct kind *kind, struct value *object,
                    const struct value *old, struct err *e);
// The same for a write to a subresource that changes less: "status" checks metadata and status
// only; "resize", "ephemeralcontainers" and "binding" allow in a pod what a plain update forbids.
int schema_validate_subresource(struct arena *a, const struct kind *kind, struct str subresource,
                                struct value *object, const struct value *old, struct err *e);
// The body of a subresource that is no kind of its own (Scale, Eviction, TokenRequest): its rules,
// not its metadata. Message and details name the body: `Scale.autoscaling "x" is invalid: …`.
int schema_validate_body(struct arena *a, const struct subresource *subresource,
                         struct value *object, struct err *e);
// One string against a format; messages (without path and value) are appended to `messages`
// (VALUE_ARRAY). True: right.
bool schema_format_ok(struct arena *a, enum rule_format format, struct str s,
                      struct value *messages);
