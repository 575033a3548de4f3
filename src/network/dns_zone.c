// See dns_zone.h. Names, below the domain (cluster.local):
//
//   SERVICE.NAMESPACE.svc                  A: the cluster address, or all ready addresses of a
//                                          headless Service; ExternalName: CNAME
//   HOST.SERVICE.NAMESPACE.svc             A: that endpoint of a headless Service (its hostname, or
//                                          its address with dashes)
//   _PORT._PROTOCOL.SERVICE.NAMESPACE.svc  SRV: one for the Service, or one for each endpoint
//   1-2-3-4.NAMESPACE.pod                  A: 1.2.3.4, where there is such a namespace
//   dns-version                            TXT: the version of the specification
//   ns.dns                                 A: the address of the Service kube-system/kube-dns
//   4.3.2.1.in-addr.arpa                   PTR: the Service or the named endpoint with that
//                                          address; foreign where there is none
//
// A name that exists with other types has no error and no records; the zone's SOA says how long
// that holds.
#include "network/dns_zone.h"
#include "network/service_objects.h"

#define TTL          5
#define CNAME_CHAIN  8
#define LABELS_MAX   16
#define SERVICE_NAME "kubernetes.io/service-name"

struct dns_zone {
    struct str domain; // owned
    struct informer *services, *slices, *namespaces;
    struct informer_handler handlers[3];
    void (*on_change)(void *ctx);
    void *ctx;
};

// One resolution.
struct lookup {
    struct dns_zone *z;
    struct arena *a;
    struct str name; // current one: the question's, or what a CNAME led to
    uint16_t type;
    struct dns_record *answers, *additional;
    size_t n, nadditional;
    bool exists; // the name is there, though perhaps not with this type
};

static void push(struct arena *a, struct dns_record **list, size_t *n, const struct dns_record *r)
{
    if ((*n & (*n - 1)) == 0)
        *list = arena_grow(a, *list, *n * sizeof *r, (*n ? *n * 2 : 1) * sizeof *r);
    (*list)[(*n)++] = *r;
}

static void answer_address(struct lookup *l, uint32_t address)
{
    l->exists = true;
    if (l->type == DNS_A || l->type == DNS_ANY)
        push(l->a, &l->answers, &l->n,
             &(struct dns_record){.type = DNS_A, .ttl = TTL, .owner = l->name, .address = address});
}

static void answer_service(struct lookup *l, struct str target, uint16_t port)
{
    l->exists = true;
    if (l->type == DNS_SRV || l->type == DNS_ANY)
        push(l->a, &l->answers, &l->n,
             &(struct dns_record){
                 .type = DNS_SRV, .ttl = TTL, .owner = l->name, .target = target, .port = port});
}

static void add_address(struct lookup *l, struct str owner, uint32_t address)
{
    push(l->a, &l->additional, &l->nadditional,
         &(struct dns_record){.type = DNS_A, .ttl = TTL, .owner = owner, .address = address});
}

// --- endpoints of headless services ---

// "10-244-0-5" where the endpoint has no hostname of its own.
static struct str endpoint_name(struct arena *a, const struct value *endpoint, struct str address)
{
    struct str hostname = value_str_at(endpoint, "hostname");
    if (hostname.n)
        return hostname;
    struct str dashed = arena_str(a, address);
    for (size_t i = 0; i < dashed.n; i++)
        if (dashed.p[i] == '.')
            ((char *)dashed.p)[i] = '-';
    return dashed;
}

typedef void endpoint_fn(struct lookup *l, const struct value *slice, const struct value *endpoint,
                         struct str text, uint32_t address, void *ctx);

static void each_endpoint(struct lookup *l, struct str service_key, bool not_ready_too,
                          endpoint_fn *fn, void *ctx)
{
    struct object_list slices = {0};
    informer_by_index(l->z->slices, "service", service_key, &slices);
    for (size_t i = 0; i < slices.n; i++) {
        const struct value *slice = value_clone(l->a, object_tree(l->a, slices.items[i]));
        value_each_item (value_getc(slice, "endpoints"), endpoint) {
            struct str text = value_string(value_item(value_getc(endpoint, "addresses"), 0));
            uint32_t address;
            if ((not_ready_too || value_bool_at(endpoint, "conditions.ready", true)) &&
                service_address_parse(text, &address))
                fn(l, slice, endpoint, text, address, ctx);
        }
    }
    object_list_done(&slices);
}

