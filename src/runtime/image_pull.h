// Pulling images from registries into the image store.
#pragma once
#include "content/image_name.h"
#include "content/image_store.h"
#include "object/value.h"

struct image_puller; // belongs to one store; any thread
struct image_puller *image_puller_new(struct image_store *s);
void image_puller_free(struct image_puller *p); // no pull is under way
// Blocks. auth: {"username":…,"password":…} or NULL. Pulls of the same name with the same
// credentials at the same time are one pull.
int image_pull(struct image_puller *p, struct arena *a, struct str image, const struct value *auth,
               struct image_info *ret, struct err *e);

// --- the parts that read what a registry says, for tests ---

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
