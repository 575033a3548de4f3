// Kinds that are questions: who am I, what may I do, is this token good. They are created, answered
// and forgotten; nothing is stored. And componentstatuses, which old clients still list.
#include "apiserver/strategy.h"

static int question(struct op *op, struct err *e)
{
    const struct kind *k = op->kind;
    return op_decode(op, op->request->body, k->type, kind_api_version(k), k->kind, &op->new, e);
}

static int answer(struct op *op)
{
    struct value *meta = value_getc(op->new, "metadata");
    if (!meta)
        value_setc(op->a, op->new, "metadata", meta = value_object(op->a));
    value_delc(meta, "managedFields");
    op->call->answer.created = true;
    op_answer_value(op, op->new);
    return OP_DONE;
}

static struct value *user_info(struct arena *a, const struct identity *who)
{
    struct value *u = value_object(a), *groups = value_array(a);
    value_setc(a, u, "username", value_str(a, who->user));
    if (who->uid.n)
        value_setc(a, u, "uid", value_str(a, who->uid));
    for (size_t i = 0; i < who->ngroups; i++)
        value_push(a, groups, value_str(a, who->groups[i]));
    if (groups->n)
        value_setc(a, u, "groups", groups);
    if (value_len(who->extra))
        value_setc(a, u, "extra", value_clone(a, who->extra));
    return u;
}

static int self_subject(struct op *op, struct err *e)
{
    int r = question(op, e);
    if (r < 0)
        return r;
    value_set_at(op->a, op->new, "status.userInfo", user_info(op->a, &op->call->identity));
    return answer(op);
}

