// Persistent ordered map: string key -> reference-counted value, as an immutable B+tree with path
// copying. A version (root) never changes; a writer makes the next version from it at O(log n)
// copied nodes, readers keep whichever version they took for as long as they want: that is what
// makes a paged LIST consistent and free for writers. Any thread may read a version that it holds a
// reference to; one thread at a time makes new versions of one tree.
#pragma once
#include "base/str.h"

struct ptree; // one version; NULL is the empty tree

struct ptree_ops {
    void (*ref)(void *value);
    void (*unref)(void *value);
    struct str (*key)(const void *value); // the key lives in the value
};

struct ptree *ptree_ref(struct ptree *t);
void ptree_unref(const struct ptree_ops *ops, struct ptree *t);
size_t ptree_count(const struct ptree *t); // values in this version; O(1)

// A new version with value added or replaced (takes its own reference); the old one stays as it is.
// *ret_old (optional) is the replaced value, borrowed from `t`.
struct ptree *ptree_put(const struct ptree_ops *ops, struct ptree *t, void *value, void **ret_old);
// A new version without key (t itself with one more reference, where it was absent).
struct ptree *ptree_del(const struct ptree_ops *ops, struct ptree *t, struct str key,
                        void **ret_old);
// Consuming forms for a writer that owns its version: nodes that nobody else holds are changed in
// place, so a batch of writes copies each node once.
void ptree_put_in(const struct ptree_ops *ops, struct ptree **t, void *value);
bool ptree_del_in(const struct ptree_ops *ops, struct ptree **t, struct str key);

void *ptree_get(const struct ptree_ops *ops, const struct ptree *t, struct str key); // borrowed
// Number of keys < key: for remainingItemCount. O(log n).
size_t ptree_rank(const struct ptree_ops *ops, const struct ptree *t, struct str key);

// Cursor: borrowed from the version, which must stay referenced.
#define PTREE_DEPTH 12
struct ptree_cursor {
    const struct ptree_ops *ops;
    const struct ptree *node[PTREE_DEPTH];
    uint16_t at[PTREE_DEPTH];
    int depth;
};
// Positions at the first key >= from; returns its value or NULL at the end.
void *ptree_seek(struct ptree_cursor *c, const struct ptree_ops *ops, const struct ptree *t,
                 struct str from);
void *ptree_next(struct ptree_cursor *c);

// Crashes where an invariant of the structure does not hold. O(n), for tests.
void ptree_check(const struct ptree_ops *ops, const struct ptree *t);
