// /proc, /sys, uname and statvfs. What a file does not say reads as empty: a container or a small
// board has no DMI table, and the Node is none the worse for it. Thresholds are kubelet's default
// hard evictions: 100 Mi of memory, a tenth of the disk.
#include "node/node_info.h"
#include "base/env.h"
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define EVICT_MEMORY     (100LL << 20)
#define EVICT_DISK_SHARE 10 // a tenth
#define EVICT_PIDS_SHARE 10

static struct str read_line(struct arena *a, const char *path)
{
    struct str text;
    if (file_read_all(a, path, 65536, &text, NULL) < 0)
        return STR("");
    return str_trim(str_cut(&text, '\n'));
}

static int64_t meminfo(struct arena *a, const char *field)
{
    struct str text;
    if (file_read_all(a, "/proc/meminfo", 65536, &text, NULL) < 0)
        return 0;
    while (text.p) {
        struct str line = str_cut(&text, '\n');
        struct str name = str_cut(&line, ':');
        if (!str_eqc(name, field))
            continue;
        line = str_trim(line);
        uint64_t kb = 0;
        str_to_u64(str_cut(&line, ' '), &kb);
        return (int64_t)kb * 1024;
    }
    return 0;
}

static struct str os_image(struct arena *a)
{
    struct str text;
    if (file_read_all(a, "/etc/os-release", 65536, &text, NULL) < 0)
        return STR("Linux");
    while (text.p) {
        struct str line = str_cut(&text, '\n');
        if (!str_starts(line, STR("PRETTY_NAME=")))
            continue;
        struct str v = str_from(line, 12);
        if (v.n >= 2 && v.p[0] == '"')
            v = str_sub(v, 1, v.n - 2);
        return v;
    }
    return STR("Linux");
}

static const char *architecture(const char *machine)
{
    static const struct {
        const char *machine, *go;
    } rows[] = {{"aarch64", "arm64"},   {"armv7l", "arm"},      {"i686", "386"},
                {"ppc64le", "ppc64le"}, {"riscv64", "riscv64"}, {"s390x", "s390x"},
                {"x86_64", "amd64"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(machine, rows[i].machine) == 0)
            return rows[i].go;
    return "amd64";
}

static struct value *resources(struct arena *a, const struct node_info *n, unsigned max_pods,
                               bool allocatable)
{
    struct value *v = value_object(a);
    int64_t memory = n->memory - (allocatable ? EVICT_MEMORY : 0);
    value_setc(a, v, "cpu", value_str(a, arena_printf(a, "%lld", (long long)n->cpus)));
    if (allocatable)
        value_setc(a, v, "ephemeral-storage",
                   value_str(a, arena_printf(a, "%lld",
                                             (long long)(n->disk - n->disk / EVICT_DISK_SHARE))));
    else
        value_setc(a, v, "ephemeral-storage",
                   value_str(a, arena_printf(a, "%lldKi", (long long)(n->disk >> 10))));
    value_setc(a, v, "hugepages-1Gi", value_strc(a, "0"));
    value_setc(a, v, "hugepages-2Mi", value_strc(a, "0"));
    value_setc(a, v, "memory", value_str(a, arena_printf(a, "%lldKi", (long long)(memory >> 10))));
    value_setc(a, v, "pods", value_str(a, arena_printf(a, "%u", max_pods)));
    return v;
}

void node_info_read(struct arena *a, const char *data_dir, unsigned max_pods, struct str runtime,
                    struct node_info *ret)
{
    struct utsname u;
    struct statvfs fs;
    uname(&u);
    struct node_info n = {
        .cpus = sysconf(_SC_NPROCESSORS_ONLN),
        .memory = meminfo(a, "MemTotal"),
        .disk = statvfs(data_dir, &fs) == 0 ? (int64_t)fs.f_blocks * (int64_t)fs.f_frsize : 0,
        .arch = architecture(u.machine),
        .hostname = arena_str(a, str_of(u.nodename)),
    };
    n.capacity = resources(a, &n, max_pods, false);
    n.allocatable = resources(a, &n, max_pods, true);
    struct str machine = read_line(a, "/etc/machine-id");
    struct str uuid = read_line(a, "/sys/class/dmi/id/product_uuid");
    struct value *s = value_object(a);
    value_setc(a, s, "machineID", value_str(a, machine));
    value_setc(a, s, "systemUUID", value_str(a, uuid.n ? uuid : machine));
    value_setc(a, s, "bootID", value_str(a, read_line(a, "/proc/sys/kernel/random/boot_id")));
    value_setc(a, s, "kernelVersion", value_str(a, arena_str(a, str_of(u.release))));
    value_setc(a, s, "osImage", value_str(a, os_image(a)));
    value_setc(a, s, "containerRuntimeVersion", value_str(a, runtime));
    value_setc(a, s, "kubeletVersion", value_strc(a, "v1.34.0+coracle"));
    value_setc(a, s, "kubeProxyVersion", value_strc(a, ""));
    value_setc(a, s, "operatingSystem", value_strc(a, "linux"));
    value_setc(a, s, "architecture", value_strc(a, n.arch));
    n.system = s;
    *ret = n;
}

void node_pressure_read(const char *data_dir, struct node_pressure *ret)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct statvfs fs;
    ret->memory = meminfo(&a, "MemAvailable") < EVICT_MEMORY && meminfo(&a, "MemTotal") > 0;
    ret->disk = statvfs(data_dir, &fs) == 0 && fs.f_bavail < fs.f_blocks / EVICT_DISK_SHARE;
    uint64_t max = 0, used = 0;
    str_to_u64(read_line(&a, "/proc/sys/kernel/pid_max"), &max);
    struct str load = read_line(&a, "/proc/loadavg"); // "0.1 0.2 0.3 1/234 5678"
    for (int i = 0; i < 3; i++)
        str_cut(&load, ' ');
    struct str tasks = str_cut(&load, ' ');
    str_cut(&tasks, '/');
    str_to_u64(tasks, &used);
    ret->pid = max && used > max - max / EVICT_PIDS_SHARE;
}
