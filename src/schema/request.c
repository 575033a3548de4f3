// What the two sides of a request share besides its struct: letting go of an answer, and the names
// that go over the wire.
#include "schema/request.h"

void api_answer_done(struct api_answer *r)
{
    object_unref(r->object);
    for (size_t i = 0; i < r->nitems; i++)
        object_unref(r->items[i]);
    free(r->items);
    arena_done(&r->arena);
    *r = (struct api_answer){0};
}

const char *watch_type_name(enum watch_type t)
{
    static const char *const names[] = {
        [WATCH_ADDED] = "ADDED",
        [WATCH_MODIFIED] = "MODIFIED",
        [WATCH_DELETED] = "DELETED",
        [WATCH_BOOKMARK] = "BOOKMARK",
    };
    return names[t];
}
