// The Deployment controller's parts: deployment.c decides what to do, deployment_sets.c finds,
// makes and scales ReplicaSets, deployment_status.c counts and reports. Private to them.
#pragma once
#include "controller/pod_facts.h"

#define REVISION         "deployment.kubernetes.io/revision"
#define REVISION_HISTORY "deployment.kubernetes.io/revision-history"
#define DESIRED_REPLICAS "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS     "deployment.kubernetes.io/max-replicas"
#define TEMPLATE_HASH    "pod-template-hash"

struct deployments {
    struct control *control;
    struct informer *deployments, *sets;
    struct informer_handler on_deployment, on_set;
    struct pod_listener on_pod;
    struct work_queue *queue;
    struct event_recorder *events;
};

// One ReplicaSet of the rollout, its numbers read out. Counts follow what this reconcile has
// written.
struct rs {
    struct object *object;
    struct value *tree;
    struct str name, uid;
    int64_t replicas;                          // spec.replicas
    int64_t status_replicas, ready, available; // status
    int64_t created;                           // ns
    bool deleting;
};

// One reconcile.
struct rollout {
    struct deployments *c;
    struct arena *a;
    struct err *e;
    struct object *object;
    struct value *d; // the tree; status is written from it
    struct str key;
    bool rolling; // RollingUpdate, not Recreate
    int64_t replicas, surge, unavailable;
    struct rs **all; // oldest first
    size_t nall;
    struct rs *new; // the one whose template is ours; NULL: none yet
    struct owner_claimed *claimed;
    size_t nclaimed;
    uint64_t after_ns;
};

// deployment_sets.c
int rollout_load(struct rollout *r); // the sets by claim; fills all and new
void rollout_unload(struct rollout *r);
// Revision annotations of the new set and the deployment; makes the set where it is missing and
// create is set. Negative: the error stands in r->e. 0 with create: r->new is there.
int rollout_sync_revision(struct rollout *r, bool create);
// Returns 0 or negative; *ret_scaled: whether the size changed.
int rollout_scale(struct rollout *r, struct rs *set, int64_t size, bool *ret_scaled);
// Changes the size of the whole, proportionally over the sets (spec.replicas has changed, or
// paused).
int rollout_scale_proportionally(struct rollout *r);
int rollout_cleanup(struct rollout *r); // beyond revisionHistoryLimit
int64_t rollout_sum(struct rollout *r, bool old_only, int64_t (*of)(const struct rs *set));
int64_t rs_spec_replicas(const struct rs *s);
int64_t rs_status_replicas(const struct rs *s);
int64_t rs_ready(const struct rs *s);
int64_t rs_available(const struct rs *s);

// deployment_status.c
bool rollout_has_deadline(const struct rollout *r);
bool rollout_complete(struct rollout *r); // by the status as last written
// Sets a condition as upstream does: nothing where type, status and reason are as they were; the
// transition time stays where the status does.
void rollout_set_condition(struct rollout *r, struct value *status, const char *type,
                           const char *value, const char *reason, struct str message);
int rollout_write_status(struct rollout *r, struct value *status); // also annotations of r->d
int rollout_sync_status(struct rollout *r,
                        bool progress); // counts; progress: with the Progressing condition
