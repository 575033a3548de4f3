// tests/golden/kustomize/*.txt: kustomizations and what the released kustomize makes of them. A
// case is a file of sections, "-- path --" and the content of that file; "-- expected --" is the
// output, "-- error --" a text that the error contains. They are read through a kustomize_files of
// their own, so nothing is on a disk. scripts/compare-kustomize writes the expectations anew with
// the original.
#include "kustomize/kustomize.h"
#include "tree.h"
#include "unit.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static struct str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    static char buffer[1 << 20];
    size_t n = fread(buffer, 1, sizeof buffer, f);
    assert_true(n < sizeof buffer);
    fclose(f);
    return arena_str(a, str_n(buffer, n));
}

static bool run_case(const char *name)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct tree *t = arena_new(&a, struct tree);
    struct str path = arena_printf(&a, SOURCE_DIR "/tests/golden/kustomize/%s", name);
    tree_parse(&a, read_file(&a, arena_cstr(&a, path)), t);
    struct kustomize_files files = {t, tree_kind, tree_read, tree_real};
    struct kustomize_options options = {.files = &files};
    struct value *objects;
    // "top/" is built where there is one, else the whole.
    struct str top = tree_kind(t, STR("/tree/top")) ? STR("/tree/top") : STR("/tree");
    int rc = kustomize_build(&a, &options, top, &objects, &e);
    if (t->error.p) {
        struct str want = str_trim(t->error);
        bool ok = rc < 0 && str_find(str_of(e.message), want) >= 0;
        if (!ok)
            print_message("%s: wanted an error with \"%.*s\", got \"%s\"\n", name, STR_ARG(want),
                          rc < 0 ? e.message : "success");
        return ok;
    }
    if (rc < 0) {
        print_message("%s: %s\n", name, e.message);
        return false;
    }
    kustomize_print(&out, objects);
    if (str_eq(buf_view(&out), t->expected))
        return true;
    print_message("%s: differs; we print:\n", name);
    fwrite(out.p, 1, out.n, stdout);
    return false;
}

static void golden(void **state)
{
    (void)state;
    DIR *d = opendir(SOURCE_DIR "/tests/golden/kustomize");
    assert_non_null(d);
    size_t n = 0, bad = 0;
    const char *only = getenv("KUSTOMIZE_CASE");
    for (struct dirent *entry; (entry = readdir(d));) {
        if (!str_ends(str_of(entry->d_name), STR(".txt")) ||
            (only && strcmp(only, entry->d_name) != 0))
            continue;
        n++;
        bad += !run_case(entry->d_name);
    }
    closedir(d);
    assert_true(n > 0);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
