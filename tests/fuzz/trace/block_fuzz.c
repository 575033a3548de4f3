// The block reader on any bytes: a file that a block might be, on a disk in memory. The fuzzer
// cannot guess the trailer's checksum, so it is put right where the input asks for it. Opening ends
// with a block or an error; every question to a block ends, and reads nothing that is not there.
#include "log/crc32c.h"
#include "log/frame.h"
#include "trace/span_block.h"

enum { TRAILER = 160 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_name(void *ctx, struct str service, struct str name, bool remote)
{
    *(size_t *)ctx += service.n + name.n + remote;
}

static void ask(struct span_block *b)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT;
    struct span_block_cache cache = {0};
    struct span_candidate *list;
    size_t n, sum = 0;
    const uint32_t term = span_term(SPAN_TERM_SERVICE, STR("a"), STR_NULL);
    span_block_names(b, on_name, &sum, NULL);
    span_block_search(b, &a, &term, &list, &n, NULL);
    if (span_block_search(b, &a, NULL, &list, &n, NULL) == 0 && n)
        span_block_find(b, &cache, list[n - 1].trace_lo, &out);
    span_block_find(b, &cache, 1, &out);
    buf_done(&cache.chunk);
}

// A whole block, of a few traces.
static void make_block(struct env *env)
{
    _cleanup_buf_ struct buf b = BUF_INIT;
    struct span_tag tag = {STR("k"), STR("v")};
    for (uint64_t i = 1; i < 40; i++) {
        struct span s = {.trace_lo = i % 7 + 1, .id = i, .timestamp = i, .name = STR("n")};
        s.local.service = i & 1 ? STR("a") : STR("b");
        s.tags = &tag;
        s.ntags = i & 1;
        span_encode(&b, &s);
    }
    struct str frame = buf_view(&b);
    const struct span_block_source source = {&frame, 1, 1, 1};
    BUG_ON(span_block_write(env, "/d", "b", &source, NULL) < 0);
}

// Bytes changed in it: three bytes of input each, a place and what is added there.
static void patch(char *copy, size_t n, const uint8_t *data, size_t size)
{
    for (; size >= 3; data += 3, size -= 3)
        copy[(data[0] | data[1] << 8) % n] ^= (char)data[2];
}

static void file_write(struct env *env, const char *copy, size_t n)
{
    struct env_file *f;
    BUG_ON(env->ops->file_open(env, "/d/b", ENV_WRITE | ENV_CREATE, 0600, &f) < 0);
    BUG_ON(env->ops->file_pwrite(f, copy, n, 0) < 0);
    env->ops->file_close(f);
}

static size_t file_read(struct env *env, char **ret)
{
    struct env_file *f;
    BUG_ON(env->ops->file_open(env, "/d/b", ENV_READ, 0, &f) < 0);
    size_t n = (size_t)env->ops->file_size(f);
    *ret = mem_alloc(n);
    BUG_ON(env->ops->file_pread(f, *ret, n, 0) != (ssize_t)n);
    env->ops->file_close(f);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct env *env = env_sim_new(1, 0);
    struct span_block *b;
    char *copy;
    size_t n = size - 1;
    BUG_ON(env->ops->mkdir(env, "/d", 0700) < 0);
    if (data[0] & 2) {
        make_block(env);
        n = file_read(env, &copy);
        patch(copy, n, data + 1, size - 1);
    } else {
        copy = mem_alloc(n + 1);
        if (n)
            memcpy(copy, data + 1, n);
    }
    if ((data[0] & 1) && n >= TRAILER) {
        char *t = copy + n - TRAILER;
        memcpy(t, "coracleB", 8);
        frame_put32(t + 12, 1);
        frame_put64(t + 16 + 15 * 8, n);
        frame_put32(t + 8, crc32c(0, t + 12, TRAILER - 12));
    }
    file_write(env, copy, n);
    free(copy);
    if (span_block_open(env, "/d/b", &b, NULL) == 0) {
        ask(b);
        span_block_unref(b);
    }
    env_sim_free(env);
    return 0;
}
