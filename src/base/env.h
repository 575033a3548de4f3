// The one door to the world: clock, randomness, disk, processes. Production code asks struct env;
// tests and simulation pass another one (virtual clock, seeded random, crash disk). Sockets belong
// to wire/loop.h, which takes its clock from here.
//
// Files: small and POSIX-shaped on purpose, so that the crash disk can implement the whole. Paths
// are NUL-terminated. Functions return 0 or a count, or -errno.
#pragma once
#include "base/str.h"
#include <sys/types.h>

struct arena;
struct err;
struct env;
struct env_file; // an open file of this env
struct process_options;
struct process_result;

struct env_ops {
    int64_t (*now_real)(struct env *env);               // ns since 1970 UTC
    uint64_t (*now_mono)(struct env *env);              // ns, monotonic
    void (*random)(struct env *env, void *p, size_t n); // cryptographic in production

    // Disk. flags: ENV_* below.
    int (*file_open)(struct env *env, const char *path, int flags, unsigned mode,
                     struct env_file **ret);
    void (*file_close)(struct env_file *f);
    ssize_t (*file_pread)(struct env_file *f, void *p, size_t n, uint64_t off);
    ssize_t (*file_pwrite)(struct env_file *f, const void *p, size_t n, uint64_t off);
    int (*file_sync)(struct env_file *f); // fdatasync: data and what is needed to read it
    int64_t (*file_size)(struct env_file *f);
    int (*file_truncate)(struct env_file *f, uint64_t size);
    int (*file_allocate)(struct env_file *f, uint64_t size); // preallocate; -EOPNOTSUPP is fine
    int (*rename)(struct env *env, const char *from, const char *to);
    int (*unlink)(struct env *env, const char *path);
    int (*mkdir)(struct env *env, const char *path, unsigned mode); // -EEXIST is an error
    int (*sync_dir)(struct env *env, const char *path);
    // Calls fn for each name in the directory (not . and ..).
    int (*list_dir)(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                    void *ctx);

    // Programs: process.h says what each does. A world without programs leaves them NULL.
    int (*process_start)(struct env *env, const struct process_options *o, int *ret_pid,
                         struct err *e);
    void (*process_kill)(struct env *env, int pid, int signal_number);
    int (*process_wait)(struct env *env, int pid, uint64_t timeout_ns, int *ret_status,
                        struct err *e);
    int (*process_run)(struct env *env, struct arena *a, const struct process_options *o,
                       struct process_result *ret, struct err *e);
};
enum { ENV_READ = 1, ENV_WRITE = 2, ENV_CREATE = 4, ENV_EXCL = 8, ENV_TRUNC = 16 };

struct env {
    const struct env_ops *ops;
    // True: time moves only when a loop is idle (simulation); loops must not sleep in the kernel.
    bool virtual_time;
};

struct env *env_system(void); // the real world; one for the process, never freed

static inline int64_t env_now(struct env *env)
{
    return env->ops->now_real(env);
}
static inline uint64_t env_mono(struct env *env)
{
    return env->ops->now_mono(env);
}
static inline void env_random(struct env *env, void *p, size_t n)
{
    env->ops->random(env, p, n);
}
// Virtual env for simulation and tests: clock starts at start_real and moves only by
// env_sim_advance; random from the seed; the disk is an in-memory one (see store's crash disk for a
// faulty one).
struct env *env_sim_new(uint64_t seed, int64_t start_real);
void env_sim_advance(struct env *env, uint64_t ns);
void env_sim_free(struct env *env);
// What stands for every program of the simulated world: fn answers process_run as the program
// would. Without it, and for process_start, there are no programs.
void env_sim_programs(struct env *env,
                      int (*fn)(void *ctx, struct arena *a, const struct process_options *o,
                                struct process_result *ret, struct err *e),
                      void *ctx);

// UUID version 4, 36 characters, into out (no NUL).
void env_uuid(struct env *env, char out[36]);
// n characters of Kubernetes' name alphabet "bcdfghjklmnpqrstvwxz2456789" (no NUL).
void env_name_suffix(struct env *env, char *out, size_t n);

// Whole files, through the system's disk: convenience for configuration, certificates, kubeconfig.
// Fails with ERR_TOO_LARGE past max bytes.
int file_read_all(struct arena *a, const char *path, size_t max, struct str *ret, struct err *e);
// Atomic: temporary file in the same directory, fsync, rename, fsync of the directory.
int file_write_all(const char *path, struct str data, unsigned mode, struct err *e);
int file_mkdir_all(const char *path, unsigned mode, struct err *e);
