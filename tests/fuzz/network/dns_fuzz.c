// DNS messages from anybody: a query is parsed and answered, an upstream's response is walked. What
// was written must parse again to the same question.
#include "base/arena.h"
#include "base/err.h"
#include "network/dns_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const struct dns_question *q, size_t max)
{
    uint8_t out[2048];
    const struct dns_record records[] = {
        {.type = DNS_A, .ttl = 5, .address = 1},
        {.type = DNS_CNAME, .ttl = 5, .target = dns_question_name(q)},
        {.type = DNS_SRV, .ttl = 5, .target = STR("x.cluster.local"), .port = 1},
        {.type = DNS_SOA,
         .ttl = 5,
         .owner = STR("cluster.local"),
         .target = STR("ns.cluster.local")},
    };
    const struct dns_answer a = {
        .answers = records, .nanswers = 3, .authority = &records[3], .nauthority = 1};
    size_t n = dns_write(out, max, q, &a);
    BUG_ON(n > max || n < 12);
    struct dns_question again;
    if (max < DNS_UDP_PLAIN)
        return;
    out[2] &= 0x79;        // as a query: no answer, not truncated,
    memset(out + 6, 0, 6); // without records
    BUG_ON(dns_parse(out, n, &again) != DNS_NOERROR);
    BUG_ON(again.id != q->id || again.type != q->type || again.name_n != q->name_n);
    BUG_ON(memcmp(again.spelling, q->spelling, q->name_n) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_question q;
    uint8_t out[600];
    if (size > 65535)
        return 0;
    // A heap copy of the exact size, so that a byte too far is seen.
    uint8_t *copy = mem_alloc(size ? size : 1);
    if (size > 0)
        memcpy(copy, data, size);
    int r = dns_parse(copy, size, &q);
    if (r == DNS_NOERROR) {
        answer(&q, DNS_UDP_PLAIN);
        answer(&q, 2048);
        BUG_ON(!dns_write_query(out, sizeof out, 1, dns_question_name(&q), q.type));
    } else if (r > 0) {
        dns_write_error(out, sizeof out, copy, size, (enum dns_rcode)r);
    }
    struct dns_walk w;
    struct dns_record record;
    enum dns_rcode rcode;
    if (dns_walk_start(&w, copy, size, &rcode))
        while (dns_walk_next(&w, &record))
            BUG_ON(record.owner.n > DNS_NAME_MAX || record.target.n > DNS_NAME_MAX);
    free(copy);
    return 0;
}
