// ClusterRole aggregation: the rules of a ClusterRole that has an aggregationRule are the union of
// the rules of the ClusterRoles that its selectors match: selector by selector, by role name, each
// rule once.
//
// Aggregated roles are aggregated in turn (view into edit into admin): a write of ours comes back as
// an event and brings the next one. Roles that select each other settle, since rules are never added
// twice. Whoever writes an aggregationRule can gather anything: that the writer may is the API
// server's to check.
#include "controller/control.h"

struct aggregation {
    struct control *control;
    struct informer *roles;
    struct informer_handler on_role;
    struct work_queue *queue;
};

static bool has_rule(const struct value *rules, const struct value *rule)
{
    value_each_item (rules, one) {
        if (value_eq(one, rule))
            return true;
    }
    return false;
}

// list is in key order, which for a cluster-scoped kind is the order of names.
static void gather(struct arena *a, const struct object_list *list, struct str own_name,
                   const struct selector *selector, struct value *to)
{
    for (size_t i = 0; i < list->n; i++) {
        struct object *o = list->items[i];
        if (str_eq(object_name(o), own_name) ||
            !selector_matches(selector, value_getc(object_metadata(a, o), "labels")))
            continue;
        const struct value *rules = value_getc(object_tree(a, o), "rules");
        value_each_item (rules, rule) {
            if (!has_rule(to, rule))
                value_push(a, to, rule);
        }
    }
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct aggregation *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->roles, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *role = object_tree(a, o);
    if (!value_is(value_getc(role, "aggregationRule"), VALUE_OBJECT) || meta_deleting(role))
        return RECONCILE_DONE;
    const struct value *selectors = value_at(role, "aggregationRule.clusterRoleSelectors");
    struct value *rules = value_array(a), *have = value_getc(role, "rules");
    _cleanup_objects_ struct object_list list;
    informer_list(c->roles, STR_NULL, &list);
    value_each_item (selectors, one) {
        struct selector *selector;
        if (selector_from_value(a, one, &selector, e) < 0)
            return RECONCILE_RETRY;
        gather(a, &list, key, selector, rules);
    }
    if (value_len(rules) == 0 ? value_len(have) == 0 : value_eq(rules, have))
        return RECONCILE_DONE;
    value_setc(a, role, "rules", rules);
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_update(c->control->client, KIND("rbac.authorization.k8s.io", "clusterroles"),
                           role, NULL, &why);
    // Gone, or newer than the cache: nothing to do, or its event brings the key back.
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND) && !err_is(&why, ERR_CONFLICT)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    return RECONCILE_DONE;
}

static void on_role(void *ctx, struct object *old, struct object *new)
{
    struct aggregation *c = ctx;
    (void)old, (void)new;
    // Any role may be one that is selected, or no longer: all that aggregate look again.
    _cleanup_objects_ struct object_list list;
    informer_list(c->roles, STR_NULL, &list);
    for (size_t i = 0; i < list.n; i++) {
        if (str_find(blob_view(list.items[i]->json), STR("\"aggregationRule\"")) >= 0)
            enqueue_object(c->queue, list.items[i]);
    }
}

static void *make(struct control *control)
{
    struct aggregation *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->roles = informers_get(control->informers, KIND("rbac.authorization.k8s.io", "clusterroles"));
    c->queue = work_queue_new(control->executor, "clusterrole-aggregation", 1, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct aggregation *c = self;
    c->on_role = (struct informer_handler){on_role, c, NULL};
    informer_add_handler(c->roles, &c->on_role);
}

static void stop(void *self)
{
    struct aggregation *c = self;
    informer_remove_handler(c->roles, &c->on_role);
    work_queue_free(c->queue);
    free(c);
}

const struct controller_row clusterrole_aggregation_controller = {"clusterrole-aggregation", make,
                                                                  run, stop};
