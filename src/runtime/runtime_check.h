// The part of the check that reads what the kernel says; for oci_check and its tests.
#pragma once
#include "base/err.h"

// Whether pivot_root can work, by the text of /proc/self/mountinfo.
int runtime_check_root(struct str mountinfo, struct err *e);
