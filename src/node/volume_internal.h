// What the files of the volume module share.
#pragma once
#include "base/map.h"
#include "base/thread.h"
#include "base/time.h"
#include "node/volume.h"

struct volumes {
    struct volumes_options o;
    char *pods_dir, *memory_dir; // DATA/pods, DATA/pods/memory
    pthread_mutex_t lock;        // guards tokens
    struct map tokens;           // "UID/volume/index" -> struct volume_token
};

struct volume_request {
    struct volumes *v;
    struct arena *a;
    const struct pod_facts *facts;
    const struct value *volume; // one of spec.volumes
    struct str uid, ns, name;   // of the pod and the volume
    struct volume_owner owner;
    uint64_t refresh; // earliest; 0: never
};

struct volume_files {
    struct volume_file *p;
    size_t n, cap;
};
void volume_files_add(struct arena *a, struct volume_files *f, struct str path, struct str data,
                      unsigned mode);

// volume_payload.c: the files of a source. optional is the source's own.
int volume_payload_object(struct volume_request *r, const char *resource,
                          const struct value *source, struct str name, unsigned mode,
                          struct volume_files *out, struct err *e);
int volume_payload_downward(struct volume_request *r, const struct value *source, unsigned mode,
                            struct volume_files *out, struct err *e);
int volume_payload_projected(struct volume_request *r, const struct value *source,
                             struct volume_files *out, struct err *e);
// volume_token.c
int volume_payload_token(struct volume_request *r, const struct value *source, size_t index,
                         unsigned mode, struct volume_files *out, struct err *e);
void volume_tokens_forget(struct volumes *v, struct str uid);

// volume_mount.c
bool volume_is_mount_point(const char *path);
int volume_mount_tmpfs(const char *path, int64_t size, unsigned mode, struct err *e);
// Opens base/sub without leaving base, making directories that are missing; sub STR_NULL: base
// itself.
int volume_open_beneath(const char *base, struct str sub, int *ret_fd, struct err *e);
int volume_bind_fd(int fd, const char *target, struct err *e);
int volume_unmount_below(const char *path, struct err *e); // path itself too
int volume_check_host_path(const char *path, struct str type, struct err *e);
