// Field specifications: where in which kinds a transformer acts. Paths name members with slashes
// and go through every item of a list that they meet; "name[]" must be a list. With `create` what
// is missing is made, except behind a "[]".
#include "kustomize/private.h"

struct walk {
    struct kustomize_run *run;
    const struct kustomize_field *field;
    struct strings path;
    enum value_kind made;
    kustomize_set_fn *set;
    void *context;
};

static struct strings split(struct arena *a, struct str path)
{
    struct strings parts = {0};
    char *part = arena_alloc(a, path.n + 1);
    size_t n = 0, begin = 0;
    for (size_t i = 0; i <= path.n; i++) {
        if (i < path.n && path.p[i] == '\\' && i + 1 < path.n && path.p[i + 1] == '/') {
            part[n++] = path.p[++i];
        } else if (i == path.n || path.p[i] == '/') {
            if (n > begin || i)
                strings_add(a, &parts, str_n(part + begin, n - begin));
            begin = n;
        } else {
            part[n++] = path.p[i];
        }
    }
    return parts;
}

static struct value *make(struct arena *a, enum value_kind kind)
{
    return kind == VALUE_OBJECT  ? value_object(a)
           : kind == VALUE_ARRAY ? value_array(a)
                                 : value_str(a, STR(""));
}

static int descend(struct walk *w, size_t depth, struct value **at, struct err *e)
{
    struct arena *a = w->run->a;
    if (depth == w->path.n)
        return w->set(w->context, at, e);
    struct value *v = *at;
    if (v->kind == VALUE_NULL)
        return 0;
    if (v->kind == VALUE_ARRAY) {
        for (size_t i = 0; i < v->n; i++) {
            int rc = descend(w, depth, &v->items[i], e);
            if (rc < 0)
                return rc;
        }
        return 0;
    }
    if (v->kind != VALUE_OBJECT)
        return err_set(e, ERR_INVALID, "expected sequence or mapping node");
    struct str name = w->path.items[depth];
    bool list = str_ends(name, STR("[]"));
    if (list)
        name.n -= 2;
    if (!name.n)
        return err_set(e, ERR_INVALID, "cannot set or create an empty field name");
    bool last = depth + 1 == w->path.n, create = w->field->create && w->made != VALUE_NULL && !list;
    struct value *next = value_get(v, name);
    if (!next || next->kind == VALUE_NULL) {
        if (!create)
            return 0;
        value_set(a, v, name, make(a, last ? w->made : VALUE_OBJECT));
    }
    value_each_field (v, f)
        if (str_eq(f->key, name))
            return descend(w, depth + 1, &f->value, e);
    return 0;
}

int kustomize_field_each(struct kustomize_run *run, const struct kustomize_field *f,
                         struct kustomize_resource *r, enum value_kind made, kustomize_set_fn *set,
                         void *context, struct err *e)
{
    struct kustomize_id id = kustomize_id_now(r);
    if (!kustomize_gvk_selects(&f->in, &id))
        return 0;
    struct walk w = {run, f, split(run->a, f->path), made, set, context};
    _cleanup_err_ struct err inner = ERR_INIT;
    if (descend(&w, 0, &r->object, &inner) < 0)
        return err_wrap(e, &inner, "considering field '%.*s' of object %.*s", STR_ARG(f->path),
                        STR_ARG(kustomize_id_text(run->a, &id)));
    return 0;
}

void kustomize_fields_add(struct arena *a, struct kustomize_fields *to, struct kustomize_field f)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? 2 * to->cap : 8;
        to->items = arena_grow(a, to->items, to->cap * sizeof *to->items, cap * sizeof *to->items);
        to->cap = cap;
    }
    to->items[to->n++] = f;
}

static int merge_one(struct arena *a, struct kustomize_fields *to, const struct kustomize_field *f,
                     struct err *e)
{
    for (size_t i = 0; i < to->n; i++) {
        struct kustomize_field *t = &to->items[i];
        if (str_eq(t->path, f->path) && str_eq(t->in.kind, f->in.kind) &&
            str_eq(t->in.group, f->in.group) && str_eq(t->in.version, f->in.version)) {
            if (t->create != f->create)
                return err_set(
                    e, ERR_INVALID,
                    "conflicting fieldspecs: %.*s is to be created and not to be created",
                    STR_ARG(f->path));
            return 0;
        }
    }
    kustomize_fields_add(a, to, *f);
    return 0;
}

int kustomize_fields_merge(struct arena *a, struct kustomize_fields *to,
                           const struct kustomize_fields *from, struct err *e)
{
    for (size_t i = 0; i < from->n; i++) {
        int rc = merge_one(a, to, &from->items[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int kustomize_fields_read(struct arena *a, struct kustomize_fields *to, const struct value *list,
                          struct err *e)
{
    value_each_item (list, item) {
        struct kustomize_field f = {kustomize_gvk_of(item), value_string(value_getc(item, "path")),
                                    value_bool_at(item, "create", false)};
        if (!f.path.n)
            return err_set(e, ERR_INVALID, "a field specification has no path");
        int rc = merge_one(a, to, &f, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
