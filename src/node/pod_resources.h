// Requests and limits of a pod in the kernel's units, its QoS class, and what follows from it:
// cgroup parent and OOM score. All by upstream's rules, so that a pod behaves under pressure as it
// is used to.
#pragma once
#include "base/arena.h"
#include "object/value.h"

enum pod_qos { QOS_GUARANTEED, QOS_BURSTABLE, QOS_BEST_EFFORT };

enum pod_qos pod_qos_class(const struct value *pod);
const char *pod_qos_name(enum pod_qos q); // "Burstable"
// "burstable/podUID"; a guaranteed pod stands at the root.
struct str pod_cgroup_parent(struct arena *a, const struct value *pod);

struct pod_container_resources {
    int64_t cpu_shares, cpu_quota_us, cpu_period_us, memory_limit; // 0: unset
    int32_t oom_score_adj;
};
void pod_container_resources(const struct value *pod, const struct value *container,
                             int64_t node_memory, struct pod_container_resources *ret);

// What the pod takes of the node: the greater of the sum of containers (with restartable init
// containers) and the largest init container, plus overhead. cpu in thousandths, memory in bytes.
void pod_requests(const struct value *pod, int64_t *ret_cpu_milli, int64_t *ret_memory);
