// Cluster DNS: services (A, SRV, PTR, headless, ExternalName), pods with hostname/subdomain,
// forwarding of the rest to the machine's resolvers. Answers from informers' snapshots; UDP and
// TCP; never blocks.
#pragma once
#include "client/informer.h"

struct dns_server;
struct dns_server_options {
    struct informers *informers;
    struct str cluster_domain; // "cluster.local"
    struct str listen;         // "10.96.0.10:53" or "127.0.0.1:5353"
    const char *resolv_conf;   // upstreams; NULL: "/etc/resolv.conf"
};
// Puts the cluster's DNS address on this machine's loopback device (every node answers it itself),
// or takes it off.
int dns_address_add(struct str ip, struct err *e);
int dns_address_del(struct str ip, struct err *e);

int dns_server_new(struct loop *l, const struct dns_server_options *opt, struct dns_server **ret,
                   struct err *e);
void dns_server_free(struct dns_server *s);
