// The in-process transport of client.h: calls go straight to the API server's entry below HTTP. It
// stands here, beside the roles, because neither room may know the other.
#pragma once
#include "apiserver/apiserver.h"
#include "client/client.h"

// A client that acts as `user` in `groups` (system:authenticated is added). name: field manager.
struct client *inprocess_client_new(struct apiserver *s, struct env *env, const char *name,
                                    const char *user, const char *const *groups, size_t ngroups);
