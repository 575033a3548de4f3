// Rules of volumes that look at more than one field. What looks at one is data in api/core.kinds,
// and that a volume has exactly one source too (`oneof`).
//
// The sources of cluster volumes (PersistentVolume) share most of the functions here: the same name
// in a pod refers to a Secret beside the pod, in a PersistentVolume to one with its namespace.
#include "object/quantity.h"
#include "schema/check_pod.h"
#include "schema/fields.h"
#include "schema/tables.h"

check_function check_nfs, check_empty_dir, check_host_path, check_iscsi, check_fc, check_flocker,
    check_flex, check_azure_disk, check_azure_file_pv, check_secret_reference, check_projected,
    check_token_projection, check_csi_volume, check_quobyte, check_glusterfs_pv, check_cinder,
    check_cinder_pv, check_storage_os, check_storage_os_pv, check_key_paths_named;

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void no_backsteps(struct check *c, const struct value *object, const char *field)
{
    for (struct str rest = value_str_at(object, field); rest.p && rest.n;)
        if (str_eqc(str_cut(&rest, '/'), "..")) {
            check_invalid(c, field, value_getc(object, field), "must not contain '..'");
            break;
        }
}

void check_empty_dir(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    struct quantity q;
    // the fault is the volume's: its path is that of emptyDir
    if (quantity_parse(value_str_at(source, "sizeLimit"), &q) && q.nano < 0)
        check_forbidden(c, "sizeLimit", "SizeLimit field must be a valid resource quantity");
}

void check_host_path(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    no_backsteps(c, source, "path");
}

void check_key_paths_named(struct check *c, const struct value *object, const struct value *old)
{
    (void)old;
    if (!value_str_at(object, "name").n)
        check_required(c, "name", NULL);
}

// iqn.2001-04.com.example:disk, eui. and 16 hexadecimal digits, naa. and 32.
static bool is_iqn(struct str s)
{
    if (str_starts(s, STR("iqn."))) {
        s = str_from(s, 4);
        if (s.n < 9)
            return false;
        for (size_t i = 0; i < 7; i++)
            if (i == 4 ? s.p[i] != '-' : s.p[i] < '0' || s.p[i] > '9')
                return false;
        return s.p[7] == '.' && s.n > 8;
    }
    bool eui = str_starts(s, STR("eui.")), naa = str_starts(s, STR("naa."));
    s = str_from(s, 4);
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("0123456789abcdefABCDEF", s.p[i]))
            return false;
    return (eui && s.n == 16) || (naa && s.n == 32);
}

static void check_iqn(struct check *c, const struct value *source, const char *field,
                      const char *path)
{
    struct str s = value_str_at(source, field);
    bool known =
        str_starts(s, STR("iqn")) || str_starts(s, STR("eui")) || str_starts(s, STR("naa"));
    if (!known)
        check_invalid(c, path, value_getc(source, field),
                      "must be valid format starting with iqn, eui, or naa");
    else if (!is_iqn(s))
        check_invalid(c, path, value_getc(source, field), "must be valid format");
}

void check_iscsi(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    if (value_str_at(source, "iqn").n)
        check_iqn(c, source, "iqn", "iqn");
    bool chap = value_bool_at(source, "chapAuthDiscovery", false) ||
                value_bool_at(source, "chapAuthSession", false);
    if (chap && !has(source, "secretRef"))
        check_required(c, "secretRef", NULL);
    if (has(source, "initiatorName"))
        check_iqn(c, source, "initiatorName", "initiatorname");
}

void check_fc(struct check *c, const struct value *fc, const struct value *old)
{
    (void)old;
    bool names = value_len(value_getc(fc, "targetWWNs")), ids = value_len(value_getc(fc, "wwids"));
    struct value *lun = value_getc(fc, "lun");
    if (!names && !ids)
        check_required(c, "targetWWNs", "must specify either targetWWNs or wwids, but not both");
    if (names && ids)
        check_invalid(c, "targetWWNs", value_getc(fc, "targetWWNs"),
                      "targetWWNs and wwids can not be specified simultaneously");
    if (!names)
        return;
    if (!has(fc, "lun"))
        check_required(c, "lun", "lun is required if targetWWNs is specified");
    else if (value_int_or(lun, 0) < 0 || value_int_or(lun, 0) > 255)
        check_invalid(c, "lun", lun, "must be between 0 and 255, inclusive");
}

