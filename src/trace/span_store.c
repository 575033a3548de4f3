// See the header for the way of a span. What is hot is a list of frames (shared, immutable bytes)
// and an index of them by trace; when a segment has become a block, its frames leave the list and
// the index is made anew from what is left, which is little: the next segment has only begun.
//
// A search asks what is hot and then the blocks, the latest first, for traces that may answer:
// those of its rarest kind of criterion (a tag, else a name, else a service). Each is read whole,
// from everywhere, and tested as the original tests it; so the index may promise too much but the
// answer is exact. It ends when it has as many as were asked for and nothing left can be later.
//
// What a part of a trace (in hot, in a block) knows of its time is the root's, or its own earliest:
// the trace's own time may differ. So candidates are looked at that lie up to AFTER behind the
// window (spans of a long trace), BEFORE ahead of it, or SKEW below the last of the results.
#include "trace/span_store.h"
#include "base/blob.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "log/journal.h"
#include "trace/span_block.h"
#include <errno.h>
#include <malloc.h>

#define AFTER_US      (24 * 3600 * 1000000ull)
#define BEFORE_US     (600 * 1000000ull)
#define SKEW_US       1000000ull
#define FRAME_BYTES   ((size_t)1 << 20)
#define TRACE_SPANS   100000 // of one trace that is read
#define NAMES_MAX     50000  // names known; more are stored but not listed
#define SEGMENT_BYTES ((size_t)4 << 20)

struct span_frame { // one journal frame that is hot
    uint64_t number;
    struct blob *bytes;
};
struct hot_span {
    uint64_t trace_lo;
    uint32_t frame; // index into frames
    uint32_t offset;
    uint32_t next; // of the same trace, index + 1
};
struct span_service { // of names
    struct map names, remotes;
};

struct span_store {
    struct env *env;
    char *dir;
    struct span_store_options opt;
    struct journal *journal;

    pthread_mutex_t queue_lock; // guards the queue
    pthread_cond_t queue_wake;
    struct span_put *waiting, **waiting_tail;
    size_t waiting_bytes;
    bool closing;
    bool started;
    pthread_t writer;
    uint64_t number; // the writer's: last frame
    bool failed, full;

    pthread_mutex_t lock; // guards what follows
    struct span_frame *frames;
    size_t nframes, cap_frames;
    struct hot_span *hot;
    size_t nhot, cap_hot;
    uint32_t *slots; // hash of trace_lo -> index + 1 of its latest span
    size_t nslots;
    struct span_block **blocks; // oldest first
    size_t nblocks, cap_blocks;
    struct map services; // of struct span_service
    size_t nnames;
};

// ---- names ----

static void name_learn(struct span_store *s, struct str service, struct str name, bool remote)
{
    struct span_service *v = map_get(&s->services, service);
    if (!service.n || s->nnames >= NAMES_MAX)
        return;
    if (!v) {
        v = mem_zalloc(sizeof *v);
        map_set(&s->services, service, v);
        s->nnames++;
    }
    struct map *m = remote ? &v->remotes : &v->names;
    if (name.n && !map_has(m, name)) {
        map_set(m, name, v);
        s->nnames++;
    }
}

