// See addresses.h. Handing out goes round the range, so that an address just given back is the last
// to be used again: a client that still talks to the old pod does not reach a new one at once.
#include "network/addresses.h"
#include "base/arena.h"
#include "base/env.h"
#include "base/map.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct addresses {
    char *dir;
    uint32_t network, size; // host order; number of addresses
    unsigned prefix;
    uint32_t last;      // offset handed out last
    char **holder;      // by offset; NULL: free
    struct map offsets; // sandbox -> offset
};

bool cidr_parse(struct str text, uint32_t *network, unsigned *prefix)
{
    struct str rest = text, head = str_cut(&rest, '/');
    char ip[16];
    struct in_addr in;
    uint64_t bits;
    if (head.n >= sizeof ip || !str_to_u64(rest, &bits) || bits > 32)
        return false;
    memcpy(ip, head.p, head.n);
    ip[head.n] = 0;
    if (inet_pton(AF_INET, ip, &in) != 1)
        return false;
    uint32_t mask = bits == 0 ? 0 : ~0u << (32 - bits);
    *network = ntohl(in.s_addr) & mask;
    *prefix = (unsigned)bits;
    return true;
}

static struct in_addr at(const struct addresses *a, uint32_t offset)
{
    return (struct in_addr){htonl(a->network + offset)};
}

static void path_of(const struct addresses *a, uint32_t offset, char *out, size_t n)
{
    char ip[INET_ADDRSTRLEN];
    struct in_addr in = at(a, offset);
    snprintf(out, n, "%s/%s", a->dir, inet_ntop(AF_INET, &in, ip, sizeof ip));
}

static void hold(struct addresses *a, uint32_t offset, struct str sandbox)
{
    a->holder[offset] = mem_cstr(sandbox);
    map_set(&a->offsets, sandbox, (void *)(uintptr_t)offset);
}

// Files of addresses outside the range (the range was changed) are left alone; torn ones are
// removed.
static int load(struct addresses *a, struct err *e)
{
    DIR *d = opendir(a->dir);
    if (!d)
        return err_errno(e, errno, "reading %s", a->dir);
    _cleanup_arena_ struct arena arena = ARENA_INIT;
    for (struct dirent *f; (f = readdir(d));) {
        struct in_addr in;
        if (inet_pton(AF_INET, f->d_name, &in) != 1)
            continue;
        uint32_t offset = ntohl(in.s_addr) - a->network;
        if (offset >= a->size)
            continue;
        struct str sandbox;
        const char *path = arena_printf(&arena, "%s/%s%c", a->dir, f->d_name, 0).p;
        if (file_read_all(&arena, path, 256, &sandbox, NULL) == 0 && sandbox.n > 0 &&
            !map_has(&a->offsets, sandbox))
            hold(a, offset, sandbox);
        else
            unlink(path);
    }
    closedir(d);
    return 0;
}

int addresses_open(const char *dir, struct str cidr, struct addresses **ret, struct err *e)
{
    uint32_t network;
    unsigned prefix;
    if (!cidr_parse(cidr, &network, &prefix) || prefix < 8 || prefix > 29)
        return err_set(e, ERR_BAD_REQUEST, "%.*s is not a pod range (IPv4, /8 to /29)",
                       STR_ARG(cidr));
    int r = file_mkdir_all(dir, 0700, e);
    if (r < 0)
        return r;
    struct addresses *a = mem_zalloc(sizeof *a);
    a->dir = mem_cstr(str_of(dir));
    a->network = network;
    a->prefix = prefix;
    a->size = 1u << (32 - prefix);
    a->last = 1;
    a->holder = mem_zalloc(a->size * sizeof *a->holder);
    if ((r = load(a, e)) < 0) {
        addresses_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

void addresses_free(struct addresses *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->size; i++)
        free(a->holder[i]);
    free(a->holder);
    map_done(&a->offsets);
    free(a->dir);
    free(a);
}

struct in_addr addresses_gateway(const struct addresses *a)
{
    return at(a, 1);
}

bool addresses_find(const struct addresses *a, struct str sandbox, struct in_addr *ret)
{
    uintptr_t offset = (uintptr_t)map_get(&a->offsets, sandbox);
    if (offset)
        *ret = at(a, (uint32_t)offset);
    return offset != 0;
}

// 0, -EEXIST (somebody else holds it), or another -errno.
static int claim(const char *path, struct str sandbox)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write(fd, sandbox.p, sandbox.n) == (ssize_t)sandbox.n && fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    if (r < 0)
        unlink(path);
    return r;
}

int addresses_take(struct addresses *a, struct str sandbox, struct in_addr *ret, struct err *e)
{
    if (addresses_find(a, sandbox, ret))
        return 0;
    for (uint32_t i = 1; i < a->size; i++) {
        uint32_t offset = (a->last + i) % a->size;
        // 0 is the network, 1 the gateway, the last the broadcast address.
        if (offset < 2 || offset == a->size - 1 || a->holder[offset])
            continue;
        char path[4096];
        path_of(a, offset, path, sizeof path);
        int r = claim(path, sandbox);
        if (r == -EEXIST)
            continue;
        if (r < 0)
            return err_errno(e, -r, "claiming the address %s", path);
        hold(a, offset, sandbox);
        a->last = offset;
        *ret = at(a, offset);
        return 0;
    }
    return err_set(e, ERR_TOO_MANY_REQUESTS, "no free address in this node's pod range (%u in use)",
                   (unsigned)a->offsets.n);
}

int addresses_release(struct addresses *a, struct str sandbox, struct err *e)
{
    uintptr_t offset = (uintptr_t)map_get(&a->offsets, sandbox);
    if (!offset)
        return 0;
    char path[4096];
    path_of(a, (uint32_t)offset, path, sizeof path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(e, errno, "releasing the address %s", path);
    map_del(&a->offsets, sandbox);
    free(a->holder[offset]);
    a->holder[offset] = NULL;
    return 0;
}

void addresses_each(struct addresses *a,
                    void (*fn)(void *ctx, struct str sandbox, struct in_addr address), void *ctx)
{
    for (uint32_t i = 0; i < a->size; i++)
        if (a->holder[i])
            fn(ctx, str_of(a->holder[i]), at(a, i));
}
