// Making a block goes over the spans twice: once to know where each is and what its trace's terms
// are, then in the order of trace IDs to compress them. A segment's worth is in memory meanwhile.
#include "trace/span_block.h"
#include "base/guard.h"
#include "base/map.h"
#include "log/crc32c.h"
#include "log/frame.h"
#include <errno.h>
#include <stdatomic.h>
#include <zstd.h>

enum {
    CHUNK_BYTES = 64 << 10,
    CHUNK_MAX = 64 << 20, // of one trace; more is not decoded
    TERM_PAGE = 8 << 10,
    TRACE_ROW = 16, // u64 trace_lo, u32 chunk, u32 offset in it
    CHUNK_ROW = 16, // u64 offset, u32 bytes, u32 bytes when decompressed
    RANK_ROW = 16,  // u64 time, u32 index of the trace, u32 longest duration / 1024 + 1
    DIR_ROW = 8,    // u32 first term of the page, u32 offset of the page
    TRAILER = 160,
    LEVEL = 3,
};
static const char magic[8] = "coracleB";

// The trailer's numbers, in order, behind magic, u32 CRC-32C of the rest, u32 format.
enum span_block_field {
    F_TRACES,
    F_NTRACES,
    F_CHUNKS,
    F_NCHUNKS,
    F_RANKS,
    F_TERMS,
    F_DIR,
    F_NDIR,
    F_NAMES,
    F_NAMES_BYTES,
    F_MIN_TIME,
    F_MAX_TIME,
    F_SPANS,
    F_LAST,
    F_SEQUENCE,
    F_BYTES,
    NFIELDS
};
_Static_assert(16 + NFIELDS * 8 <= TRAILER, "the trailer holds its fields");

struct span_block {
    atomic_uint refs;
    struct env *env;
    struct env_file *file;
    char *path;
    uint64_t f[NFIELDS];
    struct span_block_facts facts;
};

// ---- terms ----

uint32_t span_term(enum span_term kind, struct str one, struct str two)
{
    char head[5] = {(char)kind};
    frame_put32(head + 1, (uint32_t)one.n);
    uint32_t h = crc32c(0, head, sizeof head);
    if (one.n)
        h = crc32c(h, one.p, one.n);
    return two.n ? crc32c(h, two.p, two.n) : h;
}

// ---- making ----

struct span_item { // a span of the source
    uint64_t trace_lo;
    size_t order; // in which it came
    struct str bytes;
};
struct span_posting {
    uint32_t term, rank;
};
struct span_group { // a trace of it
    uint64_t trace_lo, time, max_duration;
    size_t first, n; // items
    uint32_t chunk, offset;
};
struct span_block_maker {
    struct env *env;
    struct env_file *file;
    uint64_t at;
    int error;
    struct span_item *items;
    size_t nitems, cap_items;
    struct span_group *groups;
    size_t ngroups;
    struct span_posting *postings;
    size_t npostings, cap_postings;
    struct buf names; // "service\0kind name" for sorting
    struct buf raw, out;
    uint64_t f[NFIELDS];
};

static void emit(struct span_block_maker *m, const void *p, size_t n)
{
    ssize_t put = m->error || !n ? 0 : m->env->ops->file_pwrite(m->file, p, n, m->at);
    if (put < 0)
        m->error = (int)put;
    m->at += n;
}

static int collect(struct span_block_maker *m, const struct span_block_source *source)
{
    for (size_t i = 0; i < source->nframes; i++) {
        struct str rest = source->frames[i];
        while (rest.n) {
            uint64_t lo;
            size_t n;
            if (!span_peek(rest, &lo, &n))
                break; // the padding of a frame
            if (m->nitems == m->cap_items) {
                m->cap_items = m->cap_items ? m->cap_items * 2 : 4096;
                m->items = mem_realloc(m->items, m->cap_items * sizeof *m->items);
            }
            m->items[m->nitems] = (struct span_item){lo, m->nitems, {rest.p, n}};
            m->nitems++;
            rest = str_from(rest, n);
        }
    }
    return m->nitems < UINT32_MAX ? 0 : -EFBIG;
}

