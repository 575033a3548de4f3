// Rules of resource quotas and limit ranges: which names count, which scopes go together, which
// amount may not pass which other.
#include "object/key_index.h"
#include "object/quantity.h"
#include "schema/check.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_quota, check_limit_range, check_limit_range_item;

#define COUNT(a) (sizeof(a) / sizeof *(a))

// ---- names ------------------------------------------------------------------------------------

// What a quota counts besides devices and numbers of objects; those that come in whole pieces.
static const struct {
    const char *name;
    bool whole;
} quota_names[] = {
    {"cpu", false},
    {"memory", false},
    {"ephemeral-storage", false},
    {"requests.cpu", false},
    {"requests.memory", false},
    {"requests.storage", false},
    {"requests.ephemeral-storage", false},
    {"limits.cpu", false},
    {"limits.memory", false},
    {"limits.ephemeral-storage", false},
    {"pods", true},
    {"resourcequotas", true},
    {"services", true},
    {"replicationcontrollers", true},
    {"secrets", true},
    {"configmaps", true},
    {"persistentvolumeclaims", true},
    {"services.nodeports", true},
    {"services.loadbalancers", true},
};

static void check_quota_name(struct check *c, struct str name, bool *ret_whole)
{
    struct value *v = value_str(c->arena, name);
    bool known =
        str_starts(name, STR("hugepages-")) || str_starts(name, STR("requests.hugepages-"));
    *ret_whole = false;
    for (size_t i = 0; i < COUNT(quota_names); i++)
        if (str_eqc(name, quota_names[i].name)) {
            known = true;
            *ret_whole = quota_names[i].whole;
        }
    check_format(c, NULL, v, FORMAT_QUALIFIED_NAME);
    if (known || str_chr(name, '/') >= 0)
        return;
    if (schema_format_ok(c->arena, FORMAT_QUALIFIED_NAME, name, NULL) && !str_eqc(name, "storage"))
        check_invalid(c, NULL, v, "must be a standard resource type or fully qualified");
    check_invalid(c, NULL, v, "must be a standard resource for quota");
}

static void check_counts(struct check *c, const struct value *quota, const char *field)
{
    value_each_field (value_at(quota, field), m) {
        struct quantity q;
        bool whole;
        size_t mark = check_push_key(c, field, m->key);
        check_quota_name(c, m->key, &whole);
        if (quantity_parse(value_string(m->value), &q)) {
            if (q.nano < 0)
                check_invalid(c, NULL, m->value, MUST_NOT_BE_NEGATIVE);
            if (whole && q.nano % 1000000000)
                check_invalid(c, NULL, m->value, "must be an integer");
        }
        check_pop(c, mark);
    }
}

// ---- scopes -----------------------------------------------------------------------------------

static const char *const scopes[] = {"Terminating",          "NotTerminating",
                                     "BestEffort",           "NotBestEffort",
                                     "PriorityClass",        "CrossNamespacePodAffinity",
                                     "VolumeAttributesClass"};

static bool is_scope(struct str scope)
{
    for (size_t i = 0; i < COUNT(scopes); i++)
        if (str_eqc(scope, scopes[i]))
            return true;
    return false;
}

// Whether a scope says anything about what is counted.
static bool scope_fits(struct str scope, struct str resource)
{
    static const char *const of_pods[] = {
        "pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"};
    if (str_eqc(scope, "VolumeAttributesClass"))
        return str_eqc(resource, "persistentvolumeclaims") || str_eqc(resource, "requests.storage");
    if (str_eqc(scope, "BestEffort"))
        return str_eqc(resource, "pods") || str_eqc(resource, "count/pods");
    for (size_t i = 0; i < COUNT(of_pods); i++)
        if (str_eqc(resource, of_pods[i]))
            return true;
    return str_eqc(resource, "count/pods") || str_eqc(resource, "ephemeral-storage") ||
           str_eqc(resource, "requests.ephemeral-storage") ||
           str_eqc(resource, "limits.ephemeral-storage");
}

static bool fits_all(struct str scope, const struct value *hard)
{
    value_each_field (hard, m)
        if (!scope_fits(scope, m->key))
            return false;
    return true;
}

static unsigned scope_bit(struct str scope)
{
    for (unsigned i = 0; i < COUNT(scopes); i++)
        if (str_eqc(scope, scopes[i]))
            return 1u << i;
    return 0;
}

