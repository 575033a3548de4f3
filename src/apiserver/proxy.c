// Logs, exec, attach: the API server checks who asks and which container is meant, finds the agent
// of the pod's node, and relays. Bytes go no faster than their receiver takes them.
//
//   log           an HTTP call to the agent, whose body becomes ours, or a WebSocket's messages
//   exec, attach  a WebSocket to the agent, joined with one to the client, whose subprotocol may be
//                 an older one (proxy_channels.h)
//   nodes/proxy   an HTTP call, GET only; NODE or NODE:PORT
//
// Order of an exec: the agent is asked first; only when it has accepted is the client's request
// upgraded, so that a refusal still arrives as a Status. Clients that want SPDY (kubectl
// before 1.31) are told so.
//
// A relay lives until both its ends have told that they are gone, and is freed from a task of the
// loop, never from within a callback of one of them.
#include "apiserver/proxy.h"
#include "apiserver/proxy_channels.h"
#include "object/json.h"
#include "wire/http_client.h"
#include "wire/websocket.h"
#include <pthread.h>

#define ERROR_BODY_MAX 4096
#define IDLE_NS        ((uint64_t)4 * 3600 * 1000000000)

// The last refusals, for clients that ask again in another way.
#define REFUSALS     16
#define REFUSAL_KEEP ((uint64_t)10 * 1000000000)
struct refusals {
    pthread_mutex_t lock; // guards all; held for copies of a few hundred bytes
    struct refused {
        uint64_t key, mono;
        int status;
        char text[512];
    } last[REFUSALS];
    size_t next;
};

struct relay {
    struct http_tie tie;
    struct http_ctx *c;         // until the answer has begun
    struct http_client *client; // towards the node
    struct http_call *call;     // log: NULL once ended
    struct websocket *to_client, *to_node;
    bool connecting, started, freeing;
    int status; // of a refusal
    struct buf refusal;
    const struct channel_protocol *protocol; // towards the client; NULL: plain HTTP
    struct buf translated;                   // a message in the other protocol
    struct str url;                          // in c->arena
};

// ---- where to

int node_url(struct apiserver *s, struct arena *a, struct str node, struct str *ret, struct err *e)
{
    static const char *const types[] = {"InternalIP", "ExternalIP", "Hostname"};
    const struct kind *k = kind_by_resource(STR_NULL, STR("v1"), STR("nodes"));
    struct object *o = cache_get(s->cache, k, STR_NULL, node);
    if (!o)
        return api_not_found(e, k, node);
    const struct value *v = value_clone(a, object_tree(a, o));
    object_unref(o);
    const struct value *list = value_at(v, "status.addresses");
    long long port = value_int_at(v, "status.daemonEndpoints.kubeletEndpoint.Port", 10250);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        value_each_item (list, n)
            if (str_eqc(value_str_at(n, "type"), types[i])) {
                struct str host = value_str_at(n, "address");
                bool v6 = str_chr(host, ':') >= 0;
                *ret = arena_printf(a, "https://%s%.*s%s:%lld", v6 ? "[" : "", STR_ARG(host),
                                    v6 ? "]" : "", port);
                return 0;
            }
    return err_set(e, ERR_UNAVAILABLE, "no preferred addresses found; known addresses: []");
}

static struct value *pod_of(struct http_ctx *c, struct err *e)
{
    const struct route *r = &c->route;
    struct object *o = cache_get(c->server->cache, r->kind, r->ns, r->name);
    if (!o) {
        api_not_found(e, r->kind, r->name);
        return NULL;
    }
    struct value *v = value_clone(&c->arena, object_tree(&c->arena, o));
    object_unref(o);
    return v;
}

static void list_names(struct buf *b, const struct value *containers)
{
    value_each_item (containers, k)
        buf_printf(b, "%s%.*s", k_i ? " " : "", STR_ARG(value_str_at(k, "name")));
}

