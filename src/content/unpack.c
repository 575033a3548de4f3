// The application of a layer, entry by entry.
//
// Where: parents are mounted as an overlay whose upper directory is the new layer, in a mount
// namespace that belongs to one thread and dies with it. Then the kernel makes the whiteouts
// (deleting is deleting) and copies up what an entry only touches. A first layer is written into
// its directory directly.
//
// Safety. Names come from outside. A path with ".." or "" components is refused. The directory part
// is opened by openat2 with RESOLVE_IN_ROOT: symbolic links in it are followed, but inside the
// layer as if it were the root, also absolute ones (usr-merged images have bin -> usr/bin and
// entries below bin/). RESOLVE_NO_MAGICLINKS is implied by it. The last component is never
// followed: what stands there is removed first, except a directory that stays one. Files are made
// with O_EXCL. So no entry reads or writes anything outside, whatever order they come in.
//
// Extended attributes: user.* and security.capability are kept. trusted.overlay.* would let
// an archive talk to overlayfs itself and is refused like every other namespace: silently, as tar
// does for attributes that a system does not have.
#include "content/unpack.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "content/room.h"
#include "content/tar.h"
#include "content/tree.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct unpacker {
    const struct unpack *u;
    struct byte_source *source;
    int root;
    struct tar_reader tar;
    struct map made; // paths that this layer made, for opaque whiteouts
    uint64_t bytes, entries;
    uint64_t looked; // at the disk, when so much had been written
    // The directory of the last file: archives list a directory's files after each other.
    struct str parent_name;
    int parent;
    struct err *e;
    int result;
};

static int open_in_root(int root, const char *path)
{
    struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static bool path_ok(struct str path)
{
    if (!path.n)
        return true;
    for (struct str rest = path; rest.p;) {
        struct str part = str_cut(&rest, '/');
        if (!part.n || str_eqc(part, ".") || str_eqc(part, "..") || part.n > 255)
            return false;
    }
    return true;
}

static int fail(struct unpacker *x, struct str name)
{
    int why = errno;
    if (why == ENOSPC || why == EDQUOT)
        return err_set(x->e, ERR_UNAVAILABLE,
                       "failed to extract layer: write /%.*s: no space left on device",
                       STR_ARG(name));
    return err_errno(x->e, why, "failed to extract layer: /%.*s", STR_ARG(name));
}

// The directory `name`, with those above it, made where it is missing (root, 0755). O_PATH fd.
static int directory_open(struct unpacker *x, struct str name)
{
    struct arena a = ARENA_INIT;
    int fd = open_in_root(x->root, arena_cstr(&a, name));
    if (fd < 0 && errno == ENOENT && name.n) {
        ptrdiff_t slash = str_rchr(name, '/');
        struct str above = slash < 0 ? STR("") : str_sub(name, 0, (size_t)slash);
        int up = directory_open(x, above);
        const char *base = arena_cstr(&a, str_from(name, (size_t)(slash + 1)));
        if (up >= 0 && mkdirat(up, base, 0755) < 0 && errno == EEXIST)
            errno = ENOENT; // a dangling link stands there
        else if (up >= 0)
            fd = open_in_root(x->root, arena_cstr(&a, name));
        int why = errno;
        if (up >= 0)
            close(up);
        errno = why;
    }
    int why = errno;
    arena_done(&a);
    errno = why;
    return fd;
}

static void parent_forget(struct unpacker *x)
{
    if (x->parent >= 0)
        close(x->parent);
    x->parent = -1;
    free((char *)x->parent_name.p);
    x->parent_name = STR_NULL;
}

// The directory that holds `name`; the fd belongs to the unpacker.
static int parent_open(struct unpacker *x, struct str name, struct str *ret_base)
{
    ptrdiff_t slash = str_rchr(name, '/');
    struct str dir = slash < 0 ? STR("") : str_sub(name, 0, (size_t)slash);
    *ret_base = str_from(name, (size_t)(slash + 1));
    if (x->parent >= 0 && str_eq(dir, x->parent_name))
        return x->parent;
    parent_forget(x);
    x->parent = directory_open(x, dir);
    if (x->parent >= 0)
        x->parent_name = mem_str(dir);
    return x->parent;
}

// --- whiteouts ------------------------------------------------------------------------------

// ".wh..wh..opq": everything in the directory that this layer has not made itself goes.
static int opaque(struct unpacker *x, int parent, struct str directory)
{
    int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return fail(x, directory);
    }
    struct arena a = ARENA_INIT;
    int result = 0;
    for (struct dirent *entry; !result && (entry = readdir(d));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        struct str path = directory.n
                              ? arena_printf(&a, "%.*s/%s", STR_ARG(directory), entry->d_name)
                              : str_of(entry->d_name);
        if (map_has(&x->made, path))
            continue;
        int r = tree_remove(fd, entry->d_name);
        if (r < 0) {
            errno = -r;
            result = fail(x, path);
        }
    }
    closedir(d);
    arena_done(&a);
    return result;
}

