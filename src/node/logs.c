// The log reader. A log is the chain of its rotated parts ("0.log.<timestamp>", in order of name)
// and the current file. The reader holds one open descriptor; at its end it looks whether the path
// still leads to the same file. If not, the file was rotated under it: what is left is read first,
// then the reader goes on with the part that follows its own in the chain, so no entry is lost or
// seen twice however often the log turns over while nobody reads (as long as the part it stands in
// still exists).
//
// An entry that is not complete yet (no newline) stays in `in` until the rest has been written.
#include "node/logs.h"
#include "base/time.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK          (32u << 10)
#define LINE_MAX_BYTES (1u << 20) // longer than any writer makes; more is not a log

bool logs_parse_line(struct str line, struct log_entry *ret)
{
    struct str rest = line;
    *ret = (struct log_entry){0};
    ret->time = str_cut(&rest, ' ');
    struct str stream = str_cut(&rest, ' ');
    ret->is_stderr = str_eqc(stream, "stderr");
    if (!ret->time.n || (!ret->is_stderr && !str_eqc(stream, "stdout")) || !rest.p)
        return false;
    struct str tags = str_cut(&rest, ' '); // "F", or several joined by ':'
    if (!tags.n || (tags.p[0] != 'F' && tags.p[0] != 'P') || (tags.n > 1 && tags.p[1] != ':'))
        return false;
    ret->partial = tags.p[0] == 'P';
    ret->text = rest;
    return true;
}

struct log_reader {
    struct arena a; // options' and files' strings
    struct logs_options o;
    char *path;
    int fd;
    ino_t ino;
    dev_t dev;
    bool draining; // the path leads elsewhere: read what is left, then go on
    uint64_t offset;
    struct buf in;
    int64_t sent;
    bool in_line[2]; // a partial entry of the stream was the last one
};

struct parts {
    char **p;
    size_t n;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// The chain, oldest first; the current file is the last one.
static struct parts find_parts(struct arena *a, const char *path)
{
    struct parts f = {0};
    char *dir = arena_cstr(a, str_of(path));
    char *slash = strrchr(dir, '/');
    const char *base = path;
    if (slash) {
        *slash = '\0';
        base = slash + 1;
    }
    DIR *d = opendir(slash ? dir : ".");
    size_t n = strlen(base);
    for (struct dirent *ent; d && (ent = readdir(d));) {
        struct str name = str_of(ent->d_name);
        if (name.n <= n + 1 || memcmp(name.p, base, n) != 0 || name.p[n] != '.' ||
            str_ends(name, STR(".gz")) || str_ends(name, STR(".tmp")))
            continue;
        f.p = arena_grow(a, f.p, f.n * sizeof(*f.p), (f.n + 1) * sizeof(*f.p));
        f.p[f.n++] = arena_cstr(a, slash ? arena_printf(a, "%s/%s", dir, ent->d_name) : name);
    }
    if (d)
        closedir(d);
    if (f.n)
        qsort(f.p, f.n, sizeof(*f.p), compare_names);
    f.p = arena_grow(a, f.p, f.n * sizeof(*f.p), (f.n + 1) * sizeof(*f.p));
    f.p[f.n++] = arena_cstr(a, str_of(path));
    return f;
}

static int enter(struct log_reader *r, const char *path, uint64_t offset)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (r->fd >= 0)
        close(r->fd);
    r->fd = fd;
    r->ino = st.st_ino;
    r->dev = st.st_dev;
    r->offset = offset;
    r->draining = false;
    buf_reset(&r->in);
    return 0;
}

// Where the last `lines` lines of the file begin; *ret_found: how many it has, at most `lines`.
static uint64_t tail_offset(int fd, int64_t lines, int64_t *ret_found)
{
    struct stat st;
    *ret_found = 0;
    if (fstat(fd, &st) < 0 || lines <= 0)
        return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    char chunk[8192];
    uint64_t end = (uint64_t)st.st_size;
    // The newline that ends the last line does not begin another one; a last line without one is an
    // entry being written and counts.
    int64_t newlines = 0;
    bool first = true;
    while (end > 0) {
        uint64_t at = end > sizeof(chunk) ? end - sizeof(chunk) : 0;
        ssize_t n = pread(fd, chunk, (size_t)(end - at), (off_t)at);
        if (n <= 0)
            break;
        for (ssize_t i = n; i-- > 0;) {
            if (first) {
                first = false;
                if (chunk[i] == '\n')
                    continue;
            }
            if (chunk[i] == '\n' && ++newlines == lines) {
                *ret_found = lines;
                return at + (uint64_t)i + 1;
            }
        }
        end = at;
    }
    *ret_found = first ? 0 : newlines + 1;
    return 0;
}

static int seek_tail(struct log_reader *r, const struct parts *f)
{
    int64_t want = r->o.tail_lines;
    for (size_t i = f->n; i-- > 0;) {
        int64_t found = 0;
        int rc = enter(r, f->p[i], 0);
        if (rc < 0)
            return i + 1 == f->n ? rc : 0; // an older part was just pruned
        r->offset = tail_offset(r->fd, want, &found);
        want -= found;
        if (want <= 0)
            break;
    }
    return 0;
}

