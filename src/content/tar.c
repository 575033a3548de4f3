// The tar reader. Every number is parsed with a bound and every size is checked before it is used:
// the archive is outside input. What it does not know it refuses (an entry type, a sparse file); it
// never guesses, since a file that is silently missing from an image is the worst outcome.
//
// A header is 512 bytes: fixed fields, octal numbers (or, first bit set, base-256). "x" entries
// (pax) and "L"/"K" entries (GNU) come before the entry that they describe and override its fields;
// "g" sets defaults, of which only the comment is in use and which are therefore skipped.
#include "content/tar.h"
#include "base/time.h"
#include <stddef.h>

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
        magic[8], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == 512, "a tar header is a block");

// What pax and GNU entries say about the next entry.
struct overrides {
    struct str name, link;
    bool has_size, has_mtime, has_uid, has_gid;
    uint64_t size, uid, gid;
    int64_t mtime_ns;
    size_t nxattrs;
};

void tar_init(struct tar_reader *t, struct byte_source *source)
{
    *t = (struct tar_reader){.source = source};
}

void tar_done(struct tar_reader *t)
{
    arena_done(&t->arena);
}

static int bad(struct tar_reader *t, struct err *e, const char *what)
{
    return err_set(e, ERR_BAD_REQUEST, "tar: %s at byte %llu", what, (unsigned long long)t->offset);
}

// Exactly n bytes; *ret_got < n only at the end of the source.
static int read_full(struct tar_reader *t, void *p, size_t n, size_t *ret_got, struct err *e)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = t->source->read(t->source, (char *)p + at, n - at, e);
        if (got < 0)
            return (int)got;
        if (!got)
            break;
        at += (size_t)got;
    }
    t->offset += at;
    *ret_got = at;
    return 0;
}

static int skip(struct tar_reader *t, uint64_t n, struct err *e)
{
    char bytes[8192];
    while (n) {
        size_t got = 0, want = n < sizeof bytes ? (size_t)n : sizeof bytes;
        int r = read_full(t, bytes, want, &got, e);
        if (r < 0)
            return r;
        if (got < want)
            return bad(t, e, "the archive is cut off");
        n -= got;
    }
    return 0;
}

