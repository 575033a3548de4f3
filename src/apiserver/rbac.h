// What roles grant: the rules of rbac.authorization.k8s.io as predicates on trees, shared by the
// authoriser, SelfSubjectRulesReview and the escalation check. Room-private.
#pragma once
#include "apiserver/auth.h"

// One PolicyRule against a request.
bool rbac_rule_allows(const struct value *rule, const struct authz_attributes *at);
// What `want` grants and `have` does not: the originals' check against privilege escalation
// (rbac_cover.c). Work is linear in both; where overlapping rules make it more than that it is
// bounded, and what could not be compared counts as not held.
#define RBAC_SHORTFALL_MAX 64
struct rbac_shortfall {
    // What is missing, as rules in the arena: one resource (or URL) each, at most
    // RBAC_SHORTFALL_MAX of them with as many verbs each.
    struct value *rules;
    bool more;      // that is not all
    bool too_large; // given up
    uint64_t steps; // work beyond one look at each word, for tests
};
// true: everything is held. Both are arrays of PolicyRules, valid ones.
bool rbac_rules_cover(struct arena *a, const struct value *have, const struct value *want,
                      struct rbac_shortfall *ret);
// {APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}: as the originals print a rule in a
// refusal.
void rbac_rule_write(struct buf *b, const struct value *rule);

// Node authoriser (node_authz.c): an index of which node's pods refer to what, kept from the pods
// of the cache.
struct node_authz;
struct node_authz *node_authz_new(struct cache *cache);
void node_authz_free(struct node_authz *n);
// Whether `who` is a node's agent and the request one that its work needs; else roles decide.
bool node_authz_allows(struct node_authz *n, const struct authz_attributes *at);
