// RFC 4648 section 4. Padding is required, and nothing may come behind it.
#include "object/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *b, struct str s)
{
    char *out = buf_reserve(b, (s.n + 2) / 3 * 4);
    if (!out)
        return;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i += 3) {
        size_t have = s.n - i < 3 ? s.n - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < have ? (unsigned char)s.p[i + k] : 0);
        out[n++] = alphabet[v >> 18];
        out[n++] = alphabet[v >> 12 & 63];
        out[n++] = have > 1 ? alphabet[v >> 6 & 63] : '=';
        out[n++] = have > 2 ? alphabet[v & 63] : '=';
    }
    b->n += n;
}

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(struct buf *b, struct str text)
{
    char *out = buf_reserve(b, text.n / 4 * 3 + 3);
    if (!out)
        return false;
    size_t n = 0, digits = 0, pads = 0, i = 0;
    uint32_t v = 0;
    for (; i < text.n && !(pads && digits % 4 == 0); i++) {
        char c = text.p[i];
        if (c == '\r' || c == '\n')
            continue;
        if (c == '=' && digits % 4 >= 2) {
            pads++;
            digits++;
            continue;
        }
        int d = digit(c);
        if (d < 0 || pads)
            return false;
        v = v << 6 | (uint32_t)d;
        if (++digits % 4 == 0) {
            out[n++] = (char)(v >> 16);
            out[n++] = (char)(v >> 8);
            out[n++] = (char)v;
        }
    }
    for (; i < text.n; i++)
        if (text.p[i] != '\r' && text.p[i] != '\n')
            return false;
    if (digits % 4 != 0)
        return false;
    if (pads == 1) {
        out[n++] = (char)(v >> 10);
        out[n++] = (char)(v >> 2);
    } else if (pads == 2) {
        out[n++] = (char)(v >> 4);
    }
    b->n += n;
    return true;
}
