// Rules of the containers of a pod that look at more than one field. What looks at one is data in
// api/core.kinds.
//
// check_containers is called by check_pod_spec (check_pod.c) with what a container may refer to:
// the volumes and the resource claims of its pod, by name, so that the cost is linear in the pod
// however its lists are mixed.
#include "object/quantity.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_http_get, check_container_port, check_key_selector, check_probe, check_env_var,
    check_env_from, check_named, check_field_ref, check_resource_field_ref, check_security_context,
    check_seccomp_profile, check_apparmor_profile, check_resource_requirements,
    check_windows_options;

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
    else
        check_format(c, "name", value_getc(object, "name"), FORMAT_DNS1123_SUBDOMAIN);
}

// A key of a map or a secret: an empty name is no name.
void check_key_selector(struct check *c, const struct value *object, const struct value *old)
{
    (void)old;
    check_format(c, "name", value_getc(object, "name"), FORMAT_DNS1123_SUBDOMAIN);
}

void check_http_get(struct check *c, const struct value *get, const struct value *old)
{
    (void)old;
    value_each_item (value_getc(get, "httpHeaders"), header)
        check_format(c, "httpHeaders", value_getc(header, "name"), FORMAT_HTTP_HEADER);
}

void check_container_port(struct check *c, const struct value *port, const struct value *old)
{
    (void)old;
    int64_t number = value_int_at(port, "containerPort", 0);
    if (!number)
        check_required(c, "containerPort", NULL);
    else if (number < 1 || number > 65535)
        check_invalid(c, "containerPort", value_getc(port, "containerPort"),
                      "must be between 1 and 65535, inclusive");
}

// ---- environment ------------------------------------------------------------------------------

void check_env_var(struct check *c, const struct value *env, const struct value *old)
{
    (void)old;
    static const char *const sources[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef",
                                          "secretKeyRef"};
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
    struct value *prefix = value_getc(from, "prefix");
    if (prefix && prefix->n)
        check_format(c, "prefix", prefix, FORMAT_ENV_NAME);
}

// The path of these faults is the list's, as in the originals.
static void check_env_from_sources(struct check *c, const struct value *container)
{
    static const char *const sources[] = {"configMapRef", "secretRef"};
    value_each_item (value_getc(container, "envFrom"), from) {
        size_t n = count_of(from, sources, COUNT(sources));
        if (!n)
            check_invalid(c, "envFrom", NULL, "must specify one of: `configMapRef` or `secretRef`");
        else if (n > 1)
            check_invalid(c, "envFrom", NULL,
                          "may not have more than one field specified at a time");
    }
}

// Fields of a pod that its environment and its volumes can show (sorted: they are listed so).
static const struct str env_fields[] = {
    STR("metadata.name"),
    STR("metadata.namespace"),
    STR("metadata.uid"),
    STR("spec.nodeName"),
    STR("spec.serviceAccountName"),
    STR("status.hostIP"),
    STR("status.hostIPs"),
    STR("status.podIP"),
    STR("status.podIPs"),
    STR_NULL,
};
static const struct str volume_fields[] = {
    STR("metadata.annotations"), STR("metadata.labels"), STR("metadata.name"),
    STR("metadata.namespace"),   STR("metadata.uid"),    STR_NULL,
};
static const struct str env_resources[] = {
    STR("limits.cpu"),
    STR("limits.ephemeral-storage"),
    STR("limits.memory"),
    STR("requests.cpu"),
    STR("requests.ephemeral-storage"),
    STR("requests.memory"),
    STR_NULL,
};

static bool is_listed(const struct str *list, struct str s)
{
    for (; list->p; list++)
        if (str_eq(*list, s))
            return true;
    return false;
}

// What can be converted from one version of the API to another: all that there is.
static bool is_known_field(struct str path)
{
    static const struct str more[] = {
        STR("spec.restartPolicy"),
        STR("spec.schedulerName"),
        STR("status.phase"),
        STR("spec.hostNetwork"),
        STR("spec.host"),
        STR("status.nominatedNodeName"),
        STR_NULL,
    };
    return is_listed(env_fields, path) || is_listed(volume_fields, path) || is_listed(more, path);
}

