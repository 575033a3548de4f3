// The bundle's config.json is written straight into a buffer, section by section in the order of
// the specification (opencontainers/runtime-spec 1.0, config.md and config-linux.md). The values
// that are not the pod's are those of containerd's CRI plug-in, so that an image which runs there
// runs here.
#include "runtime/oci_config.h"
#include "base/map.h"
#include "object/json.h"
#include "runtime/oci_seccomp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *const capability_names[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};
#define CAPABILITIES (sizeof capability_names / sizeof *capability_names)

static const char *const default_capabilities[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static const struct default_mount {
    const char *at, *type, *source, *options;
} default_mounts[] = {
    {"/proc", "proc", "proc", "nosuid noexec nodev"},
    {"/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"},
    {"/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"},
    {"/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"},
    {"/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"},
    {"/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"},
};

static void words(struct buf *b, const char *list) // "a b" -> "a","b"
{
    struct str rest = str_of(list);
    for (bool first = true; rest.p; first = false) {
        struct str word = str_cut(&rest, ' ');
        buf_printf(b, "%s\"%.*s\"", first ? "" : ",", STR_ARG(word));
    }
}

static void list(struct buf *b, const char *key, const char *const *names, size_t n)
{
    buf_printf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s\"%s\"", i ? "," : "", names[i]);
    buf_char(b, ']');
}

// --- process --------------------------------------------------------------------------------

// What this process itself has, as bits: neither can a container have more, nor is there any point
// in asking for what the kernel does not know. It is the meaning of "all" and of privileged.
static uint64_t capabilities_available(void)
{
    unsigned long long bits = ~0ULL;
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "CapPrm: %llx", &bits) == 1)
            break;
    if (f)
        fclose(f);
    return bits;
}

static int capability_index(struct str name)
{
    if (name.n > 4 && str_ieq(str_sub(name, 0, 4), STR("CAP_")))
        name = str_from(name, 4);
    for (size_t i = 0; i < CAPABILITIES; i++)
        if (str_ieq(name, str_of(capability_names[i])))
            return (int)i;
    return -1;
}

static int capabilities(struct arena *a, const struct runtime_container_config *c, struct str **ret,
                        size_t *ret_n, struct err *e)
{
    bool has[CAPABILITIES] = {0};
    uint64_t available = capabilities_available();

    for (size_t i = 0; i < sizeof default_capabilities / sizeof *default_capabilities; i++)
        has[capability_index(str_of(default_capabilities[i]))] = true;
    // ALL first, then single names, drops after adds: "add NET_ADMIN, drop ALL" keeps NET_ADMIN.
    for (size_t i = 0; i < c->ncapabilities_add; i++)
        if (str_ieq(c->capabilities_add[i], STR("ALL")))
            for (size_t k = 0; k < CAPABILITIES; k++)
                has[k] = available >> k & 1;
    for (size_t i = 0; i < c->ncapabilities_drop; i++)
        if (str_ieq(c->capabilities_drop[i], STR("ALL")))
            memset(has, 0, sizeof has);
    for (int drop = 0; drop < 2; drop++) {
        const struct str *names = drop ? c->capabilities_drop : c->capabilities_add;
        size_t n = drop ? c->ncapabilities_drop : c->ncapabilities_add;
        for (size_t i = 0; i < n; i++) {
            int index = capability_index(names[i]);
            if (index >= 0)
                has[index] = !drop;
            else if (!str_ieq(names[i], STR("ALL")))
                return err_set(e, ERR_INVALID, "unknown capability to %s \"%.*s\"",
                               drop ? "drop" : "add", STR_ARG(names[i]));
        }
    }
    *ret = arena_array(a, struct str, CAPABILITIES);
    *ret_n = 0;
    for (size_t i = 0; i < CAPABILITIES; i++)
        if (c->privileged ? available >> i & 1 : has[i])
            (*ret)[(*ret_n)++] = str_of(capability_names[i]);
    return 0;
}

