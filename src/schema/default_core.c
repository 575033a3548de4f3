// Defaults of core/v1 that depend on other fields. What does not is data in api/core.kinds.
//
// All of these may run twice on one object and must then change nothing.
#include "object/base64.h"
#include "object/key_index.h"
#include "schema/fields.h"
#include "schema/tables.h"

default_function default_pod, default_pod_spec, default_container, default_volume,
    default_service_spec, default_service_port, default_namespace, default_node_status,
    default_limit_range_item, default_replication_controller, default_claim, default_secret;

static void set_empty(struct arena *a, struct value *object, const char *key, const char *text)
{
    if (!value_str_at(object, key).n)
        value_setc(a, object, key, value_strc(a, text));
}

// Copies what `to` does not have; both may be as large as a caller likes.
static void add_missing(struct arena *a, struct value *to, const struct value *from)
{
    _cleanup_key_index_ struct key_index there = KEY_INDEX_INIT;
    key_index_object(&there, to);
    value_each_field (from, m)
        if (key_index_find(&there, m->key) < 0)
            value_push_member(a, to, m->key, value_clone(a, m->value));
}

// A limit without a request is a request of the same amount.
static void requests_from_limits(struct arena *a, const struct value *containers)
{
    value_each_item (containers, container) {
        struct value *resources = value_getc(container, "resources");
        const struct value *limits = value_getc(resources, "limits");
        if (!value_len(limits))
            continue;
        struct value *requests = value_getc(resources, "requests");
        if (!value_is(requests, VALUE_OBJECT)) {
            requests = value_object(a);
            value_setc(a, resources, "requests", requests);
        }
        add_missing(a, requests, limits);
    }
}

void default_pod(struct arena *a, struct value *pod)
{
    struct value *spec = value_getc(pod, "spec"), *status = value_getc(pod, "status");
    if (!value_is(spec, VALUE_OBJECT))
        return;
    requests_from_limits(a, value_getc(spec, "containers"));
    requests_from_limits(a, value_getc(spec, "initContainers"));
    set_absent(a, spec, "enableServiceLinks", value_bool(a, true));
    if (value_is(status, VALUE_OBJECT))
        set_empty(a, status, "phase", "Pending");
}

static void host_ports(struct arena *a, const struct value *containers)
{
    value_each_item (containers, container)
        value_each_item (value_getc(container, "ports"), port)
            if (!value_int_at(port, "hostPort", 0) && value_getc(port, "containerPort"))
                value_setc(a, port, "hostPort", value_clone(a, value_getc(port, "containerPort")));
}

// Fields of features that Kubernetes 1.34 has switched off are lost on the way in.
static void drop_alpha(struct value *containers, bool init)
{
    value_each_item (containers, container) {
        value_delc(container, "restartPolicyRules");
        if (!init || !str_eqc(value_str_at(container, "restartPolicy"), "Always"))
            value_delc(container, "restartPolicy");
        if (value_is(value_getc(container, "lifecycle"), VALUE_OBJECT))
            value_delc(value_getc(container, "lifecycle"), "stopSignal");
        value_each_item (value_getc(container, "env"), env)
            if (value_is(value_getc(env, "valueFrom"), VALUE_OBJECT))
                value_delc(value_getc(env, "valueFrom"), "fileKeyRef");
    }
}

void default_pod_spec(struct arena *a, struct value *spec)
{
    value_delc(spec, "hostnameOverride");
    drop_alpha(value_getc(spec, "containers"), false);
    drop_alpha(value_getc(spec, "initContainers"), true);
    if (value_bool_at(spec, "hostNetwork", false)) {
        host_ports(a, value_getc(spec, "containers"));
        host_ports(a, value_getc(spec, "initContainers"));
    }
    // serviceAccount is the old name of serviceAccountName; both are shown
    struct str account = value_str_at(spec, "serviceAccountName");
    if (!account.n)
        account = value_str_at(spec, "serviceAccount");
    if (account.n) {
        value_setc(a, spec, "serviceAccountName", value_str(a, account));
        value_setc(a, spec, "serviceAccount", value_str(a, account));
    }
}

// The tag decides whether the image may be taken from the node: none, or "latest", may change.
static bool is_latest(struct str image)
{
    if (str_chr(image, '@') >= 0)
        return false;
    ptrdiff_t colon = str_rchr(image, ':'), slash = str_rchr(image, '/');
    return colon <= slash || str_eqc(str_from(image, (size_t)colon + 1), "latest");
}

void default_container(struct arena *a, struct value *container)
{
    set_empty(a, container, "imagePullPolicy",
              is_latest(value_str_at(container, "image")) ? "Always" : "IfNotPresent");
}

void default_volume(struct arena *a, struct value *volume)
{
    if (volume->n == 1 && has(volume, "name"))
        value_setc(a, volume, "emptyDir", value_object(a));
}

void default_service_port(struct arena *a, struct value *port)
{
    const struct value *target = value_getc(port, "targetPort");
    bool unset = !target || (target->kind == VALUE_INT && !target->i) ||
                 (target->kind == VALUE_STRING && !target->n);
    if (unset && value_getc(port, "port"))
        value_setc(a, port, "targetPort", value_clone(a, value_getc(port, "port")));
}

