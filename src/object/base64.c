// RFC 4648: section 4 with padding, which is required and may have nothing behind it; section 5
// without. The alphabets differ in their last two digits only.
#include "object/base64.h"

#define DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char standard[] = DIGITS "+/", url_safe[] = DIGITS "-_";

static void encode(struct buf *b, struct str s, const char *alphabet, bool padded)
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
        if (have > 1 || padded)
            out[n++] = have > 1 ? alphabet[v >> 6 & 63] : '=';
        if (have > 2 || padded)
            out[n++] = have > 2 ? alphabet[v & 63] : '=';
    }
    b->n += n;
}

static int digit(char c, const char *alphabet)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == alphabet[62]    ? 62
           : c == alphabet[63]    ? 63
                                  : -1;
}

void base64_encode(struct buf *b, struct str bytes)
{
    encode(b, bytes, standard, true);
}

void base64url_encode(struct buf *b, struct str bytes)
{
    encode(b, bytes, url_safe, false);
}

struct str base64_text(struct arena *a, struct str bytes)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    base64_encode(&b, bytes);
    return arena_str(a, buf_view(&b));
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
        int d = digit(c, standard);
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

bool base64_bytes(struct arena *a, struct str text, struct str *ret)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    if (!base64_decode(&b, text))
        return false;
    *ret = arena_str(a, buf_view(&b));
    return true;
}

bool base64url_decode(struct arena *a, struct str text, struct str *ret)
{
    if (text.n % 4 == 1)
        return false;
    unsigned char *out = arena_alloc(a, text.n / 4 * 3 + 3);
    size_t n = 0;
    uint32_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = digit(text.p[i], url_safe);
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
        if (i % 4 != 0)
            out[n++] = (unsigned char)(v >> (6 - 2 * (i % 4)));
    }
    uint32_t unused = text.n % 4 == 2 ? 15 : text.n % 4 == 3 ? 3 : 0;
    if ((v & unused) != 0)
        return false;
    *ret = str_n(out, n);
    return true;
}
