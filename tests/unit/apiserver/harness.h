// A server on the memory store and simulated time, and calls on it as short as tests want them.
#pragma once
#include "apiserver/apiserver.h"
#include "base/buf.h"
#include "object/json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct env *env;
    struct store *store;
    struct apiserver *server;
    struct arena a;
    struct identity admin, nobody;
    struct api_call call; // the last one
};

static const struct str harness_masters[] = {{"system:masters", 14}};
static const struct str harness_users[] = {{"system:authenticated", 20}};

static inline void harness_wake(struct api_call *c)
{
    (void)c;
    fail_msg("the memory store answers at once");
}

static inline int harness_setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    struct err e = ERR_INIT;
    f->env = env_sim_new(1, 1767323045LL * 1000000000LL);
    f->store = store_memory_new(f->env);
    f->admin = (struct identity){.user = STR("admin"), .groups = harness_masters, .ngroups = 1};
    f->nobody = (struct identity){.user = STR("nobody"), .groups = harness_users, .ngroups = 1};
    struct apiserver_options opt = {
        .env = f->env, .store = f->store, .advertise_address = STR("10.0.0.5"), .port = 6443};
    if (apiserver_new(&opt, &f->server, &e) < 0)
        fail_msg("apiserver_new: %s", e.message);
    api_call_init(&f->call);
    *state = f;
    return 0;
}

static inline int harness_teardown(void **state)
{
    struct fixture *f = *state;
    api_call_done(&f->call);
    apiserver_free(f->server);
    store_close(f->store);
    env_sim_free(f->env);
    arena_done(&f->a);
    free(f);
    return 0;
}

static inline struct value *parse(struct fixture *f, const char *json)
{
    // Single quotes read better in tests.
    char *text = arena_cstr(&f->a, str_of(json));
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    struct value *v = NULL;
    struct err e = ERR_INIT;
    if (json_parse(&f->a, str_of(text), NULL, &v, &e) < 0)
        fail_msg("%s in %s", e.message, text);
    return v;
}

static inline const struct kind *kind_named(const char *word)
{
    const struct kind *k = kind_by_word(str_of(word));
    if (!k)
        fail_msg("no kind %s", word);
    return k;
}

// Prepares f->call as admin; fill in the rest of f->call.request, then run().
static inline struct api_request *request(struct fixture *f, enum verb_bit verb, const char *kind,
                                          const char *ns, const char *name)
{
    api_call_done(&f->call);
    api_call_init(&f->call);
    f->call.identity = f->admin;
    f->call.wake = harness_wake;
    f->call.request.verb = verb;
    f->call.request.kind = kind_named(kind);
    f->call.request.ns = ns ? arena_str(&f->a, str_of(ns)) : STR_NULL;
    f->call.request.name = name ? arena_str(&f->a, str_of(name)) : STR_NULL;
    return &f->call.request;
}

static inline int run(struct fixture *f)
{
    assert_int_equal(api_step(f->server, &f->call), API_DONE);
    return err_code(&f->call.err);
}

static inline void run_ok(struct fixture *f)
{
    if (run(f) < 0)
        fail_msg("%s: %s", err_reason_name(f->call.err.reason), f->call.err.message);
}

static inline void run_fails(struct fixture *f, int code, const char *message)
{
    int r = run(f);
    if (r >= 0)
        fail_msg("succeeded instead of: %s", message);
    assert_string_equal(f->call.err.message, message);
    assert_int_equal(r, -code);
}

static inline struct value *tree(struct fixture *f, struct object *o)
{
    assert_non_null(o);
    return value_clone(&f->a, object_tree(&f->a, o));
}

static inline struct value *answer(struct fixture *f)
{
    return tree(f, f->call.answer.object);
}

static inline struct value *create(struct fixture *f, const char *kind, const char *ns,
                                   const char *json)
{
    request(f, VERB_CREATE, kind, ns, NULL)->body = parse(f, json);
    run_ok(f);
    assert_true(f->call.answer.created);
    return f->call.answer.object ? answer(f) : value_clone(&f->a, f->call.answer.value);
}

static inline struct value *get(struct fixture *f, const char *kind, const char *ns,
                                const char *name)
{
    request(f, VERB_GET, kind, ns, name);
    run_ok(f);
    return f->call.answer.object ? answer(f) : value_clone(&f->a, f->call.answer.value);
}

static inline struct value *patch(struct fixture *f, const char *kind, const char *ns,
                                  const char *name, enum patch_type type, const char *json)
{
    struct api_request *r = request(f, VERB_PATCH, kind, ns, name);
    r->patch_type = type;
    r->body = parse(f, json);
    run_ok(f);
    return f->call.answer.object ? answer(f) : value_clone(&f->a, f->call.answer.value);
}

static inline const char *text_at(struct fixture *f, const struct value *v, const char *path)
{
    return arena_cstr(&f->a, value_str_at(v, path));
}

static inline uint64_t revision_of(const struct value *v)
{
    uint64_t n = 0;
    str_to_u64(value_str_at(v, "metadata.resourceVersion"), &n);
    return n;
}
