// Volumes in a temporary directory: kinds, atomic updates under a reader, modes and groups, subPath
// against links, hostPath types, token renewal; and, where the test may mount, tmpfs and subPath
// for real.
#include "base/env.h"
#include "base/time.h"
#include "client/client.h"
#include "node/volume_internal.h"
#include "object/json.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct arena arena;
static char dir[64];
static struct env *env;
static const char *config_data = "{'data':{'a':'1','b':'2'},'binaryData':{'c':'AAE='}}";
static unsigned tokens;
static bool token_fails;

static struct value *json(const char *text)
{
    struct err e = ERR_INIT;
    struct value *v = NULL;
    char *copy = arena_cstr(&arena, str_of(text));
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    if (json_parse(&arena, str_of(copy), NULL, &v, &e) < 0)
        fail_msg("%s in %s", e.message, copy);
    return v;
}

static int get(void *ctx, struct arena *a, const char *resource, struct str ns, struct str name,
               const struct value **ret, struct err *e)
{
    (void)ctx, (void)a, (void)ns;
    if (str_eqc(name, "cfg") && config_data) {
        *ret = json(config_data);
        return 0;
    }
    if (str_eqc(name, "sec")) {
        *ret = json("{'data':{'password':'czNjcmV0'}}");
        return 0;
    }
    return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" not found",
                   resource[0] == 'c' ? "configmap" : "secret", STR_ARG(name));
}

static int call(struct client *c, const struct api_request *r, struct api_answer *ret,
                struct err *e)
{
    (void)c;
    *ret = (struct api_answer){0};
    assert_true(str_eqc(r->subresource, "token"));
    assert_true(str_eqc(value_str_at(r->body, "spec.boundObjectRef.uid"), "u1"));
    if (token_fails)
        return err_set(e, ERR_UNAVAILABLE, "no connection");
    struct arena *a = &ret->arena;
    ret->value = value_object(a);
    value_set_at(a, ret->value, "status.token",
                 value_str(a, arena_printf(a, "token-%u", ++tokens)));
    value_set_at(a, ret->value, "status.expirationTimestamp",
                 value_str(a, time_rfc3339(a, env_now(env) + 1000 * NS_PER_S, 0)));
    return 0;
}

static const struct client_ops ops = {.call = call};
static struct client client = {.ops = &ops};

static struct volumes *volumes_in(bool no_mounts)
{
    struct volumes_options o = {
        .env = env, .client = &client, .data_dir = dir, .get = get, .no_mounts = no_mounts};
    return volumes_new(&o);
}

static struct pod_facts pod_of(const char *spec)
{
    return (struct pod_facts){
        .pod = json(arena_cstr(
            &arena, arena_printf(&arena,
                                 "{'metadata':{'name':'p','namespace':'d','uid':'u1','labels':{"
                                 "'l':'x'}},'spec':%s}",
                                 spec))),
        .pod_ip = STR("10.0.0.5"),
    };
}

static int setup(void **state)
{
    (void)state;
    strncpy(dir, "/tmp/coracle-volumes-XXXXXX", sizeof(dir) - 1);
    assert_non_null(mkdtemp(dir));
    env = env_sim_new(1, 1767225600LL * NS_PER_S);
    config_data = "{'data':{'a':'1','b':'2'},'binaryData':{'c':'AAE='}}";
    tokens = 0;
    token_fails = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    env_sim_free(env);
    arena_done(&arena);
    return volume_remove_all(dir, NULL);
}

static const char *content(const char *below)
{
    struct str text;
    char *path = arena_cstr(&arena, arena_printf(&arena, "%s/%s", dir, below));
    if (file_read_all(&arena, path, 1 << 20, &text, NULL) < 0)
        return "(none)";
    return arena_cstr(&arena, text);
}

static struct stat stat_of(const char *below)
{
    struct stat st = {0};
    char *path = arena_cstr(&arena, arena_printf(&arena, "%s/%s", dir, below));
    assert_int_equal(stat(path, &st), 0);
    return st;
}

