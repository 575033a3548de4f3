// What is written for the OCI runtime, and what it says: users, capabilities, mounts, resources,
// words.
#include "object/json.h"
#include "runtime/oci_config.h"
#include "runtime/oci_words.h"
#include "runtime/runtime_check.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static const char *text(struct str s)
{
    return arena_cstr(&arena, s);
}

static void test_words(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"executable file `nope` not found in $PATH: No such file or directory\n",
         "exec: \"nope\": executable file not found in $PATH"},
        {"executable file `/nope` not found in $PATH: No such file or directory",
         "exec: \"/nope\": no such file or directory"},
        {"time=\"2026-11-23T10:24:47Z\" level=error msg=\"runc run failed: unable to start "
         "container "
         "process: exec: \\\"nope\\\": executable file not found in $PATH\"\n",
         "exec: \"nope\": executable file not found in $PATH"},
        {"time=\"x\" level=error msg=\"runc run failed: unable to start container process: exec: "
         "\\\"/etc/passwd\\\": permission denied\"\ntime=\"y\" level=warning msg=\"late\"",
         "exec: \"/etc/passwd\": permission denied"},
        {"open executable: Permission denied", "exec: permission denied"},
        {"mount `/a` to `b`: No such file or directory",
         "mount `/a` to `b`: No such file or directory"},
        {"", "the runtime gave no reason"},
        {"time=\"x\" level=error msg=\"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(text(oci_words(&arena, str_of(rows[i][0]))), rows[i][1]);
}

