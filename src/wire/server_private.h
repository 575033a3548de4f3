// Inside the HTTP server: a listener spreads connections over loops; a connection speaks HTTP/1.1
// (server_h1.c) or HTTP/2 (server_h2.c), or is upgraded (raw.c); an exchange is one request and its
// answer, whatever the protocol (exchange.c).
//
// The rule that keeps this simple: calls of the handler only change state and queue bytes. A turn
// of the connection (conn_turn), made from an event or put off to the end of the loop's turn, is
// the only place where callbacks are made, bytes written and things freed.
#pragma once
#include "base/buf.h"
#include "wire/holder.h"
#include "wire/http.h"
#include "wire/http_parse.h"
#include "wire/pace.h"
#include "wire/raw_private.h"
#include "wire/stream.h"
#include "wire/tls_private.h"
#include <stdatomic.h>

typedef struct nghttp2_session nghttp2_session;

struct http_conn;
struct server_loop;

enum { RESPONSE_NONE, RESPONSE_STREAM, RESPONSE_DONE };
enum { BODY_UNREAD, BODY_WHOLE, BODY_STREAM, BODY_DISCARD };

struct exchange_ops {
    // length: the body's, or -1 where the end is not known yet.
    void (*head)(struct http_exchange *x, int status, const struct http_header *headers,
                 size_t nheaders, int64_t length);
    void (*data)(struct http_exchange *x, struct str bytes);
    void (*blob)(struct http_exchange *x, struct blob *bytes);
    void (*end)(struct http_exchange *x);
    size_t (*pending)(struct http_exchange *x);
};

struct http_exchange {
    struct http_conn *conn;
    const struct exchange_ops *ops;
    struct list link; // in conn->exchanges
    struct arena arena;
    struct http_request request;
    void *data;
    // Who it is counted to (holder.h).
    struct holder *holder;
    struct list held;
    uint64_t born; // monotonic
    size_t body_counted;
    struct pace in, taken;      // of the body; of what is queued in `out`
    bool crowded;               // one too many: to be refused
    bool patient;               // its peer may take its time
    struct http_routed *routed; // http_router.c
    // Answer.
    uint8_t response;
    uint16_t status; // 0: none yet
    bool head_only;  // HEAD: no body goes out
    bool handled;    // the handler has seen it, so on_close is owed
    bool aborted;
    bool stopping; // the server stops: end the stream once its queue is empty
    // Request body.
    uint8_t body_mode;
    bool body_complete;  // all of it has arrived
    bool body_delivered; // and been handed over
    bool body_paused;
    bool expects_continue;
    size_t body_max;
    void (*body_whole)(struct http_exchange *x, struct str body);
    void (*body_part)(struct http_exchange *x, struct str part, bool last);
    struct buf body;
    struct z_stream_s *inflate;
    size_t drain_low;
    void (*drain)(struct http_exchange *x);
    // HTTP/2.
    int32_t stream_id;
    size_t header_bytes, discarded;
    size_t cap_headers;
    struct outq out;
    bool out_end, out_deferred, hold, reset, too_big;
    struct buf early; // body that came before the handler asked for it; bounded by the window
};

struct http_conn {
    struct stream s;
    struct server_loop *sl;
    struct list link; // in sl->conns
    struct loop_deferred deferred;
    struct loop_timer timer;
    uint64_t
        deadline; // when this phase ends in error; UINT64_MAX: never. The timer may fire earlier.
    struct list exchanges;
    struct tls_peer *peer;
    struct holder *holder;
    struct list held, strange;
    size_t out_counted; // of s.out, to the holder
    struct pace taken;  // of s.out
    bool ticking;       // somebody's pace is being watched:
    uint64_t tick_at;   // the next look
    unsigned patient;   // exchanges that are
    bool undecided;     // TLS or plain: the first byte will tell
    bool in_turn;       // inside conn_turn: a kick is a no-op
    bool dead;          // to be freed at the end of the turn
    bool closing;       // no more requests; close when the output is sent
    bool linger;        // then wait a moment for the peer, which is still sending
    bool lingering;     // and that is now
    // HTTP/1.1.
    struct buf in;         // bytes read and not yet used
    size_t scanned;        // of the head in `in`
    struct http_head head; // framing of the current request
    struct http_chunked chunked;
    uint64_t body_left, discarded;
    bool keep_alive;
    bool out_chunked;
    bool out_sized;
    uint64_t out_left; // bytes of a sized body still to come
    struct http_raw raw;
    // HTTP/2.
    nghttp2_session *h2;
    unsigned bodies;             // requests whose body is not complete
    bool look;                   // an exchange was aborted, or its body asked for or paused
    unsigned drains;             // exchanges that wait for on_drain or for a stop
    size_t queued;               // bytes in the queues of its exchanges (HTTP/2)
    uint64_t served, idle_since; // exchanges so far; as many when the idle time began to run
    uint16_t remote_n;
    char remote[62];
};