static int by_trace(const void *x, const void *y)
{
    const struct span_item *a = x, *b = y;
    if (a->trace_lo != b->trace_lo)
        return a->trace_lo < b->trace_lo ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static int latest_first(const void *x, const void *y)
{
    const struct span_group *a = x, *b = y;
    if (a->time != b->time)
        return a->time > b->time ? -1 : 1;
    return (a->trace_lo > b->trace_lo) - (a->trace_lo < b->trace_lo);
}

static int by_id(const void *x, const void *y)
{
    const struct span_group *a = x, *b = y;
    return (a->trace_lo > b->trace_lo) - (a->trace_lo < b->trace_lo);
}

static int by_term(const void *x, const void *y)
{
    const struct span_posting *a = x, *b = y;
    if (a->term != b->term)
        return a->term < b->term ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

static void term_add(struct span_block_maker *m, uint32_t rank, enum span_term kind, struct str one,
                     struct str two)
{
    if (m->npostings == m->cap_postings) {
        m->cap_postings = m->cap_postings ? m->cap_postings * 2 : 16384;
        m->postings = mem_realloc(m->postings, m->cap_postings * sizeof *m->postings);
    }
    m->postings[m->npostings++] = (struct span_posting){span_term(kind, one, two), rank};
}

static void terms_of(struct span_block_maker *m, uint32_t rank, const struct span *s)
{
    struct str service = s->local.service, remote = s->remote.service;
    if (service.n)
        term_add(m, rank, SPAN_TERM_SERVICE, service, STR_NULL);
    if (s->name.n) {
        term_add(m, rank, SPAN_TERM_NAME, s->name, STR_NULL);
        if (service.n)
            term_add(m, rank, SPAN_TERM_SERVICE_NAME, service, s->name);
    }
    if (remote.n) {
        term_add(m, rank, SPAN_TERM_REMOTE, remote, STR_NULL);
        if (service.n)
            term_add(m, rank, SPAN_TERM_SERVICE_REMOTE, service, remote);
    }
    for (size_t i = 0; i < s->ntags; i++) {
        term_add(m, rank, SPAN_TERM_WORD, s->tags[i].key, STR_NULL);
        term_add(m, rank, SPAN_TERM_TAG, s->tags[i].key, s->tags[i].value);
    }
    for (size_t i = 0; i < s->nannotations; i++)
        term_add(m, rank, SPAN_TERM_WORD, s->annotations[i].value, STR_NULL);
}

static void name_add(struct map *names, struct arena *a, struct str service, struct str name,
                     bool remote)
{
    if (!service.n)
        return;
    _cleanup_buf_ struct buf key = BUF_INIT;
    span_varint_put(&key, service.n);
    buf_str(&key, service);
    buf_char(&key, remote ? 1 : 0);
    buf_str(&key, name);
    (void)a;
    if (!map_has(names, buf_view(&key)))
        map_set(names, buf_view(&key), (void *)1);
}

// Groups, their times, terms and names. After it, groups are by rank.
static int analyse(struct span_block_maker *m, struct map *names)
{
    qsort(m->items, m->nitems, sizeof *m->items, by_trace);
    m->groups = mem_alloc((m->nitems + 1) * sizeof *m->groups);
    for (size_t i = 0; i < m->nitems;) {
        struct span_group *g = &m->groups[m->ngroups++];
        *g = (struct span_group){.trace_lo = m->items[i].trace_lo, .first = i};
        while (i < m->nitems && m->items[i].trace_lo == g->trace_lo)
            i++;
        g->n = i - g->first;
        bool root = false;
        for (size_t k = g->first; k < i; k++) {
            _cleanup_arena_ struct arena a = ARENA_INIT;
            struct str bytes = m->items[k].bytes;
            struct span s;
            if (!span_decode(&a, &bytes, &s))
                return -EBADMSG;
            if (s.duration > g->max_duration)
                g->max_duration = s.duration;
            if (!s.timestamp || root)
                continue;
            root = !s.parent;
            if (root || !g->time || s.timestamp < g->time)
                g->time = s.timestamp;
        }
    }
    qsort(m->groups, m->ngroups, sizeof *m->groups, latest_first);
    for (size_t r = 0; r < m->ngroups; r++)
        for (size_t k = 0; k < m->groups[r].n; k++) {
            _cleanup_arena_ struct arena a = ARENA_INIT;
            struct str bytes = m->items[m->groups[r].first + k].bytes;
            struct span s;
            span_decode(&a, &bytes, &s);
            terms_of(m, (uint32_t)r, &s);
            name_add(names, &a, s.local.service, s.name, false);
            if (s.remote.service.n)
                name_add(names, &a, s.local.service, s.remote.service, true);
        }
    return 0;
}

static int chunk_flush(struct span_block_maker *m, ZSTD_CCtx *z, struct buf *rows)
{
    if (!m->raw.n)
        return 0;
    size_t bound = ZSTD_compressBound(m->raw.n);
    buf_reset(&m->out);
    if (!buf_reserve(&m->out, bound))
        return -ENOMEM;
    size_t n = ZSTD_compress2(z, m->out.p, bound, m->raw.p, m->raw.n);
    if (ZSTD_isError(n))
        return -ENOMEM;
    char row[CHUNK_ROW];
    frame_put64(row, m->at);
    frame_put32(row + 8, (uint32_t)n);
    frame_put32(row + 12, (uint32_t)m->raw.n);
    buf_add(rows, row, sizeof row);
    emit(m, m->out.p, n);
    buf_reset(&m->raw);
    return 0;
}

// Chunks in the order of trace IDs, then the tables of traces and chunks. `order`: groups by ID,
// each pointing back to its rank.
static int write_spans(struct span_block_maker *m, struct span_group *order)
{
    _cleanup_buf_ struct buf chunks = BUF_INIT, traces = BUF_INIT;
    ZSTD_CCtx *z = ZSTD_createCCtx();
    if (!z)
        return -ENOMEM;
    ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    int error = 0;
    for (size_t i = 0; i < m->ngroups && !error; i++) {
        struct span_group *g = &order[i];
        if (m->raw.n >= CHUNK_BYTES)
            error = chunk_flush(m, z, &chunks);
        char row[TRACE_ROW];
        frame_put64(row, g->trace_lo);
        frame_put32(row + 8, (uint32_t)(chunks.n / CHUNK_ROW));
        frame_put32(row + 12, (uint32_t)m->raw.n);
        buf_add(&traces, row, sizeof row);
        for (size_t k = 0; k < g->n; k++)
            buf_str(&m->raw, m->items[g->first + k].bytes);
    }
    if (!error)
        error = chunk_flush(m, z, &chunks);
    ZSTD_freeCCtx(z);
    m->f[F_TRACES] = m->at;
    m->f[F_NTRACES] = m->ngroups;
    emit(m, traces.p, traces.n);
    m->f[F_CHUNKS] = m->at;
    m->f[F_NCHUNKS] = chunks.n / CHUNK_ROW;
    emit(m, chunks.p, chunks.n);
    return error;
}

static void write_ranks(struct span_block_maker *m, const struct span_group *order)
{
    _cleanup_buf_ struct buf ranks = BUF_INIT;
    m->f[F_RANKS] = m->at;
    for (size_t r = 0; r < m->ngroups; r++) {
        const struct span_group *g = &m->groups[r];
        const struct span_group *at = bsearch(g, order, m->ngroups, sizeof *order, by_id);
        uint64_t longest = g->max_duration / 1024 + 1;
        char row[RANK_ROW];
        frame_put64(row, g->time);
        frame_put32(row + 8, (uint32_t)(at - order));
        frame_put32(row + 12, longest > UINT32_MAX ? UINT32_MAX : (uint32_t)longest);
        buf_add(&ranks, row, sizeof row);
        if (g->time) {
            if (!m->f[F_MAX_TIME])
                m->f[F_MAX_TIME] = g->time;
            m->f[F_MIN_TIME] = g->time;
        }
    }
    emit(m, ranks.p, ranks.n);
}

// Pages of terms: each a varint of the difference to the term before (in the page), a varint of how
// many traces, and the differences of their ranks.
static void write_terms(struct span_block_maker *m)
{
    _cleanup_buf_ struct buf page = BUF_INIT, dir = BUF_INIT;
    uint64_t base = m->at;
    m->f[F_TERMS] = base;
    qsort(m->postings, m->npostings, sizeof *m->postings, by_term);
    uint32_t before = 0;
    for (size_t i = 0; i < m->npostings;) {
        uint32_t term = m->postings[i].term;
        size_t end = i, n = 0;
        for (; end < m->npostings && m->postings[end].term == term; end++)
            n += end == i || m->postings[end].rank != m->postings[end - 1].rank;
        if (!page.n) {
            char row[DIR_ROW];
            frame_put32(row, term);
            frame_put32(row + 4, (uint32_t)(m->at - base));
            buf_add(&dir, row, sizeof row);
            before = 0;
        }
        span_varint_put(&page, term - before);
        span_varint_put(&page, n);
        before = term;
        uint32_t rank = 0;
        for (size_t k = i; k < end; k++)
            if (k == i || m->postings[k].rank != m->postings[k - 1].rank) {
                span_varint_put(&page, m->postings[k].rank - rank);
                rank = m->postings[k].rank;
            }
        i = end;
        if (page.n >= TERM_PAGE || i == m->npostings) {
            emit(m, page.p, page.n);
            buf_reset(&page);
        }
    }
    m->f[F_DIR] = m->at;
    m->f[F_NDIR] = dir.n / DIR_ROW;
    emit(m, dir.p, dir.n);
}

static void write_names(struct span_block_maker *m, const struct map *names)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    map_each (names, s) {
        span_varint_put(&b, s->key_n);
        buf_add(&b, s->key, s->key_n);
    }
    m->f[F_NAMES] = m->at;
    m->f[F_NAMES_BYTES] = b.n;
    emit(m, b.p, b.n);
}

static void write_trailer(struct span_block_maker *m)
{
    char t[TRAILER] = {0};
    m->f[F_SPANS] = m->nitems;
    m->f[F_BYTES] = m->at + TRAILER;
    memcpy(t, magic, sizeof magic);
    frame_put32(t + 12, 1);
    for (size_t i = 0; i < NFIELDS; i++)
        frame_put64(t + 16 + i * 8, m->f[i]);
    frame_put32(t + 8, crc32c(0, t + 12, TRAILER - 12));
    emit(m, t, sizeof t);
}

static int make(struct span_block_maker *m, const struct span_block_source *source)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct map names = MAP_INIT;
    int error = collect(m, source);
    if (!error)
        error = analyse(m, &names);
    if (!error) {
        struct span_group *order = mem_alloc((m->ngroups + 1) * sizeof *order);
        if (m->ngroups)
            memcpy(order, m->groups, m->ngroups * sizeof *order);
        qsort(order, m->ngroups, sizeof *order, by_id);
        m->f[F_LAST] = source->last;
        m->f[F_SEQUENCE] = source->sequence;
        error = write_spans(m, order);
        write_ranks(m, order);
        write_terms(m);
        write_names(m, &names);
        write_trailer(m);
        free(order);
    }
    map_done(&names);
    free(m->items);
    free(m->groups);
    free(m->postings);
    buf_done(&m->raw);
    buf_done(&m->out);
    return error ? error : m->error;
}

