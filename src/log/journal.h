// A journal: files DIR/wal-<sequence>.log that are appended to, one after the other, so that what
// was acknowledged is there after kill -9 and after a loss of power. It knows nothing of what is in
// it: a user hands over frames, each with a run of numbers (revisions, batches) that follow each
// other without a gap, a word, and a payload.
//
// Life: journal_new, journal_open (recovery: hands over what there is), journal_start (the keeper
// thread), then journal_frame + journal_append as often as wanted, journal_close. After a failed
// journal_open only journal_close.
//
// Durability: journal_append returns 0 once the frame is on the disk (one write, one fdatasync).
// A caller with many waiting puts them into one frame: that is group commit.
//
// What a crash can produce, and what it cannot (journal.c argues why):
//   dropped silently   one frame at the very end of the last segment that is not intact, if no mark
//                      says that it was durable. It may never have been acknowledged; where it was
//                      (it rotted, or was zeroed, within MARK_DELAY of its write and before any
//                      later mark) nothing can tell.
//   refused            a segment that is missing, also the last; one shorter than it was made; a
//                      frame that is not intact and has an intact one, or a mark, behind it; a
//                      header or both marks damaged; the mark's file gone.
//   not noticed        the whole directory put back to an older state.
// The refusal names the file and the way out: a backup, or an empty file DIR/accept-loss, which
// makes the next start keep what is intact from the beginning on, put what is behind it aside as
// *.lost, say so in the log, and remove accept-loss. It is never done without being asked for.
//
// A full disk: journal_append says -ENOSPC and nothing of the frame is in the journal; the next may
// succeed. A frame appended as `urgent` (what makes room: deletes) may also use a reserve, one
// segment that is set aside when the journal is new and filled again when there is room.
//
// Files in DIR: wal-<20 digits>.log, wal.mark, wal.reserve, wal.spare (the next segment), wal.new,
// wal.fill (unfinished). The directory is the user's, who keeps other processes away from it.
//
// Threads: journal_frame, journal_append and journal_close belong to one thread, the writer.
// `retire` runs on the keeper. The rest any thread.
#pragma once
#include "base/env.h"
#include "base/err.h"
#include "log/frame.h"

struct journal;

struct journal_segment { // one that is no longer written
    uint64_t sequence;
    uint64_t last; // number in it
};

struct journal_options {
    size_t segment_bytes; // of one file; 0: 4 MB
    bool no_reserve;      // nothing is ever urgent
    bool no_sync;         // benchmarks of the rest only: nothing above is true then
    // Called on the keeper when a segment was closed, after journal_poke, and again while it
    // returns more than 0. `closed` (oldest first) are valid until it returns. Returns how many of
    // the oldest are no longer wanted: they are removed. NULL: none ever are.
    size_t (*retire)(void *ctx, const struct journal_segment *closed, size_t n);
    void *ctx;
};

struct journal *journal_new(struct env *env, const char *dir, const struct journal_options *opt);

// What recovery hands over, in order: whole frames with numbers past `number`.
typedef int journal_fn(void *ctx, const struct frame *f, struct err *e);

// Reads what is behind `number`, which is the end of segment `sequence` (the user has everything up
// to there elsewhere; 0, 0: nothing), and makes ready to append. *ret_last is the last number.
int journal_open(struct journal *j, uint64_t number, uint64_t sequence, journal_fn *fn, void *ctx,
                 uint64_t *ret_last, struct err *e);
// Whether the directory still has the journal from its first segment on.
bool journal_is_whole(struct journal *j);
void journal_start(struct journal *j);
// Ends the keeper (after what it is at), marks the end durably, frees. NULL is nothing.
void journal_close(struct journal *j);

// The buffer of the next frame, begun: append the payload to it.
struct buf *journal_frame(struct journal *j);
// Makes the frame with the numbers first .. last durable. 0; -ENOSPC: nothing of it is in the
// journal; any other: unknown, and nothing may be appended any more.
int journal_append(struct journal *j, uint64_t first, uint64_t last, uint32_t word, bool urgent);
// Where the next frame goes: the present segment, 0 before the first. The writer's.
uint64_t journal_sequence(const struct journal *j);

// Has `retire` called soon.
void journal_poke(struct journal *j);
// Reads a closed segment whole and hands over its frames; an error where not all are there.
int journal_read(struct journal *j, const struct journal_segment *which, journal_fn *fn, void *ctx,
                 struct err *e);
