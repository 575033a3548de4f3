// The pod worker on virtual time, against a runtime and an API in memory.
#include "world.c"

#define WITH_WORLD                                                                                 \
    struct world w;                                                                                \
    world_init(&w);                                                                                \
    agent_up(&w)

static void runs_and_reports(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "True");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.PodReadyToStartContainers.status"),
                        "True");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.ready"), "true");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.started"), "true");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.imageID"),
                        "sha256:busybox");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.running.startedAt"),
                        "2026-01-01T00:00:00Z");
    assert_string_equal(POD_FIELD(&w, "web", "status.hostIP"), "192.0.2.1");
    assert_string_equal(POD_FIELD(&w, "web", "status.podIPs.0.ip"), "192.0.2.1");
    assert_string_equal(POD_FIELD(&w, "web", "status.qosClass"), "BestEffort");
    assert_string_equal(POD_FIELD(&w, "web", "status.startTime"), "2026-01-01T00:00:00Z");
    assert_true(has_event(&w, "Pulled", "Container image \"busybox\" already present on machine"));
    assert_true(has_event(&w, "Created", "Created container: web"));
    assert_true(has_event(&w, "Started", "Started container web"));
    // Nothing to do: nothing is done.
    unsigned writes = w.api->writes;
    size_t calls = w.rt->ncalls;
    for (int i = 0; i < 3; i++)
        settle(&w);
    assert_int_equal(w.api->writes, writes);
    assert_int_equal(w.rt->ncalls, calls);
    world_done(&w);
}

static void registers_the_node(void **state)
{
    (void)state;
    WITH_WORLD;
    assert_string_equal(field(&w, "nodes", "", "n1", "status.conditions.Ready.status"), "True");
    assert_string_equal(field(&w, "nodes", "", "n1", "status.conditions.Ready.reason"),
                        "KubeletReady");
    assert_string_equal(field(&w, "nodes", "", "n1", "status.addresses.0.address"), "192.0.2.1");
    assert_string_equal(field(&w, "nodes", "", "n1", "status.capacity.pods"), "110");
    assert_string_equal(field(&w, "nodes", "", "n1", "status.nodeInfo.kubeletVersion"),
                        "v1.34.0+coracle");
    assert_string_equal(field(&w, "leases", "kube-node-lease", "n1", "spec.renewTime"),
                        "2026-01-01T00:00:00.000000Z");
    advance(&w, 25);
    assert_string_equal(field(&w, "leases", "kube-node-lease", "n1", "spec.renewTime"),
                        "2026-01-01T00:00:20.000000Z");
    // Deleted by hand: it comes back.
    struct err e = ERR_INIT;
    assert_int_equal(
        client_delete(&w.client->base, client_kind("", "nodes"), STR_NULL, STR("n1"), NULL, &e), 0);
    advance(&w, 1);
    assert_string_equal(field(&w, "nodes", "", "n1", "status.conditions.Ready.status"), "True");
    world_done(&w);
}

static void restarts_with_backoff(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    // The first exit restarts at once, then 10 s, 20 s …, each from the exit on.
    fake_exit(w.rt, "web", 1);
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 1);
    assert_string_equal(
        POD_FIELD(&w, "web", "status.containerStatuses.0.lastState.terminated.exitCode"), "1");
    static const unsigned delays[] = {10, 20, 40, 80, 160, 300, 300};
    for (unsigned i = 0; i < 7; i++) {
        fake_exit(w.rt, "web", 1);
        settle(&w);
        assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                            "CrashLoopBackOff");
        assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
        assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "False");
        if (i == 0) {
            assert_string_equal(
                POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.message"),
                "back-off 10s restarting failed container=web pod=web_default(uid-web)");
            assert_true(
                has_event(&w, "BackOff",
                          "Back-off restarting failed container web in pod web_default(uid-web)"));
        }
        advance(&w, delays[i] - 1);
        assert_int_equal(fake_latest(w.rt, "web")->c.attempt, i + 1);
        advance(&w, 2);
        assert_int_equal(fake_latest(w.rt, "web")->c.attempt, i + 2);
        assert_int_equal(fake_latest(w.rt, "web")->c.state, RUNTIME_RUNNING);
    }
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.restartCount"), "8");
    // Only the run before is kept.
    assert_int_equal(fake_count(w.rt, "remove web/"), 7);
    // A long quiet run forgets the delay.
    advance(&w, 1201);
    fake_exit(w.rt, "web", 1);
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 9);
    world_done(&w);
}

