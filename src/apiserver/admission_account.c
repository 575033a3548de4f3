// ServiceAccount admission: every pod runs as an account of its namespace, and unless it says
// otherwise gets the account's token, the cluster's CA and its namespace as a projected volume in
// each container, exactly as the originals lay it out (names, paths, modes, 3607 seconds), because
// clients and tests look there.
#include "apiserver/admission.h"
#include "apiserver/pod_references.h"

#define MOUNT_PATH "/var/run/secrets/kubernetes.io/serviceaccount"

static struct value *object2(struct arena *a, const char *k1, struct value *v1, const char *k2,
                             struct value *v2)
{
    struct value *o = value_object(a);
    value_setc(a, o, k1, v1);
    if (k2)
        value_setc(a, o, k2, v2);
    return o;
}

static struct value *list1(struct arena *a, struct value *v)
{
    struct value *l = value_array(a);
    value_push(a, l, v);
    return l;
}

static struct value *token_volume(struct arena *a, struct str name)
{
    struct value *sources = value_array(a), *ca = value_object(a);
    struct value *token =
        object2(a, "expirationSeconds", value_int(a, 3607), "path", value_strc(a, "token"));
    value_push(a, sources, object2(a, "serviceAccountToken", token, NULL, NULL));
    value_setc(a, ca, "name", value_strc(a, "kube-root-ca.crt"));
    value_setc(
        a, ca, "items",
        list1(a, object2(a, "key", value_strc(a, "ca.crt"), "path", value_strc(a, "ca.crt"))));
    value_push(a, sources, object2(a, "configMap", ca, NULL, NULL));
    struct value *ref = object2(a, "apiVersion", value_strc(a, "v1"), "fieldPath",
                                value_strc(a, "metadata.namespace"));
    struct value *item = object2(a, "path", value_strc(a, "namespace"), "fieldRef", ref);
    value_push(
        a, sources,
        object2(a, "downwardAPI", object2(a, "items", list1(a, item), NULL, NULL), NULL, NULL));
    struct value *projected = object2(a, "sources", sources, "defaultMode", value_int(a, 420));
    return object2(a, "name", value_str(a, name), "projected", projected);
}

static bool mounts_token(const struct value *container)
{
    const struct value *mounts = value_getc(container, "volumeMounts");
    value_each_item (mounts, m)
        if (str_eqc(value_str_at(m, "mountPath"), MOUNT_PATH))
            return true;
    return false;
}

static bool mount_into(struct op *op, struct value *containers, struct str volume)
{
    struct arena *a = op->a;
    bool used = false;
    value_each_item (containers, c) {
        if (mounts_token(c))
            continue;
        struct value *mounts = value_getc(c, "volumeMounts"), *m = value_object(a);
        if (!mounts)
            value_setc(a, c, "volumeMounts", mounts = value_array(a));
        value_setc(a, m, "name", value_str(a, volume));
        value_setc(a, m, "readOnly", value_bool(a, true));
        value_setc(a, m, "mountPath", value_strc(a, MOUNT_PATH));
        value_push(a, mounts, m);
        used = true;
    }
    return used;
}

static void mount_token(struct op *op)
{
    struct arena *a = op->a;
    char suffix[5];
    env_name_suffix(op->server->env, suffix, sizeof suffix);
    struct str name = arena_printf(a, "kube-api-access-%.5s", suffix);
    bool used = mount_into(op, value_at(op->new, "spec.initContainers"), name);
    used |= mount_into(op, value_at(op->new, "spec.containers"), name);
    if (!used)
        return;
    struct value *volumes = value_at(op->new, "spec.volumes");
    if (!volumes)
        value_set_at(a, op->new, "spec.volumes", volumes = value_array(a));
    value_push(a, volumes, token_volume(a, name));
}

static bool note_secret(void *ctx, const char *resource, struct str name)
{
    (void)name;
    *(bool *)ctx = !strcmp(resource, "secrets");
    return !*(bool *)ctx;
}

// A mirror pod describes what runs on a node already; it gets nothing and may refer to nothing that
// is secret.
static int mirror_pod(struct op *op, struct err *e)
{
    bool secret = false;
    if (value_str_at(op->new, "spec.serviceAccountName").n ||
        value_str_at(op->new, "spec.serviceAccount").n)
        return api_forbidden(e, op->kind, op->name,
                             "a mirror pod may not reference service accounts");
    pod_references(op->a, op->new, note_secret, &secret);
    if (secret)
        return api_forbidden(e, op->kind, op->name, "a mirror pod may not reference secrets");
    value_each_item (value_at(op->new, "spec.volumes"), v)
        value_each_item (value_at(v, "projected.sources"), source)
            if (value_getc(source, "serviceAccountToken"))
                return api_forbidden(
                    e, op->kind, op->name,
                    "a mirror pod may not use ServiceAccountToken volume projections");
    return 0;
}

int admit_service_account(struct op *op, struct err *e)
{
    struct arena *a = op->a;
    if (!op->creating || op->request->subresource.n || !op_is(op, "", "pods"))
        return 0;
    struct str name = value_str_at(op->new, "spec.serviceAccountName");
    if (value_getc(value_at(op->new, "metadata.annotations"), POD_MIRROR_ANNOTATION))
        return mirror_pod(op, e);
    if (!name.n)
        name = value_str_at(op->new, "spec.serviceAccount");
    if (!name.n)
        name = STR("default");
    value_set_at(a, op->new, "spec.serviceAccountName", value_str(a, name));
    value_set_at(a, op->new, "spec.serviceAccount", value_str(a, name));
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("serviceaccounts"));
    struct object *o = cache_get(op->server->cache, k, op->ns, name);
    if (!o)
        return api_forbidden(
            e, op->kind, op->name,
            "error looking up service account %.*s/%.*s: serviceaccount \"%.*s\" not "
            "found",
            STR_ARG(op->ns), STR_ARG(name), STR_ARG(name));
    const struct value *account = value_clone(a, object_tree(a, o));
    object_unref(o);
    // The pod's own word counts, else the account's, else yes.
    const struct value *own = value_at(op->new, "spec.automountServiceAccountToken");
    bool automount =
        value_bool_or(own, value_bool_at(account, "automountServiceAccountToken", true));
    if (automount)
        mount_token(op);
    struct value *secrets = value_getc(account, "imagePullSecrets");
    if (value_len(secrets) && !value_len(value_at(op->new, "spec.imagePullSecrets")))
        value_set_at(a, op->new, "spec.imagePullSecrets", value_clone(a, secrets));
    return 0;
}