void check_field_ref_of(struct check *c, const struct value *ref, bool volume)
{
    struct value *field = value_getc(ref, "fieldPath");
    struct str path = value_string(field);
    if (!path.n)
        return; // reported as required
    // metadata.labels['tier']
    ptrdiff_t open = str_find(path, STR("['"));
    if (open >= 0 && str_ends(path, STR("']")) && (size_t)open + 4 <= path.n) {
        struct str key = str_sub(path, (size_t)open + 2, path.n - (size_t)open - 4);
        struct str base = str_sub(path, 0, (size_t)open);
        struct value *key_value = value_str(c->arena, key);
        if (str_eqc(base, "metadata.annotations")) {
            char *lower = arena_cstr(c->arena, key);
            for (char *p = lower; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                    *p += 'a' - 'A';
            check_format(c, NULL, value_strc(c->arena, lower), FORMAT_QUALIFIED_NAME);
            return;
        }
        if (str_eqc(base, "metadata.labels")) {
            check_format(c, NULL, key_value, FORMAT_QUALIFIED_NAME);
            return;
        }
        check_invalid(c, "fieldPath", field,
                      "error converting fieldPath: field label does not support subscript: %.*s",
                      STR_ARG(path));
        return;
    }
    const struct str *list = volume ? volume_fields : env_fields;
    if (!is_known_field(path))
        check_invalid(c, "fieldPath", field,
                      "error converting fieldPath: field label not supported: %.*s", STR_ARG(path));
    else if (!is_listed(list, path))
        check_not_supported(c, "fieldPath", field, list);
}

// An environment variable's; the items of volumes are check_volume.c's.
void check_field_ref(struct check *c, const struct value *ref, const struct value *old)
{
    (void)old;
    if (!value_str_at(ref, "apiVersion").n)
        check_required(c, "apiVersion", NULL);
}

static bool divides(struct str divisor, struct str resource)
{
    static const struct str cpu[] = {STR("1m"), STR("1"), STR_NULL};
    static const struct str others[] = {STR("1"),   STR("1k"),  STR("1M"),  STR("1G"),  STR("1T"),
                                        STR("1P"),  STR("1E"),  STR("1Ki"), STR("1Mi"), STR("1Gi"),
                                        STR("1Ti"), STR("1Pi"), STR("1Ei"), STR_NULL};
    return !divisor.n || str_eqc(divisor, "0") ||
           is_listed(str_ends(resource, STR(".cpu")) ? cpu : others, divisor);
}

void check_resource_ref_of(struct check *c, const struct value *ref, bool volume)
{
    struct value *resource = value_getc(ref, "resource");
    struct str name = value_string(resource), divisor = value_str_at(ref, "divisor");
    if (volume && !value_str_at(ref, "containerName").n) {
        check_required(c, "containerName", NULL);
        return;
    }
    if (!name.n)
        return; // reported as required
    bool huge =
        str_starts(name, STR("limits.hugepages-")) || str_starts(name, STR("requests.hugepages-"));
    if (!huge && !is_listed(env_resources, name))
        check_not_supported(c, "resource", resource, env_resources);
    if (divides(divisor, name))
        return;
    if (str_ends(name, STR(".cpu")))
        check_invalid(c, "divisor", resource,
                      "only divisor's values 1m and 1 are supported with the cpu resource");
    else if (huge || is_listed(env_resources, name))
        check_invalid(c, "divisor", resource,
                      "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, "
                      "1Ei are supported with the %s resource",
                      huge                             ? "hugepages"
                      : str_ends(name, STR(".memory")) ? "memory"
                                                       : "local ephemeral storage");
}

static void check_env(struct check *c, const struct value *container)
{
    value_each_item (value_getc(container, "env"), env) {
        const struct value *from = value_getc(env, "valueFrom");
        size_t mark = check_push_index(c, "env", env_i), inner;
        if (has(from, "fieldRef")) {
            inner = check_push(c, "valueFrom.fieldRef");
            check_field_ref_of(c, value_getc(from, "fieldRef"), false);
            check_pop(c, inner);
        }
        if (has(from, "resourceFieldRef")) {
            inner = check_push(c, "valueFrom.resourceFieldRef");
            check_resource_ref_of(c, value_getc(from, "resourceFieldRef"), false);
            check_pop(c, inner);
        }
        check_pop(c, mark);
    }
}

// ---- security ---------------------------------------------------------------------------------

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
    struct value *file = value_getc(profile, "localhostProfile");
    if (!value_str_at(profile, "type").n)
        check_required(c, "type", "type is required when seccompProfile is set");
    if (local && !has(profile, "localhostProfile"))
        check_required(c, "localhostProfile", "must be set when seccomp type is Localhost");
    else if (local)
        check_format(c, "localhostProfile", file, FORMAT_RELATIVE_PATH);
    else if (has(profile, "localhostProfile"))
        check_invalid(c, "localhostProfile", profile,
                      "can only be set when seccomp type is Localhost");
}

