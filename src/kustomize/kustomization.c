// A kustomization file: found under one of three names, read strictly (an unknown field is an error
// at every depth, as in the original), its deprecated fields moved to where they belong today. Also
// the paths that it names: joined to its directory, and refused where they lead out of it.
#include "base/guard.h"
#include "kustomize/private.h"
#include "object/yaml.h"
#include <string.h>

// What a field is: 's' string, 'b' boolean, 'i' integer, 'l' list of strings, 'm' map of strings,
// 'o' an object and 'a' a list of objects with the fields of `sub`; '*' anything.
struct shape {
    const char *name;
    char kind;
    const struct shape *sub;
};

static const struct shape selector_shape[] = {{"group", 's'},
                                              {"version", 's'},
                                              {"kind", 's'},
                                              {"name", 's'},
                                              {"namespace", 's'},
                                              {"labelSelector", 's'},
                                              {"annotationSelector", 's'},
                                              {0}};
static const struct shape field_shape[] = {{"group", 's'}, {"version", 's'}, {"kind", 's'},
                                           {"path", 's'},  {"create", 'b'},  {0}};
static const struct shape label_shape[] = {{"pairs", 'm'},
                                           {"includeSelectors", 'b'},
                                           {"includeTemplates", 'b'},
                                           {"fields", 'a', field_shape},
                                           {"includeVolumeClaimTemplates", 'b'},
                                           {0}};
static const struct shape patch_options_shape[] = {
    {"allowNameChange", 'b'}, {"allowKindChange", 'b'}, {0}};
static const struct shape patch_shape[] = {{"path", 's'},
                                           {"patch", 's'},
                                           {"target", 'o', selector_shape},
                                           {"options", 'o', patch_options_shape},
                                           {0}};
static const struct shape image_shape[] = {{"name", 's'},      {"newName", 's'}, {"newTag", 's'},
                                           {"tagSuffix", 's'}, {"digest", 's'},  {0}};
static const struct shape replica_shape[] = {{"name", 's'}, {"count", 'i'}, {0}};
static const struct shape generator_options_shape[] = {
    {"labels", 'm'}, {"annotations", 'm'}, {"disableNameSuffixHash", 'b'}, {"immutable", 'b'}, {0}};
#define GENERATOR_FIELDS                                                                           \
    {"name", 's'}, {"namespace", 's'}, {"behavior", 's'}, {"literals", 'l'}, {"files", 'l'},       \
        {"envs", 'l'}, {"env", 's'},                                                               \
    {                                                                                              \
        "options", 'o', generator_options_shape                                                    \
    }
static const struct shape config_map_shape[] = {GENERATOR_FIELDS, {0}};
static const struct shape secret_shape[] = {GENERATOR_FIELDS, {"type", 's'}, {0}};
static const struct shape refine_shape[] = {
    {"delimiter", 's'}, {"index", 'i'}, {"encoding", 's'}, {"create", 'b'}, {0}};
static const struct shape source_shape[] = {{"group", 's'},
                                            {"version", 's'},
                                            {"kind", 's'},
                                            {"name", 's'},
                                            {"namespace", 's'},
                                            {"fieldPath", 's'},
                                            {"options", 'o', refine_shape},
                                            {0}};
static const struct shape target_shape[] = {{"select", 'o', selector_shape},
                                            {"reject", 'a', selector_shape},
                                            {"fieldPaths", 'l'},
                                            {"options", 'o', refine_shape},
                                            {0}};
static const struct shape replacement_shape[] = {{"path", 's'},
                                                 {"source", 'o', source_shape},
                                                 {"sourceValue", 's'},
                                                 {"targets", 'a', target_shape},
                                                 {0}};
static const struct shape object_reference_shape[] = {{"apiVersion", 's'},
                                                      {"group", 's'},
                                                      {"version", 's'},
                                                      {"kind", 's'},
                                                      {"name", 's'},
                                                      {"namespace", 's'},
                                                      {0}};
static const struct shape field_ref_shape[] = {{"fieldPath", 's'}, {"fieldpath", 's'}, {0}};
static const struct shape var_shape[] = {{"name", 's'},
                                         {"objref", 'o', object_reference_shape},
                                         {"fieldref", 'o', field_ref_shape},
                                         {0}};
static const struct shape legacy_sort_shape[] = {{"orderFirst", 'l'}, {"orderLast", 'l'}, {0}};
static const struct shape sort_shape[] = {
    {"order", 's'}, {"legacySortOptions", 'o', legacy_sort_shape}, {0}};

