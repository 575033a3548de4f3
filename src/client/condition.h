// Conditions: the list such as status.conditions in which an object says what is true of it, each
// with type, status (True, False, Unknown), reason, message and the moment at which the status last
// changed.
//
//     struct value *list = condition_list(a, value_at(tree, "status.conditions"));
//     condition_set(env, a, list, &(struct condition){.type = "Ready", .status = "True",
//                                                     .reason = "AllThere"});
#pragma once
#include "base/env.h"
#include "object/value.h"

struct condition {
    const char *type, *status, *reason; // reason NULL: none
    struct str message;                 // borrowed: lives as long as the arena
    int64_t observed_generation;        // 0: the field is left out
};

struct value *condition_find(const struct value *conditions, const char *type); // NULL: none
bool condition_is(const struct value *conditions, const char *type, const char *status);
void condition_remove(struct value *conditions, const char *type);
// A copy of the list (old may be NULL) whose items may be replaced: the old one stays as it is.
struct value *condition_list(struct arena *a, const struct value *old);
// Adds or replaces the condition of this type. lastTransitionTime stays where the status does.
// Whether anything changed.
bool condition_set(struct env *env, struct arena *a, struct value *conditions,
                   const struct condition *c);