void default_service_spec(struct arena *a, struct value *spec)
{
    struct str type = value_str_at(spec, "type");
    bool node_port = str_eqc(type, "NodePort"), balancer = str_eqc(type, "LoadBalancer");
    if (str_eqc(value_str_at(spec, "sessionAffinity"), "ClientIP") &&
        !value_is(value_at(spec, "sessionAffinityConfig.clientIP"), VALUE_OBJECT))
        value_set_at(a, spec, "sessionAffinityConfig.clientIP", value_object(a));
    if (str_eqc(value_str_at(spec, "sessionAffinity"), "None"))
        value_delc(spec, "sessionAffinityConfig");
    if (node_port || balancer)
        set_empty(a, spec, "externalTrafficPolicy", "Cluster");
    if (balancer)
        set_absent(a, spec, "allocateLoadBalancerNodePorts", value_bool(a, true));
    if (str_eqc(type, "ExternalName"))
        return;
    set_empty(a, spec, "internalTrafficPolicy", "Cluster");
}

// The old and the new field of where a claim's data comes from say the same. The old one takes
// claims and snapshots only; anything else in it is lost.
void default_claim(struct arena *a, struct value *claim)
{
    struct value *spec = value_getc(claim, "spec");
    const struct value *source = value_getc(spec, "dataSource"),
                       *ref = value_getc(spec, "dataSourceRef");
    if (!value_is(spec, VALUE_OBJECT))
        return;
    struct str kind = value_str_at(source, "kind"), group = value_str_at(source, "apiGroup");
    bool of_claim = str_eqc(kind, "PersistentVolumeClaim") && !group.n;
    bool of_snapshot = str_eqc(kind, "VolumeSnapshot") && str_eqc(group, "snapshot.storage.k8s.io");
    if (value_is(source, VALUE_OBJECT) && !of_claim && !of_snapshot && kind.n) {
        value_delc(spec, "dataSource");
        source = NULL;
    }
    if (value_str_at(ref, "namespace").n)
        return;
    if (value_is(source, VALUE_OBJECT) && !value_is(ref, VALUE_OBJECT))
        value_setc(a, spec, "dataSourceRef", value_clone(a, source));
    else if (value_is(ref, VALUE_OBJECT) && !value_is(source, VALUE_OBJECT) && !kind.n)
        value_setc(a, spec, "dataSource", value_clone(a, ref));
}

void default_namespace(struct arena *a, struct value *namespace)
{
    struct value *meta = value_getc(namespace, "metadata");
    struct str name = value_str_at(meta, "name");
    if (!name.n)
        return; // generateName: done when the name is known, on the second run
    struct value *labels = value_getc(meta, "labels");
    if (!value_is(labels, VALUE_OBJECT)) {
        labels = value_object(a);
        value_setc(a, meta, "labels", labels);
    }
    value_setc(a, labels, "kubernetes.io/metadata.name", value_str(a, name));
}

void default_node_status(struct arena *a, struct value *status)
{
    if (!value_len(value_getc(status, "allocatable")) && value_len(value_getc(status, "capacity")))
        value_setc(a, status, "allocatable", value_clone(a, value_getc(status, "capacity")));
}

static void merge_amounts(struct arena *a, struct value *item, const char *to, const char *from)
{
    struct value *target = value_getc(item, to);
    if (!value_len(value_getc(item, from)))
        return;
    if (!value_is(target, VALUE_OBJECT)) {
        target = value_object(a);
        value_setc(a, item, to, target);
    }
    add_missing(a, target, value_getc(item, from));
}

void default_limit_range_item(struct arena *a, struct value *item)
{
    if (!str_eqc(value_str_at(item, "type"), "Container"))
        return;
    merge_amounts(a, item, "default", "max");
    merge_amounts(a, item, "defaultRequest", "default");
    merge_amounts(a, item, "defaultRequest", "min");
}

void default_replication_controller(struct arena *a, struct value *rc)
{
    struct value *labels = value_at(rc, "spec.template.metadata.labels");
    struct value *spec = value_getc(rc, "spec");
    if (!value_len(labels))
        return;
    if (!value_len(value_getc(spec, "selector")))
        value_setc(a, spec, "selector", value_clone(a, labels));
    if (!value_len(value_at(rc, "metadata.labels")))
        value_set_at(a, rc, "metadata.labels", value_clone(a, labels));
}

// stringData is a way of writing data; it is never stored.
void default_secret(struct arena *a, struct value *secret)
{
    const struct value *text = value_getc(secret, "stringData");
    struct value *data = value_getc(secret, "data");
    if (!text)
        return;
    if (!value_is(data, VALUE_OBJECT) && value_len(text)) {
        data = value_object(a);
        value_setc(a, secret, "data", data);
    }
    _cleanup_key_index_ struct key_index there = KEY_INDEX_INIT;
    key_index_object(&there, data);
    value_each_field (text, m) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        base64_encode(&b, value_string(m->value));
        struct value *v = value_str(a, arena_str(a, buf_view(&b)));
        ptrdiff_t at = key_index_find(&there, m->key);
        if (at >= 0)
            data->members[at].value = v;
        else
            value_push_member(a, data, m->key, v);
    }
    value_delc(secret, "stringData");
}
