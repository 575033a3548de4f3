// The journal's reader on any bytes: a segment file's content goes through recovery's own code, on
// a disk in memory. Whatever the bytes, opening ends with a journal or an error; what is handed
// over is in order; and what opened once opens again with the same result.
#include "base/arena.h"
#include "log/crc32c.h"
#include "log/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct read {
    uint64_t last, frames;
};

static int on_frame(void *ctx, const struct frame *f, struct err *e)
{
    struct read *r = ctx;
    (void)e;
    BUG_ON(f->first != r->last + 1 || f->last < f->first);
    r->last = f->last;
    // Every byte is there to be read.
    r->frames += 1 + (crc32c(0, f->payload.p, f->payload.n) & 0);
    return 0;
}

static int open_once(struct env *env, struct read *r, uint64_t *ret_last)
{
    const struct journal_options opt = {.segment_bytes = 4096};
    struct journal *j = journal_new(env, "/d", &opt);
    *r = (struct read){.last = 1};
    int code = journal_open(j, 1, 0, on_frame, r, ret_last, NULL);
    journal_close(j);
    return code;
}

// The fuzzer cannot guess checksums: they are put right in every frame whose size is plausible.
static void mend(char *p, size_t n)
{
    uint64_t salt, size;
    uint32_t crc;
    if (n < SEGMENT_HEADER)
        return;
    memcpy(p, (n & 8) ? "coracleW\2\0\0\0" : "coracleW\1\0\0\0", 12);
    uint64_t sequence = 1, first = 2;
    memcpy(p + 16, &sequence, 8);
    memcpy(p + 24, &first, 8);
    memcpy(&salt, p + 32, 8);
    crc = crc32c(0, p + 16, SEGMENT_HEADER - 16);
    memcpy(p + 12, &crc, 4);
    for (size_t at = SEGMENT_HEADER; at + FRAME_HEADER <= n; at += size) {
        memcpy(&size, p + at + 8, 8);
        if (size < FRAME_HEADER || size % 8 || size > n - at)
            break;
        crc = crc32c(crc32c(0, &salt, 8), p + at + 8, size - 8);
        memcpy(p + at + 4, &crc, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct env *env = env_sim_new(1, 0);
    struct env_file *f;
    char *copy = mem_alloc(size);
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 1)
        mend(copy, size - 1);
    BUG_ON(env->ops->mkdir(env, "/d", 0700) < 0);
    BUG_ON(env->ops->file_open(env, "/d/wal-00000000000000000001.log", ENV_WRITE | ENV_CREATE, 0600,
                               &f) < 0);
    BUG_ON(env->ops->file_pwrite(f, copy, size - 1, 0) < 0);
    env->ops->file_close(f);
    free(copy);
    struct read one, two;
    uint64_t r1 = 0, r2 = 0;
    int code = open_once(env, &one, &r1);
    BUG_ON(open_once(env, &two, &r2) != code || one.last != two.last || r1 != r2);
    BUG_ON(!code && r1 != one.last);
    env_sim_free(env);
    return 0;
}
