// Rules of what the cluster is made of: classes of storage and of runtimes, drivers, attachments,
// flow control, leases, autoscalers' metrics.
#include "object/key_index.h"
#include "object/quantity.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_storage_class, check_volume_attachment_spec, check_csi_driver_spec,
    check_csi_node_driver, check_runtime_class, check_flow_schema, check_priority_level,
    check_attributes_class, check_metric, check_scaling_rules, check_scaling_policy,
    check_metric_reference, check_lease_spec;

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_one_of(const struct str *list, struct str s)
{
    for (; list->p; list++)
        if (str_eq(*list, s))
            return true;
    return false;
}

// ---- storage ----------------------------------------------------------------------------------

void check_storage_class(struct check *c, const struct value *class, const struct value *old)
{
    struct value *provisioner = value_getc(class, "provisioner");
    if (!value_string(provisioner).n)
        check_required(c, "provisioner", NULL);
    else
        check_format(c, "provisioner", provisioner, FORMAT_QUALIFIED_NAME);
    size_t total = 0;
    value_each_field (value_getc(class, "parameters"), m) {
        if (!m->key.n)
            check_invalid(c, "parameters", value_str(c->arena, m->key), "field can not be empty.");
        total += m->key.n + value_string(m->value).n;
    }
    if (total > 256 * 1024)
        check_too_long(c, "parameters", 256 * 1024);
    value_each_item (value_getc(class, "allowedTopologies"), term)
        value_each_item (value_getc(term, "matchLabelExpressions"), r) {
            if (value_len(value_getc(r, "values")))
                continue;
            size_t mark = check_push_index(c, "allowedTopologies", term_i);
            size_t inner = check_push_index(c, "matchLabelExpressions", r_i);
            check_required(c, "values", NULL);
            check_pop(c, inner);
            check_pop(c, mark);
        }
    static const char *const fixed[] = {"parameters", "provisioner", "reclaimPolicy",
                                        "volumeBindingMode"};
    static const char *const texts[] = {"updates to parameters are forbidden.",
                                        "updates to provisioner are forbidden.",
                                        "updates to reclaimPolicy are forbidden."};
    for (size_t i = 0; old && i < COUNT(fixed); i++) {
        if (same(value_getc(class, fixed[i]), value_getc(old, fixed[i])))
            continue;
        if (i < 3)
            check_forbidden(c, fixed[i], "%s", texts[i]);
        else
            check_immutable(c, class, old, fixed[i]);
    }
}

void check_attributes_class(struct check *c, const struct value *class, const struct value *old)
{
    if (!value_len(value_getc(class, "parameters")))
        check_required(c, "parameters", "must contain at least one key/value pair");
    if (!old)
        return;
    if (!same(value_getc(class, "driverName"), value_getc(old, "driverName")))
        check_forbidden(c, "driverName", "updates to driverName are forbidden.");
    if (!same(value_getc(class, "parameters"), value_getc(old, "parameters")))
        check_forbidden(c, "parameters", "updates to parameters are forbidden.");
}

void check_volume_attachment_spec(struct check *c, const struct value *spec,
                                  const struct value *old)
{
    static const char text[] =
        "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    const struct value *source = value_getc(spec, "source");
    bool inline_spec = has(source, "inlineVolumeSpec"),
         name = value_str_at(source, "persistentVolumeName").n;
    if (!inline_spec && !has(source, "persistentVolumeName"))
        check_required(c, "source", text);
    else if (inline_spec && has(source, "persistentVolumeName"))
        check_forbidden(c, "source", text);
    else if (!inline_spec && !name)
        check_required(c, "source.persistentVolumeName",
                       "must specify non empty persistentVolumeName");
    check_format(c, "nodeName", value_getc(spec, "nodeName"), FORMAT_DNS1123_SUBDOMAIN);
    if (!value_str_at(spec, "attacher").n)
        check_format(c, "attacher", value_getc(spec, "attacher"), FORMAT_CSI_DRIVER);
    (void)old;
}

