// metav1.Status: how errors go out.
#pragma once
#include "base/err.h"
#include "object/value.h"

// {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",…} in `a`; the error's
// strings are borrowed.
struct value *status_of(struct arena *a, const struct err *e);
