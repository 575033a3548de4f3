// What coracle adds to the OCI runtime: create and start of a container through runtime.h beside
// the runtime program alone (`run --detach` of the same bundle in the same kind of mount
// namespace), in turn, so that both see the same machine; and what a running container costs in
// memory.
//
//     bench_runtime [crun|runc] [rounds] [containers for the memory figure]
#include "base/time.h"
#include "runtime/runtime.h"
#include "runtime/supervisor.h"
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct arena arena;
static struct err error;
static char work[] = "/tmp/coracle-bench-XXXXXX";

#define must(call)                                                                                 \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s: %s\n", #call, error.message ? error.message : "failed");          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int run(char *const *argv)
{
    pid_t pid = fork();
    int status = -1;
    if (!pid) {
        execvp(argv[0], argv);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    return status;
}

// The runtime alone on a bundle: seconds are its own and those of the mount namespace that it
// needs.
static double alone(const char *program, const char *id)
{
    char dir[512], root[256], pid_file[256], unified[256] = "", name[80];
    struct supervisor_launch l;
    int status;
    char state[256];
    snprintf(state, sizeof state, "%s/state", work);
    snprintf(dir, sizeof dir, "%s/containers/%s", state, id);
    snprintf(root, sizeof root, "%s/root", work);
    snprintf(pid_file, sizeof pid_file, "%s/pid", work);
    snprintf(name, sizeof name, "alone%.32s", id);
    must(supervisor_launch_read(state, id, &l, &error));
    bool hybrid = supervisor_cgroup_hybrid(unified, sizeof unified);
    double from = now_ms();
    pid_t pid = fork();
    if (!pid) {
        char rootfs[600];
        snprintf(rootfs, sizeof rootfs, "%s/rootfs", dir);
        int null = open("/dev/null", O_RDWR);
        for (int i = 0; i < 3; i++)
            dup2(null, i);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
            (hybrid && umount2(unified, MNT_DETACH) < 0) || chdir(l.layers) < 0 ||
            mount("overlay", rootfs, "overlay", 0, l.overlay) < 0)
            _exit(125);
        execl(l.program, l.program, "--root", root, "run", "--detach", "--bundle", dir,
              "--pid-file", pid_file, name, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    double took = now_ms() - from;
    if (status) {
        fprintf(stderr, "%s alone failed (%d)\n", program, status);
        exit(1);
    }
    pid = fork();
    if (!pid) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 2);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
            (hybrid && umount2(unified, MNT_DETACH) < 0))
            _exit(125);
        execl(l.program, l.program, "--root", root, "delete", "--force", name, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    supervisor_launch_done(&l);
    return took;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

static long private_kb(int pid)
{
    char path[64], line[256];
    long sum = 0, kb;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Private_Dirty: %ld", &kb) == 1 ||
            sscanf(line, "Private_Clean: %ld", &kb) == 1)
            sum += kb;
    if (f)
        fclose(f);
    return sum;
}

static int supervisor_pid(void)
{
    int found = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[300], text[512] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0 && !strcmp(text, "coracle") && memmem(text, (size_t)n, work, strlen(work)))
            found = (int)strtol(entry->d_name, NULL, 10);
    }
    if (d)
        closedir(d);
    return found;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "supervisor"))
        return runtime_supervisor_main(argc, argv);
    const char *program = argc > 1 ? argv[1] : "crun";
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    size_t many = argc > 3 ? strtoul(argv[3], NULL, 10) : 40;
    char tar[256], data[256], state[256];
    struct runtime *rt;
    struct image_info *images;
    size_t n;

    if (!mkdtemp(work) || !rounds || rounds > 1000)
        return 1;
    snprintf(tar, sizeof tar, "%s/image.tar", work);
    snprintf(data, sizeof data, "%s/data", work);
    snprintf(state, sizeof state, "%s/state", work);
    if (run((char *[]){SOURCE_DIR "/tests/lib/make-image.sh", tar, "busybox:bench", NULL}))
        return 1;
    struct runtime_oci_options options = {
        .program = program, .data_dir = data, .state_dir = state, .cgroup_root = "coracle-bench"};
    must(runtime_oci_new(env_system(), &options, &rt, &error));
    must(rt->ops->image_import(rt, &arena, tar, &images, &n, &error));
    struct runtime_sandbox sandbox;
    struct runtime_sandbox_config sc = {.pod_name = STR("bench"),
                                        .pod_namespace = STR("default"),
                                        .pod_uid = STR("uid"),
                                        .hostname = STR("bench"),
                                        .log_directory = arena_printf(&arena, "%s/logs", work),
                                        .cgroup_parent = STR("besteffort/poduid")};
    double from = now_ms();
    must(rt->ops->sandbox_run(rt, &arena, &sc, &sandbox, &error));
    double sandbox_ms = now_ms() - from;

    struct str command[] = {STR("sleep"), STR("100000")};
    struct runtime_container_config c = {.name = STR("c"),
                                         .image_ref = images[0].id,
                                         .command = command,
                                         .ncommand = 2,
                                         .log_path = STR("c.log"),
                                         .run_as_user = -1,
                                         .run_as_group = -1,
                                         .no_new_privileges = true,
                                         .default_proc_mount = true,
                                         .seccomp_profile = STR("RuntimeDefault")};
    double *ours = mem_zalloc(sizeof(double) * rounds),
           *theirs = mem_zalloc(sizeof(double) * rounds),
           *stops = mem_zalloc(sizeof(double) * rounds);
    for (size_t i = 0; i < rounds; i++) {
        struct str id;
        must(rt->ops->container_create(rt, &arena, sandbox.id, &c, &id, &error));
        theirs[i] = alone(program, arena_cstr(&arena, id));
        must(rt->ops->container_remove(rt, id, &error));
        from = now_ms();
        must(rt->ops->container_create(rt, &arena, sandbox.id, &c, &id, &error));
        must(rt->ops->container_start(rt, id, &error));
        ours[i] = now_ms() - from;
        from = now_ms();
        must(rt->ops->container_stop(rt, id, 0, &error));
        must(rt->ops->container_remove(rt, id, &error));
        stops[i] = now_ms() - from;
    }
    double a = median(ours, rounds), b = median(theirs, rounds);
    printf("%-28s %8.1f ms\n", "sandbox", sandbox_ms);
    printf("%-28s %8.1f ms\n", "create+start, coracle", a);
    printf("%-28s %8.1f ms   ratio %.2f, %+.1f ms\n", "the runtime alone", b, a / b, a - b);
    printf("%-28s %8.1f ms\n", "kill+remove, coracle", median(stops, rounds));

    int pid = supervisor_pid();
    long before = private_kb(pid), mine = private_kb(getpid());
    for (size_t i = 0; i < many; i++) {
        struct str id;
        must(rt->ops->container_create(rt, &arena, sandbox.id, &c, &id, &error));
        must(rt->ops->container_start(rt, id, &error));
    }
    long after = private_kb(pid), mine_after = private_kb(getpid());
    printf("%-28s %8ld kB private with none, %ld kB with %zu running: %.1f kB each\n", "supervisor",
           before, after, many, (double)(after - before) / (double)many);
    printf("%-28s %8.1f kB each (with this program's own arena)\n", "agent",
           (double)(mine_after - mine) / (double)many);
    must(rt->ops->sandbox_stop(rt, sandbox.id, &error));
    must(rt->ops->sandbox_remove(rt, sandbox.id, &error));
    rt->ops->free(rt);
    run((char *[]){"rm", "-rf", work, NULL});
    return 0;
}
