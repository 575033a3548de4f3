// The Node object and its lease. A work queue with two keys, so that writes never overlap and
// failures are tried again by time:
//
//   "status"  reads the Node; makes it where it is missing (also when somebody deleted it), repairs
//             labels, writes the status when it differs in more than heartbeat times, or every five
//             minutes
//   "lease"   renews kube-node-lease/<node> every ten seconds, and looks at the pressures on the
//             way
//
// The node is Ready when the pods' truth has been taken over from the runtime and its pod range is
// known.
#include "base/log.h"
#include "node/agent_internal.h"
#include "node/node_info.h"
#include "object/json.h"

#define LEASE_EVERY   (10 * NS_PER_S)
#define LEASE_SECONDS 40
#define STATUS_EVERY  (300 * NS_PER_S)
#define RETRY_FIRST   (200 * NS_PER_MS)
#define RETRY_MAX     (7 * NS_PER_S)
#define IMAGES_MAX    50

struct node_register {
    struct node_agent *agent;
    struct work_queue *queue;
    struct arena a; // facts: as long as the agent
    struct node_info info;
    // The queue's single worker:
    struct object *lease;
    uint64_t lease_delay, status_delay, last_status;
    bool announced, was_ready;
    char *cidr;
    _Atomic(unsigned) pressure; // bits: memory, disk, pid
};

const struct value *node_register_allocatable(struct node_register *n)
{
    return n->info.allocatable;
}

void node_register_wake(struct node_register *n)
{
    if (n)
        work_queue_add(n->queue, STR("status"));
}

void node_register_on_change(struct node_agent *a, struct object *old, struct object *new)
{
    (void)old;
    (void)new;
    node_register_wake(a->node); // deleted, relabelled, given a pod range: status looks
}

// ---- the object --------------------------------------------------------------------------------

static struct value *make_labels(struct node_register *n, struct arena *a)
{
    const struct node_agent_options *o = &n->agent->o;
    struct value *labels = value_object(a);
    const char *arch = n->info.arch;
    value_setc(a, labels, "beta.kubernetes.io/arch", value_strc(a, arch));
    value_setc(a, labels, "beta.kubernetes.io/os", value_strc(a, "linux"));
    value_setc(a, labels, "kubernetes.io/arch", value_strc(a, arch));
    value_setc(a, labels, "kubernetes.io/hostname", value_str(a, o->node_name));
    value_setc(a, labels, "kubernetes.io/os", value_strc(a, "linux"));
    for (size_t i = 0; i < o->nlabels; i++)
        value_set(a, labels, o->labels[i][0], value_str(a, o->labels[i][1]));
    return labels;
}

static void add_condition(struct arena *a, struct value *list, const struct value *have,
                          int64_t now, const char *type, bool status, const char *reason,
                          const char *message)
{
    struct value *c = value_object(a);
    const struct value *old = NULL;
    for (size_t i = 0; i < value_len(have); i++)
        if (str_eqc(value_str_at(value_item(have, i), "type"), type))
            old = value_item(have, i);
    const char *text = status ? "True" : "False";
    bool same = str_eqc(value_str_at(old, "status"), text) && value_getc(old, "lastTransitionTime");
    struct str stamp = time_rfc3339(a, now, 0);
    value_setc(a, c, "type", value_strc(a, type));
    value_setc(a, c, "status", value_strc(a, text));
    value_setc(a, c, "lastHeartbeatTime", value_str(a, stamp));
    value_setc(a, c, "lastTransitionTime",
               same ? value_getc(old, "lastTransitionTime") : value_str(a, stamp));
    value_setc(a, c, "reason", value_strc(a, reason));
    value_setc(a, c, "message", value_strc(a, message));
    value_push(a, list, c);
}

static const char *not_ready(struct node_register *n)
{
    if (!atomic_load(&n->agent->ready))
        return "container runtime status check may not have completed yet";
    if (n->agent->cannot_run)
        return n->agent->cannot_run;
    if (n->agent->o.network && !n->agent->o.pod_cidr.n && !n->cidr)
        return "container runtime network not ready: NetworkReady=false "
               "reason:NetworkPluginNotReady message:the node has no pod range (spec.podCIDR) yet";
    return NULL;
}

