// Rules of the other groups: rbac, networking, scheduling, discovery, admission, extensions.
#include "object/key_index.h"
#include "object/selector.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_aggregation_rule, check_ingress_tls, check_ingress_class_spec,
    check_ingress_parameters, check_service_cidr_spec, check_webhook_rule, check_webhook_service,
    check_rbac_subject, check_policy_rule, check_role_binding, check_ingress,
    check_network_policy_spec, check_priority_class, check_endpoint_slice, check_webhook, check_crd,
    check_api_service;

// ---- rbac
// -----------------------------------------------------------------------------------------

#define RBAC "rbac.authorization.k8s.io"

void check_rbac_subject(struct check *c, const struct value *s, const struct value *old)
{
    (void)old;
    static const struct str kinds[] = {STR("ServiceAccount"), STR("User"), STR("Group"), STR_NULL};
    static const struct str none[] = {STR(""), STR_NULL}, rbac[] = {STR(RBAC), STR_NULL};
    struct value *kind = value_getc(s, "kind"), *group = value_getc(s, "apiGroup");
    if (str_eq(value_string(kind), kinds[0])) {
        if (group && group->n)
            check_not_supported(c, "apiGroup", group, none);
        if (value_str_at(s, "name").n)
            check_format(c, "name", value_getc(s, "name"), FORMAT_DNS1123_SUBDOMAIN);
        if (!(c->kind->flags & KIND_NAMESPACED) && !value_str_at(s, "namespace").n)
            check_required(c, "namespace", NULL);
    } else if (str_eq(value_string(kind), kinds[1]) || str_eq(value_string(kind), kinds[2])) {
        if (!str_eq(value_string(group), rbac[0]))
            check_not_supported(c, "apiGroup", group, rbac);
    } else {
        check_not_supported(c, "kind", kind, kinds);
    }
}

void check_policy_rule(struct check *c, const struct value *rule, const struct value *old)
{
    (void)old;
    struct value *urls = value_getc(rule, "nonResourceURLs");
    size_t groups = value_len(value_getc(rule, "apiGroups"));
    size_t resources = value_len(value_getc(rule, "resources"));
    if (!value_len(value_getc(rule, "verbs")))
        check_required(c, "verbs", "verbs must contain at least one value");
    if (value_len(urls)) {
        if (c->kind->flags & KIND_NAMESPACED)
            check_invalid(c, "nonResourceURLs", urls,
                          "namespaced rules cannot apply to non-resource URLs");
        if (groups || resources || value_len(value_getc(rule, "resourceNames")))
            check_invalid(c, "nonResourceURLs", urls,
                          "rules cannot apply to both regular resources and non-resource URLs");
        return;
    }
    if (!groups)
        check_required(c, "apiGroups", "resource rules must supply at least one api group");
    if (!resources)
        check_required(c, "resources", "resource rules must supply at least one resource");
}

void check_role_binding(struct check *c, const struct value *binding, const struct value *old)
{
    static const struct str kinds[] = {STR("Role"), STR("ClusterRole"), STR_NULL};
    const struct value *ref = value_getc(binding, "roleRef");
    struct value *kind = value_getc(ref, "kind"), *group = value_getc(ref, "apiGroup");
    bool namespaced = c->kind->flags & KIND_NAMESPACED;
    if (!str_eqc(value_string(group), RBAC))
        check_not_supported(c, "roleRef.apiGroup", group,
                            (const struct str[]){STR(RBAC), STR_NULL});
    if (!str_eq(value_string(kind), kinds[1]) &&
        !(namespaced && str_eq(value_string(kind), kinds[0])))
        check_not_supported(c, "roleRef.kind", kind, namespaced ? kinds : kinds + 1);
    if (!value_str_at(ref, "name").n)
        check_required(c, "roleRef.name", NULL);
    if (old && !value_eq(ref ? ref : value_null(c->arena), value_getc(old, "roleRef")))
        check_invalid(c, "roleRef", ref, "cannot change roleRef");
}

