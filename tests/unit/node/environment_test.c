// Environment, expansion, the downward API, QoS and resources, security contexts, resolv.conf and
// hosts: the pure parts of a container's configuration, against texts known from the originals.
#include "node/environment.h"
#include "node/pod_dns.h"
#include "node/pod_resources.h"
#include "node/pod_security.h"
#include "object/json.h"
#include "unit.h"

static struct arena arena;

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
    if (str_eqc(name, "cfg") && strcmp(resource, "configmaps") == 0) {
        *ret = json("{'data':{'a':'1','b.c':'2','bad=key':'x'}}");
        return 0;
    }
    if (str_eqc(name, "sec") && strcmp(resource, "secrets") == 0) {
        *ret = json("{'data':{'user':'YWRtaW4=','pass':'czNjcmV0'}}");
        return 0;
    }
    return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" not found",
                   resource[0] == 'c' ? "configmap" : "secret", STR_ARG(name));
}

static const char *const pod_text =
    "{'metadata':{'name':'web','namespace':'shop','uid':'u1','labels':{'b':'2','a':'x\\\"y'},'"
    "annotations':"
    "{'note':'two\\nlines'}},'spec':{'nodeName':'n1','serviceAccountName':'robot','containers':[{'"
    "name':"
    "'web','resources':{'requests':{'cpu':'250m','memory':'64Mi'},'limits':{'cpu':'1500m'}}}]}}";

static const char *env_text(const char *container, const char *const *services, size_t nservices,
                            struct err *e)
{
    struct pod_facts facts = {
        .pod = json(pod_text),
        .pod_ip = STR("10.0.0.5"),
        .host_ip = STR("192.0.2.1"),
        .allocatable = json("{'cpu':'4','memory':'8Gi'}"),
    };
    const struct value *list[8];
    for (size_t i = 0; i < nservices; i++)
        list[i] = json(services[i]);
    struct environment_sources s = {&facts, get, NULL, list, nservices};
    struct str(*env)[2];
    size_t n;
    if (environment_make(&arena, &s, json(container), &env, &n, e) < 0)
        return NULL;
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%.*s=%.*s\n", STR_ARG(env[i][0]), STR_ARG(env[i][1]));
    const char *text = arena_cstr(&arena, buf_view(&b));
    buf_done(&b);
    return text;
}

static void values_and_expansion(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"plain", "plain"},        {"$(A)", "1"},  {"$$(A)", "$(A)"}, {"$$$(A)", "$1"},
        {"$(NONE)", "$(NONE)"},    {"$(A", "$(A"}, {"$A", "$A"},      {"a$", "a$"},
        {"$(A)$(B)-$(A)", "12-1"}, {"$()", "$()"}, {"$$$$", "$$"},    {"$(A)(B)", "1(B)"},
        {"x$(A$(B)", "x$(A$(B)"},
    };
    const struct str env[][2] = {{STR("A"), STR("1")}, {STR("B"), STR("2")}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str out = environment_expand(&arena, str_of(rows[i].in), env, 2);
        assert_string_equal(arena_cstr(&arena, out), rows[i].out);
    }
    assert_string_equal(
        env_text("{'env':[{'name':'A','value':'1'},{'name':'B','value':'$(A)2'},{'name':'C',"
                 "'value':'$(D)'},{'name':'D','value':'$$(A)'},{'name':'A','value':'$(A)+'},"
                 "{'name':'E'}]}",
                 NULL, 0, &e),
        "A=1+\nB=12\nC=$(D)\nD=$(A)\nE=\n");
}