static void answer_endpoint(struct lookup *l, const struct value *slice,
                            const struct value *endpoint, struct str text, uint32_t address,
                            void *ctx)
{
    (void)slice, (void)endpoint, (void)text, (void)ctx;
    answer_address(l, address);
}

static void answer_named_endpoint(struct lookup *l, const struct value *slice,
                                  const struct value *endpoint, struct str text, uint32_t address,
                                  void *ctx)
{
    (void)slice;
    const struct str *host = ctx;
    if (str_eq(endpoint_name(l->a, endpoint, text), *host))
        answer_address(l, address);
}

// Which port is asked for: "_http._tcp".
struct wanted_port {
    struct str name, protocol; // protocol in lower case
    struct str service;        // "web.shop.svc.cluster.local"
};

static bool is_wanted(const struct value *port, const struct wanted_port *w)
{
    struct str protocol = value_str_at(port, "protocol");
    return str_eq(value_str_at(port, "name"), w->name) &&
           str_ieq(protocol.n ? protocol : STR("TCP"), w->protocol);
}

static void answer_endpoint_port(struct lookup *l, const struct value *slice,
                                 const struct value *endpoint, struct str text, uint32_t address,
                                 void *ctx)
{
    const struct wanted_port *w = ctx;
    value_each_item (value_getc(slice, "ports"), port) {
        if (!is_wanted(port, w))
            continue;
        struct str host = endpoint_name(l->a, endpoint, text);
        struct str target = arena_printf(l->a, "%.*s.%.*s", STR_ARG(host), STR_ARG(w->service));
        answer_service(l, target, (uint16_t)value_int_at(port, "port", 0));
        add_address(l, target, address);
    }
}

// --- names ---

// "a.b.c" into labels; returns their number, 0 for too many.
static size_t split(struct str name, struct str *labels)
{
    size_t n = 0;
    for (struct str rest = name; rest.p && rest.n > 0;) {
        if (n == LABELS_MAX)
            return 0;
        labels[n++] = str_cut(&rest, '.');
    }
    return n;
}

// Returns a CNAME's target, or STR_NULL.
static struct str resolve_service(struct lookup *l, const struct str *labels, size_t n)
{
    struct str service = labels[n - 2], ns = labels[n - 1];
    struct object *o = informer_get_ns(l->z->services, ns, service);
    if (!o)
        return STR_NULL;
    const struct value *spec = value_clone(l->a, value_getc(object_tree(l->a, o), "spec"));
    object_unref(o);
    struct str external = value_str_at(spec, "externalName"), ip = value_str_at(spec, "clusterIP");
    if (str_eqc(value_str_at(spec, "type"), "ExternalName"))
        return n == 2 ? external : STR_NULL;
    bool headless = str_eqc(ip, "None"),
         not_ready = value_bool_at(spec, "publishNotReadyAddresses", false);
    struct str key = arena_printf(l->a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(service));
    uint32_t address;
    if (n == 2) {
        l->exists = true;
        if (headless)
            each_endpoint(l, key, not_ready, answer_endpoint, NULL);
        else if (service_address_parse(ip, &address))
            answer_address(l, address);
    } else if (n == 3 && headless) {
        each_endpoint(l, key, not_ready, answer_named_endpoint, (void *)&labels[0]);
    } else if (n == 4 && labels[0].n > 1 && labels[1].n > 1 && labels[0].p[0] == '_' &&
               labels[1].p[0] == '_') {
        struct wanted_port w = {str_from(labels[0], 1), str_from(labels[1], 1),
                                arena_printf(l->a, "%.*s.%.*s.svc.%.*s", STR_ARG(service),
                                             STR_ARG(ns), STR_ARG(l->z->domain))};
        if (headless) {
            each_endpoint(l, key, not_ready, answer_endpoint_port, &w);
            return STR_NULL;
        }
        value_each_item (value_getc(spec, "ports"), port) {
            if (!is_wanted(port, &w) || !service_address_parse(ip, &address))
                continue;
            answer_service(l, w.service, (uint16_t)value_int_at(port, "port", 0));
            add_address(l, w.service, address);
        }
    }
    return STR_NULL;
}

static bool has_namespace(struct dns_zone *z, struct str ns)
{
    struct object *o = informer_get(z->namespaces, ns);
    bool has = o != NULL;
    object_unref(o);
    return has;
}

static void resolve_pod(struct lookup *l, const struct str *labels, size_t n)
{
    if (n == 1)
        l->exists = has_namespace(l->z, labels[0]);
    if (n != 2 || !has_namespace(l->z, labels[1]))
        return;
    struct str text = arena_str(l->a, labels[0]);
    uint32_t address;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '-')
            ((char *)text.p)[i] = '.';
    if (service_address_parse(text, &address))
        answer_address(l, address);
}