static void init_containers_in_order(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web",
            ",'initContainers':[{'name':'a','image':'busybox'},{'name':'b','image':'busybox'}]",
            "");
    settle(&w);
    assert_non_null(fake_latest(w.rt, "a"));
    assert_null(fake_latest(w.rt, "b"));
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Pending");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Initialized.reason"),
                        "ContainersNotInitialized");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Initialized.message"),
                        "containers with incomplete status: [a b]");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "PodInitializing");
    fake_exit(w.rt, "a", 1); // fails: is tried again
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "a")->c.attempt, 1);
    fake_exit(w.rt, "a", 0);
    settle(&w);
    assert_non_null(fake_latest(w.rt, "b"));
    assert_null(fake_latest(w.rt, "web"));
    fake_exit(w.rt, "b", 0);
    settle(&w);
    assert_non_null(fake_latest(w.rt, "web"));
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_string_equal(
        POD_FIELD(&w, "web", "status.initContainerStatuses.b.state.terminated.reason"),
        "Completed");
    assert_true(fake_index(w.rt, "start a/1") < fake_index(w.rt, "start b/0"));
    assert_true(fake_index(w.rt, "start b/0") < fake_index(w.rt, "start web/0"));
    world_done(&w);
}

static void sidecars_start_before_and_end_after(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web",
            ",'initContainers':[{'name':'side','image':'busybox','restartPolicy':'Always'}]", "");
    settle(&w);
    assert_true(fake_index(w.rt, "start side/0") < fake_index(w.rt, "start web/0"));
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_string_equal(POD_FIELD(&w, "web", "status.initContainerStatuses.side.ready"), "true");
    fake_exit(w.rt, "side", 0); // restarted whatever its code
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "side")->c.attempt, 1);
    delete_pod(&w, "web", 5);
    settle(&w);
    assert_true(fake_index(w.rt, "stop web/0 5") < fake_index(w.rt, "stop side/1 5"));
    assert_true(fake_index(w.rt, "stop web/0 5") >= 0);
    assert_null(fake_api_find(w.api, "pods", "default", "web"));
    world_done(&w);
}

static void failed_init_container_fails_the_pod(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", ",'restartPolicy':'Never','initContainers':[{'name':'a','image':'busybox'}]",
            "");
    settle(&w);
    fake_exit(w.rt, "a", 3);
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Failed");
    assert_null(fake_latest(w.rt, "web"));
    world_done(&w);
}

// cases/init-container-fails-for-good.yaml
static void case_init_container_fails_for_good(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web",
            ",'restartPolicy':'Never','initContainers':[{'name':'one','image':'busybox'},"
            "{'name':'two','image':'busybox'}]",
            ",'name':'app'");
    settle(&w);
    fake_exit(w.rt, "one", 3);
    settle(&w);
    static const char *const rows[][2] = {
        {"status.phase", "Failed"},
        {"status.initContainerStatuses.one.state.terminated.exitCode", "3"},
        {"status.initContainerStatuses.two.state.waiting.reason", "PodInitializing"},
        {"status.initContainerStatuses.two.state.terminated", "(absent)"},
        {"status.containerStatuses.app.state.waiting.reason", "PodInitializing"},
        {"status.containerStatuses.app.state.terminated", "(absent)"},
        {"status.conditions.Initialized.status", "False"},
        {"status.conditions.Initialized.reason", "ContainersNotInitialized"},
        {"status.conditions.Initialized.message", "containers with incomplete status: [one two]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(POD_FIELD(&w, "web", rows[i][0]), rows[i][1]);
    world_done(&w);
}

// cases/attack-availability.md, 8
static void case_attack_availability_pids(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "web")->pids_limit, 4096);
    world_done(&w);
}

