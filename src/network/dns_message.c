// See dns_message.h. Reading follows compression pointers only backwards and at most DNS_NAME_MAX
// bytes of name, so it ends. Writing compresses every name against those already written.
#include "network/dns_message.h"
#include <arpa/inet.h>

#define HEADER     12
#define NAMES_MAX  64 // remembered for compression
#define EDNS_BYTES 11
#define TEXT_MAX   (DNS_NAME_MAX - 2) // of a name in dots: its wire form has two bytes more

enum { FLAG_QR = 0x8000, FLAG_AA = 0x0400, FLAG_TC = 0x0200, FLAG_RD = 0x0100, FLAG_RA = 0x0080 };

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

// Reads a name at `at` into out (dots between labels); returns the offset behind it, 0 when it is
// damaged.
static size_t read_name(const uint8_t *p, size_t n, size_t at, char *out, uint8_t *ret_n)
{
    size_t length = 0, behind = 0, limit = at + 1; // pointers must lead before where they stand
    for (;;) {
        if (at >= n)
            return 0;
        uint8_t label = p[at];
        if (label >= 0xc0) {
            if (at + 1 >= n)
                return 0;
            size_t to = (size_t)(label & 0x3f) << 8 | p[at + 1];
            behind = behind ? behind : at + 2;
            if (to + 1 >= limit)
                return 0;
            limit = to + 1;
            at = to;
            continue;
        }
        if (label > 63 || at + 1 + label > n)
            return 0;
        if (label == 0)
            break;
        // A dot within a label could not be told from one between labels.
        if (length + (length > 0) + label > TEXT_MAX || memchr(p + at + 1, '.', label))
            return 0;
        if (length > 0)
            out[length++] = '.';
        memcpy(out + length, p + at + 1, label);
        length += label;
        at += 1u + label;
    }
    *ret_n = (uint8_t)length;
    out[length] = 0;
    return behind ? behind : at + 1;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

// Looks for an OPT record behind the question.
static int read_edns(const uint8_t *p, size_t n, struct dns_question *q)
{
    unsigned additional = get16(p + 10);
    size_t at = q->end;
    char name[DNS_NAME_MAX + 1];
    uint8_t length;
    q->udp_size = DNS_UDP_PLAIN;
    for (unsigned i = 0; i < additional; i++) {
        at = read_name(p, n, at, name, &length);
        if (at == 0 || at + 10 > n)
            return DNS_FORMERR;
        if (get16(p + at) == DNS_OPT) {
            uint16_t size = get16(p + at + 2);
            q->edns = true;
            q->udp_size = size < DNS_UDP_PLAIN  ? DNS_UDP_PLAIN
                          : size > DNS_UDP_EDNS ? DNS_UDP_EDNS
                                                : size;
        }
        at += 10u + get16(p + at + 8);
        if (at > n)
            return DNS_FORMERR;
    }
    return DNS_NOERROR;
}

int dns_parse(const uint8_t *p, size_t n, struct dns_question *ret)
{
    *ret = (struct dns_question){0};
    if (n < HEADER)
        return -1;
    uint16_t flags = get16(p + 2);
    ret->id = get16(p);
    ret->recursion_desired = flags & FLAG_RD;
    if (flags & FLAG_QR)
        return -1;
    if ((flags >> 11 & 15) != 0)
        return DNS_NOTIMP;
    if (get16(p + 4) != 1 || get16(p + 6) != 0 || get16(p + 8) != 0)
        return DNS_FORMERR;
    size_t at = read_name(p, n, HEADER, ret->spelling, &ret->name_n);
    if (at == 0 || at + 4 > n)
        return DNS_FORMERR;
    for (size_t i = 0; i <= ret->name_n; i++)
        ret->name[i] = lower(ret->spelling[i]);
    ret->type = get16(p + at);
    ret->end = at + 4;
    if (get16(p + at + 2) != 1) // IN
        return DNS_REFUSED;
    return read_edns(p, n, ret);
}

// --- writing ---

struct writer {
    uint8_t *out;
    size_t n, max;
    bool full;
    // Names written so far, for compression: text (borrowed) and where it stands.
    struct {
        struct str text;
        uint16_t at;
    } names[NAMES_MAX];
    size_t nnames;
};

static uint8_t *room(struct writer *w, size_t n)
{
    if (w->full || w->max - w->n < n) {
        w->full = true;
        return NULL;
    }
    uint8_t *at = w->out + w->n;
    w->n += n;
    return at;
}

static void write16(struct writer *w, uint16_t v)
{
    uint8_t *at = room(w, 2);
    if (at)
        put16(at, v);
}

static void write32(struct writer *w, uint32_t v)
{
    write16(w, (uint16_t)(v >> 16));
    write16(w, (uint16_t)v);
}

static void write_bytes(struct writer *w, const void *p, size_t n)
{
    uint8_t *at = room(w, n);
    if (at && n > 0)
        memcpy(at, p, n);
}

static void write_name(struct writer *w, struct str name)
{
    while (name.n > 0) {
        for (size_t i = 0; i < w->nnames; i++)
            if (str_eq(w->names[i].text, name)) {
                write16(w, (uint16_t)(0xc000 | w->names[i].at));
                return;
            }
        if (w->nnames < NAMES_MAX && w->n < 0x4000) {
            w->names[w->nnames].text = name;
            w->names[w->nnames++].at = (uint16_t)w->n;
        }
        struct str rest = name, label = str_cut(&rest, '.');
        if (label.n == 0 || label.n > 63) {
            w->full = true; // not a name that can be written: caught as "does not fit"
            return;
        }
        uint8_t length = (uint8_t)label.n;
        write_bytes(w, &length, 1);
        write_bytes(w, label.p, label.n);
        name = rest;
    }
    write_bytes(w, "", 1);
}

static void write_data(struct writer *w, const struct dns_record *r)
{
    if (r->raw) { // AAAA, TXT
        write_bytes(w, r->raw, r->raw_n);
        return;
    }
    switch (r->type) {
    case DNS_A:
        write_bytes(w, &r->address, 4);
        return;
    case DNS_SRV:
        write16(w, 0);
        write16(w, 100);
        write16(w, r->port);
        write_name(w, r->target);
        return;
    case DNS_SOA: // serial, refresh, retry, expire, minimum: nobody transfers this zone
        write_name(w, r->target);
        write_name(w, r->target);
        write32(w, 1);
        write32(w, 7200);
        write32(w, 1800);
        write32(w, 86400);
        write32(w, r->ttl);
        return;
    default:
        write_name(w, r->target);
    }
}

static void write_records(struct writer *w, struct str question, const struct dns_record *list,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        write_name(w, list[i].owner.p ? list[i].owner : question);
        write16(w, list[i].type);
        write16(w, 1);
        write32(w, list[i].ttl);
        size_t length_at = w->n;
        write16(w, 0);
        write_data(w, &list[i]);
        if (!w->full)
            put16(w->out + length_at, (uint16_t)(w->n - length_at - 2));
    }
}

