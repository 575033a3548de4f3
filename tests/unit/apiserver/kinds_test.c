// What is particular to kinds: pods, services, namespaces, bindings, evictions, scale, reviews,
// roles.
#include "base/time.h"
#include "harness.h"

static const char pod[] =
    "{'metadata':{'name':'p','labels':{'a':'b'}},'spec':{'containers':[{'name':'c','image':'i'}]}}";

static void account(struct fixture *f)
{
    create(f, "serviceaccounts", "default", "{'metadata':{'name':'default'}}");
}

static void bind_pod(struct fixture *f, const char *name)
{
    struct api_request *r = request(f, VERB_CREATE, "pods", "default", name);
    r->subresource = STR("binding");
    r->body = parse(f, "{'apiVersion':'v1','kind':'Binding','metadata':{'name':'p'},'target':{'"
                       "kind':'Node','name':'n1'}}");
    run_ok(f);
    assert_true(str_eqc(value_str_at(f->call.answer.value, "status"), "Success"));
    assert_true(f->call.answer.created);
}

static void test_pod_create(void **state)
{
    struct fixture *f = *state;
    request(f, VERB_CREATE, "pods", "default", NULL)->body = parse(f, pod);
    run_fails(f, 403,
              "pods \"p\" is forbidden: error looking up service account default/default: "
              "serviceaccount \"default\" not found");
    account(f);
    struct value *v = create(f, "pods", "default", pod);
    assert_string_equal(text_at(f, v, "status.phase"), "Pending");
    assert_string_equal(text_at(f, v, "status.qosClass"), "BestEffort");
    assert_string_equal(text_at(f, v, "spec.serviceAccountName"), "default");
    assert_int_equal(value_int_at(v, "spec.priority", -1), 0);
    assert_string_equal(text_at(f, v, "spec.preemptionPolicy"), "PreemptLowerPriority");
    assert_int_equal(value_len(value_at(v, "spec.tolerations")), 2);
    const struct value *volume = value_item(value_at(v, "spec.volumes"), 0);
    const struct value *mount =
        value_item(value_getc(value_item(value_at(v, "spec.containers"), 0), "volumeMounts"), 0);
    assert_true(str_starts(value_str_at(volume, "name"), STR("kube-api-access-")));
    assert_true(str_eq(value_str_at(volume, "name"), value_str_at(mount, "name")));
    assert_string_equal(text_at(f, mount, "mountPath"),
                        "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_int_equal(value_len(value_at(volume, "projected.sources")), 3);
    assert_int_equal(value_int_at(value_item(value_at(volume, "projected.sources"), 0),
                                  "serviceAccountToken.expirationSeconds", 0),
                     3607);
    request(f, VERB_CREATE, "pods", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'q'},'spec':{'priorityClassName':'nope','containers':[{'name'"
                 ":'c','image':'i'}]}}");
    run_fails(f, 403, "pods \"q\" is forbidden: no PriorityClass with name nope was found");
    v = create(f, "pods", "default",
               "{'metadata':{'name':'g'},'spec':{'priorityClassName':'system-node-critical','"
               "automountServiceAccountToken':false,"
               "'containers':[{'name':'c','image':'i','resources':{'limits':{'cpu':'1','memory':'"
               "1Gi'}}}]}}");
    assert_int_equal(value_int_at(v, "spec.priority", 0), 2000001000);
    assert_string_equal(text_at(f, v, "status.qosClass"), "Guaranteed");
    assert_int_equal(value_len(value_at(v, "spec.volumes")), 0);
}

static void test_binding(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default", pod);
    bind_pod(f, "p");
    struct value *v = get(f, "pods", "default", "p");
    assert_string_equal(text_at(f, v, "spec.nodeName"), "n1");
    const struct value *c = value_item(value_at(v, "status.conditions"), 0);
    assert_string_equal(text_at(f, c, "type"), "PodScheduled");
    assert_string_equal(text_at(f, c, "status"), "True");
    struct api_request *r = request(f, VERB_CREATE, "pods", "default", "p");
    r->subresource = STR("binding");
    r->body = parse(f, "{'target':{'kind':'Node','name':'n2'}}");
    run_fails(
        f, 409,
        "Operation cannot be fulfilled on pods \"p\": pod p is already assigned to node \"n1\"");
    // The list of the node's pods is what agents watch.
    request(f, VERB_LIST, "pods", NULL, NULL)->field_selector = STR("spec.nodeName=n1");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 1);
    request(f, VERB_LIST, "pods", NULL, NULL)->field_selector = STR("spec.nodeName=");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 0);
}

// The old way: POST …/bindings with the pod's name in the body.
static void test_old_binding(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default", pod);
    request(f, VERB_CREATE, "bindings", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'p'},'target':{'kind':'Node','name':'n1'}}");
    run_ok(f);
    assert_string_equal(text_at(f, get(f, "pods", "default", "p"), "spec.nodeName"), "n1");
    request(f, VERB_CREATE, "bindings", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'none'},'target':{'kind':'Node','name':'n1'}}");
    run_fails(f, 404, "pods \"none\" not found");
    request(f, VERB_CREATE, "bindings", "default", NULL)->body = NULL;
    assert_int_equal(run(f), -404);
}

