// Shared bytes. Memory order: taking a reference needs none of its own (who takes one already has
// one); the last drop must see all that other holders did with the bytes, hence acquire-release.
#include "base/blob.h"
#include "base/arena.h"
#include "base/err.h"

struct blob *blob_alloc(size_t n)
{
    BUG_ON(n > UINT32_MAX - 1);
    struct blob *b = mem_alloc(sizeof *b + n + 1);
    atomic_init(&b->refs, 1);
    b->n = (uint32_t)n;
    b->p[n] = 0;
    return b;
}

struct blob *blob_new(struct str bytes)
{
    struct blob *b = blob_alloc(bytes.n);
    if (bytes.n)
        memcpy(b->p, bytes.p, bytes.n);
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}
