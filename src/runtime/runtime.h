// runtime.h: the shape of CRI. The pod workers know containers only through this table; `oci`
// drives crun or runc with coracle's own supervisor and image store, `cri` (later) speaks gRPC to
// containerd or CRI-O, and the simulated runtime of tests/sim counts.
//
// All calls block and are safe from any thread; calls for one sandbox come from one worker at a
// time. Memory of results is in the caller's arena. Errors are for people: they end up in pod
// status and events
// ("failed to start container "web": executable file not found in $PATH").
#pragma once
#include "base/arena.h"
#include "base/env.h"
#include "base/err.h"
#include "content/image_info.h"
#include "object/value.h"

struct runtime;

enum namespace_mode { NAMESPACE_POD, NAMESPACE_CONTAINER, NAMESPACE_NODE, NAMESPACE_TARGET };

struct runtime_sandbox_config {
    struct str pod_name, pod_namespace, pod_uid;
    uint32_t attempt;
    struct str hostname;      // STR_NULL with host network
    struct str log_directory; // made by the runtime: "/var/log/pods/NS_NAME_UID"
    struct str handler;       // of the pod's RuntimeClass; STR_NULL: the usual one
    struct str cgroup_parent; // relative to the agent's root, by QoS: "burstable/pod<uid>"
    struct str resolv_conf;   // content; STR_NULL: the host's
    bool host_network, host_pid, host_ipc, share_process_namespace;
    const struct str (*sysctls)[2];
    size_t nsysctls;
    const struct str (*labels)[2]; // kept with the sandbox, returned by list
    size_t nlabels;
};

enum runtime_state { RUNTIME_CREATED, RUNTIME_RUNNING, RUNTIME_EXITED, RUNTIME_UNKNOWN };

struct runtime_sandbox {
    struct str id, pod_name, pod_namespace, pod_uid;
    uint32_t attempt;
    bool ready;            // its namespaces are there
    struct str netns_path; // "/run/coracle/netns/…"; STR_NULL with host network
    int64_t created_ns;
    struct str ip; // as noted by sandbox_set_ip, survives restarts
};

struct runtime_mount {
    struct str container_path, host_path;
    bool readonly, recursive_readonly;
    struct str propagation; // "" private, "HostToContainer", "Bidirectional"
};

struct runtime_container_config {
    struct str name;
    uint32_t attempt;     // restart count
    struct str image_ref; // an id that image_status gave
    // Override the image's entrypoint and cmd when ncommand > 0 / nargs > 0.
    const struct str *command, *args;
    size_t ncommand, nargs;
    struct str working_dir;
    const struct str (*env)[2];
    size_t nenv;
    const struct runtime_mount *mounts;
    size_t nmounts;
    struct str log_path; // below the sandbox's log directory: "web/0.log"
    bool stdin_open, stdin_once, tty;
    // Security context, merged from pod and container.
    bool privileged, readonly_rootfs, no_new_privileges;
    int64_t run_as_user, run_as_group; // -1: the image's
    struct str run_as_username;        // or STR_NULL
    bool run_as_non_root;              // refuse to start as uid 0
    const int64_t *supplemental_groups;
    size_t nsupplemental_groups;
    const struct str *capabilities_add, *capabilities_drop; // "NET_ADMIN", "ALL"
    size_t ncapabilities_add, ncapabilities_drop;
    struct str seccomp_profile; // "RuntimeDefault", "Unconfined", "localhost/<path>"
    bool default_proc_mount;
    // Resources. 0: unset.
    int64_t cpu_shares, cpu_quota_us, cpu_period_us, memory_limit, pids_limit;
    int32_t oom_score_adj;
};

struct runtime_container {
    struct str id, sandbox_id, name, pod_uid;
    uint32_t attempt;
    enum runtime_state state;
    struct str image_ref, image_name;
    int64_t created_ns, started_ns, finished_ns;
    int32_t exit_code;
    int32_t signal;
    bool oom_killed;
    int32_t pid;         // while running
    struct str log_path; // absolute
    struct str reason;   // of EXITED: "Completed", "Error", "OOMKilled", "StartError"
    struct str message;  // of StartError
};

struct runtime_stats {
    struct str container_id;
    uint64_t cpu_ns, memory_working_set, memory_rss;
};

// Streams of exec and attach: file descriptors that the runtime owns from then on (-1: none). With
// tty, `stdin_fd` is both ways: one end of a socketpair.
struct runtime_exec {
    struct str container_id;
    const struct str *command; // exec only
    size_t ncommand;
    bool tty;
    int stdin_fd, stdout_fd, stderr_fd;
    // Called once from a runtime thread: exit code (or -1 with the error's text).
    void (*on_exit)(void *ctx, int exit_code, struct str error);
    void *ctx;
};
struct runtime_session; // a running exec or attach

