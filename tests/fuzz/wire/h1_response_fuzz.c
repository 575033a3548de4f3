// HTTP/1.1 responses as a client reads them.
#include "base/err.h"
#include "wire/http_parse.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    ptrdiff_t end = size > 100000 ? 0 : http_head_end(p, size, 0);
    if (end <= 0)
        return 0;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *head = arena_alloc(&a, (size_t)end);
    memcpy(head, p, (size_t)end);
    struct http_head h;
    const char *why = NULL;
    if (http_parse_response(&a, head, (size_t)end, &h, &why) < 0) {
        BUG_ON(!why);
        return 0;
    }
    BUG_ON(h.status < 100 || h.status > 999);
    BUG_ON(h.chunked && h.has_length);
    http_accepts_gzip(http_head_get(&h, "accept-encoding"));
    struct http_chunked c = HTTP_CHUNKED_INIT;
    struct str in = str_n(p + end, size - (size_t)end), part;
    while (h.chunked && http_chunked_next(&c, &in, &part) == 1)
        BUG_ON(!part.n);
    return 0;
}