static void sources(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_string_equal(
        env_text(
            "{'envFrom':[{'configMapRef':{'name':'cfg'}},{'prefix':'S_','secretRef':{'name':'sec'}}"
            ",{"
            "'configMapRef':{'name':'none','optional':true}}],'env':[{'name':'a','value':'own'},{'"
            "name':'P',"
            "'valueFrom':{'secretKeyRef':{'name':'sec','key':'pass'}}},{'name':'O','valueFrom':{"
            "'configMapKeyRef':{'name':'cfg','key':'zz','optional':true}}},{'name':'Q','valueFrom':"
            "{"
            "'configMapKeyRef':{'name':'none','key':'zz','optional':true}}}]}",
            NULL, 0, &e),
        "a=own\nb.c=2\nS_user=admin\nS_pass=s3cret\nP=s3cret\n");
    assert_null(
        env_text("{'env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'cfg','key':'zz'}}}]}",
                 NULL, 0, &e));
    assert_string_equal(e.message, "couldn't find key zz in ConfigMap shop/cfg");
    assert_int_equal(err_code(&e), -404);
    err_done(&e);
    e = ERR_INIT;
    assert_null(
        env_text("{'env':[{'name':'A','valueFrom':{'secretKeyRef':{'name':'sec','key':'zz'}}}]}",
                 NULL, 0, &e));
    assert_string_equal(e.message, "couldn't find key zz in Secret shop/sec");
    err_done(&e);
    e = ERR_INIT;
    assert_null(env_text("{'envFrom':[{'secretRef':{'name':'none'}}]}", NULL, 0, &e));
    assert_string_equal(e.message, "secret \"none\" not found");
    err_done(&e);
}

static void downward_fields(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value;
    } rows[] = {
        {"metadata.name", "web"},
        {"metadata.namespace", "shop"},
        {"metadata.uid", "u1"},
        {"metadata.labels['b']", "2"},
        {"metadata.labels['none']", ""},
        {"metadata.labels", "a=\"x\\\"y\"\nb=\"2\""},
        {"metadata.annotations", "note=\"two\\nlines\""},
        {"spec.nodeName", "n1"},
        {"spec.serviceAccountName", "robot"},
        {"status.podIP", "10.0.0.5"},
        {"status.hostIP", "192.0.2.1"},
    };
    struct pod_facts facts = {
        .pod = json(pod_text), .pod_ip = STR("10.0.0.5"), .host_ip = STR("192.0.2.1")};
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str out = STR_NULL;
        assert_int_equal(pod_field_ref(&arena, &facts, str_of(rows[i].path), &out, &e), 0);
        assert_string_equal(arena_cstr(&arena, out), rows[i].value);
    }
    struct str out;
    assert_int_equal(pod_field_ref(&arena, &facts, STR("spec.secret"), &out, &e), -422);
    assert_string_equal(e.message, "unsupported fieldPath: spec.secret");
    err_done(&e);
}

static void downward_resources(void **state)
{
    (void)state;
    static const struct {
        const char *ref, *value;
    } rows[] = {
        {"{'resource':'requests.cpu'}", "1"},
        {"{'resource':'requests.cpu','divisor':'1m'}", "250"},
        {"{'resource':'limits.cpu'}", "2"},
        {"{'resource':'limits.cpu','divisor':'0'}", "2"},
        {"{'resource':'limits.memory','divisor':'1Gi'}", "8"}, // of the node
        {"{'resource':'requests.memory','divisor':'1Mi','containerName':'web'}", "64"},
        {"{'resource':'requests.memory'}", "67108864"},
    };
    struct pod_facts facts = {.pod = json(pod_text),
                              .allocatable = json("{'cpu':'4','memory':'8Gi'}")};
    const struct value *container = pod_container_spec(facts.pod, STR("web"));
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct str out = STR_NULL;
        assert_int_equal(pod_resource_ref(&arena, &facts, container, json(rows[i].ref), &out, &e),
                         0);
        assert_string_equal(arena_cstr(&arena, out), rows[i].value);
    }
    struct str out;
    assert_int_equal(
        pod_resource_ref(&arena, &facts, container, json("{'resource':'limits.gold'}"), &out, &e),
        -422);
    assert_string_equal(e.message, "unsupported container resource : limits.gold");
    err_done(&e);
}

