// Records: one JSON file for each sandbox and container in the state directory, written once (a
// sandbox's again when its address becomes known or it is stopped), atomically. A directory without
// a whole record is something that was being made when the agent died, and is swept at the next
// start.
//
// What a container does is not in its record: it follows from the supervisor's files.
//
//     exit there                         EXITED
//     pid there                          RUNNING (the supervisor writes exit when it ends)
//     neither                            CREATED
//
// A state directory of another boot is emptied: processes, mounts and cgroups that it speaks of are
// gone.
#include "base/log.h"
#include "content/tree.h"
#include "object/json.h"
#include "runtime/runtime_oci.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX (256 * 1024)

struct str oci_path(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return str_of(arena_cstr(a, s));
}

const char *oci_id_new(struct oci_runtime *r, struct arena *a)
{
    uint8_t bytes[16];
    char text[33];
    env_random(r->base.env, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return arena_cstr(a, str_of(text));
}

int oci_remove_tree(struct str path, struct err *e)
{
    int r = tree_remove(AT_FDCWD, path.p);
    return r < 0 ? err_errno(e, -r, "cannot remove %s", path.p) : 0;
}

// --- writing --------------------------------------------------------------------------------

static void text(struct buf *b, const char *key, struct str s)
{
    buf_printf(b, "%s\"%s\":", b->n > 1 ? "," : "", key);
    json_write_string(b, s);
}

static void number(struct buf *b, const char *key, int64_t v)
{
    buf_printf(b, "%s\"%s\":%lld", b->n > 1 ? "," : "", key, (long long)v);
}

// In RAM usually (/run): no fsync, the files are worth nothing after a reboot.
static int record_write(const char *path, const struct buf *b, struct err *e)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, b->p, b->n) == (ssize_t)b->n;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (ok && rename(temporary, path) == 0)
        return 0;
    return err_errno(e, ok ? errno : why, "cannot write %s", path);
}

int sandbox_record_write(struct oci_runtime *r, const struct oci_sandbox *s, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_MAX(RECORD_MAX);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    buf_char(&b, '{');
    text(&b, "id", s->id);
    text(&b, "podName", s->pod_name);
    text(&b, "podNamespace", s->pod_namespace);
    text(&b, "podUID", s->pod_uid);
    text(&b, "hostname", s->hostname);
    text(&b, "logDirectory", s->log_directory);
    text(&b, "cgroupParent", s->cgroup_parent);
    text(&b, "ip", str_of(s->ip));
    number(&b, "attempt", s->attempt);
    number(&b, "createdNs", s->created_ns);
    number(&b, "hostNetwork", s->host_network);
    number(&b, "hostPID", s->host_pid);
    number(&b, "hostIPC", s->host_ipc);
    number(&b, "shareProcessNamespace", s->share_process_namespace);
    number(&b, "stopped", s->stopped);
    buf_puts(&b, ",\"labels\":{");
    for (size_t i = 0; i < s->nlabels; i++) {
        if (i)
            buf_char(&b, ',');
        json_write_string(&b, s->labels[i][0]);
        buf_char(&b, ':');
        json_write_string(&b, s->labels[i][1]);
    }
    buf_puts(&b, "}}\n");
    if (!buf_ok(&b))
        return err_set(e, ERR_TOO_LARGE, "the sandbox's record is too large");
    struct str dir = oci_path(&a, "%s/sandboxes/%.*s", r->state_dir, STR_ARG(s->id));
    if (mkdir(dir.p, 0711) < 0 && errno != EEXIST)
        return err_errno(e, errno, "%s", dir.p);
    return record_write(oci_path(&a, "%s/record.json", dir.p).p, &b, e);
}

int container_record_write(struct oci_runtime *r, const struct oci_entry *c, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_MAX(RECORD_MAX);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct runtime_container *i = &c->info;
    buf_char(&b, '{');
    text(&b, "id", i->id);
    text(&b, "sandbox", i->sandbox_id);
    text(&b, "name", i->name);
    text(&b, "podUID", i->pod_uid);
    text(&b, "imageRef", i->image_ref);
    text(&b, "imageName", i->image_name);
    text(&b, "logPath", i->log_path);
    text(&b, "cgroup", c->cgroup);
    number(&b, "attempt", i->attempt);
    number(&b, "createdNs", i->created_ns);
    number(&b, "stopSignal", c->stop_signal);
    number(&b, "ownPIDs", c->own_pids);
    number(&b, "tty", c->tty);
    buf_puts(&b, "}\n");
    if (!buf_ok(&b))
        return err_set(e, ERR_TOO_LARGE, "the container's record is too large");
    return record_write(
        oci_path(&a, "%s/containers/%.*s/record.json", r->state_dir, STR_ARG(i->id)).p, &b, e);
}

