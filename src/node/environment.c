// Environment in all its forms. The list under construction is kept in order with a linear search
// by name: a container has tens of variables, and order is part of what users see.
//
// Two lists: `own` (envFrom, env) and `service` (addresses of services). A reference $(NAME) in a
// value looks at own variables made so far, then at services; the result is own followed by those
// service variables that own does not have.
#include "node/environment.h"
#include "base/buf.h"

struct variables {
    struct arena *a;
    struct str (*p)[2];
    size_t n, cap;
};

static ptrdiff_t find(const struct variables *v, struct str name)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->p[i][0], name))
            return (ptrdiff_t)i;
    return -1;
}

static void set(struct variables *v, struct str name, struct str value)
{
    ptrdiff_t at = find(v, name);
    if (at < 0) {
        if (v->n == v->cap) {
            size_t cap = v->cap ? v->cap * 2 : 32;
            v->p = arena_grow(v->a, v->p, v->cap * sizeof(*v->p), cap * sizeof(*v->p));
            v->cap = cap;
        }
        at = (ptrdiff_t)v->n++;
    }
    v->p[at][0] = name;
    v->p[at][1] = value;
}

typedef bool lookup_fn(const void *ctx, struct str name, struct str *ret);

// third_party/forked/golang/expansion: "$$" is "$", "$(A)" the value of A or itself when there is
// none, an unclosed "$(" and any other "$x" stay.
static struct str expand(struct arena *a, struct str in, lookup_fn *lookup, const void *ctx)
{
    if (str_chr(in, '$') < 0)
        return in;
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] != '$' || i + 1 == in.n) {
            buf_char(&b, in.p[i]);
            continue;
        }
        char next = in.p[++i];
        if (next == '$') {
            buf_char(&b, '$');
            continue;
        }
        ptrdiff_t close = next == '(' ? str_chr(str_from(in, i + 1), ')') : -1;
        if (close < 0) {
            buf_char(&b, '$');
            buf_char(&b, next);
            continue;
        }
        struct str name = str_sub(in, i + 1, (size_t)close), value;
        if (lookup(ctx, name, &value))
            buf_str(&b, value);
        else
            buf_printf(&b, "$(%.*s)", STR_ARG(name));
        i += (size_t)close + 1;
    }
    return arena_str(a, buf_view(&b));
}

struct array_lookup {
    const struct str (*env)[2];
    size_t n;
};

static bool lookup_array(const void *ctx, struct str name, struct str *ret)
{
    const struct array_lookup *l = ctx;
    for (size_t i = l->n; i-- > 0;)
        if (str_eq(l->env[i][0], name)) {
            *ret = l->env[i][1];
            return true;
        }
    return false;
}

struct str environment_expand(struct arena *a, struct str text, const struct str (*env)[2],
                              size_t nenv)
{
    struct array_lookup l = {env, nenv};
    return expand(a, text, lookup_array, &l);
}

struct both {
    const struct variables *own, *service;
};

static bool lookup_both(const void *ctx, struct str name, struct str *ret)
{
    const struct both *both = ctx;
    ptrdiff_t at = find(both->own, name);
    if (at >= 0) {
        *ret = both->own->p[at][1];
        return true;
    }
    at = find(both->service, name);
    if (at >= 0)
        *ret = both->service->p[at][1];
    return at >= 0;
}

// ---- services ----------------------------------------------------------------------------------

bool environment_wants_service(const struct value *service, struct str ns, bool links)
{
    struct str ip = value_str_at(service, "spec.clusterIP");
    if (!ip.n || str_eqc(ip, "None"))
        return false;
    struct str service_ns = value_str_at(service, "metadata.namespace");
    if (str_eqc(service_ns, "default") &&
        str_eqc(value_str_at(service, "metadata.name"), "kubernetes"))
        return true;
    return links && str_eq(service_ns, ns);
}

