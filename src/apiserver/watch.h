// One watch of one client: first the state as it is (unless it starts from a revision), then every
// change that concerns it, filtered by namespace and selectors. What becomes of the items (lines on
// a connection, a batch for an informer) is the sink's business.
//
//     INITIAL ──all delivered──▶ LIVE ──lost, too slow, time over──▶ on_end, and the watch is gone
//        │
//        └ the sink is full: pauses until watch_resume; what happens meanwhile waits in the backlog
//
// Everything on the watch's loop.
#pragma once
#include "apiserver/registry_read.h"

struct api_watch;

struct watch_item {
    enum watch_type type;
    bool initial_end;
    uint64_t revision;
    // One of: an object of the initial state; an event; neither for a bookmark. Borrowed.
    struct object *object;
    struct cache_event *event;
};
// The object to show, converted where the kind is stored under another version: a reference. NULL:
// bookmark.
struct object *watch_item_object(const struct api_watch *w, const struct watch_item *it);

struct watch_sink {
    // False: full. Only the initial state heeds it (watch_resume); later items come regardless, and
    // a sink that cannot keep up calls watch_stop.
    bool (*on_item)(void *ctx, const struct watch_item *it);
    void (*on_flush)(void *ctx); // after a batch; may be NULL
    // The watch ended by itself and is gone. e NULL: its time is over.
    void (*on_end)(void *ctx, const struct err *e);
    void *ctx;
};

// Parameters are checked here (kind, selectors, revision rules); authorisation is the caller's. The
// first items come from a task of the loop, not from inside this call. The request is not kept.
int watch_start(struct apiserver *s, struct loop *l, const struct api_request *r,
                const struct watch_sink *sink, struct api_watch **ret, struct err *e);
void watch_resume(struct api_watch *w);
void watch_stop(struct api_watch *w); // no callback after it returns; not from within on_end
