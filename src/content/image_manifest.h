// The JSON documents of an image: manifest, list of manifests by platform, configuration. Parsed
// from outside bytes into checked structs; what a struct holds is valid (digests are digests,
// counts bounded).
#pragma once
#include "base/arena.h"
#include "base/err.h"

#define IMAGE_DOCUMENT_MAX (8 * 1024 * 1024)
#define IMAGE_LAYERS_MAX   127 // as Docker

struct image_descriptor {
    struct str media_type, digest; // digest: "sha256:…"
    uint64_t size;
    struct str name; // annotation with the image's name, of an OCI layout's index; or STR_NULL
    struct str os, architecture, variant;
};

// A manifest (config and layers), or a list (manifests).
struct image_manifest {
    bool is_list;
    struct image_descriptor config;
    struct image_descriptor *entries; // layers, lowest first; or manifests
    size_t nentries;
};
int image_manifest_parse(struct arena *a, struct str json, struct image_manifest *ret,
                         struct err *e);

// The manifest for this machine out of a list; NULL: none. os is "linux".
const struct image_descriptor *image_manifest_choose(const struct image_manifest *list,
                                                     struct str architecture);
const char *image_architecture(void); // this machine's, in Go's words: "amd64"

struct image_config {
    struct str user, working_dir, stop_signal;
    struct str *env, *entrypoint, *cmd;
    size_t nenv, nentrypoint, ncmd;
    struct str *diff_ids; // "sha256:…", lowest first
    size_t ndiff_ids;
};
int image_config_parse(struct arena *a, struct str json, struct image_config *ret, struct err *e);
