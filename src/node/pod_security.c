// Merging of security contexts. Where a pod says nothing, coracle is stricter than upstream in two
// ways (DESIGN.md section 6): the runtime's default seccomp profile applies, and no_new_privs is
// set; `seccompProfile: {type: Unconfined}` and `allowPrivilegeEscalation: true` ask for the
// contrary.
#include "node/pod_security.h"

static const struct value *effective(const struct value *pod, const struct value *container,
                                     const char *field)
{
    const struct value *v = value_getc(value_getc(container, "securityContext"), field);
    return v ? v : value_getc(value_at(pod, "spec.securityContext"), field);
}

static const struct str *capabilities(struct arena *a, const struct value *context,
                                      const char *list, size_t *ret_n)
{
    const struct value *v = value_at(context, list);
    size_t n = value_len(v);
    struct str *out = arena_array(a, struct str, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct str s = value_string(value_item(v, i));
        out[i] = str_starts(s, STR("CAP_")) ? str_from(s, 4) : s;
    }
    *ret_n = n;
    return out;
}

static bool has(const struct str *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqc(list[i], name))
            return true;
    return false;
}

static int check_non_root(const struct value *pod, const struct value *container,
                          const struct image_info *image, const struct runtime_container_config *c,
                          struct err *e)
{
    struct str name = value_str_at(pod, "metadata.name"),
               ns = value_str_at(pod, "metadata.namespace"),
               uid = value_str_at(pod, "metadata.uid"), own = value_str_at(container, "name");
#define WHERE      "(pod: \"%.*s_%.*s(%.*s)\", container: %.*s)"
#define WHERE_ARGS STR_ARG(name), STR_ARG(ns), STR_ARG(uid), STR_ARG(own)
    if (c->run_as_user == 0)
        return err_set(e, ERR_INVALID, "container's runAsUser breaks non-root policy " WHERE,
                       WHERE_ARGS);
    if (c->run_as_user > 0)
        return 0;
    if (image->uid < 0 && image->username.n)
        return err_set(e, ERR_INVALID,
                       "container has runAsNonRoot and image has non-numeric user (%.*s), cannot "
                       "verify user is non-root " WHERE,
                       STR_ARG(image->username), WHERE_ARGS);
    if (image->uid <= 0)
        return err_set(e, ERR_INVALID,
                       "container has runAsNonRoot and image will run as root " WHERE, WHERE_ARGS);
    return 0;
#undef WHERE
#undef WHERE_ARGS
}

int pod_security_apply(struct arena *a, const struct value *pod, const struct value *container,
                       const struct image_info *image, struct runtime_container_config *c,
                       struct err *e)
{
    const struct value *own = value_getc(container, "securityContext");
    c->run_as_user = value_int_or(effective(pod, container, "runAsUser"), -1);
    c->run_as_group = value_int_or(effective(pod, container, "runAsGroup"), -1);
    c->run_as_non_root = value_bool_or(effective(pod, container, "runAsNonRoot"), false);
    c->privileged = value_bool_at(own, "privileged", false);
    c->readonly_rootfs = value_bool_at(own, "readOnlyRootFilesystem", false);
    c->capabilities_add = capabilities(a, own, "capabilities.add", &c->ncapabilities_add);
    c->capabilities_drop = capabilities(a, own, "capabilities.drop", &c->ncapabilities_drop);
    c->default_proc_mount = !str_eqc(value_str_at(own, "procMount"), "Unmasked");
    c->no_new_privileges = !c->privileged &&
                           !has(c->capabilities_add, c->ncapabilities_add, "SYS_ADMIN") &&
                           !value_bool_at(own, "allowPrivilegeEscalation", false);

    const struct value *seccomp = effective(pod, container, "seccompProfile");
    struct str type = value_str_at(seccomp, "type");
    if (c->privileged || str_eqc(type, "Unconfined"))
        c->seccomp_profile = STR("Unconfined");
    else if (str_eqc(type, "Localhost"))
        c->seccomp_profile =
            arena_printf(a, "localhost/%.*s", STR_ARG(value_str_at(seccomp, "localhostProfile")));
    else
        c->seccomp_profile = STR("RuntimeDefault");

    const struct value *groups = value_at(pod, "spec.securityContext.supplementalGroups");
    const struct value *fs_group = value_at(pod, "spec.securityContext.fsGroup");
    int64_t *gids = arena_array(a, int64_t, value_len(groups) + 1);
    size_t n = 0;
    for (size_t i = 0; i < value_len(groups); i++)
        gids[n++] = value_int_or(value_item(groups, i), 0);
    if (fs_group)
        gids[n++] = value_int_or(fs_group, 0);
    c->supplemental_groups = gids;
    c->nsupplemental_groups = n;

    if (c->run_as_non_root)
        return check_non_root(pod, container, image, c, e);
    return 0;
}