static void write_capabilities(struct buf *b, const struct str *names, size_t n)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    buf_puts(b, ",\"capabilities\":{");
    for (size_t s = 0; s < 3; s++) {
        buf_printf(b, "%s\"%s\":[", s ? "," : "", sets[s]);
        for (size_t i = 0; i < n; i++)
            buf_printf(b, "%s\"CAP_%.*s\"", i ? "," : "", STR_ARG(names[i]));
        buf_char(b, ']');
    }
    buf_char(b, '}');
}

static void env_entry(struct buf *b, struct arena *a, struct str name, struct str value)
{
    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
    json_write_string(b, arena_printf(a, "%.*s=%.*s", STR_ARG(name), STR_ARG(value)));
}

// The pod's variables win over the image's, these over the defaults. Of several with one name in
// the pod the last one counts.
static void write_env(struct buf *b, struct arena *a, const struct oci_container *c)
{
    const struct runtime_container_config *config = c->config;
    struct map last = MAP_INIT, image = MAP_INIT;

    for (size_t i = 0; i < config->nenv; i++)
        map_set(&last, config->env[i][0], (void *)config->env[i]);
    for (size_t i = 0; i < c->image->config.nenv; i++) {
        struct str value = c->image->config.env[i], name = str_cut(&value, '=');
        map_set(&image, name, b);
    }
    const struct {
        const char *name;
        struct str value;
    } defaults[] = {
        {"PATH", STR("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")},
        {"HOSTNAME", c->hostname},
        {"HOME", c->user.home},
        {"TERM", config->tty ? STR("xterm") : STR_NULL},
    };
    buf_puts(b, ",\"env\":[");
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        struct str name = str_of(defaults[i].name);
        if (defaults[i].value.n && !map_has(&last, name) && !map_has(&image, name))
            env_entry(b, a, name, defaults[i].value);
    }
    for (size_t i = 0; i < c->image->config.nenv; i++) {
        struct str value = c->image->config.env[i], name = str_cut(&value, '=');
        if (!map_has(&last, name))
            env_entry(b, a, name, value);
    }
    for (size_t i = 0; i < config->nenv; i++)
        if (map_get(&last, config->env[i][0]) == config->env[i])
            env_entry(b, a, config->env[i][0], config->env[i][1]);
    buf_char(b, ']');
    map_done(&last);
    map_done(&image);
}

static int write_args(struct buf *b, const struct oci_container *c, struct err *e)
{
    const struct runtime_container_config *config = c->config;
    const struct image_config *image = &c->image->config;
    const struct {
        const struct str *items;
        size_t n;
    } parts[2] = {
        {config->ncommand ? config->command : image->entrypoint,
         config->ncommand ? config->ncommand : image->nentrypoint},
        {config->nargs ? config->args : image->cmd,
         config->nargs      ? config->nargs
         : config->ncommand ? 0 // a command without args drops the image's
                            : image->ncmd},
    };
    if (!parts[0].n && !parts[1].n)
        return err_set(e, ERR_INVALID, "no command specified");
    buf_puts(b, ",\"args\":[");
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < parts[k].n; i++) {
            if (b->p[b->n - 1] != '[')
                buf_char(b, ',');
            json_write_string(b, parts[k].items[i]);
        }
    buf_char(b, ']');
    return 0;
}

// Only CAP_SYS_RESOURCE may lower the score below what the process has (proc(5)), and some machines
// keep that capability from root; a container that starts and is less safe is better than one that
// does not start.
static int32_t oom_score_within_reach(int32_t wanted)
{
    char text[16] = {0};
    int own = 0;
    if (wanted >= 0 || capabilities_available() & (uint64_t)1 << CAP_SYS_RESOURCE)
        return wanted;
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) > 0)
        own = (int)strtol(text, NULL, 10);
    close(fd);
    return wanted > own ? wanted : own;
}

