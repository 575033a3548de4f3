// What the controllers share beside the kit of client/ (reconciler.h, owner.h, condition.h, meta.h,
// finalizer.h, expectations.h): their surroundings, the shape of a controller, and what they ask of
// pods. Private to the room.
#pragma once
#include "base/guard.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/condition.h"
#include "client/finalizer.h"
#include "client/owner.h"
#include "client/reconciler.h"
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
extern const struct controller_row deployment_controller, job_controller, cronjob_controller,
    ttl_after_finished_controller, statefulset_controller, daemonset_controller,
    replicaset_controller, controller_replication, endpoints_mirror_controller,
    endpoints_controller, namespace_controller, serviceaccount_controller, root_ca_controller,
    token_secret_controller, garbage_controller, node_lifecycle_controller,
    taint_eviction_controller, node_cidr_controller, pod_gc_controller, disruption_controller,
    volume_protection_controller;

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
int64_t control_scaled_value(const struct value *v, int64_t total, bool round_up,
                             int64_t otherwise);

// Kinds whose objects can be listed, watched and deleted, each stored kind once; events are not
// among them.
size_t control_collectable_kinds(const struct kind **ret,
                                 size_t room); // returns how many there are
enum { COLLECTABLE_MAX = 256 };
