// See route.h. Bounded by wire's limit on the target; nothing here allocates more than the path's
// length.
#include "apiserver/route.h"

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool route_unescape(struct arena *a, struct str in, struct str *ret)
{
    if (str_chr(in, '%') < 0) {
        *ret = in;
        return true;
    }
    char *out = arena_alloc(a, in.n), *p = out;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '%') {
            *p++ = in.p[i];
            continue;
        }
        int hi = i + 2 < in.n ? hex(in.p[i + 1]) : -1, lo = i + 2 < in.n ? hex(in.p[i + 2]) : -1;
        if (hi < 0 || lo < 0 || !(hi << 4 | lo))
            return false;
        *p++ = (char)(hi << 4 | lo);
        i += 2;
    }
    *ret = str_n(out, (size_t)(p - out));
    return true;
}

// The next part of the path; false at its end. A single slash at the end is nothing.
static bool next_part(struct arena *a, struct str *rest, struct str *ret, bool *bad)
{
    if (!rest->n)
        return false;
    struct str part = str_cut(rest, '/');
    if (!part.n || !route_unescape(a, part, ret)) {
        *bad = true;
        return false;
    }
    return true;
}

static bool namespace_subresource(struct str s)
{
    return str_eqc(s, "status") || str_eqc(s, "finalize");
}

// Behind the group version: at most ns, resource, name, subresource.
static void parse_resource(struct arena *a, struct str rest, struct route *r)
{
    struct str part[6];
    size_t n = 0;
    bool bad = false;
    r->what = ROUTE_UNKNOWN_API;
    struct str after[6]; // what is left behind each part
    while (n < 6 && next_part(a, &rest, &part[n], &bad)) {
        after[n] = rest;
        n++;
    }
    if (bad || !n)
        return;
    size_t at = 0;
    if (str_eqc(part[0], "watch")) {
        r->watch_path = true;
        if (++at == n)
            return;
    }
    if (str_eqc(part[at], "namespaces") && n - at > 2 && !namespace_subresource(part[at + 2])) {
        r->ns = part[at + 1];
        at += 2;
    }
    r->kind = kind_by_resource(r->group, r->version, part[at]);
    if (!r->kind || (r->ns.n && !(r->kind->flags & KIND_NAMESPACED)))
        return;
    if (++at < n)
        r->name = part[at++];
    if (at < n) {
        r->subresource = part[at];
        r->sub = kind_subresource(r->kind, part[at]);
        if (!r->sub)
            return;
        r->rest = after[at];
        at++;
    }
    // Only proxies have a path of their own behind them.
    if (at < n && !str_eqc(r->subresource, "proxy"))
        return;
    // One object of a namespaced kind needs its namespace.
    if (r->name.n && (r->kind->flags & KIND_NAMESPACED) && !r->ns.n)
        return;
    r->what = ROUTE_RESOURCE;
}

static const struct kind *any_of_group(struct str group, struct str version)
{
    for (size_t i = 0; i < kind_count(); i++) {
        const struct kind *k = kind_at(i);
        if (str_eq(k->group, group) && (!version.n || str_eq(k->version, version)))
            return k;
    }
    return NULL;
}

static void parse_version(struct arena *a, struct str rest, struct route *r)
{
    r->what = ROUTE_UNKNOWN_API;
    if (!any_of_group(r->group, r->version))
        return;
    if (!rest.n)
        r->what = ROUTE_GROUP_VERSION;
    else
        parse_resource(a, rest, r);
}

static const struct {
    const char *path;
    enum route_kind what;
    bool below; // with anything behind a slash, which is `rest`
} fixed[] = {
    {"/", ROUTE_INDEX, false},
    {"/.well-known/openid-configuration", ROUTE_OPENID, false},
    {"/healthz", ROUTE_HEALTH, true},
    {"/livez", ROUTE_HEALTH, true},
    {"/metrics", ROUTE_METRICS, false},
    {"/openapi/v2", ROUTE_OPENAPI_V2, false},
    {"/openapi/v3", ROUTE_OPENAPI_V3, true},
    {"/openid/v1/jwks", ROUTE_JWKS, false},
    {"/readyz", ROUTE_HEALTH, true},
    {"/version", ROUTE_VERSION, false},
};

