// Cases found from outside, each named after its file: what Kubernetes 1.34 does, and its words.
#include "harness.h"

#include "apiserver/server.h"
#include "base/time.h"

static struct api_request *creates(struct fixture *f, const char *kind, const char *ns,
                                   const char *json)
{
    struct api_request *r = request(f, VERB_CREATE, kind, ns, NULL);
    r->body = parse(f, json);
    return r;
}

static struct value *updates(struct fixture *f, const char *kind, const char *ns, const char *name,
                             const char *sub, struct value *v)
{
    struct api_request *r = request(f, VERB_UPDATE, kind, ns, name);
    r->subresource = str_of(sub);
    r->body = v;
    run_ok(f);
    return answer(f);
}

static struct value *merged(struct fixture *f, const char *kind, const char *ns, const char *name,
                            const char *sub, const char *json)
{
    struct api_request *r = request(f, VERB_PATCH, kind, ns, name);
    r->patch_type = PATCH_TYPE_MERGE;
    r->subresource = str_of(sub);
    r->body = parse(f, json);
    run_ok(f);
    return answer(f);
}

static const struct value *first(const struct value *v, const char *path)
{
    return value_item(value_at(v, path), 0);
}

// ---- conformance-first-run

static void conformance_first_run_affinity(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "services", "default",
                             "{'metadata':{'name':'s'},'spec':{'sessionAffinity':'ClientIP',"
                             "'ports':[{'port':80}]}}");
    assert_int_equal(value_int_at(v, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 0),
                     10800);
    value_set_at(&f->a, v, "spec.sessionAffinity", value_strc(&f->a, "None"));
    v = updates(f, "services", "default", "s", "", v);
    assert_string_equal(text_at(f, v, "spec.sessionAffinity"), "None");
    assert_null(value_at(v, "spec.sessionAffinityConfig"));
}

static void conformance_first_run_service_condition(void **state)
{
    struct fixture *f = *state;
    create(f, "services", "default", "{'metadata':{'name':'s'},'spec':{'ports':[{'port':80}]}}");
    struct value *v =
        merged(f, "services", "default", "s", "status",
               "{'status':{'conditions':[{'type':'X','status':'True','reason':'','message':''}]}}");
    assert_string_equal(text_at(f, first(v, "status.conditions"), "type"), "X");
    assert_null(value_getc(first(v, "status.conditions"), "lastTransitionTime"));
    assert_string_equal(
        text_at(f, first(get(f, "services", "default", "s"), "status.conditions"), "status"),
        "True");
}

static void conformance_first_run_approval(void **state)
{
    struct fixture *f = *state;
    create(f, "certificatesigningrequests", NULL,
           "{'metadata':{'name':'c'},'spec':{'request':'eA==','signerName':'example.com/x',"
           "'usages':['client auth']}}");
    struct value *v = merged(f, "certificatesigningrequests", NULL, "c", "approval",
                             "{'metadata':{'annotations':{'patched':'yes'}},'spec':{'signerName':"
                             "'example.com/y'},'status':{'certificate':'eA==','conditions':[{"
                             "'type':'Approved','status':'True','reason':'r','message':'m'}]}}");
    assert_string_equal(text_at(f, v, "metadata.annotations.patched"), "yes");
    assert_string_equal(text_at(f, v, "spec.signerName"), "example.com/x");
    assert_null(value_at(v, "status.certificate"));
    const struct value *c = first(v, "status.conditions");
    assert_string_equal(text_at(f, c, "type"), "Approved");
    assert_true(value_str_at(c, "lastUpdateTime").n && value_str_at(c, "lastTransitionTime").n);
    // /status takes no decision back.
    v = merged(f, "certificatesigningrequests", NULL, "c", "status",
               "{'status':{'conditions':[{'type':'Failed','status':'True','reason':'r'}]}}");
    assert_int_equal(value_len(value_at(v, "status.conditions")), 2);
    assert_string_equal(text_at(f, value_item(value_at(v, "status.conditions"), 1), "type"),
                        "Approved");
    // One that is sent along keeps its place, and is what it was; none is added.
    v = merged(f, "certificatesigningrequests", NULL, "c", "status",
               "{'status':{'conditions':[{'type':'Approved','status':'True','reason':'other'},"
               "{'type':'Denied','status':'True','reason':'r'},"
               "{'type':'X','status':'True','reason':'r'}]}}");
    const struct value *conditions = value_at(v, "status.conditions");
    assert_int_equal(value_len(conditions), 2);
    assert_string_equal(text_at(f, value_item(conditions, 0), "reason"), "r");
    assert_string_equal(text_at(f, value_item(conditions, 1), "type"), "X");
}

