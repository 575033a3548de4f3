// The walk over kustomizations. Each one is built whole before what includes it goes on:
//
//     resources (files, or kustomizations below) → generators → components → transformers
//
// Components act on what their parent has so far; bases start from nothing. At the very top, once:
// hash suffixes, references to changed names, vars, local configuration left out, order.
#include "kustomize/kustomize.h"
#include "base/guard.h"
#include "kustomize/private.h"
#include "object/yaml.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int accumulate(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e);

// The nearest of the callers that already is at (or below) this root: a cycle.
static int check_cycle(const struct kustomize_target *t, struct str root, struct err *e)
{
    for (const struct kustomize_target *up = t; up; up = up->parent)
        if (str_starts(up->root, root) &&
            (up->root.n == root.n || root.n == 1 || up->root.p[root.n] == '/'))
            return err_set(e, ERR_BAD_REQUEST,
                           "cycle detected: candidate root '%.*s' contains visited root '%.*s'",
                           STR_ARG(root), STR_ARG(up->root));
    if (t->depth + 1 > KUSTOMIZE_DEPTH)
        return err_set(e, ERR_BAD_REQUEST, "more than %d kustomizations within each other",
                       KUSTOMIZE_DEPTH);
    return 0;
}

static int merge_variables(struct arena *a, struct kustomize_bag *bag, const struct value *vars,
                           struct err *e)
{
    value_each_item (vars, v) {
        struct str name = value_str_at(v, "name");
        if (!name.n)
            return err_set(e, ERR_BAD_REQUEST, "var undefined: name is missing");
        value_each_item (bag->variables, old)
            if (str_eq(value_str_at(old, "name"), name))
                return err_set(e, ERR_BAD_REQUEST, "var '%.*s' already encountered", STR_ARG(name));
        value_push(a, bag->variables, v);
    }
    return 0;
}

static void bag_init(struct arena *a, struct kustomize_bag *bag)
{
    *bag = (struct kustomize_bag){.variables = value_array(a)};
    kustomize_config_default(a, &bag->config);
}

static int add_directory(struct kustomize_target *t, struct str root, bool component,
                         struct kustomize_bag *bag, struct err *e)
{
    struct kustomize_run *run = t->run;
    int rc = check_cycle(t, root, e);
    if (rc < 0)
        return rc;
    struct kustomize_target below = {.run = run, .parent = t, .root = root, .depth = t->depth + 1};
    struct str space = value_str_at(t->k, "namespace");
    below.chart_space = space.n ? space : t->chart_space;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_target_load(&below, &inner) < 0)
        return err_wrap(e, &inner, "couldn't make target for path '%.*s'", STR_ARG(root));
    struct str kind = value_str_at(below.k, "kind");
    if (!component && str_eqc(kind, "Component"))
        return err_set(e, ERR_BAD_REQUEST, "expected kind != 'Component' for path '%.*s'",
                       STR_ARG(root));
    if (component && !str_eqc(kind, "Component"))
        return err_set(e, ERR_BAD_REQUEST,
                       "expected kind 'Component' for path '%.*s' but got '%.*s'", STR_ARG(root),
                       STR_ARG(kind.n ? kind : STR("Kustomization")));
    if (component) {
        if (accumulate(&below, bag, &inner) < 0)
            return err_wrap(e, &inner, "recursed accumulation of path '%.*s'", STR_ARG(root));
        return 0;
    }
    struct kustomize_bag own;
    bag_init(run->a, &own);
    if (accumulate(&below, &own, &inner) < 0)
        return err_wrap(e, &inner, "recursed accumulation of path '%.*s'", STR_ARG(root));
    if (kustomize_append_all(run, &bag->resources, &own.resources, &inner) < 0 ||
        kustomize_config_merge(run->a, &bag->config, &own.config, &inner) < 0 ||
        merge_variables(run->a, bag, own.variables, &inner) < 0)
        return err_wrap(e, &inner, "recursed merging from path '%.*s'", STR_ARG(root));
    return 0;
}

static bool looks_remote(struct str path)
{
    return str_find(path, STR("://")) >= 0 || str_starts(path, STR("git@")) ||
           str_starts(path, STR("git::")) || str_starts(path, STR("gh:")) ||
           str_starts(path, STR("github.com/")) || str_find(path, STR("?ref=")) >= 0 ||
           str_find(path, STR(".git")) > 0;
}

static int remote(struct kustomize_target *t, struct str url, struct str *ret_root, struct err *e)
{
    const struct kustomize_options *o = t->run->options;
    if (!o->fetch)
        return err_set(e, ERR_NOT_IMPLEMENTED, "'%.*s' is remote, and nothing is fetched here",
                       STR_ARG(url));
    struct str directory;
    int rc = o->fetch(o->context, t->run->a, url, &directory, e);
    if (rc == 0)
        *ret_root = t->run->files->real(t->run->files->context, t->run->a, directory);
    return rc;
}