// Sorted as the original's documentation is; deprecated ones at the end.
static const struct shape kustomization_shape[] = {
    {"apiVersion", 's'},
    {"kind", 's'},
    {"metadata", '*'},
    {"openapi", 'm'},
    {"namePrefix", 's'},
    {"nameSuffix", 's'},
    {"namespace", 's'},
    {"commonLabels", 'm'},
    {"labels", 'a', label_shape},
    {"commonAnnotations", 'm'},
    {"patches", 'a', patch_shape},
    {"patchesJson6902", 'a', patch_shape},
    {"patchesStrategicMerge", 'l'},
    {"images", 'a', image_shape},
    {"replacements", 'a', replacement_shape},
    {"replicas", 'a', replica_shape},
    {"vars", 'a', var_shape},
    {"sortOptions", 'o', sort_shape},
    {"resources", 'l'},
    {"components", 'l'},
    {"crds", 'l'},
    {"configMapGenerator", 'a', config_map_shape},
    {"secretGenerator", 'a', secret_shape},
    {"generatorOptions", 'o', generator_options_shape},
    {"helmGlobals", '*'},
    {"helmCharts", '*'},
    {"configurations", 'l'},
    {"generators", 'l'},
    {"transformers", 'l'},
    {"validators", 'l'},
    {"buildMetadata", 'l'},
    {"bases", 'l'},
    {"imageTags", 'a', image_shape},
    {"helmChartInflationGenerator", '*'},
    {0},
};

static const struct {
    const char *old, *new, *note;
} deprecated[] = {
    {"bases", "resources", ""},
    {"commonLabels", "labels", ""},
    {"imageTags", "images", ""},
    {"patchesJson6902", "patches", ""},
    {"patchesStrategicMerge", "patches", ""},
    {"vars", "replacements", "[EXPERIMENTAL] "},
};

static const char *json_name(const struct value *v)
{
    static const char *const names[] = {"null",   "bool",  "number", "number",
                                        "string", "array", "object"};
    return names[v->kind];
}

static int wrong(const struct value *v, const char *field, const char *type, struct err *e)
{
    return err_set(e, ERR_BAD_REQUEST,
                   "invalid Kustomization: json: cannot unmarshal %s into Go struct field "
                   "Kustomization.%s of type %s",
                   json_name(v), field, type);
}

static int check(const struct value *object, const struct shape *shapes, struct err *e);

static int check_field(const struct value *v, const struct shape *s, struct err *e)
{
    int rc = 0;
    if (v->kind == VALUE_NULL)
        return 0;
    switch (s->kind) {
    case 's':
        return v->kind == VALUE_STRING ? 0 : wrong(v, s->name, "string", e);
    case 'b':
        return v->kind == VALUE_BOOL ? 0 : wrong(v, s->name, "bool", e);
    case 'i':
        return v->kind == VALUE_INT ? 0 : wrong(v, s->name, "int64", e);
    case 'l':
        if (v->kind != VALUE_ARRAY)
            return wrong(v, s->name, "[]string", e);
        value_each_item (v, item)
            if (item->kind != VALUE_STRING)
                return wrong(item, s->name, "string", e);
        return 0;
    case 'm':
        if (v->kind != VALUE_OBJECT)
            return wrong(v, s->name, "map[string]string", e);
        value_each_field (v, f)
            if (f->value->kind != VALUE_STRING && f->value->kind != VALUE_NULL)
                return wrong(f->value, s->name, "string", e);
        return 0;
    case 'o':
        return v->kind == VALUE_OBJECT ? check(v, s->sub, e) : wrong(v, s->name, "object", e);
    case 'a':
        if (v->kind != VALUE_ARRAY)
            return wrong(v, s->name, "[]object", e);
        value_each_item (v, item) {
            if (item->kind != VALUE_OBJECT)
                return wrong(item, s->name, "object", e);
            if ((rc = check(item, s->sub, e)) < 0)
                return rc;
        }
    }
    return 0;
}

