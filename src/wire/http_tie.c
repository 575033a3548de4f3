// See http_tie.h.
//
//     tied ──away──▶ away ──back──▶ tied            closed: gone
//                     │ closed
//                     ▼
//                  left ──back──▶ gone (or away again, still left)
#include "wire/http_tie.h"
#include "base/err.h"

static void came_back(struct loop_task *task)
{
    struct http_tie *t = container_of(task, struct http_tie, task);
    bool left = !t->x;
    t->away = false;
    t->back(t); // frees t only where the exchange is still there
    if (left && !t->away)
        t->gone(t);
}

void http_tie(struct http_tie *t, struct http_exchange *x, void (*gone)(struct http_tie *t))
{
    *t = (struct http_tie){.x = x, .loop = http_loop(x), .gone = gone, .task = {.fn = came_back}};
    http_set_data(x, t);
}

void http_tie_away(struct http_tie *t, void (*back)(struct http_tie *t))
{
    BUG_ON(t->away);
    t->back = back;
    t->away = true;
}

void http_tie_back(struct http_tie *t)
{
    loop_post(t->loop, &t->task);
}

void http_tie_stay(struct http_tie *t)
{
    BUG_ON(!t->away);
    t->away = false;
}

struct http_exchange *http_tie_cut(struct http_tie *t)
{
    struct http_exchange *x = t->x;
    if (x)
        http_set_data(x, NULL);
    t->x = NULL;
    return x;
}

struct http_tie *http_tie_of(struct http_exchange *x)
{
    return http_data(x);
}

void http_tie_closed(void *ctx, struct http_exchange *x)
{
    struct http_tie *t = http_data(x);
    (void)ctx;
    if (!t)
        return;
    if (t->closing)
        t->closing(t);
    http_set_data(x, NULL);
    t->x = NULL;
    if (!t->away)
        t->gone(t);
}
