// A directory of files that is replaced as a whole: how ConfigMaps, Secrets, tokens and downward
// files reach a container. Readers see the old set or the new one, never a mixture:
//
//     ..2026_01_02_03_04_05.123456789/   the files themselves
//     ..data -> ..2026_…                 swapped by rename()
//     key    -> ..data/key               what users open; also key -> ..data/dir for "dir/file"
#pragma once
#include "base/err.h"
#include "base/str.h"

struct volume_file {
    struct str path; // relative, no "..", may contain '/'
    struct str data;
    unsigned mode; // 0644
};
struct volume_owner {
    int64_t user;     // of the files; -1: root
    int64_t fs_group; // of files and directories; -1: none
};
// dir must exist. *ret_changed (optional): whether anything was different.
int volume_write_atomic(const char *dir, const struct volume_file *files, size_t n,
                        const struct volume_owner *owner, int64_t now_real, bool *ret_changed,
                        struct err *e);
// Removes a directory and all below it; a missing one is fine. Never follows links, never crosses
// into another mount: what is mounted below must be unmounted first (else an error).
int volume_remove_all(const char *dir, struct err *e);
