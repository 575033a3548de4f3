// The log on disk.
//
// Why files in a row: what the checkpoint has is cut off by removing whole files. Why preallocated
// and filled with zeros: a write that neither moves the end of the file nor turns an unwritten
// extent into a written one needs no journal commit of the file system, so the fsync costs a third
// less. Hence also the spare: a segment that was cut (or one filled by the keeper while the present
// one is half full) becomes the next one.
//
// Invariants:
//  1. One frame at most is not synced: the next is written only after the last is durable. So
//  behind a
//     frame that is not intact there is nothing that was acknowledged, and if an intact frame does
//     follow, the disk has lost something: recovery refuses to go on.
//  2. A file gets the name of a segment only when its header is durable; the name is durable before
//     the first frame. So a segment whose header is wrong was damaged.
//  3. Sequence numbers and revisions have no gaps from the checkpoint to the end.
//  4. After a write that failed for want of space, the place of its frame is wiped and synced
//  before
//     anybody is told: a crash cannot bring back what was reported as not written.
//  5. fsync is never tried again after it failed: the kernel may have dropped the pages, and a
//  second
//     call would report success.
//  6. Recovery makes durable what it found before anybody reads: what a killed process left in the
//     page cache must not be shown, then lost. It writes the last frame again first, since after a
//     failed fsync the cache may hold bytes that are marked clean but are not on the disk; and it
//     syncs the directory.
//
// Assumed of the disk: a sector that is rewritten with the same bytes around new ones keeps those
// (each 8-byte-aligned frame begins where the last one ended, usually within a sector).
//
// Names: wal-<20 digits>.log segments; wal.spare the next one; wal.new, wal.fill unfinished ones,
// all three removed at start. Since a cut segment is renamed to the spare and later to a new
// segment, a crash that loses the renames may leave a new header under an old name: names up to the
// checkpoint's sequence are therefore removed unread. Where a crash leaves a rename half done, a
// segment may have one of the other names as well: these are removed before use, their files never
// written to.
#include "store/wal.h"
#include "base/arena.h"
#include <errno.h>
#include <stdio.h>

enum { SEGMENT_BYTES = 4 << 20, FRAME_KEEP = 256 << 10 };

static struct str segment_path(const struct wal *w, struct arena *a, uint64_t sequence)
{
    return arena_printf(a, "%s/wal-%020lu.log", w->dir, (unsigned long)sequence);
}

static struct str other_path(const struct wal *w, struct arena *a, const char *name)
{
    return arena_printf(a, "%s/%s", w->dir, name);
}

void wal_init(struct wal *w, struct env *env, const char *dir, size_t segment_bytes, bool no_sync)
{
    *w = (struct wal){
        .env = env,
        .dir = mem_cstr(str_of(dir)),
        .segment_bytes = segment_bytes ? segment_bytes : SEGMENT_BYTES,
        .no_sync = no_sync,
        .frame = BUF_MAX(SIZE_MAX / 4),
    };
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
}

void wal_done(struct wal *w)
{
    if (w->file)
        w->env->ops->file_close(w->file);
    buf_done(&w->frame);
    free(w->dir);
    free(w->closed);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
}

static void closed_add(struct wal *w, uint64_t sequence, uint64_t last)
{
    if (w->nclosed == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 8;
        w->closed = mem_realloc(w->closed, w->cap * sizeof *w->closed);
    }
    w->closed[w->nclosed++] = (struct wal_closed){sequence, last};
}

// ---- writing ----

