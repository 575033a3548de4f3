// Reviews, and what is remembered of them.
//
// Memory: three tables of WAYS entries in each of SETS sets; an entry is found by half of a keyed
// hash of 128 bits and compared by all of it. The keys are random and never leave the process, so
// nobody can make two tokens or two questions meet. A full set gives up the entry that ends first.
// Invariant: an entry is only ever written from an answer of the API.
//
// The lock guards the tables and is never held while the API is asked: the same question may be
// asked by two threads at once, and the later answer stays.
#include "client/access.h"
#include "base/env.h"
#include "base/guard.h"
#include "base/metric.h"
#include "object/base64.h"
#include "object/json.h"

enum { SETS = 512, WAYS = 4 };

struct hash {
    uint64_t a, b;
};

struct entry {
    struct hash key;
    uint64_t until; // monotonic; 0: empty
    bool yes;
    struct access_caller *who; // of a good token
};

struct memory {
    struct entry at[SETS][WAYS];
};

struct access {
    struct client *client;
    uint64_t keys[4];
    pthread_mutex_t lock; // guards the tables
    struct memory good, wrong, answers;
    struct metric_table metrics;
};

struct access_caller {
    atomic_uint refs;
    bool anonymous;
    struct identity id;
    struct arena arena;
};

enum { REVIEWS, REMEMBERED, FAILED };
static const char *const kinds[] = {"token", "access"};
static const struct metric rows[] = {
    [REVIEWS] = {"access_reviews_total", "Reviews that the API was asked for.", METRIC_COUNTER,
                 .labels = {{"kind", kinds, ARRAY_LEN(kinds)}}},
    [REMEMBERED] = {"access_remembered_total", "Answers that were remembered.", METRIC_COUNTER,
                    .labels = {{"kind", kinds, ARRAY_LEN(kinds)}}},
    [FAILED] = {"access_failed_total", "Reviews that the API could not answer.", METRIC_COUNTER,
                .labels = {{"kind", kinds, ARRAY_LEN(kinds)}}},
};
enum { TOKEN, QUESTION };

