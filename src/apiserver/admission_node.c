// NodeRestriction: what a node agent (user system:node:NAME in system:nodes) may write. The Node
// authoriser (node_authz.c) decides by the names in the request; here the content is read: an agent
// touches its own Node, Lease, CSINode and slices, and reports on its own pods, and nothing that it
// writes may draw other people's workloads or secrets to it.
//
// The rules and their words are the plug-in's of Kubernetes 1.34, a row of `rules` for each
// resource that it knows. Two things carry most of the weight: a pod that a node makes is a mirror
// pod that refers to nothing (else the reference would open the thing to the node), and labels in
// kubernetes.io and k8s.io beyond the known ones are not the node's to set (else it could draw
// workloads that are meant for other machines).
#include "apiserver/admission.h"
#include "apiserver/pod_references.h"

struct node_write {
    struct op *op;
    struct str node; // who writes
    bool deletes;
};

static bool updates(const struct node_write *w)
{
    return !w->deletes && w->op->found && !w->op->creating;
}

#define REFUSE(w, e, ...) api_forbidden(e, (w)->op->kind, (w)->op->name, __VA_ARGS__)

// ---- pods

static int pod_owner(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    const struct value *owners = value_at(op->new, "metadata.ownerReferences");
    const struct value *owner = value_item(owners, 0);
    if (value_len(owners) > 1)
        return REFUSE(w, e,
                      "node \"%.*s\" can only create pods with a single owner reference set to "
                      "itself",
                      STR_ARG(w->node));
    if (!owner || !str_eqc(value_str_at(owner, "apiVersion"), "v1") ||
        !str_eqc(value_str_at(owner, "kind"), "Node") ||
        !str_eq(value_str_at(owner, "name"), w->node))
        return REFUSE(w, e,
                      "node \"%.*s\" can only create pods with an owner reference set to itself",
                      STR_ARG(w->node));
    if (!value_bool_at(owner, "controller", false))
        return REFUSE(w, e,
                      "node \"%.*s\" can only create pods with a controller owner reference set to "
                      "itself",
                      STR_ARG(w->node));
    if (value_bool_at(owner, "blockOwnerDeletion", false))
        return REFUSE(w, e, "node \"%.*s\" must not set blockOwnerDeletion on an owner reference",
                      STR_ARG(w->node));
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("nodes"));
    _cleanup_object_ struct object *node = cache_get(op->server->cache, k, STR_NULL, w->node);
    if (!node)
        return api_not_found(e, k, w->node);
    struct str expected = value_str_at(owner, "uid");
    struct str got = value_string(value_getc(object_metadata(op->a, node), "uid"));
    if (!str_eq(expected, got))
        return REFUSE(w, e, "node %.*s UID mismatch: expected %.*s got %.*s", STR_ARG(w->node),
                      STR_ARG(expected), STR_ARG(got));
    return 0;
}

static bool note_reference(void *ctx, const char *resource, struct str name)
{
    (void)name;
    *(const char **)ctx = resource;
    return false;
}

static int pod_create(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    if (!value_getc(value_at(op->new, "metadata.annotations"), POD_MIRROR_ANNOTATION))
        return REFUSE(w, e,
                      "pod does not have \"" POD_MIRROR_ANNOTATION "\" annotation, node \"%.*s\" "
                      "can only create mirror pods",
                      STR_ARG(w->node));
    if (!str_eq(value_str_at(op->new, "spec.nodeName"), w->node))
        return REFUSE(w, e, "node \"%.*s\" can only create pods with spec.nodeName set to itself",
                      STR_ARG(w->node));
    int r = pod_owner(w, e);
    if (r < 0)
        return r;
    const char *resource = NULL;
    pod_references(op->a, op->new, note_reference, &resource);
    if (!resource)
        return 0;
    if (!strcmp(resource, "serviceaccounts"))
        resource = "a service account";
    return REFUSE(w, e, "node \"%.*s\" can not create pods that reference %s", STR_ARG(w->node),
                  resource);
}

static int pod_status(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    if (!str_eq(value_str_at(op->old, "spec.nodeName"), w->node))
        return REFUSE(w, e,
                      "node \"%.*s\" can only update pod status for pods with spec.nodeName set to "
                      "itself",
                      STR_ARG(w->node));
    const struct value *was = value_at(op->old, "metadata.labels"),
                       *is = value_at(op->new, "metadata.labels");
    if ((value_len(was) || value_len(is)) && !value_eq(was, is))
        return REFUSE(w, e, "node \"%.*s\" cannot update labels through pod status",
                      STR_ARG(w->node));
    was = value_at(op->old, "status.resourceClaimStatuses");
    is = value_at(op->new, "status.resourceClaimStatuses");
    if ((value_len(was) || value_len(is)) && !value_eq(was, is))
        return REFUSE(w, e, "node \"%.*s\" cannot update resource claim statues", STR_ARG(w->node));
    return 0;
}