static void ends_by_restart_policy(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "job", ",'restartPolicy':'OnFailure'", "");
    settle(&w);
    fake_exit(w.rt, "web", 2);
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 1);
    fake_exit(w.rt, "web", 0);
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "job", "status.phase"), "Succeeded");
    assert_string_equal(POD_FIELD(&w, "job", "status.conditions.Ready.reason"), "PodCompleted");
    assert_string_equal(POD_FIELD(&w, "job", "status.conditions.Initialized.reason"),
                        "PodCompleted");
    // Kept for its logs until somebody deletes it.
    assert_non_null(fake_latest(w.rt, "web"));
    assert_int_equal(fake_count(w.rt, "stop-sandbox"), 1);
    assert_int_equal(fake_count(w.rt, "remove-sandbox"), 0);
    delete_pod(&w, "job", -1);
    settle(&w);
    assert_null(fake_latest(w.rt, "web"));
    assert_null(fake_api_find(w.api, "pods", "default", "job"));
    assert_int_equal(fake_count(w.rt, "remove-sandbox"), 1);
    world_done(&w);
}

static void pulls_images_with_backoff(void **state)
{
    (void)state;
    WITH_WORLD;
    w.rt->pull_failures = 2;
    w.rt->pull_error = "failed to pull and unpack image \"nginx\": not found";
    put_pod(&w, "web", "", ",'image':'nginx'");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Pending");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "ErrImagePull");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.message"),
                        "failed to pull and unpack image \"nginx\": not found");
    assert_true(
        has_event(&w, "Failed", "Failed to pull image \"nginx\": failed to pull and unpack"));
    assert_true(has_event(&w, "Failed", "Error: ErrImagePull"));
    advance(&w, 3);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "ImagePullBackOff");
    assert_string_equal(
        POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.message"),
        "Back-off pulling image \"nginx\": ErrImagePull: failed to pull and unpack image "
        "\"nginx\": not found");
    assert_true(has_event(&w, "BackOff", "Back-off pulling image \"nginx\""));
    assert_int_equal(fake_count(w.rt, "pull nginx"), 1);
    advance(&w, 8); // 10 s after the first failure
    assert_int_equal(fake_count(w.rt, "pull nginx"), 2);
    advance(&w, 21);
    assert_int_equal(fake_count(w.rt, "pull nginx"), 3);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_true(has_event(&w, "Pulled",
                          "Successfully pulled image \"nginx\" in 0s (0s including waiting). "
                          "Image size: 1000 bytes."));
    world_done(&w);
}

static void never_pulls(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", ",'image':'nginx','imagePullPolicy':'Never'");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "ErrImageNeverPull");
    assert_true(has_event(&w, "ErrImageNeverPull",
                          "Container image \"nginx\" is not present with pull policy of Never"));
    assert_int_equal(fake_count(w.rt, "pull"), 0);
    world_done(&w);
}

static void pull_secrets_are_used(void **state)
{
    (void)state;
    WITH_WORLD;
    // {"auths":{"reg.example:5000":{"auth":"dXNlcjpwYXNz"}}}
    fake_api_put(w.api,
                 "{'apiVersion':'v1','kind':'Secret','metadata':{'name':'reg','namespace':'default'"
                 "},'data':{"
                 "'.dockerconfigjson':'"
                 "eyJhdXRocyI6eyJyZWcuZXhhbXBsZTo1MDAwIjp7ImF1dGgiOiJkWE5sY2pwd1lYTnoifX19'}}");
    put_pod(&w, "web", ",'imagePullSecrets':[{'name':'reg'}]", ",'image':'reg.example:5000/x:1'");
    settle(&w);
    assert_true(fake_index(w.rt, "pull reg.example:5000/x:1 as user") >= 0);
    world_done(&w);
}