void check_csi_driver_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    static const struct str modes[] = {STR("Persistent"), STR("Ephemeral"), STR_NULL};
    _cleanup_key_index_ struct key_index audiences = KEY_INDEX_INIT;
    value_each_item (value_getc(spec, "tokenRequests"), request) {
        struct value *audience = value_getc(request, "audience"),
                     *seconds = value_getc(request, "expirationSeconds");
        size_t mark = check_push_index(c, "tokenRequests", request_i);
        if (key_index_add(&audiences, value_string(audience)) >= 0)
            check_duplicate(c, "audience", audience);
        if (seconds && value_int_or(seconds, 600) < 600)
            check_invalid(c, "expirationSeconds", seconds,
                          "may not specify a duration less than 10 minutes");
        if (seconds && value_int_or(seconds, 600) > 4294967296)
            check_invalid(c, "expirationSeconds", seconds,
                          "may not specify a duration larger than 2^32 seconds");
        check_pop(c, mark);
    }
    value_each_item (value_getc(spec, "volumeLifecycleModes"), mode)
        if (!is_one_of(modes, value_string(mode)))
            check_not_supported(c, "volumeLifecycleModes", mode, modes);
}

void check_csi_node_driver(struct check *c, const struct value *driver, const struct value *old)
{
    (void)old;
    struct value *name = value_getc(driver, "name"), *id = value_getc(driver, "nodeID");
    if (!value_string(name).n)
        check_required(c, "name", NULL);
    check_format(c, "name", name, FORMAT_CSI_DRIVER);
    if (!value_string(id).n)
        check_required(c, "nodeID", NULL);
    else if (value_string(id).n > 256)
        check_invalid(c, "nodeID", id, "must be 256 characters or less");
    _cleanup_key_index_ struct key_index keys = KEY_INDEX_INIT;
    value_each_item (value_getc(driver, "topologyKeys"), key) {
        if (key_index_add(&keys, value_string(key)) >= 0)
            check_duplicate(c, "topologyKeys", key);
        check_format(c, "topologyKeys", key, FORMAT_QUALIFIED_NAME);
    }
}

// ---- runtimes ---------------------------------------------------------------------------------

void check_runtime_class(struct check *c, const struct value *class, const struct value *old)
{
    const struct value *scheduling = value_getc(class, "scheduling");
    check_format(c, "handler", value_getc(class, "handler"), FORMAT_DNS1123_LABEL);
    check_overhead(c, value_at(class, "overhead.podFixed"));
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    value_each_item (value_getc(scheduling, "tolerations"), toleration) {
        if (key_index_add(&seen, check_key_of(c, toleration)) < 0)
            continue;
        size_t mark = check_push_index(c, "scheduling.tolerations", toleration_i);
        check_duplicate(c, NULL, toleration);
        check_pop(c, mark);
    }
    if (old)
        check_immutable(c, class, old, "handler");
}

// ---- flow control -----------------------------------------------------------------------------

static const struct str verbs[] = {
    STR("create"), STR("delete"), STR("deletecollection"), STR("get"),   STR("list"),
    STR("patch"),  STR("proxy"),  STR("update"),           STR("watch"), STR_NULL};

static void check_verbs(struct check *c, const struct value *rule)
{
    const struct value *list = value_getc(rule, "verbs");
    bool star = false, bad = false;
    value_each_item (list, verb) {
        star |= str_eqc(value_string(verb), "*");
        bad |= !str_eqc(value_string(verb), "*") && !is_one_of(verbs, value_string(verb));
    }
    if (!value_len(list))
        check_required(c, "verbs", "verbs must contain at least one value");
    else if (star && value_len(list) > 1)
        check_invalid(c, "verbs", list, "if '*' is present, must not specify other verbs");
    else if (bad)
        check_not_supported(c, "verbs", list, verbs);
}

