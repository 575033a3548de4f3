// YAML as Kubernetes reads it (sigs.k8s.io/yaml: YAML 1.1 scalars, converted to JSON's model),
// on libyaml's events. Bounded: a document has at most YAML_NODES nodes, aliases expanded, and
// depth YAML_DEPTH.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "object/value.h"

#define YAML_NODES VALUES_MAX
#define YAML_DEPTH 256

struct yaml_reader; // a stream of documents
// `in` must outlive the reader. Documents are made in the arena given to each call.
struct yaml_reader *yaml_open(struct str in);
// The same with the scalars of YAML 1.2 as go-yaml v3 resolves them, which kustomize uses: yes, no,
// on and off are strings, a plain date becomes a time.
struct yaml_reader *yaml_open_core(struct str in);
// 1: *ret is the next document (VALUE_NULL for an empty one); 0: the end; negative: error, with
// line and column ("yaml: line 3: mapping values are not allowed in this context"). Duplicate keys
// are an error unless `duplicates` is given (then collected there as paths, last one wins).
int yaml_next(struct yaml_reader *r, struct arena *a, struct value *duplicates, struct value **ret,
              struct err *e);
void yaml_close(struct yaml_reader *r);
// Exactly one document.
int yaml_parse(struct arena *a, struct str in, struct value *duplicates, struct value **ret,
               struct err *e);
// Block style, keys sorted, two spaces, sequences not indented: what `kubectl get -o yaml` prints.
void yaml_write(struct buf *b, const struct value *v);
