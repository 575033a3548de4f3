// Sandboxes. Order of making: record, then namespaces. So whatever dies in between leaves a record,
// which list shows as not ready and remove takes away with everything that belongs to it.
#include "base/buf.h"
#include "runtime/runtime_oci.h"
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static struct str netns_path(struct oci_runtime *r, struct arena *a, const struct oci_sandbox *s)
{
    return s->host_network ? STR_NULL : oci_path(a, "%s/ns/%.*s/net", r->state_dir, STR_ARG(s->id));
}

// Its network namespace is pinned (or, on the host's network, its directory made).
static bool ready(struct oci_runtime *r, struct arena *a, const struct oci_sandbox *s)
{
    struct statfs fs;
    if (s->stopped)
        return false;
    if (s->host_network)
        return access(oci_path(a, "%s/ns/%.*s", r->state_dir, STR_ARG(s->id)).p, F_OK) == 0;
    return statfs(netns_path(r, a, s).p, &fs) == 0 && (unsigned long)fs.f_type == NSFS_MAGIC;
}

static void describe(struct oci_runtime *r, struct arena *a, const struct oci_sandbox *s,
                     struct runtime_sandbox *ret)
{
    struct str netns = netns_path(r, a, s);
    *ret = (struct runtime_sandbox){
        .id = arena_str(a, s->id),
        .pod_name = arena_str(a, s->pod_name),
        .pod_namespace = arena_str(a, s->pod_namespace),
        .pod_uid = arena_str(a, s->pod_uid),
        .attempt = s->attempt,
        .ready = ready(r, a, s),
        .netns_path = netns,
        .created_ns = s->created_ns,
        .ip = arena_str(a, str_of(s->ip)),
    };
}

static int namespaces_make(struct oci_runtime *r, struct arena *a, const struct oci_sandbox *s,
                           const struct runtime_sandbox_config *c, struct err *e)
{
    struct str strings[SUPERVISOR_STRINGS_MAX];
    size_t n = 0;
    struct buf list = BUF_MAX(64);
    if (!s->host_network)
        buf_puts(&list, "net uts ");
    if (!s->host_ipc)
        buf_puts(&list, "ipc shm ");
    if (s->share_process_namespace && !s->host_pid)
        buf_puts(&list, "pid ");
    strings[n++] = s->id;
    strings[n++] = arena_str(a, str_trim(buf_view(&list)));
    buf_done(&list);
    strings[n++] = s->hostname;
    if (c->nsysctls * 2 + n > SUPERVISOR_STRINGS_MAX)
        return err_set(e, ERR_INVALID, "a pod may set at most %d sysctls",
                       SUPERVISOR_STRINGS_MAX / 2 - 2);
    for (size_t i = 0; i < c->nsysctls; i++) {
        strings[n++] = c->sysctls[i][0];
        strings[n++] = c->sysctls[i][1];
    }
    return link_call(r->link, SUPERVISOR_SANDBOX_RUN, strings, n, NULL, 0, e);
}

// What containers of the pod see as /etc/hostname and /etc/resolv.conf.
static int files_make(struct oci_runtime *r, struct arena *a, const struct oci_sandbox *s,
                      struct str resolv_conf, struct err *e)
{
    struct str dir = oci_path(a, "%s/sandboxes/%.*s", r->state_dir, STR_ARG(s->id));
    if (!resolv_conf.p && access("/etc/resolv.conf", R_OK) == 0) {
        int result = file_read_all(a, "/etc/resolv.conf", 1 << 20, &resolv_conf, e);
        if (result < 0)
            return result;
    }
    int result = file_write_all(oci_path(a, "%s/resolv.conf", dir.p).p, resolv_conf, 0644, e);
    if (result == 0 && s->hostname.n)
        result = file_write_all(oci_path(a, "%s/hostname", dir.p).p,
                                arena_printf(a, "%.*s\n", STR_ARG(s->hostname)), 0644, e);
    return result;
}

int oci_sandbox_run(struct runtime *base, struct arena *a, const struct runtime_sandbox_config *c,
                    struct runtime_sandbox *ret, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    struct err why = ERR_INIT;
    const struct oci_sandbox from = {
        .id = str_of(oci_id_new(r, a)),
        .pod_name = c->pod_name,
        .pod_namespace = c->pod_namespace,
        .pod_uid = c->pod_uid,
        .hostname = str_sub(c->hostname, 0, 64),
        .log_directory = c->log_directory,
        .cgroup_parent = c->cgroup_parent,
        .attempt = c->attempt,
        .host_network = c->host_network,
        .host_pid = c->host_pid,
        .host_ipc = c->host_ipc,
        .share_process_namespace = c->share_process_namespace,
        .labels = c->labels,
        .nlabels = c->nlabels,
        .created_ns = env_now(base->env),
    };
    // The one handler that there is goes by the program's name.
    const char *slash = strrchr(r->program, '/');
    if (c->handler.n && !str_eqc(c->handler, slash ? slash + 1 : r->program))
        return err_set(e, ERR_NOT_FOUND,
                       "failed to get sandbox runtime: no runtime for \"%.*s\" is configured",
                       STR_ARG(c->handler));
    if (c->log_directory.n && file_mkdir_all(arena_cstr(a, c->log_directory), 0755, &why) < 0)
        return err_wrap(e, &why, "failed to create pod sandbox");
    if (sandbox_record_write(r, &from, &why) < 0)
        return err_wrap(e, &why, "failed to create pod sandbox");
    struct oci_sandbox *s = sandbox_entry_new(&from);
    pthread_mutex_lock(&r->lock);
    map_set(&r->sandboxes, s->id, s);
    pthread_mutex_unlock(&r->lock);

    int result = namespaces_make(r, a, s, c, &why);
    if (result == 0)
        result = files_make(r, a, s, c->resolv_conf, &why);
    if (result < 0) {
        err_wrap(e, &why, "failed to create pod sandbox");
        oci_sandbox_remove(base, from.id, NULL);
        return result;
    }
    describe(r, a, s, ret);
    return 0;
}

