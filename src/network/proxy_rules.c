// Services in nftables, so that a packet costs one map lookup however many services there are, and
// a change costs a few set elements (DEPENDENCIES, section 7, has the measurement: 0.006 ms against
// 33 ms for a chain per endpoint).
//
//   map services     address . protocol . port          -> number of a shape
//   map shapes       number                             -> goto the chain of that shape
//   chain n3         index = random mod 3; dnat to the backend of that index
//   map backends     address . protocol . port . index  -> address . port
//   map unserved     address . protocol . port          -> number of a refusal
//   map refusals     number                             -> goto refuse or drop
//   set cluster-ips  address: what is still on its way there has no rule and is refused
//   set hairpins     (pod . pod): replies of a pod to itself must pass this machine: masqueraded
//   map affinity     client . address . protocol . port -> address . port, entries expire
//
// NodePorts have maps of the same kind without the address (node-services and so on), looked up
// when the destination is one of this machine's. They are not entries with the address 0.0.0.0: nft
// has no way to write a constant within a key. What else it needs to list this table stands at
// name_for_nft.
//
// A Local policy with other backends for clients inside the cluster (i and their number in the
// shape's name: l1i3) has those in the same map, with indexes from INSIDE on; chain i3 chooses
// among them.
//
// Chains are made when first needed and shared by all services with the same shape. Their name says
// the shape: n or l (l: a Local policy, no masquerading), z in front for NodePorts (the key has no
// address), the number of backends, s and seconds with session affinity: n3, zn2, ln1s10800.
//
// The way from an address to its chain has two steps because of the kernel: a change of a map that
// holds verdicts makes it follow every verdict of the table again (7 ms among 30,000 Services), a
// change of one that holds numbers does not.
//
// Mark 0x4000 asks for masquerading, as in kube-proxy; it is the only bit of the mark that is
// touched.
#include "network/proxy_rules.h"
#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "network/addresses.h"
#include "network/conntrack.h"
#include "network/nft.h"
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define MARK_MASQUERADE 0x4000u
#define INSIDE          0x10000u // indexes of backends for clients inside the cluster
#define STATE_NEW       8u       // NF_CT_STATE_BIT(IP_CT_NEW), host order

enum { OFFSET_SOURCE = 12, OFFSET_DESTINATION = 16, OFFSET_DESTINATION_PORT = 2 };
// Registers: the key of services and backends, that of affinity, the backend found.
enum { REG_KEY = 0, REG_AFFINITY = 4, REG_BACKEND = 8, REG_WORK = 12, REG_SAVED = 13 };

// The maps that cluster (and external) addresses and those that NodePorts are looked up in.
struct face {
    struct nft_set services, unserved, backends, affinity;
    unsigned slots; // of the key; the index of a backend comes after it
    bool node_port;
};
#define AFFINITY_FLAGS                                                                             \
    .data = {NFT_TYPE_IPV4, NFT_TYPE_PORT}, .flags = NFT_SET_TIMEOUT | NFT_SET_EVAL,               \
    .timeout_ms = 10800u * 1000
#define ADDRESS_KEY NFT_TYPE_IPV4, NFT_TYPE_PROTO, NFT_TYPE_PORT
#define NODE_KEY    NFT_TYPE_PROTO, NFT_TYPE_PORT
static const struct face address_face = {
    .slots = 3,
    .services = {.name = "services", .key = {ADDRESS_KEY}, .data = {NFT_TYPE_MARK}},
    .unserved = {.name = "unserved", .key = {ADDRESS_KEY}, .data = {NFT_TYPE_MARK}},
    .backends = {.name = "backends",
                 .key = {ADDRESS_KEY, NFT_TYPE_MARK},
                 .data = {NFT_TYPE_IPV4, NFT_TYPE_PORT}},
    .affinity = {.name = "affinity", .key = {NFT_TYPE_IPV4, ADDRESS_KEY}, AFFINITY_FLAGS},
};
static const struct face node_face = {
    .slots = 2,
    .node_port = true,
    .services = {.name = "node-services", .key = {NODE_KEY}, .data = {NFT_TYPE_MARK}},
    .unserved = {.name = "node-unserved", .key = {NODE_KEY}, .data = {NFT_TYPE_MARK}},
    .backends = {.name = "node-backends",
                 .key = {NODE_KEY, NFT_TYPE_MARK},
                 .data = {NFT_TYPE_IPV4, NFT_TYPE_PORT}},
    .affinity = {.name = "node-affinity", .key = {NFT_TYPE_IPV4, NODE_KEY}, AFFINITY_FLAGS},
};
static const struct nft_set shapes = {
    .name = "shapes", .key = {NFT_TYPE_MARK}, .data = {NFT_TYPE_VERDICT}};