// --- entries --------------------------------------------------------------------------------

struct oci_sandbox *sandbox_entry_new(const struct oci_sandbox *from)
{
    struct arena a = ARENA_INIT;
    struct oci_sandbox *s = arena_new(&a, struct oci_sandbox);
    *s = *from;
    struct str *strings[] = {&s->id,       &s->pod_name,      &s->pod_namespace, &s->pod_uid,
                             &s->hostname, &s->log_directory, &s->cgroup_parent};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *strings[i] = arena_str(&a, *strings[i]);
    struct str(*labels)[2] = arena_alloc(&a, sizeof *labels * (from->nlabels + 1));
    for (size_t i = 0; i < from->nlabels; i++)
        for (size_t k = 0; k < 2; k++)
            labels[i][k] = arena_str(&a, from->labels[i][k]);
    s->labels = (const struct str(*)[2])labels;
    s->arena = a;
    return s;
}

struct oci_entry *container_entry_new(const struct oci_entry *from)
{
    struct arena a = ARENA_INIT;
    struct oci_entry *c = arena_new(&a, struct oci_entry);
    *c = *from;
    struct str *strings[] = {&c->info.id,       &c->info.sandbox_id, &c->info.name,
                             &c->info.pod_uid,  &c->info.image_ref,  &c->info.image_name,
                             &c->info.log_path, &c->cgroup};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        *strings[i] = arena_str(&a, *strings[i]);
    c->arena = a;
    return c;
}

void sandbox_entry_free(struct oci_sandbox *s)
{
    struct arena a = s->arena;
    arena_done(&a);
}

void container_entry_free(struct oci_entry *c)
{
    struct arena a = c->arena;
    arena_done(&a);
}

struct oci_sandbox *sandbox_get(struct oci_runtime *r, struct str id, struct err *e)
{
    struct oci_sandbox *s = map_get(&r->sandboxes, id);
    if (!s)
        err_set(e, ERR_NOT_FOUND, "pod sandbox \"%.*s\" not found", STR_ARG(id));
    return s;
}

struct oci_entry *container_get(struct oci_runtime *r, struct str id, struct err *e)
{
    struct oci_entry *c = map_get(&r->containers, id);
    if (!c)
        err_set(e, ERR_NOT_FOUND, "container \"%.*s\" not found", STR_ARG(id));
    return c;
}

bool container_refresh(struct oci_runtime *r, struct oci_entry *c)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct runtime_container *i = &c->info;
    enum runtime_state before = i->state;
    struct supervisor_exit x;
    struct supervisor_pid pid;

    if (before == RUNTIME_EXITED)
        return false;
    struct str dir = oci_path(&a, "%s/containers/%.*s", r->state_dir, STR_ARG(i->id));
    struct str exit_path = oci_path(&a, "%s/exit", dir.p);
    struct str pid_path = oci_path(&a, "%s/pid", dir.p);
    if (supervisor_exit_read(exit_path.p, &x, NULL) == 0) {
        i->state = RUNTIME_EXITED;
        i->exit_code = x.code;
        i->signal = x.signal;
        i->oom_killed = x.oom;
        i->started_ns = x.started_ns;
        i->finished_ns = x.finished_ns;
        i->pid = 0;
        i->reason = arena_str(&c->arena, str_of(x.reason));
        i->message = arena_str(&c->arena, str_of(x.message));
        free(x.message);
    } else if (access(pid_path.p, F_OK) == 0) {
        supervisor_pid_read(pid_path.p, &pid);
        FILE *f = fopen(pid_path.p, "re");
        long long started = 0;
        if (f && fscanf(f, "%d %*u %lld", &i->pid, &started) == 2)
            i->started_ns = started;
        if (f)
            fclose(f);
        i->state = RUNTIME_RUNNING;
    }
    return i->state != before;
}

// --- loading --------------------------------------------------------------------------------

static struct value *record_read(struct arena *a, const char *path)
{
    struct str s;
    struct value *v;
    if (file_read_all(a, path, RECORD_MAX, &s, NULL) < 0 || json_parse(a, s, NULL, &v, NULL) < 0)
        return NULL;
    return value_is(v, VALUE_OBJECT) ? v : NULL;
}

