// The cluster's DNS server (dns.h): UDP and TCP on one address, on the node's loop. A question is
// answered from the cache of written answers, else from the zone (dns_zone.h), else upstream
// (dns_forward.h).
//
// The cache holds whole responses by name and type and is thrown away whenever a Service,
// EndpointSlice or Namespace changes: answers cost a hash look-up as long as nothing changes, and
// are never stale. The addresses of a headless Service are rotated, so they are not cached.
#include "network/dns.h"
#include "base/log.h"
#include "base/map.h"
#include "base/time.h"
#include "network/addresses.h"
#include "network/dns_forward.h"
#include "network/dns_zone.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH           32   // datagrams a system call
#define CACHE_MAX       4096 // answers
#define CONNECTIONS_MAX 128
#define TCP_IDLE_NS     (30 * NS_PER_S)
#define ACCEPT_PAUSE_NS (1 * NS_PER_S) // when descriptors have run out
#define DNS_TRUNCATED   2              // TC, in the third byte

struct cached {
    size_t n;
    uint8_t message[];
};

struct dns_server {
    struct loop *loop;
    struct dns_zone *zone;
    struct dns_forwarder *forwarder;
    struct loop_fd udp, tcp;
    struct loop_timer accept_again;
    struct map cache; // "name type" -> struct cached
    struct arena scratch;
    struct list connections;
    struct list queries; // forwarded, waiting
    size_t nconnections;
    size_t turn; // which of several records comes first
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in from[BATCH];
    uint8_t in[BATCH][DNS_UDP_PLAIN * 4];
    uint8_t out[DNS_MESSAGE_MAX];
};

struct connection {
    struct list link;
    struct dns_server *s;
    struct loop_fd fd;
    struct loop_timer idle;
    uint8_t in[2 + 4096]; // a question is small
    size_t n;
    uint8_t *out; // what the socket did not take
    size_t out_n, out_at;
    size_t waiting; // forwarded questions
    bool closed;
};

// A question that was passed on.
struct query {
    struct list link;
    struct dns_server *s;
    struct connection *connection; // NULL: UDP
    struct sockaddr_in from;
    struct dns_question question;
    // Of a chase: the records so far.
    bool chase;
    struct arena arena;
    struct dns_answer partial;
};

// --- sending ---

static void connection_free(struct connection *c)
{
    loop_fd_remove(c->s->loop, &c->fd);
    close(c->fd.fd);
    loop_timer_cancel(c->s->loop, &c->idle);
    list_remove(&c->link);
    c->s->nconnections--;
    free(c->out);
    free(c);
}

// A connection with questions upstream lives until their answers have been thrown away.
static void connection_close(struct connection *c)
{
    if (c->waiting == 0) {
        connection_free(c);
        return;
    }
    c->closed = true;
    loop_fd_set(c->s->loop, &c->fd, 0);
    loop_timer_cancel(c->s->loop, &c->idle);
}