static int add_file(struct kustomize_target *t, struct str path, struct kustomize_resources *to,
                    struct err *e)
{
    struct kustomize_resources read = {0};
    struct str text;
    _cleanup_err_ struct err inner = ERR_INIT;
    if (kustomize_target_read(t, path, &text, &inner) < 0 ||
        kustomize_parse(t->run, text, path, &read, &inner) < 0)
        return err_wrap(e, &inner, "accumulating resources from '%.*s'", STR_ARG(path));
    if (kustomize_append_all(t->run, to, &read, &inner) < 0)
        return err_wrap(e, &inner, "merging resources from '%.*s'", STR_ARG(path));
    return 0;
}

static int add_resource(struct kustomize_target *t, struct str path, struct kustomize_bag *bag,
                        struct err *e)
{
    const struct kustomize_files *files = t->run->files;
    struct str full = kustomize_clean(t->run->a, t->root, path);
    char kind = files->kind(files->context, full);
    if (kind == 'f')
        return add_file(t, path, &bag->resources, e);
    if (kind == 'd')
        return add_directory(t, files->real(files->context, t->run->a, full), false, bag, e);
    if (looks_remote(path)) {
        struct str root;
        int rc = remote(t, path, &root, e);
        return rc < 0 ? rc : add_directory(t, root, false, bag, e);
    }
    return err_set(
        e, ERR_NOT_FOUND,
        "accumulation err='accumulating resources from '%.*s': open %.*s: no such file or "
        "directory': must build at directory: not a valid directory: evalsymlink failure "
        "on '%.*s' : lstat %.*s: no such file or directory",
        STR_ARG(path), STR_ARG(full), STR_ARG(full), STR_ARG(full));
}

static int add_component(struct kustomize_target *t, struct str path, struct kustomize_bag *bag,
                         struct err *e)
{
    const struct kustomize_files *files = t->run->files;
    struct str full = kustomize_clean(t->run->a, t->root, path), root;
    if (files->kind(files->context, full) == 'd')
        root = files->real(files->context, t->run->a, full);
    else if (looks_remote(path)) {
        int rc = remote(t, path, &root, e);
        if (rc < 0)
            return rc;
    } else
        return err_set(e, ERR_NOT_FOUND, "component '%.*s' is not a directory", STR_ARG(full));
    return add_directory(t, root, true, bag, e);
}

static int add_configurations(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    value_each_item (value_getc(t->k, "configurations"), path) {
        struct str text;
        struct value *v;
        int rc = kustomize_target_read(t, value_string(path), &text, e);
        if (rc < 0 || (rc = yaml_parse(t->run->a, text, NULL, &v, e)) < 0 ||
            (rc = kustomize_config_read(t->run->a, &bag->config, v, e)) < 0)
            return rc;
    }
    return 0;
}

static int add_charts(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    const struct kustomize_options *o = t->run->options;
    struct arena *a = t->run->a;
    const struct value *charts = value_getc(t->k, "helmCharts");
    if (value_len(charts) && !o->chart)
        return err_set(e, ERR_INVALID, "must specify --enable-helm");
    struct str space = value_str_at(t->k, "namespace");
    if (!space.n)
        space = t->chart_space;
    value_each_item (charts, entry) {
        if (space.n && !value_str_at(entry, "namespace").n)
            value_setc(a, entry, "namespace", value_str(a, space));
        struct value *objects;
        int rc =
            o->chart(o->context, a, t->root, entry, value_getc(t->k, "helmGlobals"), &objects, e);
        if (rc < 0)
            return rc;
        value_each_item (objects, object) {
            struct kustomize_resource *r = kustomize_resource_make(t->run, object, e);
            if (!r || (rc = kustomize_absorb(t->run, &bag->resources, r, e)) < 0)
                return r ? rc : err_code(e);
        }
    }
    return 0;
}

static int accumulate(struct kustomize_target *t, struct kustomize_bag *bag, struct err *e)
{
    int rc;
    _cleanup_err_ struct err inner = ERR_INIT;
    value_each_item (value_getc(t->k, "resources"), path)
        if (add_resource(t, value_string(path), bag, &inner) < 0)
            return err_wrap(e, &inner, "accumulating resources");
    if ((rc = add_configurations(t, bag, e)) < 0 || (rc = kustomize_generate(t, bag, e)) < 0 ||
        (rc = kustomize_plugin_generators(t, bag, e)) < 0 || (rc = add_charts(t, bag, e)) < 0)
        return rc;
    value_each_item (value_getc(t->k, "components"), path)
        if (add_component(t, value_string(path), bag, &inner) < 0)
            return err_wrap(e, &inner, "accumulating components");
    if ((rc = kustomize_transform(t, bag, e)) < 0 || (rc = kustomize_plugins(t, bag, e)) < 0)
        return rc;
    return merge_variables(t->run->a, bag, value_getc(t->k, "vars"), e);
}

