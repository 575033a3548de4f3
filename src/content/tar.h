// Reading tar archives as layers and image archives have them: POSIX ustar, pax (paths, link paths,
// sizes, owners, times, SCHILY.xattr.*), GNU long names and base-256 numbers. Sparse files are
// refused.
//
//     struct tar_reader t;
//     tar_init(&t, source);
//     while ((r = tar_next(&t, &entry, e)) > 0)
//         if (entry.type == TAR_FILE)
//             while ((n = tar_read(&t, bytes, sizeof bytes, e)) > 0) …
//     tar_done(&t);
//
// Names are as they stand in the archive: whoever creates files must refuse what leaves the root
// (unpack.h). An entry's strings live until the next tar_next. Content that was not read is
// skipped.
#pragma once
#include "base/arena.h"
#include "content/source.h"

enum tar_type {
    TAR_FILE,
    TAR_HARDLINK,
    TAR_SYMLINK,
    TAR_CHAR,
    TAR_BLOCK,
    TAR_DIRECTORY,
    TAR_FIFO,
};

#define TAR_NAME_MAX   4096          // of a path
#define TAR_HEADER_MAX (1024 * 1024) // of a pax header
#define TAR_XATTRS_MAX 64

struct tar_xattr {
    struct str name, value;
};

struct tar_entry {
    enum tar_type type;
    struct str name, link; // name without leading "./" and trailing "/"
    uint32_t mode;         // permission bits only
    uint32_t uid, gid;
    uint64_t size; // of a file's content
    int64_t mtime_ns;
    uint32_t device_major, device_minor;
    const struct tar_xattr *xattrs;
    size_t nxattrs;
    uint64_t content_at; // offset of the content in the archive
};

struct tar_reader {
    struct byte_source *source; // not owned
    struct arena arena;         // of the current entry
    uint64_t offset;            // read so far
    uint64_t content_left, padding_left;
    struct tar_xattr xattrs[TAR_XATTRS_MAX];
};

void tar_init(struct tar_reader *t, struct byte_source *source);
// 1: an entry; 0: the end; negative: e is set (ERR_BAD_REQUEST for what is no tar).
int tar_next(struct tar_reader *t, struct tar_entry *ret, struct err *e);
ssize_t tar_read(struct tar_reader *t, void *p, size_t n, struct err *e); // 0 at the entry's end
void tar_done(struct tar_reader *t);
