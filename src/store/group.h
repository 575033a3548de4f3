// A group: the transactions that are committed together with one fsync, as the changes they make.
// Conditions are checked in order, each transaction seeing those before it in the group, against
// the index without touching it; nothing is visible before the log has the group. So a group whose
// commit fails is simply dropped.
#pragma once
#include "store/mvcc.h"

struct group {
    struct mvcc *mvcc;
    struct change *changes; // in revision order; references are the group's until taken
    size_t n, cap;
    uint32_t *slots;   // hash of key -> index of its latest change + 1
    size_t nslots;     // power of two, at least twice cap
    uint64_t revision; // after the group
    size_t bytes;      // of keys and values, for bounding a group
};
void group_init(struct group *g, struct mvcc *m);
void group_done(struct group *g);
// Starts an empty group on the present revision.
void group_start(struct group *g);
// Checks t and adds its changes; sets t->result (OK or CONFLICT), t->revision, t->conflict. The
// result holds only if the group commits.
void group_add(struct group *g, struct store_txn *t);
// Forgets the changes; drops their references unless mvcc_apply took them.
void group_clear(struct group *g, bool taken);
