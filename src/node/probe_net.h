// HTTP and TCP probes: one attempt each, on the loop, without threads.
#pragma once
#include "object/value.h"
#include "wire/http_client.h"

struct probe_net;
struct probe_attempt;
struct probe_net *probe_net_new(struct loop *l, struct http_client *http);
void probe_net_free(struct probe_net *n);

// Once, later, on the loop; not after probe_net_cancel. text: why not ok, in upstream's words.
typedef void probe_net_fn(void *ctx, bool ok, struct str text);
// get: the httpGet action. Ok: a status of 200 to 399 within timeout_ns.
struct probe_attempt *probe_net_http(struct probe_net *n, struct str host, int64_t port,
                                     const struct value *get, uint64_t timeout_ns, probe_net_fn *fn,
                                     void *ctx);
// Ok: the connection is accepted.
struct probe_attempt *probe_net_tcp(struct probe_net *n, struct str host, int64_t port,
                                    uint64_t timeout_ns, probe_net_fn *fn, void *ctx);
void probe_net_cancel(struct probe_attempt *a);
