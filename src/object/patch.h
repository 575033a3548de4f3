// The patch types. Each takes a tree and makes a new one in the arena; the input is not changed
// (parts of it may be shared by the result).
#pragma once
#include "base/err.h"
#include "object/type.h"
#include "object/value.h"

// RFC 6902, at most 10,000 operations. A failed `test`: ERR_INVALID; a bad document:
// ERR_BAD_REQUEST.
int patch_json(struct arena *a, const struct value *doc, const struct value *ops,
               struct value **ret, struct err *e);
// RFC 7386.
int patch_merge(struct arena *a, const struct value *doc, const struct value *patch,
                struct value **ret, struct err *e);
// Strategic merge patch by the type's merge keys and strategies, with $patch, $retainKeys,
// $setElementOrder/…, $deleteFromPrimitiveList/….
int patch_strategic(struct arena *a, const struct type *type, const struct value *doc,
                    const struct value *patch, struct value **ret, struct err *e);
// A merge patch that makes `to` out of `from`.
struct value *patch_merge_diff(struct arena *a, const struct value *from, const struct value *to);
