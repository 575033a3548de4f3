// The rules, as containerd's oci.WithUser and the kubelet have them:
//
//   user    runAsUser, else runAsUserName, else the image's USER ("name", "7", "name:group", "7:8")
//   group   runAsGroup, else the group in USER, else the user's own in passwd, else 0
//   more    groups whose member the user is by name in /etc/group, and supplementalGroups
//
// The files are looked up layer by layer from the top, which is what overlayfs would show; a
// whiteout (character device 0:0) or a file in a layer ends the search. openat2 keeps links inside
// the layer; a link that leads into another layer is not followed.
#include "runtime/oci_user.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_MAX_BYTES (4 * 1024 * 1024)
#define GROUPS_MAX     256

static struct str image_file(struct arena *a, const struct image_details *image, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    for (size_t i = 0; i < image->nlayers; i++) {
        const char *dir =
            arena_cstr(a, arena_printf(a, "%s/%.*s", image->layers_dir, STR_ARG(image->layers[i])));
        int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
            continue;
        struct stat st;
        int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
        bool whiteout = fd < 0 && errno == ENXIO;
        close(root);
        if (whiteout)
            return STR_NULL;
        if (fd < 0)
            continue;
        struct str text = STR_NULL;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_BYTES) {
            char *p = arena_alloc(a, (size_t)st.st_size + 1);
            ssize_t n = pread(fd, p, (size_t)st.st_size, 0);
            text = str_n(p, n < 0 ? 0 : (size_t)n);
        }
        close(fd);
        return text;
    }
    return STR_NULL;
}

struct row {
    struct str name, fields[6]; // name and what follows it
};

// The next row of a passwd or group text; false at the end.
static bool next_row(struct str *rest, struct row *ret)
{
    while (rest->p) {
        struct str line = str_trim(str_cut(rest, '\n'));
        if (!line.n || line.p[0] == '#')
            continue;
        *ret = (struct row){.name = str_cut(&line, ':')};
        for (size_t i = 0; i < 6 && line.p; i++)
            ret->fields[i] = str_cut(&line, ':');
        return true;
    }
    return false;
}

static bool number(struct str s, uint32_t *ret)
{
    uint64_t v;
    if (!str_to_u64(s, &v) || v >= UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

static bool passwd_find(struct str passwd, struct str name, bool by_number, uint32_t uid,
                        struct row *ret)
{
    uint32_t found;
    while (next_row(&passwd, ret))
        if (by_number ? number(ret->fields[1], &found) && found == uid : str_eq(ret->name, name))
            return true;
    return false;
}

static bool is_member(struct str members, struct str name)
{
    while (members.p)
        if (name.n && str_eq(str_cut(&members, ','), name))
            return true;
    return false;
}

int oci_user_from(struct arena *a, struct str passwd, struct str group, struct str image_user,
                  const struct runtime_container_config *c, struct oci_user *ret, struct err *e)
{
    struct oci_user u = {.home = STR("/")};
    struct str group_name = image_user, user_name = str_cut(&group_name, ':');
    struct row row = {0};

    if (c->run_as_user >= 0) {
        u.uid = (uint32_t)c->run_as_user;
        user_name = arena_printf(a, "%u", u.uid);
        group_name = STR_NULL;
    } else if (c->run_as_username.n) {
        user_name = c->run_as_username;
        group_name = STR_NULL;
    }
    bool numeric = number(user_name, &u.uid);
    bool found = passwd_find(passwd, numeric || !user_name.n ? STR_NULL : user_name,
                             numeric || !user_name.n, u.uid, &row);
    if (!found && !numeric && user_name.n)
        return err_set(e, ERR_INVALID,
                       "unable to find user %.*s: no matching entries in passwd file",
                       STR_ARG(user_name));
    struct str login = STR_NULL;
    if (found) {
        if (!number(row.fields[1], &u.uid) || !number(row.fields[2], &u.gid))
            return err_set(e, ERR_INVALID, "the image's passwd file has a bad entry for user %.*s",
                           STR_ARG(row.name));
        login = row.name;
        if (row.fields[4].n)
            u.home = row.fields[4];
    }
    if (c->run_as_group >= 0) {
        u.gid = (uint32_t)c->run_as_group;
    } else if (group_name.n && !number(group_name, &u.gid)) {
        struct str rest = group;
        struct row g;
        bool known = false;
        while (!known && next_row(&rest, &g))
            known = str_eq(g.name, group_name) && number(g.fields[1], &u.gid);
        if (!known)
            return err_set(e, ERR_INVALID,
                           "unable to find group %.*s: no matching entries in group file",
                           STR_ARG(group_name));
    }
    if (c->run_as_non_root && u.uid == 0)
        return err_set(e, ERR_INVALID, "container has runAsNonRoot and image will run as root");

    uint32_t *groups = arena_array(a, uint32_t, GROUPS_MAX + c->nsupplemental_groups);
    size_t n = 0;
    for (size_t i = 0; i < c->nsupplemental_groups; i++)
        groups[n++] = (uint32_t)c->supplemental_groups[i];
    struct str rest = group;
    struct row g;
    while (login.n && n < GROUPS_MAX && next_row(&rest, &g)) {
        uint32_t gid;
        if (is_member(g.fields[2], login) && number(g.fields[1], &gid) && gid != u.gid)
            groups[n++] = gid;
    }
    u.groups = groups;
    u.ngroups = n;
    *ret = u;
    return 0;
}

int oci_user_resolve(struct arena *a, const struct image_details *image,
                     const struct runtime_container_config *c, struct oci_user *ret, struct err *e)
{
    return oci_user_from(a, image_file(a, image, "etc/passwd"), image_file(a, image, "etc/group"),
                         image->config.user, c, ret, e);
}
