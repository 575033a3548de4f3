// Replacements: a value of one object written into fields of others. A scalar that is written onto
// a scalar keeps the type of what it replaces. A path may lead into a text that is itself JSON or
// YAML.
#include "kustomize/private.h"
#include "object/json.h"
#include "object/yaml.h"
#include <stdlib.h>

struct replacement {
    struct kustomize_target *t;
    struct kustomize_bag *bag;
    const struct value *entry;
    struct value *value; // what is written
};

static bool id_selected(const struct kustomize_id *id, const struct value *selector)
{
    struct kustomize_gvk gvk = kustomize_gvk_of(selector);
    struct str name = value_str_at(selector, "name"), space = value_str_at(selector, "namespace");
    return kustomize_gvk_selects(&gvk, id) && (!name.n || str_eq(name, id->name)) &&
           (!space.n || str_eq(space, kustomize_id_space(id)));
}

static bool ever_selected(const struct kustomize_resource *r, const struct value *selector)
{
    for (size_t i = 0; i < r->nbefore; i++)
        if (id_selected(&r->before[i], selector))
            return true;
    struct kustomize_id id = kustomize_id_now(r);
    return id_selected(&id, selector);
}

static struct str selector_text(struct arena *a, const struct value *s)
{
    struct kustomize_id id = {.group = value_str_at(s, "group"),
                              .version = value_str_at(s, "version"),
                              .kind = value_str_at(s, "kind"),
                              .name = value_str_at(s, "name"),
                              .space = value_str_at(s, "namespace")};
    return kustomize_id_text(a, &id);
}

static struct strings split(struct arena *a, struct str text, struct str by)
{
    struct strings parts = {0};
    for (;;) {
        ptrdiff_t at = str_find(text, by);
        strings_add(a, &parts, at < 0 ? text : str_sub(text, 0, (size_t)at));
        if (at < 0)
            return parts;
        text = str_from(text, (size_t)at + by.n);
    }
}

// The part of the source that options.delimiter and index ask for.
static int refine(struct arena *a, const struct value *options, struct value **v, struct err *e)
{
    struct str delimiter = value_str_at(options, "delimiter");
    int64_t index = value_int_at(options, "index", 0);
    if (!delimiter.n)
        return 0;
    if ((*v)->kind >= VALUE_ARRAY)
        return err_set(e, ERR_INVALID, "delimiter option can only be used with scalar nodes");
    struct str text = kustomize_scalar(a, *v);
    struct strings parts = split(a, text, delimiter);
    if (index < 0 || (uint64_t)index >= parts.n)
        return err_set(e, ERR_INVALID, "options.index %lld is out of bounds for value %.*s",
                       (long long)index, STR_ARG(text));
    *v = (*v)->kind == VALUE_STRING ? value_str(a, parts.items[index])
                                    : kustomize_plain(a, parts.items[index]);
    return 0;
}

static int find_source(struct replacement *p, const struct value *source, struct err *e)
{
    struct arena *a = p->t->run->a;
    struct kustomize_resource *found = NULL;
    for (size_t i = 0; i < p->bag->resources.n; i++) {
        if (!ever_selected(p->bag->resources.items[i], source))
            continue;
        if (found)
            return err_set(e, ERR_INVALID, "multiple matches for selector %.*s",
                           STR_ARG(selector_text(a, source)));
        found = p->bag->resources.items[i];
    }
    if (!found)
        return err_set(e, ERR_INVALID, "nothing selected by %.*s",
                       STR_ARG(selector_text(a, source)));
    struct str text = value_str_at(source, "fieldPath");
    if (!text.n)
        text = STR("metadata.name");
    struct strings path;
    struct kustomize_places places;
    int rc = kustomize_path_split(a, text, &path, e);
    if (rc < 0 ||
        (rc = kustomize_path_find(p->t->run, &found->object, &path, VALUE_NULL, &places, e)) < 0)
        return rc;
    bool nothing = !places.n || (*places.items[0])->kind == VALUE_NULL ||
                   ((*places.items[0])->kind >= VALUE_ARRAY && !(*places.items[0])->n) ||
                   ((*places.items[0])->kind == VALUE_STRING && !(*places.items[0])->n);
    if (nothing)
        return err_set(e, ERR_INVALID, "fieldPath `%.*s` is missing for replacement source %.*s",
                       STR_ARG(text), STR_ARG(selector_text(a, source)));
    p->value = value_clone(a, *places.items[0]);
    return refine(a, value_getc(source, "options"), &p->value, e);
}

