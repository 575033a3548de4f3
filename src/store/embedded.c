// The embedded store: the engine with a writer thread and a log, and a keeper thread behind it.
//
//     callers --txn--> queue --> writer: group -> log (one write, one fsync) -> index -> watches
//                                          |
//                                          +--closed segments--> keeper: LMDB commit, then cut
//
// The log is the truth. The checkpoint holds what was cut off the log, so a start reads the
// checkpoint, then the segments behind it; the newest closed segment is kept even when it could be
// cut, since the log that is replayed is also the history that watches of before the restart
// continue from. Both threads sleep until there is work.
//
// DIR/version  which format this directory has; written before anything else
// DIR/lock     flock(2)ed by the process that has the store open; holds its id for the error text
// DIR/wal-*    wal.h
// DIR/checkpoint  checkpoint.h
//
// Through struct env goes everything but the lock and the checkpoint, which are on the real disk
// always; docs/decisions/0002-embedded-store.md says why that is sound for the crash disk too.
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "store/checkpoint.h"
#include "store/engine.h"
#include "store/wal.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    KEEP_SEGMENTS = 1,  // closed ones left in the log, for history across a restart
    APPLY_SEGMENTS = 8, // at the most in one LMDB transaction: bounds its memory
};
static const char version_text[] = "coracle store 1\n";

struct embedded {
    struct engine engine;
    struct wal wal;
    char *dir, *checkpoint;
    int lock_fd;
    pthread_t writer, keeper;
    bool full; // the last commit found no space: said once
};

static struct embedded *embedded_of(struct store *s)
{
    return container_of(s, struct embedded, engine.store);
}

// ---- running ----

static int commit(struct engine *e, const struct group *g)
{
    struct embedded *x = container_of(e, struct embedded, engine);
    int error = wal_append(&x->wal, g->changes, g->n, g->changes[0].revision, g->revision);
    if (error == -ENOSPC && !x->full)
        log_warn("store", "no space left for the log, writes are refused dir=%s", x->dir);
    else if (error && error != -ENOSPC)
        log_error("store", "the log is not writable, no more writes are taken dir=%s error=\"%s\"",
                  x->dir, strerrordesc_np(-error));
    x->full = error == -ENOSPC;
    return error;
}

static void *writer_run(void *arg)
{
    struct embedded *x = arg;
    engine_run_thread(&x->engine);
    return NULL;
}

static int apply_frame(void *ctx, struct frame *f, struct err *e)
{
    struct frame_change c;
    int more;
    while ((more = frame_next(f, &c)) > 0) {
        int code = checkpoint_add(ctx, &c, e);
        if (code)
            return code;
    }
    return more < 0 ? err_set(e, ERR_INTERNAL, "a log record is malformed") : 0;
}

// Brings n closed segments into the checkpoint.
static int apply(struct embedded *x, const struct wal_closed *segments, size_t n, struct err *e)
{
    struct checkpoint *c;
    int code = checkpoint_begin(x->checkpoint, &c, e);
    if (code)
        return code;
    for (size_t i = 0; i < n && !code; i++)
        code = wal_read_closed(&x->wal, &segments[i], apply_frame, c, e);
    if (code) {
        checkpoint_abort(c);
        return code;
    }
    const struct checkpoint_mark mark = {segments[n - 1].last, segments[n - 1].sequence};
    code = checkpoint_commit(c, &mark, e);
    if (code)
        return code;
    // LMDB syncs the file, not the name it may just have got.
    struct env *env = x->engine.store.env;
    int error = env->ops->sync_dir(env, x->dir);
    return error ? err_errno(e, error, "syncing %s", x->dir) : 0;
}

