// The store keeps its index in memory as immutable entries behind one lock, and writes the whole of
// it to index.json on each change: a node has some hundred images, and a change is seconds apart.
//
// Order of an addition: layers are unpacked under tmp/ and renamed to their name, documents are
// written, everything is synced (one syncfs), and only then the index is replaced. After a crash at
// any point the index names only what is whole; the rest is swept at the next start.
//
// Several processes may use one store (`coracle image import` while a server runs). index.json is
// the truth: every look at the list first reads it anew if it is another file than last time; a
// change is made under flock(index.lock), on a list just read. Who unpacks holds flock(work.lock)
// shared; sweeping needs it exclusively and is left out while anybody works.
#include "content/image_store.h"
#include "base/log.h"
#include "base/map.h"
#include "content/digest.h"
#include "content/image_name.h"
#include "content/room.h"
#include "content/tree.h"
#include "content/unpack.h"
#include "object/json.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define LAYER_NAME        28 // digits of the chain id
#define LAYER_BYTES_MAX   ((uint64_t)256 << 30)
#define LAYER_ENTRIES_MAX 10000000u
#define INDEX_MAX         (64 * 1024 * 1024)

// Never changed once it is in the list, except by being replaced under the lock. Strings are in
// `arena`.
struct image {
    struct arena arena;
    struct str id;
    const struct str *names, *digests;
    size_t nnames, ndigests;
    const struct str *layers; // topmost first
    size_t nlayers;
    int64_t size;
    int64_t uid;
    struct str username;
};

struct image_store {
    struct env *env;
    char *dir, *layers_dir, *tmp_dir;
    pthread_mutex_t lock; // guards images, nimages, sizes, holds, serial
    struct image **images;
    size_t nimages;
    struct map sizes; // layer -> heap uint64_t: bytes of its files
    unsigned holds;
    unsigned serial;
    int index_lock, work_lock;   // for flock
    struct stat read;            // index.json as it was read last; st_ino 0: never
    pthread_mutex_t unpack_lock; // one layer is unpacked at a time: the disk is the limit anyway
};

struct env *image_store_env(struct image_store *s)
{
    return s->env;
}

static void image_free(struct image *i)
{
    if (!i)
        return;
    struct arena a = i->arena; // the image lives in its own arena
    arena_done(&a);
}

static const struct str *strings_copy(struct arena *a, const struct str *from, size_t n)
{
    struct str *to = arena_array(a, struct str, n ? n : 1);
    for (size_t i = 0; i < n; i++)
        to[i] = arena_str(a, from[i]);
    return to;
}

static struct image *image_make(struct str id, const struct str *names, size_t nnames,
                                const struct str *digests, size_t ndigests,
                                const struct str *layers, size_t nlayers, int64_t size, int64_t uid,
                                struct str username)
{
    struct arena a = ARENA_INIT;
    struct image *i = arena_new(&a, struct image);
    i->id = arena_str(&a, id);
    i->names = strings_copy(&a, names, nnames);
    i->nnames = nnames;
    i->digests = strings_copy(&a, digests, ndigests);
    i->ndigests = ndigests;
    i->layers = strings_copy(&a, layers, nlayers);
    i->nlayers = nlayers;
    i->size = size;
    i->uid = uid;
    i->username = arena_str(&a, username);
    i->arena = a;
    return i;
}

static void describe(struct arena *a, const struct image *i, struct image_info *ret)
{
    *ret = (struct image_info){
        .id = arena_str(a, i->id),
        .tags = strings_copy(a, i->names, i->nnames),
        .ntags = i->nnames,
        .digests = strings_copy(a, i->digests, i->ndigests),
        .ndigests = i->ndigests,
        .size = i->size,
        .uid = i->uid,
        .username = arena_str(a, i->username),
    };
}

