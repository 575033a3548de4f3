// The inside of the API server: what its files know of each other. The way of a request is told in
// call.c; here are the server, the operation that a call becomes, and the helpers of its steps.
#pragma once
#include "apiserver/apiserver.h"
#include "apiserver/auth.h"
#include "apiserver/cache.h"
#include "base/metric.h"

struct ranges; // ranges.h: Service addresses and node ports
struct expiry;
struct refusals;
struct places;
struct documents;
struct workers;

struct apiserver {
    struct apiserver_options opt;
    struct env *env;
    struct store *store;
    struct arena arena; // strings of opt
    struct cache *cache;
    struct str issuer;           // of ServiceAccount tokens
    struct token_signer *tokens; // NULL without a pki
    struct authn *authn;
    struct authz *authz;
    struct ranges *ranges;
    struct expiry *expiry;       // expiry.h: old events go
    struct refusals *refusals;   // proxy.h
    struct tls_client *node_tls; // towards node agents; NULL without a pki
    struct http_handler handler;
    int64_t started;             // real, ns
    atomic_bool store_failed;    // it takes no more writes: /readyz and /healthz say so
    struct places *places;       // http_places.h
    struct documents *documents; // http_documents.h
    struct workers *workers;     // for what is too long for an event loop
    atomic_uint active_watches;
    struct metric_table metrics; // metrics.h
};

// ---- an operation: a call on its way through a path of steps

enum { OP_NEXT, OP_AGAIN, OP_WAIT, OP_DONE }; // what a step returns; negative: an error
enum { OP_ATTEMPTS = 64 };

struct op;
struct step {
    const char *name;
    int (*run)(struct op *op, struct err *e);
    bool lengthy; // it and what follows cost by the bytes of the body and of what is there
};

struct strategy;
struct sub_ops;

struct op {
    struct apiserver *server;
    struct api_call *call;
    const struct api_request *request;
    struct arena *a; // the call's
    const struct kind *kind;
    const struct subresource *sub;
    const struct sub_ops *sub_ops;   // subresource.h; NULL: no ways of its own
    const struct strategy *strategy; // strategy.h; NULL: the generic one
    const struct step *path;
    size_t at, retry_at; // the next step; the one to go back to after a conflict
    unsigned attempts;

    struct str ns, name, key;
    bool creating;    // nothing is there
    bool conditional; // the client named the state that it changes: a conflict is for it to solve
    bool removing;    // the write is a deletion
    bool unchanged;   // nothing to write
    bool made_name;   // by generateName: another one may be tried
    struct object *found; // the current state: a reference
    struct value *old; // its tree in the kind's version, without resourceVersion: not to be changed
    struct value *new; // what it becomes
    struct object *made; // the new state as it will be stored
    struct value *data;  // a subresource's own body: Scale, Binding, Eviction, TokenRequest
    int64_t grace;       // deletion: the grace period decided on
    struct cache_snapshot victims; // deletecollection
    struct object **victim_list;
    size_t nvictims, victim;

    struct store_write *writes; // in `a`; the object's own write is the first
    size_t nwrites, cap_writes;
    struct object *kept[4]; // other objects that the transaction writes: references
    size_t nkept;
    struct blob **blobs; // and other values
    size_t nblobs, cap_blobs;
    struct store_txn txn;
    atomic_int phase; // call.c
};

// Steps that several paths share (call.c, registry_*.c).
int op_authorise(struct op *op, struct err *e);
// Whether `who` may make the request: the one place that says what a request on a kind means to the
// authoriser.
int request_authorise(struct apiserver *s, const struct identity *who, const struct api_request *r,
                      struct err *e);
int op_store(struct op *op, struct err *e);
int op_committed(struct op *op, struct err *e);
int op_answer_object(struct op *op, struct err *e);
int op_get(struct op *op, struct err *e);
int op_list(struct op *op, struct err *e);
int op_find(struct op *op, struct err *e);
int op_create_body(struct op *op, struct err *e);
int op_update_body(struct op *op, struct err *e);
int op_default(struct op *op, struct err *e);
int op_prepare(struct op *op, struct err *e);
int op_validate(struct op *op, struct err *e);
int op_encode(struct op *op, struct err *e);
int op_delete(struct op *op, struct err *e);
int op_delete_answer(struct op *op, struct err *e);
int op_victims(struct op *op, struct err *e);
int op_next_victim(struct op *op, struct err *e);
int op_victim_gone(struct op *op, struct err *e);
int op_admit(struct op *op, struct err *e);        // admission.c
int op_admit_delete(struct op *op, struct err *e); // admission.c
// The node that calls, if it is one (system:node:NAME in system:nodes).
bool op_node(const struct op *op, struct str *ret_name);

// Adds a write to the operation's transaction; keys and values live in op->a or in objects it
// holds.
void op_write(struct op *op, enum store_op what, struct str key, struct blob *value,
              int64_t expected);
// Decodes and checks a body of the given type: unknown and duplicate fields by fieldValidation,
// types, and apiVersion and kind, which are filled in where absent.
int op_decode(struct op *op, const struct value *body, const struct type *type,
              struct str api_version, struct str kind, struct value **ret, struct err *e);
// Writes another object with the operation's own: the reference is taken over.
void op_write_object(struct op *op, struct object *o, int64_t expected);
void op_warn(struct op *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Warns of what is accepted and yet will not do what it says (warnings.c).
void op_warnings(struct op *op);
// A value of op_write that nobody else holds: freed with the operation.
void op_keep_blob(struct op *op, struct blob *b);
// Answers with a virtual object: copied into the answer's arena.
void op_answer_value(struct op *op, const struct value *v);
// metav1.Status Success with details.
struct value *op_success_status(struct op *op, struct str uid);
// The object's tree in the operation's kind, without resourceVersion, in op->a.
int op_tree(struct op *op, struct object *o, struct value **ret, struct err *e);
// Now, as metav1.Time.
struct value *op_now(struct op *op);

static inline bool op_is(const struct op *op, const char *group, const char *resource)
{
    return str_eqc(op->kind->group, group) && str_eqc(op->kind->resource, resource);
}
static inline bool op_sub(const struct op *op, const char *name)
{
    return str_eqc(op->request->subresource, name);
}

const char *verb_name(enum verb_bit v); // "get"

// ---- errors in the originals' words; the result is the negative code, as err_set's

int api_not_found(struct err *e, const struct kind *k, struct str name);
int api_exists(struct err *e, const struct kind *k, struct str name);
// why NULL: "the object has been modified; please apply your changes to the latest version and try
// again"
int api_conflict(struct err *e, const struct kind *k, struct str name, const char *why, ...)
    __attribute__((format(printf, 4, 5)));
int api_forbidden(struct err *e, const struct kind *k, struct str name, const char *why, ...)
    __attribute__((format(printf, 4, 5)));
// 422 with one cause: reason is FieldValueInvalid and so on; the text stands behind "field: ".
int api_invalid(struct err *e, const struct kind *k, struct str name, const char *reason,
                const char *field, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