static uint64_t set_up(struct volumes *v, struct pod_facts *facts)
{
    struct err e = ERR_INIT;
    struct str failed;
    uint64_t refresh = 0;
    if (volumes_set_up(v, &arena, facts, &refresh, &failed, &e) < 0)
        fail_msg("%s", e.message);
    return refresh;
}

static void refusal(struct volumes *v, const char *spec, const char *message)
{
    struct err e = ERR_INIT;
    struct str failed = STR_NULL;
    uint64_t refresh = 0;
    struct pod_facts facts = pod_of(spec);
    assert_true(volumes_set_up(v, &arena, &facts, &refresh, &failed, &e) < 0);
    assert_string_equal(e.message, message);
    assert_true(str_eqc(failed, "v"));
    err_done(&e);
}

#define CONFIG "pods/u1/volumes/kubernetes.io~configmap/v/"

static void kinds(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    struct pod_facts f = pod_of("{'securityContext':{'fsGroup':77},'containers':[{'name':'c','"
                                "resources':{'limits':{'cpu':'2'}}}],'volumes':[{"
                                "'name':'v','configMap':{'name':'cfg','defaultMode':256}},{'name':'"
                                "e','emptyDir':{}},{'name':'s','secret':{"
                                "'secretName':'sec','items':[{'key':'password','path':'deep/"
                                "pw','mode':288}]}},{'name':'d','downwardAPI':{"
                                "'items':[{'path':'labels','fieldRef':{'fieldPath':'metadata."
                                "labels'}},{'path':'cpu','resourceFieldRef':{"
                                "'containerName':'c','resource':'limits.cpu'}}]}},{'name':'p','"
                                "projected':{'sources':[{'configMap':{'name':"
                                "'cfg','items':[{'key':'a','path':'x'}]}},{'secret':{'name':'sec'}}"
                                ",{'configMap':{'name':'none','optional':"
                                "true}}]}}]}");
    set_up(v, &f);
    assert_string_equal(content(CONFIG "a"), "1");
    assert_string_equal(content(CONFIG "b"), "2");
    assert_int_equal(stat_of(CONFIG "c").st_size, 2);
    assert_int_equal(stat_of(CONFIG "a").st_mode & 0777, 0440);
    assert_int_equal(stat_of(CONFIG "a").st_gid, 77);
    struct stat e = stat_of("pods/u1/volumes/kubernetes.io~empty-dir/e");
    assert_int_equal(e.st_mode & 07777, 02777);
    assert_int_equal(e.st_gid, 77);
    assert_string_equal(content("pods/memory/u1/s/deep/pw"), "s3cret");
    assert_int_equal(stat_of("pods/memory/u1/s/deep/pw").st_mode & 0777, 0440);
    assert_string_equal(content("pods/memory/u1/d/labels"), "l=\"x\"");
    assert_string_equal(content("pods/memory/u1/d/cpu"), "2");
    assert_string_equal(content("pods/memory/u1/p/x"), "1");
    assert_string_equal(content("pods/memory/u1/p/password"), "s3cret");
    struct err err = ERR_INIT;
    assert_int_equal(volumes_tear_down(v, STR("u1"), true, &err), 0);
    assert_string_equal(content("pods/memory/u1/p/x"), "(none)");
    assert_string_equal(content(CONFIG "a"), "(none)");
    assert_int_equal(volumes_tear_down(v, STR("u1"), true, &err), 0);
    volumes_free(v);
}