int span_block_write(struct env *env, const char *dir, const char *name,
                     const struct span_block_source *source, struct err *e)
{
    const struct env_ops *o = env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = arena_printf(&a, "%s/%s", dir, name);
    struct str fresh = arena_printf(&a, "%s/%s.new", dir, name);
    struct span_block_maker m = {.env = env};
    int error =
        o->file_open(env, fresh.p, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNC, 0600, &m.file);
    if (error)
        return err_errno(e, error, "making %s", fresh.p);
    error = make(&m, source);
    if (!error)
        error = o->file_sync(m.file);
    o->file_close(m.file);
    if (!error)
        error = o->rename(env, fresh.p, path.p);
    if (!error)
        error = o->sync_dir(env, dir);
    if (error)
        o->unlink(env, fresh.p);
    return error ? err_errno(e, error, "writing %s", path.p) : 0;
}

// ---- reading ----

static bool read_at(struct span_block *b, uint64_t at, void *p, size_t n)
{
    return b->env->ops->file_pread(b->file, p, n, at) == (ssize_t)n;
}

static int damaged(struct span_block *b, struct err *e, const char *what)
{
    return err_set(e, ERR_INTERNAL, "%s is damaged: %s", b->path, what);
}

// n rows of a table that lies whole inside the file.
static bool inside(const struct span_block *b, enum span_block_field at, uint64_t n, uint64_t row)
{
    uint64_t end = b->f[F_BYTES] - TRAILER;
    return b->f[at] <= end && n <= (end - b->f[at]) / row;
}

