// What lists and watches share: how the parameters of a request are judged.
#pragma once
#include "apiserver/selection.h"
#include "apiserver/server.h"

// resourceVersion and resourceVersionMatch as the request means them.
enum list_mode { LIST_RECENT, LIST_EXACT };
struct list_position {
    enum list_mode mode;
    uint64_t revision; // LIST_EXACT, and the least one of LIST_RECENT (0: any)
    struct str after;  // from a continue token: the last key of the page before
    bool inconsistent; // continue where the first pages' revision is gone
};
int list_position(struct arena *a, const struct api_request *r, struct list_position *ret,
                  struct err *e);
// Checks sendInitialEvents and resourceVersionMatch of a watch. *ret_revision 0: start with the
// state now.
int watch_position(const struct api_request *r, uint64_t *ret_revision, struct err *e);
// An object as the kind shows it: itself, or converted. A reference.
struct object *shown_as(const struct kind *k, struct object *o);