static int write_process(struct buf *b, struct arena *a, const struct oci_container *c,
                         const struct str *caps, size_t ncaps, struct err *e)
{
    const struct runtime_container_config *config = c->config;
    struct str cwd = config->working_dir.n            ? config->working_dir
                     : c->image->config.working_dir.n ? c->image->config.working_dir
                                                      : STR("/");
    buf_printf(b, "\"process\":{\"terminal\":%s,\"user\":{\"uid\":%u,\"gid\":%u",
               config->tty ? "true" : "false", c->user.uid, c->user.gid);
    buf_puts(b, ",\"additionalGids\":[");
    for (size_t i = 0; i < c->user.ngroups; i++)
        buf_printf(b, "%s%u", i ? "," : "", c->user.groups[i]);
    buf_puts(b, "]}");
    int r = write_args(b, c, e);
    if (r < 0)
        return r;
    write_env(b, a, c);
    buf_puts(b, ",\"cwd\":");
    json_write_string(b, cwd.p[0] == '/' ? cwd : arena_printf(a, "/%.*s", STR_ARG(cwd)));
    write_capabilities(b, caps, ncaps);
    buf_printf(b, ",\"noNewPrivileges\":%s,\"oomScoreAdj\":%d}",
               config->no_new_privileges ? "true" : "false",
               oom_score_within_reach(config->oom_score_adj));
    return 0;
}

// --- mounts ---------------------------------------------------------------------------------

static size_t depth(struct str path)
{
    size_t n = 0;
    while (path.p)
        n += str_cut(&path, '/').n > 0;
    return n;
}

static bool has_mount_at(const struct runtime_container_config *c, const char *path)
{
    for (size_t i = 0; i < c->nmounts; i++)
        if (str_eqc(c->mounts[i].container_path, path))
            return true;
    return false;
}

static void write_bind(struct buf *b, struct str at, struct str from, const char *options)
{
    buf_puts(b, ",{\"destination\":");
    json_write_string(b, at);
    buf_puts(b, ",\"type\":\"bind\",\"source\":");
    json_write_string(b, from);
    buf_puts(b, ",\"options\":[");
    words(b, options);
    buf_puts(b, "]}");
}

static int write_mounts(struct buf *b, struct arena *a, const struct oci_container *c,
                        const char **ret_propagation, struct err *e)
{
    const struct runtime_container_config *config = c->config;

    buf_puts(b, ",\"mounts\":[");
    for (size_t i = 0; i < sizeof default_mounts / sizeof *default_mounts; i++) {
        const struct default_mount *m = &default_mounts[i];
        bool writable = config->privileged && !strncmp(m->at, "/sys", 4);
        if (has_mount_at(config, m->at))
            continue;
        buf_printf(b, "%s{\"destination\":\"%s\",\"type\":\"%s\",\"source\":\"%s\",\"options\":[",
                   b->p[b->n - 1] == '[' ? "" : ",", m->at, m->type, m->source);
        if (writable) { // all but the last word, which is "ro"
            struct str options = str_of(m->options);
            words(b, arena_cstr(a, str_sub(options, 0, options.n - 3)));
        } else {
            words(b, m->options);
        }
        buf_puts(b, "]}");
    }
    if (c->shm.n && !has_mount_at(config, "/dev/shm"))
        write_bind(b, STR("/dev/shm"), c->shm, "rbind rprivate nosuid nodev noexec rw");
    const struct {
        const char *at;
        struct str from;
    } files[] = {{"/etc/hostname", c->hostname_file}, {"/etc/resolv.conf", c->resolv_conf}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i].from.n && !has_mount_at(config, files[i].at))
            write_bind(b, str_of(files[i].at), files[i].from,
                       config->readonly_rootfs ? "rbind rprivate ro" : "rbind rprivate rw");

    // Parents before what is mounted below them.
    size_t n = config->nmounts;
    const struct runtime_mount **sorted = arena_array(a, const struct runtime_mount *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct runtime_mount *m = &config->mounts[i];
        size_t at = i, d = depth(m->container_path);
        for (; at && depth(sorted[at - 1]->container_path) > d; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = m;
    }
    for (size_t i = 0; i < n; i++) {
        const struct runtime_mount *m = sorted[i];
        const char *propagation = "rprivate";
        if (str_eqc(m->propagation, "Bidirectional")) {
            propagation = *ret_propagation = "rshared";
        } else if (str_eqc(m->propagation, "HostToContainer")) {
            propagation = "rslave";
            if (!*ret_propagation)
                *ret_propagation = "rslave";
        } else if (m->propagation.n && !str_eqc(m->propagation, "None")) {
            return err_set(e, ERR_INVALID, "unknown mount propagation \"%.*s\"",
                           STR_ARG(m->propagation));
        }
        if (!m->container_path.n || m->container_path.p[0] != '/')
            return err_set(e, ERR_INVALID, "mount path \"%.*s\" is not absolute",
                           STR_ARG(m->container_path));
        struct str options = arena_printf(a, "rbind %s %s", propagation,
                                          !m->readonly            ? "rw"
                                          : m->recursive_readonly ? "rro"
                                                                  : "ro");
        write_bind(b, m->container_path, m->host_path, arena_cstr(a, options));
    }
    buf_char(b, ']');
    return 0;
}

