// JSON (RFC 8259) into a value tree and back. The reader is strict: UTF-8 checked, no comments, no
// trailing characters, depth at most JSON_DEPTH. Duplicate keys: the last one wins, as in Go, and
// each is reported to the `duplicates` list, so that fieldValidation can name it.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

#define JSON_DEPTH 256

struct json_options {
    // Paths of duplicate keys ("spec.replicas", "spec.containers[0].name") are added here.
    struct value *duplicates; // VALUE_ARRAY of strings, or NULL: don't collect
    bool borrow;              // strings without escapes may point into the input, which then must
                              // live as long as the tree
};

// Error: ERR_BAD_REQUEST with line and column. Never reads past in.n.
int json_parse(struct arena *a, struct str in, const struct json_options *opt, struct value **ret,
               struct err *e);
void json_write(struct buf *b, const struct value *v);                    // compact
void json_write_pretty(struct buf *b, const struct value *v, int indent); // as Go's MarshalIndent
void json_write_string(struct buf *b, struct str s); // quoted and escaped (as Go with HTML off)
struct str json_text(struct arena *a, const struct value *v);
