// The crash disk: a struct env whose disk is in memory and honest about what is durable. A write is
// durable once its file was synced, a name (created, renamed, removed) once its directory was. At a
// crash everything else is lost, kept, or torn at 512-byte sectors, as the seed decides. Operations
// are counted, and a fault can be planted at a chosen one:
//
//   FAULT_CRASH  the machine stops in the middle of it: it and all later ones fail, until
//                crash_disk_restart gives the state that survived
//   FAULT_ERROR  it fails once with an errno (a write: nothing, half or all of it done; a sync:
//   some
//                of it got to the disk, the rest is marked clean and never will, as Linux does)
//
// Clock and random are the system's. Included by one test program at a time.
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/list.h"
#include <errno.h>
#include <pthread.h>

enum { SECTOR = 512 };
enum fault { FAULT_NONE, FAULT_CRASH, FAULT_ERROR };

struct disk_write { // not durable yet; sectors of it
    uint64_t off;
    struct str data; // owned
};
struct inode {
    unsigned refs;  // names (now, durable, pending) and handles
    struct buf now; // what reads see
    struct buf durable;
    struct disk_write *writes;
    size_t nwrites, cap;
};
struct name {
    char *path;
    struct inode *inode; // NULL in a pending change: removed
};
struct names_list {
    struct name *names;
    size_t n, cap;
};
struct crash_disk {
    struct env env;
    pthread_mutex_t lock;
    struct names_list now, durable, pending; // pending: changes in order
    uint64_t operations;                     // so far
    enum fault fault;
    uint64_t fault_at;
    int fault_errno;
    bool crashed;
    bool full, sparse; // no more space; no preallocation
    uint64_t rng;
};
struct env_file {
    struct crash_disk *disk;
    struct inode *inode;
};

static unsigned disk_random(struct crash_disk *d, unsigned n)
{
    d->rng = d->rng * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((d->rng >> 33) % n);
}

// ---- inodes and names ----

static struct inode *inode_ref(struct inode *i)
{
    if (i)
        i->refs++;
    return i;
}

static void writes_clear(struct inode *i)
{
    for (size_t k = 0; k < i->nwrites; k++)
        free((char *)i->writes[k].data.p);
    i->nwrites = 0;
}

static void inode_unref(struct inode *i)
{
    if (!i || --i->refs)
        return;
    writes_clear(i);
    free(i->writes);
    buf_done(&i->now);
    buf_done(&i->durable);
    free(i);
}

static void names_add(struct names_list *l, const char *path, struct inode *i)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        l->names = mem_realloc(l->names, l->cap * sizeof *l->names);
    }
    l->names[l->n++] = (struct name){mem_cstr(str_of(path)), inode_ref(i)};
}

static void names_clear(struct names_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->names[i].path);
        inode_unref(l->names[i].inode);
    }
    free(l->names);
    *l = (struct names_list){0};
}

static struct name *names_find(struct names_list *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->names[i].path, path) == 0)
            return &l->names[i];
    return NULL;
}

// Sets, or removes where inode is NULL.
static void names_set(struct names_list *l, const char *path, struct inode *inode)
{
    struct name *n = names_find(l, path);
    inode_ref(inode);
    if (n) {
        free(n->path);
        inode_unref(n->inode);
        *n = l->names[--l->n];
    }
    if (inode)
        names_add(l, path, inode);
    inode_unref(inode);
}

static void name_change(struct crash_disk *d, const char *path, struct inode *inode)
{
    inode_ref(inode);
    names_set(&d->now, path, inode);
    names_add(&d->pending, path, inode);
    inode_unref(inode);
}

static void bytes_write(struct buf *b, uint64_t off, struct str data)
{
    if (b->n < off + data.n) {
        size_t more = off + data.n - b->n;
        memset(buf_reserve(b, more), 0, more);
        b->n += more;
    }
    if (data.n)
        memcpy(b->p + off, data.p, data.n);
}

static void inode_write(struct inode *i, uint64_t off, struct str data)
{
    bytes_write(&i->now, off, data);
    if (i->nwrites == i->cap) {
        i->cap = i->cap ? i->cap * 2 : 8;
        i->writes = mem_realloc(i->writes, i->cap * sizeof *i->writes);
    }
    i->writes[i->nwrites++] = (struct disk_write){off, mem_str(data)};
}

// ---- faults ----

// Counts an operation (lock held): 0 to go on, or the error to fail with; *ret_half: do half first.
static int operation(struct crash_disk *d, bool *ret_half)
{
    *ret_half = false;
    if (d->crashed)
        return -EIO;
    uint64_t index = d->operations++;
    if (d->fault == FAULT_NONE || index != d->fault_at)
        return 0;
    *ret_half = true;
    if (d->fault == FAULT_CRASH) {
        d->crashed = true;
        return -EIO;
    }
    return -d->fault_errno;
}

