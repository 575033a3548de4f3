// Threads, thinly: named, with a small stack, and a bounded-by-memory multi-producer queue to meet
// at. Locks are pthread_mutex_t used directly, each documented where it stands.
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

// Starts a thread with a 512 kB stack, named (at most 15 characters). Aborts if the system refuses
// a thread at start-up time. All signals are blocked in it.
pthread_t thread_start(const char *name, void *(*fn)(void *), void *arg);

// One-shot completion that a thread waits on; reset by completion_init.
struct completion {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};
void completion_init(struct completion *c);
void completion_done(struct completion *c); // frees the primitive
void completion_signal(struct completion *c);
void completion_wait(struct completion *c);
