// Cells of the other kinds that are more than a value at a path: storage, configuration, access,
// autoscaling, extensions. Wording is that of the originals' printers.
#include "base/time.h"
#include "object/selector.h"
#include "schema/tables.h"

column_function column_data_count, column_secret_count, column_volume_modes, column_volume_phase,
    column_volume_claim, column_claim_capacity, column_claim_modes, column_claim_state,
    column_component_status, column_hpa_reference, column_hpa1_targets, column_hpa2_targets,
    column_policy_selector, column_binding_role, column_binding_users, column_binding_groups,
    column_binding_accounts, column_csr_duration, column_csr_condition, column_storage_class_name,
    column_controller, column_quota_request, column_quota_limit, column_csi_drivers,
    column_webhooks, column_validations, column_param_kind, column_param_ref, column_nominal_shares,
    column_ip_parent, column_api_service, column_api_service_available;

static struct value *text_of(struct arena *a, struct buf *b)
{
    return value_str(a, arena_str(a, buf_view(b)));
}

static void add(struct buf *b, const char *separator, struct str s)
{
    if (b->n)
        buf_puts(b, separator);
    buf_str(b, s);
}

static struct value *count(struct arena *a, const struct value *v)
{
    return value_int(a, (int64_t)value_len(v));
}

struct value *column_data_count(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_int(
        a, (int64_t)(value_len(value_getc(o, "data")) + value_len(value_getc(o, "binaryData"))));
}

struct value *column_secret_count(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return count(a, value_getc(o, "secrets"));
}

// ---- volumes
// ------------------------------------------------------------------------------------------

static struct value *modes(struct arena *a, const struct value *list)
{
    static const char *const table[][2] = {
        {"ReadWriteOnce", "RWO"},
        {"ReadOnlyMany", "ROX"},
        {"ReadWriteMany", "RWX"},
        {"ReadWriteOncePod", "RWOP"},
    };
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        bool has = false;
        value_each_item (list, mode)
            has |= str_eqc(value_string(mode), table[i][0]);
        if (has)
            add(&b, ",", str_of(table[i][1]));
    }
    return text_of(a, &b);
}

struct value *column_volume_modes(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return modes(a, value_at(o, "spec.accessModes"));
}

struct value *column_volume_phase(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    if (value_at(o, "metadata.deletionTimestamp"))
        return value_strc(a, "Terminating");
    return value_str(a, value_str_at(o, "status.phase"));
}

struct value *column_volume_claim(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *ref = value_at(o, "spec.claimRef");
    if (!ref)
        return value_strc(a, "");
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(ref, "namespace")),
                                     STR_ARG(value_str_at(ref, "name"))));
}

// A claim shows what it got, which is nothing until it is bound.
static bool is_bound(const struct value *claim)
{
    return value_str_at(claim, "spec.volumeName").n;
}

struct value *column_claim_capacity(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_str(a, is_bound(o) ? value_str_at(o, "status.capacity.storage") : STR(""));
}

struct value *column_claim_modes(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return modes(a, is_bound(o) ? value_at(o, "status.accessModes") : NULL);
}

struct value *column_claim_state(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (value_at(o, "metadata.deletionTimestamp"))
        add(&b, ",", STR("deleted"));
    if (!value_at(o, "status.allocation"))
        add(&b, ",", STR("pending"));
    else
        add(&b, ",", STR("allocated"));
    if (value_len(value_at(o, "status.reservedFor")))
        add(&b, ",", STR("reserved"));
    return text_of(a, &b);
}

struct value *column_storage_class_name(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    static const struct str key = STR("storageclass.kubernetes.io/is-default-class");
    bool is_default =
        str_eqc(value_string(value_get(value_at(o, "metadata.annotations"), key)), "true");
    return value_str(a, arena_printf(a, "%.*s%s", STR_ARG(value_str_at(o, "metadata.name")),
                                     is_default ? " (default)" : ""));
}

struct value *column_csi_drivers(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return count(a, value_at(o, "spec.drivers"));
}

struct value *column_component_status(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    value_each_item (value_getc(o, "conditions"), c)
        if (str_eqc(value_str_at(c, "type"), "Healthy"))
            return value_strc(a,
                              str_eqc(value_str_at(c, "status"), "True") ? "Healthy" : "Unhealthy");
    return value_strc(a, "Unknown");
}

// ---- autoscaling
// --------------------------------------------------------------------------------------

struct value *column_hpa_reference(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *ref = value_at(o, "spec.scaleTargetRef");
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(ref, "kind")),
                                     STR_ARG(value_str_at(ref, "name"))));
}

