// Regular expressions: the first line is the expression, the rest the text. Both matchers agree:
// a match of the text alone is found again by one that starts where it starts.
#include "text/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str rest = str_n(data, size), pattern = str_cut(&rest, '\n');
    struct regex *re;
    size_t at[4], again[4];
    if (pattern.n > 200 || rest.n > 2000 || regex_compile(&a, pattern, &re, NULL) < 0)
        return 0;
    struct regex_each it = regex_each(re, rest);
    for (int i = 0; i < 20 && regex_next(&it, at, 4); i++) {
        BUG_ON(at[0] > at[1] || at[1] > rest.n);
        BUG_ON(!regex_find(re, rest, at[0], again, 4));
        BUG_ON(again[0] != at[0] || again[1] != at[1]);
    }
    _cleanup_buf_ struct buf b = BUF_MAX(1 << 20);
    regex_replace(&b, re, rest, STR("[$1$$]"), false);
    return 0;
}
