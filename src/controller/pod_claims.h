// The pods of a controller that selects by labels: its own that match, after those that do not were
// released and the orphans that do were adopted (client/owner.h has the rules).
#pragma once
#include "controller/pod_facts.h"

struct pod_claims {
    struct pod_facts **items; // in the arena; references are held by `owned`
    size_t n;
    struct pod_list owned;
    uint64_t adopted; // revision of the last adoption; 0: none. What was adopted is not in items
};

// fits (may be NULL): what else a pod must be, such as having the right name. Only active orphans
// are adopted. pod_claims_done always.
int pod_claims_take(struct control *c, struct arena *a, const struct kind *owner_kind,
                    const struct value *owner, const struct selector *selector,
                    bool (*fits)(const struct value *owner, const struct pod_facts *p),
                    struct pod_claims *ret, struct err *e);
void pod_claims_done(struct pod_claims *c);
#define _cleanup_pod_claims_ __attribute__((cleanup(pod_claims_done)))
