// strconv.Quote and its relatives.
#include "text/go_quote.h"
#include "text/unicode.h"
#include "text/utf8.h"

bool go_printable(uint32_t c)
{
    if (c < 0x80)
        return c >= ' ' && c < 0x7f;
    return strchr("LMNPS", unicode_category(c)[0]) != NULL;
}

static void escape(struct buf *b, uint32_t c)
{
    static const char letters[] = {
        [7] = 'a', [8] = 'b', [9] = 't', [10] = 'n', [11] = 'v', [12] = 'f', [13] = 'r'};
    if (c < sizeof letters && letters[c])
        buf_printf(b, "\\%c", letters[c]);
    else if (c < ' ' || c == 0x7f)
        buf_printf(b, "\\x%02x", c);
    else if (c < 0x10000)
        buf_printf(b, "\\u%04x", c);
    else
        buf_printf(b, "\\U%08x", c);
}

static void quote(struct buf *b, struct str s, bool ascii)
{
    buf_char(b, '"');
    for (size_t at = 0, width; at < s.n; at += width) {
        uint32_t c = utf8_at(s, at, &width);
        if (c == UTF8_ERROR && width == 1)
            buf_printf(b, "\\x%02x", (unsigned char)s.p[at]);
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", (char)c);
        else if (go_printable(c) && (c < 0x80 || !ascii))
            buf_add(b, s.p + at, width);
        else
            escape(b, c);
    }
    buf_char(b, '"');
}

void go_quote(struct buf *b, struct str s)
{
    quote(b, s, false);
}

void go_quote_ascii(struct buf *b, struct str s)
{
    quote(b, s, true);
}

void go_quote_rune(struct buf *b, uint32_t c)
{
    buf_char(b, '\'');
    if (c > UTF8_MAX || (c >= 0xd800 && c < 0xe000))
        c = UTF8_ERROR;
    if (c == '\'' || c == '\\')
        buf_printf(b, "\\%c", (char)c);
    else if (go_printable(c))
        utf8_add(b, c);
    else
        escape(b, c);
    buf_char(b, '\'');
}