static const struct nft_set refusals = {
    .name = "refusals", .key = {NFT_TYPE_MARK}, .data = {NFT_TYPE_VERDICT}};
enum { REFUSAL_REFUSE = 1, REFUSAL_DROP = 2 };
static const struct nft_set hairpins = {.name = "hairpins", .key = {NFT_TYPE_IPV4, NFT_TYPE_IPV4}};
static const struct nft_set cluster_ips = {.name = "cluster-ips", .key = {NFT_TYPE_IPV4}};

static const struct face *face_of(const struct frontend *f)
{
    return f->address ? &address_face : &node_face;
}

struct stale {
    const struct nft_set *affinity;
    struct nft_element entry;
};

struct proxy_rules {
    const char *table;
    uint32_t network; // pods; host order
    unsigned prefix;
    struct netlink socket;
    struct nft_batch *batch; // open one
    struct map chains;       // names in the kernel or in the open batch -> number of the shape
    struct map hairpins;     // backend address (4 bytes) -> number of frontends with it
    struct map cluster_ips;  // address (4 bytes) -> number of frontends with it
    struct stale *stale;     // affinity entries to forget after the commit
    size_t nstale;
    struct map udp; // changed UDP frontends (struct udp_key) -> struct udp_change
};

// --- fixed part ---

static void load_key(struct nft_batch *b, const struct face *face, unsigned reg)
{
    if (!face->node_port)
        nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, reg++);
    nft_meta(b, NFT_META_L4PROTO, reg++);
    nft_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DESTINATION_PORT, 2, reg);
}

// An address of this machine but loopback's: from there the kernel routes nothing to a pod.
static void match_local(struct nft_batch *b)
{
    const uint32_t local = RTN_LOCAL, loopback = htonl(INADDR_LOOPBACK & IN_CLASSA_NET);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, REG_WORK);
    nft_mask(b, REG_WORK, htonl(IN_CLASSA_NET), 0);
    nft_compare(b, REG_WORK, NFT_CMP_NEQ, &loopback, sizeof loopback);
    nft_fib(b, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, REG_WORK);
    nft_compare(b, REG_WORK, NFT_CMP_EQ, &local, sizeof local);
}

static void match_new(struct nft_batch *b)
{
    const uint32_t zero = 0;
    nft_ct(b, NFT_CT_STATE, REG_WORK, -1);
    nft_mask(b, REG_WORK, STATE_NEW, 0);
    nft_compare(b, REG_WORK, NFT_CMP_NEQ, &zero, sizeof zero);
}

// Debian's nft aborts when what a map gave is used as a key: it has no length for it. Through the
// mark, which has one, the number is the same and can be shown; the mark itself is put back.
static void name_for_nft(struct nft_batch *b, unsigned reg)
{
    nft_meta(b, NFT_META_MARK, REG_SAVED);
    nft_meta_set(b, NFT_META_MARK, reg);
    nft_meta(b, NFT_META_MARK, reg);
    nft_meta_set(b, NFT_META_MARK, REG_SAVED);
}

static void look_up_service(struct nft_batch *b, const char *chain, const struct face *face)
{
    nft_rule_begin(b, chain);
    if (face->node_port)
        match_local(b);
    load_key(b, face, REG_KEY);
    nft_lookup(b, face->services.name, REG_KEY, REG_WORK, true, false);
    name_for_nft(b, REG_WORK);
    nft_lookup(b, shapes.name, REG_WORK, -1, true, false);
    nft_rule_end(b);
}

