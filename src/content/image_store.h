// The node's images: DATA/images.
//
//     index.json         what there is: ids, names, digests, layers; replaced atomically
//     blobs/sha256/<hex> configurations and manifests
//     layers/<chain>     unpacked layers, ready to be lower directories of overlayfs
//     tmp/               downloads and layers under way; emptied at the start
//
// A layer is named by its chain id (the digest over itself and all below it, OCI config.md),
// shortened to 28 hexadecimal digits, so that 127 of them fit the page of mount options; unpacking
// on top of its parents makes its content depend on them. Layer archives are not kept.
//
// What index.json does not name does not exist: at the start it is removed. So there are no
// reference counts to be wrong. Any thread; long work (unpacking) holds no lock that readers need.
#pragma once
#include "base/env.h"
#include "content/image_info.h"
#include "content/image_manifest.h"
#include "content/source.h"

struct image_store;

// The error says what is wrong with the directory (on overlayfs, not writable, of another version).
int image_store_open(struct env *env, const char *data_dir, struct image_store **ret,
                     struct err *e);
void image_store_close(struct image_store *s);

// What a container needs of its image.
struct image_details {
    struct str id;
    struct str name; // one of its names; or the id
    struct image_config config;
    const char *layers_dir;   // DATA/images/layers
    const struct str *layers; // relative to it, topmost first
    size_t nlayers;
};
int image_store_details(struct image_store *s, struct arena *a, struct str image,
                        struct image_details *ret, struct err *e);

int image_store_status(struct image_store *s, struct arena *a, struct str image,
                       struct image_info *ret, struct err *e);
int image_store_list(struct image_store *s, struct arena *a, struct image_info **ret, size_t *ret_n,
                     struct err *e);
// used(ctx, id): the name of a container that uses the image, or STR_NULL; then ERR_CONFLICT.
// Removing a name of several removes only the name; removing by id removes all.
int image_store_remove(struct image_store *s, struct str image,
                       struct str (*used)(void *ctx, struct str id), void *ctx, struct err *e);

int image_store_import(struct image_store *s, struct arena *a, const char *path,
                       struct image_info **ret, size_t *ret_n, struct err *e);

// --- for import and pull --------------------------------------------------------------------

// An image about to be added. layer_open gives the bytes of the layer as it is packed, lowest is 0;
// it is asked only for layers that are not there yet. Digests: expected of the packed bytes, or
// STR_NULL.
struct image_assembly {
    struct str config, manifest; // documents; manifest may be empty (docker-archive)
    const struct str *names;     // normalised
    size_t nnames;
    struct str digest_name; // "docker.io/library/busybox@sha256:…" or STR_NULL
    size_t nlayers;
    int (*layer_open)(void *ctx, size_t i, struct byte_source **ret, struct str *ret_digest,
                      struct err *e);
    void *ctx;
};
int image_store_assemble(struct image_store *s, struct arena *a, const struct image_assembly *x,
                         struct image_info *ret, struct err *e);
// While any is held, layers that nobody names yet are left alone.
void image_store_hold(struct image_store *s);
void image_store_release(struct image_store *s);
// A new file in tmp/, already unlinked: gone when closed. -1 with e set.
int image_store_temporary(struct image_store *s, struct err *e);
struct env *image_store_env(struct image_store *s);
