// EndpointSlices of Endpoints that somebody keeps by hand, for Services without a selector: proxies
// and DNS read slices only.
//
// One reconcile per Endpoints object: each subset becomes slices of its ports, one for each address
// family and hundred addresses (at most a thousand addresses of a subset, as upstream). What exists
// is used again where family and ports are the same; the rest is deleted. The Endpoints own their
// slices, so those go with them.
//
// Not mirrored: what endpoints.c itself keeps, what is labelled skip-mirror or annotated as a lock
// of a leader election, and Endpoints without a Service or with one that has a selector.
#include "controller/endpoints.h"
#include <arpa/inet.h>

enum { ADDRESSES_MAX = 1000 };
#define MANAGER      "endpointslicemirroring-controller.k8s.io"
#define SKIP         "endpointslice.kubernetes.io/skip-mirror"
#define LEADER       "control-plane.alpha.kubernetes.io/leader"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define LAST_CHANGE  "endpoints.kubernetes.io/last-change-trigger-time"

struct mirror {
    struct control *control;
    struct informer *services, *endpoints, *slices;
    struct informer_handler on_service, on_endpoints, on_slice;
    struct work_queue *queue;
    struct expectations expectations;
};

// What slices there should be.
struct wanted {
    struct value *slice; // without labels and annotations
    struct wanted *next;
};
struct plan {
    struct arena *a;
    const struct value *tree; // Endpoints
    struct str ns, name;
    struct wanted *first, **last;
};

static const char *family_of(struct arena *a, struct str ip)
{
    char binary[16];
    const char *text = arena_cstr(a, ip);
    return inet_pton(AF_INET, text, binary) == 1    ? "IPv4"
           : inet_pton(AF_INET6, text, binary) == 1 ? "IPv6"
                                                    : NULL;
}

static struct value *new_ports(struct arena *a, const struct value *ports)
{
    struct value *out = value_array(a);
    value_each_item (ports, port) {
        struct value *one = value_object(a);
        struct str protocol = value_str_at(port, "protocol");
        value_put(a, one, "name",
                  value_str_at(port, "name").n ? value_str_at(port, "name") : STR(""));
        value_put(a, one, "protocol", protocol.n ? protocol : STR("TCP"));
        value_put_int(a, one, "port", value_int_at(port, "port", 0));
        if (value_str_at(port, "appProtocol").n)
            value_put(a, one, "appProtocol", value_str_at(port, "appProtocol"));
        value_push(a, out, one);
    }
    return out;
}

// The endpoints of the slice that takes the next address of this family and these ports.
static struct value *room_for(struct plan *p, const char *family, struct value *ports)
{
    for (struct wanted *w = p->first; w; w = w->next) {
        struct value *endpoints = value_getc(w->slice, "endpoints");
        if (str_eqc(value_str_at(w->slice, "addressType"), family) &&
            endpoints_same_list(value_getc(w->slice, "ports"), ports) &&
            value_len(endpoints) < SLICE_ENDPOINTS_MAX)
            return endpoints;
    }
    struct wanted *w = arena_new(p->a, struct wanted);
    w->slice = value_object(p->a);
    value_put(p->a, w->slice, "addressType", str_of(family));
    value_setc(p->a, w->slice, "ports", ports);
    value_setc(p->a, w->slice, "endpoints", value_array(p->a));
    *p->last = w;
    p->last = &w->next;
    return value_getc(w->slice, "endpoints");
}

static void plan_addresses(struct plan *p, const struct value *list, struct value *ports,
                           bool ready, size_t *room)
{
    value_each_item (list, address) {
        const char *family = family_of(p->a, value_str_at(address, "ip"));
        if (!family || !*room)
            continue;
        --*room;
        struct value *one = value_object(p->a), *addresses = value_array(p->a);
        value_push(p->a, addresses, value_getc(address, "ip"));
        value_setc(p->a, one, "addresses", addresses);
        value_set_at(p->a, one, "conditions.ready", value_bool(p->a, ready));
        static const char *const same[] = {"hostname", "targetRef", "nodeName"};
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            struct value *v = value_getc(address, same[i]);
            if (v)
                value_setc(p->a, one, same[i], v);
        }
        value_push(p->a, room_for(p, family, ports), one);
    }
}