void check_apparmor_profile(struct check *c, const struct value *profile, const struct value *old)
{
    (void)old;
    struct value *file = value_getc(profile, "localhostProfile");
    struct str name = value_string(file);
    if (!value_str_at(profile, "type").n) {
        check_required(c, "type", "type is required when appArmorProfile is set");
    } else if (!str_eqc(value_str_at(profile, "type"), "Localhost")) {
        if (has(profile, "localhostProfile"))
            check_invalid(c, "localhostProfile", file,
                          "can only be set when AppArmor type is Localhost");
    } else if (!has(profile, "localhostProfile")) {
        check_required(c, "localhostProfile", "must be set when AppArmor type is Localhost");
    } else {
        if (str_trim(name).n != name.n)
            check_invalid(c, "localhostProfile", file, "must not be padded with whitespace");
        else if (!name.n)
            check_required(c, "localhostProfile", "must be set when AppArmor type is Localhost");
        if (name.n > 4095)
            check_too_long(c, "localhostProfile", 4095);
    }
}

// user, or domain\user
static void check_user_name(struct check *c, const struct value *v)
{
    static const char field[] = "runAsUserName";
    struct str name = value_string(v);
    if (!name.n) {
        check_invalid(c, field, v, "runAsUserName cannot be an empty string");
        return;
    }
    size_t dots = 0, slashes = 0;
    for (size_t i = 0; i < name.n; i++) {
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == 0x7f) {
            check_invalid(c, field, v, "runAsUserName cannot contain control characters");
            return;
        }
        slashes += name.p[i] == '\\';
    }
    if (slashes > 1) {
        check_invalid(c, field, v, "runAsUserName cannot contain more than one backslash");
        return;
    }
    struct str user = name;
    if (slashes) {
        struct str domain = str_cut(&user, '\\');
        if (domain.n >= 256)
            check_invalid(c, field, v,
                          "runAsUserName's Domain length must be under 256 characters");
        user = user.p ? user : STR("");
    }
    if (!user.n)
        check_invalid(c, field, v, "runAsUserName's User cannot be empty");
    else if (user.n > 104)
        check_invalid(c, field, v,
                      "runAsUserName's User length must not be longer than 104 characters");
    bool bad = false;
    for (size_t i = 0; i < user.n; i++) {
        dots += user.p[i] == '.' || user.p[i] == ' ';
        bad |= strchr("\"/\\:;|=,+*?<>@[]", user.p[i]) != NULL;
    }
    if (dots == user.n)
        check_invalid(c, field, v, "runAsUserName's User cannot contain only periods or spaces");
    if (bad)
        check_invalid(c, field, v,
                      "runAsUserName's User cannot contain the following characters: "
                      "\"/\\:;|=,+*?<>@[]");
}

void check_windows_options(struct check *c, const struct value *options, const struct value *old)
{
    (void)old;
    struct value *spec = value_getc(options, "gmsaCredentialSpec");
    if (has(options, "gmsaCredentialSpecName"))
        check_format(c, "gmsaCredentialSpecName", value_getc(options, "gmsaCredentialSpecName"),
                     FORMAT_DNS1123_SUBDOMAIN);
    if (has(options, "gmsaCredentialSpec")) {
        if (!value_string(spec).n)
            check_invalid(c, "gmsaCredentialSpec", spec,
                          "gmsaCredentialSpec cannot be an empty string");
        else if (value_string(spec).n > 64 * 1024)
            check_invalid(c, "gmsaCredentialSpec", spec,
                          "gmsaCredentialSpec size must be under 64 KiB");
    }
    if (has(options, "runAsUserName"))
        check_user_name(c, value_getc(options, "runAsUserName"));
}

// ---- resources --------------------------------------------------------------------------------

