// Lifecycle handlers: exec, httpGet, tcpSocket (deprecated upstream: never worked as one would
// hope, hence refused), sleep. They block and run as jobs.
#include "node/pod_worker.h"
#include "wire/http_client.h"
#include <time.h>

#define HOOK_OUTPUT_MAX (10 << 10)

static int run_exec(struct node_agent *agent, struct arena *a, const struct value *exec,
                    struct str container_id, uint64_t timeout_ns, struct err *e)
{
    const struct value *list = value_getc(exec, "command");
    size_t n = value_len(list);
    struct str *command = arena_array(a, struct str, n + 1);
    for (size_t i = 0; i < n; i++)
        command[i] = value_string(value_item(list, i));
    struct str output = STR_NULL;
    int code = 0;
    int rc = agent->runtime->ops->exec_sync(agent->runtime, a, container_id, command, n, timeout_ns,
                                            HOOK_OUTPUT_MAX, &output, &code, e);
    if (rc < 0)
        return rc;
    if (code != 0)
        return err_set(e, ERR_INTERNAL, "command '%.*s' exited with %d: %.*s",
                       n ? (int)command[0].n : 0, n ? command[0].p : "", code, STR_ARG(output));
    return 0;
}

static int64_t named_port(const struct value *port, const struct value *container)
{
    if (!value_is(port, VALUE_STRING))
        return value_int_or(port, 0);
    struct str name = value_string(port);
    const struct value *ports = value_getc(container, "ports");
    for (size_t i = 0; i < value_len(ports); i++)
        if (str_eq(value_str_at(value_item(ports, i), "name"), name))
            return value_int_at(value_item(ports, i), "containerPort", 0);
    uint64_t number = 0;
    return str_to_u64(name, &number) && number <= 65535 ? (int64_t)number : 0;
}

static int run_http(struct node_agent *agent, struct arena *a, const struct value *get,
                    const struct value *container, struct str pod_ip, struct err *e)
{
    struct str host = value_str_at(get, "host"), path = value_str_at(get, "path");
    bool https = str_eqc(value_str_at(get, "scheme"), "HTTPS");
    if (!host.n)
        host = pod_ip;
    const struct value *list = value_getc(get, "httpHeaders");
    struct http_header *headers = arena_array(a, struct http_header, value_len(list) + 1);
    for (size_t i = 0; i < value_len(list); i++)
        headers[i] = (struct http_header){value_str_at(value_item(list, i), "name"),
                                          value_str_at(value_item(list, i), "value")};
    struct http_call_request request = {
        .method = "GET",
        .url = arena_printf(a, "%s://%.*s:%lld%s%.*s", https ? "https" : "http", STR_ARG(host),
                            (long long)named_port(value_getc(get, "port"), container),
                            path.n && path.p[0] == '/' ? "" : "/", STR_ARG(path)),
        .headers = headers,
        .nheaders = value_len(list),
    };
    struct http_answer answer = {0};
    int rc = http_do(agent->http, a, &request, HOOK_OUTPUT_MAX, &answer, e);
    if (rc == 0 && answer.status >= 400)
        rc = err_set(e, ERR_INTERNAL, "HTTP handler failed with statuscode: %d", answer.status);
    return rc;
}

static void run_sleep(struct node_agent *agent, uint64_t ns)
{
    if (agent->env->virtual_time) {
        env_sim_advance(agent->env, ns);
        return;
    }
    struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) != 0)
        ;
}

int pod_hook_run(struct node_agent *agent, struct arena *a, const struct value *handler,
                 const struct value *container, struct str container_id, struct str pod_ip,
                 uint64_t timeout_ns, struct err *e)
{
    const struct value *how;
    if ((how = value_getc(handler, "exec")))
        return run_exec(agent, a, how, container_id, timeout_ns, e);
    if ((how = value_getc(handler, "httpGet")))
        return run_http(agent, a, how, container, pod_ip, e);
    if ((how = value_getc(handler, "sleep"))) {
        uint64_t ns = (uint64_t)value_int_at(how, "seconds", 0) * NS_PER_S;
        bool cut = timeout_ns && ns > timeout_ns;
        run_sleep(agent, cut ? timeout_ns : ns);
        return cut ? err_set(e, ERR_TIMEOUT, "container terminated before sleep hook finished") : 0;
    }
    return err_set(e, ERR_INVALID, "invalid handler: no action that this node knows");
}
