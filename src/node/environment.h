// Environment variables, command and arguments of a container, as upstream makes them:
//   envFrom in order, then env in order (later ones win, $(NAME) refers to what stands before and
//   to service variables), then variables of services that the container did not set itself.
#pragma once
#include "node/pod_field.h"

struct environment_sources {
    const struct pod_facts *facts;
    // A ConfigMap or Secret of the pod's namespace ("configmaps", "secrets"): its tree in `a`.
    // ERR_NOT_FOUND is what `optional` forgives.
    int (*get)(void *ctx, struct arena *a, const char *resource, struct str ns, struct str name,
               const struct value **ret, struct err *e);
    void *ctx;
    // Services whose addresses become variables: those of the pod's namespace (when it has
    // enableServiceLinks) and default/kubernetes. Trees; order is kept.
    const struct value *const *services;
    size_t nservices;
};

// *ret is an array of {name, value} in `a`, each name once.
int environment_make(struct arena *a, const struct environment_sources *s,
                     const struct value *container, struct str (**ret)[2], size_t *ret_n,
                     struct err *e);
// Which services a pod of namespace ns is told about (see above): true when `service` is one.
bool environment_wants_service(const struct value *service, struct str ns, bool links);

// $(NAME) by the given variables; $$ is $; a reference to an unknown name stays as it is.
struct str environment_expand(struct arena *a, struct str text, const struct str (*env)[2],
                              size_t nenv);
