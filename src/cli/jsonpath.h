// JSONPath templates as kubectl has them (kubernetes.io/docs/reference/kubectl/jsonpath): text, and
// in braces a path, a quoted string, or `range PATH` … `end`.
//
//     {.items[*].metadata.name}
//     {range .items[?(@.status.phase=="Running")]}{.metadata.name}{"\n"}{end}
//
// Paths: `.name`, `['name']`, `..name`, `.*`, `[*]`, `[2]`, `[-1]`, `[1:3]`, `[?(@.path OP value)]`
// with == != < <= > >=, or a path alone, which asks whether it is there; `$` is the root, `@` the
// object at hand. Several matches are separated by spaces; objects and arrays come as JSON; what is
// not there gives nothing. A dot in a name is written `\.`.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

// Appends the template's text for `root`. ERR_BAD_REQUEST where the template is malformed; then
// what was appended so far stays.
int jsonpath_write(struct buf *b, struct arena *a, struct str template_text,
                   const struct value *root, struct err *e);
// One path with or without braces and leading dot ("metadata.name"), as custom-columns take it: its
// matches, separated by commas; false: nothing is there.
int jsonpath_column(struct buf *b, struct arena *a, struct str path, const struct value *root,
                    bool *ret_found, struct err *e);
