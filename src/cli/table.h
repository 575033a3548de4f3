// Text in columns, laid out as kubectl does: each column as wide as its widest cell and three
// spaces, at least six; the last one is not padded. Widths are characters, not bytes.
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct table {
    struct arena *arena;
    size_t ncolumns;
    struct str *cells; // row by row
    size_t n, cap;     // cells
};
void table_init(struct table *t, struct arena *a, size_t ncolumns);
// Adds the next cell; a row is full after ncolumns of them. Only the text's first line is shown,
// with "..." where there are more; other control characters become '?', so that no object
// can write to a terminal.
void table_cell(struct table *t, struct str text);
void table_write(struct buf *b, const struct table *t);
