// What the files of the node agent share. Order of locks: agent->lock, then worker->lock.
#pragma once
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "client/informer.h"
#include "network/pod_network.h"
#include "node/agent.h"
#include "node/node_objects.h"
#include "node/pod_job.h"
#include "node/probe.h"
#include "node/volume.h"
#include "runtime/runtime.h"

struct agent_server;
struct http_client;
struct tls_client;
struct node_register;

struct node_agent {
    const char *cannot_run;      // why no container can be started on this machine; NULL: they can
    struct node_agent_options o; // strings live in `strings`
    struct arena strings;
    struct env *env;
    struct client *client;
    struct loop *loop;
    struct runtime *runtime;
    struct executor *executor;
    struct job_pool *jobs;
    struct work_queue *pods;     // pod UIDs to be synced
    struct work_queue *statuses; // pod UIDs whose status is to be written
    struct event_recorder *events;
    struct informer *pod_informer, *service_informer, *node_informer;
    struct informer_handler pod_handler, node_handler;
    struct node_objects *objects;
    struct volumes *volumes;
    struct prober *prober;
    struct tls_client *tls;
    struct http_client *http; // for probes and hooks; TLS unchecked, as theirs is upstream
    struct node_register *node;
    struct agent_server *server;
    int64_t node_memory, node_cpu_milli; // capacity

    // True once the runtime's sandboxes have been given to the workers: before that nothing is
    // started, so that nothing is started twice.
    _Atomic(bool) ready;
    _Atomic(bool) stopping;
    _Atomic(unsigned) refs; // agent, take-over job

    pthread_mutex_t lock; // guards workers
    struct map workers;   // UID -> struct pod_worker, one reference each
};

// node_register.c: the Node object, its status and lease.
struct node_register *node_register_new(struct node_agent *a);
void node_register_start(struct node_register *n); // on the loop
void node_register_free(struct node_register *n);  // jobs done
// Something that the Ready condition depends on has changed. Any thread.
void node_register_wake(struct node_register *n);
// {"cpu":…,"memory":…,"pods":…}: made once, lives as long as the agent.
const struct value *node_register_allocatable(struct node_register *n);
void node_register_on_change(struct node_agent *a, struct object *old, struct object *new);

// agent_server.c
int agent_server_new(struct node_agent *a, struct agent_server **ret, struct err *e);
void agent_server_end_streams(struct agent_server *s); // while jobs still run
void agent_server_free(struct agent_server *s);
unsigned agent_server_port(const struct agent_server *s);
// A container has changed by itself: log streams that follow it look again. Any thread.
void agent_server_container_changed(struct agent_server *s, struct str container_id);
