// UTF-8 (RFC 3629): overlong forms, surrogates and values above U+10FFFF are malformed.
#include "text/utf8.h"

uint32_t utf8_at(struct str s, size_t at, size_t *width)
{
    const unsigned char *u = (const unsigned char *)s.p + at;
    size_t left = s.n - at;
    *width = 1;
    if (u[0] < 0x80)
        return u[0];
    size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || left < n)
        return UTF8_ERROR;
    uint32_t c = u[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return UTF8_ERROR;
        c = c << 6 | (u[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < least[n] || c > UTF8_MAX || (c >= 0xd800 && c < 0xe000))
        return UTF8_ERROR;
    *width = n;
    return c;
}

uint32_t utf8_before(struct str s, size_t end, size_t *width)
{
    struct str head = str_sub(s, 0, end);
    for (size_t n = 1; n <= 4 && n <= end; n++) {
        if (((unsigned char)s.p[end - n] & 0xc0) == 0x80)
            continue;
        uint32_t c = utf8_at(head, end - n, width);
        if (*width == n)
            return c;
        break;
    }
    *width = 1;
    return UTF8_ERROR;
}

size_t utf8_put(char out[4], uint32_t c)
{
    if (c > UTF8_MAX || (c >= 0xd800 && c < 0xe000))
        c = UTF8_ERROR;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(heads[n] | c);
    return n;
}

void utf8_add(struct buf *b, uint32_t c)
{
    char out[4];
    buf_add(b, out, utf8_put(out, c));
}

size_t utf8_count(struct str s)
{
    size_t n = 0;
    for (size_t at = 0, width; at < s.n; at += width, n++)
        utf8_at(s, at, &width);
    return n;
}

size_t utf8_offset(struct str s, size_t n)
{
    size_t at = 0;
    for (size_t width; at < s.n && n > 0; at += width, n--)
        utf8_at(s, at, &width);
    return at;
}
