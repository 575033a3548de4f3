// A server to test against: certificates made on the spot, loops in threads, a few routes; and the
// blocking clients that speak raw bytes to it.
#pragma once
#include "base/thread.h"
#include "base/time.h"
#include "unit.h"
#include "wire/http.h"
#include "wire/tls.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// --- certificates

struct test_cert {
    EVP_PKEY *key;
    X509 *cert;
    struct str cert_pem, key_pem; // heap
};

static inline struct str test_bio_text(BIO *bio)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    struct str s = mem_str(str_n(p, (size_t)n));
    BIO_free(bio);
    return s;
}

// orgs: NULL-terminated or NULL. issuer NULL: self-signed CA. san: "IP:127.0.0.1,DNS:localhost" or
// NULL.
static inline struct test_cert test_cert_new(const char *cn, const char *const *orgs,
                                             const char *san, const struct test_cert *issuer)
{
    struct test_cert t = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};
    static _Atomic(long) serial = 0x1000;
    ASN1_INTEGER_set(X509_get_serialNumber(t.cert), serial++);
    X509_set_version(t.cert, 2);
    X509_gmtime_adj(X509_getm_notBefore(t.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(t.cert), 86400);
    X509_NAME *name = X509_get_subject_name(t.cert);
    for (; orgs && *orgs; orgs++)
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)*orgs, -1, -1,
                                   0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(t.cert, issuer ? X509_get_subject_name(issuer->cert) : name);
    X509_set_pubkey(t.cert, t.key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer ? issuer->cert : t.cert, t.cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints,
                                              issuer ? "CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(t.cert, ext, -1);
    X509_EXTENSION_free(ext);
    if (san) {
        ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
        X509_add_ext(t.cert, ext, -1);
        X509_EXTENSION_free(ext);
    }
    X509_sign(t.cert, issuer ? issuer->key : t.key, EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, t.cert);
    t.cert_pem = test_bio_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, t.key, NULL, NULL, 0, NULL, NULL);
    t.key_pem = test_bio_text(bio);
    return t;
}

static inline void test_cert_free(struct test_cert *t)
{
    EVP_PKEY_free(t->key);
    X509_free(t->cert);
    free((char *)t->cert_pem.p);
    free((char *)t->key_pem.p);
}

// --- the routes

struct test_stats {
    _Atomic(int) handled, closed, open;
    _Atomic(size_t) sent; // by /flood
};

struct test_server {
    struct loop *loops[2];
    pthread_t threads[2];
    size_t nloops;
    struct http_server *server;
    struct tls_server *tls;
    struct test_cert ca, cert;
    struct test_stats stats;
    unsigned port;
    // A test's own routes come first; true: handled.
    bool (*route)(struct test_server *t, struct http_exchange *x);
    void (*on_close)(void *ctx, struct http_exchange *x); // NULL: nothing more
};

static const struct http_header test_text[] = {{STR("content-type"), STR("text/plain")}};

static inline void test_echo(struct http_exchange *x, struct str body)
{
    http_respond(x, 200, test_text, 1, body);
}

static inline void test_count(struct http_exchange *x, struct str part, bool last)
{
    size_t *n = http_data(x);
    *n += part.n;
    if (last)
        http_respond(x, 200, test_text, 1, arena_printf(http_arena(x), "%zu", *n));
}

static inline void test_flood(struct http_exchange *x)
{
    struct blob *b = blob_alloc(64 << 10);
    size_t *left = http_data(x);
    memset(b->p, 'f', b->n);
    while (*left && http_pending(x) < 256 << 10) {
        http_send_blob(x, b);
        --*left;
    }
    blob_unref(b);
    if (*left)
        http_on_drain(x, 128 << 10, test_flood);
    else
        http_finish(x);
}

static inline uint64_t test_number(struct http_exchange *x, const char *name)
{
    uint64_t n = 0;
    str_to_u64(http_query(http_arena(x), http_request(x), name, 0), &n);
    return n;
}

