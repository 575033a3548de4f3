// Rules of workloads: apps, batch, autoscaling, policy.
#include "object/quantity.h"
#include "object/selector.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"
#include "text/cron.h"

check_function check_deployment_status, check_replica_status, check_stateful_set_status,
    check_deployment_spec, check_deployment_strategy, check_rolling_update_deployment,
    check_workload_spec, check_daemon_set_spec, check_rolling_update_daemon_set,
    check_stateful_set_spec, check_controller_revision, check_job, check_job_spec, check_cron_job,
    check_hpa_spec, check_disruption_budget_spec;

static const struct str only_always[] = {STR("Always"), STR_NULL};

static void check_matches(struct check *c, const struct value *spec)
{
    struct selector *selector;
    struct value *labels = value_at(spec, "template.metadata.labels");
    if (selector_from_value(c->arena, value_getc(spec, "selector"), &selector, NULL) < 0)
        return; // its own faults are reported
    if (!selector_empty(selector) && !selector_matches(selector, labels))
        check_invalid(c, "template.metadata.labels", labels ? labels : value_null(c->arena),
                      "`selector` does not match template `labels`");
}

// What all controllers of endless pods have in common.
static void check_workload(struct check *c, const struct value *spec, const struct value *old,
                           const char *noun, const char *kind)
{
    const struct value *selector = value_getc(spec, "selector");
    if (selector && !value_len(value_getc(selector, "matchLabels")) &&
        !value_len(value_getc(selector, "matchExpressions")))
        check_invalid(c, "selector", selector, "empty selector is invalid for %s", noun);
    check_selector(c, "selector", selector);
    struct selector *parsed;
    if (!strcmp(kind, "ReplicaSet") && selector_from_value(c->arena, selector, &parsed, NULL) < 0)
        check_invalid(c, "selector", selector, "invalid label selector");
    check_matches(c, spec);
    struct value *policy = value_at(spec, "template.spec.restartPolicy");
    if (policy && !str_eqc(value_string(policy), "Always"))
        check_not_supported(c, "template.spec.restartPolicy", policy, only_always);
    if (value_at(spec, "template.spec.activeDeadlineSeconds"))
        check_forbidden(c, "template.spec.activeDeadlineSeconds",
                        "activeDeadlineSeconds in %s is not Supported", kind);
    if (old)
        check_immutable(c, spec, old, "selector");
}

void check_workload_spec(struct check *c, const struct value *spec, const struct value *old)
{
    check_workload(c, spec, old, "deployment", "ReplicaSet");
}

void check_deployment_spec(struct check *c, const struct value *spec, const struct value *old)
{
    check_workload(c, spec, old, "deployment", "ReplicaSet");
    struct value *deadline = value_getc(spec, "progressDeadlineSeconds");
    if (deadline && value_int_or(deadline, 0) <= value_int_at(spec, "minReadySeconds", 0))
        check_invalid(c, "progressDeadlineSeconds", deadline,
                      "must be greater than minReadySeconds");
}

void check_deployment_strategy(struct check *c, const struct value *strategy,
                               const struct value *old)
{
    (void)old;
    if (str_eqc(value_str_at(strategy, "type"), "Recreate") && has(strategy, "rollingUpdate"))
        check_forbidden(c, "rollingUpdate",
                        "may not be specified when strategy `type` is 'Recreate'");
}

// 0 or "0%": nothing may be moved.
static bool is_nothing(const struct value *v)
{
    struct str s = value_string(v);
    uint64_t n = 1;
    if (v && v->kind == VALUE_INT)
        return !v->i;
    return !v || (str_ends(s, STR("%")) && str_to_u64(str_sub(s, 0, s.n - 1), &n) && !n);
}

static void check_percent_limit(struct check *c, const struct value *object, const char *field)
{
    const struct value *v = value_getc(object, field);
    struct str s = value_string(v);
    uint64_t n;
    if (str_ends(s, STR("%")) && str_to_u64(str_sub(s, 0, s.n - 1), &n) && n > 100)
        check_invalid(c, field, v, "must not be greater than 100%%");
}

