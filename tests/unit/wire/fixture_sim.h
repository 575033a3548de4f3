// Loop, server and peer in one thread, on a clock that jumps.
#pragma once
#include "fixture.h"

struct sim {
    struct env *env;
    struct loop *loop;
    struct http_server *server;
    struct test_server t;
    unsigned port;
    bool stopped;
};

static inline void sim_start(struct sim *s, const struct http_server_options *opt)
{
    struct http_handler h = {test_handle, test_closed, &s->t};
    *s = (struct sim){.env = env_sim_new(1, 784111777LL * NS_PER_S)};
    s->loop = loop_new(s->env);
    assert_int_equal(http_server_new(&s->loop, 1, STR("127.0.0.1:0"), &h, opt, &s->server, NULL),
                     0);
    s->port = http_server_port(s->server);
    loop_run_until_idle(s->loop, 0);
}

static inline void sim_stopped(void *arg)
{
    *(bool *)arg = true;
}

static inline void sim_end(struct sim *s)
{
    http_server_stop(s->server, 0, sim_stopped, &s->stopped);
    loop_run_until_idle(s->loop, 10 * (uint64_t)NS_PER_S);
    assert_true(s->stopped);
    assert_int_equal(s->t.stats.open, 0);
    loop_free(s->loop);
    env_sim_free(s->env);
}

// Whether the server still holds the connection; what it sent goes to *ret.
static inline bool alive(int fd, char *ret, size_t size)
{
    ssize_t n = recv(fd, ret, size - 1, MSG_DONTWAIT);
    ret[n > 0 ? n : 0] = 0;
    if (n > 0)
        n = recv(fd, &(char){0}, 1, MSG_DONTWAIT);
    return n < 0 && errno == EAGAIN;
}

static inline void seconds(struct sim *s, uint64_t n)
{
    loop_run_until_idle(s->loop, n * NS_PER_S);
}
