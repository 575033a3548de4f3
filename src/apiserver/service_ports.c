// The node ports of a Service: which it asks for, which it is given, what it holds and lets go.
//
// A number belongs to one Service, whatever the protocol, and within a Service ports of the same
// number but different protocols share one (DNS over TCP and UDP). What a Service holds is a
// function of its spec: the nodePort of each port, and healthCheckNodePort where traffic stays on
// the node. So an update is: see what the new spec holds that the old did not, and the other way
// round. Sets of ports are bitmaps: the work is linear in the number of ports.
#include "apiserver/service_ports.h"
#include "apiserver/ranges.h"

struct port_set {
    uint8_t bits[65536 / 8];
};

static bool has(const struct port_set *s, int64_t port)
{
    return port > 0 && port <= 65535 && (s->bits[port / 8] >> (port % 8) & 1);
}

static void add(struct port_set *s, int64_t port)
{
    if (port > 0 && port <= 65535)
        s->bits[port / 8] |= (uint8_t)(1 << port % 8);
}

bool service_type_is(const struct value *service, const char *type)
{
    struct str t = value_str_at(service, "spec.type");
    return t.n ? str_eqc(t, type) : !strcmp(type, "ClusterIP");
}

bool service_has_node_ports(const struct value *v)
{
    return service_type_is(v, "NodePort") || service_type_is(v, "LoadBalancer");
}

bool service_allocates_node_ports(const struct value *v)
{
    return service_type_is(v, "NodePort") ||
           (service_type_is(v, "LoadBalancer") &&
            value_bool_at(v, "spec.allocateLoadBalancerNodePorts", true));
}

bool service_needs_health_check(const struct value *v)
{
    return service_type_is(v, "LoadBalancer") &&
           str_eqc(value_str_at(v, "spec.externalTrafficPolicy"), "Local");
}

static struct port_set *held_by(struct op *op, const struct value *service)
{
    struct port_set *s = arena_new(op->a, struct port_set);
    const struct value *ports = value_at(service, "spec.ports");
    value_each_item (ports, p)
        add(s, value_int_at(p, "nodePort", 0));
    add(s, value_int_at(service, "spec.healthCheckNodePort", 0));
    return s;
}

struct allocation {
    struct op *op;
    struct port_set *before; // held by the old state
    struct port_set *now;    // held by the new one, as far as it is worked out
};

static void mark(struct allocation *l, unsigned port)
{
    struct op *op = l->op;
    struct str owner = arena_printf(op->a, "%.*s/%.*s", STR_ARG(op->ns), STR_ARG(op->name));
    struct blob *b = blob_new(owner);
    op_write(op, STORE_PUT, ranges_port_key(op->a, port), b, 0);
    op_keep_blob(op, b);
}

// Takes a port that was asked for. NULL, or why not.
static const char *take(struct allocation *l, int64_t port)
{
    struct ranges *r = l->op->server->ranges;
    if (has(l->now, port))
        return NULL;
    if (!has(l->before, port)) {
        if (port < ranges_first_port(r) || port > ranges_last_port(r))
            return arena_cstr(l->op->a,
                              arena_printf(l->op->a,
                                           "provided port is not in the valid range. The range of "
                                           "valid ports is %u-%u",
                                           ranges_first_port(r), ranges_last_port(r)));
        if (ranges_port_taken(r, (unsigned)port))
            return "provided port is already allocated";
        mark(l, (unsigned)port);
    }
    add(l->now, port);
    return NULL;
}

static bool is_used(void *ctx, unsigned port)
{
    const struct allocation *l = ctx;
    return has(l->now, port) || has(l->before, port);
}

static int64_t take_any(struct allocation *l)
{
    unsigned port = ranges_free_port(l->op->server->ranges, is_used, l);
    if (port) {
        mark(l, port);
        add(l->now, port);
    }
    return port;
}

// ---- the ports of spec.ports

static int refuse(struct op *op, size_t i, int64_t port, const char *why, struct err *e)
{
    char *path = arena_cstr(op->a, arena_printf(op->a, "spec.ports[%zu].nodePort", i));
    return api_invalid(e, op->kind, op->name, "FieldValueInvalid", path, "Invalid value: %lld: %s",
                       (long long)port, why);
}

static int protocol_of(const struct value *port)
{
    struct str p = value_str_at(port, "protocol");
    return str_eqc(p, "UDP") ? 1 : str_eqc(p, "SCTP") ? 2 : 0;
}

