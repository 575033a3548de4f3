// LMDB as checkpoint. One unnamed database:
//
//     "f"        a filler that a crash left (checkpoint_reserve)
//     "m"        the mark: u32 CRC, u32 format, u64 revision, u64 sequence, u64 key0, u64 key1
//     "k" + key  an entry: u32 CRC, u32 bytes of key tail, u64 create, u64 mod, u64 version,
//                key tail, value
//
// A key longer than KEY_DIRECT bytes (LMDB takes 511) is cut there and followed by 0xff and 16
// bytes of SipHash of the whole key under the file's own random key; the tail stands in the entry,
// so that the whole is known and a collision would be noticed. Every record carries a CRC over its
// LMDB key and itself, since LMDB has no checksums.
//
// Opened with MDB_NOLOCK: the store's lock file and the single keeper thread do what LMDB's lock
// would. The map is large and sparse; where the address space is limited it is made smaller, and
// where it is too small for the data, larger.
//
// A file that was cut short would be a SIGBUS where a page is looked at that is no longer there. So
// the file is kept longer than the last page that LMDB knows of, at all times (LMDB itself may
// leave pages at the end unwritten): it is extended, sparsely, before each transaction. One that is
// shorter was cut, and is refused before anything is mapped that is not there.
#include "store/checkpoint.h"
#include "base/arena.h"
#include "base/env.h"
#include "log/crc32c.h"
#include "store/record.h"
#include <errno.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// How much longer than needed the file is made before a transaction: more than one can add.
static const uint64_t AHEAD_BYTES = (uint64_t)256 << 20;
static const uint64_t NARROW_BYTES = 4 << 20;
enum { FORMAT = 1, KEY_DIRECT = 480, RECORD_HEADER = 32, MARK_SIZE = 40 };
static const size_t MAP_BYTES = (size_t)64 << 30, MAP_LEAST = (size_t)256 << 20;

struct checkpoint {
    char *path;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    uint64_t k0, k1;
    bool cut;          // the file is shorter than it was
    struct buf record; // scratch
};

// Whether LMDB failed since the disk is full. It says EIO where only a part of a write found room.
static bool is_full(const char *path, int rc)
{
    struct statvfs fs;
    return rc == ENOSPC || rc == EDQUOT ||
           (rc == EIO && statvfs(path, &fs) == 0 && fs.f_bavail * fs.f_frsize < NARROW_BYTES);
}

// LMDB's own codes are above errno's.
static int failed(struct err *e, const char *path, int rc, const char *doing)
{
    enum err_reason reason = is_full(path, rc) ? ERR_STORAGE : ERR_INTERNAL;
    return err_set(e, reason, "%s checkpoint %s: %s", doing, path, mdb_strerror(rc));
}

static int damaged(struct err *e, const char *path, const char *what)
{
    return err_set(e, ERR_INTERNAL, "checkpoint %s is damaged: %s", path, what);
}

static int failed_or_cut(struct err *e, struct checkpoint *c, int rc, const char *doing)
{
    return c->cut ? damaged(e, c->path, "it was cut short") : failed(e, c->path, rc, doing);
}

// Whether all pages that LMDB may look at are there; for a writer also room for what it adds.
static int length_check(struct checkpoint *c, bool read_only, uint64_t size)
{
    MDB_stat stat;
    MDB_envinfo info;
    mdb_env_stat(c->env, &stat);
    mdb_env_info(c->env, &info);
    uint64_t needed = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    if (size && size < needed) {
        c->cut = true;
        return MDB_CORRUPTED;
    }
    if (!read_only && size < needed + AHEAD_BYTES / 2) {
        mdb_filehandle_t fd;
        mdb_env_get_fd(c->env, &fd);
        if (ftruncate(fd, (off_t)(needed + AHEAD_BYTES)) < 0)
            return errno;
    }
    return 0;
}

