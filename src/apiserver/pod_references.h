// What a pod refers to in its namespace: the one walk over a pod's fields that the Node authoriser
// (whose pod opens which object to which node) and admission (mirror pods refer to nothing) share,
// so that what one of them sees the other cannot miss.
#pragma once
#include "base/arena.h"
#include "object/value.h"

// A mirror pod describes what runs on a node already; nobody grants anything by it.
#define POD_MIRROR_ANNOTATION "kubernetes.io/config.mirror"

// `resource`: "secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts",
// "resourceclaims", "clustertrustbundles". `name` is borrowed from the pod or lies in `a`; it is
// STR_NULL where objects are chosen by a selector. False stops the walk.
typedef bool pod_reference_fn(void *ctx, const char *resource, struct str name);
void pod_references(struct arena *a, const struct value *pod, pod_reference_fn *fn, void *ctx);