void check_aggregation_rule(struct check *c, const struct value *rule, const struct value *old)
{
    (void)old;
    const struct value *selectors = value_getc(rule, "clusterRoleSelectors");
    if (!value_len(selectors))
        check_required(c, "clusterRoleSelectors",
                       "at least one clusterRoleSelector required if aggregationRule is non-nil");
    value_each_item (selectors, selector) {
        size_t mark = check_push_index(c, "clusterRoleSelectors", selector_i);
        struct selector *parsed;
        check_selector(c, NULL, selector);
        if (selector_from_value(c->arena, selector, &parsed, NULL) < 0)
            check_invalid(c, NULL, value_null(c->arena), "invalid label selector.");
        check_pop(c, mark);
    }
}

// ---- networking
// -------------------------------------------------------------------------------------

static void check_backend(struct check *c, const char *field, const struct value *backend)
{
    const struct value *service = value_getc(backend, "service"),
                       *port = value_getc(service, "port");
    if (!value_is(backend, VALUE_OBJECT)) {
        check_invalid(c, field, NULL, "resource or service backend is required");
        return;
    }
    if (has(backend, "resource") && service) {
        check_invalid(c, field, NULL, "cannot set both resource and service backends");
        return;
    }
    if (has(backend, "resource"))
        return;
    if (!service) {
        check_invalid(c, field, NULL, "resource or service backend is required");
        return;
    }
    bool name = value_str_at(port, "name").n, number = value_int_at(port, "number", 0);
    size_t mark = check_push(c, field);
    if (value_str_at(service, "name").n)
        check_format(c, "service.name", value_getc(service, "name"), FORMAT_DNS1035_LABEL);
    if (name && number)
        check_invalid(c, NULL, NULL, "cannot set both port name & port number");
    else if (name)
        check_format(c, "service.port.name", value_getc(port, "name"), FORMAT_PORT_NAME);
    else if (number &&
             (value_int_at(port, "number", 0) < 1 || value_int_at(port, "number", 0) > 65535))
        check_invalid(c, "service.port.number", value_getc(port, "number"),
                      "must be between 1 and 65535, inclusive");
    else if (!number)
        check_required(c, NULL, "port name or number is required");
    check_pop(c, mark);
}

