// The roles that host parts of the platform. Each takes argc/argv from its own name on and returns
// the exit status of the process.
#pragma once

// Addresses that every cluster has (docs/operations.md).
#define CLUSTER_SERVICE_CIDR "10.96.0.0/12"
#define CLUSTER_SERVICE_IP   "10.96.0.1"
#define CLUSTER_DNS_IP       "10.96.0.10"
#define CLUSTER_POD_CIDR     "10.244.0.0/16"
#define CLUSTER_DOMAIN       "cluster.local"

int role_server(int argc, char **argv);
int role_image(int argc, char **argv);
int role_reset(int argc, char **argv);