// --- linux ----------------------------------------------------------------------------------

static void write_namespaces(struct buf *b, const struct oci_container *c)
{
    const struct {
        const char *type;
        struct str path;
    } pinned[] = {
        {"network", c->ns_net}, {"ipc", c->ns_ipc}, {"uts", c->ns_uts}, {"pid", c->ns_pid}};
    buf_puts(b, ",\"namespaces\":[{\"type\":\"mount\"}");
    if (!c->ns_pid.n && !c->host_pid)
        buf_puts(b, ",{\"type\":\"pid\"}");
    if (c->cgroup_v2 && !c->config->privileged)
        buf_puts(b, ",{\"type\":\"cgroup\"}");
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++) {
        if (!pinned[i].path.n)
            continue;
        buf_printf(b, ",{\"type\":\"%s\",\"path\":", pinned[i].type);
        json_write_string(b, pinned[i].path);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

// A privileged container sees the host's devices.
static void write_devices(struct buf *b, const char *dir, unsigned level)
{
    static const char *const own[] = {"pts", "shm", "fd", "mqueue", "console", "ptmx", ".lxc"};
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[512];
        struct stat st;
        bool skip = entry->d_name[0] == '.';
        for (size_t i = 0; i < sizeof own / sizeof *own; i++)
            skip |= !strcmp(entry->d_name, own[i]);
        if (skip || snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path ||
            lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode) && level < 4) {
            write_devices(b, path, level + 1);
        } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
            buf_puts(b, b->p[b->n - 1] == '[' ? "{\"path\":" : ",{\"path\":");
            json_write_string(b, str_of(path));
            buf_printf(
                b,
                ",\"type\":\"%c\",\"major\":%u,\"minor\":%u,\"fileMode\":%u,\"uid\":%u,\"gid\":%u}",
                S_ISCHR(st.st_mode) ? 'c' : 'b', major(st.st_rdev), minor(st.st_rdev),
                st.st_mode & 07777, st.st_uid, st.st_gid);
        }
    }
    closedir(d);
}

static void write_resources(struct buf *b, const struct runtime_container_config *c, bool v2)
{
    // v1 counts memory and swap together; equal limits mean no swap. Where the kernel does not
    // count swap, the file is missing and the runtime would fail.
    bool swap = v2 || access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0;
    buf_printf(b, ",\"resources\":{\"devices\":[{\"allow\":%s,\"access\":\"rwm\"}]",
               c->privileged ? "true" : "false");
    buf_puts(b, ",\"cpu\":{");
    if (c->cpu_shares)
        buf_printf(b, "\"shares\":%lld", (long long)c->cpu_shares);
    if (c->cpu_quota_us)
        buf_printf(b, "%s\"quota\":%lld,\"period\":%lld", c->cpu_shares ? "," : "",
                   (long long)c->cpu_quota_us,
                   (long long)(c->cpu_period_us ? c->cpu_period_us : 100000));
    buf_char(b, '}');
    if (c->memory_limit) {
        buf_printf(b, ",\"memory\":{\"limit\":%lld", (long long)c->memory_limit);
        if (swap)
            buf_printf(b, ",\"swap\":%lld", (long long)c->memory_limit);
        buf_char(b, '}');
    }
    if (c->pids_limit)
        buf_printf(b, ",\"pids\":{\"limit\":%lld}", (long long)c->pids_limit);
    buf_char(b, '}');
}

