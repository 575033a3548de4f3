// Namespace: empties a namespace that is being deleted, then lets it go.
//
// Pods go first, and everything else waits until the last of them is gone: a pod may still need its
// volumes, secrets and network policies while it stops. What remains (terminating pods, objects
// with finalizers) is reported in the namespace's conditions; each object that disappears from a
// terminating namespace brings the namespace back here, so nothing is asked twice in vain. When
// nothing remains, the finalizer "kubernetes" is taken out through the finalize subresource, and
// the API server removes the namespace.
#include "controller/control.h"

struct watched_kind {
    const struct kind *kind;
    struct namespaces *owner;
    struct informer *informer;
    struct informer_handler handler;
};

struct namespaces {
    struct control *control;
    struct informer *namespaces;
    struct informer_handler on_namespace;
    struct watched_kind *kinds; // namespaced ones
    size_t nkinds;
    struct work_queue *queue;
};

// What is left of a namespace, in words.
struct remains {
    struct arena *a;
    struct str resources, finalizers; // "pods. has 2 resource instances, …"
    size_t n;
    const char *names[32]; // distinct finalizers
    size_t counts[32], nnames;
};

static void note_finalizers(struct remains *m, const struct object *o)
{
    const struct value *list = value_getc(object_metadata(m->a, o), "finalizers");
    value_each_item (list, f) {
        size_t i = 0;
        while (i < m->nnames && !str_eqc(value_string(f), m->names[i]))
            i++;
        if (i == sizeof m->names / sizeof *m->names)
            continue;
        if (i == m->nnames)
            m->names[m->nnames++] = arena_cstr(m->a, value_string(f));
        m->counts[i]++;
    }
}

static void note(struct remains *m, const struct kind *k, const struct api_answer *list)
{
    struct str resource = kind_qualified_resource(m->a, k);
    const char *dot = k->group.n ? "" : "."; // as the originals write a resource without a group
    m->n += list->nitems;
    m->resources =
        arena_printf(m->a, "%.*s%s%.*s%s has %zu resource instances", STR_ARG(m->resources),
                     m->resources.n ? ", " : "", STR_ARG(resource), dot, list->nitems);
    for (size_t i = 0; i < list->nitems; i++)
        note_finalizers(m, list->items[i]);
}

// Deletes a kind's objects in the namespace and counts what stays.
static int empty(struct namespaces *c, const struct kind *k, struct str ns, struct remains *m,
                 struct err *e)
{
    _cleanup_answer_ struct api_answer before = {0}, deleted = {0}, after = {0};
    int rc = client_list(c->control->client, k, ns, STR_NULL, STR_NULL, &before, e);
    if (rc < 0 || !before.nitems)
        return rc;
    if (k->verbs & VERB_DELETECOLLECTION) {
        struct api_request r = {.verb = VERB_DELETECOLLECTION,
                                .kind = k,
                                .ns = ns,
                                .propagation = PROPAGATION_BACKGROUND,
                                .grace_period_seconds = -1};
        rc = client_call(c->control->client, &r, &deleted, e);
    } else {
        for (size_t i = 0; i < before.nitems && rc == 0; i++) {
            _cleanup_err_ struct err why = ERR_INIT;
            struct client_delete_options opt = {.propagation = PROPAGATION_BACKGROUND,
                                                .grace_period_seconds = -1};
            rc = client_delete(c->control->client, k, ns, object_name(before.items[i]), &opt, &why);
            if (rc < 0 && err_is(&why, ERR_NOT_FOUND))
                rc = 0;
            else if (rc < 0)
                err_move(e, &why);
        }
    }
    if (rc < 0 || (rc = client_list(c->control->client, k, ns, STR_NULL, STR_NULL, &after, e)) < 0)
        return rc;
    if (after.nitems)
        note(m, k, &after);
    return 0;
}

static void set_condition(struct namespaces *c, struct arena *a, struct value *list,
                          const char *type, bool status, const char *reason, struct str message)
{
    struct value *was = condition_find(list, type), *one = value_object(a);
    const char *text = status ? "True" : "False";
    if (was && str_eqc(value_str_at(was, "status"), text) &&
        str_eqc(value_str_at(was, "reason"), reason) &&
        str_eq(value_str_at(was, "message"), message))
        return;
    value_put(a, one, "type", str_of(type));
    value_put(a, one, "status", str_of(text));
    value_put(a, one, "lastTransitionTime",
              was && str_eqc(value_str_at(was, "status"), text)
                  ? value_str_at(was, "lastTransitionTime")
                  : meta_now(c->control->env, a));
    value_put(a, one, "reason", str_of(reason));
    value_put(a, one, "message", message);
    condition_remove(list, type);
    value_push(a, list, one);
}

