// What is said of an image that is on this machine, to people and to pods.
#pragma once
#include "base/str.h"

struct image_info {
    struct str id;                    // "sha256:…" of the config
    const struct str *tags, *digests; // "docker.io/library/busybox:latest", "…@sha256:…"
    size_t ntags, ndigests;
    int64_t size;
    int64_t uid; // of Config.User, -1 when none or a name
    struct str username;
};
