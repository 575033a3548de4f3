// Rendering: all templates of a chart and its dependencies in one namespace, each executed with the
// view that its chart has of the values; then the documents, sorted as they would be installed.
#include "chart/chart.h"
#include "chart/chart_functions.h"
#include "object/yaml.h"
#include "template/sprig.h"
#include "text/glob.h"

struct chart_template {
    struct str path, base_path, text; // "app/templates/a.yaml", "app/templates"
    struct value *top;
};

struct chart_renderer {
    struct arena *a;
    const struct chart_options *o;
    struct chart_template *all;
    size_t n, cap;
    struct value *release, *capabilities;
};

static struct value *text(struct arena *a, const struct value *object, const char *key)
{
    const struct value *v = value_getc(object, key);
    return value_is(v, VALUE_STRING) ? (struct value *)(uintptr_t)v
           : v                       ? value_str(a, template_text(a, v))
                                     : value_strc(a, "");
}

static const struct template_type metadata_type = {.name = "chart.Metadata"};

static struct value *chart_thing(struct arena *a, const struct chart *c)
{
    static const char *const texts[][2] = {{"Name", "name"},
                                           {"Home", "home"},
                                           {"Version", "version"},
                                           {"Description", "description"},
                                           {"Icon", "icon"},
                                           {"APIVersion", "apiVersion"},
                                           {"Condition", "condition"},
                                           {"Tags", "tags"},
                                           {"AppVersion", "appVersion"},
                                           {"KubeVersion", "kubeVersion"},
                                           {"Type", "type"}};
    static const char *const lists[][2] = {{"Sources", "sources"}, {"Keywords", "keywords"}};
    struct template_thing *t = arena_new(a, struct template_thing);
    struct value *f = t->fields = value_object(a);
    t->type = &metadata_type;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        value_setc(a, f, texts[i][0], text(a, c->metadata, texts[i][1]));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct value *v = value_getc(c->metadata, lists[i][1]);
        v = v ? sprig_clone(a, v, 0) : value_array(a);
        v->b = true;
        value_setc(a, f, lists[i][0], v);
    }
    struct value *annotations = value_getc(c->metadata, "annotations");
    annotations = annotations ? sprig_clone(a, annotations, 0) : value_object(a);
    annotations->b = true;
    value_setc(a, f, "Annotations", annotations);
    value_setc(a, f, "Deprecated",
               value_bool(a, value_bool_or(value_getc(c->metadata, "deprecated"), false)));
    struct value *maintainers = value_array(a);
    value_each_item (value_getc(c->metadata, "maintainers"), m) {
        struct template_thing *person = arena_new(a, struct template_thing);
        static const struct template_type person_type = {.name = "*chart.Maintainer"};
        person->type = &person_type;
        person->fields = value_object(a);
        value_setc(a, person->fields, "Name", text(a, m, "name"));
        value_setc(a, person->fields, "Email", text(a, m, "email"));
        value_setc(a, person->fields, "URL", text(a, m, "url"));
        value_push(a, maintainers, template_thing_value(a, person));
    }
    value_setc(a, f, "Maintainers", maintainers);
    value_setc(a, f, "IsRoot", value_bool(a, !c->parent));
    return template_thing_value(a, t);
}

static void template_add(struct chart_renderer *r, struct chart_template t)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        r->all = arena_grow(r->a, r->all, r->cap * sizeof *r->all, cap * sizeof *r->all);
        r->cap = cap;
    }
    r->all[r->n++] = t;
}

static struct str base_name(struct str path)
{
    return str_from(path, (size_t)(str_rchr(path, '/') + 1));
}

static struct value *collect(struct chart_renderer *r, const struct chart *c, struct value *values)
{
    struct arena *a = r->a;
    struct value *top = value_object(a), *subcharts = value_object(a);
    struct str path = chart_full_path(a, c);
    value_setc(a, top, "Chart", chart_thing(a, c));
    value_setc(a, top, "Files", chart_files_thing(a, c));
    value_setc(a, top, "Release", r->release);
    value_setc(a, top, "Capabilities", r->capabilities);
    value_setc(a, top, "Values", values);
    value_setc(a, top, "Subcharts", subcharts);
    for (size_t i = 0; i < c->ndependencies; i++) {
        struct value *part = value_get(values, chart_name(c->dependencies[i]));
        if (!value_is(part, VALUE_OBJECT))
            part = value_object(a);
        value_set(a, subcharts, chart_name(c->dependencies[i]),
                  collect(r, c->dependencies[i], part));
    }
    bool library = value_string(value_getc(c->metadata, "type")).n &&
                   str_eqc(value_string(value_getc(c->metadata, "type")), "library");
    struct str base = arena_printf(a, "%.*s/templates", STR_ARG(path));
    for (size_t i = 0; i < c->ntemplates; i++) {
        struct str name = c->templates[i].name;
        if (library && base_name(name).p[0] != '_')
            continue;
        template_add(
            r, (struct chart_template){arena_printf(a, "%.*s/%.*s", STR_ARG(path), STR_ARG(name)),
                                       base, c->templates[i].data, top});
    }
    return top;
}