// A name with a domain, as devices have; not "requests.…", which quotas call their own.
static bool is_extended(struct str name)
{
    ptrdiff_t slash = str_chr(name, '/');
    struct str domain = str_sub(name, 0, slash < 0 ? 0 : (size_t)slash);
    return slash >= 0 && !str_eqc(domain, "kubernetes.io") &&
           !str_ends(domain, STR(".kubernetes.io")) && !str_starts(name, STR("requests."));
}

static bool is_huge(struct str name)
{
    return str_starts(name, STR("hugepages-"));
}

bool check_exact_resource(struct str name)
{
    return is_extended(name) || is_huge(name);
}

// cpu, memory, ephemeral-storage, hugepages-…, or a name with a domain (a device).
void check_resource_name(struct check *c, struct str name)
{
    struct value *v = value_str(c->arena, name);
    bool standard = str_eqc(name, "cpu") || str_eqc(name, "memory") ||
                    str_eqc(name, "ephemeral-storage") || is_huge(name);
    if (standard || str_chr(name, '/') >= 0) {
        if (!standard && !is_extended(name) && !str_starts(name, STR("requests.")))
            return;
        if (!standard && !is_extended(name))
            check_invalid(c, NULL, v, "doesn't follow extended resource name standard");
        return;
    }
    if (!str_eqc(name, "storage") && schema_format_ok(c->arena, FORMAT_QUALIFIED_NAME, name, NULL))
        check_invalid(c, NULL, v, "must be a standard resource type or fully qualified");
    check_invalid(c, NULL, v, "must be a standard resource for containers");
}

// Devices and pages cannot be halved.
static void check_whole(struct check *c, struct str name, const struct value *v)
{
    struct quantity q;
    if (!is_extended(name) || !quantity_parse(value_string(v), &q) || q.nano % 1000000000 == 0)
        return;
    check_invalid(c, NULL, v, "must be an integer");
}

static void check_huge(struct check *c, struct str name, const struct value *v)
{
    struct quantity q, page;
    if (!is_huge(name) || !quantity_parse(value_string(v), &q))
        return;
    if (!quantity_parse(str_from(name, 10), &page) || page.nano <= 0 || q.nano % page.nano)
        check_invalid(c, NULL, v, "%.*s is not positive integer multiple of %.*s",
                      STR_ARG(value_string(v)), STR_ARG(name));
}

static void check_amounts(struct check *c, const struct value *map, const char *field)
{
    value_each_field (map, m) {
        size_t mark = check_push_key(c, field, m->key);
        check_resource_name(c, m->key);
        check_whole(c, m->key, m->value);
        check_huge(c, m->key, m->value);
        check_pop(c, mark);
    }
}

static bool has_any_huge(const struct value *map)
{
    value_each_field (map, m)
        if (is_huge(m->key))
            return true;
    return false;
}

static bool has_cpu_or_memory(const struct value *map)
{
    return value_getc(map, "cpu") || value_getc(map, "memory");
}

// What a runtime class adds: its faults have the path of limits.
void check_overhead(struct check *c, const struct value *overhead)
{
    size_t mark = check_push(c, "overhead");
    value_each_field (overhead, m) {
        struct quantity q;
        size_t inner = check_push_key(c, "limits", m->key);
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_QUALIFIED_NAME);
        check_resource_name(c, m->key);
        if (quantity_parse(value_string(m->value), &q) && q.nano < 0)
            check_invalid(c, NULL, m->value, MUST_NOT_BE_NEGATIVE);
        check_whole(c, m->key, m->value);
        check_pop(c, inner);
    }
    check_pop(c, mark);
}

