// $(NAME) expansion over any text: it ends, and what has no '$' is unchanged.
#include "base/err.h"
#include "node/environment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct str env[][2] = {
        {STR("A"), STR("1")}, {STR("BB"), STR("$(A)")}, {STR(""), STR("x")}};
    struct str in = str_n(data, n);
    struct str out = environment_expand(&a, in, env, 3);
    BUG_ON(str_chr(in, '$') < 0 && !str_eq(in, out));
    BUG_ON(out.n > 4 * n);
    return 0;
}
