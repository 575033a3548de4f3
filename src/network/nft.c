// See nft.h. The batch is one growing buffer of netlink messages between BATCH_BEGIN and BATCH_END;
// attributes are appended by hand where the buffer may move, so nothing keeps a pointer into it,
// only offsets.
#include "network/nft.h"
#include "base/arena.h"
#include "base/buf.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#define BATCH_MAX  ((size_t)256 << 20)
#define DUMP_TRIES 50

struct nft_batch {
    const char *table;
    struct buf b;
    uint32_t first;    // set when it is sent
    uint32_t sequence; // of the next message
    size_t message;    // offset of the open message's header
    size_t nest[8];    // offsets of open nested attributes
    unsigned depth;
};

// --- attributes ---

static void *at(struct nft_batch *b, size_t offset)
{
    return b->b.p + offset;
}

static void put(struct nft_batch *b, uint16_t type, const void *p, size_t n)
{
    static const char zeros[4];
    struct nlattr attr = {.nla_len = (uint16_t)(sizeof attr + n), .nla_type = type};
    buf_add(&b->b, &attr, sizeof attr);
    buf_add(&b->b, p, n);
    buf_add(&b->b, zeros, (4 - n % 4) % 4);
}

static void put_string(struct nft_batch *b, uint16_t type, const char *s)
{
    put(b, type, s, strlen(s) + 1);
}

static void put_u32(struct nft_batch *b, uint16_t type, uint32_t v)
{
    uint32_t be = htonl(v);
    put(b, type, &be, sizeof be);
}

static void put_u64(struct nft_batch *b, uint16_t type, uint64_t v)
{
    uint32_t be[2] = {htonl((uint32_t)(v >> 32)), htonl((uint32_t)v)};
    put(b, type, be, sizeof be);
}

static void open_nest(struct nft_batch *b, uint16_t type)
{
    BUG_ON(b->depth == sizeof b->nest / sizeof *b->nest);
    b->nest[b->depth++] = b->b.n;
    struct nlattr attr = {.nla_type = (uint16_t)(type | NLA_F_NESTED)};
    buf_add(&b->b, &attr, sizeof attr);
}

static void close_nest(struct nft_batch *b)
{
    size_t start = b->nest[--b->depth];
    if (buf_ok(&b->b))
        ((struct nlattr *)at(b, start))->nla_len = (uint16_t)(b->b.n - start);
}

// --- messages ---

static void open_raw(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family,
                     uint16_t res_id)
{
    b->message = b->b.n;
    struct nlmsghdr h = {.nlmsg_type = type,
                         .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
                         .nlmsg_seq = b->sequence++};
    struct nfgenmsg g = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id)};
    buf_add(&b->b, &h, sizeof h);
    buf_add(&b->b, &g, sizeof g);
}

static void open_message(struct nft_batch *b, uint16_t type, uint16_t flags)
{
    open_raw(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_IPV4, 0);
}

static void close_message(struct nft_batch *b)
{
    BUG_ON(b->depth != 0);
    if (buf_ok(&b->b))
        ((struct nlmsghdr *)at(b, b->message))->nlmsg_len = (uint32_t)(b->b.n - b->message);
}