void check_resource_requirements(struct check *c, const struct value *r, const struct value *old)
{
    (void)old;
    const struct value *limits = value_getc(r, "limits"), *requests = value_getc(r, "requests");
    check_amounts(c, limits, "limits");
    _cleanup_key_index_ struct key_index index = KEY_INDEX_INIT;
    key_index_object(&index, limits);
    value_each_field (requests, m) {
        struct quantity request, limit;
        ptrdiff_t at = key_index_find(&index, m->key);
        const struct value *l = at < 0 ? NULL : limits->members[at].value;
        // what has a domain, and pages, cannot be overcommitted
        bool exact = check_exact_resource(m->key);
        size_t mark = check_push_key(c, "requests", m->key);
        check_resource_name(c, m->key);
        check_whole(c, m->key, m->value);
        check_huge(c, m->key, m->value);
        check_pop(c, mark);
        if (!l && exact)
            check_required(c, "limits", "Limit must be set for non overcommitable resources");
        if (!l || !quantity_parse(value_string(m->value), &request) ||
            !quantity_parse(value_string(l), &limit))
            continue;
        if (exact && quantity_cmp(&request, &limit) != 0)
            check_invalid(c, "requests", m->value, "must be equal to %.*s limit of %.*s",
                          STR_ARG(m->key), STR_ARG(value_string(l)));
        else if (!exact && quantity_cmp(&request, &limit) > 0)
            check_invalid(c, "requests", m->value,
                          "must be less than or equal to %.*s limit of %.*s", STR_ARG(m->key),
                          STR_ARG(value_string(l)));
    }
    if ((has_any_huge(limits) || has_any_huge(requests)) && !has_cpu_or_memory(limits) &&
        !has_cpu_or_memory(requests))
        check_forbidden(c, NULL, "HugePages require cpu or memory");
}

// ---- mounts -----------------------------------------------------------------------------------

static const struct value *volume_named(const struct pod_check *p, struct str name)
{
    ptrdiff_t at = key_index_find(&p->volume_names, name);
    return at < 0 ? NULL : p->volumes[at];
}

// What mounts have in common whose faults have the path of the list.
static void check_mount_options(struct check *c, const struct value *m, bool privileged)
{
    static const struct str modes[] = {STR("Bidirectional"), STR("HostToContainer"), STR("None"),
                                       STR_NULL};
    static const char *const paths[] = {"subPath", "subPathExpr"};
    struct value *mode = value_getc(m, "mountPropagation");
    struct str propagation = value_string(mode);
    size_t mark = check_push(c, "volumeMounts");
    for (size_t i = 0; i < COUNT(paths); i++)
        if (value_str_at(m, paths[i]).n)
            check_format(c, paths[i], value_getc(m, paths[i]), FORMAT_RELATIVE_PATH);
    if (has(m, "mountPropagation") && !is_listed(modes, propagation))
        check_not_supported(c, "mountPropagation", mode, modes);
    if (str_eqc(propagation, "Bidirectional") && !privileged)
        check_forbidden(c, "mountPropagation",
                        "Bidirectional mount propagation is available only to privileged "
                        "containers");
    static const struct str recursive[] = {STR("Disabled"), STR("Enabled"), STR("IfPossible"),
                                           STR_NULL};
    struct value *rro = value_getc(m, "recursiveReadOnly");
    if (!has(m, "recursiveReadOnly")) {
        check_pop(c, mark);
        return;
    }
    if (!is_listed(recursive, value_string(rro))) {
        check_not_supported(c, "recursiveReadOnly", rro, recursive);
    } else if (!str_eqc(value_string(rro), "Disabled")) {
        if (!value_bool_at(m, "readOnly", false))
            check_forbidden(c, "recursiveReadOnly", "may only be specified when readOnly is true");
        if (propagation.n && !str_eqc(propagation, "None"))
            check_forbidden(c, "recursiveReadOnly",
                            "may only be specified when mountPropagation is None or not specified");
    }
    check_pop(c, mark);
}

