// The OCI runtime as a whole: what the parts are, how they start, and the table that the pod
// workers see.
//
//   runtime_oci.c        start, program choice, this table
//   runtime_link.c       connection to the supervisor process
//   runtime_state.c      records on disk and in memory
//   runtime_sandbox.c    pod sandboxes
//   runtime_container.c  containers
//   runtime_exec.c       exec and attach
//   runtime_stats.c      cgroup figures
//   runtime_check.c      whether this machine can run containers
//   oci_*.c              config.json: user, capabilities, mounts, seccomp
//   image_*.c            images
//   supervisor_*.c       the other process
//
// Start: read the records, find a runtime program, connect to the supervisor (or start one). After
// that list tells the truth about what the last agent left.
#include "runtime/runtime_oci.h"
#include "base/log.h"
#include "base/process.h"
#include "base/thread.h"
#include "base/time.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#define VERSION_NS (10 * NS_PER_S) // for a program to tell its version

// --- what the supervisor tells --------------------------------------------------------------

static void refresh_all(struct oci_runtime *r)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    pthread_mutex_lock(&r->lock);
    struct str(*changed)[2] = arena_alloc(&a, sizeof *changed * (r->containers.n + 1));
    size_t n = 0;
    map_each (&r->containers, slot) {
        struct oci_entry *c = slot->value;
        container_refresh(r, c);
        if (c->info.state != RUNTIME_EXITED || c->told)
            continue;
        c->told = true;
        changed[n][0] = arena_str(&a, c->info.pod_uid);
        changed[n++][1] = arena_str(&a, c->info.id);
    }
    pthread_cond_broadcast(&r->changed);
    void (*fn)(void *, struct str, struct str) = r->on_change;
    void *ctx = r->on_change_ctx;
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; fn && i < n; i++)
        fn(ctx, changed[i][0], changed[i][1]);
}

static void on_connected(void *ctx, bool again)
{
    if (again)
        log_warn("runtime", "the container supervisor was started again");
    refresh_all(ctx);
}

static void on_exited(void *ctx, struct str id)
{
    struct oci_runtime *r = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str uid = STR_NULL;

    pthread_mutex_lock(&r->lock);
    struct oci_entry *c = map_get(&r->containers, id);
    // start may have seen the end already; it is told here in any case, and once.
    if (c)
        container_refresh(r, c);
    bool changed = c && c->info.state == RUNTIME_EXITED && !c->told;
    if (changed) {
        c->told = true;
        uid = arena_str(&a, c->info.pod_uid);
        pthread_cond_broadcast(&r->changed);
    }
    void (*fn)(void *, struct str, struct str) = r->on_change;
    void *fn_ctx = r->on_change_ctx;
    pthread_mutex_unlock(&r->lock);
    if (changed && fn)
        fn(fn_ctx, uid, id);
}

static void on_session_end(void *ctx, uint64_t session, int exit_code)
{
    oci_session_ended(ctx, session, exit_code);
}

static void on_lost(void *ctx)
{
    oci_sessions_lost(ctx);
}

// --- the program ----------------------------------------------------------------------------

// First line of `program --version`; false when it does not run.
static bool program_version(struct env *env, const char *program, char *ret, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    const char *const argv[] = {program, "--version", NULL};
    const struct process_options how = {.program = program,
                                        .argv = argv,
                                        .output_max = 4096,
                                        .cut = true,
                                        .timeout_ns = VERSION_NS,
                                        .streams = {0, 0, PROCESS_INHERIT}};
    struct process_result answer;
    if (process_run(env, &a, &how, &answer, NULL) < 0 || !process_succeeded(&answer))
        return false;
    struct str rest = answer.output, line = str_cut(&rest, '\n');
    snprintf(ret, size, "%.*s", STR_ARG(line));
    return true;
}

