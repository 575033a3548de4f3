// Rules of pods and pod templates that look at more than one field. What looks at one is data in
// api/core.kinds.
//
// A pod that runs may change in few ways; check_pod_update says which. It works as the originals
// do: from the new spec the allowed changes are taken back, and what then still differs was not
// allowed.
#include "object/json.h"
#include "object/quantity.h"
#include "object/selector.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_pod, check_pod_spec, check_pod_template, check_probe, check_lifecycle_handler,
    check_env_var, check_env_from, check_named, check_key_paths, check_key_paths_named,
    check_volume, check_host_path, check_toleration, check_node_selector_requirement,
    check_security_context, check_seccomp_profile, check_resource_requirements;

// How many of the named members are there.
static size_t count_of(const struct value *object, const char *const *keys, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += has(object, keys[i]);
    return found;
}
#define COUNT(a) (sizeof(a) / sizeof *(a))

void check_named(struct check *c, const struct value *object, const struct value *old)
{
    (void)old;
    if (!value_str_at(object, "name").n)
        check_required(c, "name", NULL);
}

// Paths of items must differ: two files cannot have one name.
void check_key_paths(struct check *c, const struct value *object, const struct value *old)
{
    (void)old;
    const struct value *items = value_getc(object, "items");
    for (size_t i = 0; i < value_len(items); i++)
        for (size_t j = 0; j < i && j < 64; j++)
            if (str_eq(value_str_at(value_item(items, i), "path"),
                       value_str_at(value_item(items, j), "path"))) {
                size_t mark = check_push_index(c, "items", i);
                check_duplicate(c, "path", value_getc(value_item(items, i), "path"));
                check_pop(c, mark);
                break;
            }
}

void check_key_paths_named(struct check *c, const struct value *object, const struct value *old)
{
    check_named(c, object, old);
    check_key_paths(c, object, old);
}

// ---- containers -------------------------------------------------------------------------------

static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"};

static void one_handler(struct check *c, const struct value *object)
{
    size_t n = count_of(object, handlers, COUNT(handlers));
    if (!n) {
        check_required(c, NULL, "must specify a handler type");
        return;
    }
    for (size_t i = 0, seen = 0; i < COUNT(handlers); i++)
        if (has(object, handlers[i]) && seen++)
            check_forbidden(c, handlers[i], "may not specify more than 1 handler type");
}

void check_probe(struct check *c, const struct value *probe, const struct value *old)
{
    (void)old;
    one_handler(c, probe);
}

void check_lifecycle_handler(struct check *c, const struct value *handler, const struct value *old)
{
    (void)old;
    one_handler(c, handler);
}