static void name_learn_block(void *ctx, struct str service, struct str name, bool remote)
{
    name_learn(ctx, service, name, remote);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void span_store_names(struct span_store *s, struct arena *a, enum span_store_list which,
                      struct str service, struct str **ret, size_t *ret_n)
{
    LOCKED(&s->lock);
    const struct map *m = &s->services;
    *ret_n = 0;
    *ret = NULL;
    if (which != SPAN_LIST_SERVICES) {
        struct span_service *v = map_get(m, service);
        if (!v)
            return;
        m = which == SPAN_LIST_NAMES ? &v->names : &v->remotes;
    }
    *ret = arena_array(a, struct str, m->n + 1);
    map_each (m, slot)
        (*ret)[(*ret_n)++] = arena_str(a, str_n(slot->key, slot->key_n));
    if (*ret_n)
        qsort(*ret, *ret_n, sizeof **ret, by_text);
}

// ---- hot ----

static uint32_t *hot_slot(struct span_store *s, uint64_t lo)
{
    // Keyed: whoever reports chooses the IDs.
    size_t i = (size_t)str_hash(str_n(&lo, sizeof lo)) & (s->nslots - 1);
    while (s->slots[i] && s->hot[s->slots[i] - 1].trace_lo != lo)
        i = (i + 1) & (s->nslots - 1);
    return &s->slots[i];
}

static void hot_slots_grow(struct span_store *s)
{
    free(s->slots);
    s->nslots = s->nslots ? s->nslots * 2 : 1024;
    s->slots = mem_zalloc(s->nslots * sizeof *s->slots);
    // Later spans of a trace link to earlier ones, so the last to be put in is the head.
    for (size_t i = 0; i < s->nhot; i++)
        *hot_slot(s, s->hot[i].trace_lo) = (uint32_t)i + 1;
}

static void hot_index(struct span_store *s, uint32_t frame)
{
    struct str rest = blob_view(s->frames[frame].bytes);
    uint64_t lo;
    size_t n;
    while (span_peek(rest, &lo, &n)) {
        if (s->nhot == s->cap_hot) {
            s->cap_hot = s->cap_hot ? s->cap_hot * 2 : 1024;
            s->hot = mem_realloc(s->hot, s->cap_hot * sizeof *s->hot);
        }
        if (s->nhot * 2 >= s->nslots)
            hot_slots_grow(s);
        uint32_t *slot = hot_slot(s, lo);
        s->hot[s->nhot] =
            (struct hot_span){lo, frame, (uint32_t)(rest.p - s->frames[frame].bytes->p), *slot};
        *slot = (uint32_t)++s->nhot;
        rest = str_from(rest, n);
    }
}

static void names_of_frame(struct span_store *s, struct str rest)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct span span;
    while (rest.n && span_decode(&a, &rest, &span)) {
        name_learn(s, span.local.service, span.name, false);
        if (span.remote.service.n)
            name_learn(s, span.local.service, span.remote.service, true);
        arena_reset(&a);
    }
}

static void hot_add(struct span_store *s, uint64_t number, struct str bytes)
{
    LOCKED(&s->lock);
    if (s->nframes == s->cap_frames) {
        s->cap_frames = s->cap_frames ? s->cap_frames * 2 : 64;
        s->frames = mem_realloc(s->frames, s->cap_frames * sizeof *s->frames);
    }
    s->frames[s->nframes] = (struct span_frame){number, blob_new(bytes)};
    hot_index(s, (uint32_t)s->nframes++);
    names_of_frame(s, bytes);
}

// The frames up to `last` are in a block now.
static void hot_forget(struct span_store *s, uint64_t last)
{
    size_t n = 0;
    while (n < s->nframes && s->frames[n].number <= last)
        blob_unref(s->frames[n++].bytes);
    s->nframes -= n;
    memmove(s->frames, s->frames + n, s->nframes * sizeof *s->frames);
    free(s->slots);
    free(s->hot);
    s->slots = NULL;
    s->hot = NULL;
    s->nslots = s->nhot = s->cap_hot = 0;
    for (size_t i = 0; i < s->nframes; i++)
        hot_index(s, (uint32_t)i);
}

// ---- writing ----

static void put_done(struct span_put *list, struct span_put *end, int result)
{
    while (list != end) {
        struct span_put *p = list;
        list = p->next;
        p->result = result;
        p->complete(p);
    }
}

static int commit(struct span_store *s, struct span_put *first, struct span_put *end,
                  uint32_t spans)
{
    if (s->failed)
        return -EIO;
    struct buf *frame = journal_frame(s->journal);
    for (struct span_put *p = first; p != end; p = p->next)
        buf_str(frame, buf_view(&p->bytes));
    int error = journal_append(s->journal, s->number + 1, s->number + 1, spans, false);
    bool full = error == -ENOSPC;
    if (full && !s->full)
        log_warn("trace", "no space left, spans are refused dir=%s", s->dir);
    if (error && !full) {
        log_error("trace", "the log is not writable, no more spans are taken dir=%s error=\"%s\"",
                  s->dir, strerrordesc_np(-error));
        s->failed = true;
    }
    s->full = full;
    if (error)
        return full ? -ENOSPC : -EIO;
    s->number++;
    return 0;
}

