// Upstream's AtomicWriter. Steps, each safe to be interrupted after (a later run repairs the rest):
//   1. compare with what ..data holds; the same: nothing is touched
//   2. write everything below a new ..<time> directory, owners and modes set before anybody can
//      see it
//   3. symlink ..data_tmp -> ..<time>, rename it over ..data          (the moment of change)
//   4. make links for new top-level names, remove those of names that are gone
//   5. remove the former ..<time> directories
#include "node/volume_atomic.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/time.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATA     "..data"
#define DATA_TMP "..data_tmp"

// The path without "." and empty parts ("a//b" is a/b, as upstream's path.Clean has it). STR_NULL:
// it cannot be written: absolute, nothing left, ".." in it, or its first part looks like a name of
// our own ("..data").
static struct str path_clean(struct arena *a, struct str path)
{
    _cleanup_buf_ struct buf b = BUF_MAX(4096);
    if (!path.n || path.p[0] == '/')
        return STR_NULL;
    for (struct str rest = path; rest.p;) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, "."))
            continue;
        if (str_eqc(part, "..") || (!b.n && str_starts(part, STR(".."))))
            return STR_NULL;
        if (b.n)
            buf_char(&b, '/');
        buf_str(&b, part);
    }
    return buf_ok(&b) && b.n ? arena_str(a, buf_view(&b)) : STR_NULL;
}

static struct str top_level(struct str path)
{
    struct str rest = path;
    return str_cut(&rest, '/');
}

static unsigned wanted_mode(const struct volume_file *f, const struct volume_owner *o)
{
    return (f->mode & 07777) | (o->fs_group >= 0 ? 0440 : 0);
}

static bool file_is_same(int data_fd, const char *path, const struct volume_file *f,
                         const struct volume_owner *o)
{
    int fd = openat(data_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    struct stat st;
    bool same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == f->data.n &&
                (st.st_mode & 07777) == wanted_mode(f, o);
    char chunk[4096];
    for (size_t at = 0; same && at < f->data.n;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        same =
            n > 0 && at + (size_t)n <= f->data.n && memcmp(f->data.p + at, chunk, (size_t)n) == 0;
        if (same)
            at += (size_t)n;
    }
    close(fd);
    return same;
}

static size_t count_files(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    size_t n = 0;
    for (struct dirent *ent; (ent = readdir(d));) {
        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
            continue;
        n += ent->d_type == DT_DIR ? count_files(dirfd(d), ent->d_name) : 1;
    }
    closedir(d);
    return n;
}

static bool all_same(struct arena *a, int dir_fd, const struct volume_file *files, size_t n,
                     const struct volume_owner *o)
{
    int data = openat(dir_fd, DATA, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0)
        return false;
    bool same = count_files(dir_fd, DATA) == n;
    for (size_t i = 0; same && i < n; i++)
        same = file_is_same(data, arena_cstr(a, files[i].path), &files[i], o);
    close(data);
    return same;
}

static int own(int fd, unsigned mode, const struct volume_owner *o)
{
    if ((o->user >= 0 || o->fs_group >= 0) &&
        fchown(fd, o->user >= 0 ? (uid_t)o->user : (uid_t)-1,
               o->fs_group >= 0 ? (gid_t)o->fs_group : (gid_t)-1) < 0)
        return -errno;
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int make_dir(int parent, const char *path, const struct volume_owner *o)
{
    if (mkdirat(parent, path, 0755) < 0)
        return errno == EEXIST ? 0 : -errno;
    int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = own(fd, o->fs_group >= 0 ? 02755 : 0755, o);
    close(fd);
    return rc;
}

static int write_one(struct arena *a, int ts_fd, const struct volume_file *f,
                     const struct volume_owner *o)
{
    char *path = arena_cstr(a, f->path);
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_dir(ts_fd, path, o);
        *slash = '/';
        if (rc < 0)
            return rc;
    }
    int fd = openat(ts_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < f->data.n;) {
        ssize_t n = write(fd, f->data.p + at, f->data.n - at);
        if (n < 0)
            rc = errno == EINTR ? 0 : -errno;
        else
            at += (size_t)n;
    }
    if (rc == 0)
        rc = own(fd, wanted_mode(f, o), o);
    close(fd);
    return rc;
}

static int remove_tree(int parent, const char *name, dev_t dev)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_dev != dev) {
        close(fd);
        return -EBUSY;
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -ENOMEM;
    }
    int rc = 0;
    for (struct dirent *ent; rc == 0 && (ent = readdir(d));)
        if (strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0)
            rc = remove_tree(fd, ent->d_name, dev);
    closedir(d);
    if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = -errno;
    return rc;
}

