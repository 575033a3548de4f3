// helm's own functions and things. include and tpl execute within the same set; required and fail
// mark their text, so that it is shown alone; lookup asks the host.
#include "chart/chart_functions.h"
#include "template/sprig.h"
#include "text/glob.h"

#define ARENA(c) template_arena(c)
#define FN(name) static struct value *name(struct template_call *c, struct value **args, size_t n)
#define UNUSED_N (void)n

FN(fn_include)
{
    UNUSED_N;
    return template_include(c, value_string(args[0]), args[1]);
}

FN(fn_tpl)
{
    UNUSED_N;
    struct value *v = template_tpl(c, STR("gotpl"), value_string(args[0]), args[1]);
    if (!v)
        return NULL;
    struct str s = value_string(v);
    if (str_find(s, STR("<no value>")) < 0)
        return v;
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (ptrdiff_t at; (at = str_find(s, STR("<no value>"))) >= 0; s = str_from(s, (size_t)at + 10))
        buf_add(&b, s.p, (size_t)at);
    buf_str(&b, s);
    return sprig_take(c, &b);
}

FN(fn_required)
{
    UNUSED_N;
    bool absent = args[1]->kind == VALUE_NULL || (value_is(args[1], VALUE_STRING) && !args[1]->n);
    if (absent)
        return template_fail(c, CHART_WARN_BEGIN "%.*s" CHART_WARN_END,
                             STR_ARG(value_string(args[0])));
    return args[1];
}

FN(fn_fail)
{
    UNUSED_N;
    return template_fail(c, CHART_WARN_BEGIN "%.*s" CHART_WARN_END, STR_ARG(value_string(args[0])));
}

FN(fn_lookup)
{
    UNUSED_N;
    const struct chart_options *o = ((struct chart_host *)template_host(c))->options;
    struct value *v =
        o->lookup ? o->lookup(o->lookup_ctx, ARENA(c), value_string(args[0]), value_string(args[1]),
                              value_string(args[2]), value_string(args[3]))
                  : NULL;
    return v ? v : value_object(ARENA(c));
}

static const struct template_function rows[] = {
    {"fail", "s", fn_fail},          {"include", "sa", fn_include}, {"lookup", "ssss", fn_lookup},
    {"required", "sa", fn_required}, {"tpl", "sa", fn_tpl},
};
const struct template_functions chart_functions = {rows, sizeof rows / sizeof *rows};

// ---- .Files ----

static struct value *file_get(struct template_call *c, struct template_thing *self,
                              struct value **args, size_t n)
{
    UNUSED_N;
    struct value *v = value_get(self->fields, value_string(args[0]));
    return v ? value_str(ARENA(c), str_n(v->s, v->n)) : value_strc(ARENA(c), "");
}

static struct value *file_bytes(struct template_call *c, struct template_thing *self,
                                struct value **args, size_t n)
{
    UNUSED_N;
    struct value *v = value_get(self->fields, value_string(args[0]));
    struct value *out = value_str(ARENA(c), v ? str_n(v->s, v->n) : STR(""));
    out->b = true;
    return out;
}

static const struct template_type files_type;

static struct value *file_glob(struct template_call *c, struct template_thing *self,
                               struct value **args, size_t n)
{
    UNUSED_N;
    struct template_thing *t = arena_new(ARENA(c), struct template_thing);
    struct glob *g;
    t->type = &files_type;
    t->fields = value_object(ARENA(c));
    struct str pattern = value_string(args[0]);
    if (!pattern.n)
        pattern = STR("**");
    if (glob_compile(ARENA(c), pattern, GLOB_GOBWAS, &g, NULL) < 0)
        glob_compile(ARENA(c), STR("**"), GLOB_GOBWAS, &g, NULL);
    value_each_field (self->fields, f) {
        if (glob_match(g, f->key))
            value_push_member(ARENA(c), t->fields, f->key, f->value);
    }
    return template_thing_value(ARENA(c), t);
}