static bool contains(const struct str *list, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

// --- the index on disk ----------------------------------------------------------------------

static void write_strings(struct buf *b, const char *key, const struct str *s, size_t n)
{
    buf_printf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(b, ',');
        json_write_string(b, s[i]);
    }
    buf_char(b, ']');
}

// Lock held.
static int index_write(struct image_store *s, struct err *e)
{
    _cleanup_buf_ struct buf b = BUF_MAX(INDEX_MAX);
    buf_puts(&b, "{\"version\":1,\"images\":[");
    for (size_t i = 0; i < s->nimages; i++) {
        const struct image *m = s->images[i];
        buf_puts(&b, i ? ",\n{\"id\":" : "\n{\"id\":");
        json_write_string(&b, m->id);
        write_strings(&b, "names", m->names, m->nnames);
        write_strings(&b, "digests", m->digests, m->ndigests);
        write_strings(&b, "layers", m->layers, m->nlayers);
        buf_printf(&b, ",\"size\":%lld,\"uid\":%lld,\"username\":", (long long)m->size,
                   (long long)m->uid);
        json_write_string(&b, m->username);
        buf_char(&b, '}');
    }
    buf_puts(&b, "],\n\"layers\":{");
    bool first = true;
    map_each (&s->sizes, slot) {
        buf_printf(&b, "%s\"%.*s\":%llu", first ? "" : ",", (int)slot->key_n, slot->key,
                   (unsigned long long)*(uint64_t *)slot->value);
        first = false;
    }
    buf_puts(&b, "}}\n");
    if (!buf_ok(&b))
        return err_set(e, ERR_TOO_LARGE, "too many images");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/index.json", s->dir);
    int r = file_write_all(path, buf_view(&b), 0600, e);
    if (r == 0 && stat(path, &s->read) < 0)
        s->read.st_ino = 0;
    return r;
}

static const struct str *value_strings(struct arena *a, const struct value *v, size_t *ret_n)
{
    size_t n = value_len(v);
    struct str *list = arena_array(a, struct str, n ? n : 1);
    for (size_t i = 0; i < n; i++)
        list[i] = value_string(value_item(v, i));
    *ret_n = n;
    return list;
}

