// The frame parser: header bytes are gathered (at most 14), payload is unmasked as it comes, into
// the message or, for control frames, which may stand between the fragments of one, into their own
// place.
#include "wire/websocket_frame.h"
#include <string.h>

void ws_parser_done(struct ws_parser *p)
{
    buf_done(&p->message);
}

void ws_mask(char *p, size_t n, const uint8_t mask[4], size_t at)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((uint8_t)p[i] ^ mask[(at + i) & 3]);
}

size_t ws_header(char out[WS_HEADER_MAX], uint8_t opcode, uint64_t n, const uint8_t *mask)
{
    size_t at = 2;
    int bytes = n < 126 ? 0 : n < 65536 ? 2 : 8;
    out[0] = (char)(0x80 | opcode);
    out[1] = (char)((mask ? 0x80 : 0) | (bytes == 0 ? (uint8_t)n : bytes == 2 ? 126 : 127));
    for (int i = bytes - 1; i >= 0; i--)
        out[at++] = (char)(n >> (8 * i));
    if (mask) {
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

bool ws_utf8(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;
    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        int more = *p >= 0xc2 && *p <= 0xdf   ? 1
                   : (*p & 0xf0) == 0xe0      ? 2
                   : *p >= 0xf0 && *p <= 0xf4 ? 3
                                              : 0;
        if (!more || end - p <= more)
            return false;
        // Over-long forms, surrogates and what is past U+10FFFF show in the second byte.
        unsigned char low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
        unsigned char high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        if (p[1] < low || p[1] > high)
            return false;
        for (int i = 2; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += more + 1;
    }
    return true;
}

static size_t header_size(const struct ws_parser *p)
{
    if (p->header_n < 2)
        return 2;
    uint8_t n = p->header[1] & 0x7f;
    return 2 + (n == 126 ? 2u : n == 127 ? 8u : 0u) + (p->header[1] & 0x80 ? 4u : 0u);
}

// The header is whole: check it. 0 or a close code.
static int take_header(struct ws_parser *p)
{
    const uint8_t *h = p->header;
    uint8_t short_n = h[1] & 0x7f;
    size_t at = 2;
    p->fin = h[0] & 0x80;
    p->opcode = h[0] & 0x0f;
    p->left = short_n;
    if (short_n >= 126) {
        p->left = 0;
        for (int bytes = short_n == 126 ? 2 : 8; bytes; bytes--)
            p->left = p->left << 8 | h[at++];
    }
    if (h[0] & 0x70 || !!(h[1] & 0x80) != p->from_client || p->left >> 63)
        return -1002;
    memset(p->mask, 0, sizeof p->mask);
    if (h[1] & 0x80)
        memcpy(p->mask, h + at, 4);
    p->mask_at = 0;
    p->header_n = 0;
    p->in_payload = true;
    if (p->opcode & 8) {
        p->control_n = 0;
        return p->opcode > WS_PONG || !p->fin || p->left > WS_CONTROL_MAX ? -1002 : 0;
    }
    if (p->opcode > WS_BINARY || (p->opcode == WS_CONTINUATION) != p->in_message)
        return -1002;
    if (p->opcode != WS_CONTINUATION) {
        p->message_opcode = p->opcode;
        p->in_message = true;
    }
    return p->left > p->max - p->message.n ? -1009 : 0;
}

int ws_parse(struct ws_parser *p, struct str *in, uint8_t *ret_opcode, struct str *ret_payload)
{
    if (p->delivered) {
        p->delivered = false;
        if (p->message.cap > 4096)
            buf_done(&p->message);
        buf_reset(&p->message);
    }
    while (in->n || (p->in_payload && !p->left)) {
        if (!p->in_payload) {
            p->header[p->header_n++] = (uint8_t)*in->p;
            *in = str_from(*in, 1);
            if (p->header_n < 2 || p->header_n < header_size(p))
                continue;
            int code = take_header(p);
            if (code < 0)
                return code;
        }
        bool control = p->opcode & 8;
        size_t take = p->left < in->n ? (size_t)p->left : in->n;
        char *to = control ? p->control + p->control_n : buf_reserve(&p->message, take);
        if (!to)
            return -1009;
        if (take)
            memcpy(to, in->p, take);
        ws_mask(to, take, p->mask, p->mask_at);
        p->mask_at = (uint8_t)((p->mask_at + take) & 3);
        p->left -= take;
        *in = str_from(*in, take);
        if (control)
            p->control_n += (uint8_t)take;
        else
            p->message.n += take;
        if (p->left)
            continue;
        p->in_payload = false;
        if (!control && !p->fin)
            continue;
        *ret_opcode = control ? p->opcode : p->message_opcode;
        *ret_payload = control ? str_n(p->control, p->control_n) : buf_view(&p->message);
        if (!control) {
            p->in_message = false;
            p->delivered = true;
            if (*ret_opcode == WS_TEXT && !ws_utf8(*ret_payload))
                return -1007;
        }
        return 1;
    }
    return 0;
}