// Octal with leading spaces, ended by a NUL, a space or the field's end; or base-256. false:
// neither.
static bool number(const char *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    if ((unsigned char)p[0] & 0x80) {
        if ((unsigned char)p[0] & 0x40) // negative
            return false;
        v = (unsigned char)p[0] & 0x3f;
        for (i = 1; i < n; i++) {
            if (v >> 56)
                return false;
            v = v << 8 | (unsigned char)p[i];
        }
        *ret = v;
        return v <= INT64_MAX;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7' || v >> 60)
            return false;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    *ret = v;
    return true;
}

static bool checksum_ok(const struct header *h)
{
    const unsigned char *p = (const unsigned char *)h;
    uint64_t want, with_signs = 0, sum = 0;
    for (size_t i = 0; i < sizeof *h; i++) {
        bool in_sum = i >= offsetof(struct header, checksum) &&
                      i < offsetof(struct header, checksum) + sizeof h->checksum;
        sum += in_sum ? ' ' : p[i];
        with_signs += (uint64_t)(int64_t)(in_sum ? ' ' : (signed char)p[i]);
    }
    return number(h->checksum, sizeof h->checksum, &want) && (want == sum || want == with_signs);
}

static struct str field(const char *p, size_t n)
{
    return str_n(p, strnlen(p, n));
}

// A time of pax: seconds with an optional fraction.
static bool pax_time(struct str s, int64_t *ret_ns)
{
    bool negative = s.n && s.p[0] == '-';
    struct str fraction = str_from(s, negative), whole = str_cut(&fraction, '.');
    uint64_t seconds, ns = 0;
    if (!str_to_u64(whole, &seconds) || seconds > INT64_MAX / NS_PER_S - 1)
        return false;
    for (size_t i = 0; i < 9; i++) {
        char c = i < fraction.n ? fraction.p[i] : '0';
        if (c < '0' || c > '9')
            return false;
        ns = ns * 10 + (uint64_t)(c - '0');
    }
    *ret_ns = (int64_t)(seconds * NS_PER_S + ns) * (negative ? -1 : 1);
    return true;
}

// Records "length key=value\n".
static int pax_parse(struct tar_reader *t, struct str body, struct overrides *o, struct err *e)
{
    while (body.n) {
        ptrdiff_t space = str_chr(body, ' ');
        uint64_t length;
        if (space < 0 || !str_to_u64(str_sub(body, 0, (size_t)space), &length) || length > body.n ||
            length < (uint64_t)space + 3 || body.p[length - 1] != '\n')
            return bad(t, e, "a pax record is malformed");
        struct str value = str_sub(body, (size_t)space + 1, length - (size_t)space - 2);
        struct str key = str_cut(&value, '=');
        body = str_from(body, length);
        bool ok = true;
        if (str_eqc(key, "path"))
            o->name = value;
        else if (str_eqc(key, "linkpath"))
            o->link = value;
        else if (str_eqc(key, "size"))
            ok = o->has_size = str_to_u64(value, &o->size) && o->size <= INT64_MAX;
        else if (str_eqc(key, "uid"))
            ok = o->has_uid = str_to_u64(value, &o->uid);
        else if (str_eqc(key, "gid"))
            ok = o->has_gid = str_to_u64(value, &o->gid);
        else if (str_eqc(key, "mtime"))
            ok = o->has_mtime = pax_time(value, &o->mtime_ns);
        else if (str_starts(key, STR("GNU.sparse.")))
            return bad(t, e, "sparse files are not supported: an entry");
        else if (str_starts(key, STR("SCHILY.xattr."))) {
            if (o->nxattrs == TAR_XATTRS_MAX)
                return bad(t, e, "too many extended attributes");
            t->xattrs[o->nxattrs++] = (struct tar_xattr){str_from(key, 13), value};
        }
        if (!ok)
            return bad(t, e, "a pax record has a bad number");
    }
    return 0;
}

static int read_body(struct tar_reader *t, uint64_t size, struct str *ret, struct err *e)
{
    size_t got = 0;
    if (size > TAR_HEADER_MAX)
        return bad(t, e, "an extended header is too large");
    char *p = arena_alloc(&t->arena, size + 1);
    int r = read_full(t, p, size, &got, e);
    if (r < 0)
        return r;
    if (got < size)
        return bad(t, e, "the archive is cut off");
    p[size] = 0;
    *ret = str_n(p, size);
    return skip(t, (512 - size % 512) % 512, e);
}

static struct str clean(struct str name)
{
    while (str_starts(name, STR("./")))
        name = str_from(name, 2);
    while (name.n > 1 && name.p[name.n - 1] == '/')
        name.n--;
    return str_eqc(name, ".") ? STR("") : name;
}

static const struct {
    char flag;
    enum tar_type type;
} types[] = {
    {'0', TAR_FILE},     {0, TAR_FILE},        {'7', TAR_FILE},
    {'1', TAR_HARDLINK}, {'2', TAR_SYMLINK},   {'3', TAR_CHAR},
    {'4', TAR_BLOCK},    {'5', TAR_DIRECTORY}, {'6', TAR_FIFO},
};

static int fill(struct tar_reader *t, const struct header *h, const struct overrides *o,
                uint64_t size, struct tar_entry *ret, struct err *e)
{
    uint64_t mode, uid, gid, mtime = 0, major = 0, minor = 0;
    size_t i;

    for (i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].flag == h->type)
            break;
    if (i == sizeof types / sizeof *types)
        return bad(t, e, "an entry has an unknown type");
    if (!number(h->mode, sizeof h->mode, &mode) || !number(h->uid, sizeof h->uid, &uid) ||
        !number(h->gid, sizeof h->gid, &gid))
        return bad(t, e, "a header has a bad number");
    if (!number(h->mtime, sizeof h->mtime, &mtime)) // before 1970
        mtime = 0;
    bool device = types[i].type == TAR_CHAR || types[i].type == TAR_BLOCK;
    if (device &&
        (!number(h->major, sizeof h->major, &major) || !number(h->minor, sizeof h->minor, &minor)))
        return bad(t, e, "a header has a bad device number");
    uid = o->has_uid ? o->uid : uid;
    gid = o->has_gid ? o->gid : gid;
    if (uid >= UINT32_MAX || gid >= UINT32_MAX || major > 0xfff || minor > 0xfffff)
        return bad(t, e, "a header has a number that is too large");

    struct str name = o->name, link = o->link.p ? o->link : field(h->link, sizeof h->link);
    if (!name.p) {
        name = field(h->name, sizeof h->name);
        struct str prefix = memcmp(h->magic,
                                   "ustar\0"
                                   "00",
                                   8)
                                ? STR_NULL
                                : field(h->prefix, sizeof h->prefix);
        if (prefix.n)
            name = arena_printf(&t->arena, "%.*s/%.*s", STR_ARG(prefix), STR_ARG(name));
        else
            name = arena_str(&t->arena, name);
    }
    bool directory = types[i].type == TAR_DIRECTORY ||
                     (types[i].type == TAR_FILE && name.n && name.p[name.n - 1] == '/');
    if (memchr(name.p ? name.p : "", 0, name.n) || memchr(link.p ? link.p : "", 0, link.n))
        return bad(t, e, "a name contains a NUL");
    if (name.n > TAR_NAME_MAX || link.n > TAR_NAME_MAX)
        return bad(t, e, "a name is too long");
    *ret = (struct tar_entry){
        .type = directory ? TAR_DIRECTORY : types[i].type,
        .name = clean(name),
        .link = arena_str(&t->arena, link),
        .mode = (uint32_t)mode & 07777,
        .uid = (uint32_t)uid,
        .gid = (uint32_t)gid,
        .size = size,
        .mtime_ns = o->has_mtime                         ? o->mtime_ns
                    : mtime > INT64_MAX / (2 * NS_PER_S) ? 0
                                                         : (int64_t)mtime * NS_PER_S,
        .device_major = (uint32_t)major,
        .device_minor = (uint32_t)minor,
        .xattrs = t->xattrs,
        .nxattrs = o->nxattrs,
        .content_at = t->offset,
    };
    return 1;
}