void check_flocker(struct check *c, const struct value *flocker, const struct value *old)
{
    (void)old;
    struct str name = value_str_at(flocker, "datasetName");
    bool id = value_str_at(flocker, "datasetUUID").n;
    if (!name.n && !id)
        check_required(c, NULL, "one of datasetName and datasetUUID is required");
    if (name.n && id)
        check_invalid(c, NULL, value_strc(c->arena, "resource"),
                      "datasetName and datasetUUID can not be specified simultaneously");
    if (str_chr(name, '/') >= 0)
        check_invalid(c, "datasetName", value_getc(flocker, "datasetName"), "must not contain '/'");
}

void check_flex(struct check *c, const struct value *flex, const struct value *old)
{
    (void)old;
    value_each_field (value_getc(flex, "options"), m) {
        struct str domain = m->key;
        domain = str_cut(&domain, '/');
        if (str_chr(m->key, '/') < 0 ||
            !(str_eqc(domain, "kubernetes.io") || str_ends(domain, STR(".kubernetes.io")) ||
              str_eqc(domain, "k8s.io") || str_ends(domain, STR(".k8s.io"))))
            continue;
        size_t mark = check_push_key(c, "options", m->key);
        check_invalid(c, NULL, value_str(c->arena, m->key),
                      "kubernetes.io and k8s.io namespaces are reserved");
        check_pop(c, mark);
    }
}

