// How objects go out: in which format, whole or as a table or metadata alone, one by one. A writer
// is set up once for a request and then asked for each object; lists and watches use the same one.
#pragma once
#include "apiserver/negotiate.h"
#include "base/buf.h"
#include "object/object.h"
#include "schema/schema.h"

enum include_object { INCLUDE_METADATA, INCLUDE_NONE, INCLUDE_OBJECT };
struct writer {
    const struct kind *kind;
    struct negotiated form;
    enum include_object include; // of table rows
    int64_t now;                 // for ages
    struct arena scratch;        // reset after each object
};
void writer_done(struct writer *w);

// One object as the whole answer (with the newline that the originals end JSON with).
int write_object(struct writer *w, struct buf *b, const struct object *o, struct err *e);
// A tree that is no stored object (Scale, Status, reviews); never a table.
int write_value(struct writer *w, struct buf *b, const struct value *v, const struct type *type,
                struct err *e);

// A list, piece by piece: begin, each item, end. JSON and YAML.
struct list_head {
    uint64_t revision;
    struct str continue_token;
    int64_t remaining; // -1: not told
};
void write_list_begin(struct writer *w, struct buf *b, const struct list_head *h);
void write_list_item(struct writer *w, struct buf *b, const struct object *o, size_t index);
void write_list_end(struct writer *w, struct buf *b, const struct list_head *h, size_t n);
// A whole list in protobuf, whose envelope needs its length first.
int write_list_protobuf(struct writer *w, struct buf *b, const struct list_head *h,
                        struct object *const *items, size_t n, struct err *e);

// What a watch event carries: the object, its metadata, or a table of one row. with_columns: the
// first of a stream.
void write_event_object(struct writer *w, struct buf *b, const struct object *o, bool with_columns);
// The object of a bookmark: of the kind watched, with nothing but its revision.
void write_bookmark_object(struct writer *w, struct buf *b, uint64_t revision, bool initial_end);
