// What Unicode 15 says of a character: its category and script, its case, what it is equal to when
// case does not count. Enough for regular expressions, Go's printing and templates.
#pragma once
#include "base/str.h"

// Two letters ("Lu", "Nd"); "Cn": not assigned.
const char *unicode_category(uint32_t c);
bool unicode_is_letter(uint32_t c);
bool unicode_is_upper(uint32_t c);
bool unicode_is_lower(uint32_t c);
bool unicode_is_digit(uint32_t c);
bool unicode_is_space(uint32_t c); // White_Space
bool unicode_is_punct(uint32_t c);

uint32_t unicode_upper(uint32_t c);
uint32_t unicode_lower(uint32_t c);
uint32_t unicode_title(uint32_t c);
// The next of the characters that are equal but for case, in ascending order, then again the first:
// A -> a -> A, K -> k -> KELVIN SIGN -> K. c itself where it has no case.
uint32_t unicode_fold(uint32_t c);

// Calls fn for the ranges, ascending, of a class: a category ("Lu"), a group of them ("L"), a
// script ("Greek") or "Any". false: there is no such class.
bool unicode_class(struct str name, void (*fn)(void *ctx, uint32_t lo, uint32_t hi), void *ctx);
