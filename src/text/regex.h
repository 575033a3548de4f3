// Regular expressions with RE2's syntax, as Go's package regexp has it: leftmost-first, UTF-8,
// named groups, flags (?imsU), Unicode classes; no backreferences, no lookaround. Matching is
// linear in text times program and never recurses on the text, so that a stranger's pattern may be
// run on a stranger's text.
//
//     struct regex *re;
//     if (regex_compile(&arena, STR("a(x*)b"), &re, &e) < 0) ...
//     size_t at[4];
//     if (regex_find(re, text, 0, at, 4)) ... text.p + at[2], at[3] - at[2] is the group
//
// A compiled expression is immutable and lives in its arena; any number of threads may use it.
// Errors are Go's: "error parsing regexp: missing closing ]: `[a`" (ERR_INVALID).
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define REGEX_PATTERN_MAX ((size_t)64 << 10) // bytes of an expression
#define REGEX_DEPTH       1000               // groups within groups
#define REGEX_REPEAT_MAX  1000               // of x{n}, nested ones multiplied
#define REGEX_PROGRAM     200000             // instructions
#define REGEX_NONE        SIZE_MAX           // a group that took no part

struct regex;
int regex_compile(struct arena *a, struct str pattern, struct regex **ret, struct err *e);
size_t regex_groups(const struct regex *re); // with the whole match, which is group 0
struct str regex_group_name(const struct regex *re, size_t group); // STR_NULL: it has none

bool regex_match(const struct regex *re, struct str text); // anywhere in the text
// The leftmost match at or after `from`. ret: start and end of group 0, 1, ..., at most n numbers
// (n even; 0: none wanted); REGEX_NONE twice for a group that took no part.
bool regex_find(const struct regex *re, struct str text, size_t from, size_t *ret, size_t n);

// All matches that do not overlap, as Go's FindAll: no empty match directly behind another.
//     struct regex_each it = regex_each(re, text);
//     while (regex_next(&it, at, 2)) ...
struct regex_each {
    const struct regex *re;
    struct str text;
    size_t pos, previous_end;
};
struct regex_each regex_each(const struct regex *re, struct str text);
bool regex_next(struct regex_each *it, size_t *ret, size_t n); // n: at least 2

// Replaces all matches. In `with`, $1, ${1}, $name and ${name} are groups and $$ is a dollar sign
// ($1x is the group named "1x"); with `literal`, it is taken as it is.
void regex_replace(struct buf *b, const struct regex *re, struct str text, struct str with,
                   bool literal);
// The text between the matches, at most n parts (negative: all; 0: none). Returns their number.
size_t regex_split(struct arena *a, const struct regex *re, struct str text, int64_t n,
                   struct str **ret);
// Escapes what has a meaning in expressions.
void regex_quote(struct buf *b, struct str text);
