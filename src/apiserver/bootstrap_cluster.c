// The objects that a cluster is born with: namespaces, the default roles and bindings, priority
// classes, the range of Service addresses, and the kubernetes Service with its endpoints. They are
// written through the same path as everybody's, in two waves (namespaces first), all of a wave in
// flight at once, so that the store commits them in a few groups. At later starts they are found in
// the cache and nothing is written.
//
// Repaired on every start: rules and subjects of roles and bindings that still carry the mark of
// their origin (unless rbac.authorization.kubernetes.io/autoupdate says "false"), and the endpoints
// of the API server.
#include "apiserver/bootstrap_cluster.h"
#include "apiserver/ranges.h"
#include "base/thread.h"

struct wave {
    struct apiserver *server;
    struct arena *a;
    struct wave_call {
        struct api_call call;
        struct completion woken;
    } * *calls;
    size_t n, cap;
};

static const struct str masters[] = {{"system:masters", 14}};

static void wake(struct api_call *c)
{
    completion_signal(c->ctx);
}

static struct value *object_new(struct arena *a, const char *api_version, const char *kind,
                                const char *ns, const char *name)
{
    struct value *v = value_object(a);
    value_setc(a, v, "kind", value_strc(a, kind));
    value_setc(a, v, "apiVersion", value_strc(a, api_version));
    value_set_at(a, v, "metadata.name", value_strc(a, name));
    if (ns)
        value_set_at(a, v, "metadata.namespace", value_strc(a, ns));
    return v;
}

static void add(struct wave *w, enum verb_bit verb, const struct kind *k, struct str ns,
                struct str name, const struct value *body)
{
    if (w->n == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        w->calls = arena_grow(w->a, w->calls, w->cap * sizeof *w->calls, cap * sizeof *w->calls);
        w->cap = cap;
    }
    struct wave_call *c = arena_new(w->a, struct wave_call);
    w->calls[w->n++] = c;
    api_call_init(&c->call);
    completion_init(&c->woken);
    c->call.request.verb = verb;
    c->call.request.kind = k;
    c->call.request.ns = ns;
    c->call.request.name = verb == VERB_CREATE ? STR_NULL : name;
    c->call.request.body = body;
    c->call.request.field_validation = VALIDATION_STRICT;
    c->call.identity =
        (struct identity){.user = STR("system:apiserver"), .groups = masters, .ngroups = 1};
    c->call.wake = wake;
    c->call.ctx = &c->woken;
}

// Parts that the server owns, taken over into what is there; false: nothing to repair.
static bool repair(struct arena *a, struct value *there, const struct value *wanted,
                   const char *const *fields)
{
    bool changed = false;
    for (; *fields; fields++) {
        struct value *w = value_getc(wanted, *fields);
        if (!w || value_eq(w, value_getc(there, *fields)))
            continue;
        value_setc(a, there, *fields, value_clone(a, w));
        changed = true;
    }
    return changed;
}

static const char *const *repaired_fields(const struct kind *k, const struct value *there)
{
    static const char *const roles[] = {"rules", "aggregationRule", "subjects", NULL};
    static const char *const endpoints[] = {"subsets", "endpoints", "ports", NULL};
    static const char *const none[] = {NULL};
    if (str_eqc(k->resource, "endpoints") || str_eqc(k->resource, "endpointslices"))
        return endpoints;
    if (!str_eqc(k->group, "rbac.authorization.k8s.io"))
        return none;
    const struct value *annotations = value_at(there, "metadata.annotations");
    bool hands_off = str_eqc(
        value_string(value_getc(annotations, "rbac.authorization.kubernetes.io/autoupdate")),
        "false");
    // Rules of aggregated roles are the aggregation controller's.
    return hands_off || value_getc(there, "aggregationRule") ? none : roles;
}

static void ensure(struct wave *w, struct value *v)
{
    const struct kind *k =
        kind_by_api_version(value_str_at(v, "apiVersion"), value_str_at(v, "kind"));
    BUG_ON(!k);
    struct str ns = value_str_at(v, "metadata.namespace"), name = value_str_at(v, "metadata.name");
    struct object *o = cache_get(w->server->cache, k, ns, name);
    if (!o) {
        add(w, VERB_CREATE, k, ns, name, v);
        return;
    }
    struct value *there = value_clone(w->a, object_tree(w->a, o));
    object_unref(o);
    if (repair(w->a, there, v, repaired_fields(k, there)))
        add(w, VERB_UPDATE, k, ns, name, there);
}

static int finish(struct wave *w, struct err *e)
{
    int ret = 0;
    bool *waiting = arena_array(w->a, bool, w->n + 1);
    for (size_t i = 0; i < w->n; i++)
        waiting[i] = api_step(w->server, &w->calls[i]->call) == API_WAIT;
    for (size_t i = 0; i < w->n; i++) {
        struct wave_call *c = w->calls[i];
        while (waiting[i]) {
            completion_wait(&c->woken);
            completion_done(&c->woken);
            completion_init(&c->woken);
            waiting[i] = api_step(w->server, &c->call) == API_WAIT;
        }
        completion_done(&c->woken);
        // Somebody else was quicker (another server on the same store).
        bool there = err_is(&c->call.err, ERR_ALREADY_EXISTS) || err_is(&c->call.err, ERR_CONFLICT);
        if (c->call.err.reason && !there && ret >= 0)
            ret = err_wrap(e, &c->call.err, "making what every cluster has");
        api_call_done(&c->call);
    }
    w->n = 0;
    return ret;
}

