// Values: defaults below what is given, all the way down the dependencies. What is given wins, a
// null that is given deletes the default, `global` flows down.
#include "chart/chart.h"
#include "object/yaml.h"
#include "template/sprig.h"

static bool table(const struct value *v)
{
    return value_is(v, VALUE_OBJECT);
}

static bool null(const struct value *v)
{
    return !v || v->kind == VALUE_NULL;
}

// src below dst. keep: nulls of dst stay, to delete further down.
static void coalesce_tables(struct arena *a, struct value *dst, const struct value *src, bool keep)
{
    value_each_field (src, f) {
        struct value *there = value_get(dst, f->key);
        if (there && !keep && null(there))
            value_del(dst, f->key);
        else if (!there)
            value_set(a, dst, f->key, f->value);
        else if (table(f->value) && table(there))
            coalesce_tables(a, there, f->value, keep);
    }
}

static void coalesce_globals(struct arena *a, struct value *dest, const struct value *src,
                             bool keep)
{
    struct value *to = value_getc(dest, "global"), *from = value_getc(src, "global");
    if (!to)
        to = value_object(a);
    if (!from)
        from = value_object(a);
    if (!table(to) || !table(from))
        return;
    value_each_field (from, f) {
        struct value *there = value_get(to, f->key);
        if (table(f->value)) {
            struct value *copy = sprig_clone(a, f->value, 0);
            if (there && !table(there))
                continue;
            if (there)
                coalesce_tables(a, copy, there, keep); // what is above wins
            value_set(a, to, f->key, copy);
        } else if (!table(there)) {
            value_set(a, to, f->key, f->value);
        }
    }
    value_setc(a, dest, "global", to);
}

// The chart's own defaults. What is said for a dependency keeps its nulls: they are to delete the
// dependency's defaults, which come later.
static void coalesce_defaults(struct arena *a, const struct chart *c, struct value *dest,
                              const struct value *defaults, bool keep)
{
    value_each_field (defaults, f) {
        struct value *there = value_get(dest, f->key);
        bool child = false;
        for (size_t i = 0; i < c->ndependencies; i++)
            child |= str_eq(chart_name(c->dependencies[i]), f->key);
        if (there && !keep && null(there))
            value_del(dest, f->key);
        else if (!there)
            value_set(a, dest, f->key, f->value);
        else if (table(f->value) && table(there))
            coalesce_tables(a, there, f->value, keep || child);
    }
}

static void coalesce(struct arena *a, const struct chart *c, struct value *dest, bool keep)
{
    coalesce_defaults(a, c, dest, sprig_clone(a, c->values, 0), keep);
    for (size_t i = 0; i < c->ndependencies; i++) {
        const struct chart *dep = c->dependencies[i];
        struct value *part = value_get(dest, chart_name(dep));
        if (!part) {
            part = value_object(a);
            value_set(a, dest, chart_name(dep), part);
        }
        if (!table(part))
            continue;
        coalesce_globals(a, part, dest, keep);
        coalesce(a, dep, part, keep);
    }
}

struct value *chart_coalesce(struct arena *a, const struct chart *c, const struct value *given,
                             bool keep_nulls)
{
    struct value *v = table(given) ? sprig_clone(a, given, 0) : value_object(a);
    coalesce(a, c, v, keep_nulls);
    return v;
}

// later over earlier; a null replaces.
static void merge_over(struct arena *a, struct value *to, const struct value *from)
{
    value_each_field (from, f) {
        struct value *there = value_get(to, f->key);
        if (table(there) && table(f->value))
            merge_over(a, there, f->value);
        else
            value_set(a, to, f->key, f->value);
    }
}

int chart_values_add(struct arena *a, struct value *values, struct str yaml, struct err *e)
{
    struct value *v;
    int r = yaml_parse(a, arena_str(a, yaml), NULL, &v, e);
    if (r < 0)
        return err_wrap(e, e, "error converting YAML to JSON");
    if (value_is(v, VALUE_NULL))
        return 0;
    if (!table(v))
        return err_set(e, ERR_INVALID,
                       "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal %s "
                       "into Go value of type map[string]interface {}",
                       value_is(v, VALUE_ARRAY)    ? "array"
                       : value_is(v, VALUE_STRING) ? "string"
                                                   : "number");
    sprig_floats(v);
    merge_over(a, values, v);
    return 0;
}

