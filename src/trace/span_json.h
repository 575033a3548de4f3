// Zipkin's v2 JSON: a list of spans, both ways, with the original's names, order and omissions.
#pragma once
#include "base/err.h"
#include "trace/span.h"

// Reads a list. Strings point into `in` or the arena. The error's message is the original's kind:
// "Malformed reading List<Span> from json: …".
int span_json_read(struct arena *a, struct str in, struct span **ret, size_t *ret_n, struct err *e);
void span_json_write(struct buf *b, const struct span *s);
