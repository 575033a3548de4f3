// HTTP/2 frames made by hand.
#pragma once
#include "base/buf.h"
#include <string.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8 };

static inline void frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream,
                         struct str payload)
{
    buf_char(b, (char)(payload.n >> 16));
    buf_char(b, (char)(payload.n >> 8));
    buf_char(b, (char)payload.n);
    buf_char(b, (char)type);
    buf_char(b, (char)flags);
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_char(b, (char)(stream >> shift));
    buf_str(b, payload);
}

static inline void preface(struct buf *b)
{
    buf_puts(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(b, SETTINGS, 0, 0, STR_NULL);
}

// GET of a path of less than 127 characters, with static-table HPACK.
static inline void get(struct buf *b, uint32_t stream, const char *path)
{
    struct buf h = BUF_INIT;
    buf_puts(&h, "\x82\x87\x41\x01h\x04");
    buf_char(&h, (char)strlen(path));
    buf_puts(&h, path);
    frame(b, HEADERS, 5, stream, buf_view(&h)); // END_STREAM, END_HEADERS
    buf_done(&h);
}
