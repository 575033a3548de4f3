// From credentials to an identity. Methods are tried in the order of the table below; the first
// that finds its credential decides: a bad token is 401 even if a certificate would have done.
// Without any, the caller is system:anonymous. Impersonation comes last, on top of whoever that is.
#include "apiserver/auth.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/time.h"

#define IMPERSONATE_MAX 64 // groups or extra values

struct authn {
    struct env *env;
    struct cache *cache;
    struct token_signer *tokens;
    const struct kind *service_accounts, *pods, *secrets, *nodes;
};

static const struct kind *core_kind(struct str resource)
{
    const struct kind *k = kind_by_resource(STR(""), STR("v1"), resource);
    BUG_ON(!k);
    return k;
}

struct authn *authn_new(struct env *env, struct cache *cache, struct token_signer *tokens)
{
    struct authn *n = mem_zalloc(sizeof *n);
    *n = (struct authn){.env = env,
                        .cache = cache,
                        .tokens = tokens,
                        .service_accounts = core_kind(STR("serviceaccounts")),
                        .pods = core_kind(STR("pods")),
                        .secrets = core_kind(STR("secrets")),
                        .nodes = core_kind(STR("nodes"))};
    return n;
}

void authn_free(struct authn *n)
{
    free(n);
}

#define DELETION_LEEWAY (60 * NS_PER_S) // a token outlives the end of what it is bound to by this

// Whether the object that a token is bound to still is the one it was, and not being deleted.
static bool still_there(struct authn *n, struct arena *a, const struct kind *k, struct str ns,
                        struct str name, struct str uid)
{
    _cleanup_object_ struct object *o = cache_get(n->cache, k, ns, name);
    if (!o)
        return false;
    const struct value *meta = object_metadata(a, o);
    struct str deleted = value_string(value_getc(meta, "deletionTimestamp"));
    int64_t end;
    if (deleted.n && time_parse_rfc3339(deleted, &end) && end + DELETION_LEEWAY < env_now(n->env))
        return false;
    return !uid.n || str_eq(value_str_at(meta, "uid"), uid);
}

// The object that a token is bound to is one of these. Beside a pod the node is only told: the pod
// ends before its node does.
static bool bound_holds(struct authn *n, struct arena *a, const struct token_claims *c)
{
    if (!still_there(n, a, n->service_accounts, c->ns, c->service_account, c->service_account_uid))
        return false;
    if (c->secret_name.n && !still_there(n, a, n->secrets, c->ns, c->secret_name, c->secret_uid))
        return false;
    if (c->pod_name.n)
        return still_there(n, a, n->pods, c->ns, c->pod_name, c->pod_uid);
    return !c->node_name.n || still_there(n, a, n->nodes, STR_NULL, c->node_name, c->node_uid);
}

static void extra_add(struct arena *a, struct value *extra, const char *key, struct str v)
{
    if (!v.n)
        return;
    struct value *list = value_array(a);
    value_push(a, list, value_str(a, v));
    value_setc(a, extra, key, list);
}

static int unauthorized(struct err *e)
{
    return err_set(e, ERR_UNAUTHORIZED, "Unauthorized");
}

int authn_token(struct authn *n, struct arena *a, struct str token, struct str audience,
                struct identity *ret, struct err *e)
{
    struct token_claims c;
    _cleanup_err_ struct err why = ERR_INIT;
    if (!n->tokens || token_verify(n->tokens, a, token, audience, &c, &why) < 0)
        return unauthorized(e);
    if (!bound_holds(n, a, &c))
        return unauthorized(e);
    struct str *groups = arena_array(a, struct str, 3);
    groups[0] = STR("system:serviceaccounts");
    groups[1] = arena_printf(a, "system:serviceaccounts:%.*s", STR_ARG(c.ns));
    groups[2] = STR("system:authenticated");
    struct value *extra = value_object(a);
    if (c.id.n)
        extra_add(a, extra, "authentication.kubernetes.io/credential-id",
                  arena_printf(a, "JTI=%.*s", STR_ARG(c.id)));
    extra_add(a, extra, "authentication.kubernetes.io/node-name", c.node_name);
    extra_add(a, extra, "authentication.kubernetes.io/node-uid", c.node_uid);
    extra_add(a, extra, "authentication.kubernetes.io/pod-name", c.pod_name);
    extra_add(a, extra, "authentication.kubernetes.io/pod-uid", c.pod_uid);
    *ret = (struct identity){
        .user = arena_printf(a, "system:serviceaccount:%.*s:%.*s", STR_ARG(c.ns),
                             STR_ARG(c.service_account)),
        .uid = arena_str(a, c.service_account_uid),
        .groups = groups,
        .ngroups = 3,
        .extra = extra,
    };
    return 0;
}

// Each method: 1 decided (ret is set), 0 not its credential, negative refused.
static int by_bearer(struct authn *n, struct arena *a, const struct http_request *r,
                     struct identity *ret, struct err *e)
{
    struct str rest = http_header(r, "authorization"), scheme = str_cut(&rest, ' ');
    if (!str_ieq(scheme, STR("bearer")))
        return 0;
    int result = authn_token(n, a, str_trim(rest), STR_NULL, ret, e);
    return result < 0 ? result : 1;
}

static int by_certificate(struct authn *n, struct arena *a, const struct http_request *r,
                          struct identity *ret, struct err *e)
{
    (void)n;
    const struct tls_peer *peer = r->peer;
    if (!peer)
        return 0;
    if (!peer->common_name.n)
        return unauthorized(e);
    struct str *groups = arena_array(a, struct str, peer->norganizations + 1);
    for (size_t i = 0; i < peer->norganizations; i++)
        groups[i] = peer->organizations[i];
    groups[peer->norganizations] = STR("system:authenticated");
    struct value *extra = value_object(a);
    if (peer->serial_hex.n)
        extra_add(a, extra, "authentication.kubernetes.io/credential-id",
                  arena_printf(a, "X509SERIAL=%.*s", STR_ARG(peer->serial_hex)));
    *ret = (struct identity){.user = peer->common_name,
                             .groups = groups,
                             .ngroups = peer->norganizations + 1,
                             .extra = extra};
    return 1;
}

