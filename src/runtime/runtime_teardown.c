// The end of the OCI runtime on a machine: after the sandboxes have been removed, the supervisor is
// ended, and its state directory and the cgroups go. Each step is idempotent.
#include "base/arena.h"
#include "base/env.h"
#include "runtime/runtime_oci.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUPERVISOR_WAIT 5000 // ms

// By the pid in its lock file, which it holds as long as it lives; through a pidfd, so that a
// reused pid is not hit.
static int stop_supervisor(struct arena *a, const char *state_dir, struct err *e)
{
    struct str text, cmdline;
    uint64_t pid;
    const char *path = oci_path(a, "%s/supervisor.lock", state_dir).p;
    if (file_read_all(a, path, 64, &text, NULL) < 0 || !str_to_u64(str_trim(text), &pid))
        return 0;
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0), r = 0;
    if (fd < 0)
        return 0;
    path = oci_path(a, "/proc/%d/cmdline", (int)pid).p;
    if (file_read_all(a, path, 4096, &cmdline, NULL) == 0 &&
        str_find(cmdline, STR("supervisor")) >= 0) {
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0);
        if (poll(&ended, 1, SUPERVISOR_WAIT) != 1)
            r = err_set(e, ERR_TIMEOUT, "the supervisor (pid %d) did not end", (int)pid);
    }
    close(fd);
    return r;
}

// cgroup directories can only be removed from the leaves up; one that is in use stays.
static void remove_cgroup_tree(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_type == DT_DIR && f->d_name[0] != '.')
            remove_cgroup_tree(fd, f->d_name);
    closedir(d);
    unlinkat(parent, name, AT_REMOVEDIR);
}

// Below the root (v2) and below each controller (v1).
static void remove_cgroups(const char *root)
{
    int base = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = base < 0 ? NULL : fdopendir(base);
    if (!d)
        return;
    remove_cgroup_tree(base, root);
    for (struct dirent *f; (f = readdir(d));) {
        int controller =
            f->d_name[0] == '.' ? -1 : openat(base, f->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (controller < 0)
            continue;
        remove_cgroup_tree(controller, root);
        close(controller);
    }
    closedir(d);
}

int runtime_oci_teardown(const struct runtime_oci_options *opt, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int r = stop_supervisor(&a, opt->state_dir, e);
    if (r < 0)
        return r;
    remove_cgroups(opt->cgroup_root);
    return access(opt->state_dir, F_OK) == 0 ? oci_remove_tree(str_of(opt->state_dir), e) : 0;
}
