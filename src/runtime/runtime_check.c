// Whether containers can be started here, looked at before the first one is. What OCI runtimes need
// of a machine and say least clearly when it is missing:
//
//   pivot_root   the root of this process must be a mount point, and not the kernel's first root
//                file system: in a plain chroot, and in an initramfs, it fails with EINVAL
//   mounts       CAP_SYS_ADMIN, which an outer container may have taken away
//   overlay      root filesystems are overlay mounts
//
// Each is tested by its own fact, not by a trial container: that would need an image and a cgroup,
// and a tenth of a second of every start.
#include "runtime/runtime_check.h"
#include "base/guard.h"
#include "base/thread.h"
#include "runtime/runtime_oci.h"
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

int runtime_check_root(struct str mountinfo, struct err *e)
{
    struct str type = STR_NULL;
    bool found = false;
    // Fields: id, parent, device, root, mount point, options, optional ones, "-", type. The last
    // line of several for one place is the one on top.
    while (mountinfo.n) {
        struct str line = str_cut(&mountinfo, '\n');
        for (int i = 0; i < 4; i++)
            str_cut(&line, ' ');
        if (!str_eqc(str_cut(&line, ' '), "/"))
            continue;
        ptrdiff_t dash = str_find(line, STR(" - "));
        struct str rest = dash < 0 ? STR_NULL : str_from(line, (size_t)dash + 3);
        type = str_cut(&rest, ' ');
        found = true;
    }
    if (!found)
        return err_set(e, ERR_UNAVAILABLE,
                       "containers cannot be started here: the root directory is not a mount point "
                       "(a chroot?), so pivot_root fails; enter it by pivot_root, or bind it on "
                       "itself first (mount --bind ROOT ROOT), and start again");
    if (str_eqc(type, "rootfs"))
        return err_set(
            e, ERR_UNAVAILABLE,
            "containers cannot be started here: the root directory is the kernel's first "
            "root file system (an initramfs), from which pivot_root fails; switch to "
            "another root and start again");
    return 0;
}

struct trial {
    const char *what; // that failed; NULL: nothing
    int why;
};

// A tmpfs over /proc and an overlay in it, in a mount namespace that belongs to this thread and
// ends with it: nobody else sees any of this. Where overlayfs is a module, this loads it.
static void *try_mounts(void *arg)
{
    struct trial *t = arg;
    static const char *const dirs[] = {"/proc/lower", "/proc/upper", "/proc/work", "/proc/merged"};
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/proc", "tmpfs", 0, "size=64k") < 0)
        t->what = "no mounts can be made (is this a container without CAP_SYS_ADMIN?)";
    for (size_t i = 0; !t->what && i < ARRAY_LEN(dirs); i++)
        if (mkdir(dirs[i], 0700) < 0)
            t->what = "no directories can be made in a tmpfs";
    if (!t->what && mount("overlay", dirs[3], "overlay", 0,
                          "lowerdir=/proc/lower,upperdir=/proc/upper,workdir=/proc/work") < 0)
        t->what = "no overlay can be mounted (modprobe overlay)";
    t->why = errno;
    return NULL;
}

int oci_check(struct runtime *base, struct err *e)
{
    (void)base;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str mounts;
    int r = file_read_all(&a, "/proc/self/mountinfo", 64 << 20, &mounts, e);
    if (r < 0 || (r = runtime_check_root(mounts, e)) < 0)
        return r;
    struct trial t = {0};
    pthread_t thread = thread_start("check", try_mounts, &t);
    pthread_join(thread, NULL);
    return t.what ? err_set(e, ERR_UNAVAILABLE, "containers cannot be started here: %s: %s", t.what,
                            strerror(t.why))
                  : 0;
}
