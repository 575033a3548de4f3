// Services: cluster addresses and node ports, taken and given back in the transaction of the
// Service itself.
//
// What a Service holds is a function of its spec (clusterIPs, nodePort of each port,
// healthCheckNodePort), so an update is: work out what the new spec holds, compare with the old,
// mark the difference.
#include "apiserver/ranges.h"
#include "apiserver/strategy.h"

static bool type_is(const struct value *service, const char *type)
{
    struct str t = value_str_at(service, "spec.type");
    return t.n ? str_eqc(t, type) : !strcmp(type, "ClusterIP");
}

static bool has_address(const struct value *v)
{
    return !type_is(v, "ExternalName");
}

static bool has_node_ports(const struct value *v)
{
    return type_is(v, "NodePort") || (type_is(v, "LoadBalancer") &&
                                      value_bool_at(v, "spec.allocateLoadBalancerNodePorts", true));
}

// The address that the Service holds: STR_NULL for headless ones and ExternalName.
static struct str held_address(const struct value *v)
{
    struct str ip = value_str_at(v, "spec.clusterIP");
    return !v || !has_address(v) || str_eqc(ip, "None") ? STR_NULL : ip;
}

static void set_address(struct op *op, struct str ip)
{
    struct arena *a = op->a;
    struct value *list = value_array(a);
    value_set_at(a, op->new, "spec.clusterIP", value_str(a, ip));
    value_push(a, list, value_str(a, ip));
    value_set_at(a, op->new, "spec.clusterIPs", list);
}

static void set_families(struct op *op)
{
    struct arena *a = op->a;
    struct value *spec = value_getc(op->new, "spec");
    if (!value_len(value_getc(spec, "ipFamilies"))) {
        struct value *f = value_array(a);
        value_push(a, f, value_strc(a, "IPv4"));
        value_setc(a, spec, "ipFamilies", f);
    }
    if (!value_getc(spec, "ipFamilyPolicy"))
        value_setc(a, spec, "ipFamilyPolicy", value_strc(a, "SingleStack"));
}

// clusterIP and clusterIPs are two views of one thing; whichever the client gave decides.
static void align_addresses(struct op *op)
{
    struct value *spec = value_getc(op->new, "spec");
    struct str ip = value_string(value_getc(spec, "clusterIP"));
    struct value *list = value_getc(spec, "clusterIPs");
    if (!has_address(op->new)) {
        value_delc(spec, "clusterIP");
        value_delc(spec, "clusterIPs");
        value_delc(spec, "ipFamilies");
        value_delc(spec, "ipFamilyPolicy");
        return;
    }
    if (ip.n && !value_len(list))
        set_address(op, ip);
    else if (!ip.n && value_len(list))
        value_setc(op->a, spec, "clusterIP", value_item(list, 0));
    set_families(op);
}

static int prepare_create(struct op *op, struct err *e)
{
    (void)e;
    struct value *lb = value_object(op->a);
    value_set_at(op->a, op->new, "status.loadBalancer", lb);
    align_addresses(op);
    return 0;
}

static const struct value *same_port(const struct value *ports, const struct value *p)
{
    value_each_item (ports, q)
        if (value_int_at(q, "port", 0) == value_int_at(p, "port", 0) &&
            str_eq(value_str_at(q, "protocol"), value_str_at(p, "protocol")))
            return q;
    return NULL;
}

// Fields that only some types have and that the client merely carried along.
static void drop_meaningless(struct op *op, struct value *spec)
{
    static const struct {
        const char *field;
        bool node_port, load_balancer; // types that have it
    } fields[] = {
        {"externalTrafficPolicy", true, true},
        {"healthCheckNodePort", false, true},
        {"allocateLoadBalancerNodePorts", false, true},
        {"loadBalancerClass", false, true},
    };
    const struct value *old = value_getc(op->old, "spec");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        bool has = (type_is(op->new, "NodePort") && fields[i].node_port) ||
                   (type_is(op->new, "LoadBalancer") && fields[i].load_balancer);
        struct value *mine = value_getc(spec, fields[i].field);
        if (!has && mine && value_eq(mine, value_getc(old, fields[i].field)))
            value_delc(spec, fields[i].field);
    }
}

// What clients leave out because it was allocated for them stays; what a change of type makes
// meaningless goes.
static int prepare_update(struct op *op, struct err *e)
{
    (void)e;
    if (op->request->subresource.n)
        return 0;
    struct value *spec = value_getc(op->new, "spec");
    struct str ip = value_string(value_getc(spec, "clusterIP"));
    if (has_address(op->new) && has_address(op->old) && !ip.n &&
        !value_len(value_getc(spec, "clusterIPs")) && value_at(op->old, "spec.clusterIP")) {
        value_setc(op->a, spec, "clusterIP", value_at(op->old, "spec.clusterIP"));
        value_setc(op->a, spec, "clusterIPs", value_at(op->old, "spec.clusterIPs"));
    }
    const struct value *old_ports = value_at(op->old, "spec.ports");
    bool now = has_node_ports(op->new), before = has_node_ports(op->old);
    struct value *ports = value_getc(spec, "ports");
    value_each_item (ports, p) {
        const struct value *q = same_port(old_ports, p);
        int64_t mine = value_int_at(p, "nodePort", 0), was = value_int_at(q, "nodePort", 0);
        if (now && before && !mine && was)
            value_setc(op->a, p, "nodePort", value_int(op->a, was));
        else if (!now && (mine == was || !mine))
            value_delc(p, "nodePort");
    }
    drop_meaningless(op, spec);
    align_addresses(op);
    return 0;
}

