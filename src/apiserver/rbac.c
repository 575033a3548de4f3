// Who may do what. Roles and bindings are followed in the watch cache: a listener compiles each
// change into two persistent trees, so a decision takes one snapshot and looks up the caller's
// subjects; nothing is rebuilt, and the cost of a change does not depend on how many roles there
// are.
//
//   roles    "ns/name" (ClusterRoles: "/name")              -> its rules
//   grants   "U<user>\n<binding>" or "G<group>\n<binding>"  -> role, namespace where it holds
//                                                              ("": everywhere)
//
// A ServiceAccount subject is its user name, system:serviceaccount:NS:NAME. system:masters may do
// everything, as upstream, so that an administrator cannot lock himself out. The lock guards the
// two roots and is held for as long as it takes to copy them.
#include "apiserver/rbac.h"
#include "base/thread.h"
#include "object/json.h"

// What a refused grant is told about what it lacks, in bytes.
#define SHORTFALL_LINE_MAX 1024
#define SHORTFALL_TEXT_MAX 8192

struct role {
    atomic_uint refs;
    struct str key;
    const struct value *rules; // in `arena`
    struct arena arena;
};

struct grant {
    atomic_uint refs;
    struct str key;  // subject, newline, binding
    struct str role; // key of the role
    struct str ns;   // "" everywhere
};

struct authz {
    struct cache *cache;
    struct node_authz *nodes;
    pthread_mutex_t lock;
    struct ptree *roles, *grants; // guarded by lock
};

static void role_ref(void *p)
{
    atomic_fetch_add_explicit(&((struct role *)p)->refs, 1, memory_order_relaxed);
}
static void role_unref(void *p)
{
    struct role *r = p;
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_done(&r->arena);
    free((char *)r->key.p);
    free(r);
}
static struct str role_key(const void *p)
{
    return ((const struct role *)p)->key;
}
static void grant_ref(void *p)
{
    atomic_fetch_add_explicit(&((struct grant *)p)->refs, 1, memory_order_relaxed);
}
static void grant_unref(void *p)
{
    struct grant *g = p;
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    free((char *)g->key.p);
    free((char *)g->role.p);
    free((char *)g->ns.p);
    free(g);
}
static struct str grant_key(const void *p)
{
    return ((const struct grant *)p)->key;
}
static const struct ptree_ops role_ops = {role_ref, role_unref, role_key};
static const struct ptree_ops grant_ops = {grant_ref, grant_unref, grant_key};

