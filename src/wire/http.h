// HTTP for servers: one set of calls for HTTP/1.1 and HTTP/2, with TLS below. A connection belongs
// to one loop; so does every exchange on it. A handler is called when the request's head is
// complete and answers now or later, from the same loop.
//
// Flow of one exchange:
//   handler(exchange)         head is parsed; the body may still be coming
//     http_read_body(x, max, fn)     -> fn(x, body) when whole; over max: 413 is answered for you
//     http_respond(x, …)             -> a whole answer at once
//     http_start(x, …), http_send(x, …), http_finish(x) -> a stream (watch, logs)
//     websocket_accept(x, …)         -> the connection becomes a WebSocket (websocket.h)
//   on_close(x)               called exactly once at the end, whatever happened; x is gone after it
//
// Memory: each exchange has an arena that lives until on_close. Views in it point there.
#pragma once
#include "base/arena.h"
#include "base/blob.h"
#include "base/err.h"
#include "wire/loop.h"
#include "wire/tls.h"

struct http_exchange;

struct http_header {
    struct str name, value; // name in lower case
};

struct http_request {
    struct str method;   // "GET"
    struct str target;   // raw: "/api/v1/pods?limit=5"
    struct str path;     // percent-decoded, "/api/v1/pods" (%2F stays encoded)
    struct str raw_path; // as it came, without the query
    struct str query;    // raw, without '?'
    struct str host;     // Host or :authority
    const struct http_header *headers;
    size_t nheaders;
    bool http2;
    bool tls;
    const struct tls_peer *peer; // the client's verified certificate, or NULL
    struct str remote;           // "127.0.0.1:4711"
};
struct str http_header(const struct http_request *r, const char *lower_name); // first; or STR_NULL
// Query parameters, decoded (+ is a space). i-th occurrence; STR_NULL when absent, empty .p!=NULL
// for "k=".
struct str http_query(struct arena *a, const struct http_request *r, const char *name, size_t i);

const struct http_request *http_request(struct http_exchange *x);
struct arena *http_arena(struct http_exchange *x);
struct loop *http_loop(struct http_exchange *x);
void http_set_data(struct http_exchange *x, void *data);
void *http_data(struct http_exchange *x);

// Body, whole. fn runs once, on the loop, also for an empty one; never after on_close. gzip'ed
// request bodies (Content-Encoding: gzip) are inflated, within max. The view lives in the
// exchange's arena.
void http_read_body(struct http_exchange *x, size_t max,
                    void (*fn)(struct http_exchange *x, struct str body));
// Body as it comes (uploads), not inflated: fn with last and an empty part at the end. fn may pause
// the flow (the peer is held back by TCP or the HTTP/2 window) and let it go on later.
void http_stream_body(struct http_exchange *x,
                      void (*fn)(struct http_exchange *x, struct str part, bool last));

void http_pause_body(struct http_exchange *x, bool paused);

// Answers. The memory of headers and body need live only during the call; no callback is made from
// inside it (on_close comes later, from the loop). Content-Length, Date and (for streams)
// Transfer-Encoding are added. HEAD drops the body. Where the request accepts gzip and the body is
// at least 128 kB, http_respond compresses (level 1).
void http_respond(struct http_exchange *x, int status, const struct http_header *headers,
                  size_t nheaders, struct str body);
// The same with a body that is shared instead of copied.
void http_respond_blob(struct http_exchange *x, int status, const struct http_header *headers,
                       size_t nheaders, struct blob *body);
// Opens a stream. A content-length among the headers is kept and frames the body (all of it must
// then be sent); without one the body is chunked.
void http_start(struct http_exchange *x, int status, const struct http_header *headers,
                size_t nheaders);
// Queues bytes; copies only what TLS must. *_blob shares the reference instead of copying.
void http_send(struct http_exchange *x, struct str bytes);
void http_send_blob(struct http_exchange *x, struct blob *bytes);
void http_finish(struct http_exchange *x);
// Bytes queued and not yet taken by the kernel: back-pressure. on_drain is called once when the
// queue falls below `low` after having been asked for.
size_t http_pending(struct http_exchange *x);
void http_on_drain(struct http_exchange *x, size_t low, void (*fn)(struct http_exchange *x));
// The status that was answered; 0: none yet.
int http_status(const struct http_exchange *x);
// Ends the exchange with an error as far as the protocol still allows (RST_STREAM, closed
// connection).
void http_abort(struct http_exchange *x);

// For a body that is kept and answered many times (http_respond_blob with content-encoding: gzip):
// packed once, NULL when memory is out. And whether a client takes it so: a request's
// Accept-Encoding.
struct blob *http_gzip(struct str body);
bool http_accepts_gzip(struct str accept_encoding);

struct http_handler {
    void (*handle)(void *ctx, struct http_exchange *x);
    void (*on_close)(void *ctx, struct http_exchange *x); // may be NULL
    void *ctx;
};

// Calls on an exchange that is finished or aborted do nothing, until on_close.

// What a caller holds (connections, exchanges, body bytes, queued bytes) is counted and bounded: to
// the peer's address, strictly, until somebody has said who calls; to the user from then on. A
// verified client certificate says so by itself (its common name, as HTTP_USER). A handler that
// knows better says it as soon as it does, before it asks for the body. HTTP_TRUSTED:
// administrators and the platform's own parts, which nothing but the bounds of the whole hold back.
enum http_trust { HTTP_STRANGER, HTTP_USER, HTTP_TRUSTED };
void http_vouch(struct http_exchange *x, struct str user, enum http_trust trust);
// A peer that takes nothing of what is queued for it is cut within about half a minute. Not so here
// (a person who pages through a log, a terminal that is stopped): its owner holds back instead.
void http_be_patient(struct http_exchange *x);

struct http_server_options {
    struct tls_server *tls;   // NULL: plain text
    bool plain_too;           // with tls: who begins in plain text is served so, on the same port
    size_t max_header_bytes;  // 0: 64 kB; more: 431
    unsigned idle_seconds;    // keep-alive; 0: 180
    unsigned max_connections; // 0: 10,000; more are closed at once
};
struct http_server; // listens with any number of loops

// One server on `address` ("127.0.0.1:6443", "[::]:8080", port 0: any; "unix:/path": a socket
// there, whose stale file is replaced) with its connections spread over the loops given. The error
// names the address ("port 6443 is in use: …, choose another with --port").
int http_server_new(struct loop **loops, size_t nloops, struct str address,
                    const struct http_handler *handler, const struct http_server_options *opt,
                    struct http_server **ret, struct err *e);
unsigned http_server_port(struct http_server *s);
// Any thread. Stops accepting; in-flight exchanges finish within grace_ns, streams are ended (as
// soon as what they have queued is sent: a proper end, not a cut); then frees. The loops must be
// running; done (may be NULL) runs on loops[0].
void http_server_stop(struct http_server *s, uint64_t grace_ns, void (*done)(void *), void *arg);