static struct crash_disk *disk_of(struct env *env)
{
    return container_of(env, struct crash_disk, env);
}

static int64_t disk_now_real(struct env *env)
{
    (void)env;
    return env_now(env_system());
}

static uint64_t disk_now_mono(struct env *env)
{
    (void)env;
    return env_mono(env_system());
}

static void disk_random_bytes(struct env *env, void *p, size_t n)
{
    (void)env;
    env_random(env_system(), p, n);
}

static int disk_file_open(struct env *env, const char *path, int flags, unsigned mode,
                          struct env_file **ret)
{
    (void)mode;
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    struct name *n = names_find(&d->now, path);
    if (!error && !n && !(flags & ENV_CREATE))
        error = -ENOENT;
    if (!error && n && (flags & ENV_EXCL))
        error = -EEXIST;
    if (!error && !n && d->full)
        error = -ENOSPC;
    if (!error) {
        if (!n) {
            struct inode *i = mem_zalloc(sizeof *i);
            name_change(d, path, i);
            n = names_find(&d->now, path);
        }
        *ret = mem_alloc(sizeof **ret);
        **ret = (struct env_file){d, inode_ref(n->inode)};
        if (flags & ENV_TRUNC) {
            // Only fresh files are truncated here: nothing durable to lose.
            writes_clear(n->inode);
            buf_reset(&n->inode->now);
            buf_reset(&n->inode->durable);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return error;
}

static void disk_file_close(struct env_file *f)
{
    struct crash_disk *d = f->disk;
    pthread_mutex_lock(&d->lock);
    inode_unref(f->inode);
    pthread_mutex_unlock(&d->lock);
    free(f);
}

static ssize_t disk_file_pread(struct env_file *f, void *p, size_t n, uint64_t off)
{
    bool half;
    pthread_mutex_lock(&f->disk->lock);
    ssize_t result = operation(f->disk, &half);
    if (!result) {
        struct str part = str_sub(buf_view(&f->inode->now), off, n);
        if (part.n)
            memcpy(p, part.p, part.n);
        result = (ssize_t)part.n;
    }
    pthread_mutex_unlock(&f->disk->lock);
    return result;
}

static ssize_t disk_file_pwrite(struct env_file *f, const void *p, size_t n, uint64_t off)
{
    bool half;
    pthread_mutex_lock(&f->disk->lock);
    ssize_t result = operation(f->disk, &half);
    struct str data = {p, n};
    if (!result && f->disk->full && off + n > f->inode->now.n)
        result = -ENOSPC;
    if (half && !f->disk->crashed)
        data = str_sub(data, 0, disk_random(f->disk, 3) * n / 2); // none, half, all
    // (a crash tears by itself)
    if (!result || half)
        inode_write(f->inode, off, data);
    if (!result)
        result = (ssize_t)n;
    pthread_mutex_unlock(&f->disk->lock);
    return result;
}

static int disk_file_sync(struct env_file *f)
{
    bool half;
    pthread_mutex_lock(&f->disk->lock);
    int error = operation(f->disk, &half);
    for (size_t i = 0; i < f->inode->nwrites && !f->disk->crashed; i++)
        if (!error || disk_random(f->disk, 2))
            bytes_write(&f->inode->durable, f->inode->writes[i].off, f->inode->writes[i].data);
    if (!f->disk->crashed)
        writes_clear(f->inode); // done, or marked clean though they never got there
    pthread_mutex_unlock(&f->disk->lock);
    return error;
}

static int64_t disk_file_size(struct env_file *f)
{
    bool half;
    pthread_mutex_lock(&f->disk->lock);
    int64_t result = operation(f->disk, &half);
    if (!result)
        result = (int64_t)f->inode->now.n;
    pthread_mutex_unlock(&f->disk->lock);
    return result;
}

static int disk_file_truncate(struct env_file *f, uint64_t size)
{
    (void)f, (void)size;
    abort(); // the store does not
}

static int disk_file_allocate(struct env_file *f, uint64_t size)
{
    bool half;
    pthread_mutex_lock(&f->disk->lock);
    int error = operation(f->disk, &half);
    if (!error && f->disk->sparse)
        error = -EOPNOTSUPP;
    if (!error && f->disk->full)
        error = -ENOSPC;
    if (!error && f->inode->now.n < size)
        inode_write(f->inode, size - 1, STR("\0"));
    pthread_mutex_unlock(&f->disk->lock);
    return error;
}

static int disk_rename(struct env *env, const char *from, const char *to)
{
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    struct name *n = names_find(&d->now, from);
    if (!error && !n)
        error = -ENOENT;
    if (!error || (half && d->crashed && n)) {
        // One change of two names; the new name first, so that a prefix never loses the file.
        struct inode *i = inode_ref(n->inode);
        name_change(d, to, i);
        name_change(d, from, NULL);
        inode_unref(i);
    }
    pthread_mutex_unlock(&d->lock);
    return error;
}

static int disk_unlink(struct env *env, const char *path)
{
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    if (!error && !names_find(&d->now, path))
        error = -ENOENT;
    if (!error)
        name_change(d, path, NULL);
    pthread_mutex_unlock(&d->lock);
    return error;
}

static int disk_mkdir(struct env *env, const char *path, unsigned mode)
{
    (void)path, (void)mode;
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    pthread_mutex_unlock(&d->lock);
    return error ? error : -EEXIST; // there is one directory, and it is there
}

static int disk_sync_dir(struct env *env, const char *path)
{
    (void)path;
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    if (!error) {
        for (size_t i = 0; i < d->pending.n; i++)
            names_set(&d->durable, d->pending.names[i].path, d->pending.names[i].inode);
        names_clear(&d->pending);
    }
    pthread_mutex_unlock(&d->lock);
    return error;
}

static int disk_list_dir(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                         void *ctx)
{
    struct crash_disk *d = disk_of(env);
    bool half;
    pthread_mutex_lock(&d->lock);
    int error = operation(d, &half);
    size_t skip = strlen(path) + 1;
    for (size_t i = 0; !error && i < d->now.n; i++)
        fn(ctx, d->now.names[i].path + skip);
    pthread_mutex_unlock(&d->lock);
    return error;
}

static const struct env_ops crash_disk_ops = {
    .now_real = disk_now_real,
    .now_mono = disk_now_mono,
    .random = disk_random_bytes,
    .file_open = disk_file_open,
    .file_close = disk_file_close,
    .file_pread = disk_file_pread,
    .file_pwrite = disk_file_pwrite,
    .file_sync = disk_file_sync,
    .file_size = disk_file_size,
    .file_truncate = disk_file_truncate,
    .file_allocate = disk_file_allocate,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .mkdir = disk_mkdir,
    .sync_dir = disk_sync_dir,
    .list_dir = disk_list_dir,
};

static void crash_disk_init(struct crash_disk *d, uint64_t seed)
{
    *d = (struct crash_disk){.env = {.ops = &crash_disk_ops}, .rng = seed};
    pthread_mutex_init(&d->lock, NULL);
}

static void crash_disk_done(struct crash_disk *d)
{
    names_clear(&d->now);
    names_clear(&d->durable);
    names_clear(&d->pending);
    pthread_mutex_destroy(&d->lock);
}

// What of an inode's unsynced writes got to the disk: nothing, all, a prefix, or any sectors.
static void inode_survive(struct crash_disk *d, struct inode *i)
{
    unsigned how = disk_random(d, 4);
    size_t prefix = i->nwrites ? disk_random(d, (unsigned)i->nwrites + 1) : 0;
    for (size_t k = 0; k < i->nwrites; k++) {
        struct disk_write *w = &i->writes[k];
        for (uint64_t at = w->off; at < w->off + w->data.n;) {
            uint64_t end = (at / SECTOR + 1) * SECTOR;
            if (end > w->off + w->data.n)
                end = w->off + w->data.n;
            bool kept = how == 1 || (how == 2 && k < prefix) || (how == 3 && disk_random(d, 2));
            if (kept)
                bytes_write(&i->durable, at, str_sub(w->data, at - w->off, end - at));
            at = end;
        }
    }
    writes_clear(i);
    buf_reset(&i->now);
    bytes_write(&i->now, 0, buf_view(&i->durable));
}

// After a crash, or instead of one: loses what was not durable and takes the fault away. No handle
// is open any more.
static void crash_disk_restart(struct crash_disk *d)
{
    size_t kept = d->pending.n ? disk_random(d, (unsigned)d->pending.n + 1) : 0;
    bool any = disk_random(d, 2); // any subset of the changes of names, not just a prefix
    for (size_t i = 0; i < d->pending.n; i++)
        if (any ? disk_random(d, 2) : i < kept)
            names_set(&d->durable, d->pending.names[i].path, d->pending.names[i].inode);
    names_clear(&d->pending);
    names_clear(&d->now);
    for (size_t i = 0; i < d->durable.n; i++) {
        // An inode may have two names (of a half-durable rename): its first visit settles it.
        inode_survive(d, d->durable.names[i].inode);
        names_set(&d->now, d->durable.names[i].path, d->durable.names[i].inode);
    }
    d->crashed = false;
    d->fault = FAULT_NONE;
}
