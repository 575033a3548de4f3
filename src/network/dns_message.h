// DNS messages (RFC 1035, EDNS0 of RFC 6891) as far as a cluster's server needs them: one question
// in, an answer out, upstream answers looked into. Bounded in everything; any bytes may come in.
#pragma once
#include "base/str.h"

#define DNS_NAME_MAX    255
#define DNS_UDP_PLAIN   512  // without EDNS
#define DNS_UDP_EDNS    1232 // at most over UDP, so that nothing is fragmented
#define DNS_MESSAGE_MAX 65535

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_ANY = 255
};
enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5
};

struct dns_question {
    uint16_t id, type;
    bool recursion_desired, edns;
    uint16_t udp_size; // what the client takes over UDP
    uint8_t name_n;
    char name[DNS_NAME_MAX + 1]; // lower case, dots between labels, none at the end; "" is the root
    size_t end;                  // offset behind the question section
    char spelling[DNS_NAME_MAX + 1]; // as it was asked (0x20 case), same length
};
static inline struct str dns_question_name(const struct dns_question *q)
{
    return str_n(q->name, q->name_n);
}
// DNS_NOERROR; another rcode to answer with (the id is set then); -1: not a query, say nothing.
int dns_parse(const uint8_t *p, size_t n, struct dns_question *ret);

struct dns_record {
    uint16_t type; // A, CNAME, NS, PTR, SRV, SOA
    uint32_t ttl;
    struct str owner;   // .p NULL: the question's name
    uint32_t address;   // A: network order
    struct str target;  // CNAME, NS, PTR, SRV; SOA: the zone's name server
    uint16_t port;      // SRV; priority is 0, weight 100
    const uint8_t *raw; // AAAA and other opaque data instead: raw_n bytes
    uint16_t raw_n;
};
struct dns_answer {
    enum dns_rcode rcode;
    bool authoritative;
    const struct dns_record *answers, *authority, *additional;
    size_t nanswers, nauthority, nadditional;
};
// Writes the response into out (max bytes). When it does not fit: answers are left out and TC is
// set. Returns its length.
size_t dns_write(uint8_t *out, size_t max, const struct dns_question *q,
                 const struct dns_answer *a);
// A header, and the question where it could be read, for errors found before an answer was sought.
size_t dns_write_error(uint8_t *out, size_t max, const uint8_t *query, size_t n,
                       enum dns_rcode rcode);
// A query for name and type.
size_t dns_write_query(uint8_t *out, size_t max, uint16_t id, struct str name, uint16_t type);

// Walks the answer section of an upstream's response: A, AAAA and CNAME records; owner and target
// are written into the caller's storage. false at the end or at damage.
struct dns_walk {
    const uint8_t *p;
    size_t n, at;
    unsigned left;
    char owner[DNS_NAME_MAX + 1], target[DNS_NAME_MAX + 1];
};
bool dns_walk_start(struct dns_walk *w, const uint8_t *p, size_t n, enum dns_rcode *ret_rcode);
bool dns_walk_next(struct dns_walk *w, struct dns_record *ret);