// Opens the file and a transaction on it.
static int open_at(struct checkpoint *c, bool read_only)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD;
    struct stat st;
    size_t map = MAP_BYTES;
    uint64_t size = 0;
    if (stat(c->path, &st) == 0) {
        size = (uint64_t)st.st_size;
        while (map < size * 2)
            map *= 2;
    }
    // Both of LMDB's meta pages are looked at first.
    if (size && size < 2 * (uint64_t)sysconf(_SC_PAGESIZE)) {
        c->cut = true;
        return MDB_CORRUPTED;
    }
    for (;; map /= 2) {
        int rc = mdb_env_create(&c->env);
        if (rc)
            return rc;
        rc = mdb_env_set_mapsize(c->env, map);
        if (!rc)
            rc = mdb_env_open(c->env, c->path, flags | (read_only ? MDB_RDONLY : 0), 0600);
        if (!rc)
            break;
        mdb_env_close(c->env);
        c->env = NULL;
        if (rc != ENOMEM || map <= MAP_LEAST)
            return rc;
    }
    int rc = length_check(c, read_only, size);
    if (!rc)
        rc = mdb_txn_begin(c->env, NULL, read_only ? MDB_RDONLY : 0, &c->txn);
    return rc ? rc : mdb_dbi_open(c->txn, NULL, 0, &c->dbi);
}

static void close_at(struct checkpoint *c)
{
    if (c->txn)
        mdb_txn_abort(c->txn);
    if (c->env)
        mdb_env_close(c->env);
    buf_done(&c->record);
    free(c->path);
    free(c);
}

static uint32_t record_crc(MDB_val key, const char *record, size_t n)
{
    return crc32c(crc32c(0, key.mv_data, key.mv_size), record + 4, n - 4);
}

static struct checkpoint *checkpoint_new(const char *path)
{
    struct checkpoint *c = mem_zalloc(sizeof *c);
    c->path = mem_cstr(str_of(path));
    c->record = BUF_MAX(SIZE_MAX / 4);
    return c;
}

// The mark of an open checkpoint; zeros where nothing was committed yet.
static int own_mark_read(struct checkpoint *c, struct checkpoint_mark *ret, struct err *e)
{
    MDB_val key = {1, "m"}, data;
    *ret = (struct checkpoint_mark){0};
    int rc = mdb_get(c->txn, c->dbi, &key, &data);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc)
        return failed(e, c->path, rc, "reading");
    const char *p = data.mv_data;
    uint32_t crc, format;
    if (data.mv_size != MARK_SIZE)
        return damaged(e, c->path, "its mark is not valid");
    memcpy(&crc, p, 4);
    memcpy(&format, p + 4, 4);
    if (crc != record_crc(key, p, MARK_SIZE))
        return damaged(e, c->path, "its mark is not valid");
    if (format != FORMAT)
        return err_set(e, ERR_INTERNAL, "checkpoint %s has format %u, this program reads %d",
                       c->path, format, FORMAT);
    memcpy(&ret->revision, p + 8, 8);
    memcpy(&ret->sequence, p + 16, 8);
    memcpy(&c->k0, p + 24, 8);
    memcpy(&c->k1, p + 32, 8);
    return 0;
}

// LMDB's key for a store key, in `space`; the part of the key that it does not hold is *ret_tail.
static MDB_val key_make(struct checkpoint *c, struct str key, char space[512], struct str *ret_tail)
{
    struct str direct = str_sub(key, 0, KEY_DIRECT);
    *ret_tail = str_from(key, direct.n);
    space[0] = 'k';
    if (direct.n)
        memcpy(space + 1, direct.p, direct.n);
    size_t n = 1 + direct.n;
    if (ret_tail->n) {
        uint64_t h[2] = {str_hash_keyed(key, c->k0, c->k1), str_hash_keyed(key, c->k1, ~c->k0)};
        space[n] = (char)0xff;
        memcpy(space + n + 1, h, sizeof h);
        n += 1 + sizeof h;
    }
    return (MDB_val){n, space};
}