static void missing_config_is_waited_for(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(
        &w, "web", "",
        ",'env':[{'name':'A','valueFrom':{'configMapKeyRef':{'name':'cfg','key':'a'}}},{'name':'B',"
        "'value':'x-$(A)'}]");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "CreateContainerConfigError");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.message"),
                        "configmap \"cfg\" not found");
    assert_true(has_event(&w, "Failed", "Error: configmap \"cfg\" not found"));
    fake_api_put(
        w.api,
        "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'cfg','namespace':'default'},"
        "'data':{'a':'1'}}");
    advance(&w, 11);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_non_null(strstr(fake_latest(w.rt, "web")->env, "A=1 B=x-1 "));
    world_done(&w);
}

static void volumes_are_waited_for_and_follow(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", ",'volumes':[{'name':'v','configMap':{'name':'cfg'}}]",
            ",'volumeMounts':[{'name':'v','mountPath':'/etc/v'}]");
    settle(&w);
    assert_true(
        has_event(&w, "FailedMount",
                  "MountVolume.SetUp failed for volume \"v\" : configmap \"cfg\" not found"));
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "ContainerCreating");
    assert_int_equal(fake_count(w.rt, "sandbox"), 0);
    fake_api_put(
        w.api,
        "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'cfg','namespace':'default'},"
        "'data':{'a':'1'}}");
    settle(&w); // woken by the object, not by the back-off
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    char path[256], text[8] = "";
    snprintf(path, sizeof(path), "%s/data/pods/uid-web/volumes/kubernetes.io~configmap/v/a", w.dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(text, 1, 7, f), 1);
    fclose(f);
    assert_string_equal(text, "1");
    assert_non_null(strstr(fake_latest(w.rt, "web")->mounts, "/etc/v<-"));
    assert_non_null(strstr(fake_latest(w.rt, "web")->mounts, "/v:ro "));
    fake_api_put(
        w.api,
        "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'cfg','namespace':'default'},"
        "'data':{'a':'two'}}");
    settle(&w);
    f = fopen(path, "r");
    assert_int_equal(fread(text, 1, 7, f), 3);
    fclose(f);
    assert_string_equal(text, "two");
    delete_pod(&w, "web", 1);
    settle(&w);
    assert_int_equal(access(path, F_OK), -1);
    world_done(&w);
}

static void unsupported_volume_is_told(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", ",'volumes':[{'name':'v','nfs':{'server':'s','path':'/'}}]", "");
    settle(&w);
    assert_true(has_event(
        &w, "FailedMount",
        "MountVolume.SetUp failed for volume \"v\" : no volume plugin matched: nfs volumes "
        "are not supported by this node"));
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Pending");
    world_done(&w);
}

static void sandbox_failures_are_retried(void **state)
{
    (void)state;
    WITH_WORLD;
    w.rt->sandbox_failures = 2;
    put_pod(&w, "web", "", "");
    settle(&w);
    assert_true(has_event(&w, "FailedCreatePodSandBox",
                          "Failed to create pod sandbox: no space for a sandbox"));
    advance(&w, 3);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    world_done(&w);
}

// cases/runtimeclass-missing.yaml, its second line
static void case_runtimeclass_handler_missing(void **state)
{
    (void)state;
    WITH_WORLD;
    fake_api_put(w.api, "{'apiVersion':'node.k8s.io/v1','kind':'RuntimeClass','metadata':{'name':"
                        "'sandbox'},'handler':'gvisor'}");
    fake_api_put(w.api, "{'apiVersion':'node.k8s.io/v1','kind':'RuntimeClass','metadata':{'name':"
                        "'usual'},'handler':'fake'}");
    put_pod(&w, "boxed", ",'runtimeClassName':'sandbox'", "");
    put_pod(&w, "lost", ",'runtimeClassName':'none'", "");
    put_pod(&w, "web", ",'runtimeClassName':'usual'", "");
    settle(&w);
    advance(&w, 30);
    assert_true(has_event(&w, "FailedCreatePodSandBox",
                          "Failed to create pod sandbox: no runtime for \"gvisor\" is configured"));
    assert_true(has_event(&w, "FailedCreatePodSandBox",
                          "Failed to create pod sandbox: failed to get sandbox runtime: "
                          "RuntimeClass \"none\": "));
    assert_string_equal(POD_FIELD(&w, "boxed", "status.phase"), "Pending");
    assert_string_equal(POD_FIELD(&w, "lost", "status.phase"), "Pending");
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    world_done(&w);
}

