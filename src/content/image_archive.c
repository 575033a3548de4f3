// Import of image archives as `docker save`, `ctr export`, skopeo and buildah write them.
//
//   docker-archive   manifest.json: [{Config, RepoTags, Layers}], and those files; also old links
//                    of one layer to another
//   oci-archive      an OCI image layout: index.json and blobs/sha256/<hex>
//
// The files come in any order (manifest.json usually last), so an archive is read twice: once for a
// table of contents, then each member by its place. A compressed archive is first unpacked to
// a temporary file without a name. Where both forms are in one archive, as newer docker save
// writes, the first is taken, because it has the names.
#include "base/map.h"
#include "content/digest.h"
#include "content/image_name.h"
#include "content/image_store.h"
#include "content/room.h"
#include "content/tar.h"
#include "object/json.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARCHIVE_BYTES_MAX   ((uint64_t)256 << 30)
#define ARCHIVE_MEMBERS_MAX 100000
#define ARCHIVE_IMAGES_MAX  1000

struct place {
    uint64_t at, size;
};

struct archive {
    struct arena *a;
    struct map members; // clean name -> struct place in the arena; for links the target's
    int fd;
};

static int read_member(struct archive *x, struct str name, size_t max, struct str *ret,
                       struct err *e)
{
    const struct place *p = map_get(&x->members, name);
    if (!p)
        return err_set(e, ERR_BAD_REQUEST, "the archive has no file %.*s", STR_ARG(name));
    if (p->size > max)
        return err_set(e, ERR_TOO_LARGE, "%.*s in the archive is too large", STR_ARG(name));
    char *text = arena_alloc(x->a, p->size + 1);
    struct byte_source *s = source_file(x->fd, p->at, p->size);
    size_t n = 0;
    int r = 0;
    while (n < p->size) {
        ssize_t got = s->read(s, text + n, p->size - n, e);
        if (got < 0) {
            r = (int)got;
            break;
        }
        n += (size_t)got;
    }
    source_done(s);
    if (r == 0)
        *ret = str_n(text, n);
    return r;
}

// A compressed archive's content in a file of its own; the fd passes to the caller.
static int expand(struct image_store *s, struct byte_source *from, int *ret_fd, struct err *e)
{
    int fd = image_store_temporary(s, e), r = 0;
    if (fd < 0)
        return err_code(e) ? err_code(e) : -500;
    char *bytes = mem_alloc(128 * 1024);
    uint64_t written = ROOM_STEP; // a look at the beginning
    for (;;) {
        if (written >= ROOM_STEP && (r = room_check(fd, ROOM_STEP, e)) < 0)
            break;
        written %= ROOM_STEP;
        ssize_t n = from->read(from, bytes, 128 * 1024, e);
        if (n <= 0) {
            r = (int)n;
            break;
        }
        written += (uint64_t)n;
        ssize_t put = 0;
        for (ssize_t at = 0; at < n && put >= 0; at += put) {
            put = write(fd, bytes + at, (size_t)(n - at));
            if (put < 0 && errno == EINTR)
                put = 0;
        }
        if (put < 0) {
            r = err_errno(e, errno, "cannot unpack the archive");
            break;
        }
    }
    free(bytes);
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}

static int contents(struct archive *x, uint64_t size, struct err *e)
{
    struct tar_reader t;
    struct tar_entry entry;
    int r;
    struct byte_source *s = source_file(x->fd, 0, size);
    unsigned members = 0;

    tar_init(&t, s);
    while ((r = tar_next(&t, &entry, e)) > 0) {
        struct str target = entry.link;
        if (++members > ARCHIVE_MEMBERS_MAX) {
            r = err_set(e, ERR_TOO_LARGE, "the archive has more than %d files",
                        ARCHIVE_MEMBERS_MAX);
            break;
        }
        struct place *p = NULL;
        if (entry.type == TAR_FILE) {
            p = arena_new(x->a, struct place);
            *p = (struct place){entry.content_at, entry.size};
        } else if (entry.type == TAR_SYMLINK || entry.type == TAR_HARDLINK) {
            while (str_starts(target, STR("../"))) // "../<id>/layer.tar": members are at the top
                target = str_from(target, 3);
            p = map_get(&x->members, target);
        }
        if (p)
            map_set(&x->members, entry.name, p);
    }
    tar_done(&t);
    source_done(s);
    return r;
}

