// What a search asks for (GET /api/v2/traces), and whether a trace answers it, exactly as the
// original decides.
#pragma once
#include "base/err.h"
#include "trace/span.h"

struct span_query_word { // of annotationQuery; value "" : any tag value, or an annotation
    struct str key, value;
    bool has_value;
};
struct span_query {
    struct str service, remote, name; // lower case; STR_NULL: any
    struct span_query_word *words;
    size_t nwords;
    uint64_t min_duration, max_duration; // microseconds; 0: any
    uint64_t end_ms, lookback_ms;
    size_t limit;
};
// The parameters as they came; STR_NULL: not given.
struct span_query_text {
    struct str service, remote, name, annotations, min_duration, max_duration, end, lookback, limit;
};
enum { SPAN_QUERY_WORDS = 100 };

// ERR_BAD_REQUEST in the original's words: "limit <= 0".
int span_query_parse(struct arena *a, const struct span_query_text *text, uint64_t now_ms,
                     uint64_t lookback_ms, struct span_query *ret, struct err *e);
// The time of a trace: its root's, else the earliest; 0: none has one.
uint64_t span_query_timestamp(const struct span *spans, size_t n);
bool span_query_in_window(const struct span_query *q, uint64_t timestamp);
// Whether a span has the annotation or tag.
bool span_query_word_met(const struct span_query_word *w, const struct span *s);
// Whether the spans of one trace (in any order) answer it.
bool span_query_test(const struct span_query *q, const struct span *spans, size_t n);