// "ns/name"; cluster-scoped: "/name".
static struct str object_path(struct arena *a, const struct object *o)
{
    struct str ns = object_namespace(o), name = object_name(o);
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

static void role_changed(void *ctx, struct object *old, struct object *new)
{
    struct authz *z = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = object_path(&a, new ? new : old);
    if (!new) {
        pthread_mutex_lock(&z->lock);
        ptree_del_in(&role_ops, &z->roles, key);
        pthread_mutex_unlock(&z->lock);
        return;
    }
    struct role *r = mem_zalloc(sizeof *r);
    r->refs = 1;
    r->key = mem_str(key);
    r->rules = value_clone(&r->arena, value_getc(object_tree(&a, new), "rules"));
    pthread_mutex_lock(&z->lock);
    ptree_put_in(&role_ops, &z->roles, r);
    pthread_mutex_unlock(&z->lock);
    role_unref(r);
}

// The tree key of a subject of a binding in `ns`; STR_NULL: not one that can call.
static struct str subject_key(struct arena *a, const struct value *subject, struct str ns,
                              struct str binding)
{
    struct str kind = value_str_at(subject, "kind"), name = value_str_at(subject, "name");
    if (str_eqc(kind, "User"))
        return arena_printf(a, "U%.*s\n%.*s", STR_ARG(name), STR_ARG(binding));
    if (str_eqc(kind, "Group"))
        return arena_printf(a, "G%.*s\n%.*s", STR_ARG(name), STR_ARG(binding));
    if (!str_eqc(kind, "ServiceAccount"))
        return STR_NULL;
    struct str own = value_str_at(subject, "namespace");
    return arena_printf(a, "Usystem:serviceaccount:%.*s:%.*s\n%.*s", STR_ARG(own.n ? own : ns),
                        STR_ARG(name), STR_ARG(binding));
}

static void binding_changed(void *ctx, struct object *old, struct object *new)
{
    struct authz *z = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str ns = object_namespace(new ? new : old);
    struct str binding = object_path(&a, new ? new : old);
    pthread_mutex_lock(&z->lock);
    if (old)
        value_each_item (value_getc(object_tree(&a, old), "subjects"), subject) {
            struct str key = subject_key(&a, subject, ns, binding);
            if (key.n)
                ptree_del_in(&grant_ops, &z->grants, key);
        }
    if (new) {
        const struct value *tree = object_tree(&a, new);
        bool cluster_role = str_eqc(value_str_at(tree, "roleRef.kind"), "ClusterRole");
        struct str name = value_str_at(tree, "roleRef.name");
        struct str role =
            arena_printf(&a, "%.*s/%.*s", STR_ARG(cluster_role ? STR_NULL : ns), STR_ARG(name));
        value_each_item (value_getc(tree, "subjects"), subject) {
            struct str key = subject_key(&a, subject, ns, binding);
            if (!key.n)
                continue;
            struct grant *g = mem_zalloc(sizeof *g);
            *g = (struct grant){
                .refs = 1, .key = mem_str(key), .role = mem_str(role), .ns = mem_str(ns)};
            ptree_put_in(&grant_ops, &z->grants, g);
            grant_unref(g);
        }
    }
    pthread_mutex_unlock(&z->lock);
}

// Calls fn for each rule that holds for the caller in ns, until it returns false.
typedef bool rule_fn(void *ctx, const struct value *rule);
static void each_rule(struct authz *z, const struct identity *who, struct str ns, rule_fn *fn,
                      void *ctx)
{
    pthread_mutex_lock(&z->lock);
    struct ptree *roles = ptree_ref(z->roles), *grants = ptree_ref(z->grants);
    pthread_mutex_unlock(&z->lock);
    bool more = true;
    _cleanup_buf_ struct buf prefix = BUF_INIT;
    for (size_t i = 0; more && i <= who->ngroups; i++) {
        buf_reset(&prefix);
        buf_char(&prefix, i == 0 ? 'U' : 'G');
        buf_str(&prefix, i == 0 ? who->user : who->groups[i - 1]);
        buf_char(&prefix, '\n');
        struct ptree_cursor at;
        for (struct grant *g = ptree_seek(&at, &grant_ops, grants, buf_view(&prefix));
             more && g && str_starts(g->key, buf_view(&prefix)); g = ptree_next(&at)) {
            if (g->ns.n > 0 && !str_eq(g->ns, ns))
                continue;
            const struct role *r = ptree_get(&role_ops, roles, g->role);
            const struct value *rules = r ? r->rules : NULL;
            for (size_t j = 0; more && j < value_len(rules); j++)
                more = fn(ctx, value_item(rules, j));
        }
    }
    ptree_unref(&grant_ops, grants);
    ptree_unref(&role_ops, roles);
}

struct allow_ctx {
    const struct authz_attributes *at;
    bool allowed;
};
static bool allow_rule(void *ctx, const struct value *rule)
{
    struct allow_ctx *c = ctx;
    c->allowed = rbac_rule_allows(rule, c->at);
    return !c->allowed;
}

static bool is_master(const struct identity *who)
{
    for (size_t i = 0; i < who->ngroups; i++)
        if (str_eqc(who->groups[i], "system:masters"))
            return true;
    return false;
}

bool authz_allowed(struct authz *z, const struct authz_attributes *at)
{
    if (is_master(at->who))
        return true;
    if (node_authz_allows(z->nodes, at))
        return true;
    struct allow_ctx c = {.at = at};
    each_rule(z, at->who, at->ns, allow_rule, &c);
    return c.allowed;
}

int authz_check(struct authz *z, const struct authz_attributes *at, struct err *e)
{
    if (authz_allowed(z, at))
        return 0;
    struct str user = at->who->user;
    if (at->path.p)
        return err_set(e, ERR_FORBIDDEN, "forbidden: User \"%.*s\" cannot %.*s path \"%.*s\"",
                       STR_ARG(user), STR_ARG(at->verb), STR_ARG(at->path));
    _cleanup_buf_ struct buf m = BUF_INIT;
    buf_str(&m, at->resource);
    if (at->group.n)
        buf_printf(&m, ".%.*s", STR_ARG(at->group));
    if (at->name.n)
        buf_printf(&m, " \"%.*s\"", STR_ARG(at->name));
    buf_printf(
        &m,
        " is forbidden: User \"%.*s\" cannot %.*s resource \"%.*s%s%.*s\" in API group \"%.*s\"",
        STR_ARG(user), STR_ARG(at->verb), STR_ARG(at->resource), at->subresource.n ? "/" : "",
        STR_ARG(at->subresource), STR_ARG(at->group));
    if (at->ns.n)
        buf_printf(&m, " in the namespace \"%.*s\"", STR_ARG(at->ns));
    else
        buf_puts(&m, " at the cluster scope");
    int r = err_set(e, ERR_FORBIDDEN, "%s", buf_cstr(&m));
    err_details(e, at->name, at->group, at->resource);
    return r;
}

struct rules_ctx {
    struct arena *a;
    struct value *resource_rules, *url_rules;
};
static bool collect_rule(void *ctx, const struct value *rule)
{
    struct rules_ctx *c = ctx;
    struct value *copy = value_clone(c->a, rule);
    value_push(c->a, value_getc(rule, "nonResourceURLs") ? c->url_rules : c->resource_rules, copy);
    return true;
}

struct value *authz_rules(struct authz *z, struct arena *a, const struct identity *who,
                          struct str ns)
{
    struct rules_ctx c = {a, value_array(a), value_array(a)};
    if (is_master(who)) {
        static const char everything[] =
            "[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]},"
            "{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}]";
        struct value *rules;
        BUG_ON(json_parse(a, str_of(everything), &(struct json_options){0}, &rules, NULL) != 0);
        value_each_item (rules, rule)
            collect_rule(&c, rule);
    }
    each_rule(z, who, ns, collect_rule, &c);
    struct value *status = value_object(a);
    value_setc(a, status, "resourceRules", c.resource_rules);
    value_setc(a, status, "nonResourceRules", c.url_rules);
    value_setc(a, status, "incomplete", value_bool(a, false));
    return status;
}

static bool collect_borrowed(void *ctx, const struct value *rule)
{
    struct rules_ctx *c = ctx;
    value_push(c->a, c->resource_rules, value_clone(c->a, rule));
    return true;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

// A line for each missing rule, sorted.
static void write_shortfall(struct arena *a, struct buf *m, const struct rbac_shortfall *missing)
{
    struct str lines[RBAC_SHORTFALL_MAX];
    size_t n = 0;
    value_each_item (missing->rules, rule) {
        _cleanup_buf_ struct buf line = BUF_INIT;
        rbac_rule_write(&line, rule);
        lines[n++] = arena_str(a, str_sub(buf_view(&line), 0, SHORTFALL_LINE_MAX));
    }
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n && m->n < SHORTFALL_TEXT_MAX; i++)
        buf_printf(m, "\n%.*s", STR_ARG(lines[i]));
    if (missing->too_large)
        buf_puts(m, "\nthe rules are too many to be compared");
    else if (missing->more || m->n >= SHORTFALL_TEXT_MAX)
        buf_puts(m, "\nand more");
}

int authz_check_escalation(struct authz *z, const struct identity *who, const struct value *rules,
                           struct str ns, struct err *e)
{
    if (is_master(who))
        return 0;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct rules_ctx have = {&a, value_array(&a), NULL};
    struct rbac_shortfall missing;
    each_rule(z, who, ns, collect_borrowed, &have);
    if (rbac_rules_cover(&a, have.resource_rules, rules, &missing))
        return 0;
    _cleanup_buf_ struct buf m = BUF_INIT;
    buf_printf(&m, "user \"%.*s\" (groups=[", STR_ARG(who->user));
    for (size_t i = 0; i < who->ngroups; i++)
        buf_printf(&m, "%s\"%.*s\"", i ? " " : "", STR_ARG(who->groups[i]));
    buf_puts(&m, "]) is attempting to grant RBAC permissions not currently held:");
    write_shortfall(&a, &m, &missing);
    return err_set(e, ERR_FORBIDDEN, "%s", buf_cstr(&m));
}

// What is in the cache already is delivered as created. Runs before the server takes writes, so
// nothing races.
static void follow(struct authz *z, struct str resource, cache_listener_fn *fn)
{
    const struct kind *k = kind_by_resource(STR("rbac.authorization.k8s.io"), STR("v1"), resource);
    BUG_ON(!k);
    cache_listen(z->cache, k, fn, z);
    _cleanup_snapshot_ struct cache_snapshot s = {0};
    cache_snapshot(z->cache, k, &s);
    struct cache_cursor it;
    for (struct object *o = cache_first(&it, &s, STR_NULL); o; o = cache_next(&it))
        fn(z, NULL, o);
}

struct authz *authz_new(struct cache *cache)
{
    struct authz *z = mem_zalloc(sizeof *z);
    z->cache = cache;
    pthread_mutex_init(&z->lock, NULL);
    follow(z, STR("roles"), role_changed);
    follow(z, STR("clusterroles"), role_changed);
    follow(z, STR("rolebindings"), binding_changed);
    follow(z, STR("clusterrolebindings"), binding_changed);
    z->nodes = node_authz_new(cache);
    return z;
}

void authz_free(struct authz *z)
{
    if (!z)
        return;
    node_authz_free(z->nodes);
    ptree_unref(&role_ops, z->roles);
    ptree_unref(&grant_ops, z->grants);
    pthread_mutex_destroy(&z->lock);
    free(z);
}
