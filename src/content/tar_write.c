// A header is filled as if everything fitted; what does not is noted as a pax record, and the
// header keeps a shortened stand-in, as GNU tar and Go's archive/tar do. The pax header is an entry
// of its own ("x") before the entry.
#include "content/tar_write.h"
#include "base/buf.h"
#include "base/time.h"

#define BLOCK          512
#define OCTAL_MAX      07777777        // 7 digits
#define SIZE_OCTAL_MAX 077777777777ull // 11 digits

static const char zeros[2 * BLOCK];

static int bad(struct err *e, struct str name, const char *what)
{
    return err_set(e, ERR_BAD_REQUEST, "tar: entry \"%.*s\": %s", STR_ARG(str_sub(name, 0, 200)),
                   what);
}

// "length key=value\n", where the length counts its own digits.
static void pax_record(struct buf *b, const char *key, struct str value)
{
    size_t rest = strlen(key) + value.n + 3, n = rest + 1;
    for (int i = 0; i < 3; i++) { // the number of digits settles at once or after one step
        char digits[24];
        n = rest + (size_t)snprintf(digits, sizeof digits, "%zu", n);
    }
    buf_printf(b, "%zu %s=", n, key);
    buf_str(b, value);
    buf_char(b, '\n');
}

static void pax_number(struct buf *b, const char *key, uint64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    pax_record(b, key, str_n(text, (size_t)n));
}

static void pax_time(struct buf *b, int64_t ns)
{
    char text[48];
    bool negative = ns < 0;
    uint64_t abs = negative ? (uint64_t)0 - (uint64_t)ns : (uint64_t)ns;
    int n = snprintf(text, sizeof text, "%s%llu.%09llu", negative ? "-" : "",
                     (unsigned long long)(abs / NS_PER_S), (unsigned long long)(abs % NS_PER_S));
    pax_record(b, "mtime", str_n(text, (size_t)n));
}

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

static bool has_nul(struct str s)
{
    return s.n && memchr(s.p, 0, s.n);
}

static void put(char *field, size_t n, struct str s)
{
    memcpy(field, s.p ? s.p : "", s.n < n ? s.n : n);
}

static void put_octal(char *field, size_t n, uint64_t v)
{
    field[n - 1] = 0;
    for (size_t i = n - 1; i-- > 0; v >>= 3)
        field[i] = (char)('0' + (v & 7));
}

struct shape {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
        magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct shape) == BLOCK, "a tar header is a block");

static int write_header(struct tar_writer *w, struct shape *h, struct err *e)
{
    unsigned sum = 0;
    memcpy(h->magic, "ustar", 6);
    memcpy(h->version, "00", 2);
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < sizeof *h; i++)
        sum += ((const unsigned char *)h)[i];
    put_octal(h->checksum, sizeof h->checksum - 1, sum); // six digits, a NUL, a space
    return w->write(w->ctx, h, sizeof *h, e);
}

static int write_padded(struct tar_writer *w, struct str s, struct err *e)
{
    int r = w->write(w->ctx, s.p, s.n, e);
    size_t over = s.n % BLOCK;
    return r < 0 || !over ? r : w->write(w->ctx, zeros, BLOCK - over, e);
}

static int write_pax(struct tar_writer *w, struct str records, struct err *e)
{
    struct shape h = {.type = 'x'};
    put(h.name, sizeof h.name, STR("pax"));
    put_octal(h.mode, sizeof h.mode, 0644);
    put_octal(h.uid, sizeof h.uid, 0);
    put_octal(h.gid, sizeof h.gid, 0);
    put_octal(h.size, sizeof h.size, records.n);
    put_octal(h.mtime, sizeof h.mtime, 0);
    int r = write_header(w, &h, e);
    return r < 0 ? r : write_padded(w, records, e);
}

static char type_flag(enum tar_type type)
{
    static const char flags[] = {
        [TAR_FILE] = '0',  [TAR_HARDLINK] = '1',  [TAR_SYMLINK] = '2', [TAR_CHAR] = '3',
        [TAR_BLOCK] = '4', [TAR_DIRECTORY] = '5', [TAR_FIFO] = '6',
    };
    return flags[type];
}