struct nft_batch *nft_begin(const char *table)
{
    struct nft_batch *b = mem_zalloc(sizeof *b);
    b->table = table;
    b->b = BUF_MAX(BATCH_MAX);
    b->sequence = 1;
    open_raw(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    close_message(b);
    return b;
}

void nft_drop(struct nft_batch *b)
{
    buf_done(&b->b);
    free(b);
}

static const char *message_name(unsigned type)
{
    static const char *const names[] = {
        [NFT_MSG_NEWTABLE] = "adding the table",    [NFT_MSG_DELTABLE] = "deleting the table",
        [NFT_MSG_NEWCHAIN] = "adding a chain",      [NFT_MSG_DELCHAIN] = "deleting a chain",
        [NFT_MSG_NEWRULE] = "adding a rule",        [NFT_MSG_NEWSET] = "adding a set",
        [NFT_MSG_NEWSETELEM] = "adding an element", [NFT_MSG_DELSETELEM] = "deleting an element",
    };
    type &= 0xff;
    const char *name = type < sizeof names / sizeof *names ? names[type] : NULL;
    return name ? name : "a change";
}

// The type of the message that has this sequence number.
static unsigned type_of(struct nft_batch *b, uint32_t sequence)
{
    for (size_t i = 0; i < b->b.n;) {
        struct nlmsghdr *h = at(b, i);
        if (h->nlmsg_seq == sequence)
            return h->nlmsg_type;
        i += h->nlmsg_len;
    }
    return 0;
}

// What the kernel said of one batch.
struct verdicts {
    uint32_t first, last; // sequence numbers of the batch
    bool acknowledged;    // the last change got its answer
    int error;            // the first one
    unsigned failed;      // message type of what it refused
};

static void read_answer(struct nft_batch *b, struct verdicts *v, const struct nlmsghdr *h)
{
    if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_seq < v->first || h->nlmsg_seq > v->last)
        return;
    const struct nlmsgerr *answer = mnl_nlmsg_get_payload(h);
    if (answer->error && !v->error) {
        v->error = -answer->error;
        v->failed = type_of(b, h->nlmsg_seq);
    }
    v->acknowledged = v->acknowledged || h->nlmsg_seq == v->last;
}

// A batch is carried out within the system call that sends it, so all answers are there: they are
// taken without waiting, which cannot hang, and until there are none, so that the next batch finds
// the socket empty. Only the last change asks for an answer (an acknowledgement of BATCH_END is
// given by kernels from 6.10 only); of the others errors come.
static int read_answers(struct netlink *n, struct nft_batch *b, struct err *e)
{
    static _Thread_local char buffer[32768];
    struct verdicts v = {.first = b->first, .last = b->sequence - 1};
    int fd = mnl_socket_get_fd(n->socket);
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == ENOBUFS) { // more errors than the socket holds
            v.error = v.error ? v.error : ENOBUFS;
            continue;
        }
        if (got < 0)
            break;
        int left = (int)got;
        for (struct nlmsghdr *h = (void *)buffer; mnl_nlmsg_ok(h, left);
             h = mnl_nlmsg_next(h, &left))
            read_answer(b, &v, h);
    }
    if (v.error)
        return err_errno(e, v.error, "nf_tables refused %s in table \"%s\"", message_name(v.failed),
                         b->table);
    if (!v.acknowledged)
        return err_set(e, ERR_INTERNAL, "nf_tables did not acknowledge a batch for table \"%s\"",
                       b->table);
    return 0;
}

