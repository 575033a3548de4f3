// Pulling from registries: the parts that read what a registry says.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "node/image_name.h"

// WWW-Authenticate of a 401.
struct image_challenge {
    bool bearer; // else basic
    struct str realm, service, scope;
};
// false: neither of the two, or malformed. Views into header, or a.
bool image_challenge_parse(struct arena *a, struct str header, struct image_challenge *ret);

// "https://registry-1.docker.io" for docker.io; http only for this machine itself.
struct str image_registry_url(struct arena *a, const struct image_name *n);
// The address that a Location header means, seen from the request's URL; STR_NULL where it is no
// http URL.
struct str image_redirect_url(struct arena *a, struct str from, struct str location);
struct str image_url_origin(struct str url); // "https://host:port"