static struct value *make_conditions(struct node_register *n, struct arena *a,
                                     const struct value *have)
{
    struct value *list = value_array(a);
    int64_t now = env_now(n->agent->env);
    unsigned p = atomic_load(&n->pressure);
    add_condition(a, list, have, now, "MemoryPressure", p & 1,
                  p & 1 ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
                  p & 1 ? "kubelet has insufficient memory available"
                        : "kubelet has sufficient memory available");
    add_condition(a, list, have, now, "DiskPressure", p & 2,
                  p & 2 ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
                  p & 2 ? "kubelet has disk pressure" : "kubelet has no disk pressure");
    add_condition(a, list, have, now, "PIDPressure", p & 4,
                  p & 4 ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
                  p & 4 ? "kubelet has insufficient PID available"
                        : "kubelet has sufficient PID available");
    const char *why = not_ready(n);
    add_condition(a, list, have, now, "Ready", !why, why ? "KubeletNotReady" : "KubeletReady",
                  why ? why : "kubelet is posting ready status");
    // Conditions that others keep here stay.
    for (size_t i = 0; i < value_len(have); i++) {
        struct value *c = value_item(have, i);
        bool own = false;
        for (size_t k = 0; k < 4; k++)
            own |= str_eq(value_str_at(c, "type"), value_str_at(value_item(list, k), "type"));
        if (!own)
            value_push(a, list, c);
    }
    return list;
}

static int by_size(const void *x, const void *y)
{
    const struct image_info *a = x, *b = y;
    return a->size < b->size ? 1 : a->size > b->size ? -1 : 0;
}

static struct value *make_images(struct node_register *n, struct arena *a)
{
    struct runtime *r = n->agent->runtime;
    struct value *list = value_array(a);
    struct image_info *images = NULL;
    size_t count = 0;
    if (r->ops->image_list(r, a, &images, &count, NULL) < 0)
        return list;
    if (count)
        qsort(images, count, sizeof(*images), by_size);
    for (size_t i = 0; i < count && i < IMAGES_MAX; i++) {
        struct value *image = value_object(a), *names = value_array(a);
        for (size_t k = 0; k < images[i].ndigests; k++)
            value_push(a, names, value_str(a, images[i].digests[k]));
        for (size_t k = 0; k < images[i].ntags; k++)
            value_push(a, names, value_str(a, images[i].tags[k]));
        value_setc(a, image, "names", names);
        value_setc(a, image, "sizeBytes", value_int(a, images[i].size));
        value_push(a, list, image);
    }
    return list;
}

static void add_address(struct arena *a, struct value *list, const char *type, struct str address)
{
    if (!address.n)
        return;
    struct value *v = value_object(a);
    value_setc(a, v, "type", value_strc(a, type));
    value_setc(a, v, "address", value_str(a, address));
    value_push(a, list, v);
}

static struct value *make_status(struct node_register *n, struct arena *a, const struct value *have)
{
    const struct node_agent_options *o = &n->agent->o;
    struct value *status = have ? value_clone(a, have) : value_object(a);
    struct value *addresses = value_array(a);
    add_address(a, addresses, "InternalIP", o->node_ip);
    add_address(a, addresses, "Hostname", o->node_name);
    value_setc(a, status, "addresses", addresses);
    value_setc(a, status, "capacity", value_clone(a, n->info.capacity));
    value_setc(a, status, "allocatable", value_clone(a, n->info.allocatable));
    value_setc(a, status, "conditions", make_conditions(n, a, value_getc(have, "conditions")));
    unsigned port = node_agent_port(n->agent);
    if (port)
        value_set_at(a, status, "daemonEndpoints.kubeletEndpoint.Port", value_int(a, port));
    value_setc(a, status, "images", make_images(n, a));
    value_setc(a, status, "nodeInfo", value_clone(a, n->info.system));
    return status;
}

// Apart from heartbeats.
static bool same_status(struct arena *a, const struct value *x, const struct value *y)
{
    struct value *both[2] = {value_clone(a, x), value_clone(a, y)};
    for (size_t i = 0; i < 2; i++)
        value_each_item (value_getc(both[i], "conditions"), c)
            value_delc(c, "lastHeartbeatTime");
    return value_eq(both[0], both[1]);
}

static int create_node(struct node_register *n, struct arena *a, struct object **ret, struct err *e)
{
    struct value *node = value_object(a);
    value_setc(a, node, "apiVersion", value_strc(a, "v1"));
    value_setc(a, node, "kind", value_strc(a, "Node"));
    value_set_at(a, node, "metadata.name", value_str(a, n->agent->o.node_name));
    value_set_at(a, node, "metadata.labels", make_labels(n, a));
    struct value *annotations = value_object(a);
    value_setc(a, annotations, "volumes.kubernetes.io/controller-managed-attach-detach",
               value_strc(a, "true"));
    value_set_at(a, node, "metadata.annotations", annotations);
    value_setc(a, node, "spec", value_object(a));
    value_setc(a, node, "status", make_status(n, a, NULL));
    return client_create(n->agent->client, KIND("", "nodes"), STR_NULL, node, ret, e);
}

