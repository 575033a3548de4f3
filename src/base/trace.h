// Trace context: which request this work belongs to, carried from the API call to the container
// start. W3C traceparent on the wire ("00-<32 hex>-<16 hex>-01"); B3 is accepted too.
// A zero trace_id means that nothing is traced. Plain value, copy freely.
#pragma once
#include "base/buf.h"

struct env;
struct trace_context {
    uint64_t trace_hi, trace_lo, span;
    bool sampled;
};
bool trace_parse(struct str traceparent, struct trace_context *ret);
void trace_write(struct buf *b, const struct trace_context *t); // traceparent
// A child span of parent (or a new root where parent is NULL or zero).
struct trace_context trace_child(struct env *env, const struct trace_context *parent);
