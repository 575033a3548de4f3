// Parsing by a table of flags (base/flag.h): `--name VALUE`, `--name=VALUE`; `-n VALUE`, `-nVALUE`,
// `-n=VALUE`, several letters in one word where all but the last take none; booleans without a
// value; `--` ends them. A flag's variable of the environment stands in where the flag is not
// given. `--help` is made from the rows and the examples.
#pragma once
#include "base/flag.h"

struct usage {
    const char *synopsis; // "coracle server [flags]"
    const char *text;     // a paragraph or two
    const char *examples; // lines
    const struct flag *flags;
    size_t nflags;
};
// Parses argv[1…]. Positional arguments are moved to argv[1…*ret_nargs]. Returns 0 to go on; 1 when
// help was printed (exit 0); -1 after printing what was wrong and how to get help (exit 2).
int flags_parse(const struct usage *u, int argc, char **argv, int *ret_nargs);
