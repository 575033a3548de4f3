// What agent and supervisor read of each other: packets, launch and exit files. The first byte
// picks which.
#include "runtime/supervisor.h"
#include "runtime/supervisor_internal.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void packet(const char *data, size_t n)
{
    struct supervisor_packet p;
    if (!supervisor_decode(data, n, &p))
        return;
    size_t sum = sizeof p.head;
    BUG_ON(p.head.length != n || p.head.nstrings > SUPERVISOR_STRINGS_MAX);
    for (uint32_t i = 0; i < p.head.nstrings; i++) {
        BUG_ON(p.strings[i].p < data || p.strings[i].p + p.strings[i].n > data + n);
        sum += sizeof(uint32_t) + p.strings[i].n;
    }
    BUG_ON(sum != n);
}

static void exit_file(const char *data, size_t n)
{
    char path[64];
    struct supervisor_exit x;
    int fd = memfd_create("exit", MFD_CLOEXEC);
    BUG_ON(fd < 0 || write(fd, data, n) != (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (supervisor_exit_read(path, &x, NULL) == 0) {
        BUG_ON(!x.message || strlen(x.reason) >= sizeof x.reason);
        free(x.message);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    // On the heap and unaligned, so that reading past the end is seen.
    char *copy = malloc(n);
    memcpy(copy, data, n);
    if (data[0] == 'x')
        exit_file(copy + 1, n - 1);
    else
        packet(copy + 1, n - 1);
    free(copy);
    return 0;
}