// cases/newcomer.md, the third point
static void case_newcomer_machine_cannot_run_containers(void **state)
{
    (void)state;
    WITH_WORLD;
    agent_down(&w, false);
    w.rt->cannot_run = "containers cannot be started here: because";
    agent_up(&w);
    advance(&w, 60);
    assert_string_equal(field(&w, "nodes", "", "n1", "status.conditions.Ready.status"), "False");
    assert_string_equal(field(&w, "nodes", "", "n1", "status.conditions.Ready.message"),
                        "containers cannot be started here: because");
    world_done(&w);
}

static void start_error_is_reported(void **state)
{
    (void)state;
    WITH_WORLD;
    w.rt->start_failures = 1;
    put_pod(&w, "web", "", "");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "RunContainerError");
    assert_string_equal(
        POD_FIELD(&w, "web", "status.containerStatuses.0.lastState.terminated.reason"),
        "StartError");
    assert_true(has_event(&w, "Failed",
                          "Error: failed to start container \"web\": executable file not found"));
    advance(&w, 30);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    world_done(&w);
}

static void run_as_non_root_refuses(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", ",'securityContext':{'runAsNonRoot':true}");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.reason"),
                        "CreateContainerConfigError");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.state.waiting.message"),
                        "container has runAsNonRoot and image will run as root (pod: "
                        "\"web_default(uid-web)\", container: web)");
    world_done(&w);
}

static void deletion_is_graceful(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", ",'lifecycle':{'preStop':{'exec':{'command':['bye']}}}");
    settle(&w);
    delete_pod(&w, "web", 20);
    settle(&w);
    assert_true(fake_index(w.rt, "exec web bye") < fake_index(w.rt, "stop web/0 20"));
    assert_true(fake_index(w.rt, "exec web bye") >= 0);
    assert_true(has_event(&w, "Killing", "Stopping container web"));
    assert_null(fake_api_find(w.api, "pods", "default", "web"));
    assert_int_equal(fake_running(w.rt), 0);
    assert_int_equal(fake_count(w.rt, "remove-sandbox"), 1);
    // The last status was written before the object went.
    bool seen = false;
    struct arena a = ARENA_INIT;
    for (size_t i = 0; i < w.api->nhistory; i++) {
        struct object *o = w.api->history[i].object;
        if (str_eqc(o->kind->resource, "pods") && w.api->history[i].type == WATCH_MODIFIED)
            seen |= str_eqc(value_str_at(object_tree(&a, o), "status.phase"), "Failed");
    }
    arena_done(&a);
    assert_true(seen);
    world_done(&w);
}

static void stubborn_processes_are_killed(void **state)
{
    (void)state;
    WITH_WORLD;
    w.rt->ignore_term = true;
    put_pod(&w, "web", "", "");
    settle(&w);
    uint64_t before = env_mono(w.env);
    delete_pod(&w, "web", 7);
    settle(&w);
    assert_int_equal(env_mono(w.env) - before, 7 * NS_PER_S);
    assert_null(fake_api_find(w.api, "pods", "default", "web"));
    world_done(&w);
}

static void grace_goes_on_after_a_crash(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    agent_down(&w, true);
    delete_pod(&w, "web", 20);
    env_sim_advance(w.env, 12 * NS_PER_S);
    agent_up(&w);
    settle(&w);
    assert_true(fake_index(w.rt, "stop web/0 8") >= 0);
    assert_null(fake_api_find(w.api, "pods", "default", "web"));
    world_done(&w);
}