static int token_review(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    int r = question(op, e);
    if (r < 0)
        return r;
    struct str token = value_str_at(op->new, "spec.token");
    if (!token.n)
        return err_set(e, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
    const struct value *audiences = value_at(op->new, "spec.audiences");
    struct identity who = {0};
    struct value *status = value_object(a);
    _cleanup_err_ struct err why = ERR_INIT;
    struct str matched = STR_NULL;
    bool good = false;
    size_t n = value_len(audiences);
    for (size_t i = 0; i < (n ? n : 1) && !good; i++) {
        matched = value_string(value_item(audiences, i));
        err_done(&why);
        good = authn_token(op->server->authn, a, token, matched, &who, &why) >= 0;
    }
    if (good) {
        struct value *list = value_array(a);
        value_push(a, list, value_str(a, matched.n ? matched : op->server->issuer));
        value_setc(a, status, "authenticated", value_bool(a, true));
        value_setc(a, status, "user", user_info(a, &who));
        value_setc(a, status, "audiences", list);
    } else {
        value_setc(a, status, "user", value_object(a));
        value_setc(a, status, "error", value_str(a, arena_str(a, str_of(why.message))));
    }
    value_setc(a, op->new, "status", status);
    return answer(op);
}

static struct identity subject_of(struct op *op, const struct value *spec)
{
    const struct value *groups = value_getc(spec, "groups");
    struct str *list = arena_array(op->a, struct str, value_len(groups) + 1);
    struct identity who = {.user = value_str_at(spec, "user"),
                           .uid = value_str_at(spec, "uid"),
                           .groups = list,
                           .extra = value_getc(spec, "extra")};
    value_each_item (groups, g)
        list[who.ngroups++] = value_string(g);
    return who;
}

static int access_review(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    int r = question(op, e);
    if (r < 0)
        return r;
    const struct value *spec = value_getc(op->new, "spec");
    const struct value *res = value_getc(spec, "resourceAttributes");
    const struct value *other = value_getc(spec, "nonResourceAttributes");
    bool self = str_eqc(op->kind->resource, "selfsubjectaccessreviews");
    if (!res == !other)
        return api_invalid(e, op->kind, STR_NULL, "FieldValueInvalid", "spec.resourceAttributes",
                           "Invalid value: null: exactly one of nonResourceAttributes or "
                           "resourceAttributes must be specified");
    if (!self && !value_str_at(spec, "user").n && !value_len(value_getc(spec, "groups")))
        return api_invalid(e, op->kind, STR_NULL, "FieldValueInvalid", "spec.user",
                           "Invalid value: \"\": at least one of user or group must be specified");
    struct str ns = value_str_at(res, "namespace");
    if (str_eqc(op->kind->resource, "localsubjectaccessreviews") && !str_eq(ns, op->ns))
        return api_invalid(e, op->kind, STR_NULL, "FieldValueInvalid",
                           "spec.resourceAttributes.namespace",
                           "Invalid value: \"%.*s\": must match metadata.namespace", STR_ARG(ns));
    struct identity who = self ? op->call->identity : subject_of(op, spec);
    struct authz_attributes at = {
        .who = &who,
        .verb = value_str_at(res ? res : other, "verb"),
        .group = value_str_at(res, "group"),
        .version = value_str_at(res, "version"),
        .resource = value_str_at(res, "resource"),
        .subresource = value_str_at(res, "subresource"),
        .ns = ns,
        .name = value_str_at(res, "name"),
        .path = value_str_at(other, "path"),
    };
    struct value *status = value_object(a);
    value_setc(a, status, "allowed", value_bool(a, authz_allowed(op->server->authz, &at)));
    value_setc(a, op->new, "status", status);
    return answer(op);
}

static int rules_review(struct op *op, struct err *e)
{
    int r = question(op, e);
    if (r < 0)
        return r;
    struct str ns = value_str_at(op->new, "spec.namespace");
    if (!ns.n)
        return err_set(e, ERR_BAD_REQUEST, "no namespace on request");
    value_setc(op->a, op->new, "status",
               authz_rules(op->server->authz, op->a, &op->call->identity, ns));
    return answer(op);
}

// ---- component statuses

static const char *const components[] = {"controller-manager", "etcd-0", "scheduler"};
enum { NCOMPONENTS = sizeof components / sizeof *components };

static int component(struct op *op, const char *name, struct object **ret, struct err *e)
{
    struct arena *a = op->a;
    struct value *v = value_object(a), *list = value_array(a), *c = value_object(a);
    value_setc(a, v, "kind", value_strc(a, "ComponentStatus"));
    value_setc(a, v, "apiVersion", value_strc(a, "v1"));
    value_set_at(a, v, "metadata.name", value_strc(a, name));
    value_setc(a, c, "type", value_strc(a, "Healthy"));
    value_setc(a, c, "status", value_strc(a, "True"));
    value_setc(a, c, "message", value_strc(a, "ok"));
    value_push(a, list, c);
    value_setc(a, v, "conditions", list);
    return object_from_value(op->kind, STR_NULL, 0, v, ret, e);
}

static int component_get(struct op *op, struct err *e)
{
    for (size_t i = 0; i < NCOMPONENTS; i++)
        if (str_eqc(op->name, components[i])) {
            int r = component(op, components[i], &op->call->answer.object, e);
            return r < 0 ? r : OP_DONE;
        }
    return api_not_found(e, op->kind, op->name);
}

static int component_list(struct op *op, struct err *e)
{
    struct api_answer *an = &op->call->answer;
    an->items = mem_zalloc(NCOMPONENTS * sizeof *an->items);
    an->remaining = -1;
    an->revision = cache_revision(op->server->cache);
    for (size_t i = 0; i < NCOMPONENTS; i++, an->nitems++) {
        int r = component(op, components[i], &an->items[i], e);
        if (r < 0)
            return r;
    }
    op_warn(op, "v1 ComponentStatus is deprecated in v1.19+");
    return OP_DONE;
}

static const struct virtual_ops virtuals[] = {
    {.group = "", .resource = "componentstatuses", .get = component_get, .list = component_list},
    {.group = "authentication.k8s.io", .resource = "selfsubjectreviews", .create = self_subject},
    {.group = "authentication.k8s.io", .resource = "tokenreviews", .create = token_review},
    {.group = "authorization.k8s.io",
     .resource = "localsubjectaccessreviews",
     .create = access_review},
    {.group = "authorization.k8s.io",
     .resource = "selfsubjectaccessreviews",
     .create = access_review},
    {.group = "authorization.k8s.io",
     .resource = "selfsubjectrulesreviews",
     .create = rules_review},
    {.group = "authorization.k8s.io", .resource = "subjectaccessreviews", .create = access_review},
};

const struct virtual_ops *virtual_find(const struct kind *k)
{
    for (size_t i = 0; i < sizeof virtuals / sizeof *virtuals; i++)
        if (str_eqc(k->group, virtuals[i].group) && str_eqc(k->resource, virtuals[i].resource))
            return &virtuals[i];
    return NULL;
}