int tar_next(struct tar_reader *t, struct tar_entry *ret, struct err *e)
{
    struct overrides o = {0};
    struct header h;
    size_t got = 0;

    int r = skip(t, t->content_left + t->padding_left, e);
    if (r < 0)
        return r;
    t->content_left = t->padding_left = 0;
    arena_reset(&t->arena);
    for (unsigned described = 0;; described++) {
        r = read_full(t, &h, sizeof h, &got, e);
        if (r < 0)
            return r;
        if (!got) // without the two blocks of zeros that should stand here: as GNU tar, accept
            return 0;
        if (got < sizeof h)
            return bad(t, e, "the archive is cut off");
        static const struct header zero;
        if (!memcmp(&h, &zero, sizeof h))
            return 0;
        if (!checksum_ok(&h))
            return bad(t, e, "a header has a wrong checksum (is it a tar archive?)");
        uint64_t size;
        if (!number(h.size, sizeof h.size, &size))
            return bad(t, e, "a header has a bad size");
        if (described > 8)
            return bad(t, e, "too many extended headers");

        struct str body = STR_NULL;
        switch (h.type) {
        case 'x':
        case 'g':
        case 'L':
        case 'K':
            r = read_body(t, size, &body, e);
            if (r < 0)
                return r;
            if (h.type == 'x')
                r = pax_parse(t, body, &o, e);
            else if (h.type == 'L')
                o.name = str_n(body.p, strnlen(body.p, body.n));
            else if (h.type == 'K')
                o.link = str_n(body.p, strnlen(body.p, body.n));
            if (r < 0)
                return r;
            continue;
        case 'S':
            return bad(t, e, "sparse files are not supported: an entry");
        default:
            break;
        }
        if (o.has_size)
            size = o.size;
        bool content = h.type == '0' || h.type == 0 || h.type == '7';
        if (!content) // what old writers put into the size of links and directories is not content
            size = h.type == '5' || (h.type >= '1' && h.type <= '6') ? 0 : size;
        r = fill(t, &h, &o, size, ret, e);
        if (r > 0) {
            t->content_left = size;
            t->padding_left = (512 - size % 512) % 512;
            if (ret->type != TAR_FILE)
                ret->size = 0;
        }
        return r;
    }
}

ssize_t tar_read(struct tar_reader *t, void *p, size_t n, struct err *e)
{
    size_t got = 0;
    if (n > t->content_left)
        n = (size_t)t->content_left;
    if (!n)
        return 0;
    int r = read_full(t, p, n, &got, e);
    if (r < 0)
        return r;
    if (got < n)
        return bad(t, e, "the archive is cut off");
    t->content_left -= got;
    return (ssize_t)got;
}