static int pods(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    struct str sub = op->request->subresource;
    bool own = str_eq(value_str_at(op->old, "spec.nodeName"), w->node);
    if (str_eqc(sub, "status"))
        return pod_status(w, e);
    if (str_eqc(sub, "eviction"))
        return own ? 0
                   : REFUSE(w, e, "node %.*s can only evict pods with spec.nodeName set to itself",
                            STR_ARG(w->node));
    if (sub.n)
        return REFUSE(w, e,
                      "unexpected pod subresource \"%.*s\", only 'status' and 'eviction' are "
                      "allowed",
                      STR_ARG(sub));
    if (w->deletes)
        return own ? 0
                   : REFUSE(w, e,
                            "node \"%.*s\" can only delete pods with spec.nodeName set to itself",
                            STR_ARG(w->node));
    if (op->creating)
        return pod_create(w, e);
    return REFUSE(w, e,
                  "unexpected operation \"UPDATE\", node \"%.*s\" can only create and delete "
                  "mirror pods",
                  STR_ARG(w->node));
}

// ---- nodes

static bool in_domain(struct str ns, const char *domain)
{
    size_t n = strlen(domain);
    return str_eqc(ns, domain) ||
           (ns.n > n && str_ends(ns, str_of(domain)) && ns.p[ns.n - n - 1] == '.');
}

// Labels of kubernetes.io and k8s.io that an agent sets by right.
static bool agents_label(struct str key, struct str ns)
{
    static const char *const known[] = {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eqc(key, known[i]))
            return true;
    return in_domain(ns, "kubelet.kubernetes.io") || in_domain(ns, "node.kubernetes.io");
}

static bool reserved_label(struct str key)
{
    struct str rest = key, ns = str_cut(&rest, '/');
    if (!rest.p)
        return false;
    if (in_domain(ns, "node-restriction.kubernetes.io"))
        return true;
    return (in_domain(ns, "kubernetes.io") || in_domain(ns, "k8s.io")) && !agents_label(key, ns);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

// Reserved labels of `a` that `b` has not, or has otherwise: added to keys.
static size_t changed_labels(const struct value *a, const struct value *b, struct str *keys,
                             size_t n)
{
    value_each_field (a, m) {
        const struct value *there = value_get(b, m->key);
        if (reserved_label(m->key) && !(there && value_eq(there, m->value)))
            keys[n++] = m->key;
    }
    return n;
}

// "a, b": the reserved labels in which the two maps differ, sorted, each once.
static struct str reserved_changes(struct arena *a, const struct value *was, const struct value *is)
{
    struct str *keys = arena_array(a, struct str, value_len(was) + value_len(is) + 1);
    size_t n = changed_labels(is, was, keys, 0);
    n = changed_labels(was, is, keys, n);
    qsort(keys, n, sizeof *keys, by_text);
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !str_eq(keys[i], keys[i - 1]))
            buf_printf(&b, "%s%.*s", i ? ", " : "", STR_ARG(keys[i]));
    return arena_str(a, buf_view(&b));
}

static bool differ(const struct op *op, const char *path)
{
    const struct value *was = value_at(op->old, path), *is = value_at(op->new, path);
    return (value_len(was) || value_len(is)) && !value_eq(was, is);
}

static int nodes(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    if (!str_eq(op->name, w->node))
        return REFUSE(w, e, "node \"%.*s\" is not allowed to modify node \"%.*s\"",
                      STR_ARG(w->node), STR_ARG(op->name));
    if (w->deletes)
        return 0;
    const struct value *source = value_at(op->new, "spec.configSource");
    struct str labels = reserved_changes(op->a, value_at(op->old, "metadata.labels"),
                                         value_at(op->new, "metadata.labels"));
    if (op->creating && source)
        return REFUSE(w, e,
                      "node \"%.*s\" is not allowed to create pods with a non-nil configSource",
                      STR_ARG(w->node));
    if (op->creating)
        return !labels.n
                   ? 0
                   : REFUSE(w, e, "node \"%.*s\" is not allowed to set the following labels: %.*s",
                            STR_ARG(w->node), STR_ARG(labels));
    const struct value *old_source = value_at(op->old, "spec.configSource");
    if (source && !(old_source && value_eq(source, old_source)))
        return REFUSE(w, e,
                      "node \"%.*s\" is not allowed to update configSource to a new non-nil "
                      "configSource",
                      STR_ARG(w->node));
    if (differ(op, "spec.taints"))
        return REFUSE(w, e, "node \"%.*s\" is not allowed to modify taints", STR_ARG(w->node));
    if (differ(op, "metadata.ownerReferences"))
        return REFUSE(w, e, "node \"%.*s\" is not allowed to modify ownerReferences",
                      STR_ARG(w->node));
    if (labels.n)
        return REFUSE(w, e, "is not allowed to modify labels: %.*s", STR_ARG(labels));
    return 0;
}

