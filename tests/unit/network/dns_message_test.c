// DNS messages: what is read, what is written, what is refused.
#include "base/arena.h"
#include "network/dns_message.h"
#include "unit.h"
#include <arpa/inet.h>

struct query {
    uint8_t p[600];
    size_t n;
};

static void add(struct query *q, const void *p, size_t n)
{
    assert_true(q->n + n <= sizeof q->p);
    memcpy(q->p + q->n, p, n);
    q->n += n;
}
#define ADD(q, literal) add((q), "" literal, sizeof(literal) - 1)

// id 0x1234, RD, one question.
static struct query ask(const char *wire_name, size_t n, uint16_t type)
{
    struct query q = {.n = 0};
    const uint8_t tail[] = {(uint8_t)(type >> 8), (uint8_t)type, 0, 1};
    ADD(&q, "\x12\x34\x01\x00\0\1\0\0\0\0\0\0");
    add(&q, wire_name, n);
    add(&q, tail, sizeof tail);
    return q;
}
#define ASK(literal, type) ask("" literal, sizeof(literal), (type))

static void test_question(void **state)
{
    (void)state;
    struct dns_question d;
    struct query q = ASK("\3Web\4SHOP\3svc", DNS_SRV);
    assert_int_equal(dns_parse(q.p, q.n, &d), DNS_NOERROR);
    assert_int_equal(d.id, 0x1234);
    assert_string_equal(d.name, "web.shop.svc");
    assert_string_equal(d.spelling, "Web.SHOP.svc");
    assert_int_equal(d.type, DNS_SRV);
    assert_true(d.recursion_desired);
    assert_false(d.edns);
    assert_int_equal(d.udp_size, 512);
    assert_int_equal(d.end, q.n);

    q = ASK("", DNS_NS); // the root
    assert_int_equal(dns_parse(q.p, q.n, &d), DNS_NOERROR);
    assert_int_equal(d.name_n, 0);
}

static void test_edns(void **state)
{
    (void)state;
    static const struct {
        uint16_t said, used;
    } sizes[] = {{0, 512}, {511, 512}, {700, 700}, {1232, 1232}, {4096, 1232}, {65535, 1232}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct dns_question d;
        struct query q = ASK("\1a", DNS_A);
        const uint8_t size[] = {(uint8_t)(sizes[i].said >> 8), (uint8_t)sizes[i].said};
        q.p[11] = 1;
        ADD(&q, "\0\0\x29");
        add(&q, size, 2);
        ADD(&q, "\0\0\0\0\0\x04\0\x0a\0\0"); // with a cookie option
        assert_int_equal(dns_parse(q.p, q.n, &d), DNS_NOERROR);
        assert_true(d.edns);
        assert_int_equal(d.udp_size, sizes[i].used);
        for (size_t cut = q.n - 1; cut > d.end; cut--) // an OPT that is cut off
            assert_int_equal(dns_parse(q.p, cut, &d), DNS_FORMERR);
    }
}

static void test_not_a_query(void **state)
{
    (void)state;
    struct dns_question d;
    struct query q = ASK("\1a", DNS_A);
    for (size_t n = 0; n < 12; n++)
        assert_int_equal(dns_parse(q.p, n, &d), -1);
    for (size_t n = 12; n < q.n; n++)
        assert_int_equal(dns_parse(q.p, n, &d), DNS_FORMERR);
    q.p[2] |= 0x80; // an answer: two servers must not talk to each other for ever
    assert_int_equal(dns_parse(q.p, q.n, &d), -1);
    q.p[2] = 0x28; // UPDATE
    assert_int_equal(dns_parse(q.p, q.n, &d), DNS_NOTIMP);
    assert_int_equal(d.id, 0x1234);
    q = ASK("\1a", DNS_A);
    q.p[q.n - 1] = 3; // CHAOS
    assert_int_equal(dns_parse(q.p, q.n, &d), DNS_REFUSED);
    for (size_t at = 4; at < 10; at += 2) { // counts: questions, answers, authority
        q = ASK("\1a", DNS_A);
        q.p[at + 1]++;
        assert_int_equal(dns_parse(q.p, q.n, &d), DNS_FORMERR);
    }
}

static void test_bad_names(void **state)
{
    (void)state;
    struct dns_question d;
    static const struct {
        const char *name;
        size_t n;
    } bad[] = {
        {"\xc0\x0c", 2},    // to itself
        {"\1a\xc0\x0e", 4}, // forwards into itself
        {"\xc0\xff", 2},    // beyond the message
        {"\xc0", 1},        // half a pointer
        {"\x40"
         "a",
         2}, // reserved label types
        {"\x80"
         "a",
         2},
        {"\3a.b\1c", 6}, // a dot that is no separator
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct query q = ask(bad[i].name, bad[i].n, DNS_A);
        assert_int_equal(dns_parse(q.p, q.n, &d), DNS_FORMERR);
    }
    // 253 characters are the most (255 bytes on the wire), 254 too many.
    for (int more = 0; more < 2; more++) {
        char name[256] = {0};
        size_t n = 0;
        for (int i = 0; i < 4; i++) {
            size_t label = i < 3 ? 63 : 61 + (size_t)more;
            name[n++] = (char)label;
            memset(name + n, 'a', label);
            n += label;
        }
        struct query q = ask(name, n + 1, DNS_A);
        assert_int_equal(dns_parse(q.p, q.n, &d), more ? DNS_FORMERR : DNS_NOERROR);
        if (!more)
            assert_int_equal(d.name_n, 253);
    }
}