static size_t depth_of(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '/';
    return n;
}

// Deeper ones first, within a depth in falling order: a parent's definition comes last and wins.
static int template_order(const void *a, const void *b)
{
    const struct chart_template *x = a, *y = b;
    size_t dx = depth_of(x->path), dy = depth_of(y->path);
    return dx != dy ? (dx > dy ? -1 : 1) : str_cmp(y->path, x->path);
}

// ---- Errors ----

// A fault that a chart's author raised (fail, required) is shown with its text alone.
static int execution_error(struct err *to, struct err *from)
{
    const char *start = strstr(from->message, CHART_WARN_BEGIN);
    if (!start)
        return err_wrap(to, from, "%s", "template") < 0 ? err_code(to) : -422;
    const char *last = start;
    for (const char *p; (p = strstr(last + 1, CHART_WARN_BEGIN));)
        last = p;
    const char *text_at = last + strlen(CHART_WARN_BEGIN), *end = strstr(text_at, CHART_WARN_END);
    _cleanup_free_ char *message =
        mem_cstr(str_n(text_at, end ? (size_t)(end - text_at) : strlen(text_at)));
    const char *location = from->message + strlen("template: ");
    const char *colon = strstr(location, ": ");
    _cleanup_free_ char *where = mem_cstr(str_n(location, colon ? (size_t)(colon - location) : 0));
    return err_set(to, ERR_INVALID, "execution error at (%s): %s", where, message);
}

static int parse_error(struct err *to, struct err *from)
{
    struct str s = str_of(from->message);
    ptrdiff_t first = str_find(s, STR(": "));
    struct str rest = first < 0 ? s : str_from(s, (size_t)first + 2);
    ptrdiff_t second = str_find(rest, STR(": "));
    struct str location = second < 0 ? rest : str_sub(rest, 0, (size_t)second), last = rest;
    for (ptrdiff_t at; (at = str_find(last, STR(": "))) >= 0;)
        last = str_from(last, (size_t)at + 2);
    return err_set(to, ERR_INVALID, "parse error at (%.*s): %.*s", STR_ARG(location),
                   STR_ARG(last));
}

// ---- Documents ----

struct chart_document {
    struct str path, content, kind, name;
    struct value *hook; // its annotations, or NULL
    size_t order;
    int weight;
};

static const char *const install_order[] = {"PriorityClass",
                                            "Namespace",
                                            "NetworkPolicy",
                                            "ResourceQuota",
                                            "LimitRange",
                                            "PodSecurityPolicy",
                                            "PodDisruptionBudget",
                                            "ServiceAccount",
                                            "Secret",
                                            "SecretList",
                                            "ConfigMap",
                                            "StorageClass",
                                            "PersistentVolume",
                                            "PersistentVolumeClaim",
                                            "CustomResourceDefinition",
                                            "ClusterRole",
                                            "ClusterRoleList",
                                            "ClusterRoleBinding",
                                            "ClusterRoleBindingList",
                                            "Role",
                                            "RoleList",
                                            "RoleBinding",
                                            "RoleBindingList",
                                            "Service",
                                            "DaemonSet",
                                            "Pod",
                                            "ReplicationController",
                                            "ReplicaSet",
                                            "Deployment",
                                            "HorizontalPodAutoscaler",
                                            "StatefulSet",
                                            "Job",
                                            "CronJob",
                                            "IngressClass",
                                            "Ingress",
                                            "APIService",
                                            "MutatingWebhookConfiguration",
                                            "ValidatingWebhookConfiguration"};

static size_t kind_order(struct str kind)
{
    size_t n = sizeof install_order / sizeof *install_order;
    for (size_t i = 0; i < n; i++)
        if (str_eqc(kind, install_order[i]))
            return i;
    return n;
}

static int document_order(const void *a, const void *b)
{
    const struct chart_document *x = a, *y = b;
    size_t kx = kind_order(x->kind), ky = kind_order(y->kind);
    if (kx != ky)
        return kx < ky ? -1 : 1;
    int r = kx == sizeof install_order / sizeof *install_order ? str_cmp(x->kind, y->kind) : 0;
    return r ? r : x->order < y->order ? -1 : 1;
}

struct chart_documents {
    struct chart_document *all;
    size_t n, cap;
};

