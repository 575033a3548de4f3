// Objects and their names. kustomize knows an object by group, version, kind, name and namespace,
// and keeps every name that it ever had, because patches and references use the names of the place
// where they are written.
//
// Finding is by a hash of name and kind over all present and former ids, made when first asked for
// and thrown away by whoever renames; so a build of n objects and n patches costs n, not n².
#include "kustomize/private.h"
#include "object/yaml.h"
#include "schema/schema.h"
#include <string.h>

struct index_entry {
    struct kustomize_id id;
    struct kustomize_resource *resource;
    uint32_t next; // position + 1
    bool now;      // the present id
};
struct kustomize_index {
    uint32_t *heads; // position + 1
    uint32_t nheads; // a power of two
    struct index_entry *entries;
    size_t n, cap;
};

void strings_add(struct arena *a, struct strings *s, struct str text)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 4;
        s->items = arena_grow(a, s->items, s->cap * sizeof *s->items, cap * sizeof *s->items);
        s->cap = cap;
    }
    s->items[s->n++] = text;
}

static void split_version(struct str api_version, struct str *group, struct str *version)
{
    ptrdiff_t slash = str_chr(api_version, '/');
    *group = slash < 0 ? STR_NULL : str_sub(api_version, 0, (size_t)slash);
    *version = slash < 0 ? api_version : str_from(api_version, (size_t)slash + 1);
}

struct kustomize_gvk kustomize_gvk_of(const struct value *v)
{
    return (struct kustomize_gvk){value_string(value_getc(v, "group")),
                                  value_string(value_getc(v, "version")),
                                  value_string(value_getc(v, "kind"))};
}

bool kustomize_gvk_selects(const struct kustomize_gvk *p, const struct kustomize_id *id)
{
    return (!p->group.n || str_eq(p->group, id->group)) &&
           (!p->version.n || str_eq(p->version, id->version)) &&
           (!p->kind.n || str_eq(p->kind, id->kind));
}

struct kustomize_id kustomize_id_now(const struct kustomize_resource *r)
{
    const struct value *metadata = value_getc(r->object, "metadata");
    struct kustomize_id id = {.kind = value_string(value_getc(r->object, "kind")),
                              .name = value_string(value_getc(metadata, "name")),
                              .space = value_string(value_getc(metadata, "namespace"))};
    split_version(value_string(value_getc(r->object, "apiVersion")), &id.group, &id.version);
    return id;
}

struct kustomize_id kustomize_id_first(const struct kustomize_resource *r)
{
    return r->nbefore ? r->before[0] : kustomize_id_now(r);
}

// Kinds that the API does not have are taken to live in namespaces.
bool kustomize_id_clusterwide(const struct kustomize_id *id)
{
    const struct kind *k = kind_by_kind(id->group, id->version, id->kind);
    return k && !(k->flags & KIND_NAMESPACED);
}

struct str kustomize_id_space(const struct kustomize_id *id)
{
    if (kustomize_id_clusterwide(id))
        return STR("_non_namespaceable_");
    return id->space.n ? id->space : STR("default");
}

bool kustomize_id_eq(const struct kustomize_id *x, const struct kustomize_id *y)
{
    return str_eq(x->name, y->name) && str_eq(x->kind, y->kind) && str_eq(x->group, y->group) &&
           str_eq(x->version, y->version) && str_eq(kustomize_id_space(x), kustomize_id_space(y));
}

struct str kustomize_id_text(struct arena *a, const struct kustomize_id *id)
{
    struct str kind = id->kind.n ? id->kind : STR("[noKind]"),
               version = id->version.n ? id->version : STR("[noVer]"),
               group = id->group.n ? id->group : STR("[noGrp]"),
               name = id->name.n ? id->name : STR("[noName]"),
               space = id->space.n ? id->space : STR("[noNs]");
    return arena_printf(a, "%.*s.%.*s.%.*s/%.*s.%.*s", STR_ARG(kind), STR_ARG(version),
                        STR_ARG(group), STR_ARG(name), STR_ARG(space));
}

void kustomize_remember(struct arena *a, struct kustomize_resource *r)
{
    if (r->nbefore == r->cap_before) {
        size_t cap = r->cap_before ? 2 * r->cap_before : 4;
        r->before =
            arena_grow(a, r->before, r->cap_before * sizeof *r->before, cap * sizeof *r->before);
        r->cap_before = cap;
    }
    struct kustomize_id id = kustomize_id_now(r);
    id.space = kustomize_id_space(&id);
    r->before[r->nbefore++] = id;
}

