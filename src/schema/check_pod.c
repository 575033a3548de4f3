// Rules of a pod's spec that look at more than one field. What looks at one is data in
// api/core.kinds; containers, volumes and placement have files of their own (check_container.c,
// check_volume.c, check_scheduling.c); what a pod may change is check_pod_update.c.
#include "schema/check_pod.h"
#include "object/quantity.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_pod_spec, check_pod_template, check_pod_claim, check_pod_os,
    check_pod_security_context;

#define COUNT(a) (sizeof(a) / sizeof *(a))

void check_pod_claim(struct check *c, const struct value *claim, const struct value *old)
{
    (void)old;
    bool name = has(claim, "resourceClaimName"), template = has(claim, "resourceClaimTemplateName");
    if (name && template)
        check_invalid(
            c, NULL, claim,
            "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
    if (!name && !template)
        check_invalid(c, NULL, claim,
                      "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
    if (name)
        check_format(c, "resourceClaimName", value_getc(claim, "resourceClaimName"),
                     FORMAT_DNS1123_SUBDOMAIN);
    if (template)
        check_format(c, "resourceClaimTemplateName", value_getc(claim, "resourceClaimTemplateName"),
                     FORMAT_DNS1123_SUBDOMAIN);
}

// ---- names ------------------------------------------------------------------------------------

#define SEARCH_LIST_MAX 2048

static void check_dns(struct check *c, const struct value *spec)
{
    const struct value *dns = value_getc(spec, "dnsConfig"), *list = value_getc(dns, "nameservers");
    bool none = str_eqc(value_str_at(spec, "dnsPolicy"), "None");
    if (none && !value_is(dns, VALUE_OBJECT))
        check_required(c, "dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None");
    else if (none && !value_len(list))
        check_required(c, "dnsConfig.nameservers",
                       "must provide at least one DNS nameserver when `dnsPolicy` is None");
    if (value_len(list) > 3)
        check_invalid(c, "dnsConfig.nameservers", list, "must not have more than 3 nameservers");
    const struct value *searches = value_getc(dns, "searches");
    size_t length = value_len(searches) ? value_len(searches) - 1 : 0;
    value_each_item (searches, s)
        length += value_string(s).n;
    if (value_len(searches) > 32)
        check_invalid(c, "dnsConfig.searches", searches, "must not have more than 32 search paths");
    if (length > SEARCH_LIST_MAX)
        check_invalid(c, "dnsConfig.searches", searches,
                      "must not have more than 2048 characters (including spaces) in the search "
                      "list");
    value_each_item (searches, s) {
        struct str name = value_string(s);
        if (str_ends(name, STR(".")))
            name.n--;
        size_t mark = check_push_index(c, "dnsConfig.searches", s_i);
        if (value_string(s).n != 1 || name.n)
            check_format(c, NULL, value_str(c->arena, name), FORMAT_SEARCH_DOMAIN);
        check_pop(c, mark);
    }
    value_each_item (value_getc(dns, "options"), option) {
        if (value_str_at(option, "name").n)
            continue;
        size_t mark = check_push_index(c, "dnsConfig.options", option_i);
        check_required(c, NULL, "must not be empty");
        check_pop(c, mark);
    }
}

// ---- namespaces of the node, and systems ------------------------------------------------------

static void check_host_users(struct check *c, const struct value *spec)
{
    static const struct {
        const char *field, *shown;
    } shared[] = {{"hostNetwork", "hostNetwork"}, {"hostPID", "HostPID"}, {"hostIPC", "HostIPC"}};
    if (value_bool_at(spec, "hostUsers", true))
        return;
    for (size_t i = 0; i < COUNT(shared); i++)
        if (value_bool_at(spec, shared[i].field, false))
            check_forbidden(c, shared[i].shown, "when `hostUsers` is false");
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    for (size_t l = 0; l < COUNT(lists); l++)
        value_each_item (value_getc(spec, lists[l]), container) {
            if (!value_len(value_getc(container, "volumeDevices")))
                continue;
            size_t mark = check_push_index(c, lists[l], container_i);
            check_forbidden(c, "volumeDevices", "when `hostUsers` is false");
            check_pop(c, mark);
        }
}

static void forbid(struct check *c, const struct value *object, const char *prefix,
                   const char *const *fields, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        if (!has(object, fields[i]))
            continue;
        size_t mark = prefix ? check_push(c, prefix) : c->path.n;
        check_forbidden(c, fields[i], "%s", text);
        check_pop(c, mark);
    }
}

static const char *const container_lists[] = {"containers", "initContainers",
                                              "ephemeralContainers"};

static void check_linux(struct check *c, const struct value *spec)
{
    static const char *const no[] = {"windowsOptions"};
    static const char text[] = "windows options cannot be set for a linux pod";
    forbid(c, value_getc(spec, "securityContext"), "securityContext", no, 1, text);
    for (size_t l = 0; l < COUNT(container_lists); l++)
        value_each_item (value_getc(spec, container_lists[l]), container) {
            size_t mark = check_push_index(c, container_lists[l], container_i);
            forbid(c, value_getc(container, "securityContext"), "securityContext", no, 1, text);
            check_pop(c, mark);
        }
}

static void check_windows(struct check *c, const struct value *spec)
{
    static const char *const of_pod[] = {
        "appArmorProfile",     "seLinuxOptions",
        "seccompProfile",      "fsGroup",
        "fsGroupChangePolicy", "sysctls",
        "runAsUser",           "runAsGroup",
        "supplementalGroups",  "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    };
    static const char *const of_spec[] = {"hostUsers", "shareProcessNamespace"};
    static const char *const of_container[] = {
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    };
    static const char text[] = "cannot be set for a windows pod";
    if (value_bool_at(spec, "hostPID", false))
        check_forbidden(c, "hostPID", text);
    if (value_bool_at(spec, "hostIPC", false))
        check_forbidden(c, "hostIPC", text);
    forbid(c, spec, NULL, of_spec, COUNT(of_spec), text);
    forbid(c, value_getc(spec, "securityContext"), "securityContext", of_pod, COUNT(of_pod), text);
    for (size_t l = 0; l < COUNT(container_lists); l++)
        value_each_item (value_getc(spec, container_lists[l]), container) {
            size_t mark = check_push_index(c, container_lists[l], container_i);
            forbid(c, value_getc(container, "securityContext"), "securityContext", of_container,
                   COUNT(of_container), text);
            check_pop(c, mark);
        }
}

static void check_system(struct check *c, const struct value *spec)
{
    static const struct str systems[] = {STR("linux"), STR("windows"), STR_NULL};
    const struct value *os = value_getc(spec, "os");
    struct value *name = value_getc(os, "name");
    if (!value_is(os, VALUE_OBJECT))
        return;
    if (!value_string(name).n)
        check_required(c, "os.name", NULL);
    else if (str_eq(value_string(name), systems[0]))
        check_linux(c, spec);
    else if (str_eq(value_string(name), systems[1]))
        check_windows(c, spec);
    else
        check_not_supported(c, "os", name, systems);
}

static void check_sysctls(struct check *c, const struct value *spec)
{
    bool network = value_bool_at(spec, "hostNetwork", false),
         ipc = value_bool_at(spec, "hostIPC", false);
    value_each_item (value_at(spec, "securityContext.sysctls"), s) {
        struct value *name = value_getc(s, "name");
        char *text = arena_cstr(c->arena, value_string(name));
        for (char *p = text; *p; p++)
            *p = *p == '/' ? '.' : *p;
        struct str n = str_of(text);
        size_t mark = check_push_index(c, "securityContext.sysctls", s_i);
        bool of_ipc = str_starts(n, STR("kernel.shm")) || str_starts(n, STR("kernel.msg")) ||
                      str_eqc(n, "kernel.sem") || str_starts(n, STR("fs.mqueue."));
        if (network && str_starts(n, STR("net.")))
            check_invalid(c, "name", name, "may not be specified when 'hostNetwork' is true");
        if (ipc && of_ipc)
            check_invalid(c, "name", name, "may not be specified when 'hostIPC' is true");
        check_pop(c, mark);
    }
}

// ---- HostProcess (Windows) --------------------------------------------------------------------

static void check_host_process(struct check *c, const struct value *spec)
{
    const struct value *of_pod = value_at(spec, "securityContext.windowsOptions.hostProcess");
    size_t with = 0, without = 0;
    for (size_t l = 0; l < COUNT(container_lists); l++)
        value_each_item (value_getc(spec, container_lists[l]), container) {
            const struct value *own =
                value_at(container, "securityContext.windowsOptions.hostProcess");
            if (of_pod && own && !value_eq(of_pod, own)) {
                size_t mark = check_push_index(c, container_lists[l], container_i);
                check_invalid(c, "securityContext.windowsOptions.hostProcess", own,
                              "pod hostProcess value must be identical if both are specified, was "
                              "%s",
                              value_bool_or(of_pod, false) ? "true" : "false");
                check_pop(c, mark);
            }
            if (value_bool_or(own ? own : of_pod, false))
                with++;
            else
                without++;
        }
    if (!with)
        return;
    if (without)
        check_invalid(c, NULL, NULL,
                      "If pod contains any hostProcess containers then all containers must be "
                      "HostProcess containers");
    if (!value_bool_at(spec, "hostNetwork", false))
        check_invalid(c, "hostNetwork", value_bool(c->arena, false),
                      "hostNetwork must be true if pod contains any hostProcess containers");
}

// ---- the spec ---------------------------------------------------------------------------------

// Names of volumes; those of a StatefulSet's claim templates are there too, since the pods that it
// makes will have them.
static void index_volumes(struct check *c, struct pod_check *p)
{
    const struct value *lists[] = {value_getc(p->spec, "volumes"), NULL};
    if (str_eqc(c->kind->kind, "StatefulSet"))
        lists[1] = value_at(c->root, "spec.volumeClaimTemplates");
    p->volumes =
        arena_array(c->arena, const struct value *, value_len(lists[0]) + value_len(lists[1]) + 1);
    value_each_item (lists[0], volume)
        if (key_index_add(&p->volume_names, value_str_at(volume, "name")) < 0)
            p->volumes[p->volume_names.n - 1] = volume;
    struct value *claim = value_object(c->arena);
    value_setc(c->arena, claim, "persistentVolumeClaim", value_object(c->arena));
    value_each_item (lists[1], template)
        if (key_index_add(&p->volume_names, value_str_at(template, "metadata.name")) < 0)
            p->volumes[p->volume_names.n - 1] = claim;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void index_claims(struct check *c, struct pod_check *p)
{
    const struct value *claims = value_getc(p->spec, "resourceClaims");
    struct str *names = arena_array(c->arena, struct str, value_len(claims) + 1);
    value_each_item (claims, claim)
        key_index_add(&p->claim_names, names[claim_i] = value_str_at(claim, "name"));
    _cleanup_buf_ struct buf b = BUF_MAX(4096);
    buf_puts(&b, "must be one of the names in pod.spec.resourceClaims");
    buf_puts(&b, value_len(claims) ? ": " : " which is empty");
    if (value_len(claims))
        qsort(names, value_len(claims), sizeof *names, by_text);
    for (size_t i = 0; i < value_len(claims); i++) {
        buf_puts(&b, i ? ", " : "");
        buf_str(&b, names[i]);
    }
    p->claims_said = arena_cstr(c->arena, buf_view(&b));
}

// A token is somebody's.
static void check_no_tokens(struct check *c, const struct value *spec)
{
    value_each_item (value_getc(spec, "volumes"), volume)
        value_each_item (value_at(volume, "projected.sources"), source) {
            if (!has(source, "serviceAccountToken"))
                continue;
            size_t mark = check_push_index(c, "volumes", volume_i);
            size_t inner = check_push_index(c, "projected.sources", source_i);
            check_forbidden(c, "serviceAccountToken",
                            "must not be specified when serviceAccountName is not set");
            check_pop(c, inner);
            check_pop(c, mark);
        }
}

// An old pod whose image is padded stays as it is.
static bool was_padded(const struct value *old)
{
    for (size_t l = 0; l < COUNT(container_lists); l++)
        value_each_item (value_getc(old, container_lists[l]), container) {
            struct str image = value_str_at(container, "image");
            if (str_trim(image).n != image.n)
                return true;
        }
    return false;
}

void check_pod_spec(struct check *c, const struct value *spec, const struct value *old)
{
    struct pod_check p = {.spec = spec, .images_trimmed = !was_padded(old)};
    index_volumes(c, &p);
    index_claims(c, &p);
    check_volumes(c, spec);
    check_containers(c, &p);
    key_index_done(&p.volume_names);
    key_index_done(&p.claim_names);
    key_index_done(&p.container_names);
    if (value_bool_at(spec, "shareProcessNamespace", false) &&
        value_bool_at(spec, "hostPID", false))
        check_invalid(c, "securityContext.shareProcessNamespace",
                      value_getc(spec, "shareProcessNamespace"),
                      "ShareProcessNamespace and HostPID cannot both be enabled");
    check_sysctls(c, spec);
    check_dns(c, spec);
    check_scheduling(c, spec);
    check_host_process(c, spec);
    check_host_users(c, spec);
    check_overhead(c, value_getc(spec, "overhead"));
    if (str_eqc(c->kind->kind, "Pod") && !value_str_at(spec, "serviceAccountName").n)
        check_no_tokens(c, spec);
    check_system(c, spec);
}

// Annotations that mean something to the server.
void check_pod_annotations(struct check *c, const struct value *meta, const struct value *spec)
{
    static const struct str mirror = STR("kubernetes.io/config.mirror"),
                            cost = STR("controller.kubernetes.io/pod-deletion-cost");
    const struct value *annotations = value_getc(meta, "annotations");
    const struct value *m = value_get(annotations, mirror), *v = value_get(annotations, cost);
    int64_t number;
    if (m && !value_str_at(spec, "nodeName").n) {
        size_t mark = check_push_key(c, "metadata.annotations", mirror);
        check_invalid(c, NULL, m, "must set spec.nodeName if mirror pod annotation is set");
        check_pop(c, mark);
    }
    if (v && (!str_to_i64(value_string(v), &number) || number > INT32_MAX || number < INT32_MIN)) {
        size_t mark = check_push_key(c, "metadata.annotations", cost);
        check_invalid(c, NULL, v, "must be a 32bit integer");
        check_pop(c, mark);
    }
}

void check_pod_template(struct check *c, const struct value *template, const struct value *old)
{
    (void)old;
    check_pod_annotations(c, value_getc(template, "metadata"), value_getc(template, "spec"));
    if (value_len(value_at(template, "spec.ephemeralContainers")))
        check_forbidden(c, "spec.ephemeralContainers",
                        "ephemeral containers not allowed in pod template");
}