static void conformance_first_run_event_source(void **state)
{
    struct fixture *f = *state;
    create(f, "events.events.k8s.io", "default",
           "{'metadata':{'name':'e'},'eventTime':'2026-01-01T00:00:00.000000Z',"
           "'reportingController':'test-controller','reportingInstance':'i','action':'a','reason':"
           "'r','type':'Normal','regarding':{'namespace':'default'}}");
    create(f, "events", "default",
           "{'metadata':{'name':'o'},'involvedObject':{'namespace':'default'},'source':{'component'"
           ":'old'},'reportingComponent':'test-controller'}");
    static const struct {
        const char *selector, *name;
    } rows[] = {{"source=test-controller", "e"}, {"source=old", "o"}};
    for (size_t i = 0; i < 2; i++) {
        request(f, VERB_LIST, "events", "default", NULL)->field_selector = str_of(rows[i].selector);
        run_ok(f);
        assert_int_equal(f->call.answer.nitems, 1);
        assert_true(str_eqc(object_name(f->call.answer.items[0]), rows[i].name));
    }
}

static void conformance_first_run_continue(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        create(f, "podtemplates", "default",
               arena_cstr(&f->a, arena_printf(&f->a,
                                              "{'metadata':{'name':'t%d'},'template':{'spec':{"
                                              "'containers':[{'name':'c','image':'i'}]}}}",
                                              i)));
    request(f, VERB_LIST, "podtemplates", "default", NULL)->limit = 2;
    run_ok(f);
    struct str token = arena_str(&f->a, f->call.answer.continue_token);
    // Another change, and then none for long: four minutes later the version is still there.
    create(f, "configmaps", "default", "{'metadata':{'name':'c'}}");
    env_sim_advance(f->env, 240 * NS_PER_S);
    struct api_request *r = request(f, VERB_LIST, "podtemplates", "default", NULL);
    r->limit = 2;
    r->continue_token = token;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 2);
    env_sim_advance(f->env, 100 * NS_PER_S);
    r = request(f, VERB_LIST, "podtemplates", "default", NULL);
    r->limit = 2;
    r->continue_token = token;
    assert_int_equal(run(f), -410);
    assert_int_equal(f->call.err.reason, ERR_EXPIRED);
    assert_non_null(f->call.err.continue_token);
    // The token of the refusal goes on from there, in today's version.
    token = arena_str(&f->a, str_of(f->call.err.continue_token));
    r = request(f, VERB_LIST, "podtemplates", "default", NULL);
    r->continue_token = token;
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 3);
    // A list of the present never expires.
    env_sim_advance(f->env, 3600 * NS_PER_S);
    r = request(f, VERB_LIST, "podtemplates", "default", NULL);
    r->resource_version = arena_printf(&f->a, "%llu", (unsigned long long)f->call.answer.revision);
    request(f, VERB_LIST, "podtemplates", "default", NULL);
    run_ok(f);
    struct str now = arena_printf(&f->a, "%llu", (unsigned long long)f->call.answer.revision);
    r = request(f, VERB_LIST, "podtemplates", "default", NULL);
    r->resource_version = now;
    r->resource_version_match = STR("Exact");
    run_ok(f);
}

// ---- runtimeclass-missing

static const char boxed[] = "{'metadata':{'name':'boxed'},'spec':{%s'containers':[{'name':'c',"
                            "'image':'i'}]}}";

