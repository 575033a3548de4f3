// The agent's end of the supervisor: one connection, calls from any thread, events in order.
//
// The link keeps itself up. When the supervisor goes away, calls under way fail with
// ERR_UNAVAILABLE, a new supervisor is started at once (it takes the containers over), and
// `connected` is called again.
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "runtime/supervisor.h"

struct link;
struct link_handler {
    // All from one thread of the link, never while a lock of the link is held; they may make calls.
    void (*connected)(void *ctx, bool again); // read the files: something may have been missed
    void (*exited)(void *ctx, struct str container_id);
    void (*session_end)(void *ctx, uint64_t session, int exit_code);
    void (*lost)(void *ctx); // sessions of that connection are over
    void *ctx;
};
struct link_options {
    const char *exe; // NULL: /proc/self/exe
    const char *state_dir, *cgroup_root;
};
// Starts a supervisor where none is there. `connected` has been called once when it returns.
int link_new(const struct link_options *opt, const struct link_handler *h, struct link **ret,
             struct err *e);
void link_free(struct link *l);
// Blocks for the answer. The error is the supervisor's. fds are copied by the kernel and stay the
// caller's.
int link_call(struct link *l, enum supervisor_type type, const struct str *strings, size_t n,
              const int *fds, size_t nfds, struct err *e);
int link_supervisor_pid(struct link *l); // of the present one; 0: none
// A request that is not answered; lost when the supervisor is away.
void link_tell(struct link *l, enum supervisor_type type, const struct str *strings, size_t n);
