// JSON (RFC 8259) into a value tree and back. The reader is strict: UTF-8 checked, no comments, no
// trailing characters, depth at most JSON_DEPTH. Duplicate keys: the last one wins, as in Go, and
// each is reported to the `duplicates` list, so that fieldValidation can name it.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

#define JSON_DEPTH      256
#define JSON_DUPLICATES 100

struct json_options {
    // Paths of duplicate keys ("spec.replicas", "spec.containers[0].name") are added here, at most
    // JSON_DUPLICATES of them.
    struct value *duplicates; // VALUE_ARRAY of strings, or NULL: don't collect
    bool borrow;              // strings without escapes may point into the input, which then must
                              // live as long as the tree
    size_t max_values;        // more values than that: ERR_TOO_LARGE; 0: any number
};

// Error: ERR_BAD_REQUEST with line and column. Never reads past in.n.
int json_parse(struct arena *a, struct str in, const struct json_options *opt, struct value **ret,
               struct err *e);
// The same for a value followed by other things: *ret_used is where they begin (white space
// skipped).
int json_parse_prefix(struct arena *a, struct str in, const struct json_options *opt,
                      struct value **ret, size_t *ret_used, struct err *e);
bool json_utf8_valid(struct str text);                                    // RFC 3629
void json_write(struct buf *b, const struct value *v);                    // compact
void json_write_pretty(struct buf *b, const struct value *v, int indent); // as Go's MarshalIndent
void json_write_string(struct buf *b, struct str s); // quoted and escaped (as Go with HTML off)
// A double as Go's encoding/json writes it: the shortest digits that read back the same.
void json_write_double(struct buf *b, double f);
struct str json_text(struct arena *a, const struct value *v);
