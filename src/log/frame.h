// The bytes of a journal: segment headers, frames, marks. Pure functions on memory, no files: what
// the fuzzer feeds. All numbers are little-endian.
//
// A segment file begins with a header of SEGMENT_HEADER bytes:
//      0  "coracleW"
//      8  u32 format version (2; 1: no size)  12  u32 CRC-32C of bytes 16..64
//     16  u64 sequence number            24  u64 first number that may stand in it
//     32  u64 salt (random)              40  u64 bytes of the file when it was made; 0: not known
//     48  zeros
// Frames follow, one for each group, each a multiple of 8 bytes:
//      0  u32 magic                       4  u32 CRC-32C of the salt and of bytes 8..size
//      8  u64 size of the frame          16  u64 first number
//     24  u32 how many numbers           28  u32 the user's word
//     32  payload, filled with zeros to a multiple of 8
//
// The salt makes a frame valid in its own segment only: what an earlier use of the file left
// behind, or a value made to look like a frame, never passes for one.
//
// A mark says how far the journal was durable when it was written (journal.h):
//      0  "coracleM"
//      8  u32 format version (1)         12  u32 CRC-32C of bytes 16..64
//     16  u64 counter, grows             24  u64 sequence of the segment
//     32  u64 offset of its end          40  u64 last number
//     48  zeros
#pragma once
#include "base/buf.h"

enum { SEGMENT_HEADER = 64, FRAME_HEADER = 32, MARK_BYTES = 64 };

struct segment_header {
    uint64_t sequence, first, salt, size;
    uint32_t format; // read only: 1 or 2
};
void segment_header_write(char out[SEGMENT_HEADER], const struct segment_header *h);
bool segment_header_read(struct str bytes, struct segment_header *ret);

struct frame {
    uint64_t first, last; // numbers
    uint32_t word;
    size_t size; // of the whole frame
    struct str payload;
};
// A frame is built in a buffer: FRAME_HEADER bytes of room, then the payload, then the end, which
// pads it; and it is sealed once the salt of its segment is known.
void frame_begin(struct buf *b);
void frame_end(struct buf *b, uint64_t first, uint64_t last, uint32_t word);
void frame_seal(struct buf *b, uint64_t salt);
// True if a whole and intact frame stands at the beginning of bytes. Its payload is a view of them,
// with the padding.
bool frame_read(struct str bytes, uint64_t salt, struct frame *ret);

struct mark {
    uint64_t counter, sequence, offset, last;
};
void mark_write(char out[MARK_BYTES], const struct mark *m);
bool mark_read(struct str bytes, struct mark *ret);

// Numbers of fixed width, for this and for what users put into payloads.
uint32_t frame_get32(const char *at);
uint64_t frame_get64(const char *at);
void frame_put32(char *at, uint32_t v);
void frame_put64(char *at, uint64_t v);
