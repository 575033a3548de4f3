// The cluster's keys and certificates: one CA, made on first start, and what it signs. ECDSA P-256
// throughout: a handshake with a client certificate costs a third of RSA's, and keys are 200 bytes.
//
// Everything lies in one directory (0700) as PEM, each key 0600, written atomically, so that a
// crash during the first start leaves either a file or none; what is missing is made on the next
// start. A leaf is remade when it expires within 30 days, when the CA did not sign it, or when it
// lacks a name or address that the server now answers to. The CA and the ServiceAccount key are
// never remade: they are the cluster's identity. So where one of those is there but cannot be read
// (cut short by a failing disk or a bad copy), the start is refused: going on would give every
// client a stranger.
//
// Rejected: RSA (slow), a CA for each purpose as kubeadm has (front-proxy and etcd CAs come with
// the features that need them).
#include "apiserver/auth.h"
#include "base/buf.h"
#include "base/time.h"
#include "object/base64.h"
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define CA_YEARS   10
#define LEAF_YEARS 1
#define RENEW_DAYS 30

static void key_free(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static void cert_free(X509 **c)
{
    X509_free(*c);
}
static void bio_free(BIO **b)
{
    BIO_free(*b);
}
#define _cleanup_key_  __attribute__((cleanup(key_free)))
#define _cleanup_cert_ __attribute__((cleanup(cert_free)))
#define _cleanup_bio_  __attribute__((cleanup(bio_free)))

// Who a certificate is for.
struct leaf {
    struct str common_name;
    const struct str *organizations, *names, *addresses;
    size_t norganizations, nnames, naddresses;
    bool server, client;
};

static int crypto_error(struct err *e, const char *what)
{
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    return err_set(e, ERR_INTERNAL, "%s: %s", what,
                   code ? ERR_reason_error_string(code) : "unknown OpenSSL error");
}

static struct str bio_text(struct arena *a, BIO *b)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);
    return arena_str(a, str_n(p, n > 0 ? (size_t)n : 0));
}

static int key_pem(struct arena *a, EVP_PKEY *key, struct str *ret, struct err *e)
{
    _cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
    if (!b || PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
        return crypto_error(e, "writing a private key");
    *ret = bio_text(a, b);
    return 0;
}

static int cert_pem(struct arena *a, X509 *cert, struct str *ret, struct err *e)
{
    _cleanup_bio_ BIO *b = BIO_new(BIO_s_mem());
    if (!b || PEM_write_bio_X509(b, cert) != 1)
        return crypto_error(e, "writing a certificate");
    *ret = bio_text(a, b);
    return 0;
}

static EVP_PKEY *key_read(struct str pem)
{
    _cleanup_bio_ BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    return b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
}

static X509 *cert_read(struct str pem)
{
    _cleanup_bio_ BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    return b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value, struct err *e)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!x)
        return crypto_error(e, "certificate extension");
    int ok = X509_add_ext(cert, x, -1);
    X509_EXTENSION_free(x);
    return ok == 1 ? 0 : crypto_error(e, "certificate extension");
}

static struct str alternative_names(struct arena *a, const struct leaf *leaf)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < leaf->nnames; i++)
        buf_printf(&b, "%sDNS:%.*s", b.n ? "," : "", STR_ARG(leaf->names[i]));
    for (size_t i = 0; i < leaf->naddresses; i++)
        buf_printf(&b, "%sIP:%.*s", b.n ? "," : "", STR_ARG(leaf->addresses[i]));
    return arena_str(a, buf_view(&b));
}

