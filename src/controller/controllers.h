// The controllers: loops that close the gap between what the API says should be and what is. One
// file per controller, one table of them (controllers.c). They know the cluster through client.h
// only.
//
//     struct controllers *c = controllers_start(client, informers, executor, &options);
//     ... informers_start(informers) if that has not been done
//     controllers_stop(c);          // on the loop, before informers_free and executor_free
//
// controllers_start asks for the informers that the controllers need and returns; work begins when
// those are synced. Everything after that is woken by a change or by a timer that a controller set
// itself.
#pragma once
#include "client/client.h"
#include "client/informer.h"
#include "client/queue.h"

struct controllers;

struct controller_options {
    struct str root_ca_pem;  // what kube-root-ca.crt holds; STR_NULL: that ConfigMap is not kept
    struct str pod_cidr;     // "10.244.0.0/16": nodes get parts of it; STR_NULL: no node CIDRs
    unsigned node_cidr_bits; // prefix length of a node's part; 0: 24
    // How long a node may be silent before it counts as unreachable; 0: 40 s.
    uint64_t node_grace_ns;
    // Names of controllers that are not to run, ends with NULL; NULL: all run.
    const char *const *without;
};

struct controllers *controllers_start(struct client *c, struct informers *f, struct executor *x,
                                      const struct controller_options *opt);
// On the loop's thread: waits for reconciles that run.
void controllers_stop(struct controllers *c);
