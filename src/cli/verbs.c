// `coracle`, `coracle help`, `coracle version`, and the look-up of all other verbs.
#include "cli/verbs.h"
#include "base/guard.h"
#include "base/str.h"
#include "cli/version.h"

static int verb_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("coracle %s (Kubernetes API %s)\n", CORACLE_VERSION, CORACLE_KUBERNETES_VERSION);
    return 0;
}

static const struct verb own[] = {
    {.name = "version", .summary = "print the version", .run = verb_version},
};

static void print_verbs(FILE *to, const struct verb *roles, size_t nroles)
{
    fprintf(to, "coracle: a whole cloud-native platform as one small program.\n\n"
                "Usage: coracle VERB [flags]\n\nVerbs:\n");
    for (size_t i = 0; i < nroles; i++)
        fprintf(to, "  %-10s %s\n", roles[i].name, roles[i].summary);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        fprintf(to, "  %-10s %s\n", own[i].name, own[i].summary);
    fprintf(to, "\n`coracle VERB --help` explains a verb. To begin:\n\n"
                "  coracle server\n"
                "  export KUBECONFIG=/var/lib/coracle/admin.kubeconfig\n"
                "  kubectl get nodes\n");
}

static const struct verb *find(const struct verb *verbs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

int cli_main(int argc, char **argv, const struct verb *roles, size_t nroles)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name || strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 ||
        strcmp(name, "-h") == 0) {
        print_verbs(stdout, roles, nroles);
        return name ? 0 : 2;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct verb *v = find(roles, nroles, name);
    if (!v)
        v = find(own, ARRAY_LEN(own), name);
    if (!v) {
        fprintf(stderr, "coracle: unknown verb \"%s\"; `coracle help` lists them\n", name);
        return 2;
    }
    return v->run(argc - 1, argv + 1);
}