// Takes over what index.json says. Layers that this process is unpacking are not in it yet and stay
// known.
static void index_take(struct image_store *s, struct arena *a, const struct value *v)
{
    for (size_t i = 0; i < s->nimages; i++)
        image_free(s->images[i]);
    free(s->images);
    s->nimages = 0;
    if (!s->holds) {
        map_each (&s->sizes, slot)
            free(slot->value);
        map_done(&s->sizes);
        s->sizes = MAP_INIT;
    }
    const struct value *images = value_getc(v, "images");
    s->images = mem_zalloc(sizeof *s->images * (value_len(images) + 1));
    value_each_item (images, item) {
        size_t nn, nd, nl;
        const struct str *names = value_strings(a, value_getc(item, "names"), &nn);
        const struct str *digests = value_strings(a, value_getc(item, "digests"), &nd);
        const struct str *layers = value_strings(a, value_getc(item, "layers"), &nl);
        s->images[s->nimages++] =
            image_make(value_str_at(item, "id"), names, nn, digests, nd, layers, nl,
                       value_int_at(item, "size", 0), value_int_at(item, "uid", -1),
                       value_str_at(item, "username"));
    }
    value_each_field (value_getc(v, "layers"), field) {
        uint64_t *bytes = mem_alloc(sizeof *bytes);
        *bytes = (uint64_t)value_int_or(field->value, 0);
        free(map_set(&s->sizes, field->key, bytes));
    }
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

// Lock held. Reads index.json if it is another than last time.
static int index_read(struct image_store *s, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    char path[PATH_MAX];
    struct str text;
    struct value *v;
    struct stat now;

    snprintf(path, sizeof path, "%s/index.json", s->dir);
    if (stat(path, &now) < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "%s", path);
    if (same_file(&now, &s->read))
        return 0;
    int r = file_read_all(&a, path, INDEX_MAX, &text, e);
    if (r < 0)
        return r;
    struct err why = ERR_INIT;
    if (json_parse(&a, text, NULL, &v, &why) < 0) {
        r = err_set(e, ERR_INTERNAL, "%s is damaged (%s); remove it to begin without images", path,
                    why.message);
        err_done(&why);
        return r;
    }
    if (value_int_at(v, "version", 0) != 1)
        return err_set(e, ERR_INTERNAL, "%s has version %lld, this program knows version 1", path,
                       (long long)value_int_at(v, "version", 0));
    index_take(s, &a, v);
    s->read = now;
    return 0;
}

// Lock held. The list as it is now, and nobody else changes it until index_unlock.
static int index_change(struct image_store *s, struct err *e)
{
    while (flock(s->index_lock, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_errno(e, errno, "locking %s/index.lock", s->dir);
    int r = index_read(s, e);
    if (r < 0)
        flock(s->index_lock, LOCK_UN);
    return r;
}

static void index_unlock(struct image_store *s)
{
    flock(s->index_lock, LOCK_UN);
}

static int open_lock(struct image_store *s, const char *name, int *ret, struct err *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    *ret = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return *ret < 0 ? err_errno(e, errno, "%s", path) : 0;
}

// Lock held. Removes layers and documents that no image names.
static void sweep(struct image_store *s)
{
    char path[PATH_MAX];
    struct map keep = MAP_INIT;

    if (s->holds || flock(s->work_lock, LOCK_EX | LOCK_NB) < 0)
        return;
    // Only now: until this lock was ours another process could publish an image, whose layers would
    // look like nobody's on an older list.
    struct err why = ERR_INIT;
    if (index_read(s, &why) < 0) {
        log_warn("image", "unused layers stay: %s", why.message);
        err_done(&why);
        flock(s->work_lock, LOCK_UN);
        return;
    }
    for (size_t i = 0; i < s->nimages; i++) {
        const struct image *m = s->images[i];
        map_set(&keep, str_from(m->id, 7), s);
        for (size_t k = 0; k < m->nlayers; k++)
            map_set(&keep, m->layers[k], s);
        for (size_t k = 0; k < m->ndigests; k++) {
            ptrdiff_t colon = str_rchr(m->digests[k], ':');
            map_set(&keep, str_from(m->digests[k], (size_t)(colon + 1)), s);
        }
    }
    static const char *const dirs[] = {"layers", "blobs/sha256"};
    for (size_t k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/%s", s->dir, dirs[k]);
        DIR *d = opendir(path);
        if (!d)
            continue;
        for (struct dirent *entry; (entry = readdir(d));) {
            struct str name = str_of(entry->d_name);
            if (entry->d_name[0] == '.' || map_has(&keep, name))
                continue;
            int r = tree_remove(dirfd(d), entry->d_name);
            if (r < 0)
                log_warn("image", "cannot remove %s/%s: %s", path, entry->d_name, strerror(-r));
            if (k == 0)
                free(map_del(&s->sizes, name));
        }
        closedir(d);
    }
    map_done(&keep);
    flock(s->work_lock, LOCK_UN);
}

// Lock held. What a process that was killed left under way.
static void empty_tmp(struct image_store *s)
{
    if (flock(s->work_lock, LOCK_EX | LOCK_NB) < 0)
        return;
    DIR *d = opendir(s->tmp_dir);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            tree_remove(dirfd(d), entry->d_name);
    if (d)
        closedir(d);
    flock(s->work_lock, LOCK_UN);
}

void image_store_hold(struct image_store *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->holds++ == 0)
        flock(s->work_lock, LOCK_SH); // waits at most while somebody sweeps
    pthread_mutex_unlock(&s->lock);
}

static void release_locked(struct image_store *s)
{
    if (--s->holds == 0)
        flock(s->work_lock, LOCK_UN);
}

void image_store_release(struct image_store *s)
{
    pthread_mutex_lock(&s->lock);
    release_locked(s);
    pthread_mutex_unlock(&s->lock);
}

int image_store_temporary(struct image_store *s, struct err *e)
{
    int fd = open(s->tmp_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        err_errno(e, errno, "cannot make a temporary file in %s", s->tmp_dir);
    return fd;
}

// --- open and close -------------------------------------------------------------------------

int image_store_open(struct env *env, const char *data_dir, struct image_store **ret, struct err *e)
{
    static const char *const parts[] = {"", "/blobs/sha256", "/layers", "/tmp"};
    char path[PATH_MAX], real[PATH_MAX];
    struct statfs fs;

    snprintf(path, sizeof path, "%s/images", data_dir);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char part[PATH_MAX + 32];
        snprintf(part, sizeof part, "%s%s", path, parts[i]);
        int r = file_mkdir_all(part, i ? 0755 : 0711, e);
        if (r < 0)
            return r;
    }
    if (!realpath(path, real))
        return err_errno(e, errno, "%s", path);
    if (statfs(real, &fs) == 0 && (unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC)
        return err_set(e, ERR_INVALID,
                       "data directory %s is on overlayfs, which cannot hold container layers; "
                       "choose one on ext4, xfs, btrfs or tmpfs with --data-dir",
                       data_dir);
    struct image_store *s = mem_zalloc(sizeof *s);
    s->env = env;
    s->dir = mem_cstr(str_of(real));
    snprintf(path, sizeof path, "%.*s/layers", PATH_MAX - 16, real);
    s->layers_dir = mem_cstr(str_of(path));
    snprintf(path, sizeof path, "%.*s/tmp", PATH_MAX - 16, real);
    s->tmp_dir = mem_cstr(str_of(path));
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->unpack_lock, NULL);
    s->index_lock = s->work_lock = -1;
    int r = open_lock(s, "index.lock", &s->index_lock, e);
    if (r == 0)
        r = open_lock(s, "work.lock", &s->work_lock, e);
    if (r == 0)
        r = index_read(s, e);
    if (r < 0) {
        image_store_close(s);
        return r;
    }
    empty_tmp(s);
    sweep(s);
    *ret = s;
    return 0;
}

void image_store_close(struct image_store *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nimages; i++)
        image_free(s->images[i]);
    free(s->images);
    map_each (&s->sizes, slot)
        free(slot->value);
    map_done(&s->sizes);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->unpack_lock);
    if (s->index_lock >= 0)
        close(s->index_lock);
    if (s->work_lock >= 0)
        close(s->work_lock);
    free(s->dir);
    free(s->layers_dir);
    free(s->tmp_dir);
    free(s);
}

