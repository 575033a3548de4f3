// Names that changed are changed where they are referred to. A reference is a place (config.c has
// the table) that holds the name of an object of some kind: the object is sought among those that
// once had this name, that are of this kind, and that this object can refer to (its namespace, or
// cluster-wide ones). Where several remain, those with the same prefixes and suffixes count: they
// were in the same overlay.
#include "kustomize/private.h"

// Objects by every former name.
struct former {
    struct kustomize_resource *resource;
    uint32_t next; // position + 1
};
struct former_index {
    uint32_t *heads, mask;
    struct former *items;
    size_t n;
};
struct fixer {
    struct kustomize_run *run;
    const struct former_index *index;
    const struct kustomize_reference *rule;
    const struct kustomize_field *field;
    struct kustomize_resource *referrer;
    struct kustomize_id referrer_now;
    bool referrer_clusterwide;
};
struct found {
    struct kustomize_resource **items;
    size_t n;
};

static void index_make(struct arena *a, struct former_index *x,
                       const struct kustomize_resources *rs)
{
    size_t names = 0;
    for (size_t i = 0; i < rs->n; i++)
        names += rs->items[i]->nbefore;
    uint32_t n = 64;
    while (n < 2 * names)
        n *= 2;
    x->mask = n - 1;
    x->heads = arena_array(a, uint32_t, n);
    x->items = arena_array(a, struct former, names + 1);
    for (size_t i = rs->n; i-- > 0;) // so that chains are in the order of the objects
        for (size_t j = 0; j < rs->items[i]->nbefore; j++) {
            const struct kustomize_resource *r = rs->items[i];
            bool again = false;
            for (size_t k = 0; k < j; k++)
                again |= str_eq(r->before[k].name, r->before[j].name);
            if (again)
                continue;
            uint32_t *head = &x->heads[str_hash(r->before[j].name) & x->mask];
            x->items[x->n] = (struct former){rs->items[i], *head};
            *head = (uint32_t)++x->n;
        }
}

static bool once_named(const struct kustomize_resource *r, struct str name)
{
    for (size_t i = 0; i < r->nbefore; i++)
        if (str_eq(r->before[i].name, name))
            return true;
    return false;
}

static bool once_of(const struct kustomize_resource *r, const struct kustomize_gvk *gvk)
{
    for (size_t i = 0; i < r->nbefore; i++)
        if (kustomize_gvk_selects(gvk, &r->before[i]))
            return true;
    return false;
}

// A binding reaches the namespaces that its subjects name.
static bool subject_space(const struct kustomize_resource *referrer, struct str space)
{
    if (!str_eqc(value_str_at(referrer->object, "kind"), "RoleBinding"))
        return false;
    value_each_item (value_getc(referrer->object, "subjects"), subject) {
        if (str_eqc(value_str_at(subject, "kind"), "ServiceAccount") &&
            str_eq(value_str_at(subject, "namespace"), space))
            return true;
    }
    return false;
}

static bool reachable(const struct fixer *f, const struct kustomize_resource *r)
{
    struct kustomize_id id = kustomize_id_now(r);
    if (f->referrer_clusterwide || kustomize_id_clusterwide(&id))
        return true;
    if (str_eq(kustomize_id_space(&id), kustomize_id_space(&f->referrer_now)))
        return true;
    return str_eqc(id.kind, "ServiceAccount") &&
           subject_space(f->referrer, value_str_at(r->object, "metadata.namespace"));
}

static bool same_end(const struct strings *x, const struct strings *y)
{
    size_t n = x->n < y->n ? x->n : y->n;
    if (!n)
        return x->n == y->n;
    for (size_t i = 1; i <= n; i++)
        if (!str_eq(x->items[x->n - i], y->items[y->n - i]))
            return false;
    return true;
}

static bool same_overlay(const struct kustomize_resource *x, const struct kustomize_resource *y,
                         bool empty_too)
{
    bool prefix = empty_too && (!x->prefixes.n || !y->prefixes.n),
         suffix = empty_too && (!x->suffixes.n || !y->suffixes.n);
    return (prefix || same_end(&x->prefixes, &y->prefixes)) &&
           (suffix || same_end(&x->suffixes, &y->suffixes));
}

static void keep_overlay(const struct fixer *f, struct found *c, bool empty_too)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (same_overlay(c->items[i], f->referrer, empty_too))
            c->items[n++] = c->items[i];
    c->n = n;
}

// roleRef says the kind itself.
static bool role_matches(const struct fixer *f, const struct kustomize_resource *r)
{
    if (!str_ends(f->field->path, STR("roleRef/name")))
        return true;
    const struct value *ref = value_getc(f->referrer->object, "roleRef");
    struct kustomize_gvk gvk = {value_str_at(ref, "apiGroup"), STR_NULL, value_str_at(ref, "kind")};
    return !gvk.kind.n || once_of(r, &gvk);
}

