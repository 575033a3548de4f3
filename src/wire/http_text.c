// The small texts of HTTP: targets, queries, dates, status lines.
#include "wire/http_parse.h"
#include <string.h>
#include <time.h>

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

bool http_percent_decode(struct arena *a, struct str s, bool plus_is_space, bool keep_slash,
                         struct str *ret)
{
    size_t i = 0, n = 0;
    while (i < s.n && s.p[i] != '%' && !(plus_is_space && s.p[i] == '+'))
        i++;
    if (i == s.n) {
        *ret = s.p ? s : STR(""); // nothing to decode: a view, no copy
        return true;
    }
    char *out = arena_alloc(a, s.n);
    for (i = 0; i < s.n; i++) {
        if (s.p[i] == '+' && plus_is_space) {
            out[n++] = ' ';
        } else if (s.p[i] == '%') {
            if (s.n - i < 3)
                return false;
            int high = hex((unsigned char)s.p[i + 1]), low = hex((unsigned char)s.p[i + 2]);
            if (high < 0 || low < 0 || (!high && !low))
                return false;
            char c = (char)(high << 4 | low);
            if (c == '/' && keep_slash) {
                memcpy(out + n, s.p + i, 3);
                n += 3;
            } else {
                out[n++] = c;
            }
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    *ret = str_n(out, n);
    return true;
}

struct str http_header(const struct http_request *r, const char *lower_name)
{
    struct str name = str_of(lower_name);
    for (size_t i = 0; i < r->nheaders; i++)
        if (str_eq(r->headers[i].name, name))
            return r->headers[i].value;
    return STR_NULL;
}

struct str http_query(struct arena *a, const struct http_request *r, const char *name, size_t i)
{
    struct str rest = r->query, want = str_of(name);
    while (rest.p) {
        struct str pair = str_cut(&rest, '&'), key = pair, value = STR("");
        ptrdiff_t equals = str_chr(pair, '=');
        if (equals >= 0) {
            key = str_sub(pair, 0, (size_t)equals);
            value = str_from(pair, (size_t)equals + 1);
        }
        // A pair with a broken escape is dropped, as Go's url.Query does.
        if (!http_percent_decode(a, key, true, false, &key) || !str_eq(key, want) || !key.n)
            continue;
        if (!http_percent_decode(a, value, true, false, &value))
            continue;
        if (i-- == 0)
            return value.n ? value : STR("");
    }
    return STR_NULL;
}

int http_split_target(struct arena *a, struct http_request *r, const char **ret_why)
{
    struct str target = r->target;
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    for (int i = 0; i < 2 && !str_starts(target, STR("/")); i++) {
        if (!str_starts(target, schemes[i]))
            continue;
        // absolute-form, which proxies send: the target's host wins (RFC 9112 3.2.2).
        struct str rest = str_from(target, schemes[i].n);
        size_t end = 0;
        while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
            end++;
        r->host = str_sub(rest, 0, end);
        target = str_from(rest, end);
        if (!target.n || target.p[0] == '?') {
            char *with_slash = arena_alloc(a, target.n + 1);
            with_slash[0] = '/';
            if (target.n)
                memcpy(with_slash + 1, target.p, target.n);
            target = str_n(with_slash, target.n + 1);
        }
    }
    *ret_why = "malformed request target";
    if (!target.n ||
        (target.p[0] != '/' && !(str_eq(target, STR("*")) && str_eq(r->method, STR("OPTIONS")))))
        return 400;
    if (str_chr(target, '#') >= 0)
        return 400;
    ptrdiff_t question = str_chr(target, '?');
    r->raw_path = question < 0 ? target : str_sub(target, 0, (size_t)question);
    r->query = question < 0 ? STR_NULL : str_from(target, (size_t)question + 1);
    if (!http_percent_decode(a, r->raw_path, false, true, &r->path)) {
        *ret_why = "invalid URL escape in the request target";
        return 400;
    }
    return 0;
}

void http_date(int64_t real_ns, char out[29])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(real_ns / 1000000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[64];
    int year = tm.tm_year + 1900;
    snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + tm.tm_wday * 3,
             tm.tm_mday % 100, months + tm.tm_mon * 3, year % 10000, tm.tm_hour % 100,
             tm.tm_min % 100, tm.tm_sec % 100);
    memcpy(out, text, 29);
}

static const struct {
    int status;
    const char *text;
} statuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Request Entity Too Large"},
    {414, "Request URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Requested Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Entity"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_status_text(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return "";
}