void check_rolling_update_deployment(struct check *c, const struct value *ru,
                                     const struct value *old)
{
    (void)old;
    check_percent_limit(c, ru, "maxUnavailable");
    if (is_nothing(value_getc(ru, "maxUnavailable")) && is_nothing(value_getc(ru, "maxSurge")))
        check_invalid(c, "maxUnavailable", value_getc(ru, "maxUnavailable"),
                      "may not be 0 when `maxSurge` is 0");
}

void check_daemon_set_spec(struct check *c, const struct value *spec, const struct value *old)
{
    check_workload(c, spec, old, "daemonset", "DaemonSet");
}

void check_rolling_update_daemon_set(struct check *c, const struct value *ru,
                                     const struct value *old)
{
    (void)old;
    bool unavailable = !is_nothing(value_getc(ru, "maxUnavailable"));
    bool surge = !is_nothing(value_getc(ru, "maxSurge"));
    check_percent_limit(c, ru, "maxUnavailable");
    check_percent_limit(c, ru, "maxSurge");
    if (unavailable && surge)
        check_invalid(c, "maxSurge", value_getc(ru, "maxSurge"),
                      "may not be set when maxUnavailable is non-zero");
    if (!unavailable && !surge)
        check_required(c, "maxUnavailable", "cannot be 0 when maxSurge is 0");
}

void check_stateful_set_spec(struct check *c, const struct value *spec, const struct value *old)
{
    static const char *const free_fields[] = {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    };
    struct value *management = value_getc(spec, "podManagementPolicy");
    if (!str_eqc(value_string(management), "OrderedReady") &&
        !str_eqc(value_string(management), "Parallel"))
        check_invalid(c, "podManagementPolicy", management, "must be 'OrderedReady' or 'Parallel'");
    check_workload(c, spec, NULL, "statefulset", "StatefulSet");
    if (!old)
        return;
    struct value *now = value_clone(c->arena, spec), *was = value_clone(c->arena, old);
    for (size_t i = 0; i < sizeof free_fields / sizeof *free_fields; i++) {
        value_delc(now, free_fields[i]);
        value_delc(was, free_fields[i]);
    }
    if (!value_eq(now, was))
        check_forbidden(c, NULL,
                        "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                        "'template', 'updateStrategy', 'revisionHistoryLimit', "
                        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
                        "forbidden");
}

void check_controller_revision(struct check *c, const struct value *r, const struct value *old)
{
    if (value_int_at(r, "revision", 0) < 0)
        check_invalid(c, "revision", value_getc(r, "revision"), MUST_NOT_BE_NEGATIVE);
    if (old)
        check_immutable(c, r, old, "data");
    else if (!has(r, "data"))
        check_required(c, "data", "data is mandatory");
}

// ---- status
// ----------------------------------------------------------------------------------------

