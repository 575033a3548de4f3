// Loading a chart: the files of a directory or an archive, sorted into what they are. A directory's
// .helmignore says what does not belong to it. Charts below charts/ are directories or archives.
#include "base/env.h"
#include "chart/chart.h"
#include "content/source.h"
#include "content/tar.h"
#include "object/yaml.h"
#include "template/sprig.h"
#include "text/glob.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct chart_files {
    struct chart_file *all;
    size_t n, cap, bytes;
};

static int files_add(struct arena *a, struct chart_files *f, struct str name, struct str data,
                     struct err *e)
{
    if (f->n >= CHART_FILES_MAX)
        return err_set(e, ERR_TOO_LARGE, "chart has more than %d files", CHART_FILES_MAX);
    f->bytes += data.n;
    if (f->bytes > CHART_TOTAL_MAX)
        return err_set(e, ERR_TOO_LARGE, "chart is larger than %zu bytes", CHART_TOTAL_MAX);
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 32;
        f->all = arena_grow(a, f->all, f->cap * sizeof *f->all, cap * sizeof *f->all);
        f->cap = cap;
    }
    if (str_starts(data, STR("\xef\xbb\xbf")))
        data = str_from(data, 3);
    f->all[f->n++] = (struct chart_file){arena_str(a, name), data};
    return 0;
}

// ---- Directories ----

struct chart_walk {
    struct arena *a;
    struct chart_files *files;
    struct glob_rules *ignore;
    struct err *e;
};

static int name_order(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int walk_directory(struct chart_walk *w, const char *path, struct str prefix, int depth)
{
    if (depth > 64)
        return err_set(w->e, ERR_INVALID, "directories nest too deeply: %s", path);
    DIR *d = opendir(path);
    if (!d)
        return err_errno(w->e, errno, "open %s", path);
    struct str *names = NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (n == cap) {
            names = arena_grow(w->a, names, cap * sizeof *names, (cap * 2 + 16) * sizeof *names);
            cap = cap * 2 + 16;
        }
        names[n++] = arena_str(w->a, str_of(entry->d_name));
    }
    closedir(d);
    if (n)
        qsort(names, n, sizeof *names, name_order);
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        struct str name = prefix.n
                              ? arena_printf(w->a, "%.*s/%.*s", STR_ARG(prefix), STR_ARG(names[i]))
                              : names[i];
        const char *full = arena_cstr(w->a, arena_printf(w->a, "%s/%.*s", path, STR_ARG(names[i])));
        struct stat st;
        if (stat(full, &st) < 0)
            return err_errno(w->e, errno, "%s", full);
        bool directory = S_ISDIR(st.st_mode);
        if (glob_rules_ignore(w->ignore, name, directory))
            continue;
        if (directory) {
            r = walk_directory(w, full, name, depth + 1);
        } else if (S_ISREG(st.st_mode)) {
            struct str data;
            if (st.st_size > (off_t)CHART_FILE_MAX)
                return err_set(w->e, ERR_TOO_LARGE,
                               "chart file \"%.*s\" is larger than the maximum file size %zu",
                               STR_ARG(names[i]), CHART_FILE_MAX);
            r = file_read_all(w->a, full, CHART_FILE_MAX, &data, w->e);
            if (r == 0)
                r = files_add(w->a, w->files, name, data, w->e);
        } else {
            return err_set(w->e, ERR_INVALID,
                           "cannot load irregular file %s as it has file mode type bits set", full);
        }
    }
    return r;
}

// ---- Archives ----

// Names in an archive begin with the chart's own directory and never lead out of it.
static int archive_name(struct str name, struct str *ret, struct err *e)
{
    ptrdiff_t slash = str_chr(name, '/');
    if (slash < 0)
        return err_set(e, ERR_INVALID, "chart base directory is missing");
    struct str rest = str_from(name, (size_t)slash + 1);
    if (name.p[0] == '/' || str_chr(name, '\\') >= 0)
        return err_set(e, ERR_INVALID, "chart illegally contains absolute paths");
    for (struct str at = name; at.p;)
        if (str_eqc(str_cut(&at, '/'), ".."))
            return err_set(e, ERR_INVALID, "chart illegally references parent directory");
    *ret = rest;
    return 0;
}

struct chart_memory {
    struct byte_source source;
    struct str left;
};

static ssize_t memory_read(struct byte_source *s, void *p, size_t n, struct err *e)
{
    struct chart_memory *m = (struct chart_memory *)s;
    (void)e;
    n = n < m->left.n ? n : m->left.n;
    memcpy(p, m->left.p ? m->left.p : "", n);
    m->left = str_from(m->left, n);
    return (ssize_t)n;
}

