// Kinds that are stored under another version than they are served in: core Events as
// events.k8s.io, and the two versions of HorizontalPodAutoscaler. In place, in the arena; fields
// that both know pass unchanged.
#pragma once
#include "object/value.h"
#include "schema/schema.h"

static inline bool convert_needed(const struct kind *k)
{
    return k->storage && k->storage != k;
}
// A tree of k->storage into one of k; and back.
void convert_from_storage(struct arena *a, const struct kind *k, struct value *v);
void convert_to_storage(struct arena *a, const struct kind *k, struct value *v);
