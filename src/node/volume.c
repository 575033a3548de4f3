// Volumes of a pod: one row per kind of source in `plugins`; a source that has no row is refused
// with an event, as a missing plug-in is upstream.
//
// Invariants:
//   - whatever holds secret bytes is below the tmpfs DATA/pods/memory (or a tmpfs of its own);
//   - everything mounted for a pod is below DATA/pods/UID, so that tear_down finds it by prefix,
//   also
//     what an agent that was killed has left;
//   - set_up is idempotent, and never touches files that are right already.
#include "base/buf.h"
#include "base/env.h"
#include "node/environment.h"
#include "node/volume_internal.h"
#include "object/quantity.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct volume_plugin {
    const char *field;     // in spec.volumes[]
    const char *directory; // below volumes/; NULL: nothing of its own
    bool memory;           // files live on the shared tmpfs
    bool readonly;         // mounts are read-only whatever the container says
    int (*set_up)(struct volume_request *r, const char *path, const struct value *source,
                  struct err *e);
};

// ---- the kinds ---------------------------------------------------------------------------------

static int make_dir(const char *path, unsigned mode, struct err *e)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_errno(e, errno, "making %s", path);
    return 0;
}

static int set_up_empty_dir(struct volume_request *r, const char *path, const struct value *source,
                            struct err *e)
{
    struct stat st;
    bool memory = str_eqc(value_str_at(source, "medium"), "Memory");
    bool there = stat(path, &st) == 0;
    if (there && (!memory || r->v->o.no_mounts || volume_is_mount_point(path)))
        return 0;
    int rc = file_mkdir_all(path, 0777, e);
    if (rc == 0 && memory && !r->v->o.no_mounts) {
        struct quantity limit = {0};
        quantity_parse(value_str_at(source, "sizeLimit"), &limit);
        rc = volume_mount_tmpfs(path, quantity_value(&limit), 0777, e);
    }
    if (rc < 0)
        return rc;
    if (r->owner.fs_group >= 0 && chown(path, (uid_t)-1, (gid_t)r->owner.fs_group) < 0)
        return err_errno(e, errno, "setting group of %s", path);
    if (chmod(path, r->owner.fs_group >= 0 ? 02777 : 0777) < 0) // mkdir is subject to the umask
        return err_errno(e, errno, "setting mode of %s", path);
    return 0;
}

static int set_up_host_path(struct volume_request *r, const char *path, const struct value *source,
                            struct err *e)
{
    (void)r;
    return volume_check_host_path(path, value_str_at(source, "type"), e);
}

static int write_files(struct volume_request *r, const char *path, const struct volume_files *f,
                       struct err *e)
{
    int rc = file_mkdir_all(path, 0755, e);
    if (rc < 0)
        return rc;
    if (r->owner.fs_group >= 0 && chown(path, (uid_t)-1, (gid_t)r->owner.fs_group) < 0)
        return err_errno(e, errno, "setting group of %s", path);
    // What containers see as the mount's root must be readable by any user of theirs.
    if (chmod(path, r->owner.fs_group >= 0 ? 02777 : 0777) < 0)
        return err_errno(e, errno, "setting mode of %s", path);
    return volume_write_atomic(path, f->p, f->n, &r->owner, env_now(r->v->o.env), NULL, e);
}

static int set_up_config_map(struct volume_request *r, const char *path, const struct value *source,
                             struct err *e)
{
    struct volume_files f = {0};
    int rc = volume_payload_object(r, "configmaps", source, value_str_at(source, "name"),
                                   (unsigned)value_int_at(source, "defaultMode", 0644), &f, e);
    return rc < 0 ? rc : write_files(r, path, &f, e);
}

static int set_up_secret(struct volume_request *r, const char *path, const struct value *source,
                         struct err *e)
{
    struct volume_files f = {0};
    int rc = volume_payload_object(r, "secrets", source, value_str_at(source, "secretName"),
                                   (unsigned)value_int_at(source, "defaultMode", 0644), &f, e);
    return rc < 0 ? rc : write_files(r, path, &f, e);
}

static int set_up_downward(struct volume_request *r, const char *path, const struct value *source,
                           struct err *e)
{
    struct volume_files f = {0};
    int rc = volume_payload_downward(r, source, (unsigned)value_int_at(source, "defaultMode", 0644),
                                     &f, e);
    return rc < 0 ? rc : write_files(r, path, &f, e);
}