static struct value *priority_class(struct arena *a, const char *name, int64_t value,
                                    const char *text)
{
    struct value *v = object_new(a, "scheduling.k8s.io/v1", "PriorityClass", NULL, name);
    value_setc(a, v, "value", value_int(a, value));
    value_setc(a, v, "description", value_strc(a, text));
    return v;
}

static struct value *port_of(struct apiserver *s, struct arena *a)
{
    struct value *p = value_object(a);
    value_setc(a, p, "name", value_strc(a, "https"));
    value_setc(a, p, "port", value_int(a, s->opt.port ? s->opt.port : 6443));
    value_setc(a, p, "protocol", value_strc(a, "TCP"));
    return p;
}

static struct value *service(struct apiserver *s, struct arena *a)
{
    struct value *v = object_new(a, "v1", "Service", "default", "kubernetes");
    struct value *p = value_object(a), *ports = value_array(a);
    value_set_at(a, v, "metadata.labels.component", value_strc(a, "apiserver"));
    value_setc(a, value_at(v, "metadata.labels"), "provider", value_strc(a, "kubernetes"));
    value_setc(a, p, "name", value_strc(a, "https"));
    value_setc(a, p, "port", value_int(a, 443));
    value_setc(a, p, "protocol", value_strc(a, "TCP"));
    value_setc(a, p, "targetPort", value_int(a, s->opt.port ? s->opt.port : 6443));
    value_push(a, ports, p);
    value_set_at(a, v, "spec.ports", ports);
    value_set_at(a, v, "spec.clusterIP", value_str(a, ranges_address(s->ranges, a, 1)));
    value_set_at(a, v, "spec.type", value_strc(a, "ClusterIP"));
    return v;
}

static struct value *list1(struct arena *a, struct value *v)
{
    struct value *l = value_array(a);
    value_push(a, l, v);
    return l;
}

static void ensure_endpoints(struct wave *w)
{
    struct apiserver *s = w->server;
    struct arena *a = w->a;
    if (!s->opt.advertise_address.n)
        return;
    struct value *v = object_new(a, "v1", "Endpoints", "default", "kubernetes"),
                 *subset = value_object(a);
    struct value *address = value_object(a);
    value_setc(a, value_getc(v, "metadata"), "labels", value_object(a));
    value_setc(a, value_at(v, "metadata.labels"), "endpointslice.kubernetes.io/skip-mirror",
               value_strc(a, "true"));
    value_setc(a, address, "ip", value_str(a, s->opt.advertise_address));
    value_setc(a, subset, "addresses", list1(a, address));
    value_setc(a, subset, "ports", list1(a, port_of(s, a)));
    value_setc(a, v, "subsets", list1(a, subset));
    ensure(w, v);

    v = object_new(a, "discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
    value_setc(a, value_getc(v, "metadata"), "labels", value_object(a));
    value_setc(a, value_at(v, "metadata.labels"), "kubernetes.io/service-name",
               value_strc(a, "kubernetes"));
    struct value *endpoint = value_object(a);
    value_setc(a, endpoint, "addresses", list1(a, value_str(a, s->opt.advertise_address)));
    value_set_at(a, endpoint, "conditions.ready", value_bool(a, true));
    value_setc(a, v, "addressType", value_strc(a, "IPv4"));
    value_setc(a, v, "endpoints", list1(a, endpoint));
    value_setc(a, v, "ports", list1(a, port_of(s, a)));
    ensure(w, v);
}

int bootstrap_cluster(struct apiserver *s, struct err *e)
{
    static const char *const namespaces[] = {"default", "kube-node-lease", "kube-public",
                                             "kube-system"};
    _cleanup_arena_ struct arena arena = ARENA_INIT;
    struct arena *a = &arena;
    struct wave w = {.server = s, .a = a};
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
        ensure(&w, object_new(a, "v1", "Namespace", NULL, namespaces[i]));
    int r = finish(&w, e);
    if (r < 0)
        return r;
    struct value *roles = authz_bootstrap_objects(a);
    value_each_item (roles, v)
        ensure(&w, v);
    ensure(&w,
           priority_class(a, "system-cluster-critical", 2000000000,
                          "Used for system critical pods that must run in the cluster, but can be "
                          "moved to another node if necessary."));
    ensure(&w,
           priority_class(a, "system-node-critical", 2000001000,
                          "Used for system critical pods that must not be moved from their current "
                          "node."));
    struct value *cidr = object_new(a, "networking.k8s.io/v1", "ServiceCIDR", NULL, "kubernetes");
    value_set_at(a, cidr, "spec.cidrs", list1(a, value_str(a, ranges_cidr(s->ranges))));
    ensure(&w, cidr);
    ensure(&w, service(s, a));
    ensure_endpoints(&w);
    return finish(&w, e);
}
