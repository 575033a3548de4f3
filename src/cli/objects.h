// Which objects a command line means: by kind and name, or by the files that hold them. And the
// verbs that work on them, each in a file of its own (verb_*.c).
//
//     get pods                         all of a kind (in c->ns)
//     get pods,services                of several kinds
//     get all                          of the kinds that have this category
//     get pod web db                   by name
//     get pod/web service/web          each with its kind
//     apply -f web.yaml -f dir -f -    files, directories (*.yaml, *.yml, *.json), standard input
//
// Kinds are what people type: resource, singular, short name, with or without ".group".
#pragma once
#include "cli/context.h"
#include "cli/verbs.h"
#include "object/value.h"

struct kind;

enum { OBJECT_ARGS_MAX = 256 };
struct object_arg {
    const struct kind *kind;
    struct str name; // STR_NULL: all of the kind
};
struct object_args {
    struct object_arg at[OBJECT_ARGS_MAX];
    size_t n;
    bool named; // every one has a name
};
// args: the words behind the verb. Strings are borrowed from them.
int objects_parse(struct arena *a, char **args, int nargs, struct object_args *ret, struct err *e);

struct object_file {
    const struct kind *kind;
    struct str ns, name; // ns: the object's own, else c->ns; STR_NULL where the kind has none
    struct value *body;
    const char *source; // "web.yaml"
};
// Calls fn for each object of the files, in order, Lists taken apart; stops at its first failure.
// Files are read whole before the first call, so that a fault in the last one changes nothing.
int objects_read(struct cli *c, const struct flag_list *files, bool recursive,
                 int (*fn)(void *ctx, const struct object_file *o, struct err *e), void *ctx,
                 struct err *e);

int verb_apply(struct cli *c, int argc, char **argv);
int verb_delete(struct cli *c, int argc, char **argv);
int verb_describe(struct cli *c, int argc, char **argv);
int verb_get(struct cli *c, int argc, char **argv);
// The rows below `coracle kustomize` (cli/verb_kustomize.c).
extern const struct verb verb_kustomize_verbs[];
