// Sources are small structs with a vtable of two functions, so that the tar reader neither knows
// nor cares what it reads. Every one has a bound: a layer of a kilobyte must not become a terabyte.
//
// The digest source verifies while streaming: the unpacked layer is thrown away when its
// digest turns out wrong, it is never used before.
#include "content/source.h"
#include "base/arena.h"
#include "content/digest.h"
#include <errno.h>
#include <openssl/evp.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

void source_done(struct byte_source *s)
{
    if (s)
        s->done(s);
}

// --- file -----------------------------------------------------------------------------------

struct file_source {
    struct byte_source base;
    int fd;
    uint64_t at, end;
};

static ssize_t file_read(struct byte_source *s, void *p, size_t n, struct err *e)
{
    struct file_source *f = (struct file_source *)s;
    if (n > f->end - f->at)
        n = (size_t)(f->end - f->at);
    if (!n)
        return 0;
    ssize_t got;
    do
        got = pread(f->fd, p, n, (off_t)f->at);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_errno(e, errno, "reading the archive");
    if (got == 0)
        return err_set(e, ERR_BAD_REQUEST, "the archive is cut off");
    f->at += (uint64_t)got;
    return got;
}

static void file_done(struct byte_source *s)
{
    free(s);
}

struct byte_source *source_file(int fd, uint64_t offset, uint64_t size)
{
    struct file_source *f = mem_zalloc(sizeof *f);
    *f = (struct file_source){{file_read, file_done}, fd, offset, offset + size};
    return &f->base;
}

// --- decompression --------------------------------------------------------------------------

struct inflate_source {
    struct byte_source base, *below;
    enum { PLAIN, GZIP, ZSTD } kind;
    uint64_t left; // what may still come out
    bool ended, over;
    z_stream z;
    ZSTD_DStream *zstd;
    ZSTD_inBuffer in;
    size_t frame_open; // zstd: bytes it still expects; 0 between frames
    unsigned char head[8];
    size_t head_n, head_at;
    unsigned char bytes[64 * 1024];
};

// From below, the bytes that were looked at first.
static ssize_t below_read(struct inflate_source *x, void *p, size_t n, struct err *e)
{
    if (x->head_at < x->head_n) {
        if (n > x->head_n - x->head_at)
            n = x->head_n - x->head_at;
        memcpy(p, x->head + x->head_at, n);
        x->head_at += n;
        return (ssize_t)n;
    }
    return x->below->read(x->below, p, n, e);
}

static ssize_t gzip_read(struct inflate_source *x, void *p, size_t n, struct err *e)
{
    x->z.next_out = p;
    x->z.avail_out = (unsigned)n;
    while (x->z.avail_out == n) {
        if (!x->z.avail_in && !x->ended) {
            ssize_t got = below_read(x, x->bytes, sizeof x->bytes, e);
            if (got < 0)
                return got;
            x->ended = got == 0;
            x->z.next_in = x->bytes;
            x->z.avail_in = (unsigned)got;
        }
        if (x->over) { // a member has ended: another one, or padding, or the end
            while (x->z.avail_in && !*x->z.next_in)
                x->z.next_in++, x->z.avail_in--;
            if (!x->z.avail_in && x->ended)
                return 0;
            if (!x->z.avail_in)
                continue;
            inflateReset(&x->z);
            x->over = false;
        }
        int r = inflate(&x->z, Z_NO_FLUSH);
        if (r == Z_STREAM_END)
            x->over = true;
        else if (r == Z_BUF_ERROR && x->ended)
            return err_set(e, ERR_BAD_REQUEST, "gzip: the stream is cut off");
        else if (r != Z_OK && r != Z_BUF_ERROR)
            return err_set(e, ERR_BAD_REQUEST, "gzip: %s", x->z.msg ? x->z.msg : "bad data");
    }
    return (ssize_t)(n - x->z.avail_out);
}

static ssize_t zstd_read(struct inflate_source *x, void *p, size_t n, struct err *e)
{
    ZSTD_outBuffer out = {p, n, 0};
    while (!out.pos) {
        if (x->in.pos == x->in.size && !x->ended) {
            ssize_t got = below_read(x, x->bytes, sizeof x->bytes, e);
            if (got < 0)
                return got;
            x->ended = got == 0;
            x->in = (ZSTD_inBuffer){x->bytes, (size_t)got, 0};
        }
        if (x->ended && x->in.pos == x->in.size && !x->frame_open)
            return 0;
        size_t in_before = x->in.pos;
        size_t r = ZSTD_decompressStream(x->zstd, &out, &x->in);
        if (ZSTD_isError(r))
            return err_set(e, ERR_BAD_REQUEST, "zstd: %s", ZSTD_getErrorName(r));
        x->frame_open = r;
        if (!out.pos && x->ended && x->in.pos == in_before && r)
            return err_set(e, ERR_BAD_REQUEST, "zstd: the stream is cut off");
    }
    return (ssize_t)out.pos;
}

