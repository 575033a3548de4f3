// The cluster's DNS server, asked by kdig over UDP and TCP: a scripted API server in front
// (fake_api.h), the test itself plays the upstream resolver. In a network namespace of its own, the
// server's loop on a thread as in production.
#include "base/buf.h"
#include "base/thread.h"
#include "fake_api.h"
#include "netns.h"
#include "network/dns.h"
#include "network/dns_message.h"

#define SERVER   "10.96.0.10"
#define UPSTREAM "127.0.0.53"

struct test {
    struct env *env;
    struct loop *loop;
    struct fake_api api;
    struct informers *factory;
    struct dns_server *dns;
    pthread_t thread;
    int upstream_udp, upstream_tcp;
    char resolv_conf[40];
    struct buf text;
};

static const char *const services[] = {
    "{'metadata':{'namespace':'shop','name':'web'},'spec':{'clusterIP':'10.96.0.5','ports':["
    "{'name':'http','protocol':'TCP','port':80},{'name':'dns','protocol':'UDP','port':53}]}}",
    "{'metadata':{'namespace':'shop','name':'db'},'spec':{'clusterIP':'None','ports':["
    "{'name':'sql','protocol':'TCP','port':5432}]}}",
    "{'metadata':{'namespace':'shop','name':'early'},'spec':{'clusterIP':'None',"
    "'publishNotReadyAddresses':true}}",
    "{'metadata':{'namespace':'shop','name':'inside'},'spec':{'type':'ExternalName',"
    "'externalName':'web.shop.svc.cluster.local'}}",
    "{'metadata':{'namespace':'shop','name':'outside'},'spec':{'type':'ExternalName',"
    "'externalName':'www.example.org'}}",
    "{'metadata':{'namespace':'shop','name':'circle'},'spec':{'type':'ExternalName',"
    "'externalName':'circle.shop.svc.cluster.local'}}",
    "{'metadata':{'namespace':'kube-system','name':'kube-dns'},'spec':{'clusterIP':'" SERVER "'}}",
};
#define SLICE(service, endpoints)                                                                  \
    "{'metadata':{'namespace':'shop','name':'" service                                             \
    "-1','labels':{'kubernetes.io/service-name':"                                                  \
    "'" service "'}},'addressType':'IPv4','ports':[{'name':'sql','protocol':'TCP','port':5432}],"  \
    "'endpoints':[" endpoints "]}"
static const char *const slices[] = {
    SLICE("db", "{'addresses':['10.244.0.2'],'hostname':'db-0','conditions':{'ready':true}},"
                "{'addresses':['10.244.0.3'],'conditions':{'ready':true}},"
                "{'addresses':['10.244.0.4'],'hostname':'db-2','conditions':{'ready':false}}"),
    SLICE("early", "{'addresses':['10.244.0.4'],'conditions':{'ready':false}}"),
};