static bool connection_flush(struct connection *c)
{
    while (c->out_at < c->out_n) {
        ssize_t n = send(c->fd.fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return false;
        c->out_at += (size_t)n;
    }
    bool all = c->out_at == c->out_n;
    if (all) {
        free(TAKE_PTR(c->out));
        c->out_n = c->out_at = 0;
    }
    // No further questions while answers wait: the client sets the pace.
    loop_fd_set(c->s->loop, &c->fd, all ? LOOP_READ : LOOP_WRITE);
    return true;
}

static void send_tcp(struct connection *c, const uint8_t *message, size_t n)
{
    if (c->closed)
        return;
    c->out = mem_realloc(c->out, c->out_n + 2 + n);
    c->out[c->out_n] = (uint8_t)(n >> 8);
    c->out[c->out_n + 1] = (uint8_t)n;
    memcpy(c->out + c->out_n + 2, message, n);
    c->out_n += 2 + n;
}

static void send_udp(struct dns_server *s, const struct sockaddr_in *to, const uint8_t *message,
                     size_t n)
{
    // A full socket buffer drops the answer, as the network would: the client asks again.
    sendto(s->udp.fd, message, n, MSG_DONTWAIT, (const struct sockaddr *)to, sizeof *to);
}

static void reply(struct dns_server *s, struct connection *c, const struct sockaddr_in *to,
                  const uint8_t *message, size_t n)
{
    if (n == 0)
        return;
    if (c)
        send_tcp(c, message, n);
    else
        send_udp(s, to, message, n);
}

// --- the cache ---

static void cache_clear(void *ctx)
{
    struct dns_server *s = ctx;
    map_each (&s->cache, slot)
        free(slot->value);
    map_done(&s->cache);
    s->cache = MAP_INIT;
}

static struct str cache_key(char out[DNS_NAME_MAX + 8], const struct dns_question *q)
{
    memcpy(out, q->name, q->name_n);
    out[q->name_n] = (char)(q->type >> 8);
    out[q->name_n + 1] = (char)q->type;
    out[q->name_n + 2] = q->edns ? 'e' : '-';
    return str_n(out, q->name_n + 3u);
}

// Only answers that fit plain UDP, so that they serve everybody; id, flags and spelling are the
// asker's.
static bool from_cache(struct dns_server *s, const struct dns_question *q, size_t *ret_n)
{
    char key[DNS_NAME_MAX + 8];
    const struct cached *c = map_get(&s->cache, cache_key(key, q));
    if (!c)
        return false;
    memcpy(s->out, c->message, c->n);
    s->out[0] = (uint8_t)(q->id >> 8);
    s->out[1] = (uint8_t)q->id;
    s->out[2] = (uint8_t)((s->out[2] & ~1) | q->recursion_desired);
    for (size_t i = 0, at = 12; i < q->name_n;) {
        uint8_t label = s->out[at];
        memcpy(s->out + at + 1, q->spelling + i, label);
        at += 1u + label;
        i += 1u + label;
    }
    *ret_n = c->n;
    return true;
}

static void to_cache(struct dns_server *s, const struct dns_question *q, size_t n)
{
    char key[DNS_NAME_MAX + 8];
    if (n > DNS_UDP_PLAIN || s->out[2] & DNS_TRUNCATED)
        return;
    if (s->cache.n >= CACHE_MAX)
        cache_clear(s);
    struct cached *c = mem_alloc(sizeof *c + n);
    c->n = n;
    memcpy(c->message, s->out, n);
    free(map_set(&s->cache, cache_key(key, q), c));
}

// --- questions ---

static void query_free(struct query *q)
{
    struct connection *c = q->connection;
    list_remove(&q->link);
    arena_done(&q->arena);
    free(q);
    if (c && --c->waiting == 0 && c->closed)
        connection_free(c);
}

static size_t answer_limit(const struct query *q)
{
    return q->connection ? DNS_MESSAGE_MAX : q->question.udp_size;
}

// Adds what upstream says of a CNAME's target to the CNAME.
static size_t finish_chase(struct query *q, const uint8_t *response, size_t n)
{
    struct dns_walk w;
    struct dns_record r;
    enum dns_rcode rcode = DNS_SERVFAIL;
    struct dns_answer all = q->partial;
    size_t room = 64;
    struct dns_record *list = arena_array(&q->arena, struct dns_record, all.nanswers + room);
    memcpy(list, all.answers, all.nanswers * sizeof *list);
    if (n > 0 && dns_walk_start(&w, response, n, &rcode))
        while (room-- > 0 && dns_walk_next(&w, &r)) {
            r.owner = arena_str(&q->arena, r.owner);
            r.target = r.target.p ? arena_str(&q->arena, r.target) : r.target;
            list[all.nanswers++] = r;
        }
    all.answers = list;
    all.nauthority = 0;
    all.rcode = rcode == DNS_NXDOMAIN ? DNS_NOERROR : rcode;
    return dns_write(q->s->out, answer_limit(q), &q->question, &all);
}

static void on_forwarded(void *ctx, const uint8_t *response, size_t n)
{
    struct query *q = ctx;
    struct dns_server *s = q->s;
    const uint8_t *message = response;
    if (q->chase) {
        n = finish_chase(q, response, n);
        message = s->out;
    } else if (n == 0) {
        const struct dns_answer failed = {.rcode = DNS_SERVFAIL};
        n = dns_write(s->out, answer_limit(q), &q->question, &failed);
        message = s->out;
    }
    struct connection *c = q->connection;
    reply(s, c, &q->from, message, n);
    bool broken = c && !c->closed && !connection_flush(c);
    if (broken)
        c->closed = true;
    query_free(q);
}

static struct query *query_new(struct dns_server *s, struct connection *c,
                               const struct sockaddr_in *from, const struct dns_question *question)
{
    struct query *q = mem_zalloc(sizeof *q);
    q->s = s;
    q->connection = c;
    q->question = *question;
    if (from)
        q->from = *from;
    if (c)
        c->waiting++;
    list_push(&s->queries, &q->link);
    return q;
}

static struct dns_record *copy_records(struct arena *a, const struct dns_record *list, size_t n)
{
    struct dns_record *copy = arena_array(a, struct dns_record, n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = list[i];
        copy[i].owner = arena_str(a, list[i].owner);
        if (list[i].target.p)
            copy[i].target = arena_str(a, list[i].target);
    }
    return copy;
}

static void chase(struct dns_server *s, struct connection *c, const struct sockaddr_in *from,
                  const struct dns_question *question, const struct dns_answer *partial)
{
    uint8_t message[12 + DNS_NAME_MAX + 8];
    struct query *q = query_new(s, c, from, question);
    q->chase = true;
    q->partial = *partial;
    q->partial.answers = copy_records(&q->arena, partial->answers, partial->nanswers);
    q->partial.nadditional = q->partial.nauthority = 0;
    struct str target = q->partial.answers[partial->nanswers - 1].target;
    size_t n = dns_write_query(message, sizeof message, question->id, target, question->type);
    dns_forward(s->forwarder, message, n, c != NULL, on_forwarded, q);
}

// Another record first each time, so that clients that take the first spread.
static void rotate(struct dns_server *s, struct dns_answer *a)
{
    struct dns_record *turned = arena_array(&s->scratch, struct dns_record, a->nanswers);
    s->turn++;
    for (size_t i = 0; i < a->nanswers; i++)
        turned[i] = a->answers[(i + s->turn) % a->nanswers];
    a->answers = turned;
}

static void on_question(struct dns_server *s, struct connection *c, const struct sockaddr_in *from,
                        const uint8_t *p, size_t n)
{
    struct dns_question q;
    int rcode = dns_parse(p, n, &q);
    if (rcode < 0)
        return;
    if (rcode != DNS_NOERROR) {
        reply(s, c, from, s->out, dns_write_error(s->out, sizeof s->out, p, n, rcode));
        return;
    }
    size_t length;
    if (from_cache(s, &q, &length)) {
        reply(s, c, from, s->out, length);
        return;
    }
    struct dns_answer answer;
    arena_reset(&s->scratch);
    switch (dns_zone_resolve(s->zone, &s->scratch, dns_question_name(&q), q.type, &answer)) {
    case DNS_ZONE_ANSWERED:
        // Several records are not cached: their order is to differ from answer to answer. (A CNAME
        // must stay first.)
        if (answer.nanswers > 1 && answer.answers[0].type != DNS_CNAME)
            rotate(s, &answer);
        length = dns_write(s->out, c ? DNS_MESSAGE_MAX : q.udp_size, &q, &answer);
        if (answer.nanswers <= 1)
            to_cache(s, &q, length);
        reply(s, c, from, s->out, length);
        break;
    case DNS_ZONE_CHASE:
        chase(s, c, from, &q, &answer);
        break;
    case DNS_ZONE_FOREIGN:
        dns_forward(s->forwarder, p, n, c != NULL, on_forwarded, query_new(s, c, from, &q));
        break;
    }
}

static void on_udp(struct loop_fd *fd, unsigned ready)
{
    (void)ready;
    struct dns_server *s = container_of(fd, struct dns_server, udp);
    for (size_t i = 0; i < BATCH; i++) {
        s->vectors[i] = (struct iovec){s->in[i], sizeof s->in[i]};
        s->messages[i].msg_hdr = (struct msghdr){.msg_name = &s->from[i],
                                                 .msg_namelen = sizeof s->from[i],
                                                 .msg_iov = &s->vectors[i],
                                                 .msg_iovlen = 1};
    }
    int n = recvmmsg(s->udp.fd, s->messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        on_question(s, NULL, &s->from[i], s->in[i], s->messages[i].msg_len);
}

// --- TCP ---

static void on_idle(struct loop_timer *t)
{
    connection_close(container_of(t, struct connection, idle));
}

// Takes the whole questions out of the buffer; false: the client does not speak DNS.
static bool take_questions(struct connection *c)
{
    while (c->n >= 2) {
        size_t length = (size_t)(c->in[0] << 8 | c->in[1]);
        if (length > sizeof c->in - 2)
            return false;
        if (c->n < 2 + length)
            break;
        on_question(c->s, c, NULL, c->in + 2, length);
        c->n -= 2 + length;
        memmove(c->in, c->in + 2 + length, c->n);
    }
    return true;
}

static void on_connection(struct loop_fd *fd, unsigned ready)
{
    struct connection *c = container_of(fd, struct connection, fd);
    bool alive = true;
    if (c->closed) {
        loop_fd_set(c->s->loop, &c->fd, 0);
        return;
    }
    loop_timer_in(c->s->loop, &c->idle, TCP_IDLE_NS);
    c->waiting++; // an answer given at once must not free the connection under our hands
    if (ready & LOOP_READ) {
        ssize_t n = recv(c->fd.fd, c->in + c->n, sizeof c->in - c->n, 0);
        if (n > 0) {
            c->n += (size_t)n;
            alive = take_questions(c);
        } else {
            alive = n < 0 && (errno == EAGAIN || errno == EINTR);
        }
    } else if (ready & LOOP_HUP) {
        alive = false;
    }
    alive = alive && !c->closed && connection_flush(c);
    c->waiting--;
    if (!alive)
        connection_close(c);
}

static void on_accept_again(struct loop_timer *t)
{
    struct dns_server *s = container_of(t, struct dns_server, accept_again);
    loop_fd_set(s->loop, &s->tcp, LOOP_READ);
}

static void on_accept(struct loop_fd *fd, unsigned ready)
{
    (void)ready;
    struct dns_server *s = container_of(fd, struct dns_server, tcp);
    int accepted = accept4(s->tcp.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
        if (errno == EMFILE || errno == ENFILE) { // the listener stays readable: look away a while
            loop_fd_set(s->loop, &s->tcp, 0);
            loop_timer_in(s->loop, &s->accept_again, ACCEPT_PAUSE_NS);
        }
        return;
    }
    struct connection *c = mem_zalloc(sizeof *c);
    c->s = s;
    c->fd.fn = on_connection;
    c->idle.fn = on_idle;
    if (s->nconnections >= CONNECTIONS_MAX ||
        loop_fd_add(s->loop, &c->fd, accepted, LOOP_READ) < 0) {
        close(accepted);
        free(c);
        return;
    }
    list_push(&s->connections, &c->link);
    s->nconnections++;
    loop_timer_in(s->loop, &c->idle, TCP_IDLE_NS);
}

// --- life ---

static int listen_on(struct dns_server *s, struct loop_fd *f, int type,
                     const struct sockaddr_in *at, struct str text, struct err *e)
{
    static const int receive_buffer = 1 << 20;
    int one = 1, fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;
    if (fd < 0)
        return err_errno(e, errno, "opening a DNS socket");
    if (type == SOCK_STREAM) // a UDP port must have one owner
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    else // what comes in bursts waits for the loop
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer);
    if (bind(fd, (const struct sockaddr *)at, sizeof *at) < 0 ||
        (type == SOCK_STREAM && listen(fd, 128) < 0))
        r = err_errno(e, errno, "the cluster's DNS server cannot listen on %.*s", STR_ARG(text));
    else if ((r = loop_fd_add(s->loop, f, fd, LOOP_READ)) < 0)
        r = err_errno(e, -r, "watching a DNS socket");
    if (r < 0) {
        close(fd);
        f->fd = -1;
    }
    return r;
}

static bool parse_listen(struct str text, struct sockaddr_in *ret, struct str *ret_ip)
{
    ptrdiff_t colon = str_rchr(text, ':');
    uint64_t port;
    char ip[INET_ADDRSTRLEN];
    if (colon < 0 || colon >= (ptrdiff_t)sizeof ip ||
        !str_to_u64(str_from(text, (size_t)colon + 1), &port) || port > 65535)
        return false;
    memcpy(ip, text.p, (size_t)colon);
    ip[colon] = 0;
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    *ret_ip = str_sub(text, 0, (size_t)colon);
    return inet_pton(AF_INET, ip, &ret->sin_addr) == 1;
}

int dns_server_new(struct loop *l, const struct dns_server_options *opt, struct dns_server **ret,
                   struct err *e)
{
    struct sockaddr_in at;
    struct str ip;
    if (!parse_listen(opt->listen, &at, &ip))
        return err_set(e, ERR_BAD_REQUEST, "%.*s is not an address and a port",
                       STR_ARG(opt->listen));
    struct dns_server *s = mem_zalloc(sizeof *s);
    s->loop = l;
    s->udp.fd = s->tcp.fd = -1;
    s->udp.fn = on_udp;
    s->tcp.fn = on_accept;
    s->accept_again.fn = on_accept_again;
    list_init(&s->connections);
    list_init(&s->queries);
    s->zone = dns_zone_new(opt->informers, opt->cluster_domain, cache_clear, s);
    s->forwarder =
        dns_forwarder_new(l, opt->resolv_conf ? opt->resolv_conf : "/etc/resolv.conf", ip);
    int r;
    if ((r = listen_on(s, &s->udp, SOCK_DGRAM, &at, opt->listen, e)) < 0 ||
        (r = listen_on(s, &s->tcp, SOCK_STREAM, &at, opt->listen, e)) < 0) {
        dns_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void dns_server_free(struct dns_server *s)
{
    if (!s)
        return;
    struct loop_fd *const sockets[] = {&s->udp, &s->tcp};
    for (size_t i = 0; i < 2; i++)
        if (sockets[i]->fd >= 0) {
            loop_fd_remove(s->loop, sockets[i]);
            close(sockets[i]->fd);
        }
    loop_timer_cancel(s->loop, &s->accept_again);
    dns_forwarder_free(s->forwarder);
    while (!list_empty(&s->queries))
        query_free(container_of(s->queries.next, struct query, link));
    while (!list_empty(&s->connections))
        connection_free(container_of(s->connections.next, struct connection, link));
    cache_clear(s);
    dns_zone_free(s->zone);
    arena_done(&s->scratch);
    free(s);
}

static int change_address(struct str ip, bool add, struct err *e)
{
    uint32_t network;
    unsigned prefix;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (!cidr_parse(arena_printf(&a, "%.*s/32", STR_ARG(ip)), &network, &prefix))
        return err_set(e, ERR_BAD_REQUEST, "%.*s is not an IPv4 address", STR_ARG(ip));
    struct netlink n;
    int r = netlink_open(&n, NETLINK_ROUTE, NULL, e);
    if (r < 0)
        return r;
    struct in_addr address = {htonl(network)};
    int lo = link_index(&n, "lo");
    r = lo < 0 ? lo : add ? address_add(&n, lo, address, 32) : address_del(&n, lo, address, 32);
    if (r == 0 && add)
        r = link_up(&n, lo);
    netlink_close(&n);
    return r < 0 ? err_errno(e, -r, "%s %.*s %s the loopback device", add ? "putting" : "taking",
                             STR_ARG(ip), add ? "on" : "off")
                 : 0;
}

int dns_address_add(struct str ip, struct err *e)
{
    return change_address(ip, true, e);
}

int dns_address_del(struct str ip, struct err *e)
{
    return change_address(ip, false, e);
}
