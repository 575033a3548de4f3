// Objects by kind and name, and objects in files.
#include "cli/objects.h"
#include "base/env.h"
#include "base/guard.h"
#include "base/path.h"
#include "object/yaml.h"
#include "schema/schema.h"
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define FILE_MAX    ((size_t)64 << 20)
#define OBJECTS_MAX 100000
enum { DEPTH_MAX = 16 }; // of directories in each other

// --- kinds and names ---

static bool has_category(const struct kind *k, struct str word)
{
    for (const struct str *c = k->categories; c && c->p; c++)
        if (str_eq(*c, word))
            return true;
    return false;
}

static int add_arg(struct object_args *to, struct str word, struct str name, struct err *e)
{
    const struct kind *k = kind_by_word(word);
    bool any = false;
    for (size_t i = 0; !k && !name.n && i < kind_count(); i++) {
        const struct kind *other = kind_at(i);
        // Of a kind with several versions the one that its bare name means.
        if (!has_category(other, word) || kind_by_word(other->resource) != other ||
            to->n == OBJECT_ARGS_MAX)
            continue;
        to->at[to->n++] = (struct object_arg){other, STR_NULL};
        any = true;
    }
    if (any) {
        to->named = false;
        return 0;
    }
    if (!k)
        return err_set(e, ERR_NOT_FOUND, "the server doesn't have a resource type \"%.*s\"",
                       STR_ARG(word));
    if (to->n == OBJECT_ARGS_MAX)
        return err_set(e, ERR_BAD_REQUEST, "more than %d objects on the command line",
                       OBJECT_ARGS_MAX);
    to->at[to->n++] = (struct object_arg){k, name};
    to->named = to->named && name.n;
    return 0;
}

// "a,b" once for each name, or once for all.
static int add_kinds(struct object_args *to, struct str words, char **names, int n, struct err *e)
{
    int r = 0;
    while (words.p && r == 0) {
        struct str word = str_cut(&words, ',');
        if (n == 0)
            r = add_arg(to, word, STR_NULL, e);
        for (int i = 0; i < n && r == 0; i++)
            r = add_arg(to, word, str_of(names[i]), e);
    }
    return r;
}

int objects_parse(struct arena *a, char **args, int nargs, struct object_args *ret, struct err *e)
{
    (void)a;
    *ret = (struct object_args){.named = nargs > 0};
    if (nargs == 0)
        return err_set(e, ERR_BAD_REQUEST,
                       "You must specify the type of resource, such as pods or deployment/web");
    bool slashes = str_chr(str_of(args[0]), '/') >= 0;
    if (!slashes)
        return add_kinds(ret, str_of(args[0]), args + 1, nargs - 1, e);
    for (int i = 0; i < nargs; i++) {
        struct str name = str_of(args[i]), word = str_cut(&name, '/');
        if (!word.n || !name.n || str_chr(name, '/') >= 0)
            return err_set(e, ERR_BAD_REQUEST,
                           "arguments in resource/name form may not have more than one slash, and "
                           "all need one: \"%s\"",
                           args[i]);
        int r = add_arg(ret, word, name, e);
        if (r < 0)
            return r;
    }
    return 0;
}

// --- files ---

struct reading {
    struct cli *c;
    bool recursive;
    struct object_file *objects;
    size_t n, cap;
};