// --- one image of the archive ---------------------------------------------------------------

struct layers {
    struct archive *x;
    const struct str *files;   // names of members
    const struct str *digests; // or NULL
};

static int layer_open(void *ctx, size_t i, struct byte_source **ret, struct str *ret_digest,
                      struct err *e)
{
    const struct layers *l = ctx;
    const struct place *p = map_get(&l->x->members, l->files[i]);
    if (!p)
        return err_set(e, ERR_BAD_REQUEST, "the archive has no file %.*s", STR_ARG(l->files[i]));
    *ret = source_file(l->x->fd, p->at, p->size);
    *ret_digest = l->digests ? l->digests[i] : STR_NULL;
    return 0;
}

static int import_docker(struct image_store *s, struct archive *x, const struct value *v,
                         struct image_info *ret, struct err *e)
{
    const struct value *layers = value_getc(v, "Layers"), *tags = value_getc(v, "RepoTags");
    struct str config_name = value_str_at(v, "Config"), config;
    size_t n = value_len(layers), nnames = 0;

    int r = read_member(x, config_name, IMAGE_DOCUMENT_MAX, &config, e);
    if (r < 0)
        return r;
    struct str *files = arena_array(x->a, struct str, n + 1);
    for (size_t i = 0; i < n; i++)
        files[i] = value_string(value_item(layers, i));
    struct str *names = arena_array(x->a, struct str, value_len(tags) + 1);
    value_each_item (tags, tag) {
        struct image_name name;
        r = image_name_parse(x->a, value_string(tag), &name, e);
        if (r < 0)
            return r;
        names[nnames++] = image_name_text(x->a, &name);
    }
    struct layers opened = {x, files, NULL};
    struct image_assembly assembly = {
        .config = config,
        .names = names,
        .nnames = nnames,
        .nlayers = n,
        .layer_open = layer_open,
        .ctx = &opened,
    };
    return image_store_assemble(s, x->a, &assembly, ret, e);
}

static struct str blob_name(struct arena *a, struct str digest)
{
    return arena_printf(a, "blobs/sha256/%.*s", STR_ARG(str_from(digest, 7)));
}

// A document of the layout, its digest checked.
static int read_blob(struct archive *x, struct str digest, struct str *ret, struct err *e)
{
    char hex[65];
    int r = read_member(x, blob_name(x->a, digest), IMAGE_DOCUMENT_MAX, ret, e);
    if (r < 0)
        return r;
    digest_sha256(*ret, hex);
    if (!str_eqc(str_from(digest, 7), hex))
        return err_set(e, ERR_BAD_REQUEST, "blob %.*s of the archive has digest sha256:%s",
                       STR_ARG(digest), hex);
    return 0;
}

static int import_oci(struct image_store *s, struct archive *x, const struct image_descriptor *d,
                      struct str named, unsigned depth, struct image_info *ret, struct err *e)
{
    struct image_manifest m;
    struct str document, config;

    int r = read_blob(x, d->digest, &document, e);
    if (r == 0)
        r = image_manifest_parse(x->a, document, &m, e);
    if (r < 0)
        return r;
    if (m.is_list) {
        const struct image_descriptor *mine =
            image_manifest_choose(&m, str_of(image_architecture()));
        if (!mine || depth > 4)
            return err_set(e, ERR_NOT_FOUND, "no match for platform linux/%s in the archive",
                           image_architecture());
        return import_oci(s, x, mine, named, depth + 1, ret, e);
    }
    r = read_blob(x, m.config.digest, &config, e);
    if (r < 0)
        return r;
    struct str *files = arena_array(x->a, struct str, m.nentries + 1);
    struct str *digests = arena_array(x->a, struct str, m.nentries + 1);
    for (size_t i = 0; i < m.nentries; i++) {
        files[i] = blob_name(x->a, m.entries[i].digest);
        digests[i] = m.entries[i].digest;
    }
    // A bare tag ("latest"), as skopeo writes it without a name, names nothing.
    struct str name_text = STR_NULL, digest_name = STR_NULL;
    struct image_name name;
    if (named.n && (str_chr(named, ':') >= 0 || str_chr(named, '/') >= 0)) {
        r = image_name_parse(x->a, named, &name, e);
        if (r < 0)
            return r;
        name_text = image_name_text(x->a, &name);
        digest_name = arena_printf(x->a, "%.*s@%.*s", STR_ARG(image_name_repository(x->a, &name)),
                                   STR_ARG(d->digest));
    }
    struct layers opened = {x, files, digests};
    struct image_assembly assembly = {
        .config = config,
        .manifest = document,
        .names = &name_text,
        .nnames = name_text.n ? 1 : 0,
        .digest_name = digest_name,
        .nlayers = m.nentries,
        .layer_open = layer_open,
        .ctx = &opened,
    };
    return image_store_assemble(s, x->a, &assembly, ret, e);
}

