// The roles and bindings of a newborn cluster, read from api/bootstrap/rbac.yaml (kept in the
// program as text, a reading of it costs a millisecond once at start). The YAML is a short form;
// here it becomes API objects.
#include "apiserver/auth.h"
#include "base/log.h"
#include "object/yaml.h"

// clang-format off
__asm__(".section .rodata\n"
        ".global bootstrap_rbac_yaml\n"
        "bootstrap_rbac_yaml:\n"
        ".incbin \"" BOOTSTRAP_DIR "/rbac.yaml\"\n"
        ".global bootstrap_rbac_yaml_end\n"
        "bootstrap_rbac_yaml_end:\n"
        ".byte 0\n"
        ".previous\n");
// clang-format on
extern const char bootstrap_rbac_yaml[], bootstrap_rbac_yaml_end[];

#define GROUP       "rbac.authorization.k8s.io"
#define API_VERSION GROUP "/v1"

static struct value *object_new(struct arena *a, const char *kind, struct str ns, struct str name)
{
    struct value *o = value_object(a);
    value_setc(a, o, "kind", value_strc(a, kind));
    value_setc(a, o, "apiVersion", value_strc(a, API_VERSION));
    value_set_at(a, o, "metadata.name", value_str(a, name));
    if (ns.n)
        value_set_at(a, o, "metadata.namespace", value_str(a, ns));
    struct value *meta = value_getc(o, "metadata"), *map = value_object(a);
    value_setc(a, map, "rbac.authorization.kubernetes.io/autoupdate", value_strc(a, "true"));
    value_setc(a, meta, "annotations", map);
    map = value_object(a);
    value_setc(a, map, "kubernetes.io/bootstrapping", value_strc(a, "rbac-defaults"));
    value_setc(a, meta, "labels", map);
    return o;
}

static struct str aggregation_label(struct arena *a, struct str role)
{
    return arena_printf(a, GROUP "/aggregate-to-%.*s", STR_ARG(role));
}

// "Group/system:masters", "ServiceAccount/kube-system/kube-dns"
static struct value *subject_new(struct arena *a, struct str text)
{
    struct str name = text, kind = str_cut(&name, '/'), ns = STR_NULL;
    struct value *s = value_object(a);
    bool account = str_eqc(kind, "ServiceAccount");
    value_setc(a, s, "kind", value_str(a, kind));
    if (account)
        ns = str_cut(&name, '/');
    else
        value_setc(a, s, "apiGroup", value_strc(a, GROUP));
    value_setc(a, s, "name", value_str(a, name));
    if (account)
        value_setc(a, s, "namespace", value_str(a, ns));
    return s;
}

// The rules of every role that is labelled for `role`, and of those that are aggregated into those.
static void aggregate(struct arena *a, const struct value *rows, struct str role, struct value *to)
{
    value_each_item (rows, row) {
        if (!str_eq(value_str_at(row, "aggregate"), role))
            continue;
        value_each_item (value_getc(row, "rules"), rule)
            value_push(a, to, rule);
        if (value_getc(row, "from"))
            aggregate(a, rows, value_str_at(row, "from"), to);
    }
}

static struct value *role_new(struct arena *a, const struct value *rows, const struct value *row)
{
    struct str ns = value_str_at(row, "namespace");
    struct value *o = object_new(a, ns.n ? "Role" : "ClusterRole", ns, value_str_at(row, "name"));
    struct str into = value_str_at(row, "aggregate"), from = value_str_at(row, "from");
    if (into.n)
        value_set(a, value_at(o, "metadata.labels"), aggregation_label(a, into),
                  value_strc(a, "true"));
    struct value *rules = value_getc(row, "rules");
    if (from.n) {
        struct value *labels = value_object(a), *selector = value_object(a);
        value_set(a, labels, aggregation_label(a, from), value_strc(a, "true"));
        value_setc(a, selector, "matchLabels", labels);
        struct value *selectors = value_array(a);
        value_push(a, selectors, selector);
        value_set_at(a, o, "aggregationRule.clusterRoleSelectors", selectors);
        rules = value_array(a);
        aggregate(a, rows, from, rules);
    }
    value_setc(a, o, "rules", rules);
    return o;
}

static struct value *binding_new(struct arena *a, const struct value *row)
{
    struct str ns = value_str_at(row, "namespace"), name = value_str_at(row, "name");
    struct value *o = object_new(a, ns.n ? "RoleBinding" : "ClusterRoleBinding", ns, name);
    struct value *role = value_object(a), *subjects = value_array(a);
    value_setc(a, role, "apiGroup", value_strc(a, GROUP));
    value_setc(a, role, "kind", value_strc(a, ns.n ? "Role" : "ClusterRole"));
    value_setc(a, role, "name", value_str(a, name));
    value_setc(a, o, "roleRef", role);
    value_each_item (value_getc(row, "bind"), subject)
        value_push(a, subjects, subject_new(a, value_string(subject)));
    value_setc(a, o, "subjects", subjects);
    return o;
}

struct value *authz_bootstrap_objects(struct arena *a)
{
    struct value *rows, *objects = value_array(a);
    _cleanup_err_ struct err e = ERR_INIT;
    struct str text =
        str_n(bootstrap_rbac_yaml, (size_t)(bootstrap_rbac_yaml_end - bootstrap_rbac_yaml));
    if (yaml_parse(a, text, NULL, &rows, &e) < 0) {
        log_error("apiserver", "api/bootstrap/rbac.yaml: %s", e.message);
        BUG_ON(true);
    }
    value_each_item (rows, row) {
        value_push(a, objects, role_new(a, rows, row));
        if (value_getc(row, "bind"))
            value_push(a, objects, binding_new(a, row));
    }
    return objects;
}
