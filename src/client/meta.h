// What every loop asks of an object's metadata, and the keys by which loops name objects.
//
// All read a tree (object_tree) and accept NULL. Times are nanoseconds since 1970; 0 is "absent".
#pragma once
#include "base/env.h"
#include "object/object.h"

// Keys: "namespace/name", or "name" for what is cluster-wide.
void meta_key_split(struct str key, struct str *ret_ns, struct str *ret_name);
struct str meta_key(struct arena *a, const struct object *o); // in a

struct str meta_uid(const struct value *tree);
bool meta_deleting(const struct value *tree);
// A time of RFC 3339 at a path of the tree.
int64_t meta_time(const struct value *tree, const char *path);
// Now, in whole seconds, as the API writes it.
struct str meta_now(struct env *env, struct arena *a);
// metadata.labels and metadata.annotations by key, which may have dots; STR_NULL: none.
struct str meta_label(const struct value *tree, const char *key);
struct str meta_annotation(const struct value *tree, const char *key);
