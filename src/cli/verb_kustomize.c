// `coracle kustomize`: kustomizations, without a cluster. Called by the name `kustomize`, this is
// the whole program.
#include "base/guard.h"
#include "cli/context.h"
#include "cli/flags.h"
#include "cli/objects.h"
#include "kustomize/kustomize.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct build {
    struct cli *c;
    const char *output, *restrictor, *reorder;
};

static void warn(void *context, struct str line)
{
    struct build *b = context;
    fprintf(b->c->err, "%.*s\n", STR_ARG(line));
}

static struct str environment(void *context, struct str name)
{
    struct build *b = context;
    return str_of(getenv(arena_cstr(b->c->arena, name)));
}

// "apps_v1_deployment_web.yaml", as the original names the files of a directory.
static struct str file_name(struct arena *a, const struct value *object)
{
    struct str version = value_str_at(object, "apiVersion"), kind = value_str_at(object, "kind"),
               name = value_str_at(object, "metadata.name"),
               ns = value_str_at(object, "metadata.namespace");
    char *text =
        arena_cstr(a, arena_printf(a, "%.*s%s%.*s_%.*s_%.*s.yaml", STR_ARG(ns), ns.n ? "_" : "",
                                   STR_ARG(version), STR_ARG(kind), STR_ARG(name)));
    for (char *p = text; *p; p++)
        *p = *p == '/' || *p == ':' ? '_' : *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    return str_of(text);
}

static int write_file(struct build *b, const char *path, struct str text, struct err *e)
{
    (void)b;
    _cleanup_file_ FILE *f = fopen(path, "we");
    if (!f)
        return err_errno(e, errno, "open %s", path);
    size_t n = fwrite(text.p ? text.p : "", 1, text.n, f);
    if (n < text.n || fflush(f) != 0)
        return err_errno(e, errno, "write %s", path);
    return 0;
}

static int write_objects(struct build *b, const struct value *objects, struct err *e)
{
    struct arena *a = b->c->arena;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct stat st;
    bool directory = b->output && stat(b->output, &st) == 0 && S_ISDIR(st.st_mode);
    if (!directory) {
        kustomize_print(&text, objects);
        if (b->output)
            return write_file(b, b->output, buf_view(&text), e);
        fwrite(text.p ? text.p : "", 1, text.n, b->c->out);
        return 0;
    }
    for (size_t i = 0; i < objects->n; i++) {
        struct value *one = value_array(a);
        value_push(a, one, objects->items[i]);
        buf_reset(&text);
        kustomize_print(&text, one);
        struct str path =
            arena_printf(a, "%s/%.*s", b->output, STR_ARG(file_name(a, objects->items[i])));
        int rc = write_file(b, arena_cstr(a, path), buf_view(&text), e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// The original's words for its two flags with a choice.
static int read_choices(struct build *b, struct kustomize_options *o)
{
    if (strcmp(b->restrictor, "LoadRestrictionsNone") == 0)
        o->outside_roots = true;
    else if (strcmp(b->restrictor, "LoadRestrictionsRootOnly") != 0)
        return cli_usage(b->c, "kustomize build",
                         "illegal flag value --load-restrictor %s; legal values: "
                         "[LoadRestrictionsRootOnly LoadRestrictionsNone]",
                         b->restrictor);
    o->reorder = strcmp(b->reorder, "legacy") == 0 ? 'l'
                 : strcmp(b->reorder, "none") == 0 ? 'n'
                                                   : 0;
    if (!o->reorder && *b->reorder)
        return cli_usage(b->c, "kustomize build",
                         "illegal flag value --reorder %s; legal values: [legacy none]",
                         b->reorder);
    return 0;
}

static int verb_build(struct cli *c, int argc, char **argv)
{
    struct build b = {.c = c, .restrictor = "LoadRestrictionsRootOnly", .reorder = ""};
    const struct flag flags[] = {
        {"load-restrictor", 0, FLAG_STRING, &b.restrictor, "RULE",
         "LoadRestrictionsRootOnly: files below the kustomization alone; LoadRestrictionsNone: "
         "any"},
        {"output", 'o', FLAG_STRING, &b.output, "PATH",
         "write there: a file, or in a directory one for each object"},
        {"reorder", 0, FLAG_STRING, &b.reorder, "ORDER",
         "legacy or none, whatever sortOptions say"},
    };
    const struct usage usage = {.synopsis = "coracle kustomize build [DIRECTORY] [flags]",
                                .text = "Prints the objects that a kustomization describes.",
                                .examples =
                                    "  coracle kustomize build overlays/prod\n"
                                    "  coracle kustomize build overlays/prod | kubectl apply -f -",
                                .flags = flags,
                                .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    if (nargs > 1)
        return cli_usage(c, "kustomize build", "specify one path to a kustomization directory");
    struct kustomize_options o = {.warn = warn, .environment = environment, .context = &b};
    int rc = read_choices(&b, &o);
    if (rc != 0)
        return rc;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_free_ char *real = realpath(nargs ? argv[1] : ".", NULL);
    struct value *objects;
    if (!real) {
        err_errno(&e, errno, "must build at directory: %s", nargs ? argv[1] : ".");
        return cli_error(c, &e);
    }
    if (kustomize_build(c->arena, &o, str_of(real), &objects, &e) < 0 ||
        write_objects(&b, objects, &e) < 0)
        return cli_error(c, &e);
    return CLI_OK;
}

const struct verb verb_kustomize_verbs[] = {
    {.name = "build", .summary = "print what a kustomization describes", .run = verb_build},
    {0},
};
