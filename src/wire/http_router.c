// See http_router.h. Rows are looked at one by one: a table has tens of them, and a row that does
// not fit is left at its first literal or by its count of parts.
#include "wire/http_router.h"
#include "wire/http_parse.h"
#include "wire/http_tie.h"
#include "wire/server_private.h"
#include <string.h>

struct route_pattern {
    const struct http_route *route;
    struct str parts[HTTP_PARTS_MAX];
    unsigned n;
    int many; // which part is {name...}; -1: none
};

struct router_mount {
    const struct http_mount *mount;
    struct str prefix;
    struct route_pattern *patterns;
    size_t n;
};

struct http_router {
    struct router_mount *mounts; // the longest prefix first
    size_t n;
};

// --- tables

static bool is_param(struct str part)
{
    return part.n >= 2 && part.p[0] == '{' && part.p[part.n - 1] == '}';
}

static bool is_many(struct str part)
{
    return is_param(part) && str_ends(part, STR("...}"));
}

static struct str param_name(struct str part)
{
    part = str_sub(part, 1, part.n - 2);
    return str_ends(part, STR("...")) ? str_sub(part, 0, part.n - 3) : part;
}

// "/a/b/" -> "a", "b", "". False: too many.
static bool split(struct str path, struct str *parts, unsigned *n)
{
    *n = 0;
    while (path.n && path.p[0] == '/') {
        path = str_from(path, 1);
        ptrdiff_t slash = str_chr(path, '/');
        if (*n == HTTP_PARTS_MAX)
            return false;
        parts[*n] = slash < 0 ? path : str_sub(path, 0, (size_t)slash);
        path = str_from(path, parts[(*n)++].n);
    }
    return true;
}

static void compile(const struct http_route *r, struct route_pattern *p)
{
    unsigned params = 0;
    *p = (struct route_pattern){.route = r, .many = -1};
    BUG_ON(!r->method || !r->fn || (r->pattern[0] && r->pattern[0] != '/'));
    BUG_ON(!split(str_of(r->pattern), p->parts, &p->n));
    for (unsigned i = 0; i < p->n; i++) {
        params += is_param(p->parts[i]);
        if (!is_many(p->parts[i]))
            continue;
        BUG_ON(p->many >= 0);
        p->many = (int)i;
    }
    BUG_ON(params > HTTP_PARAMS_MAX);
}

// Two rows that fit the same requests: the second could never be reached.
static bool same(const struct route_pattern *a, const struct route_pattern *b)
{
    if (strcmp(a->route->method, b->route->method) != 0 || a->n != b->n || a->many != b->many)
        return false;
    for (unsigned i = 0; i < a->n; i++)
        if (is_param(a->parts[i]) != is_param(b->parts[i]) ||
            (!is_param(a->parts[i]) && !str_eq(a->parts[i], b->parts[i])))
            return false;
    return true;
}

static void mount_compile(const struct http_mount *m, struct router_mount *ret)
{
    size_t n = 0;
    while (m->routes[n].method)
        n++;
    *ret = (struct router_mount){.mount = m,
                                 .prefix = str_of(m->prefix),
                                 .patterns = mem_zalloc((n ? n : 1) * sizeof *ret->patterns),
                                 .n = n};
    BUG_ON(ret->prefix.n && (ret->prefix.p[0] != '/' || str_ends(ret->prefix, STR("/"))));
    for (size_t i = 0; i < n; i++) {
        compile(&m->routes[i], &ret->patterns[i]);
        for (size_t k = 0; k < i; k++)
            BUG_ON(same(&ret->patterns[i], &ret->patterns[k]));
    }
}

struct http_router *http_router_new(const struct http_mount *mounts, size_t n)
{
    struct http_router *r = mem_zalloc(sizeof *r);
    r->mounts = mem_zalloc((n ? n : 1) * sizeof *r->mounts);
    for (; r->n < n; r->n++) {
        struct router_mount m;
        mount_compile(&mounts[r->n], &m);
        size_t at = r->n;
        for (; at && r->mounts[at - 1].prefix.n < m.prefix.n; at--)
            r->mounts[at] = r->mounts[at - 1];
        BUG_ON(at && str_eq(r->mounts[at - 1].prefix, m.prefix));
        r->mounts[at] = m;
    }
    return r;
}

void http_router_free(struct http_router *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->mounts[i].patterns);
    free(r->mounts);
    free(r);
}

// --- requests

struct route_path {
    struct str parts[HTTP_PARTS_MAX];
    unsigned n;
};

static bool part_fits(struct str pattern, struct str part)
{
    return is_param(pattern) ? part.n > 0 : str_eq(pattern, part);
}

static bool fits(const struct route_pattern *p, const struct route_path *q)
{
    if (p->many < 0 ? q->n != p->n : q->n < p->n)
        return false;
    if (p->many >= 0 && q->n == p->n && !q->parts[p->many].n)
        return false;
    unsigned head = p->many < 0 ? p->n : (unsigned)p->many, tail = p->n - head;
    for (unsigned i = 0; i < head; i++)
        if (!part_fits(p->parts[i], q->parts[i]))
            return false;
    for (unsigned i = 1; i < tail; i++) // behind {name...}, from the end
        if (!part_fits(p->parts[p->n - i], q->parts[q->n - i]))
            return false;
    return true;
}

