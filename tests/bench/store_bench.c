// What a durable write costs: the embedded store with 1 and with 64 transactions waiting, beside
// the disk alone (the same bytes appended to a zero-filled file, one fdatasync a group) in the same
// run. Then what a key costs in memory. Prints a table; ratios are what to compare between
// machines.
//
//     bench_store [DIR [COUNT [VALUE_BYTES]]]
#include "base/arena.h"
#include "base/thread.h"
#include "store/store.h"
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_WAITING = 64 };

static char dir[256];
static size_t value_bytes = 1200;
static struct blob *value;

struct cost {
    double wall, cpu;
};

static struct cost now(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (struct cost){
        (double)env_mono(env_system()) * 1e-9,
        (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
            (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6,
    };
}

static struct cost since(struct cost start)
{
    struct cost n = now();
    return (struct cost){n.wall - start.wall, n.cpu - start.cpu};
}

// The disk alone: groups of n records.
static struct cost disk_alone(size_t count, size_t n)
{
    char path[300];
    snprintf(path, sizeof path, "%s-disk", dir);
    size_t bytes = n * (value_bytes + 100), room = (size_t)16 << 20;
    char *p = mem_zalloc(room);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || pwrite(fd, p, room, 0) < 0 || fsync(fd) < 0)
        abort();
    memset(p, 1, bytes);
    struct cost start = now();
    size_t at = 0;
    for (size_t i = 0; i < count; i += n, at += bytes) {
        if (at + bytes > room)
            at = 0;
        if (pwrite(fd, p, bytes, (off_t)at) < 0 || fdatasync(fd) < 0)
            abort();
    }
    struct cost c = since(start);
    close(fd);
    unlink(path);
    free(p);
    return c;
}

struct client {
    struct store *store;
    struct store_txn txn;
    struct store_write write;
    char key[80];
    struct run *run;
};

static uint64_t next_key; // the writer thread's

struct run {
    size_t left, running; // the writer thread's, once started
    uint64_t keys;
    struct completion done;
};

static void submit(struct client *c)
{
    struct run *r = c->run;
    int n = snprintf(c->key, sizeof c->key, "/registry/pods/namespace-%03lu/web-%lu",
                     (unsigned long)(next_key % 100), (unsigned long)(next_key % r->keys));
    next_key++;
    c->write = (struct store_write){STORE_PUT, {c->key, (size_t)n}, value, STORE_ANY};
    c->txn.writes = &c->write;
    c->txn.nwrites = 1;
    store_txn(c->store, &c->txn);
}

static void complete(struct store_txn *t)
{
    struct client *c = t->ctx;
    if (t->result != STORE_OK)
        abort();
    if (c->run->left) {
        c->run->left--;
        submit(c);
    } else if (--c->run->running == 0) {
        completion_signal(&c->run->done);
    }
}

static struct cost writes(struct store *s, size_t count, size_t waiting, uint64_t keys)
{
    static struct client clients[MAX_WAITING];
    struct run r = {.left = count - waiting, .running = waiting, .keys = keys};
    completion_init(&r.done);
    struct cost start = now();
    for (size_t i = 0; i < waiting; i++) {
        clients[i] = (struct client){.store = s, .run = &r};
        clients[i].txn.complete = complete;
        clients[i].txn.ctx = &clients[i];
    }
    // Each client's first write; the next ones are made by complete, so that `run` is the writer's.
    for (size_t i = 0; i < waiting; i++) {
        struct client *c = &clients[i];
        c->write = (struct store_write){STORE_PUT, STR("/registry/start"), value, STORE_ANY};
        c->txn.writes = &c->write;
        c->txn.nwrites = 1;
        store_txn(s, &c->txn);
    }
    completion_wait(&r.done);
    completion_done(&r.done);
    return since(start);
}

// Disk and store take turns, so that what else the machine does falls on both.
static void row(struct store *s, const char *what, size_t count, size_t waiting, uint64_t keys)
{
    enum { TURNS = 5 };
    struct cost disk = {0}, c = {0};
    for (int i = 0; i < TURNS; i++) {
        struct cost d = disk_alone(count / TURNS, waiting);
        struct cost w = writes(s, count / TURNS, waiting, keys);
        disk = (struct cost){disk.wall + d.wall, disk.cpu + d.cpu};
        c = (struct cost){c.wall + w.wall, c.cpu + w.cpu};
    }
    printf("%-22s %10.0f/s  %7.2f us CPU each  %5.2f of the disk alone (%.0f/s)\n", what,
           (double)count / c.wall, c.cpu / (double)count * 1e6, disk.wall / c.wall,
           (double)count / disk.wall);
    fflush(stdout);
}

static void clean(void *ctx, const char *name)
{
    (void)ctx;
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

int main(int argc, char **argv)
{
    snprintf(dir, sizeof dir, "%s/coracle-bench-%d", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    uint64_t count = 100000;
    if (argc > 2 && !str_to_u64(str_of(argv[2]), &count))
        return 2;
    if (argc > 3 && !str_to_u64(str_of(argv[3]), &value_bytes))
        return 2;
    size_t serial = count / 50 < 100 ? 100 : count / 50;
    value = blob_alloc(value_bytes);
    memset(value->p, 'v', value_bytes);

    _cleanup_err_ struct err e = ERR_INIT;
    struct store *s;
    // Little history: values replaced are not what is measured.
    struct store_embedded_options opt = {.history_events = 1000};
    if (store_embedded_open(env_system(), dir, &opt, &s, &e) < 0) {
        fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    row(s, "1 waiting", serial, 1, 1000);
    row(s, "64 waiting, new keys", count, 64, count);
    row(s, "64 waiting, replacing", count, 64, count);
    store_close(s);

    struct mallinfo2 before = mallinfo2();
    struct cost start = now();
    if (store_embedded_open(env_system(), dir, &opt, &s, &e) < 0) {
        fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    struct cost open_cost = since(start);
    struct mallinfo2 after = mallinfo2();
    printf("%-22s %10.1f ms for %lu keys of %zu bytes\n", "open", open_cost.wall * 1e3,
           (unsigned long)count, value_bytes);
    printf("%-22s %10.0f bytes and the value (key of about 40 bytes)\n", "memory for a key",
           (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) /
                   (double)count -
               (double)value_bytes);
    store_close(s);
    env_system()->ops->list_dir(env_system(), dir, clean, NULL);
    rmdir(dir);
    blob_unref(value);
    return 0;
}