static void finish_batch(struct netlink *n, struct nft_batch *b)
{
    // Numbers of their own for every batch of a socket: no answer is taken for another's.
    b->first = n->sequence + 1;
    for (size_t i = 0; buf_ok(&b->b) && i < b->b.n;) {
        struct nlmsghdr *h = at(b, i);
        h->nlmsg_seq += n->sequence;
        i += h->nlmsg_len;
    }
    if (buf_ok(&b->b))
        ((struct nlmsghdr *)at(b, b->message))->nlmsg_flags |= NLM_F_ACK;
    b->sequence += n->sequence;
    n->sequence = b->sequence;
    open_raw(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    b->sequence--;
    close_message(b);
}

int nft_commit(struct netlink *n, struct nft_batch *b, struct err *e)
{
    int r = 0;
    if (b->sequence == 2) { // nothing but its beginning
        nft_drop(b);
        return 0;
    }
    finish_batch(n, b);
    // A batch is one datagram; the send buffer must hold it, whatever the system's limit (we are
    // root).
    int size = (int)b->b.n + 65536, fd = mnl_socket_get_fd(n->socket);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (!buf_ok(&b->b))
        r = err_set(e, ERR_TOO_LARGE, "the nf_tables batch is larger than %zu bytes", BATCH_MAX);
    else if (sendto(fd, b->b.p, b->b.n, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        r = err_errno(e, errno, "sending a batch to nf_tables");
    else
        r = read_answers(n, b, e);
    nft_drop(b);
    return r;
}

// --- tables, chains, sets ---

static void table_message(struct nft_batch *b, uint16_t type, uint16_t flags)
{
    open_message(b, type, flags);
    put_string(b, NFTA_TABLE_NAME, b->table);
    close_message(b);
}

void nft_table_add(struct nft_batch *b)
{
    table_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}

void nft_table_delete(struct nft_batch *b)
{
    table_message(b, NFT_MSG_DELTABLE, 0);
}

void nft_chain_add(struct nft_batch *b, const char *name, const char *type, int hook, int priority)
{
    open_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    put_string(b, NFTA_CHAIN_TABLE, b->table);
    put_string(b, NFTA_CHAIN_NAME, name);
    if (type) {
        open_nest(b, NFTA_CHAIN_HOOK);
        put_u32(b, NFTA_HOOK_HOOKNUM, (uint32_t)hook);
        put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)priority);
        close_nest(b);
        put_u32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
        put_string(b, NFTA_CHAIN_TYPE, type);
    }
    close_message(b);
}

static unsigned slots(const enum nft_type *types)
{
    unsigned n = 0;
    while (n < 4 && types[n] != NFT_TYPE_NONE)
        n++;
    return n;
}

// Length of a set's key or data: single types their own, concatenations 4 bytes each.
static unsigned length_of(const enum nft_type *types)
{
    unsigned n = slots(types);
    if (n != 1)
        return n * 4;
    return types[0] == NFT_TYPE_PROTO ? 1 : types[0] == NFT_TYPE_PORT ? 2 : 4;
}

// nft packs the types of a concatenation into 6 bits each.
static uint32_t type_code(const enum nft_type *types)
{
    uint32_t code = 0;
    for (unsigned i = 0; i < slots(types); i++)
        code = code << 6 | types[i];
    return code;
}

void nft_set_add(struct nft_batch *b, const struct nft_set *s)
{
    static const uint8_t id[4] = {0, 0, 0, 1};
    bool map = s->data[0] != NFT_TYPE_NONE, verdict = s->data[0] == NFT_TYPE_VERDICT;
    open_message(b, NFT_MSG_NEWSET, NLM_F_CREATE);
    put_string(b, NFTA_SET_TABLE, b->table);
    put_string(b, NFTA_SET_NAME, s->name);
    put_u32(b, NFTA_SET_FLAGS, s->flags | (map ? NFT_SET_MAP : 0));
    put_u32(b, NFTA_SET_KEY_TYPE, type_code(s->key));
    put_u32(b, NFTA_SET_KEY_LEN, length_of(s->key));
    if (map) {
        put_u32(b, NFTA_SET_DATA_TYPE, verdict ? NFT_DATA_VERDICT : type_code(s->data));
        put_u32(b, NFTA_SET_DATA_LEN, verdict ? 16 : length_of(s->data));
    }
    if (s->timeout_ms)
        put_u64(b, NFTA_SET_TIMEOUT, s->timeout_ms);
    put(b, NFTA_SET_ID, id, sizeof id);
    close_message(b);
}

static void put_verdict(struct nft_batch *b, int verdict, const char *chain)
{
    open_nest(b, NFTA_DATA_VERDICT);
    put_u32(b, NFTA_VERDICT_CODE, (uint32_t)verdict);
    if (chain)
        put_string(b, NFTA_VERDICT_CHAIN, chain);
    close_nest(b);
}

static void element_message(struct nft_batch *b, uint16_t type, uint16_t flags,
                            const struct nft_set *s, const struct nft_element *e)
{
    open_message(b, type, flags);
    put_string(b, NFTA_SET_ELEM_LIST_TABLE, b->table);
    put_string(b, NFTA_SET_ELEM_LIST_SET, s->name);
    if (e) {
        open_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
        open_nest(b, NFTA_LIST_ELEM);
        open_nest(b, NFTA_SET_ELEM_KEY);
        put(b, NFTA_DATA_VALUE, e->key, length_of(s->key));
        close_nest(b);
        if (s->data[0] != NFT_TYPE_NONE && type == NFT_MSG_NEWSETELEM) {
            open_nest(b, NFTA_SET_ELEM_DATA);
            if (s->data[0] == NFT_TYPE_VERDICT)
                put_verdict(b, NFT_GO_GOTO, e->chain);
            else
                put(b, NFTA_DATA_VALUE, e->data, length_of(s->data));
            close_nest(b);
        }
        close_nest(b);
        close_nest(b);
    }
    close_message(b);
}

void nft_element_add(struct nft_batch *b, const struct nft_set *s, const struct nft_element *e)
{
    element_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, s, e);
}

