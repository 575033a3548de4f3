// Kustomizations: from a directory with a kustomization.yaml to the objects that it describes, as
// `kustomize build` (5.8) makes them. This is the library: the command line prints what it returns,
// `apply -k` sends it, the GitOps engine compares it.
//
// Reference: the Kustomization API, kustomize.config.k8s.io/v1beta1 and v1alpha1 (Component). What
// is particular about the way of an object is in the README of this room.
//
// Not there: generators, transformers and validators that are programs or containers; remote
// resources without a `fetch` (below); `openapi` and `crds` schemas of one's own.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

// Where files come from: a disk, or a tree of a git object store. Paths are absolute and clean
// ("/a/b").
struct kustomize_files {
    void *context;
    // 'f' a file, 'd' a directory, 0 neither.
    char (*kind)(void *context, struct str path);
    // Reads a whole file into `a`. At most KUSTOMIZE_FILE bytes, else ERR_TOO_LARGE.
    int (*read)(void *context, struct arena *a, struct str path, struct str *ret, struct err *e);
    // The path with links followed, in `a`; `path` itself where there are none. What lies outside
    // of a kustomization's root is judged by this.
    struct str (*real)(void *context, struct arena *a, struct str path);
};
extern const struct kustomize_files kustomize_disk;

#define KUSTOMIZE_FILE      ((size_t)64 << 20) // bytes of one file
#define KUSTOMIZE_DEPTH     64                 // kustomizations within kustomizations
#define KUSTOMIZE_RESOURCES 200000             // objects in one build

struct kustomize_options {
    const struct kustomize_files *files; // NULL: the disk
    bool outside_roots;                  // --load-restrictor LoadRestrictionsNone
    // --reorder: 0 as the kustomization says (legacy where it says nothing), 'l' legacy, 'n' none
    char reorder;
    // A remote base ("https://host/repo//dir?ref=v1"): makes a directory of it and gives its path.
    // NULL: remote bases are refused. The caller removes what it made.
    int (*fetch)(void *context, struct arena *a, struct str url, struct str *ret_directory,
                 struct err *e);
    // Inflates one entry of helmCharts (with helmGlobals, or NULL) into objects. NULL: refused, as
    // without --enable-helm.
    int (*chart)(void *context, struct arena *a, struct str root, const struct value *entry,
                 const struct value *globals, struct value **ret_objects, struct err *e);
    // A variable of the environment, for lines of env files that name one without a value. NULL:
    // empty.
    struct str (*environment)(void *context, struct str name);
    // Warnings for people (deprecated fields), one line each. NULL: dropped.
    void (*warn)(void *context, struct str line);
    void *context;
};

// Builds the kustomization in `directory`. *ret is an array of objects in the order of the output;
// it lives in `a`. Errors name the file and the field, in kustomize's own words where those are
// known. Thread-safe: everything is in the arena.
int kustomize_build(struct arena *a, const struct kustomize_options *options, struct str directory,
                    struct value **ret, struct err *e);
// As `kustomize build` prints: documents with sorted keys, separated by "---".
void kustomize_print(struct buf *b, const struct value *objects);
