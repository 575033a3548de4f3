// HTTP/1.1 client on a loop, with TLS, keep-alive pool per client, streaming answers, WebSocket
// upgrade; and a blocking form for worker threads. Redirects are not followed (the caller decides).
#pragma once
#include "wire/http.h"
#include "wire/websocket.h"

struct http_client;
struct http_call;

struct http_client_options {
    struct tls_client *tls;      // for https URLs
    const char *unix_socket;     // connect here instead of the URL's host; NULL: TCP
    uint64_t connect_timeout_ns; // 0: 10 s
    uint64_t idle_timeout_ns;    // no byte for so long ends the call; 0: none
};
struct http_client *http_client_new(struct loop *l,
                                    const struct http_client_options *opt); // NULL: none
// Ends its calls (on_end with an error) and its upgraded connections. On the loop's thread (or
// while it does not run), and not from inside a callback of its own calls.
void http_client_free(struct http_client *c);
struct loop *http_client_loop(struct http_client *c);

struct http_call_request {
    const char *method;
    struct str url; // "https://host:6443/api/v1/pods?watch=true"; scheme http or https
    const struct http_header *headers;
    size_t nheaders;
    struct str body; // copied
};
struct http_call_handler {
    void (*on_head)(struct http_call *c, int status, const struct http_header *headers, size_t n);
    void (*on_body)(struct http_call *c, struct str part);
    // Exactly once: e is NULL at a proper end, else why the call failed. c is gone after it.
    void (*on_end)(struct http_call *c, const struct err *e);
    void *ctx;
};
// On the loop's thread. Never fails at once: errors come to on_end. A request without side effects
// (GET, HEAD, OPTIONS) that meets a pooled connection which the server has just closed is sent once
// more on a new one. Error reasons: ERR_UNAVAILABLE (no connection, or lost), ERR_TIMEOUT,
// ERR_BAD_REQUEST (the URL); texts are the ones that people know from Go ("dial tcp 127.0.0.1:1:
// connect: connection refused").
struct http_call *http_call_start(struct http_client *c, const struct http_call_request *r,
                                  const struct http_call_handler *h);
void *http_call_ctx(struct http_call *c);
void http_call_pause(struct http_call *c, bool paused); // back-pressure: stop reading the socket
void http_call_cancel(struct http_call *c);             // no callback after it returns

// WebSocket client. on_open with NULL and the error's text when refused (status is in the error).
void websocket_connect(struct http_client *c, struct str url, const struct http_header *headers,
                       size_t nheaders, const struct str *protocols, size_t nprotocols,
                       const struct websocket_handler *h,
                       void (*on_open)(void *ctx, struct websocket *w, struct str protocol,
                                       const struct err *e));

// Blocking, from any thread but a loop's: the whole answer in `a`, body at most max bytes.
struct http_answer {
    int status;
    const struct http_header *headers;
    size_t nheaders;
    struct str body;
};
int http_do(struct http_client *c, struct arena *a, const struct http_call_request *r, size_t max,
            struct http_answer *ret, struct err *e);
struct str http_answer_header(const struct http_answer *r, const char *lower_name);
