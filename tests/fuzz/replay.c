// What a fuzz harness is linked with where libFuzzer is not: feeds each file of the corpus
// directories named on the command line to LLVMFuzzerTestOneInput, so that every input that was
// ever interesting stays a test. A name that is not there, a file that cannot be read and a corpus
// without a file are failures: a harness that was fed nothing has tested nothing. Ends with the
// count, and always feeds the empty input too.
#include "base/arena.h"
#include "base/env.h"
#include "base/err.h"
#include <stdio.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct replay {
    const char *path;
    size_t count;
    bool failed;
};

static void feed(struct replay *r, const char *path)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_err_ struct err e = ERR_INIT;
    struct str data;
    if (file_read_all(&a, path, (size_t)64 << 20, &data, &e) < 0) {
        fprintf(stderr, "%s\n", e.message);
        r->failed = true;
        return;
    }
    // An exact heap copy: reading one byte past the input is then a report, not luck.
    uint8_t *copy = mem_alloc(data.n);
    if (data.n)
        memcpy(copy, data.p, data.n);
    LLVMFuzzerTestOneInput(copy, data.n);
    free(copy);
    r->count++;
}

static void each(void *ctx, const char *name)
{
    struct replay *r = ctx;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct stat st;
    const char *path = arena_printf(&a, "%s/%s", r->path, name).p;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        feed(r, path);
}

int main(int argc, char **argv)
{
    struct replay r = {0};
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        size_t before = r.count;
        r.path = argv[i];
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            env_system()->ops->list_dir(env_system(), argv[i], each, &r);
        else
            feed(&r, argv[i]); // says what is wrong with a name that is not there
        if (r.count == before) {
            fprintf(stderr, "%s: nothing to replay\n", argv[i]);
            r.failed = true;
        }
    }
    printf("replayed %zu inputs\n", r.count);
    return r.failed;
}
