// delete and deletecollection.
//
// Deleting is a negotiation: an object with a grace period or with finalizers is first marked
// (deletionTimestamp), and goes when the grace period is given up and the last finalizer removed.
// Which finalizers the deletion itself adds is what propagationPolicy says: Foreground and Orphan
// leave work to the garbage collector, which removes its finalizer when it has done it.
//
// Grace may be shortened by a second deletion, never lengthened.
#include "apiserver/server.h"
#include "apiserver/strategy.h"
#include "base/time.h"

#define FINALIZER_FOREGROUND "foregroundDeletion"
#define FINALIZER_ORPHAN     "orphan"
#define GRACE_MAX            ((int64_t)10 * 365 * 86400) // seconds; longer means "very long"

static int check_preconditions(struct op *op, struct err *e)
{
    const struct api_request *r = op->request;
    struct str uid = value_str_at(op->old, "metadata.uid");
    uint64_t revision = 0;
    if (r->precondition_uid.n && !str_eq(r->precondition_uid, uid))
        return api_conflict(e, op->kind, op->name,
                            "the UID in the precondition (%.*s) does not match the UID in record "
                            "(%.*s). The object might have been deleted and then recreated",
                            STR_ARG(r->precondition_uid), STR_ARG(uid));
    if (!r->precondition_resource_version.n)
        return 0;
    if (!str_to_u64(r->precondition_resource_version, &revision) || revision != op->found->revision)
        return api_conflict(e, op->kind, op->name,
                            "the ResourceVersion in the precondition (%.*s) does not match the "
                            "ResourceVersion in record (%llu). The object might have been modified",
                            STR_ARG(r->precondition_resource_version),
                            (unsigned long long)op->found->revision);
    op->conditional = true;
    return 0;
}

static void drop_string(struct value *list, const char *s)
{
    for (size_t i = value_len(list); i-- > 0;)
        if (str_eqc(value_string(value_item(list, i)), s))
            value_remove(list, i);
}

static void set_finalizers(struct op *op, struct value *meta)
{
    enum propagation p = op->request->propagation;
    struct value *list = value_getc(meta, "finalizers");
    if (p == PROPAGATION_DEFAULT)
        return;
    if (!list)
        list = value_array(op->a);
    drop_string(list, FINALIZER_FOREGROUND);
    drop_string(list, FINALIZER_ORPHAN);
    if (p == PROPAGATION_FOREGROUND)
        value_push(op->a, list, value_strc(op->a, FINALIZER_FOREGROUND));
    else if (p == PROPAGATION_ORPHAN)
        value_push(op->a, list, value_strc(op->a, FINALIZER_ORPHAN));
    if (value_len(list))
        value_setc(op->a, meta, "finalizers", list);
    else
        value_delc(meta, "finalizers");
}

// Marks the object, or moves an earlier mark forward.
static void set_deletion(struct op *op, struct value *meta)
{
    struct arena *a = op->a;
    int64_t grace = op->grace < 0 ? 0 : op->grace > GRACE_MAX ? GRACE_MAX : op->grace;
    int64_t now = env_now(op->server->env), asked = now;
    bool marked = value_getc(meta, "deletionTimestamp");
    if (marked) {
        int64_t before = value_int_at(meta, "deletionGracePeriodSeconds", 0);
        if (grace >= before || before > GRACE_MAX)
            return;
        // Counted from when the deletion was asked for first.
        if (time_parse_rfc3339(value_str_at(meta, "deletionTimestamp"), &asked))
            asked -= before * NS_PER_S;
    }
    value_setc(a, meta, "deletionTimestamp",
               value_str(a, time_rfc3339(a, asked + grace * NS_PER_S, 0)));
    value_setc(a, meta, "deletionGracePeriodSeconds", value_int(a, grace));
    int64_t generation = value_int_at(meta, "generation", 0);
    if (!marked && generation > 0)
        value_setc(a, meta, "generation", value_int(a, generation + 1));
}

int op_delete(struct op *op, struct err *e)
{
    int r = check_preconditions(op, e);
    if (r < 0)
        return r;
    struct value *next = value_clone(op->a, op->old);
    struct value *meta = value_getc(next, "metadata");
    op->new = next;
    if (op->strategy && op->strategy->grace) {
        r = op->strategy->grace(op, e);
        if (r < 0)
            return r;
    } else {
        op->grace = 0;
    }
    if (!value_getc(meta, "deletionTimestamp"))
        set_finalizers(op, meta);
    bool lingers = value_len(value_getc(meta, "finalizers")) || op->grace > 0;
    if (str_eqc(op->kind->resource, "namespaces") && !op->kind->group.n)
        lingers |= value_len(value_at(next, "spec.finalizers")) > 0;
    if (lingers) {
        set_deletion(op, meta);
        return op_encode(op, e);
    }
    op->removing = true;
    op_write(op, STORE_DELETE, op->key, NULL, (int64_t)op->found->revision);
    if (op->strategy && op->strategy->remove)
        r = op->strategy->remove(op, e);
    return r < 0 ? r : OP_NEXT;
}

int op_delete_answer(struct op *op, struct err *e)
{
    if (!op->removing || op->made)
        return op_answer_object(op, e);
    op->call->answer.revision = op->txn.revision;
    op_answer_value(op, op_success_status(op, value_str_at(op->old, "metadata.uid")));
    return OP_DONE;
}

// ---- deletecollection: the list as it is now, then one after the other

int op_victims(struct op *op, struct err *e)
{
    int r = op_list(op, e);
    if (r < 0)
        return r;
    struct api_answer *an = &op->call->answer;
    op->nvictims = an->nitems;
    op->victim_list = arena_array(op->a, struct object *, an->nitems ? an->nitems : 1);
    for (size_t i = 0; i < an->nitems; i++)
        op->victim_list[i] = object_ref(an->items[i]);
    op->retry_at = op->at;
    return OP_NEXT;
}

int op_next_victim(struct op *op, struct err *e)
{
    for (; op->victim < op->nvictims; op->victim++, op->attempts = 0) {
        struct object *o = op->victim_list[op->victim];
        op->found = cache_get_key(op->server->cache, op->kind, o->key);
        if (!op->found)
            continue;
        op->ns =
            op->kind->flags & KIND_NAMESPACED ? arena_str(op->a, object_namespace(o)) : STR_NULL;
        op->name = arena_str(op->a, object_name(o));
        op->key = arena_str(op->a, o->key);
        int r = op_tree(op, op->found, &op->old, e);
        return r < 0 ? r : OP_NEXT;
    }
    return OP_DONE;
}

int op_victim_gone(struct op *op, struct err *e)
{
    (void)e;
    op->victim++;
    op->attempts = 0;
    return OP_AGAIN;
}
