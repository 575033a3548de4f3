// The security context of a container: the pod's, overridden field by field by the container's.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "runtime/runtime.h"

// Fills the security part of `c`. ERR_INVALID with upstream's words where runAsNonRoot forbids to
// run the image ("container has runAsNonRoot and image will run as root (pod: …, container: …)").
int pod_security_apply(struct arena *a, const struct value *pod, const struct value *container,
                       const struct image_info *image, struct runtime_container_config *c,
                       struct err *e);
