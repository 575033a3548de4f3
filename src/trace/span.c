// The span's normal form and its bytes.
//
// The bytes: a varint of the size of what follows, the lower half of the trace ID (8 bytes, first,
// so that an index can peek), a varint of flags, then what the flags name. They are written close
// to how they lie in memory: the block compresses them, and there the order in which alike things
// follow each other counts more than their size.
#include "trace/span.h"
#include "log/frame.h"
#include <arpa/inet.h>
#include <string.h>

enum {
    HAS_HI = 1,
    HAS_PARENT = 2,
    DEBUG = 4,
    SHARED = 8,
    HAS_TIME = 16,
    HAS_DURATION = 32,
    HAS_LOCAL = 64,
    HAS_REMOTE = 128,
    KIND_SHIFT = 8, // three bits
};
enum { EP_IP4 = 1, EP_IP6 = 2, EP_PORT = 4 };

static const char *const kinds[] = {NULL, "CLIENT", "SERVER", "PRODUCER", "CONSUMER"};
enum { NKINDS = sizeof kinds / sizeof *kinds };

const char *span_kind_name(enum span_kind kind)
{
    return kinds[kind];
}

bool span_kind_parse(struct str name, enum span_kind *ret)
{
    for (size_t i = 1; i < NKINDS; i++)
        if (str_eqc(name, kinds[i])) {
            *ret = (enum span_kind)i;
            return true;
        }
    return false;
}

// ---- identifiers ----

static bool hex(struct str text, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = v;
    return true;
}

const char *span_trace_id_parse(struct str text, uint64_t *ret_hi, uint64_t *ret_lo)
{
    if (!text.n)
        return "traceId is empty";
    if (text.n > 32)
        return "traceId.length > 32";
    size_t high = text.n > 16 ? text.n - 16 : 0;
    if (!hex(str_sub(text, 0, high), ret_hi) || !hex(str_from(text, high), ret_lo))
        return "should be lower-hex encoded with no prefix";
    return *ret_hi || *ret_lo ? NULL : "traceId is all zeros";
}

const char *span_id_parse(struct str text, uint64_t *ret)
{
    if (!text.n)
        return "id is empty";
    if (text.n > 16)
        return "id.length > 16";
    return hex(text, ret) ? NULL : "should be lower-hex encoded with no prefix";
}

void span_id_write(struct buf *b, uint64_t id)
{
    static const char digits[] = "0123456789abcdef";
    char text[16];
    for (int i = 15; i >= 0; i--, id >>= 4)
        text[i] = digits[id & 15];
    buf_add(b, text, sizeof text);
}

void span_trace_id_write(struct buf *b, const struct span *s)
{
    if (s->trace_hi)
        span_id_write(b, s->trace_hi);
    span_id_write(b, s->trace_lo);
}

// ---- normal form ----

bool span_endpoint_address(struct span_endpoint *e, struct str text)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    char copy[INET6_ADDRSTRLEN + 1];
    uint8_t bytes[16];
    if (!text.n || text.n >= sizeof copy || memchr(text.p, 0, text.n))
        return false;
    *(char *)mempcpy(copy, text.p, text.n) = 0;
    if (inet_pton(AF_INET, copy, bytes) == 1) {
        e->has_ip4 = true;
        memcpy(e->ip4, bytes, 4);
        return true;
    }
    if (inet_pton(AF_INET6, copy, bytes) != 1)
        return false;
    if (memcmp(bytes, mapped, sizeof mapped) == 0) {
        e->has_ip4 = true;
        memcpy(e->ip4, bytes + 12, 4);
        return true;
    }
    e->has_ip6 = true;
    memcpy(e->ip6, bytes, 16);
    return true;
}

struct str span_lower(struct arena *a, struct str s)
{
    size_t i = 0;
    while (i < s.n && !(s.p[i] >= 'A' && s.p[i] <= 'Z'))
        i++;
    if (i == s.n)
        return s;
    char *p = arena_alloc(a, s.n);
    for (i = 0; i < s.n; i++)
        p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 32) : s.p[i];
    return str_n(p, s.n);
}

static int by_key(const void *x, const void *y)
{
    const struct span_tag *a = x, *b = y;
    int c = str_cmp(a->key, b->key);
    // Of equal keys the later one is kept: by where its key stands in the input.
    return c ? c : (a->key.p > b->key.p) - (a->key.p < b->key.p);
}

static int by_time(const void *x, const void *y)
{
    const struct span_annotation *a = x, *b = y;
    if (a->timestamp != b->timestamp)
        return a->timestamp < b->timestamp ? -1 : 1;
    return str_cmp(a->value, b->value);
}

