// Who calls whom: dependency links from whole traces, as the original's linker finds them.
#pragma once
#include "base/map.h"
#include "trace/span.h"

struct span_links {
    struct map map; // (parent, child) -> counts
};
#define SPAN_LINKS_INIT ((struct span_links){0})
void span_links_done(struct span_links *l);
// The spans of one trace, in any order; changes nothing of them.
void span_links_add(struct span_links *l, const struct span *spans, size_t n);
// [{"parent":…,"child":…,"callCount":…,"errorCount":…}], by parent and child.
void span_links_write(const struct span_links *l, struct buf *b);