static int repair_labels(struct node_register *n, struct arena *a, const struct value *node,
                         struct object **object, struct err *e)
{
    const struct value *want = make_labels(n, a), *have = value_at(node, "metadata.labels");
    bool same = true;
    value_each_field (want, f)
        same &= str_eq(value_string(value_get(have, f->key)), value_string(f->value));
    if (same)
        return 0;
    struct value *patch = value_object(a);
    value_set_at(a, patch, "metadata.labels", (struct value *)want);
    struct object *answer = NULL;
    int rc = client_patch(n->agent->client, KIND("", "nodes"), STR_NULL, n->agent->o.node_name,
                          STR_NULL, PATCH_TYPE_MERGE, patch, &answer, e);
    if (rc < 0)
        return rc;
    object_unref(*object);
    *object = answer;
    return 0;
}

static int take_pod_range(struct node_register *n, const struct value *node, struct err *e)
{
    struct str cidr = value_str_at(node, "spec.podCIDR");
    if (!cidr.n || (n->cidr && str_eqc(cidr, n->cidr)) || n->agent->o.pod_cidr.n)
        return 0;
    if (n->agent->o.network) {
        int rc = pod_network_set_cidr(n->agent->o.network, cidr, e);
        if (rc < 0)
            return rc;
    }
    free(n->cidr);
    n->cidr = mem_cstr(cidr);
    return 0;
}

static int sync_node(struct node_register *n, struct arena *a, struct err *e)
{
    struct client *c = n->agent->client;
    _cleanup_object_ struct object *object = NULL;
    _cleanup_err_ struct err mine = ERR_INIT;
    int rc = client_get(c, KIND("", "nodes"), STR_NULL, n->agent->o.node_name, &object, &mine);
    if (rc < 0 && !err_is(&mine, ERR_NOT_FOUND)) {
        err_move(e, &mine);
        return rc;
    }
    if (rc < 0) {
        rc = create_node(n, a, &object, e);
        if (rc < 0)
            return rc;
    }
    struct value *node = value_clone(a, object_tree(a, object));
    if ((rc = take_pod_range(n, node, e)) < 0 || (rc = repair_labels(n, a, node, &object, e)) < 0)
        return rc;
    node = value_clone(a, object_tree(a, object));
    const struct value *have = value_getc(node, "status");
    struct value *want = make_status(n, a, have);
    uint64_t now = env_mono(n->agent->env);
    if (have && same_status(a, have, want) && n->last_status && now - n->last_status < STATUS_EVERY)
        return 0;
    value_setc(a, node, "status", want);
    rc = client_update_status(c, KIND("", "nodes"), node, NULL, e);
    if (rc < 0)
        return rc;
    n->last_status = now;
    bool ready = !not_ready(n);
    if (!n->announced)
        event_record(n->agent->events, object, "Normal", "Starting", "Starting kubelet.");
    if (ready != n->was_ready || !n->announced)
        event_record(n->agent->events, object, "Normal", ready ? "NodeReady" : "NodeNotReady",
                     "Node %.*s status is now: %s", STR_ARG(n->agent->o.node_name),
                     ready ? "NodeReady" : "NodeNotReady");
    if (ready && !n->was_ready)
        log_info("node", "node is ready node=%.*s", STR_ARG(n->agent->o.node_name));
    n->announced = true;
    n->was_ready = ready;
    return 0;
}

// ---- the lease ---------------------------------------------------------------------------------

static int make_lease(struct node_register *n, struct arena *a, struct err *e)
{
    struct client *c = n->agent->client;
    struct str ns = STR("kube-node-lease"), name = n->agent->o.node_name;
    _cleanup_err_ struct err mine = ERR_INIT;
    int rc = client_get(c, KIND("coordination.k8s.io", "leases"), ns, name, &n->lease, &mine);
    if (rc == 0)
        return 0;
    n->lease = NULL;
    if (!err_is(&mine, ERR_NOT_FOUND)) {
        err_move(e, &mine);
        return rc;
    }
    struct value *lease = value_object(a);
    value_setc(a, lease, "apiVersion", value_strc(a, "coordination.k8s.io/v1"));
    value_setc(a, lease, "kind", value_strc(a, "Lease"));
    value_set_at(a, lease, "metadata.name", value_str(a, name));
    value_set_at(a, lease, "metadata.namespace", value_str(a, ns));
    struct object *node = informer_get(n->agent->node_informer, name);
    if (node) {
        struct value *owner = value_object(a), *owners = value_array(a);
        value_setc(a, owner, "apiVersion", value_strc(a, "v1"));
        value_setc(a, owner, "kind", value_strc(a, "Node"));
        value_setc(a, owner, "name", value_str(a, name));
        value_setc(a, owner, "uid",
                   value_str(a, arena_str(a, value_str_at(object_metadata(a, node), "uid"))));
        value_push(a, owners, owner);
        value_set_at(a, lease, "metadata.ownerReferences", owners);
        object_unref(node);
    }
    value_set_at(a, lease, "spec.holderIdentity", value_str(a, name));
    value_set_at(a, lease, "spec.leaseDurationSeconds", value_int(a, LEASE_SECONDS));
    value_set_at(a, lease, "spec.renewTime",
                 value_str(a, time_rfc3339(a, env_now(n->agent->env), 6)));
    rc = client_create(c, KIND("coordination.k8s.io", "leases"), ns, lease, &n->lease, e);
    if (rc < 0)
        n->lease = NULL;
    return rc;
}