static bool is_full(ssize_t error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

// Makes an empty file of `size` bytes, filled with zeros if so wanted; without a trace on failure.
static int file_make(struct wal *w, const char *path, uint64_t size, bool fill,
                     struct env_file **ret)
{
    const struct env_ops *o = w->env->ops;
    struct env_file *f;
    o->unlink(w->env, path); // never truncated: see the essay on names
    int error = o->file_open(w->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCL, 0600, &f);
    if (error)
        return error;
    error = o->file_allocate(f, size);
    if (error == -EOPNOTSUPP)
        error = 0;
    if (!error && fill) {
        static const char zeros[64 << 10];
        for (uint64_t at = 0; at < size && !error; at += sizeof zeros) {
            size_t n = size - at < sizeof zeros ? (size_t)(size - at) : sizeof zeros;
            ssize_t put = o->file_pwrite(f, zeros, n, at);
            error = put < 0 ? (int)put : 0;
        }
        if (!error)
            error = o->file_sync(f);
    }
    if (error) {
        o->file_close(f);
        o->unlink(w->env, path);
        return error;
    }
    *ret = f;
    return 0;
}

// Takes the spare, if there is one that is large enough, and gives it the name of an unfinished
// segment. Under the lock: as soon as `spare` is false, the keeper may put another file under that
// name.
static struct env_file *spare_take(struct wal *w, const char *path, const char *to, uint64_t need)
{
    const struct env_ops *o = w->env->ops;
    struct env_file *f = NULL;
    pthread_mutex_lock(&w->lock);
    bool taken = w->spare && need <= w->segment_bytes && o->rename(w->env, path, to) == 0;
    if (taken)
        w->spare = false;
    pthread_mutex_unlock(&w->lock);
    if (!taken || o->file_open(w->env, to, ENV_READ | ENV_WRITE, 0, &f) < 0)
        return NULL;
    return f;
}

// Begins the next segment, with room for `need` bytes behind the header.
static int roll(struct wal *w, uint64_t first_revision, uint64_t need)
{
    const struct env_ops *o = w->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    uint64_t size = SEGMENT_HEADER + need;
    if (size < w->segment_bytes)
        size = w->segment_bytes;
    struct str from = other_path(w, &a, "wal.new");
    struct env_file *f = spare_take(w, other_path(w, &a, "wal.spare").p, from.p, size);
    int error = 0;
    if (!f) {
        error = file_make(w, from.p, size, false, &f);
        if (error)
            return is_full(error) ? -ENOSPC : error;
    }
    struct segment_header h = {w->sequence + 1, first_revision, 0};
    char header[SEGMENT_HEADER];
    env_random(w->env, &h.salt, sizeof h.salt);
    segment_header_write(header, &h);
    ssize_t put = o->file_pwrite(f, header, sizeof header, 0);
    error = put < 0 ? (int)put : w->no_sync ? 0 : o->file_sync(f);
    if (!error)
        error = o->rename(w->env, from.p, segment_path(w, &a, h.sequence).p);
    if (error) {
        // Nothing has the name of a segment yet: the store is as it was.
        o->file_close(f);
        o->unlink(w->env, from.p);
        return is_full(error) ? -ENOSPC : error;
    }
    error = w->no_sync ? 0 : o->sync_dir(w->env, w->dir);
    if (error) { // whether the name is durable is unknown
        o->file_close(f);
        return -EIO;
    }
    pthread_mutex_lock(&w->lock);
    if (w->file)
        closed_add(w, w->sequence, first_revision - 1);
    w->want_spare = false;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->file)
        o->file_close(w->file);
    w->file = f;
    w->sequence = h.sequence;
    w->salt = h.salt;
    w->at = SEGMENT_HEADER;
    w->size = size;
    return 0;
}

// Invariant 4. The whole header: neither half of it may be left. Where even that has no room (a
// file that could not be preallocated), there must be nothing to wipe.
static int wipe(struct wal *w)
{
    static const char zeros[FRAME_HEADER];
    const struct env_ops *o = w->env->ops;
    char found[FRAME_HEADER] = {0};
    ssize_t put = o->file_pwrite(w->file, zeros, sizeof zeros, w->at);
    if (put < 0 && (o->file_pread(w->file, found, sizeof found, w->at) < 0 ||
                    memcmp(found, zeros, sizeof found) != 0))
        return -EIO;
    return !w->no_sync && o->file_sync(w->file) < 0 ? -EIO : -ENOSPC;
}

int wal_append(struct wal *w, const struct change *changes, size_t n, uint64_t first, uint64_t last)
{
    const struct env_ops *o = w->env->ops;
    // The salt is the segment's, so the size must be known before the frame is written: reserve by
    // writing with the present salt, and once more where that turns out to need the next segment.
    buf_reset(&w->frame);
    frame_write(&w->frame, w->salt, changes, n, first, last);
    if (!w->file || w->frame.n > w->size - w->at) {
        int error = roll(w, first, w->frame.n);
        if (error)
            return error;
        buf_reset(&w->frame);
        frame_write(&w->frame, w->salt, changes, n, first, last);
    }
    ssize_t put = o->file_pwrite(w->file, w->frame.p, w->frame.n, w->at);
    if (put < 0)
        return is_full(put) ? wipe(w) : (int)put;
    int error = w->no_sync ? 0 : o->file_sync(w->file);
    if (error)
        return -EIO; // invariant 5; whatever the reason, the outcome is unknown
    bool was_low = w->at < w->size / 2;
    w->at += w->frame.n;
    if (was_low && w->at >= w->size / 2) {
        pthread_mutex_lock(&w->lock);
        w->want_spare = !w->spare;
        if (w->want_spare)
            pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
    }
    if (w->frame.cap > FRAME_KEEP)
        buf_done(&w->frame);
    return 0;
}

// ---- the keeper's ----

