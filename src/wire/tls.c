// TLS contexts. OpenSSL's defaults are good; what is set here and why:
//
// - SSL_MODE_RELEASE_BUFFERS: an idle connection keeps no 16 kB buffers.
// - read_ahead: one recv brings header and body of a record, where the default makes two calls.
// - Partial writes and moving buffers, because the output queue decides what stands in front.
// - Tickets on and the session cache off: a storm of reconnecting clients resumes (a full handshake
// with
//   a client certificate costs three times as much) and the server keeps nothing for it. A ticket
//   carries the client's certificate, so who a resumed connection is stays known; it lives for two
//   hours, which bounds how long a certificate that has expired can still be used.
// - A server speaks TLS 1.2 with forward secrecy and authenticated encryption only: what OpenSSL's
//   default list still has beside that (CBC with SHA-1, RSA key exchange) is for clients of before
//   2014, and none of them can speak to Kubernetes.
// - Client certificates are asked for and never demanded: bearer tokens and anonymous health checks
//   come over the same port.
#include "base/buf.h"
#include "wire/tls_private.h"
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct tls_server {
    atomic_uint refs;
    SSL_CTX *ctx;
};

struct tls_client {
    atomic_uint refs;
    SSL_CTX *ctx;
    bool insecure;
};

enum { TICKET_SECONDS = 2 * 3600 };

static int ssl_error(struct err *e, const char *what)
{
    char reason[256] = "unknown error";
    unsigned long code = ERR_peek_last_error();
    if (code) {
        const char *text = ERR_reason_error_string(code);
        if (text)
            snprintf(reason, sizeof reason, "%s", text);
        else
            ERR_error_string_n(code, reason, sizeof reason);
    }
    ERR_clear_error();
    return err_set(e, ERR_INTERNAL, "%s: %s", what, reason);
}

// A PEM that wants a passphrase must fail, not ask the terminal.
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static int use_certificate(SSL_CTX *ctx, struct str cert_pem, struct str key_pem, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(cert_pem.p, (int)cert_pem.n);
    X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
    int code = 0;
    if (!cert || SSL_CTX_use_certificate(ctx, cert) != 1)
        code = ssl_error(e, "reading the certificate");
    X509_free(cert);
    for (X509 *more; !code && (more = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL));)
        if (SSL_CTX_add0_chain_cert(ctx, more) != 1) {
            X509_free(more);
            code = ssl_error(e, "reading the certificate chain");
        }
    BIO_free(bio);
    if (code)
        return code;
    ERR_clear_error(); // the end of the PEM text is reported as an error
    bio = BIO_new_mem_buf(key_pem.p, (int)key_pem.n);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        code = ssl_error(e, "reading the private key");
    else if (SSL_CTX_check_private_key(ctx) != 1)
        code = ssl_error(e, "the private key does not belong to the certificate");
    EVP_PKEY_free(key);
    return code;
}

// Trusts every certificate of a PEM text; server: also names them to clients.
static int trust(SSL_CTX *ctx, struct str pem, bool server, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int count = 0, code = 0;
    for (X509 *ca; !code && (ca = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)); count++) {
        if (X509_STORE_add_cert(store, ca) != 1 || (server && SSL_CTX_add_client_CA(ctx, ca) != 1))
            code = ssl_error(e, "reading the CA certificate");
        X509_free(ca);
    }
    BIO_free(bio);
    if (!code && !count)
        code = ssl_error(e, "reading the CA certificate");
    ERR_clear_error();
    return code;
}

static SSL_CTX *context_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    BUG_ON(!ctx);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    return ctx;
}

// --- server

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned int inlen, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    (void)ssl, (void)arg;
    // OPENSSL_NPN_NEGOTIATED: an overlap was found, by the server's preference.
    if (SSL_select_next_proto((unsigned char **)out, outlen, ours, sizeof ours - 1, in, inlen) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK; // the client knows neither name: HTTP/1.1
    return SSL_TLSEXT_ERR_OK;
}

int tls_server_new(struct str cert_pem, struct str key_pem, struct str client_ca_pem,
                   struct tls_server **ret, struct err *e)
{
    SSL_CTX *ctx = context_new(TLS_server_method());
    int code = use_certificate(ctx, cert_pem, key_pem, e);
    if (!code && client_ca_pem.p) {
        code = trust(ctx, client_ca_pem, true, e);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    if (code) {
        SSL_CTX_free(ctx);
        return code;
    }
    BUG_ON(SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1);
    // Clients that just close the connection are common; HTTP's own framing tells whether the
    // message was whole.
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"coracle", 7);
    SSL_CTX_set_timeout(ctx, TICKET_SECONDS);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    struct tls_server *t = mem_zalloc(sizeof *t);
    atomic_init(&t->refs, 1);
    t->ctx = ctx;
    *ret = t;
    return 0;
}

