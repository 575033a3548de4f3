// Keys, certificates, passwords: real ones, made with OpenSSL and, for bcrypt, the system's crypt.
// Randomness is OpenSSL's, but for salts.
#include "object/base64.h"
#include "template/sprig.h"
#include <arpa/inet.h>
#include <crypt.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define ARENA(c)  template_arena(c)
#define FN(name)  static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N  (void)n
#define S(i)      value_string(args[i])
#define NAMES_MAX 1000

static struct value *failed(struct template_call *c, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return template_fail(c, "%s: %s", what, text);
}

static struct value *bio_text(struct template_call *c, BIO *bio)
{
    char *p;
    long size = BIO_get_mem_data(bio, &p);
    struct value *v = sprig_string(c, arena_str(ARENA(c), str_n(p, (size_t)size)));
    BIO_free(bio);
    return v;
}

// ---- Keys ----

static EVP_PKEY *key_new(struct str kind)
{
    if (str_eqc(kind, "ecdsa"))
        return EVP_EC_gen("P-256");
    if (str_eqc(kind, "ed25519"))
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_RSA_gen(str_eqc(kind, "rsa") ? 4096 : 2048);
}

static struct value *key_text(struct template_call *c, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
    return bio_text(c, bio);
}

static EVP_PKEY *key_read(struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    return key;
}

FN(fn_gen_private_key)
{
    UNUSED_N;
    struct str kind = S(0);
    if (str_eqc(kind, "dsa"))
        return template_fail(c, "DSA keys are not made any more");
    if (kind.n && !str_eqc(kind, "rsa") && !str_eqc(kind, "ecdsa") && !str_eqc(kind, "ed25519"))
        return template_fail(c, "Unknown type %.*s", STR_ARG(kind));
    EVP_PKEY *key = key_new(kind.n ? kind : STR("rsa"));
    if (!key)
        return failed(c, "failed to generate private key");
    struct value *v = key_text(c, key);
    EVP_PKEY_free(key);
    return v;
}

// ---- Certificates ----

static const struct template_type certificate_type = {.name = "sprig.certificate"};

static struct value *certificate(struct template_call *c, struct value *cert, struct value *key)
{
    struct template_thing *t = arena_new(ARENA(c), struct template_thing);
    t->type = &certificate_type;
    t->fields = value_object(ARENA(c));
    value_setc(ARENA(c), t->fields, "Cert", cert);
    value_setc(ARENA(c), t->fields, "Key", key);
    return template_thing_value(ARENA(c), t);
}

struct sprig_request {
    struct str name;
    const struct value *ips, *dns;
    int64_t days;
    bool authority;
    X509 *signer; // NULL: itself
    EVP_PKEY *signer_key, *key;
};

static bool extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

// Alternative names; false: an address that is none.
static bool names_add(X509 *x, const struct sprig_request *r)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = true;
    for (int kind = 0; kind < 2; kind++) {
        value_each_item (kind ? r->ips : r->dns, item) {
            GENERAL_NAME *g = GENERAL_NAME_new();
            struct str s = value_string(item);
            unsigned char address[16];
            char text[64];
            ASN1_STRING *out =
                kind ? (ASN1_STRING *)ASN1_OCTET_STRING_new() : (ASN1_STRING *)ASN1_IA5STRING_new();
            if (!kind) {
                ASN1_STRING_set(out, s.p ? s.p : "", (int)s.n);
            } else {
                snprintf(text, sizeof text, "%.*s", STR_ARG(s));
                bool v4 = inet_pton(AF_INET, text, address) == 1;
                ok &= v4 || inet_pton(AF_INET6, text, address) == 1;
                ASN1_STRING_set(out, address, v4 ? 4 : 16);
            }
            GENERAL_NAME_set0_value(g, kind ? GEN_IPADD : GEN_DNS, out);
            sk_GENERAL_NAME_push(names, g);
        }
    }
    if (ok && sk_GENERAL_NAME_num(names) > 0)
        ok = X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

