// See the header for the layout.
#include "store/frame.h"
#include "base/err.h"
#include "store/crc32c.h"
#include <endian.h>

enum { CHANGE_HEADER = 32, FORMAT = 1 };
static const char segment_magic[8] = "coracleW";
static const uint32_t frame_magic = 0x31465743; // "CWF1"

static void put32(char *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, 4);
}

static void put64(char *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, 8);
}

static uint32_t get32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return le32toh(v);
}

static uint64_t get64(const char *at)
{
    uint64_t v;
    memcpy(&v, at, 8);
    return le64toh(v);
}

static size_t align8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

void segment_header_write(char out[SEGMENT_HEADER], const struct segment_header *h)
{
    memset(out, 0, SEGMENT_HEADER);
    memcpy(out, segment_magic, sizeof segment_magic);
    put32(out + 8, FORMAT);
    put64(out + 16, h->sequence);
    put64(out + 24, h->first_revision);
    put64(out + 32, h->salt);
    put32(out + 12, crc32c(0, out + 16, SEGMENT_HEADER - 16));
}

bool segment_header_read(struct str bytes, struct segment_header *ret)
{
    const char *p = bytes.p;
    if (bytes.n < SEGMENT_HEADER || memcmp(p, segment_magic, sizeof segment_magic) != 0 ||
        get32(p + 8) != FORMAT || get32(p + 12) != crc32c(0, p + 16, SEGMENT_HEADER - 16))
        return false;
    *ret = (struct segment_header){get64(p + 16), get64(p + 24), get64(p + 32)};
    return true;
}

static uint32_t frame_crc(const char *frame, size_t size, uint64_t salt)
{
    char s[8];
    put64(s, salt);
    return crc32c(crc32c(0, s, 8), frame + 8, size - 8);
}

void frame_write(struct buf *b, uint64_t salt, const struct change *changes, size_t n,
                 uint64_t first, uint64_t last)
{
    size_t size = FRAME_HEADER;
    for (size_t i = 0; i < n; i++)
        size += align8(CHANGE_HEADER + change_key(&changes[i]).n +
                       (changes[i].now ? changes[i].now->value->n : 0));
    char *frame = buf_reserve(b, size), *at = frame + FRAME_HEADER;
    BUG_ON(!frame);
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &changes[i];
        const struct entry *e = c->now ? c->now : c->before;
        struct str key = entry_key(e), value = c->now ? blob_view(c->now->value) : STR_NULL;
        put32(at, (uint32_t)(c->revision - first));
        put32(at + 4, c->now ? 0 : 1);
        put32(at + 8, (uint32_t)key.n);
        put32(at + 12, (uint32_t)value.n);
        put64(at + 16, e->create_revision);
        put64(at + 24, e->version);
        char *end = at + align8(CHANGE_HEADER + key.n + value.n);
        at = mempcpy(at + CHANGE_HEADER, key.p, key.n);
        if (value.n)
            at = mempcpy(at, value.p, value.n);
        memset(at, 0, (size_t)(end - at));
        at = end;
    }
    put32(frame, frame_magic);
    put64(frame + 8, size);
    put64(frame + 16, first);
    put32(frame + 24, (uint32_t)(last - first + 1));
    put32(frame + 28, (uint32_t)n);
    put32(frame + 4, frame_crc(frame, size, salt));
    b->n += size;
}

bool frame_read(struct str bytes, uint64_t salt, struct frame *ret)
{
    const char *p = bytes.p;
    if (bytes.n < FRAME_HEADER || get32(p) != frame_magic)
        return false;
    uint64_t size = get64(p + 8), first = get64(p + 16);
    uint32_t revisions = get32(p + 24);
    if (size < FRAME_HEADER || size > bytes.n || size % 8 || !revisions || !first ||
        first > UINT64_MAX - revisions || get32(p + 4) != frame_crc(p, size, salt))
        return false;
    *ret = (struct frame){
        .first = first,
        .last = first + revisions - 1,
        .size = size,
        .changes = get32(p + 28),
        .rest = {p + FRAME_HEADER, size - FRAME_HEADER},
        .left = get32(p + 28),
    };
    return true;
}

int frame_next(struct frame *f, struct frame_change *ret)
{
    if (f->left == 0)
        return f->rest.n ? -1 : 0;
    const char *p = f->rest.p;
    if (f->rest.n < CHANGE_HEADER)
        return -1;
    uint32_t offset = get32(p), op = get32(p + 4), key_n = get32(p + 8), value_n = get32(p + 12);
    size_t size = align8(CHANGE_HEADER + (size_t)key_n + value_n);
    if (size > f->rest.n || offset > f->last - f->first || op > 1 || (op == 1 && value_n))
        return -1;
    *ret = (struct frame_change){
        .revision = f->first + offset,
        .create_revision = get64(p + 16),
        .version = get64(p + 24),
        .deleted = op == 1,
        .key = {p + CHANGE_HEADER, key_n},
        .value = {p + CHANGE_HEADER + key_n, value_n},
    };
    if (!ret->version || ret->create_revision > ret->revision || !ret->create_revision)
        return -1;
    f->rest = str_from(f->rest, size);
    f->left--;
    return 1;
}