// --- reading --------------------------------------------------------------------------------

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.n > 0;
}

// Lock held. The place in the list, or -1 with e set.
static ptrdiff_t find(struct image_store *s, struct arena *a, struct str image, bool *ret_by_id,
                      struct str *ret_text, struct err *e)
{
    *ret_by_id = digest_valid(image) || (image.n == 64 && is_hex(image));
    if (*ret_by_id) {
        struct str hex = image.n == 64 ? image : str_from(image, 7);
        for (size_t i = 0; i < s->nimages; i++)
            if (str_eq(str_from(s->images[i]->id, 7), hex))
                return (ptrdiff_t)i;
        return err_set(e, ERR_NOT_FOUND, "image \"%.*s\" not found", STR_ARG(image));
    }
    struct image_name name;
    int r = image_name_parse(a, image, &name, e);
    if (r < 0)
        return r;
    *ret_text = image_name_text(a, &name);
    for (size_t i = 0; i < s->nimages; i++) {
        const struct image *m = s->images[i];
        if (contains(m->names, m->nnames, *ret_text) ||
            contains(m->digests, m->ndigests, *ret_text))
            return (ptrdiff_t)i;
    }
    return err_set(e, ERR_NOT_FOUND, "image \"%.*s\" not found", STR_ARG(*ret_text));
}

