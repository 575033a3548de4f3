// `coracle delete`: objects by kind and name, by selector, or by the files that hold them.
#include "base/guard.h"
#include "cli/flags.h"
#include "cli/objects.h"
#include "cli/print.h"
#include "client/client.h"

struct delete
{
    struct cli *c;
    const char *label_selector, *cascade;
    int64_t grace_seconds;
    bool all, ignore_not_found, recursive;
    enum propagation propagation;
    struct flag_list files;
    int status;
};

static void delete_one(struct delete *d, const struct kind *k, struct str ns, struct str name)
{
    struct cli *c = d->c;
    _cleanup_err_ struct err e = ERR_INIT;
    const struct client_delete_options opt = {.propagation = d->propagation,
                                              .grace_period_seconds = d->grace_seconds};
    struct str shown = print_name(c->arena, k, name);
    ptrdiff_t slash = str_chr(shown, '/');
    if (client_delete(c->client, k, ns, name, &opt, &e) == 0)
        fprintf(c->out,
                ns.n ? "%.*s \"%.*s\" deleted from %.*s namespace\n" : "%.*s \"%.*s\" deleted\n",
                (int)slash, shown.p, STR_ARG(name), STR_ARG(ns));
    else if (!d->ignore_not_found || !err_is(&e, ERR_NOT_FOUND))
        d->status = cli_fail(c, &e);
}

static int delete_file(void *ctx, const struct object_file *o, struct err *e)
{
    struct delete *d = ctx;
    if (!o->name.n)
        return err_set(e, ERR_BAD_REQUEST, "%s: metadata.name is required", o->source);
    delete_one(d, o->kind, o->ns, o->name);
    return 0;
}

static int delete_listed(struct delete *d, const struct object_arg *arg, struct err *e)
{
    struct cli *c = d->c;
    struct str ns = arg->kind->flags & KIND_NAMESPACED ? c->ns : STR_NULL;
    _cleanup_answer_ struct api_answer answer = {0};
    int r = client_list(c->client, arg->kind, ns, str_of(d->label_selector), STR_NULL, &answer, e);
    for (size_t i = 0; r == 0 && i < answer.nitems; i++)
        delete_one(d, arg->kind, object_namespace(answer.items[i]), object_name(answer.items[i]));
    if (r == 0 && !answer.nitems)
        fprintf(c->err, "No resources found\n");
    return r;
}

static int run(struct delete *d, int nargs, char **args)
{
    struct cli *c = d->c;
    _cleanup_err_ struct err e = ERR_INIT;
    struct object_args *what = arena_new(c->arena, struct object_args);
    if (!d->files.n) {
        if (objects_parse(c->arena, args, nargs, what, &e) < 0)
            return cli_usage(c, "delete", "%s", e.message);
        if (what->named == (d->all || d->label_selector))
            return cli_usage(c, "delete",
                             what->named ? "name cannot be provided when a selector is specified"
                                         : "resource(s) were provided, but no name, label "
                                           "selector, or --all flag specified");
    }
    if (cli_connect(c, &e) < 0 ||
        (d->files.n && objects_read(c, &d->files, d->recursive, delete_file, d, &e) < 0))
        return cli_error(c, &e);
    for (size_t i = 0; i < what->n; i++) {
        const struct object_arg *arg = &what->at[i];
        if (arg->name.n)
            delete_one(d, arg->kind, arg->kind->flags & KIND_NAMESPACED ? c->ns : STR_NULL,
                       arg->name);
        else if (delete_listed(d, arg, &e) < 0)
            return cli_fail(c, &e);
    }
    return d->status;
}

int verb_delete(struct cli *c, int argc, char **argv)
{
    struct delete d = {.c = c, .cascade = "background", .grace_seconds = -1};
    const struct flag flags[] = {
        {"all", 0, FLAG_BOOL, &d.all, NULL, "all of the kind, in the namespace"},
        CLI_ALL_NAMESPACES_FLAG(c),
        {"cascade", 0, FLAG_STRING, &d.cascade, "HOW", "background, foreground or orphan"},
        CLI_CLUSTER_FLAGS(c),
        {"filename", 'f', FLAG_LIST, &d.files, "FILE", "file, directory, or - ; may be repeated"},
        {"grace-period", 0, FLAG_INT, &d.grace_seconds, "SECONDS",
         "time that a pod gets to end; -1: its own"},
        {"ignore-not-found", 0, FLAG_BOOL, &d.ignore_not_found, NULL,
         "nothing there is no failure"},
        {"recursive", 'R', FLAG_BOOL, &d.recursive, NULL, "directories within directories too"},
        {"selector", 'l', FLAG_STRING, &d.label_selector, "SELECTOR",
         "those whose labels match (app=web)"},
    };
    const struct usage usage = {
        .synopsis = "coracle delete KIND NAME… | KIND/NAME… | KIND -l SELECTOR | -f FILE… [flags]",
        .text =
            "Deletes objects. Returns when the server has accepted that; what has finalizers or "
            "a grace period goes later.",
        .examples = "  coracle delete pod web\n"
                    "  coracle delete -f web.yaml\n"
                    "  coracle delete pods -l app=web --grace-period=0",
        .flags = flags,
        .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    static const struct {
        const char *name;
        enum propagation propagation;
    } ways[] = {{"background", PROPAGATION_BACKGROUND},
                {"foreground", PROPAGATION_FOREGROUND},
                {"orphan", PROPAGATION_ORPHAN}};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++)
        if (strcmp(d.cascade, ways[i].name) == 0)
            d.propagation = ways[i].propagation;
    if (d.propagation == PROPAGATION_DEFAULT)
        return cli_usage(c, "delete",
                         "invalid cascade value (%s). Must be \"background\", \"foreground\", or "
                         "\"orphan\"",
                         d.cascade);
    return run(&d, nargs, argv + 1);
}
