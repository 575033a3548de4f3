// Endpoints: which pod addresses stand behind each Service.
//
// One reconcile per service works out its pods, groups them by the ports they resolve to (a named
// targetPort may be another number in every pod), and writes both faces: the EndpointSlices that
// proxies and DNS read (endpoint_slices.c), and the older Endpoints object (endpoints_object.c).
// Services without a selector are left to whoever keeps their endpoints; of ExternalName there are
// none.
//
// Which service does a pod event concern? The selectors of all services are kept parsed, by
// namespace
// (`selectors`, the loop's own), so an event costs a few label comparisons and no parsing but of
// the pod.
#include "controller/endpoints.h"

// A service's selector as pairs, for the handlers.
struct watched {
    struct watched *next; // of the namespace
    struct str key;       // owned: "namespace/name"
    struct str *pairs;    // key, value, key, value …; owned
    size_t n;
};

struct endpoints {
    struct control *control;
    struct informer *services, *endpoints, *slices;
    struct informer_handler on_service, on_endpoints, on_slice;
    struct pod_listener on_pod;
    struct work_queue *queue;
    struct expectations expectations;
    struct map selectors; // namespace -> list of watched
};

// Selectors.

static void watched_free(struct watched *w)
{
    for (size_t i = 0; i < w->n; i++)
        free((char *)w->pairs[i].p);
    free(w->pairs);
    free((char *)w->key.p);
    free(w);
}

static void forget_selector(struct endpoints *c, struct str ns, struct str key)
{
    struct watched *first = map_get(&c->selectors, ns);
    for (struct watched **at = &first; *at; at = &(*at)->next) {
        struct watched *w = *at;
        if (!str_eq(w->key, key))
            continue;
        *at = w->next;
        watched_free(w);
        break;
    }
    if (first)
        map_set(&c->selectors, ns, first);
    else
        map_del(&c->selectors, ns);
}

static void remember_selector(struct endpoints *c, struct str ns, struct str key,
                              const struct value *selector)
{
    if (!value_len(selector))
        return;
    struct watched *w = mem_zalloc(sizeof *w);
    w->key = mem_str(key);
    w->pairs = mem_zalloc(2 * value_len(selector) * sizeof *w->pairs);
    value_each_field (selector, f) {
        w->pairs[w->n++] = mem_str(f->key);
        w->pairs[w->n++] = mem_str(value_string(f->value));
    }
    w->next = map_get(&c->selectors, ns);
    map_set(&c->selectors, ns, w);
}

static bool pairs_match(const struct str *pairs, size_t n, const struct value *labels)
{
    for (size_t i = 0; i < n; i += 2) {
        const struct value *have = value_get(labels, pairs[i]);
        if (!have || !str_eq(value_string(have), pairs[i + 1]))
            return false;
    }
    return true;
}

static bool labels_match(const struct value *selector, const struct value *labels)
{
    value_each_field (selector, f) {
        const struct value *have = value_get(labels, f->key);
        if (!have || !str_eq(value_string(have), value_string(f->value)))
            return false;
    }
    return true;
}

// The service's pods.

// The number of a service port at one pod; 0: the pod has no such port. Only names need the pod's
// tree.
static int64_t resolve_port(struct arena *a, const struct value *port, const struct pod_facts *p,
                            const struct value **pod)
{
    const struct value *target = value_getc(port, "targetPort");
    struct str name = value_string(target);
    if (!target)
        return value_int_at(port, "port", 0);
    if (!name.n)
        return value_int_or(target, 0);
    struct str protocol = value_str_at(port, "protocol");
    if (!*pod)
        *pod = object_tree(a, p->object);
    const struct value *containers = value_at(*pod, "spec.containers");
    value_each_item (containers, container) {
        const struct value *ports = value_getc(container, "ports");
        value_each_item (ports, one) {
            struct str theirs = value_str_at(one, "protocol");
            if (str_eq(value_str_at(one, "name"), name) &&
                str_eq(theirs.n ? theirs : STR("TCP"), protocol.n ? protocol : STR("TCP")))
                return value_int_at(one, "containerPort", 0);
        }
    }
    return 0;
}