static void refusals(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    refusal(v, "{'volumes':[{'name':'v','configMap':{'name':'none'}}]}",
            "configmap \"none\" not found");
    refusal(v, "{'volumes':[{'name':'v','secret':{'secretName':'none'}}]}",
            "secret \"none\" not found");
    refusal(
        v,
        "{'volumes':[{'name':'v','configMap':{'name':'cfg','items':[{'key':'zz','path':'p'}]}}]}",
        "configmap references non-existent config key: zz");
    refusal(v,
            "{'volumes':[{'name':'v','secret':{'secretName':'sec','items':[{'key':'zz','path':'p'}]"
            "}}]}",
            "references non-existent secret key: zz");
    refusal(v,
            "{'volumes':[{'name':'v','configMap':{'name':'cfg','items':[{'key':'a','path':'../../"
            "x'}]}}]}",
            "invalid path: ../../x");
    refusal(v, "{'volumes':[{'name':'v','nfs':{}}]}",
            "no volume plugin matched: nfs volumes are not supported by this node");
    refusal(
        v, "{'volumes':[{'name':'v','persistentVolumeClaim':{'claimName':'c'}}]}",
        "no volume plugin matched: persistentVolumeClaim volumes are not supported by this node");
    refusal(v, "{'volumes':[{'name':'v','hostPath':{'path':'/etc/passwd','type':'Directory'}}]}",
            "hostPath type check failed: /etc/passwd is not a directory");
    refusal(v, "{'volumes':[{'name':'v','hostPath':{'path':'/nonexistent','type':'Socket'}}]}",
            "hostPath type check failed: /nonexistent is not a socket");
    struct pod_facts f = pod_of(
        "{'volumes':[{'name':'v','hostPath':{'path':'/etc/passwd','type':'File'}},{'name':'n',"
        "'hostPath':{'path':'/dev/null','type':'CharDevice'}},{'name':'a','hostPath':{'path':"
        "'/any'}}]}");
    set_up(v, &f);
    f = pod_of(arena_cstr(
        &arena, arena_printf(&arena,
                             "{'volumes':[{'name':'v','hostPath':{'path':'%s/made/here','type':"
                             "'DirectoryOrCreate'}},{'name':'w','hostPath':{'path':'%s/made/file',"
                             "'type':'FileOrCreate'}}]}",
                             dir, dir)));
    set_up(v, &f);
    assert_true(S_ISDIR(stat_of("made/here").st_mode));
    assert_true(S_ISREG(stat_of("made/file").st_mode));
    volumes_free(v);
}

static void updates_are_atomic(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    struct pod_facts f = pod_of("{'volumes':[{'name':'v','configMap':{'name':'cfg'}}]}");
    set_up(v, &f);
    char link[2][256] = {{0}};
    char *data = arena_cstr(&arena, arena_printf(&arena, "%s/" CONFIG "..data", dir));
    assert_true(readlink(data, link[0], 255) > 0);
    // A reader that holds the old set keeps it; nothing is touched while nothing changes.
    int old = open(arena_cstr(&arena, arena_printf(&arena, "%s/" CONFIG "a", dir)), O_RDONLY);
    set_up(v, &f);
    assert_true(readlink(data, link[1], 255) > 0);
    assert_string_equal(link[0], link[1]);
    config_data = "{'data':{'a':'new','d':'x'}}";
    env_sim_advance(env, NS_PER_S);
    set_up(v, &f);
    memset(link[1], 0, 256);
    assert_true(readlink(data, link[1], 255) > 0);
    assert_string_not_equal(link[0], link[1]);
    assert_string_equal(content(CONFIG "a"), "new");
    assert_string_equal(content(CONFIG "d"), "x");
    assert_string_equal(content(CONFIG "b"), "(none)");
    char *gone = arena_cstr(&arena, arena_printf(&arena, "%s/" CONFIG "b", dir));
    struct stat st;
    assert_int_equal(lstat(gone, &st), -1); // not even a dangling link
    char *former = arena_cstr(&arena, arena_printf(&arena, "%s/" CONFIG "%s", dir, link[0]));
    assert_int_equal(lstat(former, &st), -1);
    char c = 0;
    assert_int_equal(read(old, &c, 1), 1);
    assert_int_equal(c, '1');
    close(old);
    // Tampering from inside is repaired with the next change of any kind.
    unlink(data);
    set_up(v, &f);
    assert_string_equal(content(CONFIG "a"), "new");
    volumes_free(v);
}

