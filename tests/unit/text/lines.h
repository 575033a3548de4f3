// Golden files of lines: columns between tabs, "#" begins a comment. Shared by this room's tests.
#pragma once
#include "base/env.h"
#include "base/err.h"
#include "unit.h"

// Calls fn for each line with its columns; fails the test where the file is missing or empty.
static inline void lines_each(const char *path, void (*fn)(struct str *columns, size_t n))
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str text;
    assert_int_equal(file_read_all(&a, path, (size_t)16 << 20, &text, NULL), 0);
    size_t count = 0;
    while (text.p) {
        struct str line = str_cut(&text, '\n'), columns[16] = {0};
        size_t n = 0;
        if (!line.n || line.p[0] == '#')
            continue;
        while (line.p && n < 16)
            columns[n++] = str_cut(&line, '\t');
        fn(columns, n);
        count++;
    }
    assert_true(count > 0);
}
