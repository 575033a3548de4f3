// CNI plugins: the real ones of the distribution on a machine of namespaces (netns.h), and scripts
// that write down how they were called.
#include "base/buf.h"
#include "base/env.h"
#include "netns.h"
#include "network/cni.h"
#include <dirent.h>
#include <sys/stat.h>

#define REAL_PLUGINS "/usr/lib/cni"

struct test {
    char dir[32]; // conf, bin, state below
    struct arena a;
    struct cni *cni;
};

static int setup(void **state)
{
    struct test *t = mem_zalloc(sizeof *t);
    snprintf(t->dir, sizeof t->dir, "/tmp/coracle-cni-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    if (may_unshare())
        assert_int_equal(unshare(CLONE_NEWNET), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct test *t = *state;
    cni_free(t->cni);
    arena_done(&t->a);
    remove_tree(t->dir);
    free(t);
    return 0;
}

static const char *path(struct test *t, const char *name)
{
    return arena_printf(&t->a, "%s/%s%c", t->dir, name, 0).p;
}

static void put(struct test *t, const char *dir, const char *name, const char *text, unsigned mode)
{
    must(file_mkdir_all(path(t, dir), 0700, e));
    must(file_write_all(path(t, arena_printf(&t->a, "%s/%s%c", dir, name, 0).p), str_of(text), mode,
                        e));
}

static void load(struct test *t)
{
    const char *bin = arena_printf(&t->a, "%s/bin:" REAL_PLUGINS "%c", t->dir, 0).p;
    must(cni_load(path(t, "conf"), bin, path(t, "state"), &t->cni, e));
}

static const char *logged(struct test *t)
{
    struct str text = STR("");
    file_read_all(&t->a, path(t, "log"), 65536, &text, NULL);
    unlink(path(t, "log"));
    return arena_cstr(&t->a, text);
}

static int records(struct test *t)
{
    int n = 0;
    DIR *d = opendir(path(t, "state/cni"));
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

// A plugin that writes command and configuration into the log and answers with `result`.
static void script(struct test *t, const char *name, const char *on_add, const char *on_del)
{
    put(t, "bin", name,
        arena_printf(
            &t->a,
            "#!/bin/sh\n"
            "echo \"$CNI_COMMAND %s $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS\" >>%s/log\n"
            "cat >>%s/log; echo >>%s/log\n"
            "case $CNI_COMMAND in ADD) %s;; DEL) %s;; esac\n%c",
            name, t->dir, t->dir, t->dir, on_add, on_del, 0)
            .p,
        0700);
}

static const struct pod_port_map port = {8000, 80, IPPROTO_TCP, STR("192.0.2.1")};
static const struct pod_network_request pod = {.sandbox_id = STR("box1"),
                                               .netns_path = STR("/none"),
                                               .pod_namespace = STR("shop"),
                                               .pod_name = STR("web"),
                                               .pod_uid = STR("u-1"),
                                               .ports = &port,
                                               .nports = 1};
#define ARGS                                                                                       \
    " box1 eth0 /none IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;"                    \
    "K8S_POD_INFRA_CONTAINER_ID=box1;K8S_POD_UID=u-1\n"
#define RESULT_1                                                                                   \
    "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"fd00::2/64\"},{\"address\":\"10.1.2.3/"     \
    "24\"}]}"
#define RESULT_2 "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.1.2.3/24\"}],\"dns\":{}}"

static void two_plugins(struct test *t, const char *version, const char *second)
{
    script(t, "first", "echo '" RESULT_1 "'", ":");
    script(t, "second", second, ":");
    put(t, "conf", "10-x.conflist",
        arena_printf(&t->a,
                     "{\"cniVersion\":\"%s\",\"name\":\"net\",\"plugins\":[{\"type\":\"first\"},"
                     "{\"type\":\"second\",\"capabilities\":{\"portMappings\":true}}]}%c",
                     version, 0)
            .p,
        0600);
    put(t, "conf", "20-y.conf", "{\"never\":\"read\"}", 0600);
    load(t);
}

#define PORTS                                                                                      \
    "\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":8000,\"containerPort\":80,"                \
    "\"protocol\":\"tcp\",\"hostIP\":\"192.0.2.1\"}]}"

static void test_chain(void **state)
{
    struct test *t = *state;
    struct str ip;
    two_plugins(t, "1.0.0", "echo '" RESULT_2 "'");
    must(cni_add(t->cni, &t->a, &pod, &ip, e));
    assert_true(str_eqc(ip, "10.1.2.3"));
    assert_string_equal(
        logged(t),
        "ADD first" ARGS "{\"type\":\"first\",\"name\":\"net\",\"cniVersion\":\"1.0.0\"}\n"
        "ADD second" ARGS "{\"type\":\"second\",\"name\":\"net\",\"cniVersion\":\"1.0.0\","
        "\"prevResult\":" RESULT_1 "," PORTS "}\n");
    // Again: from what is kept, no plugin runs.
    must(cni_add(t->cni, &t->a, &pod, &ip, e));
    assert_true(str_eqc(ip, "10.1.2.3"));
    assert_string_equal(logged(t), "");
    assert_int_equal(records(t), 1);
    // Backwards, with the result of the whole, by the list of then; a restart lies between.
    cni_free(t->cni);
    put(t, "conf", "10-x.conflist", "{\"name\":\"other\",\"plugins\":[{\"type\":\"none\"}]}", 0600);
    load(t);
    must(cni_del(t->cni, &pod, e));
    assert_string_equal(logged(t), "DEL second" ARGS
                                   "{\"type\":\"second\",\"name\":\"net\",\"cniVersion\":\"1.0.0\","
                                   "\"prevResult\":" RESULT_2 "," PORTS "}\n"
                                   "DEL first" ARGS
                                   "{\"type\":\"first\",\"name\":\"net\",\"cniVersion\":\"1.0.0\","
                                   "\"prevResult\":" RESULT_2 "}\n");
    assert_int_equal(records(t), 0);
    must(cni_del(t->cni, &pod, e)); // nothing left: nothing runs
    assert_string_equal(logged(t), "");
}

static void test_old_version_has_no_result_at_del(void **state)
{
    struct test *t = *state;
    struct str ip;
    two_plugins(t, "0.3.1", "echo '" RESULT_2 "'");
    must(cni_add(t->cni, &t->a, &pod, &ip, e));
    logged(t);
    must(cni_del(t->cni, &pod, e));
    assert_null(strstr(logged(t), "prevResult"));
}

static void test_a_failure_is_undone(void **state)
{
    struct test *t = *state;
    struct str ip;
    _cleanup_err_ struct err why = ERR_INIT;
    two_plugins(t, "1.0.0",
                "echo '{\"code\":11,\"msg\":\"no room\",\"details\":\"try later\"}'; exit 1");
    assert_int_equal(cni_add(t->cni, &t->a, &pod, &ip, &why), -500);
    assert_string_equal(why.message, "plugin type=\"second\" failed (ADD): no room; try later");
    const char *log = logged(t), *second = strstr(log, "DEL second"),
               *first = strstr(log, "DEL first");
    assert_true(second && first && second < first);
    assert_int_equal(records(t), 0);
}

static void test_failures_in_words(void **state)
{
    struct test *t = *state;
    static const struct {
        const char *add, *message;
    } cases[] = {
        {"echo oops; exit 3",
         "plugin type=\"second\" failed (ADD): it ended with status 3: oops\n"},
        {"kill -9 $$", "plugin type=\"second\" failed (ADD): it ended with status 137"},
        {"echo '{}'", "the CNI plugins gave the pod no IPv4 address"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str ip;
        _cleanup_err_ struct err why = ERR_INIT;
        two_plugins(t, "1.0.0", cases[i].add);
        assert_int_equal(cni_add(t->cni, &t->a, &pod, &ip, &why), -500);
        assert_string_equal(why.message, cases[i].message);
        must(cni_del(t->cni, &pod, e));
        cni_free(TAKE_PTR(t->cni));
    }
    // An answer that is no JSON: the parser's words, and where.
    struct str ip;
    _cleanup_err_ struct err why = ERR_INIT;
    two_plugins(t, "1.0.0", "echo hello");
    assert_true(cni_add(t->cni, &t->a, &pod, &ip, &why) < 0);
    assert_non_null(strstr(why.message, "the result of the CNI plugin second: "));
}

// A DEL goes on past a plugin that fails, tells of it, and can be tried again.
static void test_del_that_fails(void **state)
{
    struct test *t = *state;
    struct str ip;
    _cleanup_err_ struct err why = ERR_INIT;
    two_plugins(t, "1.0.0", "echo '" RESULT_2 "'");
    must(cni_add(t->cni, &t->a, &pod, &ip, e));
    script(t, "second", ":", "exit 1");
    logged(t);
    assert_int_equal(cni_del(t->cni, &pod, &why), -500);
    assert_string_equal(why.message, "plugin type=\"second\" failed (DEL): it ended with status 1");
    assert_non_null(strstr(logged(t), "DEL first"));
    assert_int_equal(records(t), 1);
    script(t, "second", ":", ":");
    must(cni_del(t->cni, &pod, e));
    assert_int_equal(records(t), 0);
}

static void test_bad_configurations(void **state)
{
    struct test *t = *state;
    struct cni *c = NULL;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"plugins\":[{\"type\":\"x\"}]}", "name or plugins are missing"},
        {"{\"name\":\"x\",\"plugins\":[]}", "name or plugins are missing"},
        {"{", "CNI configuration "},
    };
    {
        _cleanup_err_ struct err why = ERR_INIT;
        char message[96];
        assert_int_equal(cni_load(path(t, "conf"), "/none", path(t, "state"), &c, &why), -404);
        snprintf(message, sizeof message, "%s/conf holds no CNI configuration", t->dir);
        assert_string_equal(why.message, message);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_err_ struct err why = ERR_INIT;
        put(t, "conf", "10-x.conflist", cases[i].text, 0600);
        assert_int_equal(cni_load(path(t, "conf"), "/none", path(t, "state"), &c, &why), -400);
        assert_non_null(strstr(why.message, cases[i].message));
    }
    static const struct {
        const char *type, *message;
        int code;
    } types[] = {
        {"../../bin/sh", "CNI plugin type \"../../bin/sh\" is not a file name", -400},
        {"", "CNI plugin type \"\" is not a file name", -400},
        {"nobody", "CNI plugin \"nobody\" is in none of ", -404},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct str ip;
        _cleanup_err_ struct err why = ERR_INIT;
        put(t, "conf", "10-x.conflist",
            arena_printf(&t->a, "{\"name\":\"x\",\"type\":\"%s\"}%c", types[i].type, 0).p, 0600);
        load(t);
        assert_int_equal(cni_add(t->cni, &t->a, &pod, &ip, &why), types[i].code);
        assert_non_null(strstr(why.message, types[i].message));
        cni_free(TAKE_PTR(t->cni));
    }
}

static void test_real_bridge(void **state)
{
    struct test *t = *state;
    if (!may_unshare() || access(REAL_PLUGINS "/bridge", X_OK) < 0)
        skip();
    put(t, "conf", "10-bridge.conflist",
        arena_printf(&t->a,
                     "{\"cniVersion\":\"0.4.0\",\"name\":\"net\",\"plugins\":["
                     "{\"type\":\"bridge\",\"bridge\":\"cni0\",\"isGateway\":true,\"ipMasq\":false,"
                     "\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\","
                     "\"ranges\":[[{\"subnet\":\"10.88.0.0/24\"}]],"
                     "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}},"
                     "{\"type\":\"tuning\",\"sysctl\":{\"net.core.somaxconn\":\"500\"}}]}%c",
                     t->dir, 0)
            .p,
        0600);
    const struct pod_network_options opt = {.state_dir = path(t, "state"),
                                            .cni_conf_dir = path(t, "conf"),
                                            .cni_bin_dirs = REAL_PLUGINS};
    struct pod_network *network;
    must(pod_network_new(&opt, &network, e));
    struct netns node = netns_current(), boxes[2] = {netns_new(), netns_new()};
    struct pod_network_request r[2] = {
        {.sandbox_id = STR("box1"), .netns_path = str_of(boxes[0].path)},
        {.sandbox_id = STR("box2"), .netns_path = str_of(boxes[1].path)}};
    // The plugins are other processes: our descriptors have other names there.
    for (int i = 0; i < 2; i++)
        r[i].netns_path = arena_printf(&t->a, "/proc/%d/fd/%d", getpid(), boxes[i].fd);
    struct str ip;
    must(pod_network_add(network, &t->a, &r[0], &ip, e));
    assert_true(str_eqc(ip, "10.88.0.2"));
    must(pod_network_add(network, &t->a, &r[1], &ip, e));
    assert_true(str_eqc(ip, "10.88.0.3"));
    int server = listen_in(&boxes[1], SOCK_STREAM, 80);
    char peer[INET_ADDRSTRLEN];
    const struct netns *clients[] = {&node, &boxes[0]};
    static const char *const seen[] = {"10.88.0.1", "10.88.0.2"};
    for (int i = 0; i < 2; i++) {
        int fd = connect_to(clients[i], "10.88.0.3", 80, WAIT_MS);
        assert_true(fd >= 0);
        assert_int_equal(accepted_by(&server, 1, peer), 0);
        assert_string_equal(peer, seen[i]);
        close(fd);
    }
    close(server);
    // A plugin's own words.
    _cleanup_err_ struct err why = ERR_INIT;
    const struct pod_network_request nowhere = {.sandbox_id = STR("box3"),
                                                .netns_path = STR("/run/netns/none")};
    assert_int_equal(pod_network_add(network, &t->a, &nowhere, &ip, &why), -500);
    assert_non_null(strstr(why.message, "plugin type=\"bridge\" failed (ADD): "));
    assert_non_null(strstr(why.message, "/run/netns/none"));
    // One gone without a DEL: collected; the other deleted. Then the addresses are free again.
    const struct str live[] = {STR("box2")};
    must(pod_network_collect(network, live, 1, e));
    must(pod_network_del(network, &r[1], e));
    assert_int_equal(records(t), 0);
    assert_true(access(path(t, "ipam/net/10.88.0.2"), F_OK) < 0);
    assert_true(access(path(t, "ipam/net/10.88.0.3"), F_OK) < 0);
    pod_network_free(network);
    close(node.fd);
    close(boxes[0].fd);
    close(boxes[1].fd);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_chain),
        CASE(test_old_version_has_no_result_at_del),
        CASE(test_a_failure_is_undone),
        CASE(test_failures_in_words),
        CASE(test_del_that_fails),
        CASE(test_bad_configurations),
        CASE(test_real_bridge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
