// RuntimeClass admission: a pod that names a class gets what the class costs (overhead) and where
// it can run (node selector, tolerations). The class must be there; what the pod says itself must
// agree with it. As the plug-in of Kubernetes 1.34, in its words.
#include "apiserver/admission.h"

// Of longer lists it is not looked for what is said twice: that would be work in their square.
#define TOLERATIONS_MERGED 256

static bool same_quantities(const struct value *a, const struct value *b)
{
    if (value_len(a) != value_len(b))
        return false;
    value_each_field (a, m) { // both are canonical
        const struct value *other = value_get(b, m->key);
        if (!other || !value_eq(m->value, other))
            return false;
    }
    return true;
}

static int overhead(struct op *op, const struct value *class, struct err *e)
{
    struct value *costs = value_at(class, "overhead.podFixed");
    const struct value *own = value_at(op->new, "spec.overhead");
    bool has = value_getc(class, "overhead");
    if (!has && own)
        return api_forbidden(e, op->kind, op->name,
                             "pod rejected: Pod Overhead set without corresponding RuntimeClass "
                             "defined Overhead");
    if (has && own && !same_quantities(costs, own))
        return api_forbidden(e, op->kind, op->name,
                             "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined "
                             "Overhead");
    if (value_len(costs))
        value_set_at(op->a, op->new, "spec.overhead", costs);
    return 0;
}

static int node_selector(struct op *op, const struct value *class, struct err *e)
{
    const struct value *wanted = value_at(class, "scheduling.nodeSelector");
    struct value *own = value_at(op->new, "spec.nodeSelector");
    if (!value_len(wanted))
        return 0;
    if (!own)
        value_set_at(op->a, op->new, "spec.nodeSelector", own = value_object(op->a));
    value_each_field (wanted, m) {
        const struct value *have = value_get(own, m->key);
        if (have && !value_eq(have, m->value))
            return api_forbidden(e, op->kind, op->name,
                                 "conflict: runtimeClass.scheduling.nodeSelector[%.*s] = %.*s; "
                                 "pod.spec.nodeSelector[%.*s] = %.*s",
                                 STR_ARG(m->key), STR_ARG(value_string(m->value)), STR_ARG(m->key),
                                 STR_ARG(value_string(have)));
        value_set(op->a, own, m->key, m->value);
    }
    return 0;
}

// Whether `wide` tolerates all that `t` does.
static bool covers(const struct value *wide, const struct value *t)
{
    if (value_eq(wide, t))
        return true;
    struct str key = value_str_at(wide, "key"), how = value_str_at(wide, "operator");
    struct str effect = value_str_at(wide, "effect");
    bool exists = str_eqc(how, "Exists");
    if (!str_eq(key, value_str_at(t, "key")) && (key.n || !exists))
        return false;
    if (effect.n && !str_eq(effect, value_str_at(t, "effect")))
        return false;
    const struct value *seconds = value_getc(wide, "tolerationSeconds"),
                       *of = value_getc(t, "tolerationSeconds");
    if (str_eqc(effect, "NoExecute") && seconds &&
        (!of || value_int_or(of, 0) > value_int_or(seconds, 0)))
        return false;
    if (exists)
        return true;
    return (!how.n || str_eqc(how, "Equal")) && str_eqc(value_str_at(t, "operator"), "Equal") &&
           str_eq(value_str_at(t, "value"), value_str_at(wide, "value"));
}

// Whether item i says nothing that another one does not; of equal ones the first stays.
static bool redundant(const struct value *all, size_t i, const struct value *kept)
{
    const struct value *t = value_item(all, i);
    value_each_item (kept, k)
        if (covers(k, t))
            return true;
    for (size_t j = i + 1; j < value_len(all); j++)
        if (!value_eq(value_item(all, j), t) && covers(value_item(all, j), t))
            return true;
    return false;
}

static void tolerations(struct op *op, const struct value *class)
{
    const struct value *more = value_at(class, "scheduling.tolerations");
    struct value *all = value_array(op->a), *merged = value_array(op->a);
    if (!value_len(more))
        return;
    value_each_item (more, t)
        value_push(op->a, all, t);
    value_each_item (value_at(op->new, "spec.tolerations"), t)
        value_push(op->a, all, t);
    for (size_t i = 0; i < value_len(all); i++)
        if (value_len(all) > TOLERATIONS_MERGED || !redundant(all, i, merged))
            value_push(op->a, merged, value_item(all, i));
    value_set_at(op->a, op->new, "spec.tolerations", merged);
}

int admit_runtime_class(struct op *op, struct err *e)
{
    if (!op->creating || op->request->subresource.n || !op_is(op, "", "pods"))
        return 0;
    struct str name = value_str_at(op->new, "spec.runtimeClassName");
    const struct value *class = NULL;
    if (name.n) {
        const struct kind *k =
            kind_by_resource(STR("node.k8s.io"), STR("v1"), STR("runtimeclasses"));
        _cleanup_object_ struct object *o = cache_get(op->server->cache, k, STR_NULL, name);
        if (!o)
            return api_forbidden(e, op->kind, op->name,
                                 "pod rejected: RuntimeClass \"%.*s\" not found", STR_ARG(name));
        class = value_clone(op->a, object_tree(op->a, o));
    }
    int r = overhead(op, class, e);
    if (r >= 0)
        r = node_selector(op, class, e);
    if (r >= 0)
        tolerations(op, class);
    return r;
}