static void check_flow_subject(struct check *c, const struct value *subject)
{
    static const struct str kinds[] = {STR("Group"), STR("ServiceAccount"), STR("User"), STR_NULL};
    static const char *const parts[] = {"group", "serviceAccount", "user"};
    struct value *kind = value_getc(subject, "kind");
    if (!is_one_of(kinds, value_string(kind))) {
        check_not_supported(c, "kind", kind, kinds);
        return;
    }
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct str name = arena_printf(c->arena, "%s.name", parts[i]);
        bool mine = str_eq(kinds[i], value_string(kind));
        if (!mine && has(subject, parts[i]))
            check_forbidden(c, parts[i], "%s is forbidden when subject kind is not '%.*s'",
                            parts[i], STR_ARG(kinds[i]));
        else if (mine && !has(subject, parts[i]))
            check_required(
                c, parts[i],
                arena_cstr(c->arena,
                           arena_printf(c->arena, "%s is required when subject kind is '%.*s'",
                                        parts[i], STR_ARG(kinds[i]))));
        else if (mine && !value_str_at(subject, arena_cstr(c->arena, name)).n)
            check_required(c, arena_cstr(c->arena, name), NULL);
    }
}

static void check_flow_rule(struct check *c, const struct value *rule)
{
    const struct value *subjects = value_getc(rule, "subjects"),
                       *resources = value_getc(rule, "resourceRules"),
                       *others = value_getc(rule, "nonResourceRules");
    if (!value_len(subjects))
        check_required(c, "subjects", "subjects must contain at least one value");
    value_each_item (subjects, subject) {
        size_t mark = check_push_index(c, "subjects", subject_i);
        check_flow_subject(c, subject);
        check_pop(c, mark);
    }
    if (!value_len(resources) && !value_len(others))
        check_required(c, NULL,
                       "at least one of resourceRules and nonResourceRules has to be non-empty");
    value_each_item (resources, r) {
        size_t mark = check_push_index(c, "resourceRules", r_i);
        check_verbs(c, r);
        if (!value_len(value_getc(r, "apiGroups")))
            check_required(c, "apiGroups", "resource rules must supply at least one api group");
        if (!value_len(value_getc(r, "resources")))
            check_required(c, "resources", "resource rules must supply at least one resource");
        if (!value_len(value_getc(r, "namespaces")) && !value_bool_at(r, "clusterScope", false))
            check_required(c, "namespaces",
                           "resource rules that are not cluster scoped must supply at least one "
                           "namespace");
        check_pop(c, mark);
    }
    value_each_item (others, r) {
        size_t mark = check_push_index(c, "nonResourceRules", r_i);
        check_verbs(c, r);
        if (!value_len(value_getc(r, "nonResourceURLs")))
            check_required(c, "nonResourceURLs", "nonResourceURLs must contain at least one value");
        value_each_item (value_getc(r, "nonResourceURLs"), url) {
            struct str s = value_string(url);
            size_t inner = check_push_index(c, "nonResourceURLs", url_i);
            if (!str_eqc(s, "*") && !str_starts(s, STR("/")))
                check_invalid(c, NULL, url, "must start with slash");
            check_pop(c, inner);
        }
        check_pop(c, mark);
    }
}

void check_flow_schema(struct check *c, const struct value *schema, const struct value *old)
{
    (void)old;
    const struct value *spec = value_getc(schema, "spec");
    struct value *precedence = value_getc(spec, "matchingPrecedence");
    bool exempt = str_eqc(value_str_at(schema, "metadata.name"), "exempt");
    int64_t n = value_int_or(precedence, 0);
    size_t mark = check_push(c, "spec");
    if (n > 10000)
        check_invalid(c, "matchingPrecedence", precedence, "must not be greater than 10000");
    if (n <= 0)
        check_invalid(c, "matchingPrecedence", value_int(c->arena, n), "must be positive");
    if (n == 1 && !exempt)
        check_invalid(c, "matchingPrecedence", precedence,
                      "only the schema named 'exempt' may have matchingPrecedence 1");
    if (!value_str_at(spec, "priorityLevelConfiguration.name").n)
        check_required(c, "priorityLevelConfiguration.name", "must reference a priority level");
    value_each_item (value_getc(spec, "rules"), rule) {
        size_t inner = check_push_index(c, "rules", rule_i);
        check_flow_rule(c, rule);
        check_pop(c, inner);
    }
    check_pop(c, mark);
}