int image_store_status(struct image_store *s, struct arena *a, struct str image,
                       struct image_info *ret, struct err *e)
{
    bool by_id;
    struct str text;
    pthread_mutex_lock(&s->lock);
    ptrdiff_t i = index_read(s, e);
    if (i == 0)
        i = find(s, a, image, &by_id, &text, e);
    if (i >= 0)
        describe(a, s->images[i], ret);
    pthread_mutex_unlock(&s->lock);
    return i < 0 ? (int)i : 0;
}

int image_store_list(struct image_store *s, struct arena *a, struct image_info **ret, size_t *ret_n,
                     struct err *e)
{
    pthread_mutex_lock(&s->lock);
    int r = index_read(s, e);
    if (r == 0) {
        *ret = arena_array(a, struct image_info, s->nimages + 1);
        *ret_n = s->nimages;
        for (size_t i = 0; i < s->nimages; i++)
            describe(a, s->images[i], &(*ret)[i]);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

int image_store_details(struct image_store *s, struct arena *a, struct str image,
                        struct image_details *ret, struct err *e)
{
    struct image_details d = {.layers_dir = s->layers_dir};
    char path[PATH_MAX];
    bool by_id;
    struct str text;

    pthread_mutex_lock(&s->lock);
    ptrdiff_t i = index_read(s, e);
    if (i == 0)
        i = find(s, a, image, &by_id, &text, e);
    if (i >= 0) {
        const struct image *m = s->images[i];
        d.id = arena_str(a, m->id);
        d.name = m->nnames ? arena_str(a, m->names[0]) : d.id;
        d.layers = strings_copy(a, m->layers, m->nlayers);
        d.nlayers = m->nlayers;
    }
    pthread_mutex_unlock(&s->lock);
    if (i < 0)
        return (int)i;
    snprintf(path, sizeof path, "%s/blobs/sha256/%.*s", s->dir, STR_ARG(str_from(d.id, 7)));
    int r = file_read_all(a, path, IMAGE_DOCUMENT_MAX, &text, e);
    if (r == 0)
        r = image_config_parse(a, text, &d.config, e);
    if (r == 0)
        *ret = d;
    return r;
}

// --- adding ---------------------------------------------------------------------------------

static int blob_write(struct image_store *s, struct str bytes, char ret_hex[65], struct err *e)
{
    char path[PATH_MAX];
    digest_sha256(bytes, ret_hex);
    snprintf(path, sizeof path, "%s/blobs/sha256/%s", s->dir, ret_hex);
    if (access(path, F_OK) == 0)
        return 0;
    return file_write_all(path, bytes, 0600, e);
}

// The name of the layer with this diff id on top of the chain; *chain becomes the new chain id.
static struct str chain_next(struct arena *a, struct str *chain, struct str diff_id)
{
    if (!chain->n) {
        *chain = diff_id;
    } else {
        char hex[65];
        digest_sha256(arena_printf(a, "%.*s %.*s", STR_ARG(*chain), STR_ARG(diff_id)), hex);
        *chain = arena_printf(a, "sha256:%s", hex);
    }
    return str_sub(*chain, 7, LAYER_NAME);
}

static int mismatch(struct err *e, const char *what, struct str want, const char *got)
{
    return err_set(e, ERR_BAD_REQUEST,
                   "failed to extract layer: %s has digest sha256:%s, expected %.*s", what, got,
                   STR_ARG(want));
}

// unpack_lock held. names: lowest first, names[i] is to be made. packed is used up; expected: its
// digest.
static int layer_make(struct image_store *s, struct arena *a, struct byte_source *packed,
                      struct str expected, struct str diff_id, const struct str *names, size_t i,
                      uint64_t *ret_bytes, struct err *e)
{
    struct byte_source *plain = NULL, *sum;
    char got[65];

    struct byte_source *packed_sum = source_sha256(packed);
    int r = source_decompress(packed_sum, LAYER_BYTES_MAX, &plain, e);
    if (r < 0)
        return r;
    sum = source_sha256(plain);

    pthread_mutex_lock(&s->lock);
    unsigned serial = ++s->serial;
    pthread_mutex_unlock(&s->lock);
    const char **parents = arena_array(a, const char *, i ? i : 1);
    for (size_t k = 0; k < i; k++)
        parents[k] = arena_cstr(a, names[i - 1 - k]);
    struct unpack u = {
        .layers_dir = s->layers_dir,
        .parents = parents,
        .nparents = i,
        .directory = arena_cstr(a, arena_printf(a, "../tmp/%d-%u", (int)getpid(), serial)),
        .work = arena_cstr(a, arena_printf(a, "../tmp/%d-%u.work", (int)getpid(), serial)),
        .max_bytes = LAYER_BYTES_MAX,
        .max_entries = LAYER_ENTRIES_MAX,
    };
    int layers = open(s->layers_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layers < 0 || mkdirat(layers, u.directory, 0755) < 0 || mkdirat(layers, u.work, 0700) < 0)
        r = err_errno(e, errno, "failed to extract layer: %s", s->layers_dir);
    if (r == 0 && (r = room_check(layers, ROOM_STEP, e)) < 0)
        err_wrap(e, e, "failed to extract layer");
    if (r == 0)
        r = unpack_layer(&u, sum, ret_bytes, e);
    if (r == 0)
        r = source_digest(sum, got, e);
    if (r == 0 && !str_eqc(str_from(diff_id, 7), got))
        r = mismatch(e, "its content", diff_id, got);
    if (r == 0 && expected.n) {
        r = source_digest(packed_sum, got, e);
        if (r == 0 && !str_eqc(str_from(expected, 7), got))
            r = mismatch(e, "its archive", expected, got);
    }
    source_done(sum);
    // There already: another process has unpacked the same layer, which is as good.
    if (r == 0 && renameat(layers, u.directory, layers, arena_cstr(a, names[i])) < 0 &&
        errno != ENOTEMPTY && errno != EEXIST)
        r = err_errno(e, errno, "failed to extract layer");
    if (layers >= 0) {
        tree_remove(layers, u.directory);
        tree_remove(layers, u.work);
        close(layers);
    }
    return r;
}

static bool layer_exists(const struct image_store *s, struct str layer)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%.*s", s->layers_dir, STR_ARG(layer));
    return access(path, F_OK) == 0;
}

// Known, and not removed by another process meanwhile.
static bool layer_there(struct image_store *s, struct str name)
{
    pthread_mutex_lock(&s->lock);
    // Another process may have removed it.
    bool there = map_has(&s->sizes, name) && layer_exists(s, name);
    pthread_mutex_unlock(&s->lock);
    return there;
}

// The layer is fetched without a lock (it may come slowly) and unpacked with one, if nobody else
// has done so meanwhile.
static int layer_need(struct image_store *s, struct arena *a, const struct image_assembly *x,
                      struct str diff_id, const struct str *names, size_t i, struct err *e)
{
    struct byte_source *packed;
    struct str expected = STR_NULL;