// Counts of a workload: none is negative, none above the first, and what is available is ready.
static void check_counts(struct check *c, const struct value *status, const char *const *parts)
{
    static const char *const all[] = {
        "replicas",          "fullyLabeledReplicas", "updatedReplicas", "readyReplicas",
        "availableReplicas", "unavailableReplicas",  "currentReplicas"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (value_int_at(status, all[i], 0) < 0)
            check_invalid(c, all[i], value_getc(status, all[i]), MUST_NOT_BE_NEGATIVE);
    int64_t replicas = value_int_at(status, "replicas", 0);
    for (; *parts; parts++)
        if (value_int_at(status, *parts, 0) > replicas)
            check_invalid(c, *parts, value_int(c->arena, value_int_at(status, *parts, 0)),
                          "cannot be greater than status.replicas");
    if (value_int_at(status, "availableReplicas", 0) > value_int_at(status, "readyReplicas", 0))
        check_invalid(c, "availableReplicas", value_getc(status, "availableReplicas"),
                      "cannot be greater than readyReplicas");
}

void check_deployment_status(struct check *c, const struct value *status, const struct value *old)
{
    static const char *const parts[] = {"updatedReplicas", "readyReplicas", "availableReplicas",
                                        NULL};
    (void)old;
    check_counts(c, status, parts);
}

void check_replica_status(struct check *c, const struct value *status, const struct value *old)
{
    static const char *const parts[] = {"fullyLabeledReplicas", "readyReplicas",
                                        "availableReplicas", NULL};
    (void)old;
    check_counts(c, status, parts);
}

void check_stateful_set_status(struct check *c, const struct value *status, const struct value *old)
{
    static const char *const parts[] = {"readyReplicas", "currentReplicas", "updatedReplicas",
                                        "availableReplicas", NULL};
    (void)old;
    check_counts(c, status, parts);
}

// ---- batch
// ----------------------------------------------------------------------------------------

void check_job_spec(struct check *c, const struct value *spec, const struct value *old)
{
    static const struct str finite[] = {STR("OnFailure"), STR("Never"), STR_NULL};
    static const char *const fixed[] = {
        "selector",  "completionMode", "podFailurePolicy", "backoffLimitPerIndex",
        "managedBy", "successPolicy",
    };
    bool indexed = str_eqc(value_str_at(spec, "completionMode"), "Indexed");
    struct value *policy = value_at(spec, "template.spec.restartPolicy");
    if (!policy || str_eqc(value_string(policy), "Always"))
        check_required(c, "template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\"");
    else if (!str_eq(value_string(policy), finite[0]) && !str_eq(value_string(policy), finite[1]))
        check_not_supported(c, "template.spec.restartPolicy", policy, finite);
    else if (has(spec, "podFailurePolicy") && !str_eqc(value_string(policy), "Never"))
        check_invalid(c, "template.spec.restartPolicy", policy,
                      "only \"Never\" is supported when podFailurePolicy is specified");
    if (has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex"))
        check_required(c, "backoffLimitPerIndex", "when maxFailedIndexes is specified");
    if (indexed) {
        if (!has(spec, "completions"))
            check_required(c, "completions", "when completion mode is Indexed");
        if (value_int_at(spec, "parallelism", 0) > 100000)
            check_invalid(c, "parallelism", value_getc(spec, "parallelism"),
                          "must be less than or equal to 100000 when completion mode is Indexed");
        if (has(spec, "completions") && has(spec, "maxFailedIndexes") &&
            value_int_at(spec, "maxFailedIndexes", 0) > value_int_at(spec, "completions", 0))
            check_invalid(c, "maxFailedIndexes", value_getc(spec, "maxFailedIndexes"),
                          "must be less than or equal to completions");
    } else {
        static const char *const needs_indexed[] = {"backoffLimitPerIndex", "maxFailedIndexes",
                                                    "successPolicy"};
        for (size_t i = 0; i < 3; i++)
            if (has(spec, needs_indexed[i]))
                check_invalid(c, needs_indexed[i], value_getc(spec, needs_indexed[i]),
                              "requires indexed completion mode");
    }
    check_job_failure_policy(c, spec);
    if (indexed)
        check_job_success_policy(c, spec);
    for (size_t i = 0; old && i < sizeof fixed / sizeof *fixed; i++)
        check_immutable(c, spec, old, fixed[i]);
    if (old && !indexed)
        check_immutable(c, spec, old, "completions");
}

void check_job(struct check *c, const struct value *job, const struct value *old)
{
    const struct value *spec = value_getc(job, "spec"), *was = value_getc(old, "spec");
    size_t mark = check_push(c, "spec");
    if (value_getc(spec, "selector"))
        check_matches(c, spec);
    // A suspended job that has not started may still get another node selector and the like; of
    // that, the template as a whole is compared here, which is the stricter half.
    if (was && !value_bool_at(was, "suspend", false) &&
        !same(value_getc(spec, "template"), value_getc(was, "template")))
        check_immutable(c, spec, was, "template");
    check_pop(c, mark);
}

// The schedule as the controller will read it.
static void check_schedule(struct check *c, const struct value *schedule)
{
    _cleanup_err_ struct err e = ERR_INIT;
    struct cron *parsed;
    struct str s = value_string(schedule);
    bool zoned = str_find(s, STR("TZ=")) >= 0;
    if (!s.n)
        return; // reported as required
    if (!zoned && cron_parse(c->arena, s, &(struct cron_options){0}, &parsed, &e) < 0)
        check_invalid(c, "spec.schedule", schedule, "%s", e.message);
    if (zoned)
        check_invalid(c, "spec.schedule", schedule,
                      "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
}

static void check_zone(struct check *c, const struct value *zone)
{
    _cleanup_err_ struct err e = ERR_INIT;
    const struct zone *loaded;
    struct str name = value_string(zone);
    if (!zone)
        return;
    if (!name.n)
        check_invalid(c, "spec.timeZone", zone, "timeZone must be nil or non-empty string");
    else if (str_ieq(name, STR("Local")))
        check_invalid(c, "spec.timeZone", zone,
                      "timeZone must be an explicit time zone as defined in "
                      "https://www.iana.org/time-zones");
    else if (zone_load(c->arena, name, &loaded, &e) < 0)
        check_invalid(c, "spec.timeZone", zone, "%s", e.message);
}

void check_cron_job(struct check *c, const struct value *cron, const struct value *old)
{
    struct value *schedule = value_at(cron, "spec.schedule"),
                 *zone = value_at(cron, "spec.timeZone");
    // What is there already stays, even if a later version of the zone database has lost it.
    if (!old || !same(schedule, value_at(old, "spec.schedule")))
        check_schedule(c, schedule);
    if (!old || !same(zone, value_at(old, "spec.timeZone")))
        check_zone(c, zone);
    if (value_at(cron, "spec.jobTemplate.spec.selector") &&
        !value_bool_at(cron, "spec.jobTemplate.spec.manualSelector", false))
        check_invalid(c, "spec.jobTemplate.spec.selector",
                      value_at(cron, "spec.jobTemplate.spec.selector"),
                      "`selector` will be auto-generated");
    struct value *name = value_at(cron, "metadata.name");
    if (name && name->n > 52)
        check_invalid(c, "metadata.name", name, "must be no more than 52 characters");
}

// ---- autoscaling, policy
// --------------------------------------------------------------------------

void check_hpa_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    int64_t low = value_int_at(spec, "minReplicas", 1), high = value_int_at(spec, "maxReplicas", 0);
    if (low < 1)
        check_invalid(c, "minReplicas", value_int(c->arena, low),
                      "must be greater than or equal to 1");
    if (high < 1)
        check_invalid(c, "maxReplicas", value_int(c->arena, high), "must be greater than 0");
    if (high < low)
        check_invalid(c, "maxReplicas", value_int(c->arena, high),
                      "must be greater than or equal to `minReplicas`");
    if (low < 1 && value_len(value_getc(spec, "metrics"))) {
        bool counted = false;
        value_each_item (value_getc(spec, "metrics"), m)
            counted |= str_eqc(value_str_at(m, "type"), "Object") ||
                       str_eqc(value_str_at(m, "type"), "External");
        if (!counted)
            check_forbidden(c, "metrics",
                            "must specify at least one Object or External metric to support "
                            "scaling to zero replicas");
    }
    if (!value_str_at(spec, "scaleTargetRef.apiVersion").n)
        check_invalid(c, "scaleTargetRef.apiVersion", value_at(spec, "scaleTargetRef.apiVersion"),
                      "apiVersion must specify API group");
}

void check_disruption_budget_spec(struct check *c, const struct value *spec,
                                  const struct value *old)
{
    (void)old;
    if (has(spec, "minAvailable") && has(spec, "maxUnavailable"))
        check_invalid(c, NULL, spec, "minAvailable and maxUnavailable cannot be both set");
    check_percent_limit(c, spec, "minAvailable");
    check_percent_limit(c, spec, "maxUnavailable");
}
