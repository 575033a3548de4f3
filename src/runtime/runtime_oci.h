// runtime_oci.h: the OCI runtime from inside, for the runtime_*.c files. What they share: the list
// of sandboxes and containers in memory, which is a copy of the records in the state directory.
//
// `lock` guards the two maps and all entries; `changed` is signalled at every change of a
// container's state. The lock is never held during calls to the supervisor or the image store.
// Entries are freed only by the removing call, and calls for one sandbox come from one worker at a
// time (runtime.h), so a pointer taken under the lock may be used by that worker's call after it,
// for what never changes.
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "runtime/image_pull.h"
#include "runtime/runtime.h"
#include "runtime/runtime_link.h"
#include <pthread.h>

struct oci_sandbox {
    struct arena arena; // holds itself
    struct str id, pod_name, pod_namespace, pod_uid, hostname, log_directory, cgroup_parent;
    uint32_t attempt;
    bool host_network, host_pid, host_ipc, share_process_namespace;
    const struct str (*labels)[2];
    size_t nlabels;
    int64_t created_ns;
    char ip[64];  // may change
    bool stopped; // may change
};

struct oci_entry {                 // a container
    struct arena arena;            // holds itself
    struct runtime_container info; // strings in arena; state and what follows from it may change
    struct str image_details_id;
    struct str cgroup;
    int stop_signal;
    bool own_pids, tty;
    bool told; // on_change has been told of its end
};

struct oci_runtime {
    struct runtime base;
    char *program, *data_dir, *state_dir, *cgroup_root;
    bool cgroup_v2;
    char version[64];
    struct image_store *images;
    struct image_puller *puller;
    struct link *link;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map sandboxes, containers; // id -> entry
    void (*on_change)(void *ctx, struct str pod_uid, struct str container_id);
    void *on_change_ctx;
    pthread_mutex_t session_lock;
    pthread_cond_t session_changed;
    struct list sessions;
    uint64_t last_session;
};

static inline struct oci_runtime *oci_of(struct runtime *r)
{
    return container_of(r, struct oci_runtime, base);
}
struct str oci_path(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *oci_id_new(struct oci_runtime *r, struct arena *a);
int oci_remove_tree(struct str path, struct err *e);

// runtime_state.c: records. The entry is made from the record, so what is in memory is what a
// restart finds.
int sandbox_record_write(struct oci_runtime *r, const struct oci_sandbox *s, struct err *e);
int container_record_write(struct oci_runtime *r, const struct oci_entry *c, struct err *e);
struct oci_sandbox *sandbox_entry_new(const struct oci_sandbox *from);
struct oci_entry *container_entry_new(const struct oci_entry *from);
void sandbox_entry_free(struct oci_sandbox *s);
void container_entry_free(struct oci_entry *c);
int state_load(struct oci_runtime *r, struct err *e);
// Lock held. Reads pid and exit files; true if the state is another than before.
bool container_refresh(struct oci_runtime *r, struct oci_entry *c);
struct oci_sandbox *sandbox_get(struct oci_runtime *r, struct str id, struct err *e); // lock held
struct oci_entry *container_get(struct oci_runtime *r, struct str id, struct err *e); // lock held

// runtime_sandbox.c
int oci_check(struct runtime *r, struct err *e); // runtime_check.c
int oci_sandbox_run(struct runtime *r, struct arena *a, const struct runtime_sandbox_config *c,
                    struct runtime_sandbox *ret, struct err *e);
int oci_sandbox_set_ip(struct runtime *r, struct str id, struct str ip, struct err *e);
int oci_sandbox_stop(struct runtime *r, struct str id, struct err *e);
int oci_sandbox_remove(struct runtime *r, struct str id, struct err *e);
int oci_sandbox_list(struct runtime *r, struct arena *a, struct runtime_sandbox **ret,
                     size_t *ret_n, struct err *e);

// runtime_container.c
int oci_container_create(struct runtime *r, struct arena *a, struct str sandbox_id,
                         const struct runtime_container_config *c, struct str *ret_id,
                         struct err *e);
int oci_container_start(struct runtime *r, struct str id, struct err *e);
int oci_container_stop(struct runtime *r, struct str id, int64_t grace_seconds, struct err *e);
int oci_container_remove(struct runtime *r, struct str id, struct err *e);
int oci_container_list(struct runtime *r, struct arena *a, struct str sandbox_id,
                       struct runtime_container **ret, size_t *ret_n, struct err *e);
int oci_signal_number(struct str name); // "SIGTERM", "TERM", "15", "SIGRTMIN+3"; -1: none

// runtime_exec.c
int oci_exec_sync(struct runtime *r, struct arena *a, struct str container_id,
                  const struct str *command, size_t n, uint64_t timeout_ns, size_t max,
                  struct str *ret_output, int *ret_exit, struct err *e);
int oci_exec(struct runtime *r, const struct runtime_exec *x, struct runtime_session **ret,
             struct err *e);
int oci_attach(struct runtime *r, const struct runtime_exec *x, struct runtime_session **ret,
               struct err *e);
void oci_session_resize(struct runtime_session *s, uint16_t width, uint16_t height);
void oci_session_close(struct runtime_session *s);
void oci_session_ended(struct oci_runtime *r, uint64_t session, int exit_code);
void oci_sessions_lost(struct oci_runtime *r);
// After the link has gone: those that nobody has closed, as when an agent stops while one ends.
void oci_sessions_free(struct oci_runtime *r);

// runtime_stats.c
int oci_stats(struct runtime *r, struct arena *a, struct runtime_stats **ret, size_t *ret_n,
              struct err *e);
void oci_cgroup_remove(struct oci_runtime *r, struct str path); // the directories, where empty
