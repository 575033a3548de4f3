// Paths of files: the one way to make one, and to judge a part of one that came from outside.
//
//     const char *config = path_join(a, bundle, "config.json");
//     const char *record = path_printf(a, "%s/%.*s/record.json", dir, STR_ARG(id));
//
// Both end in a NUL and live as long as the arena. They do not look at the file system, and they do
// not clean: a name from outside passes path_is_name first, or is opened below a directory by
// openat2 with RESOLVE_BENEATH.
#pragma once
#include "base/arena.h"

// dir/name with one slash between them; dir "" gives name alone.
const char *path_join(struct arena *a, const char *dir, const char *name);
const char *path_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

// Whether s can stand as one part of a path without leading elsewhere: 1 to 255 bytes, without
// '/' and NUL, and neither "." nor "..".
bool path_is_name(struct str s);
// The part behind the last slash, and the part before it: "" without a slash, "/" for "/name".
struct str path_base(struct str path);
struct str path_dir(struct str path);