static void make_plan(struct plan *p)
{
    p->last = &p->first;
    const struct value *subsets = value_getc(p->tree, "subsets");
    value_each_item (subsets, subset) {
        struct value *ports = new_ports(p->a, value_getc(subset, "ports"));
        size_t room = ADDRESSES_MAX;
        plan_addresses(p, value_getc(subset, "addresses"), ports, true, &room);
        plan_addresses(p, value_getc(subset, "notReadyAddresses"), ports, false, &room);
    }
}

static struct value *copy_without(struct arena *a, const struct value *map,
                                  const char *const *without)
{
    struct value *out = value_object(a);
    value_each_field (map, f) {
        bool skip = false;
        for (const char *const *w = without; *w; w++)
            skip = skip || str_eqc(f->key, *w);
        if (!skip)
            value_set(a, out, f->key, f->value);
    }
    return out;
}

static struct value *labels_of(struct plan *p)
{
    static const char *const without[] = {SLICE_HEADLESS, SLICE_SERVICE_NAME, SLICE_MANAGED_BY,
                                          NULL};
    struct value *labels = copy_without(p->a, value_at(p->tree, "metadata.labels"), without);
    value_put(p->a, labels, SLICE_SERVICE_NAME, p->name);
    value_put(p->a, labels, SLICE_MANAGED_BY, STR(MANAGER));
    return labels;
}

static struct value *annotations_of(struct plan *p)
{
    static const char *const without[] = {LAST_APPLIED, LAST_CHANGE, NULL};
    return copy_without(p->a, value_at(p->tree, "metadata.annotations"), without);
}

static struct value *new_slice(struct plan *p, struct value *slice)
{
    struct value *meta = value_object(p->a), *owners = value_array(p->a);
    value_put(p->a, slice, "kind", STR("EndpointSlice"));
    value_put(p->a, slice, "apiVersion", STR("discovery.k8s.io/v1"));
    value_put(p->a, meta, "generateName", arena_printf(p->a, "%.*s-", STR_ARG(p->name)));
    value_put(p->a, meta, "namespace", p->ns);
    value_push(p->a, owners, owner_reference(p->a, KIND("", "endpoints"), p->tree));
    value_setc(p->a, meta, "ownerReferences", owners);
    value_setc(p->a, slice, "metadata", meta);
    return slice;
}

// Brings `tree` to what is wanted; false: it is that already.
static bool bring_to(struct plan *p, struct value *tree, const struct value *want)
{
    struct value *labels = labels_of(p), *annotations = annotations_of(p);
    if (value_eq(value_getc(tree, "endpoints"), value_getc(want, "endpoints")) &&
        endpoints_same_list(value_at(tree, "metadata.labels"), labels) &&
        endpoints_same_list(value_at(tree, "metadata.annotations"), annotations))
        return false;
    value_setc(p->a, tree, "endpoints", value_getc(want, "endpoints"));
    value_set_at(p->a, tree, "metadata.labels", labels);
    value_set_at(p->a, tree, "metadata.annotations", annotations);
    return true;
}

static int write_plan(struct mirror *m, struct plan *p, struct str key, struct err *e)
{
    const struct kind *k = KIND("discovery.k8s.io", "endpointslices");
    struct client *client = m->control->client;
    _cleanup_objects_ struct object_list list;
    informer_by_index(m->slices, "service", key, &list);
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        struct value *tree = object_tree(p->a, list.items[i]);
        const struct value *labels = value_at(tree, "metadata.labels");
        if (!str_eqc(value_string(value_get(labels, STR(SLICE_MANAGED_BY))), MANAGER) ||
            meta_deleting(tree))
            continue;
        struct wanted **at = &p->first;
        while (*at &&
               !(str_eq(value_str_at((*at)->slice, "addressType"),
                        value_str_at(tree, "addressType")) &&
                 endpoints_same_list(value_getc((*at)->slice, "ports"), value_getc(tree, "ports"))))
            at = &(*at)->next;
        struct wanted *w = *at;
        if (!w) {
            uint64_t revision = 0;
            rc = client_delete_tree(m->control->client, k, tree, PROPAGATION_DEFAULT, -1, &revision,
                                    e);
            rc = rc < 0 && err_is(e, ERR_NOT_FOUND) ? 0 : rc;
            expectations_expect(&m->expectations, key, revision);
            continue;
        }
        *at = w->next;
        _cleanup_object_ struct object *written = NULL;
        if (bring_to(p, tree, w->slice) && (rc = client_update(client, k, tree, &written, e)) == 0)
            expectations_expect(&m->expectations, key, written->revision);
    }
    for (struct wanted *w = p->first; w && rc == 0; w = w->next) {
        struct value *tree = new_slice(p, w->slice);
        _cleanup_object_ struct object *written = NULL;
        bring_to(p, tree, w->slice); // labels and annotations
        rc = client_create(client, k, p->ns, tree, &written, e);
        if (rc == 0)
            expectations_expect(&m->expectations, key, written->revision);
    }
    return rc;
}