static struct value *to_yaml(struct template_call *c, struct value *v)
{
    const struct template_function *f = NULL;
    for (size_t i = 0; i < sprig_encode.n; i++)
        if (strcmp(sprig_encode.rows[i].name, "toYaml") == 0)
            f = &sprig_encode.rows[i];
    return f->fn(c, &v, 1);
}

static struct str base_name(struct str path)
{
    return str_from(path, (size_t)(str_rchr(path, '/') + 1));
}

static struct value *file_config(struct template_call *c, struct template_thing *self,
                                 struct value **args, size_t n)
{
    (void)args;
    UNUSED_N;
    struct value *v = value_object(ARENA(c));
    value_each_field (self->fields, f)
        value_set(ARENA(c), v, base_name(f->key),
                  value_str(ARENA(c), str_n(f->value->s, f->value->n)));
    return v->n ? to_yaml(c, v) : value_strc(ARENA(c), "");
}

#include "object/base64.h"
static struct value *file_secrets(struct template_call *c, struct template_thing *self,
                                  struct value **args, size_t n)
{
    (void)args;
    UNUSED_N;
    struct value *v = value_object(ARENA(c));
    value_each_field (self->fields, f)
        value_set(ARENA(c), v, base_name(f->key),
                  value_str(ARENA(c), base64_text(ARENA(c), str_n(f->value->s, f->value->n))));
    return v->n ? to_yaml(c, v) : value_strc(ARENA(c), "");
}

static struct value *file_lines(struct template_call *c, struct template_thing *self,
                                struct value **args, size_t n)
{
    UNUSED_N;
    struct value *out = value_array(ARENA(c)), *v = value_get(self->fields, value_string(args[0]));
    out->b = true;
    if (!v)
        return out;
    struct str s = str_n(v->s, v->n);
    if (s.n && s.p[s.n - 1] == '\n')
        s.n--;
    for (struct str rest = s.p ? s : STR(""); rest.p;)
        value_push(ARENA(c), out, value_str(ARENA(c), str_cut(&rest, '\n')));
    return out;
}

static const struct template_method files_methods[] = {
    {"AsConfig", "", file_config}, {"AsSecrets", "", file_secrets}, {"Get", "s", file_get},
    {"GetBytes", "s", file_bytes}, {"Glob", "s", file_glob},        {"Lines", "s", file_lines},
};
static const struct template_type files_type = {.name = "engine.files",
                                                .methods = files_methods,
                                                .nmethods =
                                                    sizeof files_methods / sizeof *files_methods,
                                                .map = true};

struct value *chart_files_thing(struct arena *a, const struct chart *c)
{
    struct template_thing *t = arena_new(a, struct template_thing);
    t->type = &files_type;
    t->fields = value_object(a);
    for (size_t i = 0; i < c->nfiles; i++) {
        struct value *v = value_str(a, c->files[i].data);
        v->b = true; // bytes
        value_push_member(a, t->fields, c->files[i].name, v);
    }
    return template_thing_value(a, t);
}

// ---- .Capabilities ----

static const char known_versions[] =
    "v1 admissionregistration.k8s.io/v1 admissionregistration.k8s.io/v1alpha1 "
    "admissionregistration.k8s.io/v1beta1 "
    "internal.apiserver.k8s.io/v1alpha1 apps/v1 apps/v1beta1 apps/v1beta2 authentication.k8s.io/v1 "
    "authentication.k8s.io/v1alpha1 authentication.k8s.io/v1beta1 authorization.k8s.io/v1 "
    "authorization.k8s.io/v1beta1 "
    "autoscaling/v1 autoscaling/v2 autoscaling/v2beta1 autoscaling/v2beta2 batch/v1 batch/v1beta1 "
    "certificates.k8s.io/v1 "
    "certificates.k8s.io/v1beta1 certificates.k8s.io/v1alpha1 coordination.k8s.io/v1alpha2 "
    "coordination.k8s.io/v1beta1 "
    "coordination.k8s.io/v1 discovery.k8s.io/v1 discovery.k8s.io/v1beta1 events.k8s.io/v1 "
    "events.k8s.io/v1beta1 "
    "extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1 flowcontrol.apiserver.k8s.io/v1beta1 "
    "flowcontrol.apiserver.k8s.io/v1beta2 flowcontrol.apiserver.k8s.io/v1beta3 "
    "networking.k8s.io/v1 "
    "networking.k8s.io/v1alpha1 networking.k8s.io/v1beta1 node.k8s.io/v1 node.k8s.io/v1alpha1 "
    "node.k8s.io/v1beta1 "
    "policy/v1 policy/v1beta1 rbac.authorization.k8s.io/v1 rbac.authorization.k8s.io/v1beta1 "
    "rbac.authorization.k8s.io/v1alpha1 resource.k8s.io/v1beta1 resource.k8s.io/v1alpha3 "
    "scheduling.k8s.io/v1alpha1 "
    "scheduling.k8s.io/v1beta1 scheduling.k8s.io/v1 storage.k8s.io/v1beta1 storage.k8s.io/v1 "
    "storage.k8s.io/v1alpha1 "
    "storagemigration.k8s.io/v1alpha1 apiextensions.k8s.io/v1beta1 apiextensions.k8s.io/v1";