static bool trailer_good(struct span_block *b, int64_t size)
{
    char t[TRAILER];
    if (size < TRAILER || !read_at(b, (uint64_t)size - TRAILER, t, TRAILER) ||
        memcmp(t, magic, sizeof magic) != 0 || frame_get32(t + 12) != 1 ||
        frame_get32(t + 8) != crc32c(0, t + 12, TRAILER - 12))
        return false;
    for (size_t i = 0; i < NFIELDS; i++)
        b->f[i] = frame_get64(t + 16 + i * 8);
    return b->f[F_BYTES] == (uint64_t)size && inside(b, F_TRACES, b->f[F_NTRACES], TRACE_ROW) &&
           inside(b, F_CHUNKS, b->f[F_NCHUNKS], CHUNK_ROW) &&
           inside(b, F_RANKS, b->f[F_NTRACES], RANK_ROW) &&
           inside(b, F_DIR, b->f[F_NDIR], DIR_ROW) && inside(b, F_NAMES, b->f[F_NAMES_BYTES], 1) &&
           b->f[F_TERMS] <= b->f[F_DIR] && b->f[F_NTRACES] <= UINT32_MAX;
}

int span_block_open(struct env *env, const char *path, struct span_block **ret, struct err *e)
{
    struct span_block *b = mem_zalloc(sizeof *b);
    atomic_init(&b->refs, 1);
    b->env = env;
    b->path = mem_cstr(str_of(path));
    int error = env->ops->file_open(env, path, ENV_READ, 0, &b->file);
    int code = error ? err_errno(e, error, "opening %s", path) : 0;
    if (!code && !trailer_good(b, env->ops->file_size(b->file)))
        code = err_set(e, ERR_INTERNAL, "%s is not a block, or was cut short", path);
    if (code) {
        span_block_unref(b);
        return code;
    }
    b->facts = (struct span_block_facts){b->f[F_MIN_TIME], b->f[F_MAX_TIME], b->f[F_SPANS],
                                         b->f[F_NTRACES],  b->f[F_BYTES],    b->f[F_LAST],
                                         b->f[F_SEQUENCE]};
    *ret = b;
    return 0;
}

