// The shared rules; see control.h.
#include "controller/control.h"

// Pods.

static const struct value *ready_condition(const struct value *pod)
{
    return condition_find(value_at(pod, "status.conditions"), "Ready");
}

bool pod_ready(const struct value *pod)
{
    return str_eqc(value_str_at(ready_condition(pod), "status"), "True");
}

int64_t pod_ready_since(const struct value *pod)
{
    return pod_ready(pod) ? meta_time(ready_condition(pod), "lastTransitionTime") : 0;
}

bool pod_finished(const struct value *pod)
{
    struct str phase = value_str_at(pod, "status.phase");
    return str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
}

struct value *pod_from_template(struct arena *a, const struct kind *owner_kind,
                                const struct value *owner, const struct value *template)
{
    static const char *const kept[] = {"labels", "annotations", "finalizers"};
    struct value *pod = value_object(a), *meta = value_object(a), *owners = value_array(a);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct value *v = value_getc(value_getc(template, "metadata"), kept[i]);
        if (v)
            value_setc(a, meta, kept[i], v);
    }
    value_put(a, meta, "generateName",
              arena_printf(a, "%.*s-", STR_ARG(value_str_at(owner, "metadata.name"))));
    value_put(a, meta, "namespace", value_str_at(owner, "metadata.namespace"));
    value_push(a, owners, owner_reference(a, owner_kind, owner));
    value_setc(a, meta, "ownerReferences", owners);
    value_put(a, pod, "kind", STR("Pod"));
    value_put(a, pod, "apiVersion", STR("v1"));
    value_setc(a, pod, "metadata", meta);
    struct value *spec = value_getc(template, "spec");
    value_setc(a, pod, "spec", spec ? spec : value_object(a));
    return pod;
}

int64_t control_scaled_value(const struct value *v, int64_t total, bool round_up, int64_t otherwise)
{
    struct str text = value_string(v);
    uint64_t percent;
    if (!v || v->kind == VALUE_NULL)
        return otherwise;
    if (!text.n)
        return value_int_or(v, otherwise);
    if (!str_ends(text, STR("%")) || !str_to_u64(str_sub(text, 0, text.n - 1), &percent) ||
        percent > 1000000)
        return otherwise;
    int64_t product = (int64_t)percent * total;
    return round_up ? (product + 99) / 100 : product / 100;
}

size_t control_collectable_kinds(const struct kind **ret, size_t room)
{
    const unsigned need = VERB_LIST | VERB_WATCH | VERB_DELETE;
    size_t n = 0;
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        if ((k->verbs & need) != need || k->flags & KIND_VIRTUAL ||
            (k->storage && k->storage != k) || str_eqc(k->resource, "events"))
            continue;
        BUG_ON(n == room);
        ret[n++] = k;
    }
    return n;
}