int oci_sandbox_set_ip(struct runtime *base, struct str id, struct str ip, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    int result;

    pthread_mutex_lock(&r->lock);
    struct oci_sandbox *s = sandbox_get(r, id, e);
    if (!s) {
        result = -404;
    } else if (ip.n >= sizeof s->ip) {
        result = err_set(e, ERR_INVALID, "\"%.*s\" is not an address", STR_ARG(ip));
    } else {
        snprintf(s->ip, sizeof s->ip, "%.*s", STR_ARG(ip));
        result = sandbox_record_write(r, s, e);
    }
    pthread_mutex_unlock(&r->lock);
    return result;
}

// Ids of the sandbox's containers, copied into a.
static size_t containers_of(struct oci_runtime *r, struct arena *a, struct str id,
                            const struct str **ret)
{
    size_t n = 0;
    pthread_mutex_lock(&r->lock);
    struct str *ids = arena_array(a, struct str, r->containers.n + 1);
    map_each (&r->containers, slot) {
        const struct oci_entry *c = slot->value;
        if (str_eq(c->info.sandbox_id, id))
            ids[n++] = arena_str(a, c->info.id);
    }
    pthread_mutex_unlock(&r->lock);
    *ret = ids;
    return n;
}

int oci_sandbox_stop(struct runtime *base, struct str id, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct str *ids;

    pthread_mutex_lock(&r->lock);
    bool known = map_has(&r->sandboxes, id);
    pthread_mutex_unlock(&r->lock);
    if (!known)
        return 0;
    size_t n = containers_of(r, &a, id, &ids);
    for (size_t i = 0; i < n; i++) {
        struct err why = ERR_INIT;
        int result = oci_container_stop(base, ids[i], 0, &why);
        if (result < 0 && !err_is(&why, ERR_NOT_FOUND))
            return err_wrap(e, &why, "failed to stop sandbox \"%.*s\"", STR_ARG(id));
        err_done(&why);
    }
    struct err why = ERR_INIT;
    int result = link_call(r->link, SUPERVISOR_SANDBOX_REMOVE, &id, 1, NULL, 0, &why);
    if (result < 0)
        return err_wrap(e, &why, "failed to stop sandbox \"%.*s\"", STR_ARG(id));
    pthread_mutex_lock(&r->lock);
    struct oci_sandbox *s = map_get(&r->sandboxes, id);
    if (s && !s->stopped) {
        s->stopped = true;
        result = sandbox_record_write(r, s, e);
    }
    pthread_mutex_unlock(&r->lock);
    return result;
}

int oci_sandbox_remove(struct runtime *base, struct str id, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const struct str *ids;

    pthread_mutex_lock(&r->lock);
    bool known = map_has(&r->sandboxes, id);
    pthread_mutex_unlock(&r->lock);
    if (!known)
        return 0;
    int result = oci_sandbox_stop(base, id, e);
    size_t n = containers_of(r, &a, id, &ids);
    for (size_t i = 0; result == 0 && i < n; i++)
        result = oci_container_remove(base, ids[i], e);
    if (result == 0)
        result = oci_remove_tree(oci_path(&a, "%s/sandboxes/%.*s", r->state_dir, STR_ARG(id)), e);
    if (result < 0)
        return result;
    pthread_mutex_lock(&r->lock);
    struct oci_sandbox *s = map_del(&r->sandboxes, id);
    pthread_mutex_unlock(&r->lock);
    if (s && s->cgroup_parent.n)
        oci_cgroup_remove(r, oci_path(&a, "/%s/%.*s", r->cgroup_root, STR_ARG(s->cgroup_parent)));
    if (s)
        sandbox_entry_free(s);
    return 0;
}

int oci_sandbox_list(struct runtime *base, struct arena *a, struct runtime_sandbox **ret,
                     size_t *ret_n, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    (void)e;
    pthread_mutex_lock(&r->lock);
    *ret = arena_array(a, struct runtime_sandbox, r->sandboxes.n + 1);
    *ret_n = 0;
    map_each (&r->sandboxes, slot)
        describe(r, a, slot->value, &(*ret)[(*ret_n)++]);
    pthread_mutex_unlock(&r->lock);
    return 0;
}
