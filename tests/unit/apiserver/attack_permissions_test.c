// attack-permissions: ways in which a caller tries to widen what it may do, each refused in the
// words of Kubernetes 1.34.
#include "harness.h"

#include "apiserver/auth.h"
#include "apiserver/server.h"
#include "base/time.h"
#include <openssl/ec.h>
#include <openssl/pem.h>

static const struct str node_groups[] = {{"system:nodes", 12}, {"system:authenticated", 20}};
static const struct identity node_n1 = {
    .user = {"system:node:n1", 14}, .groups = node_groups, .ngroups = 2};

static int run_as(struct fixture *f, struct identity who)
{
    f->call.identity = who;
    return run(f);
}

static void refused(struct fixture *f, struct identity who, int code, const char *message)
{
    f->call.identity = who;
    run_fails(f, code, message);
}

static void allowed(struct fixture *f, struct identity who)
{
    f->call.identity = who;
    run_ok(f);
}

static struct api_request *creates(struct fixture *f, const char *kind, const char *ns,
                                   const char *json)
{
    struct api_request *r = request(f, VERB_CREATE, kind, ns, NULL);
    r->body = parse(f, json);
    return r;
}

static struct api_request *merges(struct fixture *f, const char *kind, const char *ns,
                                  const char *name, const char *sub, const char *json)
{
    struct api_request *r = request(f, VERB_PATCH, kind, ns, name);
    r->patch_type = PATCH_TYPE_MERGE;
    r->subresource = str_of(sub);
    r->body = parse(f, json);
    return r;
}

