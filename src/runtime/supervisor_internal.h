// supervisor_internal.h: the supervisor process from inside. One thread, one epoll, no locks. The
// parts:
//
//   supervisor.c            start, socket, requests as a table, the loop, children
//   supervisor_container.c  a container from start to end, and taking over those of a dead
//                           supervisor
//   supervisor_log.c        the CRI log file
//   supervisor_stream.c     exec and attach: pumps between file descriptors, terminals
//   supervisor_sandbox.c    namespaces that live without a process
//   supervisor_protocol.c   packets, launch and end files
//
// Memory is the measure here: what exists per running container is one struct container, two FIFOs
// (whose kernel buffers are empty while nothing is written) and, only while a line is unfinished,
// that line. Everything larger is static and shared.
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "runtime/supervisor.h"
#include <sys/epoll.h>
#include <sys/types.h>

// A watched file descriptor. fn may remove and free its own and any other source: the loop takes
// one event at a time.
struct source {
    void (*fn)(struct source *s, uint32_t events);
    int fd;
    uint32_t events; // 0: not in the epoll set
};
#define SOURCE_NONE ((struct source){.fd = -1})
bool source_set(struct source *s, uint32_t events); // false: this kind of fd cannot be watched
void source_close(struct source *s);                // takes it out and closes the fd

// A program (or forked function) whose end somebody waits for.
struct job {
    struct list node;
    pid_t pid;
    int words; // memfd: what it has to say when it fails
    void (*done)(struct job *j, int status);
    void *owner;
};
// Forks; the child runs `child(arg, words)` and exits with what it returns. -errno.
int job_start(struct job *j, int (*child)(void *arg, int words), void *arg);
// What the job wrote, in people's words; heap.
char *job_words(struct job *j);
void job_finish(struct job *j); // closes words, unlinks

struct connection {
    struct list node;
    struct source source;
    uint64_t serial; // connections are named by number in what outlives them
};
struct connection *connection_find(uint64_t serial); // NULL when it is gone
// The answer to a call; text may be NULL. Does nothing when the connection is gone.
void answer(uint64_t connection, uint64_t call, int code, const char *text);
void broadcast_exited(const char *container_id);

struct stream { // one output of a container
    struct source source;
    char *line; // the unfinished line, or NULL
    uint32_t n, cap;
    const char *name; // "stdout"
    struct container *container;
};

struct container {
    struct list node;
    char id[SUPERVISOR_ID_MAX + 1];
    struct supervisor_launch launch;
    pid_t pid;           // 0: not yet, or ended
    struct source pidfd; // watched only where it is not our child
    bool taken_over;
    uint64_t start_time;
    int64_t started_ns;
    struct stream out[2]; // with a terminal only out[0], on its master
    int stdin_fd;         // non-blocking; -1 closed
    struct list attachments;
    unsigned stalled; // attachments that could not take all of the last output
    int log_fd;
    int64_t log_size;
    struct job *job;           // the start or delete under way
    uint64_t connection, call; // whom to answer when it ends
    bool ended;
    bool forget; // DELETE was asked: free it when the delete job is done
};

extern struct supervisor {
    const char *state_dir, *cgroup_root;
    int epoll;
    char unified[256]; // cgroup2 tree to hide from the runtime, or ""
    struct list containers, connections, jobs, sessions;
    bool stop;
} supervisor;

int64_t now_real(void);
// Atomic small file: temporary name, rename. -errno.
int state_write(const char *path, const char *text);
__attribute__((format(printf, 3, 4))) void path_format(char *to, size_t size, const char *fmt, ...);

// supervisor_container.c
struct container *container_find(struct str id);
void container_start(struct str id, uint64_t connection, uint64_t call);
void container_kill(struct str id, int signal, uint64_t connection, uint64_t call);
void container_delete(struct str id, uint64_t connection, uint64_t call);
bool container_reaped(pid_t pid, int status); // true: it was a container's
void container_resume_output(struct container *c);
void containers_take_over(void);
// In a child: hides the cgroup2 tree; -1 with words written.
int runtime_child_prepare(int words, bool own_mounts);
_Noreturn void runtime_child_exec(int words, char *const *argv);
void runtime_root(char *to, size_t size, const char *program);
void words_write(int words, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// A process that nobody expected was reaped while a job ran: perhaps what that job left to us.
bool orphan_take(pid_t pid, int *ret_status);

// supervisor_log.c
void log_open(struct container *c);
void log_close(struct container *c);
void log_output(struct container *c, struct stream *s, const char *p, size_t n);
void log_flush(struct container *c, struct stream *s); // the unfinished line, at the end

// supervisor_stream.c
struct attachment;
void session_exec(struct supervisor_packet *p, uint64_t connection);
void session_attach(struct supervisor_packet *p, uint64_t connection);
void session_resize(uint64_t connection, uint64_t id, unsigned width, unsigned height);
void session_close(uint64_t connection, uint64_t id);
void sessions_drop(uint64_t connection);
bool session_reaped(pid_t pid, int status);
void attachments_output(struct container *c, struct stream *s, const char *p, size_t n);
void attachments_end(struct container *c, int exit_code);
// A listening socket for the runtime's --console-socket and the terminal that it sends.
int console_listen(char *path, size_t size);
int console_receive(int listener);

// supervisor_sandbox.c
void sandbox_run(struct supervisor_packet *p, uint64_t connection);
void sandbox_remove(struct str id, uint64_t connection, uint64_t call);
