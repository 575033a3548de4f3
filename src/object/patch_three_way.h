// The patch that makes a live object what a file says, without undoing what others have set: the
// three-way difference of `kubectl apply` (kubernetes.io/docs/tasks/manage-kubernetes-objects/
// declarative-config, "how apply calculates differences").
//
//   original   what was applied before (the annotation), NULL: nothing
//   modified   what is to be applied now
//   live       the object as it is
//
// A field of `modified` that differs from `live` is set; a field of `original` that `modified` does
// not have any more, and `live` still has, is removed; everything else is left alone. Lists that
// the kind merges by a key are compared item by item; other lists are replaced whole. The order of
// merged lists is left to whoever carries out the patch.
#pragma once
#include "object/type.h"
#include "object/value.h"

// A strategic merge patch for objects of type `t`; with t NULL a JSON merge patch (RFC 7386), for
// custom resources. NULL: there is nothing to change. Parts of `modified` are shared, not copied.
struct value *patch_three_way(struct arena *a, const struct type *t, const struct value *original,
                              const struct value *modified, const struct value *live);
