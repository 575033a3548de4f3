// See dns_forward.h. Answers to A and AAAA questions are kept for a few seconds, for questions that
// are the same byte for byte: programs ask in bursts. TTLs are given on as they came, which is why
// it is seconds.
#include "network/dns_forward.h"
#include "base/arena.h"
#include "base/map.h"
#include "base/time.h"
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVERS_MAX   3
#define IN_FLIGHT_MAX 1000
#define TIMEOUT_NS    (2 * NS_PER_S)
#define RESOLV_MAX    65536
#define KEPT_MAX      1024 // answers
#define KEPT_SECONDS  5    // at most; less where a record says so

struct kept {
    uint64_t until; // loop time
    size_t n;
    uint8_t response[];
};

struct dns_forwarder {
    struct loop *loop;
    struct map kept; // the query without its id -> struct kept
    char *path, *own;
    struct stat read; // the file as it was when the servers were read
    struct sockaddr_in servers[SERVERS_MAX];
    size_t nservers;
    struct list calls;
    size_t in_flight;
};

// One query on its way. TCP frames have a length in front; `out` holds what is sent, `in` what
// came.
struct call {
    struct list link;
    struct dns_forwarder *f;
    struct loop_fd fd;
    struct loop_timer timer;
    void (*done)(void *ctx, const uint8_t *response, size_t n);
    void *ctx;
    uint8_t *query;
    size_t n, sent;
    uint8_t original_id[2];
    size_t server;
    bool tcp, open;
    uint8_t *in;
    size_t in_n;
};

static void forget_kept(struct dns_forwarder *f)
{
    map_each (&f->kept, slot)
        free(slot->value);
    map_done(&f->kept);
    f->kept = MAP_INIT;
}

// The file is looked at before each query (a microsecond): it changes when the machine moves to
// another network.
static void load_servers(struct dns_forwarder *f)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str text;
    struct stat now;
    if (stat(f->path, &now) < 0 ||
        (now.st_ino == f->read.st_ino && now.st_size == f->read.st_size &&
         now.st_mtim.tv_sec == f->read.st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == f->read.st_mtim.tv_nsec) ||
        file_read_all(&a, f->path, RESOLV_MAX, &text, NULL) < 0)
        return; // what was read last holds
    f->read = now;
    forget_kept(f);
    f->nservers = 0;
    while (text.p && f->nservers < SERVERS_MAX) {
        struct str rest = str_trim(str_cut(&text, '\n'));
        for (size_t i = 0; i < rest.n; i++)
            if (rest.p[i] == '\t')
                ((char *)rest.p)[i] = ' ';
        if (!str_eqc(str_cut(&rest, ' '), "nameserver"))
            continue;
        struct str address = str_trim(rest);
        struct sockaddr_in *s = &f->servers[f->nservers];
        *s = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(53)};
        if (!str_eqc(address, f->own) &&
            inet_pton(AF_INET, arena_cstr(&a, address), &s->sin_addr) == 1)
            f->nservers++;
    }
}

struct dns_forwarder *dns_forwarder_new(struct loop *l, const char *resolv_conf, struct str own)
{
    struct dns_forwarder *f = mem_zalloc(sizeof *f);
    f->loop = l;
    f->path = mem_cstr(str_of(resolv_conf));
    f->own = mem_cstr(own);
    list_init(&f->calls);
    load_servers(f);
    return f;
}

static void close_socket(struct call *c)
{
    if (!c->open)
        return;
    loop_fd_remove(c->f->loop, &c->fd);
    close(c->fd.fd);
    c->open = false;
}

static void call_free(struct call *c)
{
    close_socket(c);
    loop_timer_cancel(c->f->loop, &c->timer);
    list_remove(&c->link);
    c->f->in_flight--;
    free(c->query);
    free(c->in);
    free(c);
}

void dns_forwarder_free(struct dns_forwarder *f)
{
    if (!f)
        return;
    while (!list_empty(&f->calls))
        call_free(container_of(f->calls.next, struct call, link));
    forget_kept(f);
    free(f->path);
    free(f->own);
    free(f);
}

// --- answers that are kept ---

// For how many seconds an answer may be given again; 0: not at all.
static uint32_t worth_keeping(const uint8_t *response, size_t n)
{
    struct dns_walk w;
    struct dns_record r;
    enum dns_rcode rcode;
    uint32_t seconds = KEPT_SECONDS;
    // Whole (not truncated), and small enough for every client.
    if (n > DNS_UDP_PLAIN || response[2] & 2 || !dns_walk_start(&w, response, n, &rcode) ||
        (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN))
        return 0;
    while (dns_walk_next(&w, &r))
        seconds = r.ttl < seconds ? r.ttl : seconds;
    return seconds;
}

static struct str kept_key(const uint8_t *query, size_t n)
{
    return str_n(query + 2, n - 2);
}

static void keep(struct call *c, const uint8_t *response, size_t n)
{
    struct dns_forwarder *f = c->f;
    struct dns_question q;
    uint32_t seconds = worth_keeping(response, n);
    if (seconds == 0 || dns_parse(c->query + 2, c->n - 2, &q) != DNS_NOERROR ||
        (q.type != DNS_A && q.type != DNS_AAAA))
        return;
    if (f->kept.n >= KEPT_MAX)
        forget_kept(f);
    struct kept *k = mem_alloc(sizeof *k + n);
    k->until = loop_now(f->loop) + seconds * NS_PER_S;
    k->n = n;
    memcpy(k->response, response, n);
    free(map_set(&f->kept, kept_key(c->query + 2, c->n - 2), k));
}

