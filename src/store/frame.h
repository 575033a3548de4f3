// The bytes of the log: segment headers and frames. Pure functions on memory, no files: what the
// fuzzer feeds. All numbers are little-endian.
//
// A segment file begins with a header of SEGMENT_HEADER bytes:
//      0  "coracleW"
//      8  u32 format version (1)         12  u32 CRC-32C of bytes 16..64
//     16  u64 sequence number            24  u64 first revision that may stand in it
//     32  u64 salt (random)              40  zeros
// Frames follow, one for each group, each a multiple of 8 bytes:
//      0  u32 magic                       4  u32 CRC-32C of the salt and of bytes 8..size
//      8  u64 size of the frame          16  u64 first revision
//     24  u32 number of revisions        28  u32 number of changes
//     32  changes
// and a change is
//      0  u32 revision - first revision   4  u32 0 put, 1 delete
//      8  u32 bytes of key               12  u32 bytes of value
//     16  u64 create revision            24  u64 version
//     32  key, value, zeros up to a multiple of 8
//
// The salt makes a frame valid in its own segment only: what an earlier use of the file left
// behind, or a value made to look like a frame, never passes for one.
#pragma once
#include "base/buf.h"
#include "store/history.h"

enum { SEGMENT_HEADER = 64, FRAME_HEADER = 32 };

struct segment_header {
    uint64_t sequence, first_revision, salt;
};
void segment_header_write(char out[SEGMENT_HEADER], const struct segment_header *h);
bool segment_header_read(struct str bytes, struct segment_header *ret);

// Appends a frame with the changes, whose revisions are first .. last.
void frame_write(struct buf *b, uint64_t salt, const struct change *changes, size_t n,
                 uint64_t first, uint64_t last);

struct frame {
    uint64_t first, last; // revisions
    size_t size;
    uint32_t changes;
    // private: what is left to read
    struct str rest;
    uint32_t left;
};
struct frame_change {
    uint64_t revision, create_revision, version;
    bool deleted;
    struct str key, value;
};
// True if a whole and intact frame stands at the beginning of bytes.
bool frame_read(struct str bytes, uint64_t salt, struct frame *ret);
// The next change; 1, 0 at the end, -1 where an intact frame holds nonsense (a bug, or a forgery).
int frame_next(struct frame *f, struct frame_change *ret);