// Without fsGroup a token belongs to the one user that all containers run as, if there is one.
static int64_t common_user(const struct value *pod)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers"};
    int64_t user = -1;
    int64_t of_pod = value_int_at(pod, "spec.securityContext.runAsUser", -1);
    for (size_t l = 0; l < 2; l++) {
        const struct value *list = value_at(pod, lists[l]);
        for (size_t i = 0; i < value_len(list); i++) {
            int64_t u = value_int_at(value_item(list, i), "securityContext.runAsUser", of_pod);
            if (u < 0 || (user >= 0 && u != user))
                return -1;
            user = u;
        }
    }
    return user;
}

static int set_up_projected(struct volume_request *r, const char *path, const struct value *source,
                            struct err *e)
{
    struct volume_files f = {0};
    if (r->owner.fs_group < 0)
        r->owner.user = common_user(r->facts->pod);
    int rc = volume_payload_projected(r, source, &f, e);
    return rc < 0 ? rc : write_files(r, path, &f, e);
}

static const struct volume_plugin plugins[] = {
    {"configMap", "kubernetes.io~configmap", .readonly = true, .set_up = set_up_config_map},
    {"downwardAPI", "kubernetes.io~downward-api", .memory = true, .readonly = true,
     .set_up = set_up_downward},
    {"emptyDir", "kubernetes.io~empty-dir", .set_up = set_up_empty_dir},
    {"hostPath", NULL, .set_up = set_up_host_path},
    {"projected", "kubernetes.io~projected", .memory = true, .readonly = true,
     .set_up = set_up_projected},
    {"secret", "kubernetes.io~secret", .memory = true, .readonly = true, .set_up = set_up_secret},
};

// The plug-in and the source of a volume; ERR_NOT_IMPLEMENTED names the source that has none.
static int find_plugin(const struct value *volume, const struct volume_plugin **ret,
                       const struct value **ret_source, struct err *e)
{
    for (size_t i = 0; i < sizeof(plugins) / sizeof(plugins[0]); i++) {
        const struct value *source = value_getc(volume, plugins[i].field);
        if (source) {
            *ret = &plugins[i];
            *ret_source = source;
            return 0;
        }
    }
    struct str field = STR("?");
    value_each_field (volume, f) {
        if (!str_eqc(f->key, "name"))
            field = f->key;
    }
    if (str_eqc(field, "?")) { // no source at all: emptyDir, as upstream
        static const struct value none = {.kind = VALUE_OBJECT};
        *ret = &plugins[2];
        *ret_source = &none;
        return 0;
    }
    return err_set(e, ERR_NOT_IMPLEMENTED,
                   "no volume plugin matched: %.*s volumes are not supported by this node",
                   STR_ARG(field));
}

static char *volume_path(struct volumes *v, struct arena *a, struct str uid,
                         const struct volume_plugin *p, const struct value *volume,
                         const struct value *source)
{
    struct str name = value_str_at(volume, "name");
    if (!p->directory)
        return arena_cstr(a, value_str_at(source, "path"));
    if (p->memory)
        return arena_cstr(
            a, arena_printf(a, "%s/%.*s/%.*s", v->memory_dir, STR_ARG(uid), STR_ARG(name)));
    return arena_cstr(a, arena_printf(a, "%s/%.*s/volumes/%s/%.*s", v->pods_dir, STR_ARG(uid),
                                      p->directory, STR_ARG(name)));
}

// ---- set up and tear down ----------------------------------------------------------------------

int volumes_set_up(struct volumes *v, struct arena *a, const struct pod_facts *facts,
                   uint64_t *ret_refresh, struct str *ret_volume, struct err *e)
{
    const struct value *list = value_at(facts->pod, "spec.volumes");
    uint64_t refresh = 0;
    struct str uid = value_str_at(facts->pod, "metadata.uid");
    int rc = file_mkdir_all(volumes_pod_path(v, a, uid, NULL), 0750, e);
    for (size_t i = 0; rc == 0 && i < value_len(list); i++) {
        const struct value *volume = value_item(list, i), *source = NULL;
        const struct volume_plugin *p = NULL;
        struct volume_request r = {
            .v = v,
            .a = a,
            .facts = facts,
            .volume = volume,
            .uid = uid,
            .ns = value_str_at(facts->pod, "metadata.namespace"),
            .name = value_str_at(volume, "name"),
            .owner = {.user = -1,
                      .fs_group = value_int_at(facts->pod, "spec.securityContext.fsGroup", -1)},
        };
        rc = find_plugin(volume, &p, &source, e);
        if (rc == 0)
            rc = p->set_up(&r, volume_path(v, a, uid, p, volume, source), source, e);
        if (rc < 0)
            *ret_volume = r.name;
        if (r.refresh && (!refresh || r.refresh < refresh))
            refresh = r.refresh;
    }
    if (rc == 0)
        *ret_refresh = refresh;
    return rc;
}

