// Zipkin's HTTP face over a span store: the collector and the query API, at / and again at /zipkin.
// Handlers decode, search and answer on workers; a loop only reads and writes.
#pragma once
#include "trace/span_store.h"
#include "wire/http.h"
#include "wire/workers.h"

struct trace_http;

struct trace_http_options {
    struct span_store *store;
    struct workers *workers;
    uint64_t lookback_ms; // of a search that does not say; 0: a day
};
struct trace_http *trace_http_new(struct env *env, const struct trace_http_options *opt);
void trace_http_free(struct trace_http *t); // the server has stopped; NULL is nothing
struct http_handler trace_http_handler(struct trace_http *t);
