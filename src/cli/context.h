// What a verb works with: streams, an arena, and, for those that are clients, the cluster that the
// caller means. Made by cli_main, handed to every verb.
//
//     static int verb_get(struct cli *c, int argc, char **argv)
//     {
//         const struct flag flags[] = {CLI_CLUSTER_FLAGS(c), CLI_OUTPUT_FLAG(c), ...};
//         ... flags_parse(...)
//         if (cli_connect(c, &e) < 0)
//             return cli_fail(c, &e);
//         client_list(c->client, kind, c->ns, ...);
//
// Which cluster: --server, else the kubeconfig of --kubeconfig, of $KUBECONFIG, of ~/.kube/config,
// else the one that a server on this machine wrote; in it the context of --context, else the
// current one. The namespace is that of -n, else the context's, else "default".
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/flag.h"
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; // exit statuses

struct client;
struct cli {
    FILE *in, *out, *err;
    struct arena *arena; // as long as the verb runs
    // Where the flags of the rows below go.
    const char *kubeconfig, *context, *server, *token, *ns_flag, *output;
    bool insecure, all_namespaces;
    // Filled by cli_connect. A test may set `client` before: then it is kept.
    struct client *client;
    struct str ns; // where namespaced kinds are looked for; STR_NULL: all namespaces
};

#define CLI_CLUSTER_FLAGS(c)                                                                       \
    {"context", 0, FLAG_STRING, &(c)->context, "NAME", "context of the kubeconfig"},               \
        {"insecure-skip-tls-verify",                                                               \
         0,                                                                                        \
         FLAG_BOOL,                                                                                \
         &(c)->insecure,                                                                           \
         NULL,                                                                                     \
         "do not check the server's certificate"},                                                 \
        {"kubeconfig",                                                                             \
         0,                                                                                        \
         FLAG_STRING,                                                                              \
         &(c)->kubeconfig,                                                                         \
         "FILE",                                                                                   \
         "which cluster, as whom (default: $KUBECONFIG, ~/.kube/config, this machine's server)"},  \
        {"namespace", 'n', FLAG_STRING, &(c)->ns_flag, "NAME", "namespace"},                       \
        {"server", 's', FLAG_STRING, &(c)->server, "URL", "address of the API server"},            \
    {                                                                                              \
        "token", 0, FLAG_STRING, &(c)->token, "TOKEN", "bearer token", "CORACLE_TOKEN"             \
    }
#define CLI_ALL_NAMESPACES_FLAG(c)                                                                 \
    {                                                                                              \
        "all-namespaces", 'A', FLAG_BOOL, &(c)->all_namespaces, NULL, "in all namespaces"          \
    }
#define CLI_OUTPUT_FLAG(c)                                                                         \
    {                                                                                              \
        "output", 'o', FLAG_STRING, &(c)->output, "FORM",                                          \
            "wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=NAME:PATH,…"              \
    }

// The standard streams; `a` is the caller's.
void cli_init(struct cli *c, struct arena *a);
void cli_done(struct cli *c);
// Makes the client. Nothing is sent yet: a server that is not there is seen by the first call.
int cli_connect(struct cli *c, struct err *e);

// Prints the error of a call as kubectl does ("Error from server (NotFound): ..." for what the
// server said, "error: ..." where there was none) and returns CLI_FAILED.
int cli_fail(struct cli *c, const struct err *e);
// The same for what failed on this side: always "error: ...".
int cli_error(struct cli *c, const struct err *e);
// "error: ..." and where help is; returns CLI_USAGE.
int cli_usage(struct cli *c, const char *verb, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
