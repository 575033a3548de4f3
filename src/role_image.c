// `coracle image …`: the images of this machine. Works on the image store's files directly, also
// while a server or an agent runs on them (the store locks against other processes), so images can
// be there before the first start.
#include "base/env.h"
#include "base/guard.h"
#include "base/path.h"
#include "cli/context.h"
#include "cli/flags.h"
#include "cli/table.h"
#include "content/image_store.h"
#include "roles.h"
#include "runtime/image_pull.h"
#include <dirent.h>

struct images {
    struct cli *c;
    struct image_store *store;
    const char *data_dir, *state_dir;
    int nargs;
    char **args;
};

static struct str size_text(struct arena *a, int64_t bytes)
{
    if (bytes >= 10 * 1000 * 1000)
        return arena_printf(a, "%lldMB", (long long)(bytes / 1000000));
    return arena_printf(a, "%lldkB", (long long)((bytes + 999) / 1000));
}

static int import_archives(struct images *m, struct err *e)
{
    struct arena *a = m->c->arena;
    for (int i = 0; i < m->nargs; i++) {
        struct image_info *images;
        size_t n;
        int r = image_store_import(m->store, a, m->args[i], &images, &n, e);
        if (r < 0)
            return err_wrap(e, e, "importing %s", m->args[i]);
        for (size_t j = 0; j < n; j++) {
            struct str name = images[j].ntags ? images[j].tags[0] : images[j].id;
            fprintf(m->c->out, "imported %.*s (%.*s)\n", STR_ARG(name),
                    STR_ARG(size_text(a, images[j].size)));
        }
    }
    return 0;
}

static int list(struct images *m, struct err *e)
{
    static const char *const headers[] = {"IMAGE", "ID", "SIZE"};
    struct arena *a = m->c->arena;
    struct image_info *images;
    size_t n;
    int r = image_store_list(m->store, a, &images, &n, e);
    if (r < 0)
        return r;
    struct table t;
    table_init(&t, a, ARRAY_LEN(headers));
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        table_cell(&t, str_of(headers[i]));
    for (size_t i = 0; i < n; i++) {
        struct str id = images[i].id;
        if (str_starts(id, STR("sha256:")))
            id = str_sub(id, 7, 12);
        for (size_t j = 0; j == 0 || j < images[i].ntags; j++) {
            table_cell(&t, images[i].ntags ? images[i].tags[j] : STR("<none>"));
            table_cell(&t, id);
            table_cell(&t, size_text(a, images[i].size));
        }
    }
    _cleanup_buf_ struct buf b = BUF_INIT;
    table_write(&b, &t);
    fwrite(b.p, 1, b.n, m->c->out);
    return 0;
}

static int pull(struct images *m, struct err *e)
{
    struct image_puller *puller = image_puller_new(m->store);
    int r = 0;
    for (int i = 0; r == 0 && i < m->nargs; i++) {
        struct image_info image;
        r = image_pull(puller, m->c->arena, str_of(m->args[i]), NULL, &image, e);
        if (r == 0)
            fprintf(m->c->out, "pulled %s (%.*s)\n", m->args[i],
                    STR_ARG(size_text(m->c->arena, image.size)));
    }
    image_puller_free(puller);
    return r;
}

// The container whose record names the image, by the records in the state directory: they are
// there as long as the container is, whether a server runs or not.
static struct str used_by(void *ctx, struct str id)
{
    struct images *m = ctx;
    struct arena *a = m->c->arena;
    const char *dir = path_join(a, m->state_dir, "containers");
    _cleanup_dir_ DIR *d = opendir(dir);
    struct str user = STR_NULL, record;
    for (struct dirent *f; d && !user.n && (f = readdir(d));) {
        const char *path = path_printf(a, "%s/%s/record.json", dir, f->d_name);
        if (f->d_name[0] != '.' && file_read_all(a, path, 1 << 20, &record, NULL) == 0 &&
            str_find(record, id) >= 0)
            user = arena_str(a, str_of(f->d_name));
    }
    return user;
}

static int remove_images(struct images *m, struct err *e)
{
    for (int i = 0; i < m->nargs; i++) {
        int r = image_store_remove(m->store, str_of(m->args[i]), used_by, m, e);
        if (r < 0)
            return r;
        fprintf(m->c->out, "removed %s\n", m->args[i]);
    }
    return 0;
}

// What the verbs share: flags, the store, the report of a failure.
static int with_store(struct cli *c, struct usage usage, bool needs_args, int argc, char **argv,
                      int (*run)(struct images *m, struct err *e))
{
    struct images m = {.c = c, .data_dir = "/var/lib/coracle", .state_dir = "/run/coracle"};
    const struct flag flags[] = {
        {"data-dir", 0, FLAG_STRING, &m.data_dir, "DIR",
         "the server's data directory (default /var/lib/coracle)"},
        {"state-dir", 0, FLAG_STRING, &m.state_dir, "DIR",
         "the server's state directory (default /run/coracle)"},
    };
    usage.flags = flags;
    usage.nflags = ARRAY_LEN(flags);
    int parsed = flags_parse(&usage, argc, argv, &m.nargs);
    if (parsed != 0)
        return parsed > 0 ? CLI_OK : CLI_USAGE;
    if (needs_args != (m.nargs > 0)) {
        fprintf(c->err, "usage: %s\n", usage.synopsis);
        return CLI_USAGE;
    }
    m.args = argv + 1;
    _cleanup_err_ struct err e = ERR_INIT;
    int r = image_store_open(env_system(), m.data_dir, &m.store, &e);
    if (r == 0)
        r = run(&m, &e);
    image_store_close(m.store);
    if (r < 0)
        fprintf(c->err, "coracle image %s: %s\n", argv[0], e.message);
    return r < 0 ? CLI_FAILED : CLI_OK;
}

static int verb_import(struct cli *c, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "coracle image import FILE… [flags]",
        .text = "Takes images in. FILE is a docker-archive (docker save) or an oci-archive, plain "
                "or compressed.",
        .examples = "  docker save shop:1 | gzip >shop.tar.gz; coracle image import shop.tar.gz"};
    return with_store(c, usage, true, argc, argv, import_archives);
}

static int verb_list(struct cli *c, int argc, char **argv)
{
    const struct usage usage = {.synopsis = "coracle image list [flags]",
                                .text = "Lists the images of this machine."};
    return with_store(c, usage, false, argc, argv, list);
}

static int verb_pull(struct cli *c, int argc, char **argv)
{
    const struct usage usage = {.synopsis = "coracle image pull NAME… [flags]",
                                .text = "Fetches images from their registry.",
                                .examples = "  coracle image pull localhost:5000/shop:1"};
    return with_store(c, usage, true, argc, argv, pull);
}

static int verb_remove(struct cli *c, int argc, char **argv)
{
    const struct usage usage = {.synopsis = "coracle image remove NAME… [flags]",
                                .text = "Removes images, but none that a container uses.",
                                .examples = "  coracle image remove localhost/hello:1"};
    return with_store(c, usage, true, argc, argv, remove_images);
}

const struct verb role_image_verbs[] = {
    {.name = "import", .summary = "take images in from archives", .run = verb_import},
    {.name = "list", .summary = "list the images of this machine", .run = verb_list},
    {.name = "pull", .summary = "fetch images from their registry", .run = verb_pull},
    {.name = "remove", .summary = "remove images", .run = verb_remove},
    {0},
};
