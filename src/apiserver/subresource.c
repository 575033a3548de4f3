// Subresources that are more than a view of their object: scale (the same number in another shape),
// binding (a pod gets its node), eviction (a deletion that asks the disruption budget first),
// token.
#include "apiserver/admission.h"
#include "apiserver/convert.h"
#include "apiserver/strategy.h"
#include "base/time.h"
#include "object/patch.h"
#include "object/selector.h"
#include "schema/rules.h"

// ---- scale

// A custom resource says it itself, as text; built-in kinds have it in spec.selector.
static struct str selector_text(struct op *op, const struct value *object)
{
    if (op->kind->flags & KIND_CUSTOM)
        return op->sub->scale_selector ? value_str_at(object, op->sub->scale_selector) : STR_NULL;
    const struct value *v = value_at(object, "spec.selector");
    struct selector *s = NULL;
    _cleanup_buf_ struct buf b = BUF_INIT;
    bool plain = str_eqc(op->kind->resource, "replicationcontrollers");
    const struct value *selector = v;
    if (plain && v) { // a map of labels instead of a LabelSelector
        struct value *wrapped = value_object(op->a);
        value_setc(op->a, wrapped, "matchLabels", value_clone(op->a, v));
        selector = wrapped;
    }
    if (!selector || selector_from_value(op->a, selector, &s, NULL) < 0)
        return STR_NULL;
    selector_write(&b, s);
    return arena_str(op->a, buf_view(&b));
}

static struct value *scale_of(struct op *op, const struct value *object, uint64_t revision)
{
    static const char *const copied[] = {"name", "namespace", "uid", "creationTimestamp"};
    struct arena *a = op->a;
    struct value *s = value_object(a), *meta = value_object(a);
    const struct value *from = value_getc(object, "metadata");
    value_setc(a, s, "kind", value_strc(a, "Scale"));
    value_setc(a, s, "apiVersion", value_strc(a, "autoscaling/v1"));
    value_setc(a, s, "metadata", meta);
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
        if (value_getc(from, copied[i]))
            value_setc(a, meta, copied[i], value_getc(from, copied[i]));
    if (revision)
        value_setc(a, meta, "resourceVersion",
                   value_str(a, arena_printf(a, "%llu", (unsigned long long)revision)));
    value_set_at(a, s, "spec.replicas", value_int(a, value_int_at(object, op->sub->scale_spec, 0)));
    value_set_at(a, s, "status.replicas",
                 value_int(a, value_int_at(object, op->sub->scale_status, 0)));
    struct str selector = selector_text(op, object);
    if (selector.n)
        value_set_at(a, s, "status.selector", value_str(a, selector));
    return s;
}

static int scale_get(struct op *op, struct err *e)
{
    int r = op_find(op, e);
    if (r < 0)
        return r;
    op_answer_value(op, scale_of(op, op->old, op->found->revision));
    op->call->answer.revision = op->found->revision;
    return OP_DONE;
}

static int scale_patched(struct op *op, const struct type *type, struct value **ret, struct err *e)
{
    const struct api_request *r = op->request;
    const struct value *now = scale_of(op, op->old, op->found->revision);
    switch (r->patch_type) {
    case PATCH_TYPE_JSON:
        return patch_json(op->a, now, r->body, ret, e);
    case PATCH_TYPE_MERGE:
        return patch_merge(op->a, now, r->body, ret, e);
    case PATCH_TYPE_STRATEGIC:
        return patch_strategic(op->a, type, now, r->body, ret, e);
    default:
        return err_set(e, ERR_UNSUPPORTED_MEDIA,
                       "the body of the request was in an unknown format - accepted media types "
                       "include: application/json-patch+json, application/merge-patch+json, "
                       "application/strategic-merge-patch+json");
    }
}

