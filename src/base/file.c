// Whole files on the system's disk (declared in env.h): what configuration, certificates and
// kubeconfigs need. Not for the store, which goes through its struct env.
#include "base/arena.h"
#include "base/env.h"
#include "base/err.h"
#include "base/guard.h"
#include "base/path.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read_all(struct arena *a, const char *path, size_t max, struct str *ret, struct err *e)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "reading %s", path);
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return err_errno(e, EISDIR, "reading %s", path);
    // The size is only a hint: /proc files say 0, and files grow. Read to the end, up to max.
    size_t cap = st.st_size > 0 && (uint64_t)st.st_size < max ? (size_t)st.st_size + 1 : 4096;
    size_t n = 0;
    char *p = arena_alloc(a, cap);
    for (;;) {
        if (n == cap) {
            p = arena_grow(a, p, cap, cap * 2);
            cap *= 2;
        }
        ssize_t got = read(fd, p + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(e, errno, "reading %s", path);
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > max)
            return err_set(e, ERR_TOO_LARGE, "reading %s: larger than %zu bytes", path, max);
    }
    *ret = (struct str){p, n};
    return 0;
}

// Writes and syncs an open file; 0 or an errno.
static int write_whole(int fd, struct str data)
{
    while (data.n) {
        ssize_t put = write(fd, data.p, data.n);
        if (put < 0 && errno != EINTR)
            return errno;
        if (put > 0)
            data = str_from(data, (size_t)put);
    }
    return fsync(fd) < 0 ? errno : 0;
}

int file_write_all(const char *path, struct str data, unsigned mode, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str parent = path_dir(str_of(path));
    const char *dir = arena_cstr(&a, parent.n ? parent : STR("."));
    char suffix[9] = {0};
    env_name_suffix(env_system(), suffix, 8);
    const char *temporary = path_printf(&a, "%s.tmp-%s", path, suffix);

    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(e, errno, "writing %s", path);
    // open's mode is cut by the umask; the caller's mode is what counts.
    int error = fchmod(fd, mode) < 0 ? errno : write_whole(fd, data);
    if (close(fd) < 0 && !error)
        error = errno;
    if (!error && rename(temporary, path) < 0)
        error = errno;
    if (error) {
        unlink(temporary);
        return err_errno(e, error, "writing %s", path);
    }
    error = env_system()->ops->sync_dir(env_system(), dir);
    return error ? err_errno(e, -error, "syncing %s", dir) : 0;
}

int file_mkdir_all(const char *path, unsigned mode, struct err *e)
{
    _cleanup_free_ char *copy = mem_cstr(str_of(path));
    for (char *at = copy; *at;) {
        while (*at == '/')
            at++;
        at += strcspn(at, "/");
        char cut = *at;
        *at = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            // A parent that may not be written but exists (EROFS, EACCES on "/usr") is no failure.
            int error = errno;
            struct stat st;
            if (stat(copy, &st) < 0 || !S_ISDIR(st.st_mode))
                return err_errno(e, error, "making directory %s", copy);
        }
        *at = cut;
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(e, errno, "making directory %s", path);
    return S_ISDIR(st.st_mode) ? 0 : err_errno(e, ENOTDIR, "making directory %s", path);
}