static bool find_program(const char *name, char *ret, size_t size)
{
    static const char *const dirs[] = {
        "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"};
    if (strchr(name, '/')) {
        snprintf(ret, size, "%s", name);
        return access(ret, X_OK) == 0;
    }
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(ret, size, "%s/%s", dirs[i], name);
        if (access(ret, X_OK) == 0)
            return true;
    }
    return false;
}

// crun before runc: a third of the time per container. Both work on v1, v2 and (with the cgroup2
// tree hidden) hybrid machines.
static int choose_program(struct oci_runtime *r, const char *wanted, struct err *e)
{
    static const char *const known[] = {"crun", "runc"};
    char path[PATH_MAX];
    for (size_t i = 0; i < (wanted ? 1 : sizeof known / sizeof *known); i++) {
        const char *name = wanted ? wanted : known[i];
        if (!find_program(name, path, sizeof path))
            continue;
        if (!program_version(r->base.env, path, r->version, sizeof r->version)) {
            if (wanted)
                return err_set(e, ERR_UNAVAILABLE, "the OCI runtime %s does not run", path);
            continue;
        }
        r->program = mem_cstr(str_of(path));
        return 0;
    }
    if (wanted)
        return err_set(e, ERR_NOT_FOUND, "the OCI runtime %s is not there", wanted);
    return err_set(e, ERR_NOT_FOUND,
                   "no OCI runtime on this machine: install crun or runc (apt-get install crun)");
}

// --- the table ------------------------------------------------------------------------------

static int oci_version(struct runtime *base, struct arena *a, struct str *ret_name,
                       struct str *ret_version, struct err *e)
{
    struct oci_runtime *r = oci_of(base);
    struct str version = str_of(r->version);
    (void)e;
    const char *name = strrchr(r->program, '/');
    *ret_name = arena_str(a, str_of(name ? name + 1 : r->program));
    ptrdiff_t at = str_find(version, STR("version "));
    *ret_version = arena_str(a, at < 0 ? version : str_from(version, (size_t)at + 8));
    return 0;
}

static int oci_image_pull(struct runtime *base, struct arena *a, struct str image,
                          const struct value *auth, struct image_info *ret, struct err *e)
{
    return image_pull(oci_of(base)->puller, a, image, auth, ret, e);
}

static int oci_image_import(struct runtime *base, struct arena *a, const char *path,
                            struct image_info **ret, size_t *ret_n, struct err *e)
{
    return image_store_import(oci_of(base)->images, a, path, ret, ret_n, e);
}

static int oci_image_status(struct runtime *base, struct arena *a, struct str image,
                            struct image_info *ret, struct err *e)
{
    return image_store_status(oci_of(base)->images, a, image, ret, e);
}

static int oci_image_list(struct runtime *base, struct arena *a, struct image_info **ret,
                          size_t *ret_n, struct err *e)
{
    return image_store_list(oci_of(base)->images, a, ret, ret_n, e);
}

struct user_search {
    struct oci_runtime *r;
    struct arena arena;
};

static struct str image_user(void *ctx, struct str id)
{
    struct user_search *u = ctx;
    struct str name = STR_NULL;
    pthread_mutex_lock(&u->r->lock);
    map_each (&u->r->containers, slot) {
        const struct oci_entry *c = slot->value;
        if (str_eq(c->info.image_ref, id))
            name = arena_str(&u->arena, c->info.name);
    }
    pthread_mutex_unlock(&u->r->lock);
    return name;
}

static int oci_image_remove(struct runtime *base, struct str image, struct err *e)
{
    struct user_search u = {.r = oci_of(base)};
    int r = image_store_remove(u.r->images, image, image_user, &u, e);
    arena_done(&u.arena);
    return r;
}

static void oci_on_change(struct runtime *base, void (*fn)(void *, struct str, struct str),
                          void *ctx)
{
    struct oci_runtime *r = oci_of(base);
    pthread_mutex_lock(&r->lock);
    r->on_change = fn;
    r->on_change_ctx = ctx;
    pthread_mutex_unlock(&r->lock);
}

