// Admission: the plug-ins that the originals have on by default, as a table, in their order. Each
// looks at the operation and leaves it alone, changes op->new, or refuses. They run before
// validation; what they set is defaulted and validated like what clients set. Webhooks and policies
// are not served yet.
#include "apiserver/admission.h"

static bool creating(const struct op *op, const char *group, const char *resource)
{
    return op->creating && !op->request->subresource.n && op_is(op, group, resource);
}

// ---- NamespaceLifecycle: nothing is made in a namespace that is not there or is going away

static int namespace_lifecycle(struct op *op, struct err *e)
{
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("namespaces"));
    if (!op->creating || !op->ns.n)
        return 0;
    _cleanup_object_ struct object *ns = cache_get(op->server->cache, k, STR_NULL, op->ns);
    if (!ns)
        return api_not_found(e, k, op->ns);
    struct value *meta = object_metadata(op->a, ns);
    if (!value_getc(meta, "deletionTimestamp"))
        return 0;
    api_forbidden(e, op->kind, op->name,
                  "unable to create new content in namespace %.*s because it is being terminated",
                  STR_ARG(op->ns));
    err_cause(e, "NamespaceTerminating", STR("metadata.namespace"),
              "namespace %.*s is being terminated", STR_ARG(op->ns));
    return -403;
}

int op_admit_delete(struct op *op, struct err *e)
{
    static const char *const kept[] = {"default", "kube-system", "kube-public"};
    for (size_t i = 0; op_is(op, "", "namespaces") && i < sizeof kept / sizeof *kept; i++)
        if (str_eqc(op->name, kept[i]))
            return api_forbidden(e, op->kind, op->name, "this namespace may not be deleted");
    int r = admit_node_delete(op, e);
    return r < 0 ? r : OP_NEXT;
}

// ---- TaintNodesByCondition: a new node takes pods once it has shown itself ready

static int taint_new_node(struct op *op, struct err *e)
{
    (void)e;
    struct arena *a = op->a;
    if (!creating(op, "", "nodes"))
        return 0;
    struct value *taints = value_at(op->new, "spec.taints");
    value_each_item (taints, t)
        if (str_eqc(value_str_at(t, "key"), "node.kubernetes.io/not-ready"))
            return 0;
    if (!taints)
        value_set_at(a, op->new, "spec.taints", taints = value_array(a));
    struct value *t = value_object(a);
    value_setc(a, t, "key", value_strc(a, "node.kubernetes.io/not-ready"));
    value_setc(a, t, "effect", value_strc(a, "NoSchedule"));
    value_push(a, taints, t);
    return 0;
}

// ---- Priority: the number behind the class name

static int priority(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    if (!creating(op, "", "pods"))
        return 0;
    const struct kind *k =
        kind_by_resource(STR("scheduling.k8s.io"), STR("v1"), STR("priorityclasses"));
    struct str name = value_str_at(op->new, "spec.priorityClassName");
    _cleanup_object_ struct object *class = NULL;
    if (name.n) {
        class = cache_get(op->server->cache, k, STR_NULL, name);
        if (!class)
            return api_forbidden(e, op->kind, op->name, "no PriorityClass with name %.*s was found",
                                 STR_ARG(name));
    } else {
        _cleanup_snapshot_ struct cache_snapshot snap = {0};
        struct cache_cursor it;
        cache_snapshot(op->server->cache, k, &snap);
        for (struct object *o = cache_first(&it, &snap, STR_NULL); o && !class; o = cache_next(&it))
            if (value_bool_at(object_tree(a, o), "globalDefault", false))
                class = object_ref(o);
    }
    const struct value *v = class ? value_clone(a, object_tree(a, class)) : NULL;
    int64_t number = value_int_at(v, "value", 0);
    struct str policy = value_str_at(v, "preemptionPolicy");
    const struct value *asked = value_at(op->new, "spec.priority");
    if (asked && value_int_or(asked, 0) != number)
        return api_forbidden(
            e, op->kind, op->name,
            "the integer value of priority (%lld) must not be provided in pod spec; "
            "priority admission controller computed %lld from the given "
            "PriorityClass name",
            (long long)value_int_or(asked, 0), (long long)number);
    if (v && !name.n)
        value_set_at(a, op->new, "spec.priorityClassName",
                     value_str(a, value_str_at(v, "metadata.name")));
    value_set_at(a, op->new, "spec.priority", value_int(a, number));
    if (!value_at(op->new, "spec.preemptionPolicy"))
        value_set_at(a, op->new, "spec.preemptionPolicy",
                     policy.n ? value_str(a, policy) : value_strc(a, "PreemptLowerPriority"));
    return 0;
}

