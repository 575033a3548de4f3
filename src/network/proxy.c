// See proxy.h. From Services and EndpointSlices to frontends and backends (proxy_rules.h). A change
// marks its Service dirty; all that is dirty at the end of the loop's turn becomes one batch. What
// a Service should look like is computed from the informers' state, never from the event, and
// compared with what the kernel was given last, so a change that changes nothing sends nothing.
//
// An address and port belongs to one Service. The API server sees to that for cluster addresses and
// NodePorts, but anybody may write external addresses: who came first has it, the others wait; a
// cluster address goes before all of those, so that nobody can take the API server's.
#include "network/proxy.h"
#include "base/log.h"
#include "base/map.h"
#include "base/time.h"
#include "client/hook.h"
#include "network/proxy_rules.h"
#include "network/service_objects.h"
#include <arpa/inet.h>

#define RETRY_NS         (1 * NS_PER_S)
#define AFFINITY_DEFAULT 10800
#define OTHER_PROXY      "service.kubernetes.io/service-proxy-name"
#define HEADLESS         "service.kubernetes.io/headless"

// A Service as the kernel has it. Lives in its own arena, replaced whole.
struct programmed {
    struct arena arena;
    struct frontend *frontends;
    size_t n;
    uint32_t cluster_ip; // 0: none
};

struct service_proxy {
    struct loop *loop;
    struct informers *informers;
    struct informer *services, *slices;
    struct informer_handler on_service, on_slice;
    struct hook *work;
    struct loop_timer retry;
    struct proxy_rules *rules;
    struct map programmed; // "ns/name" -> struct programmed
    struct map dirty;      // "ns/name"
    struct map owners;     // address, protocol, port -> "ns/name", heap
    struct map waiting;    // "ns/name" of Services that want what another has
    char *node_name;
    bool synced;
    bool whole; // the kernel's state is unknown: make the table anew
};

// --- desired state ---

struct builder {
    struct service_proxy *p;
    struct arena *a;
    const struct value *service;
    const struct value **slices; // trees, IPv4 only
    size_t nslices;
    struct frontend *out;
    size_t n, cap;
};

static uint8_t protocol_of(struct str name)
{
    return str_eqc(name, "UDP") ? IPPROTO_UDP : str_eqc(name, "SCTP") ? IPPROTO_SCTP : IPPROTO_TCP;
}

enum which { WHICH_READY, WHICH_SERVING };

static bool usable(const struct value *endpoint, enum which which)
{
    const struct value *c = value_getc(endpoint, "conditions");
    bool ready = value_bool_at(c, "ready", true), serving = value_bool_at(c, "serving", ready);
    return which == WHICH_READY ? ready : serving && value_bool_at(c, "terminating", false);
}

// The number of a Service's port in a slice; 0: the slice has no such port.
static uint16_t slice_port(const struct value *slice, struct str name, uint8_t protocol)
{
    int64_t number = 0;
    value_each_item (value_getc(slice, "ports"), port) {
        if (str_eq(value_str_at(port, "name"), name) &&
            protocol_of(value_str_at(port, "protocol")) == protocol)
            number = value_int_at(port, "port", 0);
    }
    return number > 0 && number <= 65535 ? (uint16_t)number : 0;
}

