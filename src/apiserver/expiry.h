// Events are kept for an hour. There is no timer and no sweep: each event that is written takes a
// few expired ones with it, in its own transaction, so there are never many more than an hour's
// worth.
#pragma once
#include "apiserver/server.h"

struct expiry *expiry_new(struct cache *cache, struct env *env);
void expiry_free(struct expiry *x);
// Adds the deletion of up to some expired events to the operation's transaction.
void expiry_collect(struct expiry *x, struct op *op);
