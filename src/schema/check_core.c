// Rules of core/v1 kinds that look at more than one field, or at the object before. Pods, services,
// storage and quotas have files of their own.
#include "object/base64.h"
#include "object/json.h"
#include "object/key_index.h"
#include "schema/check.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_config_map, check_secret, check_node, check_replication_controller,
    check_event, check_namespace_spec;

// ---- config maps, secrets ----------------------------------------------------------------------

#define DATA_MAX (1024 * 1024)

static size_t check_data(struct check *c, const struct value *object, const char *field,
                         bool binary)
{
    size_t total = 0;
    value_each_field (value_getc(object, field), m) {
        size_t mark = check_push_key(c, field, m->key);
        check_format(c, NULL, value_str(c->arena, m->key), FORMAT_CONFIG_KEY);
        check_pop(c, mark);
        size_t n = value_string(m->value).n;
        total += binary ? n / 4 * 3 : n;
    }
    return total;
}

static void check_frozen(struct check *c, const struct value *object, const struct value *old)
{
    static const char *const fields[] = {"data", "binaryData"};
    if (!old || !value_bool_at(old, "immutable", false))
        return;
    if (!value_bool_at(object, "immutable", false))
        check_forbidden(c, "immutable", "field is immutable when `immutable` is set");
    for (size_t i = 0; i < 2; i++)
        if (!same(value_getc(object, fields[i]), value_getc(old, fields[i])))
            check_forbidden(c, fields[i], "field is immutable when `immutable` is set");
}

void check_config_map(struct check *c, const struct value *map, const struct value *old)
{
    size_t total = check_data(c, map, "data", false) + check_data(c, map, "binaryData", true);
    _cleanup_key_index_ struct key_index binary = KEY_INDEX_INIT;
    key_index_object(&binary, value_getc(map, "binaryData"));
    value_each_field (value_getc(map, "data"), m) {
        if (key_index_find(&binary, m->key) < 0)
            continue;
        size_t mark = check_push_key(c, "data", m->key);
        check_invalid(c, NULL, value_str(c->arena, m->key),
                      "duplicate of key present in binaryData");
        check_pop(c, mark);
    }
    if (total > DATA_MAX)
        check_too_long(c, "[]", DATA_MAX); // the originals' path for the whole object
    check_frozen(c, map, old);
}

static void need_key(struct check *c, const struct value *secret, const char *key)
{
    if (value_getc(value_getc(secret, "data"), key))
        return;
    size_t mark = check_push_key(c, "data", str_of(key));
    check_required(c, NULL, NULL);
    check_pop(c, mark);
}

// A file of credentials must be JSON; what is wrong with it is said, it itself is not shown.
static void check_json_key(struct check *c, const struct value *secret, const char *key)
{
    const struct value *v = value_getc(value_getc(secret, "data"), key);
    _cleanup_err_ struct err e = ERR_INIT;
    _cleanup_buf_ struct buf text = BUF_INIT;
    struct value *parsed;
    if (!v) {
        need_key(c, secret, key);
        return;
    }
    if (!base64_decode(&text, value_string(v)) ||
        json_parse(c->arena, buf_view(&text), &(struct json_options){.max_values = VALUES_MAX},
                   &parsed, &e) >= 0)
        return;
    const char *what = strstr(e.message, ": "); // behind line and column
    size_t mark = check_push_key(c, "data", str_of(key));
    check_invalid(c, NULL, value_strc(c->arena, "<secret contents redacted>"), "%s",
                  what ? what + 2 : e.message);
    check_pop(c, mark);
}

void check_secret(struct check *c, const struct value *secret, const struct value *old)
{
    if (check_data(c, secret, "data", true) > DATA_MAX)
        check_too_long(c, "data", DATA_MAX);
    struct str type = value_str_at(secret, "type");
    const struct value *data = value_getc(secret, "data");
    if (str_eqc(type, "kubernetes.io/service-account-token")) {
        static const struct str key = STR("kubernetes.io/service-account.name");
        if (!value_string(value_get(value_at(secret, "metadata.annotations"), key)).n) {
            size_t mark = check_push_key(c, "metadata.annotations", key);
            check_required(c, NULL, NULL);
            check_pop(c, mark);
        }
    } else if (str_eqc(type, "kubernetes.io/dockercfg")) {
        check_json_key(c, secret, ".dockercfg");
    } else if (str_eqc(type, "kubernetes.io/dockerconfigjson")) {
        check_json_key(c, secret, ".dockerconfigjson");
    } else if (str_eqc(type, "kubernetes.io/basic-auth")) {
        if (!value_getc(data, "username") && !value_getc(data, "password")) {
            need_key(c, secret, "username");
            need_key(c, secret, "password");
        }
    } else if (str_eqc(type, "kubernetes.io/ssh-auth")) {
        need_key(c, secret, "ssh-privatekey");
    } else if (str_eqc(type, "kubernetes.io/tls")) {
        need_key(c, secret, "tls.crt");
        need_key(c, secret, "tls.key");
    }
    if (old)
        check_immutable(c, secret, old, "type");
    check_frozen(c, secret, old);
}

