// Tables for people: what `kubectl get` shows, made on the server (meta.k8s.io/v1 Table). Each kind
// lists its columns in api/*.kinds; a cell comes from a path or from a function there.
#pragma once
#include "schema/schema.h"

// `now` is real time in nanoseconds (ages are texts). Never NULL; VALUE_NULL where there is
// nothing.
typedef struct value *column_function(struct arena *a, const struct value *object, int64_t now);

struct column {
    struct str name;        // "Ready"
    struct str type;        // "string", "integer", "boolean", "date" …
    struct str format;      // "name" for the Name column, else absent
    struct str description; // or absent
    int priority;           // 1: only with -o wide
    const char *path; // "status.phase|<none>": behind | what is shown when absent; NULL: function
    column_function *function;
};

// The columnDefinitions of the kind: VALUE_ARRAY of objects as Table has them.
struct value *schema_table_columns(struct arena *a, const struct kind *kind);
// The cells of one object: VALUE_ARRAY, one value a column.
struct value *schema_table_row(struct arena *a, const struct kind *kind, const struct value *object,
                               int64_t now);
// A path of the small JSONPath that columns use (names, [index], [*], [?(@.name=="text")]); several
// matches are joined by commas. VALUE_NULL when nothing is there.
struct value *schema_path(struct arena *a, const struct value *object, struct str path);
