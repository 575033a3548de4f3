// Flags as data: `--name VALUE`, `--name=VALUE`, `-n VALUE`, booleans without a value. Each row
// says where the value goes and how it is explained; `--help` is made from the rows and the
// examples.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag_kind { FLAG_STRING, FLAG_BOOL, FLAG_PORT, FLAG_SECONDS };
struct flag {
    const char *name; // without dashes
    char short_name;  // or 0
    enum flag_kind kind;
    void *value;         // const char **, bool *, uint16_t *, unsigned *
    const char *metavar; // "DIR"
    const char *help;
};
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
