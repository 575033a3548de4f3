// What a DNS answer costs without sockets: parsing a question and writing an answer with three
// addresses, and the same with the zone's look-up between, among N Services (look-ups must not
// depend on N).
//
//     bench_dns [SERVICES...]          default: 100 30000
#include "base/time.h"
#include "network/dns_zone.h"
#include "unit/network/fake_api.h"
#include <stdio.h>

static double seconds(void)
{
    return (double)env_mono(env_system()) / (double)NS_PER_S;
}

static void codec(void)
{
    uint8_t query[512], out[512];
    const struct dns_record records[] = {{.type = DNS_A, .ttl = 5, .address = 1},
                                         {.type = DNS_A, .ttl = 5, .address = 2},
                                         {.type = DNS_A, .ttl = 5, .address = 3}};
    const struct dns_answer a = {.authoritative = true, .answers = records, .nanswers = 3};
    size_t n = dns_write_query(query, sizeof query, 1, STR("web.shop.svc.cluster.local"), DNS_A);
    size_t rounds = 0, bytes = 0;
    double start = seconds(), end;
    do {
        for (unsigned i = 0; i < 10000; i++, rounds++) {
            struct dns_question q;
            if (dns_parse(query, n, &q) != DNS_NOERROR)
                fail_msg("the question does not parse");
            bytes += dns_write(out, sizeof out, &q, &a);
        }
    } while ((end = seconds()) < start + 1);
    printf("codec: %.2f million answers a second (%zu bytes each)\n",
           (double)rounds / (end - start) / 1e6, bytes / rounds);
}

static void on_change(void *ctx)
{
    (void)ctx;
}

static void zone(unsigned services)
{
    struct env *env = env_system();
    struct loop *l = loop_new(env);
    struct fake_api api;
    fake_api_init(&api, env);
    struct informers *f = informers_new(&api.client, l);
    struct dns_zone *z = dns_zone_new(f, STR("cluster.local"), on_change, NULL);
    informers_start(f);
    loop_run_until_idle(l, 0);
    char name[64], text[256];
    for (unsigned i = 0; i < services; i++) {
        snprintf(name, sizeof name, "web-%u", i);
        snprintf(text, sizeof text,
                 "'clusterIP':'10.%u.%u.%u','ports':[{'name':'http','protocol':'TCP','port':80}]",
                 128 + (i >> 16), i >> 8 & 255, i & 255);
        fake_service(&api, WATCH_ADDED, name, text);
    }
    fake_sync(&api);
    loop_run_until_idle(l, 0);
    struct arena a = ARENA_INIT;
    size_t rounds = 0;
    double start = seconds(), end;
    do {
        for (unsigned i = 0; i < 1000; i++, rounds++) {
            uint8_t query[512], out[512];
            struct dns_question q;
            struct dns_answer answer;
            snprintf(name, sizeof name, "web-%u.shop.svc.cluster.local",
                     (unsigned)(rounds * 7919 % services));
            size_t n = dns_write_query(query, sizeof query, 1, str_of(name), DNS_A);
            arena_reset(&a);
            if (dns_parse(query, n, &q) != DNS_NOERROR ||
                dns_zone_resolve(z, &a, dns_question_name(&q), q.type, &answer) !=
                    DNS_ZONE_ANSWERED ||
                answer.nanswers != 1)
                fail_msg("%s is not found", name);
            dns_write(out, sizeof out, &q, &answer);
        }
    } while ((end = seconds()) < start + 1);
    printf("zone of %u Services, no cache: %.3f million answers a second\n", services,
           (double)rounds / (end - start) / 1e6);
    arena_done(&a);
    dns_zone_free(z);
    informers_free(f);
    loop_free(l);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"100", "30000"};
    const char *const *sizes = argc > 1 ? (const char *const *)argv + 1 : usual;
    codec();
    for (int i = 0; i < (argc > 1 ? argc - 1 : 2); i++) {
        uint64_t n;
        if (!str_to_u64(str_of(sizes[i]), &n) || n == 0 || n > 1000000)
            return 1;
        zone((unsigned)n);
    }
    return 0;
}