// Takes puts off the front of the list into one frame.
static struct span_put *write_group(struct span_store *s, struct span_put *first)
{
    struct span_put *end = first;
    uint32_t spans = 0;
    size_t bytes = 0;
    for (; end && (end == first || bytes + end->bytes.n <= FRAME_BYTES); end = end->next) {
        bytes += end->bytes.n;
        spans += end->spans;
    }
    int error = commit(s, first, end, spans);
    if (!error) {
        _cleanup_buf_ struct buf all = BUF_INIT;
        for (struct span_put *p = first; p != end; p = p->next)
            buf_str(&all, buf_view(&p->bytes));
        hot_add(s, s->number, buf_view(&all));
    }
    pthread_mutex_lock(&s->queue_lock);
    s->waiting_bytes -= bytes;
    pthread_mutex_unlock(&s->queue_lock);
    put_done(first, end, error);
    return end;
}

static void *writer_run(void *arg)
{
    struct span_store *s = arg;
    pthread_mutex_lock(&s->queue_lock);
    for (;;) {
        while (!s->waiting && !s->closing)
            pthread_cond_wait(&s->queue_wake, &s->queue_lock);
        struct span_put *list = s->waiting;
        if (!list)
            break;
        s->waiting = NULL;
        s->waiting_tail = &s->waiting;
        pthread_mutex_unlock(&s->queue_lock);
        while (list)
            list = write_group(s, list);
        pthread_mutex_lock(&s->queue_lock);
    }
    pthread_mutex_unlock(&s->queue_lock);
    return NULL;
}

void span_store_put(struct span_store *s, struct span_put *p)
{
    p->next = NULL;
    pthread_mutex_lock(&s->queue_lock);
    bool take = !s->closing && s->waiting_bytes + p->bytes.n <= s->opt.queue_bytes;
    if (take) {
        s->waiting_bytes += p->bytes.n;
        *s->waiting_tail = p;
        s->waiting_tail = &p->next;
        pthread_cond_signal(&s->queue_wake);
    }
    pthread_mutex_unlock(&s->queue_lock);
    if (!take)
        put_done(p, NULL, -EAGAIN);
}

// ---- blocks ----

static void block_add(struct span_store *s, struct span_block *b)
{
    if (s->nblocks == s->cap_blocks) {
        s->cap_blocks = s->cap_blocks ? s->cap_blocks * 2 : 16;
        s->blocks = mem_realloc(s->blocks, s->cap_blocks * sizeof *s->blocks);
    }
    s->blocks[s->nblocks++] = b;
}

static struct str block_path(const struct span_store *s, struct arena *a, uint64_t sequence)
{
    return arena_printf(a, "%s/block-%020lu.spans", s->dir, (unsigned long)sequence);
}

// Lets go of the oldest blocks that are past the limits.
static void retain(struct span_store *s)
{
    uint64_t total = 0, now = (uint64_t)env_now(s->env) / 1000;
    uint64_t keep = s->opt.keep_seconds * 1000000;
    LOCKED(&s->lock);
    for (size_t i = 0; i < s->nblocks; i++)
        total += span_block_facts(s->blocks[i])->bytes;
    size_t n = 0;
    for (; n + 1 < s->nblocks; n++) { // the newest stays: it says where the journal goes on
        const struct span_block_facts *f = span_block_facts(s->blocks[n]);
        bool old = keep && now > keep && f->max_time && f->max_time < now - keep;
        if (total <= s->opt.keep_bytes && !old)
            break;
        _cleanup_arena_ struct arena a = ARENA_INIT;
        total -= f->bytes;
        s->env->ops->unlink(s->env, block_path(s, &a, f->sequence).p);
        span_block_unref(s->blocks[n]);
    }
    s->nblocks -= n;
    memmove(s->blocks, s->blocks + n, s->nblocks * sizeof *s->blocks);
}