static void service_variables(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const char *const services[] = {
        "{'metadata':{'name':'kubernetes','namespace':'default'},'spec':{'clusterIP':'10.96.0.1','"
        "ports':[{'name':"
        "'https','port':443,'protocol':'TCP'}]}}",
        "{'metadata':{'name':'my-db','namespace':'shop'},'spec':{'clusterIP':'fd00::1','ports':[{'"
        "port':53,'protocol':"
        "'UDP'}]}}",
    };
    assert_string_equal(
        env_text("{'env':[{'name':'H','value':'$(KUBERNETES_SERVICE_HOST)'},{'name':'MY_DB_PORT',"
                 "'value':'mine'}]}",
                 services, 2, &e),
        "H=10.96.0.1\n"
        "MY_DB_PORT=mine\n"
        "KUBERNETES_SERVICE_HOST=10.96.0.1\n"
        "KUBERNETES_SERVICE_PORT=443\n"
        "KUBERNETES_SERVICE_PORT_HTTPS=443\n"
        "KUBERNETES_PORT=tcp://10.96.0.1:443\n"
        "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443\n"
        "KUBERNETES_PORT_443_TCP_PROTO=tcp\n"
        "KUBERNETES_PORT_443_TCP_PORT=443\n"
        "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1\n"
        "MY_DB_SERVICE_HOST=fd00::1\n"
        "MY_DB_SERVICE_PORT=53\n"
        "MY_DB_PORT_53_UDP=udp://[fd00::1]:53\n"
        "MY_DB_PORT_53_UDP_PROTO=udp\n"
        "MY_DB_PORT_53_UDP_PORT=53\n"
        "MY_DB_PORT_53_UDP_ADDR=fd00::1\n");
    assert_true(environment_wants_service(json(services[0]), STR("shop"), false));
    assert_false(environment_wants_service(json(services[1]), STR("shop"), false));
    assert_true(environment_wants_service(json(services[1]), STR("shop"), true));
    assert_false(environment_wants_service(json(services[1]), STR("other"), true));
    assert_false(environment_wants_service(
        json("{'metadata':{'name':'h','namespace':'shop'},'spec':{'clusterIP':'None'}}"),
        STR("shop"), true));
}

static void qos_and_resources(void **state)
{
    (void)state;
#define POD(resources)                                                                             \
    "{'metadata':{'uid':'u1'},'spec':{'containers':[{'name':'a','resources':" resources "}]}}"
    static const struct {
        const char *pod, *qos, *parent;
        int64_t shares, quota, memory;
        int oom;
    } rows[] = {
        {POD("{}"), "BestEffort", "besteffort/podu1", 2, 0, 0, 1000},
        {POD("{'requests':{'cpu':'500m','memory':'1Gi'}}"), "Burstable", "burstable/podu1", 512, 0,
         0, 875},
        {POD("{'limits':{'cpu':'2','memory':'1Gi'},'requests':{'cpu':'2','memory':'1Gi'}}"),
         "Guaranteed", "podu1", 2048, 200000, 1 << 30, -997},
        {POD("{'limits':{'cpu':'1m'}}"), "Burstable", "burstable/podu1", 2, 1000, 0, 999},
        {POD("{'requests':{'memory':'8Gi'}}"), "Burstable", "burstable/podu1", 2, 0, 0, 3},
    };
#undef POD
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct value *pod = json(rows[i].pod);
        struct pod_container_resources r;
        assert_string_equal(pod_qos_name(pod_qos_class(pod)), rows[i].qos);
        assert_string_equal(arena_cstr(&arena, pod_cgroup_parent(&arena, pod)), rows[i].parent);
        pod_container_resources(pod, pod_container_spec(pod, STR("a")), 8LL << 30, &r);
        assert_int_equal(r.cpu_shares, rows[i].shares);
        assert_int_equal(r.cpu_quota_us, rows[i].quota);
        assert_int_equal(r.memory_limit, rows[i].memory);
        assert_int_equal(r.oom_score_adj, rows[i].oom);
    }
    int64_t cpu, memory;
    pod_requests(
        json("{'spec':{'containers':[{'resources':{'requests':{'cpu':'100m','memory':'1Mi'}}},{'"
             "resources':"
             "{'requests':{'cpu':'200m'}}}],'initContainers':[{'restartPolicy':'Always','resources'"
             ":{"
             "'requests':{'cpu':'50m'}}},{'resources':{'requests':{'cpu':'1','memory':'512Ki'}}}],"
             "'overhead':{'memory':'1Mi'}}}"),
        &cpu, &memory);
    assert_int_equal(cpu, 1050);
    assert_int_equal(memory, 2 << 20);
}

