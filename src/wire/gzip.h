// gzip in one go, both ways, on zlib. Private to this room.
#pragma once
#include "base/buf.h"
#include <zlib.h>

// Compresses at level 1 (the cheapest: the wire is fast here). false: out of memory.
bool gzip_compress(struct str in, struct buf *out);
// An incremental inflater, heap; end with gzip_inflate_free.
struct z_stream_s *gzip_inflate_new(void);
void gzip_inflate_free(struct z_stream_s *z); // NULL is nothing
// Appends what `in` inflates to, as long as out stays within max. 0 go on, 1 end of the stream
// reached, -1 broken, -2 past max.
int gzip_inflate(struct z_stream_s *z, struct str in, struct buf *out, size_t max);
