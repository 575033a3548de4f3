// A cluster in one process on virtual time: memory store, API server, controllers, scheduler and
// hollow nodes (which start a pod by waiting a moment and reporting it Running). One thread, one
// order of events, from one seed: what fails, fails again with CORACLE_SEED=n.
#pragma once
#include "apiserver/apiserver.h"
#include "apiserver/auth.h"
#include "base/time.h"
#include "client/informer.h"
#include "controller/controllers.h"
#include "object/json.h"
#include "object/yaml.h"
#include "scheduler/scheduler.h"
#include "unit.h"

struct hollow_node;

struct sim {
    uint64_t seed;
    struct env *env;
    struct loop *loop;
    struct store *store;
    struct pki *pki;
    char pki_dir[64];
    struct apiserver *server;
    struct client *client; // as system:masters
    struct informers *informers;
    struct executor *executor;
    struct controllers *controllers;
    struct scheduler *scheduler;
    struct arena arena; // for the test
    struct informer *pods, *nodes;
    struct informer_handler on_pod;
    struct work_queue *kubelets;
    struct hollow_node *hollow; // list
    uint64_t pod_start_ns, pod_stop_ns;
    bool (*starts)(struct sim *s, const struct value *pod); // NULL: every pod gets ready
};

struct sim_options {
    struct controller_options controllers;
    bool no_controllers, no_scheduler;
    // Not a simulation: real time, and reconciles on so many threads (for ThreadSanitizer).
    unsigned threads;
    bool pki; // keys for ServiceAccount tokens (in a temporary directory)
};
struct sim *sim_new(const struct sim_options *opt); // NULL: defaults
void sim_free(struct sim *s);

// Virtual time goes on until cond holds (true) or `seconds` have passed (false).
bool sim_until(struct sim *s, unsigned seconds, bool (*cond)(struct sim *s, const void *arg),
               const void *arg);
void sim_run(struct sim *s, unsigned seconds);

// Nodes that keep their lease and run pods. resources: e.g. "{cpu: 4, memory: 8Gi, pods: 110}".
void sim_node(struct sim *s, const char *name, const char *resources);
void sim_node_silence(struct sim *s, const char *name, bool silent); // no lease, no status, no pods

// The API from YAML and back. All fail the test on an error.
void sim_create(struct sim *s, const char *yaml);
void sim_patch(struct sim *s, const char *group, const char *resource, const char *ns,
               const char *name,
               const char *yaml); // merge patch
void sim_delete(struct sim *s, const char *group, const char *resource, const char *ns,
                const char *name, enum propagation policy);
// A tree in the test's arena, or NULL.
struct value *sim_get(struct sim *s, const char *group, const char *resource, const char *ns,
                      const char *name);
// All of a kind in a namespace (NULL: all), as trees. Selector may be NULL.
struct value *sim_list(struct sim *s, const char *group, const char *resource, const char *ns,
                       const char *selector);
size_t sim_count(struct sim *s, const char *group, const char *resource, const char *ns,
                 const char *selector);
// The message of the newest event with this reason about `name`; STR_NULL: none.
struct str sim_event(struct sim *s, const char *ns, const char *name, const char *reason);
