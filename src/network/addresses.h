// Addresses of one node's pod range, handed out to sandboxes and remembered on disk: one
// empty-named file per address whose content is the sandbox, made with O_EXCL, so that neither a
// crash nor a second agent hands an address out twice. Not thread-safe; pod_network.c holds the
// lock.
#pragma once
#include "base/err.h"
#include <netinet/in.h>

struct addresses;
// Loads DIR (made if missing). cidr: "10.244.0.0/24"; the first address is the gateway, the last is
// not used.
int addresses_open(const char *dir, struct str cidr, struct addresses **ret, struct err *e);
void addresses_free(struct addresses *a);
struct in_addr addresses_gateway(const struct addresses *a);
// The sandbox's address, a new one where it has none. ERR_TOO_MANY_REQUESTS: the range is used up.
int addresses_take(struct addresses *a, struct str sandbox, struct in_addr *ret, struct err *e);
bool addresses_find(const struct addresses *a, struct str sandbox, struct in_addr *ret);
int addresses_release(struct addresses *a, struct str sandbox, struct err *e); // none: nothing
// Calls fn for every holder; it may release that one.
void addresses_each(struct addresses *a,
                    void (*fn)(void *ctx, struct str sandbox, struct in_addr address), void *ctx);
// "10.244.0.0/24" into network (host order) and prefix.
bool cidr_parse(struct str text, uint32_t *network, unsigned *prefix);
