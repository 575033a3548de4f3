// What the files of the agent's API share. Everything here belongs to the loop, except lookups,
// which run as jobs and come back to it.
#pragma once
#include "node/agent_internal.h"
#include "wire/http.h"

struct agent_server {
    struct node_agent *agent;
    struct loop *loop;
    struct http_server *http;
    struct tls_server *tls;
    struct list streams;  // struct log_stream: those that follow
    struct list sessions; // struct exec_session
};

// What an exchange is busy with; http_data points to it.
struct server_task {
    void (*closed)(struct server_task *t); // the exchange is gone
};

// A container found for a request.
struct lookup {
    struct server_task task;
    struct agent_server *server;
    struct http_exchange *x; // NULL: closed meanwhile
    struct arena a;
    struct str ns, pod, container;
    bool previous;
    void (*done)(struct lookup *l);    // on the loop; owns l (lookup_free)
    void (*dropped)(struct lookup *l); // instead of done: the exchange is gone; or NULL
    // Result: status 200, or an HTTP status with the text of the refusal.
    int status;
    struct str text;
    struct str container_id, log_path, uid;
    bool running, tty;
};
// Looks the container up and calls done, unless the exchange is closed first.
void lookup_start(struct lookup *l);
void lookup_free(struct lookup *l);
void server_refuse(struct http_exchange *x, int status, struct str text);

// server_logs.c
void server_logs(struct agent_server *s, struct http_exchange *x, struct str ns, struct str pod,
                 struct str container);
void server_logs_changed(struct agent_server *s, const char *container_id);
void server_logs_stop(struct agent_server *s);
// server_exec.c
void server_exec(struct agent_server *s, struct http_exchange *x, struct str ns, struct str pod,
                 struct str container, bool attach);
void server_exec_stop(struct agent_server *s);
