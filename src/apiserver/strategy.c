// The table of kinds with ways of their own, and those ways that are too short for a file each.
#include "apiserver/strategy.h"
#include "apiserver/expiry.h"
#include "object/json.h"
#include "object/selector.h"

static struct value *part(struct op *op, struct value *v, const char *key)
{
    struct value *x = value_getc(v, key);
    if (!value_is(x, VALUE_OBJECT))
        value_setc(op->a, v, key, x = value_object(op->a));
    return x;
}

// ---- namespaces

static int namespace_create(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    struct value *finalizers = value_array(a);
    value_push(a, finalizers, value_strc(a, "kubernetes"));
    value_set_at(a, op->new, "spec.finalizers", finalizers);
    value_set_at(a, op->new, "status.phase", value_strc(a, "Active"));
    value_setc(a, part(op, value_getc(op->new, "metadata"), "labels"),
               "kubernetes.io/metadata.name", value_str(a, op->name));
    return 0;
}

static int namespace_update(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    struct value *finalizers = value_at(op->new, "spec.finalizers");
    if (op_sub(op, "finalize")) {
        op->new = value_clone(a, op->old);
        if (!finalizers)
            finalizers = value_array(a);
    } else {
        finalizers = value_at(op->old, "spec.finalizers");
    }
    struct value *spec = part(op, op->new, "spec");
    if (value_len(finalizers))
        value_setc(a, spec, "finalizers", finalizers);
    else
        value_delc(spec, "finalizers");
    value_setc(a, part(op, value_getc(op->new, "metadata"), "labels"),
               "kubernetes.io/metadata.name", value_str(a, op->name));
    return 0;
}

static int namespace_grace(struct op *op, struct err *e)
{
    (void)e;
    op->grace = 0;
    value_set_at(op->a, op->new, "status.phase", value_strc(op->a, "Terminating"));
    return 0;
}

// ---- jobs: the selector and the labels by which a job's pods are found

static int job_create(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    struct value *spec = part(op, op->new, "spec"), *template = part(op, spec, "template");
    struct value *uid = value_at(op->new, "metadata.uid"), *name = value_str(a, op->name);
    if (value_bool_at(spec, "manualSelector", false))
        return 0;
    struct value *labels = part(op, part(op, template, "metadata"), "labels");
    value_setc(a, labels, "controller-uid", uid);
    value_setc(a, labels, "job-name", name);
    value_setc(a, labels, "batch.kubernetes.io/controller-uid", uid);
    value_setc(a, labels, "batch.kubernetes.io/job-name", name);
    value_setc(a, part(op, part(op, spec, "selector"), "matchLabels"),
               "batch.kubernetes.io/controller-uid", uid);
    return 0;
}

// ---- volumes

static int volume_create(struct op *op, struct err *e)
{
    (void)e;
    value_set_at(op->a, op->new, "status.phase", value_strc(op->a, "Pending"));
    return 0;
}

// ---- roles and bindings: nobody may give what he does not have

// A change of nothing but what the garbage collector needs.
static bool only_collects(struct op *op)
{
    static const char *const fields[] = {"metadata.ownerReferences", "metadata.finalizers",
                                         "metadata.resourceVersion"};
    if (!op->found)
        return false;
    struct value *was = value_clone(op->a, op->old), *is = value_clone(op->a, op->new);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        value_del_at(was, fields[i]);
        value_del_at(is, fields[i]);
    }
    return value_eq(was, is);
}

// The rules of the role that a binding names.
static int referenced_rules(struct op *op, struct value **ret, struct err *e)
{
    struct str kind = value_str_at(op->new, "roleRef.kind"),
               name = value_str_at(op->new, "roleRef.name");
    const struct kind *k = kind_by_kind(STR("rbac.authorization.k8s.io"), STR("v1"), kind);
    if (!k)
        return api_forbidden(e, op->kind, op->name, "unsupported role reference kind: \"%.*s\"",
                             STR_ARG(kind));
    _cleanup_object_ struct object *o =
        cache_get(op->server->cache, k, k->flags & KIND_NAMESPACED ? op->ns : STR_NULL, name);
    if (!o)
        return api_not_found(e, k, name);
    *ret = value_clone(op->a, value_getc(object_tree(op->a, o), "rules"));
    return 0;
}

static bool may(struct op *op, const char *verb, struct str resource, struct str name)
{
    struct authz_attributes at = {
        .who = &op->call->identity,
        .verb = str_of(verb),
        .group = op->kind->group,
        .version = op->kind->version,
        .resource = resource,
        .ns = op->ns,
        .name = name,
    };
    return authz_allowed(op->server->authz, &at);
}

