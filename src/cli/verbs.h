// The command line: verbs as rows of a table. `coracle VERB …` looks the verb up and runs it; help,
// the list of verbs and completion are made from the same rows.
#pragma once
#include <stddef.h>

struct verb {
    const char *name;
    const char *summary;               // one line for `coracle help`
    int (*run)(int argc, char **argv); // argv[0] is the verb
};
// `roles`: verbs that main.c adds (those that know more than a client). Returns the exit status.
int cli_main(int argc, char **argv, const struct verb *roles, size_t nroles);
