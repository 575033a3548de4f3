// What the files of this room share. A build has one arena; nothing is freed before its end.
#pragma once
#include "kustomize/kustomize.h"

// Group, version, kind, namespace, name.
struct kustomize_id {
    struct str group, version, kind, space, name;
};
// A pattern of the first three: an empty part matches everything.
struct kustomize_gvk {
    struct str group, version, kind;
};

enum kustomize_behavior { BEHAVIOR_NONE, BEHAVIOR_CREATE, BEHAVIOR_REPLACE, BEHAVIOR_MERGE };

struct strings { // a list that grows in the arena
    struct str *items;
    size_t n, cap;
};

// One object on its way, with what it was called before: references are found by any of its names.
struct kustomize_resource {
    struct value *object;
    struct kustomize_id *before; // oldest first
    size_t nbefore, cap_before;
    struct strings prefixes, suffixes;
    enum kustomize_behavior behavior; // of a generated one
    bool needs_hash;
    bool name_change, kind_change; // of a patch: it may
};
// In the order in which they came. The index finds one by what it is or was called; whoever renames
// calls kustomize_renamed.
struct kustomize_resources {
    struct kustomize_resource **items;
    size_t n, cap;
    struct kustomize_index *index; // NULL: made when next asked for
};

// Where a transformer acts.
struct kustomize_field {
    struct kustomize_gvk in;
    struct str path; // "spec/template/spec/containers[]/image"; "\/" is a slash in a key
    bool create;
};
struct kustomize_fields {
    struct kustomize_field *items;
    size_t n, cap;
};
// One rule of name references: fields that hold the name of a `target`.
struct kustomize_reference {
    struct kustomize_gvk target;
    struct kustomize_fields fields;
};
// The transformers' configuration: the defaults and what `configurations` add.
struct kustomize_config {
    struct kustomize_fields name_prefix, name_suffix, space, labels, common_labels, template_labels,
        annotations, images, replicas, variables;
    struct kustomize_reference *references;
    size_t nreferences, cap_references;
};

// One build, handed through everything.
struct kustomize_run {
    struct arena *a;
    const struct kustomize_options *options;
    const struct kustomize_files *files;
    struct kustomize_patterns *patterns; // compiled selectors
    size_t made;                         // objects so far
};
// One kustomization of it.
struct kustomize_target {
    struct kustomize_run *run;
    const struct kustomize_target *parent; // NULL at the top
    struct str root, file;                 // directory (links followed), "kustomization.yaml"
    struct value *k;                       // the file's content, deprecated fields replaced
    struct str chart_space;                // namespace for helmCharts, from above
    unsigned depth;
};
// What a kustomization has brought together.
struct kustomize_bag {
    struct kustomize_resources resources;
    struct kustomize_config config;
    struct value *variables; // array of vars
};

// resource.c
void strings_add(struct arena *a, struct strings *s, struct str text);
bool kustomize_gvk_selects(const struct kustomize_gvk *pattern, const struct kustomize_id *id);
struct kustomize_gvk kustomize_gvk_of(const struct value *v); // group, version, kind members
struct kustomize_id kustomize_id_now(const struct kustomize_resource *r);
struct kustomize_id kustomize_id_first(const struct kustomize_resource *r);
bool kustomize_id_eq(const struct kustomize_id *x,
                     const struct kustomize_id *y); // version included
struct str kustomize_id_text(struct arena *a, const struct kustomize_id *id);
bool kustomize_id_clusterwide(const struct kustomize_id *id);
struct str kustomize_id_space(const struct kustomize_id *id); // effective: "default" for none
void kustomize_remember(struct arena *a, struct kustomize_resource *r); // what it is called now
struct kustomize_resource *kustomize_resource_make(struct kustomize_run *run, struct value *object,
                                                   struct err *e);
// The objects of a YAML stream, Lists taken apart. `where` is for messages.
int kustomize_parse(struct kustomize_run *run, struct str text, struct str where,
                    struct kustomize_resources *ret, struct err *e);
int kustomize_append(struct kustomize_run *run, struct kustomize_resources *to,
                     struct kustomize_resource *r, struct err *e); // refuses an id twice
int kustomize_append_all(struct kustomize_run *run, struct kustomize_resources *to,
                         const struct kustomize_resources *from, struct err *e);
// With create, replace and merge, as generators ask.
int kustomize_absorb(struct kustomize_run *run, struct kustomize_resources *to,
                     struct kustomize_resource *r, struct err *e);
