// The transformers that a kustomization's own fields ask for, in the order in which they always
// run.
#include "base/guard.h"
#include "kustomize/private.h"
#include <string.h>

typedef int transform_fn(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);

struct setter {
    struct arena *a;
    const struct value *pairs;
    struct str text, end; // what is put before and behind, or the text itself
    int64_t number;
    const struct value *image;
    struct kustomize_run *run;
};

static int each(struct kustomize_target *t, const struct kustomize_fields *fields,
                struct kustomize_resource *r, enum value_kind made, kustomize_set_fn *set,
                struct setter *s, struct err *e)
{
    for (size_t i = 0; i < fields->n; i++) {
        int rc = kustomize_field_each(t->run, &fields->items[i], r, made, set, s, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Namespace.

static int set_text(void *context, struct value **at, struct err *e)
{
    struct setter *s = context;
    if ((*at)->kind == VALUE_OBJECT || (*at)->kind == VALUE_ARRAY)
        return err_set(e, ERR_INVALID, "namespace field specs must target scalar nodes");
    *at = value_str(s->a, s->text);
    return 0;
}

// Of a binding's subjects only the service accounts named "default" move along.
static void set_subjects(struct arena *a, struct value *object, struct str space)
{
    value_each_item (value_getc(object, "subjects"), subject) {
        if (str_eqc(value_str_at(subject, "name"), "default"))
            value_setc(a, subject, "namespace", value_str(a, space));
    }
}

static int set_space(struct kustomize_target *t, struct kustomize_bag *bag,
                     struct kustomize_resource *r, struct setter *s, struct err *e)
{
    struct kustomize_id id = kustomize_id_now(r);
    kustomize_remember(s->a, r);
    if (!kustomize_id_clusterwide(&id))
        value_set_at(s->a, r->object, "metadata.namespace", value_str(s->a, s->text));
    if (str_eqc(id.kind, "RoleBinding") || str_eqc(id.kind, "ClusterRoleBinding"))
        set_subjects(s->a, r->object, s->text);
    for (size_t i = 0; i < bag->config.space.n; i++) {
        const struct kustomize_field *f = &bag->config.space.items[i];
        if (str_eqc(f->path, "metadata/namespace") ||
            (str_eqc(f->path, "metadata/name") &&
             !str_eqc(value_str_at(r->object, "apiVersion"), "v1")) ||
            (str_eqc(f->path, "subjects/namespace") && str_ends(f->in.kind, STR("RoleBinding"))))
            continue;
        int rc = kustomize_field_each(t->run, f, r, VALUE_STRING, set_text, s, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int transform_space(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    struct setter s = {.a = t->run->a, .text = value_str_at(t->k, "namespace")};
    struct kustomize_resources *rs = &bag->resources;
    if (!s.text.n)
        return 0;
    for (size_t i = 0; i < rs->n; i++) {
        int rc = set_space(t, bag, rs->items[i], &s, e);
        if (rc < 0)
            return rc;
    }
    kustomize_renamed(rs);
    struct kustomize_resources checked = {0};
    for (size_t i = 0; i < rs->n; i++) {
        struct kustomize_resource *same;
        struct kustomize_id id = kustomize_id_now(rs->items[i]);
        (void)same;
        if (kustomize_append(t->run, &checked, rs->items[i], NULL) < 0)
            return err_set(e, ERR_INVALID, "namespace transformation produces ID conflict: [%.*s]",
                           STR_ARG(kustomize_id_text(t->run->a, &id)));
    }
    return 0;
}

// Prefix and suffix.

static int set_around(void *context, struct value **at, struct err *e)
{
    struct setter *s = context;
    if ((*at)->kind == VALUE_OBJECT || (*at)->kind == VALUE_ARRAY)
        return err_set(e, ERR_INVALID, "a name prefix or suffix must target a scalar");
    struct str was = kustomize_scalar(s->a, *at);
    *at = value_str(
        s->a, arena_printf(s->a, "%.*s%.*s%.*s", STR_ARG(s->text), STR_ARG(was), STR_ARG(s->end)));
    return 0;
}

// Kinds whose names mean something of themselves.
static bool name_fixed(const struct kustomize_id *id)
{
    return str_eqc(id->kind, "CustomResourceDefinition") || str_eqc(id->kind, "Namespace") ||
           (str_eqc(id->kind, "APIService") && str_eqc(id->group, "apiregistration.k8s.io"));
}

static int rename_all(struct kustomize_target *t, struct kustomize_bag *bag, struct setter *s,
                      const struct kustomize_fields *fields, struct err *e)
{
    struct kustomize_resources *rs = &bag->resources;
    for (size_t i = 0; i < rs->n; i++) {
        struct kustomize_resource *r = rs->items[i];
        struct kustomize_id id = kustomize_id_first(r);
        if (name_fixed(&id))
            continue;
        for (size_t j = 0; j < fields->n; j++) {
            const struct kustomize_field *f = &fields->items[j];
            if (!kustomize_gvk_selects(&f->in, &id))
                continue;
            if (str_eqc(f->path, "metadata/name")) {
                strings_add(s->a, s->text.n ? &r->prefixes : &r->suffixes,
                            s->text.n ? s->text : s->end);
                kustomize_remember(s->a, r);
            }
            int rc = kustomize_field_each(t->run, f, r, VALUE_NULL, set_around, s, e);
            if (rc < 0)
                return rc;
        }
    }
    kustomize_renamed(rs);
    return 0;
}

static int transform_prefix(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    struct setter s = {.a = t->run->a, .text = value_str_at(t->k, "namePrefix")};
    return s.text.n ? rename_all(t, bag, &s, &bag->config.name_prefix, e) : 0;
}

static int transform_suffix(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    struct setter s = {.a = t->run->a, .end = value_str_at(t->k, "nameSuffix")};
    return s.end.n ? rename_all(t, bag, &s, &bag->config.name_suffix, e) : 0;
}

// Labels and annotations.

static int set_pairs(void *context, struct value **at, struct err *e)
{
    struct setter *s = context;
    if ((*at)->kind != VALUE_OBJECT)
        return err_set(e, ERR_INVALID, "expected a mapping node");
    value_each_field (s->pairs, f)
        value_set(s->a, *at, f->key,
                  f->value->kind == VALUE_NULL ? value_strc(s->a, "") : f->value);
    return 0;
}

static int set_all_pairs(struct kustomize_target *t, struct kustomize_bag *bag,
                         const struct value *pairs, const struct kustomize_fields *fields,
                         struct err *e)
{
    struct setter s = {.a = t->run->a, .pairs = pairs};
    for (size_t i = 0; value_len(pairs) && i < bag->resources.n; i++) {
        int rc = each(t, fields, bag->resources.items[i], VALUE_OBJECT, set_pairs, &s, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int transform_labels(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    struct arena *a = t->run->a;
    struct kustomize_config *c = &bag->config;
    int rc;
    value_each_item (value_getc(t->k, "labels"), label) {
        struct kustomize_fields fields = {0};
        struct kustomize_field metadata = {.path = STR("metadata/labels"), .create = true};
        struct kustomize_fields one = {&metadata, 1, 1};
        if ((rc = kustomize_fields_read(a, &fields, value_getc(label, "fields"), e)) < 0 ||
            (rc = kustomize_fields_merge(a, &fields, &c->labels, e)) < 0)
            return rc;
        if (value_bool_at(label, "includeSelectors", false))
            rc = kustomize_fields_merge(a, &fields, &c->common_labels, e);
        else {
            if (value_bool_at(label, "includeTemplates", false))
                rc = kustomize_fields_merge(a, &fields, &c->template_labels, e);
            if (rc == 0)
                rc = kustomize_fields_merge(a, &fields, &one, e);
        }
        if (rc < 0 || (rc = set_all_pairs(t, bag, value_getc(label, "pairs"), &fields, e)) < 0)
            return rc;
    }
    return set_all_pairs(t, bag, value_getc(t->k, "commonLabels"), &c->common_labels, e);
}

static int transform_annotations(struct kustomize_target *t, struct kustomize_bag *bag,
                                 struct err *e)
{
    return set_all_pairs(t, bag, value_getc(t->k, "commonAnnotations"), &bag->config.annotations,
                         e);
}

// Replicas.

static int set_number(void *context, struct value **at, struct err *e)
{
    struct setter *s = context;
    (void)e;
    *at = value_int(s->a, s->number);
    return 0;
}

static bool ever_named(const struct kustomize_resource *r, struct str name,
                       const struct kustomize_gvk *in)
{
    for (size_t i = 0; i < r->nbefore; i++)
        if (str_eq(r->before[i].name, name) && kustomize_gvk_selects(in, &r->before[i]))
            return true;
    struct kustomize_id id = kustomize_id_now(r);
    return str_eq(id.name, name) && kustomize_gvk_selects(in, &id);
}

static int set_replicas(struct kustomize_target *t, struct kustomize_bag *bag,
                        const struct value *entry, struct err *e)
{
    const struct kustomize_fields *fields = &bag->config.replicas;
    struct setter s = {.a = t->run->a, .number = value_int_at(entry, "count", 0)};
    struct str name = value_str_at(entry, "name");
    bool found = false;
    for (size_t i = 0; i < fields->n; i++)
        for (size_t j = 0; j < bag->resources.n; j++) {
            struct kustomize_resource *r = bag->resources.items[j];
            if (!ever_named(r, name, &fields->items[i].in))
                continue;
            found = true;
            int rc =
                kustomize_field_each(t->run, &fields->items[i], r, VALUE_STRING, set_number, &s, e);
            if (rc < 0)
                return rc;
        }
    if (found)
        return 0;
    _cleanup_buf_ struct buf kinds = BUF_MAX(4096);
    for (size_t i = 0; i < fields->n; i++) {
        const struct kustomize_gvk *g = &fields->items[i].in;
        buf_printf(&kinds, "%s%.*s.%.*s.%.*s", i ? " " : "",
                   STR_ARG(g->kind.n ? g->kind : STR("[noKind]")),
                   STR_ARG(g->version.n ? g->version : STR("[noVer]")),
                   STR_ARG(g->group.n ? g->group : STR("[noGrp]")));
    }
    return err_set(e, ERR_INVALID,
                   "resource with name %.*s does not match a config with the following GVK [%s]",
                   STR_ARG(name), buf_cstr(&kinds));
}

static int transform_replicas(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    value_each_item (value_getc(t->k, "replicas"), entry) {
        int rc = set_replicas(t, bag, entry, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Images.

struct image_parts {
    struct str name, tag, digest;
};

// [[host[:port]/]path/]name[:tag][@digest]
static struct image_parts image_split(struct str image)
{
    ptrdiff_t slash = str_chr(image, '/');
    size_t from = slash > 0 ? (size_t)slash : 0;
    struct str search = str_from(image, from);
    ptrdiff_t at = str_chr(search, '@'), colon = str_chr(search, ':');
    struct image_parts p = {.name = image};
    if (at >= 0 && (colon < 0 || at < colon)) {
        p.name = str_sub(image, 0, from + (size_t)at);
        p.digest = str_from(search, (size_t)at + 1);
    } else if (colon >= 0) {
        p.name = str_sub(image, 0, from + (size_t)colon);
        p.tag = str_sub(search, (size_t)colon + 1, at < 0 ? SIZE_MAX : (size_t)(at - colon - 1));
        if (at >= 0)
            p.digest = str_from(search, (size_t)at + 1);
    }
    return p;
}

// Only letters, digits and "_.{}-" may be in a tag; the original looks no closer.
static bool tag_chars(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              str_chr(STR("_.{}-"), c) >= 0))
            return false;
    }
    return true;
}

// The name may be a pattern, since the original puts it into one (without a group: in "a|b" only b
// takes tag and digest along); dots are dots here.
static int image_matches(struct kustomize_run *run, struct str image, struct str name, bool *ret,
                         struct err *e)
{
    struct str rest = image;
    if (str_starts(image, name)) {
        rest = str_from(image, name.n);
        ptrdiff_t at = str_chr(rest, '@');
        struct str tag = at < 0 ? rest : str_sub(rest, 0, (size_t)at),
                   digest = at < 0 ? STR_NULL : str_from(rest, (size_t)at + 1);
        *ret = (!tag.n || (tag.p[0] == ':' && tag_chars(str_from(tag, 1)))) &&
               (at < 0 || (str_starts(digest, STR("sha256:")) && tag_chars(str_from(digest, 7))));
        if (*ret)
            return 0;
    }
    *ret = false;
    bool pattern = false;
    for (size_t i = 0; i < name.n; i++)
        pattern |= str_chr(STR("\\+*?()|[]{}^$"), name.p[i]) >= 0;
    if (!pattern)
        return 0;
    return kustomize_pattern(run,
                             arena_printf(run->a,
                                          "(?s:.*)(?:^%.*s(:[a-zA-Z0-9_.{}-]*)?"
                                          "(@sha256:[a-zA-Z0-9_.{}-]*)?$)(?s:.*)",
                                          STR_ARG(name)),
                             image, ret, e);
}

static int set_image(void *context, struct value **at, struct err *e)
{
    struct setter *s = context;
    if ((*at)->kind != VALUE_STRING)
        return (*at)->kind == VALUE_NULL ? 0 : err_set(e, ERR_INVALID, "expected a scalar image");
    bool matched;
    int rc = image_matches(s->run, value_string(*at), value_str_at(s->image, "name"), &matched, e);
    if (rc < 0 || !matched)
        return rc;
    struct image_parts p = image_split(value_string(*at));
    struct str name = value_str_at(s->image, "newName"), tag = value_str_at(s->image, "newTag"),
               digest = value_str_at(s->image, "digest"), end = value_str_at(s->image, "tagSuffix");
    if (name.n)
        p.name = name;
    if (tag.n || digest.n) {
        p.tag = tag;
        p.digest = digest;
    } else if (end.n) {
        p.tag = arena_printf(s->a, "%.*s%.*s", STR_ARG(p.tag), STR_ARG(end));
        p.digest = STR_NULL;
    }
    *at =
        value_str(s->a, arena_printf(s->a, "%.*s%s%.*s%s%.*s", STR_ARG(p.name), p.tag.n ? ":" : "",
                                     STR_ARG(p.tag), p.digest.n ? "@" : "", STR_ARG(p.digest)));
    return 0;
}

// Anything called containers or initContainers, wherever it is: custom resources carry pods, too.
static int set_images_anywhere(struct setter *s, struct value *v, struct err *e)
{
    int rc = 0;
    value_each_field (v, f) {
        bool containers = str_eqc(f->key, "containers") || str_eqc(f->key, "initContainers");
        if (containers && f->value->kind == VALUE_ARRAY) {
            value_each_item (f->value, item)
                value_each_field (item, image) {
                    if (str_eqc(image->key, "image") && (rc = set_image(s, &image->value, e)) < 0)
                        return rc;
                }
        } else if ((rc = set_images_anywhere(s, f->value, e)) < 0)
            return rc;
    }
    value_each_item (v, item)
        if ((rc = set_images_anywhere(s, item, e)) < 0)
            return rc;
    return 0;
}

static int transform_images(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    value_each_item (value_getc(t->k, "images"), image) {
        struct setter s = {.a = t->run->a, .run = t->run, .image = image};
        for (size_t i = 0; i < bag->resources.n; i++) {
            struct kustomize_resource *r = bag->resources.items[i];
            int rc = 0;
            if (!str_eqc(value_str_at(r->object, "kind"), "CustomResourceDefinition"))
                rc = set_images_anywhere(&s, r->object, e);
            if (rc < 0 || (rc = each(t, &bag->config.images, r, VALUE_NULL, set_image, &s, e)) < 0)
                return rc;
        }
    }
    return 0;
}

static const struct {
    const char *field; // of the kustomization, for messages
    transform_fn *run;
} transformers[] = {
    {"patches", kustomize_patches},
    {"namespace", transform_space},
    {"namePrefix", transform_prefix},
    {"nameSuffix", transform_suffix},
    {"labels", transform_labels},
    {"commonAnnotations", transform_annotations},
    {"patchesJson6902", kustomize_patches_json},
    {"replicas", transform_replicas},
    {"images", transform_images},
    {"replacements", kustomize_replace},
};

int kustomize_transform(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(transformers); i++) {
        int rc = transformers[i].run(t, bag, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
