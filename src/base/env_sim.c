// The simulated world: a clock that moves only when told, random numbers from a seed, a disk in
// memory. Everything that happens in it is a function of the seed and of the calls made, so a
// failure reproduces from the seed alone.
//
// The disk is a plain list of files by path: enough for tests and simulation, whose disks hold a
// dozen files. A file that was unlinked lives on until it is closed, as on a real disk. Nothing is
// ever lost here; the disk that loses things is the store's crash disk. One lock guards all of it,
// for tests that use real threads with the simulated world.
#include "base/arena.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/guard.h"
#include "base/list.h"
#include "base/process.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

struct sim_file {
    struct list link; // in sim.files; linked to itself once unlinked
    char *path;
    bool directory;
    unsigned open; // open handles
    struct buf data;
};

struct sim {
    struct env env;
    int64_t start_real;
    atomic_uint_fast64_t mono; // ns since the start
    pthread_mutex_t lock;      // guards random and files
    uint64_t random[4];        // xoshiro256**
    struct list files;
    // Set before programs are run.
    int (*programs)(void *ctx, struct arena *a, const struct process_options *o,
                    struct process_result *ret, struct err *e);
    void *programs_ctx;
};

struct env_file {
    struct sim *sim;
    struct sim_file *file;
    int flags;
};

static struct sim *sim_of(struct env *env)
{
    return container_of(env, struct sim, env);
}

static int64_t sim_now_real(struct env *env)
{
    struct sim *s = sim_of(env);
    return s->start_real + (int64_t)atomic_load(&s->mono);
}

// Monotonic time starts at one second: zero often means "never" to a caller.
static uint64_t sim_now_mono(struct env *env)
{
    return 1000000000u + atomic_load(&sim_of(env)->mono);
}

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static uint64_t random_next(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0], s[3] ^= s[1], s[1] ^= s[2], s[0] ^= s[3];
    s[2] ^= t, s[3] = rotl(s[3], 45);
    return result;
}

static void sim_random(struct env *env, void *p, size_t n)
{
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    for (char *at = p; n;) {
        uint64_t r = random_next(s->random);
        size_t part = n < sizeof r ? n : sizeof r;
        at = mempcpy(at, &r, part);
        n -= part;
    }
}

static struct sim_file *find(struct sim *s, const char *path)
{
    list_each (&s->files, l) {
        struct sim_file *f = container_of(l, struct sim_file, link);
        if (strcmp(f->path, path) == 0)
            return f;
    }
    return NULL;
}

static struct sim_file *add(struct sim *s, const char *path, bool directory)
{
    struct sim_file *f = mem_zalloc(sizeof *f);
    f->path = mem_cstr(str_of(path));
    f->directory = directory;
    list_push(&s->files, &f->link);
    return f;
}

static void drop(struct sim_file *f)
{
    list_remove(&f->link);
    if (f->open)
        return; // the last close frees it
    buf_done(&f->data);
    free(f->path);
    free(f);
}

static bool parent_exists(struct sim *s, const char *path)
{
    struct str whole = str_of(path);
    ptrdiff_t slash = str_rchr(whole, '/');
    if (slash <= 0)
        return true;
    _cleanup_free_ char *parent = mem_cstr(str_sub(whole, 0, (size_t)slash));
    struct sim_file *f = find(s, parent);
    return f && f->directory;
}

static int open_locked(struct sim *s, const char *path, int flags, struct env_file **ret)
{
    struct sim_file *f = find(s, path);
    if (f && (flags & ENV_CREATE) && (flags & ENV_EXCL))
        return -EEXIST;
    if (f && f->directory)
        return -EISDIR;
    if (!f) {
        if (!(flags & ENV_CREATE) || !parent_exists(s, path))
            return -ENOENT;
        f = add(s, path, false);
    }
    if (flags & ENV_TRUNC)
        buf_reset(&f->data);
    f->open++;
    *ret = mem_alloc(sizeof **ret);
    **ret = (struct env_file){.sim = s, .file = f, .flags = flags};
    return 0;
}

static int sim_file_open(struct env *env, const char *path, int flags, unsigned mode,
                         struct env_file **ret)
{
    (void)mode;
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    return open_locked(s, path, flags, ret);
}

static void sim_file_close(struct env_file *h)
{
    struct sim *s = h->sim;
    LOCKED(&s->lock);
    if (--h->file->open == 0 && list_empty(&h->file->link))
        drop(h->file);
    free(h);
}

static ssize_t sim_file_pread(struct env_file *h, void *p, size_t n, uint64_t off)
{
    LOCKED(&h->sim->lock);
    struct str part = str_sub(buf_view(&h->file->data), off, n);
    if (part.n)
        memcpy(p, part.p, part.n);
    return (ssize_t)part.n;
}

// Sets the size, zeros in what is new; false past the buffer's maximum.
static bool resize(struct sim_file *f, uint64_t size)
{
    if (size > f->data.n) {
        size_t more = size - f->data.n;
        char *p = buf_reserve(&f->data, more);
        if (!p) {
            f->data.failed = false;
            return false;
        }
        memset(p, 0, more);
    }
    f->data.n = size;
    return true;
}

