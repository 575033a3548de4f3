// UTF-8 a character at a time, with Go's meaning of what is malformed: one byte is consumed and
// counts as U+FFFD.
#pragma once
#include "base/buf.h"

#define UTF8_ERROR 0xFFFDu
#define UTF8_MAX   0x10FFFFu

// The character at s.p[at] (at < s.n); *width is 1 to 4. Malformed: UTF8_ERROR with width 1.
uint32_t utf8_at(struct str s, size_t at, size_t *width);
// The character before s.p[end] (0 < end <= s.n).
uint32_t utf8_before(struct str s, size_t end, size_t *width);
// Writes 1 to 4 bytes; surrogates and what lies above UTF8_MAX become U+FFFD.
size_t utf8_put(char out[4], uint32_t c);
void utf8_add(struct buf *b, uint32_t c);
// Characters (malformed bytes count one each).
size_t utf8_count(struct str s);
// The first n characters, in bytes.
size_t utf8_offset(struct str s, size_t n);
