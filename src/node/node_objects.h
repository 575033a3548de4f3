// ConfigMaps and Secrets that this node's pods refer to: one watch for each object (the Node
// authoriser permits no more), shared by all pods that name it and ended with the last of them. A
// change wakes the pods concerned: that is how mounted files follow.
#pragma once
#include "client/client.h"

struct node_objects;
// changed: on the loop, for each pod that refers to an object that has changed.
struct node_objects *node_objects_new(struct client *c, struct loop *l,
                                      void (*changed)(void *ctx, struct str pod_uid), void *ctx);
void node_objects_free(struct node_objects *o); // on the loop or after it

struct node_object_ref {
    const char *resource; // "configmaps" or "secrets"; a literal
    struct str name;
};
// The set of objects that the pod refers to, replacing the former; n 0 ends it. Any thread.
void node_objects_set(struct node_objects *o, struct str pod_uid, struct str ns,
                      const struct node_object_ref *refs, size_t n);
// The object as last seen; asks the API where nothing has been seen. A reference. ERR_NOT_FOUND
// reads `configmap "x" not found`. Any thread but the loop's (it may block).
int node_objects_get(struct node_objects *o, const char *resource, struct str ns, struct str name,
                     struct object **ret, struct err *e);