static void drop_local(struct kustomize_resources *rs)
{
    size_t n = 0;
    for (size_t i = 0; i < rs->n; i++) {
        const struct value *annotations = value_at(rs->items[i]->object, "metadata.annotations");
        struct str local =
            value_string(value_get(annotations, STR("config.kubernetes.io/local-config")));
        if (!local.n || str_eqc(local, "false"))
            rs->items[n++] = rs->items[i];
    }
    rs->n = n;
    kustomize_renamed(rs);
}

// Annotations of function runners mean nothing in the output.
static void drop_build_annotations(struct kustomize_resources *rs)
{
    static const char *const names[] = {
        "config.kubernetes.io/path",
        "config.kubernetes.io/index",
        "internal.config.kubernetes.io/path",
        "internal.config.kubernetes.io/index",
        "internal.config.kubernetes.io/seqindent",
        "config.k8s.io/id",
        "internal.config.kubernetes.io/id",
    };
    for (size_t i = 0; i < rs->n; i++) {
        struct value *annotations = value_at(rs->items[i]->object, "metadata.annotations");
        size_t before = value_len(annotations);
        for (size_t j = 0; annotations && j < ARRAY_LEN(names); j++)
            value_delc(annotations, names[j]);
        if (before && !value_len(annotations))
            value_del_at(rs->items[i]->object, "metadata.annotations");
    }
}

int kustomize_build(struct arena *a, const struct kustomize_options *options, struct str directory,
                    struct value **ret, struct err *e)
{
    struct kustomize_run run = {.a = a,
                                .options = options,
                                .files = options->files ? options->files : &kustomize_disk,
                                .patterns = kustomize_patterns_new(a)};
    if (run.files->kind(run.files->context, directory) != 'd')
        return err_set(e, ERR_NOT_FOUND, "must build at directory: not a valid directory: '%.*s'",
                       STR_ARG(directory));
    struct kustomize_target top = {.run = &run,
                                   .root = run.files->real(run.files->context, a, directory)};
    struct kustomize_bag bag;
    bag_init(a, &bag);
    int rc = kustomize_target_load(&top, e);
    if (rc < 0 || (rc = accumulate(&top, &bag, e)) < 0 ||
        (rc = kustomize_add_hashes(&run, &bag, e)) < 0 ||
        (rc = kustomize_fix_references(&run, &bag, e)) < 0 ||
        (rc = kustomize_vars(&run, &bag, e)) < 0)
        return rc;
    drop_local(&bag.resources);
    drop_build_annotations(&bag.resources);
    if ((rc = kustomize_order(&run, value_getc(top.k, "sortOptions"), &bag.resources, e)) < 0)
        return rc;
    struct value *out = value_array(a);
    for (size_t i = 0; i < bag.resources.n; i++)
        value_push(a, out, bag.resources.items[i]->object);
    *ret = out;
    return 0;
}

void kustomize_print(struct buf *b, const struct value *objects)
{
    bool first = true;
    value_each_item (objects, object) {
        if (!first)
            buf_puts(b, "---\n");
        first = false;
        yaml_write(b, object);
    }
}

// The disk.

static char disk_kind(void *context, struct str path)
{
    (void)context;
    struct stat st;
    _cleanup_free_ char *name = mem_cstr(path);
    if (stat(name, &st) < 0)
        return 0;
    return S_ISDIR(st.st_mode) ? 'd' : S_ISREG(st.st_mode) ? 'f' : 0;
}

static int disk_read(void *context, struct arena *a, struct str path, struct str *ret,
                     struct err *e)
{
    (void)context;
    _cleanup_free_ char *name = mem_cstr(path);
    _cleanup_fd_ int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(e, errno, "open %s", name);
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) < 0)
        rc = err_errno(e, errno, "stat %s", name);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_BAD_REQUEST, "read %s: is no regular file", name);
    else if ((size_t)st.st_size > KUSTOMIZE_FILE)
        rc = err_set(e, ERR_TOO_LARGE, "read %s: larger than %zu bytes", name, KUSTOMIZE_FILE);
    else {
        char *p = arena_alloc(a, (size_t)st.st_size + 1);
        size_t n = 0;
        ssize_t got = 1;
        while (n < (size_t)st.st_size && (got = read(fd, p + n, (size_t)st.st_size - n)) > 0)
            n += (size_t)got;
        if (got < 0)
            rc = err_errno(e, errno, "read %s", name);
        else
            *ret = str_n(p, n);
    }
    return rc;
}

static struct str disk_real(void *context, struct arena *a, struct str path)
{
    (void)context;
    _cleanup_free_ char *name = mem_cstr(path);
    _cleanup_free_ char *real = realpath(name, NULL);
    return real ? arena_str(a, str_of(real)) : path;
}

const struct kustomize_files kustomize_disk = {
    .kind = disk_kind, .read = disk_read, .real = disk_real};