static const char *with(struct fixture *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static const char *with(struct fixture *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_cstr(&f->a, arena_vprintf(&f->a, fmt, ap));
    va_end(ap);
    return text;
}

// Node n1 as it registered itself, and the account that its pods use.
static const char *make_node(struct fixture *f)
{
    creates(f, "nodes", NULL, "{'metadata':{'name':'n1'}}");
    allowed(f, node_n1);
    const char *uid = text_at(f, answer(f), "metadata.uid");
    create(f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
    return uid;
}

// ---- 1: a mirror pod that opens a Secret to its node

#define OWNER                                                                                      \
    "'ownerReferences':[{'apiVersion':'v1','kind':'Node','name':'n1','uid':'%s','controller':"     \
    "true}]"
#define MIRROR "'annotations':{'kubernetes.io/config.mirror':'x'}"

static void mirror_pods_refer_to_nothing(void **state)
{
    struct fixture *f = *state;
    const char *uid = make_node(f);
    static const struct {
        const char *spec, *refusal;
    } rows[] = {
        {"'containers':[{'name':'c','image':'i','envFrom':[{'secretRef':{'name':'x'}}]}]",
         "a mirror pod may not reference secrets"},
        {"'containers':[{'name':'c','image':'i'}],'volumes':[{'name':'v','secret':{'secretName':"
         "'x'}}]",
         "a mirror pod may not reference secrets"},
        {"'containers':[{'name':'c','image':'i'}],'imagePullSecrets':[{'name':'x'}]",
         "a mirror pod may not reference secrets"},
        {"'containers':[{'name':'c','image':'i'}],'serviceAccountName':'default'",
         "a mirror pod may not reference service accounts"},
        {"'containers':[{'name':'c','image':'i'}],'serviceAccount':'default'",
         "a mirror pod may not reference service accounts"},
        {"'containers':[{'name':'c','image':'i'}],'volumes':[{'name':'v','projected':{'sources':"
         "[{'serviceAccountToken':{'path':'t'}}]}}]",
         "a mirror pod may not use ServiceAccountToken volume projections"},
        {"'containers':[{'name':'c','image':'i','env':[{'name':'A','valueFrom':{'configMapKeyRef':"
         "{'name':'x','key':'k'}}}]}]",
         "node \"n1\" can not create pods that reference configmaps"},
        {"'containers':[{'name':'c','image':'i'}],'volumes':[{'name':'v','persistentVolumeClaim':{"
         "'claimName':'x'}}]",
         "node \"n1\" can not create pods that reference persistentvolumeclaims"},
        {"'containers':[{'name':'c','image':'i'}],'volumes':[{'name':'v','projected':{'sources':"
         "[{'clusterTrustBundle':{'signerName':'a/b','path':'t'}}]}}]",
         "node \"n1\" can not create pods that reference clustertrustbundles"},
        {"'containers':[{'name':'c','image':'i'}],'resourceClaims':[{'name':'r',"
         "'resourceClaimName':'x'}]",
         "node \"n1\" can not create pods that reference resourceclaims"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        creates(f, "pods", "default",
                with(f,
                     "{'metadata':{'name':'m'," MIRROR "," OWNER "},'spec':{'nodeName':'n1',%s}}",
                     uid, rows[i].spec));
        refused(f, node_n1, 403, with(f, "pods \"m\" is forbidden: %s", rows[i].refusal));
    }
    // Even if one is there, it opens nothing.
    create(f, "secrets", "default", "{'metadata':{'name':'x'}}");
    create(f, "pods", "default",
           "{'metadata':{'name':'m'," MIRROR "},'spec':{'nodeName':'n1','containers':[{'name':'c',"
           "'image':'i','env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'cm','key':'k'"
           "}}}]}]}}");
    request(f, VERB_GET, "configmaps", "default", "cm");
    refused(f, node_n1, 403,
            "configmaps \"cm\" is forbidden: User \"system:node:n1\" cannot get resource "
            "\"configmaps\" in API group \"\" in the namespace \"default\"");
    // An ordinary pod does.
    create(f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i',"
           "'envFrom':[{'secretRef':{'name':'x'}}]}]}}");
    request(f, VERB_GET, "secrets", "default", "x");
    allowed(f, node_n1);
}

// ---- 2: NodeRestriction

static void nodes_make_only_their_own_mirror_pods(void **state)
{
    struct fixture *f = *state;
    const char *uid = make_node(f);
#define POD(meta, node)                                                                            \
    "{'metadata':{'name':'m'" meta "},'spec':{'nodeName':'" node                                   \
    "','containers':[{'name':'c','image':'i'}]}}"
    const struct {
        const char *pod, *refusal;
    } rows[] = {
        {POD("", "n1"), "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" "
                        "can only create mirror pods"},
        {POD(",'annotations':{'a':'b'}", "n1"), "pod does not have \"kubernetes.io/config.mirror\" "
                                                "annotation, node \"n1\" can only create "
                                                "mirror pods"},
        {POD("," MIRROR, "n2"),
         "node \"n1\" can only create pods with spec.nodeName set to itself"},
        {POD("," MIRROR, "n1"),
         "node \"n1\" can only create pods with an owner reference set to itself"},
        {POD("," MIRROR ",'ownerReferences':[{'apiVersion':'v1','kind':'Node','name':'n2','uid':'u'"
             ",'controller':true}]",
             "n1"),
         "node \"n1\" can only create pods with an owner reference set to itself"},
        {POD("," MIRROR ",'ownerReferences':[{'apiVersion':'v1','kind':'Node','name':'n1','uid':'u'"
             "}]",
             "n1"),
         "node \"n1\" can only create pods with a controller owner reference set to itself"},
        {POD("," MIRROR ",'ownerReferences':[{'apiVersion':'v1','kind':'Node','name':'n1','uid':'u'"
             ",'controller':true,'blockOwnerDeletion':true}]",
             "n1"),
         "node \"n1\" must not set blockOwnerDeletion on an owner reference"},
        {POD("," MIRROR ",'ownerReferences':[{'apiVersion':'v1','kind':'Node','name':'n1','uid':'u'"
             ",'controller':true}]",
             "n1"),
         with(f, "node n1 UID mismatch: expected u got %s", uid)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        creates(f, "pods", "default", rows[i].pod);
        if (i == 0) // with an account it is no mirror pod's business
            f->call.request.body = parse(f, rows[i].pod);
        refused(f, node_n1, 403, with(f, "pods \"m\" is forbidden: %s", rows[i].refusal));
    }
    creates(f, "pods", "default",
            with(f,
                 "{'metadata':{'name':'m'," MIRROR "," OWNER
                 "},'spec':{'nodeName':'n1','containers'"
                 ":[{'name':'c','image':'i'}]}}",
                 uid));
    allowed(f, node_n1);
}

static void nodes_report_on_their_own_pods(void **state)
{
    struct fixture *f = *state;
    make_node(f);
    const char *eviction = "{'apiVersion':'policy/v1','kind':'Eviction','metadata':{'name':'q'}}";
    create(f, "pods", "default",
           "{'metadata':{'name':'p','labels':{'a':'b'}},'spec':{'nodeName':'n1','containers':[{"
           "'name':'c','image':'i'}]}}");
    create(f, "pods", "default",
           "{'metadata':{'name':'q','labels':{'a':'b'}},'spec':{'nodeName':'n2','containers':[{"
           "'name':'c','image':'i'}]}}");
    merges(f, "pods", "default", "p", "status", "{'metadata':{'labels':{'a':'c'}}}");
    refused(f, node_n1, 403,
            "pods \"p\" is forbidden: node \"n1\" cannot update labels through pod status");
    merges(f, "pods", "default", "p", "status", "{'metadata':{'labels':null}}");
    refused(f, node_n1, 403,
            "pods \"p\" is forbidden: node \"n1\" cannot update labels through pod status");
    merges(f, "pods", "default", "p", "status",
           "{'status':{'resourceClaimStatuses':[{'name':'r','resourceClaimName':'x'}]}}");
    refused(f, node_n1, 403,
            "pods \"p\" is forbidden: node \"n1\" cannot update resource claim statues");
    merges(f, "pods", "default", "q", "status", "{'status':{'phase':'Running'}}");
    refused(f, node_n1, 403,
            "pods \"q\" is forbidden: node \"n1\" can only update pod status for pods with "
            "spec.nodeName set to itself");
    merges(f, "pods", "default", "p", "status", "{'status':{'phase':'Running'}}");
    allowed(f, node_n1);
    creates(f, "pods", "default", eviction)->subresource = STR("eviction");
    f->call.request.name = STR("q");
    refused(f, node_n1, 403,
            "pods \"q\" is forbidden: node n1 can only evict pods with spec.nodeName set to "
            "itself");
    request(f, VERB_DELETE, "pods", "default", "q");
    refused(f, node_n1, 403,
            "pods \"q\" is forbidden: node \"n1\" can only delete pods with spec.nodeName set to "
            "itself");
    request(f, VERB_DELETE, "pods", "default", "p");
    allowed(f, node_n1);
}

static void nodes_read_only_what_is_theirs(void **state)
{
    struct fixture *f = *state;
    make_node(f);
    request(f, VERB_LIST, "pods", NULL, NULL);
    refused(f, node_n1, 403,
            "pods is forbidden: User \"system:node:n1\" cannot list resource \"pods\" in API group "
            "\"\" at the cluster scope");
    request(f, VERB_LIST, "pods", NULL, NULL)->field_selector = STR("spec.nodeName=n2");
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_LIST, "pods", NULL, NULL)->field_selector = STR("spec.nodeName!=n1");
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_LIST, "pods", NULL, NULL)->field_selector =
        STR("spec.nodeName=n1,status.phase!=Failed");
    allowed(f, node_n1);
    request(f, VERB_LIST, "nodes", NULL, NULL);
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_LIST, "nodes", NULL, NULL)->field_selector = STR("metadata.name=n1");
    allowed(f, node_n1);
    request(f, VERB_LIST, "secrets", "default", NULL);
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_LIST, "namespaces", NULL, NULL);
    assert_int_equal(run_as(f, node_n1), -403);
    // A volume is its claim's.
    create(f, "persistentvolumes", NULL,
           "{'metadata':{'name':'pv'},'spec':{'capacity':{'storage':'1Gi'},'accessModes':["
           "'ReadWriteOnce'],'hostPath':{'path':'/x'},'claimRef':{'namespace':'default','name':"
           "'data'}}}");
    request(f, VERB_GET, "persistentvolumes", NULL, "pv");
    assert_int_equal(run_as(f, node_n1), -403);
    create(f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i'"
           "}],'volumes':[{'name':'v','persistentVolumeClaim':{'claimName':'data'}}]}}");
    request(f, VERB_GET, "persistentvolumes", NULL, "pv");
    allowed(f, node_n1);
    // What it is not given as a node, a role may give.
    create(f, "clusterroles", NULL,
           "{'metadata':{'name':'all-pods'},'rules':[{'apiGroups':[''],'resources':['pods'],"
           "'verbs':['list']}]}");
    create(f, "clusterrolebindings", NULL,
           "{'metadata':{'name':'all-pods'},'subjects':[{'kind':'Group','apiGroup':"
           "'rbac.authorization.k8s.io','name':'system:nodes'}],'roleRef':{'apiGroup':"
           "'rbac.authorization.k8s.io','kind':'ClusterRole','name':'all-pods'}}");
    request(f, VERB_LIST, "pods", NULL, NULL);
    allowed(f, node_n1);
}