// An entry from its record; NULL where the record is damaged.
static struct entry *entry_read(MDB_val key, MDB_val data)
{
    const char *p = data.mv_data, *k = key.mv_data;
    uint32_t crc, tail_n;
    uint64_t create, mod, version;
    if (data.mv_size < RECORD_HEADER || key.mv_size < 1 || k[0] != 'k')
        return NULL;
    memcpy(&crc, p, 4);
    memcpy(&tail_n, p + 4, 4);
    memcpy(&create, p + 8, 8);
    memcpy(&mod, p + 16, 8);
    memcpy(&version, p + 24, 8);
    if (crc != record_crc(key, p, data.mv_size) || tail_n > data.mv_size - RECORD_HEADER)
        return NULL;
    struct str tail = {p + RECORD_HEADER, tail_n};
    struct str direct = {k + 1, key.mv_size - 1 < KEY_DIRECT ? key.mv_size - 1 : KEY_DIRECT};
    struct str value = {tail.p + tail.n, data.mv_size - RECORD_HEADER - tail.n};
    struct blob *blob = blob_new(value);
    _cleanup_free_ char *whole = mem_alloc(direct.n + tail.n);
    memcpy(mempcpy(whole, direct.p, direct.n), tail.p, tail.n);
    struct entry *e = entry_new(str_n(whole, direct.n + tail.n), blob, create, mod, version);
    blob_unref(blob);
    return e;
}

static int load(struct checkpoint *c, void (*fn)(void *ctx, struct entry *e), void *ctx,
                struct checkpoint_mark *mark, struct err *e)
{
    int code = own_mark_read(c, mark, e);
    if (code)
        return code;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(c->txn, c->dbi, &cursor);
    if (rc)
        return failed(e, c->path, rc, "reading");
    MDB_val key, data;
    while (!code && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        if (key.mv_size == 1 && strchr("mf", *(char *)key.mv_data))
            continue;
        struct entry *entry = mark->revision ? entry_read(key, data) : NULL;
        if (!entry)
            code = damaged(e, c->path, "a record's checksum does not hold");
        else
            fn(ctx, entry);
    }
    mdb_cursor_close(cursor);
    return code || rc == MDB_NOTFOUND ? code : failed(e, c->path, rc, "reading");
}

int checkpoint_load(const char *path, void (*fn)(void *ctx, struct entry *e), void *ctx,
                    struct checkpoint_mark *ret, struct err *e)
{
    struct stat st;
    *ret = (struct checkpoint_mark){0};
    // An empty file is one whose creation was cut short.
    if (stat(path, &st) < 0 ? errno == ENOENT : st.st_size == 0)
        return 0;
    struct checkpoint *c = checkpoint_new(path);
    int rc = open_at(c, true);
    int code = rc ? failed_or_cut(e, c, rc, "opening") : load(c, fn, ctx, ret, e);
    close_at(c);
    return code;
}

int checkpoint_begin(const char *path, struct checkpoint **ret, struct err *e)
{
    struct checkpoint *c = checkpoint_new(path);
    struct checkpoint_mark mark;
    int rc = open_at(c, false);
    int code = rc ? failed_or_cut(e, c, rc, "opening") : own_mark_read(c, &mark, e);
    if (code) {
        close_at(c);
        return code;
    }
    if (!mark.revision) {
        env_random(env_system(), &c->k0, sizeof c->k0);
        env_random(env_system(), &c->k1, sizeof c->k1);
    }
    *ret = c;
    return 0;
}