static int choose_container(struct http_ctx *c, const struct value *pod, struct str *ret,
                            struct err *e)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers",
                                        "spec.ephemeralContainers"};
    struct str asked = query_param(c, "container");
    const struct value *main = value_at(pod, "spec.containers");
    if (!asked.n && value_len(main) == 1) {
        *ret = value_str_at(value_item(main, 0), "name");
        return 0;
    }
    if (!asked.n) {
        _cleanup_buf_ struct buf b = BUF_INIT;
        const struct value *init = value_at(pod, "spec.initContainers");
        list_names(&b, main);
        if (value_len(init)) {
            buf_puts(&b, "] or one of the init containers: [");
            list_names(&b, init);
        }
        return err_set(e, ERR_BAD_REQUEST,
                       "a container name must be specified for pod %.*s, choose one of: [%.*s]",
                       STR_ARG(c->route.name), STR_ARG(buf_view(&b)));
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const struct value *list = value_at(pod, lists[i]);
        value_each_item (list, k)
            if (str_eq(value_str_at(k, "name"), asked)) {
                *ret = asked;
                return 0;
            }
    }
    return err_set(e, ERR_BAD_REQUEST, "container %.*s is not valid for pod %.*s", STR_ARG(asked),
                   STR_ARG(c->route.name));
}

static void escape(struct buf *b, struct str s)
{
    static const char plain[] = "-._~";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        bool alnum = (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z');
        if (alnum || (ch && strchr(plain, ch)))
            buf_char(b, (char)ch);
        else
            buf_printf(b, "%%%02X", ch);
    }
}

static void add_param(struct buf *b, const char *name, struct str value)
{
    buf_char(b, memchr(b->p, '?', b->n) ? '&' : '?');
    buf_puts(b, name);
    buf_char(b, '=');
    escape(b, value);
}

static int log_path(struct http_ctx *c, struct buf *b, struct err *e)
{
    static const char *const passed[] = {"follow",     "previous",  "sinceSeconds", "sinceTime",
                                         "timestamps", "tailLines", "limitBytes",   "stream"};
    (void)e;
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
        struct str v = query_param(c, passed[i]);
        if (v.n)
            add_param(b, passed[i], v);
    }
    return 0;
}

static int exec_path(struct http_ctx *c, struct buf *b, struct err *e)
{
    static const char *const flags[][2] = {
        {"stdin", "input"}, {"stdout", "output"}, {"stderr", "error"}, {"tty", "tty"}};
    bool any = false;
    for (size_t i = 0;; i++) {
        struct str v = http_query(&c->arena, http_request(c->tie.x), "command", i);
        if (!v.p)
            break;
        add_param(b, "command", v);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (!query_flag(c, flags[i][0]))
            continue;
        any |= i < 3;
        add_param(b, flags[i][1], STR("1"));
    }
    if (!any)
        return err_set(e, ERR_BAD_REQUEST,
                       "you must specify at least one of stdin, stdout, stderr");
    return 0;
}

// The agent's URL for what is asked of a container.
static int container_url(struct http_ctx *c, const char *what,
                         int (*query)(struct http_ctx *, struct buf *, struct err *),
                         struct str *ret, struct err *e)
{
    struct str container = STR_NULL, node, base;
    const struct value *pod = pod_of(c, e);
    if (!pod)
        return -404;
    int r = choose_container(c, pod, &container, e);
    if (r < 0)
        return r;
    node = value_str_at(pod, "spec.nodeName");
    if (!node.n)
        return err_set(e, ERR_BAD_REQUEST, "pod %.*s does not have a host assigned",
                       STR_ARG(c->route.name));
    if ((r = node_url(c->server, &c->arena, node, &base, e)) < 0)
        return r;
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_str(&b, base);
    buf_printf(&b, "/%s/", what);
    escape(&b, c->route.ns);
    buf_char(&b, '/');
    escape(&b, c->route.name);
    buf_char(&b, '/');
    escape(&b, container);
    r = query(c, &b, e);
    *ret = arena_str(&c->arena, buf_view(&b));
    return r;
}

// ---- life

static void relay_free(void *arg)
{
    struct relay *r = arg;
    http_client_free(r->client);
    if (r->c) {
        r->c->tie.x = NULL;
        http_ctx_free(r->c);
    }
    buf_done(&r->refusal);
    buf_done(&r->translated);
    free(r);
}

