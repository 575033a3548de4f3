// The pod worker: everything that this node does for one pod, as one state machine (pod_worker.c)
// that is run by syncs. A sync is blocking code on a worker thread; the queue sees to it that one
// pod is never synced twice at the same time. It looks at what is (API object, runtime, probes,
// jobs), does what brings it nearer to what should be, writes the status, and says when it wants to
// look again.
//
//   pod_worker.c      states, life, dispatch
//   pod_view.c        what is: containers of the pod, matched with the runtime's
//   pod_active.c      ACTIVE: sandbox, volumes, init containers, containers, restarts
//   pod_container.c   starting and stopping one container, hooks
//   pod_image.c       images: policy, pulls, back-off
//   pod_end.c         TERMINATING and TERMINATED
//   status.c          the status as the API has it; status_write.c: sending it
#pragma once
#include "node/agent_internal.h"

enum pod_state { POD_NEW, POD_ACTIVE, POD_TERMINATING, POD_TERMINATED, POD_GONE };

// Exponential delay: first, doubling, up to max; forgotten after quiet time (upstream's
// flowcontrol).
struct pod_backoff {
    uint64_t delay, updated; // ns; monotonic
};
#define BACKOFF_FIRST (10 * NS_PER_S)
#define BACKOFF_MAX   (300 * NS_PER_S)

enum image_state { IMAGE_UNKNOWN, IMAGE_PULLING, IMAGE_PULLED, IMAGE_PRESENT, IMAGE_FAILED };

// What the agent remembers of a container beyond what the runtime knows. Lost with the agent,
// without harm: back-offs start anew.
struct pod_container {
    struct list link;
    char *name;

    // The sync's alone:
    char *waiting_reason, *waiting_message; // why it does not run; NULL: ContainerCreating
    struct pod_backoff restart;
    bool restart_counted; // this exit has been counted into `restart`
    uint64_t not_before;  // after a failed create or start
    struct pod_backoff pull;
    uint64_t pull_not_before;
    char *image_name; // that image_* below is about
    char *image_id;
    int64_t image_uid;
    char *image_user;
    char *spec_image; // spec.image when the container was created; NULL: not by this agent
    char *probed_id;  // watched by the prober

    // Guarded by the worker's lock (jobs write them):
    enum image_state image;
    char *pull_error;
    bool hook_running, hook_failed;
    unsigned stopping;        // stop jobs that run
    int64_t stopping_grace;   // seconds of the newest
    uint64_t stop_not_before; // after a stop that failed
};

struct pod_worker {
    _Atomic(unsigned) refs;
    struct node_agent *agent;
    char *uid, *ns, *name;

    pthread_mutex_t lock; // guards what follows, and the marked part of containers
    struct object *pod;   // newest from the API; NULL: an orphan that only the runtime knows
    bool removed;         // the API has it no more
    struct blob *status;  // the status to be written (JSON), or NULL
    uint64_t status_made, status_written; // counters; equal: written
    bool delete_when_written;
    struct object *written;
    bool volumes_dirty; // an object they are made of has changed

    // The sync's alone from here on; admission of others reads the state.
    _Atomic(enum pod_state) state;
    bool seen_runtime; // take-over done for this pod
    struct list containers;
    char *sandbox_id, *netns; // sandbox_id is changed under the lock: the agent's API reads it
    char *ip;
    bool networked;
    uint32_t sandbox_attempt;
    char **stale_sandboxes; // of former attempts
    size_t nstale;
    int64_t started_real; // status.startTime
    uint64_t started_mono;
    bool volumes_ready;
    uint64_t volumes_refresh, volumes_not_before, volumes_delay;
    uint64_t sandbox_not_before, sandbox_delay;
    // Why the pod ended as a whole (rejected, deadline): what the status says.
    const char *end_phase;
    char *end_reason, *end_message;
    bool resumed;         // was being deleted already when this agent met it
    bool cleaned, erased; // TERMINATED: volumes gone; containers and sandbox gone
    uint64_t retry_delay;
    uint64_t refs_hash; // of the objects that node_objects has been told
};

enum container_kind { CONTAINER_INIT, CONTAINER_SIDECAR, CONTAINER_MAIN, CONTAINER_EPHEMERAL };

struct container_view {
    enum container_kind kind;
    const struct value *spec;
    struct str name;
    struct pod_container *mem;
    const struct runtime_container *now, *before; // newest run and the one before; or NULL
    bool lost; // `now` is made up from the API's status: the runtime does not know it
};

