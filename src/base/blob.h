// Reference-counted immutable bytes: what the store keeps, the cache shares, every watcher sends.
// Any thread.
#pragma once
#include "base/str.h"
#include <stdatomic.h>

struct blob {
    atomic_uint refs;
    uint32_t n;
    char p[]; // n bytes and a NUL that n does not count
};
struct blob *blob_new(struct str bytes); // copies
struct blob *blob_alloc(size_t n);       // the maker fills p before it shares the blob
struct blob *blob_ref(struct blob *b);   // NULL gives NULL
void blob_unref(struct blob *b);         // NULL is nothing
static inline struct str blob_view(const struct blob *b)
{
    return b ? (struct str){b->p, b->n} : (struct str){0};
}