static void test_create_on_update(void **state)
{
    struct fixture *f = *state;
    struct value *body =
        parse(f, "{'metadata':{'name':'l','namespace':'default'},'spec':{'holderIdentity':'x'}}");
    request(f, VERB_UPDATE, "leases", "default", "l")->body = body;
    run_ok(f);
    assert_true(f->call.answer.created);
    assert_int_equal(value_str_at(answer(f), "metadata.uid").n, 36);
    // Not where the client thinks that there was one, and not for kinds that have no such way.
    value_set_at(&f->a, body, "metadata.resourceVersion", value_strc(&f->a, "7"));
    value_set_at(&f->a, body, "metadata.name", value_strc(&f->a, "m"));
    request(f, VERB_UPDATE, "leases", "default", "m")->body = body;
    run_fails(f, 404, "leases.coordination.k8s.io \"m\" not found");
    request(f, VERB_UPDATE, "deployments", "default", "d")->body =
        parse(f, "{'metadata':{'name':'d'}}");
    run_fails(f, 404, "deployments.apps \"d\" not found");
}

static struct api_request *pod_patch(struct fixture *f, const char *sub, const char *json)
{
    struct api_request *r = request(f, VERB_PATCH, "pods", "default", "p");
    r->subresource = str_of(sub);
    r->patch_type = PATCH_TYPE_STRATEGIC;
    r->body = parse(f, json);
    return r;
}

static void test_pod_parts(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i','resources':{'"
           "requests':{'cpu':'1'}}}]}}");
    // Not by an ordinary write …
    pod_patch(f, NULL, "{'spec':{'ephemeralContainers':[{'name':'d','image':'j'}]}}");
    assert_int_equal(run(f), -422);
    // … but by the subresource, which changes nothing else.
    pod_patch(f, "ephemeralcontainers",
              "{'metadata':{'labels':{'x':'y'}},'spec':{'ephemeralContainers':[{'name':'d','image':"
              "'j'}]}}");
    run_ok(f);
    struct value *v = answer(f);
    assert_int_equal(value_len(value_at(v, "spec.ephemeralContainers")), 1);
    assert_null(value_at(v, "metadata.labels"));
    pod_patch(f, "ephemeralcontainers",
              "{'spec':{'ephemeralContainers':[{'name':'d','image':'k'}]}}");
    assert_int_equal(run(f), -422);
    pod_patch(f, NULL,
              "{'spec':{'containers':[{'name':'c','resources':{'requests':{'cpu':'2'}}}]}}");
    assert_int_equal(run(f), -422);
    pod_patch(f, "resize",
              "{'spec':{'containers':[{'name':'c','resources':{'requests':{'cpu':'2'}}}]}}");
    run_ok(f);
    v = answer(f);
    assert_string_equal(
        text_at(f, value_item(value_at(v, "spec.containers"), 0), "resources.requests.cpu"), "2");
    pod_patch(f, "resize",
              "{'spec':{'containers':[{'name':'c','resources':{'requests':{'memory':'1Gi'},'limits'"
              ":{'cpu':'2','memory':'1Gi'}}}]}}");
    assert_int_equal(run(f), -422);
    assert_non_null(
        strstr(f->call.err.message, "Pod QOS Class may not change as a result of resizing"));
}

