// The guesses are cheap: an address is looked up in the watch cache (ipaddresses), a port in a
// bitmap that a listener on services keeps. Both may be a moment behind; the transaction's
// conditions decide.
//
// Dynamic addresses come from above the band that is left for those chosen by people, as in the
// originals: min(max(16, size/16), 256) addresses at the bottom.
#include "apiserver/ranges.h"
#include "base/time.h"
#include <arpa/inet.h>

struct ranges {
    struct cache *cache;
    struct env *env;
    struct str cidr;
    uint32_t base, size; // host order; size counts network and broadcast address
    uint16_t first, last;
    const struct kind *addresses, *services;
    // One bit a port, set while some Service has it. Written by the store's writer, read by all:
    // relaxed, because a stale bit only makes a worse guess.
    _Atomic(uint8_t) ports[65536 / 8];
};

static void set_port(struct ranges *r, int64_t port, bool taken)
{
    if (port <= 0 || port > 65535)
        return;
    _Atomic(uint8_t) *at = &r->ports[port / 8];
    if (taken)
        atomic_fetch_or_explicit(at, (uint8_t)(1 << port % 8), memory_order_relaxed);
    else
        atomic_fetch_and_explicit(at, (uint8_t) ~(1 << port % 8), memory_order_relaxed);
}

static void set_ports(struct ranges *r, const struct object *o, bool taken)
{
    if (!o)
        return;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct value *v = object_tree(&a, o);
    const struct value *ports = value_at(v, "spec.ports");
    value_each_item (ports, p)
        set_port(r, value_int_at(p, "nodePort", 0), taken);
    set_port(r, value_int_at(v, "spec.healthCheckNodePort", 0), taken);
}

static void on_service(void *ctx, struct object *old, struct object *new)
{
    set_ports(ctx, old, false);
    set_ports(ctx, new, true);
}

int ranges_new(struct cache *cache, struct env *env, struct str service_cidr, uint16_t first_port,
               uint16_t last_port, struct ranges **ret, struct err *e)
{
    char text[INET_ADDRSTRLEN + 1] = {0};
    ptrdiff_t slash = str_chr(service_cidr, '/');
    struct in_addr in;
    uint64_t bits = 0;
    if (slash <= 0 || (size_t)slash >= sizeof text ||
        !str_to_u64(str_from(service_cidr, (size_t)slash + 1), &bits) || bits < 8 || bits > 28)
        return err_set(e, ERR_BAD_REQUEST,
                       "the service range \"%.*s\" is no IPv4 network with /8 to /28",
                       STR_ARG(service_cidr));
    memcpy(text, service_cidr.p, (size_t)slash);
    if (inet_pton(AF_INET, text, &in) != 1)
        return err_set(e, ERR_BAD_REQUEST, "the service range \"%.*s\" is no IPv4 network",
                       STR_ARG(service_cidr));
    struct ranges *r = mem_zalloc(sizeof *r);
    r->cache = cache;
    r->env = env;
    r->cidr = service_cidr;
    r->size = (uint32_t)1 << (32 - bits);
    r->base = ntohl(in.s_addr) & ~(r->size - 1);
    r->first = first_port ? first_port : 30000;
    r->last = last_port ? last_port : 32767;
    r->addresses = kind_by_resource(STR("networking.k8s.io"), STR("v1"), STR("ipaddresses"));
    r->services = kind_by_resource(STR_NULL, STR("v1"), STR("services"));
    BUG_ON(!r->addresses || !r->services);
    cache_listen(cache, r->services, on_service, r);
    _cleanup_snapshot_ struct cache_snapshot snap;
    struct cache_cursor it;
    cache_snapshot(cache, r->services, &snap);
    for (struct object *o = cache_first(&it, &snap, STR_NULL); o; o = cache_next(&it))
        set_ports(r, o, true);
    *ret = r;
    return 0;
}

void ranges_free(struct ranges *r)
{
    free(r);
}

