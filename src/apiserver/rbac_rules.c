// PolicyRules as predicates. Matching follows rbac.authorization.k8s.io: "*" in verbs, apiGroups
// and resources matches everything; "*/scale" the subresource of everything; resourceNames limit a
// rule to those names (and so never match a create or a list); a non-resource URL may end in "*".
#include "apiserver/rbac.h"
#include "object/json.h"

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

// As Go prints a list of strings: ["a" "b"].
static void write_list(struct buf *b, const char *label, const struct value *list)
{
    if (value_len(list) == 0)
        return;
    buf_printf(b, "%s%s:[", b->p[b->n - 1] == '{' ? "" : ", ", label);
    value_each_item (list, it) {
        if (it_i)
            buf_char(b, ' ');
        json_write_string(b, value_string(it));
    }
    buf_char(b, ']');
}

void rbac_rule_write(struct buf *b, const struct value *rule)
{
    buf_char(b, '{');
    write_list(b, "APIGroups", value_getc(rule, "apiGroups"));
    write_list(b, "Resources", value_getc(rule, "resources"));
    write_list(b, "NonResourceURLs", value_getc(rule, "nonResourceURLs"));
    write_list(b, "ResourceNames", value_getc(rule, "resourceNames"));
    write_list(b, "Verbs", value_getc(rule, "verbs"));
    buf_char(b, '}');
}