// Who writes a role must hold all that it grants, whatever it is that he changes.
static int check_grant(struct op *op, const struct value *rules, struct err *e)
{
    _cleanup_err_ struct err why = ERR_INIT;
    if (authz_check_escalation(op->server->authz, &op->call->identity, rules, op->ns, &why) < 0)
        return api_forbidden(e, op->kind, op->name, "%s", why.message);
    return 0;
}

// An aggregation rule can gather anything, and keeps a role from being narrowed by hand.
static int check_aggregation(struct op *op, struct err *e)
{
    static const char all[] = "[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]},"
                              "{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}]";
    struct value *rules;
    if (!value_len(value_at(op->new, "aggregationRule.clusterRoleSelectors")) &&
        !value_len(value_at(op->old, "aggregationRule.clusterRoleSelectors")))
        return 0;
    BUG_ON(json_parse(op->a, str_of(all), &(struct json_options){0}, &rules, NULL) != 0);
    if (authz_check_escalation(op->server->authz, &op->call->identity, rules, op->ns, NULL) < 0)
        return api_forbidden(e, op->kind, op->name,
                             "must have cluster-admin privileges to use the aggregationRule");
    return 0;
}

static int role_finish(struct op *op, struct err *e)
{
    if (only_collects(op) || may(op, "escalate", op->kind->resource, op->name))
        return 0;
    int r = check_grant(op, value_getc(op->new, "rules"), e);
    return r < 0 ? r : check_aggregation(op, e);
}

static int binding_finish(struct op *op, struct err *e)
{
    struct value *rules = NULL;
    bool cluster = str_eqc(value_str_at(op->new, "roleRef.kind"), "ClusterRole");
    if (only_collects(op) || may(op, "bind", cluster ? STR("clusterroles") : STR("roles"),
                                 value_str_at(op->new, "roleRef.name")))
        return 0;
    int r = referenced_rules(op, &rules, e);
    return r < 0 ? r : check_grant(op, rules, e);
}

// ---- certificate requests: who asks is what the server saw

static int csr_create(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    const struct identity *who = &op->call->identity;
    struct value *spec = part(op, op->new, "spec"), *groups = value_array(a);
    for (size_t i = 0; i < who->ngroups; i++)
        value_push(a, groups, value_str(a, who->groups[i]));
    value_setc(a, spec, "username", value_str(a, who->user));
    value_setc(a, spec, "groups", groups);
    if (who->uid.n)
        value_setc(a, spec, "uid", value_str(a, who->uid));
    return 0;
}

static struct value *condition_of(const struct value *list, struct str type)
{
    value_each_item (list, c)
        if (str_eq(value_str_at(c, "type"), type))
            return c;
    return NULL;
}

// When each condition was written and when it last changed, where the writer does not say.
static void csr_times(struct op *op)
{
    const struct value *was = value_at(op->old, "status.conditions");
    value_each_item (value_at(op->new, "status.conditions"), c) {
        const struct value *old = condition_of(was, value_str_at(c, "type"));
        bool same = old && str_eq(value_str_at(old, "status"), value_str_at(c, "status"));
        if (!value_str_at(c, "lastUpdateTime").n)
            value_setc(op->a, c, "lastUpdateTime", op_now(op));
        if (!value_str_at(c, "lastTransitionTime").n)
            value_setc(op->a, c, "lastTransitionTime",
                       same && value_getc(old, "lastTransitionTime")
                           ? value_getc(old, "lastTransitionTime")
                           : op_now(op));
    }
}

static bool csr_decision(const struct value *condition)
{
    struct str type = value_str_at(condition, "type");
    return str_eqc(type, "Approved") || str_eqc(type, "Denied");
}

static struct value *csr_condition(const struct value *list, struct str type)
{
    value_each_item (list, c)
        if (str_eq(value_str_at(c, "type"), type))
            return c;
    return NULL;
}

// Approval and denial are given by /approval alone: /status takes the others. A decision that is
// sent along stays where it stands, as it is; one that is left out comes last.
static void csr_keep_decision(struct op *op)
{
    const struct value *old = value_at(op->old, "status.conditions"),
                       *new = value_at(op->new, "status.conditions");
    struct value *list = value_array(op->a);
    value_each_item (new, c) {
        struct value *kept = csr_decision(c) ? csr_condition(old, value_str_at(c, "type")) : c;
        if (kept)
            value_push(op->a, list, kept);
    }
    value_each_item (old, c)
        if (csr_decision(c) && !csr_condition(new, value_str_at(c, "type")))
            value_push(op->a, list, c);
    if (list->n)
        value_set_at(op->a, op->new, "status.conditions", list);
}