static X509 *certificate_make(struct template_call *c, const struct sprig_request *r)
{
    X509 *x = X509_new();
    unsigned char serial[16];
    X509V3_CTX ctx;
    RAND_bytes(serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
    BN_free(number);
    X509_set_version(x, X509_VERSION_3);
    int64_t now = env_now(template_env(c)) / 1000000000;
    ASN1_TIME_set(X509_getm_notBefore(x), (time_t)now);
    X509_time_adj_ex(X509_getm_notAfter(x), (int)r->days, 0, &(time_t){(time_t)now});
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)(r->name.p ? r->name.p : ""), (int)r->name.n,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(r->signer ? r->signer : x));
    X509_set_pubkey(x, r->key);
    X509V3_set_ctx(&ctx, r->signer ? r->signer : x, x, NULL, NULL, 0);
    bool ok = extension(x, &ctx, NID_key_usage,
                        r->authority ? "critical,digitalSignature,keyEncipherment,keyCertSign"
                                     : "critical,digitalSignature,keyEncipherment") &&
              extension(x, &ctx, NID_ext_key_usage, "serverAuth,clientAuth") &&
              extension(x, &ctx, NID_basic_constraints,
                        r->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (ok && r->authority)
        ok = extension(x, &ctx, NID_subject_key_identifier, "hash");
    if (ok && r->signer)
        extension(x, &ctx, NID_authority_key_identifier, "keyid"); // where the signer has one
    ok = ok && names_add(x, r) &&
         X509_sign(x, r->signer_key ? r->signer_key : r->key, EVP_sha256()) > 0;
    if (ok)
        return x;
    X509_free(x);
    return NULL;
}

static struct value *issued(struct template_call *c, struct sprig_request *r,
                            const struct value *key_pem)
{
    if (r->days > 365 * 2000 || value_len(r->ips) > NAMES_MAX || value_len(r->dns) > NAMES_MAX)
        return template_fail(c, "too long a time or too many names");
    r->key = key_pem ? key_read(value_string(key_pem)) : key_new(STR(""));
    X509 *x = r->key ? certificate_make(c, r) : NULL;
    struct value *v = NULL;
    if (x) {
        BIO *bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(bio, x);
        struct value *cert = bio_text(c, bio);
        v = certificate(c, cert, key_text(c, r->key));
    }
    X509_free(x);
    EVP_PKEY_free(r->key);
    return v ? v : failed(c, "error creating certificate");
}

// param: 1 the key is given last
FN(fn_gen_ca)
{
    UNUSED_N;
    struct sprig_request r = {.name = S(0), .days = args[1]->i, .authority = true};
    return issued(c, &r, template_param(c) ? args[2] : NULL);
}
FN(fn_gen_self_signed)
{
    UNUSED_N;
    struct sprig_request r = {.name = S(0), .ips = args[1], .dns = args[2], .days = args[3]->i};
    return issued(c, &r, template_param(c) ? args[4] : NULL);
}
FN(fn_gen_signed)
{
    UNUSED_N;
    if (args[4]->kind != TEMPLATE_HOST)
        return template_fail(c, "wrong type for value; expected sprig.certificate; got %s",
                             template_type_name(args[4]));
    struct value *ca = template_thing_of(args[4])->fields;
    struct str pem = value_str_at(ca, "Cert");
    struct sprig_request r = {.name = S(0), .ips = args[1], .dns = args[2], .days = args[3]->i};
    BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    r.signer = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    r.signer_key = key_read(value_str_at(ca, "Key"));
    struct value *v = r.signer && r.signer_key ? issued(c, &r, template_param(c) ? args[5] : NULL)
                                               : failed(c, "error parsing certificate");
    X509_free(r.signer);
    EVP_PKEY_free(r.signer_key);
    return v;
}
FN(fn_build_custom)
{
    UNUSED_N;
    struct str cert, key;
    if (!base64_bytes(ARENA(c), S(0), &cert))
        return template_fail(c, "unable to decode base64 certificate");
    if (!base64_bytes(ARENA(c), S(1), &key))
        return template_fail(c, "unable to decode base64 private key");
    if (!str_starts(cert, STR("-----BEGIN")))
        return template_fail(c, "unable to decode certificate");
    if (!str_starts(key, STR("-----BEGIN")))
        return template_fail(c, "unable to decode private key");
    return certificate(c, sprig_string(c, cert), sprig_string(c, key));
}

