// The Node authoriser: a node agent (user system:node:NAME, group system:nodes) may do what its
// work needs, for itself only: its own Node, Lease and pods, and the secrets, configmaps, service
// accounts, claims and volumes that its own pods refer to. Where it depends on what is written and
// not on names alone, admission decides (admission_node.c). What is not allowed here is not refused
// either: roles may still grant it, as in Kubernetes.
//
// A persistent tree holds one key for each reference, "node\nresource\nns/name\npod", kept from the
// changes of pods by a listener on the cache; a decision is one prefix seek. A mirror pod opens
// nothing but itself: a node can make one, and must not gain by it.
#include "apiserver/pod_references.h"
#include "apiserver/rbac.h"
#include "apiserver/selection.h"
#include "base/thread.h"

struct edge {
    atomic_uint refs;
    uint32_t n;
    char key[];
};

struct node_authz {
    struct cache *cache;
    const struct kind *pods;
    pthread_mutex_t lock;
    struct ptree *edges; // guarded by lock
};

static void edge_ref(void *p)
{
    atomic_fetch_add_explicit(&((struct edge *)p)->refs, 1, memory_order_relaxed);
}
static void edge_unref(void *p)
{
    struct edge *g = p;
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        free(g);
}
static struct str edge_key(const void *p)
{
    const struct edge *g = p;
    return str_n(g->key, g->n);
}
static const struct ptree_ops edge_ops = {edge_ref, edge_unref, edge_key};

// One pod's references, while they are added or removed.
struct walk {
    struct node_authz *n;
    struct arena *a;
    struct str node, ns, pod;
    bool add;
};

static void visit(struct walk *w, const char *resource, struct str name)
{
    if (!name.n)
        return;
    struct str key = arena_printf(w->a, "%.*s\n%s\n%.*s/%.*s\n%.*s", STR_ARG(w->node), resource,
                                  STR_ARG(w->ns), STR_ARG(name), STR_ARG(w->pod));
    if (!w->add) {
        ptree_del_in(&edge_ops, &w->n->edges, key);
        return;
    }
    struct edge *g = mem_alloc(sizeof *g + key.n);
    g->refs = 1;
    g->n = (uint32_t)key.n;
    memcpy(g->key, key.p, key.n);
    ptree_put_in(&edge_ops, &w->n->edges, g);
    edge_unref(g);
}

static bool visit_reference(void *ctx, const char *resource, struct str name)
{
    visit(ctx, resource, name);
    return true;
}

static void visit_pod(struct node_authz *n, struct object *o, bool add)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *pod = object_tree(&a, o);
    struct str node = value_str_at(pod, "spec.nodeName");
    if (!node.n)
        return;
    struct walk w = {.n = n,
                     .a = &a,
                     .node = node,
                     .ns = object_namespace(o),
                     .pod = object_name(o),
                     .add = add};
    visit(&w, "pods", w.pod);
    if (!value_getc(value_at(pod, "metadata.annotations"), POD_MIRROR_ANNOTATION))
        pod_references(&a, pod, visit_reference, &w);
}

static void pod_changed(void *ctx, struct object *old, struct object *new)
{
    struct node_authz *n = ctx;
    pthread_mutex_lock(&n->lock);
    if (old)
        visit_pod(n, old, false);
    if (new)
        visit_pod(n, new, true);
    pthread_mutex_unlock(&n->lock);
}

static bool refers(struct node_authz *n, struct str node, const char *resource, struct str ns,
                   struct str name)
{
    _cleanup_buf_ struct buf key = BUF_INIT;
    buf_printf(&key, "%.*s\n%s\n%.*s/%.*s\n", STR_ARG(node), resource, STR_ARG(ns), STR_ARG(name));
    pthread_mutex_lock(&n->lock);
    struct ptree *t = ptree_ref(n->edges);
    pthread_mutex_unlock(&n->lock);
    struct ptree_cursor at;
    const struct edge *g = ptree_seek(&at, &edge_ops, t, buf_view(&key));
    bool found = g && str_starts(edge_key(g), buf_view(&key));
    ptree_unref(&edge_ops, t);
    return found;
}

// ---- what each kind of request is held against; `node` asks

static bool anything(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    (void)n, (void)node, (void)at;
    return true;
}

static bool own_name(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    (void)n;
    return str_eq(at->name, node);
}

// Named, and one of the node's pods refers to it, or is it.
static bool referred(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    return at->name.n && refers(n, node, arena_cstr(&a, at->resource), at->ns, at->name);
}

// A pod that is gone is nobody's secret: the node shall hear 404, not 403, and stop asking.
static bool pod_or_gone(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    if (referred(n, node, at))
        return true;
    _cleanup_object_ struct object *pod =
        at->name.n ? cache_get(n->cache, n->pods, at->ns, at->name) : NULL;
    return at->name.n && !pod;
}

// Only those on the node, or one that is.
static bool selects_own(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    return selection_requires(&a, at->field_selector, STR("spec.nodeName"), node) ||
           referred(n, node, at);
}

static bool own_lease(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    // The name of a new one is read at admission.
    return str_eqc(at->ns, "kube-node-lease") &&
           (str_eqc(at->verb, "create") || own_name(n, node, at));
}

