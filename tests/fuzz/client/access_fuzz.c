// The Authorization header. Behind it stands an API that takes one token for good: whatever else
// the header holds, it is a refusal, and what is asked about is never empty, long or unprintable.
#include "base/env.h"
#include "base/err.h"
#include "client/access.h"
#include <stdint.h>

static int call(struct client *c, const struct api_request *r, struct api_answer *ret,
                struct err *e)
{
    (void)c, (void)e;
    struct str token = value_str_at(r->body, "spec.token");
    BUG_ON(!token.n || token.n > ACCESS_TOKEN_MAX);
    for (size_t i = 0; i < token.n; i++)
        BUG_ON(token.p[i] <= 0x20 || token.p[i] >= 0x7f);
    bool good = str_eqc(token, "good");
    ret->value = value_object(&ret->arena);
    value_set_at(&ret->arena, ret->value, "status.authenticated", value_bool(&ret->arena, good));
    value_set_at(&ret->arena, ret->value, "status.user.username", value_strc(&ret->arena, "u"));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct client_ops ops = {.call = call};
    static struct client client;
    static struct access *access;
    if (!access) {
        client = (struct client){&ops, env_system(), STR("fuzz")};
        access = access_new(&client);
    }
    struct err e = ERR_INIT;
    struct access_caller *who = NULL;
    const struct access_credentials given = {.authorization = str_n(data, n)};
    int r = access_who(access, &given, &who, &e);
    BUG_ON((r == 0) != (who != NULL) || (r < 0 && r != -401) || (r < 0) != (e.message != NULL));
    if (who)
        BUG_ON(access_is_anonymous(who) || !str_eqc(access_identity(who)->user, "u"));
    access_caller_unref(who);
    err_done(&e);
    return 0;
}
