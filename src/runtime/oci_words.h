// What an OCI runtime says when it refuses, in the words that Kubernetes users know.
#pragma once
#include "base/arena.h"

// raw: what crun or runc wrote to its log, in text form. The answer is one line without time stamps
// and without the chain of Go contexts: `exec: "nope": executable file not found in $PATH`. Where
// nothing is recognised the runtime's own last error line comes back; "" becomes "the runtime gave
// no reason".
struct str oci_words(struct arena *a, struct str raw);
