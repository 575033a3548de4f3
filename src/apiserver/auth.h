// Who calls and what they may do. pki.c makes and loads the cluster's keys and certificates,
// authn.c turns a request's credentials into an identity, token.c signs and checks ServiceAccount
// tokens, rbac.c decides.
#pragma once
#include "apiserver/cache.h"
#include "schema/request.h"
#include "wire/http.h"

// The cluster's CA and the certificates that one process needs; made on first start, in DIR (0700;
// keys 0600).
struct pki {
    struct str ca_cert, ca_key;         // PEM
    struct str server_cert, server_key; // SANs: names and addresses given
    struct str admin_cert, admin_key;   // CN kubernetes-admin, O system:masters
    // CN kube-apiserver-kubelet-client, O system:masters.
    struct str kubelet_client_cert, kubelet_client_key;
    struct str service_account_key; // PEM private key (ECDSA P-256, ES256)
    struct arena arena;
};
struct pki_options {
    const char *dir;
    const struct str *names, *addresses; // SANs of the server certificate besides the usual ones
    size_t nnames, naddresses;
    struct str service_ip; // of the kubernetes Service
    struct str cluster_domain;
};
// Loads what is there, makes what is missing, remakes certificates that expire within 30 days or
// lack a SAN.
int pki_open(struct env *env, const struct pki_options *opt, struct pki **ret, struct err *e);
void pki_free(struct pki *p);
// A new key and certificate signed by the CA, e.g. for a node: CN system:node:NAME, O system:nodes,
// with SANs.
int pki_issue(struct env *env, const struct pki *p, struct arena *a, struct str common_name,
              const struct str *organizations, size_t norganizations, const struct str *names,
              size_t nnames, const struct str *addresses, size_t naddresses, struct str *ret_cert,
              struct str *ret_key, struct err *e);
// The common name that a certificate request (base64 of PEM, as in a CertificateSigningRequest's
// spec.request) asks for; in `a`, STR_NULL where it names none. ERR_BAD_REQUEST: not a request.
int pki_request_name(struct arena *a, struct str request, struct str *ret, struct err *e);
// kubeconfig text with embedded certificates.
struct str pki_kubeconfig(struct arena *a, const struct pki *p, struct str server_url,
                          struct str user, struct str cert, struct str key);

// ServiceAccount tokens: JWT ES256, kid = SHA-256 of the public key.
struct token_signer;
int token_signer_new(struct env *env, struct str key_pem, struct str issuer,
                     struct token_signer **ret, struct err *e);
void token_signer_free(struct token_signer *t);
struct token_claims {
    struct str ns, service_account, service_account_uid;
    // The bound object, or STR_NULL.
    struct str pod_name, pod_uid, node_name, node_uid, secret_name, secret_uid;
    const struct str *audiences;
    size_t naudiences;
    int64_t issued_s, expires_s; // seconds since 1970
    struct str id;               // jti
};
struct str token_sign(struct token_signer *t, struct arena *a, const struct token_claims *c);
// Checks signature, times, issuer and audience (default audience when `audience` is STR_NULL). 401
// when it does not hold.
int token_verify(struct token_signer *t, struct arena *a, struct str jwt, struct str audience,
                 struct token_claims *ret, struct err *e);
struct str token_jwks(struct token_signer *t, struct arena *a); // /openid/v1/jwks
// /.well-known/openid-configuration.
struct str token_openid_configuration(struct token_signer *t, struct arena *a);

// From certificate, bearer token (ServiceAccount; bound objects must still exist in the cache), or
// anonymous (system:anonymous, system:unauthenticated). Impersonation headers are checked against
// `z`. 401 for credentials that do not hold.
struct authz;
struct authn *authn_new(struct env *env, struct cache *cache, struct token_signer *tokens);
void authn_free(struct authn *n);
int authn_request(struct authn *n, struct authz *z, struct arena *a, const struct http_request *r,
                  struct identity *ret, struct err *e);
int authn_token(struct authn *n, struct arena *a, struct str token, struct str audience,
                struct identity *ret, struct err *e);

struct authz_attributes {
    const struct identity *who;
    struct str verb; // "get", "list", "watch", "create", …
    // Resource requests; non-resource requests have path instead.
    struct str group, version, resource, subresource, ns, name;
    struct str field_selector; // of list, watch and deletecollection, as text
    struct str path;
};
// RBAC and the Node authoriser on the current roles and bindings of the cache; system:masters may
// do all. Any thread.
struct authz *authz_new(struct cache *cache);
void authz_free(struct authz *z);
bool authz_allowed(struct authz *z, const struct authz_attributes *at);
// ERR_FORBIDDEN in the originals' words: `pods "x" is forbidden: User "u" cannot get resource
// "pods" in API group "" in the namespace "n"`.
int authz_check(struct authz *z, const struct authz_attributes *at, struct err *e);
// For SelfSubjectRulesReview: status with resourceRules, nonResourceRules, incomplete.
struct value *authz_rules(struct authz *z, struct arena *a, const struct identity *who,
                          struct str ns);
// Whether `who` holds every rule of the role (escalation check on writes of roles and bindings).
// 403 lists what is missing.
int authz_check_escalation(struct authz *z, const struct identity *who, const struct value *rules,
                           struct str ns, struct err *e);
// The default ClusterRoles, Roles and bindings that a cluster is born with (bootstrap.c): trees to
// create or repair.
struct value *
authz_bootstrap_objects(struct arena *a); // VALUE_ARRAY of objects with kind and apiVersion
