// The tar reader, below decompression: as layers and archives come from outside. First byte 0 reads
// the rest as it is; 1 through the decompressor, which then sniffs gzip and zstd.
#include "content/tar.h"
#include <stddef.h>
#include <string.h>

struct memory_source {
    struct byte_source base;
    const uint8_t *p;
    size_t n;
};

static ssize_t memory_read(struct byte_source *s, void *p, size_t n, struct err *e)
{
    struct memory_source *m = (struct memory_source *)s;
    (void)e;
    if (n > m->n)
        n = m->n;
    memcpy(p, m->p, n);
    m->p += n;
    m->n -= n;
    return (ssize_t)n;
}

static void memory_done(struct byte_source *s)
{
    (void)s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1)
        return 0;
    struct memory_source m = {{memory_read, memory_done}, data + 1, n - 1};
    struct byte_source *s = &m.base;
    struct err e = ERR_INIT;
    if (data[0] & 1 && source_decompress(&m.base, 1 << 20, &s, &e) < 0) {
        err_done(&e);
        return 0;
    }
    struct tar_reader t;
    struct tar_entry entry;
    char bytes[777];
    int r;
    tar_init(&t, s);
    while ((r = tar_next(&t, &entry, &e)) > 0) {
        BUG_ON(entry.name.n > TAR_NAME_MAX || entry.link.n > TAR_NAME_MAX);
        BUG_ON(memchr(entry.name.p ? entry.name.p : "", 0, entry.name.n) != NULL);
        BUG_ON(entry.nxattrs > TAR_XATTRS_MAX || entry.mode > 07777);
        ssize_t got;
        while ((got = tar_read(&t, bytes, sizeof bytes, &e)) > 0)
            ;
        if (got < 0)
            break;
    }
    BUG_ON(r < 0 && !e.reason);
    tar_done(&t);
    if (s != &m.base)
        source_done(s);
    err_done(&e);
    return 0;
}
