// Image names as people write them and what they stand for (the "familiar names" of Docker's
// reference grammar, which every Kubernetes node follows).
//
//     busybox                  -> docker.io/library/busybox:latest
//     me/app:1                 -> docker.io/me/app:1
//     localhost/x              -> localhost/x:latest
//     host:5000/a/b@sha256:…   -> host:5000/a/b@sha256:…
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct image_name {
    struct str domain; // "docker.io"
    struct str path;   // "library/busybox"
    struct str tag;    // "latest"; STR_NULL with a digest and no tag
    struct str digest; // "sha256:…" or STR_NULL
};

// Error ERR_BAD_REQUEST: `couldn't parse image name "Foo": invalid reference format: …`. Views
// point into `name`, literals, or `a`.
int image_name_parse(struct arena *a, struct str name, struct image_name *ret, struct err *e);
// "docker.io/library/busybox:latest": with the digest where there is one, else with the tag.
struct str image_name_text(struct arena *a, const struct image_name *n);
// "docker.io/library/busybox"
struct str image_name_repository(struct arena *a, const struct image_name *n);
