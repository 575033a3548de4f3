// Tracing as a part of a role: Zipkin's HTTP face on a port of its own, over the span store in
// DATA/spans. Left out by --without trace.
#pragma once
#include "base/part.h"

extern const struct part trace_part;