static void sort_tags(struct span *s)
{
    size_t n = 0;
    if (s->ntags > 1)
        qsort(s->tags, s->ntags, sizeof *s->tags, by_key);
    for (size_t i = 0; i < s->ntags; i++) {
        if (n && str_eq(s->tags[n - 1].key, s->tags[i].key))
            n--;
        s->tags[n++] = s->tags[i];
    }
    s->ntags = n;
}

static void sort_annotations(struct span *s)
{
    size_t n = 0;
    if (s->nannotations > 1)
        qsort(s->annotations, s->nannotations, sizeof *s->annotations, by_time);
    for (size_t i = 0; i < s->nannotations; i++)
        if (!n || by_time(&s->annotations[n - 1], &s->annotations[i]) != 0)
            s->annotations[n++] = s->annotations[i];
    s->nannotations = n;
}

const char *span_normalise(struct arena *a, struct span *s)
{
    if (!s->trace_lo && !s->trace_hi)
        return "traceId is missing";
    if (!s->id)
        return "id is missing";
    if (s->parent == s->id)
        s->parent = 0;
    s->name = span_lower(a, s->name);
    s->local.service = span_lower(a, s->local.service);
    s->remote.service = span_lower(a, s->remote.service);
    sort_tags(s);
    sort_annotations(s);
    return NULL;
}

// ---- bytes ----

void span_varint_put(struct buf *b, uint64_t v)
{
    char out[10];
    size_t n = 0;
    for (; v > 127; v >>= 7)
        out[n++] = (char)(v | 128);
    out[n++] = (char)v;
    buf_add(b, out, n);
}

bool span_varint_take(struct str *bytes, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && i < bytes->n; i++) {
        uint8_t c = (uint8_t)bytes->p[i];
        if (i == 9 && c > 1)
            return false;
        v |= (uint64_t)(c & 127) << (7 * i);
        if (c < 128) {
            *bytes = (struct str){bytes->p + i + 1, bytes->n - i - 1};
            *ret = v;
            return true;
        }
    }
    return false;
}

static void put64(struct buf *b, uint64_t v)
{
    char p[8];
    frame_put64(p, v);
    buf_add(b, p, 8);
}

static void put_str(struct buf *b, struct str s)
{
    span_varint_put(b, s.n);
    buf_str(b, s);
}

static void put_endpoint(struct buf *b, const struct span_endpoint *e)
{
    buf_char(
        b, (char)((e->has_ip4 ? EP_IP4 : 0) | (e->has_ip6 ? EP_IP6 : 0) | (e->port ? EP_PORT : 0)));
    put_str(b, e->service);
    if (e->has_ip4)
        buf_add(b, e->ip4, 4);
    if (e->has_ip6)
        buf_add(b, e->ip6, 16);
    if (e->port)
        span_varint_put(b, e->port);
}

static void put_fields(struct buf *b, const struct span *s)
{
    bool local = !span_endpoint_empty(&s->local), remote = !span_endpoint_empty(&s->remote);
    put64(b, s->trace_lo);
    span_varint_put(b, (s->trace_hi ? HAS_HI : 0) | (s->parent ? HAS_PARENT : 0) |
                           (s->debug ? DEBUG : 0) | (s->shared ? SHARED : 0) |
                           (s->timestamp ? HAS_TIME : 0) | (s->duration ? HAS_DURATION : 0) |
                           (local ? HAS_LOCAL : 0) | (remote ? HAS_REMOTE : 0) |
                           (uint64_t)s->kind << KIND_SHIFT);
    if (s->trace_hi)
        put64(b, s->trace_hi);
    put64(b, s->id);
    if (s->parent)
        put64(b, s->parent);
    if (s->timestamp)
        put64(b, s->timestamp);
    if (s->duration)
        span_varint_put(b, s->duration);
    put_str(b, s->name);
    if (local)
        put_endpoint(b, &s->local);
    if (remote)
        put_endpoint(b, &s->remote);
    span_varint_put(b, s->ntags);
    for (size_t i = 0; i < s->ntags; i++) {
        put_str(b, s->tags[i].key);
        put_str(b, s->tags[i].value);
    }
    span_varint_put(b, s->nannotations);
    for (size_t i = 0; i < s->nannotations; i++) {
        put64(b, s->annotations[i].timestamp);
        put_str(b, s->annotations[i].value);
    }
}