static void *run(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void fill(struct test *t)
{
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        fake_put(&t->api, KIND("", "services"), WATCH_ADDED, services[i]);
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
        fake_put(&t->api, KIND("discovery.k8s.io", "endpointslices"), WATCH_ADDED, slices[i]);
    fake_put(&t->api, KIND("", "namespaces"), WATCH_ADDED, "{'metadata':{'name':'shop'}}");
    fake_sync(&t->api);
    loop_run_until_idle(t->loop, 0);
}

static void listen_upstream(struct test *t)
{
    const struct sockaddr_in at = endpoint(UPSTREAM, 53);
    t->upstream_udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    t->upstream_tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t->upstream_udp, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(bind(t->upstream_tcp, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(t->upstream_tcp, 8), 0);
}

static void write_resolv_conf(struct test *t, const char *text)
{
    must(file_write_all(t->resolv_conf, str_of(text), 0600, e));
}

static int setup(void **state)
{
    if (!may_unshare())
        return 0;
    struct test *t = mem_zalloc(sizeof *t);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    must(dns_address_add(STR(SERVER), e));
    must(dns_address_add(STR(SERVER), e)); // a second time: nothing to do
    listen_upstream(t);
    snprintf(t->resolv_conf, sizeof t->resolv_conf, "/tmp/coracle-resolv-%d", getpid());
    write_resolv_conf(t, "# own address, then the upstream\nnameserver " SERVER
                         "\n  nameserver\t" UPSTREAM " \nnameserver fd00::1\n");
    t->env = env_system();
    t->loop = loop_new(t->env);
    fake_api_init(&t->api, t->env);
    t->factory = informers_new(&t->api.client, t->loop);
    const struct dns_server_options opt = {.informers = t->factory,
                                           .cluster_domain = STR("cluster.local"),
                                           .listen = STR(SERVER ":53"),
                                           .resolv_conf = t->resolv_conf};
    must(dns_server_new(t->loop, &opt, &t->dns, e));
    informers_start(t->factory);
    loop_run_until_idle(t->loop, 0);
    fill(t);
    assert_int_equal(pthread_create(&t->thread, NULL, run, t->loop), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    if (!t)
        return 0;
    loop_stop(t->loop);
    pthread_join(t->thread, NULL);
    dns_server_free(t->dns);
    informers_free(t->factory);
    loop_free(t->loop);
    must(dns_address_del(STR(SERVER), e));
    must(dns_address_del(STR(SERVER), e));
    close(t->upstream_udp);
    close(t->upstream_tcp);
    unlink(t->resolv_conf);
    buf_done(&t->text);
    free(t);
    return 0;
}

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// One line of kdig into "name ttl class type data" with single blanks; NULL: nothing of interest.
static char *tidy(char *line)
{
    char *status = strstr(line, "status: ");
    if (status) {
        status[8 + strcspn(status + 8, ";")] = 0;
        return status + 8;
    }
    if (line[0] == ';' || line[0] == 0)
        return NULL;
    char *out = line;
    for (char *p = line; *p; p++)
        if (*p != '\t' && *p != ' ')
            *out++ = *p;
        else if (out > line && out[-1] != ' ')
            *out++ = ' ';
    *out = 0;
    return line;
}

// "NOERROR" and the records in the order of their text, with bars between.
static const char *dig(struct test *t, const char *question)
{
    char command[512], *line = NULL, *records[64] = {NULL};
    size_t cap = 0, n = 0;
    snprintf(command, sizeof command,
             "kdig @" SERVER " +time=5 +retry=0 +noall +header +answer +authority +additional %s",
             question);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    buf_reset(&t->text);
    while (getline(&line, &cap, f) >= 0) {
        line[strcspn(line, "\n")] = 0;
        char *text = tidy(line);
        if (!text)
            continue;
        if (t->text.n == 0)
            buf_puts(&t->text, text);
        else if (n < 64)
            records[n++] = mem_cstr(str_of(text));
    }
    pclose(f);
    free(line);
    qsort(records, n, sizeof *records, compare_words);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&t->text, "|%s", records[i]);
        free(records[i]);
    }
    return buf_cstr(&t->text);
}

#define NEEDS_ROOT(t)                                                                              \
    if (!(t) || access("/usr/bin/kdig", X_OK) < 0)                                                 \
    skip()

#define WEB "web.shop.svc.cluster.local."
#define DB  "db.shop.svc.cluster.local."
#define SOA                                                                                        \
    "|cluster.local. 5 IN SOA ns.dns.cluster.local. ns.dns.cluster.local. 1 7200 1800 86400 5"

static void test_cluster_names(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    static const struct {
        const char *question, *answer;
    } cases[] = {
        {WEB " A", "NOERROR|" WEB " 5 IN A 10.96.0.5"},
        {"WeB.sHop.svc.cluster.LOCAL. A", "NOERROR|" WEB " 5 IN A 10.96.0.5"},
        {WEB " AAAA", "NOERROR" SOA},
        {WEB " ANY", "NOERROR|" WEB " 5 IN A 10.96.0.5"},
        {"nothing.shop.svc.cluster.local. A", "NXDOMAIN" SOA},
        {"web.nowhere.svc.cluster.local. A", "NXDOMAIN" SOA},
        {"shop.svc.cluster.local. A", "NOERROR" SOA},
        {"svc.cluster.local. A", "NOERROR" SOA},
        {"pod.web.shop.svc.cluster.local. A", "NXDOMAIN" SOA},
        {"web.shop.svc.cluster.local.shop.svc.cluster.local. A", "NXDOMAIN" SOA},
        {"1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.cluster.local. A", "NXDOMAIN" SOA},
        // Headless: ready addresses, by hostname or dashes, all of them where that is wanted.
        {DB " A", "NOERROR|" DB " 5 IN A 10.244.0.2|" DB " 5 IN A 10.244.0.3"},
        {"db-0." DB " A", "NOERROR|db-0." DB " 5 IN A 10.244.0.2"},
        {"10-244-0-3." DB " A", "NOERROR|10-244-0-3." DB " 5 IN A 10.244.0.3"},
        {"db-2." DB " A", "NXDOMAIN" SOA},
        {"early.shop.svc.cluster.local. A",
         "NOERROR|early.shop.svc.cluster.local. 5 IN A 10.244.0.4"},
        // Ports.
        {"_http._tcp." WEB " SRV",
         "NOERROR|_http._tcp." WEB " 5 IN SRV 0 100 80 " WEB "|" WEB " 5 IN A 10.96.0.5"},
        {"_dns._udp." WEB " SRV",
         "NOERROR|_dns._udp." WEB " 5 IN SRV 0 100 53 " WEB "|" WEB " 5 IN A 10.96.0.5"},
        {"_http._udp." WEB " SRV", "NXDOMAIN" SOA},
        {"_sql._tcp." DB " SRV", "NOERROR|10-244-0-3." DB " 5 IN A 10.244.0.3|_sql._tcp." DB
                                 " 5 IN SRV 0 100 5432 10-244-0-3." DB "|_sql._tcp." DB
                                 " 5 IN SRV 0 100 5432 db-0." DB "|db-0." DB " 5 IN A 10.244.0.2"},
        // Names for other names.
        {"inside.shop.svc.cluster.local. A",
         "NOERROR|inside.shop.svc.cluster.local. 5 IN CNAME " WEB "|" WEB " 5 IN A 10.96.0.5"},
        {"inside.shop.svc.cluster.local. CNAME",
         "NOERROR|inside.shop.svc.cluster.local. 5 IN CNAME " WEB},
        // Pods.
        {"10-244-0-9.shop.pod.cluster.local. A",
         "NOERROR|10-244-0-9.shop.pod.cluster.local. 5 IN A 10.244.0.9"},
        {"10-244-0.shop.pod.cluster.local. A", "NXDOMAIN" SOA},
        {"10-244-0-9.nowhere.pod.cluster.local. A", "NXDOMAIN" SOA},
        // Addresses.
        {"-x 10.96.0.5", "NOERROR|5.0.96.10.in-addr.arpa. 5 IN PTR " WEB},
        {"-x 10.244.0.2", "NOERROR|2.0.244.10.in-addr.arpa. 5 IN PTR db-0." DB},
        // The zone itself.
        {"cluster.local. SOA", "NOERROR" SOA},
        {"cluster.local. NS", "NOERROR|cluster.local. 5 IN NS ns.dns.cluster.local."},
        {"ns.dns.cluster.local. A", "NOERROR|ns.dns.cluster.local. 5 IN A " SERVER},
        {"dns-version.cluster.local. TXT", "NOERROR|dns-version.cluster.local. 5 IN TXT \"1.1.0\""},
        {WEB " -c CH A", "REFUSED"},
    };
    static const char *const ways[] = {"+noedns", "+edns", "+tcp"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t way = 0; way < 3; way++) {
            char question[256];
            snprintf(question, sizeof question, "%s %s", ways[way], cases[i].question);
            // Twice: the second answer may come from the cache.
            for (int k = 0; k < 2; k++)
                if (strcmp(dig(t, question), cases[i].answer) != 0)
                    fail_msg("%s: %s\n instead of %s", question, t->text.p, cases[i].answer);
        }
}

// --- upstream ---

static void reply_to(const uint8_t *query, size_t n, const struct dns_answer *a, uint8_t *out,
                     size_t *ret_n)
{
    struct dns_question q;
    assert_int_equal(dns_parse(query, n, &q), DNS_NOERROR);
    *ret_n = dns_write(out, 512, &q, a);
}

static int client_socket(int type)
{
    const struct sockaddr_in to = endpoint(SERVER, 53);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static size_t make_query(uint8_t out[512], uint16_t id, const char *name, uint16_t type)
{
    size_t n = dns_write_query(out, 512, id, str_of(name), type);
    assert_true(n > 0);
    return n;
}

static size_t receive(int fd, uint8_t out[512], struct sockaddr_in *from)
{
    socklen_t length = sizeof *from;
    assert_true(readable(fd, WAIT_MS));
    ssize_t n = recvfrom(fd, out, 512, 0, (struct sockaddr *)from, from ? &length : NULL);
    assert_true(n > 0);
    return (size_t)n;
}

static const struct dns_record far = {.type = DNS_A, .ttl = 60, .address = 0x01020304};
static const struct dns_answer far_answer = {.answers = &far, .nanswers = 1};

static void test_forwarding(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[512], out[512], seen[512];
    struct sockaddr_in from[2];
    size_t n, reply_n;
    uint16_t ids[2];
    int fd = client_socket(SOCK_DGRAM);
    for (int i = 0; i < 2; i++) {
        n = make_query(m, 0x4242, i ? "b.example.org" : "a.example.org", DNS_A);
        assert_int_equal(send(fd, m, n, 0), n);
        n = receive(t->upstream_udp, seen, &from[i]);
        ids[i] = (uint16_t)(seen[0] << 8 | seen[1]);
        reply_to(seen, n, &far_answer, out, &reply_n);
        // Answers that are not to our question are not taken: another id, another name.
        out[0] ^= 1;
        sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from[i], sizeof from[i]);
        out[0] ^= 1;
        out[13] ^= 1;
        sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from[i], sizeof from[i]);
        out[13] ^= 1;
        sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from[i], sizeof from[i]);
        n = receive(fd, m, NULL);
        assert_int_equal(m[0] << 8 | m[1], 0x4242);
        assert_int_equal(n, reply_n);
        assert_memory_equal(m + 2, out + 2, n - 2);
    }
    // Nothing to guess for who wants to answer in the upstream's place.
    assert_true(from[0].sin_port != from[1].sin_port);
    assert_true(ids[0] != 0x4242 || ids[1] != 0x4242);
    close(fd);
}

