// Globs: the first line is the pattern, the rest the text; any pattern is compiled or refused.
#include "text/glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str rest = str_n(data, size), pattern = str_cut(&rest, '\n');
    struct glob *g;
    struct glob_rules *rules;
    for (enum glob_dialect d = GLOB_PATH; d <= GLOB_GOBWAS && pattern.n < 1000; d++)
        if (glob_compile(&a, pattern, d, &g, NULL) == 0)
            glob_match(g, rest);
    if (size < 4096 && glob_rules_parse(&a, str_n(data, size), &rules, NULL) == 0)
        glob_rules_ignore(rules, STR("a/b.c"), false);
    return 0;
}