static void memory_done(struct byte_source *s)
{
    free(s);
}

static int archive_entries(struct arena *a, struct tar_reader *t, struct chart_files *f,
                           struct err *e)
{
    struct tar_entry entry;
    int r;
    while ((r = tar_next(t, &entry, e)) > 0) {
        struct str name;
        if (entry.type != TAR_FILE)
            continue;
        if (entry.size > CHART_FILE_MAX)
            return err_set(
                e, ERR_TOO_LARGE,
                "decompressed chart file \"%.*s\" is larger than the maximum file size %zu",
                STR_ARG(entry.name), CHART_FILE_MAX);
        if ((r = archive_name(entry.name, &name, e)) < 0)
            return r;
        name = arena_str(a, name);
        char *data = arena_alloc(a, entry.size + 1);
        size_t have = 0;
        ssize_t got;
        while ((got = tar_read(t, data + have, entry.size - have, e)) > 0)
            have += (size_t)got;
        if (got < 0)
            return (int)got;
        if ((r = files_add(a, f, name, str_n(data, have), e)) < 0)
            return r;
    }
    return r;
}

static int archive_files(struct arena *a, struct str bytes, struct chart_files *f, struct err *e)
{
    struct chart_memory *m = mem_zalloc(sizeof *m);
    struct byte_source *top;
    m->source.read = memory_read;
    m->source.done = memory_done;
    m->left = bytes;
    int r = source_decompress(&m->source, CHART_TOTAL_MAX, &top, e);
    if (r < 0) {
        source_done(&m->source);
        return r;
    }
    struct tar_reader t;
    tar_init(&t, top);
    r = archive_entries(a, &t, f, e);
    tar_done(&t);
    source_done(top);
    if (r == 0 && !f->n)
        r = err_set(e, ERR_INVALID, "no files in chart archive");
    return r;
}

// ---- From files to a chart ----

static int from_files(struct arena *a, const struct chart_files *f, int depth, struct chart **ret,
                      struct err *e);

static void push(struct arena *a, struct chart_file **list, size_t *n, struct chart_file file)
{
    if ((*n & (*n - 1)) == 0)
        *list = arena_grow(a, *list, *n * sizeof **list, (*n ? *n * 2 : 1) * sizeof **list);
    (*list)[(*n)++] = file;
}

static int dependency_add(struct arena *a, struct chart *c, struct chart *dep)
{
    c->dependencies = arena_grow(a, c->dependencies, c->ndependencies * sizeof *c->dependencies,
                                 (c->ndependencies + 1) * sizeof *c->dependencies);
    c->dependencies[c->ndependencies++] = dep;
    dep->parent = c;
    return 0;
}

// All files below charts/NAME, as a chart.
static int dependencies_load(struct arena *a, struct chart *c, const struct chart_files *f,
                             int depth, struct err *e)
{
    struct str done = STR_NULL;
    for (size_t i = 0; i < f->n; i++) {
        if (!str_starts(f->all[i].name, STR("charts/")))
            continue;
        struct str rest = str_from(f->all[i].name, 7), name = str_cut(&rest, '/');
        if (!name.n || name.p[0] == '_' || name.p[0] == '.' || (done.p && str_eq(done, name)))
            continue;
        struct chart_files sub = {0};
        struct chart *dep;
        int r = 0;
        done = name;
        if (str_ends(name, STR(".tgz"))) {
            r = archive_files(a, f->all[i].data, &sub, e);
        } else {
            if (!rest.p)
                continue; // a file of no chart
            struct str prefix = arena_printf(a, "charts/%.*s/", STR_ARG(name));
            for (size_t k = i; k < f->n && r == 0; k++)
                if (str_starts(f->all[k].name, prefix))
                    r = files_add(a, &sub, str_from(f->all[k].name, prefix.n), f->all[k].data, e);
        }
        if (r == 0)
            r = from_files(a, &sub, depth + 1, &dep, e);
        if (r < 0)
            return err_wrap(e, e, "error unpacking subchart %.*s in %.*s", STR_ARG(name),
                            STR_ARG(chart_name(c)));
        dependency_add(a, c, dep);
    }
    return 0;
}