// The one that is or was called so.
int kustomize_find(struct kustomize_run *run, const struct kustomize_resources *in,
                   const struct kustomize_id *id, struct kustomize_resource **ret, struct err *e);
static inline void kustomize_renamed(struct kustomize_resources *rs)
{
    rs->index = NULL;
}
void kustomize_push(struct arena *a, struct kustomize_resources *to, struct kustomize_resource *r);

// kustomization.c: reads the file, refuses unknown fields, replaces deprecated ones.
int kustomize_target_load(struct kustomize_target *t, struct err *e);
// A path named in the kustomization, joined to its root; refused outside of it.
int kustomize_target_path(const struct kustomize_target *t, struct str path, struct str *ret,
                          struct err *e);
int kustomize_target_read(const struct kustomize_target *t, struct str path, struct str *ret,
                          struct err *e);
struct str kustomize_clean(struct arena *a, struct str base, struct str path);

// field.c
typedef int kustomize_set_fn(void *context, struct value **at, struct err *e);
// Calls `set` at every place that the field's path names in the object; `made` is what a missing
// last member becomes where the field says create: VALUE_OBJECT or VALUE_STRING; VALUE_NULL:
// nothing is made.
int kustomize_field_each(struct kustomize_run *run, const struct kustomize_field *f,
                         struct kustomize_resource *r, enum value_kind made, kustomize_set_fn *set,
                         void *context, struct err *e);
void kustomize_fields_add(struct arena *a, struct kustomize_fields *to, struct kustomize_field f);
// Adds those that are not there yet; the same place with another `create` is an error.
int kustomize_fields_merge(struct arena *a, struct kustomize_fields *to,
                           const struct kustomize_fields *from, struct err *e);
int kustomize_fields_read(struct arena *a, struct kustomize_fields *to, const struct value *list,
                          struct err *e);

// config.c
void kustomize_config_default(struct arena *a, struct kustomize_config *c);
int kustomize_config_read(struct arena *a, struct kustomize_config *c, const struct value *v,
                          struct err *e);
int kustomize_config_merge(struct arena *a, struct kustomize_config *to,
                           const struct kustomize_config *from, struct err *e);

// The steps of a kustomization, each in a file of its name.
int kustomize_generate(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_transform(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_plugin_generators(struct kustomize_target *t, struct kustomize_bag *bag,
                                struct err *e);
int kustomize_plugins(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_patches(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_patches_json(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_replace(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);
int kustomize_add_hashes(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e);
int kustomize_fix_references(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e);
int kustomize_vars(struct kustomize_run *run, struct kustomize_bag *bag, struct err *e);
int kustomize_order(struct kustomize_run *run, const struct value *sort_options,
                    struct kustomize_resources *rs, struct err *e);

// merge.c: a strategic merge patch as kustomize does it (new list items in front, several keys).
// NULL in *ret: nothing is left.
int kustomize_merge(struct arena *a, struct str api_version, struct str kind, struct value *to,
                    const struct value *patch, struct value **ret, struct err *e);

// select.c
struct kustomize_patterns *kustomize_patterns_new(struct arena *a);
// `selector` has group, version, kind, name, namespace (patterns), labelSelector,
// annotationSelector.
int kustomize_selects(struct kustomize_run *run, const struct value *selector,
                      const struct kustomize_resource *r, bool *ret, struct err *e);
// One whole-string pattern; an empty one matches everything.
int kustomize_pattern(struct kustomize_run *run, struct str pattern, struct str text, bool *ret,
                      struct err *e);

// path.c: dotted field paths of replacements and vars, "spec.containers.[name=x].image",
// "a.[b.c].*".
int kustomize_path_split(struct arena *a, struct str path, struct strings *ret, struct err *e);
// The places that the path names. `create`: missing members are made, the last of that kind;
// VALUE_NULL: nothing is made.
struct kustomize_places {
    struct value ***items;
    size_t n, cap;
};
int kustomize_path_find(struct kustomize_run *run, struct value **root, const struct strings *path,
                        enum value_kind create, struct kustomize_places *ret, struct err *e);
// The text of a scalar, as YAML wrote it.
struct str kustomize_scalar(struct arena *a, const struct value *v);
// A scalar from its text, as plain YAML reads it.
struct value *kustomize_plain(struct arena *a, struct str text);
