// Rules of where a pod may go: affinity, tolerations, spread constraints, node selectors. What
// looks at one field is data in api/core.kinds.
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_toleration, check_node_selector_term, check_node_selector,
    check_pod_affinity_term, check_spread_constraint, check_weight, check_scheduling_gate;

void check_toleration(struct check *c, const struct value *t, const struct value *old)
{
    (void)old;
    static const struct str operators[] = {STR("Equal"), STR("Exists"), STR_NULL};
    struct str key = value_str_at(t, "key"), op = value_str_at(t, "operator");
    bool exists = str_eqc(op, "Exists"), equal = !op.n || str_eqc(op, "Equal");
    struct value *effect = value_getc(t, "effect"), *v = value_getc(t, "value");
    if (key.n)
        check_format(c, "key", value_getc(t, "key"), FORMAT_QUALIFIED_NAME);
    else if (!exists)
        check_invalid(c, "operator", value_getc(t, "operator"),
                      "operator must be Exists when `key` is empty, which means \"match all values "
                      "and all keys\"");
    if (has(t, "tolerationSeconds") && !str_eqc(value_string(effect), "NoExecute"))
        check_invalid(c, "effect", effect,
                      "effect must be 'NoExecute' when `tolerationSeconds` is set");
    if (exists && value_string(v).n)
        check_invalid(c, "operator", v, "value must be empty when `operator` is 'Exists'");
    else if (equal && value_string(v).n)
        check_format(c, "operator", v, FORMAT_LABEL_VALUE);
    else if (!exists && !equal)
        check_not_supported(c, "operator", value_getc(t, "operator"), operators);
    if (value_string(effect).n) {
        static const struct str effects[] = {STR("NoSchedule"), STR("PreferNoSchedule"),
                                             STR("NoExecute"), STR_NULL};
        const struct str *e = effects;
        while (e->p && !str_eq(*e, value_string(effect)))
            e++;
        if (!e->p)
            check_not_supported(c, "effect", effect, effects);
    }
}

void check_scheduling_gate(struct check *c, const struct value *gate, const struct value *old)
{
    (void)old;
    check_format(c, NULL, value_getc(gate, "name"), FORMAT_QUALIFIED_NAME);
}

void check_weight(struct check *c, const struct value *term, const struct value *old)
{
    (void)old;
    int64_t weight = value_int_at(term, "weight", 0);
    if (weight < 1 || weight > 100)
        check_invalid(c, "weight", value_int(c->arena, weight), "must be in the range 1-100");
}

void check_node_selector(struct check *c, const struct value *selector, const struct value *old)
{
    (void)old;
    if (!value_len(value_getc(selector, "nodeSelectorTerms")))
        check_required(c, "nodeSelectorTerms", "must have at least one node selector term");
}

