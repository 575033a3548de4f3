// Arenas: bump allocation out of a short list of growing chunks.
//
// A chunk starts at 4 kB and each next one doubles up to 256 kB, so a small request costs one
// malloc and a large one few; a block larger than the next chunk gets a chunk of its own size.
//
// Under AddressSanitizer the arena turns into a debugger: every block is a heap allocation of its
// own, so that reading past a block, or after arena_done, is reported where it happens. Everything
// else behaves the same.
//
// Invariants: `chunks` lists every heap block, newest first; [at, end) lies in the newest chunk; at
// is a multiple of 16.
#include "base/arena.h"
#include "base/err.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_DEBUG 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_DEBUG 1
#endif
#endif
#ifndef ARENA_DEBUG
#define ARENA_DEBUG 0
#endif

enum { CHUNK_MIN = 4096, CHUNK_MAX = 256 * 1024, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; // usable bytes behind this header
};
_Static_assert(sizeof(struct arena_chunk) % ALIGN == 0, "blocks behind the header are aligned");

static size_t align_up(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct arena_chunk *chunk_add(struct arena *a, size_t size)
{
    struct arena_chunk *c = mem_alloc(sizeof *c + size);
    c->size = size;
    c->next = a->chunks;
    a->chunks = c;
    a->total += sizeof *c + size;
    return c;
}

static void chunks_free(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        free(c);
        c = next;
    }
}

static void *alloc_slow(struct arena *a, size_t size)
{
    size_t want = a->chunks ? a->chunks->size * 2 : CHUNK_MIN - sizeof(struct arena_chunk);
    if (want > CHUNK_MAX)
        want = CHUNK_MAX;
    if (size > want / 2 && a->chunks) {
        // A big block: its own chunk, put behind the newest, which stays open for small ones.
        struct arena_chunk *c = mem_alloc(sizeof *c + size);
        c->size = size;
        c->next = a->chunks->next;
        a->chunks->next = c;
        a->total += sizeof *c + size;
        return c + 1;
    }
    struct arena_chunk *c = chunk_add(a, align_up(size > want ? size : want));
    char *p = (char *)(c + 1);
    a->at = p + size;
    a->end = p + c->size;
    return p;
}

void arena_init(struct arena *a)
{
    *a = ARENA_INIT;
}

void arena_done(struct arena *a)
{
    chunks_free(a->chunks);
    *a = ARENA_INIT;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->chunks;
    if (ARENA_DEBUG || !keep) {
        arena_done(a);
        return;
    }
    chunks_free(keep->next);
    keep->next = NULL;
    a->at = (char *)(keep + 1);
    a->end = a->at + keep->size;
    a->total = sizeof *keep + keep->size;
}

void *arena_alloc(struct arena *a, size_t size)
{
    BUG_ON(size > SIZE_MAX / 4);
    if (ARENA_DEBUG)
        return chunk_add(a, size) + 1;
    size = align_up(size ? size : 1);
    if (size <= (size_t)(a->end - a->at)) {
        void *p = a->at;
        a->at += size;
        return p;
    }
    return alloc_slow(a, size);
}

void *arena_zalloc(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size)
{
    if (old && new_size <= old_size)
        return old;
    if (!ARENA_DEBUG && old && new_size < SIZE_MAX / 4) {
        size_t had = align_up(old_size ? old_size : 1), need = align_up(new_size);
        if ((char *)old + had == a->at && need - had <= (size_t)(a->end - a->at)) {
            a->at += need - had;
            return old;
        }
    }
    void *p = arena_alloc(a, new_size);
    if (old && old_size)
        memcpy(p, old, old_size);
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    if (!s.p)
        return STR_NULL;
    char *p = arena_alloc(a, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

char *arena_cstr(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    char small[512];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    BUG_ON(n < 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(p, small, (size_t)n + 1);
    else
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct str){p, (size_t)n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

struct str arena_join(struct arena *a, const struct str *parts, size_t n, struct str sep)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += parts[i].n + (i ? sep.n : 0);
    char *p = arena_alloc(a, total + 1), *at = p;
    for (size_t i = 0; i < n; i++) {
        if (i && sep.n)
            at = mempcpy(at, sep.p, sep.n);
        if (parts[i].n)
            at = mempcpy(at, parts[i].p, parts[i].n);
    }
    *at = 0;
    return (struct str){p, total};
}
