// Hash map from string to pointer, open addressing, insertion not ordered. Keys are copied into the
// map. Values are the caller's. Not thread-safe.
#pragma once
#include "base/str.h"

struct map_slot {
    char *key; // heap, NULL: empty
    uint32_t key_n;
    uint32_t hash;
    void *value;
};
struct map {
    struct map_slot *slots;
    size_t n, cap; // cap: power of two or 0
};
#define MAP_INIT ((struct map){0})
void map_done(struct map *m); // frees keys, not values
void *map_get(const struct map *m, struct str key);
bool map_has(const struct map *m, struct str key);
// Sets, returns the former value or NULL.
void *map_set(struct map *m, struct str key, void *value);
// Removes, returns the value or NULL.
void *map_del(struct map *m, struct str key);
// Iteration: for (struct map_slot *s = map_next(m, NULL); s; s = map_next(m, s)). No change of the
// map meanwhile except through s->value.
struct map_slot *map_next(const struct map *m, struct map_slot *after);
#define map_each(m, s) for (struct map_slot *s = map_next((m), NULL); s; s = map_next((m), s))
