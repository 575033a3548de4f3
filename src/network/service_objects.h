// What proxy and DNS read from Services and EndpointSlices in the same way: addresses, and by which
// index an object is found.
#pragma once
#include "client/informer.h"

// An IPv4 address in text, to network order.
bool service_address_parse(struct str s, uint32_t *ret);
// The Service that a slice belongs to (its label), STR_NULL: none. Borrowed from the object.
struct str service_of_slice(struct arena *a, const struct object *slice);
// Adds the index "service" (namespace/name of the Service) to an informer of EndpointSlices, and
// "cluster-ip" (spec.clusterIP) to one of Services. Before they start; once, whoever asks.
void service_index_slices(struct informer *slices);
void service_index_addresses(struct informer *services);