static void load_sandbox(struct oci_runtime *r, struct arena *a, const struct value *v)
{
    const struct value *labels = value_getc(v, "labels");
    struct oci_sandbox s = {
        .id = value_str_at(v, "id"),
        .pod_name = value_str_at(v, "podName"),
        .pod_namespace = value_str_at(v, "podNamespace"),
        .pod_uid = value_str_at(v, "podUID"),
        .hostname = value_str_at(v, "hostname"),
        .log_directory = value_str_at(v, "logDirectory"),
        .cgroup_parent = value_str_at(v, "cgroupParent"),
        .attempt = (uint32_t)value_int_at(v, "attempt", 0),
        .created_ns = value_int_at(v, "createdNs", 0),
        .host_network = value_int_at(v, "hostNetwork", 0),
        .host_pid = value_int_at(v, "hostPID", 0),
        .host_ipc = value_int_at(v, "hostIPC", 0),
        .share_process_namespace = value_int_at(v, "shareProcessNamespace", 0),
        .stopped = value_int_at(v, "stopped", 0),
        .nlabels = value_len(labels),
    };
    struct str(*pairs)[2] = arena_alloc(a, sizeof *pairs * (s.nlabels + 1));
    size_t n = 0;
    value_each_field (labels, f) {
        pairs[n][0] = f->key;
        pairs[n++][1] = value_string(f->value);
    }
    s.labels = (const struct str(*)[2])pairs;
    snprintf(s.ip, sizeof s.ip, "%.*s", STR_ARG(value_str_at(v, "ip")));
    map_set(&r->sandboxes, s.id, sandbox_entry_new(&s));
}

static void load_container(struct oci_runtime *r, const struct value *v)
{
    struct oci_entry from = {
        .info =
            {
                .id = value_str_at(v, "id"),
                .sandbox_id = value_str_at(v, "sandbox"),
                .name = value_str_at(v, "name"),
                .pod_uid = value_str_at(v, "podUID"),
                .image_ref = value_str_at(v, "imageRef"),
                .image_name = value_str_at(v, "imageName"),
                .log_path = value_str_at(v, "logPath"),
                .attempt = (uint32_t)value_int_at(v, "attempt", 0),
                .created_ns = value_int_at(v, "createdNs", 0),
                .state = RUNTIME_CREATED,
            },
        .cgroup = value_str_at(v, "cgroup"),
        .stop_signal = (int)value_int_at(v, "stopSignal", 15),
        .own_pids = value_int_at(v, "ownPIDs", 1),
        .tty = value_int_at(v, "tty", 0),
    };
    struct oci_entry *c = container_entry_new(&from);
    container_refresh(r, c);
    map_set(&r->containers, c->info.id, c);
}

static void load_directory(struct oci_runtime *r, const char *part, bool containers)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str dir = oci_path(&a, "%s/%s", r->state_dir, part);
    DIR *d = opendir(dir.p);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        const struct value *v =
            record_read(&a, oci_path(&a, "%s/%s/record.json", dir.p, entry->d_name).p);
        if (v && str_eqc(value_str_at(v, "id"), entry->d_name)) {
            if (containers)
                load_container(r, v);
            else
                load_sandbox(r, &a, v);
            continue;
        }
        struct err e = ERR_INIT;
        if (oci_remove_tree(oci_path(&a, "%s/%s", dir.p, entry->d_name), &e) < 0) {
            log_warn("runtime", "half-made %s stays: %s", part, e.message);
            err_done(&e);
        }
    }
    closedir(d);
}

// Writable layers whose container is not known.
static void sweep_layers(struct oci_runtime *r)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str dir = oci_path(&a, "%s/containers", r->data_dir);
    DIR *d = opendir(dir.p);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.' && !map_has(&r->containers, str_of(entry->d_name)))
            tree_remove(dirfd(d), entry->d_name);
    closedir(d);
}

static void forget_other_boot(struct oci_runtime *r)
{
    static const char *const parts[] = {"sandboxes", "containers", "ns", "oci", "tty"};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str now, then = STR_NULL;
    struct str path = oci_path(&a, "%s/boot", r->state_dir);
    if (file_read_all(&a, "/proc/sys/kernel/random/boot_id", 64, &now, NULL) < 0)
        return;
    if (file_read_all(&a, path.p, 64, &then, NULL) == 0 && str_eq(now, then))
        return;
    for (size_t i = 0; then.n && i < sizeof parts / sizeof *parts; i++)
        oci_remove_tree(oci_path(&a, "%s/%s", r->state_dir, parts[i]), NULL);
    file_write_all(path.p, now, 0600, NULL);
}

int state_load(struct oci_runtime *r, struct err *e)
{
    static const char *const parts[] = {"sandboxes", "containers"};
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int ok = file_mkdir_all(r->state_dir, 0711, e);
    if (ok < 0)
        return ok;
    forget_other_boot(r);
    for (size_t i = 0; i < 2; i++) {
        ok = file_mkdir_all(oci_path(&a, "%s/%s", r->state_dir, parts[i]).p, 0711, e);
        if (ok < 0)
            return ok;
    }
    ok = file_mkdir_all(oci_path(&a, "%s/containers", r->data_dir).p, 0711, e);
    if (ok < 0)
        return ok;
    load_directory(r, "sandboxes", false);
    load_directory(r, "containers", true);
    sweep_layers(r);
    return 0;
}
