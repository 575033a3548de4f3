// Arena: memory with one lifetime (a request, a reconcile, a render), freed whole. Not thread-safe:
// one arena, one thread at a time. Allocation never returns NULL: small fixed allocations abort on
// exhaustion (restart is safe and tested); sizes chosen by outsiders are bounded before they come
// here. Memory is zeroed only by arena_zalloc.
#pragma once
#include "base/str.h"
#include <stdarg.h>
#include <stdlib.h>

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; // newest first
    char *at, *end;
    size_t total; // bytes asked of the heap
};

#define ARENA_INIT ((struct arena){0})
void arena_init(struct arena *a);
void arena_done(struct arena *a);
// Forget everything but keep one chunk for reuse.
void arena_reset(struct arena *a);

void *arena_alloc(struct arena *a, size_t size); // aligned to 16
void *arena_zalloc(struct arena *a, size_t size);
#define arena_new(a, type)      ((type *)arena_zalloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_zalloc((a), sizeof(type) * (size_t)(n)))
// Grows an array made by arena_alloc (in place where it is the newest block).
void *arena_grow(struct arena *a, void *old, size_t old_size, size_t new_size);

struct str arena_str(struct arena *a, struct str s); // a copy
char *arena_cstr(struct arena *a, struct str s);     // a copy with NUL
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap);
struct str arena_join(struct arena *a, const struct str *parts, size_t n, struct str sep);

#define _cleanup_arena_ __attribute__((cleanup(arena_done)))

// Heap with abort on exhaustion, for what outlives arenas. Free with free().
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_cstr(struct str s);     // heap copy with NUL
struct str mem_str(struct str s); // heap copy; free((char *)s.p)
static inline void mem_freep(void *pp)
{
    free(*(void **)pp);
}
#define _cleanup_free_ __attribute__((cleanup(mem_freep)))
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })
