// Strings in Go's double quotes (strconv.Quote, fmt's %q): what the originals' error texts and
// templates print. Printable characters stay, the rest is escaped (\n, \x00, \u200b, \U0001f600);
// bytes that are no UTF-8 become \xNN.
#pragma once
#include "base/buf.h"

void go_quote(struct buf *b, struct str s);
void go_quote_ascii(struct buf *b, struct str s); // %+q: everything above ASCII is escaped
// A single character in single quotes (%q of a rune).
void go_quote_rune(struct buf *b, uint32_t c);
// unicode.IsPrint: letters, marks, numbers, punctuation, symbols, and the ASCII space.
bool go_printable(uint32_t c);