// "*.example.com": one star, then a host name.
static void check_wildcard(struct check *c, const struct value *host)
{
    struct str name = value_string(host);
    if (name.n > 253)
        check_invalid(c, NULL, host, "must be no more than 253 characters");
    if (!schema_format_ok(c->arena, FORMAT_DNS1123_SUBDOMAIN, str_from(name, 2), NULL))
        check_invalid(c, NULL, host,
                      "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS "
                      "subdomain, which must consist of lower case alphanumeric characters, '-' or "
                      "'.' and end with an alphanumeric character (e.g. '*.example.com', regex "
                      "used for validation is "
                      "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
}

void check_ingress_tls(struct check *c, const struct value *tls, const struct value *old)
{
    (void)old;
    value_each_item (value_getc(tls, "hosts"), host) {
        size_t mark = check_push_index(c, "hosts", host_i);
        if (str_starts(value_string(host), STR("*")))
            check_wildcard(c, host);
        else
            check_format(c, NULL, host, FORMAT_DNS1123_SUBDOMAIN);
        check_pop(c, mark);
    }
}

void check_ingress_class_spec(struct check *c, const struct value *spec, const struct value *old)
{
    if (value_str_at(spec, "controller").n > 250)
        check_too_long(c, "controller", 250);
    if (old)
        check_immutable(c, spec, old, "controller");
}

void check_ingress_parameters(struct check *c, const struct value *ref, const struct value *old)
{
    (void)old;
    static const struct str scopes[] = {STR("Cluster"), STR("Namespace"), STR_NULL};
    struct value *scope = value_getc(ref, "scope"), *ns = value_getc(ref, "namespace");
    if (value_str_at(ref, "apiGroup").n)
        check_format(c, "apiGroup", value_getc(ref, "apiGroup"), FORMAT_DNS1123_SUBDOMAIN);
    if (value_str_at(ref, "kind").n)
        check_format(c, "kind", value_getc(ref, "kind"), FORMAT_PATH_SEGMENT);
    if (value_str_at(ref, "name").n)
        check_format(c, "name", value_getc(ref, "name"), FORMAT_PATH_SEGMENT);
    if (!has(ref, "scope"))
        check_required(c, "scope", NULL);
    else if (str_eq(value_string(scope), scopes[1])) {
        if (!value_string(ns).n)
            check_required(c, "namespace", "`parameters.scope` is set to 'Namespace'");
        else
            check_format(c, "namespace", ns, FORMAT_DNS1123_LABEL);
    } else if (!str_eq(value_string(scope), scopes[0])) {
        check_not_supported(c, "scope", scope, scopes);
    } else if (has(ref, "namespace")) {
        check_forbidden(c, "namespace", "`parameters.scope` is set to 'Cluster'");
    }
}

void check_service_cidr_spec(struct check *c, const struct value *spec, const struct value *old)
{
    const struct value *ranges = value_getc(spec, "cidrs");
    size_t families[2] = {0};
    value_each_item (ranges, range)
        families[str_chr(value_string(range), ':') >= 0]++;
    if (!value_len(ranges))
        check_required(c, "cidrs", "at least one CIDR required");
    else if (value_len(ranges) == 2 && families[0] != 1)
        check_invalid(c, "cidrs", ranges,
                      "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and "
                      "2001:db8::/64");
    (void)old;
}

static void check_ingress_path(struct check *c, const struct value *p)
{
    static const char *const bad[] = {"//", "/./", "/../", "%2f", "%2F"};
    struct value *path = value_getc(p, "path");
    struct str type = value_str_at(p, "pathType"), s = value_string(path);
    bool strict = str_eqc(type, "Exact") || str_eqc(type, "Prefix");
    if ((strict || s.n) && !str_starts(s, STR("/")))
        check_invalid(c, "path", path, "must be an absolute path");
    for (size_t i = 0; strict && i < sizeof bad / sizeof *bad; i++)
        if (str_find(s, str_of(bad[i])) >= 0)
            check_invalid(c, "path", path, "must not contain '%s'", bad[i]);
    static const char *const ends[] = {"/..", "/."};
    for (size_t i = 0; strict && i < sizeof ends / sizeof *ends; i++)
        if (str_ends(s, str_of(ends[i])))
            check_invalid(c, "path", path, "cannot end with '%s'", ends[i]);
    check_backend(c, "backend", value_getc(p, "backend"));
}

void check_ingress(struct check *c, const struct value *ingress, const struct value *old)
{
    (void)old;
    const struct value *spec = value_getc(ingress, "spec"), *rules = value_getc(spec, "rules");
    if (!value_len(rules) && !has(spec, "defaultBackend"))
        check_invalid(c, "spec", rules ? rules : value_null(c->arena),
                      "either `defaultBackend` or `rules` must be specified");
    if (has(spec, "defaultBackend"))
        check_backend(c, "spec.defaultBackend", value_getc(spec, "defaultBackend"));
    for (size_t i = 0; i < value_len(rules); i++) {
        const struct value *rule = value_item(rules, i), *paths = value_at(rule, "http.paths");
        struct value *host = value_getc(rule, "host");
        size_t mark = check_push_index(c, "spec.rules", i);
        if (host && host->n) {
            struct str name = value_string(host);
            bool wild = str_starts(name, STR("*."));
            if (schema_format_ok(c->arena, FORMAT_IP, name, NULL))
                check_invalid(c, "host", host, "must be a DNS name, not an IP address");
            else if (wild) {
                size_t inner = check_push(c, "host");
                check_wildcard(c, host);
                check_pop(c, inner);
            } else
                check_format(c, "host", host, FORMAT_DNS1123_SUBDOMAIN);
        }
        for (size_t j = 0; j < value_len(paths); j++) {
            size_t inner = check_push_index(c, "http.paths", j);
            check_ingress_path(c, value_item(paths, j));
            check_pop(c, inner);
        }
        check_pop(c, mark);
    }
}

static void check_except(struct check *c, const struct value *block)
{
    struct str range = value_str_at(block, "cidr");
    struct check_range outer, inner;
    if (!check_range_parse(range, &outer))
        return;
    value_each_item (value_getc(block, "except"), except) {
        size_t mark = check_push_index(c, "except", except_i);
        if (check_range_parse(value_string(except), &inner) &&
            !(check_range_holds(&outer, &inner) && outer.bits < inner.bits))
            check_invalid(c, NULL, except, "must be a strict subset of `cidr`");
        check_pop(c, mark);
    }
}

static void check_policy_ports(struct check *c, const struct value *ports)
{
    value_each_item (ports, p) {
        const struct value *port = value_getc(p, "port"), *end = value_getc(p, "endPort");
        size_t mark = check_push_index(c, "ports", p_i);
        if (has(p, "port")) {
            if (value_is(port, VALUE_INT) && has(p, "endPort")) {
                if (value_int_or(end, 0) < value_int_or(port, 0))
                    // The originals show the port here.
                    check_invalid(c, "endPort", port, "must be greater than or equal to `port`");
                if (value_int_or(end, 0) < 1 || value_int_or(end, 0) > 65535)
                    check_invalid(c, "endPort", end, "must be between 1 and 65535, inclusive");
            } else if (has(p, "endPort")) {
                check_invalid(c, "endPort", end, "may not be specified when `port` is non-numeric");
            }
        } else if (has(p, "endPort")) {
            check_invalid(c, "endPort", end, "may not be specified when `port` is not specified");
        }
        check_pop(c, mark);
    }
}

static void check_peers(struct check *c, const struct value *peers, const char *field)
{
    value_each_item (peers, peer) {
        bool selects = has(peer, "podSelector") || has(peer, "namespaceSelector");
        size_t mark = check_push_index(c, field, peer_i);
        if (!selects && !has(peer, "ipBlock"))
            check_required(c, NULL, "must specify a peer");
        else if (selects && has(peer, "ipBlock"))
            check_forbidden(c, NULL, "may not specify both ipBlock and another peer");
        if (has(peer, "ipBlock")) {
            size_t inner = check_push(c, "ipBlock");
            check_except(c, value_getc(peer, "ipBlock"));
            check_pop(c, inner);
        }
        check_pop(c, mark);
    }
}

void check_network_policy_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    static const struct str types[] = {STR("Ingress"), STR("Egress"), STR_NULL};
    static const char *const lists[] = {"ingress", "egress"}, *const peers[] = {"from", "to"};
    struct value *named = value_getc(spec, "policyTypes");
    for (size_t i = 0; i < 2; i++)
        value_each_item (value_getc(spec, lists[i]), rule) {
            size_t mark = check_push_index(c, lists[i], rule_i);
            check_policy_ports(c, value_getc(rule, "ports"));
            check_peers(c, value_getc(rule, peers[i]), peers[i]);
            check_pop(c, mark);
        }
    if (value_len(named) > 2) {
        check_invalid(c, "policyTypes", named, "may not specify more than two policyTypes");
        return;
    }
    value_each_item (named, type)
        if (!str_eq(value_string(type), types[0]) && !str_eq(value_string(type), types[1])) {
            size_t mark = check_push_index(c, "policyTypes", type_i);
            check_not_supported(c, NULL, type, types);
            check_pop(c, mark);
        }
}