static int bind_sub_path(struct volumes *v, struct arena *a, struct str uid, const char *base,
                         struct str sub, struct str volume, struct str container, size_t index,
                         struct str *ret, struct err *e)
{
    int fd = -1;
    int rc = volume_open_beneath(base, sub, &fd, e);
    if (rc < 0)
        return rc;
    char *dir = arena_cstr(a, arena_printf(a, "%s/%.*s/subpaths/%.*s/%.*s", v->pods_dir,
                                           STR_ARG(uid), STR_ARG(volume), STR_ARG(container)));
    char *target = arena_cstr(a, arena_printf(a, "%s/%zu", dir, index));
    rc = file_mkdir_all(dir, 0750, e);
    // A mount of the container's former run would show what the path was then.
    if (rc == 0)
        rc = volume_unmount_below(target, e);
    if (rc == 0)
        rc = volume_remove_all(target, e);
    if (rc == 0)
        rc = volume_bind_fd(fd, target, e);
    close(fd);
    *ret = str_of(target);
    return rc;
}

static const struct value *find_volume(const struct value *pod, struct str name)
{
    const struct value *list = value_at(pod, "spec.volumes");
    for (size_t i = 0; i < value_len(list); i++)
        if (str_eq(value_str_at(value_item(list, i), "name"), name))
            return value_item(list, i);
    return NULL;
}

int volumes_container_mounts(struct volumes *v, struct arena *a, const struct pod_facts *facts,
                             const struct value *container, const struct str (*env)[2], size_t nenv,
                             struct runtime_mount **ret, size_t *ret_n, struct err *e)
{
    const struct value *list = value_getc(container, "volumeMounts");
    struct str uid = value_str_at(facts->pod, "metadata.uid");
    struct runtime_mount *out = arena_array(a, struct runtime_mount, value_len(list) + 1);
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *m = value_item(list, i), *source = NULL;
        const struct volume_plugin *p = NULL;
        struct str name = value_str_at(m, "name");
        const struct value *volume = find_volume(facts->pod, name);
        if (!volume)
            return err_set(e, ERR_INVALID, "cannot find volume \"%.*s\" to mount into container",
                           STR_ARG(name));
        int rc = find_plugin(volume, &p, &source, e);
        if (rc < 0)
            return rc;
        char *path = volume_path(v, a, uid, p, volume, source);
        struct str sub = value_str_at(m, "subPath"), expr = value_str_at(m, "subPathExpr");
        if (expr.n) {
            sub = environment_expand(a, expr, env, nenv);
            if (str_find(sub, STR("$(")) >= 0)
                return err_set(e, ERR_INVALID, "missing value for \"%.*s\"", STR_ARG(expr));
        }
        if (sub.n && (sub.p[0] == '/' || str_eqc(sub, "..") || str_starts(sub, STR("../")) ||
                      str_find(sub, STR("/../")) >= 0 || str_ends(sub, STR("/.."))))
            return err_set(e, ERR_INVALID, "subPath \"%.*s\" must not be absolute or contain '..'",
                           STR_ARG(sub));
        out[i] = (struct runtime_mount){
            .container_path = value_str_at(m, "mountPath"),
            .host_path = str_of(path),
            .readonly = p->readonly || value_bool_at(m, "readOnly", false),
            .recursive_readonly = str_eqc(value_str_at(m, "recursiveReadOnly"), "Enabled") ||
                                  str_eqc(value_str_at(m, "recursiveReadOnly"), "IfPossible"),
        };
        struct str propagation = value_str_at(m, "mountPropagation");
        if (!str_eqc(propagation, "None"))
            out[i].propagation = propagation;
        if (sub.n) {
            rc = bind_sub_path(v, a, uid, path, sub, name, value_str_at(container, "name"), i,
                               &out[i].host_path, e);
            if (rc < 0)
                return rc;
        } else if (!p->directory && !value_str_at(source, "type").n) {
            // An untyped hostPath that is not there becomes a directory, as container runtimes do.
            struct stat st;
            if (stat(path, &st) < 0 && errno == ENOENT && (rc = file_mkdir_all(path, 0755, e)) < 0)
                return rc;
        }
    }
    *ret = out;
    *ret_n = value_len(list);
    return 0;
}

