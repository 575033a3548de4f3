// The real world behind struct env: the kernel's clocks, getrandom, files by pread and pwrite.
// Reads and writes are carried through (short transfers and EINTR are resumed here), so that a
// caller sees the whole count, the end of the file, or an error.
#include "base/env.h"
#include "base/err.h"
#include "base/process.h"
#include "base/time.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct env_file {
    int fd;
};

static int64_t system_now_real(struct env *env)
{
    (void)env;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static uint64_t system_now_mono(struct env *env)
{
    (void)env;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void system_random(struct env *env, void *p, size_t n)
{
    (void)env;
    char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        BUG_ON(got < 0 && errno != EINTR);
        if (got > 0)
            at += got, n -= (size_t)got;
    }
}

static int system_file_open(struct env *env, const char *path, int flags, unsigned mode,
                            struct env_file **ret)
{
    (void)env;
    int access = (flags & ENV_WRITE) ? (flags & ENV_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
    int fd = open(path,
                  access | O_CLOEXEC | (flags & ENV_CREATE ? O_CREAT : 0) |
                      (flags & ENV_EXCL ? O_EXCL : 0) | (flags & ENV_TRUNC ? O_TRUNC : 0),
                  mode);
    if (fd < 0)
        return -errno;
    struct env_file *f = mem_alloc(sizeof *f);
    f->fd = fd;
    *ret = f;
    return 0;
}

static void system_file_close(struct env_file *f)
{
    close(f->fd);
    free(f);
}

static ssize_t system_file_pread(struct env_file *f, void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(f->fd, (char *)p + done, n - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static ssize_t system_file_pwrite(struct env_file *f, const void *p, size_t n, uint64_t off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t put = pwrite(f->fd, (const char *)p + done, n - done, (off_t)(off + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        done += (size_t)put;
    }
    return (ssize_t)done;
}

static int system_file_sync(struct env_file *f)
{
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int64_t system_file_size(struct env_file *f)
{
    struct stat st;
    return fstat(f->fd, &st) < 0 ? -errno : st.st_size;
}

static int system_file_truncate(struct env_file *f, uint64_t size)
{
    return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

static int system_file_allocate(struct env_file *f, uint64_t size)
{
    return fallocate(f->fd, 0, 0, (off_t)size) < 0 ? -errno : 0;
}

static int system_rename(struct env *env, const char *from, const char *to)
{
    (void)env;
    return rename(from, to) < 0 ? -errno : 0;
}

static int system_unlink(struct env *env, const char *path)
{
    (void)env;
    return unlink(path) < 0 ? -errno : 0;
}

static int system_mkdir(struct env *env, const char *path, unsigned mode)
{
    (void)env;
    return mkdir(path, mode) < 0 ? -errno : 0;
}

static int system_sync_dir(struct env *env, const char *path)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return error;
}

static int system_list_dir(struct env *env, const char *path,
                           void (*fn)(void *ctx, const char *name), void *ctx)
{
    (void)env;
    DIR *d = opendir(path);
    if (!d)
        return -errno;
    errno = 0;
    for (struct dirent *e; (e = readdir(d)); errno = 0)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            fn(ctx, e->d_name);
    int error = -errno;
    closedir(d);
    return error;
}

void env_uuid(struct env *env, char out[36])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char r[16];
    env_random(env, r, sizeof r);
    r[6] = (r[6] & 0x0f) | 0x40; // version 4
    r[8] = (r[8] & 0x3f) | 0x80; // variant RFC 4122
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = hex[r[i] >> 4];
        out[at++] = hex[r[i] & 15];
    }
}

void env_name_suffix(struct env *env, char *out, size_t n)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789"; // no vowels, no lookalikes
    enum { LETTERS = sizeof alphabet - 1, FAIR = 256 / LETTERS * LETTERS };
    while (n) {
        unsigned char r[16];
        env_random(env, r, sizeof r);
        for (size_t i = 0; i < sizeof r && n; i++)
            if (r[i] < FAIR) // a byte above would favour the first letters
                *out++ = alphabet[r[i] % LETTERS], n--;
    }
}

static const struct env_ops system_ops = {
    .now_real = system_now_real,
    .now_mono = system_now_mono,
    .random = system_random,
    .file_open = system_file_open,
    .file_close = system_file_close,
    .file_pread = system_file_pread,
    .file_pwrite = system_file_pwrite,
    .file_sync = system_file_sync,
    .file_size = system_file_size,
    .file_truncate = system_file_truncate,
    .file_allocate = system_file_allocate,
    .rename = system_rename,
    .unlink = system_unlink,
    .mkdir = system_mkdir,
    .sync_dir = system_sync_dir,
    .list_dir = system_list_dir,
    .process_start = env_process_start,
    .process_kill = env_process_kill,
    .process_wait = env_process_wait,
    .process_run = env_process_run,
};

struct env *env_system(void)
{
    static struct env env = {.ops = &system_ops};
    return &env;
}
