// The chunked transfer coding (RFC 9112 7.1) as a state machine over bytes.
//
//   SIZE -> EXTENSION -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
//                           '-(0)-> TRAILER -> TRAILER_LF -> TRAILER ... (empty line) -> END
//
// Extensions and trailers are skipped, at most EXTRA_MAX bytes of them in a whole body. Lines end
// with CRLF and nothing else: a lenient LF is how two parsers come to disagree about where a body
// ends.
#include "wire/http_parse.h"

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER,
    TRAILER_LF,
    END_LF,
    END
};
enum { EXTRA_MAX = 16 << 10, MAX_DIGITS = 15 };

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

int http_chunked_next(struct http_chunked *c, struct str *in, struct str *part)
{
    while (in->n) {
        if (c->state == END)
            return 2;
        if (c->state == DATA) {
            size_t take = in->n < c->left ? in->n : (size_t)c->left;
            *part = str_n(in->p, take);
            *in = str_n(in->p + take, in->n - take);
            c->left -= take;
            if (!c->left)
                c->state = DATA_CR;
            return 1;
        }
        unsigned char ch = (unsigned char)*in->p;
        *in = str_n(in->p + 1, in->n - 1);
        switch (c->state) {
        case SIZE: {
            int digit = hex(ch);
            if (digit >= 0) {
                if (++c->digits > MAX_DIGITS)
                    return -1;
                c->left = c->left << 4 | (unsigned)digit;
                break;
            }
            if (!c->digits)
                return -1;
            if (ch == '\r')
                c->state = SIZE_LF;
            else if (ch == ';' || ch == ' ' || ch == '\t')
                c->state = EXTENSION;
            else
                return -1;
            break;
        }
        case EXTENSION:
            if (ch == '\r')
                c->state = SIZE_LF;
            else if (ch == '\n' || ch == 0 || ++c->extra > EXTRA_MAX)
                return -1;
            break;
        case SIZE_LF:
            if (ch != '\n')
                return -1;
            c->state = c->left ? DATA : TRAILER_START;
            c->digits = 0;
            break;
        case DATA_CR:
            if (ch != '\r')
                return -1;
            c->state = DATA_LF;
            break;
        case DATA_LF:
            if (ch != '\n')
                return -1;
            c->state = SIZE;
            break;
        case TRAILER_START:
            c->state = ch == '\r' ? END_LF : TRAILER;
            if (ch == '\n' || ++c->extra > EXTRA_MAX)
                return -1;
            break;
        case TRAILER:
            if (ch == '\r')
                c->state = TRAILER_LF;
            else if (ch == '\n' || ch == 0 || ++c->extra > EXTRA_MAX)
                return -1;
            break;
        case TRAILER_LF:
            if (ch != '\n')
                return -1;
            c->state = TRAILER_START;
            break;
        case END_LF:
            if (ch != '\n')
                return -1;
            c->state = END;
            return 2;
        }
    }
    return c->state == END ? 2 : 0;
}
