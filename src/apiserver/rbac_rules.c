// PolicyRules as predicates. Matching follows rbac.authorization.k8s.io: "*" in verbs, apiGroups
// and resources matches everything; "*/scale" the subresource of everything; resourceNames limit a
// rule to those names (and so never match a create or a list); a non-resource URL may end in "*".
#include "apiserver/rbac.h"

static bool has(const struct value *list, struct str s)
{
    value_each_item (list, it)
        if (str_eq(value_string(it), s))
            return true;
    return false;
}

static bool has_or_star(const struct value *list, struct str s)
{
    return has(list, s) || has(list, STR("*"));
}

// `resource` is "pods" or "pods/log".
static bool resource_matches(const struct value *resources, struct str resource, struct str sub)
{
    value_each_item (resources, it) {
        struct str rule = value_string(it);
        if (str_eqc(rule, "*"))
            return true;
        struct str rest = rule, base = str_cut(&rest, '/');
        bool sub_same = str_eq(rest, sub);
        if (sub_same && (str_eq(base, resource) || (sub.n > 0 && str_eqc(base, "*"))))
            return true;
    }
    return false;
}

static bool path_matches(const struct value *urls, struct str path)
{
    value_each_item (urls, it) {
        struct str url = value_string(it);
        if (str_eqc(url, "*") || str_eq(url, path))
            return true;
        if (str_ends(url, STR("*")) && str_starts(path, str_sub(url, 0, url.n - 1)))
            return true;
    }
    return false;
}

bool rbac_rule_allows(const struct value *rule, const struct authz_attributes *at)
{
    if (!has_or_star(value_getc(rule, "verbs"), at->verb))
        return false;
    if (at->path.p)
        return path_matches(value_getc(rule, "nonResourceURLs"), at->path);
    const struct value *names = value_getc(rule, "resourceNames");
    return has_or_star(value_getc(rule, "apiGroups"), at->group) &&
           resource_matches(value_getc(rule, "resources"), at->resource, at->subresource) &&
           (value_len(names) == 0 || (at->name.n > 0 && has(names, at->name)));
}

// A rule broken down to one verb on one resource (or URL), to be looked for in other rules.
static bool covered(const struct value *have, const struct authz_attributes *at)
{
    value_each_item (have, rule) {
        // "*" asks for everything: only a rule that says "*" itself (or a name list that is empty)
        // has it.
        if (rbac_rule_allows(rule, at))
            return true;
    }
    return false;
}

static void breakdown_resources(struct arena *a, const struct value *have, const struct value *want,
                                struct value *missing, bool *all)
{
    static const struct value any_name_item = {.kind = VALUE_STRING};
    const struct value *names = value_getc(want, "resourceNames");
    size_t nnames = value_len(names) ? value_len(names) : 1;
    value_each_item (value_getc(want, "apiGroups"), group)
        value_each_item (value_getc(want, "resources"), resource)
            value_each_item (value_getc(want, "verbs"), verb)
                for (size_t i = 0; i < nnames; i++) {
                    const struct value *name =
                        value_len(names) ? value_item(names, i) : &any_name_item;
                    struct str rest = value_string(resource), base = str_cut(&rest, '/');
                    struct authz_attributes at = {.verb = value_string(verb),
                                                  .group = value_string(group),
                                                  .resource = base,
                                                  .subresource = rest,
                                                  .name = value_string(name)};
                    if (covered(have, &at))
                        continue;
                    *all = false;
                    if (!missing)
                        continue;
                    struct value *rule = value_object(a), *one = value_array(a);
                    value_push(a, one, (struct value *)group);
                    value_setc(a, rule, "apiGroups", one);
                    value_push(a, one = value_array(a), (struct value *)resource);
                    value_setc(a, rule, "resources", one);
                    if (value_len(names)) {
                        value_push(a, one = value_array(a), (struct value *)name);
                        value_setc(a, rule, "resourceNames", one);
                    }
                    value_push(a, one = value_array(a), (struct value *)verb);
                    value_setc(a, rule, "verbs", one);
                    value_push(a, missing, rule);
                }
}

static void breakdown_urls(struct arena *a, const struct value *have, const struct value *want,
                           struct value *missing, bool *all)
{
    value_each_item (value_getc(want, "nonResourceURLs"), url)
        value_each_item (value_getc(want, "verbs"), verb) {
            struct authz_attributes at = {.verb = value_string(verb), .path = value_string(url)};
            if (covered(have, &at))
                continue;
            *all = false;
            if (!missing)
                continue;
            struct value *rule = value_object(a), *one = value_array(a);
            value_push(a, one, (struct value *)url);
            value_setc(a, rule, "nonResourceURLs", one);
            value_push(a, one = value_array(a), (struct value *)verb);
            value_setc(a, rule, "verbs", one);
            value_push(a, missing, rule);
        }
}

bool rbac_rules_cover(struct arena *a, const struct value *have, const struct value *want,
                      struct value *missing)
{
    bool all = true;
    value_each_item (want, rule) {
        breakdown_resources(a, have, rule, missing, &all);
        breakdown_urls(a, have, rule, missing, &all);
    }
    return all;
}

static void write_list(struct buf *b, const char *label, const struct value *list, bool *first)
{
    if (value_len(list) == 0)
        return;
    buf_printf(b, "%s%s:[", *first ? "" : ", ", label);
    *first = false;
    value_each_item (list, it)
        buf_printf(b, "%s\"%.*s\"", it_i ? ", " : "", STR_ARG(value_string(it)));
    buf_char(b, ']');
}

void rbac_rule_write(struct buf *b, const struct value *rule)
{
    bool first = true;
    buf_char(b, '{');
    write_list(b, "NonResourceURLs", value_getc(rule, "nonResourceURLs"), &first);
    write_list(b, "APIGroups", value_getc(rule, "apiGroups"), &first);
    write_list(b, "Resources", value_getc(rule, "resources"), &first);
    write_list(b, "ResourceNames", value_getc(rule, "resourceNames"), &first);
    write_list(b, "Verbs", value_getc(rule, "verbs"), &first);
    buf_char(b, '}');
}