// Makes a closed segment a block. On the journal's keeper.
static int seal(struct span_store *s, const struct journal_segment *segment, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    pthread_mutex_lock(&s->lock);
    size_t n = 0;
    while (n < s->nframes && s->frames[n].number <= segment->last)
        n++;
    struct blob **held = arena_array(&a, struct blob *, n + 1);
    struct str *frames = arena_array(&a, struct str, n + 1);
    for (size_t i = 0; i < n; i++) {
        held[i] = blob_ref(s->frames[i].bytes);
        frames[i] = blob_view(held[i]);
    }
    pthread_mutex_unlock(&s->lock);
    const struct span_block_source source = {frames, n, segment->last, segment->sequence};
    struct str path = block_path(s, &a, segment->sequence);
    struct span_block *b;
    int code = span_block_write(s->env, s->dir, path.p + strlen(s->dir) + 1, &source, e);
    for (size_t i = 0; i < n; i++)
        blob_unref(held[i]);
    if (!code)
        code = span_block_open(s->env, path.p, &b, e);
    if (code)
        return code;
    LOCKED(&s->lock);
    block_add(s, b);
    hot_forget(s, segment->last);
    return 0;
}

static size_t retire(void *ctx, const struct journal_segment *closed, size_t n)
{
    struct span_store *s = ctx;
    if (!n)
        return 0;
    _cleanup_err_ struct err e = ERR_INIT;
    if (seal(s, &closed[0], &e) < 0) {
        log_warn("trace", "a segment stays in memory error=\"%s\"", e.message);
        return 0;
    }
    retain(s);
    malloc_trim(0); // what making the block took
    return 1;
}

// ---- opening ----

static void block_name(void *ctx, const char *name)
{
    struct str s = str_of(name);
    struct buf *b = ctx;
    uint64_t sequence;
    if (s.n == 32 && str_starts(s, STR("block-")) && str_ends(s, STR(".spans")) &&
        str_to_u64(str_sub(s, 6, 20), &sequence))
        buf_add(b, &sequence, sizeof sequence);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int blocks_open(struct span_store *s, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf list = BUF_INIT;
    int error = s->env->ops->list_dir(s->env, s->dir, block_name, &list);
    if (error)
        return err_errno(e, error, "reading %s", s->dir);
    size_t n = list.n / sizeof(uint64_t);
    uint64_t *sequences = arena_array(&a, uint64_t, n + 1);
    if (n)
        memcpy(sequences, list.p, list.n);
    qsort(sequences, n, sizeof *sequences, by_number);
    for (size_t i = 0; i < n; i++) {
        struct span_block *b;
        int code = span_block_open(s->env, block_path(s, &a, sequences[i]).p, &b, e);
        if (code)
            return code;
        block_add(s, b);
        code = span_block_names(b, name_learn_block, s, e);
        if (code)
            return code;
    }
    return 0;
}

static int replay(void *ctx, const struct frame *f, struct err *e)
{
    struct span_store *s = ctx;
    struct str rest = f->payload;
    uint64_t lo;
    size_t n;
    uint32_t spans = 0;
    while (span_peek(rest, &lo, &n)) {
        rest = str_from(rest, n);
        spans++;
    }
    if (spans != f->word)
        return err_set(e, ERR_INTERNAL, "frame %lu has %u spans, and says %u",
                       (unsigned long)f->first, spans, f->word);
    hot_add(s, f->last, str_sub(f->payload, 0, f->payload.n - rest.n));
    return 0;
}

int span_store_open(struct env *env, const char *dir, const struct span_store_options *opt,
                    struct span_store **ret, struct err *e)
{
    int error = env->ops->mkdir(env, dir, 0700);
    if (error && error != -EEXIST)
        return err_errno(e, error, "making directory %s", dir);
    struct span_store *s = mem_zalloc(sizeof *s);
    s->env = env;
    s->dir = mem_cstr(str_of(dir));
    s->opt = *opt;
    s->opt.segment_bytes = opt->segment_bytes ? opt->segment_bytes : SEGMENT_BYTES;
    s->opt.keep_bytes = opt->keep_bytes ? opt->keep_bytes : (uint64_t)1 << 30;
    s->opt.queue_bytes = opt->queue_bytes ? opt->queue_bytes : (size_t)32 << 20;
    s->waiting_tail = &s->waiting;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->queue_lock, NULL);
    pthread_cond_init(&s->queue_wake, NULL);
    const struct journal_options journal = {
        .segment_bytes = s->opt.segment_bytes, .no_reserve = true, .retire = retire, .ctx = s};
    s->journal = journal_new(env, dir, &journal);
    int code = blocks_open(s, e);
    if (!code) {
        const struct span_block_facts none = {0};
        const struct span_block_facts *f =
            s->nblocks ? span_block_facts(s->blocks[s->nblocks - 1]) : &none;
        code = journal_open(s->journal, f->last, f->sequence, replay, s, &s->number, e);
    }
    if (code) {
        span_store_close(s);
        return code;
    }
    journal_start(s->journal);
    s->started = true;
    s->writer = thread_start("span-writer", writer_run, s);
    *ret = s;
    return 0;
}

