// See conntrack.h. One dump of all flows, then a deletion for each chosen
// flow, named by its original tuple.
#include "network/conntrack.h"
#include "base/arena.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#define DUMP_TRIES 8

// A tuple as it came, to be given back for the deletion.
struct tuple {
    struct tuple *next;
    uint16_t n;
    uint8_t bytes[];
};

struct choice {
    bool (*fn)(void *ctx, const struct conntrack_flow *f);
    void *ctx;
    struct arena arena;
    struct tuple *chosen;
};

struct side {
    uint32_t source, destination;
    uint16_t source_port, destination_port;
    uint8_t protocol;
};

static uint16_t port_of(const struct nlattr *a)
{
    return mnl_attr_get_payload_len(a) >= 2 ? ntohs(mnl_attr_get_u16(a)) : 0;
}

static void read_addresses(const struct nlattr *nest, struct side *s)
{
    const struct nlattr *a;
    mnl_attr_for_each_nested(a, nest)
    {
        if (mnl_attr_get_payload_len(a) < 4)
            continue;
        if (mnl_attr_get_type(a) == CTA_IP_V4_SRC)
            s->source = mnl_attr_get_u32(a);
        if (mnl_attr_get_type(a) == CTA_IP_V4_DST)
            s->destination = mnl_attr_get_u32(a);
    }
}

static void read_ports(const struct nlattr *nest, struct side *s)
{
    const struct nlattr *a;
    mnl_attr_for_each_nested(a, nest)
    {
        if (mnl_attr_get_type(a) == CTA_PROTO_NUM)
            s->protocol = mnl_attr_get_u8(a);
        if (mnl_attr_get_type(a) == CTA_PROTO_SRC_PORT)
            s->source_port = port_of(a);
        if (mnl_attr_get_type(a) == CTA_PROTO_DST_PORT)
            s->destination_port = port_of(a);
    }
}

static struct side read_side(const struct nlattr *tuple)
{
    struct side s = {0};
    const struct nlattr *a;
    mnl_attr_for_each_nested(a, tuple)
    {
        if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
            read_addresses(a, &s);
        if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
            read_ports(a, &s);
    }
    return s;
}

static int read_flow(const struct nlmsghdr *m, void *ctx)
{
    struct choice *c = ctx;
    const struct nlattr *a, *original = NULL, *reply = NULL;
    mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG)
            original = a;
        if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
            reply = a;
    }
    if (!original || !reply)
        return MNL_CB_OK;
    struct side there = read_side(original), back = read_side(reply);
    const struct conntrack_flow flow = {there.destination, there.destination_port, back.source,
                                        back.source_port};
    if (there.protocol != IPPROTO_UDP || !c->fn(c->ctx, &flow))
        return MNL_CB_OK;
    uint16_t n = mnl_attr_get_payload_len(original);
    struct tuple *t = arena_alloc(&c->arena, sizeof *t + n);
    t->n = n;
    memcpy(t->bytes, mnl_attr_get_payload(original), n);
    t->next = c->chosen;
    c->chosen = t;
    return MNL_CB_OK;
}

static struct nlmsghdr *start(char *buffer, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
    m->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    m->nlmsg_flags = NLM_F_REQUEST | flags;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(m, sizeof *g);
    *g = (struct nfgenmsg){.nfgen_family = AF_INET, .version = NFNETLINK_V0};
    return m;
}

int conntrack_forget_udp(struct netlink *n, bool (*fn)(void *ctx, const struct conntrack_flow *f),
                         void *ctx)
{
    char buffer[1024];
    struct choice c = {.fn = fn, .ctx = ctx};
    int r = -EINTR;
    for (int tries = 0; r == -EINTR && tries < DUMP_TRIES; tries++)
        r = netlink_exchange(n, start(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP), read_flow, &c);
    for (struct tuple *t = c.chosen; r == 0 && t; t = t->next) {
        struct nlmsghdr *m = start(buffer, IPCTNL_MSG_CT_DELETE, 0);
        mnl_attr_put(m, CTA_TUPLE_ORIG | NLA_F_NESTED, t->n, t->bytes);
        int deleted = netlink_send(n, m);
        r = deleted == -ENOENT ? 0 : deleted; // it has ended meanwhile
    }
    arena_done(&c.arena);
    return r;
}