static const struct kept *find_kept(struct dns_forwarder *f, const uint8_t *query, size_t n)
{
    struct kept *k = map_get(&f->kept, kept_key(query, n));
    if (!k || k->until > loop_now(f->loop))
        return k;
    free(map_del(&f->kept, kept_key(query, n)));
    return NULL;
}

static void finish(struct call *c, uint8_t *response, size_t n)
{
    if (n > 0)
        keep(c, response, n);
    void (*done)(void *, const uint8_t *, size_t) = c->done;
    void *ctx = c->ctx;
    uint8_t *kept = TAKE_PTR(c->in);
    if (n >= 2)
        memcpy(response, c->original_id, 2);
    call_free(c);
    done(ctx, response, n);
    free(kept);
}

static void ask(struct call *c);

static void try_next(struct call *c)
{
    close_socket(c);
    c->server++;
    ask(c);
}

// Whether the response is to our question: same id, same question section in any spelling.
static bool fits(const struct call *c, const uint8_t *p, size_t n)
{
    const uint8_t *query = c->query + 2;
    struct dns_question q, r;
    if (n < 12 || memcmp(p, query, 2) != 0 || !(p[2] & 0x80))
        return false;
    uint8_t copy[12 + DNS_NAME_MAX + 8];
    size_t take = n < sizeof copy ? n : sizeof copy;
    memcpy(copy, p, take);
    copy[2] &= 0x78;        // as if it were a query,
    memset(copy + 6, 0, 6); // without records
    return dns_parse(query, c->n - 2, &q) == 0 && dns_parse(copy, take, &r) == 0 &&
           q.type == r.type && str_eq(dns_question_name(&q), dns_question_name(&r));
}

static void on_udp(struct call *c)
{
    uint8_t response[DNS_MESSAGE_MAX];
    ssize_t n = recv(c->fd.fd, response, sizeof response, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) // refused: nobody listens there
        try_next(c);
    else if (fits(c, response, (size_t)n))
        finish(c, response, (size_t)n);
}

static void on_tcp(struct call *c, unsigned ready)
{
    if (c->sent < c->n) {
        ssize_t n = send(c->fd.fd, c->query + c->sent, c->n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            try_next(c);
            return;
        }
        c->sent += n > 0 ? (size_t)n : 0;
        if (c->sent == c->n)
            loop_fd_set(c->f->loop, &c->fd, LOOP_READ);
        return;
    }
    if (!(ready & LOOP_READ))
        return;
    if (!c->in)
        c->in = mem_alloc(2 + DNS_MESSAGE_MAX);
    ssize_t n = recv(c->fd.fd, c->in + c->in_n, 2 + DNS_MESSAGE_MAX - c->in_n, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        try_next(c);
        return;
    }
    c->in_n += (size_t)n;
    size_t length = c->in_n < 2 ? SIZE_MAX : (size_t)(c->in[0] << 8 | c->in[1]);
    if (c->in_n - 2 < length || c->in_n < 2)
        return;
    if (fits(c, c->in + 2, length))
        finish(c, c->in + 2, length);
    else
        try_next(c);
}

static void on_ready(struct loop_fd *fd, unsigned ready)
{
    struct call *c = container_of(fd, struct call, fd);
    if (c->tcp)
        on_tcp(c, ready);
    else
        on_udp(c);
}

static void on_timeout(struct loop_timer *t)
{
    try_next(container_of(t, struct call, timer));
}

static void ask(struct call *c)
{
    struct dns_forwarder *f = c->f;
    for (; c->server < f->nservers; c->server++) {
        const struct sockaddr_in *to = &f->servers[c->server];
        int fd =
            socket(AF_INET, (c->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            break;
        env_random(loop_env(f->loop), c->query + 2, 2);
        c->sent = 0;
        c->in_n = 0;
        c->fd.fn = on_ready;
        bool connected =
            connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 || errno == EINPROGRESS;
        if (connected && !c->tcp)
            connected = send(fd, c->query + 2, c->n - 2, 0) >= 0;
        if (!connected || loop_fd_add(f->loop, &c->fd, fd, c->tcp ? LOOP_WRITE : LOOP_READ) < 0) {
            close(fd);
            continue;
        }
        c->open = true;
        loop_timer_in(f->loop, &c->timer, TIMEOUT_NS);
        return;
    }
    finish(c, NULL, 0);
}

void dns_forward(struct dns_forwarder *f, const uint8_t *query, size_t n, bool tcp,
                 void (*done)(void *ctx, const uint8_t *response, size_t n), void *ctx)
{
    if (f->in_flight >= IN_FLIGHT_MAX || n < 12 || n > DNS_MESSAGE_MAX) {
        done(ctx, NULL, 0);
        return;
    }
    load_servers(f);
    const struct kept *k = find_kept(f, query, n);
    if (k) {
        uint8_t response[DNS_UDP_PLAIN];
        memcpy(response, k->response, k->n);
        memcpy(response, query, 2);
        done(ctx, response, k->n);
        return;
    }
    struct call *c = mem_zalloc(sizeof *c);
    c->f = f;
    c->tcp = tcp;
    c->done = done;
    c->ctx = ctx;
    c->query = mem_alloc(n + 2);
    c->query[0] = (uint8_t)(n >> 8);
    c->query[1] = (uint8_t)n;
    memcpy(c->query + 2, query, n);
    memcpy(c->original_id, query, 2);
    c->n = n + 2;
    c->timer.fn = on_timeout;
    list_push(&f->calls, &c->link);
    f->in_flight++;
    ask(c);
}
