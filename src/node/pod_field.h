// The downward API: what a container may learn about its own pod, by fieldRef and resourceFieldRef,
// for environment variables and for files alike.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "object/value.h"

struct pod_facts {
    const struct value *pod;         // the whole object
    struct str pod_ip, host_ip;      // as known now; the object's status may be older
    const struct value *allocatable; // of the node: stands in for absent limits; or NULL
};

// "metadata.name", "metadata.labels['app']", "spec.nodeName", "status.podIP" … The error is
// ERR_INVALID with the field's path.
int pod_field_ref(struct arena *a, const struct pod_facts *facts, struct str path, struct str *ret,
                  struct err *e);
// {"containerName":…,"resource":"limits.cpu","divisor":"1m"}; container: where the reference names
// none (environment variables).
int pod_resource_ref(struct arena *a, const struct pod_facts *facts, const struct value *container,
                     const struct value *ref, struct str *ret, struct err *e);
// A container of the pod by name, init and ephemeral ones included; or NULL.
const struct value *pod_container_spec(const struct value *pod, struct str name);
// A value of a Secret or of binaryData. false: not base64.
bool pod_data_decode(struct arena *a, struct str text, struct str *ret);
