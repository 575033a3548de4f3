// Connection tracking, as far as Services need it: UDP has no end of a connection, so a client that
// keeps sending would be led for ever to where its first datagram went.
#pragma once
#include "network/netlink.h"

struct conntrack_flow {
    uint32_t destination; // as the client sent it; network order
    uint16_t port;        // host order
    uint32_t server;      // who answers
    uint16_t server_port;
};
// Forgets the UDP flows (IPv4) that fn chooses; their next datagram is looked up anew. n: a
// NETLINK_NETFILTER socket. 0 or -errno (a kernel without ctnetlink: -EOPNOTSUPP or the like).
int conntrack_forget_udp(struct netlink *n, bool (*fn)(void *ctx, const struct conntrack_flow *f),
                         void *ctx);
