// Field paths of replacements and vars: members separated by dots; "[name=x]" the items of a list
// with that member, "[=x]" those that are that scalar, "*" all, a number one of them; "[a.b/c]" or
// "a\.b" a member with dots in its name.
#include "kustomize/private.h"
#include "object/yaml.h"

int kustomize_path_split(struct arena *a, struct str path, struct strings *ret, struct err *e)
{
    *ret = (struct strings){0};
    if (!path.n)
        return err_set(e, ERR_INVALID, "a field path is empty");
    char *out = arena_alloc(a, path.n + 1);
    size_t n = 0, begin = 0;
    unsigned depth = 0;
    for (size_t i = 0; i <= path.n; i++) {
        char c = i < path.n ? path.p[i] : '.';
        if (c == '\\' && i + 1 < path.n && path.p[i + 1] == '.') {
            out[n++] = path.p[++i];
            continue;
        }
        if (c == '[' && n == begin)
            depth = 1;
        else if (c == ']')
            depth = 0;
        if (i == path.n || (c == '.' && !depth)) {
            strings_add(a, ret, str_n(out + begin, n - begin));
            begin = n;
        } else
            out[n++] = c;
    }
    return 0;
}

struct str kustomize_scalar(struct arena *a, const struct value *v)
{
    switch (v ? v->kind : VALUE_NULL) {
    case VALUE_STRING:
        return value_string(v);
    case VALUE_INT:
        return arena_printf(a, "%lld", (long long)v->i);
    case VALUE_FLOAT:
        return v->text ? str_n(v->text, v->n) : arena_printf(a, "%g", v->f);
    case VALUE_BOOL:
        return v->b ? STR("true") : STR("false");
    default:
        return STR("null");
    }
}

struct value *kustomize_plain(struct arena *a, struct str text)
{
    int64_t number;
    if (str_to_i64(text, &number))
        return value_int(a, number);
    if (str_eqc(text, "true") || str_eqc(text, "false"))
        return value_bool(a, str_eqc(text, "true"));
    return value_str(a, text);
}

struct find {
    struct kustomize_run *run;
    const struct strings *path;
    enum value_kind create;
    struct kustomize_places *ret;
    struct err *e;
};

static struct value *make(struct arena *a, enum value_kind kind)
{
    return kind == VALUE_OBJECT  ? value_object(a)
           : kind == VALUE_ARRAY ? value_array(a)
                                 : value_null(a);
}

// What has to be made so that the next element of the path finds its place.
static enum value_kind kind_for(const struct find *f, size_t depth)
{
    if (depth == f->path->n)
        return f->create;
    struct str part = f->path->items[depth];
    return part.n && part.p[0] == '[' && str_chr(part, '=') >= 0 ? VALUE_ARRAY : VALUE_OBJECT;
}

static int descend(struct find *f, size_t depth, struct value **at);

static int each_item(struct find *f, size_t depth, struct value *list)
{
    for (size_t i = 0; i < list->n; i++) {
        int rc = descend(f, depth + 1, &list->items[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int matching_items(struct find *f, size_t depth, struct value *list, struct str part)
{
    struct arena *a = f->run->a;
    struct str inner = str_sub(part, 1, part.n - 2);
    ptrdiff_t eq = str_chr(inner, '=');
    struct str key = str_sub(inner, 0, (size_t)eq), want = str_from(inner, (size_t)eq + 1);
    bool found = false;
    for (size_t i = 0; i < list->n; i++) {
        const struct value *v = key.n ? value_get(list->items[i], key) : list->items[i];
        if (!v || v->kind >= VALUE_ARRAY)
            continue;
        bool matched;
        int rc = kustomize_pattern(f->run, want, kustomize_scalar(a, v), &matched, f->e);
        if (rc < 0)
            return rc;
        if (!matched)
            continue;
        found = true;
        if ((rc = descend(f, depth + 1, &list->items[i])) < 0)
            return rc;
    }
    if (found || f->create == VALUE_NULL)
        return 0;
    struct value *item = key.n ? value_object(a) : value_str(a, want);
    if (key.n)
        value_set(a, item, key, value_str(a, want));
    value_push(a, list, item);
    return descend(f, depth + 1, &list->items[list->n - 1]);
}

static int into_list(struct find *f, size_t depth, struct value *list)
{
    struct str part = f->path->items[depth];
    uint64_t index;
    if (str_eqc(part, "*"))
        return each_item(f, depth, list);
    if (part.n > 2 && part.p[0] == '[' && str_chr(part, '=') >= 0)
        return matching_items(f, depth, list, part);
    if (str_eqc(part, "-") && f->create != VALUE_NULL) {
        value_push(f->run->a, list, make(f->run->a, kind_for(f, depth + 1)));
        return descend(f, depth + 1, &list->items[list->n - 1]);
    }
    if (str_to_u64(part, &index)) {
        if (index == list->n && f->create != VALUE_NULL)
            value_push(f->run->a, list, make(f->run->a, kind_for(f, depth + 1)));
        if (index < list->n)
            return descend(f, depth + 1, &list->items[index]);
        return f->create == VALUE_NULL
                   ? 0
                   : err_set(f->e, ERR_INVALID, "index %llu specified but only %u elements found",
                             (unsigned long long)index, list->n);
    }
    return err_set(f->e, ERR_INVALID, "wrong kind of node: '%.*s' is a member, and here is a list",
                   STR_ARG(part));
}

static int into_map(struct find *f, size_t depth, struct value *map)
{
    struct str part = f->path->items[depth];
    if (str_eqc(part, "*")) {
        value_each_field (map, m) {
            int rc = descend(f, depth + 1, &m->value);
            if (rc < 0)
                return rc;
        }
        return 0;
    }
    if (part.n > 2 && part.p[0] == '[' && part.p[part.n - 1] == ']' && str_chr(part, '=') < 0)
        part = str_sub(part, 1, part.n - 2);
    struct value *v = value_get(map, part);
    if ((!v || v->kind == VALUE_NULL) && f->create != VALUE_NULL)
        value_set(f->run->a, map, part, make(f->run->a, kind_for(f, depth + 1)));
    else if (!v)
        return 0;
    value_each_field (map, m)
        if (str_eq(m->key, part))
            return descend(f, depth + 1, &m->value);
    return 0;
}

static int descend(struct find *f, size_t depth, struct value **at)
{
    struct kustomize_places *p = f->ret;
    if (depth == f->path->n) {
        if (p->n == p->cap) {
            size_t cap = p->cap ? 2 * p->cap : 4;
            p->items =
                arena_grow(f->run->a, p->items, p->cap * sizeof *p->items, cap * sizeof *p->items);
            p->cap = cap;
        }
        p->items[p->n++] = at;
        return 0;
    }
    if ((*at)->kind == VALUE_ARRAY)
        return into_list(f, depth, *at);
    return (*at)->kind == VALUE_OBJECT ? into_map(f, depth, *at) : 0;
}

int kustomize_path_find(struct kustomize_run *run, struct value **root, const struct strings *path,
                        enum value_kind create, struct kustomize_places *ret, struct err *e)
{
    struct find f = {run, path, create, ret, e};
    *ret = (struct kustomize_places){0};
    return descend(&f, 0, root);
}
