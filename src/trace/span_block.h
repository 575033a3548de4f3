// A block: the spans of one closed journal segment, compressed and indexed in one file that is
// never changed. Traces stand in it whole as far as the segment had them; spans that came later are
// in a later block, and readers look for a trace in all of them.
//
// The file: zstd frames ("chunks") of about 64 kB of encoded spans, grouped by trace; then
// traces (by the lower half of the trace ID), chunks, ranks (traces by time, latest first), terms
// (which traces have a span of this service, name, tag, …), names; then a trailer of fixed size
// that says where everything is. All numbers little-endian.
//
// Nothing of a block but its trailer is in memory. Finding a trace is one read of a few kilobytes
// where the ID should stand (IDs are random), and one chunk; finding what a search may want is one
// page of terms. Every offset is checked against the file before it is used.
#pragma once
#include "base/env.h"
#include "base/err.h"
#include "trace/span.h"

struct span_block;

struct span_block_source {    // what a block is made from
    const struct str *frames; // encoded spans, one after the other
    size_t nframes;
    uint64_t last, sequence; // the journal's number and segment that this ends with
};
// Writes DIR/NAME durably (temporary file, sync, rename, sync of the directory).
int span_block_write(struct env *env, const char *dir, const char *name,
                     const struct span_block_source *source, struct err *e);

// ERR_INTERNAL "… is not a block" where it is damaged. Reference counted; any thread.
int span_block_open(struct env *env, const char *path, struct span_block **ret, struct err *e);
struct span_block *span_block_ref(struct span_block *b);
void span_block_unref(struct span_block *b); // NULL is nothing

struct span_block_facts {
    uint64_t min_time, max_time; // of traces, microseconds; 0: none has one
    uint64_t spans, traces, bytes, last, sequence;
};
const struct span_block_facts *span_block_facts(const struct span_block *b);

// Appends the encoded spans of traces with this lower half of the ID. 0, or -EBADMSG where the
// block is damaged. The cache keeps the chunk that was read last: whoever asks for many traces asks
// in the order of their IDs, and each chunk is decompressed once.
struct span_block_cache {
    struct buf chunk;
    uint32_t index; // of the chunk, + 1; 0: nothing is kept
};
int span_block_find(struct span_block *b, struct span_block_cache *cache, uint64_t trace_lo,
                    struct buf *out);

// What a search can ask for. A term of two texts is (service, text).
enum span_term {
    SPAN_TERM_SERVICE,
    SPAN_TERM_NAME,         // a span's name
    SPAN_TERM_SERVICE_NAME, // with its service
    SPAN_TERM_REMOTE,
    SPAN_TERM_SERVICE_REMOTE,
    SPAN_TERM_WORD, // a tag's key, or an annotation
    SPAN_TERM_TAG,  // key and value
};
uint32_t span_term(enum span_term kind, struct str one, struct str two);

struct span_candidate {
    uint64_t time, trace_lo;
    uint64_t max_duration; // of a span of it in this block; rounded up
};
// The traces that have the term (or all, where term is NULL), latest first. A term may have traces
// that do not have it (its hash is short), never fewer.
int span_block_search(struct span_block *b, struct arena *a, const uint32_t *term,
                      struct span_candidate **ret, size_t *ret_n, struct err *e);

// Each service with its span names and remote services.
typedef void span_name_fn(void *ctx, struct str service, struct str name, bool remote);
int span_block_names(struct span_block *b, span_name_fn *fn, void *ctx, struct err *e);
