// An index over keys: key -> position, for the places where each key of one object is looked up in
// another and the number of keys is an outsider's choice. Up to KEY_INDEX_SMALL keys it only scans;
// above that it hashes with base's keyed hash, so that chosen keys cannot collide on purpose.
//
//     _cleanup_key_index_ struct key_index index = KEY_INDEX_INIT;
//     key_index_object(&index, object);
//     ptrdiff_t at = key_index_find(&index, key);     // -1: absent
//
// Or one by one (a reader that looks for duplicates): key_index_add, which says where a key already
// stands. Keys are borrowed.
#pragma once
#include "object/value.h"

#define KEY_INDEX_SMALL 16

struct key_index {
    struct str *keys; // by position
    uint32_t n, cap;
    uint32_t *slots; // position + 1, or 0; NULL while small
    uint32_t nslots; // power of two
    struct str small[KEY_INDEX_SMALL];
};
#define KEY_INDEX_INIT      ((struct key_index){0})
#define _cleanup_key_index_ __attribute__((cleanup(key_index_done)))

void key_index_done(struct key_index *x);
// Adds key at the next position and returns -1; or, where it is there already, its position.
ptrdiff_t key_index_add(struct key_index *x, struct str key);
ptrdiff_t key_index_find(const struct key_index *x, struct str key);
// All keys of an object (which has no duplicates): positions are those of the members.
void key_index_object(struct key_index *x, const struct value *object);