static int yaml_object(struct arena *a, struct str text, const char *what, struct value **ret,
                       struct err *e)
{
    struct value *v;
    int r = yaml_parse(a, text, NULL, &v, e);
    if (r < 0)
        return err_wrap(e, e, "cannot load %s: error converting YAML to JSON", what);
    if (value_is(v, VALUE_NULL))
        v = value_object(a);
    if (!value_is(v, VALUE_OBJECT))
        return err_set(e, ERR_INVALID,
                       "cannot load %s: error unmarshaling JSON: while decoding JSON: json: cannot "
                       "unmarshal %s into Go value of type map[string]interface {}",
                       what, value_is(v, VALUE_ARRAY) ? "array" : "string");
    *ret = v;
    return 0;
}

static int from_files(struct arena *a, const struct chart_files *f, int depth, struct chart **ret,
                      struct err *e)
{
    struct chart *c = arena_new(a, struct chart);
    struct value *requirements = NULL;
    int r = 0;
    if (depth > CHART_DEPTH)
        return err_set(e, ERR_INVALID, "charts nest too deeply");
    c->values = value_object(a);
    for (size_t i = 0; i < f->n && r == 0; i++) {
        struct chart_file file = f->all[i];
        if (str_eqc(file.name, "Chart.yaml"))
            r = yaml_object(a, file.data, "Chart.yaml", &c->metadata, e);
        else if (str_eqc(file.name, "values.yaml"))
            r = yaml_object(a, file.data, "values.yaml", &c->values, e);
        else if (str_eqc(file.name, "values.schema.json"))
            c->schema = file.data;
        else if (str_eqc(file.name, "requirements.yaml"))
            r = yaml_object(a, file.data, "requirements.yaml", &requirements, e);
        else if (str_eqc(file.name, "Chart.lock") || str_eqc(file.name, "requirements.lock"))
            continue;
        else if (str_starts(file.name, STR("templates/")))
            push(a, &c->templates, &c->ntemplates, file);
        else if (!str_starts(file.name, STR("charts/")) || str_ends(file.name, STR(".prov")))
            push(a, &c->files, &c->nfiles, file);
    }
    if (r < 0)
        return r;
    if (!c->metadata)
        return err_set(e, ERR_INVALID, "Chart.yaml file is missing");
    if (!chart_name(c).n)
        return err_set(e, ERR_INVALID, "validation: chart.metadata.name is required");
    if (!value_string(value_getc(c->metadata, "version")).n)
        return err_set(e, ERR_INVALID, "validation: chart.metadata.version is required");
    if (requirements && !value_getc(c->metadata, "dependencies") &&
        value_getc(requirements, "dependencies"))
        value_setc(a, c->metadata, "dependencies", value_getc(requirements, "dependencies"));
    sprig_floats(c->values);
    r = dependencies_load(a, c, f, depth, e);
    if (r == 0)
        *ret = c;
    return r;
}

struct str chart_name(const struct chart *c)
{
    return value_string(value_getc(c->metadata, "name"));
}

struct str chart_full_path(struct arena *a, const struct chart *c)
{
    if (!c->parent)
        return chart_name(c);
    return arena_printf(a, "%.*s/charts/%.*s", STR_ARG(chart_full_path(a, c->parent)),
                        STR_ARG(chart_name(c)));
}

int chart_load_archive(struct arena *a, struct str bytes, struct chart **ret, struct err *e)
{
    struct chart_files f = {0};
    int r = archive_files(a, bytes, &f, e);
    return r < 0 ? r : from_files(a, &f, 0, ret, e);
}

int chart_load(struct arena *a, const char *path, struct chart **ret, struct err *e)
{
    struct stat st;
    struct str data = STR("");
    if (stat(path, &st) < 0)
        return err_set(e, ERR_NOT_FOUND, "path \"%s\" not found", path);
    if (!S_ISDIR(st.st_mode)) {
        int r = file_read_all(a, path, CHART_TOTAL_MAX, &data, e);
        return r < 0 ? r : chart_load_archive(a, data, ret, e);
    }
    struct chart_files f = {0};
    const char *ignore = arena_cstr(a, arena_printf(a, "%s/.helmignore", path));
    if (access(ignore, F_OK) == 0 && file_read_all(a, ignore, CHART_FILE_MAX, &data, e) < 0)
        return err_code(e);
    struct str rules = arena_printf(a, "%.*s\ntemplates/.?*\n", STR_ARG(data));
    struct chart_walk w = {a, &f, NULL, e};
    int r = glob_rules_parse(a, rules, &w.ignore, e);
    if (r == 0)
        r = walk_directory(&w, path, STR(""), 0);
    return r < 0 ? r : from_files(a, &f, 0, ret, e);
}