static void test_pod_deletion(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default", pod);
    // Nobody runs it: gone at once.
    request(f, VERB_DELETE, "pods", "default", "p");
    run_ok(f);
    assert_null(f->call.answer.object);
    create(f, "pods", "default", pod);
    bind_pod(f, "p");
    request(f, VERB_DELETE, "pods", "default", "p");
    run_ok(f);
    struct value *v = answer(f);
    assert_int_equal(value_int_at(v, "metadata.deletionGracePeriodSeconds", 0), 30);
    assert_string_equal(text_at(f, v, "metadata.deletionTimestamp"), "2026-01-02T03:04:35Z");
    // Longer is not granted, shorter is, counted from the first request.
    request(f, VERB_DELETE, "pods", "default", "p")->grace_period_seconds = 60;
    run_ok(f);
    assert_int_equal(value_int_at(answer(f), "metadata.deletionGracePeriodSeconds", 0), 30);
    request(f, VERB_DELETE, "pods", "default", "p")->grace_period_seconds = 5;
    run_ok(f);
    assert_string_equal(text_at(f, answer(f), "metadata.deletionTimestamp"),
                        "2026-01-02T03:04:10Z");
    request(f, VERB_DELETE, "pods", "default", "p")->grace_period_seconds = 0;
    run_ok(f);
    request(f, VERB_GET, "pods", "default", "p");
    run_fails(f, 404, "pods \"p\" not found");
}

static void test_endless_grace(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default",
           "{'metadata':{'name':'p'},'spec':{'terminationGracePeriodSeconds':9223372036854775807,'"
           "containers':[{'name':'c','image':'i'}]}}");
    bind_pod(f, "p");
    request(f, VERB_DELETE, "pods", "default", "p");
    run_ok(f);
    assert_string_equal(text_at(f, answer(f), "metadata.deletionTimestamp"),
                        "2035-12-31T03:04:05Z");
    request(f, VERB_DELETE, "pods", "default", "p")->grace_period_seconds = INT64_MAX - 1;
    run_ok(f);
}

static void test_eviction(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "pods", "default", pod);
    bind_pod(f, "p");
    struct api_request *r = request(f, VERB_PATCH, "pods", "default", "p");
    r->subresource = STR("status");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body =
        parse(f, "{'status':{'phase':'Running','conditions':[{'type':'Ready','status':'True'}]}}");
    run_ok(f);
    assert_string_equal(text_at(f, answer(f), "status.qosClass"), "BestEffort");
    create(
        f, "poddisruptionbudgets", "default",
        "{'metadata':{'name':'b'},'spec':{'minAvailable':1,'selector':{'matchLabels':{'a':'b'}}}}");
    r = request(f, VERB_PATCH, "poddisruptionbudgets", "default", "b");
    r->subresource = STR("status");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'status':{'observedGeneration':1,'disruptionsAllowed':0,'currentHealthy':"
                       "1,'desiredHealthy':1,'expectedPods':1}}");
    run_ok(f);
    r = request(f, VERB_CREATE, "pods", "default", "p");
    r->subresource = STR("eviction");
    r->body = parse(f, "{'apiVersion':'policy/"
                       "v1','kind':'Eviction','metadata':{'name':'p','namespace':'default'}}");
    run_fails(f, 429, "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_string_equal(f->call.err.causes[0].reason, "DisruptionBudget");
    assert_string_equal(f->call.err.causes[0].message,
                        "The disruption budget b needs 1 healthy pods and has 1 currently");
    r = request(f, VERB_PATCH, "poddisruptionbudgets", "default", "b");
    r->subresource = STR("status");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'status':{'disruptionsAllowed':1}}");
    run_ok(f);
    r = request(f, VERB_CREATE, "pods", "default", "p");
    r->subresource = STR("eviction");
    r->body = parse(f, "{'metadata':{'name':'p'}}");
    run_ok(f);
    assert_true(str_eqc(value_str_at(f->call.answer.value, "status"), "Success"));
    struct value *v = get(f, "pods", "default", "p");
    assert_non_null(value_at(v, "metadata.deletionTimestamp"));
    v = get(f, "poddisruptionbudgets", "default", "b");
    assert_int_equal(value_int_at(v, "status.disruptionsAllowed", -1), 0);
    assert_non_null(value_getc(value_at(v, "status.disruptedPods"), "p"));
}