static bool conflict(unsigned bits)
{
    return (bits & 3) == 3 || (bits & 12) == 12;
}

static void check_scope_requirement(struct check *c, const struct value *spec,
                                    const struct value *r)
{
    struct value *name = value_getc(r, "scopeName"), *op = value_getc(r, "operator");
    struct str scope = value_string(name), o = value_string(op);
    const struct value *values = value_getc(r, "values");
    size_t mark = check_push(c, "spec.scopeSelector.matchExpressions");
    bool some = str_eqc(o, "In") || str_eqc(o, "NotIn");
    bool any = str_eqc(o, "Exists") || str_eqc(o, "DoesNotExist");
    if (!is_scope(scope)) {
        check_invalid(c, "scopeName", name, "unsupported scope");
    } else if (!fits_all(scope, value_getc(spec, "hard"))) {
        check_invalid(c, NULL, value_getc(spec, "scopeSelector"),
                      "unsupported scope applied to resource");
    }
    if ((scope_bit(scope) & 0x2f) && !str_eqc(o, "Exists"))
        check_invalid(c, "operator", op,
                      "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                      "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                      "ResourceQuotaScopeNotBestEffort or "
                      "ResourceQuotaScopeCrossNamespacePodAffinity");
    if (some && !value_len(values))
        check_required(c, "values",
                       "must be at least one value when `operator` is 'In' or 'NotIn' for scope "
                       "selector");
    if (any && value_len(values))
        check_invalid(c, "values", values,
                      "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope "
                      "selector");
    if (!some && !any)
        check_invalid(c, "operator", op, "not a valid selector operator");
    check_pop(c, mark);
}

void check_quota(struct check *c, const struct value *quota, const struct value *old)
{
    const struct value *spec = value_getc(quota, "spec"), *list = value_getc(spec, "scopes");
    unsigned seen = 0;
    check_counts(c, quota, "spec.hard");
    value_each_item (list, scope) {
        struct str s = value_string(scope);
        if (!is_scope(s))
            check_invalid(c, "spec.scopes", list, "unsupported scope");
        else if (!fits_all(s, value_getc(spec, "hard")))
            check_invalid(c, "spec.scopes", list, "unsupported scope applied to resource");
        seen |= scope_bit(s);
    }
    if (conflict(seen))
        check_invalid(c, "spec.scopes", list, "conflicting scopes");
    value_each_item (value_at(spec, "scopeSelector.matchExpressions"), r)
        check_scope_requirement(c, spec, r);
    if (old && !same(list, value_at(old, "spec.scopes")))
        check_invalid(c, "spec.scopes", list ? list : value_null(c->arena), FIELD_IS_IMMUTABLE);
}

// ---- limit ranges -----------------------------------------------------------------------------

// Which amount may not be above which; the originals name another field and value than one expects.
static const struct {
    const char *low, *high, *field, *shown, *text;
} order[] = {
    {"min", "max", "min", "min", "min value %.*s is greater than max value %.*s"},
    {"min", "defaultRequest", "defaultRequest", "defaultRequest",
     "min value %.*s is greater than default request value %.*s"},
    {"defaultRequest", "max", "defaultRequest", "defaultRequest",
     "default request value %.*s is greater than max value %.*s"},
    {"defaultRequest", "default", "defaultRequest", "defaultRequest",
     "default request value %.*s is greater than default limit value %.*s"},
    {"min", "default", "default", "min", "min value %.*s is greater than default value %.*s"},
    {"default", "max", "default", "max", "default value %.*s is greater than max value %.*s"},
};

static void check_order(struct check *c, const struct value *item, size_t rule)
{
    const struct value *above = value_getc(item, order[rule].high);
    _cleanup_key_index_ struct key_index limits = KEY_INDEX_INIT;
    key_index_object(&limits, above);
    value_each_field (value_getc(item, order[rule].low), m) {
        struct quantity a, b;
        ptrdiff_t at = key_index_find(&limits, m->key);
        const struct value *limit = at < 0 ? NULL : above->members[at].value;
        if (!limit || !quantity_parse(value_string(m->value), &a) ||
            !quantity_parse(value_string(limit), &b) || quantity_cmp(&a, &b) <= 0)
            continue;
        bool shows_low = !strcmp(order[rule].shown, order[rule].low);
        size_t mark = check_push_key(c, order[rule].field, m->key);
        check_invalid(c, NULL, shows_low ? m->value : limit, order[rule].text,
                      STR_ARG(value_string(m->value)), STR_ARG(value_string(limit)));
        check_pop(c, mark);
    }
}

