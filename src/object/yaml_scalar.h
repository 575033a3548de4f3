// What a plain YAML scalar means: the resolution of go-yaml v2, which reads and writes Kubernetes'
// manifests. The reader types scalars by it, the writer quotes the strings that it would not read
// back as strings; hence one function for both.
#pragma once
#include "base/str.h"

enum yaml_scalar_kind {
    YAML_STRING,
    YAML_NULL,
    YAML_BOOL,
    YAML_INT,       // in i
    YAML_UINT,      // above int64, in u
    YAML_FLOAT,     // in f; may be infinite or not a number
    YAML_TIMESTAMP, // stays text in JSON, but is quoted when written
    YAML_MERGE,     // <<
};
struct yaml_scalar {
    enum yaml_scalar_kind kind;
    bool b;
    int64_t i;
    uint64_t u;
    double f;
};
struct yaml_scalar yaml_resolve(struct str s);
// 1:30 and 190:20:30.15, which old readers take for base 60.
bool yaml_base60(struct str s);