void check_env_var(struct check *c, const struct value *env, const struct value *old)
{
    (void)old;
    static const char *const sources[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef",
                                          "secretKeyRef", "fileKeyRef"};
    const struct value *from = value_getc(env, "valueFrom");
    if (!value_is(from, VALUE_OBJECT))
        return;
    size_t n = count_of(from, sources, COUNT(sources));
    if (!n)
        check_invalid(c, "valueFrom", NULL,
                      "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                      "`secretKeyRef`");
    else if (value_str_at(env, "value").n)
        check_invalid(c, "valueFrom", NULL, "may not be specified when `value` is not empty");
    else if (n > 1)
        check_invalid(c, "valueFrom", NULL, "may not have more than one field specified at a time");
}

void check_env_from(struct check *c, const struct value *from, const struct value *old)
{
    (void)old;
    static const char *const sources[] = {"configMapRef", "secretRef"};
    struct value *prefix = value_getc(from, "prefix");
    if (prefix && prefix->n)
        check_format(c, "prefix", prefix, FORMAT_ENV_NAME);
    size_t n = count_of(from, sources, COUNT(sources));
    if (!n)
        check_invalid(c, NULL, NULL, "must specify one of: `configMapRef` or `secretRef`");
    else if (n > 1)
        check_invalid(c, NULL, NULL, "may not have more than one field specified at a time");
}

void check_security_context(struct check *c, const struct value *sc, const struct value *old)
{
    (void)old;
    if (!value_is(value_getc(sc, "allowPrivilegeEscalation"), VALUE_BOOL) ||
        value_bool_at(sc, "allowPrivilegeEscalation", true))
        return;
    if (value_bool_at(sc, "privileged", false))
        check_invalid(c, NULL, sc,
                      "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    value_each_item (value_at(sc, "capabilities.add"), capability)
        if (str_eqc(value_string(capability), "CAP_SYS_ADMIN"))
            check_invalid(c, NULL, sc,
                          "cannot set `allowPrivilegeEscalation` to false and "
                          "`capabilities.Add` CAP_SYS_ADMIN");
}

void check_seccomp_profile(struct check *c, const struct value *profile, const struct value *old)
{
    (void)old;
    bool local = str_eqc(value_str_at(profile, "type"), "Localhost");
    bool named = has(profile, "localhostProfile");
    if (local && !named)
        check_required(c, "localhostProfile", "must be set when seccomp type is Localhost");
    else if (!local && named)
        check_invalid(c, "localhostProfile", value_getc(profile, "localhostProfile"),
                      "can only be set when seccomp type is Localhost");
}

// cpu, memory, ephemeral-storage, hugepages-…, or a name with a domain (a device).
static void check_resource_names(struct check *c, const struct value *map, const char *field)
{
    value_each_field (map, m) {
        if (str_chr(m->key, '/') >= 0 || str_eqc(m->key, "cpu") || str_eqc(m->key, "memory") ||
            str_eqc(m->key, "ephemeral-storage") || str_starts(m->key, STR("hugepages-")))
            continue;
        size_t mark = check_push_key(c, field, m->key);
        struct value *name = value_str(c->arena, m->key);
        check_invalid(c, NULL, name, "must be a standard resource type or fully qualified");
        check_invalid(c, NULL, name, "must be a standard resource for containers");
        check_pop(c, mark);
    }
}

void check_resource_requirements(struct check *c, const struct value *r, const struct value *old)
{
    (void)old;
    const struct value *limits = value_getc(r, "limits");
    check_resource_names(c, limits, "limits");
    check_resource_names(c, value_getc(r, "requests"), "requests");
    value_each_field (value_getc(r, "requests"), m) {
        struct quantity request, limit;
        const struct value *l = value_get(limits, m->key);
        // extended resources (with a domain) cannot be overcommitted
        bool extended = str_chr(m->key, '/') >= 0 && !str_starts(m->key, STR("kubernetes.io/"));
        size_t mark = check_push(c, "requests");
        if (!l && extended)
            check_required(c, NULL, "Limit must be set for non overcommitable resources");
        if (l && quantity_parse(value_string(m->value), &request) &&
            quantity_parse(value_string(l), &limit) &&
            (quantity_cmp(&request, &limit) > 0 ||
             (extended && quantity_cmp(&request, &limit) != 0)))
            check_invalid(c, NULL, m->value, "must be %s %.*s limit of %.*s",
                          extended ? "equal to" : "less than or equal to", STR_ARG(m->key),
                          STR_ARG(value_string(l)));
        check_pop(c, mark);
    }
}

static bool has_named(const struct value *list, struct str name)
{
    value_each_item (list, item)
        if (str_eq(value_str_at(item, "name"), name))
            return true;
    return false;
}

static void check_mounts(struct check *c, const struct value *container,
                         const struct value *volumes)
{
    const struct value *mounts = value_getc(container, "volumeMounts");
    for (size_t i = 0; i < value_len(mounts); i++) {
        const struct value *m = value_item(mounts, i);
        struct value *name = value_getc(m, "name"), *path = value_getc(m, "mountPath");
        size_t mark = check_push_index(c, "volumeMounts", i);
        if (name && name->n && !has_named(volumes, value_string(name)))
            check_not_found(c, "name", name);
        for (size_t j = 0; j < i && path; j++)
            if (value_eq(value_getc(value_item(mounts, j), "mountPath"), path)) {
                check_invalid(c, "mountPath", path, "must be unique");
                break;
            }
        if (value_str_at(m, "subPath").n && value_str_at(m, "subPathExpr").n)
            check_invalid(c, "subPathExpr", value_getc(m, "subPathExpr"),
                          "subPathExpr and subPath are mutually exclusive");
        check_pop(c, mark);
    }
    const struct value *devices = value_getc(container, "volumeDevices");
    for (size_t i = 0; i < value_len(devices); i++) {
        struct value *name = value_getc(value_item(devices, i), "name");
        size_t mark = check_push_index(c, "volumeDevices", i);
        if (name && name->n && !has_named(volumes, value_string(name)))
            check_not_found(c, "name", name);
        check_pop(c, mark);
    }
}

static void check_port_names(struct check *c, const struct value *container)
{
    const struct value *ports = value_getc(container, "ports");
    for (size_t i = 0; i < value_len(ports); i++) {
        struct value *name = value_getc(value_item(ports, i), "name");
        for (size_t j = 0; j < i && name && name->n; j++)
            if (value_eq(value_getc(value_item(ports, j), "name"), name)) {
                size_t mark = check_push_index(c, "ports", i);
                check_duplicate(c, "name", name);
                check_pop(c, mark);
                break;
            }
    }
}

// One host port of one address and protocol can be had once.
static void check_host_ports(struct check *c, const struct value *containers)
{
    struct value *seen = value_object(c->arena);
    for (size_t i = 0; i < value_len(containers); i++) {
        const struct value *ports = value_getc(value_item(containers, i), "ports");
        for (size_t j = 0; j < value_len(ports); j++) {
            const struct value *p = value_item(ports, j);
            int64_t port = value_int_at(p, "hostPort", 0);
            if (!port)
                continue;
            struct str key =
                arena_printf(c->arena, "%.*s/%.*s/%lld", STR_ARG(value_str_at(p, "protocol")),
                             STR_ARG(value_str_at(p, "hostIP")), (long long)port);
            if (value_get(seen, key)) {
                size_t mark = check_push_index(c, "containers", i);
                size_t inner = check_push_index(c, "ports", j);
                check_duplicate(c, "hostPort", value_str(c->arena, key));
                check_pop(c, inner);
                check_pop(c, mark);
            }
            value_set(c->arena, seen, key, value_bool(c->arena, true));
        }
    }
}

enum { REGULAR, INIT, EPHEMERAL };

static void check_container(struct check *c, const struct value *container, int which,
                            const struct value *volumes)
{
    static const char *const for_sidecars[] = {"lifecycle", "livenessProbe", "readinessProbe",
                                               "startupProbe"};
    if (!value_str_at(container, "image").n)
        check_required(c, "image", NULL);
    check_mounts(c, container, volumes);
    check_port_names(c, container);
    bool sidecar = str_eqc(value_str_at(container, "restartPolicy"), "Always");
    if (which == REGULAR && has(container, "restartPolicy"))
        check_forbidden(c, "restartPolicy", "may not be set for non-init containers");
    for (size_t i = 0; which == INIT && !sidecar && i < COUNT(for_sidecars); i++)
        if (has(container, for_sidecars[i]))
            check_forbidden(c, for_sidecars[i],
                            "may not be set for init containers without restartPolicy=Always");
    if (which != REGULAR && !(which == INIT && sidecar))
        return;
    static const char *const once[] = {"livenessProbe", "startupProbe"};
    for (size_t i = 0; i < COUNT(once); i++) {
        const struct value *probe = value_getc(container, once[i]);
        if (probe && value_int_at(probe, "successThreshold", 1) != 1) {
            size_t mark = check_push(c, once[i]);
            check_invalid(c, "successThreshold", value_getc(probe, "successThreshold"),
                          "must be 1");
            check_pop(c, mark);
        }
    }
    if (has(value_getc(container, "readinessProbe"), "terminationGracePeriodSeconds"))
        check_invalid(c, "readinessProbe.terminationGracePeriodSeconds",
                      value_at(container, "readinessProbe.terminationGracePeriodSeconds"),
                      "must not be set for readinessProbes");
}

static void check_containers(struct check *c, const struct value *spec)
{
    static const char *const lists[] = {
        [REGULAR] = "containers", [INIT] = "initContainers", [EPHEMERAL] = "ephemeralContainers"};
    const struct value *volumes = value_getc(spec, "volumes");
    for (int which = REGULAR; which <= EPHEMERAL; which++) {
        const struct value *list = value_getc(spec, lists[which]);
        for (size_t i = 0; i < value_len(list); i++) {
            const struct value *container = value_item(list, i);
            struct value *name = value_getc(container, "name");
            size_t mark = check_push_index(c, lists[which], i);
            check_container(c, container, which, volumes);
            bool again = false; // names are unique among all containers of the pod
            for (int w = REGULAR; w <= which && name && name->n; w++) {
                const struct value *others = value_getc(spec, lists[w]);
                for (size_t j = 0; j < (w == which ? i : value_len(others)); j++)
                    again |= value_eq(value_getc(value_item(others, j), "name"), name);
            }
            if (again)
                check_duplicate(c, "name", name);
            struct value *target = value_getc(container, "targetContainerName");
            if (which == EPHEMERAL && target && target->n &&
                !has_named(value_getc(spec, "containers"), value_string(target)) &&
                !has_named(value_getc(spec, "initContainers"), value_string(target)))
                check_not_found(c, "targetContainerName", target);
            check_pop(c, mark);
        }
    }
    check_host_ports(c, value_getc(spec, "containers"));
}

// ---- volumes, scheduling ----------------------------------------------------------------------

void check_volume(struct check *c, const struct value *volume, const struct value *old)
{
    (void)old;
    size_t sources = 0;
    const char *second = NULL;
    value_each_field (volume, m) {
        if (str_eqc(m->key, "name") || m->value->kind == VALUE_NULL)
            continue;
        if (sources++)
            second = arena_cstr(c->arena, m->key);
    }
    if (!sources)
        check_required(c, NULL, "must specify a volume type");
    else if (second)
        check_forbidden(c, second, "may not specify more than 1 volume type");
}

void check_host_path(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    struct str path = value_str_at(source, "path");
    for (struct str rest = path; rest.p && rest.n;)
        if (str_eqc(str_cut(&rest, '/'), "..")) {
            check_invalid(c, "path", value_getc(source, "path"), "must not contain '..'");
            break;
        }
}

static void check_volumes(struct check *c, const struct value *spec)
{
    const struct value *volumes = value_getc(spec, "volumes");
    for (size_t i = 0; i < value_len(volumes); i++) {
        struct value *name = value_getc(value_item(volumes, i), "name");
        for (size_t j = 0; j < i && name && name->n; j++)
            if (value_eq(value_getc(value_item(volumes, j), "name"), name)) {
                size_t mark = check_push_index(c, "volumes", i);
                check_duplicate(c, "name", name);
                check_pop(c, mark);
                break;
            }
    }
}

void check_toleration(struct check *c, const struct value *t, const struct value *old)
{
    (void)old;
    struct str key = value_str_at(t, "key"), op = value_str_at(t, "operator");
    bool exists = str_eqc(op, "Exists");
    struct value *effect = value_getc(t, "effect"), *v = value_getc(t, "value");
    if (key.n)
        check_format(c, "key", value_getc(t, "key"), FORMAT_QUALIFIED_NAME);
    else if (!exists)
        check_invalid(c, "operator", value_getc(t, "operator"),
                      "operator must be Exists when `key` is empty, which means \"match all values "
                      "and all keys\"");
    if (has(t, "tolerationSeconds") && !str_eqc(value_string(effect), "NoExecute"))
        check_invalid(c, "effect", effect,
                      "effect must be 'NoExecute' when `tolerationSeconds` is set");
    if (exists && v && v->n)
        check_invalid(c, "operator", v, "value must be empty when `operator` is 'Exists'");
    else if (!exists && v && v->n)
        check_format(c, "operator", v, FORMAT_LABEL_VALUE);
}

void check_node_selector_requirement(struct check *c, const struct value *r,
                                     const struct value *old)
{
    (void)old;
    struct str op = value_str_at(r, "operator");
    size_t n = value_len(value_getc(r, "values"));
    if (str_eqc(op, "In") || str_eqc(op, "NotIn")) {
        if (!n)
            check_required(c, "values", "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (str_eqc(op, "Exists") || str_eqc(op, "DoesNotExist")) {
        if (n)
            check_forbidden(c, "values",
                            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    } else if (str_eqc(op, "Gt") || str_eqc(op, "Lt")) {
        if (n != 1)
            check_required(c, "values",
                           "must be specified single value when `operator` is 'Lt' or 'Gt'");
    } else {
        check_invalid(c, "operator", value_getc(r, "operator"), "not a valid selector operator");
    }
}

void check_pod_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    check_volumes(c, spec);
    check_containers(c, spec);
    const struct value *dns = value_getc(spec, "dnsConfig");
    if (str_eqc(value_str_at(spec, "dnsPolicy"), "None")) {
        if (!value_len(value_getc(dns, "nameservers")))
            check_required(c, dns ? "dnsConfig.nameservers" : "dnsConfig",
                           dns ? "must provide at least one DNS nameserver when `dnsPolicy` is None"
                               : "must provide `dnsConfig` when `dnsPolicy` is None");
    }
    if (value_bool_at(spec, "shareProcessNamespace", false) &&
        value_bool_at(spec, "hostPID", false))
        check_invalid(c, "shareProcessNamespace", value_getc(spec, "shareProcessNamespace"),
                      "ShareProcessNamespace and HostPID cannot both be enabled");
    if (!value_bool_at(spec, "hostNetwork", false))
        return;
    static const char *const lists[] = {"containers", "initContainers"};
    for (size_t l = 0; l < COUNT(lists); l++) {
        const struct value *list = value_getc(spec, lists[l]);
        for (size_t i = 0; i < value_len(list); i++) {
            const struct value *ports = value_getc(value_item(list, i), "ports");
            for (size_t j = 0; j < value_len(ports); j++) {
                const struct value *p = value_item(ports, j);
                if (value_int_at(p, "hostPort", 0) == value_int_at(p, "containerPort", 0))
                    continue;
                size_t mark = check_push_index(c, lists[l], i);
                size_t inner = check_push_index(c, "ports", j);
                check_invalid(c, "hostPort", value_getc(p, "hostPort"),
                              "must match `containerPort` when `hostNetwork` is true");
                check_pop(c, inner);
                check_pop(c, mark);
            }
        }
    }
}

void check_pod_template(struct check *c, const struct value *template, const struct value *old)
{
    (void)old;
    if (value_len(value_at(template, "spec.ephemeralContainers")))
        check_forbidden(c, "spec.ephemeralContainers",
                        "ephemeral containers not allowed in pod template");
}

// ---- pods ---------------------------------------------------------------------------------------

// Makes to[key] what from[key] is.
static void restore(struct arena *a, struct value *to, const struct value *from, const char *key)
{
    struct value *v = value_getc(from, key);
    if (v)
        value_setc(a, to, key, v);
    else
        value_delc(to, key);
}

static bool restore_containers(struct check *c, struct value *spec, const struct value *old,
                               const char *list, const char *key)
{
    struct value *now = value_getc(spec, list), *then = value_getc(old, list);
    if (value_len(now) != value_len(then)) {
        size_t mark = check_push(c, "spec");
        check_forbidden(c, list, "pod updates may not add or remove containers");
        check_pop(c, mark);
        return false;
    }
    for (size_t i = 0; i < value_len(now); i++) {
        const struct value *container = value_item(now, i);
        if (!strcmp(key, "image") && !value_str_at(container, "image").n)
            return true; // reported as required
        restore(c->arena, (struct value *)container, value_item(then, i), key);
    }
    return true;
}

// Tolerations may be added, and their tolerationSeconds be changed.
static void check_tolerations_kept(struct check *c, const struct value *spec,
                                   const struct value *old)
{
    const struct value *now = value_getc(spec, "tolerations");
    value_each_item (value_getc(old, "tolerations"), was) {
        bool found = false;
        value_each_item (now, is) {
            struct value *a = value_clone(c->arena, was), *b = value_clone(c->arena, is);
            value_delc(a, "tolerationSeconds");
            value_delc(b, "tolerationSeconds");
            found |= value_eq(a, b);
        }
        if (!found) {
            check_forbidden(c, "spec.tolerations",
                            "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
}

static void check_pod_update(struct check *c, const struct value *pod, const struct value *old)
{
    static const char allowed[] =
        "pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
        "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
        "set to 1 if it was previously negative)";
    const struct value *was = value_getc(old, "spec"), *is = value_getc(pod, "spec");
    if (same(is, was))
        return;
    struct value *spec = value_clone(c->arena, is);
    if (!restore_containers(c, spec, was, "containers", "image") ||
        !restore_containers(c, spec, was, "initContainers", "image"))
        return;
    struct value *now = value_getc(is, "activeDeadlineSeconds");
    struct value *then = value_getc(was, "activeDeadlineSeconds");
    if (then && !now)
        check_invalid(c, "spec.activeDeadlineSeconds", value_null(c->arena),
                      "must not update from a positive integer to nil value");
    else if (then && value_int_or(now, 0) > value_int_or(then, 0))
        check_invalid(c, "spec.activeDeadlineSeconds", now,
                      "must be less than or equal to previous value");
    check_tolerations_kept(c, is, was);
    value_each_item (value_getc(is, "schedulingGates"), gate)
        if (!has_named(value_getc(was, "schedulingGates"), value_str_at(gate, "name")))
            check_forbidden(c, "spec.schedulingGates",
                            "only deletion is allowed, but found new "
                            "scheduling gate '%.*s'",
                            STR_ARG(value_str_at(gate, "name")));
    restore(c->arena, spec, was, "activeDeadlineSeconds");
    restore(c->arena, spec, was, "tolerations");
    restore(c->arena, spec, was, "schedulingGates");
    if (value_len(value_getc(was, "schedulingGates"))) {
        // a gated pod has not been looked at by the scheduler: where it may go can be narrowed
        restore(c->arena, spec, was, "nodeSelector");
        restore(c->arena, spec, was, "affinity");
    }
    if (value_int_at(was, "terminationGracePeriodSeconds", 0) < 0 &&
        value_int_at(is, "terminationGracePeriodSeconds", 0) == 1)
        restore(c->arena, spec, was, "terminationGracePeriodSeconds");
    if (str_eqc(c->subresource, "resize")) {
        restore_containers(c, spec, was, "containers", "resources");
        restore_containers(c, spec, was, "initContainers", "resources");
    }
    if (str_eqc(c->subresource, "ephemeralcontainers"))
        restore(c->arena, spec, was, "ephemeralContainers");
    if (same(spec, was))
        return;
    // say which fields: the originals print a diff here
    _cleanup_buf_ struct buf fields = BUF_INIT;
    value_each_field (spec, m)
        if (!same(m->value, value_get(was, m->key)))
            buf_printf(&fields, "%sspec.%.*s", fields.n ? ", " : "", STR_ARG(m->key));
    value_each_field (was, m)
        if (!value_get(spec, m->key))
            buf_printf(&fields, "%sspec.%.*s", fields.n ? ", " : "", STR_ARG(m->key));
    check_forbidden(c, "spec", "%s\nchanged: %s", allowed, buf_cstr(&fields));
}

void check_pod(struct check *c, const struct value *pod, const struct value *old)
{
    const struct value *spec = value_getc(pod, "spec");
    if (old && !str_eqc(c->subresource, "binding")) {
        check_pod_update(c, pod, old);
    } else if (!old && value_len(value_getc(spec, "ephemeralContainers"))) {
        check_forbidden(c, "spec.ephemeralContainers", "cannot be set on create");
    }
    if (!old && value_len(value_getc(spec, "schedulingGates")) && value_str_at(spec, "nodeName").n)
        check_forbidden(c, "spec.nodeName",
                        "cannot be set until all schedulingGates have been cleared");
}