// ---- Passwords ----

static struct value *bcrypt(struct template_call *c, struct str password, const char *before)
{
    struct crypt_data *data = mem_zalloc(sizeof *data);
    char salt[16], setting[CRYPT_GENSALT_OUTPUT_SIZE];
    env_random(template_env(c), salt, sizeof salt);
    const char *hash = crypt_gensalt_rn("$2a$", 10, salt, sizeof salt, setting, sizeof setting)
                           ? crypt_r(arena_cstr(ARENA(c), password), setting, data)
                           : NULL;
    struct value *v = hash && hash[0] == '$'
                          ? sprig_string(c, arena_printf(ARENA(c), "%s%s", before, hash))
                          : template_fail(c, "failed to encrypt string with bcrypt");
    free(data);
    return v;
}
FN(fn_bcrypt)
{
    UNUSED_N;
    return bcrypt(c, S(0), "");
}
FN(fn_htpasswd)
{
    UNUSED_N;
    if (str_chr(S(0), ':') >= 0)
        return sprig_string(c, arena_printf(ARENA(c), "invalid username: %.*s", STR_ARG(S(0))));
    return bcrypt(c, S(1), arena_printf(ARENA(c), "%.*s:", STR_ARG(S(0))).p);
}

// The Master Password algorithm, version 3.
static const struct {
    char letter;
    const char *characters;
} password_classes[] = {
    {'V', "AEIOU"},
    {'C', "BCDFGHJKLMNPQRSTVWXYZ"},
    {'v', "aeiou"},
    {'c', "bcdfghjklmnpqrstvwxyz"},
    {'A', "AEIOUBCDFGHJKLMNPQRSTVWXYZ"},
    {'a', "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"},
    {'n', "0123456789"},
    {'o', "@&%?,=[]_:-+*$#!'^~;()/."},
    {'x', "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()"},
};
static const struct {
    const char *kind, *templates; // separated by spaces
} password_kinds[] = {
    {"maximum", "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno"},
    {"long",
     "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv CvccCvcvCvcvno "
     "CvcvnoCvccCvcv CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc CvcvCvcvnoCvcc CvcvCvcvCvccno "
     "CvccnoCvccCvcv CvccCvccnoCvcv CvccCvccCvcvno CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno "
     "CvccnoCvcvCvcc CvccCvcvnoCvcc CvccCvcvCvccno"},
    {"medium", "CvcnoCvc CvcCvcno"},
    {"short", "Cvcn"},
    {"basic", "aaanaaan aannaaan aaannaaa"},
    {"pin", "nnnn"},
};

static void be32_add(struct buf *b, uint64_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_char(b, (char)(v >> shift));
}

FN(fn_derive_password)
{
    UNUSED_N;
    struct str kind = S(1), password = S(2), user = S(3), site = S(4);
    const char *templates = NULL;
    for (size_t i = 0; i < sizeof password_kinds / sizeof *password_kinds; i++)
        if (str_eqc(kind, password_kinds[i].kind))
            templates = password_kinds[i].templates;
    if (!templates)
        return sprig_string(
            c, arena_printf(ARENA(c), "cannot find password template %.*s", STR_ARG(kind)));
    static const char scope[] = "com.lyndir.masterpassword";
    struct buf salt = BUF_MAX((size_t)1 << 20), seed_text = BUF_MAX((size_t)1 << 20);
    unsigned char key[64], seed[32];
    unsigned size = sizeof seed;
    buf_puts(&salt, scope);
    be32_add(&salt, user.n);
    buf_str(&salt, user);
    int ok = EVP_PBE_scrypt(password.p ? password.p : "", password.n, (unsigned char *)salt.p,
                            salt.n, 32768, 8, 2, (uint64_t)64 << 20, key, sizeof key);
    buf_puts(&seed_text, scope);
    be32_add(&seed_text, site.n);
    buf_str(&seed_text, site);
    be32_add(&seed_text, (uint64_t)args[0]->i);
    HMAC(EVP_sha256(), key, sizeof key, (unsigned char *)seed_text.p, seed_text.n, seed, &size);
    buf_done(&salt);
    buf_done(&seed_text);
    if (ok != 1)
        return failed(c, "failed to derive password");
    size_t count = 0;
    struct str all[32];
    for (struct str rest = str_of(templates); rest.p;)
        all[count++] = str_cut(&rest, ' ');
    struct str t = all[seed[0] % count];
    char out[32];
    for (size_t i = 0; i < t.n; i++)
        for (size_t k = 0; k < sizeof password_classes / sizeof *password_classes; k++)
            if (password_classes[k].letter == t.p[i])
                out[i] = password_classes[k]
                             .characters[seed[i + 1] % strlen(password_classes[k].characters)];
    return sprig_string(c, arena_str(ARENA(c), str_n(out, t.n)));
}