    if (layer_there(s, names[i]))
        return 0;
    int r = x->layer_open(x->ctx, i, &packed, &expected, e);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->unpack_lock);
    if (layer_there(s, names[i])) {
        source_done(packed);
    } else {
        uint64_t *bytes = mem_zalloc(sizeof *bytes);
        r = layer_make(s, a, packed, expected, diff_id, names, i, bytes, e);
        pthread_mutex_lock(&s->lock);
        if (r == 0)
            bytes = map_set(&s->sizes, names[i], bytes);
        pthread_mutex_unlock(&s->lock);
        free(bytes);
    }
    pthread_mutex_unlock(&s->unpack_lock);
    return r;
}

// Lock held. The image takes the names from whoever had them.
static void names_take(struct image_store *s, struct str id, const struct str *names, size_t n)
{
    for (size_t i = 0; i < s->nimages; i++) {
        struct image *m = s->images[i];
        size_t kept = 0;
        if (str_eq(m->id, id))
            continue;
        struct str *rest = mem_alloc(sizeof *rest * (m->nnames + 1));
        for (size_t k = 0; k < m->nnames; k++)
            if (!contains(names, n, m->names[k]))
                rest[kept++] = m->names[k];
        if (kept != m->nnames) {
            s->images[i] = image_make(m->id, rest, kept, m->digests, m->ndigests, m->layers,
                                      m->nlayers, m->size, m->uid, m->username);
            image_free(m);
        }
        free(rest);
    }
}

