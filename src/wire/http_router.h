// From a request to the function that answers it: tables of rows, and mounts that put several
// tables on one listener.
//
//     static const struct http_route zipkin[] = {
//         {"POST", "/api/v2/spans",       HTTP_BODY_WHOLE, 5 << 20, spans_post},
//         {"GET",  "/api/v2/trace/{id}",  HTTP_BODY_NONE,  0,       trace_get},
//         {0},
//     };
//     static const struct http_route images[] = {
//         {"PUT",  "/{name...}/blobs/uploads/{id}", HTTP_BODY_STREAM, 0, upload_put},
//         {0},
//     };
//     struct http_mount mounts[] = {{"/zipkin", zipkin, .ctx = t}, {"/v2", images, .ctx = i}};
//
// The way of a request: the longest prefix that fits chooses the mount; the first row whose pattern
// and method fit is taken; admit decides from the head, before a byte of the body is kept; then the
// body as the row wants it, and fn.
//
// Patterns follow the mount's prefix. "{name}" is one part that is not empty, "{name...}" one part
// or more (at most one of these; what stands behind it is matched from the end). Parts are
// percent-decoded one by one, so "%2F" in a part is a slash of the parameter and cuts nothing; in
// "{name...}" it stays as it came. A pattern that ends in "/" wants that slash; the pattern "" is
// the prefix alone. Rows for GET answer HEAD too.
//
// Nothing fits: 404; another method would: 405 with Allow; a broken escape: 400.
#pragma once
#include "wire/http.h"

enum http_body_mode {
    HTTP_BODY_NONE,   // what comes is thrown away
    HTTP_BODY_WHOLE,  // fn is called when it is there, with at most `limit` bytes; more: 413
    HTTP_BODY_STREAM, // fn calls http_stream_body itself
};
enum { HTTP_PARAMS_MAX = 8, HTTP_PARTS_MAX = 64 };

struct http_routed;
struct http_route {
    const char *method; // "GET"; "*": any
    const char *pattern;
    enum http_body_mode body;
    size_t limit;
    void (*fn)(struct http_routed *r, struct str body); // body STR_NULL unless HTTP_BODY_WHOLE
};

struct http_mount {
    const char *prefix;              // "" or "/…" without a slash at the end
    const struct http_route *routes; // ends with {0}
    // Who is this, and may they? Answers a refusal itself, or calls http_routed_admit, now or
    // later, on the loop. NULL: everybody may. Also where http_vouch belongs.
    void (*admit)(struct http_routed *r);
    // How this mount says 400, 404 and 405 (the header Allow is in `headers`); NULL: plain text.
    void (*refuse)(struct http_routed *r, int status, const struct http_header *headers,
                   size_t nheaders, struct str text);
    void (*on_close)(void *ctx, struct http_exchange *x); // NULL: http_tie_closed
    void *ctx;
};

// Lives in the exchange's arena.
struct http_routed {
    struct http_exchange *x;
    const struct http_mount *mount;
    const struct http_route *route;     // NULL in refuse
    struct str params[HTTP_PARAMS_MAX]; // in the pattern's order
    size_t nparams;
};
// By the name in the pattern, without the dots; it is there, or the program is wrong.
struct str http_routed_param(const struct http_routed *r, const char *name);
void http_routed_admit(struct http_routed *r);

// The mounts and tables are the caller's and live as long as the router. Aborts on a table that is
// wrong in itself: two rows that are the same, a pattern that cannot be.
struct http_router;
struct http_router *http_router_new(const struct http_mount *mounts, size_t n);
void http_router_free(struct http_router *r); // the server has stopped
struct http_handler http_router_handler(struct http_router *r);
// What the handler decides by, without an exchange: 0 with mount, route and params of *ret, or the
// status of the refusal, with the mount where there is one. Strings live in `a` or in raw_path.
int http_router_match(const struct http_router *t, struct arena *a, struct str method,
                      struct str raw_path, struct http_routed *ret, struct str *ret_allow);