static void ephemeral_containers_run_once(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    put_pod(&w, "web", ",'ephemeralContainers':[{'name':'debug','image':'busybox'}]", "");
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "debug")->c.state, RUNTIME_RUNNING);
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "True");
    fake_exit(w.rt, "debug", 1);
    advance(&w, 30);
    assert_int_equal(fake_latest(w.rt, "debug")->c.attempt, 0);
    assert_string_equal(
        POD_FIELD(&w, "web", "status.ephemeralContainerStatuses.debug.state.terminated.exitCode"),
        "1");
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    world_done(&w);
}

static void force_deletion_ends_containers(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    delete_pod(&w, "web", 0);
    settle(&w);
    assert_true(fake_index(w.rt, "stop web/0 1") >= 0);
    assert_int_equal(fake_running(w.rt), 0);
    assert_int_equal(fake_count(w.rt, "remove-sandbox"), 1);
    world_done(&w);
}

static void deadline_fails_the_pod(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", ",'activeDeadlineSeconds':60", "");
    settle(&w);
    advance(&w, 59);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    advance(&w, 2);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Failed");
    assert_string_equal(POD_FIELD(&w, "web", "status.reason"), "DeadlineExceeded");
    assert_string_equal(POD_FIELD(&w, "web", "status.message"),
                        "Pod was active on the node longer than the specified deadline");
    assert_int_equal(fake_running(w.rt), 0);
    world_done(&w);
}

static void liveness_restarts(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(
        &w, "web", "",
        ",'livenessProbe':{'exec':{'command':['live']},'periodSeconds':5,'failureThreshold':2}");
    settle(&w);
    advance(&w, 11);
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 0);
    map_set(&w.rt->exec_codes, STR("live"), (void *)2);
    advance(&w, 11);
    assert_true(has_event(&w, "Unhealthy", "Liveness probe failed: it is broken"));
    assert_true(has_event(&w, "Killing", "Container web failed liveness probe, will be restarted"));
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 1);
    assert_int_equal(fake_count(w.rt, "stop web/0 30"), 1);
    world_done(&w);
}

static void readiness_and_startup_gate(void **state)
{
    (void)state;
    WITH_WORLD;
    map_set(&w.rt->exec_codes, STR("up"), (void *)2);
    map_set(&w.rt->exec_codes, STR("ready"), (void *)2);
    put_pod(
        &w, "web", "",
        ",'startupProbe':{'exec':{'command':['up']},'periodSeconds':1,'failureThreshold':30},"
        "'readinessProbe':{'exec':{'command':['ready']},'periodSeconds':1,'failureThreshold':1}");
    advance(&w, 5);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.started"), "false");
    assert_int_equal(fake_count(w.rt, "exec web ready"), 0);
    map_set(&w.rt->exec_codes, STR("up"), NULL);
    advance(&w, 3);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.started"), "true");
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.ready"), "false");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.reason"),
                        "ContainersNotReady");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.message"),
                        "containers with unready status: [web]");
    map_set(&w.rt->exec_codes, STR("ready"), NULL);
    advance(&w, 2);
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "True");
    map_set(&w.rt->exec_codes, STR("ready"), (void *)2);
    advance(&w, 2);
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "False");
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 0);
    world_done(&w);
}

static void post_start_failure_restarts(void **state)
{
    (void)state;
    WITH_WORLD;
    map_set(&w.rt->exec_codes, STR("hello"), (void *)2);
    put_pod(&w, "web", "", ",'lifecycle':{'postStart':{'exec':{'command':['hello']}}}");
    settle(&w);
    assert_true(has_event(&w, "FailedPostStartHook", "PostStartHook failed"));
    assert_true(fake_count(w.rt, "stop web/0") == 1);
    map_set(&w.rt->exec_codes, STR("hello"), NULL);
    advance(&w, 15);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_string_equal(POD_FIELD(&w, "web", "status.conditions.Ready.status"), "True");
    world_done(&w);
}

