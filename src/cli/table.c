// The layout of Go's text/tabwriter with kubectl's settings: minimum width 6, padding 3, spaces.
#include "cli/table.h"
#include "base/err.h"

enum { MIN_WIDTH = 6, PADDING = 3 };

void table_init(struct table *t, struct arena *a, size_t ncolumns)
{
    BUG_ON(!ncolumns);
    *t = (struct table){.arena = a, .ncolumns = ncolumns};
}

static struct str presentable(struct arena *a, struct str s)
{
    size_t line = 0;
    while (line < s.n && s.p[line] != '\n' && s.p[line] != '\r')
        line++;
    char *copy = arena_alloc(a, line + 3);
    for (size_t i = 0; i < line; i++)
        copy[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
    if (line < s.n)
        memcpy(copy + line, "...", 3);
    return str_n(copy, line < s.n ? line + 3 : line);
}

void table_cell(struct table *t, struct str text)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        t->cells =
            arena_grow(t->arena, t->cells, t->cap * sizeof *t->cells, cap * sizeof *t->cells);
        t->cap = cap;
    }
    t->cells[t->n++] = presentable(t->arena, text);
}

// Characters of UTF-8: every byte that does not continue one.
static size_t width(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

void table_write(struct buf *b, const struct table *t)
{
    BUG_ON(t->n % t->ncolumns);
    size_t *widths = arena_array(t->arena, size_t, t->ncolumns);
    for (size_t i = 0; i < t->n; i++) {
        size_t w = width(t->cells[i]) + PADDING, *max = &widths[i % t->ncolumns];
        w = w < MIN_WIDTH ? MIN_WIDTH : w;
        *max = w > *max ? w : *max;
    }
    for (size_t i = 0; i < t->n; i++) {
        bool last = i % t->ncolumns == t->ncolumns - 1;
        buf_str(b, t->cells[i]);
        for (size_t w = width(t->cells[i]); !last && w < widths[i % t->ncolumns]; w++)
            buf_char(b, ' ');
        if (last)
            buf_char(b, '\n');
    }
}
