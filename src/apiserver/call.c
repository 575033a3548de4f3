// The way of a call through the API server, from top to bottom:
//
//     authorise → find → decode / patch → default → admit → default → prepare → validate → encode
//               → store ⇄ (conflict: again from find) → answer
//
// A call is an operation (struct op) that walks a path: a table of steps, one table for each verb.
// A step does its part and says go on, go back (a conflict that is ours to solve), wait (for the
// store), or fails with an error, which is then the answer. Nothing blocks: op_store submits the
// transaction; when its completion has not come by the time that the submission returns, the call
// waits and `wake` tells its owner to step it again. Steps whose cost grows with what a
// client sends (`lengthy`) are handed on to another thread where that is much (hand_on), if the
// owner has one.
//
// Phases of the hand-over between the submitting thread and the store's writer, in one atomic:
//
//     IDLE ──submit──▶ SUBMITTED ──store_txn returned──▶ WAITING ──complete──▶ COMPLETED (wake is
//     called)
//                          └────complete came first────────────────────────▶ COMPLETED (no wake: go
//                          on)
//
// Whoever makes the second move of the two goes on with the call, so exactly one thread has it at
// any time.
#include "apiserver/selection.h"
#include "apiserver/server.h"
#include "apiserver/strategy.h"
#include "base/time.h"

enum { PHASE_IDLE, PHASE_SUBMITTED, PHASE_WAITING, PHASE_COMPLETED };

static const struct step get_path[] = {
    {"authorise", op_authorise},
    {"get", op_get},
    {0},
};
static const struct step list_path[] = {
    {"authorise", op_authorise},
    {"list", op_list},
    {0},
};
static const struct step create_path[] = {
    {"authorise", op_authorise},   {"decode", op_create_body, true},
    {"default", op_default},       {"admit", op_admit},
    {"default again", op_default}, {"prepare", op_prepare},
    {"validate", op_validate},     {"encode", op_encode},
    {"store", op_store},           {"committed", op_committed},
    {"answer", op_answer_object},  {0},
};
static const struct step update_path[] = {
    {"authorise", op_authorise},
    {"find", op_find},
    {"decode or patch", op_update_body, true},
    {"default", op_default},
    {"admit", op_admit},
    {"default again", op_default},
    {"prepare", op_prepare},
    {"validate", op_validate},
    {"encode", op_encode},
    {"store", op_store},
    {"committed", op_committed},
    {"answer", op_answer_object},
    {0},
};
static const struct step delete_path[] = {
    {"authorise", op_authorise},  {"find", op_find},
    {"admit", op_admit_delete},   {"delete", op_delete},
    {"store", op_store},          {"committed", op_committed},
    {"answer", op_delete_answer}, {0},
};
// Goes round between "next victim" and "committed" until none is left.
static const struct step deletecollection_path[] = {
    {"authorise", op_authorise}, {"victims", op_victims},   {"next victim", op_next_victim},
    {"admit", op_admit_delete},  {"delete", op_delete},     {"store", op_store},
    {"committed", op_committed}, {"again", op_victim_gone}, {0},
};

static int op_virtual(struct op *op, struct err *e)
{
    const struct virtual_ops *v = virtual_find(op->kind);
    int (*run)(struct op *, struct err *) = NULL;
    if (v && op->request->verb == VERB_CREATE)
        run = v->create;
    else if (v && op->request->verb == VERB_GET)
        run = v->get;
    else if (v && op->request->verb == VERB_LIST)
        run = v->list;
    if (!run)
        return err_set(e, ERR_METHOD_NOT_ALLOWED,
                       "the server does not allow this method on the requested resource");
    return run(op, e);
}
static const struct step virtual_path[] = {
    {"authorise", op_authorise},
    {"answer", op_virtual},
    {0},
};

