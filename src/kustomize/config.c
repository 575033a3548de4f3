// The default configuration of the transformers, as tables, and what `configurations` add to it.
//
// Most places are places in a pod template, and six kinds have one: so a rule for pods is written
// once, relative to the pod, and multiplied by the table of templates.
#include "base/guard.h"
#include "kustomize/private.h"

// Where the pod is in each kind.
static const struct pods {
    const char *kind, *version, *at;
} pods[] = {
    {"Pod", "v1", ""},
    {"PodTemplate", "", "template/"},
    {"Deployment", "", "spec/template/"},
    {"ReplicaSet", "", "spec/template/"},
    {"DaemonSet", "", "spec/template/"},
    {"StatefulSet", "", "spec/template/"},
    {"Job", "", "spec/template/"},
    {"CronJob", "", "spec/jobTemplate/spec/template/"},
    {"ReplicationController", "", "spec/template/"},
};
enum pod_set { // which of them a rule is for
    POD = 1,
    TEMPLATE = 2,
    DEPLOYMENT = 4,
    REPLICASET = 8,
    DAEMONSET = 16,
    STATEFULSET = 32,
    JOB = 64,
    CRONJOB = 128,
    CONTROLLER = 256,
    ALL_BUT_CONTROLLER = 255,
    ALL_BUT_SETS = 511 & ~(TEMPLATE | REPLICASET),
};

// References from pods: the target, then the path behind the pod's place.
static const struct pod_reference {
    const char *group, *version, *kind;
    unsigned in; // pod_set
    const char *path;
} pod_references[] = {
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER, "spec/volumes/configMap/name"},
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER,
     "spec/containers/env/valueFrom/configMapKeyRef/name"},
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER,
     "spec/initContainers/env/valueFrom/configMapKeyRef/name"},
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER, "spec/containers/envFrom/configMapRef/name"},
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER, "spec/initContainers/envFrom/configMapRef/name"},
    {"", "v1", "ConfigMap", ALL_BUT_CONTROLLER, "spec/volumes/projected/sources/configMap/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/volumes/secret/secretName"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/containers/env/valueFrom/secretKeyRef/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/initContainers/env/valueFrom/secretKeyRef/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/containers/envFrom/secretRef/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/initContainers/envFrom/secretRef/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/imagePullSecrets/name"},
    {"", "v1", "Secret", ALL_BUT_CONTROLLER, "spec/volumes/projected/sources/secret/name"},
    {"", "v1", "ServiceAccount", ALL_BUT_SETS, "spec/serviceAccountName"},
    {"", "v1", "PersistentVolumeClaim", ALL_BUT_SETS,
     "spec/volumes/persistentVolumeClaim/claimName"},
    {"scheduling.k8s.io", "v1", "PriorityClass", ALL_BUT_SETS, "spec/priorityClassName"},
};

