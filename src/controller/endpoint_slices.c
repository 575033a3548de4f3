// EndpointSlices: at most a hundred endpoints each, so that one pod's change is one small object
// however large the service is.
//
// For each group of endpoints with equal ports: the slices that have these ports keep the endpoints
// they hold and that are still wanted; new ones go first into slices that are written anyway, then
// into any with room, then into new slices. Slices left empty are deleted, except that a service
// without endpoints keeps one empty slice.
#include "controller/endpoints.h"

#define MANAGER "endpointslice-controller.k8s.io"

struct slice {
    struct value *tree;
    struct value *endpoints; // as they shall be
    bool changed, ours_by_ports;
};

static struct value *endpoint_value(struct arena *a, const struct endpoint *p)
{
    struct value *v = value_object(a), *addresses = value_array(a), *target = value_object(a);
    value_push(a, addresses, value_str(a, p->pod->ip));
    value_setc(a, v, "addresses", addresses);
    value_set_at(a, v, "conditions.ready", value_bool(a, p->ready));
    value_set_at(a, v, "conditions.serving", value_bool(a, p->serving));
    value_set_at(a, v, "conditions.terminating", value_bool(a, p->terminating));
    if (p->hostname.n)
        value_put(a, v, "hostname", p->hostname);
    value_put(a, target, "kind", STR("Pod"));
    value_put(a, target, "namespace", p->pod->ns);
    value_put(a, target, "name", p->pod->name);
    value_put(a, target, "uid", p->pod->uid);
    value_setc(a, v, "targetRef", target);
    if (p->pod->node.n)
        value_put(a, v, "nodeName", p->pod->node);
    return v;
}

// The service's labels are the slice's, besides the controller's own.
static struct value *labels_for(struct service_view *v)
{
    struct value *labels = value_object(v->a);
    const struct value *theirs = value_at(v->service, "metadata.labels");
    value_each_field (theirs, f) {
        if (!str_eqc(f->key, SLICE_HEADLESS) && !str_eqc(f->key, SLICE_SERVICE_NAME) &&
            !str_eqc(f->key, SLICE_MANAGED_BY))
            value_set(v->a, labels, f->key, f->value);
    }
    if (v->headless)
        value_put(v->a, labels, SLICE_HEADLESS, STR(""));
    value_put(v->a, labels, SLICE_SERVICE_NAME, v->name);
    value_put(v->a, labels, SLICE_MANAGED_BY, STR(MANAGER));
    return labels;
}

static struct value *new_slice(struct service_view *v, struct value *ports)
{
    struct value *s = value_object(v->a), *meta = value_object(v->a), *owners = value_array(v->a);
    value_put(v->a, s, "kind", STR("EndpointSlice"));
    value_put(v->a, s, "apiVersion", STR("discovery.k8s.io/v1"));
    value_put(v->a, meta, "generateName", arena_printf(v->a, "%.*s-", STR_ARG(v->name)));
    value_put(v->a, meta, "namespace", v->ns);
    value_setc(v->a, meta, "labels", labels_for(v));
    value_push(v->a, owners, v->owner);
    value_setc(v->a, meta, "ownerReferences", owners);
    value_setc(v->a, s, "metadata", meta);
    value_put(v->a, s, "addressType", STR("IPv4"));
    value_setc(v->a, s, "ports", ports);
    return s;
}

static struct str target_uid(const struct value *endpoint)
{
    return value_str_at(endpoint, "targetRef.uid");
}

// Keeps in the slice what is still wanted, in its place; marks those endpoints as placed.
static void keep_wanted(struct service_view *v, struct slice *s, struct endpoint_group *g,
                        struct map *wanted, bool *placed)
{
    s->endpoints = value_array(v->a);
    const struct value *old = value_getc(s->tree, "endpoints");
    value_each_item (old, one) {
        size_t at = (uintptr_t)map_get(wanted, target_uid(one));
        if (!at || placed[at - 1]) {
            s->changed = true;
            continue;
        }
        placed[at - 1] = true;
        struct value *now = endpoint_value(v->a, &g->items[at - 1]);
        s->changed = s->changed || !value_eq(now, one);
        value_push(v->a, s->endpoints, now);
    }
    struct value *labels = labels_for(v);
    if (!value_eq(labels, value_at(s->tree, "metadata.labels"))) {
        value_set_at(v->a, s->tree, "metadata.labels", labels);
        s->changed = true;
    }
}

