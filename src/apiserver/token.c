// ServiceAccount tokens: JWTs (RFC 7519) signed with ES256 (RFC 7518, 3.4) by the cluster's key,
// with the claims of Kubernetes' bound tokens ("kubernetes.io": namespace, serviceaccount, pod,
// node, secret). Verification takes exactly what this server signs: header alg ES256 and our key
// id, nothing else, so the algorithm-confusion attacks on JWT libraries have nothing to work on.
#include "apiserver/auth.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/thread.h"
#include "base/time.h"
#include "object/base64.h"
#include "object/json.h"
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#define TOKEN_MAX       8192
#define SIGNATURE_BYTES 64 // r and s, 32 bytes each
#define CLOCK_SKEW_S    10
#define VERIFIED_SLOTS  256

struct token_signer {
    struct env *env;
    // Tokens whose signature held, by hash: checking it costs more than all the rest of a small
    // request. A token's text decides its signature, so a hit is as good as a check; times,
    // audience and bound objects are looked at every time. The lock guards the slots.
    pthread_mutex_t lock;
    struct blob *verified[VERIFIED_SLOTS];
    EVP_PKEY *key;
    struct str issuer, kid; // owned
    struct str x, y;        // base64url coordinates of the public key; owned
};

// In a heap copy.
static struct str base64url_heap(const unsigned char *p, size_t n)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    base64url_encode(&b, str_n(p, n));
    return mem_str(buf_view(&b));
}

static bool load_public_key(struct token_signer *t)
{
    unsigned char point[65];
    size_t n = 0;
    if (EVP_PKEY_get_octet_string_param(t->key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &n) !=
            1 ||
        n != sizeof point || point[0] != 4)
        return false;
    t->x = base64url_heap(point + 1, 32);
    t->y = base64url_heap(point + 33, 32);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256(point, sizeof point, digest);
    t->kid = base64url_heap(digest, sizeof digest);
    return true;
}

int token_signer_new(struct env *env, struct str pem, struct str issuer, struct token_signer **ret,
                     struct err *e)
{
    BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
    BIO_free(b);
    struct token_signer *t = mem_zalloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->env = env;
    t->key = key;
    t->issuer = mem_str(issuer);
    if (!key || !load_public_key(t)) {
        token_signer_free(t);
        return err_set(e, ERR_INTERNAL, "the service account key is not an ECDSA P-256 key");
    }
    *ret = t;
    return 0;
}

void token_signer_free(struct token_signer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < VERIFIED_SLOTS; i++)
        blob_unref(t->verified[i]);
    pthread_mutex_destroy(&t->lock);
    EVP_PKEY_free(t->key);
    free((char *)t->issuer.p);
    free((char *)t->kid.p);
    free((char *)t->x.p);
    free((char *)t->y.p);
    free(t);
}

// DER (what OpenSSL signs) to and from the fixed-size form of JWS.
static bool signature_from_der(const unsigned char *der, size_t n, unsigned char out[64])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32;
    ECDSA_SIG_free(sig);
    return ok;
}

static int signature_to_der(const unsigned char in[64], unsigned char **ret)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(in, 32, NULL), BN_bin2bn(in + 32, 32, NULL));
    int n = i2d_ECDSA_SIG(sig, ret);
    ECDSA_SIG_free(sig);
    return n;
}

static void sign(struct token_signer *t, struct str text, unsigned char out[64])
{
    unsigned char der[128];
    size_t n = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, t->key) == 1 &&
              EVP_DigestSign(ctx, der, &n, (const unsigned char *)text.p, text.n) == 1 &&
              signature_from_der(der, n, out);
    EVP_MD_CTX_free(ctx);
    BUG_ON(!ok);
}

static bool was_verified(struct token_signer *t, struct str jwt)
{
    pthread_mutex_lock(&t->lock);
    bool same = str_eq(blob_view(t->verified[str_hash(jwt) % VERIFIED_SLOTS]), jwt);
    pthread_mutex_unlock(&t->lock);
    return same;
}