// The same question again within seconds does not go upstream, and gets its own id.
static void test_answers_are_kept_a_while(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    struct dns_record record = far;
    const struct dns_answer a = {.answers = &record, .nanswers = 1};
    uint8_t m[512], out[512], seen[512];
    struct sockaddr_in from;
    size_t n, reply_n;
    int fd = client_socket(SOCK_DGRAM);
    for (uint16_t i = 0; i < 4; i++) {
        // With a TTL of 0 nothing is kept.
        n = make_query(m, 0x100 + i, i < 2 ? "kept.example.org" : "fleeting.example.org", DNS_A);
        record.ttl = i < 2 ? 60 : 0;
        assert_int_equal(send(fd, m, n, 0), n);
        if (i != 1) {
            n = receive(t->upstream_udp, seen, &from);
            reply_to(seen, n, &a, out, &reply_n);
            sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from, sizeof from);
        }
        n = receive(fd, m, NULL);
        assert_int_equal(m[0] << 8 | m[1], 0x100 + i);
        assert_memory_equal(m + 2, out + 2, n - 2);
    }
    assert_false(readable(t->upstream_udp, 0));
    close(fd);
}

static void test_forwarding_by_tcp(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[514], out[514];
    size_t reply_n;
    int fd = client_socket(SOCK_STREAM);
    size_t n = make_query(m + 2, 7, "tcp.example.org", DNS_A);
    m[0] = 0;
    m[1] = (uint8_t)n;
    assert_int_equal(send(fd, m, 1, 0), 1); // in pieces
    assert_int_equal(send(fd, m + 1, n + 1, 0), n + 1);
    assert_true(readable(t->upstream_tcp, WAIT_MS));
    int up = accept(t->upstream_tcp, NULL, NULL);
    assert_true(up >= 0 && readable(up, WAIT_MS));
    assert_int_equal(recv(up, m, n + 2, MSG_WAITALL), n + 2);
    reply_to(m + 2, n, &far_answer, out + 2, &reply_n);
    out[0] = 0;
    out[1] = (uint8_t)reply_n;
    assert_int_equal(send(up, out, reply_n + 2, 0), reply_n + 2);
    assert_true(readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, m, reply_n + 2, MSG_WAITALL), reply_n + 2);
    assert_int_equal(m[3], 7);
    close(up);
    close(fd);
}

