// The part of an upgraded connection that server and client share; its owner embeds it.
#pragma once
#include "wire/raw.h"
#include "wire/stream.h"

struct http_raw {
    struct stream *s;
    void (*kick)(struct http_raw *r); // asks the owner for a turn
    struct http_raw_handler h;
    void *inner; // private to who stands on it (WebSocket)
    bool paused, closing, aborted, active;
    size_t drain_low;
    void (*drain)(struct http_raw *r);
};
void raw_init(struct http_raw *r, struct stream *s, void (*kick)(struct http_raw *r),
              const struct http_raw_handler *h);
// After a flush: calls the drain callback where it is due. True: it did, so flush again.
bool raw_drained(struct http_raw *r);
void raw_ended(struct http_raw *r); // calls on_close, once
