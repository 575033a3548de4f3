// System calls of volumes: mounts, and opening paths that a container may try to bend.
//
// A subPath is opened with openat2(RESOLVE_BENEATH) and bound by its descriptor, never by its name:
// a container that shares the volume cannot swap a directory for a link between check and use.
#include "base/buf.h"
#include "base/env.h"
#include "base/guard.h"
#include "node/volume_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

bool volume_is_mount_point(const char *path)
{
    struct stat here, above;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *up = arena_cstr(&a, arena_printf(&a, "%s/..", path));
    if (stat(path, &here) < 0 || stat(up, &above) < 0)
        return false;
    if (here.st_dev != above.st_dev)
        return true;
    // A bind mount within one file system shows only in mountinfo.
    struct str text;
    if (file_read_all(&a, "/proc/self/mountinfo", 64 << 20, &text, NULL) < 0)
        return false;
    struct str wanted = str_of(path);
    while (text.p) {
        struct str line = str_cut(&text, '\n');
        for (int i = 0; i < 4; i++)
            str_cut(&line, ' ');
        if (str_eq(str_cut(&line, ' '), wanted))
            return true;
    }
    return false;
}

int volume_mount_tmpfs(const char *path, int64_t size, unsigned mode, struct err *e)
{
    char data[64];
    if (size > 0)
        snprintf(data, sizeof(data), "mode=%o,size=%lld", mode, (long long)size);
    else
        snprintf(data, sizeof(data), "mode=%o", mode);
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, data) < 0)
        return err_errno(e, errno, "mounting tmpfs on %s", path);
    return 0;
}

static int open_beneath(int dir, const char *path, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

// A directory that a subPath lacks looks like its volume: the container's user, who may write into
// the volume, may write into it too. Its group is the volume's where that has the setgid bit, by
// the kernel.
static int make_one(int parent, const char *name, mode_t mode)
{
    if (mkdirat(parent, name, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    _cleanup_fd_ int fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return fd;
    return fchmod(fd, mode) < 0 ? -errno : 0; // mkdir is subject to the umask
}

// Makes the last part of `path` a directory below the part before it. 0 also where it is there.
static int make_last(int base, char *path, mode_t mode)
{
    char *slash = strrchr(path, '/');
    if (!slash)
        return make_one(base, path, mode);
    *slash = '\0';
    int parent = open_beneath(base, path, O_PATH | O_DIRECTORY);
    *slash = '/';
    if (parent < 0)
        return parent;
    int rc = make_one(parent, slash + 1, mode);
    close(parent);
    return rc;
}

// Each part of `path` in turn, the missing ones made, each below one that was resolved safely.
static int open_making(int base, char *path)
{
    struct stat st;
    if (fstat(base, &st) < 0)
        return -errno;
    for (char *end = path;; end++) {
        end += strcspn(end, "/");
        char kept = *end;
        *end = '\0';
        int fd = open_beneath(base, path, O_PATH);
        if (fd == -ENOENT) {
            int rc = make_last(base, path, st.st_mode & 07777);
            fd = rc < 0 ? rc : open_beneath(base, path, O_PATH);
        }
        *end = kept;
        if (fd < 0 || !kept)
            return fd;
        close(fd);
    }
}

int volume_open_beneath(const char *base, struct str sub, int *ret_fd, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int at = open(base, O_PATH | O_CLOEXEC);
    if (at < 0)
        return err_errno(e, errno, "%s", base);
    while (sub.n && sub.p[sub.n - 1] == '/')
        sub.n--;
    if (!sub.n) {
        *ret_fd = at;
        return 0;
    }
    char *path = arena_cstr(&a, sub);
    int fd = open_beneath(at, path, O_PATH);
    if (fd == -ENOENT)
        fd = open_making(at, path);
    close(at);
    if (fd < 0)
        return err_errno(e, -fd, "failed to prepare subPath \"%.*s\" of %s", STR_ARG(sub), base);
    *ret_fd = fd;
    return 0;
}

int volume_bind_fd(int fd, const char *target, struct err *e)
{
    struct stat st;
    char from[64];
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "binding %s", target);
    if (S_ISDIR(st.st_mode)) {
        if (mkdir(target, 0755) < 0 && errno != EEXIST)
            return err_errno(e, errno, "making %s", target);
    } else {
        int t = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
        if (t < 0)
            return err_errno(e, errno, "making %s", target);
        close(t);
    }
    snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
    if (mount(from, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_errno(e, errno, "binding %s", target);
    return 0;
}

int volume_unmount_below(const char *path, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str text, prefix = str_of(path);
    int rc = file_read_all(&a, "/proc/self/mountinfo", 64 << 20, &text, e);
    if (rc < 0)
        return rc;
    char **found = NULL;
    size_t n = 0;
    while (text.p) {
        struct str line = str_cut(&text, '\n');
        for (int i = 0; i < 4; i++)
            str_cut(&line, ' ');
        struct str at = str_cut(&line, ' ');
        if (!str_starts(at, prefix) || (at.n > prefix.n && at.p[prefix.n] != '/'))
            continue;
        // mountinfo writes space, tab, newline and backslash as octal escapes
        char *p = arena_cstr(&a, at), *to = p;
        for (char *from = p; *from;) {
            if (from[0] == '\\' && from[1] && from[2] && from[3]) {
                *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                from += 4;
            } else {
                *to++ = *from++;
            }
        }
        *to = '\0';
        found = arena_grow(&a, found, n * sizeof(*found), (n + 1) * sizeof(*found));
        found[n++] = p;
    }
    while (n-- > 0) // the newest, hence the innermost, first
        if (umount2(found[n], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
            errno != ENOENT)
            return err_errno(e, errno, "unmounting %s", found[n]);
    return 0;
}

int volume_check_host_path(const char *path, struct str type, struct err *e)
{
    static const struct {
        const char *type;
        mode_t format;
        const char *what;
    } rows[] = {
        {"BlockDevice", S_IFBLK, "block device"},
        {"CharDevice", S_IFCHR, "character device"},
        {"Directory", S_IFDIR, "directory"},
        {"DirectoryOrCreate", S_IFDIR, "directory"},
        {"File", S_IFREG, "file"},
        {"FileOrCreate", S_IFREG, "file"},
        {"Socket", S_IFSOCK, "socket"},
    };
    if (!type.n)
        return 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!str_eqc(type, rows[i].type))
            continue;
        struct stat st;
        bool there = stat(path, &st) == 0;
        if (!there && errno == ENOENT && str_ends(type, STR("OrCreate"))) {
            if (rows[i].format == S_IFDIR)
                return file_mkdir_all(path, 0755, e);
            int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
            if (fd < 0)
                return err_errno(e, errno, "hostPath %s", path);
            close(fd);
            return 0;
        }
        if (!there || (st.st_mode & S_IFMT) != rows[i].format)
            return err_set(e, ERR_INVALID, "hostPath type check failed: %s is not a %s", path,
                           rows[i].what);
        return 0;
    }
    return err_set(e, ERR_INVALID, "%.*s is an invalid volume type", STR_ARG(type));
}
