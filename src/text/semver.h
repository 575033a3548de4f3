// Semantic versions (semver.org 2.0.0) and constraints on them, as Helm means them
// (Masterminds/semver v3): versions may lack minor and patch and may begin with "v"; constraints
// are groups of comparisons joined by "||", in each group all must hold.
//
//     =1.2  !=1.2.3  >1  >=1.2  <2  <=2  (also => and =<)
//     1.x, 1.2.*, *      any in place of the sign; a missing part is the same
//     ~1.2.3             patch may grow;  ^1.2.3: anything that keeps the first part that is not 0
//     1.2 - 1.4.5        both ends included
//
// A pre-release ("1.2.3-rc.1") satisfies a group only where a member of that group names one.
// Versions and constraints are immutable; their texts live in the arena given.
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define SEMVER_MAX             256
#define SEMVER_CONSTRAINT_MAX  512
#define SEMVER_CONSTRAINT_PART 32 // groups

struct semver {
    uint64_t major, minor, patch;
    struct str pre, build; // without "-" and "+"; empty: none
    struct str original;
};

// Lenient, as Masterminds' NewVersion. Error: "Invalid Semantic Version" (ERR_INVALID).
int semver_parse(struct arena *a, struct str s, struct semver *ret, struct err *e);
// All three parts, no "v": what a chart's version must be (StrictNewVersion). Same error.
int semver_parse_strict(struct arena *a, struct str s, struct semver *ret, struct err *e);
void semver_write(struct buf *b, const struct semver *v); // "1.2.3-rc.1+build"
struct str semver_text(struct arena *a, const struct semver *v);
// Precedence; build metadata does not count.
int semver_compare(const struct semver *a, const struct semver *b);

struct semver_constraint;
// Error: ERR_INVALID "improper constraint: ..." and the like.
int semver_constraint_parse(struct arena *a, struct str s, struct semver_constraint **ret,
                            struct err *e);
bool semver_constraint_check(const struct semver_constraint *c, const struct semver *v);