static int scale_update_body(struct op *op, struct err *e)
{
    const struct type *type = op->sub->type;
    struct value *scale = NULL;
    int r = op->request->verb == VERB_PATCH
                ? scale_patched(op, type, &scale, e)
                : op_decode(op, op->request->body, type, STR("autoscaling/v1"), STR("Scale"),
                            &scale, e);
    if (r < 0)
        return r;
    struct str rv = value_str_at(scale, "metadata.resourceVersion"), name;
    uint64_t revision = 0;
    name = value_str_at(scale, "metadata.name");
    if (!str_eq(name, op->name))
        return err_set(e, ERR_BAD_REQUEST,
                       "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                       STR_ARG(name), STR_ARG(op->name));
    if (rv.n && str_to_u64(rv, &revision) && revision && revision != op->found->revision)
        return api_conflict(e, op->kind, op->name, NULL);
    // A patch that names no version goes for whatever is there.
    op->conditional = revision && (op->request->verb == VERB_UPDATE ||
                                   value_at(op->request->body, "metadata.resourceVersion"));
    int64_t replicas = value_int_at(scale, "spec.replicas", 0);
    if (replicas < 0)
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "spec.replicas",
                           "Invalid value: %lld: must be greater than or equal to 0",
                           (long long)replicas);
    op->new = value_clone(op->a, op->old);
    value_set_at(op->a, op->new, op->sub->scale_spec, value_int(op->a, replicas));
    return OP_NEXT;
}

static int scale_answer(struct op *op, struct err *e)
{
    (void)e;
    op_answer_value(op, scale_of(op, op->new, op->txn.revision));
    return OP_DONE;
}

// ---- binding

static struct value *condition(struct op *op, struct value *pod, const char *type)
{
    struct arena *a = op->a;
    struct value *status = value_getc(pod, "status");
    if (!status)
        value_setc(a, pod, "status", status = value_object(a));
    struct value *list = value_getc(status, "conditions");
    if (!list)
        value_setc(a, status, "conditions", list = value_array(a));
    value_each_item (list, c)
        if (str_eqc(value_str_at(c, "type"), type))
            return c;
    struct value *c = value_object(a);
    value_setc(a, c, "type", value_strc(a, type));
    value_push(a, list, c);
    return c;
}

static int binding_body(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    const struct type *type = type_by_name(STR("core.v1.Binding"));
    int r = op_decode(op, op->request->body, type, STR("v1"), STR("Binding"), &op->data, e);
    if (r < 0)
        return r;
    struct str node = value_str_at(op->data, "target.name"),
               kind = value_str_at(op->data, "target.kind");
    struct str uid = value_str_at(op->data, "metadata.uid");
    struct str bound = value_str_at(op->old, "spec.nodeName");
    if (!node.n)
        return api_invalid(e, op->kind, op->name, "FieldValueRequired", "target.name",
                           "Required value");
    if (kind.n && !str_eqc(kind, "Node"))
        return api_invalid(e, op->kind, op->name, "FieldValueNotSupported", "target.kind",
                           "Unsupported value: \"%.*s\": supported values: \"Node\", \"<empty>\"",
                           STR_ARG(kind));
    if (uid.n && !str_eq(uid, value_str_at(op->old, "metadata.uid")))
        return api_conflict(
            e, op->kind, op->name,
            "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s",
            STR_ARG(uid), STR_ARG(value_str_at(op->old, "metadata.uid")));
    if (value_at(op->old, "metadata.deletionTimestamp"))
        return api_conflict(e, op->kind, op->name,
                            "pod %.*s is being deleted, cannot be assigned to a host",
                            STR_ARG(op->name));
    if (bound.n)
        return api_conflict(e, op->kind, op->name, "pod %.*s is already assigned to node \"%.*s\"",
                            STR_ARG(op->name), STR_ARG(bound));
    if (value_len(value_at(op->old, "spec.schedulingGates")))
        return api_conflict(e, op->kind, op->name, "pod %.*s has non-empty .spec.schedulingGates",
                            STR_ARG(op->name));
    op->new = value_clone(a, op->old);
    value_set_at(a, op->new, "spec.nodeName", value_str(a, node));
    const struct value *annotations = value_at(op->data, "metadata.annotations");
    struct value *meta = value_getc(op->new, "metadata");
    if (value_len(annotations) && !value_getc(meta, "annotations"))
        value_setc(a, meta, "annotations", value_object(a));
    value_each_field (annotations, m)
        value_set(a, value_getc(meta, "annotations"), m->key, m->value);
    struct value *c = condition(op, op->new, "PodScheduled");
    value_setc(a, c, "status", value_strc(a, "True"));
    value_setc(a, c, "lastTransitionTime", op_now(op));
    value_delc(c, "reason");
    value_delc(c, "message");
    return OP_NEXT;
}

