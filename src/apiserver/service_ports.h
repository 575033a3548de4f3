// Node ports of Services: taken and given back in the transaction of the Service itself. Part of
// strategy_services.c, which see.
#pragma once
#include "apiserver/server.h"

bool service_type_is(const struct value *service, const char *type); // an unset type is ClusterIP
// Whether the type has node ports at all; whether ports that ask for none are given one.
bool service_has_node_ports(const struct value *service);
bool service_allocates_node_ports(const struct value *service);
// Whether a load balancer has to ask each node if it has endpoints.
bool service_needs_health_check(const struct value *service);

// Gives op->new its ports and adds the marks to the transaction; lets go of what op->old held and
// op->new does not. 422 for a port that is outside the range, taken, or named twice.
int service_ports_hold(struct op *op, struct err *e);
// Lets go of all that op->old holds.
void service_ports_release(struct op *op);
