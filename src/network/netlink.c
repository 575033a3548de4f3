// See netlink.h. Messages are built with libmnl into one buffer on the stack; the kernel's answers
// are read until the acknowledgement of our own sequence number.
#include "network/netlink.h"
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 4096
#define DUMP_TRIES    50 // a dump is begun again when what it shows changes meanwhile

int netlink_open(struct netlink *n, int protocol, const char *netns, struct err *e)
{
    int own = -1, other = -1, r = 0;
    *n = (struct netlink){.sequence = (uint32_t)time(NULL)};
    if (netns) {
        own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        other = open(netns, O_RDONLY | O_CLOEXEC);
        if (own < 0 || other < 0 || setns(other, CLONE_NEWNET) < 0)
            r = err_errno(e, errno, "entering the network namespace %s", netns);
    }
    if (r == 0) {
        n->socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
        if (!n->socket || mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
            r = err_errno(e, errno, "opening a netlink socket");
            netlink_close(n);
        }
        // A thread in the wrong namespace would do damage: there is no going on from this.
        BUG_ON(netns && setns(own, CLONE_NEWNET) < 0);
    }
    if (own >= 0)
        close(own);
    if (other >= 0)
        close(other);
    return r;
}

void netlink_close(struct netlink *n)
{
    if (n->socket)
        mnl_socket_close(n->socket);
    n->socket = NULL;
}

// One datagram of answers. 1: more to come; 0 or -errno: that was the end.
static int read_answers(struct netlink *n, char *buffer, int left, bool *interrupted,
                        int (*fn)(const struct nlmsghdr *m, void *ctx), void *ctx)
{
    unsigned port = mnl_socket_get_portid(n->socket);
    for (struct nlmsghdr *m = (void *)buffer; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left)) {
        if (m->nlmsg_seq != n->sequence || m->nlmsg_pid != port)
            continue; // of an earlier request
        if (m->nlmsg_type == NLMSG_ERROR)
            return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(m))->error;
        if (m->nlmsg_type == NLMSG_DONE) {
            int error = mnl_nlmsg_get_payload_len(m) >= sizeof(int)
                            ? *(const int *)mnl_nlmsg_get_payload(m)
                            : 0;
            return error < 0 ? error : *interrupted ? -EINTR : 0;
        }
        *interrupted = *interrupted || m->nlmsg_flags & NLM_F_DUMP_INTR;
        if (fn && !*interrupted)
            fn(m, ctx);
    }
    return 1;
}