static void write_question(struct writer *w, const struct dns_question *q)
{
    // In the client's own spelling, but compressible for names in lower case.
    size_t start = w->n;
    write_name(w, dns_question_name(q));
    for (size_t i = 0, at = start; !w->full && i < q->name_n;) {
        uint8_t label = w->out[at];
        memcpy(w->out + at + 1, q->spelling + i, label);
        at += 1u + label;
        i += 1u + label;
    }
    write16(w, q->type);
    write16(w, 1);
}

static void write_header(uint8_t *out, uint16_t id, uint16_t flags, size_t questions,
                         size_t answers, size_t authority, size_t additional)
{
    put16(out, id);
    put16(out + 2, flags);
    put16(out + 4, (uint16_t)questions);
    put16(out + 6, (uint16_t)answers);
    put16(out + 8, (uint16_t)authority);
    put16(out + 10, (uint16_t)additional);
}

size_t dns_write(uint8_t *out, size_t max, const struct dns_question *q, const struct dns_answer *a)
{
    size_t edns = q->edns ? EDNS_BYTES : 0;
    struct writer w = {.out = out, .max = max > edns ? max - edns : 0};
    struct str name = dns_question_name(q);
    uint16_t flags = (uint16_t)(FLAG_QR | FLAG_RA | (q->recursion_desired ? FLAG_RD : 0) |
                                (a->authoritative ? FLAG_AA : 0) | a->rcode);
    size_t answers = a->nanswers, authority = a->nauthority, additional = a->nadditional;
    if (!room(&w, HEADER))
        return 0;
    write_question(&w, q);
    size_t bare = w.n;
    write_records(&w, name, a->answers, answers);
    write_records(&w, name, a->authority, authority);
    if (w.full) {
        w.n = bare;
        flags |= FLAG_TC;
        answers = authority = additional = 0;
    } else {
        // Additional records are a courtesy: without them rather than truncated.
        size_t before = w.n;
        write_records(&w, name, a->additional, additional);
        if (w.full) {
            w.n = before;
            additional = 0;
        }
    }
    w.full = false;
    w.max = max;
    if (q->edns) {
        static const uint8_t opt[EDNS_BYTES] = {
            0, 0, DNS_OPT, DNS_UDP_EDNS >> 8, DNS_UDP_EDNS & 255, 0, 0, 0, 0, 0, 0};
        write_bytes(&w, opt, sizeof opt);
    }
    write_header(out, q->id, flags, 1, answers, authority, additional + (q->edns ? 1 : 0));
    return w.n;
}