static int write_seccomp(struct buf *b, struct arena *a, const struct oci_container *c,
                         const struct str *caps, size_t ncaps, struct err *e)
{
    struct str profile = c->config->seccomp_profile, text;
    struct value *v;
    if (c->config->privileged || str_ieq(profile, STR("Unconfined")))
        return 0;
    buf_puts(b, ",\"seccomp\":");
    if (!profile.n || str_eqc(profile, "RuntimeDefault")) {
        oci_seccomp_write(b, caps, ncaps);
        return 0;
    }
    if (!str_starts(profile, STR("localhost/")))
        return err_set(e, ERR_INVALID, "unknown seccomp profile \"%.*s\"", STR_ARG(profile));
    struct str path = str_from(profile, 10);
    if (str_find(path, STR("..")) >= 0)
        return err_set(e, ERR_INVALID, "seccomp profile \"%.*s\" leaves its directory",
                       STR_ARG(path));
    if (path.p[0] != '/')
        path = arena_printf(a, "%.*s/%.*s", STR_ARG(c->seccomp_dir), STR_ARG(path));
    struct err why = ERR_INIT;
    if (file_read_all(a, arena_cstr(a, path), 1024 * 1024, &text, &why) < 0 ||
        json_parse(a, text, NULL, &v, &why) < 0)
        return err_wrap(e, &why, "cannot load seccomp profile \"%.*s\"", STR_ARG(path));
    json_write(b, v);
    return 0;
}

int oci_config_write(struct buf *b, struct arena *a, const struct oci_container *c, struct err *e)
{
    const struct runtime_container_config *config = c->config;
    const char *propagation = NULL;
    struct str *caps = NULL;
    size_t ncaps = 0;

    int r = capabilities(a, config, &caps, &ncaps, e);
    if (r < 0)
        return r;
    buf_puts(b, "{\"ociVersion\":\"1.0.2\",");
    r = write_process(b, a, c, caps, ncaps, e);
    if (r < 0)
        return r;
    buf_printf(b, ",\"root\":{\"path\":\"rootfs\",\"readonly\":%s}",
               config->readonly_rootfs ? "true" : "false");
    r = write_mounts(b, a, c, &propagation, e);
    if (r < 0)
        return r;
    buf_puts(b, ",\"linux\":{\"cgroupsPath\":");
    json_write_string(b, c->cgroup);
    if (propagation)
        buf_printf(b, ",\"rootfsPropagation\":\"%s\"", propagation);
    write_namespaces(b, c);
    write_resources(b, config, c->cgroup_v2);
    if (config->privileged) {
        buf_puts(b, ",\"devices\":[");
        write_devices(b, "/dev", 0);
        buf_char(b, ']');
    } else if (config->default_proc_mount) {
        list(b, "maskedPaths", masked_paths, sizeof masked_paths / sizeof *masked_paths);
        list(b, "readonlyPaths", readonly_paths, sizeof readonly_paths / sizeof *readonly_paths);
    }
    r = write_seccomp(b, a, c, caps, ncaps, e);
    if (r < 0)
        return r;
    buf_puts(b, "}}\n");
    return buf_ok(b) ? 0 : err_set(e, ERR_TOO_LARGE, "the container's configuration is too large");
}

int oci_exec_process(struct buf *b, struct arena *a, struct str config_json,
                     const struct str *command, size_t n, bool tty, struct err *e)
{
    struct value *v;
    int r = json_parse(a, config_json, NULL, &v, e);
    if (r < 0)
        return r;
    struct value *process = value_getc(v, "process"), *args = value_array(a);
    struct value *env = value_getc(process, "env");
    bool has_term = false;
    if (!n)
        return err_set(e, ERR_BAD_REQUEST, "no command specified");
    for (size_t i = 0; i < n; i++)
        value_push(a, args, value_str(a, command[i]));
    value_setc(a, process, "args", args);
    value_setc(a, process, "terminal", value_bool(a, tty));
    value_each_item (env, item)
        has_term |= str_starts(value_string(item), STR("TERM="));
    if (tty && !has_term)
        value_push(a, env, value_strc(a, "TERM=xterm"));
    json_write(b, process);
    return 0;
}