struct value *column_hpa1_targets(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *target = value_at(o, "spec.targetCPUUtilizationPercentage");
    const struct value *current = value_at(o, "status.currentCPUUtilizationPercentage");
    if (!target)
        return value_strc(a, "<none>");
    struct str is =
        current ? arena_printf(a, "%lld%%", (long long)value_int_or(current, 0)) : STR("<unknown>");
    return value_str(
        a, arena_printf(a, "cpu: %.*s/%lld%%", STR_ARG(is), (long long)value_int_or(target, 0)));
}

// "resource" for type Resource, and so on.
static const char *metric_key(struct str type)
{
    static const char *const table[][2] = {
        {"Resource", "resource"}, {"ContainerResource", "containerResource"},
        {"Pods", "pods"},         {"Object", "object"},
        {"External", "external"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (str_eqc(type, table[i][0]))
            return table[i][1];
    return NULL;
}

static struct str metric_text(struct arena *a, const struct value *spec, const struct value *status)
{
    const char *key = metric_key(value_str_at(spec, "type"));
    const struct value *m = value_getc(spec, key ? key : "");
    const struct value *target = value_getc(m, "target");
    const struct value *current = value_getc(value_getc(status, key ? key : ""), "current");
    if (!m)
        return STR("<unknown type>");
    bool resource =
        str_starts(str_of(key), STR("resource")) || str_starts(str_of(key), STR("container"));
    struct str name = value_str_at(m, "name"), is = STR("<unknown>"), want = STR("<auto>");
    const char *suffix = "";
    if (value_getc(target, "averageValue")) {
        want = value_str_at(target, "averageValue");
        if (value_getc(current, "averageValue"))
            is = value_str_at(current, "averageValue");
        if (!resource && !str_eqc(str_of(key), "pods"))
            suffix = " (avg)";
    } else if (resource) {
        const struct value *percent = value_getc(target, "averageUtilization");
        const struct value *now = value_getc(current, "averageUtilization");
        if (percent)
            want = arena_printf(a, "%lld%%", (long long)value_int_or(percent, 0));
        if (now)
            is = arena_printf(a, "%lld%%", (long long)value_int_or(now, 0));
    } else {
        want = value_str_at(target, "value");
        if (value_getc(current, "value"))
            is = value_str_at(current, "value");
    }
    return arena_printf(a, "%.*s%s%.*s/%.*s%s", resource ? (int)name.n : 0, name.p ? name.p : "",
                        resource ? ": " : "", STR_ARG(is), STR_ARG(want), suffix);
}

struct value *column_hpa2_targets(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *specs = value_at(o, "spec.metrics");
    const struct value *states = value_at(o, "status.currentMetrics");
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (!value_len(specs))
        return value_strc(a, "<none>");
    for (size_t i = 0; i < value_len(specs) && i < 2; i++)
        add(&b, ", ", metric_text(a, value_item(specs, i), value_item(states, i)));
    if (value_len(specs) > 2)
        buf_printf(&b, " + %zu more...", value_len(specs) - 2);
    return text_of(a, &b);
}

// ---- access
// -------------------------------------------------------------------------------------------

struct value *column_policy_selector(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    struct selector *s;
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (selector_from_value(a, value_at(o, "spec.podSelector"), &s, NULL) < 0)
        return value_strc(a, "<error>");
    selector_write(&b, s);
    return b.n ? text_of(a, &b) : value_strc(a, "<none>");
}

struct value *column_binding_role(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(o, "roleRef.kind")),
                                     STR_ARG(value_str_at(o, "roleRef.name"))));
}

static struct value *subjects(struct arena *a, const struct value *o, const char *kind, bool spaced)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    value_each_item (value_getc(o, "subjects"), s) {
        struct str name = value_str_at(s, "name"), ns = value_str_at(s, "namespace");
        if (str_eqc(value_str_at(s, "kind"), kind))
            add(&b, ", ", spaced ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : name);
    }
    return text_of(a, &b);
}

struct value *column_binding_users(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return subjects(a, o, "User", false);
}

struct value *column_binding_groups(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return subjects(a, o, "Group", false);
}

struct value *column_binding_accounts(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return subjects(a, o, "ServiceAccount", true);
}

struct value *column_csr_duration(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *seconds = value_at(o, "spec.expirationSeconds");
    if (!seconds)
        return value_strc(a, "<none>");
    _cleanup_buf_ struct buf b = BUF_INIT;
    int64_t ns;
    if (__builtin_mul_overflow(value_int_or(seconds, 0), NS_PER_S, &ns))
        return value_strc(a, "<invalid>");
    duration_write_human(&b, ns);
    return text_of(a, &b);
}