// ---- Dependencies ----

#include "text/semver.h"

static bool version_fits(struct arena *a, struct str range, struct str version)
{
    struct semver_constraint *k;
    struct semver v;
    return semver_parse(a, version, &v, NULL) == 0 &&
           semver_constraint_parse(a, range, &k, NULL) == 0 && semver_constraint_check(k, &v);
}

static struct value *path_value(struct value *v, struct str path)
{
    while (path.p && v)
        v = value_get(v, str_cut(&path, '.'));
    return v;
}

static struct chart *chart_copy(struct arena *a, const struct chart *c, struct chart *parent)
{
    struct chart *out = arena_new(a, struct chart);
    *out = *c;
    out->parent = parent;
    out->metadata = sprig_clone(a, c->metadata, 0);
    out->dependencies = arena_array(a, struct chart *, c->ndependencies + 1);
    for (size_t i = 0; i < c->ndependencies; i++)
        out->dependencies[i] = chart_copy(a, c->dependencies[i], out);
    return out;
}

static bool matches(struct arena *a, const struct chart *c, const struct value *req)
{
    return str_eq(chart_name(c), value_string(value_getc(req, "name"))) &&
           version_fits(a, value_string(value_getc(req, "version")),
                        value_string(value_getc(c->metadata, "version")));
}

static bool enabled_by_tags(const struct value *req, const struct value *tags, bool before)
{
    bool yes = false, no = false;
    const struct value *names = value_getc(req, "tags");
    if (!value_len(names))
        return before;
    value_each_item (names, name) {
        const struct value *t = value_get(tags, value_string(name));
        if (value_is(t, VALUE_BOOL)) {
            yes |= t->b;
            no |= !t->b;
        }
    }
    return yes || !no;
}

static bool enabled_by_condition(const struct value *req, struct value *values, struct str path,
                                 bool before)
{
    struct str all = value_string(value_getc(req, "condition"));
    while (all.p) {
        struct str c = str_trim(str_cut(&all, ','));
        struct value *at = values;
        for (struct str rest = path; rest.n && at;)
            at = value_get(at, str_cut(&rest, '.'));
        struct value *v = c.n ? path_value(at, c) : NULL;
        if (value_is(v, VALUE_BOOL))
            return v->b;
    }
    return before;
}

static void process_enabled(struct arena *a, struct chart *c, const struct value *given,
                            struct str path)
{
    struct value *reqs = value_getc(c->metadata, "dependencies");
    if (!value_is(reqs, VALUE_ARRAY))
        return;
    struct chart **kept = arena_array(a, struct chart *, c->ndependencies + reqs->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < c->ndependencies; i++) {
        bool listed = false;
        value_each_item (reqs, req)
            listed |= matches(a, c->dependencies[i], req);
        if (!listed)
            kept[n++] = c->dependencies[i];
    }
    value_each_item (reqs, req) {
        struct str alias = value_string(value_getc(req, "alias"));
        for (size_t i = 0; i < c->ndependencies; i++)
            if (matches(a, c->dependencies[i], req)) {
                struct chart *dep = chart_copy(a, c->dependencies[i], c);
                if (alias.n)
                    value_setc(a, dep->metadata, "name", value_str(a, alias));
                kept[n++] = dep;
                break;
            }
        if (alias.n)
            value_setc(a, req, "name", value_str(a, alias));
    }
    c->dependencies = kept;
    c->ndependencies = n;
    struct value *values = chart_coalesce(a, c, given, false);
    struct value *tags = value_getc(values, "tags"), *left = value_array(a);
    value_each_item (reqs, req) {
        bool on = enabled_by_condition(req, values, path, enabled_by_tags(req, tags, true));
        if (on) {
            value_push(a, left, req);
            continue;
        }
        size_t m = 0;
        for (size_t i = 0; i < c->ndependencies; i++)
            if (!str_eq(chart_name(c->dependencies[i]), value_string(value_getc(req, "name"))))
                c->dependencies[m++] = c->dependencies[i];
        c->ndependencies = m;
    }
    value_setc(a, c->metadata, "dependencies", left);
    for (size_t i = 0; i < c->ndependencies; i++) {
        struct str name = chart_name(c->dependencies[i]);
        process_enabled(a, c->dependencies[i], values,
                        path.n ? arena_printf(a, "%.*s.%.*s", STR_ARG(path), STR_ARG(name)) : name);
    }
}

