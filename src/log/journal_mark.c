// The mark: how far the journal was durable. Two places for it, each in sectors of its own, written
// in turn, so that a write that is torn leaves the other. A place is left only after its write was
// synced: after a failure the same one is written again, because what the cache shows of it may
// never reach the disk.
//
// A mark is written before the first frame of a segment (so a segment whose frames were
// acknowledged is known to have been there), within MARK_DELAY of a frame, at the end of recovery,
// and when the journal is closed. It claims only what is durable already, so it may be late but is
// never ahead.
#include "base/guard.h"
#include "log/journal_internal.h"
#include <errno.h>

enum { SLOT_BYTES = 4096 };

static int put(struct journal *j, unsigned slot, const struct mark *m)
{
    const struct env_ops *o = j->env->ops;
    char bytes[MARK_BYTES];
    mark_write(bytes, m);
    ssize_t n = o->file_pwrite(j->mark_file, bytes, sizeof bytes, (uint64_t)slot * SLOT_BYTES);
    return n < 0 ? (int)n : o->file_sync(j->mark_file);
}

int journal_mark_put(struct journal *j, struct mark m, bool back)
{
    LOCKED(&j->mark_lock);
    if (j->opt.no_sync || (!back && m.last <= j->marked.last && m.sequence <= j->marked.sequence))
        return 0;
    m.counter = j->marked.counter + 1;
    int error = put(j, j->mark_slot, &m);
    if (error)
        return error;
    j->marked = m;
    j->mark_slot ^= 1;
    return 0;
}

int journal_mark_make(struct journal *j, struct err *e)
{
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = journal_path(j, &a, "wal.mark"), fresh = journal_path(j, &a, "wal.new");
    bool allocated;
    int error = journal_file_make(j, fresh.p, 2 * SLOT_BYTES, true, &j->mark_file, &allocated);
    for (unsigned slot = 0; slot < 2 && !error; slot++)
        error = put(j, slot, &(struct mark){.counter = slot + 1});
    j->marked.counter = 2;
    if (!error)
        error = o->rename(j->env, fresh.p, path.p);
    if (!error)
        error = o->sync_dir(j->env, j->dir);
    return error ? err_errno(e, error, "writing %s", path.p) : 0;
}

int journal_mark_open(struct journal *j, bool *ret_there, struct err *e)
{
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = journal_path(j, &a, "wal.mark");
    *ret_there = false;
    int error = o->file_open(j->env, path.p, ENV_READ | ENV_WRITE, 0, &j->mark_file);
    if (error == -ENOENT)
        return 0;
    if (error)
        return err_errno(e, error, "opening %s", path.p);
    for (unsigned slot = 0; slot < 2; slot++) {
        char bytes[MARK_BYTES];
        struct mark m;
        ssize_t n = o->file_pread(j->mark_file, bytes, sizeof bytes, (uint64_t)slot * SLOT_BYTES);
        if (n < 0)
            return err_errno(e, (int)n, "reading %s", path.p);
        if (mark_read(str_n(bytes, (size_t)n), &m) && m.counter >= j->marked.counter) {
            j->marked = m;
            j->mark_slot = slot ^ 1;
            *ret_there = true;
        }
    }
    return *ret_there ? 0
                      : err_set(e, ERR_INTERNAL, "%s is damaged: it holds no whole mark", path.p);
}