static struct str upper(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    for (size_t i = 0; i < s.n; i++)
        p[i] = s.p[i] == '-' ? '_' : s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i];
    return str_n(p, s.n);
}

static struct str host_port(struct arena *a, struct str ip, long long port)
{
    return str_chr(ip, ':') >= 0 ? arena_printf(a, "[%.*s]:%lld", STR_ARG(ip), port)
                                 : arena_printf(a, "%.*s:%lld", STR_ARG(ip), port);
}

static void add_service(struct arena *a, struct variables *v, const struct value *service)
{
    struct str ip = value_str_at(service, "spec.clusterIP");
    const struct value *ports = value_at(service, "spec.ports");
    struct str name = upper(a, value_str_at(service, "metadata.name"));
    if (!value_len(ports))
        return;
#define NAME(suffix, ...) arena_printf(a, "%.*s" suffix, STR_ARG(name), ##__VA_ARGS__)
    long long first = value_int_at(value_item(ports, 0), "port", 0);
    set(v, NAME("_SERVICE_HOST"), ip);
    set(v, NAME("_SERVICE_PORT"), arena_printf(a, "%lld", first));
    value_each_item (ports, port) {
        struct str port_name = value_str_at(port, "name");
        if (port_name.n)
            set(v, NAME("_SERVICE_PORT_%.*s", STR_ARG(upper(a, port_name))),
                arena_printf(a, "%lld", (long long)value_int_at(port, "port", 0)));
    }
    // Docker's link variables.
    for (size_t i = 0; i < value_len(ports); i++) {
        const struct value *port = value_item(ports, i);
        long long number = value_int_at(port, "port", 0);
        struct str protocol = value_str_at(port, "protocol");
        if (!protocol.n)
            protocol = STR("TCP");
        char *lower = arena_cstr(a, protocol);
        for (char *p = lower; *p; p++)
            *p = *p >= 'A' && *p <= 'Z' ? *p + 32 : *p;
        struct str address = host_port(a, ip, number);
        struct str url = arena_printf(a, "%s://%.*s", lower, STR_ARG(address));
        if (i == 0)
            set(v, NAME("_PORT"), url);
        struct str prefix = NAME("_PORT_%lld_%.*s", number, STR_ARG(upper(a, protocol)));
        set(v, prefix, url);
        set(v, arena_printf(a, "%.*s_PROTO", STR_ARG(prefix)), str_of(lower));
        set(v, arena_printf(a, "%.*s_PORT", STR_ARG(prefix)), arena_printf(a, "%lld", number));
        set(v, arena_printf(a, "%.*s_ADDR", STR_ARG(prefix)), ip);
    }
#undef NAME
}

// ---- envFrom and env ---------------------------------------------------------------------------

struct source_kind {
    const char *from, *key_ref;  // in envFrom and in valueFrom
    const char *resource, *kind; // for reading and for messages
    bool base64;
};
static const struct source_kind source_kinds[] = {
    {"configMapRef", "configMapKeyRef", "configmaps", "ConfigMap", false},
    {"secretRef", "secretKeyRef", "secrets", "Secret", true},
};

static bool name_is_usable(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || (unsigned char)name.p[i] > 0x7e || name.p[i] == '=')
            return false;
    return name.n > 0;
}

static int add_env_from(struct arena *a, const struct environment_sources *s, struct variables *own,
                        const struct value *from, struct err *e)
{
    struct str ns = value_str_at(s->facts->pod, "metadata.namespace");
    struct str prefix = value_str_at(from, "prefix");
    for (size_t k = 0; k < 2; k++) {
        const struct source_kind *kind = &source_kinds[k];
        const struct value *ref = value_getc(from, kind->from);
        if (!ref)
            continue;
        _cleanup_err_ struct err mine = ERR_INIT;
        const struct value *object = NULL;
        if (s->get(s->ctx, a, kind->resource, ns, value_str_at(ref, "name"), &object, &mine) < 0) {
            if (err_is(&mine, ERR_NOT_FOUND) && value_bool_at(ref, "optional", false))
                continue;
            int rc = err_code(&mine);
            err_move(e, &mine);
            return rc;
        }
        value_each_field (value_getc(object, "data"), f) {
            struct str value = value_string(f->value);
            struct str name =
                prefix.n ? arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(f->key)) : f->key;
            if (!name_is_usable(name) || (kind->base64 && !pod_data_decode(a, value, &value)))
                continue; // as upstream: the invalid key is left out
            set(own, name, value);
        }
    }
    return 0;
}