// The index.

static uint64_t id_hash(const struct kustomize_id *id)
{
    return str_hash(id->name) * 31 + str_hash(id->kind);
}

static void index_add(struct arena *a, struct kustomize_index *x, struct kustomize_resource *r,
                      struct kustomize_id id, bool now)
{
    if (x->n == x->cap) {
        size_t cap = 2 * x->cap;
        x->entries =
            arena_grow(a, x->entries, x->cap * sizeof *x->entries, cap * sizeof *x->entries);
        x->cap = cap;
    }
    uint32_t *head = &x->heads[id_hash(&id) & (x->nheads - 1)];
    x->entries[x->n] = (struct index_entry){id, r, *head, now};
    *head = (uint32_t)++x->n;
}

static void index_resource(struct arena *a, struct kustomize_index *x, struct kustomize_resource *r)
{
    for (size_t i = 0; i < r->nbefore; i++)
        index_add(a, x, r, r->before[i], false);
    index_add(a, x, r, kustomize_id_now(r), true);
}

static struct kustomize_index *index_of(struct arena *a, struct kustomize_resources *rs)
{
    if (rs->index && rs->index->n < 2 * (size_t)rs->index->nheads)
        return rs->index;
    struct kustomize_index *x = arena_new(a, struct kustomize_index);
    x->nheads = 64;
    while (x->nheads < 2 * rs->n)
        x->nheads *= 2;
    x->heads = arena_array(a, uint32_t, x->nheads);
    x->cap = rs->n ? 2 * rs->n : 16;
    x->entries = arena_array(a, struct index_entry, x->cap);
    for (size_t i = 0; i < rs->n; i++)
        index_resource(a, x, rs->items[i]);
    return rs->index = x;
}

// How many different objects are (or, with `ever`, were) called so; the first of them in *ret.
static size_t matches(struct arena *a, struct kustomize_resources *rs,
                      const struct kustomize_id *id, bool ever, struct kustomize_resource **ret)
{
    struct kustomize_index *x = index_of(a, rs);
    size_t n = 0;
    for (uint32_t at = x->heads[id_hash(id) & (x->nheads - 1)]; at; at = x->entries[at - 1].next) {
        struct index_entry *entry = &x->entries[at - 1];
        if (!(ever || entry->now) || !kustomize_id_eq(&entry->id, id) ||
            (n && *ret == entry->resource))
            continue;
        *ret = entry->resource;
        n++;
    }
    return n;
}

void kustomize_push(struct arena *a, struct kustomize_resources *to, struct kustomize_resource *r)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? 2 * to->cap : 16;
        to->items = arena_grow(a, to->items, to->cap * sizeof *to->items, cap * sizeof *to->items);
        to->cap = cap;
    }
    to->items[to->n++] = r;
    if (to->index)
        index_resource(a, to->index, r);
}

int kustomize_append(struct kustomize_run *run, struct kustomize_resources *to,
                     struct kustomize_resource *r, struct err *e)
{
    struct kustomize_id id = kustomize_id_now(r);
    struct kustomize_resource *there;
    if (matches(run->a, to, &id, false, &there))
        return err_set(e, ERR_INVALID, "may not add resource with an already registered id: %.*s",
                       STR_ARG(kustomize_id_text(run->a, &id)));
    kustomize_push(run->a, to, r);
    return 0;
}