// A cluster-scoped object that says itself whose it is.
static bool names_node(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct kind *k = kind_by_resource(at->group, at->version, at->resource);
    _cleanup_object_ struct object *o =
        k && at->name.n ? cache_get(n->cache, k, STR_NULL, at->name) : NULL;
    return o && str_eq(value_str_at(object_tree(&a, o), "spec.nodeName"), node);
}

// A volume belongs to the claim that it is bound to.
static bool claimed(struct node_authz *n, struct str node, const struct authz_attributes *at)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct kind *k = kind_by_resource(at->group, at->version, at->resource);
    _cleanup_object_ struct object *o =
        k && at->name.n ? cache_get(n->cache, k, STR_NULL, at->name) : NULL;
    const struct value *claim = o ? value_at(object_tree(&a, o), "spec.claimRef") : NULL;
    return claim && refers(n, node, "persistentvolumeclaims", value_str_at(claim, "namespace"),
                           value_str_at(claim, "name"));
}

static const struct {
    const char *group, *resource, *subresource, *verbs;
    bool (*allows)(struct node_authz *n, struct str node, const struct authz_attributes *at);
} table[] = {
    {"", "configmaps", "", "get list watch", referred},
    {"", "endpoints", "", "get", anything},
    {"", "events", "", "create patch update", anything},
    {"", "nodes", "", "create patch update", anything}, // admission: itself
    {"", "nodes", "", "get list watch", own_name},
    {"", "nodes", "status", "patch update", anything},
    {"", "persistentvolumeclaims", "", "get", referred},
    {"", "persistentvolumeclaims", "status", "patch update", referred},
    {"", "persistentvolumes", "", "get", claimed},
    {"", "pods", "", "create delete", anything}, // admission: mirror pods of its own
    {"", "pods", "", "get", pod_or_gone},
    {"", "pods", "", "list watch", selects_own},
    {"", "pods", "eviction", "create", anything},
    {"", "pods", "status", "patch update", anything},
    {"", "secrets", "", "get list watch", referred},
    {"", "serviceaccounts", "", "get", referred},
    {"", "serviceaccounts", "token", "create", referred},
    {"", "services", "", "get list watch", anything},
    {"authentication.k8s.io", "tokenreviews", "", "create", anything},
    {"authorization.k8s.io", "localsubjectaccessreviews", "", "create", anything},
    {"authorization.k8s.io", "subjectaccessreviews", "", "create", anything},
    {"certificates.k8s.io", "certificatesigningrequests", "", "create get list watch", anything},
    {"certificates.k8s.io", "clustertrustbundles", "", "get list watch", anything},
    {"coordination.k8s.io", "leases", "", "create delete get patch update", own_lease},
    {"events.k8s.io", "events", "", "create patch update", anything},
    {"node.k8s.io", "runtimeclasses", "", "get list watch", anything},
    {"resource.k8s.io", "resourceclaims", "", "get", referred},
    {"resource.k8s.io", "resourceslices", "", "create", anything}, // admission: its own
    {"resource.k8s.io", "resourceslices", "", "delete get patch update", names_node},
    {"resource.k8s.io", "resourceslices", "", "deletecollection list watch", selects_own},
    {"storage.k8s.io", "csidrivers", "", "get list watch", anything},
    {"storage.k8s.io", "csinodes", "", "create", anything},
    {"storage.k8s.io", "csinodes", "", "delete get patch update", own_name},
    {"storage.k8s.io", "volumeattachments", "", "get", names_node},
};

static bool has_word(const char *words, struct str word)
{
    for (struct str rest = str_of(words); rest.p;)
        if (str_eq(str_cut(&rest, ' '), word))
            return true;
    return false;
}

bool node_authz_allows(struct node_authz *n, const struct authz_attributes *at)
{
    bool node = false;
    for (size_t i = 0; i < at->who->ngroups; i++)
        node = node || str_eqc(at->who->groups[i], "system:nodes");
    if (!node || at->path.p || !str_starts(at->who->user, STR("system:node:")))
        return false;
    struct str name = str_from(at->who->user, sizeof "system:node:" - 1);
    for (size_t i = 0; name.n && i < sizeof table / sizeof *table; i++)
        if (str_eqc(at->group, table[i].group) && str_eqc(at->resource, table[i].resource) &&
            str_eqc(at->subresource, table[i].subresource) && has_word(table[i].verbs, at->verb))
            return table[i].allows(n, name, at);
    return false;
}

struct node_authz *node_authz_new(struct cache *cache)
{
    struct node_authz *n = mem_zalloc(sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
    n->cache = cache;
    n->pods = kind_by_resource(STR(""), STR("v1"), STR("pods"));
    BUG_ON(!n->pods);
    cache_listen(cache, n->pods, pod_changed, n);
    _cleanup_snapshot_ struct cache_snapshot s = {0};
    cache_snapshot(cache, n->pods, &s);
    struct cache_cursor it;
    for (struct object *o = cache_first(&it, &s, STR_NULL); o; o = cache_next(&it))
        pod_changed(n, NULL, o);
    return n;
}

void node_authz_free(struct node_authz *n)
{
    if (!n)
        return;
    ptree_unref(&edge_ops, n->edges);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