void check_priority_level(struct check *c, const struct value *level, const struct value *old)
{
    (void)old;
    static const struct str types[] = {STR("Exempt"), STR("Limited"), STR_NULL};
    static const struct str responses[] = {STR("Queue"), STR("Reject"), STR_NULL};
    static const char *const queue[] = {"queueLengthLimit", "queues", "handSize"};
    const struct value *spec = value_getc(level, "spec"), *limited = value_getc(spec, "limited");
    struct value *type = value_getc(spec, "type");
    struct str t = value_string(type), name = value_str_at(level, "metadata.name");
    size_t mark = check_push(c, "spec");
    if (str_eqc(name, "exempt") != str_eqc(t, "Exempt") && is_one_of(types, t))
        check_invalid(c, "type", type, "must be 'Exempt' if and only if `name` is 'exempt'");
    if (str_eqc(t, "Exempt")) {
        if (has(spec, "limited"))
            check_forbidden(c, "limited", "must be nil if the type is not Limited");
    } else if (str_eqc(t, "Limited")) {
        const struct value *response = value_getc(limited, "limitResponse"),
                           *queuing = value_getc(response, "queuing");
        struct value *shares = value_getc(limited, "nominalConcurrencyShares");
        struct str answer = value_str_at(response, "type");
        if (has(spec, "exempt"))
            check_forbidden(c, "exempt", "must be nil if the type is Limited");
        if (!value_is(limited, VALUE_OBJECT)) {
            check_required(c, "limited", "must not be empty when type is Limited");
            check_pop(c, mark);
            return;
        }
        if (value_int_or(shares, 0) < 0)
            check_invalid(c, "limited.nominalConcurrencyShares", shares,
                          "must be a non-negative integer");
        if (!is_one_of(responses, answer))
            check_not_supported(c, "limited.limitResponse.type", value_getc(response, "type"),
                                responses);
        else if (str_eqc(answer, "Reject") && has(response, "queuing"))
            check_forbidden(c, "limited.limitResponse.queuing",
                            "must be nil if limited.limitResponse.type is not Limited");
        else if (str_eqc(answer, "Queue") && !value_is(queuing, VALUE_OBJECT))
            check_required(c, "limited.limitResponse.queuing",
                           "must not be empty if limited.limitResponse.type is Limited");
        for (size_t i = 0; str_eqc(answer, "Queue") && i < COUNT(queue); i++) {
            if (!queuing || value_int_at(queuing, queue[i], 1) > 0)
                continue;
            size_t inner = check_push(c, "limited.limitResponse.queuing");
            check_invalid(c, queue[i], value_getc(queuing, queue[i]), "must be positive");
            check_pop(c, inner);
        }
    } else {
        check_not_supported(c, "type", type, types);
    }
    check_pop(c, mark);
}

// ---- autoscalers ------------------------------------------------------------------------------

void check_metric_reference(struct check *c, const struct value *ref, const struct value *old)
{
    (void)old;
    static const char *const parts[] = {"kind", "name"};
    for (size_t i = 0; i < COUNT(parts); i++) {
        if (!value_str_at(ref, parts[i]).n)
            check_required(c, parts[i], NULL);
        else
            check_format(c, parts[i], value_getc(ref, parts[i]), FORMAT_PATH_SEGMENT);
    }
}

static bool is_positive(const struct value *amount)
{
    struct quantity q;
    return quantity_parse(value_string(amount), &q) && q.nano > 0;
}

// What a metric of each type must say of its target.
static void check_target(struct check *c, const struct value *source, struct str type)
{
    const struct value *target = value_getc(source, "target");
    bool value = has(target, "value"), average = has(target, "averageValue"),
         utilization = has(target, "averageUtilization");
    bool pods = str_eqc(type, "Pods"), object = str_eqc(type, "Object"),
         external = str_eqc(type, "External");
    if (value && !is_positive(value_getc(target, "value")))
        check_invalid(c, "target.value", value_getc(target, "value"), "must be positive");
    if (average && !is_positive(value_getc(target, "averageValue")) && !pods)
        check_invalid(c, "target.averageValue", value_getc(target, "averageValue"),
                      "must be positive");
    if (pods) {
        if (!average || !is_positive(value_getc(target, "averageValue")))
            check_required(c, "target.averageValue", "must specify a positive target averageValue");
    } else if (object && !value && !average) {
        check_required(c, "target.averageValue",
                       "must set either a target value or a target averageValue");
    } else if (external) {
        if (value && average)
            check_forbidden(c, "target.value",
                            "may not set both a target value for metric and a per-pod target");
        else if (!value && !average)
            check_required(c, "target.averageValue",
                           "must set either a target value for metric or a per-pod target");
    } else if (!object) {
        if (!utilization && !average)
            check_required(c, "target.averageUtilization",
                           "must set either a target raw value or a target utilization");
        else if (utilization && average)
            check_forbidden(c, "target.averageValue",
                            "may not set both a target raw value and a target utilization");
    }
}