void span_encode(struct buf *b, const struct span *s)
{
    enum { ROOM = 10 };
    // The size stands in front: room for it, then the fields, then they move up to it.
    size_t at = b->n;
    if (!buf_reserve(b, ROOM))
        return;
    b->n += ROOM;
    put_fields(b, s);
    if (!buf_ok(b))
        return;
    size_t size = b->n - at - ROOM;
    b->n = at;
    span_varint_put(b, size);
    memmove(b->p + b->n, b->p + at + ROOM, size);
    b->n += size;
}

static bool take64(struct str *bytes, uint64_t *ret)
{
    if (bytes->n < 8)
        return false;
    *ret = frame_get64(bytes->p);
    *bytes = (struct str){bytes->p + 8, bytes->n - 8};
    return true;
}

static bool take_bytes(struct str *bytes, void *to, size_t n)
{
    if (bytes->n < n)
        return false;
    memcpy(to, bytes->p, n);
    *bytes = (struct str){bytes->p + n, bytes->n - n};
    return true;
}

static bool take_str(struct str *bytes, struct str *ret)
{
    uint64_t n;
    if (!span_varint_take(bytes, &n) || n > bytes->n)
        return false;
    *ret = (struct str){bytes->p, (size_t)n};
    *bytes = (struct str){bytes->p + n, bytes->n - (size_t)n};
    return true;
}

static bool take_endpoint(struct str *bytes, struct span_endpoint *e)
{
    uint8_t flags;
    uint64_t port = 0;
    if (!take_bytes(bytes, &flags, 1) || !take_str(bytes, &e->service))
        return false;
    e->has_ip4 = flags & EP_IP4;
    e->has_ip6 = flags & EP_IP6;
    if ((e->has_ip4 && !take_bytes(bytes, e->ip4, 4)) ||
        (e->has_ip6 && !take_bytes(bytes, e->ip6, 16)) ||
        ((flags & EP_PORT) && !span_varint_take(bytes, &port)) || port > UINT16_MAX)
        return false;
    e->port = (uint16_t)port;
    return true;
}

static bool take_lists(struct arena *a, struct str *in, struct span *s)
{
    uint64_t n;
    if (!span_varint_take(in, &n) || n > in->n / 2)
        return false;
    s->ntags = (size_t)n;
    s->tags = n ? arena_array(a, struct span_tag, n) : NULL;
    for (size_t i = 0; i < s->ntags; i++)
        if (!take_str(in, &s->tags[i].key) || !take_str(in, &s->tags[i].value))
            return false;
    if (!span_varint_take(in, &n) || n > in->n / 9)
        return false;
    s->nannotations = (size_t)n;
    s->annotations = n ? arena_array(a, struct span_annotation, n) : NULL;
    for (size_t i = 0; i < s->nannotations; i++)
        if (!take64(in, &s->annotations[i].timestamp) || !take_str(in, &s->annotations[i].value))
            return false;
    return true;
}

bool span_decode(struct arena *a, struct str *bytes, struct span *ret)
{
    uint64_t size, flags;
    struct span s = {0};
    if (!span_varint_take(bytes, &size) || size > bytes->n)
        return false;
    struct str in = {bytes->p, (size_t)size};
    if (!take64(&in, &s.trace_lo) || !span_varint_take(&in, &flags) ||
        ((flags & HAS_HI) && !take64(&in, &s.trace_hi)) || !take64(&in, &s.id) ||
        ((flags & HAS_PARENT) && !take64(&in, &s.parent)) ||
        ((flags & HAS_TIME) && !take64(&in, &s.timestamp)) ||
        ((flags & HAS_DURATION) && !span_varint_take(&in, &s.duration)) ||
        !take_str(&in, &s.name) || ((flags & HAS_LOCAL) && !take_endpoint(&in, &s.local)) ||
        ((flags & HAS_REMOTE) && !take_endpoint(&in, &s.remote)) || !take_lists(a, &in, &s))
        return false;
    s.debug = flags & DEBUG;
    s.shared = flags & SHARED;
    if (flags >> KIND_SHIFT >= NKINDS || in.n)
        return false;
    s.kind = (enum span_kind)(flags >> KIND_SHIFT);
    *bytes = (struct str){bytes->p + size, bytes->n - (size_t)size};
    *ret = s;
    return true;
}

bool span_peek(struct str bytes, uint64_t *ret_trace_lo, size_t *ret_size)
{
    struct str in = bytes;
    uint64_t size;
    if (!span_varint_take(&in, &size) || size > in.n || size < 8)
        return false;
    *ret_trace_lo = frame_get64(in.p);
    *ret_size = (size_t)(in.p - bytes.p) + (size_t)size;
    return true;
}
