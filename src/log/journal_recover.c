// Opening a journal: reading what there is, in order, and deciding whether that is all there was.
// What is decided how stands in journal.h; every refusal goes through `damage`, which adds the way
// out, and `give_up`, which takes it when it was asked for.
#include "base/guard.h"
#include "base/log.h"
#include "log/journal_internal.h"
#include <errno.h>

static const char accept_name[] = "accept-loss";
static const char *const unfinished[] = {"wal.new", "wal.fill", "wal.spare"};

// What the directory holds.
struct names {
    uint64_t *sequences;
    size_t n, cap;
    bool unfinished[ARRAY_LEN(unfinished)];
    bool accept, reserve;
};

struct recovery {
    struct journal *j;
    struct names names;
    journal_fn *fn;
    void *ctx;
    uint64_t skip;   // the user has everything up to this number
    uint64_t number; // recovered up to here
    bool marked;     // there is a mark
    bool legacy;     // segments of format 1, which had none
    bool damaged;    // the error is one that may be accepted
    bool keep;       // and the segment it is in has a beginning worth keeping
};

int journal_read_file(struct journal *j, const char *path, struct str *ret, struct err *e)
{
    const struct env_ops *o = j->env->ops;
    struct env_file *f;
    int error = o->file_open(j->env, path, ENV_READ, 0, &f);
    if (error)
        return err_errno(e, error, "opening log segment %s", path);
    int64_t size = o->file_size(f);
    char *p = size < 0 ? NULL : mem_alloc((size_t)size + 1);
    ssize_t got = size < 0 ? (ssize_t)size : o->file_pread(f, p, (size_t)size, 0);
    o->file_close(f);
    if (got < 0) {
        free(p);
        return err_errno(e, (int)got, "reading log segment %s", path);
    }
    *ret = (struct str){p, (size_t)got};
    return 0;
}

int journal_read_frames(struct str bytes, const struct segment_header *h, uint64_t skip,
                        uint64_t *number, size_t *at, size_t *ret_frame, journal_fn *fn, void *ctx,
                        struct err *e)
{
    struct frame f;
    while (frame_read(str_from(bytes, *at), h->salt, &f) && f.first == *number + 1) {
        if (f.last > skip) {
            int code = fn(ctx, &f, e);
            if (code)
                return code;
        }
        *number = f.last;
        if (ret_frame)
            *ret_frame = *at;
        *at += f.size;
    }
    return 0;
}

int journal_read(struct journal *j, const struct journal_segment *which, journal_fn *fn, void *ctx,
                 struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = journal_segment_path(j, &a, which->sequence), bytes = STR_NULL;
    struct segment_header h;
    int code = journal_read_file(j, path.p, &bytes, e);
    if (code)
        return code;
    _cleanup_owned_ struct owned owned = {(char *)bytes.p, bytes.n};
    if (!segment_header_read(bytes, &h) || h.sequence != which->sequence)
        return err_set(e, ERR_INTERNAL,
                       "log segment %s is damaged at offset 0: its header is not valid", path.p);
    uint64_t number = h.first - 1;
    size_t at = SEGMENT_HEADER;
    code = journal_read_frames(bytes, &h, 0, &number, &at, NULL, fn, ctx, e);
    if (!code && number != which->last)
        code = err_set(e, ERR_INTERNAL,
                       "log segment %s is damaged at offset %zu: a record that was written is not "
                       "intact",
                       path.p, at);
    return code;
}

// ---- what is there ----

static void name_add(void *ctx, const char *name)
{
    struct names *l = ctx;
    struct str s = str_of(name);
    uint64_t sequence;
    for (size_t i = 0; i < ARRAY_LEN(unfinished); i++)
        l->unfinished[i] |= str_eqc(s, unfinished[i]);
    l->accept |= str_eqc(s, accept_name);
    l->reserve |= str_eqc(s, "wal.reserve");
    if (s.n != 28 || !str_starts(s, STR("wal-")) || !str_ends(s, STR(".log")) ||
        !str_to_u64(str_sub(s, 4, 20), &sequence))
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->sequences = mem_realloc(l->sequences, l->cap * sizeof *l->sequences);
    }
    l->sequences[l->n++] = sequence;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int names_read(struct journal *j, struct names *l, struct err *e)
{
    int error = j->env->ops->list_dir(j->env, j->dir, name_add, l);
    if (error)
        return err_errno(e, error, "reading %s", j->dir);
    if (l->n)
        qsort(l->sequences, l->n, sizeof *l->sequences, by_number);
    return 0;
}

bool journal_is_whole(struct journal *j)
{
    struct names l = {0};
    bool whole = names_read(j, &l, NULL) == 0 && l.n && l.sequences[0] == 1;
    free(l.sequences);
    return whole;
}

// ---- refusing, and going on nevertheless ----