struct value *column_csr_condition(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    bool approved = false, denied = false, failed = false;
    value_each_item (value_at(o, "status.conditions"), c) {
        struct str type = value_str_at(c, "type");
        approved |= str_eqc(type, "Approved");
        denied |= str_eqc(type, "Denied");
        failed |= str_eqc(type, "Failed");
    }
    return value_str(a, arena_printf(a, "%s%s%s",
                                     denied     ? "Denied"
                                     : approved ? "Approved"
                                                : "Pending",
                                     failed ? ",Failed" : "",
                                     value_str_at(o, "status.certificate").n ? ",Issued" : ""));
}

// ---- the rest
// -----------------------------------------------------------------------------------------

struct value *column_controller(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    value_each_item (value_at(o, "metadata.ownerReferences"), ref) {
        if (!value_bool_at(ref, "controller", false))
            continue;
        struct str api = value_str_at(ref, "apiVersion");
        ptrdiff_t slash = str_chr(api, '/');
        struct str group = slash < 0 ? STR_NULL : str_sub(api, 0, (size_t)slash);
        char *kind = arena_cstr(a, value_str_at(ref, "kind"));
        for (char *p = kind; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p += 'a' - 'A';
        return value_str(a, arena_printf(a, "%s%s%.*s/%.*s", kind, group.n ? "." : "",
                                         STR_ARG(group), STR_ARG(value_str_at(ref, "name"))));
    }
    return value_strc(a, "<none>");
}

static struct value *quota(struct arena *a, const struct value *o, bool limits)
{
    const struct value *hard = value_at(o, "status.hard"), *used = value_at(o, "status.used");
    _cleanup_buf_ struct buf b = BUF_INIT;
    size_t n = value_len(hard);
    const struct member **sorted = arena_alloc(a, (n + 1) * sizeof *sorted);
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at && str_cmp(sorted[at - 1]->key, hard->members[i].key) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &hard->members[i];
    }
    for (size_t i = 0; i < n; i++) {
        const struct member *m = sorted[i];
        struct str now = value_string(value_get(used, m->key));
        if (str_starts(m->key, STR("limits.")) != limits)
            continue;
        add(&b, ", ",
            arena_printf(a, "%.*s: %.*s/%.*s", STR_ARG(m->key), STR_ARG(now.n ? now : STR("0")),
                         STR_ARG(value_string(m->value))));
    }
    return text_of(a, &b);
}

struct value *column_quota_request(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return quota(a, o, false);
}

struct value *column_quota_limit(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return quota(a, o, true);
}

struct value *column_webhooks(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return count(a, value_getc(o, "webhooks"));
}

struct value *column_validations(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    return count(a, value_at(o, "spec.validations"));
}

struct value *column_param_kind(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *k = value_at(o, "spec.paramKind");
    if (!k)
        return value_strc(a, "<unset>");
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(k, "apiVersion")),
                                     STR_ARG(value_str_at(k, "kind"))));
}

struct value *column_param_ref(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *ref = value_at(o, "spec.paramRef");
    struct str ns = value_str_at(ref, "namespace");
    if (!value_str_at(ref, "name").n)
        return value_strc(a, ref ? "*" : "<unset>");
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(ns.n ? ns : STR("*")),
                                     STR_ARG(value_str_at(ref, "name"))));
}

struct value *column_nominal_shares(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    struct value *shares = value_at(o, "spec.limited.nominalConcurrencyShares");
    return shares ? shares : value_strc(a, "<none>");
}

struct value *column_ip_parent(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *ref = value_at(o, "spec.parentRef");
    struct str group = value_str_at(ref, "group"), ns = value_str_at(ref, "namespace");
    if (!ref)
        return value_strc(a, "<none>");
    return value_str(a, arena_printf(a, "%.*s%s%.*s%s%.*s/%.*s",
                                     STR_ARG(value_str_at(ref, "resource")), group.n ? "." : "",
                                     STR_ARG(group), ns.n ? "/" : "", STR_ARG(ns),
                                     STR_ARG(value_str_at(ref, "name"))));
}

struct value *column_api_service(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    const struct value *s = value_at(o, "spec.service");
    if (!s)
        return value_strc(a, "Local");
    return value_str(a, arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(s, "namespace")),
                                     STR_ARG(value_str_at(s, "name"))));
}

struct value *column_api_service_available(struct arena *a, const struct value *o, int64_t now)
{
    (void)now;
    value_each_item (value_at(o, "status.conditions"), c) {
        if (!str_eqc(value_str_at(c, "type"), "Available"))
            continue;
        struct str status = value_str_at(c, "status");
        if (str_eqc(status, "True"))
            return value_str(a, status);
        return value_str(
            a, arena_printf(a, "%.*s (%.*s)", STR_ARG(status), STR_ARG(value_str_at(c, "reason"))));
    }
    return value_strc(a, "Unknown");
}
