// Cron: parsing never crashes, in either dialect; an activation lies behind the moment asked for.
#include "text/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int dialect = CRON_STANDARD; dialect <= CRON_JENKINS; dialect++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct cron_options o = {.dialect = dialect, .hash = STR("job")};
        struct cron *c;
        int64_t t = 1700000000, next;
        if (cron_parse(&a, str_n(data, size), &o, &c, NULL) < 0)
            continue;
        for (int i = 0; i < 3 && cron_next(c, t, &next); i++, t = next)
            BUG_ON(next <= t);
    }
    return 0;
}