struct str ranges_address(struct ranges *r, struct arena *a, uint32_t n)
{
    uint32_t ip = r->base + n;
    return arena_printf(a, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

struct str ranges_cidr(struct ranges *r)
{
    return r->cidr;
}

bool ranges_contains(struct ranges *r, struct str address)
{
    char text[INET_ADDRSTRLEN] = {0};
    struct in_addr in;
    if (address.n >= sizeof text)
        return false;
    memcpy(text, address.p, address.n);
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    uint32_t ip = ntohl(in.s_addr);
    return ip > r->base && ip < r->base + r->size - 1;
}

bool ranges_taken(struct ranges *r, struct str address)
{
    _cleanup_object_ struct object *o = cache_get(r->cache, r->addresses, STR_NULL, address);
    return o != NULL;
}

struct str ranges_free_address(struct ranges *r, struct arena *a)
{
    uint32_t band = r->size / 16;
    band = band < 16 ? 16 : band > 256 ? 256 : band;
    if (band >= r->size - 1)
        band = 1;
    uint32_t span = r->size - 1 - band, start;
    env_random(r->env, &start, sizeof start);
    // The upper part from a random place on, then the band that is left for people.
    for (uint32_t i = 0; i < span; i++) {
        struct str ip = ranges_address(r, a, band + (start % span + i) % span);
        if (!ranges_taken(r, ip))
            return ip;
    }
    for (uint32_t i = 11; i < band; i++) {
        struct str ip = ranges_address(r, a, i);
        if (!ranges_taken(r, ip))
            return ip;
    }
    return STR_NULL;
}

uint16_t ranges_first_port(struct ranges *r)
{
    return r->first;
}

uint16_t ranges_last_port(struct ranges *r)
{
    return r->last;
}

bool ranges_port_taken(struct ranges *r, unsigned port)
{
    return port <= 65535 &&
           (atomic_load_explicit(&r->ports[port / 8], memory_order_relaxed) >> (port % 8) & 1);
}

unsigned ranges_free_port(struct ranges *r, bool (*not_this)(void *ctx, unsigned port), void *ctx)
{
    unsigned span = (unsigned)(r->last - r->first + 1);
    uint32_t start;
    env_random(r->env, &start, sizeof start);
    for (unsigned i = 0; i < span; i++) {
        unsigned port = r->first + (start % span + i) % span;
        if (!ranges_port_taken(r, port) && !not_this(ctx, port))
            return port;
    }
    return 0;
}

struct str ranges_port_key(struct arena *a, unsigned port)
{
    return arena_printf(a, "/registry/ranges/nodeports/%u", port);
}

struct str ranges_mark_key(struct ranges *r, struct arena *a, struct str address)
{
    return cache_key(a, r->addresses, STR_NULL, address);
}

int ranges_mark(struct ranges *r, struct arena *a, struct str address, struct str ns,
                struct str name, struct object **ret, struct err *e)
{
    struct value *v = value_object(a), *meta = value_object(a), *labels = value_object(a);
    struct value *ref = value_object(a);
    char *uid = arena_alloc(a, 36);
    env_uuid(r->env, uid);
    value_setc(a, v, "kind", value_strc(a, "IPAddress"));
    value_setc(a, v, "apiVersion", value_strc(a, "networking.k8s.io/v1"));
    value_setc(a, v, "metadata", meta);
    value_setc(a, meta, "name", value_str(a, address));
    value_setc(a, meta, "uid", value_str(a, str_n(uid, 36)));
    value_setc(a, meta, "creationTimestamp", value_str(a, time_rfc3339(a, env_now(r->env), 0)));
    value_setc(a, meta, "labels", labels);
    value_setc(a, labels, "ipaddress.kubernetes.io/ip-family", value_strc(a, "IPv4"));
    value_setc(a, labels, "ipaddress.kubernetes.io/managed-by",
               value_strc(a, "ipallocator.k8s.io"));
    value_setc(a, ref, "group", value_strc(a, ""));
    value_setc(a, ref, "resource", value_strc(a, "services"));
    value_setc(a, ref, "namespace", value_str(a, ns));
    value_setc(a, ref, "name", value_str(a, name));
    value_set_at(a, v, "spec.parentRef", ref);
    return object_from_value(r->addresses, ranges_mark_key(r, a, address), 0, v, ret, e);
}
