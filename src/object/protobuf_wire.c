// Tags, varints and lengths. A nested message is written in place behind one byte kept for its
// length; where the length takes more, the message moves by the difference, which is rare and cheap
// beside a first pass that would only measure.
#include "object/protobuf_wire.h"
#include <string.h>

static bool take_varint(struct str *in, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < in->n && i < 10; i++) {
        unsigned char c = (unsigned char)in->p[i];
        if (i == 9 && c > 1)
            return false;
        v |= (uint64_t)(c & 0x7f) << (7 * i);
        if (!(c & 0x80)) {
            in->p += i + 1;
            in->n -= i + 1;
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct str *in, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    if (in->n < n)
        return false;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | (unsigned char)in->p[i];
    in->p += n;
    in->n -= n;
    *ret = v;
    return true;
}

static bool take_one(struct str *in, struct wire_field *f)
{
    uint64_t tag, n;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
        return false;
    f->number = (uint32_t)(tag >> 3);
    f->type = tag & 7;
    f->varint = 0;
    f->bytes = STR_NULL;
    switch (f->type) {
    case WIRE_VARINT:
        return take_varint(in, &f->varint);
    case WIRE_FIXED64:
        return take_fixed(in, 8, &f->varint);
    case WIRE_FIXED32:
        return take_fixed(in, 4, &f->varint);
    case WIRE_BYTES:
        if (!take_varint(in, &n) || n > in->n)
            return false;
        f->bytes = str_n(in->p, (size_t)n);
        in->p += n;
        in->n -= (size_t)n;
        return true;
    default:
        return f->type == WIRE_GROUP || f->type == WIRE_GROUP_END;
    }
}

int wire_next(struct str *in, struct wire_field *ret)
{
    size_t groups = 0;
    while (in->n) {
        if (!take_one(in, ret))
            return -1;
        if (ret->type == WIRE_GROUP) {
            groups++;
        } else if (ret->type == WIRE_GROUP_END) {
            if (groups-- == 0)
                return -1;
        } else if (!groups) {
            return 1;
        }
    }
    return groups ? -1 : 0;
}

void wire_put_varint(struct buf *b, uint64_t v)
{
    char text[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        text[n++] = (char)(v | 0x80);
    text[n++] = (char)v;
    buf_add(b, text, n);
}

size_t wire_open(struct buf *b, unsigned number)
{
    wire_put_tag(b, number, WIRE_BYTES);
    buf_char(b, 0);
    return b->n;
}

void wire_close(struct buf *b, size_t opened)
{
    if (!buf_ok(b))
        return;
    size_t length = b->n - opened, more = 0;
    for (uint64_t v = length; v >= 0x80; v >>= 7)
        more++;
    if (more) {
        if (!buf_reserve(b, more))
            return;
        memmove(b->p + opened + more, b->p + opened, length);
        b->n += more;
    }
    uint64_t v = length;
    for (char *p = b->p + opened - 1;; p++) {
        *p = (char)(v >= 0x80 ? v | 0x80 : v);
        v >>= 7;
        if (!v)
            break;
    }
}
