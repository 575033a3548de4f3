// Strings as views: a pointer and a length, never an owner, not NUL-terminated. The memory belongs
// to whoever made it (a literal, an arena, a buffer, an object); a NUL is added only where a
// system call wants one (arena_cstr). {NULL, 0} is the absent string and also the empty one.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NULL     ((struct str){NULL, 0})
// For printf: printf("%.*s", STR_ARG(s))
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

struct str str_of(const char *cstr); // NULL gives STR_NULL
static inline struct str str_n(const void *p, size_t n)
{
    return (struct str){p, n};
}

bool str_eq(struct str a, struct str b);
bool str_eqc(struct str a, const char *cstr);
bool str_ieq(struct str a, struct str b); // ASCII case-insensitive
int str_cmp(struct str a, struct str b);  // bytewise, as memcmp; shorter prefix first
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
// Index of the first occurrence, or -1.
ptrdiff_t str_find(struct str s, struct str needle);
ptrdiff_t str_chr(struct str s, char c);
ptrdiff_t str_rchr(struct str s, char c);
// Part from `from` (clamped) of at most n bytes.
struct str str_sub(struct str s, size_t from, size_t n);
static inline struct str str_from(struct str s, size_t from)
{
    return str_sub(s, from, SIZE_MAX);
}
struct str str_trim(struct str s); // ASCII white space at both ends
// Cuts *rest at the first `sep`: returns what stands before it and moves *rest behind it. At the
// end returns the remainder and sets *rest to STR_NULL. Use:
//     while (rest.p) part = str_cut(&rest, ',');
struct str str_cut(struct str *rest, char sep);
// Decimal, whole string, no sign for u64; false on overflow, emptiness or other characters.
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret);
uint64_t str_hash(struct str s); // keyed by a per-process random seed (safe for outside input)
uint64_t str_hash_keyed(struct str s, uint64_t k0, uint64_t k1); // for what is kept on disk
// Fixes the seed, so that a simulation is the same on every run. Only before the first map is made.
void str_hash_seed(uint64_t k0, uint64_t k1);
