// The deprecated `vars`: $(NAME) in certain places (config.c) becomes a value of an object. They
// are resolved once, at the very top, after all names are final. "$$(NAME)" is a text; an unknown
// name stays as it is.
#include "kustomize/private.h"

struct resolver {
    struct kustomize_run *run;
    const struct value *values; // by name
};

// Paths of vars write an index as "ports[0]": here it is a part of its own.
static struct str with_dots(struct arena *a, struct str path)
{
    char *out = arena_alloc(a, path.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '[')
            out[n++] = '.';
        else if (path.p[i] != ']')
            out[n++] = path.p[i];
    }
    return str_n(out, n);
}

static int value_of(struct kustomize_run *run, struct kustomize_bag *bag, const struct value *var,
                    struct value **ret, struct err *e)
{
    const struct value *ref = value_getc(var, "objref");
    struct str version = value_str_at(ref, "apiVersion"),
               text = value_str_at(var, "fieldref.fieldpath");
    struct kustomize_gvk gvk = kustomize_gvk_of(ref);
    ptrdiff_t slash = str_chr(version, '/');
    if (version.n) {
        gvk.group = slash < 0 ? STR_NULL : str_sub(version, 0, (size_t)slash);
        gvk.version = slash < 0 ? version : str_from(version, (size_t)slash + 1);
    }
    if (!text.n)
        text = value_str_at(var, "fieldref.fieldPath");
    if (!text.n)
        text = STR("metadata.name");
    struct kustomize_id id = {gvk.group, gvk.version, gvk.kind, value_str_at(ref, "namespace"),
                              value_str_at(ref, "name")};
    struct kustomize_resource *r;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_find(run, &bag->resources, &id, &r, &inner) < 0)
        return err_wrap(e, &inner, "var '%.*s' cannot be mapped to a field",
                        STR_ARG(value_str_at(var, "name")));
    struct strings path;
    struct kustomize_places places;
    int rc = kustomize_path_split(run->a, with_dots(run->a, text), &path, e);
    if (rc < 0 || (rc = kustomize_path_find(run, &r->object, &path, VALUE_NULL, &places, e)) < 0)
        return rc;
    if (!places.n)
        return err_set(e, ERR_INVALID,
                       "field specified in var '%.*s' not found in corresponding resource",
                       STR_ARG(value_str_at(var, "name")));
    *ret = value_clone(run->a, *places.items[0]);
    return 0;
}

// A whole "$(NAME)" keeps the value's type.
static struct value *expand(struct resolver *r, struct str text)
{
    struct arena *a = r->run->a;
    _cleanup_buf_ struct buf out = BUF_MAX(1 << 20);
    for (size_t i = 0; i < text.n; i++) {
        ptrdiff_t end = str_chr(str_from(text, i), ')');
        bool open = text.p[i] == '$' && i + 1 < text.n && text.p[i + 1] == '(' && end > 0;
        if (text.p[i] == '$' && i + 1 < text.n && text.p[i + 1] == '$') {
            buf_char(&out, '$');
            i++;
            continue;
        }
        struct value *v = open ? value_get(r->values, str_sub(text, i + 2, (size_t)end - 2)) : NULL;
        if (v && i == 0 && (size_t)end + 1 == text.n)
            return v;
        if (v && v->kind < VALUE_ARRAY) {
            buf_str(&out, kustomize_scalar(a, v));
            i += (size_t)end;
        } else
            buf_char(&out, text.p[i]);
    }
    return value_str(a, arena_str(a, buf_view(&out)));
}

static int resolve(void *context, struct value **at, struct err *e)
{
    struct resolver *r = context;
    struct value *v = *at;
    if (v->kind == VALUE_STRING && str_chr(value_string(v), '$') >= 0)
        *at = expand(r, value_string(v));
    if (v->kind == VALUE_ARRAY)
        for (size_t i = 0; i < v->n; i++)
            resolve(context, &v->items[i], e);
    value_each_field (v, f)
        if (f->value->kind == VALUE_STRING)
            resolve(context, &f->value, e);
    return 0;
}

int kustomize_vars(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e)
{
    if (!value_len(bag->variables))
        return 0;
    struct value *values = value_object(run->a);
    struct resolver r = {run, values};
    int rc;
    value_each_item (bag->variables, var) {
        struct value *v;
        if ((rc = value_of(run, bag, var, &v, e)) < 0)
            return rc;
        value_set(run->a, values, value_str_at(var, "name"), v);
    }
    for (size_t i = 0; i < bag->resources.n; i++)
        for (size_t j = 0; j < bag->config.variables.n; j++)
            if ((rc = kustomize_field_each(run, &bag->config.variables.items[j],
                                           bag->resources.items[i], VALUE_NULL, resolve, &r, e)) <
                0)
                return rc;
    return 0;
}