int kustomize_append_all(struct kustomize_run *run, struct kustomize_resources *to,
                         const struct kustomize_resources *from, struct err *e)
{
    for (size_t i = 0; i < from->n; i++) {
        int rc = kustomize_append(run, to, from->items[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int kustomize_find(struct kustomize_run *run, const struct kustomize_resources *in,
                   const struct kustomize_id *id, struct kustomize_resource **ret, struct err *e)
{
    size_t n = matches(run->a, (struct kustomize_resources *)in, id, true, ret);
    if (n == 1)
        return 0;
    return err_set(e, ERR_INVALID, "%s for Id %.*s", n ? "multiple matches" : "no matches",
                   STR_ARG(kustomize_id_text(run->a, id)));
}

// `from` under what `to` says itself.
static void merge_strings(struct arena *a, struct value *to, const char *path,
                          const struct value *from)
{
    struct value *mine = value_at(to, path), *merged = value_object(a);
    value_each_field (from, f)
        value_set(a, merged, f->key, f->value);
    value_each_field (mine, f)
        value_set(a, merged, f->key, f->value);
    if (merged->n)
        value_set_at(a, to, path, merged);
}

static const char *behavior_name(enum kustomize_behavior b)
{
    static const char *const names[] = {"unspecified", "create", "replace", "merge"};
    return names[b];
}

int kustomize_absorb(struct kustomize_run *run, struct kustomize_resources *to,
                     struct kustomize_resource *r, struct err *e)
{
    struct arena *a = run->a;
    struct kustomize_id id = kustomize_id_now(r);
    struct kustomize_resource *old;
    size_t n = matches(a, to, &id, true, &old);
    bool joins = r->behavior == BEHAVIOR_MERGE || r->behavior == BEHAVIOR_REPLACE;
    struct str text = kustomize_id_text(a, &id);
    if (n > 1)
        return err_set(e, ERR_INVALID, "found multiple objects that could accept merge of %.*s",
                       STR_ARG(text));
    if (!n && joins)
        return err_set(e, ERR_INVALID, "id %.*s does not exist; cannot merge or replace",
                       STR_ARG(text));
    if (!n)
        return kustomize_append(run, to, r, e);
    if (!joins)
        return err_set(e, ERR_INVALID,
                       "id %.*s exists; behavior must be merge or replace, not '%s'", STR_ARG(text),
                       behavior_name(r->behavior));
    // The new content under the old one's name and history.
    merge_strings(a, r->object, "metadata.labels", value_at(old->object, "metadata.labels"));
    merge_strings(a, r->object, "metadata.annotations",
                  value_at(old->object, "metadata.annotations"));
    if (r->behavior == BEHAVIOR_MERGE) {
        merge_strings(a, r->object, "data", value_getc(old->object, "data"));
        merge_strings(a, r->object, "binaryData", value_getc(old->object, "binaryData"));
    }
    struct value *name = value_at(old->object, "metadata.name"),
                 *space = value_at(old->object, "metadata.namespace");
    value_set_at(a, r->object, "metadata.name", name);
    if (space)
        value_set_at(a, r->object, "metadata.namespace", space);
    old->needs_hash = r->needs_hash;
    old->object = r->object;
    return 0;
}

struct kustomize_resource *kustomize_resource_make(struct kustomize_run *run, struct value *object,
                                                   struct err *e)
{
    if (++run->made > KUSTOMIZE_RESOURCES) {
        err_set(e, ERR_TOO_LARGE, "more than %d objects in one build", KUSTOMIZE_RESOURCES);
        return NULL;
    }
    struct kustomize_resource *r = arena_new(run->a, struct kustomize_resource);
    r->object = object;
    return r;
}

static int parse_object(struct kustomize_run *run, struct value *object, struct str where,
                        struct kustomize_resources *ret, struct err *e)
{
    struct str kind = value_string(value_getc(object, "kind"));
    if (!kind.n)
        return err_set(e, ERR_BAD_REQUEST, "missing Resource metadata: %.*s: object has no kind",
                       STR_ARG(where));
    const struct value *items = value_getc(object, "items");
    if (str_ends(kind, STR("List")) && value_is(items, VALUE_ARRAY)) {
        value_each_item (items, item) {
            int rc = parse_object(run, item, where, ret, e);
            if (rc < 0)
                return rc;
        }
        return 0;
    }
    if (!value_str_at(object, "metadata.name").n && !str_ends(kind, STR("List")))
        return err_set(e, ERR_BAD_REQUEST,
                       "missing metadata.name in object {{%.*s %.*s} {{ } map[] map[]}}",
                       STR_ARG(value_string(value_getc(object, "apiVersion"))), STR_ARG(kind));
    struct kustomize_resource *r = kustomize_resource_make(run, object, e);
    if (!r)
        return err_code(e);
    kustomize_push(run->a, ret, r);
    return 0;
}

int kustomize_parse(struct kustomize_run *run, struct str text, struct str where,
                    struct kustomize_resources *ret, struct err *e)
{
    struct yaml_reader *reader = yaml_open_core(text);
    int rc;
    for (;;) {
        struct value *document;
        rc = yaml_next(reader, run->a, NULL, &document, e);
        if (rc <= 0)
            break;
        if (document->kind == VALUE_NULL)
            continue;
        if (document->kind != VALUE_OBJECT) {
            rc = err_set(e, ERR_BAD_REQUEST, "%.*s: a document is no object", STR_ARG(where));
            break;
        }
        if ((rc = parse_object(run, document, where, ret, e)) < 0)
            break;
    }
    yaml_close(reader);
    return rc < 0 ? rc : 0;
}
