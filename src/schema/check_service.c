// Rules of services and endpoints that look at more than one field, or at the object before.
#include "object/key_index.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"
#include <arpa/inet.h>

check_function check_service, check_endpoint_subset;

#define COUNT(a) (sizeof(a) / sizeof *(a))

// ---- addresses that nobody can be reached at from elsewhere -----------------------------------

static bool in4(const uint8_t *ip, uint8_t a, uint8_t b, size_t bytes)
{
    return ip[0] == a && (bytes < 2 || ip[1] == b);
}

// The endpoints of the server itself: one that listens on the machine alone is there and nowhere
// else, and says so.
static bool is_own(const struct check *c)
{
    return str_eqc(value_str_at(c->root, "metadata.name"), "kubernetes") &&
           str_eqc(value_str_at(c->root, "metadata.namespace"), "default") &&
           !str_eqc(c->kind->kind, "Service");
}

// An address as endpoints and external addresses of services may have it.
void check_reachable(struct check *c, const char *field, const struct value *v, const char *not_one)
{
    struct str s = value_string(v);
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16] = {0};
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, none[16];
    snprintf(text, sizeof text, "%.*s", STR_ARG(s));
    bool six = inet_pton(AF_INET6, text, ip) == 1;
    if (s.n >= sizeof text || (!six && inet_pton(AF_INET, text, ip) != 1)) {
        check_invalid(c, field, v, "%s", not_one);
        return;
    }
    if (six && !memcmp(ip, mapped, sizeof mapped)) {
        memmove(ip, ip + 12, 4);
        six = false;
    }
    static const uint8_t one[16] = {[15] = 1};
    if (!memcmp(ip, none, six ? 16 : 4))
        check_invalid(c, field, v, "may not be unspecified (%.*s)", STR_ARG(s));
    if (!is_own(c) && (six ? !memcmp(ip, one, 16) : in4(ip, 127, 0, 1)))
        check_invalid(c, field, v, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    if (six ? ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80 : in4(ip, 169, 254, 2))
        check_invalid(c, field, v,
                      "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    if (six ? ip[0] == 0xff && (ip[1] & 0x0f) == 2 : in4(ip, 224, 0, 2) && !ip[2])
        check_invalid(c, field, v,
                      "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
}

static void check_service_ports(struct check *c, const struct value *ports)
{
    size_t n = value_len(ports);
    _cleanup_key_index_ struct key_index names = KEY_INDEX_INIT, pairs = KEY_INDEX_INIT,
                                         node_ports = KEY_INDEX_INIT;
    for (size_t i = 0; i < n; i++) {
        const struct value *p = value_item(ports, i);
        struct value *name = value_getc(p, "name");
        struct str protocol = value_str_at(p, "protocol");
        long long port = value_int_at(p, "port", 0), node_port = value_int_at(p, "nodePort", 0);
        size_t mark = check_push_index(c, "spec.ports", i);
        if (n > 1 && (!name || !name->n))
            check_required(c, "name", NULL);
        if (name && name->n && key_index_add(&names, value_string(name)) >= 0)
            check_duplicate(c, "name", name);
        struct str number = arena_printf(c->arena, "%lld/%.*s", port, STR_ARG(protocol));
        if (key_index_add(&pairs, number) >= 0) {
            struct value *pair = value_object(c->arena);
            value_setc(c->arena, pair, "port", value_getc(p, "port"));
            value_setc(c->arena, pair, "protocol", value_getc(p, "protocol"));
            check_duplicate(c, NULL, pair);
        }
        number = arena_printf(c->arena, "%lld/%.*s", node_port, STR_ARG(protocol));
        if (node_port && key_index_add(&node_ports, number) >= 0)
            check_duplicate(c, "nodePort", value_getc(p, "nodePort"));
        check_pop(c, mark);
    }
}

static void check_cluster_ips(struct check *c, const struct value *spec, const struct value *old,
                              bool external)
{
    const struct value *ips = value_getc(spec, "clusterIPs"), *was = value_getc(old, "clusterIPs");
    struct value *first = value_getc(spec, "clusterIP");
    bool none = str_eqc(value_string(first), "None");
    if (external) {
        if (first && first->n)
            check_forbidden(c, "clusterIPs", "may not be set for ExternalName services");
        return;
    }
    if (first && first->n && !none)
        check_format(c, "clusterIPs[0]", first, FORMAT_IP);
    if (value_len(ips) && first && first->n && !same(first, value_item(ips, 0)))
        check_invalid(c, "clusterIPs", ips, "first value must match `clusterIP`");
    // An address stays as long as the service is of a type that has one.
    struct value *then = value_getc(old, "clusterIP");
    (void)was;
    if (then && then->n && !str_eqc(value_str_at(old, "type"), "ExternalName") &&
        !same(first, then))
        check_invalid(c, "clusterIPs[0]", first, "may not change once set");
}

#define AFFINITY_MAX 86400

static void check_affinity(struct check *c, const struct value *spec)
{
    static const char text[] = "when session affinity type is ClientIP";
    const struct value *config = value_getc(spec, "sessionAffinityConfig");
    const struct value *client = value_getc(config, "clientIP");
    struct value *seconds = value_getc(client, "timeoutSeconds");
    if (str_eqc(value_str_at(spec, "sessionAffinity"), "None") &&
        has(spec, "sessionAffinityConfig"))
        check_forbidden(c, "sessionAffinityConfig",
                        "must not be set when session affinity is None");
    if (!str_eqc(value_str_at(spec, "sessionAffinity"), "ClientIP"))
        return;
    if (!value_is(config, VALUE_OBJECT))
        check_required(c, "sessionAffinityConfig", text);
    else if (!value_is(client, VALUE_OBJECT))
        check_required(c, "sessionAffinityConfig.clientIP", text);
    else if (value_int_or(seconds, 0) <= 0 || value_int_or(seconds, 0) > AFFINITY_MAX)
        check_invalid(c, "sessionAffinityConfig.clientIP.timeoutSeconds", seconds,
                      "must be greater than 0 and less than %d", AFFINITY_MAX);
}

static void check_balancer(struct check *c, const struct value *spec, const struct value *was)
{
    static const char only[] = "may only be used when `type` is 'LoadBalancer'";
    bool balancer = str_eqc(value_str_at(spec, "type"), "LoadBalancer");
    const struct value *ranges = value_getc(spec, "loadBalancerSourceRanges");
    if (value_len(ranges) && !balancer)
        check_forbidden(c, "LoadBalancerSourceRanges", only);
    value_each_item (ranges, range) {
        if (!balancer)
            break;
        size_t mark = check_push_index(c, "LoadBalancerSourceRanges", range_i);
        check_format(c, NULL, value_str(c->arena, str_trim(value_string(range))), FORMAT_CIDR);
        check_pop(c, mark);
    }
    if (!balancer && has(spec, "allocateLoadBalancerNodePorts"))
        check_forbidden(c, "allocateLoadBalancerNodePorts", only);
    struct value *class = value_getc(spec, "loadBalancerClass");
    bool was_balancer = str_eqc(value_str_at(was, "type"), "LoadBalancer");
    if (balancer && was_balancer && !same(class, value_getc(was, "loadBalancerClass")))
        check_invalid(c, "loadBalancerClass", class ? class : value_null(c->arena),
                      "may not change once set");
    else if (has(spec, "loadBalancerClass") && !balancer)
        check_forbidden(c, "loadBalancerClass", only);
    else if (has(spec, "loadBalancerClass"))
        check_format(c, "loadBalancerClass", class, FORMAT_QUALIFIED_NAME);
    struct value *health = value_getc(spec, "healthCheckNodePort");
    bool local = str_eqc(value_str_at(spec, "externalTrafficPolicy"), "Local");
    if (value_int_or(health, 0) && !(balancer && local))
        check_invalid(c, "healthCheckNodePort", health,
                      "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` "
                      "is 'Local'");
}

static void check_families(struct check *c, const struct value *spec)
{
    static const struct str known[] = {STR("IPv4"), STR("IPv6"), STR_NULL};
    static const char *const none[] = {"ipFamilies", "ipFamilyPolicy"};
    const struct value *families = value_getc(spec, "ipFamilies");
    if (str_eqc(value_str_at(spec, "type"), "ExternalName")) {
        for (size_t i = 0; i < COUNT(none); i++)
            if (has(spec, none[i]))
                check_forbidden(c, none[i], "may not be set for ExternalName services");
        return;
    }
    size_t mark = check_push(c, "ipFamilies");
    value_each_item (families, family) {
        if (str_eq(value_string(family), known[0]) || str_eq(value_string(family), known[1]))
            continue;
        size_t inner = check_push_index(c, NULL, family_i);
        check_not_supported(c, NULL, family, known);
        check_pop(c, inner);
    }
    check_unique(c, families, NULL);
    check_pop(c, mark);
}

void check_service(struct check *c, const struct value *service, const struct value *old)
{
    const struct value *spec = value_getc(service, "spec"), *was = value_getc(old, "spec");
    struct str type = value_str_at(spec, "type");
    bool external = str_eqc(type, "ExternalName");
    bool headless = str_eqc(value_str_at(spec, "clusterIP"), "None");
    bool outside = str_eqc(type, "NodePort") || str_eqc(type, "LoadBalancer");
    if (!value_len(value_getc(spec, "ports")) && !headless && !external)
        check_required(c, "spec.ports", NULL);
    check_service_ports(c, value_getc(spec, "ports"));
    size_t mark = check_push(c, "spec");
    check_cluster_ips(c, spec, was, external);
    if (headless && outside)
        check_invalid(c, "clusterIPs[0]", value_getc(spec, "clusterIP"),
                      "may not be set to 'None' for %.*s services", STR_ARG(type));
    if (external && !value_str_at(spec, "externalName").n)
        check_required(c, "externalName", NULL);
    else if (external)
        check_format(c, "externalName", value_getc(spec, "externalName"), FORMAT_DNS1123_SUBDOMAIN);
    check_affinity(c, spec);
    value_each_item (value_getc(spec, "externalIPs"), ip) {
        size_t inner = check_push_index(c, "externalIPs", ip_i);
        check_reachable(c, NULL, ip,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        check_pop(c, inner);
    }
    check_balancer(c, spec, was);
    check_families(c, spec);
    if (!outside && value_str_at(spec, "externalTrafficPolicy").n &&
        !value_len(value_getc(spec, "externalIPs")))
        check_invalid(c, "externalTrafficPolicy", value_getc(spec, "externalTrafficPolicy"),
                      "may only be set for externally-accessible services");
    const struct value *ports = value_getc(spec, "ports");
    for (size_t i = 0; i < value_len(ports) && !outside; i++) {
        if (!value_int_at(value_item(ports, i), "nodePort", 0))
            continue;
        size_t inner = check_push_index(c, "ports", i);
        check_forbidden(c, "nodePort", "may not be used when `type` is '%.*s'", STR_ARG(type));
        check_pop(c, inner);
    }
    check_pop(c, mark);
}

// ---- endpoints --------------------------------------------------------------------------------

static void check_addresses(struct check *c, const struct value *subset, const char *list)
{
    value_each_item (value_getc(subset, list), address) {
        size_t mark = check_push_index(c, list, address_i);
        check_reachable(c, "ip", value_getc(address, "ip"), "must be a valid IP address");
        if (has(address, "nodeName"))
            check_format(c, "nodeName", value_getc(address, "nodeName"), FORMAT_DNS1123_SUBDOMAIN);
        check_pop(c, mark);
    }
}

void check_endpoint_subset(struct check *c, const struct value *subset, const struct value *old)
{
    (void)old;
    const struct value *ports = value_getc(subset, "ports");
    if (!value_len(value_getc(subset, "addresses")) &&
        !value_len(value_getc(subset, "notReadyAddresses")))
        check_required(c, NULL, "must specify `addresses` or `notReadyAddresses`");
    check_addresses(c, subset, "addresses");
    check_addresses(c, subset, "notReadyAddresses");
    value_each_item (ports, port) {
        if (value_len(ports) < 2 || value_str_at(port, "name").n)
            continue;
        size_t mark = check_push_index(c, "ports", port_i);
        check_required(c, "name", NULL);
        check_pop(c, mark);
    }
}
