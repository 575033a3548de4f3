// Byte sources for archives: where the bytes of a layer come from, stacked. A source is read from
// one thread, to its end or not; image_source_done frees the whole stack below it.
//
//     file region -> digest check -> gzip or zstd -> digest check -> tar reader
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <sys/types.h>

struct image_source {
    // Up to n bytes; 0 at the end, negative with e set. Never more than the source's bound.
    ssize_t (*read)(struct image_source *s, void *p, size_t n, struct err *e);
    void (*done)(struct image_source *s); // frees s and what stands below
};

// Bytes [offset, offset + size) of an open file; the fd stays the caller's.
struct image_source *image_source_file(int fd, uint64_t offset, uint64_t size);
// Decompresses below where it begins with gzip's or zstd's magic, else passes it on. Several gzip
// members and zstd frames after each other are one stream. max bounds what comes out (a
// decompression bomb).
int image_source_decompress(struct image_source *below, uint64_t max, struct image_source **ret,
                            struct err *e);
// Passes on and computes SHA-256. image_source_digest reads what is left, then gives the digest in
// hexadecimal (64 characters and a NUL); -1 with e set when reading fails.
struct image_source *image_source_sha256(struct image_source *below);
int image_source_digest(struct image_source *sha256, char ret_hex[65], struct err *e);
void image_source_done(struct image_source *s);

// SHA-256 of bytes in memory.
void image_sha256(struct str bytes, char ret_hex[65]);
