// HTTP/1.1 requests: the head in two steps at a cut that the input chooses, then target and body.
// What is accepted must obey the rules that make smuggling impossible.
#include "base/err.h"
#include "wire/http_parse.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 100000)
        return 0;
    size_t cut = ((size_t)data[0] << 8 | data[1]) % (size - 1);
    const char *p = (const char *)data + 2;
    size_t n = size - 2;
    if (cut > n)
        cut = n;
    ptrdiff_t end = http_head_end(p, n, 0);
    // However it is cut, the end is the same.
    ptrdiff_t first = http_head_end(p, cut, 0);
    BUG_ON((first ? first : http_head_end(p, n, cut)) != end);
    if (end <= 0)
        return 0;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *head = arena_alloc(&a, (size_t)end);
    memcpy(head, p, (size_t)end);
    struct http_head h;
    const char *why = NULL;
    int status = http_parse_request(&a, head, (size_t)end, &h, &why);
    BUG_ON(status && (status < 400 || status > 599 || !why));
    if (status)
        return 0;
    BUG_ON(h.chunked && h.has_length);
    BUG_ON(!h.method.n || !h.target.n);
    for (size_t i = 0; i < h.nheaders; i++) {
        BUG_ON(!h.headers[i].name.n);
        BUG_ON(h.headers[i].value.n && (memchr(h.headers[i].value.p, '\n', h.headers[i].value.n) ||
                                        memchr(h.headers[i].value.p, 0, h.headers[i].value.n)));
    }
    struct http_request r = {.method = h.method,
                             .target = h.target,
                             .headers = h.headers,
                             .nheaders = h.nheaders,
                             .host = http_head_get(&h, "host")};
    status = http_split_target(&a, &r, &why);
    BUG_ON(!status && r.path.p && memchr(r.path.p, 0, r.path.n));
    if (!h.chunked)
        return 0;
    // The body in one piece and byte by byte.
    struct http_chunked one = HTTP_CHUNKED_INIT, many = HTTP_CHUNKED_INIT;
    struct str in = str_n(p + end, n - (size_t)end), part;
    size_t total = 0, other = 0;
    int code, code_many = 0;
    while ((code = http_chunked_next(&one, &in, &part)) == 1)
        total += part.n;
    for (size_t i = (size_t)end; i < n && code_many >= 0 && code_many != 2; i++) {
        struct str byte = str_n(p + i, 1);
        while ((code_many = http_chunked_next(&many, &byte, &part)) == 1)
            other += part.n;
    }
    BUG_ON(code != code_many || total != other);
    return 0;
}
