// A whole kustomization in one text (tests/tree.h). What builds is printed, too.
#include "tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_MAX(1 << 24);
    struct tree *t = arena_new(&a, struct tree);
    tree_parse(&a, str_n(data, size), t);
    struct kustomize_files files = {t, tree_kind, tree_read, tree_real};
    struct kustomize_options options = {.files = &files};
    struct value *objects;
    if (kustomize_build(&a, &options, STR("/tree"), &objects, &e) == 0)
        kustomize_print(&out, objects);
    return 0;
}
