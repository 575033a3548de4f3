// Kinds as data: what the API serves and what each kind is. Made from api/*.kinds (static tables)
// and, for custom resources, at run time. This header is lookup; rules.h is defaulting and
// validation, columns.h tables for people, discovery.h and openapi.h the published descriptions.
//
// Everything returned here is immutable and lives as long as the process (built-ins). Kinds of
// custom
// resources are not among it: whoever serves or calls them has a definition of his own (custom.h).
#pragma once
#include "base/err.h"
#include "object/type.h"
#include "object/value.h"

enum verb_bit {
    VERB_GET = 1,
    VERB_LIST = 2,
    VERB_WATCH = 4,
    VERB_CREATE = 8,
    VERB_UPDATE = 16,
    VERB_PATCH = 32,
    VERB_DELETE = 64,
    VERB_DELETECOLLECTION = 128,
    VERB_CONNECT = 256,
    VERB_RW = 255,
};

struct subresource {
    struct str name; // "status", "scale", "log", "exec", "binding", "eviction", "token" …
    unsigned verbs;
    // Of the body where it differs ("autoscaling", "v1", "Scale"); kind STR_NULL: same.
    struct str group, version, kind;
    const struct type *type; // of the body; NULL: none (log) or same as the kind
    // scale only: JSON paths as in a CRD ("spec.replicas", "status.replicas", "spec.selector")
    const char *scale_spec, *scale_status, *scale_selector;
};

enum kind_flags {
    KIND_NAMESPACED = 1,
    KIND_STATUS = 2,     // has /status: main writes ignore status, status writes ignore spec
    KIND_GENERATION = 4, // metadata.generation is counted (spec changes)
    KIND_VIRTUAL = 8,    // not stored: reviews, bindings, componentstatuses
    KIND_UNCONDITIONAL_UPDATE = 16, // PUT without resourceVersion is allowed
    KIND_CREATE_ON_UPDATE = 32,     // PUT of a missing object creates it
    KIND_CUSTOM = 64,               // from a CRD
    KIND_GRACEFUL = 128,            // deletion takes a grace period (pods)
};

// A field that fieldSelector accepts besides metadata.name and metadata.namespace.
struct selectable_field {
    struct str name;  // "spec.nodeName" as clients write it
    const char *path; // where the value is; usually the same
};

// One served resource in one version.
struct kind {
    struct str group, version;                  // "" is core
    struct str api_version;                     // both, as in manifests: "v1", "apps/v1"
    struct str kind, list_kind;                 // "Deployment", "DeploymentList"
    struct str resource, singular;              // "deployments", "deployment"
    struct str storage_prefix;                  // "/registry/deployments/" (Kubernetes' key layout)
    const struct str *short_names, *categories; // end with STR_NULL; may be NULL
    unsigned verbs;
    unsigned flags;
    const struct type *type; // of the whole object, metadata included
    const struct subresource *subresources;
    size_t nsubresources;
    const struct selectable_field *selectable;
    size_t nselectable;
    const struct column *columns; // columns.h; Name and Age are among them
    size_t ncolumns;
    // The kind under which it is stored (events.k8s.io -> core); itself otherwise.
    const struct kind *storage;
    uint8_t name_format;                 // enum rule_format (rules.h) that metadata.name must have
    uint16_t index;                      // dense number of built-in kinds, 0 … kind_count()-1
    const struct custom_version *custom; // KIND_CUSTOM: custom.h; else NULL
};

size_t kind_count(void);
const struct kind *kind_at(size_t index);
const struct kind *kind_by_resource(struct str group, struct str version, struct str resource);
const struct kind *kind_by_kind(struct str group, struct str version, struct str kind);
// apiVersion as in manifests: "v1", "apps/v1".
const struct kind *kind_by_api_version(struct str api_version, struct str kind);
// What people type on the command line: resource, singular, short name, or "resource.group"; the
// first in preference order; NULL: unknown.
const struct kind *kind_by_word(struct str word);
// "v1", "apps/v1"
struct str kind_api_version(const struct kind *k);
const struct subresource *kind_subresource(const struct kind *k, struct str name);
// Any named type ("core.v1.PodSpec"), also those that are no resource (DeleteOptions, Status,
// Scale…).
const struct type *type_by_name(struct str name);
// Types that appear under any group version in envelopes: Status, DeleteOptions, ListOptions, …
const struct type *type_by_kind(struct str api_version, struct str kind);

// "deployments.apps", "pods": as error messages name a resource. In `a`.
struct str kind_qualified_resource(struct arena *a, const struct kind *k);
