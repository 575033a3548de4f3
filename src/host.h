// What a role needs to know of the machine it runs on.
#pragma once
#include "base/arena.h"
#include "base/err.h"

// The IPv4 address by which others reach this machine: that of the default route's device, else of
// the first device that is up and is no loopback; STR_NULL: it has none but 127.0.0.1.
struct str host_address(struct arena *a);
// The host name in lower case, made fit for a Node's name (RFC 1123 subdomain).
struct str host_name(struct arena *a);
// Takes DIR/lock for this process. ERR_CONFLICT: another process has it; the message says which
// (its pid).
int host_lock(const char *dir, int *ret_fd, struct err *e);
