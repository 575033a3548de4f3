// The fields of a pod that name other objects, as paths: a row for each place where a volume, a
// container's environment or the pod itself may name one. Volumes of kinds that no node here can
// mount are listed too, because the reference is what counts.
#include "apiserver/pod_references.h"

struct place {
    const char *path, *resource;
};

static const struct place of_volume[] = {
    {"secret.secretName", "secrets"},
    {"azureFile.secretName", "secrets"},
    {"cephfs.secretRef.name", "secrets"},
    {"cinder.secretRef.name", "secrets"},
    {"csi.nodePublishSecretRef.name", "secrets"},
    {"flexVolume.secretRef.name", "secrets"},
    {"iscsi.secretRef.name", "secrets"},
    {"rbd.secretRef.name", "secrets"},
    {"scaleIO.secretRef.name", "secrets"},
    {"storageos.secretRef.name", "secrets"},
    {"configMap.name", "configmaps"},
    {"persistentVolumeClaim.claimName", "persistentvolumeclaims"},
};
static const struct place of_source[] = {
    {"secret.name", "secrets"},
    {"configMap.name", "configmaps"},
    {"clusterTrustBundle.name", "clustertrustbundles"},
};
static const struct place of_env[] = {
    {"valueFrom.secretKeyRef.name", "secrets"},
    {"valueFrom.configMapKeyRef.name", "configmaps"},
};
static const struct place of_env_from[] = {
    {"secretRef.name", "secrets"},
    {"configMapRef.name", "configmaps"},
};
#define N(array) (sizeof(array) / sizeof *(array))

struct reference_walk {
    pod_reference_fn *fn;
    void *ctx;
    bool more;
};

static void visit(struct reference_walk *w, const char *resource, struct str name)
{
    if (w->more)
        w->more = w->fn(w->ctx, resource, name);
}

static void visit_places(struct reference_walk *w, const struct value *v,
                         const struct place *places, size_t n)
{
    for (size_t i = 0; i < n && w->more; i++) {
        struct str name = value_str_at(v, places[i].path);
        if (name.n)
            visit(w, places[i].resource, name);
    }
}

static void visit_volume(struct reference_walk *w, struct arena *a, struct str pod,
                         const struct value *v)
{
    visit_places(w, v, of_volume, N(of_volume));
    // A claim of the pod's own, made from a template, bears both names.
    if (value_getc(v, "ephemeral"))
        visit(w, "persistentvolumeclaims",
              arena_printf(a, "%.*s-%.*s", STR_ARG(pod), STR_ARG(value_str_at(v, "name"))));
    value_each_item (value_at(v, "projected.sources"), source) {
        visit_places(w, source, of_source, N(of_source));
        const struct value *bundle = value_getc(source, "clusterTrustBundle");
        if (bundle && !value_str_at(bundle, "name").n)
            visit(w, "clustertrustbundles", STR_NULL);
    }
}

static void visit_containers(struct reference_walk *w, const struct value *containers)
{
    value_each_item (containers, c) {
        value_each_item (value_getc(c, "env"), env)
            visit_places(w, env, of_env, N(of_env));
        value_each_item (value_getc(c, "envFrom"), from)
            visit_places(w, from, of_env_from, N(of_env_from));
    }
}

static void visit_claims(struct reference_walk *w, const struct value *pod)
{
    value_each_item (value_at(pod, "spec.resourceClaims"), claim) {
        struct str name = value_str_at(claim, "resourceClaimName");
        if (name.n || value_str_at(claim, "resourceClaimTemplateName").n)
            visit(w, "resourceclaims", name);
    }
    value_each_item (value_at(pod, "status.resourceClaimStatuses"), claim) {
        struct str name = value_str_at(claim, "resourceClaimName");
        if (name.n)
            visit(w, "resourceclaims", name);
    }
}

void pod_references(struct arena *a, const struct value *pod, pod_reference_fn *fn, void *ctx)
{
    struct reference_walk w = {.fn = fn, .ctx = ctx, .more = true};
    const struct value *spec = value_getc(pod, "spec");
    struct str account = value_str_at(spec, "serviceAccountName");
    if (!account.n)
        account = value_str_at(spec, "serviceAccount"); // the field's older name
    if (account.n)
        visit(&w, "serviceaccounts", account);
    value_each_item (value_getc(spec, "imagePullSecrets"), s)
        if (value_str_at(s, "name").n)
            visit(&w, "secrets", value_str_at(s, "name"));
    value_each_item (value_getc(spec, "volumes"), v)
        visit_volume(&w, a, value_str_at(pod, "metadata.name"), v);
    visit_containers(&w, value_getc(spec, "initContainers"));
    visit_containers(&w, value_getc(spec, "containers"));
    visit_containers(&w, value_getc(spec, "ephemeralContainers"));
    visit_claims(&w, pod);
}
