// Growing byte buffer with a declared maximum. An append that would pass the maximum sets `failed`
// and appends nothing, then and ever after: build the whole, then ask once (buf_ok).
#pragma once
#include "base/str.h"
#include <stdarg.h>

struct buf {
    char *p;
    size_t n, cap;
    size_t max; // 0 means BUF_MAX_DEFAULT
    bool failed;
};
#define BUF_MAX_DEFAULT ((size_t)1 << 30)
#define BUF_INIT        ((struct buf){0})
#define BUF_MAX(m)      ((struct buf){.max = (m)})

void buf_done(struct buf *b);
static inline void buf_reset(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}
static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}
// Room for n more bytes; returns where to write, or NULL past the maximum. Commit with b->n += n.
char *buf_reserve(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_char(struct buf *b, char c);
void buf_str(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *cstr);
void buf_u64(struct buf *b, uint64_t v); // decimal
void buf_i64(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
// Drop the first n bytes.
void buf_drop(struct buf *b, size_t n);
static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p, b->n};
}
// Terminates (not counted in n) and returns the content as a C string.
const char *buf_cstr(struct buf *b);
#define _cleanup_buf_ __attribute__((cleanup(buf_done)))