static void test_users(void **state)
{
    (void)state;
    struct str p = str_of("root:x:0:0:root:/root:/bin/sh\n# "
                          "note\nweb:x:1000:1001:w:/home/web:/bin/sh\nbad:x:y:z::/:\n");
    struct str g = STR("root:x:0:\naudio:x:29:me,web\nweb:x:1001:\nstaff:x:50:web\n");
    static const struct {
        const char *image_user;
        int64_t user, group;
        uint32_t uid, gid;
        size_t groups;
        const char *home, *error;
    } rows[] = {
        {"", -1, -1, 0, 0, 0, "/root", NULL},
        {"web", -1, -1, 1000, 1001, 2, "/home/web", NULL},
        {"web:audio", -1, -1, 1000, 29, 1, "/home/web", NULL},
        {"7:8", -1, -1, 7, 8, 0, "/", NULL},
        {"7", -1, -1, 7, 0, 0, "/", NULL},
        {"1000", -1, -1, 1000, 1001, 2, "/home/web", NULL},
        {"web", 0, -1, 0, 0, 0, "/root", NULL},
        {"web", 5, 6, 5, 6, 0, "/", NULL},
        {"web:audio", -1, 9, 1000, 9, 2, "/home/web", NULL},
        {"ghost", -1, -1, 0, 0, 0, "",
         "unable to find user ghost: no matching entries in passwd file"},
        {"web:ghosts", -1, -1, 0, 0, 0, "",
         "unable to find group ghosts: no matching entries in group file"},
        {"bad", -1, -1, 0, 0, 0, "", "the image's passwd file has a bad entry for user bad"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct runtime_container_config c = {.run_as_user = rows[i].user,
                                             .run_as_group = rows[i].group};
        struct oci_user u;
        struct err e = ERR_INIT;
        int r = oci_user_from(&arena, p, g, str_of(rows[i].image_user), &c, &u, &e);
        if (rows[i].error) {
            assert_int_equal(r, -422);
            assert_string_equal(e.message, rows[i].error);
            err_done(&e);
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(u.uid, rows[i].uid);
        assert_int_equal(u.gid, rows[i].gid);
        assert_int_equal(u.ngroups, rows[i].groups);
        assert_string_equal(text(u.home), rows[i].home);
    }
    struct runtime_container_config c = {
        .run_as_user = 0, .run_as_group = -1, .run_as_non_root = true};
    struct oci_user u;
    assert_int_equal(oci_user_from(&arena, p, g, STR("web"), &c, &u, NULL), -422);
}

static struct value *config(struct oci_container *o)
{
    struct buf b = BUF_MAX(1 << 20);
    struct err e = ERR_INIT;
    struct value *v;
    if (oci_config_write(&b, &arena, o, &e) < 0)
        fail_msg("%s", e.message);
    if (json_parse(&arena, buf_view(&b), NULL, &v, &e) < 0)
        fail_msg("%s in %.*s", e.message, STR_ARG(buf_view(&b)));
    buf_done(&b);
    return v;
}

static struct str joined(const struct value *list)
{
    struct buf b = BUF_INIT;
    value_each_item (list, item) {
        if (b.n)
            buf_char(&b, ' ');
        buf_str(&b, value_string(item));
    }
    struct str s = arena_str(&arena, buf_view(&b));
    buf_done(&b);
    return s;
}

static void test_config(void **state)
{
    (void)state;
    struct str entrypoint[] = {STR("/run me")}, cmd[] = {STR("a\"b")},
               env[] = {STR("A=1"), STR("PATH=/x")};
    struct image_details image = {.config = {.entrypoint = entrypoint,
                                             .nentrypoint = 1,
                                             .cmd = cmd,
                                             .ncmd = 1,
                                             .env = env,
                                             .nenv = 2}};
    struct runtime_mount mounts[] = {
        {.container_path = STR("/a/b"), .host_path = STR("/h1"), .readonly = true},
        {.container_path = STR("/a"),
         .host_path = STR("/h2"),
         .propagation = STR("HostToContainer")},
    };
    const struct str pod_env[][2] = {{STR("A"), STR("2")}};
    struct runtime_container_config c = {
        .seccomp_profile = STR("Unconfined"),
        .default_proc_mount = true,
        .mounts = mounts,
        .nmounts = 2,
        .env = pod_env,
        .nenv = 1,
        .memory_limit = 1 << 20,
        .cpu_quota_us = 5000,
        .cpu_period_us = 10000,
        .cpu_shares = 2,
        .oom_score_adj = 1000,
    };
    struct oci_container o = {.config = &c,
                              .image = &image,
                              .user = {.uid = 3, .gid = 4, .home = STR("/")},
                              .cgroup = STR("/x/y"),
                              .ns_net = STR("/ns/net"),
                              .hostname = STR("h")};
    struct value *v = config(&o);
    assert_string_equal(text(joined(value_at(v, "process.args"))), "/run me a\"b");
    assert_string_equal(text(joined(value_at(v, "process.env"))), "HOSTNAME=h HOME=/ PATH=/x A=2");
    assert_string_equal(
        text(joined(value_at(v, "process.capabilities.effective"))),
        "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID "
        "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT CAP_MKNOD "
        "CAP_AUDIT_WRITE CAP_SETFCAP");
    assert_int_equal(value_int_at(v, "linux.resources.memory.limit", 0), 1 << 20);
    assert_int_equal(value_int_at(v, "linux.resources.cpu.quota", 0), 5000);
    assert_int_equal(value_int_at(v, "process.oomScoreAdj", 0), 1000);
    assert_string_equal(text(value_str_at(v, "linux.rootfsPropagation")), "rslave");
    assert_null(value_at(v, "linux.seccomp"));
    assert_int_equal(value_len(value_at(v, "linux.maskedPaths")), 11);
    const struct value *list = value_getc(v, "mounts");
    size_t n = value_len(list);
    assert_string_equal(text(value_str_at(value_item(list, n - 2), "destination")), "/a");
    assert_string_equal(text(value_str_at(value_item(list, n - 1), "destination")), "/a/b");
    assert_string_equal(text(joined(value_getc(value_item(list, n - 1), "options"))),
                        "rbind rprivate ro");
    assert_string_equal(text(value_str_at(value_item(value_at(v, "linux.namespaces"), 2), "path")),
                        "/ns/net");
    // A command of the pod replaces both of the image's; args only the second.
    struct str own[] = {STR("own")};
    c.command = own;
    c.ncommand = 1;
    assert_string_equal(text(joined(value_at(config(&o), "process.args"))), "own");
    c.ncommand = 0;
    c.args = own;
    c.nargs = 1;
    assert_string_equal(text(joined(value_at(config(&o), "process.args"))), "/run me own");
    struct image_details empty = {0};
    o.image = &empty;
    c.nargs = 0;
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    assert_int_equal(oci_config_write(&b, &arena, &o, &e), -422);
    assert_string_equal(e.message, "no command specified");
    err_done(&e);
    buf_done(&b);
    // The default profile follows the capabilities.
    o.image = &image;
    c.seccomp_profile = STR("RuntimeDefault");
    struct str admin[] = {STR("CAP_SYS_ADMIN")};
    for (int i = 0; i < 2; i++) {
        c.capabilities_add = admin;
        c.ncapabilities_add = (size_t)i;
        bool mount = false, clone3_refused = false;
        v = config(&o);
        value_each_item (value_at(v, "linux.seccomp.syscalls"), rule) {
            value_each_item (value_getc(rule, "names"), name)
                mount |= str_eqc(value_string(name), "mount");
            clone3_refused |= value_int_at(rule, "errnoRet", 0) == 38;
        }
        assert_int_equal(mount, i == 1);
        assert_int_equal(clone3_refused, i == 0);
    }
    c.seccomp_profile = STR("localhost/../x.json");
    b = BUF_INIT;
    e = ERR_INIT;
    assert_int_equal(oci_config_write(&b, &arena, &o, &e), -422);
    assert_string_equal(e.message, "seccomp profile \"../x.json\" leaves its directory");
    err_done(&e);
    buf_done(&b);
}

static void test_exec_process(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    struct value *v;
    struct str command[] = {STR("ls"), STR("-l")};
    struct str json = STR("{\"process\":{\"args\":[\"x\"],\"env\":[\"A=1\"],\"cwd\":\"/"
                          "\",\"noNewPrivileges\":true}}");
    assert_int_equal(oci_exec_process(&b, &arena, json, command, 2, true, &e), 0);
    assert_int_equal(json_parse(&arena, buf_view(&b), NULL, &v, &e), 0);
    assert_string_equal(text(joined(value_getc(v, "args"))), "ls -l");
    assert_string_equal(text(joined(value_getc(v, "env"))), "A=1 TERM=xterm");
    assert_true(value_bool_at(v, "terminal", false) && value_bool_at(v, "noNewPrivileges", false));
    assert_int_equal(oci_exec_process(&b, &arena, json, NULL, 0, false, &e), -400);
    assert_string_equal(e.message, "no command specified");
    err_done(&e);
    buf_done(&b);
}

// cases/newcomer.md, the third point: what pivot_root needs.
static void test_case_newcomer_check_root(void **state)
{
    (void)state;
    static const struct {
        const char *mountinfo, *message;
    } rows[] = {
        {"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
         "23 22 0:5 / /dev rw - devtmpfs dev rw\n",
         NULL},
        {"1 1 0:2 / / rw - rootfs rootfs rw\n22 1 254:0 / / rw - ext4 /dev/vda rw\n", NULL},
        {"23 22 0:5 / /proc rw - proc proc rw\n", "the root directory is not a mount point"},
        {"", "the root directory is not a mount point"},
        {"1 1 0:2 / / rw - rootfs rootfs rw\n", "(an initramfs), from which pivot_root fails"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = ERR_INIT;
        int r = runtime_check_root(str_of(rows[i].mountinfo), &e);
        assert_int_equal(r, rows[i].message ? -503 : 0);
        if (rows[i].message)
            assert_non_null(strstr(e.message, rows[i].message));
        err_done(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_users, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exec_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_case_newcomer_check_root, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
