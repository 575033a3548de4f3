// What journal.c (writing), journal_keeper.c (the thread behind it) and journal_recover.c (opening)
// share. Nobody else includes this.
#pragma once
#include "base/arena.h"
#include "log/journal.h"
#include <pthread.h>

// How long a frame may be durable before a mark says so.
#define MARK_DELAY_NS 200000000ull

struct journal {
    struct env *env;
    char *dir;
    struct journal_options opt;

    // The writer's: the segment that is appended to; file NULL before the first write.
    struct env_file *file;
    uint64_t sequence, salt, at, size;
    struct buf frame; // scratch

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t wake;  // the keeper's
    struct journal_segment *closed;
    size_t nclosed, cap;
    bool spare, reserve; // the files are there, ready to become the next segment
    bool want_spare;     // the segment is half full and there is none
    bool want_reserve;
    bool poked, closing, started;
    bool want_mark;      // `durable` is ahead of the mark
    struct mark durable; // how far the journal is durable
    pthread_t keeper;

    pthread_mutex_t mark_lock; // guards the mark's file, its slot and `marked`
    struct env_file *mark_file;
    struct mark marked; // the last one written
    unsigned mark_slot; // where the next one goes
};

struct str journal_segment_path(const struct journal *j, struct arena *a, uint64_t sequence);
struct str journal_path(const struct journal *j, struct arena *a, const char *name);
bool journal_is_full(ssize_t error);
void journal_closed_add(struct journal *j, uint64_t sequence, uint64_t last); // with the lock
// Makes an empty file of `size` bytes, filled with zeros and synced if so wanted; without a trace
// on failure. *ret_allocated: whether the size is the file system's promise.
int journal_file_make(struct journal *j, const char *path, uint64_t size, bool fill,
                      struct env_file **ret, bool *ret_allocated);

// Begins the next segment, with room for `need` bytes behind the header. 0, -ENOSPC (nothing
// happened), or another error, after which nothing may be appended.
int journal_roll(struct journal *j, uint64_t first, uint64_t need, bool urgent);

// journal_mark.c: DIR/wal.mark holds two marks, in sectors of their own, written in turn.
int journal_mark_open(struct journal *j, bool *ret_there, struct err *e);
int journal_mark_make(struct journal *j, struct err *e);
// Writes a mark, unless one that is as far is there; `back`: even so. 0 or -errno.
int journal_mark_put(struct journal *j, struct mark m, bool back);

// journal_keeper.c
void journal_keeper_stop(struct journal *j);
// The whole file on the heap.
int journal_read_file(struct journal *j, const char *path, struct str *ret, struct err *e);
// Hands over the frames from offset *at on, while they are intact and follow *number. *ret_frame
// (optional) is where the last one begins.
int journal_read_frames(struct str bytes, const struct segment_header *h, uint64_t skip,
                        uint64_t *number, size_t *at, size_t *ret_frame, journal_fn *fn, void *ctx,
                        struct err *e);
