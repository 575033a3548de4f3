// From method and path to what is meant. The grammar is Kubernetes':
//
//     /api/v1[/watch]/RESOURCE[/NAME[/SUBRESOURCE[/REST]]]
//     /api/v1[/watch]/namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE[/REST]]]
//     /apis/GROUP/VERSION/…                        as above
//     /api, /apis, /apis/GROUP, /apis/GROUP/VERSION, /version, /healthz …
//
// Parts are percent-decoded one by one, so that a name may hold an encoded slash without being cut
// by it.
#pragma once
#include "schema/request.h"

enum route_kind {
    ROUTE_UNKNOWN,     // plain 404
    ROUTE_UNKNOWN_API, // under /api or /apis: 404 as a Status
    ROUTE_RESOURCE,
    ROUTE_API,           // /api
    ROUTE_APIS,          // /apis
    ROUTE_GROUP,         // /apis/GROUP
    ROUTE_GROUP_VERSION, // /api/v1, /apis/GROUP/VERSION
    ROUTE_INDEX,         // /
    ROUTE_VERSION,
    ROUTE_HEALTH, // healthz, livez, readyz, with or without a check's name
    ROUTE_METRICS,
    ROUTE_OPENAPI_V2,
    ROUTE_OPENAPI_V3, // index; or `rest`: "api/v1", "apis/apps/v1"
    ROUTE_OPENID,     // /.well-known/openid-configuration
    ROUTE_JWKS,       // /openid/v1/jwks
};

struct route {
    enum route_kind what;
    struct str group, version;
    const struct kind *kind;
    const struct subresource *sub;
    struct str ns, name, subresource;
    struct str rest; // what follows a proxy subresource, without its first slash; or see ROUTE_*
    bool watch_path; // the old /watch/ form
};

// raw_path: as it came, without query. Strings of the result live in `a` or in raw_path.
void route_parse(struct arena *a, struct str raw_path, struct route *ret);
// What the method means here; 0: not allowed. watch: the query asks for a watch.
enum verb_bit route_verb(const struct route *r, struct str method, bool watch);
// "GET, POST": for the Allow header.
struct str route_allowed(struct arena *a, const struct route *r);
// Percent-decoding of one part of a path; false: not UTF-8-safe text (a NUL) or a broken escape.
bool route_unescape(struct arena *a, struct str in, struct str *ret);
