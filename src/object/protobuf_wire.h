// The wire format of protobuf, as far as both directions of protobuf.h need it.
#pragma once
#include "base/buf.h"

enum wire_type { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_FIXED32 };

struct wire_field {
    uint32_t number;
    uint8_t type;
    uint64_t varint;  // WIRE_VARINT; the bits of FIXED64 and FIXED32
    struct str bytes; // WIRE_BYTES
};
// Takes the next field off *in. 1: there is one; 0: the end; -1: malformed. Groups are skipped
// whole.
int wire_next(struct str *in, struct wire_field *ret);

void wire_put_varint(struct buf *b, uint64_t v);
static inline void wire_put_tag(struct buf *b, unsigned number, enum wire_type type)
{
    wire_put_varint(b, number << 3 | type);
}
static inline void wire_put_bytes(struct buf *b, unsigned number, struct str s)
{
    wire_put_tag(b, number, WIRE_BYTES);
    wire_put_varint(b, s.n);
    buf_str(b, s);
}
// A nested message: open, write its fields, close with what open returned.
size_t wire_open(struct buf *b, unsigned number);
void wire_close(struct buf *b, size_t opened);
