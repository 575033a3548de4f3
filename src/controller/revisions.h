// The history of StatefulSets and DaemonSets: one ControllerRevision for each template that the set
// has had. Its data is the patch that brings the template back (`kubectl rollout undo` sends it),
// its number grows with each change of the set.
//
//     struct revisions h;
//     if (revisions_load(p, OWNED_REVISIONS, LABEL, &h, e) < 0 ||
//         revisions_update(&h, &collisions, &update, e) < 0) ...
//     ... revisions_prune(&h, live, ctx, e);
//     revisions_done(&h);
#pragma once
#include "controller/control.h"

struct revision {
    struct value *tree;
    struct str name, hash;
    int64_t number;
};
struct revisions {
    struct reconcile *p;
    unsigned source;        // of expectations
    const char *hash_label; // under which a revision carries its hash
    struct revision *items; // by number; room for one more
    size_t n;
    struct owner_claimed *claimed;
    size_t nclaimed;
    struct object *made;
};

// Adopts and releases by the set's selector. The informer has the indexes "controller-uid" and
// "orphans".
int revisions_load(struct reconcile *p, unsigned source, const char *hash_label,
                   struct revisions *ret, struct err *e);
// The revision of the template as it is now: the last one, an older one that gets the highest
// number, or a new one. *collisions counts names that were taken (status.collisionCount).
int revisions_update(struct revisions *h, int64_t *collisions, struct revision **ret,
                     struct err *e);
struct revision *revisions_find(struct revisions *h, struct str name); // or NULL
const struct value *revision_template(const struct revision *r);
// Deletes the oldest that are not live, beyond spec.revisionHistoryLimit.
int revisions_prune(struct revisions *h, bool (*live)(void *ctx, const struct revision *r),
                    void *ctx, struct err *e);
void revisions_done(struct revisions *h);
