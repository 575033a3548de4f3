// WebSocket (RFC 6455), server side over an HTTP/1.1 exchange, and client side over http_client.h.
// Messages are whole (fragments are joined up to max_message); pings are answered.
#pragma once
#include "wire/http.h"

struct websocket;
struct websocket_handler {
    void (*on_message)(struct websocket *w, bool binary, struct str message);
    void (*on_close)(struct websocket *w); // once; w is gone after it
    void *ctx;
    size_t max_message; // 0: 4 MB; more closes with 1009
};
// Whether the request asks for an upgrade to websocket.
bool websocket_requested(const struct http_request *r);
// Chooses the first of `protocols` (server's preference) that the client offers; *ret_protocol is
// it. none offered by the client: upgraded without one; no match: 400 is answered and NULL
// returned.
struct websocket *websocket_accept(struct http_exchange *x, const struct str *protocols,
                                   size_t nprotocols, const struct websocket_handler *h,
                                   struct str *ret_protocol);
void *websocket_ctx(struct websocket *w);
void websocket_send(struct websocket *w, bool binary, struct str message);
// A binary message made of a one-byte channel and a payload (Kubernetes' channel protocols).
void websocket_send_channel(struct websocket *w, uint8_t channel, struct str payload);
size_t websocket_pending(struct websocket *w);
void websocket_on_drain(struct websocket *w, size_t low, void (*fn)(struct websocket *w));
// Holds back on_message, and by TCP the peer, until called with false.
void websocket_pause(struct websocket *w, bool paused);
// Starts the closing handshake; on_close comes from the loop when it is over, after 5 s at the
// latest. No message is delivered any more.
void websocket_close(struct websocket *w, uint16_t code, struct str reason);
// In on_close: the peer's close code and reason; 0 where the connection just ended.
uint16_t websocket_close_code(const struct websocket *w, struct str *ret_reason);
