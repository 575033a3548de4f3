// Parts: what a role such as `coracle server` is made of. Each room supplies its own (ROOM/part.h);
// the role has a list of them, in the order in which they need each other, and starts them in that
// order and stops them in the reverse. A part is left out by a word of --without.
//
//     static int start(struct part_host *h, void **ret_state, struct err *e)
//     {
//         struct scheduler *s = scheduler_start(h->client_as(h, "kube-scheduler", ...), ...);
//         *ret_state = s;
//         return 0;
//     }
//     static void stop(struct part_host *h, void *state) { scheduler_stop(state); }
//     const struct part scheduler_part = {"scheduler", "scheduler", .start = start, .stop = stop};
//
// A new part: write it in its room, against this header and what the room may know; add it to the
// role's list behind what it needs. What it leaves for parts behind it is a slot of struct
// part_host; what only it needs is its state. A part that is switched off has started nothing, so
// the slots that it would have filled are NULL.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/flag.h"

struct env;
struct metric_table;
struct part_host;

struct part {
    const char *name;    // "scheduler": "starting the scheduler: ..."
    const char *without; // words of --without that leave it out, separated by spaces; NULL: none
    struct metric_table *metrics; // registered while the part runs (metric.h); NULL: none
    // Flags of its own on the role's command line. Their values are variables of the part's file:
    // a process has one of each part.
    const struct flag *flags;
    size_t nflags;
    // On the main thread. Blocks until the part runs. A start that fails still gets its stop:
    // *ret_state, NULL at first, is what stop is called with, so it is set before the first step
    // that needs undoing.
    int (*start)(struct part_host *h, void **ret_state, struct err *e);
    // On the main thread, after all parts behind it have stopped. Accepts what a failed start left
    // half done, and a NULL state. NULL: nothing to stop.
    void (*stop)(struct part_host *h, void *state);
};

// What a role gives to its parts, and what they leave for each other. Strings and slots live until
// the role ends, or until the part that filled the slot stops.
struct part_host {
    struct env *env;
    struct arena *arena; // as long as the role; main thread only

    // Settings that several parts share.
    const char *data_dir;    // what lasts; each part has files or a directory of its own in it
    const char *state_dir;   // what ends with the machine (/run)
    const char *log_dir;     // containers' logs
    const char *cgroup_root; // below which pods run
    const char *bind;        // address that servers listen on
    uint16_t port;           // of the Kubernetes API
    struct str node_name, node_ip;
    struct str advertise; // under which others reach this server
    struct str service_cidr, service_ip, pod_cidr, dns_ip, cluster_domain;
    struct str version; // of the Kubernetes API: "v1.34.0+coracle"

    // The main thread's loop: signals, and the informers and timers of the control plane.
    struct loop *loop;

    // A client of the cluster that acts as `user` in `groups`; `name` is its field manager. The
    // host's: never freed by the part, and there until every part has stopped that started behind
    // the API server. Filled by the role.
    struct client *(*client_as)(struct part_host *h, const char *name, const char *user,
                                const char *const *groups, size_t ngroups);

    // Slots, each with the part that fills it.
    struct store *store; // store
    struct pki *pki;     // certificates
    struct str ca_pem;   //   the cluster's CA
    // Issues a certificate of the cluster's CA for a server on this node, in h->arena.
    int (*issue)(struct part_host *h, struct str user, const struct str *organizations,
                 size_t norganizations, struct str *ret_cert_pem, struct str *ret_key_pem,
                 struct err *e);
    struct apiserver *api;             // API server
    struct loop **http_loops;          // HTTPS server: loops with threads, for other servers too
    size_t nhttp_loops;                //
    struct http_server *http;          //
    struct client *control_client;     // control plane
    struct informers *informers;       //
    struct executor *executor;         //
    struct loop *node_loop;            // node
    struct client *node_client;        //
    struct informers *node_informers;  //
    struct informers *proxy_informers; //
    struct runtime *runtime;           // container runtime
    struct pod_network *pod_network;   // network
    bool has_dns;                      // network: dns_ip answers on this node
};

struct part_set; // those that run

// Whether each word of `without` (separated by commas or spaces) leaves out a part of the list or
// is one of `reserved` (the same form; NULL: none). The error names the word and the choices.
int parts_check_without(const struct part *const *list, size_t n, const char *without,
                        const char *reserved, struct err *e);
// Starts the list in order. On failure everything that began is stopped again, in reverse order,
// and the error says which part it was.
int parts_start(const struct part *const *list, size_t n, const char *without, struct part_host *h,
                struct part_set **ret, struct err *e);
// Stops in reverse order and frees. NULL is nothing.
void parts_stop(struct part_set *p);
