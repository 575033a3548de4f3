// TZif files: never read past their end; what is accepted answers for any time.
#include "text/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct zone *z;
    if (zone_parse(&a, STR("fuzz"), str_n(data, size), &z, NULL) < 0)
        return 0;
    for (int64_t t = -((int64_t)1 << 40); t < (int64_t)1 << 40; t += (int64_t)1 << 36) {
        struct civil c = zone_civil(z, t);
        zone_unix(z, &c);
        BUG_ON(c.month < 1 || c.month > 12 || c.day < 1 || c.day > 31);
    }
    return 0;
}