static void check_ratio(struct check *c, const struct value *item)
{
    value_each_field (value_getc(item, "maxLimitRequestRatio"), m) {
        struct quantity ratio, low, high;
        const struct value *min = value_get(value_getc(item, "min"), m->key);
        const struct value *max = value_get(value_getc(item, "max"), m->key);
        if (!quantity_parse(value_string(m->value), &ratio))
            continue;
        size_t mark = check_push_key(c, "maxLimitRequestRatio", m->key);
        if (ratio.nano < 1000000000)
            check_invalid(c, NULL, m->value, "ratio %.*s is less than 1",
                          STR_ARG(value_string(m->value)));
        if (min && max && quantity_parse(value_string(min), &low) &&
            quantity_parse(value_string(max), &high) && low.nano) {
            double most = (double)high.nano / (double)low.nano;
            if ((double)ratio.nano / 1e9 > most)
                check_invalid(c, NULL, m->value, "ratio %.*s is greater than max/min = %f",
                              STR_ARG(value_string(m->value)), most);
        }
        check_pop(c, mark);
    }
}

void check_limit_range_item(struct check *c, const struct value *item, const struct value *old)
{
    (void)old;
    static const char *const maps[] = {"max", "min", "default", "defaultRequest",
                                       "maxLimitRequestRatio"};
    struct value *type = value_getc(item, "type");
    struct str t = value_string(type);
    bool pod = str_eqc(t, "Pod"), container = str_eqc(t, "Container"),
         claim = str_eqc(t, "PersistentVolumeClaim");
    check_format(c, "type", type, FORMAT_QUALIFIED_NAME);
    if (schema_format_ok(c->arena, FORMAT_QUALIFIED_NAME, t, NULL) && str_chr(t, '/') < 0 && !pod &&
        !container && !claim)
        check_invalid(c, "type", type, "must be a standard limit type or fully qualified");
    for (size_t i = 0; i < COUNT(maps); i++) {
        bool defaults = i == 2 || i == 3;
        if (pod && defaults) {
            if (value_len(value_getc(item, maps[i])))
                check_forbidden(c, maps[i], "may not be specified when `type` is 'Pod'");
            continue;
        }
        value_each_field (value_getc(item, maps[i]), m) {
            size_t mark = check_push_key(c, maps[i], m->key);
            check_format(c, NULL, value_str(c->arena, m->key), FORMAT_QUALIFIED_NAME);
            if (pod || container)
                check_resource_name(c, m->key);
            check_pop(c, mark);
        }
    }
    if (claim && !value_at(item, "min.storage") && !value_at(item, "max.storage"))
        check_required(c, "limits",
                       "either minimum or maximum storage value is required, but neither was "
                       "provided");
    for (size_t i = 0; i < COUNT(order); i++)
        if (!pod || i == 0)
            check_order(c, item, i);
    check_ratio(c, item);
    const struct value *requests = value_getc(item, "defaultRequest");
    _cleanup_key_index_ struct key_index index = KEY_INDEX_INIT;
    key_index_object(&index, requests);
    value_each_field (value_getc(item, "default"), m) {
        ptrdiff_t at = key_index_find(&index, m->key);
        if (!check_exact_resource(m->key) || at < 0 ||
            value_eq(m->value, requests->members[at].value))
            continue;
        const struct value *request = requests->members[at].value;
        size_t mark = check_push_key(c, "defaultRequest", m->key);
        check_invalid(
            c, NULL, request, "default value %.*s must equal to defaultRequest value %.*s in %.*s",
            STR_ARG(value_string(m->value)), STR_ARG(value_string(request)), STR_ARG(m->key));
        check_pop(c, mark);
    }
}

void check_limit_range(struct check *c, const struct value *range, const struct value *old)
{
    (void)old;
    size_t mark = check_push(c, "spec.limits");
    check_unique(c, value_at(range, "spec.limits"), "type");
    check_pop(c, mark);
}
