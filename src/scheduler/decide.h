// One decision: which node for this pod. filters.c holds the table of filters, scores.c that of
// scores, decide.c runs them over a sample of the nodes.
#pragma once
#include "scheduler/cluster.h"

// Bits of the filters: what rejected a pod, and so which events may help it.
enum {
    REJECT_NAME = 1,
    REJECT_UNSCHEDULABLE = 2,
    REJECT_TAINT = 4,
    REJECT_AFFINITY = 8,
    REJECT_PORTS = 16,
    REJECT_RESOURCES = 32,
    REJECT_SPREAD = 64,
    REJECT_POD_AFFINITY = 128,
};

// What is worked out once per decision, before nodes are looked at.
struct domain {
    name_hash value;
    int64_t pods;
    bool eligible;
};
struct domains { // of one topology key: counts by the key's value, open addressing
    struct domain *slots;
    uint32_t cap, n;
    int64_t least; // over eligible domains
    uint32_t neligible;
    bool self; // the pod itself will count
};
struct decision {
    struct cluster *cluster;
    struct pod *pod;
    struct arena *a;                                             // reset after each decision
    struct domains *spreads;                                     // per p->spreads
    struct domains *affine, *anti, *prefer_affine, *prefer_anti; // per term
    struct domains *against; // domains that existing pods' anti-affinity forbids: per topology key
    name_hash *against_keys;
    uint32_t nagainst;
    const struct filter *filters[8]; // those that concern this pod
    unsigned nfilters;
    bool first_of_kind; // affinity to itself and nobody is there yet
    uint32_t *by_node;  // pods of the same owner, by slot; all zero outside a decision
};
void decision_prepare(struct decision *d);
int64_t domains_count(const struct domains *d, name_hash value, bool *ret_known);

// Why a node was rejected.
struct rejection {
    unsigned filter; // REJECT_*
    bool final;      // preempting a pod could not help
    const char *texts[8];
    unsigned ntexts;
};
// True: the pod may go there. r may be NULL where the reason does not matter.
bool node_passes(const struct decision *d, const struct node *n, struct rejection *r);

// The scores of the candidates, summed by weight; totals has room for n.
void score_nodes(const struct decision *d, uint32_t *slots, uint32_t n, int64_t *totals);

struct random {
    uint64_t state;
};
// The slot, or -1 with the message and the filters that rejected.
struct verdict {
    int32_t slot;
    uint32_t rejected;
    struct str message; // in d->a
    uint32_t evaluated;
};
void decide(struct decision *d, uint32_t *next_start, struct random *random, struct verdict *ret);
