// Byte sources for archives: where the bytes of a layer come from, stacked. A source is read from
// one thread, to its end or not; source_done frees the whole stack below it.
//
//     file region -> digest check -> gzip or zstd -> digest check -> tar reader
#pragma once
#include "base/err.h"
#include "base/str.h"
#include <sys/types.h>

struct byte_source {
    // Up to n bytes; 0 at the end, negative with e set. Never more than the source's bound.
    ssize_t (*read)(struct byte_source *s, void *p, size_t n, struct err *e);
    void (*done)(struct byte_source *s); // frees s and what stands below
};

// Bytes [offset, offset + size) of an open file; the fd stays the caller's.
struct byte_source *source_file(int fd, uint64_t offset, uint64_t size);
// Decompresses below where it begins with gzip's or zstd's magic, else passes it on. Several gzip
// members and zstd frames after each other are one stream. max bounds what comes out (a
// decompression bomb).
int source_decompress(struct byte_source *below, uint64_t max, struct byte_source **ret,
                      struct err *e);
// Passes on and computes SHA-256. source_digest reads what is left, then gives the digest in
// hexadecimal (64 characters and a NUL); -1 with e set when reading fails.
struct byte_source *source_sha256(struct byte_source *below);
int source_digest(struct byte_source *sha256, char ret_hex[65], struct err *e);
void source_done(struct byte_source *s);
