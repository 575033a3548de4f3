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
// DIR/wal-*    log/journal.h
// DIR/checkpoint  checkpoint.h
//
// Through struct env goes everything but the lock and the checkpoint, which are on the real disk
// always; docs/decisions/0002-embedded-store.md says why that is sound for the crash disk too.
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "log/journal.h"
#include "store/checkpoint.h"
#include "store/engine.h"
#include "store/metrics.h"
#include "store/record.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    KEEP_SEGMENTS = 1,  // closed ones left in the log, for history across a restart
    APPLY_SEGMENTS = 8, // at the most in one LMDB transaction: bounds its memory
    RESERVE_BYTES = 8 << 20,
};
static const char version_text[] = "coracle store 1\n";

struct embedded {
    struct engine engine;
    struct journal *journal;
    char *dir, *checkpoint;
    int lock_fd;
    pthread_t writer;
    bool full;          // the last commit found no space: said once
    uint64_t asked;     // when the keeper was last asked to look for room again
    size_t again;       // the keeper's: after a failure, not before so many segments are closed
    size_t reserve;     // of the checkpoint, bytes
    atomic_bool narrow; // the checkpoint has not got its reserve: only deletes are let through
};

static struct embedded *embedded_of(struct store *s)
{
    return container_of(s, struct embedded, engine.store);
}

// ---- running ----

// Whether a commit that is not urgent must be refused since the checkpoint could not take it; asks
// the keeper once a second to look whether there is room again.
static bool too_narrow(struct embedded *x)
{
    if (!atomic_load(&x->narrow))
        return false;
    uint64_t now = env_mono(x->engine.store.env);
    if (now - x->asked > 1000000000u) {
        x->asked = now;
        journal_poke(x->journal);
    }
    return true;
}

static int commit(struct engine *e, const struct group *g, bool urgent)
{
    struct embedded *x = container_of(e, struct embedded, engine);
    int error = -ENOSPC;
    if (urgent || !too_narrow(x)) {
        uint64_t first = g->changes[0].revision;
        record_write(journal_frame(x->journal), g->changes, g->n, first);
        uint64_t began = env_mono(e->store.env);
        error = journal_append(x->journal, first, g->revision, (uint32_t)g->n, urgent);
        if (!error) {
            metric_observe(&store_metrics, STORE_COMMIT_TIME, 0, env_mono(e->store.env) - began);
            metric_add(&store_metrics, STORE_CHANGES, 0, g->n);
            metric_add(&store_metrics, STORE_COMMITS, 0, 1);
        }
    }
    if (error)
        metric_add(&store_metrics, STORE_REFUSED, 0, 1);
    if (error == -ENOSPC && !x->full)
        log_warn("store", "no space left, only deletes are taken dir=%s", x->dir);
    else if (!error && x->full && !urgent)
        log_info("store", "there is space again dir=%s", x->dir);
    else if (error && error != -ENOSPC)
        log_error("store", "the log is not writable, no more writes are taken dir=%s error=\"%s\"",
                  x->dir, strerrordesc_np(-error));
    if (error || !urgent)
        x->full = error == -ENOSPC;
    return error;
}

static void *writer_run(void *arg)
{
    struct embedded *x = arg;
    engine_run_thread(&x->engine);
    return NULL;
}

static int apply_frame(void *ctx, const struct frame *f, struct err *e)
{
    struct record_reader reader = record_read(f);
    struct record c;
    int more;
    while ((more = record_next(&reader, &c)) > 0) {
        int code = checkpoint_add(ctx, &c, e);
        if (code)
            return code;
    }
    return more < 0 ? err_set(e, ERR_INTERNAL, "a log record is malformed") : 0;
}

