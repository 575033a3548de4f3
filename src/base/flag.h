// A flag as data: its names, what it takes, where its value goes, how it is explained. Rows are
// parsed, and `--help` is made from them, by cli/flags.h; here stands the row alone, so that a part
// of any room can bring its own (part.h).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag_kind { FLAG_STRING, FLAG_BOOL, FLAG_PORT, FLAG_SECONDS };
struct flag {
    const char *name; // without dashes
    char short_name;  // or 0
    enum flag_kind kind;
    void *value;         // const char **, bool *, uint16_t *, unsigned *; holds the default
    const char *metavar; // "DIR"
    const char *help;
};
