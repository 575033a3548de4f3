// Unpacking a layer: a tar stream applied to a directory, as the OCI image specification's layer.md
// says.
//
// The layer goes on top of its parents as overlayfs would show them, so that whiteouts, hard links
// to files of lower layers and directories that the archive does not mention come out right.
#pragma once
#include "content/source.h"

struct unpack {
    const char *layers_dir;     // where layer directories are; parents are named relative to it
    const char *const *parents; // topmost first
    size_t nparents;
    const char *directory;           // relative to layers_dir: new and empty, becomes the layer
    const char *work;                // relative, for overlayfs: new and empty
    uint64_t max_bytes, max_entries; // of what comes out
};

// *ret_bytes: size of the files' contents. On failure what was made is left for the caller to
// remove. Runs in a thread of its own with a private mount namespace where there are parents.
int unpack_layer(const struct unpack *u, struct byte_source *tar, uint64_t *ret_bytes,
                 struct err *e);
