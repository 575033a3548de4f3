// Lookup in the tables of kinds and types. They are a few hundred rows, made at build time and read
// only: types are found by binary search over names, kinds through a hash index of their two keys
// (group/version/resource and group/version/kind) that is made once, on first use.
//
// Start reading at api/README.md (the format), then api/apps.kinds (an example).
#include "schema/schema.h"
#include "schema/tables.h"
#include <pthread.h>

// Open addressing over kind numbers + 1; about a quarter full.
#define INDEX_SIZE 1024
static uint16_t by_resource[INDEX_SIZE], by_kind[INDEX_SIZE];
static pthread_once_t index_once = PTHREAD_ONCE_INIT;

static size_t slot_of(struct str group, struct str version, struct str name)
{
    uint32_t h = 2166136261u; // FNV-1a: the keys are our own, nobody can choose collisions
    const struct str parts[] = {group, version, name};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < parts[i].n; j++)
            h = (h ^ (unsigned char)parts[i].p[j]) * 16777619u;
        h = (h ^ '/') * 16777619u;
    }
    return h % INDEX_SIZE;
}

static void index_add(uint16_t *index, size_t slot, size_t kind)
{
    while (index[slot])
        slot = (slot + 1) % INDEX_SIZE;
    index[slot] = (uint16_t)(kind + 1);
}

static void index_make(void)
{
    BUG_ON(schema_nkinds > INDEX_SIZE / 2);
    for (size_t i = 0; i < schema_nkinds; i++) {
        const struct kind *k = &schema_kinds[i];
        index_add(by_resource, slot_of(k->group, k->version, k->resource), i);
        index_add(by_kind, slot_of(k->group, k->version, k->kind), i);
    }
}

size_t kind_count(void)
{
    return schema_nkinds;
}

const struct kind *kind_at(size_t index)
{
    return index < schema_nkinds ? &schema_kinds[index] : NULL;
}

const struct kind *kind_by_resource(struct str group, struct str version, struct str resource)
{
    pthread_once(&index_once, index_make);
    for (size_t s = slot_of(group, version, resource); by_resource[s]; s = (s + 1) % INDEX_SIZE) {
        const struct kind *k = &schema_kinds[by_resource[s] - 1];
        if (str_eq(k->resource, resource) && str_eq(k->group, group) && str_eq(k->version, version))
            return k;
    }
    return NULL;
}

const struct kind *kind_by_kind(struct str group, struct str version, struct str kind)
{
    pthread_once(&index_once, index_make);
    for (size_t s = slot_of(group, version, kind); by_kind[s]; s = (s + 1) % INDEX_SIZE) {
        const struct kind *k = &schema_kinds[by_kind[s] - 1];
        if (str_eq(k->kind, kind) && str_eq(k->group, group) && str_eq(k->version, version))
            return k;
    }
    return NULL;
}

static void split_api_version(struct str api_version, struct str *group, struct str *version)
{
    ptrdiff_t slash = str_chr(api_version, '/');
    *group = slash < 0 ? STR_NULL : str_sub(api_version, 0, (size_t)slash);
    *version = str_from(api_version, (size_t)(slash + 1));
}

const struct kind *kind_by_api_version(struct str api_version, struct str kind)
{
    struct str group, version;
    split_api_version(api_version, &group, &version);
    return kind_by_kind(group, version, kind);
}

static bool in_list(const struct str *list, struct str word)
{
    for (; list && list->p; list++)
        if (str_ieq(*list, word))
            return true;
    return false;
}

// kubectl's order: a resource or singular name anywhere wins over a short name.
const struct kind *kind_by_word(struct str word)
{
    // "deployments.apps", "deployments.v1.apps", "ingresses.networking.k8s.io"
    ptrdiff_t dot = str_chr(word, '.');
    struct str name = dot < 0 ? word : str_sub(word, 0, (size_t)dot);
    struct str group = dot < 0 ? STR_NULL : str_from(word, (size_t)dot + 1);
    for (int shorts = 0; shorts < 2; shorts++) {
        for (size_t i = 0; i < schema_nkinds; i++) {
            const struct kind *k = &schema_kinds[i];
            if (shorts ? !in_list(k->short_names, name)
                       : !str_ieq(k->resource, name) && !str_ieq(k->singular, name) &&
                             !str_ieq(k->kind, name))
                continue;
            if (dot < 0 || str_eq(k->group, group))
                return k;
            if (group.n > k->version.n && str_starts(group, k->version) &&
                group.p[k->version.n] == '.' && str_eq(str_from(group, k->version.n + 1), k->group))
                return k;
        }
    }
    return NULL;
}

struct str kind_api_version(const struct kind *k)
{
    return k->api_version;
}

const struct subresource *kind_subresource(const struct kind *k, struct str name)
{
    for (size_t i = 0; i < k->nsubresources; i++)
        if (str_eq(k->subresources[i].name, name))
            return &k->subresources[i];
    return NULL;
}

const struct type *type_by_name(struct str name)
{
    size_t low = 0, high = schema_ntypes;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = str_cmp(name, schema_types[middle].name);
        if (!order)
            return &schema_types[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static const struct type *type_in_package(struct str package, struct str kind)
{
    char name[256];
    if (package.n + 1 + kind.n > sizeof name)
        return NULL;
    memcpy(name, package.p, package.n);
    name[package.n] = '.';
    memcpy(name + package.n + 1, kind.p, kind.n);
    return type_by_name((struct str){name, package.n + 1 + kind.n});
}

// Types of meta.v1 that Kubernetes registers in every group version.
static const struct str everywhere[] = {
    STR("Status"),        STR("DeleteOptions"), STR("ListOptions"),  STR("GetOptions"),
    STR("CreateOptions"), STR("UpdateOptions"), STR("PatchOptions"), STR("WatchEvent"),
    STR("APIGroup"),      STR("APIGroupList"),  STR("APIVersions"),  STR("APIResourceList"),
};

const struct type *type_by_kind(struct str api_version, struct str kind)
{
    struct str group, version;
    split_api_version(api_version, &group, &version);
    for (size_t i = 0; i < sizeof everywhere / sizeof *everywhere; i++)
        if (str_eq(kind, everywhere[i]))
            return type_in_package(STR("meta.v1"), kind);
    if (str_eqc(group, "meta.k8s.io"))
        return type_in_package(STR("meta.v1"), kind);
    for (size_t i = 0; i < schema_npackages; i++)
        if (schema_packages[i].serves && str_eq(schema_packages[i].group, group) &&
            str_eq(schema_packages[i].version, version))
            return type_in_package(schema_packages[i].name, kind);
    return NULL;
}

struct str kind_qualified_resource(struct arena *a, const struct kind *k)
{
    if (!k->group.n)
        return k->resource;
    return arena_printf(a, "%.*s.%.*s", STR_ARG(k->resource), STR_ARG(k->group));
}