static int whiteout(struct unpacker *x, int parent, struct str name, struct str base)
{
    struct str directory = str_sub(name, 0, name.n > base.n ? name.n - base.n - 1 : 0);
    if (str_eqc(base, ".wh..wh..opq"))
        return opaque(x, parent, directory);
    if (str_starts(base, STR(".wh..wh."))) // aufs' own, meaningless here
        return 0;
    struct str gone = str_from(base, 4);
    if (!gone.n || str_eqc(gone, ".") || str_eqc(gone, ".."))
        return err_set(x->e, ERR_BAD_REQUEST, "failed to extract layer: bad whiteout /%.*s",
                       STR_ARG(name));
    struct arena a = ARENA_INIT;
    int r = tree_remove(parent, arena_cstr(&a, gone));
    arena_done(&a);
    parent_forget(x);
    errno = -r;
    return r < 0 ? fail(x, name) : 0;
}

// --- entries --------------------------------------------------------------------------------

// An entry counts as a block, so that a million empty files are seen too.
static int look_for_room(struct unpacker *x)
{
    _cleanup_err_ struct err why = ERR_INIT;
    uint64_t written = x->bytes + x->entries * 4096;
    if (written - x->looked < ROOM_STEP)
        return 0;
    x->looked = written;
    int r = room_check(x->root, ROOM_STEP, &why);
    return r < 0 ? err_wrap(x->e, &why, "failed to extract layer") : 0;
}

static int contents(struct unpacker *x, int fd, const struct tar_entry *t)
{
    static __thread char bytes[128 * 1024];
    for (;;) {
        ssize_t n = tar_read(&x->tar, bytes, sizeof bytes, x->e);
        if (n <= 0)
            return (int)n;
        x->bytes += (uint64_t)n;
        if (x->bytes > x->u->max_bytes)
            return err_set(x->e, ERR_TOO_LARGE,
                           "failed to extract layer: more than %llu bytes come out of it",
                           (unsigned long long)x->u->max_bytes);
        int r = look_for_room(x);
        if (r < 0)
            return r;
        for (ssize_t at = 0; at < n;) {
            ssize_t put = write(fd, bytes + at, (size_t)(n - at));
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0)
                return fail(x, t->name);
            at += put;
        }
    }
}

