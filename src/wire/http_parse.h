// HTTP/1.1 heads and chunked bodies, both directions, without I/O: bytes in, structure out. The
// grammar is RFC 9112's, read strictly wherever leniency has been used to smuggle a request past
// somebody: no bare LF, no obs-fold, no space before the colon, no list or sign in Content-Length,
// no Content-Length beside Transfer-Encoding.
#pragma once
#include "wire/http.h"

enum { HTTP_MAX_HEADERS = 256, HTTP_MAX_TARGET = 32 << 10 };

// Where the head ends in p[0..n): the number of bytes including the empty line; 0 when it is not
// complete yet; -1 when it can never be one (a bare LF, a NUL). `from` is how many bytes an earlier
// call has already looked at (its n), so that a head that trickles in is scanned once.
ptrdiff_t http_head_end(const char *p, size_t n, size_t from);

struct http_head {
    struct str method, target; // requests
    int status;                // responses
    struct str reason;
    int minor; // HTTP/1.<minor>
    struct http_header *headers;
    size_t nheaders;
    // How the body is framed.
    bool chunked;
    bool has_length;
    uint64_t length;
    bool close;        // Connection: close, or HTTP/1.0 without keep-alive
    bool upgrade;      // Connection: upgrade
    bool continue_100; // Expect: 100-continue
};
// Parses one whole head (as found by http_head_end) in place: names become lower case, values are
// trimmed views into `head`; the header array comes from `a`. 0, or the HTTP status to refuse a
// request with (400, 414, 417, 431, 501, 505); *ret_why is then a static text.
int http_parse_request(struct arena *a, char *head, size_t n, struct http_head *ret,
                       const char **ret_why);
// 0, or -1 with *ret_why.
int http_parse_response(struct arena *a, char *head, size_t n, struct http_head *ret,
                        const char **ret_why);
struct str http_head_get(const struct http_head *h, const char *lower_name); // first, or STR_NULL

// Fills path, raw_path, query, host of r from r->target and the Host header. 0 or a status with
// *ret_why.
int http_split_target(struct arena *a, struct http_request *r, const char **ret_why);
// Percent-decoding: false for a broken escape or %00. keep_slash: "%2F" stays as it is.
bool http_percent_decode(struct arena *a, struct str s, bool plus_is_space, bool keep_slash,
                         struct str *ret);
// Whether a comma-separated header value has the token (case-insensitive, parameters ignored).
bool http_has_token(struct str value, const char *token);

// Chunked coding. Feed it what comes; it hands out views of body data and stops behind the end.
struct http_chunked {
    uint8_t state;
    uint8_t digits;
    uint32_t extra; // bytes of extensions and trailers so far, bounded
    uint64_t left;  // of the current chunk
};
#define HTTP_CHUNKED_INIT ((struct http_chunked){0})
// Consumes from *in (advances it). Returns 1 with a non-empty *part; 2 at the end of the body; 0
// when *in is used up; -1 when the coding is broken.
int http_chunked_next(struct http_chunked *c, struct str *in, struct str *part);

// "Sun, 06 Nov 1994 08:49:37 GMT", 29 characters.
void http_date(int64_t real_ns, char out[29]);
const char *http_status_text(int status); // "Not Found"; "" when unknown
