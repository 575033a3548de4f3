// An HTTP/1.1 connection after "101 Switching Protocols": bytes both ways. WebSocket stands on it,
// and so can any other upgrade (SPDY/3.1). The same on the server's side and on the client's.
#pragma once
#include "wire/http.h"

struct http_raw;
struct http_raw_handler {
    void (*on_data)(struct http_raw *r, struct str bytes); // bytes live during the call
    void (*on_close)(struct http_raw *r);                  // once, at any end; r is gone after it
    void *ctx;
};
// Answers 101 with "Upgrade: <protocol>" and the headers given. NULL over HTTP/2, which has no
// upgrade: 400 is answered then. The exchange, its arena and its on_close live on until after the
// handler's on_close.
struct http_raw *http_upgrade_raw(struct http_exchange *x, struct str protocol,
                                  const struct http_header *headers, size_t nheaders,
                                  const struct http_raw_handler *h);
void *http_raw_ctx(struct http_raw *r);
struct loop *http_raw_loop(struct http_raw *r);
void http_raw_send(struct http_raw *r, struct str bytes);
void http_raw_send_blob(struct http_raw *r, struct blob *bytes);
size_t http_raw_pending(struct http_raw *r); // bytes queued and not yet taken by the kernel
void http_raw_on_drain(struct http_raw *r, size_t low, void (*fn)(struct http_raw *r));
void http_raw_pause(struct http_raw *r, bool paused); // no on_data while paused
// Sends what is queued, then closes. No callback is made from inside; on_close comes from the loop.
void http_raw_close(struct http_raw *r);
void http_raw_abort(struct http_raw *r); // closes at once

// The client's side: sends the request (method and url of r; Connection and Upgrade are added) and
// waits for 101. on_open runs once: with r and the answer's headers, which live during the call, or
// with NULL and the reason (status and text of the server's refusal).
struct http_client;
struct http_call_request;
void http_client_upgrade(struct http_client *c, const struct http_call_request *r,
                         struct str protocol, const struct http_raw_handler *h,
                         void (*on_open)(void *ctx, struct http_raw *raw,
                                         const struct http_header *headers, size_t nheaders,
                                         const struct err *e));