static void tokens_are_renewed(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    struct pod_facts f =
        pod_of("{'serviceAccountName':'robot','volumes':[{'name':'v','projected':{'sources':[{"
               "'serviceAccountToken':{'path':'token','expirationSeconds':1000}}]}}]}");
    uint64_t refresh = set_up(v, &f);
    assert_string_equal(content("pods/memory/u1/v/token"), "token-1");
    assert_int_equal((refresh - env_mono(env)) / NS_PER_S, 800); // four fifths
    env_sim_advance(env, 799 * NS_PER_S);
    set_up(v, &f);
    assert_int_equal(tokens, 1);
    env_sim_advance(env, 2 * NS_PER_S);
    token_fails = true; // the old one lives on
    set_up(v, &f);
    assert_string_equal(content("pods/memory/u1/v/token"), "token-1");
    token_fails = false;
    env_sim_advance(env, 61 * NS_PER_S);
    refresh = set_up(v, &f);
    assert_string_equal(content("pods/memory/u1/v/token"), "token-2");
    assert_int_equal(stat_of("pods/memory/u1/v/token").st_mode & 0777, 0644);
    // With one user for all containers it is theirs alone.
    f = pod_of("{'securityContext':{'runAsUser':1234},'containers':[{'name':'c'}],'volumes':[{'"
               "name':'v','projected':{"
               "'sources':[{'serviceAccountToken':{'path':'token'}}]}}]}");
    set_up(v, &f);
    assert_int_equal(stat_of("pods/memory/u1/v/token").st_mode & 0777, 0600);
    assert_int_equal(stat_of("pods/memory/u1/v/token").st_uid, 1234);
    volumes_free(v);
}

static void opening_beneath(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *base = arena_cstr(&arena, arena_printf(&arena, "%s/base", dir));
    char *out = arena_cstr(&arena, arena_printf(&arena, "%s/outside", dir));
    assert_int_equal(mkdir(base, 0755), 0);
    assert_int_equal(mkdir(out, 0755), 0);
    assert_int_equal(symlink("/etc", arena_cstr(&arena, arena_printf(&arena, "%s/abs", base))), 0);
    assert_int_equal(symlink("../outside", arena_cstr(&arena, arena_printf(&arena, "%s/up", base))),
                     0);
    int fd = -1;
    assert_int_equal(volume_open_beneath(base, STR("new/deep/dir"), &fd, &e), 0);
    close(fd);
    assert_true(S_ISDIR(stat_of("base/new/deep/dir").st_mode));
    assert_int_equal(symlink("new/deep", arena_cstr(&arena, arena_printf(&arena, "%s/in", base))),
                     0);
    assert_int_equal(volume_open_beneath(base, STR("in/dir"), &fd, &e),
                     0); // a link that stays inside
    close(fd);
    static const char *const bad[] = {"abs",  "up",         "abs/passwd",
                                      "up/x", "../outside", "new/../../outside"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err why = ERR_INIT;
        assert_true(volume_open_beneath(base, str_of(bad[i]), &fd, &why) < 0);
        assert_non_null(strstr(why.message, "failed to prepare subPath"));
        err_done(&why);
    }
    assert_int_equal(rmdir(out), 0); // nothing was made outside
}

// cases/subpath-for-non-root.yaml: what is made below a volume looks like the volume.
static void case_subpath_for_non_root(void **state)
{
    (void)state;
    static const unsigned modes[] = {0777, 02777, 0750};
    struct err e = ERR_INIT;
    mode_t mask = umask(027);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char *base = arena_cstr(&arena, arena_printf(&arena, "%s/base%zu", dir, i));
        int fd = -1;
        assert_int_equal(mkdir(base, 0700), 0);
        assert_int_equal(chown(base, (uid_t)-1, geteuid() ? getegid() : 2000), 0);
        assert_int_equal(chmod(base, modes[i]), 0);
        assert_int_equal(volume_open_beneath(base, STR("deep/dir"), &fd, &e), 0);
        close(fd);
        static const char *const made[] = {"deep", "deep/dir"};
        for (size_t k = 0; k < 2; k++) {
            struct stat st =
                stat_of(arena_cstr(&arena, arena_printf(&arena, "base%zu/%s", i, made[k])));
            assert_int_equal(st.st_mode & 07777, modes[i]);
            if (modes[i] & 02000)
                assert_int_equal(st.st_gid, geteuid() ? getegid() : 2000);
        }
    }
    umask(mask);
}