static struct value *resolve_ports(struct arena *a, const struct value *service,
                                   const struct pod_facts *p)
{
    struct value *out = value_array(a);
    const struct value *pod = NULL;
    const struct value *ports = value_at(service, "spec.ports");
    value_each_item (ports, port) {
        int64_t number = resolve_port(a, port, p, &pod);
        if (!number)
            continue;
        struct value *one = value_object(a);
        struct str protocol = value_str_at(port, "protocol");
        value_put(a, one, "name",
                  value_str_at(port, "name").n ? value_str_at(port, "name") : STR(""));
        value_put(a, one, "protocol", protocol.n ? protocol : STR("TCP"));
        value_put_int(a, one, "port", number);
        if (value_str_at(port, "appProtocol").n)
            value_put(a, one, "appProtocol", value_str_at(port, "appProtocol"));
        value_push(a, out, one);
    }
    return out;
}

static struct endpoint_group *group_for(struct service_view *v, struct value *ports, size_t room)
{
    for (size_t i = 0; i < v->ngroups; i++) {
        if (value_eq(v->groups[i].ports, ports))
            return &v->groups[i];
    }
    size_t size = v->ngroups * sizeof *v->groups;
    v->groups = arena_grow(v->a, v->groups, size, size + sizeof *v->groups);
    v->groups[v->ngroups] =
        (struct endpoint_group){ports, arena_array(v->a, struct endpoint, room), 0};
    return &v->groups[v->ngroups++];
}

// Whether two pods resolve to the same ports without a look: no port goes by name.
static bool ports_by_number(const struct value *service)
{
    const struct value *ports = value_at(service, "spec.ports");
    value_each_item (ports, port) {
        if (value_string(value_getc(port, "targetPort")).n)
            return false;
    }
    return true;
}

static void collect(struct service_view *v, const struct pod_list *pods)
{
    const struct value *selector = value_at(v->service, "spec.selector");
    bool publish = value_bool_at(v->service, "spec.publishNotReadyAddresses", false);
    bool by_number = ports_by_number(v->service);
    for (size_t i = 0; i < pods->n; i++) {
        const struct pod_facts *p = pods->items[i];
        if (!p->ip.n || facts_finished(p) || !labels_match(selector, p->labels))
            continue;
        struct endpoint_group *g = by_number && v->ngroups ? &v->groups[0] : NULL;
        if (!g) {
            struct value *ports = resolve_ports(v->a, v->service, p);
            if (!value_len(ports) && value_len(value_at(v->service, "spec.ports")))
                continue; // it offers none of the ports
            g = group_for(v, ports, pods->n);
        }
        g->items[g->n++] = (struct endpoint){
            .pod = p,
            // A pod with a name of its own below the headless service.
            .hostname = str_eq(p->subdomain, v->name) ? p->hostname : STR_NULL,
            .serving = p->ready,
            .terminating = p->deleting,
            .ready = publish || (p->ready && !p->deleting),
            .published = publish,
        };
    }
}

// Reconcile.

static enum reconcile_result service_gone(struct endpoints *c, struct arena *a, struct str key,
                                          struct err *e)
{
    // Slices have an owner and go with it; Endpoints have none.
    expectations_forget(&c->expectations, key);
    _cleanup_object_ struct object *o = informer_get(c->endpoints, key);
    if (!o)
        return RECONCILE_DONE;
    _cleanup_err_ struct err why = ERR_INIT;
    int rc = client_delete_tree(c->control->client, KIND("", "endpoints"), object_tree(a, o),
                                PROPAGATION_DEFAULT, -1, NULL, &why);
    if (rc < 0 && !err_is(&why, ERR_NOT_FOUND)) {
        err_move(e, &why);
        return RECONCILE_RETRY;
    }
    return RECONCILE_DONE;
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct endpoints *c = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(c->services, key);
    if (!o)
        return service_gone(c, a, key, e);
    if (!expectations_met(&c->expectations, key, informer_revision(c->slices)))
        return RECONCILE_DONE;
    struct service_view v = {.control = c->control, .a = a, .object = o};
    v.service = object_tree(a, o);
    meta_key_split(key, &v.ns, &v.name);
    if (!value_len(value_at(v.service, "spec.selector")) || meta_deleting(v.service) ||
        str_eqc(value_str_at(v.service, "spec.type"), "ExternalName"))
        return RECONCILE_DONE;
    v.headless = str_eqc(value_str_at(v.service, "spec.clusterIP"), "None");
    v.owner = owner_reference(a, KIND("", "services"), v.service);
    _cleanup_pods_ struct pod_list pods;
    pod_cache_by_namespace(c->control->pods, a, v.ns, &pods);
    collect(&v, &pods);
    if (endpoint_slices_write(&v, c->slices, &c->expectations, key, e) < 0 ||
        endpoints_write(&v, c->endpoints, e) < 0)
        return client_namespace_terminating(e) ? RECONCILE_DONE : RECONCILE_RETRY;
    return RECONCILE_DONE;
}