static void test_name_of_a_far_machine(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[512], out[512], seen[512];
    struct sockaddr_in from;
    size_t reply_n;
    int fd = client_socket(SOCK_DGRAM);
    size_t n = make_query(m, 9, "outside.shop.svc.cluster.local", DNS_A);
    assert_int_equal(send(fd, m, n, 0), n);
    n = receive(t->upstream_udp, seen, &from);
    struct dns_question q;
    assert_int_equal(dns_parse(seen, n, &q), DNS_NOERROR);
    assert_string_equal(q.name, "www.example.org");
    reply_to(seen, n, &far_answer, out, &reply_n);
    sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from, sizeof from);
    n = receive(fd, m, NULL);
    struct dns_walk w;
    struct dns_record r;
    enum dns_rcode rcode;
    assert_true(dns_walk_start(&w, m, n, &rcode));
    assert_int_equal(rcode, DNS_NOERROR);
    assert_true(dns_walk_next(&w, &r));
    assert_int_equal(r.type, DNS_CNAME);
    assert_true(str_eqc(r.target, "www.example.org"));
    assert_true(dns_walk_next(&w, &r));
    assert_true(str_eqc(r.owner, "www.example.org"));
    assert_memory_equal(r.raw, &far.address, 4);
    close(fd);
}