static int report(struct namespaces *c, struct arena *a, struct value *tree,
                  const struct remains *m, const struct err *failure, struct err *e)
{
    struct value *status = value_object_at(a, tree, "status"), *was = value_clone(a, status);
    struct value *list = value_getc(status, "conditions");
    if (!value_is(list, VALUE_ARRAY)) {
        list = value_array(a);
        value_setc(a, status, "conditions", list);
    }
    struct str finalizers = STR_NULL;
    for (size_t i = 0; i < m->nnames; i++)
        finalizers = arena_printf(a, "%.*s%s%s in %zu resource instances", STR_ARG(finalizers),
                                  i ? ", " : "", m->names[i], m->counts[i]);
    set_condition(c, a, list, "NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered",
                  STR("All resources successfully discovered"));
    set_condition(c, a, list, "NamespaceDeletionGroupVersionParsingFailure", false,
                  "ParsedGroupVersions", STR("All legacy kube types successfully parsed"));
    if (failure->reason)
        set_condition(c, a, list, "NamespaceDeletionContentFailure", true, "ContentDeletionFailed",
                      arena_printf(a, "Failed to delete all resource types, 1 remaining: %s",
                                   failure->message));
    else
        set_condition(c, a, list, "NamespaceDeletionContentFailure", false, "ContentDeleted",
                      STR("All content successfully deleted, may be waiting on finalization"));
    if (m->n)
        set_condition(c, a, list, "NamespaceContentRemaining", true, "SomeResourcesRemain",
                      arena_printf(a, "Some resources are remaining: %.*s", STR_ARG(m->resources)));
    else
        set_condition(c, a, list, "NamespaceContentRemaining", false, "ContentRemoved",
                      STR("All content successfully removed"));
    if (finalizers.n)
        set_condition(c, a, list, "NamespaceFinalizersRemaining", true, "SomeFinalizersRemain",
                      arena_printf(a,
                                   "Some content in the namespace has finalizers remaining: %.*s",
                                   STR_ARG(finalizers)));
    else
        set_condition(c, a, list, "NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers",
                      STR("All content-preserving finalizers finished"));
    if (value_eq(was, status))
        return 0;
    return client_update_status(c->control->client, KIND("", "namespaces"), tree, NULL, e);
}

static int finalize(struct namespaces *c, struct arena *a, struct value *tree, struct err *e)
{
    _cleanup_answer_ struct api_answer answer = {0};
    struct value *list = value_at(tree, "spec.finalizers"), *left = value_array(a);
    value_each_item (list, f) {
        if (!str_eqc(value_string(f), "kubernetes"))
            value_push(a, left, f);
    }
    if (value_len(left) == value_len(list))
        return 0;
    value_set_at(a, tree, "spec.finalizers", left);
    struct api_request r = {.verb = VERB_UPDATE,
                            .kind = KIND("", "namespaces"),
                            .subresource = STR("finalize"),
                            .name = value_str_at(tree, "metadata.name"),
                            .body = tree,
                            .grace_period_seconds = -1};
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_call(c->control->client, &r, &answer, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return rc;
    }
    return 0;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct namespaces *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->namespaces, key);
    if (!o)
        return RECONCILE_DONE;
    struct value *tree = object_tree(a, o);
    if (!meta_deleting(tree))
        return RECONCILE_DONE;
    struct remains m = {.a = a};
    _cleanup_err_ struct err failure = ERR_INIT;
    const struct kind *pods = KIND("", "pods");
    int rc = empty(c, pods, key, &m, &failure);
    if (rc == 0 && !m.n) {
        for (size_t i = 0; i < c->nkinds && rc == 0; i++) {
            if (c->kinds[i].kind != pods)
                rc = empty(c, c->kinds[i].kind, key, &m, &failure);
        }
        if (rc == 0)
            rc = empty(c, KIND("", "events"), key, &m, &failure);
    }
    if (rc == 0 && !m.n)
        return finalize(c, a, tree, e) < 0 ? RECONCILE_RETRY : RECONCILE_DONE;
    if (report(c, a, tree, &m, &failure, e) < 0)
        return RECONCILE_RETRY;
    if (failure.reason) {
        err_move(e, &failure);
        return RECONCILE_RETRY;
    }
    return RECONCILE_DONE; // the next object that goes brings us back
}

static void on_namespace(void *ctx, struct object *old, struct object *new)
{
    struct namespaces *c = ctx;
    (void)old;
    if (new &&str_find(blob_view(new->json), STR("\"deletionTimestamp\"")) >= 0)
        work_queue_add_object(c->queue, new);
}

static void on_gone(void *ctx, struct object *old, struct object *new)
{
    struct watched_kind *k = ctx;
    if (new)
        return;
    _cleanup_object_ struct object *ns = informer_get(k->owner->namespaces, object_namespace(old));
    if (ns && str_find(blob_view(ns->json), STR("\"deletionTimestamp\"")) >= 0)
        work_queue_add(k->owner->queue, object_namespace(old));
}

static void *make(struct control *control)
{
    const struct kind *all[COLLECTABLE_MAX];
    size_t n = control_collectable_kinds(all, COLLECTABLE_MAX);
    struct namespaces *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->namespaces = informers_get(control->informers, KIND("", "namespaces"));
    c->kinds = mem_zalloc(n * sizeof *c->kinds);
    for (size_t i = 0; i < n; i++) {
        if (!(all[i]->flags & KIND_NAMESPACED))
            continue;
        struct watched_kind *k = &c->kinds[c->nkinds++];
        k->kind = all[i];
        k->owner = c;
        k->informer = informers_get(control->informers, all[i]);
        k->handler = (struct informer_handler){on_gone, k, NULL};
    }
    c->queue = work_queue_new(control->executor, "namespace", 2, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct namespaces *c = self;
    c->on_namespace = (struct informer_handler){on_namespace, c, NULL};
    informer_add_handler(c->namespaces, &c->on_namespace);
    for (size_t i = 0; i < c->nkinds; i++)
        informer_add_handler(c->kinds[i].informer, &c->kinds[i].handler);
}

static void stop(void *self)
{
    struct namespaces *c = self;
    informer_remove_handler(c->namespaces, &c->on_namespace);
    for (size_t i = 0; i < c->nkinds; i++)
        informer_remove_handler(c->kinds[i].informer, &c->kinds[i].handler);
    work_queue_free(c->queue);
    free(c->kinds);
    free(c);
}

const struct controller_row namespace_controller = {"namespace", make, run, stop};
