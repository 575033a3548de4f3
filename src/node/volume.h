// Volumes of pods. Each pod has DATA/pods/UID:
//
//     volumes/<plugin>/<name>       what is mounted into containers (emptyDir, configMap)
//     subpaths/<volume>/<container>/<index>   bind mounts of subPath mounts
//     containers/<name>/<attempt>   termination message files
//     etc-hosts, resolv.conf
//
// and, for what must not reach a disk (Secrets, tokens, downward files),
// DATA/pods/memory/UID/<name> on one tmpfs that all pods share. Directories of pods hold no state
// that is not made again from the API, except emptyDir's content.
//
// All calls block. Calls for one pod come from one thread at a time.
#pragma once
#include "node/pod_field.h"
#include "node/volume_atomic.h"
#include "runtime/runtime.h"

struct client;
struct volumes;

struct volumes_options {
    struct env *env;
    struct client *client; // for tokens
    const char *data_dir;
    // A ConfigMap or Secret; as environment_sources.get.
    int (*get)(void *ctx, struct arena *a, const char *resource, struct str ns, struct str name,
               const struct value **ret, struct err *e);
    void *ctx;
    bool no_mounts; // tests without privileges: memory volumes are plain directories
};
struct volumes *volumes_new(const struct volumes_options *o);
void volumes_free(struct volumes *v); // what is mounted stays

// Makes the pod's volumes, or brings them up to date: to be called at the pod's start and whenever
// an object it refers to has changed. *ret_refresh: monotonic time at which tokens want to be
// renewed (0: never). On failure *ret_volume names the volume, and the error reads as upstream's.
int volumes_set_up(struct volumes *v, struct arena *a, const struct pod_facts *facts,
                   uint64_t *ret_refresh, struct str *ret_volume, struct err *e);
// Mounts of one container. env: for subPathExpr.
int volumes_container_mounts(struct volumes *v, struct arena *a, const struct pod_facts *facts,
                             const struct value *container, const struct str (*env)[2], size_t nenv,
                             struct runtime_mount **ret, size_t *ret_n, struct err *e);
// Unmounts and removes the volumes; with everything: the pod's whole directory. Idempotent.
int volumes_tear_down(struct volumes *v, struct str pod_uid, bool everything, struct err *e);

// "DATA/pods/UID[/below]", NUL-terminated, in `a`; the directory above it is made.
char *volumes_pod_path(struct volumes *v, struct arena *a, struct str pod_uid, const char *below);
// UIDs that have a directory.
void volumes_list_pods(struct volumes *v, struct arena *a, struct str **ret, size_t *ret_n);

// DATA/pods: shared mount and tmpfs (see agent.h).
int volumes_prepare(const char *data_dir, bool *ret_made, struct err *e);
int volumes_teardown_all(const char *data_dir, struct err *e);
