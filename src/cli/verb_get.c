// `coracle get`: objects as a table, or in another form of -o.
#include "base/guard.h"
#include "cli/flags.h"
#include "cli/objects.h"
#include "cli/print.h"
#include "client/client.h"

struct get {
    struct cli *c;
    const char *label_selector, *field_selector;
    bool ignore_not_found, no_headers;
};

// Appends what one argument means to its list.
static int fetch(struct get *g, const struct object_arg *arg, struct print_list *to, struct err *e)
{
    struct cli *c = g->c;
    struct str ns = arg->kind->flags & KIND_NAMESPACED ? c->ns : STR_NULL;
    if (arg->name.n) {
        struct object *o = NULL;
        int r = client_get(c->client, arg->kind, ns, arg->name, &o, e);
        if (r < 0)
            return r;
        struct value *v = value_clone(c->arena, object_tree(c->arena, o));
        object_unref(o);
        to->items = arena_grow(c->arena, to->items, to->n * sizeof *to->items,
                               (to->n + 1) * sizeof *to->items);
        to->items[to->n++] = v;
        return 0;
    }
    _cleanup_answer_ struct api_answer answer = {0};
    int r = client_list(c->client, arg->kind, ns, str_of(g->label_selector),
                        str_of(g->field_selector), &answer, e);
    if (r < 0)
        return r;
    to->items = arena_array(c->arena, struct value *, answer.nitems + 1);
    for (size_t i = 0; i < answer.nitems; i++)
        to->items[i] = value_clone(c->arena, object_tree(c->arena, answer.items[i]));
    to->n = answer.nitems;
    return 0;
}

static void say_nothing_there(struct cli *c, const struct object_args *args)
{
    if (c->ns.n && (args->at[0].kind->flags & KIND_NAMESPACED))
        fprintf(c->err, "No resources found in %.*s namespace.\n", STR_ARG(c->ns));
    else
        fprintf(c->err, "No resources found\n");
}

static int run(struct get *g, const struct object_args *args)
{
    struct cli *c = g->c;
    struct print_list *lists = arena_array(c->arena, struct print_list, args->n);
    size_t n = 0, total = 0;
    int status = CLI_OK;
    _cleanup_err_ struct err e = ERR_INIT;
    for (size_t i = 0; i < args->n; i++) {
        if (!n || lists[n - 1].kind != args->at[i].kind)
            lists[n++] = (struct print_list){.kind = args->at[i].kind};
        _cleanup_err_ struct err why = ERR_INIT;
        if (fetch(g, &args->at[i], &lists[n - 1], &why) == 0)
            continue;
        if (g->ignore_not_found && err_is(&why, ERR_NOT_FOUND))
            continue;
        status = cli_fail(c, &why); // the others are shown all the same, as kubectl does
    }
    for (size_t i = 0; i < n; i++)
        total += lists[i].n;
    bool table = !c->output || strcmp(c->output, "wide") == 0;
    if (total == 0 && (table || args->named)) {
        if (status == CLI_OK && !g->ignore_not_found)
            say_nothing_there(c, args);
        return status;
    }
    const struct print_options opt = {.no_headers = g->no_headers,
                                      .with_kind = n > 1,
                                      .with_namespace = c->all_namespaces,
                                      .single = args->named && args->n == 1};
    return print_objects(c, lists, n, &opt, &e) < 0 ? cli_error(c, &e) : status;
}

int verb_get(struct cli *c, int argc, char **argv)
{
    struct get g = {.c = c};
    const struct flag flags[] = {
        CLI_ALL_NAMESPACES_FLAG(c),
        CLI_CLUSTER_FLAGS(c),
        {"field-selector", 0, FLAG_STRING, &g.field_selector, "SELECTOR",
         "only those whose fields match (status.phase=Running)"},
        {"ignore-not-found", 0, FLAG_BOOL, &g.ignore_not_found, NULL,
         "nothing there is no failure"},
        {"no-headers", 0, FLAG_BOOL, &g.no_headers, NULL, "without the line of headers"},
        CLI_OUTPUT_FLAG(c),
        {"selector", 'l', FLAG_STRING, &g.label_selector, "SELECTOR",
         "only those whose labels match (app=web)"},
    };
    const struct usage usage = {
        .synopsis = "coracle get KIND[,KIND…] [NAME…] | KIND/NAME… [flags]",
        .text = "Lists objects, with the columns that the kind has for people, or in another form.",
        .examples = "  coracle get pods -A -o wide\n"
                    "  coracle get deployment/web -o yaml\n"
                    "  coracle get pods -l app=web -o jsonpath='{.items[*].metadata.name}'",
        .flags = flags,
        .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    _cleanup_err_ struct err e = ERR_INIT;
    struct object_args *args = arena_new(c->arena, struct object_args);
    if (print_check(c, &e) < 0 || objects_parse(c->arena, argv + 1, nargs, args, &e) < 0)
        return cli_usage(c, "get", "%s", e.message);
    if (args->named && (g.label_selector || g.field_selector || c->all_namespaces))
        return cli_usage(c, "get",
                         "a resource cannot be retrieved by name with a selector or across all "
                         "namespaces");
    return cli_connect(c, &e) < 0 ? cli_error(c, &e) : run(&g, args);
}