static inline void test_handle(void *ctx, struct http_exchange *x)
{
    struct test_server *t = ctx;
    const struct http_request *r = http_request(x);
    struct arena *a = http_arena(x);
    t->stats.handled++;
    t->stats.open++;
    if (t->route && t->route(t, x))
        return;
    if (str_eq(r->path, STR("/hello"))) {
        http_respond(x, 200, test_text, 1, STR("hello\n"));
    } else if (str_eq(r->path, STR("/echo"))) {
        http_read_body(x, 1 << 20, test_echo);
    } else if (str_eq(r->path, STR("/count"))) {
        http_set_data(x, arena_new(a, size_t));
        http_stream_body(x, test_count);
    } else if (str_eq(r->path, STR("/big"))) {
        size_t n = test_number(x, "n");
        char *p = arena_alloc(a, n);
        for (size_t i = 0; i < n; i++)
            p[i] = (char)('a' + i % 26);
        http_respond(x, 200, test_text, 1, str_n(p, n));
    } else if (str_eq(r->path, STR("/stream"))) {
        http_start(x, 200, test_text, 1);
        for (uint64_t i = 0, n = test_number(x, "n"); i < n; i++)
            http_send(x, arena_printf(a, "line %d\n", (int)i));
        http_finish(x);
    } else if (str_eq(r->path, STR("/open"))) {
        http_start(x, 200, test_text, 1);
        http_send(x, STR("open\n"));
    } else if (str_eq(r->path, STR("/flood"))) {
        http_start(x, 200, test_text, 1);
        size_t *left = arena_new(a, size_t);
        *left = test_number(x, "n");
        http_set_data(x, left);
        test_flood(x);
    } else if (str_eq(r->path, STR("/never"))) {
        ;
    } else if (str_eq(r->path, STR("/abort"))) {
        http_abort(x);
    } else if (str_eq(r->path, STR("/who"))) {
        struct str all = STR("nobody");
        if (r->peer) {
            all = arena_printf(a, "%.*s:", STR_ARG(r->peer->common_name));
            struct str orgs =
                arena_join(a, r->peer->organizations, r->peer->norganizations, STR(","));
            all = arena_printf(a, "%.*s%.*s:%.*s", STR_ARG(all), STR_ARG(orgs),
                               STR_ARG(r->peer->serial_hex));
        }
        http_respond(x, 200, test_text, 1, all);
    } else if (str_eq(r->path, STR("/dump"))) {
        struct buf b = BUF_INIT;
        buf_printf(&b, "%.*s %.*s|%.*s|%.*s\n", STR_ARG(r->method), STR_ARG(r->path),
                   STR_ARG(r->query), STR_ARG(r->host));
        for (size_t i = 0; i < r->nheaders; i++)
            buf_printf(&b, "%.*s=%.*s\n", STR_ARG(r->headers[i].name),
                       STR_ARG(r->headers[i].value));
        http_respond(x, 200, test_text, 1, buf_view(&b));
        buf_done(&b);
    } else {
        http_respond(x, 404, test_text, 1, STR("not found\n"));
    }
}

static inline void test_closed(void *ctx, struct http_exchange *x)
{
    struct test_server *t = ctx;
    if (t->on_close)
        t->on_close(NULL, x);
    t->stats.closed++;
    t->stats.open--;
}

// --- starting and stopping

static inline void *test_loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

enum { TEST_TLS = 1, TEST_CLIENT_CA = 2 };