// All others: the target, then the kind that refers to it and where.
static const struct other_reference {
    const char *group, *version, *kind, *in_group, *in_version, *in_kind, *path;
} other_references[] = {
    {"", "", "Deployment", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"},
    {"", "", "ReplicationController", "", "", "HorizontalPodAutoscaler",
     "spec/scaleTargetRef/name"},
    {"", "", "ReplicaSet", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"},
    {"", "", "StatefulSet", "", "", "HorizontalPodAutoscaler", "spec/scaleTargetRef/name"},
    {"", "v1", "ConfigMap", "", "", "Node", "spec/configSource/configMap"},
    {"", "v1", "ConfigMap", "", "", "Role", "rules/resourceNames"},
    {"", "v1", "ConfigMap", "", "", "ClusterRole", "rules/resourceNames"},
    {"", "v1", "ConfigMap", "", "", "Ingress",
     "metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap"},
    {"", "v1", "Secret", "", "", "Ingress", "spec/tls/secretName"},
    {"", "v1", "Secret", "", "", "Ingress",
     "metadata/annotations/ingress.kubernetes.io\\/auth-secret"},
    {"", "v1", "Secret", "", "", "Ingress",
     "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret"},
    {"", "v1", "Secret", "", "", "Ingress",
     "metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret"},
    {"", "v1", "Secret", "", "", "ServiceAccount", "imagePullSecrets/name"},
    {"", "v1", "Secret", "", "", "StorageClass", "parameters/secretName"},
    {"", "v1", "Secret", "", "", "StorageClass", "parameters/adminSecretName"},
    {"", "v1", "Secret", "", "", "StorageClass", "parameters/userSecretName"},
    {"", "v1", "Secret", "", "", "StorageClass", "parameters/secretRef"},
    {"", "v1", "Secret", "", "", "Role", "rules/resourceNames"},
    {"", "v1", "Secret", "", "", "ClusterRole", "rules/resourceNames"},
    {"", "v1", "Secret", "serving.knative.dev", "v1", "Service",
     "spec/template/spec/containers/env/valueFrom/secretKeyRef/name"},
    {"", "v1", "Secret", "", "", "PersistentVolume", "spec/azureFile/secretName"},
    {"", "v1", "Service", "apps", "", "StatefulSet", "spec/serviceName"},
    {"", "v1", "Service", "", "", "Ingress", "spec/rules/http/paths/backend/serviceName"},
    {"", "v1", "Service", "", "", "Ingress", "spec/backend/serviceName"},
    {"", "v1", "Service", "", "", "Ingress", "spec/rules/http/paths/backend/service/name"},
    {"", "v1", "Service", "", "", "Ingress", "spec/defaultBackend/service/name"},
    {"", "v1", "Service", "apiregistration.k8s.io", "", "APIService", "spec/service/name"},
    {"", "v1", "Service", "admissionregistration.k8s.io", "", "ValidatingWebhookConfiguration",
     "webhooks/clientConfig/service"},
    {"", "v1", "Service", "admissionregistration.k8s.io", "", "MutatingWebhookConfiguration",
     "webhooks/clientConfig/service"},
    {"rbac.authorization.k8s.io", "", "Role", "rbac.authorization.k8s.io", "", "RoleBinding",
     "roleRef/name"},
    {"rbac.authorization.k8s.io", "", "ClusterRole", "rbac.authorization.k8s.io", "", "RoleBinding",
     "roleRef/name"},
    {"rbac.authorization.k8s.io", "", "ClusterRole", "rbac.authorization.k8s.io", "",
     "ClusterRoleBinding", "roleRef/name"},
    {"", "v1", "ServiceAccount", "rbac.authorization.k8s.io", "", "RoleBinding", "subjects"},
    {"", "v1", "ServiceAccount", "rbac.authorization.k8s.io", "", "ClusterRoleBinding", "subjects"},
    {"", "v1", "PersistentVolume", "", "", "PersistentVolumeClaim", "spec/volumeName"},
    {"", "v1", "PersistentVolume", "", "", "ClusterRole", "rules/resourceNames"},
    {"storage.k8s.io", "v1", "StorageClass", "", "", "PersistentVolume", "spec/storageClassName"},
    {"storage.k8s.io", "v1", "StorageClass", "", "", "PersistentVolumeClaim",
     "spec/storageClassName"},
    {"storage.k8s.io", "v1", "StorageClass", "", "", "StatefulSet",
     "spec/volumeClaimTemplates/spec/storageClassName"},
    {"networking.k8s.io/v1", "v1", "IngressClass", "", "", "Ingress", "spec/ingressClassName"},
    {"admissionregistration.k8s.io", "", "ValidatingAdmissionPolicy",
     "admissionregistration.k8s.io", "", "ValidatingAdmissionPolicyBinding", "spec/policyName"},
};

// Plain places: group, version, kind, path, create.
struct place {
    const char *group, *version, *kind, *path;
    bool create;
};
static const struct place name_places[] = {{"", "", "", "metadata/name", false}};
static const struct place space_places[] = {
    {"", "", "Namespace", "metadata/name", true},
    {"apiregistration.k8s.io", "", "APIService", "spec/service/namespace", true},
    {"apiextensions.k8s.io", "", "CustomResourceDefinition",
     "spec/conversion/webhook/clientConfig/service/namespace", false},
};
static const struct place label_places[] = {
    {"", "", "", "metadata/labels", true},
    {"", "v1", "ReplicationController", "spec/template/metadata/labels", true},
    {"", "", "Deployment", "spec/template/metadata/labels", true},
    {"", "", "ReplicaSet", "spec/template/metadata/labels", true},
    {"", "", "DaemonSet", "spec/template/metadata/labels", true},
    {"apps", "", "StatefulSet", "spec/template/metadata/labels", true},
    {"apps", "", "StatefulSet", "spec/volumeClaimTemplates[]/metadata/labels", true},
    {"batch", "", "Job", "spec/template/metadata/labels", true},
    {"batch", "", "CronJob", "spec/jobTemplate/metadata/labels", true},
    {"batch", "", "CronJob", "spec/jobTemplate/spec/template/metadata/labels", true},
};
#define AFFINITY "spec/template/spec/affinity/"
#define PREFERRED                                                                                  \
    "/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels"
#define REQUIRED "/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels"
#define SPREAD   "spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels"
static const struct place selector_places[] = {
    {"", "v1", "Service", "spec/selector", true},
    {"", "v1", "ReplicationController", "spec/selector", true},
    {"", "", "Deployment", "spec/selector/matchLabels", true},
    {"apps", "", "Deployment", AFFINITY "podAffinity" PREFERRED, false},
    {"apps", "", "Deployment", AFFINITY "podAffinity" REQUIRED, false},
    {"apps", "", "Deployment", AFFINITY "podAntiAffinity" PREFERRED, false},
    {"apps", "", "Deployment", AFFINITY "podAntiAffinity" REQUIRED, false},
    {"apps", "", "Deployment", SPREAD, false},
    {"", "", "ReplicaSet", "spec/selector/matchLabels", true},
    {"", "", "DaemonSet", "spec/selector/matchLabels", true},
    {"apps", "", "StatefulSet", "spec/selector/matchLabels", true},
    {"apps", "", "StatefulSet", AFFINITY "podAffinity" PREFERRED, false},
    {"apps", "", "StatefulSet", AFFINITY "podAffinity" REQUIRED, false},
    {"apps", "", "StatefulSet", AFFINITY "podAntiAffinity" PREFERRED, false},
    {"apps", "", "StatefulSet", AFFINITY "podAntiAffinity" REQUIRED, false},
    {"apps", "", "StatefulSet", SPREAD, false},
    {"batch", "", "Job", "spec/selector/matchLabels", false},
    {"batch", "", "CronJob", "spec/jobTemplate/spec/selector/matchLabels", false},
    {"policy", "", "PodDisruptionBudget", "spec/selector/matchLabels", false},
    {"networking.k8s.io", "", "NetworkPolicy", "spec/podSelector/matchLabels", false},
    {"networking.k8s.io", "", "NetworkPolicy", "spec/ingress/from/podSelector/matchLabels", false},
    {"networking.k8s.io", "", "NetworkPolicy", "spec/egress/to/podSelector/matchLabels", false},
};
static const struct place annotation_places[] = {
    {"", "", "", "metadata/annotations", true},
    {"", "v1", "ReplicationController", "spec/template/metadata/annotations", true},
    {"", "", "Deployment", "spec/template/metadata/annotations", true},
    {"", "", "ReplicaSet", "spec/template/metadata/annotations", true},
    {"", "", "DaemonSet", "spec/template/metadata/annotations", true},
    {"", "", "StatefulSet", "spec/template/metadata/annotations", true},
    {"batch", "", "Job", "spec/template/metadata/annotations", true},
    {"batch", "", "CronJob", "spec/jobTemplate/metadata/annotations", true},
    {"batch", "", "CronJob", "spec/jobTemplate/spec/template/metadata/annotations", true},
};
static const struct place image_places[] = {
    {"", "", "", "spec/containers[]/image", true},
    {"", "", "", "spec/initContainers[]/image", true},
    {"", "", "", "spec/volumes[]/image/reference", true},
    {"", "", "", "spec/template/spec/containers[]/image", true},
    {"", "", "", "spec/template/spec/initContainers[]/image", true},
    {"", "", "", "spec/template/spec/volumes[]/image/reference", true},
};
static const struct place replica_places[] = {
    {"", "", "Deployment", "spec/replicas", true},
    {"", "", "ReplicationController", "spec/replicas", true},
    {"", "", "ReplicaSet", "spec/replicas", true},
    {"", "", "StatefulSet", "spec/replicas", true},
};
// Where $(VAR) of the deprecated `vars` is replaced: in pods, and elsewhere.
static const char *const pod_variable_paths[] = {
    "spec/containers/args",          "spec/containers/command",
    "spec/containers/env/value",     "spec/containers/volumeMounts/mountPath",
    "spec/initContainers/args",      "spec/initContainers/command",
    "spec/initContainers/env/value", "spec/initContainers/volumeMounts/mountPath",
};
static const struct place variable_places[] = {
    {"", "", "CronJob", "spec/jobTemplate/spec/template/volumes/nfs/server", false},
    {"", "", "DaemonSet", "spec/template/spec/volumes/nfs/server", false},
    {"", "", "Deployment", "spec/template/spec/volumes/nfs/server", false},
    {"", "", "Deployment", "spec/template/metadata/annotations", false},
    {"", "", "Ingress", "spec/rules/host", false},
    {"", "", "Ingress", "spec/tls/hosts", false},
    {"", "", "Ingress", "spec/tls/secretName", false},
    {"", "", "Job", "spec/template/spec/volumes/nfs/server", false},
    {"", "", "Pod", "spec/volumes/nfs/server", false},
    {"", "", "ReplicaSet", "spec/template/spec/volumes/nfs/server", false},
    {"", "", "Service", "spec/ports/port", false},
    {"", "", "Service", "spec/ports/targetPort", false},
    {"", "", "StatefulSet", "spec/volumeClaimTemplates/spec/nfs/server", false},
    {"", "", "PersistentVolume", "spec/nfs/server", false},
    {"", "", "", "metadata/labels", false},
    {"", "", "", "metadata/annotations", false},
};

static void add_places(struct arena *a, struct kustomize_fields *to, const struct place *p,
                       size_t n)
{
    for (size_t i = 0; i < n; i++)
        kustomize_fields_add(
            a, to,
            (struct kustomize_field){{str_of(p[i].group), str_of(p[i].version), str_of(p[i].kind)},
                                     str_of(p[i].path),
                                     p[i].create});
}

static struct kustomize_reference *reference(struct arena *a, struct kustomize_config *c,
                                             struct kustomize_gvk target)
{
    for (size_t i = 0; i < c->nreferences; i++) {
        struct kustomize_gvk *t = &c->references[i].target;
        if (str_eq(t->kind, target.kind) && str_eq(t->group, target.group) &&
            str_eq(t->version, target.version))
            return &c->references[i];
    }
    if (c->nreferences == c->cap_references) {
        size_t cap = c->cap_references ? 2 * c->cap_references : 16;
        c->references = arena_grow(a, c->references, c->cap_references * sizeof *c->references,
                                   cap * sizeof *c->references);
        c->cap_references = cap;
    }
    c->references[c->nreferences] = (struct kustomize_reference){.target = target};
    return &c->references[c->nreferences++];
}

static void add_pod_references(struct arena *a, struct kustomize_config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(pod_references); i++) {
        const struct pod_reference *p = &pod_references[i];
        struct kustomize_reference *r = reference(
            a, c, (struct kustomize_gvk){str_of(p->group), str_of(p->version), str_of(p->kind)});
        for (size_t j = 0; j < ARRAY_LEN(pods); j++)
            if (p->in & 1u << j)
                kustomize_fields_add(a, &r->fields,
                                     (struct kustomize_field){
                                         {STR_NULL, str_of(pods[j].version), str_of(pods[j].kind)},
                                         arena_printf(a, "%s%s", pods[j].at, p->path),
                                         false});
    }
}

void kustomize_config_default(struct arena *a, struct kustomize_config *c)
{
    *c = (struct kustomize_config){0};
    add_places(a, &c->name_prefix, name_places, ARRAY_LEN(name_places));
    add_places(a, &c->name_suffix, name_places, ARRAY_LEN(name_places));
    add_places(a, &c->space, space_places, ARRAY_LEN(space_places));
    add_places(a, &c->common_labels, selector_places, ARRAY_LEN(selector_places));
    add_places(a, &c->common_labels, label_places, ARRAY_LEN(label_places));
    add_places(a, &c->template_labels, label_places, ARRAY_LEN(label_places));
    add_places(a, &c->annotations, annotation_places, ARRAY_LEN(annotation_places));
    add_places(a, &c->images, image_places, ARRAY_LEN(image_places));
    add_places(a, &c->replicas, replica_places, ARRAY_LEN(replica_places));
    add_places(a, &c->variables, variable_places, ARRAY_LEN(variable_places));
    for (size_t i = 0; i < ARRAY_LEN(pod_variable_paths); i++)
        for (size_t j = 0; j < ARRAY_LEN(pods); j++)
            if (ALL_BUT_CONTROLLER & ~(unsigned)TEMPLATE & 1u << j)
                kustomize_fields_add(a, &c->variables,
                                     (struct kustomize_field){
                                         {STR_NULL, STR_NULL, str_of(pods[j].kind)},
                                         arena_printf(a, "%s%s", pods[j].at, pod_variable_paths[i]),
                                         false});
    add_pod_references(a, c);
    for (size_t i = 0; i < ARRAY_LEN(other_references); i++) {
        const struct other_reference *o = &other_references[i];
        struct kustomize_reference *r = reference(
            a, c, (struct kustomize_gvk){str_of(o->group), str_of(o->version), str_of(o->kind)});
        kustomize_fields_add(a, &r->fields,
                             (struct kustomize_field){
                                 {str_of(o->in_group), str_of(o->in_version), str_of(o->in_kind)},
                                 str_of(o->path),
                                 false});
    }
}

// The members of a configuration file, each with its list.
#define LISTS(c)                                                                                   \
    {"namePrefix", &(c)->name_prefix}, {"nameSuffix", &(c)->name_suffix},                          \
        {"namespace", &(c)->space}, {"labels", &(c)->labels},                                      \
        {"commonLabels", &(c)->common_labels}, {"templateLabels", &(c)->template_labels},          \
        {"commonAnnotations", &(c)->annotations}, {"images", &(c)->images},                        \
        {"replicas", &(c)->replicas}, {"varReference", &(c)->variables},

int kustomize_config_read(struct arena *a, struct kustomize_config *c, const struct value *v,
                          struct err *e)
{
    struct {
        const char *name;
        struct kustomize_fields *fields;
    } lists[] = {LISTS(c)};
    value_each_field (v, f) {
        size_t i = 0;
        while (i < ARRAY_LEN(lists) && !str_eqc(f->key, lists[i].name))
            i++;
        int rc = 0;
        if (i < ARRAY_LEN(lists))
            rc = kustomize_fields_read(a, lists[i].fields, f->value, e);
        else if (str_eqc(f->key, "nameReference")) {
            value_each_item (f->value, item) {
                struct kustomize_reference *r = reference(a, c, kustomize_gvk_of(item));
                rc = kustomize_fields_read(a, &r->fields, value_getc(item, "fieldSpecs"), e);
                if (rc < 0)
                    return rc;
            }
        } else if (!str_eqc(f->key, "apiVersion") && !str_eqc(f->key, "kind"))
            rc = err_set(e, ERR_INVALID, "unknown field \"%.*s\" in a transformer configuration",
                         STR_ARG(f->key));
        if (rc < 0)
            return rc;
    }
    return 0;
}

int kustomize_config_merge(struct arena *a, struct kustomize_config *to,
                           const struct kustomize_config *from, struct err *e)
{
    struct {
        const char *name;
        struct kustomize_fields *fields;
    } ours[] = {LISTS(to)};
    struct {
        const char *name;
        const struct kustomize_fields *fields;
    } theirs[] = {LISTS(from)};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        int rc = kustomize_fields_merge(a, ours[i].fields, theirs[i].fields, e);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < from->nreferences; i++) {
        struct kustomize_reference *r = reference(a, to, from->references[i].target);
        int rc = kustomize_fields_merge(a, &r->fields, &from->references[i].fields, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
