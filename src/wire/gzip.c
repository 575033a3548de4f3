// zlib behind two calls. The inflater checks the bound before each step, so that a small body that
// inflates to gigabytes costs no more than the bound.
#include "wire/gzip.h"
#include "base/arena.h"
#include "base/err.h"

enum { STEP = 16 << 10, GZIP_WINDOW = 15 + 16, ANY_WINDOW = 15 + 32 };

bool gzip_compress(struct str in, struct buf *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    z.next_in = (Bytef *)in.p;
    z.avail_in = (uInt)in.n;
    int code = Z_OK;
    while (code == Z_OK) {
        char *p = buf_reserve(out, STEP);
        if (!p)
            break;
        z.next_out = (Bytef *)p;
        z.avail_out = STEP;
        code = deflate(&z, Z_FINISH);
        out->n += STEP - z.avail_out;
    }
    deflateEnd(&z);
    return code == Z_STREAM_END;
}

struct z_stream_s *gzip_inflate_new(void)
{
    struct z_stream_s *z = mem_zalloc(sizeof *z);
    BUG_ON(inflateInit2(z, ANY_WINDOW) != Z_OK);
    return z;
}

void gzip_inflate_free(struct z_stream_s *z)
{
    if (!z)
        return;
    inflateEnd(z);
    free(z);
}

int gzip_inflate(struct z_stream_s *z, struct str in, struct buf *out, size_t max)
{
    z->next_in = (Bytef *)in.p;
    z->avail_in = (uInt)in.n;
    for (;;) {
        // One byte more than the bound may be produced, which is how passing it is noticed.
        size_t room = max - out->n + 1;
        if (room > STEP)
            room = STEP;
        char *p = buf_reserve(out, room);
        if (!p)
            return -2;
        z->next_out = (Bytef *)p;
        z->avail_out = (uInt)room;
        int code = inflate(z, Z_NO_FLUSH);
        out->n += room - z->avail_out;
        if (out->n > max)
            return -2;
        if (code == Z_STREAM_END)
            return z->avail_in ? -1 : 1;
        if (code == Z_BUF_ERROR)
            return 0; // no more input
        if (code != Z_OK)
            return -1;
    }
}