static ssize_t sim_file_pwrite(struct env_file *h, const void *p, size_t n, uint64_t off)
{
    if (!(h->flags & ENV_WRITE))
        return -EBADF;
    struct sim_file *f = h->file;
    LOCKED(&h->sim->lock);
    if (n && f->data.n < off + n && !resize(f, off + n))
        return -ENOSPC;
    if (n)
        memcpy(f->data.p + off, p, n);
    return (ssize_t)n;
}

static int sim_file_sync(struct env_file *h)
{
    (void)h;
    return 0;
}

static int64_t sim_file_size(struct env_file *h)
{
    LOCKED(&h->sim->lock);
    return (int64_t)h->file->data.n;
}

static int sim_file_truncate(struct env_file *h, uint64_t size)
{
    LOCKED(&h->sim->lock);
    return resize(h->file, size) ? 0 : -ENOSPC;
}

static int sim_file_allocate(struct env_file *h, uint64_t size)
{
    (void)h, (void)size;
    return -EOPNOTSUPP; // memory is not reserved for what may never be written
}

// Files only: a directory's children keep their paths, so renaming one would lose them.
static int sim_rename(struct env *env, const char *from, const char *to)
{
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    struct sim_file *f = find(s, from), *old = find(s, to);
    if (!f || !parent_exists(s, to))
        return -ENOENT;
    if (f->directory || (old && old->directory))
        return -EISDIR;
    if (f != old) {
        if (old)
            drop(old);
        free(f->path);
        f->path = mem_cstr(str_of(to));
    }
    return 0;
}

static int sim_unlink(struct env *env, const char *path)
{
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    struct sim_file *f = find(s, path);
    int result = !f ? -ENOENT : f->directory ? -EISDIR : 0;
    if (!result)
        drop(f);
    return result;
}

static int sim_mkdir(struct env *env, const char *path, unsigned mode)
{
    (void)mode;
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    if (find(s, path))
        return -EEXIST;
    if (!parent_exists(s, path))
        return -ENOENT;
    add(s, path, true);
    return 0;
}

static int sim_sync_dir(struct env *env, const char *path)
{
    struct sim *s = sim_of(env);
    LOCKED(&s->lock);
    struct sim_file *f = find(s, path);
    return f && f->directory ? 0 : -ENOENT;
}

struct name {
    struct name *next;
    char *text;
};

static int gather_names(struct sim *s, struct arena *a, const char *path, struct name **ret)
{
    LOCKED(&s->lock);
    struct sim_file *d = find(s, path);
    if (!d)
        return -ENOENT;
    if (!d->directory)
        return -ENOTDIR;
    struct str dir = arena_printf(a, "%s/", path);
    struct name **tail = ret;
    list_each (&s->files, l) {
        struct str p = str_of(container_of(l, struct sim_file, link)->path);
        struct str rest = str_from(p, dir.n);
        if (!str_starts(p, dir) || str_chr(rest, '/') >= 0)
            continue;
        *tail = arena_new(a, struct name);
        (*tail)->text = arena_cstr(a, rest);
        tail = &(*tail)->next;
    }
    return 0;
}

// Names are gathered first: fn may call back into this disk.
static int sim_list_dir(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                        void *ctx)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct name *names = NULL;
    int result = gather_names(sim_of(env), &a, path, &names);
    for (; names; names = names->next)
        fn(ctx, names->text);
    return result;
}

static int sim_process_run(struct env *env, struct arena *a, const struct process_options *o,
                           struct process_result *ret, struct err *e)
{
    struct sim *s = sim_of(env);
    if (!s->programs)
        return err_set(e, ERR_NOT_FOUND, "starting %s: no programs in this world", o->program);
    return s->programs(s->programs_ctx, a, o, ret, e);
}

void env_sim_programs(struct env *env,
                      int (*fn)(void *ctx, struct arena *a, const struct process_options *o,
                                struct process_result *ret, struct err *e),
                      void *ctx)
{
    struct sim *s = sim_of(env);
    s->programs = fn;
    s->programs_ctx = ctx;
}

static const struct env_ops sim_ops = {
    .now_real = sim_now_real,
    .now_mono = sim_now_mono,
    .random = sim_random,
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_pread = sim_file_pread,
    .file_pwrite = sim_file_pwrite,
    .file_sync = sim_file_sync,
    .file_size = sim_file_size,
    .file_truncate = sim_file_truncate,
    .file_allocate = sim_file_allocate,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .sync_dir = sim_sync_dir,
    .list_dir = sim_list_dir,
    .process_run = sim_process_run,
};

struct env *env_sim_new(uint64_t seed, int64_t start_real)
{
    struct sim *s = mem_zalloc(sizeof *s);
    s->env = (struct env){.ops = &sim_ops, .virtual_time = true};
    s->start_real = start_real;
    for (int i = 0; i < 4; i++)
        s->random[i] = splitmix(&seed);
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->files);
    return &s->env;
}

void env_sim_advance(struct env *env, uint64_t ns)
{
    atomic_fetch_add(&sim_of(env)->mono, ns);
}

void env_sim_free(struct env *env)
{
    if (!env)
        return;
    struct sim *s = sim_of(env);
    list_each_safe (&s->files, l) {
        struct sim_file *f = container_of(l, struct sim_file, link);
        f->open = 0;
        drop(f);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}