void span_store_close(struct span_store *s)
{
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->queue_lock);
        s->closing = true;
        pthread_cond_signal(&s->queue_wake);
        pthread_mutex_unlock(&s->queue_lock);
        pthread_join(s->writer, NULL);
    }
    journal_close(s->journal);
    for (size_t i = 0; i < s->nframes; i++)
        blob_unref(s->frames[i].bytes);
    for (size_t i = 0; i < s->nblocks; i++)
        span_block_unref(s->blocks[i]);
    map_each (&s->services, slot) {
        struct span_service *v = slot->value;
        map_done(&v->names);
        map_done(&v->remotes);
        free(v);
    }
    map_done(&s->services);
    free(s->frames);
    free(s->hot);
    free(s->slots);
    free(s->blocks);
    free(s->dir);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->queue_lock);
    pthread_cond_destroy(&s->queue_wake);
    free(s);
}

// ---- reading ----

// What a reader looks at: the blocks, referenced. A segment that becomes a block meanwhile leaves
// hot; so whenever hot is asked, what is new among the blocks joins the view under the same lock,
// and nothing falls between the two.
struct span_view {
    struct span_block **blocks; // in the order of their sequence
    struct span_block_cache *caches;
    size_t n, cap;
    uint64_t newest;
};

static void view_refresh(struct span_store *s, struct span_view *v)
{
    for (size_t i = 0; i < s->nblocks; i++) {
        uint64_t sequence = span_block_facts(s->blocks[i])->sequence;
        if (sequence <= v->newest)
            continue;
        if (v->n == v->cap) {
            v->cap = v->cap ? v->cap * 2 : 16;
            v->blocks = mem_realloc(v->blocks, v->cap * sizeof *v->blocks);
            v->caches = mem_realloc(v->caches, v->cap * sizeof *v->caches);
        }
        v->caches[v->n] = (struct span_block_cache){0};
        v->blocks[v->n++] = span_block_ref(s->blocks[i]);
        v->newest = sequence;
    }
}

static struct span_view view_take(struct span_store *s)
{
    struct span_view v = {0};
    LOCKED(&s->lock);
    view_refresh(s, &v);
    return v;
}

static void view_done(struct span_view *v)
{
    for (size_t i = 0; i < v->n; i++) {
        span_block_unref(v->blocks[i]);
        buf_done(&v->caches[i].chunk);
    }
    free(v->blocks);
    free(v->caches);
}
#define _cleanup_view_ __attribute__((cleanup(view_done)))

// What is hot of a trace, in the order in which it came.
static void hot_find(struct span_store *s, struct span_view *v, uint64_t lo, struct buf *out)
{
    LOCKED(&s->lock);
    _cleanup_buf_ struct buf chain = BUF_INIT; // latest first
    view_refresh(s, v);
    if (!s->nslots)
        return;
    for (uint32_t i = *hot_slot(s, lo); i; i = s->hot[i - 1].next)
        buf_add(&chain, &i, sizeof i);
    for (size_t at = chain.n; at; at -= sizeof(uint32_t)) {
        uint32_t i;
        memcpy(&i, chain.p + at - sizeof i, sizeof i);
        const struct hot_span *h = &s->hot[i - 1];
        struct str rest = str_from(blob_view(s->frames[h->frame].bytes), h->offset);
        uint64_t same;
        size_t n;
        if (span_peek(rest, &same, &n))
            buf_add(out, rest.p, n);
    }
}