static const struct str *strings_union(struct arena *a, const struct str *x, size_t nx,
                                       const struct str *y, size_t ny, size_t *ret_n)
{
    struct str *all = arena_array(a, struct str, nx + ny + 1);
    size_t n = 0;
    for (size_t i = 0; i < nx; i++)
        all[n++] = x[i];
    for (size_t i = 0; i < ny; i++)
        if (!contains(all, n, y[i]))
            all[n++] = y[i];
    *ret_n = n;
    return all;
}

// Lock held, the list changed, and the change could not be written: what is on the disk is what
// there is. Where even that cannot be read the next look at the list tries again.
static void index_reload(struct image_store *s)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/index.json", s->dir);
    s->read.st_ino = 0;
    if (access(path, F_OK) < 0 && errno == ENOENT) // it was the first image
        index_take(s, NULL, NULL);
    else
        index_read(s, NULL);
}

// Lock held. The entry is replaced or appended and the index written.
static int publish(struct image_store *s, struct arena *a, const struct image_assembly *x,
                   struct str id, const struct str *layers, size_t nlayers,
                   const struct image_config *config, struct image_info *ret, struct err *e)
{
    uint64_t size = x->config.n + x->manifest.n;
    for (size_t i = 0; i < nlayers; i++) {
        uint64_t *bytes = map_get(&s->sizes, layers[i]);
        size += bytes ? *bytes : 0;
    }
    struct str user = config->user, name = str_cut(&user, ':');
    uint64_t uid;
    bool numeric = str_to_u64(name, &uid) && uid < UINT32_MAX;

    struct image *old = NULL;
    size_t at;
    for (at = 0; at < s->nimages; at++)
        if (str_eq(s->images[at]->id, id)) {
            old = s->images[at];
            break;
        }
    size_t nn, nd;
    const struct str *names =
        strings_union(a, old ? old->names : NULL, old ? old->nnames : 0, x->names, x->nnames, &nn);
    const struct str *digests = strings_union(a, old ? old->digests : NULL, old ? old->ndigests : 0,
                                              &x->digest_name, x->digest_name.n ? 1 : 0, &nd);
    struct image *m = image_make(id, names, nn, digests, nd, layers, nlayers, (int64_t)size,
                                 numeric ? (int64_t)uid : -1, numeric ? STR_NULL : name);
    if (old) {
        image_free(old);
        s->images[at] = m;
    } else {
        s->images = mem_realloc(s->images, sizeof *s->images * (s->nimages + 1));
        s->images[s->nimages++] = m;
    }
    names_take(s, id, x->names, x->nnames);
    int r = index_write(s, e);
    if (r < 0) {
        index_reload(s);
        return r;
    }
    describe(a, m, ret);
    return 0;
}

int image_store_assemble(struct image_store *s, struct arena *a, const struct image_assembly *x,
                         struct image_info *ret, struct err *e)
{
    struct image_config config;
    char hex[65];

