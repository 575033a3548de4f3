// See holder.h.
//
// Numbers are chosen so that honest callers never meet them: a client keeps tens of connections and
// a few hundred streams, an answer waits for milliseconds. For attackers they bound the product of
// all there is to hold: a stranger's address gets CONNS × (TLS and HTTP state, about 60 kB) and
// EXCHANGES × a head (at most 64 kB), some 100 MB at the very worst.
#include "base/time.h"
#include "wire/server_private.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define MB ((size_t)1 << 20)

// Of one holder, on all loops of a server; each loop has its even part. Past `conns` the oldest
// that waits for its peer makes way. Past `crowded`, the oldest exchange that has waited for its
// peer for STALLED_NS does; past `exchanges`, the oldest that waits for its peer at all.
static const struct {
    unsigned conns, crowded, exchanges;
    size_t bodies, queued;
} limits[] = {
    [HTTP_STRANGER] = {512, 128, 1024, 32 * MB, 32 * MB},
    [HTTP_USER] = {2048, 4096, 8192, 64 * MB, 256 * MB},
    [HTTP_TRUSTED] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, 256 * MB, SIZE_MAX},
};
// Of everybody. The rest up to the trusted ones' own limit is kept free for them.
#define BODIES_ALL (192 * MB)
// A part of the bytes is never so small that a single connection could not use it well.
#define BYTES_LEAST (16 * MB)
#define STALLED_NS  (2 * (uint64_t)NS_PER_S)
// For the decision when to give memory back: what a connection costs, roughly.
#define CONN_BYTES ((size_t)60 << 10)

enum { KEY_MAX = 512, LOOKS = 4 };

void holders_init(struct holders *hs, unsigned loops, unsigned strangers_max)
{
    *hs = (struct holders){.loops = loops, .strangers_max = strangers_max / loops};
    list_init(&hs->strangers);
}

void holders_done(struct holders *hs)
{
    BUG_ON(hs->by_key.n || hs->nstrangers || hs->bodies);
    map_done(&hs->by_key);
}

static unsigned part(const struct holders *hs, unsigned n)
{
    return n / hs->loops;
}

static size_t part_bytes(const struct holders *hs, size_t n)
{
    return n / hs->loops < BYTES_LEAST ? BYTES_LEAST : n / hs->loops;
}

static void held(struct holders *hs, size_t more, size_t less)
{
    hs->held += more;
    hs->held -= less < hs->held ? less : hs->held;
    if (hs->held > hs->peak)
        hs->peak = hs->held;
}

// --- holders

static struct holder *holder_of(struct holders *hs, enum http_trust trust, struct str name)
{
    char key[KEY_MAX + 1];
    // The end of a long name tells more than its beginning (system:serviceaccount:…).
    name = name.n > KEY_MAX ? str_from(name, name.n - KEY_MAX) : name;
    key[0] = (char)('0' + trust);
    memcpy(key + 1, name.p, name.n);
    struct holder *h = map_get(&hs->by_key, str_n(key, name.n + 1));
    if (h)
        return h;
    h = mem_zalloc(sizeof *h + name.n + 1);
    h->all = hs;
    h->trust = trust;
    h->key_n = name.n + 1;
    memcpy(h->key, key, name.n + 1);
    list_init(&h->conns);
    list_init(&h->exchanges);
    map_set(&hs->by_key, str_n(h->key, h->key_n), h);
    return h;
}

static void settle(struct holder *h)
{
    if (h->nconns || h->nexchanges)
        return;
    BUG_ON(h->bodies || h->queued);
    map_del(&h->all->by_key, str_n(h->key, h->key_n));
    free(h);
}

