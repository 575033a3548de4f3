// Pods, read out once: what the controllers ask about a pod, in one small block per pod version,
// found by key, namespace, node and controller. Counting the pods of a set costs nanoseconds a pod,
// not a parse.
//
// One cache serves all controllers. The loop keeps it current from the pod informer; readers on any
// thread get references. Listeners are called on the loop, after the cache shows the change.
#pragma once
#include "base/list.h"
#include "controller/control.h"

struct pod_facts {
    atomic_uint refs;
    struct object *object;
    struct str key, ns, name, uid; // key: "namespace/name"
    struct str node, ip, hostname, subdomain;
    struct str controller, controller_kind,
        controller_name;          // the owner with controller: true; uid, kind, name
    const struct value *labels;   // NULL: none
    int64_t created, ready_since; // ns since 1970; ready_since 0: not ready
    int64_t restarts, deletion_cost;
    uint8_t phase; // enum pod_phase
    bool ready, deleting;
    struct list by_ns, by_node,
        by_controller; // private; by_controller also holds a namespace's orphans
};
enum pod_phase { PHASE_PENDING, PHASE_UNKNOWN, PHASE_RUNNING, PHASE_SUCCEEDED, PHASE_FAILED };

static inline bool facts_finished(const struct pod_facts *p)
{
    return p->phase >= PHASE_SUCCEEDED;
}
static inline bool facts_active(const struct pod_facts *p)
{
    return !p->deleting && !facts_finished(p);
}
// As pod_available in upstream: ready for min_ready_seconds; *ret_wait_ns: until time alone makes
// it so, or 0.
bool facts_available(const struct pod_facts *p, int64_t min_ready_seconds, int64_t now,
                     uint64_t *ret_wait_ns);
void pod_facts_unref(struct pod_facts *p);

struct pod_cache;
struct pod_cache *pod_cache_new(struct informers *f);
void pod_cache_run(struct pod_cache *c);          // synced: begins to follow
void pod_cache_free(struct pod_cache *c);         // on the loop
uint64_t pod_cache_revision(struct pod_cache *c); // changes up to it are in the cache

struct pod_listener {
    // old NULL: new; new NULL: gone. Borrowed.
    void (*on_pod)(void *ctx, const struct pod_facts *old, const struct pod_facts *new);
    void *ctx;
    struct pod_listener *next;
};
void pod_cache_listen(struct pod_cache *c,
                      struct pod_listener *l); // on the loop; tells what is there
void pod_cache_unlisten(struct pod_cache *c, struct pod_listener *l);

// References, in an array of the arena's; pod_list_done drops them.
struct pod_list {
    struct pod_facts **items;
    size_t n;
};
void pod_list_done(struct pod_list *l);
#define _cleanup_pods_ __attribute__((cleanup(pod_list_done)))
struct pod_facts *pod_cache_get(struct pod_cache *c, struct str key); // a reference, or NULL
void pod_cache_by_namespace(struct pod_cache *c, struct arena *a, struct str ns,
                            struct pod_list *ret);
void pod_cache_by_node(struct pod_cache *c, struct arena *a, struct str node, struct pod_list *ret);
void pod_cache_by_controller(struct pod_cache *c, struct arena *a, struct str uid,
                             struct pod_list *ret);
void pod_cache_orphans(struct pod_cache *c, struct arena *a, struct str ns, struct pod_list *ret);