void check_azure_disk(struct check *c, const struct value *disk, const struct value *old)
{
    (void)old;
    static const struct str managed[] = {
        STR("/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/"
            "{disk-id}"),
        STR_NULL};
    static const struct str blob[] = {
        STR("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
        STR_NULL};
    struct value *uri = value_getc(disk, "diskURI");
    bool is_managed = str_eqc(value_str_at(disk, "kind"), "Managed");
    bool path = str_starts(value_string(uri), STR("/subscriptions"));
    if (is_managed && !path)
        check_not_supported(c, "diskURI", uri, managed);
    if (!is_managed && value_str_at(disk, "kind").n &&
        !str_starts(value_string(uri), STR("https://")))
        check_not_supported(c, "diskURI", uri, blob);
}

void check_azure_file_pv(struct check *c, const struct value *file, const struct value *old)
{
    (void)old;
    if (has(file, "secretNamespace") && !value_str_at(file, "secretNamespace").n)
        check_required(c, "secretNamespace", NULL);
}

// A reference to a Secret with its namespace, as cluster volumes have it.
void check_secret_reference(struct check *c, const struct value *csi, const struct value *old)
{
    (void)old;
    static const char *const refs[] = {"controllerPublishSecretRef", "controllerExpandSecretRef",
                                       "nodePublishSecretRef", "nodeExpandSecretRef"};
    if (!value_str_at(csi, "driver").n)
        check_format(c, "driver", value_getc(csi, "driver"), FORMAT_CSI_DRIVER);
    for (size_t i = 0; i < COUNT(refs); i++) {
        const struct value *ref = value_getc(csi, refs[i]);
        if (!value_is(ref, VALUE_OBJECT))
            continue;
        static const char *const parts[] = {"name", "namespace"};
        size_t mark = check_push(c, refs[i]);
        for (size_t j = 0; j < 2; j++) {
            if (!value_str_at(ref, parts[j]).n)
                check_required(c, parts[j], NULL);
            else
                check_format(c, parts[j], value_getc(ref, parts[j]), FORMAT_DNS1123_LABEL);
        }
        check_pop(c, mark);
    }
}

static void need_secret(struct check *c, const struct value *source, bool with_namespace)
{
    const struct value *ref = value_getc(source, "secretRef");
    if (!value_is(ref, VALUE_OBJECT))
        return;
    if (!value_str_at(ref, "name").n)
        check_required(c, "secretRef.name", NULL);
    if (with_namespace && !value_str_at(ref, "namespace").n)
        check_required(c, "secretRef.namespace", NULL);
}

void check_cinder(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    need_secret(c, source, false);
}

void check_cinder_pv(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    need_secret(c, source, true);
}

void check_storage_os(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    need_secret(c, source, false);
}

void check_storage_os_pv(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    need_secret(c, source, true);
}

void check_glusterfs_pv(struct check *c, const struct value *source, const struct value *old)
{
    (void)old;
    struct value *ns = value_getc(source, "endpointsNamespace");
    if (has(source, "endpointsNamespace") && !value_string(ns).n)
        check_invalid(c, "endpointsNamespace", ns,
                      "if the endpointnamespace is set, it must be a valid namespace name");
    else if (value_string(ns).n)
        check_format(c, "endpointsNamespace", ns, FORMAT_DNS1123_LABEL);
}

void check_quobyte(struct check *c, const struct value *quobyte, const struct value *old)
{
    (void)old;
    static const char text[] = "must be a host:port pair or multiple pairs separated by commas";
    struct value *registry = value_getc(quobyte, "registry");
    struct str s = value_string(registry);
    if (!s.n)
        check_required(c, "registry", text);
    else if (value_str_at(quobyte, "tenant").n >= 65)
        check_required(c, "tenant", "must be a UUID and may not exceed a length of 64 characters");
    else
        for (struct str rest = s; rest.p;) {
            struct str pair = str_cut(&rest, ',');
            ptrdiff_t colon = str_rchr(pair, ':');
            if (colon < 0 || str_chr(pair, ':') != colon)
                check_invalid(c, "registry", registry, text);
        }
    if (!value_str_at(quobyte, "volume").n)
        check_required(c, "volume", NULL);
}

void check_nfs(struct check *c, const struct value *nfs, const struct value *old)
{
    (void)old;
    if (!str_starts(value_str_at(nfs, "path"), STR("/")))
        check_invalid(c, "path", value_getc(nfs, "path"), "must be an absolute path");
}

// ---- files that are made from elsewhere -------------------------------------------------------

// The path of their faults is the volume's, as in the originals.
static void check_downward(struct check *c, const struct value *volume)
{
    value_each_item (value_getc(volume, "items"), file) {
        struct value *mode = value_getc(file, "mode");
        if (!value_str_at(file, "path").n)
            check_required(c, "path", NULL);
        else
            check_format(c, "path", value_getc(file, "path"), FORMAT_LOCAL_PATH);
        const struct value *field = value_getc(file, "fieldRef"),
                           *resource = value_getc(file, "resourceFieldRef");
        if (has(file, "fieldRef")) {
            size_t mark = check_push(c, "fieldRef");
            check_field_ref_of(c, field, true);
            check_pop(c, mark);
            if (has(file, "resourceFieldRef"))
                check_invalid(c, NULL, value_strc(c->arena, "resource"),
                              "fieldRef and resourceFieldRef can not be specified simultaneously");
        } else if (has(file, "resourceFieldRef")) {
            size_t mark = check_push(c, "resourceFieldRef");
            check_resource_ref_of(c, resource, true);
            check_pop(c, mark);
        } else {
            check_required(c, NULL, "one of fieldRef and resourceFieldRef is required");
        }
        if (value_int_or(mode, 0) < 0 || value_int_or(mode, 0) > 0777)
            check_invalid(c, "mode", mode,
                          "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

void check_token_projection(struct check *c, const struct value *token, const struct value *old)
{
    (void)old;
    struct value *seconds = value_getc(token, "expirationSeconds");
    if (value_int_or(seconds, 3600) < 600)
        check_invalid(c, "expirationSeconds", seconds,
                      "may not specify a duration less than 10 minutes");
    else if (value_int_or(seconds, 3600) > 4294967296)
        check_invalid(c, "expirationSeconds", seconds,
                      "may not specify a duration larger than 2^32 seconds");
}

// The paths that one source of a projected volume makes.
static void claim_path(struct check *c, struct key_index *seen, const struct value *path,
                       const struct value *shown)
{
    if (value_string(path).n && key_index_add(seen, value_string(path)) >= 0)
        check_invalid(c, NULL, shown, "conflicting duplicate paths");
}

static void claim_items(struct check *c, struct key_index *seen, const struct value *source,
                        const struct value *shown)
{
    value_each_item (value_getc(source, "items"), item) {
        const struct value *path = value_getc(item, "path");
        claim_path(c, seen, path, shown ? shown : path);
    }
}

void check_projected(struct check *c, const struct value *volume, const struct value *old)
{
    (void)old;
    static const char *const kinds[] = {
        "secret",        "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle",
        "podCertificate"};
    _cleanup_key_index_ struct key_index seen = KEY_INDEX_INIT;
    value_each_item (value_getc(volume, "sources"), source) {
        size_t n = 0;
        for (size_t i = 0; i < COUNT(kinds); i++) {
            const struct value *s = value_getc(source, kinds[i]);
            if (!value_is(s, VALUE_OBJECT))
                continue;
            n++;
            if (i < 3)
                claim_items(c, &seen, s, i < 2 ? value_getc(s, "name") : NULL);
            else if (i == 3 && !value_str_at(s, "path").n)
                check_required(c, "path", NULL);
            else if (i == 4)
                claim_path(c, &seen, value_getc(s, "path"), value_getc(s, "path"));
            if (i == 2) {
                size_t mark = check_push_index(c, "sources", source_i);
                size_t inner = check_push(c, "downwardAPI");
                check_downward(c, s);
                check_pop(c, inner);
                check_pop(c, mark);
            }
        }
        if (n > 1) {
            size_t mark = check_push_index(c, "sources", source_i);
            check_forbidden(c, NULL, "may not specify more than 1 volume type per source");
            check_pop(c, mark);
        }
    }
}

void check_csi_volume(struct check *c, const struct value *csi, const struct value *old)
{
    (void)old;
    const struct value *ref = value_getc(csi, "nodePublishSecretRef");
    if (!value_str_at(csi, "driver").n)
        check_format(c, "driver", value_getc(csi, "driver"), FORMAT_CSI_DRIVER);
    if (!value_is(ref, VALUE_OBJECT))
        return;
    if (!value_str_at(ref, "name").n)
        check_required(c, "nodePublishSecretRef.name", NULL);
    else
        check_format(c, "nodePublishSecretRef.name", value_getc(ref, "name"),
                     FORMAT_DNS1123_SUBDOMAIN);
}

void check_volumes(struct check *c, const struct value *spec)
{
    const struct value *meta = value_getc(c->root, "metadata");
    bool pod = str_eqc(c->kind->kind, "Pod") && value_str_at(meta, "name").n;
    _cleanup_key_index_ struct key_index made = KEY_INDEX_INIT;
    value_each_item (value_getc(spec, "volumes"), volume) {
        size_t mark = check_push_index(c, "volumes", volume_i);
        struct value *name = value_getc(volume, "name");
        if (has(volume, "downwardAPI")) {
            size_t inner = check_push(c, "downwardAPI");
            check_downward(c, value_getc(volume, "downwardAPI"));
            check_pop(c, inner);
        }
        if (pod && has(volume, "ephemeral")) {
            // The claim that is made for it has the pod's name and the volume's.
            struct str claim =
                arena_printf(c->arena, "%.*s-%.*s", STR_ARG(value_str_at(meta, "name")),
                             STR_ARG(value_string(name)));
            struct value *messages = value_array(c->arena);
            if (!schema_format_ok(c->arena, FORMAT_DNS1123_SUBDOMAIN, claim, messages))
                value_each_item (messages, m)
                    check_invalid(c, "name", name, "PVC name \"%.*s\": %.*s", STR_ARG(claim),
                                  STR_ARG(value_string(m)));
            key_index_add(&made, claim);
        }
        check_pop(c, mark);
    }
    value_each_item (value_getc(spec, "volumes"), volume) {
        struct value *claim = value_at(volume, "persistentVolumeClaim.claimName");
        if (!value_string(claim).n || key_index_find(&made, value_string(claim)) < 0)
            continue;
        size_t mark = check_push_index(c, "volumes", volume_i);
        check_invalid(c, "persistentVolumeClaim.claimName", claim,
                      "must not reference a PVC that gets created for an ephemeral volume");
        check_pop(c, mark);
    }
}