static void test_nobody_upstream(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    // Only addresses where nothing listens: refused at once, one after the other.
    write_resolv_conf(t, "nameserver 127.0.0.98\nnameserver 127.0.0.99\n");
    assert_string_equal(dig(t, "www.example.org. A"), "SERVFAIL");
    assert_string_equal(dig(t, "+tcp www.example.org. A"), "SERVFAIL");
    write_resolv_conf(t, "search none\n");
    assert_string_equal(dig(t, "www.example.org. A"), "SERVFAIL");
    assert_string_equal(dig(t, "+tcp outside.shop.svc.cluster.local. A"),
                        "SERVFAIL|outside.shop.svc.cluster.local. 5 IN CNAME www.example.org.");
    assert_string_equal(dig(t, WEB " A"), "NOERROR|" WEB " 5 IN A 10.96.0.5");
    write_resolv_conf(t, "nameserver 127.0.0.99\nnameserver " UPSTREAM "\n"); // the second helps
    uint8_t m[512], seen[512], out[512];
    struct sockaddr_in from;
    size_t reply_n;
    int fd = client_socket(SOCK_DGRAM);
    size_t n = make_query(m, 9, "www.example.org", DNS_A);
    assert_int_equal(send(fd, m, n, 0), n);
    n = receive(t->upstream_udp, seen, &from);
    reply_to(seen, n, &far_answer, out, &reply_n);
    sendto(t->upstream_udp, out, reply_n, 0, (struct sockaddr *)&from, sizeof from);
    assert_int_equal(receive(fd, m, NULL), reply_n);
    close(fd);
}

