// config.json: what the pod asks of a container and what its image says, as the OCI runtime
// specification wants it.
#pragma once
#include "base/buf.h"
#include "content/image_store.h"
#include "runtime/oci_user.h"

struct oci_container {
    const struct runtime_container_config *config;
    const struct image_details *image;
    struct oci_user user;
    struct str hostname;               // of the sandbox; STR_NULL with the host's network
    struct str ns_net, ns_ipc, ns_uts; // paths; STR_NULL: the host's
    struct str ns_pid;                 // path of a shared one; STR_NULL: see host_pid
    bool host_pid;
    struct str shm; // directory that becomes /dev/shm
    // Files that become those of /etc where the pod mounts none there itself; or STR_NULL.
    struct str resolv_conf, hostname_file;
    struct str cgroup; // "/coracle/burstable/pod…/<id>"
    bool cgroup_v2;
    struct str seccomp_dir; // where localhost/<path> profiles are
};
// Errors (ERR_INVALID) are about what was asked: an unknown capability, no command.
int oci_config_write(struct buf *b, struct arena *a, const struct oci_container *c, struct err *e);

// process.json of an exec: the container's own process with another command. config_json: the
// bundle's.
int oci_exec_process(struct buf *b, struct arena *a, struct str config_json,
                     const struct str *command, size_t n, bool tty, struct err *e);