static void test_service_addresses(void **state)
{
    struct fixture *f = *state;
    struct value *k = get(f, "services", "default", "kubernetes");
    assert_string_equal(text_at(f, k, "spec.clusterIP"), "10.96.0.1");
    struct value *v =
        create(f, "services", "default",
               "{'metadata':{'name':'s'},'spec':{'ports':[{'port':80}],'type':'NodePort'}}");
    const char *ip = text_at(f, v, "spec.clusterIP");
    assert_true(!strncmp(ip, "10.", 3));
    int64_t port = value_int_at(value_item(value_at(v, "spec.ports"), 0), "nodePort", 0);
    assert_true(port >= 30000 && port <= 32767);
    assert_string_equal(text_at(f, v, "spec.ipFamilyPolicy"), "SingleStack");
    struct value *mark = get(f, "ipaddresses", NULL, ip);
    assert_string_equal(text_at(f, mark, "spec.parentRef.name"), "s");

    char text[256];
    snprintf(text, sizeof text,
             "{'metadata':{'name':'t'},'spec':{'clusterIP':'%s','ports':[{'port':80}]}}", ip);
    request(f, VERB_CREATE, "services", "default", NULL)->body = parse(f, text);
    assert_int_equal(run(f), -422);
    assert_non_null(strstr(f->call.err.message, "provided IP is already allocated"));
    request(f, VERB_CREATE, "services", "default", NULL)->body = parse(
        f, "{'metadata':{'name':'t'},'spec':{'clusterIP':'192.168.1.1','ports':[{'port':80}]}}");
    assert_int_equal(run(f), -422);
    assert_non_null(strstr(f->call.err.message,
                           "is not in the valid range. The range of valid IPs is 10.96.0.0/12"));
    snprintf(text, sizeof text,
             "{'metadata':{'name':'t'},'spec':{'type':'NodePort','ports':[{'port':80,'nodePort':%"
             "lld}]}}",
             (long long)port);
    request(f, VERB_CREATE, "services", "default", NULL)->body = parse(f, text);
    run_fails(
        f, 422,
        arena_cstr(&f->a,
                   arena_printf(&f->a,
                                "Service \"t\" is invalid: spec.ports[0].nodePort: Invalid value: "
                                "%lld: provided port is already allocated",
                                (long long)port)));
    request(f, VERB_CREATE, "services", "default", NULL)->body = parse(
        f,
        "{'metadata':{'name':'t'},'spec':{'type':'NodePort','ports':[{'port':80,'nodePort':99}]}}");
    run_fails(f, 422,
              "Service \"t\" is invalid: spec.ports[0].nodePort: Invalid value: 99: provided port "
              "is not in the "
              "valid range. The range of valid ports is 30000-32767");

    // A client that leaves the allocated out keeps it; a change of type gives the port back.
    v = patch(f, "services", "default", "s", PATCH_TYPE_MERGE,
              "{'spec':{'ports':[{'port':80,'targetPort':81}]}}");
    assert_int_equal(value_int_at(value_item(value_at(v, "spec.ports"), 0), "nodePort", 0), port);
    assert_string_equal(text_at(f, v, "spec.clusterIP"), ip);
    v = patch(f, "services", "default", "s", PATCH_TYPE_MERGE, "{'spec':{'type':'ClusterIP'}}");
    assert_null(value_getc(value_item(value_at(v, "spec.ports"), 0), "nodePort"));
    snprintf(text, sizeof text,
             "{'metadata':{'name':'u'},'spec':{'type':'NodePort','ports':[{'port':80,'nodePort':%"
             "lld}]}}",
             (long long)port);
    create(f, "services", "default", text);

    // Deletion gives everything back.
    request(f, VERB_DELETE, "services", "default", "s");
    run_ok(f);
    request(f, VERB_GET, "ipaddresses", NULL, ip);
    assert_int_equal(run(f), -404);
    snprintf(text, sizeof text,
             "{'metadata':{'name':'w'},'spec':{'clusterIP':'%s','ports':[{'port':80}]}}", ip);
    create(f, "services", "default", text);
    v = create(f, "services", "default",
               "{'metadata':{'name':'h'},'spec':{'clusterIP':'None','ports':[{'port':80}]}}");
    assert_string_equal(text_at(f, v, "spec.clusterIP"), "None");
    v = create(f, "services", "default",
               "{'metadata':{'name':'e'},'spec':{'type':'ExternalName','externalName':'a.b.c'}}");
    assert_null(value_at(v, "spec.clusterIP"));
}