void wal_fill_spare(struct wal *w)
{
    const struct env_ops *o = w->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str fill = other_path(w, &a, "wal.fill"), spare = other_path(w, &a, "wal.spare");
    struct env_file *f;
    bool made = false;
    if (file_make(w, fill.p, w->segment_bytes, true, &f) == 0) {
        o->file_close(f);
        made = o->rename(w->env, fill.p, spare.p) == 0;
        if (!made)
            o->unlink(w->env, fill.p);
    }
    pthread_mutex_lock(&w->lock);
    w->spare = made;
    w->want_spare = false;
    pthread_mutex_unlock(&w->lock);
}

void wal_cut(struct wal *w, size_t n)
{
    const struct env_ops *o = w->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&w->lock);
        uint64_t sequence = w->closed[0].sequence;
        memmove(w->closed, w->closed + 1, --w->nclosed * sizeof *w->closed);
        bool keep = !w->spare;
        pthread_mutex_unlock(&w->lock);
        struct str path = segment_path(w, &a, sequence);
        struct env_file *f;
        // Only one of the usual size is worth keeping.
        if (keep && o->file_open(w->env, path.p, ENV_READ, 0, &f) == 0) {
            keep = o->file_size(f) == (int64_t)w->segment_bytes;
            o->file_close(f);
        }
        if (keep && o->rename(w->env, path.p, other_path(w, &a, "wal.spare").p) == 0) {
            pthread_mutex_lock(&w->lock);
            w->spare = true;
            w->want_spare = false;
            pthread_mutex_unlock(&w->lock);
        } else {
            o->unlink(w->env, path.p); // what stays is removed at the next start
        }
    }
}

// ---- reading ----

// The whole file on the heap.
static int read_file(struct wal *w, const char *path, struct str *ret, struct err *e)
{
    const struct env_ops *o = w->env->ops;
    struct env_file *f;
    int error = o->file_open(w->env, path, ENV_READ, 0, &f);
    if (error)
        return err_errno(e, error, "opening log segment %s", path);
    int64_t size = o->file_size(f);
    char *p = size < 0 ? NULL : mem_alloc((size_t)size);
    ssize_t got = size < 0 ? (ssize_t)size : o->file_pread(f, p, (size_t)size, 0);
    o->file_close(f);
    if (got < 0) {
        free(p);
        return err_errno(e, (int)got, "reading log segment %s", path);
    }
    *ret = (struct str){p, (size_t)got};
    return 0;
}

// Hands over the frames from offset *at on, while they are intact and follow *revision. *ret_frame
// (optional) is where the last one begins.
static int read_frames(struct str bytes, const struct segment_header *h, uint64_t skip,
                       uint64_t *revision, size_t *at, size_t *ret_frame, wal_frame_fn *fn,
                       void *ctx, struct err *e)
{
    struct frame f;
    while (frame_read(str_from(bytes, *at), h->salt, &f) && f.first == *revision + 1) {
        uint64_t last = f.last;
        size_t size = f.size;
        if (last > skip) {
            int code = fn(ctx, &f, e);
            if (code)
                return code;
        }
        *revision = last;
        if (ret_frame)
            *ret_frame = *at;
        *at += size;
    }
    return 0;
}

static int damaged(struct err *e, struct str path, size_t at, const char *what)
{
    return err_set(e, ERR_INTERNAL, "log segment %s is damaged at offset %zu: %s", path.p, at,
                   what);
}

int wal_read_closed(struct wal *w, const struct wal_closed *which, wal_frame_fn *fn, void *ctx,
                    struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = segment_path(w, &a, which->sequence), bytes = STR_NULL;
    struct segment_header h;
    int code = read_file(w, path.p, &bytes, e);
    if (code)
        return code;
    if (!segment_header_read(bytes, &h) || h.sequence != which->sequence) {
        code = damaged(e, path, 0, "its header is not valid");
    } else {
        uint64_t revision = h.first_revision - 1;
        size_t at = SEGMENT_HEADER;
        code = read_frames(bytes, &h, 0, &revision, &at, NULL, fn, ctx, e);
        if (!code && revision != which->last)
            code = damaged(e, path, at, "a record that was written is not intact");
    }
    free((char *)bytes.p);
    return code;
}

static const char *const unfinished[] = {"wal.new", "wal.fill", "wal.spare"};

// What the directory holds.
struct names {
    uint64_t *sequences;
    size_t n, cap;
    bool unfinished[3];
};

static void name_add(void *ctx, const char *name)
{
    struct names *l = ctx;
    struct str s = str_of(name);
    uint64_t sequence;
    for (size_t i = 0; i < 3; i++)
        l->unfinished[i] |= str_eqc(s, unfinished[i]);
    if (s.n != 28 || !str_starts(s, STR("wal-")) || !str_ends(s, STR(".log")) ||
        !str_to_u64(str_sub(s, 4, 20), &sequence))
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->sequences = mem_realloc(l->sequences, l->cap * sizeof *l->sequences);
    }
    l->sequences[l->n++] = sequence;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Opens the last segment for writing. Invariant 6.