// ---- AES-256-CBC, the vector in front, PKCS7 padding, base64 ----

static void aes_key(struct str password, unsigned char key[32])
{
    memset(key, 0, 32);
    memcpy(key, password.p ? password.p : "", password.n < 32 ? password.n : 32);
}

FN(fn_encrypt)
{
    UNUSED_N;
    struct str text = S(1);
    unsigned char key[32], *out = arena_alloc(ARENA(c), text.n + 64);
    int first = 0, last = 0;
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    aes_key(S(0), key);
    env_random(template_env(c), out, 16);
    bool ok = EVP_EncryptInit_ex(x, EVP_aes_256_cbc(), NULL, key, out) == 1 &&
              EVP_EncryptUpdate(x, out + 16, &first, (const unsigned char *)(text.p ? text.p : ""),
                                (int)text.n) == 1 &&
              EVP_EncryptFinal_ex(x, out + 16 + first, &last) == 1;
    EVP_CIPHER_CTX_free(x);
    if (!ok)
        return failed(c, "encryption failed");
    return sprig_string(c, base64_text(ARENA(c), str_n(out, (size_t)(16 + first + last))));
}
FN(fn_decrypt)
{
    UNUSED_N;
    struct str bytes;
    unsigned char key[32];
    int first = 0, last = 0;
    if (!base64_bytes(ARENA(c), S(1), &bytes) || bytes.n < 32)
        return template_fail(c, "illegal base64 data at input byte 0");
    unsigned char *out = arena_alloc(ARENA(c), bytes.n + 32);
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    aes_key(S(0), key);
    const unsigned char *p = (const unsigned char *)bytes.p;
    bool ok = EVP_DecryptInit_ex(x, EVP_aes_256_cbc(), NULL, key, p) == 1 &&
              EVP_DecryptUpdate(x, out, &first, p + 16, (int)bytes.n - 16) == 1 &&
              EVP_DecryptFinal_ex(x, out + first, &last) == 1;
    EVP_CIPHER_CTX_free(x);
    if (!ok)
        return failed(c, "decryption failed");
    return sprig_string(c, str_n(out, (size_t)(first + last)));
}

static const struct template_function rows[] = {
    {"bcrypt", "s", fn_bcrypt},
    {"buildCustomCert", "ss", fn_build_custom},
    {"decryptAES", "ss", fn_decrypt},
    {"derivePassword", "Issss", fn_derive_password},
    {"encryptAES", "ss", fn_encrypt},
    {"genCA", "si", fn_gen_ca, 0},
    {"genCAWithKey", "sis", fn_gen_ca, 1},
    {"genPrivateKey", "s", fn_gen_private_key},
    {"genSelfSignedCert", "slli", fn_gen_self_signed, 0},
    {"genSelfSignedCertWithKey", "sllis", fn_gen_self_signed, 1},
    {"genSignedCert", "sllia", fn_gen_signed, 0},
    {"genSignedCertWithKey", "sllias", fn_gen_signed, 1},
    {"htpasswd", "ss", fn_htpasswd},
};
const struct template_functions sprig_crypto = {rows, sizeof rows / sizeof *rows};
