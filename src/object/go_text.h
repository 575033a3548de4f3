// A value as Go's %v prints it (map[a:1 b:[x y]], members sorted), for error texts that people know
// from the originals.
#pragma once
#include "base/buf.h"
#include "object/value.h"

void go_text(struct buf *b, const struct value *v);
const char *go_type(const struct value *v); // "map[string]interface {}"
