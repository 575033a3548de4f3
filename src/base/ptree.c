// The persistent map: a B+tree of up to 32 slots a node, whose nodes are reference-counted and
// shared between versions.
//
// One routine does all writing. It consumes a reference to a version and gives one to the next: a
// node on the way down that nobody else holds (refs == 1, reached through such nodes only) is
// changed in place, any other is copied first, and the copy takes references to what it points to.
// Thus the persistent forms (ptree_put, ptree_del) are the consuming ones on one more reference:
// that reference makes the root shared, and through the copied root every node below.
//
// Keys live in the values. An inner node keeps, beside each child, the leftmost value below it
// (`first`, borrowed: the child holds the reference); so descending compares keys without walking
// down. Each change refreshes `first` on its way up, since replacing a value may free the old one.
//
// Invariants, checked by the tests through ptree_check:
//  1. every leaf has the same depth;
//  2. every node but the root has between MIN and MAX slots, an inner root at least 2;
//  3. keys ascend strictly; first[i] is the leftmost value of child i;
//  4. count is the number of values below.
//
// Splitting at the right edge leaves the left node nearly full, so that keys added in order
// (loading from disk, generated names) fill nodes to three quarters instead of a half.
//
// Memory order: taking a reference is relaxed, dropping is acquire-release, and the test for
// "nobody else" is an acquire load: it must see everything that former holders did before they let
// go.
#include "base/ptree.h"
#include "base/arena.h"
#include "base/err.h"
#include <stdatomic.h>

enum { MAX = 32, MIN = 8 };

struct ptree {
    atomic_uint refs;
    uint16_t n;
    uint16_t level; // 0: leaf
    size_t count;
    // MAX slots: values or children; an inner node has MAX `first` values behind them.
    void *slot[];
};

static void **firsts(const struct ptree *t)
{
    return (void **)t->slot + MAX;
}

static struct ptree *child(const struct ptree *t, size_t i)
{
    return t->slot[i];
}

static struct ptree *node_new(int level)
{
    struct ptree *t = mem_alloc(sizeof *t + (level ? 2 : 1) * MAX * sizeof(void *));
    atomic_init(&t->refs, 1);
    t->n = 0;
    t->level = (uint16_t)level;
    t->count = 0;
    return t;
}

// The leftmost value of a node that has slots.
static void *leftmost(const struct ptree *t)
{
    return t->level ? firsts(t)[0] : t->slot[0];
}

// Consumes a reference to t; gives a node with the same content that only the caller holds.
static struct ptree *node_own(const struct ptree_ops *ops, struct ptree *t)
{
    if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1)
        return t;
    struct ptree *c = node_new(t->level);
    c->n = t->n;
    c->count = t->count;
    memcpy(c->slot, t->slot, t->n * sizeof(void *));
    if (t->level) {
        memcpy(firsts(c), firsts(t), t->n * sizeof(void *));
        for (size_t i = 0; i < c->n; i++)
            ptree_ref(child(c, i));
    } else {
        for (size_t i = 0; i < c->n; i++)
            ops->ref(c->slot[i]);
    }
    ptree_unref(ops, t);
    return c;
}