// *ret stays STR_NULL with *ret_set false where an optional source has no such key.
static int read_value_from(struct arena *a, const struct environment_sources *s,
                           const struct value *container, const struct value *from, bool *ret_set,
                           struct str *ret, struct err *e)
{
    *ret_set = true;
    const struct value *ref = value_getc(from, "fieldRef");
    if (ref)
        return pod_field_ref(a, s->facts, value_str_at(ref, "fieldPath"), ret, e);
    ref = value_getc(from, "resourceFieldRef");
    if (ref)
        return pod_resource_ref(a, s->facts, container, ref, ret, e);
    struct str ns = value_str_at(s->facts->pod, "metadata.namespace");
    for (size_t k = 0; k < 2; k++) {
        const struct source_kind *kind = &source_kinds[k];
        ref = value_getc(from, kind->key_ref);
        if (!ref)
            continue;
        bool optional = value_bool_at(ref, "optional", false);
        struct str name = value_str_at(ref, "name"), key = value_str_at(ref, "key");
        _cleanup_err_ struct err mine = ERR_INIT;
        const struct value *object = NULL;
        if (s->get(s->ctx, a, kind->resource, ns, name, &object, &mine) < 0) {
            *ret_set = false;
            if (err_is(&mine, ERR_NOT_FOUND) && optional)
                return 0;
            int rc = err_code(&mine);
            err_move(e, &mine);
            return rc;
        }
        const struct value *v = value_get(value_getc(object, "data"), key);
        if (!v || (kind->base64 && !pod_data_decode(a, value_string(v), ret))) {
            *ret_set = false;
            if (optional)
                return 0;
            return err_set(e, ERR_NOT_FOUND, "couldn't find key %.*s in %s %.*s/%.*s", STR_ARG(key),
                           kind->kind, STR_ARG(ns), STR_ARG(name));
        }
        if (!kind->base64)
            *ret = value_string(v);
        return 0;
    }
    return err_set(e, ERR_INVALID, "invalid valueFrom: no source that this node knows");
}

int environment_make(struct arena *a, const struct environment_sources *s,
                     const struct value *container, struct str (**ret)[2], size_t *ret_n,
                     struct err *e)
{
    struct variables own = {.a = a}, service = {.a = a};
    for (size_t i = 0; i < s->nservices; i++)
        add_service(a, &service, s->services[i]);

    const struct value *list = value_getc(container, "envFrom");
    int rc;
    for (size_t i = 0; i < value_len(list); i++)
        if ((rc = add_env_from(a, s, &own, value_item(list, i), e)) < 0)
            return rc;

    list = value_getc(container, "env");
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *env = value_item(list, i);
        const struct value *from = value_getc(env, "valueFrom");
        struct str value = value_str_at(env, "value");
        bool is_set = true;
        if (from && !value.n) {
            if ((rc = read_value_from(a, s, container, from, &is_set, &value, e)) < 0)
                return rc;
        } else {
            struct both both = {&own, &service};
            value = expand(a, value, lookup_both, &both);
        }
        if (is_set)
            set(&own, value_str_at(env, "name"), value);
    }
    for (size_t i = 0; i < service.n; i++)
        if (find(&own, service.p[i][0]) < 0)
            set(&own, service.p[i][0], service.p[i][1]);
    *ret = own.p;
    *ret_n = own.n;
    return 0;
}
