// Sets of completion indexes as Jobs write them: "0,2-4,7". Kept as runs, because a job may have
// two thousand million of them.
#pragma once
#include "base/arena.h"

struct job_run {
    int64_t first, last;
};
struct job_indexes {
    struct job_run *runs; // ascending, apart from each other
    size_t n;
};

// What lies beyond `completions`, or is no number, is left out. Linear in the text.
struct job_indexes job_indexes_parse(struct arena *a, struct str text, int64_t completions);
// With n more; the list is sorted in place and may have duplicates.
struct job_indexes job_indexes_with(struct arena *a, struct job_indexes s, int64_t *more, size_t n);
bool job_indexes_has(struct job_indexes s, int64_t index);
int64_t job_indexes_count(struct job_indexes s);
// How many of s are in `of` too.
int64_t job_indexes_common(struct job_indexes s, struct job_indexes of);
struct str job_indexes_text(struct arena *a, struct job_indexes s);
