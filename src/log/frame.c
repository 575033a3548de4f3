// See the header for the layout.
#include "log/frame.h"
#include "base/err.h"
#include "log/crc32c.h"
#include <endian.h>

enum { SEGMENT_FORMAT = 2, MARK_FORMAT = 1 };
static const char segment_magic[8] = "coracleW", mark_magic[8] = "coracleM";
static const uint32_t frame_magic = 0x31465743; // "CWF1"

void frame_put32(char *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, 4);
}

void frame_put64(char *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, 8);
}

uint32_t frame_get32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return le32toh(v);
}

uint64_t frame_get64(const char *at)
{
    uint64_t v;
    memcpy(&v, at, 8);
    return le64toh(v);
}

// What headers and marks have in common: magic, format, CRC, numbers.
static void block_write(char *out, size_t size, const char magic[8], uint32_t format,
                        const uint64_t *numbers, size_t n)
{
    memset(out, 0, size);
    memcpy(out, magic, 8);
    frame_put32(out + 8, format);
    for (size_t i = 0; i < n; i++)
        frame_put64(out + 16 + i * 8, numbers[i]);
    frame_put32(out + 12, crc32c(0, out + 16, size - 16));
}

static bool block_read(struct str bytes, size_t size, const char magic[8])
{
    return bytes.n >= size && memcmp(bytes.p, magic, 8) == 0 &&
           frame_get32(bytes.p + 12) == crc32c(0, bytes.p + 16, size - 16);
}

void segment_header_write(char out[SEGMENT_HEADER], const struct segment_header *h)
{
    const uint64_t numbers[] = {h->sequence, h->first, h->salt, h->size};
    block_write(out, SEGMENT_HEADER, segment_magic, SEGMENT_FORMAT, numbers, 4);
}

bool segment_header_read(struct str bytes, struct segment_header *ret)
{
    if (!block_read(bytes, SEGMENT_HEADER, segment_magic))
        return false;
    const char *p = bytes.p;
    uint32_t format = frame_get32(p + 8);
    if (format < 1 || format > SEGMENT_FORMAT)
        return false;
    *ret = (struct segment_header){frame_get64(p + 16), frame_get64(p + 24), frame_get64(p + 32),
                                   format > 1 ? frame_get64(p + 40) : 0, format};
    return true;
}

void mark_write(char out[MARK_BYTES], const struct mark *m)
{
    const uint64_t numbers[] = {m->counter, m->sequence, m->offset, m->last};
    block_write(out, MARK_BYTES, mark_magic, MARK_FORMAT, numbers, 4);
}

bool mark_read(struct str bytes, struct mark *ret)
{
    if (!block_read(bytes, MARK_BYTES, mark_magic) || frame_get32(bytes.p + 8) != MARK_FORMAT)
        return false;
    const char *p = bytes.p;
    *ret = (struct mark){frame_get64(p + 16), frame_get64(p + 24), frame_get64(p + 32),
                         frame_get64(p + 40)};
    return true;
}

static uint32_t frame_crc(const char *frame, size_t size, uint64_t salt)
{
    char s[8];
    frame_put64(s, salt);
    return crc32c(crc32c(0, s, 8), frame + 8, size - 8);
}

void frame_begin(struct buf *b)
{
    buf_reset(b);
    memset(buf_reserve(b, FRAME_HEADER), 0, FRAME_HEADER);
    b->n = FRAME_HEADER;
}

void frame_end(struct buf *b, uint64_t first, uint64_t last, uint32_t word)
{
    static const char zeros[8];
    buf_add(b, zeros, -b->n & 7);
    BUG_ON(!buf_ok(b) || last < first);
    frame_put32(b->p, frame_magic);
    frame_put64(b->p + 8, b->n);
    frame_put64(b->p + 16, first);
    frame_put32(b->p + 24, (uint32_t)(last - first + 1));
    frame_put32(b->p + 28, word);
}

void frame_seal(struct buf *b, uint64_t salt)
{
    frame_put32(b->p + 4, frame_crc(b->p, b->n, salt));
}

bool frame_read(struct str bytes, uint64_t salt, struct frame *ret)
{
    const char *p = bytes.p;
    if (bytes.n < FRAME_HEADER || frame_get32(p) != frame_magic)
        return false;
    uint64_t size = frame_get64(p + 8), first = frame_get64(p + 16);
    uint32_t numbers = frame_get32(p + 24);
    if (size < FRAME_HEADER || size > bytes.n || size % 8 || !numbers || !first ||
        first > UINT64_MAX - numbers || frame_get32(p + 4) != frame_crc(p, size, salt))
        return false;
    *ret = (struct frame){
        .first = first,
        .last = first + numbers - 1,
        .word = frame_get32(p + 28),
        .size = size,
        .payload = {p + FRAME_HEADER, size - FRAME_HEADER},
    };
    return true;
}