static int make_durable(struct wal *w, struct str path, struct str last_frame, size_t at,
                        struct err *e)
{
    const struct env_ops *o = w->env->ops;
    int error = o->file_open(w->env, path.p, ENV_READ | ENV_WRITE, 0, &w->file);
    if (!error && last_frame.n) {
        ssize_t put = o->file_pwrite(w->file, last_frame.p, last_frame.n, at);
        error = put < 0 ? (int)put : 0;
    }
    if (!error && !w->no_sync)
        error = o->file_sync(w->file);
    if (!error && !w->no_sync)
        error = o->sync_dir(w->env, w->dir);
    return error ? err_errno(e, error, "opening log segment %s", path.p) : 0;
}

// One segment of recovery; `last`: no other follows.
static int recover_segment(struct wal *w, uint64_t sequence, bool last, uint64_t skip,
                           uint64_t *revision, wal_frame_fn *fn, void *ctx, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = segment_path(w, &a, sequence), bytes = STR_NULL;
    struct segment_header h;
    size_t at = SEGMENT_HEADER, frame = SEGMENT_HEADER;
    int code = read_file(w, path.p, &bytes, e);
    if (code)
        return code;
    _cleanup_free_ char *owned = (char *)bytes.p;
    (void)owned;
    if (!segment_header_read(bytes, &h) || h.sequence != sequence)
        return damaged(e, path, 0, "its header is not valid");
    if (h.first_revision != *revision + 1)
        return err_set(e, ERR_INTERNAL,
                       "log segment %s begins with revision %lu, but the log before it ends with "
                       "revision %lu",
                       path.p, (unsigned long)h.first_revision, (unsigned long)*revision);
    code = read_frames(bytes, &h, skip, revision, &at, &frame, fn, ctx, e);
    if (code)
        return err_wrap(e, e, "log segment %s", path.p);
    if (!last)
        return 0; // the next one's first revision tells whether all was there
    // Invariant 1.
    for (size_t after = at; after + FRAME_HEADER <= bytes.n; after += 8) {
        struct frame f;
        if (frame_read(str_from(bytes, after), h.salt, &f) && f.first > *revision)
            return damaged(e, path, at, "an intact record follows one that is not");
    }
    code = make_durable(w, path, str_sub(bytes, frame, at - frame), frame, e);
    if (code)
        return code;
    w->sequence = sequence;
    w->salt = h.salt;
    w->at = at;
    w->size = bytes.n > w->segment_bytes ? bytes.n : w->segment_bytes;
    return 0;
}

static int recover(struct wal *w, struct names *l, uint64_t revision, uint64_t sequence,
                   wal_frame_fn *fn, void *ctx, uint64_t *ret_revision, struct err *e)
{
    const struct env_ops *o = w->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    size_t i = 0;
    for (; i < l->n && l->sequences[i] <= sequence; i++)
        o->unlink(w->env, segment_path(w, &a, l->sequences[i]).p); // the checkpoint has them
    if (i == l->n && sequence)
        return err_set(e, ERR_INTERNAL, "log segment %s is missing",
                       segment_path(w, &a, sequence + 1).p);
    *ret_revision = revision;
    w->sequence = sequence;
    for (; i < l->n; i++) {
        if (l->sequences[i] != w->sequence + 1)
            return err_set(e, ERR_INTERNAL, "log segment %s is missing",
                           segment_path(w, &a, w->sequence + 1).p);
        bool last = i + 1 == l->n;
        int code = recover_segment(w, l->sequences[i], last, revision, ret_revision, fn, ctx, e);
        if (code)
            return code;
        w->sequence = l->sequences[i];
        if (!last)
            closed_add(w, w->sequence, *ret_revision);
    }
    return 0;
}

int wal_open(struct wal *w, uint64_t revision, uint64_t sequence, wal_frame_fn *fn, void *ctx,
             uint64_t *ret_revision, struct err *e)
{
    const struct env_ops *o = w->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct names l = {0};
    int error = o->list_dir(w->env, w->dir, name_add, &l);
    if (error) {
        free(l.sequences);
        return err_errno(e, error, "reading %s", w->dir);
    }
    if (l.n)
        qsort(l.sequences, l.n, sizeof *l.sequences, by_number);
    int code = recover(w, &l, revision, sequence, fn, ctx, ret_revision, e);
    free(l.sequences);
    if (code)
        return code;
    // The spare too: where a rename was half durable, it is the last segment by another name.
    for (size_t i = 0; i < 3; i++)
        if (l.unfinished[i])
            o->unlink(w->env, other_path(w, &a, unfinished[i]).p);
    return 0;
}
