// The Node authoriser: a node agent (user system:node:NAME, group system:nodes) may do what the
// ClusterRole system:node would let it, but only for itself: its own Node and Lease, its own pods,
// and the secrets, configmaps, service accounts and claims that its own pods refer to.
//
// A persistent tree holds one key for each reference, "node\nresource\nns/name\npod", kept from pod
// changes by a listener on the cache; a decision is one prefix seek.
#include "apiserver/rbac.h"
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

static void visit_volume(struct walk *w, const struct value *v)
{
    visit(w, "secrets", value_str_at(v, "secret.secretName"));
    visit(w, "configmaps", value_str_at(v, "configMap.name"));
    visit(w, "persistentvolumeclaims", value_str_at(v, "persistentVolumeClaim.claimName"));
    value_each_item (value_at(v, "projected.sources"), source) {
        visit(w, "secrets", value_str_at(source, "secret.name"));
        visit(w, "configmaps", value_str_at(source, "configMap.name"));
    }
}

static void visit_containers(struct walk *w, const struct value *containers)
{
    value_each_item (containers, c) {
        value_each_item (value_getc(c, "env"), env) {
            visit(w, "secrets", value_str_at(env, "valueFrom.secretKeyRef.name"));
            visit(w, "configmaps", value_str_at(env, "valueFrom.configMapKeyRef.name"));
        }
        value_each_item (value_getc(c, "envFrom"), from) {
            visit(w, "secrets", value_str_at(from, "secretRef.name"));
            visit(w, "configmaps", value_str_at(from, "configMapRef.name"));
        }
    }
}

static void visit_pod(struct node_authz *n, struct object *o, bool add)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *spec = value_getc(object_tree(&a, o), "spec");
    struct str node = value_str_at(spec, "nodeName");
    if (!node.n)
        return;
    struct walk w = {.n = n,
                     .a = &a,
                     .node = node,
                     .ns = object_namespace(o),
                     .pod = object_name(o),
                     .add = add};
    visit(&w, "pods", w.pod);
    visit(&w, "serviceaccounts", value_str_at(spec, "serviceAccountName"));
    value_each_item (value_getc(spec, "imagePullSecrets"), s)
        visit(&w, "secrets", value_str_at(s, "name"));
    value_each_item (value_getc(spec, "volumes"), v)
        visit_volume(&w, v);
    visit_containers(&w, value_getc(spec, "initContainers"));
    visit_containers(&w, value_getc(spec, "containers"));
    visit_containers(&w, value_getc(spec, "ephemeralContainers"));
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

// A pod that is gone is nobody's secret: the node shall hear 404, not 403, and stop asking.
static bool is_gone(struct node_authz *n, const char *resource, struct str ns, struct str name)
{
    if (strcmp(resource, "pods") != 0 || !name.n)
        return false;
    _cleanup_object_ struct object *pod = cache_get(n->cache, n->pods, ns, name);
    return !pod;
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

// What a request on a resource is held against.
enum scope {
    SCOPE_ANY,       // the role alone decides
    SCOPE_SELF,      // the object of the node's own name
    SCOPE_REFERENCE, // something that a pod of the node refers to (or is: pods)
};
static const struct {
    const char *group, *resource, *subresource, *verbs;
    enum scope scope;
} table[] = {
    {"", "configmaps", "", "get list watch", SCOPE_REFERENCE},
    {"", "endpoints", "", "get list watch", SCOPE_ANY},
    {"", "events", "", "create patch update", SCOPE_ANY},
    {"", "namespaces", "", "get list watch", SCOPE_ANY},
    {"", "nodes", "", "list watch create", SCOPE_ANY},
    {"", "nodes", "", "get patch update", SCOPE_SELF},
    {"", "nodes", "status", "patch update", SCOPE_SELF},
    {"", "persistentvolumeclaims", "", "get", SCOPE_REFERENCE},
    {"", "persistentvolumes", "", "get", SCOPE_ANY},
    {"", "pods", "", "list watch create", SCOPE_ANY},
    {"", "pods", "", "get delete", SCOPE_REFERENCE},
    {"", "pods", "eviction", "create", SCOPE_REFERENCE},
    {"", "pods", "status", "patch update", SCOPE_REFERENCE},
    {"", "secrets", "", "get list watch", SCOPE_REFERENCE},
    {"", "serviceaccounts", "", "get", SCOPE_REFERENCE},
    {"", "serviceaccounts", "token", "create", SCOPE_REFERENCE},
    {"", "services", "", "get list watch", SCOPE_ANY},
    {"authentication.k8s.io", "tokenreviews", "", "create", SCOPE_ANY},
    {"authorization.k8s.io", "subjectaccessreviews", "", "create", SCOPE_ANY},
    {"certificates.k8s.io", "certificatesigningrequests", "", "create get list watch", SCOPE_ANY},
    {"coordination.k8s.io", "leases", "", "create", SCOPE_ANY},
    {"coordination.k8s.io", "leases", "", "get delete patch update", SCOPE_SELF},
    {"discovery.k8s.io", "endpointslices", "", "get list watch", SCOPE_ANY},
    {"events.k8s.io", "events", "", "create patch update", SCOPE_ANY},
    {"node.k8s.io", "runtimeclasses", "", "get list watch", SCOPE_ANY},
    {"storage.k8s.io", "csidrivers", "", "get list watch", SCOPE_ANY},
    {"storage.k8s.io", "csinodes", "", "get", SCOPE_SELF},
    {"storage.k8s.io", "volumeattachments", "", "get list watch", SCOPE_ANY},
};

static bool has_word(const char *words, struct str word)
{
    for (struct str rest = str_of(words); rest.p;)
        if (str_eq(str_cut(&rest, ' '), word))
            return true;
    return false;
}

enum node_decision node_authz_decide(struct node_authz *n, const struct authz_attributes *at)
{
    bool node = false;
    for (size_t i = 0; i < at->who->ngroups; i++)
        node = node || str_eqc(at->who->groups[i], "system:nodes");
    if (!node || at->path.p || !str_starts(at->who->user, STR("system:node:")))
        return NODE_NO_OPINION;
    struct str name = str_from(at->who->user, sizeof "system:node:" - 1);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!str_eqc(at->group, table[i].group) || !str_eqc(at->resource, table[i].resource) ||
            !str_eqc(at->subresource, table[i].subresource) || !has_word(table[i].verbs, at->verb))
            continue;
        switch (table[i].scope) {
        case SCOPE_ANY:
            return NODE_ALLOW;
        case SCOPE_SELF:
            return str_eq(at->name, name) ? NODE_ALLOW : NODE_DENY;
        case SCOPE_REFERENCE:
            if ((at->name.n && refers(n, name, table[i].resource, at->ns, at->name)) ||
                is_gone(n, table[i].resource, at->ns, at->name))
                return NODE_ALLOW;
            return NODE_DENY;
        }
    }
    return NODE_NO_OPINION;
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