static int damage(struct recovery *r, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int damage(struct recovery *r, struct err *e, const char *fmt, ...)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    va_list ap;
    va_start(ap, fmt);
    struct str what = arena_vprintf(&a, fmt, ap);
    va_end(ap);
    r->damaged = true;
    return err_set(
        e, ERR_INTERNAL,
        "%.*s; restore a backup, or make a file %s/%s to go on with what is intact before "
        "it",
        STR_ARG(what), r->j->dir, accept_name);
}

// The segments from index i on are damaged or follow what is: only the beginning of the first is
// kept, where it has one. The next frame goes into a segment of its own.
static int give_up(struct recovery *r, size_t i, struct err *e)
{
    struct journal *j = r->j;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    log_warn("log", "what follows number %lu is given up, as %s/%s asks reason=\"%s\"",
             (unsigned long)r->number, j->dir, accept_name, e->message);
    for (; i < r->names.n; i++) {
        uint64_t sequence = r->names.sequences[i];
        if (r->keep && sequence == j->sequence + 1) {
            journal_closed_add(j, sequence, r->number);
            j->sequence = sequence;
            r->keep = false;
            continue;
        }
        struct str path = journal_segment_path(j, &a, sequence);
        int error = j->env->ops->rename(j->env, path.p, arena_printf(&a, "%s.lost", path.p).p);
        if (error)
            return err_errno(e, error, "putting %s aside", path.p);
    }
    err_done(e);
    *e = ERR_INIT;
    return 0;
}

// ---- the segments ----

// Opens the last segment for writing. Invariant 6.
static int make_durable(struct journal *j, struct str path, struct str last_frame, size_t at,
                        struct err *e)
{
    const struct env_ops *o = j->env->ops;
    int error = o->file_open(j->env, path.p, ENV_READ | ENV_WRITE, 0, &j->file);
    if (!error && last_frame.n) {
        ssize_t put = o->file_pwrite(j->file, last_frame.p, last_frame.n, at);
        error = put < 0 ? (int)put : 0;
    }
    if (!error && !j->opt.no_sync)
        error = o->file_sync(j->file);
    if (!error && !j->opt.no_sync)
        error = o->sync_dir(j->env, j->dir);
    return error ? err_errno(e, error, "opening log segment %s", path.p) : 0;
}

// What may not be missing at the end of the last segment. `at`: where what is intact ends.
static int check_end(struct recovery *r, struct arena *a, struct str path, struct str bytes,
                     const struct segment_header *h, size_t at, struct err *e)
{
    const struct mark *m = &r->j->marked;
    if (bytes.n < h->size)
        return damage(r, e, "log segment %s was cut short: it has %zu bytes, and was made with %lu",
                      path.p, bytes.n, (unsigned long)h->size);
    if (m->sequence > h->sequence)
        return damage(r, e, "log segment %s is missing",
                      journal_segment_path(r->j, a, h->sequence + 1).p);
    for (size_t after = at; after + FRAME_HEADER <= bytes.n; after += 8) { // invariant 1
        struct frame f;
        if (frame_read(str_from(bytes, after), h->salt, &f) && f.first > r->number)
            return damage(r, e,
                          "log segment %s is damaged at offset %zu: an intact record follows one "
                          "that is not",
                          path.p, at);
    }
    if (m->last > r->number)
        return damage(r, e,
                      "log segment %s is damaged at offset %zu: number %lu was written and is not "
                      "intact",
                      path.p, at, (unsigned long)r->number + 1);
    return 0;
}

// One segment; `last`: no other follows.
static int recover_segment(struct recovery *r, uint64_t sequence, bool last, struct err *e)
{
    struct journal *j = r->j;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct str path = journal_segment_path(j, &a, sequence), bytes = STR_NULL;
    struct segment_header h;
    size_t at = SEGMENT_HEADER, frame = SEGMENT_HEADER;
    int code = journal_read_file(j, path.p, &bytes, e);
    if (code)
        return code;
    _cleanup_owned_ struct owned owned = {(char *)bytes.p, bytes.n};
    if (!segment_header_read(bytes, &h) || h.sequence != sequence)
        return damage(r, e, "log segment %s is damaged at offset 0: its header is not valid",
                      path.p);
    r->legacy |= h.format == 1;
    if (h.first != r->number + 1)
        return damage(r, e,
                      "log segment %s begins with number %lu, but the log before it ends with "
                      "number %lu",
                      path.p, (unsigned long)h.first, (unsigned long)r->number);
    code = journal_read_frames(bytes, &h, r->skip, &r->number, &at, &frame, r->fn, r->ctx, e);
    if (code)
        return err_wrap(e, e, "log segment %s", path.p);
    if (!last)
        return 0; // the next one's first number tells whether all was there
    code = check_end(r, &a, path, bytes, &h, at, e);
    if (code) {
        r->keep = true;
        return code;
    }
    code = make_durable(j, path, str_sub(bytes, frame, at - frame), frame, e);
    if (code)
        return code;
    j->salt = h.salt;
    j->at = at;
    j->size = bytes.n > j->opt.segment_bytes ? bytes.n : j->opt.segment_bytes;
    return 0;
}

