// What every namespace has: the ServiceAccount "default" and the ConfigMap "kube-root-ca.crt". Two
// controllers of one shape: each keeps one object in every namespace that is not going away, and
// puts it back when somebody deletes or (for the ConfigMap) changes it.
#include "controller/control.h"

struct fixture {
    const char *name;                                           // of the controller
    const char *resource, *object;                              // what is kept
    struct value *(*build)(struct control *c, struct arena *a); // NULL: nothing to keep
    // Whether the object is as it should be; NULL: any will do.
    bool (*good)(struct control *c, const struct value *object);
};

struct keeper {
    struct control *control;
    const struct fixture *fixture;
    struct informer *namespaces, *objects;
    struct informer_handler on_namespace, on_object;
    struct work_queue *queue;
};

static struct value *build_account(struct control *c, struct arena *a)
{
    struct value *v = value_object(a);
    (void)c;
    value_put(a, v, "kind", STR("ServiceAccount"));
    value_put(a, v, "apiVersion", STR("v1"));
    return v;
}

static struct value *build_root_ca(struct control *c, struct arena *a)
{
    struct value *v = value_object(a);
    if (!c->options->root_ca_pem.n)
        return NULL;
    value_put(a, v, "kind", STR("ConfigMap"));
    value_put(a, v, "apiVersion", STR("v1"));
    value_set(a, value_object_at(a, v, "metadata.annotations"), STR("kubernetes.io/description"),
              value_strc(a,
                         "Contains a CA bundle that can be used to verify the kube-apiserver when "
                         "using internal endpoints such as the internal service IP or "
                         "kubernetes.default.svc. No other usage is guaranteed across "
                         "distributions of Kubernetes clusters."));
    value_set(a, value_object_at(a, v, "data"), STR("ca.crt"),
              value_str(a, c->options->root_ca_pem));
    return v;
}

static bool good_root_ca(struct control *c, const struct value *object)
{
    const struct value *data = value_getc(object, "data");
    return value_len(data) == 1 &&
           str_eq(value_string(value_get(data, STR("ca.crt"))), c->options->root_ca_pem);
}

static const struct fixture account = {"serviceaccount", "serviceaccounts", "default",
                                       build_account, NULL};
static const struct fixture root_ca = {"root-ca", "configmaps", "kube-root-ca.crt", build_root_ca,
                                       good_root_ca};

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str ns,
                                       uint64_t *after_ns, struct err *e)
{
    struct keeper *k = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *space = informer_get(k->namespaces, ns);
    if (!space || value_str_at(object_metadata(a, space), "deletionTimestamp").n)
        return RECONCILE_DONE;
    struct str name = str_of(k->fixture->object);
    _cleanup_object_ struct object *o = informer_get_ns(k->objects, ns, name);
    struct value *want = k->fixture->build(k->control, a);
    struct value *have = o ? object_tree(a, o) : NULL;
    if (!want || (have && (!k->fixture->good || k->fixture->good(k->control, have))))
        return RECONCILE_DONE;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc;
    if (have) {
        value_setc(a, have, "data", value_getc(want, "data"));
        value_delc(have, "binaryData");
        rc = client_update(k->control->client, o->kind, have, NULL, &why);
    } else {
        value_set_at(a, want, "metadata.name", value_str(a, name));
        value_set_at(a, want, "metadata.namespace", value_str(a, ns));
        rc = client_create(k->control->client, client_kind("", k->fixture->resource), ns, want,
                           NULL, &why);
    }
    if (rc == 0 || err_is(&why, ERR_ALREADY_EXISTS) || err_is(&why, ERR_NOT_FOUND) ||
        client_namespace_terminating(&why))
        return RECONCILE_DONE;
    err_move(e, &why);
    return RECONCILE_RETRY;
}

static void on_namespace(void *ctx, struct object *old, struct object *new)
{
    struct keeper *k = ctx;
    (void)old;
    if (new)
        work_queue_add(k->queue, object_name(new));
}

static void on_object(void *ctx, struct object *old, struct object *new)
{
    struct keeper *k = ctx;
    const struct object *o = new ? new : old;
    if (str_eqc(object_name(o), k->fixture->object))
        work_queue_add(k->queue, object_namespace(o));
}

static void *make(struct control *control, const struct fixture *fixture)
{
    struct keeper *k = mem_zalloc(sizeof *k);
    k->control = control;
    k->fixture = fixture;
    k->namespaces = informers_get(control->informers, KIND("", "namespaces"));
    k->objects = informers_get(control->informers, client_kind("", fixture->resource));
    k->queue = work_queue_new(control->executor, fixture->name, 1, reconcile, k);
    return k;
}

static void *make_account(struct control *control)
{
    return make(control, &account);
}

static void *make_root_ca(struct control *control)
{
    return make(control, &root_ca);
}

static void run(void *self)
{
    struct keeper *k = self;
    k->on_namespace = (struct informer_handler){on_namespace, k, NULL};
    k->on_object = (struct informer_handler){on_object, k, NULL};
    informer_add_handler(k->namespaces, &k->on_namespace);
    informer_add_handler(k->objects, &k->on_object);
}

static void stop(void *self)
{
    struct keeper *k = self;
    informer_remove_handler(k->namespaces, &k->on_namespace);
    informer_remove_handler(k->objects, &k->on_object);
    work_queue_free(k->queue);
    free(k);
}

const struct controller_row serviceaccount_controller = {"serviceaccount", make_account, run, stop};
const struct controller_row root_ca_controller = {"root-ca", make_root_ca, run, stop};