static bool method_fits(const struct http_route *r, struct str method)
{
    return str_eqc(method, r->method) || !strcmp(r->method, "*") ||
           (str_eqc(method, "HEAD") && !strcmp(r->method, "GET"));
}

// What {name...} covers, as it stands in the path: its parts lie side by side.
static struct str covered(const struct route_pattern *p, const struct route_path *q)
{
    unsigned first = (unsigned)p->many, last = q->n - (p->n - first);
    const char *from = q->parts[first].p, *to = q->parts[last].p + q->parts[last].n;
    return str_n(from, (size_t)(to - from));
}

static bool take_params(struct arena *a, struct http_routed *r, const struct route_pattern *p,
                        const struct route_path *q)
{
    for (unsigned i = 0; i < p->n; i++) {
        if (!is_param(p->parts[i]))
            continue;
        bool many = (int)i == p->many;
        unsigned at = p->many >= 0 && (int)i > p->many ? q->n - (p->n - i) : i;
        struct str raw = many ? covered(p, q) : q->parts[at];
        if (!http_percent_decode(a, raw, false, many, &r->params[r->nparams++]))
            return false;
    }
    return true;
}

static void refuse(struct http_routed *r, int status, struct str allow)
{
    struct arena *a = http_arena(r->x);
    struct http_header h[2] = {{STR("content-type"), STR("text/plain; charset=utf-8")},
                               {STR("allow"), allow}};
    struct str text = str_of(http_status_text(status));
    if (r->mount && r->mount->refuse)
        r->mount->refuse(r, status, h + 1, allow.n > 0, text);
    else
        http_respond(r->x, status, h, 1 + (allow.n > 0),
                     arena_printf(a, "%d %.*s\n", status, STR_ARG(text)));
}

static struct str allowed(struct arena *a, const struct router_mount *m, const struct route_path *q)
{
    struct str names[HTTP_PARTS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < m->n && n < HTTP_PARTS_MAX; i++) {
        struct str method = str_of(m->patterns[i].route->method);
        bool known = !fits(&m->patterns[i], q);
        for (size_t k = 0; k < n && !known; k++)
            known = str_eq(names[k], method);
        if (!known)
            names[n++] = method;
    }
    return n ? arena_join(a, names, n, STR(", ")) : STR_NULL;
}

static const struct router_mount *mount_of(const struct http_router *t, struct str path)
{
    for (size_t i = 0; i < t->n; i++) {
        struct str prefix = t->mounts[i].prefix;
        if (str_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/'))
            return &t->mounts[i];
    }
    return NULL;
}

static void on_body(struct http_exchange *x, struct str body)
{
    x->routed->route->fn(x->routed, body);
}

void http_routed_admit(struct http_routed *r)
{
    if (r->route->body == HTTP_BODY_WHOLE)
        http_read_body(r->x, r->route->limit, on_body);
    else
        r->route->fn(r, STR_NULL);
}

int http_router_match(const struct http_router *t, struct arena *a, struct str method,
                      struct str raw_path, struct http_routed *ret, struct str *ret_allow)
{
    const struct router_mount *m = mount_of(t, raw_path);
    struct route_path q;
    const struct route_pattern *found = NULL;
    *ret_allow = STR_NULL;
    ret->mount = m ? m->mount : NULL;
    ret->route = NULL;
    ret->nparams = 0;
    if (!m || !split(str_from(raw_path, m->prefix.n), q.parts, &q.n))
        return 404;
    for (size_t i = 0; i < m->n && !found; i++)
        if (method_fits(m->patterns[i].route, method) && fits(&m->patterns[i], &q))
            found = &m->patterns[i];
    if (!found) {
        *ret_allow = allowed(a, m, &q);
        return ret_allow->n ? 405 : 404;
    }
    if (!take_params(a, ret, found, &q))
        return 400;
    ret->route = found->route;
    return 0;
}

static void handle(void *ctx, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct http_routed *r = arena_new(http_arena(x), struct http_routed);
    struct str allow;
    x->routed = r;
    r->x = x;
    int status = http_router_match(ctx, http_arena(x), q->method, q->raw_path, r, &allow);
    if (status)
        refuse(r, status, allow);
    else if (r->mount->admit)
        r->mount->admit(r);
    else
        http_routed_admit(r);
}

static void on_close(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_mount *m = x->routed->mount;
    if (m && m->on_close)
        m->on_close(m->ctx, x);
    else
        http_tie_closed(NULL, x);
}

struct http_handler http_router_handler(struct http_router *r)
{
    return (struct http_handler){.handle = handle, .on_close = on_close, .ctx = r};
}

struct str http_routed_param(const struct http_routed *r, const char *name)
{
    struct str parts[HTTP_PARTS_MAX];
    unsigned n, param = 0;
    BUG_ON(!split(str_of(r->route->pattern), parts, &n));
    for (unsigned i = 0; i < n; i++) {
        if (!is_param(parts[i]))
            continue;
        if (str_eqc(param_name(parts[i]), name))
            return r->params[param];
        param++;
    }
    BUG_ON(true);
}
