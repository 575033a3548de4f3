// A pod's network: address, routes and port maps in its network namespace. Built in (a routed veth
// pair, host-local addresses from the node's pod range, over rtnetlink in this process), or by CNI
// plugins where a configuration directory has one. Blocking, any thread; state is on disk so that a
// restarted agent goes on and nothing leaks.
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct pod_network;
struct pod_network_options {
    const char *state_dir;    // addresses in use: "/var/lib/coracle/network"
    const char *cni_conf_dir; // "/etc/cni/net.d"; used when it holds a .conflist/.conf; NULL: never
    const char *cni_bin_dirs; // "/opt/cni/bin:/usr/lib/cni"
    struct str pod_cidr;      // this node's: "10.244.0.0/24"; may come later (pod_network_set_cidr)
    // Of all nodes' pods: traffic to it is not masqueraded. STR_NULL: as pod_cidr.
    struct str cluster_cidr;
    unsigned mtu; // 0: that of the default route's device
};
int pod_network_new(const struct pod_network_options *opt, struct pod_network **ret, struct err *e);
void pod_network_free(struct pod_network *n);
int pod_network_set_cidr(struct pod_network *n, struct str cidr, struct err *e);

struct pod_port_map {
    uint16_t host_port, container_port;
    uint8_t protocol;   // IPPROTO_*
    struct str host_ip; // STR_NULL: any
};
struct pod_network_request {
    struct str sandbox_id, netns_path, pod_namespace, pod_name, pod_uid;
    const struct pod_port_map *ports;
    size_t nports;
};
// *ret_ip in `a`. Idempotent per sandbox: a second add returns the same address.
int pod_network_add(struct pod_network *n, struct arena *a, const struct pod_network_request *r,
                    struct str *ret_ip, struct err *e);
// Idempotent.
int pod_network_del(struct pod_network *n, const struct pod_network_request *r, struct err *e);
// Release what belongs to sandboxes that are not in the list (after a restart). Before the range is
// known nothing can be added; pod_network_set_cidr then does it.
int pod_network_collect(struct pod_network *n, const struct str *live_sandbox_ids, size_t count,
                        struct err *e);
// Takes links, rules and addresses off the machine (scripts/down).
int pod_network_teardown(struct pod_network *n, struct err *e);
