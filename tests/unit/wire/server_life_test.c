// The server's life: deadlines on virtual time, graceful stop, running out of descriptors, limits.
#include "fixture_sim.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

// --- deadlines

static void deadlines(void **state)
{
    (void)state;
    static const struct {
        const char *send;
        unsigned at_least, at_most; // seconds until the server gives up; 0: never
        const char *answer;
    } rows[] = {
        {"", 31, 33, ""},                                               // says nothing
        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", 31, 33, ""},               // a head that never ends
        {"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n", 179, 181, "200 OK"}, // keep-alive, unused
        {"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", 29, 33, ""}, // a body
        {"GET /open HTTP/1.1\r\nHost: h\r\n\r\n", 0, 0, "200 OK"}, // a stream may be silent
        {"GET /never HTTP/1.1\r\nHost: h\r\n\r\n", 0, 0, ""},      // and a handler slow
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sim s;
        struct http_server_options opt = {0};
        char got[4096], more[4096];
        sim_start(&s, &opt);
        int fd = test_connect(s.port);
        test_write(fd, str_of(rows[i].send));
        loop_run_until_idle(s.loop, 0);
        loop_run_until_idle(s.loop, 0);
        assert_true(alive(fd, got, sizeof got));
        assert_contains(str_of(got), rows[i].answer);
        if (rows[i].at_most) {
            seconds(&s, rows[i].at_least);
            assert_true(alive(fd, more, sizeof more));
            seconds(&s, rows[i].at_most - rows[i].at_least);
            assert_false(alive(fd, more, sizeof more));
        } else {
            seconds(&s, 3600);
            assert_true(alive(fd, more, sizeof more));
        }
        if (rows[i].answer[0])
            assert_contains(str_of(got), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        close(fd);
        sim_end(&s);
    }
}

// A head that trickles in, a byte a second, is cut all the same.
static void slow_loris(void **state)
{
    (void)state;
    struct sim s;
    struct http_server_options opt = {0};
    char got[64];
    int second = 0;
    sim_start(&s, &opt);
    int fd = test_connect(s.port);
    test_write(fd, STR("GET / HTTP/1.1\r\nHost: h\r\nX: "));
    loop_run_until_idle(s.loop, 0);
    for (; second < 100 && alive(fd, got, sizeof got); second++) {
        test_write(fd, STR("x"));
        seconds(&s, 1);
    }
    assert_in_range(second, 31, 34);
    close(fd);
    sim_end(&s);
}

// --- stopping

static struct test_server t;

static void later(struct http_exchange *x, struct str body)
{
    http_respond(x, 200, test_text, 1, body);
}

static bool route(struct test_server *ts, struct http_exchange *x)
{
    (void)ts;
    if (!str_eq(http_request(x)->path, STR("/later")))
        return false;
    http_read_body(x, 100, later);
    return true;
}

static void stop_done(void *arg)
{
    completion_signal(arg);
}

static void graceful_stop(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct completion done;
    t = (struct test_server){.route = route};
    test_server_start(&t, 0, 2, NULL);
    int idle = test_connect(t.port), stream = test_connect(t.port), slow = test_connect(t.port);
    int never = test_connect(t.port);
    test_write(idle, STR("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"));
    test_read(&a, idle, "hello\n");
    test_write(stream, STR("GET /open HTTP/1.1\r\nHost: h\r\n\r\n"));
    test_read(&a, stream, "open\n\r\n");
    test_write(slow, STR("POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
    test_write(never, STR("GET /never HTTP/1.1\r\nHost: h\r\n\r\n"));
    test_until(t.stats.handled == 4);
    completion_init(&done);
    http_server_stop(t.server, NS_PER_S / 2, stop_done, &done);
    // The idle one closes; the stream ends as streams end.
    assert_int_equal(test_read(&a, idle, NULL).n, 0);
    assert_string_equal(arena_cstr(&a, test_read(&a, stream, NULL)), "0\r\n\r\n");
    // What is under way may finish, and is told that it was the last.
    test_write(slow, STR("cd"));
    struct str s = test_read(&a, slow, NULL);
    assert_contains(s, "Connection: close\r\n\r\nabcd");
    // What does not is cut when the grace is over.
    assert_int_equal(test_read(&a, never, NULL).n, 0);
    completion_wait(&done);
    assert_int_equal(t.stats.open, 0);
    close(idle);
    close(stream);
    close(slow);
    close(never);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), -1);
    close(fd);
    completion_done(&done);
    for (size_t i = 0; i < t.nloops; i++) {
        loop_stop(t.loops[i]);
        pthread_join(t.threads[i], NULL);
        loop_free(t.loops[i]);
    }
}

// --- limits

static void connection_limit(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct http_server_options opt = {.max_connections = 2, .max_header_bytes = 200};
    t = (struct test_server){0};
    test_server_start(&t, 0, 2, &opt);
    int one = test_connect(t.port), two = test_connect(t.port);
    test_write(one, STR("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"));
    test_read(&a, one, "hello\n");
    test_write(two, STR("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"));
    test_read(&a, two, "hello\n");
    int three = test_connect(t.port);
    assert_int_equal(test_read(&a, three, NULL).n, 0); // closed at once
    close(three);
    close(one);
    // The place is free again as soon as the server has seen it.
    for (int i = 0;; i++) {
        assert_in_range(i, 0, 2000);
        struct str s = test_talk(
            &a, t.port, STR("GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        if (s.n)
            break;
        poll(NULL, 0, 1);
    }
    close(two);
    test_server_stop(&t, NS_PER_S);
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static void out_of_descriptors(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    struct rlimit before, small;
    t = (struct test_server){0};
    test_server_start(&t, 0, 1, NULL);
    int waiting = socket(AF_INET, SOCK_STREAM, 0), held[64], n = 0;
    struct timeval limit = {.tv_sec = 20};
    setsockopt(waiting, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    getrlimit(RLIMIT_NOFILE, &before);
    small = (struct rlimit){64, before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &small);
    while (n < 64 && (held[n] = dup(waiting)) >= 0)
        n++;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(waiting, (struct sockaddr *)&in, sizeof in), 0);
    test_write(waiting, STR("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"));
    // The backlog holds the connection; the listener stays readable; nothing spins.
    uint64_t cpu = cpu_ns();
    poll(NULL, 0, 200);
    assert_in_range(cpu_ns() - cpu, 0, 100 * NS_PER_MS);
    assert_int_equal(t.stats.handled, 0);
    while (n)
        close(held[--n]);
    assert_contains(test_read(&a, waiting, "hello\n"), "200 OK");
    close(waiting);
    setrlimit(RLIMIT_NOFILE, &before);
    test_server_stop(&t, NS_PER_S);
}

// Idle connections cost nothing but their place.
static void idle_costs_no_cpu(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena a = ARENA_INIT;
    int fds[100];
    t = (struct test_server){0};
    test_server_start(&t, 0, 2, NULL);
    for (int i = 0; i < 100; i++) {
        fds[i] = test_connect(t.port);
        test_write(fds[i], STR("GET /open HTTP/1.1\r\nHost: h\r\n\r\n"));
        test_read(&a, fds[i], "open\n");
    }
    uint64_t cpu = cpu_ns();
    poll(NULL, 0, 200);
    assert_in_range(cpu_ns() - cpu, 0, 20 * NS_PER_MS);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    test_server_stop(&t, NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines),          cmocka_unit_test(slow_loris),
        cmocka_unit_test(graceful_stop),      cmocka_unit_test(connection_limit),
        cmocka_unit_test(out_of_descriptors), cmocka_unit_test(idle_costs_no_cpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