int log_reader_open(const char *path, const struct logs_options *o, struct log_reader **ret,
                    struct err *e)
{
    struct log_reader *r = mem_zalloc(sizeof(*r));
    r->o = *o;
    r->fd = -1;
    r->path = arena_cstr(&r->a, str_of(path));
    r->in.max = LINE_MAX_BYTES + CHUNK;
    struct parts f = find_parts(&r->a, path);
    int rc = 0;
    if (o->tail_lines >= 0) {
        rc = seek_tail(r, &f);
    } else {
        for (size_t i = 0; i < f.n; i++) // the oldest part that is still there
            if ((rc = enter(r, f.p[i], 0)) == 0)
                break;
    }
    if (rc < 0) {
        log_reader_close(r);
        return err_errno(e, -rc, "failed to open log file \"%s\"", path);
    }
    *ret = r;
    return 0;
}

void log_reader_close(struct log_reader *r)
{
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    buf_done(&r->in);
    arena_done(&r->a);
    free(r);
}

// At the end of the open part. 1: moved on or more to read; 0: this is the end of the log for now.
static int next_part(struct log_reader *r)
{
    struct stat st;
    if (stat(r->path, &st) < 0)
        return 0; // between rename and creation: the next event tells
    if (st.st_ino == r->ino && st.st_dev == r->dev) {
        if ((uint64_t)st.st_size < r->offset) { // truncated in place: from the beginning
            r->offset = 0;
            buf_reset(&r->in);
            return st.st_size > 0;
        }
        return 0;
    }
    if (!r->draining) { // it may have grown between our read and the rename
        r->draining = true;
        return 1;
    }
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct parts f = find_parts(&a, r->path);
    size_t next = 0; // ours was pruned: the oldest that is left
    for (size_t i = 0; i + 1 < f.n; i++)
        if (stat(f.p[i], &st) == 0 && st.st_ino == r->ino && st.st_dev == r->dev)
            next = i + 1;
    for (; next < f.n; next++)
        if (enter(r, f.p[next], 0) == 0)
            return 1;
    return 0;
}

// Appends one entry. false: the limit is reached.
static bool emit(struct log_reader *r, const struct log_entry *entry, struct buf *out)
{
    bool *in_line = &r->in_line[entry->is_stderr];
    bool continues = *in_line;
    *in_line = entry->partial;
    if ((r->o.only_stdout && entry->is_stderr) || (r->o.only_stderr && !entry->is_stderr))
        return true;
    int64_t when;
    if (r->o.since_ns && time_parse_rfc3339(entry->time, &when) && when < r->o.since_ns)
        return true;
    size_t start = out->n;
    if (r->o.timestamps && !continues) {
        buf_str(out, entry->time);
        buf_char(out, ' ');
    }
    buf_str(out, entry->text);
    if (!entry->partial)
        buf_char(out, '\n');
    r->sent += (int64_t)(out->n - start);
    if (r->o.limit_bytes && r->sent >= r->o.limit_bytes) {
        out->n -= (size_t)(r->sent - r->o.limit_bytes);
        return false;
    }
    return true;
}

int log_reader_read(struct log_reader *r, size_t max, struct buf *out, struct err *e)
{
    size_t start = out->n;
    for (;;) {
        struct str rest = buf_view(&r->in);
        size_t used = 0;
        ptrdiff_t newline;
        while (out->n - start < max && (newline = str_chr(rest, '\n')) >= 0) {
            struct log_entry entry;
            struct str line = str_sub(rest, 0, (size_t)newline);
            rest = str_from(rest, (size_t)newline + 1);
            used += (size_t)newline + 1;
            if (logs_parse_line(line, &entry) && !emit(r, &entry, out))
                return 2;
        }
        if (used)
            buf_drop(&r->in, used);
        if (out->n - start >= max)
            return 1;
        if (r->in.n > LINE_MAX_BYTES)
            buf_reset(&r->in); // no writer of ours makes such a line
        char *p = buf_reserve(&r->in, CHUNK);
        ssize_t n = pread(r->fd, p, CHUNK, (off_t)r->offset);
        if (n < 0)
            return err_errno(e, errno, "reading log file \"%s\"", r->path);
        if (n > 0) {
            r->in.n += (size_t)n;
            r->offset += (uint64_t)n;
        } else if (!next_part(r)) {
            return 0;
        }
    }
}

int logs_read_head(struct arena *a, const char *path, size_t max, struct str *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    char *p = arena_alloc(a, max + 1);
    size_t at = 0;
    for (ssize_t n; at < max && (n = read(fd, p + at, max - at)) > 0;)
        at += (size_t)n;
    close(fd);
    *ret = str_n(p, at);
    return 0;
}

int logs_read_tail(struct arena *a, const char *path, int64_t lines, size_t max, struct str *ret)
{
    struct logs_options o = {.tail_lines = lines};
    struct log_reader *r = NULL;
    if (log_reader_open(path, &o, &r, NULL) < 0)
        return -ENOENT;
    _cleanup_buf_ struct buf b = BUF_INIT;
    int rc;
    while ((rc = log_reader_read(r, CHUNK, &b, NULL)) == 1)
        if (b.n > 4 * max)
            buf_drop(&b, b.n - max);
    log_reader_close(r);
    if (b.n > max)
        buf_drop(&b, b.n - max);
    *ret = arena_str(a, buf_view(&b));
    return rc < 0 ? rc : 0;
}