// --- changes, clients that misbehave ---

struct change {
    struct test *t;
    struct completion done;
};

static void move_web(void *arg)
{
    struct change *c = arg;
    fake_put(&c->t->api, KIND("", "services"), WATCH_MODIFIED,
             "{'metadata':{'namespace':'shop','name':'web'},'spec':{'clusterIP':'10.96.0.6'}}");
    completion_signal(&c->done);
}

static void move_web_back(void *arg)
{
    struct change *c = arg;
    fake_put(&c->t->api, KIND("", "services"), WATCH_MODIFIED, services[0]);
    completion_signal(&c->done);
}

static void change(struct test *t, void (*fn)(void *))
{
    struct change c = {.t = t};
    completion_init(&c.done);
    loop_call(t->loop, fn, &c);
    completion_wait(&c.done);
    completion_done(&c.done);
}

static void test_answers_are_never_stale(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    assert_string_equal(dig(t, WEB " A"), "NOERROR|" WEB " 5 IN A 10.96.0.5");
    change(t, move_web);
    assert_string_equal(dig(t, WEB " A"), "NOERROR|" WEB " 5 IN A 10.96.0.6");
    assert_string_equal(dig(t, "-x 10.96.0.6"), "NOERROR|6.0.96.10.in-addr.arpa. 5 IN PTR " WEB);
    change(t, move_web_back);
    assert_string_equal(dig(t, WEB " A"), "NOERROR|" WEB " 5 IN A 10.96.0.5");
}

// What a client that mixes upper and lower case (against forgers) asks, it gets back so; also from
// the cache.
static void test_the_spelling_comes_back(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    static const char *const names[] = {"Web.sHop.svc.cluster.loCal", "wEb.shOp.svc.cLuster.local"};
    int fd = client_socket(SOCK_DGRAM);
    for (int i = 0; i < 2; i++) {
        uint8_t query[512], m[512];
        size_t n = make_query(query, 1, names[i], DNS_A);
        assert_int_equal(send(fd, query, n, 0), n);
        assert_true(receive(fd, m, NULL) > n);
        assert_memory_equal(m + 12, query + 12, n - 12);
    }
    close(fd);
}

static void test_addresses_rotate(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[512];
    int fd = client_socket(SOCK_DGRAM);
    uint8_t first[2];
    for (int i = 0; i < 2; i++) {
        size_t n = make_query(m, 1, "db.shop.svc.cluster.local", DNS_A);
        assert_int_equal(send(fd, m, n, 0), n);
        struct dns_walk w;
        struct dns_record r;
        enum dns_rcode rcode;
        n = receive(fd, m, NULL);
        assert_true(dns_walk_start(&w, m, n, &rcode) && dns_walk_next(&w, &r));
        first[i] = r.raw[3];
    }
    assert_true(first[0] != first[1]);
    close(fd);
}

static void test_a_circle_of_names_ends(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    const char *answer = dig(t, "circle.shop.svc.cluster.local. A");
    assert_true(strncmp(answer, "NOERROR|circle.shop", 19) == 0);
}