static int add_object(struct reading *r, const char *source, struct value *body, struct err *e)
{
    struct arena *a = r->c->arena;
    struct str api_version = value_str_at(body, "apiVersion"), kind = value_str_at(body, "kind");
    if (!value_is(body, VALUE_OBJECT) || !kind.n || !api_version.n)
        return err_set(e, ERR_BAD_REQUEST, "%s: an object needs apiVersion and kind", source);
    if (value_is(value_getc(body, "items"), VALUE_ARRAY) && str_ends(kind, STR("List"))) {
        value_each_item (value_getc(body, "items"), item) {
            int result = add_object(r, source, item, e);
            if (result < 0)
                return result;
        }
        return 0;
    }
    const struct kind *k = kind_by_api_version(api_version, kind);
    if (!k)
        return err_set(e, ERR_NOT_FOUND, "%s: no matches for kind \"%.*s\" in version \"%.*s\"",
                       source, STR_ARG(kind), STR_ARG(api_version));
    if (r->n == OBJECTS_MAX)
        return err_set(e, ERR_TOO_LARGE, "%s: more than %d objects", source, OBJECTS_MAX);
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        r->objects =
            arena_grow(a, r->objects, r->cap * sizeof *r->objects, cap * sizeof *r->objects);
        r->cap = cap;
    }
    struct object_file *o = &r->objects[r->n++];
    *o = (struct object_file){.kind = k, .body = body, .source = source};
    o->name = value_str_at(body, "metadata.name");
    if (k->flags & KIND_NAMESPACED) {
        o->ns = value_str_at(body, "metadata.namespace");
        if (o->ns.n && r->c->ns_flag && !str_eqc(o->ns, r->c->ns_flag))
            return err_set(e, ERR_BAD_REQUEST,
                           "the namespace from the provided object \"%.*s\" does not match the "
                           "namespace \"%s\". You must pass '--namespace=%.*s' to perform this "
                           "operation.",
                           STR_ARG(o->ns), r->c->ns_flag, STR_ARG(o->ns));
        if (!o->ns.n)
            o->ns = r->c->ns;
        if (!value_str_at(body, "metadata.namespace").n)
            value_set_at(a, body, "metadata.namespace", value_str(a, o->ns));
    }
    return 0;
}

static int add_text(struct reading *r, const char *source, struct str text, struct err *e)
{
    struct yaml_reader *y = yaml_open(text); // JSON is YAML
    struct value *v;
    int got;
    while ((got = yaml_next(y, r->c->arena, NULL, &v, e)) > 0)
        if (v->kind != VALUE_NULL && (got = add_object(r, source, v, e)) < 0)
            break;
    yaml_close(y);
    return got < 0 ? err_wrap(e, e, "reading %s", source) : 0;
}

static int add_stream(struct reading *r, struct err *e)
{
    struct buf *b = arena_new(r->c->arena, struct buf);
    *b = BUF_MAX(FILE_MAX);
    char chunk[8192];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, r->c->in)) > 0;)
        buf_add(b, chunk, n);
    struct str text = arena_str(r->c->arena, buf_view(b));
    bool whole = buf_ok(b);
    buf_done(b);
    if (!whole)
        return err_set(e, ERR_TOO_LARGE, "standard input: larger than %zu bytes", FILE_MAX);
    return add_text(r, "standard input", text, e);
}

static bool is_manifest(const char *name)
{
    struct str s = str_of(name);
    return str_ends(s, STR(".yaml")) || str_ends(s, STR(".yml")) || str_ends(s, STR(".json"));
}

static int add_path(struct reading *r, const char *path, bool named, int depth, struct err *e);

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_directory(struct reading *r, const char *path, int depth, struct err *e)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, by_name), result = 0;
    if (n < 0)
        return err_errno(e, errno, "reading %s", path);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.' && result == 0)
            result = add_path(r, path_join(r->c->arena, path, names[i]->d_name), false, depth, e);
        free(names[i]);
    }
    free(names);
    return result;
}

static int add_path(struct reading *r, const char *path, bool named, int depth, struct err *e)
{
    struct stat st;
    struct str text;
    if (stat(path, &st) < 0)
        return err_errno(e, errno, "the path \"%s\"", path);
    if (S_ISDIR(st.st_mode)) {
        if (!named && (!r->recursive || depth >= DEPTH_MAX))
            return 0;
        return add_directory(r, path, depth + 1, e);
    }
    if (!named && !is_manifest(path))
        return 0;
    int result = file_read_all(r->c->arena, path, FILE_MAX, &text, e);
    return result < 0 ? result : add_text(r, path, text, e);
}

int objects_read(struct cli *c, const struct flag_list *files, bool recursive,
                 int (*fn)(void *ctx, const struct object_file *o, struct err *e), void *ctx,
                 struct err *e)
{
    struct reading r = {.c = c, .recursive = recursive};
    int result = 0;
    for (size_t i = 0; i < files->n && result == 0; i++)
        result = strcmp(files->items[i], "-") == 0 ? add_stream(&r, e)
                                                   : add_path(&r, files->items[i], true, 0, e);
    if (result == 0 && !r.n)
        result = err_set(e, ERR_BAD_REQUEST, "no objects passed");
    for (size_t i = 0; i < r.n && result == 0; i++)
        result = fn(ctx, &r.objects[i], e);
    return result;
}