static void test_namespaces(void **state)
{
    struct fixture *f = *state;
    struct value *v = create(f, "namespaces", NULL, "{'metadata':{'name':'n'}}");
    assert_string_equal(text_at(f, v, "status.phase"), "Active");
    assert_true(str_eqc(value_string(value_item(value_at(v, "spec.finalizers"), 0)), "kubernetes"));
    assert_true(str_eqc(
        value_string(value_getc(value_at(v, "metadata.labels"), "kubernetes.io/metadata.name")),
        "n"));
    create(f, "configmaps", "n", "{'metadata':{'name':'c'}}");
    request(f, VERB_DELETE, "namespaces", NULL, "n");
    run_ok(f);
    v = answer(f);
    assert_string_equal(text_at(f, v, "status.phase"), "Terminating");
    request(f, VERB_CREATE, "configmaps", "n", NULL)->body = parse(f, "{'metadata':{'name':'d'}}");
    run_fails(f, 403,
              "configmaps \"d\" is forbidden: unable to create new content in namespace n because "
              "it is being terminated");
    assert_string_equal(f->call.err.causes[0].reason, "NamespaceTerminating");
    struct api_request *r = request(f, VERB_UPDATE, "namespaces", NULL, "n");
    r->subresource = STR("finalize");
    value_del_at(v, "spec.finalizers");
    r->body = v;
    run_ok(f);
    request(f, VERB_GET, "namespaces", NULL, "n");
    assert_int_equal(run(f), -404);
}

static void test_scale(void **state)
{
    struct fixture *f = *state;
    create(f, "deployments", "default",
           "{'metadata':{'name':'d'},'spec':{'replicas':2,'selector':{'matchLabels':{'a':'b'}},'"
           "template':{'metadata':{"
           "'labels':{'a':'b'}},'spec':{'containers':[{'name':'c','image':'i:1'}]}}}}");
    request(f, VERB_GET, "deployments", "default", "d")->subresource = STR("scale");
    run_ok(f);
    struct value *v = value_clone(&f->a, f->call.answer.value);
    assert_string_equal(text_at(f, v, "kind"), "Scale");
    assert_int_equal(value_int_at(v, "spec.replicas", 0), 2);
    assert_string_equal(text_at(f, v, "status.selector"), "a=b");
    value_set_at(&f->a, v, "spec.replicas", value_int(&f->a, 5));
    struct api_request *r = request(f, VERB_UPDATE, "deployments", "default", "d");
    r->subresource = STR("scale");
    r->body = v;
    run_ok(f);
    assert_int_equal(value_int_at(f->call.answer.value, "spec.replicas", 0), 5);
    assert_int_equal(value_int_at(get(f, "deployments", "default", "d"), "spec.replicas", 0), 5);
    r = request(f, VERB_PATCH, "deployments", "default", "d");
    r->subresource = STR("scale");
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'spec':{'replicas':7}}");
    run_ok(f);
    v = get(f, "deployments", "default", "d");
    assert_int_equal(value_int_at(v, "spec.replicas", 0), 7);
    assert_int_equal(value_int_at(v, "metadata.generation", 0), 3);
    r = request(f, VERB_UPDATE, "deployments", "default", "d");
    r->subresource = STR("scale");
    r->body = parse(f, "{'metadata':{'name':'d','namespace':'default','resourceVersion':'1'},'spec'"
                       ":{'replicas':1}}");
    assert_int_equal(run(f), -409);
}

static void test_reviews(void **state)
{
    struct fixture *f = *state;
    struct value *v;
    request(f, VERB_CREATE, "selfsubjectaccessreviews", NULL, NULL)->body = parse(
        f,
        "{'spec':{'resourceAttributes':{'verb':'get','resource':'pods','namespace':'default'}}}");
    run_ok(f);
    assert_true(value_bool_at(f->call.answer.value, "status.allowed", false));
    request(f, VERB_CREATE, "selfsubjectaccessreviews", NULL, NULL)->body = parse(
        f,
        "{'spec':{'resourceAttributes':{'verb':'get','resource':'pods','namespace':'default'}}}");
    f->call.identity = f->nobody;
    run_ok(f);
    assert_false(value_bool_at(f->call.answer.value, "status.allowed", true));
    request(f, VERB_CREATE, "subjectaccessreviews", NULL, NULL)->body =
        parse(f, "{'spec':{'user':'x','groups':['system:masters'],'resourceAttributes':{'verb':'"
                 "get','resource':'pods'}}}");
    run_ok(f);
    assert_true(value_bool_at(f->call.answer.value, "status.allowed", false));
    v = create(f, "selfsubjectreviews", NULL, "{}");
    assert_string_equal(text_at(f, v, "status.userInfo.username"), "admin");
    v = create(f, "tokenreviews", NULL, "{'spec':{'token':'nonsense'}}");
    assert_false(value_bool_at(v, "status.authenticated", false));
    request(f, VERB_CREATE, "subjectaccessreviews", NULL, NULL)->body =
        parse(f, "{'spec':{'user':'x'}}");
    assert_int_equal(run(f), -422);
    request(f, VERB_LIST, "componentstatuses", NULL, NULL);
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 3);
    request(f, VERB_GET, "componentstatuses", NULL, "scheduler");
    run_ok(f);
}

