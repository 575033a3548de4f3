// The kubeconfig file. Whatever is in it, loading ends with all that a client needs or with a
// reason.
#include "base/env.h"
#include "client/kubeconfig.h"
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("kubeconfig", MFD_CLOEXEC);
        BUG_ON(fd < 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    BUG_ON(ftruncate(fd, 0) < 0 || pwrite(fd, data, n, 0) != (ssize_t)n);
    struct arena a = ARENA_INIT;
    struct err e = ERR_INIT;
    struct kubeconfig k;
    if (kubeconfig_load(&a, path, STR_NULL, &k, &e) == 0)
        BUG_ON(!k.server.n || !k.ns.n || (k.cert_pem.n > 0) != (k.key_pem.n > 0));
    else
        BUG_ON(!e.message || !*e.message);
    err_done(&e);
    arena_done(&a);
    return 0;
}