static int write_slice(struct service_view *v, struct slice *s, struct expectations *x,
                       struct str key, struct err *e)
{
    const struct kind *k = KIND("discovery.k8s.io", "endpointslices");
    _cleanup_object_ struct object *written = NULL;
    value_setc(v->a, s->tree, "endpoints", s->endpoints);
    bool exists = value_str_at(s->tree, "metadata.uid").n > 0;
    int rc = exists ? client_update(v->control->client, k, s->tree, &written, e)
                    : client_create(v->control->client, k, v->ns, s->tree, &written, e);
    if (rc == 0)
        expectations_expect(x, key, written->revision);
    return rc;
}

static int write_group(struct service_view *v, struct endpoint_group *g, struct slice *slices,
                       size_t nslices, struct expectations *x, struct str key, struct err *e)
{
    struct map wanted = MAP_INIT;
    bool *placed = arena_array(v->a, bool, g->n + 1);
    struct slice **mine = arena_array(v->a, struct slice *, nslices + 1);
    size_t nmine = 0, next = 0;
    int rc = 0;
    for (size_t i = 0; i < g->n; i++)
        map_set(&wanted, g->items[i].pod->uid, (void *)(i + 1));
    for (size_t i = 0; i < nslices; i++) {
        if (slices[i].ours_by_ports ||
            !endpoints_same_list(value_getc(slices[i].tree, "ports"), g->ports))
            continue;
        slices[i].ours_by_ports = true;
        keep_wanted(v, &slices[i], g, &wanted, placed);
        mine[nmine++] = &slices[i];
    }
    map_done(&wanted);
    // What has no place yet: into changed slices, then into any, then into new ones.
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < nmine; i++) {
            while (value_len(mine[i]->endpoints) < SLICE_ENDPOINTS_MAX &&
                   (pass || mine[i]->changed)) {
                while (next < g->n && placed[next])
                    next++;
                if (next == g->n)
                    break;
                placed[next] = true;
                value_push(v->a, mine[i]->endpoints, endpoint_value(v->a, &g->items[next]));
                mine[i]->changed = true;
            }
        }
    }
    for (size_t i = 0; i < nmine && rc == 0; i++) {
        if (!mine[i]->changed)
            continue;
        if (!value_len(mine[i]->endpoints) && g->n)
            mine[i]->ours_by_ports = false; // emptied: deleted with the rest
        else
            rc = write_slice(v, mine[i], x, key, e);
    }
    bool any = nmine > 0;
    while (rc == 0) {
        while (next < g->n && placed[next])
            next++;
        if (next == g->n && any)
            break;
        struct slice s = {.tree = new_slice(v, g->ports), .endpoints = value_array(v->a)};
        while (next < g->n && value_len(s.endpoints) < SLICE_ENDPOINTS_MAX) {
            if (!placed[next])
                value_push(v->a, s.endpoints, endpoint_value(v->a, &g->items[next]));
            next++;
        }
        rc = write_slice(v, &s, x, key, e);
        any = true;
    }
    return rc;
}

int endpoint_slices_write(struct service_view *v, struct informer *informer, struct expectations *x,
                          struct str key, struct err *e)
{
    _cleanup_objects_ struct object_list list;
    informer_by_index(informer, "service", key, &list);
    struct slice *slices = arena_array(v->a, struct slice, list.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < list.n; i++) {
        struct value *tree = object_tree(v->a, list.items[i]);
        struct str manager =
            value_string(value_get(value_at(tree, "metadata.labels"), STR(SLICE_MANAGED_BY)));
        if (str_eqc(manager, MANAGER) && !meta_deleting(tree))
            slices[n++].tree = tree;
    }
    // Without endpoints there is one group with nothing in it.
    struct endpoint_group none = {.ports = value_array(v->a)};
    struct endpoint_group *groups = v->ngroups ? v->groups : &none;
    size_t ngroups = v->ngroups ? v->ngroups : 1;
    int rc = 0;
    for (size_t i = 0; i < ngroups && rc == 0; i++)
        rc = write_group(v, &groups[i], slices, n, x, key, e);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (slices[i].ours_by_ports)
            continue;
        _cleanup_err_ struct err why = ERR_INIT;
        uint64_t revision = 0;
        rc = client_delete_tree(v->control->client, KIND("discovery.k8s.io", "endpointslices"),
                                slices[i].tree, PROPAGATION_DEFAULT, -1, &revision, &why);
        expectations_expect(x, key, revision);
        if (rc < 0 && err_is(&why, ERR_NOT_FOUND))
            rc = 0;
        else if (rc < 0)
            err_move(e, &why);
    }
    return rc;
}

void endpoint_slices_index(struct arena *a, const struct object *o,
                           void (*emit)(void *ctx, struct str value), void *ctx)
{
    const struct value *labels = value_getc(object_metadata(a, o), "labels");
    struct str service = value_string(value_get(labels, STR(SLICE_SERVICE_NAME)));
    struct str ns = object_namespace(o);
    if (service.n)
        emit(ctx, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(service)));
}
