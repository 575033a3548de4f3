// The span store: what was reported, on the disk, and found again.
//
//     span_store_put --> queue --> writer: journal (one fsync for all that wait) --> hot
//                                     |
//                                     +--closed segments--> journal's keeper: block, then cut
//
// A put is acknowledged when its spans are durable in the journal (log/journal.h) and can be found.
// What is in the journal is also in memory ("hot": a segment or two); a closed segment becomes a
// block (span_block.h), which is compressed, indexed, and read from the disk. A start reads the
// trailers of the blocks and replays the journal behind the newest.
//
// A trace may be spread over hot and several blocks: late spans join it when it is read. The oldest
// blocks go when all of them together are larger, or the oldest is older, than the options say.
//
// Threads: span_store_put and the readers from any thread; a reader holds the lock only to take
// references. Completions run on the writer's thread and must not block.
//
// Full disk: a put is refused with -ENOSPC, nothing of it is kept, later ones may succeed.
#pragma once
#include "base/env.h"
#include "base/err.h"
#include "trace/span_query.h"

struct span_store;

struct span_store_options {
    size_t segment_bytes;  // of the journal; 0: 4 MB
    uint64_t keep_bytes;   // of blocks; 0: 1 GB
    uint64_t keep_seconds; // 0: no limit
    size_t queue_bytes;    // of puts that wait; 0: 32 MB
    bool strict_trace_id;  // group by all 128 bits
};

int span_store_open(struct env *env, const char *dir, const struct span_store_options *opt,
                    struct span_store **ret, struct err *e);
void span_store_close(struct span_store *s); // completes what waits; NULL is nothing

// Owned by the caller until `complete` runs; then the caller's again.
struct span_put {
    struct buf bytes; // encoded spans (span_encode)
    uint32_t spans;
    void (*complete)(struct span_put *p);
    int result;            // 0, -ENOSPC, -EIO (the store takes no more), -EAGAIN (too much waits)
    struct span_put *next; // private
};
void span_store_put(struct span_store *s, struct span_put *p);

// The spans of a trace: all with this ID (strict: all 128 bits). In the arena. n 0: not there.
struct span_trace {
    struct span *spans;
    size_t n;
    uint64_t timestamp;
};
int span_store_trace(struct span_store *s, struct arena *a, uint64_t hi, uint64_t lo,
                     struct span_trace *ret, struct err *e);
// The latest traces that answer q, latest first.
int span_store_search(struct span_store *s, struct arena *a, const struct span_query *q,
                      struct span_trace **ret, size_t *ret_n, struct err *e);
// Calls fn for each trace (by the lower half of the ID) whose time is in the window.
int span_store_each(struct span_store *s, const struct span_query *window,
                    void (*fn)(void *ctx, const struct span *spans, size_t n), void *ctx,
                    struct err *e);

// Sorted lists, in the arena. Services; the names of a service's spans; what it calls.
enum span_store_list { SPAN_LIST_SERVICES, SPAN_LIST_NAMES, SPAN_LIST_REMOTES };
void span_store_names(struct span_store *s, struct arena *a, enum span_store_list which,
                      struct str service, struct str **ret, size_t *ret_n);

struct span_store_facts {
    uint64_t spans, blocks, block_bytes, hot_spans;
    bool failed, full;
};
struct span_store_facts span_store_facts(struct span_store *s);