static void security(void **state)
{
    (void)state;
    struct image_info root = {.uid = -1}, named = {.uid = -1, .username = STR("www")},
                      user = {.uid = 1000};
    struct runtime_container_config c = {0};
    struct err e = ERR_INIT;
    const struct value *pod =
        json("{'metadata':{'name':'p','namespace':'d','uid':'u'},'spec':{'securityContext':{"
             "'runAsUser':5,'runAsGroup':6,'fsGroup':7,'supplementalGroups':[8]}}}");
    assert_int_equal(pod_security_apply(
                         &arena, pod,
                         json("{'name':'c','securityContext':{'runAsUser':9,'capabilities':{'add':["
                              "'CAP_NET_ADMIN'],'drop':['ALL']},'readOnlyRootFilesystem':true}}"),
                         &root, &c, &e),
                     0);
    assert_int_equal(c.run_as_user, 9);
    assert_int_equal(c.run_as_group, 6);
    assert_int_equal(c.nsupplemental_groups, 2);
    assert_int_equal(c.supplemental_groups[1], 7);
    assert_true(str_eqc(c.capabilities_add[0], "NET_ADMIN"));
    assert_true(c.readonly_rootfs && c.no_new_privileges);
    assert_true(str_eqc(c.seccomp_profile, "RuntimeDefault"));

    assert_int_equal(pod_security_apply(&arena, pod,
                                        json("{'name':'c','securityContext':{'privileged':true}}"),
                                        &root, &c, &e),
                     0);
    assert_true(c.privileged && !c.no_new_privileges);
    assert_true(str_eqc(c.seccomp_profile, "Unconfined"));

    static const struct {
        const char *container;
        int image; // 0 root, 1 named, 2 user
        const char *refusal;
    } rows[] = {
        {"{'name':'c','securityContext':{'runAsNonRoot':true}}", 0,
         "container has runAsNonRoot and image will run as root (pod: \"p_d(u)\", container: c)"},
        {"{'name':'c','securityContext':{'runAsNonRoot':true}}", 1,
         "container has runAsNonRoot and image has non-numeric user (www), cannot verify user is "
         "non-root (pod: "
         "\"p_d(u)\", container: c)"},
        {"{'name':'c','securityContext':{'runAsNonRoot':true}}", 2, NULL},
        {"{'name':'c','securityContext':{'runAsNonRoot':true,'runAsUser':0}}", 2,
         "container's runAsUser breaks non-root policy (pod: \"p_d(u)\", container: c)"},
        {"{'name':'c','securityContext':{'runAsNonRoot':true,'runAsUser':3}}", 0, NULL},
    };
    const struct image_info *images[] = {&root, &named, &user};
    pod = json("{'metadata':{'name':'p','namespace':'d','uid':'u'},'spec':{}}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err why = ERR_INIT;
        int rc = pod_security_apply(&arena, pod, json(rows[i].container), images[rows[i].image], &c,
                                    &why);
        assert_int_equal(rc, rows[i].refusal ? -422 : 0);
        if (rows[i].refusal)
            assert_string_equal(why.message, rows[i].refusal);
        err_done(&why);
    }
}