int netlink_exchange(struct netlink *n, struct nlmsghdr *m,
                     int (*fn)(const struct nlmsghdr *m, void *ctx), void *ctx)
{
    static _Thread_local char buffer[32768];
    bool interrupted = false;
    m->nlmsg_seq = ++n->sequence;
    if (mnl_socket_sendto(n->socket, m, m->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(n->socket, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        int r = read_answers(n, buffer, (int)got, &interrupted, fn, ctx);
        if (r <= 0)
            return r;
    }
}

int netlink_send(struct netlink *n, struct nlmsghdr *m)
{
    m->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    return netlink_exchange(n, m, NULL, NULL);
}

static struct nlmsghdr *start(char *buffer, uint16_t type, uint16_t flags, size_t extra,
                              void *ret_extra)
{
    struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
    m->nlmsg_type = type;
    m->nlmsg_flags = NLM_F_REQUEST | flags;
    *(void **)ret_extra = mnl_nlmsg_put_extra_header(m, extra);
    return m;
}

struct link_answer {
    int index, mtu;
};

static int read_link(const struct nlmsghdr *m, void *ctx)
{
    struct link_answer *answer = ctx;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(m);
    const struct nlattr *attr;
    answer->index = info->ifi_index;
    mnl_attr_for_each(attr, m, sizeof *info) if (mnl_attr_get_type(attr) == IFLA_MTU) answer->mtu =
        (int)mnl_attr_get_u32(attr);
    return MNL_CB_OK;
}

static int get_link(struct netlink *n, const char *name, struct link_answer *ret)
{
    char buffer[MESSAGE_BYTES];
    struct ifinfomsg *info;
    struct nlmsghdr *m = start(buffer, RTM_GETLINK, NLM_F_ACK, sizeof *info, &info);
    mnl_attr_put_strz(m, IFLA_IFNAME, name);
    return netlink_exchange(n, m, read_link, ret);
}

int link_index(struct netlink *n, const char *name)
{
    struct link_answer answer = {0};
    int r = get_link(n, name, &answer);
    return r < 0 ? r : answer.index;
}

int link_mtu(struct netlink *n, const char *name)
{
    struct link_answer answer = {0};
    int r = get_link(n, name, &answer);
    return r < 0 ? r : answer.mtu;
}

int link_add_veth(struct netlink *n, const char *name, const char *peer, int netns_fd, unsigned mtu)
{
    char buffer[MESSAGE_BYTES];
    struct ifinfomsg *info;
    struct nlmsghdr *m = start(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *info, &info);
    mnl_attr_put_strz(m, IFLA_IFNAME, name);
    mnl_attr_put_u32(m, IFLA_MTU, mtu);
    struct nlattr *link = mnl_attr_nest_start(m, IFLA_LINKINFO);
    mnl_attr_put_strz(m, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
    struct nlattr *other = mnl_attr_nest_start(m, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(m, sizeof *info);
    mnl_attr_put_strz(m, IFLA_IFNAME, peer);
    mnl_attr_put_u32(m, IFLA_MTU, mtu);
    mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    mnl_attr_nest_end(m, other);
    mnl_attr_nest_end(m, data);
    mnl_attr_nest_end(m, link);
    return netlink_send(n, m);
}

int link_up(struct netlink *n, int index)
{
    char buffer[MESSAGE_BYTES];
    struct ifinfomsg *info;
    struct nlmsghdr *m = start(buffer, RTM_NEWLINK, 0, sizeof *info, &info);
    info->ifi_index = index;
    info->ifi_flags = info->ifi_change = IFF_UP;
    return netlink_send(n, m);
}

int link_delete(struct netlink *n, const char *name)
{
    char buffer[MESSAGE_BYTES];
    struct ifinfomsg *info;
    struct nlmsghdr *m = start(buffer, RTM_DELLINK, 0, sizeof *info, &info);
    mnl_attr_put_strz(m, IFLA_IFNAME, name);
    int r = netlink_send(n, m);
    return r == -ENODEV ? 0 : r;
}

static int address_change(struct netlink *n, uint16_t type, uint16_t flags, int index,
                          struct in_addr address, unsigned prefix)
{
    char buffer[MESSAGE_BYTES];
    struct ifaddrmsg *info;
    struct nlmsghdr *m = start(buffer, type, flags, sizeof *info, &info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)prefix;
    info->ifa_index = (uint32_t)index;
    mnl_attr_put(m, IFA_LOCAL, sizeof address, &address);
    mnl_attr_put(m, IFA_ADDRESS, sizeof address, &address);
    return netlink_send(n, m);
}

int address_add(struct netlink *n, int index, struct in_addr address, unsigned prefix)
{
    int r = address_change(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, prefix);
    return r == -EEXIST ? 0 : r;
}

int address_del(struct netlink *n, int index, struct in_addr address, unsigned prefix)
{
    int r = address_change(n, RTM_DELADDR, 0, index, address, prefix);
    return r == -EADDRNOTAVAIL ? 0 : r;
}

int route_add(struct netlink *n, int index, struct in_addr destination, unsigned prefix,
              struct in_addr gateway)
{
    char buffer[MESSAGE_BYTES];
    struct rtmsg *info;
    struct nlmsghdr *m =
        start(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof *info, &info);
    info->rtm_family = AF_INET;
    info->rtm_dst_len = (uint8_t)prefix;
    info->rtm_table = RT_TABLE_MAIN;
    info->rtm_protocol = RTPROT_STATIC;
    info->rtm_scope = gateway.s_addr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    info->rtm_type = RTN_UNICAST;
    if (prefix > 0)
        mnl_attr_put(m, RTA_DST, sizeof destination, &destination);
    if (gateway.s_addr)
        mnl_attr_put(m, RTA_GATEWAY, sizeof gateway, &gateway);
    mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
    return netlink_send(n, m);
}

static int read_route(const struct nlmsghdr *m, void *ctx)
{
    int *index = ctx;
    const struct rtmsg *info = mnl_nlmsg_get_payload(m);
    const struct nlattr *attr;
    if (info->rtm_dst_len != 0 || info->rtm_table != RT_TABLE_MAIN || *index)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, m, sizeof *info) if (mnl_attr_get_type(attr) == RTA_OIF) *index =
        (int)mnl_attr_get_u32(attr);
    return MNL_CB_OK;
}

struct each_link {
    void (*fn)(void *ctx, const char *name, int index);
    void *ctx;
};

static int read_each_link(const struct nlmsghdr *m, void *ctx)
{
    struct each_link *each = ctx;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(m);
    const struct nlattr *attr;
    mnl_attr_for_each(attr, m, sizeof *info) if (mnl_attr_get_type(attr) == IFLA_IFNAME)
        each->fn(each->ctx, mnl_attr_get_str(attr), info->ifi_index);
    return MNL_CB_OK;
}

int link_each(struct netlink *n, void (*fn)(void *ctx, const char *name, int index), void *ctx)
{
    char buffer[MESSAGE_BYTES];
    struct each_link each = {fn, ctx};
    int r = -EINTR;
    for (int tries = 0; r == -EINTR && tries < DUMP_TRIES; tries++) {
        struct ifinfomsg *info;
        struct nlmsghdr *m = start(buffer, RTM_GETLINK, NLM_F_DUMP, sizeof *info, &info);
        r = netlink_exchange(n, m, read_each_link, &each);
    }
    return r;
}

struct find_name {
    int index;
    char *out;
};

static void copy_name(void *ctx, const char *name, int index)
{
    struct find_name *find = ctx;
    if (index == find->index)
        snprintf(find->out, IFNAMSIZ, "%s", name);
}

int route_default_device(struct netlink *n, char *out)
{
    char buffer[MESSAGE_BYTES];
    struct find_name find = {.out = out};
    int r = -EINTR;
    for (int tries = 0; r == -EINTR && tries < DUMP_TRIES; tries++) {
        struct rtmsg *info;
        struct nlmsghdr *m = start(buffer, RTM_GETROUTE, NLM_F_DUMP, sizeof *info, &info);
        info->rtm_family = AF_INET;
        r = netlink_exchange(n, m, read_route, &find.index);
    }
    if (r < 0)
        return r;
    out[0] = 0;
    if (find.index && (r = link_each(n, copy_name, &find)) < 0)
        return r;
    return out[0] ? 0 : -ENOENT;
}
