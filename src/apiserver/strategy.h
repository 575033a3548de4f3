// What is particular to a kind, beside its schema: a row of functions in strategy.c, each in the
// file of its kind (strategy_*.c). All are optional. They run inside the write path: op->new may be
// changed, op->old not.
#pragma once
#include "apiserver/server.h"

struct strategy {
    const char *group, *resource;
    // Fields that the server sets, before validation. Status and metadata are done by the registry.
    int (*prepare_create)(struct op *op, struct err *e);
    int (*prepare_update)(struct op *op, struct err *e); // also subresources: see op_sub
    // After validation: allocate; more writes for the transaction (op_write).
    int (*finish)(struct op *op, struct err *e);
    // The grace period for a deletion, into op->grace (asked-for one or -1 on entry).
    int (*grace)(struct op *op, struct err *e);
    // More writes when the object goes for good.
    int (*remove)(struct op *op, struct err *e);
    // A part that the originals keep as it was sent, whatever its type asks for; or NULL.
    const char *unvalidated;
    bool keep_status_on_create;    // nodes register with their status
    bool keep_metadata_generation; // the client's generation counts
};

const struct strategy *strategy_find(const struct kind *k);

// Kinds that the registry knows nothing about: virtual ones, by resource (reviews.c).
struct virtual_ops {
    const char *group, *resource;
    int (*create)(struct op *op, struct err *e);
    int (*get)(struct op *op, struct err *e);
    int (*list)(struct op *op, struct err *e);
};
const struct virtual_ops *virtual_find(const struct kind *k);

// Subresources with ways of their own (subresource.c); status and the like are the ordinary update
// path with the strategy looking at op_sub.
struct sub_ops {
    const char *resource; // NULL: any kind's
    const char *name;
    const struct step *create; // NULL: not by POST
    // In place of reading the object whole (scale).
    int (*get)(struct op *op, struct err *e);
    // In place of the body step and the answer of update and patch.
    int (*update_body)(struct op *op, struct err *e);
    int (*answer)(struct op *op, struct err *e);
};
const struct sub_ops *sub_find(const struct kind *k, struct str name);

// strategy_*.c
extern const struct strategy strategy_pods, strategy_services;