static void look_up_refusal(struct nft_batch *b, const char *chain, const struct face *face)
{
    nft_rule_begin(b, chain);
    match_new(b);
    if (face->node_port)
        match_local(b);
    load_key(b, face, REG_KEY);
    nft_lookup(b, face->unserved.name, REG_KEY, REG_WORK, true, false);
    name_for_nft(b, REG_WORK);
    nft_lookup(b, refusals.name, REG_WORK, -1, true, false);
    nft_rule_end(b);
}

// What was not led elsewhere until here asks for a port that the Service does not have.
static void refuse_other_ports(struct nft_batch *b, const char *chain)
{
    nft_rule_begin(b, chain);
    match_new(b);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, REG_KEY);
    nft_lookup(b, cluster_ips.name, REG_KEY, -1, false, false);
    nft_verdict(b, NFT_GO_GOTO, "refuse");
    nft_rule_end(b);
}

static void refuse_chain(struct nft_batch *b)
{
    const uint8_t tcp = IPPROTO_TCP;
    nft_chain_add(b, "refuse", NULL, 0, 0);
    nft_rule_begin(b, "refuse");
    nft_meta(b, NFT_META_L4PROTO, REG_WORK);
    nft_compare(b, REG_WORK, NFT_CMP_EQ, &tcp, sizeof tcp);
    nft_reject(b, true);
    nft_rule_end(b);
    nft_rule_begin(b, "refuse");
    nft_reject(b, false);
    nft_rule_end(b);
    nft_chain_add(b, "drop", NULL, 0, 0);
    nft_rule_begin(b, "drop");
    nft_verdict(b, NFT_GO_DROP, NULL);
    nft_rule_end(b);
    const struct nft_element refuse = {.key = {REFUSAL_REFUSE}, .chain = "refuse"},
                             drop = {.key = {REFUSAL_DROP}, .chain = "drop"};
    nft_element_add(b, &refusals, &refuse);
    nft_element_add(b, &refusals, &drop);
}

static void postrouting_rules(struct nft_batch *b)
{
    const uint32_t zero = 0;
    nft_rule_begin(b, "postrouting");
    nft_meta(b, NFT_META_MARK, REG_WORK);
    nft_mask(b, REG_WORK, MARK_MASQUERADE, 0);
    nft_compare(b, REG_WORK, NFT_CMP_NEQ, &zero, sizeof zero);
    nft_masquerade(b);
    nft_rule_end(b);
    nft_rule_begin(b, "postrouting");
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_SOURCE, 4, REG_KEY);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_DESTINATION, 4, REG_KEY + 1);
    nft_lookup(b, hairpins.name, REG_KEY, -1, false, false);
    nft_masquerade(b);
    nft_rule_end(b);
}

static void fixed_part(struct nft_batch *b)
{
    static const struct {
        const char *name, *type;
        int hook, priority;
    } chains[] = {
        {"prerouting", "nat", NF_INET_PRE_ROUTING, -100},
        {"output", "nat", NF_INET_LOCAL_OUT, -100},
        {"postrouting", "nat", NF_INET_POST_ROUTING, 100},
        {"filter-input", "filter", NF_INET_LOCAL_IN, 0},
        {"filter-forward", "filter", NF_INET_FORWARD, 0},
        {"filter-output", "filter", NF_INET_LOCAL_OUT, 0},
    };
    nft_table_add(b);
    nft_table_delete(b);
    nft_table_add(b);
    const struct nft_set *const sets[] = {
        &address_face.services,
        &address_face.unserved,
        &address_face.backends,
        &address_face.affinity,
        &node_face.services,
        &node_face.unserved,
        &node_face.backends,
        &node_face.affinity,
        &shapes,
        &refusals,
        &hairpins,
        &cluster_ips,
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        nft_set_add(b, sets[i]);
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
        nft_chain_add(b, chains[i].name, chains[i].type, chains[i].hook, chains[i].priority);
    refuse_chain(b);
    look_up_service(b, "prerouting", &address_face);
    look_up_service(b, "prerouting", &node_face);
    look_up_service(b, "output", &address_face);
    look_up_service(b, "output", &node_face);
    postrouting_rules(b);
    look_up_refusal(b, "filter-input", &node_face);
    look_up_refusal(b, "filter-forward", &address_face);
    refuse_other_ports(b, "filter-forward");
    look_up_refusal(b, "filter-output", &address_face);
    look_up_refusal(b, "filter-output", &node_face);
    refuse_other_ports(b, "filter-output");
}

// --- chains by shape ---

static void set_mark(struct nft_batch *b)
{
    nft_meta(b, NFT_META_MARK, REG_WORK);
    nft_mask(b, REG_WORK, ~MARK_MASQUERADE, MARK_MASQUERADE);
    nft_meta_set(b, NFT_META_MARK, REG_WORK);
}

static void match_pods(struct proxy_rules *r, enum nft_cmp_ops op)
{
    struct nft_batch *b = r->batch;
    uint32_t mask = htonl(r->prefix == 0 ? 0 : ~0u << (32 - r->prefix));
    uint32_t network = htonl(r->network);
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_SOURCE, 4, REG_WORK);
    nft_mask(b, REG_WORK, mask, 0);
    nft_compare(b, REG_WORK, op, &network, sizeof network);
}

