// Whole calls on a server that lives through the run: verb, kind and parameters from the first
// bytes, the body from the rest. Nothing that a client sends may crash it, and every failure has a
// reason and a message.
#include "apiserver/apiserver.h"
#include "object/json.h"

static struct apiserver *server;
static const struct str groups[] = {{"system:masters", 14}};

static void wake(struct api_call *c)
{
    (void)c;
    BUG_ON(true); // one thread, a store that answers at once
}

static void set_up(void)
{
    struct err e = ERR_INIT;
    struct env *env = env_sim_new(1, 1767323045LL * 1000000000LL);
    struct apiserver_options opt = {
        .env = env, .store = store_memory_new(env), .advertise_address = STR("10.0.0.5")};
    int r = apiserver_new(&opt, &server, &e);
    BUG_ON(r < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str subresources[] = {
        {NULL, 0},       {"status", 6},   {"scale", 5},  {"binding", 7},
        {"eviction", 8}, {"token", 5},    {"resize", 6}, {"ephemeralcontainers", 19},
        {"finalize", 8}, {"approval", 8},
    };
    if (!server)
        set_up();
    if (size < 6 || size > 65536)
        return 0;
    struct arena a = ARENA_INIT;
    struct value *body = NULL;
    struct api_call c;
    struct str rest = str_n(data + 6, size - 6);
    if (json_parse(&a, rest, NULL, &body, NULL) < 0)
        body = NULL;
    api_call_init(&c);
    c.identity = (struct identity){.user = STR("fuzzer"), .groups = groups, .ngroups = 1};
    c.wake = wake;
    c.request.kind = kind_at(data[0] % kind_count());
    c.request.verb = (enum verb_bit)(1 << data[1] % 8);
    if (c.request.verb == VERB_WATCH)
        c.request.verb = VERB_LIST;
    c.request.subresource = subresources[data[2] % 10];
    c.request.ns = c.request.kind->flags & KIND_NAMESPACED ? STR("default") : STR_NULL;
    c.request.name = value_str_at(body, "metadata.name");
    if (!c.request.name.n)
        c.request.name = data[3] & 1 ? STR("x") : STR("kubernetes");
    c.request.patch_type = (enum patch_type)(data[3] % 5);
    c.request.field_validation = (enum field_validation)(data[4] % 4);
    c.request.dry_run = data[4] & 128;
    c.request.propagation = (enum propagation)(data[5] % 4);
    c.request.limit = data[5] >> 4;
    c.request.body = body;
    if (c.request.verb & (VERB_LIST | VERB_DELETECOLLECTION)) {
        c.request.label_selector = value_str_at(body, "labels");
        c.request.field_selector = value_str_at(body, "fields");
        c.request.continue_token = value_str_at(body, "continue");
        c.request.resource_version = value_str_at(body, "rv");
    }
    // Namespaces stay: everything else lives in them.
    bool keep = c.request.verb & (VERB_DELETE | VERB_DELETECOLLECTION) &&
                str_eqc(c.request.kind->resource, "namespaces");
    if (!keep) {
        BUG_ON(api_step(server, &c) != API_DONE);
        BUG_ON(c.err.reason != ERR_NONE && (!c.err.message || !*c.err.message));
        BUG_ON(c.err.reason == ERR_NONE && c.request.verb == VERB_GET && !c.answer.object &&
               !c.answer.value);
    }
    api_call_done(&c);
    arena_done(&a);
    return 0;
}