static void put_owner(char *field, size_t n, struct buf *pax, const char *key, uint32_t v)
{
    if (v > OCTAL_MAX)
        pax_number(pax, key, v);
    put_octal(field, n, v > OCTAL_MAX ? 0 : v);
}

int tar_write_entry(struct tar_writer *w, const struct tar_entry *t, struct err *e)
{
    struct shape h = {.type = type_flag(t->type)};
    _cleanup_buf_ struct buf pax = BUF_MAX(TAR_HEADER_MAX);
    bool directory = t->type == TAR_DIRECTORY;

    if (w->due)
        return bad(e, t->name, "the content of the entry before it is not complete");
    if (!t->name.n || t->name.n > TAR_NAME_MAX || t->link.n > TAR_NAME_MAX)
        return bad(e, t->name, "its name is empty or too long");
    if (has_nul(t->name) || has_nul(t->link))
        return bad(e, t->name, "a NUL is in its name");
    if (t->size && t->type != TAR_FILE)
        return bad(e, t->name, "only files have content");
    if (t->size > INT64_MAX || t->nxattrs > TAR_XATTRS_MAX)
        return bad(e, t->name, "it is too large");

    put(h.name, sizeof h.name, t->name);
    if (directory && t->name.n < sizeof h.name)
        h.name[t->name.n] = '/';
    if (t->name.n + directory > sizeof h.name || !is_plain(t->name))
        pax_record(&pax, "path", t->name);
    put(h.link, sizeof h.link, t->link);
    if (t->link.n > sizeof h.link || !is_plain(t->link))
        pax_record(&pax, "linkpath", t->link);
    put_octal(h.mode, sizeof h.mode, t->mode & 07777);
    put_owner(h.uid, sizeof h.uid, &pax, "uid", t->uid);
    put_owner(h.gid, sizeof h.gid, &pax, "gid", t->gid);
    if (t->size > SIZE_OCTAL_MAX)
        pax_number(&pax, "size", t->size);
    put_octal(h.size, sizeof h.size, t->size > SIZE_OCTAL_MAX ? 0 : t->size);
    if (t->mtime_ns < 0 || t->mtime_ns % NS_PER_S)
        pax_time(&pax, t->mtime_ns);
    put_octal(h.mtime, sizeof h.mtime, t->mtime_ns < 0 ? 0 : (uint64_t)t->mtime_ns / NS_PER_S);
    if (t->type == TAR_CHAR || t->type == TAR_BLOCK) {
        put_octal(h.major, sizeof h.major, t->device_major);
        put_octal(h.minor, sizeof h.minor, t->device_minor);
    }
    for (size_t i = 0; i < t->nxattrs; i++) {
        char key[300];
        if (t->xattrs[i].name.n > 255 || has_nul(t->xattrs[i].name))
            return bad(e, t->name, "an extended attribute has a bad name");
        snprintf(key, sizeof key, "SCHILY.xattr.%.*s", STR_ARG(t->xattrs[i].name));
        pax_record(&pax, key, t->xattrs[i].value);
    }
    if (!buf_ok(&pax))
        return bad(e, t->name, "its extended attributes are too large");
    int r = pax.n ? write_pax(w, buf_view(&pax), e) : 0;
    if (r == 0)
        r = write_header(w, &h, e);
    if (r < 0)
        return r;
    w->due = t->size;
    w->padding = (BLOCK - t->size % BLOCK) % BLOCK;
    return 0;
}

int tar_write_content(struct tar_writer *w, const void *p, size_t n, struct err *e)
{
    if (n > w->due)
        return err_set(e, ERR_BAD_REQUEST, "tar: more content than its entry announced");
    int r = n ? w->write(w->ctx, p, n, e) : 0;
    if (r < 0)
        return r;
    w->due -= n;
    return w->due || !n ? 0 : w->write(w->ctx, zeros, (size_t)w->padding, e);
}

int tar_write_end(struct tar_writer *w, struct err *e)
{
    if (w->due)
        return err_set(e, ERR_BAD_REQUEST, "tar: the content of the last entry is not complete");
    return w->write(w->ctx, zeros, sizeof zeros, e);
}