// One sync's picture.
struct pod_sync {
    struct node_agent *agent;
    struct pod_worker *w;
    struct arena *a;
    struct object *object;   // referenced by the sync
    const struct value *pod; // its tree; NULL for an orphan
    bool removed;
    uint64_t now;
    uint64_t next; // when to look again; 0: nothing is due
    struct container_view *c;
    size_t n; // containers in order: init, main, ephemeral
    struct runtime_container *all;
    size_t nall;
    struct pod_facts facts;
};

// ---- pod_worker.c ------------------------------------------------------------------------------
struct pod_worker *pod_worker_ref(struct pod_worker *w);
void pod_worker_unref(struct pod_worker *w);
struct pod_worker *pod_worker_find(struct node_agent *a, struct str uid); // a reference, or NULL
// From the pod informer's handler.
void pod_worker_on_change(void *ctx, struct object *old, struct object *new);
// The work queue's function. The key "take-over" gives the runtime's sandboxes to the workers and
// sets agent->ready; any other key is a pod's UID.
enum reconcile_result pod_worker_sync(void *agent, struct arena *a, struct str uid,
                                      uint64_t *after_ns, struct err *e);
void pod_worker_free_all(struct node_agent *a);
void pod_worker_wake(struct pod_worker *w);
// The only way to change the state: checks the move, traces it.
void pod_worker_set_state(struct pod_worker *w, enum pod_state to);
void pod_sync_due(struct pod_sync *s, uint64_t at); // look again at that time at the latest
// Events. container STR_NULL: about the pod.
void pod_event(struct pod_sync *s, struct str container, const char *type, const char *reason,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void pod_worker_event(struct pod_worker *w, struct str container, const char *type,
                      const char *reason, struct str text);
void pod_set(char **field, struct str value); // replaces a heap string
// Counts a failure: the delay to wait now.
uint64_t pod_backoff_next(struct pod_backoff *b, uint64_t now);

// ---- pod_view.c --------------------------------------------------------------------------------
// Reads the runtime. Fills c, n, all.
int pod_view_make(struct pod_sync *s, struct err *e);
struct pod_container *pod_container_get(struct pod_worker *w, struct str name); // makes it; locked
bool pod_container_is_running(const struct container_view *c);
bool pod_container_is_exited(const struct container_view *c);
// Running, startup probe passed, no hook pending.
bool pod_container_is_started(struct pod_sync *s, const struct container_view *c);
bool pod_container_is_ready(struct pod_sync *s, const struct container_view *c);
// By restart policy, for one that has exited.
bool pod_container_wants_restart(const struct pod_sync *s, const struct container_view *c);
bool pod_container_stopping(struct pod_sync *s, const struct container_view *c);

// ---- pod_active.c ------------------------------------------------------------------------------
void pod_active_sync(struct pod_sync *s);
// NULL: may run here; else the reason ("OutOfpods") and *ret_message.
const char *pod_admit(struct pod_sync *s, struct str *ret_message);

// ---- pod_container.c ---------------------------------------------------------------------------
// Takes the container a step further towards running attempt number `attempt`.
enum start_result { START_DONE, START_WAIT, START_FAILED };
enum start_result pod_container_start(struct pod_sync *s, struct container_view *c,
                                      uint32_t attempt);
// Ends it in the background: preStop, signal, grace, kill. A shorter grace than that of a running
// stop overtakes it. message: of the Killing event; NULL: "Stopping container NAME".
void pod_container_stop(struct pod_sync *s, struct container_view *c, int64_t grace_seconds,
                        const char *message);
void pod_container_wait(struct container_view *c, const char *reason, struct str message);

// ---- pod_hook.c --------------------------------------------------------------------------------
// Runs a lifecycle handler; blocks (a job). timeout_ns 0: none.
int pod_hook_run(struct node_agent *a, struct arena *arena, const struct value *handler,
                 const struct value *container, struct str container_id, struct str pod_ip,
                 uint64_t timeout_ns, struct err *e);

// ---- pod_image.c -------------------------------------------------------------------------------
// START_DONE: *ret is the image (id, user).
enum start_result pod_image_ensure(struct pod_sync *s, struct container_view *c,
                                   struct image_info *ret);

// ---- pod_end.c ---------------------------------------------------------------------------------
void pod_terminating_sync(struct pod_sync *s);
void pod_terminated_sync(struct pod_sync *s);
int64_t pod_grace_seconds(const struct pod_sync *s);

// ---- status.c, status_write.c ------------------------------------------------------------------
// Makes the status of now and hands it to the writer, if it differs.
void pod_status_update(struct pod_sync *s);
struct value *pod_status_make(struct pod_sync *s);
enum reconcile_result pod_status_write(void *agent, struct arena *a, struct str uid,
                                       uint64_t *after_ns, struct err *e);
