// The default seccomp profile: what containerd and Docker allow ("RuntimeDefault").
#pragma once
#include "base/buf.h"

// Appends the OCI `linux.seccomp` object. capabilities: the names that the container has, without
// "CAP_"; some system calls are allowed with one of them only.
void oci_seccomp_write(struct buf *b, const struct str *capabilities, size_t n);
