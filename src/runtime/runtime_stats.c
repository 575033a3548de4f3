// Figures of running containers, and cgroup directories, straight from the cgroup file systems. v1
// has a tree for each controller, v2 one for all; which one there is was found out at the start.
#include "base/log.h"
#include "runtime/runtime_oci.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

// A file with one number; 0 when it cannot be read.
static uint64_t number(const char *path)
{
    uint64_t v = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%" SCNu64, &v) != 1)
        v = 0;
    fclose(f);
    return v;
}

// One of the `name value` lines.
static uint64_t keyed(const char *path, const char *key)
{
    char name[64];
    uint64_t v, found = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    while (fscanf(f, "%63s %" SCNu64, name, &v) == 2)
        if (!strcmp(name, key)) {
            found = v;
            break;
        }
    fclose(f);
    return found;
}

static void read_v1(struct arena *a, const char *cgroup, struct runtime_stats *s)
{
    s->cpu_ns = number(oci_path(a, "/sys/fs/cgroup/cpuacct%s/cpuacct.usage", cgroup).p);
    uint64_t usage = number(oci_path(a, "/sys/fs/cgroup/memory%s/memory.usage_in_bytes", cgroup).p);
    const char *stat = oci_path(a, "/sys/fs/cgroup/memory%s/memory.stat", cgroup).p;
    uint64_t inactive = keyed(stat, "total_inactive_file");
    s->memory_working_set = usage > inactive ? usage - inactive : 0;
    s->memory_rss = keyed(stat, "total_rss");
}

static void read_v2(struct arena *a, const char *cgroup, struct runtime_stats *s)
{
    s->cpu_ns = keyed(oci_path(a, "/sys/fs/cgroup%s/cpu.stat", cgroup).p, "usage_usec") * 1000;
    uint64_t usage = number(oci_path(a, "/sys/fs/cgroup%s/memory.current", cgroup).p);
    const char *stat = oci_path(a, "/sys/fs/cgroup%s/memory.stat", cgroup).p;
    uint64_t inactive = keyed(stat, "inactive_file");
    s->memory_working_set = usage > inactive ? usage - inactive : 0;
    s->memory_rss = keyed(stat, "anon");
}

int oci_stats(struct runtime *base, struct arena *a, struct runtime_stats **ret, size_t *ret_n,
              struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    (void)e;
    pthread_mutex_lock(&r->lock);
    struct runtime_stats *list = arena_array(a, struct runtime_stats, r->containers.n + 1);
    const char **cgroups = arena_array(a, const char *, r->containers.n + 1);
    size_t n = 0;
    map_each (&r->containers, slot) {
        const struct oci_entry *c = slot->value;
        if (c->info.state != RUNTIME_RUNNING)
            continue;
        list[n].container_id = arena_str(a, c->info.id);
        cgroups[n++] = arena_cstr(a, c->cgroup);
    }
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        if (r->cgroup_v2)
            read_v2(a, cgroups[i], &list[i]);
        else
            read_v1(a, cgroups[i], &list[i]);
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

void oci_cgroup_remove(struct oci_runtime *r, struct str path)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    if (r->cgroup_v2) {
        rmdir(oci_path(&a, "/sys/fs/cgroup%s", path.p).p);
        return;
    }
    DIR *d = opendir("/sys/fs/cgroup");
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        struct str dir = oci_path(&a, "/sys/fs/cgroup/%s%s", entry->d_name, path.p);
        if (rmdir(dir.p) < 0 && errno != ENOENT)
            log_debug("runtime", "cgroup %s stays: errno %d", dir.p, errno);
    }
    closedir(d);
}