// Handlers.

static void on_service(void *ctx, struct object *old, struct object *new)
{
    struct endpoints *c = ctx;
    const struct object *o = new ? new : old;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str ns = object_namespace(o), key = meta_key(&a, o);
    if (old)
        forget_selector(c, ns, key);
    if (new)
        remember_selector(c, ns, key, value_at(object_tree(&a, new), "spec.selector"));
    work_queue_add(c->queue, key);
}

static void enqueue_matching(struct endpoints *c, struct str ns, const struct value *labels)
{
    for (struct watched *w = map_get(&c->selectors, ns); w; w = w->next) {
        if (pairs_match(w->pairs, w->n, labels))
            work_queue_add(c->queue, w->key);
    }
}

// Whether anything that an endpoint shows has changed.
static bool differs(const struct pod_facts *a, const struct pod_facts *b)
{
    return !str_eq(a->ip, b->ip) || !str_eq(a->node, b->node) || a->ready != b->ready ||
           a->deleting != b->deleting || facts_finished(a) != facts_finished(b) ||
           !str_eq(a->uid, b->uid) ||
           !(a->labels == b->labels || (a->labels && b->labels && value_eq(a->labels, b->labels)));
}

static void on_pod(void *ctx, const struct pod_facts *old, const struct pod_facts *new)
{
    struct endpoints *c = ctx;
    if (old && new && !differs(old, new))
        return;
    if (old)
        enqueue_matching(c, old->ns, old->labels);
    if (new)
        enqueue_matching(c, new->ns, new->labels);
}

// Somebody else's change to what we keep: put it right. Endpoints that belong to no Service are
// nobody's business here, but for those that we left behind ourselves.
static void on_endpoints(void *ctx, struct object *old, struct object *new)
{
    struct endpoints *c = ctx;
    const struct object *o = new ? new : old;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = meta_key(&a, o);
    _cleanup_object_ struct object *service = informer_get(c->services, key);
    const struct value *labels = value_getc(object_metadata(&a, o), "labels");
    struct str manager = value_string(value_get(labels, STR(ENDPOINTS_MANAGED_BY)));
    if (service || str_eqc(manager, ENDPOINTS_MANAGER))
        work_queue_add(c->queue, key);
}

static void on_slice(void *ctx, struct object *old, struct object *new)
{
    struct endpoints *c = ctx;
    const struct object *o = new ? new : old;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *labels = value_getc(object_metadata(&a, o), "labels");
    struct str service = value_string(value_get(labels, STR(SLICE_SERVICE_NAME)));
    struct str ns = object_namespace(o);
    if (service.n)
        work_queue_add(c->queue, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(service)));
}

static void *make(struct control *control)
{
    struct endpoints *c = mem_zalloc(sizeof *c);
    c->control = control;
    c->services = informers_get(control->informers, KIND("", "services"));
    c->endpoints = informers_get(control->informers, KIND("", "endpoints"));
    c->slices = informers_get(control->informers, KIND("discovery.k8s.io", "endpointslices"));
    informer_add_index(c->slices, "service", endpoint_slices_index);
    expectations_init(&c->expectations);
    c->queue = work_queue_new(control->executor, "endpoints", 3, reconcile, c);
    return c;
}

static void run(void *self)
{
    struct endpoints *c = self;
    c->on_service = (struct informer_handler){on_service, c, NULL};
    c->on_pod = (struct pod_listener){on_pod, c, NULL};
    c->on_endpoints = (struct informer_handler){on_endpoints, c, NULL};
    c->on_slice = (struct informer_handler){on_slice, c, NULL};
    informer_add_handler(c->services, &c->on_service);
    pod_cache_listen(c->control->pods, &c->on_pod);
    informer_add_handler(c->endpoints, &c->on_endpoints);
    informer_add_handler(c->slices, &c->on_slice);
}

static void stop(void *self)
{
    struct endpoints *c = self;
    informer_remove_handler(c->services, &c->on_service);
    pod_cache_unlisten(c->control->pods, &c->on_pod);
    informer_remove_handler(c->endpoints, &c->on_endpoints);
    informer_remove_handler(c->slices, &c->on_slice);
    work_queue_free(c->queue);
    expectations_done(&c->expectations);
    map_each (&c->selectors, s) {
        for (struct watched *w = s->value, *next; w; w = next) {
            next = w->next;
            watched_free(w);
        }
    }
    map_done(&c->selectors);
    free(c);
}

const struct controller_row endpoints_controller = {"endpoints", make, run, stop};