static void check_operator(struct check *c, const struct value *r)
{
    struct str op = value_str_at(r, "operator");
    size_t n = value_len(value_getc(r, "values"));
    if (str_eqc(op, "In") || str_eqc(op, "NotIn")) {
        if (!n)
            check_required(c, "values", "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (str_eqc(op, "Exists") || str_eqc(op, "DoesNotExist")) {
        if (n)
            check_forbidden(c, "values",
                            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (str_eqc(op, "Gt") || str_eqc(op, "Lt")) {
        if (n != 1)
            check_required(c, "values",
                           "must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else {
        check_invalid(c, "operator", value_getc(r, "operator"), "not a valid selector operator");
    }
}

static void check_label_requirement(struct check *c, const struct value *r)
{
    check_operator(c, r);
    check_format(c, "key", value_getc(r, "key"), FORMAT_QUALIFIED_NAME);
    value_each_item (value_getc(r, "values"), v) {
        size_t mark = check_push_index(c, "values", v_i);
        check_format(c, NULL, v, FORMAT_LABEL_VALUE);
        check_pop(c, mark);
    }
}

static void check_field_requirement(struct check *c, const struct value *r)
{
    struct str op = value_str_at(r, "operator");
    const struct value *values = value_getc(r, "values");
    if (!str_eqc(op, "In") && !str_eqc(op, "NotIn"))
        check_invalid(c, "operator", value_getc(r, "operator"), "not a valid selector operator");
    else if (value_len(values) != 1)
        check_required(c, "values",
                       "must be only one value when `operator` is 'In' or 'NotIn' for node field "
                       "selector");
    if (!str_eqc(value_str_at(r, "key"), "metadata.name")) {
        check_invalid(c, "key", value_getc(r, "key"), "not a valid field selector key");
        return;
    }
    value_each_item (values, v) {
        size_t mark = check_push_index(c, "values", v_i);
        check_format(c, NULL, v, FORMAT_DNS1123_SUBDOMAIN);
        check_pop(c, mark);
    }
}

void check_node_selector_term(struct check *c, const struct value *term, const struct value *old)
{
    (void)old;
    value_each_item (value_getc(term, "matchExpressions"), r) {
        size_t mark = check_push_index(c, "matchExpressions", r_i);
        check_label_requirement(c, r);
        check_pop(c, mark);
    }
    value_each_item (value_getc(term, "matchFields"), r) {
        size_t mark = check_push_index(c, "matchFields", r_i);
        check_field_requirement(c, r);
        check_pop(c, mark);
    }
}

// ---- keys whose values a selector takes from the pod ------------------------------------------

static void check_keys(struct check *c, const struct value *term, const char *field,
                       struct key_index *selected)
{
    const struct value *keys = value_getc(term, field);
    if (!value_len(keys))
        return;
    if (!has(term, "labelSelector")) {
        check_forbidden(c, field, "must not be specified when labelSelector is not set");
        return;
    }
    value_each_item (keys, key) {
        size_t mark = check_push_index(c, field, key_i);
        check_format(c, NULL, key, FORMAT_QUALIFIED_NAME);
        if (selected && key_index_find(selected, value_string(key)) >= 0)
            check_invalid(c, NULL, key, "exists in both matchLabelKeys and labelSelector");
        check_pop(c, mark);
    }
}

static void selected_keys(struct key_index *x, const struct value *selector)
{
    key_index_object(x, value_getc(selector, "matchLabels"));
    value_each_item (value_getc(selector, "matchExpressions"), r)
        key_index_add(x, value_str_at(r, "key"));
}

void check_pod_affinity_term(struct check *c, const struct value *term, const struct value *old)
{
    (void)old;
    _cleanup_key_index_ struct key_index selected = KEY_INDEX_INIT, match = KEY_INDEX_INIT;
    value_each_item (value_getc(term, "namespaces"), ns)
        check_format(c, "namespace", ns, FORMAT_DNS1123_LABEL);
    if (!value_str_at(term, "topologyKey").n) {
        check_required(c, "topologyKey", "can not be empty");
        check_format(c, "topologyKey", value_getc(term, "topologyKey"), FORMAT_QUALIFIED_NAME);
    }
    selected_keys(&selected, value_getc(term, "labelSelector"));
    check_keys(c, term, "matchLabelKeys", &selected);
    check_keys(c, term, "mismatchLabelKeys", NULL);
    value_each_item (value_getc(term, "mismatchLabelKeys"), key)
        key_index_add(&match, value_string(key));
    value_each_item (value_getc(term, "matchLabelKeys"), key) {
        if (key_index_find(&match, value_string(key)) < 0)
            continue;
        size_t mark = check_push_index(c, "matchLabelKeys", key_i);
        check_invalid(c, NULL, key, "exists in both matchLabelKeys and mismatchLabelKeys");
        check_pop(c, mark);
    }
}

void check_spread_constraint(struct check *c, const struct value *constraint,
                             const struct value *old)
{
    (void)old;
    struct value *domains = value_getc(constraint, "minDomains");
    struct str action = value_str_at(constraint, "whenUnsatisfiable");
    static const struct str actions[] = {STR("DoNotSchedule"), STR("ScheduleAnyway"), STR_NULL};
    if (!value_str_at(constraint, "topologyKey").n)
        check_required(c, "topologyKey", "can not be empty");
    if (!action.n)
        check_not_supported(c, "whenUnsatisfiable", value_getc(constraint, "whenUnsatisfiable"),
                            actions);
    if (has(constraint, "minDomains") && !str_eqc(action, "DoNotSchedule"))
        check_invalid(c, "minDomains", domains,
                      "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not %.*s",
                      STR_ARG(action));
    check_keys(c, constraint, "matchLabelKeys", NULL);
}

void check_scheduling(struct check *c, const struct value *spec)
{
    _cleanup_key_index_ struct key_index gates = KEY_INDEX_INIT;
    value_each_item (value_getc(spec, "schedulingGates"), gate) {
        struct value *name = value_getc(gate, "name");
        if (!value_string(name).n || key_index_add(&gates, value_string(name)) < 0)
            continue;
        size_t mark = check_push_index(c, "schedulingGates", gate_i);
        check_duplicate(c, NULL, name);
        check_pop(c, mark);
    }
    // Of several with one key and action all but the last are reported.
    const struct value *constraints = value_getc(spec, "topologySpreadConstraints");
    _cleanup_key_index_ struct key_index pairs = KEY_INDEX_INIT;
    bool *again = arena_zalloc(c->arena, value_len(constraints) + 1);
    struct str *texts = arena_array(c->arena, struct str, value_len(constraints) + 1);
    for (size_t i = value_len(constraints); i-- > 0;) {
        const struct value *constraint = value_item(constraints, i);
        texts[i] =
            arena_printf(c->arena, "{%.*s, %.*s}", STR_ARG(value_str_at(constraint, "topologyKey")),
                         STR_ARG(value_str_at(constraint, "whenUnsatisfiable")));
        again[i] = key_index_add(&pairs, texts[i]) >= 0;
    }
    for (size_t i = 0; i < value_len(constraints); i++) {
        if (!again[i])
            continue;
        size_t mark = check_push_index(c, "topologySpreadConstraints", i);
        check_duplicate(c, "{topologyKey, whenUnsatisfiable}", value_str(c->arena, texts[i]));
        check_pop(c, mark);
    }
}