struct server_loop {
    struct http_server *server;
    struct loop *loop;
    struct list conns;
    struct http_exchange *spare; // recycled, linked by data
    unsigned nspare;
    atomic_uint nconns; // for choosing a loop
    struct holders holders;
    struct loop_timer trim;
    int64_t date_second;
    char date[29];
    bool stopping;
    struct loop_timer grace;
};

struct http_server {
    struct http_handler handler;
    struct tls_server *tls;
    bool plain_too;
    size_t max_header_bytes;
    uint64_t idle_ns;
    unsigned max_connections, port;
    atomic_uint connections, loops_left;
    struct server_loop *loops;
    size_t nloops, next;
    struct loop_fd listener;
    struct loop_timer retry;
    char *unix_path;
    uint64_t grace_ns;
    void (*done)(void *arg);
    void *done_arg;
    struct loop_task stop_task;
    bool stopped;
};

enum {
    HEAD_SECONDS = 32,
    TICK_SECONDS = 1,
    LINGER_SECONDS = 2,
    HALF_CLOSED_SECONDS = 5,
    CHUNK_HEADROOM = 24
};

// server_conn.c
void conn_new(struct server_loop *sl, int fd, const char *remote);
void conn_kick(struct http_conn *c);                       // asks for a turn
void conn_close(struct http_conn *c);                      // dead at the end of this turn
void conn_deadline(struct http_conn *c, uint64_t seconds); // 0: never
void conn_stop(struct http_conn *c);                       // graceful
const char *server_date(struct server_loop *sl);

// server.c: a connection is gone.
void server_conn_gone(struct server_loop *sl);
// Much less is held than a while ago: the heap gives its free pages back, a little later.
void server_trim(struct server_loop *sl);

// exchange.c
struct http_exchange *exchange_new(struct http_conn *c, const struct exchange_ops *ops);
void exchange_handle(struct http_exchange *x); // calls the handler
void exchange_free(struct http_exchange *x);   // calls on_close
void exchange_input(struct http_exchange *x, struct str part);
void exchange_input_end(struct http_exchange *x); // delivers the end where the handler listens
// After a flush: drain callbacks and stops. True: something was called.
bool exchange_drained(struct http_exchange *x);
void exchange_refuse(struct http_exchange *x, int status, const char *why);
// The body of the request is its peer's turn: a look at its pace. Late: 408 while it can still be
// said, else the exchange is aborted.
void exchange_tick(struct http_exchange *x, uint64_t now);

// server_h1.c: bytes (none: just go on); output state of one connection.
void h1_turn(struct http_conn *c, struct str input);
bool h1_wants_input(const struct http_conn *c);
void h1_tick(struct http_conn *c, uint64_t now);
bool h1_ticks(const struct http_conn *c); // whether there is a pace to watch
void h1_eof(struct http_conn *c);

// server_h2.c
void h2_start(struct http_conn *c);
void h2_input(struct http_conn *c, struct str input);
void h2_output(struct http_conn *c); // fills c->s.out as far as it is good
bool h2_wants_input(const struct http_conn *c);
void h2_tick(struct http_conn *c, uint64_t now);
bool h2_ticks(const struct http_conn *c);
void h2_stop(struct http_conn *c);    // GOAWAY: what runs may end, nothing new
void h2_idle(struct http_conn *c);    // sets the deadline by what is going on
void h2_expired(struct http_conn *c); // the deadline has passed
void h2_done(struct http_conn *c);