static void runtimeclass_missing(void **state)
{
    struct fixture *f = *state;
    create(f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
    create(f, "runtimeclasses", NULL,
           "{'metadata':{'name':'box'},'handler':'box','overhead':{'podFixed':{'cpu':'250m',"
           "'memory':'16Mi'}},'scheduling':{'nodeSelector':{'box':'yes'},'tolerations':[{'key':"
           "'box','operator':'Exists','effect':'NoSchedule'},{'key':'k','operator':'Equal','value'"
           ":'v','effect':'NoSchedule'}]}}");
    create(f, "runtimeclasses", NULL, "{'metadata':{'name':'plain'},'handler':'plain'}");
    static const struct {
        const char *spec, *refusal;
    } rows[] = {
        {"'runtimeClassName':'sandbox',",
         "pods \"boxed\" is forbidden: pod rejected: RuntimeClass \"sandbox\" not found"},
        {"'overhead':{'cpu':'1'},",
         "pods \"boxed\" is forbidden: pod rejected: Pod Overhead set without corresponding "
         "RuntimeClass defined Overhead"},
        {"'runtimeClassName':'plain','overhead':{'cpu':'1'},",
         "pods \"boxed\" is forbidden: pod rejected: Pod Overhead set without corresponding "
         "RuntimeClass defined Overhead"},
        {"'runtimeClassName':'box','overhead':{'cpu':'1'},",
         "pods \"boxed\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's "
         "defined Overhead"},
        {"'runtimeClassName':'box','nodeSelector':{'box':'no'},",
         "pods \"boxed\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[box] = yes; "
         "pod.spec.nodeSelector[box] = no"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        creates(f, "pods", "default", arena_cstr(&f->a, arena_printf(&f->a, boxed, rows[i].spec)));
        run_fails(f, 403, rows[i].refusal);
    }
    struct value *v = create(
        f, "pods", "default",
        arena_cstr(&f->a, arena_printf(&f->a, boxed,
                                       "'runtimeClassName':'box','nodeSelector':{'a':'b'},"
                                       "'overhead':{'cpu':'0.25','memory':'16Mi'},'tolerations':[{"
                                       "'key':'k','operator':'Exists'}],")));
    assert_string_equal(text_at(f, v, "spec.overhead.cpu"), "250m");
    assert_string_equal(text_at(f, v, "spec.nodeSelector.box"), "yes");
    assert_string_equal(text_at(f, v, "spec.nodeSelector.a"), "b");
    // The class's second toleration is part of the pod's; the default two come behind.
    const struct value *t = value_at(v, "spec.tolerations");
    assert_int_equal(value_len(t), 4);
    assert_string_equal(text_at(f, value_item(t, 0), "key"), "box");
    assert_string_equal(text_at(f, value_item(t, 1), "key"), "k");
    assert_string_equal(text_at(f, value_item(t, 1), "operator"), "Exists");
}

// ---- small-differences

static void small_differences_future(void **state)
{
    struct fixture *f = *state;
    create(f, "configmaps", "default", "{'metadata':{'name':'c'}}");
    request(f, VERB_GET, "configmaps", "default", "c");
    run_ok(f);
    uint64_t now = f->call.answer.revision;
    struct api_request *r = request(f, VERB_GET, "configmaps", "default", "c");
    r->resource_version = arena_printf(&f->a, "%llu", (unsigned long long)now + 1000000);
    run_fails(f, 504,
              arena_cstr(&f->a,
                         arena_printf(&f->a,
                                      "Timeout: Too large resource version: %llu, current: "
                                      "%llu",
                                      (unsigned long long)now + 1000000, (unsigned long long)now)));
    assert_int_equal(f->call.err.reason, ERR_TIMEOUT);
    assert_int_equal(f->call.err.retry_after_seconds, 1);
    request(f, VERB_GET, "configmaps", "default", "c")->resource_version = STR("0");
    run_ok(f);
    request(f, VERB_GET, "configmaps", "default", "c")->resource_version = STR("x");
    run_fails(f, 400, "resourceVersion: Invalid value: \"x\": must be an unsigned decimal number");
}

// ---- nodeport-of-two-protocols

static int64_t node_port(const struct value *service, size_t i)
{
    return value_int_at(value_item(value_at(service, "spec.ports"), i), "nodePort", 0);
}

static void nodeport_of_two_protocols(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(
        f, "services", "default",
        "{'metadata':{'name':'names'},'spec':{'type':'NodePort','selector':{'app':'names'},'ports':"
        "[{'name':'q-tcp','port':5300,'targetPort':53,'protocol':'TCP'},{'name':'q-udp','port':5300"
        ",'targetPort':53,'protocol':'UDP'},{'name':'m','port':9153,'protocol':'TCP'}]}}");
    assert_true(node_port(v, 0) >= 30000);
    assert_int_equal(node_port(v, 0), node_port(v, 1));
    assert_int_not_equal(node_port(v, 0), node_port(v, 2));
    // One of the two is asked for by number: the other follows, in whichever order they stand.
    v = create(f, "services", "default",
               "{'metadata':{'name':'asked'},'spec':{'type':'NodePort','ports':[{'name':'u','port':"
               "53,'protocol':'UDP'},{'name':'t','port':53,'protocol':'TCP','nodePort':30053}]}}");
    assert_int_equal(node_port(v, 0), 30053);
    assert_int_equal(node_port(v, 1), 30053);
    // The number is the Service's alone, whatever the protocol.
    creates(f, "services", "default",
            "{'metadata':{'name':'other'},'spec':{'type':'NodePort','ports':[{'port':53,'protocol':"
            "'SCTP','nodePort':30053}]}}");
    run_fails(
        f, 422,
        "Service \"other\" is invalid: spec.ports[0].nodePort: Invalid value: 30053: provided "
        "port is already allocated");
    // It is held until the last of its ports lets go.
    value_remove(value_at(v, "spec.ports"), 1);
    updates(f, "services", "default", "asked", "", v);
    creates(f, "services", "default",
            "{'metadata':{'name':'other'},'spec':{'type':'NodePort','ports':[{'port':53,"
            "'nodePort':30053}]}}");
    assert_int_equal(run(f), -422);
    request(f, VERB_DELETE, "services", "default", "asked");
    run_ok(f);
    create(f, "services", "default",
           "{'metadata':{'name':'other'},'spec':{'type':'NodePort','ports':[{'port':53,"
           "'nodePort':30053}]}}");
}

static void small_differences_node_port_twice(void **state)
{
    struct fixture *f = *state;
    creates(f, "services", "default",
            "{'metadata':{'name':'s'},'spec':{'type':'NodePort','ports':[{'name':'a','port':1,"
            "'nodePort':30001},{'name':'b','port':2,'nodePort':30001}]}}");
    run_fails(f, 422, "Service \"s\" is invalid: spec.ports[1].nodePort: Duplicate value: 30001");
}

static void small_differences_health_check_port(void **state)
{
    struct fixture *f = *state;
    struct value *v =
        create(f, "services", "default",
               "{'metadata':{'name':'s'},'spec':{'type':'LoadBalancer','externalTrafficPolicy':"
               "'Local','ports':[{'port':80}]}}");
    int64_t port = value_int_at(v, "spec.healthCheckNodePort", 0);
    assert_in_range(port, 30000, 32767);
    assert_int_not_equal(port, node_port(v, 0));
    char body[256];
    snprintf(body, sizeof body,
             "{'metadata':{'name':'t'},'spec':{'type':'NodePort','ports':[{'port':1,'nodePort':%lld"
             "}]}}",
             (long long)port);
    creates(f, "services", "default", body);
    assert_int_equal(run(f), -422);
    // Left out, it stays; another one is refused; without the need it goes, and is free again.
    v = merged(f, "services", "default", "s", "", "{'spec':{'healthCheckNodePort':null}}");
    assert_int_equal(value_int_at(v, "spec.healthCheckNodePort", 0), port);
    struct api_request *r = request(f, VERB_PATCH, "services", "default", "s");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'spec':{'healthCheckNodePort':32000}}");
    run_fails(
        f, 422,
        "Service \"s\" is invalid: spec.healthCheckNodePort: Invalid value: 32000: cannot "
        "change healthCheckNodePort on loadBalancer service with externalTraffic=Local during "
        "update");
    v = merged(f, "services", "default", "s", "", "{'spec':{'externalTrafficPolicy':'Cluster'}}");
    assert_null(value_at(v, "spec.healthCheckNodePort"));
    create(f, "services", "default", body);
    v = create(
        f, "services", "default",
        "{'metadata':{'name':'u'},'spec':{'type':'LoadBalancer','externalTrafficPolicy':"
        "'Local','healthCheckNodePort':31999,'allocateLoadBalancerNodePorts':false,'ports':[{"
        "'port':80}]}}");
    assert_int_equal(value_int_at(v, "spec.healthCheckNodePort", 0), 31999);
    assert_int_equal(node_port(v, 0), 0);
}

// ---- ip-family-not-there

static void ip_family_not_there(void **state)
{
    struct fixture *f = *state;
    creates(f, "services", "default",
            "{'metadata':{'name':'six'},'spec':{'ipFamilies':['IPv6'],'ports':[{'port':80}]}}");
    run_fails(f, 422,
              "Service \"six\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not "
              "configured on this cluster");
    creates(f, "services", "default",
            "{'metadata':{'name':'both'},'spec':{'ipFamilyPolicy':'RequireDualStack','ports':[{"
            "'port':80}]}}");
    run_fails(f, 422,
              "Service \"both\" is invalid: spec.ipFamilyPolicy: Invalid value: "
              "\"RequireDualStack\": this cluster is not configured for dual-stack services");
    struct value *v = create(f, "services", "default",
                             "{'metadata':{'name':'prefer'},'spec':{'ipFamilyPolicy':"
                             "'PreferDualStack','ports':[{'port':80}]}}");
    assert_int_equal(value_len(value_at(v, "spec.ipFamilies")), 1);
    // Without addresses of its own and without a selector it may be anything.
    v = create(f, "services", "default",
               "{'metadata':{'name':'open'},'spec':{'clusterIP':'None','ports':[{'port':80}]}}");
    assert_int_equal(value_len(value_at(v, "spec.ipFamilies")), 2);
    assert_string_equal(text_at(f, v, "spec.ipFamilyPolicy"), "RequireDualStack");
}

// ---- claim-without-class, grace-period-negative

static void claim_without_class(void **state)
{
    struct fixture *f = *state;
    create(
        f, "storageclasses", NULL,
        "{'metadata':{'name':'usual','annotations':{'storageclass.kubernetes.io/is-default-class'"
        ":'true'}},'provisioner':'example.com/p'}");
    struct value *v = create(f, "persistentvolumeclaims", "default",
                             "{'metadata':{'name':'static'},'spec':{'storageClassName':'',"
                             "'accessModes':['ReadWriteMany'],'resources':{'requests':{'storage':"
                             "'1Mi'}}}}");
    assert_true(value_is(value_at(v, "spec.storageClassName"), VALUE_STRING));
    assert_string_equal(text_at(f, v, "spec.storageClassName"), "");
    creates(f, "persistentvolumeclaims", "default",
            "{'metadata':{'name':'odd'},'spec':{'storageClassName':'A','accessModes':["
            "'ReadWriteMany'],'resources':{'requests':{'storage':'1Mi'}}}}");
    assert_int_equal(run(f), -422);
    assert_non_null(strstr(f->call.err.message, "spec.storageClassName: Invalid value: \"A\""));
}

static void grace_period_negative(void **state)
{
    struct fixture *f = *state;
    create(f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
    struct value *v = create(f, "pods", "default",
                             "{'metadata':{'name':'hasty'},'spec':{'terminationGracePeriodSeconds':"
                             "-1,'containers':[{'name':'c','image':'i'}]}}");
    assert_int_equal(value_int_at(v, "spec.terminationGracePeriodSeconds", 0), 1);
    v = create(f, "deployments", "default",
               "{'metadata':{'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{"
               "'metadata':{'labels':{'a':'b'}},'spec':{'terminationGracePeriodSeconds':-1,"
               "'containers':[{'name':'c','image':'i'}]}}}}");
    assert_int_equal(value_int_at(v, "spec.template.spec.terminationGracePeriodSeconds", 0), -1);
    assert_int_equal(f->call.answer.nwarnings, 1);
    assert_true(str_eqc(f->call.answer.warnings[0],
                        "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative "
                        "values are invalid and will be treated as 1"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(conformance_first_run_affinity),
        T(conformance_first_run_service_condition),
        T(conformance_first_run_approval),
        T(conformance_first_run_event_source),
        T(conformance_first_run_continue),
        T(runtimeclass_missing),
        T(small_differences_future),
        T(nodeport_of_two_protocols),
        T(small_differences_node_port_twice),
        T(small_differences_health_check_port),
        T(ip_family_not_there),
        T(claim_without_class),
        T(grace_period_negative),
    };
    return cmocka_run_group_tests_name("cases", tests, NULL, NULL);
}
