// Parsing of HTTP/1.1 heads: first find the end of the head, then parse the whole of it in place.
//
// A state machine that can stop at any byte would save one copy of a few hundred bytes; it was
// rejected because the property that matters most, that a request means the same however TCP cuts
// it, is then something to prove. Here it holds by construction: nothing is parsed until all of it
// is there. Only the chunked coding, whose length nobody bounds, is incremental (http_chunked.c).
#include "wire/http_parse.h"
#include "base/err.h"
#include <string.h>

// RFC 9110 5.6.2 token characters.
static const bool is_token[256] = {
    ['!'] = true,         ['#'] = true,         ['$'] = true,         ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true, ['.'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,         ['|'] = true, ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

ptrdiff_t http_head_end(const char *p, size_t n, size_t from)
{
    // The three bytes before `from` may belong to the empty line.
    size_t i = from > 3 ? from - 3 : 0;
    while (i < n) {
        const char *lf = memchr(p + i, '\n', n - i);
        if (!lf)
            return 0;
        i = (size_t)(lf - p) + 1;
        if (i < 2 || lf[-1] != '\r')
            return -1;
        if (i >= 4 && lf[-2] == '\n')
            return (ptrdiff_t)i;
        if (i == 2)
            return 2; // an empty line where a start line should be
    }
    return 0;
}

struct str http_head_get(const struct http_head *h, const char *lower_name)
{
    struct str name = str_of(lower_name);
    for (size_t i = 0; i < h->nheaders; i++)
        if (str_eq(h->headers[i].name, name))
            return h->headers[i].value;
    return STR_NULL;
}

bool http_has_token(struct str value, const char *token)
{
    struct str rest = value, want = str_of(token);
    while (rest.p) {
        struct str part = str_cut(&rest, ',');
        ptrdiff_t semi = str_chr(part, ';');
        if (semi >= 0)
            part = str_sub(part, 0, (size_t)semi);
        if (str_ieq(str_trim(part), want))
            return true;
    }
    return false;
}

bool http_accepts_gzip(struct str accept_encoding)
{
    struct str rest = accept_encoding;
    while (rest.p) {
        struct str part = str_trim(str_cut(&rest, ','));
        struct str name = part, parameter = STR_NULL;
        ptrdiff_t semi = str_chr(part, ';');
        if (semi >= 0) {
            name = str_trim(str_sub(part, 0, (size_t)semi));
            parameter = str_trim(str_from(part, (size_t)semi + 1));
        }
        if (!str_ieq(name, STR("gzip")) && !str_eq(name, STR("*")))
            continue;
        // q=0, q=0.0, q=0.000: not wanted.
        if (!str_starts(parameter, STR("q=0")))
            return true;
        for (size_t i = 3; i < parameter.n; i++)
            if (parameter.p[i] != '.' && parameter.p[i] != '0')
                return true;
        return false;
    }
    return false;
}

// Takes one line, without its CRLF, from *rest.
static struct str take_line(char **at, char *end)
{
    char *cr = *at;
    while (cr < end && *cr != '\r')
        cr++;
    struct str line = str_n(*at, (size_t)(cr - *at));
    // A CR that no LF follows stays inside: the caller's character checks refuse it.
    while (cr < end && !(cr[0] == '\r' && cr + 1 < end && cr[1] == '\n')) {
        cr++;
        line.n = (size_t)(cr - *at);
    }
    *at = cr + 2 <= end ? cr + 2 : end;
    return line;
}

static bool take_version(struct str s, int *ret_minor)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || s.p[7] < '0' || s.p[7] > '9')
        return false;
    *ret_minor = s.p[7] - '0';
    return true;
}

