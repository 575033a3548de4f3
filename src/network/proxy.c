// See proxy.h. From Services and EndpointSlices to frontends and backends (proxy_rules.h). A change
// marks its Service dirty; all that is dirty at the end of the loop's turn becomes one batch. What
// a Service should look like is computed from the informers' state, never from the event, and
// compared with what the kernel was given last, so a change that changes nothing sends nothing.
#include "network/proxy.h"
#include "base/log.h"
#include "base/map.h"
#include "base/time.h"
#include "network/proxy_rules.h"
#include <arpa/inet.h>

#define RETRY_NS         (1 * NS_PER_S)
#define AFFINITY_DEFAULT 10800
#define SERVICE_NAME     "kubernetes.io/service-name"
#define OTHER_PROXY      "service.kubernetes.io/service-proxy-name"

// A Service as the kernel has it. Lives in its own arena, replaced whole.
struct programmed {
    struct arena arena;
    struct frontend *frontends;
    size_t n;
};

struct service_proxy {
    struct loop *loop;
    struct informer *services, *slices;
    struct informer_handler on_service, on_slice;
    struct loop_task task;
    struct loop_timer retry;
    struct proxy_rules *rules;
    struct map programmed; // "ns/name" -> struct programmed
    struct map dirty;      // "ns/name"
    char *node_name;
    bool synced;
    bool whole; // the kernel's state is unknown: make the table anew
};

// --- desired state ---

struct builder {
    struct service_proxy *p;
    struct arena *a;
    const struct value *service;
    const struct object_list *slices;
    struct frontend *out;
    size_t n, cap;
};

static uint8_t protocol_of(struct str name)
{
    return str_eqc(name, "UDP") ? IPPROTO_UDP : str_eqc(name, "SCTP") ? IPPROTO_SCTP : IPPROTO_TCP;
}

static bool parse_address(struct str s, uint32_t *ret)
{
    char text[INET_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    return inet_pton(AF_INET, text, ret) == 1;
}

enum which { WHICH_READY, WHICH_SERVING };

static bool usable(const struct value *endpoint, enum which which)
{
    const struct value *c = value_getc(endpoint, "conditions");
    bool ready = value_bool_at(c, "ready", true), serving = value_bool_at(c, "serving", ready);
    return which == WHICH_READY ? ready : serving && value_bool_at(c, "terminating", false);
}

static void add_backends(struct builder *b, struct str port_name, uint8_t protocol,
                         enum which which, bool local_only, struct backend **list, size_t *n)
{
    for (size_t i = 0; i < b->slices->n; i++) {
        const struct value *slice = object_tree(b->a, b->slices->items[i]);
        if (!str_eqc(value_str_at(slice, "addressType"), "IPv4"))
            continue;
        int64_t number = 0;
        value_each_item (value_getc(slice, "ports"), port) {
            if (str_eq(value_str_at(port, "name"), port_name) &&
                protocol_of(value_str_at(port, "protocol")) == protocol)
                number = value_int_at(port, "port", 0);
        }
        if (number <= 0 || number > 65535)
            continue;
        value_each_item (value_getc(slice, "endpoints"), endpoint) {
            struct backend one = {.port = (uint16_t)number};
            if (!usable(endpoint, which) ||
                (local_only && !str_eqc(value_str_at(endpoint, "nodeName"), b->p->node_name)) ||
                !parse_address(value_string(value_item(value_getc(endpoint, "addresses"), 0)),
                               &one.address))
                continue;
            *list = arena_grow(b->a, *list, *n * sizeof one, (*n + 1) * sizeof one);
            (*list)[(*n)++] = one;
        }
    }
}

static int compare_backends(const void *x, const void *y)
{
    const struct backend *a = x, *b = y;
    if (a->address != b->address)
        return ntohl(a->address) < ntohl(b->address) ? -1 : 1;
    return (int)a->port - (int)b->port;
}

// Ready backends, else those that still serve while they terminate. Sorted, without duplicates.
static size_t backends_of(struct builder *b, struct str port_name, uint8_t protocol,
                          bool local_only, struct backend **ret)
{
    size_t n = 0, unique = 0;
    struct backend *list = NULL;
    add_backends(b, port_name, protocol, WHICH_READY, local_only, &list, &n);
    if (n == 0)
        add_backends(b, port_name, protocol, WHICH_SERVING, local_only, &list, &n);
    if (n > 1)
        qsort(list, n, sizeof *list, compare_backends);
    for (size_t i = 0; i < n; i++)
        if (unique == 0 || compare_backends(&list[unique - 1], &list[i]) != 0)
            list[unique++] = list[i];
    *ret = list;
    return unique;
}

static void add_frontend(struct builder *b, const struct frontend *f)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 4;
        b->out = arena_grow(b->a, b->out, b->cap * sizeof *f, cap * sizeof *f);
        b->cap = cap;
    }
    b->out[b->n++] = *f;
}

