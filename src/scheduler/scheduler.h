// The scheduler: finds a node for every pod that has none and asks for its schedulerName, and binds
// it there.
//
//     struct scheduler *s = scheduler_start(client, informers, executor, STR("default-scheduler"));
//     ... informers_start(informers) if that has not been done
//     scheduler_stop(s);            // on the loop, before informers_free and executor_free
//
// It asks for informers of pods and nodes, and works once they are synced. Decisions are made one
// after the other on the executor; bindings and reports run beside them, as many at a time as the
// executor has threads.
#pragma once
#include "client/client.h"
#include "client/informer.h"
#include "client/queue.h"

struct scheduler;
struct scheduler *scheduler_start(struct client *c, struct informers *f, struct executor *x,
                                  struct str name);
void scheduler_stop(struct scheduler *s);

struct scheduler_counts {
    uint64_t decisions, scheduled, unschedulable, bind_failures;
    size_t active, backing_off, waiting; // pods
};
void scheduler_counts(struct scheduler *s, struct scheduler_counts *ret);
