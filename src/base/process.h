// Other programs: the one way to start one. No shell, ever: a program and an argument vector. A
// part of env, so that a simulation can stand for every program (env_sim_programs).
//
// The usual case asks a program something and reads its answer:
//
//     const char *const argv[] = {"crun", "--version", NULL};
//     const struct process_options o = {.program = "/usr/bin/crun", .argv = argv,
//                                       .output_max = 4096, .timeout_ns = 10 * NS_PER_S};
//     struct process_result r;
//     if (process_run(env, a, &o, &r, e) < 0)     // it could not be started, took too long,
//         return err_wrap(e, e, "…");             // or said too much
//     if (!process_succeeded(&r)) …               // it ran, and did not like it
//
// What lives longer is started, and then watched by its pid (wire/loop.h's loop_child_watch, or
// process_wait).
//
// Each program gets: a process group of its own, an empty signal mask, default signal actions,
// /dev/null where no stream is given, and no other descriptor of this process as long as all of
// them are close-on-exec, which is the rule of the house.
#pragma once
#include "base/arena.h"
#include "base/env.h"
#include "base/err.h"

// As whom a program runs.
struct process_account {
    uint32_t uid, gid;
    const uint32_t *groups; // supplementary; none means none
    size_t ngroups;
};

enum {
    PROCESS_NULL = 0,     // /dev/null
    PROCESS_INHERIT = -1, // this process's own
};

struct process_options {
    const char *program;     // with a slash: this file; else looked for in PATH of this process
    const char *const *argv; // NULL-terminated, argv[0] first
    const char *const *environment;        // "NAME=value", NULL-terminated; NULL: this process's
    const char *directory;                 // where it runs; NULL: where this process does
    const struct process_account *account; // NULL: this process's

    // process_start: what becomes its standard streams: a descriptor above 0 (it stays the
    // caller's), PROCESS_NULL or PROCESS_INHERIT. process_run uses streams[2] alone, where
    // error_max is 0.
    int streams[3];

    // process_run.
    struct str input;             // written to its standard input, which then ends
    size_t output_max, error_max; // most bytes of its output that are read; 0: /dev/null
    bool cut;            // what is more is thrown away; else it is killed and ERR_TOO_LARGE
    uint64_t timeout_ns; // from the start; 0: none. Then its group is killed: ERR_TIMEOUT
    bool leave_group; // what it has started and left behind goes on; else that is killed at its end
};

struct process_result {
    int status;               // as waitpid gives it
    struct str output, error; // in the caller's arena
    bool cut;                 // something was thrown away
};

static inline bool process_succeeded(const struct process_result *r)
{
    return r->status == 0;
}
// The exit code; 128 and the signal's number where one ended it.
int process_exit_code(int status);

// Starts and does not wait. The pid belongs to the caller, who must reap it. Errors: ERR_NOT_FOUND
// where there is no such program, else ERR_INTERNAL: "starting /bin/x: Permission denied".
int process_start(struct env *env, const struct process_options *o, int *ret_pid, struct err *e);
// The whole group of a program that was started here and is not reaped yet.
void process_kill(struct env *env, int pid, int signal_number);
// Blocks until it ends. ERR_TIMEOUT after timeout_ns (0: never): it still runs.
int process_wait(struct env *env, int pid, uint64_t timeout_ns, int *ret_status, struct err *e);

// Starts, feeds, reads and waits. Any thread; blocks it. On failure nothing of the program is left.
int process_run(struct env *env, struct arena *a, const struct process_options *o,
                struct process_result *ret, struct err *e);

// --- the real world's, for env.c ---
int env_process_start(struct env *env, const struct process_options *o, int *ret_pid,
                      struct err *e);
void env_process_kill(struct env *env, int pid, int signal_number);
int env_process_wait(struct env *env, int pid, uint64_t timeout_ns, int *ret_status, struct err *e);
int env_process_run(struct env *env, struct arena *a, const struct process_options *o,
                    struct process_result *ret, struct err *e);