// ---- nodes -------------------------------------------------------------------------------------

void check_node(struct check *c, const struct value *node, const struct value *old)
{
    const struct value *taints = value_at(node, "spec.taints");
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    static const struct str effects[] = {STR("NoSchedule"), STR("PreferNoSchedule"),
                                         STR("NoExecute"), STR_NULL};
    value_each_item (taints, taint) {
        // The originals call the place so.
        size_t at = check_push_index(c, "metadata.taints", taint_i);
        struct value *effect = value_getc(taint, "effect");
        const struct str *known = effects;
        check_format(c, "key", value_getc(taint, "key"), FORMAT_QUALIFIED_NAME);
        if (value_str_at(taint, "value").n)
            check_format(c, "value", value_getc(taint, "value"), FORMAT_LABEL_VALUE);
        while (known->p && !str_eq(*known, value_string(effect)))
            known++;
        if (!value_string(effect).n)
            check_required(c, "effect", NULL);
        else if (!known->p)
            check_not_supported(c, "effect", effect, effects);
        check_pop(c, at);
        struct str pair =
            arena_printf(c->arena, "%.*s:%.*s", STR_ARG(value_str_at(taint, "effect")),
                         STR_ARG(value_str_at(taint, "key")));
        if (key_index_add(&seen, pair) < 0)
            continue;
        at = check_push_index(c, "metadata.taints", taint_i);
        check_duplicate_because(c, NULL, taint, "taints must be unique by key and effect pair");
        check_pop(c, at);
    }
    size_t families[2] = {0};
    value_each_item (value_at(node, "spec.podCIDRs"), range)
        families[str_chr(value_string(range), ':') >= 0]++;
    if (families[0] > 1 || families[1] > 1)
        check_invalid(c, "spec.podCIDRs", value_at(node, "spec.podCIDRs"),
                      "may specify no more than one CIDR for each IP family");
    // The address range of a node may be given once.
    if (old && value_str_at(old, "spec.podCIDR").n &&
        !same(value_at(node, "spec.podCIDR"), value_at(old, "spec.podCIDR")))
        check_forbidden(c, "spec.podCIDRs",
                        "node updates may not change podCIDR except from \"\" "
                        "to valid");
    if (old && value_str_at(old, "spec.providerID").n &&
        !same(value_at(node, "spec.providerID"), value_at(old, "spec.providerID")))
        check_forbidden(c, "spec.providerID",
                        "node updates may not change providerID except from "
                        "\"\" to valid");
}

// ---- the rest -----------------------------------------------------------------------------------

void check_replication_controller(struct check *c, const struct value *rc, const struct value *old)
{
    (void)old;
    const struct value *labels = value_at(rc, "spec.template.metadata.labels");
    bool matches = true;
    _cleanup_key_index_ struct key_index names = KEY_INDEX_INIT;
    key_index_object(&names, labels);
    value_each_field (value_at(rc, "spec.selector"), m) {
        ptrdiff_t at = key_index_find(&names, m->key);
        matches &= at >= 0 && value_eq(m->value, labels->members[at].value);
    }
    if (!matches)
        check_invalid(c, "spec.template.metadata.labels", labels ? labels : value_null(c->arena),
                      "`selector` does not match template `labels`");
    struct value *policy = value_at(rc, "spec.template.spec.restartPolicy");
    if (policy && !str_eqc(value_string(policy), "Always"))
        check_not_supported(c, "spec.template.spec.restartPolicy", policy,
                            (const struct str[]){STR("Always"), STR_NULL});
    if (value_at(rc, "spec.template.spec.activeDeadlineSeconds"))
        check_forbidden(c, "spec.template.spec.activeDeadlineSeconds",
                        "activeDeadlineSeconds in ReplicationController is not Supported");
}

void check_event(struct check *c, const struct value *event, const struct value *old)
{
    (void)old;
    struct str ns = value_str_at(event, "metadata.namespace");
    const struct value *object = value_getc(event, "involvedObject");
    struct str of = value_str_at(object, "namespace");
    if (of.n ? !str_eq(of, ns) : !str_eqc(ns, "default") && !str_eqc(ns, "kube-system"))
        check_invalid(c, "involvedObject.namespace", value_getc(object, "namespace"),
                      "does not match event.namespace");
}

void check_namespace_spec(struct check *c, const struct value *spec, const struct value *old)
{
    (void)old;
    value_each_item (value_getc(spec, "finalizers"), f) {
        check_format(c, "finalizers", f, FORMAT_QUALIFIED_NAME);
        check_finalizer_name(c, "finalizers", f);
    }
}
