// Rules of core/v1 kinds other than pods that look at more than one field, or at the object before.
#include "object/json.h"
#include "object/quantity.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_service, check_config_map, check_secret, check_node, check_persistent_volume,
    check_claim_spec, check_claim, check_limit_range_item, check_replication_controller,
    check_event;

// ---- services -----------------------------------------------------------------------------------

static void check_service_ports(struct check *c, const struct value *ports)
{
    size_t n = value_len(ports);
    for (size_t i = 0; i < n; i++) {
        const struct value *p = value_item(ports, i);
        struct value *name = value_getc(p, "name");
        size_t mark = check_push_index(c, "spec.ports", i);
        if (n > 1 && (!name || !name->n))
            check_required(c, "name", NULL);
        bool same_name = false, same_port = false, same_node_port = false;
        for (size_t j = 0; j < i; j++) {
            const struct value *q = value_item(ports, j);
            bool protocol = value_eq(value_getc(p, "protocol"), value_getc(q, "protocol"));
            same_name |= name && name->n && same(name, value_getc(q, "name"));
            same_port |= protocol && same(value_getc(p, "port"), value_getc(q, "port"));
            same_node_port |= protocol && value_int_at(p, "nodePort", 0) &&
                              same(value_getc(p, "nodePort"), value_getc(q, "nodePort"));
        }
        if (same_name)
            check_duplicate(c, "name", name);
        if (same_port) {
            struct value *pair = value_object(c->arena);
            value_setc(c->arena, pair, "port", value_getc(p, "port"));
            value_setc(c->arena, pair, "protocol", value_getc(p, "protocol"));
            check_duplicate(c, NULL, pair);
        }
        if (same_node_port)
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
    if (str_eqc(value_str_at(spec, "sessionAffinity"), "None") &&
        has(spec, "sessionAffinityConfig"))
        check_forbidden(c, "sessionAffinityConfig",
                        "must not be set when session affinity is None");
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

// ---- config maps, secrets
// -------------------------------------------------------------------------

#define DATA_MAX (1024 * 1024)

static size_t check_data(struct check *c, const struct value *object, const char *field,
                         bool binary)
{
    size_t total = 0;
    value_each_field (value_getc(object, field), m) {
        size_t mark = check_push_key(c, field, m->key);
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_CONFIG_KEY);
        check_pop(c, mark);
        size_t n = value_string(m->value).n;
        total += binary ? n / 4 * 3 : n;
    }
    return total;
}

static void check_frozen(struct check *c, const struct value *object, const struct value *old)
{
    static const char *const fields[] = {"data", "binaryData"};
    if (!old || !value_bool_at(old, "immutable", false))
        return;
    if (!value_bool_at(object, "immutable", false))
        check_forbidden(c, "immutable", "field is immutable when `immutable` is set");
    for (size_t i = 0; i < 2; i++)
        if (!same(value_getc(object, fields[i]), value_getc(old, fields[i])))
            check_forbidden(c, fields[i], "field is immutable when `immutable` is set");
}

void check_config_map(struct check *c, const struct value *map, const struct value *old)
{
    size_t total = check_data(c, map, "data", false) + check_data(c, map, "binaryData", true);
    value_each_field (value_getc(map, "data"), m) {
        if (!value_get(value_getc(map, "binaryData"), m->key))
            continue;
        size_t mark = check_push_key(c, "data", m->key);
        check_invalid(c, NULL, value_str(c->arena, m->key),
                      "duplicate of key present in binaryData");
        check_pop(c, mark);
    }
    if (total > DATA_MAX)
        check_too_long(c, "[]", DATA_MAX); // the originals' path for the whole object
    check_frozen(c, map, old);
}

static void need_key(struct check *c, const struct value *secret, const char *key)
{
    if (value_getc(value_getc(secret, "data"), key))
        return;
    size_t mark = check_push_key(c, "data", str_of(key));
    check_required(c, NULL, NULL);
    check_pop(c, mark);
}

void check_secret(struct check *c, const struct value *secret, const struct value *old)
{
    if (check_data(c, secret, "data", true) > DATA_MAX)
        check_too_long(c, "data", DATA_MAX);
    struct str type = value_str_at(secret, "type");
    const struct value *data = value_getc(secret, "data");
    if (str_eqc(type, "kubernetes.io/service-account-token")) {
        static const struct str key = STR("kubernetes.io/service-account.name");
        if (!value_string(value_get(value_at(secret, "metadata.annotations"), key)).n) {
            size_t mark = check_push_key(c, "metadata.annotations", key);
            check_required(c, NULL, NULL);
            check_pop(c, mark);
        }
    } else if (str_eqc(type, "kubernetes.io/dockercfg")) {
        need_key(c, secret, ".dockercfg");
    } else if (str_eqc(type, "kubernetes.io/dockerconfigjson")) {
        need_key(c, secret, ".dockerconfigjson");
    } else if (str_eqc(type, "kubernetes.io/basic-auth")) {
        if (!value_getc(data, "username") && !value_getc(data, "password")) {
            need_key(c, secret, "username");
            need_key(c, secret, "password");
        }
    } else if (str_eqc(type, "kubernetes.io/ssh-auth")) {
        need_key(c, secret, "ssh-privatekey");
    } else if (str_eqc(type, "kubernetes.io/tls")) {
        need_key(c, secret, "tls.crt");
        need_key(c, secret, "tls.key");
    }
    if (old)
        check_immutable(c, secret, old, "type");
    check_frozen(c, secret, old);
}

// ---- nodes, volumes
// -------------------------------------------------------------------------------

void check_node(struct check *c, const struct value *node, const struct value *old)
{
    const struct value *taints = value_at(node, "spec.taints");
    for (size_t i = 0; i < value_len(taints); i++)
        for (size_t j = 0; j < i; j++) {
            const struct value *a = value_item(taints, i), *b = value_item(taints, j);
            if (!same(value_getc(a, "key"), value_getc(b, "key")) ||
                !same(value_getc(a, "effect"), value_getc(b, "effect")))
                continue;
            size_t mark = check_push_index(c, "spec.taints", i);
            check_duplicate(c, NULL, a);
            check_pop(c, mark);
        }
    // The address range of a node may be given once.
    if (old && value_str_at(old, "spec.podCIDR").n &&
        !same(value_at(node, "spec.podCIDR"), value_at(old, "spec.podCIDR")))
        check_forbidden(c, "spec.podCIDRs",
                        "node updates may not change podCIDR except from \"\" "
                        "to valid");
    if (old && value_str_at(old, "spec.providerID").n &&
        !same(value_at(node, "spec.providerID"), value_at(old, "spec.providerID")))
        check_forbidden(c, "spec.providerID",
                        "node updates may not change providerID except from "
                        "\"\" to valid");
}

static bool is_volume_source(struct str key)
{
    static const char *const others[] = {
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_eqc(key, others[i]))
            return false;
    return true;
}

void check_persistent_volume(struct check *c, const struct value *pv, const struct value *old)
{
    const struct value *spec = value_getc(pv, "spec"), *was = value_getc(old, "spec");
    size_t sources = 0;
    value_each_field (spec, m) {
        if (!is_volume_source(m->key))
            continue;
        sources++;
        if (sources > 1)
            check_forbidden(
                c, arena_cstr(c->arena, arena_printf(c->arena, "spec.%.*s", STR_ARG(m->key))),
                "may not specify more than 1 volume type");
        if (was && !same(m->value, value_get(was, m->key)))
            check_forbidden(c, "spec.persistentvolumesource",
                            "spec.persistentvolumesource is immutable after creation");
    }
    if (!sources)
        check_required(c, "spec", "must specify a volume type");
    if (value_len(value_getc(spec, "capacity")) && !value_at(spec, "capacity.storage"))
        check_not_supported(c, "spec.capacity", value_getc(spec, "capacity"),
                            (const struct str[]){STR("storage"), STR_NULL});
    if (was) {
        size_t mark = check_push(c, "spec");
        check_immutable(c, spec, was, "volumeMode");
        check_pop(c, mark);
    }
}

void check_claim_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    const struct value *storage = value_at(spec, "resources.requests.storage");
    struct quantity q;
    if (!storage) {
        check_required(c, "resources[storage]", NULL);
    } else if (quantity_parse(value_string(storage), &q) && q.nano <= 0) {
        check_invalid(c, "resources[storage]", storage, "must be greater than zero");
    }
    // Empty means: of no class, and so not of the default one either.
    if (value_str_at(spec, "storageClassName").n)
        check_format(c, "storageClassName", value_getc(spec, "storageClassName"),
                     FORMAT_DNS1123_SUBDOMAIN);
    size_t n = value_len(value_getc(spec, "accessModes"));
    value_each_item (value_getc(spec, "accessModes"), mode)
        if (n > 1 && str_eqc(value_string(mode), "ReadWriteOncePod"))
            check_forbidden(c, "accessModes",
                            "may not use ReadWriteOncePod with other access modes");
}

