// Pods that have no node yet, in three places:
//
//     new ----> ACTIVE --decision--> BOUND (assumed; see scheduler.c)
//                 ^  \ no node
//                 |   v
//              BACKOFF <-- an event that may help -- WAITING
//                      (or straight to ACTIVE, where the back-off is over)
//
// ACTIVE is a heap by priority, then age; BACKOFF a heap by due time (1 s, doubling to 10 s with
// every attempt); WAITING a list of those that an event must wake. Guarded by the scheduler's lock.
#pragma once
#include "scheduler/cluster.h"

enum pod_state { POD_NEW, POD_ACTIVE, POD_BACKOFF, POD_WAITING, POD_BOUND };

struct pod_heap {
    struct pod **items;
    size_t n, cap;
    bool (*before)(const struct pod *a, const struct pod *b);
};
struct pending {
    struct pod_heap active, backoff;
    struct pod *waiting;
    size_t nwaiting;
    uint64_t sequence;
};
void pending_init(struct pending *q);
void pending_done(struct pending *q); // the pods are the caller's

void pending_remove(struct pending *q, struct pod *p); // from wherever it is; POD_NEW afterwards
void pending_activate(struct pending *q, struct pod *p);
void pending_wait(struct pending *q, struct pod *p);
// To ACTIVE, or to BACKOFF while its time has not come. Counts from the end of its last attempt
// (p->due).
void pending_wake(struct pending *q, struct pod *p, uint64_t now);
void pending_failed(struct pod *p, uint64_t now); // an attempt has failed: sets p->due
struct pod *pending_pop(struct pending *q);       // the next to decide on, or NULL
// Moves what is due to ACTIVE; returns the next due time, 0: none.
uint64_t pending_due(struct pending *q, uint64_t now);
