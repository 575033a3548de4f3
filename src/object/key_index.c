// Open addressing over positions; at most half full. See key_index.h for why it exists.
#include "object/key_index.h"

static bool same(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

// The slot of key, or the empty one where it would go.
static uint32_t *slot_of(const struct key_index *x, struct str key)
{
    uint32_t mask = x->nslots - 1;
    for (uint32_t i = (uint32_t)str_hash(key) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &x->slots[i];
        if (*slot == 0 || same(x->keys[*slot - 1], key))
            return slot;
    }
}

static void grow(struct key_index *x)
{
    uint32_t cap = x->cap ? x->cap * 2 : KEY_INDEX_SMALL;
    if (!x->cap) {
        x->keys = x->small;
        x->cap = cap;
        return;
    }
    if (x->keys == x->small) {
        x->keys = mem_alloc(cap * sizeof *x->keys);
        memcpy(x->keys, x->small, sizeof x->small);
    } else {
        x->keys = mem_realloc(x->keys, cap * sizeof *x->keys);
    }
    x->cap = cap;
    free(x->slots);
    x->nslots = cap * 2;
    x->slots = mem_zalloc(x->nslots * sizeof *x->slots);
    for (uint32_t i = 0; i < x->n; i++)
        *slot_of(x, x->keys[i]) = i + 1;
}

ptrdiff_t key_index_find(const struct key_index *x, struct str key)
{
    if (x->slots)
        return (ptrdiff_t)*slot_of(x, key) - 1;
    for (uint32_t i = 0; i < x->n; i++)
        if (same(x->keys[i], key))
            return i;
    return -1;
}

ptrdiff_t key_index_add(struct key_index *x, struct str key)
{
    if (x->n == x->cap)
        grow(x);
    if (x->slots) {
        uint32_t *slot = slot_of(x, key);
        if (*slot)
            return *slot - 1;
        *slot = x->n + 1;
    } else {
        ptrdiff_t at = key_index_find(x, key);
        if (at >= 0)
            return at;
    }
    x->keys[x->n++] = key;
    return -1;
}

void key_index_object(struct key_index *x, const struct value *object)
{
    value_each_field (object, m)
        key_index_add(x, m->key);
}

void key_index_done(struct key_index *x)
{
    if (x->keys != x->small)
        free(x->keys);
    free(x->slots);
    *x = KEY_INDEX_INIT;
}