struct tls_server *tls_server_ref(struct tls_server *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_server_free(struct tls_server *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

SSL *tls_server_session(struct tls_server *t)
{
    SSL *ssl = SSL_new(t->ctx);
    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

bool tls_is_h2(const SSL *ssl)
{
    const unsigned char *name = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0;
}

// --- who the peer is

// Appends an attribute's text; false where it cannot be a name (NUL inside).
static bool add_text(struct buf *b, const X509_NAME_ENTRY *entry)
{
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
    bool ok = n >= 0 && !memchr(utf8, 0, (size_t)n);
    if (ok)
        buf_add(b, utf8, (size_t)n);
    OPENSSL_free(utf8);
    return ok;
}

struct tls_peer *tls_peer_new(SSL *ssl)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    if (!cert || SSL_get_verify_result(ssl) != X509_V_OK ||
        !(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER))
        return NULL;
    const X509_NAME *subject = X509_get_subject_name(cert);
    int count = X509_NAME_entry_count(subject), norgs = 0, last_cn = -1;
    for (int i = 0; i < count; i++) {
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(X509_NAME_get_entry(subject, i)));
        if (nid == NID_commonName)
            last_cn = i; // several: the last one names the user, as in Go
        norgs += nid == NID_organizationName;
    }
    // One pass gathers the texts, noting where each ends; then all goes into one block.
    _cleanup_buf_ struct buf text = BUF_MAX(64 << 10);
    _cleanup_free_ size_t *ends = mem_alloc(sizeof *ends * (size_t)(norgs + 2));
    size_t n = 0;
    bool ok = last_cn < 0 || add_text(&text, X509_NAME_get_entry(subject, last_cn));
    ends[n++] = text.n;
    for (int i = 0; i < count && ok; i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_organizationName)
            continue;
        ok = add_text(&text, entry);
        ends[n++] = text.n;
    }
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *hex = serial ? BN_bn2hex(serial) : NULL;
    if (hex)
        buf_puts(&text, hex);
    OPENSSL_free(hex);
    BN_free(serial);
    ends[n] = text.n;
    if (!ok || !buf_ok(&text))
        return NULL;
    struct tls_peer *peer = mem_alloc(sizeof *peer + sizeof(struct str) * (size_t)norgs + text.n);
    struct str *orgs = (struct str *)(peer + 1);
    char *at = (char *)(orgs + norgs);
    if (text.n)
        memcpy(at, text.p, text.n);
    peer->common_name = str_n(at, ends[0]);
    for (int i = 0; i < norgs; i++)
        orgs[i] = str_n(at + ends[i], ends[i + 1] - ends[i]);
    peer->organizations = orgs;
    peer->norganizations = (size_t)norgs;
    peer->serial_hex = str_n(at + ends[n - 1], ends[n] - ends[n - 1]);
    return peer;
}

// --- client

int tls_client_new(struct str ca_pem, struct str cert_pem, struct str key_pem, bool insecure,
                   struct tls_client **ret, struct err *e)
{
    SSL_CTX *ctx = context_new(TLS_client_method());
    int code = 0;
    if (ca_pem.p)
        code = trust(ctx, ca_pem, false, e);
    else if (!insecure && SSL_CTX_set_default_verify_paths(ctx) != 1)
        code = ssl_error(e, "reading the system's CA certificates");
    if (!code && cert_pem.p)
        code = use_certificate(ctx, cert_pem, key_pem, e);
    if (code) {
        SSL_CTX_free(ctx);
        return code;
    }
    SSL_CTX_set_verify(ctx, insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1);
    struct tls_client *t = mem_zalloc(sizeof *t);
    atomic_init(&t->refs, 1);
    t->ctx = ctx;
    t->insecure = insecure;
    *ret = t;
    return 0;
}

struct tls_client *tls_client_ref(struct tls_client *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_client_free(struct tls_client *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

SSL *tls_client_session(struct tls_client *t, struct str host)
{
    char name[256];
    unsigned char binary[16];
    if (host.n >= sizeof name)
        return NULL;
    memcpy(name, host.p, host.n);
    name[host.n] = 0;
    SSL *ssl = SSL_new(t->ctx);
    if (!ssl)
        return NULL;
    SSL_set_connect_state(ssl);
    bool address = inet_pton(AF_INET, name, binary) == 1 || inet_pton(AF_INET6, name, binary) == 1;
    bool ok = address || SSL_set_tlsext_host_name(ssl, name) == 1;
    if (ok && !t->insecure) {
        X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
        ok = address ? X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1
                     : X509_VERIFY_PARAM_set1_host(param, name, host.n) == 1;
    }
    if (!ok) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

void tls_client_why(SSL *ssl, struct str host, char *out, size_t n)
{
    long verify = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    switch (verify) {
    case X509_V_OK:
        snprintf(out, n, "tls: %s", reason ? reason : "the connection was closed");
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(out, n,
                 "tls: failed to verify certificate: x509: certificate is not valid for %.*s",
                 STR_ARG(host));
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(
            out, n,
            "tls: failed to verify certificate: x509: certificate signed by unknown authority");
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        snprintf(out, n,
                 "tls: failed to verify certificate: x509: certificate has expired or is not yet "
                 "valid");
        break;
    default:
        snprintf(out, n, "tls: failed to verify certificate: x509: %s",
                 X509_verify_cert_error_string(verify));
    }
}
