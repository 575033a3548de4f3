// As whom a container runs: numbers from what pod and image say and from the image's own
// /etc/passwd and /etc/group.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "content/image_store.h"
#include "runtime/runtime.h"

struct oci_user {
    uint32_t uid, gid;
    const uint32_t *groups; // supplementary
    size_t ngroups;
    struct str home; // "/" when passwd does not say
};
// Errors as containerd words them: `unable to find user web: no matching entries in passwd file`.
int oci_user_resolve(struct arena *a, const struct image_details *image,
                     const struct runtime_container_config *c, struct oci_user *ret, struct err *e);
// The same from texts, for tests.
int oci_user_from(struct arena *a, struct str passwd, struct str group, struct str image_user,
                  const struct runtime_container_config *c, struct oci_user *ret, struct err *e);