static void maybe_free(struct relay *r)
{
    if (r->freeing || r->tie.x || r->call || r->connecting || r->to_client || r->to_node)
        return;
    r->freeing = true;
    loop_call(r->tie.loop, relay_free, r);
}

static void relay_gone(struct http_tie *t)
{
    struct relay *r = container_of(t, struct relay, tie);
    if (r->call)
        http_call_cancel(TAKE_PTR(r->call));
    maybe_free(r);
}

static struct relay *relay_new(struct http_ctx *c, struct err *e)
{
    if (!c->server->node_tls) {
        err_set(e, ERR_UNAVAILABLE, "this server has no keys to talk to node agents with");
        return NULL;
    }
    struct relay *r = mem_zalloc(sizeof *r);
    r->c = c;
    http_be_patient(c->tie.x); // a person may read it
    r->refusal.max = ERROR_BODY_MAX;
    r->client =
        http_client_new(c->tie.loop, &(struct http_client_options){.tls = c->server->node_tls,
                                                                   .idle_timeout_ns = IDLE_NS});
    http_tie(&r->tie, c->tie.x, relay_gone);
    return r;
}

struct refusals *refusals_new(void)
{
    struct refusals *f = mem_zalloc(sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

void refusals_free(struct refusals *f)
{
    if (f)
        pthread_mutex_destroy(&f->lock);
    free(f);
}

static uint64_t refusal_key(const struct http_ctx *c)
{
    return str_hash(http_request(c->tie.x)->target) * 31 + str_hash(c->call.identity.user);
}

static void refusal_keep(struct http_ctx *c, int status, struct str text)
{
    struct refusals *f = c->server->refusals;
    pthread_mutex_lock(&f->lock);
    struct refused *into = &f->last[f->next++ % REFUSALS];
    *into =
        (struct refused){.key = refusal_key(c), .mono = env_mono(c->server->env), .status = status};
    snprintf(into->text, sizeof into->text, "%.*s", STR_ARG(text));
    pthread_mutex_unlock(&f->lock);
}

static bool refusal_repeat(struct http_ctx *c, struct err *e)
{
    struct refusals *f = c->server->refusals;
    uint64_t key = refusal_key(c), now = env_mono(c->server->env);
    bool found = false;
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < REFUSALS && !found; i++) {
        const struct refused *r = &f->last[i];
        found = r->status && r->key == key && now - r->mono < REFUSAL_KEEP;
        if (found)
            err_set(e, err_reason_from_http(r->status), "%s", r->text);
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

// The agent said no, or could not be reached.
static void refuse(struct relay *r, int status, struct str text)
{
    _cleanup_err_ struct err e = ERR_INIT;
    if (!r->tie.x || r->started)
        return;
    r->started = true;
    if (r->protocol)
        refusal_keep(r->c, status, text);
    err_set(&e, err_reason_from_http(status), "%.*s", STR_ARG(str_trim(text)));
    reply_error(r->c, &e);
}

// ---- the client's WebSocket

static void client_message(struct websocket *w, bool binary, struct str message);
static void client_gone(struct websocket *w);

static void send_to_client(struct relay *r, struct str message)
{
    struct str told;
    if (!r->to_client)
        return;
    int kind = channel_to_client(r->protocol, message, &r->translated, &told);
    if (kind >= 0)
        websocket_send(r->to_client, kind, told);
}

static bool accept_client(struct relay *r)
{
    struct websocket_handler h = {.on_message = client_message, .on_close = client_gone, .ctx = r};
    struct str chosen;
    r->to_client =
        websocket_accept(r->tie.x, &r->protocol->name, r->protocol->name.p ? 1 : 0, &h, &chosen);
    return r->to_client;
}

// ---- HTTP: logs

static void on_head(struct http_call *call, int status, const struct http_header *headers, size_t n)
{
    struct relay *r = http_call_ctx(call);
    struct str type = STR("text/plain");
    if (!r->tie.x)
        return;
    if (status != 200) {
        r->status = status;
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (str_eqc(headers[i].name, "content-type"))
            type = headers[i].value;
    struct headers hs = {.n = 0};
    headers_usual(&hs, type, r->c->audit_id);
    r->started = true;
    if (r->protocol)
        accept_client(r);
    else
        http_start(r->tie.x, 200, hs.h, hs.n);
}

static void log_drained(struct websocket *w)
{
    struct relay *r = websocket_ctx(w);
    if (r->call)
        http_call_pause(r->call, false);
}

static void on_drained(struct http_exchange *x)
{
    struct relay *r = container_of(http_tie_of(x), struct relay, tie);
    if (r->call)
        http_call_pause(r->call, false);
}

static void on_part(struct http_call *call, struct str part)
{
    struct relay *r = http_call_ctx(call);
    if (!r->started) {
        if (r->refusal.n + part.n <= ERROR_BODY_MAX)
            buf_str(&r->refusal, part);
        return;
    }
    if (r->protocol) {
        send_to_client(r, part);
        if (r->to_client && websocket_pending(r->to_client) > STREAM_HIGH) {
            http_call_pause(call, true);
            websocket_on_drain(r->to_client, STREAM_LOW, log_drained);
        }
        return;
    }
    if (!r->tie.x)
        return;
    http_send(r->tie.x, part);
    if (http_pending(r->tie.x) > STREAM_HIGH) {
        http_call_pause(call, true);
        http_on_drain(r->tie.x, STREAM_LOW, on_drained);
    }
}

// The agent's error may be a Status of its own.
static struct str refusal_text(struct relay *r)
{
    struct str body = buf_view(&r->refusal);
    struct value *v = NULL;
    if (body.n && body.p[0] == '{' && json_parse(&r->c->arena, body, NULL, &v, NULL) >= 0 &&
        value_str_at(v, "message").n)
        return value_str_at(v, "message");
    return body.n ? body : STR("the node agent gave no reason");
}

static void on_end(struct http_call *call, const struct err *e)
{
    struct relay *r = http_call_ctx(call);
    r->call = NULL;
    if (r->protocol && r->started) {
        if (r->to_client)
            websocket_close(r->to_client, 1000, STR_NULL);
    } else if (r->tie.x && r->started && e)
        http_abort(r->tie.x);
    else if (r->tie.x && r->started)
        http_finish(r->tie.x);
    else if (r->tie.x && e)
        refuse(r, 500, arena_printf(&r->c->arena, "Get \"%.*s\": %s", STR_ARG(r->url), e->message));
    else if (r->tie.x)
        refuse(r, r->status, refusal_text(r));
    maybe_free(r);
}

static void relay_http(struct http_ctx *c, struct str url, const struct channel_protocol *protocol)
{
    static const struct http_call_handler handler = {
        .on_head = on_head, .on_body = on_part, .on_end = on_end};
    _cleanup_err_ struct err e = ERR_INIT;
    struct relay *r = relay_new(c, &e);
    if (!r) {
        reply_error(c, &e);
        return;
    }
    struct http_call_handler h = handler;
    h.ctx = r;
    r->protocol = protocol;
    r->url = url;
    r->call =
        http_call_start(r->client, &(struct http_call_request){.method = "GET", .url = url}, &h);
}

// ---- WebSocket: exec and attach

static void client_drained(struct websocket *w)
{
    struct relay *r = websocket_ctx(w);
    if (r->to_node)
        websocket_pause(r->to_node, false);
}

static void node_drained(struct websocket *w)
{
    struct relay *r = websocket_ctx(w);
    if (r->to_client)
        websocket_pause(r->to_client, false);
}

static void node_message(struct websocket *w, bool binary, struct str message)
{
    struct relay *r = websocket_ctx(w);
    if (!r->to_client)
        return;
    (void)binary; // agents speak in bytes
    send_to_client(r, message);
    if (websocket_pending(r->to_client) > STREAM_HIGH) {
        websocket_pause(w, true);
        websocket_on_drain(r->to_client, STREAM_LOW, client_drained);
    }
}

static void client_message(struct websocket *w, bool binary, struct str message)
{
    struct relay *r = websocket_ctx(w);
    struct str told;
    if (!r->to_node) // a log listens to nobody
        return;
    if (!channel_to_node(r->protocol, binary, message, &r->translated, &told)) {
        websocket_close(w, 1007, STR("the message is not base64 on a channel"));
        return;
    }
    websocket_send(r->to_node, true, told);
    if (websocket_pending(r->to_node) > STREAM_HIGH) {
        websocket_pause(w, true);
        websocket_on_drain(r->to_node, STREAM_LOW, node_drained);
    }
}

static void node_gone(struct websocket *w)
{
    struct relay *r = websocket_ctx(w);
    r->to_node = NULL;
    if (r->to_client) {
        websocket_pause(r->to_client, false);
        websocket_close(r->to_client, 1000, STR_NULL);
    }
    maybe_free(r);
}

static void client_gone(struct websocket *w)
{
    struct relay *r = websocket_ctx(w);
    r->to_client = NULL;
    if (r->call)
        http_call_cancel(TAKE_PTR(r->call));
    if (r->to_node) {
        websocket_pause(r->to_node, false);
        websocket_close(r->to_node, 1000, STR_NULL);
    }
    maybe_free(r);
}

static void on_open(void *ctx, struct websocket *w, struct str protocol, const struct err *e)
{
    struct relay *r = ctx;
    (void)protocol; // the one that was offered, or the handshake failed
    r->connecting = false;
    r->to_node = w;
    if (!w) {
        int code = e ? -err_code(e) : 500;
        const char *why = e ? e->message : "the node agent refused";
        // What the agent says is passed on; that it cannot be reached is our own finding.
        if (str_starts(str_of(why), STR("dial ")))
            refuse(r, 500, arena_printf(&r->c->arena, "error dialing backend: %s", why));
        else
            refuse(r, code >= 400 ? code : 500, str_of(why));
    } else if (!r->tie.x) {
        websocket_close(w, 1000, STR_NULL);
    } else {
        r->started = true;
        if (!accept_client(r))
            websocket_close(w, 1000, STR_NULL);
    }
    maybe_free(r);
}

static int no_protocol(struct err *e)
{
    return err_set(e, ERR_BAD_REQUEST,
                   "none of the subprotocols that the client offers is supported");
}

static void relay_websocket(struct http_ctx *c, const char *what,
                            int (*query)(struct http_ctx *, struct buf *, struct err *))
{
    const struct http_request *q = http_request(c->tie.x);
    _cleanup_err_ struct err e = ERR_INIT;
    struct str url;
    const struct channel_protocol *protocol =
        channel_protocol_choose(http_header(q, "sec-websocket-protocol"), false);
    struct relay *r = NULL;
    bool spdy = str_starts(http_header(q, "upgrade"), STR("SPDY"));
    if (spdy && !refusal_repeat(c, &e) && container_url(c, what, query, &url, &e) >= 0)
        err_set(&e, ERR_BAD_REQUEST,
                "this server supports %s over WebSocket only; use kubectl 1.31 or later", what);
    else if (!spdy && !websocket_requested(q))
        err_set(&e, ERR_BAD_REQUEST, "Upgrade request required");
    else if (!spdy && !protocol)
        no_protocol(&e);
    else if (!spdy && container_url(c, what, query, &url, &e) >= 0)
        r = relay_new(c, &e);
    if (!r) {
        reply_error(c, &e);
        return;
    }
    struct websocket_handler h = {.on_message = node_message, .on_close = node_gone, .ctx = r};
    r->protocol = protocol;
    r->connecting = true;
    websocket_connect(r->client, url, NULL, 0, &r->protocol->to_node, 1, &h, on_open);
}

// ---- what is asked

static void begin_log(struct http_ctx *c)
{
    const struct http_request *q = http_request(c->tie.x);
    _cleanup_err_ struct err e = ERR_INIT;
    struct str url;
    const struct channel_protocol *protocol = NULL;
    if (websocket_requested(q) &&
        !(protocol = channel_protocol_choose(http_header(q, "sec-websocket-protocol"), true)))
        no_protocol(&e);
    else
        container_url(c, "containerLogs", log_path, &url, &e);
    if (e.reason != ERR_NONE)
        reply_error(c, &e);
    else
        relay_http(c, url, protocol);
}

static void begin_exec(struct http_ctx *c)
{
    relay_websocket(c, "exec", exec_path);
}

static void begin_attach(struct http_ctx *c)
{
    relay_websocket(c, "attach", exec_path);
}

// "NODE", "NODE:PORT" or "https:NODE:PORT": the agent's port is the only one that is asked.
static int node_port_url(struct http_ctx *c, struct str *ret, struct err *e)
{
    struct str rest = c->route.name, scheme = STR_NULL, name = str_cut(&rest, ':');
    if (rest.p && str_chr(rest, ':') >= 0) {
        scheme = name;
        name = str_cut(&rest, ':');
    }
    if (!name.n || (scheme.p && scheme.n && !str_eqc(scheme, "https")))
        return err_set(e, ERR_BAD_REQUEST, "invalid node request \"%.*s\"", STR_ARG(c->route.name));
    int r = node_url(c->server, &c->arena, name, ret, e);
    if (r >= 0 && rest.n && !str_eq(str_from(*ret, (size_t)str_rchr(*ret, ':') + 1), rest))
        return err_set(e, ERR_NOT_IMPLEMENTED,
                       "nodes/proxy is served for the port of the node's agent only");
    return r;
}

static void begin_node(struct http_ctx *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    const struct http_request *q = http_request(c->tie.x);
    struct str base;
    if (!str_eqc(q->method, "GET"))
        err_set(&e, ERR_NOT_IMPLEMENTED, "nodes/proxy is served for GET only");
    else if (node_port_url(c, &base, &e) >= 0)
        relay_http(c,
                   arena_printf(&c->arena, "%.*s/%.*s%s%.*s", STR_ARG(base), STR_ARG(c->route.rest),
                                q->query.n ? "?" : "", STR_ARG(q->query)),
                   NULL);
    if (e.reason != ERR_NONE)
        reply_error(c, &e);
}

static const struct {
    const char *resource, *subresource;
    void (*begin)(struct http_ctx *c);
} relays[] = {
    {"nodes", "proxy", begin_node},
    {"pods", "attach", begin_attach},
    {"pods", "exec", begin_exec},
    {"pods", "log", begin_log},
};
enum { NRELAYS = sizeof relays / sizeof *relays };

static size_t find(const struct route *r)
{
    size_t i = 0;
    while (i < NRELAYS && !(str_eqc(r->kind->resource, relays[i].resource) &&
                            str_eqc(r->subresource, relays[i].subresource)))
        i++;
    return i;
}

bool proxy_serves(const struct route *r)
{
    return r->subresource.n && !r->kind->group.n && find(r) < NRELAYS;
}

int proxy_authorise(struct http_ctx *c, struct err *e)
{
    const struct route *r = &c->route;
    struct str method = http_request(c->tie.x)->method;
    struct authz_attributes at = {
        .who = &c->call.identity,
        .verb = str_eqc(method, "POST")                             ? STR("create")
                : str_eqc(method, "GET") || str_eqc(method, "HEAD") ? STR("get")
                : str_eqc(method, "PUT")                            ? STR("update")
                : str_eqc(method, "DELETE")                         ? STR("delete")
                                                                    : STR("patch"),
        .group = r->kind->group,
        .version = r->kind->version,
        .resource = r->kind->resource,
        .subresource = r->subresource,
        .ns = r->ns,
        .name = r->name,
    };
    return authz_check(c->server->authz, &at, e);
}

void proxy_begin(struct http_ctx *c)
{
    _cleanup_err_ struct err e = ERR_INIT;
    if (proxy_authorise(c, &e) < 0)
        reply_error(c, &e);
    else
        relays[find(&c->route)].begin(c);
}