struct runtime_ops {
    const char *name;
    int (*version)(struct runtime *r, struct arena *a, struct str *ret_name,
                   struct str *ret_version, struct err *e);
    // Whether containers can be started on this machine at all; the error says why not and what to
    // do. Asked at the agent's start.
    int (*check)(struct runtime *r, struct err *e);

    // Namespaces and cgroup of a pod; the network is added by the caller (network/pod_network.h) on
    // netns_path.
    int (*sandbox_run)(struct runtime *r, struct arena *a, const struct runtime_sandbox_config *c,
                       struct runtime_sandbox *ret, struct err *e);
    int (*sandbox_set_ip)(struct runtime *r, struct str id, struct str ip, struct err *e);
    // Kills what still runs; idempotent.
    int (*sandbox_stop)(struct runtime *r, struct str id, struct err *e);
    int (*sandbox_remove)(struct runtime *r, struct str id, struct err *e); // idempotent
    int (*sandbox_list)(struct runtime *r, struct arena *a, struct runtime_sandbox **ret,
                        size_t *ret_n, struct err *e);

    int (*container_create)(struct runtime *r, struct arena *a, struct str sandbox_id,
                            const struct runtime_container_config *c, struct str *ret_id,
                            struct err *e);
    int (*container_start)(struct runtime *r, struct str id, struct err *e);
    // SIGTERM (or the image's stop signal), then SIGKILL after grace seconds. Blocks until it is
    // gone.
    int (*container_stop)(struct runtime *r, struct str id, int64_t grace_seconds, struct err *e);
    int (*container_remove)(struct runtime *r, struct str id, struct err *e);
    // sandbox_id STR_NULL: those of all sandboxes.
    int (*container_list)(struct runtime *r, struct arena *a, struct str sandbox_id,
                          struct runtime_container **ret, size_t *ret_n, struct err *e);

    // Runs and collects at most max bytes of stdout+stderr; ERR_TIMEOUT after timeout_ns (0: none).
    int (*exec_sync)(struct runtime *r, struct arena *a, struct str container_id,
                     const struct str *command, size_t n, uint64_t timeout_ns, size_t max,
                     struct str *ret_output, int *ret_exit, struct err *e);
    int (*exec)(struct runtime *r, const struct runtime_exec *x, struct runtime_session **ret,
                struct err *e);
    int (*attach)(struct runtime *r, const struct runtime_exec *x, struct runtime_session **ret,
                  struct err *e);
    void (*session_resize)(struct runtime_session *s, uint16_t width, uint16_t height);
    void (*session_close)(struct runtime_session *s); // ends it if it still runs; frees
    int (*stats)(struct runtime *r, struct arena *a, struct runtime_stats **ret, size_t *ret_n,
                 struct err *e);

    // Images. auth: {"username":…,"password":…} or NULL. Fails with the registry's words.
    int (*image_pull)(struct runtime *r, struct arena *a, struct str image,
                      const struct value *auth, struct image_info *ret, struct err *e);
    // A docker-archive or oci-archive.
    int (*image_import)(struct runtime *r, struct arena *a, const char *archive_path,
                        struct image_info **ret, size_t *ret_n, struct err *e);
    // ERR_NOT_FOUND when it is not there. `image`: a name as in a pod spec, or an id.
    int (*image_status)(struct runtime *r, struct arena *a, struct str image,
                        struct image_info *ret, struct err *e);
    int (*image_list)(struct runtime *r, struct arena *a, struct image_info **ret, size_t *ret_n,
                      struct err *e);
    int (*image_remove)(struct runtime *r, struct str image, struct err *e);

    // fn(ctx, pod uid, container id) from a runtime thread whenever a container's state changed by
    // itself (exit, OOM). Set once, before other calls.
    void (*on_change)(struct runtime *r,
                      void (*fn)(void *ctx, struct str pod_uid, struct str container_id),
                      void *ctx);
    void (*free)(struct runtime *r); // containers go on
};

struct runtime {
    const struct runtime_ops *ops;
    struct env *env;
};

// The OCI runtime. program: NULL finds crun, then runc, that works on this machine's cgroups; the
// error says what to install. state_dir: "/run/coracle" (sandboxes, sockets), data_dir/images and
// data_dir/containers for layers.
struct runtime_oci_options {
    const char *program;
    const char *data_dir, *state_dir;
    const char *cgroup_root;    // "coracle"
    const char *supervisor_exe; // NULL: /proc/self/exe; run as `EXE supervisor …`
};
int runtime_oci_new(struct env *env, const struct runtime_oci_options *opt, struct runtime **ret,
                    struct err *e);
// After the last sandbox was removed: ends the supervisor, removes the state directory and the
// cgroups.
int runtime_oci_teardown(const struct runtime_oci_options *opt, struct err *e);
// Entry of the supervisor process (main.c dispatches `coracle supervisor …` here before anything
// else starts).
int runtime_supervisor_main(int argc, char **argv);
