// Bearer tokens, read before anybody is known: what was not signed here is refused, with a reason.
// An input is a token; where it begins with '+', the rest is laid over a token that holds, so that
// the parts behind the first dot are reached.
#include "apiserver/auth.h"
#include "base/env.h"
#include "base/time.h"
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

static struct token_signer *signer(struct arena *a, struct str *ret_valid)
{
    static struct token_signer *made;
    static char valid[2048];
    static size_t valid_n;
    if (!made) {
        struct env *env = env_sim_new(1, (int64_t)1700000000 * (int64_t)NS_PER_S);
        EVP_PKEY *key = EVP_EC_gen("P-256");
        BIO *bio = BIO_new(BIO_s_mem());
        char *p;
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        long n = BIO_get_mem_data(bio, &p);
        BUG_ON(token_signer_new(env, str_n(p, (size_t)n), STR("https://issuer"), &made, NULL) < 0);
        BIO_free(bio);
        EVP_PKEY_free(key);
        const struct str audience = STR("https://issuer");
        const struct token_claims c = {.ns = STR("default"),
                                       .service_account = STR("robot"),
                                       .service_account_uid = STR("u"),
                                       .audiences = &audience,
                                       .naudiences = 1,
                                       .issued_s = 1700000000,
                                       .expires_s = 1700003600,
                                       .id = STR("id")};
        struct str t = token_sign(made, a, &c);
        BUG_ON(t.n > sizeof valid);
        memcpy(valid, t.p, valid_n = t.n);
    }
    *ret_valid = str_n(valid, valid_n);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct token_claims claims;
    struct str valid, jwt = str_n(data, n);
    struct token_signer *t = signer(&a, &valid);
    BUG_ON(token_verify(t, &a, valid, STR_NULL, &claims, NULL) < 0);
    if (n > 2 && data[0] == '+') { // position, then bytes
        char *mixed = memcpy(arena_alloc(&a, valid.n), valid.p, valid.n);
        size_t at = (size_t)data[1] * valid.n / 256, room = valid.n - at;
        memcpy(mixed + at, data + 2, n - 2 < room ? n - 2 : room);
        jwt = str_n(mixed, valid.n);
    }
    if (token_verify(t, &a, jwt, STR_NULL, &claims, &e) == 0)
        BUG_ON(!str_eq(jwt, valid));
    else
        BUG_ON(!err_is(&e, ERR_UNAUTHORIZED));
    err_done(&e);
    arena_done(&a);
    return 0;
}
