// The parts of a role (base/part.h) that this room supplies: on the control plane the Service by
// which the cluster's DNS is known; on a node the pod network, the service proxy and the DNS
// server.
#pragma once
#include "base/part.h"

extern const struct part network_part_dns_service;
extern const struct part network_part; // fills host.pod_network, has_dns