static void resolv_conf(void **state)
{
    (void)state;
    struct pod_dns_options o = {
        .cluster_dns = STR("10.96.0.10"),
        .cluster_domain = STR("cluster.local"),
        .host_resolv_conf =
            STR("# host\nnameserver 192.0.2.53\nsearch example.org\noptions timeout:1\n"),
    };
    const char *note = NULL;
#define RESOLV(spec)                                                                               \
    arena_cstr(&arena,                                                                             \
               pod_resolv_conf(&arena, &o,                                                         \
                               json("{'metadata':{'namespace':'shop'},'spec':" spec "}"), &note))
    assert_string_equal(
        RESOLV("{'dnsPolicy':'ClusterFirst'}"),
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.org\n"
        "nameserver 10.96.0.10\noptions ndots:5\n");
    assert_string_equal(RESOLV("{'dnsPolicy':'Default'}"),
                        "search example.org\nnameserver 192.0.2.53\noptions timeout:1\n");
    assert_string_equal(RESOLV("{'dnsPolicy':'ClusterFirst','hostNetwork':true}"),
                        "search example.org\nnameserver 192.0.2.53\noptions timeout:1\n");
    assert_string_equal(
        RESOLV("{'dnsPolicy':'ClusterFirstWithHostNet','hostNetwork':true,'dnsConfig':{'options':[{"
               "'name':'ndots','value':'2'},{'name':'edns0'}],'searches':['a.b'],'nameservers':["
               "'192.0.2.9']}}"),
        "search shop.svc.cluster.local svc.cluster.local cluster.local example.org a.b\n"
        "nameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:2 edns0\n");
    assert_string_equal(RESOLV("{'dnsPolicy':'None','dnsConfig':{'nameservers':['1.1.1.1']}}"),
                        "nameserver 1.1.1.1\n");
    assert_null(note);
    RESOLV("{'dnsPolicy':'None','dnsConfig':{'nameservers':['1.1.1.1','2.2.2.2','3.3.3.3','4.4.4.4'"
           "]}}");
    assert_string_equal(note,
                        "Nameserver limits were exceeded, some nameservers have been omitted");
    o.cluster_dns = STR_NULL;
    assert_string_equal(RESOLV("{'dnsPolicy':'ClusterFirst'}"),
                        "search example.org\nnameserver 192.0.2.53\noptions timeout:1\n");
    assert_non_null(strstr(note, "does not have ClusterDNS IP configured"));
#undef RESOLV
}

static void hosts_file(void **state)
{
    (void)state;
#define HEAD                                                                                       \
    "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost "        \
    "ip6-loopback\n"                                                                               \
    "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-"        \
    "allrouters\n"
#define HOSTS(pod, host)                                                                           \
    arena_cstr(&arena, pod_hosts_file(&arena, json(pod), STR("10.0.0.5"), STR("cluster.local"),    \
                                      STR(host)))
    assert_string_equal(
        HOSTS(
            "{'metadata':{'name':'web','namespace':'shop'},'spec':{'hostAliases':[{'ip':'1.2.3.4',"
            "'hostnames':['a','b']}]}}",
            ""),
        HEAD "10.0.0.5\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n");
    assert_string_equal(
        HOSTS("{'metadata':{'name':'web','namespace':'shop'},'spec':{'hostname':'db','subdomain':"
              "'sub'}}",
              ""),
        HEAD "10.0.0.5\tdb.sub.shop.svc.cluster.local\tdb\n");
    assert_string_equal(
        HOSTS("{'metadata':{'name':'web','namespace':'shop'},'spec':{'hostNetwork':true}}",
              "127.0.0.1\tme\n"),
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tme\n");
#undef HOSTS
#undef HEAD
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(values_and_expansion, teardown),
        cmocka_unit_test_teardown(sources, teardown),
        cmocka_unit_test_teardown(downward_fields, teardown),
        cmocka_unit_test_teardown(downward_resources, teardown),
        cmocka_unit_test_teardown(service_variables, teardown),
        cmocka_unit_test_teardown(qos_and_resources, teardown),
        cmocka_unit_test_teardown(security, teardown),
        cmocka_unit_test_teardown(resolv_conf, teardown),
        cmocka_unit_test_teardown(hosts_file, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