static void test_rude_tcp_clients(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[2 + 512] = {0xff, 0xff};
    char c;
    int fd = client_socket(SOCK_STREAM); // longer than any question
    assert_int_equal(send(fd, m, 2, 0), 2);
    assert_true(readable(fd, WAIT_MS));
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    close(fd);
    // Questions for upstream, and gone: with a reset, and with nobody upstream.
    for (int i = 0; i < 20; i++) {
        if (i == 10)
            write_resolv_conf(t, "search none\n");
        const struct linger reset = {1, 0};
        fd = client_socket(SOCK_STREAM);
        size_t n = make_query(m + 2, 7, "www.example.org", DNS_A);
        m[0] = 0;
        m[1] = (uint8_t)n;
        send(fd, m, n + 2, 0);
        send(fd, m, n + 2, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    // Many questions in one go are answered in order.
    fd = client_socket(SOCK_STREAM);
    size_t n = make_query(m + 2, 0, "web.shop.svc.cluster.local", DNS_A);
    m[1] = (uint8_t)n;
    for (uint8_t i = 0; i < 50; i++) {
        m[3] = i;
        assert_int_equal(send(fd, m, n + 2, 0), n + 2);
    }
    for (uint8_t i = 0; i < 50; i++) {
        uint8_t length[2], answer[512];
        assert_true(readable(fd, WAIT_MS));
        assert_int_equal(recv(fd, length, 2, MSG_WAITALL), 2);
        assert_int_equal(recv(fd, answer, length[1], MSG_WAITALL), length[1]);
        assert_int_equal(answer[1], i);
    }
    close(fd);
    write_resolv_conf(t, "nameserver " UPSTREAM "\n");
}

static void test_noise(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    uint8_t m[512];
    int fd = client_socket(SOCK_DGRAM);
    for (unsigned i = 0; i < 200; i++) { // bytes of no sense; what is answered at all is short
        uint8_t noise[64];
        env_random(t->env, noise, sizeof noise);
        send(fd, noise, i % sizeof noise, 0);
    }
    size_t n = make_query(m, 0x77aa, "web.shop.svc.cluster.local", DNS_A);
    assert_int_equal(send(fd, m, n, 0), n);
    for (;;) {
        n = receive(fd, m, NULL);
        if (m[0] == 0x77 && m[1] == 0xaa && n > 40)
            break;
    }
    close(fd);
}

static void test_bad_listen_address(void **state)
{
    struct test *t = *state;
    NEEDS_ROOT(t);
    static const struct {
        const char *listen, *message;
        int code;
    } cases[] = {
        {"10.96.0.10", "10.96.0.10 is not an address and a port", -400},
        {"10.96.0.10:70000", "10.96.0.10:70000 is not an address and a port", -400},
        {"[::1]:53", "[::1]:53 is not an address and a port", -400},
        {SERVER ":53",
         "the cluster's DNS server cannot listen on " SERVER ":53: Address already in use", -500},
    };
    struct loop *l = loop_new(t->env);
    struct fake_api api;
    fake_api_init(&api, t->env);
    struct informers *factory = informers_new(&api.client, l);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dns_server *s = NULL;
        _cleanup_err_ struct err why = ERR_INIT;
        const struct dns_server_options opt = {.informers = factory,
                                               .cluster_domain = STR("cluster.local"),
                                               .listen = str_of(cases[i].listen)};
        assert_int_equal(dns_server_new(l, &opt, &s, &why), cases[i].code);
        assert_string_equal(why.message, cases[i].message);
        assert_null(s);
    }
    _cleanup_err_ struct err why = ERR_INIT;
    assert_int_equal(dns_address_add(STR("fd00::1"), &why), -400);
    assert_string_equal(why.message, "fd00::1 is not an IPv4 address");
    informers_free(factory);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_names),
        cmocka_unit_test(test_forwarding),
        cmocka_unit_test(test_answers_are_kept_a_while),
        cmocka_unit_test(test_forwarding_by_tcp),
        cmocka_unit_test(test_name_of_a_far_machine),
        cmocka_unit_test(test_nobody_upstream),
        cmocka_unit_test(test_answers_are_never_stale),
        cmocka_unit_test(test_the_spelling_comes_back),
        cmocka_unit_test(test_addresses_rotate),
        cmocka_unit_test(test_a_circle_of_names_ends),
        cmocka_unit_test(test_rude_tcp_clients),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_bad_listen_address),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
