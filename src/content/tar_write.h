// Writing tar archives: layers, image archives, anything that tar.h reads. POSIX ustar, with pax
// headers where a field does not fit it (a long or non-ASCII name, a large size or owner, a time
// before 1970 or with a fraction, extended attributes).
//
//     struct tar_writer w = {.write = sink, .ctx = file};
//     tar_write_entry(&w, &entry, e)             // entry.size bytes of content are due
//     tar_write_content(&w, bytes, n, e)         // as often as it takes
//     tar_write_end(&w, e)                       // the two empty blocks
//
// What is written depends on the entries alone: no clock, no names of users, no order of its own.
// So the same files give the same bytes and the same digest, which is what a build's cache and a
// registry's deduplication live on. Entries are struct tar_entry as the reader gives them;
// content_at is not used.
#pragma once
#include "content/tar.h"

struct tar_writer {
    // All n bytes, or a negative code with e set.
    int (*write)(void *ctx, const void *p, size_t n, struct err *e);
    void *ctx;
    // The writer's own; zero at the start.
    uint64_t due, padding; // of the present entry
};

// ERR_BAD_REQUEST: a name that is empty or too long, a NUL in one, content of the entry before that
// is still due, content of what has none. A failed write leaves the archive unusable.
int tar_write_entry(struct tar_writer *w, const struct tar_entry *t, struct err *e);
int tar_write_content(struct tar_writer *w, const void *p, size_t n, struct err *e);
int tar_write_end(struct tar_writer *w, struct err *e);