static int certificate_fields(struct env *env, struct arena *a, X509 *cert, X509 *issuer,
                              EVP_PKEY *key, const struct leaf *leaf, int years, struct err *e)
{
    unsigned char serial[16];
    env_random(env, serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *bn = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
    BN_free(bn);
    X509_set_version(cert, 2);
    // A day of slack for clocks that disagree.
    time_t now = (time_t)(env_now(env) / NS_PER_S);
    ASN1_TIME_set(X509_getm_notBefore(cert), now - 24 * 3600);
    ASN1_TIME_set(X509_getm_notAfter(cert), now + (time_t)years * 365 * 24 * 3600);
    X509_NAME *name = X509_get_subject_name(cert);
    for (size_t i = 0; i < leaf->norganizations; i++)
        X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)leaf->organizations[i].p,
                                   (int)leaf->organizations[i].n, -1, 0);
    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                               (const unsigned char *)leaf->common_name.p, (int)leaf->common_name.n,
                               -1, 0);
    X509_set_pubkey(cert, key);
    bool ca = issuer == cert;
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    const char *usage = leaf->server && leaf->client ? "serverAuth,clientAuth"
                        : leaf->server               ? "serverAuth"
                                                     : "clientAuth";
    int r = 0;
    if (ca) {
        if ((r = add_extension(cert, issuer, NID_basic_constraints, "critical,CA:TRUE", e)) ||
            (r = add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature,keyCertSign",
                               e)))
            return r;
    } else if ((r = add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE", e)) ||
               (r = add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature", e)) ||
               (r = add_extension(cert, issuer, NID_ext_key_usage, usage, e))) {
        return r;
    }
    if ((r = add_extension(cert, issuer, NID_subject_key_identifier, "hash", e)) ||
        (!ca && (r = add_extension(cert, issuer, NID_authority_key_identifier, "keyid", e))))
        return r;
    if (leaf->nnames + leaf->naddresses > 0) {
        struct str san = alternative_names(a, leaf);
        return add_extension(cert, issuer, NID_subject_alt_name, arena_cstr(a, san), e);
    }
    return 0;
}

// Makes a key and a certificate; self-signed (a CA) where ca_cert is absent.
static int make(struct env *env, struct arena *a, struct str ca_cert, struct str ca_key,
                const struct leaf *leaf, struct str *ret_cert, struct str *ret_key, struct err *e)
{
    _cleanup_key_ EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_cert_ X509 *cert = X509_new();
    if (!key || !cert)
        return crypto_error(e, "generating a key");
    bool self = ca_cert.n == 0;
    _cleanup_cert_ X509 *issuer = self ? NULL : cert_read(ca_cert);
    _cleanup_key_ EVP_PKEY *signer = self ? NULL : key_read(ca_key);
    if (!self && (!issuer || !signer))
        return crypto_error(e, "reading the certificate authority");
    int r = certificate_fields(env, a, cert, self ? cert : issuer, key, leaf,
                               self ? CA_YEARS : LEAF_YEARS, e);
    if (r)
        return r;
    if (X509_sign(cert, self ? key : signer, EVP_sha256()) == 0)
        return crypto_error(e, "signing a certificate");
    struct str cert_text, key_text;
    if ((r = cert_pem(a, cert, &cert_text, e)) || (r = key_pem(a, key, &key_text, e)))
        return r;
    *ret_cert = cert_text;
    *ret_key = key_text;
    return 0;
}

static bool covers(X509 *cert, const struct leaf *leaf, struct arena *a)
{
    for (size_t i = 0; i < leaf->nnames; i++)
        if (X509_check_host(cert, leaf->names[i].p, leaf->names[i].n, 0, NULL) != 1)
            return false;
    for (size_t i = 0; i < leaf->naddresses; i++)
        if (X509_check_ip_asc(cert, arena_cstr(a, leaf->addresses[i]), 0) != 1)
            return false;
    return true;
}

static bool still_good(struct env *env, struct arena *a, struct str cert_text, struct str key_text,
                       struct str ca_cert, const struct leaf *leaf)
{
    _cleanup_cert_ X509 *cert = cert_read(cert_text);
    _cleanup_cert_ X509 *ca = cert_read(ca_cert);
    _cleanup_key_ EVP_PKEY *key = key_read(key_text);
    bool good = false;
    if (cert && ca && key && X509_check_private_key(cert, key) == 1) {
        time_t limit = (time_t)(env_now(env) / NS_PER_S) + RENEW_DAYS * 24 * 3600;
        good = X509_cmp_time(X509_get0_notAfter(cert), &limit) > 0 &&
               X509_verify(cert, X509_get0_pubkey(ca)) == 1 && covers(cert, leaf, a);
    }
    ERR_clear_error();
    return good;
}

static const char *file_path(struct arena *a, const char *dir, const char *name)
{
    return arena_printf(a, "%s/%s%c", dir, name, 0).p;
}

static int read_optional(struct arena *a, const char *path, struct str *ret, struct err *e)
{
    if (access(path, F_OK) != 0) {
        *ret = STR_NULL;
        return 0;
    }
    return file_read_all(a, path, 1 << 20, ret, e);
}

static int ca_damaged(struct err *e, const char *path, const char *what)
{
    ERR_clear_error();
    return err_set(
        e, ERR_INTERNAL,
        "%s is damaged: %s; restore it from a backup, or remove ca.crt and ca.key to begin "
        "with a new certificate authority (every client then needs new credentials)",
        path, what);
}

// The authority's files are there: are they whole, and do they belong together?
static int ca_check(const char *cert_path, struct str cert_text, const char *key_path,
                    struct str key_text, struct err *e)
{
    _cleanup_cert_ X509 *cert = cert_read(cert_text);
    _cleanup_key_ EVP_PKEY *key = key_read(key_text);
    if (!cert)
        return ca_damaged(e, cert_path, "it holds no whole certificate");
    if (!key)
        return ca_damaged(e, key_path, "it holds no whole private key");
    if (X509_check_private_key(cert, key) != 1)
        return ca_damaged(e, key_path, "it is not the key of ca.crt");
    return 0;
}

// Loads NAME.crt and NAME.key, or makes and writes them.
static int load_or_make(struct env *env, const char *dir, struct pki *p, const char *name,
                        const struct leaf *leaf, bool is_ca, struct str *ret_cert,
                        struct str *ret_key, struct err *e)
{
    struct arena *a = &p->arena;
    const char *cert_path = file_path(a, dir, arena_printf(a, "%s.crt%c", name, 0).p);
    const char *key_path = file_path(a, dir, arena_printf(a, "%s.key%c", name, 0).p);
    struct str cert, key;
    int r;
    if ((r = read_optional(a, cert_path, &cert, e)) || (r = read_optional(a, key_path, &key, e)))
        return r;
    bool have = cert.p && key.p;
    if (is_ca && have != (cert.p || key.p))
        return err_set(e, ERR_INTERNAL,
                       "%s has only one of ca.crt and ca.key: restore the other from a backup, or "
                       "remove both to begin with a new certificate authority",
                       dir);
    if (is_ca && have && (r = ca_check(cert_path, cert, key_path, key, e)))
        return r;
    if (!have || (!is_ca && !still_good(env, a, cert, key, p->ca_cert, leaf))) {
        if ((r = make(env, a, is_ca ? STR_NULL : p->ca_cert, p->ca_key, leaf, &cert, &key, e)))
            return r;
        // The key first: a certificate without its key would be taken for damage.
        if ((r = file_write_all(key_path, key, 0600, e)) ||
            (r = file_write_all(cert_path, cert, 0644, e)))
            return r;
    }
    *ret_cert = cert;
    *ret_key = key;
    return 0;
}

static int load_or_make_key(const char *dir, struct pki *p, struct err *e)
{
    const char *path = file_path(&p->arena, dir, "service-account.key");
    int r = read_optional(&p->arena, path, &p->service_account_key, e);
    if (r)
        return r;
    if (p->service_account_key.p) {
        _cleanup_key_ EVP_PKEY *old = key_read(p->service_account_key);
        ERR_clear_error();
        return old ? 0
                   : err_set(
                         e, ERR_INTERNAL,
                         "%s is damaged: it holds no whole private key; restore it from a backup, "
                         "or remove it to begin with a new one (every token then ends)",
                         path);
    }
    _cleanup_key_ EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!key)
        return crypto_error(e, "generating a key");
    if ((r = key_pem(&p->arena, key, &p->service_account_key, e)))
        return r;
    return file_write_all(path, p->service_account_key, 0600, e);
}

