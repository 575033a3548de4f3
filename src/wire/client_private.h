// Inside the HTTP client: a call is one request and its answer (client_call.c); a connection
// carries calls one after the other and rests in the client's pool between them (client_conn.c).
//
// As in the server, calls from outside only change state; callbacks are made and things freed in a
// turn of the connection or of the call.
#pragma once
#include "base/buf.h"
#include "wire/http_client.h"
#include "wire/http_parse.h"
#include "wire/raw_private.h"
#include "wire/resolve.h"
#include "wire/stream.h"
#include "wire/tls_private.h"
#include <sys/un.h>

enum { CLIENT_ADDRESSES = 8, CLIENT_MAX_HEAD = 256 << 10 };

struct http_client {
    struct loop *loop;
    struct tls_client *tls;
    char *unix_socket;
    uint64_t connect_ns, idle_ns;
    struct list calls;
    struct list conns; // all of them: busy, idle (no call), upgraded
    unsigned nidle;
    bool freeing;
};

struct client_conn {
    struct http_client *client;
    struct list link;
    struct stream s;
    struct loop_deferred deferred;
    struct loop_timer idle_timer;
    char *key;                             // "https://host:port": who may reuse it
    char peer[sizeof(struct sockaddr_un)]; // address, for error texts
    bool connecting, in_turn, dead, reused;
    struct http_call *call; // NULL: idle or upgraded
    struct buf in;
    struct http_raw raw;
};

enum call_state { CALL_START, CALL_RESOLVE, CALL_CONNECT, CALL_HEAD, CALL_BODY, CALL_OVER };

struct http_call {
    struct http_client *client;
    struct list link; // in client->calls
    struct http_call_handler h;
    enum call_state state;
    struct loop_deferred deferred;
    struct loop_timer timer;
    uint64_t last_byte;
    struct arena arena;
    // The request.
    char *key;
    struct str host;
    uint16_t port;
    bool https, head_only, safe, retried, paused, cancelled;
    struct blob *request;
    struct err bad; // why it cannot even be tried
    // Connecting.
    struct resolve *resolve;
    struct sockaddr_storage addresses[CLIENT_ADDRESSES];
    size_t naddresses, next_address;
    struct err last; // what the last address answered
    struct client_conn *conn;
    char peer[sizeof(struct sockaddr_un)]; // who is, or was, tried
    // The answer.
    bool any; // a byte of it has come
    size_t scanned;
    struct http_head head;
    struct http_chunked chunked;
    uint64_t left;
    // Upgrade.
    bool upgrade;
    struct http_raw_handler raw;
    void (*on_open)(void *ctx, struct http_raw *raw, const struct http_header *headers,
                    size_t nheaders, const struct err *e);
};

// client_conn.c
// Takes an idle connection for the key, or NULL.
struct client_conn *client_conn_take(struct http_client *c, const char *key);
// Starts to connect; 0 or -errno.
int client_conn_open(struct http_client *c, const char *key, struct str host, bool https,
                     const struct sockaddr_storage *address, struct client_conn **ret);
void client_conn_kick(struct client_conn *cc);
void client_conn_free(struct client_conn *cc);
void client_conn_release(struct client_conn *cc, bool keep); // the call is over
void client_conn_send(struct client_conn *cc,
                      struct http_call *call); // call is its call from now on
struct http_raw *client_conn_upgrade(struct client_conn *cc, const struct http_raw_handler *h);

// client_call.c
struct http_call *call_new(struct http_client *c, const struct http_call_request *r,
                           const struct http_call_handler *h, struct str upgrade);
void call_end(struct http_call *c, const struct err *e); // on_end, and c is gone
// Called by the connection. `why`: in the words that people know.
void call_connected(struct http_call *c);
void call_failed(struct http_call *c, int error, const char *why);
// Uses what it can of *in.
void call_input(struct http_call *c, struct str *in);
void call_eof(struct http_call *c);