static struct dns_question question(struct query *q)
{
    struct dns_question d;
    assert_int_equal(dns_parse(q->p, q->n, &d), DNS_NOERROR);
    return d;
}

static void test_answer_bytes(void **state)
{
    (void)state;
    struct query q = ASK("\3wEb\4shop", DNS_A);
    struct dns_question d = question(&q);
    const struct dns_record records[] = {
        {.type = DNS_A, .ttl = 5, .address = htonl(0x0a600005)},
        {.type = DNS_SRV, .ttl = 5, .target = STR("a.web.shop"), .port = 80},
    };
    const struct dns_answer a = {.authoritative = true, .answers = records, .nanswers = 2};
    static const uint8_t expected[] = "\x12\x34\x85\x80\0\1\0\2\0\0\0\0" // QR AA RD RA
                                      "\3wEb\4shop\0\0\1\0\1"            // as it was spelled
                                      "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x0a\x60\0\5"
                                      "\xc0\x0c\0\x21\0\1\0\0\0\5\0\x0a\0\0\0\x64\0\x50\1a\xc0\x0c";
    uint8_t out[512];
    assert_int_equal(dns_write(out, sizeof out, &d, &a), sizeof expected - 1);
    assert_memory_equal(out, expected, sizeof expected - 1);
}

static void test_truncation(void **state)
{
    (void)state;
    struct query q = ASK("\3web\4shop", DNS_A);
    q.p[11] = 1;
    ADD(&q, "\0\0\x29\x02\0\0\0\0\0\0\0"); // 512 bytes
    struct dns_question d = question(&q);
    struct dns_record records[100], soa = {.type = DNS_SOA, .ttl = 5, .target = STR("ns.x")};
    for (uint32_t i = 0; i < 100; i++)
        records[i] = (struct dns_record){.type = DNS_A, .ttl = 5, .address = i};
    struct dns_answer a = {.answers = records, .nanswers = 100};
    uint8_t out[4096];
    size_t n = dns_write(out, d.udp_size, &d, &a);
    assert_int_equal(n, d.end + 11); // the question and OPT
    assert_int_equal(out[2] & 2, 2);
    assert_int_equal(out[7], 0);
    assert_int_equal(out[11], 1);
    n = dns_write(out, sizeof out, &d, &a); // TCP
    assert_int_equal(n, d.end + 100 * 16 + 11);
    assert_int_equal(out[2] & 2, 0);
    // Additional records are left out before anything is truncated.
    a = (struct dns_answer){
        .answers = &soa, .nanswers = 1, .additional = records, .nadditional = 100};
    n = dns_write(out, d.udp_size, &d, &a);
    assert_int_equal(out[2] & 2, 0);
    assert_int_equal(out[7], 1);
    assert_int_equal(out[11], 1);
    for (size_t max = 0; max < 40; max++) // never past the end, whatever the room
        assert_true(dns_write(out, max, &d, &a) <= (max < d.end + 11 ? 40 : max));
}

static void test_error_answer(void **state)
{
    (void)state;
    struct query q = ASK("\1a", DNS_A);
    uint8_t out[32];
    assert_int_equal(dns_write_error(out, sizeof out, q.p, q.n, DNS_REFUSED), q.n);
    assert_memory_equal(out, "\x12\x34\x81\x05\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", q.n);
    for (size_t n = 12; n < q.n; n++) { // a question that is cut off is left out
        assert_int_equal(dns_write_error(out, sizeof out, q.p, n, DNS_FORMERR), 12);
        assert_memory_equal(out, "\x12\x34\x81\x01\0\0\0\0\0\0\0\0", 12);
        assert_int_equal(dns_write_error(out, n, q.p, q.n, DNS_FORMERR), 12);
    }
    assert_int_equal(dns_write_error(out, sizeof out, q.p, 11, DNS_FORMERR), 0);
}

static void test_walk(void **state)
{
    (void)state;
    static const uint8_t response[] = "\x12\x34\x81\x83\0\1\0\3\0\0\0\0"
                                      "\1a\2ex\0\0\1\0\1"
                                      "\xc0\x0c\0\5\0\1\0\0\1\0\0\4\1b\xc0\x0e"
                                      "\xc0\x0e\0\x10\0\1\0\0\0\1\0\2\1x" // TXT: passed over
                                      "\1b\xc0\x0e\0\1\0\1\0\0\0\2\0\4\1\2\3\4";
    struct dns_walk w;
    struct dns_record r;
    enum dns_rcode rcode;
    assert_true(dns_walk_start(&w, response, sizeof response - 1, &rcode));
    assert_int_equal(rcode, DNS_NXDOMAIN);
    assert_true(dns_walk_next(&w, &r));
    assert_int_equal(r.type, DNS_CNAME);
    assert_int_equal(r.ttl, 256);
    assert_true(str_eqc(r.owner, "a.ex"));
    assert_true(str_eqc(r.target, "b.ex"));
    assert_true(dns_walk_next(&w, &r));
    assert_int_equal(r.type, DNS_A);
    assert_int_equal(r.raw_n, 4);
    assert_memory_equal(r.raw, "\1\2\3\4", 4);
    assert_false(dns_walk_next(&w, &r));
    for (size_t n = 0; n < sizeof response - 1; n++) // damage ends the walk
        if (dns_walk_start(&w, response, n, &rcode))
            while (dns_walk_next(&w, &r))
                assert_true(r.raw == NULL || r.raw + r.raw_n <= response + n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question),     cmocka_unit_test(test_edns),
        cmocka_unit_test(test_not_a_query),  cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_answer_bytes), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_error_answer), cmocka_unit_test(test_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