static void nodes_leave_reserved_labels_alone(void **state)
{
    struct fixture *f = *state;
    creates(f, "nodes", NULL,
            "{'metadata':{'name':'n1','labels':{'node-role.kubernetes.io/control-plane':'',"
            "'node-restriction.kubernetes.io/pci':'y','x.node-restriction.kubernetes.io/a':'b',"
            "'kubernetes.io/os':'linux','node.kubernetes.io/any':'1','example.com/a':'b'}}}");
    refused(f, node_n1, 403,
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: "
            "node-restriction.kubernetes.io/pci, node-role.kubernetes.io/control-plane, "
            "x.node-restriction.kubernetes.io/a");
    creates(f, "nodes", NULL, "{'metadata':{'name':'n1'},'spec':{'configSource':{}}}");
    refused(f, node_n1, 403,
            "nodes \"n1\" is forbidden: node \"n1\" is not allowed to create pods with a non-nil "
            "configSource");
    creates(f, "nodes", NULL,
            "{'metadata':{'name':'n1','labels':{'kubernetes.io/os':'linux','kubernetes.io/hostname'"
            ":'n1','node.kubernetes.io/instance-type':'x','kubelet.kubernetes.io/a':'b',"
            "'example.com/a':'b'}}}");
    allowed(f, node_n1);
    static const char *const subs[] = {"", "status"};
    for (size_t i = 0; i < 2; i++) {
        merges(f, "nodes", NULL, "n1", subs[i],
               "{'metadata':{'labels':{'node-restriction.kubernetes.io/pci':'y','k8s.io/a':'b'}}}");
        refused(f, node_n1, 403,
                "nodes \"n1\" is forbidden: is not allowed to modify labels: k8s.io/a, "
                "node-restriction.kubernetes.io/pci");
        merges(f, "nodes", NULL, "n1", subs[i],
               "{'metadata':{'ownerReferences':[{'apiVersion':'v1','kind':'ConfigMap','name':'x',"
               "'uid':'gone'}]}}");
        refused(f, node_n1, 403,
                "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify ownerReferences");
        merges(f, "nodes", NULL, "n1", subs[i], "{'spec':{'taints':null}}");
        refused(f, node_n1, 403,
                "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints");
        merges(f, "nodes", NULL, "n1", subs[i], "{'metadata':{'labels':{'example.com/a':'c'}}}");
        allowed(f, node_n1);
    }
    // What somebody else set may not be taken away, and stays where nobody touches it.
    merges(f, "nodes", NULL, "n1", "",
           "{'metadata':{'labels':{'node-restriction.kubernetes.io/pci':'y'}}}");
    allowed(f, f->admin);
    merges(f, "nodes", NULL, "n1", "",
           "{'metadata':{'labels':{'node-restriction.kubernetes.io/pci':null}}}");
    refused(f, node_n1, 403,
            "nodes \"n1\" is forbidden: is not allowed to modify labels: "
            "node-restriction.kubernetes.io/pci");
    merges(f, "nodes", NULL, "n1", "status", "{'status':{'capacity':{'cpu':'2'}}}");
    allowed(f, node_n1);
    create(f, "nodes", NULL, "{'metadata':{'name':'n2'}}");
    merges(f, "nodes", NULL, "n2", "status", "{'status':{'capacity':{'cpu':'2'}}}");
    refused(f, node_n1, 403,
            "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
}

static void nodes_keep_to_their_leases_and_slices(void **state)
{
    struct fixture *f = *state;
    make_node(f);
    creates(f, "leases", "default", "{'metadata':{'name':'n1'}}");
    refused(f, node_n1, 403,
            "leases.coordination.k8s.io is forbidden: User \"system:node:n1\" cannot create "
            "resource \"leases\" in API group \"coordination.k8s.io\" in the namespace "
            "\"default\"");
    creates(f, "leases", "kube-node-lease", "{'metadata':{'name':'n2'}}");
    refused(f, node_n1, 403,
            "leases.coordination.k8s.io \"n2\" is forbidden: can only access node lease with the "
            "same name as the requesting node");
    creates(f, "leases", "kube-node-lease", "{'metadata':{'name':'n1'}}");
    allowed(f, node_n1);
    creates(f, "csinodes", NULL, "{'metadata':{'name':'n2'},'spec':{'drivers':[]}}");
    refused(f, node_n1, 403,
            "csinodes.storage.k8s.io \"n2\" is forbidden: can only access CSINode with the same "
            "name as the requesting node");
    creates(f, "csinodes", NULL, "{'metadata':{'name':'n1'},'spec':{'drivers':[]}}");
    allowed(f, node_n1);
#define SLICE(name, node)                                                                          \
    "{'metadata':{'name':'" name "'},'spec':{'driver':'d.example.com','pool':{'name':'p','"        \
    "generation':1,'resourceSliceCount':1},'nodeName':'" node "'}}"
    creates(f, "resourceslices", NULL, SLICE("s2", "n2"));
    refused(f, node_n1, 403,
            "resourceslices.resource.k8s.io \"s2\" is forbidden: can only create ResourceSlice "
            "with the same NodeName as the requesting node");
    creates(f, "resourceslices", NULL, SLICE("s1", "n1"));
    allowed(f, node_n1);
    create(f, "resourceslices", NULL, SLICE("s2", "n2"));
    request(f, VERB_DELETE, "resourceslices", NULL, "s2");
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_DELETECOLLECTION, "resourceslices", NULL, NULL);
    assert_int_equal(run_as(f, node_n1), -403);
    request(f, VERB_DELETECOLLECTION, "resourceslices", NULL, NULL)->field_selector =
        STR("spec.nodeName=n1");
    allowed(f, node_n1);
    get(f, "resourceslices", NULL, "s2");
    request(f, VERB_GET, "resourceslices", NULL, "s1");
    assert_int_equal(run(f), -404);
}