static void test_escalation(void **state)
{
    struct fixture *f = *state;
    create(f, "clusterroles", NULL,
           "{'metadata':{'name':'maker'},'rules':[{'apiGroups':['rbac.authorization.k8s.io'],'"
           "resources':['roles','rolebindings'],'verbs':['*']},"
           "{'apiGroups':[''],'resources':['pods'],'verbs':['get']}]}");
    create(f, "clusterrolebindings", NULL,
           "{'metadata':{'name':'maker'},'subjects':[{'kind':'User','apiGroup':'rbac.authorization."
           "k8s.io','name':'nobody'}],'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'"
           "ClusterRole','name':'maker'}}");
    // verbs * holds escalate; take that away by naming the others.
    patch(f, "clusterroles", NULL, "maker", PATCH_TYPE_JSON,
          "[{'op':'replace','path':'/rules/0/verbs','value':['create','update']}]");
    request(f, VERB_CREATE, "roles", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'r'},'rules':[{'apiGroups':[''],'resources':['pods'],'verbs':"
                 "['get']}]}");
    f->call.identity = f->nobody;
    run_ok(f);
    request(f, VERB_CREATE, "roles", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'s'},'rules':[{'apiGroups':[''],'resources':['secrets'],'"
                 "verbs':['get']}]}");
    f->call.identity = f->nobody;
    assert_int_equal(run(f), -403);
    assert_non_null(
        strstr(f->call.err.message, "attempting to grant RBAC permissions not currently held"));
    request(f, VERB_CREATE, "rolebindings", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'b'},'subjects':[],'roleRef':{'apiGroup':'rbac.authorization."
                 "k8s.io','kind':'ClusterRole','name':'cluster-admin'}}");
    f->call.identity = f->nobody;
    assert_int_equal(run(f), -403);
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    account(f);
    create(f, "limitranges", "default",
           "{'metadata':{'name':'l'},'spec':{'limits':[{'type':'Container','default':{'cpu':'200m'}"
           ",'defaultRequest':{'cpu':'100m'},'max':{'cpu':'1'}}]}}");
    struct value *v = create(f, "pods", "default", pod);
    const struct value *c = value_item(value_at(v, "spec.containers"), 0);
    assert_string_equal(text_at(f, c, "resources.limits.cpu"), "200m");
    assert_string_equal(text_at(f, c, "resources.requests.cpu"), "100m");
    assert_string_equal(text_at(f, v, "status.qosClass"), "Burstable");
    request(f, VERB_CREATE, "pods", "default", NULL)->body =
        parse(f, "{'metadata':{'name':'q'},'spec':{'containers':[{'name':'c','image':'i','"
                 "resources':{'limits':{'cpu':'2'}}}]}}");
    run_fails(f, 403,
              "pods \"q\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
}

static void test_events_two_views(void **state)
{
    struct fixture *f = *state;
    create(f, "events", "default",
           "{'metadata':{'name':'e'},'involvedObject':{'kind':'Pod','name':'p','namespace':'"
           "default'},'message':'m','reason':'R','type':'Normal'}");
    struct api_request *r = request(f, VERB_GET, "pods", "default", "e");
    r->kind = kind_by_resource(STR("events.k8s.io"), STR("v1"), STR("events"));
    run_ok(f);
    struct value *v = answer(f);
    assert_string_equal(text_at(f, v, "note"), "m");
    assert_string_equal(text_at(f, v, "apiVersion"), "events.k8s.io/v1");
    r = request(f, VERB_PATCH, "pods", "default", "e");
    r->kind = kind_by_resource(STR("events.k8s.io"), STR("v1"), STR("events"));
    r->patch_type = PATCH_TYPE_MERGE;
    r->body = parse(f, "{'series':{'count':2,'lastObservedTime':'2026-01-02T03:04:05.000000Z'}}");
    run_ok(f);
    v = get(f, "events", "default", "e");
    assert_int_equal(value_int_at(v, "series.count", 0), 2);
    assert_string_equal(text_at(f, v, "message"), "m");
    request(f, VERB_LIST, "events", NULL, NULL)->field_selector =
        STR("involvedObject.name=p,involvedObject.kind=Pod");
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 1);
}

static void test_events_expire(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 12; i++) {
        struct str text = arena_printf(
            &f->a, "{'metadata':{'name':'e%d'},'involvedObject':{'namespace':'default'}}", i);
        create(f, "events", "default", arena_cstr(&f->a, text));
        env_sim_advance(f->env, 30 * 60 * NS_PER_S);
    }
    // Those of the last hour, and no more.
    request(f, VERB_LIST, "events", NULL, NULL);
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 3);
    // One that is written again lives on.
    patch(f, "events", "default", "e10", PATCH_TYPE_MERGE, "{'count':2}");
    env_sim_advance(f->env, 45 * 60 * NS_PER_S);
    create(f, "events", "default",
           "{'metadata':{'name':'z'},'involvedObject':{'namespace':'default'}}");
    request(f, VERB_LIST, "events", NULL, NULL);
    run_ok(f);
    assert_int_equal(f->call.answer.nitems, 2);
    assert_true(str_eqc(object_name(f->call.answer.items[0]), "e10"));
}

