// What HTTP costs: a 2 kB JSON answer over TLS, one loop, HTTP/1.1 keep-alive with 64 connections
// (wrk) and HTTP/2 (h2load), beside nginx with one worker in the same run where it is there; then
// the memory of an idle TLS connection, and the CPU of one event delivered to each of many
// watchers. Compare the ratios between machines, not the figures.
//
//     bench_http [SECONDS [IDLE_CONNECTIONS [WATCHERS]]]
#include "unit/wire/fixture.h"
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { BODY = 2048, EVENTS = 200, EVENT_BYTES = 1024 };

static struct test_server t;
static char json[BODY], dir[64];
static unsigned run_seconds = 3;

// --- the routes

static struct http_exchange **watchers;
static size_t nwatchers, cap_watchers;

static bool route(struct test_server *ts, struct http_exchange *x)
{
    static const struct http_header headers[] = {{STR("content-type"), STR("application/json")}};
    (void)ts;
    if (str_eq(http_request(x)->path, STR("/json"))) {
        http_respond(x, 200, headers, 1, str_n(json, sizeof json));
    } else if (str_eq(http_request(x)->path, STR("/watch"))) {
        http_start(x, 200, headers, 1);
        http_send(x, STR("{}"));
        if (nwatchers < cap_watchers)
            watchers[nwatchers++] = x;
    } else {
        return false;
    }
    return true;
}

// --- measuring

static double thread_cpu(pthread_t thread)
{
    clockid_t clock;
    struct timespec ts;
    if (pthread_getcpuclockid(thread, &clock) || clock_gettime(clock, &ts))
        return 0;
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static long resident_kb(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &all, &pages) != 2)
            pages = 0;
        fclose(f);
    }
    return pages * 4;
}

// The number behind `label` in a command's output; 0: not there.
static double number_after(const char *command, const char *label)
{
    char line[512];
    double found = 0;
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        char *p = strstr(line, label);
        if (p && !found)
            found = strtod(p + strlen(label), NULL);
    }
    if (f)
        pclose(f);
    return found;
}

static bool have(const char *program)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null && echo found: 1", program);
    return number_after(command, "found:") == 1;
}

static double wrk(unsigned port)
{
    char command[256];
    snprintf(command, sizeof command, "wrk -t1 -c64 -d%us https://127.0.0.1:%u/json 2>&1",
             run_seconds, port);
    return number_after(command, "Requests/sec:");
}

static double h2load(unsigned port)
{
    char command[256];
    snprintf(command, sizeof command,
             "h2load -c8 -m16 -D%u https://127.0.0.1:%u/json 2>&1 | "
             "sed -n 's/^finished in .*, \\([0-9.]*\\) req.s.*/rate: \\1/p'",
             run_seconds, port);
    return number_after(command, "rate:");
}

// --- nginx

static void put(const char *name, struct str s)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (f) {
        fwrite(s.p, 1, s.n, f);
        fclose(f);
    }
}

static pid_t nginx_start(unsigned port)
{
    _cleanup_arena_ struct arena a = ARENA_INIT;
    put("cert.pem", t.cert.cert_pem);
    put("key.pem", t.cert.key_pem);
    put("json", str_n(json, sizeof json));
    put("nginx.conf",
        arena_printf(&a,
                     "daemon off; worker_processes 1; pid %s/pid; error_log /dev/null; user root;\n"
                     "events { worker_connections 1024; }\n"
                     "http { access_log off; keepalive_requests 100000000; sendfile on;\n"
                     "open_file_cache max=10; default_type application/json;\n"
                     "server { listen 127.0.0.1:%u ssl http2; ssl_certificate %s/cert.pem;\n"
                     "ssl_certificate_key %s/key.pem; root %s; } }\n",
                     dir, port, dir, dir, dir));
    char conf[128];
    snprintf(conf, sizeof conf, "%s/nginx.conf", dir);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(127);
        execlp("nginx", "nginx", "-c", conf, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000; i++) { // until it listens
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        int code = connect(fd, (struct sockaddr *)&in, sizeof in);
        close(fd);
        if (code == 0)
            return pid;
        poll(NULL, 0, 1);
    }
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return 0;
}

// --- idle connections and watchers: the clients live in another process

// Connects, asks for `path`, reads a first answer; then says so and, with `drain`, reads what comes
// until it has all of it, else waits for the end of its input.
static void client(size_t n, const char *path, size_t drain, int say, int hear)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL **ssl = calloc(n, sizeof *ssl);
    char buf[65536], request[128];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    for (size_t i = 0; i < n; i++) {
        ssl[i] = SSL_new(ctx);
        SSL_set_fd(ssl[i], test_connect(t.port));
        if (SSL_connect(ssl[i]) != 1 || SSL_write(ssl[i], request, len) != len ||
            SSL_read(ssl[i], buf, sizeof buf) <= 0)
            _exit(1);
    }
    if (write(say, "r", 1) != 1)
        _exit(1);
    for (size_t i = 0; i < n && drain; i++)
        for (size_t got = 0; got < drain;) {
            int k = SSL_read(ssl[i], buf, sizeof buf);
            if (k <= 0)
                _exit(1);
            got += (size_t)k;
        }
    if (drain && write(say, "d", 1) != 1)
        _exit(1);
    if (read(hear, buf, 1) < 0)
        _exit(1);
    _exit(0);
}