static void mark_rule(struct proxy_rules *r, const char *chain, bool node_port)
{
    struct nft_batch *b = r->batch;
    nft_rule_begin(b, chain);
    if (!node_port) // to a cluster address only what does not come from a pod
        match_pods(r, NFT_CMP_NEQ);
    set_mark(b);
    nft_rule_end(b);
}

// The same for a backend that is to be remembered: address and port come from one lookup, of which
// nft sees the first register only. What is loaded here gives it something to show for the second;
// the lookup then overwrites it.
static void name_port_for_nft(struct nft_batch *b)
{
    nft_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DESTINATION_PORT, 2, REG_BACKEND + 1);
}

static void load_affinity_key(struct nft_batch *b, const struct face *face)
{
    nft_payload(b, NFT_PAYLOAD_NETWORK_HEADER, OFFSET_SOURCE, 4, REG_AFFINITY);
    load_key(b, face, REG_AFFINITY + 1);
}

static void choose_backend(struct nft_batch *b, const struct face *face, size_t n, uint32_t first)
{
    load_key(b, face, REG_KEY);
    nft_random(b, REG_KEY + face->slots, (uint32_t)n, first);
    nft_lookup(b, face->backends.name, REG_KEY, REG_BACKEND, true, false);
}

static void dnat_rule(struct nft_batch *b, const char *chain, const struct face *face, size_t n,
                      uint32_t first)
{
    nft_rule_begin(b, chain);
    choose_backend(b, face, n, first);
    nft_dnat(b, REG_BACKEND, REG_BACKEND + 1);
    nft_rule_end(b);
}

// Pods and this machine itself leave the chain for one of their own, which masquerades: the backend
// may be anywhere.
static void inside_rules(struct proxy_rules *r, const char *chain, const struct frontend *f)
{
    struct nft_batch *b = r->batch;
    const uint32_t local = RTN_LOCAL;
    const struct face *face = face_of(f);
    char name[32];
    snprintf(name, sizeof name, "%si%zu", face->node_port ? "z" : "", f->ninside);
    if (!map_has(&r->chains, str_of(name))) {
        map_set(&r->chains, str_of(name), (void *)(r->chains.n + 1));
        nft_chain_add(b, name, NULL, 0, 0);
        nft_rule_begin(b, name);
        set_mark(b);
        nft_rule_end(b);
        dnat_rule(b, name, face, f->ninside, INSIDE);
    }
    nft_rule_begin(b, chain);
    match_pods(r, NFT_CMP_EQ);
    nft_verdict(b, NFT_GO_GOTO, name);
    nft_rule_end(b);
    nft_rule_begin(b, chain);
    nft_fib(b, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_SADDR, REG_WORK);
    nft_compare(b, REG_WORK, NFT_CMP_EQ, &local, sizeof local);
    nft_verdict(b, NFT_GO_GOTO, name);
    nft_rule_end(b);
}