static const struct step *path_of(const struct op *op)
{
    if (op->kind->flags & KIND_VIRTUAL)
        return virtual_path;
    switch (op->request->verb) {
    case VERB_GET:
        return get_path;
    case VERB_LIST:
        return list_path;
    case VERB_CREATE:
        if (op->request->subresource.n)
            return op->sub_ops ? op->sub_ops->create : NULL;
        return create_path;
    case VERB_UPDATE:
    case VERB_PATCH:
        return update_path;
    case VERB_DELETE:
        return delete_path;
    case VERB_DELETECOLLECTION:
        return deletecollection_path;
    default:
        return NULL;
    }
}

// ---- steps of everybody

int request_authorise(struct apiserver *s, const struct identity *who, const struct api_request *r,
                      struct err *e)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    bool many = r->verb == VERB_LIST || r->verb == VERB_WATCH || r->verb == VERB_DELETECOLLECTION;
    struct authz_attributes at = {
        .who = who,
        .verb = str_of(verb_name(r->verb)),
        .group = r->kind->group,
        .version = r->kind->version,
        .resource = r->kind->resource,
        .subresource = r->subresource,
        .ns = r->ns,
        .name = many && !r->name.n ? selection_name(&a, r->field_selector) : r->name,
        .field_selector = many ? r->field_selector : STR_NULL,
    };
    return authz_check(s->authz, &at, e);
}

int op_authorise(struct op *op, struct err *e)
{
    if (op->call->authorised)
        return OP_NEXT;
    int ret = request_authorise(op->server, &op->call->identity, op->request, e);
    return ret < 0 ? ret : OP_NEXT;
}

static void on_complete(struct store_txn *t)
{
    struct op *op = t->ctx;
    struct api_call *c = op->call;
    // Acquire and release: what the store wrote into the transaction is seen by whoever goes on.
    if (atomic_exchange_explicit(&op->phase, PHASE_COMPLETED, memory_order_acq_rel) ==
        PHASE_WAITING)
        c->wake(c);
}

void op_write(struct op *op, enum store_op what, struct str key, struct blob *value,
              int64_t expected)
{
    if (op->nwrites == op->cap_writes) {
        size_t cap = op->cap_writes ? op->cap_writes * 2 : 4;
        op->writes = arena_grow(op->a, op->writes, op->cap_writes * sizeof *op->writes,
                                cap * sizeof *op->writes);
        op->cap_writes = cap;
    }
    op->writes[op->nwrites++] =
        (struct store_write){.op = what, .key = key, .value = value, .expected_revision = expected};
}

void op_write_object(struct op *op, struct object *o, int64_t expected)
{
    BUG_ON(op->nkept == sizeof op->kept / sizeof *op->kept);
    op->kept[op->nkept++] = o;
    op_write(op, STORE_PUT, o->key, o->json, expected);
}

void op_keep_blob(struct op *op, struct blob *b)
{
    if (op->nblobs == op->cap_blobs) {
        size_t cap = op->cap_blobs ? op->cap_blobs * 2 : 4;
        op->blobs = arena_grow(op->a, op->blobs, op->cap_blobs * sizeof *op->blobs,
                               cap * sizeof *op->blobs);
        op->cap_blobs = cap;
    }
    op->blobs[op->nblobs++] = b;
}

// Deletes and what leads to one (the end of a finalizer, the last status of a terminating pod) pass
// on a full disk, from the store's reserve.
static bool makes_room(const struct op *op)
{
    if (op->removing)
        return true;
    const struct value *meta = op->new ? value_getc(op->new, "metadata") : NULL;
    return meta && value_getc(meta, "deletionTimestamp");
}

int op_store(struct op *op, struct err *e)
{
    (void)e;
    if (op->unchanged || op->request->dry_run) {
        op->txn.result = STORE_OK;
        op->txn.revision = op->found ? op->found->revision : 0;
        return OP_NEXT;
    }
    op->txn = (struct store_txn){.writes = op->writes,
                                 .nwrites = op->nwrites,
                                 .complete = on_complete,
                                 .ctx = op,
                                 .urgent = makes_room(op)};
    atomic_store_explicit(&op->phase, PHASE_SUBMITTED, memory_order_relaxed);
    store_txn(op->server->store, &op->txn);
    int expected = PHASE_SUBMITTED;
    if (atomic_compare_exchange_strong_explicit(&op->phase, &expected, PHASE_WAITING,
                                                memory_order_acq_rel, memory_order_acquire))
        return OP_WAIT;
    return OP_NEXT;
}