struct span_block *span_block_ref(struct span_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void span_block_unref(struct span_block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (b->file)
        b->env->ops->file_close(b->file);
    free(b->path);
    free(b);
}

const struct span_block_facts *span_block_facts(const struct span_block *b)
{
    return &b->facts;
}

// One chunk, decompressed into the cache.
static bool chunk_read(struct span_block *b, struct span_block_cache *cache, uint32_t index)
{
    char row[CHUNK_ROW];
    if (cache->index == index + 1)
        return true;
    cache->index = 0;
    if (index >= b->f[F_NCHUNKS] ||
        !read_at(b, b->f[F_CHUNKS] + (uint64_t)index * CHUNK_ROW, row, sizeof row))
        return false;
    uint64_t at = frame_get64(row);
    uint32_t n = frame_get32(row + 8), whole = frame_get32(row + 12);
    if (at > b->f[F_TRACES] || n > b->f[F_TRACES] - at || whole > CHUNK_MAX)
        return false;
    _cleanup_free_ char *packed = mem_alloc((size_t)n + 1);
    buf_reset(&cache->chunk);
    char *p = buf_reserve(&cache->chunk, whole + 1);
    if (!p || !read_at(b, at, packed, n) || ZSTD_decompress(p, whole, packed, n) != whole)
        return false;
    cache->chunk.n = whole;
    cache->index = index + 1;
    return true;
}

// The row of a trace, found where its ID should stand among random ones; else by halving.
static bool trace_row(struct span_block *b, uint64_t lo, char row[TRACE_ROW])
{
    enum { NEAR = 64 };
    char near[2 * NEAR * TRACE_ROW];
    uint64_t n = b->f[F_NTRACES], base = b->f[F_TRACES];
    uint64_t guess = (uint64_t)((unsigned __int128)lo * n >> 64);
    uint64_t from = guess > NEAR ? guess - NEAR : 0, to = guess + NEAR < n ? guess + NEAR : n;
    if (!n || !read_at(b, base + from * TRACE_ROW, near, (size_t)(to - from) * TRACE_ROW))
        return false;
    uint64_t left = 0, right = n;
    for (uint64_t i = from; i < to; i++) {
        uint64_t id = frame_get64(near + (i - from) * TRACE_ROW);
        if (id == lo) {
            memcpy(row, near + (i - from) * TRACE_ROW, TRACE_ROW);
            return true;
        }
        if (id < lo)
            left = i + 1;
        else if (right == n)
            right = i;
    }
    while (left < right) {
        uint64_t middle = left + (right - left) / 2;
        if (!read_at(b, base + middle * TRACE_ROW, row, TRACE_ROW))
            return false;
        uint64_t id = frame_get64(row);
        if (id == lo)
            return true;
        if (id < lo)
            left = middle + 1;
        else
            right = middle;
    }
    return false;
}

int span_block_find(struct span_block *b, struct span_block_cache *cache, uint64_t trace_lo,
                    struct buf *out)
{
    char row[TRACE_ROW];
    if (!trace_row(b, trace_lo, row))
        return 0;
    if (!chunk_read(b, cache, frame_get32(row + 8)))
        return -EBADMSG;
    struct str rest = str_from(buf_view(&cache->chunk), frame_get32(row + 12));
    uint64_t lo;
    size_t n;
    while (span_peek(rest, &lo, &n) && lo == trace_lo) {
        buf_add(out, rest.p, n);
        rest = str_from(rest, n);
    }
    return 0;
}

// ---- searching ----

// The page that may have the term: the last that begins with it or before.
static bool term_page(struct span_block *b, struct arena *a, uint32_t term, struct str *ret)
{
    size_t n = (size_t)b->f[F_NDIR];
    char *dir = arena_alloc(a, n * DIR_ROW + 1);
    if (!read_at(b, b->f[F_DIR], dir, n * DIR_ROW))
        return false;
    size_t left = 0, right = n;
    while (left < right) {
        size_t middle = left + (right - left) / 2;
        if (frame_get32(dir + middle * DIR_ROW) <= term)
            left = middle + 1;
        else
            right = middle;
    }
    *ret = STR_NULL;
    if (!left)
        return true;
    uint64_t size = b->f[F_DIR] - b->f[F_TERMS], from = frame_get32(dir + (left - 1) * DIR_ROW + 4);
    uint64_t to = left < n ? frame_get32(dir + left * DIR_ROW + 4) : size;
    if (from > to || to > size)
        return false;
    char *page = arena_alloc(a, (size_t)(to - from) + 1);
    *ret = str_n(page, (size_t)(to - from));
    return read_at(b, b->f[F_TERMS] + from, page, ret->n);
}

// Ranks of the traces that have the term.
static bool term_ranks(struct span_block *b, struct arena *a, uint32_t term, uint32_t **ret,
                       size_t *ret_n)
{
    struct str page;
    uint64_t at = 0, n = 0, step = 0;
    *ret_n = 0;
    if (!term_page(b, a, term, &page))
        return false;
    while (page.n) {
        if (!span_varint_take(&page, &step) || !span_varint_take(&page, &n) || n > page.n)
            return false;
        at += step;
        bool found = at == term;
        uint32_t *ranks = found ? arena_array(a, uint32_t, n + 1) : NULL;
        uint64_t rank = 0;
        for (uint64_t i = 0; i < n; i++) {
            if (!span_varint_take(&page, &step))
                return false;
            rank += step;
            if (rank >= b->f[F_NTRACES])
                return false;
            if (found)
                ranks[i] = (uint32_t)rank;
        }
        if (found) {
            *ret = ranks;
            *ret_n = (size_t)n;
        }
        if (at >= term)
            return true;
    }
    return true;
}

int span_block_search(struct span_block *b, struct arena *a, const uint32_t *term,
                      struct span_candidate **ret, size_t *ret_n, struct err *e)
{
    uint32_t *ranks = NULL;
    size_t n = (size_t)b->f[F_NTRACES];
    if (term && !term_ranks(b, a, *term, &ranks, &n))
        return damaged(b, e, "its terms are not what they should be");
    *ret_n = 0;
    if (!n)
        return 0;
    size_t all = (size_t)b->f[F_NTRACES];
    char *rows = arena_alloc(a, all * RANK_ROW), *traces = arena_alloc(a, all * TRACE_ROW);
    if (!read_at(b, b->f[F_RANKS], rows, all * RANK_ROW) ||
        !read_at(b, b->f[F_TRACES], traces, all * TRACE_ROW))
        return damaged(b, e, "its tables cannot be read");
    struct span_candidate *list = arena_array(a, struct span_candidate, n);
    for (size_t i = 0; i < n; i++) {
        const char *row = rows + (size_t)(term ? ranks[i] : i) * RANK_ROW;
        uint32_t trace = frame_get32(row + 8);
        if (trace >= all)
            return damaged(b, e, "a rank names a trace that is not there");
        list[i] = (struct span_candidate){frame_get64(row),
                                          frame_get64(traces + (size_t)trace * TRACE_ROW),
                                          (uint64_t)frame_get32(row + 12) * 1024};
        if (frame_get32(row + 12) == UINT32_MAX)
            list[i].max_duration = UINT64_MAX;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int span_block_names(struct span_block *b, span_name_fn *fn, void *ctx, struct err *e)
{
    size_t n = (size_t)b->f[F_NAMES_BYTES];
    _cleanup_free_ char *p = mem_alloc(n + 1);
    struct str rest = {p, n};
    if (!read_at(b, b->f[F_NAMES], p, n))
        return damaged(b, e, "its names cannot be read");
    while (rest.n) {
        uint64_t size, service;
        if (!span_varint_take(&rest, &size) || size > rest.n)
            return damaged(b, e, "its names are not what they should be");
        struct str key = str_sub(rest, 0, (size_t)size);
        rest = str_from(rest, (size_t)size);
        if (!span_varint_take(&key, &service) || service >= key.n)
            return damaged(b, e, "its names are not what they should be");
        fn(ctx, str_sub(key, 0, (size_t)service), str_from(key, (size_t)service + 1),
           key.p[service] == 1);
    }
    return 0;
}