    int r = image_config_parse(a, x->config, &config, e);
    if (r < 0)
        return r;
    size_t n = config.ndiff_ids;
    if (n != x->nlayers)
        return err_set(e, ERR_BAD_REQUEST,
                       "the image's configuration names %zu layers, its manifest %zu", n,
                       x->nlayers);
    struct str *lowest_first = arena_array(a, struct str, n + 1);
    struct str *topmost_first = arena_array(a, struct str, n + 1);
    struct str chain = STR_NULL;
    for (size_t i = 0; i < n; i++)
        lowest_first[i] = topmost_first[n - 1 - i] =
            arena_str(a, chain_next(a, &chain, config.diff_ids[i]));

    image_store_hold(s);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = layer_need(s, a, x, config.diff_ids[i], lowest_first, i, e);
    if (r == 0 && x->manifest.n)
        r = blob_write(s, x->manifest, hex, e);
    if (r == 0)
        r = blob_write(s, x->config, hex, e);
    if (r == 0) {
        int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || syncfs(fd) < 0)
            r = err_errno(e, errno, "cannot write %s to disk", s->dir);
        if (fd >= 0)
            close(fd);
    }
    pthread_mutex_lock(&s->lock);
    if (r == 0 && (r = index_change(s, e)) == 0) {
        r = publish(s, a, x, arena_printf(a, "sha256:%s", hex), topmost_first, n, &config, ret, e);
        index_unlock(s);
    }
    release_locked(s);
    if (r < 0)
        sweep(s); // nobody else is at work: what was unpacked for this image goes
    pthread_mutex_unlock(&s->lock);
    return r;
}

// --- removing -------------------------------------------------------------------------------

int image_store_remove(struct image_store *s, struct str image,
                       struct str (*used)(void *ctx, struct str id), void *ctx, struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct err why = ERR_INIT;
    bool by_id;
    struct str text = STR_NULL;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    if ((r = index_change(s, e)) < 0) {
        pthread_mutex_unlock(&s->lock);
        return r;
    }
    ptrdiff_t i = find(s, &a, image, &by_id, &text, &why);
    if (i < 0) {
        bool absent = err_is(&why, ERR_NOT_FOUND);
        r = absent ? 0 : err_code(&why); // removing is idempotent
        if (!absent)
            err_move(e, &why);
        err_done(&why);
        index_unlock(s);
        pthread_mutex_unlock(&s->lock);
        return r;
    }
    struct image *m = s->images[i], *rest = NULL;
    if (!by_id && m->nnames + m->ndigests > 1) {
        struct str *names = arena_array(&a, struct str, m->nnames + 1);
        struct str *digests = arena_array(&a, struct str, m->ndigests + 1);
        size_t nn = 0, nd = 0;
        for (size_t k = 0; k < m->nnames; k++)
            if (!str_eq(m->names[k], text))
                names[nn++] = m->names[k];
        for (size_t k = 0; k < m->ndigests; k++)
            if (!str_eq(m->digests[k], text))
                digests[nd++] = m->digests[k];
        if (nn) // a digest alone does not keep an image whose last tag was taken away
            rest = image_make(m->id, names, nn, digests, nd, m->layers, m->nlayers, m->size, m->uid,
                              m->username);
    }
    struct str user = rest || !used ? STR_NULL : used(ctx, m->id);
    if (user.n) {
        r = err_set(e, ERR_CONFLICT, "image \"%.*s\" is in use by container \"%.*s\"",
                    STR_ARG(image), STR_ARG(user));
        index_unlock(s);
        pthread_mutex_unlock(&s->lock);
        return r;
    }
    s->images[i] = rest ? rest : s->images[--s->nimages];
    image_free(m);
    r = index_write(s, e);
    if (r < 0)
        index_reload(s);
    else if (!rest)
        sweep(s);
    index_unlock(s);
    pthread_mutex_unlock(&s->lock);
    return r;
}