// First slot of a leaf whose key is >= key; *ret_equal tells whether it is the key itself.
static size_t leaf_find(const struct ptree_ops *ops, const struct ptree *t, struct str key,
                        bool *ret_equal)
{
    size_t lo = 0, hi = t->n;
    *ret_equal = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(ops->key(t->slot[mid]), key);
        if (c == 0) {
            *ret_equal = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

// The child of an inner node in whose range key falls (the first, where it is before them all).
static size_t child_find(const struct ptree_ops *ops, const struct ptree *t, struct str key)
{
    size_t lo = 1, hi = t->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (str_cmp(ops->key(firsts(t)[mid]), key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo - 1;
}

static void slot_insert(struct ptree *t, size_t at, void *item, void *first)
{
    memmove(t->slot + at + 1, t->slot + at, (t->n - at) * sizeof(void *));
    t->slot[at] = item;
    if (t->level) {
        void **f = firsts(t);
        memmove(f + at + 1, f + at, (t->n - at) * sizeof(void *));
        f[at] = first;
    }
    t->n++;
}

static void slot_remove(struct ptree *t, size_t at)
{
    t->n--;
    memmove(t->slot + at, t->slot + at + 1, (t->n - at) * sizeof(void *));
    if (t->level) {
        void **f = firsts(t);
        memmove(f + at, f + at + 1, (t->n - at) * sizeof(void *));
    }
}

// Appends n slots of `from`, beginning at `at`, to `to`, and takes them out of `from`.
static void slots_move(struct ptree *to, struct ptree *from, size_t at, size_t n)
{
    memcpy(to->slot + to->n, from->slot + at, n * sizeof(void *));
    memmove(from->slot + at, from->slot + at + n, (from->n - at - n) * sizeof(void *));
    if (to->level) {
        void **t = firsts(to), **f = firsts(from);
        memcpy(t + to->n, f + at, n * sizeof(void *));
        memmove(f + at, f + at + n, (from->n - at - n) * sizeof(void *));
    }
    to->n += (uint16_t)n;
    from->n -= (uint16_t)n;
}

static void recount(struct ptree *t)
{
    t->count = t->n;
    if (t->level) {
        t->count = 0;
        for (size_t i = 0; i < t->n; i++)
            t->count += child(t, i)->count;
    }
}

// Inserts into an owned node, splitting it where it is full: returns the new right sibling or NULL.
static struct ptree *insert_split(struct ptree *t, size_t at, void *item, void *first)
{
    if (t->n < MAX) {
        slot_insert(t, at, item, first);
        return NULL;
    }
    size_t keep = at == MAX ? MAX + 1 - MIN : MAX / 2;
    struct ptree *right = node_new(t->level);
    slots_move(right, t, keep, t->n - keep);
    if (at <= keep && at != MAX)
        slot_insert(t, at, item, first);
    else
        slot_insert(right, at - keep, item, first);
    recount(t);
    recount(right);
    return right;
}

// Puts value below the owned node t; returns the right sibling of a split or NULL.
static struct ptree *put(const struct ptree_ops *ops, struct ptree *t, void *value)
{
    struct str key = ops->key(value);
    if (!t->level) {
        bool equal;
        size_t at = leaf_find(ops, t, key, &equal);
        ops->ref(value);
        if (equal) {
            ops->unref(t->slot[at]);
            t->slot[at] = value;
            return NULL;
        }
        t->count++;
        return insert_split(t, at, value, NULL);
    }
    size_t at = child_find(ops, t, key);
    struct ptree *c = t->slot[at] = node_own(ops, child(t, at));
    size_t before = c->count;
    struct ptree *right = put(ops, c, value);
    firsts(t)[at] = leftmost(c);
    if (!right) {
        t->count += c->count - before;
        return NULL;
    }
    t->count++; // a split is always an addition
    return insert_split(t, at + 1, right, leftmost(right));
}

// Brings child `at` of the owned node t, which has fewer than MIN slots, back to size: merges it
// with a neighbour, or takes from the neighbour what evens them out.
static void refill(const struct ptree_ops *ops, struct ptree *t, size_t at)
{
    size_t l = at > 0 ? at - 1 : at; // the left one of the pair
    struct ptree *left = t->slot[l] = node_own(ops, child(t, l));
    struct ptree *right = t->slot[l + 1] = node_own(ops, child(t, l + 1));
    size_t total = left->n + right->n;
    if (total <= MAX) {
        slots_move(left, right, 0, right->n);
        recount(left);
        free(right); // owned and empty
        slot_remove(t, l + 1);
    } else if (left->n < right->n) {
        slots_move(left, right, 0, right->n - total / 2);
        recount(left);
        recount(right);
        firsts(t)[l + 1] = leftmost(right);
    } else {
        size_t n = left->n - total / 2;
        // Make room at the front of right: gather both in order in a new node's place.
        memmove(right->slot + n, right->slot, right->n * sizeof(void *));
        memcpy(right->slot, left->slot + left->n - n, n * sizeof(void *));
        if (right->level) {
            void **f = firsts(right);
            memmove(f + n, f, right->n * sizeof(void *));
            memcpy(f, firsts(left) + left->n - n, n * sizeof(void *));
        }
        right->n += (uint16_t)n;
        left->n -= (uint16_t)n;
        recount(left);
        recount(right);
        firsts(t)[l + 1] = leftmost(right);
    }
    firsts(t)[l] = leftmost(left);
}

// Deletes key, which is there, below the owned node t.
static void del(const struct ptree_ops *ops, struct ptree *t, struct str key)
{
    t->count--;
    if (!t->level) {
        bool equal;
        size_t at = leaf_find(ops, t, key, &equal);
        BUG_ON(!equal);
        void *value = t->slot[at];
        slot_remove(t, at);
        ops->unref(value);
        return;
    }
    size_t at = child_find(ops, t, key);
    struct ptree *c = t->slot[at] = node_own(ops, child(t, at));
    del(ops, c, key);
    if (c->n)
        firsts(t)[at] = leftmost(c);
    if (c->n < MIN)
        refill(ops, t, at);
}

struct ptree *ptree_ref(struct ptree *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void ptree_unref(const struct ptree_ops *ops, struct ptree *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->n; i++) {
        if (t->level)
            ptree_unref(ops, child(t, i));
        else
            ops->unref(t->slot[i]);
    }
    free(t);
}

size_t ptree_count(const struct ptree *t)
{
    return t ? t->count : 0;
}

void ptree_put_in(const struct ptree_ops *ops, struct ptree **t, void *value)
{
    struct ptree *root = *t ? node_own(ops, *t) : node_new(0);
    struct ptree *right = put(ops, root, value);
    if (right) {
        struct ptree *top = node_new(root->level + 1);
        BUG_ON(top->level >= PTREE_DEPTH);
        slot_insert(top, 0, root, leftmost(root));
        slot_insert(top, 1, right, leftmost(right));
        recount(top);
        root = top;
    }
    *t = root;
}

bool ptree_del_in(const struct ptree_ops *ops, struct ptree **t, struct str key)
{
    if (!ptree_get(ops, *t, key))
        return false; // nothing is copied for an absent key
    struct ptree *root = node_own(ops, *t);
    del(ops, root, key);
    if (root->n == 0 || (root->level && root->n == 1)) {
        struct ptree *only = root->n ? child(root, 0) : NULL;
        free(root); // owned; its one child passes to the caller
        root = only;
    }
    *t = root;
    return true;
}

struct ptree *ptree_put(const struct ptree_ops *ops, struct ptree *t, void *value, void **ret_old)
{
    if (ret_old)
        *ret_old = ptree_get(ops, t, ops->key(value));
    struct ptree *next = ptree_ref(t);
    ptree_put_in(ops, &next, value);
    return next;
}

struct ptree *ptree_del(const struct ptree_ops *ops, struct ptree *t, struct str key,
                        void **ret_old)
{
    if (ret_old)
        *ret_old = ptree_get(ops, t, key);
    struct ptree *next = ptree_ref(t);
    ptree_del_in(ops, &next, key);
    return next;
}

void *ptree_get(const struct ptree_ops *ops, const struct ptree *t, struct str key)
{
    bool equal;
    if (!t)
        return NULL;
    while (t->level)
        t = child(t, child_find(ops, t, key));
    size_t at = leaf_find(ops, t, key, &equal);
    return equal ? t->slot[at] : NULL;
}

size_t ptree_rank(const struct ptree_ops *ops, const struct ptree *t, struct str key)
{
    size_t rank = 0;
    bool equal;
    if (!t)
        return 0;
    for (; t->level;) {
        size_t at = child_find(ops, t, key);
        for (size_t i = 0; i < at; i++)
            rank += child(t, i)->count;
        t = child(t, at);
    }
    return rank + leaf_find(ops, t, key, &equal);
}

// The value under the cursor, moving up and right while the nodes are used up.
static void *settle(struct ptree_cursor *c)
{
    int d = c->depth - 1;
    while (d >= 0 && c->at[d] >= c->node[d]->n)
        if (--d >= 0)
            c->at[d]++;
    if (d < 0) {
        c->depth = 0;
        return NULL;
    }
    for (; c->node[d]->level; d++) {
        c->node[d + 1] = child(c->node[d], c->at[d]);
        c->at[d + 1] = 0;
    }
    return c->node[d]->slot[c->at[d]];
}

void *ptree_seek(struct ptree_cursor *c, const struct ptree_ops *ops, const struct ptree *t,
                 struct str from)
{
    bool equal;
    c->ops = ops;
    c->depth = 0;
    if (!t)
        return NULL;
    for (;; t = child(t, c->at[c->depth - 1])) {
        c->node[c->depth] = t;
        c->at[c->depth++] =
            (uint16_t)(t->level ? child_find(ops, t, from) : leaf_find(ops, t, from, &equal));
        if (!t->level)
            return settle(c);
    }
}

void *ptree_next(struct ptree_cursor *c)
{
    if (!c->depth)
        return NULL;
    c->at[c->depth - 1]++;
    return settle(c);
}

// Checks the node's invariants and everything below; gives the last key.
static struct str check(const struct ptree_ops *ops, const struct ptree *t, bool root)
{
    size_t count = t->level ? 0 : t->n;
    struct str last = STR_NULL;
    BUG_ON(t->n > MAX || (!root && t->n < MIN) || (t->level && t->n < 2) || !t->n);
    for (size_t i = 0; i < t->n; i++) {
        struct str first = ops->key(t->level ? firsts(t)[i] : t->slot[i]);
        BUG_ON(i && str_cmp(last, first) >= 0);
        last = first;
        if (t->level) {
            BUG_ON(child(t, i)->level + 1 != t->level || leftmost(child(t, i)) != firsts(t)[i]);
            last = check(ops, child(t, i), false);
            count += child(t, i)->count;
        }
    }
    BUG_ON(count != t->count);
    return last;
}

void ptree_check(const struct ptree_ops *ops, const struct ptree *t)
{
    if (t)
        check(ops, t, true);
}