static int bad_address(struct op *op, struct str ip, struct err *e, const char *why)
{
    return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "spec.clusterIPs",
                       "Invalid value: [\"%.*s\"]: failed to allocate IP %.*s: %s", STR_ARG(ip),
                       STR_ARG(ip), why);
}

static int hold_address(struct op *op, struct err *e)
{
    struct ranges *r = op->server->ranges;
    struct str was = op->found ? held_address(op->old) : STR_NULL;
    struct str ip = held_address(op->new);
    bool headless = str_eqc(value_str_at(op->new, "spec.clusterIP"), "None");
    if (was.n && !str_eq(was, ip))
        op_write(op, STORE_DELETE, ranges_mark_key(r, op->a, was), NULL, STORE_ANY);
    if (!has_address(op->new) || headless || (was.n && str_eq(was, ip)))
        return 0;
    if (!ip.n) {
        ip = ranges_free_address(r, op->a);
        if (!ip.n)
            return bad_address(op, STR_NULL, e, "the range is full");
        set_address(op, ip);
    } else if (!ranges_contains(r, ip)) {
        struct str why =
            arena_printf(op->a,
                         "the provided IP (%.*s) is not in the valid range. The range of "
                         "valid IPs is %.*s",
                         STR_ARG(ip), STR_ARG(ranges_cidr(r)));
        return bad_address(op, ip, e, arena_cstr(op->a, why));
    } else if (ranges_taken(r, ip)) {
        return bad_address(op, ip, e, "provided IP is already allocated");
    }
    struct object *mark;
    int code = ranges_mark(r, op->a, ip, op->ns, op->name, &mark, e);
    if (code < 0)
        return code;
    op_write_object(op, mark, 0);
    return 0;
}

static bool holds_port(const struct value *service, struct str protocol, int64_t port)
{
    const struct value *ports = value_at(service, "spec.ports");
    value_each_item (ports, p)
        if (value_int_at(p, "nodePort", 0) == port && str_eq(value_str_at(p, "protocol"), protocol))
            return true;
    return false;
}

static void mark_port(struct op *op, struct str protocol, unsigned port)
{
    struct str owner = arena_printf(op->a, "%.*s/%.*s", STR_ARG(op->ns), STR_ARG(op->name));
    struct blob *b = blob_new(owner);
    op_write(op, STORE_PUT, ranges_port_key(op->a, protocol, port), b, 0);
    op_keep_blob(op, b);
}

static int hold_port(struct op *op, struct value *p, size_t i, unsigned *chosen, size_t *nchosen,
                     struct err *e)
{
    struct ranges *r = op->server->ranges;
    struct str protocol = value_str_at(p, "protocol");
    int64_t port = value_int_at(p, "nodePort", 0);
    struct str field = arena_printf(op->a, "spec.ports[%zu].nodePort", i);
    char *path = arena_cstr(op->a, field);
    if (port && op->found && holds_port(op->old, protocol, port))
        return 0;
    if (!port) {
        port = ranges_free_port(r, protocol, chosen, *nchosen);
        if (!port)
            return api_invalid(e, op->kind, op->name, "FieldValueInvalid", path,
                               "Invalid value: 0: failed to allocate a nodePort: range is full");
        value_setc(op->a, p, "nodePort", value_int(op->a, port));
    } else if (port < ranges_first_port(r) || port > ranges_last_port(r)) {
        return api_invalid(
            e, op->kind, op->name, "FieldValueInvalid", path,
            "Invalid value: %lld: provided port is not in the valid range. The range "
            "of valid ports is %u-%u",
            (long long)port, ranges_first_port(r), ranges_last_port(r));
    } else if (ranges_port_taken(r, protocol, (unsigned)port)) {
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", path,
                           "Invalid value: %lld: provided port is already allocated",
                           (long long)port);
    }
    chosen[(*nchosen)++] = (unsigned)port;
    mark_port(op, protocol, (unsigned)port);
    return 0;
}

static void release_ports(struct op *op, const struct value *of, const struct value *unless_in)
{
    const struct value *ports = value_at(of, "spec.ports");
    value_each_item (ports, p) {
        int64_t port = value_int_at(p, "nodePort", 0);
        struct str protocol = value_str_at(p, "protocol");
        if (port && !(unless_in && holds_port(unless_in, protocol, port)))
            op_write(op, STORE_DELETE, ranges_port_key(op->a, protocol, (unsigned)port), NULL,
                     STORE_ANY);
    }
}

static int finish(struct op *op, struct err *e)
{
    if (op->request->subresource.n)
        return 0;
    int r = hold_address(op, e);
    if (r < 0)
        return r;
    struct value *ports = value_at(op->new, "spec.ports");
    unsigned *chosen = arena_array(op->a, unsigned, value_len(ports) + 1);
    size_t nchosen = 0;
    // Those that are asked for by number come first, so that a guess does not take one of them.
    value_each_item (ports, p)
        if (has_node_ports(op->new) && value_int_at(p, "nodePort", 0) &&
            (r = hold_port(op, p, p_i, chosen, &nchosen, e)) < 0)
            return r;
    value_each_item (ports, p)
        if (has_node_ports(op->new) && !value_int_at(p, "nodePort", 0) &&
            (r = hold_port(op, p, p_i, chosen, &nchosen, e)) < 0)
            return r;
    if (op->found)
        release_ports(op, op->old, op->new);
    return 0;
}

static int forget(struct op *op, struct err *e)
{
    (void)e;
    struct str ip = held_address(op->old);
    if (ip.n)
        op_write(op, STORE_DELETE, ranges_mark_key(op->server->ranges, op->a, ip), NULL, STORE_ANY);
    release_ports(op, op->old, NULL);
    return 0;
}

const struct strategy strategy_services = {
    .group = "",
    .resource = "services",
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .finish = finish,
    .remove = forget,
};
