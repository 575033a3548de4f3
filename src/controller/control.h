// What the controllers share: their surroundings, the shape of a controller, and the few rules on
// objects that all of them follow (owner references, conditions, pod state, percentages). Private
// to the room.
#pragma once
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "controller/controllers.h"
#include "object/json.h"
#include "object/selector.h"

struct control {
    struct client *client;
    struct informers *informers;
    struct executor *executor;
    struct env *env;
    const struct controller_options *options;
    struct pod_cache *pods; // pod_facts.h
};

// A row of the table in controllers.c. make: takes informers and adds indexes, nothing else. run:
// everything is synced: adds handlers. free: on the loop.
struct controller_row {
    const char *name;
    void *(*make)(struct control *c);
    void (*run)(void *self);
    void (*free)(void *self);
};
extern const struct controller_row deployment_controller, replicaset_controller,
    controller_replication, endpoints_mirror_controller, endpoints_controller, namespace_controller,
    serviceaccount_controller, root_ca_controller, token_secret_controller, garbage_controller,
    node_lifecycle_controller, taint_eviction_controller, node_cidr_controller, pod_gc_controller,
    disruption_controller;

// Keys: "namespace/name" or "name".
void key_split(struct str key, struct str *ret_ns, struct str *ret_name);
struct str key_of(struct arena *a, const struct object *o);
void enqueue_object(struct work_queue *q, const struct object *o);

// Trees.
void put(struct arena *a, struct value *object, const char *key, struct str s);
void put_int(struct arena *a, struct value *object, const char *key, int64_t i);
void put_nonzero(struct arena *a, struct value *object, const char *key,
                 int64_t i);                                                      // Go's omitempty
struct value *object_at(struct arena *a, struct value *object, const char *path); // made if absent
struct str now_text(struct control *c, struct arena *a);
int64_t time_at(const struct value *object, const char *path); // ns since 1970; 0: absent
struct str meta_uid(const struct value *tree);
bool meta_deleting(const struct value *tree);

// Owners.
const struct value *
controller_ref(const struct value *tree); // the ownerReference with controller: true
struct value *owner_reference(struct arena *a, const struct kind *k, const struct value *owner);
bool is_controlled_by(const struct value *tree, struct str uid);
// "Orphans": objects without a controller, under their namespace. Index "orphans".
void index_orphans(struct arena *a, const struct object *o,
                   void (*emit)(void *ctx, struct str value), void *ctx);
// Owned objects and orphans that match the selector; what no longer matches is released, orphans
// that do are adopted (not while the owner is deleted; the owner is looked at afresh before the
// first adoption).
int release_object(struct control *c, struct arena *a, const struct kind *k,
                   const struct value *tree, struct str owner_uid, struct err *e);
int adopt_object(struct control *c, struct arena *a, const struct kind *k,
                 const struct kind *owner_kind, const struct value *owner, const struct value *tree,
                 struct object **ret, struct err *e);
int may_adopt(struct control *c, struct arena *a, const struct kind *owner_kind,
              const struct value *owner, struct err *e);
struct claimed {
    struct object *object;
    struct value *tree;
};
int claim_objects(struct control *c, struct arena *a, struct informer *from,
                  const struct kind *owner_kind, const struct value *owner,
                  const struct selector *selector, struct claimed **ret, size_t *ret_n,
                  struct err *e);
void claimed_done(struct claimed *list, size_t n);

// Conditions, in a list such as status.conditions.
struct value *condition_find(const struct value *conditions, const char *type);
bool condition_is(const struct value *conditions, const char *type, const char *status);
void condition_remove(struct value *conditions, const char *type);

// Pods.
bool pod_ready(const struct value *pod);
int64_t pod_ready_since(const struct value *pod); // 0: not ready
// Ready for at least min_ready_seconds. *ret_wait_ns (may be NULL): how long until it is; 0 where
// time alone won't do.
bool pod_finished(const struct value *pod); // Succeeded or Failed
// Makes the pod that a template of `owner` describes: {metadata, spec}.
struct value *pod_from_template(struct arena *a, const struct kind *owner_kind,
                                const struct value *owner, const struct value *template);

// intstr.IntOrString: of `total`; percentages are rounded up or down. otherwise: where v is absent.
int64_t scaled_value(const struct value *v, int64_t total, bool round_up, int64_t otherwise);

// "Wait until my own writes have come back": by key, the revision that an informer must have
// reached.
struct expectations {
    pthread_mutex_t lock; // guards revisions
    struct map revisions; // key -> revision, as a pointer
};
void expectations_init(struct expectations *x);
void expectations_done(struct expectations *x);
void expect_revision(struct expectations *x, struct str key, uint64_t revision);
bool expectation_met(struct expectations *x, struct str key, uint64_t applied);
void expectation_forget(struct expectations *x, struct str key);

// Kinds whose objects can be listed, watched and deleted, each stored kind once; events are not
// among them.
size_t collectable_kinds(const struct kind **ret, size_t room); // returns how many there are
enum { COLLECTABLE_MAX = 256 };

// Calls whose answer's revision matters. A revision of 0 comes back where there was nothing to
// write.
int create_pod(struct control *c, struct str ns, const struct value *pod, struct object **ret,
               struct err *e);
int delete_with_uid(struct control *c, const struct kind *k, const struct value *tree,
                    enum propagation propagation, int64_t grace, uint64_t *ret_revision,
                    struct err *e);
// A namespace that goes away refuses new objects: no error for whoever fills it.
bool namespace_terminating(const struct err *e);
