// Finalizers: an object that has one is marked when it is deleted, and goes when the last is taken
// out. Who puts one in promises to take it out.
//
//     if (!finalizer_has(tree, MINE) && !meta_deleting(tree))
//         rc = finalizer_add(client, a, o, MINE, e);
//     ...
//     if (meta_deleting(tree) && everything_is_cleaned_up)
//         rc = finalizer_remove(client, a, o, MINE, e);
//
// Writes take only while the object is the version that was looked at: a conflict comes back as
// ERR_CONFLICT, and the newer version's event brings the loop back. An object that is gone has no
// finalizers: removing from it succeeds.
#pragma once
#include "client/client.h"

bool finalizer_has(const struct value *tree, const char *name); // tree: at least {metadata}
int finalizer_add(struct client *c, struct arena *a, const struct object *o, const char *name,
                  struct err *e);
int finalizer_remove(struct client *c, struct arena *a, const struct object *o, const char *name,
                     struct err *e);