// Every span with this lower half, decoded, in the arena, in the order in which they came (which
// of two roots gives a trace its time depends on it).
static int trace_read(struct span_store *s, struct span_view *v, struct arena *a, uint64_t lo,
                      struct span **ret, size_t *ret_n, struct err *e)
{
    _cleanup_buf_ struct buf bytes = BUF_INIT, hot = BUF_INIT;
    hot_find(s, v, lo, &hot);
    for (size_t i = 0; i < v->n; i++)
        if (span_block_find(v->blocks[i], &v->caches[i], lo, &bytes) < 0)
            return err_set(e, ERR_INTERNAL, "a block of spans cannot be read");
    buf_str(&bytes, buf_view(&hot));
    struct str rest = arena_str(a, buf_view(&bytes));
    size_t n = 0, cap = 0;
    struct span *spans = NULL;
    struct span span;
    while (rest.n && n < TRACE_SPANS && span_decode(a, &rest, &span)) {
        if (n == cap) {
            size_t more = cap ? cap * 2 : 16;
            spans = arena_grow(a, spans, cap * sizeof *spans, more * sizeof *spans);
            cap = more;
        }
        spans[n++] = span;
    }
    *ret = spans;
    *ret_n = n;
    return 0;
}

// Brings those of one 128-bit ID to the front; how many.
static size_t only_high(struct span *spans, size_t n, uint64_t hi)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (spans[i].trace_hi == hi) {
            struct span s = spans[i];
            spans[i] = spans[kept];
            spans[kept++] = s;
        }
    return kept;
}

int span_store_trace(struct span_store *s, struct arena *a, uint64_t hi, uint64_t lo,
                     struct span_trace *ret, struct err *e)
{
    _cleanup_view_ struct span_view v = view_take(s);
    struct span_trace t = {0};
    int code = trace_read(s, &v, a, lo, &t.spans, &t.n, e);
    if (code)
        return code;
    if (s->opt.strict_trace_id)
        t.n = only_high(t.spans, t.n, hi);
    t.timestamp = span_query_timestamp(t.spans, t.n);
    *ret = t;
    return 0;
}

struct span_search {
    struct span_store *s;
    struct span_view *v;
    struct arena *a; // of the results
    const struct span_query *q;
    struct map seen;
    struct span_trace *found; // latest first, at most limit
    size_t n, cap;
};

// The time that a trace must have to be among the results.
static uint64_t search_bar(const struct span_search *x)
{
    return x->n < x->q->limit ? 0 : x->found[x->n - 1].timestamp;
}

static void search_keep(struct span_search *x, struct span_trace t)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 16;
        x->found = arena_grow(x->a, x->found, x->cap * sizeof *x->found, cap * sizeof *x->found);
        x->cap = cap;
    }
    if (x->n == x->q->limit)
        x->n--;
    size_t at = x->n++;
    for (; at && x->found[at - 1].timestamp < t.timestamp; at--)
        x->found[at] = x->found[at - 1];
    x->found[at] = t;
}

// The spans of one trace answer: they are kept, in the arena of the results, unless later ones
// fill it already.
static int search_test(struct span_search *x, const struct span *spans, size_t n, struct err *e)
{
    uint64_t time = span_query_timestamp(spans, n);
    if ((x->n == x->q->limit && time <= search_bar(x)) || !span_query_test(x->q, spans, n))
        return 0;
    struct span_trace t = {.timestamp = time};
    int code = trace_read(x->s, x->v, x->a, spans[0].trace_lo, &t.spans, &t.n, e);
    if (code)
        return code;
    if (x->s->opt.strict_trace_id)
        t.n = only_high(t.spans, t.n, spans[0].trace_hi);
    search_keep(x, t);
    return 0;
}

static int search_trace(struct span_search *x, uint64_t lo, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str key = str_n(&lo, sizeof lo);
    struct span *spans;
    size_t n;
    if (map_has(&x->seen, key))
        return 0;
    map_set(&x->seen, key, x);
    int code = trace_read(x->s, x->v, &a, lo, &spans, &n, e);
    while (n && !code) { // one 128-bit ID after the other
        size_t same = x->s->opt.strict_trace_id ? only_high(spans, n, spans[0].trace_hi) : n;
        code = search_test(x, spans, same, e);
        spans += same;
        n -= same;
    }
    return code;
}

// The word that candidates are chosen by: one with a value, if there is one.
static size_t search_word(const struct span_query *q)
{
    size_t i = 0;
    while (i + 1 < q->nwords && !q->words[i].has_value)
        i++;
    return i;
}