static pid_t client_start(size_t n, const char *path, size_t drain, int *ret_hear, int *ret_say)
{
    int up[2], down[2];
    if (pipe(up) || pipe(down))
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        close(down[1]);
        client(n, path, drain, up[1], down[0]);
    }
    close(up[1]);
    close(down[0]);
    *ret_hear = up[0];
    *ret_say = down[1];
    return pid;
}

static bool hear(int fd)
{
    char c;
    return read(fd, &c, 1) == 1;
}

static void idle_memory(size_t n)
{
    int from, to;
    long before = resident_kb();
    pid_t pid = client_start(n, "/json", 0, &from, &to);
    if (hear(from))
        printf("%-44s %10.1f kB\n", "idle TLS connection, HTTP/1.1",
               (double)(resident_kb() - before) / (double)n);
    close(to);
    waitpid(pid, NULL, 0);
    close(from);
}

static void publish(void *arg)
{
    struct blob *event = arg;
    for (size_t i = 0; i < nwatchers; i++)
        http_send_blob(watchers[i], event);
    blob_unref(event);
}

static void fan_out(size_t n)
{
    int from, to;
    watchers = mem_zalloc(n * sizeof *watchers);
    cap_watchers = n;
    pid_t pid = client_start(n, "/watch", (size_t)EVENTS * EVENT_BYTES, &from, &to);
    if (hear(from)) {
        double cpu = thread_cpu(t.threads[0]);
        uint64_t wall = env_mono(env_system());
        for (int i = 0; i < EVENTS; i++) {
            struct blob *event = blob_alloc(EVENT_BYTES);
            memset(event->p, 'e', EVENT_BYTES);
            loop_call(t.loops[0], publish, event);
            poll(NULL, 0, 2); // a pace, so that each event is delivered by itself
        }
        if (hear(from)) {
            double delivered = (double)n * EVENTS;
            cpu = thread_cpu(t.threads[0]) - cpu;
            printf("%-44s %10.2f us CPU  %10.0f /s\n", "event of 1 kB, own TLS connection each",
                   cpu / delivered * 1e6,
                   delivered / ((double)(env_mono(env_system()) - wall) * 1e-9));
        }
    }
    close(to);
    waitpid(pid, NULL, 0);
    close(from);
}

int main(int argc, char **argv)
{
    uint64_t idle = 1000, watching = 500, given;
    if (argc > 1 && str_to_u64(str_of(argv[1]), &given))
        run_seconds = (unsigned)given;
    if (argc > 2)
        str_to_u64(str_of(argv[2]), &idle);
    if (argc > 3)
        str_to_u64(str_of(argv[3]), &watching);
    struct rlimit files = {.rlim_cur = 65536, .rlim_max = 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    memset(json, 'x', sizeof json);
    memcpy(json, "{\"x\":\"", 6);
    memcpy(json + sizeof json - 2, "\"}", 2);
    struct http_server_options opt = {.max_connections = 60000};
    t.route = route;
    test_server_start(&t, TEST_TLS, 1, &opt);
    snprintf(dir, sizeof dir, "/tmp/coracle-bench-XXXXXX");
    if (!mkdtemp(dir))
        return 1;

    idle_memory(idle);
    fan_out(watching);

    bool peer = have("nginx");
    unsigned nginx_port = t.port > 60000 ? t.port - 1 : t.port + 1;
    pid_t nginx = peer ? nginx_start(nginx_port) : 0;
    double cpu, rate, other;
    if (have("wrk")) {
        cpu = thread_cpu(t.threads[0]);
        rate = wrk(t.port);
        cpu = thread_cpu(t.threads[0]) - cpu;
        other = nginx ? wrk(nginx_port) : 0;
        printf("%-44s %10.0f /s %8.1f us CPU  nginx %8.0f /s  ratio %.2f\n",
               "GET 2 kB, TLS, HTTP/1.1, 64 connections", rate, cpu / (rate * run_seconds) * 1e6,
               other, other ? rate / other : 0);
    }
    if (have("h2load")) {
        cpu = thread_cpu(t.threads[0]);
        rate = h2load(t.port);
        cpu = thread_cpu(t.threads[0]) - cpu;
        other = nginx ? h2load(nginx_port) : 0;
        printf("%-44s %10.0f /s %8.1f us CPU  nginx %8.0f /s  ratio %.2f\n",
               "GET 2 kB, TLS, HTTP/2, 8 x 16 streams", rate, cpu / (rate * run_seconds) * 1e6,
               other, other ? rate / other : 0);
    }
    if (nginx) {
        kill(nginx, SIGTERM);
        waitpid(nginx, NULL, 0);
    }
    static const char *const names[] = {"cert.pem", "key.pem", "json", "nginx.conf", "pid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    test_server_stop(&t, NS_PER_S);
    free(watchers);
    return 0;
}
