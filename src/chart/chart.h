// Helm charts: loading, values, rendering. What comes out is what `helm template` prints.
//
//     struct chart *c;
//     chart_load(&arena, "charts/app", &c, &e);
//     struct value *values = value_object(&arena);
//     chart_set(&arena, values, STR("image.tag=1.2"), CHART_SET_TYPED, &e);
//     chart_render(&arena, c, values, &options, &out, &e);
//
// Everything lives in the arena. Errors are helm's texts. Charts are strangers' input: files,
// sizes and depth are bounded, names that lead out of the chart are refused, and templates run in
// the bounds of template/template.h.
#pragma once
#include "template/template_value.h"

#define CHART_FILE_MAX  ((size_t)5 << 20)   // of one file
#define CHART_TOTAL_MAX ((size_t)100 << 20) // of an archive, unpacked; of a directory
#define CHART_FILES_MAX 20000
#define CHART_DEPTH     20 // charts within charts

struct chart_file {
    struct str name, data; // name: relative to the chart
};

struct chart {
    struct value *metadata; // Chart.yaml; dependencies with an alias have that name
    struct value *values;
    struct str schema; // values.schema.json, or STR_NULL
    struct chart_file *templates, *files;
    size_t ntemplates, nfiles;
    struct chart **dependencies;
    size_t ndependencies;
    struct chart *parent;
};

struct str chart_name(const struct chart *c);
struct str chart_full_path(struct arena *a, const struct chart *c); // app/charts/db
// A directory or a .tgz.
int chart_load(struct arena *a, const char *path, struct chart **ret, struct err *e);
int chart_load_archive(struct arena *a, struct str bytes, struct chart **ret, struct err *e);

// ---- Values ----

enum chart_set_mode {
    CHART_SET_TYPED,
    CHART_SET_STRING,
    CHART_SET_JSON,
    CHART_SET_FILE,
    CHART_SET_LITERAL
};
// "a.b=c,d[0].e=f,list={x,y}" into the values (helm's strvals).
int chart_set(struct arena *a, struct value *values, struct str text, enum chart_set_mode mode,
              struct err *e);
// YAML of a values file over the values; a null stays, to delete a default later.
int chart_values_add(struct arena *a, struct value *values, struct str yaml, struct err *e);
// The chart's defaults and its dependencies' below what is given. The result is given's own copy.
struct value *chart_coalesce(struct arena *a, const struct chart *c, const struct value *given,
                             bool keep_nulls);
// Conditions, tags, aliases, import-values: changes the chart's dependencies and values.
int chart_dependencies_process(struct arena *a, struct chart *c, const struct value *given,
                               struct err *e);

// What helm checks before it renders: that the dependencies listed are there, that the chart is no
// library, that the version of Kubernetes (STR_NULL: the default) is one that it is for.
int chart_check(struct arena *a, const struct chart *c, struct str kube_version, struct err *e);
#define CHART_KUBE_VERSION "v1.32.0"

// ---- Rendering ----

struct chart_options {
    struct str release, namespace;
    struct str kube_version; // "v1.32.0"; STR_NULL: the default
    struct str *api_versions;
    size_t napi_versions;
    bool upgrade, include_crds, no_hooks, skip_tests;
    struct str *show_only; // templates, relative to the chart
    size_t nshow_only;
    struct env *env;
    // What lookup answers; NULL: an empty map, as without a cluster.
    struct value *(*lookup)(void *ctx, struct arena *a, struct str api_version, struct str kind,
                            struct str namespace, struct str name);
    void *lookup_ctx;
};
int chart_render(struct arena *a, struct chart *c, const struct value *given,
                 const struct chart_options *o, struct buf *out, struct err *e);
