// nf_tables over netlink, as far as Services and host ports need it, on libmnl: a batch of changes
// is built in memory and committed as one transaction, all or nothing. Not libnftables or libnftnl
// (GPL; see docs/dependencies.md); what is sent can be looked at with `nft list ruleset`.
//
// A batch:
//     struct nft_batch *b = nft_begin("coracle");
//     nft_table_add(b); nft_chain_add(b, …); nft_set_add(b, …); nft_element_add(b, …);
//     nft_rule_begin(b, "services"); nft_meta(b, …); nft_lookup(b, …); nft_rule_end(b);
//     r = nft_commit(&socket, b, &e);     // frees the batch
//
// Registers: 16 of 4 bytes, named by number 0 to 15; concatenated keys are loaded into consecutive
// ones. One thread at a time per socket and batch.
#pragma once
#include "network/netlink.h"
#include <linux/netfilter/nf_tables.h>

struct nft_batch;

struct nft_batch *nft_begin(const char *table); // family ip
// ERR_INTERNAL with the object that the kernel refused. Not an error: deleting what is not there,
// when the delete was marked optional. Always frees the batch.
int nft_commit(struct netlink *n, struct nft_batch *b, struct err *e);
void nft_drop(struct nft_batch *b); // instead of commit

void nft_table_add(struct nft_batch *b);
void nft_table_delete(struct nft_batch *b); // add it before: deleting what is not there fails
// A base chain (type "nat" or "filter", hook NF_INET_*, policy accept) or, with type NULL, a plain
// one.
void nft_chain_add(struct nft_batch *b, const char *name, const char *type, int hook, int priority);

// Data types as nft shows them.
enum nft_type {
    NFT_TYPE_IPV4 = 7,
    NFT_TYPE_PROTO = 12,
    NFT_TYPE_PORT = 13,
    NFT_TYPE_MARK = 19,
    NFT_TYPE_NONE = 0,
    NFT_TYPE_VERDICT = 0xff,
};
struct nft_set {
    const char *name;
    enum nft_type key[4];  // concatenated; ends with NFT_TYPE_NONE
    enum nft_type data[4]; // of a map; NFT_TYPE_VERDICT alone: a verdict map
    uint32_t flags;        // NFT_SET_TIMEOUT, NFT_SET_EVAL …; NFT_SET_MAP is added for maps
    uint32_t timeout_ms;   // 0: none
};
void nft_set_add(struct nft_batch *b, const struct nft_set *s);

// Keys and values are 4-byte slots in network order, as many as the set's types.
struct nft_element {
    uint32_t key[4];
    uint32_t data[4];
    const char *chain; // verdict maps: goto this chain
};
void nft_element_add(struct nft_batch *b, const struct nft_set *s, const struct nft_element *e);
void nft_element_delete(struct nft_batch *b, const struct nft_set *s, const struct nft_element *e);
// All elements of a set, by dump. fn gets key and data slots (verdicts: the chain). 0 or -errno.
int nft_set_each(struct netlink *n, const char *table, const struct nft_set *s,
                 void (*fn)(void *ctx, const struct nft_element *e), void *ctx);

// Rules: expressions in order, between begin and end.
void nft_rule_begin(struct nft_batch *b, const char *chain);
void nft_rule_end(struct nft_batch *b);
void nft_meta(struct nft_batch *b, enum nft_meta_keys key, unsigned reg);
void nft_meta_set(struct nft_batch *b, enum nft_meta_keys key, unsigned reg);
void nft_payload(struct nft_batch *b, enum nft_payload_bases base, unsigned offset, unsigned length,
                 unsigned reg);
void nft_fib(struct nft_batch *b, enum nft_fib_result result, uint32_t flags, unsigned reg);
// direction -1: none.
void nft_ct(struct nft_batch *b, enum nft_ct_keys key, unsigned reg, int direction);
void nft_compare(struct nft_batch *b, unsigned reg, enum nft_cmp_ops op, const void *value,
                 unsigned length);
// Network order, 4 bytes.
void nft_mask(struct nft_batch *b, unsigned reg, uint32_t mask, uint32_t xor_with);
void nft_load(struct nft_batch *b, unsigned reg, uint32_t value); // network order
// first … first+modulus-1, host order.
void nft_random(struct nft_batch *b, unsigned reg, uint32_t modulus, uint32_t first);
// Look reg… up in a set or map. Map: data goes to dreg…; verdict map: dreg -1 takes the verdict.
// invert: no match.
void nft_lookup(struct nft_batch *b, const char *set, unsigned reg, int dreg, bool map,
                bool invert);
// Remember reg… (and data at data_reg… when it is >= 0) in a dynamic set or map for timeout.
void nft_remember(struct nft_batch *b, const char *set, unsigned reg, int data_reg,
                  uint64_t timeout_ms);
// port_reg -1: keep the port.
void nft_dnat(struct nft_batch *b, unsigned address_reg, int port_reg);
void nft_masquerade(struct nft_batch *b);
void nft_reject(struct nft_batch *b, bool tcp_reset);
enum nft_verdict {
    NFT_GO_ACCEPT = 1,
    NFT_GO_DROP = 0,
    NFT_GO_JUMP = -3,
    NFT_GO_GOTO = -4,
    NFT_GO_RETURN = -5
};
void nft_verdict(struct nft_batch *b, int verdict, const char *chain);
