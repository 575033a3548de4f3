// Chart archives: read or refused, and what is read can be checked.
#include "chart/chart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct chart *c;
    if (chart_load_archive(&a, str_n(data, size), &c, NULL) == 0)
        chart_check(&a, c, STR_NULL, NULL);
    return 0;
}
