// Token secrets: fills Secrets of type kubernetes.io/service-account-token with a token of the
// account that their annotation names, the cluster's CA and the namespace; deletes them when the
// account is gone.
//
// The token is asked for through serviceaccounts/token, bound to the secret: deleting the secret
// ends it. It lives for ten years, since who makes such a secret wants a token that does not
// expire.
#include "controller/control.h"
#include "object/base64.h"

#define TYPE          "kubernetes.io/service-account-token"
#define ACCOUNT       "kubernetes.io/service-account.name"
#define ACCOUNT_UID   "kubernetes.io/service-account.uid"
#define TOKEN_SECONDS (10LL * 365 * 24 * 3600)

struct token_secrets {
    struct control *control;
    struct informer *secrets, *accounts;
    struct informer_handler on_secret, on_account;
    struct work_queue *queue;
};

static int request_token(struct token_secrets *c, struct arena *a, const struct value *secret,
                         struct str account, struct str *ret, struct err *e)
{
    struct value *body = value_object(a), *bound = value_object(a);
    value_put(a, body, "kind", STR("TokenRequest"));
    value_put(a, body, "apiVersion", STR("authentication.k8s.io/v1"));
    value_set_at(a, body, "spec.expirationSeconds", value_int(a, TOKEN_SECONDS));
    value_put(a, bound, "kind", STR("Secret"));
    value_put(a, bound, "apiVersion", STR("v1"));
    value_put(a, bound, "name", value_str_at(secret, "metadata.name"));
    value_put(a, bound, "uid", meta_uid(secret));
    value_set_at(a, body, "spec.boundObjectRef", bound);
    _cleanup_answer_ struct api_answer answer = {0};
    struct api_request r = {.verb = VERB_CREATE,
                            .kind = KIND("", "serviceaccounts"),
                            .subresource = STR("token"),
                            .ns = value_str_at(secret, "metadata.namespace"),
                            .name = account,
                            .body = body,
                            .grace_period_seconds = -1};
    int rc = client_call(c->control->client, &r, &answer, e);
    if (rc == 0)
        *ret = arena_str(a, value_str_at(answer.value, "status.token"));
    return rc;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct token_secrets *c = ctx;
    const struct kind *secrets = KIND("", "secrets");
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->secrets, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *secret = object_tree(a, o);
    const struct value *annotations = value_at(secret, "metadata.annotations");
    struct str name = value_string(value_get(annotations, STR(ACCOUNT)));
    if (!str_eqc(value_str_at(secret, "type"), TYPE) || !name.n || meta_deleting(secret))
        return RECONCILE_DONE;
    struct str ns = value_str_at(secret, "metadata.namespace");
    struct str uid = value_string(value_get(annotations, STR(ACCOUNT_UID)));
    _cleanup_object_ struct object *account = NULL;
    _cleanup_err_ struct err why = ERR_INIT;
    // Past the cache: a secret may be made right behind its account.
    int rc = client_get(c->control->client, KIND("", "serviceaccounts"), ns, name, &account, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    struct str live_uid = account ? value_str_at(object_metadata(a, account), "uid") : STR_NULL;
    if (!account || (uid.n && !str_eq(uid, live_uid))) {
        err_done(&why);
        why = ERR_INIT;
        rc = client_delete_tree(c->control->client, secrets, secret, PROPAGATION_DEFAULT, -1, NULL,
                                &why);
        if (rc == 0 || err_is(&why, ERR_NOT_FOUND))
            return RECONCILE_DONE;
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    const struct value *data = value_getc(secret, "data");
    if (value_get(data, STR("token")) && value_get(data, STR("namespace")) && uid.n &&
        (value_get(data, STR("ca.crt")) || !c->control->options->root_ca_pem.n))
        return RECONCILE_DONE;
    struct str token;
    if (request_token(c, a, secret, name, &token, e) < 0)
        return RECONCILE_RETRY;
    struct value *filled = value_object_at(a, secret, "data");
    value_set(a, filled, STR("token"), value_str(a, base64_text(a, token)));
    value_set(a, filled, STR("namespace"), value_str(a, base64_text(a, ns)));
    if (c->control->options->root_ca_pem.n)
        value_set(a, filled, STR("ca.crt"),
                  value_str(a, base64_text(a, c->control->options->root_ca_pem)));
    value_set(a, value_object_at(a, secret, "metadata.annotations"), STR(ACCOUNT_UID),
              value_str(a, live_uid));
    rc = client_update(c->control->client, secrets, secret, NULL, e);
    return rc < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
}

static bool is_token_secret(const struct object *o)
{
    return str_find(blob_view(o->json), STR("\"" TYPE "\"")) >= 0;
}

static void on_secret(void *ctx, struct object *old, struct object *new)
{
    struct token_secrets *c = ctx;
    (void)old;
    if (new &&is_token_secret(new))
        work_queue_add_object(c->queue, new);
}

static void on_account(void *ctx, struct object *old, struct object *new)
{
    struct token_secrets *c = ctx;
    if (old && new)
        return;
    _cleanup_objects_ struct object_list list;
    informer_list(c->secrets, object_namespace(new ? new : old), &list);
    for (size_t i = 0; i < list.n; i++) {
        if (is_token_secret(list.items[i]))
            work_queue_add_object(c->queue, list.items[i]);
    }
}

static void *make(struct control *control)
{
    struct token_secrets *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->secrets = informers_get(control->informers, KIND("", "secrets"));
    c->accounts = informers_get(control->informers, KIND("", "serviceaccounts"));
    c->queue = work_queue_new(control->executor, "token-secret", 1, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct token_secrets *c = self;
    c->on_secret = (struct informer_handler){on_secret, c, NULL};
    c->on_account = (struct informer_handler){on_account, c, NULL};
    informer_add_handler(c->secrets, &c->on_secret);
    informer_add_handler(c->accounts, &c->on_account);
}

static void stop(void *self)
{
    struct token_secrets *c = self;
    informer_remove_handler(c->secrets, &c->on_secret);
    informer_remove_handler(c->accounts, &c->on_account);
    work_queue_free(c->queue);
    free(c);
}

const struct controller_row token_secret_controller = {"token-secret", make, run, stop};
