// The command line: verbs as rows of tables. `coracle VERB …` looks the verb up and runs it; a verb
// with rows of its own (`coracle image list`) is looked up again in those. Help and the lists of
// verbs are made from the same rows.
#pragma once
#include <stddef.h>

struct cli;
struct verb {
    const char *name;
    const char *summary; // one line for the list
    // argv[0] is the verb. Returns the exit status. NULL where there are rows below.
    int (*run)(struct cli *c, int argc, char **argv);
    const struct verb *verbs; // they end with a row without a name
};
// `roles`: verbs that main.c adds (those that know more than a client). Returns the exit status.
int cli_main(int argc, char **argv, const struct verb *roles, size_t nroles);
// Looks argv[1] up in the rows of `group` and runs it, with its own words from there on. No word,
// or an unknown one, prints the rows.
int cli_dispatch(struct cli *c, const char *group, const struct verb *verbs, int argc, char **argv);
