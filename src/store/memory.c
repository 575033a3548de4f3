// The memory store: the engine without a log, run by its callers. A transaction is complete when
// store_txn returns, unless it is submitted from within a callback, or while another thread is
// committing: then that one completes it.
#include "base/arena.h"
#include "store/engine.h"

static void memory_close(struct store *s)
{
    struct engine *e = container_of(s, struct engine, store);
    engine_stop(e);
    BUG_ON(e->running); // closed from its own callback
    engine_done(e);
    free(e);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .txn = engine_txn,
    .range = engine_range,
    .revision = engine_revision,
    .floor = engine_floor,
    .watch = engine_watch,
    .unwatch = engine_unwatch,
    .compact = engine_compact,
    .close = memory_close,
};

struct store *store_memory_new(struct env *env)
{
    struct engine *e = mem_alloc(sizeof *e);
    // "Keeps the history until compacted": simulations look far back.
    engine_init(e, &memory_ops, env, SIZE_MAX, SIZE_MAX);
    return &e->store;
}
