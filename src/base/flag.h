// A flag as data: its names, what it takes, where its value goes, how it is explained. Rows are
// parsed, and `--help` is made from them, by cli/flags.h; here stands the row alone, so that a part
// of any room can bring its own (part.h).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag_kind {
    FLAG_STRING,   // const char *
    FLAG_BOOL,     // bool: alone it means true; --name=false
    FLAG_PORT,     // uint16_t
    FLAG_SECONDS,  // unsigned
    FLAG_INT,      // int64_t
    FLAG_DURATION, // int64_t, ns: "90s", "1h30m"
    FLAG_LIST,     // struct flag_list: may be repeated, each adds one
};
enum { FLAG_LIST_MAX = 64 };
struct flag_list {
    const char *items[FLAG_LIST_MAX]; // borrowed from argv
    size_t n;
};
struct flag {
    const char *name; // without dashes
    char short_name;  // or 0
    enum flag_kind kind;
    void *value;         // as the kind says; holds the default
    const char *metavar; // "DIR"
    const char *help;
    const char *env; // a variable that stands in where the flag is not given; NULL: none
};