static void oci_free(struct runtime *base)
{
    struct oci_runtime *r = oci_of(base);
    link_free(r->link);
    map_each (&r->sandboxes, slot)
        sandbox_entry_free(slot->value);
    map_each (&r->containers, slot)
        container_entry_free(slot->value);
    map_done(&r->sandboxes);
    map_done(&r->containers);
    oci_sessions_free(r);
    image_puller_free(r->puller);
    image_store_close(r->images);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->session_lock);
    pthread_cond_destroy(&r->session_changed);
    free(r->program);
    free(r->data_dir);
    free(r->state_dir);
    free(r->cgroup_root);
    free(r);
}

static int absolute(const char *path, char **ret, struct err *e)
{
    char real[PATH_MAX];
    int r = file_mkdir_all(path, 0711, e);
    if (r < 0)
        return r;
    if (!realpath(path, real))
        return err_errno(e, errno, "%s", path);
    // These would end an option of overlayfs or a line of the launch file.
    if (strpbrk(real, ":,\\\n"))
        return err_set(e, ERR_INVALID, "directory \"%s\" must not have : , or \\ in its name",
                       real);
    *ret = mem_cstr(str_of(real));
    return 0;
}

static const struct runtime_ops oci_ops;

int runtime_oci_new(struct env *env, const struct runtime_oci_options *opt, struct runtime **ret,
                    struct err *e)
{
    struct oci_runtime *r = mem_zalloc(sizeof *r);
    pthread_condattr_t monotonic;
    struct statfs fs;

    r->base = (struct runtime){&oci_ops, env};
    r->cgroup_root = mem_cstr(str_of(opt->cgroup_root ? opt->cgroup_root : "coracle"));
    r->cgroup_v2 =
        statfs("/sys/fs/cgroup", &fs) == 0 && (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
    list_init(&r->sessions);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->session_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&r->session_changed, NULL);

    int result = choose_program(r, opt->program, e);
    if (result == 0)
        result = absolute(opt->data_dir, &r->data_dir, e);
    if (result == 0)
        result = absolute(opt->state_dir ? opt->state_dir : "/run/coracle", &r->state_dir, e);
    if (result == 0)
        result = image_store_open(env, r->data_dir, &r->images, e);
    if (result == 0) {
        r->puller = image_puller_new(r->images);
        result = state_load(r, e);
    }
    if (result == 0) {
        struct link_options link = {opt->supervisor_exe, r->state_dir, r->cgroup_root};
        struct link_handler handler = {on_connected, on_exited, on_session_end, on_lost, r};
        result = link_new(&link, &handler, &r->link, e);
    }
    if (result < 0) {
        oci_free(&r->base);
        return result;
    }
    *ret = &r->base;
    return 0;
}

static const struct runtime_ops oci_ops = {
    .name = "oci",
    .version = oci_version,
    .check = oci_check,
    .sandbox_run = oci_sandbox_run,
    .sandbox_set_ip = oci_sandbox_set_ip,
    .sandbox_stop = oci_sandbox_stop,
    .sandbox_remove = oci_sandbox_remove,
    .sandbox_list = oci_sandbox_list,
    .container_create = oci_container_create,
    .container_start = oci_container_start,
    .container_stop = oci_container_stop,
    .container_remove = oci_container_remove,
    .container_list = oci_container_list,
    .exec_sync = oci_exec_sync,
    .exec = oci_exec,
    .attach = oci_attach,
    .session_resize = oci_session_resize,
    .session_close = oci_session_close,
    .stats = oci_stats,
    .image_pull = oci_image_pull,
    .image_import = oci_image_import,
    .image_status = oci_image_status,
    .image_list = oci_image_list,
    .image_remove = oci_image_remove,
    .on_change = oci_on_change,
    .free = oci_free,
};
