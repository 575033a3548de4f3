// A context that hangs on an exchange, and may outlive it: the client can hang up at any time,
// while work for the exchange is under way on another thread, and that work must come to its end
// all the same. Who embeds a tie is told of both ends and asks nothing else.
//
//     http_tie(&c->tie, x, c_gone)    the exchange has a context
//     http_tie_away(&c->tie, c_back)  work begins elsewhere; from now on c is that work's …
//     http_tie_back(&c->tie)          … until it says so, on whatever thread: c_back runs on the
//                                     loop; tie.x is NULL where the client is gone
//     c_gone                          the exchange is gone and no work is away: frees c
//
// The server's handler must have http_tie_closed as its on_close; http_data is the tie's.
// All on the exchange's loop, except http_tie_back.
#pragma once
#include "wire/http.h"

struct http_tie {
    struct http_exchange *x; // NULL: the client is gone, or the tie was cut
    struct loop *loop;
    void (*closing)(struct http_tie *t); // NULL, or: the exchange ends, x can still be asked
    void (*gone)(struct http_tie *t);
    void (*back)(struct http_tie *t);
    struct loop_task task; // private
    bool away;             // work is under way elsewhere
};

void http_tie(struct http_tie *t, struct http_exchange *x, void (*gone)(struct http_tie *t));
void http_tie_away(struct http_tie *t, void (*back)(struct http_tie *t));
// The work is done. Any thread; once for each http_tie_away; the caller does not touch the context
// any more. With the client gone, back must not free it: gone follows, unless it is away again.
void http_tie_back(struct http_tie *t);
// The work was done at once, on the loop: back is not called.
void http_tie_stay(struct http_tie *t);
// Another context takes the exchange: returned, and this one is its owner's to free.
struct http_exchange *http_tie_cut(struct http_tie *t);

struct http_tie *http_tie_of(struct http_exchange *x); // NULL: none
void http_tie_closed(void *ctx, struct http_exchange *x);