static inline void test_server_start(struct test_server *t, int flags, size_t nloops,
                                     const struct http_server_options *given)
{
    struct http_server_options opt = given ? *given : (struct http_server_options){0};
    struct http_handler h = {test_handle, test_closed, t};
    _cleanup_err_ struct err e = ERR_INIT;
    if (flags & TEST_TLS) {
        t->ca = test_cert_new("test-ca", NULL, NULL, NULL);
        t->cert = test_cert_new("server", NULL, "IP:127.0.0.1,DNS:localhost", &t->ca);
        assert_int_equal(tls_server_new(t->cert.cert_pem, t->cert.key_pem,
                                        flags & TEST_CLIENT_CA ? t->ca.cert_pem : STR_NULL, &t->tls,
                                        &e),
                         0);
        opt.tls = t->tls;
    }
    t->nloops = nloops;
    for (size_t i = 0; i < nloops; i++)
        t->loops[i] = loop_new(env_system());
    int code = http_server_new(t->loops, nloops, STR("127.0.0.1:0"), &h, &opt, &t->server, &e);
    if (code)
        fail_msg("%s", e.message);
    t->port = http_server_port(t->server);
    for (size_t i = 0; i < nloops; i++)
        t->threads[i] = thread_start("test-loop", test_loop_thread, t->loops[i]);
}

static inline void test_stopped(void *arg)
{
    completion_signal(arg);
}

static inline void test_server_stop(struct test_server *t, uint64_t grace_ns)
{
    struct completion done;
    completion_init(&done);
    http_server_stop(t->server, grace_ns, test_stopped, &done);
    completion_wait(&done);
    completion_done(&done);
    for (size_t i = 0; i < t->nloops; i++) {
        loop_stop(t->loops[i]);
        pthread_join(t->threads[i], NULL);
    }
    for (size_t i = 0; i < t->nloops; i++)
        loop_free(t->loops[i]);
    assert_int_equal(t->stats.open, 0);
    assert_int_equal(t->stats.handled, t->stats.closed);
    if (t->tls) {
        tls_server_free(t->tls);
        test_cert_free(&t->ca);
        test_cert_free(&t->cert);
    }
}

// --- raw clients

static inline int test_connect(unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct timeval limit = {.tv_sec = 20}; // a hang fails the test instead of blocking it
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    return fd;
}

static inline void test_write(int fd, struct str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0)
            return; // the server may close early; what was read tells
        s = str_from(s, (size_t)n);
    }
}

// Reads until `until` has been seen (NULL: until the end), at most 64 MB.
static inline struct str test_read(struct arena *a, int fd, const char *until)
{
    struct buf b = BUF_MAX(64 << 20);
    while (!until || str_find(buf_view(&b), str_of(until)) < 0) {
        char *p = buf_reserve(&b, 64 << 10);
        assert_non_null(p);
        ssize_t n = recv(fd, p, 64 << 10, 0);
        if (n < 0 && errno == EAGAIN)
            fail_msg("no answer; so far: %.*s", STR_ARG(buf_view(&b)));
        if (n <= 0)
            break;
        b.n += (size_t)n;
    }
    struct str s = arena_str(a, b.n ? buf_view(&b) : STR(""));
    buf_done(&b);
    return s;
}

// One connection: sends, half-closes nothing, reads until the server closes.
static inline struct str test_talk(struct arena *a, unsigned port, struct str request)
{
    int fd = test_connect(port);
    test_write(fd, request);
    struct str s = test_read(a, fd, NULL);
    close(fd);
    return s;
}

// Waits for a condition with a limit of 20 s.
#define test_until(cond)                                                                           \
    do {                                                                                           \
        for (int left_ = 20000; !(cond); left_--) {                                                \
            if (!left_)                                                                            \
                fail_msg("never became true: %s", #cond);                                          \
            poll(NULL, 0, 1);                                                                      \
        }                                                                                          \
    } while (0)

static inline void assert_contains(struct str s, const char *part)
{
    if (str_find(s, str_of(part)) < 0)
        fail_msg("\"%s\" is not in: %.*s", part, STR_ARG(s));
}

static inline void assert_starts(struct str s, const char *part)
{
    if (!str_starts(s, str_of(part)))
        fail_msg("does not start with \"%s\": %.*s", part, STR_ARG(s));
}

static inline size_t test_occurrences(struct str s, const char *part)
{
    size_t n = 0;
    for (ptrdiff_t at; (at = str_find(s, str_of(part))) >= 0; n++)
        s = str_from(s, (size_t)at + 1);
    return n;
}