static void make_chain(struct proxy_rules *r, const char *name, const struct frontend *f)
{
    struct nft_batch *b = r->batch;
    const struct face *face = face_of(f);
    uint64_t timeout_ms = f->affinity_seconds * 1000ull;
    nft_chain_add(b, name, NULL, 0, 0);
    if (!(f->flags & FRONTEND_LOCAL))
        mark_rule(r, name, face->node_port);
    if (f->ninside > 0)
        inside_rules(r, name, f);
    if (f->nbackends == 0)
        return;
    if (!timeout_ms) {
        dnat_rule(b, name, face, f->nbackends, 0);
        return;
    }
    nft_rule_begin(b, name);
    load_affinity_key(b, face);
    name_port_for_nft(b);
    nft_lookup(b, face->affinity.name, REG_AFFINITY, REG_BACKEND, true, false);
    name_for_nft(b, REG_BACKEND);
    nft_remember(b, face->affinity.name, REG_AFFINITY, REG_BACKEND, timeout_ms);
    nft_dnat(b, REG_BACKEND, REG_BACKEND + 1);
    nft_rule_end(b);
    nft_rule_begin(b, name);
    name_port_for_nft(b);
    choose_backend(b, face, f->nbackends, 0);
    name_for_nft(b, REG_BACKEND);
    load_affinity_key(b, face);
    nft_remember(b, face->affinity.name, REG_AFFINITY, REG_BACKEND, timeout_ms);
    nft_dnat(b, REG_BACKEND, REG_BACKEND + 1);
    nft_rule_end(b);
}

// The number of a frontend's shape; its chain is made when it is the first of that shape.
static uint32_t shape_of(struct proxy_rules *r, const struct frontend *f)
{
    char name[32];
    int n = snprintf(name, sizeof name, "%s%s%zu", f->address ? "" : "z",
                     f->flags & FRONTEND_LOCAL ? "l" : "n", f->nbackends);
    if (f->ninside > 0)
        n += snprintf(name + n, sizeof name - (size_t)n, "i%zu", f->ninside);
    if (f->affinity_seconds)
        snprintf(name + n, sizeof name - (size_t)n, "s%u", f->affinity_seconds);
    uintptr_t number = (uintptr_t)map_get(&r->chains, str_of(name));
    if (number == 0) {
        make_chain(r, name, f);
        number = r->chains.n + 1;
        const struct nft_element e = {.key = {(uint32_t)number}, .chain = name};
        nft_element_add(r->batch, &shapes, &e);
        map_set(&r->chains, str_of(name), (void *)number);
    }
    return (uint32_t)number;
}

// --- elements ---

static struct nft_element key_of(const struct frontend *f)
{
    struct nft_element e = {0};
    unsigned slot = 0;
    if (f->address)
        e.key[slot++] = f->address;
    memcpy(&e.key[slot++], &f->protocol, 1); // slots hold short values at their front
    e.key[slot] = htons(f->port);
    return e;
}

// An address is in the set as long as any frontend has it.
static void count_address(struct proxy_rules *r, struct map *counts, const struct nft_set *set,
                          uint32_t address, int change)
{
    struct str key = str_n(&address, sizeof address);
    intptr_t n = (intptr_t)map_get(counts, key), next = n + change;
    const struct nft_element e = {.key = {address, address}}; // as many slots as the set has
    if (next > 0)
        map_set(counts, key, (void *)next);
    else
        map_del(counts, key);
    if (n == 0 && next > 0)
        nft_element_add(r->batch, set, &e);
    if (n > 0 && next == 0)
        nft_element_delete(r->batch, set, &e);
}

typedef void element_fn(struct nft_batch *b, const struct nft_set *s, const struct nft_element *e);

static void put_backends(struct proxy_rules *r, const struct face *face, element_fn *change,
                         int count, struct nft_element e, const struct backend *list, size_t n,
                         uint32_t first)
{
    for (size_t i = 0; i < n; i++) {
        e.key[face->slots] = first + (uint32_t)i; // numgen's number is in host order
        e.data[0] = list[i].address;
        e.data[1] = htons(list[i].port);
        change(r->batch, &face->backends, &e);
        count_address(r, &r->hairpins, &hairpins, list[i].address, count);
    }
}