static int document_add(struct arena *a, struct chart_documents *d, struct str path,
                        struct str content, struct err *e)
{
    struct chart_document doc = {.path = path, .content = content, .order = d->n};
    struct value *v;
    _cleanup_err_ struct err fault = ERR_INIT;
    if (yaml_parse(a, content, value_array(a), &v, &fault) < 0)
        return err_set(e, ERR_INVALID,
                       "YAML parse error on %.*s: error converting YAML to JSON: %s", STR_ARG(path),
                       fault.message);
    if (!value_is(v, VALUE_OBJECT) && !value_is(v, VALUE_NULL))
        return err_set(e, ERR_INVALID,
                       "YAML parse error on %.*s: error unmarshaling JSON: while decoding JSON: "
                       "json: cannot unmarshal %s into Go value of type releaseutil.SimpleHead",
                       STR_ARG(path),
                       value_is(v, VALUE_ARRAY)    ? "array"
                       : value_is(v, VALUE_STRING) ? "string"
                                                   : "number");
    doc.kind = value_str_at(v, "kind");
    doc.name = value_str_at(v, "metadata.name");
    struct value *annotations = value_at(v, "metadata.annotations");
    if (value_getc(annotations, "helm.sh/hook"))
        doc.hook = annotations;
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 64;
        d->all = arena_grow(a, d->all, d->cap * sizeof *d->all, cap * sizeof *d->all);
        d->cap = cap;
    }
    d->all[d->n++] = doc;
    return 0;
}

static bool blank(struct str s)
{
    return !str_trim(s).n;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

// The next line that begins with "---" at or after `from`, with the white space around it (helm's
// expression (?:^|\s*\n)---\s*). false: none.
static bool separator(struct str s, size_t from, size_t *begin, size_t *end)
{
    size_t at = from;
    if (from == 0 && str_starts(s, STR("---"))) {
        *begin = 0;
    } else {
        ptrdiff_t line = str_find(str_from(s, from), STR("\n---"));
        if (line < 0)
            return false;
        *begin = from + (size_t)line;
        at = *begin + 1;
        while (*begin > from && is_space(s.p[*begin - 1]))
            (*begin)--;
    }
    *end = at + 3;
    while (*end < s.n && is_space(s.p[*end]))
        (*end)++;
    return true;
}

static int documents_split(struct arena *a, struct chart_documents *d, struct str path,
                           struct str rendered, struct err *e)
{
    struct str s = str_trim(rendered);
    for (size_t from = 0, begin = 0, end = 0; from <= s.n; from = end) {
        bool more = separator(s, from, &begin, &end);
        struct str part = str_sub(s, from, (more ? begin : s.n) - from);
        int r = part.n ? document_add(a, d, path, str_trim(part), e) : 0;
        if (r < 0 || !more)
            return r;
    }
    return 0;
}

static bool is_test(const struct chart_document *d)
{
    for (struct str rest = value_string(value_getc(d->hook, "helm.sh/hook")); rest.p;) {
        struct str event = str_trim(str_cut(&rest, ','));
        if (str_eqc(event, "test") || str_eqc(event, "test-success"))
            return true;
    }
    return false;
}

static bool shown(struct arena *a, const struct chart_options *o, struct str path)
{
    if (!o->nshow_only)
        return true;
    struct str rest = path;
    str_cut(&rest, '/'); // without the chart's name
    for (size_t i = 0; i < o->nshow_only; i++) {
        struct glob *g;
        if (glob_compile(a, o->show_only[i], GLOB_PATH, &g, NULL) == 0 && glob_match(g, rest))
            return true;
    }
    return false;
}

static void crds_write(struct arena *a, const struct chart *c, const struct chart_options *o,
                       struct buf *out)
{
    for (size_t i = 0; i < c->nfiles; i++) {
        struct str name = c->files[i].name;
        if (!str_starts(name, STR("crds/")) ||
            !(str_ends(name, STR(".yaml")) || str_ends(name, STR(".yml")) ||
              str_ends(name, STR(".json"))))
            continue;
        struct str path =
            arena_printf(a, "%.*s/%.*s", STR_ARG(chart_full_path(a, c)), STR_ARG(name));
        if (shown(a, o, path))
            buf_printf(out, "---\n# Source: %.*s\n%.*s\n", STR_ARG(path),
                       STR_ARG(c->files[i].data));
    }
    for (size_t i = 0; i < c->ndependencies; i++)
        crds_write(a, c->dependencies[i], o, out);
}

static int text_order(const void *a, const void *b)
{
    return str_cmp(((const struct chart_file *)a)->name, ((const struct chart_file *)b)->name);
}

static void documents_write(struct arena *a, const struct chart *c, struct chart_documents *d,
                            const struct chart_options *o, struct buf *out)
{
    struct buf manifest = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    if (o->include_crds)
        crds_write(a, c, o, &manifest);
    if (d->n)
        qsort(d->all, d->n, sizeof *d->all, document_order);
    for (size_t i = 0; i < d->n; i++)
        if (!d->all[i].hook && shown(a, o, d->all[i].path))
            buf_printf(&manifest, "---\n# Source: %.*s\n%.*s\n", STR_ARG(d->all[i].path),
                       STR_ARG(d->all[i].content));
    buf_str(out, str_trim(buf_view(&manifest)));
    buf_char(out, '\n');
    buf_done(&manifest);
    for (size_t i = 0; i < d->n && !o->no_hooks; i++)
        if (d->all[i].hook && !(o->skip_tests && is_test(&d->all[i])) &&
            shown(a, o, d->all[i].path))
            buf_printf(out, "---\n# Source: %.*s\n%.*s\n", STR_ARG(d->all[i].path),
                       STR_ARG(d->all[i].content));
}

static struct str without_no_value(struct arena *a, struct str s)
{
    struct buf b = BUF_MAX(TEMPLATE_OUTPUT_MAX);
    for (ptrdiff_t at; (at = str_find(s, STR("<no value>"))) >= 0; s = str_from(s, (size_t)at + 10))
        buf_add(&b, s.p, (size_t)at);
    buf_str(&b, s);
    struct str out = arena_str(a, buf_view(&b));
    buf_done(&b);
    return out;
}

static int execute_all(struct chart_renderer *r, struct template_set *set,
                       struct chart_file *rendered, size_t *n, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        _cleanup_err_ struct err fault = ERR_INIT;
        if (template_parse(set, r->all[i].path, r->all[i].text, &fault) < 0)
            return parse_error(e, &fault);
    }
    for (size_t i = 0; i < r->n; i++) {
        struct chart_template *t = &r->all[i];
        if (base_name(t->path).p[0] == '_')
            continue;
        _cleanup_err_ struct err fault = ERR_INIT;
        _cleanup_buf_ struct buf out = BUF_INIT;
        struct value *about = value_object(r->a);
        value_setc(r->a, about, "Name", value_str(r->a, t->path));
        value_setc(r->a, about, "BasePath", value_str(r->a, t->base_path));
        value_setc(r->a, t->top, "Template", about);
        if (template_execute(set, t->path, t->top, &out, &fault) < 0) {
            if (strstr(fault.message, CHART_WARN_BEGIN))
                return execution_error(e, &fault);
            err_move(e, &fault);
            return -422;
        }
        rendered[(*n)++] = (struct chart_file){t->path, without_no_value(r->a, buf_view(&out))};
    }
    return 0;
}