static void check_slice_address(struct check *c, struct str type, const struct value *address)
{
    if (str_eqc(type, "FQDN")) {
        check_format(c, NULL, address, FORMAT_DNS1123_SUBDOMAIN);
        return;
    }
    check_format(c, NULL, address, FORMAT_IP);
    if (schema_format_ok(c->arena, FORMAT_IP, value_string(address), NULL))
        check_reachable(c, NULL, address, "must be a valid IP address");
}

void check_endpoint_slice(struct check *c, const struct value *slice, const struct value *old)
{
    (void)old;
    struct str type = value_str_at(slice, "addressType");
    value_each_item (value_getc(slice, "ports"), port) {
        size_t mark = check_push_index(c, "ports", port_i);
        if (value_str_at(port, "name").n) // "" is a name too
            check_format(c, "name", value_getc(port, "name"), FORMAT_DNS1123_LABEL);
        check_pop(c, mark);
    }
    value_each_item (value_getc(slice, "endpoints"), endpoint) {
        const struct value *addresses = value_getc(endpoint, "addresses");
        size_t mark = check_push_index(c, "endpoints", endpoint_i);
        if (!value_len(addresses))
            check_required(c, "addresses", "must contain at least 1 address");
        value_each_item (addresses, address) {
            bool six = str_chr(value_string(address), ':') >= 0;
            if (schema_format_ok(c->arena, FORMAT_IP, value_string(address), NULL) &&
                (six ? str_eqc(type, "IPv4") : str_eqc(type, "IPv6")))
                check_invalid(c, "addresses", address, "must be an %s address",
                              six ? "IPv4" : "IPv6");
            size_t inner = check_push_index(c, "addresses", address_i);
            check_slice_address(c, type, address);
            check_pop(c, inner);
        }
        check_pop(c, mark);
    }
}

