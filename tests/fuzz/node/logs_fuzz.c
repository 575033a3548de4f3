// The log reader over any bytes: the input is the log's file, its first byte the options.
// Invariants: it ends, gives no more than limit_bytes, and reads the same again.
#include "base/err.h"
#include "node/logs.h"
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t read_once(const char *path, const struct logs_options *o)
{
    struct log_reader *r = NULL;
    struct buf b = BUF_INIT;
    BUG_ON(log_reader_open(path, o, &r, NULL) < 0);
    int rc;
    while ((rc = log_reader_read(r, 256, &b, NULL)) == 1)
        ;
    BUG_ON(rc < 0);
    size_t total = b.n;
    buf_done(&b);
    log_reader_close(r);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    static char path[64];
    if (!*path)
        snprintf(path, sizeof(path), "/tmp/coracle-logs-fuzz-%d", (int)getpid());
    FILE *f = fopen(path, "w");
    BUG_ON(!f);
    fwrite(data + 2, 1, n - 2, f);
    fclose(f);
    struct logs_options o = {
        .tail_lines = data[0] & 1 ? data[1] : -1,
        .limit_bytes = data[0] & 2 ? data[1] + 1 : 0,
        .since_ns = data[0] & 4 ? 1767225600LL * 1000000000LL : 0,
        .timestamps = data[0] & 8,
        .only_stdout = data[0] & 16,
        .only_stderr = data[0] & 32,
    };
    size_t once = read_once(path, &o);
    BUG_ON(o.limit_bytes && once > (size_t)o.limit_bytes);
    BUG_ON(read_once(path, &o) != once);
    unlink(path);
    return 0;
}
