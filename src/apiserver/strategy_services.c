// Services: cluster addresses and node ports (service_ports.c), taken and given back in the
// transaction of the Service itself.
//
// What a Service holds is a function of its spec, so an update is: work out what the new spec
// holds, compare with the old, mark the difference.
#include "apiserver/ranges.h"
#include "apiserver/service_ports.h"
#include "apiserver/strategy.h"
#include "base/map.h"

static bool has_address(const struct value *v)
{
    return !service_type_is(v, "ExternalName");
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

static bool is_headless(const struct value *v)
{
    return str_eqc(value_str_at(v, "spec.clusterIP"), "None");
}

static void push_family(struct op *op, struct value *families, const char *name)
{
    value_push(op->a, families, value_strc(op->a, name));
}

// What the client leaves open. A headless Service without a selector may have endpoints of any
// family: it claims both.
static void set_families(struct op *op)
{
    struct arena *a = op->a;
    struct value *spec = value_getc(op->new, "spec"), *families = value_getc(spec, "ipFamilies");
    bool open = is_headless(op->new) && !value_len(value_getc(spec, "selector"));
    if (!value_len(families))
        value_setc(a, spec, "ipFamilies", families = value_array(a));
    if (!value_getc(spec, "ipFamilyPolicy"))
        value_setc(
            a, spec, "ipFamilyPolicy",
            value_strc(a, open || value_len(families) > 1 ? "RequireDualStack" : "SingleStack"));
    if (!value_len(families))
        push_family(op, families,
                    str_chr(value_str_at(spec, "clusterIP"), ':') < 0 ? "IPv4" : "IPv6");
    if (open && value_len(families) == 1 &&
        !str_eqc(value_str_at(spec, "ipFamilyPolicy"), "SingleStack"))
        push_family(op, families,
                    str_eqc(value_string(value_item(families, 0)), "IPv4") ? "IPv6" : "IPv4");
}

// The cluster has IPv4 addresses alone.
static int check_families(struct op *op, struct err *e)
{
    const struct value *families = value_at(op->new, "spec.ipFamilies");
    if (!has_address(op->new) ||
        (is_headless(op->new) && !value_len(value_at(op->new, "spec.selector"))))
        return 0;
    if (str_eqc(value_str_at(op->new, "spec.ipFamilyPolicy"), "RequireDualStack"))
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", "spec.ipFamilyPolicy",
                           "Invalid value: \"RequireDualStack\": this cluster is not configured "
                           "for dual-stack services");
    value_each_item (families, family) {
        if (str_eqc(value_string(family), "IPv4"))
            continue;
        char *path = arena_cstr(op->a, arena_printf(op->a, "spec.ipFamilies[%zu]", family_i));
        return api_invalid(e, op->kind, op->name, "FieldValueInvalid", path,
                           "Invalid value: \"%.*s\": not configured on this cluster",
                           STR_ARG(value_string(family)));
    }
    return 0;
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

// The old ports by protocol and number.
static void index_ports(struct op *op, const struct value *ports, struct map *by_port)
{
    value_each_item (ports, p) {
        struct str key = arena_printf(op->a, "%.*s/%lld", STR_ARG(value_str_at(p, "protocol")),
                                      (long long)value_int_at(p, "port", 0));
        if (!map_has(by_port, key))
            map_set(by_port, key, p);
    }
}

// A port that had a node port keeps it, unless the client names another.
static void keep_node_ports(struct op *op, struct value *ports)
{
    struct map by_port = MAP_INIT;
    bool now = service_has_node_ports(op->new), before = service_has_node_ports(op->old);
    index_ports(op, value_at(op->old, "spec.ports"), &by_port);
    value_each_item (ports, p) {
        struct str key = arena_printf(op->a, "%.*s/%lld", STR_ARG(value_str_at(p, "protocol")),
                                      (long long)value_int_at(p, "port", 0));
        const struct value *q = map_get(&by_port, key);
        int64_t mine = value_int_at(p, "nodePort", 0), was = value_int_at(q, "nodePort", 0);
        if (now && before && !mine && was)
            value_setc(op->a, p, "nodePort", value_int(op->a, was));
        else if (!now && (mine == was || !mine))
            value_delc(p, "nodePort");
    }
    map_done(&by_port);
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
        bool has = (service_type_is(op->new, "NodePort") && fields[i].node_port) ||
                   (service_type_is(op->new, "LoadBalancer") && fields[i].load_balancer);
        if (!strcmp(fields[i].field, "healthCheckNodePort"))
            has = service_needs_health_check(op->new);
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
    keep_node_ports(op, value_getc(spec, "ports"));
    const struct value *check = value_at(op->old, "spec.healthCheckNodePort");
    if (service_needs_health_check(op->new) && service_needs_health_check(op->old) && check &&
        !value_int_at(spec, "healthCheckNodePort", 0))
        value_setc(op->a, spec, "healthCheckNodePort", value_clone(op->a, check));
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

static int finish(struct op *op, struct err *e)
{
    if (op->request->subresource.n)
        return 0;
    int r = check_families(op, e);
    if (r >= 0)
        r = hold_address(op, e);
    return r < 0 ? r : service_ports_hold(op, e);
}

static int forget(struct op *op, struct err *e)
{
    (void)e;
    struct str ip = held_address(op->old);
    if (ip.n)
        op_write(op, STORE_DELETE, ranges_mark_key(op->server->ranges, op->a, ip), NULL, STORE_ANY);
    service_ports_release(op);
    return 0;
}

const struct strategy strategy_services = {
    .group = "",
    .resource = "services",
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .finish = finish,
    .remove = forget,
    .unvalidated = "status.conditions",
};