// `space`: the namespace that the reference names, or NULL. *ret NULL: it refers to nothing here.
static int find(const struct fixer *f, struct str name, const struct str *space,
                struct kustomize_resource **ret, struct err *e)
{
    struct arena *a = f->run->a;
    struct found c = {0};
    *ret = NULL;
    size_t cap = 0;
    for (uint32_t at = f->index->heads[str_hash(name) & f->index->mask]; at;
         at = f->index->items[at - 1].next) {
        struct kustomize_resource *r = f->index->items[at - 1].resource;
        if (!once_named(r, name) || !once_of(r, &f->rule->target) || !role_matches(f, r) ||
            !reachable(f, r))
            continue;
        if (space) {
            struct kustomize_id first = kustomize_id_first(r), now = kustomize_id_now(r);
            struct str was = first.space.n ? kustomize_id_space(&first) : STR("default");
            if (!str_eq(was, *space) && !str_eq(kustomize_id_space(&now), *space))
                continue;
        }
        if (c.n == cap) {
            c.items =
                arena_grow(a, c.items, cap * sizeof *c.items, (2 * cap + 4) * sizeof *c.items);
            cap = 2 * cap + 4;
        }
        c.items[c.n++] = r;
    }
    if (c.n > 1)
        keep_overlay(f, &c, true);
    if (c.n > 1)
        keep_overlay(f, &c, false);
    if (!c.n)
        return 0;
    *ret = c.items[0];
    for (size_t i = 1; i < c.n; i++)
        if (!str_eq(value_str_at(c.items[i]->object, "metadata.name"),
                    value_str_at(c.items[0]->object, "metadata.name")))
            return err_set(
                e, ERR_INVALID,
                "updating name reference in '%.*s' field of '%.*s': found multiple possible "
                "referrals",
                STR_ARG(f->field->path), STR_ARG(kustomize_id_text(a, &f->referrer_now)));
    return 0;
}

static int fix_map(const struct fixer *f, struct value *map, struct err *e)
{
    struct str name = value_str_at(map, "name"), space = value_str_at(map, "namespace");
    if (!value_getc(map, "name"))
        return err_set(e, ERR_INVALID, "path config error; no 'name' field in node");
    struct kustomize_resource *r;
    int rc = find(f, name, value_getc(map, "namespace") ? &space : NULL, &r, e);
    if (rc < 0 || !r)
        return rc;
    struct str now = value_str_at(r->object, "metadata.name"),
               now_space = value_str_at(r->object, "metadata.namespace");
    if (str_eq(now, name) && !now_space.n)
        return 0;
    value_setc(f->run->a, map, "name", value_str(f->run->a, now));
    if (now_space.n)
        value_setc(f->run->a, map, "namespace", value_str(f->run->a, now_space));
    return 0;
}

static int fix(void *context, struct value **at, struct err *e)
{
    const struct fixer *f = context;
    struct value *v = *at;
    if (v->kind == VALUE_NULL)
        return 0;
    if (v->kind == VALUE_OBJECT)
        return fix_map(f, v, e);
    if (v->kind == VALUE_ARRAY) {
        for (size_t i = 0; i < v->n; i++) {
            int rc = fix(context, &v->items[i], e);
            if (rc < 0)
                return rc;
        }
        return 0;
    }
    struct kustomize_resource *r;
    int rc = find(f, kustomize_scalar(f->run->a, v), NULL, &r, e);
    if (rc == 0 && r)
        *at = value_str(f->run->a, value_str_at(r->object, "metadata.name"));
    return rc;
}

static int fix_one(struct fixer *f, const struct kustomize_config *config, struct err *e)
{
    struct kustomize_id first = kustomize_id_first(f->referrer);
    for (size_t i = 0; i < config->nreferences; i++) {
        f->rule = &config->references[i];
        for (size_t j = 0; j < f->rule->fields.n; j++) {
            f->field = &f->rule->fields.items[j];
            if (!kustomize_gvk_selects(&f->field->in, &first))
                continue;
            struct kustomize_field here = *f->field; // by what it was; it may be another kind now
            here.in = (struct kustomize_gvk){0};
            here.create = false;
            int rc = kustomize_field_each(f->run, &here, f->referrer, VALUE_NULL, fix, f, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

int kustomize_fix_references(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e)
{
    struct former_index index = {0};
    index_make(run->a, &index, &bag->resources);
    for (size_t i = 0; i < bag->resources.n; i++) {
        struct fixer f = {.run = run, .index = &index, .referrer = bag->resources.items[i]};
        f.referrer_now = kustomize_id_now(f.referrer);
        f.referrer_clusterwide = kustomize_id_clusterwide(&f.referrer_now);
        int rc = fix_one(&f, &bag->config, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