// ---- claims

static int claims(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    if (!op_sub(op, "status"))
        return REFUSE(w, e, "may only update PVC status");
    static const char *const own[] = {"status.capacity", "status.conditions",
                                      "status.allocatedResourceStatuses",
                                      "status.allocatedResources", "metadata.resourceVersion"};
    struct value *was = value_clone(op->a, op->old), *is = value_clone(op->a, op->new);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        value_del_at(was, own[i]);
        value_del_at(is, own[i]);
    }
    if (!value_eq(was, is))
        return REFUSE(w, e,
                      "node \"%.*s\" is not allowed to update fields other than status.capacity "
                      "and status.conditions",
                      STR_ARG(w->node));
    return 0;
}

// ---- tokens: op->data is the TokenRequest

static bool projects_audience(const struct op *op, const struct value *pod, struct str audience)
{
    value_each_item (value_at(pod, "spec.volumes"), v)
        value_each_item (value_at(v, "projected.sources"), source) {
            const struct value *token = value_getc(source, "serviceAccountToken");
            struct str wanted = value_str_at(token, "audience");
            if (token &&
                (str_eq(wanted, audience) || (!wanted.n && str_eq(audience, op->server->issuer))))
                return true;
        }
    return false;
}

// The driver of a claim's volume, in op->a.
static struct str claim_driver(const struct op *op, struct str claim)
{
    struct cache *c = op->server->cache;
    _cleanup_object_ struct object *o = cache_get(
        c, kind_by_resource(STR_NULL, STR("v1"), STR("persistentvolumeclaims")), op->ns, claim);
    struct str name = o ? value_str_at(object_tree(op->a, o), "spec.volumeName") : STR_NULL;
    if (!name.n)
        return STR_NULL;
    _cleanup_object_ struct object *volume = cache_get(
        c, kind_by_resource(STR_NULL, STR("v1"), STR("persistentvolumes")), STR_NULL, name);
    return volume ? value_str_at(object_tree(op->a, volume), "spec.csi.driver") : STR_NULL;
}

// Whether a storage driver of one of the pod's volumes asks for tokens of this audience.
static bool driver_audience(const struct op *op, const struct value *pod, struct str audience)
{
    const struct kind *k = kind_by_resource(STR("storage.k8s.io"), STR("v1"), STR("csidrivers"));
    value_each_item (value_at(pod, "spec.volumes"), v) {
        struct str driver = value_str_at(v, "csi.driver"),
                   claim = value_str_at(v, "persistentVolumeClaim.claimName");
        if (value_getc(v, "ephemeral"))
            claim = arena_printf(op->a, "%.*s-%.*s", STR_ARG(value_str_at(pod, "metadata.name")),
                                 STR_ARG(value_str_at(v, "name")));
        if (claim.n)
            driver = claim_driver(op, claim);
        if (!driver.n)
            continue;
        _cleanup_object_ struct object *o = cache_get(op->server->cache, k, STR_NULL, driver);
        const struct value *requests =
            o ? value_at(object_tree(op->a, o), "spec.tokenRequests") : NULL;
        value_each_item (requests, t)
            if (str_eq(value_str_at(t, "audience"), audience))
                return true;
    }
    return false;
}

static int token_audience(struct node_write *w, const struct value *pod, struct err *e)
{
    struct op *op = w->op;
    const struct value *audiences = value_at(op->data, "spec.audiences");
    if (value_len(audiences) > 1)
        return REFUSE(w, e, "node may only request 0 or 1 audiences");
    struct str audience = value_string(value_item(audiences, 0));
    if (projects_audience(op, pod, audience) || driver_audience(op, pod, audience))
        return 0;
    struct authz_attributes at = {.who = &op->call->identity,
                                  .verb = STR("request-serviceaccounts-token-audience"),
                                  .version = STR("v1"),
                                  .resource = audience,
                                  .ns = op->ns,
                                  .name = op->name};
    if (authz_allowed(op->server->authz, &at))
        return 0;
    return REFUSE(w, e,
                  "audience \"%.*s\" not found in pod spec volume, system:node:%.*s is not "
                  "authorized to request tokens for this audience",
                  STR_ARG(audience), STR_ARG(w->node));
}

