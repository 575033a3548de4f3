// What the cluster's zone holds: names of Services, their endpoints and pods (the DNS specification
// of Kubernetes, schema version 1.1), answered from informers through indexes; nothing is scanned.
#pragma once
#include "client/informer.h"
#include "network/dns_message.h"

struct dns_zone;
// Adds indexes to the informers of Services and EndpointSlices: before they start. on_change is
// called on the informers' loop whenever an answer may have become another.
struct dns_zone *dns_zone_new(struct informers *f, struct str domain, void (*on_change)(void *ctx),
                              void *ctx);
void dns_zone_free(struct dns_zone *z);

enum dns_zone_result {
    DNS_ZONE_ANSWERED,
    DNS_ZONE_FOREIGN, // not a name of this cluster: ask upstream
    DNS_ZONE_CHASE,   // *ret holds a CNAME whose target is foreign: add what upstream says of it
};
// Records and their strings live in `a`.
enum dns_zone_result dns_zone_resolve(struct dns_zone *z, struct arena *a, struct str name,
                                      uint16_t type, struct dns_answer *ret);