static void add_port(struct builder *b, const struct value *port)
{
    const struct value *spec = value_getc(b->service, "spec");
    struct str name = value_str_at(port, "name");
    struct frontend f = {.protocol = protocol_of(value_str_at(port, "protocol")),
                         .port = (uint16_t)value_int_at(port, "port", 0)};
    if (str_eqc(value_str_at(spec, "sessionAffinity"), "ClientIP"))
        f.affinity_seconds = (uint32_t)value_int_at(
            spec, "sessionAffinityConfig.clientIP.timeoutSeconds", AFFINITY_DEFAULT);

    // Inside: the cluster address.
    struct backend *list;
    bool local = str_eqc(value_str_at(spec, "internalTrafficPolicy"), "Local");
    f.nbackends = backends_of(b, name, f.protocol, local, &list);
    f.backends = list;
    f.flags = local ? FRONTEND_DROP : 0;
    if (parse_address(value_str_at(spec, "clusterIP"), &f.address))
        add_frontend(b, &f);

    // Outside: addresses that are routed to this machine, and the NodePort.
    local = str_eqc(value_str_at(spec, "externalTrafficPolicy"), "Local");
    f.nbackends = backends_of(b, name, f.protocol, local, &list);
    f.backends = list;
    f.flags = local ? FRONTEND_LOCAL | FRONTEND_DROP : 0;
    value_each_item (value_getc(spec, "externalIPs"), ip) {
        if (parse_address(value_string(ip), &f.address))
            add_frontend(b, &f);
    }
    value_each_item (value_at(b->service, "status.loadBalancer.ingress"), ingress) {
        if (!str_eqc(value_str_at(ingress, "ipMode"), "Proxy") &&
            parse_address(value_str_at(ingress, "ip"), &f.address))
            add_frontend(b, &f);
    }
    int64_t node_port = value_int_at(port, "nodePort", 0);
    if (node_port > 0 && node_port <= 65535) {
        f.address = 0;
        f.port = (uint16_t)node_port;
        add_frontend(b, &f);
    }
}

static int compare_frontends(const void *x, const void *y)
{
    return frontend_cmp(x, y);
}

static bool proxied(const struct value *service)
{
    const struct value *labels = value_at(service, "metadata.labels");
    return !str_eqc(value_str_at(service, "spec.type"), "ExternalName") &&
           !str_eqc(value_str_at(service, "spec.clusterIP"), "None") &&
           !value_getc(labels, OTHER_PROXY);
}

// NULL: nothing is to be there.
static struct programmed *desired(struct service_proxy *p, struct str key)
{
    _cleanup_object_ struct object *service = informer_get(p->services, key);
    if (!service)
        return NULL;
    _cleanup_objects_ struct object_list slices = {0};
    informer_by_index(p->slices, "service", key, &slices);
    struct programmed *g = mem_zalloc(sizeof *g);
    struct builder b = {.p = p, .a = &g->arena, .slices = &slices};
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    b.a = &scratch;
    b.service = object_tree(&scratch, service);
    if (proxied(b.service))
        value_each_item (value_at(b.service, "spec.ports"), port)
            add_port(&b, port);
    if (b.n > 1)
        qsort(b.out, b.n, sizeof *b.out, compare_frontends);
    // Only the result outlives the scratch arena; of two equal keys the first counts.
    g->frontends = arena_array(&g->arena, struct frontend, b.n);
    for (size_t i = 0; i < b.n; i++) {
        if (g->n > 0 && frontend_cmp(&g->frontends[g->n - 1], &b.out[i]) == 0)
            continue;
        struct frontend *f = &g->frontends[g->n++];
        *f = b.out[i];
        struct backend *copy = arena_array(&g->arena, struct backend, f->nbackends);
        if (f->nbackends > 0)
            memcpy(copy, f->backends, f->nbackends * sizeof *copy);
        f->backends = copy;
    }
    return g;
}

static void programmed_free(struct programmed *g)
{
    if (!g)
        return;
    arena_done(&g->arena);
    free(g);
}

// --- into the kernel ---

static void forget_all(struct service_proxy *p)
{
    map_each (&p->programmed, slot)
        programmed_free(slot->value);
    map_done(&p->programmed);
    p->programmed = MAP_INIT;
}

static void everything_is_dirty(struct service_proxy *p)
{
    _cleanup_objects_ struct object_list all = {0};
    informer_list(p->services, STR_NULL, &all);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < all.n; i++) {
        struct str ns = object_namespace(all.items[i]), name = object_name(all.items[i]);
        map_set(&p->dirty, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)), p);
    }
}

