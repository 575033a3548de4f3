// The journal's writer. The header says what a user gets; here is why it holds.
//
// Why files in a row: what the user has elsewhere is cut off the journal by removing whole files.
// Why preallocated and filled with zeros: a write that neither moves the end of the file nor turns
// an unwritten extent into a written one needs no journal commit of the file system, so the fsync
// costs a third less. Hence also the spare: a segment that was cut (or one filled by the keeper
// while the present one is half full) becomes the next one.
//
// Invariants:
//  1. One frame at most is not synced: the next is written only after the last is durable. So
//     behind a frame that is not intact there is nothing that was acknowledged, and if an intact
//     frame or a mark does follow, the disk has lost something: recovery refuses to go on.
//  2. A file gets the name of a segment only when its header and its length are durable; the name
//     and a mark of it are durable before the first frame. So a segment whose header is wrong was
//     damaged, one that is shorter than its header says was cut, and one that is not there though
//     a mark names it was removed.
//  3. Sequence numbers and the users' numbers have no gaps from the user's own copy to the end.
//  4. After a write that failed for want of space, the place of its frame is wiped and synced
//     before anybody is told: a crash cannot bring back what was reported as not written.
//  5. fsync is never tried again after it failed: the kernel may have dropped the pages, and a
//     second call would report success.
//  6. Recovery makes durable what it found before anybody reads: what a killed process left in the
//     page cache must not be shown, then lost. It writes the last frame again first, since after a
//     failed fsync the cache may hold bytes that are marked clean but are not on the disk; and it
//     syncs the directory.
//  7. A mark claims only what is durable (journal_mark.c).
//
// Assumed of the disk: a sector that is rewritten with the same bytes around new ones keeps those
// (each 8-byte-aligned frame begins where the last one ended, usually within a sector).
//
// Names: a cut segment is renamed to the spare and later to a new segment, so a crash that loses
// the renames may leave a new header under an old name: names up to what the user has elsewhere are
// therefore removed unread. Where a crash leaves a rename half done, a segment may have one of the
// other names as well: wal.new, wal.fill and wal.spare are removed at start, their files never
// written to. The reserve stays, if it has its size and begins with zeros: a file that has a
// segment's name begins with a header.
#include "base/guard.h"
#include "log/journal_internal.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { SEGMENT_BYTES = 4 << 20, FRAME_KEEP = 256 << 10 };

struct str journal_segment_path(const struct journal *j, struct arena *a, uint64_t sequence)
{
    return arena_printf(a, "%s/wal-%020lu.log", j->dir, (unsigned long)sequence);
}

struct str journal_path(const struct journal *j, struct arena *a, const char *name)
{
    return arena_printf(a, "%s/%s", j->dir, name);
}

struct journal *journal_new(struct env *env, const char *dir, const struct journal_options *opt)
{
    struct journal *j = mem_zalloc(sizeof *j);
    j->env = env;
    j->dir = mem_cstr(str_of(dir));
    j->opt = *opt;
    if (!j->opt.segment_bytes)
        j->opt.segment_bytes = SEGMENT_BYTES;
    j->frame = BUF_MAX(SIZE_MAX / 4);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->mark_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->wake, &attr);
    pthread_condattr_destroy(&attr);
    return j;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    journal_keeper_stop(j);
    if (j->started && j->mark_file)
        journal_mark_put(j, j->durable, false); // the end is known, too
    if (j->file)
        j->env->ops->file_close(j->file);
    if (j->mark_file)
        j->env->ops->file_close(j->mark_file);
    buf_done(&j->frame);
    free(j->dir);
    free(j->closed);
    pthread_mutex_destroy(&j->lock);
    pthread_mutex_destroy(&j->mark_lock);
    pthread_cond_destroy(&j->wake);
    free(j);
}

void journal_closed_add(struct journal *j, uint64_t sequence, uint64_t last)
{
    if (j->nclosed == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 8;
        j->closed = mem_realloc(j->closed, j->cap * sizeof *j->closed);
    }
    j->closed[j->nclosed++] = (struct journal_segment){sequence, last};
}

