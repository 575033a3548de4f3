// Label and field selectors applied to objects. Two questions are kept apart, as in the originals:
// which field names a kind accepts (else 400) and what value an object has there (absent reads as
// the zero value's text).
#include "apiserver/selection.h"

// What an absent value at `path` reads as, by the type of the field.
static struct str absent_text(const struct kind *k, const char *path)
{
    struct str rest = str_of(path);
    const struct type *t = k->type;
    const struct field *f = NULL;
    while (rest.p && t) {
        f = type_field(t, str_cut(&rest, '.'));
        if (!f)
            return STR_NULL;
        t = f->kind == FIELD_MESSAGE ? f->type : NULL;
    }
    if (!f || f->shape != SHAPE_ONE)
        return STR_NULL;
    if (f->kind == FIELD_BOOL)
        return STR("false");
    return f->kind == FIELD_INT32 || f->kind == FIELD_INT64 ? STR("0") : STR_NULL;
}

static int add_field(struct arena *a, const struct kind *k, const struct field_requirement *r,
                     struct selection *s, struct err *e)
{
    const char *path = NULL;
    bool is_name = str_eqc(r->path, "metadata.name"),
         is_ns = str_eqc(r->path, "metadata.namespace");
    if (is_name || (is_ns && (k->flags & KIND_NAMESPACED))) {
        struct str *at = is_name ? &s->name : &s->ns;
        if (!r->negate && r->value.n) {
            s->never |= at->n && !str_eq(*at, r->value);
            *at = r->value;
            return 0;
        }
        path = is_name ? "metadata.name" : "metadata.namespace";
    }
    for (size_t i = 0; !path && i < k->nselectable; i++)
        if (str_eq(k->selectable[i].name, r->path))
            path = k->selectable[i].path ? k->selectable[i].path
                                         : arena_cstr(a, k->selectable[i].name);
    if (!path && k->nselectable)
        return err_set(e, ERR_BAD_REQUEST, "field label not supported: %.*s", STR_ARG(r->path));
    if (!path)
        return err_set(
            e, ERR_BAD_REQUEST, "\"%.*s\" is not a known field selector: only \"metadata.name\"%s",
            STR_ARG(r->path), k->flags & KIND_NAMESPACED ? ", \"metadata.namespace\"" : "");
    s->fields[s->nfields++] = (struct selection_field){
        .path = str_of(path),
        .value = r->value,
        .absent = absent_text(k, path),
        .negate = r->negate,
    };
    return 0;
}

int selection_parse(struct arena *a, const struct kind *k, struct str label_selector,
                    struct str field_selector, struct selection *ret, struct err *e)
{
    struct selection s = {0};
    if (label_selector.n) {
        int r = selector_parse(a, label_selector, &s.labels, e);
        if (r < 0)
            return r;
        if (selector_empty(s.labels))
            s.labels = NULL;
    }
    struct field_requirement *fields = NULL;
    size_t n = 0;
    if (field_selector.n) {
        int r = field_selector_parse(a, field_selector, &fields, &n, e);
        if (r < 0)
            return r;
    }
    s.fields = n ? arena_array(a, struct selection_field, n) : NULL;
    for (size_t i = 0; i < n; i++) {
        int r = add_field(a, k, &fields[i], &s, e);
        if (r < 0)
            return r;
    }
    *ret = s;
    return 0;
}

bool selection_key(const struct selection *s, const struct object *o)
{
    if (s->never)
        return false;
    if (s->name.n && !str_eq(s->name, object_name(o)))
        return false;
    return !s->ns.n || str_eq(s->ns, object_namespace(o));
}

// "a.b|c": c where a.b is absent or empty.
static const struct value *field_value(const struct value *object, struct str path)
{
    ptrdiff_t bar = str_chr(path, '|');
    if (bar < 0)
        return value_at(object, path.p);
    char first[64];
    BUG_ON((size_t)bar >= sizeof first); // paths of the tables
    memcpy(first, path.p, (size_t)bar);
    first[bar] = 0;
    const struct value *v = value_at(object, first);
    return value_is(v, VALUE_STRING) && v->n ? v : value_at(object, path.p + bar + 1);
}

static bool field_matches(const struct selection_field *f, const struct value *object)
{
    const struct value *v = field_value(object, f->path);
    char digits[24];
    struct str text = f->absent;
    if (value_is(v, VALUE_STRING)) {
        text = value_string(v);
    } else if (value_is(v, VALUE_BOOL)) {
        text = v->b ? STR("true") : STR("false");
    } else if (value_is(v, VALUE_INT)) {
        int n = snprintf(digits, sizeof digits, "%lld", (long long)v->i);
        text = str_n(digits, (size_t)n);
    }
    return str_eq(text, f->value) != f->negate;
}

bool selection_tree(const struct selection *s, const struct value *object)
{
    if (s->labels && !selector_matches(s->labels, value_at(object, "metadata.labels")))
        return false;
    for (size_t i = 0; i < s->nfields; i++)
        if (!field_matches(&s->fields[i], object))
            return false;
    return true;
}

static struct str pack_str(char **at, struct str s)
{
    char *p = *at;
    if (!s.p)
        return STR_NULL;
    *at = (char *)mempcpy(p, s.p, s.n) + 1; // with a NUL: paths are C strings too
    return str_n(p, s.n);
}

struct selection selection_pack(const struct selection *s, void **ret_block)
{
    BUG_ON(s->labels);
    size_t need = s->nfields * sizeof *s->fields + s->name.n + s->ns.n + 2;
    for (size_t i = 0; i < s->nfields; i++)
        need += s->fields[i].path.n + s->fields[i].value.n + 2;
    struct selection ret = *s;
    ret.fields = mem_zalloc(need);
    char *at = (char *)(ret.fields + s->nfields);
    ret.name = pack_str(&at, s->name);
    ret.ns = pack_str(&at, s->ns);
    for (size_t i = 0; i < s->nfields; i++) {
        ret.fields[i] = s->fields[i]; // `absent` is a literal
        ret.fields[i].path = pack_str(&at, s->fields[i].path);
        ret.fields[i].value = pack_str(&at, s->fields[i].value);
    }
    *ret_block = ret.fields;
    return ret;
}

struct str selection_name(struct arena *a, struct str field_selector)
{
    struct field_requirement *list;
    size_t n;
    if (!field_selector.n || field_selector_parse(a, field_selector, &list, &n, NULL) < 0)
        return STR_NULL;
    for (size_t i = 0; i < n; i++)
        if (str_eqc(list[i].path, "metadata.name") && !list[i].negate)
            return list[i].value;
    return STR_NULL;
}

bool selection_requires(struct arena *a, struct str field_selector, struct str field,
                        struct str value)
{
    struct field_requirement *list;
    size_t n;
    if (!field_selector.n || field_selector_parse(a, field_selector, &list, &n, NULL) < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i].path, field) && !list[i].negate && str_eq(list[i].value, value))
            return true;
    return false;
}
