// Reports on any bytes: the JSON decoder ends with spans or an error; what it takes goes through
// the store's own bytes unchanged, and through the linker and a search. The first byte chooses: the
// decoder, or the store's bytes themselves.
#include "trace/span_json.h"
#include "trace/span_links.h"
#include "trace/span_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct arena *a, const struct span *spans, size_t n)
{
    struct span_links links = SPAN_LINKS_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    const struct span_query q = {
        .service = STR("a"), .end_ms = UINT64_MAX / 1000, .lookback_ms = UINT64_MAX / 1000};
    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct buf bytes = BUF_INIT, one = BUF_INIT, two = BUF_INIT;
        struct span again;
        span_encode(&bytes, &spans[i]);
        struct str rest = buf_view(&bytes);
        BUG_ON(!span_decode(a, &rest, &again) || rest.n);
        span_json_write(&one, &spans[i]);
        span_json_write(&two, &again);
        BUG_ON(!str_eq(buf_view(&one), buf_view(&two)));
    }
    span_query_test(&q, spans, n);
    span_links_add(&links, spans, n);
    span_links_write(&links, &out);
    span_links_done(&links);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str in = str_n(data + 1, size - 1);
    struct span *spans, span;
    size_t n;
    if (data[0] & 1) {
        while (in.n && span_decode(&a, &in, &span))
            check(&a, &span, 1);
    } else if (span_json_read(&a, in, &spans, &n, NULL) == 0) {
        check(&a, spans, n);
    }
    return 0;
}
