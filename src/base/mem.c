// The heap, with an end of the program where there is nothing left (declared in arena.h). Only
// small and bounded sizes come here, and restart is safe, so nobody handles a NULL.
#include "base/arena.h"
#include <stdio.h>

static _Noreturn void exhausted(size_t size)
{
    fprintf(stderr, "coracle: out of memory allocating %zu bytes\n", size);
    abort();
}

void *mem_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        exhausted(size);
    return p;
}

void *mem_zalloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        exhausted(size);
    return p;
}

void *mem_realloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    if (!p)
        exhausted(size);
    return p;
}

char *mem_cstr(struct str s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

struct str mem_str(struct str s)
{
    if (!s.p)
        return STR_NULL;
    char *p = mem_alloc(s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}
