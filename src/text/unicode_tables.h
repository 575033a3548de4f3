// The tables behind unicode.h, made by tools/unicode-tables. Sorted by their first member.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Characters of one general category.
struct unicode_span {
    uint32_t lo, hi;
    char category[3];
};
struct unicode_script_span {
    uint32_t lo, hi;
    uint16_t script; // in unicode_script_names
};
// lo, lo + stride, ... hi: what to add for upper, lower and title case; 0: nothing.
struct unicode_case_run {
    uint32_t lo, hi;
    uint8_t stride;
    int32_t upper, lower, title;
};
// The next character that is the same but for case, where upper and lower case do not say it.
struct unicode_fold {
    uint32_t from, to;
};

extern const struct unicode_span unicode_categories[];
extern const size_t unicode_ncategories;
extern const struct unicode_script_span unicode_scripts[];
extern const size_t unicode_nscripts;
extern const char *const unicode_script_names[];
extern const size_t unicode_nscript_names;
extern const struct unicode_case_run unicode_cases[];
extern const size_t unicode_ncases;
extern const struct unicode_fold unicode_folds[];
extern const size_t unicode_nfolds;