// A new text onto a scalar of some type: the type stays if the text allows it.
static struct value *retype(struct arena *a, const struct value *old, struct str text)
{
    struct value *plain = kustomize_plain(a, text);
    bool fits = old->kind == VALUE_NULL || plain->kind == old->kind;
    return fits && old->kind != VALUE_STRING ? plain : value_str(a, text);
}

static int set_place(struct replacement *p, const struct value *options, struct value **at,
                     bool made, struct err *e)
{
    struct arena *a = p->t->run->a;
    struct str delimiter = value_str_at(options, "delimiter");
    if ((*at)->kind >= VALUE_ARRAY || p->value->kind >= VALUE_ARRAY) {
        if (delimiter.n)
            return err_set(e, ERR_INVALID, "delimiter option can only be used with scalar nodes");
        *at = value_clone(a, p->value);
        return 0;
    }
    struct str text = kustomize_scalar(a, p->value);
    if (delimiter.n) {
        int64_t index = value_int_at(options, "index", 0);
        struct strings parts = split(a, kustomize_scalar(a, *at), delimiter), out = {0};
        if (index < 0)
            strings_add(a, &out, text);
        for (size_t i = 0; i < parts.n; i++)
            strings_add(a, &out, index >= 0 && i == (uint64_t)index ? text : parts.items[i]);
        if (index >= 0 && (uint64_t)index >= parts.n)
            strings_add(a, &out, text);
        text = arena_join(a, out.items, out.n, delimiter);
    }
    if (made && !delimiter.n && (*at)->kind == VALUE_NULL)
        *at = value_clone(a, p->value);
    else
        *at = retype(a, *at, text);
    return 0;
}

static int compare_members(const void *x, const void *y)
{
    return str_cmp(((const struct member *)x)->key, ((const struct member *)y)->key);
}

static void sort_members(struct value *v)
{
    if (v->kind == VALUE_OBJECT && v->n)
        qsort(v->members, v->n, sizeof *v->members, compare_members);
    value_each_field (v, f)
        sort_members(f->value);
    value_each_item (v, item)
        sort_members(item);
}

static struct str write_again(struct arena *a, struct value *v, struct str was)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct str begin = str_trim(was);
    if (begin.n && (begin.p[0] == '{' || begin.p[0] == '[')) {
        sort_members(v);
        if (str_chr(was, '\n') >= 0 && str_find(was, STR("  ")) >= 0)
            json_write_pretty(&b, v, 2);
        else
            json_write(&b, v);
    } else
        yaml_write(&b, v);
    return arena_str(a, str_trim(buf_view(&b)));
}

// 1: the path leads into a text that is JSON or YAML, and the value stands there now; 0: it does
// not.
static int set_inside_text(struct replacement *p, struct kustomize_resource *r,
                           const struct strings *path, enum value_kind create, struct err *e)
{
    struct kustomize_run *run = p->t->run;
    for (size_t n = 1; n < path->n; n++) {
        struct strings head = {path->items, n, n},
                       tail = {path->items + n, path->n - n, path->n - n};
        struct kustomize_places places, inside;
        if (kustomize_path_find(run, &r->object, &head, VALUE_NULL, &places, NULL) < 0 ||
            places.n != 1 || (*places.items[0])->kind != VALUE_STRING)
            continue;
        struct value *parsed;
        if (yaml_parse(run->a, value_string(*places.items[0]), NULL, &parsed, NULL) < 0 ||
            parsed->kind < VALUE_ARRAY)
            return 0;
        if (kustomize_path_find(run, &parsed, &tail, create, &inside, NULL) < 0 || !inside.n)
            return 0;
        for (size_t i = 0; i < inside.n; i++) {
            int rc = set_place(p, NULL, inside.items[i], create != VALUE_NULL, e);
            if (rc < 0)
                return rc;
        }
        *places.items[0] =
            value_str(run->a, write_again(run->a, parsed, value_string(*places.items[0])));
        return 1;
    }
    return 0;
}