static void remember_verified(struct token_signer *t, struct str jwt)
{
    struct blob *b = blob_new(jwt);
    pthread_mutex_lock(&t->lock);
    struct blob **slot = &t->verified[str_hash(jwt) % VERIFIED_SLOTS], *old = *slot;
    *slot = b;
    pthread_mutex_unlock(&t->lock);
    blob_unref(old);
}

static bool verify(struct token_signer *t, struct str text, struct str signature)
{
    if (signature.n != SIGNATURE_BYTES)
        return false;
    unsigned char *der = NULL;
    int n = signature_to_der((const unsigned char *)signature.p, &der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = n > 0 && ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, t->key) == 1 &&
              EVP_DigestVerify(ctx, der, (size_t)n, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return ok;
}

static void set_reference(struct arena *a, struct value *claims, const char *key, struct str name,
                          struct str uid)
{
    if (!name.n)
        return;
    struct value *v = value_object(a);
    value_setc(a, v, "name", value_str(a, name));
    if (uid.n)
        value_setc(a, v, "uid", value_str(a, uid));
    value_setc(a, claims, key, v);
}

struct str token_sign(struct token_signer *t, struct arena *a, const struct token_claims *c)
{
    struct value *bound = value_object(a);
    value_setc(a, bound, "namespace", value_str(a, c->ns));
    set_reference(a, bound, "node", c->node_name, c->node_uid);
    set_reference(a, bound, "pod", c->pod_name, c->pod_uid);
    set_reference(a, bound, "secret", c->secret_name, c->secret_uid);
    set_reference(a, bound, "serviceaccount", c->service_account, c->service_account_uid);
    struct value *audiences = value_array(a);
    for (size_t i = 0; i < c->naudiences; i++)
        value_push(a, audiences, value_str(a, c->audiences[i]));
    if (c->naudiences == 0)
        value_push(a, audiences, value_str(a, t->issuer));
    struct value *claims = value_object(a);
    value_setc(a, claims, "aud", audiences);
    if (c->expires_s)
        value_setc(a, claims, "exp", value_int(a, c->expires_s));
    value_setc(a, claims, "iat", value_int(a, c->issued_s));
    value_setc(a, claims, "iss", value_str(a, t->issuer));
    if (c->id.n)
        value_setc(a, claims, "jti", value_str(a, c->id));
    value_setc(a, claims, "kubernetes.io", bound);
    value_setc(a, claims, "nbf", value_int(a, c->issued_s));
    value_setc(a, claims, "sub",
               value_str(a, arena_printf(a, "system:serviceaccount:%.*s:%.*s", STR_ARG(c->ns),
                                         STR_ARG(c->service_account))));
    struct str payload = json_text(a, claims);
    struct str header = arena_printf(a, "{\"alg\":\"ES256\",\"kid\":\"%.*s\"}", STR_ARG(t->kid));
    _cleanup_buf_ struct buf b = BUF_INIT;
    base64url_encode(&b, header);
    buf_char(&b, '.');
    base64url_encode(&b, payload);
    unsigned char signature[SIGNATURE_BYTES];
    sign(t, buf_view(&b), signature);
    buf_char(&b, '.');
    base64url_encode(&b, str_n(signature, sizeof signature));
    return arena_str(a, buf_view(&b));
}

static int refuse(struct err *e, const char *why)
{
    return err_set(e, ERR_UNAUTHORIZED, "%s", why);
}

static int read_part(struct arena *a, struct str part, struct value **ret, struct err *e)
{
    struct str text;
    if (!base64url_decode(a, part, &text) ||
        json_parse(a, text, &(struct json_options){0}, ret, NULL) < 0 ||
        !value_is(*ret, VALUE_OBJECT))
        return refuse(e, "the bearer token is not a JSON web token");
    return 0;
}

static int check_audience(struct arena *a, const struct value *aud, struct str wanted,
                          struct token_claims *c, struct err *e)
{
    bool found = false;
    struct str *list = arena_array(a, struct str, value_len(aud) + 1);
    value_each_item (aud, item) {
        list[c->naudiences++] = value_string(item);
        found = found || str_eq(value_string(item), wanted);
    }
    c->audiences = list;
    return found ? 0 : refuse(e, "the bearer token is for another audience");
}

int token_verify(struct token_signer *t, struct arena *a, struct str jwt, struct str audience,
                 struct token_claims *ret, struct err *e)
{
    if (jwt.n > TOKEN_MAX)
        return refuse(e, "the bearer token is too long");
    ptrdiff_t last = str_rchr(jwt, '.');
    struct str rest = last < 0 ? STR_NULL : str_sub(jwt, 0, (size_t)last);
    struct str signed_text = rest, header_part = str_cut(&rest, '.'), signature;
    struct value *header, *claims;
    int r;
    if (last < 0 || !rest.p || str_chr(rest, '.') >= 0)
        return refuse(e, "the bearer token is not a JSON web token");
    if ((r = read_part(a, header_part, &header, e)))
        return r;
    if (!str_eqc(value_str_at(header, "alg"), "ES256") ||
        !str_eq(value_str_at(header, "kid"), t->kid))
        return refuse(e, "the bearer token was not signed by this cluster");
    if (!was_verified(t, jwt)) {
        if (!base64url_decode(a, str_from(jwt, (size_t)last + 1), &signature) ||
            !verify(t, signed_text, signature))
            return refuse(e, "the bearer token's signature does not hold");
        remember_verified(t, jwt);
    }
    if ((r = read_part(a, rest, &claims, e)))
        return r;
    const struct value *bound = value_getc(claims, "kubernetes.io");
    int64_t now = env_now(t->env) / NS_PER_S;
    struct token_claims c = {
        .ns = value_str_at(bound, "namespace"),
        .service_account = value_str_at(bound, "serviceaccount.name"),
        .service_account_uid = value_str_at(bound, "serviceaccount.uid"),
        .pod_name = value_str_at(bound, "pod.name"),
        .pod_uid = value_str_at(bound, "pod.uid"),
        .node_name = value_str_at(bound, "node.name"),
        .node_uid = value_str_at(bound, "node.uid"),
        .secret_name = value_str_at(bound, "secret.name"),
        .secret_uid = value_str_at(bound, "secret.uid"),
        .issued_s = value_int_at(claims, "iat", 0),
        .expires_s = value_int_at(claims, "exp", 0),
        .id = value_str_at(claims, "jti"),
    };
    if (!str_eq(value_str_at(claims, "iss"), t->issuer) || !c.ns.n || !c.service_account.n)
        return refuse(e, "the bearer token is not a service account token of this cluster");
    if (c.expires_s && now >= c.expires_s + CLOCK_SKEW_S)
        return refuse(e, "the bearer token has expired");
    if (now + CLOCK_SKEW_S < value_int_at(claims, "nbf", 0))
        return refuse(e, "the bearer token is not valid yet");
    if ((r = check_audience(a, value_getc(claims, "aud"), audience.n ? audience : t->issuer, &c,
                            e)))
        return r;
    *ret = c;
    return 0;
}

struct str token_jwks(struct token_signer *t, struct arena *a)
{
    return arena_printf(
        a,
        "{\"keys\":[{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"%.*s\",\"crv\":\"P-256\","
        "\"alg\":\"ES256\",\"x\":\"%.*s\",\"y\":\"%.*s\"}]}",
        STR_ARG(t->kid), STR_ARG(t->x), STR_ARG(t->y));
}

struct str token_openid_configuration(struct token_signer *t, struct arena *a)
{
    return arena_printf(a,
                        "{\"issuer\":\"%.*s\",\"jwks_uri\":\"%.*s/openid/v1/jwks\","
                        "\"response_types_supported\":[\"id_token\"],"
                        "\"subject_types_supported\":[\"public\"],"
                        "\"id_token_signing_alg_values_supported\":[\"ES256\"]}",
                        STR_ARG(t->issuer), STR_ARG(t->issuer));
}
