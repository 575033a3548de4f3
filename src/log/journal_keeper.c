// The keeper: a thread behind the writer that has the user look at closed segments, removes what is
// no longer wanted, keeps a spare and the reserve, and writes the mark. It sleeps until there is
// something to do; the one time it waits for is the mark's delay.
#include "base/guard.h"
#include "base/thread.h"
#include "log/journal_internal.h"
#include <errno.h>
#include <time.h>

// Fills a file of a segment's size and gives it its name.
static void fill(struct journal *j, const char *name, bool *ret_there, bool *ret_want)
{
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str from = journal_path(j, &a, "wal.fill"), to = journal_path(j, &a, name);
    struct env_file *f;
    bool made = false, allocated;
    if (journal_file_make(j, from.p, j->opt.segment_bytes, true, &f, &allocated) == 0) {
        o->file_close(f);
        made = o->rename(j->env, from.p, to.p) == 0;
        if (!made)
            o->unlink(j->env, from.p);
    }
    LOCKED(&j->lock);
    *ret_there = made;
    *ret_want = false;
}

// What a cut segment becomes: the reserve where that was used, else the spare, else nothing. The
// reserve must begin with zeros, by which recovery knows that no segment has this file.
static bool reuse(struct journal *j, struct arena *a, struct str path)
{
    const struct env_ops *o = j->env->ops;
    static const char zeros[SEGMENT_HEADER];
    struct env_file *f;
    pthread_mutex_lock(&j->lock);
    bool as_reserve = !j->reserve && !j->opt.no_reserve, as_spare = !j->spare;
    pthread_mutex_unlock(&j->lock);
    if ((!as_reserve && !as_spare) || o->file_open(j->env, path.p, ENV_READ | ENV_WRITE, 0, &f) < 0)
        return false;
    // Only one of the usual size is worth keeping.
    bool ok = o->file_size(f) == (int64_t)j->opt.segment_bytes;
    if (ok && as_reserve)
        ok = o->file_pwrite(f, zeros, sizeof zeros, 0) >= 0 && o->file_sync(f) == 0;
    o->file_close(f);
    const char *name = as_reserve ? "wal.reserve" : "wal.spare";
    if (!ok || o->rename(j->env, path.p, journal_path(j, a, name).p) < 0)
        return false;
    LOCKED(&j->lock);
    *(as_reserve ? &j->reserve : &j->spare) = true;
    *(as_reserve ? &j->want_reserve : &j->want_spare) = false;
    return true;
}

// Forgets the n oldest closed segments.
static void cut(struct journal *j, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        pthread_mutex_lock(&j->lock);
        uint64_t sequence = j->closed[0].sequence;
        memmove(j->closed, j->closed + 1, --j->nclosed * sizeof *j->closed);
        pthread_mutex_unlock(&j->lock);
        struct str path = journal_segment_path(j, &a, sequence);
        if (!reuse(j, &a, path))
            j->env->ops->unlink(j->env, path.p); // what stays is removed at the next start
    }
    LOCKED(&j->lock);
    j->want_reserve |= !j->reserve && !j->opt.no_reserve; // there may be room again
}

static size_t retire(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    size_t n = j->nclosed;
    struct journal_segment *copy = mem_alloc((n + 1) * sizeof *copy);
    if (n)
        memcpy(copy, j->closed, n * sizeof *copy);
    pthread_mutex_unlock(&j->lock);
    size_t gone = j->opt.retire ? j->opt.retire(j->opt.ctx, copy, n) : 0;
    BUG_ON(gone > n);
    cut(j, gone);
    free(copy);
    return gone;
}

// Waits with the lock held; to `until` (monotonic) where that is not 0.
static void wait(struct journal *j, uint64_t until)
{
    struct timespec t = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    if (until)
        pthread_cond_timedwait(&j->wake, &j->lock, &t);
    else
        pthread_cond_wait(&j->wake, &j->lock);
}

static void *keeper_run(void *arg)
{
    struct journal *j = arg;
    uint64_t mark_at = 0; // when the mark is due
    pthread_mutex_lock(&j->lock);
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t t = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        if (j->want_mark && !mark_at)
            mark_at = t + MARK_DELAY_NS;
        if (j->poked) {
            j->poked = false;
            pthread_mutex_unlock(&j->lock);
            while (retire(j) > 0)
                ;
            pthread_mutex_lock(&j->lock);
        } else if (j->closing) {
            break;
        } else if (j->want_reserve || j->want_spare) {
            bool reserve = j->want_reserve;
            pthread_mutex_unlock(&j->lock);
            if (reserve)
                fill(j, "wal.reserve", &j->reserve, &j->want_reserve);
            else
                fill(j, "wal.spare", &j->spare, &j->want_spare);
            pthread_mutex_lock(&j->lock);
        } else if (mark_at && t >= mark_at) {
            struct mark m = j->durable;
            j->want_mark = false;
            mark_at = 0;
            pthread_mutex_unlock(&j->lock);
            journal_mark_put(j, m, false); // where it fails, the next one may not
            pthread_mutex_lock(&j->lock);
        } else {
            wait(j, mark_at);
        }
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

void journal_start(struct journal *j)
{
    j->started = true;
    j->keeper = thread_start("journal-keeper", keeper_run, j);
}

void journal_poke(struct journal *j)
{
    LOCKED(&j->lock);
    j->poked = true;
    pthread_cond_signal(&j->wake);
}

void journal_keeper_stop(struct journal *j)
{
    if (!j->started)
        return;
    pthread_mutex_lock(&j->lock);
    j->closing = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->keeper, NULL);
}
