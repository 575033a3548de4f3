// The roles that host parts of the platform. Each takes argc/argv from its own name on and returns
// the exit status of the process.
#pragma once
#include "cli/verbs.h"

// Addresses that every cluster has (docs/operations.md).
#define CLUSTER_SERVICE_CIDR "10.96.0.0/12"
#define CLUSTER_SERVICE_IP   "10.96.0.1"
#define CLUSTER_DNS_IP       "10.96.0.10"
#define CLUSTER_POD_CIDR     "10.244.0.0/16"
#define CLUSTER_DOMAIN       "cluster.local"

struct cli;
int role_server(struct cli *c, int argc, char **argv);
int role_reset(struct cli *c, int argc, char **argv);
extern const struct verb role_helm_verbs[];  // template
extern const struct verb role_image_verbs[]; // import, list, pull, remove
