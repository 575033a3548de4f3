// The kernel's half of the service proxy: what a frontend (an address and port that clients use)
// and its backends are in nftables. Knows nothing of API objects; proxy.c makes frontends out of
// those. One thread at a time.
#pragma once
#include "base/err.h"
#include <netinet/in.h>

struct proxy_rules;

struct backend {
    uint32_t address; // network order
    uint16_t port;    // host order
};

enum frontend_flags {
    FRONTEND_LOCAL = 1, // traffic keeps its source address (a Local traffic policy)
    // No backends: drop silently instead of refusing (Local without local backends).
    FRONTEND_DROP = 2,
    // The address is a Service's alone: its other ports are refused at once.
    FRONTEND_CLUSTER = 4,
};

struct frontend {
    uint32_t address; // network order; 0: any address of this machine (a NodePort)
    uint8_t protocol; // IPPROTO_*
    uint16_t port;    // host order
    uint8_t flags;
    uint32_t affinity_seconds; // 0: none
    const struct backend *backends;
    size_t nbackends;
    // FRONTEND_LOCAL: the policy is for clients outside the cluster; pods and this machine get
    // these instead. 0: no difference is made.
    const struct backend *inside;
    size_t ninside;
};

// table: literal or outliving the rules. pod_cidr: traffic from elsewhere to a cluster address is
// masqueraded.
int proxy_rules_new(const char *table, struct str pod_cidr, struct proxy_rules **ret,
                    struct err *e);
void proxy_rules_free(struct proxy_rules *r); // the kernel keeps them

// A batch of replacements: each takes a group's (a Service's) frontends as they are in the kernel
// to what they shall be. `from` and `to` are sorted by address, protocol, port; unchanged ones cost
// nothing.
// whole: the table is made anew, every `from` is empty.
void proxy_rules_begin(struct proxy_rules *r, bool whole);
void proxy_rules_replace(struct proxy_rules *r, const struct frontend *from, size_t nfrom,
                         const struct frontend *to, size_t nto);
// All or nothing. After a failure the kernel has what it had; make a whole batch next.
int proxy_rules_commit(struct proxy_rules *r, struct err *e);
int proxy_rules_delete(const char *table, struct err *e);

int frontend_cmp(const struct frontend *a, const struct frontend *b); // by address, protocol, port
bool frontend_same(const struct frontend *a, const struct frontend *b);
