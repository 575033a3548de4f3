// Jobs: calls that may take long (an image pull, a grace period, a hook, an exec probe), each on a
// thread of its own for as long as it runs, so that a pod in its grace period never holds up
// another's start. Threads are made when needed and leave when idle. On virtual time jobs run one
// by one on the loop.
#pragma once
#include "wire/loop.h"

struct job_pool;
// More than max at a time wait their turn.
struct job_pool *job_pool_new(struct loop *l, unsigned max);
// Any thread. fn owns arg.
void job_pool_run(struct job_pool *p, void (*fn)(void *arg), void *arg);
// Waits until all jobs are done; -ETIMEDOUT when some still run after grace_ns. Jobs that are given
// to the pool afterwards run in their caller's thread, at once.
int job_pool_close(struct job_pool *p, uint64_t grace_ns);
void job_pool_free(struct job_pool *p); // closed
