// The Endpoints object: the older face of a service, still read by many tools. One subset per group
// of ports; addresses that are not ready stand apart; at most a thousand addresses, as upstream.
#include "controller/endpoints.h"

enum { MOST = 1000 };
#define OVER_CAPACITY "endpoints.kubernetes.io/over-capacity"

static int by_ip(const void *pa, const void *pb)
{
    const struct endpoint *a = pa, *b = pb;
    int order = str_cmp(a->pod->ip, b->pod->ip);
    return order ? order : str_cmp(a->pod->uid, b->pod->uid);
}

static struct value *address(struct arena *a, const struct endpoint *p)
{
    struct value *v = value_object(a), *target = value_object(a);
    value_put(a, v, "ip", p->pod->ip);
    if (p->hostname.n)
        value_put(a, v, "hostname", p->hostname);
    if (p->pod->node.n)
        value_put(a, v, "nodeName", p->pod->node);
    value_put(a, target, "kind", STR("Pod"));
    value_put(a, target, "namespace", p->pod->ns);
    value_put(a, target, "name", p->pod->name);
    value_put(a, target, "uid", p->pod->uid);
    value_setc(a, v, "targetRef", target);
    return v;
}

static struct value *ports_of(struct arena *a, const struct value *ports)
{
    struct value *out = value_array(a);
    value_each_item (ports, port) {
        struct value *one = value_object(a);
        struct str name = value_str_at(port, "name");
        if (name.n)
            value_put(a, one, "name", name);
        value_put_int(a, one, "port", value_int_at(port, "port", 0));
        value_put(a, one, "protocol", value_str_at(port, "protocol"));
        if (value_str_at(port, "appProtocol").n)
            value_put(a, one, "appProtocol", value_str_at(port, "appProtocol"));
        value_push(a, out, one);
    }
    return out;
}

static struct value *subsets(struct service_view *v, bool *ret_truncated)
{
    struct value *out = value_array(v->a);
    size_t room = MOST;
    for (size_t g = 0; g < v->ngroups; g++) {
        struct endpoint_group *group = &v->groups[g];
        struct value *ready = value_array(v->a), *not_ready = value_array(v->a);
        qsort(group->items, group->n, sizeof *group->items, by_ip);
        for (size_t i = 0; i < group->n; i++) {
            const struct endpoint *p = &group->items[i];
            if (p->terminating && !p->published)
                continue; // this face has no word for them
            if (!room) {
                *ret_truncated = true;
                break;
            }
            room--;
            value_push(v->a, p->ready ? ready : not_ready, address(v->a, p));
        }
        if (!value_len(ready) && !value_len(not_ready))
            continue;
        struct value *subset = value_object(v->a);
        if (value_len(ready))
            value_setc(v->a, subset, "addresses", ready);
        if (value_len(not_ready))
            value_setc(v->a, subset, "notReadyAddresses", not_ready);
        if (value_len(group->ports))
            value_setc(v->a, subset, "ports", ports_of(v->a, group->ports));
        value_push(v->a, out, subset);
    }
    return out;
}

static struct value *labels_for(struct service_view *v)
{
    struct value *labels = value_object(v->a);
    const struct value *theirs = value_at(v->service, "metadata.labels");
    value_each_field (theirs, f)
        value_set(v->a, labels, f->key, f->value);
    if (v->headless)
        value_put(v->a, labels, "service.kubernetes.io/headless", STR(""));
    value_put(v->a, labels, "endpoints.kubernetes.io/managed-by", STR("endpoint-controller"));
    return labels;
}

bool endpoints_same_list(const struct value *a, const struct value *b)
{
    return (!value_len(a) && !value_len(b)) || (a && b && value_eq(a, b));
}

int endpoints_write(struct service_view *v, struct informer *informer, struct err *e)
{
    const struct kind *k = KIND("", "endpoints");
    bool truncated = false;
    struct value *want = subsets(v, &truncated), *labels = labels_for(v), *tree;
    _cleanup_object_ struct object *o = informer_get_ns(informer, v->ns, v->name);
    if (o) {
        tree = object_tree(v->a, o);
        bool marked = value_get(value_at(tree, "metadata.annotations"), STR(OVER_CAPACITY));
        if (endpoints_same_list(value_getc(tree, "subsets"), want) && marked == truncated &&
            value_eq(value_at(tree, "metadata.labels"), labels))
            return 0;
    } else {
        tree = value_object(v->a);
        value_put(v->a, tree, "kind", STR("Endpoints"));
        value_put(v->a, tree, "apiVersion", STR("v1"));
        value_set_at(v->a, tree, "metadata.name", value_str(v->a, v->name));
        value_set_at(v->a, tree, "metadata.namespace", value_str(v->a, v->ns));
    }
    value_set_at(v->a, tree, "metadata.labels", labels);
    value_setc(v->a, tree, "subsets", want);
    if (truncated)
        value_set(v->a, value_object_at(v->a, tree, "metadata.annotations"), STR(OVER_CAPACITY),
                  value_strc(v->a, "truncated"));
    else
        value_del(value_at(tree, "metadata.annotations"), STR(OVER_CAPACITY));
    return o ? client_update(v->control->client, k, tree, NULL, e)
             : client_create(v->control->client, k, v->ns, tree, NULL, e);
}
