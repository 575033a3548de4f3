// See host.h.
#include "host.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/path.h"
#include "network/netlink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_WAIT_MS 10000 // for a process that is ending
#define LOCK_STEP_MS 10

static bool has_address(const struct ifaddrs *i)
{
    return i->ifa_addr && i->ifa_addr->sa_family == AF_INET && i->ifa_flags & IFF_UP &&
           !(i->ifa_flags & IFF_LOOPBACK);
}

// Devices that coracle and container runtimes make themselves come and go; they are never the
// machine's own.
static bool is_own_device(const char *name)
{
    static const char *const prefixes[] = {"cora", "cni", "docker", "br-", "veth", "virbr"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

struct str host_address(struct arena *a)
{
    struct ifaddrs *all = NULL;
    const struct ifaddrs *best = NULL;
    char device[IFNAMSIZ] = "";
    struct netlink n;
    if (netlink_open(&n, NETLINK_ROUTE, NULL, NULL) == 0) {
        if (route_default_device(&n, device) < 0)
            device[0] = 0;
        netlink_close(&n);
    }
    if (getifaddrs(&all) < 0)
        return STR_NULL;
    for (int pass = 0; pass < 3 && !best; pass++)
        for (const struct ifaddrs *i = all; i && !best; i = i->ifa_next)
            if (has_address(i) && (pass == 0   ? strcmp(i->ifa_name, device) == 0
                                   : pass == 1 ? !is_own_device(i->ifa_name)
                                               : strncmp(i->ifa_name, "cora", 4) != 0))
                best = i;
    struct str result = STR_NULL;
    char text[INET_ADDRSTRLEN];
    if (best && inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)best->ifa_addr)->sin_addr, text,
                          sizeof text))
        result = arena_str(a, str_of(text));
    freeifaddrs(all);
    return result;
}

struct str host_name(struct arena *a)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) < 0 || !name[0])
        return STR("localhost");
    size_t n = 0;
    for (const char *p = name; *p; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 'a' - 'A') : *p;
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (word || ((c == '-' || c == '.') && n > 0))
            name[n++] = c;
    }
    while (n > 0 && (name[n - 1] == '-' || name[n - 1] == '.'))
        n--;
    return n > 0 ? arena_str(a, str_n(name, n)) : STR("localhost");
}

// A process that was killed holds its locks until the kernel has taken it apart, which takes as
// long as its last write to the disk; so one that is ending is waited for. One that lives is not.
static bool lock_take(int fd)
{
    for (int left = LOCK_WAIT_MS;; left -= LOCK_STEP_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        char pid[32] = "", path[64], state[512] = "";
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        uint64_t number;
        if (left <= 0 || n <= 0 || !str_to_u64(str_trim(str_n(pid, (size_t)n)), &number))
            return false;
        // PF_EXITING (4) in field 9 of its stat, or it is gone.
        snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)number);
        _cleanup_fd_ int stat_fd = open(path, O_RDONLY | O_CLOEXEC);
        if (stat_fd >= 0 && (n = read(stat_fd, state, sizeof state - 1)) > 0) {
            struct str rest = str_n(state, (size_t)n);
            rest = str_from(rest, (size_t)(str_rchr(rest, ')') + 2));
            uint64_t flags = 0;
            for (int field = 3; field <= 9; field++) {
                struct str word = str_cut(&rest, ' ');
                if (field == 9)
                    str_to_u64(word, &flags);
            }
            if (!(flags & 4))
                return false;
        }
        poll(NULL, 0, LOCK_STEP_MS);
    }
}

int host_lock(const char *dir, int *ret_fd, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const char *path = path_join(&a, dir, "lock");
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "opening %s", path);
    if (!lock_take(fd)) {
        char pid[32] = "";
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        return err_set(
            e, ERR_CONFLICT,
            "the data directory %s is in use by another coracle (pid %.*s): stop that one, or "
            "choose another with --data-dir",
            dir, n > 0 ? (int)strcspn(pid, "\n") : 1, n > 0 ? pid : "?");
    }
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    // Only for the text above: on a full disk it may stay empty.
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        log_debug("host", "the lock file does not say who has it file=%s", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}