int pki_open(struct env *env, const struct pki_options *opt, struct pki **ret, struct err *e)
{
    struct pki *p = mem_zalloc(sizeof *p);
    struct arena *a = &p->arena;
    size_t n = 0, m = 0;
    struct str *names = arena_array(a, struct str, opt->nnames + 6);
    struct str *addresses = arena_array(a, struct str, opt->naddresses + 3);
    names[n++] = STR("localhost");
    names[n++] = STR("kubernetes");
    names[n++] = STR("kubernetes.default");
    names[n++] = STR("kubernetes.default.svc");
    names[n++] = arena_printf(a, "kubernetes.default.svc.%.*s", STR_ARG(opt->cluster_domain));
    for (size_t i = 0; i < opt->nnames; i++)
        names[n++] = opt->names[i];
    addresses[m++] = STR("127.0.0.1");
    addresses[m++] = STR("::1");
    if (opt->service_ip.n)
        addresses[m++] = opt->service_ip;
    for (size_t i = 0; i < opt->naddresses; i++)
        addresses[m++] = opt->addresses[i];

    static const struct str masters[] = {STR("system:masters")};
    const struct leaf ca = {.common_name = STR("kubernetes")};
    const struct leaf server = {.common_name = STR("kube-apiserver"),
                                .names = names,
                                .nnames = n,
                                .addresses = addresses,
                                .naddresses = m,
                                .server = true};
    const struct leaf admin = {.common_name = STR("kubernetes-admin"),
                               .organizations = masters,
                               .norganizations = 1,
                               .client = true};
    const struct leaf kubelet_client = {.common_name = STR("kube-apiserver-kubelet-client"),
                                        .organizations = masters,
                                        .norganizations = 1,
                                        .client = true};
    int r;
    if ((r = file_mkdir_all(opt->dir, 0700, e)) ||
        (r = load_or_make(env, opt->dir, p, "ca", &ca, true, &p->ca_cert, &p->ca_key, e)) ||
        (r = load_or_make(env, opt->dir, p, "apiserver", &server, false, &p->server_cert,
                          &p->server_key, e)) ||
        (r = load_or_make(env, opt->dir, p, "admin", &admin, false, &p->admin_cert, &p->admin_key,
                          e)) ||
        (r = load_or_make(env, opt->dir, p, "apiserver-kubelet-client", &kubelet_client, false,
                          &p->kubelet_client_cert, &p->kubelet_client_key, e)) ||
        (r = load_or_make_key(opt->dir, p, e))) {
        pki_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void pki_free(struct pki *p)
{
    if (!p)
        return;
    arena_done(&p->arena);
    free(p);
}

int pki_issue(struct env *env, const struct pki *p, struct arena *a, struct str common_name,
              const struct str *organizations, size_t norganizations, const struct str *names,
              size_t nnames, const struct str *addresses, size_t naddresses, struct str *ret_cert,
              struct str *ret_key, struct err *e)
{
    const struct leaf leaf = {.common_name = common_name,
                              .organizations = organizations,
                              .norganizations = norganizations,
                              .names = names,
                              .nnames = nnames,
                              .addresses = addresses,
                              .naddresses = naddresses,
                              .server = nnames + naddresses > 0,
                              .client = true};
    return make(env, a, p->ca_cert, p->ca_key, &leaf, ret_cert, ret_key, e);
}

struct str pki_kubeconfig(struct arena *a, const struct pki *p, struct str server_url,
                          struct str user, struct str cert, struct str key)
{
    struct str ca64 = base64_text(a, p->ca_cert), cert64 = base64_text(a, cert),
               key64 = base64_text(a, key);
    return arena_printf(a,
                        "apiVersion: v1\n"
                        "kind: Config\n"
                        "clusters:\n"
                        "- name: coracle\n"
                        "  cluster:\n"
                        "    server: %.*s\n"
                        "    certificate-authority-data: %.*s\n"
                        "contexts:\n"
                        "- name: coracle\n"
                        "  context:\n"
                        "    cluster: coracle\n"
                        "    user: %.*s\n"
                        "current-context: coracle\n"
                        "users:\n"
                        "- name: %.*s\n"
                        "  user:\n"
                        "    client-certificate-data: %.*s\n"
                        "    client-key-data: %.*s\n",
                        STR_ARG(server_url), STR_ARG(ca64), STR_ARG(user), STR_ARG(user),
                        STR_ARG(cert64), STR_ARG(key64));
}