static int status_answer(struct op *op, struct err *e)
{
    (void)e;
    struct value *s = value_object(op->a);
    value_setc(op->a, s, "kind", value_strc(op->a, "Status"));
    value_setc(op->a, s, "apiVersion", value_strc(op->a, "v1"));
    value_setc(op->a, s, "metadata", value_object(op->a));
    value_setc(op->a, s, "status", value_strc(op->a, "Success"));
    value_setc(op->a, s, "code", value_int(op->a, 201));
    op->call->answer.created = true;
    op->call->answer.revision = op->txn.revision;
    op_answer_value(op, s);
    return OP_DONE;
}

static const struct step binding_path[] = {
    {"authorise", op_authorise}, {"find", op_find},
    {"bind", binding_body},      {"encode", op_encode},
    {"store", op_store},         {"committed", op_committed},
    {"answer", status_answer},   {0},
};

// ---- eviction

#define BUDGET_TEXT "Cannot evict pod as it would violate the pod's disruption budget."

static int budget_refusal(struct err *e, struct str budget, int retry, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int budget_refusal(struct err *e, struct str budget, int retry, const char *fmt, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str why = arena_vprintf(&a, fmt, ap);
    va_end(ap);
    err_set(e, ERR_TOO_MANY_REQUESTS, BUDGET_TEXT);
    err_cause(e, "DisruptionBudget", STR_NULL, "The disruption budget %.*s %.*s", STR_ARG(budget),
              STR_ARG(why));
    if (e)
        e->retry_after_seconds = retry;
    return -429;
}

static bool pod_ready(const struct value *pod)
{
    const struct value *list = value_at(pod, "status.conditions");
    value_each_item (list, c)
        if (str_eqc(value_str_at(c, "type"), "Ready"))
            return str_eqc(value_str_at(c, "status"), "True");
    return false;
}

// The one budget that selects the pod: a reference, NULL where there is none.
static int find_budget(struct op *op, struct object **ret, struct err *e)
{
    const struct kind *k = kind_by_resource(STR("policy"), STR("v1"), STR("poddisruptionbudgets"));
    const struct value *labels = value_at(op->old, "metadata.labels");
    _cleanup_snapshot_ struct cache_snapshot snap = {0};
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    struct cache_cursor it;
    *ret = NULL;
    cache_snapshot(op->server->cache, k, &snap);
    for (struct object *o = cache_first(&it, &snap, op->ns); o; o = cache_next(&it)) {
        struct selector *s;
        const struct value *v = object_tree(&scratch, o);
        bool matches = selector_from_value(&scratch, value_at(v, "spec.selector"), &s, NULL) >= 0 &&
                       selector_matches(s, labels);
        arena_reset(&scratch);
        if (matches && *ret) {
            object_unref(TAKE_PTR(*ret));
            return err_set(e, ERR_INTERNAL,
                           "This pod has more than one PodDisruptionBudget, which the eviction "
                           "subresource does not support.");
        }
        if (matches)
            *ret = object_ref(o);
    }
    return 0;
}

// Takes one disruption from the budget: its new state, or a refusal. *ret NULL: nothing to take.
static int spend_budget(struct op *op, struct object *budget, struct object **ret, struct err *e)
{
    struct arena *a = op->a;
    struct value *v = value_clone(a, object_tree(a, budget));
    struct str name = value_str_at(v, "metadata.name");
    int64_t allowed = value_int_at(v, "status.disruptionsAllowed", 0);
    int64_t healthy = value_int_at(v, "status.currentHealthy", 0);
    int64_t desired = value_int_at(v, "status.desiredHealthy", 0);
    *ret = NULL;
    if (!pod_ready(op->old)) {
        bool always = str_eqc(value_str_at(v, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow");
        if (always || (desired > 0 && healthy >= desired))
            return 0;
    }
    if (value_int_at(v, "status.observedGeneration", 0) < value_int_at(v, "metadata.generation", 0))
        return budget_refusal(e, name, 10, "is still being processed by the server.");
    if (allowed < 0)
        return err_set(e, ERR_FORBIDDEN, "pdb disruptions allowed is negative");
    if (allowed == 0)
        return budget_refusal(e, name, 0, "needs %lld healthy pods and has %lld currently",
                              (long long)desired, (long long)healthy);
    struct value *disrupted = value_at(v, "status.disruptedPods");
    if (!disrupted) {
        disrupted = value_object(a);
        value_set_at(a, v, "status.disruptedPods", disrupted);
    }
    value_set(a, disrupted, op->name, op_now(op));
    value_set_at(a, v, "status.disruptionsAllowed", value_int(a, allowed - 1));
    return object_from_value(budget->kind, budget->key, 0, v, ret, e);
}

static bool outside_budgets(const struct value *pod)
{
    struct str phase = value_str_at(pod, "status.phase");
    return str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed") || str_eqc(phase, "Pending") ||
           value_at(pod, "metadata.deletionTimestamp");
}

static int evict(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    int r = op_decode(op, op->request->body, type_by_name(STR("policy.v1.Eviction")),
                      STR("policy/v1"), STR("Eviction"), &op->data, e);
    if (r < 0)
        return r;
    struct str named = value_str_at(op->data, "metadata.name");
    if (named.n && !str_eq(named, op->name))
        return err_set(e, ERR_BAD_REQUEST, "name in URL does not match name in Eviction object");
    op->grace = value_int_at(op->data, "deleteOptions.gracePeriodSeconds", -1);
    struct str uid = value_str_at(op->data, "deleteOptions.preconditions.uid");
    if (uid.n && !str_eq(uid, value_str_at(op->old, "metadata.uid")))
        return api_conflict(e, op->kind, op->name,
                            "the UID in the precondition (%.*s) does not match the UID in record "
                            "(%.*s). The object might have been deleted and then recreated",
                            STR_ARG(uid), STR_ARG(value_str_at(op->old, "metadata.uid")));
    _cleanup_object_ struct object *budget = NULL;
    struct object *spent = NULL;
    if (!outside_budgets(op->old)) {
        r = find_budget(op, &budget, e);
        if (r >= 0 && budget)
            r = spend_budget(op, budget, &spent, e);
        if (r < 0)
            return r;
        op->old = value_clone(a, op->old);
        struct value *c = condition(op, op->old, "DisruptionTarget");
        value_setc(a, c, "status", value_strc(a, "True"));
        value_setc(a, c, "reason", value_strc(a, "EvictionByEvictionAPI"));
        value_setc(a, c, "message", value_strc(a, "Eviction API: evicting"));
        value_setc(a, c, "lastTransitionTime", op_now(op));
    }
    r = op_delete(op, e);
    if (r >= 0 && spent)
        op_write_object(op, spent, (int64_t)budget->revision);
    else
        object_unref(spent);
    return r;
}

// What is made by POST on a subresource passes the plug-ins that look at such requests.
static int admit_step(struct op *op, struct err *e)
{
    int r = admit_node(op, e);
    return r < 0 ? r : OP_NEXT;
}

static const struct step eviction_path[] = {
    {"authorise", op_authorise}, {"find", op_find},
    {"admit", admit_step},       {"evict", evict},
    {"store", op_store},         {"committed", op_committed},
    {"answer", status_answer},   {0},
};

// ---- token

// The node is told beside the pod for who checks the token; of one that is gone only the name.
static void node_of_pod(struct op *op, struct str name, struct token_claims *claims)
{
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("nodes"));
    _cleanup_object_ struct object *node =
        name.n ? cache_get(op->server->cache, k, STR_NULL, name) : NULL;
    claims->node_name = name;
    if (node)
        claims->node_uid =
            arena_str(op->a, value_string(value_getc(object_metadata(op->a, node), "uid")));
}

static int bound_object(struct op *op, const struct value *ref, struct token_claims *claims,
                        struct err *e)
{
    static const struct {
        const char *kind, *resource;
        bool namespaced;
    } kinds[] = {{"Pod", "pods", true}, {"Secret", "secrets", true}, {"Node", "nodes", false}};
    struct str kind = value_str_at(ref, "kind"), name = value_str_at(ref, "name");
    struct str uid = value_str_at(ref, "uid");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!str_eqc(kind, kinds[i].kind))
            continue;
        const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), str_of(kinds[i].resource));
        struct object *o =
            cache_get(op->server->cache, k, kinds[i].namespaced ? op->ns : STR_NULL, name);
        if (!o)
            return api_not_found(e, k, name);
        const struct value *v = value_clone(op->a, object_tree(op->a, o));
        object_unref(o);
        struct str real = value_str_at(v, "metadata.uid");
        if (uid.n && !str_eq(uid, real))
            return api_conflict(
                e, k, name,
                "the UID in the bound object reference (%.*s) does not match the UID in "
                "record. The object might have been deleted and then recreated",
                STR_ARG(uid));
        if (i == 0) {
            claims->pod_name = name;
            claims->pod_uid = real;
            node_of_pod(op, value_str_at(v, "spec.nodeName"), claims);
            if (!str_eq(value_str_at(v, "spec.serviceAccountName"), op->name))
                return err_set(e, ERR_BAD_REQUEST,
                               "cannot bind token for serviceaccount \"%.*s\" to pod running with "
                               "different serviceaccount name.",
                               STR_ARG(op->name));
        } else if (i == 1) {
            claims->secret_name = name;
            claims->secret_uid = real;
        } else {
            claims->node_name = name;
            claims->node_uid = real;
        }
        return 0;
    }
    return err_set(e, ERR_BAD_REQUEST, "cannot bind token to object of type %.*s", STR_ARG(kind));
}