static void flush(struct service_proxy *p)
{
    bool whole = p->whole;
    if (whole) {
        forget_all(p);
        everything_is_dirty(p);
    }
    proxy_rules_begin(p->rules, whole);
    map_each (&p->dirty, slot) {
        struct str key = str_n(slot->key, slot->key_n);
        struct programmed *is = map_get(&p->programmed, key), *shall = desired(p, key);
        proxy_rules_replace(p->rules, is ? is->frontends : NULL, is ? is->n : 0,
                            shall ? shall->frontends : NULL, shall ? shall->n : 0);
        if (shall)
            map_set(&p->programmed, key, shall);
        else
            map_del(&p->programmed, key);
        programmed_free(is);
    }
    map_done(&p->dirty);
    p->dirty = MAP_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    p->whole = proxy_rules_commit(p->rules, &e) < 0;
    if (p->whole) {
        // Somebody else changed the table, or the kernel is short of memory: start over from
        // nothing.
        log_warn("network", "service rules are made anew: %s", e.message);
        loop_timer_in(p->loop, &p->retry, whole ? RETRY_NS : 0);
    }
}

static void on_task(struct loop_task *t)
{
    struct service_proxy *p = container_of(t, struct service_proxy, task);
    if (p->synced && (p->whole || p->dirty.n > 0))
        flush(p);
}

static void on_retry(struct loop_timer *t)
{
    struct service_proxy *p = container_of(t, struct service_proxy, retry);
    loop_post(p->loop, &p->task);
}

static void mark(struct service_proxy *p, struct str ns, struct str name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    map_set(&p->dirty, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)), p);
    loop_post(p->loop, &p->task);
}

static void service_changed(void *ctx, struct object *old, struct object *new)
{
    struct object *o = new ? new : old;
    mark(ctx, object_namespace(o), object_name(o));
}

static struct str service_of(struct arena *a, const struct object *slice)
{
    return value_string(value_getc(value_getc(object_metadata(a, slice), "labels"), SERVICE_NAME));
}

static void slice_changed(void *ctx, struct object *old, struct object *new)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str was = old ? service_of(&a, old) : STR_NULL,
               is = new ? service_of(&a, new) : STR_NULL;
    if (was.n)
        mark(ctx, object_namespace(old), was);
    if (is.n && !str_eq(was, is))
        mark(ctx, object_namespace(new), is);
}

static void index_service(struct arena *a, const struct object *o,
                          void (*emit)(void *ctx, struct str value), void *ctx)
{
    struct str ns = object_namespace(o), name = service_of(a, o);
    if (name.n)
        emit(ctx, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
}

static void on_synced(void *ctx)
{
    struct service_proxy *p = ctx;
    p->synced = true;
    loop_post(p->loop, &p->task);
}

int service_proxy_new(struct loop *l, const struct service_proxy_options *opt,
                      struct service_proxy **ret, struct err *e)
{
    struct service_proxy *p = mem_zalloc(sizeof *p);
    p->loop = l;
    p->whole = true;
    int r =
        proxy_rules_new(opt->table ? opt->table : SERVICE_PROXY_TABLE, opt->pod_cidr, &p->rules, e);
    if (r < 0) {
        free(p);
        return r;
    }
    p->node_name = mem_cstr(opt->node_name);
    p->task.fn = on_task;
    p->retry.fn = on_retry;
    p->services = informers_get(opt->informers, KIND("", "services"));
    p->slices = informers_get(opt->informers, KIND("discovery.k8s.io", "endpointslices"));
    informer_add_index(p->slices, "service", index_service);
    p->on_service = (struct informer_handler){.on_change = service_changed, .ctx = p};
    p->on_slice = (struct informer_handler){.on_change = slice_changed, .ctx = p};
    informer_add_handler(p->services, &p->on_service);
    informer_add_handler(p->slices, &p->on_slice);
    informers_when_synced(opt->informers, on_synced, p);
    *ret = p;
    return 0;
}

void service_proxy_free(struct service_proxy *p)
{
    if (!p)
        return;
    informer_remove_handler(p->services, &p->on_service);
    informer_remove_handler(p->slices, &p->on_slice);
    loop_timer_cancel(p->loop, &p->retry);
    forget_all(p);
    map_done(&p->dirty);
    proxy_rules_free(p->rules);
    free(p->node_name);
    free(p);
}

int service_proxy_teardown(const char *table, struct err *e)
{
    return proxy_rules_delete(table ? table : SERVICE_PROXY_TABLE, e);
}
