// Owners and claims: whose is an object?
//
// An object names its owners in metadata.ownerReferences; at most one of them is its controller. A
// controller that selects by labels claims: of the objects that it controls it releases those that
// its selector does not match any more, and it adopts orphans (objects without a controller) that
// match. Nothing is adopted while the owner is being deleted, and before the first adoption the
// owner is looked at past the cache: it must still be itself.
//
// Adoption and release are strategic patches that carry the object's UID, so they take only while
// it is the object that was looked at. Losing such a race is no error: the object's event comes.
#pragma once
#include "client/informer.h"
#include "object/selector.h"

const struct value *owner_controller(const struct value *tree); // its reference, or NULL
bool owner_controls(const struct value *tree, struct str uid);  // is uid the controller of tree?
// A reference to `owner` as controller that blocks its foreground deletion.
struct value *owner_reference(struct arena *a, const struct kind *k, const struct value *owner);
// For informer_add_index, name "orphans": objects without a controller, under their namespace.
void owner_index_orphans(struct arena *a, const struct object *o,
                         void (*emit)(void *ctx, struct str value), void *ctx);

int owner_release(struct client *c, struct arena *a, const struct kind *k, const struct value *tree,
                  struct str owner_uid, struct err *e);
int owner_adopt(struct client *c, struct arena *a, const struct kind *k,
                const struct kind *owner_kind, const struct value *owner, const struct value *tree,
                struct object **ret, struct err *e);
// ERR_CONFLICT: the owner is deleted, or another one of its name.
int owner_may_adopt(struct client *c, struct arena *a, const struct kind *owner_kind,
                    const struct value *owner, struct err *e);

struct owner_claimed {
    struct object *object; // a reference
    struct value *tree;    // in the arena
};
// All at once: what of `from` (with the indexes "controller-uid" and "orphans") is the owner's.
// owner_claimed_done lets go of the references; on failure there is nothing to let go.
int owner_claim(struct client *c, struct arena *a, struct informer *from,
                const struct kind *owner_kind, const struct value *owner,
                const struct selector *selector, struct owner_claimed **ret, size_t *ret_n,
                struct err *e);
void owner_claimed_done(struct owner_claimed *list, size_t n);
