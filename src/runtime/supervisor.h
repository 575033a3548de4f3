// supervisor.h: what the node agent (runtime_*.c) and the supervisor process (supervisor_*.c) agree
// on: the files in the state directory and the messages on the socket. Nothing else of either is
// visible to the other.
//
// Division of work. The agent knows images, pods and policy; it prepares everything as files. The
// supervisor knows only processes: it runs the OCI runtime, is the parent of what comes out of it,
// holds its output, writes its log and its end. Therefore requests are short ("start container X"),
// and a new supervisor learns all it needs from the same files.
//
//   STATE/supervisor.sock        where agents connect (SOCK_SEQPACKET)
//   STATE/supervisor.lock        held (flock) as long as a supervisor lives; holds its pid
//   STATE/supervisor.log         its standard error
//   STATE/boot                   the kernel's boot id; another one means that all below is history
//   STATE/oci/<program>/         the runtime's own state (--root)
//   STATE/ns/<sandbox>/{net,ipc,uts,pid}  pinned namespaces (bind mounts of nsfs)
//   STATE/sandboxes/<id>/        record.json: agent's; shm/: a tmpfs mount; init: pid of a shared
//                                pid namespace
//   STATE/containers/<id>/       one container, its OCI bundle:
//     record.json                agent's: what container_list must know
//     launch                     agent's, for the supervisor: lines `key value`, see struct
//                                supervisor_launch
//     config.json rootfs/        the OCI bundle
//     out err in                 FIFOs of the container's standard streams
//     pid                        supervisor's, once it runs: `pid starttime started_ns`
//     exit                       supervisor's, once it ended: `code signal oom started_ns
//                                finished_ns reason`, then the message on the following lines
//
// `pid` and `exit` are written to a temporary name and renamed: they are there whole or not at all.
//
// Messages. One packet is a head and a list of strings, each with its length before it (32 bits,
// host order: both ends are the same program on the same machine). A request carries a call number
// and is answered by a packet with that number, in any order; code 0, or the negative code of an
// error whose text is the first string. Packets with call 0 are events. File descriptors travel
// beside the head (SCM_RIGHTS). A different version in the head is answered with an error and the
// end of the connection.
#pragma once
#include "base/err.h"
#include "base/str.h"

#define SUPERVISOR_VERSION     1
#define SUPERVISOR_PACKET_MAX  (16 * 1024)
#define SUPERVISOR_STRINGS_MAX 64
#define SUPERVISOR_FDS_MAX     3
#define SUPERVISOR_ID_MAX      64 // of a sandbox or container id, which is [a-z0-9]+

// The log format's bound on a line, and the rotation that kubelet does.
#define SUPERVISOR_LOG_LINE  (16 * 1024)
#define SUPERVISOR_LOG_SIZE  (10 * 1024 * 1024)
#define SUPERVISOR_LOG_FILES 5

enum supervisor_type {
    SUPERVISOR_HELLO = 1,   // -> its pid
    SUPERVISOR_SANDBOX_RUN, // id, namespaces ("net ipc uts pid shm"), hostname, {sysctl, value}…
    SUPERVISOR_SANDBOX_REMOVE, // id
    SUPERVISOR_START,          // container
    SUPERVISOR_KILL,           // container, signal number
    SUPERVISOR_DELETE,         // container: kills it, runs the runtime's delete, forgets it
    SUPERVISOR_EXEC,        // container, session, process file, "tty"|"", which of the fds ("011")
    SUPERVISOR_ATTACH,      // container, session, "tty"|"", which of the fds
    SUPERVISOR_RESIZE,      // session, width, height
    SUPERVISOR_CLOSE,       // session
    SUPERVISOR_EXITED,      // event: container
    SUPERVISOR_SESSION_END, // event: session, exit code
    SUPERVISOR_TYPE_COUNT,
};

struct supervisor_head {
    uint32_t length; // of the whole packet
    uint16_t version, type;
    uint64_t call;
    int32_t code;
    uint32_t nstrings;
};

struct supervisor_packet {
    struct supervisor_head head;
    struct str strings[SUPERVISOR_STRINGS_MAX]; // in the buffer that was given to receive
    int fds[SUPERVISOR_FDS_MAX];
    size_t nfds;
};

// 0, or -errno (-EMSGSIZE: more than a packet holds). flags: MSG_DONTWAIT or 0.
int supervisor_send(int socket, int flags, uint16_t type, uint64_t call, int32_t code,
                    const struct str *strings, size_t n, const int *fds, size_t nfds);
// 1: a packet; 0: the other end is gone; -EPROTO: not ours; -EAGAIN. On 1 the fds are the caller's.
int supervisor_receive(int socket, int flags, char *buffer, size_t size,
                       struct supervisor_packet *ret);
// The packet from its bytes: what receive does after recvmsg, and what is fuzzed.
bool supervisor_decode(const char *buffer, size_t n, struct supervisor_packet *ret);

// STATE/containers/<id>/launch, as read by the supervisor. Strings point into `text`.
struct supervisor_launch {
    char *text;          // heap
    const char *program; // "/usr/bin/crun"
    const char *log;     // absolute path of the log file, "" for none
    const char *cgroup;  // "/coracle/burstable/pod…/<id>", below each controller's mount
    const char *layers;  // directory that the lower directories in overlay are relative to
    const char *overlay; // overlayfs mount data; "" when rootfs needs no mount
    bool tty, stdin_open, stdin_once;
    bool own_pids; // it has a pid namespace of its own, which dies with its first process
};
int supervisor_launch_read(const char *state_dir, const char *id, struct supervisor_launch *ret,
                           struct err *e);
void supervisor_launch_done(struct supervisor_launch *l);

// STATE/containers/<id>/exit. message is heap.
struct supervisor_exit {
    int code, signal;
    bool oom;
    int64_t started_ns, finished_ns;
    char reason[32];
    char *message;
};
int supervisor_exit_read(const char *path, struct supervisor_exit *ret, struct err *e);

// STATE/containers/<id>/pid. false: not there, or the process of that number is another by now.
struct supervisor_pid {
    int pid;
    uint64_t start_time; // field 22 of /proc/PID/stat
    int64_t started_ns;
};
bool supervisor_pid_read(const char *path, struct supervisor_pid *ret);
// Start time of a living process, 0 when there is none.
uint64_t supervisor_process_start(int pid);

// True where controllers of cgroup v1 are mounted beside a cgroup2 tree that also has some: crun
// refuses to work there unless that tree is out of its sight.
bool supervisor_cgroup_hybrid(char *ret_unified, size_t size);
