// Versions and constraints: a version that is read is written as one that is equal to it.
#include "text/semver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str rest = str_n(data, size), first = str_cut(&rest, '\n');
    struct semver_constraint *c;
    struct semver v, again;
    bool constrained = semver_constraint_parse(&a, first, &c, NULL) == 0;
    if (semver_parse(&a, rest, &v, NULL) < 0)
        return 0;
    BUG_ON(semver_parse(&a, semver_text(&a, &v), &again, NULL) < 0 && rest.n < 200);
    BUG_ON(rest.n < 200 && semver_compare(&v, &again) != 0);
    if (constrained)
        semver_constraint_check(c, &v);
    return 0;
}