static void new_image_restarts_the_container(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    put_pod(&w, "web", "", ",'image':'busybox:2'");
    settle(&w);
    assert_true(has_event(&w, "Killing", "Container web definition changed, will be restarted"));
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 1);
    assert_true(fake_index(w.rt, "pull busybox:2") >= 0);
    world_done(&w);
}

static void too_many_pods_are_refused(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "big", "", ",'resources':{'requests':{'memory':'99Ti'}}");
    settle(&w);
    assert_string_equal(POD_FIELD(&w, "big", "status.phase"), "Failed");
    assert_string_equal(POD_FIELD(&w, "big", "status.reason"), "OutOfmemory");
    assert_non_null(
        strstr(POD_FIELD(&w, "big", "status.message"),
               "Pod was rejected: Node didn't have enough resource: memory, requested: "));
    assert_int_equal(fake_count(w.rt, "sandbox"), 0);
    delete_pod(&w, "big", -1);
    settle(&w);
    assert_null(fake_api_find(w.api, "pods", "default", "big"));
    world_done(&w);
}

static void orphans_are_removed_after_start(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    put_pod(&w, "two", "", ",'name':'two'");
    settle(&w);
    assert_int_equal(fake_running(w.rt), 2);
    agent_down(&w, true);
    // Force-deleted while nobody looked.
    delete_pod(&w, "two", 0);
    agent_up(&w);
    settle(&w);
    assert_int_equal(fake_running(w.rt), 1);
    assert_null(fake_latest(w.rt, "two"));
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 0);
    assert_int_equal(fake_count(w.rt, "start web"), 1);
    world_done(&w);
}

static void reboot_runs_pods_anew(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    put_pod(&w, "once", ",'restartPolicy':'Never'", ",'name':'once'");
    settle(&w);
    agent_down(&w, true);
    for (size_t i = 0; i < w.rt->nsandboxes; i++)
        w.rt->sandboxes[i].removed = true;
    for (size_t i = 0; i < w.rt->ncontainers; i++)
        w.rt->containers[i] = NULL;
    agent_up(&w);
    settle(&w);
    assert_int_equal(fake_latest(w.rt, "web")->c.attempt, 1);
    assert_string_equal(POD_FIELD(&w, "web", "status.containerStatuses.0.restartCount"), "1");
    // What it was before the reboot stays known, also once the API has heard of the new run.
    for (int i = 0; i < 2; i++) {
        assert_string_equal(
            POD_FIELD(&w, "web", "status.containerStatuses.0.lastState.terminated.reason"),
            "ContainerStatusUnknown");
        assert_string_equal(
            POD_FIELD(&w, "web", "status.containerStatuses.0.lastState.terminated.exitCode"),
            "137");
        agent_down(&w, true);
        agent_up(&w);
        settle(&w);
    }
    assert_null(
        fake_latest(w.rt, "once")); // it is not known to have ended well, but never runs twice
    assert_string_equal(POD_FIELD(&w, "once", "status.phase"), "Failed");
    assert_string_equal(POD_FIELD(&w, "once", "status.containerStatuses.0.state.terminated.reason"),
                        "ContainerStatusUnknown");
    world_done(&w);
}

static void same_name_again(void **state)
{
    (void)state;
    WITH_WORLD;
    put_pod(&w, "web", "", "");
    settle(&w);
    delete_pod(&w, "web", 0);
    w.uid_prefix = "another-";
    put_pod(&w, "web", "", "");
    settle(&w);
    assert_int_equal(fake_running(w.rt), 1);
    assert_string_equal(POD_FIELD(&w, "web", "status.phase"), "Running");
    assert_int_equal(fake_count(w.rt, "start web/0"), 2); // two pods, one run each
    world_done(&w);
}