static void check_mounts(struct check *c, const struct pod_check *p, const struct value *container)
{
    const struct value *mounts = value_getc(container, "volumeMounts");
    const struct value *devices = value_getc(container, "volumeDevices");
    _cleanup_key_index_ struct key_index paths = KEY_INDEX_INIT, names = KEY_INDEX_INIT,
                                         device_names = KEY_INDEX_INIT,
                                         device_paths = KEY_INDEX_INIT;
    value_each_item (devices, d) {
        key_index_add(&device_names, value_str_at(d, "name"));
        key_index_add(&device_paths, value_str_at(d, "devicePath"));
    }
    bool privileged = value_bool_at(container, "securityContext.privileged", false);
    value_each_item (mounts, m) {
        struct value *name = value_getc(m, "name"), *path = value_getc(m, "mountPath");
        struct str n = value_string(name), at = value_string(path);
        size_t mark = check_push_index(c, "volumeMounts", m_i);
        key_index_add(&names, n);
        if (!volume_named(p, n))
            check_not_found(c, "name", name, NULL);
        if (at.n && key_index_add(&paths, at) >= 0)
            check_invalid(c, "mountPath", path, "must be unique");
        if (n.n && key_index_find(&device_names, n) >= 0)
            check_invalid(c, "name", name, "must not already exist in volumeDevices");
        if (at.n && key_index_find(&device_paths, at) >= 0)
            check_invalid(c, "mountPath", path,
                          "must not already exist as a path in volumeDevices");
        if (value_str_at(m, "subPath").n && value_str_at(m, "subPathExpr").n)
            check_invalid(c, "subPathExpr", value_getc(m, "subPathExpr"),
                          "subPathExpr and subPath are mutually exclusive");
        check_pop(c, mark);
        check_mount_options(c, m, privileged);
    }
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT, seen_paths = KEY_INDEX_INIT;
    value_each_item (devices, d) {
        struct value *name = value_getc(d, "name"), *path = value_getc(d, "devicePath");
        struct str n = value_string(name), at = value_string(path);
        const struct value *volume = volume_named(p, n);
        size_t mark = check_push_index(c, "volumeDevices", d_i);
        if (n.n && key_index_add(&seen, n) >= 0)
            check_invalid(c, "name", name, "must be unique");
        if (volume && !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral"))
            check_invalid(c, "name", name,
                          "can only use volume source type of PersistentVolumeClaim or Ephemeral "
                          "for block mode");
        if (!volume)
            check_not_found(c, "name", name, NULL);
        if (at.n && key_index_add(&seen_paths, at) >= 0)
            check_invalid(c, "devicePath", path, "must be unique");
        if (at.n &&
            !schema_format_ok(c->arena, FORMAT_RELATIVE_PATH,
                              str_n(at.p + (at.p[0] == '/'), at.n - (at.p[0] == '/')), NULL))
            check_invalid(c, "devicePath", path, "can not contain backsteps ('..')");
        if (n.n && key_index_find(&names, n) >= 0)
            check_invalid(c, "name", name, "must not already exist in volumeMounts");
        if (at.n && key_index_find(&paths, at) >= 0)
            check_invalid(c, "devicePath", path,
                          "must not already exist as a path in volumeMounts");
        check_pop(c, mark);
    }
}

// ---- containers -------------------------------------------------------------------------------

// The names of claims, and of the requests within them, that a container may use.
static void check_claims(struct check *c, const struct pod_check *p, const struct value *claims)
{
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    value_each_item (claims, claim) {
        struct value *name = value_getc(claim, "name");
        struct str n = value_string(name), request = value_str_at(claim, "request");
        size_t mark = check_push_index(c, "resources.claims", claim_i);
        if (!n.n) {
            check_required(c, NULL, NULL);
        } else {
            struct str key =
                request.n ? arena_printf(c->arena, "%.*s/%.*s", STR_ARG(n), STR_ARG(request)) : n;
            if (key_index_add(&seen, key) >= 0)
                check_duplicate(c, NULL, value_str(c->arena, key));
            if (key_index_find(&p->claim_names, n) < 0)
                check_not_found(c, NULL, name, p->claims_said);
        }
        check_pop(c, mark);
    }
}

static void check_resize_policy(struct check *c, const struct pod_check *p,
                                const struct value *policies)
{
    static const struct str resources[] = {STR("cpu"), STR("memory"), STR_NULL};
    static const struct str words[] = {STR("NotRequired"), STR("RestartContainer"), STR_NULL};
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    size_t mark = check_push(c, "resizePolicy");
    value_each_item (policies, policy) {
        struct value *name = value_getc(policy, "resourceName");
        struct value *restart = value_getc(policy, "restartPolicy");
        if (key_index_add(&seen, value_string(name)) >= 0) {
            size_t at = check_push_index(c, NULL, policy_i);
            check_duplicate(c, NULL, name);
            check_pop(c, at);
        }
        if (!value_string(name).n)
            check_required(c, NULL, NULL);
        else if (!is_listed(resources, value_string(name)))
            check_not_supported(c, NULL, name, resources);
        if (!value_string(restart).n)
            check_required(c, NULL, NULL);
        else if (!is_listed(words, value_string(restart)))
            check_not_supported(c, NULL, restart, words);
        if (str_eqc(value_str_at(p->spec, "restartPolicy"), "Never") &&
            !str_eqc(value_string(restart), "NotRequired"))
            check_invalid(c, NULL, restart,
                          "must be 'NotRequired' when `restartPolicy` is 'Never'");
    }
    check_pop(c, mark);
}

static void check_sleep(struct check *c, const struct pod_check *p, const struct value *lifecycle,
                        const char *hook)
{
    const struct value *sleep = value_getc(value_getc(lifecycle, hook), "sleep");
    const struct value *grace = value_getc(p->spec, "terminationGracePeriodSeconds");
    int64_t seconds = value_int_at(sleep, "seconds", 0);
    if (!sleep || !grace || (seconds >= 0 && seconds <= value_int_or(grace, 0)))
        return;
    struct str field = arena_printf(c->arena, "lifecycle.%s.sleep", hook);
    check_invalid(c, arena_cstr(c->arena, field), value_int(c->arena, seconds),
                  "must be non-negative and less than terminationGracePeriodSeconds (%lld)",
                  (long long)value_int_or(grace, 0));
}

void check_probe(struct check *c, const struct value *probe, const struct value *old)
{
    (void)old;
    struct value *grace = value_getc(probe, "terminationGracePeriodSeconds");
    if (has(probe, "terminationGracePeriodSeconds") && value_int_or(grace, 1) <= 0)
        check_invalid(c, "terminationGracePeriodSeconds", grace, "must be greater than 0");
}

static void check_probes(struct check *c, const struct value *container)
{
    static const char *const once[] = {"livenessProbe", "startupProbe"};
    for (size_t i = 0; i < COUNT(once); i++) {
        const struct value *probe = value_getc(container, once[i]);
        if (!probe || value_int_at(probe, "successThreshold", 1) == 1)
            continue;
        size_t mark = check_push(c, once[i]);
        check_invalid(c, "successThreshold", value_getc(probe, "successThreshold"), "must be 1");
        check_pop(c, mark);
    }
    if (has(value_getc(container, "readinessProbe"), "terminationGracePeriodSeconds"))
        check_invalid(c, "readinessProbe.terminationGracePeriodSeconds",
                      value_at(container, "readinessProbe.terminationGracePeriodSeconds"),
                      "must not be set for readinessProbes");
}

static void check_stop_signal(struct check *c, const struct pod_check *p,
                              const struct value *container)
{
    static const struct str windows[] = {STR("SIGKILL"), STR("SIGTERM"), STR_NULL};
    struct value *signal = value_at(container, "lifecycle.stopSignal");
    struct str os = value_str_at(p->spec, "os.name");
    if (!has(value_getc(container, "lifecycle"), "stopSignal"))
        return;
    if (!os.n)
        check_forbidden(c, "lifecycle.stopSignal",
                        "may not be set for containers with empty `spec.os.name`");
    else if (str_eqc(os, "windows") && !is_listed(windows, value_string(signal)))
        check_not_supported(c, "lifecycle.stopSignal", signal, windows);
}

static void check_host_ports_match(struct check *c, const struct value *container)
{
    value_each_item (value_getc(container, "ports"), port) {
        if (value_int_at(port, "hostPort", 0) == value_int_at(port, "containerPort", 0))
            continue;
        size_t mark = check_push_index(c, "ports", port_i);
        check_invalid(c, "hostPort", value_getc(port, "hostPort"),
                      "must match `containerPort` when `hostNetwork` is true");
        check_pop(c, mark);
    }
}

static void check_common(struct check *c, const struct pod_check *p, const struct value *container)
{
    struct value *image = value_getc(container, "image");
    struct str name = value_string(image);
    if (!name.n)
        check_required(c, "image", NULL);
    else if (p->images_trimmed && str_trim(name).n != name.n)
        check_invalid(c, "image", image, "must not have leading or trailing whitespace");
    check_env(c, container);
    check_env_from_sources(c, container);
    check_mounts(c, p, container);
    check_claims(c, p, value_at(container, "resources.claims"));
    check_resize_policy(c, p, value_getc(container, "resizePolicy"));
    if (value_bool_at(p->spec, "hostNetwork", false))
        check_host_ports_match(c, container);
    if (str_eqc(value_str_at(container, "securityContext.procMount"), "Unmasked") &&
        value_bool_at(p->spec, "hostUsers", true))
        check_invalid(c, "securityContext.procMount",
                      value_at(container, "securityContext.procMount"),
                      "`hostUsers` must be false to use `Unmasked`");
}

static void check_regular(struct check *c, const struct pod_check *p, const struct value *container)
{
    check_sleep(c, p, value_getc(container, "lifecycle"), "postStart");
    check_sleep(c, p, value_getc(container, "lifecycle"), "preStop");
    check_stop_signal(c, p, container);
    check_probes(c, container);
}

static void check_init(struct check *c, const struct pod_check *p, const struct value *container)
{
    static const char *const for_sidecars[] = {"lifecycle", "livenessProbe", "readinessProbe",
                                               "startupProbe"};
    if (str_eqc(value_str_at(container, "restartPolicy"), "Always")) {
        check_regular(c, p, container);
        return;
    }
    for (size_t i = 0; i < COUNT(for_sidecars); i++)
        if (has(container, for_sidecars[i]))
            check_forbidden(c, for_sidecars[i],
                            "may not be set for init containers without restartPolicy=Always");
}

static bool is_allowed(struct str key)
{
    static const struct str allowed[] = {
        STR("name"),
        STR("targetContainerName"),
        STR("image"),
        STR("command"),
        STR("args"),
        STR("workingDir"),
        STR("envFrom"),
        STR("env"),
        STR("volumeMounts"),
        STR("volumeDevices"),
        STR("terminationMessagePath"),
        STR("terminationMessagePolicy"),
        STR("imagePullPolicy"),
        STR("securityContext"),
        STR("stdin"),
        STR("stdinOnce"),
        STR("tty"),
        STR_NULL,
    };
    return is_listed(allowed, key);
}

static void check_ephemeral(struct check *c, const struct pod_check *p,
                            const struct value *container)
{
    struct value *target = value_getc(container, "targetContainerName");
    ptrdiff_t at = key_index_find(&p->container_names, value_string(target));
    if (value_string(target).n && (at < 0 || at >= p->ntargets))
        check_not_found(c, "targetContainerName", target, NULL);
    value_each_field (container, m)
        if (!is_allowed(m->key) && m->value->kind != VALUE_NULL &&
            (m->value->kind == VALUE_STRING || value_len(m->value)))
            check_forbidden(c, arena_cstr(c->arena, m->key),
                            "cannot be set for an Ephemeral Container");
    value_each_item (value_getc(container, "volumeMounts"), m) {
        static const char *const parts[] = {"subPath", "subPathExpr"};
        size_t mark = check_push_index(c, "volumeMounts", m_i);
        for (size_t i = 0; i < COUNT(parts); i++)
            if (value_str_at(m, parts[i]).n)
                check_forbidden(c, parts[i], "cannot be set for an Ephemeral Container");
        check_pop(c, mark);
    }
}

// One host port of one address and protocol can be had once.
static void check_host_ports(struct check *c, struct key_index *seen, const struct value *container)
{
    value_each_item (value_getc(container, "ports"), port) {
        int64_t number = value_int_at(port, "hostPort", 0);
        if (!number)
            continue;
        struct str key =
            arena_printf(c->arena, "%.*s/%.*s/%lld", STR_ARG(value_str_at(port, "protocol")),
                         STR_ARG(value_str_at(port, "hostIP")), (long long)number);
        if (key_index_add(seen, key) < 0)
            continue;
        size_t mark = check_push_index(c, "ports", port_i);
        check_duplicate(c, "hostPort", value_str(c->arena, key));
        check_pop(c, mark);
    }
}

void check_containers(struct check *c, struct pod_check *p)
{
    static const struct {
        const char *list;
        void (*check)(struct check *c, const struct pod_check *p, const struct value *container);
    } kinds[] = {
        {"containers", check_regular},
        {"initContainers", check_init},
        {"ephemeralContainers", check_ephemeral},
    };
    for (size_t k = 0; k < COUNT(kinds); k++) {
        _cleanup_key_index_ struct key_index ports = KEY_INDEX_INIT;
        if (k == 2)
            p->ntargets = (ptrdiff_t)p->container_names.n;
        value_each_item (value_getc(p->spec, kinds[k].list), container) {
            struct value *name = value_getc(container, "name");
            size_t mark = check_push_index(c, kinds[k].list, container_i);
            check_common(c, p, container);
            if (value_string(name).n && key_index_add(&p->container_names, value_string(name)) >= 0)
                check_duplicate(c, "name", name);
            kinds[k].check(c, p, container);
            check_host_ports(c, &ports, container);
            check_pop(c, mark);
        }
    }
}