// ---- DefaultTolerationSeconds: five minutes on a node that is gone

static void tolerate(struct op *op, const char *key)
{
    struct arena *a = op->a;
    struct value *list = value_at(op->new, "spec.tolerations");
    value_each_item (list, t) {
        struct str k = value_str_at(t, "key"), effect = value_str_at(t, "effect");
        if ((!k.n || str_eqc(k, key)) && (!effect.n || str_eqc(effect, "NoExecute")))
            return;
    }
    if (!list)
        value_set_at(a, op->new, "spec.tolerations", list = value_array(a));
    struct value *t = value_object(a);
    value_setc(a, t, "key", value_strc(a, key));
    value_setc(a, t, "operator", value_strc(a, "Exists"));
    value_setc(a, t, "effect", value_strc(a, "NoExecute"));
    value_setc(a, t, "tolerationSeconds", value_int(a, 300));
    value_push(a, list, t);
}

static int default_tolerations(struct op *op, struct err *e)
{
    (void)e;
    if (!creating(op, "", "pods"))
        return 0;
    tolerate(op, "node.kubernetes.io/not-ready");
    tolerate(op, "node.kubernetes.io/unreachable");
    return 0;
}

// ---- DefaultStorageClass

static int default_storage_class(struct op *op, struct err *e)
{
    (void)e;
    if (!creating(op, "", "persistentvolumeclaims") || value_at(op->new, "spec.storageClassName"))
        return 0;
    const struct kind *k =
        kind_by_resource(STR("storage.k8s.io"), STR("v1"), STR("storageclasses"));
    _cleanup_snapshot_ struct cache_snapshot snap = {0};
    struct cache_cursor it;
    cache_snapshot(op->server->cache, k, &snap);
    for (struct object *o = cache_first(&it, &snap, STR_NULL); o; o = cache_next(&it)) {
        const struct value *annotations = value_getc(object_metadata(op->a, o), "annotations");
        if (str_eqc(value_string(
                        value_getc(annotations, "storageclass.kubernetes.io/is-default-class")),
                    "true")) {
            value_set_at(op->a, op->new, "spec.storageClassName",
                         value_str(op->a, arena_str(op->a, object_name(o))));
            return 0;
        }
    }
    return 0;
}

// ---- StorageObjectInUseProtection: what is in use does not go (controller/volume_protection.c)

static int protect_volumes(struct op *op, struct err *e)
{
    (void)e;
    const char *name = creating(op, "", "persistentvolumeclaims") ? "kubernetes.io/pvc-protection"
                       : creating(op, "", "persistentvolumes")    ? "kubernetes.io/pv-protection"
                                                                  : NULL;
    struct value *list = value_at(op->new, "metadata.finalizers");
    if (!name)
        return 0;
    value_each_item (list, f)
        if (str_eqc(value_string(f), name))
            return 0;
    if (!list)
        value_set_at(op->a, op->new, "metadata.finalizers", list = value_array(op->a));
    value_push(op->a, list, value_strc(op->a, name));
    return 0;
}

static const struct plugin {
    const char *name;
    int (*admit)(struct op *op, struct err *e);
} plugins[] = {
    {"NamespaceLifecycle", namespace_lifecycle},
    {"LimitRanger", admit_limits},
    {"ServiceAccount", admit_service_account},
    {"NodeRestriction", admit_node},
    {"TaintNodesByCondition", taint_new_node},
    {"Priority", priority},
    {"DefaultTolerationSeconds", default_tolerations},
    {"RuntimeClass", admit_runtime_class},
    {"DefaultStorageClass", default_storage_class},
    {"StorageObjectInUseProtection", protect_volumes},
};

int op_admit(struct op *op, struct err *e)
{
    for (size_t i = 0; i < sizeof plugins / sizeof *plugins; i++) {
        int r = plugins[i].admit(op, e);
        if (r < 0)
            return r;
    }
    return OP_NEXT;
}