void check_metric(struct check *c, const struct value *metric, const struct value *old)
{
    (void)old;
    static const struct {
        struct str type;
        const char *field;
    } sources[] = {
        {STR("ContainerResource"), "containerResource"},
        {STR("External"), "external"},
        {STR("Object"), "object"},
        {STR("Pods"), "pods"},
        {STR("Resource"), "resource"},
    };
    static const struct str types[] = {
        STR("ContainerResource"), STR("External"), STR("Object"), STR("Pods"),
        STR("Resource"),          STR_NULL};
    struct value *type = value_getc(metric, "type");
    struct str t = value_string(type);
    if (!t.n)
        return; // reported as required
    if (!is_one_of(types, t)) {
        check_not_supported(c, "type", type, types);
        return;
    }
    for (size_t i = 0; i < COUNT(sources); i++) {
        const struct value *source = value_getc(metric, sources[i].field);
        if (!str_eq(sources[i].type, t))
            continue;
        if (!value_is(source, VALUE_OBJECT)) {
            check_required(c, sources[i].field,
                           "must populate information for the given metric source");
            return;
        }
        size_t mark = check_push(c, sources[i].field);
        bool named = str_eqc(t, "Resource") || str_eqc(t, "ContainerResource");
        if (named && !value_str_at(source, "name").n)
            check_required(c, "name", "must specify a resource name");
        if (str_eqc(t, "ContainerResource") && !value_str_at(source, "container").n)
            check_required(c, "container", "must specify a container");
        if (!named && !value_str_at(source, "metric.name").n)
            check_required(c, "metric.name", "must specify a metric name");
        check_target(c, source, t);
        check_pop(c, mark);
    }
}

void check_scaling_rules(struct check *c, const struct value *rules, const struct value *old)
{
    (void)old;
    static const struct str selects[] = {STR("Disabled"), STR("Max"), STR("Min"), STR_NULL};
    struct value *window = value_getc(rules, "stabilizationWindowSeconds");
    if (value_int_or(window, 0) < 0)
        check_invalid(c, "stabilizationWindowSeconds", window,
                      "must be greater than or equal to zero");
    if (value_int_or(window, 0) > 3600)
        check_invalid(c, "stabilizationWindowSeconds", window,
                      "must be less than or equal to 3600");
    if (has(rules, "selectPolicy") && !is_one_of(selects, value_str_at(rules, "selectPolicy")))
        check_not_supported(c, "selectPolicy", value_getc(rules, "selectPolicy"), selects);
    if (!value_len(value_getc(rules, "policies")))
        check_required(c, "policies", "must specify at least one Policy");
}

void check_scaling_policy(struct check *c, const struct value *policy, const struct value *old)
{
    (void)old;
    static const struct str types[] = {STR("Percent"), STR("Pods"), STR_NULL};
    struct value *period = value_getc(policy, "periodSeconds");
    if (!is_one_of(types, value_str_at(policy, "type")))
        check_not_supported(c, "type", value_getc(policy, "type"), types);
    if (value_int_at(policy, "value", 0) <= 0)
        check_invalid(c, "value", value_getc(policy, "value"), "must be greater than zero");
    if (value_int_or(period, 0) <= 0)
        check_invalid(c, "periodSeconds", period, "must be greater than zero");
    if (value_int_or(period, 0) > 1800)
        check_invalid(c, "periodSeconds", period, "must be less than or equal to 1800");
}

// ---- leases -----------------------------------------------------------------------------------

void check_lease_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    struct value *duration = value_getc(spec, "leaseDurationSeconds");
    if (has(spec, "leaseDurationSeconds") && value_int_or(duration, 1) <= 0)
        check_invalid(c, "leaseDurationSeconds", duration, "must be greater than 0");
}
