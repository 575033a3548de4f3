// What tools/kindsc makes of api/*.kinds, for this room only.
#pragma once
#include "schema/columns.h"
#include "schema/rules.h"
#include "schema/schema.h"

// A Go package of the originals: prefix of type names; where it has a group, a served group
// version.
struct package {
    struct str name; // "apps.v1"
    struct str group, version;
    struct str openapi; // "io.k8s.api.apps.v1"
    bool serves;        // false: meta.v1, runtime, version
};

extern const struct type *const schema_types; // sorted by name
extern const size_t schema_ntypes;
extern const struct kind schema_kinds[]; // sorted by preference of the group, then resource
extern const size_t schema_nkinds;
extern const struct package schema_packages[];
extern const size_t schema_npackages;
extern const char schema_fingerprint[]; // changes when api/*.kinds do; hexadecimal

// now - then for ages; times that far apart (a forged timestamp) count as no time.
static inline int64_t elapsed(int64_t now, int64_t then)
{
    int64_t d;
    return __builtin_sub_overflow(now, then, &d) ? 0 : d;
}