// Below the domain: labels without it.
static void answer_apex(struct lookup *l)
{
    l->exists = true;
    if (l->type != DNS_SOA && l->type != DNS_NS)
        return;
    struct str server = arena_printf(l->a, "ns.dns.%.*s", STR_ARG(l->z->domain));
    push(l->a, &l->answers, &l->n,
         &(struct dns_record){.type = l->type, .ttl = TTL, .owner = l->name, .target = server});
}

static void answer_version(struct lookup *l)
{
    static const uint8_t version[] = "\0051.1.0";
    l->exists = true;
    if (l->type == DNS_TXT || l->type == DNS_ANY)
        push(l->a, &l->answers, &l->n,
             &(struct dns_record){.type = DNS_TXT,
                                  .ttl = TTL,
                                  .owner = l->name,
                                  .raw = version,
                                  .raw_n = sizeof version - 1});
}

static struct str resolve_inside(struct lookup *l, const struct str *labels, size_t n)
{
    if (n == 0) {
        answer_apex(l);
        return STR_NULL;
    }
    struct str last = labels[n - 1];
    if (str_eqc(last, "svc")) {
        if (n == 1)
            l->exists = true;
        else if (n == 2)
            l->exists = has_namespace(l->z, labels[0]);
        else
            return resolve_service(l, labels, n - 1);
    } else if (str_eqc(last, "pod")) {
        if (n == 1)
            l->exists = true;
        else
            resolve_pod(l, labels, n - 1);
    } else if (str_eqc(last, "dns-version") && n == 1) {
        answer_version(l);
    } else if (str_eqc(last, "dns") && n == 2 && str_eqc(labels[0], "ns")) {
        const struct str server[] = {STR("kube-dns"), STR("kube-system")};
        return resolve_service(l, server, 2);
    }
    return STR_NULL;
}

// --- addresses to names ---

static void answer_pointer(struct lookup *l, struct str target)
{
    l->exists = true;
    if (l->type == DNS_PTR || l->type == DNS_ANY)
        push(l->a, &l->answers, &l->n,
             &(struct dns_record){.type = DNS_PTR, .ttl = TTL, .owner = l->name, .target = target});
}

static void answer_slice_pointer(struct lookup *l, const struct object *slice, struct str ip)
{
    const struct value *tree = value_clone(l->a, object_tree(l->a, slice));
    struct str service =
        value_string(value_get(value_at(tree, "metadata.labels"), STR(SERVICE_NAME)));
    struct str ns = arena_str(l->a, object_namespace(slice));
    value_each_item (value_getc(tree, "endpoints"), endpoint) {
        struct str text = value_string(value_item(value_getc(endpoint, "addresses"), 0));
        if (!str_eq(text, ip) || !service.n || !value_str_at(endpoint, "hostname").n)
            continue;
        struct str host = endpoint_name(l->a, endpoint, text);
        answer_pointer(l, arena_printf(l->a, "%.*s.%.*s.%.*s.svc.%.*s", STR_ARG(host),
                                       STR_ARG(service), STR_ARG(ns), STR_ARG(l->z->domain)));
    }
}

// false: nothing of this cluster.
static bool resolve_address(struct lookup *l, const struct str *labels, size_t n)
{
    if (n != 6 || !str_eqc(labels[4], "in-addr") || !str_eqc(labels[5], "arpa"))
        return false;
    struct str ip = arena_printf(l->a, "%.*s.%.*s.%.*s.%.*s", STR_ARG(labels[3]),
                                 STR_ARG(labels[2]), STR_ARG(labels[1]), STR_ARG(labels[0]));
    struct object_list found = {0};
    informer_by_index(l->z->services, "cluster-ip", ip, &found);
    for (size_t i = 0; i < found.n; i++) {
        struct str name = object_name(found.items[i]), ns = object_namespace(found.items[i]);
        answer_pointer(l, arena_printf(l->a, "%.*s.%.*s.svc.%.*s", STR_ARG(name), STR_ARG(ns),
                                       STR_ARG(l->z->domain)));
    }
    object_list_done(&found);
    found = (struct object_list){0};
    informer_by_index(l->z->slices, "address", ip, &found);
    for (size_t i = 0; i < found.n; i++)
        answer_slice_pointer(l, found.items[i], ip);
    object_list_done(&found);
    return l->exists;
}

// --- the whole ---