int checkpoint_add(struct checkpoint *c, const struct record *change, struct err *e)
{
    char space[512];
    struct str tail;
    MDB_val key = key_make(c, change->key, space, &tail);
    if (change->deleted) {
        int rc = mdb_del(c->txn, c->dbi, &key, NULL);
        return rc && rc != MDB_NOTFOUND ? failed(e, c->path, rc, "writing") : 0;
    }
    uint32_t tail_n = (uint32_t)tail.n;
    buf_reset(&c->record);
    buf_add(&c->record, "\0\0\0", 4);
    buf_add(&c->record, &tail_n, 4);
    buf_add(&c->record, &change->create_revision, 8);
    buf_add(&c->record, &change->revision, 8);
    buf_add(&c->record, &change->version, 8);
    buf_str(&c->record, tail);
    buf_str(&c->record, change->value);
    uint32_t crc = record_crc(key, c->record.p, c->record.n);
    memcpy(c->record.p, &crc, 4);
    MDB_val data = {c->record.n, c->record.p};
    int rc = mdb_put(c->txn, c->dbi, &key, &data, 0);
    return rc ? failed(e, c->path, rc, "writing") : 0;
}

int checkpoint_commit(struct checkpoint *c, const struct checkpoint_mark *mark, struct err *e)
{
    char space[MARK_SIZE];
    uint32_t format = FORMAT;
    MDB_val key = {1, "m"}, data = {MARK_SIZE, space};
    memcpy(space + 4, &format, 4);
    memcpy(space + 8, &mark->revision, 8);
    memcpy(space + 16, &mark->sequence, 8);
    memcpy(space + 24, &c->k0, 8);
    memcpy(space + 32, &c->k1, 8);
    uint32_t crc = record_crc(key, space, MARK_SIZE);
    memcpy(space, &crc, 4);
    int rc = mdb_put(c->txn, c->dbi, &key, &data, 0);
    if (!rc) {
        rc = mdb_txn_commit(c->txn);
        c->txn = NULL; // gone either way
    }
    int code = rc ? failed(e, c->path, rc, "committing") : 0;
    close_at(c);
    return code;
}

void checkpoint_abort(struct checkpoint *c)
{
    close_at(c);
}

// ---- the reserve ----

// Bytes in free pages.
static int free_bytes(const char *path, size_t *ret)
{
    struct checkpoint *c = checkpoint_new(path);
    MDB_cursor *cursor = NULL;
    MDB_val key, data;
    MDB_stat stat;
    *ret = 0;
    int rc = open_at(c, true);
    if (!rc)
        rc = mdb_cursor_open(c->txn, 0, &cursor); // LMDB's own list of them, by transaction
    if (!rc) {
        mdb_env_stat(c->env, &stat);
        while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
            size_t pages;
            memcpy(&pages, data.mv_data, sizeof pages); // an IDL: its length stands first
            *ret += pages * stat.ms_psize;
        }
        mdb_cursor_close(cursor);
    }
    close_at(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

// Grows the file by a value of n bytes, or takes that away again, which leaves its pages free.
static int filler(const char *path, size_t n)
{
    struct checkpoint *c = checkpoint_new(path);
    MDB_val key = {1, "f"}, data = {n, NULL};
    int rc = open_at(c, false);
    if (!rc) {
        rc = n ? mdb_put(c->txn, c->dbi, &key, &data, MDB_RESERVE)
               : mdb_del(c->txn, c->dbi, &key, NULL);
        if (!rc && n)
            memset(data.mv_data, 0, n);
        if (!rc) {
            rc = mdb_txn_commit(c->txn);
            c->txn = NULL;
        }
    }
    close_at(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int checkpoint_reserve(const char *path, size_t bytes)
{
    enum { STEP = 1 << 20 };
    size_t have = 0;
    int rc = free_bytes(path, &have);
    if (rc || have >= bytes)
        return rc ? -EIO : 0;
    // One value as large as what is missing, so that no page that is free already serves it.
    rc = filler(path, bytes + STEP);
    if (!rc)
        rc = filler(path, 0);
    return !rc ? 0 : is_full(path, rc) ? -ENOSPC : -EIO;
}
