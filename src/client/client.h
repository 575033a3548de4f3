// client.h: get, list, watch, create, update, patch, delete on a kind, as an identity. The only way
// in which controllers, scheduler, node agent and every other loop touch the cluster.
//
// Two transports: in-process (the API server's own entry below HTTP, same authorisation, admission
// and audit; made by the role that hosts both, src/inprocess.c) and remote (HTTPS, remote.h). Calls
// block and are for worker threads; watches deliver on a loop. In simulation everything runs on one
// thread and a call returns at once.
//
// Bodies go in as trees, answers come back as shared immutable objects (one reference, the
// caller's).
#pragma once
#include "schema/request.h"
#include "wire/loop.h"

struct client;
struct client_watch;
struct executor; // queue.h

struct client_watch_handler {
    // On the watch's loop. A batch in order. Objects are borrowed.
    void (*on_events)(void *ctx, const struct watch_event *events, size_t n);
    // Once, when the stream ends (e NULL: server closed it, resume from the last revision;
    // ERR_EXPIRED or ERR_GONE: list again). Not called after client_unwatch.
    void (*on_end)(void *ctx, const struct err *e);
    void *ctx;
};

struct client_ops {
    int (*call)(struct client *c, const struct api_request *r, struct api_answer *ret,
                struct err *e);
    int (*watch)(struct client *c, struct loop *l, const struct api_request *r,
                 const struct client_watch_handler *h, struct client_watch **ret, struct err *e);
    void (*unwatch)(struct client_watch *w); // on the watch's loop; no callback after it returns
    void (*free)(struct client *c);
};
// Base of both transports. Any thread may call.
struct client {
    const struct client_ops *ops;
    struct env *env;
    struct str name; // field manager and log name: "deployment-controller"; a literal or owned by
                     // the maker
};

static inline int client_call(struct client *c, const struct api_request *r, struct api_answer *ret,
                              struct err *e)
{
    return c->ops->call(c, r, ret, e);
}
void client_free(struct client *c);

// Shorthands. ret may be NULL where the answer does not matter. ns STR_NULL for cluster-scoped
// kinds.
int client_get(struct client *c, const struct kind *k, struct str ns, struct str name,
               struct object **ret, struct err *e);
int client_list(struct client *c, const struct kind *k, struct str ns, struct str label_selector,
                struct str field_selector, struct api_answer *ret, struct err *e);
int client_create(struct client *c, const struct kind *k, struct str ns, const struct value *body,
                  struct object **ret, struct err *e);
// body carries name, namespace and the resourceVersion it was read at.
int client_update(struct client *c, const struct kind *k, const struct value *body,
                  struct object **ret, struct err *e);
int client_update_status(struct client *c, const struct kind *k, const struct value *body,
                         struct object **ret, struct err *e);
int client_patch(struct client *c, const struct kind *k, struct str ns, struct str name,
                 struct str subresource, enum patch_type type, const struct value *patch,
                 struct object **ret, struct err *e);
struct client_delete_options {
    enum propagation propagation;
    int64_t grace_period_seconds;     // -1: the kind's default
    struct str uid, resource_version; // preconditions or STR_NULL
};
int client_delete(struct client *c, const struct kind *k, struct str ns, struct str name,
                  const struct client_delete_options *opt, struct err *e);

// Deletes the object that was looked at (its UID is a precondition). ret_revision (may be NULL): of
// the write.
int client_delete_tree(struct client *c, const struct kind *k, const struct value *tree,
                       enum propagation propagation, int64_t grace_period_seconds,
                       uint64_t *ret_revision, struct err *e);
// A namespace that goes away refuses new objects: no error for whoever fills it.
bool client_namespace_terminating(const struct err *e);

// Built-in kinds by name, looked up once: KIND("apps", "deployments"). Aborts if it is
// unknown.
const struct kind *client_kind(const char *group, const char *resource);
#define KIND(group, resource)                                                                      \
    ({                                                                                             \
        static const struct kind *kind_; /* relaxed: what it points to never changes */            \
        const struct kind *found_ = __atomic_load_n(&kind_, __ATOMIC_RELAXED);                     \
        if (!found_) {                                                                             \
            found_ = client_kind((group), (resource));                                             \
            __atomic_store_n(&kind_, found_, __ATOMIC_RELAXED);                                    \
        }                                                                                          \
        found_;                                                                                    \
    })

// An ObjectReference to a stored object, in `a`; strings are borrowed from the object.
struct value *client_reference(struct arena *a, const struct object *o);

// Events for people (core/v1 Event). Aggregated: the same event on the same object within ten
// minutes raises its count. Rate-limited per object (25, then one in five minutes, as upstream).
// Never blocks on the API: written by a background task of the recorder's loop/pool.
struct event_recorder;
struct event_recorder *event_recorder_new(struct client *c, struct executor *x,
                                          struct str component, struct str host);
void event_recorder_free(struct event_recorder *r);
// type: "Normal" or "Warning".
void event_record(struct event_recorder *r, const struct object *about, const char *type,
                  const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void event_record_ref(struct event_recorder *r, const struct value *object_reference,
                      const char *type, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
