// The change log in memory. Blocks of 128 changes, chained oldest to newest; each holds a reference
// to the next, a reader's span one to the block it began in, so whatever follows lives as long as
// the reader. Forgetting drops the reference to the oldest block.
//
// What an event costs is counted in bytes too (the value it keeps alive, which nobody else may need
// any more): a hundred thousand events of big objects must not become a gigabyte.
#include "store/history.h"
#include "base/arena.h"
#include "base/err.h"

enum { BLOCK = 128 };

struct history_block {
    atomic_uint refs;
    uint32_t n;
    struct history_block *next;
    size_t bytes;
    struct change changes[BLOCK];
};

struct entry *entry_new(struct str key, struct blob *value, uint64_t create_revision,
                        uint64_t mod_revision, uint64_t version)
{
    struct entry *e = mem_alloc(sizeof *e + key.n);
    atomic_init(&e->refs, 1);
    e->key_n = (uint32_t)key.n;
    e->create_revision = create_revision;
    e->mod_revision = mod_revision;
    e->version = version;
    e->value = blob_ref(value);
    if (key.n)
        memcpy(e->key, key.p, key.n);
    return e;
}

struct entry *entry_ref(struct entry *e)
{
    if (e)
        atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void entry_unref(struct entry *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    blob_unref(e->value);
    free(e);
}

static struct history_block *block_new(void)
{
    struct history_block *b = mem_alloc(sizeof *b);
    atomic_init(&b->refs, 1);
    b->n = 0;
    b->next = NULL;
    b->bytes = 0;
    return b;
}

static struct history_block *block_ref(struct history_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

// A loop, not a recursion: a chain may be a thousand blocks long.
static void block_unref(struct history_block *b)
{
    while (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        struct history_block *next = b->next;
        for (uint32_t i = 0; i < b->n; i++) {
            entry_unref(b->changes[i].now);
            entry_unref(b->changes[i].before);
        }
        free(b);
        b = next;
    }
}

void history_init(struct history *h, uint64_t floor, size_t max_events, size_t max_bytes)
{
    *h = (struct history){.floor = floor, .max_events = max_events, .max_bytes = max_bytes};
    h->head = h->tail = block_new();
}

void history_done(struct history *h)
{
    block_unref(h->head);
    *h = (struct history){0};
}

// What the log alone may be keeping alive for this change.
static size_t change_bytes(const struct change *c)
{
    size_t n = sizeof *c;
    if (c->before)
        n += sizeof *c->before + c->before->key_n + c->before->value->n;
    return n;
}

void history_append(struct history *h, const struct change *c)
{
    struct history_block *b = h->tail;
    if (b->n == BLOCK) {
        b->next = block_new();
        b = h->tail = b->next;
    }
    size_t bytes = change_bytes(c);
    b->changes[b->n++] = *c;
    b->bytes += bytes;
    h->bytes += bytes;
    h->events++;
}

// Takes the oldest block, which is full, off the chain.
static void drop_head(struct history *h)
{
    struct history_block *b = h->head;
    h->floor = b->changes[b->n - 1].revision;
    h->events -= b->n;
    h->bytes -= b->bytes;
    h->head = b->next;
}

// Blocks from `from` to before the new head stay chained: one reference to the first frees them
// all, once the new head has a reference of its own.
static struct history_block *cut(struct history *h, struct history_block *from)
{
    if (from == h->head)
        return NULL;
    block_ref(h->head);
    return from;
}

struct history_block *history_trim(struct history *h)
{
    struct history_block *from = h->head;
    while (h->head != h->tail && (h->events > h->max_events || h->bytes > h->max_bytes))
        drop_head(h);
    return cut(h, from);
}

struct history_block *history_forget(struct history *h, uint64_t floor)
{
    struct history_block *from = h->head;
    while (h->head != h->tail && h->head->changes[h->head->n - 1].revision <= floor)
        drop_head(h);
    if (h->floor < floor)
        h->floor = floor; // the rest of a block goes when the block goes
    return cut(h, from);
}

void history_free(struct history_block *until_forgotten)
{
    block_unref(until_forgotten);
}

void history_span(const struct history *h, uint64_t after, struct history_span *ret)
{
    struct history_block *b = h->head;
    size_t before = 0;
    BUG_ON(after < h->floor);
    // Blocks are few hundred at the most; within one, changes ascend by revision.
    while (b->next && (b->n == 0 || b->changes[b->n - 1].revision <= after)) {
        before += b->n;
        b = b->next;
    }
    uint32_t lo = 0, hi = b->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (b->changes[mid].revision <= after)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = (struct history_span){block_ref(b), b, lo, h->events - before - lo};
}

// A block that has a successor is full, so the fill of the last one need not be read (it changes
// under the writer) except by the writer itself.
const struct change *span_next(struct history_span *s)
{
    if (s->left == 0)
        return NULL;
    if (s->at == BLOCK) {
        if (s->left == SIZE_MAX && !s->block->next)
            return NULL;
        s->block = s->block->next;
        s->at = 0;
    }
    if (s->left == SIZE_MAX && s->at == s->block->n)
        return NULL;
    if (s->left != SIZE_MAX)
        s->left--;
    return &s->block->changes[s->at++];
}

void span_done(struct history_span *s)
{
    block_unref(s->first);
    *s = (struct history_span){0};
}
