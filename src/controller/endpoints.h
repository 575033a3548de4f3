// What stands behind a Service, worked out once for both of its faces (Endpoints and
// EndpointSlices). Private to endpoints*.c.
#pragma once
#include "controller/pod_facts.h"

// A set of ports that pods of a service agree on, and the pods that do.
struct endpoint {
    const struct pod_facts *pod;
    struct str hostname; // below a headless service; or STR_NULL
    bool ready, serving, terminating;
    bool published; // service publishes not-ready addresses
};
struct endpoint_group {
    struct value *ports; // EndpointSlice form: [{name, protocol, port, appProtocol}]
    struct endpoint *items;
    size_t n;
};
struct service_view {
    struct control *control;
    struct arena *a;
    struct object *object;
    const struct value *service;
    struct str ns, name;
    bool headless;
    struct endpoint_group *groups;
    size_t ngroups;
    struct value *owner; // reference to the service
};

// What says that an Endpoints object is kept by endpoints_object.c.
#define ENDPOINTS_MANAGED_BY "endpoints.kubernetes.io/managed-by"
#define ENDPOINTS_MANAGER    "endpoint-controller"

// Of EndpointSlices: who keeps it, and of which service it is; the index "service" finds slices by
// "namespace/service".
#define SLICE_MANAGED_BY   "endpointslice.kubernetes.io/managed-by"
#define SLICE_SERVICE_NAME "kubernetes.io/service-name"
#define SLICE_HEADLESS     "service.kubernetes.io/headless"
enum { SLICE_ENDPOINTS_MAX = 100 };
void endpoint_slices_index(struct arena *a, const struct object *o,
                           void (*emit)(void *ctx, struct str value), void *ctx);
// Equal lists; an empty one may come back as none.
bool endpoints_same_list(const struct value *a, const struct value *b);

int endpoints_write(struct service_view *v, struct informer *endpoints, struct err *e);
int endpoint_slices_write(struct service_view *v, struct informer *slices, struct expectations *x,
                          struct str key, struct err *e);