static void add_backends(struct builder *b, struct str port_name, uint8_t protocol,
                         enum which which, bool local_only, struct backend **list, size_t *n)
{
    for (size_t i = 0; i < b->nslices; i++) {
        struct backend one = {.port = slice_port(b->slices[i], port_name, protocol)};
        if (!one.port)
            continue;
        value_each_item (value_getc(b->slices[i], "endpoints"), endpoint) {
            struct str ip = value_string(value_item(value_getc(endpoint, "addresses"), 0));
            if (!usable(endpoint, which) ||
                (local_only && !str_eqc(value_str_at(endpoint, "nodeName"), b->p->node_name)) ||
                !service_address_parse(ip, &one.address))
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

// Backends and flags under a traffic policy. A Local policy drops what it may not pass on while
// there are backends elsewhere; a Service without any backend refuses.
static void fill_backends(struct builder *b, struct frontend *f, struct str port_name, bool local)
{
    struct backend *list;
    f->nbackends = backends_of(b, port_name, f->protocol, local, &list);
    f->backends = list;
    f->flags = 0;
    if (local && f->nbackends == 0 && backends_of(b, port_name, f->protocol, false, &list) > 0)
        f->flags |= FRONTEND_DROP;
}

// Somebody may name any address as an external one; these are never.
static bool external_address(struct builder *b, struct str text, uint32_t *ret)
{
    if (!service_address_parse(text, ret) || *ret == 0 || ntohl(*ret) >> 24 == IN_LOOPBACKNET)
        return false;
    struct object_list cluster = {0};
    informer_by_index(b->p->services, "cluster-ip", text, &cluster);
    bool taken = cluster.n > 0;
    object_list_done(&cluster);
    return !taken;
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
    fill_backends(b, &f, name, str_eqc(value_str_at(spec, "internalTrafficPolicy"), "Local"));
    f.flags |= FRONTEND_CLUSTER;
    if (service_address_parse(value_str_at(spec, "clusterIP"), &f.address))
        add_frontend(b, &f);

    // Outside: addresses that are routed to this machine, and the NodePort.
    bool local = str_eqc(value_str_at(spec, "externalTrafficPolicy"), "Local");
    fill_backends(b, &f, name, local);
    f.flags |= local ? FRONTEND_LOCAL : 0;
    struct backend *list = NULL;
    f.ninside = local ? backends_of(b, name, f.protocol, false, &list) : 0;
    f.inside = list;
    value_each_item (value_getc(spec, "externalIPs"), ip) {
        if (external_address(b, value_string(ip), &f.address))
            add_frontend(b, &f);
    }
    value_each_item (value_at(b->service, "status.loadBalancer.ingress"), ingress) {
        if (!str_eqc(value_str_at(ingress, "ipMode"), "Proxy") &&
            external_address(b, value_str_at(ingress, "ip"), &f.address))
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
           !value_getc(labels, OTHER_PROXY) && !value_getc(labels, HEADLESS);
}

static void read_slices(struct builder *b, const struct object_list *list)
{
    b->slices = arena_array(b->a, const struct value *, list->n);
    for (size_t i = 0; i < list->n; i++) {
        const struct value *slice = object_tree(b->a, list->items[i]);
        if (str_eqc(value_str_at(slice, "addressType"), "IPv4"))
            b->slices[b->nslices++] = slice;
    }
}

static const struct backend *copy_backends(struct arena *a, const struct backend *list, size_t n)
{
    struct backend *copy = arena_array(a, struct backend, n);
    if (n > 0)
        memcpy(copy, list, n * sizeof *copy);
    return copy;
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
    _cleanup_arena_ struct arena scratch = ARENA_INIT;
    struct builder b = {.p = p, .a = &scratch, .service = object_tree(&scratch, service)};
    read_slices(&b, &slices);
    service_address_parse(value_str_at(b.service, "spec.clusterIP"), &g->cluster_ip);
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
        f->backends = copy_backends(&g->arena, f->backends, f->nbackends);
        f->inside = copy_backends(&g->arena, f->inside, f->ninside);
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

// --- whose is an address and port? ---

struct owner_key {
    uint32_t address;
    uint16_t port;
    uint8_t protocol, zero;
};

static struct owner_key owner_key(const struct frontend *f)
{
    return (struct owner_key){f->address, f->port, f->protocol, 0};
}

// Keeps of g what the Service may have.
static void claim(struct service_proxy *p, struct str service, struct programmed *g)
{
    size_t kept = 0;
    for (size_t i = 0; g && i < g->n; i++) {
        struct owner_key key = owner_key(&g->frontends[i]);
        const char *owner = map_get(&p->owners, str_n(&key, sizeof key));
        if (!owner)
            map_set(&p->owners, str_n(&key, sizeof key), mem_cstr(service));
        if (!owner || str_eqc(service, owner)) {
            g->frontends[kept++] = g->frontends[i];
            continue;
        }
        if (!map_set(&p->waiting, service, p))
            log_warn("network", "port %u of service=%.*s is taken by the address of service=%s",
                     key.port, STR_ARG(service), owner);
        if (key.address && key.address == g->cluster_ip)
            map_set(&p->dirty, str_of(owner), p); // it will let go
    }
    if (g)
        g->n = kept;
}

// What the Service has no more is free for those who wait: their turn comes in this same batch.
static void release(struct service_proxy *p, const struct programmed *is,
                    const struct programmed *shall)
{
    bool released = false;
    for (size_t i = 0, j = 0; is && i < is->n; i++) {
        while (shall && j < shall->n && frontend_cmp(&shall->frontends[j], &is->frontends[i]) < 0)
            j++;
        if (shall && j < shall->n && frontend_cmp(&shall->frontends[j], &is->frontends[i]) == 0)
            continue;
        struct owner_key key = owner_key(&is->frontends[i]);
        free(map_del(&p->owners, str_n(&key, sizeof key)));
        released = true;
    }
    if (!released)
        return;
    map_each (&p->waiting, slot)
        map_set(&p->dirty, str_n(slot->key, slot->key_n), p);
    map_done(&p->waiting);
    p->waiting = MAP_INIT;
}

// --- into the kernel ---

static void forget_all(struct service_proxy *p)
{
    map_each (&p->programmed, slot)
        programmed_free(slot->value);
    map_each (&p->owners, slot)
        free(slot->value);
    map_done(&p->programmed);
    map_done(&p->owners);
    map_done(&p->waiting);
    p->programmed = p->owners = p->waiting = MAP_INIT;
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

static void flush_service(struct service_proxy *p, struct str key)
{
    struct programmed *is = map_get(&p->programmed, key), *shall = desired(p, key);
    claim(p, key, shall);
    proxy_rules_replace(p->rules, is ? is->frontends : NULL, is ? is->n : 0,
                        shall ? shall->frontends : NULL, shall ? shall->n : 0);
    release(p, is, shall);
    if (shall)
        map_set(&p->programmed, key, shall);
    else
        map_del(&p->programmed, key);
    programmed_free(is);
}

static void flush(struct service_proxy *p)
{
    bool whole = p->whole;
    if (whole) {
        forget_all(p);
        everything_is_dirty(p);
    }
    proxy_rules_begin(p->rules, whole);
    while (p->dirty.n > 0) {
        struct map round = p->dirty;
        p->dirty = MAP_INIT;
        map_each (&round, slot)
            flush_service(p, str_n(slot->key, slot->key_n));
        map_done(&round);
    }
    _cleanup_err_ struct err e = ERR_INIT;
    p->whole = proxy_rules_commit(p->rules, &e) < 0;
    if (p->whole) {
        // Somebody else changed the table, or the kernel is short of memory: start over from
        // nothing.
        log_warn("network", "service rules are made anew: %s", e.message);
        loop_timer_in(p->loop, &p->retry, whole ? RETRY_NS : 0);
    }
}

static void work(void *owner)
{
    struct service_proxy *p = owner;
    if (p->synced && (p->whole || p->dirty.n > 0))
        flush(p);
}

static void on_retry(struct loop_timer *t)
{
    struct service_proxy *p = container_of(t, struct service_proxy, retry);
    hook_post(p->work);
}

static void mark(struct service_proxy *p, struct str ns, struct str name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    map_set(&p->dirty, arena_printf(&a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)), p);
    hook_post(p->work);
}

static void service_changed(void *ctx, struct object *old, struct object *new)
{
    struct object *o = new ? new : old;
    mark(ctx, object_namespace(o), object_name(o));
}

static void slice_changed(void *ctx, struct object *old, struct object *new)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str was = old ? service_of_slice(&a, old) : STR_NULL,
               is = new ? service_of_slice(&a, new) : STR_NULL;
    if (was.n)
        mark(ctx, object_namespace(old), was);
    if (is.n && !str_eq(was, is))
        mark(ctx, object_namespace(new), is);
}

static void on_synced(void *ctx)
{
    struct service_proxy *p = ctx;
    p->synced = true;
    hook_post(p->work);
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
    p->work = hook_new(l, work, p);
    p->retry.fn = on_retry;
    p->services = informers_get(opt->informers, KIND("", "services"));
    p->slices = informers_get(opt->informers, KIND("discovery.k8s.io", "endpointslices"));
    service_index_slices(p->slices);
    service_index_addresses(p->services);
    p->on_service = (struct informer_handler){.on_change = service_changed, .ctx = p};
    p->on_slice = (struct informer_handler){.on_change = slice_changed, .ctx = p};
    informer_add_handler(p->services, &p->on_service);
    informer_add_handler(p->slices, &p->on_slice);
    p->informers = opt->informers;
    informers_when_synced(p->informers, on_synced, p);
    *ret = p;
    return 0;
}

void service_proxy_free(struct service_proxy *p)
{
    if (!p)
        return;
    informers_cancel_when_synced(p->informers, p);
    hook_free(p->work);
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