// Owner, mode, attributes and time of what was made; by name, so that it serves every type.
static int attributes(struct unpacker *x, int parent, const char *base, const struct tar_entry *t)
{
    char path[64 + 256];
    bool link = t->type == TAR_SYMLINK;
    if (fchownat(parent, base, t->uid, t->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!link && fchmodat(parent, base, t->mode, 0) < 0))
        return fail(x, t->name);
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", parent, base);
    for (size_t i = 0; i < t->nxattrs; i++) {
        struct str name = t->xattrs[i].name, value = t->xattrs[i].value;
        char key[256];
        if ((!str_starts(name, STR("user.")) && !str_eqc(name, "security.capability")) ||
            name.n >= sizeof key || (link && name.p[0] == 'u'))
            continue;
        memcpy(key, name.p, name.n);
        key[name.n] = 0;
        if (lsetxattr(path, key, value.p, value.n, 0) < 0 && errno != ENOTSUP)
            return fail(x, t->name);
    }
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = t->mtime_ns / NS_PER_S, .tv_nsec = t->mtime_ns % NS_PER_S}};
    if (times[1].tv_nsec < 0)
        times[1].tv_sec--, times[1].tv_nsec += NS_PER_S;
    if (utimensat(parent, base, times, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(x, t->name);
    return 0;
}

static int hardlink(struct unpacker *x, int parent, const char *base, const struct tar_entry *t)
{
    struct str link = t->link;
    while (str_starts(link, STR("./")) || str_starts(link, STR("/")))
        link = str_from(link, link.p[0] == '/' ? 1 : 2);
    if (!link.n || !path_ok(link))
        return err_set(x->e, ERR_BAD_REQUEST,
                       "failed to extract layer: /%.*s is a hard link to invalid path \"%.*s\"",
                       STR_ARG(t->name), STR_ARG(t->link));
    ptrdiff_t slash = str_rchr(link, '/');
    struct arena a = ARENA_INIT;
    int dir =
        open_in_root(x->root, slash < 0 ? "" : arena_cstr(&a, str_sub(link, 0, (size_t)slash)));
    const char *target = arena_cstr(&a, str_from(link, (size_t)(slash + 1)));
    int r = dir < 0 ? -1 : linkat(dir, target, parent, base, 0);
    int why = errno;
    if (dir >= 0)
        close(dir);
    arena_done(&a);
    errno = why;
    return r < 0 ? fail(x, t->name) : 0;
}

static int create(struct unpacker *x, int parent, const char *base, const struct tar_entry *t)
{
    struct stat st;
    int r = 0;

    if (fstatat(parent, base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (t->type == TAR_DIRECTORY && S_ISDIR(st.st_mode))
            return attributes(x, parent, base, t);
        r = tree_remove(parent, base);
        if (r < 0) {
            errno = -r;
            return fail(x, t->name);
        }
    }
    switch (t->type) {
    case TAR_FILE: {
        int fd = openat(parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            return fail(x, t->name);
        r = contents(x, fd, t);
        if (close(fd) < 0 && !r)
            r = fail(x, t->name);
        return r < 0 ? r : attributes(x, parent, base, t);
    }
    case TAR_HARDLINK:
        return hardlink(x, parent, base, t);
    case TAR_SYMLINK: {
        struct arena a = ARENA_INIT;
        r = symlinkat(arena_cstr(&a, t->link), parent, base);
        arena_done(&a);
        break;
    }
    case TAR_DIRECTORY:
        r = mkdirat(parent, base, 0700);
        break;
    case TAR_CHAR:
    case TAR_BLOCK:
        r = mknodat(parent, base, t->type == TAR_CHAR ? S_IFCHR : S_IFBLK,
                    makedev(t->device_major, t->device_minor));
        break;
    case TAR_FIFO:
        r = mknodat(parent, base, S_IFIFO, 0);
        break;
    }
    if (r < 0)
        return fail(x, t->name);
    return attributes(x, parent, base, t);
}

static int apply(struct unpacker *x, struct tar_entry *t)
{
    struct str base;
    char base_text[256];

    while (str_starts(t->name, STR("/")))
        t->name = str_from(t->name, 1);
    if (!path_ok(t->name))
        return err_set(x->e, ERR_BAD_REQUEST,
                       "failed to extract layer: invalid path \"%.*s\" in the archive",
                       STR_ARG(t->name));
    if (++x->entries > x->u->max_entries)
        return err_set(x->e, ERR_TOO_LARGE, "failed to extract layer: more than %llu entries",
                       (unsigned long long)x->u->max_entries);
    int room = look_for_room(x);
    if (room < 0)
        return room;
    if (!t->name.n) { // the root itself: only what it looks like
        if (t->type != TAR_DIRECTORY)
            return 0;
        return attributes(x, x->root, ".", t);
    }
    int parent = parent_open(x, t->name, &base);
    if (parent < 0)
        return fail(x, t->name);
    if (str_starts(base, STR(".wh.")))
        return whiteout(x, parent, t->name, base);
    memcpy(base_text, base.p, base.n);
    base_text[base.n] = 0;
    int r = create(x, parent, base_text, t);
    if (r == 0)
        map_set(&x->made, t->name, x);
    if (t->type != TAR_FILE)
        parent_forget(x); // it may have been the parent's own way that was replaced
    return r;
}

static int unpack_all(struct unpacker *x)
{
    struct tar_entry t;
    int r;

    tar_init(&x->tar, x->source);
    while ((r = tar_next(&x->tar, &t, x->e)) > 0) {
        r = apply(x, &t);
        if (r < 0)
            break;
    }
    tar_done(&x->tar);
    parent_forget(x);
    map_done(&x->made);
    return r;
}

// --- the parents ----------------------------------------------------------------------------

static int mount_parents(struct unpacker *x, struct arena *a)
{
    const struct unpack *u = x->u;
    struct buf options = BUF_MAX(4095); // mount(2) takes a page
    buf_puts(&options, "lowerdir=");
    for (size_t i = 0; i < u->nparents; i++)
        buf_printf(&options, "%s%s", i ? ":" : "", u->parents[i]);
    buf_printf(&options, ",upperdir=%s,workdir=%s", u->directory, u->work);
    const char *point = arena_cstr(a, arena_printf(a, "%s.mnt", u->work));
    int r = 0;
    if (!buf_ok(&options))
        r = err_set(x->e, ERR_BAD_REQUEST,
                    "failed to extract layer: the image has too many layers");
    else if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
             chdir(u->layers_dir) < 0 || (mkdir(point, 0700) < 0 && errno != EEXIST) ||
             mount("overlay", point, "overlay", 0, buf_cstr(&options)) < 0)
        r = err_errno(x->e, errno, "failed to extract layer: mounting the layers below");
    buf_done(&options);
    if (r < 0)
        return r;
    x->root = open(point, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return x->root < 0 ? err_errno(x->e, errno, "failed to extract layer") : 0;
}

static void *unpack_thread(void *arg)
{
    struct unpacker *x = arg;
    struct arena a = ARENA_INIT;
    const struct unpack *u = x->u;

    if (u->nparents) {
        x->result = mount_parents(x, &a);
    } else {
        const char *path = arena_cstr(&a, arena_printf(&a, "%s/%s", u->layers_dir, u->directory));
        x->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        x->result = x->root < 0 ? err_errno(x->e, errno, "failed to extract layer: %s", path) : 0;
    }
    if (x->result == 0)
        x->result = unpack_all(x);
    if (x->root >= 0)
        close(x->root);
    if (u->nparents) { // the mount goes with this thread's namespace; its empty directory here
        const char *point = arena_cstr(&a, arena_printf(&a, "%s.mnt", u->work));
        umount2(point, MNT_DETACH);
        rmdir(point);
    }
    arena_done(&a);
    return NULL;
}

int unpack_layer(const struct unpack *u, struct byte_source *tar, uint64_t *ret_bytes,
                 struct err *e)
{
    struct unpacker x = {.u = u, .source = tar, .root = -1, .parent = -1, .e = e};
    // A thread even without parents: it is the same path, and a stack of known size.
    pthread_t thread = thread_start("image-unpack", unpack_thread, &x);
    pthread_join(thread, NULL);
    if (x.result == 0)
        *ret_bytes = x.bytes;
    return x.result;
}
