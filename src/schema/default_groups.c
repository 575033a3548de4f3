// Defaults of the other groups that depend on other fields. What does not is data in api/*.kinds.
//
// All of these may run twice on one object and must then change nothing.
#include "schema/fields.h"
#include "schema/tables.h"

default_function default_deployment_strategy, default_daemon_set_strategy,
    default_stateful_set_strategy, default_job, default_job_spec, default_hpa_spec,
    default_network_policy_spec, default_rbac_subject, default_csi_driver_spec,
    default_device_request, default_crd;

// rollingUpdate is there exactly for the strategy that it belongs to; its own fields are data.
static void rolling_update(struct arena *a, struct value *strategy)
{
    if (str_eqc(value_str_at(strategy, "type"), "RollingUpdate"))
        set_absent(a, strategy, "rollingUpdate", value_object(a));
}

void default_deployment_strategy(struct arena *a, struct value *strategy)
{
    rolling_update(a, strategy);
}

void default_daemon_set_strategy(struct arena *a, struct value *strategy)
{
    rolling_update(a, strategy);
}

void default_stateful_set_strategy(struct arena *a, struct value *strategy)
{
    rolling_update(a, strategy);
}

void default_job(struct arena *a, struct value *job)
{
    const struct value *labels = value_at(job, "spec.template.metadata.labels");
    if (!value_len(value_at(job, "metadata.labels")) && value_len(labels))
        value_set_at(a, job, "metadata.labels", value_clone(a, labels));
}

void default_job_spec(struct arena *a, struct value *spec)
{
    if (!has(spec, "completions") && !has(spec, "parallelism"))
        value_setc(a, spec, "completions", value_int(a, 1));
    set_absent(a, spec, "parallelism", value_int(a, 1));
    set_absent(a, spec, "backoffLimit",
               value_int(a, has(spec, "backoffLimitPerIndex") ? INT32_MAX : 6));
    if (!has(spec, "podReplacementPolicy"))
        value_setc(a, spec, "podReplacementPolicy",
                   value_strc(a, has(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed"));
}

static void scaling_policy(struct arena *a, struct value *policies, const char *type, int64_t value,
                           int64_t period)
{
    struct value *p = value_object(a);
    value_setc(a, p, "type", value_strc(a, type));
    value_setc(a, p, "value", value_int(a, value));
    value_setc(a, p, "periodSeconds", value_int(a, period));
    value_push(a, policies, p);
}

static void scaling_rules(struct arena *a, struct value *behavior, bool up)
{
    struct value *rules = value_getc(behavior, up ? "scaleUp" : "scaleDown");
    if (!value_is(rules, VALUE_OBJECT)) {
        rules = value_object(a);
        value_setc(a, behavior, up ? "scaleUp" : "scaleDown", rules);
    }
    set_absent(a, rules, "selectPolicy", value_strc(a, "Max"));
    if (up)
        set_absent(a, rules, "stabilizationWindowSeconds", value_int(a, 0));
    if (value_len(value_getc(rules, "policies")))
        return;
    struct value *policies = value_array(a);
    if (up)
        scaling_policy(a, policies, "Pods", 4, 15);
    scaling_policy(a, policies, "Percent", 100, 15);
    value_setc(a, rules, "policies", policies);
}

void default_hpa_spec(struct arena *a, struct value *spec)
{
    if (!value_len(value_getc(spec, "metrics"))) {
        struct value *metrics = value_array(a), *m = value_object(a);
        value_setc(a, m, "type", value_strc(a, "Resource"));
        value_set_at(a, m, "resource.name", value_strc(a, "cpu"));
        value_set_at(a, m, "resource.target.type", value_strc(a, "Utilization"));
        value_set_at(a, m, "resource.target.averageUtilization", value_int(a, 80));
        value_push(a, metrics, m);
        value_setc(a, spec, "metrics", metrics);
    }
    struct value *behavior = value_getc(spec, "behavior");
    if (value_is(behavior, VALUE_OBJECT)) {
        scaling_rules(a, behavior, true);
        scaling_rules(a, behavior, false);
    }
}

void default_network_policy_spec(struct arena *a, struct value *spec)
{
    if (value_len(value_getc(spec, "policyTypes")))
        return;
    struct value *types = value_array(a);
    value_push(a, types, value_strc(a, "Ingress"));
    if (value_len(value_getc(spec, "egress")))
        value_push(a, types, value_strc(a, "Egress"));
    value_setc(a, spec, "policyTypes", types);
}

void default_rbac_subject(struct arena *a, struct value *subject)
{
    struct str kind = value_str_at(subject, "kind");
    if (!value_str_at(subject, "apiGroup").n && (str_eqc(kind, "User") || str_eqc(kind, "Group")))
        value_setc(a, subject, "apiGroup", value_strc(a, "rbac.authorization.k8s.io"));
}

void default_csi_driver_spec(struct arena *a, struct value *spec)
{
    if (value_len(value_getc(spec, "volumeLifecycleModes")))
        return;
    struct value *modes = value_array(a);
    value_push(a, modes, value_strc(a, "Persistent"));
    value_setc(a, spec, "volumeLifecycleModes", modes);
}

void default_device_request(struct arena *a, struct value *request)
{
    if (str_eqc(value_str_at(request, "allocationMode"), "ExactCount") &&
        !value_int_at(request, "count", 0))
        value_setc(a, request, "count", value_int(a, 1));
}

void default_crd(struct arena *a, struct value *crd)
{
    struct value *spec = value_getc(crd, "spec"), *names = value_getc(spec, "names");
    struct str kind = value_str_at(names, "kind");
    if (!has(spec, "conversion"))
        value_set_at(a, spec, "conversion.strategy", value_strc(a, "None"));
    if (!kind.n)
        return;
    if (!value_str_at(names, "singular").n) {
        char *lower = arena_cstr(a, kind);
        for (char *p = lower; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p += 'a' - 'A';
        value_setc(a, names, "singular", value_strc(a, lower));
    }
    if (!value_str_at(names, "listKind").n)
        value_setc(a, names, "listKind", value_str(a, arena_printf(a, "%.*sList", STR_ARG(kind))));
}
