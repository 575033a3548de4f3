// What pods need of nftables besides Services: masquerading of traffic that leaves the cluster, and
// containers' host ports. Table "coracle-pods" in family ip. Any thread (one lock).
#pragma once
#include "network/pod_network.h"
#include <netinet/in.h>

// Makes the table with its chains and maps where it is missing; the port maps of running pods stay
// (a restarted agent takes its pods back). pod_cidr is the node's (or the cluster's) pod range:
// what comes from it and leaves the cluster is masqueraded.
int host_ports_init(struct str pod_cidr, struct err *e);
// Idempotent per address: replaces what the address had.
int host_ports_add(struct in_addr pod, const struct pod_port_map *ports, size_t nports,
                   struct err *e);
int host_ports_del(struct in_addr pod, struct err *e);
int host_ports_teardown(struct err *e);