void nft_element_delete(struct nft_batch *b, const struct nft_set *s, const struct nft_element *e)
{
    element_message(b, NFT_MSG_DELSETELEM, 0, s, e);
}

// --- dump ---

struct dump {
    struct nft_element *list; // chains are copies
    size_t n, cap;
};

static void dump_reset(struct dump *d)
{
    for (size_t i = 0; i < d->n; i++)
        free((char *)d->list[i].chain);
    d->n = 0;
}

static void copy_value(const struct nlattr *data, uint32_t *out, size_t n)
{
    const struct nlattr *a;
    mnl_attr_for_each_nested(a, data) if (mnl_attr_get_type(a) == NFTA_DATA_VALUE)
    {
        size_t len = mnl_attr_get_payload_len(a);
        memcpy(out, mnl_attr_get_payload(a), len < n ? len : n);
    }
}

static const char *verdict_chain(const struct nlattr *data)
{
    const struct nlattr *a, *v;
    mnl_attr_for_each_nested(a, data) if (mnl_attr_get_type(a) == NFTA_DATA_VERDICT)
        mnl_attr_for_each_nested(v, a) if (mnl_attr_get_type(v) ==
                                           NFTA_VERDICT_CHAIN) return mnl_attr_get_str(v);
    return NULL;
}

static void dump_element(struct dump *d, const struct nlattr *element)
{
    struct nft_element e = {0};
    const struct nlattr *a;
    mnl_attr_for_each_nested(a, element)
    {
        if (mnl_attr_get_type(a) == NFTA_SET_ELEM_KEY)
            copy_value(a, e.key, sizeof e.key);
        if (mnl_attr_get_type(a) == NFTA_SET_ELEM_DATA) {
            copy_value(a, e.data, sizeof e.data);
            const char *chain = verdict_chain(a);
            e.chain = chain ? mem_cstr(str_of(chain)) : NULL;
        }
    }
    if (d->n == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 16;
        d->list = mem_realloc(d->list, d->cap * sizeof *d->list);
    }
    d->list[d->n++] = e;
}

static int dump_message(const struct nlmsghdr *h, void *ctx)
{
    const struct nlattr *a, *element;
    mnl_attr_for_each(a, h, sizeof(struct nfgenmsg)) if (mnl_attr_get_type(a) ==
                                                         NFTA_SET_ELEM_LIST_ELEMENTS)
        mnl_attr_for_each_nested(element, a) dump_element(ctx, element);
    return MNL_CB_OK;
}

static int dump_set(struct netlink *n, const char *table, const struct nft_set *s, struct dump *d)
{
    char buffer[1024];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof *g);
    *g = (struct nfgenmsg){.nfgen_family = NFPROTO_IPV4, .version = NFNETLINK_V0};
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_TABLE, table);
    mnl_attr_put_strz(h, NFTA_SET_ELEM_LIST_SET, s->name);
    return netlink_exchange(n, h, dump_message, d);
}