// The agent is killed between any two calls to the runtime, in every part of a pod's life; the next
// one must bring it to the same end, starting nothing twice and leaving nothing behind.
static void killed_anywhere(void **state)
{
    (void)state;
    for (int at = 0; at < 40; at++) {
        struct world w;
        world_init(&w);
        agent_up(&w);
        w.rt->die_after = at;
        put_pod(&w, "web",
                ",'initContainers':[{'name':'init','image':'busybox'}],'volumes':[{'name':'v','"
                "emptyDir':{}}]",
                ",'volumeMounts':[{'name':'v','mountPath':'/v'}]");
        bool deleted = false, exited = false;
        for (int round = 0; round < 40; round++) {
            advance(&w, 30);
            if (w.rt->dead) {
                agent_down(&w, true);
                agent_up(&w);
                continue;
            }
            struct fake_container *init = fake_latest(w.rt, "init"),
                                  *web = fake_latest(w.rt, "web");
            if (init && init->c.state == RUNTIME_RUNNING)
                fake_exit(w.rt, "init", 0);
            else if (web && web->c.state == RUNTIME_RUNNING && !exited)
                exited = true, fake_exit(w.rt, "web", 1);
            else if (web && web->c.state == RUNTIME_RUNNING && web->c.attempt == 1 && !deleted)
                deleted = true, delete_pod(&w, "web", 3);
        }
        if (!deleted || fake_api_find(w.api, "pods", "default", "web") || fake_running(w.rt)) {
            fprintf(stderr, "killed after %d calls:\n", at);
            fake_dump(w.rt);
            dump_events(&w);
            fprintf(stderr, "%s\n", POD_FIELD(&w, "web", "status"));
        }
        assert_true(deleted);
        assert_null(fake_api_find(w.api, "pods", "default", "web"));
        assert_int_equal(fake_running(w.rt), 0);
        for (size_t i = 0; i < w.rt->nsandboxes; i++)
            assert_true(w.rt->sandboxes[i].removed);
        char path[128];
        snprintf(path, sizeof(path), "%s/data/pods/uid-web", w.dir);
        assert_int_equal(access(path, F_OK), -1);
        world_done(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_and_reports),
        cmocka_unit_test(registers_the_node),
        cmocka_unit_test(restarts_with_backoff),
        cmocka_unit_test(init_containers_in_order),
        cmocka_unit_test(sidecars_start_before_and_end_after),
        cmocka_unit_test(failed_init_container_fails_the_pod),
        cmocka_unit_test(case_init_container_fails_for_good),
        cmocka_unit_test(case_attack_availability_pids),
        cmocka_unit_test(case_runtimeclass_handler_missing),
        cmocka_unit_test(case_newcomer_machine_cannot_run_containers),
        cmocka_unit_test(ends_by_restart_policy),
        cmocka_unit_test(pulls_images_with_backoff),
        cmocka_unit_test(never_pulls),
        cmocka_unit_test(pull_secrets_are_used),
        cmocka_unit_test(missing_config_is_waited_for),
        cmocka_unit_test(volumes_are_waited_for_and_follow),
        cmocka_unit_test(unsupported_volume_is_told),
        cmocka_unit_test(sandbox_failures_are_retried),
        cmocka_unit_test(start_error_is_reported),
        cmocka_unit_test(run_as_non_root_refuses),
        cmocka_unit_test(deletion_is_graceful),
        cmocka_unit_test(stubborn_processes_are_killed),
        cmocka_unit_test(grace_goes_on_after_a_crash),
        cmocka_unit_test(ephemeral_containers_run_once),
        cmocka_unit_test(force_deletion_ends_containers),
        cmocka_unit_test(deadline_fails_the_pod),
        cmocka_unit_test(liveness_restarts),
        cmocka_unit_test(readiness_and_startup_gate),
        cmocka_unit_test(post_start_failure_restarts),
        cmocka_unit_test(new_image_restarts_the_container),
        cmocka_unit_test(too_many_pods_are_refused),
        cmocka_unit_test(orphans_are_removed_after_start),
        cmocka_unit_test(reboot_runs_pods_anew),
        cmocka_unit_test(same_name_again),
        cmocka_unit_test(killed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