// The address without the port; of IPv6 the first half, since whoever has one address there has
// 2^64 of them.
static struct str address_of(const struct http_conn *c, char half[8])
{
    struct str remote = str_n(c->remote, c->remote_n);
    ptrdiff_t colon = str_rchr(remote, ':');
    struct str host = colon < 0 ? remote : str_sub(remote, 0, (size_t)colon);
    char text[INET6_ADDRSTRLEN + 1];
    struct in6_addr v6;
    if (!str_starts(host, STR("[")) || host.n < 2 || host.n - 2 >= sizeof text)
        return host;
    memcpy(text, host.p + 1, host.n - 2);
    text[host.n - 2] = 0;
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return host;
    memcpy(half, v6.s6_addr, 8);
    return str_n(half, 8);
}

// --- who has to go

// Whether the exchange waits for its peer alone: for the rest of the body, or for the answer to be
// taken. (A refusal of the crowded has no body and goes at the end of the turn.)
static bool waits_for_peer(const struct http_exchange *x)
{
    if (x->patient || x->aborted || x->crowded)
        return false;
    if (x->response == RESPONSE_STREAM)
        return x->out.n > 0 || (!x->conn->h2 && x->conn->s.out.n > 0);
    return x->response == RESPONSE_DONE || !x->body_complete;
}

static bool conn_waits_for_peer(const struct http_conn *c)
{
    if (c->raw.active)
        return false;
    list_each (&c->exchanges, n)
        if (!waits_for_peer(container_of(n, struct http_exchange, link)))
            return false;
    return true;
}

static void conn_displace(struct http_conn *c)
{
    if (!c->s.error)
        c->s.error = -ECONNABORTED;
    c->s.cut = true;
    conn_kick(c);
}

// The oldest of the list that waits for its peer, but not `but`; those that do not are put behind,
// so that a crowd of them is not walked again for each newcomer.
static void displace_conn(struct list *oldest, size_t at, const struct http_conn *but)
{
    for (int i = 0; i < LOOKS && !list_empty(oldest); i++) {
        struct list *n = oldest->next;
        struct http_conn *c = (struct http_conn *)((char *)n - at);
        if (c != but && !c->s.error && conn_waits_for_peer(c)) {
            conn_displace(c);
            list_remove(n);
            list_push(oldest, n);
            return;
        }
        list_remove(n);
        list_push(oldest, n);
    }
}

// At most `looks` are looked at: the first that waits for its peer, for at least as long as asked,
// is aborted.
static bool displace_exchange(struct holder *h, const struct http_exchange *but, uint64_t for_ns,
                              unsigned looks)
{
    uint64_t now = loop_now(but->conn->s.loop);
    for (unsigned i = 0; i < looks; i++) {
        struct list *n = h->exchanges.next;
        struct http_exchange *x = container_of(n, struct http_exchange, held);
        list_remove(n);
        list_push(&h->exchanges, n);
        if (x != but && waits_for_peer(x) && now - x->born >= for_ns) {
            http_abort(x);
            return true;
        }
    }
    return false;
}

// --- connections

static void conn_join(struct http_conn *c, struct holder *h)
{
    struct holders *hs = h->all;
    c->holder = h;
    h->nconns++;
    h->queued += c->out_counted;
    list_push(&h->conns, &c->held);
    if (h->trust != HTTP_STRANGER)
        return;
    hs->nstrangers++;
    list_push(&hs->strangers, &c->strange);
}

static void conn_part(struct http_conn *c)
{
    struct holder *h = c->holder;
    c->holder = NULL;
    h->nconns--;
    h->queued -= c->out_counted;
    list_remove(&c->held);
    if (h->trust == HTTP_STRANGER) {
        h->all->nstrangers--;
        list_remove(&c->strange);
    }
    settle(h);
}

void holder_conn(struct http_conn *c)
{
    struct holders *hs = &c->sl->holders;
    char half[8];
    bool local = str_eqc(str_n(c->remote, c->remote_n), "@"); // a socket file: its mode decided
    struct holder *h = holder_of(hs, local ? HTTP_USER : HTTP_STRANGER, address_of(c, half));
    list_init(&c->held);
    list_init(&c->strange);
    held(hs, CONN_BYTES, 0);
    conn_join(c, h);
    if (h->nconns > part(hs, limits[h->trust].conns))
        displace_conn(&h->conns, offsetof(struct http_conn, held), c);
    if (hs->nstrangers > hs->strangers_max)
        displace_conn(&hs->strangers, offsetof(struct http_conn, strange), c);
}

