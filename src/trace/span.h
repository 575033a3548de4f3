// The span: what one service says about one piece of work, in Zipkin's v2 model. Decoders (JSON,
// protobuf, thrift, OTLP) make spans, the store keeps them as bytes, queries and the linker read
// them. A decoded span is a set of views: its strings live where it was decoded from.
//
// Normal form, as the original has it: names in lower case, empty strings absent, times and
// durations of 0 absent, tags sorted by key (the last of equal keys), annotations by time and text,
// a parent that is the span itself absent. span_normalise brings a span there, and says what cannot
// be: no trace ID, no ID.
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum span_kind { SPAN_NONE, SPAN_CLIENT, SPAN_SERVER, SPAN_PRODUCER, SPAN_CONSUMER };

struct span_endpoint {
    struct str service;
    bool has_ip4, has_ip6;
    uint8_t ip4[4], ip6[16];
    uint16_t port; // 0: unknown
};
struct span_annotation {
    uint64_t timestamp; // microseconds since 1970
    struct str value;
};
struct span_tag {
    struct str key, value;
};
struct span {
    uint64_t trace_hi, trace_lo; // hi 0: a trace ID of 64 bits
    uint64_t id, parent;         // parent 0: none
    enum span_kind kind;
    bool debug, shared;
    struct str name;
    uint64_t timestamp, duration; // microseconds; 0: unknown
    struct span_endpoint local, remote;
    struct span_annotation *annotations;
    size_t nannotations;
    struct span_tag *tags;
    size_t ntags;
};

static inline bool span_endpoint_empty(const struct span_endpoint *e)
{
    return !e->service.n && !e->has_ip4 && !e->has_ip6 && !e->port;
}
const char *span_kind_name(enum span_kind kind); // "CLIENT"; NULL for SPAN_NONE
bool span_kind_parse(struct str name, enum span_kind *ret);

// A trace ID of 1 to 32 lower-case hexadecimal digits, or a span ID of 1 to 16. NULL, or what is
// wrong with it, in the original's words, to be put behind the text.
const char *span_trace_id_parse(struct str text, uint64_t *ret_hi, uint64_t *ret_lo);
const char *span_id_parse(struct str text, uint64_t *ret);
void span_id_write(struct buf *b, uint64_t id); // 16 digits
void span_trace_id_write(struct buf *b, const struct span *s);

// Text of an address; false: it is none. An IPv6 address that maps an IPv4 one is that.
bool span_endpoint_address(struct span_endpoint *e, struct str text);
struct str span_lower(struct arena *a, struct str s); // s itself where nothing changes
// Brings s to its normal form. NULL, or what is missing.
const char *span_normalise(struct arena *a, struct span *s);

// ---- as bytes: what the journal and the blocks hold ----

// Appends one span: a varint of its size, then its fields.
void span_encode(struct buf *b, const struct span *s);
// Takes a span off the front of *bytes; false where they are not what span_encode wrote. Arrays are
// in the arena, strings in the bytes.
bool span_decode(struct arena *a, struct str *bytes, struct span *ret);
// Only its trace ID's lower half, and where it ends; for indexes.
bool span_peek(struct str bytes, uint64_t *ret_trace_lo, size_t *ret_size);

void span_varint_put(struct buf *b, uint64_t v);
bool span_varint_take(struct str *bytes, uint64_t *ret);