// ---- scheduling, admission, extensions
// ----------------------------------------------------------------

#define HIGHEST_USER_PRIORITY 1000000000

void check_priority_class(struct check *c, const struct value *pc, const struct value *old)
{
    struct str name = value_str_at(pc, "metadata.name");
    int64_t value = value_int_at(pc, "value", 0);
    bool known = (str_eqc(name, "system-node-critical") && value == 2000001000) ||
                 (str_eqc(name, "system-cluster-critical") && value == 2000000000);
    if (old) {
        if (value != value_int_at(old, "value", 0))
            check_forbidden(c, "value", "may not be changed in an update.");
        return;
    }
    if (str_starts(name, STR("system-"))) {
        if (!known)
            check_forbidden(
                c, "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use "
                "only. error: %.*s is not a known system priority class",
                STR_ARG(name));
    } else if (value > HIGHEST_USER_PRIORITY) {
        check_forbidden(c, "value", "maximum allowed value of a user defined priority is %d",
                        HIGHEST_USER_PRIORITY);
    }
}

static bool contains(const struct value *list, const char *word)
{
    value_each_item (list, item)
        if (str_eqc(value_string(item), word))
            return true;
    return false;
}

void check_webhook_rule(struct check *c, const struct value *rule, const struct value *old)
{
    (void)old;
    static const struct {
        const char *field, *noun;
    } lists[] = {
        {"operations", "operations"}, {"apiGroups", "API groups"}, {"apiVersions", "API versions"}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const struct value *list = value_getc(rule, lists[i].field);
        if (!value_len(list))
            check_required(c, lists[i].field, NULL);
        else if (value_len(list) > 1 && contains(list, "*"))
            check_invalid(c, lists[i].field, list, "if '*' is present, must not specify other %s",
                          lists[i].noun);
    }
    const struct value *resources = value_getc(rule, "resources");
    bool all = contains(resources, "*"), any = contains(resources, "*/*"), sub = false;
    value_each_item (resources, r)
        sub |= str_chr(value_string(r), '/') >= 0;
    if (!value_len(resources))
        check_required(c, "resources", NULL);
    else if (any && value_len(resources) > 1)
        check_invalid(c, "resources", resources,
                      "if '*/*' is present, must not specify other resources");
    else if (all && value_len(resources) > 1 && !sub)
        check_invalid(c, "resources", resources,
                      "if '*' is present, must not specify other resources without subresources");
}

