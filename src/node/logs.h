// Container logs in the CRI format, one line an entry:
//
//     2026-01-02T03:04:05.678901234Z stdout F text
//
// F: the line is whole; P: it goes on in the next entry of the same stream. The file may have been
// rotated: older parts stand beside it as "0.log.<timestamp>" and are read before it.
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct log_entry {
    struct str time; // as written
    bool is_stderr, partial;
    struct str text;
};
// One line without its newline. false: not in the format.
bool logs_parse_line(struct str line, struct log_entry *ret);

struct logs_options {
    int64_t tail_lines;  // -1: all
    int64_t limit_bytes; // 0: none
    int64_t since_ns;    // real time; 0: all
    bool timestamps;
    bool only_stdout, only_stderr;
};

// A reader at a place in a container's log. Not thread-safe.
struct log_reader;
// path: of the current file. Starts at the place that tail_lines asks for. ERR_NOT_FOUND: no log.
int log_reader_open(const char *path, const struct logs_options *o, struct log_reader **ret,
                    struct err *e);
void log_reader_close(struct log_reader *r);
// Appends at least one entry and about max bytes to out. 1: there may be more; 0: at the end for
// now (call again when the file has grown or was replaced); 2: limit_bytes is used up; negative:
// error.
int log_reader_read(struct log_reader *r, size_t max, struct buf *out, struct err *e);

// For termination messages: at most max bytes of the beginning, or of the last lines' text.
int logs_read_head(struct arena *a, const char *path, size_t max, struct str *ret);
int logs_read_tail(struct arena *a, const char *path, int64_t lines, size_t max, struct str *ret);
