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

int endpoints_write(struct service_view *v, struct informer *endpoints, struct err *e);
int endpoint_slices_write(struct service_view *v, struct informer *slices, struct expectations *x,
                          struct str key, struct err *e);
