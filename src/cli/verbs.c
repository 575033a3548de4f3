// `coracle`, `coracle help`, `coracle version`, and the look-up of all other verbs.
#include "cli/verbs.h"
#include "base/arena.h"
#include "base/guard.h"
#include "cli/context.h"
#include "cli/objects.h"
#include "cli/version.h"

static int verb_version(struct cli *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    fprintf(c->out, "coracle %s (Kubernetes API %s)\n", CORACLE_VERSION,
            CORACLE_KUBERNETES_VERSION);
    return CLI_OK;
}

// Sorted by name.
static const struct verb own[] = {
    {.name = "apply", .summary = "make the cluster as files say", .run = verb_apply},
    {.name = "delete", .summary = "delete objects, by name or by file", .run = verb_delete},
    {.name = "describe",
     .summary = "show objects in full, with their events",
     .run = verb_describe},
    {.name = "get", .summary = "list objects", .run = verb_get},
    {.name = "kustomize",
     .summary = "build kustomizations, without a cluster",
     .verbs = verb_kustomize_verbs},
    {.name = "version", .summary = "print the version", .run = verb_version},
};

static void print_rows(FILE *to, const struct verb *verbs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
}

static void print_verbs(FILE *to, const struct verb *roles, size_t nroles)
{
    fprintf(to, "coracle: a whole cloud-native platform as one small program.\n\n"
                "Usage: coracle VERB [flags]\n\nOn this machine:\n");
    print_rows(to, roles, nroles);
    fprintf(to, "\nIn a cluster:\n");
    print_rows(to, own, ARRAY_LEN(own));
    fprintf(to, "\n`coracle VERB --help` explains a verb. To begin:\n\n"
                "  coracle server\n"
                "  coracle get nodes\n");
}

static const struct verb *find(const struct verb *verbs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run(struct cli *c, const struct verb *v, int argc, char **argv)
{
    return v->run ? v->run(c, argc, argv) : cli_dispatch(c, v->name, v->verbs, argc, argv);
}

int cli_dispatch(struct cli *c, const char *group, const struct verb *verbs, int argc, char **argv)
{
    size_t n = 0;
    while (verbs[n].name)
        n++;
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct verb *v = name ? find(verbs, n, name) : NULL;
    if (v)
        return run(c, v, argc - 1, argv + 1);
    bool asked = name && is_help(name);
    FILE *to = asked ? c->out : c->err;
    if (name && !asked)
        fprintf(to, "coracle %s: unknown verb \"%s\"\n\n", group, name);
    fprintf(to, "Usage: coracle %s VERB [flags]\n\nVerbs:\n", group);
    print_rows(to, verbs, n);
    return asked ? CLI_OK : CLI_USAGE;
}

int cli_main(int argc, char **argv, const struct verb *roles, size_t nroles)
{
    // Called by the name of a program that a verb stands for (a link to this one).
    const char *slash = argc ? strrchr(argv[0], '/') : NULL;
    const struct verb *called =
        argc ? find(own, ARRAY_LEN(own), slash ? slash + 1 : argv[0]) : NULL;
    const char *name = argc > 1 ? argv[1] : NULL;
    if (called && called->verbs) {
        name = called->name;
        argc++;
        argv--;
    }
    if (!name || is_help(name)) {
        print_verbs(stdout, roles, nroles);
        return name ? CLI_OK : CLI_USAGE;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct verb *v = find(roles, nroles, name);
    if (!v)
        v = find(own, ARRAY_LEN(own), name);
    if (!v) {
        fprintf(stderr, "coracle: unknown verb \"%s\"; `coracle help` lists them\n", name);
        return CLI_USAGE;
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct cli c;
    cli_init(&c, &a);
    int status = run(&c, v, argc - 1, argv + 1);
    cli_done(&c);
    if (fflush(stdout) != 0 && status == CLI_OK)
        status = CLI_FAILED; // nobody has got it: a full disk, a closed pipe
    return status;
}