static void test_autoscaler_two_versions(void **state)
{
    struct fixture *f = *state;
    struct api_request *r = request(f, VERB_CREATE, "pods", "default", NULL);
    const struct kind *v1 =
        kind_by_resource(STR("autoscaling"), STR("v1"), STR("horizontalpodautoscalers"));
    const struct kind *v2 =
        kind_by_resource(STR("autoscaling"), STR("v2"), STR("horizontalpodautoscalers"));
    r->kind = v1;
    r->body = parse(
        f, "{'metadata':{'name':'h'},'spec':{'maxReplicas':5,'scaleTargetRef':{'kind':'Deployment',"
           "'name':'d','apiVersion':'apps/v1'},'targetCPUUtilizationPercentage':70}}");
    run_ok(f);
    r = request(f, VERB_GET, "pods", "default", "h");
    r->kind = v2;
    run_ok(f);
    struct value *v = answer(f);
    const struct value *m = value_item(value_at(v, "spec.metrics"), 0);
    assert_string_equal(text_at(f, m, "resource.name"), "cpu");
    assert_int_equal(value_int_at(m, "resource.target.averageUtilization", 0), 70);
    r = request(f, VERB_GET, "pods", "default", "h");
    r->kind = v1;
    run_ok(f);
    assert_int_equal(value_int_at(answer(f), "spec.targetCPUUtilizationPercentage", 0), 70);
}

static void test_nodes(void **state)
{
    struct fixture *f = *state;
    static const struct str groups[] = {{"system:nodes", 12}, {"system:authenticated", 20}};
    struct identity node = {.user = STR("system:node:n1"), .groups = groups, .ngroups = 2};
    request(f, VERB_CREATE, "nodes", NULL, NULL)->body =
        parse(f, "{'metadata':{'name':'n1'},'status':{'capacity':{'cpu':'4'}}}");
    f->call.identity = node;
    run_ok(f);
    struct value *v = answer(f);
    assert_string_equal(text_at(f, v, "status.capacity.cpu"), "4");
    assert_string_equal(text_at(f, value_item(value_at(v, "spec.taints"), 0), "key"),
                        "node.kubernetes.io/not-ready");
    request(f, VERB_CREATE, "nodes", NULL, NULL)->body = parse(f, "{'metadata':{'name':'n2'}}");
    f->call.identity = node;
    run_fails(f, 403,
              "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"");
}

#define T(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_pod_create),
        T(test_binding),
        T(test_old_binding),
        T(test_pod_parts),
        T(test_create_on_update),
        T(test_pod_deletion),
        T(test_eviction),
        T(test_endless_grace),
        T(test_service_addresses),
        T(test_namespaces),
        T(test_scale),
        T(test_reviews),
        T(test_escalation),
        T(test_limits),
        T(test_events_two_views),
        T(test_events_expire),
        T(test_autoscaler_two_versions),
        T(test_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