struct access *access_new(struct client *c)
{
    struct access *a = mem_zalloc(sizeof *a);
    a->client = c;
    env_random(c->env, a->keys, sizeof a->keys);
    pthread_mutex_init(&a->lock, NULL);
    a->metrics = (struct metric_table){.rows = rows, .n = ARRAY_LEN(rows)};
    metric_register(&a->metrics);
    return a;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    metric_unregister(&a->metrics);
    for (size_t s = 0; s < SETS; s++)
        for (size_t w = 0; w < WAYS; w++)
            access_caller_unref(a->good.at[s][w].who);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

// --- callers ---

static struct access_caller *caller_new(void)
{
    struct access_caller *who = mem_zalloc(sizeof *who);
    atomic_init(&who->refs, 1);
    return who;
}

struct access_caller *access_caller_ref(struct access_caller *who)
{
    atomic_fetch_add_explicit(&who->refs, 1, memory_order_relaxed);
    return who;
}

void access_caller_unref(struct access_caller *who)
{
    // acq_rel: whoever frees has seen everything that the others did with it
    if (!who || atomic_fetch_sub_explicit(&who->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_done(&who->arena);
    free(who);
}

const struct identity *access_identity(const struct access_caller *who)
{
    return &who->id;
}

bool access_is_anonymous(const struct access_caller *who)
{
    return who->anonymous;
}

static void set_groups(struct access_caller *who, const struct str *groups, size_t n,
                       const char *one_more)
{
    struct str *list = arena_array(&who->arena, struct str, n + 1);
    bool there = false;
    for (size_t i = 0; i < n; i++) {
        list[i] = arena_str(&who->arena, groups[i]);
        there = there || str_eqc(list[i], one_more);
    }
    if (!there)
        list[n] = str_of(one_more);
    who->id.groups = list;
    who->id.ngroups = n + !there;
}

static struct access_caller *anonymous(void)
{
    struct access_caller *who = caller_new();
    who->anonymous = true;
    who->id.user = STR("system:anonymous");
    set_groups(who, NULL, 0, "system:unauthenticated");
    return who;
}

static struct access_caller *of_certificate(const struct access_credentials *given)
{
    struct access_caller *who = caller_new();
    who->id.user = arena_str(&who->arena, given->certificate_user);
    set_groups(who, given->certificate_groups, given->ncertificate_groups, "system:authenticated");
    return who;
}

static struct access_caller *of_user_info(const struct value *user)
{
    struct access_caller *who = caller_new();
    const struct value *groups = value_getc(user, "groups"), *extra = value_getc(user, "extra");
    struct str *list = arena_array(&who->arena, struct str, value_len(groups) + 1);
    size_t n = 0;
    value_each_item (groups, g)
        list[n++] = value_string(g);
    who->id.user = arena_str(&who->arena, value_str_at(user, "username"));
    who->id.uid = arena_str(&who->arena, value_str_at(user, "uid"));
    if (value_len(extra))
        who->id.extra = value_clone(&who->arena, extra);
    set_groups(who, list, n, "system:authenticated");
    return who;
}

// --- memory ---

static struct hash hash_of(const struct access *a, struct str s)
{
    return (struct hash){str_hash_keyed(s, a->keys[0], a->keys[1]),
                         str_hash_keyed(s, a->keys[2], a->keys[3])};
}

static bool is_for(const struct entry *e, struct hash key, uint64_t now)
{
    return e->until > now && e->key.a == key.a && e->key.b == key.b;
}

// Whether the answer is remembered; *ret_who, where it is not NULL, gets a reference.
static bool recall(struct access *a, struct memory *m, struct hash key, bool *ret_yes,
                   struct access_caller **ret_who)
{
    uint64_t now = env_mono(a->client->env);
    LOCKED(&a->lock);
    struct entry *set = m->at[key.a % SETS];
    for (size_t w = 0; w < WAYS; w++) {
        if (!is_for(&set[w], key, now))
            continue;
        *ret_yes = set[w].yes;
        if (ret_who)
            *ret_who = access_caller_ref(set[w].who);
        return true;
    }
    return false;
}

static void remember(struct access *a, struct memory *m, struct hash key, uint64_t ns, bool yes,
                     struct access_caller *who)
{
    uint64_t now = env_mono(a->client->env);
    LOCKED(&a->lock);
    struct entry *set = m->at[key.a % SETS], *to = set;
    for (size_t w = 0; w < WAYS; w++) {
        if (is_for(&set[w], key, now)) {
            to = &set[w];
            break;
        }
        if (set[w].until < to->until)
            to = &set[w];
    }
    access_caller_unref(to->who);
    *to = (struct entry){key, now + ns, yes, who ? access_caller_ref(who) : NULL};
}

// --- reviews ---

// Creates the review; *ret: its status, in `arena`. Whatever goes wrong is ERR_UNAVAILABLE.
static int review(struct access *a, struct arena *arena, int kind, struct value *spec,
                  struct value **ret, struct err *e)
{
    const struct kind *k = kind == TOKEN ? KIND("authentication.k8s.io", "tokenreviews")
                                         : KIND("authorization.k8s.io", "subjectaccessreviews");
    struct value *body = value_object(arena);
    value_setc(arena, body, "apiVersion", value_str(arena, k->api_version));
    value_setc(arena, body, "kind", value_str(arena, k->kind));
    value_setc(arena, body, "metadata", value_object(arena));
    value_setc(arena, body, "spec", spec);
    const struct api_request r = {
        .verb = VERB_CREATE, .kind = k, .body = body, .grace_period_seconds = -1};
    _cleanup_answer_ struct api_answer answer = {0};
    _cleanup_err_ struct err why = ERR_INIT;
    metric_add(&a->metrics, REVIEWS, (size_t)kind, 1);
    if (client_call(a->client, &r, &answer, &why) < 0) {
        metric_add(&a->metrics, FAILED, (size_t)kind, 1);
        return err_set(e, ERR_UNAVAILABLE, "the API could not be asked: %s", why.message);
    }
    struct value *whole = answer.object ? object_tree(arena, answer.object) : answer.value;
    struct value *status = value_getc(whole, "status");
    if (!value_is(status, VALUE_OBJECT)) {
        metric_add(&a->metrics, FAILED, (size_t)kind, 1);
        return err_set(e, ERR_UNAVAILABLE, "the API's answer has no status");
    }
    *ret = value_clone(arena, status); // it dies with the answer
    return 0;
}

static int unauthorized(struct err *e)
{
    return err_set(e, ERR_UNAUTHORIZED, "Unauthorized");
}

static int of_token(struct access *a, struct str token, struct access_caller **ret, struct err *e)
{
    bool yes = false;
    struct hash key = hash_of(a, token);
    if (recall(a, &a->good, key, &yes, ret)) {
        metric_add(&a->metrics, REMEMBERED, TOKEN, 1);
        return 0;
    }
    if (recall(a, &a->wrong, key, &yes, NULL)) {
        metric_add(&a->metrics, REMEMBERED, TOKEN, 1);
        return unauthorized(e);
    }
    _cleanup_arena_ struct arena arena = ARENA_INIT;
    struct value *spec = value_object(&arena), *status;
    value_setc(&arena, spec, "token", value_str(&arena, token));
    int r = review(a, &arena, TOKEN, spec, &status, e);
    if (r < 0)
        return r;
    const struct value *user = value_getc(status, "user");
    if (!value_bool_at(status, "authenticated", false) || !value_str_at(user, "username").n) {
        remember(a, &a->wrong, key, ACCESS_WRONG_NS, false, NULL);
        return unauthorized(e);
    }
    *ret = of_user_info(user);
    remember(a, &a->good, key, ACCESS_GOOD_NS, true, *ret);
    return 0;
}

// The token of "Basic base64(user:password)"; STR_NULL: there is none.
static struct str token_of_basic(struct arena *a, struct str text)
{
    struct str plain;
    if (!base64_bytes(a, text, &plain))
        return STR_NULL;
    ptrdiff_t colon = str_chr(plain, ':');
    if (colon < 0)
        return STR_NULL;
    struct str user = str_sub(plain, 0, (size_t)colon);
    struct str password = str_from(plain, (size_t)colon + 1);
    return password.n && !str_eqc(password, "x-oauth-basic") ? password : user;
}

int access_who(struct access *a, const struct access_credentials *given, struct access_caller **ret,
               struct err *e)
{
    if (given->certificate_user.n) {
        *ret = of_certificate(given);
        return 0;
    }
    if (!given->authorization.p) {
        *ret = anonymous();
        return 0;
    }
    _cleanup_arena_ struct arena arena = ARENA_INIT;
    struct str rest = str_trim(given->authorization), token = STR_NULL;
    if (rest.n > ACCESS_TOKEN_MAX)
        return unauthorized(e);
    struct str scheme = str_cut(&rest, ' ');
    rest = str_trim(rest);
    if (str_ieq(scheme, STR("bearer")))
        token = rest;
    else if (str_ieq(scheme, STR("basic")))
        token = token_of_basic(&arena, rest);
    // A token is visible ASCII; anything else cannot be one, and is not worth asking about.
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] <= 0x20 || token.p[i] >= 0x7f)
            return unauthorized(e);
    return token.n ? of_token(a, token, ret, e) : unauthorized(e);
}

// --- questions ---

static void put(struct arena *a, struct value *to, const char *key, struct str s)
{
    if (s.n)
        value_setc(a, to, key, value_str(a, s));
}

static struct value *spec_of(struct arena *a, const struct identity *who,
                             const struct access_question *q)
{
    struct value *spec = value_object(a), *at = value_object(a), *groups = value_array(a);
    put(a, spec, "user", who->user);
    put(a, spec, "uid", who->uid);
    for (size_t i = 0; i < who->ngroups; i++)
        value_push(a, groups, value_str(a, who->groups[i]));
    value_setc(a, spec, "groups", groups);
    if (who->extra)
        value_setc(a, spec, "extra", value_clone(a, who->extra));
    put(a, at, "verb", str_of(q->verb));
    if (q->path.n) {
        put(a, at, "path", q->path);
        value_setc(a, spec, "nonResourceAttributes", at);
        return spec;
    }
    put(a, at, "group", q->group);
    put(a, at, "resource", q->resource);
    put(a, at, "subresource", q->subresource);
    put(a, at, "namespace", q->ns);
    put(a, at, "name", q->name);
    value_setc(a, spec, "resourceAttributes", at);
    return spec;
}

// In the words of the API server's own refusals.
static int forbidden(const struct identity *who, const struct access_question *q, struct err *e)
{
    if (q->path.n)
        return err_set(e, ERR_FORBIDDEN, "forbidden: User \"%.*s\" cannot %s path \"%.*s\"",
                       STR_ARG(who->user), q->verb, STR_ARG(q->path));
    _cleanup_buf_ struct buf b = BUF_INIT;
    buf_str(&b, q->resource);
    if (q->group.n)
        buf_printf(&b, ".%.*s", STR_ARG(q->group));
    if (q->name.n)
        buf_printf(&b, " \"%.*s\"", STR_ARG(q->name));
    buf_printf(&b,
               " is forbidden: User \"%.*s\" cannot %s resource \"%.*s%s%.*s\" in API group "
               "\"%.*s\"",
               STR_ARG(who->user), q->verb, STR_ARG(q->resource), q->subresource.n ? "/" : "",
               STR_ARG(q->subresource), STR_ARG(q->group));
    if (q->ns.n)
        buf_printf(&b, " in the namespace \"%.*s\"", STR_ARG(q->ns));
    else
        buf_puts(&b, " at the cluster scope");
    return err_set(e, ERR_FORBIDDEN, "%s", buf_cstr(&b));
}

// The question with who asks it, unmistakably: each text with its length before it.
static void add_text(struct buf *b, struct str s)
{
    buf_u64(b, s.n);
    buf_char(b, ':');
    buf_str(b, s);
}

static struct hash key_of(struct access *a, struct arena *arena, const struct identity *who,
                          const struct access_question *q)
{
    const struct str parts[] = {str_of(q->verb), q->group, q->resource, q->subresource, q->ns,
                                q->name,         q->path,  who->user,   who->uid};
    _cleanup_buf_ struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        add_text(&b, parts[i]);
    buf_u64(&b, who->ngroups);
    for (size_t i = 0; i < who->ngroups; i++)
        add_text(&b, who->groups[i]);
    add_text(&b, who->extra ? json_text(arena, who->extra) : STR_NULL);
    return hash_of(a, buf_view(&b));
}

int access_may(struct access *a, const struct identity *who, const struct access_question *q,
               struct err *e)
{
    _cleanup_arena_ struct arena arena = ARENA_INIT;
    bool yes = false;
    struct hash key = key_of(a, &arena, who, q);
    if (recall(a, &a->answers, key, &yes, NULL)) {
        metric_add(&a->metrics, REMEMBERED, QUESTION, 1);
        return yes ? 0 : forbidden(who, q, e);
    }
    struct value *status;
    int r = review(a, &arena, QUESTION, spec_of(&arena, who, q), &status, e);
    if (r < 0)
        return r;
    // denied wins over allowed, as the API has it.
    yes = value_bool_at(status, "allowed", false) && !value_bool_at(status, "denied", false);
    remember(a, &a->answers, key, ACCESS_GOOD_NS, yes, NULL);
    return yes ? 0 : forbidden(who, q, e);
}