// The term whose traces are looked at; false: all are.
static bool search_term(const struct span_query *q, uint32_t *ret)
{
    if (q->nwords) {
        const struct span_query_word *w = &q->words[search_word(q)];
        *ret = w->has_value ? span_term(SPAN_TERM_TAG, w->key, w->value)
                            : span_term(SPAN_TERM_WORD, w->key, STR_NULL);
    } else if (q->name.n) {
        *ret = q->service.n ? span_term(SPAN_TERM_SERVICE_NAME, q->service, q->name)
                            : span_term(SPAN_TERM_NAME, q->name, STR_NULL);
    } else if (q->remote.n) {
        *ret = q->service.n ? span_term(SPAN_TERM_SERVICE_REMOTE, q->service, q->remote)
                            : span_term(SPAN_TERM_REMOTE, q->remote, STR_NULL);
    } else if (q->service.n) {
        *ret = span_term(SPAN_TERM_SERVICE, q->service, STR_NULL);
    } else {
        return false;
    }
    return true;
}

// Whether a span has the term of search_term; the same choice, on a span.
static bool search_term_met(const struct span_query *q, const struct span *s)
{
    if (q->service.n && !str_eq(q->service, s->local.service))
        return false;
    if (q->nwords)
        return span_query_word_met(&q->words[search_word(q)], s);
    if (q->name.n)
        return str_eq(q->name, s->name);
    return !q->remote.n || str_eq(q->remote, s->remote.service);
}

static int latest_first(const void *a, const void *b)
{
    const struct span_candidate *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? 1 : -1;
    return (x->trace_lo > y->trace_lo) - (x->trace_lo < y->trace_lo);
}

// The hot spans that have the term of q (NULL: all), as candidates; a trace may
// come more than once. The frames are referenced under the lock and read outside.
static void hot_candidates(struct span_store *s, const struct span_query *q, struct buf *list)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    pthread_mutex_lock(&s->lock);
    size_t n = s->nframes;
    struct blob **frames = mem_alloc((n + 1) * sizeof *frames);
    for (size_t i = 0; i < n; i++)
        frames[i] = blob_ref(s->frames[i].bytes);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        struct str rest = blob_view(frames[i]);
        struct span span;
        while (rest.n && span_decode(&a, &rest, &span)) {
            const struct span_candidate c = {span.timestamp, span.trace_lo, span.duration};
            if (!q || search_term_met(q, &span))
                buf_add(list, &c, sizeof c);
            arena_reset(&a);
        }
        blob_unref(frames[i]);
    }
    free(frames);
}

static uint64_t window_start(const struct span_query *q)
{
    return q->end_ms > q->lookback_ms ? (q->end_ms - q->lookback_ms) * 1000 : 0;
}

// Candidates, latest first, those without a time at the end.
static int search_list(struct span_search *x, const struct span_candidate *list, size_t n,
                       struct err *e)
{
    const struct span_query *q = x->q;
    uint64_t end = q->end_ms * 1000, start = window_start(q);
    int code = 0;
    for (size_t i = 0; i < n && !code; i++) {
        const struct span_candidate *c = &list[i];
        // Those without a time of their own stand last, and may have any.
        if (c->time && (c->time > end + AFTER_US || c->time + BEFORE_US < start ||
                        c->time + SKEW_US < search_bar(x)))
            continue;
        code = search_trace(x, c->trace_lo, e);
    }
    return code;
}

static int search_hot(struct span_search *x, struct err *e)
{
    _cleanup_buf_ struct buf list = BUF_INIT;
    hot_candidates(x->s, x->q, &list);
    size_t n = list.n / sizeof(struct span_candidate);
    if (n)
        qsort(list.p, n, sizeof(struct span_candidate), latest_first);
    return search_list(x, (const struct span_candidate *)list.p, n, e);
}

static int search_block(struct span_search *x, struct span_block *b, const uint32_t *term,
                        struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct span_candidate *list;
    size_t n, kept = 0;
    int code = span_block_search(b, &a, term, &list, &n, e);
    for (size_t i = 0; i < n; i++)
        if (list[i].max_duration >= x->q->min_duration)
            list[kept++] = list[i];
    return code ? code : search_list(x, list, kept, e);
}