bool journal_is_full(ssize_t error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

int journal_file_make(struct journal *j, const char *path, uint64_t size, bool zeros,
                      struct env_file **ret, bool *ret_allocated)
{
    const struct env_ops *o = j->env->ops;
    struct env_file *f;
    o->unlink(j->env, path); // never truncated: see the essay on names
    int error = o->file_open(j->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCL, 0600, &f);
    if (error)
        return error;
    error = o->file_allocate(f, size);
    *ret_allocated = error == 0;
    if (error == -EOPNOTSUPP)
        error = 0;
    if (!error && zeros) {
        static const char zero[64 << 10];
        for (uint64_t at = 0; at < size && !error; at += sizeof zero) {
            size_t n = size - at < sizeof zero ? (size_t)(size - at) : sizeof zero;
            ssize_t put = o->file_pwrite(f, zero, n, at);
            error = put < 0 ? (int)put : 0;
        }
        if (!error)
            error = o->file_sync(f);
    }
    if (error) {
        o->file_close(f);
        o->unlink(j->env, path);
        return error;
    }
    *ret = f;
    return 0;
}

// Takes the spare (or the reserve), if it is there and large enough, and gives it the name of an
// unfinished segment. Under the lock: as soon as the flag is false, the keeper may put another file
// under that name.
static struct env_file *take(struct journal *j, bool *there, const char *name, const char *to,
                             uint64_t need)
{
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct env_file *f = NULL;
    pthread_mutex_lock(&j->lock);
    bool taken = *there && need <= j->opt.segment_bytes &&
                 o->rename(j->env, journal_path(j, &a, name).p, to) == 0;
    if (taken)
        *there = false;
    pthread_mutex_unlock(&j->lock);
    if (!taken || o->file_open(j->env, to, ENV_READ | ENV_WRITE, 0, &f) < 0)
        return NULL;
    return f;
}

// A file for the next segment, named `path`: the spare, a new one, or, where it is urgent, the
// reserve. *ret_size: its length, which the header may promise; 0 where it may not.
static int next_file(struct journal *j, const char *path, uint64_t size, bool urgent,
                     struct env_file **ret, uint64_t *ret_size)
{
    *ret_size = j->opt.segment_bytes;
    *ret = take(j, &j->spare, "wal.spare", path, size);
    if (*ret)
        return 0;
    bool allocated;
    int error = journal_file_make(j, path, size, false, ret, &allocated);
    if (!error) {
        *ret_size = allocated ? size : 0;
        return 0;
    }
    if (!journal_is_full(error))
        return error;
    *ret = urgent ? take(j, &j->reserve, "wal.reserve", path, size) : NULL;
    return *ret ? 0 : -ENOSPC;
}

int journal_roll(struct journal *j, uint64_t first, uint64_t need, bool urgent)
{
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    uint64_t size = SEGMENT_HEADER + need;
    if (size < j->opt.segment_bytes)
        size = j->opt.segment_bytes;
    struct str from = journal_path(j, &a, "wal.new");
    struct segment_header h = {.sequence = j->sequence + 1, .first = first};
    struct env_file *f;
    int error = next_file(j, from.p, size, urgent, &f, &h.size);
    if (error)
        return error;
    char header[SEGMENT_HEADER];
    env_random(j->env, &h.salt, sizeof h.salt);
    segment_header_write(header, &h);
    ssize_t put = o->file_pwrite(f, header, sizeof header, 0);
    error = put < 0 ? (int)put : j->opt.no_sync ? 0 : o->file_sync(f);
    if (!error)
        error = o->rename(j->env, from.p, journal_segment_path(j, &a, h.sequence).p);
    if (error) {
        // Nothing has the name of a segment yet: the journal is as it was.
        o->file_close(f);
        o->unlink(j->env, from.p);
        return journal_is_full(error) ? -ENOSPC : error;
    }
    struct mark m = {.sequence = h.sequence, .offset = SEGMENT_HEADER, .last = first - 1};
    error = j->opt.no_sync ? 0 : o->sync_dir(j->env, j->dir);
    if (!error)
        error = journal_mark_put(j, m, false);
    if (error) { // whether the name is durable is unknown
        o->file_close(f);
        return -EIO;
    }
    pthread_mutex_lock(&j->lock);
    if (j->file)
        journal_closed_add(j, j->sequence, first - 1);
    j->poked = true;
    j->want_spare = false;
    j->durable = m;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    if (j->file)
        o->file_close(j->file);
    j->file = f;
    j->sequence = h.sequence;
    j->salt = h.salt;
    j->at = SEGMENT_HEADER;
    j->size = size;
    return 0;
}

// Invariant 4. The whole header: neither half of it may be left. Where even that has no room (a
// file that could not be preallocated), there must be nothing to wipe.
static int wipe(struct journal *j)
{
    static const char zeros[FRAME_HEADER];
    const struct env_ops *o = j->env->ops;
    char found[FRAME_HEADER] = {0};
    ssize_t put = o->file_pwrite(j->file, zeros, sizeof zeros, j->at);
    if (put < 0 && (o->file_pread(j->file, found, sizeof found, j->at) < 0 ||
                    memcmp(found, zeros, sizeof found) != 0))
        return -EIO;
    return !j->opt.no_sync && o->file_sync(j->file) < 0 ? -EIO : -ENOSPC;
}

struct buf *journal_frame(struct journal *j)
{
    frame_begin(&j->frame);
    return &j->frame;
}

uint64_t journal_sequence(const struct journal *j)
{
    return j->sequence;
}

// Says how far the journal is durable, for the next mark, and asks for a spare in time.
static void tell_keeper(struct journal *j, uint64_t last, bool half_full)
{
    LOCKED(&j->lock);
    j->durable = (struct mark){.sequence = j->sequence, .offset = j->at, .last = last};
    bool wake = !j->want_mark;
    j->want_mark = true;
    if (half_full && !j->spare)
        j->want_spare = wake = true;
    if (wake)
        pthread_cond_signal(&j->wake);
}

int journal_append(struct journal *j, uint64_t first, uint64_t last, uint32_t word, bool urgent)
{
    const struct env_ops *o = j->env->ops;
    struct buf *b = &j->frame;
    frame_end(b, first, last, word);
    if (!j->file || b->n > j->size - j->at) {
        int error = journal_roll(j, first, b->n, urgent);
        if (error)
            return error;
    }
    frame_seal(b, j->salt);
    ssize_t put = o->file_pwrite(j->file, b->p, b->n, j->at);
    if (put < 0)
        return journal_is_full(put) ? wipe(j) : (int)put;
    int error = j->opt.no_sync ? 0 : o->file_sync(j->file);
    if (error)
        return -EIO; // invariant 5; whatever the reason, the outcome is unknown
    bool was_low = j->at < j->size / 2;
    j->at += b->n;
    tell_keeper(j, last, was_low && j->at >= j->size / 2);
    if (b->cap > FRAME_KEEP)
        buf_done(b);
    return 0;
}
