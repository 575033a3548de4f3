// See node_fit.h.
#include "controller/node_fit.h"

// One requirement {key, operator, values} against a value that is there or not (p NULL).
static bool requirement_holds(const struct value *r, const struct value *have)
{
    struct str op = value_str_at(r, "operator"), text = value_string(have);
    const struct value *values = value_getc(r, "values");
    bool in = false;
    value_each_item (values, v)
        in = in || (have && str_eq(value_string(v), text));
    if (str_eqc(op, "In"))
        return in;
    if (str_eqc(op, "NotIn"))
        return !in;
    if (str_eqc(op, "Exists"))
        return have;
    if (str_eqc(op, "DoesNotExist"))
        return !have;
    int64_t number, bound;
    if (!have || !str_to_i64(text, &number) ||
        !str_to_i64(value_string(value_item(values, 0)), &bound))
        return false;
    return str_eqc(op, "Gt") ? number > bound : str_eqc(op, "Lt") && number < bound;
}

static bool term_matches(const struct value *term, const struct value *node)
{
    const struct value *expressions = value_getc(term, "matchExpressions"),
                       *fields = value_getc(term, "matchFields");
    if (!value_len(expressions) && !value_len(fields))
        return false; // an empty term matches nothing
    value_each_item (expressions, r) {
        if (!requirement_holds(
                r, value_get(value_at(node, "metadata.labels"), value_str_at(r, "key"))))
            return false;
    }
    value_each_item (fields, r) {
        if (!str_eqc(value_str_at(r, "key"), "metadata.name") ||
            !requirement_holds(r, value_at(node, "metadata.name")))
            return false;
    }
    return true;
}

bool node_fit_selects(const struct value *spec, const struct value *node)
{
    struct str name = value_str_at(spec, "nodeName");
    if (name.n && !str_eq(name, value_str_at(node, "metadata.name")))
        return false;
    const struct value *selector = value_getc(spec, "nodeSelector");
    value_each_field (selector, f) {
        const struct value *have = value_get(value_at(node, "metadata.labels"), f->key);
        if (!have || !str_eq(value_string(have), value_string(f->value)))
            return false;
    }
    const struct value *required =
        value_at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    if (!required)
        return true;
    const struct value *terms = value_getc(required, "nodeSelectorTerms");
    value_each_item (terms, term) {
        if (term_matches(term, node))
            return true;
    }
    return false;
}

bool node_fit_tolerates(const struct value *tolerations, const struct value *taint)
{
    struct str key = value_str_at(taint, "key"), value = value_str_at(taint, "value");
    struct str effect = value_str_at(taint, "effect");
    value_each_item (tolerations, t) {
        struct str tkey = value_str_at(t, "key"), teffect = value_str_at(t, "effect");
        bool exists = str_eqc(value_str_at(t, "operator"), "Exists");
        if (teffect.n && !str_eq(teffect, effect))
            continue;
        if (tkey.n ? !str_eq(tkey, key) : !exists)
            continue;
        if (exists || str_eq(value_str_at(t, "value"), value))
            return true;
    }
    return false;
}

bool node_fit_taints(const struct value *tolerations, const struct value *node, const char *effect)
{
    const struct value *taints = value_at(node, "spec.taints");
    value_each_item (taints, taint) {
        if (str_eqc(value_str_at(taint, "effect"), effect) &&
            !node_fit_tolerates(tolerations, taint))
            return false;
    }
    return true;
}
