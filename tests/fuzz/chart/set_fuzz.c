// --set: any text is read or refused, in each of its modes that read no file.
#include "chart/chart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum chart_set_mode modes[] = {CHART_SET_TYPED, CHART_SET_STRING, CHART_SET_JSON,
                                                CHART_SET_LITERAL};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        chart_set(&a, value_object(&a), str_n(data, size), modes[i], NULL);
    }
    return 0;
}
