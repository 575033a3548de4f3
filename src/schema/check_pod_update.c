// What a pod may change: few things, and others through its subresources. It works as the originals
// do: from the new spec the allowed changes are taken back, and what then still differs was not
// allowed.
#include "object/json.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_pod;

#define COUNT(a) (sizeof(a) / sizeof *(a))

// Makes to[key] what from[key] is.
static void restore(struct arena *a, struct value *to, const struct value *from, const char *key)
{
    struct value *v = value_getc(from, key);
    if (v)
        value_setc(a, to, key, v);
    else
        value_delc(to, key);
}

static bool restore_containers(struct check *c, struct value *spec, const struct value *old,
                               const char *list, const char *key)
{
    struct value *now = value_getc(spec, list), *then = value_getc(old, list);
    if (value_len(now) != value_len(then)) {
        size_t mark = check_push(c, "spec");
        check_forbidden(c, list, "pod updates may not add or remove containers");
        check_pop(c, mark);
        return false;
    }
    for (size_t i = 0; i < value_len(now); i++) {
        const struct value *container = value_item(now, i);
        if (!strcmp(key, "image") && !value_str_at(container, "image").n)
            return true; // reported as required
        restore(c->arena, (struct value *)container, value_item(then, i), key);
    }
    return true;
}

static struct str without_seconds(struct arena *a, const struct value *toleration)
{
    static const char *const parts[] = {"key", "operator", "value", "effect"};
    struct value *v = value_array(a);
    for (size_t i = 0; i < COUNT(parts); i++)
        value_push(a, v, value_str(a, value_str_at(toleration, parts[i])));
    return json_text(a, v);
}

// Tolerations may be added, and their tolerationSeconds be changed.
static void check_tolerations_kept(struct check *c, const struct value *spec,
                                   const struct value *old)
{
    _cleanup_key_index_ struct key_index now = KEY_INDEX_INIT;
    value_each_item (value_getc(spec, "tolerations"), is)
        key_index_add(&now, without_seconds(c->arena, is));
    value_each_item (value_getc(old, "tolerations"), was) {
        if (key_index_find(&now, without_seconds(c->arena, was)) >= 0)
            continue;
        check_forbidden(c, "spec.tolerations",
                        "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
}

static void check_pod_update(struct check *c, const struct value *pod, const struct value *old)
{
    static const char allowed[] =
        "pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
        "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
        "set to 1 if it was previously negative)";
    const struct value *was = value_getc(old, "spec"), *is = value_getc(pod, "spec");
    if (same(is, was))
        return;
    struct value *spec = value_clone(c->arena, is);
    if (!restore_containers(c, spec, was, "containers", "image") ||
        !restore_containers(c, spec, was, "initContainers", "image"))
        return;
    struct value *now = value_getc(is, "activeDeadlineSeconds");
    struct value *then = value_getc(was, "activeDeadlineSeconds");
    if (then && !now)
        check_invalid(c, "spec.activeDeadlineSeconds", value_null(c->arena),
                      "must not update from a positive integer to nil value");
    else if (then && value_int_or(now, 0) > value_int_or(then, 0))
        check_invalid(c, "spec.activeDeadlineSeconds", now,
                      "must be less than or equal to previous value");
    check_tolerations_kept(c, is, was);
    _cleanup_key_index_ struct key_index gates = KEY_INDEX_INIT;
    value_each_item (value_getc(was, "schedulingGates"), gate)
        key_index_add(&gates, value_str_at(gate, "name"));
    value_each_item (value_getc(is, "schedulingGates"), gate) {
        if (key_index_find(&gates, value_str_at(gate, "name")) >= 0)
            continue;
        size_t mark = check_push_index(c, "spec.schedulingGates", gate_i);
        check_forbidden(c, "name", "only deletion is allowed, but found new scheduling gate '%.*s'",
                        STR_ARG(value_str_at(gate, "name")));
        check_pop(c, mark);
    }
    restore(c->arena, spec, was, "activeDeadlineSeconds");
    restore(c->arena, spec, was, "tolerations");
    restore(c->arena, spec, was, "schedulingGates");
    if (value_len(value_getc(was, "schedulingGates"))) {
        // a gated pod has not been looked at by the scheduler: where it may go can be narrowed
        restore(c->arena, spec, was, "nodeSelector");
        restore(c->arena, spec, was, "affinity");
    }
    if (value_int_at(was, "terminationGracePeriodSeconds", 0) < 0 &&
        value_int_at(is, "terminationGracePeriodSeconds", 0) == 1)
        restore(c->arena, spec, was, "terminationGracePeriodSeconds");
    if (str_eqc(c->subresource, "resize")) {
        restore_containers(c, spec, was, "containers", "resources");
        restore_containers(c, spec, was, "initContainers", "resources");
    }
    if (str_eqc(c->subresource, "ephemeralcontainers"))
        restore(c->arena, spec, was, "ephemeralContainers");
    if (same(spec, was))
        return;
    // say which fields: the originals print a diff here
    _cleanup_buf_ struct buf fields = BUF_INIT;
    value_each_field (spec, m)
        if (!same(m->value, value_get(was, m->key)))
            buf_printf(&fields, "%sspec.%.*s", fields.n ? ", " : "", STR_ARG(m->key));
    value_each_field (was, m)
        if (!value_get(spec, m->key))
            buf_printf(&fields, "%sspec.%.*s", fields.n ? ", " : "", STR_ARG(m->key));
    check_forbidden(c, "spec", "%s\nchanged: %s", allowed, buf_cstr(&fields));
}

void check_pod(struct check *c, const struct value *pod, const struct value *old)
{
    const struct value *spec = value_getc(pod, "spec");
    check_pod_annotations(c, value_getc(pod, "metadata"), spec);
    if (old && !str_eqc(c->subresource, "binding")) {
        check_pod_update(c, pod, old);
    } else if (!old && value_len(value_getc(spec, "ephemeralContainers"))) {
        check_forbidden(c, "spec.ephemeralContainers", "cannot be set on create");
    }
    if (!old && value_len(value_getc(spec, "schedulingGates")) && value_str_at(spec, "nodeName").n)
        check_forbidden(c, "spec.nodeName",
                        "cannot be set until all schedulingGates have been cleared");
}
