// Parameters of a search on any bytes: lines become the parameters in order. Parsing ends with a
// query whose bounds hold, or an error.
#include "trace/span_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str rest = str_n(data, size), part[9] = {{0}};
    struct span_query q;
    for (size_t i = 0; i < 9 && rest.p; i++)
        part[i] = str_cut(&rest, '\n');
    const struct span_query_text text = {part[0], part[1], part[2], part[3], part[4],
                                         part[5], part[6], part[7], part[8]};
    uint64_t hi, lo;
    span_trace_id_parse(part[0], &hi, &lo);
    if (span_query_parse(&a, &text, 1000, 1000, &q, &e) < 0) {
        BUG_ON(e.reason != ERR_BAD_REQUEST);
        return 0;
    }
    BUG_ON(!q.limit || !q.end_ms || !q.lookback_ms || q.nwords > SPAN_QUERY_WORDS);
    BUG_ON(q.max_duration && q.max_duration < q.min_duration);
    const struct span span = {.trace_lo = 1, .id = 1, .timestamp = 1};
    span_query_test(&q, &span, 1);
    return 0;
}