static struct value *release_value(struct arena *a, const struct chart_options *o)
{
    struct value *v = value_object(a);
    value_setc(a, v, "Name", value_str(a, o->release));
    value_setc(a, v, "Namespace", value_str(a, o->namespace));
    value_setc(a, v, "IsUpgrade", value_bool(a, o->upgrade));
    value_setc(a, v, "IsInstall", value_bool(a, !o->upgrade));
    value_setc(a, v, "Revision", template_int_value(a, TEMPLATE_INT, 1));
    value_setc(a, v, "Service", value_strc(a, "Helm"));
    return v;
}

int chart_render(struct arena *a, struct chart *c, const struct value *given,
                 const struct chart_options *o, struct buf *out, struct err *e)
{
    struct value *copy = sprig_clone(a, given, 0);
    int f = chart_dependencies_process(a, c, copy, e);
    if (f < 0)
        return f;
    struct chart_renderer r = {.a = a, .o = o};
    struct chart_host host = {.options = o};
    struct value *values = chart_coalesce(a, c, copy, false);
    r.release = release_value(a, o);
    r.capabilities = chart_capabilities_thing(a, o);
    collect(&r, c, values);
    if (r.n)
        qsort(r.all, r.n, sizeof *r.all, template_order);
    static const struct template_functions *const tables[] = {
        &chart_functions, &sprig_strings,     &sprig_lists, &sprig_dicts,  &sprig_math,
        &sprig_dates,     &sprig_encode,      &sprig_match, &sprig_random, &sprig_toml,
        &sprig_crypto,    &template_builtins, NULL};
    struct template_set *set = template_set_new(
        a, &(struct template_options){
               .missing = TEMPLATE_MISSING_ZERO, .tables = tables, .env = o->env, .host = &host});
    struct chart_file *rendered = arena_array(a, struct chart_file, r.n + 1);
    size_t n = 0;
    f = execute_all(&r, set, rendered, &n, e);
    if (f < 0)
        return f;
    struct chart_documents d = {0};
    if (n)
        qsort(rendered, n, sizeof *rendered, text_order);
    for (size_t i = 0; i < n && f == 0; i++)
        if (!blank(rendered[i].data) && !str_ends(rendered[i].name, STR("NOTES.txt")))
            f = documents_split(a, &d, rendered[i].name, rendered[i].data, e);
    if (f == 0)
        documents_write(a, c, &d, o, out);
    return f;
}
