// A request on a kind, as data: what a client means and what the API server carries out, the same
// struct on both sides, so that the in-process client needs no translation and the remote one has a
// single place that turns it into HTTP. Strings are borrowed; they live as long as the request.
#pragma once
#include "base/trace.h"
#include "object/object.h"
#include "schema/schema.h"

// Who asks. Groups and extra are borrowed.
struct identity {
    struct str user, uid;
    const struct str *groups;
    size_t ngroups;
    const struct value *extra; // {"key":["value", …]} or NULL
};

enum patch_type {
    PATCH_TYPE_NONE,
    PATCH_TYPE_JSON,      // application/json-patch+json
    PATCH_TYPE_MERGE,     // application/merge-patch+json
    PATCH_TYPE_STRATEGIC, // application/strategic-merge-patch+json
    PATCH_TYPE_APPLY,     // application/apply-patch+yaml
};
enum field_validation { VALIDATION_DEFAULT, VALIDATION_IGNORE, VALIDATION_WARN, VALIDATION_STRICT };
enum propagation {
    PROPAGATION_DEFAULT,
    PROPAGATION_BACKGROUND,
    PROPAGATION_FOREGROUND,
    PROPAGATION_ORPHAN
};

struct api_request {
    enum verb_bit verb;
    const struct kind *kind;
    struct str subresource; // or STR_NULL
    struct str ns, name;    // ns STR_NULL: cluster-scoped, or all namespaces for list and watch

    // list, watch, deletecollection
    struct str label_selector, field_selector; // text form
    int64_t limit;
    struct str continue_token;
    struct str resource_version, resource_version_match; // as sent; STR_NULL: unset
    bool allow_bookmarks, send_initial_events;
    int64_t timeout_seconds; // 0: unset

    // create, update, patch (the body is JSON's model whatever it was sent as)
    const struct value *body;
    const struct value
        *duplicate_fields; // paths that the body's text had twice (VALUE_ARRAY), or NULL
    enum patch_type patch_type;
    struct str field_manager;
    enum field_validation field_validation;
    bool force; // apply only
    bool dry_run;

    // delete
    enum propagation propagation;
    int64_t grace_period_seconds; // -1: unset
    struct str precondition_uid, precondition_resource_version;

    struct trace_context trace;
};

// What came back. Owned by the receiver: api_answer_done.
struct api_answer {
    struct object
        *object;         // get, create, update, patch; delete: what is being deleted, if it lingers
    bool created;        // 201
    struct value *value; // instead of object for virtual kinds (reviews, token, scale), in `arena`
    struct object **items; // list, in key order
    size_t nitems;
    uint64_t revision;         // of the list, or of the write
    struct str continue_token; // in `arena`; STR_NULL: the last page
    int64_t remaining;         // remainingItemCount; -1: unknown
    struct str *warnings;      // for Warning headers, in `arena`
    size_t nwarnings;
    struct arena arena;
};
void api_answer_done(struct api_answer *r);
#define _cleanup_answer_ __attribute__((cleanup(api_answer_done)))

enum watch_type { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK };
struct watch_event {
    enum watch_type type;
    bool initial_end;      // BOOKMARK that ends the initial events
    struct object *object; // borrowed; BOOKMARK: NULL
    uint64_t revision;
};
const char *watch_type_name(enum watch_type t); // "ADDED"