static int check(const struct value *object, const struct shape *shapes, struct err *e)
{
    value_each_field (object, f) {
        const struct shape *s = shapes;
        while (s->name && !str_eqc(f->key, s->name))
            s++;
        if (!s->name)
            return err_set(e, ERR_BAD_REQUEST,
                           "invalid Kustomization: json: unknown field \"%.*s\"", STR_ARG(f->key));
        int rc = check_field(f->value, s, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void append_list(struct arena *a, struct value *k, const char *to, const char *from)
{
    struct value *list = value_getc(k, from), *into = value_getc(k, to);
    if (!value_len(list))
        return;
    if (!value_is(into, VALUE_ARRAY))
        value_setc(a, k, to, into = value_array(a));
    value_each_item (list, item)
        value_push(a, into, item);
    value_delc(k, from);
}

static void generator_env(struct arena *a, struct value *k, const char *field)
{
    value_each_item (value_getc(k, field), g) {
        struct value *env = value_getc(g, "env"), *envs = value_getc(g, "envs");
        if (!value_string(env).n)
            continue;
        if (!value_is(envs, VALUE_ARRAY))
            value_setc(a, g, "envs", envs = value_array(a));
        value_push(a, envs, env);
        value_delc(g, "env");
    }
}

static void warn_deprecated(const struct kustomize_target *t)
{
    const struct kustomize_options *o = t->run->options;
    for (size_t i = 0; o->warn && i < ARRAY_LEN(deprecated); i++)
        if (value_len(value_getc(t->k, deprecated[i].old)))
            o->warn(o->context,
                    arena_printf(t->run->a,
                                 "# Warning: '%s' is deprecated. Please use '%s' instead. %sRun "
                                 "'kustomize edit fix' to update your Kustomization automatically.",
                                 deprecated[i].old, deprecated[i].new, deprecated[i].note));
}

static int check_kind(const struct kustomize_target *t, struct err *e)
{
    struct str kind = value_string(value_getc(t->k, "kind")),
               version = value_string(value_getc(t->k, "apiVersion"));
    const char *want = "kustomize.config.k8s.io/v1beta1";
    if (kind.n && !str_eqc(kind, "Kustomization") && !str_eqc(kind, "Component"))
        return err_set(e, ERR_BAD_REQUEST,
                       "Failed to read kustomization file under %.*s:\n"
                       "kind should be Kustomization or Component",
                       STR_ARG(t->root));
    if (str_eqc(kind, "Component"))
        want = "kustomize.config.k8s.io/v1alpha1";
    if (version.n && !str_eqc(version, want))
        return err_set(
            e, ERR_BAD_REQUEST,
            "Failed to read kustomization file under %.*s:\napiVersion for %s should be %s",
            STR_ARG(t->root),
            kind.n ? (str_eqc(kind, "Component") ? "Component" : "Kustomization") : "Kustomization",
            want);
    return 0;
}

int kustomize_target_load(struct kustomize_target *t, struct err *e)
{
    static const char *const names[] = {"kustomization.yaml", "kustomization.yml", "Kustomization"};
    struct arena *a = t->run->a;
    struct str path = STR_NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str candidate = kustomize_clean(a, t->root, str_of(names[i]));
        if (t->run->files->kind(t->run->files->context, candidate) != 'f')
            continue;
        if (path.n)
            return err_set(e, ERR_BAD_REQUEST, "Found multiple kustomization files under: %.*s\n",
                           STR_ARG(t->root));
        path = candidate;
        t->file = str_of(names[i]);
    }
    if (!path.n)
        return err_set(e, ERR_NOT_FOUND,
                       "unable to find one of 'kustomization.yaml', 'kustomization.yml' or "
                       "'Kustomization' in directory '%.*s'",
                       STR_ARG(t->root));
    struct str text;
    int rc = t->run->files->read(t->run->files->context, a, path, &text, e);
    if (rc < 0)
        return rc;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (yaml_parse(a, text, NULL, &t->k, &inner) < 0)
        return err_wrap(e, &inner, "invalid Kustomization");
    if (!value_is(t->k, VALUE_OBJECT) || !value_len(t->k))
        return err_set(e, ERR_BAD_REQUEST, "kustomization.yaml is empty");
    if ((rc = check(t->k, kustomization_shape, e)) < 0 || (rc = check_kind(t, e)) < 0)
        return rc;
    size_t said = 0;
    value_each_field (t->k, f)
        said += !str_eqc(f->key, "apiVersion") && !str_eqc(f->key, "kind");
    if (!said)
        return err_set(e, ERR_BAD_REQUEST, "kustomization.yaml is empty");
    warn_deprecated(t);
    append_list(a, t->k, "resources", "bases");
    append_list(a, t->k, "images", "imageTags");
    generator_env(a, t->k, "configMapGenerator");
    generator_env(a, t->k, "secretGenerator");
    return 0;
}

// The lexical path: `path` from `base`, without "." and "..".
struct str kustomize_clean(struct arena *a, struct str base, struct str path)
{
    struct str joined = path.n && path.p[0] == '/'
                            ? path
                            : arena_printf(a, "%.*s/%.*s", STR_ARG(base), STR_ARG(path));
    char *out = arena_alloc(a, joined.n + 2);
    size_t n = 0;
    struct str rest = joined;
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, "."))
            continue;
        if (str_eqc(part, "..")) {
            while (n && out[--n] != '/')
                ;
            continue;
        }
        out[n++] = '/';
        memcpy(out + n, part.p, part.n);
        n += part.n;
    }
    if (!n)
        out[n++] = '/';
    return str_n(out, n);
}

int kustomize_target_path(const struct kustomize_target *t, struct str path, struct str *ret,
                          struct err *e)
{
    const struct kustomize_files *files = t->run->files;
    struct str full = kustomize_clean(t->run->a, t->root, path);
    struct str real = files->real(files->context, t->run->a, full);
    bool inside = str_starts(real, t->root) &&
                  (t->root.n == 1 || real.n == t->root.n || real.p[t->root.n] == '/');
    if (!inside && !t->run->options->outside_roots)
        return err_set(e, ERR_FORBIDDEN, "security; file '%.*s' is not in or below '%.*s'",
                       STR_ARG(full), STR_ARG(t->root));
    *ret = full;
    return 0;
}

int kustomize_target_read(const struct kustomize_target *t, struct str path, struct str *ret,
                          struct err *e)
{
    struct str full;
    int rc = kustomize_target_path(t, path, &full, e);
    return rc < 0 ? rc : t->run->files->read(t->run->files->context, t->run->a, full, ret, e);
}
