// Percent-decoding and queries.
#include "base/err.h"
#include "wire/http_parse.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str in = str_n(data, size), out;
    for (int mode = 0; mode < 4; mode++)
        if (http_percent_decode(&a, in, mode & 1, mode & 2, &out))
            BUG_ON(out.n > in.n);
    struct http_request r = {.method = STR("GET"), .target = in, .query = in};
    for (size_t i = 0; i < 3; i++)
        http_query(&a, &r, "a", i);
    const char *why = NULL;
    r.query = STR_NULL;
    if (http_split_target(&a, &r, &why) == 0)
        http_query(&a, &r, "a", 0);
    http_has_token(in, "close");
    http_accepts_gzip(in);
    return 0;
}