// cases/attack-durability.md, 5: what the API lets through is written, what it refuses is refused
// here too, in words, for pods from before.
static void case_attack_durability_item_paths(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    static const char *const refused[] = {"..data/x", ".../x", "..", "/a", "a/../b", "."};
    static const char *const written[][2] = {
        {"a//b", "a/b"}, {"./c", "c"}, {"d/..e", "d/..e"}, {"f/./g", "f/g"}};
    char *spec;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        spec = arena_cstr(&arena, arena_printf(&arena,
                                               "{'volumes':[{'name':'v','configMap':{'name':'cfg',"
                                               "'items':[{'key':'a','path':'%s'}]}}]}",
                                               refused[i]));
        refusal(v, spec, arena_cstr(&arena, arena_printf(&arena, "invalid path: %s", refused[i])));
    }
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        spec = arena_cstr(&arena, arena_printf(&arena,
                                               "{'volumes':[{'name':'w%zu','configMap':{'name':"
                                               "'cfg','items':[{'key':'a','path':'%s'}]}}]}",
                                               i, written[i][0]));
        struct pod_facts f = pod_of(spec);
        set_up(v, &f);
        char *path = arena_cstr(
            &arena, arena_printf(&arena, "pods/u1/volumes/kubernetes.io~configmap/w%zu/%s", i,
                                 written[i][1]));
        assert_true(S_ISREG(stat_of(path).st_mode));
    }
    volumes_free(v);
}