static int take_requested(struct allocation *l, const struct value *ports, uint16_t *of_port,
                          struct err *e)
{
    struct port_set *seen = arena_array(l->op->a, struct port_set, 3);
    memset(seen, 0, 3 * sizeof *seen);
    value_each_item (ports, p) {
        int64_t node_port = value_int_at(p, "nodePort", 0), port = value_int_at(p, "port", 0);
        if (!node_port)
            continue;
        if (has(&seen[protocol_of(p)], node_port)) {
            char *path =
                arena_cstr(l->op->a, arena_printf(l->op->a, "spec.ports[%zu].nodePort", p_i));
            return api_invalid(e, l->op->kind, l->op->name, "FieldValueDuplicate", path,
                               "Duplicate value: %lld", (long long)node_port);
        }
        const char *why = take(l, node_port);
        if (why)
            return refuse(l->op, p_i, node_port, why, e);
        add(&seen[protocol_of(p)], node_port);
        if (port > 0 && port <= 65535 && !of_port[port])
            of_port[port] = (uint16_t)node_port;
    }
    return 0;
}

static int hold_ports(struct allocation *l, struct err *e)
{
    struct op *op = l->op;
    struct value *ports = value_at(op->new, "spec.ports");
    // By the Service's own port number: what another protocol has been given there.
    uint16_t *of_port = arena_array(op->a, uint16_t, 65536);
    memset(of_port, 0, 65536 * sizeof *of_port);
    int r = take_requested(l, ports, of_port, e);
    if (r < 0 || !service_allocates_node_ports(op->new))
        return r;
    value_each_item (ports, p) {
        int64_t port = value_int_at(p, "port", 0);
        if (value_int_at(p, "nodePort", 0))
            continue;
        bool known = port > 0 && port <= 65535;
        int64_t given = op->creating && known ? of_port[port] : 0;
        if (!given && !(given = take_any(l)))
            return refuse(op, p_i, 0, "failed to allocate a nodePort: range is full", e);
        value_setc(op->a, p, "nodePort", value_int(op->a, given));
        if (known && !of_port[port])
            of_port[port] = (uint16_t)given;
    }
    return 0;
}

// ---- the health check's

static int hold_health_check(struct allocation *l, struct err *e)
{
    struct op *op = l->op;
    int64_t port = value_int_at(op->new, "spec.healthCheckNodePort", 0);
    int64_t was = value_int_at(op->old, "spec.healthCheckNodePort", 0);
    if (!service_needs_health_check(op->new))
        return 0;
    if (op->found && service_needs_health_check(op->old) && was && port != was)
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "spec.healthCheckNodePort",
                           "Invalid value: %lld: cannot change healthCheckNodePort on loadBalancer "
                           "service with externalTraffic=Local during update",
                           (long long)port);
    if (port) {
        const char *why = take(l, port);
        return why ? err_set(e, ERR_INTERNAL,
                             "failed to allocate requested HealthCheck NodePort %lld: %s",
                             (long long)port, why)
                   : 0;
    }
    if (!(port = take_any(l)))
        return err_set(e, ERR_INTERNAL, "failed to allocate a HealthCheck NodePort: range is full");
    value_set_at(op->a, op->new, "spec.healthCheckNodePort", value_int(op->a, port));
    return 0;
}

static void release(struct op *op, const struct port_set *held, const struct port_set *kept)
{
    for (unsigned i = 0; i < sizeof held->bits; i++)
        for (unsigned bit = 0; held->bits[i] && bit < 8; bit++)
            if (has(held, i * 8 + bit) && !(kept && has(kept, i * 8 + bit)))
                op_write(op, STORE_DELETE, ranges_port_key(op->a, i * 8 + bit), NULL, STORE_ANY);
}

int service_ports_hold(struct op *op, struct err *e)
{
    struct allocation l = {
        .op = op, .before = held_by(op, op->old), .now = arena_new(op->a, struct port_set)};
    int r = 0;
    if (service_has_node_ports(op->new)) {
        r = hold_ports(&l, e);
        if (r >= 0)
            r = hold_health_check(&l, e);
    }
    if (r >= 0)
        release(op, l.before, l.now);
    return r;
}

void service_ports_release(struct op *op)
{
    release(op, held_by(op, op->old), NULL);
}