void holder_vouch(struct http_conn *c, struct str user, enum http_trust trust)
{
    struct holder *h = c->holder;
    if (h->trust == trust && str_eq(str_n(h->key + 1, h->key_n - 1), user))
        return;
    h = holder_of(&c->sl->holders, trust, user);
    conn_part(c);
    conn_join(c, h);
    if (h->nconns > part(h->all, limits[trust].conns))
        displace_conn(&h->conns, offsetof(struct http_conn, held), c);
}

void holder_conn_leave(struct http_conn *c)
{
    held(&c->sl->holders, 0, CONN_BYTES + c->out_counted);
    conn_part(c);
    server_trim(c->sl);
}

// --- exchanges

static void exchange_join(struct http_exchange *x, struct holder *h)
{
    x->holder = h;
    h->nexchanges++;
    h->bodies += x->body_counted;
    h->queued += x->out.n;
    list_push(&h->exchanges, &x->held);
}

static void exchange_part(struct http_exchange *x)
{
    struct holder *h = x->holder;
    x->holder = NULL;
    h->nexchanges--;
    h->bodies -= x->body_counted;
    h->queued -= x->out.n;
    list_remove(&x->held);
    settle(h);
}

bool holder_exchange(struct http_exchange *x)
{
    struct holder *h = x->conn->holder;
    list_init(&x->held);
    exchange_join(x, h);
    if (h->nexchanges <= part(h->all, limits[h->trust].crowded))
        return true;
    if (h->nexchanges <= part(h->all, limits[h->trust].exchanges)) {
        displace_exchange(h, x, STALLED_NS, LOOKS);
        return true;
    }
    return displace_exchange(h, x, 0, h->nexchanges);
}

void holder_exchange_leave(struct http_exchange *x)
{
    struct holders *hs = x->holder->all;
    hs->bodies -= x->body_counted;
    held(hs, 0, x->body_counted + x->out.n);
    exchange_part(x);
    server_trim(x->conn->sl);
}

void http_vouch(struct http_exchange *x, struct str user, enum http_trust trust)
{
    if (trust == HTTP_STRANGER)
        return;
    holder_vouch(x->conn, user, trust);
    if (x->holder == x->conn->holder)
        return;
    exchange_part(x);
    exchange_join(x, x->conn->holder);
}

// --- bytes

bool holder_body(struct http_exchange *x, size_t n)
{
    struct holder *h = x->holder;
    struct holders *hs = h->all;
    size_t max = part_bytes(hs, limits[h->trust].bodies);
    size_t all = h->trust == HTTP_TRUSTED ? SIZE_MAX : part_bytes(hs, BODIES_ALL);
    if (h->bodies + n > max || hs->bodies + n > all)
        return false;
    x->body_counted += n;
    h->bodies += n;
    hs->bodies += n;
    held(hs, n, 0);
    return true;
}

void holder_body_less(struct http_exchange *x, size_t n)
{
    x->body_counted -= n;
    x->holder->bodies -= n;
    x->holder->all->bodies -= n;
    held(x->holder->all, 0, n);
}

// The oldest with bytes queued goes: an exchange over HTTP/2, a connection over HTTP/1.1.
static void shed(struct holder *h)
{
    list_each (&h->exchanges, n) {
        struct http_exchange *x = container_of(n, struct http_exchange, held);
        if (x->out.n && !x->aborted) {
            http_abort(x);
            return;
        }
    }
    list_each (&h->conns, n) {
        struct http_conn *c = container_of(n, struct http_conn, held);
        if (!c->h2 && c->out_counted && !c->s.error) {
            conn_displace(c);
            return;
        }
    }
}

void holder_queued(struct holder *h, size_t more, size_t less)
{
    h->queued += more;
    h->queued -= less;
    held(h->all, more, less);
    if (more && h->queued > part_bytes(h->all, limits[h->trust].queued))
        shed(h);
}
