// The parts of a role (base/part.h) that this room supplies, in the order in which they need each
// other: certificates and store, API server, HTTPS server, kubeconfig.
#pragma once
#include "base/part.h"

extern const struct part apiserver_part_certificates; // fills host.pki, ca_pem, issue
extern const struct part apiserver_part;              // fills host.api
extern const struct part apiserver_part_https;        // fills host.http, http_loops
extern const struct part apiserver_part_kubeconfig;   // writes DATA/admin.kubeconfig