int volume_remove_all(const char *dir, struct err *e)
{
    struct stat st;
    if (lstat(dir, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "removing %s", dir);
    int rc = remove_tree(AT_FDCWD, dir, st.st_dev);
    return rc < 0 ? err_errno(e, -rc, "removing %s", dir) : 0;
}

// Links of names that are wanted; removal of others, and of all ..<time> directories but `current`.
static int tidy(struct arena *a, int dir_fd, const struct volume_file *files, size_t n,
                const char *current, dev_t dev)
{
    for (size_t i = 0; i < n; i++) {
        char *name = arena_cstr(a, top_level(files[i].path));
        char *to = arena_cstr(a, arena_printf(a, DATA "/%s", name));
        if (symlinkat(to, dir_fd, name) < 0 && errno != EEXIST)
            return -errno;
    }
    int fd = dup(dir_fd);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return -errno;
    rewinddir(d);
    int rc = 0;
    for (struct dirent *ent; rc == 0 && (ent = readdir(d));) {
        const char *name = ent->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, DATA) == 0 ||
            strcmp(name, current) == 0)
            continue;
        bool wanted = false;
        for (size_t i = 0; !wanted && i < n; i++)
            wanted = str_eqc(top_level(files[i].path), name);
        if (!wanted)
            rc = remove_tree(dir_fd, name, dev);
    }
    closedir(d);
    return rc;
}

int volume_write_atomic(const char *dir, const struct volume_file *given, size_t n,
                        const struct volume_owner *owner, int64_t now_real, bool *ret_changed,
                        struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct volume_file *files = arena_array(&a, struct volume_file, n + 1);
    for (size_t i = 0; i < n; i++) {
        files[i] = given[i];
        files[i].path = path_clean(&a, given[i].path);
        if (!files[i].path.n)
            return err_set(e, ERR_INVALID, "invalid path: %.*s",
                           STR_ARG(str_sub(given[i].path, 0, 256)));
    }
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_errno(e, errno, "opening volume %s", dir);
    if (ret_changed)
        *ret_changed = false;
    if (all_same(&a, dir_fd, files, n, owner)) {
        close(dir_fd);
        return 0;
    }

    struct stat st = {0};
    int rc = fstat(dir_fd, &st) < 0 ? -errno : 0;
    time_t seconds = (time_t)(now_real / NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char name[64];
    strftime(name, sizeof(name), "..%Y_%m_%d_%H_%M_%S", &tm);
    size_t stamp = strlen(name);
    snprintf(name + stamp, sizeof(name) - stamp, ".%09lld", (long long)(now_real % NS_PER_S));
    // A leftover of an interrupted run at the same instant (virtual clocks) must not be added to.
    for (unsigned i = 0; rc == 0 && faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; i++)
        snprintf(name + stamp, sizeof(name) - stamp, ".%09lld.%u", (long long)(now_real % NS_PER_S),
                 i);

    if (rc == 0)
        rc = make_dir(dir_fd, name, owner);
    int ts_fd = rc == 0 ? openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (rc == 0 && ts_fd < 0)
        rc = -errno;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = write_one(&a, ts_fd, &files[i], owner);
    if (ts_fd >= 0)
        close(ts_fd);

    if (rc == 0) {
        unlinkat(dir_fd, DATA_TMP, 0);
        if (symlinkat(name, dir_fd, DATA_TMP) < 0 || renameat(dir_fd, DATA_TMP, dir_fd, DATA) < 0)
            rc = -errno;
    }
    if (rc == 0) {
        rc = tidy(&a, dir_fd, files, n, name, st.st_dev);
        if (ret_changed)
            *ret_changed = true;
    } else {
        remove_tree(dir_fd, name, st.st_dev);
    }
    close(dir_fd);
    return rc < 0 ? err_errno(e, -rc, "writing volume %s", dir) : 0;
}