static void put_frontend(struct proxy_rules *r, const struct frontend *f, bool add)
{
    element_fn *change = add ? nft_element_add : nft_element_delete;
    const struct face *face = face_of(f);
    int count = add ? 1 : -1;
    struct nft_element e = key_of(f);
    if (f->flags & FRONTEND_CLUSTER)
        count_address(r, &r->cluster_ips, &cluster_ips, f->address, count);
    if (f->nbackends == 0) {
        e.data[0] = f->flags & FRONTEND_DROP ? REFUSAL_DROP : REFUSAL_REFUSE;
        change(r->batch, &face->unserved, &e);
    }
    if (f->nbackends + f->ninside == 0)
        return;
    if (add)
        e.data[0] = shape_of(r, f);
    change(r->batch, &face->services, &e);
    put_backends(r, face, change, count, e, f->backends, f->nbackends, 0);
    put_backends(r, face, change, count, e, f->inside, f->ninside, INSIDE);
}

int frontend_cmp(const struct frontend *a, const struct frontend *b)
{
    if (a->address != b->address)
        return ntohl(a->address) < ntohl(b->address) ? -1 : 1;
    if (a->protocol != b->protocol)
        return a->protocol < b->protocol ? -1 : 1;
    return a->port == b->port ? 0 : a->port < b->port ? -1 : 1;
}

static bool same_backends(const struct backend *a, size_t na, const struct backend *b, size_t nb)
{
    if (na != nb)
        return false;
    for (size_t i = 0; i < na; i++)
        if (a[i].address != b[i].address || a[i].port != b[i].port)
            return false;
    return true;
}

bool frontend_same(const struct frontend *a, const struct frontend *b)
{
    return frontend_cmp(a, b) == 0 && a->flags == b->flags &&
           a->affinity_seconds == b->affinity_seconds &&
           same_backends(a->backends, a->nbackends, b->backends, b->nbackends) &&
           same_backends(a->inside, a->ninside, b->inside, b->ninside);
}

// Affinity entries of a changed frontend that lead to a backend it no longer has.
struct stale_search {
    struct proxy_rules *r;
    const struct frontend *from, *to; // to NULL: the frontend goes
};

static void note_stale(void *ctx, const struct nft_element *e)
{
    struct stale_search *s = ctx;
    const struct nft_element key = key_of(s->from);
    const struct face *face = face_of(s->from);
    if (memcmp(&e->key[1], key.key, face->slots * sizeof *key.key) != 0)
        return;
    for (size_t i = 0; s->to && i < s->to->nbackends; i++)
        if (s->to->backends[i].address == e->data[0] &&
            htons(s->to->backends[i].port) == e->data[1])
            return;
    struct proxy_rules *r = s->r;
    r->stale = mem_realloc(r->stale, (r->nstale + 1) * sizeof *r->stale);
    r->stale[r->nstale++] = (struct stale){&face->affinity, *e};
}

// In transactions of their own: an entry may expire meanwhile, and then there is nothing to delete.
static void forget_stale(struct proxy_rules *r)
{
    for (size_t i = 0; i < r->nstale; i++) {
        struct nft_batch *b = nft_begin(r->table);
        nft_element_delete(b, r->stale[i].affinity, &r->stale[i].entry);
        nft_commit(&r->socket, b, NULL);
    }
    free(TAKE_PTR(r->stale));
    r->nstale = 0;
}

// --- UDP flows that lead to a backend that is gone ---

struct udp_key {
    uint32_t address;
    uint16_t port, zero;
};
struct udp_change {
    size_t n; // backends now
    struct backend list[];
};

static void note_udp(struct proxy_rules *r, const struct frontend *f, const struct frontend *to)
{
    if (f->protocol != IPPROTO_UDP)
        return;
    const struct udp_key key = {f->address, f->port, 0};
    size_t n = to ? to->nbackends : 0, inside = to ? to->ninside : 0;
    struct udp_change *change = mem_alloc(sizeof *change + (n + inside) * sizeof *change->list);
    change->n = n + inside;
    if (n > 0)
        memcpy(change->list, to->backends, n * sizeof *change->list);
    if (inside > 0)
        memcpy(change->list + n, to->inside, inside * sizeof *change->list);
    free(map_set(&r->udp, str_n(&key, sizeof key), change));
}