static void nodes_ask_for_tokens_of_their_pods(void **state)
{
    struct fixture *f = *state;
    make_node(f);
    struct value *p = create(f, "pods", "default",
                             "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{"
                             "'name':'c','image':'i'}]}}"),
                 *q = create(f, "pods", "default",
                             "{'metadata':{'name':'q'},'spec':{'nodeName':'n2','containers':[{"
                             "'name':'c','image':'i'}]}}");
    const char *own = text_at(f, p, "metadata.uid"), *other = text_at(f, q, "metadata.uid");
    const struct {
        const char *spec, *refusal;
    } rows[] = {
        {"", "node requested token not bound to a pod"},
        {"'boundObjectRef':{'apiVersion':'v1','kind':'Node','name':'n1'}",
         "node requested token not bound to a pod"},
        {"'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'p'}",
         "node requested token with a pod binding without a uid"},
        {"'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'p','uid':'u'}",
         "the UID in the bound object reference (u) does not match the UID in record. The object "
         "might have been deleted and then recreated"},
        {with(f, "'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'q','uid':'%s'}", other),
         "node requested token bound to a pod scheduled on a different node"},
        {with(f,
              "'audiences':['vault'],'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'p',"
              "'uid':'%s'}",
              own),
         "audience \"vault\" not found in pod spec volume, system:node:n1 is not authorized to "
         "request tokens for this audience"},
        {with(f,
              "'audiences':['a','b'],'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'p',"
              "'uid':'%s'}",
              own),
         "node may only request 0 or 1 audiences"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct api_request *r = request(f, VERB_CREATE, "serviceaccounts", "default", "default");
        r->subresource = STR("token");
        r->body = parse(f, with(f, "{'spec':{%s}}", rows[i].spec));
        refused(f, node_n1, 403,
                with(f, "serviceaccounts \"default\" is forbidden: %s", rows[i].refusal));
    }
    // The pod mounts the usual token: that is asked for without an audience. (No key here.)
    struct api_request *r = request(f, VERB_CREATE, "serviceaccounts", "default", "default");
    r->subresource = STR("token");
    r->body = parse(
        f,
        with(f,
             "{'spec':{'boundObjectRef':{'apiVersion':'v1','kind':'Pod','name':'p','uid':'%s'}}}",
             own));
    refused(f, node_n1, 503, "this server has no key to sign tokens with");
}

// ---- 3 and 4: roles and bindings

static const char bind_maker[] =
    "{'metadata':{'name':'maker'},'subjects':[{'kind':'User','apiGroup':'rbac.authorization.k8s.io'"
    ",'name':'nobody'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
    "'name':'maker'}}";

static void make_maker(struct fixture *f, const char *rules)
{
    create(f, "clusterroles", NULL, with(f, "{'metadata':{'name':'maker'},'rules':[%s]}", rules));
    create(f, "clusterrolebindings", NULL, bind_maker);
}

static void bindings_name_a_role_that_is_there(void **state)
{
    struct fixture *f = *state;
    make_maker(f, "{'apiGroups':['rbac.authorization.k8s.io'],'resources':['rolebindings'],'verbs'"
                  ":['create','update','patch']}");
    static const char later[] =
        "{'metadata':{'name':'b'},'subjects':[{'kind':'User','apiGroup':'rbac.authorization.k8s.io'"
        ",'name':'nobody'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
        "'name':'later'}}";
    creates(f, "rolebindings", "default", later);
    refused(f, f->nobody, 404, "clusterroles.rbac.authorization.k8s.io \"later\" not found");
    // Who may bind it need not wait for it.
    creates(f, "rolebindings", "default", later);
    allowed(f, f->admin);
    // A label on it is a write of the binding too; what the garbage collector needs is not.
    merges(f, "rolebindings", "default", "b", "", "{'metadata':{'labels':{'a':'b'}}}");
    refused(f, f->nobody, 404, "clusterroles.rbac.authorization.k8s.io \"later\" not found");
    merges(f, "rolebindings", "default", "b", "",
           "{'metadata':{'finalizers':['example.com/x'],'ownerReferences':[{'apiVersion':'v1',"
           "'kind':'ConfigMap','name':'x','uid':'u'}]}}");
    allowed(f, f->nobody);
}

static void roles_are_not_widened(void **state)
{
    struct fixture *f = *state;
    make_maker(f, "{'apiGroups':['rbac.authorization.k8s.io'],'resources':['clusterroles'],'verbs'"
                  ":['create','update','patch']},{'apiGroups':[''],'resources':['pods'],'verbs':["
                  "'get']}");
    create(f, "clusterroles", NULL,
           "{'metadata':{'name':'r'},'rules':[{'apiGroups':[''],'resources':['secrets'],'verbs':["
           "'get','list']}]}");
    merges(f, "clusterroles", NULL, "r", "", "{'metadata':{'labels':{'a':'b'}}}");
    refused(f, f->nobody, 403,
            "clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"nobody\" "
            "(groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not "
            "currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" "
            "\"list\"]}");
    static const char aggregates[] =
        "{'metadata':{'name':'g'},'aggregationRule':{'clusterRoleSelectors':[{}]},'rules':[]}";
    creates(f, "clusterroles", NULL, aggregates);
    refused(f, f->nobody, 403,
            "clusterroles.rbac.authorization.k8s.io \"g\" is forbidden: must have cluster-admin "
            "privileges to use the aggregationRule");
    create(f, "clusterroles", NULL, aggregates);
    merges(f, "clusterroles", NULL, "g", "", "{'aggregationRule':null}");
    refused(f, f->nobody, 403,
            "clusterroles.rbac.authorization.k8s.io \"g\" is forbidden: must have cluster-admin "
            "privileges to use the aggregationRule");
    merges(f, "clusterroles", NULL, "r", "",
           "{'rules':[{'apiGroups':[''],'resources':['pods'],'verbs':['get']}]}");
    allowed(f, f->nobody);
}

// ---- 5: tokens

// A server that signs tokens.
static void give_key(struct fixture *f)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *b = BIO_new(BIO_s_mem());
    char *text;
    assert_int_equal(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(b, &text);
    struct apiserver *s = f->server;
    assert_int_equal(token_signer_new(f->env, str_n(text, (size_t)n), s->issuer, &s->tokens, NULL),
                     0);
    authn_free(s->authn);
    s->authn = authn_new(f->env, s->cache, s->tokens);
    BIO_free(b);
    EVP_PKEY_free(key);
}

static struct str token_for(struct fixture *f, const char *kind, const char *name)
{
    struct api_request *r = request(f, VERB_CREATE, "serviceaccounts", "default", "default");
    r->subresource = STR("token");
    r->body = parse(f, with(f,
                            "{'spec':{'boundObjectRef':{'apiVersion':'v1','kind':'%s','name':'%s'}"
                            "}}",
                            kind, name));
    run_ok(f);
    return arena_str(&f->a, value_str_at(f->call.answer.value, "status.token"));
}

static struct value *review(struct fixture *f, struct str token)
{
    struct value *v = parse(f, "{'spec':{}}");
    value_set_at(&f->a, v, "spec.token", value_str(&f->a, token));
    request(f, VERB_CREATE, "tokenreviews", NULL, NULL)->body = v;
    run_ok(f);
    return value_clone(&f->a, f->call.answer.value);
}

static bool holds(struct fixture *f, struct str token)
{
    return value_bool_at(review(f, token), "status.authenticated", false);
}

static void tokens_end_with_what_they_are_bound_to(void **state)
{
    struct fixture *f = *state;
    give_key(f);
    make_node(f);
    create(f, "nodes", NULL, "{'metadata':{'name':'n2'}}");
    create(f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i'"
           "}]}}");
    create(f, "secrets", "default", "{'metadata':{'name':'s'}}");
    struct str of_node = token_for(f, "Node", "n2"), of_pod = token_for(f, "Pod", "p"),
               of_secret = token_for(f, "Secret", "s");
    assert_true(holds(f, of_node) && holds(f, of_pod) && holds(f, of_secret));
    // Another node of the same name is another node.
    request(f, VERB_DELETE, "nodes", NULL, "n2");
    run_ok(f);
    assert_false(holds(f, of_node));
    create(f, "nodes", NULL, "{'metadata':{'name':'n2'}}");
    assert_false(holds(f, of_node));
    request(f, VERB_DELETE, "secrets", "default", "s");
    run_ok(f);
    assert_false(holds(f, of_secret));
    // Beside a pod the node is only told.
    request(f, VERB_DELETE, "nodes", NULL, "n1");
    run_ok(f);
    assert_true(holds(f, of_pod));
    // A pod that should have been gone for a minute has no token any more.
    merges(f, "pods", "default", "p", "", "{'metadata':{'finalizers':['example.com/x']}}");
    run_ok(f);
    request(f, VERB_DELETE, "pods", "default", "p")->grace_period_seconds = 10;
    run_ok(f);
    env_sim_advance(f->env, 69 * NS_PER_S);
    assert_true(holds(f, of_pod));
    env_sim_advance(f->env, 2 * NS_PER_S);
    assert_false(holds(f, of_pod));
}

// conformance-first-run: what a review tells of a pod's token.
static void a_review_tells_pod_and_node(void **state)
{
    struct fixture *f = *state;
    give_key(f);
    const char *node = make_node(f);
    struct value *pod = create(f, "pods", "default",
                               "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{"
                               "'name':'c','image':'i'}]}}");
    struct value *told = value_at(review(f, token_for(f, "Pod", "p")), "status.user.extra");
    const struct {
        const char *key, *value;
    } rows[] = {
        {"authentication.kubernetes.io/pod-name", "p"},
        {"authentication.kubernetes.io/pod-uid", text_at(f, pod, "metadata.uid")},
        {"authentication.kubernetes.io/node-name", "n1"},
        {"authentication.kubernetes.io/node-uid", node},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct value *list = value_getc(told, rows[i].key);
        assert_int_equal(value_len(list), 1);
        assert_true(str_eqc(value_string(value_item(list, 0)), rows[i].value));
    }
    const struct value *id = value_getc(told, "authentication.kubernetes.io/credential-id");
    assert_true(str_starts(value_string(value_item(id, 0)), STR("JTI=")));
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mirror_pods_refer_to_nothing),
        T(nodes_make_only_their_own_mirror_pods),
        T(nodes_report_on_their_own_pods),
        T(nodes_read_only_what_is_theirs),
        T(nodes_leave_reserved_labels_alone),
        T(nodes_keep_to_their_leases_and_slices),
        T(nodes_ask_for_tokens_of_their_pods),
        T(bindings_name_a_role_that_is_there),
        T(roles_are_not_widened),
        T(tokens_end_with_what_they_are_bound_to),
        T(a_review_tells_pod_and_node),
    };
    return cmocka_run_group_tests_name("attack-permissions", tests, NULL, NULL);
}
