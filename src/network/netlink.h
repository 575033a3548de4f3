// rtnetlink, as far as pod networks need it: links, addresses, routes, each one request that is
// acknowledged. On libmnl. A socket belongs to the network namespace it was opened in, so a worker
// can hold one in a pod's namespace without entering it again. One thread at a time per socket.
#pragma once
#include "base/err.h"
#include <netinet/in.h>

struct mnl_socket;
struct nlmsghdr;

struct netlink {
    struct mnl_socket *socket;
    uint32_t sequence;
};

// protocol: NETLINK_ROUTE or NETLINK_NETFILTER. netns: path of a namespace to open the socket in,
// or NULL for the caller's own. The calling thread is in its own namespace again when this returns.
int netlink_open(struct netlink *n, int protocol, const char *netns, struct err *e);
void netlink_close(struct netlink *n);
// Sends one message and waits for its acknowledgement: 0 or -errno.
int netlink_send(struct netlink *n, struct nlmsghdr *m);
// Sends one request (a dump) and gives every answer to fn (its result is ignored) until the end: 0
// or -errno. -EINTR: what is dumped changed meanwhile, the answers are not a whole; ask again.
int netlink_exchange(struct netlink *n, struct nlmsghdr *m,
                     int (*fn)(const struct nlmsghdr *m, void *ctx), void *ctx);

// All return 0 or -errno. Names are at most 15 characters.
int link_index(struct netlink *n, const char *name); // index, or -ENODEV
int link_mtu(struct netlink *n, const char *name);   // or -errno
// A veth pair: `name` here, `peer` in the namespace of netns_fd.
int link_add_veth(struct netlink *n, const char *name, const char *peer, int netns_fd,
                  unsigned mtu);
int link_up(struct netlink *n, int index);
int link_delete(struct netlink *n, const char *name); // -ENODEV is 0
// -EEXIST is 0.
int address_add(struct netlink *n, int index, struct in_addr address, unsigned prefix);
// -EADDRNOTAVAIL is 0.
int address_del(struct netlink *n, int index, struct in_addr address, unsigned prefix);
// gateway 0: on-link. scope link then. -EEXIST is 0.
int route_add(struct netlink *n, int index, struct in_addr destination, unsigned prefix,
              struct in_addr gateway);
// Name of the device of the default route, into out (IFNAMSIZ); -ENOENT: there is none.
int route_default_device(struct netlink *n, char *out);
// Calls fn with the name of every link; twice where links changed meanwhile.
int link_each(struct netlink *n, void (*fn)(void *ctx, const char *name, int index), void *ctx);