int volumes_tear_down(struct volumes *v, struct str uid, bool everything, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    volume_tokens_forget(v, uid);
    char *pod = volumes_pod_path(v, &a, uid, NULL);
    char *memory = arena_cstr(&a, arena_printf(&a, "%s/%.*s", v->memory_dir, STR_ARG(uid)));
    char *dir = arena_cstr(&a, arena_printf(&a, "%s/volumes", pod));
    char *sub = arena_cstr(&a, arena_printf(&a, "%s/subpaths", pod));
    int rc = v->o.no_mounts ? 0 : volume_unmount_below(pod, e);
    if (rc == 0)
        rc = volume_remove_all(memory, e);
    if (rc == 0)
        rc = volume_remove_all(sub, e);
    if (rc == 0)
        rc = volume_remove_all(everything ? pod : dir, e);
    return rc;
}

// ---- paths and life ----------------------------------------------------------------------------

char *volumes_pod_path(struct volumes *v, struct arena *a, struct str uid, const char *below)
{
    char *path = arena_cstr(a, arena_printf(a, "%s/%.*s%s%s", v->pods_dir, STR_ARG(uid),
                                            below ? "/" : "", below ? below : ""));
    if (below) {
        char *slash = strrchr(path, '/');
        *slash = '\0';
        file_mkdir_all(path, 0750, NULL); // a failure shows when the file is made
        *slash = '/';
    }
    return path;
}

void volumes_list_pods(struct volumes *v, struct arena *a, struct str **ret, size_t *ret_n)
{
    struct str *out = NULL;
    size_t n = 0;
    const char *const dirs[] = {v->pods_dir, v->memory_dir};
    for (size_t i = 0; i < 2; i++) {
        DIR *d = opendir(dirs[i]);
        if (!d)
            continue;
        for (struct dirent *ent; (ent = readdir(d));) {
            if (ent->d_name[0] == '.' || (i == 0 && strcmp(ent->d_name, "memory") == 0))
                continue;
            out = arena_grow(a, out, n * sizeof(*out), (n + 1) * sizeof(*out));
            out[n++] = arena_str(a, str_of(ent->d_name));
        }
        closedir(d);
    }
    *ret = out;
    *ret_n = n;
}

struct volumes *volumes_new(const struct volumes_options *o)
{
    struct volumes *v = mem_zalloc(sizeof(*v));
    _cleanup_arena_ struct arena a = ARENA_INIT;
    v->o = *o;
    v->o.data_dir = NULL; // the caller's string; what is needed of it is kept below
    v->pods_dir = mem_cstr(arena_printf(&a, "%s/pods", o->data_dir));
    v->memory_dir = mem_cstr(arena_printf(&a, "%s/pods/memory", o->data_dir));
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

void volumes_free(struct volumes *v)
{
    if (!v)
        return;
    volume_tokens_forget(v, STR_NULL);
    map_done(&v->tokens);
    pthread_mutex_destroy(&v->lock);
    free(v->pods_dir);
    free(v->memory_dir);
    free(v);
}

int volumes_prepare(const char *data_dir, bool *ret_made, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *pods = arena_cstr(&a, arena_printf(&a, "%s/pods", data_dir));
    char *memory = arena_cstr(&a, arena_printf(&a, "%s/memory", pods));
    int rc = file_mkdir_all(pods, 0750, e);
    if (rc < 0)
        return rc;
    char *real = realpath(pods, NULL); // mountinfo has no links
    if (real) {
        pods = arena_cstr(&a, str_of(real));
        memory = arena_cstr(&a, arena_printf(&a, "%s/memory", real));
        free(real);
    }
    bool made = !volume_is_mount_point(pods);
    if (made && mount(pods, pods, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_errno(e, errno, "binding %s on itself", pods);
    if (mount(NULL, pods, NULL, MS_SHARED, NULL) < 0)
        rc = err_errno(e, errno, "making %s a shared mount", pods);
    if (rc == 0)
        rc = make_dir(memory, 0700, e);
    if (rc == 0 && !volume_is_mount_point(memory))
        rc = volume_mount_tmpfs(memory, 0, 0700, e);
    if (rc < 0 && made)
        volume_unmount_below(pods, NULL);
    else
        *ret_made = made;
    return rc;
}

int volumes_teardown_all(const char *data_dir, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char *pods = arena_cstr(&a, arena_printf(&a, "%s/pods", data_dir));
    char *real = realpath(pods, NULL);
    if (real) {
        pods = arena_cstr(&a, str_of(real));
        free(real);
    }
    int rc = volume_unmount_below(pods, e);
    return rc < 0 ? rc : volume_remove_all(pods, e);
}