void check_webhook_service(struct check *c, const struct value *service, const struct value *old)
{
    (void)old;
    struct value *path = value_getc(service, "path"), *port = value_getc(service, "port");
    struct str p = value_string(path);
    if (!value_str_at(service, "name").n)
        check_required(c, "name", NULL);
    if (!value_str_at(service, "namespace").n)
        check_required(c, "namespace", NULL);
    if (has(service, "port") && (value_int_or(port, 0) < 1 || value_int_or(port, 0) > 65535))
        check_invalid(c, "port", port, "port is not valid: must be between 1 and 65535, inclusive");
    if (!has(service, "path"))
        return;
    if (!str_starts(p, STR("/")))
        check_invalid(c, "path", path, "must start with a '/'");
    struct str rest = str_from(p, 1);
    if (str_eqc(p, "/"))
        return;
    if (str_ends(rest, STR("/")))
        rest.n--;
    for (size_t i = 0; rest.p; i++) {
        struct str segment = str_cut(&rest, '/');
        if (!segment.n)
            check_invalid(c, "path", path, "segment[%zu] may not be empty", i);
    }
}

// https://host[/path], and nothing else.
static void check_webhook_url(struct check *c, const struct value *v)
{
    static const char form[] = "; desired format: https://host[/path]";
    struct str url = value_string(v);
    ptrdiff_t colon = str_find(url, STR("://"));
    struct str scheme = str_sub(url, 0, colon < 0 ? 0 : (size_t)colon);
    struct str rest = colon < 0 ? url : str_from(url, (size_t)colon + 3);
    ptrdiff_t end = str_chr(rest, '/'), query = str_chr(rest, '?'), hash = str_chr(rest, '#');
    struct str host = str_sub(rest, 0,
                              end >= 0     ? (size_t)end
                              : query >= 0 ? (size_t)query
                                           : rest.n);
    ptrdiff_t at = str_chr(host, '@');
    if (!str_eqc(scheme, "https"))
        check_invalid(c, "clientConfig.url", value_str(c->arena, scheme),
                      "'https' is the only allowed URL scheme%s", form);
    if (!host.n)
        check_invalid(c, "clientConfig.url", value_str(c->arena, host), "host must be specified%s",
                      form);
    if (at >= 0)
        check_invalid(c, "clientConfig.url", value_str(c->arena, str_sub(host, 0, (size_t)at)),
                      "user information is not permitted in the URL");
    if (hash >= 0)
        check_invalid(c, "clientConfig.url", value_str(c->arena, str_from(rest, (size_t)hash + 1)),
                      "fragments are not permitted in the URL");
    if (query >= 0)
        check_invalid(
            c, "clientConfig.url",
            value_str(c->arena, str_sub(rest, (size_t)query + 1,
                                        hash > query ? (size_t)(hash - query - 1) : rest.n)),
            "query parameters are not permitted in the URL");
}

static void check_review_versions(struct check *c, const struct value *versions)
{
    bool known = contains(versions, "v1") || contains(versions, "v1beta1");
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    if (!value_len(versions)) {
        check_required(c, "admissionReviewVersions", "must specify one of v1, v1beta1");
        return;
    }
    value_each_item (versions, version) {
        size_t mark = check_push_index(c, "admissionReviewVersions", version_i);
        if (key_index_add(&seen, value_string(version)) >= 0)
            check_invalid(c, NULL, version, "duplicate version");
        check_format(c, NULL, version, FORMAT_DNS1035_LABEL);
        check_pop(c, mark);
    }
    if (!known)
        check_invalid(c, "admissionReviewVersions", versions,
                      "must include at least one of v1, v1beta1");
}

