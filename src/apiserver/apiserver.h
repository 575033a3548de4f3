// The API server: the only room that touches the store. Everything enters through one of two doors:
// HTTPS (http.c turns an exchange into a struct api_call) and in-process (a struct api_call
// straight away); behind both stands the same path: authorise, decode, patch, default, admit,
// validate, store, answer.
//
// A call never blocks a loop: api_step runs it as far as it can; when it has to wait (for the
// store's commit, for an admission webhook) it returns API_WAIT and `wake` is called once, from any
// thread, when it can go on; then call api_step again.
#pragma once
#include "schema/request.h"
#include "store/store.h"
#include "wire/http.h"

struct apiserver;
struct authn;
struct authz;
struct pki;

struct apiserver_options {
    struct env *env;
    struct store *store; // owned by the caller, outlives the server
    // Keys and certificates (auth.h), opened by the role, which outlives the server. NULL in
    // simulation: then no ServiceAccount tokens are signed or accepted and nothing is relayed to
    // nodes.
    const struct pki *pki;
    struct str advertise_address; // what clients in pods and kubeconfigs use: "10.0.0.5"
    uint16_t port;
    struct str service_cidr;                  // "10.96.0.0/12"
    struct str pod_cidr;                      // "10.244.0.0/16"; each node gets a /24
    struct str cluster_domain;                // "cluster.local"
    uint16_t node_port_first, node_port_last; // 30000, 32767
    struct str version;                       // "v1.34.0+coracle"
};

// Loads the caches from the store, makes what a cluster always has (namespaces default,
// kube-system, kube-public, kube-node-lease; default RBAC roles; priority classes; the kubernetes
// Service).
int apiserver_new(const struct apiserver_options *opt, struct apiserver **ret, struct err *e);
void apiserver_free(struct apiserver *s);

// The HTTP face.
const struct http_handler *apiserver_http_handler(struct apiserver *s);

enum api_progress { API_DONE, API_WAIT };
#define API_LENGTHY ((size_t)64 << 10) // from here on, bytes are long work
struct api_call {
    struct api_request request;
    struct identity identity;
    // The caller of api_step has asked the authoriser already (the HTTP face does, before it reads
    // the body).
    bool authorised;
    // Long work (much was sent, or is there already) lies ahead: true, having handed the call on to
    // a thread that calls api_step again, with hand_on NULL. NULL: it is done where api_step was
    // called, which is right for everybody but event loops.
    bool (*hand_on)(struct api_call *c);
    size_t body_bytes; // of the body as it came
    void (*wake)(struct api_call *c);
    void *ctx;
    // Results, once done: err.reason ERR_NONE is success.
    struct api_answer answer;
    struct err err;
    // private
    struct arena arena;
    struct op *op;
};
void api_call_init(struct api_call *c);
enum api_progress api_step(struct apiserver *s, struct api_call *c);
void api_call_done(struct api_call *c);

// Watching, in-process: events for one request, delivered in batches on the loop.
struct api_watch;
struct api_watch_handler {
    void (*on_events)(void *ctx, const struct watch_event *events, size_t n);
    void (*on_end)(void *ctx, const struct err *e); // the watcher was too slow, or the server stops
    void *ctx;
};
int api_watch_start(struct apiserver *s, struct loop *l, const struct api_request *r,
                    const struct identity *who, const struct api_watch_handler *h,
                    struct api_watch **ret, struct err *e);
void api_watch_stop(struct api_watch *w); // on its loop