size_t dns_write_error(uint8_t *out, size_t max, const uint8_t *query, size_t n,
                       enum dns_rcode rcode)
{
    if (n < HEADER || max < HEADER)
        return 0;
    uint16_t flags = (uint16_t)(FLAG_QR | (get16(query + 2) & (FLAG_RD | 0x7800)) | rcode);
    // The question as it came, where it can be read.
    char name[DNS_NAME_MAX + 1];
    uint8_t length;
    size_t at = get16(query + 4) == 1 ? read_name(query, n, HEADER, name, &length) : 0;
    size_t end = at > 0 && at + 4 <= n && at + 4 <= max ? at + 4 : HEADER;
    memcpy(out + HEADER, query + HEADER, end - HEADER);
    write_header(out, get16(query), flags, end > HEADER, 0, 0, 0);
    return end;
}

size_t dns_write_query(uint8_t *out, size_t max, uint16_t id, struct str name, uint16_t type)
{
    struct writer w = {.out = out, .max = max};
    if (!room(&w, HEADER))
        return 0;
    write_header(out, id, FLAG_RD, 1, 0, 0, 0);
    write_name(&w, name);
    write16(&w, type);
    write16(&w, 1);
    return w.full ? 0 : w.n;
}

// --- upstream answers ---

bool dns_walk_start(struct dns_walk *w, const uint8_t *p, size_t n, enum dns_rcode *ret_rcode)
{
    uint8_t length;
    if (n < HEADER || !(get16(p + 2) & FLAG_QR))
        return false;
    *w = (struct dns_walk){.p = p, .n = n, .at = HEADER, .left = get16(p + 6)};
    *ret_rcode = get16(p + 2) & 15;
    for (unsigned i = get16(p + 4); i > 0; i--) {
        w->at = read_name(p, n, w->at, w->owner, &length);
        if (w->at == 0 || w->at + 4 > n)
            return false;
        w->at += 4;
    }
    return true;
}

bool dns_walk_next(struct dns_walk *w, struct dns_record *ret)
{
    while (w->left > 0) {
        uint8_t owner_n, target_n;
        size_t at = read_name(w->p, w->n, w->at, w->owner, &owner_n);
        w->left--;
        if (at == 0 || at + 10 > w->n)
            return false;
        uint16_t type = get16(w->p + at), length = get16(w->p + at + 8);
        uint32_t ttl = (uint32_t)get16(w->p + at + 4) << 16 | get16(w->p + at + 6);
        size_t data = at + 10;
        w->at = data + length;
        if (w->at > w->n)
            return false;
        *ret = (struct dns_record){.type = type, .ttl = ttl, .owner = str_n(w->owner, owner_n)};
        if ((type == DNS_A && length == 4) || (type == DNS_AAAA && length == 16)) {
            ret->raw = w->p + data;
            ret->raw_n = length;
            return true;
        }
        if (type == DNS_CNAME && read_name(w->p, w->n, data, w->target, &target_n)) {
            ret->target = str_n(w->target, target_n);
            return true;
        }
    }
    return false;
}