static int by_latest(const void *a, const void *b)
{
    const struct span_block_facts *x = span_block_facts(*(struct span_block *const *)a),
                                  *y = span_block_facts(*(struct span_block *const *)b);
    return (x->max_time < y->max_time) - (x->max_time > y->max_time);
}

int span_store_search(struct span_store *s, struct arena *a, const struct span_query *q,
                      struct span_trace **ret, size_t *ret_n, struct err *e)
{
    _cleanup_view_ struct span_view v = view_take(s);
    struct span_search x = {.s = s, .v = &v, .a = a, .q = q};
    uint32_t term;
    const uint32_t *wanted = search_term(q, &term) ? &term : NULL;
    uint64_t end = q->end_ms * 1000, start = window_start(q);
    int code = search_hot(&x, e);
    size_t n = v.n; // the view may grow while it is used
    _cleanup_free_ struct span_block **order = mem_alloc((n + 1) * sizeof *order);
    if (n)
        memcpy(order, v.blocks, n * sizeof *order);
    qsort(order, n, sizeof *order, by_latest);
    for (size_t i = 0; i < n && !code; i++) {
        const struct span_block_facts *f = span_block_facts(order[i]);
        if (f->min_time > end + AFTER_US)
            continue;
        if (f->max_time + BEFORE_US < start || f->max_time + SKEW_US < search_bar(&x))
            break;
        code = search_block(&x, order[i], wanted, e);
    }
    map_done(&x.seen);
    *ret = x.found;
    *ret_n = x.n;
    return code;
}

static int by_lo(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int window_ids(const struct span_query *q, struct span_block *b, struct buf *ids,
                      struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct span_candidate *list;
    size_t n;
    uint64_t end = q->end_ms * 1000, start = window_start(q);
    int code = span_block_search(b, &a, NULL, &list, &n, e);
    for (size_t i = 0; i < n && !code; i++)
        if (list[i].time <= end + AFTER_US && list[i].time + BEFORE_US >= start)
            buf_add(ids, &list[i].trace_lo, sizeof(uint64_t));
    return code;
}

int span_store_each(struct span_store *s, const struct span_query *window,
                    void (*fn)(void *ctx, const struct span *spans, size_t n), void *ctx,
                    struct err *e)
{
    _cleanup_view_ struct span_view v = view_take(s);
    _cleanup_buf_ struct buf ids = BUF_INIT;
    _cleanup_buf_ struct buf hot = BUF_INIT;
    int code = 0;
    hot_candidates(s, NULL, &hot);
    for (size_t i = 0; i < hot.n; i += sizeof(struct span_candidate)) {
        struct span_candidate c;
        memcpy(&c, hot.p + i, sizeof c);
        buf_add(&ids, &c.trace_lo, sizeof c.trace_lo);
    }
    for (size_t i = 0; i < v.n && !code; i++)
        code = window_ids(window, v.blocks[i], &ids, e);
    if (ids.n)
        qsort(ids.p, ids.n / 8, 8, by_lo); // so that each chunk is read once
    uint64_t before = 0;
    for (size_t i = 0; i < ids.n && !code; i += 8) {
        _cleanup_arena_ struct arena a = ARENA_INIT;
        struct span *spans;
        uint64_t lo;
        size_t n;
        memcpy(&lo, ids.p + i, sizeof lo);
        if (i && lo == before)
            continue;
        before = lo;
        code = trace_read(s, &v, &a, lo, &spans, &n, e);
        if (!code && n && span_query_in_window(window, span_query_timestamp(spans, n)))
            fn(ctx, spans, n);
    }
    return code;
}

struct span_store_facts span_store_facts(struct span_store *s)
{
    LOCKED(&s->lock);
    struct span_store_facts f = {
        .hot_spans = s->nhot, .blocks = s->nblocks, .failed = s->failed, .full = s->full};
    for (size_t i = 0; i < s->nblocks; i++) {
        f.block_bytes += span_block_facts(s->blocks[i])->bytes;
        f.spans += span_block_facts(s->blocks[i])->spans;
    }
    f.spans += s->nhot;
    return f;
}