static int recover(struct recovery *r, uint64_t sequence, struct err *e)
{
    struct journal *j = r->j;
    struct names *l = &r->names;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    size_t i = 0;
    int code = 0;
    for (; i < l->n && l->sequences[i] <= sequence; i++)
        j->env->ops->unlink(j->env, journal_segment_path(j, &a, l->sequences[i]).p);
    j->sequence = sequence;
    if (i == l->n && (sequence || j->marked.sequence > sequence))
        code =
            damage(r, e, "log segment %s is missing", journal_segment_path(j, &a, sequence + 1).p);
    while (!code && i < l->n) {
        bool last = i + 1 == l->n;
        if (l->sequences[i] != j->sequence + 1)
            code = damage(r, e, "log segment %s is missing",
                          journal_segment_path(j, &a, j->sequence + 1).p);
        else
            code = recover_segment(r, l->sequences[i], last, e);
        if (code)
            break;
        j->sequence = l->sequences[i++];
        if (!last)
            journal_closed_add(j, j->sequence, r->number);
    }
    return code && r->damaged && l->accept ? give_up(r, i, e) : code;
}

// The reserve of an earlier life, if it is what it should be (the essay on names in journal.c).
static bool reserve_good(struct journal *j, const char *path)
{
    const struct env_ops *o = j->env->ops;
    static const char zeros[SEGMENT_HEADER];
    char found[SEGMENT_HEADER];
    struct env_file *f;
    if (o->file_open(j->env, path, ENV_READ, 0, &f) < 0)
        return false;
    bool good = o->file_size(f) == (int64_t)j->opt.segment_bytes &&
                o->file_pread(f, found, sizeof found, 0) == sizeof found &&
                memcmp(found, zeros, sizeof found) == 0;
    o->file_close(f);
    return good;
}

static int finish(struct recovery *r, struct err *e)
{
    struct journal *j = r->j;
    const struct env_ops *o = j->env->ops;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    // Before anything else: what is written from now on has a mark behind it.
    int code = r->marked ? 0 : journal_mark_make(j, e);
    if (code)
        return code;
    bool back = r->damaged && r->names.accept;
    j->durable = (struct mark){.sequence = j->sequence, .offset = j->at, .last = r->number};
    int error = back ? o->sync_dir(j->env, j->dir) : 0;
    if (!error)
        error = journal_mark_put(j, j->durable, back);
    if (!error && back) // nothing may be appended to a file that was damaged
        error = journal_roll(j, r->number + 1, 0, true);
    if (error)
        return err_errno(e, error, "writing %s/wal.mark", j->dir);
    if (r->names.accept)
        o->unlink(j->env, journal_path(j, &a, accept_name).p);
    // The spare too: where a rename was half durable, it is the last segment by another name.
    for (size_t i = 0; i < ARRAY_LEN(unfinished); i++)
        if (r->names.unfinished[i])
            o->unlink(j->env, journal_path(j, &a, unfinished[i]).p);
    struct str reserve = journal_path(j, &a, "wal.reserve");
    j->reserve = r->names.reserve && reserve_good(j, reserve.p);
    if (r->names.reserve && !j->reserve)
        o->unlink(j->env, reserve.p);
    j->want_reserve = !j->reserve && !j->opt.no_reserve;
    j->poked = true; // what is closed already
    return 0;
}

int journal_open(struct journal *j, uint64_t number, uint64_t sequence, journal_fn *fn, void *ctx,
                 uint64_t *ret_last, struct err *e)
{
    _cleanup_err_ struct err own = ERR_INIT;
    struct recovery r = {.j = j, .fn = fn, .ctx = ctx, .skip = number, .number = number};
    int code = names_read(j, &r.names, &own);
    if (!code)
        code = journal_mark_open(j, &r.marked, &own);
    if (code && r.names.accept && j->mark_file) { // damaged, and made anew below
        j->env->ops->file_close(TAKE_PTR(j->mark_file));
        r.damaged = true;
        code = 0;
    }
    if (!code)
        code = recover(&r, sequence, &own);
    if (!code && !r.marked && (r.names.n || sequence) && !r.legacy && !r.names.accept)
        code = damage(&r, &own, "%s/wal.mark is missing", j->dir);
    if (!code)
        code = finish(&r, &own);
    free(r.names.sequences);
    if (code) {
        err_move(e, &own);
        return code;
    }
    *ret_last = r.number;
    return 0;
}
