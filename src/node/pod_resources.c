// QoS, shares, quota, OOM scores (kubelet's qos and cm packages). A container without a request has
// its limit as request: the API server defaults that, and it is repeated here for objects from
// others.
#include "node/pod_resources.h"
#include "object/quantity.h"

#define CPU_PERIOD_US     100000
#define CPU_QUOTA_MIN_US  1000
#define CPU_SHARES_MIN    2
#define CPU_SHARES_MAX    262144
#define OOM_GUARANTEED    (-997)
#define OOM_BEST_EFFORT   1000
#define PRIORITY_CRITICAL 2000000000

static bool amount(const struct value *container, const char *list, const char *name,
                   struct quantity *ret)
{
    *ret = (struct quantity){0};
    const struct value *v = value_getc(value_at(container, list), name);
    return v && quantity_parse(value_string(v), ret) && ret->nano > 0;
}

static int64_t request(const struct value *container, const char *name, bool milli)
{
    struct quantity q;
    if (!amount(container, "resources.requests", name, &q) &&
        !value_getc(value_at(container, "resources.requests"), name))
        amount(container, "resources.limits", name, &q);
    return milli ? quantity_milli(&q) : quantity_value(&q);
}

enum pod_qos pod_qos_class(const struct value *pod)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers"};
    static const char *const names[] = {"cpu", "memory"};
    bool any = false, guaranteed = true;
    for (size_t l = 0; l < 2; l++) {
        const struct value *list = value_at(pod, lists[l]);
        for (size_t i = 0; i < value_len(list); i++) {
            const struct value *c = value_item(list, i);
            for (size_t r = 0; r < 2; r++) {
                struct quantity limit, req;
                bool has_limit = amount(c, "resources.limits", names[r], &limit);
                bool has_request = amount(c, "resources.requests", names[r], &req);
                any |= has_limit || has_request;
                if (!has_limit || (has_request && quantity_cmp(&limit, &req) != 0))
                    guaranteed = false;
            }
        }
    }
    return !any ? QOS_BEST_EFFORT : guaranteed ? QOS_GUARANTEED : QOS_BURSTABLE;
}

const char *pod_qos_name(enum pod_qos q)
{
    static const char *const names[] = {
        [QOS_GUARANTEED] = "Guaranteed",
        [QOS_BURSTABLE] = "Burstable",
        [QOS_BEST_EFFORT] = "BestEffort",
    };
    return names[q];
}

struct str pod_cgroup_parent(struct arena *a, const struct value *pod)
{
    static const char *const parents[] = {
        [QOS_GUARANTEED] = "",
        [QOS_BURSTABLE] = "burstable/",
        [QOS_BEST_EFFORT] = "besteffort/",
    };
    return arena_printf(a, "%spod%.*s", parents[pod_qos_class(pod)],
                        STR_ARG(value_str_at(pod, "metadata.uid")));
}

static int32_t oom_score(const struct value *pod, const struct value *container,
                         int64_t node_memory)
{
    if (value_int_at(pod, "spec.priority", 0) >= PRIORITY_CRITICAL)
        return OOM_GUARANTEED;
    switch (pod_qos_class(pod)) {
    case QOS_GUARANTEED:
        return OOM_GUARANTEED;
    case QOS_BEST_EFFORT:
        return OOM_BEST_EFFORT;
    case QOS_BURSTABLE:
        break;
    }
    int64_t memory = request(container, "memory", false);
    int64_t adjust =
        node_memory > 0 ? 1000 - (int64_t)((__int128)1000 * memory / node_memory) : 999;
    // Between the two other classes: never as safe as guaranteed, never as exposed as best effort.
    if (adjust < 1000 + OOM_GUARANTEED)
        adjust = 1000 + OOM_GUARANTEED;
    return (int32_t)(adjust == OOM_BEST_EFFORT ? adjust - 1 : adjust);
}

void pod_container_resources(const struct value *pod, const struct value *container,
                             int64_t node_memory, struct pod_container_resources *ret)
{
    *ret = (struct pod_container_resources){0};
    struct quantity limit;
    int64_t shares = request(container, "cpu", true) * 1024 / 1000;
    ret->cpu_shares = shares < CPU_SHARES_MIN   ? CPU_SHARES_MIN
                      : shares > CPU_SHARES_MAX ? CPU_SHARES_MAX
                                                : shares;
    if (amount(container, "resources.limits", "cpu", &limit)) {
        ret->cpu_period_us = CPU_PERIOD_US;
        ret->cpu_quota_us = quantity_milli(&limit) * CPU_PERIOD_US / 1000;
        if (ret->cpu_quota_us < CPU_QUOTA_MIN_US)
            ret->cpu_quota_us = CPU_QUOTA_MIN_US;
    }
    if (amount(container, "resources.limits", "memory", &limit))
        ret->memory_limit = quantity_value(&limit);
    ret->oom_score_adj = oom_score(pod, container, node_memory);
}

static void sum_requests(const struct value *pod, const char *name, bool milli, int64_t *ret)
{
    int64_t sum = 0, sidecars = 0, peak = 0;
    const struct value *list = value_at(pod, "spec.containers");
    for (size_t i = 0; i < value_len(list); i++)
        sum += request(value_item(list, i), name, milli);
    list = value_at(pod, "spec.initContainers");
    for (size_t i = 0; i < value_len(list); i++) {
        const struct value *c = value_item(list, i);
        int64_t r = request(c, name, milli);
        if (str_eqc(value_str_at(c, "restartPolicy"), "Always"))
            sidecars += r;
        else if (sidecars + r > peak)
            peak = sidecars + r;
    }
    sum += sidecars;
    struct quantity overhead = {0};
    const struct value *o = value_getc(value_at(pod, "spec.overhead"), name);
    if (o)
        quantity_parse(value_string(o), &overhead);
    *ret =
        (sum > peak ? sum : peak) + (milli ? quantity_milli(&overhead) : quantity_value(&overhead));
}

void pod_requests(const struct value *pod, int64_t *ret_cpu_milli, int64_t *ret_memory)
{
    sum_requests(pod, "cpu", true, ret_cpu_milli);
    sum_requests(pod, "memory", false, ret_memory);
}