int op_committed(struct op *op, struct err *e)
{
    switch (op->txn.result) {
    case STORE_OK:
        return OP_NEXT;
    case STORE_CONFLICT:
        if (op->creating && op->txn.conflict == 0 && !op->made_name && !op->removing) {
            if (op->request->verb == VERB_CREATE)
                return api_exists(e, op->kind, op->name);
        } else if (op->conditional && op->txn.conflict == 0) {
            return api_conflict(e, op->kind, op->name, NULL);
        }
        if (++op->attempts < OP_ATTEMPTS)
            return OP_AGAIN;
        return api_conflict(e, op->kind, op->name, NULL);
    case STORE_FULL:
        return err_set(e, ERR_STORAGE,
                       "the store's disk is full, nothing was written: delete objects "
                       "(deletes pass) or make room on the disk; writes go on by themselves then");
    default:
        atomic_store_explicit(&op->server->store_failed, true, memory_order_relaxed);
        return err_set(e, ERR_UNAVAILABLE, "the store takes no writes: %s",
                       store_result_text(op->txn.result));
    }
}

int op_answer_object(struct op *op, struct err *e)
{
    struct api_answer *an = &op->call->answer;
    an->revision = op->txn.revision;
    an->created = op->creating;
    if (op->sub_ops && op->sub_ops->answer)
        return op->sub_ops->answer(op, e);
    if (op->unchanged) {
        an->object = object_ref(op->found);
        if (op->kind->storage && op->kind->storage != op->kind) {
            object_unref(an->object);
            return object_from_value(op->kind, op->found->key, op->found->revision, op->old,
                                     &an->object, e) < 0
                       ? err_code(e)
                       : OP_DONE;
        }
        return OP_DONE;
    }
    if (op->kind->storage && op->kind->storage != op->kind) {
        int r = object_from_value(op->kind, op->key, op->txn.revision, op->new, &an->object, e);
        return r < 0 ? r : OP_DONE;
    }
    an->object = object_with_revision(op->made, op->txn.revision);
    return OP_DONE;
}

void op_answer_value(struct op *op, const struct value *v)
{
    struct api_answer *an = &op->call->answer;
    an->value = value_clone(&an->arena, v);
}

struct value *op_success_status(struct op *op, struct str uid)
{
    struct arena *a = op->a;
    struct value *s = value_object(a), *d = value_object(a);
    value_setc(a, s, "kind", value_strc(a, "Status"));
    value_setc(a, s, "apiVersion", value_strc(a, "v1"));
    value_setc(a, s, "metadata", value_object(a));
    value_setc(a, s, "status", value_strc(a, "Success"));
    value_setc(a, d, "name", value_str(a, op->name));
    if (op->kind->group.n)
        value_setc(a, d, "group", value_str(a, op->kind->group));
    value_setc(a, d, "kind", value_str(a, op->kind->resource));
    if (uid.n)
        value_setc(a, d, "uid", value_str(a, uid));
    value_setc(a, s, "details", d);
    return s;
}

struct value *op_now(struct op *op)
{
    return value_str(op->a, time_rfc3339(op->a, env_now(op->server->env), 0));
}

void op_warn(struct op *op, const char *fmt, ...)
{
    struct api_answer *an = &op->call->answer;
    if (an->nwarnings >= 64) // what a client can make us say is bounded
        return;
    struct str *w = arena_array(&an->arena, struct str, an->nwarnings + 1);
    if (an->nwarnings)
        memcpy(w, an->warnings, an->nwarnings * sizeof *w);
    va_list ap;
    va_start(ap, fmt);
    w[an->nwarnings] = arena_vprintf(&an->arena, fmt, ap);
    va_end(ap);
    an->warnings = w;
    an->nwarnings++;
}

// ---- the walk

