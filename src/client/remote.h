// The remote transport of client.h: a cluster somewhere else, over HTTPS with JSON bodies.
//
// Calls block the calling thread while a loop of the transport's own does the work; watches are
// streams on the loop that is given to them. So one client serves worker threads and several loops.
#pragma once
#include "client/client.h"

struct client_remote_options {
    struct env *env;
    struct str url;               // "https://10.0.0.5:6443", no trailing slash
    struct str ca_pem;            // STR_NULL: the system's store
    struct str cert_pem, key_pem; // client certificate; STR_NULL: none
    struct str token;             // bearer token; STR_NULL: none
    bool insecure;                // do not check the server's certificate
    struct str name;              // field manager and User-Agent
};
// Copies what it keeps. No connection is made yet. client_free ends it: no call may be running,
// every watch must be stopped, and it runs on the loop of the watches (or when that loop has
// stopped).
int client_remote_new(const struct client_remote_options *opt, struct client **ret, struct err *e);

// A request as the method, path and query that the API server reads: shared with tests. In `a`.
struct client_remote_target {
    const char *method;
    struct str path; // "/apis/apps/v1/namespaces/default/deployments/web/status?fieldManager=x"
    const char *content_type;
    struct str body;
};
void client_remote_target(struct arena *a, const struct api_request *r, bool watch,
                          struct client_remote_target *ret);