void check_claim(struct check *c, const struct value *claim, const struct value *old)
{
    const struct value *now = value_getc(claim, "spec"), *was = value_getc(old, "spec");
    if (!was)
        return;
    struct value *spec = value_clone(c->arena, now);
    bool bound = str_eqc(value_str_at(old, "status.phase"), "Bound");
    if (!value_str_at(was, "volumeName").n)
        value_delc(spec, "volumeName"); // the binder may set it once
    struct value *before = value_clone(c->arena, was);
    if (!value_str_at(was, "volumeName").n)
        value_delc(before, "volumeName");
    if (bound) {
        value_del_at(spec, "resources.requests");
        value_del_at(before, "resources.requests");
        value_delc(spec, "volumeAttributesClassName");
        value_delc(before, "volumeAttributesClassName");
        struct quantity a, b;
        if (quantity_parse(value_str_at(now, "resources.requests.storage"), &a) &&
            quantity_parse(value_str_at(was, "resources.requests.storage"), &b) &&
            quantity_cmp(&a, &b) < 0)
            check_forbidden(c, "spec.resources.requests.storage",
                            "field can not be less than previous value");
    }
    if (!value_eq(spec, before))
        check_forbidden(c, "spec",
                        "spec is immutable after creation except resources.requests and "
                        "volumeAttributesClassName for bound claims");
}

