// What the files of the HTTP face know of each other:
//
//     http.c          an exchange from its head to its end: route, authenticate, run the call
//     http_request.c  query and body into a struct api_request
//     http_answer.c   the call's result onto the wire; lists as a stream
//     http_watch.c    watches as a stream of lines
//     http_pages.c    what is no resource: discovery, OpenAPI, version, health, metrics
//     proxy.c         what the node agent answers: logs, exec, attach
#pragma once
#include "apiserver/answer.h"
#include "apiserver/http.h"
#include "apiserver/http_places.h"
#include "apiserver/route.h"
#include "wire/http_tie.h"
#include "wire/workers.h"

#define HTTP_BODY_MAX     ((size_t)3 << 20) // as the originals
#define HTTP_WATCHES_MAX  100000
#define STREAM_CHUNK      ((size_t)64 << 10)  // a list is written in pieces of this size …
#define STREAM_HIGH       ((size_t)256 << 10) // … until so much is waiting for the client …
#define STREAM_LOW        ((size_t)64 << 10)  // … and goes on when so little is left
#define WATCH_PENDING_MAX ((size_t)16 << 20)  // a watcher that lets more pile up is cut

struct http_ctx {
    struct http_tie tie; // what hangs on the exchange; away while the call is under way
    struct apiserver *server;
    uint64_t began;     // monotonic
    struct arena arena; // the request's strings: they outlive the exchange
    struct route route;
    struct negotiated form;
    struct str audit_id;
    struct api_call call;
    struct str content_type, body; // as they came
    bool decoded, done;            // the body; the call
    struct work work;
    struct place *place; // while the call is worked on
    // A list on its way out.
    struct writer writer;
    struct list_head head;
    size_t next_item;
};
void http_ctx_free(struct http_ctx *c);

// A handful of headers under construction.
struct headers {
    struct http_header h[80];
    size_t n;
};
void header_add(struct headers *hs, const char *name, struct str value);
// Content-Type, Cache-Control, Audit-Id.
void headers_usual(struct headers *hs, struct str content_type, struct str audit_id);

void headers_warnings(struct headers *hs, struct arena *a, const struct api_answer *an);

// Whole answers.
void reply_text(struct http_exchange *x, int status, const char *content_type, struct str body,
                struct str audit_id);
// A Status, in the format that the client wants as far as it could be told.
void reply_error(struct http_ctx *c, const struct err *e);
void reply_value(struct http_ctx *c, int status, const struct value *v, const struct type *type);

// http_request.c
int request_from_query(struct http_ctx *c, enum verb_bit verb, struct err *e);
int request_body(struct http_ctx *c, struct err *e); // c->body; any thread
bool request_takes_body(enum verb_bit verb);
// A query parameter, copied; STR_NULL: absent.
struct str query_param(struct http_ctx *c, const char *name);
bool query_flag(struct http_ctx *c, const char *name); // "true", "1" or without a value

// http_answer.c
void answer_call(struct http_ctx *c);

// http_watch.c: takes over the exchange.
void watch_begin(struct http_ctx *c);

// http_pages.c
void page_reply(struct http_ctx *c);

// proxy.c: takes over the exchange.
void proxy_begin(struct http_ctx *c);
bool proxy_serves(const struct route *r);
// Whether the caller may do what the method means on a subresource that is connected to.
int proxy_authorise(struct http_ctx *c, struct err *e);
