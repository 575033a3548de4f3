// Six bits at a time; the API server has validated what comes here, so the reader is lenient about
// padding and strict about the alphabet.
#include "node/node_base64.h"

static int sextet(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool node_base64_decode(struct arena *a, struct str in, struct str *ret)
{
    unsigned char *out = arena_alloc(a, in.n / 4 * 3 + 3);
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '=' || c == '\n' || c == '\r')
            continue;
        int v = sextet(c);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    *ret = str_n(out, n);
    return true;
}