static bool is_stale_flow(void *ctx, const struct conntrack_flow *flow)
{
    struct proxy_rules *r = ctx;
    struct udp_key key = {flow->destination, flow->port, 0};
    const struct udp_change *change = map_get(&r->udp, str_n(&key, sizeof key));
    if (!change && flow->server != flow->destination) { // not to us unless it was led elsewhere
        key.address = 0;
        change = map_get(&r->udp, str_n(&key, sizeof key));
    }
    if (!change)
        return false;
    for (size_t i = 0; i < change->n; i++)
        if (change->list[i].address == flow->server && change->list[i].port == flow->server_port)
            return false;
    return true;
}

static void drop_udp_notes(struct proxy_rules *r)
{
    map_each (&r->udp, slot)
        free(slot->value);
    map_done(&r->udp);
    r->udp = MAP_INIT;
}

static void forget_flows(struct proxy_rules *r)
{
    int result = r->udp.n > 0 ? conntrack_forget_udp(&r->socket, is_stale_flow, r) : 0;
    if (result < 0)
        log_warn("network", "UDP flows of changed Services could not be ended: %s",
                 strerror(-result));
    drop_udp_notes(r);
}

void proxy_rules_replace(struct proxy_rules *r, const struct frontend *from, size_t nfrom,
                         const struct frontend *to, size_t nto)
{
    // Deletions first: an address may move from one frontend of the group to another.
    for (size_t i = 0, j = 0; i < nfrom; i++) {
        while (j < nto && frontend_cmp(&to[j], &from[i]) < 0)
            j++;
        if (j < nto && frontend_same(&to[j], &from[i]))
            continue;
        put_frontend(r, &from[i], false);
        bool stays = j < nto && frontend_cmp(&to[j], &from[i]) == 0;
        struct stale_search search = {r, &from[i], stays ? &to[j] : NULL};
        note_udp(r, &from[i], search.to);
        if (from[i].affinity_seconds)
            nft_set_each(&r->socket, r->table, &face_of(&from[i])->affinity, note_stale, &search);
    }
    for (size_t i = 0, j = 0; i < nto; i++) {
        while (j < nfrom && frontend_cmp(&from[j], &to[i]) < 0)
            j++;
        if (j == nfrom || !frontend_same(&from[j], &to[i])) {
            put_frontend(r, &to[i], true);
            note_udp(r, &to[i], &to[i]);
        }
    }
}

// --- batches ---

int proxy_rules_new(const char *table, struct str pod_cidr, struct proxy_rules **ret, struct err *e)
{
    struct proxy_rules *r = mem_zalloc(sizeof *r);
    r->table = table;
    int result = cidr_parse(pod_cidr, &r->network, &r->prefix)
                     ? netlink_open(&r->socket, NETLINK_NETFILTER, NULL, e)
                     : err_set(e, ERR_BAD_REQUEST, "%.*s is not an IPv4 range", STR_ARG(pod_cidr));
    if (result < 0) {
        free(r);
        return result;
    }
    *ret = r;
    return 0;
}

void proxy_rules_free(struct proxy_rules *r)
{
    if (!r)
        return;
    if (r->batch)
        nft_drop(r->batch);
    netlink_close(&r->socket);
    map_done(&r->chains);
    map_done(&r->hairpins);
    map_done(&r->cluster_ips);
    drop_udp_notes(r);
    free(r->stale);
    free(r);
}

void proxy_rules_begin(struct proxy_rules *r, bool whole)
{
    BUG_ON(r->batch);
    r->batch = nft_begin(r->table);
    if (!whole)
        return;
    map_done(&r->chains);
    map_done(&r->hairpins);
    map_done(&r->cluster_ips);
    r->chains = r->hairpins = r->cluster_ips = MAP_INIT;
    fixed_part(r->batch);
}

int proxy_rules_commit(struct proxy_rules *r, struct err *e)
{
    int result = nft_commit(&r->socket, TAKE_PTR(r->batch), e);
    forget_stale(r);
    if (result == 0)
        forget_flows(r); // after the rules: what comes next must find the new ones
    else
        drop_udp_notes(r);
    return result;
}

int proxy_rules_delete(const char *table, struct err *e)
{
    struct netlink n;
    int r = netlink_open(&n, NETLINK_NETFILTER, NULL, e);
    if (r < 0)
        return r;
    struct nft_batch *b = nft_begin(table);
    nft_table_add(b);
    nft_table_delete(b);
    r = nft_commit(&n, b, e);
    netlink_close(&n);
    return r;
}