static int token_create(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    int r = op_find(op, e);
    if (r >= 0)
        r = op_decode(op, op->request->body, type_by_name(STR("authentication.v1.TokenRequest")),
                      STR("authentication.k8s.io/v1"), STR("TokenRequest"), &op->data, e);
    if (r >= 0)
        r = admit_node(op, e);
    if (r < 0)
        return r;
    if (!op->server->tokens)
        return err_set(e, ERR_UNAVAILABLE, "this server has no key to sign tokens with");
    int64_t seconds = value_int_at(op->data, "spec.expirationSeconds", 3600);
    if (seconds < 600)
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "spec.expirationSeconds",
                           "Invalid value: %lld: may not specify a duration less than 10 minutes",
                           (long long)seconds);
    if (seconds > (int64_t)1 << 32)
        return api_invalid(
            e, op->kind, op->name, "FieldValueInvalid", "spec.expirationSeconds",
            "Invalid value: %lld: may not specify a duration larger than 2^32 seconds",
            (long long)seconds);
    const struct value *list = value_at(op->data, "spec.audiences");
    struct str *audiences = arena_array(a, struct str, value_len(list) + 1);
    size_t n = 0;
    value_each_item (list, s)
        audiences[n++] = value_string(s);
    char *id = arena_alloc(a, 36);
    env_uuid(op->server->env, id);
    int64_t now = env_now(op->server->env) / NS_PER_S;
    struct token_claims claims = {
        .ns = op->ns,
        .service_account = op->name,
        .service_account_uid = value_str_at(op->old, "metadata.uid"),
        .audiences = audiences,
        .naudiences = n,
        .issued_s = now,
        .expires_s = now + seconds,
        .id = str_n(id, 36),
    };
    const struct value *ref = value_at(op->data, "spec.boundObjectRef");
    if (ref && (r = bound_object(op, ref, &claims, e)) < 0)
        return r;
    if (!n) {
        struct value *all = value_array(a);
        value_push(a, all, value_str(a, op->server->issuer));
        value_set_at(a, op->data, "spec.audiences", all);
    }
    value_set_at(a, op->data, "spec.expirationSeconds", value_int(a, seconds));
    value_set_at(a, op->data, "metadata.name", value_str(a, op->name));
    value_set_at(a, op->data, "metadata.namespace", value_str(a, op->ns));
    value_set_at(a, op->data, "metadata.creationTimestamp", op_now(op));
    value_set_at(a, op->data, "status.token",
                 value_str(a, token_sign(op->server->tokens, a, &claims)));
    value_set_at(a, op->data, "status.expirationTimestamp",
                 value_str(a, time_rfc3339(a, claims.expires_s * NS_PER_S, 0)));
    op->call->answer.created = true;
    op_answer_value(op, op->data);
    return OP_DONE;
}

static const struct step token_path[] = {{"authorise", op_authorise}, {"token", token_create}, {0}};

static const struct sub_ops subs[] = {
    {.name = "scale", .get = scale_get, .update_body = scale_update_body, .answer = scale_answer},
    {.resource = "pods", .name = "binding", .create = binding_path},
    {.resource = "pods", .name = "eviction", .create = eviction_path},
    {.resource = "serviceaccounts", .name = "token", .create = token_path},
};

const struct sub_ops *sub_find(const struct kind *k, struct str name)
{
    for (size_t i = 0; i < sizeof subs / sizeof *subs; i++)
        if (str_eqc(name, subs[i].name) &&
            (!subs[i].resource || str_eqc(k->resource, subs[i].resource)))
            return &subs[i];
    return NULL;
}
