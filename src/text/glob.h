// Globs, in the dialects of the originals, matched in linear time (they become regular expressions
// of text/regex.h).
//
//   GLOB_PATH      Go's path.Match: * and ? stop at a slash, [a-z], [^a], backslash quotes
//   GLOB_GOBWAS    gobwas/glob with '/' as separator, as Helm's .Files.Glob: also ** (any), {a,b},
//                  [!a]
//
// glob_rules are the lines of a .helmignore: a path.Match pattern each; "#" begins a comment, "!"
// turns a line round, a slash at its end means directories; with a slash elsewhere the whole path
// is matched, else its last part. "**" is refused.
#pragma once
#include "base/arena.h"
#include "base/err.h"

enum glob_dialect { GLOB_PATH, GLOB_GOBWAS };
#define GLOB_RULES_MAX 10000

struct glob;
// Error: ERR_INVALID "syntax error in pattern".
int glob_compile(struct arena *a, struct str pattern, enum glob_dialect dialect, struct glob **ret,
                 struct err *e);
bool glob_match(const struct glob *g, struct str text);

struct glob_rules;
int glob_rules_parse(struct arena *a, struct str text, struct glob_rules **ret, struct err *e);
// path: relative to the root, without a leading slash.
bool glob_rules_ignore(const struct glob_rules *r, struct str path, bool directory);