static int op_start(struct apiserver *s, struct api_call *c)
{
    const struct api_request *r = &c->request;
    struct op *op = arena_new(&c->arena, struct op);
    c->op = op;
    op->server = s;
    op->call = c;
    op->request = r;
    op->a = &c->arena;
    op->kind = r->kind;
    op->ns = r->ns;
    op->name = r->name;
    op->strategy = strategy_find(r->kind);
    op->grace = r->grace_period_seconds;
    if (r->subresource.n) {
        op->sub = kind_subresource(r->kind, r->subresource);
        op->sub_ops = sub_find(r->kind, r->subresource);
        if (!op->sub)
            return err_set(&c->err, ERR_NOT_FOUND,
                           "the server could not find the requested resource");
    }
    // The old way to bind: POST …/bindings, with the pod's name in the body.
    if (op_is(op, "", "bindings")) {
        op->kind = kind_by_resource(STR_NULL, STR("v1"), STR("pods"));
        op->name = value_str_at(r->body, "metadata.name");
        op->sub_ops = sub_find(op->kind, STR("binding"));
        op->path = op->sub_ops->create;
        op->strategy = strategy_find(op->kind);
        op->retry_at = 1;
        return 0;
    }
    unsigned verbs = op->sub ? op->sub->verbs : r->kind->verbs;
    op->path = verbs & r->verb ? path_of(op) : NULL;
    if (!op->path)
        return err_set(&c->err, ERR_METHOD_NOT_ALLOWED,
                       "the server does not allow this method on the requested resource");
    if (!(r->kind->flags & KIND_NAMESPACED) && r->ns.n)
        return err_set(&c->err, ERR_BAD_REQUEST, "namespace may not be set for %.*s",
                       STR_ARG(r->kind->resource));
    for (size_t i = 0; op->path[i].run; i++)
        if (op->path[i].run == op_find)
            op->retry_at = i;
    // Creation goes back to its start: with another name, or another address for a Service.
    if (op->path == create_path)
        op->retry_at = 1;
    return 0;
}

static void op_reset(struct op *op)
{
    object_unref(TAKE_PTR(op->found));
    object_unref(TAKE_PTR(op->made));
    op->old = op->new = NULL;
    while (op->nkept)
        object_unref(op->kept[--op->nkept]);
    while (op->nblobs)
        blob_unref(op->blobs[--op->nblobs]);
    op->nwrites = 0;
    op->unchanged = op->removing = op->creating = false;
    op->grace = op->request->grace_period_seconds;
}

static void op_end(struct op *op)
{
    op_reset(op);
    for (size_t i = 0; i < op->nvictims; i++)
        object_unref(op->victim_list[i]);
    op->nvictims = 0;
    cache_snapshot_done(&op->victims);
}

void api_call_init(struct api_call *c)
{
    *c = (struct api_call){.request = {.grace_period_seconds = -1}};
}

// Whether what lies ahead is too long for an event loop: it costs by the bytes of what was sent and
// of what is there.
static bool op_lengthy(const struct op *op)
{
    size_t bytes = op->call->body_bytes + (op->found ? op->found->json->n : 0);
    return op->path[op->at].lengthy && bytes > API_LENGTHY;
}

// Once a step has waited, or was handed on, another thread may have the call already: nothing of it
// is touched after that.
enum api_progress api_step(struct apiserver *s, struct api_call *c)
{
    if (!c->op && op_start(s, c) < 0)
        return API_DONE;
    struct op *op = c->op;
    while (op->path && op->path[op->at].run) {
        if (c->hand_on && op_lengthy(op) && c->hand_on(c))
            return API_WAIT;
        int r = op->path[op->at++].run(op, &c->err);
        if (r < 0) {
            BUG_ON(c->err.reason == ERR_NONE);
            break;
        }
        if (r == OP_DONE)
            break;
        if (r == OP_AGAIN) {
            op_reset(op);
            op->at = op->retry_at;
            continue;
        }
        if (r == OP_WAIT)
            return API_WAIT;
    }
    op_end(op);
    op->path = NULL;
    return API_DONE;
}

void api_call_done(struct api_call *c)
{
    api_answer_done(&c->answer);
    err_done(&c->err);
    arena_done(&c->arena);
    c->op = NULL;
}
