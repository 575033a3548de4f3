// See host_ports.h. The table:
//
//   map ports     (address . protocol . port) -> (pod . port)   0.0.0.0: any of this machine
//   set hairpins  (pod . pod)                                   pods that have ports
//   prerouting, output (dstnat): to a local address -> look up exact address, then any -> dnat
//   postrouting (srcnat): hairpins, and what leaves the cluster from a pod -> masquerade
//
// Deleting a pod's ports needs the keys that map to it: they are read from the kernel's map, which
// is the only place that remembers them across restarts.
#include "network/host_ports.h"
#include "base/arena.h"
#include "base/thread.h"
#include "network/addresses.h"
#include "network/nft.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define TABLE "coracle-pods"

static const struct nft_set ports = {.name = "ports",
                                     .key = {NFT_TYPE_IPV4, NFT_TYPE_PROTO, NFT_TYPE_PORT},
                                     .data = {NFT_TYPE_IPV4, NFT_TYPE_PORT}};
static const struct nft_set hairpins = {.name = "hairpins", .key = {NFT_TYPE_IPV4, NFT_TYPE_IPV4}};

// Two writers of one pod would see each other's half-read map.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum { OFFSET_SOURCE = 12, OFFSET_DESTINATION = 16, OFFSET_DESTINATION_PORT = 2 };

// `ip saddr/daddr & mask == network`
static void match_range(struct nft_batch *b, unsigned offset, uint32_t network, unsigned prefix,
                        enum nft_cmp_ops op)
{
    uint32_t mask = htonl(prefix == 0 ? 0 : ~0u << (32 - prefix)), value = htonl(network);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, offset, 4, 0);
    nft_mask(b, 0, mask, 0);
    nft_compare(b, 0, op, &value, 4);
}

static void port_rules(struct nft_batch *b, const char *chain, bool any_address)
{
    const uint32_t local = RTN_LOCAL;
    nft_rule_begin(b, chain);
    // Not on loopback: from there the kernel routes nothing to a pod.
    match_range(b, OFFSET_DESTINATION, INADDR_LOOPBACK & IN_CLASSA_NET, 8, NFT_CMP_NEQ);
    nft_fib(b, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, 0);
    nft_compare(b, 0, NFT_CMP_EQ, &local, 4);
    if (any_address)
        nft_load(b, 0, 0);
    else
        nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, 0);
    nft_meta(b, NFT_META_L4PROTO, 1);
    nft_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DESTINATION_PORT, 2, 2);
    nft_lookup(b, ports.name, 0, 8, true, false);
    nft_dnat(b, 8, 9);
    nft_rule_end(b);
}

static void all_rules(struct nft_batch *b, uint32_t network, unsigned prefix)
{
    nft_chain_add(b, "prerouting", "nat", NF_INET_PRE_ROUTING, -100);
    nft_chain_add(b, "output", "nat", NF_INET_LOCAL_OUT, -100);
    nft_chain_add(b, "postrouting", "nat", NF_INET_POST_ROUTING, 100);
    for (int any = 0; any <= 1; any++) {
        port_rules(b, "prerouting", any);
        port_rules(b, "output", any);
    }
    nft_rule_begin(b, "postrouting");
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_SOURCE, 4, 0);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, 1);
    nft_lookup(b, hairpins.name, 0, -1, false, false);
    nft_masquerade(b);
    nft_rule_end(b);
    nft_rule_begin(b, "postrouting");
    match_range(b, OFFSET_SOURCE, network, prefix, NFT_CMP_EQ);
    match_range(b, OFFSET_DESTINATION, network, prefix, NFT_CMP_NEQ);
    nft_masquerade(b);
    nft_rule_end(b);
}

static int commit(struct nft_batch *b, struct err *e)
{
    struct netlink n;
    int r = netlink_open(&n, NETLINK_NETFILTER, NULL, e);
    if (r < 0) {
        nft_drop(b);
        return r;
    }
    r = nft_commit(&n, b, e);
    netlink_close(&n);
    return r;
}

// --- what a pod has now ---

struct owned_port {
    uint32_t pod;
    struct nft_element *list;
    size_t n;
};

static void note(void *ctx, const struct nft_element *e)
{
    struct owned_port *o = ctx;
    if (o->pod && e->data[0] != o->pod)
        return;
    o->list = mem_realloc(o->list, (o->n + 1) * sizeof *o->list);
    o->list[o->n++] = *e;
}

