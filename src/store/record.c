// See the header for the layout.
#include "store/record.h"

enum { CHANGE_HEADER = 32 };

static size_t align8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

void record_write(struct buf *b, const struct change *changes, size_t n, uint64_t first)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += align8(CHANGE_HEADER + change_key(&changes[i]).n +
                       blob_view(changes[i].now ? changes[i].now->value : NULL).n);
    char *at = buf_reserve(b, size);
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &changes[i];
        const struct entry *e = c->now ? c->now : c->before;
        struct str key = change_key(c), value = blob_view(c->now ? c->now->value : NULL);
        frame_put32(at, (uint32_t)(c->revision - first));
        frame_put32(at + 4, c->now ? 0 : 1);
        frame_put32(at + 8, (uint32_t)key.n);
        frame_put32(at + 12, (uint32_t)value.n);
        frame_put64(at + 16, e->create_revision);
        frame_put64(at + 24, e->version);
        char *end = at + align8(CHANGE_HEADER + key.n + value.n);
        at = mempcpy(at + CHANGE_HEADER, key.p, key.n);
        if (value.n)
            at = mempcpy(at, value.p, value.n);
        memset(at, 0, (size_t)(end - at));
        at = end;
    }
    b->n += size;
}

struct record_reader record_read(const struct frame *f)
{
    return (struct record_reader){f, f->payload, f->word};
}

int record_next(struct record_reader *r, struct record *ret)
{
    if (r->left == 0)
        return r->rest.n ? -1 : 0;
    const struct frame *f = r->frame;
    const char *p = r->rest.p;
    if (r->rest.n < CHANGE_HEADER)
        return -1;
    uint32_t offset = frame_get32(p), op = frame_get32(p + 4), key_n = frame_get32(p + 8),
             value_n = frame_get32(p + 12);
    size_t size = align8(CHANGE_HEADER + (size_t)key_n + value_n);
    if (size > r->rest.n || offset > f->last - f->first || op > 1 || (op == 1 && value_n))
        return -1;
    *ret = (struct record){
        .revision = f->first + offset,
        .create_revision = frame_get64(p + 16),
        .version = frame_get64(p + 24),
        .deleted = op == 1,
        .key = {p + CHANGE_HEADER, key_n},
        .value = {p + CHANGE_HEADER + key_n, value_n},
    };
    if (!ret->version || ret->create_revision > ret->revision || !ret->create_revision)
        return -1;
    r->rest = str_from(r->rest, size);
    r->left--;
    return 1;
}