// The header lines. Field values may hold any byte but controls (RFC 9110 5.5).
static int take_headers(struct arena *a, char *at, char *end, struct http_head *h,
                        const char **ret_why)
{
    size_t count = 0;
    for (const char *p = at; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        count++;
    if (count > HTTP_MAX_HEADERS + 1) {
        *ret_why = "too many header fields";
        return 431;
    }
    h->headers = arena_alloc(a, sizeof *h->headers * (count ? count : 1));
    h->nheaders = 0;
    while (at < end) {
        char *name = at;
        struct str line = take_line(&at, end);
        if (!line.n)
            break;
        size_t colon = 0;
        while (colon < line.n && is_token[(unsigned char)name[colon]]) {
            if (name[colon] >= 'A' && name[colon] <= 'Z')
                name[colon] |= 0x20;
            colon++;
        }
        if (!colon || colon == line.n || name[colon] != ':') {
            *ret_why = "malformed header field";
            return 400;
        }
        for (size_t i = colon + 1; i < line.n; i++)
            if (((unsigned char)name[i] < 0x20 && name[i] != '\t') || name[i] == 0x7f) {
                *ret_why = "invalid character in a header value";
                return 400;
            }
        h->headers[h->nheaders].name = str_n(name, colon);
        h->headers[h->nheaders++].value = str_trim(str_from(line, colon + 1));
    }
    return 0;
}

// What decides the framing (RFC 9112 6.3). `request`: wrong framing has a status of its own.
static int frame(struct http_head *h, bool request, const char **ret_why)
{
    int lengths = 0, encodings = 0, hosts = 0;
    bool keep_alive = false;
    for (size_t i = 0; i < h->nheaders; i++) {
        struct str name = h->headers[i].name, value = h->headers[i].value;
        if (str_eqc(name, "content-length")) {
            uint64_t length;
            if (!str_to_u64(value, &length) || length > INT64_MAX ||
                (lengths && length != h->length)) {
                *ret_why = "invalid Content-Length";
                return 400;
            }
            // The same length twice is harmless, but no honest client of ours sends it.
            if (lengths++ && request) {
                *ret_why = "more than one Content-Length";
                return 400;
            }
            h->has_length = true;
            h->length = length;
        } else if (str_eqc(name, "transfer-encoding")) {
            if (encodings++ || !str_ieq(value, STR("chunked"))) {
                *ret_why = "unsupported Transfer-Encoding";
                return 501;
            }
            h->chunked = true;
        } else if (str_eqc(name, "connection")) {
            h->close |= http_has_token(value, "close");
            h->upgrade |= http_has_token(value, "upgrade");
            keep_alive |= http_has_token(value, "keep-alive");
        } else if (str_eqc(name, "host")) {
            hosts++;
        } else if (request && str_eqc(name, "expect")) {
            if (!str_ieq(value, STR("100-continue"))) {
                *ret_why = "unknown expectation";
                return 417;
            }
            h->continue_100 = h->minor > 0;
        }
    }
    if (h->chunked && (h->has_length || h->minor == 0)) {
        *ret_why = h->has_length ? "both Content-Length and Transfer-Encoding"
                                 : "Transfer-Encoding in HTTP/1.0";
        return 400;
    }
    if (request && (hosts > 1 || (hosts == 0 && h->minor > 0))) {
        *ret_why = hosts ? "more than one Host header" : "missing required Host header";
        return 400;
    }
    if (h->minor == 0 && !keep_alive)
        h->close = true;
    return 0;
}

int http_parse_request(struct arena *a, char *head, size_t n, struct http_head *ret,
                       const char **ret_why)
{
    char *at = head, *end = head + n;
    *ret = (struct http_head){0};
    struct str line = take_line(&at, end);
    size_t method = 0, target;
    while (method < line.n && is_token[(unsigned char)line.p[method]])
        method++;
    *ret_why = "malformed request line";
    if (!method || method > 32 || method == line.n || line.p[method] != ' ')
        return 400;
    for (target = method + 1; target < line.n && line.p[target] != ' '; target++)
        if ((unsigned char)line.p[target] < 0x20 || line.p[target] == 0x7f)
            return 400;
    ret->method = str_sub(line, 0, method);
    ret->target = str_sub(line, method + 1, target - method - 1);
    if (ret->target.n > HTTP_MAX_TARGET) {
        *ret_why = "request target too long";
        return 414;
    }
    struct str version = str_from(line, target + 1);
    if (target >= line.n || !ret->target.n)
        return 400;
    if (!take_version(version, &ret->minor) || ret->minor > 1) {
        if (!str_starts(version, STR("HTTP/")) || version.n != 8)
            return 400;
        *ret_why = "unsupported protocol version";
        return 505;
    }
    int status = take_headers(a, at, end, ret, ret_why);
    return status ? status : frame(ret, true, ret_why);
}

int http_parse_response(struct arena *a, char *head, size_t n, struct http_head *ret,
                        const char **ret_why)
{
    char *at = head, *end = head + n;
    *ret = (struct http_head){0};
    struct str line = take_line(&at, end);
    *ret_why = "malformed HTTP response";
    if (line.n < 12 || !take_version(str_sub(line, 0, 8), &ret->minor) || line.p[8] != ' ' ||
        (line.n > 12 && line.p[12] != ' '))
        return -1;
    for (int i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return -1;
        ret->status = ret->status * 10 + (line.p[i] - '0');
    }
    if (ret->status < 100)
        return -1;
    ret->reason = str_from(line, 13);
    return take_headers(a, at, end, ret, ret_why) || frame(ret, false, ret_why) ? -1 : 0;
}