static void container_mounts(void **state)
{
    (void)state;
    struct volumes *v = volumes_in(true);
    struct err e = ERR_INIT;
    struct pod_facts f =
        pod_of("{'volumes':[{'name':'v','configMap':{'name':'cfg'}},{'name':'e','emptyDir':{}}]}");
    set_up(v, &f);
    struct runtime_mount *m = NULL;
    size_t n = 0;
    const struct str vars[][2] = {{STR("WHO"), STR("me")}};
    assert_int_equal(volumes_container_mounts(
                         v, &arena, &f,
                         json("{'name':'c','volumeMounts':[{'name':'v','mountPath':'/v'},{'name':"
                              "'e','mountPath':'/e','mountPropagation':'HostToContainer'}]}"),
                         vars, 1, &m, &n, &e),
                     0);
    assert_int_equal(n, 2);
    assert_true(m[0].readonly && !m[1].readonly);
    assert_true(str_eqc(m[1].propagation, "HostToContainer"));
    static const struct {
        const char *mount, *message;
    } rows[] = {
        {"{'name':'x','mountPath':'/x'}", "cannot find volume \"x\" to mount into container"},
        {"{'name':'e','mountPath':'/x','subPath':'../up'}",
         "subPath \"../up\" must not be absolute or contain '..'"},
        {"{'name':'e','mountPath':'/x','subPath':'/abs'}",
         "subPath \"/abs\" must not be absolute or contain '..'"},
        {"{'name':'e','mountPath':'/x','subPathExpr':'$(NONE)'}", "missing value for \"$(NONE)\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err why = ERR_INIT;
        char *c = arena_cstr(
            &arena, arena_printf(&arena, "{'name':'c','volumeMounts':[%s]}", rows[i].mount));
        assert_int_equal(volumes_container_mounts(v, &arena, &f, json(c), vars, 1, &m, &n, &why),
                         -422);
        assert_string_equal(why.message, rows[i].message);
        err_done(&why);
    }
    volumes_free(v);
}

// In a mount namespace of its own: nothing of this is seen outside.
static void real_mounts(void **state)
{
    (void)state;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0) {
        skip();
        return;
    }
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    struct err e = ERR_INIT;
    bool made = false;
    assert_int_equal(volumes_prepare(dir, &made, &e), 0);
    assert_true(made);
    assert_int_equal(volumes_prepare(dir, &made, &e), 0); // again is fine
    assert_false(made);
    struct volumes *v = volumes_in(false);
    struct pod_facts f = pod_of(
        "{'volumes':[{'name':'v','configMap':{'name':'cfg'}},{'name':'e','emptyDir':{'medium':"
        "'Memory','sizeLimit':'1Mi'}},{'name':'s','secret':{'secretName':'sec'}}]}");
    set_up(v, &f);
    set_up(v, &f);
    char *memory = arena_cstr(&arena, arena_printf(&arena, "%s/pods/memory", dir));
    char *empty = arena_cstr(
        &arena, arena_printf(&arena, "%s/pods/u1/volumes/kubernetes.io~empty-dir/e", dir));
    assert_true(volume_is_mount_point(memory));
    assert_true(volume_is_mount_point(empty));
    struct runtime_mount *m = NULL;
    size_t n = 0;
    const struct str vars[][2] = {{STR("WHO"), STR("me")}};
    const struct value *c =
        json("{'name':'c','volumeMounts':[{'name':'v','mountPath':'/v','subPath':'a'},{'name':'e',"
             "'mountPath':'/e','subPathExpr':'logs/$(WHO)'}]}");
    assert_int_equal(volumes_container_mounts(v, &arena, &f, c, vars, 1, &m, &n, &e), 0);
    struct str text;
    assert_int_equal(file_read_all(&arena, arena_cstr(&arena, m[0].host_path), 100, &text, &e), 0);
    assert_true(str_eqc(text, "1"));
    assert_string_equal(content("pods/u1/subpaths/v/c/0"), "1");
    // A restart sees the file as it is then.
    config_data = "{'data':{'a':'later'}}";
    env_sim_advance(env, NS_PER_S);
    set_up(v, &f);
    assert_string_equal(content("pods/u1/subpaths/v/c/0"), "1");
    assert_int_equal(volumes_container_mounts(v, &arena, &f, c, vars, 1, &m, &n, &e), 0);
    assert_string_equal(content("pods/u1/subpaths/v/c/0"), "later");
    assert_int_equal(mkdir(arena_cstr(&arena, arena_printf(&arena, "%s/logs/me/x", empty)), 0755),
                     0);
    assert_true(S_ISDIR(stat_of("pods/u1/subpaths/e/c/1/x").st_mode));
    assert_int_equal(volumes_tear_down(v, STR("u1"), true, &e), 0);
    assert_int_equal(access(arena_cstr(&arena, arena_printf(&arena, "%s/pods/u1", dir)), F_OK), -1);
    struct str mounts;
    assert_int_equal(file_read_all(&arena, "/proc/self/mountinfo", 1 << 20, &mounts, &e), 0);
    assert_true(str_find(mounts, arena_printf(&arena, "%s/pods/u1", dir)) < 0);
    volumes_free(v);
    assert_int_equal(volumes_teardown_all(dir, &e), 0);
    assert_int_equal(file_read_all(&arena, "/proc/self/mountinfo", 1 << 20, &mounts, &e), 0);
    assert_true(str_find(mounts, str_of(dir)) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(updates_are_atomic, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_are_renewed, setup, teardown),
        cmocka_unit_test_setup_teardown(opening_beneath, setup, teardown),
        cmocka_unit_test_setup_teardown(case_subpath_for_non_root, setup, teardown),
        cmocka_unit_test_setup_teardown(case_attack_durability_item_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(container_mounts, setup, teardown),
        cmocka_unit_test_setup_teardown(real_mounts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
