// The order of the output. "legacy" puts some kinds first and some last and sorts the rest by their
// names; "fifo" leaves everything as it came.
#include "base/guard.h"
#include "kustomize/private.h"
#include <stdlib.h>

static const char *const order_first[] = {
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
};
static const char *const order_last[] = {"MutatingWebhookConfiguration",
                                         "ValidatingWebhookConfiguration"};

struct ranked {
    struct kustomize_resource *resource;
    struct kustomize_id id;
    long rank;
    size_t at; // where it was
    struct str gvk, name;
};

static struct value *names(struct arena *a, const char *const *list, size_t n)
{
    struct value *v = value_array(a);
    for (size_t i = 0; i < n; i++)
        value_push(a, v, value_strc(a, list[i]));
    return v;
}

static long rank_of(struct str kind, const struct value *first, const struct value *last)
{
    long rank = 0;
    for (size_t i = 0; i < value_len(first); i++)
        if (str_eq(value_string(first->items[i]), kind))
            rank = (long)i - (long)first->n;
    for (size_t i = 0; i < value_len(last); i++)
        if (str_eq(value_string(last->items[i]), kind))
            rank = 1 + (long)i;
    return rank;
}

// Names as they are compared: an absent part sorts as the original's placeholder for it.
static struct str named_or(struct str s, const char *otherwise)
{
    return s.n ? s : str_of(otherwise);
}

static int compare(const void *x, const void *y)
{
    const struct ranked *p = x, *q = y;
    if (str_cmp(p->gvk, q->gvk)) {
        if (p->rank != q->rank)
            return p->rank < q->rank ? -1 : 1;
        bool spaces = str_eqc(p->id.kind, "Namespace") && str_eqc(q->id.kind, "Namespace") &&
                      (!p->id.group.n || !q->id.group.n);
        int c = str_cmp(p->gvk, q->gvk);
        return spaces ? -c : c;
    }
    int c = str_cmp(p->name, q->name);
    return c ? c : (p->at < q->at ? -1 : 1);
}

static int sort_legacy(struct arena *a, struct kustomize_resources *rs, const struct value *options)
{
    const struct value *first = value_getc(options, "orderFirst"),
                       *last = value_getc(options, "orderLast");
    if (!options) {
        first = names(a, order_first, ARRAY_LEN(order_first));
        last = names(a, order_last, ARRAY_LEN(order_last));
    }
    struct ranked *list = arena_array(a, struct ranked, rs->n);
    for (size_t i = 0; i < rs->n; i++) {
        struct kustomize_id id = kustomize_id_now(rs->items[i]);
        list[i] = (struct ranked){
            rs->items[i],
            id,
            rank_of(id.kind, first, last),
            i,
            arena_printf(a, "%.*s_%.*s_%.*s", STR_ARG(named_or(id.group, "~G")),
                         STR_ARG(named_or(id.version, "~V")), STR_ARG(named_or(id.kind, "~K"))),
            arena_printf(a, "%.*s|%.*s", STR_ARG(named_or(id.space, "~X")),
                         STR_ARG(named_or(id.name, "~N")))};
    }
    qsort(list, rs->n, sizeof *list, compare);
    for (size_t i = 0; i < rs->n; i++)
        rs->items[i] = list[i].resource;
    return 0;
}

int kustomize_order(struct kustomize_run *run, const struct value *sort_options,
                    struct kustomize_resources *rs, struct err *e)
{
    struct str order = value_str_at(sort_options, "order");
    const struct value *legacy = value_getc(sort_options, "legacySortOptions");
    if (run->options->reorder)
        return run->options->reorder == 'l' ? sort_legacy(run->a, rs, NULL) : 0;
    if (!sort_options)
        return sort_legacy(run->a, rs, NULL);
    if (order.n && !str_eqc(order, "fifo") && !str_eqc(order, "legacy"))
        return err_set(e, ERR_INVALID,
                       "the field 'sortOptions.order' must be one of [fifo, legacy]");
    if (!str_eqc(order, "legacy") && legacy)
        return err_set(
            e, ERR_INVALID,
            "the field 'sortOptions.legacySortOptions' is set but the selected sort order "
            "is '%.*s', not 'legacy'",
            STR_ARG(order));
    return str_eqc(order, "legacy") ? sort_legacy(run->a, rs, legacy) : 0;
}