static bool mirrored(struct mirror *m, struct arena *a, struct str key, const struct value *tree)
{
    const struct value *labels = value_at(tree, "metadata.labels");
    if (str_eqc(value_string(value_get(labels, STR(SKIP))), "true") ||
        value_get(value_at(tree, "metadata.annotations"), STR(LEADER)) || meta_deleting(tree))
        return false;
    _cleanup_object_ struct object *service = informer_get(m->services, key);
    return service && !value_len(value_at(object_tree(a, service), "spec.selector"));
}

static enum reconcile_result reconcile(void *ctx, struct arena *a, struct str key,
                                       uint64_t *after_ns, struct err *e)
{
    struct mirror *m = ctx;
    (void)after_ns;
    _cleanup_object_ struct object *o = informer_get(m->endpoints, key);
    if (!expectations_met(&m->expectations, key, informer_revision(m->slices)))
        return RECONCILE_DONE;
    struct plan p = {.a = a, .tree = o ? object_tree(a, o) : NULL};
    meta_key_split(key, &p.ns, &p.name);
    p.last = &p.first;
    if (o && mirrored(m, a, key, p.tree))
        make_plan(&p);
    if (write_plan(m, &p, key, e) < 0)
        return client_namespace_terminating(e) ? RECONCILE_DONE : RECONCILE_RETRY;
    return RECONCILE_DONE;
}

static void on_object(void *ctx, struct object *old, struct object *new)
{
    struct mirror *m = ctx;
    work_queue_add_object(m->queue, new ? new : old);
}

static void on_slice(void *ctx, struct object *old, struct object *new)
{
    struct mirror *m = ctx;
    const struct object *o = new ? new : old;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *labels = value_getc(object_metadata(&a, o), "labels");
    struct str service = value_string(value_get(labels, STR(SLICE_SERVICE_NAME)));
    struct str ns = object_namespace(o);
    if (service.n && str_eqc(value_string(value_get(labels, STR(SLICE_MANAGED_BY))), MANAGER))
        work_queue_add(m->queue, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(service)));
}

static void *make(struct control *control)
{
    struct mirror *m = mem_zalloc(sizeof *m);
    m->control = control;
    m->services = informers_get(control->informers, KIND("", "services"));
    m->endpoints = informers_get(control->informers, KIND("", "endpoints"));
    m->slices = informers_get(control->informers, KIND("discovery.k8s.io", "endpointslices"));
    informer_add_index(m->slices, "service", endpoint_slices_index);
    expectations_init(&m->expectations);
    m->queue = work_queue_new(control->executor, "endpointslice-mirroring", 2, reconcile, m);
    return m;
}

static void run(void *self)
{
    struct mirror *m = self;
    m->on_service = (struct informer_handler){on_object, m, NULL};
    m->on_endpoints = (struct informer_handler){on_object, m, NULL};
    m->on_slice = (struct informer_handler){on_slice, m, NULL};
    informer_add_handler(m->services, &m->on_service);
    informer_add_handler(m->endpoints, &m->on_endpoints);
    informer_add_handler(m->slices, &m->on_slice);
}

static void stop(void *self)
{
    struct mirror *m = self;
    informer_remove_handler(m->services, &m->on_service);
    informer_remove_handler(m->endpoints, &m->on_endpoints);
    informer_remove_handler(m->slices, &m->on_slice);
    work_queue_free(m->queue);
    expectations_done(&m->expectations);
    free(m);
}

const struct controller_row endpoints_mirror_controller = {"endpointslice-mirroring", make, run,
                                                           stop};