static int renew_lease(struct node_register *n, struct arena *a, struct err *e)
{
    if (!n->lease) {
        int rc = make_lease(n, a, e);
        if (rc < 0)
            return rc;
    }
    struct value *lease = value_clone(a, object_tree(a, n->lease));
    value_set_at(a, lease, "spec.holderIdentity", value_str(a, n->agent->o.node_name));
    value_set_at(a, lease, "spec.leaseDurationSeconds", value_int(a, LEASE_SECONDS));
    value_set_at(a, lease, "spec.renewTime",
                 value_str(a, time_rfc3339(a, env_now(n->agent->env), 6)));
    struct object *answer = NULL;
    int rc =
        client_update(n->agent->client, KIND("coordination.k8s.io", "leases"), lease, &answer, e);
    object_unref(n->lease);
    n->lease = rc == 0 ? answer : NULL; // a conflict or a deletion: read or made anew
    return rc;
}

static void look_at_pressure(struct node_register *n)
{
    struct node_pressure p;
    node_pressure_read(n->agent->o.data_dir, &p);
    unsigned bits = (p.memory ? 1u : 0) | (p.disk ? 2u : 0) | (p.pid ? 4u : 0);
    if (atomic_exchange(&n->pressure, bits) != bits)
        node_register_wake(n);
}

// ---- the queue ---------------------------------------------------------------------------------

static uint64_t after(int rc, uint64_t *delay, uint64_t normal, const char *what, struct err *e)
{
    if (rc == 0) {
        *delay = 0;
        return normal;
    }
    if (!err_is(e, ERR_CONFLICT) && !*delay) // once per trouble
        log_warn("node", "%s could not be written error=\"%s\"", what, e->message);
    *delay = !*delay ? RETRY_FIRST : *delay * 2 > RETRY_MAX ? RETRY_MAX : *delay * 2;
    return *delay;
}

static enum reconcile_result sync(void *ctx, struct arena *a, struct str key, uint64_t *after_ns,
                                  struct err *e)
{
    struct node_register *n = ctx;
    if (atomic_load(&n->agent->stopping))
        return RECONCILE_DONE;
    if (str_eqc(key, "lease")) {
        look_at_pressure(n);
        *after_ns = after(renew_lease(n, a, e), &n->lease_delay, LEASE_EVERY, "node lease", e);
    } else {
        *after_ns = after(sync_node(n, a, e), &n->status_delay, STATUS_EVERY, "node status", e);
    }
    return RECONCILE_AFTER;
}

struct node_register *node_register_new(struct node_agent *agent)
{
    struct node_register *n = mem_zalloc(sizeof(*n));
    n->agent = agent;
    struct str name = STR("unknown"), version = STR("");
    agent->runtime->ops->version(agent->runtime, &n->a, &name, &version, NULL);
    struct str runtime = arena_printf(&n->a, "%s://%.*s%s%.*s", agent->runtime->ops->name,
                                      STR_ARG(name), version.n ? "-" : "", STR_ARG(version));
    node_info_read(&n->a, agent->o.data_dir, agent->o.max_pods, runtime, &n->info);
    agent->node_memory = n->info.memory;
    agent->node_cpu_milli = n->info.cpus * 1000;
    n->queue = work_queue_new(agent->executor, "node", 1, sync, n);
    return n;
}

void node_register_start(struct node_register *n)
{
    work_queue_add(n->queue, STR("status"));
    work_queue_add(n->queue, STR("lease"));
}

void node_register_free(struct node_register *n)
{
    if (!n)
        return;
    work_queue_free(n->queue);
    object_unref(n->lease);
    free(n->cidr);
    arena_done(&n->a);
    free(n);
}