static void import(struct arena *a, struct value *into, struct str parent, struct value *from)
{
    struct value *at = into;
    if (!str_eqc(parent, ".") && parent.n)
        for (struct str rest = parent; rest.p;) {
            struct str key = str_cut(&rest, '.');
            struct value *next = value_get(at, key);
            if (!table(next)) {
                next = value_object(a);
                value_set(a, at, key, next);
            }
            at = next;
        }
    coalesce_tables(a, at, sprig_clone(a, from, 0), true);
}

static void process_imports(struct arena *a, struct chart *c)
{
    for (size_t i = 0; i < c->ndependencies; i++)
        process_imports(a, c->dependencies[i]);
    struct value *reqs = value_getc(c->metadata, "dependencies");
    if (!value_is(reqs, VALUE_ARRAY))
        return;
    struct value *all = chart_coalesce(a, c, NULL, true), *imported = value_object(a);
    bool any = false;
    value_each_item (reqs, req) {
        struct value *part = value_get(all, value_string(value_getc(req, "name")));
        struct value *list = value_getc(req, "import-values");
        value_each_item (list, item) {
            struct str child, parent = STR(".");
            if (value_is(item, VALUE_STRING)) {
                child = arena_printf(a, "exports.%.*s", STR_ARG(value_string(item)));
            } else {
                child = value_string(value_getc(item, "child"));
                parent = value_string(value_getc(item, "parent"));
            }
            struct value *from = path_value(part, child);
            if (table(from)) {
                import(a, imported, parent, from);
                any = true;
            }
        }
    }
    if (any) {
        coalesce_tables(a, all, imported, true);
        c->values = all;
    }
}

static int check_listed(struct arena *a, const struct chart *c, struct err *e)
{
    struct buf missing = BUF_INIT;
    value_each_item (value_getc(c->metadata, "dependencies"), req) {
        struct str name = value_string(value_getc(req, "name"));
        bool there = false;
        for (size_t i = 0; i < c->ndependencies; i++)
            there |= str_eq(chart_name(c->dependencies[i]), name);
        if (!there)
            buf_printf(&missing, "%s%.*s", missing.n ? ", " : "", STR_ARG(name));
    }
    struct str names = arena_str(a, buf_view(&missing));
    buf_done(&missing);
    if (!names.n)
        return 0;
    return err_set(e, ERR_INVALID,
                   "An error occurred while checking for chart dependencies. You may need to run "
                   "`helm dependency "
                   "build` to fetch missing dependencies: found in Chart.yaml, but missing in "
                   "charts/ directory: %.*s",
                   STR_ARG(names));
}

int chart_check(struct arena *a, const struct chart *c, struct str kube_version, struct err *e)
{
    struct str type = value_string(value_getc(c->metadata, "type"));
    struct str wanted = value_string(value_getc(c->metadata, "kubeVersion"));
    struct str version = kube_version.n ? kube_version : STR(CHART_KUBE_VERSION);
    if (type.n && !str_eqc(type, "application"))
        return err_set(e, ERR_INVALID, "%.*s charts are not installable", STR_ARG(type));
    int r = check_listed(a, c, e);
    if (r < 0 || !wanted.n || version_fits(a, wanted, version))
        return r;
    return err_set(e, ERR_INVALID,
                   "chart requires kubeVersion: %.*s which is incompatible with Kubernetes %.*s",
                   STR_ARG(wanted), STR_ARG(version));
}

int chart_dependencies_process(struct arena *a, struct chart *c, const struct value *given,
                               struct err *e)
{
    (void)e;
    process_enabled(a, c, given, STR(""));
    process_imports(a, c);
    return 0;
}