void check_webhook(struct check *c, const struct value *hook, const struct value *old)
{
    (void)old;
    static const struct str effects[] = {STR("None"), STR("NoneOnDryRun"), STR_NULL};
    struct value *name = value_getc(hook, "name"), *effect = value_getc(hook, "sideEffects");
    struct value *timeout = value_getc(hook, "timeoutSeconds");
    const struct value *config = value_getc(hook, "clientConfig");
    if (value_string(name).n) {
        check_format(c, "name", name, FORMAT_DNS1123_SUBDOMAIN);
        size_t dots = 0;
        for (size_t i = 0; i < name->n; i++)
            dots += name->s[i] == '.';
        if (dots < 2)
            check_invalid(c, "name", name,
                          "should be a domain with at least three segments separated by dots");
    }
    if (!has(hook, "sideEffects"))
        check_required(c, "sideEffects", "must specify one of None, NoneOnDryRun");
    else if (!str_eq(value_string(effect), effects[0]) && !str_eq(value_string(effect), effects[1]))
        check_not_supported(c, "sideEffects", effect, effects);
    if (timeout && (value_int_or(timeout, 10) < 1 || value_int_or(timeout, 10) > 30))
        check_invalid(c, "timeoutSeconds", timeout,
                      "the timeout value must be between 1 and 30 seconds");
    check_review_versions(c, value_getc(hook, "admissionReviewVersions"));
    if (has(config, "url") == has(config, "service"))
        check_required(c, "clientConfig", "exactly one of url or service is required");
    else if (has(config, "url"))
        check_webhook_url(c, value_getc(config, "url"));
}

void check_crd(struct check *c, const struct value *crd, const struct value *old)
{
    const struct value *spec = value_getc(crd, "spec"), *versions = value_getc(spec, "versions");
    struct str name =
        arena_printf(c->arena, "%.*s.%.*s", STR_ARG(value_str_at(spec, "names.plural")),
                     STR_ARG(value_str_at(spec, "group")));
    if (!str_eq(value_str_at(crd, "metadata.name"), name))
        check_invalid(c, "metadata.name", value_at(crd, "metadata.name"),
                      "must be spec.names.plural+\".\"+spec.group");
    if (str_chr(value_str_at(spec, "group"), '.') < 0 && value_str_at(spec, "group").n)
        check_invalid(c, "spec.group", value_getc(spec, "group"),
                      "should be a domain with at least one dot");
    if (value_str_at(spec, "names.kind").n &&
        str_eq(value_str_at(spec, "names.kind"), value_str_at(spec, "names.listKind")))
        check_invalid(c, "spec.names.listKind", value_at(spec, "names.listKind"),
                      "kind and listKind may not be the same");
    size_t stored = 0;
    _cleanup_key_index_ struct key_index names = KEY_INDEX_INIT;
    for (size_t i = 0; i < value_len(versions); i++) {
        const struct value *v = value_item(versions, i);
        size_t mark = check_push_index(c, "spec.versions", i);
        stored += value_bool_at(v, "storage", false);
        if (!value_at(v, "schema.openAPIV3Schema"))
            check_required(c, "schema.openAPIV3Schema", NULL);
        if (key_index_add(&names, value_str_at(v, "name")) >= 0)
            check_invalid(c, "name", value_getc(v, "name"), "must contain unique version names");
        check_pop(c, mark);
    }
    if (value_len(versions) && stored != 1)
        check_invalid(c, "spec.versions", versions,
                      "must have exactly one version marked as storage version");
    if (old) {
        size_t mark = check_push(c, "spec.names");
        check_immutable(c, value_getc(spec, "names"), value_at(old, "spec.names"), "plural");
        check_pop(c, mark);
    }
}

void check_api_service(struct check *c, const struct value *service, const struct value *old)
{
    (void)old;
    struct str want =
        arena_printf(c->arena, "%.*s.%.*s", STR_ARG(value_str_at(service, "spec.version")),
                     STR_ARG(value_str_at(service, "spec.group")));
    if (!str_eq(value_str_at(service, "metadata.name"), want))
        check_invalid(c, "metadata.name", value_at(service, "metadata.name"),
                      "must be `spec.version+\".\"+spec.group`: \"%.*s\"", STR_ARG(want));
}