static int accounts(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    if (!op_sub(op, "token"))
        return 0;
    const struct value *ref = value_at(op->data, "spec.boundObjectRef");
    struct str name = value_str_at(ref, "name"), uid = value_str_at(ref, "uid");
    if (!str_eqc(value_str_at(ref, "apiVersion"), "v1") ||
        !str_eqc(value_str_at(ref, "kind"), "Pod") || !name.n)
        return REFUSE(w, e, "node requested token not bound to a pod");
    if (!uid.n)
        return REFUSE(w, e, "node requested token with a pod binding without a uid");
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("pods"));
    _cleanup_object_ struct object *o = cache_get(op->server->cache, k, op->ns, name);
    if (!o)
        return api_not_found(e, k, name);
    const struct value *pod = object_tree(op->a, o);
    if (!str_eq(uid, value_str_at(pod, "metadata.uid")))
        return REFUSE(w, e,
                      "the UID in the bound object reference (%.*s) does not match the UID in "
                      "record. The object might have been deleted and then recreated",
                      STR_ARG(uid));
    if (!str_eq(value_str_at(pod, "spec.nodeName"), w->node))
        return REFUSE(w, e, "node requested token bound to a pod scheduled on a different node");
    return token_audience(w, pod, e);
}

// ---- leases, CSI nodes, slices, certificate requests

static int leases(struct node_write *w, struct err *e)
{
    if (!str_eqc(w->op->ns, "kube-node-lease"))
        return REFUSE(w, e, "can only access leases in the \"kube-node-lease\" system namespace");
    if (!str_eq(w->op->name, w->node))
        return REFUSE(w, e, "can only access node lease with the same name as the requesting node");
    return 0;
}

static int csi_nodes(struct node_write *w, struct err *e)
{
    if (!str_eq(w->op->name, w->node))
        return REFUSE(w, e, "can only access CSINode with the same name as the requesting node");
    return 0;
}

static int slices(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    const struct value *slice = w->deletes ? op->old : op->new;
    if (updates(w) || str_eq(value_str_at(slice, "spec.nodeName"), w->node))
        return 0;
    return REFUSE(w, e, "can only %s ResourceSlice with the same NodeName as the requesting node",
                  w->deletes ? "delete" : "create");
}

static int certificate_requests(struct node_write *w, struct err *e)
{
    struct op *op = w->op;
    struct str signer = value_str_at(op->new, "spec.signerName"), name;
    if (w->deletes || !op->creating ||
        !(str_eqc(signer, "kubernetes.io/kubelet-serving") ||
          str_eqc(signer, "kubernetes.io/kube-apiserver-client-kubelet")))
        return 0;
    _cleanup_err_ struct err why = ERR_INIT;
    if (pki_request_name(op->a, value_str_at(op->new, "spec.request"), &name, &why) < 0)
        return REFUSE(w, e, "unable to parse csr: %s", why.message);
    struct str own = arena_printf(op->a, "system:node:%.*s", STR_ARG(w->node));
    if (!str_eq(name, own))
        return REFUSE(w, e, "can only create a node CSR with CN=%.*s", STR_ARG(own));
    return 0;
}

static const struct rule {
    const char *group, *resource;
    int (*check)(struct node_write *w, struct err *e);
} rules[] = {
    {"", "nodes", nodes},
    {"", "persistentvolumeclaims", claims},
    {"", "pods", pods},
    {"", "serviceaccounts", accounts},
    {"certificates.k8s.io", "certificatesigningrequests", certificate_requests},
    {"coordination.k8s.io", "leases", leases},
    {"resource.k8s.io", "resourceslices", slices},
    {"storage.k8s.io", "csinodes", csi_nodes},
};

bool op_node(const struct op *op, struct str *ret_name)
{
    const struct identity *who = &op->call->identity;
    struct str prefix = STR("system:node:");
    if (!str_starts(who->user, prefix))
        return false;
    for (size_t i = 0; i < who->ngroups; i++)
        if (str_eqc(who->groups[i], "system:nodes")) {
            *ret_name = str_from(who->user, prefix.n);
            return true;
        }
    return false;
}

static int restrict_write(struct op *op, bool deletes, struct err *e)
{
    struct node_write w = {.op = op, .deletes = deletes};
    if (!op_node(op, &w.node))
        return 0;
    if (!w.node.n)
        return REFUSE(&w, e, "could not determine node from user \"%.*s\"",
                      STR_ARG(op->call->identity.user));
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (op_is(op, rules[i].group, rules[i].resource))
            return rules[i].check(&w, e);
    return 0;
}

int admit_node(struct op *op, struct err *e)
{
    return restrict_write(op, false, e);
}

int admit_node_delete(struct op *op, struct err *e)
{
    return restrict_write(op, true, e);
}