static int by_nothing(struct authn *n, struct arena *a, const struct http_request *r,
                      struct identity *ret, struct err *e)
{
    (void)n, (void)a, (void)e;
    // Credentials of a kind that is not known here must not pass as anonymous.
    if (http_header(r, "authorization").p)
        return unauthorized(e);
    static const struct str groups[] = {STR("system:unauthenticated")};
    *ret = (struct identity){.user = STR("system:anonymous"), .groups = groups, .ngroups = 1};
    return 1;
}

static int (*const methods[])(struct authn *, struct arena *, const struct http_request *,
                              struct identity *, struct err *) = {
    by_bearer,
    by_certificate,
    by_nothing,
};

// --- impersonation ---

static int may_impersonate(struct authz *z, const struct identity *who, struct str group,
                           struct str resource, struct str subresource, struct str ns,
                           struct str name, struct err *e)
{
    struct authz_attributes at = {.who = who,
                                  .verb = STR("impersonate"),
                                  .group = group,
                                  .version = STR("v1"),
                                  .resource = resource,
                                  .subresource = subresource,
                                  .ns = ns,
                                  .name = name};
    return authz_check(z, &at, e);
}

// "system:serviceaccount:NS:NAME"
static bool service_account_user(struct str user, struct str *ns, struct str *name)
{
    struct str prefix = STR("system:serviceaccount:");
    if (!str_starts(user, prefix))
        return false;
    *name = str_from(user, prefix.n);
    *ns = str_cut(name, ':');
    return ns->n > 0 && name->n > 0;
}

static size_t collect_groups(struct arena *a, const struct http_request *r, struct str **ret)
{
    struct str *groups = arena_array(a, struct str, IMPERSONATE_MAX + 4);
    size_t n = 0;
    for (size_t i = 0; i < r->nheaders && n < IMPERSONATE_MAX; i++)
        if (str_eqc(r->headers[i].name, "impersonate-group"))
            groups[n++] = r->headers[i].value;
    *ret = groups;
    return n;
}

static int collect_extra(struct authz *z, struct arena *a, const struct http_request *r,
                         const struct identity *who, struct value *extra, struct err *e)
{
    struct str prefix = STR("impersonate-extra-");
    for (size_t i = 0; i < r->nheaders; i++) {
        if (!str_starts(r->headers[i].name, prefix))
            continue;
        struct str key = str_from(r->headers[i].name, prefix.n), v = r->headers[i].value;
        int result = may_impersonate(z, who, STR("authentication.k8s.io"), STR("userextras"), key,
                                     STR_NULL, v, e);
        if (result < 0)
            return result;
        struct value *list = value_get(extra, key);
        if (!list)
            value_set(a, extra, key, list = value_array(a));
        value_push(a, list, value_str(a, v));
    }
    return 0;
}

static int impersonate(struct authz *z, struct arena *a, const struct http_request *r,
                       struct identity *who, struct err *e)
{
    struct str user = http_header(r, "impersonate-user"), uid = http_header(r, "impersonate-uid");
    struct str *groups, ns = STR_NULL, name = STR_NULL;
    size_t n = collect_groups(a, r, &groups);
    struct value *extra = value_object(a);
    int result;
    if (!user.n) {
        if (n > 0 || uid.n)
            return err_set(e, ERR_INTERNAL, "requested %s without impersonating a user",
                           n > 0 ? "groups" : "uid");
        return 0;
    }
    bool account = service_account_user(user, &ns, &name);
    if (account)
        result = may_impersonate(z, who, STR_NULL, STR("serviceaccounts"), STR_NULL, ns, name, e);
    else
        result = may_impersonate(z, who, STR_NULL, STR("users"), STR_NULL, STR_NULL, user, e);
    if (result < 0)
        return result;
    for (size_t i = 0; i < n; i++)
        if ((result = may_impersonate(z, who, STR_NULL, STR("groups"), STR_NULL, STR_NULL,
                                      groups[i], e)) < 0)
            return result;
    if (uid.n && (result = may_impersonate(z, who, STR("authentication.k8s.io"), STR("uids"),
                                           STR_NULL, STR_NULL, uid, e)) < 0)
        return result;
    if ((result = collect_extra(z, a, r, who, extra, e)) < 0)
        return result;
    if (account && n == 0) {
        groups[n++] = STR("system:serviceaccounts");
        groups[n++] = arena_printf(a, "system:serviceaccounts:%.*s", STR_ARG(ns));
    }
    bool anonymous = str_eqc(user, "system:anonymous"), has = false;
    struct str own = anonymous ? STR("system:unauthenticated") : STR("system:authenticated");
    for (size_t i = 0; i < n; i++)
        has = has || str_eq(groups[i], own);
    if (!has)
        groups[n++] = own;
    *who =
        (struct identity){.user = user, .uid = uid, .groups = groups, .ngroups = n, .extra = extra};
    return 0;
}

int authn_request(struct authn *n, struct authz *z, struct arena *a, const struct http_request *r,
                  struct identity *ret, struct err *e)
{
    struct identity who = {0};
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof methods / sizeof *methods; i++)
        result = methods[i](n, a, r, &who, e);
    if (result < 0)
        return result;
    if ((result = impersonate(z, a, r, &who, e)) < 0)
        return result;
    *ret = who;
    return 0;
}
