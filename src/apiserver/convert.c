// Conversion is renaming for events, and for autoscalers moving one CPU target between a plain
// field and the list of metrics. What autoscaling/v1 cannot say is carried in the annotations that
// the originals use for it, so that an object that passes through a v1 client comes back whole.
#include "apiserver/convert.h"
#include "base/buf.h"
#include "object/json.h"

static void rename_field(struct arena *a, struct value *v, const char *from, const char *to)
{
    struct value *x = value_getc(v, from);
    if (!x)
        return;
    value_delc(v, from);
    value_setc(a, v, to, x);
}

// core v1 Event field, events.k8s.io field.
static const char *const event_fields[][2] = {
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
    {"reportingComponent", "reportingController"},
};

static void set_version(struct arena *a, const struct kind *k, struct value *v)
{
    value_setc(a, v, "kind", value_str(a, k->kind));
    value_setc(a, v, "apiVersion", value_str(a, kind_api_version(k)));
}

static void event_out(struct arena *a, struct value *v)
{
    for (size_t i = 0; i < sizeof event_fields / sizeof *event_fields; i++)
        rename_field(a, v, event_fields[i][0], event_fields[i][1]);
}

static void event_in(struct arena *a, struct value *v)
{
    for (size_t i = 0; i < sizeof event_fields / sizeof *event_fields; i++)
        rename_field(a, v, event_fields[i][1], event_fields[i][0]);
}

#define ANNOTATION_METRICS    "autoscaling.alpha.kubernetes.io/metrics"
#define ANNOTATION_CURRENT    "autoscaling.alpha.kubernetes.io/current-metrics"
#define ANNOTATION_CONDITIONS "autoscaling.alpha.kubernetes.io/conditions"
#define ANNOTATION_BEHAVIOR   "autoscaling.alpha.kubernetes.io/behavior"

// The index of the metric that v1 has a field for: average CPU utilisation. -1: none.
static int cpu_metric(const struct value *metrics, const char *level)
{
    value_each_item (metrics, m) {
        const struct value *r = value_getc(m, "resource");
        if (str_eqc(value_str_at(m, "type"), "Resource") &&
            str_eqc(value_str_at(r, "name"), "cpu") &&
            value_getc(value_getc(r, level), "averageUtilization"))
            return (int)m_i;
    }
    return -1;
}

static void annotate(struct arena *a, struct value *v, const char *key, const struct value *x)
{
    struct value *meta = value_getc(v, "metadata");
    struct value *annotations = value_getc(meta, "annotations");
    if (!meta || !value_len(x))
        return;
    if (!annotations)
        value_setc(a, meta, "annotations", annotations = value_object(a));
    value_setc(a, annotations, key, value_str(a, json_text(a, x)));
}

static struct value *unannotate(struct arena *a, struct value *v, const char *key)
{
    struct value *meta = value_getc(v, "metadata");
    struct value *annotations = value_getc(meta, "annotations"), *ret = NULL;
    struct str text = value_string(value_getc(annotations, key));
    if (!text.n)
        return NULL;
    struct err e = ERR_INIT;
    if (json_parse(a, arena_str(a, text), NULL, &ret, &e) < 0)
        ret = NULL;
    err_done(&e);
    value_delc(annotations, key);
    if (!value_len(annotations))
        value_delc(meta, "annotations");
    return ret;
}

static void autoscaler_out(struct arena *a, struct value *v)
{
    struct value *spec = value_getc(v, "spec"), *status = value_getc(v, "status");
    struct value *metrics = value_getc(spec, "metrics");
    int at = cpu_metric(metrics, "target");
    if (at >= 0) {
        value_setc(a, spec, "targetCPUUtilizationPercentage",
                   value_at(value_item(metrics, (size_t)at), "resource.target.averageUtilization"));
        value_remove(metrics, (size_t)at);
    }
    annotate(a, v, ANNOTATION_METRICS, metrics);
    annotate(a, v, ANNOTATION_BEHAVIOR, value_getc(spec, "behavior"));
    value_delc(spec, "metrics");
    value_delc(spec, "behavior");
    metrics = value_getc(status, "currentMetrics");
    at = cpu_metric(metrics, "current");
    if (at >= 0)
        value_setc(
            a, status, "currentCPUUtilizationPercentage",
            value_at(value_item(metrics, (size_t)at), "resource.current.averageUtilization"));
    annotate(a, v, ANNOTATION_CURRENT, metrics);
    annotate(a, v, ANNOTATION_CONDITIONS, value_getc(status, "conditions"));
    value_delc(status, "currentMetrics");
    value_delc(status, "conditions");
}

static void autoscaler_in(struct arena *a, struct value *v)
{
    struct value *spec = value_getc(v, "spec"), *status = value_getc(v, "status");
    struct value *metrics = unannotate(a, v, ANNOTATION_METRICS);
    struct value *percent = value_getc(spec, "targetCPUUtilizationPercentage");
    if (!metrics || metrics->kind != VALUE_ARRAY)
        metrics = value_array(a);
    if (percent) {
        struct value *m = value_object(a);
        value_setc(a, m, "type", value_strc(a, "Resource"));
        value_set_at(a, m, "resource.name", value_strc(a, "cpu"));
        value_set_at(a, m, "resource.target.type", value_strc(a, "Utilization"));
        value_set_at(a, m, "resource.target.averageUtilization", percent);
        value_insert(a, metrics, 0, m);
        value_delc(spec, "targetCPUUtilizationPercentage");
    }
    if (spec && metrics->n)
        value_setc(a, spec, "metrics", metrics);
    struct value *behavior = unannotate(a, v, ANNOTATION_BEHAVIOR);
    if (spec && behavior)
        value_setc(a, spec, "behavior", behavior);
    value_delc(status, "currentCPUUtilizationPercentage");
    struct value *current = unannotate(a, v, ANNOTATION_CURRENT);
    struct value *conditions = unannotate(a, v, ANNOTATION_CONDITIONS);
    if (status && current)
        value_setc(a, status, "currentMetrics", current);
    if (status && conditions)
        value_setc(a, status, "conditions", conditions);
}

void convert_from_storage(struct arena *a, const struct kind *k, struct value *v)
{
    if (!convert_needed(k))
        return;
    if (str_eqc(k->group, "events.k8s.io"))
        event_out(a, v);
    else if (str_eqc(k->group, "autoscaling") && str_eqc(k->version, "v1"))
        autoscaler_out(a, v);
    set_version(a, k, v);
}

void convert_to_storage(struct arena *a, const struct kind *k, struct value *v)
{
    if (!convert_needed(k))
        return;
    if (str_eqc(k->group, "events.k8s.io"))
        event_in(a, v);
    else if (str_eqc(k->group, "autoscaling") && str_eqc(k->version, "v1"))
        autoscaler_in(a, v);
    set_version(a, k->storage, v);
}