// ---- the rest
// -------------------------------------------------------------------------------------

static void check_not_above(struct check *c, const struct value *item, const char *low,
                            const char *high)
{
    value_each_field (value_getc(item, low), m) {
        struct quantity a, b;
        const struct value *limit = value_get(value_getc(item, high), m->key);
        if (!limit || !quantity_parse(value_string(m->value), &a) ||
            !quantity_parse(value_string(limit), &b) || quantity_cmp(&a, &b) <= 0)
            continue;
        size_t mark = check_push_key(c, low, m->key);
        check_invalid(c, NULL, m->value, "%s value %.*s is greater than %s value %.*s", low,
                      STR_ARG(value_string(m->value)), high, STR_ARG(value_string(limit)));
        check_pop(c, mark);
    }
}

void check_limit_range_item(struct check *c, const struct value *item, const struct value *old)
{
    (void)old;
    check_not_above(c, item, "min", "max");
    check_not_above(c, item, "min", "default");
    check_not_above(c, item, "min", "defaultRequest");
    check_not_above(c, item, "default", "max");
    check_not_above(c, item, "defaultRequest", "max");
    check_not_above(c, item, "defaultRequest", "default");
}

void check_replication_controller(struct check *c, const struct value *rc, const struct value *old)
{
    (void)old;
    const struct value *labels = value_at(rc, "spec.template.metadata.labels");
    bool matches = true;
    value_each_field (value_at(rc, "spec.selector"), m)
        matches &= same(m->value, value_get(labels, m->key));
    if (!matches)
        check_invalid(c, "spec.template.metadata.labels", labels ? labels : value_null(c->arena),
                      "`selector` does not match template `labels`");
    struct value *policy = value_at(rc, "spec.template.spec.restartPolicy");
    if (policy && !str_eqc(value_string(policy), "Always"))
        check_not_supported(c, "spec.template.spec.restartPolicy", policy,
                            (const struct str[]){STR("Always"), STR_NULL});
}

void check_event(struct check *c, const struct value *event, const struct value *old)
{
    (void)old;
    struct str ns = value_str_at(event, "metadata.namespace");
    const struct value *object = value_getc(event, "involvedObject");
    struct str of = value_str_at(object, "namespace");
    if (of.n ? !str_eq(of, ns) : !str_eqc(ns, "default") && !str_eqc(ns, "kube-system"))
        check_invalid(c, "involvedObject.namespace", value_getc(object, "namespace"),
                      "does not match event.namespace");
}
