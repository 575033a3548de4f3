// Hash map: linear probing, load at most 3/4, deletion by shifting back (no tombstones, so a map
// that lives long does not rot). Growth rehashes by the stored hash, never by the key.
#include "base/map.h"
#include "base/arena.h"

// The slot that holds key, or the empty one where it would go. The map has a free slot.
static struct map_slot *find(const struct map *m, struct str key, uint32_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];
        if (!s->key || (s->hash == hash && str_eq(str_n(s->key, s->key_n), key)))
            return s;
    }
}

static void rehash(struct map *m, size_t cap)
{
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;
    m->slots = mem_zalloc(cap * sizeof *m->slots);
    m->cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        if (!old[i].key)
            continue;
        size_t at = old[i].hash & (cap - 1);
        while (m->slots[at].key)
            at = (at + 1) & (cap - 1);
        m->slots[at] = old[i];
    }
    free(old);
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    *m = MAP_INIT;
}

void *map_get(const struct map *m, struct str key)
{
    if (!m->n)
        return NULL;
    return find(m, key, (uint32_t)str_hash(key))->value;
}

bool map_has(const struct map *m, struct str key)
{
    return m->n && find(m, key, (uint32_t)str_hash(key))->key;
}

void *map_set(struct map *m, struct str key, void *value)
{
    if (m->n + 1 > m->cap / 4 * 3)
        rehash(m, m->cap ? m->cap * 2 : 8);
    uint32_t hash = (uint32_t)str_hash(key);
    struct map_slot *s = find(m, key, hash);
    void *old = s->value;
    if (!s->key) {
        *s = (struct map_slot){.key = mem_cstr(key), .key_n = (uint32_t)key.n, .hash = hash};
        m->n++;
    }
    s->value = value;
    return old;
}

void *map_del(struct map *m, struct str key)
{
    if (!m->n)
        return NULL;
    struct map_slot *s = find(m, key, (uint32_t)str_hash(key));
    if (!s->key)
        return NULL;
    void *old = s->value;
    free(s->key);
    // Close the hole: move up each follower whose home is not between the hole and itself.
    size_t hole = (size_t)(s - m->slots), mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    m->n--;
    return old;
}

struct map_slot *map_next(const struct map *m, struct map_slot *after)
{
    for (size_t i = after ? (size_t)(after - m->slots) + 1 : 0; i < m->cap; i++)
        if (m->slots[i].key)
            return &m->slots[i];
    return NULL;
}
