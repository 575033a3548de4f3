// Service proxy: ClusterIP, NodePort and LoadBalancer addresses by nftables maps (one lookup
// however many services), kept current from Services and EndpointSlices through informers, each
// change one small atomic netlink batch. Table "coracle" in family ip; the agent owns it whole and
// repairs it at start.
#pragma once
#include "client/informer.h"

#define SERVICE_PROXY_TABLE "coracle"

struct service_proxy;
struct service_proxy_options {
    struct informers *informers;
    struct str node_name;
    struct str pod_cidr; // the cluster's: traffic from outside it to a ClusterIP is masqueraded
    const char *table;   // NULL: "coracle"
};
// l: the loop of the informers.
int service_proxy_new(struct loop *l, const struct service_proxy_options *opt,
                      struct service_proxy **ret, struct err *e);
void service_proxy_free(struct service_proxy *p);             // leaves the rules in place
int service_proxy_teardown(const char *table, struct err *e); // deletes the table