static int import_members(struct image_store *s, struct archive *x, struct image_info **ret,
                          size_t *ret_n, struct err *e)
{
    struct str text;
    struct value *v;
    int r;

    if (map_has(&x->members, STR("manifest.json"))) {
        r = read_member(x, STR("manifest.json"), IMAGE_DOCUMENT_MAX, &text, e);
        if (r == 0)
            r = json_parse(x->a, text, NULL, &v, e);
        if (r < 0)
            return r;
        size_t n = value_len(v);
        if (!value_is(v, VALUE_ARRAY) || !n || n > ARCHIVE_IMAGES_MAX)
            return err_set(e, ERR_BAD_REQUEST, "manifest.json of the archive lists no images");
        *ret = arena_array(x->a, struct image_info, n);
        for (size_t i = 0; i < n; i++) {
            r = import_docker(s, x, value_item(v, i), &(*ret)[i], e);
            if (r < 0)
                return r;
        }
        *ret_n = n;
        return 0;
    }
    if (!map_has(&x->members, STR("index.json")))
        return err_set(e, ERR_BAD_REQUEST,
                       "unrecognized image format: neither manifest.json (docker-archive) nor "
                       "index.json (oci-archive) is in it");
    struct image_manifest index;
    r = read_member(x, STR("index.json"), IMAGE_DOCUMENT_MAX, &text, e);
    if (r == 0)
        r = image_manifest_parse(x->a, text, &index, e);
    if (r < 0)
        return r;
    if (!index.is_list || !index.nentries)
        return err_set(e, ERR_BAD_REQUEST, "index.json of the archive lists no images");
    *ret = arena_array(x->a, struct image_info, index.nentries);
    *ret_n = 0;
    for (size_t i = 0; i < index.nentries; i++) {
        const struct image_descriptor *d = &index.entries[i];
        if (d->architecture.n && !str_eqc(d->architecture, image_architecture()))
            continue;
        r = import_oci(s, x, d, d->name, 0, &(*ret)[*ret_n], e);
        if (r < 0)
            return r;
        ++*ret_n;
    }
    if (!*ret_n)
        return err_set(e, ERR_NOT_FOUND, "no match for platform linux/%s in the archive",
                       image_architecture());
    return 0;
}

int image_store_import(struct image_store *s, struct arena *a, const char *path,
                       struct image_info **ret, size_t *ret_n, struct err *e)
{
    struct err why = ERR_INIT;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "failed to import image archive %s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, ERR_BAD_REQUEST, "failed to import image archive %s: not a file", path);
    }
    uint8_t head[4] = {0};
    bool packed = pread(fd, head, 4, 0) == 4 &&
                  ((head[0] == 0x1f && head[1] == 0x8b) || !memcmp(head, "\x28\xb5\x2f\xfd", 4));
    uint64_t size = (uint64_t)st.st_size;
    int r = 0;
    if (packed) {
        struct byte_source *plain = NULL;
        int expanded = -1;
        r = source_decompress(source_file(fd, 0, size), ARCHIVE_BYTES_MAX, &plain, &why);
        if (r == 0)
            r = expand(s, plain, &expanded, &why);
        source_done(plain);
        if (r == 0) {
            close(fd);
            fd = expanded;
            size = (uint64_t)lseek(fd, 0, SEEK_END);
        }
    }
    struct archive x = {.a = a, .fd = fd};
    if (r == 0)
        r = contents(&x, size, &why);
    if (r == 0) {
        // So that layers of one image are not swept because the next one fails.
        image_store_hold(s);
        r = import_members(s, &x, ret, ret_n, &why);
        image_store_release(s);
    }
    map_done(&x.members);
    close(fd);
    return r < 0 ? err_wrap(e, &why, "failed to import image archive %s", path) : 0;
}