void route_parse(struct arena *a, struct str path, struct route *ret)
{
    *ret = (struct route){.what = ROUTE_UNKNOWN};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        struct str f = str_of(fixed[i].path);
        bool slash = path.n > f.n && str_starts(path, f) && path.p[f.n] == '/';
        if (str_eq(path, f) || (slash && path.n == f.n + 1 && i) || (slash && fixed[i].below)) {
            ret->what = fixed[i].what;
            ret->rest = slash ? str_from(path, f.n + 1) : STR_NULL;
            return;
        }
    }
    struct str rest = path;
    if (str_starts(path, STR("/api/")) || str_eqc(path, "/api")) {
        rest = str_from(path, 5);
        ret->what = ROUTE_API;
        if (!rest.n)
            return;
        ret->version = str_cut(&rest, '/');
        parse_version(a, rest, ret);
    } else if (str_starts(path, STR("/apis/")) || str_eqc(path, "/apis")) {
        rest = str_from(path, 6);
        ret->what = ROUTE_APIS;
        if (!rest.n)
            return;
        ret->group = str_cut(&rest, '/');
        ret->what =
            ret->group.n && any_of_group(ret->group, STR_NULL) ? ROUTE_GROUP : ROUTE_UNKNOWN_API;
        if (!rest.n)
            return;
        ret->version = str_cut(&rest, '/');
        if (!ret->version.n || !ret->group.n)
            ret->what = ROUTE_UNKNOWN_API;
        else
            parse_version(a, rest, ret);
    }
}

enum verb_bit route_verb(const struct route *r, struct str method, bool watch)
{
    unsigned verbs = r->sub ? r->sub->verbs : r->kind->verbs, want = 0;
    bool get = str_eqc(method, "GET") || str_eqc(method, "HEAD");
    if (r->sub && (verbs & VERB_CONNECT))
        return VERB_CONNECT;
    if (get && !r->sub && (r->watch_path || watch))
        want = VERB_WATCH;
    else if (get)
        want = r->name.n ? VERB_GET : VERB_LIST;
    else if (str_eqc(method, "POST") && (!r->name.n || r->sub))
        want = VERB_CREATE;
    else if (str_eqc(method, "PUT") && r->name.n)
        want = VERB_UPDATE;
    else if (str_eqc(method, "PATCH") && r->name.n)
        want = VERB_PATCH;
    else if (str_eqc(method, "DELETE"))
        want = r->name.n ? VERB_DELETE : VERB_DELETECOLLECTION;
    // A namespaced kind is created in a namespace.
    if (want == VERB_CREATE && (r->kind->flags & KIND_NAMESPACED) && !r->ns.n)
        return 0;
    return (enum verb_bit)(want & verbs);
}

struct str route_allowed(struct arena *a, const struct route *r)
{
    static const struct {
        const char *method;
        unsigned on_name, on_collection;
    } methods[] = {
        {"DELETE", VERB_DELETE, VERB_DELETECOLLECTION},
        {"GET", VERB_GET, VERB_LIST},
        {"PATCH", VERB_PATCH, 0},
        {"POST", 0, VERB_CREATE},
        {"PUT", VERB_UPDATE, 0},
    };
    struct str list[5];
    size_t n = 0;
    unsigned verbs = !r->kind ? VERB_GET | VERB_LIST : r->sub ? r->sub->verbs : r->kind->verbs;
    for (size_t i = 0; i < 5; i++) {
        unsigned want = r->name.n ? methods[i].on_name : methods[i].on_collection;
        if (r->sub && methods[i].on_collection == VERB_CREATE)
            want = VERB_CREATE;
        if (verbs & want)
            list[n++] = str_of(methods[i].method);
    }
    return arena_join(a, list, n, STR(", "));
}
