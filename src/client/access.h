// Who calls, and may they: for servers that are not the API server (git, registry, pipelines,
// traces, the page), so that one token and one set of roles count everywhere.
//
//     struct access *a = access_new(client);          // an identity that may create reviews
//     struct access_caller *who = NULL;
//     const struct access_credentials given = {.authorization = http_header(q, "authorization")};
//     if (access_who(a, &given, &who, &e) < 0)        // 401: wrong; 503: nobody can say
//         return refuse(&e);
//     const struct access_question may = {.verb = "update", .group = "forge.coracle",
//                                         .resource = "repositories", .ns = ns, .name = name};
//     if (access_may(a, access_identity(who), &may, &e) < 0)  // 403; 503
//         return refuse(&e);
//     access_caller_unref(who);
//
// Who, in this order: a client certificate that TLS has verified (common name the user,
// organizations the groups); "Authorization: Bearer TOKEN"; "Authorization: Basic ..." whose
// password is a token, as git and docker send it, where the user name is not looked at, since the
// token alone says who it is (an empty password or "x-oauth-basic": the user name is the token);
// none of these: system:anonymous in system:unauthenticated, which roles may allow something. A
// credential that is there and wrong is never taken for none.
//
// Tokens are judged by a TokenReview, questions by a SubjectAccessReview. It fails closed: whatever
// goes wrong on the way is a refusal, and what could not be asked is not remembered. Answers are
// remembered for ACCESS_*_NS, so a revoked token or a changed role counts after that time at the
// latest. What is remembered is bounded: tables of fixed size, wrong tokens in one of their own, so
// that strangers cannot displace callers. Tokens themselves are not kept, but a keyed hash of 128
// bits.
//
// Threads: any. access_who and access_may may call the API: they block, and are for workers.
#pragma once
#include "client/client.h"

// How long a good token and an answer to a question, and a wrong token, are remembered.
#define ACCESS_GOOD_NS   ((uint64_t)10 * 1000000000)
#define ACCESS_WRONG_NS  ((uint64_t)5 * 1000000000)
#define ACCESS_TOKEN_MAX ((size_t)16 << 10) // bytes of an Authorization header

struct access;
// `c` outlives it. Its identity needs to create tokenreviews and subjectaccessreviews (the role
// system:auth-delegator).
struct access *access_new(struct client *c);
void access_free(struct access *a); // no call may be running; callers may outlive it

struct access_credentials {
    struct str authorization; // the header's value; STR_NULL: none
    // Of a verified client certificate; certificate_user STR_NULL: none.
    struct str certificate_user;
    const struct str *certificate_groups;
    size_t ncertificate_groups;
};

// Somebody who calls: shared, immutable.
struct access_caller;
const struct identity *access_identity(const struct access_caller *who); // lives as long as `who`
bool access_is_anonymous(const struct access_caller *who);
struct access_caller *access_caller_ref(struct access_caller *who);
void access_caller_unref(struct access_caller *who); // NULL is nothing

// *ret: one reference, the caller's. ERR_UNAUTHORIZED: the credential is wrong ("Unauthorized", and
// no more: why is not the caller's to know). ERR_UNAVAILABLE: the API could not be asked.
int access_who(struct access *a, const struct access_credentials *given, struct access_caller **ret,
               struct err *e);

// A question: about a resource, or, where `path` is set, about a path. Strings STR_NULL where they
// do not apply.
struct access_question {
    const char *verb; // "get", "create", ...
    struct str group, resource, subresource, ns, name;
    struct str path; // "/zipkin/"
};
// 0: yes. ERR_FORBIDDEN names who, what and where, as the API server does. ERR_UNAVAILABLE: it
// could not be asked.
int access_may(struct access *a, const struct identity *who, const struct access_question *q,
               struct err *e);