static ssize_t inflate_read(struct byte_source *s, void *p, size_t n, struct err *e)
{
    struct inflate_source *x = (struct inflate_source *)s;
    ssize_t got = x->kind == GZIP   ? gzip_read(x, p, n, e)
                  : x->kind == ZSTD ? zstd_read(x, p, n, e)
                                    : below_read(x, p, n, e);
    if (got > 0 && (uint64_t)got > x->left)
        return err_set(e, ERR_TOO_LARGE, "the archive's content is larger than is allowed");
    if (got > 0)
        x->left -= (uint64_t)got;
    return got;
}

static void inflate_done(struct byte_source *s)
{
    struct inflate_source *x = (struct inflate_source *)s;
    if (x->kind == GZIP)
        inflateEnd(&x->z);
    ZSTD_freeDStream(x->zstd);
    source_done(x->below);
    free(x);
}

int source_decompress(struct byte_source *below, uint64_t max, struct byte_source **ret,
                      struct err *e)
{
    struct inflate_source *x = mem_zalloc(sizeof *x);
    x->base = (struct byte_source){inflate_read, inflate_done};
    x->below = below;
    x->left = max;
    while (x->head_n < 4) {
        ssize_t got = below->read(below, x->head + x->head_n, 4 - x->head_n, e);
        if (got < 0) {
            inflate_done(&x->base);
            return (int)got;
        }
        if (!got)
            break;
        x->head_n += (size_t)got;
    }
    if (x->head_n >= 2 && x->head[0] == 0x1f && x->head[1] == 0x8b) {
        x->kind = GZIP;
        if (inflateInit2(&x->z, 15 + 16) != Z_OK) {
            x->kind = PLAIN;
            inflate_done(&x->base);
            return err_set(e, ERR_INTERNAL, "gzip: cannot be initialised");
        }
    } else if (x->head_n == 4 && !memcmp(x->head, "\x28\xb5\x2f\xfd", 4)) {
        x->kind = ZSTD;
        x->zstd = ZSTD_createDStream();
        BUG_ON(!x->zstd);
        // 128 MB of window is what every zstd decoder is expected to allow.
        ZSTD_DCtx_setParameter(x->zstd, ZSTD_d_windowLogMax, 27);
    }
    *ret = &x->base;
    return 0;
}

// --- digest ---------------------------------------------------------------------------------

struct sha_source {
    struct byte_source base, *below;
    EVP_MD_CTX *ctx;
};

static ssize_t sha_read(struct byte_source *s, void *p, size_t n, struct err *e)
{
    struct sha_source *x = (struct sha_source *)s;
    ssize_t got = x->below->read(x->below, p, n, e);
    if (got > 0)
        EVP_DigestUpdate(x->ctx, p, (size_t)got);
    return got;
}

static void sha_done(struct byte_source *s)
{
    struct sha_source *x = (struct sha_source *)s;
    EVP_MD_CTX_free(x->ctx);
    source_done(x->below);
    free(x);
}

struct byte_source *source_sha256(struct byte_source *below)
{
    struct sha_source *x = mem_zalloc(sizeof *x);
    x->base = (struct byte_source){sha_read, sha_done};
    x->below = below;
    x->ctx = EVP_MD_CTX_new();
    BUG_ON(!x->ctx || !EVP_DigestInit_ex(x->ctx, EVP_sha256(), NULL));
    return &x->base;
}

int source_digest(struct byte_source *s, char ret_hex[65], struct err *e)
{
    struct sha_source *x = (struct sha_source *)s;
    char rest[16 * 1024];
    unsigned char out[32];
    unsigned n = 0;
    for (;;) {
        ssize_t got = sha_read(s, rest, sizeof rest, e);
        if (got < 0)
            return (int)got;
        if (!got)
            break;
    }
    EVP_DigestFinal_ex(x->ctx, out, &n);
    digest_hex(out, ret_hex);
    return 0;
}
