// The store: keys in one order, every change with the next revision. Three implementations stand
// behind this header and pass one test suite (tests/unit/store): embedded (log + checkpoint on the
// local disk), memory (tests and simulation), etcd (later). Only the API server uses it.
//
// Model: etcd's. Keys are byte strings in Kubernetes' layout (/registry/<resource>/<ns>/<name>),
// values are shared immutable blobs. A committed transaction takes the next revision (one global,
// growing number, the first write is revision 2 as in etcd); every key knows the revision that
// created it, that changed it last, and how often it changed since it was created.
//
// Order and durability: one writer takes what is waiting, writes it to the log as one group with
// one fsync, then publishes to watchers in revision order, then completes the transactions. So when
// a transaction completes, its event has already been handed to every watcher (read your own
// write).
//
// Threads: store_txn, store_range and store_revision from any thread. Completions and watch
// callbacks run on the store's writer thread (in the memory store: on the caller's): they must not
// block and must not call store_txn synchronously waiting for it.
#pragma once
#include "base/blob.h"
#include "base/env.h"
#include "base/err.h"

struct store;

struct store_kv {
    struct str key;
    struct blob *value;
    uint64_t create_revision, mod_revision, version;
};

enum store_op { STORE_PUT, STORE_DELETE };
enum { STORE_ANY = -1 }; // expected_revision: write whatever is there

// One write with a condition: what every Kubernetes write is. Deleting what is not there, where the
// condition allows it, changes nothing and takes no revision. A Kubernetes transaction touches one
// key; a few coracle writes (allocating a Service address with the Service) touch more, all or
// none.
struct store_write {
    enum store_op op;
    struct str key;
    struct blob *value;        // PUT; the store takes its own reference
    int64_t expected_revision; // mod_revision that the key must have; 0: must not exist; STORE_ANY
};

enum store_result {
    STORE_OK,
    STORE_CONFLICT, // a condition did not hold: nothing was written
    STORE_FULL,     // the disk is full: nothing was written; later writes may succeed, and urgent
                    // ones are let through for as long as the store's reserve lasts
    STORE_FAILED,   // the store failed and takes no more writes (its log is not writable)
    STORE_CLOSED,
};

// A transaction may name a key once (a second time is a CONFLICT at that write). None at all is a
// barrier: it completes after everything before it.
// Owned by the caller until `complete` runs; then the caller's again. Keys and writes must live
// till then.
struct store_txn {
    const struct store_write *writes;
    size_t nwrites;
    void (*complete)(struct store_txn *t);
    void *ctx;
    bool urgent; // it makes room (a delete, or a step of one): passes on a full disk, too
    // Results, valid in complete and after:
    enum store_result result;
    uint64_t revision; // of the commit (OK)
    size_t conflict;   // index of the write whose condition failed (CONFLICT)
    // private to the store
    struct store_txn *next;
};

// What happened: several events of one transaction share a revision.
struct store_event {
    enum store_op op;
    uint64_t revision;
    uint64_t create_revision;
    struct str key;     // borrowed: valid during the callback
    struct blob *value; // PUT: the new value; DELETE: NULL. Borrowed: take a reference to keep it
    struct blob *previous; // the value before, or NULL. Borrowed
};

// One call a group: n events in revision order; `revision` is the store's revision after the group
// (also when n is 0: a progress mark).
typedef void store_watch_fn(void *ctx, const struct store_event *events, size_t n,
                            uint64_t revision);
struct store_watch;

struct store_ops {
    const char *name;
    void (*txn)(struct store *s, struct store_txn *t);
    // All keys with the prefix in key order at `revision` (0: the latest; else ERR_EXPIRED when it
    // was compacted, "required revision has been compacted", or ERR_TIMEOUT "Too large resource
    // version" when it is in the future). fn returns false to stop. *ret_revision: the revision of
    // the answer.
    int (*range)(struct store *s, struct str prefix, uint64_t revision,
                 bool (*fn)(void *ctx, const struct store_kv *kv), void *ctx,
                 uint64_t *ret_revision, struct err *e);
    uint64_t (*revision)(struct store *s);
    // The oldest revision that range and watch still know, at this moment: writes and compact move
    // it on.
    uint64_t (*floor)(struct store *s);
    // Events with a revision > after, for keys with the prefix. Past events that the log still has
    // are delivered first (on the writer thread); ERR_EXPIRED where it no longer has them.
    int (*watch)(struct store *s, struct str prefix, uint64_t after, store_watch_fn *fn, void *ctx,
                 struct store_watch **ret, struct err *e);
    // No callback after it returns: it waits for one that runs on another thread, so the caller
    // holds no lock that the callback takes. A callback may unwatch its own watch and others.
    void (*unwatch)(struct store *s, struct store_watch *w);
    // Forget history up to and including revision: ranges and watches before it become ERR_EXPIRED.
    int (*compact)(struct store *s, uint64_t revision, struct err *e);
    void (*close)(struct store *s); // completes what waits, checkpoints, frees
};

// Base of every implementation.
struct store {
    const struct store_ops *ops;
    struct env *env;
};

static inline void store_txn(struct store *s, struct store_txn *t)
{
    s->ops->txn(s, t);
}
static inline uint64_t store_revision(struct store *s)
{
    return s->ops->revision(s);
}
static inline void store_close(struct store *s)
{
    if (s)
        s->ops->close(s);
}
// Submits and waits (tests, start-up code; never on the writer thread).
enum store_result store_txn_wait(struct store *s, struct store_txn *t);
const char *store_result_text(enum store_result r);

// In memory: commits synchronously on the caller's thread (serialised by a lock), keeps the history
// until compacted. For tests and simulation.
struct store *store_memory_new(struct env *env);

// Embedded: a journal (log/journal.h) and DIR/checkpoint (LMDB). Makes the directory. Fails with a
// clear error on a directory of another version (DIR/version), a lock held by another process, or
// damage that a crash cannot have made; journal.h says which that is and what the way out is.
struct store_embedded_options {
    uint64_t history_events; // change log kept for watches and old revisions; 0: 100,000
    bool no_sync;            // benchmarks of the rest only
    size_t history_bytes;    // and its bound in bytes of former values; 0: 32 MB
    size_t segment_bytes;    // of one log file; 0: 4 MB
    size_t reserve_bytes;    // of the checkpoint, for deletes on a full disk; 0: 8 MB
};
int store_embedded_open(struct env *env, const char *dir, const struct store_embedded_options *opt,
                        struct store **ret, struct err *e);