// Brings n closed segments into the checkpoint.
static int apply(struct embedded *x, const struct journal_segment *segments, size_t n,
                 struct err *e)
{
    struct checkpoint *c;
    int code = checkpoint_begin(x->checkpoint, &c, e);
    if (code)
        return code;
    for (size_t i = 0; i < n && !code; i++)
        code = journal_read(x->journal, &segments[i], apply_frame, c, e);
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

// Keeps the checkpoint's reserve whole: as long as it is not, only deletes are let through.
static void reserve_keep(struct embedded *x)
{
    int error = x->reserve ? checkpoint_reserve(x->checkpoint, x->reserve) : 0;
    atomic_store(&x->narrow, error == -ENOSPC);
}

// On the journal's keeper. On a full disk segment by segment, which asks less of the checkpoint's
// reserve at a time.
static size_t retire(void *ctx, const struct journal_segment *closed, size_t nclosed)
{
    struct embedded *x = ctx;
    _cleanup_err_ struct err e = ERR_INIT;
    if (atomic_load(&x->narrow))
        reserve_keep(x);
    if (nclosed <= KEEP_SEGMENTS || nclosed < x->again)
        return 0;
    size_t n = nclosed - KEEP_SEGMENTS;
    n = n < APPLY_SEGMENTS ? n : APPLY_SEGMENTS;
    int code = apply(x, closed, n, &e);
    if (code == -507 && n > 1) {
        err_done(&e);
        e = ERR_INIT;
        code = apply(x, closed, n = 1, &e);
    }
    malloc_trim(0); // LMDB's dirty pages and the segments read
    if (code) {
        log_warn("store", "the log is not cut, and grows error=\"%s\"", e.message);
        atomic_store(&x->narrow, code == -507);
        x->again = code == -507 ? 0 : nclosed + nclosed / 4 + 1;
        return 0;
    }
    x->again = 0;
    reserve_keep(x);
    return n;
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

static int replay_frame(void *ctx, const struct frame *f, struct err *e)
{
    struct mvcc *m = ctx;
    struct record_reader reader = record_read(f);
    struct record c;
    int more;
    while ((more = record_next(&reader, &c)) > 0) {
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

// A checkpoint that is damaged is only a cache as long as the log has everything.
static int load_checkpoint(struct embedded *x, struct checkpoint_mark *mark, struct err *e)
{
    struct mvcc *m = &x->engine.mvcc;
    _cleanup_err_ struct err own = ERR_INIT;
    int code = checkpoint_load(x->checkpoint, load_entry, m, mark, &own);
    if (!code)
        return 0;
    if (!journal_is_whole(x->journal))
        return err_wrap(e, &own, "the log no longer has what it held; restore a backup");
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str aside = arena_printf(&a, "%s.lost", x->checkpoint);
    struct env *env = x->engine.store.env;
    int error = env_system()->ops->rename(env_system(), x->checkpoint, aside.p);
    if (error)
        return err_errno(e, error, "putting %s aside", x->checkpoint);
    log_warn("store", "the checkpoint is rebuilt from the log error=\"%s\"", own.message);
    (void)env;
    mvcc_reset(m);
    *mark = (struct checkpoint_mark){0};
    return 0;
}

static int load(struct embedded *x, struct err *e)
{
    struct mvcc *m = &x->engine.mvcc;
    struct checkpoint_mark mark;
    int code = load_checkpoint(x, &mark, e);
    if (code)
        return code;
    if (mark.revision)
        mvcc_load_end(m, mark.revision);
    uint64_t revision;
    code = journal_open(x->journal, mvcc_revision(m), mark.sequence, replay_frame, m, &revision, e);
    BUG_ON(!code && revision != mvcc_revision(m));
    return code;
}

static void embedded_free(struct embedded *x)
{
    journal_close(x->journal);
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
    embedded_free(x);
}

static const struct store_ops embedded_ops = {
    .name = "embedded",
    .txn = engine_txn,
    .range = engine_range,
    .revision = engine_revision,
    .floor = engine_floor,
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
    x->reserve = opt->reserve_bytes ? opt->reserve_bytes : RESERVE_BYTES;
    const struct journal_options journal = {
        .segment_bytes = opt->segment_bytes, .no_sync = opt->no_sync, .retire = retire, .ctx = x};
    x->journal = journal_new(env, dir, &journal);
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
    journal_start(x->journal);
    *ret = &x->engine.store;
    return 0;
}
