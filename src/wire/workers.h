// Threads for work that is too long for an event loop: whoever has something that takes more than a
// millisecond hands it over, and posts back to their loop (loop_post) when it is done. A bounded
// queue, first come first served; the threads are started when first needed and give way to the
// loops (nice), so that a machine full of long work still answers short requests.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct workers;
struct work {
    void (*fn)(
        struct work *w); // on a worker's thread; the storage is the caller's again from then on
    struct work *next;   // private
};

// `name` as of thread_start; n threads; at most `queue` pieces of work wait.
struct workers *workers_new(const char *name, unsigned n, size_t queue);
// Any thread. False: the queue is full, nothing was taken.
bool workers_submit(struct workers *ws, struct work *w);
// Does what is queued, then ends the threads. NULL is nothing.
void workers_free(struct workers *ws);