// What is asked for never changes; /approval writes conditions, and metadata as any write.
static int csr_update(struct op *op, struct err *e)
{
    (void)e;
    struct value *conditions = value_at(op->new, "status.conditions");
    value_setc(op->a, op->new, "spec", value_getc(op->old, "spec"));
    if (op_sub(op, "approval")) {
        struct value *status = value_clone(op->a, value_getc(op->old, "status"));
        value_setc(op->a, op->new, "status", status ? status : value_object(op->a));
        if (conditions)
            value_set_at(op->a, op->new, "status.conditions", conditions);
    } else if (op_sub(op, "status")) {
        csr_keep_decision(op);
    }
    if (op->request->subresource.n)
        csr_times(op);
    return 0;
}

// ---- custom resource definitions: kept, not served yet, and so never Established

static int crd_create(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    const struct value *versions = value_at(op->new, "spec.versions");
    struct value *stored = value_array(a);
    value_each_item (versions, v)
        if (value_bool_at(v, "storage", false))
            value_push(a, stored, value_str(a, value_str_at(v, "name")));
    value_set_at(a, op->new, "status.conditions", value_array(a));
    value_set_at(a, op->new, "status.storedVersions", stored);
    return 0;
}

// ---- events: they go after an hour

static int event_finish(struct op *op, struct err *e)
{
    (void)e;
    expiry_collect(op->server->expiry, op);
    return 0;
}

// ---- workloads: the counts that the originals always show

static int replicas_create(struct op *op, struct err *e)
{
    (void)e;
    value_set_at(op->a, op->new, "status.replicas", value_int(op->a, 0));
    return 0;
}

static const struct strategy nodes = {
    .group = "", .resource = "nodes", .keep_status_on_create = true};
static const struct strategy namespaces = {
    .group = "",
    .resource = "namespaces",
    .prepare_create = namespace_create,
    .prepare_update = namespace_update,
    .grace = namespace_grace,
};
static const struct strategy events = {.group = "", .resource = "events", .finish = event_finish};
static const struct strategy new_events = {
    .group = "events.k8s.io", .resource = "events", .finish = event_finish};
static const struct strategy volumes = {
    .group = "", .resource = "persistentvolumes", .prepare_create = volume_create};
static const struct strategy claims = {
    .group = "", .resource = "persistentvolumeclaims", .prepare_create = volume_create};
static const struct strategy controllers = {
    .group = "", .resource = "replicationcontrollers", .prepare_create = replicas_create};
static const struct strategy replicasets = {
    .group = "apps", .resource = "replicasets", .prepare_create = replicas_create};
static const struct strategy statefulsets = {
    .group = "apps", .resource = "statefulsets", .prepare_create = replicas_create};
static const struct strategy jobs = {
    .group = "batch", .resource = "jobs", .prepare_create = job_create};
static const struct strategy roles = {
    .group = "rbac.authorization.k8s.io", .resource = "roles", .finish = role_finish};
static const struct strategy clusterroles = {
    .group = "rbac.authorization.k8s.io", .resource = "clusterroles", .finish = role_finish};
static const struct strategy rolebindings = {
    .group = "rbac.authorization.k8s.io", .resource = "rolebindings", .finish = binding_finish};
static const struct strategy clusterrolebindings = {.group = "rbac.authorization.k8s.io",
                                                    .resource = "clusterrolebindings",
                                                    .finish = binding_finish};
static const struct strategy certificate_requests = {
    .group = "certificates.k8s.io",
    .resource = "certificatesigningrequests",
    .prepare_create = csr_create,
    .prepare_update = csr_update,
};
static const struct strategy definitions = {
    .group = "apiextensions.k8s.io",
    .resource = "customresourcedefinitions",
    .prepare_create = crd_create,
};

static const struct strategy *const strategies[] = {
    &strategy_pods,
    &strategy_services,
    &nodes,
    &namespaces,
    &volumes,
    &claims,
    &controllers,
    &replicasets,
    &statefulsets,
    &jobs,
    &roles,
    &clusterroles,
    &events,
    &new_events,
    &rolebindings,
    &clusterrolebindings,
    &certificate_requests,
    &definitions,
};

const struct strategy *strategy_find(const struct kind *k)
{
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++)
        if (str_eqc(k->group, strategies[i]->group) &&
            str_eqc(k->resource, strategies[i]->resource))
            return strategies[i];
    return NULL;
}