// Cuts the domain off; false: the name is not below it.
static bool below_domain(const struct dns_zone *z, struct str name, struct str *ret)
{
    if (str_eq(name, z->domain)) {
        *ret = STR_NULL;
        return true;
    }
    if (!str_ends(name, z->domain) || name.n <= z->domain.n ||
        name.p[name.n - z->domain.n - 1] != '.')
        return false;
    *ret = str_sub(name, 0, name.n - z->domain.n - 1);
    return true;
}

static void finish(struct lookup *l, struct dns_answer *ret)
{
    *ret = (struct dns_answer){.rcode = l->exists ? DNS_NOERROR : DNS_NXDOMAIN,
                               .authoritative = true,
                               .answers = l->answers,
                               .nanswers = l->n,
                               .additional = l->additional,
                               .nadditional = l->nadditional};
    if (l->n > 0)
        return;
    struct dns_record *soa = arena_new(l->a, struct dns_record);
    *soa = (struct dns_record){.type = DNS_SOA,
                               .ttl = TTL,
                               .owner = l->z->domain,
                               .target = arena_printf(l->a, "ns.dns.%.*s", STR_ARG(l->z->domain))};
    ret->authority = soa;
    ret->nauthority = 1;
}

enum dns_zone_result dns_zone_resolve(struct dns_zone *z, struct arena *a, struct str name,
                                      uint16_t type, struct dns_answer *ret)
{
    struct lookup l = {.z = z, .a = a, .name = name, .type = type};
    struct str labels[LABELS_MAX], inside;
    for (int i = 0; i < CNAME_CHAIN; i++) {
        if (!below_domain(z, l.name, &inside)) {
            if (i > 0) {
                finish(&l, ret);
                return DNS_ZONE_CHASE;
            }
            size_t n = split(l.name, labels);
            if (!resolve_address(&l, labels, n))
                return DNS_ZONE_FOREIGN;
            break;
        }
        size_t count = split(inside, labels);
        if (count == 0 && inside.n > 0)
            break; // more labels than any name of the zone has
        struct str target = resolve_inside(&l, labels, count);
        if (!target.n)
            break;
        l.exists = true;
        push(
            a, &l.answers, &l.n,
            &(struct dns_record){.type = DNS_CNAME, .ttl = TTL, .owner = l.name, .target = target});
        if (type == DNS_CNAME)
            break;
        l.name = target;
    }
    finish(&l, ret);
    return DNS_ZONE_ANSWERED;
}

// --- indexes ---

static void index_address(struct arena *a, const struct object *o,
                          void (*emit)(void *ctx, struct str value), void *ctx)
{
    // Hardly any slice has host names, and a tree of all endpoints for each change of each of them
    // is more than a busy cluster's node has time for.
    struct str json = blob_view(o->json);
    if (!memmem(json.p, json.n, "\"hostname\"", sizeof "\"hostname\"" - 1))
        return;
    value_each_item (value_getc(object_tree(a, o), "endpoints"), endpoint) {
        if (value_str_at(endpoint, "hostname").n) // others have no name to point to
            value_each_item (value_getc(endpoint, "addresses"), address)
                emit(ctx, value_string(address));
    }
}

static void changed(void *ctx, struct object *old, struct object *new)
{
    (void)old, (void)new;
    struct dns_zone *z = ctx;
    z->on_change(z->ctx);
}

struct dns_zone *dns_zone_new(struct informers *f, struct str domain, void (*on_change)(void *ctx),
                              void *ctx)
{
    struct dns_zone *z = mem_zalloc(sizeof *z);
    z->domain = mem_str(domain);
    z->on_change = on_change;
    z->ctx = ctx;
    z->services = informers_get(f, KIND("", "services"));
    z->slices = informers_get(f, KIND("discovery.k8s.io", "endpointslices"));
    z->namespaces = informers_get(f, KIND("", "namespaces"));
    service_index_addresses(z->services);
    service_index_slices(z->slices);
    informer_add_index(z->slices, "address", index_address);
    struct informer *const followed[] = {z->services, z->slices, z->namespaces};
    for (size_t i = 0; i < 3; i++) {
        z->handlers[i] = (struct informer_handler){.on_change = changed, .ctx = z};
        informer_add_handler(followed[i], &z->handlers[i]);
    }
    return z;
}

void dns_zone_free(struct dns_zone *z)
{
    struct informer *const followed[] = {z->services, z->slices, z->namespaces};
    for (size_t i = 0; i < 3; i++)
        informer_remove_handler(followed[i], &z->handlers[i]);
    free((char *)z->domain.p);
    free(z);
}
