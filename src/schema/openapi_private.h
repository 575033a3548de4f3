// What the three files of the OpenAPI renderer share: openapi.c (documents), openapi_schema.c
// (definitions of types), openapi_paths.c (operations).
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "schema/tables.h"

struct openapi {
    struct buf *b;
    bool v3;      // else v2 (swagger)
    bool *wanted; // by index of type: reached from what was written
};

// Writes "name": (with a comma before it where one is needed).
void openapi_key(struct buf *b, const char *name);
void openapi_text(struct buf *b, const char *name, struct str s);
// A separator before the next item of a list, where one is needed.
void openapi_item(struct buf *b);
// "io.k8s.api.apps.v1.Deployment"
struct str openapi_name(struct arena *a, const struct type *type);
// {"$ref":"…"} and marks the type, and all that it refers to, as wanted.
void openapi_ref(struct openapi *o, const struct type *type);
// The members of components/schemas or definitions: all wanted types.
void openapi_schemas(struct openapi *o);
// The members of paths for the kinds of one group version.
void openapi_paths(struct openapi *o, const struct package *package);