// pod 0: all. A table that is not there has nothing.
static int read_owned(uint32_t pod, struct owned_port *ret, struct err *e)
{
    struct netlink n;
    *ret = (struct owned_port){.pod = pod};
    int r = netlink_open(&n, NETLINK_NETFILTER, NULL, e);
    if (r < 0)
        return r;
    r = nft_set_each(&n, TABLE, &ports, note, ret);
    netlink_close(&n);
    return r == -ENOENT || r == 0 ? 0 : err_errno(e, -r, "reading the host ports");
}

// Adds the changes that take a pod's ports away.
static void remove_owned(struct nft_batch *b, const struct owned_port *o)
{
    for (size_t i = 0; i < o->n; i++)
        nft_element_delete(b, &ports, &o->list[i]);
    const struct nft_element hairpin = {.key = {o->pod, o->pod}};
    if (o->n > 0)
        nft_element_delete(b, &hairpins, &hairpin);
}

int host_ports_init(struct str pod_cidr, struct err *e)
{
    uint32_t network;
    unsigned prefix;
    struct owned_port kept;
    if (!cidr_parse(pod_cidr, &network, &prefix))
        return err_set(e, ERR_BAD_REQUEST, "%.*s is not an IPv4 range", STR_ARG(pod_cidr));
    pthread_mutex_lock(&lock);
    int r = read_owned(0, &kept, e);
    if (r == 0) {
        // Replaced whole in one transaction, so that rules of an older version do not linger.
        struct nft_batch *b = nft_begin(TABLE);
        nft_table_add(b);
        nft_table_delete(b);
        nft_table_add(b);
        nft_set_add(b, &ports);
        nft_set_add(b, &hairpins);
        all_rules(b, network, prefix);
        for (size_t i = 0; i < kept.n; i++) {
            const struct nft_element hairpin = {
                .key = {kept.list[i].data[0], kept.list[i].data[0]}};
            nft_element_add(b, &ports, &kept.list[i]);
            nft_element_add(b, &hairpins, &hairpin);
        }
        r = commit(b, e);
    }
    free(kept.list);
    pthread_mutex_unlock(&lock);
    return r;
}

static int add_ports(struct nft_batch *b, uint32_t pod, const struct pod_port_map *list, size_t n,
                     struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct nft_element element = {.data = {pod, htons(list[i].container_port)}};
        char ip[INET_ADDRSTRLEN] = "0.0.0.0";
        if (list[i].host_ip.n >= sizeof ip)
            return err_set(e, ERR_BAD_REQUEST, "hostIP is not an IPv4 address");
        if (list[i].host_ip.n) {
            memcpy(ip, list[i].host_ip.p, list[i].host_ip.n);
            ip[list[i].host_ip.n] = 0;
        }
        if (inet_pton(AF_INET, ip, &element.key[0]) != 1)
            return err_set(e, ERR_BAD_REQUEST, "hostIP %s is not an IPv4 address", ip);
        // Slots hold their value at the front, as payload and meta load it.
        memcpy(&element.key[1], &list[i].protocol, 1);
        element.key[2] = htons(list[i].host_port);
        nft_element_add(b, &ports, &element);
    }
    return 0;
}

static int replace(struct in_addr pod, const struct pod_port_map *list, size_t n, struct err *e)
{
    struct owned_port old;
    int r = read_owned(pod.s_addr, &old, e);
    if (r == 0 && old.n + n > 0) {
        struct nft_batch *b = nft_begin(TABLE);
        remove_owned(b, &old);
        const struct nft_element hairpin = {.key = {pod.s_addr, pod.s_addr}};
        if (n > 0)
            nft_element_add(b, &hairpins, &hairpin);
        if ((r = add_ports(b, pod.s_addr, list, n, e)) < 0)
            nft_drop(b);
        else
            r = commit(b, e);
    }
    free(old.list);
    return r;
}

int host_ports_add(struct in_addr pod, const struct pod_port_map *list, size_t nports,
                   struct err *e)
{
    // The common pod has none, and then nothing is read either: del takes care of a reused address.
    if (nports == 0)
        return 0;
    pthread_mutex_lock(&lock);
    int r = replace(pod, list, nports, e);
    pthread_mutex_unlock(&lock);
    return r;
}

int host_ports_del(struct in_addr pod, struct err *e)
{
    pthread_mutex_lock(&lock);
    int r = replace(pod, NULL, 0, e);
    pthread_mutex_unlock(&lock);
    return r;
}

int host_ports_teardown(struct err *e)
{
    struct nft_batch *b = nft_begin(TABLE);
    nft_table_add(b);
    nft_table_delete(b);
    return commit(b, e);
}
