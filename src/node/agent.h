// The node agent: takes the pods that are bound to this node and makes them true. It registers the
// Node, keeps its lease and status, runs one worker per pod (pod_worker.h), and serves logs, exec
// and attach to the API server.
//
// Calling sequence, on the loop's own thread or before the loop runs:
//
//     node_agent_prepare(data_dir, …)    first of all, even before the runtime is made: volumes
//                                        that are mounts must be seen in the supervisor's mount
//                                        namespace
//     node_agent_start(&options, &agent, &e)
//     informers_start(...)               the agent asks the factory for its informers in start
//     node_agent_stop(agent, 5 s)        containers go on; a later agent takes them back
//
// What the options point to (client, runtime, network, informers) must outlive the agent. Strings
// are copied.
#pragma once
#include "base/err.h"
#include "base/str.h"

struct client;
struct env;
struct informers;
struct loop;
struct node_agent;
struct pod_network;
struct runtime;

// For api_port: whichever is free (tests).
#define NODE_AGENT_ANY_PORT 1

struct node_agent_options {
    struct env *env;
    struct client *client; // as system:node:NAME
    struct informers *informers;
    struct loop *loop;
    struct runtime *runtime;
    struct pod_network *network; // NULL: pods get no address of their own (simulation)
    struct str node_name;
    const char *data_dir; // "/var/lib/coracle": pods/UID/… is below it
    const char *log_dir;  // NULL: "/var/log/pods"
    struct str node_ip;   // InternalIP of the node and hostIP of its pods
    // The node's own pod range where it is known beforehand. STR_NULL: the agent waits for
    // spec.podCIDR of its Node, hands it to `network`, and is not Ready before.
    struct str pod_cidr;
    struct str cluster_dns;    // "10.96.0.10"; STR_NULL: pods use the node's resolvers
    struct str cluster_domain; // "cluster.local"

    // The agent's HTTPS API. api_port 0: none is served.
    uint16_t api_port;      // 10250
    struct str api_address; // STR_NULL: "0.0.0.0"
    struct str serving_cert_pem, serving_key_pem, client_ca_pem;
    // Who may use it: a verified client certificate with this common name, or with this
    // organisation.
    struct str api_client_user;  // STR_NULL: "kube-apiserver-kubelet-client"
    struct str api_client_group; // STR_NULL: "system:masters"

    unsigned max_pods;             // 0: 110
    int64_t pids_limit;            // of each container; 0: none
    const struct str (*labels)[2]; // further labels of the Node
    size_t nlabels;
    unsigned workers; // pods synced at the same time; 0: 8. Virtual time: all on the loop
};

// Makes DIR/pods a shared mount point. Idempotent; *ret_made: it was none before (on failure
// nothing of that is left). Needs CAP_SYS_ADMIN.
int node_agent_prepare(const char *data_dir, bool *ret_made, struct err *e);
// Undoes prepare and everything that pods have mounted below DIR/pods (scripts/down).
int node_agent_teardown(const char *data_dir, struct err *e);

int node_agent_start(const struct node_agent_options *opt, struct node_agent **ret, struct err *e);
// Waits at most grace_ns for calls into the runtime that are under way (an image pull, a container
// in its grace period). 0: everything is freed. -ETIMEDOUT: some still run; the caller must leave
// what it gave to the agent alone and end the process.
int node_agent_stop(struct node_agent *a, uint64_t grace_ns);
// The port that the API listens on; 0: none.
unsigned node_agent_port(const struct node_agent *a);
