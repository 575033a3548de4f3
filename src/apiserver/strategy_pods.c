// Pods: quality of service, what each subresource may touch, and how long a deletion waits.
#include "apiserver/strategy.h"
#include "object/quantity.h"

struct need {
    bool any;        // some container asks for cpu or memory
    bool guaranteed; // every container so far has equal requests and limits for both
};

static bool amount(const struct value *resources, const char *which, const char *name,
                   struct quantity *ret)
{
    struct str text = value_string(value_getc(value_getc(resources, which), name));
    return text.n && quantity_parse(text, ret) && ret->nano;
}

static void count_containers(const struct value *list, struct need *n)
{
    static const char *const names[] = {"cpu", "memory"};
    value_each_item (list, c) {
        const struct value *r = value_getc(c, "resources");
        for (size_t i = 0; i < 2; i++) {
            struct quantity request, limit;
            bool has_request = amount(r, "requests", names[i], &request);
            bool has_limit = amount(r, "limits", names[i], &limit);
            n->any |= has_request || has_limit;
            n->guaranteed &= has_limit && (!has_request || !quantity_cmp(&request, &limit));
        }
    }
}

static const char *qos_class(const struct value *spec)
{
    struct need n = {.guaranteed = true};
    count_containers(value_getc(spec, "containers"), &n);
    count_containers(value_getc(spec, "initContainers"), &n);
    return !n.any ? "BestEffort" : n.guaranteed ? "Guaranteed" : "Burstable";
}

static int prepare_create(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    struct value *status = value_object(a);
    const struct value *gates = value_at(op->new, "spec.schedulingGates");
    // Less than nothing is as little as there can be.
    if (value_int_at(op->new, "spec.terminationGracePeriodSeconds", 0) < 0)
        value_set_at(a, op->new, "spec.terminationGracePeriodSeconds", value_int(a, 1));
    value_setc(a, status, "phase", value_strc(a, "Pending"));
    if (value_len(gates)) {
        struct value *list = value_array(a), *c = value_object(a);
        value_setc(a, c, "type", value_strc(a, "PodScheduled"));
        value_setc(a, c, "status", value_strc(a, "False"));
        value_setc(a, c, "reason", value_strc(a, "SchedulingGated"));
        value_setc(a, c, "message",
                   value_strc(a, "Scheduling is blocked due to non-empty scheduling gates"));
        value_setc(a, c, "lastTransitionTime", op_now(op));
        value_push(a, list, c);
        value_setc(a, status, "conditions", list);
    }
    value_setc(a, status, "qosClass", value_strc(a, qos_class(value_getc(op->new, "spec"))));
    value_setc(a, op->new, "status", status);
    return 0;
}

static struct value *by_name(const struct value *list, struct str name)
{
    value_each_item (list, c)
        if (str_eq(value_str_at(c, "name"), name))
            return c;
    return NULL;
}

// The old pod with one part of the new one.
static int take_part(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    struct value *next = value_clone(a, op->old);
    const struct value *was = value_at(op->old, "spec.ephemeralContainers");
    if (op_sub(op, "ephemeralcontainers")) {
        struct value *list = value_at(op->new, "spec.ephemeralContainers");
        value_each_item (was, c) {
            const struct value *now = by_name(list, value_str_at(c, "name"));
            if (!now || !value_eq(now, c))
                return api_invalid(
                    e, op->kind, op->name, "FieldValueForbidden", "spec.ephemeralContainers",
                    "Forbidden: existing ephemeral containers \"%.*s\" may not be %s",
                    STR_ARG(value_str_at(c, "name")), now ? "changed" : "removed");
        }
        if (list)
            value_set_at(a, next, "spec.ephemeralContainers", list);
    } else {
        struct value *containers = value_at(next, "spec.containers");
        value_each_item (containers, c) {
            struct value *now =
                by_name(value_at(op->new, "spec.containers"), value_str_at(c, "name"));
            if (value_getc(now, "resources"))
                value_setc(a, c, "resources", value_getc(now, "resources"));
        }
        if (strcmp(qos_class(value_getc(next, "spec")), qos_class(value_getc(op->old, "spec"))))
            return api_invalid(
                e, op->kind, op->name, "FieldValueInvalid", "metadata",
                "Invalid value: \"%.*s\": Pod QOS Class may not change as a result of "
                "resizing",
                STR_ARG(op->name));
    }
    op->new = next;
    return 0;
}

static int prepare_update(struct op *op, struct err *e)
{
    if (op_sub(op, "ephemeralcontainers") || op_sub(op, "resize"))
        return take_part(op, e);
    // qosClass is the server's; a status writer that leaves it out does not take it away.
    struct value *qos = value_at(op->old, "status.qosClass");
    if (op_sub(op, "status") && qos && !value_at(op->new, "status.qosClass"))
        value_set_at(op->a, op->new, "status.qosClass", qos);
    return 0;
}

static int grace(struct op *op, struct err *e)
{
    (void)e;
    struct str phase = value_str_at(op->old, "status.phase");
    if (op->grace < 0)
        op->grace = value_int_at(op->old, "spec.terminationGracePeriodSeconds", 30);
    if (op->grace < 0)
        op->grace = 1;
    // Nobody runs it, or nothing of it runs any more: there is nobody to wait for.
    if (!value_str_at(op->old, "spec.nodeName").n || str_eqc(phase, "Failed") ||
        str_eqc(phase, "Succeeded"))
        op->grace = 0;
    return 0;
}

const struct strategy strategy_pods = {
    .group = "",
    .resource = "pods",
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .grace = grace,
};