static void *keeper_run(void *arg)
{
    struct embedded *x = arg;
    struct wal *w = &x->wal;
    size_t again = 0; // after a failure: not before so many segments are closed
    pthread_mutex_lock(&w->lock);
    for (;;) {
        bool behind = w->nclosed > KEEP_SEGMENTS && w->nclosed >= again;
        if (behind) {
            struct wal_closed segments[APPLY_SEGMENTS];
            size_t n = w->nclosed - KEEP_SEGMENTS, had = w->nclosed;
            n = n < APPLY_SEGMENTS ? n : APPLY_SEGMENTS;
            memcpy(segments, w->closed, n * sizeof *segments);
            pthread_mutex_unlock(&w->lock);
            _cleanup_err_ struct err e = ERR_INIT;
            if (apply(x, segments, n, &e) == 0) {
                wal_cut(w, n);
                malloc_trim(0); // LMDB's dirty pages and the segments read
                again = 0;
            } else {
                log_warn("store", "the log is not cut, and grows error=\"%s\"", e.message);
                again = had + had / 4 + 1;
            }
            pthread_mutex_lock(&w->lock);
        } else if (w->closing) {
            break;
        } else if (w->want_spare) {
            pthread_mutex_unlock(&w->lock);
            wal_fill_spare(w);
            pthread_mutex_lock(&w->lock);
        } else {
            pthread_cond_wait(&w->wake, &w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

// ---- opening ----

static int version_write(struct env *env, const char *dir, struct err *e)
{
    const struct env_ops *o = env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = arena_printf(&a, "%s/version", dir);
    struct str temporary = arena_printf(&a, "%s/version.new", dir);
    struct env_file *f;
    int error = o->file_open(env, temporary.p, ENV_WRITE | ENV_CREATE | ENV_TRUNC, 0600, &f);
    if (!error) {
        ssize_t put = o->file_pwrite(f, version_text, sizeof version_text - 1, 0);
        error = put < 0 ? (int)put : o->file_sync(f);
        o->file_close(f);
    }
    if (!error)
        error = o->rename(env, temporary.p, path.p);
    if (!error)
        error = o->sync_dir(env, dir);
    return error ? err_errno(e, error, "writing %s", path.p) : 0;
}

static void find_log(void *ctx, const char *name)
{
    *(bool *)ctx |= str_starts(str_of(name), STR("wal-"));
}

static int version_check(struct env *env, const char *dir, struct err *e)
{
    const struct env_ops *o = env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = arena_printf(&a, "%s/version", dir);
    struct env_file *f;
    int error = o->file_open(env, path.p, ENV_READ, 0, &f);
    if (error == -ENOENT) {
        bool log = false;
        error = o->list_dir(env, dir, find_log, &log);
        if (error)
            return err_errno(e, error, "reading %s", dir);
        if (log)
            return err_set(e, ERR_INTERNAL, "%s holds a log but no file \"version\"", dir);
        return version_write(env, dir, e);
    }
    if (error)
        return err_errno(e, error, "reading %s", path.p);
    char text[64];
    ssize_t n = o->file_pread(f, text, sizeof text, 0);
    o->file_close(f);
    if (n < 0)
        return err_errno(e, (int)n, "reading %s", path.p);
    struct str got = str_trim(str_n(text, (size_t)n));
    struct str want = str_trim(str_n(version_text, sizeof version_text - 1));
    if (!str_eq(got, want))
        return err_set(e, ERR_INTERNAL,
                       "%s is of another version: it says \"%.*s\", this program reads \"%.*s\"",
                       dir, STR_ARG(got), STR_ARG(want));
    return 0;
}

static int directory_make(struct env *env, const char *dir, struct err *e)
{
    int error = env->ops->mkdir(env, dir, 0700);
    if (error == -EEXIST)
        return 0;
    if (error)
        return err_errno(e, error, "making directory %s", dir);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str whole = str_of(dir);
    ptrdiff_t slash = str_rchr(whole, '/');
    const char *parent = slash < 0    ? "."
                         : slash == 0 ? "/"
                                      : arena_cstr(&a, str_sub(whole, 0, (size_t)slash));
    error = env->ops->sync_dir(env, parent);
    return error ? err_errno(e, error, "syncing %s", parent) : 0;
}

// The lock goes with the file descriptor, so however the process ends, it is free.
static int lock_take(struct embedded *x, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = arena_printf(&a, "%s/lock", x->dir);
    char text[32] = {0};
    x->lock_fd = open(path.p, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (x->lock_fd < 0)
        return err_errno(e, errno, "opening %s", path.p);
    if (flock(x->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(e, errno, "locking %s", path.p);
        if (pread(x->lock_fd, text, sizeof text - 1, 0) < 0)
            text[0] = 0;
        return err_set(e, ERR_UNAVAILABLE, "store %s is in use by another process (%.*s)", x->dir,
                       STR_ARG(str_trim(str_of(text))));
    }
    // Only for the text above: on a full disk it stays empty.
    int n = snprintf(text, sizeof text, "pid %d\n", (int)getpid());
    if (ftruncate(x->lock_fd, 0) < 0 || pwrite(x->lock_fd, text, (size_t)n, 0) < 0)
        log_debug("store", "the lock file does not say who has it dir=%s", x->dir);
    return 0;
}

static void load_entry(void *ctx, struct entry *entry)
{
    mvcc_load(ctx, entry);
}

static int replay_frame(void *ctx, struct frame *f, struct err *e)
{
    struct mvcc *m = ctx;
    struct frame_change c;
    int more;
    while ((more = frame_next(f, &c)) > 0) {
        struct change change = {c.revision, NULL, entry_ref(mvcc_get(m, c.key))};
        if (c.deleted && !change.before)
            return err_set(e, ERR_INTERNAL, "revision %lu deletes a key that is not there",
                           (unsigned long)c.revision);
        if (!c.deleted) {
            struct blob *value = blob_new(c.value);
            change.now = entry_new(c.key, value, c.create_revision, c.revision, c.version);
            blob_unref(value);
        }
        history_free(mvcc_apply(m, &change, 1, c.revision));
    }
    return more < 0 ? err_set(e, ERR_INTERNAL, "a log record is malformed") : 0;
}

static int load(struct embedded *x, struct err *e)
{
    struct mvcc *m = &x->engine.mvcc;
    struct checkpoint_mark mark;
    int code = checkpoint_load(x->checkpoint, load_entry, m, &mark, e);
    if (code)
        return code;
    if (mark.revision)
        mvcc_load_end(m, mark.revision);
    uint64_t revision;
    code = wal_open(&x->wal, mvcc_revision(m), mark.sequence, replay_frame, m, &revision, e);
    BUG_ON(!code && revision != mvcc_revision(m));
    return code;
}

static void embedded_free(struct embedded *x)
{
    wal_done(&x->wal);
    engine_done(&x->engine);
    if (x->lock_fd >= 0)
        close(x->lock_fd);
    free(x->checkpoint);
    free(x->dir);
    free(x);
}

static void embedded_close(struct store *s)
{
    struct embedded *x = embedded_of(s);
    engine_stop(&x->engine);
    pthread_join(x->writer, NULL);
    pthread_mutex_lock(&x->wal.lock);
    x->wal.closing = true;
    pthread_cond_signal(&x->wal.wake);
    pthread_mutex_unlock(&x->wal.lock);
    pthread_join(x->keeper, NULL);
    embedded_free(x);
}

static const struct store_ops embedded_ops = {
    .name = "embedded",
    .txn = engine_txn,
    .range = engine_range,
    .revision = engine_revision,
    .watch = engine_watch,
    .unwatch = engine_unwatch,
    .compact = engine_compact,
    .close = embedded_close,
};

int store_embedded_open(struct env *env, const char *dir, const struct store_embedded_options *opt,
                        struct store **ret, struct err *e)
{
    static const struct store_embedded_options defaults;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (!opt)
        opt = &defaults;
    int code = directory_make(env, dir, e);
    if (code)
        return code;
    struct embedded *x = mem_zalloc(sizeof *x);
    x->lock_fd = -1;
    x->dir = mem_cstr(str_of(dir));
    x->checkpoint = mem_cstr(arena_printf(&a, "%s/checkpoint", dir));
    engine_init(&x->engine, &embedded_ops, env, opt->history_events, opt->history_bytes);
    x->engine.threaded = true;
    x->engine.commit = commit;
    wal_init(&x->wal, env, dir, opt->segment_bytes, opt->no_sync);
    code = lock_take(x, e);
    if (!code)
        code = version_check(env, dir, e);
    if (!code)
        code = load(x, e);
    if (code) {
        embedded_free(x);
        return code;
    }
    x->writer = thread_start("store-writer", writer_run, x);
    x->keeper = thread_start("store-keeper", keeper_run, x);
    *ret = &x->engine.store;
    return 0;
}