static int set_field(struct replacement *p, struct kustomize_resource *r,
                     const struct value *options, struct str text, struct err *e)
{
    struct kustomize_run *run = p->t->run;
    bool create = value_bool_at(options, "create", false);
    enum value_kind made = !create                         ? VALUE_NULL
                           : p->value->kind >= VALUE_ARRAY ? p->value->kind
                                                           : VALUE_STRING;
    struct strings path;
    struct kustomize_places places;
    int rc = kustomize_path_split(run->a, text, &path, e);
    if (rc < 0 || (rc = set_inside_text(p, r, &path, made, e)) != 0)
        return rc < 0 ? rc : 0;
    _cleanup_err_ struct err inner = ERR_INIT;
    const char *lost = create ? "unable to find or create field" : "unable to find field";
    if (kustomize_path_find(run, &r->object, &path, made, &places, &inner) < 0)
        return err_wrap(e, &inner, "%s \"%.*s\" in replacement target", lost, STR_ARG(text));
    if (!places.n)
        return err_set(e, ERR_INVALID, "%s \"%.*s\" in replacement target", lost, STR_ARG(text));
    for (size_t i = 0; i < places.n; i++)
        if ((rc = set_place(p, options, places.items[i], create, e)) < 0)
            return rc;
    return 0;
}

// Selected by `select`, and by none of `reject`.
static int is_target(struct replacement *p, const struct value *target,
                     struct kustomize_resource *r, bool *ret, struct err *e)
{
    int rc = kustomize_selects(p->t->run, value_getc(target, "select"), r, ret, e);
    value_each_item (value_getc(target, "reject"), reject) {
        bool rejected = false;
        if (rc < 0 || !*ret)
            return rc;
        rc = kustomize_selects(p->t->run, reject, r, &rejected, e);
        *ret = !rejected;
    }
    return rc;
}

static int write_target(struct replacement *p, const struct value *target, struct err *e)
{
    const struct value *paths = value_getc(target, "fieldPaths"),
                       *options = value_getc(target, "options");
    if (!value_getc(target, "select"))
        return err_set(e, ERR_INVALID, "target must specify resources to select");
    for (size_t i = 0; i < p->bag->resources.n; i++) {
        struct kustomize_resource *r = p->bag->resources.items[i];
        bool is;
        int rc = is_target(p, target, r, &is, e);
        if (rc < 0)
            return rc;
        if (!is)
            continue;
        if (!value_len(paths) && (rc = set_field(p, r, options, STR("metadata.name"), e)) < 0)
            return rc;
        value_each_item (paths, path)
            if ((rc = set_field(p, r, options, value_string(path), e)) < 0)
                return rc;
    }
    return 0;
}

static int replace_one(struct kustomize_target *t, struct kustomize_bag *bag,
                       const struct value *entry, struct err *e)
{
    struct replacement p = {t, bag, entry, NULL};
    const struct value *source = value_getc(entry, "source"),
                       *direct = value_getc(entry, "sourceValue");
    if ((!source && !direct) || !value_getc(entry, "targets"))
        return err_set(e, ERR_INVALID,
                       "replacements must specify a source and at least one target");
    if (source && direct)
        return err_set(e, ERR_INVALID, "value and resource selectors are mutually exclusive");
    p.value = (struct value *)direct;
    int rc = source ? find_source(&p, source, e) : 0;
    value_each_item (value_getc(entry, "targets"), target)
        if (rc == 0)
            rc = write_target(&p, target, e);
    return rc;
}

int kustomize_replace(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    value_each_item (value_getc(t->k, "replacements"), entry) {
        struct str path = value_str_at(entry, "path"), text;
        struct value *read = NULL;
        int rc;
        if (path.n) { // a file with one replacement, or a list of them
            if ((rc = kustomize_target_read(t, path, &text, e)) < 0 ||
                (rc = yaml_parse(t->run->a, text, NULL, &read, e)) < 0)
                return rc;
        }
        if (read && read->kind == VALUE_ARRAY) {
            value_each_item (read, one)
                if ((rc = replace_one(t, bag, one, e)) < 0)
                    return rc;
        } else if ((rc = replace_one(t, bag, read ? read : entry, e)) < 0)
            return rc;
    }
    kustomize_renamed(&bag->resources);
    return 0;
}
