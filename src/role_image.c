// `coracle image …`: the images of this machine. Works on the image store's files directly, also
// while a server or an agent runs on them (the store locks against other processes), so images can
// be there before the first start.
#include "base/env.h"
#include "base/guard.h"
#include "base/path.h"
#include "base/time.h"
#include "cli/flags.h"
#include "content/image_store.h"
#include "roles.h"
#include "runtime/image_pull.h"
#include <dirent.h>

static const char *state_dir = "/run/coracle";

struct image_command {
    const char *name;
    int min_args;
    int (*run)(struct image_store *s, struct arena *a, int nargs, char **args, struct err *e);
};

static void print_size(int64_t bytes)
{
    if (bytes >= 10 * 1000 * 1000)
        printf("%lldMB", (long long)(bytes / 1000000));
    else
        printf("%lldkB", (long long)((bytes + 999) / 1000));
}

static int run_import(struct image_store *s, struct arena *a, int nargs, char **args, struct err *e)
{
    for (int i = 0; i < nargs; i++) {
        struct image_info *images;
        size_t n;
        int r = image_store_import(s, a, args[i], &images, &n, e);
        if (r < 0)
            return err_wrap(e, e, "importing %s", args[i]);
        for (size_t j = 0; j < n; j++) {
            struct str name = images[j].ntags ? images[j].tags[0] : images[j].id;
            printf("imported %.*s (", STR_ARG(name));
            print_size(images[j].size);
            printf(")\n");
        }
    }
    return 0;
}

static int run_list(struct image_store *s, struct arena *a, int nargs, char **args, struct err *e)
{
    (void)nargs, (void)args;
    struct image_info *images;
    size_t n;
    int r = image_store_list(s, a, &images, &n, e);
    if (r < 0)
        return r;
    printf("%-60s %-14s %s\n", "IMAGE", "ID", "SIZE");
    for (size_t i = 0; i < n; i++) {
        struct str id = images[i].id;
        if (str_starts(id, STR("sha256:")))
            id = str_sub(id, 7, 12);
        for (size_t j = 0; j == 0 || j < images[i].ntags; j++) {
            struct str name = images[i].ntags ? images[i].tags[j] : STR("<none>");
            printf("%-60.*s %-14.*s ", STR_ARG(name), STR_ARG(id));
            print_size(images[i].size);
            printf("\n");
        }
    }
    return 0;
}

static int run_pull(struct image_store *s, struct arena *a, int nargs, char **args, struct err *e)
{
    struct image_puller *puller = image_puller_new(s);
    int r = 0;
    for (int i = 0; r == 0 && i < nargs; i++) {
        struct image_info image;
        r = image_pull(puller, a, str_of(args[i]), NULL, &image, e);
        if (r < 0)
            break;
        printf("pulled %s (", args[i]);
        print_size(image.size);
        printf(")\n");
    }
    image_puller_free(puller);
    return r;
}

// The container whose record names the image, by the records in the state directory: they are
// there as long as the container is, whether a server runs or not.
static struct str used_by(void *ctx, struct str id)
{
    struct arena *a = ctx;
    const char *dir = path_join(a, state_dir, "containers");
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

static int run_remove(struct image_store *s, struct arena *a, int nargs, char **args, struct err *e)
{
    for (int i = 0; i < nargs; i++) {
        int r = image_store_remove(s, str_of(args[i]), used_by, a, e);
        if (r < 0)
            return r;
        printf("removed %s\n", args[i]);
    }
    return 0;
}

static const struct image_command commands[] = {
    {"import", 1, run_import},
    {"list", 0, run_list},
    {"pull", 1, run_pull},
    {"remove", 1, run_remove},
};

int role_image(int argc, char **argv)
{
    const char *data_dir = "/var/lib/coracle";
    const struct flag flags[] = {
        {"data-dir", 0, FLAG_STRING, &data_dir, "DIR",
         "the server's data directory (default /var/lib/coracle)"},
        {"state-dir", 0, FLAG_STRING, &state_dir, "DIR",
         "the server's state directory (default /run/coracle)"},
    };
    const struct usage usage = {
        .synopsis = "coracle image import FILE… | list | pull NAME… | remove NAME… [flags]",
        .text = "The container images of this machine. FILE is a docker-archive (docker save) or "
                "an oci-archive,\n"
                "plain or compressed.",
        .examples = "  docker save shop:1 | gzip >shop.tar.gz; coracle image import shop.tar.gz\n"
                    "  coracle image list\n"
                    "  coracle image remove localhost/hello:1",
        .flags = flags,
        .nflags = ARRAY_LEN(flags)};
    int nargs, parsed = flags_parse(&usage, argc, argv, &nargs);
    if (parsed != 0)
        return parsed > 0 ? 0 : 2;
    const struct image_command *command = NULL;
    for (size_t i = 0; nargs > 0 && i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            command = &commands[i];
    if (!command || nargs - 1 < command->min_args) {
        fprintf(stderr, "usage: %s\n", usage.synopsis);
        return 2;
    }
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct image_store *store = NULL;
    int r = image_store_open(env_system(), data_dir, &store, &e);
    if (r == 0)
        r = command->run(store, &a, nargs - 1, argv + 2, &e);
    image_store_close(store);
    if (r < 0)
        fprintf(stderr, "coracle image %s: %s\n", command->name, e.message);
    return r < 0 ? 1 : 0;
}