int nft_set_each(struct netlink *n, const char *table, const struct nft_set *s,
                 void (*fn)(void *ctx, const struct nft_element *e), void *ctx)
{
    struct dump d = {0};
    int r = -EINTR;
    // A commit by anybody, to any table, interrupts a dump: it is begun again.
    for (int tries = 0; r == -EINTR && tries < DUMP_TRIES; tries++) {
        dump_reset(&d);
        r = dump_set(n, table, s, &d);
    }
    for (size_t i = 0; r == 0 && i < d.n; i++)
        fn(ctx, &d.list[i]);
    dump_reset(&d);
    free(d.list);
    return r;
}

// --- rules ---

static uint32_t reg_code(unsigned reg)
{
    return NFT_REG32_00 + reg;
}

void nft_rule_begin(struct nft_batch *b, const char *chain)
{
    open_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    put_string(b, NFTA_RULE_TABLE, b->table);
    put_string(b, NFTA_RULE_CHAIN, chain);
    open_nest(b, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft_batch *b)
{
    close_nest(b);
    close_message(b);
}

static void open_expression(struct nft_batch *b, const char *name)
{
    open_nest(b, NFTA_LIST_ELEM);
    put_string(b, NFTA_EXPR_NAME, name);
    open_nest(b, NFTA_EXPR_DATA);
}

static void close_expression(struct nft_batch *b)
{
    close_nest(b);
    close_nest(b);
}

static void put_data(struct nft_batch *b, uint16_t type, const void *value, unsigned length)
{
    open_nest(b, type);
    put(b, NFTA_DATA_VALUE, value, length);
    close_nest(b);
}

void nft_meta(struct nft_batch *b, enum nft_meta_keys key, unsigned reg)
{
    open_expression(b, "meta");
    put_u32(b, NFTA_META_KEY, key);
    put_u32(b, NFTA_META_DREG, reg_code(reg));
    close_expression(b);
}

void nft_meta_set(struct nft_batch *b, enum nft_meta_keys key, unsigned reg)
{
    open_expression(b, "meta");
    put_u32(b, NFTA_META_KEY, key);
    put_u32(b, NFTA_META_SREG, reg_code(reg));
    close_expression(b);
}

void nft_payload(struct nft_batch *b, enum nft_payload_bases base, unsigned offset, unsigned length,
                 unsigned reg)
{
    open_expression(b, "payload");
    put_u32(b, NFTA_PAYLOAD_DREG, reg_code(reg));
    put_u32(b, NFTA_PAYLOAD_BASE, base);
    put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
    put_u32(b, NFTA_PAYLOAD_LEN, length);
    close_expression(b);
}

void nft_fib(struct nft_batch *b, enum nft_fib_result result, uint32_t flags, unsigned reg)
{
    open_expression(b, "fib");
    put_u32(b, NFTA_FIB_DREG, reg_code(reg));
    put_u32(b, NFTA_FIB_RESULT, result);
    put_u32(b, NFTA_FIB_FLAGS, flags);
    close_expression(b);
}

void nft_ct(struct nft_batch *b, enum nft_ct_keys key, unsigned reg, int direction)
{
    open_expression(b, "ct");
    put_u32(b, NFTA_CT_KEY, key);
    put_u32(b, NFTA_CT_DREG, reg_code(reg));
    if (direction >= 0) {
        uint8_t d = (uint8_t)direction;
        put(b, NFTA_CT_DIRECTION, &d, 1);
    }
    close_expression(b);
}

void nft_compare(struct nft_batch *b, unsigned reg, enum nft_cmp_ops op, const void *value,
                 unsigned length)
{
    open_expression(b, "cmp");
    put_u32(b, NFTA_CMP_SREG, reg_code(reg));
    put_u32(b, NFTA_CMP_OP, op);
    put_data(b, NFTA_CMP_DATA, value, length);
    close_expression(b);
}

void nft_mask(struct nft_batch *b, unsigned reg, uint32_t mask, uint32_t xor_with)
{
    open_expression(b, "bitwise");
    put_u32(b, NFTA_BITWISE_SREG, reg_code(reg));
    put_u32(b, NFTA_BITWISE_DREG, reg_code(reg));
    put_u32(b, NFTA_BITWISE_LEN, 4);
    put_data(b, NFTA_BITWISE_MASK, &mask, 4);
    put_data(b, NFTA_BITWISE_XOR, &xor_with, 4);
    close_expression(b);
}

void nft_load(struct nft_batch *b, unsigned reg, uint32_t value)
{
    open_expression(b, "immediate");
    put_u32(b, NFTA_IMMEDIATE_DREG, reg_code(reg));
    put_data(b, NFTA_IMMEDIATE_DATA, &value, 4);
    close_expression(b);
}

void nft_random(struct nft_batch *b, unsigned reg, uint32_t modulus, uint32_t first)
{
    open_expression(b, "numgen");
    put_u32(b, NFTA_NG_DREG, reg_code(reg));
    put_u32(b, NFTA_NG_MODULUS, modulus);
    put_u32(b, NFTA_NG_TYPE, NFT_NG_RANDOM);
    put_u32(b, NFTA_NG_OFFSET, first);
    close_expression(b);
}

void nft_lookup(struct nft_batch *b, const char *set, unsigned reg, int dreg, bool map, bool invert)
{
    open_expression(b, "lookup");
    put_string(b, NFTA_LOOKUP_SET, set);
    put_u32(b, NFTA_LOOKUP_SREG, reg_code(reg));
    if (map)
        put_u32(b, NFTA_LOOKUP_DREG, dreg < 0 ? NFT_REG_VERDICT : reg_code((unsigned)dreg));
    if (invert)
        put_u32(b, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
    close_expression(b);
}

void nft_remember(struct nft_batch *b, const char *set, unsigned reg, int data_reg,
                  uint64_t timeout_ms)
{
    open_expression(b, "dynset");
    put_string(b, NFTA_DYNSET_SET_NAME, set);
    put_u32(b, NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
    put_u32(b, NFTA_DYNSET_SREG_KEY, reg_code(reg));
    if (data_reg >= 0)
        put_u32(b, NFTA_DYNSET_SREG_DATA, reg_code((unsigned)data_reg));
    if (timeout_ms)
        put_u64(b, NFTA_DYNSET_TIMEOUT, timeout_ms);
    close_expression(b);
}

void nft_dnat(struct nft_batch *b, unsigned address_reg, int port_reg)
{
    open_expression(b, "nat");
    put_u32(b, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    put_u32(b, NFTA_NAT_FAMILY, NFPROTO_IPV4);
    put_u32(b, NFTA_NAT_REG_ADDR_MIN, reg_code(address_reg));
    if (port_reg >= 0)
        put_u32(b, NFTA_NAT_REG_PROTO_MIN, reg_code((unsigned)port_reg));
    close_expression(b);
}

void nft_masquerade(struct nft_batch *b)
{
    open_expression(b, "masq");
    close_expression(b);
}

void nft_reject(struct nft_batch *b, bool tcp_reset)
{
    uint8_t port_unreachable = 3;
    open_expression(b, "reject");
    put_u32(b, NFTA_REJECT_TYPE, tcp_reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMP_UNREACH);
    if (!tcp_reset)
        put(b, NFTA_REJECT_ICMP_CODE, &port_unreachable, 1);
    close_expression(b);
}

void nft_verdict(struct nft_batch *b, int verdict, const char *chain)
{
    open_expression(b, "immediate");
    put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    open_nest(b, NFTA_IMMEDIATE_DATA);
    put_verdict(b, verdict, chain);
    close_nest(b);
    close_expression(b);
}
