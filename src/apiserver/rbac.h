// What roles grant: the rules of rbac.authorization.k8s.io as predicates on trees, shared by the
// authoriser, SelfSubjectRulesReview and the escalation check. Room-private.
#pragma once
#include "apiserver/auth.h"

// One PolicyRule against a request.
bool rbac_rule_allows(const struct value *rule, const struct authz_attributes *at);
// Whether some rule of `have` (an array) covers all that `want` grants for one combination at a
// time: the originals' check against privilege escalation. Adds what is missing to `missing` (an
// array) where given.
bool rbac_rules_cover(struct arena *a, const struct value *have, const struct value *want,
                      struct value *missing);
// {APIGroups:[""], Resources:["pods"], Verbs:["get"]}: as the originals print a rule in a refusal.
void rbac_rule_write(struct buf *b, const struct value *rule);

// Node authoriser (node_authz.c): an index of which node's pods refer to what, kept from the pods
// of the cache.
struct node_authz;
struct node_authz *node_authz_new(struct cache *cache);
void node_authz_free(struct node_authz *n);
enum node_decision { NODE_NO_OPINION, NODE_ALLOW, NODE_DENY };
// Of identities in system:nodes only; others get NO_OPINION.
enum node_decision node_authz_decide(struct node_authz *n, const struct authz_attributes *at);
