// The change log in memory: what happened to which key since the floor, for watches from a revision
// and for ranges at an old one. A chain of immutable-once-written blocks, so that a reader that
// took a position under the lock goes on reading without it, while the writer appends and forgets.
//
// Locking: every function here needs the lock of the owner (mvcc.lock), except span_next and
// span_done, which any thread may call on its own span.
#pragma once
#include "base/blob.h"
#include "base/str.h"

// One key at one revision: immutable, shared by the index, the history and readers.
struct entry {
    atomic_uint refs;
    uint32_t key_n;
    uint64_t create_revision, mod_revision, version;
    struct blob *value;
    char key[];
};
struct entry *entry_new(struct str key, struct blob *value, uint64_t create_revision,
                        uint64_t mod_revision, uint64_t version); // takes a reference to value
struct entry *entry_ref(struct entry *e);                         // NULL gives NULL
void entry_unref(struct entry *e);                                // NULL is nothing
static inline struct str entry_key(const struct entry *e)
{
    return (struct str){e->key, e->key_n};
}

// One change: `now` is NULL where the key was deleted, `before` where it did not exist.
struct change {
    uint64_t revision;
    struct entry *now, *before;
};
static inline struct str change_key(const struct change *c)
{
    return entry_key(c->now ? c->now : c->before);
}

struct history_block;
struct history {
    struct history_block *head, *tail; // never NULL
    size_t events, bytes;              // held now
    size_t max_events, max_bytes;
    uint64_t floor; // changes after this revision are all here
};
void history_init(struct history *h, uint64_t floor, size_t max_events, size_t max_bytes);
void history_done(struct history *h);
// Appends; takes over the references that c holds.
void history_append(struct history *h, const struct change *c);
// Forgets what is past the limits, or up to and including `floor`; returns a chain to give to
// history_free outside the lock.
struct history_block *history_trim(struct history *h);
struct history_block *history_forget(struct history *h, uint64_t floor);
void history_free(struct history_block *until_forgotten);

// A position in the log and what follows it. What span_next gives stays valid until span_done.
struct history_span {
    struct history_block *first; // referenced
    struct history_block *block;
    uint32_t at;
    size_t left; // changes to give out; SIZE_MAX: all there are (the appending thread only)
};
// From the first change after `after`, which is not below the floor, to the present.
void history_span(const struct history *h, uint64_t after, struct history_span *ret);
const struct change *span_next(struct history_span *s); // NULL at the end
void span_done(struct history_span *s);