static struct value *versions_has(struct template_call *c, struct template_thing *self,
                                  struct value **args, size_t n)
{
    UNUSED_N;
    const struct value *list = self->data;
    value_each_item (list, item) {
        if (str_eq(value_string(item), value_string(args[0])))
            return value_bool(ARENA(c), true);
    }
    return value_bool(ARENA(c), false);
}

static const struct template_method versions_methods[] = {{"Has", "s", versions_has}};
static const struct template_type versions_type = {
    .name = "chartutil.VersionSet", .methods = versions_methods, .nmethods = 1};
static const struct template_type kube_type = {.name = "*chartutil.KubeVersion"};
static const struct template_type capabilities_type = {.name = "*chartutil.Capabilities"};
static const struct template_type helm_type = {.name = "version.BuildInfo"};

static struct template_thing *thing(struct arena *a, const struct template_type *type)
{
    struct template_thing *t = arena_new(a, struct template_thing);
    t->type = type;
    t->fields = value_object(a);
    return t;
}

struct value *chart_capabilities_thing(struct arena *a, const struct chart_options *o)
{
    struct template_thing *top = thing(a, &capabilities_type), *kube = thing(a, &kube_type),
                          *versions = thing(a, &versions_type), *helm = thing(a, &helm_type);
    struct str version = o->kube_version.n ? o->kube_version : STR(CHART_KUBE_VERSION);
    if (version.p[0] != 'v')
        version = arena_printf(a, "v%.*s", STR_ARG(version));
    struct str rest = str_from(version, 1), major = str_cut(&rest, '.'),
               minor = rest.p ? str_cut(&rest, '.') : STR("");
    struct value *list = value_array(a);
    for (struct str all = str_of(known_versions); all.p;)
        value_push(a, list, value_str(a, str_cut(&all, ' ')));
    for (size_t i = 0; i < o->napi_versions; i++)
        value_push(a, list, value_str(a, o->api_versions[i]));
    versions->data = list;
    value_setc(a, versions->fields, "String()", list);
    value_setc(a, kube->fields, "Version", value_str(a, version));
    value_setc(a, kube->fields, "GitVersion", value_str(a, version));
    value_setc(a, kube->fields, "Major", value_str(a, major));
    value_setc(a, kube->fields, "Minor", value_str(a, minor));
    value_setc(a, kube->fields, "String()", value_str(a, version));
    value_setc(a, helm->fields, "Version", value_strc(a, "v3.17.2"));
    value_setc(a, helm->fields, "GitCommit", value_strc(a, ""));
    value_setc(a, helm->fields, "GitTreeState", value_strc(a, ""));
    value_setc(a, helm->fields, "GoVersion", value_strc(a, ""));
    value_setc(a, top->fields, "KubeVersion", template_thing_value(a, kube));
    value_setc(a, top->fields, "APIVersions", template_thing_value(a, versions));
    value_setc(a, top->fields, "HelmVersion", template_thing_value(a, helm));
    return template_thing_value(a, top);
}
