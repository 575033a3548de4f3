// The prober: startup, liveness and readiness probes of running containers. All state is the
// loop's; HTTP and TCP probes run on the loop without threads, exec probes as jobs. Results are
// read by pod workers from any thread; whenever one changes the pod is woken.
#pragma once
#include "base/err.h"
#include "node/pod_job.h"
#include "runtime/runtime.h"

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_KINDS };
enum probe_result { PROBE_UNKNOWN, PROBE_SUCCESS, PROBE_FAILURE };

struct http_client;
struct prober;
struct prober_options {
    struct loop *loop;
    struct http_client *http;
    struct runtime *runtime;
    struct job_pool *jobs;
    // On the loop. changed: a result changed. unhealthy: a run failed or could not be made (an
    // event "Liveness probe failed: …").
    void (*changed)(void *ctx, struct str pod_uid);
    void (*unhealthy)(void *ctx, struct str pod_uid, struct str container, struct str text);
    void *ctx;
};
struct prober *prober_new(const struct prober_options *o);
void prober_free(struct prober *p); // jobs of the pool must be done

struct probe_target {
    struct str pod_uid, container, container_id;
    struct str ip;            // of the pod, or of the node with host network
    const struct value *spec; // of the container; copied
    int64_t started_ns;       // real time at which the container started
};
// Any thread. Idempotent per container id.
void prober_watch(struct prober *p, const struct probe_target *t);
// Ends the probes of a container that no longer runs, or (kinds: bits of 1 << probe_kind) some of
// them.
void prober_forget(struct prober *p, struct str container_id, unsigned kinds);
// As last determined. Initially: startup unknown, liveness success, readiness failure. A probe that
// the container does not have succeeds; a container that is not watched has everything unknown.
enum probe_result prober_result(struct prober *p, struct str container_id, enum probe_kind kind);
