// What a pod's resolver and its /etc/hosts say.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "object/value.h"

struct pod_dns_options {
    struct str cluster_dns, cluster_domain;
    struct str host_resolv_conf; // content of the node's resolv.conf
};
// By dnsPolicy and dnsConfig. At most 3 nameservers and 32 search domains of 2,048 characters, as
// upstream. *ret_note: why something was left out or fell back (for an event), or NULL.
struct str pod_resolv_conf(struct arena *a, const struct pod_dns_options *o,
                           const struct value *pod, const char **ret_note);
// The node's resolv.conf; where that is a loopback stub, systemd-resolved's real one.
struct str pod_host_resolv_conf(struct arena *a);

// spec.hostname or the pod's name, at most 63 characters.
struct str pod_hostname(const struct value *pod);
// Managed /etc/hosts. ip STR_NULL: not known. host_file: content of the node's, for host network.
struct str pod_hosts_file(struct arena *a, const struct value *pod, struct str ip,
                          struct str cluster_domain, struct str host_file);
