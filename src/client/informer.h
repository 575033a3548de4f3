// Informer: a local, always current copy of one kind, kept by list and watch, with indexes and
// handlers. One per kind and process, shared by all who ask (informers_get). The copy holds
// references to the shared objects: in-process it costs pointers only.
//
// Threads: updates and handlers run on the factory's loop; reads from any thread (they take a
// snapshot reference under a short lock). Handlers must not block: they add keys to work queues.
#pragma once
#include "client/client.h"
#include "client/queue.h"

struct informers; // the factory
struct informers *informers_new(struct client *c, struct loop *l);
void informers_free(struct informers *f);

struct informer;
// The shared informer of a kind; starts when informers_start runs (or at once if it has run).
struct informer *informers_get(struct informers *f, const struct kind *k);
// With selectors (the node's own pods: field_selector "spec.nodeName=n1"): shared by equal
// selectors.
struct informer *informers_get_selected(struct informers *f, const struct kind *k, struct str ns,
                                        struct str label_selector, struct str field_selector);
void informers_start(struct informers *f);
// fn runs on the loop when every informer asked for so far has its initial list.
void informers_when_synced(struct informers *f, void (*fn)(void *ctx), void *ctx);
// Takes back what was asked with this ctx and has not run. On the loop.
void informers_cancel_when_synced(struct informers *f, void *ctx);
bool informer_synced(const struct informer *i);
// Every change up to this revision has been applied. It is raised before handlers hear of a change,
// so who has written at revision r and finds less here will be called by a handler when r has
// arrived: a writer that waits for its own writes needs no other expectation. Any thread.
uint64_t informer_revision(const struct informer *i);

struct informer_handler {
    // old NULL: added; new NULL: deleted. Both: updated. Objects are borrowed. Resync never
    // happens.
    void (*on_change)(void *ctx, struct object *old, struct object *new);
    void *ctx;
    struct informer_handler *next; // private
};
// On the loop (or before start). Objects already there are delivered as added.
void informer_add_handler(struct informer *i, struct informer_handler *h);
void informer_remove_handler(struct informer *i, struct informer_handler *h);

// Reading. key is "namespace/name" or "name".
struct object *informer_get(struct informer *i, struct str key); // a reference, or NULL
struct object *informer_get_ns(struct informer *i, struct str ns, struct str name);
struct object_list {
    struct object **items; // references
    size_t n;
};
void object_list_done(struct object_list *l);
#define _cleanup_objects_ __attribute__((cleanup(object_list_done)))
// All, or those of a namespace, in key order.
void informer_list(struct informer *i, struct str ns, struct object_list *ret);

// Indexes: fn gives the values under which an object is found (owner UID, node name, label …).
// Add before start.
typedef void informer_index_fn(struct arena *a, const struct object *o,
                               void (*emit)(void *ctx, struct str value), void *ctx);
// The same name again is ignored: an index is made once.
void informer_add_index(struct informer *i, const char *name, informer_index_fn *fn);
void informer_by_index(struct informer *i, const char *name, struct str value,
                       struct object_list *ret);
// Ready-made: UIDs of all owners ("owner-uid"), UID of the controlling owner ("controller-uid").
void informer_index_owner(struct arena *a, const struct object *o,
                          void (*emit)(void *ctx, struct str value), void *ctx);
void informer_index_controller(struct arena *a, const struct object *o,
                               void (*emit)(void *ctx, struct str value), void *ctx);
